//! How long a value may live. Pure: settings, a clock reading and randomness come in by argument.

use std::time::Duration;

use crate::clock::{FOREVER, Nanos, after};

/// A named time to live, set per cache (`CACHE_TTL_SHORT`, `CACHE_TTL_DEFAULT`, `CACHE_TTL_LONG`).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use cache_runtime::{Cache, Ttl};
///
/// let cache = Cache::builder().ttl_short(Duration::from_secs(10)).build().await?;
/// cache.set("k", 1_u64).ttl(Ttl::Short).await?;
/// assert!(cache.ttl("k").await?.and_then(|left| left.duration()) <= Some(Duration::from_secs(10)));
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Ttl {
    /// 30 s unless configured.
    Short,
    /// 5 min unless configured. What `ttl` means where it is not given.
    #[default]
    Default,
    /// 1 h unless configured.
    Long,
}

/// A time to live as it is asked for: a [`Ttl`] bucket, a duration, or for ever.
///
/// Made from a [`Duration`], a [`Ttl`], whole seconds, or text such as `"5m"` and `"forever"` where a call takes
/// `impl IntoTtl`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// use std::time::Duration;
/// use cache_runtime::Lifetime;
///
/// let life = |weekend: bool| if weekend { Lifetime::Forever } else { Lifetime::For(Duration::from_secs(60)) };
/// cache.set("k", 1_u64).ttl(life(true)).await?;
/// assert_eq!(Lifetime::default(), Lifetime::Bucket(cache_runtime::Ttl::Default));
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The cache's own setting.
    Bucket(Ttl),
    /// This long. Zero: the value is not stored. Longer than the clock can say: for ever.
    For(Duration),
    /// No expiry.
    Forever,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self::Bucket(Ttl::Default)
    }
}

/// What can be given as a time to live.
///
/// ```
/// use std::time::Duration;
/// use cache_runtime::{IntoTtl, Lifetime, Ttl};
///
/// assert_eq!("5m".into_ttl()?, Lifetime::For(Duration::from_secs(300)));
/// assert_eq!(300_u64.into_ttl()?, "5m".into_ttl()?);
/// assert_eq!(Ttl::Short.into_ttl()?, Lifetime::Bucket(Ttl::Short));
/// assert_eq!("forever".into_ttl()?, Lifetime::Forever);
/// assert!("5mins".into_ttl().is_err());
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a time to live",
    note = "use a `std::time::Duration`, `Ttl::Short`, `Ttl::Default`, `Ttl::Long`, whole seconds, or text such as \"5m\""
)]
pub trait IntoTtl {
    /// The lifetime.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) for text that is no duration.
    fn into_ttl(self) -> Result<Lifetime, crate::Error>;
}

impl IntoTtl for Duration {
    fn into_ttl(self) -> Result<Lifetime, crate::Error> {
        Ok(Lifetime::For(self))
    }
}

impl IntoTtl for Ttl {
    fn into_ttl(self) -> Result<Lifetime, crate::Error> {
        Ok(Lifetime::Bucket(self))
    }
}

impl IntoTtl for Lifetime {
    fn into_ttl(self) -> Result<Lifetime, crate::Error> {
        Ok(self)
    }
}

impl IntoTtl for &str {
    fn into_ttl(self) -> Result<Lifetime, crate::Error> {
        if self == "forever" {
            return Ok(Lifetime::Forever);
        }
        match crate::duration::parse_duration(self) {
            Ok(duration) => Ok(Lifetime::For(duration)),
            Err(why) => Err(crate::Error::new(crate::ErrorKind::InvalidTtl, why.to_string())),
        }
    }
}

macro_rules! seconds {
    ($($int:ty),*) => {
        $(impl IntoTtl for $int {
            fn into_ttl(self) -> Result<Lifetime, crate::Error> {
                u64::try_from(self).map(|seconds| Lifetime::For(Duration::from_secs(seconds))).map_err(|_| {
                    crate::Error::new(crate::ErrorKind::InvalidTtl, "a time to live cannot be negative")
                })
            }
        })*
    };
}
seconds!(u8, u16, u32, u64, usize, i32, i64);

/// The lengths of the three buckets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    pub(crate) short: Duration,
    pub(crate) default: Duration,
    pub(crate) long: Duration,
}

impl Buckets {
    fn get(&self, bucket: Ttl) -> Duration {
        match bucket {
            Ttl::Short => self.short,
            Ttl::Default => self.default,
            Ttl::Long => self.long,
        }
    }
}

/// How much shorter a life may turn out, so that what was loaded together does not expire together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Jitter {
    /// Exactly the ttl.
    #[default]
    None,
    /// Up to this share of the ttl less.
    Percent(u8),
    /// Up to this much less.
    Span(Duration),
}

/// When a value stored at `now` expires; `None` where it is not to be stored at all.
///
/// `chance` is uniform in 0..=65535. Jitter only ever shortens: a value never outlives its ttl.
pub(crate) fn expiry(now: Nanos, life: Lifetime, jitter: Jitter, buckets: &Buckets, chance: u16) -> Option<Nanos> {
    let span = match life {
        Lifetime::Forever => return Some(FOREVER),
        Lifetime::For(span) => span,
        Lifetime::Bucket(bucket) => buckets.get(bucket),
    };
    if span.is_zero() {
        return None;
    }
    if after(now, span) == FOREVER {
        return Some(FOREVER);
    }
    let spread = match jitter {
        Jitter::None => Duration::ZERO,
        Jitter::Percent(percent) => span.mul_f64(f64::from(percent.min(100)) / 100.0),
        Jitter::Span(spread) => spread.min(span),
    };
    let less = spread.mul_f64(f64::from(chance) / 65536.0);
    Some(after(now, span.saturating_sub(less).max(Duration::from_nanos(1))))
}

/// When a hit has a value refreshed though it is fresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EarlyRefresh {
    /// Never.
    #[default]
    Never,
    /// From this age on.
    Age(Duration),
    /// By chance, the more likely the nearer the expiry and the dearer the load: see [`xfetch`].
    Adaptive,
}

/// Up to which age a value is used, and for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ages {
    pub(crate) early: EarlyRefresh,
    /// After its life, for as long: while somebody refreshes it.
    pub(crate) stale: Option<Duration>,
    /// After its life, for as long: where the source fails.
    pub(crate) stale_if_error: Option<Duration>,
}

/// How fresh a value is, by its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Nothing is to be done.
    Fresh,
    /// It is fresh, and to be refreshed.
    Early,
    /// Past its life; it may be returned while it is refreshed.
    Stale,
    /// Past its life; it may be returned where the source fails.
    Failing,
}

impl Freshness {
    /// Whether the value has not expired.
    pub(crate) fn is_within_life(self) -> bool {
        matches!(self, Self::Fresh | Self::Early)
    }
}

impl Ages {
    pub(crate) const NONE: Self = Self { early: EarlyRefresh::Never, stale: None, stale_if_error: None };

    /// Whether a value is anything but there or gone.
    pub(crate) fn is_set(&self) -> bool {
        *self != Self::NONE
    }

    /// How long a value is of use after its life.
    pub(crate) fn window(&self) -> Duration {
        self.stale.max(self.stale_if_error).unwrap_or_default()
    }

    /// How fresh a value of this age is that lives so long and took `cost` to load; `None`: it is of no use. `chance` is
    /// uniform in 0..1.
    pub(crate) fn freshness(&self, age: Duration, life: Duration, cost: Duration, chance: f64) -> Option<Freshness> {
        if age < life {
            let early = match self.early {
                EarlyRefresh::Never => false,
                EarlyRefresh::Age(from) => age >= from,
                EarlyRefresh::Adaptive => xfetch(life - age, cost, chance),
            };
            return Some(if early { Freshness::Early } else { Freshness::Fresh });
        }
        let over = age - life;
        let within = |window: Option<Duration>| window.is_some_and(|window| over < window);
        if within(self.stale) {
            Some(Freshness::Stale)
        } else if within(self.stale_if_error) {
            Some(Freshness::Failing)
        } else {
            None
        }
    }
}

/// Whether a value that lives for `left` and takes `cost` to load is to be refreshed by this call: `-cost * ln(chance) >= left`,
/// which spreads the refreshes of many callers so that hardly ever two begin one at once, without any of them knowing of the
/// others. (Vattani, Chierichetti, Lowenstein, "Optimal probabilistic cache stampede prevention", VLDB 2015, with their
/// beta of 1.)
fn xfetch(left: Duration, cost: Duration, chance: f64) -> bool {
    -cost.as_secs_f64() * chance.max(f64::MIN_POSITIVE).ln() >= left.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKETS: Buckets =
        Buckets { short: Duration::from_secs(30), default: Duration::from_secs(300), long: Duration::from_secs(3600) };
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn expiry_table() {
        let table = [
            (Lifetime::Bucket(Ttl::Short), Jitter::None, 0, Some(30 * SECOND + 5)),
            (Lifetime::default(), Jitter::None, 65535, Some(300 * SECOND + 5)),
            (Lifetime::For(Duration::ZERO), Jitter::None, 0, None),
            (Lifetime::For(Duration::MAX), Jitter::None, 0, Some(FOREVER)),
            (Lifetime::Forever, Jitter::Percent(50), 65535, Some(FOREVER)),
            (Lifetime::For(Duration::from_secs(10)), Jitter::Percent(10), 0, Some(10 * SECOND + 5)),
            (Lifetime::For(Duration::from_secs(10)), Jitter::Span(Duration::from_secs(4)), 32768, Some(8 * SECOND + 5)),
        ];
        for (life, jitter, chance, expected) in table {
            assert_eq!(expiry(5, life, jitter, &BUCKETS, chance), expected, "{life:?} {jitter:?} {chance}");
        }
    }

    #[test]
    fn what_lasts_for_ever_lasts_for_ever_with_jitter() {
        let at = |span| expiry(5, Lifetime::For(span), Jitter::Percent(100), &BUCKETS, 0xffff);
        assert_eq!(at(Duration::MAX), Some(FOREVER));
        assert_eq!(at(Duration::from_nanos(u64::MAX - 1)), Some(FOREVER));
    }

    #[test]
    fn jitter_never_lengthens_a_life() {
        for chance in [0, 1, 1000, 65535] {
            for jitter in [Jitter::Percent(100), Jitter::Span(Duration::from_secs(99))] {
                let at = expiry(0, Lifetime::For(Duration::from_secs(1)), jitter, &BUCKETS, chance).unwrap();
                assert!(at > 0 && at <= SECOND, "{at}");
            }
        }
    }

    /// A3, D10, N8
    #[test]
    fn freshness_table() {
        let s = Duration::from_secs;
        let ages = |early, stale, error| Ages {
            early,
            stale: Some(stale).filter(|stale| *stale > 0).map(s),
            stale_if_error: Some(error).filter(|error| *error > 0).map(s),
        };
        use EarlyRefresh::{Adaptive, Age, Never};
        use Freshness::{Early, Failing, Fresh, Stale};
        // Every value lives for 100 s and takes 10 s to load.
        let table = [
            (ages(Never, 0, 0), 99, 0.5, Some(Fresh)),
            (ages(Never, 0, 0), 100, 0.5, None),
            (ages(Age(s(50)), 0, 0), 49, 0.5, Some(Fresh)),
            (ages(Age(s(50)), 0, 0), 50, 0.5, Some(Early)),
            (ages(Age(s(50)), 10, 0), 100, 0.5, Some(Stale)),
            (ages(Never, 10, 0), 109, 0.5, Some(Stale)),
            (ages(Never, 10, 0), 110, 0.5, None),
            (ages(Never, 10, 50), 110, 0.5, Some(Failing)),
            (ages(Never, 50, 10), 110, 0.5, Some(Stale)),
            (ages(Never, 0, 50), 100, 0.5, Some(Failing)),
            (ages(Never, 0, 50), 150, 0.5, None),
            (ages(Adaptive, 0, 0), 50, 0.5, Some(Fresh)),
            (ages(Adaptive, 0, 0), 50, 0.001, Some(Early)),
            (ages(Adaptive, 0, 0), 99, 0.5, Some(Early)),
            (ages(Adaptive, 0, 0), 99, 0.999, Some(Fresh)),
            (ages(Adaptive, 0, 0), 99, 0.0, Some(Early)),
        ];
        for (ages, age, chance, expected) in table {
            assert_eq!(ages.freshness(s(age), s(100), s(10), chance), expected, "{ages:?} {age} {chance}");
        }
    }

    /// D10: many callers of one entry, each on its own: the load is repeated before the entry expires, and by few at once.
    #[test]
    #[cfg_attr(miri, ignore = "ten million calls")]
    fn xfetch_spreads_refreshes_without_a_lock() {
        let (life, cost, callers_per_second) = (60.0, 1.0, 100.0);
        let (mut in_time, mut loads, rounds) = (0, 0, 2_000);
        let mut state = 1_u64;
        let mut random = || {
            // A fixed sequence (splitmix64), so that the test is the same each time.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        };
        for _ in 0..rounds {
            let (mut now, mut landed) = (0.0, f64::INFINITY);
            while now < life && now < landed {
                let (left, cost) = (Duration::from_secs_f64(life - now), Duration::from_secs_f64(cost));
                if xfetch(left, cost, random()) {
                    loads += 1;
                    landed = landed.min(now + cost.as_secs_f64());
                }
                now += 1.0 / callers_per_second;
            }
            in_time += i32::from(landed < life);
        }
        let per_round = f64::from(loads) / f64::from(rounds);
        assert!(f64::from(in_time) > 0.95 * f64::from(rounds), "{in_time} of {rounds} in time");
        // Of the hundred callers that come while one load runs, who would all load where nothing is done.
        assert!(per_round < 4.0, "{per_round} loads each time");
    }

    #[test]
    fn text_and_seconds_are_lifetimes() {
        assert_eq!("5m".into_ttl().unwrap(), Lifetime::For(Duration::from_secs(300)));
        assert_eq!("forever".into_ttl().unwrap(), Lifetime::Forever);
        assert_eq!(7_u64.into_ttl().unwrap(), Lifetime::For(Duration::from_secs(7)));
        assert_eq!("5mins".into_ttl().unwrap_err().kind(), crate::ErrorKind::InvalidTtl);
        assert_eq!((-1_i32).into_ttl().unwrap_err().kind(), crate::ErrorKind::InvalidTtl);
    }
}

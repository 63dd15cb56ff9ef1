//! Counters. The one on the hit path is striped by thread, so that hits on one function do not share a cache line.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::ErrorKind;

/// Stripes that belong to one thread each, who then counts without a read-modify-write.
const OWN: usize = 16;
/// Stripes that the other threads share.
const SHARED: usize = 16;

/// A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// A counter for the hit path.
#[derive(Debug, Default)]
pub(crate) struct Striped(OnceLock<Box<[Padded; OWN + SHARED]>>);

/// Not looked for yet.
const UNKNOWN: usize = usize::MAX;

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(UNKNOWN) };
}

/// A stripe that belongs to this thread, until it ends.
#[derive(Debug)]
struct Owned(usize);

/// The own stripes that are taken, as bits.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Owned {
    /// Whoever takes a stripe sees what its former owner counted.
    fn take() -> Option<Self> {
        let free = |taken: usize| Some(taken.trailing_ones() as usize).filter(|free| *free < OWN);
        let took = TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| Some(taken | 1 << free(taken)?));
        took.ok().and_then(free).map(Self)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // What else the thread does while it ends is counted with others.
        STRIPE.set(OWN + self.0 % SHARED);
        TAKEN.fetch_and(!(1 << self.0), Ordering::AcqRel);
    }
}

#[inline]
fn stripe() -> usize {
    match STRIPE.get() {
        UNKNOWN => new_stripe(),
        stripe => stripe,
    }
}

#[cold]
fn new_stripe() -> usize {
    thread_local! {
        static OWNED: Option<Owned> = Owned::take();
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let owned = OWNED.try_with(|owned| owned.as_ref().map(|owned| owned.0)).ok().flatten();
    let stripe = owned.unwrap_or_else(|| OWN + NEXT.fetch_add(1, Ordering::Relaxed) % SHARED);
    STRIPE.set(stripe);
    stripe
}

impl Striped {
    #[inline]
    pub(crate) fn increment(&self) {
        let at = stripe();
        let count = &self.0.get_or_init(Box::default)[at].0;
        if at < OWN {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        } else {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.get().map_or(0, |stripes| stripes.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum())
    }
}

/// A counter off the hit path.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Calls that went without the cache, by why.
///
/// ```
/// use cache_runtime::{Cache, CacheStats};
///
/// let stats: CacheStats = Cache::memory().stats();
/// assert_eq!(stats.degraded_by.unavailable, 0); // no server that could be away
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DegradedBy {
    /// The backend was away, loading or too slow; or an invalidation of this process had not reached it yet; or the cache was
    /// closed.
    pub unavailable: u64,
    /// The server refused who we are or what we do.
    pub denied: u64,
    /// The server took no writes.
    pub read_only: u64,
    /// The server was full, and evicted nothing.
    pub full: u64,
    /// The server answered what makes no sense.
    pub protocol: u64,
    /// Isolation is enforced, and no tenant was in scope.
    pub no_tenant: u64,
    /// Anything else.
    pub other: u64,
}

/// [`DegradedBy`], while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Causes([Counter; 7]);

impl Causes {
    /// Counts a call that goes without the cache, for this reason.
    pub(crate) fn count(&self, kind: Option<ErrorKind>) {
        let at = match kind {
            Some(ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Closed) => 0,
            Some(ErrorKind::Denied) => 1,
            Some(ErrorKind::ReadOnly) => 2,
            Some(ErrorKind::Full) => 3,
            Some(ErrorKind::Protocol) => 4,
            Some(ErrorKind::TenantRequired) => 5,
            _ => 6,
        };
        self.0[at].increment();
    }

    fn get(&self) -> DegradedBy {
        let [unavailable, denied, read_only, full, protocol, no_tenant, other] = self.0.each_ref().map(Counter::get);
        DegradedBy { unavailable, denied, read_only, full, protocol, no_tenant, other }
    }
}

impl DegradedBy {
    /// All of them.
    pub(crate) fn sum(&self) -> u64 {
        let Self { unavailable, denied, read_only, full, protocol, no_tenant, other } = self;
        unavailable + denied + read_only + full + protocol + no_tenant + other
    }

    pub(crate) fn add(&mut self, more: Self) {
        let Self { unavailable, denied, read_only, full, protocol, no_tenant, other } = self;
        *unavailable += more.unavailable;
        *denied += more.denied;
        *read_only += more.read_only;
        *full += more.full;
        *protocol += more.protocol;
        *no_tenant += more.no_tenant;
        *other += more.other;
    }
}

/// What happened in one function, or in a whole cache.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: Striped,
    pub(crate) misses: Counter,
    pub(crate) loads: Counter,
    pub(crate) coalesced: Counter,
    pub(crate) stale: Counter,
    pub(crate) early: Counter,
    pub(crate) checked: Counter,
    pub(crate) disagreed: Counter,
    pub(crate) errors: Counter,
    pub(crate) panics: Counter,
    pub(crate) bypassed: Counter,
    pub(crate) unstored: Counter,
    pub(crate) refused: Counter,
    pub(crate) rejected: Counter,
    pub(crate) takeovers: Counter,
    pub(crate) degraded: Causes,
    pub(crate) lost_leases: Counter,
    pub(crate) recached: Counter,
    pub(crate) recache_failures: Counter,
    pub(crate) invalidations: Counter,
    pub(crate) latency: Histogram,
}

/// Durations in buckets of a quarter of a power of two (at most 19 % wide).
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: OnceLock<Box<[AtomicU64]>>,
    total: AtomicU64,
    max: AtomicU64,
}

const BUCKETS: usize = 64 * 4;

impl Histogram {
    pub(crate) fn record(&self, nanos: u64) {
        let buckets = self.buckets.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(nanos, Ordering::Relaxed);
        self.max.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(crate) fn summary(&self) -> Latency {
        let Some(buckets) = self.buckets.get() else { return Latency::default() };
        let counts: Vec<u64> = buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let max = self.max.load(Ordering::Relaxed);
        let at = |share: f64| {
            let rank = ((count as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            let found = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            Duration::from_nanos(found.map_or(max, |index| upper(index).min(max)))
        };
        Latency {
            count,
            mean: Duration::from_nanos(self.total.load(Ordering::Relaxed).checked_div(count).unwrap_or(0)),
            p50: at(0.50),
            p99: at(0.99),
            max: Duration::from_nanos(max),
        }
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < 4 {
        return nanos as usize;
    }
    let log = nanos.ilog2();
    let quarter = (nanos >> (log - 2)) & 3;
    log as usize * 4 + quarter as usize
}

fn upper(index: usize) -> u64 {
    if index < 4 {
        return index as u64;
    }
    let (log, quarter) = ((index / 4) as u32, (index % 4) as u64);
    if log < 2 { 4 } else { ((5 + quarter) << (log - 2)).saturating_sub(1) }
}

/// How long a function's own body took, over all loads so far.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use cache_runtime::{Cache, cache_read};
/// #[cache_read(key = "price:<id>")]
/// async fn price(id: u64) -> u64 {
///     id * 10
/// }
///
/// Cache::memory().scope(async {
///     price(1).await;
///     let latency = price::stats().latency;
///     assert_eq!(latency.count, 1);
///     assert!(latency.p50 <= latency.p99 && latency.p99 <= latency.max);
/// }).await;
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// Loads measured.
    pub count: u64,
    /// Mean.
    pub mean: Duration,
    /// Median, at most a fifth too high.
    pub p50: Duration,
    /// 99th percentile, at most a fifth too high.
    pub p99: Duration,
    /// Longest.
    pub max: Duration,
}

/// What the cache did for one annotated function, since the cache was built. See `get_user::stats()`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use cache_runtime::{Cache, cache_read};
/// #[cache_read(key = "price:<id>")]
/// async fn price(id: u64) -> u64 {
///     id * 10
/// }
///
/// Cache::memory().scope(async {
///     price(1).await;
///     price(1).await;
///     let stats = price::stats();
///     assert_eq!((stats.hits, stats.misses, stats.loads), (1, 1, 1));
///     println!("{stats}");
/// }).await;
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionStats {
    /// Calls answered from the cache.
    pub hits: u64,
    /// Calls that found nothing valid.
    pub misses: u64,
    /// Times the function's own body ran.
    pub loads: u64,
    /// Callers that shared somebody else's load.
    pub coalesced: u64,
    /// Calls answered with a value past its ttl, as `stale`, `stale_if_error` and `soft_timeout` allow. Hits, too.
    pub stale: u64,
    /// Calls answered with a value that is to be refreshed before it expires, as `early_ttl` says. Hits, too.
    pub early: u64,
    /// Answers that were compared with the source, as `monitor` says.
    pub checked: u64,
    /// Those of `checked` that differed from it, and went on to.
    pub disagreed: u64,
    /// Loads that returned `Err`.
    pub errors: u64,
    /// Loads that panicked or whose caller went away.
    pub abandoned: u64,
    /// Times a caller took over from a leader that went away or stood still.
    pub takeovers: u64,
    /// Calls that went past the cache because `bypass` said so.
    pub bypassed: u64,
    /// Loaded values that were not kept: as asked (`cache_if`, a ttl of zero), or too heavy. And errors that
    /// `ttl_err` asks to keep, where they cannot become bytes.
    pub unstored: u64,
    /// Loaded values that were not kept because something they depend on was invalidated meanwhile.
    pub refused: u64,
    /// Entries whose bytes could not be used: of another version of the stored type, damaged, or not ours.
    pub rejected: u64,
    /// Calls that had to go to the source, or whose value could not be stored, because the cache could not be used.
    pub degraded: u64,
    /// The same, by why.
    pub degraded_by: DegradedBy,
    /// Leases that were lost while their load ran: to an invalidation of the key, to who replaced the entry, to an eviction,
    /// or since they were not renewed in time. What is loaded without a lease is not stored.
    pub lost_leases: u64,
    /// How long loads took.
    pub latency: Latency,
}

impl FunctionStats {
    /// Share of calls answered from the cache, 0.0 to 1.0; 0.0 before the first call.
    ///
    /// ```
    /// let stats = cache_runtime::FunctionStats::default();
    /// assert_eq!(stats.hit_rate(), 0.0); // nobody called it
    /// ```
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        let calls = self.hits + self.misses;
        if calls == 0 { 0.0 } else { self.hits as f64 / calls as f64 }
    }
}

impl fmt::Display for FunctionStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} hits, {} misses ({:.1} %), {} loads, {} coalesced, {} errors, p99 of a load {:?}",
            self.hits,
            self.misses,
            self.hit_rate() * 100.0,
            self.loads,
            self.coalesced,
            self.errors,
            self.latency.p99
        )
    }
}

impl Counters {
    pub(crate) fn snapshot(&self) -> FunctionStats {
        FunctionStats {
            hits: self.hits.sum(),
            misses: self.misses.get(),
            loads: self.loads.get(),
            coalesced: self.coalesced.get(),
            stale: self.stale.get(),
            early: self.early.get(),
            checked: self.checked.get(),
            disagreed: self.disagreed.get(),
            errors: self.errors.get(),
            abandoned: self.panics.get(),
            takeovers: self.takeovers.get(),
            bypassed: self.bypassed.get(),
            unstored: self.unstored.get(),
            refused: self.refused.get(),
            rejected: self.rejected.get(),
            degraded: self.degraded.get().sum(),
            degraded_by: self.degraded.get(),
            lost_leases: self.lost_leases.get(),
            latency: self.latency.summary(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_at_most_a_fifth_too_high() {
        let histogram = Histogram::default();
        for nanos in 1..=10_000 {
            histogram.record(nanos);
        }
        let summary = histogram.summary();
        assert_eq!(summary.count, 10_000);
        assert_eq!(summary.max, Duration::from_nanos(10_000));
        for (got, exact) in [(summary.p50, 5_000.0), (summary.p99, 9_900.0)] {
            let ratio = got.as_nanos() as f64 / exact;
            assert!((1.0..1.25).contains(&ratio), "{got:?} for {exact}");
        }
    }

    #[test]
    fn buckets_are_ordered_and_cover_every_duration() {
        let mut last = 0;
        for nanos in [0, 1, 2, 3, 4, 5, 7, 8, 100, 1_000, u64::MAX / 2, u64::MAX] {
            let index = bucket(nanos);
            assert!(index >= last && index < BUCKETS, "{nanos} in {index}");
            assert!(upper(index) >= nanos || nanos > u64::MAX / 2, "{nanos} in {index}");
            last = index;
        }
    }

    #[test]
    fn concurrent_increments_are_all_counted() {
        let counter = Striped::default();
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| (0..1000).for_each(|_| counter.increment()));
            }
        });
        assert_eq!(counter.sum(), 40_000);
    }
}

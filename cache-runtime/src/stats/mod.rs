//! What is counted, and what users read of it. Counting itself is here and in `striped` (the hit path); how long something
//! took, in `latency`. Each counter passes on what it counts to `meter`.

mod latency;
mod striped;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::latency::Histogram;
pub use self::latency::Latency;
use self::striped::Striped;
use crate::clock::{Nanos, alive_now};
use crate::error::ErrorKind;
use crate::meter::{self, Operation, name};

/// Whether this build measures how long hits take: with the features `metrics` and `axum`, where somebody may ask.
const TIMED: bool = cfg!(any(feature = "metrics", feature = "axum"));

/// One hit in so many is measured, for each thread and function; the first one is. Reading the clock costs as much as half
/// a hit.
const SAMPLE: u64 = 64;

/// When a call begins that goes further than memory; see [`Counters::hit`].
pub(crate) fn began() -> Nanos {
    if TIMED { alive_now() } else { 0 }
}

/// A counter off the hit path.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    count: AtomicU64,
    told: meter::Counter,
}

impl Counter {
    /// One that passes on what it counts.
    pub(crate) fn telling(told: meter::Counter) -> Self {
        Self { count: AtomicU64::new(0), told }
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        if n > 0 {
            self.count.fetch_add(n, Ordering::Relaxed);
            self.told.add(n);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Has whoever records know of it, though it may have counted nothing.
    #[cfg(feature = "metrics")]
    pub(crate) fn tell(&self) {
        self.told.add(0);
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
#[derive(Debug)]
pub(crate) struct Causes([Counter; 7]);

/// The causes, as metrics call them.
const CAUSES: [&str; 7] = ["unavailable", "denied", "read_only", "full", "protocol", "no_tenant", "other"];

/// The cause that metrics give where there was no cache at all.
pub(crate) const NO_CACHE: &str = CAUSES[6];

impl Causes {
    fn new(meter: &meter::Function) -> Self {
        Self(CAUSES.map(|cause| Counter::telling(meter.counter(name::DEGRADED, Some(cause)))))
    }

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

/// Entries that left memory, by why. They leave when they are looked at, or when room is needed: one that is expired or
/// invalidated and that nobody asks for may stay for long.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// cache.set("k", 1_u64).tags(["t"]).await?;
/// cache.invalidate("t").await?;
/// assert_eq!(cache.get::<u64>("k").await?, None);
/// assert_eq!(cache.stats().evicted_by.invalidated, 1);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EvictedBy {
    /// Memory was full.
    pub full: u64,
    /// Their time was over.
    pub expired: u64,
    /// Something they depend on was invalidated, or they were dropped themselves.
    pub invalidated: u64,
}

/// [`EvictedBy`], while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    pub(crate) full: Counter,
    pub(crate) expired: Counter,
    pub(crate) invalidated: Counter,
}

impl Departures {
    /// Those of one cache.
    pub(crate) fn new(meter: &meter::Scope) -> Self {
        let counter = |cause| Counter::telling(meter.counter(name::EVICTIONS, Some(cause)));
        Self { full: counter("full"), expired: counter("expired"), invalidated: counter("invalidated") }
    }

    /// Has whoever records know of all of them.
    #[cfg(feature = "metrics")]
    pub(crate) fn tell(&self) {
        [&self.full, &self.expired, &self.invalidated].into_iter().for_each(Counter::tell);
    }

    pub(crate) fn get(&self) -> EvictedBy {
        let [full, expired, invalidated] = [&self.full, &self.expired, &self.invalidated].map(Counter::get);
        EvictedBy { full, expired, invalidated }
    }
}

macro_rules! counters {
    ($($name:ident: $metric:ident;)*) => {
        /// What happened in one function of a cache.
        #[derive(Debug)]
        pub(crate) struct Counters {
            hits: Striped,
            hits_told: meter::Counter,
            hit_latency: Histogram,
            pub(crate) latency: Histogram,
            pub(crate) degraded: Causes,
            pub(crate) meter: meter::Function,
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            /// Those that tell `meter`.
            pub(crate) fn new(meter: meter::Function) -> Self {
                Self {
                    hits: Striped::default(),
                    hits_told: meter.counter(name::HITS, None),
                    hit_latency: Histogram::default(),
                    latency: Histogram::default(),
                    degraded: Causes::new(&meter),
                    $($name: Counter::telling(meter.counter(name::$metric, None)),)*
                    meter,
                }
            }

            /// Has whoever records know of all of them.
            #[cfg(feature = "metrics")]
            pub(crate) fn tell(&self) {
                self.hits_told.add(0);
                self.degraded.0.iter().for_each(Counter::tell);
                $(self.$name.tell();)*
            }
        }
    };
}

counters! {
    misses: MISSES;
    loads: LOADS;
    coalesced: COALESCED;
    stale: STALE;
    early: EARLY;
    checked: CHECKED;
    disagreed: DISAGREED;
    errors: ERRORS;
    abandoned: ABANDONED;
    bypassed: BYPASSED;
    unstored: UNSTORED;
    refused: REFUSED;
    rejected: REJECTED;
    takeovers: TAKEOVERS;
    lease_waits: LEASE_WAITS;
    lost_leases: LOST_LEASES;
    recached: RECACHED;
    recache_failures: RECACHE_FAILURES;
    invalidations: INVALIDATIONS;
}

impl Counters {
    /// Counts a hit, and measures one in [`SAMPLE`]. `began` says when the call did, as [`alive_now`] tells time.
    #[inline]
    pub(crate) fn hit(&self, began: impl FnOnce() -> Nanos) {
        let counted = self.hits.increment();
        self.hits_told.add(1);
        if TIMED && counted % SAMPLE == 1 {
            self.measure_hit(began());
        }
    }

    #[cold]
    fn measure_hit(&self, began: Nanos) {
        let took = alive_now().saturating_sub(began);
        self.hit_latency.record(took);
        self.meter.took(Operation::Hit, took);
    }

    /// Counts a hit that is not measured: it has waited for something else before.
    pub(crate) fn late_hit(&self) {
        self.hits.increment();
        self.hits_told.add(1);
    }
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
    /// Calls that waited for somebody else in the fleet to load (`lock`).
    pub lease_waits: u64,
    /// Leases that were lost while their load ran: to an invalidation of the key, to who replaced the entry, to an eviction,
    /// or since they were not renewed in time. What is loaded without a lease is not stored.
    pub lost_leases: u64,
    /// How long loads took.
    pub latency: Latency,
    /// How long hits took, from the look-up to the value. One in 64 is measured, by thread, and only in programs that are
    /// built with the feature `metrics` or `axum`; hits on old values (`stale`, `early_ttl`) are not.
    pub hit_latency: Latency,
    /// How much longer the source would have worked without the cache, about: hits and shared loads × the mean load.
    pub saved: Duration,
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
        let (hits, latency) = (self.hits.sum(), self.latency.summary());
        let spared = u32::try_from(hits + self.coalesced.get()).unwrap_or(u32::MAX);
        FunctionStats {
            hits,
            misses: self.misses.get(),
            loads: self.loads.get(),
            coalesced: self.coalesced.get(),
            stale: self.stale.get(),
            early: self.early.get(),
            checked: self.checked.get(),
            disagreed: self.disagreed.get(),
            errors: self.errors.get(),
            abandoned: self.abandoned.get(),
            takeovers: self.takeovers.get(),
            bypassed: self.bypassed.get(),
            unstored: self.unstored.get(),
            refused: self.refused.get(),
            rejected: self.rejected.get(),
            degraded: self.degraded.get().sum(),
            degraded_by: self.degraded.get(),
            lease_waits: self.lease_waits.get(),
            lost_leases: self.lost_leases.get(),
            latency,
            hit_latency: self.hit_latency.summary(),
            saved: latency.mean.saturating_mul(spared),
        }
    }
}

//! What a cache does, function by function, for pages and reports. Totals are in `insight`.

use std::collections::BTreeMap;

use super::Cache;
use super::catalogue::Function;
use crate::engine::direct::{DIRECT, holdings_by_function};
#[cfg(feature = "metrics")]
use crate::meter::name;
use crate::stats::FunctionStats;
#[cfg(feature = "metrics")]
use crate::store::Breaker;

impl Cache {
    /// Each annotated function that used this cache, in the order of their paths, with what it did and what memory holds of
    /// it. O(n) in the entries in memory, which are looked at. [`catalogue`](crate::catalogue()) has those that did not use it, too.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::{Cache, cache_read};
    ///
    /// #[cache_read(key = "price:<id>")]
    /// async fn price(id: u64) -> u64 {
    ///     id * 10
    /// }
    ///
    /// let cache = Cache::memory();
    /// cache.scope(async {
    ///     price(1).await;
    ///     price(2).await;
    /// }).await;
    /// let functions = cache.functions();
    /// assert_eq!((functions[0].function.name(), functions[0].entries), ("price", 2));
    /// assert_eq!(functions[0].stats.misses, 2);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn functions(&self) -> Vec<FunctionInfo> {
        let held = holdings_by_function(&self.core);
        let used = self.core.functions().filter(|function| !std::ptr::eq(function.site, &raw const DIRECT));
        let by_path: BTreeMap<String, FunctionInfo> = used
            .map(|function| {
                let site = function.site;
                let (entries, bytes) = held.get(&site.index()).copied().unwrap_or_default();
                let stats = function.counters.snapshot();
                (site.path(), FunctionInfo { function: Function(site), stats, entries, bytes })
            })
            .collect();
        by_path.into_values().collect()
    }
}

#[cfg(feature = "metrics")]
impl Cache {
    /// Tells the recorder of the `metrics` facade how this cache is now: what memory holds, what waits to be delivered, whether
    /// copies are served and servers are used; and makes every counter known that has not counted yet. Call it before, or as
    /// often as, metrics are read. Counters and durations need no call: the recorder is told of them as they happen.
    ///
    /// O(n) in the entries in memory, as [`stats`](Self::stats) is. Gauges carry the label `cache`, the cache's prefix and version.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// // Beside an exporter that listens by itself:
    /// let publishing = tokio::spawn({
    ///     let cache = cache.clone();
    ///     async move {
    ///         loop {
    ///             cache.publish_metrics();
    ///             tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    ///         }
    ///     }
    /// });
    /// # publishing.abort();
    /// # });
    /// ```
    pub fn publish_metrics(&self) {
        let (stats, meter) = (self.stats(), &self.core.settings.meter);
        self.core.functions().for_each(|function| function.counters.tell());
        self.core.evictions.tell();
        if let Some(shared) = &self.core.shared {
            shared.outbox.tell();
        }
        let gauge = |metric, value: u64| meter.gauge(metric, None, value as f64);
        gauge(name::ENTRIES, stats.entries);
        gauge(name::BYTES, stats.bytes);
        gauge(name::FLIGHTS, stats.flights);
        gauge(name::BACKGROUND, stats.background);
        gauge(name::UNDELIVERED, stats.undelivered);
        if let (Some(served), Some(lease)) = (stats.copies_served, stats.copies_lease) {
            gauge(name::COPIES_SERVED, u64::from(served));
            meter.gauge(name::COPIES_LEASE, None, lease.as_secs_f64());
        }
        for server in &stats.servers {
            let state = match server.breaker {
                Breaker::Closed => 0.0,
                Breaker::HalfOpen => 1.0,
                Breaker::Open => 2.0,
            };
            meter.gauge(name::BREAKER, Some(("server", &server.name)), state);
        }
        // A gauge keeps what it was told last: a server that is used no more is nobody's trouble.
        for left in self.core.servers.replace(stats.servers.into_iter().map(|server| server.name).collect()) {
            meter.gauge(name::BREAKER, Some(("server", &left)), 0.0);
        }
    }
}

/// One annotated function in one cache. See [`Cache::functions`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use cache_runtime::{Cache, cache_read};
/// # #[cache_read(key = "price:<id>")]
/// # async fn price(id: u64) -> u64 { id * 10 }
/// # let cache = Cache::memory();
/// # cache.scope(price(1)).await;
/// for info in cache.functions() {
///     println!("{}: {}, {} entries, {} B", info.function.path(), info.stats, info.entries, info.bytes);
/// }
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FunctionInfo {
    /// Which it is.
    pub function: Function,
    /// What this cache did for it.
    pub stats: FunctionStats,
    /// Valid entries in the memory of this process that it stored last, or a write for it; copies of what is on servers
    /// included. Functions on one key share its entry, and it counts for one of them.
    pub entries: u64,
    /// Bytes of their keys and values, roughly.
    pub bytes: u64,
}

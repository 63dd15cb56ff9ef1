//! What a cache does, function by function, for pages and reports. Totals are in `insight`.

use std::collections::BTreeMap;

use super::Cache;
use super::catalogue::Function;
use crate::engine::direct::{DIRECT, holdings_by_function};
use crate::stats::FunctionStats;

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

//! What a cache says about itself: entries, numbers, health; and its end.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::Cache;
use crate::clock::alive_now;
use crate::engine::direct::{self, DIRECT};
use crate::engine::shared::write::undelivered;
use crate::error::Error;
use crate::key::Key;
use crate::stats::{DegradedBy, EvictedBy, FunctionStats};
use crate::store::ServerState;

impl Cache {
    /// What is known of one entry; `None` where it is not there.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).ttl("5m").await?;
    /// let lives = cache.entry_info("k").await?.and_then(|info| info.expires?.duration_since(info.created).ok());
    /// assert_eq!(lives.map(|lives| lives.as_secs()), Some(300));
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn entry_info(&self, key: impl Into<Key>) -> Result<Option<EntryInfo>, Error> {
        let call = self.call();
        let clock = &self.core.settings.clock;
        let key = call.direct_key(key)?;
        if let Some(direct) = call.direct_shared()? {
            let (now, wall) = (self.core.now(), clock.wall(self.core.now()));
            return Ok(direct.known(&key).await?.map(|known| {
                let created = SystemTime::UNIX_EPOCH + Duration::from_millis(known.created_ms);
                EntryInfo {
                    created,
                    expires: known.left.map(|left| wall + left),
                    hits: known.hits,
                    last_access: if known.hits == 0 { created } else { clock.wall(known.last_access.min(now)) },
                    bytes: known.bytes,
                    load_cost: Duration::from_micros(known.cost_us),
                }
            }));
        }
        Ok(call.record(&key)?.map(|record| EntryInfo {
            created: clock.wall(record.created),
            expires: (record.expires() != crate::clock::FOREVER).then(|| clock.wall(record.expires())),
            hits: record.hits(),
            last_access: clock.wall(record.last_access()),
            bytes: record.bytes,
            load_cost: Duration::from_nanos(record.cost),
        }))
    }

    /// What this cache did in this process, and what it holds in memory. O(n) in these entries, which are looked at.
    /// [`info`](Self::info) says what a shared backend holds.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.get::<u64>("missing").await?;
    /// assert_eq!((cache.stats().entries, cache.stats().misses), (0, 1));
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let holdings = direct::holdings(&self.core);
        let clock = &self.core.settings.clock;
        let mut total = FunctionStats::default();
        let mut invalidations = 0;
        let mut recached = 0;
        let mut recache_failures = 0;
        let mut functions = BTreeMap::new();
        let mut direct = FunctionStats::default();
        let l1 = self.core.shared.as_ref().and_then(|shared| shared.l1.as_ref());
        for function in self.core.functions() {
            let stats = function.counters.snapshot();
            total.hits += stats.hits;
            total.misses += stats.misses;
            total.loads += stats.loads;
            total.coalesced += stats.coalesced;
            total.stale += stats.stale;
            total.early += stats.early;
            total.checked += stats.checked;
            total.disagreed += stats.disagreed;
            total.errors += stats.errors;
            total.refused += stats.refused;
            total.rejected += stats.rejected;
            total.unstored += stats.unstored;
            total.degraded += stats.degraded;
            total.degraded_by.add(stats.degraded_by);
            total.lost_leases += stats.lost_leases;
            total.takeovers += stats.takeovers;
            invalidations += function.counters.invalidations.get();
            recached += function.counters.recached.get();
            recache_failures += function.counters.recache_failures.get();
            total.saved += stats.saved;
            if std::ptr::eq(function.site, &raw const DIRECT) {
                direct = stats;
            } else {
                functions.insert(function.site.path(), stats);
            }
        }
        CacheStats {
            entries: holdings.entries,
            bytes: holdings.bytes,
            hits: total.hits,
            misses: total.misses,
            loads: total.loads,
            coalesced: total.coalesced,
            stale: total.stale,
            early: total.early,
            checked: total.checked,
            disagreed: total.disagreed,
            errors: total.errors,
            refused: total.refused,
            unstored: total.unstored,
            degraded: total.degraded,
            degraded_by: total.degraded_by,
            lost_leases: total.lost_leases,
            takeovers: total.takeovers,
            invalidations,
            recached,
            recache_failures,
            evictions: self.core.evictions.full.get(),
            evicted_by: self.core.evictions.get(),
            oldest: holdings.oldest.map(|at| clock.wall(at)),
            newest: holdings.newest.map(|at| clock.wall(at)),
            tags: self.core.cells.len() as u64,
            flights: self.core.flights.len() as u64,
            rejected: total.rejected,
            undelivered: self.core.shared.as_ref().map_or(0, |shared| shared.outbox.len() as u64),
            undelivered_total: self.core.shared.as_ref().map_or(0, |shared| shared.outbox.total()),
            background: self.core.background.len() as u64,
            copies_served: l1.map(|l1| l1.serves(alive_now())),
            copies_lease: l1.map(|l1| l1.lease_left(alive_now())),
            servers: self.core.shared.as_ref().map(|shared| shared.store.servers()).unwrap_or_default(),
            saved: total.saved,
            direct,
            functions,
        }
    }

    /// What this cache is.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// assert_eq!(cache.info().await?.backend, "memory");
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn info(&self) -> Result<Info, Error> {
        self.core.usable()?;
        let settings = &self.core.settings;
        let server = match &self.core.shared {
            Some(shared) => Some(shared.store.info().await?.into()),
            None => None,
        };
        Ok(Info {
            backend: self.backend(),
            server,
            engine: settings.engine,
            prefix: String::from_utf8_lossy(&settings.prefix).trim_end_matches(':').to_owned(),
            max_items: settings.bounds.max_items,
            max_bytes: settings.bounds.max_bytes,
            enabled: settings.enabled,
            uptime: Duration::from_nanos(self.core.now().saturating_sub(self.core.started)),
        })
    }

    /// What kind of backend it has, in a word.
    pub(crate) fn backend(&self) -> &'static str {
        match &self.core.shared {
            None => "memory",
            Some(shared) if shared.l1.is_some() => "hybrid",
            Some(_) => "redis",
        }
    }

    /// Whether the backend answers.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.ping().await?;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// It does not, or the cache was closed.
    pub async fn ping(&self) -> Result<(), Error> {
        self.core.usable()?;
        match &self.core.shared {
            Some(shared) => shared.store.ping().await,
            None => Ok(()),
        }
    }

    /// Waits for background work and closes the cache: annotated functions then call their source, direct calls fail.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.close().await?;
    /// assert_eq!(cache.ping().await.unwrap_err().kind(), cache_runtime::ErrorKind::Closed);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// Work that begins while it waits is waited for, too: leases are given back by then. Calls that are under way are not, so
    /// that this comes after the last of them.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the waiting and nothing else: background work goes on. Until what had begun is done, the cache is open
    /// and stays as it was; from then on it is closed, and what is left to do is done by closing it again.
    ///
    /// # Errors
    ///
    /// An invalidation could not be delivered to a shared backend: what it covers is there until it expires.
    pub async fn close(&self) -> Result<(), Error> {
        // What has begun may need the cache to be open. What begins meanwhile may, too, and there may be no end of that.
        self.core.background.drain().await;
        self.core.close();
        self.core.background.idle().await;
        let Some(shared) = &self.core.shared else { return Ok(()) };
        let delivered = shared.outbox.close().await;
        shared.store.close().await;
        if delivered { Ok(()) } else { Err(undelivered()) }
    }
}

/// What is known of one entry. See [`Cache::entry_info`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// cache.set("k", "hello".to_owned()).ttl("5m").await?;
/// cache.get::<String>("k").await?;
/// if let Some(info) = cache.entry_info("k").await? {
///     assert_eq!(info.hits, 1);
///     assert!(info.load_cost.is_zero()); // it was set
///     assert!(info.created <= info.last_access);
/// }
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
    /// When it was stored.
    pub created: SystemTime,
    /// When it expires; `None`: never.
    pub expires: Option<SystemTime>,
    /// How often this process was answered from it; 0 with statistics off. Exact up to 128, but for concurrent hits, which may
    /// be counted once; beyond, off by about a tenth, so that a hot entry is not written on every hit.
    pub hits: u64,
    /// When this process last was, to the millisecond.
    pub last_access: SystemTime,
    /// Bytes of key and value, roughly.
    pub bytes: u64,
    /// How long it took to load; zero where it was set.
    pub load_cost: Duration,
}

/// What a cache did in this process since it was built, and what it holds in memory: on a shared backend, memoized values
/// only. See [`Cache::stats`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// cache.set("k", 1_u64).await?;
/// cache.get::<u64>("k").await?;
/// cache.get::<u64>("missing").await?;
/// let stats = cache.stats();
/// assert_eq!((stats.entries, stats.hits, stats.misses, stats.undelivered), (1, 1, 1, 0));
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Valid entries in memory.
    pub entries: u64,
    /// Bytes of their keys and values, roughly.
    pub bytes: u64,
    /// Calls answered from the cache.
    pub hits: u64,
    /// Calls that found nothing valid.
    pub misses: u64,
    /// Times a function's own body ran.
    pub loads: u64,
    /// Callers that shared somebody else's load.
    pub coalesced: u64,
    /// Calls answered with a value past its ttl. Hits, too.
    pub stale: u64,
    /// Calls answered with a value that is to be refreshed before it expires. Hits, too.
    pub early: u64,
    /// Answers that were compared with the source, as `monitor` says.
    pub checked: u64,
    /// Those of `checked` that differed from it, and went on to: values that somebody changed past the cache.
    pub disagreed: u64,
    /// Loads that returned `Err`.
    pub errors: u64,
    /// Loaded values that were not kept because something they depend on was invalidated meanwhile.
    pub refused: u64,
    /// Loaded values that were not kept, as asked or because they were too heavy.
    pub unstored: u64,
    /// Calls that had to go to the source because the cache could not be used.
    pub degraded: u64,
    /// The same, by why.
    pub degraded_by: DegradedBy,
    /// Leases that were lost while their load ran.
    pub lost_leases: u64,
    /// Times a caller took over from a leader that stood still.
    pub takeovers: u64,
    /// Writes that invalidated something, and tags invalidated directly.
    pub invalidations: u64,
    /// Entries that writes recached.
    pub recached: u64,
    /// Recaches that panicked or could not be started.
    pub recache_failures: u64,
    /// Entries that left memory because it was full.
    pub evictions: u64,
    /// Entries that left memory, by why; `full` is `evictions`.
    pub evicted_by: EvictedBy,
    /// When the oldest entry in memory was stored.
    pub oldest: Option<SystemTime>,
    /// When the newest entry in memory was stored.
    pub newest: Option<SystemTime>,
    /// Names of tags, namespaces and functions that memory keeps; unused ones are freed as the table grows.
    pub tags: u64,
    /// Keys that are being loaded or written through now.
    pub flights: u64,
    /// Entries of a shared backend whose bytes could not be used.
    pub rejected: u64,
    /// Names and patterns whose invalidation waits to be delivered to a shared backend. While there are any, this process does
    /// not read from it.
    pub undelivered: u64,
    /// Invalidations that could not be delivered at once.
    pub undelivered_total: u64,
    /// Background tasks that run now.
    pub background: u64,
    /// Whether copies in memory of what is on servers may be served at the moment; `None` where the cache is not hybrid.
    /// `Some(false)` for long: a server is away, or does not tell what changes.
    pub copies_served: Option<bool>,
    /// For how much longer they may be if no server is heard of; zero: they may not. `None` as above.
    pub copies_lease: Option<Duration>,
    /// The servers of a shared backend, as far as they are known by now, and whether they are used.
    pub servers: Vec<ServerState>,
    /// How much longer the sources would have worked without the cache, about. See [`FunctionStats::saved`].
    pub saved: Duration,
    /// What direct calls (`get`, `get_many`, ..) came to.
    pub direct: FunctionStats,
    /// Each annotated function that used this cache, by path.
    pub functions: BTreeMap<String, FunctionStats>,
}

impl CacheStats {
    /// Share of calls answered from the cache, 0.0 to 1.0; 0.0 before the first call.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).await?;
    /// cache.get_many::<u64>(["k", "missing"]).await?;
    /// assert_eq!(cache.stats().hit_rate(), 0.5);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        let calls = self.hits + self.misses;
        if calls == 0 { 0.0 } else { self.hits as f64 / calls as f64 }
    }
}

/// What a cache is. See [`Cache::info`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// let info = cache.info().await?;
/// assert_eq!((info.backend, info.prefix.as_str(), info.max_items), ("memory", "svc:v1", 10_000));
/// assert!(info.server.is_none());
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// `memory`, `redis` or `hybrid`.
    pub backend: &'static str,
    /// What the servers of a shared backend say about themselves.
    pub server: Option<ServerInfo>,
    /// The map that keeps entries in memory.
    pub engine: crate::memory::Engine,
    /// `prefix:version`
    pub prefix: String,
    /// Most entries in memory.
    pub max_items: u64,
    /// Most bytes in memory, where bounded.
    pub max_bytes: Option<u64>,
    /// Whether anything is cached.
    pub enabled: bool,
    /// How long it exists.
    pub uptime: Duration,
}

/// What the servers of a shared backend say about themselves. See [`Info::server`].
///
/// ```no_run
/// # async fn example() -> Result<(), cache_runtime::Error> {
/// let cache = cache_runtime::Cache::builder().url("redis://localhost:6379").build().await?;
/// if let Some(server) = cache.info().await?.server {
///     println!("{} {}, {} keys, evicts by {}", server.mode, server.version, server.keys, server.eviction_policy);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// `7.0.15`
    pub version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: &'static str,
    /// Servers that hold entries.
    pub shards: u64,
    /// Keys on them, of all their users.
    pub keys: u64,
    /// Bytes that they use.
    pub used_memory: u64,
    /// What they evict when they are full: `allkeys-lru`, `noeviction`.
    pub eviction_policy: String,
}

impl From<crate::store::ServerInfo> for ServerInfo {
    fn from(info: crate::store::ServerInfo) -> Self {
        let crate::store::ServerInfo { version, mode, shards, keys, used_memory, eviction_policy } = info;
        Self { version, mode, shards, keys, used_memory, eviction_policy }
    }
}

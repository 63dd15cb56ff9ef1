//! The facade: [`Cache`] and its direct operations. Algorithms are the engine's; here is what users hold and call.

pub(crate) mod builder;
pub(crate) mod catalogue;
pub(crate) mod context;
pub(crate) mod handle;
pub(crate) mod keys;
pub(crate) mod operation;
#[cfg(feature = "testing")]
pub(crate) mod testing;
pub(crate) mod warm;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::engine::call::{Call, Held};
use crate::engine::core::Core;
use crate::engine::direct::{self, DIRECT, Remaining};
use crate::engine::sink::{IntoTags, canonical};
use crate::error::{Error, ErrorKind};
use crate::key::{Key, Pattern};
use crate::policy::IntoTtl;
use crate::shape::Storable;
use crate::stats::FunctionStats;

use keys::Keys;
use operation::{GetOrLoad, IntoValue, Set, SetMany};

/// A cache: what annotated functions use, and direct typed access to the same entries.
///
/// Cheap to clone; all clones are one cache. Keys are logical: prefix, version and the current tenant are added.
///
/// ```
/// # async fn example() -> Result<(), cache_runtime::Error> {
/// use cache_runtime::Cache;
///
/// let cache = Cache::builder().url("mem://").build().await?;
/// cache.set("greeting", "hello".to_owned()).ttl("5m").tags(["texts"]).await?;
/// assert_eq!(cache.get::<String>("greeting").await?.as_deref(), Some("hello"));
/// cache.invalidate("texts").await?;
/// assert_eq!(cache.get::<String>("greeting").await?, None);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
///
/// # Errors
///
/// Direct calls fail with [`ErrorKind::TenantRequired`](crate::ErrorKind::TenantRequired) where isolation is enforced and
/// no tenant is in scope, and with [`ErrorKind::Closed`](crate::ErrorKind::Closed) after [`close`](Self::close).
///
/// # Cancel safety
///
/// Every operation on a memory cache completes at its first poll; dropping it before that does nothing.
#[derive(Clone)]
pub struct Cache {
    pub(crate) core: Arc<Core>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("settings", &self.core.settings).finish_non_exhaustive()
    }
}

impl Cache {
    fn call(&self) -> Call<'_> {
        Call::new(Ok(Held::Borrowed(&self.core)), &DIRECT, context::tenant())
    }

    /// The value under `key`, cloned; `None` where there is none, it has expired, or it is of another type.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn get<V: Storable + Clone>(&self, key: impl Into<Key>) -> Result<Option<V>, Error> {
        Ok(self.get_arc::<V>(key).await?.map(Arc::unwrap_or_clone))
    }

    /// The value under `key` as the cache shares it.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn get_arc<V: Storable>(&self, key: impl Into<Key>) -> Result<Option<Arc<V>>, Error> {
        let call = self.call();
        call.get::<V>(&call.direct_key(key)?)
    }

    /// The values under `keys`, in their order.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn get_many<V: Storable + Clone>(
        &self,
        keys: impl IntoIterator<Item = impl Into<Key>>,
    ) -> Result<Vec<Option<V>>, Error> {
        let call = self.call();
        keys.into_iter().map(|key| Ok(call.get::<V>(&call.direct_key(key)?)?.map(Arc::unwrap_or_clone))).collect()
    }

    /// Stores `value` (a `V` or a `&V`) under `key`: `.ttl("5m")`, `.tags(["a"])`, `.namespace("n")`, then `.await`.
    ///
    /// The ttl is the bucket `Default` unless given. The value replaces what is there, and a load that runs does not
    /// replace it.
    pub fn set<M, T: IntoValue<M>>(&self, key: impl Into<Key>, value: T) -> Set<'_, T::Value, ()> {
        Set::new(self, key.into(), value.into_value())
    }

    /// Like [`set`](Self::set), but only where nothing valid is there. `.await` says whether it was stored.
    pub fn set_nx<M, T: IntoValue<M>>(&self, key: impl Into<Key>, value: T) -> Set<'_, T::Value, bool> {
        Set::new(self, key.into(), value.into_value())
    }

    /// Stores several values with one ttl and set of tags.
    pub fn set_many<M, K: Into<Key>, T: IntoValue<M>>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> SetMany<'_, T::Value> {
        SetMany::new(self, entries.into_iter().map(|(key, value)| (key.into(), value.into_value())).collect())
    }

    /// Drops the entry and returns whether there was one. A load that runs cannot bring the old value back.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn delete(&self, key: impl Into<Key>) -> Result<bool, Error> {
        let call = self.call();
        call.delete(&call.direct_key(key)?)
    }

    /// Takes the value out: of several concurrent callers one gets it.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn pop<V: Storable + Clone>(&self, key: impl Into<Key>) -> Result<Option<V>, Error> {
        let call = self.call();
        Ok(call.pop::<V>(&call.direct_key(key)?)?.map(Arc::unwrap_or_clone))
    }

    /// Whether an entry is there. An absent value that was cached (`None`) counts.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn exists(&self, key: impl Into<Key>) -> Result<bool, Error> {
        let call = self.call();
        call.exists(&call.direct_key(key)?)
    }

    /// Gives an entry another life, counted from now. `false`: it is not there. A zero ttl drops it.
    ///
    /// # Errors
    ///
    /// The ttl cannot be understood, or the cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn expire(&self, key: impl Into<Key>, ttl: impl IntoTtl) -> Result<bool, Error> {
        let call = self.call();
        call.expire(&call.direct_key(key)?, ttl.into_ttl()?)
    }

    /// How long an entry still lives; `None` where it is not there.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn ttl(&self, key: impl Into<Key>) -> Result<Option<Remaining>, Error> {
        let call = self.call();
        call.remaining(&call.direct_key(key)?)
    }

    /// Adds `by` to the counter under `key`, which begins at 0 and then lives for the bucket `Default`. Atomic. Read it
    /// with `get::<i64>`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) where the value is not an `i64` or would overflow; it is left as it is.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn incr(&self, key: impl Into<Key>, by: i64) -> Result<i64, Error> {
        let call = self.call();
        call.count(&call.direct_key(key)?, |count| count.checked_add(by))
    }

    /// [`incr`](Self::incr) by `-by`.
    ///
    /// # Errors
    ///
    /// As [`incr`](Self::incr).
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn decr(&self, key: impl Into<Key>, by: i64) -> Result<i64, Error> {
        let call = self.call();
        call.count(&call.direct_key(key)?, |count| count.checked_sub(by))
    }

    /// The fresh value under `key`, running `load` when there is none: `.ttl(..)`, `.tags(..)`, then `.await`.
    ///
    /// # Concurrent calls on the same key
    ///
    /// Calls share one `load` and its value. An invalidation closes the load that runs to callers that begin after it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is safe: if it was loading, a waiter takes over and its own `load` runs.
    ///
    /// # Errors
    ///
    /// Only `load`'s own error, unchanged and never cached. A cache that cannot be used counts as a miss.
    pub fn get_or_load<V, E, F, L>(&self, key: impl Into<Key>, load: L) -> GetOrLoad<'_, V, E, L>
    where
        V: Storable + Clone,
        L: FnOnce() -> F,
        F: Future<Output = Result<V, E>>,
    {
        GetOrLoad::new(self, key.into(), load)
    }

    /// The keys that match a glob (`*`, `?`, `[abc]`, `\x`), in no order: those of the current tenant, or of none.
    ///
    /// # Errors
    ///
    /// The first item is the error where the cache cannot be used.
    pub fn keys(&self, pattern: impl AsRef<str>) -> Keys {
        Keys::new(self.call().keys(&Pattern::glob(pattern.as_ref())))
    }

    /// Drops the entries whose keys match a glob and returns how many there were. O(n) in the entries of the cache.
    ///
    /// A value that is loaded while this runs is not stored.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn delete_match(&self, pattern: impl AsRef<str>) -> Result<u64, Error> {
        self.call().delete_match(&Pattern::glob(pattern.as_ref()))
    }

    /// Labels an entry with more tags. `false`: it is not there.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn tag<M>(&self, key: impl Into<Key>, tags: impl IntoTags<M>) -> Result<bool, Error> {
        let call = self.call();
        call.tag(&call.direct_key(key)?, &collect(tags)?)
    }

    /// Makes every entry with one of `tags` invalid, and drops the entries of that name. O(1) in what a tag covers.
    ///
    /// A read that begins after this returns never yields a value that was loaded before.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn invalidate<M>(&self, tags: impl IntoTags<M>) -> Result<(), Error> {
        self.call().invalidate_tags(&collect(tags)?)
    }

    /// [`invalidate`](Self::invalidate), under the name that other systems have for it.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn invalidate_tags<M>(&self, tags: impl IntoTags<M>) -> Result<(), Error> {
        self.invalidate(tags).await
    }

    /// Drops these entries and returns how many there were.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn invalidate_keys(&self, keys: impl IntoIterator<Item = impl Into<Key>>) -> Result<u64, Error> {
        let call = self.call();
        keys.into_iter().try_fold(0, |count, key| Ok(count + u64::from(call.delete(&call.direct_key(key)?)?)))
    }

    /// [`delete_match`](Self::delete_match), under the name that other systems have for it.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn invalidate_pattern(&self, pattern: impl AsRef<str>) -> Result<u64, Error> {
        self.delete_match(pattern).await
    }

    /// Makes every entry of a namespace invalid. O(1) in what it covers.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn invalidate_namespace(&self, namespace: impl AsRef<str>) -> Result<(), Error> {
        let namespace = namespace.as_ref();
        some_text("namespace", namespace)?;
        self.call().invalidate_namespace(namespace)
    }

    /// Makes every entry of this cache invalid; inside a tenant, every entry of that tenant. O(1).
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn clear(&self) -> Result<(), Error> {
        self.call().clear_all()
    }

    /// Frees the memory of expired and invalidated entries and returns how many there were. They are never served, and
    /// make room by themselves; this makes it at once. O(n).
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn cleanup_expired(&self) -> Result<u64, Error> {
        self.core.usable()?;
        Ok(self.core.sweep())
    }

    /// What is known of one entry; `None` where it is not there.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn entry_info(&self, key: impl Into<Key>) -> Result<Option<EntryInfo>, Error> {
        let call = self.call();
        let clock = &self.core.settings.clock;
        Ok(call.record(&call.direct_key(key)?)?.map(|record| EntryInfo {
            created: clock.wall(record.created),
            expires: (record.expires() != crate::clock::FOREVER).then(|| clock.wall(record.expires())),
            hits: record.hits(),
            last_access: clock.wall(record.last_access()),
            bytes: record.bytes,
            load_cost: std::time::Duration::from_nanos(record.cost),
        }))
    }

    /// What this cache holds and did. O(n) in its entries, which are looked at.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let holdings = direct::holdings(&self.core);
        let clock = &self.core.settings.clock;
        let mut total = FunctionStats::default();
        let mut invalidations = 0;
        let mut recached = 0;
        let mut recache_failures = 0;
        let mut functions = BTreeMap::new();
        for function in self.core.functions() {
            let stats = function.counters.snapshot();
            total.hits += stats.hits;
            total.misses += stats.misses;
            total.loads += stats.loads;
            total.coalesced += stats.coalesced;
            total.errors += stats.errors;
            total.refused += stats.refused;
            total.unstored += stats.unstored;
            total.degraded += stats.degraded;
            total.takeovers += stats.takeovers;
            invalidations += function.counters.invalidations.get();
            recached += function.counters.recached.get();
            recache_failures += function.counters.recache_failures.get();
            if !std::ptr::eq(function.site, &raw const DIRECT) {
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
            errors: total.errors,
            refused: total.refused,
            unstored: total.unstored,
            degraded: total.degraded,
            takeovers: total.takeovers,
            invalidations,
            recached,
            recache_failures,
            evictions: self.core.evictions.load(Ordering::Relaxed),
            oldest: holdings.oldest.map(|at| clock.wall(at)),
            newest: holdings.newest.map(|at| clock.wall(at)),
            tags: self.core.cells.len() as u64,
            flights: self.core.flights.len() as u64,
            background: self.core.background_len() as u64,
            functions,
        }
    }

    /// What this cache is.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn info(&self) -> Result<Info, Error> {
        self.core.usable()?;
        let settings = &self.core.settings;
        Ok(Info {
            backend: "memory",
            engine: settings.engine,
            prefix: String::from_utf8_lossy(&settings.prefix).trim_end_matches(':').to_owned(),
            max_items: settings.bounds.max_items,
            max_bytes: settings.bounds.max_bytes,
            enabled: settings.enabled,
            uptime: std::time::Duration::from_nanos(self.core.now().saturating_sub(self.core.started)),
        })
    }

    /// Whether the backend answers.
    ///
    /// # Errors
    ///
    /// It does not, or the cache was closed.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn ping(&self) -> Result<(), Error> {
        self.core.usable()
    }

    /// Waits for background work and closes the cache: annotated functions then call their source, direct calls fail.
    ///
    /// # Errors
    ///
    /// None today; a shared backend may fail to say goodbye.
    pub async fn close(&self) -> Result<(), Error> {
        self.core.drain().await;
        self.core.closed.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether `other` is this cache.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }
}

/// The texts of tags, each in its final form.
pub(crate) fn collect<M>(tags: impl IntoTags<M>) -> Result<Vec<Box<[u8]>>, Error> {
    let mut all: Vec<Box<[u8]>> = Vec::new();
    let mut wrong = None;
    tags.for_each_tag(&mut |tag| {
        wrong = wrong.take().or(some_text("tag", tag).err());
        all.push(canonical(tag).into());
    });
    wrong.map_or(Ok(all), Err)
}

/// Refuses an empty text: it would name something that nobody can mean.
pub(crate) fn some_text(what: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::new(ErrorKind::InvalidKey, format!("the {what} is empty")));
    }
    Ok(())
}

/// What is known of one entry. See [`Cache::entry_info`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
    /// When it was stored.
    pub created: SystemTime,
    /// When it expires; `None`: never.
    pub expires: Option<SystemTime>,
    /// How often this process was answered from it. Concurrent hits may be counted once; 0 with statistics off.
    pub hits: u64,
    /// When this process last was.
    pub last_access: SystemTime,
    /// Bytes of key and value, roughly.
    pub bytes: u64,
    /// How long it took to load; zero where it was set.
    pub load_cost: std::time::Duration,
}

/// What a cache holds and did since it was built. See [`Cache::stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Valid entries.
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
    /// Loads that returned `Err`.
    pub errors: u64,
    /// Loaded values that were not kept because something they depend on was invalidated meanwhile.
    pub refused: u64,
    /// Loaded values that were not kept, as asked or because they were too heavy.
    pub unstored: u64,
    /// Calls that had to go to the source because the cache could not be used.
    pub degraded: u64,
    /// Times a caller took over from a leader that stood still.
    pub takeovers: u64,
    /// Writes that invalidated something, and tags invalidated directly.
    pub invalidations: u64,
    /// Entries that writes recached.
    pub recached: u64,
    /// Recaches that panicked or could not be started.
    pub recache_failures: u64,
    /// Entries that left because the store was full.
    pub evictions: u64,
    /// When the oldest entry was stored.
    pub oldest: Option<SystemTime>,
    /// When the newest entry was stored.
    pub newest: Option<SystemTime>,
    /// Names of tags, namespaces and functions that are kept; unused ones are freed as the table grows.
    pub tags: u64,
    /// Keys that are being loaded or written through now.
    pub flights: u64,
    /// Background tasks that run now.
    pub background: u64,
    /// Each annotated function that used this cache, by path.
    pub functions: BTreeMap<String, FunctionStats>,
}

impl CacheStats {
    /// Share of calls answered from the cache, 0.0 to 1.0; 0.0 before the first call.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        let calls = self.hits + self.misses;
        if calls == 0 { 0.0 } else { self.hits as f64 / calls as f64 }
    }
}

/// What a cache is. See [`Cache::info`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// `memory`
    pub backend: &'static str,
    /// The map that keeps entries.
    pub engine: crate::memory::Engine,
    /// `prefix:version`
    pub prefix: String,
    /// Most entries.
    pub max_items: u64,
    /// Most bytes, where bounded.
    pub max_bytes: Option<u64>,
    /// Whether anything is cached.
    pub enabled: bool,
    /// How long it exists.
    pub uptime: std::time::Duration,
}

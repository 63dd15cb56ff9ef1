//! Direct access to many entries at once: by pattern, tag, namespace, or all of them.

use super::keys::Keys;
use super::{Cache, collect, some_text};
use crate::engine::sink::IntoTags;
use crate::engine::timed::Timed;
use crate::error::Error;
use crate::key::{Key, Pattern};
use crate::meter::Operation;

impl Cache {
    /// The keys that match a glob (`*`, `?`, `[abc]`, `\x`), in no order: those of the current tenant, or of none.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("user:1", 1_u64).await?;
    /// let keys: Vec<cache_runtime::Key> = cache.keys("user:*").collect().await?;
    /// assert_eq!(keys[0].as_str(), "user:1");
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The first item is the error where the cache cannot be used.
    pub fn keys(&self, pattern: impl AsRef<str>) -> Keys {
        let (call, pattern) = (self.call(), Pattern::glob(pattern.as_ref()));
        match call.direct_shared() {
            Ok(None) => Keys::new(call.keys(&pattern)),
            Ok(Some(_)) => Keys::paged(call.to_owned_call(), pattern),
            Err(error) => Keys::new(Err(error)),
        }
    }

    /// Drops the entries whose keys match a glob and returns how many there were. O(n) in the entries of the cache, on a
    /// shared backend in all keys of the server.
    ///
    /// A value that is loaded while this runs is not stored.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set_many([("user:1", 1_u64), ("user:2", 2)]).await?;
    /// assert_eq!(cache.delete_match("user:*").await?, 2);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn delete_match(&self, pattern: impl AsRef<str>) -> Result<u64, Error> {
        let (call, pattern) = (self.call(), Pattern::glob(pattern.as_ref()));
        let _timed = Timed::start(&call, Operation::Invalidate, None);
        // Memoized values are in this process in any case.
        let here = call.delete_match(&pattern)?;
        match call.direct_shared()? {
            Some(direct) => Ok(here + direct.delete_match(&pattern).await?),
            None => Ok(here),
        }
    }

    /// Labels an entry with more tags. `false`: it is not there.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).await?;
    /// assert!(cache.tag("k", ["late"]).await?);
    /// cache.invalidate("late").await?;
    /// assert!(!cache.exists("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn tag<M>(&self, key: impl Into<Key>, tags: impl IntoTags<M>) -> Result<bool, Error> {
        let call = self.call();
        let (key, tags) = (call.direct_key(key)?, collect(tags)?);
        match call.direct_shared()? {
            Some(direct) => direct.tag(&key, &tags).await,
            None => call.tag(&key, &tags),
        }
    }

    /// Makes every entry with one of `tags` invalid, and drops the entries of that name. O(1) in what a tag covers.
    ///
    /// A read that begins after this returned `Ok` never yields a value that was loaded before.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).tags(["a", "b"]).await?;
    /// cache.invalidate("b").await?;
    /// assert!(!cache.exists("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used. An invalidation that did not reach a shared backend is kept and delivered later; until then
    /// this process does not read from it, and other processes may read what is covered.
    pub async fn invalidate<M>(&self, tags: impl IntoTags<M>) -> Result<(), Error> {
        let (call, tags) = (self.call(), collect(tags)?);
        let _timed = Timed::start(&call, Operation::Invalidate, None);
        call.invalidate_tags(&tags)?;
        match call.direct_shared()? {
            Some(direct) => direct.invalidate_tags(&tags).await,
            None => Ok(()),
        }
    }

    /// [`invalidate`](Self::invalidate), under the name that other systems have for it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).tags(["a"]).await?;
    /// cache.invalidate_tags(["a", "b"]).await?;
    /// assert!(!cache.exists("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn invalidate_tags<M>(&self, tags: impl IntoTags<M>) -> Result<(), Error> {
        self.invalidate(tags).await
    }

    /// Drops these entries and returns how many there were.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).await?;
    /// assert_eq!(cache.invalidate_keys(["k", "missing"]).await?, 1);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn invalidate_keys(&self, keys: impl IntoIterator<Item = impl Into<Key>>) -> Result<u64, Error> {
        let call = self.call();
        let _timed = Timed::start(&call, Operation::Invalidate, None);
        let keys: Vec<_> = keys.into_iter().map(|key| call.direct_key(key)).collect::<Result<_, _>>()?;
        match call.direct_shared()? {
            Some(direct) => direct.delete(&keys).await,
            None => keys.iter().try_fold(0, |count, key| Ok(count + u64::from(call.delete(key)?))),
        }
    }

    /// [`delete_match`](Self::delete_match), under the name that other systems have for it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("user:1", 1_u64).await?;
    /// assert_eq!(cache.invalidate_pattern("user:*").await?, 1);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn invalidate_pattern(&self, pattern: impl AsRef<str>) -> Result<u64, Error> {
        self.delete_match(pattern).await
    }

    /// Makes every entry of a namespace invalid. O(1) in what it covers.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).namespace("team").await?;
    /// cache.invalidate_namespace("team").await?;
    /// assert!(!cache.exists("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn invalidate_namespace(&self, namespace: impl AsRef<str>) -> Result<(), Error> {
        let namespace = namespace.as_ref();
        some_text("namespace", namespace)?;
        let call = self.call();
        let _timed = Timed::start(&call, Operation::Invalidate, None);
        call.invalidate_namespace(namespace)?;
        match call.direct_shared()? {
            Some(direct) => direct.invalidate_namespace(namespace).await,
            None => Ok(()),
        }
    }

    /// Makes every entry of this cache invalid; inside a tenant, every entry of that tenant. O(1): on a shared backend they
    /// take room until they expire.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).await?;
    /// cache.clear().await?;
    /// assert!(!cache.exists("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn clear(&self) -> Result<(), Error> {
        let call = self.call();
        let _timed = Timed::start(&call, Operation::Invalidate, None);
        call.clear_all()?;
        match call.direct_shared()? {
            Some(direct) => direct.clear_all().await,
            None => Ok(()),
        }
    }

    /// Frees the memory of expired and invalidated entries and returns how many there were. They are never served, and
    /// make room by themselves; this makes it at once. O(n). A shared backend drops what has expired by itself, and is not
    /// asked.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).await?;
    /// cache.clear().await?;
    /// assert_eq!(cache.cleanup_expired().await?, 1);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn cleanup_expired(&self) -> Result<u64, Error> {
        self.core.usable()?;
        Ok(self.core.sweep())
    }
}

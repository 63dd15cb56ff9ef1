//! Direct access to single entries: what is under a key, typed.

use std::sync::Arc;

use super::Cache;
use super::operation::{GetOrLoad, IntoValue, Set, SetMany};
use crate::engine::direct::Remaining;
use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::policy::IntoTtl;
use crate::shape::Storable;

impl Cache {
    /// The value under `key`, cloned; `None` where there is none, it has expired, or it is of another type.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// assert_eq!(cache.get::<u64>("missing").await?, None);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn get<V: Storable + Clone>(&self, key: impl Into<Key>) -> Result<Option<V>, Error> {
        Ok(self.get_arc::<V>(key).await?.map(Arc::unwrap_or_clone))
    }

    /// The value under `key` as memory shares it. On a shared backend each call decodes its own.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", "long".to_owned()).await?;
    /// let value = cache.get_arc::<String>("k").await?;
    /// assert_eq!(value.as_deref().map(String::as_str), Some("long"));
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn get_arc<V: Storable>(&self, key: impl Into<Key>) -> Result<Option<Arc<V>>, Error> {
        let call = self.call();
        let key = call.direct_key(key)?;
        match call.direct_shared()? {
            Some(direct) => Ok(direct.get(std::slice::from_ref(&key)).await?.pop().flatten()),
            None => call.get::<V>(&key),
        }
    }

    /// The values under `keys`, in their order. On a shared backend one round trip.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("a", 1_u64).await?;
    /// assert_eq!(cache.get_many::<u64>(["a", "b"]).await?, [Some(1), None]);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn get_many<V: Storable + Clone>(
        &self,
        keys: impl IntoIterator<Item = impl Into<Key>>,
    ) -> Result<Vec<Option<V>>, Error> {
        let call = self.call();
        let keys: Vec<_> = keys.into_iter().map(|key| call.direct_key(key)).collect::<Result<_, _>>()?;
        match call.direct_shared()? {
            Some(direct) => {
                Ok(direct.get::<V>(&keys).await?.into_iter().map(|found| found.map(Arc::unwrap_or_clone)).collect())
            }
            None => keys.iter().map(|key| Ok(call.get::<V>(key)?.map(Arc::unwrap_or_clone))).collect(),
        }
    }

    /// Stores `value` (a `V` or a `&V`) under `key`: `.ttl("5m")`, `.tags(["a"])`, `.namespace("n")`, then `.await`.
    ///
    /// The ttl is the bucket `Default` unless given. The value replaces what is there, and a load that runs does not
    /// replace it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).ttl("5m").tags(["numbers"]).namespace("team").await?;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn set<M, T: IntoValue<M>>(&self, key: impl Into<Key>, value: T) -> Set<'_, T::Value, ()> {
        Set::new(self, key.into(), value.into_value())
    }

    /// Like [`set`](Self::set), but only where nothing valid is there. `.await` says whether it was stored.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// assert!(cache.set_nx("lock", 1_u64).ttl("30s").await?);
    /// assert!(!cache.set_nx("lock", 2_u64).await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn set_nx<M, T: IntoValue<M>>(&self, key: impl Into<Key>, value: T) -> Set<'_, T::Value, bool> {
        Set::new(self, key.into(), value.into_value())
    }

    /// Stores several values with one ttl and set of tags. Each by itself: where it fails, some may be stored.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set_many([("a", 1_u64), ("b", 2)]).ttl("1h").await?;
    /// assert_eq!(cache.get::<u64>("b").await?, Some(2));
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn set_many<M, K: Into<Key>, T: IntoValue<M>>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> SetMany<'_, T::Value> {
        SetMany::new(self, entries.into_iter().map(|(key, value)| (key.into(), value.into_value())).collect())
    }

    /// Drops the entry and returns whether there was one. A load that runs cannot bring the old value back.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).await?;
    /// assert!(cache.delete("k").await?);
    /// assert!(!cache.delete("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn delete(&self, key: impl Into<Key>) -> Result<bool, Error> {
        let call = self.call();
        let key = call.direct_key(key)?;
        match call.direct_shared()? {
            Some(direct) => Ok(direct.delete(std::slice::from_ref(&key)).await? > 0),
            None => call.delete(&key),
        }
    }

    /// Takes the value out: of several concurrent callers one gets it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).await?;
    /// assert_eq!(cache.pop::<u64>("k").await?, Some(1));
    /// assert_eq!(cache.pop::<u64>("k").await?, None);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn pop<V: Storable + Clone>(&self, key: impl Into<Key>) -> Result<Option<V>, Error> {
        let call = self.call();
        let key = call.direct_key(key)?;
        let value = match call.direct_shared()? {
            Some(direct) => direct.pop::<V>(&key).await?,
            None => call.pop::<V>(&key)?,
        };
        Ok(value.map(Arc::unwrap_or_clone))
    }

    /// Whether an entry is there. An absent value that was cached (`None`) counts.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// assert!(!cache.exists("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn exists(&self, key: impl Into<Key>) -> Result<bool, Error> {
        let call = self.call();
        let key = call.direct_key(key)?;
        match call.direct_shared()? {
            Some(direct) => direct.exists(&key).await,
            None => call.exists(&key),
        }
    }

    /// Gives an entry another life, counted from now. `false`: it is not there. A zero ttl drops it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).await?;
    /// assert!(cache.expire("k", "1h").await?);
    /// assert!(!cache.expire("missing", "1h").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The ttl cannot be understood, or the cache cannot be used.
    pub async fn expire(&self, key: impl Into<Key>, ttl: impl IntoTtl) -> Result<bool, Error> {
        let call = self.call();
        let (key, life) = (call.direct_key(key)?, ttl.into_ttl()?);
        match call.direct_shared()? {
            Some(direct) => direct.expire(&key, life).await,
            None => call.expire(&key, life),
        }
    }

    /// How long an entry still lives; `None` where it is not there.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).ttl("forever").await?;
    /// assert_eq!(cache.ttl("k").await?, Some(cache_runtime::Remaining::Forever));
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn ttl(&self, key: impl Into<Key>) -> Result<Option<Remaining>, Error> {
        let call = self.call();
        let key = call.direct_key(key)?;
        match call.direct_shared()? {
            Some(direct) => direct.remaining(&key).await,
            None => call.remaining(&key),
        }
    }

    /// Adds `by` to the counter under `key`, which begins at 0 and then lives for the bucket `Default`. Atomic. Read it
    /// with `get::<i64>`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// assert_eq!(cache.incr("visits", 1).await?, 1);
    /// assert_eq!(cache.incr("visits", 10).await?, 11);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) where the value is not an `i64` or would overflow; it is left as it is.
    pub async fn incr(&self, key: impl Into<Key>, by: i64) -> Result<i64, Error> {
        let call = self.call();
        let key = call.direct_key(key)?;
        match call.direct_shared()? {
            Some(direct) => direct.count(&key, by).await,
            None => call.count(&key, |count| count.checked_add(by)),
        }
    }

    /// [`incr`](Self::incr) by `-by`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// assert_eq!(cache.decr("stock", 2).await?, -2);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`incr`](Self::incr).
    pub async fn decr(&self, key: impl Into<Key>, by: i64) -> Result<i64, Error> {
        let call = self.call();
        let key = call.direct_key(key)?;
        match (call.direct_shared()?, by.checked_neg()) {
            (Some(direct), Some(by)) => direct.count(&key, by).await,
            (Some(_), None) => Err(Error::new(ErrorKind::WrongType, "the counter would overflow")),
            (None, _) => call.count(&key, |count| count.checked_sub(by)),
        }
    }

    /// The fresh value under `key`, running `load` when there is none: `.ttl(..)`, `.tags(..)`, then `.await`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// let value = cache.get_or_load("k", || async { Ok::<_, cache_runtime::Error>(42_u64) }).ttl("5m").await?;
    /// assert_eq!(value, 42);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Concurrent calls on the same key
    ///
    /// Calls in this process share one `load` and its value. An invalidation closes the load that runs to callers that begin
    /// after it. Other processes on a shared backend load for themselves; one of them stores.
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
}

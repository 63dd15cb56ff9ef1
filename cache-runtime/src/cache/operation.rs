//! Direct calls that take options before they run: `cache.set(..).ttl(..).await`.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use super::{Cache, collect, some_text};
use crate::engine::direct::{Claimed, loader_shape};
use crate::engine::read::{Mode, Step};
use crate::engine::sink::{IntoTags, canonical};
use crate::error::Error;
use crate::key::Key;
use crate::policy::{IntoTtl, Lifetime};
use crate::shape::Storable;

/// The future of an operation.
pub(crate) type Operation<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// Marks [`IntoValue`] of a value.
#[derive(Debug)]
pub struct ByValue;
/// Marks [`IntoValue`] of a reference.
#[derive(Debug)]
pub struct ByReference;

/// What can be stored directly: a value, or a reference to one that can be cloned. `M` is inferred.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// let name = "Ada".to_owned();
/// cache.set("by reference", &name).await?;
/// cache.set("by value", name).await?;
/// assert_eq!(cache.get::<String>("by reference").await?, cache.get("by value").await?);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
pub trait IntoValue<M> {
    /// The stored type.
    type Value: Storable;
    /// The value, shared.
    fn into_value(self) -> Arc<Self::Value>;
}

impl<V: Storable> IntoValue<ByValue> for V {
    type Value = V;
    fn into_value(self) -> Arc<V> {
        Arc::new(self)
    }
}

impl<V: Storable + Clone> IntoValue<ByReference> for &V {
    type Value = V;
    fn into_value(self) -> Arc<V> {
        Arc::new(self.clone())
    }
}

/// Collects options; the first one that cannot be understood is returned when the operation runs.
#[derive(Debug, Default)]
struct Options {
    claim: Claimed,
    error: Option<Error>,
}

impl Options {
    fn ttl(&mut self, ttl: impl IntoTtl) {
        match ttl.into_ttl() {
            Ok(life) => self.claim.life = Some(life),
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }

    fn tags<M>(&mut self, tags: impl IntoTags<M>) {
        match collect(tags) {
            Ok(tags) => self.claim.tags.extend(tags),
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }

    fn namespace(&mut self, namespace: &str) {
        self.claim.namespace = Some(canonical(namespace).into());
        self.error = self.error.take().or(some_text("namespace", namespace).err());
    }

    fn finish(self) -> Result<Claimed, Error> {
        self.error.map_or(Ok(self.claim), Err)
    }
}

macro_rules! options {
    () => {
        /// How long it lives. Default: the bucket `Default`.
        ///
        /// ```
        /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        /// # let cache = cache_runtime::Cache::memory();
        /// use cache_runtime::Remaining;
        ///
        /// cache.set("k", 1_u64).ttl("forever").await?;
        /// assert_eq!(cache.ttl("k").await?, Some(Remaining::Forever));
        /// assert!(cache.set("k", 1_u64).ttl("5mins").await.is_err());
        /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
        /// ```
        #[must_use = "nothing happens before `.await`"]
        pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
            self.options.ttl(ttl);
            self
        }

        /// What it can be invalidated by, besides its key.
        ///
        /// ```
        /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        /// # let cache = cache_runtime::Cache::memory();
        /// cache.set("k", 1_u64).tags(["numbers", "small"]).await?;
        /// cache.invalidate("small").await?;
        /// assert!(!cache.exists("k").await?);
        /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
        /// ```
        #[must_use = "nothing happens before `.await`"]
        pub fn tags<T>(mut self, tags: impl IntoTags<T>) -> Self {
            self.options.tags(tags);
            self
        }

        /// The namespace it belongs to. Default: the cache's own, if it has one.
        ///
        /// ```
        /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        /// # let cache = cache_runtime::Cache::memory();
        /// cache.set("k", 1_u64).namespace("team").await?;
        /// cache.invalidate_namespace("team").await?;
        /// assert!(!cache.exists("k").await?);
        /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
        /// ```
        #[must_use = "nothing happens before `.await`"]
        pub fn namespace(mut self, namespace: impl AsRef<str>) -> Self {
            self.options.namespace(namespace.as_ref());
            self
        }
    };
}

/// A `set` or `set_nx` that has not run. Nothing happens before `.await`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// let set = cache.set("k", 1_u64);
/// let set = set.ttl("5m").tags(["numbers"]);
/// assert!(!cache.exists("k").await?);
/// set.await?;
/// assert!(cache.exists("k").await?);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[must_use = "nothing happens before `.await`"]
#[derive(Debug)]
pub struct Set<'c, V, R> {
    cache: &'c Cache,
    key: Key,
    value: Arc<V>,
    options: Options,
    returns: PhantomData<fn() -> R>,
}

impl<'c, V: Storable, R> Set<'c, V, R> {
    pub(super) fn new(cache: &'c Cache, key: Key, value: Arc<V>) -> Self {
        Self { cache, key, value, options: Options::default(), returns: PhantomData }
    }

    options!();

    async fn run(self, only_new: bool) -> Result<bool, Error> {
        let claim = self.options.finish()?;
        let call = self.cache.call();
        let key = call.direct_key(self.key)?;
        match (call.direct_shared()?, only_new) {
            (None, _) => call.set(&key, self.value, &claim, only_new),
            (Some(direct), true) => direct.set_nx(&key, &self.value, &claim).await,
            (Some(direct), false) => direct.set(&[(key, self.value)], &claim).await.map(|()| true),
        }
    }
}

impl<'c, V: Storable> IntoFuture for Set<'c, V, ()> {
    type Output = Result<(), Error>;
    type IntoFuture = Operation<'c, Self::Output>;
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.run(false).await.map(drop) })
    }
}

impl<'c, V: Storable> IntoFuture for Set<'c, V, bool> {
    type Output = Result<bool, Error>;
    type IntoFuture = Operation<'c, Self::Output>;
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.run(true).await })
    }
}

/// A `set_many` that has not run. Nothing happens before `.await`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// cache.set_many([("a", 1_u64), ("b", 2)]).ttl("1h").tags(["numbers"]).await?;
/// cache.invalidate("numbers").await?;
/// assert_eq!(cache.get_many::<u64>(["a", "b"]).await?, [None, None]);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[must_use = "nothing happens before `.await`"]
#[derive(Debug)]
pub struct SetMany<'c, V> {
    cache: &'c Cache,
    entries: Vec<(Key, Arc<V>)>,
    options: Options,
}

impl<'c, V: Storable> SetMany<'c, V> {
    pub(super) fn new(cache: &'c Cache, entries: Vec<(Key, Arc<V>)>) -> Self {
        Self { cache, entries, options: Options::default() }
    }

    options!();
}

impl<'c, V: Storable> IntoFuture for SetMany<'c, V> {
    type Output = Result<(), Error>;
    type IntoFuture = Operation<'c, Self::Output>;
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let claim = self.options.finish()?;
            let call = self.cache.call();
            let entries = self.entries.into_iter().map(|(key, value)| Ok((call.direct_key(key)?, value)));
            let entries = entries.collect::<Result<Vec<_>, Error>>()?;
            if let Some(direct) = call.direct_shared()? {
                return direct.set(&entries, &claim).await;
            }
            for (key, value) in entries {
                call.set(&key, value, &claim, false)?;
            }
            Ok(())
        })
    }
}

/// A `get_or_load` that has not run. Nothing happens before `.await`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// let load = || async { Ok::<_, cache_runtime::Error>(42_u64) };
/// assert_eq!(cache.get_or_load("answer", load).ttl("1h").tags(["numbers"]).await?, 42);
/// assert_eq!(cache.get::<u64>("answer").await?, Some(42));
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[must_use = "nothing happens before `.await`"]
pub struct GetOrLoad<'c, V, E, L> {
    cache: &'c Cache,
    key: Key,
    load: L,
    options: Options,
    returns: PhantomData<fn() -> (V, E)>,
}

impl<V, E, L> std::fmt::Debug for GetOrLoad<'_, V, E, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetOrLoad").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<'c, V: Storable + Clone, E, L> GetOrLoad<'c, V, E, L> {
    pub(super) fn new(cache: &'c Cache, key: Key, load: L) -> Self {
        Self { cache, key, load, options: Options::default(), returns: PhantomData }
    }

    options!();
}

impl<'c, V, E, L, F> IntoFuture for GetOrLoad<'c, V, E, L>
where
    V: Storable + Clone,
    E: Send + 'c,
    L: FnOnce() -> F + Send + 'c,
    F: Future<Output = Result<V, E>> + Send + 'c,
{
    type Output = Result<V, E>;
    type IntoFuture = Operation<'c, Self::Output>;
    fn into_future(self) -> Self::IntoFuture {
        let Self { cache, key, load, options, .. } = self;
        Box::pin(async move {
            let call = cache.call();
            // A ttl that cannot be understood must not keep the caller from the source: the default is used, and counted.
            let claim = options.finish().unwrap_or_else(|_| {
                call.degraded();
                Claimed { life: Some(Lifetime::default()), ..Claimed::default() }
            });
            let key = call.key_from(key);
            let mut early = call.early();
            early.tags(|tags| tags.add(claim.tags.iter().map(|tag| String::from_utf8_lossy(tag))));
            if let Some(namespace) = &claim.namespace {
                early.namespace_expr(String::from_utf8_lossy(namespace));
            }
            let mut loading = match call.read(Mode::Read, &key, early, loader_shape::<V, E>()).await {
                Step::Done(value) => return value,
                Step::Load(loading) => loading,
            };
            if let Some(life) = claim.life {
                loading.ttl(life);
            }
            loading.run(load()).await.finish().await
        })
    }
}

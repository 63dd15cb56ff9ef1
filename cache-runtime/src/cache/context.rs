//! What is ambient: the global cache, the cache and the tenant of the running task. The only place that looks them up;
//! below it they are arguments, so that no layer can forget or guess them.

use std::future::Future;
use std::hash::Hash;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Cache;
use crate::config::CacheConfig;
use crate::engine::aging::Drive;
use crate::engine::batch::{BatchLoading, BatchRun, Ended};
use crate::engine::call::{Call, Held};
use crate::engine::recache::Report;
use crate::engine::write::Invalidated;
use crate::error::{Error, ErrorKind};
use crate::shape::{BatchCached, Cached, Collection, Returned};
use crate::site::Site;
use crate::tenant::Tenant;

tokio::task_local! {
    static SCOPED: Cache;
    static TENANT: Option<Tenant>;
}

/// Whether any scope was ever entered. Until then a call does not look for one.
static SCOPES: AtomicBool = AtomicBool::new(false);
static TENANTS: AtomicBool = AtomicBool::new(false);

/// The global cache, or why it could not be built.
static GLOBAL: OnceLock<Result<Cache, Error>> = OnceLock::new();

/// Makes `cache` the one that annotated functions use.
///
/// Call it once, at start-up, before the first annotated function runs: without it, that first use builds
/// [`Cache::from_env`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let cache = cache_runtime::Cache::builder().url("mem://").build().await?;
/// cache_runtime::init(cache.clone())?;
/// assert!(cache_runtime::cache()?.is_same(&cache));
/// assert!(cache_runtime::init(cache).is_err());
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
///
/// # Errors
///
/// [`ErrorKind::AlreadyInitialized`] on a second call, or after the first use.
pub fn init(cache: Cache) -> Result<(), Error> {
    let mut given = Some(cache);
    if let Some(cache) = given.take() {
        given = GLOBAL.set(Ok(cache)).err().and_then(Result::ok);
    }
    match given {
        None => Ok(()),
        Some(_) => Err(Error::new(
            ErrorKind::AlreadyInitialized,
            "the global cache exists already: call `init` once, before the first annotated function runs",
        )),
    }
}

/// The cache that annotated functions use here: the scope's, else the global one, built from the environment if need be.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use cache_runtime::Cache;
///
/// Cache::memory().scope(async {
///     cache_runtime::cache()?.set("k", 1_u64).await?;
///     assert!(cache_runtime::cache()?.exists("k").await?);
///     Ok::<_, cache_runtime::Error>(())
/// }).await?;
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
///
/// # Errors
///
/// The environment describes no usable cache. Annotated functions then call their source.
pub fn cache() -> Result<Cache, Error> {
    if SCOPES.load(Ordering::Relaxed)
        && let Ok(cache) = SCOPED.try_with(Clone::clone)
    {
        return Ok(cache);
    }
    global().cloned().map_err(Error::again)
}

#[inline]
fn global() -> Result<&'static Cache, &'static Error> {
    GLOBAL.get_or_init(first_use).as_ref()
}

#[cold]
fn first_use() -> Result<Cache, Error> {
    #[cfg(debug_assertions)]
    {
        let problems = super::catalogue::catalogue().problems();
        if !problems.is_empty() {
            crate::report::warn("catalogue", &problems);
        }
    }
    // What is wrong is said by the first call that goes past the cache.
    CacheConfig::from_env().and_then(|config| Cache::build_now(&config))
}

/// The tenant of the running task.
#[inline]
pub(crate) fn tenant() -> Option<Tenant> {
    if TENANTS.load(Ordering::Relaxed) { TENANT.try_with(Clone::clone).ok().flatten() } else { None }
}

impl Cache {
    /// Runs `work` with this cache as the one that annotated functions use. For tests, and for programs with several.
    ///
    /// Tasks that `work` spawns are outside of it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cache = cache_runtime::Cache::memory();
    /// let inside = cache.scope(async { cache_runtime::cache() }).await?;
    /// assert!(inside.is_same(&cache));
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn scope<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        SCOPES.store(true, Ordering::Relaxed);
        SCOPED.scope(self.clone(), work)
    }

    /// [`scope`](Self::scope) for synchronous work.
    ///
    /// ```
    /// use cache_runtime::{Cache, memoize};
    ///
    /// #[memoize]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// let cache = Cache::memory();
    /// assert_eq!(cache.scope_blocking(|| double(21) + double(21)), 84);
    /// assert_eq!((cache.stats().loads, cache.stats().hits), (1, 1));
    /// ```
    pub fn scope_blocking<R>(&self, work: impl FnOnce() -> R) -> R {
        SCOPES.store(true, Ordering::Relaxed);
        SCOPED.sync_scope(self.clone(), work)
    }
}

impl Tenant {
    /// Runs `work` as this tenant: it sees and changes only this tenant's entries.
    ///
    /// Tasks that `work` spawns are outside of it; give them a scope of their own.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::{Cache, Tenant};
    ///
    /// let cache = Cache::memory();
    /// let (one, two) = (Tenant::new("one")?, Tenant::new("two")?);
    /// one.scope(async { cache.set("k", 1_u64).await }).await?;
    /// assert_eq!(two.scope(async { cache.get::<u64>("k").await }).await?, None);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn scope<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        TENANTS.store(true, Ordering::Relaxed);
        TENANT.scope(Some(self.clone()), work)
    }

    /// [`scope`](Self::scope) for synchronous work.
    ///
    /// ```
    /// use cache_runtime::Tenant;
    ///
    /// let tenant = Tenant::new("org-123")?;
    /// assert_eq!(tenant.scope_blocking(Tenant::current), Some(tenant));
    /// # Ok::<(), cache_runtime::Error>(())
    /// ```
    pub fn scope_blocking<R>(&self, work: impl FnOnce() -> R) -> R {
        TENANTS.store(true, Ordering::Relaxed);
        TENANT.sync_scope(Some(self.clone()), work)
    }

    /// Runs `work` as no tenant, on purpose: what all tenants share.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let cache = cache_runtime::Cache::memory();
    /// use cache_runtime::Tenant;
    ///
    /// let tenant = Tenant::new("org-123")?;
    /// tenant.scope(async {
    ///     Tenant::global(async { cache.set("rates", 1_u64).await }).await?;
    ///     assert!(!cache.exists("rates").await?); // the tenant has none of its own
    ///     Ok::<_, cache_runtime::Error>(())
    /// }).await?;
    /// assert!(cache.exists("rates").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn global<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
        TENANTS.store(true, Ordering::Relaxed);
        TENANT.scope(None, work)
    }

    /// The tenant of the running task.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::Tenant;
    ///
    /// let tenant = Tenant::new("org-123")?;
    /// assert_eq!(tenant.scope(async { Tenant::current() }).await, Some(tenant));
    /// assert_eq!(Tenant::current(), None);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn current() -> Option<Self> {
        tenant()
    }
}

impl Call<'static> {
    /// A call on the scope's cache, else on the global one.
    #[inline(always)]
    pub fn current(site: &'static Site) -> Self {
        if SCOPES.load(Ordering::Relaxed)
            && let Some(scoped) = Self::scoped(site)
        {
            return scoped;
        }
        Self::new(global().map(|cache| Held::Borrowed(&cache.core)), site, tenant())
    }
}

impl Call<'static> {
    #[cold]
    fn scoped(site: &'static Site) -> Option<Self> {
        let cache = SCOPED.try_with(Clone::clone).ok()?;
        Some(Self::new(Ok(Held::Owned(cache.core)), site, tenant()))
    }
}

impl<'c> Call<'c> {
    /// A call on a given cache (`cache = expr`).
    #[inline]
    pub fn of(site: &'static Site, cache: &'c Cache) -> Self {
        Self::new(Ok(Held::Borrowed(&cache.core)), site, tenant())
    }
}

/// Work for another task, in this task's cache and as its tenant: neither follows `tokio::spawn` by itself.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use cache_runtime::{Cache, Tenant, in_context};
///
/// let (cache, acme) = (Cache::memory(), Tenant::new("acme")?);
/// let (with, without) = cache.scope(acme.scope(async {
///     (tokio::spawn(in_context(async { Tenant::current() })), tokio::spawn(async { Tenant::current() }))
/// })).await;
/// assert_eq!(with.await.unwrap(), Some(acme));
/// assert_eq!(without.await.unwrap(), None);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
///
/// What was spawned without it runs as no tenant: where isolation is enforced, annotated functions call their source, store
/// nothing and count it (`degraded_by`), and direct calls fail with
/// [`ErrorKind::TenantRequired`](crate::ErrorKind::TenantRequired).
pub fn in_context<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
    let scoped = if SCOPES.load(Ordering::Relaxed) { SCOPED.try_with(Clone::clone).ok() } else { None };
    let tenant = tenant();
    async move {
        let work = TENANT.scope(tenant, work);
        match scoped {
            Some(cache) => SCOPED.scope(cache, work).await,
            None => work.await,
        }
    }
}

impl<S: Returned> Invalidated<'_, S> {
    /// Runs recaches in the background, in this task's cache and as its tenant.
    pub fn background(&self, work: impl Future<Output = Report> + Send + 'static) {
        self.start(in_context(work));
    }
}

impl<S> Drive<S>
where
    S: Cached + 'static,
    S::Ret: Send + 'static,
{
    /// Runs a load that owns what it needs: in place, or in the background, in this task's cache and as its tenant.
    ///
    /// # Errors
    ///
    /// It took longer than `timeout`, and there is no old value that may be served instead.
    pub async fn anywhere(self, work: impl Future<Output = Option<S::Ret>> + Send + 'static) -> Result<S::Ret, Error> {
        self.run(work, in_context).await
    }
}

impl<S, K> BatchRun<S, K>
where
    S: BatchCached + 'static,
    S::Ret: Send + 'static,
    S::Collection: Collection<K, S::Out>,
    K: Eq + Hash,
{
    /// Runs loads that own what they need, each made by `make`: in place, or in the background, in this task's cache and as
    /// its tenant.
    ///
    /// # Errors
    ///
    /// The one that the caller waits for took longer than `timeout`, and not every element has an old value that may be
    /// served instead.
    pub async fn anywhere<F>(self, make: impl Fn(BatchLoading<S, K>) -> F) -> Result<S::Ret, Error>
    where
        F: Future<Output = Option<Ended<S>>> + Send + 'static,
    {
        self.run(make, in_context).await
    }
}

//! Building a cache: settings in code over the environment over a file, checked once.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Cache;
use crate::background::Background;
use crate::clock::Clock;
use crate::codec::Codec;
use crate::config::{Backend, BackendKind, CacheConfig, Resolved, Secret};
use crate::engine::core::{Core, Settings, Weigher};
use crate::engine::shared::{Bytes, Shared};
use crate::error::{Error, ErrorKind};
use crate::hybrid::L1;
use crate::memory::{Bounds, Engine};
use crate::meter;
use crate::policy::Buckets;
use crate::report;
use crate::store::SharedStore;
use crate::tags::Cells;

/// Builds a [`Cache`]. What is not set here comes from the environment, then from the file, then from the defaults.
///
/// ```
/// # async fn example() -> Result<(), cache_runtime::Error> {
/// use std::time::Duration;
/// use cache_runtime::{Cache, Ttl};
///
/// let cache = Cache::builder()
///     .url("mem://")
///     .prefix("shop")
///     .version("v2")
///     .ttl_short(Duration::from_secs(10))
///     .max_items(1_000)
///     .stats(true)
///     .build()
///     .await?;
/// assert_eq!(cache.info().await?.prefix, "shop:v2");
/// cache.set("k", 1_u64).ttl(Ttl::Short).await?;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
///
/// On Redis:
///
/// ```no_run
/// # async fn example() -> Result<(), cache_runtime::Error> {
/// use std::time::Duration;
/// use cache_runtime::{Cache, Codec};
///
/// let cache = Cache::builder()
///     .url("redis://localhost:6379")
///     .prefix("shop")
///     .pool_size(4)
///     .response_timeout(Duration::from_millis(200))
///     .codec(Codec::Json)
///     .build()
///     .await?;
/// cache_runtime::init(cache)?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is built before `build`"]
#[derive(Clone, Default)]
pub struct Builder {
    code: CacheConfig,
    file: CacheConfig,
    ignore_env: bool,
    hybrid: Option<bool>,
    more: InCode,
}

/// What can be said in code only.
#[derive(Clone, Default)]
struct InCode {
    weigher: Option<Weigher>,
    clock: Option<Clock>,
    metrics_prefix: Option<String>,
    trace_keys: bool,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("code", &self.code).field("file", &self.file).finish_non_exhaustive()
    }
}

/// Steps that set one field of the configuration.
macro_rules! set {
    ($($(#[$doc:meta])* $name:ident($ty:ty) => $field:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, $field: $ty) -> Self {
            self.code.$field = Some($field.into());
            self
        })*
    };
}

impl Builder {
    set! {
        /// Where entries are kept: `mem://`, `redis://..` and its kin, or one of these behind `hybrid+`. Default: `CACHE_URL`, then `REDIS_URL`, else memory.
        url(impl Into<String>) => url;
        /// First part of every key. Default `svc`.
        prefix(impl Into<String>) => prefix;
        /// Second part of every key: entries of another version are not seen. Default `v1`.
        version(impl Into<String>) => version;
        /// Namespace of entries that name none.
        namespace(impl Into<String>) => namespace;
        /// The backend, where the URL does not say.
        backend(BackendKind) => backend;
        /// What `Ttl::Short` stands for. Default 30 s.
        ttl_short(Duration) => ttl_short;
        /// What `Ttl::Default` stands for. Default 5 min.
        ttl_default(Duration) => ttl_default;
        /// What `Ttl::Long` stands for. Default 1 h.
        ttl_long(Duration) => ttl_long;
        /// Most entries in memory, copies of a hybrid cache included. Default 10 000.
        max_items(u64) => max_items;
        /// Most bytes in memory, as the weigher counts them. Default: not bounded by bytes.
        max_bytes(u64) => max_bytes;
        /// `false`: annotated functions call their source. Default true.
        enabled(bool) => enabled;
        /// Whether hits are counted. Default true.
        stats(bool) => stats;
        /// Refuse access without a tenant. Default false.
        enforce_tenant_isolation(bool) => enforce_tenant_isolation;
        /// Connections to each server of a shared backend, which all callers share. Default 2.
        pool_size(u32) => pool_size;
        /// How long connecting to a server may take. Default 1 s.
        connect_timeout(Duration) => connect_timeout;
        /// How long a server's answer may take. Default 500 ms.
        response_timeout(Duration) => response_timeout;
        /// δ: how long, at most, another process' write may go unnoticed by the copies in memory of a hybrid cache. Default
        /// 1 s. Every process of a fleet needs the same, whether it has copies or not: a write with a `fence` waits for as
        /// long. 0: no process of the fleet has copies.
        l1_lease(Duration) => l1_lease;
        /// How often a hybrid cache asks each server whether it still hears of changes; at most half of `l1_lease`. Default
        /// a quarter of it.
        l1_ping(Duration) => l1_ping;
        /// Whose certificates to trust on a `rediss://` connection: a PEM file. Default: whose the system trusts.
        tls_ca(impl Into<PathBuf>) => tls_ca;
        /// Our own certificate, where the server asks for one: a PEM file.
        tls_cert(impl Into<PathBuf>) => tls_cert;
        /// The private key of our certificate: a PEM file.
        tls_key(impl Into<PathBuf>) => tls_key;
        /// How values in a shared backend are encoded. Default bincode.
        codec(Codec) => codec;
        /// Encoded values of more bytes are compressed in a shared backend (feature `compression`). Default: none are.
        compress_above(u64) => compress_above;
        /// Whether values in a shared backend are encrypted (feature `encryption`), and those that are not are refused.
        /// Default: only those of functions that ask for it.
        encrypt(bool) => encrypt;
        /// The key that encrypts: 32 bytes as 64 hex digits or in base64.
        encryption_key(impl Into<Secret>) => encryption_key;
        /// The key before that one, which still decrypts.
        encryption_key_previous(impl Into<Secret>) => encryption_key_previous;
        /// The map that keeps entries in memory; on a shared backend, what `memoize` keeps, and a hybrid cache's copies.
        engine(Engine) => engine;
    }

    /// Copies in memory of what is on Redis, whatever the URL's scheme says: `true` is `hybrid+` before it, `false` none.
    /// [`build`](Self::build) refuses `true` where entries are in memory anyway.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::{Cache, ErrorKind};
    ///
    /// let error = Cache::builder().ignore_env().hybrid(true).build().await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Config); // there is no Redis to stand in front of
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn hybrid(mut self, hybrid: bool) -> Self {
        self.hybrid = Some(hybrid);
        self
    }

    /// Settings that were read from a file. Code and environment win over them.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::{Cache, CacheConfig};
    ///
    /// let file: CacheConfig = serde_json::from_str(r#"{ "prefix": "shop", "max_items": 500 }"#)?;
    /// let cache = Cache::builder().config(file).max_items(1_000).ignore_env().build().await?;
    /// let info = cache.info().await?;
    /// assert_eq!((info.prefix.as_str(), info.max_items), ("shop:v1", 1_000));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn config(mut self, file: CacheConfig) -> Self {
        self.file = file;
        self
    }

    /// Does not look at the environment.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::Cache;
    ///
    /// let cache = Cache::builder().ignore_env().build().await?;
    /// assert_eq!(cache.info().await?.backend, "memory"); // whatever `CACHE_URL` says
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn ignore_env(mut self) -> Self {
        self.ignore_env = true;
        self
    }

    /// Says how many bytes an entry takes, by key and value. Default: the value's size and what it would encode to.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::Cache;
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).weigher(|key, _value| key.len() as u64 + 1024).build().await?;
    /// cache.set("k", 1_u64).await?;
    /// assert_eq!(cache.stats().bytes, 1025);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn weigher(mut self, weigher: impl Fn(&str, &dyn Any) -> u64 + Send + Sync + 'static) -> Self {
        self.more.weigher = Some(Arc::new(weigher));
        self
    }

    /// What the names of metrics begin with. Default `cache`: `cache_hits_total` and so on. For programs that have metrics of
    /// these names already, or several caches that are to be told apart: what caches of one prefix count adds up.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::{Cache, ErrorKind};
    ///
    /// Cache::builder().metrics_prefix("shop_cache").build().await?; // shop_cache_hits_total
    /// let error = Cache::builder().metrics_prefix("shop-cache").build().await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Config);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[cfg(feature = "metrics")]
    pub fn metrics_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.more.metrics_prefix = Some(prefix.into());
        self
    }

    /// Whether spans and events say which key they are about (`key_text`). Default false: they have its template and a hash, which
    /// tells whether two are the same. Keys are made of arguments, and may say more of people than a log should.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cache = cache_runtime::Cache::builder().trace_keys(cfg!(debug_assertions)).build().await?;
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tracing")]
    pub fn trace_keys(mut self, says: bool) -> Self {
        self.more.trace_keys = says;
        self
    }

    #[cfg(feature = "testing")]
    pub(crate) fn clock(mut self, clock: Clock) -> Self {
        self.more.clock = Some(clock);
        self
    }

    /// The cache.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::{Cache, ErrorKind};
    ///
    /// let cache = Cache::builder().url("mem://").build().await?;
    /// cache.ping().await?;
    ///
    /// let error = Cache::builder().url("mem://somewhere").build().await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Config);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] names the setting or variable that cannot be used; [`ErrorKind::Unsupported`] a backend or
    /// engine that this build does not have, or a server that is too old; [`ErrorKind::Denied`] a server that does not
    /// accept the user or password. No password is in the text. A server that is merely away is no error: the cache is
    /// built, annotated functions call their source, and it is used when it comes.
    pub async fn build(self) -> Result<Cache, Error> {
        let cache = self.build_now()?;
        let Some(shared) = &cache.core.shared else { return Ok(cache) };
        match shared.store.ready().await {
            Ok(()) => {}
            // It may come: until then, annotated functions call their source.
            Err(error) if error.is_retryable() => report::warn("the shared backend is away at start-up", &error),
            Err(error) => return Err(error),
        }
        Ok(cache)
    }

    pub(crate) fn build_now(self) -> Result<Cache, Error> {
        let env = if self.ignore_env { CacheConfig::default() } else { CacheConfig::from_env()? };
        let mut resolved = self.code.or(env).or(self.file).resolve()?;
        match (self.hybrid, resolved.backend) {
            (Some(true), Backend::Redis(server)) => resolved.backend = Backend::Hybrid(server),
            (Some(false), Backend::Hybrid(server)) => resolved.backend = Backend::Redis(server),
            (Some(true), Backend::Memory) => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "hybrid: memory in front of Redis needs a Redis URL, and the URL is `mem://`",
                ));
            }
            (_, backend) => resolved.backend = backend,
        }
        Cache::open(resolved, self.more)
    }
}

impl Cache {
    /// A builder. See [`Builder`].
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cache = cache_runtime::Cache::builder().url("mem://").max_items(1_000).build().await?;
    /// assert_eq!(cache.info().await?.max_items, 1_000);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The cache that the environment describes: `CACHE_URL`, then `REDIS_URL`, else memory.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), cache_runtime::Error> {
    /// // CACHE_URL=redis://localhost:6379 CACHE_PREFIX=shop
    /// cache_runtime::init(cache_runtime::Cache::from_env().await?)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] names the variable that cannot be used; else as [`Builder::build`].
    pub async fn from_env() -> Result<Self, Error> {
        Self::builder().build().await
    }

    /// The cache that a configuration describes, and nothing else: the environment is not looked at.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::{Cache, CacheConfig};
    ///
    /// let config: CacheConfig = serde_json::from_str(r#"{ "prefix": "shop", "ttl_default": "10m" }"#)?;
    /// let cache = Cache::from_config(config).await?;
    /// assert_eq!(cache.info().await?.prefix, "shop:v1");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] names the setting that cannot be used; else as [`Builder::build`].
    pub async fn from_config(config: CacheConfig) -> Result<Self, Error> {
        Self::builder().ignore_env().config(config).build().await
    }

    /// A memory cache with the default settings, whatever the environment says.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cache = cache_runtime::Cache::memory();
    /// cache.set("k", 1_u64).await?;
    /// assert_eq!(cache.get::<u64>("k").await?, Some(1));
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn memory() -> Self {
        Self::builder().ignore_env().build_now().unwrap_or_else(|_| unreachable!("the defaults are usable"))
    }

    pub(crate) fn build_now(config: &CacheConfig) -> Result<Self, Error> {
        Self::open(config.clone().resolve()?, InCode::default())
    }

    fn open(resolved: Resolved, more: InCode) -> Result<Self, Error> {
        if let Some(prefix) = more.metrics_prefix.as_ref().filter(|prefix| !is_metric_name(prefix)) {
            let what =
                format!("metrics_prefix: `{prefix}` is no name of a metric: letters, digits and `_`, no digit first");
            return Err(Error::new(ErrorKind::Config, what));
        }
        let store = if resolved.enabled { store(&resolved)? } else { None };
        let ping = matches!(resolved.backend, Backend::Hybrid(_)).then_some(resolved.l1_ping);
        let lease = resolved.l1_lease;
        let settings = Settings {
            prefix: format!("{}:{}:", resolved.prefix, resolved.version).into_bytes().into(),
            engine: resolved.engine,
            bounds: Bounds { max_items: resolved.max_items, max_bytes: resolved.max_bytes },
            buckets: Buckets { short: resolved.ttl_short, default: resolved.ttl_default, long: resolved.ttl_long },
            namespace: resolved.namespace.as_deref().map(Into::into),
            enabled: resolved.enabled,
            stats: resolved.stats,
            enforce_tenant: resolved.enforce_tenant_isolation,
            weigher: more.weigher,
            clock: more.clock.unwrap_or_else(Clock::machine),
            says_keys: more.trace_keys,
            meter: meter::Scope::new(
                more.metrics_prefix.as_deref().unwrap_or(meter::PREFIX),
                &format!("{}:{}", resolved.prefix, resolved.version),
            ),
        };
        let bytes = Bytes {
            codec: resolved.codec,
            compress_above: resolved.compress_above,
            encrypt: resolved.encrypt,
            keys: resolved.keyring()?,
        };
        let share = |settings: &Settings, background: &Arc<Background>, cells: &Arc<Cells>| {
            let l1 = ping.map(|ping| (L1::new(Arc::clone(cells), lease), ping));
            let background = Arc::clone(background);
            store.map(|store| Shared::new(store, l1, lease, background, settings, bytes))
        };
        Ok(Self { core: Core::new(settings, share)? })
    }
}

/// Whether a name may begin with this in Prometheus' text.
fn is_metric_name(prefix: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    prefix.bytes().next().is_some_and(is_letter) && prefix.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// The backend that other processes share, if there is one. Nothing is connected yet.
fn store(resolved: &Resolved) -> Result<Option<Arc<dyn SharedStore>>, Error> {
    match &resolved.backend {
        Backend::Memory => Ok(None),
        #[cfg(feature = "redis")]
        Backend::Redis(server) | Backend::Hybrid(server) => Ok(Some(crate::redis::open(crate::redis::Connect {
            server: server.clone(),
            connections: resolved.pool_size.unwrap_or(crate::redis::CONNECTIONS),
            connect_timeout: resolved.connect_timeout,
            response_timeout: resolved.response_timeout,
            tls: resolved.tls.clone(),
        })?)),
        #[cfg(not(feature = "redis"))]
        other => {
            let what = format!("this build cannot keep entries on `{other}`");
            Err(Error::new(ErrorKind::Unsupported, what))
        }
    }
}

//! Configuration: settings in layers (code, environment, file), merged field by field, checked, and resolved with the
//! defaults.
//!
//! Lives here: what can be set, what it may be, and what wins. May not live here: connecting, or any use of a setting.

mod check;
mod encoding;
mod env;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::codec::Codec;
use crate::error::{Error, ErrorKind};
use crate::memory::Engine;

pub use check::MAX_TTL;
pub use url::Backend;

pub use crate::secret::Secret;
pub use crate::server::{Endpoint, Server, TlsFiles, Topology};

/// One layer of settings; what is `None` is left to the next layer, and in the end to the default.
///
/// It can be read from a JSON, TOML or YAML file, from the environment ([`from_env`](Self::from_env)), or be filled in
/// code. Durations in files are whole seconds or texts such as `"5m"`, sizes whole bytes or texts such as `"64MB"`. An
/// unknown field is an error.
///
/// `Debug` shows neither passwords, nor keys, nor URLs. The errors of a file format's own parser may quote the line they are
/// about: keep passwords and keys in the environment rather than in files.
///
/// # Examples
///
/// ```
/// use cache_runtime::CacheConfig;
///
/// let file: CacheConfig = serde_json::from_str(r#"{ "prefix": "shop", "ttl_default": "10m", "max_items": 50000 }"#)?;
/// let config = CacheConfig::from_env_with(|name| (name == "CACHE_PREFIX").then(|| "web".into()))?.or(file).resolve()?;
/// assert_eq!(config.prefix, "web");
/// assert_eq!(config.ttl_default.as_secs(), 600);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Where entries are kept, as a URL. Default: the `redis` section if it says anything, else `mem://`.
    pub url: Option<String>,
    /// `memory`, `redis` or `hybrid`. Default: what the URL says.
    pub backend: Option<BackendKind>,
    /// First part of every key. Default `svc`. At most 64 characters, nothing that means something in a pattern.
    #[serde(alias = "key_prefix")]
    pub prefix: Option<String>,
    /// Second part of every key: entries of another version are not seen. Default `v1`. As the prefix, and without `:`.
    pub version: Option<String>,
    /// Namespace of entries that name none. Default: none.
    pub namespace: Option<String>,
    /// What `Ttl::Short` stands for. Default 30 s.
    #[serde(deserialize_with = "file::duration")]
    pub ttl_short: Option<Duration>,
    /// What `Ttl::Default` stands for. Default 300 s.
    #[serde(alias = "default_ttl", deserialize_with = "file::duration")]
    pub ttl_default: Option<Duration>,
    /// What `Ttl::Long` stands for. Default 3600 s.
    #[serde(deserialize_with = "file::duration")]
    pub ttl_long: Option<Duration>,
    /// Most entries that memory holds. Default 10 000.
    pub max_items: Option<u64>,
    /// Most bytes that memory holds. Default: not limited by bytes.
    #[serde(deserialize_with = "file::bytes")]
    pub max_bytes: Option<u64>,
    /// `false`: annotated functions call their source, and nothing is kept. Default `true`.
    pub enabled: Option<bool>,
    /// Whether hits, misses and latencies are counted. Default `true`.
    pub stats: Option<bool>,
    /// `true`: no access without a tenant. Default `false`.
    pub enforce_tenant_isolation: Option<bool>,
    /// Connections to each Redis server, which all callers share. Default 2.
    pub pool_size: Option<u32>,
    /// How long connecting to a server may take. Default 1 s.
    #[serde(deserialize_with = "file::duration")]
    pub connect_timeout: Option<Duration>,
    /// How long a server's answer may take. Default 500 ms.
    #[serde(deserialize_with = "file::duration")]
    pub response_timeout: Option<Duration>,
    /// How long, at most, another process' write may go unnoticed by the copies in memory of a hybrid cache. The same for
    /// all processes of a fleet: a write with a `fence` waits for as long. 0: no process has copies. Default 1 s.
    #[serde(deserialize_with = "file::duration")]
    pub l1_lease: Option<Duration>,
    /// How often a hybrid cache asks each server whether it still hears of changes; at most half of `l1_lease`. Default a
    /// quarter of it.
    #[serde(deserialize_with = "file::duration")]
    pub l1_ping: Option<Duration>,
    /// Whose certificates to trust on a `rediss://` connection: a PEM file. Default: whose the system trusts.
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate, where the server asks for one: a PEM file. Default: none.
    pub tls_cert: Option<PathBuf>,
    /// The private key of `tls_cert`: a PEM file.
    pub tls_key: Option<PathBuf>,
    /// How values in a shared backend are encoded: `bincode`, `json` or `msgpack`. Default `bincode`.
    #[serde(deserialize_with = "file::codec")]
    pub codec: Option<Codec>,
    /// Encoded values of more bytes are compressed in a shared backend (feature `compression`). Default: none are.
    #[serde(deserialize_with = "file::bytes")]
    pub compress_above: Option<u64>,
    /// Whether values in a shared backend are encrypted (feature `encryption`), and those that are not are refused.
    /// Default `false`: only those of functions that ask for it.
    pub encrypt: Option<bool>,
    /// The key that encrypts: 32 bytes as 64 hex digits or in base64. Default: none.
    pub encryption_key: Option<Secret>,
    /// The key before that one, which still decrypts. Default: none.
    pub encryption_key_previous: Option<Secret>,
    /// Which map holds memory's entries: `quick_cache` or `moka`. Default `quick_cache`.
    #[serde(deserialize_with = "file::engine")]
    pub engine: Option<Engine>,
    /// The Redis server in parts, used when no URL is set.
    pub redis: RedisConfig,
}

/// A Redis server in parts. If any of them is set and no URL is, entries are kept there.
///
/// ```
/// use cache_runtime::{CacheConfig, RedisConfig};
///
/// let redis = RedisConfig { host: Some("db".into()), password: Some("secret".into()), ..RedisConfig::default() };
/// let config = CacheConfig { redis, ..CacheConfig::default() };
/// assert_eq!(config.resolve()?.backend.to_string(), "redis://:***@db:6379/0");
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `false`: the section counts as absent. Default: `true` where anything else in it is set.
    pub enabled: Option<bool>,
    /// Host name or address. Default `localhost`.
    pub host: Option<String>,
    /// Port. Default 6379.
    pub port: Option<u16>,
    /// Database number. Default 0.
    pub db: Option<u32>,
    /// ACL user. Default: the server's default user.
    pub username: Option<String>,
    /// Password. Default: none.
    pub password: Option<Secret>,
    /// As `pool_size`, which wins.
    pub max_connections: Option<u32>,
    /// As `ttl_default`, which wins.
    #[serde(deserialize_with = "file::duration")]
    pub default_ttl: Option<Duration>,
    /// As `prefix`, which wins.
    pub key_prefix: Option<String>,
}

/// The kinds of [`Backend`], as the setting `backend` names them.
///
/// ```
/// use cache_runtime::{Backend, BackendKind, CacheConfig};
///
/// let config = CacheConfig {
///     url: Some("redis://localhost".into()),
///     backend: Some(BackendKind::Memory), // off the server for a while
///     ..CacheConfig::default()
/// };
/// assert_eq!(config.resolve()?.backend, Backend::Memory);
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BackendKind {
    /// In this process.
    Memory,
    /// On Redis or Valkey.
    Redis,
    /// On Redis or Valkey, with copies in memory.
    Hybrid,
}

/// Every setting, checked, with defaults filled in.
///
/// ```
/// let config = cache_runtime::CacheConfig::default().resolve()?;
/// assert_eq!((config.prefix.as_str(), config.version.as_str()), ("svc", "v1"));
/// assert_eq!((config.ttl_default.as_secs(), config.max_items, config.enabled), (300, 10_000, true));
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// Where entries are kept.
    pub backend: Backend,
    /// First part of every key.
    pub prefix: String,
    /// Second part of every key.
    pub version: String,
    /// Namespace of entries that name none.
    pub namespace: Option<String>,
    /// What `Ttl::Short` stands for.
    pub ttl_short: Duration,
    /// What `Ttl::Default` stands for.
    pub ttl_default: Duration,
    /// What `Ttl::Long` stands for.
    pub ttl_long: Duration,
    /// Most entries that memory holds; at least 1.
    pub max_items: u64,
    /// Most bytes that memory holds; at least 1.
    pub max_bytes: Option<u64>,
    /// Whether anything is cached at all.
    pub enabled: bool,
    /// Whether anything is counted.
    pub stats: bool,
    /// Whether access without a tenant is refused.
    pub enforce_tenant_isolation: bool,
    /// Connections to each Redis server; at least 1. Default 2.
    pub pool_size: Option<u32>,
    /// How long connecting to a server may take.
    pub connect_timeout: Duration,
    /// How long a server's answer may take.
    pub response_timeout: Duration,
    /// How long, at most, another process' write may go unnoticed by the copies in memory of a hybrid cache.
    pub l1_lease: Duration,
    /// How often a hybrid cache asks each server whether it still hears of changes.
    pub l1_ping: Duration,
    /// The files of an encrypted connection. Whether they can be read is seen when the cache is built.
    pub tls: TlsFiles,
    /// How values in a shared backend are encoded.
    pub codec: Codec,
    /// Encoded values of more bytes are compressed.
    pub compress_above: Option<u64>,
    /// Whether values in a shared backend are encrypted where a function does not say.
    pub encrypt: bool,
    /// The key that encrypts.
    pub encryption_key: Option<Secret>,
    /// The key before that one, which still decrypts.
    pub encryption_key_previous: Option<Secret>,
    /// Which map holds memory's entries.
    pub engine: Engine,
}

impl CacheConfig {
    /// This layer, with what it leaves open taken from a lower one.
    ///
    /// A URL of memory in this layer also sets aside the lower layer's `backend`, which was about another URL.
    ///
    /// ```
    /// use cache_runtime::CacheConfig;
    ///
    /// let code = CacheConfig { prefix: Some("shop".into()), ..CacheConfig::default() };
    /// let file = CacheConfig { prefix: Some("web".into()), max_items: Some(500), ..CacheConfig::default() };
    /// let both = code.or(file);
    /// assert_eq!((both.prefix.as_deref(), both.max_items), (Some("shop"), Some(500)));
    /// ```
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        let memory = self.url.as_deref().is_some_and(|url| Backend::parse(url) == Ok(Backend::Memory));
        // Taken from the nested section too, or a lower layer's field would win over a higher layer's alias.
        let (prefix, ttl_default, pool_size) = (self.any_prefix(), self.any_ttl_default(), self.any_pool_size());
        Self {
            url: self.url.or(lower.url.clone()),
            backend: self.backend.or(lower.backend.filter(|_| !memory)),
            prefix: prefix.or_else(|| lower.any_prefix()),
            version: self.version.or(lower.version.clone()),
            namespace: self.namespace.or(lower.namespace.clone()),
            ttl_short: self.ttl_short.or(lower.ttl_short),
            ttl_default: ttl_default.or(lower.any_ttl_default()),
            ttl_long: self.ttl_long.or(lower.ttl_long),
            max_items: self.max_items.or(lower.max_items),
            max_bytes: self.max_bytes.or(lower.max_bytes),
            enabled: self.enabled.or(lower.enabled),
            stats: self.stats.or(lower.stats),
            enforce_tenant_isolation: self.enforce_tenant_isolation.or(lower.enforce_tenant_isolation),
            pool_size: pool_size.or(lower.any_pool_size()),
            connect_timeout: self.connect_timeout.or(lower.connect_timeout),
            response_timeout: self.response_timeout.or(lower.response_timeout),
            l1_lease: self.l1_lease.or(lower.l1_lease),
            l1_ping: self.l1_ping.or(lower.l1_ping),
            tls_ca: self.tls_ca.or(lower.tls_ca),
            tls_cert: self.tls_cert.or(lower.tls_cert),
            tls_key: self.tls_key.or(lower.tls_key),
            codec: self.codec.or(lower.codec),
            compress_above: self.compress_above.or(lower.compress_above),
            encrypt: self.encrypt.or(lower.encrypt),
            encryption_key: self.encryption_key.or(lower.encryption_key),
            encryption_key_previous: self.encryption_key_previous.or(lower.encryption_key_previous),
            engine: self.engine.or(lower.engine),
            redis: self.redis.or(lower.redis),
        }
    }

    /// Checks every setting and fills in the defaults.
    ///
    /// ```
    /// use cache_runtime::{CacheConfig, ErrorKind};
    ///
    /// let config = CacheConfig { max_items: Some(0), ..CacheConfig::default() };
    /// let error = config.resolve().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Config);
    /// assert!(error.to_string().starts_with("max_items"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the name of the setting, if one cannot be used: a bad URL (the part is named, nothing of
    /// the URL is shown), a ttl of zero or over 100 years, a capacity or pool size of zero, a prefix, version or namespace
    /// that is empty, longer than 64 characters or has a character with a meaning, a `backend` that contradicts the URL, a
    /// timeout of zero or over 10 minutes, an `l1_ping` of zero or over half of `l1_lease`, TLS files for a connection that is not encrypted, an encryption key that is not 32
    /// bytes (nothing of it is shown), or `encrypt` without one. [`ErrorKind::Unsupported`], with the name of the feature, for
    /// a codec, compression or encryption that is not compiled in.
    pub fn resolve(self) -> Result<Resolved, Error> {
        let ttl = |name: &str, ttl: Option<Duration>, default: u64| {
            let ttl = ttl.unwrap_or(Duration::from_secs(default));
            check::ttl(name, ttl).map(|()| ttl)
        };
        let timeout = |name: &str, timeout: Option<Duration>, default: u64| {
            let timeout = timeout.unwrap_or(Duration::from_millis(default));
            check::timeout(name, timeout).map(|()| timeout)
        };
        let max_items = self.max_items.unwrap_or(10_000);
        check::count("max_items", max_items)?;
        self.max_bytes.map_or(Ok(()), |bytes| check::count("max_bytes", bytes))?;
        let pool_size = self.any_pool_size();
        pool_size.map_or(Ok(()), |size| check::count("pool_size", size.into()))?;
        let backend = self.resolve_backend()?;
        let is_hybrid = matches!(backend, Backend::Hybrid(_));
        let l1_lease = self.l1_lease.unwrap_or(Duration::from_secs(1));
        let l1_ping = self.l1_ping.unwrap_or(l1_lease / 4);
        check::lease("l1_lease", l1_lease, is_hybrid)?;
        if is_hybrid {
            check::ping("l1_ping", l1_ping, l1_lease)?;
        }
        let codec = self.codec.unwrap_or_default();
        encoding::check(&self, codec)?;
        Ok(Resolved {
            backend,
            prefix: check::prefix("prefix", self.any_prefix().as_deref().unwrap_or("svc"))?,
            version: check::version("version", self.version.as_deref().unwrap_or("v1"))?,
            namespace: self.namespace.as_deref().map(|name| check::namespace("namespace", name)).transpose()?,
            ttl_short: ttl("ttl_short", self.ttl_short, 30)?,
            ttl_default: ttl("ttl_default", self.any_ttl_default(), 300)?,
            ttl_long: ttl("ttl_long", self.ttl_long, 3600)?,
            max_items,
            max_bytes: self.max_bytes,
            enabled: self.enabled.unwrap_or(true),
            stats: self.stats.unwrap_or(true),
            enforce_tenant_isolation: self.enforce_tenant_isolation.unwrap_or(false),
            pool_size,
            connect_timeout: timeout("connect_timeout", self.connect_timeout, 1_000)?,
            response_timeout: timeout("response_timeout", self.response_timeout, 500)?,
            l1_lease,
            l1_ping,
            tls: self.tls_files(),
            codec,
            compress_above: self.compress_above,
            encrypt: self.encrypt.unwrap_or(false),
            encryption_key: self.encryption_key,
            encryption_key_previous: self.encryption_key_previous,
            engine: self.engine.unwrap_or_default(),
        })
    }

    fn resolve_backend(&self) -> Result<Backend, Error> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Config, what));
        let backend = match &self.url {
            Some(url) => match Backend::parse(url) {
                Ok(backend) => backend,
                Err(what) => return refuse(format!("url: {what}")),
            },
            None if self.redis.is_set() || matches!(self.backend, Some(BackendKind::Redis | BackendKind::Hybrid)) => {
                Backend::Redis(self.redis.server()?)
            }
            None => Backend::Memory,
        };
        // An explicit `memory` is how a cache is taken off its server for a while: what was said of the server may stay.
        let is_encrypted = match &backend {
            Backend::Memory => self.backend == Some(BackendKind::Memory),
            Backend::Redis(server) | Backend::Hybrid(server) => server.tls,
        };
        if let Some(setting) = self.tls_files().first().filter(|_| !is_encrypted) {
            return refuse(format!("{setting}: the connection is not encrypted; use a `rediss://` URL"));
        }
        match (self.backend, backend) {
            (None, backend) => Ok(backend),
            (Some(BackendKind::Memory), _) => Ok(Backend::Memory),
            (Some(BackendKind::Redis), Backend::Redis(server) | Backend::Hybrid(server)) => Ok(Backend::Redis(server)),
            (Some(BackendKind::Hybrid), Backend::Redis(server) | Backend::Hybrid(server)) => {
                Ok(Backend::Hybrid(server))
            }
            (Some(kind), Backend::Memory) => {
                refuse(format!("backend is `{kind}` and the URL is `mem://`; change one of them"))
            }
        }
    }

    fn tls_files(&self) -> TlsFiles {
        TlsFiles { ca: self.tls_ca.clone(), cert: self.tls_cert.clone(), key: self.tls_key.clone() }
    }

    fn any_prefix(&self) -> Option<String> {
        self.prefix.clone().or_else(|| self.redis.key_prefix.clone())
    }

    fn any_ttl_default(&self) -> Option<Duration> {
        self.ttl_default.or(self.redis.default_ttl)
    }

    fn any_pool_size(&self) -> Option<u32> {
        self.pool_size.or(self.redis.max_connections)
    }
}

impl RedisConfig {
    fn or(self, lower: Self) -> Self {
        Self {
            enabled: self.enabled.or(lower.enabled),
            host: self.host.or(lower.host),
            port: self.port.or(lower.port),
            db: self.db.or(lower.db),
            username: self.username.or(lower.username),
            password: self.password.or(lower.password),
            max_connections: self.max_connections.or(lower.max_connections),
            default_ttl: self.default_ttl.or(lower.default_ttl),
            key_prefix: self.key_prefix.or(lower.key_prefix),
        }
    }

    /// Whether a server is described.
    fn is_set(&self) -> bool {
        let any = self.host.is_some()
            || self.port.is_some()
            || self.db.is_some()
            || self.username.is_some()
            || self.password.is_some();
        self.enabled.unwrap_or(any)
    }

    fn server(&self) -> Result<Server, Error> {
        let refuse = |what: String| Error::new(ErrorKind::Config, what);
        let host = url::check_host(self.host.as_deref().unwrap_or("localhost"));
        let host = host.map_err(|what| refuse(format!("redis.host: {what}")))?;
        let port = self.port.unwrap_or(6379);
        if port == 0 {
            return Err(refuse("redis.port: the port is not a number from 1 to 65535".into()));
        }
        if self.username.is_some() && self.password.is_none() {
            return Err(refuse("redis.username: the user name has no password".into()));
        }
        Ok(Server {
            topology: Topology::Standalone(Endpoint { host, port }),
            tls: false,
            username: self.username.clone(),
            password: self.password.clone(),
            database: self.db.unwrap_or(0),
        })
    }
}

impl fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parsed, so that the password is known and left out.
        let url = self.url.as_deref().map(|url| Backend::parse(url).map_or("(unusable)".into(), |url| url.to_string()));
        f.debug_struct("CacheConfig")
            .field("url", &url)
            .field("backend", &self.backend)
            .field("prefix", &self.prefix)
            .field("version", &self.version)
            .field("namespace", &self.namespace)
            .field("ttl_short", &self.ttl_short)
            .field("ttl_default", &self.ttl_default)
            .field("ttl_long", &self.ttl_long)
            .field("max_items", &self.max_items)
            .field("max_bytes", &self.max_bytes)
            .field("enabled", &self.enabled)
            .field("stats", &self.stats)
            .field("enforce_tenant_isolation", &self.enforce_tenant_isolation)
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("l1_lease", &self.l1_lease)
            .field("l1_ping", &self.l1_ping)
            .field("tls", &self.tls_files())
            .field("codec", &self.codec)
            .field("compress_above", &self.compress_above)
            .field("encrypt", &self.encrypt)
            .field("encryption_key", &self.encryption_key)
            .field("encryption_key_previous", &self.encryption_key_previous)
            .field("engine", &self.engine)
            .field("redis", &self.redis)
            .finish()
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Hybrid => "hybrid",
        })
    }
}

impl FromStr for BackendKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "redis" => Ok(Self::Redis),
            "hybrid" => Ok(Self::Hybrid),
            _ => Err(format!("`{text}` is not a backend; use `memory`, `redis` or `hybrid`")),
        }
    }
}

//! What is known about a Redis or Valkey installation before anybody connects: which machines, as whom, with which files.
//! URLs are read in `config`; connections are made in `redis`.

use std::fmt;
use std::path::PathBuf;

use crate::secret::Secret;

/// A Redis or Valkey installation and how to log in.
///
/// ```
/// use cache_runtime::{Backend, CacheConfig, Topology};
///
/// let url = Some("rediss://app:secret@cache.internal:6380/3".into());
/// let Backend::Redis(server) = (CacheConfig { url, ..CacheConfig::default() }).resolve()?.backend else { panic!() };
/// assert!(server.tls && matches!(server.topology, Topology::Standalone(_)));
/// assert_eq!((server.username.as_deref(), server.database), (Some("app"), 3));
/// assert_eq!(server.to_string(), "rediss://app:***@cache.internal:6380/3");
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Which machines, and how they work together.
    pub topology: Topology,
    /// Whether the connection is encrypted (`rediss://`).
    pub tls: bool,
    /// The ACL user; without one, the default user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database number. Default 0, which is the only one a cluster has.
    pub database: u32,
}

/// Machines, and how they work together.
///
/// ```
/// use cache_runtime::{Backend, CacheConfig, Topology};
///
/// let url = Some("redis+sentinel://one,two/mymaster/0".into());
/// let Backend::Redis(server) = (CacheConfig { url, ..CacheConfig::default() }).resolve()?.backend else { panic!() };
/// match server.topology {
///     Topology::Sentinel { sentinels, master } => assert_eq!((sentinels.len(), master.as_str()), (2, "mymaster")),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topology {
    /// One server.
    Standalone(Endpoint),
    /// A cluster, by some of its nodes.
    Cluster(Vec<Endpoint>),
    /// A primary that sentinels know under a name.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<Endpoint>,
        /// The primary's name.
        master: String,
    },
    /// A socket on this machine.
    Unix(PathBuf),
}

/// A host and a port.
///
/// ```
/// use cache_runtime::Endpoint;
///
/// assert_eq!(Endpoint { host: "cache.internal".into(), port: 6379 }.to_string(), "cache.internal:6379");
/// assert_eq!(Endpoint { host: "::1".into(), port: 6379 }.to_string(), "[::1]:6379");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; an IPv6 address is without brackets.
    pub host: String,
    /// Default 6379, and 26379 for a sentinel.
    pub port: u16,
}

/// The files that an encrypted connection uses, all PEM.
///
/// ```
/// use cache_runtime::CacheConfig;
///
/// let config = CacheConfig {
///     url: Some("rediss://cache.internal".into()),
///     tls_ca: Some("/etc/ssl/our-ca.pem".into()),
///     ..CacheConfig::default()
/// };
/// let files = config.resolve()?.tls;
/// assert_eq!(files.ca.as_deref(), Some("/etc/ssl/our-ca.pem".as_ref()));
/// assert!(files.cert.is_none());
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// Whom to trust. Default: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate, where the server asks for one.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    /// The setting of the first file that is named, if any is.
    pub(crate) fn first(&self) -> Option<&'static str> {
        let named = [("tls_ca", &self.ca), ("tls_cert", &self.cert), ("tls_key", &self.key)];
        named.into_iter().find_map(|(setting, file)| file.is_some().then_some(setting))
    }
}

/// As a URL, without the password.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redis = if self.tls { "rediss" } else { "redis" };
        match &self.topology {
            Topology::Standalone(_) => write!(f, "{redis}://")?,
            Topology::Cluster(_) => write!(f, "{redis}+cluster://")?,
            Topology::Sentinel { .. } => write!(f, "{redis}+sentinel://")?,
            Topology::Unix(_) => f.write_str("unix://")?,
        }
        if self.password.is_some() {
            write!(f, "{}:***@", self.username.as_deref().unwrap_or_default())?;
        }
        let list = |f: &mut fmt::Formatter<'_>, endpoints: &[Endpoint]| {
            endpoints.iter().enumerate().try_for_each(|(i, endpoint)| {
                f.write_str(if i > 0 { "," } else { "" })?;
                endpoint.fmt(f)
            })
        };
        match &self.topology {
            Topology::Standalone(endpoint) => write!(f, "{endpoint}/{}", self.database),
            Topology::Cluster(nodes) => list(f, nodes),
            Topology::Sentinel { sentinels, master } => {
                list(f, sentinels)?;
                write!(f, "/{master}/{}", self.database)
            }
            Topology::Unix(path) => write!(f, "{}?db={}", path.display(), self.database),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

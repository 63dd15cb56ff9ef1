//! Cache URLs: which backend, where, as whom. Parses and prints; connects to nothing.
//!
//! No error quotes any of the URL: where a password holds a character that ends the part it stands in, its rest looks
//! like a host, a port or a path.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::server::{Endpoint, Server, Topology};

const SCHEMES: &str = "`mem://`, `redis://`, `rediss://`, `valkey://`, `redis+cluster://`, `redis+sentinel://`, `unix://`, \
                       and `hybrid+` in front of a Redis one";
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where entries are kept.
///
/// ```
/// use cache_runtime::{Backend, CacheConfig};
///
/// let config = CacheConfig { url: Some("redis://:secret@localhost:6379/2".into()), ..CacheConfig::default() };
/// let backend = config.resolve()?.backend;
/// assert!(matches!(&backend, Backend::Redis(server) if server.database == 2));
/// assert_eq!(backend.to_string(), "redis://:***@localhost:6379/2");
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Backend {
    /// In this process.
    #[default]
    Memory,
    /// On Redis or Valkey.
    Redis(Server),
    /// On Redis or Valkey, with copies in the memory of this process.
    Hybrid(Server),
}

impl Backend {
    /// Reads a URL; the error names the part that cannot be used.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        if url.is_empty() {
            return Err(format!("the URL is empty; use {SCHEMES}"));
        }
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("the URL has a space or a control character in it".into());
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("the URL has no scheme; use {SCHEMES}"))?;
        let scheme = scheme.to_ascii_lowercase();
        let (hybrid, scheme) = match scheme.strip_prefix("hybrid+") {
            Some(scheme) => (true, scheme),
            None => (false, scheme.as_str()),
        };
        // A password that ends its part too early leaves its `@` behind, and its rest must not become a path that is shown.
        if rest.find(['/', '?', '#']).is_some_and(|end| rest[end..].contains('@')) {
            return Err("the URL has an `@` behind its host; in a user name, password or path `@` is written `%40`, and `/`, `?` and \
                        `#` in a user name or password are written `%2F`, `%3F` and `%23`"
                .into());
        }
        let server = match scheme {
            "mem" | "memory" if hybrid => return Err("the scheme `hybrid+` needs a Redis URL behind it".into()),
            "mem" | "memory" if matches!(rest, "" | "/") => return Ok(Self::Memory),
            "mem" | "memory" => return Err("a `mem://` URL has nothing after the scheme".into()),
            "redis" | "valkey" => network(rest, Kind::Plain, false),
            "rediss" | "valkeys" => network(rest, Kind::Plain, true),
            "redis+cluster" | "valkey+cluster" => network(rest, Kind::Cluster, false),
            "rediss+cluster" | "valkeys+cluster" => network(rest, Kind::Cluster, true),
            "redis+sentinel" | "valkey+sentinel" => network(rest, Kind::Sentinel, false),
            "rediss+sentinel" | "valkeys+sentinel" => network(rest, Kind::Sentinel, true),
            "unix" | "redis+unix" | "valkey+unix" => socket(rest),
            _ => Err(format!("the scheme of the URL is not known; use {SCHEMES}")),
        };
        server.map(if hybrid { Self::Hybrid } else { Self::Redis })
    }
}

/// Reads a URL.
///
/// # Errors
///
/// [`ErrorKind::Config`], naming the part that cannot be used and what would do. It never holds any of the URL itself, since
/// that may have a password in it.
impl FromStr for Backend {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        Self::parse(url).map_err(|what| Error::new(ErrorKind::Config, what))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Cluster,
    Sentinel,
}

/// `[user:password@]host[:port][,..][/..]`
fn network(rest: &str, kind: Kind, tls: bool) -> Result<Server, String> {
    if rest.contains('#') {
        return Err("a cache URL has no fragment (`#`)".into());
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !query.is_empty() {
        return Err("this URL takes no query parameters (`?`)".into());
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (login, hosts),
        None => ("", authority),
    };
    let (username, password) = credentials(login)?;
    let port = if kind == Kind::Sentinel { SENTINEL_PORT } else { REDIS_PORT };
    let mut endpoints = hosts.split(',').map(|host| Endpoint::parse(host, port)).collect::<Result<Vec<_>, _>>()?;

    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
    let mut master = String::new();
    if kind == Kind::Sentinel {
        master = decode(segments.next().unwrap_or_default(), "master name")?;
        if master.is_empty() {
            return Err("the master name is missing: `redis+sentinel://host:26379/mymaster/0`".into());
        }
    }
    let database = database(segments.next().unwrap_or_default())?;
    if segments.next().is_some() {
        return Err("the path of the URL has more in it than the database".into());
    }
    let topology = match kind {
        Kind::Sentinel => Topology::Sentinel { sentinels: endpoints, master },
        Kind::Plain if endpoints.len() == 1 => Topology::Standalone(endpoints.remove(0)),
        Kind::Plain | Kind::Cluster if database != 0 => return Err("the database of a cluster can only be 0".into()),
        Kind::Plain | Kind::Cluster => Topology::Cluster(endpoints),
    };
    Ok(Server { topology, tls, username, password, database })
}

/// `[user:password@]/path[?db=0]`
fn socket(rest: &str) -> Result<Server, String> {
    if rest.contains('#') {
        return Err("a cache URL has no fragment (`#`)".into());
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some(slash) = rest.find('/') else {
        return Err("the path of the socket must be absolute: `unix:///run/redis.sock`".into());
    };
    let (authority, path) = rest.split_at(slash);
    let (username, password) = match (authority, authority.strip_suffix('@')) {
        ("", _) => (None, None),
        (_, Some(login)) => credentials(login)?,
        _ => return Err("the path of the socket must be absolute: `unix:///run/redis.sock`".into()),
    };
    let path = decode(path, "path")?;
    if path == "/" {
        return Err("the path of the socket is missing: `unix:///run/redis.sock`".into());
    }
    let mut number = 0;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("db", text)) => number = database(text)?,
            _ => return Err("a query parameter of the URL is not known; `unix://` takes `db`".into()),
        }
    }
    Ok(Server { topology: Topology::Unix(path.into()), tls: false, username, password, database: number })
}

fn credentials(login: &str) -> Result<(Option<String>, Option<Secret>), String> {
    if login.is_empty() {
        return Ok((None, None));
    }
    let Some((username, password)) = login.split_once(':') else {
        return Err("the user name has no password (a password alone is written `:password@`)".into());
    };
    let username = decode(username, "user name")?;
    let password = decode(password, "password")?;
    if password.is_empty() {
        return Err("the password is empty; leave out `user:@` to log in without".into());
    }
    Ok(((!username.is_empty()).then_some(username), Some(Secret::new(password))))
}

fn database(text: &str) -> Result<u32, String> {
    match text {
        "" => Ok(0),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| "the database number is too large".into())
        }
        _ => Err("the database is not a number".into()),
    }
}

impl Endpoint {
    /// `host`, `host:port`, `[v6]` or `[v6]:port`.
    fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or("the host has `[` without `]`")?;
            host.parse::<Ipv6Addr>().map_err(|_| "the host in `[]` is not an IPv6 address")?;
            match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if port.is_empty() => (host, None),
                None => return Err("the host has something between `]` and `:`".into()),
            }
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if port.is_some_and(|port| port.contains(':')) {
            return Err("the port has a `:` in it (an IPv6 address is written in `[]`)".into());
        }
        let host = check_host(host)?;
        let port = port.map_or(Ok(default_port), check_port)?;
        Ok(Self { host, port })
    }
}

/// A host name or address, without a port.
pub(super) fn check_host(host: &str) -> Result<String, String> {
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    // Digits and dots that are no address would be looked up as a name and fail much later.
    let digits = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if host.parse::<Ipv6Addr>().is_err() && (!is_name || (digits && host.parse::<Ipv4Addr>().is_err())) {
        return Err("the host is not a name or an address".into());
    }
    Ok(host.to_owned())
}

pub(super) fn check_port(port: &str) -> Result<u16, String> {
    let number = if port.bytes().all(|byte| byte.is_ascii_digit()) { port.parse().ok() } else { None };
    number.filter(|&port| port != 0).ok_or_else(|| "the port is not a number from 1 to 65535".into())
}

fn decode(text: &str, part: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(format!("the {part} has a `%` without two hex digits (a `%` itself is written `%25`)"));
        };
        bytes.push((high * 16 + low) as u8);
        rest = &tail[2..];
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => Err(format!("the {part} has a NUL in it")),
        Ok(text) => Ok(text),
        Err(_) => Err(format!("the {part} is not UTF-8 once it is percent-decoded")),
    }
}

/// As a URL, without the password.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("mem://"),
            Self::Redis(server) => server.fmt(f),
            Self::Hybrid(server) => write!(f, "hybrid+{server}"),
        }
    }
}

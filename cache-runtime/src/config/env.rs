//! Settings from environment variables. The process' own environment is read in one place only; tests bring their own.

use std::str::FromStr;
use std::time::Duration;

use super::{BackendKind, CacheConfig, Secret, check};
use crate::codec::Keyring;
use crate::duration::{parse_bytes, parse_duration};
use crate::error::{Error, ErrorKind};

/// Aliases in the order in which they are looked for.
const URL: [&str; 2] = ["CACHE_URL", "REDIS_URL"];
const PREFIX: [&str; 2] = ["CACHE_PREFIX", "CACHE_KEY_PREFIX"];
const TTL_DEFAULT: [&str; 3] = ["CACHE_TTL_DEFAULT", "CACHE_DEFAULT_TTL", "REDIS_DEFAULT_TTL"];

impl CacheConfig {
    /// What this process' environment says.
    ///
    /// ```
    /// use cache_runtime::CacheConfig;
    ///
    /// let config = CacheConfig::from_env()?.resolve()?;
    /// println!("{} in {}", config.prefix, config.backend); // `svc in mem://` where nothing is set
    /// # Ok::<(), cache_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the name of the variable, if one does not parse or is out of range. It is never
    /// ignored, nor replaced by the default. A variable that is set to nothing is such a one, except for a user name or
    /// password.
    pub fn from_env() -> Result<Self, Error> {
        // What is not UTF-8 is kept in a form that no setting accepts.
        Self::from_env_with(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// What an environment says that is given as a function.
    ///
    /// ```
    /// use cache_runtime::{CacheConfig, ErrorKind};
    ///
    /// let config = CacheConfig::from_env_with(|name| (name == "CACHE_TTL_DEFAULT").then(|| "10m".into()))?;
    /// assert_eq!(config.ttl_default.map(|ttl| ttl.as_secs()), Some(600));
    ///
    /// let error = CacheConfig::from_env_with(|name| (name == "CACHE_TTL_DEFAULT").then(|| "soon".into())).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Config);
    /// # Ok::<(), cache_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_env_with(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let env = Env { lookup: &lookup };
        let mut config = Self {
            url: env.read(&URL, |name, text| check::url(name, text).map(|()| text.to_owned()))?,
            backend: env.parse(&["CACHE_BACKEND"], BackendKind::from_str)?,
            prefix: env.read(&PREFIX, check::prefix)?,
            version: env.read(&["CACHE_VERSION"], check::version)?,
            namespace: env.read(&["CACHE_NAMESPACE"], check::namespace)?,
            ttl_short: env.ttl(&["CACHE_TTL_SHORT"])?,
            ttl_default: env.ttl(&TTL_DEFAULT)?,
            ttl_long: env.ttl(&["CACHE_TTL_LONG"])?,
            max_items: env.parse(&["CACHE_MAX_ITEMS"], |text| positive(whole(text)?))?,
            max_bytes: env.parse(&["CACHE_MAX_BYTES"], |text| positive(parse_bytes(text)?))?,
            enabled: env.parse(&["CACHE_ENABLED"], switch)?,
            stats: env.parse(&["CACHE_STATS"], switch)?,
            enforce_tenant_isolation: env.parse(&["ENFORCE_TENANT_ISOLATION"], switch)?,
            codec: env.read(&["CACHE_CODEC"], |name, text| text.parse().map_err(|what| refuse(name, what)))?,
            compress_above: env.parse(&["CACHE_COMPRESS_ABOVE"], parse_bytes)?,
            encrypt: env.parse(&["CACHE_ENCRYPT"], switch)?,
            encryption_key: env.read(&["CACHE_ENCRYPTION_KEY"], key)?,
            encryption_key_previous: env.read(&["CACHE_ENCRYPTION_KEY_PREVIOUS"], key)?,
            pool_size: env.parse(&["REDIS_POOL_SIZE"], |text| positive(whole(text)?))?,
            connect_timeout: env.timeout("CACHE_CONNECT_TIMEOUT")?,
            response_timeout: env.timeout("CACHE_RESPONSE_TIMEOUT")?,
            l1_lease: env.parse(&["CACHE_L1_LEASE"], parse_duration)?,
            l1_ping: env.timeout("CACHE_L1_PING")?,
            tls_ca: env.parse(&["CACHE_TLS_CA"], |text| Ok(text.into()))?,
            tls_cert: env.parse(&["CACHE_TLS_CERT"], |text| Ok(text.into()))?,
            tls_key: env.parse(&["CACHE_TLS_KEY"], |text| Ok(text.into()))?,
            ..Self::default()
        };
        // Used only when no URL is set, and therefore read only then: Kubernetes sets some of these by itself.
        if config.url.is_none() {
            let redis = &mut config.redis;
            redis.host = env.parse(&["REDIS_HOST"], super::url::check_host)?;
            redis.port = env.parse(&["REDIS_PORT"], port)?;
            redis.db = env.parse(&["REDIS_DB"], whole)?;
            redis.username = lookup("REDIS_USERNAME").filter(|text| !text.is_empty());
            redis.password = lookup("REDIS_PASSWORD").filter(|text| !text.is_empty()).map(Into::into);
        }
        Ok(config)
    }
}

struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Env<'_> {
    /// The first of `names` that is set.
    fn read<T>(&self, names: &[&str], read: impl Fn(&str, &str) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let Some((name, text)) = names.iter().find_map(|name| Some((name, (self.lookup)(name)?))) else {
            return Ok(None);
        };
        if text.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("{name} is set to nothing; give it a value or unset it"),
            ));
        }
        read(name, &text).map(Some)
    }

    fn parse<T>(&self, names: &[&str], parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Error> {
        self.read(names, |name, text| {
            parse(text).map_err(|what| Error::new(ErrorKind::Config, format!("{name}: {what}")))
        })
    }

    fn ttl(&self, names: &[&str]) -> Result<Option<Duration>, Error> {
        self.duration(names, check::ttl)
    }

    fn timeout(&self, name: &str) -> Result<Option<Duration>, Error> {
        self.duration(&[name], check::timeout)
    }

    fn duration(
        &self,
        names: &[&str],
        check: fn(&str, Duration) -> Result<(), Error>,
    ) -> Result<Option<Duration>, Error> {
        self.read(names, |name, text| {
            let span = parse_duration(text).map_err(|what| Error::new(ErrorKind::Config, format!("{name}: {what}")))?;
            check(name, span).map(|()| span)
        })
    }
}

fn refuse(name: &str, what: Error) -> Error {
    Error::new(what.kind(), format!("{name}: {what}"))
}

/// A key that can be read. Its errors begin with the name and do not show it.
fn key(name: &str, text: &str) -> Result<Secret, Error> {
    Keyring::read([(name, text)]).map(|_| text.into())
}

fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false` (nor `1`, `0`, `yes`, `no`, `on`, `off`)")),
    }
}

fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(number),
        _ if digits => Err(format!("`{text}` is too large")),
        _ => Err(format!("`{text}` is not a whole number")),
    }
}

fn positive<T: Default + PartialEq>(number: T) -> Result<T, String> {
    if number == T::default() { Err("0 is not allowed; use 1 or more".into()) } else { Ok(number) }
}

fn port(text: &str) -> Result<u16, String> {
    super::url::check_port(text).map_err(|what| match text.starts_with("tcp://") {
        true => format!(
            "{what} (Kubernetes sets this for a service called `redis`: set CACHE_URL, or `enableServiceLinks: false`)"
        ),
        false => what,
    })
}

//! What a setting may be. Each check is told what the setting is called where it was found, and says so.

use std::time::Duration;

use super::Backend;
use crate::error::{Error, ErrorKind};

/// Longest ttl: 100 years. What is longer is a mistake, and no clock arithmetic can overflow below it.
///
/// ```
/// use std::time::Duration;
/// use cache_runtime::{CacheConfig, MAX_TTL};
///
/// let config = |ttl| CacheConfig { ttl_long: Some(ttl), ..CacheConfig::default() };
/// assert!(config(MAX_TTL).resolve().is_ok());
/// assert!(config(MAX_TTL + Duration::from_secs(1)).resolve().is_err());
/// ```
pub const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Longest prefix, version and namespace, in characters.
const MAX_SEGMENT_LEN: usize = 64;

fn refuse<T>(name: &str, what: impl std::fmt::Display) -> Result<T, Error> {
    Err(Error::new(ErrorKind::Config, format!("{name}: {what}")))
}

pub(super) fn url(name: &str, text: &str) -> Result<(), Error> {
    Backend::parse(text).map(drop).or_else(|what| refuse(name, what))
}

/// A ttl that a clock can count: neither zero nor longer than [`MAX_TTL`].
pub(super) fn ttl(name: &str, ttl: Duration) -> Result<(), Error> {
    if ttl.is_zero() {
        return refuse(
            name,
            "a ttl of 0 would keep nothing; use at least `1ms`, or CACHE_ENABLED=false to cache nothing",
        );
    }
    if ttl > MAX_TTL {
        return refuse(name, "the ttl is longer than 100 years");
    }
    Ok(())
}

/// Longest wait for a server: a caller who waits longer has been forgotten.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn timeout(name: &str, timeout: Duration) -> Result<(), Error> {
    if timeout.is_zero() {
        return refuse(name, "a timeout of 0 would let nothing succeed; use at least `1ms`");
    }
    if timeout > MAX_TIMEOUT {
        return refuse(name, "the timeout is longer than 10 minutes");
    }
    Ok(())
}

/// How long copies are served unheard of; none are where it is zero.
pub(super) fn lease(name: &str, lease: Duration, is_hybrid: bool) -> Result<(), Error> {
    if lease.is_zero() && is_hybrid {
        return refuse(name, "0 says that no process has copies in memory, and this one is to have some (`hybrid+`)");
    }
    if lease.is_zero() { Ok(()) } else { timeout(name, lease) }
}

/// How often a server is asked whether it is there, so that a lease does not end between two answers.
pub(super) fn ping(name: &str, ping: Duration, lease: Duration) -> Result<(), Error> {
    if ping.is_zero() {
        return refuse(name, "a server cannot be asked without a pause; use at least `1ms`");
    }
    if ping > lease / 2 {
        return refuse(name, "it is longer than half of `l1_lease`, so that copies would expire between two answers");
    }
    Ok(())
}

pub(super) fn count(name: &str, number: u64) -> Result<(), Error> {
    if number == 0 { refuse(name, "0 is not allowed; use 1 or more") } else { Ok(()) }
}

/// The prefix, with the `:` gone that some write at its end.
pub(super) fn prefix(name: &str, text: &str) -> Result<String, Error> {
    let text = text.strip_suffix(':').unwrap_or(text);
    segments(name, text).map(|()| text.to_owned())
}

pub(super) fn version(name: &str, text: &str) -> Result<String, Error> {
    if text.contains(':') {
        return refuse(name, "a version cannot contain `:`");
    }
    segments(name, text).map(|()| text.to_owned())
}

pub(super) fn namespace(name: &str, text: &str) -> Result<String, Error> {
    segments(name, text).map(|()| text.to_owned())
}

/// Text that begins every key must not mean anything in a pattern, end early, or look like a tenant.
fn segments(name: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return refuse(name, "cannot be empty");
    }
    let unusable = |c: &char| !c.is_ascii_graphic() || matches!(c, '%' | '*' | '?' | '[' | ']' | '{' | '}' | '\\');
    if let Some(c) = text.chars().find(unusable) {
        return refuse(
            name,
            format_args!("cannot contain {c:?}; use letters, digits and marks other than % * ? [ ] {{ }} \\"),
        );
    }
    if text.len() > MAX_SEGMENT_LEN {
        return refuse(name, format_args!("has {} characters; the limit is {MAX_SEGMENT_LEN}", text.len()));
    }
    for segment in text.split(':') {
        if segment.is_empty() {
            return refuse(name, "has an empty segment (`:` at an end, or two together)");
        }
        if segment.starts_with("tenant-") {
            return refuse(name, "a segment cannot begin with `tenant-`, which is where tenants live");
        }
    }
    Ok(())
}

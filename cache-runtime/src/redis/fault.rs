//! What goes wrong with a server, in the crate's own words: the kind of trouble and the address. What a server says is
//! never quoted, since it may quote a key or a value.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use redis::{RedisError, ServerError};

use crate::error::{Error, ErrorKind};
use crate::server::Endpoint;

/// Why a command failed on one server.
#[cfg_attr(not(feature = "redis-cluster"), allow(dead_code, reason = "only clusters follow redirections"))]
#[derive(Debug)]
pub(super) enum Fault {
    /// Another server of the cluster has the slot. The host is empty where the server does not know it.
    Moved(Endpoint),
    /// Another server of the cluster is being given the slot, and may have the key already.
    Ask(Endpoint),
    /// The server is a replica now.
    Demoted(Error),
    /// It failed.
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Fault {
    /// As an error, where no other server can be asked.
    pub(super) fn into_error(self, at: &impl fmt::Display) -> Error {
        match self {
            Self::Failed(error) | Self::Demoted(error) => error,
            Self::Moved(_) | Self::Ask(_) => Error::new(ErrorKind::Unavailable, format!("{at} gave a slot away")),
        }
    }
}

/// An error reply to a command.
pub(super) fn refused(at: &impl fmt::Display, reply: &ServerError) -> Fault {
    match reply.code() {
        code @ ("MOVED" | "ASK") => match reply.details().and_then(target) {
            Some(target) if code == "ASK" => Fault::Ask(target),
            Some(target) => Fault::Moved(target),
            None => Fault::Failed(nonsense(at)),
        },
        "READONLY" => Fault::Demoted(said(at, "READONLY", "")),
        code => Fault::Failed(said(at, code, reply.details().unwrap_or_default())),
    }
}

/// `1234 host:port`
fn target(details: &str) -> Option<Endpoint> {
    let (host, port) = details.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    Some(Endpoint { host: host.to_owned(), port: port.parse().ok()? })
}

fn said(at: &impl fmt::Display, code: &str, details: &str) -> Error {
    // What a script may not do is a plain error.
    let of_script = ["The user executing the script can't", "ACL failure"].iter().any(|text| details.starts_with(text));
    let code = if of_script { "NOPERM" } else { code };
    let (kind, what) = match code {
        "NOAUTH" => (ErrorKind::Denied, "asks for a password"),
        "WRONGPASS" => (ErrorKind::Denied, "does not accept the user name or the password"),
        "NOPERM" => {
            let what = match (quoted_command(details), details.contains("channel"), details.contains("key")) {
                (Some(command), ..) => format!("does not let this user run `{command}`"),
                (None, true, _) => "does not let this user use the channels of this cache".into(),
                (None, _, true) => "does not let this user use the keys of this cache".into(),
                _ => "does not let this user run a command".into(),
            };
            return Error::new(ErrorKind::Denied, format!("{at} {what}"));
        }
        "READONLY" => (ErrorKind::ReadOnly, "is a replica"),
        "MISCONF" => (ErrorKind::ReadOnly, "accepts no writes since it could not save its data"),
        "NOREPLICAS" => (ErrorKind::ReadOnly, "accepts no writes since it has too few replicas"),
        "OOM" => (ErrorKind::Full, "is out of memory"),
        "LOADING" => (ErrorKind::Unavailable, "is loading its data"),
        "BUSY" => (ErrorKind::Unavailable, "is busy with a script"),
        "TRYAGAIN" => (ErrorKind::Unavailable, "is giving a slot away"),
        "CLUSTERDOWN" => (ErrorKind::Unavailable, "says that its cluster is down"),
        "MASTERDOWN" => (ErrorKind::Unavailable, "has lost its primary"),
        "NOPROTO" => (ErrorKind::Unsupported, "does not speak RESP3"),
        "CROSSSLOT" => (ErrorKind::Protocol, "was asked for several slots at once"),
        // The code is one word in capitals; the rest may quote what was sent.
        code if code.len() <= 16 && code.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            return Error::new(ErrorKind::Protocol, format!("{at} answered with the error `{code}`"));
        }
        _ => (ErrorKind::Protocol, "answered with an error"),
    };
    Error::new(kind, format!("{at} {what}"))
}

/// The command in `.. to run the 'info' command ..`.
fn quoted_command(details: &str) -> Option<&str> {
    let name = details.split_once("run the '")?.1.split_once('\'')?.0;
    let is_name = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'|' | b'-' | b'_');
    (name.len() <= 32 && name.bytes().all(is_name)).then_some(name)
}

/// A connection that cannot be made, or broke.
pub(super) fn broken(at: &impl fmt::Display, error: &RedisError) -> Error {
    if let Some(kind) = tls(at, error) {
        return kind;
    }
    if let redis::ErrorKind::RESP3NotSupported = error.kind() {
        return too_old(at);
    }
    if let redis::ErrorKind::Parse = error.kind() {
        return nonsense(at);
    }
    match error.code() {
        Some(code) => match said(at, code, error.detail().unwrap_or_default()) {
            _ if error.detail().is_some_and(|detail| detail.contains("no permissions")) => {
                said(at, "NOPERM", error.detail().unwrap_or_default())
            }
            // Before anybody has logged in, the one plain `ERR` is about the database.
            plain if code == "ERR" => {
                Error::new(ErrorKind::Config, format!("{at} has no such database or does not let us use it"))
                    .with_source(plain)
            }
            said => said,
        },
        None if error.kind() == redis::ErrorKind::AuthenticationFailed => said(at, "WRONGPASS", ""),
        None => lost(at),
    }
}

/// A connection that could not be opened.
pub(super) fn unopened(at: &impl fmt::Display, error: io::Error) -> Error {
    if let Some(error) = tls(at, &error) {
        return error;
    }
    let what = match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused the connection",
        io::ErrorKind::NotFound => "does not exist",
        io::ErrorKind::PermissionDenied => {
            return Error::new(ErrorKind::Config, format!("{at} may not be opened by this process")).with_source(error);
        }
        _ => "cannot be reached",
    };
    Error::new(ErrorKind::Unavailable, format!("{at} {what}")).with_source(error)
}

#[cfg(feature = "tls")]
fn tls(at: &impl fmt::Display, error: &(dyn StdError + 'static)) -> Option<Error> {
    use std::sync::Arc;

    use tokio_rustls::rustls::Error as Tls;

    let mut next = Some(error);
    while let Some(error) = next {
        // `redis` keeps the cause behind an `Arc`, which is an error of its own.
        let error = match error.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
            Some(shared) => &**shared as &(dyn StdError + 'static),
            None => error,
        };
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<Tls>()).or_else(|| error.downcast_ref::<Tls>());
        if let Some(tls) = tls {
            return Some(match tls {
                Tls::InvalidCertificate(_) => Error::new(
                    ErrorKind::Config,
                    format!(
                        "{at} has a certificate that is not trusted (see the setting tls_ca), or one of another host"
                    ),
                ),
                Tls::AlertReceived(_) => Error::new(
                    ErrorKind::Denied,
                    format!("{at} ended the TLS handshake (see the settings tls_cert and tls_key)"),
                ),
                _ => Error::new(ErrorKind::Config, format!("{at} does not speak TLS as we do")),
            });
        }
        next = error.source();
    }
    None
}

#[cfg(not(feature = "tls"))]
fn tls(_at: &impl fmt::Display, _error: &(dyn StdError + 'static)) -> Option<Error> {
    None
}

pub(super) fn lost(at: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{at} closed the connection"))
}

pub(super) fn late(at: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{at} did not answer in time"))
}

pub(super) fn crowded(at: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{at} has too many commands waiting for it"))
}

pub(super) fn nonsense(at: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("{at} answered what makes no sense"))
}

pub(super) fn too_old(at: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{at} is older than Redis 7.0"))
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connections of the cache were closed")
}

/// Of several failures, one that tells more than that a server cannot be reached.
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
pub(super) fn most_telling(mut failures: Vec<Error>) -> Option<Error> {
    let telling = failures.iter().position(|error| error.kind() != ErrorKind::Unavailable).unwrap_or_default();
    (!failures.is_empty()).then(|| failures.swap_remove(telling))
}

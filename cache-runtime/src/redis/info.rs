//! Reads what `INFO` says: who a server is, whether it is a primary, and how it is doing. Pure.
//!
//! The identity is that of (`run_id`, `master_replid`): a demotion and re-promotion keeps the process and its connections
//! while the data set is replaced, and shows in the second only.

use std::collections::HashMap;
use std::fmt;

use redis::Value;

use super::fault;
use super::op::Stamp;
use crate::error::{Error, ErrorKind};

/// The oldest server whose commands this module uses (`PEXPIRE .. GT`, several sections in one `INFO`).
const OLDEST: u32 = 7;

/// The fields of an answer to `INFO`.
pub(super) struct Info<'t>(HashMap<&'t str, &'t str>);

/// The text of an answer: RESP3 marks it as such, RESP2 does not.
pub(super) fn text(answer: &Value) -> Option<&str> {
    match answer {
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Some(text),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// What decides whether a server may be used, and what its values are stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) identity: Stamp,
    pub(super) is_primary: bool,
    pub(super) is_cluster: bool,
}

impl<'t> Info<'t> {
    pub(super) fn parse(text: &'t str) -> Self {
        Self(text.lines().filter_map(|line| line.split_once(':')).collect())
    }

    pub(super) fn get(&self, field: &str) -> &'t str {
        self.0.get(field).copied().unwrap_or_default()
    }

    pub(super) fn number(&self, field: &str) -> u64 {
        self.get(field).parse().unwrap_or_default()
    }

    /// Valkey and others say which Redis they are like.
    pub(super) fn version(&self) -> &'t str {
        self.get("redis_version")
    }

    /// Who the server is, if it is one that can be used.
    pub(super) fn standing(&self, at: &impl fmt::Display) -> Result<Standing, Error> {
        let major = self.version().split('.').next().and_then(|major| major.parse::<u32>().ok());
        match major {
            None => return Err(fault::nonsense(at)),
            Some(major) if major < OLDEST => return Err(fault::too_old(at)),
            Some(_) => {}
        }
        let (run, data) = (self.get("run_id"), self.get("master_replid"));
        if run.is_empty() || data.is_empty() {
            let what = format!("{at} does not say who it is (`run_id` and `master_replid` in INFO)");
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(run.as_bytes()).update(&[0]).update(data.as_bytes());
        let mut identity = Stamp::default();
        hasher.finalize_xof().fill(&mut identity);
        Ok(Standing {
            identity,
            is_primary: self.get("role") == "master",
            is_cluster: self.get("redis_mode") == "cluster",
        })
    }

    /// Keys in all databases: `db0:keys=12,expires=3,..`
    pub(super) fn keys(&self) -> u64 {
        let of = |(name, value): (&&str, &&str)| {
            let number = name.strip_prefix("db")?;
            number.parse::<u32>().ok()?;
            value.split(',').find_map(|part| part.strip_prefix("keys="))?.parse::<u64>().ok()
        };
        self.0.iter().filter_map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:abc\r\n\r\n# Replication\r\n\
                        role:master\r\nmaster_replid:def\r\n# Keyspace\r\ndb0:keys=12,expires=3,avg_ttl=0\r\ndb3:keys=2,expires=0\r\n";

    #[test]
    fn who_a_server_is_depends_on_process_and_data_set() {
        let standing = |text: &str| Info::parse(text).standing(&"here").unwrap();
        let first = standing(TEXT);
        assert!(first.is_primary && !first.is_cluster);
        assert_eq!(first, standing(TEXT));
        assert_ne!(first.identity, standing(&TEXT.replace("run_id:abc", "run_id:abd")).identity);
        assert_ne!(first.identity, standing(&TEXT.replace("replid:def", "replid:deg")).identity);
        // The two parts do not run into each other.
        let shifted = TEXT.replace("run_id:abc", "run_id:abcd").replace("replid:def", "replid:ef");
        assert_ne!(first.identity, standing(&shifted).identity);
        assert!(!standing(&TEXT.replace("role:master", "role:slave")).is_primary);
    }

    #[test]
    fn an_old_or_a_nameless_server_is_not_used() {
        let kind = |text: &str| Info::parse(text).standing(&"here").unwrap_err().kind();
        assert_eq!(kind(&TEXT.replace("7.0.15", "6.2.14")), ErrorKind::Unsupported);
        assert_eq!(kind(&TEXT.replace("run_id", "runid")), ErrorKind::Unsupported);
        assert_eq!(kind("hello"), ErrorKind::Protocol);
    }

    #[test]
    fn keys_of_all_databases_are_counted() {
        assert_eq!(Info::parse(TEXT).keys(), 14);
        assert_eq!(Info::parse("").keys(), 0);
    }
}

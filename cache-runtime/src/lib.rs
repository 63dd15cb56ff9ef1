//! Caching that is right: annotate functions, and reads are cached, writes invalidate, and nobody sees yesterday's value.
//!
//! ```
//! use cache_runtime::{cache_read, cache_write};
//! # use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//! # #[derive(Clone, serde::Serialize, serde::Deserialize, PartialEq, Debug)]
//! # struct User { id: u64, name: String }
//! # #[derive(Debug, Clone)] struct DbError;
//! # #[derive(Default)] struct Db { queries: AtomicU64 }
//! # impl Db {
//! #     async fn fetch(&self, id: u64) -> Result<User, DbError> { self.queries.fetch_add(1, Relaxed); Ok(User { id, name: "Ada".into() }) }
//! #     async fn rename(&self, id: u64, name: String) -> Result<User, DbError> { Ok(User { id, name }) }
//! # }
//! #[cache_read(key = "user:<user_id>", ttl = "5m", tags = ["user:<user_id>"], skip(db))]
//! async fn get_user(db: &Db, user_id: u64) -> Result<User, DbError> {
//!     db.fetch(user_id).await
//! }
//!
//! #[cache_write(tags = ["user:<user_id>"], recache = [get_user(db, user_id)])]
//! async fn rename_user(db: &Db, user_id: u64, name: String) -> Result<User, DbError> {
//!     db.rename(user_id, name).await
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let db = Db::default();
//! # get_user(&db, 42).await.unwrap();
//! # get_user(&db, 42).await.unwrap();
//! # assert_eq!(db.queries.load(Relaxed), 1);
//! # rename_user(&db, 42, "Grace".into()).await.unwrap();
//! # assert_eq!(db.queries.load(Relaxed), 2);
//! # });
//! ```
//!
//! - [`cache_read`] caches what a function returns, [`cache_write`] makes that invalid after a write, [`memoize`] keeps
//!   results in this process without serialization.
//! - [`Cache`] is the cache itself: configuration, direct typed access, statistics.
//! - [`catalogue`] lists the program's annotated functions and finds misspelt tags.
//!
//! The guide is in `docs/guide` of the repository.

// Doc examples and macros name the crate.
extern crate self as cache_runtime;

mod background;
mod cache;
mod cell;
mod clock;
mod codec;
mod config;
mod duration;
mod engine;
mod envelope;
mod error;
mod flight;
mod key;
mod memory;
#[cfg(all(test, feature = "shuttle"))]
mod model;
mod outbox;
mod policy;
mod record;
#[cfg(feature = "redis")]
#[allow(dead_code, reason = "the engine is being built on it")]
mod redis;
mod report;
mod secret;
mod server;
mod shape;
mod site;
mod slot;
mod stats;
mod store;
mod sync;
mod tags;
mod tenant;
mod timer;

#[doc(hidden)]
#[path = "private/mod.rs"]
pub mod __private;

/// Not for users: what the fuzz targets in `fuzz` call.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod __fuzz {
    /// Takes any bytes for an entry and for a value.
    pub fn decode(data: &[u8]) {
        crate::codec::fuzz::decode(data);
    }
}

pub use cache_macros::{KeyPart, cache_read, cache_write, key, memoize, resource};

pub use cache::Cache;
pub use cache::builder::Builder;
pub use cache::catalogue::{Catalogue, Function, Problem, ProblemKind, Problems, catalogue};
pub use cache::context::{cache, init};
pub use cache::handle::Entry;
pub use cache::insight::{CacheStats, EntryInfo, Info, ServerInfo};
pub use cache::keys::Keys;
pub use cache::operation::{GetOrLoad, IntoValue, Set, SetMany};
#[cfg(feature = "testing")]
pub use cache::testing::{TestCache, TestClock};
pub use cache::warm::{Warm, Warmed};
pub use codec::Codec;
pub use config::{
    Backend, BackendKind, CacheConfig, Endpoint, MAX_TTL, RedisConfig, Resolved, Secret, Server, TlsFiles, Topology,
};
pub use engine::direct::Remaining;
pub use engine::put::Put;
pub use engine::sink::{AsTag, IntoTags, Tag};
pub use error::{Error, ErrorKind};
pub use key::{Key, KeyPart};
pub use memory::Engine;
pub use policy::{IntoTtl, Lifetime, Ttl};
pub use shape::{Memoizable, Plain, Storable};
pub use site::SiteKind;
pub use stats::{FunctionStats, Latency};
pub use tenant::Tenant;

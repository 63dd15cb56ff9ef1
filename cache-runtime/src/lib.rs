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
//!
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
//!
//! let user = get_user(&db, 42).await?;            // loads
//! # assert_eq!(db.queries.load(Relaxed), 1);
//! let user = get_user(&db, 42).await?;            // from the cache
//! # assert_eq!(db.queries.load(Relaxed), 1);
//! rename_user(&db, 42, "Grace".into()).await?;    // writes, invalidates, loads anew
//! # assert_eq!(db.queries.load(Relaxed), 2);
//! # Ok::<(), DbError>(())
//! # }).unwrap();
//! ```
//!
//! - [`cache_read`] caches what a function returns, [`cache_write`] makes that invalid after a write, [`memoize`] keeps
//!   results in this process without serialization.
//! - [`Cache`] is the cache itself: configuration, direct typed access, statistics.
//! - [`catalogue`] lists the program's annotated functions and finds misspelt tags.
//!
//! The guide is in `docs/guide` of the repository.
// Items that need a feature say so. Set by docs.rs, on the nightly compiler that it has.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "redis"), allow(dead_code, reason = "no backend asks for what only shared ones need"))]

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
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
#[cfg(feature = "tower")]
pub mod http;
mod hybrid;
mod key;
mod memory;
mod meter;
#[cfg(all(test, feature = "shuttle"))]
mod model;
mod outbox;
mod policy;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod report;
mod sabotage;
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
mod trace;

#[doc(hidden)]
#[path = "private/mod.rs"]
pub mod __private;

/// Not for users: what the fuzz targets in `fuzz` call.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod __fuzz {
    /// Takes any bytes for what a target reads. Panics where a promise is broken, or where there is no such target.
    pub fn run(target: &str, data: &[u8]) {
        let run = crate::fuzz::TARGETS.iter().find(|(name, _)| *name == target).expect("a target of that name").1;
        run(data);
    }
}

/// Makes a type of yours usable in keys.
///
/// ```
/// use cache_runtime::{KeyPart, key};
///
/// #[derive(KeyPart)]
/// struct UserId(u64);
///
/// #[derive(KeyPart)]
/// enum View {
///     Short,
///     #[key(rename = "page")]
///     Page(u32),
/// }
///
/// let (id, short, third) = (UserId(42), View::Short, View::Page(3));
/// assert_eq!(key!("user:<id>:<short>").as_str(), "user:42:Short");
/// assert_ne!(key!("user:<id>:<third>"), key!("user:<id>:<short>"));
/// ```
pub use cache_macros::KeyPart;
/// Caches what an async function returns.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use cache_runtime::Cache;
/// # #[derive(Debug)] struct DbError;
/// # impl From<cache_runtime::Error> for DbError { fn from(_: cache_runtime::Error) -> Self { Self } }
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)] struct User { org_id: u64 }
/// # struct Db;
/// # impl Db { async fn fetch(&self, id: u64) -> Result<User, DbError> { Ok(User { org_id: id / 10 }) } }
/// use cache_runtime::cache_read;
///
/// #[cache_read(key = "user:<user_id>", ttl = "5m", tags = ["org:<result.org_id>"], skip(db))]
/// async fn get_user(db: &Db, user_id: u64) -> Result<User, DbError> {
///     db.fetch(user_id).await
/// }
/// # let (cache, db) = (Cache::memory(), Db);
/// # cache.scope(async {
/// get_user(&db, 42).await?;
/// get_user(&db, 42).await?;
/// assert_eq!(get_user::stats().loads, 1);
///
/// get_user::invalidate(42).await?; // the companion: one verb of several
/// assert!(get_user::peek(42).await?.is_none());
/// # Ok::<_, DbError>(()) }).await }).unwrap();
/// ```
pub use cache_macros::cache_read;
/// Makes cached values invalid after an async function that changes data.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use cache_runtime::Cache;
/// # #[derive(Debug)] struct DbError;
/// # #[derive(Default)] struct Db(std::sync::atomic::AtomicU64);
/// # impl Db {
/// #     async fn age(&self, _: u64) -> Result<u64, DbError> { Ok(self.0.load(std::sync::atomic::Ordering::Relaxed)) }
/// #     async fn set_age(&self, _: u64, age: u64) -> Result<(), DbError> { self.0.store(age, std::sync::atomic::Ordering::Relaxed); Ok(()) }
/// # }
/// use cache_runtime::{cache_read, cache_write};
///
/// #[cache_read(key = "age:<user_id>", tags = ["user:<user_id>"], skip(db))]
/// async fn get_age(db: &Db, user_id: u64) -> Result<u64, DbError> {
///     db.age(user_id).await
/// }
///
/// #[cache_write(tags = ["user:<user_id>"], recache = [get_age(db, user_id)])]
/// async fn set_age(db: &Db, user_id: u64, age: u64) -> Result<(), DbError> {
///     db.set_age(user_id, age).await
/// }
/// # let (cache, db) = (Cache::memory(), Db::default());
/// # cache.scope(async {
/// assert_eq!(get_age(&db, 42).await?, 0);
/// set_age(&db, 42, 36).await?;
/// assert_eq!(get_age(&db, 42).await?, 36);
/// # Ok::<_, DbError>(()) }).await }).unwrap();
/// ```
pub use cache_macros::cache_write;
/// Makes a key of variables in scope, in which no value can leave its place.
///
/// ```
/// use cache_runtime::key;
///
/// let (user_id, lang) = (42, "a:b");
/// assert_eq!(key!("user:<user_id>:<lang>").as_str(), "user:42:a%3Ab");
/// assert_eq!(key!("user:<0>:<lang>", user_id, lang = "en").as_str(), "user:42:en");
/// ```
pub use cache_macros::key;
/// Keeps results in this process without serialization, of functions that are async and those that are not.
///
/// ```
/// use cache_runtime::{Cache, memoize};
///
/// #[memoize(ttl = "forever", capacity = 1000)]
/// fn fibonacci(n: u64) -> u64 {
///     if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
/// }
///
/// let cache = Cache::memory();
/// assert_eq!(cache.scope_blocking(|| fibonacci(90)), 2_880_067_194_370_816_120);
/// assert_eq!(cache.stats().loads, 91);
/// ```
pub use cache_macros::memoize;
/// Declares names for tags and keys that the compiler checks.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// use cache_runtime::resource;
///
/// resource! {
///     /// A user, by id.
///     pub user("user", user_id: u64);
/// }
///
/// cache.set(user(42).suffix("name"), "Ada".to_owned()).tags([user(42)]).await?;
/// cache.invalidate(user(42)).await?;
/// assert!(!cache.exists("user:name:42").await?);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
pub use cache_macros::resource;

pub use cache::Cache;
pub use cache::builder::Builder;
pub use cache::catalogue::{Catalogue, Function, Problem, ProblemKind, Problems, catalogue};
pub use cache::context::{cache, in_context, init};
pub use cache::handle::Entry;
pub use cache::insight::{CacheStats, EntryInfo, Info, ServerInfo};
pub use cache::keys::Keys;
pub use cache::operation::{GetOrLoad, IntoValue, Set, SetMany};
pub use cache::overview::FunctionInfo;
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
pub use stats::{DegradedBy, EvictedBy, FunctionStats, Latency};
pub use store::{Breaker, ServerState};
pub use tenant::Tenant;

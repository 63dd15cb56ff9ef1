//! Expansions in the crate of a user who has every lint on: what the compiler says here, it says about the expansion.
//! Clippy's part counts when the suite is run under `cargo clippy --tests`.
#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    rust_2018_idioms,
    unused_qualifications,
    unused_lifetimes,
    single_use_lifetimes,
    elided_lifetimes_in_paths,
    unused_results,
    explicit_outlives_requirements,
    redundant_lifetimes,
    unit_bindings,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]
#![allow(dead_code, unreachable_pub, clippy::redundant_pub_crate, reason = "a test program is its own only user")]

use cache_runtime::{KeyPart, cache_read, cache_write, key, memoize, resource};

/// A user.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct User {
    /// Its id.
    pub id: u64,
}

/// A failure.
#[derive(Clone, Debug)]
pub struct DbError;

/// A database.
#[derive(Debug)]
pub struct Db;

resource! {
    /// A user.
    pub user("user", user_id: u64);
    org("org", id: &str);
}

/// A period.
#[derive(Clone, Copy, Debug, KeyPart)]
pub enum Period {
    /// A day.
    Day,
    /// Some days.
    Days(u32, u8),
    /// A range.
    Range {
        /// From.
        from: u32,
    },
}

/// An id.
#[derive(Clone, Copy, Debug, KeyPart)]
pub struct Id(pub u64);

/// A pair.
#[derive(Clone, Copy, Debug, KeyPart)]
pub struct Pair<T> {
    /// Left.
    pub left: T,
    /// Right.
    pub right: u8,
}

/// Reads.
///
/// # Errors
///
/// Never.
#[cache_read(key = "user:<user_id>", ttl = "5m", tags = ["org:<result.id>", user(user_id)], skip(db))]
pub async fn get_user(db: &Db, user_id: u64) -> Result<User, DbError> {
    let _ = db;
    std::future::ready(()).await;
    Ok(User { id: user_id })
}

/// Reads.
///
/// # Errors
///
/// Never.
#[cache_read(key = "gen:<T>:<pair.right>:<period>", ttl = "5m", lock = true, skip(db), cache_if = |v| !v.is_empty())]
pub async fn generic<T>(db: &Db, pair: Pair<u8>, period: Period) -> Result<Vec<T>, DbError>
where
    T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    let _ = (db, pair, period);
    std::future::ready(()).await;
    Ok(vec![])
}

/// Writes.
///
/// # Errors
///
/// Never.
#[cache_write(tags = ["user:<user_id>", "x:<result.id>"], recache = [get_user(db, user_id), get_user(db, result.id)])]
pub async fn rename(db: &Db, user_id: u64, name: String) -> Result<User, DbError> {
    let _ = db;
    drop(name);
    std::future::ready(()).await;
    Ok(User { id: user_id })
}

/// Remembers.
#[memoize(ttl = "1s", tags = ["m"])]
#[must_use]
pub fn slow(id: Id, n: usize) -> u64 {
    id.0 + n as u64 + std::env::args().count() as u64
}

#[memoize]
pub(crate) async fn slow_async(name: &str) -> Option<String> {
    std::future::ready(()).await;
    Some(name.to_owned())
}

/// A service.
#[derive(Debug)]
pub struct Service {
    shard: u32,
}

impl Service {
    /// Gets.
    #[cache_read(key = "s:<self.shard>:<id>", tags = ["t:<result>"], bypass = id == 3)]
    pub async fn get(&self, id: u64) -> Option<u64> {
        std::future::ready(()).await;
        if id == 0 {
            return None;
        }
        Some(id)
    }

    #[cache_read(key = "p:<id>", skip(self))]
    async fn private(&self, id: u64) -> Option<u64> {
        std::future::ready(()).await;
        Some(Some(id)? + u64::from(self.shard))
    }

    /// Uses.
    #[cache_write(tags = ["t:<id>"], recache = [self.get(id)])]
    pub async fn touch(&self, id: u64) {
        let _ = self.private(id).await;
    }
}

/// A trait.
#[async_trait::async_trait]
pub trait Gets {
    /// Gets.
    async fn gets(&self, id: u64) -> Option<u64>;
}

#[async_trait::async_trait]
impl Gets for Service {
    #[cache_read(key = "a:<id>", skip(self))]
    async fn gets(&self, id: u64) -> Option<u64> {
        std::future::ready(()).await;
        Some(id)
    }
}

/// What may be refreshed in the background.
#[derive(Clone, Debug)]
pub struct Aging;

impl From<cache_runtime::Error> for DbError {
    fn from(_: cache_runtime::Error) -> Self {
        Self
    }
}

impl Aging {
    /// Reads.
    ///
    /// # Errors
    ///
    /// It fails.
    #[cache_read(
        key = "old:<id>:<name>",
        ttl = "5m",
        early_ttl = "4m",
        stale = "1m",
        stale_if_error = "1h",
        soft_timeout = "100ms",
        timeout = "1s",
        tags = ["t:<result.id>"],
        unless = |value| value.id == limit,
        bypass = limit == 3,
        skip(self, limit)
    )]
    pub async fn old(&self, id: u64, name: &str, limit: u64) -> Result<User, DbError> {
        std::future::ready(()).await;
        Ok(User { id: id + name.len() as u64 })
    }

    /// Gives up.
    ///
    /// # Errors
    ///
    /// It fails.
    #[cache_read(key = "given:<id>", ttl = "5m", timeout = "1s", skip(self))]
    pub async fn gives_up(&self, id: u64) -> Result<User, DbError> {
        std::future::ready(()).await;
        Ok(User { id })
    }
}

/// Refreshed by chance.
#[cache_read(key = "auto:<text>", ttl = "5m", early_ttl = auto)]
pub async fn by_chance(text: String) -> String {
    std::future::ready(()).await;
    text
}

/// Renamed runtime.
#[cache_read(key = "renamed:<id>", crate = ::cache_runtime, each(id in ids))]
pub async fn renamed(ids: &[u64]) -> Vec<Option<u64>> {
    std::future::ready(()).await;
    ids.iter().copied().map(Some).collect()
}

/// Uses everything.
pub async fn all() {
    let id = 3;
    let _ = key!("user:<id>");
    let _ = org("x").to_string();
    let _ = slow_async("x").await;
    let _ = slow(Id(1), 2);
    let _ = get_user::warm([1, 2, 3], |id| (&Db, id)).concurrency(2).await;
}

/// A repository.
#[derive(Debug)]
pub struct Repo<T> {
    value: T,
}

impl<T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static> Repo<T> {
    /// Loads.
    ///
    /// # Errors
    ///
    /// Never.
    #[cache_read(key = "typed:<id>", skip(self), each(id in ids), by = |v: &T| { let _ = v; 1 })]
    pub async fn load(&self, ids: Vec<u64>) -> Result<Vec<T>, DbError> {
        let _ = std::future::ready(ids).await;
        Ok(vec![self.value.clone()])
    }

    /// Memo.
    #[memoize(skip(self), tags = ["x:<result>"])]
    pub fn memo(&self, n: u64) -> u64 {
        n + u64::from(size_of_val(&self.value) == 3)
    }
}

/// Patterns.
#[cache_read(key = "pat:<a>:<b>:<left>", skip(extra))]
pub async fn patterns((a, b): (u32, u32), Pair { left, .. }: Pair<u32>, mut extra: String) -> usize {
    extra.push('x');
    std::future::ready(()).await;
    (a + b + left) as usize + extra.len()
}

/// Recaches in the background.
///
/// # Errors
///
/// Never.
#[cache_write(put = get_user(user_id), fence = "1s", before = true, tags = ["user:<user_id>"], recache = [slow_async(name), patterns((1, 2), Pair { left: 1, right: 2 }, String::from(name))], recache_mode = background)]
pub async fn background(user_id: u64, name: &str) -> Result<User, DbError> {
    let _ = std::future::ready(name).await;
    Ok(User { id: user_id })
}

/// What is checked here is that this file compiles; the run shows that it is more than signatures.
#[test]
fn expansions_raise_no_lint() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map(|runtime| runtime.block_on(cache_runtime::Cache::for_test().scope(all())));
    assert!(done.is_ok());
}

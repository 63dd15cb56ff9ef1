//! The code of the guide and of the README, compiled and run: each page is the documentation of a module here, so that
//! its examples are documentation tests. Beside that, what the examples share: a small database that counts its reads.
//!
//! No example may lean on anything else of this crate.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

macro_rules! pages {
    ($($name:ident: $file:literal;)*) => {
        $(#[doc = include_str!(concat!("../../docs/guide/", $file))]
        pub mod $name {})*
    };
}

pages! {
    contents: "README.md";
    first_steps: "first-steps.md";
    keys: "keys.md";
    tags_and_writes: "tags-and-writes.md";
    recache: "recache.md";
    options: "options.md";
    memoize: "memoize.md";
    resources: "resources.md";
    batch: "batch.md";
    companion: "companion.md";
    methods_and_traits: "methods-and-traits.md";
    direct: "direct.md";
    configuration: "configuration.md";
    tenants: "tenants.md";
    statistics: "statistics.md";
    testing: "testing.md";
    consistency: "consistency.md";
    errors_explained: "errors-explained.md";
}

#[doc = include_str!("../../README.md")]
pub mod readme {}

/// A row of the examples' database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// 1 to 100.
    pub id: u64,
    /// `id / 10`.
    pub org_id: u64,
    /// `user 42` until renamed.
    pub name: String,
}

/// Why a query failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DbError {
    /// There is no such row.
    NotFound,
    /// The database was told to be down.
    Down,
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such row",
            Self::Down => "the database is down",
        })
    }
}

impl Error for DbError {}

/// A database with the users 1 to 100, which counts the queries that read.
#[derive(Debug)]
pub struct Db {
    users: Mutex<BTreeMap<u64, User>>,
    reads: AtomicU64,
    down: AtomicBool,
}

impl Default for Db {
    fn default() -> Self {
        let user = |id| (id, User { id, org_id: id / 10, name: format!("user {id}") });
        Self {
            users: Mutex::new((1..=100).map(user).collect()),
            reads: AtomicU64::new(0),
            down: AtomicBool::new(false),
        }
    }
}

impl Db {
    /// The users 1 to 100.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many queries read so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// From now on every query fails, or works again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    async fn read<T>(&self, look: impl FnOnce(&BTreeMap<u64, User>) -> T) -> Result<T, DbError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        // A query takes a moment, in which others run.
        tokio::task::yield_now().await;
        if self.down.load(Ordering::Relaxed) { Err(DbError::Down) } else { Ok(look(&self.users.lock())) }
    }

    async fn write(&self, id: u64, change: impl FnOnce(&mut User)) -> Result<User, DbError> {
        tokio::task::yield_now().await;
        if self.down.load(Ordering::Relaxed) {
            return Err(DbError::Down);
        }
        let mut users = self.users.lock();
        let user = users.get_mut(&id).ok_or(DbError::NotFound)?;
        change(user);
        Ok(user.clone())
    }

    /// The user, or [`DbError::NotFound`].
    ///
    /// # Errors
    ///
    /// There is none, or the database is down.
    pub async fn user(&self, id: u64) -> Result<User, DbError> {
        self.find(id).await?.ok_or(DbError::NotFound)
    }

    /// The user, if there is one.
    ///
    /// # Errors
    ///
    /// The database is down.
    pub async fn find(&self, id: u64) -> Result<Option<User>, DbError> {
        self.read(|users| users.get(&id).cloned()).await
    }

    /// Those of `ids` that exist, in one query.
    ///
    /// # Errors
    ///
    /// The database is down.
    pub async fn users(&self, ids: &[u64]) -> Result<Vec<User>, DbError> {
        self.read(|users| ids.iter().filter_map(|id| users.get(id).cloned()).collect()).await
    }

    /// The names of an organisation's users.
    ///
    /// # Errors
    ///
    /// The database is down.
    pub async fn members(&self, org_id: u64) -> Result<Vec<String>, DbError> {
        self.read(|users| users.values().filter(|user| user.org_id == org_id).map(|user| user.name.clone()).collect())
            .await
    }

    /// Renames a user and returns the row as it is now.
    ///
    /// # Errors
    ///
    /// There is no such user, or the database is down.
    pub async fn rename(&self, id: u64, name: &str) -> Result<User, DbError> {
        self.write(id, |user| name.clone_into(&mut user.name)).await
    }

    /// Moves a user to another organisation and returns the row as it is now.
    ///
    /// # Errors
    ///
    /// There is no such user, or the database is down.
    pub async fn move_to(&self, id: u64, org_id: u64) -> Result<User, DbError> {
        self.write(id, |user| user.org_id = org_id).await
    }
}

/// Runs an example with a cache of its own.
///
/// # Panics
///
/// If the example fails.
pub fn run(example: impl Future<Output = Result<(), Box<dyn Error>>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cache = cache_runtime::Cache::for_test();
    if let Err(error) = runtime.block_on(cache.scope(example)) {
        panic!("the example failed: {error}");
    }
}

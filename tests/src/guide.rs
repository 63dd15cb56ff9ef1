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
    freshness: "freshness.md";
    memoize: "memoize.md";
    resources: "resources.md";
    batch: "batch.md";
    companion: "companion.md";
    methods_and_traits: "methods-and-traits.md";
    direct: "direct.md";
    configuration: "configuration.md";
    redis: "redis.md";
    hybrid: "hybrid.md";
    tenants: "tenants.md";
    http_services: "http.md";
    statistics: "statistics.md";
    page: "page.md";
    testing: "testing.md";
    consistency: "consistency.md";
    errors_explained: "errors-explained.md";
    observability: "observability.md";
    choosing: "choosing.md";
    production: "production.md";
    security: "security.md";
    troubleshooting: "troubleshooting.md";
    performance: "performance.md";
    coming_from: "coming-from/README.md";
    coming_from_svc_infra: "coming-from/svc-infra.md";
    coming_from_caching_utilities: "coming-from/caching-utilities.md";
    coming_from_web_template: "coming-from/web-template.md";
    coming_from_cache_manager: "coming-from/cache-manager.md";
    coming_from_cache_kit: "coming-from/cache-kit.md";
    coming_from_spring: "coming-from/spring.md";
    coming_from_fusioncache: "coming-from/fusioncache.md";
    coming_from_cached: "coming-from/cached.md";
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Text of which what stands in backticks is gone: the guide has other names than the compile-fail tests.
    fn nameless(line: &str) -> String {
        let mut outside = false;
        line.trim()
            .split('`')
            .map(|part| {
                outside = !outside;
                if outside { part } else { "`" }
            })
            .collect()
    }

    fn read_all(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                read_all(&entry, into);
            } else if entry.extension().is_some_and(|extension| extension == "stderr") {
                into.push_str(&std::fs::read_to_string(entry).expect("text"));
            }
        }
    }

    /// Our own words, not rustc's.
    fn is_ours(line: &str) -> bool {
        let line = line.trim();
        ["error: ", "error[E0277]: ", "error[E0599]: ", "help: ", "note: ", "= note: "]
            .iter()
            .any(|start| line.starts_with(start))
            && !line.contains("struct is not supported")
            && !line.contains("no method named")
            && !line.contains("the trait `")
    }

    #[test]
    fn errors_explained_has_the_messages_as_they_are_printed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut printed = String::new();
        read_all(&folder.join("compile-fail/tests/ui"), &mut printed);
        let printed: Vec<String> = printed.lines().map(nameless).collect();
        let page = include_str!("../../docs/guide/errors-explained.md");
        let blocks = page.split("```").enumerate().filter(|(index, _)| index % 2 == 1).map(|(_, block)| block);
        let in_blocks = blocks.filter_map(|block| block.strip_prefix("text\n")).flat_map(str::lines);
        let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let in_rows = rows.filter_map(|cell| {
            let fence = if cell.starts_with("``") { "``" } else { "`" };
            cell.strip_prefix(fence)?.split(fence).next()
        });
        let mut seen = 0;
        for line in in_blocks.chain(in_rows).filter(|line| is_ours(line)) {
            let wanted = nameless(line);
            let start = wanted.trim_end_matches("..");
            assert!(printed.iter().any(|line| line.starts_with(start)), "nothing printed begins with: {line}");
            seen += 1;
        }
        assert!(seen > 50, "only {seen} messages were found on the page");
    }
}

//! The database: a SQLite file with organisations and users, and the queries on it. Nothing here knows of a cache.
//!
//! SQLite blocks, so queries run on tokio's blocking threads, with one connection each.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

const USER_PAGE: &str = "
    SELECT u.id, u.name, u.version, o.id, o.name, o.version,
           (SELECT coalesce(sum(cents), 0) FROM orders WHERE user_id = u.id)
    FROM users u JOIN orgs o ON o.id = u.org_id";

const OVERVIEW: &str = "
    SELECT o.id, o.name, o.version, count(DISTINCT u.id), coalesce(sum(r.cents), 0) AS spent
    FROM orgs o LEFT JOIN users u ON u.org_id = o.id LEFT JOIN orders r ON r.user_id = u.id";

/// How many rows there are of what.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) orgs: u64,
    pub(crate) users: u64,
    pub(crate) orders: u64,
}

impl Size {
    /// Of every organisation 25 users, of every user ten orders.
    pub(crate) fn of(users: u64) -> Self {
        Self { orgs: users.div_ceil(25), users, orders: users * 10 }
    }
}

/// A user, with what the page shows of the organisation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) name: String,
    /// Of the row in `users`; every change adds one.
    pub(crate) version: u64,
    pub(crate) org_id: u64,
    pub(crate) org_name: String,
    /// Of the row in `orgs`.
    pub(crate) org_version: u64,
    pub(crate) spent_cents: u64,
}

/// An organisation and what its users add up to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Overview {
    pub(crate) id: u64,
    pub(crate) name: String,
    /// Of the row in `orgs`; every change adds one, and so does every user who joins or leaves.
    pub(crate) version: u64,
    pub(crate) members: u64,
    pub(crate) spent_cents: u64,
}

/// What moving a user changed.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) user_version: u64,
    pub(crate) left: OrgVersion,
    pub(crate) joined: OrgVersion,
}

/// An organisation's row after a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrgVersion {
    pub(crate) id: u64,
    pub(crate) version: u64,
}

/// A query failed. `Clone`, so that callers who share a load can share its error, too.
#[derive(Clone, Debug)]
pub(crate) struct DbError(Arc<str>);

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database: {}", self.0)
    }
}

impl std::error::Error for DbError {}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// A handle on the database; cheap to clone.
#[derive(Clone)]
pub(crate) struct Db(Arc<Inner>);

struct Inner {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// SQLite has one writer at a time.
    writer: Mutex<Connection>,
    queries: AtomicU64,
}

impl Db {
    /// Creates the file at `path`.
    pub(crate) async fn create(path: PathBuf, size: Size, seed: u64) -> Result<Self, DbError> {
        blocking(move || {
            let mut writer = open(&path)?;
            fill(&mut writer, size, seed)?;
            Ok(Self(Arc::new(Inner {
                path,
                idle: Mutex::default(),
                writer: Mutex::new(writer),
                queries: AtomicU64::new(0),
            })))
        })
        .await
    }

    /// Read queries that ran so far.
    pub(crate) fn queries(&self) -> u64 {
        self.0.queries.load(Relaxed)
    }

    pub(crate) async fn user(&self, id: u64) -> Result<Option<User>, DbError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(&format!("{USER_PAGE} WHERE u.id = ?1"))?;
            query.query_row([id], user).optional()
        })
        .await
    }

    pub(crate) async fn users(&self, ids: Vec<u64>) -> Result<HashMap<u64, User>, DbError> {
        self.read(move |db| {
            let mut query =
                db.prepare_cached(&format!("{USER_PAGE} WHERE u.id IN (SELECT value FROM json_each(?1))"))?;
            let found = query.query_map([format!("{ids:?}")], user)?;
            found.map(|user| user.map(|user| (user.id, user))).collect()
        })
        .await
    }

    pub(crate) async fn overview(&self, org_id: u64) -> Result<Option<Overview>, DbError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(&format!("{OVERVIEW} WHERE o.id = ?1 GROUP BY o.id"))?;
            query.query_row([org_id], overview).optional()
        })
        .await
    }

    pub(crate) async fn top_orgs(&self, limit: u32) -> Result<Vec<Overview>, DbError> {
        self.read(move |db| {
            let mut query =
                db.prepare_cached(&format!("{OVERVIEW} GROUP BY o.id ORDER BY spent DESC, o.id LIMIT ?1"))?;
            query.query_map([limit], overview)?.collect()
        })
        .await
    }

    /// Returns the row's new version.
    pub(crate) async fn rename_user(&self, id: u64, name: String) -> Result<u64, DbError> {
        self.write(move |db| {
            db.prepare_cached("UPDATE users SET name = ?2, version = version + 1 WHERE id = ?1 RETURNING version")?
                .query_row(params![id, name], |row| row.get(0))
        })
        .await
    }

    /// Returns the row's new version.
    pub(crate) async fn rename_org(&self, id: u64, name: String) -> Result<u64, DbError> {
        self.write(move |db| {
            db.prepare_cached("UPDATE orgs SET name = ?2, version = version + 1 WHERE id = ?1 RETURNING version")?
                .query_row(params![id, name], |row| row.get(0))
        })
        .await
    }

    pub(crate) async fn move_user(&self, id: u64, org_id: u64) -> Result<Moved, DbError> {
        self.write(move |db| {
            let change = db.transaction()?;
            let left =
                change.prepare_cached("SELECT org_id FROM users WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
            let user_version = change
                .prepare_cached("UPDATE users SET org_id = ?2, version = version + 1 WHERE id = ?1 RETURNING version")?
                .query_row([id, org_id], |row| row.get(0))?;
            let changed = |id: u64| -> rusqlite::Result<OrgVersion> {
                let version = change
                    .prepare_cached("UPDATE orgs SET version = version + 1 WHERE id = ?1 RETURNING version")?
                    .query_row([id], |row| row.get(0))?;
                Ok(OrgVersion { id, version })
            };
            let (left, joined) = (changed(left)?, changed(org_id)?);
            change.commit()?;
            Ok(Moved { user_version, left, joined })
        })
        .await
    }

    /// Runs a query on an idle connection.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        self.0.queries.fetch_add(1, Relaxed);
        let Self(db) = self.clone();
        blocking(move || {
            let free = lock(&db.idle).pop();
            let connection = free.map_or_else(|| open(&db.path), Ok)?;
            let answer = query(&connection);
            lock(&db.idle).push(connection);
            Ok(answer?)
        })
        .await
    }

    /// Runs a change when it is its turn.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        let Self(db) = self.clone();
        blocking(move || Ok(change(&mut lock(&db.writer))?)).await
    }
}

/// Async tasks must not block; the threads that this runs `work` on may. `main` says how many there are.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, DbError> + Send + 'static) -> Result<T, DbError> {
    spawn_blocking(work).await.unwrap_or_else(|panicked| Err(DbError(panicked.to_string().into())))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(path: &Path) -> Result<Connection, DbError> {
    let connection = Connection::open(path)?;
    // Readers go on while somebody writes, and commits do not wait for the disk.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000;")?;
    // One plan for a query, whatever values are bound to it. Otherwise it would be planned anew each time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn fill(connection: &mut Connection, size: Size, seed: u64) -> rusqlite::Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let all = connection.transaction()?;
    all.execute_batch(
        "CREATE TABLE orgs   (id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 1);
         CREATE TABLE users  (id INTEGER PRIMARY KEY, org_id INTEGER NOT NULL REFERENCES orgs(id), name TEXT NOT NULL,
                              version INTEGER NOT NULL DEFAULT 1);
         CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id),
                              cents INTEGER NOT NULL);",
    )?;
    {
        let mut insert = all.prepare("INSERT INTO orgs (id, name) VALUES (?1, ?2)")?;
        for id in 0..size.orgs {
            insert.execute(params![id, org_name(&mut random)])?;
        }
        let mut insert = all.prepare("INSERT INTO users (id, org_id, name) VALUES (?1, ?2, ?3)")?;
        for id in 0..size.users {
            insert.execute(params![id, random.u64(..size.orgs), user_name(&mut random)])?;
        }
        let mut insert = all.prepare("INSERT INTO orders (user_id, cents) VALUES (?1, ?2)")?;
        for _ in 0..size.orders {
            insert.execute(params![random.u64(..size.users), random.u32(100..100_000)])?;
        }
    }
    all.execute_batch(
        "CREATE INDEX users_by_org ON users (org_id); CREATE INDEX orders_by_user ON orders (user_id, cents);",
    )?;
    all.commit()
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        org_id: row.get(3)?,
        org_name: row.get(4)?,
        org_version: row.get(5)?,
        spent_cents: row.get(6)?,
    })
}

fn overview(row: &Row<'_>) -> rusqlite::Result<Overview> {
    Ok(Overview {
        id: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        members: row.get(3)?,
        spent_cents: row.get(4)?,
    })
}

/// A name for a user.
pub(crate) fn user_name(random: &mut fastrand::Rng) -> String {
    const FIRST: [&str; 8] = ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances", "Ken", "Radia"];
    const LAST: [&str; 8] = ["Lovelace", "Hopper", "Dijkstra", "Liskov", "Knuth", "Allen", "Thompson", "Perlman"];
    format!("{} {} {}", pick(&FIRST, random), pick(&LAST, random), random.u16(..))
}

/// A name for an organisation.
pub(crate) fn org_name(random: &mut fastrand::Rng) -> String {
    const WHAT: [&str; 8] = ["Lighthouse", "Orchard", "Harbour", "Foundry", "Meadow", "Observatory", "Bakery", "Atlas"];
    format!("{} {}", pick(&WHAT, random), random.u16(..))
}

fn pick<'t>(words: &[&'t str], random: &mut fastrand::Rng) -> &'t str {
    words[random.usize(..words.len())]
}

//! The database: a SQLite file that all processes share, with a version in each row. Every commit adds one to a row's version
//! and writes down, in the same transaction, which operation made it: what was ever written is known from here, and not from
//! processes that may have been killed before they could say so.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::event::OpId;

/// A process that is stopped within a transaction holds others up, for as long as it is stopped.
const BUSY: Duration = Duration::from_secs(60);

const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE rows (name TEXT PRIMARY KEY, version INTEGER NOT NULL, by INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE commits (name TEXT, version INTEGER, by INTEGER, PRIMARY KEY (name, version)) WITHOUT ROWID;";

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its key.
    pub name: String,
    /// The number in it.
    pub id: u64,
    /// 0 until written.
    pub version: u64,
    /// Who wrote it; 0 for nobody.
    pub by: OpId,
}

impl Row {
    fn new(name: &str, version: u64, by: OpId) -> Self {
        let id = name.rsplit(':').next().and_then(|id| id.parse().ok()).unwrap_or_default();
        Self { name: name.to_owned(), id, version, by }
    }
}

/// A version that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The row.
    pub row: String,
    /// Its version.
    pub version: u64,
    /// Who wrote it.
    pub op: OpId,
}

/// The database failed.
#[derive(Clone, Debug)]
pub struct SourceError(String);

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the source: {}", self.0)
    }
}

impl std::error::Error for SourceError {}

impl From<rusqlite::Error> for SourceError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

/// A database. Its methods block: a body that is cancelled cannot commit afterwards.
pub struct Source {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// Creates the file, with rows that nobody has written.
    ///
    /// # Errors
    ///
    /// It is there, or cannot be written.
    pub fn create(path: &Path, rows: impl IntoIterator<Item = String>) -> Result<Self, SourceError> {
        let source = Self::open(path);
        source.with(|connection| {
            connection.execute_batch(TABLES)?;
            for row in rows {
                connection.execute("INSERT INTO rows VALUES (?1, 0, 0)", [row])?;
            }
            Ok(())
        })?;
        Ok(source)
    }

    /// A file that another process created.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, SourceError>) -> Result<T, SourceError> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = Connection::open(&self.path)?;
                connection.busy_timeout(BUSY)?;
                // A killed process loses nothing by it, and no machine crashes here.
                connection.pragma_update(None, "synchronous", "OFF")?;
                connection
            }
        };
        let done = work(&mut connection);
        self.idle.lock().push(connection);
        done
    }

    /// The row as it is.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn read(&self, name: &str) -> Result<Row, SourceError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached("SELECT version, by FROM rows WHERE name = ?1")?;
            let row = query.query_row([name], |row| Ok(Row::new(name, row.get(0)?, row.get(1)?)));
            row.optional()?.ok_or_else(|| SourceError(format!("no row {name}")))
        })
    }

    /// Gives the row its next version. Others see it when this returns.
    ///
    /// # Errors
    ///
    /// There is no such row, or the commit failed.
    pub fn commit(&self, name: &str, op: OpId) -> Result<Row, SourceError> {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let update = "UPDATE rows SET version = version + 1, by = ?2 WHERE name = ?1 RETURNING version";
            let version: u64 = transaction.query_row(update, params![name, op], |row| row.get(0))?;
            transaction.execute("INSERT INTO commits VALUES (?1, ?2, ?3)", params![name, version, op])?;
            transaction.commit()?;
            Ok(Row::new(name, version, op))
        })
    }

    /// Everything that was ever committed.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn commits(&self) -> Result<Vec<Commit>, SourceError> {
        self.with(|connection| {
            let mut query = connection.prepare("SELECT name, version, by FROM commits")?;
            let commit =
                |row: &rusqlite::Row<'_>| Ok(Commit { row: row.get(0)?, version: row.get(1)?, op: row.get(2)? });
            let all = query.query_map([], commit)?.collect::<Result<_, _>>()?;
            Ok(all)
        })
    }
}

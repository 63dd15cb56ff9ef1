//! A SQLite file that all processes open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use crate::prices::Price;

/// Rows in the table.
pub(crate) const PRICES: u64 = 20;

/// Why a query failed, or why the cache could not be told of it.
#[derive(Clone, Debug)]
pub(crate) enum DbError {
    Query(String),
    Cache(String),
}

impl From<cache_runtime::Error> for DbError {
    fn from(error: cache_runtime::Error) -> Self {
        Self::Cache(error.to_string())
    }
}

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Query(text) | Self::Cache(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for DbError {}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Query(error.to_string())
    }
}

/// The database, as one process sees it.
#[derive(Clone, Debug)]
pub(crate) struct Db {
    file: PathBuf,
}

thread_local! {
    /// One connection for each thread that may block.
    static CONNECTION: std::cell::RefCell<Option<Connection>> = const { std::cell::RefCell::new(None) };
}

impl Db {
    /// Makes the file.
    pub(crate) fn create(file: &Path) -> Result<(), DbError> {
        let connection = open(file)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE price (id INTEGER PRIMARY KEY, cents INTEGER, version INTEGER, seen INTEGER);",
        )?;
        for id in 0..PRICES {
            connection.execute("INSERT INTO price VALUES (?1, 100, 1, 1)", [id])?;
        }
        Ok(())
    }

    pub(crate) fn of(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let file = self.file.clone();
        let work = move || {
            CONNECTION.with_borrow_mut(|connection| match connection {
                Some(connection) => query(connection),
                None => query(connection.insert(open(&file)?)),
            })
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| DbError::Query(error.to_string()))?
    }

    pub(crate) async fn price(&self, id: u64) -> Result<Price, DbError> {
        self.run(move |connection| {
            let row = connection.query_row("SELECT id, cents, version FROM price WHERE id = ?1", [id], |row| {
                Ok(Price { id: row.get(0)?, cents: row.get(1)?, version: row.get(2)? })
            });
            row.optional()?.ok_or_else(|| DbError::Query(format!("there is no price {id}")))
        })
        .await
    }

    /// Returns the new version.
    pub(crate) async fn raise(&self, id: u64, by: u64) -> Result<u64, DbError> {
        self.run(move |connection| {
            let sql = "UPDATE price SET cents = cents + ?2, version = version + 1 WHERE id = ?1 RETURNING version";
            Ok(connection.query_row(sql, [id, by], |row| row.get(0))?)
        })
        .await
    }

    pub(crate) async fn sum_slowly(&self) -> Result<u64, DbError> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.run(|connection| Ok(connection.query_row("SELECT sum(cents) FROM price", [], |row| row.get(0))?)).await
    }

    /// Notes that a write returned to its caller: whoever reads from now on must see this version or a later one.
    pub(crate) async fn returned(&self, id: u64, version: u64) -> Result<(), DbError> {
        self.run(move |connection| {
            connection.execute("UPDATE price SET seen = max(seen, ?2) WHERE id = ?1", [id, version])?;
            Ok(())
        })
        .await
    }

    /// The version that a read which begins now must see at least.
    pub(crate) async fn floor(&self, id: u64) -> Result<u64, DbError> {
        self.run(move |connection| {
            Ok(connection.query_row("SELECT seen FROM price WHERE id = ?1", [id], |row| row.get(0))?)
        })
        .await
    }
}

fn open(file: &Path) -> Result<Connection, DbError> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    Ok(connection)
}

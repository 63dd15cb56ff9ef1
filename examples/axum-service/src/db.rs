//! The database: SQLite in memory, with notes of several tenants. Nothing here knows of a cache.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

/// A note.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Note {
    pub(crate) id: u64,
    pub(crate) text: String,
    /// Every change adds one.
    pub(crate) version: u64,
}

impl Note {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, text: row.get(1)?, version: row.get(2)? })
    }
}

/// Why a query failed. It can be shared by all who waited for it.
#[derive(Clone, Debug)]
pub(crate) struct DbError(#[allow(dead_code, reason = "for the log")] Arc<str>);

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// A database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Db {
    connection: Arc<Mutex<Connection>>,
    query: Duration,
}

impl Db {
    /// A database whose queries take at least this long.
    pub(crate) fn open(query: Duration) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(
            "CREATE TABLE notes (tenant TEXT, id INTEGER, text TEXT, version INTEGER, PRIMARY KEY (tenant, id));",
        )?;
        for tenant in ["acme", "blue"] {
            for id in 1..=50 {
                let text = format!("note {id} of {tenant}");
                connection.execute("INSERT INTO notes VALUES (?1, ?2, ?3, 1)", params![tenant, id, text])?;
            }
        }
        Ok(Self { connection: Arc::new(Mutex::new(connection)), query })
    }

    /// SQLite blocks, so queries run where that is allowed.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        tokio::time::sleep(self.query).await;
        let connection = Arc::clone(&self.connection);
        let work = move || work(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        match spawn_blocking(work).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(DbError(error.to_string().into())),
        }
    }

    pub(crate) async fn note(&self, tenant: String, id: u64) -> Result<Option<Note>, DbError> {
        self.run(move |db| {
            let sql = "SELECT id, text, version FROM notes WHERE tenant = ?1 AND id = ?2";
            db.query_row(sql, params![tenant, id], Note::of).optional()
        })
        .await
    }

    /// Ten notes.
    pub(crate) async fn page(&self, tenant: String, page: u64) -> Result<Vec<Note>, DbError> {
        self.run(move |db| {
            let sql = "SELECT id, text, version FROM notes WHERE tenant = ?1 ORDER BY id LIMIT 10 OFFSET ?2";
            let from = page.saturating_sub(1).saturating_mul(10);
            db.prepare(sql)?.query_map(params![tenant, from], Note::of)?.collect()
        })
        .await
    }

    /// Stores a note, new or not.
    pub(crate) async fn store(&self, tenant: String, id: u64, text: String) -> Result<Note, DbError> {
        self.run(move |db| {
            let sql = "INSERT INTO notes VALUES (?1, ?2, ?3, 1)
                       ON CONFLICT DO UPDATE SET text = ?3, version = version + 1 RETURNING id, text, version";
            db.query_row(sql, params![tenant, id, text], Note::of)
        })
        .await
    }
}

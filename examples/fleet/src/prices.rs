//! The annotated functions: the same in every process.

use cache_runtime::{cache_read, cache_write};
use serde::{Deserialize, Serialize};

use crate::db::{Db, DbError};

/// What something costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Price {
    pub(crate) id: u64,
    pub(crate) cents: u64,
    /// Rises with every write.
    pub(crate) version: u64,
}

/// One entry for the whole fleet. With `lock`, one process loads it and the others wait.
#[cache_read(key = "price:<id>", ttl = "1m", lock = true, skip(db))]
pub(crate) async fn price(db: &Db, id: u64) -> Result<Price, DbError> {
    db.price(id).await
}

/// After it returned `Ok`, no process sees the old price. Where the cache could not be told, it returns an error, although
/// the database has the new price; without `on_error` it would return `Ok`, and the cache would be told as soon as it can.
#[cache_write(tags = ["price:<id>"], on_error = fail)]
pub(crate) async fn raise(db: &Db, id: u64, by: u64) -> Result<u64, DbError> {
    db.raise(id, by).await
}

/// Slow to compute.
#[cache_read(key = "report", ttl = "1m", lock = true, skip(db))]
pub(crate) async fn report(db: &Db) -> Result<u64, DbError> {
    db.sum_slowly().await
}

//! What the integration tests share: a table of rows that counts who reads it, ways to wait without sleeping, real Redis
//! servers with a faulty network in between, and processes of our own. Servers and processes know nothing of the framework.

pub mod chromium;
pub mod guide;
pub mod history;
pub mod http;
pub mod process;
pub mod protocol;
pub mod redis;
mod wait;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{RwLock, RwLockWriteGuard};

pub use wait::eventually;

/// A row of a [`Source`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// Its key.
    pub id: u64,
    /// `id / 10` until written.
    pub org_id: u64,
    /// `row <id>` until written.
    pub name: String,
    /// 1 until written; each write adds 1.
    pub version: u64,
}

impl Row {
    /// The row as it is before anybody writes it.
    #[must_use]
    pub fn fresh(id: u64) -> Self {
        Self { id, org_id: id / 10, name: format!("row {id}"), version: 1 }
    }
}

/// A [`Source`] that was told to fail. It cannot be cloned; see [`Broken`] for one that can.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source was told to fail")
    }
}

impl std::error::Error for Failed {}

/// As [`Failed`], for functions whose errors can be shared; carries how many loads there had been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken(pub u64);

/// A database that is none: it counts loads, versions its rows, and can be held or told to fail.
#[derive(Debug, Default)]
pub struct Source {
    loads: AtomicU64,
    failing: AtomicBool,
    rows: Mutex<BTreeMap<u64, Option<Row>>>,
    gate: RwLock<()>,
}

impl Source {
    /// A source in which every row is there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it was read.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.loads.load(SeqCst)
    }

    /// Counts a read and returns its number, from 1 on.
    pub fn tick(&self) -> u64 {
        self.loads.fetch_add(1, SeqCst) + 1
    }

    /// The row, or `None` where it was removed.
    pub async fn find(&self, id: u64) -> Option<Row> {
        self.tick();
        let row = self.rows.lock().get(&id).cloned().unwrap_or_else(|| Some(Row::fresh(id)));
        // The value is read before the wait: a held load returns what was there when it began.
        drop(self.gate.read().await);
        tokio::task::yield_now().await;
        row
    }

    /// The row. Removed ones come back fresh.
    pub async fn row(&self, id: u64) -> Row {
        self.find(id).await.unwrap_or_else(|| Row::fresh(id))
    }

    /// The row, unless the source was told to fail.
    ///
    /// # Errors
    ///
    /// It was.
    pub async fn load(&self, id: u64) -> Result<Row, Failed> {
        let row = self.row(id).await;
        if self.failing.load(SeqCst) { Err(Failed) } else { Ok(row) }
    }

    /// As [`load`](Self::load), with an error that can be cloned.
    ///
    /// # Errors
    ///
    /// The source was told to fail.
    pub async fn try_find(&self, id: u64) -> Result<Option<Row>, Broken> {
        let row = self.find(id).await;
        if self.failing.load(SeqCst) { Err(Broken(self.loads())) } else { Ok(row) }
    }

    /// Changes a row's name and version. No read.
    pub fn write(&self, id: u64, name: &str) -> Row {
        let mut rows = self.rows.lock();
        let old = rows.get(&id).cloned().flatten().unwrap_or_else(|| Row::fresh(id));
        let new = Row { name: name.to_owned(), version: old.version + 1, ..old };
        rows.insert(id, Some(new.clone()));
        new
    }

    /// Moves a row to another organisation. No read.
    pub fn move_to(&self, id: u64, org_id: u64) -> Row {
        let row = Row { org_id, ..self.write(id, "moved") };
        self.rows.lock().insert(id, Some(row.clone()));
        row
    }

    /// Takes a row out. No read.
    pub fn remove(&self, id: u64) {
        self.rows.lock().insert(id, None);
    }

    /// From now on loads fail, or work again.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, SeqCst);
    }

    /// Loads wait while the guard lives.
    pub async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }
}

/// Lets other tasks run until `done`. Panics where that does not come, so that no test hangs.
pub async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never came: {what}");
}

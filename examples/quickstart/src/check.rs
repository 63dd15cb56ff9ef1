//! The check behind "stale reads after a write: 0". It knows only what a client knows: which writes returned, and when.
//!
//! Every row has a version that every write raises. A read that *began* after a write *returned* must show at least the
//! version that this write made.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

/// A point in the order of writes.
#[derive(Clone, Copy)]
pub(crate) struct Moment(u64);

/// A row of the database.
#[derive(Clone, Copy)]
pub(crate) enum Row {
    User(u64),
    Org(u64),
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Org(id) => write!(f, "organisation {id}"),
        }
    }
}

/// What was written, row by row.
pub(crate) struct Check {
    /// Writes that returned so far.
    writes: AtomicU64,
    users: Vec<History>,
    orgs: Vec<History>,
}

/// When a row reached which version, in this order.
type History = Mutex<Vec<(u64, u64)>>;

impl Check {
    pub(crate) fn new(users: u64, orgs: u64) -> Self {
        Self {
            writes: AtomicU64::new(0),
            users: (0..users).map(|_| History::default()).collect(),
            orgs: (0..orgs).map(|_| History::default()).collect(),
        }
    }

    /// To be called before a read.
    pub(crate) fn now(&self) -> Moment {
        Moment(self.writes.load(SeqCst))
    }

    /// To be called when a write has returned.
    pub(crate) fn wrote(&self, row: Row, version: u64) {
        // The moment is taken under the row's lock: who sees the moment finds the version.
        let mut history = self.history(row).lock().unwrap_or_else(PoisonError::into_inner);
        let moment = self.writes.fetch_add(1, SeqCst) + 1;
        let highest = history.last().map_or(version, |last| last.1.max(version));
        history.push((moment, highest));
    }

    /// The version that a read which began then must show, if it showed less.
    pub(crate) fn missed(&self, row: Row, began: Moment, shown: u64) -> Option<u64> {
        let history = self.history(row).lock().unwrap_or_else(PoisonError::into_inner);
        let before = history.partition_point(|(moment, _)| *moment <= began.0);
        // Rows begin with version 1.
        let required = history[..before].last().map_or(1, |last| last.1);
        (shown < required).then_some(required)
    }

    fn history(&self, row: Row) -> &History {
        match row {
            Row::User(id) => &self.users[id as usize],
            Row::Org(id) => &self.orgs[id as usize],
        }
    }
}

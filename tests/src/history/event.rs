//! What processes write down: a line for each thing that happened, in a file of each process' own, on the one clock that all
//! processes of a machine share. A line is written by one call to the system, so a process that is killed loses at most the
//! line it was about to write.

use std::fs::{File, read};
use std::io::{self, Write};
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds of the system's monotonic clock, which is the same in all processes.
pub type Nanos = u64;

/// An operation: the number of its process and its number there. Nobody has 0, which stands for "never written".
pub type OpId = u64;

/// The process of an operation.
#[must_use]
pub fn process_of(op: OpId) -> u32 {
    u32::try_from(op >> 32).unwrap_or_default()
}

/// The time.
#[must_use]
pub fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The body of a read has read the row, and returns it at `end`.
    Load {
        /// The read whose body ran.
        op: OpId,
        /// The row.
        row: String,
        /// What it found.
        version: u64,
        /// Before it asked the source.
        start: Nanos,
        /// When it returned.
        end: Nanos,
    },
    /// A read has returned.
    Read {
        /// Which.
        op: OpId,
        /// The row that was asked for.
        row: String,
        /// Before the call.
        start: Nanos,
        /// After it.
        end: Nanos,
        /// What it returned.
        got: Got,
    },
    /// A write is about to be called.
    Writing {
        /// Which.
        op: OpId,
        /// The row.
        row: String,
        /// Whether it is fenced.
        fenced: bool,
        /// Before the call.
        at: Nanos,
    },
    /// The body of a write has committed.
    Committed {
        /// Which write.
        op: OpId,
        /// The version that is the row's now.
        version: u64,
        /// After the commit.
        at: Nanos,
    },
    /// A write has returned, or was dropped.
    Written {
        /// Which.
        op: OpId,
        /// After the call.
        end: Nanos,
        /// How it went.
        how: How,
    },
    /// The invalidations of these writes, which had returned unacknowledged, have been delivered.
    Delivered {
        /// Which writes.
        ops: Vec<OpId>,
        /// After it was seen that nothing waits.
        at: Nanos,
    },
}

/// What a read returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Got {
    /// A row.
    Row {
        /// Its name: somebody else's would be a confusion of keys.
        name: String,
        /// Its version.
        version: u64,
        /// The write that committed it.
        by: OpId,
        /// Whether this read's own body ran.
        loaded: bool,
    },
    /// An error where there should be none.
    Failed(String),
    /// The error of the cache that this function asked for.
    Refused(String),
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// It returned, and its process says that nothing waits to be delivered.
    Acknowledged,
    /// It returned, and something waits.
    Kept,
    /// It returned the error that it asked for.
    Refused(String),
    /// Its future was dropped.
    Cancelled,
}

/// Where a process writes down what happens.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Creates the file.
    ///
    /// # Errors
    ///
    /// It cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::options().create_new(true).append(true).open(path).map(Self)
    }

    /// Writes a line.
    ///
    /// # Panics
    ///
    /// It cannot be written: a history with holes proves nothing.
    pub fn add(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).expect("an event has no unusual types");
        line.push(b'\n');
        (&self.0).write_all(&line).expect("the history can be written");
    }

    /// Reads a file. A last line that was cut off by a kill is left out.
    ///
    /// # Panics
    ///
    /// There is no such file, or it is not a history.
    #[must_use]
    pub fn read(path: &Path) -> Vec<Event> {
        let bytes = read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a line of a history")).collect()
    }
}

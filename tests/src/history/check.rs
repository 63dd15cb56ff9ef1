//! The proof, over a whole history. Pure.
//!
//! For each row, everything that obliges reads is a *floor*: from a time on, no read that begins later may yield a version
//! below it. A read is checked against the highest floor that lies before its start. Which floors there are: [`Rule`].

use std::collections::{BTreeMap, HashMap};

use super::event::{Event, Got, How, Nanos, OpId, process_of};
use super::source::Commit;

/// What processes wrote down, what the source says, and what was done to them.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Each process, in no order.
    pub processes: Vec<Process>,
    /// What was ever written.
    pub commits: Vec<Commit>,
    /// What was done.
    pub faults: Vec<Fault>,
    /// How long an L1 may go on serving; 0 where there is none.
    pub delta: Nanos,
}

/// A process and what it wrote down.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its number, which is in its operations.
    pub number: u32,
    /// When it was known to be dead, if it was killed.
    pub killed: Option<Nanos>,
    /// In the order in which they were written down.
    pub events: Vec<Event>,
}

/// Something that was done to a process, the server or the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For people.
    pub what: String,
    /// Before it.
    pub from: Nanos,
    /// After it.
    pub to: Nanos,
    /// Whether the server may have lost marks and cells: a fence that was set before it may be gone.
    pub loses: bool,
}

/// Why a read may not yield an older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Some process wrote, and the invalidation was acknowledged (and δ has passed, where there is an L1).
    Acknowledged,
    /// The reading process itself wrote, acknowledged or not.
    Own,
    /// A fenced write committed (and δ has passed since it began), acknowledged or not, crashed or not.
    Fenced,
}

/// What may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A read yielded an older version than it must.
    Stale {
        /// Why it must not.
        rule: Rule,
        /// The write that it had to see.
        write: OpId,
        /// The version of that write.
        version: u64,
    },
    /// What was read was never written.
    NeverWritten,
    /// What was read was written after the read had ended.
    Future,
    /// The cache made a read fail.
    Failed(String),
}

/// A read that breaks the promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub read: OpId,
    /// The row.
    pub row: String,
    /// When it began.
    pub start: Nanos,
    /// When it ended.
    pub end: Nanos,
    /// The version that it yielded.
    pub version: Option<u64>,
    /// What is wrong.
    pub kind: Kind,
}

/// What a history contains: one that contains nothing proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Reads that returned a row.
    pub reads: u64,
    /// Of these, those for which no body of their own ran.
    pub hits: u64,
    /// Of these, those that had a write of another process to see.
    pub obliged_hits: u64,
    /// Writes whose invalidation was acknowledged when they returned.
    pub acknowledged: u64,
    /// Writes that returned, or were dropped, before it was.
    pub kept: u64,
    /// Writes whose process died between the commit and the return.
    pub crashed: u64,
    /// Reads that returned the error they asked for.
    pub refused: u64,
}

impl std::ops::AddAssign for Coverage {
    fn add_assign(&mut self, other: Self) {
        self.reads += other.reads;
        self.hits += other.hits;
        self.obliged_hits += other.obliged_hits;
        self.acknowledged += other.acknowledged;
        self.kept += other.kept;
        self.crashed += other.crashed;
        self.refused += other.refused;
    }
}

/// All that is known of a write.
#[derive(Clone, Debug, Default)]
pub(super) struct Write {
    pub(super) row: String,
    pub(super) fenced: bool,
    pub(super) began: Nanos,
    /// The version, and a time at which it was there.
    pub(super) committed: Option<(u64, Nanos)>,
    pub(super) ended: Option<(Nanos, How)>,
    pub(super) delivered: Option<Nanos>,
}

/// A version below which no read may be that begins after a time.
#[derive(Clone, Copy, Debug)]
struct Floor {
    from: Nanos,
    version: u64,
    op: OpId,
    rule: Rule,
}

/// Floors in the order of time; each one as high as the highest before it.
#[derive(Debug, Default)]
struct Floors(Vec<Floor>);

impl Floors {
    fn rise(&mut self) {
        self.0.sort_by_key(|floor| floor.from);
        for index in 1..self.0.len() {
            let before = self.0[index - 1];
            let floor = &mut self.0[index];
            if before.version > floor.version {
                *floor = Floor { from: floor.from, ..before };
            }
        }
    }

    /// The highest before a read that begins then.
    fn before(&self, start: Nanos) -> Option<Floor> {
        let count = self.0.partition_point(|floor| floor.from < start);
        count.checked_sub(1).map(|last| self.0[last])
    }
}

impl History {
    /// What is known of each write, from whoever knows it.
    pub(super) fn writes(&self) -> HashMap<OpId, Write> {
        let mut writes: HashMap<OpId, Write> = HashMap::new();
        for event in self.processes.iter().flat_map(|process| &process.events) {
            match event {
                Event::Writing { op, row, fenced, at } => {
                    let write = writes.entry(*op).or_default();
                    (write.row, write.fenced, write.began) = (row.clone(), *fenced, *at);
                }
                Event::Committed { op, version, at } => {
                    writes.entry(*op).or_default().committed = Some((*version, *at));
                }
                Event::Written { op, end, how } => writes.entry(*op).or_default().ended = Some((*end, how.clone())),
                Event::Delivered { ops, at } => {
                    for op in ops {
                        writes.entry(*op).or_default().delivered = Some(*at);
                    }
                }
                Event::Load { .. } | Event::Read { .. } => {}
            }
        }
        let killed: HashMap<u32, Nanos> =
            self.processes.iter().filter_map(|process| Some((process.number, process.killed?))).collect();
        for commit in &self.commits {
            let write = writes.entry(commit.op).or_default();
            // Killed between the commit and the line about it: it was there when the process was gone.
            if write.committed.is_none()
                && let Some(at) = killed.get(&process_of(commit.op))
            {
                write.committed = Some((commit.version, *at));
            }
        }
        writes
    }

    /// Proves it, or returns the first read that breaks it.
    ///
    /// # Errors
    ///
    /// There is one.
    pub fn check(&self) -> Result<Coverage, Box<Violation>> {
        let writes = self.writes();
        let mut all: HashMap<&str, Floors> = HashMap::new();
        let mut own: HashMap<(u32, &str), Floors> = HashMap::new();
        let mut seen = Coverage::default();
        for (op, write) in &writes {
            let Some((version, committed)) = write.committed else { continue };
            let floor = |from, rule| Floor { from, version, op: *op, rule };
            let all = &mut all.entry(&write.row).or_default().0;
            match &write.ended {
                Some((end, how)) => {
                    // Whatever became of it, its own process knows.
                    own.entry((process_of(*op), &write.row)).or_default().0.push(floor(*end, Rule::Own));
                    let acknowledged = if *how == How::Acknowledged { Some(*end) } else { write.delivered };
                    if let Some(at) = acknowledged {
                        let wait = if write.fenced && *how == How::Acknowledged { 0 } else { self.delta };
                        all.push(floor(at + wait, Rule::Acknowledged));
                    }
                    *(if *how == How::Acknowledged { &mut seen.acknowledged } else { &mut seen.kept }) += 1;
                }
                None => seen.crashed += 1,
            }
            if write.fenced && !self.lost_between(write.began, committed) {
                all.push(floor(committed.max(write.began + self.delta), Rule::Fenced));
            }
        }
        all.values_mut().chain(own.values_mut()).for_each(Floors::rise);
        let written: BTreeMap<(&str, u64), OpId> =
            self.commits.iter().map(|commit| ((commit.row.as_str(), commit.version), commit.op)).collect();

        let mut first: Option<Violation> = None;
        for event in self.processes.iter().flat_map(|process| &process.events) {
            let Event::Read { op, row, start, end, got } = event else { continue };
            let mut wrong = |version, kind| {
                let found = Violation { read: *op, row: row.clone(), start: *start, end: *end, version, kind };
                if first.as_ref().is_none_or(|first| found.end < first.end) {
                    first = Some(found);
                }
            };
            let (name, version, by, loaded) = match got {
                Got::Row { name, version, by, loaded } => (name, *version, *by, *loaded),
                Got::Failed(text) => {
                    wrong(None, Kind::Failed(text.clone()));
                    continue;
                }
                Got::Refused(_) => {
                    seen.refused += 1;
                    continue;
                }
            };
            let real = if version == 0 { Some(&0) } else { written.get(&(row.as_str(), version)) };
            if name != row || real != Some(&by) {
                wrong(Some(version), Kind::NeverWritten);
                continue;
            }
            if writes.get(&by).is_some_and(|write| write.began > *end) {
                wrong(Some(version), Kind::Future);
                continue;
            }
            let own = own.get(&(process_of(*op), row.as_str())).and_then(|floors| floors.before(*start));
            let all = all.get(row.as_str()).and_then(|floors| floors.before(*start));
            let highest = own.into_iter().chain(all).max_by_key(|floor| (floor.version, floor.rule));
            seen.reads += 1;
            seen.hits += u64::from(!loaded);
            seen.obliged_hits += u64::from(!loaded && all.is_some_and(|floor| process_of(floor.op) != process_of(*op)));
            if let Some(floor) = highest.filter(|floor| version < floor.version) {
                wrong(Some(version), Kind::Stale { rule: floor.rule, write: floor.op, version: floor.version });
            }
        }
        first.map_or(Ok(seen), |first| Err(Box::new(first)))
    }

    /// Whether the server may have lost what a fence is made of.
    fn lost_between(&self, from: Nanos, to: Nanos) -> bool {
        self.faults.iter().any(|fault| fault.loses && fault.from <= to && fault.to >= from)
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

//! What is printed where the proof fails: of a history of many thousand lines, those that matter, in the order of time.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::check::{History, Kind, Rule, Violation};
use super::event::{Event, Got, Nanos, OpId, process_of};

/// Loads that are told: the last ones that could have produced what was read.
const LOADS: usize = 4;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { rule, write, version } => {
                let why = match rule {
                    Rule::Acknowledged => "whose invalidation was acknowledged before the read began",
                    Rule::Own => "by the process that read, and which had ended before the read began",
                    Rule::Fenced => "which is fenced, and had committed before the read began",
                };
                write!(f, "stale: version {version} was written by {}, {why}", Told(*write))
            }
            Self::NeverWritten => f.write_str("what was read was never written"),
            Self::Future => f.write_str("what was read was written after the read had ended"),
            Self::Failed(error) => write!(f, "the read failed: {error}"),
        }
    }
}

/// An operation, as people read it.
struct Told(OpId);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("nobody");
        }
        write!(f, "{}.{}", process_of(self.0), self.0 & u64::from(u32::MAX))
    }
}

impl History {
    /// What is wrong, and the shortest part of the history that shows it: the write, the read, the loads that could have
    /// produced what was read, and what was done meanwhile.
    #[must_use]
    pub fn report(&self, found: &Violation) -> String {
        let lines = self.relevant(found);
        let zero = lines.iter().map(|(at, _)| *at).min().unwrap_or_default();
        let mut text = format!(
            "read {} of `{}` by process {}{}: {}\n",
            Told(found.read),
            found.row,
            process_of(found.read),
            found.version.map(|version| format!(" yielded version {version}")).unwrap_or_default(),
            found.kind
        );
        for (at, line) in lines {
            // Milliseconds since the first of these lines.
            let ms = (at - zero) as f64 / 1e6;
            let _ = writeln!(text, "{ms:>12.3} ms  {line}");
        }
        text
    }

    fn relevant(&self, found: &Violation) -> BTreeSet<(Nanos, String)> {
        let mut lines = BTreeSet::new();
        let mut add = |at: Nanos, line: String| lines.insert((at, line));
        add(found.start, format!("READ  {} begins in process {}", Told(found.read), process_of(found.read)));
        add(found.end, format!("READ  {} ends", Told(found.read)));

        let writes = self.writes();
        let limit = match found.kind {
            Kind::Stale { version, .. } => version,
            _ => found.version.unwrap_or_default(),
        };
        for (op, write) in writes.iter().filter(|(_, write)| write.row == found.row) {
            let Some((version, at)) = write.committed else { continue };
            // The one that was read, the one that should have been, and those in between.
            if found.version.is_none_or(|read| version < read) || version > limit {
                continue;
            }
            let fenced = if write.fenced { ", fenced" } else { "" };
            add(write.began, format!("write {} begins{fenced}", Told(*op)));
            add(at, format!("write {} has committed version {version}", Told(*op)));
            match &write.ended {
                Some((at, how)) => add(*at, format!("write {} ends: {how:?}", Told(*op))),
                None => add(at + 1, format!("write {} never ends", Told(*op))),
            };
            if let Some(at) = write.delivered {
                add(at, format!("write {}: its invalidation has been delivered", Told(*op)));
            }
        }

        let mut loads: Vec<(Nanos, Nanos, OpId)> = Vec::new();
        let mut others: Vec<(Nanos, Nanos, OpId)> = Vec::new();
        for event in self.processes.iter().flat_map(|process| &process.events) {
            match event {
                Event::Load { op, row, version, start, end }
                    if *row == found.row && Some(*version) == found.version && *start <= found.end =>
                {
                    loads.push((*start, *end, *op));
                }
                Event::Read { op, row, start, end, got: Got::Row { version, loaded: false, .. } }
                    if *row == found.row
                        && Some(*version) == found.version
                        && *op != found.read
                        && *end <= found.start =>
                {
                    others.push((*start, *end, *op));
                }
                _ => {}
            }
        }
        loads.sort_unstable_by_key(|(_, end, _)| std::cmp::Reverse(*end));
        loads.truncate(LOADS);
        others.sort_unstable_by_key(|(_, end, _)| std::cmp::Reverse(*end));
        others.truncate(1);
        let version = found.version.unwrap_or_default();
        let mut first = found.start;
        for (start, end, op) in loads {
            first = first.min(start);
            add(start, format!("load  of read {} begins", Told(op)));
            add(end, format!("load  of read {} returns version {version}", Told(op)));
        }
        for (start, end, op) in others {
            add(start, format!("read  {} begins", Told(op)));
            add(end, format!("read  {} yields version {version} without a load of its own", Told(op)));
        }
        for fault in self.faults.iter().filter(|fault| fault.from <= found.end && fault.to >= first) {
            add(fault.from, format!("fault: {}", fault.what));
            if fault.to > fault.from && fault.to != Nanos::MAX {
                add(fault.to, format!("fault: {}: over", fault.what));
            }
        }
        for process in &self.processes {
            if let Some(at) = process.killed.filter(|at| (first..=found.end).contains(at)) {
                add(at, format!("fault: process {} is dead", process.number));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{Fault, Process};
    use super::super::event::How;
    use super::super::source::Commit;
    use super::*;

    #[test]
    fn a_report_has_the_write_the_read_the_load_and_the_fault_and_nothing_else() {
        const MS: Nanos = 1_000_000;
        let (load, write, read) = ((1 << 32) | 1, (2 << 32) | 1, (1 << 32) | 2);
        let row = || "r".to_owned();
        let old = |name: &str, loaded| Got::Row { name: name.into(), version: 0, by: 0, loaded };
        let reader = vec![
            Event::Load { op: load, row: row(), version: 0, start: 100 * MS, end: 105 * MS },
            Event::Read { op: load, row: row(), start: 99 * MS, end: 106 * MS, got: old("r", true) },
            Event::Read { op: 7, row: "other".into(), start: 99 * MS, end: 106 * MS, got: old("other", false) },
            Event::Read { op: read, row: row(), start: 120 * MS, end: 121 * MS, got: old("r", false) },
        ];
        let writer = vec![
            Event::Writing { op: write, row: row(), fenced: false, at: 101 * MS },
            Event::Committed { op: write, version: 1, at: 102 * MS },
            Event::Written { op: write, end: 103 * MS, how: How::Acknowledged },
        ];
        let fault = |what: &str, from: Nanos, to| Fault { what: what.into(), from: from * MS, to, loses: false };
        let history = History {
            processes: vec![
                Process { number: 1, events: reader, ..Process::default() },
                Process { number: 2, events: writer, ..Process::default() },
            ],
            commits: vec![Commit { row: row(), version: 1, op: write }],
            faults: vec![fault("cut 1", 104, 104 * MS), fault("cut 2", 10, 11 * MS)],
            delta: 0,
        };
        let found = history.check().unwrap_err();
        let expected = "\
read 1.2 of `r` by process 1 yielded version 0: stale: version 1 was written by 2.1, whose invalidation was acknowledged \
before the read began
       0.000 ms  load  of read 1.1 begins
       1.000 ms  write 2.1 begins
       2.000 ms  write 2.1 has committed version 1
       3.000 ms  write 2.1 ends: Acknowledged
       4.000 ms  fault: cut 1
       5.000 ms  load  of read 1.1 returns version 0
      20.000 ms  READ  1.2 begins in process 1
      21.000 ms  READ  1.2 ends
";
        assert_eq!(history.report(&found), expected);
    }
}

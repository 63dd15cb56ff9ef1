//! The checker on histories that were made by hand: what it must refuse, and what it must not.

use super::*;

const A: u32 = 1;
const B: u32 = 2;

fn op(process: u32, number: u64) -> OpId {
    (u64::from(process) << 32) | number
}

/// A history of processes A and B, and one row.
#[derive(Default)]
struct Made {
    history: History,
}

impl Made {
    fn new() -> Self {
        let processes = [A, B].map(|number| Process { number, ..Process::default() });
        Self { history: History { processes: processes.into(), ..History::default() } }
    }

    fn add(mut self, process: u32, event: Event) -> Self {
        self.history.processes.iter_mut().find(|at| at.number == process).unwrap().events.push(event);
        self
    }

    /// A write that committed its version in the middle between `at` and the line about its end, if there is one.
    fn write(self, process: u32, version: u64, at: Nanos, end: Option<(Nanos, How)>) -> Self {
        self.any_write(process, version, at, end, false)
    }

    fn any_write(mut self, process: u32, version: u64, at: Nanos, end: Option<(Nanos, How)>, fenced: bool) -> Self {
        let op = op(process, version);
        self.history.commits.push(Commit { row: "r".into(), version, op });
        let made = self
            .add(process, Event::Writing { op, row: "r".into(), fenced, at })
            .add(process, Event::Committed { op, version, at: at + 1 });
        match end {
            Some((end, how)) => made.add(process, Event::Written { op, end, how }),
            None => made,
        }
    }

    fn read(self, process: u32, (start, end): (Nanos, Nanos), version: u64, by: OpId) -> Self {
        let got = Got::Row { name: "r".into(), version, by, loaded: false };
        self.add(process, Event::Read { op: op(process, 1_000 + start), row: "r".into(), start, end, got })
    }

    fn delta(mut self, delta: Nanos) -> Self {
        self.history.delta = delta;
        self
    }

    fn kind(&self) -> Option<Kind> {
        self.history.check().err().map(|found| found.kind)
    }
}

fn acknowledged(end: Nanos) -> Option<(Nanos, How)> {
    Some((end, How::Acknowledged))
}

fn kept(end: Nanos) -> Option<(Nanos, How)> {
    Some((end, How::Kept))
}

fn stale(rule: Rule, process: u32, version: u64) -> Option<Kind> {
    Some(Kind::Stale { rule, write: op(process, version), version })
}

#[test]
fn a_read_that_began_after_an_acknowledged_write_must_see_it() {
    let written = || Made::new().write(A, 1, 10, acknowledged(20));
    assert_eq!(written().read(B, (21, 30), 0, 0).kind(), stale(Rule::Acknowledged, A, 1));
    assert_eq!(written().read(B, (21, 30), 1, op(A, 1)).kind(), None);
    assert_eq!(written().read(B, (19, 30), 0, 0).kind(), None, "it began before");
}

#[test]
fn a_later_version_that_nobody_acknowledged_does_not_lower_the_floor() {
    let made = Made::new().write(A, 2, 10, acknowledged(20)).write(B, 1, 5, acknowledged(40));
    assert_eq!(made.read(B, (41, 42), 1, op(B, 1)).kind(), stale(Rule::Acknowledged, A, 2));
}

#[test]
fn nobody_but_its_own_process_has_to_see_a_write_that_was_not_acknowledged() {
    for how in [How::Kept, How::Cancelled, How::Refused("away".into())] {
        let written = || Made::new().write(A, 1, 10, Some((20, how.clone())));
        assert_eq!(written().read(B, (21, 30), 0, 0).kind(), None);
        assert_eq!(written().read(A, (21, 30), 0, 0).kind(), stale(Rule::Own, A, 1));
        assert_eq!(written().read(A, (15, 30), 0, 0).kind(), None);
    }
    assert_eq!(Made::new().write(A, 1, 10, None).read(B, (100, 101), 0, 0).kind(), None, "its process crashed");
}

#[test]
fn a_write_that_is_delivered_later_counts_from_then_on() {
    let made = || Made::new().write(A, 1, 10, kept(20)).add(A, Event::Delivered { ops: vec![op(A, 1)], at: 50 });
    assert_eq!(made().read(B, (49, 60), 0, 0).kind(), None);
    assert_eq!(made().read(B, (51, 60), 0, 0).kind(), stale(Rule::Acknowledged, A, 1));
}

#[test]
fn an_l1_may_serve_until_delta_except_in_the_process_that_wrote() {
    let made = || Made::new().delta(100).write(A, 1, 10, acknowledged(20));
    assert_eq!(made().read(B, (119, 130), 0, 0).kind(), None);
    assert_eq!(made().read(B, (121, 130), 0, 0).kind(), stale(Rule::Acknowledged, A, 1));
    assert_eq!(made().read(A, (21, 30), 0, 0).kind(), stale(Rule::Own, A, 1));
}

#[test]
fn a_fenced_write_has_no_window_even_if_its_process_crashed() {
    let crashed = || Made::new().any_write(A, 1, 10, None, true);
    assert_eq!(crashed().read(B, (12, 13), 0, 0).kind(), stale(Rule::Fenced, A, 1));
    assert_eq!(crashed().read(B, (11, 13), 0, 0).kind(), None, "it began before the commit was known to be there");
    // An L1 may serve for δ from when the mark was set.
    assert_eq!(crashed().delta(100).read(B, (110, 111), 0, 0).kind(), None);
    assert_eq!(crashed().delta(100).read(B, (111, 112), 0, 0).kind(), stale(Rule::Fenced, A, 1));
    // Returned, it has waited for that.
    let returned = Made::new().delta(100).any_write(A, 1, 10, acknowledged(30), true);
    assert_eq!(returned.read(B, (31, 32), 0, 0).kind(), stale(Rule::Acknowledged, A, 1));
}

#[test]
fn a_fence_that_the_server_lost_before_the_commit_is_none() {
    let mut made = Made::new().any_write(A, 1, 10, None, true).read(B, (100, 101), 0, 0);
    let lost = |from, to| Fault { what: "restart".into(), from, to, loses: true };
    made.history.faults.push(lost(5, 10));
    assert_eq!(made.kind(), None);
    made.history.faults = vec![lost(12, 20)];
    assert_eq!(made.kind(), stale(Rule::Fenced, A, 1), "what is lost after the commit is loaded anew");
    made.history.faults = vec![Fault { loses: false, ..lost(5, 20) }];
    assert_eq!(made.kind(), stale(Rule::Fenced, A, 1));
}

#[test]
fn a_commit_that_a_killed_process_could_not_write_down_was_there_when_it_was_dead() {
    let mut made = Made::new().add(A, Event::Writing { op: op(A, 1), row: "r".into(), fenced: true, at: 10 });
    made.history.commits.push(Commit { row: "r".into(), version: 1, op: op(A, 1) });
    made.history.processes[0].killed = Some(50);
    let mut before = Made { history: made.history.clone() };
    before = before.read(B, (49, 60), 0, 0);
    assert_eq!(before.kind(), None);
    assert_eq!(made.read(B, (51, 60), 0, 0).kind(), stale(Rule::Fenced, A, 1));
}

#[test]
fn what_was_never_written_is_not_read() {
    let written = || Made::new().write(A, 1, 10, acknowledged(20));
    assert_eq!(written().read(B, (21, 30), 2, op(A, 2)).kind(), Some(Kind::NeverWritten));
    assert_eq!(written().read(B, (21, 30), 1, op(B, 1)).kind(), Some(Kind::NeverWritten), "somebody else's");
    let other = Got::Row { name: "s".into(), version: 1, by: op(A, 1), loaded: false };
    let other = Event::Read { op: op(B, 1), row: "r".into(), start: 21, end: 22, got: other };
    assert_eq!(written().add(B, other).kind(), Some(Kind::NeverWritten), "another row");
    assert_eq!(Made::new().write(A, 1, 10, None).read(B, (1, 9), 1, op(A, 1)).kind(), Some(Kind::Future));
}

#[test]
fn a_read_that_fails_is_a_violation_unless_it_asked_for_it() {
    let read = |got| Event::Read { op: op(B, 1), row: "r".into(), start: 1, end: 2, got };
    let failed = Made::new().add(B, read(Got::Failed("away".into())));
    assert_eq!(failed.kind(), Some(Kind::Failed("away".into())));
    assert_eq!(Made::new().add(B, read(Got::Refused("away".into()))).kind(), None);
}

#[test]
fn the_first_violation_is_told() {
    let made = Made::new().write(A, 1, 10, acknowledged(20)).write(A, 2, 30, acknowledged(40));
    let found = made.read(B, (41, 50), 1, op(A, 1)).read(A, (25, 29), 0, 0).history.check().unwrap_err();
    assert_eq!((found.read, found.version), (op(A, 1_025), Some(0)));
}

#[test]
fn what_a_history_contains_is_counted() {
    let made = Made::new()
        .write(A, 1, 10, acknowledged(20))
        .write(A, 2, 30, kept(40))
        .write(A, 3, 50, None)
        .read(B, (21, 22), 1, op(A, 1))
        .read(A, (45, 46), 2, op(A, 2));
    let expected =
        Coverage { reads: 2, hits: 2, obliged_hits: 1, acknowledged: 1, kept: 1, crashed: 1, ..Coverage::default() };
    assert_eq!(made.history.check(), Ok(expected));
}

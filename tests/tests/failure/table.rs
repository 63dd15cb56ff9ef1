//! What each call comes to while something is wrong: the one table of the code. `docs/failure.md` shows the same, and a test
//! compares the two.

use std::fmt::Write;

use cache_runtime::ErrorKind;

use Comes::{Fails, Hit, Kept, Loaded, Missing, Sent, Source};
use ErrorKind::{Denied, Full, Protocol, ReadOnly, Unavailable};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Refused,
    Reset,
    HalfOpen,
    OneWay,
    Slow(u64),
    Nonsense,
    WrongType,
    Endless,
    Gigabytes,
    Stalls,
    Denied,
    MayRead,
    Loading,
    Full,
    ReadOnly,
    Empty,
    Snapshot,
    FailOver,
    NodeLost,
    NodeReplaced,
    SlotMoves,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A function whose value was there before.
    Known,
    /// The same in a hybrid cache, which had a copy.
    Copied,
    /// A function whose value was not there.
    Cold,
    /// The same with `lock = true`.
    Lock,
    /// A batch of one known and one cold element.
    Batch,
    /// A cold one with `on_error = fail`.
    Strict,
    Get,
    Set,
    /// `cache_write` with tags.
    Write,
    Recache,
    Fence,
    /// `cache_write` with `on_error = fail`.
    StrictWrite,
    Invalidate,
}

/// One way in which a call ends. Whatever the way, a value is that of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comes {
    /// From the cache.
    Hit,
    /// The function ran, and its value was stored as after any miss.
    Loaded,
    /// The function ran, its value was not stored, and the call is counted in `degraded`.
    Source,
    /// A direct read found nothing valid.
    Missing,
    /// It was carried out on the server.
    Sent,
    /// The body ran; what it invalidates is kept, and delivered later.
    Kept,
    /// This error. Of what invalidates: the body ran, and what it invalidates is kept.
    Fails(ErrorKind),
}

/// The ways in which a call may end.
pub(crate) type Cell = &'static [Comes];

/// What later calls cost, once the first ones have found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// Nothing is sent but probes.
    Nothing,
    /// The server seems to be there: after each probe some find out that it is not.
    Tried,
    /// The server is asked, and answers.
    Asked,
    /// Everything is as after a start: of the ways in which a call may end, the first.
    Afresh,
}

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    name: &'static str,
    /// Whether the first calls wait for timeouts.
    pub(crate) silent: bool,
    pub(crate) later: Later,
    known: Cell,
    copied: Cell,
    cold: Cell,
    lock: Cell,
    batch: Cell,
    strict: Cell,
    get: Cell,
    set: Cell,
    write: Cell,
    recache: Cell,
    fence: Cell,
    strict_write: Cell,
    invalidate: Cell,
}

/// Nothing wrong that a call could notice.
const USUAL: Row = Row {
    fault: Fault::Slow(10),
    name: "slow: 10 ms",
    silent: false,
    later: Later::Asked,
    known: &[Hit],
    copied: &[Hit],
    cold: &[Loaded],
    lock: &[Loaded],
    batch: &[Loaded],
    strict: &[Loaded],
    get: &[Hit],
    set: &[Sent],
    write: &[Sent],
    recache: &[Sent],
    fence: &[Sent],
    strict_write: &[Sent],
    invalidate: &[Sent],
};

const AWAY: Cell = &[Fails(Unavailable)];

/// No server.
const GONE: Row = Row {
    fault: Fault::Refused,
    name: "refused",
    silent: false,
    later: Later::Nothing,
    known: &[Source],
    copied: &[Source],
    cold: &[Source],
    lock: &[Source],
    batch: &[Source],
    strict: AWAY,
    get: AWAY,
    set: AWAY,
    write: &[Kept],
    recache: &[Kept],
    fence: &[Kept],
    strict_write: AWAY,
    invalidate: AWAY,
};

/// A server that does not answer.
const SILENT: Row = Row { name: "half open", fault: Fault::HalfOpen, silent: true, ..GONE };

/// A server that refuses everything in the same way.
const fn refusing(fault: Fault, name: &'static str, errors: Cell) -> Row {
    Row {
        fault,
        name,
        later: Later::Asked,
        strict: errors,
        get: errors,
        set: errors,
        strict_write: errors,
        invalidate: errors,
        ..GONE
    }
}

/// A server that was away for a moment and has nothing, or nothing that may be believed. The first calls may find out.
const AFRESH: Row = Row {
    fault: Fault::Empty,
    name: "restarted, empty",
    silent: false,
    later: Later::Afresh,
    known: &[Loaded, Source],
    copied: &[Loaded, Source],
    cold: &[Loaded, Source],
    lock: &[Loaded, Source],
    batch: &[Loaded, Source],
    strict: &[Loaded, Fails(Unavailable)],
    get: &[Missing, Fails(Unavailable)],
    set: &[Sent, Fails(Unavailable)],
    write: &[Sent, Kept],
    recache: &[Sent, Kept],
    fence: &[Sent, Kept],
    strict_write: &[Sent, Fails(Unavailable)],
    invalidate: &[Sent, Fails(Unavailable)],
};

/// Faults between a process and its server.
pub(crate) const NETWORK: [Row; 12] = [
    GONE,
    Row { fault: Fault::Reset, name: "reset again and again", ..GONE },
    SILENT,
    Row { fault: Fault::OneWay, name: "answers are lost", ..SILENT },
    USUAL,
    Row { fault: Fault::Slow(300), name: "slow: 300 ms", ..USUAL },
    Row { fault: Fault::Slow(5_000), name: "slow: 5 s", ..SILENT },
    refusing(Fault::Nonsense, "nonsense", &[Fails(Protocol), Fails(Unavailable)]),
    Row { copied: &[Hit], ..refusing(Fault::WrongType, "answers of a wrong type", &[Fails(Protocol)]) },
    Row { fault: Fault::Endless, name: "answers of 2^63 bytes are announced", ..SILENT },
    Row { fault: Fault::Gigabytes, name: "answers of 2 GiB are announced", ..SILENT },
    Row { fault: Fault::Stalls, name: "answers stall, but for those to probes", later: Later::Tried, ..SILENT },
];

/// Faults of one server.
pub(crate) const SERVER: [Row; 7] = [
    Row { fault: Fault::Loading, name: "`LOADING`", ..GONE },
    refusing(Fault::Denied, "`NOPERM` in mid-run", &[Fails(Denied)]),
    Row {
        fault: Fault::MayRead,
        name: "`NOPERM` for what writes",
        cold: &[Source],
        lock: &[Source],
        batch: &[Source],
        strict: &[Fails(Denied)],
        set: &[Fails(Denied)],
        write: &[Kept],
        recache: &[Kept],
        fence: &[Kept],
        strict_write: &[Fails(Denied)],
        invalidate: &[Fails(Denied)],
        ..USUAL
    },
    Row {
        fault: Fault::Full,
        name: "`OOM`, `noeviction`",
        cold: &[Source],
        lock: &[Source],
        batch: &[Source],
        strict: &[Fails(Full)],
        set: &[Fails(Full)],
        fence: &[Kept],
        ..USUAL
    },
    Row {
        fault: Fault::ReadOnly,
        name: "became a replica",
        known: &[Hit, Source],
        copied: &[Hit, Source],
        strict: &[Fails(ReadOnly), Fails(Unavailable)],
        get: &[Hit, Fails(ReadOnly), Fails(Unavailable)],
        set: &[Fails(ReadOnly), Fails(Unavailable)],
        strict_write: &[Fails(ReadOnly), Fails(Unavailable)],
        invalidate: &[Fails(ReadOnly), Fails(Unavailable)],
        ..GONE
    },
    AFRESH,
    Row { fault: Fault::Snapshot, name: "restarted, from an old snapshot", ..AFRESH },
];

/// Faults of several servers.
pub(crate) const SEVERAL: [Row; 4] = [
    Row { fault: Fault::FailOver, name: "fail-over by sentinels", later: Later::Asked, ..AFRESH },
    // What names nothing that it had is delivered, until the others notice.
    Row {
        fault: Fault::NodeLost,
        name: "cluster: a node is lost",
        write: &[Sent, Kept],
        recache: &[Sent, Kept],
        fence: &[Sent, Kept],
        strict_write: &[Sent, Fails(Unavailable)],
        invalidate: &[Sent, Fails(Unavailable)],
        ..GONE
    },
    Row {
        fault: Fault::NodeReplaced,
        name: "cluster: a node is lost, its replica takes over",
        later: Later::Asked,
        ..AFRESH
    },
    // What changes several names of a slot has to wait for the end of its move.
    Row {
        fault: Fault::SlotMoves,
        name: "cluster: slots move",
        known: &[Hit, Loaded, Source],
        copied: &[Hit, Loaded, Source],
        write: &[Sent, Kept],
        recache: &[Sent, Kept],
        fence: &[Sent, Kept],
        strict_write: &[Sent, Fails(Unavailable)],
        invalidate: &[Sent, Fails(Unavailable)],
        ..USUAL
    },
];

/// Those that only read.
pub(crate) const READS: [Op; 8] = [Op::Known, Op::Copied, Op::Cold, Op::Lock, Op::Batch, Op::Strict, Op::Get, Op::Set];

/// Those that invalidate.
pub(crate) const WRITES: [Op; 5] = [Op::Write, Op::Recache, Op::Fence, Op::StrictWrite, Op::Invalidate];

impl Op {
    /// How often a call may have to wait for `connect_timeout` and `response_timeout`, one after the other.
    pub(crate) fn waits(self) -> u32 {
        match self {
            Self::Known | Self::Copied | Self::Cold | Self::Lock | Self::Batch | Self::Strict | Self::Get => 1,
            Self::Set | Self::Write | Self::StrictWrite | Self::Invalidate => 2,
            Self::Recache | Self::Fence => 4,
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Copied => "known, hybrid",
            Self::Cold => "cold",
            Self::Lock => "cold, `lock`",
            Self::Batch => "`each`",
            Self::Strict => "cold, `fail`",
            Self::Get => "`get`",
            Self::Set => "`set`",
            Self::Write => "`tags`",
            Self::Recache => "`recache`",
            Self::Fence => "`fence`",
            Self::StrictWrite => "`tags`, `fail`",
            Self::Invalidate => "`invalidate`",
        }
    }
}

impl Row {
    pub(crate) fn cell(&self, op: Op) -> Cell {
        match op {
            Op::Known => self.known,
            Op::Copied => self.copied,
            Op::Cold => self.cold,
            Op::Lock => self.lock,
            Op::Batch => self.batch,
            Op::Strict => self.strict,
            Op::Get => self.get,
            Op::Set => self.set,
            Op::Write => self.write,
            Op::Recache => self.recache,
            Op::Fence => self.fence,
            Op::StrictWrite => self.strict_write,
            Op::Invalidate => self.invalidate,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

fn shown(cell: Cell) -> String {
    let one = |comes: &Comes| match comes {
        Fails(kind) => format!("`{kind:?}`"),
        Hit => "hit".to_owned(),
        Loaded => "loaded".to_owned(),
        Source => "source".to_owned(),
        Missing => "missing".to_owned(),
        Sent => "sent".to_owned(),
        Kept => "kept".to_owned(),
    };
    cell.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// As the document shows it.
fn rendered() -> String {
    let mut text = String::new();
    for ops in [&READS[..], &WRITES[..]] {
        let mut heading = "| |".to_owned();
        ops.iter().for_each(|op| write!(heading, " {} |", op.heading()).unwrap());
        writeln!(text, "{heading}\n|---|{}", "---|".repeat(ops.len())).unwrap();
        for row in NETWORK.iter().chain(&SERVER).chain(&SEVERAL) {
            write!(text, "| {} |", row.name).unwrap();
            ops.iter().for_each(|op| write!(text, " {} |", shown(row.cell(*op))).unwrap());
            text.push('\n');
        }
        text.push('\n');
    }
    text.push_str("| | the first calls | later ones |\n|---|---|---|\n");
    for row in NETWORK.iter().chain(&SERVER).chain(&SEVERAL) {
        let first = if row.silent { "wait for timeouts" } else { "are told at once" };
        let later = match row.later {
            Later::Nothing => "send nothing",
            Later::Tried => "send nothing; some wait after each probe",
            Later::Asked => "ask, and are told",
            Later::Afresh => "the first word of each cell",
        };
        writeln!(text, "| {} | {first} | {later} |", row.name).unwrap();
    }
    text
}

/// The document cannot differ from what is tested.
#[test]
fn the_document_has_the_same_table() {
    let document = include_str!("../../../docs/failure.md");
    let (begin, end) = ("<!-- table -->\n", "<!-- /table -->");
    let shown = document.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(table, _)| table);
    let expected = rendered();
    assert_eq!(shown.unwrap_or_default().trim(), expected.trim(), "docs/failure.md should have\n{expected}");
}

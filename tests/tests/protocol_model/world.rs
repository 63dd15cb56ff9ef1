//! The worlds. Each is as small as what it is about allows; together they are searched within a minute without optimization.
//!
//! A world without a writer in a reader's process leaves out what only concerns own writes, and so on: what differs between
//! two worlds is what they are about.

use cache_tests::protocol::{Covers, Faults, Scenario};

/// Nothing goes wrong.
const FINE: Faults = Faults { evictions: 0, expiries: 0, cuts: 0, restarts: 0, flushes: 0, crashes: 0, failures: 0 };
const NOBODY: (u8, u8) = (0, 0);
const PLAIN_IN_C: Option<(u8, bool)> = Some((2, false));
const FENCED_IN_C: Option<(u8, bool)> = Some((2, true));

/// Two processes without an L1 read what a third one writes twice, commands of a batch in any order.
pub(crate) const TAG: Scenario = Scenario {
    readers: [(0, 1), (1, 1), NOBODY],
    writers: [PLAIN_IN_C, PLAIN_IN_C],
    faults: Faults { evictions: 1, ..FINE },
    shards: true,
    ..Scenario::new("a tag", Covers::Tag)
};

/// The same, where the writes invalidate the key itself.
pub(crate) const KEY: Scenario = Scenario {
    readers: [(0, 2), (1, 1), NOBODY],
    writers: [PLAIN_IN_C, PLAIN_IN_C],
    faults: Faults { evictions: 1, expiries: 1, ..FINE },
    shards: true,
    ..Scenario::new("a key", Covers::Key)
};

/// Three readers, one of them a refresh.
pub(crate) const THREE: Scenario = Scenario {
    readers: [(0, 1), (1, 1), (2, 1)],
    refreshers: [false, false, true],
    writers: [PLAIN_IN_C, None],
    faults: Faults { evictions: 1, crashes: 1, ..FINE },
    ..Scenario::new("three readers, one of which replaces what is there", Covers::Tag)
};

/// Callers of one process share their loads, while another process loads, too.
pub(crate) const SHARED_TAG: Scenario = Scenario {
    readers: [(0, 1), (0, 1), (1, 1)],
    writers: [PLAIN_IN_C, None],
    faults: Faults { evictions: 1, ..FINE },
    ..Scenario::new("callers that share loads: a tag", Covers::Tag)
};

/// The same by key.
pub(crate) const SHARED_KEY: Scenario = Scenario {
    faults: Faults { evictions: 1, expiries: 1, ..FINE },
    name: "callers that share loads: a key",
    covers: Covers::Key,
    ..SHARED_TAG
};

/// The writer's process cannot tell the server.
pub(crate) const UNDELIVERED: Scenario = Scenario {
    readers: [(0, 1), (0, 1), (1, 1)],
    writers: [Some((0, false)), None],
    faults: Faults { failures: 1, crashes: 1, ..FINE },
    ..Scenario::new("an invalidation that does not reach the server", Covers::Tag)
};

/// The server is replaced by one that has what was saved.
pub(crate) const RESTART_TAG: Scenario = Scenario {
    readers: [(0, 2), (1, 1), NOBODY],
    writers: [PLAIN_IN_C, None],
    faults: Faults { restarts: 1, ..FINE },
    ..Scenario::new("a restart from an old snapshot: a tag", Covers::Tag)
};

/// The same by key.
pub(crate) const RESTART_KEY: Scenario =
    Scenario { name: "a restart from an old snapshot: a key", covers: Covers::Key, ..RESTART_TAG };

/// A process with an L1 whose link can break.
pub(crate) const L1_TAG: Scenario = Scenario {
    l1: [true, false, false],
    readers: [(0, 2), NOBODY, NOBODY],
    writers: [PLAIN_IN_C, None],
    faults: Faults { cuts: 1, evictions: 1, ..FINE },
    clock: true,
    delta: 2,
    ..Scenario::new("an L1 and its link: a tag", Covers::Tag)
};

/// The same by key, and the server may drop everything.
pub(crate) const L1_KEY: Scenario = Scenario {
    faults: Faults { cuts: 1, expiries: 1, flushes: 1, ..FINE },
    name: "an L1 and its link: a key",
    covers: Covers::Key,
    ..L1_TAG
};

/// A process with an L1 beside one without: they see each other's fills.
pub(crate) const L1_BESIDE: Scenario = Scenario {
    l1: [true, false, false],
    readers: [(0, 2), (1, 1), NOBODY],
    writers: [PLAIN_IN_C, None],
    clock: true,
    ..Scenario::new("an L1 beside a process without one: a tag", Covers::Tag)
};

/// Two processes with an L1 each, by key.
pub(crate) const L1_TWICE: Scenario =
    Scenario { l1: [true, true, false], covers: Covers::Key, name: "two processes with an L1: a key", ..L1_BESIDE };

/// Callers of one process share loads in front of an L1.
pub(crate) const L1_SHARED: Scenario = Scenario {
    l1: [true, false, false],
    readers: [(0, 2), (0, 1), NOBODY],
    writers: [PLAIN_IN_C, None],
    clock: true,
    ..Scenario::new("callers that share loads in front of an L1", Covers::Tag)
};

/// The writer's process has the L1, and cannot always tell the server.
pub(crate) const L1_OWN: Scenario = Scenario {
    l1: [true, false, false],
    readers: [(0, 2), (0, 1), NOBODY],
    writers: [Some((0, false)), None],
    faults: Faults { failures: 1, ..FINE },
    clock: true,
    ..Scenario::new("a write in a process with an L1: a tag", Covers::Tag)
};

/// The same by key; the link may break.
pub(crate) const L1_OWN_KEY: Scenario = Scenario {
    faults: Faults { failures: 1, ..FINE },
    name: "a write in a process with an L1: a key",
    covers: Covers::Key,
    ..L1_OWN
};

/// The server behind an L1 is replaced.
pub(crate) const L1_RESTART: Scenario = Scenario {
    l1: [true, false, false],
    readers: [(0, 2), NOBODY, NOBODY],
    writers: [PLAIN_IN_C, None],
    faults: Faults { restarts: 1, ..FINE },
    clock: true,
    ..Scenario::new("an L1, and a restart from an old snapshot", Covers::Tag)
};

/// A fenced write and a plain one, and any process may die.
pub(crate) const FENCE: Scenario = Scenario {
    readers: [(0, 1), (1, 1), NOBODY],
    writers: [FENCED_IN_C, Some((1, false))],
    faults: Faults { crashes: 1, ..FINE },
    clock: true,
    ..Scenario::new("a fence: a tag", Covers::Tag)
};

/// The same by key, with a reader that takes the lease from whoever has it.
pub(crate) const FENCE_KEY: Scenario =
    Scenario { name: "a fence: a key", covers: Covers::Key, refreshers: [true, false, false], ..FENCE };

/// Two fenced writes of two processes.
pub(crate) const FENCE_TWICE: Scenario = Scenario {
    readers: [(0, 2), NOBODY, NOBODY],
    writers: [Some((1, true)), FENCED_IN_C],
    faults: Faults { crashes: 1, ..FINE },
    clock: true,
    ..Scenario::new("two fenced writes: a tag", Covers::Tag)
};

/// The same by key.
pub(crate) const FENCE_TWICE_KEY: Scenario =
    Scenario { name: "two fenced writes: a key", covers: Covers::Key, ..FENCE_TWICE };

/// Callers of one process share loads while a fenced write runs.
pub(crate) const FENCE_SHARED: Scenario = Scenario {
    readers: [(0, 1), (0, 2), NOBODY],
    writers: [FENCED_IN_C, None],
    faults: Faults { crashes: 1, ..FINE },
    clock: true,
    ..Scenario::new("callers that share loads, and a fence: a tag", Covers::Tag)
};

/// The same by key.
pub(crate) const FENCE_SHARED_KEY: Scenario =
    Scenario { name: "callers that share loads, and a fence: a key", covers: Covers::Key, ..FENCE_SHARED };

/// A fenced write, read through an L1.
pub(crate) const FENCE_L1: Scenario = Scenario {
    l1: [true, false, false],
    readers: [(0, 2), NOBODY, NOBODY],
    writers: [FENCED_IN_C, None],
    faults: Faults { crashes: 1, ..FINE },
    clock: true,
    delta: 2,
    until: 3,
    ..Scenario::new("a fence and an L1: a tag", Covers::Tag)
};

/// The same by key.
pub(crate) const FENCE_L1_KEY: Scenario =
    Scenario { name: "a fence and an L1: a key", covers: Covers::Key, ..FENCE_L1 };

/// The mark is lost: evicted, with a restart, or since it was not renewed.
pub(crate) const FENCE_LOST: Scenario = Scenario {
    l1: [true, false, false],
    readers: [(0, 2), NOBODY, NOBODY],
    writers: [FENCED_IN_C, None],
    faults: Faults { evictions: 1, ..FINE },
    clock: true,
    ..Scenario::new("a fence that is lost, and an L1: a tag", Covers::Tag)
};

/// The same by key.
pub(crate) const FENCE_LOST_KEY: Scenario = Scenario {
    faults: Faults { restarts: 1, ..FINE },
    name: "a fence that is lost, and an L1: a key",
    covers: Covers::Key,
    ..FENCE_LOST
};

/// The writer of a fenced write reads through an L1 of its own, and cannot always tell the server.
pub(crate) const FENCE_OWN: Scenario = Scenario {
    l1: [true, false, false],
    readers: [(0, 2), NOBODY, NOBODY],
    writers: [Some((0, true)), None],
    faults: Faults { failures: 1, ..FINE },
    clock: true,
    ..Scenario::new("a fenced write in a process with an L1", Covers::Tag)
};

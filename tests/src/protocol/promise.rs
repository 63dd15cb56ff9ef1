//! What must hold in every state, and what has to be seen somewhere: a model in which nothing is ever stored keeps every
//! promise.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// What a read can break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Promise {
    /// P1: nothing older than an acknowledged write, where there is no L1.
    #[default]
    Acknowledged,
    /// P1: through an L1, nothing older than a write that was acknowledged δ ago.
    Bounded,
    /// P1: nothing older than what this process has written, acknowledged or not.
    Own,
    /// P1: with `fence`, nothing older than the write, in any process, once it returned.
    FencedReturn,
    /// P1: with `fence`, nothing older than the commit, δ after the mark (at once where there is no L1), whatever became of
    /// the writer.
    FencedCommit,
    /// P5: nothing that was invalidated, and is known to be, is valid on the server again.
    Resurrection,
    /// Every value was written.
    Written,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acknowledged => "P1, a read that began after an acknowledged write gave an older value",
            Self::Bounded => "P1, a read through an L1 that began δ after an acknowledged write gave an older value",
            Self::Own => "P1, a process read a value older than what it had written",
            Self::FencedReturn => "P1, a read that began after a fenced write returned gave an older value",
            Self::FencedCommit => {
                "P1, a read that began after a fenced commit (and δ after its mark) gave an older value"
            }
            Self::Resurrection => "P5, an entry that was invalidated is valid again",
            Self::Written => "a read gave a value that was never written",
        })
    }
}

/// Something that happens in some state, or the model shows less than it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Sight {
    /// A value came from the process' memory.
    HitL1 = 1,
    /// A value came from the server.
    HitL2 = 1 << 1,
    /// What the server had went to memory.
    Promoted = 1 << 2,
    /// A load was stored.
    Filled = 1 << 3,
    /// A load was not stored since its lease was gone.
    Refused = 1 << 4,
    /// A load was not stored since a cell was marked, or somebody else had the lease.
    Unstored = 1 << 5,
    /// What was read or loaded was not kept in memory: it had become invalid on the way.
    DeadOnArrival = 1 << 6,
    /// An L1 that had a value did not serve, since its lease had ended.
    Lapsed = 1 << 7,
    /// A push ended a value in memory.
    Pushed = 1 << 8,
    /// A caller took the value of a load that another one had begun.
    Joined = 1 << 9,
    /// A caller saw that a load must not be joined.
    NotJoined = 1 << 10,
    /// An entry was there, and one of its cells was missing or another one.
    Dead = 1 << 11,
    /// A cell was marked when a reader wanted it.
    Marked = 1 << 12,
    /// A writer found its mark gone.
    FenceLost = 1 << 13,
    /// A mark outlived its writer and ended by itself.
    MarkExpired = 1 << 14,
    /// A writer died after its commit, before its invalidation.
    DiedInMidWrite = 1 << 15,
    /// A process went past the server, which did not know of its write.
    Bypassed = 1 << 16,
    /// Bytes of another server were there.
    Foreign = 1 << 17,
    /// A link came back.
    Reconnected = 1 << 18,
    /// A read ended with the value of a commit whose writer had not returned.
    ReadAhead = 1 << 19,
    /// An L1 gave a value older than an acknowledged write, within δ: the bound is needed.
    WithinBound = 1 << 20,
}

/// A set of sights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sights(u32);

impl Sights {
    /// Whether it was seen.
    #[must_use]
    pub fn has(self, sight: Sight) -> bool {
        self.0 & sight as u32 != 0
    }
}

impl From<Sight> for Sights {
    fn from(sight: Sight) -> Self {
        Self(sight as u32)
    }
}

impl BitOr for Sights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Sights {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

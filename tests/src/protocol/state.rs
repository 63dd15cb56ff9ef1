//! What there is at one moment. All of it is small and fixed in size: a state is copied and hashed millions of times.
//!
//! Time is what is left of it: a lease has so many ticks to go. States that differ only in when they happen are one state.

use super::scenario::Faults;

/// Callers of a cached function, at most.
pub const READERS: usize = 3;
/// Writes, at most.
pub const WRITERS: usize = 2;
/// Processes, at most.
pub const PROCESSES: usize = 3;
/// Messages on their way to one process, at most.
const QUEUE: usize = 6;

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The version that the database has.
    pub(super) source: u8,
    pub(super) data: Data,
    /// What a restart brings back.
    pub(super) saved: Option<Data>,
    pub(super) processes: [Process; PROCESSES],
    pub(super) readers: [Reader; READERS],
    pub(super) writers: [Writer; WRITERS],
    /// Faults that may still happen.
    pub(super) faults: Faults,
}

/// What a server has under the names of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Data {
    pub(super) entry: Option<Entry>,
    /// The cell of its tag.
    pub(super) cell: Slot,
    /// Who loads it.
    pub(super) lease: Slot,
}

/// A value with the nonce from before its load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) version: u8,
    pub(super) nonce: u8,
    /// Accepted by another server.
    pub(super) foreign: bool,
}

/// A cell or a lease: missing, a nonce, or the marks of writers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    /// 0: none.
    pub(super) nonce: u8,
    /// Ticks that each writer's mark has left.
    pub(super) marks: [u8; WRITERS],
    /// Accepted by another server.
    pub(super) foreign: bool,
}

impl Slot {
    pub(super) fn is_there(&self) -> bool {
        self.nonce != 0 || self.marks != [0; WRITERS]
    }

    pub(super) fn is_marked(&self) -> bool {
        !self.foreign && self.marks != [0; WRITERS]
    }

    /// What it compares as; 0 compares with nothing.
    pub(super) fn compares_as(&self) -> u8 {
        if self.foreign { 0 } else { self.nonce }
    }
}

/// A name on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Entry,
    Cell,
    Lease,
}

impl Name {
    pub(super) fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A process that uses the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) dead: bool,
    /// The version in its memory. All its local cells are live, or it would be gone.
    pub(super) l1: Option<u8>,
    /// Ticks for which its memory may still be served.
    pub(super) lease: u8,
    pub(super) link: Link,
    /// Writes whose invalidation has not been delivered, a bit each.
    pub(super) undelivered: u8,
    /// They have been, and the process has not heard.
    pub(super) redelivered: bool,
    /// Who leads the load that callers join.
    pub(super) flight: Option<u8>,
}

/// The tracked connection of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Link {
    /// The process takes it for working.
    pub(super) up: bool,
    /// It is not, or the server has forgotten it.
    pub(super) broken: bool,
    /// It has asked for pushes.
    pub(super) armed: bool,
    /// Names whose next change will be pushed, a bit each.
    pub(super) tracked: u8,
    /// A ping was not answered yet.
    pub(super) pinged: bool,
    /// To the process, in this order.
    pub(super) queue: Queue,
}

/// A message to a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Message {
    #[default]
    None,
    /// Something that was read on this link has changed.
    Push,
    /// The answer of a ping; so many ticks are left of the lease that it brings.
    Pong(u8),
    /// What a reader has asked for.
    Answer(u8),
}

/// Messages in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    messages: [Message; QUEUE],
    length: u8,
}

impl Queue {
    pub(super) fn push(&mut self, message: Message) {
        let length = usize::from(self.length);
        // Two pushes in a row say no more than one.
        if message == Message::Push && length > 0 && self.messages[length - 1] == Message::Push {
            return;
        }
        assert!(length < QUEUE, "the model's queue is too short");
        self.messages[length] = message;
        self.length += 1;
    }

    pub(super) fn remove(&mut self, at: usize) -> Message {
        let message = self.messages[at];
        self.messages.copy_within(at + 1.., at);
        self.messages[QUEUE - 1] = Message::None;
        self.length -= 1;
        message
    }

    pub(super) fn first(&self) -> Option<Message> {
        (self.length > 0).then_some(self.messages[0])
    }

    pub(super) fn pong(&self) -> Option<usize> {
        self.messages.iter().position(|message| matches!(message, Message::Pong(_)))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn tick(&mut self) {
        for message in &mut self.messages {
            if let Message::Pong(left) = message {
                *left = left.saturating_sub(1);
            }
        }
    }
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum At {
    #[default]
    Idle,
    /// Reads the entry and its cell.
    Look,
    /// Asks whether a load that runs may be joined.
    Check,
    /// Waits for a load.
    Wait,
    /// Takes the lease, reads the entry once more, and makes sure that its cell exists.
    Take,
    /// Reads the database.
    Load,
    /// Reads the cell after the load: a mistake.
    Late,
    /// Stores.
    Fill,
    /// Has loaded, and stores nothing, while others may come.
    End,
    /// Reads the database, and stores nothing.
    Alone,
}

/// What became of a reader's commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Leg {
    /// They are on their way to the server.
    #[default]
    Out,
    /// The answer is on its way back.
    Back,
    /// The answer is here, and nobody has looked at it.
    Here,
}

/// A caller of a cached function, which calls it a few times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    /// Calls that are still to come.
    pub(super) left: u8,
    pub(super) at: At,
    pub(super) leg: Leg,
    /// Its commands go on the tracked link.
    pub(super) tracked: bool,
    /// Which of the commands were executed, a bit each.
    pub(super) done: u8,
    /// The oldest version that may be returned, and why.
    pub(super) floor: u8,
    pub(super) why: super::promise::Promise,
    /// The local cells that it took before its commands are live.
    pub(super) live: bool,
    /// What was under the entry's name.
    pub(super) entry: Option<Entry>,
    /// What the cell compared as.
    pub(super) nonce: u8,
    /// Its lease; 0: it has none.
    pub(super) token: u8,
    /// Who had the lease when it was asked for.
    pub(super) holder: u8,
    /// What was loaded.
    pub(super) value: Option<u8>,
    /// Whether it was stored.
    pub(super) filled: bool,
    /// Whose load it joins.
    pub(super) joins: u8,
}

/// Where a writer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Before its mark, or without one before its commit.
    #[default]
    Begin,
    /// Marked, before its commit.
    Body,
    /// After its commit.
    Deliver,
    /// Delivered, or given up.
    Kill,
    /// Waits until δ after its mark.
    Wait,
    Returned,
    Died,
}

/// One write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) stage: Stage,
    /// What it committed; 0: nothing yet.
    pub(super) version: u8,
    /// Its invalidation was acknowledged.
    pub(super) delivered: bool,
    /// Ticks until it may return.
    pub(super) wait: u8,
    /// Ticks until an L1 may not give what was there before, since the write returned.
    pub(super) window: u8,
    /// Its mark is gone, for a reason that no protocol can help: evicted, not renewed in time, another server.
    pub(super) lost: bool,
    /// It committed under its mark.
    pub(super) covered: bool,
    /// Ticks until no L1 may give what was there before a covered commit.
    pub(super) bound: u8,
}

impl State {
    /// Names nonces after the order in which they are found here: which one is which does not matter, only which are equal.
    pub(super) fn rename(&mut self) {
        let mut names = [0_u8; 32];
        let mut next = 1;
        let mut name = |nonce: &mut u8| {
            if *nonce != 0 {
                let known = &mut names[usize::from(*nonce)];
                if *known == 0 {
                    *known = next;
                    next += 1;
                }
                *nonce = *known;
            }
        };
        let mut data = |data: &mut Data| {
            name(&mut data.cell.nonce);
            name(&mut data.lease.nonce);
            if let Some(entry) = &mut data.entry {
                name(&mut entry.nonce);
            }
        };
        data(&mut self.data);
        if let Some(saved) = &mut self.saved {
            data(saved);
        }
        for reader in &mut self.readers {
            if reader.at == At::Idle {
                continue;
            }
            name(&mut reader.nonce);
            name(&mut reader.token);
            name(&mut reader.holder);
            if let Some(entry) = &mut reader.entry {
                name(&mut entry.nonce);
            }
        }
    }
}

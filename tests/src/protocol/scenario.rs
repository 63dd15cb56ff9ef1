//! Small worlds: who is there, how often they act, and what may go wrong.

use super::mutation::Mutation;
use super::state::{At, PROCESSES, Process, READERS, Reader, State, WRITERS};

/// What a write invalidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// A tag: its cell.
    Tag,
    /// The key: entry and lease. There is no cell.
    Key,
}

/// How often each thing may go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// The server evicts a name.
    pub evictions: u8,
    /// A loader's lease ends under it.
    pub expiries: u8,
    /// A tracked link is lost, with what is on it.
    pub cuts: u8,
    /// The server is replaced by one that has what was saved at some moment, or nothing.
    pub restarts: u8,
    /// Everything on the server is dropped.
    pub flushes: u8,
    /// A process dies.
    pub crashes: u8,
    /// An invalidation does not reach the server.
    pub failures: u8,
}

/// One small world.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in reports.
    pub name: &'static str,
    /// What the writes invalidate.
    pub covers: Covers,
    /// Which processes have an L1.
    pub l1: [bool; PROCESSES],
    /// Process and number of calls of each reader.
    pub readers: [(u8, u8); READERS],
    /// Which readers replace what is there (`refresh`, recache): they do not look, and take the lease from whoever has it.
    pub refreshers: [bool; READERS],
    /// Process of each writer, and whether it is fenced.
    pub writers: [Option<(u8, bool)>; WRITERS],
    /// What may go wrong.
    pub faults: Faults,
    /// Commands of one batch may be executed in any order, as on several shards.
    pub shards: bool,
    /// Whether time passes.
    pub clock: bool,
    /// δ in ticks: how long one answered ping lets the L1 serve.
    pub delta: u8,
    /// How long a mark lives that is not renewed, in ticks.
    pub until: u8,
    /// Whether every write is held to the promise of one that commits under its mark. Others cannot keep it.
    pub strict: bool,
    /// What is planted.
    pub mutation: Option<Mutation>,
}

impl Scenario {
    /// Nobody, and nothing goes wrong.
    #[must_use]
    pub const fn new(name: &'static str, covers: Covers) -> Self {
        Self {
            name,
            covers,
            l1: [false; PROCESSES],
            readers: [(0, 0); READERS],
            refreshers: [false; READERS],
            writers: [None; WRITERS],
            faults: Faults { evictions: 0, expiries: 0, cuts: 0, restarts: 0, flushes: 0, crashes: 0, failures: 0 },
            shards: false,
            clock: false,
            delta: 1,
            until: 2,
            strict: false,
            mutation: None,
        }
    }

    /// The same world with a mistake in the protocol.
    #[must_use]
    pub const fn with(self, mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..self }
    }

    pub(super) fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(super) fn process_of(&self, reader: usize) -> usize {
        usize::from(self.readers[reader].0)
    }

    /// Whether other readers are in its process.
    pub(super) fn has_company(&self, reader: usize) -> bool {
        let others = (0..READERS).filter(|other| *other != reader && self.readers[*other].1 > 0);
        others.into_iter().any(|other| self.process_of(other) == self.process_of(reader))
    }

    pub(super) fn refreshes(&self, reader: usize) -> bool {
        self.refreshers[reader]
    }

    pub(super) fn writes_in(&self, writer: usize) -> Option<usize> {
        self.writers[writer].map(|(process, _)| usize::from(process))
    }

    pub(super) fn is_fenced(&self, writer: usize) -> bool {
        self.writers[writer].is_some_and(|(_, fenced)| fenced)
    }

    pub(super) fn has_l1(&self, process: usize) -> bool {
        self.l1[process]
    }

    /// Nothing is stored anywhere, and every link is up and asks for pushes.
    pub(super) fn begin(&self) -> State {
        let mut state = State { faults: self.faults, ..State::default() };
        for (reader, (_, calls)) in state.readers.iter_mut().zip(self.readers) {
            *reader = Reader { left: calls, at: At::Idle, ..Reader::default() };
        }
        for (process, l1) in state.processes.iter_mut().zip(self.l1) {
            *process = Process::default();
            process.link.up = l1;
            process.link.armed = l1;
        }
        state
    }
}

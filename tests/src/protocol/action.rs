//! What can happen in a state, and the model that the search visits.

use super::explore::{Model, Step};
use super::mutation::Mutation;
use super::promise::{Promise, Sights};
use super::scenario::{Covers, Scenario};
use super::state::{At, Leg, Message, Name, PROCESSES, READERS, Slot, Stage, State, WRITERS};

/// One thing that happens at once.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// A reader calls the function.
    Call(u8),
    /// The server executes one of a reader's commands.
    Run(u8, Command),
    /// A reader looks at the answer that has come.
    Look(u8),
    /// A reader asks whether it may join.
    Check(u8),
    /// A reader's load reads the database.
    Load(u8),
    /// The server executes a reader's fill.
    Fill(u8),
    /// A writer's mark is set, or set again.
    Mark(u8),
    /// A writer's body commits.
    Commit(u8),
    /// The server executes a writer's invalidation.
    Deliver(u8),
    /// A writer's invalidation does not reach the server.
    Fail(u8),
    /// A writer kills its process' local cells.
    Kill(u8),
    /// A write returns.
    Return(u8),
    /// What was not delivered is.
    Redeliver(u8),
    /// A process hears that it was.
    Trust(u8),
    /// A process sends a ping, and the server answers it.
    Ping(u8),
    /// A process receives the first message of its link.
    Receive(u8),
    /// A process receives a ping's answer before what was sent before it: a mistake.
    Overtake(u8),
    /// A tracked link breaks.
    Cut(u8),
    /// A process notices.
    Notice(u8),
    /// A process has a new link.
    Reconnect(u8),
    /// A process dies.
    Crash(u8),
    /// The server evicts a name.
    Evict(Command),
    /// A loader's lease ends.
    Expire,
    /// Everything is dropped.
    Flush,
    /// The server saves what it has.
    Save,
    /// Another server takes its place, with what was saved.
    Restart,
    /// A moment passes.
    Tick,
}

/// A name that a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The entry.
    Entry,
    /// The cell.
    Cell,
    /// The lease.
    Lease,
}

impl Command {
    pub(super) fn name(self) -> Name {
        match self {
            Self::Entry => Name::Entry,
            Self::Cell => Name::Cell,
            Self::Lease => Name::Lease,
        }
    }

    pub(super) fn bit(self) -> u8 {
        self.name().bit()
    }
}

/// A state that something is done to.
pub(super) struct World<'w> {
    pub(super) given: &'w Scenario,
    pub(super) state: State,
    pub(super) sights: Sights,
    pub(super) broken: Option<Promise>,
}

impl World<'_> {
    pub(super) fn see(&mut self, sight: impl Into<Sights>) {
        self.sights |= sight.into();
    }

    pub(super) fn has(&self, mutation: Mutation) -> bool {
        self.given.has(mutation)
    }

    /// What an invalidation, and a mark, is about besides the entry.
    pub(super) fn slot(&mut self) -> &mut Slot {
        match self.given.covers {
            Covers::Tag => &mut self.state.data.cell,
            Covers::Key => &mut self.state.data.lease,
        }
    }
}

impl Scenario {
    /// The commands of a reader's batch that may be executed next.
    fn next_commands(&self, state: &State, reader: usize, into: &mut Vec<Action>) {
        let it = &state.readers[reader];
        for command in self.batch(it.at).iter().filter(|command| it.done & command.bit() == 0) {
            into.push(Action::Run(reader as u8, *command));
            if !self.shards {
                break;
            }
        }
    }

    /// The commands that a reader sends at once.
    pub(super) fn batch(&self, at: At) -> &'static [Command] {
        use Command::{Cell, Entry, Lease};
        match (at, self.covers) {
            (At::Look, Covers::Tag) => &[Entry, Cell],
            (At::Look, Covers::Key) => &[Entry],
            (At::Take, Covers::Tag) if self.has(Mutation::NonceAfterLoad) => &[Lease, Entry],
            (At::Take, Covers::Tag) => &[Lease, Entry, Cell],
            (At::Take, Covers::Key) => &[Lease, Entry],
            (At::Late, _) => &[Cell],
            _ => &[],
        }
    }

    fn reader_actions(&self, state: &State, reader: usize, into: &mut Vec<Action>) {
        let it = &state.readers[reader];
        let process = &state.processes[self.process_of(reader)];
        let index = reader as u8;
        if process.dead {
            return;
        }
        // A command on a broken link is executed nowhere.
        let arrives = !it.tracked || !process.link.broken;
        match (it.at, it.leg) {
            (At::Idle, _) if it.left > 0 => into.push(Action::Call(index)),
            (At::Look | At::Take | At::Late, Leg::Out) if arrives => self.next_commands(state, reader, into),
            (At::Fill, Leg::Out) if arrives => into.push(Action::Fill(index)),
            (At::Look | At::Take | At::Fill, Leg::Here) => into.push(Action::Look(index)),
            (At::End, _) => into.push(Action::Look(index)),
            (At::Check, _) => into.push(Action::Check(index)),
            (At::Load | At::Alone, _) => into.push(Action::Load(index)),
            _ => {}
        }
    }

    fn writer_actions(&self, state: &State, writer: usize, into: &mut Vec<Action>) {
        let Some((process, fenced)) = self.writers[writer] else { return };
        let it = &state.writers[writer];
        let index = writer as u8;
        if state.processes[usize::from(process)].dead {
            return;
        }
        let slot = if self.covers == Covers::Tag { &state.data.cell } else { &state.data.lease };
        let renewable = slot.foreign || slot.marks[writer] < self.until;
        match it.stage {
            Stage::Begin if fenced => into.push(Action::Mark(index)),
            Stage::Begin => into.push(Action::Commit(index)),
            Stage::Body => {
                into.push(Action::Commit(index));
                into.extend(renewable.then_some(Action::Mark(index)));
            }
            Stage::Deliver => {
                into.push(Action::Deliver(index));
                into.extend((state.faults.failures > 0).then_some(Action::Fail(index)));
                into.extend((fenced && renewable).then_some(Action::Mark(index)));
            }
            Stage::Kill => into.push(Action::Kill(index)),
            Stage::Wait if it.wait == 0 || self.has(Mutation::FenceWithoutWait) => into.push(Action::Return(index)),
            Stage::Wait | Stage::Returned | Stage::Died => {}
        }
    }

    fn process_actions(&self, state: &State, process: usize, into: &mut Vec<Action>) {
        let (it, index) = (&state.processes[process], process as u8);
        if it.dead {
            return;
        }
        if it.undelivered != 0 {
            into.push(if it.redelivered { Action::Trust(index) } else { Action::Redeliver(index) });
        }
        let used = self.readers.iter().any(|(of, calls)| *of == index && *calls > 0)
            || self.writers.iter().flatten().any(|(of, _)| *of == index);
        if used && state.faults.crashes > 0 {
            into.push(Action::Crash(index));
        }
        if !self.has_l1(process) {
            return;
        }
        let link = &it.link;
        if !link.up {
            into.push(Action::Reconnect(index));
        } else if link.broken {
            into.push(Action::Notice(index));
        } else {
            if !link.pinged && it.lease < self.delta {
                into.push(Action::Ping(index));
            }
            if state.faults.cuts > 0 {
                into.push(Action::Cut(index));
            }
            if let Some(first) = link.queue.first() {
                into.push(Action::Receive(index));
                if self.has(Mutation::AnswerOvertakesPush) && first == Message::Push && link.queue.pong().is_some() {
                    into.push(Action::Overtake(index));
                }
            }
        }
    }

    fn server_actions(&self, state: &State, into: &mut Vec<Action>) {
        let (data, faults) = (&state.data, &state.faults);
        if faults.evictions > 0 {
            into.extend(data.entry.is_some().then_some(Action::Evict(Command::Entry)));
            into.extend(data.cell.is_there().then_some(Action::Evict(Command::Cell)));
            into.extend(data.lease.is_there().then_some(Action::Evict(Command::Lease)));
        }
        if faults.expiries > 0 && data.lease.nonce != 0 {
            into.push(Action::Expire);
        }
        if faults.flushes > 0 {
            into.push(Action::Flush);
        }
        if faults.restarts > 0 {
            into.push(Action::Restart);
            if state.saved.is_none() && *data != super::state::Data::default() {
                into.push(Action::Save);
            }
        }
        if self.clock {
            into.push(Action::Tick);
        }
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn first(&self) -> State {
        self.begin()
    }

    fn actions(&self, state: &State, into: &mut Vec<Action>) {
        (0..READERS).for_each(|reader| self.reader_actions(state, reader, into));
        (0..WRITERS).for_each(|writer| self.writer_actions(state, writer, into));
        (0..PROCESSES).for_each(|process| self.process_actions(state, process, into));
        self.server_actions(state, into);
    }

    fn step(&self, state: &State, action: Action) -> Step<State> {
        let mut world = World { given: self, state: *state, sights: Sights::default(), broken: None };
        let at = usize::from;
        match action {
            Action::Call(reader) => world.call(at(reader)),
            Action::Run(reader, command) => world.run(at(reader), command),
            Action::Look(reader) => world.look(at(reader)),
            Action::Check(reader) => world.check(at(reader)),
            Action::Load(reader) => world.load(at(reader)),
            Action::Fill(reader) => world.fill(at(reader)),
            Action::Mark(writer) => world.mark(at(writer)),
            Action::Commit(writer) => world.commit(at(writer)),
            Action::Deliver(writer) => world.deliver(at(writer)),
            Action::Fail(writer) => world.fail(at(writer)),
            Action::Kill(writer) => world.kill_own(at(writer)),
            Action::Return(writer) => world.finish_write(at(writer)),
            Action::Redeliver(process) => world.redeliver(at(process)),
            Action::Trust(process) => world.trust(at(process)),
            Action::Ping(process) => world.ping(at(process)),
            Action::Receive(process) => world.receive(at(process), 0),
            Action::Overtake(process) => {
                let pong = state.processes[at(process)].link.queue.pong().unwrap_or(0);
                world.receive(at(process), pong);
            }
            Action::Cut(process) => world.cut(at(process)),
            Action::Notice(process) => world.notice(at(process)),
            Action::Reconnect(process) => world.reconnect(at(process)),
            Action::Crash(process) => world.crash(at(process)),
            Action::Evict(command) => world.evict(command),
            Action::Expire => world.expire(),
            Action::Flush => world.flush(),
            Action::Save => world.state.saved = Some(state.data),
            Action::Restart => world.restart(),
            Action::Tick => world.tick(),
        }
        world.check_server();
        // A counter that is no nonce means what it says.
        if !self.has(Mutation::CounterForNonce) {
            world.state.rename();
        }
        Step { state: world.state, sights: world.sights, broken: world.broken }
    }

    fn words(&self, before: &State, action: Action, after: &Step<State>) -> String {
        super::words::of(self, before, action, after)
    }
}

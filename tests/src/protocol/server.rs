//! What the server does: the scripts that are executed at once, eviction, restart, time, and the pushes that all of it makes.

use super::action::{Command, World};
use super::mutation::Mutation;
use super::promise::{Promise, Sight};
use super::scenario::Covers;
use super::state::{Data, Entry, Message, Name, PROCESSES, Slot, WRITERS};

impl World<'_> {
    /// A number that is used nowhere.
    pub(super) fn fresh(&self) -> u8 {
        let state = &self.state;
        let of = |data: &Data| data.cell.nonce.max(data.lease.nonce).max(data.entry.map_or(0, |entry| entry.nonce));
        let held = state
            .readers
            .iter()
            .map(|it| it.nonce.max(it.token).max(it.holder).max(it.entry.map_or(0, |entry| entry.nonce)));
        held.fold(of(&state.data).max(state.saved.as_ref().map_or(0, of)), u8::max) + 1
    }

    /// `name` has changed: who has read it on a tracked link is told, once. The link that changed it is not, and forgets
    /// that it has read it (`NOLOOP`).
    fn touch(&mut self, name: Name, by: Option<usize>) {
        for (process, it) in self.state.processes.iter_mut().enumerate() {
            let link = &mut it.link;
            if link.tracked & name.bit() != 0 {
                link.tracked &= !name.bit();
                if by != Some(process) {
                    link.queue.push(Message::Push);
                }
            }
        }
    }

    /// `name` was read on a tracked link.
    fn track(&mut self, name: Name, on: Option<usize>) {
        if let Some(process) = on
            && self.state.processes[process].link.armed
        {
            self.state.processes[process].link.tracked |= name.bit();
        }
    }

    pub(super) fn read_entry(&mut self, on: Option<usize>) -> Option<Entry> {
        self.track(Name::Entry, on);
        let entry = self.state.data.entry?;
        if entry.foreign {
            self.see(Sight::Foreign);
        }
        (!entry.foreign).then_some(entry)
    }

    pub(super) fn read_cell(&mut self, on: Option<usize>) -> u8 {
        self.track(Name::Cell, on);
        self.state.data.cell.compares_as()
    }

    /// The cell's nonce, a new one if there is none; 0 while it is marked.
    pub(super) fn ensure(&mut self, on: Option<usize>) -> u8 {
        let cell = self.state.data.cell;
        if cell.is_marked() && !self.has(Mutation::EnsureOverMark) {
            self.track(Name::Cell, on);
            self.see(Sight::Marked);
            return 0;
        }
        if cell.compares_as() == 0 {
            let nonce = if self.has(Mutation::CounterForNonce) { 1 } else { self.fresh() };
            self.state.data.cell = Slot { nonce, ..Slot::default() };
            self.touch(Name::Cell, on);
            if self.has(Mutation::UntrackedEnsure) {
                return nonce;
            }
        }
        self.track(Name::Cell, on);
        self.state.data.cell.nonce
    }

    /// Takes the lease if nobody has it; returns our token, or 0, and whose it is, or 0.
    pub(super) fn acquire(&mut self, steal: bool) -> (u8, u8) {
        let lease = self.state.data.lease;
        if lease.is_marked() {
            self.see(Sight::Marked);
        }
        let free = !lease.is_there() || !lease.is_marked() && (lease.foreign || steal);
        if free || steal && self.has(Mutation::StealOverMark) {
            let token = self.fresh();
            self.state.data.lease = Slot { nonce: token, ..Slot::default() };
            return (token, token);
        }
        (0, lease.compares_as())
    }

    pub(super) fn release(&mut self, token: u8) {
        if token != 0 && self.state.data.lease.compares_as() == token {
            self.state.data.lease = Slot::default();
        }
    }

    /// Stores if the lease is held; says whether.
    pub(super) fn store(&mut self, token: u8, version: u8, nonce: u8, on: Option<usize>) -> bool {
        if self.state.data.lease.compares_as() != token && !self.has(Mutation::FillWithoutLease) {
            self.see(Sight::Refused);
            return false;
        }
        self.state.data.entry = Some(Entry { version, nonce, foreign: false });
        if !self.state.data.lease.is_marked() {
            self.state.data.lease = Slot::default();
        }
        self.touch(Name::Entry, on);
        if !self.has(Mutation::UntrackedFill) {
            self.track(Name::Entry, on);
        }
        self.see(Sight::Filled);
        true
    }

    /// A writer's mark on what it will invalidate; says whether it was there.
    pub(super) fn set_mark(&mut self, writer: usize) -> bool {
        let until = self.given.until;
        let leaves_entry = self.has(Mutation::MarkLeavesEntry);
        let slot = self.slot();
        let before = if slot.foreign { Slot::default() } else { *slot };
        *slot = Slot { marks: before.marks, ..Slot::default() };
        slot.marks[writer] = until;
        match self.given.covers {
            Covers::Tag => self.touch(Name::Cell, None),
            Covers::Key => {
                if !leaves_entry && self.state.data.entry.take().is_some() {
                    self.touch(Name::Entry, None);
                }
            }
        }
        before.marks[writer] != 0
    }

    /// Drops what a writer invalidates. Its own mark goes, those of others stay; says whether its own was there.
    pub(super) fn invalidate(&mut self, writer: usize) -> bool {
        let fenced = self.given.is_fenced(writer);
        let all = if fenced { Mutation::EndRemovesAllMarks } else { Mutation::DropRemovesMarks };
        let (all, counts) = (self.has(all), self.has(Mutation::CounterForNonce));
        let slot = self.slot();
        let before = *slot;
        let mut marks = if before.foreign || all { [0; WRITERS] } else { before.marks };
        marks[writer] = 0;
        *slot = Slot { marks, ..Slot::default() };
        if counts {
            slot.nonce = before.nonce + 1;
        }
        match self.given.covers {
            Covers::Tag if before.is_there() => self.touch(Name::Cell, None),
            Covers::Tag => {}
            Covers::Key => {
                if self.state.data.entry.take().is_some() {
                    self.touch(Name::Entry, None);
                }
            }
        }
        !before.foreign && before.marks[writer] != 0
    }

    pub(super) fn evict(&mut self, command: Command) {
        self.state.faults.evictions -= 1;
        if command != Command::Entry {
            let marks = if command == Command::Cell { self.state.data.cell } else { self.state.data.lease }.marks;
            self.lose_marks(|writer| marks[writer] != 0);
        }
        let data = &mut self.state.data;
        match command {
            Command::Entry => data.entry = None,
            Command::Cell => data.cell = Slot::default(),
            Command::Lease => data.lease = Slot::default(),
        }
        self.touch(command.name(), None);
    }

    pub(super) fn expire(&mut self) {
        self.state.faults.expiries -= 1;
        self.state.data.lease = Slot::default();
    }

    /// Everybody who asked for pushes is told, whatever was read.
    pub(super) fn flush(&mut self) {
        self.state.faults.flushes -= 1;
        self.lose_marks(|_| true);
        self.state.data = Data::default();
        for it in &mut self.state.processes {
            if it.link.up && !it.link.broken && it.link.armed {
                it.link.tracked = 0;
                it.link.queue.push(Message::Push);
            }
        }
    }

    /// Another server, with another identity, has what was saved. All links break.
    pub(super) fn restart(&mut self) {
        self.state.faults.restarts -= 1;
        self.lose_marks(|_| true);
        let foreign = !self.has(Mutation::NoIdentity);
        let mut data = self.state.saved.take().unwrap_or_default();
        data.entry.iter_mut().for_each(|entry| entry.foreign = foreign);
        data.cell.foreign = foreign && data.cell.is_there();
        data.lease.foreign = foreign && data.lease.is_there();
        self.state.data = data;
        for process in 0..PROCESSES {
            self.break_link(process);
        }
    }

    /// A moment passes: leases, marks and bounds have less left.
    pub(super) fn tick(&mut self) {
        let marks = self.slot().marks;
        self.lose_marks(|writer| marks[writer] == 1);
        let older = |left: &mut u8| *left = left.saturating_sub(1);
        let mut expired = false;
        let mut age = |slot: &mut Slot| {
            for left in &mut slot.marks {
                expired |= *left == 1;
                older(left);
            }
            slot.foreign &= slot.is_there();
        };
        let state = &mut self.state;
        for data in std::iter::once(&mut state.data).chain(&mut state.saved) {
            age(&mut data.cell);
            age(&mut data.lease);
        }
        for it in &mut state.processes {
            older(&mut it.lease);
            it.link.queue.tick();
        }
        for it in &mut state.writers {
            older(&mut it.wait);
            older(&mut it.window);
            older(&mut it.bound);
        }
        if expired {
            self.see(Sight::MarkExpired);
        }
    }

    /// P5: what is valid on the server is not older than what was invalidated there, as far as its writers know.
    pub(super) fn check_server(&mut self) {
        let data = &self.state.data;
        let Some(entry) = data.entry.filter(|entry| !entry.foreign) else { return };
        let valid = match self.given.covers {
            Covers::Tag => entry.nonce != 0 && entry.nonce == data.cell.compares_as(),
            Covers::Key => true,
        };
        let invalidated = self.state.writers.iter().filter(|it| it.delivered).map(|it| it.version).max();
        if valid && invalidated.is_some_and(|version| entry.version < version) && self.broken.is_none() {
            self.broken = Some(Promise::Resurrection);
        }
    }
}

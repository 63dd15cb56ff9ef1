//! What a call of a cached function does: memory, look, join or take the lease, load, fill.

use super::action::{Command, World};
use super::mutation::Mutation;
use super::promise::{Promise, Sight};
use super::scenario::Covers;
use super::state::{At, Leg, Message, READERS, Reader, Stage, Writer};

impl World<'_> {
    fn reader(&mut self, reader: usize) -> &mut Reader {
        &mut self.state.readers[reader]
    }

    pub(super) fn call(&mut self, reader: usize) {
        let process = self.given.process_of(reader);
        let (floor, why) = self.floor(process);
        let it = self.reader(reader);
        *it = Reader { left: it.left - 1, at: At::Look, floor, why, ..Reader::default() };
        if self.state.processes[process].undelivered != 0 && !self.has(Mutation::ForgottenDelivery) {
            self.reader(reader).at = At::Alone;
            self.see(Sight::Bypassed);
            return;
        }
        if self.given.refreshes(reader) {
            self.lead(reader);
            return;
        }
        if let Some(version) = self.in_memory(process) {
            self.see(Sight::HitL1);
            let acknowledged = |it: &Writer| it.delivered && it.stage == Stage::Returned && it.version > version;
            if self.state.writers.iter().any(acknowledged) {
                self.see(Sight::WithinBound);
            }
            self.returned(reader, version);
            return;
        }
        self.send(reader, At::Look);
    }

    /// Goes on with a batch of commands, on the tracked link where there is one.
    fn send(&mut self, reader: usize, at: At) {
        let process = self.given.process_of(reader);
        let tracked = self.given.has_l1(process) && self.state.processes[process].link.up;
        let it = self.reader(reader);
        it.at = at;
        it.leg = Leg::Out;
        it.done = 0;
        it.tracked = tracked;
        if at != At::Fill {
            it.live = false;
            it.entry = None;
        }
    }

    fn link(&self, reader: usize) -> Option<usize> {
        self.state.readers[reader].tracked.then_some(self.given.process_of(reader))
    }

    pub(super) fn run(&mut self, reader: usize, command: Command) {
        let on = self.link(reader);
        let at = self.state.readers[reader].at;
        if self.state.readers[reader].done == 0 && at != At::Late {
            // Local cells are taken before the commands are sent. Here they are as young as that allows.
            self.reader(reader).live = on.is_some();
        }
        match command {
            Command::Entry => {
                let entry = self.read_entry(on);
                self.reader(reader).entry = entry;
            }
            Command::Cell => {
                let nonce = if at == At::Look { self.read_cell(on) } else { self.ensure(on) };
                self.reader(reader).nonce = nonce;
            }
            Command::Lease => {
                let (token, holder) = self.acquire(self.given.refreshes(reader));
                let it = self.reader(reader);
                it.token = token;
                it.holder = holder;
            }
        }
        self.reader(reader).done |= command.bit();
        let all = self.given.batch(at).iter().fold(0, |all, command| all | command.bit());
        if self.state.readers[reader].done == all {
            self.answer(reader);
        }
    }

    /// All commands were executed. Without a link that orders it among other messages, the answer is here at once: that it
    /// comes later would only make its reader later.
    fn answer(&mut self, reader: usize) {
        match self.link(reader) {
            Some(process) if self.state.readers[reader].at != At::Late => {
                self.reader(reader).leg = Leg::Back;
                self.state.processes[process].link.queue.push(Message::Answer(reader as u8));
            }
            _ => self.look(reader),
        }
    }

    pub(super) fn look(&mut self, reader: usize) {
        match self.state.readers[reader].at {
            At::Look => self.looked(reader),
            At::Take => self.taken(reader),
            At::Late => self.send(reader, At::Fill),
            At::Fill => self.filled(reader),
            At::End => self.end(reader),
            at => unreachable!("nothing was asked for in {at:?}"),
        }
    }

    /// What was found, if it may be served.
    fn valid(&mut self, reader: usize) -> Option<u8> {
        let it = self.state.readers[reader];
        let entry = it.entry?;
        let equal = match self.given.covers {
            Covers::Key => true,
            Covers::Tag if it.nonce == 0 => self.has(Mutation::MissingCellIsEqual),
            Covers::Tag => it.nonce == entry.nonce,
        };
        if !equal {
            self.see(Sight::Dead);
        }
        equal.then_some(entry.version)
    }

    fn hit(&mut self, reader: usize, version: u8) {
        self.see(Sight::HitL2);
        self.keep(reader, version);
        self.returned(reader, version);
    }

    fn looked(&mut self, reader: usize) {
        if let Some(version) = self.valid(reader) {
            self.hit(reader, version);
            return;
        }
        self.turn(reader);
    }

    /// Leads, or joins who does.
    fn turn(&mut self, reader: usize) {
        let process = self.given.process_of(reader);
        let Some(leader) = self.state.processes[process].flight else {
            self.lead(reader);
            return;
        };
        let Reader { at, holder, nonce, .. } = self.state.readers[usize::from(leader)];
        // Before its body began no look is needed: it begins after this caller.
        let blind = at == At::Take || self.has(Mutation::BlindJoin);
        let it = self.reader(reader);
        let Reader { left, floor, why, .. } = *it;
        let at = if blind { At::Wait } else { At::Check };
        *it = Reader { left, floor, why, at, joins: leader, holder, nonce, ..Reader::default() };
    }

    fn lead(&mut self, reader: usize) {
        let process = self.given.process_of(reader);
        self.state.processes[process].flight = Some(reader as u8);
        let it = self.reader(reader);
        let Reader { left, floor, why, .. } = *it;
        *it = Reader { left, floor, why, ..Reader::default() };
        self.send(reader, At::Take);
    }

    /// One look at lease and cell. Each of them alone could tell, so that it does not matter which is read first.
    pub(super) fn check(&mut self, reader: usize) {
        let it = self.state.readers[reader];
        let data = self.state.data;
        // Where there was no nonce, or nobody had the lease, nothing could be told by comparing.
        let unverifiable = self.has(Mutation::JoinOfUnverifiable);
        let same = |now: u8, then: u8| now == then && (then != 0 || unverifiable);
        let same_cell = self.given.covers == Covers::Key || same(data.cell.compares_as(), it.nonce);
        if !(same_cell && same(data.lease.compares_as(), it.holder)) {
            self.see(Sight::NotJoined);
            self.lead(reader);
        } else if let Some(value) = it.value {
            self.see(Sight::Joined);
            self.returned(reader, value);
        } else {
            let it = self.reader(reader);
            it.at = At::Wait;
            it.holder = 0;
            it.nonce = 0;
        }
    }

    fn taken(&mut self, reader: usize) {
        if let Some(version) = self.valid(reader).filter(|_| !self.given.refreshes(reader)) {
            // Somebody else has stored it. It may be older than those who wait here.
            let token = self.state.readers[reader].token;
            self.release(token);
            self.land(reader, None);
            self.hit(reader, version);
            return;
        }
        let it = self.reader(reader);
        it.at = At::Load;
        it.leg = Leg::Out;
        it.done = 0;
        it.entry = None;
    }

    pub(super) fn load(&mut self, reader: usize) {
        let source = self.state.source;
        let late = self.has(Mutation::NonceAfterLoad) && self.given.covers == Covers::Tag;
        let it = self.state.readers[reader];
        if it.at == At::Alone {
            self.returned(reader, source);
            return;
        }
        self.reader(reader).value = Some(source);
        if it.token != 0 && late {
            self.reader(reader).at = At::Late;
        } else if it.token != 0 && (it.nonce != 0 || self.given.covers == Covers::Key) {
            self.send(reader, At::Fill);
        } else {
            self.see(Sight::Unstored);
            self.reader(reader).at = At::End;
            if !self.given.has_company(reader) {
                self.end(reader);
            }
        }
    }

    fn end(&mut self, reader: usize) {
        let it = self.state.readers[reader];
        self.release(it.token);
        self.land(reader, it.value);
        self.returned(reader, it.value.unwrap_or_default());
    }

    pub(super) fn fill(&mut self, reader: usize) {
        let on = self.link(reader);
        let it = self.state.readers[reader];
        let stored = self.store(it.token, it.value.unwrap_or_default(), it.nonce, on);
        self.reader(reader).filled = stored;
        self.answer(reader);
    }

    pub(super) fn filled(&mut self, reader: usize) {
        let it = self.state.readers[reader];
        let value = it.value.unwrap_or_default();
        if it.filled {
            self.keep(reader, value);
        }
        self.land(reader, it.value);
        self.returned(reader, value);
    }

    /// A load ends; those who joined it have its value, or look by themselves.
    pub(super) fn land(&mut self, leader: usize, value: Option<u8>) {
        let process = self.given.process_of(leader);
        let flight = &mut self.state.processes[process].flight;
        if *flight == Some(leader as u8) {
            *flight = None;
        }
        for reader in (0..READERS).filter(|reader| *reader != leader) {
            let it = self.state.readers[reader];
            if self.given.process_of(reader) != process || usize::from(it.joins) != leader {
                continue;
            }
            match (it.at, value) {
                (At::Wait, Some(value)) => {
                    self.see(Sight::Joined);
                    self.returned(reader, value);
                }
                // It has not been told yet whether it may have this.
                (At::Check, Some(_)) if it.value.is_none() => self.reader(reader).value = value,
                (At::Wait | At::Check, None) if it.value.is_none() => {
                    let Reader { left, floor, why, .. } = it;
                    *self.reader(reader) = Reader { left, floor, why, ..Reader::default() };
                    self.send(reader, At::Look);
                }
                _ => {}
            }
        }
    }

    /// The call ends with this value.
    fn returned(&mut self, reader: usize, version: u8) {
        let it = self.state.readers[reader];
        let pending = self
            .state
            .writers
            .iter()
            .any(|writer| writer.version == version && version > 0 && writer.stage != Stage::Returned);
        if pending {
            self.see(Sight::ReadAhead);
        }
        if version > self.state.source {
            self.broken = Some(Promise::Written);
        } else if version < it.floor {
            self.broken = Some(it.why);
        }
        *self.reader(reader) = Reader { left: it.left, ..Reader::default() };
    }
}

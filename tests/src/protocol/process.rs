//! What a process does beside reading and writing: its memory, its tracked link, and its end.

use super::action::World;
use super::mutation::Mutation;
use super::promise::Sight;
use super::state::{At, Leg, Link, Message, PROCESSES, Process, READERS, Reader};

impl World<'_> {
    /// All local cells of `process` are killed: there is one key, and whoever holds one of its cells holds all of them.
    pub(super) fn kill_local(&mut self, process: usize) {
        self.state.processes[process].l1 = None;
        for reader in 0..READERS {
            if self.given.process_of(reader) == process {
                self.state.readers[reader].live = false;
            }
        }
    }

    /// Keeps a value, unless it became invalid on its way here.
    pub(super) fn keep(&mut self, reader: usize, version: u8) {
        let it = &self.state.readers[reader];
        if !it.tracked {
            return;
        }
        if it.live || self.has(Mutation::NoPendingMark) {
            self.state.processes[self.given.process_of(reader)].l1 = Some(version);
            self.see(Sight::Promoted);
        } else {
            self.see(Sight::DeadOnArrival);
        }
    }

    /// What memory may serve.
    pub(super) fn in_memory(&mut self, process: usize) -> Option<u8> {
        let it = self.state.processes[process];
        let version = it.l1?;
        if it.link.up && (it.lease > 0 || self.has(Mutation::NoLease)) {
            return Some(version);
        }
        self.see(Sight::Lapsed);
        None
    }

    /// It is answered at once: that it is answered later would only say more of what happened before.
    pub(super) fn ping(&mut self, process: usize) {
        let delta = self.given.delta;
        let link = &mut self.state.processes[process].link;
        link.pinged = true;
        link.queue.push(Message::Pong(delta));
    }

    pub(super) fn receive(&mut self, process: usize, at: usize) {
        let from_answer = self.has(Mutation::LeaseFromAnswer);
        let delta = self.given.delta;
        let it = &mut self.state.processes[process];
        match it.link.queue.remove(at) {
            Message::Push => {
                if it.l1.is_some() {
                    self.sights |= Sight::Pushed.into();
                }
                self.kill_local(process);
            }
            Message::Pong(left) => {
                it.link.pinged = false;
                it.lease = it.lease.max(if from_answer { delta } else { left });
            }
            Message::Answer(reader) => self.state.readers[usize::from(reader)].leg = Leg::Here,
            Message::None => {}
        }
    }

    /// The server forgets what was read, and nothing more arrives. The process does not know.
    pub(super) fn break_link(&mut self, process: usize) {
        let link = &mut self.state.processes[process].link;
        if link.up {
            link.broken = true;
        }
        link.tracked = 0;
        link.pinged = false;
        link.queue.clear();
    }

    pub(super) fn cut(&mut self, process: usize) {
        self.state.faults.cuts -= 1;
        self.break_link(process);
    }

    /// It stops serving, and whatever was read on this link is dead. What waits for an answer will get none.
    pub(super) fn notice(&mut self, process: usize) {
        let it = &mut self.state.processes[process];
        it.link = Link::default();
        it.lease = 0;
        if !self.has(Mutation::NoFlush) {
            self.kill_local(process);
        }
        for reader in 0..READERS {
            let it = &mut self.state.readers[reader];
            if self.given.process_of(reader) != process || !it.tracked || it.leg == Leg::Here {
                continue;
            }
            match it.at {
                At::Look | At::Take => {
                    // Where nobody can be asked, the source is.
                    let Reader { left, floor, why, at, .. } = *it;
                    *it = Reader { left, floor, why, at: At::Alone, ..Reader::default() };
                    if at == At::Take {
                        self.land(reader, None);
                    }
                }
                At::Fill => {
                    it.live = false;
                    it.filled = false;
                    self.filled(reader);
                }
                _ => {}
            }
        }
    }

    pub(super) fn reconnect(&mut self, process: usize) {
        let armed = !self.has(Mutation::NoRearm);
        self.state.processes[process].link = Link { up: true, armed, ..Link::default() };
        self.see(Sight::Reconnected);
    }

    /// Nothing of a process is left.
    pub(super) fn forget(&mut self, process: usize) {
        debug_assert!(process < PROCESSES);
        self.state.processes[process] = Process { dead: true, ..Process::default() };
        for reader in 0..READERS {
            if self.given.process_of(reader) == process {
                self.state.readers[reader] = Reader::default();
            }
        }
    }
}

//! What a write does: mark, commit, invalidate, kill the local cells, return. And what it means for those who read.

use super::action::World;
use super::mutation::Mutation;
use super::promise::{Promise, Sight};
use super::state::{PROCESSES, Stage, WRITERS};

impl World<'_> {
    /// The mark is set, or set again. Where it was gone, it begins anew.
    pub(super) fn mark(&mut self, writer: usize) {
        let delta = self.given.delta;
        let first = self.state.writers[writer].stage == Stage::Begin;
        let was_there = self.set_mark(writer);
        let it = &mut self.state.writers[writer];
        if was_there {
            return;
        }
        if first || !self.given.has(Mutation::RenewalHidesLoss) {
            it.wait = delta;
        }
        if it.version == 0 {
            it.bound = delta;
            it.lost = false;
        }
        if first {
            it.stage = Stage::Body;
        } else {
            self.see(Sight::FenceLost);
        }
    }

    pub(super) fn commit(&mut self, writer: usize) {
        self.state.source += 1;
        let fenced = self.given.is_fenced(writer);
        let it = &mut self.state.writers[writer];
        it.version = self.state.source;
        it.covered = self.given.strict || fenced && !it.lost;
        it.lost = false;
        it.stage = Stage::Deliver;
        if !it.covered {
            it.bound = 0;
        }
        if let (true, Some(process)) = (self.has(Mutation::LocalKillBeforeDelivery), self.given.writes_in(writer)) {
            self.kill_local(process);
        }
    }

    pub(super) fn deliver(&mut self, writer: usize) {
        let delta = self.given.delta;
        let was_there = self.invalidate(writer);
        let unnoticed = self.has(Mutation::LostFenceUnnoticed);
        let fenced = self.given.is_fenced(writer);
        let it = &mut self.state.writers[writer];
        it.delivered = true;
        it.stage = Stage::Kill;
        if fenced && !was_there {
            // Others may have stored what was there before the commit. Now they are being told.
            if !unnoticed {
                it.wait = delta;
            }
            self.see(Sight::FenceLost);
        }
    }

    /// The invalidation is kept, and this process goes past the server until it was delivered.
    pub(super) fn fail(&mut self, writer: usize) {
        self.state.faults.failures -= 1;
        self.state.writers[writer].stage = Stage::Kill;
        if let Some(process) = self.given.writes_in(writer) {
            let it = &mut self.state.processes[process];
            it.undelivered |= 1 << writer;
            it.redelivered = false;
        }
    }

    pub(super) fn kill_own(&mut self, writer: usize) {
        let skipped = self.has(Mutation::NoLocalKill) || self.has(Mutation::LocalKillBeforeDelivery);
        if let (false, Some(process)) = (skipped, self.given.writes_in(writer)) {
            self.kill_local(process);
        }
        if self.given.is_fenced(writer) {
            self.state.writers[writer].stage = Stage::Wait;
        } else {
            self.finish_write(writer);
        }
    }

    pub(super) fn finish_write(&mut self, writer: usize) {
        let delta = self.given.delta;
        let it = &mut self.state.writers[writer];
        it.stage = Stage::Returned;
        it.wait = 0;
        it.window = if it.delivered { delta } else { 0 };
    }

    /// Late, in the background.
    pub(super) fn redeliver(&mut self, process: usize) {
        let undelivered = self.state.processes[process].undelivered;
        for writer in (0..WRITERS).filter(|writer| undelivered & (1 << writer) != 0) {
            self.invalidate(writer);
        }
        self.state.processes[process].redelivered = true;
    }

    pub(super) fn trust(&mut self, process: usize) {
        let undelivered = std::mem::take(&mut self.state.processes[process].undelivered);
        self.state.processes[process].redelivered = false;
        for writer in (0..WRITERS).filter(|writer| undelivered & (1 << writer) != 0) {
            let it = &mut self.state.writers[writer];
            it.delivered = true;
            it.window = if it.stage == Stage::Returned { self.given.delta } else { 0 };
        }
        if !self.has(Mutation::LateDeliveryWithoutKill) {
            self.kill_local(process);
        }
    }

    pub(super) fn crash(&mut self, process: usize) {
        self.state.faults.crashes -= 1;
        for writer in 0..WRITERS {
            let it = &mut self.state.writers[writer];
            if self.given.writes_in(writer) == Some(process) && it.stage != Stage::Returned {
                if it.stage == Stage::Deliver {
                    self.sights |= Sight::DiedInMidWrite.into();
                }
                it.stage = Stage::Died;
                it.wait = 0;
            }
        }
        self.forget(process);
    }

    /// The marks of bodies that run are gone, and nobody is to blame.
    pub(super) fn lose_marks(&mut self, whose: impl Fn(usize) -> bool) {
        for (writer, it) in self.state.writers.iter_mut().enumerate() {
            it.lost |= it.stage == Stage::Body && whose(writer);
        }
    }

    /// The oldest version that a read which begins now in `process` may give, and why.
    pub(super) fn floor(&self, process: usize) -> (u8, Promise) {
        let l1 = self.given.has_l1(process);
        let mut floor = (0, Promise::Acknowledged);
        for (writer, it) in self.state.writers.iter().enumerate() {
            let returned = it.stage == Stage::Returned;
            let acknowledged = returned && it.delivered;
            let own = self.given.writes_in(writer) == Some(process);
            let why = if own && returned {
                Promise::Own
            } else if acknowledged && !l1 {
                Promise::Acknowledged
            } else if acknowledged && self.given.is_fenced(writer) {
                Promise::FencedReturn
            } else if it.covered && it.bound == 0 {
                Promise::FencedCommit
            } else if acknowledged && it.window == 0 {
                Promise::Bounded
            } else if it.covered && !l1 {
                Promise::FencedCommit
            } else {
                continue;
            };
            if it.version > floor.0 {
                floor = (it.version, why);
            }
        }
        debug_assert!(process < PROCESSES);
        floor
    }
}

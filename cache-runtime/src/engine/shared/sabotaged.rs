//! The part of a planted bug that is more than a condition: see `sabotage`. Built for tests of the tests only.

use super::grant::{Grant, ensure};
use super::look::{Seen, Want};
use super::near::Near;
use crate::engine::call::Call;
use crate::sabotage::{self, Mutation};

impl Grant {
    /// Reads the cells once more, after the load.
    pub(crate) async fn read_late(&mut self) {
        if !sabotage::is(Mutation::LateNonce) {
            return;
        }
        let ops = self.cells.iter().map(|(cell, _)| ensure(cell)).collect();
        let replies = self.shared.store.run(ops).await;
        for ((_, nonce), reply) in self.cells.iter_mut().zip(replies) {
            if let Ok(now) = reply.and_then(crate::store::Reply::nonce) {
                *nonce = now;
            }
        }
    }
}

impl Call<'_> {
    /// What was seen, as if its cells had been acquired only now.
    pub(super) fn marked_late(&self, want: &Want, seen: &Seen) -> Option<Seen> {
        let near = seen.near.as_ref().filter(|_| sabotage::is(Mutation::LateMark))?;
        let l1 = self.shared()?.l1.as_ref()?;
        let cells = l1.pending([&want.name.entry, &want.name.side].into_iter().chain(want.cells()));
        let envelope = seen.envelope.clone();
        Some(Seen { near: Some(Near { cells, sent: near.sent }), envelope, left: seen.left, ..Seen::default() })
    }
}

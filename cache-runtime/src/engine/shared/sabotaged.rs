//! The part of a planted bug that is more than a condition: see `sabotage`. Built for tests of the tests only.

use super::grant::{Grant, ensure};
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

//! Moving a slot from node to node as an administrator does, in one go or step by step, so that a test can look at a slot
//! that is on its way.

use std::time::Duration;

use super::Cluster;
use super::client::{ADMIN, admin_password};
use super::cluster::PRIMARIES;
use crate::eventually;

/// From the first node that is told to the last one that believes it.
const AGREE: Duration = Duration::from_secs(30);

/// Keys moved by one command.
const BATCH: &str = "100";

impl Cluster {
    /// Moves a slot with all its keys to another primary, for good. Clients are told `MOVED` from now on.
    pub async fn migrate_slot(&self, slot: u16, to: usize) {
        self.begin_migration(slot, to).await;
        self.move_keys(slot, to).await;
        self.end_migration(slot, to).await;
    }

    /// From now on the owner answers `ASK` for keys of the slot that it does not have (any more).
    pub async fn begin_migration(&self, slot: u16, to: usize) {
        let from = self.owner(slot).await;
        assert_ne!(from, to, "slot {slot} is there already");
        let slot = slot.to_string();
        self.node(to).command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", self.id(from)]).await;
        self.node(from).command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", self.id(to)]).await;
    }

    /// Moves what the owner of a slot has in it, after [`begin_migration`](Self::begin_migration).
    pub async fn move_keys(&self, slot: u16, to: usize) {
        let from = self.node(self.owner(slot).await);
        loop {
            let slot = slot.to_string();
            let keys: Vec<Vec<u8>> = from.query(&["CLUSTER", "GETKEYSINSLOT", &slot, BATCH]).await;
            if keys.is_empty() {
                return;
            }
            let port = self.node(to).port().to_string();
            let command = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "AUTH2", ADMIN, admin_password(), "KEYS"];
            let words: Vec<&[u8]> =
                command.iter().map(|word| word.as_bytes()).chain(keys.iter().map(Vec::as_slice)).collect();
            from.command(&words).await;
        }
    }

    /// Makes the new node the owner of the slot, and waits until all nodes agree and none has it on its way any more.
    pub async fn end_migration(&self, slot: u16, to: usize) {
        let from = self.owner(slot).await;
        // The new owner first: a slot that nobody owns is refused by all.
        let others = (0..PRIMARIES).filter(|index| *index != to && *index != from);
        let nodes: Vec<usize> =
            [to, from].into_iter().chain(others).filter(|index| self.node(*index).is_running()).collect();
        // Each of them is told, also who has heard from the others who has it: that alone does not end a migration, and a
        // node that goes on giving the slot away sends everybody in circles from the day on which it has it again.
        for index in &nodes {
            self.assign(*index, slot, to).await;
        }
        // Where several slots are on their way, what a node has heard before may undo it.
        eventually("all nodes agree who has the slot", AGREE, async || {
            let mut agreed = true;
            for index in &nodes {
                let told = self.owner_as_seen_by(*index, slot).await == Some(to) && !self.is_moving(*index, slot).await;
                if !told {
                    agreed = false;
                    self.assign(*index, slot, to).await;
                }
            }
            agreed
        })
        .await;
        self.wait_until_ok().await;
    }

    async fn assign(&self, index: usize, slot: u16, to: usize) {
        self.node(index).command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", self.id(to)]).await;
    }

    /// Whether a node is giving the slot away, or taking it.
    async fn is_moving(&self, index: usize, slot: u16) -> bool {
        // `[slot->-id]` and `[slot-<-id]`, in the line of the node that is asked.
        let text: String = self.node(index).query(&["CLUSTER", "NODES"]).await;
        text.contains(&format!(" [{slot}-"))
    }
}

//! What this process remembers of entries on a shared backend, so that the next look-up is one round trip: cells that the
//! call's arguments do not tell; and how often it was served here. Bounded; forgetting costs a round trip.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::clock::Nanos;
use crate::store::Name;

/// Entries that are remembered at most, per shard.
const LIMIT: usize = 1024;
const SHARDS: usize = 16;

/// Notes by the entry's physical name.
#[derive(Debug)]
pub(crate) struct Notes {
    shards: Box<[Mutex<Table>]>,
    /// Whether cells of any entry were ever remembered: most programs say all tags before the load.
    learnt: AtomicBool,
    hasher: foldhash::fast::RandomState,
}

type Table = HashMap<Name, Note, foldhash::fast::RandomState>;

/// What is remembered of one entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    /// Cells that its envelope named last, beyond those that the call knew.
    pub(crate) cells: Arc<[Name]>,
    /// How often it was served here.
    pub(crate) hits: u64,
    /// When it last was.
    pub(crate) last_access: Nanos,
    /// When its life was last extended by a hit.
    slid: Nanos,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            learnt: AtomicBool::new(false),
            hasher: foldhash::fast::RandomState::default(),
        }
    }
}

impl Notes {
    fn shard(&self, name: &[u8]) -> &Mutex<Table> {
        use std::hash::BuildHasher;
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }

    pub(crate) fn get(&self, name: &[u8]) -> Note {
        self.shard(name).lock().get(name).cloned().unwrap_or_default()
    }

    /// The cells that are remembered of an entry, if there are any.
    pub(crate) fn cells(&self, name: &[u8]) -> Option<Arc<[Name]>> {
        if !self.learnt.load(Ordering::Relaxed) {
            return None;
        }
        self.shard(name).lock().get(name).filter(|note| !note.cells.is_empty()).map(|note| Arc::clone(&note.cells))
    }

    /// Remembers the cells of an entry.
    pub(crate) fn learn(&self, name: &Name, cells: &[Name]) {
        if !cells.is_empty() {
            self.learnt.store(true, Ordering::Relaxed);
        }
        let mut table = self.shard(name).lock();
        match table.get_mut(name) {
            Some(note) if *note.cells == *cells => {}
            Some(note) => note.cells = cells.into(),
            // Nothing to say of an entry that is as a call expects it.
            None if cells.is_empty() => {}
            None => room(&mut table).entry(Arc::clone(name)).or_default().cells = cells.into(),
        }
    }

    /// Whether a hit is to extend the entry's life now: not more often than `every`, in this process.
    pub(crate) fn slides(&self, name: &Name, now: Nanos, every: Nanos) -> bool {
        let mut table = self.shard(name).lock();
        let note = match table.get_mut(name) {
            Some(note) => note,
            None => room(&mut table).entry(Arc::clone(name)).or_default(),
        };
        let due = note.slid == 0 || now.saturating_sub(note.slid) >= every;
        if due {
            note.slid = now.max(1);
        }
        due
    }

    /// Another entry takes its place: it was never served.
    pub(crate) fn renew(&self, name: &Name) {
        if let Some(note) = self.shard(name).lock().get_mut(name) {
            note.hits = 0;
        }
    }

    /// Counts a hit.
    pub(crate) fn touch(&self, name: &[u8], now: Nanos) {
        let mut table = self.shard(name).lock();
        let note = match table.get_mut(name) {
            Some(note) => note,
            None => room(&mut table).entry(name.into()).or_default(),
        };
        note.hits += 1;
        note.last_access = now;
    }
}

/// Forgets everything when there is too much: keeping the best would cost more than asking again.
fn room(table: &mut Table) -> &mut Table {
    if table.len() >= LIMIT {
        table.clear();
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_bounded() {
        let notes = Notes::default();
        for i in 0..100_000_u32 {
            notes.touch(&Arc::from(i.to_be_bytes().as_slice()), 1);
        }
        let held: usize = notes.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(held <= LIMIT * SHARDS, "{held}");
    }

    #[test]
    fn what_was_learnt_is_there_and_counts_stay() {
        let notes = Notes::default();
        let name: Name = Arc::from(b"k".as_slice());
        notes.touch(&name, 7);
        notes.learn(&name, &[Arc::from(b"c".as_slice())]);
        let note = notes.get(&name);
        assert_eq!((note.cells.len(), note.hits, note.last_access), (1, 1, 7));
        notes.renew(&name);
        let note = notes.get(&name);
        assert_eq!((note.cells.len(), note.hits), (1, 0));
    }
}

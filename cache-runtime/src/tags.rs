//! Cells: what makes invalidating a tag O(1), whatever it covers.
//!
//! A tag (and each function, namespace, tenant and the whole cache) has at most one live [`Cell`]. A record holds the
//! cells of its tags as they were *before its loader started* and is valid iff all of them are live. Invalidating a tag
//! kills its cell; the next load gets a new one. Nothing here knows about keys, values or loading.
//!
//! [`Watch`] serves tags that are known only after a load (`<result.org_id>`): it remembers which tags were invalidated
//! since the load began.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use crate::cell::Cell;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// All cells of one cache by name. Names carry the tenant and what they stand for; see `engine::name`.
#[derive(Debug)]
pub(crate) struct Cells {
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::fast::RandomState,
    log: Log,
    /// See [`Cells::epoch`].
    epoch: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    slots: HashMap<Box<[u8]>, Slot, foldhash::fast::RandomState>,
    /// Number of slots at which those that nobody holds are dropped: twice what the last sweep left.
    sweep_at: usize,
}

/// A cell is kept alive by the records and loads that hold it. A fence keeps a dead one.
#[derive(Debug, Default)]
struct Slot {
    cell: Weak<Cell>,
    fences: Vec<Arc<Cell>>,
}

const SHARDS: usize = 16;
const SWEEP_FLOOR: usize = 64;

impl Cells {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard { sweep_at: SWEEP_FLOOR, ..Shard::default() })).collect(),
            hasher: foldhash::fast::RandomState::default(),
            log: Log::default(),
            // Above what a record has that nobody has looked at.
            epoch: AtomicU64::new(1),
        }
    }

    /// Goes on whenever a cell that somebody holds has been killed. Whoever reads the same epoch twice knows that what
    /// was live at the first is live.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The epoch goes on *after* the kill: a cell seen live under the new epoch was not killed by what began it.
    fn kill(&self, cell: Option<Arc<Cell>>) {
        if let Some(cell) = cell {
            cell.kill();
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn shard(&self, name: &[u8]) -> &Mutex<Shard> {
        &self.shards[self.hash(name) as usize % SHARDS]
    }

    fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    /// The live cell of `name`, created if there is none. While the name is fenced, a dead one.
    pub(crate) fn acquire(&self, name: &[u8]) -> Arc<Cell> {
        let mut shard = self.shard(name).lock();
        if let Some(slot) = shard.slots.get_mut(name) {
            if let Some(fence) = slot.fences.last() {
                return Arc::clone(fence);
            }
            if let Some(cell) = slot.cell.upgrade().filter(|cell| cell.is_live()) {
                return cell;
            }
            let cell = Cell::new(true);
            slot.cell = Arc::downgrade(&cell);
            return cell;
        }
        shard.make_room();
        let cell = Cell::new(true);
        shard.slots.insert(name.into(), Slot { cell: Arc::downgrade(&cell), fences: Vec::new() });
        cell
    }

    /// Notes that something happened to `name`, for watches. Names that have no cell (keys) are noted only.
    pub(crate) fn note(&self, name: &[u8]) {
        self.log.record(self.hash(name));
    }

    /// Makes everything invalid that holds the cell of `name`.
    ///
    /// The log is written first: a load that acquires a new cell after the kill below finds the entry in it.
    pub(crate) fn invalidate(&self, name: &[u8]) {
        self.log.record(self.hash(name));
        let mut shard = self.shard(name).lock();
        if let Some(slot) = shard.slots.get_mut(name) {
            self.kill(std::mem::take(&mut slot.cell).upgrade());
            if slot.fences.is_empty() {
                shard.slots.remove(name);
            }
        }
    }

    /// Invalidates `name` and returns its new cell if nobody else did since `seen` was acquired, else only invalidates.
    ///
    /// The compare-and-set that lets a write-through (`put`) store its result: two writers can commit in one order and
    /// arrive here in the other, and only the first to arrive may store.
    pub(crate) fn replace(&self, name: &[u8], seen: &Arc<Cell>) -> Option<Arc<Cell>> {
        self.log.record(self.hash(name));
        let mut shard = self.shard(name).lock();
        let slot = shard.slots.get_mut(name)?;
        let current = std::mem::take(&mut slot.cell).upgrade();
        self.kill(current.clone());
        if !current.is_some_and(|current| Arc::ptr_eq(&current, seen)) || !slot.fences.is_empty() {
            return None;
        }
        let cell = Cell::new(true);
        slot.cell = Arc::downgrade(&cell);
        Some(cell)
    }

    /// Invalidates `name` and keeps it invalid: until [`unfence`](Self::unfence), whatever is loaded under it cannot be
    /// stored. One step: between the invalidation and the mark nobody gets a live cell.
    pub(crate) fn fence(&self, name: &[u8]) -> Arc<Cell> {
        self.log.record(self.hash(name));
        let mark = Cell::new(false);
        let mut shard = self.shard(name).lock();
        if !shard.slots.contains_key(name) {
            shard.make_room();
        }
        let slot = shard.slots.entry(name.into()).or_default();
        self.kill(std::mem::take(&mut slot.cell).upgrade());
        slot.fences.push(Arc::clone(&mark));
        mark
    }

    /// Removes one writer's mark. Marks of other writers stay.
    pub(crate) fn unfence(&self, name: &[u8], mark: &Arc<Cell>) {
        let mut shard = self.shard(name).lock();
        if let Some(slot) = shard.slots.get_mut(name) {
            slot.fences.retain(|fence| !Arc::ptr_eq(fence, mark));
            if slot.fences.is_empty() && slot.cell.strong_count() == 0 {
                shard.slots.remove(name);
            }
        }
    }

    /// Starts to remember which names are invalidated. Call it before the load begins.
    pub(crate) fn watch(self: &Arc<Self>) -> Watch {
        let since = self.log.enter();
        Watch { cells: Arc::clone(self), since }
    }

    /// Frees the cells that no record holds. Returns how many names are left.
    pub(crate) fn sweep(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let mut shard = shard.lock();
                shard.sweep();
                shard.slots.len()
            })
            .sum()
    }

    /// How many names are known, dead ones that were not swept yet included.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().slots.len()).sum()
    }
}

impl Shard {
    /// Sweeps when the table has doubled: amortised O(1), and never more than twice the cells in use.
    fn make_room(&mut self) {
        if self.slots.len() >= self.sweep_at {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        self.slots.retain(|_, slot| !slot.fences.is_empty() || slot.cell.strong_count() > 0);
        self.sweep_at = (self.slots.len() * 2).max(SWEEP_FLOOR);
        if self.slots.capacity() > self.sweep_at * 4 {
            self.slots.shrink_to(self.sweep_at);
        }
    }
}

/// What was invalidated while somebody watches. Empty, and costs one load, while nobody does.
#[derive(Debug, Default)]
struct Log {
    watchers: AtomicUsize,
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
struct Events {
    next: u64,
    /// Watches that began before this one are told that everything was invalidated.
    floor: u64,
    last: HashMap<u64, u64, foldhash::fast::RandomState>,
}

/// Bound on remembered names. Past it, loads in flight with result tags go unstored once.
const LOG_LIMIT: usize = 1 << 16;

impl Log {
    fn enter(&self) -> u64 {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        self.events.lock().next
    }

    fn leave(&self) {
        if self.watchers.fetch_sub(1, Ordering::SeqCst) == 1 {
            let mut events = self.events.lock();
            // Somebody may have entered meanwhile, and what was recorded for them stays reachable through the floor.
            events.floor = events.next;
            events.last = HashMap::default();
        }
    }

    fn record(&self, hash: u64) {
        // A watch that enters after this load began to load after the write behind this invalidation.
        if self.watchers.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut events = self.events.lock();
        if events.last.len() >= LOG_LIMIT {
            events.floor = events.next;
            events.last.clear();
        }
        events.next += 1;
        let seq = events.next;
        events.last.insert(hash, seq);
    }
}

/// Remembers which names were invalidated since it was made. See [`Cells::watch`].
#[derive(Debug)]
pub(crate) struct Watch {
    cells: Arc<Cells>,
    since: u64,
}

impl Watch {
    /// The cell of `name` if the name was not invalidated since the watch began.
    ///
    /// The cell is acquired before the log is read. Of an invalidation that runs meanwhile, either the log shows it
    /// or it kills the cell that this returns.
    pub(crate) fn acquire(&self, name: &[u8]) -> Option<Arc<Cell>> {
        let cell = self.cells.acquire(name);
        (!self.saw(name)).then_some(cell)
    }

    /// Whether this name was invalidated, or noted, since the watch began.
    pub(crate) fn saw(&self, name: &[u8]) -> bool {
        let hash = self.cells.hash(name);
        let events = self.cells.log.events.lock();
        self.since < events.floor || events.last.get(&hash).is_some_and(|seq| *seq > self.since)
    }

    /// Whether anything at all was invalidated since the watch began.
    pub(crate) fn saw_any(&self) -> bool {
        let events = self.cells.log.events.lock();
        self.since < events.floor || self.since < events.next
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cells.log.leave();
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    fn cells() -> Arc<Cells> {
        Arc::new(Cells::new())
    }

    #[test]
    fn invalidation_kills_what_was_acquired_before_and_not_what_comes_after() {
        let cells = cells();
        let before = cells.acquire(b"t");
        assert!(Arc::ptr_eq(&before, &cells.acquire(b"t")));
        cells.invalidate(b"t");
        assert!(!before.is_live());
        assert!(cells.acquire(b"t").is_live());
    }

    #[test]
    fn cells_that_nobody_holds_are_freed() {
        let cells = cells();
        for i in 0..100_000_u32 {
            let _ = cells.acquire(&i.to_be_bytes());
        }
        assert!(cells.len() <= SHARDS * (SWEEP_FLOOR + 1), "{} cells are left", cells.len());
        let held = cells.acquire(b"held");
        assert_eq!(cells.sweep(), 1);
        assert!(Arc::ptr_eq(&held, &cells.acquire(b"held")));
    }

    #[test]
    fn only_the_first_of_two_writers_may_store() {
        let cells = cells();
        let first = cells.acquire(b"t");
        let second = cells.acquire(b"t");
        let stored = cells.replace(b"t", &first).expect("nobody wrote since");
        assert!(stored.is_live());
        assert!(cells.replace(b"t", &second).is_none(), "the tag was replaced since the second writer began");
        assert!(!stored.is_live(), "the second writer's invalidation holds");
    }

    #[test]
    fn a_fence_keeps_new_cells_dead_until_its_own_writer_removes_it() {
        let cells = cells();
        let one = cells.fence(b"t");
        let two = cells.fence(b"t");
        assert!(!cells.acquire(b"t").is_live());
        cells.unfence(b"t", &one);
        assert!(!cells.acquire(b"t").is_live(), "the other writer still writes");
        cells.unfence(b"t", &two);
        assert!(cells.acquire(b"t").is_live());
    }

    #[test]
    fn a_watch_sees_what_was_invalidated_since_it_began_and_nothing_else() {
        let cells = cells();
        cells.invalidate(b"before");
        let watch = cells.watch();
        assert!(!watch.saw_any());
        cells.invalidate(b"during");
        assert!(watch.acquire(b"before").is_some());
        assert!(watch.acquire(b"during").is_none());
        assert!(watch.saw_any());
        let later = cells.watch();
        assert!(later.acquire(b"during").is_some());
    }

    #[test]
    fn the_last_watch_to_end_does_not_hide_events_from_one_that_enters() {
        let cells = cells();
        let old = cells.watch();
        cells.invalidate(b"t");
        let new = cells.watch();
        drop(old);
        assert!(new.acquire(b"t").is_some());
        cells.invalidate(b"t");
        assert!(new.acquire(b"t").is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "as many names as the log has places")]
    fn a_full_log_counts_as_everything_invalidated() {
        let cells = cells();
        let watch = cells.watch();
        for i in 0..=LOG_LIMIT {
            cells.invalidate(&i.to_be_bytes());
        }
        assert!(watch.acquire(b"other").is_none());
    }
}

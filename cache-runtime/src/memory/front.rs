//! A lock-free way to the records that are hit most: places in front of a map, found by the key's hash. What is in the map,
//! and what leaves it, is the map's business.
//!
//! # Why it serves nothing that the map would not
//!
//! A record that leaves the map is *retired* before the call that removed it returns, and a retired record is not served
//! from here: a hit that begins after a removal does not see what was removed. A record that is replaced is retired before
//! its successor can be found, so nobody sees first the new and then the old one. Expiry and cells are in the record and
//! are looked at whichever way it was found.
//!
//! # Why the map still knows what is used
//!
//! A map evicts by what is hit, and does not hear of hits that end here. But it evicts only when something is inserted. So
//! time is counted in insertions: a *pass* is a small share of the capacity in them, and a record's first hit in every
//! pass goes to the map. While nothing is inserted every hit may end here.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwapOption, Guard};

use super::Bounds;
use crate::record::Record;
use crate::sync::Mutex;

/// So many places fill a cache line, with their tags.
const WAYS: usize = 5;
/// 256 KiB.
const MOST_SETS: u64 = 1 << 12;
/// A record gets its place with every so many hits that the map has answered: changing places costs as much as some hits.
/// With every hit under the model checker, whose schedules have few.
const HITS_TO_PLACE: u32 = if cfg!(feature = "shuttle") { 1 } else { 8 };
/// How many passes there are while as many records are inserted as fit into the map.
const PASSES: u64 = 32;

/// The hash of a key, by which maps find it too where they let themselves be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(pub(super) u64);

impl Hash for KeyHash {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Places for records whose hashes are alike.
#[derive(Default)]
#[repr(align(64))]
struct Set {
    /// A part of the hash of what is in each place; 0: nothing. A hint, which spares the look at other records: what is
    /// found is compared by its key.
    tags: [AtomicU32; WAYS],
    /// Held by those who change places. Readers take no lock.
    changing: Mutex<()>,
    records: [ArcSwapOption<Record>; WAYS],
}

impl Set {
    /// The place with this tag. Without a branch for each: which place it is cannot be predicted.
    #[inline]
    fn way(&self, tag: u32, order: Ordering) -> Option<usize> {
        let tags = self.tags.iter().enumerate();
        let matching: u32 = tags.map(|(way, held)| u32::from(held.load(order) == tag) << way).sum();
        (matching != 0).then(|| matching.trailing_zeros() as usize)
    }

    #[inline]
    fn find(&self, tag: u32) -> Option<&ArcSwapOption<Record>> {
        self.records.get(self.way(tag, Ordering::Relaxed)?)
    }

    /// What was there is returned, so that it is dropped where no lock is held.
    #[must_use = "to be dropped where no lock is held"]
    fn fill(&self, way: usize, tag: u32, record: Option<Arc<Record>>) -> Option<Arc<Record>> {
        self.tags[way].store(tag, Ordering::SeqCst);
        self.records[way].swap(record)
    }
}

/// A record as it was found, protected without a count of its pointer.
pub(crate) struct Held(Guard<Option<Arc<Record>>>);

impl Held {
    #[inline(always)]
    pub(crate) fn record(&self) -> Option<&Arc<Record>> {
        self.0.as_ref()
    }
}

/// The places of one map.
pub(crate) struct Front {
    /// Bytes with which every key begins. They tell no keys apart, so they are not hashed.
    common: usize,
    hashing: foldhash::fast::RandomState,
    /// Made when a record first deserves a place.
    sets: OnceLock<Box<[Set]>>,
    /// Less one, for use as a mask.
    last_set: u64,
    /// Which place is given up next where all are taken.
    turn: AtomicU32,
    insertions: AtomicU64,
    insertions_a_pass: u64,
    /// Truncated: it is only asked whether it is still the same.
    pass: AtomicU32,
}

impl Front {
    pub(crate) fn new(bounds: Bounds, common: usize) -> Arc<Self> {
        let sets = (bounds.max_items / WAYS as u64 + 1).min(MOST_SETS).next_power_of_two();
        Arc::new(Self {
            common,
            hashing: foldhash::fast::RandomState::default(),
            sets: OnceLock::new(),
            last_set: sets - 1,
            turn: AtomicU32::new(0),
            insertions: AtomicU64::new(0),
            insertions_a_pass: (bounds.max_items / PASSES).max(1),
            pass: AtomicU32::new(0),
        })
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        struct Bytes<'k>(&'k [u8]);
        impl Hash for Bytes<'_> {
            #[inline]
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write(self.0);
            }
        }
        KeyHash(self.hashing.hash_one(Bytes(key.get(self.common..).unwrap_or(key))))
    }

    /// The set of a key, and its tag there: from the lower and the upper half of the hash.
    #[inline]
    fn set<'f>(&self, sets: &'f [Set], hash: KeyHash) -> (&'f Set, u32) {
        (&sets[(hash.0 & self.last_set) as usize], (hash.0 >> 32) as u32 | 1)
    }

    /// The record under `key`, if it has a place and the map need not hear of it.
    #[inline(always)]
    pub(crate) fn get(&self, hash: KeyHash, key: &[u8]) -> Option<Held> {
        let (set, tag) = self.set(self.sets.get()?, hash);
        let held = set.find(tag)?.load();
        match &*held {
            Some(record)
                if record.has_key(key)
                    && !record.is_retired()
                    && record.is_of_pass(self.pass.load(Ordering::Relaxed)) =>
            {
                Some(Held(held))
            }
            _ => None,
        }
    }

    /// Notes that the map has answered a hit. `true`: the record deserves [a place](Self::admit).
    #[inline]
    pub(crate) fn found(&self, record: &Record) -> bool {
        record.found(self.pass.load(Ordering::Relaxed)).is_multiple_of(HITS_TO_PLACE)
    }

    /// Gives a record a place.
    #[cold]
    pub(crate) fn admit(&self, hash: KeyHash, record: Arc<Record>) {
        let sets = self.sets.get_or_init(|| (0..=self.last_set).map(|_| Set::default()).collect());
        let (set, tag) = self.set(sets, hash);
        let changing = set.changing.lock();
        let way = set.way(tag, Ordering::Relaxed).or_else(|| set.way(0, Ordering::Relaxed));
        let way = way.unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed) as usize % WAYS);
        let displaced = set.fill(way, tag, Some(Arc::clone(&record)));
        // Whoever retires a record looks for it here afterwards, and may have done so before it came.
        let late = if record.is_retired() { set.fill(way, 0, None) } else { None };
        drop(changing);
        drop((displaced, late));
    }

    /// Says that a record is not in the map any more, or is about to be replaced in it. Nothing of it is kept here.
    pub(crate) fn retire(&self, record: &Arc<Record>) {
        record.retire();
        let Some(sets) = self.sets.get() else { return };
        let (set, tag) = self.set(sets, self.hash(record.key()));
        if set.way(tag, Ordering::SeqCst).is_none() {
            return;
        }
        let changing = set.changing.lock();
        let way = set.way(tag, Ordering::Relaxed);
        let same = |way: &usize| set.records[*way].load().as_ref().is_some_and(|held| Arc::ptr_eq(held, record));
        let left = way.filter(same).and_then(|way| set.fill(way, 0, None));
        drop(changing);
        drop(left);
    }

    /// Counts an insertion into the map.
    pub(crate) fn inserted(&self) {
        if (self.insertions.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.insertions_a_pass) {
            self.pass.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("sets", &(self.last_set + 1)).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::cell::CellSet;
    use crate::record::Stored;

    fn record(key: &[u8]) -> Arc<Record> {
        Arc::new(Record::new(key, Stored::None, 0, 0, u64::MAX, CellSet::default()))
    }

    fn front(max_items: u64) -> Arc<Front> {
        Front::new(Bounds { max_items, max_bytes: None }, 0)
    }

    fn admit(front: &Front, record: &Arc<Record>) {
        record.found(front.pass.load(Ordering::Relaxed));
        front.admit(front.hash(record.key()), Arc::clone(record));
    }

    fn holds(front: &Front, record: &Arc<Record>) -> bool {
        let key = record.key();
        let held = front.get(front.hash(key), key);
        held.is_some_and(|held| held.record().is_some_and(|held| Arc::ptr_eq(held, record)))
    }

    #[test]
    fn a_record_is_found_by_its_key_until_it_is_retired() {
        let front = front(1000);
        let record = self::record(b"user:1");
        admit(&front, &record);
        assert!(holds(&front, &record));
        assert!(!holds(&front, &self::record(b"user:2")));
        front.retire(&record);
        assert!(!holds(&front, &record));
        assert_eq!(Arc::strong_count(&record), 1, "nothing of it is kept");
    }

    #[test]
    fn a_record_that_was_retired_meanwhile_gets_no_place() {
        let front = front(1000);
        let record = self::record(b"user:1");
        front.retire(&record);
        admit(&front, &record);
        assert!(!holds(&front, &record));
        assert_eq!(Arc::strong_count(&record), 1);
    }

    #[test]
    fn a_successor_takes_the_place_and_the_end_of_the_old_one_does_not_cost_it() {
        let front = front(1000);
        let (old, new) = (record(b"user:1"), record(b"user:1"));
        admit(&front, &old);
        admit(&front, &new);
        front.retire(&old);
        assert!(holds(&front, &new));
    }

    #[test]
    fn there_are_only_so_many_places() {
        let front = front(1);
        let records: Vec<_> = (0..100_u8).map(|i| record(&[i])).collect();
        records.iter().for_each(|record| admit(&front, record));
        let kept = records.iter().filter(|record| Arc::strong_count(record) > 1).count();
        assert_eq!(kept, WAYS);
        assert_eq!(records.iter().filter(|record| holds(&front, record)).count(), WAYS);
    }

    #[test]
    fn the_map_hears_of_a_record_once_in_every_pass_of_insertions() {
        let front = front(PASSES * 10);
        let record = self::record(b"user:1");
        admit(&front, &record);
        (0..9).for_each(|_| front.inserted());
        assert!(holds(&front, &record));
        front.inserted();
        assert!(!holds(&front, &record));
        front.found(&record);
        assert!(holds(&front, &record));
    }

    #[test]
    fn a_set_is_a_cache_line() {
        assert_eq!(size_of::<Set>(), 64);
    }
}

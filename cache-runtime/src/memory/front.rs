//! A lock-free way to the records that are hit most: places in front of a [`Map`], found by a part of the key's hash. What
//! is in the map, and what leaves it, is the map's business.
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

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::Bounds;
use crate::record::Record;

/// A place takes 8 bytes, so that these are 128 KiB.
const MOST_PLACES: u64 = 1 << 14;
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

/// The places of one map.
#[derive(Debug)]
pub(crate) struct Front {
    /// Bytes with which every key begins. They tell no keys apart, so they are not hashed.
    common: usize,
    hashing: foldhash::fast::RandomState,
    places: OnceLock<Box<[ArcSwapOption<Record>]>>,
    how_many: usize,
    insertions: AtomicU64,
    insertions_a_pass: u64,
    /// Truncated: it is only asked whether it is still the same.
    pass: AtomicU32,
}

impl Front {
    pub(crate) fn new(bounds: Bounds, common: usize) -> Arc<Self> {
        Arc::new(Self {
            common,
            hashing: foldhash::fast::RandomState::default(),
            places: OnceLock::new(),
            how_many: bounds.max_items.clamp(8, MOST_PLACES).next_power_of_two() as usize,
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

    /// The place of a key. Maps take their shards and buckets from both ends of the hash; this is from its middle.
    #[inline]
    fn place<'f>(&self, places: &'f [ArcSwapOption<Record>], hash: KeyHash) -> &'f ArcSwapOption<Record> {
        &places[(hash.0 >> 24) as usize & (self.how_many - 1)]
    }

    /// What `visit` says of the record under `key`, if it has its place and the map need not hear of it. No lock is held.
    #[inline(always)]
    pub(crate) fn read<R>(&self, hash: KeyHash, key: &[u8], visit: impl FnOnce(&Arc<Record>) -> R) -> Option<R> {
        let held = self.place(self.places.get()?, hash).load();
        let record = held.as_ref()?;
        let found = record.has_key(key) && !record.is_retired() && record.is_of_pass(self.pass.load(Ordering::Relaxed));
        found.then(|| visit(record))
    }

    /// Notes that the map has answered a hit. `true`: the record deserves its [place](Self::admit).
    #[inline]
    pub(crate) fn found(&self, record: &Record) -> bool {
        record.found(self.pass.load(Ordering::Relaxed)) % HITS_TO_PLACE == 0
    }

    /// Gives a record its place.
    #[cold]
    pub(crate) fn admit(&self, hash: KeyHash, record: Arc<Record>) {
        let places = self.places.get_or_init(|| (0..self.how_many).map(|_| ArcSwapOption::empty()).collect());
        let place = self.place(places, hash);
        if place.load().as_ref().is_some_and(|held| Arc::ptr_eq(held, &record)) {
            return;
        }
        place.store(Some(Arc::clone(&record)));
        // Whoever retires it looks for it here afterwards, and may have done so before it came.
        if record.is_retired() {
            self.clear(hash, &record);
        }
    }

    /// Says that a record is not in the map any more, or is about to be replaced in it. Nothing of it is kept here.
    pub(crate) fn retire(&self, record: &Arc<Record>) {
        record.retire();
        self.clear(self.hash(record.key()), record);
    }

    fn clear(&self, hash: KeyHash, record: &Arc<Record>) {
        let Some(places) = self.places.get() else { return };
        let place = self.place(places, hash);
        let held = place.load();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, record)) {
            place.compare_and_swap(&held, None);
        }
    }

    /// Counts an insertion into the map.
    pub(crate) fn inserted(&self) {
        if (self.insertions.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.insertions_a_pass) {
            self.pass.fetch_add(1, Ordering::Relaxed);
        }
    }
}

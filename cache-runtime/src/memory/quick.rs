//! `quick_cache` as a [`Table`].

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use super::front::KeyHash;
use super::{Bounds, Evictions, Removed, Table, count};
use crate::record::Record;

pub(crate) struct Quick {
    cache: Cache<Owned, (), ByWeight, AsTold, HandBack>,
    evictions: Evictions,
}

/// A record as its own key: the map clones its values under its lock, and a hit wants to look at a record where it is.
struct Owned {
    hash: KeyHash,
    record: Arc<Record>,
}

impl PartialEq for Owned {
    fn eq(&self, other: &Self) -> bool {
        self.record.key() == other.record.key()
    }
}

impl Eq for Owned {}

impl Hash for Owned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// A key that looks at the record where it finds it.
struct Visiting<'k, R, F> {
    hash: KeyHash,
    key: &'k [u8],
    visit: F,
    seen: Cell<Option<R>>,
}

impl<R, F> Hash for Visiting<'_, R, F> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl<R, F: Fn(&Arc<Record>) -> R> Equivalent<Owned> for Visiting<'_, R, F> {
    #[inline]
    fn equivalent(&self, held: &Owned) -> bool {
        let found = held.hash == self.hash && held.record.has_key(self.key);
        if found {
            self.seen.set(Some((self.visit)(&held.record)));
        }
        found
    }
}

/// A key as long as it still holds this record.
struct Same<'k>(KeyHash, &'k Arc<Record>);

impl Hash for Same<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Owned> for Same<'_> {
    fn equivalent(&self, held: &Owned) -> bool {
        Arc::ptr_eq(&held.record, self.1)
    }
}

/// The hash of a key is known before the map is asked.
#[derive(Clone, Copy)]
struct AsTold;

#[derive(Clone, Copy)]
struct Told(u64);

impl BuildHasher for AsTold {
    type Hasher = Told;

    #[inline]
    fn build_hasher(&self) -> Told {
        Told(0)
    }
}

impl Hasher for Told {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Not used: a [`KeyHash`] is one number.
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Owned, ()> for ByWeight {
    fn weight(&self, held: &Owned, (): &()) -> u64 {
        u64::from(held.record.weight)
    }
}

/// Hands back what leaves the map in the course of an insertion.
#[derive(Clone)]
struct HandBack;

type Left = smallvec::SmallVec<[Owned; 2]>;

impl Lifecycle<Owned, ()> for HandBack {
    type RequestState = Left;

    fn on_evict(&self, left: &mut Left, held: Owned, (): ()) {
        left.push(held);
    }
}

/// Below this many items a shard would be so small that the eviction policy sees too little of the traffic.
const ITEMS_PER_SHARD: u64 = 256;

impl Quick {
    pub(crate) fn new(bounds: Bounds, evictions: Evictions) -> Self {
        let shards = (bounds.max_items / ITEMS_PER_SHARD).clamp(1, 64);
        // A value may weigh as much as the store: shards divide the capacity, so few of them when bytes are bounded.
        let shards = if bounds.max_bytes.is_some() { 1 } else { shards as usize };
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(bounds.max_items.min(1 << 20)).unwrap_or(1 << 20))
            .weight_capacity(bounds.capacity())
            .shards(shards)
            .hot_allocation(0.97)
            .build();
        let cache = match options {
            Ok(options) => Cache::with_options(options, ByWeight, AsTold, HandBack),
            Err(_) => Cache::with(
                usize::try_from(bounds.max_items).unwrap_or(usize::MAX),
                bounds.capacity(),
                ByWeight,
                AsTold,
                HandBack,
            ),
        };
        Self { cache, evictions }
    }
}

impl Table for Quick {
    /// It runs under the map's lock, perhaps more than once.
    #[inline]
    #[cfg(not(feature = "shuttle"))]
    fn read<R>(&self, hash: KeyHash, key: &[u8], visit: impl Fn(&Arc<Record>) -> R) -> Option<R> {
        let visiting = Visiting { hash, key, visit, seen: Cell::new(None) };
        self.cache.get(&visiting)?;
        visiting.seen.into_inner()
    }

    /// For the model checker, which switches threads at every atomic and must not do so under a lock that it does not know.
    #[cfg(feature = "shuttle")]
    fn read<R>(&self, hash: KeyHash, key: &[u8], visit: impl Fn(&Arc<Record>) -> R) -> Option<R> {
        let visiting = Visiting { hash, key, visit: Arc::clone, seen: Cell::new(None) };
        self.cache.get(&visiting)?;
        visiting.seen.into_inner().as_ref().map(visit)
    }

    fn peek(&self, hash: KeyHash, key: &[u8]) -> Option<Arc<Record>> {
        let visiting = Visiting { hash, key, visit: Arc::clone, seen: Cell::new(None) };
        self.cache.peek(&visiting)?;
        visiting.seen.into_inner()
    }

    fn insert(&self, hash: KeyHash, key: Box<[u8]>, record: Arc<Record>) -> Removed {
        let mut left = Left::new();
        self.cache.insert_with_lifecycle(Owned { hash, record: Arc::clone(&record) }, (), &mut left);
        // What the new record took the place of has not been evicted; the new record itself may have been.
        let evicted =
            left.iter().filter(|gone| gone.record.key() != &*key || Arc::ptr_eq(&gone.record, &record)).count();
        count(&self.evictions, evicted);
        left.into_iter().map(|held| held.record).collect()
    }

    fn remove(&self, hash: KeyHash, key: &[u8]) -> Option<Arc<Record>> {
        let visiting = Visiting { hash, key, visit: |_: &Arc<Record>| (), seen: Cell::new(None) };
        self.cache.remove(&visiting).map(|(held, ())| held.record)
    }

    fn remove_same(&self, hash: KeyHash, record: &Arc<Record>) -> bool {
        self.cache.remove(&Same(hash, record)).is_some()
    }

    fn sweep(&self, condemned: &mut dyn FnMut(&[u8], &Record) -> bool) -> Vec<Arc<Record>> {
        let removed = RefCell::new(Vec::new());
        let condemned = RefCell::new(condemned);
        self.cache.retain(|held, ()| {
            let gone = (condemned.borrow_mut())(held.record.key(), &held.record);
            if gone {
                removed.borrow_mut().push(Arc::clone(&held.record));
            }
            !gone
        });
        removed.into_inner()
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &Record)) {
        // `retain` visits without cloning keys, one shard's lock at a time.
        let visit = RefCell::new(visit);
        self.cache.retain(|held, ()| {
            (visit.borrow_mut())(held.record.key(), &held.record);
            true
        });
    }

    fn len(&self) -> u64 {
        self.cache.len() as u64
    }
}

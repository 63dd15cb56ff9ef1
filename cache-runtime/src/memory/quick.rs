//! `quick_cache` as a [`Map`].

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use super::{Bounds, Evictions, Map, Removed, count};
use crate::record::Record;

type Hashing = foldhash::fast::RandomState;

pub(crate) struct Quick {
    cache: Cache<Owned, Arc<Record>, ByWeight, Hashing, HandBack>,
    evictions: Evictions,
}

/// A key as the map keeps it.
#[derive(PartialEq, Eq)]
struct Owned(Box<[u8]>);

/// A key as it is looked up: bytes on the caller's stack.
struct Borrowed<'k>(&'k [u8]);

impl Hash for Owned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Hash for Borrowed<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

impl Equivalent<Owned> for Borrowed<'_> {
    #[inline]
    fn equivalent(&self, key: &Owned) -> bool {
        *key.0 == *self.0
    }
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Owned, Arc<Record>> for ByWeight {
    fn weight(&self, _key: &Owned, record: &Arc<Record>) -> u64 {
        u64::from(record.weight)
    }
}

/// Hands back what leaves the map in the course of an insertion.
#[derive(Clone)]
struct HandBack;

type Left = smallvec::SmallVec<[(Owned, Arc<Record>); 2]>;

impl Lifecycle<Owned, Arc<Record>> for HandBack {
    type RequestState = Left;

    fn on_evict(&self, left: &mut Left, key: Owned, record: Arc<Record>) {
        left.push((key, record));
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
            Ok(options) => Cache::with_options(options, ByWeight, Hashing::default(), HandBack),
            Err(_) => Cache::with(
                usize::try_from(bounds.max_items).unwrap_or(usize::MAX),
                bounds.capacity(),
                ByWeight,
                Hashing::default(),
                HandBack,
            ),
        };
        Self { cache, evictions }
    }
}

impl Map for Quick {
    #[inline]
    fn get(&self, key: &[u8]) -> Option<Arc<Record>> {
        self.cache.get(&Borrowed(key))
    }

    fn insert(&self, key: Box<[u8]>, record: Arc<Record>) -> Removed {
        let mut left = Left::new();
        let inserted = Arc::clone(&record);
        let name = key.clone();
        self.cache.insert_with_lifecycle(Owned(key), record, &mut left);
        // What the new record took the place of has not been evicted; the new record itself may have been.
        let evicted = left.iter().filter(|(key, gone)| key.0 != name || Arc::ptr_eq(gone, &inserted)).count();
        count(&self.evictions, evicted);
        left.into_iter().map(|(_, record)| record).collect()
    }

    fn remove(&self, key: &[u8]) -> Option<Arc<Record>> {
        self.cache.remove(&Borrowed(key)).map(|(_, record)| record)
    }

    fn remove_same(&self, key: &[u8], record: &Arc<Record>) -> bool {
        self.cache.remove_if(&Borrowed(key), |held| Arc::ptr_eq(held, record)).is_some()
    }

    fn sweep(&self, condemned: &mut dyn FnMut(&[u8], &Record) -> bool) -> Vec<Arc<Record>> {
        let removed = RefCell::new(Vec::new());
        let condemned = RefCell::new(condemned);
        self.cache.retain(|key, record| {
            let gone = (condemned.borrow_mut())(&key.0, record);
            if gone {
                removed.borrow_mut().push(Arc::clone(record));
            }
            !gone
        });
        removed.into_inner()
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &Record)) {
        // `retain` visits without cloning keys, one shard's lock at a time.
        let visit = RefCell::new(visit);
        self.cache.retain(|key, record| {
            (visit.borrow_mut())(&key.0, record);
            true
        });
    }

    fn len(&self) -> u64 {
        self.cache.len() as u64
    }
}

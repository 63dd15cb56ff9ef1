//! `quick_cache` as a [`Map`].

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use super::{Bounds, Evictions, Map, count};
use crate::record::Record;

type Hashing = foldhash::fast::RandomState;

pub(crate) struct Quick {
    cache: Cache<Owned, Arc<Record>, ByWeight, Hashing, CountEvictions>,
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

#[derive(Clone)]
struct CountEvictions(Evictions);

impl Lifecycle<Owned, Arc<Record>> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _key: Owned, _record: Arc<Record>) {
        count(&self.0);
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
            Ok(options) => Cache::with_options(options, ByWeight, Hashing::default(), CountEvictions(evictions)),
            Err(_) => Cache::with(
                usize::try_from(bounds.max_items).unwrap_or(usize::MAX),
                bounds.capacity(),
                ByWeight,
                Hashing::default(),
                CountEvictions(evictions),
            ),
        };
        Self { cache }
    }
}

impl Map for Quick {
    #[inline]
    fn get(&self, key: &[u8]) -> Option<Arc<Record>> {
        self.cache.get(&Borrowed(key))
    }

    fn insert(&self, key: Box<[u8]>, record: Arc<Record>) {
        self.cache.insert(Owned(key), record);
    }

    fn remove(&self, key: &[u8]) -> Option<Arc<Record>> {
        self.cache.remove(&Borrowed(key)).map(|(_, record)| record)
    }

    fn remove_same(&self, key: &[u8], record: &Arc<Record>) -> bool {
        self.cache.remove_if(&Borrowed(key), |held| Arc::ptr_eq(held, record)).is_some()
    }

    fn sweep(&self, condemned: &mut dyn FnMut(&[u8], &Record) -> bool) -> u64 {
        let removed = std::sync::atomic::AtomicU64::new(0);
        let condemned = parking_lot::Mutex::new(condemned);
        self.cache.retain(|key, record| {
            let gone = (condemned.lock())(&key.0, record);
            removed.fetch_add(u64::from(gone), std::sync::atomic::Ordering::Relaxed);
            !gone
        });
        removed.into_inner()
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &Record)) {
        // `retain` visits without cloning keys, one shard's lock at a time.
        let visit = parking_lot::Mutex::new(visit);
        self.cache.retain(|key, record| {
            (visit.lock())(&key.0, record);
            true
        });
    }

    fn len(&self) -> u64 {
        self.cache.len() as u64
    }
}

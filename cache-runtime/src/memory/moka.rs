//! `moka` as a [`Table`].

use std::sync::Arc;

use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::front::{Front, KeyHash};
use super::{Bounds, Evictions, Removed, Table, count};
use crate::record::Record;

pub(crate) struct Moka {
    cache: Cache<Box<[u8]>, Arc<Record>, foldhash::fast::RandomState>,
    /// Evict at every insertion: moka's own write buffer would overshoot a small or byte-bounded store by much.
    strict: bool,
}

/// Stores of at least this many entries may exceed their bound by moka's write buffer, a few hundred entries.
const LARGE: u64 = 16 << 10;

impl Moka {
    pub(crate) fn new(bounds: Bounds, evictions: Evictions, front: Arc<Front>) -> Self {
        let cache = Cache::builder()
            .max_capacity(bounds.capacity())
            .weigher(|_, record: &Arc<Record>| record.weight)
            .eviction_listener(move |_key, record, cause| {
                front.retire(&record);
                if cause == RemovalCause::Size {
                    count(&evictions, 1);
                }
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { cache, strict: bounds.max_bytes.is_some() || bounds.max_items < LARGE }
    }
}

impl Moka {
    fn remove_this(&self, record: &Arc<Record>) -> bool {
        use moka::ops::compute::{CompResult, Op};
        let same = |held: Option<moka::Entry<_, Arc<Record>>>| match held {
            Some(held) if Arc::ptr_eq(held.value(), record) => Op::Remove,
            _ => Op::Nop,
        };
        matches!(self.cache.entry(record.key().into()).and_compute_with(same), CompResult::Removed(_))
    }
}

impl Table for Moka {
    #[inline]
    fn read<R>(&self, _: KeyHash, key: &[u8], visit: impl Fn(&Arc<Record>) -> R) -> Option<R> {
        self.cache.get(key).as_ref().map(visit)
    }

    fn peek(&self, _: KeyHash, key: &[u8]) -> Option<Arc<Record>> {
        self.cache.get(key)
    }

    fn insert(&self, _: KeyHash, key: Box<[u8]>, record: Arc<Record>) -> Removed {
        // moka drops what it evicts by itself, outside of its locks.
        let replaced = self.cache.get(&key);
        self.cache.insert(key, record);
        if self.strict {
            self.cache.run_pending_tasks();
        }
        replaced.into_iter().collect()
    }

    fn remove(&self, _: KeyHash, key: &[u8]) -> Option<Arc<Record>> {
        self.cache.remove(key)
    }

    fn remove_same(&self, _: KeyHash, record: &Arc<Record>) -> bool {
        self.remove_this(record)
    }

    fn sweep(&self, condemned: &mut dyn FnMut(&[u8], &Record) -> bool) -> Vec<Arc<Record>> {
        let mut removed = Vec::new();
        for (key, record) in &self.cache {
            if condemned(&key, &record) && self.remove_this(&record) {
                removed.push(record);
            }
        }
        self.cache.run_pending_tasks();
        removed
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &Record)) {
        self.cache.run_pending_tasks();
        for (key, record) in &self.cache {
            visit(&key, &record);
        }
    }

    fn len(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.entry_count()
    }
}

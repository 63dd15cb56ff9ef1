//! The in-process store: a bounded map from physical keys to [`Record`]s behind one small trait.
//!
//! `quick_cache` and `moka` are used as maps only. Loading, coalescing, expiry and invalidation are the engine's: the
//! maps' own `get_with` stores over an invalidation. Both pass `tests/tests/store.rs`. Before each stands a [`front`].

#[cfg(not(any(feature = "quick_cache", feature = "moka")))]
compile_error!("cache-runtime needs a memory engine: enable the feature `quick_cache` (the default) or `moka`");

mod front;
#[cfg(feature = "moka")]
mod moka;
#[cfg(feature = "quick_cache")]
mod quick;

use std::fmt;
use std::sync::Arc;

use self::front::Front;
pub(crate) use self::front::{Held, KeyHash};
use crate::error::{Error, ErrorKind};
use crate::record::Record;
use crate::stats::Departures;

/// Which map keeps entries in memory.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use cache_runtime::{Cache, Engine};
///
/// let cache = Cache::builder().engine(Engine::default()).build().await?;
/// assert_eq!(cache.info().await?.engine, Engine::default()); // `quick_cache`, where it is compiled in
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// `quick_cache` (S3-FIFO): the default, the quicker of the two on a hit (see `docs/decisions`).
    QuickCache,
    /// `moka` (TinyLFU).
    Moka,
}

/// `QuickCache` where it is compiled in.
impl Default for Engine {
    fn default() -> Self {
        if cfg!(feature = "quick_cache") { Self::QuickCache } else { Self::Moka }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QuickCache => "quick_cache",
            Self::Moka => "moka",
        })
    }
}

/// Bounds of the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_items: u64,
    pub(crate) max_bytes: Option<u64>,
}

impl Bounds {
    /// The map's capacity in its own unit.
    fn capacity(self) -> u64 {
        self.max_bytes.unwrap_or(self.max_items)
    }

    /// What an entry of `bytes` weighs.
    ///
    /// With a bound on bytes, no entry weighs less than an equal share of it, so that one capacity keeps both bounds:
    /// `max_items` entries fill the store whatever their size.
    pub(crate) fn weight(self, bytes: u64) -> u64 {
        match self.max_bytes {
            None => 1,
            Some(max_bytes) => bytes.max(max_bytes.div_ceil(self.max_items)).max(1),
        }
    }

    /// Whether an entry of this weight could be kept at all.
    pub(crate) fn admits(self, weight: u64) -> bool {
        weight <= self.capacity() && weight <= u64::from(u32::MAX)
    }
}

/// Records that left a map. Whoever gets them drops them after giving back its locks: a value's `Drop` is the user's code
/// and may use the cache.
pub(crate) type Removed = smallvec::SmallVec<[Arc<Record>; 2]>;

/// A map from keys to records that stays within a capacity.
///
/// `insert` may evict anything, the new record included. Nothing here blocks for longer than a map operation.
pub(crate) trait Map: Send + Sync {
    fn get(&self, key: &[u8]) -> Option<Arc<Record>>;
    /// The record's own key is this one.
    #[must_use = "to be dropped where no lock is held"]
    fn insert(&self, key: Box<[u8]>, record: Arc<Record>) -> Removed;
    fn remove(&self, key: &[u8]) -> Option<Arc<Record>>;
    /// Removes `key` if it still holds this very record.
    fn remove_same(&self, key: &[u8], record: &Arc<Record>) -> bool;
    /// Removes what `condemned` says.
    #[must_use = "to be dropped where no lock is held"]
    fn sweep(&self, condemned: &mut dyn FnMut(&[u8], &Record) -> bool) -> Vec<Arc<Record>>;
    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &Record));
    fn len(&self) -> u64;
}

/// What an engine does of a [`Map`]; the rest is [`Fronted`]'s. `hash` is the key's.
pub(crate) trait Table: Send + Sync {
    /// What `visit` says of the record under `key`. It may run under a lock of the table's: nothing of the user's may run
    /// in it.
    fn read<R>(&self, hash: KeyHash, key: &[u8], visit: impl Fn(&Arc<Record>) -> R) -> Option<R>;
    /// The record, which does not count as used.
    fn peek(&self, hash: KeyHash, key: &[u8]) -> Option<Arc<Record>>;
    fn insert(&self, hash: KeyHash, key: Box<[u8]>, record: Arc<Record>) -> Removed;
    fn remove(&self, hash: KeyHash, key: &[u8]) -> Option<Arc<Record>>;
    fn remove_same(&self, hash: KeyHash, record: &Arc<Record>) -> bool;
    fn sweep(&self, condemned: &mut dyn FnMut(&[u8], &Record) -> bool) -> Vec<Arc<Record>>;
    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &Record));
    fn len(&self) -> u64;
}

/// A table and the [`Front`] before it, which hears of everything that leaves the table.
pub(crate) struct Fronted<T> {
    table: T,
    front: Arc<Front>,
}

impl<T: Table> Fronted<T> {
    fn read<R>(&self, hash: KeyHash, key: &[u8], visit: impl Fn(&Arc<Record>) -> R) -> Option<R> {
        let found = self.table.read(hash, key, |record| {
            let deserving = self.front.found(record).then(|| Arc::clone(record));
            (visit(record), deserving)
        });
        let (seen, deserving) = found?;
        if let Some(record) = deserving {
            self.front.admit(hash, record);
        }
        Some(seen)
    }
}

impl<T: Table> Map for Fronted<T> {
    fn get(&self, key: &[u8]) -> Option<Arc<Record>> {
        self.table.read(self.front.hash(key), key, Arc::clone)
    }

    fn insert(&self, key: Box<[u8]>, record: Arc<Record>) -> Removed {
        let hash = self.front.hash(&key);
        if let Some(old) = self.table.peek(hash, &key) {
            self.front.retire(&old);
        }
        let removed = self.table.insert(hash, key, record);
        removed.iter().for_each(|gone| self.front.retire(gone));
        self.front.inserted();
        removed
    }

    fn remove(&self, key: &[u8]) -> Option<Arc<Record>> {
        self.table.remove(self.front.hash(key), key).inspect(|gone| self.front.retire(gone))
    }

    fn remove_same(&self, key: &[u8], record: &Arc<Record>) -> bool {
        let removed = self.table.remove_same(self.front.hash(key), record);
        if removed {
            self.front.retire(record);
        }
        removed
    }

    fn sweep(&self, condemned: &mut dyn FnMut(&[u8], &Record) -> bool) -> Vec<Arc<Record>> {
        let removed = self.table.sweep(condemned);
        removed.iter().for_each(|gone| self.front.retire(gone));
        removed
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &Record)) {
        self.table.for_each(visit);
    }

    fn len(&self) -> u64 {
        self.table.len()
    }
}

/// The configured [`Map`]. An enum, so that a hit is a direct call.
enum Kind {
    #[cfg(feature = "quick_cache")]
    Quick(Fronted<quick::Quick>),
    #[cfg(feature = "moka")]
    Moka(Fronted<moka::Moka>),
}

/// A map and what is before it.
pub(crate) struct Store {
    front: Arc<Front>,
    map: Kind,
}

/// Entries that left; stores count those that had to since they were full.
pub(crate) type Evictions = Arc<Departures>;

impl Store {
    /// All keys begin with the same `common` bytes.
    pub(crate) fn new(engine: Engine, bounds: Bounds, common: usize, evictions: &Evictions) -> Result<Self, Error> {
        let front = Front::new(bounds, common);
        let evictions = Arc::clone(evictions);
        let map = match engine {
            #[cfg(feature = "quick_cache")]
            Engine::QuickCache => {
                Kind::Quick(Fronted { table: quick::Quick::new(bounds, evictions), front: Arc::clone(&front) })
            }
            #[cfg(feature = "moka")]
            Engine::Moka => Kind::Moka(Fronted {
                table: moka::Moka::new(bounds, evictions, Arc::clone(&front)),
                front: Arc::clone(&front),
            }),
            #[allow(unreachable_patterns, reason = "which engines exist depends on features")]
            missing => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "memory engine `{missing}` is not compiled in: enable the feature `{missing}` of cache-runtime"
                    ),
                ));
            }
        };
        Ok(Self { front, map })
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Record>> {
        self.map().get(key)
    }

    /// The hash of a key, for [`front`](Self::front) and [`read`](Self::read).
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        self.front.hash(key)
    }

    /// The record under `key`, where that takes no lock and the map need not hear of it.
    #[inline(always)]
    pub(crate) fn front(&self, hash: KeyHash, key: &[u8]) -> Option<Held> {
        self.front.get(hash, key)
    }

    /// What `visit` says of the record under `key`. It may run under the map's lock: nothing of the user's may run in it.
    pub(crate) fn read<R>(&self, hash: KeyHash, key: &[u8], visit: impl Fn(&Arc<Record>) -> R) -> Option<R> {
        match &self.map {
            #[cfg(feature = "quick_cache")]
            Kind::Quick(map) => map.read(hash, key, visit),
            #[cfg(feature = "moka")]
            Kind::Moka(map) => map.read(hash, key, visit),
        }
    }

    pub(crate) fn map(&self) -> &dyn Map {
        match &self.map {
            #[cfg(feature = "quick_cache")]
            Kind::Quick(map) => map,
            #[cfg(feature = "moka")]
            Kind::Moka(map) => map,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("len", &self.map().len()).finish_non_exhaustive()
    }
}

pub(crate) fn count(evictions: &Evictions, how_many: usize) {
    evictions.full.add(how_many as u64);
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::cell::CellSet;
    use crate::record::Stored;

    const KEYS: u32 = 20_000;

    /// Keys by a skewed chance, the most frequent of which change all the time.
    fn requests() -> impl Iterator<Item = u32> {
        let mut random = 42_u64;
        (0..200_000_u32).map(move |at| {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let unit = (random >> 11) as f64 / (1_u64 << 53) as f64;
            // About a zipf distribution: the rank's logarithm is uniform.
            let rank = f64::from(KEYS).powf(unit) as u32;
            (rank + at / 50) % KEYS
        })
    }

    fn hit_ratio(engine: Engine, through_front: bool) -> f64 {
        let bounds = Bounds { max_items: 1000, max_bytes: None };
        let store = Store::new(engine, bounds, 0, &Evictions::default()).expect("the engine is compiled in");
        let (mut hits, mut all) = (0_u32, 0_u32);
        for id in requests() {
            let key = id.to_be_bytes();
            let hash = store.hash(&key);
            let found = if through_front {
                store.front(hash, &key).is_some() || store.read(hash, &key, |_| ()).is_some()
            } else {
                store.get(&key).is_some()
            };
            if !found {
                let record = Record::new(&key, Stored::None, 0, 0, u64::MAX, CellSet::default());
                drop(store.map().insert(key.into(), Arc::new(record)));
            }
            hits += u32::from(found);
            all += 1;
        }
        f64::from(hits) / f64::from(all)
    }

    fn front_keeps_the_hit_ratio(engine: Engine) {
        let (map, both) = (hit_ratio(engine, false), hit_ratio(engine, true));
        assert!(map > 0.3, "{engine}: {map}");
        assert!(both > map - 0.01, "{engine}: {both} with a front, {map} without");
    }

    #[cfg(feature = "quick_cache")]
    #[test]
    fn quick_cache_evicts_as_well_with_a_front() {
        front_keeps_the_hit_ratio(Engine::QuickCache);
    }

    #[cfg(feature = "moka")]
    #[test]
    fn moka_evicts_as_well_with_a_front() {
        front_keeps_the_hit_ratio(Engine::Moka);
    }
}

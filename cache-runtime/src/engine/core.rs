//! What one cache is made of. Built once by the facade; everything in the engine works on it.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::aging::Pauses;
use super::name::{self, Covers};
use super::shared::Shared;
use crate::background::Background;
use crate::cell::CellSet;
use crate::clock::{Clock, FOREVER, Nanos};
use crate::error::{Error, ErrorKind};
use crate::flight::Flights;
use crate::key::{KeyWriter, Prefix};
use crate::memory::{Bounds, Engine, Evictions, Map, Removed, Store};
use crate::meter;
use crate::policy::{self, Buckets, Jitter, Lifetime};
use crate::record::{Record, Stored};
use crate::site::Site;
use crate::stats::{Counters, Departures};
use crate::tags::Cells;
use crate::tenant::Tenant;

/// Says how many bytes an entry takes, by logical key and value.
pub(crate) type Weigher = Arc<dyn Fn(&str, &dyn Any) -> u64 + Send + Sync>;

/// Everything that was decided at start-up.
#[derive(Clone)]
pub(crate) struct Settings {
    /// `svc:v1:`
    pub(crate) prefix: Box<[u8]>,
    pub(crate) engine: Engine,
    pub(crate) bounds: Bounds,
    pub(crate) buckets: Buckets,
    pub(crate) namespace: Option<Box<str>>,
    pub(crate) enabled: bool,
    pub(crate) stats: bool,
    pub(crate) enforce_tenant: bool,
    pub(crate) weigher: Option<Weigher>,
    pub(crate) clock: Clock,
    /// Who is told what is counted.
    pub(crate) meter: meter::Scope,
    /// Whether spans may say which key they are about.
    pub(crate) says_keys: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("prefix", &String::from_utf8_lossy(&self.prefix))
            .field("engine", &self.engine)
            .field("bounds", &self.bounds)
            .field("namespace", &self.namespace)
            .field("enabled", &self.enabled)
            .field("enforce_tenant", &self.enforce_tenant)
            .finish_non_exhaustive()
    }
}

/// One cache.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) cells: Arc<Cells>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) evictions: Evictions,
    pub(crate) started: Nanos,
    hurdles: Hurdles,
    functions: Functions,
    /// What every key begins with.
    prefix: Prefix,
    /// Stores of memoized functions that have a capacity of their own.
    private: RwLock<Vec<Arc<Store>>>,
    /// Where entries are that other processes share.
    pub(crate) shared: Option<Arc<Shared>>,
    pub(crate) background: Arc<Background>,
    /// Keys whose source has just failed.
    pub(crate) pauses: Pauses,
    /// Servers of which a recorder was told.
    #[cfg(feature = "metrics")]
    pub(crate) servers: meter::Published,
}

/// What may keep functions from using a cache, in one byte, so that a call that nothing keeps asks once.
#[derive(Debug)]
pub(crate) struct Hurdles(AtomicU8);

impl Hurdles {
    /// It was closed.
    pub(crate) const CLOSED: u8 = 1;
    /// A test wants failures.
    pub(crate) const FAILING: u8 = 2;
    /// It is switched off.
    pub(crate) const DISABLED: u8 = 4;
    /// Whoever has no tenant may not use it.
    pub(crate) const TENANT: u8 = 8;

    fn new(settings: &Settings) -> Self {
        let disabled = if settings.enabled { 0 } else { Self::DISABLED };
        let tenant = if settings.enforce_tenant { Self::TENANT } else { 0 };
        Self(AtomicU8::new(disabled | tenant))
    }

    #[inline]
    fn now(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, hurdle: u8, on: bool) {
        if on {
            self.0.fetch_or(hurdle, Ordering::AcqRel);
        } else {
            self.0.fetch_and(!hurdle, Ordering::AcqRel);
        }
    }
}

impl Core {
    /// `share` makes the backend that other processes share, if there is one.
    pub(crate) fn new(
        settings: Settings,
        share: impl FnOnce(&Settings, &Arc<Background>, &Arc<Cells>) -> Option<Arc<Shared>>,
    ) -> Result<Arc<Self>, Error> {
        let background = Arc::new(Background::default());
        let cells = Arc::new(Cells::new());
        let shared = share(&settings, &background, &cells);
        let evictions = Arc::new(Departures::new(&settings.meter));
        let store = Store::new(settings.engine, settings.bounds, settings.prefix.len(), &evictions)?;
        Ok(Arc::new(Self {
            store,
            cells,
            flights: Arc::new(Flights::new()),
            evictions,
            started: settings.clock.now(),
            hurdles: Hurdles::new(&settings),
            functions: Functions::default(),
            prefix: Prefix::new(&settings.prefix),
            private: RwLock::new(Vec::new()),
            shared,
            background,
            pauses: Pauses::default(),
            #[cfg(feature = "metrics")]
            servers: meter::Published::default(),
            settings,
        }))
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.settings.clock.now()
    }

    /// A writer for a physical key of this tenant, or of none.
    pub(crate) fn writer(&self, tenant: Option<&Tenant>, seed: u64) -> KeyWriter {
        let mut writer = KeyWriter::new(seed);
        self.prefix(&mut writer, tenant);
        writer
    }

    /// Begins a physical key of this tenant, or of none. In place: a writer is too large to be moved on every hit.
    #[inline]
    pub(crate) fn prefix(&self, writer: &mut KeyWriter, tenant: Option<&Tenant>) {
        writer.begin(&self.prefix);
        if let Some(tenant) = tenant {
            name::tenant_prefix(writer, tenant);
        }
    }

    /// What this cache knows of `site`.
    #[inline]
    pub(crate) fn function(&self, site: &'static Site) -> &Function {
        self.functions.get(site, &self.settings)
    }

    /// All functions that used this cache.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter()
    }

    /// The store of `function`'s entries: its own where it has a capacity, else the cache's.
    #[inline]
    pub(crate) fn store_of<'c>(&'c self, function: &'c Function) -> &'c Store {
        if function.site.options.capacity.is_none() { &self.store } else { self.private_store(function) }
    }

    #[cold]
    fn private_store<'c>(&'c self, function: &'c Function) -> &'c Store {
        function.store.get_or_init(|| {
            let bounds = Bounds {
                max_items: function.site.options.capacity.unwrap_or(self.settings.bounds.max_items),
                max_bytes: None,
            };
            let store =
                Store::new(self.settings.engine, bounds, self.settings.prefix.len(), &self.evictions).map(Arc::new);
            // The engine was compiled in when this cache was built with it.
            let store = store.unwrap_or_else(|_| unreachable!("the cache's own engine exists"));
            self.private.write().push(Arc::clone(&store));
            store
        })
    }

    /// Visits every store: the cache's and those of functions with a capacity.
    pub(crate) fn each_store(&self, mut visit: impl FnMut(&dyn Map)) {
        visit(self.store.map());
        for store in self.private.read().iter() {
            visit(store.map());
        }
    }

    /// Changes what is under a physical key: nothing that began before may fill it after, and write-throughs that began
    /// before are told. What `change` takes out of the store is to be returned, so that it is dropped outside of the lock.
    pub(crate) fn change_key<R>(&self, physical: &[u8], change: impl FnOnce() -> R) -> R {
        self.cells.note(physical);
        self.flights.close(physical, change)
    }

    /// Drops the entry of a physical key and closes its flight and tickets. Returns whether there was one: a copy is none.
    pub(crate) fn drop_key(&self, physical: &[u8]) -> bool {
        let now = self.now();
        let removed = self.change_key(physical, || self.remove_everywhere(physical));
        self.evictions.invalidated.add(removed.len() as u64);
        removed.iter().any(|record| record.is_valid(now) && !record.is_copy)
    }

    /// Counts a record that left memory since it was of no use any more.
    pub(crate) fn departed(&self, record: &Record) {
        let why = if record.cells.is_live() { &self.evictions.expired } else { &self.evictions.invalidated };
        why.increment();
    }

    /// Removes a key from every store. Call it under the key's lock.
    #[must_use = "to be dropped where no lock is held"]
    pub(crate) fn remove_everywhere(&self, physical: &[u8]) -> Removed {
        let mut removed = Removed::new();
        self.each_store(|map| removed.extend(map.remove(physical)));
        removed
    }

    /// Removes what was stored before `began`, or at that very moment. Call it under the key's lock.
    #[must_use = "to be dropped where no lock is held"]
    pub(crate) fn remove_older(&self, physical: &[u8], began: Nanos) -> Removed {
        let mut removed = Removed::new();
        self.each_store(|map| {
            if map.get(physical).is_some_and(|record| record.created <= began) {
                removed.extend(map.remove(physical));
            }
        });
        removed
    }

    /// The valid record under a physical key. One that is not valid stays: this is called under the key's lock, where
    /// nothing of the user's may be dropped.
    pub(crate) fn valid(&self, store: &Store, physical: &[u8]) -> Option<Arc<Record>> {
        store.get(physical).filter(|record| record.is_valid(self.now()))
    }

    /// The names of the cells that every entry depends on, tags aside: the whole cache, the tenant, the function, the
    /// namespace.
    pub(crate) fn implicit_names(
        &self,
        tenant: Option<&Tenant>,
        site: &Site,
        namespace: Option<&[u8]>,
    ) -> impl Iterator<Item = name::CellName> + use<> {
        let default = self.settings.namespace.as_deref().map(str::as_bytes);
        [
            Some(name::cell(Covers::All, None, b"")),
            tenant.map(|_| name::cell(Covers::Tenant, tenant, b"")),
            Some(name::cell(Covers::Function, tenant, &function_name(site))),
            namespace.or(default).map(|namespace| name::cell(Covers::Namespace, tenant, namespace)),
        ]
        .into_iter()
        .flatten()
    }

    /// The cells of [`implicit_names`](Self::implicit_names).
    pub(crate) fn implicit_cells(
        &self,
        tenant: Option<&Tenant>,
        site: &Site,
        namespace: Option<&[u8]>,
        into: &mut CellSet,
    ) {
        for name in self.implicit_names(tenant, site, namespace) {
            into.push(self.cells.acquire(&name));
        }
    }

    /// When a value stored now expires; `None`: not to be stored.
    pub(crate) fn expiry(&self, now: Nanos, life: Lifetime, jitter: Jitter) -> Option<Nanos> {
        let chance = if jitter == Jitter::None { 0 } else { chance() };
        policy::expiry(now, life, jitter, &self.settings.buckets, chance)
    }

    /// The bytes that an entry takes, roughly, or what the configured weigher says.
    pub(crate) fn bytes(&self, physical: &[u8], value: &Stored, bytes: impl FnOnce() -> u64) -> u64 {
        match (&self.settings.weigher, value) {
            (Some(weigher), Stored::Some(value)) => {
                weigher(std::str::from_utf8(self.logical(physical)).unwrap_or_default(), &**value)
            }
            _ => bytes() + physical.len() as u64 + size_of::<Record>() as u64,
        }
    }

    /// A physical key without prefix and version, tenant included.
    pub(crate) fn logical<'k>(&self, physical: &'k [u8]) -> &'k [u8] {
        physical.strip_prefix(&*self.settings.prefix).unwrap_or(physical)
    }

    /// Fails where the cache cannot be used by a direct call.
    pub(crate) fn usable(&self) -> Result<(), Error> {
        if self.hurdles.now() & Hurdles::CLOSED != 0 {
            return Err(Error::new(ErrorKind::Closed, "the cache was closed"));
        }
        if self.hurdles.now() & Hurdles::FAILING != 0 {
            return Err(Error::new(ErrorKind::Unavailable, "the store was told to fail by a test"));
        }
        Ok(())
    }

    /// What may keep annotated functions from using it; 0: nothing.
    #[inline]
    pub(crate) fn hurdles(&self) -> u8 {
        self.hurdles.now()
    }

    /// From now on nobody uses it.
    pub(crate) fn close(&self) {
        self.hurdles.set(Hurdles::CLOSED, true);
    }

    /// For a test that wants failures; see `testing`.
    #[cfg(feature = "testing")]
    pub(crate) fn set_failing(&self, failing: bool) {
        self.hurdles.set(Hurdles::FAILING, failing);
    }

    /// Drops expired and invalidated entries and unused cells. Returns how many entries went.
    pub(crate) fn sweep(&self) -> u64 {
        let now = self.now();
        let mut removed = Vec::new();
        self.each_store(|map| removed.extend(map.sweep(&mut |_, record| record.is_dead(now))));
        removed.iter().for_each(|record| self.departed(record));
        let swept = removed.len() as u64;
        // Their cells are free only once they are gone.
        drop(removed);
        self.cells.sweep();
        swept
    }
}

/// A function's name for its cell. The line tells apart what one place cannot: functions of a macro, for one.
pub(crate) fn function_name(site: &Site) -> Vec<u8> {
    [site.place().as_bytes(), &[0], &site.line.to_le_bytes()].concat()
}

/// Sixteen random bits, good enough to spread expiries.
fn chance() -> u16 {
    use std::hash::BuildHasher;
    static STATE: AtomicU64 = AtomicU64::new(0);
    let step = STATE.fetch_add(1, Ordering::Relaxed);
    static HASHER: OnceLock<foldhash::fast::RandomState> = OnceLock::new();
    (HASHER.get_or_init(foldhash::fast::RandomState::default).hash_one(step) >> 40) as u16
}

/// The end of the clock, for direct calls that ask for no expiry.
pub(crate) const NEVER: Nanos = FOREVER;

/// What one cache knows of one function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) site: &'static Site,
    pub(crate) counters: Counters,
    /// Whether calls are counted; what is degraded or lost always is.
    stats: bool,
    store: OnceLock<Arc<Store>>,
}

impl Function {
    /// The counters of what goes well, unless statistics are off.
    #[inline]
    pub(crate) fn tally(&self) -> Option<&Counters> {
        self.stats.then_some(&self.counters)
    }
}

/// Functions that are next to each other.
type Chunk = Box<[OnceLock<Function>]>;

/// Functions by their index: two look-ups without a lock.
#[derive(Debug)]
struct Functions {
    chunks: Box<[OnceLock<Chunk>]>,
}

const CHUNK: usize = 64;
/// 65 536 annotated functions in one program; past that they share the last one's counters.
const CHUNKS: usize = 1024;

impl Default for Functions {
    fn default() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }
}

impl Functions {
    #[inline]
    fn get(&self, site: &'static Site, settings: &Settings) -> &Function {
        let index = site.index().min(CHUNK * CHUNKS - 1);
        let chunk = self.chunks[index / CHUNK].get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        chunk[index % CHUNK].get_or_init(|| Function {
            site,
            counters: Counters::new(settings.meter.function(site.resource())),
            stats: settings.stats,
            store: OnceLock::new(),
        })
    }

    fn iter(&self) -> impl Iterator<Item = &Function> {
        self.chunks.iter().filter_map(OnceLock::get).flatten().filter_map(OnceLock::get)
    }
}

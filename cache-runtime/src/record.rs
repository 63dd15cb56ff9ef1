//! What the memory store keeps under one key: a typed value and what decides whether it may be served.
//! Pure apart from its atomics; policy and look-up live elsewhere.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use smallvec::SmallVec;

use crate::cell::CellSet;
use crate::clock::{FOREVER, Nanos};
use crate::policy::Lifetime;
use crate::sync;

/// A typed value behind a type-erased pointer; a hit never decodes.
pub(crate) type Erased = Arc<dyn Any + Send + Sync>;

/// What a load came to, as it is kept.
#[derive(Clone)]
pub enum Stored {
    /// `T`, whatever `Result`, `Option` and `Arc` the function wraps it in.
    Some(Erased),
    /// An absent value (negative caching).
    None,
    /// An error of the function (`ttl_err`).
    Err(Erased),
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Some(_) => "Some(..)",
            Self::None => "None",
            Self::Err(_) => "Err(..)",
        })
    }
}

/// One entry of the memory store. Validity travels with it: no table is asked on a hit.
///
/// What a hit reads comes first and in this order, so that it is in two neighbouring cache lines: on many keys a hit costs
/// what it costs to fetch them.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Record {
    /// It has left the map: no other way to it may serve it any more.
    retired: sync::AtomicBool,
    /// In which pass the map last heard of a hit. See `memory::front`.
    pass: AtomicU32,
    /// The epoch at which all cells were seen live. See [`Cells::epoch`](crate::tags::Cells::epoch).
    checked: sync::AtomicU64,
    expires: AtomicU64,
    /// Identity of the key template and schema version that the value was loaded for. 0 matches every template.
    pub(crate) template: u64,
    pub(crate) value: Stored,
    /// The physical key; most are short enough to be here.
    key: SmallVec<[u8; 36]>,
    hits: AtomicU64,
    last_access: AtomicU64,
    /// Hits that the map has answered.
    found: AtomicU32,
    /// In the store's unit: items, or bytes where the store is bounded by bytes.
    pub(crate) weight: u32,
    pub(crate) cells: CellSet,
    pub(crate) created: Nanos,
    /// How long the loader took. 0 when the value was set and not loaded.
    pub(crate) cost: Nanos,
    /// The lifetime that was asked for at run time, for sliding expiry; `None`: the function's own.
    pub(crate) life: Option<Lifetime>,
    /// Bytes of key and value, roughly.
    pub(crate) bytes: u64,
}

impl Record {
    pub(crate) fn new(
        key: &[u8],
        value: Stored,
        template: u64,
        created: Nanos,
        expires: Nanos,
        cells: CellSet,
    ) -> Self {
        Self {
            retired: sync::AtomicBool::new(false),
            pass: AtomicU32::new(0),
            checked: sync::AtomicU64::new(0),
            expires: AtomicU64::new(expires),
            template,
            value,
            key: SmallVec::from_slice(key),
            hits: AtomicU64::new(0),
            last_access: AtomicU64::new(created),
            found: AtomicU32::new(0),
            weight: 1,
            cells,
            created,
            cost: 0,
            life: None,
            bytes: 0,
        }
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether it is under `key`.
    #[inline]
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        crate::key::same(&self.key, key)
    }

    #[inline]
    pub(crate) fn expires(&self) -> Nanos {
        self.expires.load(Ordering::Relaxed)
    }

    pub(crate) fn set_expires(&self, at: Nanos) {
        self.expires.store(at, Ordering::Relaxed);
    }

    #[inline]
    fn is_unexpired(&self, now: Nanos) -> bool {
        let expires = self.expires();
        now < expires || expires == FOREVER
    }

    /// Whether it may be served: not expired and nothing it depends on invalidated.
    pub(crate) fn is_valid(&self, now: Nanos) -> bool {
        self.is_unexpired(now) && self.cells.is_live()
    }

    /// [`is_valid`](Self::is_valid) with one load instead of one per cell, where no cell at all was killed since somebody
    /// last looked at them. `epoch` was read before.
    ///
    /// Cells are killed before the epoch goes on. So whoever saw them live after reading `epoch` knows that nothing that
    /// happened up to it killed them, and may say so to those who read the same `epoch`.
    #[inline]
    pub(crate) fn is_valid_at(&self, now: Nanos, epoch: u64) -> bool {
        self.is_unexpired(now) && (self.checked.load(Ordering::Relaxed) == epoch || self.check(epoch))
    }

    #[cold]
    fn check(&self, epoch: u64) -> bool {
        let live = self.cells.is_live();
        if live {
            self.checked.store(epoch, Ordering::Relaxed);
        }
        live
    }

    /// Whether a value loaded for `template` may be read for this one.
    #[inline]
    pub(crate) fn fits(&self, template: u64) -> bool {
        self.template == template || self.template == 0 || template == 0
    }

    /// Says that it has left the map.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// Whether the map has heard of a hit in this pass.
    #[inline]
    pub(crate) fn is_of_pass(&self, pass: u32) -> bool {
        self.pass.load(Ordering::Relaxed) == pass
    }

    /// Notes a hit that the map has answered. Returns how many there were; hits at the same moment may be counted once.
    pub(crate) fn found(&self, pass: u32) -> u32 {
        self.pass.store(pass, Ordering::Relaxed);
        let found = self.found.load(Ordering::Relaxed).wrapping_add(1);
        self.found.store(found, Ordering::Relaxed);
        found
    }

    /// Counts a hit. Plain stores instead of read-modify-write: concurrent hits may be counted once, never too often.
    #[inline]
    pub(crate) fn touch(&self, now: Nanos) {
        self.hits.store(self.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // To the microsecond: threads that share a hot record write it less often.
        if now.saturating_sub(self.last_access.load(Ordering::Relaxed)) >= 1_000 {
            self.last_access.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(crate) fn last_access(&self) -> Nanos {
        self.last_access.load(Ordering::Relaxed)
    }

    /// The same entry with another value or other tags; its life and history are kept.
    pub(crate) fn remade(&self, value: Stored, cells: CellSet) -> Self {
        let mut record = Self::new(&self.key, value, self.template, self.created, self.expires(), cells);
        record.hits = AtomicU64::new(self.hits());
        record.last_access = AtomicU64::new(self.last_access());
        record.weight = self.weight;
        record.cost = self.cost;
        record.life = self.life;
        record.bytes = self.bytes;
        record
    }
}

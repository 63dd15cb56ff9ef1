//! What the memory store keeps under one key: a typed value and what decides whether it may be served.
//! Pure apart from two atomics; policy and look-up live elsewhere.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cell::CellSet;
use crate::clock::{FOREVER, Nanos};
use crate::policy::Lifetime;

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
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) value: Stored,
    /// Identity of the key template and schema version that the value was loaded for. 0 matches every template.
    pub(crate) template: u64,
    expires: AtomicU64,
    pub(crate) cells: CellSet,
    pub(crate) created: Nanos,
    /// How long the loader took. 0 when the value was set and not loaded.
    pub(crate) cost: Nanos,
    /// The lifetime that was asked for at run time, for sliding expiry; `None`: the function's own.
    pub(crate) life: Option<Lifetime>,
    /// Bytes of key and value, roughly.
    pub(crate) bytes: u64,
    /// In the store's unit: items, or bytes where the store is bounded by bytes.
    pub(crate) weight: u32,
    hits: AtomicU64,
    last_access: AtomicU64,
}

impl Record {
    pub(crate) fn new(value: Stored, template: u64, created: Nanos, expires: Nanos, cells: CellSet) -> Self {
        Self {
            value,
            template,
            expires: AtomicU64::new(expires),
            cells,
            created,
            cost: 0,
            life: None,
            bytes: 0,
            weight: 1,
            hits: AtomicU64::new(0),
            last_access: AtomicU64::new(created),
        }
    }

    #[inline]
    pub(crate) fn expires(&self) -> Nanos {
        self.expires.load(Ordering::Relaxed)
    }

    pub(crate) fn set_expires(&self, at: Nanos) {
        self.expires.store(at, Ordering::Relaxed);
    }

    /// Whether it may be served: not expired and nothing it depends on invalidated.
    #[inline]
    pub(crate) fn is_valid(&self, now: Nanos) -> bool {
        let expires = self.expires();
        (now < expires || expires == FOREVER) && self.cells.is_live()
    }

    /// Whether a value loaded for `template` may be read for this one.
    #[inline]
    pub(crate) fn fits(&self, template: u64) -> bool {
        self.template == template || self.template == 0 || template == 0
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
        Self {
            value,
            template: self.template,
            expires: AtomicU64::new(self.expires()),
            cells,
            created: self.created,
            cost: self.cost,
            life: self.life,
            bytes: self.bytes,
            weight: self.weight,
            hits: AtomicU64::new(self.hits()),
            last_access: AtomicU64::new(self.last_access()),
        }
    }
}

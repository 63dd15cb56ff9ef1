//! What the memory store keeps under one key: a typed value and what decides whether it may be served.
//! Pure apart from its atomics; policy and look-up live elsewhere.

use std::any::Any;
use std::cell::Cell;
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

/// Hits up to this number are counted one by one; a power of two.
const COUNTED: u64 = 128;

/// Whether this hit is counted, and for how many, of a record that had so many: one in `step` for `step`, where `step` is
/// about a 64th to a 128th of them. The sum is right on average and off by about a tenth (Morris, "Counting large numbers
/// of events in small registers", 1978).
#[inline]
fn chosen(hits: u64) -> Option<u64> {
    thread_local! {
        static TICK: Cell<u64> = const { Cell::new(0) };
    }
    // Multiples of the golden ratio, so that no rhythm in what a thread asks for meets a rhythm in what is chosen.
    let tick = TICK.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    TICK.set(tick);
    let log = hits.ilog2() - COUNTED.ilog2() + 1;
    (tick >> (64 - log) == 0).then_some(1 << log)
}

/// One entry of the memory store. Validity travels with it: no table is asked on a hit.
///
/// What a hit reads comes first and in this order, so that it is in two cache lines that are fetched together: on many keys
/// a hit costs what it costs to fetch them.
#[repr(C, align(64))]
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
    last_access: AtomicU64,
    /// The physical key; most are short enough to be here.
    key: SmallVec<[u8; 36]>,
    hits: AtomicU64,
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
    /// For how long it is of use after it has expired (`stale`, `stale_if_error`).
    pub(crate) window: Nanos,
    /// Whether it is a copy of what is on a shared backend.
    pub(crate) is_copy: bool,
    /// The function whose it is, by [`Site::index`](crate::site::Site::index): whoever stored it last, or a direct call.
    pub(crate) owner: usize,
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
            window: 0,
            is_copy: false,
            owner: usize::MAX,
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

    /// Whether it is of no use any more, not even as an old value.
    pub(crate) fn is_dead(&self, now: Nanos) -> bool {
        !(self.is_unexpired(now) || now < self.expires().saturating_add(self.window)) || !self.cells.is_live()
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
    ///
    /// What is hit more often is written less often, so that threads that share a hot record do not take its cache line
    /// from each other: past [`COUNTED`] hits every so many are counted by chance and together, and the time of the last
    /// one is to the millisecond.
    #[inline]
    pub(crate) fn touch(&self, now: Nanos) {
        let hits = self.hits.load(Ordering::Relaxed);
        if hits < COUNTED {
            self.hits.store(hits + 1, Ordering::Relaxed);
        } else if let Some(step) = chosen(hits) {
            self.hits.store(hits + step, Ordering::Relaxed);
        }
        if now.saturating_sub(self.last_access.load(Ordering::Relaxed)) >= 1_000_000 {
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
        record.is_copy = self.is_copy;
        record.owner = self.owner;
        record.window = self.window;
        record
    }
}

/// Without the key, which may have users' values in it.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("value", &self.value)
            .field("template", &format_args!("{:#018x}", self.template))
            .field("created", &self.created)
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new(b"k", Stored::None, 0, 0, FOREVER, CellSet::default())
    }

    #[test]
    #[cfg_attr(miri, ignore = "four million hits")]
    fn hits_are_exact_while_few_and_about_right_when_many() {
        let record = record();
        for hit in 1..=COUNTED {
            record.touch(0);
            assert_eq!(record.hits(), hit);
        }
        // Averaged over records: one alone may be off by more.
        let many = 200_000;
        let sum: u64 = (0..20)
            .map(|_| {
                let record = self::record();
                (0..many).for_each(|_| record.touch(0));
                record.hits()
            })
            .sum();
        let ratio = sum as f64 / (20 * many) as f64;
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_kill_is_seen_by_a_record_that_was_checked_before() {
        let cells = std::sync::Arc::new(crate::tags::Cells::new());
        let mut set = CellSet::default();
        set.push(cells.acquire(b"t"));
        let record = Record::new(b"k", Stored::None, 0, 0, FOREVER, set);
        assert!(record.is_valid_at(0, cells.epoch()));
        cells.invalidate(b"other");
        assert!(record.is_valid_at(0, cells.epoch()));
        cells.invalidate(b"t");
        assert!(!record.is_valid_at(0, cells.epoch()));
        assert!(!record.is_valid(0));
    }

    #[test]
    fn what_a_hit_reads_is_in_two_cache_lines() {
        assert_eq!(std::mem::offset_of!(Record, key), 64);
        assert!(std::mem::offset_of!(Record, found) <= 128);
    }
}

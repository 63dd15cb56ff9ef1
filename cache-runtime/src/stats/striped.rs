//! The counter for the hit path, striped by thread, so that hits on one function do not share a cache line.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Stripes that belong to one thread each, who then counts without a read-modify-write.
const OWN: usize = 16;
/// Stripes that the other threads share.
const SHARED: usize = 16;

/// A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// A counter for the hit path.
#[derive(Debug, Default)]
pub(crate) struct Striped(OnceLock<Box<[Padded; OWN + SHARED]>>);

/// Not looked for yet.
const UNKNOWN: usize = usize::MAX;

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(UNKNOWN) };
}

/// A stripe that belongs to this thread, until it ends.
#[derive(Debug)]
struct Owned(usize);

/// The own stripes that are taken, as bits.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Owned {
    /// Whoever takes a stripe sees what its former owner counted.
    fn take() -> Option<Self> {
        let free = |taken: usize| Some(taken.trailing_ones() as usize).filter(|free| *free < OWN);
        let took = TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| Some(taken | 1 << free(taken)?));
        took.ok().and_then(free).map(Self)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // What else the thread does while it ends is counted with others.
        STRIPE.set(OWN + self.0 % SHARED);
        TAKEN.fetch_and(!(1 << self.0), Ordering::AcqRel);
    }
}

#[inline]
fn stripe() -> usize {
    match STRIPE.get() {
        UNKNOWN => new_stripe(),
        stripe => stripe,
    }
}

#[cold]
fn new_stripe() -> usize {
    thread_local! {
        static OWNED: Option<Owned> = Owned::take();
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let owned = OWNED.try_with(|owned| owned.as_ref().map(|owned| owned.0)).ok().flatten();
    let stripe = owned.unwrap_or_else(|| OWN + NEXT.fetch_add(1, Ordering::Relaxed) % SHARED);
    STRIPE.set(stripe);
    stripe
}

impl Striped {
    /// Returns how many this thread has counted, or those that share its stripe.
    #[inline]
    pub(crate) fn increment(&self) -> u64 {
        let at = stripe();
        let count = &self.0.get_or_init(Box::default)[at].0;
        if at < OWN {
            let counted = count.load(Ordering::Relaxed) + 1;
            count.store(counted, Ordering::Relaxed);
            counted
        } else {
            count.fetch_add(1, Ordering::Relaxed) + 1
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.get().map_or(0, |stripes| stripes.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrent_increments_are_all_counted() {
        let counter = Striped::default();
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.increment();
                    }
                });
            }
        });
        assert_eq!(counter.sum(), 40_000);
    }
}

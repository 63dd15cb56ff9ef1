//! Invalidations on a shared backend: delivering them, and keeping those that could not be delivered. While any is kept, this
//! process does not trust the backend: what it covers may be stale there.
//!
//! Bounded: past the limit, one invalidation of everything takes the place of all.

use std::collections::HashSet;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::background::Background;
use crate::clock::{after, alive_now};
use crate::error::Error;
use crate::hybrid::L1;
use crate::sabotage::{self, Mutation};
use crate::stats::Counter;
use crate::store::{Cursor, Name, Op, Reply, SharedStore};
use crate::timer::{Sleep, within};

/// Names that are kept at most, and patterns.
const NAMES: usize = 10_000;
const SWEEPS: usize = 100;

/// How long to wait between two attempts: doubled up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(1));

/// How long to wait for an attempt that is under way.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What becomes invalid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Invalidation {
    /// Entries, leases and cells.
    pub(crate) names: Vec<Name>,
    /// What is found by looking.
    pub(crate) sweeps: Vec<Sweep>,
    /// [`Op::Mark`] and [`Op::Unmark`], done at once with the names and never kept: marks expire.
    pub(crate) marks: Vec<Op>,
}

/// What an invalidation came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    /// How many entries its patterns found.
    pub(crate) found: u64,
    /// Whether all marks were there that it removed.
    pub(crate) marked: bool,
}

/// Names that a scan has to find.
#[derive(Clone)]
pub(crate) struct Sweep {
    /// What the server looks for.
    pub(crate) glob: Vec<u8>,
    /// Which of what it finds is meant.
    pub(crate) meant: Judge,
}

/// Says what a name is to a sweep.
pub(crate) type Judge = Arc<dyn Fn(&[u8]) -> Meant + Send + Sync>;

/// What a name is to a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// An entry.
    Entry,
    /// What is kept beside one.
    Beside,
    /// Nothing.
    No,
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sweep(..)")
    }
}

impl Invalidation {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.sweeps.is_empty()
    }
}

/// Delivers an invalidation: one round trip, and for each pattern two scans.
async fn deliver(store: &dyn SharedStore, what: &Invalidation) -> Result<Delivered, Error> {
    let mut marked = true;
    if !what.names.is_empty() || !what.marks.is_empty() {
        // Marks come first: what is dropped before they are set could be stored again in between.
        let (set, removed): (Vec<Op>, Vec<Op>) =
            what.marks.iter().cloned().partition(|op| matches!(op, Op::Mark { .. }));
        let first_removed = set.len() + 1;
        let ops = set.into_iter().chain([Op::Drop(what.names.clone())]).chain(removed).collect();
        for (index, reply) in store.run(ops).await.into_iter().enumerate() {
            marked &= reply? != Reply::Flag(false) || index < first_removed;
        }
    }
    let mut found = 0;
    for sweep in &what.sweeps {
        // A load that runs has a lease: the first pass drops it, or the entry that the load has stored by then. What was
        // stored behind the first pass' back is there when the second begins.
        found += pass(store, sweep).await? + pass(store, sweep).await?;
    }
    Ok(Delivered { found, marked })
}

async fn pass(store: &dyn SharedStore, sweep: &Sweep) -> Result<u64, Error> {
    let mut found = 0;
    let mut next = Some(Cursor::default());
    while let Some(cursor) = next {
        let page = store.scan(&sweep.glob, cursor).await?;
        next = page.next;
        let of = |wanted: Meant| -> Vec<Name> {
            let names = page.names.iter().filter(|name| (sweep.meant)(name) == wanted);
            names.map(|name| Name::from(name.as_slice())).collect()
        };
        let (beside, entries) = (of(Meant::Beside), of(Meant::Entry));
        // Leases before entries: a load that runs is not to fill what was just dropped.
        let ops: Vec<Op> = [beside, entries].into_iter().map(Op::Drop).collect();
        let mut replies = store.run(ops).await.into_iter();
        let _ = replies.next().transpose()?;
        found += replies.next().transpose()?.map_or(Ok(0), Reply::count)?;
    }
    Ok(found)
}

/// Invalidations that could not be delivered yet.
pub(crate) struct Outbox {
    store: Arc<dyn SharedStore>,
    /// The cells of everything and of any invalidation at all, which take the place of what is too much.
    everything: [Name; 2],
    /// What is in memory of the backend, where it is a hybrid cache's.
    l1: Option<Arc<L1>>,
    kept: Mutex<Kept>,
    waiting: AtomicBool,
    /// Whether an attempt has failed since something waits.
    failing: AtomicBool,
    /// Tells the end of each attempt.
    attempted: Notify,
    /// Whether a task is delivering.
    running: AtomicBool,
    /// How many were kept, ever.
    total: Counter,
    closed: AtomicBool,
}

#[derive(Default)]
struct Kept {
    names: HashSet<Name>,
    sweeps: Vec<Sweep>,
    /// Changes with every addition, so that a delivery knows whether it was complete.
    generation: u64,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("waiting", &self.len()).finish_non_exhaustive()
    }
}

impl Outbox {
    pub(crate) fn new(store: Arc<dyn SharedStore>, everything: [Name; 2], l1: Option<Arc<L1>>, total: Counter) -> Self {
        Self {
            store,
            everything,
            l1,
            kept: Mutex::default(),
            waiting: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            attempted: Notify::new(),
            running: AtomicBool::new(false),
            total,
            closed: AtomicBool::new(false),
        }
    }

    /// Whether everything was delivered.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.waiting.load(Ordering::SeqCst)
    }

    /// How many names and patterns wait.
    pub(crate) fn len(&self) -> usize {
        let kept = self.kept.lock();
        kept.names.len() + kept.sweeps.len()
    }

    /// How many invalidations could not be delivered at once, ever.
    pub(crate) fn total(&self) -> u64 {
        self.total.get()
    }

    /// Has whoever records metrics know of that number.
    #[cfg(feature = "metrics")]
    pub(crate) fn tell(&self) {
        self.total.tell();
    }

    /// Delivers an invalidation, or keeps it.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the invalidation is kept.
    pub(crate) async fn send(
        self: &Arc<Self>,
        what: Invalidation,
        background: &Background,
    ) -> Result<Delivered, Error> {
        let parcel = self.parcel(what, background);
        let mut delivered = deliver(&*self.store, &parcel.what).await;
        if delivered.as_ref().is_err_and(Error::is_retryable) {
            // Once more: a server that is away fails at once, and one that was slow may have caught up.
            delivered = deliver(&*self.store, &parcel.what).await;
        }
        if delivered.is_ok() {
            parcel.arrived();
        }
        delivered
    }

    /// An invalidation that is kept if it is dropped before it arrived.
    pub(crate) fn parcel<'a>(self: &'a Arc<Self>, what: Invalidation, background: &'a Background) -> Parcel<'a> {
        Parcel { outbox: self, background, what }
    }

    /// Keeps an invalidation, to be delivered in the background.
    pub(crate) fn keep(self: &Arc<Self>, what: Invalidation, background: &Background) {
        if what.is_empty() || sabotage::is(Mutation::ForgetUndelivered) {
            return;
        }
        self.total.increment();
        let mut kept = self.kept.lock();
        kept.names.extend(what.names);
        kept.sweeps.extend(what.sweeps);
        kept.generation += 1;
        if kept.names.len() > NAMES || kept.sweeps.len() > SWEEPS {
            kept.names = HashSet::from(self.everything.clone());
            kept.sweeps.clear();
        }
        if !self.waiting.swap(true, Ordering::SeqCst) {
            self.failing.store(false, Ordering::SeqCst);
        }
        drop(kept);
        // After that: whoever copies what the backend says looks whether anything waits, after he has taken his cells.
        if let Some(l1) = &self.l1 {
            l1.forget();
        }
        self.kick(background);
    }

    /// Sees to it that somebody delivers.
    pub(crate) fn kick(self: &Arc<Self>, background: &Background) {
        if self.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut running = Running { outbox: Arc::clone(self), ended: false };
        let started = background.spawn(async move {
            let mut pause = PAUSES.0;
            while !running.is_done() {
                if !running.outbox.flush().await {
                    Sleep::until(after(alive_now(), pause)).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        });
        // Without a runtime the next call tries again: the closure, and with it `running`, was dropped.
        let _ = started;
    }

    /// Ends the attempts in the background: whoever waits for background work would wait for the server, too.
    pub(crate) fn retire(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Tries once more, and then no more. Returns whether everything was delivered.
    pub(crate) async fn close(&self) -> bool {
        self.retire();
        self.is_empty() || self.flush().await
    }

    /// Waits for the attempt that is under way, where none has failed yet: a caller that went away leaves behind what is
    /// delivered a moment later. Returns whether nothing is left.
    pub(crate) async fn settled(&self) -> bool {
        let settling = async {
            loop {
                let mut attempted = pin!(self.attempted.notified());
                attempted.as_mut().enable();
                if self.is_empty() || self.failing.load(Ordering::SeqCst) || self.closed.load(Ordering::SeqCst) {
                    return;
                }
                attempted.await;
            }
        };
        let _ = within(after(alive_now(), UNDER_WAY), settling).await;
        self.is_empty()
    }

    /// Delivers what is kept. Returns whether nothing is left.
    pub(crate) async fn flush(&self) -> bool {
        let all = self.attempt().await;
        self.attempted.notify_waiters();
        all
    }

    async fn attempt(&self) -> bool {
        let (what, generation) = {
            let kept = self.kept.lock();
            let names = kept.names.iter().cloned().collect();
            (Invalidation { names, sweeps: kept.sweeps.clone(), marks: Vec::new() }, kept.generation)
        };
        if deliver(&*self.store, &what).await.is_err() {
            self.failing.store(true, Ordering::SeqCst);
            return false;
        }
        let mut kept = self.kept.lock();
        if kept.generation != generation {
            // More came meanwhile; delivering all of it once more does no harm.
            return false;
        }
        *kept = Kept { generation, ..Kept::default() };
        // What this process did not deliver itself at once is not copied from before the delivery either.
        if let Some(l1) = &self.l1 {
            l1.forget();
        }
        self.waiting.store(false, Ordering::SeqCst);
        true
    }
}

/// The one task that delivers.
struct Running {
    outbox: Arc<Outbox>,
    ended: bool,
}

impl Running {
    /// Whether nothing is left to do. Decided while nobody can add anything: what is kept afterwards starts another task,
    /// rather than relying on one that is about to end.
    fn is_done(&mut self) -> bool {
        let outbox = &self.outbox;
        let _kept = outbox.kept.lock();
        if outbox.is_empty() || outbox.closed.load(Ordering::SeqCst) {
            outbox.running.store(false, Ordering::SeqCst);
            self.ended = true;
        }
        self.ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Another one may be at work by now.
        if !self.ended {
            self.outbox.running.store(false, Ordering::SeqCst);
        }
    }
}

/// An invalidation on its way. Dropped before it arrived, it is kept.
pub(crate) struct Parcel<'a> {
    outbox: &'a Arc<Outbox>,
    background: &'a Background,
    what: Invalidation,
}

impl Parcel<'_> {
    /// It was delivered.
    pub(crate) fn arrived(mut self) {
        self.what = Invalidation::default();
    }
}

impl Drop for Parcel<'_> {
    fn drop(&mut self) {
        self.outbox.keep(std::mem::take(&mut self.what), self.background);
    }
}

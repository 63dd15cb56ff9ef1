//! Invalidations on a shared backend: delivering them, and keeping those that could not be delivered. While any is kept, this
//! process does not trust the backend: what it covers may be stale there.
//!
//! Bounded: past the limit, one invalidation of everything takes the place of all.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::clock::{Nanos, after, alive_now};
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

/// How long a courier may be silent before another takes its place: its runtime is not being run. One that is only slow gets
/// company, and what two deliver does no harm.
const SILENCE: Duration = Duration::from_secs(5);

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
    at_work: Mutex<AtWork>,
    /// How many were kept, ever.
    total: Counter,
    closed: AtomicBool,
}

/// Who delivers in the background.
#[derive(Debug, Default)]
struct AtWork {
    /// Which courier; those before it end when they notice.
    generation: u64,
    /// When it was last seen at work; `None`: nobody is.
    beat: Option<Nanos>,
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
            at_work: Mutex::default(),
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
    pub(crate) async fn send(self: &Arc<Self>, what: Invalidation) -> Result<Delivered, Error> {
        let parcel = self.parcel(what);
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
    pub(crate) fn parcel(self: &Arc<Self>, what: Invalidation) -> Parcel<'_> {
        Parcel { outbox: self, what }
    }

    /// Keeps an invalidation, to be delivered in the background.
    pub(crate) fn keep(self: &Arc<Self>, what: Invalidation) {
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
        self.kick();
    }

    /// Sees to it that somebody delivers. Not as background work, which is waited for: this may go on for as long as the server
    /// is away.
    pub(crate) fn kick(self: &Arc<Self>) {
        // Without one the next call tries again.
        let Ok(runtime) = Handle::try_current() else { return };
        let generation = {
            let mut at_work = self.at_work.lock();
            let now = alive_now();
            if at_work.beat.is_some_and(|beat| now <= after(beat, SILENCE)) {
                return;
            }
            at_work.generation += 1;
            at_work.beat = Some(now);
            at_work.generation
        };
        // Under no lock: a runtime that has ended drops it here and now.
        runtime.spawn(Courier { outbox: Arc::downgrade(self), generation }.work());
    }

    /// The courier of this generation has ended.
    fn rests(&self, generation: u64) {
        let mut at_work = self.at_work.lock();
        // Another one may be at work by now.
        if at_work.generation == generation {
            at_work.beat = None;
        }
    }

    /// Tries once more, and then no more. Returns whether everything was delivered.
    pub(crate) async fn close(&self) -> bool {
        self.closed.store(true, Ordering::SeqCst);
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

/// The task that delivers. It keeps the outbox for an attempt and not between two: a cache that is gone delivers nothing.
struct Courier {
    outbox: Weak<Outbox>,
    generation: u64,
}

impl Courier {
    async fn work(self) {
        let mut attempts = pin!(self.attempts());
        poll_fn(|cx| {
            self.beat();
            attempts.as_mut().poll(cx)
        })
        .await;
    }

    async fn attempts(&self) {
        let mut pause = PAUSES.0;
        while let Some(outbox) = self.outbox.upgrade().filter(|outbox| !self.is_done(outbox)) {
            let all = outbox.flush().await;
            drop(outbox);
            if !all {
                Sleep::until(after(alive_now(), pause)).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }

    /// Its runtime is being run.
    fn beat(&self) {
        let Some(outbox) = self.outbox.upgrade() else { return };
        let mut at_work = outbox.at_work.lock();
        if at_work.generation == self.generation {
            at_work.beat = Some(alive_now());
        }
    }

    /// Whether nothing is left to do, or another does it. Decided while nobody can add anything: what is kept afterwards starts
    /// another courier, rather than relying on one that is about to end.
    fn is_done(&self, outbox: &Outbox) -> bool {
        let _kept = outbox.kept.lock();
        let done = outbox.is_empty() || outbox.closed.load(Ordering::SeqCst);
        if done {
            outbox.rests(self.generation);
        }
        done || outbox.at_work.lock().generation != self.generation
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        if let Some(outbox) = self.outbox.upgrade() {
            outbox.rests(self.generation);
        }
    }
}

/// An invalidation on its way. Dropped before it arrived, it is kept.
pub(crate) struct Parcel<'a> {
    outbox: &'a Arc<Outbox>,
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
        self.outbox.keep(std::mem::take(&mut self.what));
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::store::{Answer, Listener, Page, ServerInfo};

    /// A backend that is there or not, and keeps nothing.
    #[derive(Debug, Default)]
    struct Backend {
        up: AtomicBool,
    }

    impl SharedStore for Backend {
        fn run(&self, ops: Vec<Op>) -> Answer<'_, Vec<Result<Reply, Error>>> {
            let up = self.up.load(Ordering::SeqCst);
            let reply = move |_: Op| if up { Ok(Reply::Count(0)) } else { Err(away()) };
            Box::pin(async move { ops.into_iter().map(reply).collect() })
        }

        fn scan<'s>(&'s self, _: &'s [u8], _: Cursor) -> Answer<'s, Result<Page, Error>> {
            Box::pin(async { Err(away()) })
        }

        fn listen(&self, _: &Name) -> Answer<'_, Result<Box<dyn Listener>, Error>> {
            Box::pin(async { Err(away()) })
        }

        fn is_single(&self) -> bool {
            true
        }

        fn ready(&self) -> Answer<'_, Result<(), Error>> {
            Box::pin(async { Ok(()) })
        }

        fn ping(&self) -> Answer<'_, Result<(), Error>> {
            Box::pin(async { Ok(()) })
        }

        fn info(&self) -> Answer<'_, Result<ServerInfo, Error>> {
            Box::pin(async { Err(away()) })
        }

        fn close(&self) -> Answer<'_, ()> {
            Box::pin(async {})
        }
    }

    fn away() -> Error {
        Error::new(ErrorKind::Unavailable, "the server is away")
    }

    fn outbox() -> (Arc<Backend>, Arc<Outbox>) {
        let backend = Arc::new(Backend::default());
        let store = Arc::clone(&backend) as Arc<dyn SharedStore>;
        (backend, Arc::new(Outbox::new(store, [&b"all"[..], b"any"].map(Name::from), None, Counter::default())))
    }

    fn one() -> Invalidation {
        Invalidation { names: vec![Name::from(&b"e"[..])], ..Invalidation::default() }
    }

    fn current() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    async fn delivered(outbox: &Outbox) {
        let delivery = async {
            while !outbox.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        within(after(alive_now(), Duration::from_secs(20)), delivery).await.expect("nobody delivers");
    }

    /// Has it look as if its courier had been silent for too long.
    fn silent(outbox: &Outbox) {
        let mut at_work = outbox.at_work.lock();
        at_work.beat = at_work.beat.map(|beat| beat.saturating_sub(after(0, SILENCE * 2)));
    }

    #[test]
    fn a_runtime_that_is_not_run_any_more_keeps_nobody_else_from_delivering() {
        let (backend, outbox) = outbox();
        let (idle, other) = (current(), current());
        idle.block_on(async {
            outbox.keep(one());
            tokio::task::yield_now().await;
        });
        backend.up.store(true, Ordering::SeqCst);
        other.block_on(async {
            outbox.kick();
            assert_eq!(outbox.at_work.lock().generation, 1, "somebody has just been seen at work");
            silent(&outbox);
            outbox.kick();
            delivered(&outbox).await;
        });
        // The first one finds that it was replaced, and takes nobody's place.
        idle.block_on(async {
            outbox.keep(one());
            delivered(&outbox).await;
        });
    }

    #[test]
    fn a_courier_that_lives_is_not_replaced() {
        let (backend, outbox) = outbox();
        current().block_on(async {
            outbox.keep(one());
            silent(&outbox);
            let before = outbox.at_work.lock().beat;
            // It tries again after a pause, in vain, which is a sign of life.
            Sleep::until(after(alive_now(), PAUSES.1)).await;
            assert!(outbox.at_work.lock().beat > before);
            outbox.kick();
            assert_eq!(outbox.at_work.lock().generation, 1);
            backend.up.store(true, Ordering::SeqCst);
            delivered(&outbox).await;
        });
    }

    #[test]
    fn a_runtime_that_has_ended_keeps_nobody_else_from_delivering() {
        let (backend, outbox) = outbox();
        let ended = current();
        let handle = ended.handle().clone();
        drop(ended);
        {
            let _within = handle.enter();
            outbox.keep(one());
        }
        backend.up.store(true, Ordering::SeqCst);
        current().block_on(async {
            outbox.kick();
            delivered(&outbox).await;
        });
    }

    #[test]
    fn a_cache_that_is_gone_delivers_nothing() {
        let (backend, outbox) = outbox();
        current().block_on(async {
            outbox.keep(one());
            Sleep::until(after(alive_now(), PAUSES.0)).await;
            let gone = Arc::downgrade(&outbox);
            drop((outbox, backend));
            assert!(gone.upgrade().is_none());
        });
    }
}

//! The concurrent core under the model checker: the whole engine runs on `shuttle`'s locks and atomics (see `sync`), which
//! switches threads at each of them, in thousands of random and of priority-based (PCT) schedules.
//!
//! The invariant is P1, against a version number for a database: *a read that begins after a write returned shows at least
//! that write's version*; with a fence, *at least what was committed when the read began*. Bodies switch threads only where
//! they are pending, since what runs a loader is known per OS thread, and all of shuttle's threads are one.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread;

use crate::engine::call::Call;
use crate::engine::direct::loader_shape;
use crate::engine::read::{Mode, Step};
use crate::site::Site;
use crate::{Cache, cache_read, cache_write};

/// A database of one row, and the cache in front of it.
#[derive(Debug)]
struct Db {
    cache: Cache,
    committed: AtomicU64,
    /// What the last write that returned had committed.
    returned: AtomicU64,
}

/// Pending once.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Db {
    fn new() -> Arc<Self> {
        // Small: one is made for every schedule.
        let cache = Cache::builder().ignore_env().max_items(16).build_now().expect("it is a memory cache");
        Arc::new(Self { cache, committed: AtomicU64::new(0), returned: AtomicU64::new(0) })
    }

    fn now(&self) -> u64 {
        self.committed.load(SeqCst)
    }

    fn commit(&self) -> u64 {
        self.committed.fetch_add(1, SeqCst) + 1
    }

    /// Commits, with other threads before and after it.
    async fn write(&self) -> u64 {
        pause().await;
        let version = self.commit();
        pause().await;
        version
    }

    async fn load(&self) -> u64 {
        let version = self.now();
        pause().await;
        version
    }
}

type Soon<'a> = Pin<Box<dyn Future<Output = u64> + 'a>>;
type Act = for<'a> fn(&'a Db) -> Soon<'a>;

/// Reads and checks.
fn read(db: &Db, read: Act) {
    let floor = db.returned.load(SeqCst);
    let version = block_on(read(db));
    assert!(version >= floor, "stale: version {version}, though a write of {floor} had returned before the read began");
    assert!(version <= db.now(), "version {version} was never written");
}

/// Reads and checks against what was committed when the read began.
fn read_fenced(db: &Db, read: Act) {
    let floor = db.now();
    let version = block_on(read(db));
    assert!(
        version >= floor,
        "stale: version {version}, though {floor} was committed behind a fence when the read began"
    );
}

fn write(db: &Db, write: Act) {
    let version = block_on(write(db));
    db.returned.fetch_max(version, SeqCst);
}

/// Begins, and goes away when it has to wait.
fn give_up(db: &Db, act: Act) {
    let mut future = pin!(act(db));
    let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

/// One thread of a scenario.
#[derive(Clone, Copy)]
enum Thread {
    /// So many reads after one another.
    Reads(usize, Act),
    FencedReads(usize, Act),
    Writes(usize, Act),
    GivesUp(Act),
}
use Thread::{FencedReads, GivesUp, Reads, Writes};

fn scenario(reader: Act, threads: &[Thread]) {
    let db = Db::new();
    let running: Vec<_> = threads
        .iter()
        .map(|thread| {
            let (db, thread) = (Arc::clone(&db), *thread);
            thread::spawn(move || match thread {
                Reads(times, act) => (0..times).for_each(|_| read(&db, act)),
                FencedReads(times, act) => (0..times).for_each(|_| read_fenced(&db, act)),
                Writes(times, act) => (0..times).for_each(|_| write(&db, act)),
                GivesUp(act) => give_up(&db, act),
            })
        })
        .collect();
    for thread in running {
        thread.join().expect("it asserted nothing");
    }
    read(&db, reader);
    assert_eq!(db.cache.stats().flights, 0, "flights or tickets are left");
}

/// Schedules of each kind; `CACHE_MODEL_SCHEDULES` for more.
fn check(reader: Act, threads: &'static [Thread]) {
    let schedules = std::env::var("CACHE_MODEL_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 18;
    let run = move || scenario(reader, threads);
    shuttle::Runner::new(RandomScheduler::new(schedules), config.clone()).run(run);
    shuttle::Runner::new(PctScheduler::new(3, schedules), config).run(run);
}

// ----------------------------------------------------------------------------------------------------------------- reads

#[cache_read(key = "row", cache = db.cache, tags = ["a", "b"], namespace = "n", skip(db))]
async fn tagged(db: &Db) -> u64 {
    db.load().await
}
#[cache_read(key = "row", cache = db.cache, skip(db))]
async fn plain(db: &Db) -> u64 {
    db.load().await
}
#[cache_read(key = "row", cache = db.cache, tags = [late_tag(*result)], skip(db))]
async fn by_result(db: &Db) -> u64 {
    db.load().await
}
#[cache_read(key = "row:<id>", cache = db.cache, tags = ["a"], each(id in ids), skip(db))]
async fn batch(db: &Db, ids: Vec<u64>) -> std::collections::HashMap<u64, u64> {
    let version = db.load().await;
    ids.into_iter().map(|id| (id, version)).collect()
}

#[cache_read(key = "row:<id>", cache = db.cache, tags = ["a"], namespace = "n", skip(db))]
async fn numbered(db: &Db, id: u64) -> u64 {
    db.load().await + id
}

/// Known only from the result, though it is always the same.
fn late_tag(_: u64) -> &'static str {
    "late"
}

/// A function whose every running load counts as standing still.
static HASTY: Site = Site::read("hasty", "model", file!(), line!()).key("row").wait_ms(0);

async fn hasty(db: &Db) -> u64 {
    let call = Call::of(&HASTY, &db.cache);
    let key = call.key(|writer| writer.lit("row"));
    let mut early = call.early();
    early.tags(|tags| tags.add("a"));
    let load = match call.read(Mode::Read, &key, early, loader_shape::<u64, std::fmt::Error>()).await {
        Step::Done(version) => return version.unwrap_or_default(),
        Step::Load(load) => load,
    };
    let done = load.run(async { Ok(db.load().await) }).await;
    done.finish().await.unwrap_or_default()
}

const TAGGED: Act = |db| Box::pin(tagged(db));
const PLAIN: Act = |db| Box::pin(plain(db));
const BY_RESULT: Act = |db| Box::pin(by_result(db));
const BATCH: Act = |db| Box::pin(async { batch(db, vec![2, 1]).await[&1] });
const NUMBERED: Act = |db| Box::pin(numbered(db, 0));
const HASTE: Act = |db| Box::pin(hasty(db));
const REFRESH: Act = |db| Box::pin(tagged::refresh(db));

// ---------------------------------------------------------------------------------------------------------------- writes

#[cache_write(cache = db.cache, tags = ["a"])]
async fn write_tag(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, keys = ["row", "row:1"])]
async fn write_key(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, patterns = ["ro*"])]
async fn write_pattern(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, namespaces = ["n"])]
async fn write_namespace(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, tags = ["late"])]
async fn write_late(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, tags = ["a"], fence = "10s")]
async fn write_fenced(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, tags = ["late"], fence = "10s")]
async fn write_late_fenced(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, tags = ["a"], put = tagged(db))]
async fn put_tag(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, put = tagged(db))]
async fn put_alone(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, put = by_result(db))]
async fn put_late(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, tags = ["late"], put = by_result(db))]
async fn put_late_tag(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, tags = ["a"], fence = "10s", put = tagged(db))]
async fn put_fenced(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, tags = ["a"], recache = [tagged(db)])]
async fn recache(db: &Db) -> u64 {
    db.write().await
}
#[cache_write(cache = db.cache, tags = ["unrelated"], recache = [tagged(db)])]
async fn recache_alone(db: &Db) -> u64 {
    db.write().await
}
/// The one row, named by the result.
fn first(_: &u64) -> u64 {
    0
}
#[cache_write(cache = db.cache, put = numbered(db, first(result)))]
async fn put_of_result(db: &Db) -> u64 {
    db.write().await
}

async fn clear(db: &Db) -> u64 {
    let version = db.commit();
    db.cache.clear().await.expect("it works");
    version
}
async fn clear_function(db: &Db) -> u64 {
    let version = db.commit();
    tagged::clear(db).await.expect("it works");
    version
}
async fn delete(db: &Db) -> u64 {
    let version = db.commit();
    db.cache.delete("row").await.expect("it works");
    version
}
async fn label(db: &Db) -> u64 {
    db.cache.tag("row", "x").await.expect("it works");
    0
}
async fn invalidate_late(db: &Db) -> u64 {
    let version = db.commit();
    db.cache.invalidate("late").await.expect("it works");
    version
}
async fn unrelated(db: &Db) -> u64 {
    db.cache.invalidate("unrelated").await.expect("it works");
    0
}

macro_rules! models {
    ($($(#[$doc:meta])* $name:ident: $reader:expr, [$($thread:expr),* $(,)?];)*) => {
        $($(#[$doc])* #[test] fn $name() { check($reader, &[$($thread),*]); })*
    };
}

models! {
    /// P1
    a_tag: TAGGED, [Reads(2, TAGGED), Reads(2, TAGGED), Writes(2, |db| Box::pin(write_tag(db)))];
    /// P1
    a_key: PLAIN, [Reads(2, PLAIN), Reads(2, PLAIN), Writes(2, |db| Box::pin(write_key(db)))];
    /// P1
    a_pattern: PLAIN, [Reads(2, PLAIN), Reads(2, PLAIN), Writes(2, |db| Box::pin(write_pattern(db)))];
    /// P1
    a_namespace: TAGGED, [Reads(2, TAGGED), Reads(2, TAGGED), Writes(2, |db| Box::pin(write_namespace(db)))];
    /// P1
    everything: PLAIN, [Reads(2, PLAIN), Reads(2, PLAIN), Writes(2, |db| Box::pin(clear(db)))];
    /// P1
    a_function: TAGGED, [Reads(2, TAGGED), Reads(2, TAGGED), Writes(2, |db| Box::pin(clear_function(db)))];
    /// P1
    a_batch: BATCH, [Reads(1, BATCH), Reads(2, BATCH), Writes(2, |db| Box::pin(write_tag(db)))];
    /// P1
    a_batch_by_key: BATCH, [Reads(1, BATCH), Reads(2, BATCH), Writes(2, |db| Box::pin(write_key(db)))];
    /// P1: tags that are known after the load, with callers that join late.
    a_result_tag: BY_RESULT, [Reads(2, BY_RESULT), Reads(2, BY_RESULT), Writes(2, |db| Box::pin(write_late(db)))];
    /// P1: the window between a load's last look at its tags and its landing.
    late_joiners_never_get_what_was_invalidated_before_they_began: BY_RESULT,
        [Reads(1, BY_RESULT), Reads(2, BY_RESULT), Writes(1, |db| Box::pin(invalidate_late(db)))];
    /// P1: with invalidations of other things, which make callers join late.
    a_result_tag_beside_unrelated_ones: BY_RESULT, [
        Reads(2, BY_RESULT), Reads(1, BY_RESULT),
        Writes(1, |db| Box::pin(invalidate_late(db))), Writes(1, |db| Box::pin(unrelated(db))),
    ];
    /// P1
    a_refresh: TAGGED, [Reads(1, TAGGED), Reads(1, REFRESH), Writes(2, |db| Box::pin(write_key(db)))];
    /// P1, P3
    callers_that_go_away: TAGGED, [Reads(2, TAGGED), GivesUp(TAGGED), GivesUp(TAGGED), Writes(1, |db| Box::pin(write_tag(db)))];
    /// P1, P3
    callers_that_go_away_with_result_tags: BY_RESULT,
        [Reads(2, BY_RESULT), GivesUp(BY_RESULT), Writes(2, |db| Box::pin(write_late(db)))];
    /// P1, P3: every load is taken over by whoever comes next.
    take_over: HASTE, [Reads(2, HASTE), Reads(2, HASTE), Writes(2, |db| Box::pin(write_tag(db)))];
    /// P1, P3
    take_over_by_key: HASTE, [Reads(2, HASTE), Reads(2, HASTE), Writes(2, |db| Box::pin(write_key(db)))];
    /// P1
    a_fence: TAGGED, [FencedReads(2, TAGGED), FencedReads(2, TAGGED), Writes(2, |db| Box::pin(write_fenced(db)))];
    /// P1
    two_fences: TAGGED,
        [FencedReads(3, TAGGED), Writes(1, |db| Box::pin(write_fenced(db))), Writes(1, |db| Box::pin(write_fenced(db)))];
    /// P1
    a_fence_on_a_result_tag: BY_RESULT, [Reads(2, BY_RESULT), Reads(2, BY_RESULT), Writes(2, |db| Box::pin(write_late_fenced(db)))];
    /// P1
    two_write_throughs: TAGGED,
        [Reads(2, TAGGED), Writes(1, |db| Box::pin(put_tag(db))), Writes(1, |db| Box::pin(put_tag(db)))];
    /// P1
    two_write_throughs_without_tags: TAGGED,
        [Reads(2, TAGGED), Writes(1, |db| Box::pin(put_alone(db))), Writes(1, |db| Box::pin(put_alone(db)))];
    /// P1
    two_write_throughs_with_result_tags: BY_RESULT,
        [Reads(2, BY_RESULT), Writes(1, |db| Box::pin(put_late(db))), Writes(1, |db| Box::pin(put_late_tag(db)))];
    /// P1
    two_fenced_write_throughs: TAGGED,
        [Reads(2, TAGGED), Writes(1, |db| Box::pin(put_fenced(db))), Writes(1, |db| Box::pin(put_fenced(db)))];
    /// P1
    a_write_through_beside_a_write_by_tag: TAGGED,
        [Reads(2, TAGGED), Writes(1, |db| Box::pin(put_alone(db))), Writes(1, |db| Box::pin(write_tag(db)))];
    /// P1
    a_write_through_beside_a_write_by_key: TAGGED,
        [Reads(2, TAGGED), Writes(1, |db| Box::pin(put_tag(db))), Writes(1, |db| Box::pin(delete(db)))];
    /// P1
    a_write_through_beside_a_pattern: TAGGED,
        [Reads(2, TAGGED), Writes(1, |db| Box::pin(put_alone(db))), Writes(1, |db| Box::pin(write_pattern(db)))];
    /// P1
    a_write_through_with_result_tags_beside_a_write: BY_RESULT,
        [Reads(2, BY_RESULT), Writes(1, |db| Box::pin(put_late(db))), Writes(1, |db| Box::pin(write_late(db)))];
    /// P1: the key is known only after the body.
    two_write_throughs_named_by_their_results: NUMBERED,
        [Reads(2, NUMBERED), Writes(1, |db| Box::pin(put_of_result(db))), Writes(1, |db| Box::pin(put_of_result(db)))];
    /// P1
    a_write_through_named_by_its_result_beside_a_write: NUMBERED,
        [Reads(2, NUMBERED), Writes(1, |db| Box::pin(put_of_result(db))), Writes(1, |db| Box::pin(write_pattern(db)))];
    /// P1
    two_recaches: TAGGED, [Reads(2, TAGGED), Writes(1, |db| Box::pin(recache(db))), Writes(1, |db| Box::pin(recache(db)))];
    /// P1
    two_recaches_without_tags: TAGGED,
        [Reads(2, TAGGED), Writes(1, |db| Box::pin(recache_alone(db))), Writes(1, |db| Box::pin(recache_alone(db)))];
    /// P1: labelling an entry does not bring it back.
    labels: PLAIN, [Reads(2, PLAIN), Writes(2, |db| Box::pin(label(db))), Writes(1, |db| Box::pin(write_pattern(db)))];
}

//! P3: a leader that panics, is dropped, is forgotten, or never ends delays others and wedges nobody.

mod promise;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use cache_runtime::{Cache, cache_read, memoize};
use promise::{Db, Hand, Row, within, yields};

const SECOND: Duration = Duration::from_secs(1);

#[cache_read(key = "row:<id>", cache = db.cache, tags = ["tag:<id>"], namespace = "rows", skip(db))]
async fn row(db: &Db, id: u64) -> Row {
    db.read(id).await
}

#[cache_read(key = "quick:<id>", cache = db.cache, wait = "300ms", skip(db))]
async fn impatient(db: &Db, id: u64) -> Row {
    db.read(id).await
}

/// An error that cannot be cloned.
#[derive(Debug, PartialEq)]
struct Opaque(u64);

// -------------------------------------------------------------------------------------------------- leaders that end early

#[cache_read(key = "slow:<id>", cache = db.cache, tags = ["a:<id>", "b:<result.org>"], skip(db))]
async fn slow(db: &Db, id: u64) -> Row {
    yields(5).await;
    db.read(id).await
}

/// P3: whatever the await point at which the leader goes away, a waiter takes over and one more load is all it costs.
#[tokio::test]
async fn waiter_takes_over_when_leader_is_dropped_at_any_await_point() {
    for polls in 0..=6 {
        let db = Db::new();
        let mut leader = Hand::new(slow(&db, 1));
        for _ in 0..polls {
            if leader.poll().is_ready() {
                break;
            }
        }
        let mut waiters: Vec<_> = (0..3).map(|_| Hand::new(slow(&db, 1))).collect();
        if polls > 0 && polls < 6 {
            waiters.iter_mut().for_each(|waiter| assert!(waiter.poll().is_pending()));
            assert_eq!(db.loads(), 0);
        }
        drop(leader);
        for waiter in waiters {
            within(SECOND, "taking over", waiter.finish()).await;
        }
        assert_eq!(db.loads(), 1, "dropped after {polls} polls");
        assert_eq!(db.cache.stats().entries, 1);
        db.assert_settled();
    }
}

/// P3: a waiter that took over may go away too.
#[tokio::test]
async fn every_waiter_can_take_over_from_the_one_before() {
    let db = Db::new();
    db.close();
    let mut callers: std::collections::VecDeque<_> = (0..50).map(|_| Hand::begun(row(&db, 1))).collect();
    while callers.len() > 1 {
        callers.pop_front();
        let loads = db.loads();
        callers.iter_mut().for_each(|caller| assert!(caller.poll().is_pending()));
        assert_eq!(db.loads(), loads + 1, "one of them leads");
    }
    db.open();
    callers[0].ready();
    db.assert_settled();
}

/// P3
#[tokio::test]
async fn waiter_takes_over_when_leader_panics() {
    let cache = Cache::for_test();
    let loads = AtomicU64::new(0);
    let go = tokio::sync::Notify::new();
    let call = || async {
        cache
            .get_or_load("k", || async {
                if loads.fetch_add(1, SeqCst) == 0 {
                    go.notified().await;
                    panic!("the leader's own");
                }
                Ok::<u64, Opaque>(5)
            })
            .await
    };
    let mut leader = Hand::begun(call());
    let mut waiter = Hand::begun(call());
    go.notify_one();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| leader.poll()));
    assert!(panicked.is_err());
    assert!(waiter.wakes() > 0, "the waiter is woken");
    assert_eq!(waiter.ready(), Ok(5));
    assert_eq!(loads.load(SeqCst), 2);
    assert_eq!(cache.stats().flights, 0);
}

/// P3: a panic does not poison the key.
#[tokio::test]
async fn a_key_works_again_after_its_loader_panicked_alone() {
    let cache = Cache::for_test();
    for _ in 0..3 {
        let cache = cache.clone();
        let died =
            tokio::spawn(
                async move { cache.get_or_load("k", || async { panic!("always") }).await as Result<u64, Opaque> },
            );
        assert!(died.await.unwrap_err().is_panic());
    }
    assert_eq!(cache.get_or_load("k", || async { Ok::<u64, Opaque>(1) }).await, Ok(1));
    assert_eq!(cache.stats().flights, 0);
}

/// P3
#[tokio::test]
async fn a_dropped_waiter_disturbs_nobody() {
    let db = Db::new();
    db.close();
    let mut leader = Hand::begun(row(&db, 1));
    let mut first = Hand::begun(row(&db, 1));
    let second = Hand::begun(row(&db, 1));
    let mut third = Hand::begun(row(&db, 1));
    drop(second);
    assert!(leader.poll().is_pending() && first.poll().is_pending() && third.poll().is_pending());
    db.open();
    leader.ready();
    first.ready();
    third.ready();
    assert_eq!(db.loads(), 1);
    db.assert_settled();
}

/// P3
#[tokio::test]
async fn the_leader_finishes_and_stores_when_all_waiters_are_dropped() {
    let db = Db::new();
    db.close();
    let mut leader = Hand::begun(row(&db, 1));
    drop((0..100).map(|_| Hand::begun(row(&db, 1))).collect::<Vec<_>>());
    db.open();
    leader.ready();
    assert!(row::peek(&db, 1).await.unwrap().is_some());
    assert_eq!(db.loads(), 1);
    db.assert_settled();
}

/// P3: all go away, leader last or first; nothing is left.
#[tokio::test]
async fn nothing_is_left_when_everybody_goes_away() {
    for leader_first in [true, false] {
        let db = Db::new();
        db.close();
        let leader = Hand::begun(row(&db, 1));
        let waiters: Vec<_> = (0..10).map(|_| Hand::begun(row(&db, 1))).collect();
        if leader_first {
            drop(leader);
            drop(waiters);
        } else {
            drop(waiters);
            drop(leader);
        }
        db.assert_settled();
        db.open();
        assert_eq!(within(SECOND, "a new call", row(&db, 1)).await.version, 0);
    }
}

/// P3: a runtime that is shut down takes its tasks with it; waiters elsewhere go on.
#[test]
fn waiter_in_another_runtime_takes_over_when_the_leaders_runtime_shuts_down() {
    let db = Db::new();
    db.close();
    let leading = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let task = Arc::clone(&db);
    leading.spawn(async move { row(&task, 1).await });
    while db.loads() < 1 {
        std::thread::yield_now();
    }
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    waiting.block_on(async {
        let waiter = Hand::begun(row(&db, 1));
        tokio::task::spawn_blocking(move || drop(leading)).await.unwrap();
        db.open();
        within(SECOND, "taking over", waiter.finish()).await;
    });
    assert_eq!(db.loads(), 2);
    db.assert_settled();
}

// --------------------------------------------------------------------------------------------------- leaders that stand still

/// P3: a leader whose future is alive, was woken and is not polled (its owner forgot it) counts as gone after a second.
#[tokio::test]
async fn a_leader_that_is_woken_and_not_polled_is_taken_over() {
    let db = Db::new();
    db.close();
    let mut forgotten = Hand::begun(row(&db, 1));
    let waiters: Vec<_> = (0..5).map(|_| Hand::begun(row(&db, 1))).collect();
    db.open();
    assert!(forgotten.wakes() > 0);
    let work = async {
        for waiter in waiters {
            assert_eq!(waiter.finish().await.version, 0);
        }
    };
    within(3 * SECOND, "taking over from a forgotten leader", work).await;
    assert_eq!(db.loads(), 2, "one of the waiters loads, the others share it");
    assert_eq!(db.cache.stats().takeovers, 1);
    // Polled after all, it ends well and changes nothing.
    db.write();
    row::invalidate(&db, 1).await.unwrap();
    assert_eq!(forgotten.ready().version, 0);
    assert_eq!(row(&db, 1).await.version, 1);
    db.assert_settled();
}

/// P3: a slow leader that is polled when it is woken is not taken for a forgotten one.
#[tokio::test]
async fn a_leader_that_makes_progress_is_waited_for() {
    let db = Db::new();
    db.close();
    let leader = {
        let db = Arc::clone(&db);
        tokio::spawn(async move { row(&db, 1).await })
    };
    tokio::task::yield_now().await;
    let waiter = Hand::begun(row(&db, 1));
    let opener = async {
        tokio::time::sleep(Duration::from_millis(1300)).await;
        db.open();
    };
    let ((), _) = tokio::join!(opener, waiter.finish());
    leader.await.unwrap();
    assert_eq!(db.loads(), 1);
    db.assert_settled();
}

/// P3: `wait` bounds how long others wait for a leader that never ends.
#[tokio::test]
async fn waiters_load_themselves_after_wait() {
    let db = Db::new();
    db.close();
    let stuck = Hand::begun(impatient(&db, 1));
    let waiters: Vec<_> = (0..5).map(|_| Hand::begun(impatient(&db, 1))).collect();
    // The others' loads end at once; the first stays where it is, since nobody polls it.
    db.open();
    let work = async {
        for waiter in waiters {
            assert_eq!(waiter.finish().await.version, 0);
        }
    };
    within(2 * SECOND, "loading after wait", work).await;
    assert_eq!(db.loads(), 2, "one loads for all that waited");
    drop(stuck);
    db.assert_settled();
}

/// P3: with callers that go on arriving, too.
#[tokio::test]
async fn late_callers_are_served_while_a_leader_never_ends() {
    let db = Db::new();
    db.close();
    let stuck = Hand::begun(impatient(&db, 1));
    let mut callers = Vec::new();
    for _ in 0..6 {
        let db = Arc::clone(&db);
        callers.push(tokio::spawn(async move { impatient(&db, 1).await }));
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    db.open();
    for caller in callers {
        within(2 * SECOND, "a late caller", caller).await.unwrap();
    }
    drop(stuck);
    db.assert_settled();
}

/// P2: a loader that takes longer than `wait` is slow, not stuck: its value is stored, so that callers who go on
/// arriving do not load for ever.
#[tokio::test]
async fn a_load_that_takes_longer_than_wait_is_stored_while_callers_go_on_arriving() {
    #[cache_read(key = "lazy:<id>", cache = db.cache, wait = "50ms", skip(db))]
    async fn lazy(db: &Db, id: u64) -> Row {
        let row = db.read(id).await;
        tokio::time::sleep(Duration::from_millis(160)).await;
        row
    }
    let db = Db::new();
    let mut callers = Vec::new();
    for _ in 0..30 {
        let db = Arc::clone(&db);
        callers.push(tokio::spawn(async move { lazy(&db, 1).await }));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let entries = db.cache.stats().entries;
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(entries, 1, "after 600 ms of calls nothing is stored, and {} loads ran", db.loads());
    assert!(db.loads() <= 8, "{} loads", db.loads());
    db.assert_settled();
}

/// P3: callers that give up earlier than `wait` do not keep a key from ever working again: a leader that stands still
/// is given up on `wait` after it began, not after each caller began to wait.
#[tokio::test]
async fn a_stuck_leader_does_not_block_callers_with_timeouts_shorter_than_wait_for_ever() {
    let db = Db::new();
    db.close();
    let stuck = Hand::begun(impatient(&db, 1));
    tokio::task::yield_now().await;
    db.open();
    let mut served = false;
    for _ in 0..10 {
        let call = tokio::time::timeout(Duration::from_millis(100), impatient(&db, 1));
        served |= call.await.is_ok();
    }
    assert!(served, "a second after a leader stood still, callers with 100 ms still wait for it (wait = 300 ms)");
    drop(stuck);
    db.assert_settled();
}

/// P3: what a call waits is bounded by `wait`, however many leaders fail before it.
#[tokio::test]
async fn a_call_waits_no_longer_than_wait_however_many_leaders_fail() {
    #[cache_read(key = "failing:<id>", cache = db.cache, wait = "200ms", skip(db))]
    async fn failing(db: &Db, id: u64) -> Result<Row, Opaque> {
        db.read(id).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(Opaque(id))
    }
    let db = Db::new();
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let db = Arc::clone(&db);
            tokio::spawn(async move { failing(&db, 1).await.unwrap_err() })
        })
        .collect();
    let all = async {
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Opaque(1));
        }
    };
    within(Duration::from_millis(900), "40 callers of a failing source, each to wait 200 ms", all).await;
    db.assert_settled();
}

// ------------------------------------------------------------------------------------------------------------- runtimes

/// P4: a runtime without a timer is one in which programs run; waiting in it may not panic.
#[test]
fn waiting_in_a_runtime_without_a_timer_works() {
    let db = Db::new();
    db.close();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut leader = Hand::begun(row(&db, 1));
        let mut waiter = Hand::begun(row(&db, 1));
        db.open();
        leader.ready();
        assert_eq!(waiter.ready().version, 0);
    });
    db.assert_settled();
}

/// P4: outside of tokio, too.
#[test]
fn waiting_outside_of_tokio_works() {
    let db = Db::new();
    db.close();
    let mut leader = Hand::begun(row(&db, 1));
    let mut waiter = Hand::begun(row(&db, 1));
    db.open();
    leader.ready();
    assert_eq!(waiter.ready().version, 0);
    db.assert_settled();
}

/// P3: outside of tokio, `wait` bounds waiting too.
#[test]
fn wait_bounds_waiting_outside_of_tokio() {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let db = Db::new();
    db.close();
    let stuck = Hand::begun(impatient(&db, 1));
    let (done, finished) = std::sync::mpsc::channel();
    let thread = {
        let db = Arc::clone(&db);
        std::thread::spawn(move || {
            let mut waiting = std::pin::pin!(impatient(&db, 1));
            let waker = Unpark(std::thread::current());
            let waker = std::task::Waker::from(Arc::new(waker));
            let mut cx = std::task::Context::from_waker(&waker);
            loop {
                if let Poll::Ready(row) = waiting.as_mut().poll(&mut cx) {
                    done.send(row).unwrap();
                    return;
                }
                std::thread::park();
            }
        })
    };
    while db.cache.stats().misses < 2 {
        std::thread::yield_now();
    }
    db.open();
    let served = finished.recv_timeout(2 * SECOND).is_ok();
    drop(stuck);
    thread.join().unwrap();
    assert!(served, "a waiter outside of tokio waits for ever for a leader that nobody polls");
    db.assert_settled();
}

// ------------------------------------------------------------------------------------------------ users' code under our locks

/// A value whose drop uses the cache, as a connection or a guard may.
#[derive(Debug)]
struct Talkative(std::sync::Weak<Db>);

impl Drop for Talkative {
    fn drop(&mut self) {
        if let Some(db) = self.0.upgrade() {
            // Every shard is touched, so that any lock held meanwhile is met.
            for id in 0..200 {
                noted(&db, id);
            }
        }
    }
}

#[memoize(key = "noted:<id>", cache = db.cache, skip(db))]
fn noted(db: &Db, id: u64) -> u64 {
    id + db.now(id).version
}

#[memoize(key = "talk:<id>", cache = db.cache, skip(db))]
fn talkative(db: &Arc<Db>, id: u64) -> Arc<Talkative> {
    let _ = id;
    Arc::new(Talkative(Arc::downgrade(db)))
}

fn does_not_hang(what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    assert!(finished.recv_timeout(5 * SECOND).is_ok(), "{what} hangs");
}

/// P3
#[test]
fn a_value_whose_drop_uses_the_cache_can_be_replaced_and_dropped() {
    does_not_hang("dropping such an entry", || {
        let db = Db::new();
        talkative(&db, 1);
        talkative::invalidate(&db, 1).wait().unwrap();
        talkative(&db, 1);
        talkative::refresh(&db, 1);
        talkative(&db, 2);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(db.cache.delete_match("talk:*")).unwrap();
        talkative(&db, 3);
        runtime.block_on(db.cache.clear()).unwrap();
        runtime.block_on(db.cache.cleanup_expired()).unwrap();
    });
}

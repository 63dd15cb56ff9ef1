//! P2 and P3 in one process: one loader per key, and nothing that a caller does or fails to do wedges another.

mod promise;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
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

#[derive(Clone, Debug, PartialEq)]
struct Shared(u64);

// ------------------------------------------------------------------------------------------------------------- P2: one

async fn ten_thousand() {
    let db = Db::new();
    db.close();
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let db = Arc::clone(&db);
            tokio::spawn(async move { row(&db, 1).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    db.open();
    for caller in callers {
        assert_eq!(caller.await.unwrap().version, 0);
    }
    assert_eq!(db.loads(), 1);
    let stats = db.cache.stats();
    assert_eq!(stats.loads, 1);
    assert_eq!(stats.hits + stats.coalesced, 9_999, "{stats:?}");
    db.assert_settled();
}

/// P2
#[tokio::test]
async fn ten_thousand_callers_share_one_load_on_one_thread() {
    within(20 * SECOND, "10 000 callers", ten_thousand()).await;
}

/// P2
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_callers_share_one_load_on_many_threads() {
    within(20 * SECOND, "10 000 callers", ten_thousand()).await;
}

/// P2: callers on threads and runtimes of their own.
#[test]
fn callers_in_two_runtimes_share_one_load() {
    let db = Db::new();
    db.close();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let db = Arc::clone(&db);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(row(&db, 1))
            })
        })
        .collect();
    while db.cache.stats().misses < 2 {
        std::thread::yield_now();
    }
    db.open();
    for thread in threads {
        assert_eq!(thread.join().unwrap().version, 0);
    }
    assert_eq!(db.loads(), 1);
    db.assert_settled();
}

/// P2: different keys do not wait for one another.
#[tokio::test]
async fn loads_of_different_keys_run_at_once() {
    let db = Db::new();
    db.close();
    let mut held: Vec<_> = (0..100).map(|id| Hand::begun(row(&db, id))).collect();
    assert_eq!(db.loads(), 100);
    db.open();
    for hand in &mut held {
        hand.ready();
    }
    db.assert_settled();
}

/// P2: a refresh loads by itself, and those who miss meanwhile share that load.
#[tokio::test]
async fn callers_that_miss_during_a_refresh_join_it() {
    let db = Db::new();
    db.close();
    let mut refreshing = Hand::begun(row::refresh(&db, 1));
    let mut waiting = Hand::begun(row(&db, 1));
    db.open();
    refreshing.ready();
    waiting.ready();
    assert_eq!(db.loads(), 1);
    db.assert_settled();
}

// -------------------------------------------------------------------------------------------------- leaders that end early

static TURNS: AtomicU64 = AtomicU64::new(0);

#[cache_read(key = "slow:<id>", cache = db.cache, tags = ["a:<id>", "b:<result.org>"], skip(db))]
async fn slow(db: &Db, id: u64) -> Row {
    TURNS.fetch_add(1, SeqCst);
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
        let died = tokio::spawn(async move { cache.get_or_load("k", || async { panic!("always") }).await as Result<u64, Opaque> });
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

// ------------------------------------------------------------------------------------------------------------- recursion

#[cache_read(key = "deep:<id>", cache = db.cache, skip(db, depth))]
async fn deep(db: &Db, id: u64, depth: u64) -> u64 {
    db.read(id).await;
    if depth == 0 { 0 } else { Box::pin(deep(db, id, depth - 1)).await + 1 }
}

/// P3
#[tokio::test]
async fn a_function_that_calls_itself_with_the_same_key_does_not_deadlock() {
    let db = Db::new();
    assert_eq!(within(SECOND, "recursion", deep(&db, 1, 3)).await, 3);
    assert_eq!(within(SECOND, "recursion", deep(&db, 1, 3)).await, 3);
    assert_eq!(db.loads(), 4);
    db.assert_settled();
}

/// P3: through another cached function, with waiters.
#[tokio::test]
async fn recursion_through_another_cached_function_does_not_deadlock() {
    #[cache_read(key = "even:<id>", cache = db.cache, skip(db, depth))]
    async fn even(db: &Db, id: u64, depth: u64) -> u64 {
        db.read(id).await;
        if depth == 0 { 0 } else { Box::pin(odd(db, id, depth - 1)).await + 1 }
    }
    #[cache_read(key = "odd:<id>", cache = db.cache, skip(db, depth))]
    async fn odd(db: &Db, id: u64, depth: u64) -> u64 {
        db.read(id).await;
        Box::pin(even(db, id, depth)).await
    }
    let db = Db::new();
    db.close();
    let first = Hand::begun(even(&db, 1, 2));
    let second = Hand::begun(even(&db, 1, 2));
    db.open();
    let both = async { (first.finish().await, second.finish().await) };
    assert_eq!(within(SECOND, "recursion", both).await, (2, 2));
    db.assert_settled();
}

/// P3: two loads that wait for each other's keys, each in a task of its own, end within `wait`.
#[tokio::test]
async fn two_loads_that_wait_for_each_other_end() {
    #[cache_read(key = "knot:<id>", cache = db.cache, wait = "200ms", skip(db, other))]
    async fn knot(db: &Db, id: u64, other: Option<u64>) -> u64 {
        db.read(id).await;
        match other {
            Some(other) => Box::pin(knot(db, other, None)).await + id,
            None => id,
        }
    }
    let db = Db::new();
    db.close();
    let one = Hand::begun(knot(&db, 1, Some(2)));
    let two = Hand::begun(knot(&db, 2, Some(1)));
    db.open();
    let both = async { tokio::join!(one.finish(), two.finish()) };
    within(2 * SECOND, "two loads in a circle", both).await;
    db.assert_settled();
}

#[memoize(key = "fib:<n>", cache = db.cache, skip(db, same))]
fn sync_recursion(db: &Db, n: u64, same: bool) -> u64 {
    if same { sync_recursion(db, n, false) + 1 } else { 1 }
}

/// P3
#[test]
fn a_memoized_function_that_calls_itself_with_the_same_key_does_not_deadlock() {
    let db = Db::new();
    assert_eq!(sync_recursion(&db, 1, true), 2);
    assert_eq!(sync_recursion(&db, 1, true), 2);
    db.assert_settled();
}

// ------------------------------------------------------------------------------------------------------ what waiters share

#[cache_read(key = "err:<id>", cache = db.cache, skip(db))]
async fn opaque(db: &Db, id: u64) -> Result<Row, Opaque> {
    db.read(id).await;
    Err(Opaque(db.loads()))
}

#[cache_read(key = "shared_err:<id>", cache = db.cache, skip(db))]
async fn shared(db: &Db, id: u64) -> Result<Row, Shared> {
    db.read(id).await;
    Err(Shared(db.loads()))
}

/// P2: an error that cannot be cloned stays its caller's own, and one waiter leads next.
#[tokio::test]
async fn one_waiter_leads_next_after_an_error_that_cannot_be_cloned() {
    let db = Db::new();
    db.close();
    let mut leader = Hand::begun(opaque(&db, 1));
    let mut waiters: Vec<_> = (0..3).map(|_| Hand::begun(opaque(&db, 1))).collect();
    db.open();
    assert_eq!(leader.ready(), Err(Opaque(1)));
    db.close();
    waiters.iter_mut().for_each(|waiter| assert!(waiter.poll().is_pending()));
    assert_eq!(db.loads(), 2, "one of three leads");
    db.open();
    for waiter in &mut waiters {
        assert!(waiter.ready().is_err());
    }
    assert_eq!(db.loads(), 4);
    db.assert_settled();
}

/// P2: an error that can be cloned is shared with those who waited, and never stored.
#[tokio::test]
async fn a_cloneable_error_is_shared_and_not_stored() {
    let db = Db::new();
    db.close();
    let mut leader = Hand::begun(shared(&db, 1));
    let mut waiter = Hand::begun(shared(&db, 1));
    db.open();
    assert_eq!(leader.ready(), Err(Shared(1)));
    assert_eq!(waiter.ready(), Err(Shared(1)));
    assert_eq!(db.loads(), 1);
    assert_eq!(db.cache.stats().entries, 0);
    assert_eq!(shared(&db, 1).await, Err(Shared(2)));
    db.assert_settled();
}

#[cache_read(key = "unstored:<id>", cache = db.cache, cache_if = |row| row.version > 100, skip(db))]
async fn unstored(db: &Db, id: u64) -> Row {
    db.read(id).await
}

/// P2
#[tokio::test]
async fn a_value_that_is_not_stored_is_shared_with_those_who_waited() {
    let db = Db::new();
    db.close();
    let mut leader = Hand::begun(unstored(&db, 1));
    let mut waiters: Vec<_> = (0..10).map(|_| Hand::begun(unstored(&db, 1))).collect();
    db.open();
    leader.ready();
    waiters.iter_mut().for_each(|waiter| assert_eq!(waiter.ready().version, 0));
    assert_eq!(db.loads(), 1);
    assert_eq!(db.cache.stats().entries, 0);
    unstored(&db, 1).await;
    assert_eq!(db.loads(), 2);
    db.assert_settled();
}

/// P2: an absent value is shared too.
#[tokio::test]
async fn an_absent_value_is_shared_with_those_who_waited() {
    #[cache_read(key = "absent:<id>", cache = db.cache, ttl_none = "0s", skip(db))]
    async fn absent(db: &Db, id: u64) -> Option<Row> {
        db.read(id).await;
        None
    }
    let db = Db::new();
    db.close();
    let mut leader = Hand::begun(absent(&db, 1));
    let mut waiter = Hand::begun(absent(&db, 1));
    db.open();
    assert_eq!((leader.ready(), waiter.ready()), (None, None));
    assert_eq!(db.loads(), 1);
    assert_eq!(db.cache.stats().entries, 0);
    db.assert_settled();
}

// ---------------------------------------------------------------------------------------------------- result-derived tags

#[cache_read(key = "member:<id>", cache = db.cache, tags = ["member:<id>", "org:<result.org>"], skip(db))]
async fn member(db: &Db, id: u64) -> Row {
    db.read(id).await
}

/// P2: a load whose tags are known only at its end is shared and stored while unrelated things are invalidated, so that
/// a busy cache does not load a hot key once per invalidation.
#[tokio::test]
async fn unrelated_invalidations_do_not_multiply_loads_with_result_tags() {
    let db = Db::new();
    db.close();
    let mut callers = vec![Hand::begun(member(&db, 1))];
    for unrelated in 0..20_u64 {
        db.cache.invalidate(format!("other:{unrelated}")).await.unwrap();
        callers.push(Hand::begun(member(&db, 1)));
    }
    db.open();
    callers.iter_mut().for_each(|caller| assert_eq!(caller.ready().version, 0));
    assert!(db.loads() <= 2, "{} loads of one key that nobody invalidated", db.loads());
    assert_eq!(db.cache.stats().entries, 1);
    db.assert_settled();
}

/// P2: and what was loaded first is stored, whoever came later.
#[tokio::test]
async fn unrelated_invalidations_do_not_keep_a_load_with_result_tags_from_being_stored() {
    let db = Db::new();
    db.close();
    let mut first = Hand::begun(member(&db, 1));
    db.cache.invalidate("other").await.unwrap();
    let mut second = Hand::begun(member(&db, 1));
    db.open();
    first.ready();
    assert_eq!(db.cache.stats().entries, 1, "nothing that it depends on was invalidated");
    second.ready();
    db.assert_settled();
}

// --------------------------------------------------------------------------------------------------------- synchronous

#[memoize(key = "sync:<id>", cache = db.cache, skip(db, begun, go))]
fn computed(db: &Db, id: u64, begun: &AtomicU64, go: &AtomicBool) -> u64 {
    begun.fetch_add(1, SeqCst);
    while !go.load(SeqCst) {
        std::thread::yield_now();
    }
    db.now(id).version
}

/// P2
#[test]
fn threads_that_call_a_memoized_function_block_and_share_one_run() {
    let db = Db::new();
    let (begun, go) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(|| computed(&db, 1, &begun, &go))).collect();
        while db.cache.stats().misses < 32 {
            std::thread::yield_now();
        }
        go.store(true, SeqCst);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 0);
        }
    });
    assert_eq!(begun.load(SeqCst), 1);
    db.assert_settled();
}

/// P3
#[test]
fn a_thread_takes_over_when_a_memoized_function_panics() {
    thread_local!(static ME: Cell<u64> = const { Cell::new(0) });
    #[memoize(key = "fragile:<id>", cache = db.cache, skip(db, begun, go))]
    fn fragile(db: &Db, id: u64, begun: &AtomicU64, go: &AtomicBool) -> u64 {
        let turn = begun.fetch_add(1, SeqCst);
        ME.set(turn + 1);
        while !go.load(SeqCst) {
            std::thread::yield_now();
        }
        assert_ne!(turn, 0, "the first one fails");
        id + db.now(id).version
    }
    let db = Db::new();
    let (begun, go) = (AtomicU64::new(0), AtomicBool::new(false));
    let panicked = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| fragile(&db, 5, &begun, &go))).collect();
        while db.cache.stats().misses < 8 {
            std::thread::yield_now();
        }
        go.store(true, SeqCst);
        threads.into_iter().filter(|_| true).map(std::thread::ScopedJoinHandle::join).filter(Result::is_err).count()
    });
    assert_eq!(panicked, 1);
    assert_eq!(begun.load(SeqCst), 2);
    db.assert_settled();
}

/// P3: synchronous waiters inside a runtime, with the leader in another thread.
#[test]
fn a_synchronous_waiter_inside_a_runtime_is_woken() {
    let db = Db::new();
    let (begun, go) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let leader = {
        let (db, begun, go) = (Arc::clone(&db), Arc::clone(&begun), Arc::clone(&go));
        std::thread::spawn(move || computed(&db, 1, &begun, &go))
    };
    while begun.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let opener = {
        let (db, go) = (Arc::clone(&db), Arc::clone(&go));
        std::thread::spawn(move || {
            while db.cache.stats().misses < 2 {
                std::thread::yield_now();
            }
            go.store(true, SeqCst);
        })
    };
    assert_eq!(runtime.block_on(async { computed(&db, 1, &begun, &go) }), 0);
    leader.join().unwrap();
    opener.join().unwrap();
    assert_eq!(begun.load(SeqCst), 1);
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

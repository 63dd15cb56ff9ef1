//! P2 and P3 in one process: one loader per key, what those who waited share, and functions that call themselves.
//! What becomes of leaders that go away or stand still is in `takeover`.

mod promise;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{cache_read, memoize};
use promise::{Db, Hand, Row, within};

const SECOND: Duration = Duration::from_secs(1);

#[cache_read(key = "row:<id>", cache = db.cache, tags = ["tag:<id>"], namespace = "rows", skip(db))]
async fn row(db: &Db, id: u64) -> Row {
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
    #[memoize(key = "fragile:<id>", cache = db.cache, skip(db, begun, go))]
    fn fragile(db: &Db, id: u64, begun: &AtomicU64, go: &AtomicBool) -> u64 {
        let turn = begun.fetch_add(1, SeqCst);
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
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).filter(Result::is_err).count()
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

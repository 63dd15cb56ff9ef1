//! P2 and P3 in one process, and of two caches that stand for two processes: who loads, what those who wait share, and that
//! nobody wedges anybody.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, cache_read};
use cache_tests::{Failed, Row, Source};
use tokio::task::JoinHandle;

use crate::backend::soon;

#[cache_read(key = "row:<id>", tags = ["group:<id>", "all"], namespace = "rows", skip(db))]
async fn tagged(db: &Source, id: u64) -> Row {
    db.row(id).await
}

/// A source that can be told to panic, or to be slow.
#[cache_read(key = "fragile:<id>", tags = ["fragile"], skip(db, fail))]
async fn fragile(db: &Source, id: u64, fail: bool) -> u64 {
    let n = db.tick();
    if fail {
        tokio::task::yield_now().await;
        panic!("the source of {id} panics");
    }
    n
}

#[cache_read(key = "held:<id>", lock = true, lock_ttl = "10s", skip(db))]
async fn held_row(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "impatient:<id>", wait = "150ms", skip(db))]
async fn impatient(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "impatient:locked:<id>", lock = true, wait = "150ms", skip(db))]
async fn impatient_locked(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "deep:<id>", skip(db, depth))]
async fn deep(db: &Source, id: u64, depth: u64) -> u64 {
    db.tick();
    if depth == 0 { id } else { Box::pin(deep(db, id, depth - 1)).await + 1 }
}

#[cache_read(key = "deep:locked:<id>", lock = true, skip(db, depth))]
async fn deep_locked(db: &Source, id: u64, depth: u64) -> u64 {
    db.tick();
    if depth == 0 { id } else { Box::pin(deep_locked(db, id, depth - 1)).await + 1 }
}

#[cache_read(key = "unstored:<id>", unless = |_| true, skip(db))]
async fn unstored(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "failing:<id>", skip(db))]
async fn failing(db: &Source, id: u64) -> Result<Row, Failed> {
    db.load(id).await
}

#[cache_read(key = "shared:failing:<id>", skip(db))]
async fn failing_shared(db: &Source, id: u64) -> Result<Option<Row>, cache_tests::Broken> {
    db.try_find(id).await
}

/// Starts `callers` calls in `cache`, the first of which is held, lets them in, and returns what they returned.
async fn crowd<R, F>(cache: &Cache, db: &Arc<Source>, callers: usize, call: impl Fn(Arc<Source>) -> F) -> Vec<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let held = db.hold().await;
    let tasks: Vec<JoinHandle<R>> = (0..callers).map(|_| tokio::spawn(cache.scope(call(Arc::clone(db))))).collect();
    soon("the first load", async || db.loads() > 0).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(held);
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("no caller panics"));
    }
    all
}

/// Fails a test that would hang.
async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("took longer than {limit:?}: {what}"))
}

const LONG: Duration = Duration::from_secs(8);

everywhere! {
    /// P2: callers of one process share one load, and what comes of it: a value, one that is not stored, an error.
    async fn callers_share_one_load(on: &On) {
        let db = Arc::new(Source::new());
        let all = crowd(&on.cache, &db, 200, |db| async move { tagged(&db, 7).await }).await;
        assert!(all.iter().all(|row| *row == Row::fresh(7)));
        assert_eq!(db.loads(), 1);
        let stats = tagged::stats();
        assert_eq!((stats.loads, stats.hits + stats.coalesced), (1, 199), "{stats:?}");
        let db = Arc::new(Source::new());
        let all = crowd(&on.cache, &db, 20, |db| async move { unstored(&db, 7).await }).await;
        assert!(all.iter().all(|row| *row == Row::fresh(7)));
        assert_eq!(db.loads(), 1);
        let db = Arc::new(Source::new());
        db.set_failing(true);
        let all = crowd(&on.cache, &db, 20, |db| async move { failing_shared(&db, 7).await }).await;
        assert!(all.iter().all(|row| *row == Err(cache_tests::Broken(1))), "{all:?}");
        assert_eq!(db.loads(), 1, "an error that can be cloned is shared");
        let db = Arc::new(Source::new());
        db.set_failing(true);
        let all = crowd(&on.cache, &db, 5, |db| async move { failing(&db, 7).await }).await;
        assert!(all.iter().all(|row| *row == Err(Failed)));
        assert_eq!(db.loads(), 5, "one that cannot is its caller's: the next one leads");
        assert_eq!(on.cache.stats().flights, 0);
    }

    /// P2 B3: with `lock`, one loader in all processes; the others are woken.
    async fn with_a_lock_one_loads_for_all(on: &On) {
        let (there, db) = (on.other().await, Arc::new(Source::new()));
        let held = db.hold().await;
        let tasks: Vec<_> = (0..60)
            .map(|n| {
                let cache = if n % 2 == 0 { &on.cache } else { &there };
                let db = Arc::clone(&db);
                tokio::spawn(cache.scope(async move { held_row(&db, 1).await }))
            })
            .collect();
        soon("the load", async || db.loads() == 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(held);
        for task in tasks {
            assert_eq!(within(LONG, "a waiter", task).await.unwrap(), Row::fresh(1));
        }
        assert_eq!(db.loads(), 1);
    }

    /// P2: loads of different keys do not wait for one another.
    async fn loads_of_different_keys_run_at_once(on: &On) {
        let db = Arc::new(Source::new());
        let held = db.hold().await;
        let tasks: Vec<_> = (0..50)
            .map(|id| {
                let db = Arc::clone(&db);
                tokio::spawn(on.cache.scope(async move { tagged(&db, id).await.id }))
            })
            .collect();
        soon("all run", async || db.loads() == 50).await;
        drop(held);
        for (id, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), id as u64);
        }
    }

    /// P3: a loader that panics takes nobody with it: a waiter takes over, and the key works again at once, everywhere.
    async fn a_waiter_takes_over_from_a_loader_that_panics(on: &On) {
        let (there, db) = (on.other().await, Arc::new(Source::new()));
        for round in 0..3 {
            let source = Arc::clone(&db);
            let panicking = tokio::spawn(on.cache.scope(async move { fragile(&source, round, true).await }));
            let source = Arc::clone(&db);
            let waiting = tokio::spawn(on.cache.scope(async move { fragile(&source, round, false).await }));
            // Either may lead; one of them panics where it loads.
            let (panicked, waited) = tokio::join!(panicking, within(LONG, "a waiter", waiting));
            waited.unwrap();
            assert!(panicked.is_ok() || panicked.unwrap_err().is_panic());
            let loads = db.loads();
            soon("it is stored", async || { fragile(&db, round, false).await; there.exists(fragile::key(round)).await.unwrap() }).await;
            assert!(db.loads() <= loads + 3);
        }
        assert_eq!(on.cache.stats().flights, 0);
    }

    /// P3: a loader that is dropped gives its lease back: who comes next, here or elsewhere, loads and stores.
    async fn a_loader_that_is_dropped_delays_nobody(on: &On) {
        let (there, db) = (on.other().await, Arc::new(Source::new()));
        for (round, cache) in [&on.cache, &there].into_iter().enumerate() {
            let id = round as u64;
            let (held, before) = (db.hold().await, db.loads());
            let source = Arc::clone(&db);
            let leader = tokio::spawn(on.cache.scope(async move { held_row(&source, id).await }));
            soon("it loads", async || db.loads() == before + 1).await;
            let source = Arc::clone(&db);
            let waiter = tokio::spawn(cache.scope(async move { held_row(&source, id).await }));
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert_eq!(db.loads(), before + 1);
            leader.abort();
            let _ = leader.await;
            // Long before the lease would have ended by itself.
            soon("the waiter loads", async || db.loads() == before + 2).await;
            drop(held);
            assert_eq!(within(LONG, "the waiter", waiter).await.unwrap(), Row::fresh(id));
            cache.scope(held_row(&db, id)).await;
            assert_eq!(db.loads(), before + 2, "it was stored");
        }
    }

    /// P3: a caller that goes away does not cancel the others.
    async fn a_caller_that_goes_away_cancels_nobody(on: &On) {
        let db = Arc::new(Source::new());
        let held = db.hold().await;
        let spawn = || {
            let db = Arc::clone(&db);
            tokio::spawn(on.cache.scope(async move { tagged(&db, 1).await }))
        };
        let leader = spawn();
        soon("it loads", async || db.loads() == 1).await;
        let waiters: Vec<_> = (0..10).map(|_| spawn()).collect();
        tokio::time::sleep(Duration::from_millis(30)).await;
        for waiter in &waiters[..5] {
            waiter.abort();
        }
        drop(held);
        assert_eq!(leader.await.unwrap(), Row::fresh(1));
        for (index, waiter) in waiters.into_iter().enumerate() {
            match waiter.await {
                Ok(row) => assert_eq!(row, Row::fresh(1)),
                Err(error) => assert!(index < 5 && error.is_cancelled()),
            }
        }
        assert_eq!(db.loads(), 1);
    }

    /// P3: `wait` bounds how long somebody else's load is waited for, here and elsewhere.
    async fn nobody_waits_longer_than_asked(on: &On) {
        let (there, db) = (on.other().await, Arc::new(Source::new()));
        macro_rules! waits {
            ($cache:expr, $function:ident) => {
                let (held, before) = (db.hold().await, db.loads());
                let source = Arc::clone(&db);
                let leader = tokio::spawn(on.cache.scope(async move { $function(&source, before).await }));
                soon("it loads", async || db.loads() == before + 1).await;
                let source = Arc::clone(&db);
                let waiter = tokio::spawn($cache.scope(async move { $function(&source, before).await }));
                soon("the waiter loads by itself", async || db.loads() == before + 2).await;
                drop(held);
                assert_eq!((leader.await.unwrap(), waiter.await.unwrap()), (Row::fresh(before), Row::fresh(before)));
            };
        }
        waits!(&on.cache, impatient);
        waits!(&on.cache, impatient_locked);
        waits!(&there, impatient_locked);
    }

    /// P3: a function that calls itself with its own key does not deadlock, with a lock or without.
    async fn a_function_that_calls_itself_does_not_deadlock(on: &On) {
        let db = Source::new();
        for _ in 0..2 {
            assert_eq!(within(LONG, "recursion", deep(&db, 1, 3)).await, 4);
            assert_eq!(within(LONG, "recursion with a lock", deep_locked(&db, 1, 3)).await, 4);
        }
        assert_eq!(db.loads(), 8);
        assert_eq!(on.cache.stats().flights, 0);
    }
}

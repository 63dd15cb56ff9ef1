//! Who loads: callers of one key that come together.

use std::sync::Arc;

use cache_runtime::{Cache, cache_read};
use cache_tests::{Broken, Failed, Row, Source, until};

mod shared {
    use super::*;

    #[cache_read(key = "shared:<id>", lock = true, lock_ttl = "60s", wait = "10s", skip(db))]
    pub(crate) async fn stats_of(db: &Source, id: u64) -> Row {
        db.row(id).await
    }

    #[cache_read(key = "shared:err:<id>", skip(db))]
    pub(crate) async fn cloneable_error(db: &Source, id: u64) -> Result<Option<Row>, Broken> {
        db.try_find(id).await
    }

    #[cache_read(key = "shared:failed:<id>", skip(db))]
    pub(crate) async fn own_error(db: &Source, id: u64) -> Result<Row, Failed> {
        db.load(id).await
    }

    #[cache_read(key = "shared:unstored:<id>", unless = |_| true, skip(db))]
    pub(crate) async fn never_stored(db: &Source, id: u64) -> Row {
        db.row(id).await
    }

    #[cache_read(key = "shared:arc:<id>", skip(db))]
    pub(crate) async fn arc(db: &Source, id: u64) -> Arc<Row> {
        Arc::new(db.row(id).await)
    }
}

/// Starts `callers` calls of which the first loads, lets them all get in, and returns what they returned.
async fn crowd<R: Send + 'static, F: Future<Output = R> + Send + 'static>(
    cache: &Cache,
    db: &Arc<Source>,
    callers: usize,
    call: impl Fn(Arc<Source>) -> F,
) -> Vec<R> {
    let held = db.hold().await;
    let tasks = (0..callers).map(|_| {
        let (cache, call) = (cache.clone(), call(Arc::clone(db)));
        tokio::spawn(async move { cache.scope(call).await })
    });
    let tasks: Vec<_> = tasks.collect();
    until("the first load", || db.loads() > 0).await;
    for _ in 0..callers * 4 {
        tokio::task::yield_now().await;
    }
    drop(held);
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("no caller panics"));
    }
    all
}

/// C10: a hundred callers of a cold key run the body once, and no trace of them is left.
#[tokio::test]
async fn a_hundred_callers_share_one_load() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let all = crowd(&cache, &db, 100, |db| async move { shared::stats_of(&db, 7).await }).await;
    assert!(all.iter().all(|row| *row == Row::fresh(7)));
    assert_eq!(db.loads(), 1);
    let stats = cache.scope(async { shared::stats_of::stats() }).await;
    assert_eq!((stats.loads, stats.coalesced), (1, 99));
    assert_eq!(cache.stats().flights, 0, "no lock is left behind");
}

/// C10: an error that can be cloned goes to everybody who waited; nobody loads again.
#[tokio::test]
async fn waiters_share_an_error_that_can_be_cloned() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    db.set_failing(true);
    let all = crowd(&cache, &db, 20, |db| async move { shared::cloneable_error(&db, 7).await }).await;
    assert!(all.iter().all(|row| *row == Err(Broken(1))), "{all:?}");
    assert_eq!(db.loads(), 1);
}

/// C10: an error that cannot be cloned stays with its caller; one waiter after the other leads.
#[tokio::test]
async fn waiters_of_an_error_that_cannot_be_cloned_lead_in_turn() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    db.set_failing(true);
    let all = crowd(&cache, &db, 5, |db| async move { shared::own_error(&db, 7).await }).await;
    assert!(all.iter().all(|row| *row == Err(Failed)));
    assert_eq!(db.loads(), 5);
    assert_eq!(cache.stats().flights, 0);
}

/// C10: a value that is not stored is still shared with those who waited for it.
#[tokio::test]
async fn waiters_share_a_value_that_is_not_stored() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let all = crowd(&cache, &db, 20, |db| async move { shared::never_stored(&db, 7).await }).await;
    assert!(all.iter().all(|row| *row == Row::fresh(7)));
    assert_eq!(db.loads(), 1);
    cache.scope(shared::never_stored(&db, 7)).await;
    assert_eq!(db.loads(), 2);
}

/// N13: a hit on `Arc<T>` is the same allocation, and so is what waiters get.
#[tokio::test]
async fn an_arc_is_shared_and_not_cloned() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let all = crowd(&cache, &db, 5, |db| async move { shared::arc(&db, 7).await }).await;
    let again = cache.scope(shared::arc(&db, 7)).await;
    assert!(all.iter().all(|row| Arc::ptr_eq(row, &again)));
}

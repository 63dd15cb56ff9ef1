//! What a user's own tests get (feature `testing`): caches that do not see each other, a clock to move, a store that fails.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, Engine, ErrorKind, TestCache, TestClock, cache_read, cache_write, memoize};
use cache_tests::{Row, Source};

#[cache_read(key = "user:<id>", ttl = "5m", skip(db))]
async fn get_user(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_write(tags = ["user:<id>"])]
async fn rename(db: &Source, id: u64, name: &str) -> Row {
    db.write(id, name)
}

#[memoize(skip(db))]
fn count(db: &Source) -> u64 {
    db.tick()
}

/// What a user's test does; several of them run at once in this process, on the same keys.
async fn a_users_test() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for round in 0..50_u64 {
                assert_eq!(get_user(&db, 1).await.version, round + 1);
                assert_eq!(db.loads(), round + 1);
                tokio::task::yield_now().await;
                get_user(&db, 1).await;
                assert_eq!(db.loads(), round + 1);
                assert_eq!(get_user::stats().loads, round + 1);
                rename(&db, 1, "next").await;
                tokio::task::yield_now().await;
            }
            assert_eq!(cache.stats().entries, 0);
        })
        .await;
}

/// A12: tests in parallel, each in a scope of its own, never see each other's entries, counters or invalidations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_scopes_do_not_see_each_other() {
    let tests: Vec<_> = (0..16).map(|_| tokio::spawn(a_users_test())).collect();
    for test in tests {
        test.await.unwrap();
    }
}

/// A12: and on a runtime with one thread, where they interleave.
#[tokio::test]
async fn interleaved_scopes_do_not_see_each_other() {
    tokio::join!(a_users_test(), a_users_test(), a_users_test(), a_users_test());
}

/// A12: a scope is a future like any other: it can be spawned, and outlives the handle it came from.
#[tokio::test]
async fn a_scope_can_be_spawned() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let task = {
        let db = Arc::clone(&db);
        tokio::spawn(cache.scope(async move { get_user(&db, 1).await }))
    };
    task.await.unwrap();
    let handle = cache.cache().clone();
    drop(cache);
    handle.scope(get_user(&db, 1)).await;
    assert_eq!(db.loads(), 1);
}

/// A12: the innermost scope counts, and the outer one is back after it; also for synchronous work.
#[tokio::test]
async fn scopes_nest() {
    let (outer, inner, db) = (Cache::for_test(), Cache::for_test(), Source::new());
    outer
        .scope(async {
            assert!(cache_runtime::cache().unwrap().is_same(&outer));
            assert_eq!(count(&db), 1);
            inner
                .scope(async {
                    assert!(cache_runtime::cache().unwrap().is_same(&inner));
                    assert_eq!(count(&db), 2);
                    outer.scope_blocking(|| assert_eq!(count(&db), 1));
                })
                .await;
            assert_eq!(count(&db), 1);
        })
        .await;
}

/// A12: a `TestCache` is a cache wherever one is asked for.
#[tokio::test]
async fn a_test_cache_is_a_cache() {
    fn takes(cache: &Cache) -> Cache {
        cache.clone()
    }
    let test: TestCache = Cache::for_test();
    assert!(takes(&test).is_same(test.cache()));
    assert!(Cache::from(test.clone()).is_same(&test));
    let by_ref: &Cache = test.as_ref();
    assert!(by_ref.is_same(&test));
    assert!(!Cache::for_test().is_same(&test));
}

/// A12: the clock stands still by itself, moves as told, and each cache has its own.
#[tokio::test]
async fn the_clock_moves_as_told() {
    let (cache, other, db) = (Cache::for_test(), Cache::for_test(), Source::new());
    for cache in [&cache, &other] {
        cache.scope(get_user(&db, 1)).await;
    }
    cache.advance(Duration::from_secs(299));
    cache.scope(get_user(&db, 1)).await;
    assert_eq!(db.loads(), 2);
    cache.clock().advance(Duration::from_secs(1));
    cache.scope(get_user(&db, 1)).await;
    assert_eq!(db.loads(), 3);
    other.scope(get_user(&db, 1)).await;
    assert_eq!(db.loads(), 3, "the other's clock did not move");
}

/// A12: a clock of one's own for a cache of one's own making, on either engine.
#[tokio::test]
async fn a_built_cache_takes_a_clock() {
    for engine in [Engine::QuickCache, Engine::Moka] {
        let clock = TestClock::new();
        let cache = Cache::builder().ignore_env().engine(engine).test_clock(&clock).build().await.unwrap();
        cache.set("k", 1_u8).ttl("1ms").await.unwrap();
        assert_eq!(cache.get::<u8>("k").await.unwrap(), Some(1));
        clock.advance(Duration::from_millis(1));
        assert_eq!(cache.get::<u8>("k").await.unwrap(), None);
        clock.advance(Duration::MAX);
        cache.set("k", 1_u8).ttl("forever").await.unwrap();
        assert_eq!(cache.get::<u8>("k").await.unwrap(), Some(1), "at the end of time");
    }
}

/// A12 P9: a store that fails on demand: sources are called, direct calls say so, and nothing stale comes back after it.
#[tokio::test]
async fn a_store_fails_on_demand() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 1).await;
            cache.set_failing(true);
            get_user(&db, 1).await;
            assert_eq!(db.loads(), 2);
            assert_eq!(cache.get::<Row>("user:1").await.unwrap_err().kind(), ErrorKind::Unavailable);
            rename(&db, 1, "while it failed").await;
            cache.set_failing(false);
            assert_eq!(get_user(&db, 1).await.name, "while it failed");
        })
        .await;
}

/// A12: both tokio flavours, and a thread without a runtime.
#[test]
fn both_flavours_and_none() {
    let work = async {
        let (cache, db) = (Cache::for_test(), Source::new());
        cache.scope(get_user(&db, 1)).await;
        cache.scope(get_user(&db, 1)).await;
        assert_eq!(db.loads(), 1);
        cache.close().await.unwrap();
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
        let tasks: Vec<_> = (0..32)
            .map(|n| {
                let (cache, db) = (cache.cache().clone(), Arc::clone(&db));
                tokio::spawn(async move { cache.scope(get_user(&db, n % 4)).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(db.loads(), 4);
    });
    drop(runtime);
    let (cache, db) = (Cache::for_test(), Source::new());
    assert_eq!(cache.scope_blocking(|| (count(&db), count(&db))), (1, 1));
}

/// A12: one cache serves several runtimes, one after the other.
#[test]
fn a_cache_outlives_a_runtime() {
    let (cache, db) = (Cache::for_test(), Source::new());
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(cache.scope(get_user(&db, 1)));
        drop(runtime);
    }
    assert_eq!(db.loads(), 1);
}

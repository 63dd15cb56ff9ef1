//! `#[memoize]`: results stay in this process, whatever the cache's backend, and fall with what this process invalidates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Tenant, cache_write, memoize};
use cache_tests::{Row, Source};

use crate::backend::soon;

/// Neither serializable nor comparable.
#[derive(Clone)]
struct Opaque(Arc<dyn Fn(u64) -> u64 + Send + Sync>);

#[memoize(skip(db))]
fn sync(db: &Source, n: u64, names: &[char]) -> u64 {
    let _ = (n, names);
    db.tick()
}

#[memoize(skip(db))]
async fn opaque(db: &Source, by: u64) -> Opaque {
    db.tick();
    Opaque(Arc::new(move |n| n * by))
}

#[memoize(key = "row:<id>", tags = ["rows", "row:<id>", "org:<result.org_id>"], skip(db))]
async fn row(db: &Source, id: u64) -> Arc<Row> {
    Arc::new(db.row(id).await)
}

#[memoize(key = "kept:<id>", capacity = 10, tags = ["rows"], skip(db))]
fn of_its_own(db: &Source, id: u64) -> u64 {
    let _ = id;
    db.tick()
}

#[memoize(ttl = "40ms", skip(db))]
fn short(db: &Source) -> u64 {
    db.tick()
}

#[memoize(ttl_err = "1h", ttl_none = "0s", skip(db))]
fn parsed(db: &Source, text: &str) -> Result<Option<u64>, std::num::ParseIntError> {
    db.tick();
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

#[memoize(cache_if = |n| n % 2 == 0, skip(db))]
fn even(db: &Source, n: u64) -> u64 {
    db.tick();
    n
}

static CALLS: AtomicU64 = AtomicU64::new(0);

#[memoize(key = "<on>:fib:<n>")]
fn fibonacci(on: &str, n: u64) -> u64 {
    CALLS.fetch_add(1, SeqCst);
    if n < 2 { n } else { fibonacci(on, n - 1) + fibonacci(on, n - 2) }
}

#[cache_write(tags = ["row:<id>"])]
async fn rename(db: &Source, id: u64) -> Row {
    db.write(id, "new")
}

#[cache_write(keys = ["row:<id>"], patterns = ["kept:*"])]
async fn drop_by_name(id: u64) {
    let _ = id;
}

everywhere! {
    /// B4 D5 E12: results are kept in this process: of sync and async functions, without serialization, by every parameter.
    async fn results_are_kept_in_this_process(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        assert_eq!((sync(&db, 1, &['a', 'b']), sync(&db, 1, &['a', 'b'])), (1, 1));
        assert_eq!((sync(&db, 1, &['a', ',', 'b']), sync(&db, 2, &['a', 'b'])), (2, 3));
        let (one, two) = (opaque(&db, 3).await, opaque(&db, 3).await);
        assert!(Arc::ptr_eq(&one.0, &two.0) && (one.0)(7) == 21);
        assert!(Arc::ptr_eq(&row(&db, 1).await, &row(&db, 1).await), "one allocation, whatever the backend");
        assert_eq!(db.loads(), 5);
        if on.is_shared() {
            assert_eq!(on.names().await, Vec::<String>::new(), "a server hears nothing of it");
            assert_eq!(on.other().await.scope(async { sync(&db, 1, &['a', 'b']) }).await, 6, "another process has its own");
        }
        assert_eq!(cache.stats().entries, 5);
        assert_eq!(sync::stats().hits, 1);
    }

    /// B4: lives, conditions, absences and errors are as for any function.
    async fn options_of_a_memoized_function(on: &On) {
        let db = Source::new();
        assert_eq!(short(&db), 1);
        soon("it is over", async || short(&db) > 1).await;
        let db = Source::new();
        let _ = (even(&db, 1), even(&db, 1), even(&db, 2), even(&db, 2));
        assert_eq!(db.loads(), 3);
        for _ in 0..2 {
            assert_eq!(parsed(&db, ""), Ok(None));
            assert_eq!(parsed(&db, "7"), Ok(Some(7)));
            assert!(parsed(&db, "x").is_err());
        }
        assert_eq!(db.loads(), 3 + 4, "an absence is not kept, an error is");
        let before = CALLS.load(SeqCst);
        let who = on.prefix();
        assert_eq!(fibonacci(&who, 60), 1_548_008_755_920);
        assert_eq!(fibonacci(&who, 60), 1_548_008_755_920);
        assert!(CALLS.load(SeqCst) - before <= 2 * 61, "another test may be counting, too");
    }

    /// B4 N11: the verbs, with and without waiting.
    async fn verbs_of_a_memoized_function(on: &On) {
        let db = Source::new();
        sync(&db, 1, &[]);
        assert_eq!(sync::peek(1, &[]).await.unwrap(), Some(1));
        sync::invalidate(1, &[]).wait().unwrap();
        assert_eq!(sync::peek(1, &[]).wait().unwrap(), None);
        sync::put(99, 1, &[]).await.unwrap();
        assert_eq!(sync(&db, 1, &[]), 99);
        assert_eq!(sync::refresh(&db, 1, &[]), 2);
        assert_eq!(sync(&db, 1, &[]), 2);
        assert_eq!(sync::bypass(&db, 1, &[]), 3);
        row(&db, 5).await;
        row::put(Row::fresh(9), 5).await.unwrap();
        assert_eq!(row::peek(5).await.unwrap().unwrap().id, 9);
        row::invalidate(5).await.unwrap();
        assert_eq!(row::peek(5).await.unwrap(), None);
        sync::clear().await.unwrap();
        assert_eq!(sync::peek(1, &[]).await.unwrap(), None);
        of_its_own(&db, 1);
        of_its_own::clear().await.unwrap();
        assert_eq!(of_its_own::peek(1).await.unwrap(), None);
        assert_eq!(on.cache.stats().entries, 0);
    }

    /// B4 P1: whatever this process invalidates takes memoized results with it, by every name that they go by.
    async fn an_invalidation_of_this_process_reaches_memoized_results(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        macro_rules! takes {
            ($call:expr, $row:expr, $own:expr) => {
                row(&db, 1).await;
                of_its_own(&db, 1);
                let _ = $call.await.unwrap();
                assert_eq!(row::peek(1).await.unwrap().is_none(), $row, "row: {}", stringify!($call));
                assert_eq!(of_its_own::peek(1).await.unwrap().is_none(), $own, "own: {}", stringify!($call));
            };
        }
        takes!(cache.invalidate("rows"), true, true);
        takes!(cache.invalidate("row:1"), true, false);
        takes!(cache.invalidate("org:0"), true, false);
        takes!(cache.invalidate("kept:1"), false, true);
        takes!(cache.invalidate_keys(["row:1"]), true, false);
        takes!(cache.invalidate_keys([of_its_own::key(1)]), false, true);
        takes!(cache.delete_match("row:*"), true, false);
        takes!(cache.delete_match("*:1"), true, true);
        takes!(cache.clear(), true, true);
        takes!(async { Ok::<_, ()>(rename(&db, 1).await) }, true, false);
        takes!(async { Ok::<_, ()>(drop_by_name(1).await) }, true, true);
        takes!(row::clear(), true, false);
        takes!(row::invalidate(1), true, false);
        takes!(cache.invalidate("other"), false, false);
        assert!(cache.ping().await.is_ok());
    }

    /// B4 P1: a memoized result falls to a direct call on its key, as any entry of that name.
    async fn a_direct_change_of_its_key_takes_a_memoized_result(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        macro_rules! takes {
            ($call:expr) => {
                cache.delete("row:1").await.unwrap();
                row(&db, 1).await;
                let _ = $call.await.unwrap();
                assert_eq!(row::peek(1).await.unwrap(), None, "{}", stringify!($call));
            };
        }
        takes!(cache.delete("row:1"));
        takes!(cache.expire("row:1", 0));
        assert!(cache.ping().await.is_ok());
    }

    /// B4 P1: a result that is computed while its tag is invalidated is not kept.
    async fn an_invalidation_wins_over_a_memoized_call_that_runs(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for tag in ["rows", "row:1", "org:0"] {
            let (held, before) = (db.hold().await, db.loads());
            let invalidate = async {
                soon("the call runs", async || db.loads() == before + 1).await;
                db.write(1, tag);
                cache.invalidate(tag).await.unwrap();
                drop(held);
            };
            tokio::join!(row(&db, 1), invalidate);
            assert_eq!(row(&db, 1).await.name, tag);
            cache.clear().await.unwrap();
        }
    }

    /// C5 B4: memoized results are a tenant's, too.
    async fn memoized_results_are_a_tenants(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let a = Tenant::new("a").unwrap();
        assert_eq!(sync(&db, 1, &[]), 1);
        assert_eq!(a.scope(async { sync(&db, 1, &[]) }).await, 2);
        a.scope(cache.clear()).await.unwrap();
        assert_eq!(sync(&db, 1, &[]), 1);
        assert_eq!(a.scope(async { sync(&db, 1, &[]) }).await, 3);
        cache.clear().await.unwrap();
        assert_eq!((sync(&db, 1, &[]), a.scope(async { sync(&db, 1, &[]) }).await), (4, 5));
    }

    /// B4 C8: results are kept without a server.
    async fn memoizing_needs_no_server(on: &On) {
        let (cache, db) = (on.with(|builder| builder).await, Source::new());
        let cache = if on.is_shared() {
            let away = cache_runtime::Cache::builder().ignore_env().url("redis://127.0.0.1:1");
            away.connect_timeout(Duration::from_millis(50)).build().await.unwrap()
        } else {
            cache
        };
        cache
            .scope(async {
                assert_eq!((sync(&db, 1, &[]), sync(&db, 1, &[])), (1, 1));
                assert!(Arc::ptr_eq(&row(&db, 1).await, &row(&db, 1).await));
                // The tag reaches what this process has, whatever becomes of the rest.
                let _ = cache.invalidate("rows").await;
                assert_eq!(row::peek(1).await.unwrap(), None);
            })
            .await;
    }
}

//! What a cache counts and says of itself: per cache and per function, and switched off.

use std::time::{Duration, SystemTime};

use cache_runtime::{Cache, FunctionStats, cache_read, cache_write, memoize};
use cache_tests::{Failed, Row, Source};

#[cache_read(key = "user:<id>", ttl = "1m", skip(db))]
async fn get_user(db: &Source, id: u64) -> Result<Row, Failed> {
    db.load(id).await
}

#[memoize(skip(db))]
fn count(db: &Source, n: u64) -> u64 {
    let _ = n;
    db.tick()
}

#[cache_read(key = "never:<id>", unless = |_| true, skip(db))]
async fn never_kept(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_write(tags = ["user:<id>"], recache = [get_user(db, id)])]
async fn rename(db: &Source, id: u64, name: &str) -> Row {
    db.write(id, name)
}

/// B8 E8 D9: hits, misses, hit rate, entries, bytes, oldest and newest.
#[tokio::test]
async fn a_cache_counts_hits_misses_and_entries() {
    let (cache, db) = (Cache::for_test(), Source::new());
    assert_eq!(cache.stats(), cache_runtime::CacheStats::default());
    assert_eq!(cache.stats().hit_rate().to_bits(), 0.0_f64.to_bits(), "and not NaN");
    cache
        .scope(async {
            for id in [1, 1, 1, 2] {
                get_user(&db, id).await.unwrap();
            }
            let _ = (count(&db, 1), count(&db, 1));
            cache.advance(Duration::from_secs(10));
            cache.set("k", 1_u64).await.unwrap();
            cache.get::<u64>("k").await.unwrap();
            cache.get::<u64>("nothing").await.unwrap();
            let stats = cache.stats();
            assert_eq!((stats.hits, stats.misses, stats.loads, stats.entries), (2 + 1 + 1, 2 + 1 + 1, 3, 4));
            assert!((stats.hit_rate() - 0.5).abs() < 1e-9);
            assert!(stats.bytes > 0);
            let (oldest, newest) = (stats.oldest.unwrap(), stats.newest.unwrap());
            assert_eq!(newest.duration_since(oldest).unwrap(), Duration::from_secs(10));
            assert!(oldest > SystemTime::UNIX_EPOCH);
            assert_eq!(stats.flights + stats.background + stats.evictions, 0);
        })
        .await;
}

/// B8 N11: each function by itself, by path, and only in the cache that it used.
#[tokio::test]
async fn functions_are_counted_by_themselves() {
    let (cache, other, db) = (Cache::for_test(), Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 1).await.unwrap();
            get_user(&db, 1).await.unwrap();
            count(&db, 1);
            never_kept(&db, 1).await;
            let functions = cache.stats().functions;
            let of = |name: &str| {
                functions.iter().find(|(path, _)| path.ends_with(&format!("::{name}"))).map(|(_, stats)| *stats)
            };
            assert_eq!(of("get_user"), Some(get_user::stats()));
            assert_eq!(of("count"), Some(count::stats()));
            assert_eq!(of("never_kept").unwrap().unstored, 1);
            let stats = get_user::stats();
            assert_eq!((stats.hits, stats.misses, stats.loads), (1, 1, 1));
            assert!(stats.to_string().contains("1 hits, 1 misses (50.0 %), 1 loads"), "{stats}");
        })
        .await;
    assert!(other.stats().functions.is_empty());
    assert_eq!(other.scope(async { get_user::stats() }).await, FunctionStats::default());
}

/// B8: errors, values not kept, values refused, invalidations and recaches have counters of their own.
#[tokio::test]
async fn what_did_not_go_as_usual_is_counted() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            db.set_failing(true);
            get_user(&db, 1).await.unwrap_err();
            db.set_failing(false);
            never_kept(&db, 1).await;
            rename(&db, 1, "new").await;
            let held = db.hold().await;
            let load = get_user(&db, 9);
            let invalidate = async {
                cache_tests::until("the load runs", || db.loads() == 4).await;
                cache.invalidate("user:9").await.unwrap();
                drop(held);
            };
            tokio::join!(load, invalidate).0.unwrap();
            let stats = cache.stats();
            assert_eq!((stats.errors, stats.unstored, stats.refused), (1, 1, 1));
            assert_eq!((stats.recached, stats.recache_failures), (1, 0));
            assert_eq!(stats.invalidations, 2, "the write and the direct one");
        })
        .await;
}

/// B8: how long loads took.
#[tokio::test]
async fn loads_are_timed() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for id in 0..10 {
                get_user(&db, id).await.unwrap();
                get_user(&db, id).await.unwrap();
            }
            let latency = get_user::stats().latency;
            assert_eq!(latency.count, 10, "hits are no loads");
            assert!(
                latency.p50 <= latency.p99 && latency.p99 <= latency.max && latency.max < Duration::from_secs(60),
                "{latency:?}"
            );
        })
        .await;
}

/// E8: expired and invalidated entries do not count as held.
#[tokio::test]
async fn what_has_gone_is_not_held() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for id in 0..10 {
                get_user(&db, id).await.unwrap();
            }
            cache.invalidate("user:1").await.unwrap();
            assert_eq!(cache.stats().entries, 9);
            cache.advance(Duration::from_secs(60));
            let stats = cache.stats();
            assert_eq!((stats.entries, stats.bytes, stats.oldest, stats.newest), (0, 0, None, None));
        })
        .await;
}

/// E8: with statistics off nothing is counted, and the cache works.
#[tokio::test]
async fn statistics_can_be_switched_off() {
    let cache = Cache::builder().ignore_env().stats(false).build().await.unwrap();
    let db = Source::new();
    cache
        .scope(async {
            for _ in 0..3 {
                get_user(&db, 1).await.unwrap();
            }
            assert_eq!(db.loads(), 1);
            let stats = cache.stats();
            assert_eq!((stats.hits, stats.misses, stats.loads), (0, 0, 0));
            assert_eq!(stats.entries, 1, "what is held can be seen");
            assert_eq!(get_user::stats().latency.count, 0);
        })
        .await;
}

/// P7 E10: cells, flights and entries are bounded under a stream of ever new keys and tags.
#[tokio::test]
async fn tables_stay_bounded_under_ever_new_keys() {
    #[cache_read(key = "stream:<id>", tags = ["stream:tag:<id>", "stream:value:<result.name>"], skip(db))]
    async fn stream(db: &Source, id: u64) -> Row {
        db.row(id).await
    }
    let cache = Cache::builder().ignore_env().max_items(100).build().await.unwrap();
    let db = Source::new();
    cache
        .scope(async {
            let mut most = 0;
            for id in 0..20_000 {
                stream(&db, id).await;
                cache.invalidate(format!("unused:{id}")).await.unwrap();
                if id % 1000 == 0 {
                    most = most.max(cache.stats().tags);
                }
            }
            let stats = cache.stats();
            assert!(stats.entries <= 100, "{}", stats.entries);
            assert!(stats.evictions >= 19_000, "{}", stats.evictions);
            assert!(most < 5_000 && stats.tags < 5_000, "{most} {}", stats.tags);
            assert_eq!(stats.flights, 0);
        })
        .await;
}

/// B8 N14: what a page shows of each function: what memory holds of it, what the cache saved, and how long a hit took.
#[tokio::test]
async fn each_function_is_listed_with_what_memory_holds_of_it() {
    let (cache, db) = (Cache::memory(), Source::new());
    cache
        .scope(async {
            for id in [1, 1, 2] {
                get_user(&db, id).await.unwrap();
            }
            for _ in 0..200 {
                count(&db, 7);
            }
            rename(&db, 9, "Ada").await;
        })
        .await;
    let functions = cache.functions();
    let names: Vec<_> = functions.iter().map(|info| info.function.name()).collect();
    assert_eq!(names, ["count", "get_user", "rename"], "by path");
    let of = |name: &str| *functions.iter().find(|info| info.function.name() == name).unwrap();
    assert_eq!((of("count").entries, of("get_user").entries, of("rename").entries), (1, 3, 0), "one was recached");
    assert!(of("get_user").bytes > of("count").bytes);
    assert_eq!(of("get_user").stats, cache.stats().functions[&of("get_user").function.path()]);
    let stats = of("count").stats;
    assert_eq!((stats.hits, stats.hit_latency.count), (199, 4), "one in 64, and the first");
    assert!(stats.hit_latency.p50 > Duration::ZERO && stats.hit_latency.p50 <= stats.hit_latency.p99);
    assert_eq!(stats.saved, stats.latency.mean * 199);
    assert!(Cache::memory().functions().is_empty());
}

/// B8: entries leave memory for one of three reasons, and each is counted as what it is.
#[tokio::test]
async fn entries_that_left_are_counted_by_why() {
    let cache = Cache::for_test();
    for (key, tag) in [("a", "x"), ("b", "x"), ("c", "y"), ("d", "z")] {
        cache.set(key, 1_u64).ttl("1m").tags([tag]).await.unwrap();
    }
    cache.invalidate("x").await.unwrap();
    assert_eq!(cache.get::<u64>("a").await.unwrap(), None);
    cache.delete("c").await.unwrap();
    let seen = cache.stats().evicted_by;
    assert_eq!((seen.full, seen.expired, seen.invalidated), (0, 0, 2), "`b` was not looked at");
    cache.advance(Duration::from_secs(60));
    assert_eq!(cache.cleanup_expired().await.unwrap(), 2);
    let seen = cache.stats().evicted_by;
    assert_eq!((seen.full, seen.expired, seen.invalidated), (0, 1, 3));
    let full = Cache::builder().ignore_env().max_items(10).build().await.unwrap();
    for id in 0..100_u64 {
        full.set(format!("k{id}"), id).await.unwrap();
    }
    let stats = full.stats();
    assert!(stats.evicted_by.full >= 90 && stats.evicted_by.full == stats.evictions, "{stats:?}");
}

//! What a cache says of itself and of an entry, which cache is used, and what it does at its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_runtime::{Cache, FunctionStats, cache_read, cache_write, memoize};
use cache_tests::{Failed, Row, Source};

use crate::backend::soon;

const SECOND: Duration = Duration::from_secs(1);

#[cache_read(key = "user:<id>", ttl = "1m", tags = ["users"], skip(db))]
async fn get_user(db: &Source, id: u64) -> Result<Row, Failed> {
    db.load(id).await
}

#[cache_read(key = "slow:<id>", skip(db))]
async fn slow(db: &Source, id: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(20)).await;
    db.tick() + id
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

/// Whether two times are the same for people.
fn close(one: SystemTime, other: SystemTime) -> bool {
    let apart = one.duration_since(other).or_else(|_| other.duration_since(one)).unwrap();
    apart < SECOND * 10
}

everywhere! {
    /// E9: an entry's history: created, expires, hits, last access, size and cost.
    async fn an_entry_has_a_history(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        assert_eq!(cache.entry_info("user:1").await.unwrap(), None);
        cache.set("first", 1_u8).await.unwrap();
        let now = cache.entry_info("first").await.unwrap().unwrap().created;
        get_user(&db, 1).await.unwrap();
        let first = cache.entry_info("user:1").await.unwrap().unwrap();
        assert_eq!(first.hits, 0);
        assert!(close(first.created, now) && first.created > SystemTime::UNIX_EPOCH, "{first:?}");
        assert!(close(first.expires.unwrap(), first.created + SECOND * 60), "{first:?}");
        assert!(first.bytes > 0);
        tokio::time::sleep(Duration::from_millis(30)).await;
        get_user(&db, 1).await.unwrap();
        get_user(&db, 1).await.unwrap();
        let then = cache.entry_info("user:1").await.unwrap().unwrap();
        assert_eq!(then.hits, 2);
        assert!(close(then.created, first.created) && then.last_access > then.created, "{then:?}");
        get_user::peek(1).await.unwrap();
        assert_eq!(cache.entry_info("user:1").await.unwrap().unwrap().hits, 2, "looking is no hit");
        cache.get::<Row>("user:1").await.unwrap();
        assert_eq!(cache.entry_info("user:1").await.unwrap().unwrap().hits, 3, "a direct call is");
        cache.set("forever", 1_u8).ttl("forever").await.unwrap();
        assert_eq!(cache.entry_info("forever").await.unwrap().unwrap().expires, None);
        cache.expire("forever", 60).await.unwrap();
        let info = cache.entry_info("forever").await.unwrap().unwrap();
        assert!(close(info.expires.unwrap(), info.created + SECOND * 60));
        slow(&db, 1).await;
        let info = cache.entry_info("slow:1").await.unwrap().unwrap();
        assert!(info.load_cost >= Duration::from_millis(15) && info.load_cost < SECOND * 10, "{info:?}");
        cache.set("big", vec![7_u8; 10_000]).await.unwrap();
        cache.set("small", vec![7_u8]).await.unwrap();
        let bytes = async |key| cache.entry_info(key).await.unwrap().unwrap().bytes;
        assert!(on.cache.info().await.unwrap().max_bytes.is_none());
        if on.is_shared() {
            assert!(bytes("big").await >= 10_000 && bytes("small").await < 1000);
        }
        cache.invalidate("users").await.unwrap();
        assert_eq!(cache.entry_info("user:1").await.unwrap(), None);
    }

    /// E9: an entry that was replaced begins a new history.
    async fn a_replaced_entry_has_a_new_history(on: &On) {
        let cache = &on.cache;
        cache.set("k", 1_u8).await.unwrap();
        for _ in 0..3 {
            cache.get::<u8>("k").await.unwrap();
        }
        let old = cache.entry_info("k").await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        cache.set("k", 2_u8).await.unwrap();
        let new = cache.entry_info("k").await.unwrap().unwrap();
        assert!(new.created > old.created);
        assert_eq!((old.hits, new.hits), (3, 0));
    }

    /// B8 E8 D9: hits, misses, loads, errors and their rate; for each function and for all.
    async fn a_cache_counts_hits_and_misses(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        assert_eq!(cache.stats().hit_rate().to_bits(), 0.0_f64.to_bits(), "and not NaN");
        for id in [1, 1, 1, 2] {
            get_user(&db, id).await.unwrap();
        }
        let _ = (count(&db, 1), count(&db, 1));
        cache.set("k", 1_u64).await.unwrap();
        cache.get::<u64>("k").await.unwrap();
        cache.get::<u64>("nothing").await.unwrap();
        cache.get_many::<u64>(["k", "nothing"]).await.unwrap();
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.loads), (2 + 1 + 2, 2 + 1 + 2, 3));
        assert!((stats.hit_rate() - 0.5).abs() < 1e-9);
        assert_eq!((stats.flights, stats.background, stats.degraded, stats.undelivered), (0, 0, 0, 0));
        // What is held is counted where this process holds it: what it has read is copied by a hybrid cache.
        let held = if on.is_copied() { 2 } else if on.is_shared() { 1 } else { 4 };
        assert_eq!(stats.entries, held);
        let of = |name: &str| {
            let functions = cache.stats().functions;
            functions.iter().find(|(path, _)| path.ends_with(&format!("::{name}"))).map(|(_, stats)| *stats)
        };
        never_kept(&db, 1).await;
        assert_eq!(of("get_user"), Some(get_user::stats()));
        assert_eq!(of("count"), Some(count::stats()));
        assert_eq!(of("never_kept").unwrap().unstored, 1);
        let fresh = on.with(|builder| builder).await;
        assert!(fresh.stats().functions.is_empty());
        assert_eq!(fresh.scope(async { get_user::stats() }).await, FunctionStats::default());
    }

    /// B8: errors, values not kept, values refused, invalidations and recaches have counters of their own; loads are timed.
    async fn what_did_not_go_as_usual_is_counted(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        db.set_failing(true);
        get_user(&db, 1).await.unwrap_err();
        db.set_failing(false);
        never_kept(&db, 1).await;
        rename(&db, 1, "new").await;
        let (held, before) = (db.hold().await, db.loads());
        let invalidate = async {
            soon("the load runs", async || db.loads() == before + 1).await;
            cache.invalidate("user:9").await.unwrap();
            drop(held);
        };
        tokio::join!(get_user(&db, 9), invalidate).0.unwrap();
        let stats = cache.stats();
        assert_eq!((stats.errors, stats.unstored, stats.refused), (1, 1, 1));
        assert_eq!((stats.recached, stats.recache_failures), (1, 0));
        assert_eq!(stats.invalidations, 2, "the write and the direct one");
        slow(&db, 1).await;
        let latency = slow::stats().latency;
        assert_eq!(latency.count, 1);
        assert!(latency.max >= Duration::from_millis(15) && latency.p50 <= latency.p99 && latency.p99 <= latency.max, "{latency:?}");
    }

    /// E8: with statistics off nothing is counted, and the cache works.
    async fn statistics_can_be_switched_off(on: &On) {
        let (cache, db) = (on.with(|builder| builder.stats(false)).await, Source::new());
        cache
            .scope(async {
                for _ in 0..3 {
                    get_user(&db, 1).await.unwrap();
                }
                cache.get::<Row>("user:1").await.unwrap();
                assert_eq!(db.loads(), 1);
                let stats = cache.stats();
                assert_eq!((stats.hits, stats.misses, stats.loads, get_user::stats().latency.count), (0, 0, 0, 0));
                assert_eq!(cache.entry_info("user:1").await.unwrap().unwrap().hits, 0);
            })
            .await;
    }

    /// A10 D1 D9: `ping` and `info`.
    async fn a_cache_says_what_it_is(on: &On) {
        let cache = &on.cache;
        cache.ping().await.unwrap();
        cache.set("k", 1_u8).await.unwrap();
        let info = cache.info().await.unwrap();
        assert_eq!(format!("{}:", info.prefix), on.prefix());
        assert!(info.enabled && info.uptime < SECOND * 60);
        if on.is_shared() {
            let server = info.server.as_ref().unwrap();
            assert_eq!(info.backend, if on.is_copied() { "hybrid" } else { "redis" });
            assert!(server.version.starts_with(|c: char| c.is_ascii_digit()) && server.shards >= 1, "{server:?}");
            assert!(server.keys >= 1 && server.used_memory > 100_000 && server.eviction_policy == "noeviction", "{server:?}");
            assert_eq!(server.mode == "cluster", server.shards > 1);
        } else {
            assert_eq!((info.backend, &info.server, info.max_items), ("memory", &None, 10_000));
        }
        let debug = format!("{cache:?} {info:?}");
        assert!(!debug.contains("password"), "{debug}");
    }

    /// A12: caches of different prefixes and versions are apart; a scope says which is used, in its tasks too if they ask.
    async fn scopes_say_which_cache_is_used(on: &On) {
        let (one, two, db) = (&on.cache, on.with(|builder| builder.version("v2")).await, Arc::new(Source::new()));
        get_user(&db, 1).await.unwrap();
        two.scope(async {
            get_user(&db, 1).await.unwrap();
            assert!(cache_runtime::cache().unwrap().is_same(&two));
            one.scope(async { assert!(cache_runtime::cache().unwrap().is_same(one)) }).await;
            one.invalidate("users").await.unwrap();
            get_user(&db, 1).await.unwrap();
        })
        .await;
        assert_eq!(db.loads(), 2);
        get_user(&db, 1).await.unwrap();
        assert_eq!(db.loads(), 3);
        let (task, source) = (two.clone(), Arc::clone(&db));
        tokio::spawn(two.scope(async move {
            assert!(cache_runtime::cache().unwrap().is_same(&task));
            get_user(&source, 1).await.unwrap();
        }))
        .await
        .unwrap();
        assert_eq!(db.loads(), 3);
    }

    /// A8: `close` ends this cache and no other, and what it stored stays with a server.
    async fn closing_ends_one_cache(on: &On) {
        let (cache, db) = (on.with(|builder| builder).await, Source::new());
        cache.scope(get_user(&db, 1)).await.unwrap();
        cache.close().await.unwrap();
        assert!(cache.ping().await.is_err());
        on.cache.ping().await.unwrap();
        get_user(&db, 1).await.unwrap();
        assert_eq!(db.loads(), if on.is_shared() { 1 } else { 2 });
        cache.scope(get_user(&db, 1)).await.unwrap();
        assert_eq!(db.loads(), if on.is_shared() { 2 } else { 3 }, "a closed one calls the source");
    }

    /// A12: dropping a cache that works does not harm what runs.
    async fn a_cache_may_be_dropped_while_it_works(on: &On) {
        let db = Arc::new(Source::new());
        let held = db.hold().await;
        let task = {
            let (cache, db): (Cache, _) = (on.with(|builder| builder).await, Arc::clone(&db));
            tokio::spawn(cache.scope(async move { get_user(&db, 1).await }))
        };
        soon("the load runs", async || db.loads() == 1).await;
        drop(held);
        assert_eq!(task.await.unwrap().unwrap(), Row::fresh(1));
    }
}

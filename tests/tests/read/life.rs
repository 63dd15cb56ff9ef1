//! Lifetimes: how long an entry lives, to the millisecond.

use std::time::Duration;

use cache_runtime::{Cache, Ttl, cache_read};
use cache_tests::{Broken, Row, Source};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

mod lived {
    use super::*;

    pub(crate) const LIMIT: Duration = Duration::from_secs(77);

    macro_rules! lived {
        ($($name:ident: $key:literal, $ttl:expr;)*) => {
            $(#[cache_read(key = $key, ttl = $ttl, skip(db))]
            pub(crate) async fn $name(db: &Source) -> u64 { db.tick() })*
        };
    }
    lived! {
        text: "lived:text", "1h30m";
        millis: "lived:ms", "250ms";
        seconds: "lived:seconds", 90;
        short: "lived:short", Ttl::Short;
        usual: "lived:default", Ttl::Default;
        long: "lived:long", Ttl::Long;
        forever: "lived:forever", "forever";
        constant: "lived:const", LIMIT;
        expression: "lived:expr", Duration::from_secs(60) * 2;
    }

    #[cache_read(key = "lived:none", skip(db))]
    pub(crate) async fn unsaid(db: &Source) -> u64 {
        db.tick()
    }

    #[cache_read(key = "lived:arg:<seconds>", ttl = Duration::from_secs(seconds), skip(db))]
    pub(crate) async fn of_argument(db: &Source, seconds: u64) -> u64 {
        let _ = seconds;
        db.tick()
    }

    #[cache_read(key = "lived:value:<id>", ttl = |row| Duration::from_secs(row.id * factor), skip(db, factor))]
    pub(crate) async fn of_value(db: &Source, id: u64, factor: u64) -> Result<Option<Row>, Broken> {
        let _ = factor;
        db.try_find(id).await
    }

    #[cache_read(key = "lived:sliding", ttl = "10s", refresh = true, skip(db))]
    pub(crate) async fn sliding(db: &Source) -> u64 {
        db.tick()
    }

    #[cache_read(key = "lived:sliding:value:<id>", ttl = |row| Duration::from_secs(row.id), refresh = true, skip(db))]
    pub(crate) async fn sliding_by_value(db: &Source, id: u64) -> Row {
        db.row(id).await
    }

    #[cache_read(key = "lived:sliding:arg:<id>", ttl = Duration::from_secs(life), refresh = true, skip(db, life))]
    pub(crate) async fn sliding_by_argument(db: &Source, id: u64, life: u64) -> Row {
        let _ = life;
        db.row(id).await
    }

    #[cache_read(key = "lived:jitter:<id>", ttl = "100s", jitter = "10%", skip(db))]
    pub(crate) async fn jittered(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }

    #[cache_read(key = "lived:spread:<id>", ttl = "100s", jitter = "20s", skip(db))]
    pub(crate) async fn spread(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
}

/// Asserts that a call is a hit just before `ttl` has passed and a miss when it has.
macro_rules! lives_for {
    ($cache:expr, $db:expr, $call:expr, $ttl:expr) => {{
        let (ttl, step): (Duration, Duration) = ($ttl, Duration::from_millis(1));
        let first = $call.await;
        $cache.advance(ttl - step);
        assert_eq!($call.await, first, "{} expired early", stringify!($call));
        $cache.advance(step);
        assert_ne!($call.await, first, "{} outlived {ttl:?}", stringify!($call));
    }};
}

/// A7 E2: every way to say a ttl, to the millisecond.
#[tokio::test]
async fn an_entry_lives_as_long_as_its_ttl_says() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            lives_for!(cache, db, lived::text(&db), 90 * MINUTE);
            lives_for!(cache, db, lived::millis(&db), Duration::from_millis(250));
            lives_for!(cache, db, lived::seconds(&db), 90 * SECOND);
            lives_for!(cache, db, lived::short(&db), 30 * SECOND);
            lives_for!(cache, db, lived::usual(&db), 5 * MINUTE);
            lives_for!(cache, db, lived::unsaid(&db), 5 * MINUTE);
            lives_for!(cache, db, lived::long(&db), 60 * MINUTE);
            lives_for!(cache, db, lived::constant(&db), 77 * SECOND);
            lives_for!(cache, db, lived::expression(&db), 2 * MINUTE);
            lives_for!(cache, db, lived::of_argument(&db, 7), 7 * SECOND);
            lives_for!(cache, db, lived::of_argument(&db, 70), 70 * SECOND);
        })
        .await;
}

/// E2 D2: `"forever"` does not expire.
#[tokio::test]
async fn forever_does_not_expire() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(lived::forever(&db).await, 1);
            cache.advance(SECOND * 86_400 * 365 * 90);
            assert_eq!(lived::forever(&db).await, 1);
            cache.invalidate("lived:forever").await.unwrap();
            assert_eq!(lived::forever(&db).await, 2);
        })
        .await;
}

/// E2: a closure over the value decides how long it lives, and may mention other arguments.
#[tokio::test]
async fn a_value_may_decide_how_long_it_lives() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let load = |id| lived::of_value(&db, id, 10);
            load(1).await.unwrap();
            load(6).await.unwrap();
            cache.advance(10 * SECOND);
            load(1).await.unwrap();
            load(6).await.unwrap();
            assert_eq!(db.loads(), 3);
            cache.advance(50 * SECOND);
            load(6).await.unwrap();
            assert_eq!(db.loads(), 4);
        })
        .await;
}

/// E2: with `refresh = true` a hit gives the entry its whole life again.
#[tokio::test]
async fn a_hit_extends_a_sliding_life() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for _ in 0..5 {
                assert_eq!(lived::sliding(&db).await, 1);
                cache.advance(9 * SECOND);
            }
            cache.advance(SECOND);
            assert_eq!(lived::sliding(&db).await, 2);

            let (cache_loads, hits) = (db.loads(), 5);
            for _ in 0..hits {
                lived::sliding_by_value(&db, 20).await;
                lived::sliding_by_argument(&db, 1, 30).await;
                cache.advance(19 * SECOND);
            }
            assert_eq!(db.loads(), cache_loads + 2, "by the life that it had");
            cache.advance(SECOND);
            lived::sliding_by_value(&db, 20).await;
            lived::sliding_by_argument(&db, 1, 30).await;
            assert_eq!(db.loads(), cache_loads + 3);
        })
        .await;
}

/// E2: jitter spreads lives below the ttl, and never over it.
#[tokio::test]
async fn jitter_spreads_lives_and_never_lengthens_them() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for (least, prefix) in [(90, "jitter"), (80, "spread")] {
                let mut lives = Vec::new();
                for id in 0..200 {
                    if prefix == "jitter" {
                        lived::jittered(&db, id).await
                    } else {
                        lived::spread(&db, id).await
                    };
                    let left = cache.ttl(format!("lived:{prefix}:{id}")).await.unwrap().unwrap().duration().unwrap();
                    assert!(left <= 100 * SECOND && left >= SECOND * least, "{left:?}");
                    lives.push(left);
                }
                let (min, max) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
                assert!(*max - *min > SECOND * (100 - least) / 2, "{min:?}..{max:?} is hardly a spread");
            }
        })
        .await;
}

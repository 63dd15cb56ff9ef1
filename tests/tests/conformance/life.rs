//! What a function stores and for how long: lives, absences, conditions, bypass, schema versions.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, Remaining, Ttl, cache_read, key};
use cache_tests::{Broken, Failed, Row, Source};

use crate::backend::soon;

const SECOND: Duration = Duration::from_secs(1);

/// How much of its life an entry has left.
async fn left(cache: &Cache, key: impl Into<cache_runtime::Key>) -> Option<Duration> {
    cache.ttl(key).await.unwrap().and_then(Remaining::duration)
}

/// Whether an entry that was stored a moment ago lives this long.
fn about(left: Option<Duration>, ttl: Duration) -> bool {
    left.is_some_and(|left| left <= ttl && left > ttl.saturating_sub(15 * SECOND))
}

mod lived {
    use super::*;

    macro_rules! lived {
        ($($name:ident: $key:literal, $ttl:expr;)*) => {
            $(#[cache_read(key = $key, ttl = $ttl, skip(db))]
            pub(super) async fn $name(db: &Source) -> u64 { db.tick() })*
        };
    }
    lived! {
        text: "lived:text", "1h30m";
        seconds: "lived:seconds", 90;
        short: "lived:short", Ttl::Short;
        usual: "lived:default", Ttl::Default;
        long: "lived:long", Ttl::Long;
        forever: "lived:forever", "forever";
        expression: "lived:expression", Duration::from_secs(60) * 2;
        soon_over: "lived:over", "40ms";
    }

    #[cache_read(key = "lived:unsaid", skip(db))]
    pub(super) async fn unsaid(db: &Source) -> u64 {
        db.tick()
    }

    #[cache_read(key = "lived:argument:<seconds>", ttl = Duration::from_secs(seconds), skip(db))]
    pub(super) async fn of_argument(db: &Source, seconds: u64) -> u64 {
        let _ = seconds;
        db.tick()
    }

    #[cache_read(key = "lived:value:<id>", ttl = |row| Duration::from_secs(row.id * factor), skip(db, factor))]
    pub(super) async fn of_value(db: &Source, id: u64, factor: u64) -> Result<Option<Row>, Broken> {
        let _ = factor;
        db.try_find(id).await
    }

    #[cache_read(key = "lived:jitter:<id>", ttl = "100s", jitter = "50%", skip(db))]
    pub(super) async fn jittered(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }

    #[cache_read(key = "lived:sliding", ttl = "100s", refresh = true, skip(db))]
    pub(super) async fn sliding(db: &Source) -> u64 {
        db.tick()
    }
}

mod kept {
    use super::*;

    #[cache_read(key = "none:like:<id>", ttl = "100s", skip(db))]
    pub(super) async fn none_like_a_value(db: &Source, id: u64) -> Option<Row> {
        db.find(id).await
    }

    #[cache_read(key = "tagged:<id>", tags = ["rows"], namespace = "n", skip(db))]
    pub(super) async fn tagged(db: &Source, id: u64) -> Row {
        db.row(id).await
    }

    #[cache_read(key = "none:short:<id>", ttl = "1h", ttl_none = "100s", skip(db))]
    pub(super) async fn none_for_less(db: &Source, id: u64) -> Result<Option<Row>, Broken> {
        db.try_find(id).await
    }

    #[cache_read(key = "none:never:<id>", ttl_none = "0s", skip(db))]
    pub(super) async fn none_never(db: &Source, id: u64) -> Option<Arc<Row>> {
        db.find(id).await.map(Arc::new)
    }

    #[cache_read(key = "err:never:<id>", skip(db))]
    pub(super) async fn err_never(db: &Source, id: u64) -> Result<Row, Failed> {
        db.load(id).await
    }

    #[cache_read(key = "if:<id>", cache_if = |row| row.version >= least, skip(db, least))]
    pub(super) async fn from_version(db: &Source, id: u64, least: u64) -> Result<Row, Failed> {
        let _ = least;
        db.load(id).await
    }

    #[cache_read(key = "unless:<id>", unless = |row| row.org_id == 0, skip(db))]
    pub(super) async fn not_of_admins(db: &Source, id: u64) -> Option<Arc<Row>> {
        db.find(id).await.map(Arc::new)
    }

    #[cache_read(key = "bypass:<id>", bypass = preview || id == 0, skip(db, preview))]
    pub(super) async fn unless_preview(db: &Source, id: u64, preview: bool) -> u64 {
        let _ = (id, preview);
        db.tick()
    }
}

mod schema {
    use super::*;

    #[cache_read(key = "schema:<id>", skip(db))]
    pub(super) async fn first(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(key = "schema:<id>", version = 2, skip(db))]
    pub(super) async fn second(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(key_with = |id| format!("with/{id}"), skip(db))]
    pub(super) async fn with_first(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(key_with = |id| format!("with/{id}"), version = 2, skip(db))]
    pub(super) async fn with_second(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
}

everywhere! {
    /// A10 P1: what was set by hand under a function's key is its entry if it has the function's tags. One that lacks a tag
    /// would outlive a write of that tag: a server's is a miss, memory takes the caller's word.
    async fn an_entry_by_hand_needs_its_readers_tags(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        cache.set("tagged:1", Row::fresh(9)).tags(["rows", "more"]).namespace("n").await.unwrap();
        assert_eq!(kept::tagged(&db, 1).await, Row::fresh(9));
        assert_eq!(kept::tagged(&db, 1).await, Row::fresh(9));
        assert_eq!(db.loads(), 0);
        cache.invalidate("more").await.unwrap();
        assert_eq!(kept::tagged(&db, 1).await, Row::fresh(1), "it has tags of its own as well");
        cache.set("tagged:2", Row::fresh(9)).namespace("n").await.unwrap();
        cache.set("tagged:3", Row::fresh(9)).tags(["rows"]).await.unwrap();
        for id in [2, 3] {
            assert_eq!(kept::tagged(&db, id).await == Row::fresh(id), on.is_shared());
        }
    }

    /// A7 E2: every way to say a ttl.
    async fn an_entry_lives_as_long_as_its_ttl_says(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        macro_rules! lives {
            ($call:ident($($arg:expr)?): $key:literal, $seconds:expr) => {
                let _ = lived::$call(&db $(, $arg)?).await;
                let found = left(cache, $key).await;
                assert!(about(found, SECOND * $seconds), "{}: {found:?}", $key);
            };
        }
        lives!(text(): "lived:text", 5400);
        lives!(seconds(): "lived:seconds", 90);
        lives!(short(): "lived:short", 30);
        lives!(usual(): "lived:default", 300);
        lives!(unsaid(): "lived:unsaid", 300);
        lives!(long(): "lived:long", 3600);
        lives!(expression(): "lived:expression", 120);
        lives!(of_argument(70): "lived:argument:70", 70);
        for (id, factor, expected) in [(1, 100, 100), (6, 100, 600), (2, 3600, 7200)] {
            lived::of_value(&db, id, factor).await.unwrap();
            let found = left(cache, key!("lived:value:<id>")).await;
            assert!(about(found, SECOND * expected), "{id}: {found:?}");
        }
        lived::forever(&db).await;
        assert_eq!(cache.ttl("lived:forever").await.unwrap(), Some(Remaining::Forever));
        let mut lives = Vec::new();
        for id in 0..60 {
            lived::jittered(&db, id).await;
            lives.push(left(cache, key!("lived:jitter:<id>")).await.unwrap());
        }
        let (min, max) = (*lives.iter().min().unwrap(), *lives.iter().max().unwrap());
        assert!(max <= 100 * SECOND && min >= 35 * SECOND && max - min > 20 * SECOND, "{min:?}..{max:?}");
    }

    /// E2: a short life is over by itself, and the source is asked again; a ttl of zero stores nothing.
    async fn a_life_ends(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        assert_eq!(lived::soon_over(&db).await, 1);
        soon("it is over", async || lived::soon_over(&db).await > 1).await;
        let loads = db.loads();
        lived::of_argument(&db, 0).await;
        lived::of_argument(&db, 0).await;
        assert_eq!(db.loads(), loads + 2);
        assert!(!cache.exists("lived:argument:0").await.unwrap());
        lived::forever(&db).await;
        cache.invalidate("lived:forever").await.unwrap();
        lived::forever(&db).await;
        assert_eq!(db.loads(), loads + 4, "for ever is until it is invalidated");
    }

    /// C2: an absent value is kept like any other, for another time, or not at all, as asked; and can be invalidated.
    async fn an_absent_value_is_kept_as_asked(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        db.remove(1);
        for _ in 0..2 {
            assert_eq!(kept::none_like_a_value(&db, 1).await, None);
            assert_eq!(kept::none_for_less(&db, 1).await, Ok(None));
            assert_eq!(on.other().await.scope(kept::none_for_less(&db, 1)).await, Ok(None));
        }
        assert_eq!(db.loads(), 2);
        assert!(about(left(cache, "none:like:1").await, 100 * SECOND));
        assert!(about(left(cache, "none:short:1").await, 100 * SECOND));
        assert!(cache.exists("none:like:1").await.unwrap(), "an absence that is kept is there");
        assert_eq!(cache.get::<Row>("none:like:1").await.unwrap(), None);
        assert_eq!(kept::none_like_a_value::peek(1).await.unwrap(), None);
        kept::none_for_less(&db, 2).await.unwrap();
        assert!(about(left(cache, "none:short:2").await, 3600 * SECOND), "a value has the function's own");
        db.write(1, "back");
        cache.invalidate(["none:like:1", "none:short:1"]).await.unwrap();
        assert_eq!(kept::none_like_a_value(&db, 1).await.unwrap().name, "back");
        assert_eq!(kept::none_for_less(&db, 1).await.unwrap().unwrap().name, "back");

        let loads = db.loads();
        db.remove(3);
        kept::none_never(&db, 3).await;
        kept::none_never(&db, 3).await;
        assert_eq!(db.loads(), loads + 2);
        assert!(!cache.exists("none:never:3").await.unwrap());
        kept::none_never(&db, 4).await.unwrap();
        kept::none_never(&db, 4).await.unwrap();
        assert_eq!(db.loads(), loads + 3);
    }

    /// D2: an `Err` is returned unchanged and never kept.
    async fn a_failure_is_not_cached(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        db.set_failing(true);
        assert_eq!(kept::err_never(&db, 1).await, Err(Failed));
        assert_eq!(kept::err_never(&db, 1).await, Err(Failed));
        assert_eq!(db.loads(), 2);
        assert!(!cache.exists("err:never:1").await.unwrap());
        db.set_failing(false);
        assert_eq!(kept::err_never(&db, 1).await, Ok(Row::fresh(1)));
        db.set_failing(true);
        assert_eq!(kept::err_never(&db, 1).await, Ok(Row::fresh(1)));
        assert_eq!(db.loads(), 3);
    }

    /// D2: `cache_if` and `unless` look at the value; what is not stored is returned all the same.
    async fn a_value_may_decide_whether_it_is_stored(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for loads in [1, 2] {
            assert_eq!(kept::from_version(&db, 1, 2).await, Ok(Row::fresh(1)));
            assert_eq!(db.loads(), loads);
            assert!(!cache.exists("if:1").await.unwrap());
        }
        db.write(1, "second");
        for _ in 0..2 {
            assert_eq!(kept::from_version(&db, 1, 2).await.unwrap().version, 2);
            assert_eq!(db.loads(), 3);
        }
        assert_eq!(kept::from_version::stats().unstored, 2);
        for loads in [4, 5] {
            assert!(kept::not_of_admins(&db, 5).await.is_some());
            assert_eq!(db.loads(), loads);
        }
        for _ in 0..2 {
            assert!(kept::not_of_admins(&db, 15).await.is_some());
            assert_eq!(db.loads(), 6);
        }
    }

    /// D2: a value that is not stored any more takes away what was stored before.
    async fn a_refreshed_value_that_is_not_to_be_stored_is_not_there(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        kept::not_of_admins(&db, 15).await.unwrap();
        db.move_to(15, 0);
        assert_eq!(kept::not_of_admins::refresh(&db, 15).await.unwrap().org_id, 0);
        assert!(!cache.exists("unless:15").await.unwrap(), "the source has answered: the old value is not its answer");
    }

    /// C9: `bypass` neither reads nor stores, and is counted.
    async fn bypass_touches_nothing(on: &On) {
        let db = Source::new();
        assert_eq!(kept::unless_preview(&db, 1, true).await, 1);
        assert!(!on.cache.exists("bypass:1").await.unwrap());
        assert_eq!(kept::unless_preview(&db, 1, false).await, 2, "nothing was stored");
        assert_eq!(kept::unless_preview(&db, 1, true).await, 3, "nothing is read");
        assert_eq!(kept::unless_preview(&db, 1, false).await, 2, "nothing was replaced");
        assert_eq!(kept::unless_preview(&db, 0, false).await, 4);
        assert_eq!(kept::unless_preview(&db, 0, false).await, 5);
        let stats = kept::unless_preview::stats();
        assert_eq!((stats.bypassed, stats.hits, stats.misses), (4, 1, 1));
    }

    /// E11: schema versions of one key never read each other's values, however the key is made; a tag is of all of them.
    async fn schema_versions_are_kept_apart(on: &On) {
        use schema::*;
        let (cache, db) = (&on.cache, Source::new());
        assert_eq!((first(&db, 1).await, first(&db, 1).await), (1, 1));
        assert_eq!((second(&db, 1).await, second(&db, 1).await), (2, 2));
        assert_eq!(first(&db, 1).await, 3);
        assert_eq!(second::peek(1).await.unwrap(), None);
        cache.invalidate("schema:1").await.unwrap();
        assert_eq!(first::peek(1).await.unwrap(), None);
        assert_eq!((with_first(&db, 1).await, with_second(&db, 1).await, with_first(&db, 1).await), (4, 5, 6));
        assert_eq!((with_first(&db, 1).await, with_second::peek(1).await.unwrap()), (6, None));
    }
}

mod shared {
    use super::*;

    on_servers! {
        /// E2: with `refresh = true` a hit gives the entry its whole life again.
        async fn a_hit_extends_a_sliding_life(on: &On) {
            let (cache, db) = (&on.cache, Source::new());
            lived::sliding(&db).await;
            cache.expire("lived:sliding", "20s").await.unwrap();
            lived::sliding(&db).await;
            assert_eq!(db.loads(), 1);
            // Nobody waits for it.
            soon("its life is extended", async || about(left(cache, "lived:sliding").await, 100 * SECOND)).await;
        }
    }
}

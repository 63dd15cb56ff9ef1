//! `Cache` by hand, one key: typed values, lives, and what is returned where something is there and where nothing is.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{ErrorKind, Key, Remaining, Ttl, key};
use cache_tests::{Row, Source};

use crate::backend::soon;

const SECOND: Duration = Duration::from_secs(1);

/// Whether an entry that got `ttl` a moment ago says so.
fn about(left: Option<Remaining>, ttl: Duration) -> bool {
    matches!(left, Some(Remaining::For(left)) if left <= ttl && left > ttl.saturating_sub(SECOND * 15))
}

everywhere! {
    /// A10 C1 D1: what was set comes back with its type; a `set` replaces; nothing is `None`.
    async fn what_was_set_comes_back(on: &On) {
        let cache = &on.cache;
        assert_eq!(cache.get::<Row>("user:1").await.unwrap(), None);
        cache.set("user:1", Row::fresh(1)).await.unwrap();
        cache.set("user:2", &Row::fresh(2)).await.unwrap();
        cache.set("user:3", Row::fresh(3)).ttl("forever").tags(["t"]).namespace("n").await.unwrap();
        assert_eq!(cache.get::<Row>("user:1").await.unwrap(), Some(Row::fresh(1)));
        assert_eq!(cache.get::<Row>("user:2").await.unwrap(), Some(Row::fresh(2)));
        assert_eq!(cache.get_arc::<Row>("user:3").await.unwrap(), Some(Arc::new(Row::fresh(3))));
        cache.set("user:1", Row::fresh(9)).await.unwrap();
        assert_eq!(on.other().await.get::<Row>("user:1").await.unwrap(), Some(Row::fresh(9)));
        cache.set("list", vec![Some(1), None]).await.unwrap();
        assert_eq!(cache.get::<Vec<Option<i32>>>("list").await.unwrap(), Some(vec![Some(1), None]));
        cache.set("unit", ()).await.unwrap();
        assert_eq!(cache.get::<()>("unit").await.unwrap(), Some(()));
        cache.set("empty", String::new()).await.unwrap();
        assert_eq!(cache.get::<String>("empty").await.unwrap().as_deref(), Some(""));
        cache.set("option", None::<u64>).await.unwrap();
        assert_eq!(cache.get::<Option<u64>>("option").await.unwrap(), Some(None), "a value like any other");
    }

    /// C1: a value is read as the type that it was stored as, and never as another.
    async fn a_value_of_another_type_is_not_there(on: &On) {
        let cache = &on.cache;
        cache.set("n", 1_u64).await.unwrap();
        assert_eq!(cache.get::<u32>("n").await.unwrap(), None);
        assert_eq!(cache.get::<i64>("n").await.unwrap(), None);
        assert_eq!(cache.get::<bool>("n").await.unwrap(), None);
        assert_eq!(cache.get::<String>("n").await.unwrap(), None);
        assert_eq!(cache.get::<(u64,)>("n").await.unwrap(), None);
        assert_eq!(cache.get::<Row>("n").await.unwrap(), None);
        assert_eq!(cache.get_many::<String>(["n"]).await.unwrap(), [None]);
        assert_eq!(cache.pop::<String>("n").await.unwrap(), None, "what was not handed out was not taken");
        assert_eq!(cache.get::<u64>("n").await.unwrap(), Some(1));
        assert!(cache.exists("n").await.unwrap(), "an entry is there whatever its type");
        cache.set("n", "text".to_owned()).await.unwrap();
        assert_eq!((cache.get::<u64>("n").await.unwrap(), cache.get::<String>("n").await.unwrap()), (None, Some("text".to_owned())));
    }

    /// E2 A7: the ttl of a `set`: the default bucket unless said, text, seconds, buckets, durations, forever.
    async fn set_takes_a_ttl(on: &On) {
        let cache = &on.cache;
        cache.set("default", 1_u8).await.unwrap();
        cache.set("text", 1_u8).ttl("1m30s").await.unwrap();
        cache.set("seconds", 1_u8).ttl(70).await.unwrap();
        cache.set("short", 1_u8).ttl(Ttl::Short).await.unwrap();
        cache.set("long", 1_u8).ttl(Ttl::Long).await.unwrap();
        cache.set("duration", 1_u8).ttl(SECOND * 40).await.unwrap();
        cache.set("forever", 1_u8).ttl("forever").await.unwrap();
        cache.set_many([("many", 1_u8)]).ttl("2h").await.unwrap();
        for (key, ttl) in
            [("default", 300), ("text", 90), ("seconds", 70), ("short", 30), ("long", 3600), ("duration", 40), ("many", 7200)]
        {
            let left = cache.ttl(key).await.unwrap();
            assert!(about(left, SECOND * ttl), "{key}: {left:?}");
        }
        assert_eq!(cache.ttl("forever").await.unwrap(), Some(Remaining::Forever));
        assert_eq!(cache.ttl("nothing").await.unwrap(), None);
        assert_eq!(cache.set("zero", 1_u8).ttl(0).await.unwrap_err().kind(), ErrorKind::InvalidTtl);
        assert!(cache.set("nonsense", 1_u8).ttl("5mins").await.is_err());
        assert!(!cache.exists("zero").await.unwrap() && !cache.exists("nonsense").await.unwrap());
    }

    /// A7: the buckets are what the cache was told.
    async fn buckets_can_be_set(on: &On) {
        let cache = on.with(|builder| builder.ttl_short(SECOND * 50).ttl_default(SECOND * 100).ttl_long(SECOND * 150)).await;
        for (key, ttl) in [("short", Ttl::Short), ("default", Ttl::Default), ("long", Ttl::Long)] {
            cache.set(key, 1_u8).ttl(ttl).await.unwrap();
        }
        cache.incr("unsaid", 1).await.unwrap();
        for (key, ttl) in [("short", 50), ("default", 100), ("long", 150), ("unsaid", 100)] {
            let left = cache.ttl(key).await.unwrap();
            assert!(about(left, SECOND * ttl), "{key}: {left:?}");
        }
    }

    /// E2: an entry is gone when its ttl is over, for every call that could see it.
    async fn an_entry_ends_with_its_ttl(on: &On) {
        let cache = &on.cache;
        let short = Duration::from_millis(30);
        cache.set("k", 1_u8).ttl(short).await.unwrap();
        cache.set_many([("a", 1_u8), ("b", 2)]).ttl(short).await.unwrap();
        cache.set("stays", 1_u8).await.unwrap();
        tokio::time::sleep(short).await;
        assert_eq!(cache.get::<u8>("k").await.unwrap(), None);
        assert_eq!(cache.get_many::<u8>(["a", "b", "stays"]).await.unwrap(), [None, None, Some(1)]);
        assert!(!cache.exists("k").await.unwrap());
        assert_eq!(cache.ttl("k").await.unwrap(), None);
        assert!(!cache.delete("k").await.unwrap(), "an expired entry was not there");
        assert!(!cache.expire("k", 10).await.unwrap(), "an expired entry cannot be revived");
        assert!(!cache.tag("k", "t").await.unwrap());
        assert_eq!(cache.pop::<u8>("k").await.unwrap(), None);
        assert_eq!(cache.entry_info("k").await.unwrap(), None);
        assert_eq!(cache.keys("*").collect::<Vec<Key>>().await.unwrap(), ["stays"]);
        assert!(cache.set_nx("k", 2_u8).await.unwrap());
        assert_eq!(cache.get::<u8>("k").await.unwrap(), Some(2));
    }

    /// D1: `expire` gives another life from now on, for ever included, and says whether something was there.
    async fn expire_gives_another_life(on: &On) {
        let cache = &on.cache;
        cache.set("k", 1_u8).ttl(60).tags(["t"]).await.unwrap();
        assert!(cache.expire("k", "2h").await.unwrap());
        assert!(about(cache.ttl("k").await.unwrap(), SECOND * 7200));
        assert!(cache.expire("k", 60).await.unwrap(), "shorter, too");
        assert!(about(cache.ttl("k").await.unwrap(), SECOND * 60));
        assert!(cache.expire("k", "forever").await.unwrap());
        assert_eq!(cache.ttl("k").await.unwrap(), Some(Remaining::Forever));
        assert_eq!(on.other().await.get::<u8>("k").await.unwrap(), Some(1));
        cache.invalidate("t").await.unwrap();
        assert_eq!(cache.ttl("k").await.unwrap(), None, "it keeps its tags");
        assert!(!cache.expire("k", 10).await.unwrap(), "an invalidated entry cannot be revived");
        assert!(!cache.expire("nothing", 10).await.unwrap());
        cache.set("k", 1_u8).await.unwrap();
        assert!(cache.expire("k", 0).await.unwrap(), "zero drops it");
        assert!(!cache.exists("k").await.unwrap());
        assert!(!cache.expire("k", 0).await.unwrap());
        cache.set("k", 1_u8).ttl("forever").await.unwrap();
        assert!(cache.expire("k", Duration::from_millis(30)).await.unwrap());
        soon("it ends", async || !cache.exists("k").await.unwrap()).await;
    }

    /// D1 E4: an entry that was made to live longer than its cells would have is still there, and still falls with its tags.
    async fn a_longer_life_keeps_its_tags(on: &On) {
        let cache = &on.cache;
        cache.set("k", 1_u8).ttl(10).tags(["t"]).namespace("n").await.unwrap();
        cache.expire("k", "7d").await.unwrap();
        assert!(about(cache.ttl("k").await.unwrap(), SECOND * 7 * 86_400));
        if on.is_shared() {
            let cells = ["%+tag:t", "%+ns:n", "%+all"];
            let names = on.names().await;
            for cell in cells.map(|cell| format!("{}{cell}", on.prefix())) {
                assert!(names.contains(&cell), "{cell} is not there: {names:?}");
                let left: i64 = on.command("PTTL", &cell).await;
                assert!(left == -1 || left > 6 * 86_400_000, "{cell} ends before the entry: {left}");
            }
        }
        cache.invalidate_namespace("n").await.unwrap();
        assert!(!cache.exists("k").await.unwrap());
    }

    /// A10 D1: `delete` and `exists` say what was there.
    async fn delete_says_what_was_there(on: &On) {
        let cache = &on.cache;
        cache.set("k", 1_u8).await.unwrap();
        assert!(cache.exists("k").await.unwrap());
        assert!(cache.delete("k").await.unwrap());
        assert!(!cache.exists("k").await.unwrap());
        assert!(!cache.delete("k").await.unwrap());
        cache.set("k", 1_u8).tags(["t"]).await.unwrap();
        cache.invalidate("t").await.unwrap();
        assert!(!cache.delete("k").await.unwrap(), "an invalidated entry was not there");
        cache.incr("n", 1).await.unwrap();
        assert!(cache.delete("n").await.unwrap());
        assert_eq!(cache.incr("n", 1).await.unwrap(), 1, "nothing of a counter is left");
    }

    /// A10: set-if-absent stores once, until the entry has gone, however it goes.
    async fn set_if_absent_stores_once(on: &On) {
        let cache = &on.cache;
        assert!(cache.set_nx("k", "me".to_owned()).ttl(60).await.unwrap());
        assert!(!cache.set_nx("k", "you".to_owned()).ttl("2h").await.unwrap());
        assert!(!cache.set_nx("k", 7_u64).await.unwrap(), "whatever the type");
        assert_eq!(cache.get::<String>("k").await.unwrap().as_deref(), Some("me"));
        assert!(about(cache.ttl("k").await.unwrap(), SECOND * 60), "one that did not store changes nothing");
        cache.delete("k").await.unwrap();
        assert!(cache.set_nx("k", "second".to_owned()).tags(["t"]).namespace("n").await.unwrap());
        cache.invalidate("t").await.unwrap();
        assert!(cache.set_nx("k", "third".to_owned()).namespace("n").await.unwrap());
        cache.invalidate_namespace("n").await.unwrap();
        assert!(cache.set_nx("k", "fourth".to_owned()).await.unwrap());
        cache.clear().await.unwrap();
        assert!(cache.set_nx("k", 5_u64).ttl("forever").await.unwrap());
        assert_eq!(cache.get::<u64>("k").await.unwrap(), Some(5));
        assert_eq!(cache.ttl("k").await.unwrap(), Some(Remaining::Forever));
        assert_eq!(cache.set_nx("z", 1_u8).ttl(0).await.unwrap_err().kind(), ErrorKind::InvalidTtl);
        cache.incr("n", 1).await.unwrap();
        assert!(!cache.set_nx("n", 9_i64).await.unwrap(), "a counter is there");
        assert_eq!(cache.incr("n", 1).await.unwrap(), 2);
    }

    /// A10: get-and-delete.
    async fn pop_takes_the_value_out(on: &On) {
        let cache = &on.cache;
        cache.set("k", Row::fresh(1)).await.unwrap();
        assert_eq!(cache.pop::<Row>("k").await.unwrap(), Some(Row::fresh(1)));
        assert_eq!(cache.pop::<Row>("k").await.unwrap(), None);
        assert!(!cache.exists("k").await.unwrap());
        cache.incr("n", 5).await.unwrap();
        assert_eq!(cache.pop::<i64>("n").await.unwrap(), Some(5), "a counter, too");
        assert_eq!(cache.get::<i64>("n").await.unwrap(), None);
        cache.set("k", 1_u8).tags(["t"]).await.unwrap();
        cache.invalidate("t").await.unwrap();
        assert_eq!(cache.pop::<u8>("k").await.unwrap(), None);
    }

    /// D6: many at once, in order, each by itself.
    async fn many_at_once(on: &On) {
        let cache = &on.cache;
        cache.set_many([("a", 1_u64), ("b", 2), ("c", 3)]).ttl(60).tags(["abc"]).namespace("n").await.unwrap();
        cache.set("text", "x".to_owned()).await.unwrap();
        let found = cache.get_many::<u64>(["c", "none", "a", "text", "c"]).await.unwrap();
        assert_eq!(found, [Some(3), None, Some(1), None, Some(3)]);
        assert!(about(cache.ttl("b").await.unwrap(), SECOND * 60));
        assert_eq!(cache.get_many::<u64>(Vec::<Key>::new()).await.unwrap(), []);
        cache.set_many(Vec::<(Key, u64)>::new()).await.unwrap();
        cache.set_many([("twice", 1_u64), ("twice", 2)]).await.unwrap();
        assert_eq!(cache.get::<u64>("twice").await.unwrap(), Some(2), "the last one stays");
        cache.delete("b").await.unwrap();
        assert_eq!(cache.get_many::<u64>(["a", "b", "c"]).await.unwrap(), [Some(1), None, Some(3)]);
        cache.invalidate("abc").await.unwrap();
        assert_eq!(cache.get_many::<u64>(["a", "b", "c"]).await.unwrap(), [None, None, None]);
        cache.set_many((0..500).map(|n| (key!("many:<n>"), Row::fresh(n)))).await.unwrap();
        let found = cache.get_many::<Row>((0..500).map(|n| format!("many:{n}"))).await.unwrap();
        assert!(found.iter().enumerate().all(|(n, row)| *row == Some(Row::fresh(n as u64))));
        assert_eq!(cache.set_many([("zero", 1_u8)]).ttl(0).await.unwrap_err().kind(), ErrorKind::InvalidTtl);
    }

    /// E5: `get_or_load` loads once, keeps ttl and tags, and never keeps an error.
    async fn get_or_load_loads_once(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let load = || async { cache.get_or_load("row", || db.load(1)).ttl("60s").tags(["rows"]).namespace("n").await };
        db.set_failing(true);
        assert_eq!(load().await, Err(cache_tests::Failed));
        assert!(!cache.exists("row").await.unwrap());
        db.set_failing(false);
        assert_eq!(load().await, Ok(Row::fresh(1)));
        assert_eq!(load().await, Ok(Row::fresh(1)));
        assert_eq!(db.loads(), 2);
        assert_eq!(on.other().await.get::<Row>("row").await.unwrap(), Some(Row::fresh(1)));
        assert!(about(cache.ttl("row").await.unwrap(), SECOND * 60));
        cache.invalidate("rows").await.unwrap();
        load().await.unwrap();
        assert_eq!(db.loads(), 3);
        cache.invalidate_namespace("n").await.unwrap();
        load().await.unwrap();
        assert_eq!(db.loads(), 4);
        cache.set("row", "of another type".to_owned()).await.unwrap();
        assert_eq!(load().await, Ok(Row::fresh(1)));
        assert_eq!(load().await, Ok(Row::fresh(1)));
        assert_eq!(db.loads(), 5, "another type is a miss, and is replaced");
        assert_eq!(cache.get::<Row>("row").await.unwrap(), Some(Row::fresh(1)));
    }

    /// E5: an entry that was set, by whatever call, is what `get_or_load` finds; and the other way round.
    async fn get_or_load_finds_what_was_set(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        cache.set("a", Row::fresh(1)).await.unwrap();
        cache.set_nx("b", Row::fresh(2)).await.unwrap();
        cache.set_many([("c", Row::fresh(3))]).await.unwrap();
        for (key, id) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(cache.get_or_load(key, || db.load(9)).await, Ok(Row::fresh(id)), "{key}");
        }
        assert_eq!(db.loads(), 0);
        cache.get_or_load("d", || db.load(4)).await.unwrap();
        assert_eq!(cache.pop::<Row>("d").await.unwrap(), Some(Row::fresh(4)));
    }

    /// P9: an empty key is refused; a long one is an entry of its own.
    async fn odd_keys(on: &On) {
        let cache = &on.cache;
        assert_eq!(cache.set("", 1_u8).await.unwrap_err().kind(), ErrorKind::InvalidKey);
        assert_eq!(cache.get::<u8>("").await.unwrap_err().kind(), ErrorKind::InvalidKey);
        assert_eq!(cache.incr("", 1).await.unwrap_err().kind(), ErrorKind::InvalidKey);
        let long = "k".repeat(100_000);
        cache.set(long.as_str(), 1_u8).tags([format!("{long}t")]).await.unwrap();
        cache.set(format!("{long}2"), 2_u8).await.unwrap();
        assert_eq!(cache.get::<u8>(long.as_str()).await.unwrap(), Some(1));
        cache.invalidate(format!("{long}t")).await.unwrap();
        assert_eq!(cache.get::<u8>(long.as_str()).await.unwrap(), None);
        assert_eq!(cache.get::<u8>(format!("{long}2")).await.unwrap(), Some(2));
        cache.invalidate(format!("{long}2")).await.unwrap();
        assert_eq!(cache.get::<u8>(format!("{long}2")).await.unwrap(), None);
    }
}

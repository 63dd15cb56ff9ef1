//! Many entries at once: tags, namespaces, patterns, lists of keys, everything.

use std::collections::BTreeSet;

use cache_runtime::{Cache, Key, Tag, cache_read, key};
use cache_tests::{Row, Source};

#[cache_read(key = "user:<id>", tags = ["users"], skip(db))]
async fn get_user(db: &Source, id: u64) -> Row {
    db.row(id).await
}

async fn keys(cache: &Cache, pattern: &str) -> BTreeSet<String> {
    let keys = cache.keys(pattern).collect::<Vec<Key>>().await.unwrap();
    let set: BTreeSet<String> = keys.iter().map(ToString::to_string).collect();
    assert_eq!(set.len(), keys.len(), "no key is listed twice");
    set
}

fn set<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(ToOwned::to_owned).into()
}

async fn fill(cache: &Cache) {
    for (key, tag, namespace) in [("a", "x", "n"), ("b", "x", "m"), ("c", "y", "n"), ("x", "z", "o")] {
        cache.set(key, 1_u8).tags([tag, "all"]).namespace(namespace).await.unwrap();
    }
}

everywhere! {
    /// B5 E3 E4: tags, keys and namespaces, each taking exactly what it names.
    async fn each_invalidation_takes_what_it_names(on: &On) {
        let cache = &on.cache;
        fill(cache).await;
        cache.invalidate("x").await.unwrap();
        assert_eq!(keys(cache, "*").await, set(["c"]), "tag x, and the entry of that name");
        fill(cache).await;
        assert_eq!(cache.invalidate_keys(["x", "nothing", "a"]).await.unwrap(), 2);
        assert_eq!(keys(cache, "*").await, set(["b", "c"]));
        fill(cache).await;
        cache.invalidate_namespace("n").await.unwrap();
        assert_eq!(keys(cache, "*").await, set(["b", "x"]));
        fill(cache).await;
        cache.invalidate(["y", "z"]).await.unwrap();
        assert_eq!(keys(cache, "*").await, set(["a", "b"]));
        fill(cache).await;
        cache.invalidate_tags([Tag::new("y"), Tag::from(key!("z"))]).await.unwrap();
        assert_eq!(keys(cache, "*").await, set(["a", "b"]));
        cache.invalidate("all").await.unwrap();
        assert_eq!(keys(cache, "*").await, set([]));
        cache.invalidate("nothing carries this").await.unwrap();
        cache.invalidate(Vec::<String>::new()).await.unwrap();
        assert_eq!(cache.invalidate_keys(Vec::<Key>::new()).await.unwrap(), 0);
        assert_eq!(cache.invalidate_keys(["a", "a"]).await.unwrap(), 0);
    }

    /// B5 P1: what another process invalidates is gone here, and the other way round.
    async fn an_invalidation_is_everybodys(on: &On) {
        let (here, there) = (&on.cache, on.other().await);
        macro_rules! takes {
            ($call:expr) => {
                here.set("k", 1_u8).tags(["t"]).namespace("n").await.unwrap();
                assert_eq!(there.get::<u8>("k").await.unwrap(), Some(1));
                let _ = $call.await.unwrap();
                assert_eq!(here.get::<u8>("k").await.unwrap(), None, "{}", stringify!($call));
                assert_eq!(there.get::<u8>("k").await.unwrap(), None, "{}", stringify!($call));
            };
        }
        takes!(there.invalidate("t"));
        takes!(there.invalidate("k"));
        takes!(there.invalidate_keys(["k"]));
        takes!(there.invalidate_namespace("n"));
        takes!(there.invalidate_pattern("?"));
        takes!(there.delete("k"));
        takes!(there.clear());
        takes!(here.invalidate("t"));
        takes!(here.invalidate_namespace("n"));
        takes!(here.clear());
    }

    /// E3: an entry is in its own namespace, else in the cache's default one; not in both.
    async fn an_entry_without_a_namespace_is_in_the_default_one(on: &On) {
        let cache = on.with(|builder| builder.namespace("usual")).await;
        let load = async || {
            cache.set("unsaid", 1_u8).await.unwrap();
            cache.set("said", 1_u8).namespace("other").await.unwrap();
            cache.set_many([("many", 1_u8)]).await.unwrap();
            cache.incr("count", 1).await.unwrap();
            cache.get_or_load("loaded", || async { Ok::<_, ()>(1_u8) }).await.unwrap();
        };
        load().await;
        cache.invalidate_namespace("usual").await.unwrap();
        assert_eq!(keys(&cache, "*").await, set(["said"]));
        load().await;
        cache.invalidate_namespace("other").await.unwrap();
        assert_eq!(keys(&cache, "*").await, set(["unsaid", "many", "count", "loaded"]));
    }

    /// A10 D1: `keys` and `delete_match` take globs; `delete_match` says how many went.
    async fn globs(on: &On) {
        let cache = &on.cache;
        let all = [
            "user:1", "user:2", "user:12", "user:profile:1", "users:list:1", "a*b", "aXb", "[x]", "order:1", "back\\slash",
            "caret^", "da-sh",
        ];
        for name in all {
            cache.set(name, 1_u8).await.unwrap();
        }
        assert_eq!(keys(cache, "*").await, set(all));
        assert_eq!(keys(cache, "user:?").await, set(["user:1", "user:2"]));
        assert_eq!(keys(cache, "user:[13-9]*").await, set(["user:1", "user:12"]));
        assert_eq!(keys(cache, "user:[^1]").await, set(["user:2"]));
        assert_eq!(keys(cache, "*:1").await, set(["user:1", "user:profile:1", "users:list:1", "order:1"]));
        assert_eq!(keys(cache, "*:list:*").await, set(["users:list:1"]));
        assert_eq!(keys(cache, r"a\*b").await, set(["a*b"]));
        assert_eq!(keys(cache, "a*b").await, set(["a*b", "aXb"]));
        assert_eq!(keys(cache, "a?b").await, set(["a*b", "aXb"]));
        assert_eq!(keys(cache, r"\[x\]").await, set(["[x]"]));
        assert_eq!(keys(cache, r"back\\slash").await, set(["back\\slash"]));
        assert_eq!(keys(cache, "caret^").await, set(["caret^"]));
        assert_eq!(keys(cache, "da-sh").await, set(["da-sh"]));
        assert_eq!(keys(cache, "[a-d]*").await, set(["a*b", "aXb", "back\\slash", "caret^", "da-sh"]));
        assert_eq!(keys(cache, "user:1").await, set(["user:1"]));
        assert_eq!(keys(cache, "user").await, set([]));
        assert_eq!(keys(cache, "").await, set([]));
        assert_eq!(cache.delete_match("user:*").await.unwrap(), 4);
        assert_eq!(cache.invalidate_pattern("*list*").await.unwrap(), 1);
        assert_eq!(cache.delete_match("user:*").await.unwrap(), 0);
        assert_eq!(cache.delete_match("").await.unwrap(), 0);
        assert_eq!(cache.delete_match(r"\[x\]").await.unwrap(), 1);
        assert_eq!(keys(cache, "*").await, set(["a*b", "aXb", "order:1", "back\\slash", "caret^", "da-sh"]));
        assert_eq!(cache.delete_match("*").await.unwrap(), 6);
    }

    /// D1 P7: a cache of thousands of keys is listed, each key once, and dropped by pattern, each entry counted once.
    async fn thousands_of_keys(on: &On) {
        let cache = &on.cache;
        let all: Vec<String> = (0..6000).map(|n| format!("{}:{n}", if n % 3 == 0 { "third" } else { "row" })).collect();
        for part in all.chunks(1000) {
            cache.set_many(part.iter().map(|key| (key.as_str(), 1_u8))).await.unwrap();
        }
        assert_eq!(keys(cache, "*").await.len(), 6000);
        assert_eq!(keys(cache, "third:*").await.len(), 2000);
        let mut stream = cache.keys("row:*");
        for _ in 0..10 {
            let key = stream.next().await.unwrap().unwrap();
            assert!(cache.exists(key).await.unwrap(), "what is listed can be asked for while the list goes on");
        }
        drop(stream);
        assert_eq!(cache.delete_match("third:*").await.unwrap(), 2000);
        assert_eq!(keys(cache, "*").await.len(), 4000);
        assert_eq!(cache.delete_match("*5").await.unwrap(), 400);
        // What lies on the server is in the way of every other case's scans.
        assert_eq!(cache.delete_match("row:*").await.unwrap(), 3600);
        assert!(cache.keys("*").next().await.is_none());
    }

    /// D1 B5: a pattern counts the entries that it drops. What is invalid already is none; on a server it may lie there still,
    /// and is counted, since nobody asks for the cells of each.
    async fn a_pattern_counts_what_it_drops(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for id in 0..5 {
            get_user(&db, id).await;
            cache.set(key!("by:hand:<id>"), 1_u8).tags(["hand"]).await.unwrap();
        }
        assert_eq!(cache.delete_match("user:*").await.unwrap(), 5);
        cache.invalidate("hand").await.unwrap();
        let dropped = cache.delete_match("by:*").await.unwrap();
        assert_eq!(dropped, if on.is_shared() { 5 } else { 0 });
        cache.incr("count", 1).await.unwrap();
        cache.set("expired", 1_u8).ttl(std::time::Duration::from_millis(1)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert_eq!(cache.delete_match("*").await.unwrap(), 1, "a counter is one entry");
        assert_eq!(cache.delete_match("*").await.unwrap(), 0);
    }

    /// D1: expired and invalidated entries are not listed, whatever lies around of them.
    async fn only_what_is_there_is_listed(on: &On) {
        let cache = &on.cache;
        cache.set("a", 1_u8).ttl(std::time::Duration::from_millis(1)).await.unwrap();
        cache.set("b", 1_u8).tags(["t"]).await.unwrap();
        cache.set("c", 1_u8).await.unwrap();
        cache.set("d", 1_u8).namespace("n").await.unwrap();
        cache.set("e", 1_u8).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        cache.invalidate("t").await.unwrap();
        cache.invalidate_namespace("n").await.unwrap();
        cache.delete("e").await.unwrap();
        let mut stream = cache.keys("*");
        assert_eq!(stream.next().await.unwrap().unwrap().as_str(), "c");
        assert!(stream.next().await.is_none());
        assert!(stream.next().await.is_none(), "the end stays the end");
    }

    /// D1: what `keys` yields can be used: the key of an annotated function reads its entry.
    async fn a_listed_key_can_be_used(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        get_user(&db, 7).await;
        let key = cache.keys("user:*").next().await.unwrap().unwrap();
        assert_eq!(cache.get::<Row>(key.clone()).await.unwrap(), Some(Row::fresh(7)));
        assert_eq!(cache.get::<Row>(key!("user:<id>", id = 7)).await.unwrap(), Some(Row::fresh(7)));
        assert_eq!(cache.get::<Row>(get_user::key(7)).await.unwrap(), Some(Row::fresh(7)));
        assert!(cache.delete(key).await.unwrap());
        assert_eq!(get_user::peek(7).await.unwrap(), None);
    }

    /// B5: tags after the fact: on entries of any origin; ttl, value and earlier tags stay.
    async fn an_entry_can_be_tagged_later(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        cache.set("k", 1_u8).ttl(60).tags(["first"]).await.unwrap();
        assert!(cache.tag("k", ["user", "profile", "tenant:7"]).await.unwrap());
        assert!(cache.tag("k", "user").await.unwrap(), "twice is once");
        assert!(!cache.tag("nothing", ["user"]).await.unwrap());
        assert!(!cache.exists("nothing").await.unwrap());
        let left = cache.ttl("k").await.unwrap().unwrap().duration().unwrap();
        assert!(left.as_secs() <= 60 && left.as_secs() > 45, "{left:?}");
        get_user(&db, 1).await;
        assert!(cache.tag("user:1", "user").await.unwrap());
        assert_eq!(get_user(&db, 1).await, Row::fresh(1));
        assert_eq!(db.loads(), 1, "the function still finds its entry");
        on.other().await.invalidate_tags(["user"]).await.unwrap();
        on.heard().await;
        assert_eq!(cache.get::<u8>("k").await.unwrap(), None);
        assert_eq!(get_user::peek(1).await.unwrap(), None);
        get_user(&db, 1).await;
        assert_eq!(db.loads(), 2);
        cache.set("k", 1_u8).tags(["first"]).await.unwrap();
        cache.tag("k", ["second"]).await.unwrap();
        cache.invalidate_tags("first").await.unwrap();
        assert_eq!(cache.get::<u8>("k").await.unwrap(), None, "the first tags are kept");
        cache.set("k", 1_u8).await.unwrap();
        cache.invalidate("second").await.unwrap();
        assert_eq!(cache.get::<u8>("k").await.unwrap(), Some(1), "a `set` begins anew: tags are its own");
        cache.set("f", 1_u8).ttl("forever").await.unwrap();
        cache.tag("f", ["t"]).await.unwrap();
        assert_eq!(cache.ttl("f").await.unwrap().unwrap().duration(), None);
        cache.invalidate("t").await.unwrap();
        assert!(!cache.exists("f").await.unwrap());
    }

    /// D1 E10: `clear` empties this prefix and version and no other, functions' entries and counters included.
    async fn clear_empties_this_cache(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let neighbours = [
            on.with(|builder| builder.version("v2")).await,
            on.with(|builder| builder.prefix("somebody.else")).await,
        ];
        for other in &neighbours {
            other.clear().await.unwrap();
            other.set("k", 2_u8).await.unwrap();
        }
        get_user(&db, 1).await;
        cache.set("k", 1_u8).ttl("forever").await.unwrap();
        cache.incr("n", 1).await.unwrap();
        cache.clear().await.unwrap();
        assert_eq!(keys(cache, "*").await, set([]));
        assert_eq!(cache.get::<u8>("k").await.unwrap(), None);
        assert_eq!(cache.incr("n", 1).await.unwrap(), 1);
        get_user(&db, 1).await;
        assert_eq!(db.loads(), 2);
        for other in &neighbours {
            assert_eq!(other.get::<u8>("k").await.unwrap(), Some(2));
            assert_eq!(keys(other, "*").await, set(["k"]), "and it lists its own only");
        }
        cache.delete_match("*").await.unwrap();
        assert_eq!(neighbours[0].get::<u8>("k").await.unwrap(), Some(2));
    }

    /// E10: `cleanup_expired` takes nothing that could still be served.
    async fn cleanup_takes_nothing_that_is_there(on: &On) {
        let cache = &on.cache;
        for n in 0..10 {
            cache.set(format!("short:{n}"), n).ttl(std::time::Duration::from_millis(1)).await.unwrap();
            cache.set(format!("long:{n}"), n).await.unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let cleaned = cache.cleanup_expired().await.unwrap();
        assert!(on.is_shared() || cleaned == 10, "{cleaned}: servers do it by themselves, memory is asked");
        assert_eq!(keys(cache, "*").await.len(), 10);
        assert_eq!(cache.cleanup_expired().await.unwrap(), 0);
    }
}

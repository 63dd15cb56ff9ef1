//! `Cache` by hand: every method, typed, with what it returns where something is there and where nothing is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_runtime::{Cache, Engine, ErrorKind, Key, TestCache, Ttl, cache_read, key};
use cache_tests::{Failed, Row, Source, until};

const SECOND: Duration = Duration::from_secs(1);

#[cache_read(key = "user:<id>", tags = ["users"], skip(db))]
async fn get_user(db: &Source, id: u64) -> Row {
    db.row(id).await
}

async fn keys(cache: &Cache, pattern: &str) -> BTreeSet<String> {
    cache.keys(pattern).collect::<Vec<Key>>().await.unwrap().iter().map(ToString::to_string).collect()
}

fn set<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(ToOwned::to_owned).into()
}

/// A10 C1 D1: what was set comes back with its type; a `set` replaces; nothing is `None`.
#[tokio::test]
async fn set_and_get() {
    let cache = Cache::for_test();
    assert_eq!(cache.get::<Row>("user:1").await.unwrap(), None);
    cache.set("user:1", Row::fresh(1)).await.unwrap();
    cache.set("user:2", &Row::fresh(2)).await.unwrap();
    assert_eq!(cache.get::<Row>("user:1").await.unwrap(), Some(Row::fresh(1)));
    assert_eq!(cache.get::<Row>("user:2").await.unwrap(), Some(Row::fresh(2)));
    cache.set("user:1", Row::fresh(9)).await.unwrap();
    assert_eq!(cache.get::<Row>("user:1").await.unwrap(), Some(Row::fresh(9)));
    let (one, two) = (cache.get_arc::<Row>("user:1").await.unwrap(), cache.get_arc::<Row>("user:1").await.unwrap());
    assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
    cache.set(String::from("s"), "text".to_owned()).await.unwrap();
    assert_eq!(cache.get::<String>("s").await.unwrap().as_deref(), Some("text"));
    cache.set("list", vec![Some(1), None]).await.unwrap();
    assert_eq!(cache.get::<Vec<Option<i32>>>("list").await.unwrap(), Some(vec![Some(1), None]));
}

/// C1: a value is read as the type that it was stored as, and never as another.
#[tokio::test]
async fn a_value_of_another_type_is_not_there() {
    let cache = Cache::for_test();
    cache.set("n", 1_u64).await.unwrap();
    assert_eq!(cache.get::<u32>("n").await.unwrap(), None);
    assert_eq!(cache.get::<String>("n").await.unwrap(), None);
    assert_eq!(cache.get::<u64>("n").await.unwrap(), Some(1));
}

/// E2 A7: the ttl of a `set`: the default bucket unless said, text, seconds, buckets, durations, forever.
#[tokio::test]
async fn set_takes_a_ttl() {
    let cache = Cache::for_test();
    cache.set("default", 1_u8).await.unwrap();
    cache.set("text", 1_u8).ttl("1m30s").await.unwrap();
    cache.set("seconds", 1_u8).ttl(7).await.unwrap();
    cache.set("bucket", 1_u8).ttl(Ttl::Short).await.unwrap();
    cache.set("duration", 1_u8).ttl(Duration::from_millis(5)).await.unwrap();
    cache.set("forever", 1_u8).ttl("forever").await.unwrap();
    let left = async |key| cache.ttl(key).await.unwrap().map(|left| left.duration());
    assert_eq!(left("default").await, Some(Some(SECOND * 300)));
    assert_eq!(left("text").await, Some(Some(SECOND * 90)));
    assert_eq!(left("seconds").await, Some(Some(SECOND * 7)));
    assert_eq!(left("bucket").await, Some(Some(SECOND * 30)));
    assert_eq!(left("duration").await, Some(Some(Duration::from_millis(5))));
    assert_eq!(left("forever").await, Some(None));
    assert_eq!(left("nothing").await, None);
    cache.advance(Duration::from_millis(5));
    assert_eq!(left("duration").await, None);
    assert_eq!(cache.get::<u8>("duration").await.unwrap(), None);
    assert_eq!(left("seconds").await, Some(Some(SECOND * 7 - Duration::from_millis(5))));
    cache.advance(SECOND * 1_000_000);
    assert_eq!(cache.get::<u8>("forever").await.unwrap(), Some(1));
}

/// D1: `expire` gives another life from now on, for ever included, and says whether something was there.
#[tokio::test]
async fn expire_and_ttl() {
    let cache = Cache::for_test();
    cache.set("k", 1_u8).ttl(10).await.unwrap();
    cache.advance(SECOND * 9);
    assert!(cache.expire("k", 10).await.unwrap());
    cache.advance(SECOND * 9);
    assert_eq!(cache.ttl("k").await.unwrap().unwrap().duration(), Some(SECOND));
    assert!(cache.expire("k", "forever").await.unwrap());
    assert_eq!(cache.ttl("k").await.unwrap().unwrap().duration(), None);
    assert!(cache.expire("k", "1s").await.unwrap());
    cache.advance(SECOND);
    assert!(!cache.exists("k").await.unwrap());
    assert!(!cache.expire("k", 10).await.unwrap(), "an expired entry cannot be revived");
    assert!(!cache.expire("nothing", 10).await.unwrap());
    cache.set("k", 1_u8).await.unwrap();
    assert!(cache.expire("k", 0).await.unwrap(), "zero drops it");
    assert!(!cache.exists("k").await.unwrap());
}

/// A10 D1: `delete` and `exists` say what was there.
#[tokio::test]
async fn delete_and_exists() {
    let cache = Cache::for_test();
    cache.set("k", 1_u8).await.unwrap();
    assert!(cache.exists("k").await.unwrap());
    assert!(cache.delete("k").await.unwrap());
    assert!(!cache.exists("k").await.unwrap());
    assert!(!cache.delete("k").await.unwrap());
    cache.set("old", 1_u8).ttl(1).await.unwrap();
    cache.advance(SECOND);
    assert!(!cache.delete("old").await.unwrap(), "an expired entry was not there");
}

/// A10: set-if-absent stores once, until the entry has gone.
#[tokio::test]
async fn set_if_absent() {
    let cache = Cache::for_test();
    assert!(cache.set_nx("lock", "me".to_owned()).ttl(10).await.unwrap());
    assert!(!cache.set_nx("lock", "you".to_owned()).ttl(10).await.unwrap());
    assert_eq!(cache.get::<String>("lock").await.unwrap().as_deref(), Some("me"));
    cache.advance(SECOND * 10);
    assert!(cache.set_nx("lock", "you".to_owned()).tags(["locks"]).await.unwrap());
    cache.invalidate("locks").await.unwrap();
    assert!(cache.set_nx("lock", "third".to_owned()).await.unwrap());
    assert_eq!(cache.get::<String>("lock").await.unwrap().as_deref(), Some("third"));
}

/// A10: of many concurrent set-if-absent one wins, and of many `pop` one gets the value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_wins() {
    let cache = Cache::for_test();
    for round in 0..50 {
        let key = format!("k{round}");
        let run = |pop: bool| {
            let tasks: Vec<_> = (0..8_u32)
                .map(|me| {
                    let (cache, key) = (cache.clone(), key.clone());
                    tokio::spawn(async move {
                        if pop {
                            cache.pop::<u32>(key).await.unwrap().is_some()
                        } else {
                            cache.set_nx(key, me).await.unwrap()
                        }
                    })
                })
                .collect();
            async move {
                let mut won = 0;
                for task in tasks {
                    won += u32::from(task.await.unwrap());
                }
                won
            }
        };
        assert_eq!(run(false).await, 1);
        assert_eq!(run(true).await, 1);
    }
}

/// A10: get-and-delete.
#[tokio::test]
async fn pop_takes_the_value_out() {
    let cache = Cache::for_test();
    cache.set("k", Row::fresh(1)).await.unwrap();
    assert_eq!(cache.pop::<Row>("k").await.unwrap(), Some(Row::fresh(1)));
    assert_eq!(cache.pop::<Row>("k").await.unwrap(), None);
    cache.set("typed", 1_u64).await.unwrap();
    assert_eq!(cache.pop::<String>("typed").await.unwrap(), None);
    assert_eq!(cache.get::<u64>("typed").await.unwrap(), Some(1), "what was not handed out was not taken");
}

/// A10: counters: from nothing, up and down, with their expiry kept; no overflow, no other type.
#[tokio::test]
async fn counters() {
    let cache = Cache::for_test();
    assert_eq!(cache.incr("n", 5).await.unwrap(), 5);
    assert_eq!(cache.incr("n", 1).await.unwrap(), 6);
    assert_eq!(cache.decr("n", 10).await.unwrap(), -4);
    assert_eq!(cache.get::<i64>("n").await.unwrap(), Some(-4));
    cache.expire("n", 10).await.unwrap();
    cache.advance(SECOND * 4);
    cache.incr("n", 1).await.unwrap();
    assert_eq!(cache.ttl("n").await.unwrap().unwrap().duration(), Some(SECOND * 6));
    cache.advance(SECOND * 6);
    assert_eq!(cache.incr("n", 1).await.unwrap(), 1, "it begins anew after its end");

    cache.set("big", i64::MAX).await.unwrap();
    assert_eq!(cache.incr("big", 1).await.unwrap_err().kind(), ErrorKind::WrongType);
    assert_eq!(cache.get::<i64>("big").await.unwrap(), Some(i64::MAX));
    cache.set("zero", 0_i64).await.unwrap();
    assert_eq!(cache.decr("zero", i64::MAX).await.unwrap(), -i64::MAX);
    cache.set("minus", -1_i64).await.unwrap();
    assert_eq!(cache.decr("minus", i64::MIN).await.unwrap(), i64::MAX, "-1 - MIN is MAX");
    cache.set("text", "x".to_owned()).await.unwrap();
    assert_eq!(cache.incr("text", 1).await.unwrap_err().kind(), ErrorKind::WrongType);
    assert_eq!(cache.get::<String>("text").await.unwrap().as_deref(), Some("x"));
}

/// A10: concurrent increments are all counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_are_atomic() {
    let cache = Cache::for_test();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    cache.incr("n", 1).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(cache.get::<i64>("n").await.unwrap(), Some(1600));
}

/// D6: several at once, in the order asked, with one ttl and set of tags.
#[tokio::test]
async fn get_many_and_set_many() {
    let cache = Cache::for_test();
    cache.set_many([("a", 1_u64), ("b", 2), ("c", 3)]).ttl(10).tags(["abc"]).namespace("n").await.unwrap();
    assert_eq!(cache.get_many::<u64>(["c", "nothing", "a"]).await.unwrap(), [Some(3), None, Some(1)]);
    assert_eq!(cache.get_many::<u64>(Vec::<String>::new()).await.unwrap(), []);
    assert_eq!(cache.ttl("b").await.unwrap().unwrap().duration(), Some(SECOND * 10));
    cache.invalidate_namespace("n").await.unwrap();
    assert_eq!(cache.get_many::<u64>(["a", "b"]).await.unwrap(), [None, None]);
    cache.set_many(vec![(key!("k:<id>", id = 1), Row::fresh(1))]).tags("t").await.unwrap();
    assert_eq!(cache.get::<Row>("k:1").await.unwrap(), Some(Row::fresh(1)));
    cache.invalidate("t").await.unwrap();
    assert_eq!(cache.get::<Row>("k:1").await.unwrap(), None);
}

/// E5: `get_or_load` loads once, keeps ttl and tags, and never keeps an error.
#[tokio::test]
async fn get_or_load() {
    let (cache, db) = (Cache::for_test(), Source::new());
    let load = || async { cache.get_or_load("row", || db.load(1)).ttl("10s").tags(["rows"]).await };
    db.set_failing(true);
    assert_eq!(load().await, Err(Failed));
    db.set_failing(false);
    assert_eq!(load().await, Ok(Row::fresh(1)));
    assert_eq!(load().await, Ok(Row::fresh(1)));
    assert_eq!(db.loads(), 2);
    assert_eq!(cache.ttl("row").await.unwrap().unwrap().duration(), Some(SECOND * 10));
    cache.invalidate("rows").await.unwrap();
    load().await.unwrap();
    assert_eq!(db.loads(), 3);
    cache.advance(SECOND * 10);
    load().await.unwrap();
    assert_eq!(db.loads(), 4);
    cache.set("row", "of another type".to_owned()).await.unwrap();
    assert_eq!(load().await, Ok(Row::fresh(1)));
    assert_eq!(load().await, Ok(Row::fresh(1)));
    assert_eq!(db.loads(), 5, "another type is a miss, and is replaced");
    cache.set_failing(true);
    load().await.expect("a failing store is a miss");
    assert_eq!(db.loads(), 6);
}

/// E5 C10: concurrent `get_or_load` share one load.
#[tokio::test]
async fn concurrent_get_or_load_share_one_load() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let held = db.hold().await;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (cache, db) = (cache.clone(), Arc::clone(&db));
            tokio::spawn(async move { cache.get_or_load("row", || async { Ok::<_, Failed>(db.row(1).await) }).await })
        })
        .collect();
    until("the load", || db.loads() == 1).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(held);
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(Row::fresh(1)));
    }
    assert_eq!(db.loads(), 1);
}

/// P1: `delete`, `set` and `invalidate` win over a load that began before them.
#[tokio::test]
async fn a_direct_change_wins_over_an_older_load() {
    let (cache, db) = (Cache::for_test(), Source::new());
    let loads = |change: fn(TestCache) -> Box<dyn Future<Output = ()> + Unpin>| {
        let (cache, db) = (cache.clone(), &db);
        async move {
            let (held, before) = (db.hold().await, db.loads());
            let load = cache.get_or_load("row", || db.load(1)).tags(["rows"]);
            let change = async {
                until("the load runs", || db.loads() == before + 1).await;
                change(cache.clone()).await;
                drop(held);
            };
            tokio::join!(async { load.await.unwrap() }, change);
            let found = cache.get::<Row>("row").await.unwrap();
            cache.clear().await.unwrap();
            found.map(|row| row.name)
        }
    };
    macro_rules! change {
        (|$cache:ident| $work:expr) => {
            loads(|$cache| {
                Box::new(Box::pin(async move {
                    let _ = $work.await.unwrap();
                }))
            })
        };
    }
    assert_eq!(change!(|cache| async { Ok::<_, ()>(cache) }).await.as_deref(), Some("row 1"), "nothing changed");
    assert_eq!(change!(|cache| cache.delete("row")).await, None);
    assert_eq!(change!(|cache| cache.invalidate("rows")).await, None);
    assert_eq!(change!(|cache| cache.invalidate("row")).await, None);
    assert_eq!(change!(|cache| cache.invalidate_keys(["row"])).await, None);
    assert_eq!(change!(|cache| cache.delete_match("r?w")).await, None);
    assert_eq!(change!(|cache| cache.clear()).await, None);
    assert_eq!(change!(|cache| cache.pop::<Row>("row")).await, None);
    let stored = change!(|cache| cache.set("row", Row { name: "claimed".to_owned(), ..Row::fresh(1) })).await;
    assert_eq!(stored.as_deref(), Some("claimed"));
}

/// D1 A10: `keys` and `delete_match` take globs; `delete_match` says how many went.
#[tokio::test]
async fn globs() {
    let cache = Cache::for_test();
    let all = ["user:1", "user:2", "user:12", "user:profile:1", "users:list:1", "a*b", "aXb", "[x]", "order:1"];
    for name in all {
        cache.set(name, 1_u8).await.unwrap();
    }
    assert_eq!(keys(&cache, "*").await, set(all));
    assert_eq!(keys(&cache, "user:?").await, set(["user:1", "user:2"]));
    assert_eq!(keys(&cache, "user:[13-9]*").await, set(["user:1", "user:12"]));
    assert_eq!(keys(&cache, "*:1").await, set(["user:1", "user:profile:1", "users:list:1", "order:1"]));
    assert_eq!(keys(&cache, "*:list:*").await, set(["users:list:1"]));
    assert_eq!(keys(&cache, r"a\*b").await, set(["a*b"]));
    assert_eq!(keys(&cache, "a*b").await, set(["a*b", "aXb"]));
    assert_eq!(keys(&cache, r"\[x\]").await, set(["[x]"]));
    assert_eq!(keys(&cache, "user:1").await, set(["user:1"]));
    assert_eq!(keys(&cache, "user").await, set([]));
    assert_eq!(keys(&cache, "").await, set([]));
    assert_eq!(cache.delete_match("user:*").await.unwrap(), 4);
    assert_eq!(cache.invalidate_pattern("*list*").await.unwrap(), 1);
    assert_eq!(cache.delete_match("user:*").await.unwrap(), 0);
    assert_eq!(keys(&cache, "*").await, set(["a*b", "aXb", "[x]", "order:1"]));
}

/// D1: `keys` is a stream, and expired or invalidated entries are not in it.
#[tokio::test]
async fn keys_are_those_that_are_there() {
    let cache = Cache::for_test();
    cache.set("a", 1_u8).ttl(1).await.unwrap();
    cache.set("b", 1_u8).tags(["t"]).await.unwrap();
    cache.set("c", 1_u8).await.unwrap();
    cache.advance(SECOND);
    cache.invalidate("t").await.unwrap();
    let mut stream = cache.keys("*");
    assert_eq!(stream.next().await.unwrap().unwrap().as_str(), "c");
    assert!(stream.next().await.is_none());
    cache.set_failing(true);
    assert_eq!(cache.keys("*").next().await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(cache.keys("*").collect::<Vec<_>>().await.is_err());
}

/// D1: what `keys` yields can be used: the key of an annotated function reads its entry.
#[tokio::test]
async fn a_listed_key_can_be_used() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 7).await;
            let key = cache.keys("user:*").next().await.unwrap().unwrap();
            assert_eq!(cache.get::<Row>(key.clone()).await.unwrap(), Some(Row::fresh(7)));
            assert_eq!(cache.get::<Row>(key!("user:<id>", id = 7)).await.unwrap(), Some(Row::fresh(7)));
            assert_eq!(cache.get::<Row>(get_user::key(7)).await.unwrap(), Some(Row::fresh(7)));
            assert!(cache.delete(key).await.unwrap());
            assert_eq!(get_user::peek(7).await.unwrap(), None);
        })
        .await;
}

/// B5: tags after the fact: on entries of any origin; ttl and value stay.
#[tokio::test]
async fn an_entry_can_be_tagged_later() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            cache.set("k", 1_u8).ttl(10).tags(["first"]).await.unwrap();
            assert!(cache.tag("k", ["user", "profile", "tenant:7"]).await.unwrap());
            assert!(!cache.tag("nothing", ["user"]).await.unwrap());
            assert_eq!(cache.ttl("k").await.unwrap().unwrap().duration(), Some(SECOND * 10));
            get_user(&db, 1).await;
            cache.tag("user:1", "user").await.unwrap();
            cache.invalidate_tags(["user"]).await.unwrap();
            assert_eq!(cache.get::<u8>("k").await.unwrap(), None);
            assert_eq!(get_user::peek(1).await.unwrap(), None);
            cache.set("k", 1_u8).tags(["first"]).await.unwrap();
            cache.tag("k", ["second"]).await.unwrap();
            cache.invalidate_tags("first").await.unwrap();
            assert_eq!(cache.get::<u8>("k").await.unwrap(), None, "the first tags are kept");
        })
        .await;
}

/// B5 E4: tags, keys and namespaces, each taking exactly what it names.
#[tokio::test]
async fn invalidation_by_tag_key_and_namespace() {
    let cache = Cache::for_test();
    let fill = async || {
        for (key, tag, namespace) in [("a", "x", "n"), ("b", "x", "m"), ("c", "y", "n"), ("x", "z", "o")] {
            cache.set(key, 1_u8).tags([tag, "all"]).namespace(namespace).await.unwrap();
        }
    };
    fill().await;
    cache.invalidate("x").await.unwrap();
    assert_eq!(keys(&cache, "*").await, set(["c"]), "tag x, and the entry of that name");
    fill().await;
    assert_eq!(cache.invalidate_keys(["x", "nothing", "a"]).await.unwrap(), 2);
    assert_eq!(keys(&cache, "*").await, set(["b", "c"]));
    fill().await;
    cache.invalidate_namespace("n").await.unwrap();
    assert_eq!(keys(&cache, "*").await, set(["b", "x"]));
    fill().await;
    cache.invalidate(["y", "z"]).await.unwrap();
    assert_eq!(keys(&cache, "*").await, set(["a", "b"]));
    fill().await;
    cache.invalidate("all").await.unwrap();
    assert_eq!(keys(&cache, "*").await, set([]));
}

/// E10 D1: `clear` empties this cache and no other, annotated functions' entries included.
#[tokio::test]
async fn clear_empties_this_cache() {
    let (cache, other, db) = (Cache::for_test(), Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 1).await;
            cache.set("k", 1_u8).await.unwrap();
            cache.incr("n", 1).await.unwrap();
            other.set("k", 1_u8).await.unwrap();
            cache.clear().await.unwrap();
            assert_eq!(cache.stats().entries, 0);
            assert_eq!(cache.incr("n", 1).await.unwrap(), 1);
            get_user(&db, 1).await;
            assert_eq!(db.loads(), 2);
            assert!(other.exists("k").await.unwrap());
        })
        .await;
}

/// E10: `cleanup_expired` frees what can no longer be served and says how many those were.
#[tokio::test]
async fn cleanup_frees_what_has_gone() {
    let cache = Cache::for_test();
    for n in 0..10 {
        cache.set(format!("short:{n}"), n).ttl(1).await.unwrap();
        cache.set(format!("long:{n}"), n).ttl(100).tags([format!("t:{n}")]).await.unwrap();
    }
    assert_eq!(cache.cleanup_expired().await.unwrap(), 0);
    cache.advance(SECOND);
    assert_eq!(cache.cleanup_expired().await.unwrap(), 10);
    cache.invalidate(["t:1", "t:2"]).await.unwrap();
    assert_eq!(cache.cleanup_expired().await.unwrap(), 2);
    assert_eq!(cache.stats().entries, 8);
}

/// E9: an entry's history: created, expires, hits, last access.
#[tokio::test]
async fn entry_info() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(cache.entry_info("user:1").await.unwrap(), None);
            get_user(&db, 1).await;
            let first = cache.entry_info("user:1").await.unwrap().unwrap();
            assert_eq!(first.hits, 0);
            assert_eq!(first.expires.unwrap().duration_since(first.created).unwrap(), SECOND * 300);
            assert!(first.created > SystemTime::UNIX_EPOCH && first.bytes > 0);
            cache.advance(SECOND * 5);
            get_user(&db, 1).await;
            get_user(&db, 1).await;
            let then = cache.entry_info("user:1").await.unwrap().unwrap();
            assert_eq!((then.hits, then.created), (2, first.created));
            assert_eq!(then.last_access.duration_since(then.created).unwrap(), SECOND * 5);
            get_user::peek(1).await.unwrap();
            assert_eq!(cache.entry_info("user:1").await.unwrap().unwrap().hits, 2, "looking is no hit");
            cache.set("forever", 1_u8).ttl("forever").await.unwrap();
            assert_eq!(cache.entry_info("forever").await.unwrap().unwrap().expires, None);
        })
        .await;
}

/// A10 D1 D9: `ping` and `info`.
#[tokio::test]
async fn ping_and_info() {
    let cache = Cache::for_test();
    cache.ping().await.unwrap();
    let info = cache.info().await.unwrap();
    assert_eq!((info.backend, info.prefix.as_str(), info.max_items, info.enabled), ("memory", "svc:v1", 10_000, true));
    assert_eq!(info.engine, Engine::default());
    cache.advance(SECOND * 5);
    assert_eq!(cache.info().await.unwrap().uptime, SECOND * 5);
    cache.set_failing(true);
    assert_eq!(cache.ping().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// A8: after `close` direct calls fail by kind, and annotated functions call their source.
#[tokio::test]
async fn a_closed_cache_is_not_used() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 1).await;
            cache.close().await.unwrap();
            cache.close().await.expect("closing twice is fine");
            for error in [
                cache.get::<Row>("user:1").await.unwrap_err(),
                cache.set("k", 1_u8).await.unwrap_err(),
                cache.ping().await.unwrap_err(),
                cache.clear().await.unwrap_err(),
                cache.keys("*").next().await.unwrap().unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Closed);
                assert!(!error.is_retryable());
            }
            get_user(&db, 1).await;
            assert_eq!(db.loads(), 2);
        })
        .await;
}

/// P9: every direct call says so where the store fails, and works again after it.
#[tokio::test]
async fn every_direct_call_says_that_the_store_fails() {
    let cache = Cache::for_test();
    cache.set("k", 1_i64).await.unwrap();
    cache.set_failing(true);
    macro_rules! unavailable {
        ($($call:expr),* $(,)?) => {
            $(let error = $call.await.map(drop).expect_err(stringify!($call));
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", stringify!($call));
            assert!(error.is_retryable());)*
        };
    }
    unavailable!(
        cache.get::<i64>("k"),
        cache.get_arc::<i64>("k"),
        cache.get_many::<i64>(["k"]),
        cache.set("k", 1_i64),
        cache.set_nx("k", 1_i64),
        cache.set_many([("k", 1_i64)]),
        cache.delete("k"),
        cache.pop::<i64>("k"),
        cache.exists("k"),
        cache.expire("k", 1),
        cache.ttl("k"),
        cache.incr("k", 1),
        cache.decr("k", 1),
        cache.delete_match("*"),
        cache.invalidate_pattern("*"),
        cache.tag("k", "t"),
        cache.invalidate("t"),
        cache.invalidate_tags("t"),
        cache.invalidate_keys(["k"]),
        cache.invalidate_namespace("n"),
        cache.clear(),
        cache.cleanup_expired(),
        cache.entry_info("k"),
        cache.info(),
        cache.ping(),
    );
    cache.set_failing(false);
    assert_eq!(cache.get::<i64>("k").await.unwrap(), Some(1));
}

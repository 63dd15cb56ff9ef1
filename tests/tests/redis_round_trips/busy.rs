//! Commands and keys of a cache that does everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cache_tests::redis::{Proxy, Server};

use super::fleet::{Fleet, Source, builder, soon, within};
use super::*;

/// Everything that these tests know, some of it at once.
async fn keep_busy(at: &Place, also_forever: bool) {
    for id in 0..10 {
        for (what, read) in READS {
            if also_forever || what != "for ever" {
                read(at, id).await;
                read(at, id).await;
            }
        }
        a_day(at, id).await;
        if also_forever {
            forever_json(at, id).await;
        }
        write_much(at, id).await;
        tokio::join!(put_alone(at, id), put_with_own_tag(at, id), put_of_result(at, id), put_with_result_tags(at, id));
        tokio::join!(locked(at, id), two_tags(at, id), result_tags(at, id), write_recache(at, id), write_tag(at, id));
        at.cache.set(format!("k:{id}"), id).tags(["all", "more"]).await.unwrap();
        at.cache.set_nx(format!("nx:{id}"), id).await.unwrap();
        at.cache.incr(format!("n:{id}"), 1).await.unwrap();
        at.cache.incr(format!("n:{id}"), 1).await.unwrap();
        at.cache.expire(format!("k:{id}"), "2h").await.unwrap();
        at.cache.tag(format!("k:{id}"), ["labelled"]).await.unwrap();
        two_tags::put(&at.source.now(id), at, id).await.unwrap();
        a_day::put(&at.source.now(id), at, id).await.unwrap();
    }
    at.cache.keys("*").collect::<Vec<_>>().await.unwrap();
    at.cache.delete_match("k:[1-3]*").await.unwrap();
    at.cache.pop::<u64>("k:5").await.unwrap();
    at.cache.invalidate_namespace("rows").await.unwrap();
    two_tags::clear(at).await.unwrap();
    at.cache.clear().await.unwrap();
    // And what is there at the end.
    for id in 0..10 {
        for (what, read) in READS {
            if also_forever || what != "for ever" {
                read(at, id).await;
                read(at, id).await;
            }
        }
        a_day(at, id).await;
        at.cache.set(format!("k:{id}"), id).tags(["all", "more"]).await.unwrap();
        at.cache.incr(format!("n:{id}"), 1).await.unwrap();
    }
    if also_forever {
        forever_json(at, 1).await;
    }
}

async fn busy(also_forever: bool) -> (Server, Proxy, Place) {
    let server = Server::start().await;
    let proxy = Proxy::start(server.addr());
    let cache = builder(&proxy.url(), "busy").build().await.unwrap();
    let place = Arc::into_inner(Place::new(cache, &Arc::<Source>::default())).unwrap();
    within("a busy cache", keep_busy(&place, also_forever)).await;
    // Half of a load.
    place.source.hold(77, 0, u64::MAX);
    assert!(tokio::time::timeout(Duration::from_millis(20), json(&place, 77)).await.is_err());
    (server, proxy, place)
}

/// P10 N6: nothing is sent that takes time with what the server holds, or touches what is not ours.
#[tokio::test]
async fn a_busy_cache_sends_no_command_that_it_should_not() {
    let (server, proxy, _place) = busy(true).await;
    let sent = proxy.commands();
    // What the documentation of the Redis backend says that a user has to be allowed.
    let allowed: BTreeSet<&str> =
        "HELLO AUTH SELECT INFO PING GET MGET SET UNLINK EVAL PEXPIRE PERSIST PTTL EXISTS INCRBY \
                                   PUBLISH SUBSCRIBE UNSUBSCRIBE SCAN"
            .split_whitespace()
            .collect();
    for command in sent.keys() {
        assert!(allowed.contains(command.as_str()), "{command} was sent: {sent:?}");
    }
    assert!(sent["MGET"] > 100 && sent["EVAL"] > 100, "{sent:?}");
    // And what scripts call.
    let stats: String = server.query(&["INFO", "commandstats"]).await;
    let called = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next());
    let ours: BTreeSet<String> = called.map(str::to_ascii_uppercase).collect();
    for never in ["KEYS", "FLUSHDB", "FLUSHALL", "SMEMBERS", "SADD", "DEL", "RANDOMKEY", "DBSIZE", "MONITOR"] {
        assert!(!ours.contains(never), "{never} was called");
    }
    assert!(ours.iter().all(|name| !name.starts_with("CONFIG")), "{ours:?}");
}

/// P7 P10: the names of all keys begin with the cache's prefix and version and are of a known kind.
#[tokio::test]
async fn a_busy_cache_has_no_key_of_an_unknown_kind() {
    let (server, _proxy, place) = busy(true).await;
    let keys: Vec<String> = server.query(&["KEYS", "*"]).await;
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for key in &keys {
        let rest = key.strip_prefix("busy:v1:").unwrap_or_else(|| panic!("{key} is not ours"));
        let rest = rest.strip_prefix("tenant-acme:").unwrap_or(rest);
        let kind = ["%+side:{busy:v1:", "%+lease:{busy:v1:", "%+tag:", "%+ns:", "%+fn:"];
        let kind = kind.into_iter().find(|kind| rest.starts_with(kind));
        let kind = kind.or_else(|| ["%+all", "%+any", "%+tenant"].into_iter().find(|name| *name == rest));
        assert!(kind.is_some() || !rest.contains("%+"), "{key} is of no known kind");
        *kinds.entry(kind.unwrap_or("entry")).or_default() += 1;
    }
    for kind in ["entry", "%+side:{busy:v1:", "%+tag:", "%+ns:", "%+fn:", "%+all", "%+tenant"] {
        assert!(kinds.contains_key(kind), "there is no {kind}: {kinds:?}");
    }
    // Loads that were cut short give their leases back.
    soon("background work", || place.cache.stats().background == 0).await;
    let leases: Vec<String> = server.query(&["KEYS", "busy:v1:%+lease:*"]).await;
    assert!(leases.is_empty(), "{leases:?}");
}

/// P7: every key goes by itself.
#[tokio::test]
async fn every_key_of_a_busy_cache_expires() {
    let (server, _proxy, _place) = busy(false).await;
    let keys: Vec<String> = server.query(&["KEYS", "*"]).await;
    assert!(keys.len() > 100, "{keys:?}");
    for key in &keys {
        let left: i64 = server.query(&["PTTL", key]).await;
        // Or it has gone meanwhile.
        assert!(left > 0 || left == -2, "{key} lives for ever");
        // A day is the longest; cells live for up to twice as long as what depends on them.
        assert!(left <= 49 * 3_600_000, "{key} lives for {left} ms");
    }
}

/// P7: but what `forever` asks for: its entries, and the cells that they depend on.
#[tokio::test]
async fn only_what_forever_asks_for_lives_for_ever() {
    let (server, _proxy, _place) = busy(true).await;
    let keys: Vec<String> = server.query(&["KEYS", "*"]).await;
    let mut for_ever = BTreeSet::new();
    for key in keys {
        if server.query::<i64>(&["PTTL", &key]).await == -1 {
            for_ever.insert(key.strip_prefix("busy:v1:").unwrap().to_owned());
        }
    }
    let belongs = |name: &str| {
        let of_it = ["forever:", "forever_json:", "%+side:{busy:v1:forever_json:", "%+tag:for ever:", "%+all"];
        of_it.iter().any(|start| name.starts_with(start)) || name.starts_with("%+fn:") && name.contains("forever")
    };
    for name in &for_ever {
        assert!(belongs(name), "{name} lives for ever");
    }
    for name in ["forever:3", "%+tag:for ever:3", "%+all", "forever_json:1", "%+side:{busy:v1:forever_json:1}"] {
        assert!(for_ever.contains(name), "{name} does not: {for_ever:?}");
    }
}

/// P7: cells live at least as long as the entries that depend on them, or an entry would go before its time.
#[tokio::test]
async fn cells_live_as_long_as_their_entries() {
    let fleet = Fleet::new().await;
    a_day(&fleet.a, 1).await;
    for key in fleet.keys().await {
        let left: i64 = fleet.ask(&["PTTL", &key]).await;
        assert!(left >= 24 * 3_600_000 - 60_000, "{key} lives for {left} ms only");
    }
    // Nor does an entry with a shorter life shorten theirs.
    two_tags(&fleet.b, 1).await;
    write_tag(&fleet.b, 1).await;
    let all: i64 = fleet.ask(&["PTTL", &format!("{}:v1:%+all", fleet.prefix)]).await;
    assert!(all >= 24 * 3_600_000 - 60_000, "{all} ms");
}

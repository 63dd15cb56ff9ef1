//! What is kept in memory, for how long, and what a hit costs.

use std::collections::HashMap;
use std::time::Duration;

use cache_runtime::{cache_read, memoize};
use tokio::time::sleep;

use super::fleet::{self, Place, Row};
use super::{Process, tagged, two, untagged, write};

#[cache_read(key = "far:<id>", cache = at.cache, local = false, skip(at))]
async fn far(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "capped:<id>", cache = at.cache, local = "150ms", skip(at))]
async fn capped(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "brief:<id>", cache = at.cache, ttl = "400ms", skip(at))]
async fn brief(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "json:<id>", cache = at.cache, codec = json, tags = ["group:<id>"], skip(at))]
async fn json(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "absent:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
async fn absent(at: &Place, id: u64) -> Option<Row> {
    Some(at.read(id).await).filter(|_| false)
}

#[cache_read(key = "own:<id>", cache = at.cache, tags = ["org:<result.org>"], skip(at))]
async fn by_result(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "batch:<id>", cache = at.cache, tags = ["group:<id>"], each(id in ids), skip(at))]
async fn batch(at: &Place, ids: Vec<u64>) -> HashMap<u64, Row> {
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, at.read(id).await);
    }
    rows
}

#[memoize(key = "memo:<id>", cache = at.cache, skip(at))]
async fn memo(at: &Place, id: u64) -> u64 {
    at.read(id).await.id
}

/// E1, P10, N4: a hit in memory costs nothing on the network, and each process fetches a value once.
#[tokio::test]
async fn a_hit_costs_nothing() {
    let (a, b, source) = two().await;
    tagged(&a.at, 1).await;
    // What was loaded is on the server, and from there once in the memory of each process.
    for process in [&a, &b] {
        process.copied(async || tagged(&process.at, 1).await).await;
        let many = async {
            for _ in 0..100 {
                tagged(&process.at, 1).await;
            }
        };
        assert_eq!(process.cost(many).await.1, 0);
    }
    assert_eq!(source.loads(1), 1);
}

/// E1: of whatever codec, absent or not, one or many, with tags of the call or of the value.
#[tokio::test]
async fn every_kind_of_entry_is_copied() {
    let (a, b, source) = two().await;
    for process in [&a, &b] {
        let at = &process.at;
        assert_eq!(process.copied(async || untagged(at, 1).await).await.id, 1);
        assert_eq!(process.copied(async || json(at, 2).await).await.id, 2);
        assert_eq!(process.copied(async || absent(at, 3).await).await, None);
        assert_eq!(process.copied(async || by_result(at, 4).await).await.id, 4);
        assert_eq!(process.copied(async || batch(at, vec![5, 6, 7]).await).await.len(), 3);
        assert_eq!(process.copied(async || memo(at, 8).await).await, 8);
    }
    let loads: Vec<u64> = (1..=8).map(|id| source.loads(id)).collect();
    // Tags of the value are known from the second load on; what is memoized is each process' own.
    assert_eq!(loads, [1, 1, 1, 2, 1, 1, 1, 2]);
}

/// E1: `local = false` asks the server each time, `local = "150ms"` after that time.
#[tokio::test]
async fn a_function_says_how_long_its_entries_are_copied() {
    let (a, _, source) = two().await;
    for _ in 0..3 {
        far(&a.at, 1).await;
    }
    assert_eq!(a.cost(far(&a.at, 1)).await.1, 1);
    a.copied(async || capped(&a.at, 2).await).await;
    sleep(Duration::from_millis(200)).await;
    assert!(a.cost(capped(&a.at, 2)).await.1 > 0);
    assert_eq!((source.loads(1), source.loads(2)), (1, 1));
}

/// E1: a copy that is made late does not live longer than what it was made of.
#[tokio::test]
async fn a_copy_does_not_outlive_its_entry() {
    let (a, b, source) = two().await;
    brief(&a.at, 1).await;
    sleep(Duration::from_millis(250)).await;
    b.copied(async || brief(&b.at, 1).await).await;
    source.commit(1);
    sleep(Duration::from_millis(160)).await;
    assert_eq!(brief(&b.at, 1).await.version, 1);
}

/// E1: what is asked for by key is asked of the server; `get_or_load` is a function, and keeps copies.
#[tokio::test]
async fn direct_calls_ask_the_server() {
    let (a, b, _) = two().await;
    let load = async |process: &Process| {
        let load = || async { Ok::<_, cache_runtime::Error>(process.at.read(1).await) };
        process.at.cache.get_or_load("direct", load).ttl("1m").await.unwrap()
    };
    load(&a).await;
    b.copied(async || load(&b).await).await;
    for _ in 0..3 {
        assert!(b.cost(b.at.cache.get::<Row>("direct")).await.1 > 0);
    }
    let row = Row { version: 7, ..load(&b).await };
    a.at.cache.set("direct", row).await.unwrap();
    assert_eq!(b.at.cache.get::<Row>("direct").await.unwrap().unwrap().version, 7);
}

/// P7: memory keeps as many copies as it is told to.
#[tokio::test]
async fn copies_are_bounded() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), std::sync::Arc::default());
    let a = Process::with(server, &prefix, &source, |builder| builder.max_items(10)).await;
    for id in 0..100 {
        tagged(&a.at, id).await;
        tagged(&a.at, id).await;
    }
    let again = async {
        for id in 0..100 {
            tagged(&a.at, id).await;
        }
    };
    assert!(a.cost(again).await.1 >= 85);
}

/// C5: hits are counted wherever they are.
#[tokio::test]
async fn hits_are_counted_wherever_they_are() {
    let (a, _, _) = two().await;
    for _ in 0..5 {
        tagged(&a.at, 1).await;
    }
    let stats = tagged::stats(&a.at);
    assert_eq!((stats.hits, stats.misses, stats.loads), (4, 1, 1), "{stats:?}");
}

/// P1: what was copied is not served to the process that has written, from the moment the write returns.
#[tokio::test]
async fn a_writer_reads_what_it_wrote() {
    let (a, _, _) = two().await;
    for version in 1..200 {
        a.copied(async || tagged(&a.at, 1).await).await;
        write(&a.at, 1).await;
        assert_eq!(tagged(&a.at, 1).await.version, version);
    }
}

//! Servers that are not there, die, stop, or come back with less or older data.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use cache_tests::redis::{Server, Snapshot};
use tokio::task::JoinSet;

use super::*;

/// C8
#[tokio::test]
async fn a_server_that_is_away_at_build_is_used_once_it_comes_up() {
    let server = Server::start().await;
    server.kill();
    let source = Arc::default();
    let at = quick("building", place(&server.url(), "t", &source)).await;
    for _ in 0..3 {
        assert_eq!(quick("a read", row(&at, 1)).await.version, 0);
    }
    assert_eq!(quick("a write", write(&at, 1)).await.version, 1);
    assert_eq!(quick("a read", row(&at, 1)).await.version, 1);
    assert!(at.cache.stats().degraded >= 4, "{:?}", at.cache.stats());
    let unavailable = |what: &str, error: Error| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
        assert!(error.is_retryable(), "{what}");
    };
    unavailable("get", at.cache.get::<u64>("n").await.unwrap_err());
    unavailable("set", at.cache.set("n", 1_u64).await.unwrap_err());
    unavailable("incr", at.cache.incr("n", 1).await.unwrap_err());
    unavailable("exists", at.cache.exists("n").await.unwrap_err());
    unavailable("invalidate", at.cache.invalidate("t").await.unwrap_err());
    unavailable("clear", at.cache.clear().await.unwrap_err());
    unavailable("ping", at.cache.ping().await.unwrap_err());
    unavailable("info", at.cache.info().await.unwrap_err());

    server.restart(Snapshot::Discard).await;
    until_hit("once the server is up", &at, 1, 1).await;
    at.cache.ping().await.unwrap();
    at.cache.set("n", 1_u64).await.unwrap();
    assert_eq!(at.cache.get::<u64>("n").await.unwrap(), Some(1));
}

/// P4, P5
#[tokio::test]
async fn a_server_that_was_killed_and_restarted_empty_is_used_again() {
    let server = Server::start().await;
    let source = Arc::default();
    let (a, b) = (place(&server.url(), "t", &source).await, place(&server.url(), "t", &source).await);
    until_hit("before", &a, 1, 0).await;
    until_hit("before", &b, 1, 0).await;
    server.kill();
    for version in 1..5 {
        assert_eq!(quick("a write", write(&a, 1)).await.version, version);
        assert_eq!(quick("a read", row(&a, 1)).await.version, version);
        assert_eq!(quick("a read elsewhere", row(&b, 1)).await.version, version, "no server, no old value");
    }
    server.restart(Snapshot::Discard).await;
    until_hit("in the writer", &a, 1, 4).await;
    until_hit("elsewhere", &b, 1, 4).await;
    eventually("everything is delivered", LONG, async || a.cache.stats().undelivered == 0).await;
}

/// P5
#[tokio::test]
async fn nothing_of_an_old_snapshot_is_served() {
    let server = Server::start().await;
    let source = Arc::default();
    let (a, b) = (place(&server.url(), "t", &source).await, place(&server.url(), "t", &source).await);
    for id in 1..=2 {
        until_hit("before the snapshot", &a, id, 0).await;
    }
    a.cache.set("n", 7_u64).tags("old").await.unwrap();
    server.save_now().await;
    write(&a, 1).await;
    until_hit("after the write", &a, 1, 1).await;
    let keys: u64 = server.query(&["DBSIZE"]).await;
    server.kill();
    server.restart(Snapshot::Keep).await;
    assert!(server.query::<u64>(&["DBSIZE"]).await > 0, "the snapshot was not empty, as the server was not: {keys}");
    let c = place(&server.url(), "t", &source).await;
    let loads = source.loads(2);
    for (what, at) in [("in the writer", &a), ("elsewhere", &b), ("in a new process", &c)] {
        // The first calls of the old ones may find connections that are dead.
        until_hit(what, at, 1, 1).await;
        until_hit(what, at, 2, 0).await;
        assert_eq!(at.cache.get::<u64>("n").await.unwrap(), None, "{what}: it is from before");
    }
    assert!(source.loads(2) > loads, "what was not invalidated is from before, too");
}

/// P4
#[tokio::test]
async fn a_server_that_stopped_costs_some_calls_a_timeout_and_later_ones_nothing() {
    let server = Server::start().await;
    let source = Arc::default();
    let at = place(&server.url(), "t", &source).await;
    until_hit("before", &at, 1, 0).await;
    server.stop_signal();
    for _ in 0..6 {
        assert_eq!(quick("a read", row(&at, 1)).await.version, 0);
    }
    let many = async {
        for id in 0..200 {
            row(&at, id).await;
        }
    };
    quick("200 reads", many).await;
    quick("a write", write(&at, 1)).await;
    assert_eq!(quick("a read", row(&at, 1)).await.version, 1);
    assert_eq!(at.cache.get::<u64>("n").await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.cont_signal();
    until_hit("afterwards", &at, 1, 1).await;
    eventually("everything is delivered", LONG, async || at.cache.stats().undelivered == 0).await;
}

/// Loads that run, and the most that ever did.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicU64,
    most: AtomicU64,
    all: AtomicU64,
}

#[cache_read(key = "gauged:<id>", cache = at.cache, skip(at, gauge))]
async fn gauged(at: &Place, gauge: &Gauge, id: u64) -> u64 {
    gauge.most.fetch_max(gauge.now.fetch_add(1, SeqCst) + 1, SeqCst);
    gauge.all.fetch_add(1, SeqCst);
    at.read(id).await;
    gauge.now.fetch_sub(1, SeqCst);
    id
}

/// P4: the source is not overrun because the cache is away.
#[tokio::test]
async fn there_is_one_load_of_a_key_at_a_time_while_the_server_is_away() {
    let server = Server::start().await;
    let (source, gauge) = (Arc::<Source>::default(), Arc::<Gauge>::default());
    let at = place(&server.url(), "t", &source).await;
    server.kill();
    source.hold(1, 1, u64::MAX);
    let mut calls = JoinSet::new();
    let spawn = |calls: &mut JoinSet<u64>| {
        let (at, gauge) = (Arc::clone(&at), Arc::clone(&gauge));
        calls.spawn(async move { gauged(&at, &gauge, 1).await });
    };
    spawn(&mut calls);
    fleet::soon("the first load", || source.loads(1) == 1).await;
    for _ in 0..100 {
        spawn(&mut calls);
    }
    eventually("all of them missed", LONG, async || at.cache.stats().misses == 101).await;
    source.release(1);
    while let Some(call) = fleet::within("the calls", calls.join_next()).await {
        assert_eq!(call.unwrap(), 1);
    }
    assert_eq!(gauge.most.load(SeqCst), 1, "loads at a time");
    assert!(gauge.all.load(SeqCst) <= 5, "{} loads for callers that came together", gauge.all.load(SeqCst));
}

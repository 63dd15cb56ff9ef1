//! A fence: what is being written is marked before the body, so that no reader in any process serves or keeps what was there.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Builder, Cache, cache_read, cache_write};
use cache_tests::redis::{Cluster, Server};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::fleet::{self, Gate, LONG, Place, Row, Source, ended, now, within};
use super::{LEASE, Process, untagged};

/// Keeps what it reads under the tag that the writers below fence.
#[cache_read(key = "row:<id>", cache = at.cache, tags = ["fenced:<id>"], ttl = "1m", skip(at))]
async fn read(at: &Place, id: u64) -> Row {
    at.read(id).await
}

/// Has no tag: the entry is named like the tag.
#[cache_read(key = "fenced:<id>", cache = at.cache, ttl = "1m", lock = true, skip(at))]
async fn named(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"], fence = "20s")]
async fn write(at: &Place, gate: &Gate, id: u64) -> Row {
    gate.write(at, id).await
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"], fence = "600ms")]
async fn write_briefly(at: &Place, gate: &Gate, id: u64) -> Row {
    gate.write(at, id).await
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"], fence = "20s", on_error = fail)]
async fn write_or_fail(at: &Place, id: u64) -> Result<Row, cache_runtime::Error> {
    Ok(at.commit(id))
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"])]
async fn write_unfenced(at: &Place, id: u64) -> Row {
    at.commit(id)
}

/// Caches on one server or cluster, which stand for processes. The bound of their copies is `lease`.
pub(super) async fn places<const N: usize>(url: &str, lease: Duration) -> ([Arc<Place>; N], Arc<Source>) {
    let (prefix, source) = (fleet::prefix(), Arc::<Source>::default());
    let mut places = Vec::new();
    for _ in 0..N {
        let builder: Builder = Cache::builder().ignore_env().url(url).prefix(&prefix).connect_timeout(LONG);
        let cache = builder.response_timeout(LONG).l1_lease(lease).build().await.unwrap();
        places.push(Place::new(cache, &source));
    }
    (places.try_into().unwrap(), source)
}

/// N5, P1: from the commit on nobody reads what was there before, though the write has told nobody yet; what is read meanwhile
/// is not kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_window_between_the_commit_and_the_invalidation() {
    let cluster = Cluster::start().await;
    let redis = fleet::server().await.url();
    let (copied, spread) = (format!("hybrid+{redis}"), format!("hybrid+{}", cluster.url()));
    for url in [&redis, &copied, &spread] {
        let ([a, b], source) = places(url, LEASE).await;
        for id in [1, 2] {
            for _ in 0..3 {
                read(&b, id).await;
                named(&b, id).await;
            }
        }
        let gate = Gate::new();
        let writer = tokio::spawn({
            let (a, gate) = (Arc::clone(&a), Arc::clone(&gate));
            async move { write(&a, &gate, 1).await }
        });
        gate.in_body().await;
        // Whoever still has a copy may not serve it for longer than this.
        sleep(LEASE).await;
        assert_eq!(read(&b, 1).await.version, 0, "nothing is committed yet");
        gate.commit().await;
        for _ in 0..3 {
            assert_eq!(read(&b, 1).await.version, 1, "{url}");
            assert_eq!(named(&b, 1).await.version, 1, "{url}: of a key that is named like the tag");
        }
        let loads = source.loads(1);
        read(&b, 1).await;
        assert_eq!(source.loads(1), loads + 1, "{url}: nothing is kept while it is being written");
        gate.let_go();
        ended("the write", writer).await;
        for _ in 0..3 {
            assert_eq!((read(&b, 1).await.version, named(&b, 1).await.version), (1, 1));
        }
        let loads = source.loads(1);
        assert_eq!((read(&b, 1).await.version, named(&b, 1).await.version), (1, 1));
        assert_eq!(source.loads(1), loads, "{url}: and then it is kept again");
        let others = source.loads(2);
        assert_eq!(read(&b, 2).await.version, 0);
        assert_eq!(source.loads(2), others, "{url}: what nobody wrote was there all the time");
    }
}

/// N5: a write returns when no copy made before it can be served anywhere, also by a process that hears nothing.
#[tokio::test]
async fn a_fenced_write_returns_when_no_copy_is_left() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::default());
    let patience = Duration::from_millis(100);
    let how = |builder: Builder| builder.response_timeout(patience).l1_lease(LEASE);
    let a = Process::with(server, &prefix, &source, how).await;
    let b = Process::with(server, &prefix, &source, how).await;
    b.copied(async || read(&b.at, 1).await).await;
    b.net.drop_to_client();
    let began = now();
    let gate = Gate::new();
    gate.let_go();
    write(&a.at, &gate, 1).await;
    assert!(began.elapsed() >= LEASE);
    assert_eq!(read(&b.at, 1).await.version, 1, "no copy is left in a process that hears nothing");
}

/// N5: where no process of the fleet has copies, nobody has to be waited for.
#[tokio::test]
async fn a_fleet_without_copies_does_not_wait() {
    let ([a], _) = places(&fleet::server().await.url(), Duration::ZERO).await;
    let gate = Gate::new();
    gate.let_go();
    let began = now();
    for _ in 0..5 {
        write(&a, &gate, 1).await;
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// N5, P3: a writer that dies after its commit leaves nothing stale, and is waited for no longer than its marks are good.
#[tokio::test]
async fn a_writer_that_dies_leaves_nothing_stale() {
    let ([a, b], source) = places(&fleet::server().await.url(), Duration::ZERO).await;
    read(&b, 1).await;
    named(&b, 1).await;
    let gate = Gate::new();
    let mut writer = fleet::Hand::new({
        let (a, gate) = (Arc::clone(&a), Arc::clone(&gate));
        async move { write_briefly(&a, &gate, 1).await }
    });
    // Polled by hand, so that it can be left standing where it is, as a process that was killed leaves it.
    within("the body", async {
        while !tokio::select! { biased; () = gate.in_body() => true, () = yield_now() => false } {
            let _ = writer.poll();
        }
    })
    .await;
    let _ = tokio::join!(gate.commit(), async {
        for _ in 0..20 {
            let _ = writer.poll();
            yield_now().await;
        }
    });
    std::mem::forget(writer);
    let began = now();
    let loads = source.loads(1);
    within("it is kept again", async {
        let mut before = loads;
        loop {
            assert_eq!((read(&b, 1).await.version, named(&b, 1).await.version), (1, 1));
            if source.loads(1) == before {
                break;
            }
            before = source.loads(1);
        }
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// N5: marks outlast a body that takes longer than they are good for.
#[tokio::test]
async fn marks_are_renewed_while_the_body_runs() {
    let ([a, b], source) = places(&fleet::server().await.url(), Duration::ZERO).await;
    let gate = Gate::new();
    let writer = tokio::spawn({
        let (a, gate) = (Arc::clone(&a), Arc::clone(&gate));
        async move { write_briefly(&a, &gate, 1).await }
    });
    gate.in_body().await;
    let began = now();
    while began.elapsed() < Duration::from_millis(1500) {
        let loads = source.loads(1);
        read(&b, 1).await;
        assert_eq!(source.loads(1), loads + 1, "after {:?}", began.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    gate.let_go();
    gate.commit().await;
    ended("the write", writer).await;
    assert_eq!(a.cache.stats().degraded, 0);
}

/// N5: one writer's end does not end another's fence, nor does a write without one.
#[tokio::test]
async fn fences_of_two_writers_are_two() {
    let ([a, b, c], source) = places(&fleet::server().await.url(), Duration::ZERO).await;
    let gates = [Gate::new(), Gate::new()];
    let mut writers = Vec::new();
    for (place, gate) in [&a, &b].into_iter().zip(&gates) {
        let (place, own) = (Arc::clone(place), Arc::clone(gate));
        writers.push(tokio::spawn(async move { write(&place, &own, 1).await }));
        gate.in_body().await;
    }
    let is_fenced = async || {
        let loads = source.loads(1);
        let rows = (read(&c, 1).await, named(&c, 1).await);
        let rows = (rows.0.version, rows.1.version, read(&c, 1).await.version);
        assert_eq!(rows, (source.now(1).version, rows.0, rows.0));
        source.loads(1) == loads + 3
    };
    assert!(is_fenced().await);
    gates[0].let_go();
    gates[0].commit().await;
    ended("the first", writers.remove(0)).await;
    assert!(is_fenced().await, "the second one still writes");
    write_unfenced(&c, 1).await;
    assert!(is_fenced().await, "a write without a fence leaves those of others alone");
    c.cache.delete("fenced:1").await.unwrap();
    c.cache.delete("row:1").await.unwrap();
    read::refresh(&c, 1).await;
    assert!(is_fenced().await, "and so does whatever else drops or replaces what is marked");
    gates[1].let_go();
    gates[1].commit().await;
    ended("the second", writers.remove(0)).await;
    is_fenced().await;
    assert!(!is_fenced().await);
}

/// P9: marks that somebody removed (an eviction, an operator) are counted.
#[tokio::test]
async fn a_fence_that_was_lost_is_counted() {
    let server = Server::start().await;
    let ([a], _) = places(&server.url(), Duration::ZERO).await;
    let gate = Gate::new();
    let writer = tokio::spawn({
        let (a, gate) = (Arc::clone(&a), Arc::clone(&gate));
        async move { write(&a, &gate, 1).await }
    });
    gate.in_body().await;
    server.command(&["FLUSHALL"]).await;
    gate.let_go();
    gate.commit().await;
    ended("the write", writer).await;
    assert_eq!(a.cache.stats().degraded, 1);
}

/// N5, P5: what was stored while a mark was missing becomes invalid also where the servers cannot be told at once.
#[tokio::test]
async fn what_was_kept_while_a_mark_was_missing_is_invalid_when_the_servers_are_told() {
    let (server, prefix, source) = (Server::start().await, fleet::prefix(), Arc::default());
    let how = |builder: Builder| builder.response_timeout(Duration::from_millis(100)).l1_lease(LEASE);
    let a = Process::with(&server, &prefix, &source, how).await;
    let b = Process::new(&server, &prefix, &source).await;
    let gate = Gate::new();
    let writer = tokio::spawn({
        let (at, gate) = (Arc::clone(&a.at), Arc::clone(&gate));
        async move { write(&at, &gate, 1).await }
    });
    gate.in_body().await;
    server.command(&["FLUSHALL"]).await;
    for _ in 0..2 {
        assert_eq!((read(&b.at, 1).await.version, named(&b.at, 1).await.version), (0, 0));
    }
    a.net.half_open();
    gate.let_go();
    gate.commit().await;
    ended("the write", writer).await;
    assert!(a.at.cache.stats().undelivered > 0, "the servers could be told: nothing is shown");
    a.net.heal();
    fleet::soon("the delivery", || a.at.cache.stats().undelivered == 0).await;
    within("the new version", async {
        while (read(&b.at, 1).await.version, named(&b.at, 1).await.version) != (1, 1) {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// N5, P4: a fence that cannot be set follows `on_error`: the body does not run, or runs without.
#[tokio::test]
async fn a_fence_that_cannot_be_set_follows_on_error() {
    let server = Server::start().await;
    let ([a], source) = places(&server.url(), Duration::ZERO).await;
    server.kill();
    assert!(write_or_fail(&a, 1).await.is_err());
    assert_eq!(source.now(1).version, 0, "the body has not run");
    let gate = Gate::new();
    gate.let_go();
    assert_eq!(within("a write", write(&a, &gate, 1)).await.version, 1);
    assert!(a.cache.stats().degraded > 0);
    assert_eq!(untagged(&a, 1).await.version, 1);
}

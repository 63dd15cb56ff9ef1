//! A fence in unusual company: every kind of reader, writers that do not come to their end, and marks that are lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Tenant, cache_read, cache_write};
use cache_tests::redis::Server;
use tokio::time::sleep;

use super::fence::places;
use super::fleet::{self, Gate, Hand, LONG, Place, Row, Source, ended, now, soon, within};
use super::{LEASE, Process};

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["fenced:<id>"], namespace = "rows", ttl = "1m", skip(at))]
async fn read(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "lock:<id>", cache = at.cache, tags = ["fenced:<id>"], lock = true, ttl = "1m", skip(at))]
async fn locked(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "fenced:<id>", cache = at.cache, ttl = "1m", skip(at))]
async fn named(at: &Place, id: u64) -> Row {
    at.read(id).await
}

/// Absent until the first commit.
#[cache_read(key = "absent:<id>", cache = at.cache, tags = ["fenced:<id>"], ttl = "1m", skip(at))]
async fn absent(at: &Place, id: u64) -> Option<Row> {
    Some(at.read(id).await).filter(|row| row.version > 0)
}

#[cache_read(key = "batch:<id>", cache = at.cache, tags = ["fenced:<id>"], ttl = "1m", each(id in ids), skip(at))]
async fn batch(at: &Place, ids: Vec<u64>) -> HashMap<u64, Row> {
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, at.read(id).await);
    }
    rows
}

#[cache_read(key = "late:<id>", cache = at.cache, tags = ["fenced:<result.id>"], ttl = "1m", skip(at))]
async fn by_result(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"], fence = "20s")]
async fn write(at: &Place, gate: &Gate, id: u64) -> Row {
    gate.write(at, id).await
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"], fence = "300ms")]
async fn write_briefly(at: &Place, gate: &Gate, id: u64) -> Row {
    gate.write(at, id).await
}

#[cache_write(cache = at.cache, tags = ["nobody"], namespaces = ["rows"], fence = "20s")]
async fn write_namespace(at: &Place, gate: &Gate, id: u64) -> Row {
    gate.write(at, id).await
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"], fence = "20s")]
async fn fail(at: &Place, id: u64) -> Result<Row, u64> {
    let _ = at;
    Err(id)
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"], recache = [read(at, id), named(at, id)], fence = "20s")]
async fn write_and_recache(at: &Place, id: u64) -> Row {
    at.commit(id)
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"], put = read(at, id), fence = "20s")]
async fn write_through(at: &Place, id: u64) -> Row {
    at.commit(id)
}

#[cache_write(cache = at.cache, tags = ["fenced:<id>"], put = read(at, id))]
async fn write_through_unfenced(at: &Place, gate: &Gate, id: u64) -> Row {
    gate.write(at, id).await
}

type Writer = tokio::task::JoinHandle<Row>;

/// A write that stands in its body, and before its commit.
async fn writer(at: &Arc<Place>, id: u64) -> (Arc<Gate>, Writer) {
    let gate = Gate::new();
    let (at, own) = (Arc::clone(at), Arc::clone(&gate));
    let writer = tokio::spawn(async move { write(&at, &own, id).await });
    gate.in_body().await;
    (gate, writer)
}

async fn finish(gate: &Gate, writer: Writer) {
    gate.let_go();
    gate.commit().await;
    ended("the write", writer).await;
}

/// Reads by every way, all of which have to say the same.
async fn by_all_ways(at: &Place, id: u64) -> u64 {
    let direct = at.cache.get_or_load(format!("direct:{id}"), async || Ok::<Row, u64>(at.read(id).await));
    let rows = [
        read(at, id).await,
        locked(at, id).await,
        named(at, id).await,
        batch(at, vec![id, id + 1000]).await[&id],
        by_result(at, id).await,
        direct.tags([format!("fenced:{id}")]).await.unwrap(),
    ];
    let version = rows[0].version;
    assert!(rows.iter().all(|row| row.version == version), "{rows:?}");
    assert_eq!(absent(at, id).await.map(|row| row.version), Some(version).filter(|version| *version > 0));
    version
}

/// N5: whoever reads what is being written goes to the source and keeps nothing: with `lock`, in a batch, what is absent, what
/// has its tags from the value, what is read by a direct call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_reader_goes_to_the_source() {
    let redis = fleet::server().await.url();
    for url in [redis.clone(), format!("hybrid+{redis}")] {
        let ([a, b], source) = places(&url, LEASE).await;
        for _ in 0..3 {
            by_all_ways(&b, 1).await;
        }
        let (gate, writer) = writer(&a, 1).await;
        sleep(LEASE).await;
        let others = source.loads(1001);
        assert_eq!(by_all_ways(&b, 1).await, 0);
        gate.commit().await;
        for _ in 0..3 {
            assert_eq!(by_all_ways(&b, 1).await, 1, "{url}");
        }
        let loads = source.loads(1);
        by_all_ways(&b, 1).await;
        assert_eq!(source.loads(1), loads + 7, "{url}: nothing is kept while it is being written");
        assert_eq!(source.loads(1001), others, "{url}: the rest of the batch was there all the time");
        finish(&gate, writer).await;
        for _ in 0..3 {
            assert_eq!(by_all_ways(&b, 1).await, 1);
        }
        let loads = source.loads(1);
        assert_eq!(by_all_ways(&b, 1).await, 1);
        assert_eq!(source.loads(1), loads, "{url}: and then it is kept again");
    }
}

/// N5: who begins after the commit joins no load from before it, though both of them began under the same mark.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_from_before_a_fenced_commit_is_not_joined_after_it() {
    let redis = fleet::server().await.url();
    for url in [redis.clone(), format!("hybrid+{redis}")] {
        let ([a, b], source) = places(&url, LEASE).await;
        let (gate, writer) = writer(&a, 1).await;
        sleep(LEASE).await;
        source.hold(1, 1, 1);
        let early = tokio::spawn({
            let b = Arc::clone(&b);
            async move { named(&b, 1).await }
        });
        soon("the first load", || source.loads(1) == 1).await;
        gate.commit().await;
        let late = tokio::time::timeout(LONG / 4, named(&b, 1)).await;
        assert_eq!(late.expect("a load of its own").version, 1, "{url}");
        source.release(1);
        assert_eq!(ended("the read from before", early).await.version, 0);
        finish(&gate, writer).await;
        assert_eq!(named(&b, 1).await.version, 1);
    }
}

/// N5, D7: a fence is the tenant's who writes, and of a namespace only that.
#[tokio::test]
async fn a_fence_covers_what_it_names() {
    let url = format!("hybrid+{}", fleet::server().await.url());
    let ([a, b], source) = places(&url, LEASE).await;
    let (acme, other) = (Tenant::new("acme").unwrap(), Tenant::new("other").unwrap());
    for _ in 0..3 {
        acme.scope(read(&b, 1)).await;
        other.scope(read(&b, 1)).await;
        locked(&b, 1).await;
    }
    let gate = Gate::new();
    let own = Arc::clone(&gate);
    let task = {
        let (a, acme) = (Arc::clone(&a), acme.clone());
        tokio::spawn(async move { acme.scope(write_namespace(&a, &own, 1)).await })
    };
    gate.in_body().await;
    gate.commit().await;
    sleep(LEASE).await;
    let loads = source.loads(1);
    assert_eq!(acme.scope(read(&b, 1)).await.version, 1, "of the namespace and the tenant");
    assert_eq!(acme.scope(read(&b, 1)).await.version, 1);
    assert_eq!(source.loads(1), loads + 2);
    assert_eq!((other.scope(read(&b, 1)).await.version, locked(&b, 1).await.version), (0, 0), "of others");
    assert_eq!(source.loads(1), loads + 2);
    gate.let_go();
    ended("the write", task).await;
}

/// N5, C9: what a fenced write recaches is stored: its own fence is not in the way. What it writes through is only
/// invalidated, and counted.
#[tokio::test]
async fn recaching_after_a_fenced_write_stores_and_writing_through_does_not() {
    let url = format!("hybrid+{}", fleet::server().await.url());
    let ([a, b], source) = places(&url, LEASE).await;
    for version in 1..=3 {
        for place in [&a, &b] {
            read(place, 1).await;
            named(place, 1).await;
        }
        write_and_recache(&a, 1).await;
        let loads = source.loads(1);
        assert_eq!((read(&b, 1).await.version, named(&b, 1).await.version), (version, version));
        assert_eq!(source.loads(1), loads, "it was recached");
    }
    let refused = read::stats(&a).refused;
    write_through(&a, 1).await;
    assert_eq!(read::stats(&a).refused, refused + 1);
    let loads = source.loads(1);
    for place in [&b, &a] {
        assert_eq!(read(place, 1).await.version, 4);
    }
    assert_eq!(source.loads(1), loads + 1, "loaded once, and kept");
}

/// N5, P1: a writer that was dropped in its body may have committed.
#[tokio::test]
async fn a_write_that_is_dropped_in_its_body_leaves_nothing_stale_and_no_fence() {
    let url = format!("hybrid+{}", fleet::server().await.url());
    let ([a, b], source) = places(&url, LEASE).await;
    for commits in [false, true] {
        let version = source.now(1).version;
        for _ in 0..3 {
            by_all_ways(&b, 1).await;
        }
        let (gate, writer) = writer(&a, 1).await;
        if commits {
            gate.commit().await;
        }
        writer.abort();
        assert!(writer.await.is_err());
        soon("the end of the invalidation", || a.cache.stats().undelivered == 0).await;
        sleep(LEASE).await;
        assert_eq!(by_all_ways(&b, 1).await, version + u64::from(commits));
        within("it is kept again", async {
            loop {
                let loads = source.loads(1);
                by_all_ways(&b, 1).await;
                if source.loads(1) == loads {
                    break;
                }
            }
        })
        .await;
    }
}

/// N5: a write that is dropped before its body, while its marks are on their way, takes them back.
#[tokio::test]
async fn a_write_that_is_dropped_before_its_body_leaves_no_fence() {
    let ([a, b], source) = places(&fleet::server().await.url(), Duration::ZERO).await;
    for polls in 1..=5 {
        let gate = Gate::new();
        let mut writer = Hand::new({
            let (a, gate) = (Arc::clone(&a), Arc::clone(&gate));
            async move { write(&a, &gate, 1).await }
        });
        for _ in 0..polls {
            let _ = writer.poll();
            tokio::task::yield_now().await;
        }
        drop(writer);
        let dropped = now();
        within("it is kept again", async {
            loop {
                let loads = source.loads(1);
                by_all_ways(&b, 1).await;
                if source.loads(1) == loads {
                    break;
                }
            }
        })
        .await;
        assert!(dropped.elapsed() < Duration::from_secs(5), "{:?}", dropped.elapsed());
    }
}

/// N5, P1: dropped while it waits for the copies of others, a write is done except for that.
#[tokio::test]
async fn a_write_that_is_dropped_while_it_waits_for_copies_is_complete() {
    let url = format!("hybrid+{}", fleet::server().await.url());
    let lease = Duration::from_secs(10);
    let ([a, b], source) = places(&url, lease).await;
    for _ in 0..3 {
        by_all_ways(&b, 1).await;
    }
    let (gate, writer) = writer(&a, 1).await;
    gate.let_go();
    gate.commit().await;
    // It is known to be delivered when others keep what they read again.
    within("it is kept again", async {
        loop {
            let loads = source.loads(1);
            if by_all_ways(&b, 1).await == 1 && source.loads(1) == loads {
                break;
            }
        }
    })
    .await;
    assert!(!writer.is_finished(), "it waits for δ");
    writer.abort();
    assert!(writer.await.is_err());
    for place in [&a, &b] {
        for _ in 0..3 {
            assert_eq!(by_all_ways(place, 1).await, 1);
        }
    }
    assert_eq!(a.cache.stats().undelivered, 0);
}

/// N5: a body that fails has changed nothing: it does not wait, and its marks are removed.
#[tokio::test]
async fn a_body_that_fails_leaves_no_fence() {
    let url = format!("hybrid+{}", fleet::server().await.url());
    let lease = Duration::from_secs(10);
    let ([a, b], source) = places(&url, lease).await;
    by_all_ways(&b, 1).await;
    let began = now();
    assert_eq!(fail(&a, 1).await, Err(1));
    within("it is kept again", async {
        loop {
            let loads = source.loads(1);
            by_all_ways(&b, 1).await;
            if source.loads(1) == loads {
                break;
            }
        }
    })
    .await;
    assert!(began.elapsed() < lease, "{:?}", began.elapsed());
    assert_eq!((a.cache.stats().degraded, a.cache.stats().undelivered), (0, 0));
}

/// N5, P1, P5: marks that are lost (an eviction) let others keep what was there before; the write's end makes that invalid all
/// the same.
#[tokio::test]
async fn what_was_kept_while_marks_were_lost_is_invalid_after_the_write() {
    let server = Server::start().await;
    for url in [server.url(), format!("hybrid+{}", server.url())] {
        server.command(&["FLUSHALL"]).await;
        let ([a, b], source) = places(&url, LEASE).await;
        for _ in 0..3 {
            by_all_ways(&b, 1).await;
        }
        let (gate, writer) = writer(&a, 1).await;
        server.command(&["FLUSHALL"]).await;
        for _ in 0..3 {
            assert_eq!(by_all_ways(&b, 1).await, 0);
        }
        let loads = source.loads(1);
        by_all_ways(&b, 1).await;
        assert_eq!(source.loads(1), loads, "what is old is kept: otherwise nothing is shown");
        finish(&gate, writer).await;
        for _ in 0..3 {
            assert_eq!(by_all_ways(&b, 1).await, 1, "{url}");
        }
        assert_eq!(a.cache.stats().degraded, 1, "{url}: and it is counted");
    }
}

/// N5, P5: a server that evicts whatever it likes, marks included. Once a fenced write has returned, nobody reads what was
/// there before.
#[tokio::test]
async fn marks_under_eviction_leave_nothing_stale() {
    let server = Server::options().maxmemory("3mb", "allkeys-lru").start().await;
    let (prefix, source) = (fleet::prefix(), Arc::<Source>::default());
    let how =
        |builder: cache_runtime::Builder| builder.response_timeout(fleet::LONG).l1_lease(Duration::from_millis(100));
    let a = Process::with(&server, &prefix, &source, how).await;
    let b = Process::with(&server, &prefix, &source, how).await;
    let filler = "x".repeat(2_000);
    for version in 1..=10 {
        let (gate, writer) = writer(&a.at, 1).await;
        for key in 0..400 {
            let _ = b.at.cache.set(format!("filler:{version}:{key}"), filler.clone()).await;
            if key % 20 == 0 {
                read(&b.at, 1).await;
                named(&b.at, 1).await;
            }
        }
        finish(&gate, writer).await;
        for _ in 0..3 {
            assert_eq!((read(&b.at, 1).await.version, named(&b.at, 1).await.version), (version, version));
        }
    }
    let evicted: u64 = server.info("evicted_keys").await.parse().unwrap();
    assert!(evicted > 500, "nothing was evicted: {evicted}");
}

/// N5: whatever others do to what is marked, the marks stay until their writer removes them.
#[tokio::test]
async fn nobody_else_ends_a_fence() {
    let url = format!("hybrid+{}", fleet::server().await.url());
    let ([a, b, c], source) = places(&url, LEASE).await;
    by_all_ways(&b, 1).await;
    // Has seen the cells as they are before the fence.
    let through = Gate::new();
    let overtaken = {
        let (c, through) = (Arc::clone(&c), Arc::clone(&through));
        tokio::spawn(async move { write_through_unfenced(&c, &through, 1).await })
    };
    through.in_body().await;
    let (gate, writer) = writer(&a, 1).await;
    let is_fenced = async |what: &str| {
        // What somebody has claimed about the key itself is there until it is dropped.
        c.cache.delete("fenced:1").await.unwrap();
        let loads = source.loads(1);
        for _ in 0..2 {
            assert_eq!(by_all_ways(&b, 1).await, source.now(1).version, "{what}");
        }
        assert_eq!(source.loads(1), loads + 14, "{what} has ended the fence");
    };
    is_fenced("nothing").await;
    finish(&through, overtaken).await;
    is_fenced("a write-through that began before").await;
    named::refresh(&c, 1).await;
    is_fenced("a refresh of the key").await;
    locked::refresh(&c, 1).await;
    is_fenced("a refresh").await;
    let row = source.now(1);
    c.cache.set("fenced:1", row).await.unwrap();
    is_fenced("a direct store").await;
    let _ = c.cache.set_nx("fenced:1", row).await.unwrap();
    is_fenced("a direct store of what is absent").await;
    let _: Option<Row> = c.cache.pop("fenced:1").await.unwrap();
    is_fenced("a pop").await;
    c.cache.expire("fenced:1", "1m").await.unwrap();
    is_fenced("a longer life").await;
    c.cache.invalidate_pattern("fenced:*").await.unwrap();
    is_fenced("a pattern").await;
    c.cache.invalidate(["fenced:1"]).await.unwrap();
    is_fenced("a tag").await;
    c.cache.clear().await.unwrap();
    is_fenced("the end of everything").await;
    finish(&gate, writer).await;
    for _ in 0..3 {
        by_all_ways(&b, 1).await;
    }
    let loads = source.loads(1);
    by_all_ways(&b, 1).await;
    assert_eq!(source.loads(1), loads, "and then it is kept again");
}

/// N5: of two marks, that of a writer who died expires, and the other's stays.
#[tokio::test]
async fn one_of_two_marks_expires() {
    let ([a, b, c], source) = places(&fleet::server().await.url(), Duration::ZERO).await;
    let (gate, writer) = writer(&a, 1).await;
    let dead = Gate::new();
    let mut dying = Hand::new({
        let (b, dead) = (Arc::clone(&b), Arc::clone(&dead));
        async move { write_briefly(&b, &dead, 1).await }
    });
    within("the body", async {
        while !tokio::select! { biased; () = dead.in_body() => true, () = tokio::task::yield_now() => false } {
            let _ = dying.poll();
        }
    })
    .await;
    std::mem::forget(dying);
    let died = now();
    while died.elapsed() < Duration::from_millis(700) {
        let loads = source.loads(1);
        read(&c, 1).await;
        named(&c, 1).await;
        assert_eq!(source.loads(1), loads + 2, "{:?} after one of the two died", died.elapsed());
        sleep(Duration::from_millis(10)).await;
    }
    finish(&gate, writer).await;
    read(&c, 1).await;
    let loads = source.loads(1);
    assert_eq!(read(&c, 1).await.version, 1);
    assert_eq!(source.loads(1), loads, "with the other's end nothing is marked any more");
}

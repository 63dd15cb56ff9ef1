//! Writers that fail, go away or lose their claim, and servers that do not take what is written.

use std::task::Poll;

use cache_runtime::{Cache, Error, ErrorKind};
use cache_tests::redis::{Cluster, Corrupt, Proxy, Server};

use super::fleet::{Hand, LONG, Source, builder, soon};
use super::*;

/// P1: a write-through that fails stores nothing, changes nothing, and gives its claim back.
#[tokio::test]
async fn a_write_through_that_fails_changes_nothing() {
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = tagged(at, id))]
    async fn fails(at: &Place, id: u64) -> Result<Row, u8> {
        let _ = (at, id);
        Err(1)
    }
    let fleet = Fleet::new().await;
    tagged(&fleet.a, 1).await;
    assert_eq!(fails(&fleet.b, 1).await, Err(1));
    all_read("a failed write", &fleet, read_tagged, 1, 0).await;
    assert_eq!(fleet.source.loads(1), 1);
    assert_eq!(fails(&fleet.b, 2).await, Err(1));
    let lease = fleet.lease("row:2");
    cache_tests::eventually("its claim is given back", LONG, async || !fleet.exists(&lease).await).await;
    tagged(&fleet.a, 2).await;
    tagged(&fleet.c, 2).await;
    assert_eq!(fleet.source.loads(2), 1);
}

/// P1 P3: a write-through that is dropped or panics in its body may have committed: the entry goes, and the claim.
#[tokio::test]
async fn a_write_through_that_does_not_end_drops_the_entry() {
    #[cache_write(cache = at.cache, put = tagged(at, id))]
    async fn panics(at: &Place, id: u64) -> Row {
        at.commit(id);
        panic!("as it was told");
    }
    let fleet = Fleet::new().await;
    let mut id = 0;
    for panicking in [false, true] {
        id += 10;
        tagged(&fleet.a, id).await;
        if panicking {
            let b = Arc::clone(&fleet.b);
            assert!(tokio::spawn(async move { panics(&b, id).await }).await.unwrap_err().is_panic());
        } else {
            let (writer, gate) = begin(&fleet.b, id, alone).await;
            gate.commit().await;
            writer.abort();
            let _ = writer.await;
        }
        let delivered = async || fleet.b.cache.stats().undelivered == 0;
        cache_tests::eventually("what it may have changed is dropped", LONG, delivered).await;
        all_read("a write that did not end", &fleet, read_tagged, id, 1).await;
        let lease = fleet.lease(&format!("row:{id}"));
        cache_tests::eventually("its claim is given back", LONG, async || !fleet.exists(&lease).await).await;
    }
}

/// P1: whenever its caller goes away after the commit, the old value is not what is read once that was delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_through_that_is_dropped_at_any_point_leaves_nothing_stale() {
    let fleet = Fleet::new().await;
    let mut id = 0;
    let mut cut = 0;
    let forms: [(&str, Put); 3] = [("alone", alone), ("with tag", with_tag), ("before", with_before)];
    for (what, put) in forms {
        for answered in [false, true] {
            for polls in 1..10 {
                for _ in 0..3 {
                    id += 10;
                    tagged(&fleet.a, id).await;
                    let gate = Gate::new();
                    gate.let_go();
                    let mut call = Hand::new(put(Arc::clone(&fleet.b), id, gate));
                    let mut finished = false;
                    for poll in 1..=polls {
                        finished = matches!(call.poll(), Poll::Ready(_));
                        if finished {
                            break;
                        }
                        if poll < polls || answered {
                            call.woken().await;
                        }
                    }
                    cut += u64::from(!finished);
                    drop(call);
                    let settled = || {
                        let stats = fleet.b.cache.stats();
                        stats.undelivered == 0 && stats.background == 0
                    };
                    soon("what it may have changed is dropped", settled).await;
                    let version = fleet.source.now(id).version;
                    all_read(&format!("{what}, {polls} polls, answered: {answered}"), &fleet, read_tagged, id, version)
                        .await;
                }
            }
        }
    }
    assert!(cut > 30, "{cut} writes were cut short");
}

/// P1: a body that takes longer than its claim lives stores nothing, and leaves nothing old either.
#[tokio::test]
async fn a_claim_that_expired_during_the_body_leaves_nothing_stale() {
    #[cache_read(key = "row:<id>", cache = at.cache, lock_ttl = "30ms", skip(at))]
    async fn brief(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    #[cache_write(cache = at.cache, put = brief(at, id))]
    async fn put_brief(at: &Place, id: u64, gate: &Gate) -> Row {
        gate.write(at, id).await
    }
    let fleet = Fleet::new().await;
    for (id, reads_meanwhile) in [(10, false), (20, true)] {
        brief(&fleet.b, id).await;
        let put: Put = |at, id, gate| Box::pin(async move { put_brief(&at, id, &gate).await });
        let (writer, gate) = begin(&fleet.a, id, put).await;
        let lease = fleet.lease(&format!("row:{id}"));
        cache_tests::eventually("the claim expires", LONG, async || !fleet.exists(&lease).await).await;
        let mut old = None;
        if reads_meanwhile {
            fleet.b.cache.delete(format!("row:{id}")).await.unwrap();
            fleet.source.hold(id, 2, 2);
            let b = Arc::clone(&fleet.b);
            old = Some(tokio::spawn(async move { brief(&b, id).await }));
            soon("the old load", || fleet.source.loads(id) == 2).await;
        }
        gate.commit().await;
        gate.let_go();
        ended("the writer", writer).await;
        fleet.source.release(id);
        if let Some(old) = old {
            ended("the old load", old).await;
        }
        for place in fleet.places() {
            assert_eq!(brief(place, id).await.version, 1);
        }
    }
}

/// P4 P1: a server that is full takes no value, and drops the old one before the write returns.
#[tokio::test]
async fn a_full_server_keeps_nothing_stale() {
    let server = Server::options().config("maxmemory-policy noeviction").start().await;
    let source: Arc<Source> = Arc::default();
    let place = async || Place::new(builder(&server.url(), "full").build().await.unwrap(), &source);
    let (a, b) = (place().await, place().await);
    let forms: [(&str, Read, Put); 5] = [
        ("alone", read_tagged, alone),
        ("with tag", read_tagged, with_tag),
        ("named by the result", read_tagged, of_result),
        ("with result tags", read_by_result, with_result_tags),
        ("plain JSON", read_json, of_json),
    ];
    let mut id = 0;
    for (what, read, put) in forms {
        for full_before in [true, false] {
            id += 10;
            let what = format!("{what}, full before it began: {full_before}");
            server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
            read(Arc::clone(&b), id).await;
            read(Arc::clone(&b), id).await;
            let fill = async || drop(server.command(&["CONFIG", "SET", "maxmemory", "1"]).await);
            if full_before {
                fill().await;
            }
            let (writer, gate) = begin(&a, id, put).await;
            if !full_before {
                fill().await;
            }
            gate.commit().await;
            gate.let_go();
            assert_eq!(ended(&what, writer).await.version, 1, "{what}");
            assert_eq!(within(&what, read(Arc::clone(&b), id)).await.version, 1, "{what}");
            assert_eq!(a.cache.stats().undelivered, 0, "{what}: what a full server can do was done at once");
        }
    }
    assert!(a.cache.stats().degraded > 0, "it is counted");
}

/// P1: an entry that could not be claimed before the body is invalidated after it.
#[tokio::test]
async fn a_claim_that_failed_leaves_nothing_stale() {
    let fleet = Fleet::new().await;
    let proxy = Proxy::start(fleet::server().await.addr());
    let far = Place::new(builder(&proxy.url(), &fleet.prefix).build().await.unwrap(), &fleet.source);
    let mut id = 0;
    for (what, read, put) in FORMS {
        for command in ["SET", "EVAL", "GET"] {
            for count in [1, 2] {
                id += 10;
                let what = format!("{what}, answers to {command} are lost {count} times");
                read(Arc::clone(&fleet.a), id).await;
                read(Arc::clone(&fleet.a), id).await;
                proxy.corrupt_answers_to(command, Corrupt::error("BUSY"), count);
                assert_eq!(write(&far, id, put).await.version, 1, "{what}");
                proxy.heal();
                soon(&what, || far.cache.stats().undelivered == 0).await;
                all_read(&what, &fleet, read, id, 1).await;
            }
        }
    }
}

/// P1: a tag that is not known to be replaced is dropped before the write returns, and not some time later.
#[tokio::test]
async fn a_tag_of_which_the_replacement_is_not_known_is_dropped_by_the_write() {
    let fleet = Fleet::new().await;
    let proxy = Proxy::start(fleet::server().await.addr());
    let far = Place::new(builder(&proxy.url(), &fleet.prefix).build().await.unwrap(), &fleet.source);
    tagged(&fleet.a, 10).await;
    let (writer, gate) = begin(&far, 10, with_tag).await;
    gate.commit().await;
    proxy.corrupt_answers_to("EVAL", Corrupt::error("BUSY"), 1);
    gate.let_go();
    assert_eq!(ended("the writer", writer).await.version, 1);
    assert_eq!(far.cache.stats().undelivered_total, 0, "it was delivered at once");
    all_read("a replacement without an answer", &fleet, read_tagged, 10, 1).await;
}

/// P1: a write whose tag is on a server that cannot be reached fails, wherever all else of it is.
#[tokio::test]
async fn a_write_through_whose_tag_cannot_be_reached_fails() {
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = tagged(at, id), on_error = fail)]
    async fn strict(at: &Place, id: u64, gate: &Gate) -> Result<Row, Error> {
        Ok(gate.write(at, id).await)
    }
    let cluster = Cluster::options().proxied().start().await;
    let owner = async |name: String| cluster.owner(cluster.slot_of(&format!("far:v1:{name}")).await).await;
    let any = owner("%+any".into()).await;
    let mut id = 10;
    let away = loop {
        let tag = owner(format!("%+tag:group:{id}")).await;
        let elsewhere = [any, owner(format!("row:{id}")).await, owner(format!("group:{id}")).await];
        if !elsewhere.contains(&tag) {
            break cluster.proxy(tag);
        }
        id += 10;
    };
    let source: Arc<Source> = Arc::default();
    let place = async || Place::new(builder(&cluster.url(), "far").build().await.unwrap(), &source);
    let (a, b) = (place().await, place().await);
    assert_eq!((tagged(&b, id).await.version, tagged(&b, id).await.version, b.loads()), (0, 0, 1));
    let gate = Gate::new();
    let writer = tokio::spawn({
        let (a, gate) = (Arc::clone(&a), Arc::clone(&gate));
        async move { strict(&a, id, &gate).await }
    });
    gate.in_body().await;
    gate.commit().await;
    away.refuse();
    away.reset_all();
    gate.let_go();
    assert_eq!(ended("the writer", writer).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(a.cache.stats().degraded > 0, "it is counted");
    assert_eq!(within("a read past the servers", tagged(&a, id)).await.version, 1);
    away.heal();
    soon("the invalidation", || a.cache.stats().undelivered == 0).await;
    assert_eq!(within("a read elsewhere", tagged(&b, id)).await.version, 1);
}

/// B2: what a cache that is switched off, or in memory, is asked to write through does no harm to one on Redis.
#[tokio::test]
async fn a_cache_that_is_off_writes_nothing_through() {
    let fleet = Fleet::new().await;
    let off =
        Cache::builder().ignore_env().url(fleet::server().await.url()).prefix(fleet.prefix.as_str()).enabled(false);
    let off = Place::new(off.build().await.unwrap(), &fleet.source);
    assert_eq!(write(&off, 1, alone).await.version, 1);
    assert!(fleet.keys().await.is_empty());
}

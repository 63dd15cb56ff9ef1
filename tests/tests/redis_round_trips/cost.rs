//! Round trips of one thing at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_tests::redis::Proxy;

use super::fleet::{builder, prefix, server};
use super::*;

/// A cache behind a proxy that counts.
struct Meter {
    proxy: Proxy,
    near: Arc<Place>,
    next: AtomicU64,
}

/// What was sent in a measurement.
#[derive(Debug)]
struct Cost {
    trips: u64,
    commands: BTreeMap<String, u64>,
}

/// What is sent whatever is asked for: by the keeper of a connection, once a second.
const KEEPING: [&str; 4] = ["HELLO", "INFO", "PING", "AUTH"];

impl Meter {
    async fn new() -> Self {
        let (server, prefix) = (server().await, prefix());
        let proxy = Proxy::start(server.addr());
        let cache = builder(&proxy.url(), &prefix).build().await.unwrap();
        Self { proxy, near: Place::new(cache, &Arc::default()), next: AtomicU64::new(0) }
    }

    /// What `work` costs, what it left to the background included. It is done again, with another id, where the server was
    /// asked meanwhile how it is.
    async fn cost(&self, prepare: impl AsyncFn(&Place, u64), work: impl AsyncFn(&Place, u64)) -> Cost {
        for _ in 0..50 {
            let id = self.next.fetch_add(100, SeqCst);
            prepare(&self.near, id).await;
            self.settle().await;
            self.proxy.reset();
            work(&self.near, id).await;
            self.settle().await;
            let cost = Cost { trips: self.proxy.round_trips(), commands: self.proxy.commands() };
            if !KEEPING.iter().any(|name| cost.commands.contains_key(*name)) {
                return cost;
            }
        }
        panic!("the server is asked how it is again and again");
    }

    /// Another process on the same entries, of which nothing is counted.
    async fn far(&self) -> Arc<Place> {
        let info = self.near.cache.info().await.unwrap();
        let prefix = info.prefix.strip_suffix(":v1").unwrap();
        Place::new(builder(&server().await.url(), prefix).build().await.unwrap(), &self.near.source)
    }

    async fn settle(&self) {
        while self.near.cache.stats().background > 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn nothing(_: &Place, _: u64) {}

fn only(command: &str) -> BTreeMap<String, u64> {
    [(command.to_owned(), 1)].into()
}

/// P10 N6: one round trip, with any number of tags, which is one `MGET`.
#[tokio::test]
async fn a_hit_is_one_round_trip() {
    let meter = Meter::new().await;
    for (what, read) in READS {
        // The tags of a result are known once it has been read twice.
        let warm = async |at: &Place, id| {
            read(at, id).await;
            read(at, id).await;
            assert_eq!(at.source.loads(id), if what.contains("result") { 2 } else { 1 }, "{what}");
        };
        let cost = meter
            .cost(warm, async |at, id| {
                let loads = at.loads();
                read(at, id).await;
                assert_eq!(at.loads(), loads, "{what}: it was no hit");
            })
            .await;
        assert_eq!((cost.trips, cost.commands), (1, only("MGET")), "{what}");
    }
}

/// P10: so are hits on what others have stored, once the tags of a result were seen.
#[tokio::test]
async fn a_hit_on_what_another_process_stored_is_one_round_trip() {
    let meter = Meter::new().await;
    let far = meter.far().await;
    for (what, read) in READS {
        let warm = async |_: &Place, id| {
            read(&far, id).await;
            read(&far, id).await;
        };
        let first = meter.cost(warm, async |at, id| read(at, id).await).await;
        let most = if what.contains("result") { 2 } else { 1 };
        assert!(first.trips <= most, "{what}: {first:?}");
        let warm = async |at: &Place, id| {
            warm(at, id).await;
            read(at, id).await;
        };
        let loads = meter.near.loads();
        let then = meter.cost(warm, async |at, id| read(at, id).await).await;
        assert_eq!((then.trips, then.commands), (1, only("MGET")), "{what}");
        assert_eq!(meter.near.loads(), loads, "{what}: it was no hit");
    }
}

/// P10: so are hits on what was stored by key.
#[tokio::test]
async fn a_hit_on_what_was_stored_by_key_is_one_round_trip() {
    let meter = Meter::new().await;
    let stores: [(&str, Work); 3] = [
        ("put by key", work!(|at, id| put_by_key(at, id))),
        ("set", work!(|at, id| at.cache.set(format!("untagged:{id}"), at.source.now(id)))),
        ("companion", work!(|at, id| untagged::put(&at.source.now(id), at, id))),
    ];
    for (what, store) in stores {
        let cost = meter.cost(async |at, id| store(at, id).await, async |at, id| _ = untagged(at, id).await).await;
        assert_eq!((cost.trips, cost.commands), (1, only("MGET")), "{what}");
    }
    assert_eq!(meter.near.loads(), 0);
}

/// P10: look, take the lease, store.
#[tokio::test]
async fn a_cold_miss_is_three_round_trips_at_most() {
    let meter = Meter::new().await;
    for (what, read) in READS {
        for done_before in 0..2 {
            let cost = meter
                .cost(
                    async |at, id| {
                        for _ in 0..done_before {
                            read(at, id).await;
                        }
                        if done_before > 0 {
                            at.cache
                                .invalidate(["all".to_owned(), format!("group:{id}"), format!("t3:{id}")])
                                .await
                                .unwrap();
                            at.cache.invalidate(format!("untagged:{id}")).await.unwrap();
                            at.cache.invalidate(format!("for ever:{id}")).await.unwrap();
                            Tenant::new("acme").unwrap().scope(at.cache.clear()).await.unwrap();
                        }
                    },
                    async |at, id| {
                        let loads = at.loads();
                        read(at, id).await;
                        assert_eq!(at.loads(), loads + 1, "{what}: it was no miss");
                    },
                )
                .await;
            assert!(cost.trips <= 3, "{what}, done before: {done_before}: {cost:?}");
        }
    }
}

/// P10: a load that fails, or whose value is not wanted, costs no more.
#[tokio::test]
async fn a_miss_that_stores_nothing_is_three_round_trips_at_most() {
    #[cache_read(key = "failing:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
    async fn failing(at: &Place, id: u64) -> Result<Row, u8> {
        at.read(id).await;
        Err(1)
    }
    #[cache_read(key = "unwanted:<id>", cache = at.cache, cache_if = |row| row.version > 9, skip(at))]
    async fn unwanted(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    let meter = Meter::new().await;
    let cost = meter.cost(nothing, async |at, id| _ = failing(at, id).await).await;
    assert!(cost.trips <= 3, "failing: {cost:?}");
    let cost = meter.cost(nothing, async |at, id| _ = unwanted(at, id).await).await;
    assert!(cost.trips <= 3, "unwanted: {cost:?}");
}

/// P10 C3 N12: a batch is one look-up, one taking of leases, one storing, however many elements it has.
#[tokio::test]
async fn a_batch_costs_what_one_entry_costs() {
    let meter = Meter::new().await;
    for count in [1, 10, 100] {
        let ids = |id: u64| (id..id + count).collect::<Vec<_>>();
        let cold = meter.cost(nothing, async |at, id| _ = batch(at, ids(id)).await).await;
        assert!(cold.trips <= 3, "{count} cold: {cold:?}");
        let half = meter
            .cost(
                async |at, id| _ = batch(at, ids(id).split_off(count as usize / 2)).await,
                async |at, id| {
                    batch(at, ids(id)).await;
                },
            )
            .await;
        assert!(half.trips <= 3, "{count}, half of them there: {half:?}");
        let warm = meter
            .cost(
                async |at, id| _ = batch(at, ids(id)).await,
                async |at, id| {
                    assert_eq!(batch(at, ids(id)).await.len() as u64, count);
                },
            )
            .await;
        assert_eq!((warm.trips, warm.commands), (1, only("MGET")), "{count} warm");
    }
}

/// P10 N12: so is a batch of what another process stored, whatever the order of its keys; what only values tell costs one
/// more, once.
#[tokio::test]
async fn a_batch_of_what_another_process_stored_is_one_round_trip() {
    let meter = Meter::new().await;
    let far = meter.far().await;
    // Neither in the order of their numbers nor in that of their texts.
    let ids = |id: u64| [11, 9, 100, 8, 10, 99].map(|n| id + n).to_vec();
    let warm = async |_: &Place, id| _ = batch_of_result(&far, ids(id)).await;
    let first = meter.cost(warm, async |at, id| assert_eq!(batch_of_result(at, ids(id)).await.len(), 6)).await;
    assert!(first.trips <= 2, "{first:?}");
    let warm = async |at: &Place, id| {
        warm(at, id).await;
        batch_of_result(at, ids(id)).await;
    };
    let then = meter.cost(warm, async |at, id| assert_eq!(batch_of_result(at, ids(id)).await.len(), 6)).await;
    assert_eq!((then.trips, then.commands), (1, only("MGET")));
    assert_eq!(meter.near.loads(), 0, "it was no hit");

    let id = 1_000_000;
    batch_of_result(&far, ids(id)).await;
    let rows = batch_of_result(&meter.near, [vec![id + 1], ids(id), vec![id + 999]].concat()).await;
    assert_eq!(meter.near.loads(), 2, "those that nobody has stored");
    assert!(rows.len() == 8 && rows.iter().all(|(id, row)| row.id == *id), "{rows:?}");
}

/// P10 N6: one round trip and one command, whatever it covers.
#[tokio::test]
async fn an_invalidation_is_one_round_trip_whatever_it_covers() {
    let invalidations: [(&str, Work); 12] = [
        ("a tag", work!(|at, _| at.cache.invalidate("all"))),
        ("many tags", work!(|at, id| at.cache.invalidate((0..50).map(|n| format!("group:{}", id + n))))),
        ("a tag that nothing has", work!(|at, _| at.cache.invalidate("nothing"))),
        ("a namespace", work!(|at, _| at.cache.invalidate_namespace("rows"))),
        ("everything", work!(|at, _| at.cache.clear())),
        ("everything of a tenant", work!(|at, _| Tenant::new("acme").unwrap().scope(at.cache.clear()))),
        ("a function", work!(|at, _| two_tags::clear(at))),
        ("an entry", work!(|at, id| two_tags::invalidate(at, id))),
        ("a write by tag", work!(|at, id| write_tag(at, id))),
        ("a write by key", work!(|at, id| write_key(at, id))),
        ("a write by tags, keys and namespaces", work!(|at, id| write_much(at, id))),
        ("an entry of a batch", work!(|at, id| batch::invalidate(at, id))),
    ];
    let meter = Meter::new().await;
    for (what, invalidate) in invalidations {
        for covered in [0, 1, 1_000_u64] {
            if covered == 1_000 && !matches!(what, "a tag" | "everything" | "a namespace") {
                continue;
            }
            let fill = async |at: &Place, id| {
                batch(at, (id..id + covered).collect()).await;
                if covered > 0 {
                    named(at, id).await;
                    two_tags(at, id).await;
                }
            };
            let cost = meter.cost(fill, async |at, id| invalidate(at, id).await).await;
            assert_eq!((cost.trips, cost.commands), (1, only("EVAL")), "{what}, {covered} entries");
        }
    }
}

/// P10 A5: the invalidation, and for what is loaded again its lease and its storing: no look-up.
#[tokio::test]
async fn a_recache_is_two_round_trips_on_top() {
    let meter = Meter::new().await;
    let one =
        meter.cost(async |at, id| _ = two_tags(at, id).await, async |at, id| _ = write_recache(at, id).await).await;
    assert!(one.trips <= 3, "{one:?}");
    let many = meter.cost(nothing, async |at, id| _ = write_recache_batch(at, id).await).await;
    assert!(many.trips <= 3, "{many:?}");
    let refresh = meter.cost(nothing, async |at, id| _ = two_tags::refresh(at, id).await).await;
    assert!(refresh.trips <= 2, "{refresh:?}");
}

/// P10 B2: a claim before the body and the storing after it; replacing the tags that the write itself invalidates is one
/// more, and so is delivering its invalidation, and finding out what only the result tells.
#[tokio::test]
async fn a_write_through_is_two_to_four_round_trips() {
    let writes: [(&str, u64, Work); 6] = [
        ("alone", 2, work!(|at, id| put_alone(at, id))),
        ("by key", 2, work!(|at, id| put_by_key(at, id))),
        ("with a tag of others", 3, work!(|at, id| put_with_other_tag(at, id))),
        ("with its own tag", 4, work!(|at, id| put_with_own_tag(at, id))),
        ("named by its result", 3, work!(|at, id| put_of_result(at, id))),
        ("with tags of the result", 3, work!(|at, id| put_with_result_tags(at, id))),
    ];
    let meter = Meter::new().await;
    for (what, most, write) in writes {
        for warm in [false, true] {
            let prepare = async |at: &Place, id| {
                if warm {
                    write(at, id).await;
                }
            };
            let cost = meter.cost(prepare, async |at, id| write(at, id).await).await;
            assert!(cost.trips <= most, "{what}, warm: {warm}: {cost:?}");
        }
    }
}

/// P10 A10: direct calls.
#[tokio::test]
async fn direct_calls_are_one_or_two_round_trips() {
    let calls: [(&str, u64, Work); 18] = [
        ("get", 1, work!(|at, id| at.cache.get::<u64>(format!("k:{id}")))),
        ("get_many", 1, work!(|at, id| at.cache.get_many::<u64>((0..50).map(|n| format!("k:{}", id + n))))),
        ("exists", 1, work!(|at, id| at.cache.exists(format!("k:{id}")))),
        ("peek", 1, work!(|at, id| two_tags::peek(at, id))),
        ("set", 2, work!(|at, id| at.cache.set(format!("k:{id}"), id).tags(["all", "more"]))),
        ("set_many", 2, work!(|at, id| at.cache.set_many((0..50).map(|n| (format!("k:{}", id + n), n))).tags(["all"]))),
        ("companion put", 2, work!(|at, id| two_tags::put(&at.source.now(id), at, id))),
        ("set_nx of what is there", 1, work!(|at, id| at.cache.set_nx(format!("k:{id}"), id))),
        ("set_nx", 3, work!(|at, id| at.cache.set_nx(format!("nx:{id}"), id))),
        ("delete", 2, work!(|at, id| at.cache.delete(format!("k:{id}")))),
        // They say how many there were.
        ("invalidate_keys", 2, work!(|at, id| at.cache.invalidate_keys((0..50).map(|n| format!("k:{}", id + n))))),
        ("pop", 2, work!(|at, id| at.cache.pop::<u64>(format!("k:{id}")))),
        ("expire", 2, work!(|at, id| at.cache.expire(format!("k:{id}"), 10_u64))),
        ("ttl", 2, work!(|at, id| at.cache.ttl(format!("k:{id}")))),
        ("entry_info", 2, work!(|at, id| at.cache.entry_info(format!("k:{id}")))),
        ("incr", 2, work!(|at, id| at.cache.incr(format!("n:{id}"), 1))),
        ("incr of what is not there", 3, work!(|at, id| at.cache.incr(format!("new:{id}"), 1))),
        ("get of what is not there", 1, work!(|at, id| at.cache.get::<u64>(format!("nothing:{id}")))),
    ];
    let meter = Meter::new().await;
    for (what, most, call) in calls {
        let prepare = async |at: &Place, id: u64| {
            at.cache.set_many((0..50).map(|n| (format!("k:{}", id + n), n))).tags(["all", "more"]).await.unwrap();
            at.cache.incr(format!("n:{id}"), 1).await.unwrap();
            // Once, so that the names of its cells are known.
            at.cache.get_many::<u64>((0..50).map(|n| format!("k:{}", id + n))).await.unwrap();
            at.cache.get::<i64>(format!("n:{id}")).await.unwrap();
            two_tags(at, id).await;
            two_tags::peek(at, id).await.unwrap();
        };
        let cost = meter.cost(prepare, async |at, id| call(at, id).await).await;
        assert!(cost.trips <= most, "{what}: {cost:?}");
    }
}

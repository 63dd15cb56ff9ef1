//! P10: what each thing costs in round trips to a Redis server, counted by a proxy in front of it; which commands are sent,
//! and which keys are there.

mod fleet;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Tenant, cache_read, cache_write};
use cache_tests::redis::{Proxy, Server};
use fleet::{Place, Row, Source, builder, prefix, server, within};

// ----------------------------------------------------------------------------------------------------------------- reads

macro_rules! reads {
    ($($(#[$attr:meta])* $name:ident($at:ident, $id:ident) -> $ty:ty = $value:expr;)*) => {
        $($(#[$attr])*
        async fn $name($at: &Place, $id: u64) -> $ty {
            $value
        })*
    };
}
reads! {
    #[cache_read(key = "untagged:<id>", cache = at.cache, skip(at))]
    untagged(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "two:<id>", cache = at.cache, tags = ["group:<id>", "all"], skip(at))]
    two_tags(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "ten:<id>", cache = at.cache, tags = (0..10).map(|n| format!("t{n}:{id}")), skip(at))]
    ten_tags(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "result:<id>", cache = at.cache, tags = ["group:<id>", "org:<result.org>", "own:<result.id>"], skip(at))]
    result_tags(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "json:<id>", cache = at.cache, tags = ["group:<id>"], codec = json, skip(at))]
    json(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "absent:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
    absent(at, id) -> Option<Row> = Some(at.read(id).await).filter(|_| false);
    #[cache_read(key = "named:<id>", cache = at.cache, namespace = "rows", tags = ["group:<id>"], skip(at))]
    named(at, id) -> Arc<Row> = Arc::new(at.read(id).await);
    #[cache_read(key = "locked:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, skip(at))]
    locked(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "packed:<id>", cache = at.cache, tags = ["group:<id>"], compress_above = "16", skip(at))]
    packed(at, id) -> String = format!("{:0200}", at.read(id).await.version);
    #[cache_read(key = "forever:<id>", cache = at.cache, tags = ["for ever:<id>"], ttl = "forever", skip(at))]
    forever(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "forever_json:<id>", cache = at.cache, codec = json, ttl = "forever", skip(at))]
    forever_json(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "day:<id>", cache = at.cache, tags = ["day:<id>"], ttl = "24h", skip(at))]
    a_day(at, id) -> Row = at.read(id).await;
}

#[cache_read(key = "batch:<id>", cache = at.cache, tags = ["group:<id>", "all"], each(id in ids), skip(at))]
async fn batch(at: &Place, ids: Vec<u64>) -> HashMap<u64, Row> {
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, at.read(id).await);
    }
    rows
}

async fn direct(at: &Place, id: u64) -> Row {
    let load = || async { Ok::<_, std::convert::Infallible>(at.read(id).await) };
    let Ok(row) = at.cache.get_or_load(format!("direct:{id}"), load).tags(["all", "more"]).await;
    row
}

async fn of_tenant(at: &Place, id: u64) -> Row {
    Tenant::new("acme").unwrap().scope(two_tags(at, id)).await
}

type Work = for<'a> fn(&'a Place, u64) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! work {
    (|$at:ident, $id:ident| $work:expr) => {
        |$at, $id| {
            Box::pin(async move {
                let _ = $work.await;
            })
        }
    };
}

/// Every kind of read.
const READS: [(&str, Work); 13] = [
    ("without tags", work!(|at, id| untagged(at, id))),
    ("two tags", work!(|at, id| two_tags(at, id))),
    ("ten tags", work!(|at, id| ten_tags(at, id))),
    ("tags of the result", work!(|at, id| result_tags(at, id))),
    ("plain JSON", work!(|at, id| json(at, id))),
    ("an absent value", work!(|at, id| absent(at, id))),
    ("in a namespace", work!(|at, id| named(at, id))),
    ("locked", work!(|at, id| locked(at, id))),
    ("compressed", work!(|at, id| packed(at, id))),
    ("for ever", work!(|at, id| forever(at, id))),
    ("get_or_load", work!(|at, id| direct(at, id))),
    ("of a tenant", work!(|at, id| of_tenant(at, id))),
    ("one of a batch", work!(|at, id| batch(at, vec![id]))),
];

// ---------------------------------------------------------------------------------------------------------------- writes

macro_rules! writes {
    ($($(#[$attr:meta])* $name:ident($at:ident, $id:ident);)*) => {
        $($(#[$attr])*
        async fn $name($at: &Place, $id: u64) -> Row {
            $at.commit($id)
        })*
    };
}
writes! {
    #[cache_write(cache = at.cache, tags = ["group:<id>"])]
    write_tag(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>", "all", "org:<result.org>"], keys = ["two:<id>", "json:<id>"], namespaces = ["rows"])]
    write_much(at, id);
    #[cache_write(cache = at.cache, keys = ["two:<id>"])]
    write_key(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], recache = [two_tags(at, id)])]
    write_recache(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], recache = [batch(at, (0..50).collect())])]
    write_recache_batch(at, id);
    #[cache_write(cache = at.cache, put = untagged(at, id))]
    put_alone(at, id);
    #[cache_write(cache = at.cache, put = "untagged:<id>")]
    put_by_key(at, id);
    #[cache_write(cache = at.cache, tags = ["other"], put = two_tags(at, id))]
    put_with_other_tag(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = two_tags(at, id))]
    put_with_own_tag(at, id);
    #[cache_write(cache = at.cache, put = two_tags(at, result.id))]
    put_of_result(at, id);
    #[cache_write(cache = at.cache, put = result_tags(at, id))]
    put_with_result_tags(at, id);
}

// ----------------------------------------------------------------------------------------------------------------- meter

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

// ----------------------------------------------------------------------------------------------------------------- costs

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
    let far = builder(&server().await.url(), "x").build().await.unwrap();
    let info = meter.near.cache.info().await.unwrap();
    far.close().await.unwrap();
    let prefix = info.prefix.strip_suffix(":v1").unwrap();
    let far = Place::new(builder(&server().await.url(), prefix).build().await.unwrap(), &meter.near.source);
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

/// P10 N6: one round trip and one command, whatever it covers.
#[tokio::test]
async fn an_invalidation_is_one_round_trip_whatever_it_covers() {
    let invalidations: [(&str, Work); 12] = [
        ("a tag", work!(|at, id| at.cache.invalidate("all"))),
        ("many tags", work!(|at, id| at.cache.invalidate((0..50).map(|n| format!("group:{}", id + n))))),
        ("a tag that nothing has", work!(|at, id| at.cache.invalidate("nothing"))),
        ("a namespace", work!(|at, id| at.cache.invalidate_namespace("rows"))),
        ("everything", work!(|at, id| at.cache.clear())),
        ("everything of a tenant", work!(|at, id| Tenant::new("acme").unwrap().scope(at.cache.clear()))),
        ("a function", work!(|at, id| two_tags::clear(at))),
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
            assert_eq!((cost.trips, cost.commands), (1, only("UNLINK")), "{what}, {covered} entries");
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

// ------------------------------------------------------------------------------------------------------- commands and keys

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
    fleet::soon("background work", || place.cache.stats().background == 0).await;
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
        assert!(left <= 25 * 3_600_000, "{key} lives for {left} ms");
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
    let fleet = fleet::Fleet::new().await;
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

//! `put` on Redis (P1, B2): a writer's result is what every process reads next, where nothing came between, and is served to
//! nobody where something did. Keys that vanish meanwhile are in `redis_races`.

mod fleet;

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use cache_runtime::{Cache, Tenant, cache_read, cache_write};
use cache_tests::redis::{Corrupt, Proxy, Server};
use fleet::{Fleet, Gate, Hand, LONG, Place, Row, Source, builder, ended, soon, within};
use tokio::task::JoinHandle;

type Soon<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Read = fn(Arc<Place>, u64) -> Soon<Row>;
type Write = fn(Arc<Place>, u64) -> Soon<()>;
type Put = fn(Arc<Place>, u64, Arc<Gate>) -> Soon<Row>;

// ----------------------------------------------------------------------------------------------------------------- reads

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>", "all"], namespace = "rows", skip(at))]
async fn tagged(at: &Place, id: u64) -> Row {
    at.read(id).await
}

/// Tagged by its own key only.
#[cache_read(key = "row:<id>", cache = at.cache, skip(at))]
async fn plain(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], codec = json, skip(at))]
async fn json(at: &Place, id: u64) -> Row {
    at.read(id).await
}

/// The same tag twice, once by the argument and once by the result.
#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>", "group:<result.id>"], skip(at))]
async fn twice(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>", "org:<result.org>"], skip(at))]
async fn by_result(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, skip(at))]
async fn locked(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
async fn optional(at: &Place, id: u64) -> Result<Option<Arc<Row>>, u8> {
    Ok(Some(Arc::new(at.read(id).await)).filter(|row| row.version % 10 != 9))
}

macro_rules! reads {
    ($($name:ident: $function:ident;)*) => {
        $(fn $name(at: Arc<Place>, id: u64) -> Soon<Row> {
            Box::pin(async move { $function(&at, id).await })
        })*
    };
}
reads! {
    read_tagged: tagged;
    read_plain: plain;
    read_json: json;
    read_twice: twice;
    read_by_result: by_result;
    read_locked: locked;
}

fn read_optional(at: Arc<Place>, id: u64) -> Soon<Row> {
    Box::pin(async move { *optional(&at, id).await.unwrap().unwrap() })
}

// ---------------------------------------------------------------------------------------------------------------- writes

macro_rules! puts {
    ($($(#[$attr:meta])* $name:ident($at:ident, $id:ident), $put:ident;)*) => {
        $($(#[$attr])*
        async fn $name($at: &Place, $id: u64, gate: &Gate) -> Row {
            gate.write($at, $id).await
        }
        fn $put(at: Arc<Place>, id: u64, gate: Arc<Gate>) -> Soon<Row> {
            Box::pin(async move { $name(&at, id, &gate).await })
        })*
    };
}
puts! {
    #[cache_write(cache = at.cache, put = tagged(at, id))]
    put_alone(at, id), alone;
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = tagged(at, id))]
    put_with_tag(at, id), with_tag;
    #[cache_write(cache = at.cache, tags = ["row:<id>"], put = tagged(at, id))]
    put_with_default_tag(at, id), with_default_tag;
    #[cache_write(cache = at.cache, keys = ["row:<id>"], put = tagged(at, id))]
    put_with_key(at, id), with_key;
    #[cache_write(cache = at.cache, tags = ["group:<id>", "all"], put = tagged(at, id))]
    put_with_all_tags(at, id), with_all_tags;
    #[cache_write(cache = at.cache, namespaces = ["rows"], put = tagged(at, id))]
    put_with_namespace(at, id), with_namespace;
    #[cache_write(cache = at.cache, put = tagged(at, result.id))]
    put_of_result(at, id), of_result;
    #[cache_write(cache = at.cache, tags = ["group:<result.id>"], put = tagged(at, result.id))]
    put_of_result_with_tag(at, id), of_result_with_tag;
    #[cache_write(cache = at.cache, tags = ["group:<id>"], before = true, put = tagged(at, id))]
    put_with_before(at, id), with_before;
    #[cache_write(cache = at.cache, put = "row:<id>")]
    put_by_key(at, id), by_key;
    #[cache_write(cache = at.cache, put = "row:<result.id>")]
    put_by_key_of_result(at, id), by_key_of_result;
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = json(at, id))]
    put_json(at, id), of_json;
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = twice(at, id))]
    put_twice(at, id), of_twice;
    #[cache_write(cache = at.cache, put = by_result(at, id))]
    put_with_result_tags(at, id), with_result_tags;
    #[cache_write(cache = at.cache, tags = ["group:<id>", "org:<result.org>"], put = by_result(at, id))]
    put_with_own_result_tags(at, id), with_own_result_tags;
    #[cache_write(cache = at.cache, tags = ["org:<result.org>"], put = by_result(at, result.id))]
    put_of_result_with_result_tags(at, id), of_result_with_result_tags;
    #[cache_write(cache = at.cache, put = locked(at, id))]
    put_locked(at, id), of_locked;
    #[cache_write(cache = at.cache, put = optional(at, id))]
    put_optional(at, id), of_optional;
    #[cache_write(cache = at.cache, patterns = ["row:<id>"], put = tagged(at, id))]
    put_with_pattern(at, id), with_pattern;
}

/// Every form, with what reads it.
const FORMS: [(&str, Read, Put); 18] = [
    ("alone", read_tagged, alone),
    ("with a tag of the entry", read_tagged, with_tag),
    ("with its key as tag", read_tagged, with_default_tag),
    ("with its key", read_tagged, with_key),
    ("with all tags of the entry", read_tagged, with_all_tags),
    ("with its namespace", read_tagged, with_namespace),
    ("named by the result", read_tagged, of_result),
    ("named by the result, with a tag", read_tagged, of_result_with_tag),
    ("with before", read_tagged, with_before),
    ("by key", read_plain, by_key),
    ("by key, from the result", read_plain, by_key_of_result),
    ("plain JSON", read_json, of_json),
    ("one tag twice", read_twice, of_twice),
    ("with tags of the result", read_by_result, with_result_tags),
    ("with tags of the result, and invalidating them", read_by_result, with_own_result_tags),
    ("named by the result, with tags of it", read_by_result, of_result_with_result_tags),
    ("of a locked function", read_locked, of_locked),
    ("of an optional value", read_optional, of_optional),
];

/// A writer in its body.
async fn begin(place: &Arc<Place>, id: u64, put: Put) -> (JoinHandle<Row>, Arc<Gate>) {
    let gate = Gate::new();
    let writer = tokio::spawn(put(Arc::clone(place), id, Arc::clone(&gate)));
    gate.in_body().await;
    (writer, gate)
}

/// A whole write.
async fn write(place: &Arc<Place>, id: u64, put: Put) -> Row {
    let (writer, gate) = begin(place, id, put).await;
    gate.commit().await;
    gate.let_go();
    ended("a write", writer).await
}

async fn all_read(what: &str, fleet: &Fleet, read: Read, id: u64, version: u64) {
    for place in fleet.places() {
        assert_eq!(within(what, read(Arc::clone(place), id)).await.version, version, "{what}");
    }
}

// ---------------------------------------------------------------------------------------------------------------- served

/// P1 B2: a write-through's result is what is read next in every process, without a load, and it has the entry's tags.
#[tokio::test]
async fn a_write_through_is_served_without_a_load() {
    let fleet = Fleet::new().await;
    let mut id = 0;
    for (what, read, put) in FORMS {
        for warm in [true, false] {
            id += 10;
            if warm {
                read(Arc::clone(&fleet.a), id).await;
                read(Arc::clone(&fleet.c), id).await;
            }
            let loads = fleet.source.loads(id);
            for version in 1..4 {
                let writer = fleet.places()[version as usize % 3];
                assert_eq!(write(writer, id, put).await.version, version);
                all_read(what, &fleet, read, id, version).await;
                assert_eq!(fleet.source.loads(id), loads, "{what}, warm: {warm}: the result was not stored");
            }
            assert!(!fleet.exists(&fleet.lease(&format!("row:{id}"))).await, "{what}: its lease is left");
            fleet.source.commit(id);
            let tag = if what.starts_with("by key") { format!("row:{id}") } else { format!("group:{id}") };
            fleet.b.cache.invalidate(tag).await.unwrap();
            all_read(what, &fleet, read, id, 4).await;
        }
    }
    for place in fleet.places() {
        let stats = place.cache.stats();
        assert_eq!((stats.degraded, stats.undelivered_total, stats.flights), (0, 0, 0));
    }
}

/// P1: a tag that only the result tells reaches what was written through.
#[tokio::test]
async fn a_tag_of_the_result_reaches_what_was_written_through() {
    let fleet = Fleet::new().await;
    for (id, put) in [(10, with_result_tags as Put), (20, of_result_with_result_tags), (30, with_own_result_tags)] {
        fleet.source.set_org(id, id + 1);
        write(&fleet.a, id, put).await;
        fleet.source.commit(id);
        fleet.b.cache.invalidate(format!("org:{}", id + 1)).await.unwrap();
        all_read("the tag", &fleet, read_by_result, id, 2).await;
    }
}

/// B2 E2: it lives as long as its reader says, and under the reader's tenant.
#[tokio::test]
async fn a_written_through_entry_has_its_readers_options() {
    #[cache_read(key = "short:<id>", cache = at.cache, ttl = "30s", skip(at))]
    async fn short(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    #[cache_read(key = "by_value:<id>", cache = at.cache, ttl = |row| Duration::from_secs(row.version * 10), skip(at))]
    async fn by_value(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    #[cache_read(key = "forever:<id>", cache = at.cache, ttl = "forever", skip(at))]
    async fn forever(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    #[cache_write(cache = at.cache, put = short(at, id))]
    async fn put_short(at: &Place, id: u64) -> Row {
        at.commit(id)
    }
    #[cache_write(cache = at.cache, put = by_value(at, id))]
    async fn put_by_value(at: &Place, id: u64) -> Row {
        at.commit(id)
    }
    #[cache_write(cache = at.cache, put = forever(at, id))]
    async fn put_forever(at: &Place, id: u64) -> Row {
        at.commit(id)
    }
    let fleet = Fleet::new().await;
    put_short(&fleet.a, 1).await;
    put_by_value(&fleet.a, 2).await;
    put_forever(&fleet.a, 3).await;
    let left = async |key: &str| fleet.ask::<i64>(&["PTTL", &format!("{}:v1:{key}", fleet.prefix)]).await;
    assert!((20_000..=30_000).contains(&left("short:1").await));
    assert!((5_000..=10_000).contains(&left("by_value:2").await));
    assert_eq!(left("forever:3").await, -1);

    let tenant = Tenant::new("acme").unwrap();
    tenant.scope(put_short(&fleet.a, 4)).await;
    assert!(left("tenant-acme:short:4").await > 0);
    assert_eq!(left("short:4").await, -2);
    assert_eq!(tenant.scope(short(&fleet.b, 4)).await.version, 1);
    assert_eq!(fleet.source.loads(4), 0);
}

/// B2: what its reader would not store is not stored, and what was there goes.
#[tokio::test]
async fn what_the_reader_would_not_store_is_not_written_through() {
    #[cache_read(key = "row:<id>", cache = at.cache, cache_if = |row| row.version != 1, skip(at))]
    async fn picky(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    #[cache_write(cache = at.cache, put = picky(at, id))]
    async fn put_picky(at: &Place, id: u64) -> Row {
        at.commit(id)
    }
    let fleet = Fleet::new().await;
    picky(&fleet.a, 1).await;
    put_picky(&fleet.b, 1).await;
    assert_eq!(picky(&fleet.a, 1).await.version, 1);
    assert_eq!(fleet.source.loads(1), 2, "it was loaded again");
    put_picky(&fleet.b, 1).await;
    assert_eq!(picky(&fleet.a, 1).await.version, 2);
    assert_eq!(fleet.source.loads(1), 2, "it was written through");
}

/// P1 C2: a write-through whose result is absent leaves no entry: the row is gone.
#[tokio::test]
async fn a_write_through_of_an_absent_value_drops_the_entry() {
    #[cache_write(cache = at.cache, put = optional(at, id))]
    async fn delete(at: &Place, id: u64) -> Option<Row> {
        while at.commit(id).version % 10 != 9 {}
        None
    }
    let fleet = Fleet::new().await;
    assert!(optional(&fleet.a, 1).await.unwrap().is_some());
    assert_eq!(delete(&fleet.b, 1).await, None);
    for place in fleet.places() {
        assert_eq!(optional(place, 1).await.unwrap(), None, "the write said that it is gone");
    }
}

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

// ------------------------------------------------------------------------------------------------------------ two writers

/// P1: two writers in two processes commit in one order and arrive in it or in the other.
#[tokio::test]
async fn of_two_write_throughs_the_stale_one_is_never_served() {
    let fleet = Fleet::new().await;
    let mut id = 0;
    for (what, read, put) in FORMS {
        for in_order in [true, false] {
            for warm in [true, false] {
                id += 10;
                let what = format!("{what}, arrived in order: {in_order}, warm: {warm}");
                if warm {
                    read(Arc::clone(&fleet.c), id).await;
                    read(Arc::clone(&fleet.c), id).await;
                }
                let (first, one) = begin(&fleet.a, id, put).await;
                let (second, two) = begin(&fleet.b, id, put).await;
                one.commit().await;
                two.commit().await;
                if in_order {
                    one.let_go();
                    assert_eq!(ended(&what, first).await.version, 1);
                    two.let_go();
                    assert_eq!(ended(&what, second).await.version, 2);
                } else {
                    two.let_go();
                    assert_eq!(ended(&what, second).await.version, 2);
                    all_read(&what, &fleet, read, id, 2).await;
                    one.let_go();
                    assert_eq!(ended(&what, first).await.version, 1);
                }
                all_read(&what, &fleet, read, id, 2).await;
                all_read(&what, &fleet, read, id, 2).await;
            }
        }
    }
}

/// P1: and neither of two forms that write the same entry.
#[tokio::test]
async fn of_two_forms_of_write_through_the_stale_one_is_never_served() {
    let fleet = Fleet::new().await;
    let forms: [(&str, Put); 4] =
        [("alone", alone), ("with tag", with_tag), ("of result", of_result), ("with pattern", with_pattern)];
    let mut id = 0;
    for (early, first_put) in forms {
        for (late, second_put) in forms {
            for second_begins_late in [true, false] {
                id += 10;
                let what = format!("{early}, then {late}");
                let (first, one) = begin(&fleet.a, id, first_put).await;
                let (second, two);
                if second_begins_late {
                    one.commit().await;
                    (second, two) = begin(&fleet.b, id, second_put).await;
                } else {
                    (second, two) = begin(&fleet.b, id, second_put).await;
                    one.commit().await;
                }
                two.commit().await;
                two.let_go();
                ended(&what, second).await;
                one.let_go();
                assert_eq!(ended(&what, first).await.version, 1);
                all_read(&what, &fleet, read_tagged, id, 2).await;
            }
        }
    }
}

/// P1: a later write that only invalidates, a direct change, or a load of a later value comes before it arrives.
#[tokio::test]
async fn a_write_through_does_not_undo_what_overtook_it() {
    macro_rules! later {
        (|$at:ident, $id:ident| $work:expr) => {
            |place, $id| {
                Box::pin(async move {
                    let $at = &*place;
                    $at.commit($id);
                    let _ = $work.await;
                })
            }
        };
    }
    #[cache_write(cache = at.cache, tags = ["group:<id>"])]
    async fn invalidates(at: &Place, id: u64) {
        at.commit(id);
    }
    #[cache_write(cache = at.cache, tags = ["other"], recache = [tagged(at, id)])]
    async fn recaches(at: &Place, id: u64) {
        at.commit(id);
    }
    let laters: [(&str, Write); 13] = [
        ("a write by tag", |at, id| Box::pin(async move { invalidates(&at, id).await })),
        ("a recache", |at, id| Box::pin(async move { recaches(&at, id).await })),
        ("a tag", later!(|at, id| at.cache.invalidate(format!("group:{id}")))),
        ("another tag", later!(|at, id| at.cache.invalidate(["other", "all"]))),
        ("the key", later!(|at, id| at.cache.delete(format!("row:{id}")))),
        ("the key as a tag", later!(|at, id| at.cache.invalidate(format!("row:{id}")))),
        ("pop", later!(|at, id| at.cache.pop::<Row>(format!("row:{id}")))),
        ("the namespace", later!(|at, id| at.cache.invalidate_namespace("rows"))),
        ("everything", later!(|at, id| at.cache.clear())),
        ("a pattern", later!(|at, id| at.cache.delete_match("row:*"))),
        ("the function", later!(|at, id| tagged::clear(at))),
        ("the companion's put", later!(|at, id| tagged::put(&at.source.now(id), at, id))),
        ("an expiry of zero", later!(|at, id| at.cache.expire(format!("row:{id}"), 0_u64))),
    ];
    let forms: [(&str, Put); 5] = [
        ("alone", alone),
        ("named by the result", of_result),
        ("with tag", with_tag),
        ("with pattern", with_pattern),
        ("named by the result, with tag", of_result_with_tag),
    ];
    let fleet = Fleet::new().await;
    let mut id = 0;
    for (what, later) in laters {
        for (how, put) in forms {
            for loaded_before_it_arrives in [false, true] {
                id += 10;
                let what = format!("{what} during a write-through ({how}), loaded: {loaded_before_it_arrives}");
                let (early, gate) = begin(&fleet.a, id, put).await;
                gate.commit().await;
                within(&what, later(Arc::clone(&fleet.b), id)).await;
                if loaded_before_it_arrives {
                    all_read(&what, &fleet, read_tagged, id, 2).await;
                }
                gate.let_go();
                assert_eq!(ended(&what, early).await.version, 1);
                all_read(&what, &fleet, read_tagged, id, 2).await;
            }
        }
    }
}

/// P1: a load that began before the commit, in the writer's process or another, and ends before or after it arrives.
#[tokio::test]
async fn a_load_between_commit_and_arrival_does_not_leave_its_value() {
    let fleet = Fleet::new().await;
    let mut id = 0;
    for (what, read, put) in FORMS {
        for near in [true, false] {
            for load_begins_first in [true, false] {
                for load_ends_first in [true, false] {
                    id += 10;
                    let what = format!("{what}, {near}, {load_begins_first}, {load_ends_first}");
                    let reader = if near { &fleet.a } else { &fleet.b };
                    fleet.source.hold(id, 1, 1);
                    let load = || tokio::spawn(read(Arc::clone(reader), id));
                    let begun = async || soon("the load", || fleet.source.loads(id) == 1).await;
                    let (old, writer, gate);
                    if load_begins_first {
                        old = load();
                        begun().await;
                        (writer, gate) = begin(&fleet.a, id, put).await;
                    } else {
                        (writer, gate) = begin(&fleet.a, id, put).await;
                        if what.starts_with("of a locked") {
                            // It would wait for the writer.
                            gate.commit().await;
                            gate.let_go();
                            ended(&what, writer).await;
                            continue;
                        }
                        old = load();
                        begun().await;
                    }
                    gate.commit().await;
                    if load_ends_first {
                        fleet.source.release(id);
                        ended(&what, old).await;
                        gate.let_go();
                        ended(&what, writer).await;
                    } else {
                        gate.let_go();
                        ended(&what, writer).await;
                        all_read(&what, &fleet, read, id, 1).await;
                        fleet.source.release(id);
                        ended(&what, old).await;
                    }
                    all_read(&what, &fleet, read, id, 1).await;
                    all_read(&what, &fleet, read, id, 1).await;
                }
            }
        }
    }
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

/// B2 C1: what was stored by key, by a write or directly, is served to the function that has this key and no tags.
#[tokio::test]
async fn what_was_stored_by_key_is_served_to_a_function_without_tags() {
    let fleet = Fleet::new().await;
    write(&fleet.a, 1, by_key).await;
    fleet.a.cache.set("row:2", Row { id: 2, org: 0, version: 7 }).await.unwrap();
    let stored = async || Ok::<_, std::convert::Infallible>(Row { id: 3, org: 0, version: 8 });
    let Ok(_) = fleet.a.cache.get_or_load("row:3", stored).await;
    for place in fleet.places() {
        assert_eq!(plain(place, 1).await.version, 1);
        assert_eq!(plain(place, 2).await.version, 7);
        assert_eq!(plain(place, 3).await.version, 8);
    }
    assert_eq!((1..4).map(|id| fleet.source.loads(id)).sum::<u64>(), 0);
    // But not to one with tags that such an entry does not have: their invalidation would not reach it.
    assert_eq!(tagged(&fleet.b, 2).await.version, 0);
    assert_eq!(fleet.source.loads(2), 1);
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

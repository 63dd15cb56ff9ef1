//! The same with a server that evicts: at each stage of a race every key that is there is dropped in turn, and nothing that
//! was invalidated is served for it.

use std::sync::Arc;

use super::fleet::{Fleet, Gate, Place, Row, ended, soon, within};
use super::*;

/// Which key is evicted, and when.
#[derive(Clone, Copy, Debug)]
struct Evict {
    stage: usize,
    key: usize,
}

/// One run of a race, with at most one eviction. Counts the keys of each stage, for the runs that follow.
struct Run<'f> {
    fleet: &'f Fleet,
    evict: Option<Evict>,
    keys: Vec<usize>,
    evicted: Option<String>,
}

impl Run<'_> {
    async fn stage(&mut self) {
        let keys = self.fleet.keys().await;
        if let Some(evict) = self.evict
            && evict.stage == self.keys.len()
            && let Some(key) = keys.get(evict.key)
        {
            self.fleet.evict(std::slice::from_ref(key)).await;
            self.evicted = Some(key.clone());
        }
        self.keys.push(keys.len());
    }
}

/// Runs a race without evictions, then with each.
async fn each_key(race: impl AsyncFn(&mut Run<'_>, u64, String)) {
    let fleet = Fleet::new().await;
    let mut id = 0;
    let mut run_with = async |evict| {
        fleet.evict(&fleet.keys().await).await;
        id += 10;
        let mut run = Run { fleet: &fleet, evict, keys: Vec::new(), evicted: None };
        race(&mut run, id, format!("{evict:?}")).await;
        (run.keys, run.evicted)
    };
    let (keys, _) = run_with(None).await;
    assert!(keys.iter().any(|count| *count > 2), "nothing to evict: {keys:?}");
    for (stage, count) in keys.into_iter().enumerate() {
        for key in 0..count {
            let evict = Evict { stage, key };
            let (_, evicted) = run_with(Some(evict)).await;
            assert!(evicted.is_some(), "{evict:?}: it was not there");
        }
    }
}

async fn all_read(run: &Run<'_>, what: &str, read: Read, id: u64, version: u64) {
    for place in run.fleet.places() {
        let row = within(what, read(Arc::clone(place), id)).await;
        assert_eq!(row.version, version, "{what}, evicted {:?}", run.evicted);
    }
}

/// A load in A, and one in C that begins after the first eviction and so may get what A lost; then a write in B, a read in
/// B, and the ends of the old loads.
async fn write_during_loads(read: Read, write: Write) {
    for a_ends_first in [true, false] {
        each_key(async |run, id, what| {
            let Fleet { a, b, c, source, .. } = run.fleet;
            source.hold(id, 1, 2);
            let in_a = tokio::spawn(read(Arc::clone(a), id));
            soon("the old load", || source.loads(id) == 1).await;
            run.stage().await;
            let in_c = tokio::spawn(read(Arc::clone(c), id));
            soon("the other old load", || source.loads(id) == 2).await;
            run.stage().await;
            within(&what, write(Arc::clone(b), id)).await;
            run.stage().await;
            let row = within(&what, read(Arc::clone(b), id)).await;
            assert_eq!(row.version, 1, "{what}, evicted {:?}: it began after the write", run.evicted);
            run.stage().await;
            let (first, then) = if a_ends_first { ((2, 2), [in_a, in_c]) } else { ((1, 1), [in_c, in_a]) };
            source.hold(id, first.0, first.1);
            for old in then {
                ended(&what, old).await;
                run.stage().await;
                source.release(id);
            }
            all_read(run, &what, read, id, 1).await;
            all_read(run, &what, read, id, 1).await;
        })
        .await;
    }
}

macro_rules! evictions {
    ($($(#[$doc:meta])* $name:ident: $read:expr, $write:expr;)*) => {
        $($(#[$doc])*
        #[tokio::test]
        async fn $name() {
            write_during_loads($read, $write).await;
        })*
    };
}
evictions! {
    /// P5
    an_eviction_undoes_no_write_by_tag: read_tagged, by_tag;
    /// P5
    an_eviction_undoes_no_write_by_key: read_plain, by_key;
    /// P5
    an_eviction_undoes_no_write_by_default_tag: read_plain, by_default_tag;
    /// P5
    an_eviction_undoes_no_write_by_pattern: read_plain, by_pattern;
    /// P5
    an_eviction_undoes_no_write_by_namespace: read_tagged, by_namespace;
    /// P5
    an_eviction_undoes_no_write_by_result_tag: read_by_result, by_result_tag;
    /// P5
    an_eviction_undoes_no_write_to_an_element_of_a_batch: read_batch, by_tag;
    /// P5
    an_eviction_undoes_no_write_to_plain_json: read_json, by_tag;
    /// P5
    an_eviction_undoes_no_clearing_of_everything: read_tagged, whole_cache;
    /// P5
    an_eviction_undoes_no_write_through: read_tagged, through;
    /// P5
    an_eviction_undoes_no_write_through_without_tags: read_tagged, through_alone;
    /// P5
    an_eviction_undoes_no_write_through_named_by_its_result: read_tagged, through_of_result;
    /// P5
    an_eviction_undoes_no_put_of_a_companion: read_tagged, companion_puts;
    /// P5
    an_eviction_undoes_no_set: read_plain, set;
}

// --------------------------------------------------------------------------------------------------------- write-through

#[cache_write(cache = at.cache, put = tagged(at, id))]
async fn put_alone(at: &Place, id: u64, gate: &Gate) -> Row {
    gate.write(at, id).await
}
#[cache_write(cache = at.cache, tags = ["group:<id>"], put = tagged(at, id))]
async fn put_with_tag(at: &Place, id: u64, gate: &Gate) -> Row {
    gate.write(at, id).await
}
#[cache_write(cache = at.cache, put = tagged(at, result.id))]
async fn put_of_result(at: &Place, id: u64, gate: &Gate) -> Row {
    gate.write(at, id).await
}
#[cache_write(cache = at.cache, put = by_result(at, id))]
async fn put_with_result_tags(at: &Place, id: u64, gate: &Gate) -> Row {
    gate.write(at, id).await
}
#[cache_write(cache = at.cache, put = "row:<id>")]
async fn put_by_key(at: &Place, id: u64, gate: &Gate) -> Row {
    gate.write(at, id).await
}

type Put = fn(Arc<Place>, u64, Arc<Gate>) -> Soon<Row>;

/// A write-through in B; a load in C that begins during it, before the commit, and ends after the writer has returned, or
/// just before.
async fn load_during_write_through(read: Read, write: Put) {
    for reader_ends_last in [true, false] {
        each_key(async |run, id, what| {
            let Fleet { b, c, source, .. } = run.fleet;
            let gate = Gate::new();
            let writer = tokio::spawn(write(Arc::clone(b), id, Arc::clone(&gate)));
            gate.in_body().await;
            run.stage().await;
            source.hold(id, 1, 1);
            let reader = tokio::spawn(read(Arc::clone(c), id));
            soon("the reader's load", || source.loads(id) == 1).await;
            run.stage().await;
            gate.commit().await;
            run.stage().await;
            if reader_ends_last {
                gate.let_go();
                ended(&what, writer).await;
                run.stage().await;
                source.release(id);
                ended(&what, reader).await;
            } else {
                source.release(id);
                ended(&what, reader).await;
                run.stage().await;
                gate.let_go();
                ended(&what, writer).await;
            }
            all_read(run, &what, read, id, 1).await;
            run.stage().await;
            all_read(run, &what, read, id, 1).await;
        })
        .await;
    }
}

/// Two write-throughs, which commit in one order and arrive in it or in the other.
async fn two_write_throughs(read: Read, write: Put) {
    for in_order in [true, false] {
        each_key(async |run, id, what| {
            let Fleet { a, b, .. } = run.fleet;
            let (one, two) = (Gate::new(), Gate::new());
            let first = tokio::spawn(write(Arc::clone(a), id, Arc::clone(&one)));
            one.in_body().await;
            run.stage().await;
            let second = tokio::spawn(write(Arc::clone(b), id, Arc::clone(&two)));
            two.in_body().await;
            run.stage().await;
            one.commit().await;
            two.commit().await;
            let arrivals = if in_order { [(first, one), (second, two)] } else { [(second, two), (first, one)] };
            for (writer, gate) in arrivals {
                gate.let_go();
                if ended(&what, writer).await.version == 2 {
                    all_read(run, &what, read, id, 2).await;
                }
                run.stage().await;
            }
            all_read(run, &what, read, id, 2).await;
        })
        .await;
    }
}

macro_rules! write_throughs {
    ($($(#[$doc:meta])* $name:ident, $both:ident: $read:expr, $write:expr;)*) => {
        $($(#[$doc])*
        #[tokio::test]
        async fn $name() {
            load_during_write_through($read, |at, id, gate| Box::pin(async move { $write(&at, id, &gate).await })).await;
        }
        $(#[$doc])*
        #[tokio::test]
        async fn $both() {
            two_write_throughs($read, |at, id, gate| Box::pin(async move { $write(&at, id, &gate).await })).await;
        })*
    };
}
write_throughs! {
    /// P1 P5
    an_eviction_during_a_write_through_lets_no_load_undo_it,
    an_eviction_lets_neither_of_two_write_throughs_be_undone: read_tagged, put_alone;
    /// P1 P5
    an_eviction_during_a_write_through_with_a_tag_lets_no_load_undo_it,
    an_eviction_lets_neither_of_two_write_throughs_with_a_tag_be_undone: read_tagged, put_with_tag;
    /// P1 P5
    an_eviction_during_a_write_through_named_by_its_result_lets_no_load_undo_it,
    an_eviction_lets_neither_of_two_write_throughs_named_by_their_results_be_undone: read_tagged, put_of_result;
    /// P1 P5
    an_eviction_during_a_write_through_with_result_tags_lets_no_load_undo_it,
    an_eviction_lets_neither_of_two_write_throughs_with_result_tags_be_undone: read_by_result, put_with_result_tags;
    /// P1 P5
    an_eviction_during_a_write_through_by_key_lets_no_load_undo_it,
    an_eviction_lets_neither_of_two_write_throughs_by_key_be_undone: read_plain, put_by_key;
}

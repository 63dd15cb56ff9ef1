//! Writes that load again what they made invalid: the old value is never what they store.

use std::sync::Arc;

use cache_tests::redis::Server;

use super::fleet::{Fleet, Gate, Place, Row, builder, ended, soon, within};
use super::*;

#[cache_write(cache = at.cache, tags = ["group:<id>"], recache = [tagged(at, id)])]
async fn with_tag(at: &Place, id: u64) -> Row {
    at.commit(id)
}
#[cache_write(cache = at.cache, keys = ["row:<id>"], recache = [plain(at, id)])]
async fn with_key(at: &Place, id: u64) -> Row {
    at.commit(id)
}
/// Nothing that its recache stores is invalidated by it: the recache alone has to see to it.
#[cache_write(cache = at.cache, tags = ["other"], recache = [tagged(at, id)])]
async fn alone(at: &Place, id: u64) -> Row {
    at.commit(id)
}
#[cache_write(cache = at.cache, tags = ["org:<result.org>"], recache = [by_result(at, id)])]
async fn with_result_tag(at: &Place, id: u64) -> Row {
    at.commit(id)
}
#[cache_write(cache = at.cache, tags = ["group:<id>"], recache = [batch(at, vec![id])])]
async fn of_batch(at: &Place, id: u64) -> Row {
    at.commit(id)
}
#[cache_write(cache = at.cache, tags = ["other"], recache = [batch(at, vec![id])])]
async fn of_batch_alone(at: &Place, id: u64) -> Row {
    at.commit(id)
}
#[cache_write(cache = at.cache, tags = ["group:<id>"], recache = [locked(at, id)])]
async fn of_locked(at: &Place, id: u64) -> Row {
    at.commit(id)
}
#[cache_write(cache = at.cache, patterns = ["row:<id>"], recache = [tagged(at, id)])]
async fn with_pattern(at: &Place, id: u64) -> Row {
    at.commit(id)
}
change! {
    recache_with_tag: |at, id| with_tag(at, id).await;
    recache_with_key: |at, id| with_key(at, id).await;
    recache_alone: |at, id| alone(at, id).await;
    recache_with_result_tag: |at, id| with_result_tag(at, id).await;
    recache_of_batch: |at, id| of_batch(at, id).await;
    recache_of_batch_alone: |at, id| of_batch_alone(at, id).await;
    recache_of_locked: |at, id| of_locked(at, id).await;
    recache_with_pattern: |at, id| with_pattern(at, id).await;
}

/// An old load runs in the writer's process (`near`) or in another one, and ends before anybody reads, or after.
async fn race(what: &str, read: Read, write: Write) {
    let fleet = Fleet::new().await;
    let Fleet { a, b, source, .. } = &fleet;
    let mut id = 0;
    for near in [true, false] {
        for old_ends_first in [true, false] {
            id += 10;
            let what = format!("{what}, near: {near}, the old load ends first: {old_ends_first}");
            source.hold(id, 1, 1);
            let old = tokio::spawn(read(Arc::clone(if near { b } else { a }), id));
            soon("the old load", || source.loads(id) == 1).await;
            within(&what, write(Arc::clone(b), id)).await;
            assert!(source.loads(id) > 1, "{what}: a recache loads whatever runs");
            if old_ends_first {
                source.release(id);
                ended(&what, old).await;
                read_new(&what, &fleet, read, id).await;
            } else {
                read_new(&what, &fleet, read, id).await;
                source.release(id);
                ended(&what, old).await;
                read_new(&what, &fleet, read, id).await;
            }
        }
    }
}

async fn read_new(what: &str, fleet: &Fleet, read: Read, id: u64) {
    for place in fleet.places() {
        assert_eq!(within(what, read(Arc::clone(place), id)).await.version, 1, "{what}");
    }
}

macro_rules! races {
    ($($(#[$doc:meta])* $name:ident: $read:expr, $write:expr;)*) => {
        $($(#[$doc])*
        #[tokio::test]
        async fn $name() {
            race(stringify!($name), $read, $write).await;
        })*
    };
}
races! {
    /// P1 A5
    a_recache_with_a_tag_during_a_load: read_tagged, recache_with_tag;
    /// P1 A5
    a_recache_with_a_key_during_a_load: read_plain, recache_with_key;
    /// P1 A5
    a_recache_of_what_is_not_invalidated_during_a_load: read_tagged, recache_alone;
    /// P1 A5
    a_recache_with_result_tags_during_a_load: read_by_result, recache_with_result_tag;
    /// P1 A5
    a_recache_of_a_batch_during_a_load: read_batch, recache_of_batch;
    /// P1 A5: it does not wait for the lease of the old load.
    a_recache_of_a_locked_function_during_a_load: read_locked, recache_of_locked;
    /// P1 A5
    a_recache_with_a_pattern_during_a_load: read_tagged, recache_with_pattern;
}

/// P1 A5: a recached value is stored: the next read in any process is a hit.
#[tokio::test]
async fn a_recached_value_is_a_hit_everywhere() {
    let writes: [(&str, Read, Write); 6] = [
        ("tag", read_tagged, recache_with_tag),
        ("key", read_plain, recache_with_key),
        ("alone", read_tagged, recache_alone),
        ("batch", read_batch, recache_of_batch),
        ("locked", read_locked, recache_of_locked),
        ("pattern", read_tagged, recache_with_pattern),
    ];
    let fleet = Fleet::new().await;
    for ((what, read, write), id) in writes.into_iter().zip((10..).step_by(10)) {
        for version in 1..3 {
            write(Arc::clone(&fleet.b), id).await;
            for place in fleet.places() {
                assert_eq!(read(Arc::clone(place), id).await.version, version, "{what}");
            }
            assert_eq!(fleet.source.loads(id), version, "{what}: only the recache loads");
        }
    }
}

/// P1 A5: while an invalidation of its process waits to be delivered, a recache still replaces what is there.
#[tokio::test]
async fn a_recache_is_stored_while_an_invalidation_waits() {
    let writes: [(&str, Read, Write); 2] =
        [("one", read_tagged, recache_alone), ("batch", read_batch, recache_of_batch_alone)];
    let server: &'static Server = Box::leak(Box::new(Server::options().user("b on >secret ~* &* +@all").start().await));
    for (what, read, write) in writes {
        server.command(&["ACL", "SETUSER", "b", "+@all"]).await;
        let Fleet { a, source, prefix, .. } = &Fleet::on(server).await;
        let b = Place::new(builder(&server.url_as("b", "secret"), prefix).build().await.unwrap(), source);
        assert_eq!(read(Arc::clone(a), 1).await.version, 0);
        // Only invalidations need it.
        server.command(&["ACL", "SETUSER", "b", "-getrange"]).await;
        b.cache.invalidate("something").await.unwrap_err();
        assert_eq!(b.cache.stats().undelivered_total, 1);
        within(what, write(Arc::clone(&b), 1)).await;
        assert_eq!(read(Arc::clone(a), 1).await.version, 1, "{what}");
        assert_eq!(source.loads(1), 2, "{what}");
        assert_ne!(b.cache.stats().undelivered, 0, "{what}: it was delivered before the recache");
    }
}

/// P1: of two writers that recache, whatever overlaps, the later commit is what is read after both.
#[allow(clippy::async_yields_async, reason = "what is awaited is that the writer is in its body")]
#[tokio::test]
async fn of_two_recaches_the_later_commit_is_read() {
    #[cache_write(cache = at.cache, tags = ["group:<id>"], recache = [tagged(at, id)])]
    async fn write(at: &Place, id: u64, gate: &Gate) -> Row {
        gate.write(at, id).await
    }
    let fleet = Fleet::new().await;
    let mut id = 0;
    for first_load_ends_first in [true, false] {
        for in_order in [true, false] {
            id += 10;
            let (one, two) = (Gate::new(), Gate::new());
            let begin = async |place: &Arc<Place>, gate: &Arc<Gate>| {
                let (place, held) = (Arc::clone(place), Arc::clone(gate));
                let task = tokio::spawn(async move { write(&place, id, &held).await });
                gate.in_body().await;
                task
            };
            let (first, second) = (begin(&fleet.a, &one).await, begin(&fleet.b, &two).await);
            one.commit().await;
            fleet.source.hold(id, 1, 2);
            let loads = async |n: u64| soon("a recache", || fleet.source.loads(id) == n).await;
            if in_order {
                // The first recache loads what the first writer committed.
                one.let_go();
                loads(1).await;
                two.commit().await;
                two.let_go();
            } else {
                two.commit().await;
                two.let_go();
                loads(1).await;
                one.let_go();
            }
            loads(2).await;
            fleet.source.hold(id, if first_load_ends_first { 2 } else { 1 }, if first_load_ends_first { 2 } else { 1 });
            let (early, late) = if in_order == first_load_ends_first { (first, second) } else { (second, first) };
            ended("the writer whose recache ends first", early).await;
            fleet.source.release(id);
            ended("the other writer", late).await;
            read_new_version(&fleet, id, 2).await;
        }
    }
}

async fn read_new_version(fleet: &Fleet, id: u64, version: u64) {
    for place in fleet.places() {
        assert_eq!(tagged(place, id).await.version, version);
    }
}

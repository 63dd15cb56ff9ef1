//! One load and one write, in each order in which loads can end.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::fleet::{Fleet, Hand, Place, Row, ended, soon};
use super::*;

/// What becomes of the loads after the write.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// The load that began before the write is the only one.
    Alone,
    /// Others, begun after the write in each process, end after it.
    OldEndsFirst,
    /// Or before it.
    OldEndsLast,
    /// Its caller goes away after the write.
    Dropped,
}

/// Whether one who begins after the write has to load at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum New {
    Loads,
    /// He may have to see the old load's end: its tags are not known before, or he waits for its lease.
    MayWait,
}

/// Runs `write` in one process while a load runs in another. `read` is what the write must not leave stale.
async fn race(what: &str, new: New, read: Read, write: Write) {
    let fleet = Fleet::new().await;
    let Fleet { a, b, source, .. } = &fleet;
    let mut id = 0;
    for known in [false, true] {
        for order in [Order::Alone, Order::OldEndsFirst, Order::OldEndsLast, Order::Dropped] {
            id += 10;
            let what = format!("{what}, {order:?}, {}", if known { "read before" } else { "never read" });
            if known {
                // The process that loads knows all cells of the entry, those of the result too.
                read(Arc::clone(a), id).await;
                read(Arc::clone(a), id).await;
                a.cache.delete(format!("row:{id}")).await.unwrap();
            }
            let first = source.loads(id) + 1;
            source.hold(id, first, first);
            let old = tokio::spawn(read(Arc::clone(a), id));
            soon("the old load", || source.loads(id) == first).await;
            write(Arc::clone(b), id).await;
            match order {
                Order::Alone => {
                    source.release(id);
                    ended(&what, old).await;
                }
                Order::Dropped => {
                    old.abort();
                    assert!(old.await.is_err(), "{what}: it was held");
                    source.release(id);
                }
                Order::OldEndsFirst | Order::OldEndsLast => {
                    source.hold(id, first, u64::MAX);
                    let [here, others @ ..] = begin(&fleet, id, new, read).await;
                    let fresh = async |task: JoinHandle<Row>| {
                        assert_eq!(ended(&what, task).await.version, 1, "{what}: it began after the write")
                    };
                    if matches!(order, Order::OldEndsFirst) {
                        source.hold(id, first + 1, u64::MAX);
                        ended(&what, old).await;
                        source.release(id);
                        fresh(here).await;
                        for task in others {
                            fresh(task).await;
                        }
                    } else {
                        source.hold(id, first, first);
                        for task in others {
                            fresh(task).await;
                        }
                        if new == New::Loads {
                            fresh(here).await;
                            source.release(id);
                            ended(&what, old).await;
                        } else {
                            source.release(id);
                            ended(&what, old).await;
                            fresh(here).await;
                        }
                    }
                }
            }
            for place in fleet.places() {
                assert_eq!(read(Arc::clone(place), id).await.version, 1, "{what}: a read after the write");
            }
            let loads = source.loads(id);
            for place in fleet.places() {
                assert_eq!(read(Arc::clone(place), id).await.version, 1, "{what}: and another");
            }
            assert_eq!(source.loads(id), loads, "{what}: the new value is stored");
        }
    }
    for place in fleet.places() {
        let stats = place.cache.stats();
        assert_eq!((stats.flights, stats.degraded, stats.undelivered_total), (0, 0, 0), "{what}: {stats:?}");
    }
}

/// Begins a read in each process, and waits until each loads, or has its answer, or, where it may wait, waits.
#[allow(clippy::async_yields_async, reason = "what is awaited is that the task is on its way")]
async fn begin(fleet: &Fleet, id: u64, new: New, read: Read) -> [JoinHandle<Row>; 3] {
    let begin = async |place: &Arc<Place>| {
        let (loads, misses) = (place.loads(), place.cache.stats().misses);
        let task = tokio::spawn(read(Arc::clone(place), id));
        let on_its_way = || {
            let missed = new == New::MayWait && place.cache.stats().misses > misses;
            task.is_finished() || place.loads() > loads || missed
        };
        soon("a read after the write", on_its_way).await;
        task
    };
    [begin(&fleet.a).await, begin(&fleet.b).await, begin(&fleet.c).await]
}

macro_rules! races {
    ($($(#[$doc:meta])* $name:ident: $new:ident, $read:expr, $write:expr;)*) => {
        $($(#[$doc])*
        #[tokio::test]
        async fn $name() {
            race(stringify!($name), New::$new, $read, $write).await;
        })*
    };
}

races! {
    /// P1
    a_tag_during_a_load: Loads, read_tagged, tag;
    /// P1: the key of an entry without tags is its tag.
    the_key_named_as_a_tag_during_a_load: Loads, read_plain, key_as_tag;
    /// P1
    the_key_named_as_a_tag_of_an_entry_with_other_tags: Loads, read_tagged, key_as_tag;
    /// P1
    a_key_during_a_load: Loads, read_tagged, key;
    /// P1
    a_key_during_a_load_without_tags: Loads, read_plain, key;
    /// P1
    keys_during_a_load: Loads, read_plain, keys;
    /// P1
    pop_during_a_load: Loads, read_plain, popped;
    /// P1
    a_namespace_during_a_load: Loads, read_tagged, namespace;
    /// P1
    the_whole_cache_during_a_load: Loads, read_plain, whole_cache;
    /// P1
    a_pattern_during_a_load: Loads, read_plain, pattern;
    /// P1
    an_expiry_of_zero_during_a_load: Loads, read_plain, zero_life;
    /// P1
    a_set_during_a_load: Loads, read_plain, set;
    /// P1
    a_tag_during_a_load_of_plain_json: Loads, read_json, tag;
    /// P1
    a_key_during_a_load_of_plain_json: Loads, read_json, key;
    /// P1
    a_pattern_during_a_load_of_plain_json: Loads, read_json, pattern;
    /// P1
    a_tag_during_get_or_load: Loads, read_direct, tag;
    /// P1
    a_key_during_get_or_load: Loads, read_direct, key;
    /// P1
    a_namespace_during_get_or_load: Loads, read_direct, namespace;
    /// P1
    a_pattern_during_get_or_load: Loads, read_direct, pattern;
    /// P1: a tag that is known only when the load has ended.
    a_result_tag_during_a_load: MayWait, read_by_result, result_tag;
    /// P1
    a_key_during_a_load_with_result_tags: MayWait, read_by_result, key;
    /// P1
    a_pattern_during_a_load_with_result_tags: MayWait, read_by_result, pattern;
    /// P1
    the_whole_cache_during_a_load_with_result_tags: MayWait, read_by_result, whole_cache;
    /// P1
    a_tag_during_a_batch: Loads, read_batch, tag;
    /// P1
    a_key_during_a_batch: Loads, read_batch, key;
    /// P1
    a_pattern_during_a_batch: Loads, read_batch, pattern;
    /// P1
    the_whole_cache_during_a_batch: Loads, read_batch, whole_cache;
    /// P1: who waits for the lease of the old load sees its end, and then its value for what it is.
    a_tag_during_a_locked_load: MayWait, read_locked, tag;
    /// P1
    a_key_during_a_locked_load: MayWait, read_locked, key;
    /// P1
    a_pattern_during_a_locked_load: MayWait, read_locked, pattern;

    /// P1
    clearing_the_function_during_a_load: Loads, read_tagged, clear_function;
    /// P1
    clearing_the_function_during_a_load_with_result_tags: MayWait, read_by_result, clear_by_result;
    /// P1
    a_companions_invalidate_during_a_load: Loads, read_tagged, companion_invalidates;
    /// P1
    a_companions_invalidate_during_a_load_without_tags: Loads, read_plain, companion_invalidates_plain;
    /// P1
    a_companions_put_during_a_load: Loads, read_tagged, companion_puts;
    /// P1
    a_companions_invalidate_during_a_batch: Loads, read_batch, batch_companion_invalidates;

    /// P1
    a_write_by_tag_during_a_load: Loads, read_tagged, by_tag;
    /// P1
    a_write_by_one_of_several_tags_during_a_load: Loads, read_tagged, by_shared_tag;
    /// P1
    a_write_by_tag_during_a_batch: Loads, read_batch, by_tag;
    /// P1
    a_write_by_key_during_a_load: Loads, read_tagged, by_key;
    /// P1
    a_write_by_key_during_a_load_without_tags: Loads, read_plain, by_key;
    /// P1
    a_write_by_default_tag_during_a_load: Loads, read_plain, by_default_tag;
    /// P1
    a_write_by_namespace_during_a_load: Loads, read_tagged, by_namespace;
    /// P1
    a_write_by_pattern_during_a_load: Loads, read_plain, by_pattern;
    /// P1
    a_write_by_result_tag_during_a_load: MayWait, read_by_result, by_result_tag;
    /// P1
    a_write_by_tag_of_its_result_during_a_load: Loads, read_tagged, by_tag_of_result;
    /// P1
    a_write_by_key_of_its_result_during_a_load: Loads, read_plain, by_key_of_result;
    /// P1
    a_write_by_pattern_of_its_result_during_a_load: Loads, read_plain, by_pattern_of_result;
    /// P1
    a_write_with_before_during_a_load: Loads, read_tagged, with_before;
    /// P1
    a_write_through_during_a_load: Loads, read_tagged, through;
    /// P1
    a_write_through_without_tags_during_a_load: Loads, read_tagged, through_alone;
    /// P1
    a_write_through_named_by_its_result_during_a_load: Loads, read_tagged, through_of_result;
    /// P1
    a_write_through_with_result_tags_during_a_load: MayWait, read_by_result, through_with_result_tags;
    /// P1
    a_write_through_by_key_during_a_load: Loads, read_plain, through_by_key;
}

/// P1: a caller that found what another process stored meanwhile does not hand it to those who began after it was
/// invalidated.
#[tokio::test]
async fn nobody_shares_what_was_looked_up_before_the_write() {
    let reads: [(&str, Read); 5] = [
        ("tagged", read_tagged),
        ("locked", read_locked),
        ("batch", read_batch),
        ("with result tags", read_by_result),
        ("direct", read_direct),
    ];
    for (what, read) in reads {
        let Fleet { a, b, c, source, .. } = &Fleet::new().await;
        // So that both know the cells of what has result tags.
        for place in [c, c, a] {
            read(Arc::clone(place), 1).await;
        }
        c.cache.delete("row:1").await.unwrap();
        let mut first = Hand::new(read(Arc::clone(a), 1));
        assert!(first.poll().is_pending());
        first.woken().await;
        // It found nothing. Now there is something, which it finds when it takes the lease.
        assert_eq!(read(Arc::clone(c), 1).await.version, 0);
        let loads = source.loads(1);
        assert!(first.poll().is_pending());
        first.woken().await;
        by_tag(Arc::clone(b), 1).await;
        whole_cache(Arc::clone(b), 1).await;
        let misses = a.cache.stats().misses;
        let after = tokio::spawn(read(Arc::clone(a), 1));
        soon("the caller that began after the write has missed", || a.cache.stats().misses > misses).await;
        // It either loads or waits for the first one.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(first.finish().await.version, 0, "{what}: it began before the write");
        assert_eq!(ended("the caller that began after the write", after).await.version, 2, "{what}");
        assert!(source.loads(1) > loads);
    }
}

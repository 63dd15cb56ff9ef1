//! P1 in one process: whatever is invalidated or written while a load runs, the old value is never served afterwards, and
//! nobody who begins afterwards joins the old load.
//!
//! Every race is run in each order in which the loads can end.

mod promise;

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use cache_runtime::{cache_read, cache_write, memoize};
use promise::{Db, Hand, Row};

#[cache_read(key = "row:<id>", cache = db.cache, tags = ["group:<id>", "all"], namespace = "rows", skip(db))]
async fn tagged(db: &Db, id: u64) -> Row {
    db.read(id).await
}

/// Tagged by its own key only.
#[cache_read(key = "row:<id>", cache = db.cache, skip(db))]
async fn plain(db: &Db, id: u64) -> Row {
    db.read(id).await
}

#[cache_read(key = "row:<id>", cache = db.cache, tags = ["org:<result.org>"], skip(db))]
async fn by_result(db: &Db, id: u64) -> Row {
    db.read(id).await
}

#[cache_read(key = "row:<id>", cache = db.cache, tags = ["group:<id>"], each(id in ids), skip(db))]
async fn batch(db: &Db, ids: Vec<u64>) -> std::collections::HashMap<u64, Row> {
    let row = db.read(1).await;
    ids.into_iter().map(|id| (id, Row { id, ..row })).collect()
}

#[memoize(key = "row:<id>", cache = db.cache, tags = ["group:<id>"], skip(db))]
async fn memoized(db: &Db, id: u64) -> Row {
    db.read(id).await
}

/// Own store.
#[memoize(key = "row:<id>", cache = db.cache, tags = ["group:<id>"], capacity = 10, skip(db))]
async fn private(db: &Db, id: u64) -> Row {
    db.read(id).await
}

async fn one_of_batch(db: &Db, id: u64) -> Row {
    batch(db, vec![id]).await[&id]
}

/// Who loads while the write happens, and in which order the loads end.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// The load that began before the write is the only one.
    Alone,
    /// Another one, begun after the write, ends before it.
    Last,
    /// Or after it.
    First,
    /// The old load's caller goes away after the write, with a waiter of old.
    Dropped,
}

type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
type Read = for<'a> fn(&'a Db) -> Soon<'a, Row>;
type Write = for<'a> fn(&'a Db) -> Soon<'a, ()>;

/// Runs `write` while a load runs. `read` is what the write must not leave stale.
async fn race(what: &str, read: Read, write: Write) {
    for order in [Order::Alone, Order::Last, Order::First, Order::Dropped] {
        let db = Db::new();
        db.close();
        let mut old = Hand::begun(read(&db));
        let mut waiting = Hand::begun(read(&db));
        assert_eq!(db.loads(), 1);
        db.write();
        write(&db).await;
        match order {
            Order::Alone => {
                db.open();
                assert_eq!(old.ready().version, 0, "{what}: who began before may see the old value");
                waiting.ready();
            }
            Order::Last | Order::First => {
                let mut new = Hand::new(read(&db));
                let mut polled = new.poll();
                db.open();
                if matches!(order, Order::First) {
                    assert_eq!(old.ready().version, 0);
                    waiting.ready();
                }
                for _ in 0..10 {
                    if polled.is_pending() {
                        polled = new.poll();
                    }
                }
                if matches!(order, Order::Last) {
                    assert_eq!(old.ready().version, 0);
                    waiting.ready();
                }
                // Where tags are known only at the end, it may have to see the old load's before it loads itself.
                if polled.is_pending() {
                    polled = Poll::Ready(new.ready());
                }
                assert_eq!(
                    polled.map(|row| row.version),
                    Poll::Ready(1),
                    "{what}, {order:?}: it began after the write"
                );
            }
            Order::Dropped => {
                drop(old);
                let polled = waiting.poll();
                db.open();
                if polled.is_pending() {
                    assert_eq!(waiting.ready().version, 1, "{what}: it loads after the write");
                }
            }
        }
        assert_eq!(read(&db).await.version, 1, "{what}, {order:?}: a read after the write");
        let loads = db.loads();
        assert_eq!(read(&db).await.version, 1, "{what}, {order:?}: and another");
        assert_eq!(db.loads(), loads, "{what}, {order:?}: the new value is stored");
        db.assert_settled();
    }
}

macro_rules! races {
    ($($(#[$doc:meta])* $name:ident: $read:expr, $write:expr;)*) => {
        $($(#[$doc])*
        #[tokio::test]
        async fn $name() {
            race(stringify!($name), |db| Box::pin($read(db)), |db| Box::pin($write(db))).await;
        })*
    };
}

fn read_tagged(db: &Db) -> impl Future<Output = Row> {
    tagged(db, 1)
}
fn read_plain(db: &Db) -> impl Future<Output = Row> {
    plain(db, 1)
}
fn read_by_result(db: &Db) -> impl Future<Output = Row> {
    by_result(db, 1)
}
fn read_batch(db: &Db) -> impl Future<Output = Row> {
    one_of_batch(db, 1)
}
fn read_memoized(db: &Db) -> impl Future<Output = Row> {
    memoized(db, 1)
}
fn read_private(db: &Db) -> impl Future<Output = Row> {
    private(db, 1)
}
async fn read_direct(db: &Db) -> Row {
    let load = || async { Ok::<_, std::convert::Infallible>(db.read(1).await) };
    let Ok(row) = db.cache.get_or_load("row:1", load).tags(["group:1", "all"]).namespace("rows").await;
    row
}

// --------------------------------------------------------------------------------------------------------------- direct

async fn tag(db: &Db) {
    db.cache.invalidate("group:1").await.unwrap();
}
async fn shared_tag(db: &Db) {
    db.cache.invalidate(["other", "all"]).await.unwrap();
}
async fn own_key_as_tag(db: &Db) {
    db.cache.invalidate("row:1").await.unwrap();
}
async fn key(db: &Db) {
    db.cache.delete("row:1").await.unwrap();
}
async fn keys(db: &Db) {
    db.cache.invalidate_keys(["row:2", "row:1"]).await.unwrap();
}
async fn popped(db: &Db) {
    db.cache.pop::<Row>("row:1").await.unwrap();
}
async fn namespace(db: &Db) {
    db.cache.invalidate_namespace("rows").await.unwrap();
}
async fn whole_cache(db: &Db) {
    db.cache.clear().await.unwrap();
}
async fn pattern(db: &Db) {
    db.cache.delete_match("row:*").await.unwrap();
}
async fn result_tag(db: &Db) {
    db.cache.invalidate("org:7").await.unwrap();
}
async fn zero_life(db: &Db) {
    db.cache.expire("row:1", 0_u64).await.unwrap();
}
async fn set(db: &Db) {
    db.cache.set("row:1", db.now(1)).await.unwrap();
}

races! {
    /// P1
    a_tag_during_a_load: read_tagged, tag;
    /// P1
    one_of_several_tags_during_a_load: read_tagged, shared_tag;
    /// P1
    the_key_named_as_a_tag_during_a_load: read_plain, own_key_as_tag;
    /// P1
    the_key_named_as_a_tag_of_an_entry_with_other_tags: read_tagged, own_key_as_tag;
    /// P1
    a_key_during_a_load: read_tagged, key;
    /// P1
    a_key_during_a_load_without_tags: read_plain, key;
    /// P1
    keys_during_a_load: read_plain, keys;
    /// P1
    pop_during_a_load: read_plain, popped;
    /// P1
    a_namespace_during_a_load: read_tagged, namespace;
    /// P1
    the_whole_cache_during_a_load: read_plain, whole_cache;
    /// P1
    a_pattern_during_a_load: read_plain, pattern;
    /// P1
    an_expiry_of_zero_during_a_load: read_plain, zero_life;
    /// P1
    a_set_during_a_load: read_plain, set;
    /// P1
    a_tag_during_get_or_load: read_direct, tag;
    /// P1
    a_key_during_get_or_load: read_direct, key;
    /// P1
    a_namespace_during_get_or_load: read_direct, namespace;
    /// P1
    a_pattern_during_get_or_load: read_direct, pattern;
    /// P1: a tag that is known only when the load has ended.
    a_result_tag_during_a_load: read_by_result, result_tag;
    /// P1
    a_key_during_a_load_with_result_tags: read_by_result, key;
    /// P1
    a_pattern_during_a_load_with_result_tags: read_by_result, pattern;
    /// P1
    the_whole_cache_during_a_load_with_result_tags: read_by_result, whole_cache;
    /// P1
    a_tag_during_a_batch: read_batch, tag;
    /// P1
    a_key_during_a_batch: read_batch, key;
    /// P1
    a_pattern_during_a_batch: read_batch, pattern;
    /// P1
    the_whole_cache_during_a_batch: read_batch, whole_cache;
    /// P1
    a_tag_during_a_memoized_call: read_memoized, tag;
    /// P1
    a_key_during_a_memoized_call: read_memoized, key;
    /// P1
    a_tag_during_a_memoized_call_with_a_store_of_its_own: read_private, tag;
    /// P1
    a_key_during_a_memoized_call_with_a_store_of_its_own: read_private, key;
    /// P1
    a_pattern_during_a_memoized_call_with_a_store_of_its_own: read_private, pattern;
}

// ------------------------------------------------------------------------------------------------------------ companions

async fn clear_function(db: &Db) {
    tagged::clear(db).await.unwrap();
}
async fn clear_by_result(db: &Db) {
    by_result::clear(db).await.unwrap();
}
async fn companion_invalidates(db: &Db) {
    tagged::invalidate(db, 1).await.unwrap();
}
async fn companion_puts(db: &Db) {
    tagged::put(&db.now(1), db, 1).await.unwrap();
}
async fn batch_companion_invalidates(db: &Db) {
    batch::invalidate(db, 1).await.unwrap();
}

races! {
    /// P1
    clearing_the_function_during_a_load: read_tagged, clear_function;
    /// P1
    clearing_the_function_during_a_load_with_result_tags: read_by_result, clear_by_result;
    /// P1
    a_companions_invalidate_during_a_load: read_tagged, companion_invalidates;
    /// P1
    a_companions_put_during_a_load: read_tagged, companion_puts;
    /// P1
    a_companions_invalidate_during_a_batch: read_batch, batch_companion_invalidates;
}

// ---------------------------------------------------------------------------------------------------------------- writes

macro_rules! writes {
    ($($(#[$attr:meta])* $name:ident($db:ident);)*) => {
        $($(#[$attr])*
        async fn $name($db: &Db) -> Row {
            $db.now(1)
        })*
    };
}
writes! {
    #[cache_write(cache = db.cache, tags = ["group:1"])]
    write_tag(db);
    #[cache_write(cache = db.cache, keys = ["row:1"])]
    write_key(db);
    #[cache_write(cache = db.cache, tags = ["row:1"])]
    write_default_tag(db);
    #[cache_write(cache = db.cache, namespaces = ["rows"])]
    write_namespace(db);
    #[cache_write(cache = db.cache, patterns = ["ro*:1"])]
    write_pattern(db);
    #[cache_write(cache = db.cache, tags = ["org:<result.org>"])]
    write_result_tag(db);
    #[cache_write(cache = db.cache, tags = ["group:<result.id>"])]
    write_tag_of_result(db);
    #[cache_write(cache = db.cache, keys = ["row:<result.id>"])]
    write_key_of_result(db);
    #[cache_write(cache = db.cache, patterns = ["row:<result.id>*"])]
    write_pattern_of_result(db);
    #[cache_write(cache = db.cache, tags = ["group:1"], put = tagged(db, 1))]
    write_through(db);
    #[cache_write(cache = db.cache, put = tagged(db, 1))]
    write_through_alone(db);
    #[cache_write(cache = db.cache, put = tagged(db, result.id))]
    write_through_of_result(db);
    #[cache_write(cache = db.cache, put = by_result(db, 1))]
    write_through_with_result_tags(db);
    #[cache_write(cache = db.cache, tags = ["group:1"], before = true)]
    write_before(db);
    #[cache_write(cache = db.cache, tags = ["group:1"], fence = "10s")]
    write_fenced(db);
    #[cache_write(cache = db.cache, tags = ["org:7"], fence = "10s")]
    write_fenced_result_tag(db);
}

async fn by_tag(db: &Db) {
    write_tag(db).await;
}
async fn by_key(db: &Db) {
    write_key(db).await;
}
async fn by_default_tag(db: &Db) {
    write_default_tag(db).await;
}
async fn by_namespace(db: &Db) {
    write_namespace(db).await;
}
async fn by_pattern(db: &Db) {
    write_pattern(db).await;
}
async fn by_result_tag(db: &Db) {
    write_result_tag(db).await;
}
async fn by_tag_of_result(db: &Db) {
    write_tag_of_result(db).await;
}
async fn by_key_of_result(db: &Db) {
    write_key_of_result(db).await;
}
async fn by_pattern_of_result(db: &Db) {
    write_pattern_of_result(db).await;
}
async fn through(db: &Db) {
    write_through(db).await;
}
async fn through_alone(db: &Db) {
    write_through_alone(db).await;
}
async fn through_of_result(db: &Db) {
    write_through_of_result(db).await;
}
async fn through_by_key(db: &Db) {
    #[cache_write(cache = db.cache, put = "row:<id>")]
    async fn write(db: &Db, id: u64) -> Row {
        db.now(id)
    }
    write(db, 1).await;
}
async fn through_with_result_tags(db: &Db) {
    write_through_with_result_tags(db).await;
}
async fn with_before(db: &Db) {
    write_before(db).await;
}
async fn fenced(db: &Db) {
    write_fenced(db).await;
}
async fn fenced_result_tag(db: &Db) {
    write_fenced_result_tag(db).await;
}

races! {
    /// P1
    a_write_by_tag_during_a_load: read_tagged, by_tag;
    /// P1
    a_write_by_tag_during_a_batch: read_batch, by_tag;
    /// P1
    a_write_by_key_during_a_load: read_tagged, by_key;
    /// P1
    a_write_by_default_tag_during_a_load: read_plain, by_default_tag;
    /// P1
    a_write_by_namespace_during_a_load: read_tagged, by_namespace;
    /// P1
    a_write_by_pattern_during_a_load: read_plain, by_pattern;
    /// P1
    a_write_by_result_tag_during_a_load: read_by_result, by_result_tag;
    /// P1
    a_write_by_tag_of_its_result_during_a_load: read_tagged, by_tag_of_result;
    /// P1
    a_write_by_key_of_its_result_during_a_load: read_plain, by_key_of_result;
    /// P1
    a_write_by_pattern_of_its_result_during_a_load: read_plain, by_pattern_of_result;
    /// P1
    a_write_through_during_a_load: read_tagged, through;
    /// P1
    a_write_through_without_tags_during_a_load: read_tagged, through_alone;
    /// P1
    a_write_through_named_by_its_result_during_a_load: read_tagged, through_of_result;
    /// P1
    a_write_through_by_key_during_a_load: read_plain, through_by_key;
    /// P1
    a_write_through_during_a_load_with_result_tags: read_by_result, through_with_result_tags;
    /// P1
    a_write_with_before_during_a_load: read_tagged, with_before;
    /// P1
    a_fenced_write_during_a_load: read_tagged, fenced;
    /// P1
    a_fenced_write_by_result_tag_during_a_load: read_by_result, fenced_result_tag;
}

// ----------------------------------------------------------------------------------------------------------- result tags

/// P1: result-derived tags cost nothing while nobody invalidates: the first load is stored.
#[tokio::test]
async fn the_first_load_with_result_tags_is_stored() {
    let db = Db::new();
    by_result(&db, 1).await;
    by_result(&db, 1).await;
    assert_eq!(db.loads(), 1);
}

/// P1: and an invalidation of something else does not keep it from being stored.
#[tokio::test]
async fn a_load_with_result_tags_is_stored_when_another_tag_is_invalidated_meanwhile() {
    let db = Db::new();
    db.close();
    let mut load = Hand::begun(by_result(&db, 1));
    db.cache.invalidate("org:8").await.unwrap();
    db.open();
    load.ready();
    by_result(&db, 1).await;
    assert_eq!(db.loads(), 1);
}

/// P1: a row that moves is found under its new tag and no longer under the old one.
#[tokio::test]
async fn a_row_that_moved_follows_its_result_tag() {
    let db = Db::new();
    by_result(&db, 1).await;
    db.set_org(8);
    db.cache.invalidate("org:7").await.unwrap();
    assert_eq!(by_result(&db, 1).await.org, 8);
    db.cache.invalidate("org:7").await.unwrap();
    assert_eq!(db.loads(), 2);
    by_result(&db, 1).await;
    assert_eq!(db.loads(), 2, "the old tag does not reach it");
    db.cache.invalidate("org:8").await.unwrap();
    by_result(&db, 1).await;
    assert_eq!(db.loads(), 3);
}

// ---------------------------------------------------------------------------------------------------------------- recache

/// P1: a recache never reads the cache first nor joins a load that began before the write.
#[tokio::test]
async fn a_recache_neither_hits_nor_joins_an_older_load() {
    #[cache_write(cache = db.cache, tags = ["unrelated"], recache = [tagged(db, 1)])]
    async fn write(db: &Db) {
        db.write();
    }
    // An entry is there.
    let db = Db::new();
    tagged(&db, 1).await;
    write(&db).await;
    assert_eq!(db.loads(), 2);
    assert_eq!(tagged(&db, 1).await.version, 1);
    assert_eq!(db.loads(), 2);
    // A load runs, and ends after the recache.
    let db = Db::new();
    db.close();
    let mut old = Hand::begun(tagged(&db, 1));
    let mut writing = Hand::begun(write(&db));
    assert_eq!(db.loads(), 2, "the recache loads by itself");
    db.open();
    writing.ready();
    assert_eq!(old.ready().version, 0);
    assert_eq!(tagged(&db, 1).await.version, 1);
    assert_eq!(db.loads(), 2);
    db.assert_settled();
}

/// P1: of two writers' recaches, the one that loaded before the other's commit is not stored.
#[tokio::test]
async fn a_recache_that_loaded_before_a_later_write_is_not_served() {
    #[cache_write(cache = db.cache, tags = ["group:1"], recache = [tagged(db, 1)])]
    async fn write(db: &Db) {
        db.write();
    }
    for first_last in [true, false] {
        let db = Db::new();
        db.close();
        let mut first = Hand::begun(write(&db));
        let mut second = Hand::begun(write(&db));
        db.open();
        if first_last {
            second.ready();
            first.ready();
        } else {
            first.ready();
            second.ready();
        }
        assert_eq!(tagged(&db, 1).await.version, 2);
        db.assert_settled();
    }
}

/// P1: what `refresh` found to be gone is not served from the cache afterwards.
#[tokio::test]
async fn a_refresh_whose_result_is_not_stored_does_not_leave_the_old_entry() {
    #[cache_read(key = "maybe:<id>", cache = db.cache, ttl_none = "0s", skip(db))]
    async fn maybe(db: &Db, id: u64) -> Option<Row> {
        Some(db.read(id).await).filter(|row| row.version == 0)
    }
    #[cache_read(key = "if:<id>", cache = db.cache, cache_if = |row| row.version == 0, skip(db))]
    async fn sometimes(db: &Db, id: u64) -> Row {
        db.read(id).await
    }
    let db = Db::new();
    maybe(&db, 1).await;
    sometimes(&db, 1).await;
    db.write();
    assert_eq!(maybe::refresh(&db, 1).await, None);
    assert_eq!(maybe(&db, 1).await, None, "refresh said that it is gone");
    assert_eq!(sometimes::refresh(&db, 1).await.version, 1);
    assert_eq!(sometimes(&db, 1).await.version, 1, "refresh returned a newer one");
    db.assert_settled();
}

/// P1: labelling an entry while it is dropped by pattern does not bring it back.
#[test]
fn labelling_an_entry_does_not_undo_its_deletion() {
    let db = Db::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let labelling = {
        let (db, stop) = (Arc::clone(&db), Arc::clone(&stop));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                runtime.block_on(db.cache.tag("k", ["a", "b", "c", "d"])).unwrap();
            }
        })
    };
    let mut kept = 0;
    runtime.block_on(async {
        for _ in 0..20_000 {
            db.cache.set("k", 1_u64).await.unwrap();
            db.cache.delete_match("k*").await.unwrap();
            kept += u64::from(db.cache.exists("k").await.unwrap());
        }
    });
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let labelled = labelling.join();
    labelled.unwrap();
    assert_eq!(kept, 0, "of 20 000 deletions so many were undone");
}

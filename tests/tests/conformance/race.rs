//! P1 in one process, and of two caches that stand for two processes: whatever is invalidated or written while a load runs,
//! the old value is never served afterwards, and nobody who begins afterwards joins the old load.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Cache, Error, cache_read, cache_write, memoize};
use cache_tests::{Failed, Row, Source};
use tokio::task::JoinHandle;

use crate::backend::{self, On, soon};

#[cache_read(key = "row:<id>", tags = ["group:<id>", "all"], namespace = "rows", skip(db))]
async fn tagged(db: &Source, id: u64) -> Row {
    db.row(id).await
}

/// Tagged by its own key only.
#[cache_read(key = "row:<id>", skip(db))]
async fn plain(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "row:<id>", tags = ["org:<result.org_id>"], skip(db))]
async fn by_result(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "row:<id>", lock = true, codec = json, tags = ["group:<id>"], skip(db))]
async fn locked(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "row:<id>", tags = ["group:<id>"], each(id in ids), skip(db))]
async fn batch(db: &Source, ids: Vec<u64>) -> std::collections::HashMap<u64, Row> {
    let mut rows = std::collections::HashMap::new();
    for id in ids {
        rows.insert(id, db.row(id).await);
    }
    rows
}

#[memoize(key = "row:<id>", tags = ["group:<id>", "all"], skip(db))]
async fn memoized(db: &Source, id: u64) -> Row {
    db.row(id).await
}

macro_rules! writes {
    ($($(#[$attr:meta])* $name:ident($db:ident);)*) => {
        $($(#[$attr])*
        async fn $name($db: &Source) -> Row {
            now($db)
        })*
    };
}
writes! {
    #[cache_write(tags = ["group:1"])]
    write_tag(db);
    #[cache_write(keys = ["row:1"])]
    write_key(db);
    #[cache_write(tags = ["row:1"])]
    write_default_tag(db);
    #[cache_write(namespaces = ["rows"])]
    write_namespace(db);
    #[cache_write(patterns = ["ro*:1"])]
    write_pattern(db);
    #[cache_write(tags = ["org:<result.org_id>"])]
    write_result_tag(db);
    #[cache_write(keys = ["row:<result.id>"])]
    write_key_of_result(db);
    #[cache_write(patterns = ["row:<result.id>*"])]
    write_pattern_of_result(db);
    #[cache_write(tags = ["group:1"], put = tagged(1))]
    write_through(db);
    #[cache_write(put = tagged(1))]
    write_through_alone(db);
    #[cache_write(put = tagged(result.id))]
    write_through_of_result(db);
    #[cache_write(put = "row:<result.id>")]
    write_through_by_key(db);
    #[cache_write(put = by_result(1))]
    write_through_with_result_tags(db);
    #[cache_write(tags = ["group:1"], recache = [tagged(db, 1)])]
    write_and_recache(db);
    #[cache_write(tags = ["group:1"], before = true)]
    write_before(db);
}

/// The row as it is, without a read that counts.
fn now(db: &Source) -> Row {
    let row = db.write(1, "again");
    Row { version: row.version, ..row }
}

type Soon<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Read = fn(Arc<Source>) -> Soon<Row>;
type Change = fn(Cache, Arc<Source>) -> Soon<Result<(), Error>>;

macro_rules! read {
    ($name:ident) => {
        |db| Box::pin(async move { $name(&db, 1).await })
    };
}
macro_rules! direct {
    (|$cache:ident| $work:expr) => {
        |$cache, _| Box::pin(async move { $work.await.map(drop) })
    };
}
macro_rules! write {
    ($name:ident) => {
        |cache, db| {
            Box::pin(async move {
                cache.scope($name(&db)).await;
                Ok(())
            })
        }
    };
}

async fn one_of_batch(db: &Source, id: u64) -> Row {
    batch(db, vec![id]).await[&id].clone()
}

async fn by_hand(db: &Source, id: u64) -> Row {
    let cache = cache_runtime::cache().expect("a cache is in scope");
    let load = || async { Ok::<_, Failed>(db.row(id).await) };
    cache.get_or_load("row:1", load).tags(["group:1", "all"]).namespace("rows").await.expect("the source works")
}

/// Runs `change` in `changing` while a load of `read` runs in `on.cache`, and asserts what a reader that begins after it sees:
/// while the old load runs, or only when that has ended.
async fn race(on: &On, what: &str, read: Read, changing: &Cache, change: Change) {
    for load_again in [true, false] {
        if !load_again && !changing.is_same(&on.cache) {
            continue;
        }
        on.cache.clear().await.unwrap();
        let db = Arc::new(Source::new());
        let call = || -> JoinHandle<Row> { tokio::spawn(on.cache.scope(read(Arc::clone(&db)))) };
        let held = db.hold().await;
        let old = call();
        soon("the old load runs", async || db.loads() == 1).await;
        let waiting = call();
        let written = db.write(1, "new");
        change(changing.clone(), Arc::clone(&db)).await.unwrap();
        let new = load_again.then(&call);
        if load_again {
            // It does not join the old load: where it can tell so, it loads by itself while the old one is held.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(held);
        let seen = old.await.unwrap();
        assert!(seen.version == 1 || seen.version >= written.version);
        waiting.await.unwrap();
        if let Some(new) = new {
            let seen = new.await.unwrap();
            assert!(seen.version >= written.version, "{what}: it began after the write and sees {seen:?}");
        }
        for round in 0..3 {
            let seen = call().await.unwrap();
            assert!(seen.version >= written.version, "{what}: a read after the write sees {seen:?} in round {round}");
        }
        let loads = db.loads();
        call().await.unwrap();
        assert_eq!(db.loads(), loads, "{what}: the new value is stored");
        assert_eq!(on.cache.stats().flights, 0, "{what}: flights are left");
    }
}

const DIRECT: &[(&str, Read, Change)] = &[
    ("a tag", read!(tagged), direct!(|cache| cache.invalidate("group:1"))),
    ("one of several tags", read!(tagged), direct!(|cache| cache.invalidate(["other", "all"]))),
    ("its key as a tag", read!(plain), direct!(|cache| cache.invalidate("row:1"))),
    ("its key as a tag, with other tags", read!(tagged), direct!(|cache| cache.invalidate("row:1"))),
    ("a key", read!(tagged), direct!(|cache| cache.delete("row:1"))),
    ("keys", read!(plain), direct!(|cache| cache.invalidate_keys(["row:2", "row:1"]))),
    ("a namespace", read!(tagged), direct!(|cache| cache.invalidate_namespace("rows"))),
    ("everything", read!(plain), direct!(|cache| cache.clear())),
    ("a pattern", read!(plain), direct!(|cache| cache.delete_match("ro?:*"))),
    ("an expiry of zero", read!(plain), direct!(|cache| cache.expire("row:1", 0_u64))),
    ("a tag, by hand", read!(by_hand), direct!(|cache| cache.invalidate("group:1"))),
    ("a key, by hand", read!(by_hand), direct!(|cache| cache.delete("row:1"))),
    ("a pattern, by hand", read!(by_hand), direct!(|cache| cache.delete_match("row:*"))),
    ("a tag of the value", read!(by_result), direct!(|cache| cache.invalidate("org:0"))),
    ("a key, with tags of the value", read!(by_result), direct!(|cache| cache.delete("row:1"))),
    ("everything, with tags of the value", read!(by_result), direct!(|cache| cache.clear())),
    ("a tag, with a lock", read!(locked), direct!(|cache| cache.invalidate("group:1"))),
    ("a key, with a lock", read!(locked), direct!(|cache| cache.delete("row:1"))),
    ("a tag of a batch", read!(one_of_batch), direct!(|cache| cache.invalidate("group:1"))),
    ("a key of a batch", read!(one_of_batch), direct!(|cache| cache.delete("row:1"))),
    ("a pattern over a batch", read!(one_of_batch), direct!(|cache| cache.delete_match("row:*"))),
    ("the function", read!(tagged), |cache, _| Box::pin(cache.scope(async { tagged::clear().await }))),
    ("the companion", read!(tagged), |cache, _| Box::pin(cache.scope(async { tagged::invalidate(1).await }))),
    ("the companion of a batch", read!(one_of_batch), |cache, _| {
        Box::pin(cache.scope(async { batch::invalidate(1).await }))
    }),
    ("a put", read!(tagged), |cache, db| Box::pin(cache.scope(async move { tagged::put(now(&db), 1).await }))),
    ("a set", read!(plain), |cache, db| Box::pin(async move { cache.set("row:1", now(&db)).await })),
];

const WRITES: &[(&str, Read, Change)] = &[
    ("a write by tag", read!(tagged), write!(write_tag)),
    ("a write by tag, to a batch", read!(one_of_batch), write!(write_tag)),
    ("a write by tag, with a lock", read!(locked), write!(write_tag)),
    ("a write by key", read!(tagged), write!(write_key)),
    ("a write by default tag", read!(plain), write!(write_default_tag)),
    ("a write by namespace", read!(tagged), write!(write_namespace)),
    ("a write by pattern", read!(plain), write!(write_pattern)),
    ("a write by a tag of the value", read!(by_result), write!(write_result_tag)),
    ("a write by a key of its result", read!(plain), write!(write_key_of_result)),
    ("a write by a pattern of its result", read!(plain), write!(write_pattern_of_result)),
    ("a write through", read!(tagged), write!(write_through)),
    ("a write through without tags", read!(tagged), write!(write_through_alone)),
    ("a write through named by its result", read!(tagged), write!(write_through_of_result)),
    ("a write through by key", read!(plain), write!(write_through_by_key)),
    ("a write through with tags of the value", read!(by_result), write!(write_through_with_result_tags)),
    ("a write with before", read!(tagged), write!(write_before)),
];

everywhere! {
    /// P1: whatever is invalidated or written while a load runs, who begins afterwards sees the new value.
    async fn a_direct_change_during_a_load(on: &On) {
        for (what, read, change) in DIRECT {
            race(on, what, *read, &on.cache, *change).await;
        }
    }

    /// P1: the same by writes.
    async fn a_write_during_a_load(on: &On) {
        for (what, read, change) in WRITES {
            race(on, what, *read, &on.cache, *change).await;
        }
    }

    /// P1: the same, where the change comes from elsewhere.
    async fn a_change_from_elsewhere_during_a_load(on: &On) {
        let there = on.other().await;
        for (what, read, change) in DIRECT.iter().chain(WRITES) {
            race(on, what, *read, &there, *change).await;
        }
    }

    /// P1: a memoized call that runs while its process invalidates.
    async fn a_change_during_a_memoized_call(on: &On) {
        let changes: [(&str, Change); 5] = [
            ("a tag", direct!(|cache| cache.invalidate("group:1"))),
            ("a key", direct!(|cache| cache.delete("row:1"))),
            ("everything", direct!(|cache| cache.clear())),
            ("a pattern", direct!(|cache| cache.delete_match("row:*"))),
            ("a write", write!(write_tag)),
        ];
        for (what, change) in changes {
            race(on, what, read!(memoized), &on.cache, change).await;
        }
    }

    /// P1 A5: a recache loads after the write although an older load is in flight, and its value stays.
    async fn a_recache_never_joins_an_older_load(on: &On) {
        let db = Arc::new(Source::new());
        let held = db.hold().await;
        let source = Arc::clone(&db);
        let old = tokio::spawn(on.cache.scope(async move { tagged(&source, 1).await }));
        soon("the old load runs", async || db.loads() == 1).await;
        let source = Arc::clone(&db);
        let writing = tokio::spawn(on.cache.scope(async move { write_and_recache(&source).await }));
        soon("the recache loads by itself", async || db.loads() == 2).await;
        drop(held);
        let written = writing.await.unwrap().version;
        assert_eq!(old.await.unwrap().version, 1, "who began before the write may see what was there then");
        assert_eq!(tagged(&db, 1).await.version, written);
        assert_eq!(db.loads(), 2, "it was stored");
    }

    /// P1: a write that is dropped while its body runs may have committed: what it names is invalid.
    async fn a_dropped_write_invalidates(on: &On) {
        #[cache_write(tags = ["group:1"], put = tagged(1))]
        async fn slow(db: &Source) -> Row {
            let row = db.write(1, "dropped");
            db.row(1).await;
            row
        }
        let db = Arc::new(Source::new());
        tagged(&db, 1).await;
        let held = db.hold().await;
        let source = Arc::clone(&db);
        let writing = tokio::spawn(on.cache.scope(async move { slow(&source).await }));
        soon("the body runs", async || db.loads() == 2).await;
        writing.abort();
        let _ = writing.await;
        drop(held);
        soon("it is told", async || tagged(&db, 1).await.name == "dropped").await;
        let loads = db.loads();
        soon("and stored", async || { tagged(&db, 1).await; tagged(&db, 1).await; db.loads() <= loads + 2 }).await;
    }

    /// P1 B2: two writers commit in one order and arrive in the other: the stale result is never served.
    async fn of_two_write_throughs_the_stale_one_is_never_served(on: &On) {
        #[cache_write(tags = ["group:1"], put = tagged(1))]
        async fn through(db: &Source, go: &tokio::sync::Semaphore) -> Row {
            let row = db.write(1, "through");
            go.acquire().await.expect("never closed").forget();
            row
        }
        let there = on.other().await;
        for in_order in [true, false] {
            let db = Arc::new(Source::new());
            on.cache.clear().await.unwrap();
            tagged(&db, 1).await;
            let gates = [Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(tokio::sync::Semaphore::new(0))];
            let mut writers = Vec::new();
            for (index, gate) in gates.iter().enumerate() {
                let cache = if index == 0 { &on.cache } else { &there };
                let (db, gate) = (Arc::clone(&db), Arc::clone(gate));
                let before = db.write(1, "between").version;
                let task = Arc::clone(&db);
                writers.push(tokio::spawn(cache.scope(async move { through(&task, &gate).await })));
                soon("it has committed", async || db.write(1, "count").version > before + 1).await;
            }
            let order: [usize; 2] = if in_order { [0, 1] } else { [1, 0] };
            for index in order {
                gates[index].add_permits(1);
                soon("it has arrived", async || writers[index].is_finished()).await;
            }
            let last = db.write(1, "last").version;
            on.cache.invalidate("group:1").await.unwrap();
            assert_eq!(tagged(&db, 1).await.version, last);
        }
    }

    /// P1 P2: readers and writers of a few rows at once, in two processes: no reader ever sees less than was written when it
    /// began. Copies in memory may be behind what the other process has written, and never behind what this one has.
    async fn nobody_reads_what_was_overwritten_before(on: &On) {
        let (there, db) = (on.other().await, Arc::new(Source::new()));
        // What has certainly been written, and told to the cache, for each row.
        type Told = Arc<[AtomicU64; 3]>;
        let told = || Told::new([const { AtomicU64::new(1) }; 3]);
        let here = told();
        let told = [Arc::clone(&here), if on.is_copied() { told() } else { here }];
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut tasks = Vec::new();
        for n in 0..6_u64 {
            let cache = if n % 2 == 0 { on.cache.clone() } else { there.clone() };
            let (db, told, over) = (Arc::clone(&db), Arc::clone(&told[n as usize % 2]), Arc::clone(&over));
            tasks.push(tokio::spawn(cache.clone().scope(async move {
                let mut step = 0;
                while !over.load(SeqCst) {
                    step += 1;
                    let id = (n + step) % 3;
                    if n < 4 || step % 8 != 0 {
                        let least = told[id as usize].load(SeqCst);
                        let seen = match step % 3 {
                            0 => plain(&db, id).await,
                            1 => tagged(&db, id).await,
                            _ => locked(&db, id).await,
                        };
                        assert!(seen.version >= least, "{seen:?} where {least} was there before, at {step}");
                    } else {
                        let version = db.write(id, "written").version;
                        match step % 3 {
                            0 => drop(cache.delete(format!("row:{id}")).await.unwrap()),
                            1 => cache.invalidate(format!("row:{id}")).await.unwrap(),
                            _ => drop(cache.delete_match(format!("row:{id}")).await.unwrap()),
                        }
                        told[id as usize].fetch_max(version, SeqCst);
                    }
                    tokio::task::yield_now().await;
                }
            })));
        }
        soon("each row was written", async || told.iter().flat_map(|told| &**told).all(|version| version.load(SeqCst) > 5)).await;
        tokio::time::sleep(Duration::from_millis(300) * backend::patience()).await;
        over.store(true, SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
    }
}

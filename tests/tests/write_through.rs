//! P1 for `put`: a writer's result is served where nothing came between, and never where something did.

mod promise;

use cache_runtime::{cache_read, cache_write};
use promise::{Db, Hand, Row};

type Soon<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;
type Read = for<'a> fn(&'a Db) -> Soon<'a, Row>;
type Write = for<'a> fn(&'a Db) -> Soon<'a, ()>;

#[cache_read(key = "row:<id>", cache = db.cache, tags = ["group:<id>", "all"], namespace = "rows", skip(db))]
async fn tagged(db: &Db, id: u64) -> Row {
    db.read(id).await
}

/// Tagged by its own key only.
#[cache_read(key = "row:<id>", cache = db.cache, skip(db))]
async fn plain(db: &Db, id: u64) -> Row {
    db.read(id).await
}

/// The same tag twice, once by the argument and once by the result.
#[cache_read(key = "twice:<id>", cache = db.cache, tags = ["group:<id>", "group:<result.id>"], skip(db))]
async fn twice(db: &Db, id: u64) -> Row {
    db.read(id).await
}

#[cache_read(key = "org_row:<id>", cache = db.cache, tags = ["group:<id>", "org:<result.org>"], skip(db))]
async fn by_result(db: &Db, id: u64) -> Row {
    db.read(id).await
}

#[derive(Debug, PartialEq)]
struct Failed;

macro_rules! through {
    ($($(#[$attr:meta])* $name:ident($db:ident);)*) => {
        $($(#[$attr])*
        async fn $name($db: &Db) -> Row {
            $db.write();
            $db.now(1)
        })*
    };
}
through! {
    #[cache_write(cache = db.cache, put = tagged(db, 1))]
    put_alone(db);
    #[cache_write(cache = db.cache, tags = ["group:1"], put = tagged(db, 1))]
    put_with_tag(db);
    #[cache_write(cache = db.cache, tags = ["row:1"], put = tagged(db, 1))]
    put_with_default_tag(db);
    #[cache_write(cache = db.cache, keys = ["row:1"], put = tagged(db, 1))]
    put_with_key(db);
    #[cache_write(cache = db.cache, tags = ["group:1", "all"], put = tagged(db, 1))]
    put_with_all_tags(db);
    #[cache_write(cache = db.cache, tags = ["group:<result.id>"], put = tagged(db, result.id))]
    put_of_result(db);
    #[cache_write(cache = db.cache, tags = ["group:1"], before = true, put = tagged(db, 1))]
    put_with_before(db);
    #[cache_write(cache = db.cache, tags = ["group:1"], fence = "10s", put = tagged(db, 1))]
    put_with_fence(db);
}

/// P1: a write-through's result is what is read next, without a load.
#[tokio::test]
async fn a_write_through_is_served_without_a_load() {
    let writes: [(&str, Read); 8] = [
        ("alone", |db| Box::pin(put_alone(db))),
        ("with a tag of the entry", |db| Box::pin(put_with_tag(db))),
        ("with its key as tag", |db| Box::pin(put_with_default_tag(db))),
        ("with its key", |db| Box::pin(put_with_key(db))),
        ("with all tags of the entry", |db| Box::pin(put_with_all_tags(db))),
        ("named by the result", |db| Box::pin(put_of_result(db))),
        ("with before", |db| Box::pin(put_with_before(db))),
        ("with a fence", |db| Box::pin(put_with_fence(db))),
    ];
    for (what, write) in writes {
        for warm in [true, false] {
            let db = Db::new();
            if warm {
                tagged(&db, 1).await;
            }
            for version in 1..3 {
                assert_eq!(write(&db).await.version, version);
                let loads = db.loads();
                assert_eq!(tagged(&db, 1).await.version, version, "{what}");
                assert_eq!(db.loads(), loads, "{what}: the result was not stored");
            }
            // And it carries the entry's tags.
            db.write();
            db.cache.invalidate("group:1").await.unwrap();
            assert_eq!(tagged(&db, 1).await.version, 3, "{what}: the tag reaches it");
            db.assert_settled();
        }
    }
}

/// P1: by the template of its reader's key; the key is such an entry's only tag.
#[tokio::test]
async fn a_write_through_by_key_is_served_without_a_load() {
    #[cache_write(cache = db.cache, put = "row:<id>")]
    async fn put_by_key(db: &Db, id: u64) -> Row {
        db.write();
        db.now(id)
    }
    let db = Db::new();
    plain(&db, 1).await;
    for version in 1..3 {
        put_by_key(&db, 1).await;
        assert_eq!(plain(&db, 1).await.version, version);
    }
    assert_eq!(db.loads(), 1);
    db.cache.invalidate("row:1").await.unwrap();
    plain(&db, 1).await;
    assert_eq!(db.loads(), 2);
    db.assert_settled();
}

/// P1: with result tags, and where two tags of the entry are one.
#[tokio::test]
async fn a_write_through_with_result_tags_is_served_without_a_load() {
    #[cache_write(cache = db.cache, tags = ["group:1"], put = twice(db, 1))]
    async fn put_twice(db: &Db) -> Row {
        db.write();
        db.now(1)
    }
    #[cache_write(cache = db.cache, tags = ["group:1", "org:<result.org>"], put = by_result(db, 1))]
    async fn put_by_result(db: &Db) -> Row {
        db.write();
        db.now(1)
    }
    let db = Db::new();
    put_twice(&db).await;
    put_by_result(&db).await;
    // The second write dropped what carries the first one's tag.
    put_twice(&db).await;
    assert_eq!(twice(&db, 1).await.version, 3);
    assert_eq!(db.loads(), 0);
    put_by_result(&db).await;
    assert_eq!(by_result(&db, 1).await.version, 4);
    assert_eq!(db.loads(), 0);
    db.cache.invalidate("org:7").await.unwrap();
    by_result(&db, 1).await;
    assert_eq!(db.loads(), 1);
    db.assert_settled();
}

/// P1: a write-through whose result is absent leaves no entry: the row is gone.
#[tokio::test]
async fn a_write_through_of_an_absent_value_drops_the_entry() {
    #[cache_read(key = "maybe:<id>", cache = db.cache, skip(db))]
    async fn maybe(db: &Db, id: u64) -> Option<Row> {
        Some(db.read(id).await).filter(|row| row.version == 0)
    }
    #[cache_write(cache = db.cache, put = maybe(db, 1))]
    async fn delete(db: &Db) -> Option<Row> {
        db.write();
        None
    }
    let db = Db::new();
    assert!(maybe(&db, 1).await.is_some());
    assert_eq!(delete(&db).await, None);
    assert_eq!(maybe(&db, 1).await, None, "the write said that it is gone");
    db.assert_settled();
}

/// P1: a write-through that is dropped or panics in its body may have committed: the entry goes.
#[tokio::test]
async fn a_write_through_that_does_not_end_drops_the_entry() {
    #[cache_write(cache = db.cache, put = tagged(db, 1))]
    async fn slow(db: &Db) -> Row {
        commit(db).await
    }
    let db = Db::new();
    tagged(&db, 1).await;
    db.close();
    drop(Hand::begun(slow(&db)));
    db.open();
    assert_eq!(tagged(&db, 1).await.version, 1);
    db.assert_settled();
}

/// P1: a write-through that fails stores nothing and gives its claim back.
#[tokio::test]
async fn a_write_through_that_fails_changes_nothing() {
    #[cache_write(cache = db.cache, tags = ["group:1"], put = tagged(db, 1))]
    async fn fails(db: &Db) -> Result<Row, Failed> {
        let _ = db;
        Err(Failed)
    }
    let db = Db::new();
    tagged(&db, 1).await;
    assert_eq!(fails(&db).await, Err(Failed));
    tagged(&db, 1).await;
    assert_eq!(db.loads(), 1);
    db.assert_settled();
}

// --------------------------------------------------------------------------------------------------------- write-through

/// Commits a version, then waits at the gate before it returns, so that a test decides who arrives first.
async fn commit(db: &Db) -> Row {
    db.write();
    db.read(1).await
}

#[cache_write(cache = db.cache, tags = ["group:1"], put = tagged(db, 1))]
async fn slow_through(db: &Db) -> Row {
    commit(db).await
}
#[cache_write(cache = db.cache, put = tagged(db, 1))]
async fn slow_through_alone(db: &Db) -> Row {
    commit(db).await
}
#[cache_write(cache = db.cache, put = tagged(db, result.id))]
async fn slow_through_of_result(db: &Db) -> Row {
    commit(db).await
}
#[cache_write(cache = db.cache, tags = ["group:<result.id>"], put = tagged(db, result.id))]
async fn slow_through_of_result_with_tag(db: &Db) -> Row {
    commit(db).await
}
#[cache_write(cache = db.cache, put = by_result(db, 1))]
async fn slow_through_with_result_tags(db: &Db) -> Row {
    commit(db).await
}
#[cache_write(cache = db.cache, put = "row:<id>")]
async fn slow_through_by_key(db: &Db, id: u64) -> Row {
    let _ = id;
    commit(db).await
}
#[cache_write(cache = db.cache, tags = ["group:1"], fence = "10s", put = tagged(db, 1))]
async fn slow_through_fenced(db: &Db) -> Row {
    commit(db).await
}

/// Two writers commit in one order and arrive in the other, or in the same.
async fn two_writers(what: &str, read: Read, write: Read) {
    for in_order in [true, false] {
        let db = Db::new();
        read(&db).await;
        db.close();
        let mut first = Hand::begun(write(&db));
        let mut second = Hand::begun(write(&db));
        db.open();
        let (first, second) = if in_order {
            let first = first.ready();
            (first, second.ready())
        } else {
            let second = second.ready();
            assert_eq!(read(&db).await.version, 2, "{what}: after the later writer returned");
            (first.ready(), second)
        };
        assert_eq!((first.version, second.version), (1, 2));
        assert_eq!(read(&db).await.version, 2, "{what}, arrived in order: {in_order}");
        db.assert_settled();
    }
}

/// P1
#[tokio::test]
async fn of_two_write_throughs_the_stale_one_is_never_served() {
    two_writers("with a tag", |db| Box::pin(tagged(db, 1)), |db| Box::pin(slow_through(db))).await;
    two_writers("alone", |db| Box::pin(tagged(db, 1)), |db| Box::pin(slow_through_alone(db))).await;
    two_writers("named by the result", |db| Box::pin(tagged(db, 1)), |db| Box::pin(slow_through_of_result(db))).await;
    two_writers(
        "named by the result, with a tag",
        |db| Box::pin(tagged(db, 1)),
        |db| Box::pin(slow_through_of_result_with_tag(db)),
    )
    .await;
    two_writers("with result tags", |db| Box::pin(by_result(db, 1)), |db| Box::pin(slow_through_with_result_tags(db)))
        .await;
    two_writers("by key", |db| Box::pin(plain(db, 1)), |db| Box::pin(slow_through_by_key(db, 1))).await;
    two_writers("fenced", |db| Box::pin(tagged(db, 1)), |db| Box::pin(slow_through_fenced(db))).await;
}

/// P1: a write-through and a write that only invalidates.
#[tokio::test]
async fn a_write_through_that_arrives_after_a_later_write_is_not_served() {
    #[cache_write(cache = db.cache, tags = ["group:1"])]
    async fn later(db: &Db) {
        db.write();
    }
    let writes: [Read; 4] = [
        |db| Box::pin(slow_through(db)),
        |db| Box::pin(slow_through_alone(db)),
        |db| Box::pin(slow_through_of_result(db)),
        |db| Box::pin(slow_through_fenced(db)),
    ];
    for write in writes {
        let db = Db::new();
        db.close();
        let mut early = Hand::begun(write(&db));
        later(&db).await;
        db.open();
        assert_eq!(early.ready().version, 1);
        assert_eq!(tagged(&db, 1).await.version, 2);
        db.assert_settled();
    }
}

/// P1: the key, the function, the namespace or everything invalidated while the writer's body runs.
#[tokio::test]
async fn a_write_through_does_not_undo_an_invalidation_that_overtook_it() {
    let invalidations: [(&str, Write); 9] = [
        ("tag", |db| Box::pin(async { db.cache.invalidate("group:1").await.unwrap() })),
        ("other tag", |db| Box::pin(async { db.cache.invalidate(["other", "all"]).await.unwrap() })),
        ("key", |db| Box::pin(async { _ = db.cache.delete("row:1").await.unwrap() })),
        ("key as a tag", |db| Box::pin(async { db.cache.invalidate("row:1").await.unwrap() })),
        ("namespace", |db| Box::pin(async { db.cache.invalidate_namespace("rows").await.unwrap() })),
        ("all", |db| Box::pin(async { db.cache.clear().await.unwrap() })),
        ("pattern", |db| Box::pin(async { _ = db.cache.delete_match("row:*").await.unwrap() })),
        ("function", |db| Box::pin(async { tagged::clear(db).await.unwrap() })),
        ("put", |db| Box::pin(async { tagged::put(&db.now(1), db, 1).await.unwrap() })),
    ];
    let writes: [(&str, Read); 3] = [
        ("known", |db| Box::pin(slow_through_alone(db))),
        ("of result", |db| Box::pin(slow_through_of_result(db))),
        ("with tag", |db| Box::pin(slow_through(db))),
    ];
    for (what, invalidate) in invalidations {
        for (how, write) in writes {
            let db = Db::new();
            db.close();
            let mut early = Hand::begun(write(&db));
            db.write();
            invalidate(&db).await;
            db.open();
            assert_eq!(early.ready().version, 1);
            assert_eq!(tagged(&db, 1).await.version, 2, "{what} during a write-through ({how})");
            db.assert_settled();
        }
    }
}

/// P1: a reader that fills between a writer's commit and its arrival, or still loads then.
#[tokio::test]
async fn a_reader_between_commit_and_arrival_does_not_leave_its_value() {
    for reader_ends_first in [true, false] {
        let db = Db::new();
        db.close();
        let mut reader = Hand::begun(tagged(&db, 1));
        let mut writer = Hand::begun(slow_through(&db));
        db.open();
        if reader_ends_first {
            reader.ready();
            writer.ready();
        } else {
            writer.ready();
            reader.ready();
        }
        let loads = db.loads();
        assert_eq!(tagged(&db, 1).await.version, 1);
        assert_eq!(db.loads(), loads, "the writer's result is there");
        db.assert_settled();
    }
}

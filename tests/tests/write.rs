//! P1 and P3 on the write side: what a write leaves behind when it fails, panics or is dropped, and what a fence keeps out.

mod promise;

use cache_runtime::{cache_read, cache_write};
use promise::{Db, Hand, Row};

#[cache_read(key = "row:<id>", cache = db.cache, tags = ["group:<id>", "all"], skip(db))]
async fn tagged(db: &Db, id: u64) -> Row {
    db.read(id).await
}

#[cache_read(key = "org_row:<id>", cache = db.cache, tags = ["group:<id>", "org:<result.org>"], skip(db))]
async fn by_result(db: &Db, id: u64) -> Row {
    db.read(id).await
}

#[derive(Debug, PartialEq)]
struct Failed;

/// Commits, then waits at the gate.
async fn commit(db: &Db) -> Row {
    db.write();
    db.read(1).await
}

// ------------------------------------------------------------------------------------------------------- ends of a body

#[cache_write(cache = db.cache, tags = ["group:1"])]
async fn may_fail(db: &Db, fail: bool) -> Result<(), Failed> {
    if fail {
        return Err(Failed);
    }
    db.write();
    Ok(())
}

/// P1
#[tokio::test]
async fn a_failing_body_invalidates_nothing() {
    let db = Db::new();
    tagged(&db, 1).await;
    assert_eq!(may_fail(&db, true).await, Err(Failed));
    tagged(&db, 1).await;
    assert_eq!(db.loads(), 1);
    may_fail(&db, false).await.unwrap();
    assert_eq!(tagged(&db, 1).await.version, 1);
}

/// P1: `before` invalidates before the body, whatever becomes of it, and again after it.
#[tokio::test]
async fn before_invalidates_before_the_body_and_after_it() {
    #[cache_write(cache = db.cache, tags = ["group:1"], before = true)]
    async fn write(db: &Db, fail: bool) -> Result<(), Failed> {
        // A reader between the two sees the old value, and is not believed afterwards.
        let loads = db.loads();
        assert_eq!(tagged(db, 1).await.version, 0);
        assert_eq!(db.loads(), loads + 1, "it was invalidated before the body");
        if fail {
            return Err(Failed);
        }
        db.write();
        Ok(())
    }
    let db = Db::new();
    tagged(&db, 1).await;
    assert_eq!(write(&db, true).await, Err(Failed));
    write(&db, false).await.unwrap();
    assert_eq!(tagged(&db, 1).await.version, 1);
    db.assert_settled();
}

/// P1
#[tokio::test]
async fn a_write_that_is_dropped_in_its_body_invalidates() {
    #[cache_write(cache = db.cache, tags = ["group:1"])]
    async fn slow(db: &Db) -> Row {
        commit(db).await
    }
    #[cache_write(cache = db.cache, patterns = ["row:*"])]
    async fn slow_by_pattern(db: &Db) -> Row {
        commit(db).await
    }
    let db = Db::new();
    tagged(&db, 1).await;
    db.close();
    drop(Hand::begun(slow(&db)));
    db.open();
    assert_eq!(tagged(&db, 1).await.version, 1);
    db.close();
    drop(Hand::begun(slow_by_pattern(&db)));
    db.open();
    assert_eq!(tagged(&db, 1).await.version, 2);
    db.assert_settled();
}

/// P1
#[tokio::test]
async fn a_write_that_panics_in_its_body_invalidates() {
    #[cache_write(cache = db.cache, tags = ["group:1"])]
    async fn panics(db: &Db) {
        db.write();
        tokio::task::yield_now().await;
        panic!("after its commit");
    }
    let db = Db::new();
    tagged(&db, 1).await;
    let mut writing = Hand::begun(panics(&db));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writing.poll())).is_err());
    drop(writing);
    assert_eq!(tagged(&db, 1).await.version, 1);
    db.assert_settled();
}

/// P1: tag expressions that panic after the body do not keep what is known from being invalidated.
#[tokio::test]
async fn a_tag_expression_that_panics_after_the_body_does_not_keep_the_rest_from_being_invalidated() {
    fn tag_of(version: u64) -> String {
        assert!(version > 100, "a bug in the user's code");
        String::new()
    }
    #[cache_write(cache = db.cache, tags = ["group:1", tag_of(result.version)])]
    async fn write(db: &Db) -> Row {
        db.write();
        tokio::task::yield_now().await;
        db.now(1)
    }
    let db = Db::new();
    tagged(&db, 1).await;
    let mut writing = Hand::begun(write(&db));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writing.poll())).is_err());
    drop(writing);
    assert_eq!(tagged(&db, 1).await.version, 1);
}

// ----------------------------------------------------------------------------------------------------------------- fence

#[cache_write(cache = db.cache, tags = ["group:1"], fence = "30s")]
async fn fenced(db: &Db) -> Row {
    commit(db).await
}

#[cache_write(cache = db.cache, tags = ["group:1"], fence = "30s")]
async fn fenced_and_failing(db: &Db) -> Result<Row, Failed> {
    db.read(1).await;
    Err(Failed)
}

/// Reads while the gate is shut for the writer: the reader's own load passes because its gate was open when it began.
async fn read_during(db: &Db) -> Row {
    let mut reader = Hand::new(tagged(db, 1));
    if let std::task::Poll::Ready(row) = reader.poll() {
        return row;
    }
    db.open();
    let row = reader.ready();
    db.close();
    row
}

/// P1: while a fenced write runs, readers go to the source and store nothing.
#[tokio::test]
async fn readers_go_to_the_source_and_store_nothing_during_a_fenced_write() {
    let db = Db::new();
    tagged(&db, 1).await;
    db.close();
    let mut writing = Hand::begun(fenced(&db));
    let loads = db.loads();
    assert_eq!(read_during(&db).await.version, 1);
    assert_eq!(read_during(&db).await.version, 1);
    assert_eq!(db.loads(), loads + 2, "each reader asks the source");
    assert_eq!(db.cache.stats().entries, 0);
    db.open();
    writing.ready();
    let loads = db.loads();
    tagged(&db, 1).await;
    tagged(&db, 1).await;
    assert_eq!(db.loads(), loads + 1, "afterwards it is cached again");
    db.assert_settled();
}

/// P1: a load that began before the fence stores nothing either.
#[tokio::test]
async fn a_load_that_began_before_a_fence_stores_nothing() {
    let db = Db::new();
    db.close();
    let mut reader = Hand::begun(tagged(&db, 1));
    let mut late = Hand::begun(by_result(&db, 1));
    let mut writing = Hand::begun(fenced(&db));
    db.open();
    assert_eq!(reader.ready().version, 0);
    assert_eq!(late.ready().version, 0);
    assert_eq!(db.cache.stats().entries, 0);
    writing.ready();
    assert_eq!(tagged(&db, 1).await.version, 1);
    db.assert_settled();
}

/// P1: one writer's end does not lift another's fence.
#[tokio::test]
async fn the_end_of_one_fenced_writer_does_not_lift_anothers_fence() {
    for first_ends_first in [true, false] {
        let db = Db::new();
        tagged(&db, 1).await;
        db.close();
        let mut first = Hand::begun(fenced(&db));
        let mut second = Hand::begun(fenced(&db));
        db.open();
        if first_ends_first {
            first.ready();
        } else {
            second.ready();
        }
        db.close();
        let loads = db.loads();
        read_during(&db).await;
        read_during(&db).await;
        assert_eq!(db.loads(), loads + 2, "the other one still writes");
        assert_eq!(db.cache.stats().entries, 0);
        db.open();
        if first_ends_first {
            second.ready();
        } else {
            first.ready();
        }
        tagged(&db, 1).await;
        assert_eq!(db.cache.stats().entries, 1);
        db.assert_settled();
    }
}

/// P3: a fenced writer that fails, is dropped or panics lifts its fence.
#[tokio::test]
async fn a_fence_is_lifted_however_its_writer_ends() {
    let db = Db::new();
    assert_eq!(fenced_and_failing(&db).await, Err(Failed));
    tagged(&db, 1).await;
    assert_eq!(db.cache.stats().entries, 1, "after a failure");
    db.close();
    drop(Hand::begun(fenced(&db)));
    db.open();
    assert_eq!(tagged(&db, 1).await.version, 1, "after a drop");
    assert_eq!(db.cache.stats().entries, 1);
    db.assert_settled();
}

/// P7: fences leave nothing behind, also where their writers fail and nobody reads.
#[tokio::test]
async fn fenced_writes_of_ever_new_tags_leave_nothing_behind() {
    #[cache_write(cache = db.cache, tags = ["new:<id>"], fence = "30s")]
    async fn write(db: &Db, id: u64, fail: bool) -> Result<(), Failed> {
        let _ = db;
        if fail { Err(Failed) } else { Ok(()) }
    }
    let db = Db::new();
    for id in 0..50_000 {
        let _ = write(&db, id, id % 2 == 0).await;
    }
    let tags = db.cache.stats().tags;
    assert!(tags < 4096, "{tags} names are kept that nobody uses");
}

/// P7: nor do claims of write-throughs.
#[tokio::test]
async fn write_throughs_of_ever_new_keys_that_fail_leave_nothing_behind() {
    #[cache_write(cache = db.cache, put = tagged(db, id))]
    async fn write(db: &Db, id: u64) -> Result<Row, Failed> {
        let _ = (db, id);
        Err(Failed)
    }
    let db = Db::new();
    for id in 0..50_000 {
        let _ = write(&db, id).await;
    }
    assert!(db.cache.stats().tags < 4096);
    db.assert_settled();
}

//! P1 in one process: whatever is invalidated or written while a load runs, the old value is never served afterwards, and
//! nobody who begins afterwards joins the old load.
//!
//! Every race is run in each order in which the loads can end.

mod promise;

use std::sync::Arc;

use cache_runtime::{cache_read, cache_write, memoize};
use promise::{Db, Hand, Row, yields};

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
    OldAlone,
    /// Another one, begun after the write, ends before it.
    OldLast,
    /// Or after it.
    OldFirst,
    /// The old load's caller goes away after the write, with a waiter of old.
    OldDropped,
}

/// Runs `write` while a load runs. `read` is what the write must not let be stale.
async fn race<R, W>(what: &str, mut read: R, mut write: W)
where
    R: AsyncFnMut(&Db) -> Row,
    W: AsyncFnMut(&Db),
{
    for order in [Order::OldAlone, Order::OldLast, Order::OldFirst, Order::OldDropped] {
        let db = Db::new();
        db.close();
        let mut old = Box::pin(read(&db));
        assert!(futures_poll(&mut old).is_pending(), "{what}: the loader waits");
        drop(old);
        // Twice, so that a caller that went away first makes no difference.
        let mut old = Hand::begun(read_boxed(&mut read, &db));
        assert_eq!(db.loads(), 2);
        db.write();
        // The write's own reads and recaches pass.
        write(&db).await;
        match order {
            Order::OldAlone => {
                db.open();
                assert_eq!(old.ready().version, 0, "{what}: who began before may see the old value");
            }
            Order::OldLast | Order::OldFirst => {
                let before = db.loads();
                let mut new = Hand::new(read_boxed(&mut read, &db));
                let polled = new.poll();
                if polled.is_pending() {
                    assert_eq!(db.loads(), before + 1, "{what}: who begins after the write loads for itself");
                }
                db.open();
                if matches!(order, Order::OldFirst) {
                    assert_eq!(old.ready().version, 0);
                }
                let new = match polled {
                    std::task::Poll::Ready(row) => row,
                    std::task::Poll::Pending => new.ready(),
                };
                assert_eq!(new.version, 1, "{what}, {order:?}: began after the write");
                if matches!(order, Order::OldLast) {
                    assert_eq!(old.ready().version, 0);
                }
            }
            Order::OldDropped => {
                drop(old);
                db.open();
            }
        }
        let loads = db.loads();
        assert_eq!(read(&db).await.version, 1, "{what}, {order:?}: a read after the write");
        assert_eq!(read(&db).await.version, 1, "{what}, {order:?}: and another");
        assert!(db.loads() <= loads + 1, "{what}, {order:?}: the new value is stored");
        db.assert_settled();
    }
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

/// Ends the borrow of `read` with the call, so that two can be in flight.
fn read_boxed<'a, R>(read: &mut R, db: &'a Db) -> impl Future<Output = Row> + use<'a, R>
where
    R: AsyncFnMut(&Db) -> Row,
{
    // Only functions are given, which have no state.
    let _ = read;
    std::future::ready(Row { id: db.loads(), org: 0, version: 0 })
}

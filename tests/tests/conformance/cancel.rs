//! Every asynchronous operation is dropped at its n-th poll, for every n: nobody wedges, nothing is left behind, and nothing
//! old is served. (Values that age are in `aging/dropped.rs`.)

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cache_runtime::{Cache, Engine, cache_read, cache_write, memoize};
use cache_tests::{Broken, Row, Source};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::backend::soon;

/// Nothing that works takes this long.
const LONG: Duration = Duration::from_secs(20);

/// More polls than anything here takes.
const POLLS: usize = 200;

#[cache_read(key = "c:row:<id>", ttl = "10m", tags = ["c:<id>", "c:all"], skip(db))]
async fn row(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "c:locked:<id>", ttl = "10m", tags = ["c:<id>"], lock = true, skip(db))]
async fn locked(db: &Source, id: u64) -> Result<Row, Broken> {
    Ok(db.row(id).await)
}

#[cache_read(key = "c:late:<id>", ttl = "10m", tags = ["c:<result.id>"], skip(db))]
async fn late(db: &Source, id: u64) -> Option<Arc<Row>> {
    db.find(id).await.map(Arc::new)
}

#[cache_read(key = "c:sliding:<id>", ttl = "10m", refresh = true, tags = ["c:<id>"], skip(db))]
async fn sliding(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "c:each:<id>", each(id in ids), by = |row| row.id, tags = ["c:<id>"], skip(db))]
async fn rows(db: &Source, ids: &[u64]) -> Vec<Row> {
    let mut rows = Vec::new();
    for id in ids {
        rows.push(db.row(*id).await);
    }
    rows
}

#[memoize(ttl = "10m", skip(db))]
async fn memoized(db: &Source, id: u64) -> u64 {
    db.row(id).await.version
}

#[cache_write(tags = ["c:<id>"])]
async fn write(db: &Source, id: u64) -> Row {
    tokio::task::yield_now().await;
    let row = db.write(id, "new");
    tokio::task::yield_now().await;
    row
}

#[cache_write(tags = ["c:<id>"], recache = [row(db, id), locked(db, id)])]
async fn write_and_recache(db: &Source, id: u64) -> Result<Row, Broken> {
    tokio::task::yield_now().await;
    let row = db.write(id, "new");
    tokio::task::yield_now().await;
    Ok(row)
}

#[cache_write(tags = ["c:<id>"], put = row(id))]
async fn write_through(db: &Source, id: u64) -> Row {
    tokio::task::yield_now().await;
    let row = db.write(id, "new");
    tokio::task::yield_now().await;
    row
}

#[cache_write(tags = ["c:<id>"], before = true)]
async fn write_before(db: &Source, id: u64) -> Row {
    tokio::task::yield_now().await;
    let row = db.write(id, "new");
    tokio::task::yield_now().await;
    row
}

#[cache_write(tags = ["c:<id>"], fence = "30s")]
async fn write_fenced(db: &Source, id: u64) -> Row {
    tokio::task::yield_now().await;
    let row = db.write(id, "new");
    tokio::task::yield_now().await;
    row
}

#[cache_write(keys = ["c:locked:<id>"], patterns = ["c:*:<id>"])]
async fn write_by_pattern(db: &Source, id: u64) -> Row {
    let row = db.write(id, "new");
    tokio::task::yield_now().await;
    row
}

/// Has a wake-up if there was one that nobody waited for yet.
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Polls a future `n` times, each time after it was woken, and drops it; whether it had returned by then.
async fn dropped_after(n: usize, what: &str, mut call: Pin<&mut (impl Future + ?Sized)>) -> bool {
    let woken = Arc::new(Woken(Notify::new()));
    let waker = Waker::from(woken.clone());
    for poll in 0..n {
        if poll > 0 {
            timeout(LONG, woken.0.notified()).await.unwrap_or_else(|_| panic!("{what} is not woken"));
        }
        if matches!(call.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(_)) {
            return true;
        }
    }
    false
}

/// An id that nobody has used.
fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1_000);
    NEXT.fetch_add(1, SeqCst)
}

/// Nothing is under way any more.
async fn quiet(cache: &Cache, what: &str) {
    soon(&format!("{what}: nothing under way"), async || {
        let stats = cache.stats();
        stats.background + stats.flights + stats.undelivered == 0
    })
    .await;
}

/// What must hold for a row after any of it was dropped: readers return, and return what the source has.
async fn is_right(db: &Source, cache: &Cache, id: u64, what: &str) {
    let now = db.write(id, "last");
    cache.invalidate_tags([format!("c:{id}")]).await.unwrap();
    // Soon: a reader that waited for a lease which nobody gives back would load after `wait`, 10 s.
    let all = timeout(Duration::from_secs(5), async {
        let each = rows(db, &[id]).await;
        [
            row(db, id).await.version,
            locked(db, id).await.unwrap().version,
            late(db, id).await.unwrap().version,
            sliding(db, id).await.version,
            each[0].version,
        ]
    });
    let all = all.await.unwrap_or_else(|_| panic!("{what}: a reader waits for nobody"));
    assert_eq!(all, [now.version; 5], "{what}");
}

/// Drops `$call` after every number of polls. `$prepare` comes first, and `$after` once it was dropped and all that it left
/// behind is over.
macro_rules! every_poll {
    ($on:ident, $what:literal, |$id:ident, $db:ident| $prepare:block, $call:expr, $after:block) => {{
        let mut polls = 0;
        for n in 0.. {
            assert!(n < POLLS, "{} never ends", $what);
            let ($id, db) = (fresh(), Source::new());
            let $db = &db;
            $prepare;
            let over = dropped_after(
                n,
                $what,
                pin!(async {
                    let _ = $call;
                }),
            )
            .await;
            quiet(&$on.cache, $what).await;
            $after;
            is_right($db, &$on.cache, $id, $what).await;
            if over {
                break;
            }
            polls = n + 1;
        }
        assert!(polls > 0 || !$on.is_shared(), "{} is over at once", $what);
    }};
}

/// Every annotated reader, when there is nothing and when there is something.
macro_rules! every_reader {
    ($on:ident: $($name:literal $call:expr;)*) => {$(
        every_poll!($on, $name, |id, db| {}, ($call)(db, id).await, {});
        every_poll!($on, $name, |id, db| { let _ = row(db, id).await; let _ = locked(db, id).await; }, ($call)(db, id).await, {});
    )*};
}

/// Every writer: what is read afterwards is what the source has, committed or not.
macro_rules! every_writer {
    ($on:ident: $($name:literal $call:expr;)*) => {$(
        every_poll!(
            $on,
            $name,
            |id, db| { row(db, id).await; let _ = locked(db, id).await; },
            ($call)(db, id).await,
            {
                let now = db.row(id).await.version;
                assert_eq!(row(db, id).await.version, now, "{}", $name);
                assert_eq!(locked(db, id).await.unwrap().version, now, "{}", $name);
            }
        );
    )*};
}

everywhere! {
    /// P2
    async fn readers_may_be_dropped_at_any_poll(on: &On) {
        every_reader! { on:
            "a read" async |db, id| { let _ = row(db, id).await; };
            "a locked read" async |db, id| { let _ = locked(db, id).await; };
            "a read with a tag of its result" async |db, id| { let _ = late(db, id).await; };
            "a sliding read" async |db, id| { let _ = sliding(db, id).await; };
            "a batch" async |db, id| { let _ = rows(db, &[id, id + 1_000_000, id]).await; };
            "a forced refresh" async |db, id| { let _ = row::refresh(db, id).await; };
            "a bypass" async |db, id| { let _ = row::bypass(db, id).await; };
            "a memoized call" async |db, id| { let _ = memoized(db, id).await; };
            "warming" async |db: &Source, id: u64| { let _ = row::warm([id, id, id + 1_000_000], |id| (db, id)).await; };
        }
    }

    /// P1, P2
    async fn writers_may_be_dropped_at_any_poll(on: &On) {
        every_writer! { on:
            "a write" async |db, id| { let _ = write(db, id).await; };
            "a write that loads again" async |db, id| { let _ = write_and_recache(db, id).await; };
            "a write-through" async |db, id| { let _ = write_through(db, id).await; };
            "a write that invalidates first" async |db, id| { let _ = write_before(db, id).await; };
            "a fenced write" async |db, id| { let _ = write_fenced(db, id).await; };
            "a write by pattern" async |db, id| { let _ = write_by_pattern(db, id).await; };
        }
    }

    /// P2: the companion's verbs, and direct calls.
    async fn direct_calls_may_be_dropped_at_any_poll(on: &On) {
        let key = |id: u64| format!("c:direct:{id}");
        macro_rules! every_call {
            ($($name:literal |$db:ident, $id:ident| $call:expr;)*) => {$(
                every_poll!(
                    on,
                    $name,
                    |$id, $db| {
                        on.cache.set(key($id), 1_i64).tags(["c:direct"]).await.unwrap();
                        row($db, $id).await;
                    },
                    $call.await,
                    {
                        // Whatever was done, or not: it can be written and read.
                        on.cache.set(key($id), 7_i64).await.unwrap();
                        assert_eq!(on.cache.get::<i64>(key($id)).await.unwrap(), Some(7), "{}", $name);
                        on.cache.delete(key($id)).await.unwrap();
                    }
                );
            )*};
        }
        let cache = &on.cache;
        every_call! {
            "peek" |db, id| row::peek(id);
            "put" |db, id| row::put(&Row::fresh(id), id);
            "invalidate" |db, id| row::invalidate(id);
            "get" |db, id| cache.get::<i64>(key(id));
            "get_many" |db, id| cache.get_many::<i64>([key(id), key(id + 1)]);
            "set" |db, id| cache.set(key(id), 2_i64).ttl("1m").tags(["c:direct"]);
            "set_nx" |db, id| cache.set_nx(key(id), 2_i64);
            "set_many" |db, id| cache.set_many([(key(id), 1_i64), (key(id + 1), 2)]);
            "delete" |db, id| cache.delete(key(id));
            "pop" |db, id| cache.pop::<i64>(key(id));
            "exists" |db, id| cache.exists(key(id));
            "expire" |db, id| cache.expire(key(id), "5m");
            "ttl" |db, id| cache.ttl(key(id));
            "incr" |db, id| cache.incr(key(id), 1);
            "get_or_load" |db, id| cache.get_or_load(key(id + 1), async || Ok::<_, Broken>(db.row(id).await.version));
            "delete_match" |db, id| cache.delete_match(format!("c:direct:{id}*"));
            "tag" |db, id| cache.tag(key(id), ["c:more"]);
            "invalidate_tags" |db, id| cache.invalidate_tags([format!("c:{id}"), "c:direct".to_owned()]);
            "invalidate_keys" |db, id| cache.invalidate_keys([key(id)]);
            "invalidate_namespace" |db, id| cache.invalidate_namespace("c");
            "clear" |db, id| cache.clear();
            "cleanup_expired" |db, id| cache.cleanup_expired();
            "entry_info" |db, id| cache.entry_info(key(id));
            "keys" |db, id| cache.keys("c:direct:*").collect::<Vec<_>>();
            "info" |db, id| cache.info();
            "ping" |db, id| cache.ping();
        }
    }

    /// P2: building and closing a cache.
    async fn a_cache_may_be_dropped_while_it_is_built_or_closed(on: &On) {
        for n in 0..POLLS {
            let cache = on.with(|builder| builder.engine(Engine::QuickCache)).await;
            let is_built = dropped_after(n, "building", pin!(on.build())).await;
            let db = Source::new();
            let id = fresh();
            cache.scope(row(&db, id)).await;
            let is_closed = dropped_after(n, "closing", pin!(cache.close())).await;
            // What was not closed to the end can be closed again.
            timeout(LONG, cache.close()).await.expect("it ends").unwrap();
            if is_built && is_closed {
                return;
            }
        }
        panic!("it never ends");
    }
}

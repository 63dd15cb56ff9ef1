//! Where a cache is used from: several runtimes, one that has ended, none at all; and extremes that every call has to bear.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cache_runtime::{Cache, Remaining, cache_read, key};
use cache_tests::{Row, Source};

use crate::backend::soon;

#[cache_read(key = "user:<id>", tags = ["users"], skip(db))]
async fn get_user(db: &Source, id: u64) -> Row {
    db.row(id).await
}

/// Nothing that works takes this long.
const LONG: Duration = Duration::from_secs(10);

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.unwrap_or_else(|_| panic!("took longer than {LONG:?}: {what}"))
}

/// Runs work on a thread and a runtime of its own, which end with it.
async fn elsewhere<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    tokio::task::spawn_blocking(move || std::thread::spawn(run).join().unwrap()).await.unwrap()
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs work without any runtime.
fn by_hand<T>(work: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut work = std::pin::pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

everywhere! {
    /// P3 P4: a cache may be used from several runtimes, and outlives the one that it was built in.
    async fn a_cache_outlives_the_runtime_that_it_was_built_in(on: &On) {
        let db = Arc::new(Source::new());
        let build = on.build();
        let source = Arc::clone(&db);
        let cache: Cache = elsewhere(async move {
            let cache = build.await;
            cache.scope(get_user(&source, 1)).await;
            cache.set("k", 1_u8).await.unwrap();
            cache
        })
        .await;
        // Its runtime has ended.
        for _ in 0..3 {
            assert_eq!(within("a call after the runtime's end", cache.scope(get_user(&db, 1))).await, Row::fresh(1));
        }
        soon("the cache is used again", async || cache.get::<u8>("k").await.is_ok_and(|found| found == Some(1))).await;
        let loads = db.loads();
        cache.scope(get_user(&db, 1)).await;
        assert_eq!(db.loads(), loads, "what was stored is found");
        let (third, source) = (cache.clone(), Arc::clone(&db));
        let there = elsewhere(async move { within("a third runtime", third.scope(get_user(&source, 1))).await }).await;
        assert_eq!((there, db.loads()), (Row::fresh(1), loads));
    }

    /// P4: without a runtime a function still returns what its source does.
    async fn a_function_works_without_a_runtime(on: &On) {
        let (cache, db) = (on.cache.clone(), Arc::new(Source::new()));
        cache.scope(get_user(&db, 1)).await;
        let source = Arc::clone(&db);
        let work = move || {
            by_hand(cache.scope(async {
                let rows = (get_user(&source, 1).await, get_user(&source, 2).await);
                // It may not be possible, but nothing panics or hangs.
                let _ = cache.invalidate("users").await;
                (rows, get_user(&source, 1).await)
            }))
        };
        let done = tokio::task::spawn_blocking(move || std::thread::spawn(work).join());
        let rows = within("a call without a runtime", done).await.unwrap().expect("nobody panics");
        assert_eq!(rows, ((Row::fresh(1), Row::fresh(2)), Row::fresh(1)));
        let left = on.cache.stats().undelivered;
        assert!(left == 0 || on.is_shared());
        soon("everything is told", async || { get_user(&db, 1).await; on.cache.stats().undelivered == 0 }).await;
        on.cache.ping().await.unwrap();
    }

    /// E2: the longest and the shortest lives.
    async fn the_longest_and_the_shortest_lives(on: &On) {
        let cache = &on.cache;
        for (key, ttl) in [("max", Duration::MAX), ("u64", Duration::from_millis(u64::MAX)), ("years", Duration::from_secs(1 << 37))] {
            cache.set(key, 1_u8).ttl(ttl).tags(["long"]).await.unwrap();
            assert_eq!(cache.get::<u8>(key).await.unwrap(), Some(1), "{key}");
            assert!(match cache.ttl(key).await.unwrap().unwrap() {
                Remaining::For(left) => left > Duration::from_secs(86_400 * 365),
                Remaining::Forever => true,
            });
            assert!(cache.expire(key, ttl).await.unwrap());
            assert!(cache.exists(key).await.unwrap(), "{key}");
        }
        cache.invalidate("long").await.unwrap();
        assert!(cache.keys("*").next().await.is_none());
        for ttl in [Duration::from_nanos(1), Duration::from_micros(999)] {
            cache.set("short", 1_u8).ttl(ttl).await.unwrap();
            soon("it is over", async || !cache.exists("short").await.unwrap()).await;
            cache.set("short", 1_u8).await.unwrap();
            assert!(cache.expire("short", ttl).await.unwrap());
            soon("it is over", async || !cache.exists("short").await.unwrap()).await;
        }
    }

    /// E4 P7: thousands of tags in one call, and thousands of entries under one tag.
    async fn thousands_of_tags(on: &On) {
        let cache = &on.cache;
        for part in 0..4_u64 {
            cache.set_many((0..500_u64).map(|n| (key!("k:<part>:<n>"), n))).tags([format!("part:{part}"), "all".to_owned()]).await.unwrap();
        }
        cache.set("one", 1_u8).tags(["t:2999"]).await.unwrap();
        cache.invalidate((0..3000).map(|n| format!("t:{n}"))).await.unwrap();
        assert!(!cache.exists("one").await.unwrap());
        cache.invalidate("part:2").await.unwrap();
        let found = cache.get_many::<u64>((0..4).map(|part| format!("k:{part}:7"))).await.unwrap();
        assert_eq!(found, [Some(7), Some(7), None, Some(7)]);
        cache.invalidate("all").await.unwrap();
        let found = cache.get_many::<u64>((0..4).map(|part| format!("k:{part}:499"))).await.unwrap();
        assert_eq!(found, [None; 4]);
        assert_eq!(cache.invalidate_keys((0..500).map(|n| format!("k:0:{n}"))).await.unwrap(), 0);
    }
}

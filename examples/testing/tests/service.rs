//! The tests of a service that uses the cache: each with a cache of its own, a clock that it moves, and a source that counts.
//!
//! Copy the pattern, not the assertions: `let cache = Cache::for_test(); cache.scope(async { .. }).await`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_runtime::{Cache, TestCache, catalogue};
use testing::{Article, Shop, Store, StoreError};

/// A database for tests: it counts queries, and is down when told.
#[derive(Default)]
struct Fake {
    rows: Mutex<BTreeMap<u64, Article>>,
    queries: AtomicU64,
    down: AtomicBool,
}

impl Fake {
    fn query<T>(&self, run: impl FnOnce(&mut BTreeMap<u64, Article>) -> T) -> Result<T, StoreError> {
        self.queries.fetch_add(1, Relaxed);
        if self.down.load(Relaxed) {
            return Err(StoreError::Down);
        }
        Ok(run(&mut self.rows.lock().expect("no test panics while it has it")))
    }
}

impl Store for Fake {
    fn find(&self, id: u64) -> Result<Option<Article>, StoreError> {
        self.query(|rows| rows.get(&id).cloned())
    }

    fn shelf(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        self.query(|rows| rows.values().filter(|row| row.shelf == name).map(|row| row.id).collect())
    }

    fn set_price(&self, id: u64, cents: u64) -> Result<Article, StoreError> {
        self.query(|rows| {
            let row = rows.get_mut(&id).ok_or(StoreError::NotFound)?;
            row.cents = cents;
            Ok(row.clone())
        })?
    }
}

/// A cache and a shop that no other test sees.
fn shop() -> (TestCache, Arc<Fake>, Shop) {
    let fake = Arc::new(Fake::default());
    let row = |id| (id, Article { id, shelf: "tea".into(), cents: 100 * id });
    fake.rows.lock().expect("nobody else has it").extend((1..=3).map(row));
    (Cache::for_test(), Arc::clone(&fake), Shop::new(fake))
}

#[tokio::test]
async fn an_article_is_asked_for_once() {
    let (cache, fake, shop) = shop();
    cache
        .scope(async {
            for _ in 0..3 {
                assert_eq!(shop.article(2).await.map(|found| found.map(|article| article.cents)), Ok(Some(200)));
            }
        })
        .await;
    assert_eq!(fake.queries.load(Relaxed), 1);
    assert_eq!((cache.stats().hits, cache.stats().loads), (2, 1));
}

#[tokio::test]
async fn an_article_that_is_missing_is_asked_for_again_after_ten_seconds() {
    let (cache, fake, shop) = shop();
    cache
        .scope(async {
            assert_eq!(shop.article(9).await, Ok(None));
            assert_eq!(shop.article(9).await, Ok(None));
            assert_eq!(fake.queries.load(Relaxed), 1);
            cache.advance(Duration::from_secs(11)); // nobody sleeps
            assert_eq!(shop.article(9).await, Ok(None));
            assert_eq!(fake.queries.load(Relaxed), 2);
        })
        .await;
}

#[tokio::test]
async fn a_new_price_is_seen_at_once_and_the_shelf_is_read_again() {
    let (cache, fake, shop) = shop();
    cache
        .scope(async {
            shop.article(1).await?;
            shop.shelf("tea").await?;
            shop.set_price(1, 7).await?;
            assert_eq!(shop.article(1).await?.map(|article| article.cents), Some(7));
            let queries = fake.queries.load(Relaxed);
            shop.shelf("tea").await?;
            assert_eq!(fake.queries.load(Relaxed), queries + 1);
            Ok::<_, StoreError>(())
        })
        .await
        .expect("the database is up");
}

#[tokio::test]
async fn the_shop_lives_for_an_hour_without_its_database() {
    let (cache, fake, shop) = shop();
    cache
        .scope(async {
            let known = shop.article(1).await?;
            fake.down.store(true, Relaxed);
            cache.advance(Duration::from_secs(6 * 60)); // past its ttl
            assert_eq!(shop.article(1).await?, known);
            cache.advance(Duration::from_secs(2 * 60 * 60)); // past `stale_if_error`
            assert_eq!(shop.article(1).await, Err(StoreError::Down));
            Ok::<_, StoreError>(())
        })
        .await
        .expect("what is known is served");
}

#[tokio::test]
async fn the_shop_works_without_its_cache() {
    let (cache, fake, shop) = shop();
    cache.set_failing(true);
    cache
        .scope(async {
            assert_eq!(shop.article(3).await.map(|found| found.is_some()), Ok(true));
            assert_eq!(shop.article(3).await.map(|found| found.is_some()), Ok(true));
            assert!(shop.set_price(3, 1).await.is_ok());
        })
        .await;
    assert_eq!(fake.queries.load(Relaxed), 3);
    assert!(cache.stats().degraded >= 2);
}

#[tokio::test]
async fn a_hundred_callers_share_one_query() {
    let (cache, fake, shop) = shop();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let shop = shop.clone();
            tokio::spawn(cache.scope(async move { shop.article(1).await })) // a scope does not follow `spawn`: wrap it
        })
        .collect();
    for caller in callers {
        assert!(caller.await.expect("no caller panics").is_ok());
    }
    assert_eq!(fake.queries.load(Relaxed), 1);
}

/// One assertion for the whole program: every tag that a write invalidates is carried by a read.
#[test]
fn no_tag_is_misspelt() {
    let problems = catalogue().problems();
    assert!(problems.is_empty(), "{problems}");
}

//! A3, P3, P5: what `close` waits for on a shared backend, and what becomes of a cache whose closing was given up.

mod fleet;

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, Error, ErrorKind, cache_read, cache_write};
use cache_tests::redis::Proxy;
use fleet::{Fleet, LONG, Place, Row, soon, within};
use tokio::time::{sleep, timeout};

const MS: Duration = Duration::from_millis(1);

#[cache_read(key = "row:<id>", cache = at.cache, ttl = "50ms", stale = "60s", timeout = "400ms", skip(at))]
async fn given_up(at: &Arc<Place>, id: u64) -> Result<Row, Error> {
    Ok(at.read(id).await)
}

#[cache_read(key = "row:<id>", cache = at.cache, ttl = "50ms", stale = "60s", skip(at))]
async fn patient(at: &Arc<Place>, id: u64) -> Row {
    at.read(id).await
}

#[cache_write(cache = at.cache, keys = ["row:<id>"])]
async fn write(at: &Place, id: u64) -> Row {
    at.commit(id)
}

impl Fleet {
    /// Loads a row and lets it become stale; its next load will be held.
    async fn stale(&self, id: u64) {
        assert_eq!(patient(&self.a, id).await.version, 0);
        self.source.hold(id, 2, 2);
        sleep(60 * MS).await;
    }

    async fn refreshing(&self, id: u64) {
        soon("the refresh", || self.source.loads(id) == 2).await;
        assert!(self.exists(&self.lease(&format!("row:{id}"))).await, "it has its lease; else this test shows nothing");
    }
}

#[tokio::test]
async fn closing_waits_for_a_refresh_that_begins_while_it_waits_for_another() {
    let fleet = Fleet::new().await;
    fleet.stale(1).await;
    fleet.stale(2).await;
    given_up(&fleet.a, 1).await.unwrap();
    fleet.refreshing(1).await;
    let cache = fleet.a.cache.clone();
    let closing = tokio::spawn(async move { cache.close().await });
    sleep(100 * MS).await;
    assert!(!closing.is_finished());
    assert_eq!(given_up(&fleet.a, 2).await.unwrap().version, 0);
    fleet.refreshing(2).await;
    fleet::ended("closing", closing).await.unwrap();
    assert_eq!(fleet.a.cache.stats().background, 0);
    assert!(!fleet.exists(&fleet.lease("row:2")).await);
}

/// A cache whose readers never rest is closed all the same.
#[tokio::test]
async fn closing_ends_while_refreshes_go_on_beginning() {
    let fleet = Fleet::new().await;
    let a = Arc::clone(&fleet.a);
    fleet.stale(1).await;
    given_up(&a, 1).await.unwrap();
    fleet.refreshing(1).await;
    // Each begins a refresh of its own, which is given up long after the one before it.
    let readers = tokio::spawn(async move {
        for id in 100.. {
            a.source.hold(id, 2, 2);
            let _ = given_up(&a, id).await;
            sleep(60 * MS).await;
            let _ = given_up(&a, id).await;
            sleep(100 * MS).await;
        }
    });
    within("closing", fleet.a.cache.close()).await.unwrap();
    readers.abort();
}

/// What a service does that has so much time to stop and no more, and then is told to go on.
async fn close_given_up(fleet: &Fleet, cache: &Cache) {
    fleet.refreshing(1).await;
    assert!(timeout(100 * MS, cache.close()).await.is_err());
    cache.ping().await.unwrap();
}

#[tokio::test]
async fn background_work_goes_on_where_closing_is_given_up() {
    let fleet = Fleet::new().await;
    fleet.stale(1).await;
    fleet.source.commit(1);
    assert_eq!(patient(&fleet.a, 1).await.version, 0);
    close_given_up(&fleet, &fleet.a.cache).await;
    assert_eq!(fleet.a.cache.stats().background, 1);
    fleet.source.release(1);
    soon("the refresh", || fleet.a.cache.stats().background == 0).await;
    assert_eq!(patient(&fleet.a, 1).await.version, 1, "it was stored");
    within("closing again", fleet.a.cache.close()).await.unwrap();
    assert_eq!(fleet.a.cache.ping().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn invalidations_are_delivered_where_closing_is_given_up() {
    let fleet = Fleet::new().await;
    let proxy = Proxy::start(fleet::server().await.addr());
    let url = format!("redis://{}", proxy.addr());
    let cache = Cache::builder().ignore_env().url(&url).prefix(&fleet.prefix).build().await.unwrap();
    let a = Place::new(cache, &fleet.source);
    fleet.stale(1).await;
    assert_eq!(patient(&a, 1).await.version, 0);
    close_given_up(&fleet, &a.cache).await;
    proxy.refuse();
    proxy.reset_all();
    write(&a, 3).await;
    assert!(a.cache.stats().undelivered > 0, "the server is away; else this test shows nothing");
    proxy.heal();
    within("the delivery", async {
        while a.cache.stats().undelivered > 0 {
            sleep(10 * MS).await;
        }
    })
    .await;
    fleet.source.release(1);
    timeout(LONG, a.cache.close()).await.unwrap().unwrap();
}

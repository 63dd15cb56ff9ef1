//! A3, P2: a refresh in memory that lands while another caller, who has found the old value, is about to begin one. Cloning the
//! value is where that caller stands still: he has found it by then, and has not yet asked who refreshes it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::mpsc;

use cache_runtime::{Cache, cache_read};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::fleet::{LONG, soon};
use super::{On, Source, ms};

thread_local! {
    /// What happens in the middle of this thread's next clone.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Version(u64);

impl Clone for Version {
    fn clone(&self) -> Self {
        if let Some(meanwhile) = MEANWHILE.take() {
            meanwhile();
        }
        Self(self.0)
    }
}

#[cache_read(key = "one", cache = cache, ttl = "100ms", stale = "60s", skip(cache, source))]
async fn one(cache: &Cache, source: &Source) -> Version {
    Version(source.load().await.unwrap())
}

#[cache_read(key = "early", cache = cache, ttl = "60s", early_ttl = "100ms", skip(cache, source))]
async fn early(cache: &Cache, source: &Source) -> Version {
    Version(source.load().await.unwrap())
}

#[cache_read(each(id in ids), key = "many:<id>", cache = cache, ttl = "100ms", stale = "60s", skip(cache, source))]
async fn many(cache: &Cache, source: &Source, ids: Vec<u64>) -> HashMap<u64, Version> {
    let version = source.load().await.unwrap();
    ids.into_iter().map(|id| (id, Version(version))).collect()
}

async fn one_of_many(cache: &Cache, source: &Source) -> Version {
    many(cache, source, vec![1]).await.remove(&1).unwrap()
}

/// Calls `read`, on whose old value another call has a refresh begin and land in the meantime.
async fn refreshed_meanwhile<F: Future<Output = Version> + Send>(
    read: impl Fn(Cache, Source) -> F + Copy + Send + 'static,
) {
    let On { cache, source, .. } = On::new("memory").await;
    assert_eq!(read(cache.clone(), source.clone()).await, Version(0));
    ms(150).await;
    source.set(1);
    let (runtime, (landed, lands)) = (Handle::current(), mpsc::channel());
    MEANWHILE.set(Some(Box::new({
        let (cache, source) = (cache.clone(), source.clone());
        move || {
            runtime.spawn(async move {
                assert_eq!(read(cache.clone(), source).await, Version(0), "it is old");
                soon("the refresh", || cache.stats().background == 0).await;
                landed.send(()).unwrap();
            });
            lands.recv_timeout(LONG).unwrap();
        }
    })));
    assert_eq!(read(cache.clone(), source.clone()).await, Version(0), "what was there when it began");
    assert!(MEANWHILE.take().is_none(), "the value was cloned");
    soon("refreshes", || cache.stats().background == 0).await;
    assert_eq!(source.loads(), 2, "a load and one refresh");
    assert_eq!(read(cache, source).await, Version(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_value_that_was_refreshed_meanwhile_is_not_refreshed_again() {
    refreshed_meanwhile(|cache, source| async move { one(&cache, &source).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_value_that_was_refreshed_meanwhile_is_not_refreshed_again() {
    refreshed_meanwhile(|cache, source| async move { early(&cache, &source).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_element_that_was_refreshed_meanwhile_is_not_refreshed_again() {
    refreshed_meanwhile(|cache, source| async move { one_of_many(&cache, &source).await }).await;
}

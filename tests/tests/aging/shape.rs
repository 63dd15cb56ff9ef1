//! Every kind of function can have these options.

use std::sync::Arc;

use async_trait::async_trait;
use cache_runtime::{Cache, Tenant, cache_read};

use super::fleet::soon;
use super::{Source, ms};

/// A type with methods, which background work clones.
#[derive(Clone)]
struct Repo {
    cache: Cache,
    source: Source,
}

impl Repo {
    #[cache_read(key = "method:<id>", cache = self.cache, ttl = "100ms", stale = "60s", skip(self))]
    pub async fn find(&self, id: &str) -> Option<Arc<String>> {
        let value = self.source.load().await.ok()?;
        Some(Arc::new(format!("{id} {value}")))
    }

    #[cache_read(key = "owned:<id>:<n>", cache = self.cache, ttl = "100ms", stale = "60s", tags = ["n:<n>", "of:<result.0>"], cache_if = |value| value.0 < limit, skip(self, limit))]
    async fn tagged(&self, id: String, n: u8, limit: u64) -> (u64, String) {
        (self.source.load().await.unwrap_or_default(), format!("{id}{n}"))
    }
}

#[async_trait]
trait Find {
    async fn find(&self, id: u64) -> u64;
}

#[async_trait]
impl Find for Repo {
    #[cache_read(key = "trait:<id>", cache = self.cache, ttl = "100ms", early_ttl = "50ms", stale = "60s", skip(self))]
    async fn find(&self, id: u64) -> u64 {
        self.source.load().await.unwrap_or_default() + id
    }
}

#[cache_read(key = "generic:<name>", cache = cache, ttl = "100ms", stale = "60s", skip(cache, source, make, T, F))]
async fn generic<T, F>(cache: &Cache, source: &Source, name: &str, make: F) -> T
where
    T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + cache_runtime::Plain + 'static,
    F: Fn(u64) -> T + Send + Sync + 'static,
{
    make(source.load().await.unwrap_or_default())
}

#[cache_read(key = "list:<ids:len>", ttl = "100ms", stale = "60s", skip(source))]
async fn of_slice(source: Source, ids: &[u64]) -> u64 {
    source.load().await.unwrap_or_default() + ids.iter().sum::<u64>()
}

#[cache_read(key = "auto", ttl = "60s", early_ttl = auto, skip(source))]
async fn adaptive(source: Source) -> u64 {
    source.load().await.unwrap_or_default()
}

#[cache_read(key = "bypassed", ttl = "100ms", stale = "60s", bypass = past, skip(source, past))]
async fn bypassed(source: &Source, past: bool) -> u64 {
    source.load().await.unwrap_or_default()
}

async fn settled(cache: &Cache) {
    soon("the refresh", || cache.stats().background == 0).await;
}

/// A3, N8: methods, traits, generics, slices, absent values, tags of the result, closures over the value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_of_every_form_are_refreshed_in_the_background() {
    let (cache, source) = (Cache::memory(), Source::default());
    let repo = Repo { cache: cache.clone(), source: source.clone() };
    let read = async || {
        let found = Repo::find(&repo, "a").await.map(|text| String::clone(&text));
        let tagged = repo.tagged("b".to_owned(), 1, 100).await;
        let of_trait = Find::find(&repo, 10).await;
        let generic = generic(&cache, &source, "g", |n| n.to_string()).await;
        (found, tagged, of_trait, generic)
    };
    let expected = |n: u64| (Some(format!("a {n}")), (n, "b1".to_owned()), 10 + n, n.to_string());
    assert_eq!(read().await, expected(0));
    source.set(1);
    ms(150).await;
    assert_eq!(read().await, expected(0), "old");
    settled(&cache).await;
    assert_eq!(read().await, expected(1), "refreshed");
    cache.invalidate_tags(["of:1"]).await.unwrap();
    source.set(2);
    assert_eq!(repo.tagged("b".to_owned(), 1, 100).await.0, 2);
}

/// A3, D7: a refresh runs in the cache and as the tenant of the call that began it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_keeps_the_scope_of_its_call() {
    let (cache, source) = (Cache::memory(), Source::default());
    let tenant = Tenant::new("acme").unwrap();
    let read = || cache.scope(tenant.scope(of_slice(source.clone(), &[1, 2])));
    assert_eq!(read().await, 3);
    source.set(10);
    ms(150).await;
    assert_eq!(read().await, 3);
    settled(&cache).await;
    assert_eq!((read().await, source.loads()), (13, 2));
    assert_eq!(cache.scope(of_slice(source.clone(), &[1, 2])).await, 13, "another tenant's is another entry");
    assert_eq!(source.loads(), 3);
}

/// D10: `early_ttl = auto` refreshes by chance: hardly ever long before the expiry of what is cheap to load.
#[tokio::test]
async fn a_cheap_value_is_not_refreshed_long_before_its_expiry() {
    let (cache, source) = (Cache::memory(), Source::default());
    cache
        .scope(async {
            for _ in 0..1_000 {
                adaptive(source.clone()).await;
            }
        })
        .await;
    assert_eq!(source.loads(), 1);
}

#[tokio::test]
async fn bypass_goes_past_old_values() {
    let (cache, source) = (Cache::memory(), Source::default());
    cache
        .scope(async {
            assert_eq!((bypassed(&source, false).await, bypassed(&source, true).await), (0, 0));
            source.set(1);
            assert_eq!((bypassed(&source, false).await, bypassed(&source, true).await), (0, 1));
        })
        .await;
    assert_eq!(source.loads(), 3);
}

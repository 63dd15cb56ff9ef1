//! Batch functions of every form can have these options: methods, traits, slices, sets, lists by position and by field.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_runtime::{Cache, cache_read};

use super::batch::Rows;
use super::fleet::{now, soon};
use super::{Broken, everywhere, ms};

/// A type with methods, which background work clones.
#[derive(Clone)]
struct Repo {
    cache: Cache,
    rows: Rows,
}

impl Repo {
    #[cache_read(each(id in ids), key = "p:<org>:<id>", cache = self.cache, ttl = "100ms", stale = "60s", skip(self))]
    pub async fn by_position(&self, org: &str, ids: &[u64]) -> Result<Vec<Option<Arc<u64>>>, Broken> {
        let _ = org;
        let mut rows = self.rows.load(ids.to_vec()).await?;
        Ok(ids.iter().map(|id| rows.remove(id).map(Arc::new)).collect())
    }

    #[cache_read(each(id in ids), key = "b:<id>", cache = self.cache, ttl = |_| Duration::from_millis(100), stale = "60s",
        tags = ["of:<result.1>", "b:<id>"], by = |row| row.0, cache_if = |row| row.0 < limit, skip(self, limit, more))]
    async fn by_field(&self, mut ids: Vec<u64>, limit: u64, mut more: Vec<u64>) -> Result<Vec<(u64, u64)>, Broken> {
        ids.sort_unstable();
        more.clear();
        Ok(self.rows.load(ids).await?.into_iter().collect())
    }
}

#[async_trait]
trait Find {
    async fn find(&self, names: &BTreeSet<String>, of: &str) -> BTreeMap<String, u64>;
}

#[async_trait]
impl Find for Repo {
    #[cache_read(each(name in names), key = "n:<of>:<name>", cache = self.cache, ttl = "100ms", early_ttl = "50ms", stale = "60s", skip(self))]
    async fn find(&self, names: &BTreeSet<String>, of: &str) -> BTreeMap<String, u64> {
        let version = self.rows.source.load().await.unwrap_or_default();
        names.iter().map(|name| (name.to_string(), version + (name.len() + of.len()) as u64)).collect()
    }
}

/// Patterns, parameters that nobody names, and those that cannot be put together again.
struct Pair {
    left: u64,
    right: u64,
}

impl Clone for Pair {
    fn clone(&self) -> Self {
        Self { left: self.left, right: self.right }
    }
}

#[cache_read(each(id in ids), key = "w:<left>:<of>:<id>", ttl = "100ms", stale = "60s", skip(rows, kind, make, T, F))]
async fn of_patterns<T, F>(
    rows: Rows,
    Pair { left, .. }: Pair,
    (of, _more): (u64, u64),
    _: &str,
    kind: &'static str,
    ids: HashSet<u64>,
    make: F,
) -> HashMap<u64, T>
where
    T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + cache_runtime::Plain + 'static,
    F: Fn(u64) -> T + Clone + Send + Sync + 'static,
{
    let _ = kind;
    let rows = rows.load(ids.into_iter().collect()).await.unwrap_or_default();
    rows.into_iter().map(|(id, row)| (id, make(row + left + of))).collect()
}

#[cache_read(each(id in ids), key = "past:<id>", ttl = "100ms", stale = "60s", timeout = "10s", bypass = past, skip(rows, past))]
async fn bypassed(rows: &Rows, past: bool, ids: Vec<u64>) -> Result<Vec<Option<u64>>, Broken> {
    let found = rows.load(ids.clone()).await?;
    Ok(ids.iter().map(|id| found.get(id).copied()).collect())
}

#[cache_read(each(id in ids), key = "brief:<id>", ttl = "100ms", timeout = "50ms", bypass = past, skip(rows, past))]
async fn bypassed_briefly(rows: &Rows, past: bool, ids: &[u64]) -> Result<Vec<Option<u64>>, Broken> {
    let found = rows.load(ids.to_vec()).await?;
    Ok(ids.iter().map(|id| found.get(id).copied()).collect())
}

async fn settled(cache: &Cache) {
    soon("the refresh", || cache.stats().background == 0).await;
}

/// A3, N8, N12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_functions_of_every_form_are_refreshed_in_the_background() {
    let (cache, rows) = (Cache::memory(), Rows::default());
    let repo = Repo { cache: cache.clone(), rows: rows.clone() };
    let names = BTreeSet::from(["a".to_owned(), "bb".to_owned()]);
    let pair = Pair { left: 1, right: 0 };
    assert_eq!(pair.right, 0);
    let read = async || {
        let position = repo.by_position("acme", &[2, 901, 1, 2]).await.unwrap();
        let position: Vec<Option<u64>> = position.into_iter().map(|row| row.map(|row| *row)).collect();
        let mut field = repo.by_field(vec![2, 1], 100, vec![9]).await.unwrap();
        field.sort_unstable();
        let of_trait = Find::find(&repo, &names, "x").await;
        let patterns = cache
            .scope(of_patterns(rows.clone(), pair.clone(), (10, 0), "", "kind", HashSet::from([1, 2]), |n| {
                n.to_string()
            }))
            .await;
        (position, field, of_trait, patterns.into_iter().collect::<BTreeMap<_, _>>())
    };
    let expected = |n: u64| {
        (
            vec![Some(200 + n), None, Some(100 + n), Some(200 + n)],
            vec![(1, 100 + n), (2, 200 + n)],
            BTreeMap::from([("a".to_owned(), 2 + n), ("bb".to_owned(), 3 + n)]),
            BTreeMap::from([(1, (111 + n).to_string()), (2, (211 + n).to_string())]),
        )
    };
    assert_eq!(read().await, expected(0));
    rows.source.set(1);
    ms(150).await;
    assert_eq!(read().await, expected(0), "old");
    settled(&cache).await;
    assert_eq!(read().await, expected(1), "refreshed");
    rows.source.set(2);
    cache.invalidate_tags(["of:101"]).await.unwrap();
    let mut field = repo.by_field(vec![1, 2], 100, Vec::new()).await.unwrap();
    field.sort_unstable();
    assert_eq!(field, [(1, 102), (2, 201)], "tags of the value that a refresh loaded");
}

/// N8: past the cache there are no old values, and a timeout all the same.
#[tokio::test]
async fn bypass_goes_past_old_elements() {
    let (cache, rows) = (Cache::memory(), Rows::default());
    cache
        .scope(async {
            let past = bypassed(&rows, true, vec![2, 1, 2, 901]).await;
            assert_eq!(past, Ok(vec![Some(200), Some(100), Some(200), None]), "as it was asked");
            assert_eq!(bypassed(&rows, false, vec![1]).await, Ok(vec![Some(100)]));
            rows.source.set(1);
            assert_eq!(bypassed(&rows, false, vec![1]).await, Ok(vec![Some(100)]));
            assert_eq!(bypassed(&rows, true, vec![1]).await, Ok(vec![Some(101)]));
            assert_eq!(bypassed_briefly(&rows, true, &[3]).await, Ok(vec![Some(301)]));
            rows.source.slow(5_000);
            let late = bypassed_briefly(&rows, true, &[3]).await;
            assert_eq!(late, Err(Broken::Cache(cache_runtime::ErrorKind::Timeout)));
            assert_eq!(
                (bypassed::stats().bypassed, bypassed_briefly::stats().bypassed, rows.source.loads()),
                (2, 2, 5)
            );
        })
        .await;
}

#[cache_read(each(name in names), key = "lower:<name:lower>", cache = cache, ttl = "100ms", stale = "60s", skip(cache, rows))]
async fn by_lower_name(cache: &Cache, rows: &Rows, names: &[&'static str]) -> Vec<Option<u64>> {
    let version = rows.source.load().await.unwrap_or_default();
    names.iter().map(|name| Some(version + name.len() as u64)).collect()
}

#[cache_read(each(name in names), key = "lowered:<name:lower>", cache = cache, skip(cache, rows))]
async fn by_lower_name_once(cache: &Cache, rows: &Rows, names: &[&'static str]) -> Vec<Option<u64>> {
    let version = rows.source.load().await.unwrap_or_default();
    names.iter().map(|name| Some(version + name.len() as u64)).collect()
}

everywhere! {
    /// N12: elements that meet on one key do not wait for each other.
    async fn elements_that_share_a_key_do_not_wait_for_each_other(on: &On) {
        let (cache, rows) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        let began = now();
        for names in [["a", "A", "b"], ["A", "b", "a"]] {
            assert_eq!(by_lower_name_once(cache, &rows, &names).await, [Some(1), Some(1), Some(1)]);
            assert_eq!(by_lower_name(cache, &rows, &names).await, [Some(1), Some(1), Some(1)]);
        }
        ms(150).await;
        assert_eq!(by_lower_name(cache, &rows, &["a", "A", "b"]).await, [Some(1), Some(1), Some(1)]);
        settled(cache).await;
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }
}

#[cache_read(each(id in ids), key = "of:<id>", cache = cache, on_error = fail, skip(cache, rows))]
async fn or_fail(cache: &Cache, rows: &Rows, ids: Vec<u64>) -> Result<HashMap<u64, u64>, Broken> {
    rows.load(ids).await
}

#[cache_read(each(id in ids), key = "ofa:<id>", cache = cache, ttl = "100ms", stale = "60s", on_error = fail, skip(cache, rows))]
async fn or_fail_aged(cache: &Cache, rows: &Rows, ids: Vec<u64>) -> Result<HashMap<u64, u64>, Broken> {
    rows.load(ids).await
}

#[cache_read(each(id in ids), key = "ol:<id>", cache = cache, ttl = "100ms", stale = "60s", skip(cache, rows))]
async fn or_load(cache: &Cache, rows: &Rows, ids: Vec<u64>) -> Result<HashMap<u64, u64>, Broken> {
    rows.load(ids).await
}

/// N12, P4: a batch function follows `on_error` where its server is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_follows_on_error_where_its_server_is_away() {
    let server = cache_tests::redis::Server::start().await;
    let url = server.url();
    let cache =
        Cache::builder().ignore_env().url(&url).connect_timeout(Duration::from_millis(300)).build().await.unwrap();
    let rows = Rows::default();
    or_fail(&cache, &rows, vec![1]).await.unwrap();
    or_fail_aged(&cache, &rows, vec![1]).await.unwrap();
    or_load(&cache, &rows, vec![1]).await.unwrap();
    server.kill();
    let loads = rows.source.loads();
    let failed = Err(Broken::Cache(cache_runtime::ErrorKind::Unavailable));
    assert_eq!(or_fail(&cache, &rows, vec![1, 2]).await, failed);
    assert_eq!(or_fail_aged(&cache, &rows, vec![1, 2]).await, failed);
    assert_eq!(rows.source.loads(), loads, "the body did not run");
    assert_eq!(or_load(&cache, &rows, vec![1, 2]).await, Ok(HashMap::from([(1, 100), (2, 200)])));
    assert_eq!(rows.source.loads(), loads + 1);
}

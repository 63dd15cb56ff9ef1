//! Options over arguments and results, and caches that are handed in.

use super::example::user;
use super::*;

fn labels(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| format!("label:{name}")).collect()
}

#[cache_read(
    key = ("row", id),
    tags = ["rows", labels(names), format!("by:{by}"), user(*result)],
    namespace = "tenant:<by>",
    ttl = |value| if *value > 5 { std::time::Duration::from_secs(60) } else { std::time::Duration::from_secs(1) },
    cache_if = |value| *value != 13,
    unless = is_secret,
    bypass = by == "nobody",
    jitter = "10%",
    ttl_none = "0s",
    version = 2,
    wait = "1s",
    skip(count, names, by)
)]
async fn row(count: &Source, id: u64, names: Vec<String>, by: &str) -> Option<u64> {
    let _ = by;
    drop(names);
    if id == 0 { None } else { Some(id + count.next() * 0) }
}

fn is_secret(value: &u64) -> bool {
    *value == 14
}

#[cache_write(
    tags = [format!("label:{}", names[0]), labels(names)],
    keys = ["row:<id>", key!("row:<id>"), "row:<result>"],
    namespaces = ["tenant:<by>", String::from("x")],
    patterns = ["row:<id>:*", format!("{by}*")],
    recache = [row(count, id, vec![], by), row(count, *result, names, &format!("{by}{}", result))],
    recache_concurrency = 2,
    before = true
)]
async fn write_row(count: &mut Source, id: u64, names: Vec<String>, by: &str) -> Result<u64, DbError> {
    drop(names);
    if by.is_empty() {
        return Err(DbError("nobody"));
    }
    *count.0.get_mut() += 1;
    Ok(id)
}

#[cache_write(tags = ["rows"], recache = [row(&count, id, Vec::new(), by), row(&count, *result, Vec::new(), &name)], recache_mode = background)]
async fn write_later(count: Arc<Source>, id: u64, by: &str, name: String) -> Result<u64, DbError> {
    let _ = (by, name, count);
    Ok(id)
}

#[cache_write(put = "put:<id>", tags = ["puts"])]
async fn put_by_key(id: u64) -> u64 {
    id * 2
}

#[cache_read(key = "put:<id>")]
async fn read_put(id: u64) -> u64 {
    id
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Renamed {
    id: u64,
}

#[cache_read(key = "renamed:<id>")]
async fn read_renamed(id: u64) -> Option<Arc<Renamed>> {
    let _ = id;
    None
}

#[cache_write(put = read_renamed(result.id))]
async fn put_renamed(id: u64) -> Result<Renamed, DbError> {
    Ok(Renamed { id })
}

/// A2 A5 B2 D4 E6: everything that can be said of tags, ttl, invalidation and recaching.
#[tokio::test]
async fn options_over_arguments_and_results() {
    in_test_cache(async {
        let mut count = Source::default();
        let names = || vec!["n".to_owned()];
        assert_eq!(row(&count, 1, names(), "a").await, Some(1));
        assert_eq!(row(&count, 1, names(), "a").await, Some(1));
        assert_eq!(count.next(), 2);
        assert_eq!(row(&count, 0, names(), "a").await, None);
        assert_eq!(row(&count, 13, names(), "a").await, Some(13));
        assert_eq!(row(&count, 14, names(), "a").await, Some(14));
        assert_eq!(row(&count, 20, names(), "nobody").await, Some(20));
        assert_eq!(row::peek(13, "a").await.unwrap(), None);
        assert_eq!(row::peek(14, "a").await.unwrap(), None);
        assert_eq!(row::peek(20, "a").await.unwrap(), None);
        row::put(5, 20, names(), "a").await.unwrap();
        assert_eq!(row(&count, 20, names(), "a").await, Some(5));

        assert_send(write_row(&mut count, 1, names(), "a")).await.unwrap();
        assert_eq!(write_row(&mut count, 1, names(), "").await, Err(DbError("nobody")));
        write_later(Arc::new(count), 1, "a", "b".to_owned()).await.unwrap();

        put_by_key(3).await;
        assert_eq!(read_put(3).await, 6);
        put_renamed(3).await.unwrap();
        assert_eq!(read_renamed(3).await.unwrap().id, 3);
        assert_eq!(read_renamed(4).await.map(|r| r.id), None);
    })
    .await;
}

struct Service {
    cache: cache_runtime::Cache,
}

impl Service {
    #[cache_read(key = "service:<id>", cache = self.cache, skip(self))]
    pub async fn get(&self, id: u64) -> u64 {
        id
    }

    #[cache_write(keys = ["service:<id>"], cache = self.cache)]
    pub async fn drop_it(&self, id: u64) {
        let _ = id;
    }
}

#[cache_read(key = "given:<id>", cache = cache, skip(cache))]
async fn given(cache: &cache_runtime::Cache, id: u64) -> u64 {
    id
}

/// D7: the cache is a field or a parameter.
#[tokio::test]
async fn injected_caches() {
    let (one, two) = (cache_runtime::Cache::for_test(), cache_runtime::Cache::for_test());
    let service = Service { cache: (*one).clone() };
    assert_eq!(service.get(1).await, 1);
    service.get_entry(1).put(5).await.unwrap();
    assert_eq!(service.get(1).await, 5);
    service.drop_it(1).await;
    assert_eq!(service.get(1).await, 1);
    given::put(7, &one, 1).await.unwrap();
    assert_eq!(given(&one, 1).await, 7);
    assert_eq!(given(&two, 1).await, 1);
    assert_eq!(given::peek(&one, 1).await.unwrap(), Some(7));
    given::clear(&one).await.unwrap();
    assert_eq!(given(&one, 1).await, 1);
    let _ = given::stats(&one);
}

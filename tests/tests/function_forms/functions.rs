//! Free functions: patterns, generics, borrowed arguments, keys of every form.

use super::*;

type Answer<T> = Result<Option<Arc<T>>, DbError>;

struct Path<T>(T);
struct Pair {
    left: u32,
    right: u32,
}

#[cache_read(key = "alias:<id>")]
async fn alias(Path(id): Path<u64>) -> Answer<User> {
    if id == 0 {
        return Err(DbError("zero"));
    }
    if id == 1 {
        return Ok(None);
    }
    Ok(Some(Arc::new(User { id, org_id: 0, name: String::new() })))
}

#[cache_read(key = "pattern:<left>:<right>:<n>:<flag>", skip(count))]
async fn patterns(count: &Source, Pair { left, right }: Pair, mut n: u64, _: String, &flag: &bool) -> u64
where
    Pair: Sized,
{
    let _ = flag;
    n += count.next();
    n + u64::from(left + right)
}

#[cache_read(key = "generic:<T>:<id>:<N>", skip(loader))]
async fn generic<'a, T, F, const N: usize>(loader: &'a F, id: &'a str) -> Result<Vec<T>, DbError>
where
    T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
    F: Fn(&str) -> T + Sync,
{
    Ok(vec![loader(id); N])
}

#[cache_read(key = "plain:<T>:<id>")]
async fn plain<T>(id: u64) -> T
where
    T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + Default + cache_runtime::Plain + 'static,
{
    let _ = id;
    T::default()
}

#[cache_read(key = "opaque:<id>", skip(load))]
async fn opaque(load: impl Fn() -> u64 + Send + Sync, id: u64) -> u64 {
    id + load()
}

#[cache_read(key = auto, skip(count))]
async fn automatic(count: &Source, region: &str, ids: &[u64], flag: Option<bool>) -> u64 {
    let _ = (region, ids, flag);
    count.next()
}

fn built(id: u64, region: &str) -> String {
    format!("{region}-{id}")
}

#[cache_read(key_with = built)]
async fn computed(id: u64, region: &str) -> u64 {
    let _ = region;
    id
}

#[cache_read(key_with = |id, region| format!("{region}.{id}"))]
async fn computed_by_closure(id: u64, region: String) -> u64 {
    drop(region);
    id
}

#[memoize(capacity = 10, ttl = 60)]
fn fibonacci(n: u64) -> u64 {
    if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

#[cache_read(key = "fact:<n>")]
async fn factorial(n: u64) -> u64 {
    if n == 0 { 1 } else { n * Box::pin(factorial(n - 1)).await }
}

/// A1 D2 E6 E12: free functions of every form.
#[tokio::test]
async fn free_functions() {
    in_test_cache(async {
        assert_eq!(alias(Path(0)).await, Err(DbError("zero")));
        assert_eq!(alias(Path(1)).await, Ok(None));
        assert_eq!(alias(Path(2)).await.unwrap().unwrap().id, 2);
        assert_eq!(alias::peek(Path(2)).await.unwrap().unwrap().id, 2);
        alias::put(User { id: 9, org_id: 9, name: String::new() }, Path(2)).await.unwrap();
        assert_eq!(alias(Path(2)).await.unwrap().unwrap().id, 9);

        let count = Source::default();
        let pair = || Pair { left: 1, right: 2 };
        assert_eq!(patterns(&count, pair(), 5, String::new(), &true).await, 9);
        assert_eq!(patterns(&count, pair(), 5, "other".to_owned(), &true).await, 9);
        assert_eq!(patterns::refresh(&count, pair(), 5, String::new(), &true).await, 10);
        patterns::invalidate(pair(), 5, &true).await.unwrap();

        assert_eq!(generic::<u64, _, 2>(&|id: &str| id.len() as u64, "abc").await.unwrap(), [3, 3]);
        assert_eq!(generic::<u32, _, 3>(&|id: &str| u32::try_from(id.len()).unwrap(), "abc").await.unwrap(), [3, 3, 3]);
        generic::invalidate::<u64, 2>("abc").await.unwrap();
        assert_eq!(plain::<String>(1).await, "");
        assert_eq!(plain::<u64>(1).await, 0);
        assert_eq!(plain::peek::<u64>(1).await.unwrap(), Some(0));
        assert_eq!(opaque(|| 1, 1).await, 2);
        assert_eq!(opaque(|| 5, 1).await, 2);

        assert_eq!(automatic(&count, "eu", &[1, 2], None).await, automatic(&count, "eu", &[1, 2], None).await);
        assert_ne!(automatic(&count, "eu", &[1, 2], None).await, automatic(&count, "eu", &[1, 2], Some(true)).await);
        assert_eq!(automatic::key("eu", &[1, 2], None).as_str().split(':').nth(1), Some("automatic"));
        assert_eq!(computed(3, "eu").await, 3);
        assert_eq!(computed::key(3, "eu").as_str(), "eu-3");
        assert_eq!(computed_by_closure(3, "eu".to_owned()).await, 3);
        assert_eq!(computed_by_closure::key(3, "eu".to_owned()).as_str(), "eu.3");
        assert_eq!(fibonacci(50), 12_586_269_025);
        assert_eq!(fibonacci::key(50).as_str().split(':').next_back(), Some("50"));
        fibonacci::invalidate(50).await.unwrap();
        assert_eq!(fibonacci::peek(50).await.unwrap(), None);
        fibonacci::put(7, 50).await.unwrap();
        assert_eq!(fibonacci(50), 7);
        assert_eq!(fibonacci::bypass(50), 12_586_269_025);
        assert_eq!(fibonacci::refresh(50), 12_586_269_025);
        assert_eq!(factorial(5).await, 120);
        assert!(assert_send(factorial(6)).await == 720);

        #[cache_read(key = "inner:<n>")]
        async fn inner(n: u64) -> u64 {
            n + 1
        }
        assert_eq!(inner(1).await, 2);
        inner::invalidate(1).await.unwrap();
    })
    .await;
}

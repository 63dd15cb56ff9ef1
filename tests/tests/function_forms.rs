//! Every form of function that an attribute can stand on, as a program that runs: what is cached, what the verbs reach,
//! and that the function keeps its signature.
#![deny(warnings)]
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a test program")]
#![allow(
    clippy::multiple_bound_locations,
    clippy::needless_lifetimes,
    clippy::needless_question_mark,
    clippy::let_and_return,
    clippy::erasing_op,
    reason = "forms that users write"
)]
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cache_runtime::{cache_read, cache_write, key, memoize, resource};

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct User {
    pub id: u64,
    pub org_id: u64,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DbError(&'static str);

#[derive(Default)]
pub struct Db {
    queries: AtomicU64,
    names: parking_lot::Mutex<std::collections::HashMap<u64, String>>,
}

impl Db {
    async fn user(&self, id: u64) -> Result<User, DbError> {
        self.queries.fetch_add(1, Relaxed);
        tokio::task::yield_now().await;
        if id == 0 {
            return Err(DbError("no user"));
        }
        let name = self.names.lock().get(&id).cloned().unwrap_or_else(|| format!("user {id}"));
        Ok(User { id, org_id: id / 10, name })
    }

    fn queries(&self) -> u64 {
        self.queries.load(Relaxed)
    }
}

mod api {
    //! The program at the head of the public surface.
    use super::*;

    #[cache_read(key = "user:<user_id>", ttl = "5m", tags = ["user:<user_id>", "org:<result.org_id>"], skip(db))]
    pub async fn get_user(db: &Db, user_id: u64) -> Result<User, DbError> {
        db.user(user_id).await
    }

    #[cache_write(tags = ["user:<user_id>"], recache = [get_user(db, user_id)])]
    pub async fn rename_user(db: &Db, user_id: u64, name: String) -> Result<User, DbError> {
        db.names.lock().insert(user_id, name.clone());
        Ok(User { id: user_id, org_id: user_id / 10, name })
    }

    #[derive(Clone, Copy, cache_runtime::KeyPart)]
    pub enum Period {
        Day,
        #[allow(dead_code)]
        Week,
    }

    #[memoize(ttl = "60s")]
    pub async fn report(period: Period, region: &str) -> String {
        format!("{} in {region}", matches!(period, Period::Day))
    }
}

/// A1 A4 A5 N11: the first example, with every verb.
#[tokio::test]
async fn the_first_example() {
    let cache = cache_runtime::Cache::for_test();
    cache
        .scope(async {
            use api::{get_user, rename_user};
            let db = Db::default();
            let user = get_user(&db, 42).await.unwrap();
            assert_eq!(get_user(&db, 42).await.unwrap(), user);
            assert_eq!(db.queries(), 1);
            rename_user(&db, 42, "Grace".to_owned()).await.unwrap();
            assert_eq!(db.queries(), 2);
            assert_eq!(get_user(&db, 42).await.unwrap().name, "Grace");
            assert_eq!(db.queries(), 2);

            assert_eq!(get_user::key(42).as_str(), "user:42");
            assert_eq!(get_user::peek(42).await.unwrap().unwrap().name, "Grace");
            get_user::invalidate(42).await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            get_user::put(&user, 42).await.unwrap();
            assert_eq!(get_user(&db, 42).await.unwrap().name, "user 42");
            assert_eq!(get_user::refresh(&db, 42).await.unwrap().name, "Grace");
            assert_eq!(get_user::bypass(&db, 42).await.unwrap().name, "Grace");
            get_user::clear().await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            let ids = vec![1, 2, 3];
            get_user::warm(ids, |id| (&db, id)).concurrency(2).await;
            assert!(get_user::peek(3).await.unwrap().is_some());
            let _ = get_user::stats();
            assert_eq!(key!("user:<id>", id = 42).as_str(), "user:42");

            assert_eq!(api::report(api::Period::Day, "eu").await, "true in eu");
        })
        .await;
}

resource! { pub user("user", user_id: u64); }

#[cache_read(resource = user(user_id), suffix = "profile", ttl = "5m", lock = true)]
async fn get_profile(user_id: u64) -> Result<Arc<User>, DbError> {
    Ok(Arc::new(User { id: user_id, org_id: 1, name: "profile".to_owned() }))
}

#[cache_write(resource = user(user_id), recache = [get_profile(user_id)])]
async fn update_user(user_id: u64, data: User) -> Result<User, DbError> {
    Ok(User { id: user_id, ..data })
}

#[cache_write(tags = [user(result.id), "users"])]
async fn create_user(data: User) -> Result<User, DbError> {
    Ok(data)
}

/// A6: resources as keys and tags.
#[tokio::test]
async fn resources() {
    let cache = cache_runtime::Cache::for_test();
    cache
        .clone()
        .scope(async {
            let first = get_profile(42).await.unwrap();
            assert!(Arc::ptr_eq(&first, &get_profile(42).await.unwrap()));
            assert_eq!(get_profile::key(42).as_str(), "user:profile:42");
            assert_eq!(user(42).suffix("profile"), get_profile::key(42));
            assert_eq!(user(42).suffix("profile").template(), get_profile::key(42).template());
            create_user(User { id: 42, org_id: 1, name: String::new() }).await.unwrap();
            let second = get_profile(42).await.unwrap();
            assert!(!Arc::ptr_eq(&first, &second));
            update_user(42, User { id: 1, org_id: 1, name: String::new() }).await.unwrap();
            cache.invalidate(user(42)).await.unwrap();
            assert_eq!(get_profile::peek(42).await.unwrap(), None);
        })
        .await;
}

/// Counts what reaches the source.
#[derive(Default)]
struct Source(AtomicU64);

impl Source {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Relaxed) + 1
    }
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

async fn in_test_cache<F: Future>(work: F) -> F::Output {
    cache_runtime::Cache::for_test().scope(work).await
}

struct Repo {
    shard: u32,
    source: Source,
}

impl Repo {
    /// A method with a companion.
    #[cache_read(key = "repo:<self.shard>:<id>", tags = ["shard:<self.shard>", "row:<result>"])]
    pub async fn load(&self, id: u64) -> u64 {
        id * 1000 + self.source.next()
    }

    /// A method whose arguments are borrowed, owned, generic and patterns.
    #[cache_read(key = "find:<self.shard>:<name>:<b>:<T>", skip(self, extra, _a))]
    pub(crate) async fn find<'a, T: Default + Send>(
        &self,
        name: &'a str,
        (_a, b): (u32, u32),
        extra: T,
    ) -> Result<Option<u64>, DbError>
    where
        T: Clone,
    {
        let _: T = extra;
        if name.is_empty() {
            return Ok(None);
        }
        Ok(Some(u64::from(b) + self.source.next()))
    }

    #[cache_write(tags = ["shard:<self.shard>"], recache = [self.load(id)])]
    async fn touch(&self, id: u64) -> Result<(), DbError> {
        let _ = id;
        Ok(())
    }

    #[cache_read(key = "static:<id>", companion = method)]
    async fn of_type(id: u64) -> u64 {
        id + 1
    }

    #[memoize(skip(self))]
    fn square(&self, n: u64) -> u64 {
        self.source.next();
        n * n
    }

    #[memoize(skip(self))]
    pub fn cube(&self, n: u64) -> Option<u64> {
        self.source.next();
        Some(n.checked_mul(n)?.checked_mul(n)?)
    }

    #[cache_write(put = self.load(id))]
    async fn overwrite(&self, id: u64, value: u64) -> u64 {
        let _ = id;
        value
    }
}

/// D3: methods, `self` in keys, and the functions beside them.
#[tokio::test]
async fn inherent_methods() {
    in_test_cache(async {
        let (one, two) = (Repo { shard: 1, source: Source::default() }, Repo { shard: 2, source: Source::default() });
        assert_eq!(assert_send(one.load(7)).await, 7001);
        assert_eq!(one.load(7).await, 7001);
        assert_eq!(two.load(7).await, 7001);
        assert_eq!(one.load_refresh(7).await, 7002);
        assert_eq!(one.load(7).await, 7002);
        one.touch(7).await.unwrap();
        assert_eq!(one.load_entry(7).peek().await.unwrap(), Some(7003));
        one.load_entry(7).put(1).await.unwrap();
        assert_eq!(one.load(7).await, 1);
        one.touch(7).await.unwrap();
        assert_eq!(one.load(7).await, 7004);
        one.load_entry(7).invalidate().await.unwrap();
        assert_eq!(one.load(7).await, 7005);
        assert_eq!(one.load_entry(7).key().as_str(), "repo:1:7");
        one.overwrite(7, 99).await;
        assert_eq!(one.load(7).await, 99);

        assert_eq!(one.find("a", (1, 2), 5u8).await.unwrap(), Some(8));
        assert_eq!(one.find("a", (9, 2), 6u8).await.unwrap(), Some(8));
        assert_eq!(one.find("a", (9, 2), 6u16).await.unwrap(), Some(9));
        assert_eq!(one.find("", (9, 2), 6u16).await.unwrap(), None);
        assert_eq!(Repo::of_type(1).await, 2);
        assert_eq!(Repo::of_type_refresh(1).await, 2);
        assert_eq!(Repo::of_type_entry(1).key().as_str(), "static:1");
        let before = one.source.next();
        assert_eq!((one.square(4), one.square(4)), (16, 16));
        assert_eq!((one.cube(4), one.cube(4)), (Some(64), Some(64)));
        assert_eq!(one.source.next(), before + 3);
    })
    .await;
}

trait Store {
    fn shard(&self) -> u32;

    async fn read(&self, id: u64) -> Result<u64, DbError>;

    /// A default method.
    #[cache_read(key = ("store", self.shard(), id))]
    async fn read_twice(&self, id: u64) -> Result<u64, DbError>
    where
        Self: Sized,
    {
        Ok(self.read(id).await? * 2)
    }
}

#[async_trait::async_trait]
trait BoxedStore: Send + Sync {
    async fn above(&self, id: u64) -> Result<u64, DbError>;
    async fn below(&self, id: Wrapper, mut times: u64) -> Result<u64, DbError>;
    async fn write(&self, id: u64, name: String) -> Result<u64, DbError>;
}

#[derive(Clone, Copy)]
struct Wrapper(u64);

impl Store for Repo {
    fn shard(&self) -> u32 {
        self.shard
    }

    #[cache_read(key = "native:<self.shard>:<id>")]
    async fn read(&self, id: u64) -> Result<u64, DbError> {
        if id == 0 {
            return Err(DbError("zero"));
        }
        let n = self.source.next();
        Ok(n)
    }
}

#[async_trait::async_trait]
impl BoxedStore for Repo {
    #[cache_read(key = "above:<self.shard>:<id>")]
    async fn above(&self, id: u64) -> Result<u64, DbError> {
        if id == 0 {
            Err(DbError("zero"))?;
        }
        Ok(self.source.next())
    }

    #[cache_read(key = ("below", self.shard, id, times))]
    async fn below(&self, Wrapper(id): Wrapper, mut times: u64) -> Result<u64, DbError> {
        times += 1;
        Ok(id * times + self.source.next())
    }

    #[cache_write(tags = ["above:<self.shard>:<id>", format!("named:{name}")], recache = [Self::of_type(id)])]
    async fn write(&self, id: u64, name: String) -> Result<u64, DbError> {
        drop(name);
        Ok(id)
    }
}

/// A1: trait methods, native and boxed.
#[tokio::test]
async fn trait_methods() {
    in_test_cache(async {
        let repo = Repo { shard: 1, source: Source::default() };
        assert_eq!(repo.read(5).await, Ok(1));
        assert_eq!(repo.read(5).await, Ok(1));
        assert_eq!(repo.read(0).await, Err(DbError("zero")));
        assert_eq!(repo.read(0).await, Err(DbError("zero")));
        assert_eq!(repo.read_twice(5).await, Ok(2));

        let boxed: Arc<dyn BoxedStore> = Arc::new(repo);
        let first = boxed.above(5).await.unwrap();
        assert_eq!(boxed.above(5).await, Ok(first));
        assert_eq!(boxed.above(0).await, Err(DbError("zero")));
        let below = boxed.below(Wrapper(3), 1).await;
        assert_eq!(boxed.below(Wrapper(3), 1).await, below);
        assert_ne!(boxed.below(Wrapper(3), 2).await, below);
        boxed.write(5, "x".to_owned()).await.unwrap();
        assert_ne!(boxed.above(5).await, Ok(first));
    })
    .await;
}

mod expanded_first {
    //! `#[async_trait]` expands before our attribute where it stands above it on the method's own `impl`; the form that
    //! it leaves behind is written out here.
    use super::*;
    use std::pin::Pin;

    pub trait Boxed {
        fn get<'life0, 'async_trait>(
            &'life0 self,
            __arg1: Wrapper,
            n: u64,
        ) -> Pin<Box<dyn Future<Output = Result<u64, DbError>> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait;
    }

    impl Boxed for Repo {
        #[cache_read(key = "boxed:<self.shard>:<id>:<n>")]
        fn get<'life0, 'async_trait>(
            &'life0 self,
            __arg1: Wrapper,
            n: u64,
        ) -> Pin<Box<dyn Future<Output = Result<u64, DbError>> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async move {
                if let ::core::option::Option::Some(__ret) = ::core::option::Option::None::<Result<u64, DbError>> {
                    #[allow(unreachable_code)]
                    return __ret;
                }
                let __self = self;
                let Wrapper(id) = {
                    let __arg1 = __arg1;
                    __arg1
                };
                let n = n;
                let __ret: Result<u64, DbError> = { Ok(id + n + __self.source.next()) };
                #[allow(unreachable_code)]
                __ret
            })
        }
    }
}

/// A1: below `#[async_trait]`, after it expanded.
#[tokio::test]
async fn boxed_futures_are_seen_through() {
    use expanded_first::Boxed as _;
    in_test_cache(async {
        let repo = Repo { shard: 1, source: Source::default() };
        assert_eq!(repo.get(Wrapper(10), 5).await, Ok(16));
        assert_eq!(repo.get(Wrapper(10), 5).await, Ok(16));
        assert_eq!(repo.get(Wrapper(10), 6).await, Ok(18));
    })
    .await;
}

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

mod hygiene {
    //! Names that the expansion could use itself.
    use super::{DbError, cache_read, cache_write, memoize};

    #[cache_read(
        key = "names:<at>:<key>:<load>:<shape>:<w>:<t>:<value>:<mode>:<done>:<fake>",
        tags = ["x:<result>", format!("{at}{done}")],
        bypass = load == 77,
        skip(runnable)
    )]
    #[allow(clippy::too_many_arguments)]
    async fn names(
        at: u64,
        key: u64,
        load: u64,
        shape: u64,
        w: u64,
        t: u64,
        value: u64,
        mode: u64,
        done: u64,
        fake: u64,
        runnable: String,
    ) -> u64 {
        let _ = runnable;
        at + key + load + shape + w + t + value + mode + done + fake
    }

    #[cache_write(tags = ["x:<at>:<w>", "y:<result>:<write>"], recache = [names(at, *result, write, 1, w, t, value, 1, done, fake, String::new())])]
    #[allow(clippy::too_many_arguments)]
    async fn written(
        at: u64,
        write: u64,
        w: u64,
        t: u64,
        value: u64,
        done: u64,
        fake: u64,
        captured: String,
    ) -> Result<u64, DbError> {
        drop(captured);
        let _ = (w, t, value, done, fake, write);
        Ok(at)
    }

    #[memoize(key = "raw:<r#type>:<bypass>")]
    fn r#match(r#type: &str, bypass: u64) -> String {
        format!("{}{bypass}", r#type)
    }

    macro_rules! reader {
        ($name:ident, $arg:ident, $template:literal) => {
            #[cache_read(key = $template, tags = [format!("t:{}", result), tag_of($arg, result)])]
            async fn $name($arg: u64, hidden: u64) -> u64 {
                $arg + hidden
            }
        };
    }
    reader!(from_macro, id, "macro:<id>:<hidden>");

    fn tag_of(id: u64, value: &u64) -> String {
        format!("{id}{value}")
    }

    /// B6: nothing of the expansion meets a name of the user's.
    #[tokio::test]
    async fn no_name_clashes() {
        super::in_test_cache(async {
            assert_eq!(names(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, String::new()).await, 10);
            assert_eq!(written(1, 1, 1, 1, 1, 1, 1, String::new()).await, Ok(1));
            assert_eq!(r#match("a", 1), "a1");
            assert_eq!(r#match::key("a", 1).as_str(), "raw:a:1");
            assert_eq!(from_macro(1, 2).await, 3);
            from_macro::invalidate(1, 2).await.unwrap();
        })
        .await;
    }
}

mod batch {
    //! C3 N12: `each`.
    use super::{DbError, Source, User, cache_read, user};
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    #[cache_read(key = "batch:<id>", tags = [user(id), "name:<result.name>"], each(id in ids), skip(calls))]
    async fn users(calls: &Source, ids: Vec<u64>) -> Result<HashMap<u64, User>, DbError> {
        calls.next();
        Ok(ids.into_iter().filter(|id| *id != 0).map(|id| (id, User { id, org_id: 0, name: String::new() })).collect())
    }

    #[cache_read(key = ("slice", id), each(id in ids))]
    async fn slice(ids: &[u64]) -> Vec<Option<u64>> {
        ids.iter().map(|id| id.checked_sub(1)).collect()
    }

    #[cache_read(resource = user(id), suffix = "batch", each(id in ids), by = |user| user.id)]
    async fn listed(ids: BTreeSet<u64>) -> Result<Vec<User>, DbError> {
        Ok(ids.into_iter().map(|id| User { id, org_id: 0, name: String::new() }).collect())
    }

    #[cache_read(key = auto, each(id in ids))]
    async fn ordered(ids: &BTreeSet<String>) -> BTreeMap<String, u64> {
        ids.iter().map(|id| (id.clone(), id.len() as u64)).collect()
    }

    /// C3 N12: the body sees the missing elements only.
    #[tokio::test]
    async fn only_missing_elements_are_loaded() {
        super::in_test_cache(async {
            let calls = Source::default();
            assert_eq!(super::assert_send(users(&calls, vec![1, 2, 0])).await.unwrap().len(), 2);
            assert_eq!(users(&calls, vec![1, 2]).await.unwrap().len(), 2);
            assert_eq!(calls.next(), 2);
            assert_eq!(users::key(1).as_str(), "batch:1");
            assert_eq!(users::peek(1).await.unwrap().unwrap().id, 1);
            users::put(User { id: 1, org_id: 5, name: String::new() }, 1).await.unwrap();
            assert_eq!(users(&calls, vec![1]).await.unwrap()[&1].org_id, 5);
            slice::put(5, 9).await.unwrap();
            assert_eq!(slice(&[9]).await, [Some(5)]);
            listed::invalidate(4).await.unwrap();
            assert_eq!(ordered::peek("a".to_owned()).await.unwrap(), None);
            users::invalidate(1).await.unwrap();
            assert_eq!(users(&calls, vec![1, 2]).await.unwrap().len(), 2);
            assert_eq!(calls.next(), 4);
            assert_eq!(slice(&[1, 0, 3]).await, [Some(0), None, Some(2)]);
            assert_eq!(listed([3, 4].into()).await.unwrap().len(), 2);
            assert_eq!(ordered(&["a".to_owned(), "bc".to_owned()].into()).await["bc"], 2);
        })
        .await;
    }
}

mod corners {
    //! Forms that an expansion could trip over.
    use super::{DbError, Source, assert_send, cache_read, cache_write, memoize};
    use std::collections::HashMap;
    use std::sync::Arc;

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub struct Item {
        id: u64,
    }

    impl Item {
        /// `Self` in the return type.
        #[cache_read(key = "item:<id>", companion = method)]
        pub async fn load(id: u64) -> Result<Option<Self>, DbError> {
            Ok(Some(Self { id }))
        }
    }

    pub struct Typed<T> {
        value: T,
    }

    impl<T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static> Typed<T> {
        /// A type parameter of the `impl`.
        #[cache_read(key = "typed:<id>", skip(self))]
        pub async fn load(&self, id: u64) -> Result<Vec<T>, DbError> {
            let _ = id;
            Ok(vec![self.value.clone()])
        }
    }

    pub trait Calc {
        fn twice(&self, n: u64) -> u64;
        async fn many(&mut self, ids: Vec<u64>) -> HashMap<u64, u64>;
        async fn add(&mut self, id: u64, name: String) -> Result<u64, DbError>;
        async fn sum<'a>(&self, ids: &'a [u64], by: &'a str) -> u64;
    }

    pub struct Sums {
        calls: u64,
    }

    impl Sums {
        #[cache_read(key = "sums:<id>", skip(self))]
        pub async fn one(&self, id: u64) -> u64 {
            id + self.calls
        }
    }

    impl Calc for Sums {
        #[memoize(skip(self), cache_if = |value| *value < 100)]
        fn twice(&self, n: u64) -> u64 {
            if n == 0 {
                return 0;
            }
            n * 2
        }

        #[cache_read(key = "many:<id>", each(id in ids), skip(self), bypass = self.calls > 100)]
        async fn many(&mut self, ids: Vec<u64>) -> HashMap<u64, u64> {
            self.calls += 1;
            ids.into_iter().map(|id| (id, id + 1)).collect()
        }

        #[cache_write(tags = ["sums:<id>", "x:<self.calls>:<result>"], recache = [self.one(id), self.one(name.len() as u64)])]
        async fn add(&mut self, id: u64, name: String) -> Result<u64, DbError> {
            drop(name);
            self.calls += id;
            Ok(id)
        }

        #[cache_read(key = "sum:<ids>:<by>", skip(self), bypass = by == "all")]
        async fn sum<'a>(&self, ids: &'a [u64], by: &'a str) -> u64 {
            let _ = by;
            ids.iter().sum()
        }
    }

    pub trait Load: Sync {
        fn get(&self, id: u64) -> u64;
    }

    impl Load for Source {
        fn get(&self, id: u64) -> u64 {
            self.next() + id
        }
    }

    #[cache_read(key = "dyn:<id>", skip(db, _hint))]
    async fn dynamic(db: &dyn Load, #[allow(unused)] _hint: Option<&'_ str>, id: u64) -> u64 {
        db.get(id)
    }

    #[cache_read(key = "constant")]
    async fn constant() -> u64 {
        7
    }

    #[cache_read(key = "array:<xs>", skip(T))]
    async fn array<T, const N: usize>(xs: [T; N]) -> u64
    where
        T: cache_runtime::KeyPart + Send + Sync,
    {
        let _ = xs;
        N as u64
    }

    /// Both attributes on one function: the read is outside.
    #[cache_read(key = "both:<id>")]
    #[cache_write(tags = ["both-written"])]
    async fn both(id: u64) -> Result<u64, DbError> {
        Ok(id)
    }

    #[cache_read(key = "hosts:<host:lower>:<body:hash>:<body:len>:<0:upper>:<at:display>")]
    async fn modifiers(host: &str, body: Vec<u8>, at: f64) -> u64 {
        let _ = (host, at);
        body.len() as u64
    }

    #[cache_read(key = "nobody:<id>")]
    async fn diverges(id: u64) -> Result<u64, DbError> {
        if id > 0 {
            return Err(DbError("always"));
        }
        unreachable!()
    }

    fn by_hand(id: u64) -> std::pin::Pin<Box<dyn Future<Output = u64> + Send>> {
        boxed(id)
    }

    #[cache_read(key = "by-hand:<id>")]
    fn boxed(id: u64) -> std::pin::Pin<Box<dyn Future<Output = u64> + Send>> {
        Box::pin(async move { if id == 0 { 0 } else { by_hand(id - 1).await + 1 } })
    }

    #[cache_read(key = "maybe:<id>", ttl_none = "0s")]
    async fn maybe(id: u64) -> Option<Arc<String>> {
        (id > 0).then(|| Arc::new("x".to_owned()))
    }

    /// A1: all of them run, and their futures are `Send` where the body's is.
    #[tokio::test]
    async fn corner_forms() {
        super::in_test_cache(async {
            assert_eq!(Item::load(1).await.unwrap().unwrap().id, 1);
            assert_eq!(Item::load_entry(1).peek().await.unwrap().unwrap().id, 1);
            let typed = Typed { value: 3u64 };
            assert_eq!(assert_send(typed.load(1)).await.unwrap(), [3]);
            typed.load_entry(1).put(vec![4]).await.unwrap();
            assert_eq!(typed.load(1).await.unwrap(), [4]);
            let mut sums = Sums { calls: 0 };
            assert_eq!((sums.twice(0), sums.twice(4), sums.twice(4)), (0, 8, 8));
            assert_eq!(sums.many(vec![1, 2]).await[&2], 3);
            assert_eq!(sums.many(vec![1, 2]).await[&2], 3);
            assert_eq!(sums.calls, 1);
            assert_eq!(sums.one(5).await, 6);
            sums.add(5, "abc".to_owned()).await.unwrap();
            assert_eq!(sums.one(5).await, 11);
            assert_eq!(sums.one(3).await, 9);
            assert_eq!(sums.sum(&[1, 2], "x").await, 3);
            assert_eq!(sums.sum(&[1, 2], "all").await, 3);
            let db = Source::default();
            assert_eq!(assert_send(dynamic(&db, None, 1)).await, 2);
            assert_eq!(dynamic(&db, Some("x"), 1).await, 2);
            assert_eq!(dynamic::refresh(&db, None, 1).await, 3);
            dynamic::warm([5u64], |id| (&db as &dyn Load, None, id)).await;
            assert_eq!(constant().await, 7);
            constant::invalidate().await.unwrap();
            assert_eq!(array([1u64, 2]).await, 2);
            assert_eq!(array([1u64, 2, 3]).await, 3);
            assert_eq!(both(3).await, Ok(3));
            assert_eq!(modifiers("HOST", vec![1], 1.5).await, 1);
            assert_eq!(diverges(1).await, Err(DbError("always")));
            assert_eq!(boxed(5).await, 5);
            assert_eq!(boxed::refresh(5).await, 5);
            assert_eq!(maybe(0).await, None);
            assert_eq!(maybe(1).await.as_deref().map(String::as_str), Some("x"));
        })
        .await;
    }
}

mod failing {
    //! `on_error = fail`.
    use super::{cache_read, cache_write};

    #[derive(Debug, Clone)]
    struct Failure;

    impl From<cache_runtime::Error> for Failure {
        fn from(_: cache_runtime::Error) -> Self {
            Self
        }
    }

    #[cache_read(key = "failing:<id>", on_error = fail)]
    async fn read(id: u64) -> Result<Option<u64>, Failure> {
        Ok(Some(id))
    }

    #[cache_write(tags = ["failing:<id>"], put = read(id), on_error = fail)]
    async fn write(id: u64) -> Result<u64, Failure> {
        Ok(id + 1)
    }

    /// P4: where the error can be carried, the forms compile and work.
    #[tokio::test]
    async fn functions_that_can_fail() {
        super::in_test_cache(async {
            assert_eq!(read(1).await.unwrap(), Some(1));
            write(1).await.unwrap();
            assert_eq!(read(1).await.unwrap(), Some(2));
        })
        .await;
    }
}

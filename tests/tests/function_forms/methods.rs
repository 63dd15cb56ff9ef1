//! Methods: inherent, of traits, and below `#[async_trait]`.

use super::*;

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

trait Sides {
    fn sides(&self) -> u64;

    #[memoize(skip(self))]
    fn around(&self, length: u64) -> u64 {
        self.sides() * length
    }
}

struct Triangle;
struct Square;

impl Sides for Triangle {
    fn sides(&self) -> u64 {
        3
    }
}

impl Sides for Square {
    fn sides(&self) -> u64 {
        4
    }
}

struct Of<T>(std::marker::PhantomData<T>);

impl<T> Of<T> {
    #[memoize(skip(self))]
    fn name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    #[memoize(companion = method)]
    fn static_name(n: u64) -> String {
        format!("{}{n}", std::any::type_name::<T>())
    }
}

/// P8: a generated key names the type as well, since one body may serve several.
#[tokio::test]
async fn one_body_for_several_types() {
    in_test_cache(async {
        for _ in 0..2 {
            assert_eq!((Triangle.around(2), Square.around(2)), (6, 8));
            assert_eq!((Of::<u8>(Default::default()).name(), Of::<u16>(Default::default()).name()), ("u8", "u16"));
            assert_eq!((Of::<u8>::static_name(1), Of::<u16>::static_name(1)), ("u81".to_owned(), "u161".to_owned()));
        }
    })
    .await;
}

//! Which cache a function uses, what it does where that fails, and bodies of unusual kinds.

use cache_runtime::{Cache, ErrorKind, cache_read};
use cache_tests::{Failed, Row, Source};

mod placed {
    use super::*;

    #[derive(Debug, PartialEq)]
    pub(crate) enum ApiError {
        Cache(ErrorKind),
        Source,
    }

    impl From<cache_runtime::Error> for ApiError {
        fn from(error: cache_runtime::Error) -> Self {
            Self::Cache(error.kind())
        }
    }

    pub(crate) struct Service {
        pub(crate) cache: Cache,
        pub(crate) db: Source,
    }

    impl Service {
        #[cache_read(key = "service:<id>", cache = self.cache, skip(self))]
        pub(crate) async fn row(&self, id: u64) -> Row {
            self.db.row(id).await
        }
    }

    #[cache_read(key = "injected:<id>", cache = cache, skip(cache, db))]
    pub(crate) async fn injected(cache: &Cache, db: &Source, id: u64) -> Row {
        let _ = cache;
        db.row(id).await
    }

    #[cache_read(key = "placed:load:<id>", skip(db), on_error = load)]
    pub(crate) async fn or_load(db: &Source, id: u64) -> Result<Row, Failed> {
        db.load(id).await
    }

    #[cache_read(key = "placed:fail:<id>", skip(db), on_error = fail)]
    pub(crate) async fn or_fail(db: &Source, id: u64) -> Result<Row, ApiError> {
        db.load(id).await.map_err(|_| ApiError::Source)
    }

    #[cache_read(key = "placed:version:<id>", version = 2, skip(db))]
    pub(crate) async fn second(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }

    #[cache_read(key = "placed:version:<id>", skip(db))]
    pub(crate) async fn first(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
}

/// D7: a function uses the cache that it is given, as a field or a parameter, and not the ambient one.
#[tokio::test]
async fn a_cache_can_be_injected() {
    let (ambient, other) = (Cache::for_test(), Cache::for_test());
    ambient
        .scope(async {
            let service = placed::Service { cache: other.cache().clone(), db: Source::new() };
            service.row(1).await;
            service.row(1).await;
            placed::injected(&other, &service.db, 2).await;
            placed::injected(&other, &service.db, 2).await;
            assert_eq!(service.db.loads(), 2);
            placed::injected(&ambient, &service.db, 2).await;
            assert_eq!(service.db.loads(), 3);
            assert_eq!(other.get::<Row>("service:1").await.unwrap(), Some(Row::fresh(1)));
            assert_eq!(ambient.get::<Row>("service:1").await.unwrap(), None);
            other.invalidate("injected:2").await.unwrap();
            placed::injected(&other, &service.db, 2).await;
            placed::injected(&ambient, &service.db, 2).await;
            assert_eq!(service.db.loads(), 4);
        })
        .await;
}

/// D2 P9: while the store fails, a function calls its source every time, and that is counted.
#[tokio::test]
async fn a_failing_store_is_a_miss_and_is_counted() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            placed::or_load(&db, 1).await.unwrap();
            cache.set_failing(true);
            placed::or_load(&db, 1).await.unwrap();
            placed::or_load(&db, 1).await.unwrap();
            assert_eq!(db.loads(), 3);
            cache.set_failing(false);
            placed::or_load(&db, 1).await.unwrap();
            assert_eq!(db.loads(), 3);
            assert_eq!(placed::or_load::stats().degraded, 2);
        })
        .await;
}

/// D2: with `on_error = fail` the cache's failure is the function's, and the source is not asked.
#[tokio::test]
async fn a_failing_store_is_an_error_where_asked() {
    use placed::ApiError;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            cache.set_failing(true);
            assert_eq!(placed::or_fail(&db, 1).await, Err(ApiError::Cache(ErrorKind::Unavailable)));
            assert_eq!(db.loads(), 0);
            assert_eq!(placed::or_fail::stats().degraded, 1);
            cache.set_failing(false);
            db.set_failing(true);
            assert_eq!(placed::or_fail(&db, 1).await, Err(ApiError::Source));
            db.set_failing(false);
            assert_eq!(placed::or_fail(&db, 1).await, Ok(Row::fresh(1)));
            assert_eq!(placed::or_fail(&db, 1).await, Ok(Row::fresh(1)));
            assert_eq!(db.loads(), 2);
        })
        .await;
}

/// E11: another `version` of one template never reads the other's values.
#[tokio::test]
async fn a_version_keeps_schemas_apart() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(placed::first(&db, 1).await, 1);
            assert_eq!(placed::second(&db, 1).await, 2);
            assert_eq!(placed::second(&db, 1).await, 2);
            assert_eq!(placed::first(&db, 1).await, 3, "the newer version took the key");
        })
        .await;
}

/// A1: a body that is not `Send` can be cached on a runtime with one thread.
#[tokio::test]
async fn a_body_need_not_be_send() {
    #[cache_read(key = "local:<id>", skip(db))]
    async fn local(db: &Source, id: u64) -> Row {
        let held = std::rc::Rc::new(std::cell::Cell::new(id));
        let row = db.row(held.get()).await;
        held.set(0);
        row
    }
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            local(&db, 1).await;
            local(&db, 1).await;
            local::refresh(&db, 1).await;
            assert_eq!(db.loads(), 2);
        })
        .await;
}

/// A1: an exclusive reference may be skipped, and functions may use one another.
#[tokio::test]
async fn cached_functions_nest() {
    struct Connection<'d>(&'d Source);

    #[cache_read(key = "conn:row:<id>", tags = ["rows"], skip(conn))]
    async fn row(conn: &mut Connection<'_>, id: u64) -> Result<Row, Failed> {
        conn.0.load(id).await
    }

    #[cache_read(key = "conn:pair:<a>:<b>", skip(conn))]
    async fn pair(conn: &mut Connection<'_>, a: u64, b: u64) -> Result<(Row, Row), Failed> {
        Ok((row(conn, a).await?, row(conn, b).await?))
    }

    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let mut conn = Connection(&db);
            pair(&mut conn, 1, 2).await.unwrap();
            pair(&mut conn, 2, 1).await.unwrap();
            assert_eq!(db.loads(), 2);
            db.set_failing(true);
            pair(&mut conn, 1, 3).await.unwrap_err();
            db.set_failing(false);
            assert_eq!(pair(&mut conn, 1, 3).await.unwrap().1.id, 3);
        })
        .await;
}

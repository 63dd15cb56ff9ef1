//! Which cache a write tells, and what it does where that fails.

use cache_runtime::{Cache, ErrorKind, cache_write};
use cache_tests::{Row, Source};

use super::reads::{get_profile, get_user};

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

    #[cache_write(tags = ["user:<id>"], on_error = fail)]
    pub(crate) async fn or_fail(db: &Source, id: u64) -> Result<Row, ApiError> {
        db.load(id).await.map_err(|_| ApiError::Source)
    }

    #[cache_write(tags = ["user:<id>"], cache = cache, recache = [get_user(db, id)])]
    pub(crate) async fn injected(cache: &Cache, db: &Source, id: u64) -> Row {
        let _ = cache;
        db.write(id, "injected")
    }
}

/// P9: a cache that cannot be told does not keep a write from happening, and is counted.
#[tokio::test]
async fn a_write_happens_although_the_store_fails() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            cache.set_failing(true);
            assert_eq!(crate::dropped::functions::rename(&db, 1, "x").await.name, "x");
            assert_eq!(crate::recache::recached::simple(&db, 1, "y".to_owned()).await.unwrap().name, "y");
            cache.set_failing(false);
            assert!(cache.stats().degraded >= 2, "{:?}", cache.stats());
        })
        .await;
}

/// D2: with `on_error = fail` a write returns that the cache could not be told.
#[tokio::test]
async fn a_write_fails_with_the_store_where_asked() {
    use placed::ApiError;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            cache.set_failing(true);
            assert_eq!(placed::or_fail(&db, 1).await, Err(ApiError::Cache(ErrorKind::Unavailable)));
            cache.set_failing(false);
            assert_eq!(placed::or_fail(&db, 1).await, Ok(Row::fresh(1)));
            db.set_failing(true);
            assert_eq!(placed::or_fail(&db, 1).await, Err(ApiError::Source));
        })
        .await;
}

/// D7: a write invalidates the cache that it is given.
#[tokio::test]
async fn a_write_uses_an_injected_cache() {
    let (ambient, other, db) = (Cache::for_test(), Cache::for_test(), Source::new());
    ambient
        .scope(async {
            get_profile(&db, 1).await;
            other.set("x", 1_u64).tags(["user:1"]).await.unwrap();
            placed::injected(&other, &db, 1).await;
            assert_eq!(other.get::<u64>("x").await.unwrap(), None);
            assert!(get_profile::peek(1).await.unwrap().is_some(), "the ambient one was not told");
        })
        .await;
}

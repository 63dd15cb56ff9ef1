//! What is stored and what is not: absent values, failures, conditions, bypass.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, cache_read};
use cache_tests::{Broken, Failed, Row, Source};

const SECOND: Duration = Duration::from_secs(1);

mod functions {
    use super::*;

    #[cache_read(key = "none:like:<id>", ttl = "10s", skip(db))]
    pub(crate) async fn none_like_a_value(db: &Source, id: u64) -> Option<Row> {
        db.find(id).await
    }

    #[cache_read(key = "none:short:<id>", ttl = "10s", ttl_none = "2s", skip(db))]
    pub(crate) async fn none_for_two_seconds(db: &Source, id: u64) -> Result<Option<Row>, Broken> {
        db.try_find(id).await
    }

    #[cache_read(key = "none:never:<id>", ttl_none = "0s", skip(db))]
    pub(crate) async fn none_never(db: &Source, id: u64) -> Option<Arc<Row>> {
        db.find(id).await.map(Arc::new)
    }

    #[cache_read(key = "err:never:<id>", skip(db))]
    pub(crate) async fn err_never(db: &Source, id: u64) -> Result<Row, Failed> {
        db.load(id).await
    }

    #[cache_read(key = "err:kept:<id>", ttl = "10s", ttl_err = "2s", skip(db))]
    pub(crate) async fn err_for_two_seconds(db: &Source, id: u64) -> Result<Option<Row>, Broken> {
        db.try_find(id).await
    }

    #[cache_read(key = "err:zero:<id>", ttl = "10s", ttl_err = "0s", skip(db))]
    pub(crate) async fn err_for_no_time(db: &Source, id: u64) -> Result<Option<Row>, Broken> {
        db.try_find(id).await
    }

    #[cache_read(key = "if:<id>", cache_if = |row| row.version >= least, skip(db, least))]
    pub(crate) async fn from_version(db: &Source, id: u64, least: u64) -> Result<Row, Failed> {
        let _ = least;
        db.load(id).await
    }

    #[cache_read(key = "unless:<id>", unless = |row| row.org_id == 0, skip(db))]
    pub(crate) async fn not_of_admins(db: &Source, id: u64) -> Option<Arc<Row>> {
        db.find(id).await.map(Arc::new)
    }

    #[cache_read(key = "bypass:<id>", bypass = preview || id == 0, skip(db, preview))]
    pub(crate) async fn unless_preview(db: &Source, id: u64, preview: bool) -> u64 {
        let _ = (id, preview);
        db.tick()
    }
}

/// C2: an absent value is kept like any other unless asked otherwise.
#[tokio::test]
async fn an_absent_value_is_kept_like_any_other() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            db.remove(1);
            assert_eq!(functions::none_like_a_value(&db, 1).await, None);
            db.write(1, "back");
            cache.advance(9 * SECOND);
            assert_eq!(functions::none_like_a_value(&db, 1).await, None);
            cache.advance(SECOND);
            assert_eq!(functions::none_like_a_value(&db, 1).await.unwrap().name, "back");
            assert_eq!(db.loads(), 2);
        })
        .await;
}

/// C2: `ttl_none` keeps an absent value for another time, or not at all.
#[tokio::test]
async fn an_absent_value_is_kept_as_long_as_asked() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            db.remove(1);
            functions::none_for_two_seconds(&db, 1).await.unwrap();
            cache.advance(SECOND);
            functions::none_for_two_seconds(&db, 1).await.unwrap();
            assert_eq!(db.loads(), 1);
            cache.advance(SECOND);
            functions::none_for_two_seconds(&db, 1).await.unwrap();
            assert_eq!(db.loads(), 2);
            functions::none_for_two_seconds(&db, 2).await.unwrap();
            cache.advance(9 * SECOND);
            assert!(functions::none_for_two_seconds(&db, 2).await.unwrap().is_some());
            assert_eq!(db.loads(), 3, "a value that is there has the function's ttl");

            functions::none_never(&db, 1).await;
            functions::none_never(&db, 1).await;
            assert_eq!(db.loads(), 5);
            functions::none_never(&db, 2).await.unwrap();
            functions::none_never(&db, 2).await.unwrap();
            assert_eq!(db.loads(), 6);
        })
        .await;
}

/// D2: an `Err` is returned unchanged and never kept.
#[tokio::test]
async fn a_failure_is_not_cached() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            db.set_failing(true);
            assert_eq!(functions::err_never(&db, 1).await, Err(Failed));
            assert_eq!(functions::err_never(&db, 1).await, Err(Failed));
            assert_eq!(db.loads(), 2);
            assert_eq!(cache.stats().entries, 0);
            db.set_failing(false);
            assert_eq!(functions::err_never(&db, 1).await, Ok(Row::fresh(1)));
            db.set_failing(true);
            assert_eq!(functions::err_never(&db, 1).await, Ok(Row::fresh(1)));
            assert_eq!(db.loads(), 3);
        })
        .await;
}

/// C2: `ttl_err` keeps an `Err` for a while, and zero does not.
#[tokio::test]
async fn a_failure_is_kept_as_long_as_asked() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            db.set_failing(true);
            assert_eq!(functions::err_for_two_seconds(&db, 1).await, Err(Broken(1)));
            cache.advance(SECOND);
            assert_eq!(functions::err_for_two_seconds(&db, 1).await, Err(Broken(1)));
            cache.advance(SECOND);
            assert_eq!(functions::err_for_two_seconds(&db, 1).await, Err(Broken(3 - 1)));
            db.set_failing(false);
            cache.invalidate("err:kept:1").await.unwrap();
            assert_eq!(functions::err_for_two_seconds(&db, 1).await, Ok(Some(Row::fresh(1))), "it can be invalidated");
            db.set_failing(true);
            assert!(functions::err_for_no_time(&db, 1).await.is_err());
            db.set_failing(false);
            assert!(functions::err_for_no_time(&db, 1).await.is_ok());
        })
        .await;
}

/// D2: `cache_if` and `unless` look at the value; what is not stored is returned all the same.
#[tokio::test]
async fn a_value_may_decide_whether_it_is_stored() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(functions::from_version(&db, 1, 2).await, Ok(Row::fresh(1)));
            assert_eq!(functions::from_version(&db, 1, 2).await, Ok(Row::fresh(1)));
            assert_eq!(db.loads(), 2);
            db.write(1, "second");
            assert_eq!(functions::from_version(&db, 1, 2).await.unwrap().version, 2);
            assert_eq!(functions::from_version(&db, 1, 2).await.unwrap().version, 2);
            assert_eq!(db.loads(), 3);

            assert!(functions::not_of_admins(&db, 5).await.is_some());
            assert!(functions::not_of_admins(&db, 5).await.is_some());
            assert_eq!(db.loads(), 5);
            assert!(functions::not_of_admins(&db, 15).await.is_some());
            assert!(functions::not_of_admins(&db, 15).await.is_some());
            assert_eq!(db.loads(), 6);
            assert_eq!(functions::from_version::stats().unstored, 2);
        })
        .await;
}

/// C9: `bypass` neither reads nor stores, and is counted.
#[tokio::test]
async fn bypass_touches_nothing() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(functions::unless_preview(&db, 1, true).await, 1);
            assert_eq!(functions::unless_preview(&db, 1, false).await, 2, "nothing was stored");
            assert_eq!(functions::unless_preview(&db, 1, true).await, 3, "nothing is read");
            assert_eq!(functions::unless_preview(&db, 1, false).await, 2, "nothing was replaced");
            assert_eq!(functions::unless_preview(&db, 0, false).await, 4);
            assert_eq!(functions::unless_preview(&db, 0, false).await, 5);
            assert_eq!(functions::unless_preview::stats().bypassed, 4);
        })
        .await;
}

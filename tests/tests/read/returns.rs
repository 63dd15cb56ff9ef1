//! Return types: told apart by traits, through every alias.

use std::collections::HashMap;
use std::sync::Arc;

use cache_runtime::{Cache, cache_read};
use cache_tests::{Broken, Row, Source};

mod returned {
    use super::*;
    use std::result::Result as Outcome;

    pub(crate) type Fallible<T> = Result<T, Broken>;
    pub(crate) type Nothing<T> = Option<T>;
    pub(crate) type Deep = Outcome<Nothing<Arc<Row>>, Broken>;

    #[cache_read(key = "ret:t", skip(db))]
    pub(crate) async fn plain(db: &Source) -> Row {
        db.row(1).await
    }
    #[cache_read(key = "ret:option", skip(db))]
    pub(crate) async fn option(db: &Source) -> Nothing<Row> {
        db.find(1).await
    }
    #[cache_read(key = "ret:result", skip(db))]
    pub(crate) async fn result(db: &Source) -> Fallible<Row> {
        Ok(db.try_find(1).await?.unwrap())
    }
    #[cache_read(key = "ret:result_option", skip(db))]
    pub(crate) async fn result_option(db: &Source) -> Fallible<Option<Row>> {
        db.try_find(1).await
    }
    #[cache_read(key = "ret:deep", skip(db))]
    pub(crate) async fn deep(db: &Source) -> Deep {
        Ok(db.try_find(1).await?.map(Arc::new))
    }
    #[cache_read(key = "ret:unit", skip(db))]
    pub(crate) async fn unit(db: &Source) {
        db.tick();
    }
    #[cache_read(key = "ret:map", skip(db))]
    pub(crate) async fn map(db: &Source) -> HashMap<String, Vec<Option<u8>>> {
        HashMap::from([(format!("{}", db.tick()), vec![None, Some(1)])])
    }
    #[cache_read(key = "ret:boxed", skip(db))]
    pub(crate) async fn boxed_error(db: &Source) -> Result<Row, Box<dyn std::error::Error + Send + Sync>> {
        Ok(db.load(1).await?)
    }
}

/// A1 C1: every return type that the contract names is stored once and comes back whole, aliases included; no alias
/// hides an `Err` that is then cached.
#[tokio::test]
async fn return_types_are_told_apart_through_aliases() {
    use returned::*;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            db.set_failing(true);
            assert_eq!(result(&db).await, Err(Broken(1)));
            assert_eq!(result_option(&db).await, Err(Broken(2)));
            assert_eq!(deep(&db).await, Err(Broken(3)));
            assert_eq!(boxed_error(&db).await.unwrap_err().to_string(), "the source was told to fail");
            assert_eq!(cache.stats().entries, 0);
            db.set_failing(false);
            for _ in 0..2 {
                assert_eq!(plain(&db).await, Row::fresh(1));
                assert_eq!(option(&db).await, Some(Row::fresh(1)));
                assert_eq!(result(&db).await, Ok(Row::fresh(1)));
                assert_eq!(result_option(&db).await, Ok(Some(Row::fresh(1))));
                assert_eq!(deep(&db).await.unwrap().unwrap().id, 1);
                assert_eq!(boxed_error(&db).await.unwrap().id, 1);
                unit(&db).await;
                assert_eq!(map(&db).await.len(), 1);
                assert_eq!(db.loads(), 4 + 8);
            }
        })
        .await;
}

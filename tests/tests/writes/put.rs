//! Write-through: the result of a write becomes an entry.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, cache_write};
use cache_tests::{Failed, Row, Source};

use super::reads::{find_user, get_list, get_user};

mod functions {
    use super::*;

    #[cache_write(put = get_user(id), patterns = ["list:*"])]
    pub(crate) async fn update(db: &Source, id: u64, name: &str) -> Result<Row, Failed> {
        db.load(id).await?;
        Ok(db.write(id, name))
    }

    #[cache_write(put = "user:<id>")]
    pub(crate) async fn by_key(db: &Source, id: u64, name: &str) -> Row {
        db.write(id, name)
    }

    #[cache_write(put = get_user(result.id), tags = ["users"])]
    pub(crate) async fn create(db: &Source, name: String) -> Result<Option<Arc<Row>>, Failed> {
        if name.is_empty() {
            return Ok(None);
        }
        Ok(Some(Arc::new(db.write(name.len() as u64, &name))))
    }

    #[cache_write(put = "user:<result.id>")]
    pub(crate) async fn create_by_key(db: &Source, name: String) -> Row {
        db.write(name.len() as u64, &name)
    }

    #[cache_write(put = crate::reads::find_user(id), tags = ["user:<id>"])]
    pub(crate) async fn for_another_shape(db: &Source, id: u64, name: &str) -> Row {
        db.write(id, name)
    }

    #[cache_write(put = get_user(id), tags = ["users", "org:<result.org_id>"])]
    pub(crate) async fn slowly(db: &Source, id: u64, meanwhile: impl AsyncFnOnce()) -> Row {
        let row = db.write(id, "slowly");
        meanwhile().await;
        row
    }
}

/// B2: write-through: the result is the entry, patterns are dropped, and no load follows.
#[tokio::test]
async fn a_result_is_written_through() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_list(&db, "a", 1).await;
            let before = db.loads();
            let row = functions::update(&db, 123, "new name").await.unwrap();
            assert_eq!(get_user(&db, 123).await.unwrap(), row);
            assert_eq!(db.loads(), before + 1, "the write's own load only");
            assert_eq!(get_list::peek("a", 1).await.unwrap(), None);
            db.set_failing(true);
            functions::update(&db, 123, "never").await.unwrap_err();
            assert_eq!(get_user::peek(123).await.unwrap(), Some(row), "a failing body stores nothing");
        })
        .await;
}

/// B2: what is written through has the reader's ttl and tags, those of the value included.
#[tokio::test]
async fn a_written_through_entry_has_its_readers_ttl_and_tags() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            functions::update(&db, 42, "a").await.unwrap();
            let left = cache.ttl("user:42").await.unwrap().unwrap().duration().unwrap();
            assert_eq!(left, Duration::from_secs(600));
            cache.invalidate("org:4").await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            functions::update(&db, 42, "b").await.unwrap();
            cache.invalidate("users").await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            functions::update(&db, 42, "c").await.unwrap();
            get_user::clear().await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
        })
        .await;
}

/// B2: `put` by key text: the reader of that template finds it.
#[tokio::test]
async fn a_result_is_written_through_by_key() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let row = functions::by_key(&db, 7, "x").await;
            assert_eq!(get_user(&db, 7).await.unwrap(), row);
            let row = functions::create_by_key(&db, "four".to_owned()).await;
            assert_eq!(row.id, 4);
            assert_eq!(get_user(&db, 4).await.unwrap(), row);
            assert_eq!(cache.get::<Row>("user:4").await.unwrap(), Some(row));
            assert_eq!(db.loads(), 0);
        })
        .await;
}

/// B2: `put` may be named by the result; `None` stores nothing. The writer's own tags do not take the entry away again.
#[tokio::test]
async fn a_result_says_which_entry_it_becomes() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 9).await.unwrap();
            assert_eq!(functions::create(&db, String::new()).await.unwrap(), None);
            assert_eq!(get_user::peek(9).await.unwrap(), None, "the tag was invalidated");
            let row = functions::create(&db, "four".to_owned()).await.unwrap().unwrap();
            assert_eq!(get_user::peek(4).await.unwrap().as_ref(), Some(&*row));
        })
        .await;
}

/// B2: a `Row` fits a reader of `Result<Option<Arc<Row>>, _>`.
#[tokio::test]
async fn a_result_fits_a_reader_of_another_shape() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let row = functions::for_another_shape(&db, 7, "x").await;
            assert_eq!(find_user(&db, 7).await.unwrap().as_deref(), Some(&row));
            assert_eq!(db.loads(), 0);
        })
        .await;
}

/// P1 B2: where somebody else touched the entry or its tags during the body, the result is not stored over that.
#[tokio::test]
async fn a_result_is_not_written_through_over_somebody_elses_change() {
    let (cache, db) = (Cache::for_test(), Source::new());
    let user = || get_user::peek(42);
    cache
        .scope(async {
            functions::slowly(&db, 42, async || ()).await;
            assert_eq!(user().await.unwrap().unwrap().name, "slowly", "nobody interferes");
            functions::slowly(&db, 42, async || cache.invalidate("users").await.unwrap()).await;
            assert_eq!(user().await.unwrap(), None, "its tag was invalidated");
            functions::slowly(&db, 42, async || cache.invalidate("org:4").await.unwrap()).await;
            assert_eq!(user().await.unwrap(), None, "its tag by value was invalidated");
            functions::slowly(&db, 42, async || assert!(!cache.delete("user:42").await.unwrap())).await;
            assert_eq!(user().await.unwrap(), None, "it was deleted");
            functions::slowly(&db, 42, async || get_user::clear().await.unwrap()).await;
            assert_eq!(user().await.unwrap(), None, "its function was cleared");
            functions::slowly(&db, 42, async || cache.clear().await.unwrap()).await;
            assert_eq!(user().await.unwrap(), None, "the cache was cleared");
            functions::slowly(&db, 42, async || drop(functions::slowly(&db, 42, async || ()).await)).await;
            assert_eq!(user().await.unwrap(), None, "two writers, of which nobody knows who was last");
            assert_eq!(get_user(&db, 42).await.unwrap().version, 9);
        })
        .await;
}

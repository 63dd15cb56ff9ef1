//! What a write makes invalid, and when.

use std::sync::Arc;

use cache_runtime::{Cache, cache_write, key};
use cache_tests::{Failed, Row, Source, until};

use super::reads::{find_user, get_list, get_profile, get_user, user};

pub(crate) mod functions {
    use super::*;

    #[cache_write(tags = ["user:<id>"])]
    pub(crate) async fn rename(db: &Source, id: u64, name: &str) -> Row {
        db.write(id, name)
    }

    #[cache_write(tags = ["users"])]
    pub(crate) async fn try_rename(db: &Source, id: u64, name: &str) -> Result<Row, Failed> {
        db.load(id).await?;
        Ok(db.write(id, name))
    }

    #[cache_write(tags = ["user:<id>", "org:<result.org_id>", "users", "gone:<id>"])]
    pub(crate) async fn of_result(db: &Source, id: u64, org: u64) -> Result<Option<Arc<Row>>, Failed> {
        Ok((org > 0).then(|| Arc::new(db.move_to(id, org))))
    }

    pub(crate) fn tags_of(id: u64, name: &str) -> Vec<String> {
        vec![format!("user:{id}"), format!("name:{name}")]
    }

    #[cache_write(tags = [tags_of(id, &name), ids.iter().map(|id| key!("user:<id>"))])]
    pub(crate) async fn dynamic(db: &Source, id: u64, name: String, ids: &[u64]) {
        let _ = ids;
        db.write(id, &name);
        drop(name);
    }

    #[cache_write(tags = [user(result.id), "users"])]
    pub(crate) async fn created(db: &Source, row: Row) -> Result<Row, Failed> {
        Ok(db.write(row.id, &row.name))
    }

    #[cache_write(keys = ["profile:<id>", key!("list:<org>:<page>"), "maybe:<result.id>"])]
    pub(crate) async fn by_keys(db: &Source, id: u64, org: &str, page: u32) -> Row {
        let _ = (org, page);
        db.write(id, "by keys")
    }

    #[cache_write(patterns = ["list:<org>:*"])]
    pub(crate) async fn by_pattern(db: &Source, org: &str) -> u64 {
        let _ = org;
        db.tick()
    }

    #[cache_write(patterns = ["list:*:<page>", format!("profile:{page}?")])]
    pub(crate) async fn by_patterns(db: &Source, page: u32) -> u64 {
        let _ = page;
        db.tick()
    }

    #[cache_write(namespaces = ["lists:<org>", other])]
    pub(crate) async fn by_namespace(org: &str, other: &str) {
        let _ = (org, other);
    }

    #[cache_write(tags = ["user:<id>"], before = true)]
    pub(crate) async fn early(db: &Source, id: u64, fail: bool) -> Result<Row, Failed> {
        let seen = get_profile(db, id).await;
        if fail {
            return Err(Failed);
        }
        db.write(id, &format!("after {}", seen.version));
        Ok(seen)
    }

    #[cache_write(tags = ["taken:<name>", "user:<row.id>"])]
    pub(crate) async fn consuming(db: &Source, name: String, row: Row) -> u64 {
        let consumed = (name, row);
        drop(consumed);
        db.tick()
    }

    #[cache_write(tags = ["user:<id>"], fence = "30s")]
    pub(crate) async fn fenced(db: &Source, id: u64, hold: &tokio::sync::Semaphore) -> Row {
        let row = db.write(id, "fenced");
        hold.acquire().await.expect("never closed").forget();
        row
    }
}

/// A4: a write makes what carries its tags invalid, and nothing else; its result is untouched.
#[tokio::test]
async fn a_write_invalidates_its_tags() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let _ = (get_profile(&db, 1).await, get_profile(&db, 2).await);
            let written = functions::rename(&db, 1, "new").await;
            assert_eq!(written, Row { name: "new".to_owned(), version: 2, ..Row::fresh(1) });
            assert_eq!(get_profile(&db, 1).await, written);
            assert_eq!(get_profile(&db, 2).await, Row::fresh(2));
            assert_eq!(db.loads(), 3, "the other row was not loaded again");
        })
        .await;
}

/// A4 P1: a tag also drops the entry whose key is its text, whatever tags that entry carries.
#[tokio::test]
async fn a_tag_drops_the_entry_of_that_name() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 1).await.unwrap();
            functions::rename(&db, 1, "new").await;
            assert_eq!(get_user(&db, 1).await.unwrap().name, "new");
            let _ = user(1);
        })
        .await;
}

/// A4: a body that fails invalidates nothing; its error is untouched.
#[tokio::test]
async fn a_failing_write_invalidates_nothing() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 1).await.unwrap();
            db.set_failing(true);
            assert_eq!(functions::try_rename(&db, 1, "new").await, Err(Failed));
            get_user(&db, 1).await.expect("still cached");
            db.set_failing(false);
            functions::try_rename(&db, 1, "new").await.unwrap();
            assert_eq!(get_user(&db, 1).await.unwrap().name, "new");
        })
        .await;
}

/// A2 A4: tags of the result see it below `Result`, `Option` and `Arc`, and `None` leaves them out and is a success.
#[tokio::test]
async fn tags_of_the_result_are_invalidated() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            cache.set("carries", 1_u64).tags(["org:7"]).await.unwrap();
            cache.set("other", 2_u64).tags(["gone:42"]).await.unwrap();
            assert_eq!(functions::of_result(&db, 42, 0).await, Ok(None));
            assert_eq!(cache.get::<u64>("carries").await.unwrap(), Some(1));
            assert_eq!(cache.get::<u64>("other").await.unwrap(), None, "`None` is not a failure");
            assert_eq!(functions::of_result(&db, 42, 7).await.unwrap().unwrap().org_id, 7);
            assert_eq!(cache.get::<u64>("carries").await.unwrap(), None);
        })
        .await;
}

/// A2: tags by expression, from borrowed arguments that the body then consumes.
#[tokio::test]
async fn computed_tags_are_invalidated() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for id in 1..=5 {
                get_profile(&db, id).await;
            }
            cache.set("named", 1_u64).tags(["name:x"]).await.unwrap();
            functions::dynamic(&db, 1, "x".to_owned(), &[2, 3]).await;
            assert_eq!(cache.get::<u64>("named").await.unwrap(), None);
            let mut gone = Vec::new();
            for id in 1..=5 {
                if get_profile::peek(id).await.unwrap().is_none() {
                    gone.push(id);
                }
            }
            assert_eq!(gone, [1, 2, 3]);
        })
        .await;
}

/// A6: a resource in `tags`, by a field of the result.
#[tokio::test]
async fn a_resource_of_the_result_is_invalidated() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_profile(&db, 5).await;
            functions::created(&db, Row::fresh(5)).await.unwrap();
            assert_eq!(get_profile(&db, 5).await.version, 2);
        })
        .await;
}

/// D4 B5: `keys` drops single entries, by template, expression and result, and does not touch what merely carries the name as a tag.
#[tokio::test]
async fn a_write_drops_keys() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_profile(&db, 1).await;
            find_user(&db, 1).await.unwrap();
            get_list(&db, "a", 1).await;
            get_list(&db, "a", 2).await;
            cache.set("tagged", 1_u64).tags(["profile:1"]).await.unwrap();
            functions::by_keys(&db, 1, "a", 1).await;
            assert_eq!(get_profile::peek(1).await.unwrap(), None);
            assert_eq!(find_user::peek(1).await.unwrap(), None);
            assert_eq!(get_list::peek("a", 1).await.unwrap(), None);
            assert!(get_list::peek("a", 2).await.unwrap().is_some());
            assert_eq!(cache.get::<u64>("tagged").await.unwrap(), Some(1));
        })
        .await;
}

/// B2 D4: `*` in a pattern is any text.
#[tokio::test]
async fn a_write_drops_what_matches_its_pattern() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for (org, page) in [("a", 1), ("a", 2), ("ab", 1), ("b", 1)] {
                get_list(&db, org, page).await;
            }
            get_profile(&db, 12).await;
            get_profile(&db, 1).await;
            get_profile(&db, 123).await;
            functions::by_pattern(&db, "a").await;
            let keys = || async {
                let mut keys: Vec<String> =
                    cache.keys("*").collect::<Vec<_>>().await.unwrap().iter().map(ToString::to_string).collect();
                keys.sort();
                keys
            };
            assert_eq!(keys().await, ["list:ab:1", "list:b:1", "profile:1", "profile:12", "profile:123"]);
            functions::by_patterns(&db, 1).await;
            assert_eq!(keys().await, ["profile:1", "profile:123"]);
        })
        .await;
}

/// N3 P8: a value in a pattern is text, whatever it looks like.
#[tokio::test]
async fn a_value_cannot_act_as_a_pattern() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let hostile = [
                "*", "?", "[ab]", "a*", "\\", "%", "a:b", "", "{a,b}", "a\n", "[", "]", "\\*", "%2A", "tenant-x", "\0",
                "<org>",
            ];
            for org in hostile.iter().chain(&["a", "b", "ab", "other"]) {
                get_list(&db, org, 1).await;
            }
            let count = || async { cache.keys("list:*").collect::<Vec<_>>().await.unwrap().len() };
            let mut left = hostile.len() + 4;
            assert_eq!(count().await, left, "every one has an entry of its own");
            for org in hostile {
                functions::by_pattern(&db, org).await;
                left -= 1;
                assert_eq!(count().await, left, "{org:?} took more or less than itself");
                assert_eq!(get_list::peek(org, 1).await.unwrap(), None, "{org:?}");
            }
        })
        .await;
}

/// E3: `namespaces` drops whole groups, by template and expression.
#[tokio::test]
async fn a_write_drops_namespaces() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for org in ["a", "b", "c", "d"] {
                get_list(&db, org, 1).await;
            }
            cache.set("grouped", 1_u64).namespace("extra").await.unwrap();
            functions::by_namespace("a", "extra").await;
            functions::by_namespace("b", "lists:c").await;
            let left = cache.keys("*").collect::<Vec<_>>().await.unwrap();
            assert_eq!(left.iter().map(ToString::to_string).collect::<Vec<_>>(), ["list:d:1"]);
        })
        .await;
}

/// D4: `before` invalidates before the body too, even one that then fails, and again after it.
#[tokio::test]
async fn before_invalidates_twice() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_profile(&db, 1).await;
            db.write(1, "changed behind our back");
            assert_eq!(functions::early(&db, 1, true).await, Err(Failed));
            assert_eq!(get_profile(&db, 1).await.version, 2, "a failing body has invalidated before");
            assert_eq!(functions::early(&db, 1, false).await.unwrap().version, 2);
            assert_eq!(get_profile(&db, 1).await.version, 3, "what the body itself read is invalid after it");
        })
        .await;
}

/// A4: arguments that tags name may be consumed by the body.
#[tokio::test]
async fn a_body_may_consume_what_tags_name() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            cache.set("a", 1_u64).tags(["taken:x"]).await.unwrap();
            cache.set("b", 1_u64).tags(["user:7"]).await.unwrap();
            functions::consuming(&db, "x".to_owned(), Row::fresh(7)).await;
            assert_eq!(cache.stats().entries, 0);
        })
        .await;
}

/// P1: while a fenced write runs, readers of its tags go to the source and store nothing.
#[tokio::test]
async fn readers_go_to_the_source_during_a_fenced_write() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let hold = tokio::sync::Semaphore::new(0);
            get_profile(&db, 1).await;
            let reads = async {
                until("the write has begun", || db.loads() > 0 && hold.available_permits() == 0).await;
                tokio::task::yield_now().await;
                assert_eq!(get_profile(&db, 1).await.version, 2);
                assert_eq!(get_profile(&db, 1).await.version, 2);
                assert_eq!(db.loads(), 3, "nothing is kept under a fence");
                hold.add_permits(1);
            };
            tokio::join!(functions::fenced(&db, 1, &hold), reads);
            get_profile(&db, 1).await;
            get_profile(&db, 1).await;
            assert_eq!(db.loads(), 4, "the fence is gone with its writer");
        })
        .await;
}

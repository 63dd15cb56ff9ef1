//! `#[cache_write]` as its user sees it: what becomes invalid and when, what is written through, what is recached.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Cache, ErrorKind, cache_read, cache_write, key, resource};
use cache_tests::{Broken, Failed, Row, Source, until};

/// What writes are watched through: reads of one row under different keys and labels.
mod reads {
    use super::*;

    resource! { pub user("user", id: u64); }

    #[cache_read(key = "user:<id>", ttl = "10m", tags = ["users", "org:<result.org_id>"], skip(db))]
    pub(crate) async fn get_user(db: &Source, id: u64) -> Result<Row, Failed> {
        db.load(id).await
    }

    #[cache_read(key = "profile:<id>", tags = ["user:<id>"], skip(db))]
    pub(crate) async fn get_profile(db: &Source, id: u64) -> Row {
        db.row(id).await
    }

    #[cache_read(key = "list:<org>:<page>", tags = ["lists"], namespace = "lists:<org>", skip(db))]
    pub(crate) async fn get_list(db: &Source, org: &str, page: u32) -> u64 {
        let _ = (org, page);
        db.tick()
    }

    #[cache_read(key = "maybe:<id>", skip(db))]
    pub(crate) async fn find_user(db: &Source, id: u64) -> Result<Option<Arc<Row>>, Broken> {
        Ok(db.try_find(id).await?.map(Arc::new))
    }
}
use reads::{find_user, get_list, get_profile, get_user, user};

// --------------------------------------------------------------------------------------------------------- what is dropped

mod dropped {
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
            (get_profile(&db, 1).await, get_profile(&db, 2).await);
            let written = dropped::rename(&db, 1, "new").await;
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
            dropped::rename(&db, 1, "new").await;
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
            assert_eq!(dropped::try_rename(&db, 1, "new").await, Err(Failed));
            get_user(&db, 1).await.expect("still cached");
            db.set_failing(false);
            dropped::try_rename(&db, 1, "new").await.unwrap();
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
            assert_eq!(dropped::of_result(&db, 42, 0).await, Ok(None));
            assert_eq!(cache.get::<u64>("carries").await.unwrap(), Some(1));
            assert_eq!(cache.get::<u64>("other").await.unwrap(), None, "`None` is not a failure");
            assert_eq!(dropped::of_result(&db, 42, 7).await.unwrap().unwrap().org_id, 7);
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
            dropped::dynamic(&db, 1, "x".to_owned(), &[2, 3]).await;
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
            dropped::created(&db, Row::fresh(5)).await.unwrap();
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
            dropped::by_keys(&db, 1, "a", 1).await;
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
            dropped::by_pattern(&db, "a").await;
            let keys = || async {
                let mut keys: Vec<String> =
                    cache.keys("*").collect::<Vec<_>>().await.unwrap().iter().map(ToString::to_string).collect();
                keys.sort();
                keys
            };
            assert_eq!(keys().await, ["list:ab:1", "list:b:1", "profile:1", "profile:12", "profile:123"]);
            dropped::by_patterns(&db, 1).await;
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
            let hostile = ["*", "?", "[ab]", "a*", "\\", "%", "a:b", "", "{a,b}", "a\n", "[", "]", "\\*", "%2A", "tenant-x", "\0", "<org>"];
            for org in hostile.iter().chain(&["a", "b", "ab", "other"]) {
                get_list(&db, org, 1).await;
            }
            let count = || async { cache.keys("list:*").collect::<Vec<_>>().await.unwrap().len() };
            let mut left = hostile.len() + 4;
            assert_eq!(count().await, left, "every one has an entry of its own");
            for org in hostile {
                dropped::by_pattern(&db, org).await;
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
            dropped::by_namespace("a", "extra").await;
            dropped::by_namespace("b", "lists:c").await;
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
            assert_eq!(dropped::early(&db, 1, true).await, Err(Failed));
            assert_eq!(get_profile(&db, 1).await.version, 2, "a failing body has invalidated before");
            assert_eq!(dropped::early(&db, 1, false).await.unwrap().version, 2);
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
            dropped::consuming(&db, "x".to_owned(), Row::fresh(7)).await;
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
            tokio::join!(dropped::fenced(&db, 1, &hold), reads);
            get_profile(&db, 1).await;
            get_profile(&db, 1).await;
            assert_eq!(db.loads(), 4, "the fence is gone with its writer");
        })
        .await;
}

// ------------------------------------------------------------------------------------------------------- write-through

mod put {
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

    #[cache_write(put = reads::find_user(id), tags = ["user:<id>"])]
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
            let row = put::update(&db, 123, "new name").await.unwrap();
            assert_eq!(get_user(&db, 123).await.unwrap(), row);
            assert_eq!(db.loads(), before + 1, "the write's own load only");
            assert_eq!(get_list::peek("a", 1).await.unwrap(), None);
            db.set_failing(true);
            put::update(&db, 123, "never").await.unwrap_err();
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
            put::update(&db, 42, "a").await.unwrap();
            let left = cache.ttl("user:42").await.unwrap().unwrap().duration().unwrap();
            assert_eq!(left, Duration::from_secs(600));
            cache.invalidate("org:4").await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            put::update(&db, 42, "b").await.unwrap();
            cache.invalidate("users").await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            put::update(&db, 42, "c").await.unwrap();
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
            let row = put::by_key(&db, 7, "x").await;
            assert_eq!(get_user(&db, 7).await.unwrap(), row);
            let row = put::create_by_key(&db, "four".to_owned()).await;
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
            assert_eq!(put::create(&db, String::new()).await.unwrap(), None);
            assert_eq!(get_user::peek(9).await.unwrap(), None, "the tag was invalidated");
            let row = put::create(&db, "four".to_owned()).await.unwrap().unwrap();
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
            let row = put::for_another_shape(&db, 7, "x").await;
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
            put::slowly(&db, 42, async || ()).await;
            assert_eq!(user().await.unwrap().unwrap().name, "slowly", "nobody interferes");
            put::slowly(&db, 42, async || cache.invalidate("users").await.unwrap()).await;
            assert_eq!(user().await.unwrap(), None, "its tag was invalidated");
            put::slowly(&db, 42, async || cache.invalidate("org:4").await.unwrap()).await;
            assert_eq!(user().await.unwrap(), None, "its tag by value was invalidated");
            put::slowly(&db, 42, async || drop(cache.delete("user:42").await.unwrap())).await;
            assert_eq!(user().await.unwrap(), None, "it was deleted");
            put::slowly(&db, 42, async || get_user::clear().await.unwrap()).await;
            assert_eq!(user().await.unwrap(), None, "its function was cleared");
            put::slowly(&db, 42, async || cache.clear().await.unwrap()).await;
            assert_eq!(user().await.unwrap(), None, "the cache was cleared");
            put::slowly(&db, 42, async || drop(put::slowly(&db, 42, async || ()).await)).await;
            assert_eq!(user().await.unwrap(), None, "two writers, of which nobody knows who was last");
            assert_eq!(get_user(&db, 42).await.unwrap().version, 9);
        })
        .await;
}

// ------------------------------------------------------------------------------------------------------------- recaching

mod recached {
    use super::*;

    #[derive(Clone)]
    pub(crate) struct Service {
        pub(crate) db: Arc<Source>,
        pub(crate) shard: u32,
    }

    impl Service {
        #[cache_read(key = "service:<self.shard>:<id>", tags = ["service:<id>"])]
        pub(crate) async fn row(&self, id: u64) -> Row {
            self.db.row(id).await
        }

        #[cache_read(key = "static:<id>", skip(db), companion = method)]
        pub(crate) async fn of_type(db: &Source, id: u64) -> Row {
            db.row(id).await
        }

        #[cache_write(tags = ["service:<id>", "static:<id>"], recache = [self.row(id), Self::of_type(&self.db, id), Service::of_type(&self.db, id + 1)])]
        pub(crate) async fn rename(&self, id: u64, name: String) -> Row {
            self.db.write(id, &name)
        }

        // F3: does not compile yet.
        #[cfg(any())]
        #[cache_write(tags = ["service:<id>"], recache = [self.row(id)], recache_mode = background)]
        pub(crate) async fn rename_later(&self, id: u64, name: &str) -> Row {
            self.db.write(id, name)
        }
    }

    #[cache_write(tags = ["user:<user_id>"], recache = [get_user(db, user_id)])]
    pub(crate) async fn simple(db: &Source, user_id: u64, name: String) -> Result<Row, Failed> {
        db.load(user_id).await?;
        Ok(db.write(user_id, &name))
    }

    /// Another parameter's name, a constant, an expression, a path, a call of the result.
    #[cache_write(
        tags = ["lists", "users"],
        recache = [get_list(db, company, 1), get_list(db, &company.to_uppercase(), page + 1), reads::get_profile(db, result.id), super::get_user(db, result.org_id)],
    )]
    pub(crate) async fn renamed_and_extra(db: &Source, company: &str, page: u32, id: u64) -> Result<Option<Row>, Failed> {
        let _ = page;
        Ok((id > 0).then(|| db.write(id, company)))
    }

    #[cache_read(key = "generic:<G>:<id>", skip(db))]
    pub(crate) async fn generic<G>(db: &Source, id: u64) -> G
    where
        G: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + From<u8> + cache_runtime::Plain + 'static,
    {
        let _ = id;
        db.tick();
        G::from(7)
    }

    #[cache_write(keys = ["never"], recache = [generic::<u64>(db, id), self::generic::<u32>(db, id)])]
    pub(crate) async fn of_generics(db: &Source, id: u64) {
        let _ = (db, id);
    }

    #[derive(Default)]
    pub(crate) struct Gauge {
        now: AtomicU64,
        pub(crate) most: AtomicU64,
        pub(crate) done: AtomicU64,
    }

    #[cache_read(key = "gauged:<id>", skip(gauge))]
    pub(crate) async fn gauged(gauge: &Gauge, id: u64) -> u64 {
        gauge.most.fetch_max(gauge.now.fetch_add(1, SeqCst) + 1, SeqCst);
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        gauge.now.fetch_sub(1, SeqCst);
        gauge.done.fetch_add(1, SeqCst);
        id
    }

    #[cache_write(
        tags = ["none"],
        recache = [gauged(g, 1), gauged(g, 2), gauged(g, 3), gauged(g, 4), gauged(g, 5), gauged(g, 6), gauged(g, 7), gauged(g, 8)],
    )]
    pub(crate) async fn five_at_once(g: &Gauge) {
        let _ = g;
    }

    #[cache_write(
        tags = ["none"],
        recache = [gauged(g, 1), gauged(g, 2), gauged(g, 3), gauged(g, 4), gauged(g, *result), gauged(g, result + 1)],
        recache_concurrency = 2,
    )]
    pub(crate) async fn two_at_once(g: &Gauge) -> u64 {
        let _ = g;
        5
    }

    #[cache_read(key = "panics:<id>", skip(db))]
    pub(crate) async fn panics(db: &Source, id: u64) -> u64 {
        db.tick();
        panic!("the source of {id} panics")
    }

    #[cache_write(tags = ["users"], recache = [panics(db, id), get_user(db, id), get_profile(db, id)])]
    pub(crate) async fn with_failures(db: &Source, id: u64) -> u64 {
        db.tick();
        id
    }

    #[cache_read(key = "owned:<id>:<name>", skip(db))]
    pub(crate) async fn owned(db: &Arc<Source>, id: u64, name: &str) -> Row {
        let _ = name;
        db.row(id).await
    }

    #[cache_write(tags = ["owned:<id>:<name>"], recache = [owned(db, id, name), owned(db, result.id + 1, &title)], recache_mode = background)]
    pub(crate) async fn in_background(db: &Arc<Source>, id: u64, name: &str, title: String) -> Result<Row, Failed> {
        Ok(db.write(id, &format!("{name} {title}")))
    }
}

/// A5: after the write the new value is in the cache: the next read does not load.
#[tokio::test]
async fn a_write_recaches() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 42).await.unwrap();
            recached::simple(&db, 42, "Grace".to_owned()).await.unwrap();
            let loads = db.loads();
            assert_eq!(get_user::peek(42).await.unwrap().unwrap().name, "Grace");
            assert_eq!(get_user(&db, 42).await.unwrap().name, "Grace");
            assert_eq!(db.loads(), loads);
            assert_eq!(cache.stats().recached, 1);
        })
        .await;
}

/// A5: a failing body recaches nothing.
#[tokio::test]
async fn a_failing_write_recaches_nothing() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            db.set_failing(true);
            recached::simple(&db, 42, "Grace".to_owned()).await.unwrap_err();
            assert_eq!(db.loads(), 1, "only the body's own");
            assert_eq!(cache.stats().recached, 0);
        })
        .await;
}

/// A5: arguments are expressions: other names, constants, parts of the result; what mentions an absent result is left out.
#[tokio::test]
async fn recache_takes_renamed_extra_and_result_arguments() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            recached::renamed_and_extra(&db, "acme", 4, 0).await.unwrap();
            let keys = || async {
                let mut keys: Vec<String> =
                    cache.keys("*").collect::<Vec<_>>().await.unwrap().iter().map(ToString::to_string).collect();
                keys.sort();
                keys
            };
            assert_eq!(keys().await, ["list:ACME:5", "list:acme:1"]);
            recached::renamed_and_extra(&db, "acme", 4, 42).await.unwrap();
            assert_eq!(keys().await, ["list:ACME:5", "list:acme:1", "profile:42", "user:4"]);
            assert_eq!(get_profile::peek(42).await.unwrap().unwrap().name, "acme");
        })
        .await;
}

/// A5 D3: methods and associated functions are recached; `self` and what is skipped are borrowed.
#[tokio::test]
async fn methods_are_recached() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let service = recached::Service { db, shard: 3 };
    cache
        .scope(async {
            service.row(1).await;
            service.rename(1, "x".to_owned()).await;
            let loads = service.db.loads();
            assert_eq!(service.row(1).await.name, "x");
            assert_eq!(recached::Service::of_type(&service.db, 1).await.name, "x");
            assert_eq!(recached::Service::of_type(&service.db, 2).await, Row::fresh(2));
            assert_eq!(service.db.loads(), loads);
        })
        .await;
}

/// A5: generic functions are recached by turbofish, each type its own entry.
#[tokio::test]
async fn generic_functions_are_recached() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            recached::of_generics(&db, 1).await;
            assert_eq!(db.loads(), 2);
            assert_eq!(recached::generic::<u64>(&db, 1).await, 7);
            assert_eq!(recached::generic::<u32>(&db, 1).await, 7);
            assert_eq!(db.loads(), 2);
            assert_eq!(recached::generic::<u16>(&db, 1).await, 7);
            assert_eq!(db.loads(), 3);
        })
        .await;
}

/// A5: at most `recache_concurrency` run at once, by default five, and all of them run.
#[tokio::test]
async fn recaches_run_so_many_at_once() {
    let cache = Cache::for_test();
    cache
        .scope(async {
            let gauge = recached::Gauge::default();
            recached::five_at_once(&gauge).await;
            assert_eq!((gauge.most.load(SeqCst), gauge.done.load(SeqCst)), (5, 8));
            let gauge = recached::Gauge::default();
            recached::two_at_once(&gauge).await;
            assert_eq!((gauge.most.load(SeqCst), gauge.done.load(SeqCst)), (2, 6));
        })
        .await;
}

/// A5 P9: a recache that panics or fails disturbs neither the writer nor the other recaches, and is counted.
#[tokio::test]
async fn a_failing_recache_is_reported_and_not_returned() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 1).await.unwrap();
            db.set_failing(true);
            assert_eq!(recached::with_failures(&db, 1).await, 1);
            assert_eq!(get_profile::peek(1).await.unwrap(), Some(Row::fresh(1)), "the third one came through");
            assert_eq!(get_user::peek(1).await.unwrap(), None, "the second returned `Err`");
            let stats = cache.stats();
            assert_eq!((stats.recached, stats.recache_failures), (1, 2), "one panicked and one failed");
            assert_eq!(stats.flights, 0);
        })
        .await;
}

/// A5: in the background the write does not wait; arguments are owned; `close` waits.
#[tokio::test]
async fn background_recaches_own_their_arguments_and_close_waits_for_them() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    cache
        .scope(async {
            {
                let (name, title) = ("short lived".to_owned(), "title".to_owned());
                let held = db.hold().await;
                let row = recached::in_background(&db, 1, &name, title).await.unwrap();
                assert_eq!(row.version, 2);
                drop(name);
                until("both recaches load", || db.loads() == 2).await;
                assert_eq!(cache.stats().background, 1);
                assert_eq!(recached::owned::peek(1, "short lived").await.unwrap(), None);
                drop(held);
            }
            until("the background is done", || cache.stats().background == 0).await;
            assert_eq!(recached::owned::peek(1, "short lived").await.unwrap().unwrap().version, 2);
            assert_eq!(recached::owned::peek(2, "title").await.unwrap(), Some(Row::fresh(2)));
            assert_eq!(cache.stats().recached, 2);

            let held = db.hold().await;
            recached::in_background(&db, 5, "later", "t".to_owned()).await.unwrap();
            let (done, closed) = (AtomicU64::new(0), async { cache.close().await.unwrap() });
            let wait = async {
                closed.await;
                assert_eq!(done.load(SeqCst), 1, "`close` came back before the recaches");
            };
            let release = async {
                until("the recaches load", || db.loads() == 4).await;
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                done.store(1, SeqCst);
                drop(held);
            };
            tokio::join!(wait, release);
            assert_eq!(cache.stats().recached, 4);
        })
        .await;
}

/// A5 D3: `&self` is cloned for the background.
#[cfg(any())] // F3
#[tokio::test]
async fn a_background_recache_owns_self() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    cache
        .scope(async {
            {
                let service = recached::Service { db: Arc::clone(&db), shard: 1 };
                service.rename_later(5, &"later".to_owned()).await;
            }
            until("the background is done", || cache.stats().background == 0).await;
            assert_eq!(recached::Service { db: Arc::clone(&db), shard: 1 }.row_entry(5).peek().await.unwrap().unwrap().name, "later");
        })
        .await;
}

/// A5 P1: a recache loads after the write although a value is there and an older load is in flight.
#[tokio::test]
async fn a_recache_never_joins_an_older_load() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let held = db.hold().await;
            let old = async { get_user(&db, 42).await.unwrap() };
            let write = async {
                until("the old load runs", || db.loads() == 1).await;
                db.write(42, "new");
                drop(held);
                recached::simple(&db, 42, "newer".to_owned()).await.unwrap();
                assert_eq!(get_user::peek(42).await.unwrap().unwrap().name, "newer");
            };
            let (old, ()) = tokio::join!(old, write);
            assert_eq!(old.version, 1, "who began before the write may see what was there then");
            assert_eq!(get_user(&db, 42).await.unwrap().name, "newer");
        })
        .await;
}

// -------------------------------------------------------------------------------------------- which cache, and if it fails

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
            assert_eq!(dropped::rename(&db, 1, "x").await.name, "x");
            assert_eq!(recached::simple(&db, 1, "y".to_owned()).await.unwrap().name, "y");
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

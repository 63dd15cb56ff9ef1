//! Tags on both sides: what an entry becomes invalid by, what a write makes invalid, puts and loads again.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, Key, cache_read, cache_write, key, resource};
use cache_tests::{Broken, Failed, Row, Source};

resource! { pub(crate) user("user", id: u64); }

#[cache_read(key = "user:<id>", ttl = "10m", tags = ["users", "org:<result.org_id>"], skip(db))]
pub(crate) async fn get_user(db: &Source, id: u64) -> Result<Row, Failed> {
    db.load(id).await
}

#[cache_read(key = "card:<id>", ttl = "10m", tags = ["cards", "row:<id>"], skip(db))]
async fn get_card(db: &Source, id: u64) -> Result<Row, Failed> {
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

/// Calls a function whose tags depend on its value as often as it takes to be stored: on a server the first load of a key may
/// go unstored, the second is stored.
pub(crate) async fn settle<F: Future>(call: impl Fn() -> F) -> F::Output {
    call().await;
    call().await
}

pub(crate) async fn keys(cache: &Cache) -> Vec<Key> {
    let mut keys: Vec<Key> = cache.keys("*").collect().await.unwrap();
    keys.sort();
    keys
}

mod tagged {
    use super::*;

    resource! { pub(crate) team("team", team_id: u64); }

    #[cache_read(key = "rows:<id>", tags = ["rows", "row:<id>", "half:<id.0>"], skip(db))]
    pub(super) async fn templated(db: &Source, id: (u64,)) -> u64 {
        let _ = id;
        db.tick()
    }

    fn tags_of(id: u64, region: &str) -> Vec<String> {
        vec![format!("fn:{id}"), format!("fn:{region}")]
    }

    #[cache_read(
        key = "dynamic:<id>:<region>:<ids>",
        tags = [tags_of(id, region), ids.iter().map(|id| format!("part:{id}")), team(id), ids.first().map(|id| format!("first:{id}"))],
        skip(db)
    )]
    pub(super) async fn dynamic(db: &Source, id: u64, region: &str, ids: &[u64]) -> u64 {
        let _ = (id, region, ids);
        db.tick()
    }

    #[cache_read(key = "found:<id>", tags = ["found", "org:<result.org_id>", "name:<result.name:lower>"], skip(db))]
    pub(super) async fn of_result(db: &Source, id: u64) -> Result<Option<Arc<Row>>, Broken> {
        Ok(db.try_find(id).await?.map(Arc::new))
    }

    #[cache_read(key = "list:<org>", tags = [result.iter().map(|row| format!("row:{}", row.id))], skip(db))]
    pub(super) async fn list(db: &Source, org: u64) -> Vec<Row> {
        vec![db.row(org * 10).await, db.row(org * 10 + 1).await]
    }

    #[cache_read(key = "ns:<team>:<id>", namespace = "team:<team>", skip(db))]
    pub(super) async fn of_team(db: &Source, id: u64, team: &str) -> u64 {
        let _ = (id, team);
        db.tick()
    }

    #[cache_read(key = "usual:<id>", skip(db))]
    pub(super) async fn usual(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
}

#[allow(clippy::module_inception, reason = "the functions that write")]
mod write {
    use super::*;

    #[cache_write(tags = ["user:<id>"])]
    pub(super) async fn rename(db: &Source, id: u64, name: &str) -> Row {
        db.write(id, name)
    }

    #[cache_write(tags = ["users"])]
    pub(super) async fn try_rename(db: &Source, id: u64, name: &str) -> Result<Row, Failed> {
        db.load(id).await?;
        Ok(db.write(id, name))
    }

    #[cache_write(tags = ["user:<id>", "org:<result.org_id>", "gone:<id>"])]
    pub(super) async fn of_result(db: &Source, id: u64, org: u64) -> Result<Option<Arc<Row>>, Failed> {
        Ok((org > 0).then(|| Arc::new(db.move_to(id, org))))
    }

    #[cache_write(tags = [vec![format!("user:{id}"), format!("name:{name}")], ids.iter().map(|id| key!("user:<id>"))])]
    pub(super) async fn dynamic(db: &Source, id: u64, name: String, ids: &[u64]) {
        let _ = ids;
        db.write(id, &name);
        drop(name);
    }

    #[cache_write(tags = [user(result.id), "users"])]
    pub(super) async fn created(db: &Source, row: Row) -> Result<Row, Failed> {
        Ok(db.write(row.id, &row.name))
    }

    #[cache_write(keys = ["profile:<id>", key!("list:<org>:<page>"), "maybe:<result.id>"])]
    pub(super) async fn by_keys(db: &Source, id: u64, org: &str, page: u32) -> Row {
        let _ = (org, page);
        db.write(id, "by keys")
    }

    #[cache_write(patterns = ["list:*:<page>", format!("profile:{page}?")])]
    pub(super) async fn by_patterns(db: &Source, page: u32) -> u64 {
        let _ = page;
        db.tick()
    }

    #[cache_write(namespaces = ["lists:<org>", other])]
    pub(super) async fn by_namespace(org: &str, other: &str) {
        let _ = (org, other);
    }

    #[cache_write(tags = ["user:<id>"], before = true)]
    pub(super) async fn early(db: &Source, id: u64, fail: bool) -> Result<Row, Failed> {
        let seen = get_profile(db, id).await;
        if fail {
            return Err(Failed);
        }
        db.write(id, &format!("after {}", seen.version));
        Ok(seen)
    }

    #[cache_write(tags = ["user:<id>"], cache = cache)]
    pub(super) async fn injected(cache: &Cache, db: &Source, id: u64) -> Row {
        let _ = cache;
        db.write(id, "injected")
    }
}

mod put {
    use super::*;

    #[cache_write(put = get_card(id), patterns = ["list:*"])]
    pub(super) async fn update(db: &Source, id: u64, name: &str) -> Result<Row, Failed> {
        db.load(id).await?;
        Ok(db.write(id, name))
    }

    #[cache_write(put = get_user(id))]
    pub(super) async fn with_result_tags(db: &Source, id: u64, name: &str) -> Row {
        db.write(id, name)
    }

    #[cache_write(put = "maybe:<id>")]
    pub(super) async fn by_key(db: &Source, id: u64, name: &str) -> Row {
        db.write(id, name)
    }

    #[cache_write(put = "maybe:<result.id>")]
    pub(super) async fn by_key_of_result(db: &Source, name: String) -> Row {
        db.write(name.len() as u64, &name)
    }

    #[cache_write(put = find_user(id), tags = ["user:<id>", "maybe:<id>"])]
    pub(super) async fn for_another_shape(db: &Source, id: u64, name: &str) -> Row {
        db.write(id, name)
    }

    #[cache_write(put = get_profile(id), tags = ["user:<id>"])]
    pub(super) async fn with_own_tag(db: &Source, id: u64, name: &str) -> Row {
        db.write(id, name)
    }

    #[cache_write(put = get_user(result.id), tags = ["users"])]
    pub(super) async fn create(db: &Source, name: String) -> Result<Option<Arc<Row>>, Failed> {
        Ok((!name.is_empty()).then(|| Arc::new(db.write(name.len() as u64, &name))))
    }

    #[cache_write(put = find_user(id))]
    pub(super) async fn remove(db: &Source, id: u64) -> Option<Row> {
        db.remove(id);
        None
    }
}

everywhere! {
    /// A2 E4: an invalidated tag takes exactly the entries that carry it; a function without tags has its key.
    async fn a_tag_takes_what_carries_it_and_nothing_else(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let both = async || [tagged::templated(&db, (1,)).await, tagged::templated(&db, (2,)).await];
        assert_eq!(both().await, [1, 2]);
        cache.invalidate("row:1").await.unwrap();
        assert_eq!(both().await, [3, 2]);
        on.other().await.invalidate("half:2").await.unwrap();
        on.heard().await;
        assert_eq!(both().await, [3, 4]);
        cache.invalidate("rows").await.unwrap();
        assert_eq!(both().await, [5, 6]);
        cache.invalidate(["row", "rows:", "row:", "row:<id>", "row:12", "ROWS", "row:1 ", "*"]).await.unwrap();
        assert_eq!(both().await, [5, 6]);
        cache.invalidate("rows:1").await.unwrap();
        assert_eq!(both().await, [7, 6], "its key, whatever its tags");
        assert_eq!([tagged::usual(&db, 1).await, tagged::usual(&db, 2).await], [8, 9]);
        cache.invalidate("usual:1").await.unwrap();
        assert_eq!([tagged::usual(&db, 1).await, tagged::usual(&db, 2).await], [10, 9]);
    }

    /// A2: tags by expression: a function of the arguments, an iterator, a resource, an option.
    async fn tags_may_be_computed(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for (round, tag) in ["fn:7", "fn:eu", "part:3", "part:4", "team:7", "first:3", "key"].into_iter().enumerate() {
            let value = tagged::dynamic(&db, 7, "eu", &[3, 4]).await;
            assert_eq!(value, round as u64 + 1, "before {tag}");
            assert_eq!(tagged::dynamic(&db, 7, "eu", &[3, 4]).await, value);
            match tag {
                "key" => cache.invalidate(tagged::dynamic::key(7, "eu", &[3, 4])).await.unwrap(),
                tag => cache.invalidate(tag).await.unwrap(),
            }
        }
        assert_eq!(tagged::dynamic(&db, 7, "eu", &[3, 4]).await, 8);
    }

    /// A2: tags of the value see it below `Result`, `Option` and `Arc`; where it is absent they are left out.
    async fn tags_may_come_from_the_value(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let load = || async { tagged::of_result(&db, 42).await.unwrap() };
        // How often it loads for one call.
        let loads = async || {
            let before = db.loads();
            settle(load).await;
            let stored = db.loads();
            load().await;
            assert_eq!(db.loads(), stored, "the second load of a key with such tags is stored at the latest");
            stored - before
        };
        assert!(loads().await >= 1);
        cache.invalidate("org:4").await.unwrap();
        assert!(loads().await >= 1);
        on.other().await.invalidate("name:row 42").await.unwrap();
        on.heard().await;
        assert!(loads().await >= 1);
        db.move_to(42, 9);
        cache.invalidate("org:4").await.unwrap();
        assert!(loads().await >= 1);
        assert_eq!(load().await.unwrap().org_id, 9);
        cache.invalidate("org:4").await.unwrap();
        assert_eq!(loads().await, 0, "the entry now belongs to another organisation");
        cache.invalidate("org:9").await.unwrap();
        db.remove(42);
        assert!(loads().await >= 1);
        assert_eq!(load().await, None);
        cache.invalidate(["org:9", "name:moved"]).await.unwrap();
        assert_eq!(loads().await, 0, "an absent value has no tags of a value");
        cache.invalidate("found").await.unwrap();
        assert!(loads().await >= 1, "and those that do not mention it");
    }

    /// A2: an expression over `result` yields one tag for every element of a list.
    async fn a_list_is_tagged_with_its_elements(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        settle(|| tagged::list(&db, 4)).await;
        for (tag, reloads) in [("row:41", true), ("row:42", false), ("row:40", true), ("row:4", false)] {
            cache.invalidate(tag).await.unwrap();
            let before = db.loads();
            settle(|| tagged::list(&db, 4)).await;
            assert_eq!(db.loads() > before, reloads, "{tag}");
        }
    }

    /// E3: a namespace is dropped at once, and only it; it may be named by arguments, or be the cache's default.
    async fn a_namespace_is_dropped_at_once(on: &On) {
        let (cache, db) = (on.with(|builder| builder.namespace("house")).await, Source::new());
        cache
            .scope(async {
                let all = async || {
                    [tagged::usual(&db, 1).await, tagged::of_team(&db, 3, "red").await, tagged::of_team(&db, 4, "blue").await]
                };
                assert_eq!(all().await, [1, 2, 3]);
                cache.invalidate_namespace("team:red").await.unwrap();
                assert_eq!(all().await, [1, 4, 3]);
                cache.invalidate_namespace("house").await.unwrap();
                assert_eq!(all().await, [5, 4, 3]);
                for other in ["team", "team:*", "house:", "team:red:3", "red"] {
                    cache.invalidate_namespace(other).await.unwrap();
                }
                assert_eq!(all().await, [5, 4, 3]);
            })
            .await;
    }

    /// A4 P1: a write makes what carries its tags invalid, the entry of that name too, and nothing else; everywhere.
    async fn a_write_invalidates_its_tags(on: &On) {
        let (there, db) = (on.other().await, Source::new());
        settle(|| get_user(&db, 1)).await.unwrap();
        let _ = (get_profile(&db, 1).await, get_profile(&db, 2).await);
        let loads = db.loads();
        let written = write::rename(&db, 1, "new").await;
        assert_eq!(written, Row { name: "new".to_owned(), version: 2, ..Row::fresh(1) });
        assert_eq!(there.scope(get_profile(&db, 1)).await, written);
        assert_eq!(there.scope(get_user(&db, 1)).await.unwrap(), written, "its key is the tag");
        assert_eq!(get_profile(&db, 2).await, Row::fresh(2));
        assert_eq!(db.loads(), loads + 2, "the other row was not loaded again");
        there.scope(write::rename(&db, 1, "newer")).await;
        assert_eq!(get_profile(&db, 1).await.name, "newer");
    }

    /// A4: a body that fails invalidates nothing; its error is untouched.
    async fn a_failing_write_invalidates_nothing(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        settle(|| get_user(&db, 1)).await.unwrap();
        db.set_failing(true);
        assert_eq!(write::try_rename(&db, 1, "new").await, Err(Failed));
        get_user(&db, 1).await.expect("still cached");
        db.set_failing(false);
        write::try_rename(&db, 1, "new").await.unwrap();
        assert_eq!(get_user(&db, 1).await.unwrap().name, "new");
        assert!(cache.stats().invalidations >= 1);
    }

    /// A2 A4: tags of the result see it below `Result`, `Option` and `Arc`; `None` leaves them out and is a success.
    async fn tags_of_the_result_are_invalidated(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        cache.set("carries", 1_u64).tags(["org:7"]).await.unwrap();
        cache.set("other", 2_u64).tags(["gone:42"]).await.unwrap();
        assert_eq!(write::of_result(&db, 42, 0).await, Ok(None));
        assert_eq!(keys(cache).await, ["carries"], "`None` is not a failure");
        assert_eq!(write::of_result(&db, 42, 7).await.unwrap().unwrap().org_id, 7);
        assert!(keys(cache).await.is_empty());
    }

    /// A2 A6 A13: tags by expression, from arguments that the body consumes; a resource by a field of the result.
    async fn computed_tags_are_invalidated(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for id in 1..=5 {
            get_profile(&db, id).await;
        }
        cache.set("named", 1_u64).tags(["name:x"]).await.unwrap();
        write::dynamic(&db, 1, "x".to_owned(), &[2, 3]).await;
        assert_eq!(keys(cache).await, ["profile:4", "profile:5"]);
        write::created(&db, Row::fresh(5)).await.unwrap();
        assert_eq!(keys(cache).await, ["profile:4"]);
        cache.invalidate([user(4)]).await.unwrap();
        assert!(keys(cache).await.is_empty());
    }

    /// B2 B5 D4 E3: a write drops keys, patterns and namespaces, and not what merely carries the name as a tag.
    async fn a_write_drops_keys_patterns_and_namespaces(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        get_profile(&db, 1).await;
        find_user(&db, 1).await.unwrap();
        get_list(&db, "a", 1).await;
        get_list(&db, "a", 2).await;
        cache.set("tagged", 1_u64).tags(["profile:1"]).await.unwrap();
        write::by_keys(&db, 1, "a", 1).await;
        assert_eq!(keys(cache).await, ["list:a:2", "tagged"]);
        for (org, page) in [("a", 1), ("ab", 1), ("b", 1)] {
            get_list(&db, org, page).await;
        }
        for id in [1, 12, 123] {
            get_profile(&db, id).await;
        }
        write::by_patterns(&db, 1).await;
        assert_eq!(keys(cache).await, ["list:a:2", "profile:1", "profile:123", "tagged"]);
        cache.set("grouped", 1_u64).namespace("extra").await.unwrap();
        write::by_namespace("a", "extra").await;
        assert_eq!(keys(cache).await, ["profile:1", "profile:123", "tagged"]);
    }

    /// D4: `before` invalidates before the body too, even one that then fails, and again after it.
    async fn before_invalidates_twice(on: &On) {
        let db = Source::new();
        get_profile(&db, 1).await;
        db.write(1, "changed behind our back");
        assert_eq!(write::early(&db, 1, true).await, Err(Failed));
        assert_eq!(get_profile(&db, 1).await.version, 2, "a failing body has invalidated before");
        assert_eq!(write::early(&db, 1, false).await.unwrap().version, 2);
        assert_eq!(get_profile(&db, 1).await.version, 3, "what the body itself read is invalid after it");
    }

    /// D7: a write tells the cache that it is given.
    async fn a_write_uses_an_injected_cache(on: &On) {
        let (other, db) = (on.with(|builder| builder.version("injected")).await, Source::new());
        get_profile(&db, 1).await;
        other.set("x", 1_u64).tags(["user:1"]).await.unwrap();
        write::injected(&other, &db, 1).await;
        assert_eq!(other.get::<u64>("x").await.unwrap(), None);
        assert!(get_profile::peek(1).await.unwrap().is_some(), "the ambient one was not told");
    }

    /// B2: write-through: the result is the entry, with the reader's ttl and tags, and no load follows; everywhere.
    async fn a_result_is_written_through(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        get_list(&db, "a", 1).await;
        let before = db.loads();
        for name in ["new", "newer"] {
            let row = put::update(&db, 42, name).await.unwrap();
            assert_eq!(on.other().await.scope(get_card(&db, 42)).await.unwrap(), row);
        }
        assert_eq!(db.loads(), before + 2, "the writes' own loads only");
        assert_eq!(get_list::peek("a", 1).await.unwrap(), None);
        let left = cache.ttl("card:42").await.unwrap().unwrap().duration().unwrap();
        assert!(left <= Duration::from_secs(600) && left > Duration::from_secs(580), "{left:?}");
        db.set_failing(true);
        put::update(&db, 42, "never").await.unwrap_err();
        assert_eq!(get_card::peek(42).await.unwrap().unwrap().name, "newer", "a failing body stores nothing");
        db.set_failing(false);
        for (tag, gone) in [("row:43", false), ("row:42", true), ("cards", true)] {
            put::update(&db, 42, tag).await.unwrap();
            cache.invalidate(tag).await.unwrap();
            assert_eq!(get_card::peek(42).await.unwrap().is_none(), gone, "{tag}");
        }
        put::update(&db, 42, "c").await.unwrap();
        get_card::clear().await.unwrap();
        assert_eq!(get_card::peek(42).await.unwrap(), None);
    }

    /// B2 A2: write-through to an entry whose tags its value tells: served where that can be watched, and never stale.
    async fn a_result_with_tags_of_its_own_is_written_through(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for (tag, gone) in [("org:5", false), ("org:4", true), ("users", true)] {
            let row = put::with_result_tags(&db, 42, tag).await;
            let loads = db.loads();
            assert_eq!(get_user(&db, 42).await.unwrap(), row);
            assert!(db.loads() == loads || !on.watches_results(), "its result was not stored");
            settle(|| get_user(&db, 42)).await.unwrap();
            cache.invalidate(tag).await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap().is_none(), gone, "{tag}");
        }
    }

    /// B2: `put` by key text, by the result, for a reader of another shape, and with a tag of the entry among the writer's own.
    async fn every_form_of_put_is_served(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let row = put::by_key(&db, 7, "x").await;
        assert_eq!(cache.get::<Row>("maybe:7").await.unwrap().as_ref(), Some(&row));
        assert_eq!(find_user(&db, 7).await.unwrap().as_deref(), Some(&row));
        let row = put::for_another_shape(&db, 8, "y").await;
        assert_eq!(find_user(&db, 8).await.unwrap().as_deref(), Some(&row));
        for name in ["a", "b", "c"] {
            let row = put::with_own_tag(&db, 9, name).await;
            assert_eq!(get_profile(&db, 9).await, row);
        }
        assert_eq!(db.loads(), 0);
        db.remove(7);
        put::remove(&db, 7).await;
        assert_eq!(find_user(&db, 7).await.unwrap(), None, "an absent result leaves no old entry");
        assert_eq!(db.loads(), 1);
    }

    /// B2: `put` named by the result: it is served where the backend can tell that nothing came between, and nothing old is
    /// served anywhere.
    async fn a_result_says_which_entry_it_becomes(on: &On) {
        let db = Source::new();
        for name in ["four", "FOUR", "Four"] {
            let row = put::by_key_of_result(&db, name.to_owned()).await;
            assert_eq!(find_user(&db, 4).await.unwrap().as_deref(), Some(&row));
            let row = put::create(&db, name.to_owned()).await.unwrap().unwrap();
            assert_eq!(get_user(&db, 4).await.unwrap(), *row);
        }
        if on.watches_results() {
            assert_eq!(db.loads(), 0);
        }
        settle(|| get_user(&db, 9)).await.unwrap();
        assert_eq!(put::create(&db, String::new()).await.unwrap(), None);
        assert_eq!(get_user::peek(9).await.unwrap(), None, "the tag was invalidated");
    }
}

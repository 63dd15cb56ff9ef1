//! The companion of an annotated function, methods and their entries, traits, generics, resources; warming.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Cache, Entry, FunctionStats, Key, KeyPart, cache_read, cache_write, key, resource};
use cache_tests::{Broken, Failed, Row, Source};

use crate::backend::soon;

#[cache_read(key = "user:<user_id>", ttl = "5m", tags = ["users", "org:<org>"], skip(db, org))]
async fn get_user(db: &Source, user_id: u64, org: u64) -> Result<Row, Failed> {
    let _ = org;
    db.load(user_id).await
}

#[cache_read(key = "found:<id>", tags = ["name:<result.name>"], skip(db, why))]
async fn find(id: u64, db: &Source, why: &str) -> Result<Option<Arc<Row>>, Broken> {
    let _ = why;
    Ok(db.try_find(id).await?.map(Arc::new))
}

#[cache_read(key = "mixed:<b>:<d>", tags = ["tag:<c>"], namespace = "ns:<e>", skip(a, c, e, f))]
async fn mixed(a: &Source, b: u8, c: &str, d: Option<String>, e: u64, f: Vec<u8>) -> u64 {
    let _ = (b, c, d, e, f);
    a.tick()
}

#[cache_read(key = "typed:<T>:<id>", skip(db))]
async fn typed<T>(db: &Source, id: u64) -> Vec<T>
where
    T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + From<u8> + cache_runtime::Plain + 'static,
{
    let _ = id;
    db.tick();
    vec![T::from(1)]
}

/// Nothing here says that `T` is no `Result`.
#[cache_read(key = "hole:<T>", skip(make))]
async fn hole<T, F>(make: F) -> T
where
    T: Unpin + Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
    F: Fn() -> T + Send + Sync,
{
    make()
}

#[cache_read(key = "page:<id>:<N>", skip(db))]
async fn page<const N: usize>(db: &Source, id: u64) -> Vec<u64> {
    db.tick();
    vec![id; N]
}

mod method {
    use super::*;

    pub(super) struct Repo {
        pub(super) db: Source,
        pub(super) shard: u32,
    }

    impl Repo {
        #[cache_read(key = "repo:<self.shard>:<id>", ttl = "1m", tags = ["repo", "shard:<self.shard>"])]
        pub(crate) async fn get_user(&self, id: u64) -> Result<Option<Row>, Broken> {
            self.db.try_find(id).await
        }

        #[cache_read(key = "repo:arc:<id>", skip(self))]
        pub(crate) async fn arc(&self, id: u64) -> Arc<Row> {
            Arc::new(self.db.row(id).await)
        }

        #[cache_read(key = "static:<id>", companion = method)]
        pub(crate) async fn of_type(id: u64) -> u64 {
            id + 1
        }

        #[cache_write(put = self.get_user(id), tags = ["shard:<self.shard>"], recache = [Self::of_type(id)])]
        pub(crate) async fn rename(&self, id: u64, name: &str) -> Row {
            self.db.write(id, name)
        }
    }

    pub(super) trait Store {
        async fn read(&self, id: u64) -> Result<u64, Failed>;

        /// A default method.
        #[cache_read(key = ("twice", self.shard(), id))]
        async fn twice(&self, id: u64) -> Result<u64, Failed>
        where
            Self: Sized,
        {
            Ok(self.read(id).await? * 2)
        }

        fn shard(&self) -> u32;
    }

    impl Store for Repo {
        #[cache_read(key = "native:<self.shard>:<id>")]
        async fn read(&self, id: u64) -> Result<u64, Failed> {
            if id == 0 { Err(Failed) } else { Ok(self.db.tick()) }
        }

        fn shard(&self) -> u32 {
            self.shard
        }
    }

    #[async_trait::async_trait]
    pub(super) trait BoxedStore: Send + Sync {
        async fn above(&self, id: u64) -> Result<u64, Failed>;
        async fn itself(&self, id: u64) -> u64;
        async fn write(&self, id: u64, name: String) -> u64;
    }

    #[async_trait::async_trait]
    impl BoxedStore for Repo {
        #[cache_read(key = "above:<self.shard>:<id>")]
        async fn above(&self, id: u64) -> Result<u64, Failed> {
            if id == 0 {
                Err(Failed)?;
            }
            Ok(self.db.tick())
        }

        #[cache_read(key = "itself:<id>", skip(self))]
        async fn itself(&self, id: u64) -> u64 {
            self.db.tick();
            id
        }

        #[cache_write(tags = ["above:<self.shard>:<id>", format!("named:{name}")])]
        async fn write(&self, id: u64, name: String) -> u64 {
            drop(name);
            id
        }
    }
}

mod thing {
    use super::*;

    resource! { pub(crate) user("user", user_id: u64); }

    resource! {
        pub(crate) membership("member", org: String, user_id: u64);
        pub(crate) place("place", id: Place);
        pub(crate) settings("settings");
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash, KeyPart)]
    pub(crate) struct Place(pub(crate) u32);

    #[cache_read(resource = user(user_id), suffix = "profile", ttl = "5m", lock = true, skip(db))]
    pub(super) async fn get_profile(db: &Source, user_id: u64) -> Result<Row, Failed> {
        db.load(user_id).await
    }

    #[cache_read(resource = user(user_id), suffix = "settings", ttl = 600, skip(db))]
    pub(super) async fn get_settings(db: &Source, user_id: u64) -> Row {
        db.row(user_id).await
    }

    #[cache_read(resource = user(user_id), skip(db))]
    pub(super) async fn get_user(db: &Source, user_id: u64) -> Option<Row> {
        db.find(user_id).await
    }

    #[cache_read(resource = user(user_id), suffix = "profile", key = "v2:user:<user_id>", tags = [user(user_id), "profiles"], skip(db))]
    pub(super) async fn get_profile_v2(db: &Source, user_id: u64) -> Row {
        db.row(user_id).await
    }

    #[cache_write(resource = user(user_id), recache = [get_profile(db, user_id), get_settings(db, user_id)])]
    pub(super) async fn update_user(db: &Source, user_id: u64, name: &str) -> Result<Row, Failed> {
        db.load(user_id).await?;
        Ok(db.write(user_id, name))
    }

    #[cache_read(resource = membership(org, user_id), suffix = "role", skip(db))]
    pub(super) async fn get_role(db: &Source, org: String, user_id: u64) -> u64 {
        let _ = (org, user_id);
        db.tick()
    }

    #[cache_write(resource = membership(org.clone(), user_id))]
    pub(super) async fn change_role(org: String, user_id: u64) {
        let _ = (org, user_id);
    }
}

everywhere! {
    /// N11: verb by verb, with the documented types.
    async fn every_verb_does_what_it_says(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let none: Option<Row> = get_user::peek(42).await.unwrap();
        assert_eq!((none, db.loads()), (None, 0), "`peek` never loads");
        let user = get_user(&db, 42, 4).await.unwrap();
        assert_eq!(get_user::peek(42).await.unwrap().as_ref(), Some(&user));
        get_user::invalidate(42).await.unwrap();
        assert_eq!(get_user::peek(42).await.unwrap(), None);
        get_user::put(&user, 42, 4).await.unwrap();
        assert_eq!(get_user(&db, 42, 4).await.unwrap(), user);
        assert_eq!(on.other().await.scope(get_user(&db, 42, 4)).await.unwrap(), user);
        assert_eq!(db.loads(), 1);
        db.write(42, "new");
        let fresh: Result<Row, Failed> = get_user::refresh(&db, 42, 4).await;
        assert_eq!(fresh.unwrap().name, "new");
        assert_eq!(get_user(&db, 42, 4).await.unwrap().name, "new");
        assert_eq!(db.loads(), 2);
        db.write(42, "newer");
        assert_eq!(get_user::bypass(&db, 42, 4).await.unwrap().name, "newer");
        assert_eq!(get_user::peek(42).await.unwrap().unwrap().name, "new", "`bypass` stores nothing");
        let key: Key = get_user::key(42);
        assert_eq!(key.as_str(), "user:42");
        assert_eq!(key, key!("user:<id>", id = 42));
        db.set_failing(true);
        assert_eq!(get_user::refresh(&db, 42, 4).await, Err(Failed));
        db.set_failing(false);
        get_user::invalidate(99).await.expect("an entry that is not there can be dropped");
        find(1, &db, "").await.unwrap();
        find(1, &db, "").await.unwrap();
        cache.set("user-like", 1_u64).await.unwrap();
        get_user(&db, 7, 4).await.unwrap();
        get_user::clear().await.unwrap();
        assert_eq!((get_user::peek(42).await.unwrap(), get_user::peek(7).await.unwrap()), (None, None));
        assert!(find::peek(1).await.unwrap().is_some() && cache.exists("user-like").await.unwrap());
        get_user(&db, 42, 4).await.unwrap();
        assert!(get_user::peek(42).await.unwrap().is_some(), "a cleared function goes on");
    }

    /// N11: `put` stores with the function's ttl and tags, those of the value too, and takes values by any ownership.
    async fn put_stores_as_the_function_would(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let row = Row { org_id: 77, ..Row::fresh(42) };
        get_user::put(&row, 42, 77).await.unwrap();
        let left = cache.ttl("user:42").await.unwrap().unwrap().duration().unwrap();
        assert!(left <= Duration::from_secs(300) && left > Duration::from_secs(280), "{left:?}");
        cache.invalidate("org:77").await.unwrap();
        assert_eq!(get_user::peek(42).await.unwrap(), None);
        get_user::put(row.clone(), 42, 77).await.unwrap();
        cache.invalidate("users").await.unwrap();
        assert_eq!(get_user::peek(42).await.unwrap(), None);
        get_user::put(Arc::new(row.clone()), 42, 77).await.unwrap();
        get_user::put(&Row::fresh(42), 42, 4).await.unwrap();
        assert_eq!(get_user(&db, 42, 4).await.unwrap(), Row::fresh(42), "over whatever is there");
        find::put(&row, 7).await.unwrap();
        let peeked: Option<Arc<Row>> = find::peek(7).await.unwrap();
        assert_eq!(peeked.as_deref(), Some(&row));
        assert_eq!(find(7, &db, "").await.unwrap().as_deref(), Some(&row));
        cache.invalidate("name:row 42").await.unwrap();
        assert_eq!(find::peek(7).await.unwrap(), None, "a tag of the value");
        assert_eq!(db.loads(), 0);
        db.remove(8);
        find(8, &db, "").await.unwrap();
        assert_eq!(find::peek(8).await.unwrap(), None);
        assert!(cache.exists(find::key(8)).await.unwrap(), "an absent value is an entry");
        find::invalidate(8).await.unwrap();
        assert!(!cache.exists(find::key(8)).await.unwrap());
    }

    /// N11: verbs ask for what the entry needs, in the order of the signature.
    async fn verbs_take_what_key_namespace_and_tags_name(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let d = || Some("x".to_owned());
        mixed::put(99, 1, "t", d(), 5).await.unwrap();
        assert_eq!(mixed(&db, 1, "t", d(), 5, Vec::new()).await, 99);
        assert_eq!(mixed::peek(1, d(), 5).await.unwrap(), Some(99));
        cache.invalidate("tag:t").await.unwrap();
        assert_eq!(mixed::peek(1, d(), 5).await.unwrap(), None);
        mixed::put(99, 1, "t", None, 5).await.unwrap();
        cache.invalidate_namespace("ns:5").await.unwrap();
        assert_eq!(mixed::peek(1, None, 5).await.unwrap(), None);
        mixed::put(99, 1, "t", None, 5).await.unwrap();
        mixed::invalidate(1, None, 5).await.unwrap();
        assert_eq!(mixed::refresh(&db, 1, "t", None, 5, vec![1]).await, 1);
        assert_eq!(mixed(&db, 1, "t", None, 5, vec![1]).await, 1);
        assert_eq!(mixed::bypass(&db, 1, "t", None, 5, vec![1]).await, 2);
    }

    /// A1 N11: each type of a generic function has its own entries; one that stands for a `Result` never ends in a cached `Err`.
    async fn generic_functions_have_entries_by_type(on: &On) {
        let db = Source::new();
        for _ in 0..2 {
            assert_eq!(typed::<u64>(&db, 1).await, [1]);
            assert_eq!(typed::<u32>(&db, 1).await, [1]);
            assert_eq!(page::<2>(&db, 7).await, [7, 7]);
            assert_eq!(page::<3>(&db, 7).await, [7, 7, 7]);
        }
        assert_eq!(db.loads(), 4);
        typed::invalidate::<u64>(1).await.unwrap();
        assert_eq!(typed::peek::<u64>(1).await.unwrap(), None);
        assert_eq!(typed::peek::<u32>(1).await.unwrap(), Some(vec![1]));
        typed::put(&vec![9_u64], 1).await.unwrap();
        assert_eq!(typed::<u64>(&db, 1).await, [9]);
        assert_eq!(typed::refresh::<u32>(&db, 1).await, [1]);
        let first: Result<u64, String> = hole(|| Err("down".to_owned())).await;
        let second: Result<u64, String> = hole(|| Ok(1)).await;
        assert_eq!((first, second), (Err("down".to_owned()), Ok(1)));
        assert!(on.cache.ping().await.is_ok());
    }

    /// C9: `warm` fills the cache for many arguments, so many at once, says how far it is, and survives failures.
    async fn warm_fills_the_cache(on: &On) {
        let db = Source::new();
        let seen = AtomicU64::new(0);
        let warmed = get_user::warm(0..40, |id| (&db, id, 1))
            .concurrency(16)
            .on_progress(|done, total| {
                assert_eq!(total, 40);
                assert_eq!(done as u64, seen.fetch_add(1, SeqCst) + 1);
            })
            .await;
        assert_eq!((warmed.done, warmed.failed, seen.load(SeqCst), db.loads()), (40, 0, 40, 40));
        let other = on.other().await;
        for id in 0..40 {
            other.scope(get_user(&db, id, 1)).await.unwrap();
        }
        assert_eq!(db.loads(), 40, "a fleet is warmed by one of it");
        let held = db.hold().await;
        let warming = get_user::warm(100..110, |id| (&db, id, 1)).concurrency(3);
        let look = async {
            soon("three run", async || db.loads() == 43).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(db.loads(), 43, "no more than asked");
            drop(held);
        };
        tokio::join!(warming, look);
        assert_eq!(db.loads(), 50);
        db.set_failing(true);
        let warmed = get_user::warm([1, 2, 777], |id| (&db, id, 1)).await;
        assert_eq!((warmed.done, warmed.failed), (2, 1));
        assert_eq!(get_user::warm(Vec::<u64>::new(), |id| (&db, id, 1)).await.done, 0);
    }

    /// N11 B8: `stats` says what happened in this function and this cache.
    async fn stats_count_this_function(on: &On) {
        let db = Source::new();
        for id in [1, 1, 1, 2] {
            get_user(&db, id, 1).await.unwrap();
        }
        page::<1>(&db, 1).await;
        db.set_failing(true);
        get_user(&db, 3, 1).await.unwrap_err();
        let stats = get_user::stats();
        assert_eq!((stats.hits, stats.misses, stats.loads, stats.errors), (2, 3, 3, 1));
        assert_eq!(stats.coalesced + stats.stale + stats.degraded + stats.rejected + stats.refused, 0);
        assert_eq!(stats.latency.count, 3);
        assert!((stats.hit_rate() - 0.4).abs() < 1e-9);
        let fresh = on.with(|builder| builder).await;
        assert_eq!(fresh.scope(async { get_user::stats() }).await, FunctionStats::default());
    }

    /// N11 D3: a method's entry can be read, stored and dropped, and a method can be refreshed, put and recached.
    async fn methods_have_entries(on: &On) {
        use method::Repo;
        let (repo, other) = (Repo { db: Source::new(), shard: 1 }, Repo { db: Source::new(), shard: 2 });
        let entry: Entry<Row> = repo.get_user_entry(42);
        assert_eq!(entry.peek().await.unwrap(), None);
        repo.get_user(42).await.unwrap();
        repo.get_user(42).await.unwrap();
        assert_eq!(repo.db.loads(), 1);
        assert_eq!(entry.peek().await.unwrap(), Some(Row::fresh(42)));
        assert_eq!(entry.peek_arc().await.unwrap().as_deref(), Some(&Row::fresh(42)));
        assert_eq!(entry.key().as_str(), "repo:1:42");
        assert_eq!(other.get_user_entry(42).peek().await.unwrap(), None, "`self` selects the entry");
        entry.invalidate().await.unwrap();
        assert_eq!(entry.peek().await.unwrap(), None);
        let row = Row { org_id: 99, ..Row::fresh(42) };
        repo.get_user_entry(42).put(&row).await.unwrap();
        assert_eq!(on.other().await.scope(repo.get_user(42)).await.unwrap(), Some(row));
        on.cache.invalidate("shard:1").await.unwrap();
        assert_eq!(entry.peek().await.unwrap(), None);
        repo.db.write(42, "new");
        assert_eq!(repo.get_user_refresh(42).await.unwrap().unwrap().name, "new");
        assert_eq!(repo.get_user(42).await.unwrap().unwrap().name, "new");
        assert_eq!(repo.db.loads(), 2);
        let row = repo.rename(42, "renamed").await;
        assert_eq!(repo.get_user(42).await.unwrap(), Some(row));
        assert_eq!(Repo::of_type_entry(42).peek().await.unwrap(), Some(43), "it was recached");
        assert_eq!(repo.db.loads(), 2);
        assert_eq!((Repo::of_type(1).await, Repo::of_type_refresh(1).await), (2, 2));
        assert_eq!(repo.arc(6).await.id, 6);
        assert_eq!(repo.arc_entry(6).peek().await.unwrap().map(|row| row.id), Some(6));
    }

    /// A1: trait methods, native, default and boxed.
    async fn trait_methods(on: &On) {
        use method::{BoxedStore, Repo, Store as _};
        let repo = Repo { db: Source::new(), shard: 1 };
        assert_eq!((repo.read(5).await, repo.read(5).await), (Ok(1), Ok(1)));
        assert_eq!((repo.read(0).await, repo.read(0).await), (Err(Failed), Err(Failed)));
        assert_eq!(repo.twice(5).await, Ok(2));
        on.cache.delete("native:1:5").await.unwrap();
        assert_eq!((repo.read(5).await, repo.twice(5).await), (Ok(2), Ok(2)));
        assert_eq!((repo.itself(7).await, repo.itself(7).await), (7, 7));
        assert_eq!(repo.db.loads(), 3, "a body that ends with a parameter is a body");
        let boxed: Arc<dyn BoxedStore> = Arc::new(repo);
        let first = boxed.above(5).await.unwrap();
        assert_eq!(boxed.above(5).await, Ok(first));
        assert_eq!(boxed.above(0).await, Err(Failed));
        boxed.write(5, "x".to_owned()).await;
        assert_ne!(boxed.above(5).await, Ok(first));
    }

    /// A6: key and tag follow from the resource; the suffix tells functions on one resource apart; both can be overridden.
    async fn key_and_tag_follow_from_the_resource(on: &On) {
        use thing::*;
        let (cache, db) = (&on.cache, Source::new());
        let keys = [get_profile::key(42), get_settings::key(42), thing::get_user::key(42), get_profile_v2::key(42)];
        assert_eq!(keys, ["user:profile:42", "user:settings:42", "user:42", "v2:user:42"]);
        for id in [42, 43] {
            for _ in 0..2 {
                get_profile(&db, id).await.unwrap();
                get_settings(&db, id).await;
                thing::get_user(&db, id).await;
                get_profile_v2(&db, id).await;
            }
        }
        assert_eq!(db.loads(), 8);
        let ttl = async |key: Key| cache.ttl(key).await.unwrap().unwrap().duration().unwrap().as_secs();
        assert!((280..=300).contains(&ttl(user(42).suffix("profile")).await));
        assert!((580..=600).contains(&ttl(user(42).suffix("settings")).await));
        on.other().await.invalidate(user(42)).await.unwrap();
        let left: std::collections::BTreeSet<Key> = cache.keys("*").collect().await.unwrap();
        assert_eq!(left.iter().map(Key::as_str).collect::<Vec<_>>(), ["user:43", "user:profile:43", "user:settings:43", "v2:user:43"]);
        cache.invalidate("profiles").await.unwrap();
        assert_eq!(get_profile_v2::peek(43).await.unwrap(), None);
        assert!(get_profile::peek(43).await.unwrap().is_some());
    }

    /// A6 A5: the write side invalidates all of the resource and recaches; a failing one does neither.
    async fn a_write_of_the_resource_invalidates_and_recaches(on: &On) {
        use thing::*;
        let db = Source::new();
        for id in [4, 42] {
            get_profile(&db, id).await.unwrap();
            thing::get_user(&db, id).await;
        }
        db.set_failing(true);
        update_user(&db, 42, "never").await.unwrap_err();
        assert!(thing::get_user::peek(42).await.unwrap().is_some());
        db.set_failing(false);
        update_user(&db, 42, "new").await.unwrap();
        let loads = db.loads();
        assert_eq!(get_profile(&db, 42).await.unwrap().name, "new");
        assert_eq!(on.other().await.scope(get_settings(&db, 42)).await.name, "new");
        assert_eq!(db.loads(), loads, "both were recached");
        assert_eq!(thing::get_user::peek(42).await.unwrap(), None, "the third was dropped");
        assert_eq!(thing::get_user::peek(4).await.unwrap(), Some(Row::fresh(4)), "another one was not touched");
    }

    /// A6 C1 N3: a resource is a key and a tag anywhere, of several parts, whatever is in them.
    async fn a_resource_is_a_key_and_a_tag(on: &On) {
        use thing::*;
        let (cache, db) = (&on.cache, Source::new());
        let row = thing::get_user(&db, 42).await.unwrap();
        assert_eq!(cache.get::<Row>(user(42)).await.unwrap(), Some(row.clone()));
        cache.set(user(43), &row).ttl("1m").tags(user(43)).await.unwrap();
        assert_eq!(thing::get_user(&db, 43).await, Some(row.clone()), "what was set by hand is found");
        cache.set(settings(), 1_u64).tags([place(Place(3)), place(Place(4))]).await.unwrap();
        cache.invalidate(place(Place(5))).await.unwrap();
        assert_eq!(cache.get::<u64>(settings()).await.unwrap(), Some(1));
        cache.invalidate(place(Place(4))).await.unwrap();
        assert_eq!(cache.get::<u64>(settings()).await.unwrap(), None);
        assert!(cache.delete(user(42)).await.unwrap());
        let org = |text: &str| text.to_owned();
        let all = ["acme", "acme:1", "*", "a%3Ab", "a:b", ""];
        let loads = db.loads();
        for (index, name) in all.iter().enumerate() {
            assert_eq!(get_role(&db, org(name), 1).await, loads + index as u64 + 1);
        }
        change_role(org("*"), 1).await;
        change_role(org("acme"), 11).await;
        for name in all {
            assert_eq!(get_role::peek(org(name), 1).await.unwrap().is_none(), name == "*", "{name}");
        }
    }

    /// P9: a verb of a cache that cannot be used says so.
    async fn verbs_return_what_the_cache_says(on: &On) {
        let cache: Cache = on.with(|builder| builder.enabled(false)).await;
        cache
            .scope(async {
                assert!(get_user::peek(1).await.is_err());
                assert!(get_user::put(Row::fresh(1), 1, 1).await.is_err());
                assert!(get_user::clear().await.is_err());
                let db = Source::new();
                assert_eq!(get_user::refresh(&db, 1, 1).await.unwrap(), Row::fresh(1));
            })
            .await;
    }
}

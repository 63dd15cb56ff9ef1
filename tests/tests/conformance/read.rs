//! `#[cache_read]`: what selects an entry, what comes back, what is stored and for how long.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cache_runtime::{Cache, ErrorKind, KeyPart, cache_read, key};
use cache_tests::{Broken, Failed, Row, Source};

mod keyed {
    use super::*;

    #[cache_read(key = "user:<user_id>", ttl = 300, skip(db))]
    pub(super) async fn get_user(db: &Source, user_id: u64) -> Row {
        db.row(user_id).await
    }

    #[cache_read(key = "org:<org_id>:user:<user_id>", skip(db))]
    pub(super) async fn get_org_user(db: &Source, org_id: u64, user_id: u64) -> Row {
        db.row(org_id * 1000 + user_id).await
    }

    #[cache_read(key = ("user", "<user_id>", region.len()), skip(db))]
    pub(super) async fn by_length(db: &Source, user_id: u64, region: &str) -> u64 {
        let _ = (user_id, region);
        db.tick()
    }

    pub(super) struct Member {
        pub(super) org: (u32,),
        pub(super) name: &'static str,
    }

    #[cache_read(key = "member:<user.org.0>:<pair.0>:<pair.1>", skip(db))]
    pub(super) async fn fields(db: &Source, user: &Member, pair: (u8, char)) -> u64 {
        let _ = (user.name, pair);
        db.tick()
    }

    #[cache_read(key = "items:{1}:<2>", skip(db))]
    pub(super) async fn positional(db: &Source, category: &str, page: u32) -> u64 {
        let _ = (category, page);
        db.tick()
    }

    #[cache_read(key = "mod:<a:lower>:<b:upper>:<c:hash>:<d:len>:<e:display>", skip(db))]
    pub(super) async fn modified(db: &Source, a: &str, b: &str, c: Vec<u8>, d: &str, e: f64) -> u64 {
        let _ = (a, b, c, d, e);
        db.tick()
    }

    #[derive(Clone, Copy, KeyPart)]
    pub(super) struct UserId(pub(super) u64);

    #[derive(Clone, Copy, KeyPart)]
    pub(super) enum Period {
        Day,
        Days(u8),
    }

    #[cache_read(key = "typed:<id>:<period>:<maybe>:<list>", skip(db))]
    pub(super) async fn typed(db: &Source, id: UserId, period: Period, maybe: Option<&str>, list: &[u32]) -> u64 {
        let _ = (id, period, maybe, list);
        db.tick()
    }

    pub(super) fn user_key(id: u64, region: &str) -> String {
        format!("{region}/{id}")
    }

    #[cache_read(key_with = user_key, skip(db))]
    pub(super) async fn with_function(db: &Source, id: u64, region: &str) -> u64 {
        let _ = (id, region);
        db.tick()
    }

    #[cache_read(key_with = |id, details| format!("user-{id}-{details}"), skip(db))]
    pub(super) async fn with_closure(db: &Source, id: u64, details: bool) -> u64 {
        let _ = (id, details);
        db.tick()
    }

    #[cache_read(key = auto, skip(db))]
    pub(super) async fn automatic(db: &Source, id: u64, region: &str) -> u64 {
        let _ = (id, region);
        db.tick()
    }

    pub(super) mod other {
        use super::*;

        #[cache_read(key = auto, skip(db))]
        pub(crate) async fn automatic(db: &Source, id: u64, region: &str) -> u64 {
            let _ = (id, region);
            db.tick()
        }
    }
}

mod returned {
    use super::*;
    use std::result::Result as Outcome;

    pub(super) type Fallible<T> = Result<T, Broken>;
    pub(super) type Nothing<T> = Option<T>;
    pub(super) type Deep = Outcome<Nothing<Arc<Row>>, Broken>;

    #[cache_read(key = "ret:t", skip(db))]
    pub(super) async fn plain(db: &Source) -> Row {
        db.row(1).await
    }
    #[cache_read(key = "ret:option", skip(db))]
    pub(super) async fn option(db: &Source) -> Nothing<Row> {
        db.find(1).await
    }
    #[cache_read(key = "ret:arc", skip(db))]
    pub(super) async fn arc(db: &Source) -> Arc<Row> {
        Arc::new(db.row(1).await)
    }
    #[cache_read(key = "ret:result", skip(db))]
    pub(super) async fn result(db: &Source) -> Fallible<Row> {
        Ok(db.try_find(1).await?.unwrap())
    }
    #[cache_read(key = "ret:result_option", skip(db))]
    pub(super) async fn result_option(db: &Source) -> Fallible<Option<Row>> {
        db.try_find(1).await
    }
    #[cache_read(key = "ret:deep", skip(db))]
    pub(super) async fn deep(db: &Source) -> Deep {
        Ok(db.try_find(1).await?.map(Arc::new))
    }
    #[cache_read(key = "ret:unit", skip(db))]
    pub(super) async fn unit(db: &Source) {
        db.tick();
    }
    #[cache_read(key = "ret:map", skip(db))]
    pub(super) async fn map(db: &Source) -> HashMap<String, Vec<Option<u8>>> {
        HashMap::from([(format!("{}", db.tick()), vec![None, Some(1)])])
    }
    #[cache_read(key = "ret:boxed", skip(db))]
    pub(super) async fn boxed_error(db: &Source) -> Result<Row, Box<dyn std::error::Error + Send + Sync>> {
        Ok(db.load(1).await?)
    }
    #[cache_read(key = "ret:cow", skip(db))]
    pub(super) async fn cow(db: &Source) -> Cow<'static, str> {
        db.tick();
        Cow::Borrowed("borrowed")
    }
    #[cache_read(key = "ret:nested", skip(db))]
    pub(super) async fn nested(db: &Source) -> Option<Option<u8>> {
        db.tick();
        Some(None)
    }
}

/// One template, one stored type, every wrapping.
mod wrapped {
    use super::*;

    #[cache_read(key = "row:<id>", skip(db))]
    pub(super) async fn plain(db: &Source, id: u64) -> Row {
        db.row(id).await
    }
    #[cache_read(key = "row:{row_id}", skip(db))]
    pub(super) async fn option(row_id: u64, db: &Source) -> Option<Row> {
        db.find(row_id).await
    }
    #[cache_read(key = ("row", id), skip(db))]
    pub(super) async fn result(db: &Source, id: u64) -> Result<Row, Failed> {
        db.load(id).await
    }
    #[cache_read(key = "row:<id>", skip(db))]
    pub(super) async fn deep(db: &Source, id: u64) -> Result<Option<Arc<Row>>, Broken> {
        Ok(db.try_find(id).await?.map(Arc::new))
    }
}

mod placed {
    use super::*;

    pub(super) struct Service {
        pub(super) cache: Cache,
        pub(super) db: Source,
    }

    impl Service {
        #[cache_read(key = "service:<id>", cache = self.cache, skip(self))]
        pub(super) async fn row(&self, id: u64) -> Row {
            self.db.row(id).await
        }
    }

    #[cache_read(key = "injected:<id>", cache = cache, skip(cache, db))]
    pub(super) async fn injected(cache: &Cache, db: &Source, id: u64) -> Row {
        let _ = cache;
        db.row(id).await
    }

    #[derive(Debug, PartialEq)]
    pub(super) enum ApiError {
        Cache(ErrorKind),
        Source,
    }

    impl From<cache_runtime::Error> for ApiError {
        fn from(error: cache_runtime::Error) -> Self {
            Self::Cache(error.kind())
        }
    }

    #[cache_read(key = "fail:<id>", skip(db), on_error = fail)]
    pub(super) async fn or_fail(db: &Source, id: u64) -> Result<Row, ApiError> {
        db.load(id).await.map_err(|_| ApiError::Source)
    }
}

everywhere! {
    /// A1: the second call with the same arguments does not reach the source, another argument does; in every process.
    async fn a_second_call_is_answered_from_the_cache(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        assert_eq!(keyed::get_user(&db, 42).await, Row::fresh(42));
        assert_eq!(keyed::get_user(&db, 42).await, Row::fresh(42));
        assert_eq!(on.other().await.scope(keyed::get_user(&db, 42)).await, Row::fresh(42));
        assert_eq!(db.loads(), 1);
        assert_eq!(keyed::get_user(&db, 43).await, Row::fresh(43));
        assert_eq!(db.loads(), 2);
        assert_eq!(cache.get::<Row>("user:42").await.unwrap(), Some(Row::fresh(42)));
        assert_eq!(cache.get::<Row>(key!("user:<id>", id = 43)).await.unwrap(), Some(Row::fresh(43)));
        assert_eq!(cache.get::<u64>("user:42").await.unwrap(), None, "as its own type only");
        cache.set("user:44", Row::fresh(9)).await.unwrap();
        assert_eq!(keyed::get_user(&db, 44).await, Row::fresh(9), "what was set by hand is the entry");
    }

    /// A1 B6 C2 E6: several parameters, tuples, fields, positions, modifiers, derived types, functions and generated keys.
    async fn every_form_of_a_key_selects(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for (org, user) in [(1, 2), (2, 1), (1, 21), (12, 1)] {
            assert_eq!(keyed::get_org_user(&db, org, user).await.id, org * 1000 + user);
            assert_eq!(keyed::get_org_user(&db, org, user).await.id, org * 1000 + user);
        }
        assert_eq!(db.loads(), 4);
        let member = |id, name| keyed::Member { org: (id,), name };
        let db = Source::new();
        let mut seen = BTreeSet::new();
        for _ in 0..2 {
            for region in ["eu", "asia"] {
                seen.insert(keyed::by_length(&db, 1, region).await);
            }
            for (id, name, pair) in [(1, "a", (2, 'c')), (1, "b", (2, 'c')), (2, "a", (2, 'c')), (1, "a", (3, 'c'))] {
                seen.insert(keyed::fields(&db, &member(id, name), pair).await);
            }
            for (category, page) in [("books", 1), ("books", 2), ("films", 1)] {
                seen.insert(keyed::positional(&db, category, page).await);
            }
            for (a, b, c, d, e) in [("A", "b", 1, "xy", 1.5), ("a", "B", 1, "ab", 1.5), ("i", "b", 1, "xy", 1.5), ("a", "b", 2, "xy", 1.5), ("a", "b", 1, "x", 1.5), ("a", "b", 1, "xy", 2.5)] {
                seen.insert(keyed::modified(&db, a, b, vec![c], d, e).await);
            }
            for (id, period, maybe, list) in [
                (1, keyed::Period::Day, None, &[][..]), (2, keyed::Period::Day, None, &[]), (1, keyed::Period::Days(3), None, &[]),
                (1, keyed::Period::Day, Some("None"), &[]), (1, keyed::Period::Day, None, &[1, 2]), (1, keyed::Period::Day, None, &[12]),
            ] {
                seen.insert(keyed::typed(&db, keyed::UserId(id), period, maybe, list).await);
            }
            for (id, region) in [(1, "eu"), (1, "us"), (2, "eu")] {
                seen.insert(keyed::with_function(&db, id, region).await);
                seen.insert(keyed::with_closure(&db, id, region == "us").await);
                seen.insert(keyed::automatic(&db, id, region).await);
                seen.insert(keyed::other::automatic(&db, id, region).await);
            }
        }
        let distinct = 2 + 3 + 3 + 5 + 6 + 3 + 3 + 3 + 3;
        assert_eq!((seen.len() as u64, db.loads()), (distinct, distinct));
        assert_eq!(cache.get::<u64>("eu/2").await.unwrap(), Some(keyed::with_function(&db, 2, "eu").await));
        assert_eq!(cache.keys("*").collect::<Vec<_>>().await.unwrap().len() as u64, distinct + 4);
    }

    /// A1 C1: every return type that the contract names is stored once and comes back whole, aliases included; no alias
    /// hides an `Err` that is then cached.
    async fn return_types_are_told_apart_through_aliases(on: &On) {
        use returned::*;
        let (cache, db) = (&on.cache, Source::new());
        db.set_failing(true);
        assert_eq!(result(&db).await, Err(Broken(1)));
        assert_eq!(result_option(&db).await, Err(Broken(2)));
        assert_eq!(deep(&db).await, Err(Broken(3)));
        assert_eq!(boxed_error(&db).await.unwrap_err().to_string(), "the source was told to fail");
        assert!(cache.keys("*").next().await.is_none());
        db.set_failing(false);
        let other = on.other().await;
        for cache in [cache, cache, &other] {
            cache
                .scope(async {
                    assert_eq!(plain(&db).await, Row::fresh(1));
                    assert_eq!(option(&db).await, Some(Row::fresh(1)));
                    assert_eq!(*arc(&db).await, Row::fresh(1));
                    assert_eq!(result(&db).await, Ok(Row::fresh(1)));
                    assert_eq!(result_option(&db).await, Ok(Some(Row::fresh(1))));
                    assert_eq!(deep(&db).await.unwrap().unwrap().id, 1);
                    assert_eq!(boxed_error(&db).await.unwrap().id, 1);
                    assert_eq!(cow(&db).await, "borrowed");
                    assert_eq!(nested(&db).await, Some(None));
                    unit(&db).await;
                    assert_eq!(map(&db).await.into_values().next().unwrap(), [None, Some(1)]);
                })
                .await;
            assert_eq!(db.loads(), 4 + 11);
        }
    }

    /// C1 B2: one template and one stored type share an entry, whatever the value is wrapped in.
    async fn wrappings_share_an_entry(on: &On) {
        use wrapped::*;
        let (cache, db) = (&on.cache, Source::new());
        let row = plain(&db, 7).await;
        assert_eq!(option(7, &db).await.as_ref(), Some(&row));
        assert_eq!(result(&db, 7).await.as_ref(), Ok(&row));
        assert_eq!(deep(&db, 7).await.unwrap().as_deref(), Some(&row));
        assert_eq!(cache.get::<Row>("row:7").await.unwrap(), Some(row));
        assert_eq!(db.loads(), 1);
        let row = |id| Row { name: "put".to_owned(), ..Row::fresh(id) };
        deep::put(row(1), 1).await.unwrap();
        assert_eq!(plain(&db, 1).await, row(1));
        plain::put(Arc::new(row(2)), 2).await.unwrap();
        assert_eq!(deep(&db, 2).await.unwrap().as_deref(), Some(&row(2)));
        assert_eq!(db.loads(), 1);
        db.remove(8);
        assert_eq!(option(8, &db).await, None);
        assert_eq!(deep(&db, 8).await, Ok(None), "kept as absent");
        assert_eq!(db.loads(), 2);
        assert_eq!(plain(&db, 8).await, Row::fresh(8), "one that cannot say so has to load");
        assert_eq!(db.loads(), 3);
    }

    /// D7: a function uses the cache that it is given, as a field or a parameter, and not the ambient one.
    async fn a_cache_can_be_injected(on: &On) {
        let (ambient, other) = (&on.cache, on.with(|builder| builder.version("injected")).await);
        let service = placed::Service { cache: other.clone(), db: Source::new() };
        for _ in 0..2 {
            service.row(1).await;
            placed::injected(&other, &service.db, 2).await;
        }
        assert_eq!(service.db.loads(), 2);
        placed::injected(ambient, &service.db, 2).await;
        assert_eq!(service.db.loads(), 3);
        assert_eq!(other.get::<Row>("service:1").await.unwrap(), Some(Row::fresh(1)));
        assert_eq!(ambient.get::<Row>("service:1").await.unwrap(), None);
        other.invalidate("injected:2").await.unwrap();
        placed::injected(&other, &service.db, 2).await;
        placed::injected(ambient, &service.db, 2).await;
        assert_eq!(service.db.loads(), 4);
        placed::injected::put(Row::fresh(9), &other, 2).await.unwrap();
        assert_eq!(placed::injected::peek(&other, 2).await.unwrap(), Some(Row::fresh(9)));
        assert_eq!(placed::injected::peek(ambient, 2).await.unwrap(), Some(Row::fresh(2)));
        placed::injected::clear(&other).await.unwrap();
        assert_eq!(placed::injected::peek(&other, 2).await.unwrap(), None);
    }

    /// D2: a closed cache: functions call their source, or fail where asked; direct calls say so.
    async fn a_closed_cache_is_not_used(on: &On) {
        let (cache, db) = (on.other().await, Source::new());
        let cache = if on.is_shared() { cache } else { on.with(|builder| builder).await };
        cache
            .scope(async {
                keyed::get_user(&db, 1).await;
                cache.close().await.unwrap();
                cache.close().await.expect("closing twice is fine");
                for error in [
                    cache.get::<Row>("user:1").await.unwrap_err(),
                    cache.set("k", 1_u8).await.unwrap_err(),
                    cache.incr("n", 1).await.unwrap_err(),
                    cache.delete_match("*").await.unwrap_err(),
                    cache.invalidate("t").await.unwrap_err(),
                    cache.ping().await.unwrap_err(),
                    cache.info().await.unwrap_err(),
                    cache.clear().await.unwrap_err(),
                    cache.keys("*").next().await.unwrap().unwrap_err(),
                    keyed::get_user::peek(1).await.unwrap_err(),
                    keyed::get_user::invalidate(1).await.unwrap_err(),
                ] {
                    assert_eq!(error.kind(), ErrorKind::Closed);
                    assert!(!error.is_retryable());
                }
                keyed::get_user(&db, 1).await;
                assert_eq!(db.loads(), 2);
                assert_eq!(placed::or_fail(&db, 1).await, Err(placed::ApiError::Cache(ErrorKind::Closed)));
                assert_eq!(db.loads(), 2);
                assert!(keyed::get_user::stats().degraded > 0);
            })
            .await;
        db.set_failing(true);
        assert_eq!(placed::or_fail(&db, 1).await, Err(placed::ApiError::Source), "the others go on");
    }

    /// D8: a cache that is switched off calls the source, keeps nothing, and is not a failure.
    async fn a_disabled_cache_is_not_used(on: &On) {
        let (cache, db) = (on.with(|builder| builder.enabled(false)).await, Source::new());
        cache
            .scope(async {
                assert_eq!(placed::or_fail(&db, 1).await, Ok(Row::fresh(1)));
                assert_eq!(placed::or_fail(&db, 1).await, Ok(Row::fresh(1)));
                assert_eq!(db.loads(), 2);
                assert_eq!(cache.set("k", 1_u8).await.unwrap_err().kind(), ErrorKind::Unavailable);
            })
            .await;
        assert_eq!(placed::or_fail::peek(1).await.unwrap(), None);
    }
}

//! Keys: what selects an entry.

use cache_runtime::{Cache, KeyPart, cache_read};
use cache_tests::{Row, Source};

mod keyed {
    use super::*;

    #[cache_read(key = "user:<user_id>", ttl = 300, skip(db))]
    pub(crate) async fn get_user(db: &Source, user_id: u64) -> Row {
        db.row(user_id).await
    }

    #[cache_read(key = "org:<org_id>:user:<user_id>", skip(db))]
    pub(crate) async fn get_org_user(db: &Source, org_id: u64, user_id: u64) -> Row {
        db.row(org_id * 1000 + user_id).await
    }

    #[cache_read(key = ("user", "profile", user_id), skip(db))]
    pub(crate) async fn profile(db: &Source, user_id: u64) -> Row {
        db.row(user_id).await
    }

    #[cache_read(key = ("user", "<user_id>", region.len()), skip(db))]
    pub(crate) async fn by_length(db: &Source, user_id: u64, region: &str) -> u64 {
        let _ = (user_id, region);
        db.tick()
    }

    pub(crate) struct Org {
        pub(crate) id: u32,
    }
    pub(crate) struct Member {
        pub(crate) org: Org,
        pub(crate) name: &'static str,
    }

    #[cache_read(key = "member:<user.org.id>:<pair.0>:<pair.1>", skip(db))]
    pub(crate) async fn fields(db: &Source, user: &Member, pair: (u8, char)) -> u64 {
        let _ = (user.name, pair);
        db.tick()
    }

    #[cache_read(key = "items:{1}:<2>", skip(db))]
    pub(crate) async fn positional(db: &Source, category: &str, page: u32) -> u64 {
        let _ = (category, page);
        db.tick()
    }

    #[cache_read(key = "mod:<a:lower>:<b:upper>:<c:hash>:<d:len>:<e:display>", skip(db))]
    pub(crate) async fn modified(db: &Source, a: &str, b: &str, c: Vec<u8>, d: &str, e: f64) -> u64 {
        let _ = (a, b, c, d, e);
        db.tick()
    }

    #[cache_read(key = "<<lit>>:{{x}}:<id>", skip(db))]
    pub(crate) async fn doubled(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }

    #[derive(Clone, Copy, KeyPart)]
    pub(crate) struct UserId(pub u64);

    #[derive(Clone, Copy, KeyPart)]
    #[allow(dead_code, reason = "one of two")]
    pub(crate) enum Period {
        Day,
        Week,
    }

    #[cache_read(key = "typed:<id>:<period>:<maybe>:<list>", skip(db))]
    pub(crate) async fn typed(db: &Source, id: UserId, period: Period, maybe: Option<&str>, list: &[u32]) -> u64 {
        let _ = (id, period, maybe, list);
        db.tick()
    }

    pub(crate) fn user_key(id: u64, region: &str) -> String {
        format!("{region}/{id}")
    }

    #[cache_read(key_with = user_key, skip(db))]
    pub(crate) async fn with_function(db: &Source, id: u64, region: &str) -> u64 {
        let _ = (id, region);
        db.tick()
    }

    #[cache_read(key_with = |id, details| format!("user-{id}-{details}"), skip(db))]
    pub(crate) async fn with_closure(db: &Source, id: u64, details: bool) -> u64 {
        let _ = (id, details);
        db.tick()
    }

    #[cache_read(key = auto, skip(db))]
    pub(crate) async fn automatic(db: &Source, id: u64, region: &str) -> u64 {
        let _ = (id, region);
        db.tick()
    }

    pub(crate) mod other {
        use super::*;

        #[cache_read(key = auto, skip(db))]
        pub(crate) async fn automatic(db: &Source, id: u64, region: &str) -> u64 {
            let _ = (id, region);
            db.tick()
        }
    }
}

/// A1: the second call with the same arguments does not reach the source, another argument does.
#[tokio::test]
async fn a_second_call_is_answered_from_the_cache() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(keyed::get_user(&db, 42).await, Row::fresh(42));
            assert_eq!(keyed::get_user(&db, 42).await, Row::fresh(42));
            assert_eq!(db.loads(), 1);
            assert_eq!(keyed::get_user(&db, 43).await, Row::fresh(43));
            assert_eq!(db.loads(), 2);
            assert_eq!(cache.get::<Row>("user:42").await.unwrap(), Some(Row::fresh(42)));
        })
        .await;
}

/// A1: every named parameter selects an entry of its own.
#[tokio::test]
async fn several_parameters_make_one_key() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for (org, user) in [(1, 2), (2, 1), (1, 21), (12, 1)] {
                assert_eq!(keyed::get_org_user(&db, org, user).await.id, org * 1000 + user);
                assert_eq!(keyed::get_org_user(&db, org, user).await.id, org * 1000 + user);
            }
            assert_eq!(db.loads(), 4);
            assert_eq!(keyed::get_org_user::key(1, 2).as_str(), "org:1:user:2");
        })
        .await;
}

/// A1: a tuple is a template: literals are segments, the rest are values, `<x>` works in literals.
#[tokio::test]
async fn a_tuple_is_a_key() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            keyed::profile(&db, 42).await;
            keyed::profile(&db, 42).await;
            assert_eq!(db.loads(), 1);
            assert_eq!(keyed::profile::key(42).as_str(), "user:profile:42");
            assert_eq!(keyed::by_length(&db, 1, "eu").await, keyed::by_length(&db, 1, "us").await);
            assert_ne!(keyed::by_length(&db, 1, "eu").await, keyed::by_length(&db, 1, "asia").await);
            assert_eq!(keyed::by_length::key(1, "asia").as_str(), "user:1:4");
        })
        .await;
}

/// A1 C2: a placeholder reaches into fields and tuples.
#[tokio::test]
async fn a_key_reaches_into_fields() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let member = |id| keyed::Member { org: keyed::Org { id }, name: "x" };
            let first = keyed::fields(&db, &member(1), (2, 'c')).await;
            assert_eq!(keyed::fields(&db, &keyed::Member { name: "y", ..member(1) }, (2, 'c')).await, first);
            assert_ne!(keyed::fields(&db, &member(2), (2, 'c')).await, first);
            assert_ne!(keyed::fields(&db, &member(1), (3, 'c')).await, first);
            assert_ne!(keyed::fields(&db, &member(1), (2, 'd')).await, first);
            assert_eq!(keyed::fields::key(&member(1), (2, 'c')).as_str(), "member:1:2:c");
        })
        .await;
}

/// B6: a placeholder may count parameters, and braces are as good as angle brackets.
#[tokio::test]
async fn a_key_may_count_parameters() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(keyed::positional(&db, "books", 1).await, 1);
            assert_eq!(keyed::positional(&db, "books", 1).await, 1);
            assert_eq!(keyed::positional(&db, "books", 2).await, 2);
            assert_eq!(keyed::positional(&db, "films", 1).await, 3);
            assert_eq!(keyed::positional::key("books", 1).as_str(), "items:books:1");
        })
        .await;
}

/// A1: `:lower`, `:upper`, `:hash`, `:len` and `:display` do what they are called.
#[tokio::test]
async fn modifiers_change_what_selects_an_entry() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let first = keyed::modified(&db, "Ada", "Bob", vec![1], "xyz", 1.5).await;
            assert_eq!(keyed::modified(&db, "aDA", "bOB", vec![1], "abc", 1.5).await, first);
            assert_ne!(keyed::modified(&db, "Ida", "Bob", vec![1], "xyz", 1.5).await, first);
            assert_ne!(keyed::modified(&db, "Ada", "Bob", vec![2], "xyz", 1.5).await, first);
            assert_ne!(keyed::modified(&db, "Ada", "Bob", vec![1], "x", 1.5).await, first);
            assert_ne!(keyed::modified(&db, "Ada", "Bob", vec![1], "xyz", 2.5).await, first);
            let key = keyed::modified::key("Ada", "Bob", vec![1], "xyz", 1.5);
            let parts: Vec<&str> = key.as_str().split(':').collect();
            assert_eq!((parts[1], parts[2], parts[4], parts[5]), ("ada", "BOB", "3", "1.5"));
            assert_eq!(parts[3].len(), 32, "128 bits in hex: {key}");
        })
        .await;
}

/// A1: doubled brackets stand for themselves.
#[tokio::test]
async fn doubled_brackets_are_literal() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(keyed::doubled(&db, 7).await, keyed::doubled(&db, 7).await);
            assert_ne!(keyed::doubled(&db, 7).await, keyed::doubled(&db, 8).await);
            assert_eq!(keyed::doubled::key(7).as_str(), "<lit>:{x}:7");
        })
        .await;
}

/// A1 N3: derived key parts, options and slices select entries, and `None` is not `"None"`.
#[tokio::test]
async fn derived_types_are_key_parts() {
    use keyed::{Period, UserId, typed};
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let calls = [
                (UserId(1), Period::Day, None, &[][..]),
                (UserId(2), Period::Day, None, &[]),
                (UserId(1), Period::Week, None, &[]),
                (UserId(1), Period::Day, Some("None"), &[]),
                (UserId(1), Period::Day, Some(""), &[]),
                (UserId(1), Period::Day, None, &[1, 2]),
                (UserId(1), Period::Day, None, &[12]),
                (UserId(1), Period::Day, None, &[1]),
            ];
            for _ in 0..2 {
                for (index, (id, period, maybe, list)) in calls.into_iter().enumerate() {
                    assert_eq!(typed(&db, id, period, maybe, list).await, index as u64 + 1);
                }
            }
        })
        .await;
}

/// E6 D2: a function or closure of the key parameters builds the key.
#[tokio::test]
async fn a_function_builds_the_key() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(keyed::with_function(&db, 1, "eu").await, keyed::with_function(&db, 1, "eu").await);
            assert_ne!(keyed::with_function(&db, 1, "eu").await, keyed::with_function(&db, 1, "us").await);
            assert_eq!(keyed::with_function::key(1, "eu").as_str(), "eu/1");
            assert_eq!(keyed::with_closure(&db, 1, true).await, keyed::with_closure(&db, 1, true).await);
            assert_ne!(keyed::with_closure(&db, 1, true).await, keyed::with_closure(&db, 1, false).await);
            assert_eq!(keyed::with_closure::key(1, true).as_str(), "user-1-true");
        })
        .await;
}

/// D2 D5: a generated key names module, function and arguments, so that functions of one name never meet.
#[tokio::test]
async fn a_generated_key_names_module_function_and_arguments() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(keyed::automatic(&db, 1, "eu").await, 1);
            assert_eq!(keyed::automatic(&db, 1, "eu").await, 1);
            assert_eq!(keyed::other::automatic(&db, 1, "eu").await, 2);
            assert_eq!(keyed::automatic(&db, 1, "us").await, 3);
            let key = keyed::automatic::key(1, "eu");
            assert!(key.as_str().ends_with("automatic:1:eu") && key.as_str().contains("keyed"), "{key}");
            assert_ne!(key.as_str(), keyed::other::automatic::key(1, "eu").as_str());
        })
        .await;
}

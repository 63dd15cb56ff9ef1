//! `#[cache_read]` as its user sees it: keys, tags, lifetimes, what is stored and what is not, and who loads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, ErrorKind, KeyPart, Ttl, cache_read, resource};
use cache_tests::{Broken, Failed, Row, Source, until};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

// ---------------------------------------------------------------------------------------------------------------- keys

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

// ---------------------------------------------------------------------------------------------------------------- tags

mod tagged {
    use super::*;

    resource! { pub team("team", team_id: u64); }

    #[cache_read(key = "plain:<id>", skip(db))]
    pub(crate) async fn by_default(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }

    #[cache_read(key = "rows:<id>", tags = ["rows", "row:<id>", "half:<id.0>"], skip(db))]
    pub(crate) async fn templated(db: &Source, id: (u64,)) -> u64 {
        let _ = id;
        db.tick()
    }

    pub(crate) fn tags_of(id: u64, region: &str) -> Vec<String> {
        vec![format!("fn:{id}"), format!("fn:{region}")]
    }

    #[cache_read(
        key = "dynamic:<id>:<region>:<ids>",
        tags = [tags_of(id, region), ids.iter().map(|id| format!("part:{id}")), team(id), ids.first().map(|id| format!("first:{id}"))],
        skip(db)
    )]
    pub(crate) async fn dynamic(db: &Source, id: u64, region: &str, ids: &[u64]) -> u64 {
        let _ = (id, region, ids);
        db.tick()
    }

    #[cache_read(key = "one:<id>", tags = tags_of(id, "x"), skip(db))]
    pub(crate) async fn one_expression(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }

    #[cache_read(key = "found:<id>", tags = ["found", "org:<result.org_id>", "name:<result.name:lower>"], skip(db))]
    pub(crate) async fn of_result(db: &Source, id: u64) -> Result<Option<Arc<Row>>, Broken> {
        Ok(db.try_find(id).await?.map(Arc::new))
    }

    #[cache_read(key = "list:<org>", tags = [result.iter().map(|row| format!("row:{}", row.id))], skip(db))]
    pub(crate) async fn list(db: &Source, org: u64) -> Vec<Row> {
        vec![db.row(org * 10).await, db.row(org * 10 + 1).await]
    }
}

/// A2: a function without tags is tagged with its key.
#[tokio::test]
async fn the_key_is_the_default_tag() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!((tagged::by_default(&db, 1).await, tagged::by_default(&db, 2).await), (1, 2));
            cache.invalidate("plain:1").await.unwrap();
            assert_eq!((tagged::by_default(&db, 1).await, tagged::by_default(&db, 2).await), (3, 2));
        })
        .await;
}

/// A2 E4: an invalidated tag takes exactly the entries that carry it.
#[tokio::test]
async fn a_tag_takes_what_carries_it_and_nothing_else() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!((tagged::templated(&db, (1,)).await, tagged::templated(&db, (2,)).await), (1, 2));
            cache.invalidate("row:1").await.unwrap();
            assert_eq!((tagged::templated(&db, (1,)).await, tagged::templated(&db, (2,)).await), (3, 2));
            cache.invalidate("half:2").await.unwrap();
            assert_eq!((tagged::templated(&db, (1,)).await, tagged::templated(&db, (2,)).await), (3, 4));
            cache.invalidate("rows").await.unwrap();
            assert_eq!((tagged::templated(&db, (1,)).await, tagged::templated(&db, (2,)).await), (5, 6));
            cache.invalidate(["row", "rows:", "row:", "row:<id>", "row:12", "ROWS"]).await.unwrap();
            assert_eq!((tagged::templated(&db, (1,)).await, tagged::templated(&db, (2,)).await), (5, 6));
        })
        .await;
}

/// A2: tags by expression: a function of the arguments, an iterator, a resource, an option.
#[tokio::test]
async fn tags_may_be_computed() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let mut seen = 0;
            for tag in ["fn:7", "fn:eu", "part:3", "part:4", "team:7", "first:3", "dynamic:7:eu:3,4"] {
                let value = tagged::dynamic(&db, 7, "eu", &[3, 4]).await;
                assert_eq!(tagged::dynamic(&db, 7, "eu", &[3, 4]).await, value);
                assert_eq!(value, seen + 1, "before {tag}");
                seen = value;
                if tag.starts_with("dynamic") {
                    cache.invalidate(tagged::dynamic::key(7, "eu", &[3, 4])).await.unwrap();
                } else {
                    cache.invalidate(tag).await.unwrap();
                }
            }
            assert_eq!(tagged::dynamic(&db, 7, "eu", &[3, 4]).await, seen + 1, "its key is a tag of every entry");
            assert_eq!(tagged::one_expression(&db, 1).await, seen + 2);
            cache.invalidate("fn:1").await.unwrap();
            assert_eq!(tagged::one_expression(&db, 1).await, seen + 3);
        })
        .await;
}

/// A2: tags of the value see it below `Result`, `Option` and `Arc`; where it is absent they are left out.
#[tokio::test]
async fn tags_may_come_from_the_value() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let load = || async { tagged::of_result(&db, 42).await.unwrap() };
            load().await;
            load().await;
            assert_eq!(db.loads(), 1, "the first load of a key with such tags is stored");
            cache.invalidate("org:4").await.unwrap();
            load().await;
            assert_eq!(db.loads(), 2);
            cache.invalidate("name:row 42").await.unwrap();
            load().await;
            assert_eq!(db.loads(), 3);
            db.move_to(42, 9);
            cache.invalidate("org:4").await.unwrap();
            assert_eq!(load().await.unwrap().org_id, 9);
            assert_eq!(db.loads(), 4);
            cache.invalidate("org:4").await.unwrap();
            load().await;
            assert_eq!(db.loads(), 4, "the entry now belongs to another organisation");
            cache.invalidate("org:9").await.unwrap();
            db.remove(42);
            assert_eq!(load().await, None);
            assert_eq!(load().await, None);
            assert_eq!(db.loads(), 5, "an absent value is stored");
            cache.invalidate("found").await.unwrap();
            assert_eq!(load().await, None);
            assert_eq!(db.loads(), 6, "with the tags that do not mention it");
        })
        .await;
}

/// A2: an expression over `result` yields one tag for every element of a list.
#[tokio::test]
async fn a_list_is_tagged_with_its_elements() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            tagged::list(&db, 4).await;
            tagged::list(&db, 4).await;
            assert_eq!(db.loads(), 2);
            cache.invalidate("row:41").await.unwrap();
            tagged::list(&db, 4).await;
            assert_eq!(db.loads(), 4);
            cache.invalidate("row:42").await.unwrap();
            tagged::list(&db, 4).await;
            assert_eq!(db.loads(), 4);
        })
        .await;
}

// ----------------------------------------------------------------------------------------------------------- namespaces

mod grouped {
    use super::*;

    #[cache_read(key = "ns:fixed:<id>", namespace = "reports", skip(db))]
    pub(crate) async fn fixed(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }

    #[cache_read(key = "ns:team:<team>:<id>", namespace = "team:<team>", skip(db))]
    pub(crate) async fn of_team(db: &Source, id: u64, team: &str) -> u64 {
        let _ = (id, team);
        db.tick()
    }
}

/// E3: a namespace is dropped at once, and only it; it may be named by arguments.
#[tokio::test]
async fn a_namespace_is_dropped_at_once() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let all = async || {
                [
                    grouped::fixed(&db, 1).await,
                    grouped::fixed(&db, 2).await,
                    grouped::of_team(&db, 3, "red").await,
                    grouped::of_team(&db, 4, "blue").await,
                ]
            };
            assert_eq!(all().await, [1, 2, 3, 4]);
            cache.invalidate_namespace("reports").await.unwrap();
            assert_eq!(all().await, [5, 6, 3, 4]);
            cache.invalidate_namespace("team:red").await.unwrap();
            assert_eq!(all().await, [5, 6, 7, 4]);
            cache.invalidate_namespace("team").await.unwrap();
            cache.invalidate_namespace("team:*").await.unwrap();
            assert_eq!(all().await, [5, 6, 7, 4]);
        })
        .await;
}

// ------------------------------------------------------------------------------------------------------------ lifetimes

mod lived {
    use super::*;

    pub(crate) const LIMIT: Duration = Duration::from_secs(77);

    macro_rules! lived {
        ($($name:ident: $key:literal, $ttl:expr;)*) => {
            $(#[cache_read(key = $key, ttl = $ttl, skip(db))]
            pub(crate) async fn $name(db: &Source) -> u64 { db.tick() })*
        };
    }
    lived! {
        text: "lived:text", "1h30m";
        millis: "lived:ms", "250ms";
        seconds: "lived:seconds", 90;
        short: "lived:short", Ttl::Short;
        usual: "lived:default", Ttl::Default;
        long: "lived:long", Ttl::Long;
        forever: "lived:forever", "forever";
        constant: "lived:const", LIMIT;
        expression: "lived:expr", Duration::from_secs(60) * 2;
    }

    #[cache_read(key = "lived:none", skip(db))]
    pub(crate) async fn unsaid(db: &Source) -> u64 {
        db.tick()
    }

    #[cache_read(key = "lived:arg:<seconds>", ttl = Duration::from_secs(seconds), skip(db))]
    pub(crate) async fn of_argument(db: &Source, seconds: u64) -> u64 {
        let _ = seconds;
        db.tick()
    }

    #[cache_read(key = "lived:value:<id>", ttl = |row| Duration::from_secs(row.id * factor), skip(db, factor))]
    pub(crate) async fn of_value(db: &Source, id: u64, factor: u64) -> Result<Option<Row>, Broken> {
        let _ = factor;
        db.try_find(id).await
    }

    #[cache_read(key = "lived:sliding", ttl = "10s", refresh = true, skip(db))]
    pub(crate) async fn sliding(db: &Source) -> u64 {
        db.tick()
    }

    #[cache_read(key = "lived:jitter:<id>", ttl = "100s", jitter = "10%", skip(db))]
    pub(crate) async fn jittered(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }

    #[cache_read(key = "lived:spread:<id>", ttl = "100s", jitter = "20s", skip(db))]
    pub(crate) async fn spread(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
}

/// Asserts that a call is a hit just before `ttl` has passed and a miss when it has.
macro_rules! lives_for {
    ($cache:expr, $db:expr, $call:expr, $ttl:expr) => {{
        let (ttl, step): (Duration, Duration) = ($ttl, Duration::from_millis(1));
        let first = $call.await;
        $cache.advance(ttl - step);
        assert_eq!($call.await, first, "{} expired early", stringify!($call));
        $cache.advance(step);
        assert_ne!($call.await, first, "{} outlived {ttl:?}", stringify!($call));
    }};
}

/// A7 E2: every way to say a ttl, to the millisecond.
#[tokio::test]
async fn an_entry_lives_as_long_as_its_ttl_says() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            lives_for!(cache, db, lived::text(&db), 90 * MINUTE);
            lives_for!(cache, db, lived::millis(&db), Duration::from_millis(250));
            lives_for!(cache, db, lived::seconds(&db), 90 * SECOND);
            lives_for!(cache, db, lived::short(&db), 30 * SECOND);
            lives_for!(cache, db, lived::usual(&db), 5 * MINUTE);
            lives_for!(cache, db, lived::unsaid(&db), 5 * MINUTE);
            lives_for!(cache, db, lived::long(&db), 60 * MINUTE);
            lives_for!(cache, db, lived::constant(&db), 77 * SECOND);
            lives_for!(cache, db, lived::expression(&db), 2 * MINUTE);
            lives_for!(cache, db, lived::of_argument(&db, 7), 7 * SECOND);
            lives_for!(cache, db, lived::of_argument(&db, 70), 70 * SECOND);
        })
        .await;
}

/// E2 D2: `"forever"` does not expire.
#[tokio::test]
async fn forever_does_not_expire() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(lived::forever(&db).await, 1);
            cache.advance(SECOND * 86_400 * 365 * 90);
            assert_eq!(lived::forever(&db).await, 1);
            cache.invalidate("lived:forever").await.unwrap();
            assert_eq!(lived::forever(&db).await, 2);
        })
        .await;
}

/// E2: a closure over the value decides how long it lives, and may mention other arguments.
#[tokio::test]
async fn a_value_may_decide_how_long_it_lives() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let load = |id| lived::of_value(&db, id, 10);
            load(1).await.unwrap();
            load(6).await.unwrap();
            cache.advance(10 * SECOND);
            load(1).await.unwrap();
            load(6).await.unwrap();
            assert_eq!(db.loads(), 3);
            cache.advance(50 * SECOND);
            load(6).await.unwrap();
            assert_eq!(db.loads(), 4);
        })
        .await;
}

/// E2: with `refresh = true` a hit gives the entry its whole life again.
#[tokio::test]
async fn a_hit_extends_a_sliding_life() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for _ in 0..5 {
                assert_eq!(lived::sliding(&db).await, 1);
                cache.advance(9 * SECOND);
            }
            cache.advance(SECOND);
            assert_eq!(lived::sliding(&db).await, 2);
        })
        .await;
}

/// E2: jitter spreads lives below the ttl, and never over it.
#[tokio::test]
async fn jitter_spreads_lives_and_never_lengthens_them() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for (least, prefix) in [(90, "jitter"), (80, "spread")] {
                let mut lives = Vec::new();
                for id in 0..200 {
                    if prefix == "jitter" { lived::jittered(&db, id).await } else { lived::spread(&db, id).await };
                    let left = cache.ttl(format!("lived:{prefix}:{id}")).await.unwrap().unwrap().duration().unwrap();
                    assert!(left <= 100 * SECOND && left >= SECOND * least, "{left:?}");
                    lives.push(left);
                }
                let (min, max) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
                assert!(*max - *min > SECOND * (100 - least) / 2, "{min:?}..{max:?} is hardly a spread");
            }
        })
        .await;
}

// -------------------------------------------------------------------------------------------------- what is stored at all

mod kept {
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
            assert_eq!(kept::none_like_a_value(&db, 1).await, None);
            db.write(1, "back");
            cache.advance(9 * SECOND);
            assert_eq!(kept::none_like_a_value(&db, 1).await, None);
            cache.advance(SECOND);
            assert_eq!(kept::none_like_a_value(&db, 1).await.unwrap().name, "back");
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
            kept::none_for_two_seconds(&db, 1).await.unwrap();
            cache.advance(SECOND);
            kept::none_for_two_seconds(&db, 1).await.unwrap();
            assert_eq!(db.loads(), 1);
            cache.advance(SECOND);
            kept::none_for_two_seconds(&db, 1).await.unwrap();
            assert_eq!(db.loads(), 2);
            kept::none_for_two_seconds(&db, 2).await.unwrap();
            cache.advance(9 * SECOND);
            assert!(kept::none_for_two_seconds(&db, 2).await.unwrap().is_some());
            assert_eq!(db.loads(), 3, "a value that is there has the function's ttl");

            kept::none_never(&db, 1).await;
            kept::none_never(&db, 1).await;
            assert_eq!(db.loads(), 5);
            kept::none_never(&db, 2).await.unwrap();
            kept::none_never(&db, 2).await.unwrap();
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
            assert_eq!(kept::err_never(&db, 1).await, Err(Failed));
            assert_eq!(kept::err_never(&db, 1).await, Err(Failed));
            assert_eq!(db.loads(), 2);
            assert_eq!(cache.stats().entries, 0);
            db.set_failing(false);
            assert_eq!(kept::err_never(&db, 1).await, Ok(Row::fresh(1)));
            db.set_failing(true);
            assert_eq!(kept::err_never(&db, 1).await, Ok(Row::fresh(1)));
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
            assert_eq!(kept::err_for_two_seconds(&db, 1).await, Err(Broken(1)));
            cache.advance(SECOND);
            assert_eq!(kept::err_for_two_seconds(&db, 1).await, Err(Broken(1)));
            cache.advance(SECOND);
            assert_eq!(kept::err_for_two_seconds(&db, 1).await, Err(Broken(3 - 1)));
            db.set_failing(false);
            cache.invalidate("err:kept:1").await.unwrap();
            assert_eq!(kept::err_for_two_seconds(&db, 1).await, Ok(Some(Row::fresh(1))), "it can be invalidated");
            db.set_failing(true);
            assert!(kept::err_for_no_time(&db, 1).await.is_err());
            db.set_failing(false);
            assert!(kept::err_for_no_time(&db, 1).await.is_ok());
        })
        .await;
}

/// D2: `cache_if` and `unless` look at the value; what is not stored is returned all the same.
#[tokio::test]
async fn a_value_may_decide_whether_it_is_stored() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(kept::from_version(&db, 1, 2).await, Ok(Row::fresh(1)));
            assert_eq!(kept::from_version(&db, 1, 2).await, Ok(Row::fresh(1)));
            assert_eq!(db.loads(), 2);
            db.write(1, "second");
            assert_eq!(kept::from_version(&db, 1, 2).await.unwrap().version, 2);
            assert_eq!(kept::from_version(&db, 1, 2).await.unwrap().version, 2);
            assert_eq!(db.loads(), 3);

            assert!(kept::not_of_admins(&db, 5).await.is_some());
            assert!(kept::not_of_admins(&db, 5).await.is_some());
            assert_eq!(db.loads(), 5);
            assert!(kept::not_of_admins(&db, 15).await.is_some());
            assert!(kept::not_of_admins(&db, 15).await.is_some());
            assert_eq!(db.loads(), 6);
            assert_eq!(kept::from_version::stats().unstored, 2);
        })
        .await;
}

/// C9: `bypass` neither reads nor stores, and is counted.
#[tokio::test]
async fn bypass_touches_nothing() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(kept::unless_preview(&db, 1, true).await, 1);
            assert_eq!(kept::unless_preview(&db, 1, false).await, 2, "nothing was stored");
            assert_eq!(kept::unless_preview(&db, 1, true).await, 3, "nothing is read");
            assert_eq!(kept::unless_preview(&db, 1, false).await, 2, "nothing was replaced");
            assert_eq!(kept::unless_preview(&db, 0, false).await, 4);
            assert_eq!(kept::unless_preview(&db, 0, false).await, 5);
            assert_eq!(kept::unless_preview::stats().bypassed, 4);
        })
        .await;
}

// ------------------------------------------------------------------------------------------------------- who loads, and when

mod shared {
    use super::*;

    #[cache_read(key = "shared:<id>", lock = true, lock_ttl = "60s", wait = "10s", skip(db))]
    pub(crate) async fn stats_of(db: &Source, id: u64) -> Row {
        db.row(id).await
    }

    #[cache_read(key = "shared:err:<id>", skip(db))]
    pub(crate) async fn cloneable_error(db: &Source, id: u64) -> Result<Option<Row>, Broken> {
        db.try_find(id).await
    }

    #[cache_read(key = "shared:failed:<id>", skip(db))]
    pub(crate) async fn own_error(db: &Source, id: u64) -> Result<Row, Failed> {
        db.load(id).await
    }

    #[cache_read(key = "shared:unstored:<id>", unless = |_| true, skip(db))]
    pub(crate) async fn never_stored(db: &Source, id: u64) -> Row {
        db.row(id).await
    }

    #[cache_read(key = "shared:arc:<id>", skip(db))]
    pub(crate) async fn arc(db: &Source, id: u64) -> Arc<Row> {
        Arc::new(db.row(id).await)
    }
}

/// Starts `callers` calls of which the first loads, lets them all get in, and returns what they returned.
async fn crowd<R: Send + 'static, F: Future<Output = R> + Send + 'static>(
    cache: &Cache,
    db: &Arc<Source>,
    callers: usize,
    call: impl Fn(Arc<Source>) -> F,
) -> Vec<R> {
    let held = db.hold().await;
    let tasks = (0..callers).map(|_| {
        let (cache, call) = (cache.clone(), call(Arc::clone(db)));
        tokio::spawn(async move { cache.scope(call).await })
    });
    let tasks: Vec<_> = tasks.collect();
    until("the first load", || db.loads() > 0).await;
    for _ in 0..callers * 4 {
        tokio::task::yield_now().await;
    }
    drop(held);
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("no caller panics"));
    }
    all
}

/// C10: a hundred callers of a cold key run the body once, and no trace of them is left.
#[tokio::test]
async fn a_hundred_callers_share_one_load() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let all = crowd(&cache, &db, 100, |db| async move { shared::stats_of(&db, 7).await }).await;
    assert!(all.iter().all(|row| *row == Row::fresh(7)));
    assert_eq!(db.loads(), 1);
    let stats = cache.scope(async { shared::stats_of::stats() }).await;
    assert_eq!((stats.loads, stats.coalesced), (1, 99));
    assert_eq!(cache.stats().flights, 0, "no lock is left behind");
}

/// C10: an error that can be cloned goes to everybody who waited; nobody loads again.
#[tokio::test]
async fn waiters_share_an_error_that_can_be_cloned() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    db.set_failing(true);
    let all = crowd(&cache, &db, 20, |db| async move { shared::cloneable_error(&db, 7).await }).await;
    assert!(all.iter().all(|row| *row == Err(Broken(1))), "{all:?}");
    assert_eq!(db.loads(), 1);
}

/// C10: an error that cannot be cloned stays with its caller; one waiter after the other leads.
#[tokio::test]
async fn waiters_of_an_error_that_cannot_be_cloned_lead_in_turn() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    db.set_failing(true);
    let all = crowd(&cache, &db, 5, |db| async move { shared::own_error(&db, 7).await }).await;
    assert!(all.iter().all(|row| *row == Err(Failed)));
    assert_eq!(db.loads(), 5);
    assert_eq!(cache.stats().flights, 0);
}

/// C10: a value that is not stored is still shared with those who waited for it.
#[tokio::test]
async fn waiters_share_a_value_that_is_not_stored() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let all = crowd(&cache, &db, 20, |db| async move { shared::never_stored(&db, 7).await }).await;
    assert!(all.iter().all(|row| *row == Row::fresh(7)));
    assert_eq!(db.loads(), 1);
    cache.scope(shared::never_stored(&db, 7)).await;
    assert_eq!(db.loads(), 2);
}

/// N13: a hit on `Arc<T>` is the same allocation, and so is what waiters get.
#[tokio::test]
async fn an_arc_is_shared_and_not_cloned() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let all = crowd(&cache, &db, 5, |db| async move { shared::arc(&db, 7).await }).await;
    let again = cache.scope(shared::arc(&db, 7)).await;
    assert!(all.iter().all(|row| Arc::ptr_eq(row, &again)));
}

// ------------------------------------------------------------------------------------------------------------ return types

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

// ------------------------------------------------------------------------------------------------ which cache, and if it fails

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

    pub(crate) struct Service {
        pub(crate) cache: Cache,
        pub(crate) db: Source,
    }

    impl Service {
        #[cache_read(key = "service:<id>", cache = self.cache, skip(self))]
        pub(crate) async fn row(&self, id: u64) -> Row {
            self.db.row(id).await
        }
    }

    #[cache_read(key = "injected:<id>", cache = cache, skip(cache, db))]
    pub(crate) async fn injected(cache: &Cache, db: &Source, id: u64) -> Row {
        let _ = cache;
        db.row(id).await
    }

    #[cache_read(key = "placed:load:<id>", skip(db), on_error = load)]
    pub(crate) async fn or_load(db: &Source, id: u64) -> Result<Row, Failed> {
        db.load(id).await
    }

    #[cache_read(key = "placed:fail:<id>", skip(db), on_error = fail)]
    pub(crate) async fn or_fail(db: &Source, id: u64) -> Result<Row, ApiError> {
        db.load(id).await.map_err(|_| ApiError::Source)
    }

    #[cache_read(key = "placed:version:<id>", version = 2, skip(db))]
    pub(crate) async fn second(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }

    #[cache_read(key = "placed:version:<id>", skip(db))]
    pub(crate) async fn first(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
}

/// D7: a function uses the cache that it is given, as a field or a parameter, and not the ambient one.
#[tokio::test]
async fn a_cache_can_be_injected() {
    let (ambient, other) = (Cache::for_test(), Cache::for_test());
    ambient
        .scope(async {
            let service = placed::Service { cache: other.cache().clone(), db: Source::new() };
            service.row(1).await;
            service.row(1).await;
            placed::injected(&other, &service.db, 2).await;
            placed::injected(&other, &service.db, 2).await;
            assert_eq!(service.db.loads(), 2);
            placed::injected(&ambient, &service.db, 2).await;
            assert_eq!(service.db.loads(), 3);
            assert_eq!(other.get::<Row>("service:1").await.unwrap(), Some(Row::fresh(1)));
            assert_eq!(ambient.get::<Row>("service:1").await.unwrap(), None);
            other.invalidate("injected:2").await.unwrap();
            placed::injected(&other, &service.db, 2).await;
            placed::injected(&ambient, &service.db, 2).await;
            assert_eq!(service.db.loads(), 4);
        })
        .await;
}

/// D2 P9: while the store fails, a function calls its source every time, and that is counted.
#[tokio::test]
async fn a_failing_store_is_a_miss_and_is_counted() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            placed::or_load(&db, 1).await.unwrap();
            cache.set_failing(true);
            placed::or_load(&db, 1).await.unwrap();
            placed::or_load(&db, 1).await.unwrap();
            assert_eq!(db.loads(), 3);
            cache.set_failing(false);
            placed::or_load(&db, 1).await.unwrap();
            assert_eq!(db.loads(), 3);
            assert_eq!(placed::or_load::stats().degraded, 2);
        })
        .await;
}

/// D2: with `on_error = fail` the cache's failure is the function's, and the source is not asked.
#[tokio::test]
async fn a_failing_store_is_an_error_where_asked() {
    use placed::ApiError;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            cache.set_failing(true);
            assert_eq!(placed::or_fail(&db, 1).await, Err(ApiError::Cache(ErrorKind::Unavailable)));
            assert_eq!(db.loads(), 0);
            assert_eq!(placed::or_fail::stats().degraded, 1);
            cache.set_failing(false);
            db.set_failing(true);
            assert_eq!(placed::or_fail(&db, 1).await, Err(ApiError::Source));
            db.set_failing(false);
            assert_eq!(placed::or_fail(&db, 1).await, Ok(Row::fresh(1)));
            assert_eq!(placed::or_fail(&db, 1).await, Ok(Row::fresh(1)));
            assert_eq!(db.loads(), 2);
        })
        .await;
}

/// E11: another `version` of one template never reads the other's values.
#[tokio::test]
async fn a_version_keeps_schemas_apart() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(placed::first(&db, 1).await, 1);
            assert_eq!(placed::second(&db, 1).await, 2);
            assert_eq!(placed::second(&db, 1).await, 2);
            assert_eq!(placed::first(&db, 1).await, 3, "the newer version took the key");
        })
        .await;
}

//! Who may read whose entry: functions whose keys meet, schema versions, return types that peel to one stored type.

use std::sync::Arc;

use cache_runtime::{Cache, ErrorKind, cache_read, cache_write, key, memoize, resource};
use cache_tests::{Broken, Failed, Row, Source};

mod same {
    //! One template in several spellings, one type.
    use super::*;

    resource! { pub user("user", id: u64); }

    #[cache_read(key = "user:<id>", skip(db))]
    pub(crate) async fn plain(db: &Source, id: u64) -> Row {
        db.row(id).await
    }
    #[cache_read(key = "user:{user_id}", skip(db))]
    pub(crate) async fn braces(user_id: u64, db: &Source) -> Option<Row> {
        db.find(user_id).await
    }
    #[cache_read(key = ("user", id), skip(db))]
    pub(crate) async fn tuple(db: &Source, id: u64) -> Result<Row, Failed> {
        db.load(id).await
    }
    #[cache_read(resource = user(id), skip(db))]
    pub(crate) async fn of_resource(db: &Source, id: u64) -> Result<Option<Row>, Broken> {
        db.try_find(id).await
    }
    #[cache_read(key = "user:<0>", skip(db))]
    pub(crate) async fn positional(id: u64, db: &Source) -> Arc<Row> {
        Arc::new(db.row(id).await)
    }
    #[cache_read(key = "user:<id>", skip(db))]
    pub(crate) async fn deep(db: &Source, id: u64) -> Result<Option<Arc<Row>>, Broken> {
        Ok(db.try_find(id).await?.map(Arc::new))
    }
}

/// C1 P8: one template and one stored type share an entry, whatever the spelling and whatever the value is wrapped in.
#[tokio::test]
async fn one_template_and_type_share_an_entry() {
    use same::*;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let row = plain(&db, 7).await;
            assert_eq!(braces(7, &db).await.as_ref(), Some(&row));
            assert_eq!(tuple(&db, 7).await.as_ref(), Ok(&row));
            assert_eq!(of_resource(&db, 7).await, Ok(Some(row.clone())));
            assert_eq!(*positional(7, &db).await, row);
            assert_eq!(deep(&db, 7).await.unwrap().as_deref(), Some(&row));
            assert_eq!(cache.get::<Row>("user:7").await.unwrap(), Some(row.clone()));
            assert_eq!(cache.get::<Row>(user(7)).await.unwrap(), Some(row.clone()));
            assert_eq!(cache.get::<Row>(key!("user:<x>", x = 7)).await.unwrap(), Some(row));
            assert_eq!(db.loads(), 1);
        })
        .await;
}

/// C1 B2: `put` from a bare row, or an `Arc` of one, is read back by every wrapping.
#[tokio::test]
async fn a_put_fits_every_wrapping() {
    use same::*;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let row = |id| Row { name: "put".to_owned(), ..Row::fresh(id) };
            deep::put(row(1), 1).await.unwrap();
            assert_eq!(plain(&db, 1).await, row(1));
            plain::put(Arc::new(row(2)), 2).await.unwrap();
            assert_eq!(deep(&db, 2).await.unwrap().as_deref(), Some(&row(2)));
            positional::put(&Arc::new(row(3)), 3).await.unwrap();
            assert_eq!(tuple(&db, 3).await, Ok(row(3)));
            cache.set("user:4", row(4)).await.unwrap();
            assert_eq!(of_resource(&db, 4).await, Ok(Some(row(4))));
            assert_eq!(db.loads(), 0);
        })
        .await;
}

/// C2: an absent value that one function kept is not there for one that cannot say so.
#[tokio::test]
async fn an_absent_value_is_nothing_to_who_cannot_say_it() {
    use same::*;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            db.remove(7);
            assert_eq!(braces(7, &db).await, None);
            assert_eq!(deep(&db, 7).await, Ok(None), "kept as absent");
            assert_eq!(db.loads(), 1);
            assert_eq!(plain(&db, 7).await, Row::fresh(7), "has to load");
            assert_eq!(db.loads(), 2);
        })
        .await;
}

mod meeting {
    //! Different templates that make one text, and one template with different types.
    use super::*;

    #[cache_read(key = "user:<kind>:<id>", skip(db))]
    pub(crate) async fn by_kind(db: &Source, kind: &str, id: u64) -> u64 {
        let _ = (kind, id);
        db.tick()
    }
    #[cache_read(key = "user:profile:<id>", skip(db))]
    pub(crate) async fn profile(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick() + 1000
    }
    #[cache_read(key = "<a>:profile:<id>", skip(db))]
    pub(crate) async fn anything(db: &Source, a: &str, id: u64) -> u64 {
        let _ = (a, id);
        db.tick() + 2000
    }
    #[cache_read(key = "typed:<id>", skip(db))]
    pub(crate) async fn number(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(key = "typed:<id>", skip(db))]
    pub(crate) async fn text(db: &Source, id: u64) -> Result<String, Failed> {
        let _ = id;
        Ok(db.tick().to_string())
    }
    #[cache_read(key = "typed:<id>", skip(db))]
    pub(crate) async fn of_str(db: &Source, id: &str) -> u64 {
        let _ = id;
        db.tick() + 5000
    }
    #[memoize(key = "typed:<id>", skip(db))]
    pub(crate) fn memoized(db: &Source, id: u64) -> Option<Arc<u32>> {
        let _ = id;
        u32::try_from(db.tick()).ok().map(Arc::new)
    }

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(crate) struct Row {
        pub(crate) id: u64,
    }
    #[cache_read(key = "struct:<id>", skip(db))]
    pub(crate) async fn mine(db: &Source, id: u64) -> Row {
        db.tick();
        Row { id }
    }
    #[cache_read(key = "struct:<id>", skip(db))]
    pub(crate) async fn theirs(db: &Source, id: u64) -> cache_tests::Row {
        db.row(id).await
    }
}

/// P8: functions whose templates meet on one key never see each other's values.
#[tokio::test]
async fn templates_that_meet_keep_their_values_apart() {
    use meeting::*;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for _ in 0..3 {
                let (a, b, c) =
                    (by_kind(&db, "profile", 7).await, profile(&db, 7).await, anything(&db, "user", 7).await);
                assert!(a < 1000 && (1000..2000).contains(&b) && c >= 2000, "{a} {b} {c}");
            }
            assert_eq!(by_kind::key("profile", 7).as_str(), profile::key(7).as_str());
            assert_ne!(by_kind::key("profile", 7).template(), profile::key(7).template(), "keys know their templates");
        })
        .await;
}

/// P8 E11: one template with different types: each gets its own type, never the other's value.
#[tokio::test]
async fn types_that_meet_keep_their_values_apart() {
    use meeting::*;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for round in 0..3 {
                let before = db.loads();
                assert_eq!(number(&db, 7).await, before + 1, "round {round}");
                assert_eq!(text(&db, 7).await.unwrap(), (before + 2).to_string());
                assert_eq!(memoized(&db, 7).map(|n| u64::from(*n)), Some(before + 3));
                assert_eq!(mine(&db, 7).await.id, 7);
                assert_eq!(theirs(&db, 7).await, cache_tests::Row::fresh(7));
            }
            number(&db, 7).await;
            assert_eq!(text::peek(7).await.unwrap(), None);
        })
        .await;
}

/// P8: a number and a text that read the same are of different kinds of parameter.
#[tokio::test]
async fn parameters_that_read_the_same() {
    use meeting::*;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let number = number(&db, 7).await;
            let text = of_str(&db, "7").await;
            assert!(number < 5000 && text >= 5000, "{number} {text}");
        })
        .await;
}

mod none {
    use super::*;

    #[cache_read(key = "none:<region>", skip(db))]
    pub(crate) async fn by_region(db: &Source, region: Option<&str>) -> u64 {
        let _ = region;
        db.tick()
    }
    #[cache_read(key = "list:<regions>:<nested>", skip(db))]
    pub(crate) async fn by_regions(db: &Source, regions: Vec<Option<String>>, nested: Option<Option<u8>>) -> u64 {
        let _ = (regions, nested);
        db.tick()
    }
}

/// N3 P8: `None` is not `"None"`, nor empty, nor anything that text could look like.
#[tokio::test]
async fn none_is_not_a_text() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let key = none::by_region::key(None);
            let likely = [
                "None",
                "none",
                "null",
                "",
                "%",
                "%N",
                "-",
                "~",
                "<none>",
                key.as_str(),
                key.as_str().rsplit(':').next().unwrap(),
            ];
            let none = none::by_region(&db, None).await;
            for text in likely {
                assert_ne!(none::by_region(&db, Some(text)).await, none, "{text:?}");
            }
            let mut seen = std::collections::BTreeSet::new();
            let some = |text: &str| Some(text.to_owned());
            for regions in [
                vec![],
                vec![None],
                vec![None, None],
                vec![some("")],
                vec![some(""), some("")],
                vec![some("None")],
                vec![some("a"), some("b")],
                vec![some("a,b")],
                vec![some("a:b")],
            ] {
                for nested in [None, Some(None), Some(Some(0))] {
                    assert!(
                        seen.insert(none::by_regions(&db, regions.clone(), nested).await),
                        "{regions:?} {nested:?}"
                    );
                }
            }
        })
        .await;
}

mod put {
    use super::*;

    #[cache_write(put = same::deep(id))]
    pub(crate) async fn from_row(db: &Source, id: u64) -> Row {
        db.write(id, "row")
    }
    #[cache_write(put = same::plain(id))]
    pub(crate) async fn from_result_option_arc(db: &Source, id: u64) -> Result<Option<Arc<Row>>, Broken> {
        Ok(Some(Arc::new(db.write(id, "deep"))))
    }
    #[cache_write(put = same::tuple(result.id))]
    pub(crate) async fn from_option(db: &Source, id: u64) -> Option<Row> {
        Some(db.write(id, "option"))
    }
    #[cache_write(put = "user:<id>")]
    pub(crate) async fn from_arc_by_key(db: &Source, id: u64) -> Arc<Row> {
        Arc::new(db.write(id, "arc"))
    }
}

/// B2 C1: a write's result becomes the entry of a reader of any wrapping.
#[tokio::test]
async fn a_written_result_fits_every_wrapping() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            put::from_row(&db, 1).await;
            put::from_result_option_arc(&db, 2).await.unwrap();
            put::from_option(&db, 3).await;
            put::from_arc_by_key(&db, 4).await;
            let mut names = Vec::new();
            for id in 1..=4 {
                names.push(same::deep(&db, id).await.unwrap().unwrap().name.clone());
                assert_eq!(same::plain(&db, id).await.id, id);
            }
            assert_eq!(names, ["row", "deep", "option", "arc"]);
            assert_eq!(db.loads(), 0);
        })
        .await;
}

mod hole {
    use super::*;

    /// Nothing here says that `T` is no `Result`; `Unpin` least of all.
    #[cache_read(key = "hole:<T>", skip(make))]
    pub(crate) async fn unpin<T, F>(make: F) -> T
    where
        T: Unpin + Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
        F: Fn() -> T + Send + Sync,
    {
        make()
    }
}

/// A1: a type parameter that stands for a `Result` never ends in a cached `Err`.
#[tokio::test]
async fn a_type_parameter_never_ends_in_a_cached_error() {
    let cache = Cache::for_test();
    cache
        .scope(async {
            let first: Result<u64, String> = hole::unpin(|| Err("down".to_owned())).await;
            let second: Result<u64, String> = hole::unpin(|| Ok(1)).await;
            assert_eq!((first, second), (Err("down".to_owned()), Ok(1)));
        })
        .await;
}

mod schema {
    use super::*;

    #[cache_read(key = "schema:<id>", version = 1, skip(db))]
    pub(crate) async fn first(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(key = "schema:<id>", skip(db))]
    pub(crate) async fn unsaid(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(key = "schema:<id>", version = 2, skip(db))]
    pub(crate) async fn second(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(key_with = |id| format!("with/{id}"), skip(db))]
    pub(crate) async fn with_first(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(key_with = |id| format!("with/{id}"), version = 2, skip(db))]
    pub(crate) async fn with_second(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(resource = same::user(id), suffix = "v", skip(db))]
    pub(crate) async fn of_first(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(resource = same::user(id), suffix = "v", version = 2, skip(db))]
    pub(crate) async fn of_second(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(version = 2, key = "turned:<id>", skip(db))]
    pub(crate) async fn turned(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_read(key = "turned:<id>", skip(db))]
    pub(crate) async fn turned_first(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    #[cache_write(put = second(id))]
    pub(crate) async fn put_second(db: &Source, id: u64) -> u64 {
        let _ = (db, id);
        99
    }
}

/// E11: schema versions of one key never read each other's values; 1 is what it is where nothing is said.
#[tokio::test]
async fn schema_versions_are_kept_apart() {
    use schema::*;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!((first(&db, 1).await, unsaid(&db, 1).await), (1, 1));
            assert_eq!((second(&db, 1).await, second(&db, 1).await), (2, 2));
            assert_eq!(first(&db, 1).await, 3);
            assert_eq!(second::peek(1).await.unwrap(), None);
            put_second(&db, 1).await;
            assert_eq!(second(&db, 1).await, 99);
            assert_eq!(first::peek(1).await.unwrap(), None);
            cache.invalidate("schema:1").await.unwrap();
            assert_eq!(second::peek(1).await.unwrap(), None, "all versions are one name for tags");
        })
        .await;
}

/// E11: however the key is made, and wherever in the attribute the version stands.
#[tokio::test]
async fn every_kind_of_key_has_versions() {
    use schema::*;
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for n in 0..2 {
                assert_eq!((with_first(&db, 1).await, with_second(&db, 1).await), (n * 6 + 1, n * 6 + 2));
                assert_eq!((of_first(&db, 1).await, of_second(&db, 1).await), (n * 6 + 3, n * 6 + 4));
                assert_eq!((turned_first(&db, 1).await, turned(&db, 1).await), (n * 6 + 5, n * 6 + 6));
            }
        })
        .await;
}

/// C4 E11: caches of different prefix or version are different keys of one layout.
#[tokio::test]
async fn prefix_and_version_are_part_of_every_key() {
    for (cache, prefix) in [
        (Cache::builder().ignore_env().build().await.unwrap(), "svc:v1"),
        (Cache::builder().ignore_env().prefix("shop").version("v7").build().await.unwrap(), "shop:v7"),
    ] {
        assert_eq!(cache.info().await.unwrap().prefix, prefix);
        cache.set("k", 1_u8).await.unwrap();
        assert_eq!(cache.get::<u8>("k").await.unwrap(), Some(1));
        assert_eq!(cache.keys("*").collect::<Vec<_>>().await.unwrap()[0].as_str(), "k", "keys are logical");
    }
    let error = Cache::builder().ignore_env().prefix("a*").build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

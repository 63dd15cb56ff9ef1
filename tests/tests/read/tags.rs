//! Tags and namespaces: what an entry becomes invalid by.

use std::sync::Arc;

use cache_runtime::{Cache, cache_read, resource};
use cache_tests::{Broken, Row, Source};

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

//! `each(id in ids)`: one entry per element, one call of the body with the missing elements.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, cache_read, cache_write};
use cache_tests::{Broken, Failed, Row, Source, until};
use parking_lot::Mutex;

/// A source that also remembers what it was asked for, call by call.
#[derive(Default)]
struct Db {
    source: Source,
    asked: Mutex<Vec<Vec<u64>>>,
}

impl Db {
    /// The rows that are there.
    async fn rows(&self, ids: impl IntoIterator<Item = u64>) -> Vec<Row> {
        let ids: Vec<u64> = ids.into_iter().collect();
        self.asked.lock().push(ids.clone());
        let mut rows = Vec::new();
        for id in ids {
            rows.extend(self.source.find(id).await);
        }
        rows
    }

    /// What it was asked for since the last time.
    fn asked(&self) -> Vec<Vec<u64>> {
        let mut asked = std::mem::take(&mut *self.asked.lock());
        asked.iter_mut().for_each(|ids| ids.sort_unstable());
        asked
    }
}

#[cache_read(key = "user:<id>", ttl = "5m", tags = ["users", "user:<id>", "org:<result.org_id>"], skip(db), each(id in ids))]
async fn get_users(db: &Db, ids: Vec<u64>) -> HashMap<u64, Row> {
    db.rows(ids).await.into_iter().map(|row| (row.id, row)).collect()
}

#[cache_read(key = "user:<id>", ttl = "5m", tags = ["users", "user:<id>", "org:<result.org_id>"], skip(db))]
async fn get_user(db: &Db, id: u64) -> Option<Row> {
    db.rows([id]).await.pop()
}

#[cache_read(key = "slice:<id>", skip(db), each(id in ids))]
async fn by_position(db: &Db, ids: &[u64]) -> Result<Vec<Option<Row>>, Broken> {
    let rows: HashMap<u64, Row> = db.rows(ids.iter().copied()).await.into_iter().map(|row| (row.id, row)).collect();
    if rows.contains_key(&666) {
        return Err(Broken(666));
    }
    Ok(ids.iter().map(|id| rows.get(id).cloned()).collect())
}

#[cache_read(key = "set:<id>", skip(db), each(id in ids))]
async fn of_hash_set(db: &Db, ids: HashSet<u64>) -> Result<HashMap<u64, Arc<Row>>, Failed> {
    Ok(db.rows(ids).await.into_iter().map(|row| (row.id, Arc::new(row))).collect())
}

#[cache_read(key = "tree:<org>:<id>", skip(db), each(id in ids))]
async fn of_tree_set(db: &Db, org: &str, ids: &BTreeSet<u64>) -> BTreeMap<u64, Row> {
    let _ = org;
    db.rows(ids.iter().copied()).await.into_iter().map(|row| (row.id, row)).collect()
}

#[cache_read(key = "by:<id>", ttl = "10s", ttl_none = "2s", skip(db), each(id in ids), by = |row| row.id)]
async fn by_field(db: &Db, ids: &[u64]) -> Vec<Row> {
    db.rows(ids.iter().copied()).await
}

#[cache_read(key = "names:<name>", skip(db), each(name in names))]
async fn by_name(db: &Db, names: Vec<String>) -> HashMap<String, u64> {
    names.into_iter().map(|name| (name, db.source.tick())).collect()
}

#[cache_write(tags = ["user:<id>"], recache = [get_users(db, vec![id, id + 1])])]
async fn rename(db: &Db, id: u64, name: &str) -> Row {
    db.source.write(id, name)
}

#[cache_write(put = get_users(id), tags = ["org:<result.org_id>"])]
async fn put_one(db: &Db, id: u64, name: &str) -> Row {
    db.source.write(id, name)
}

fn ids(map: &HashMap<u64, Row>) -> Vec<u64> {
    let mut ids: Vec<u64> = map.keys().copied().collect();
    ids.sort_unstable();
    ids
}

/// N12 C3: only elements that are not cached reach the body, in one call.
#[tokio::test]
async fn only_missing_elements_reach_the_source() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            assert_eq!(ids(&get_users(&db, vec![1, 2, 3]).await), [1, 2, 3]);
            assert_eq!(db.asked(), [[1, 2, 3]]);
            let users = get_users(&db, vec![2, 3, 4, 5]).await;
            assert_eq!(ids(&users), [2, 3, 4, 5]);
            assert_eq!(users[&2], Row::fresh(2));
            assert_eq!(db.asked(), [[4, 5]]);
            assert_eq!(ids(&get_users(&db, vec![5, 1]).await), [1, 5]);
            assert!(get_users(&db, Vec::new()).await.is_empty());
            assert!(db.asked().is_empty(), "nothing missing: the body does not run");
        })
        .await;
}

/// N12 C3: a batch and a single read of one template share entries, both ways.
#[tokio::test]
async fn a_batch_shares_entries_with_the_single_read() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            get_user(&db, 1).await.unwrap();
            get_users(&db, vec![1, 2]).await;
            get_user(&db, 2).await.unwrap();
            assert_eq!(db.asked(), [[1], [2]]);
        })
        .await;
}

/// N12: an absent element is kept as absent, and left out of maps.
#[tokio::test]
async fn absent_elements_are_remembered() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            db.source.remove(2);
            assert_eq!(ids(&get_users(&db, vec![1, 2]).await), [1]);
            assert_eq!(ids(&get_users(&db, vec![1, 2]).await), [1]);
            assert_eq!(get_user(&db, 2).await, None, "for the single read, too");
            assert_eq!(db.asked(), [[1, 2]]);
            db.source.write(2, "back");
            cache.invalidate("user:2").await.unwrap();
            assert_eq!(ids(&get_users(&db, vec![1, 2]).await), [1, 2]);
            assert_eq!(db.asked(), [[2]]);
        })
        .await;
}

/// N12: `Vec<Option<V>>` answers by position, duplicates and absent ones included.
#[tokio::test]
async fn a_slice_is_answered_by_position() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            db.source.remove(9);
            by_position(&db, &[5]).await.unwrap();
            db.asked();
            let got = by_position(&db, &[3, 9, 5, 3, 1, 9, 5]).await.unwrap();
            let got: Vec<Option<u64>> = got.into_iter().map(|row| row.map(|row| row.id)).collect();
            assert_eq!(got, [Some(3), None, Some(5), Some(3), Some(1), None, Some(5)]);
            assert_eq!(db.asked(), [[1, 3, 9]], "each missing element once");
            assert_eq!(by_position(&db, &[]).await.unwrap(), []);
        })
        .await;
}

/// N12: a failing body's error is returned, nothing of it is stored, what was there stays.
#[tokio::test]
async fn a_failing_batch_stores_nothing() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            by_position(&db, &[1]).await.unwrap();
            assert_eq!(by_position(&db, &[1, 2, 666]).await, Err(Broken(666)));
            assert_eq!(db.asked(), [vec![1], vec![2, 666]]);
            by_position(&db, &[1, 2]).await.unwrap();
            assert_eq!(db.asked(), [[2]]);
            assert_eq!(cache.stats().flights, 0);
        })
        .await;
}

/// N12: hash sets, tree sets by reference, arcs, trees as results; further parameters select, too.
#[tokio::test]
async fn sets_and_maps_of_every_kind() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            let first = of_hash_set(&db, HashSet::from([1, 2])).await.unwrap();
            let second = of_hash_set(&db, HashSet::from([2, 3])).await.unwrap();
            assert!(Arc::ptr_eq(&first[&2], &second[&2]), "an element is shared");
            assert_eq!(db.asked(), [vec![1, 2], vec![3]]);

            let set = BTreeSet::from([4, 5]);
            let tree = of_tree_set(&db, "a", &set).await;
            assert_eq!(tree.into_keys().collect::<Vec<_>>(), [4, 5]);
            of_tree_set(&db, "a", &set).await;
            of_tree_set(&db, "b", &set).await;
            assert_eq!(db.asked(), [[4, 5], [4, 5]]);

            let names = by_name(&db, vec!["x".to_owned(), "y:z".to_owned()]).await;
            assert_eq!(by_name(&db, vec!["y:z".to_owned(), "x".to_owned()]).await, names);
        })
        .await;
}

/// N12 C2: with `by`, a list of rows finds its elements; absent ones live as long as `ttl_none` says.
#[tokio::test]
async fn rows_are_told_apart_by_a_field() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            db.source.remove(2);
            let sorted = |mut rows: Vec<Row>| {
                rows.sort();
                rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
            };
            assert_eq!(sorted(by_field(&db, &[3, 2, 1]).await), [1, 3]);
            assert_eq!(sorted(by_field(&db, &[1, 2, 3, 4]).await), [1, 3, 4]);
            assert_eq!(db.asked(), [vec![1, 2, 3], vec![4]]);
            cache.advance(Duration::from_secs(2));
            by_field(&db, &[1, 2, 3, 4]).await;
            assert_eq!(db.asked(), [[2]]);
            cache.advance(Duration::from_secs(8));
            by_field(&db, &[1, 3]).await;
            assert_eq!(db.asked(), [[1, 3]]);
        })
        .await;
}

/// N12 A2: every element has its own tags, those of its value too.
#[tokio::test]
async fn every_element_has_its_own_tags() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            get_users(&db, vec![1, 11, 12]).await;
            db.asked();
            cache.invalidate("org:1").await.unwrap();
            get_users(&db, vec![1, 11, 12]).await;
            assert_eq!(db.asked(), [[11, 12]]);
            cache.invalidate("user:1").await.unwrap();
            get_users(&db, vec![1, 11, 12]).await;
            assert_eq!(db.asked(), [[1]]);
            cache.invalidate("users").await.unwrap();
            get_users(&db, vec![1, 11, 12]).await;
            assert_eq!(db.asked(), [[1, 11, 12]]);
        })
        .await;
}

/// N12 C10: overlapping batches and single reads that run at once load every element once.
#[tokio::test]
async fn concurrent_batches_load_each_element_once() {
    let (cache, db) = (Cache::for_test(), Arc::new(Db::default()));
    let held = db.source.hold().await;
    let spawn = |ids: Vec<u64>| {
        let db = Arc::clone(&db);
        tokio::spawn(cache.scope(async move { get_users(&db, ids).await.len() as u64 }))
    };
    let mut tasks = vec![spawn(vec![1, 2, 3]), spawn(vec![3, 2, 4]), spawn(vec![5, 4, 1]), spawn(vec![1, 2, 3])];
    let single = Arc::clone(&db);
    tasks.push(tokio::spawn(cache.scope(async move { get_user(&single, 3).await.map_or(0, |row| row.id) })));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(held);
    for task in tasks {
        assert_eq!(task.await.unwrap(), 3);
    }
    let mut asked: Vec<u64> = db.asked().concat();
    asked.sort_unstable();
    assert_eq!(asked, [1, 2, 3, 4, 5]);
    assert_eq!(cache.stats().flights, 0);
}

/// N12 P1: an element that is invalidated while its batch loads is not stored; the others are.
#[tokio::test]
async fn an_invalidated_element_is_not_stored() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            let held = db.source.hold().await;
            let invalidate = async {
                until("the batch loads", || db.source.loads() == 1).await;
                cache.invalidate("user:2").await.unwrap();
                cache.invalidate("org:1").await.unwrap();
                drop(held);
            };
            let (users, ()) = tokio::join!(get_users(&db, vec![1, 2, 15, 25]), invalidate);
            assert_eq!(ids(&users), [1, 2, 15, 25]);
            db.asked();
            get_users(&db, vec![1, 2, 15, 25]).await;
            assert_eq!(db.asked(), [[2, 15]]);
        })
        .await;
}

/// N12 N11: the verbs are about one element; `refresh` and `bypass` take what the function takes.
#[tokio::test]
async fn verbs_are_about_one_element() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            get_users(&db, vec![1, 2]).await;
            assert_eq!(get_users::peek(1).await.unwrap(), Some(Row::fresh(1)));
            assert_eq!(get_users::key(1).as_str(), "user:1");
            get_users::invalidate(1).await.unwrap();
            assert_eq!(get_users::peek(1).await.unwrap(), None);
            get_users::put(&Row { org_id: 99, ..Row::fresh(1) }, 1).await.unwrap();
            assert_eq!(get_users(&db, vec![1]).await[&1].org_id, 99);
            cache.invalidate("org:99").await.unwrap();
            assert_eq!(get_users::peek(1).await.unwrap(), None);
            db.asked();
            db.source.write(2, "new");
            assert_eq!(get_users::refresh(&db, vec![2, 3]).await[&2].name, "new");
            assert_eq!(get_users(&db, vec![2, 3]).await[&2].name, "new");
            assert_eq!(get_users::bypass(&db, vec![3]).await[&3].id, 3);
            assert_eq!(db.asked(), [vec![2, 3], vec![3]]);
            get_users::clear().await.unwrap();
            assert_eq!(cache.stats().entries, 0);
            let row = put_one(&db, 5, "put").await;
            assert_eq!(get_users(&db, vec![5]).await[&5], row);
            let warmed = get_users::warm([vec![6, 7], vec![8]], |ids| (&db, ids)).await;
            assert_eq!(warmed.done, 2);
            db.asked();
            assert_eq!(ids(&get_users(&db, vec![5, 6, 7, 8]).await), [5, 6, 7, 8]);
            assert!(db.asked().is_empty());
            assert_eq!(of_tree_set::key("a", 7).as_str(), "tree:a:7");
            by_name::invalidate("x".to_owned()).await.unwrap();
        })
        .await;
}

/// N12 A5: a batch can be recached.
#[tokio::test]
async fn a_batch_is_recached() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            get_users(&db, vec![1, 2, 3]).await;
            db.asked();
            rename(&db, 1, "new").await;
            assert_eq!(db.asked(), [[1, 2]], "what is named, whatever is there");
            assert_eq!(get_users(&db, vec![1, 2, 3]).await[&1].name, "new");
            assert!(db.asked().is_empty());
        })
        .await;
}

/// N12 P9: while the store fails, the body gets all elements.
#[tokio::test]
async fn a_failing_store_is_a_miss_of_all() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            get_users(&db, vec![1, 2]).await;
            cache.set_failing(true);
            assert_eq!(ids(&get_users(&db, vec![1, 2]).await), [1, 2]);
            assert_eq!(db.asked(), [[1, 2], [1, 2]]);
            assert!(get_users::stats().degraded > 0);
        })
        .await;
}

/// B8: a batch counts hits, misses and loads by element or by call in the way that its numbers add up.
#[tokio::test]
async fn a_batch_is_counted() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            get_users(&db, vec![1, 2, 3]).await;
            get_users(&db, vec![1, 2, 3, 4]).await;
            let stats = get_users::stats();
            assert_eq!((stats.hits, stats.misses), (3, 4));
            assert_eq!(stats.latency.count, 2, "the body ran twice");
        })
        .await;
}

// -------------------------------------------------------------------------------------------- with every other option

mod options {
    use super::*;

    #[derive(Debug, PartialEq)]
    pub(crate) enum ApiError {
        Cache(cache_runtime::ErrorKind),
    }
    impl From<cache_runtime::Error> for ApiError {
        fn from(error: cache_runtime::Error) -> Self {
            Self::Cache(error.kind())
        }
    }

    #[cache_read(
        key = "opt:<id>",
        ttl = |row| Duration::from_secs(row.id),
        cache_if = |row| row.id % 2 == 1,
        namespace = "opt:<team>",
        bypass = ids.is_empty() || team == "none",
        each(id in ids),
        skip(db, team),
        version = 3
    )]
    pub(crate) async fn many(db: &Db, team: &str, ids: &[u64]) -> HashMap<u64, Row> {
        let _ = team;
        db.rows(ids.iter().copied()).await.into_iter().map(|row| (row.id, row)).collect()
    }

    #[cache_read(key = "fail:<id>", each(id in ids), skip(db), on_error = fail)]
    pub(crate) async fn or_fail(db: &Db, ids: Vec<u64>) -> Result<HashMap<u64, Row>, ApiError> {
        Ok(db.rows(ids).await.into_iter().map(|row| (row.id, row)).collect())
    }

    #[cache_read(key = "by:result:<id>", each(id in ids), by = |row| row.id, skip(db))]
    pub(crate) async fn by_in_result(db: &Db, ids: &HashSet<u64>) -> Result<Vec<Arc<Row>>, Failed> {
        Ok(db.rows(ids.iter().copied()).await.into_iter().map(Arc::new).collect())
    }

    #[cache_read(key = "pairs:<pair.0>:<pair.1>", each(pair in pairs), skip(db))]
    pub(crate) async fn of_pairs(db: &Db, pairs: Vec<(u64, String)>) -> Vec<Option<u64>> {
        pairs.iter().map(|(id, text)| (*id > 0).then(|| db.source.tick() + text.len() as u64)).collect()
    }

    #[cache_read(key = "names:<name>", each(name in names), skip(db))]
    pub(crate) async fn of_strings(db: &Db, names: &[String]) -> BTreeMap<String, u64> {
        names.iter().map(|name| (name.clone(), db.source.tick())).collect()
    }

    pub(crate) struct Repo {
        pub(crate) db: Db,
        pub(crate) shard: u32,
    }

    impl Repo {
        #[cache_read(key = "repo:<self.shard>:<id>", each(id in ids), tags = ["shard:<self.shard>"])]
        pub(crate) async fn rows(&self, ids: &[u64]) -> Result<HashMap<u64, Row>, Failed> {
            Ok(self.db.rows(ids.iter().copied()).await.into_iter().map(|row| (row.id, row)).collect())
        }
    }
}

/// N12: `ttl`, `cache_if`, `namespace`, `bypass` and `version` are about each element.
#[tokio::test]
async fn options_are_about_each_element() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            options::many(&db, "red", &[1, 2, 5]).await;
            options::many(&db, "red", &[1, 2, 5]).await;
            assert_eq!(db.asked(), [vec![1, 2, 5], vec![2]], "even ones are not stored");
            cache.advance(Duration::from_secs(1));
            options::many(&db, "red", &[1, 5]).await;
            assert_eq!(db.asked(), [[1]], "each has its own life");
            options::many(&db, "none", &[1, 5]).await;
            assert_eq!(db.asked(), [[1, 5]], "bypassed");
            cache.invalidate_namespace("opt:red").await.unwrap();
            options::many(&db, "blue", &[1, 5]).await;
            assert_eq!(db.asked(), [[1, 5]]);
        })
        .await;
}

/// N12 D2: with `on_error = fail` a failing store is the function's error.
#[tokio::test]
async fn a_batch_fails_with_the_store_where_asked() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            options::or_fail(&db, vec![1]).await.unwrap();
            cache.set_failing(true);
            let error = options::or_fail(&db, vec![1, 2]).await.unwrap_err();
            assert_eq!(error, options::ApiError::Cache(cache_runtime::ErrorKind::Unavailable));
            cache.set_failing(false);
            options::or_fail(&db, vec![1, 2]).await.unwrap();
            assert_eq!(db.asked(), [[1], [2]]);
        })
        .await;
}

/// N12: further shapes: `by` inside `Result` over `Arc`s, tuples and strings as elements, methods.
#[tokio::test]
async fn further_shapes() {
    let (cache, db) = (Cache::for_test(), Db::default());
    cache
        .scope(async {
            db.source.remove(3);
            let set = HashSet::from([1, 2, 3]);
            for _ in 0..2 {
                let mut ids: Vec<u64> =
                    options::by_in_result(&db, &set).await.unwrap().iter().map(|row| row.id).collect();
                ids.sort_unstable();
                assert_eq!(ids, [1, 2]);
            }
            assert_eq!(db.asked(), [[1, 2, 3]]);

            let pair = |id, text: &str| (id, text.to_owned());
            let first = options::of_pairs(&db, vec![pair(1, "a:b"), pair(0, "x"), pair(1, "a")]).await;
            assert_eq!(first[1], None);
            let second = options::of_pairs(&db, vec![pair(1, "a"), pair(1, "a:b"), pair(0, "x")]).await;
            assert_eq!(second, [first[2], first[0], None]);

            let names = ["b".to_owned(), "a".to_owned()];
            assert_eq!(options::of_strings(&db, &names).await, options::of_strings(&db, &names).await);

            let repo = options::Repo { db: Db::default(), shard: 1 };
            repo.rows(&[1, 2]).await.unwrap();
            repo.rows(&[2, 3]).await.unwrap();
            assert_eq!(repo.db.asked(), [vec![1, 2], vec![3]]);
            cache.invalidate("shard:1").await.unwrap();
            repo.rows(&[1]).await.unwrap();
            assert_eq!(repo.db.asked(), [[1]]);
        })
        .await;
}

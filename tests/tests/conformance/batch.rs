//! `each(id in ids)`: one entry per element, one call of the body with the missing elements.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{cache_read, cache_write};
use cache_tests::{Broken, Failed, Row, Source};
use parking_lot::Mutex;

use crate::backend::soon;

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

#[cache_read(key = "user:<id>", ttl = "5m", tags = ["users", "row:<id>"], skip(db), each(id in ids))]
async fn get_users(db: &Db, ids: Vec<u64>) -> HashMap<u64, Row> {
    db.rows(ids).await.into_iter().map(|row| (row.id, row)).collect()
}

#[cache_read(key = "user:<id>", ttl = "5m", tags = ["users", "row:<id>"], skip(db))]
async fn get_user(db: &Db, id: u64) -> Option<Row> {
    db.rows([id]).await.pop()
}

#[cache_read(key = "valued:<id>", tags = ["org:<result.org_id>"], skip(db), each(id in ids))]
async fn of_value(db: &Db, ids: Vec<u64>) -> HashMap<u64, Row> {
    db.rows(ids).await.into_iter().map(|row| (row.id, row)).collect()
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

#[cache_read(key = "by:<id>", ttl = "1h", ttl_none = "2m", skip(db), each(id in ids), by = |row| row.id)]
async fn by_field(db: &Db, ids: &[u64]) -> Vec<Row> {
    db.rows(ids.iter().copied()).await
}

#[cache_read(key = "by:result:<id>", each(id in ids), by = |row| row.id, skip(db))]
async fn by_field_in_result(db: &Db, ids: &HashSet<u64>) -> Result<Vec<Arc<Row>>, Failed> {
    Ok(db.rows(ids.iter().copied()).await.into_iter().map(Arc::new).collect())
}

#[cache_read(key = "pairs:<pair.0>:<pair.1>", each(pair in pairs), skip(db))]
async fn of_pairs(db: &Db, pairs: Vec<(u64, String)>) -> Vec<Option<u64>> {
    pairs.iter().map(|(id, text)| (*id > 0).then(|| db.source.tick() + text.len() as u64)).collect()
}

#[cache_read(
    key = "opt:<id>",
    ttl = |row| Duration::from_secs(row.id * 100),
    cache_if = |row| row.id % 2 == 1,
    namespace = "opt:<team>",
    bypass = team == "none",
    each(id in ids),
    skip(db, team),
    version = 3
)]
async fn with_options(db: &Db, team: &str, ids: &[u64]) -> HashMap<u64, Row> {
    let _ = team;
    db.rows(ids.iter().copied()).await.into_iter().map(|row| (row.id, row)).collect()
}

#[cache_read(key = "json:<id>", codec = json, each(id in ids), skip(db))]
async fn as_json(db: &Db, ids: &[u64]) -> HashMap<u64, Row> {
    db.rows(ids.iter().copied()).await.into_iter().map(|row| (row.id, row)).collect()
}

struct Repo {
    db: Db,
    shard: u32,
}

impl Repo {
    #[cache_read(key = "repo:<self.shard>:<id>", each(id in ids), tags = ["shard:<self.shard>"])]
    async fn rows(&self, ids: &[u64]) -> Result<HashMap<u64, Row>, Failed> {
        Ok(self.db.rows(ids.iter().copied()).await.into_iter().map(|row| (row.id, row)).collect())
    }
}

#[cache_write(tags = ["row:<id>"], recache = [get_users(db, vec![id, id + 1])])]
async fn rename(db: &Db, id: u64, name: &str) -> Row {
    db.source.write(id, name)
}

#[cache_write(put = get_users(id))]
async fn put_one(db: &Db, id: u64, name: &str) -> Row {
    db.source.write(id, name)
}

fn ids(map: &HashMap<u64, Row>) -> Vec<u64> {
    let mut ids: Vec<u64> = map.keys().copied().collect();
    ids.sort_unstable();
    ids
}

everywhere! {
    /// N12 C3: only elements that are not cached reach the body, in one call, also those that another process has loaded.
    async fn only_missing_elements_reach_the_source(on: &On) {
        let db = Db::default();
        assert_eq!(ids(&get_users(&db, vec![1, 2, 3]).await), [1, 2, 3]);
        assert_eq!(db.asked(), [[1, 2, 3]]);
        let users = get_users(&db, vec![2, 3, 4, 5]).await;
        assert_eq!(ids(&users), [2, 3, 4, 5]);
        assert_eq!(users[&2], Row::fresh(2));
        assert_eq!(db.asked(), [[4, 5]]);
        assert_eq!(ids(&on.other().await.scope(get_users(&db, vec![5, 1, 6])).await), [1, 5, 6]);
        assert_eq!(db.asked(), [[6]]);
        assert_eq!(ids(&get_users(&db, vec![6, 6, 1]).await), [1, 6]);
        assert!(get_users(&db, Vec::new()).await.is_empty());
        assert!(db.asked().is_empty(), "nothing missing: the body does not run");
        let many: Vec<u64> = (100..400).collect();
        assert_eq!(ids(&get_users(&db, many.clone()).await), many);
        assert_eq!(ids(&get_users(&db, many.clone()).await), many);
        assert_eq!(db.asked(), [many]);
    }

    /// N12 C3: a batch and a single read of one template share entries, both ways, and fall by the same names.
    async fn a_batch_shares_entries_with_the_single_read(on: &On) {
        let (cache, db) = (&on.cache, Db::default());
        get_user(&db, 1).await.unwrap();
        get_users(&db, vec![1, 2]).await;
        get_user(&db, 2).await.unwrap();
        get_user(&db, 2).await.unwrap();
        assert_eq!(db.asked(), [[1], [2]]);
        cache.invalidate("row:2").await.unwrap();
        get_users(&db, vec![1, 2]).await;
        cache.delete("user:1").await.unwrap();
        get_user(&db, 1).await.unwrap();
        get_users(&db, vec![1, 2]).await;
        assert_eq!(db.asked(), [[2], [1]]);
    }

    /// N12 C2: an absent element is kept as absent, left out of maps and lists, `None` by position.
    async fn absent_elements_are_remembered(on: &On) {
        let (cache, db) = (&on.cache, Db::default());
        db.source.remove(2);
        for _ in 0..2 {
            assert_eq!(ids(&get_users(&db, vec![1, 2]).await), [1]);
            assert_eq!(get_user(&db, 2).await, None, "for the single read, too");
            assert_eq!(by_field(&db, &[1, 2]).await, [Row::fresh(1)]);
            assert_eq!(by_position(&db, &[2, 1]).await.unwrap(), [None, Some(Row::fresh(1))]);
        }
        assert_eq!(db.asked(), [[1, 2], [1, 2], [1, 2]]);
        let left = async |key| cache.ttl(key).await.unwrap().unwrap().duration().unwrap().as_secs();
        assert!((100..=120).contains(&left("by:2").await) && left("by:1").await > 3000);
        db.source.write(2, "back");
        cache.invalidate("row:2").await.unwrap();
        assert_eq!(ids(&get_users(&db, vec![1, 2]).await), [1, 2]);
        assert_eq!(db.asked(), [[2]]);
    }

    /// N12: every form of parameter and result: by position with duplicates, sets, trees, arcs, `by`, tuples, JSON, methods.
    async fn every_form_of_a_batch(on: &On) {
        let db = Db::default();
        db.source.remove(9);
        by_position(&db, &[5]).await.unwrap();
        let got = by_position(&db, &[3, 9, 5, 3, 1, 9, 5]).await.unwrap();
        let got: Vec<Option<u64>> = got.into_iter().map(|row| row.map(|row| row.id)).collect();
        assert_eq!(got, [Some(3), None, Some(5), Some(3), Some(1), None, Some(5)]);
        assert_eq!(db.asked(), [vec![5], vec![1, 3, 9]], "each missing element once");
        assert_eq!(by_position(&db, &[]).await.unwrap(), []);

        of_hash_set(&db, HashSet::from([1, 2])).await.unwrap();
        assert_eq!(of_hash_set(&db, HashSet::from([2, 3])).await.unwrap()[&2].id, 2);
        assert_eq!(db.asked(), [vec![1, 2], vec![3]]);
        let set = BTreeSet::from([4, 5]);
        for org in ["a", "a", "b"] {
            assert_eq!(of_tree_set(&db, org, &set).await.into_keys().collect::<Vec<_>>(), [4, 5]);
        }
        assert_eq!(db.asked(), [[4, 5], [4, 5]]);
        for _ in 0..2 {
            assert_eq!(by_field(&db, &[3, 1, 2]).await.iter().map(|row| row.id).collect::<Vec<_>>(), [3, 1, 2]);
            let mut found: Vec<u64> =
                by_field_in_result(&db, &HashSet::from([1, 9])).await.unwrap().iter().map(|row| row.id).collect();
            found.sort_unstable();
            assert_eq!(found, [1]);
            assert_eq!(ids(&as_json(&db, &[1, 2]).await), [1, 2]);
        }
        assert_eq!(db.asked(), [vec![1, 2, 3], vec![1, 9], vec![1, 2]]);
        if on.is_shared() {
            let json: serde_json::Value = serde_json::from_slice(&on.plain("json:2").await.unwrap()).unwrap();
            assert_eq!(json, serde_json::to_value(Row::fresh(2)).unwrap());
        }
        let pair = |id, text: &str| (id, text.to_owned());
        let first = of_pairs(&db, vec![pair(1, "a:b"), pair(0, "x"), pair(1, "a")]).await;
        assert_eq!(first[1], None);
        let second = of_pairs(&db, vec![pair(1, "a"), pair(1, "a:b"), pair(0, "x")]).await;
        assert_eq!(second, [first[2], first[0], None]);

        let repo = Repo { db: Db::default(), shard: 1 };
        repo.rows(&[1, 2]).await.unwrap();
        repo.rows(&[2, 3]).await.unwrap();
        assert_eq!(repo.db.asked(), [vec![1, 2], vec![3]]);
        on.cache.invalidate("shard:1").await.unwrap();
        repo.rows(&[1]).await.unwrap();
        assert_eq!(repo.db.asked(), [[1]]);
    }

    /// N12: a failing body's error is returned, nothing of it is stored, what was there stays, and nobody is kept waiting.
    async fn a_failing_batch_stores_nothing(on: &On) {
        let db = Db::default();
        by_position(&db, &[1]).await.unwrap();
        assert_eq!(by_position(&db, &[1, 2, 666]).await, Err(Broken(666)));
        assert_eq!(db.asked(), [vec![1], vec![2, 666]]);
        by_position(&db, &[1, 2]).await.unwrap();
        by_position(&db, &[1, 2]).await.unwrap();
        assert_eq!(db.asked(), [[2]], "no lease is in the way");
        assert_eq!(on.cache.stats().flights, 0);
    }

    /// N12 A2: every element has its own tags, those of its value too.
    async fn every_element_has_its_own_tags(on: &On) {
        let (cache, db) = (&on.cache, Db::default());
        get_users(&db, vec![1, 11, 12]).await;
        db.asked();
        cache.invalidate("row:1").await.unwrap();
        get_users(&db, vec![1, 11, 12]).await;
        assert_eq!(db.asked(), [[1]]);
        cache.invalidate("users").await.unwrap();
        get_users(&db, vec![1, 11, 12]).await;
        assert_eq!(db.asked(), [[1, 11, 12]]);
        for _ in 0..2 {
            of_value(&db, vec![1, 11, 12]).await;
        }
        db.asked();
        of_value(&db, vec![1, 11, 12]).await;
        assert!(db.asked().is_empty(), "stored by the second load at the latest");
        cache.invalidate("org:1").await.unwrap();
        of_value(&db, vec![1, 11, 12]).await;
        assert_eq!(db.asked(), [[11, 12]]);
    }

    /// N12 C10: overlapping batches and single reads that run at once in a process load every element once.
    async fn concurrent_batches_load_each_element_once(on: &On) {
        let db = Arc::new(Db::default());
        let held = db.source.hold().await;
        let spawn = |ids: Vec<u64>| {
            let db = Arc::clone(&db);
            tokio::spawn(on.cache.scope(async move { get_users(&db, ids).await.len() as u64 }))
        };
        let mut tasks = vec![spawn(vec![1, 2, 3]), spawn(vec![3, 2, 4]), spawn(vec![5, 4, 1]), spawn(vec![1, 2, 3])];
        let single = Arc::clone(&db);
        tasks.push(tokio::spawn(on.cache.scope(async move { get_user(&single, 3).await.map_or(0, |row| row.id) })));
        soon("a batch loads", async || db.source.loads() > 0).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(held);
        for task in tasks {
            assert_eq!(task.await.unwrap(), 3);
        }
        let mut asked: Vec<u64> = db.asked().concat();
        asked.sort_unstable();
        assert_eq!(asked, [1, 2, 3, 4, 5]);
        assert_eq!(on.cache.stats().flights, 0);
    }

    /// P2 N12: who missed just before somebody else of the same template stored it finds that under the lease, and does not
    /// load once more.
    async fn a_miss_that_was_overtaken_does_not_load_again(on: &On) {
        let db = Arc::new(Db::default());
        for round in 0..50 {
            let spawn = |n: u64| {
                let db = Arc::clone(&db);
                tokio::spawn(on.cache.scope(async move {
                    for _ in 0..n {
                        tokio::task::yield_now().await;
                    }
                    if n.is_multiple_of(2) { drop(get_users(&db, vec![round]).await) } else { drop(get_user(&db, round).await) }
                }))
            };
            let tasks: Vec<_> = (0..8).map(spawn).collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(db.asked(), [[round]]);
        }
    }

    /// N12 P1: an element that is invalidated while its batch loads is not stored; the others are.
    async fn an_invalidated_element_is_not_stored(on: &On) {
        let (there, db) = (on.other().await, Db::default());
        let held = db.source.hold().await;
        let invalidate = async {
            soon("the batch loads", async || db.source.loads() == 1).await;
            there.invalidate("row:2").await.unwrap();
            there.delete("user:15").await.unwrap();
            drop(held);
        };
        let (users, ()) = tokio::join!(get_users(&db, vec![1, 2, 15, 25]), invalidate);
        assert_eq!(ids(&users), [1, 2, 15, 25]);
        db.asked();
        get_users(&db, vec![1, 2, 15, 25]).await;
        assert_eq!(db.asked(), [[2, 15]]);
    }

    /// N12 N11 B2 A5: the verbs are about one element; a batch can be put to and recached.
    async fn verbs_are_about_one_element(on: &On) {
        let (cache, db) = (&on.cache, Db::default());
        get_users(&db, vec![1, 2]).await;
        assert_eq!(get_users::peek(1).await.unwrap(), Some(Row::fresh(1)));
        assert_eq!(get_users::key(1).as_str(), "user:1");
        get_users::invalidate(1).await.unwrap();
        assert_eq!(get_users::peek(1).await.unwrap(), None);
        get_users::put(&Row { org_id: 99, ..Row::fresh(1) }, 1).await.unwrap();
        assert_eq!(get_users(&db, vec![1]).await[&1].org_id, 99);
        cache.invalidate("row:1").await.unwrap();
        assert_eq!(get_users::peek(1).await.unwrap(), None);
        db.asked();
        db.source.write(2, "new");
        assert_eq!(get_users::refresh(&db, vec![2, 3]).await[&2].name, "new");
        assert_eq!(get_users(&db, vec![2, 3]).await[&2].name, "new");
        assert_eq!(get_users::bypass(&db, vec![3]).await[&3].id, 3);
        assert_eq!(db.asked(), [vec![2, 3], vec![3]]);
        let row = put_one(&db, 5, "put").await;
        assert_eq!(get_users(&db, vec![5]).await[&5], row);
        assert!(db.asked().is_empty());
        rename(&db, 2, "renamed").await;
        assert_eq!(db.asked(), [[2, 3]], "what is named, whatever is there");
        assert_eq!(get_users(&db, vec![2, 3]).await[&2].name, "renamed");
        assert!(db.asked().is_empty());
        get_users::clear().await.unwrap();
        assert!(cache.keys("*").next().await.is_none());
        assert_eq!(get_users::warm([vec![6, 7], vec![8]], |ids| (&db, ids)).await.done, 2);
        db.asked();
        assert_eq!(ids(&get_users(&db, vec![6, 7, 8]).await), [6, 7, 8]);
        assert!(db.asked().is_empty());
    }

    /// N12: `ttl`, `cache_if`, `namespace`, `bypass` and `version` are about each element.
    async fn options_are_about_each_element(on: &On) {
        let (cache, db) = (&on.cache, Db::default());
        with_options(&db, "red", &[1, 2, 5]).await;
        with_options(&db, "red", &[1, 2, 5]).await;
        assert_eq!(db.asked(), [vec![1, 2, 5], vec![2]], "even ones are not stored");
        let left = async |key| cache.ttl(key).await.unwrap().unwrap().duration().unwrap().as_secs();
        assert!((80..=100).contains(&left("opt:1").await) && (480..=500).contains(&left("opt:5").await));
        with_options(&db, "none", &[1, 5]).await;
        assert_eq!(db.asked(), [[1, 5]], "bypassed");
        cache.invalidate_namespace("opt:red").await.unwrap();
        with_options(&db, "red", &[1, 5]).await;
        assert_eq!(db.asked(), [[1, 5]]);
    }

    /// B8: a batch counts by element.
    async fn a_batch_is_counted(on: &On) {
        let db = Db::default();
        get_users(&db, vec![1, 2, 3]).await;
        get_users(&db, vec![1, 2, 3, 4]).await;
        let stats = get_users::stats();
        assert_eq!((stats.hits, stats.misses), (3, 4));
        assert_eq!(stats.latency.count, 2, "the body ran twice");
        assert_eq!(on.cache.stats().degraded, 0);
    }
}

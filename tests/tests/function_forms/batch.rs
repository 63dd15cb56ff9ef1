//! C3 N12: `each`.
use super::example::user;
use super::{DbError, Source, User, cache_read};
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[cache_read(key = "batch:<id>", tags = [user(id), "name:<result.name>"], each(id in ids), skip(calls))]
async fn users(calls: &Source, ids: Vec<u64>) -> Result<HashMap<u64, User>, DbError> {
    calls.next();
    Ok(ids.into_iter().filter(|id| *id != 0).map(|id| (id, User { id, org_id: 0, name: String::new() })).collect())
}

#[cache_read(key = ("slice", id), each(id in ids))]
async fn slice(ids: &[u64]) -> Vec<Option<u64>> {
    ids.iter().map(|id| id.checked_sub(1)).collect()
}

#[cache_read(resource = user(id), suffix = "batch", each(id in ids), by = |user| user.id)]
async fn listed(ids: BTreeSet<u64>) -> Result<Vec<User>, DbError> {
    Ok(ids.into_iter().map(|id| User { id, org_id: 0, name: String::new() }).collect())
}

#[cache_read(key = auto, each(id in ids))]
async fn ordered(ids: &BTreeSet<String>) -> BTreeMap<String, u64> {
    ids.iter().map(|id| (id.clone(), id.len() as u64)).collect()
}

/// C3 N12: the body sees the missing elements only.
#[tokio::test]
async fn only_missing_elements_are_loaded() {
    super::in_test_cache(async {
        let calls = Source::default();
        assert_eq!(super::assert_send(users(&calls, vec![1, 2, 0])).await.unwrap().len(), 2);
        assert_eq!(users(&calls, vec![1, 2]).await.unwrap().len(), 2);
        assert_eq!(calls.next(), 2);
        assert_eq!(users::key(1).as_str(), "batch:1");
        assert_eq!(users::peek(1).await.unwrap().unwrap().id, 1);
        users::put(User { id: 1, org_id: 5, name: String::new() }, 1).await.unwrap();
        assert_eq!(users(&calls, vec![1]).await.unwrap()[&1].org_id, 5);
        slice::put(5, 9).await.unwrap();
        assert_eq!(slice(&[9]).await, [Some(5)]);
        listed::invalidate(4).await.unwrap();
        assert_eq!(ordered::peek("a".to_owned()).await.unwrap(), None);
        users::invalidate(1).await.unwrap();
        assert_eq!(users(&calls, vec![1, 2]).await.unwrap().len(), 2);
        assert_eq!(calls.next(), 4);
        assert_eq!(slice(&[1, 0, 3]).await, [Some(0), None, Some(2)]);
        assert_eq!(listed([3, 4].into()).await.unwrap().len(), 2);
        assert_eq!(ordered(&["a".to_owned(), "bc".to_owned()].into()).await["bc"], 2);
    })
    .await;
}

//! Several callers, and several processes, at one key at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use cache_runtime::Cache;
use cache_tests::{Failed, Source};

use crate::backend::{On, soon};

/// How many callers run at once; half of them in what stands for another process.
const CALLERS: u64 = 12;

/// Runs `call` for all callers at once, and returns what they returned.
async fn all<T, F>(on: &On, call: impl Fn(Cache, u64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let other = on.other().await;
    let start = Arc::new(tokio::sync::Barrier::new(CALLERS as usize));
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let cache = if caller % 2 == 0 { on.cache.clone() } else { other.clone() };
            let (start, call) = (Arc::clone(&start), call(cache, caller));
            tokio::spawn(async move {
                start.wait().await;
                call.await
            })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("no caller panics"));
    }
    results
}

everywhere! {
    /// A10: of many concurrent set-if-absent one wins, and its value is the one that is there.
    async fn one_set_if_absent_wins(on: &On) {
        for round in 0..10 {
            let key = format!("k{round}");
            let won = all(on, |cache, me| {
                let key = key.clone();
                async move { cache.set_nx(key, me).await.unwrap().then_some(me) }
            })
            .await;
            let winners: Vec<u64> = won.into_iter().flatten().collect();
            assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
            assert_eq!(on.cache.get::<u64>(key).await.unwrap(), Some(winners[0]));
        }
    }

    /// A10: of many concurrent pops one gets the value.
    async fn one_pop_gets_the_value(on: &On) {
        for round in 0..10 {
            let key = format!("k{round}");
            on.cache.set(key.as_str(), round).await.unwrap();
            let got = all(on, |cache, _| {
                let key = key.clone();
                async move { cache.pop::<u64>(key).await.unwrap() }
            })
            .await;
            assert_eq!(got.into_iter().flatten().collect::<Vec<_>>(), [round]);
        }
    }

    /// A10: what is put in and taken out concurrently is taken out once, whoever does it.
    async fn nothing_is_taken_twice(on: &On) {
        let taken = all(on, |cache, me| async move {
            let mut taken = Vec::new();
            for n in 0..40 {
                if me == 0 {
                    cache.set("slot", n).await.unwrap();
                } else {
                    taken.extend(cache.pop::<u64>("slot").await.unwrap());
                }
            }
            taken
        })
        .await
        .concat();
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), taken.len(), "{taken:?}");
    }

    /// A10: while others change an entry all the time, a `pop` takes a value, finds none, or says that it can be retried.
    async fn a_pop_among_writers_takes_nothing_twice(on: &On) {
        let taken = all(on, |cache, me| async move {
            let mut taken = Vec::new();
            for n in 0..30 {
                if me % 2 == 0 {
                    cache.set("slot", me * 1000 + n).await.unwrap();
                } else {
                    match cache.pop::<u64>("slot").await {
                        Ok(value) => taken.extend(value),
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                }
            }
            taken
        })
        .await
        .concat();
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), taken.len(), "{taken:?}");
    }

    /// A10 D1: of many concurrent deletes at least one saw the entry, and it is gone.
    async fn concurrent_deletes_delete(on: &On) {
        on.cache.set("k", 1_u8).await.unwrap();
        let deleted = all(on, |cache, _| async move { cache.delete("k").await.unwrap() }).await;
        assert!(deleted.contains(&true));
        assert!(!on.cache.exists("k").await.unwrap());
    }

    /// B5: tags that are added concurrently are all there.
    async fn concurrent_tags_are_all_there(on: &On) {
        for lost in 0..CALLERS {
            on.cache.set("k", 1_u8).await.unwrap();
            let done = all(on, |cache, me| async move { cache.tag("k", [format!("tag:{me}")]).await.unwrap() }).await;
            assert!(done.into_iter().all(|done| done));
            assert_eq!(on.cache.get::<u8>("k").await.unwrap(), Some(1));
            on.cache.invalidate(format!("tag:{lost}")).await.unwrap();
            assert!(!on.cache.exists("k").await.unwrap(), "tag {lost} got lost");
        }
    }

    /// C10 E5: concurrent `get_or_load` share one load in a process.
    async fn concurrent_get_or_load_share_one_load(on: &On) {
        let db = Arc::new(Source::new());
        let held = db.hold().await;
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (cache, db) = (on.cache.clone(), Arc::clone(&db));
                tokio::spawn(async move { cache.get_or_load("row", || async { Ok::<_, Failed>(db.row(1).await) }).await })
            })
            .collect();
        soon("the load", async || db.loads() == 1).await;
        drop(held);
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap().id, 1);
        }
        assert_eq!(db.loads(), 1);
        assert_eq!(on.cache.stats().flights, 0);
    }
}

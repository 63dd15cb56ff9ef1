//! Machines whose clocks differ: how old an entry is, the server says, and no look of the same call at the same entry says
//! otherwise.

use cache_runtime::{Cache, cache_read};

use super::batch::Rows;
use super::{Broken, On, Source, fleet};

#[cache_read(key = "clock:one", cache = cache, ttl = "60s", stale_if_error = "10m", skip(cache, source))]
async fn one(cache: &Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "clock:locked", cache = cache, ttl = "60s", stale_if_error = "10m", lock = true, skip(cache, source))]
async fn locked(cache: &Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(each(id in ids), key = "clock:each:<id>", cache = cache, ttl = "60s", stale_if_error = "10m", skip(cache, db))]
async fn some(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Result<std::collections::HashMap<u64, u64>, Broken> {
    db.load(ids).await
}

/// N8: an entry past its ttl by the server's clock is loaded, also by a machine whose clock calls it fresh.
async fn what_is_past_its_ttl_is_loaded_whatever_this_machines_clock_says(kind: &str) {
    let (on, rows) = (On::new(kind).await, Rows::default());
    assert_eq!((one(&on.cache, &on.source).await, locked(&on.cache, &on.source).await), (Ok(0), Ok(0)));
    assert_eq!(some(&on.cache, &rows, vec![1]).await.unwrap()[&1], 100);
    // Of eleven minutes, six have gone by.
    let server = fleet::server().await;
    let names: Vec<String> = server.query(&["KEYS", &format!("{}*clock:*", on.prefix)]).await;
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        server.command(&["PEXPIRE", name, "300000"]).await;
    }
    on.source.set(1);
    rows.source.set(1);
    let there = on.other().await;
    assert_eq!((one(&there, &on.source).await, locked(&there, &on.source).await), (Ok(1), Ok(1)));
    assert_eq!(some(&there, &rows, vec![1]).await.unwrap()[&1], 101);
    // What was stored by that is as young as it was.
    let third = on.other().await;
    assert_eq!((one(&third, &on.source).await, locked(&third, &on.source).await), (Ok(1), Ok(1)));
    assert_eq!(some(&third, &rows, vec![1]).await.unwrap()[&1], 101);
    assert_eq!((on.source.loads(), rows.source.loads()), (4, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redis() {
    what_is_past_its_ttl_is_loaded_whatever_this_machines_clock_says("redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_hybrid_cache() {
    what_is_past_its_ttl_is_loaded_whatever_this_machines_clock_says("hybrid").await;
}

//! What the page says of a Redis server: that it is there, that it went away, and what waits for it.

use std::time::Duration;

use cache_runtime::Cache;
use cache_tests::eventually;
use cache_tests::redis::Server;
use serde_json::{Value, json};

use super::http::{get, post};
use super::shop::{get_product, mounted};

/// N14: breaker, undelivered invalidations and the lease of copies in memory, before and after the server dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_shown() {
    let redis = Server::start().await;
    let cache = Cache::builder().url(format!("hybrid+{}", redis.url())).build().await.unwrap();
    let page = mounted(&cache, |admin| admin).await;
    cache.scope(get_product(1)).await;
    let now = async || get("/cache/stats").send(page.at).await.json();
    eventually("copies are served", Duration::from_secs(20), async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        now().await["totals"]["copies_served"] == json!(true)
    })
    .await;
    let stats = now().await;
    assert_eq!(
        (&stats["cache"]["backend"], &stats["backend"]["up"], &stats["backend"]["reason"]),
        (&json!("hybrid"), &json!(true), &Value::Null)
    );
    let server = &stats["backend"]["server"];
    assert_eq!((&server["mode"], &server["shards"]), (&json!("standalone"), &json!(1)));
    assert_eq!(stats["backend"]["servers"][0]["breaker"], json!("closed"));
    assert!(stats["totals"]["copies_lease_ms"].as_u64() > Some(0), "{stats}");

    redis.kill();
    let token = page.token().await;
    let body = json!({ "kind": "tag", "name": "product:1", "confirmed": true });
    let late = post("/cache/invalidate", &body).header("x-cache-token", token).send(page.at).await;
    assert_eq!((late.status, late.json()["done"].clone()), (503, json!(false)), "it is said that it did not arrive");
    eventually("the loss is shown", Duration::from_secs(30), async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let stats = now().await;
        let gone = stats["backend"]["up"] == json!(false) && stats["backend"]["servers"][0]["breaker"] == json!("open");
        gone && stats["totals"]["undelivered"].as_u64() > Some(0) && stats["totals"]["copies_served"] == json!(false)
    })
    .await;
    assert_eq!(get("/cache/health").send(page.at).await.status, 503);
}

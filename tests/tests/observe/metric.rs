//! C7: metrics, as a Prometheus server gets them.

use std::time::Duration;

use cache_runtime::{Breaker, Cache, Tenant, cache_read, cache_write, memoize, resource};
use cache_tests::redis::Server;
use cache_tests::{Failed, Row, Source, eventually};

use crate::scrape::{Endpoint, Scraped};

resource! {
    /// A customer.
    pub customer("customer", id: u64);
}

#[cache_read(key = "metric:user:<id>", ttl = "1m", tags = ["metric:user:<id>"], skip(db))]
async fn get_user(db: &Source, id: u64) -> Result<Row, Failed> {
    db.load(id).await
}

#[cache_write(tags = ["metric:user:<id>"], recache = [get_user(db, id)])]
async fn rename(db: &Source, id: u64, name: &str) -> Row {
    db.write(id, name)
}

#[cache_read(resource = customer(id), suffix = "profile", skip(db))]
async fn get_profile(db: &Source, id: u64) -> Result<Row, Failed> {
    db.load(id).await
}

#[cache_read(key = "metric:aging:<id>", ttl = "1m", stale = "1m", skip(db))]
async fn aging(db: std::sync::Arc<Source>, id: u64) -> Result<Row, Failed> {
    db.load(id).await
}

#[cache_read(key = "metric:locked:<id>", lock = true, skip(db))]
async fn locked(db: &Source, id: u64) -> Row {
    tokio::time::sleep(Duration::from_millis(300)).await;
    db.row(id).await
}

#[memoize(skip(db))]
fn number(db: &Source, n: u64) -> u64 {
    n + db.tick()
}

/// Everything that a recorder may be told of, on a hybrid cache.
pub(crate) async fn everything() -> Scraped {
    let endpoint = Endpoint::start();
    let _recording = endpoint.record();
    let (server, db) = (Server::start().await, std::sync::Arc::new(Source::new()));
    let open = async || Cache::builder().ignore_env().url(format!("hybrid+{}", server.url())).build().await.unwrap();
    let (cache, elsewhere) = (open().await, open().await);
    cache
        .scope(async {
            for _ in 0..3 {
                get_user(&db, 1).await.unwrap();
            }
            get_profile(&db, 1).await.unwrap();
            rename(&db, 1, "Ada").await;
            number(&db, 1);
            cache.invalidate("metric:user:1").await.unwrap();
        })
        .await;
    // Another process of the fleet, as far as these caches know.
    let other = elsewhere.scope(locked(&db, 2));
    let here = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cache.scope(locked(&db, 2)).await
    };
    assert_eq!(tokio::join!(other, here), (Row::fresh(2), Row::fresh(2)));
    let old = Cache::for_test();
    old.scope(async {
        aging(db.clone(), 1).await.unwrap();
        old.advance(Duration::from_secs(90));
        aging(db.clone(), 1).await.unwrap();
        old.close().await.unwrap();
    })
    .await;
    cache.publish_metrics();
    endpoint.scrape()
}

/// C7: the three names that dashboards of other programs know, and the numbers behind them, right after they happened.
#[tokio::test]
async fn a_prometheus_endpoint_shows_what_happened_by_resource_and_operation() {
    let endpoint = Endpoint::start();
    let _recording = endpoint.record();
    let (cache, db) = (Cache::memory(), Source::new());
    cache
        .scope(async {
            for id in [1, 1, 1, 2] {
                get_user(&db, id).await.unwrap();
                number(&db, id);
            }
            get_profile(&db, 1).await.unwrap();
            get_profile(&db, 1).await.unwrap();
            let seen = endpoint.scrape();
            assert_eq!(seen.count(r#"cache_hits_total{resource_type="get_user"}"#), 2);
            assert_eq!(seen.count(r#"cache_misses_total{resource_type="get_user"}"#), 2);
            assert_eq!(seen.count(r#"cache_hits_total{resource_type="number"}"#), 2);
            assert_eq!(seen.count(r#"cache_hits_total{resource_type="customer"}"#), 1, "the resource's name");
            assert_eq!(seen.count(r#"cache_operation_duration_seconds_count{operation="load"}"#), 5);
            assert_eq!(
                seen.count(r#"cache_operation_duration_seconds_count{operation="hit"}"#),
                3,
                "the first of each"
            );
            assert!(seen.text.contains("# TYPE cache_hits_total counter"));
            assert!(seen.text.contains("# HELP cache_hits_total Calls answered from the cache."));
            get_user(&db, 1).await.unwrap();
            assert_eq!(endpoint.scrape().count(r#"cache_hits_total{resource_type="get_user"}"#), 3, "at once");
        })
        .await;
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (6, 5));
}

/// C7: what the guarantees need, from a real server.
#[tokio::test]
async fn what_the_guarantees_need_is_there_too() {
    let seen = everything().await;
    for operation in ["hit", "load", "write", "refresh", "recache", "invalidate", "lease_wait"] {
        let series = format!(r#"cache_operation_duration_seconds_count{{operation="{operation}"}}"#);
        assert!(seen.count(&series) > 0, "{operation}: {}", seen.text);
    }
    assert_eq!(seen.count(r#"cache_lease_waits_total{resource_type="locked"}"#), 1);
    assert_eq!(seen.count(r#"cache_stale_total{resource_type="aging"}"#), 1);
    assert_eq!(seen.count(r#"cache_invalidations_total{resource_type="rename"}"#), 1);
    assert_eq!(seen.count(r#"cache_recached_total{resource_type="rename"}"#), 1);
    assert_eq!(seen.get(r#"cache_copies_served{cache="svc:v1"}"#), Some(1.0));
    assert!(seen.get(r#"cache_copies_lease_seconds{cache="svc:v1"}"#).unwrap() > 0.0);
    assert!(seen.text.contains("cache_breaker_state{cache=\"svc:v1\",server=\"127.0.0.1:"), "{}", seen.text);
    assert!(seen.get(r#"cache_entries{cache="svc:v1"}"#).unwrap() > 0.0);
    assert_eq!(seen.get(r#"cache_degraded_total{resource_type="get_user",cause="unavailable"}"#), Some(0.0));
    assert_eq!(seen.get(r#"cache_evictions_total{cause="full"}"#), Some(0.0), "published before the first one");
}

/// C7 P6: a server that is away shows: the breaker, calls without the cache by cause, invalidations that wait.
#[tokio::test]
async fn a_server_that_is_away_shows() {
    let endpoint = Endpoint::start();
    let _recording = endpoint.record();
    let (server, db) = (Server::start().await, Source::new());
    let cache = Cache::builder().ignore_env().url(server.url()).prefix("away").build().await.unwrap();
    assert_eq!(cache.stats().servers[0].breaker, Breaker::Closed);
    assert!(server.url().contains(&cache.stats().servers[0].name));
    server.kill();
    cache
        .scope(async {
            get_user(&db, 1).await.unwrap();
            rename(&db, 1, "Ada").await;
            eventually("the breaker to open", Duration::from_secs(10), async || {
                get_user(&db, 1).await.unwrap();
                cache.stats().servers[0].breaker == Breaker::Open
            })
            .await;
        })
        .await;
    let state = &cache.stats().servers[0];
    assert!(state.error.is_some(), "{state:?}");
    cache.publish_metrics();
    let seen = endpoint.scrape();
    assert_eq!(seen.get(&format!(r#"cache_breaker_state{{cache="away:v1",server="{}"}}"#, state.name)), Some(2.0));
    assert!(seen.count(r#"cache_degraded_total{resource_type="get_user",cause="unavailable"}"#) >= 2, "{}", seen.text);
    assert!(seen.get(r#"cache_undelivered{cache="away:v1"}"#).unwrap() >= 1.0);
    assert_eq!(seen.count("cache_undelivered_total"), 1);
}

/// C7: a recorder that is installed late is told of everything from then on, of each series.
#[tokio::test]
async fn a_recorder_that_comes_late_hears_the_next_operation() {
    let (cache, db) = (Cache::memory(), Source::new());
    let call = async || cache.scope(get_user(&db, 1)).await.unwrap();
    call().await;
    call().await;
    let (first, second) = (Endpoint::start(), Endpoint::start());
    let hits = |endpoint: &Endpoint| endpoint.scrape().count(r#"cache_hits_total{resource_type="get_user"}"#);
    {
        let _recording = first.record();
        call().await;
        assert_eq!(hits(&first), 1);
        {
            let _recording = second.record();
            call().await;
            call().await;
        }
        call().await;
    }
    assert_eq!((hits(&first), hits(&second)), (2, 2));
    assert_eq!(cache.stats().hits, 5);
}

/// C7: several caches of one process add up.
#[tokio::test]
async fn caches_of_one_program_add_up() {
    let endpoint = Endpoint::start();
    let _recording = endpoint.record();
    let db = Source::new();
    for _ in 0..3 {
        let cache = Cache::memory();
        cache.scope(async { (get_user(&db, 1).await.unwrap(), get_user(&db, 1).await.unwrap()) }).await;
    }
    assert_eq!(endpoint.scrape().count(r#"cache_hits_total{resource_type="get_user"}"#), 3);
}

/// C7: a program that has metrics of these names keeps its own.
#[tokio::test]
async fn a_prefix_keeps_the_programs_own_metrics_apart() {
    let endpoint = Endpoint::start();
    let _recording = endpoint.record();
    metrics::counter!("cache_hits_total", "resource_type" => "get_user").increment(40);
    let cache = Cache::builder().ignore_env().metrics_prefix("shop_cache").build().await.unwrap();
    let db = Source::new();
    cache.scope(async { (get_user(&db, 1).await.unwrap(), get_user(&db, 1).await.unwrap()) }).await;
    cache.publish_metrics();
    let seen = endpoint.scrape();
    assert_eq!(seen.count(r#"cache_hits_total{resource_type="get_user"}"#), 40);
    assert_eq!(seen.count(r#"shop_cache_hits_total{resource_type="get_user"}"#), 1);
    let strangers: Vec<_> = seen.names().into_iter().filter(|name| !name.starts_with("shop_cache_")).collect();
    assert_eq!(strangers, ["cache_hits_total"]);
    for wrong in ["", "1cache", "my-cache", "käse"] {
        let error = Cache::builder().ignore_env().metrics_prefix(wrong).build().await.unwrap_err();
        assert!(error.to_string().starts_with("metrics_prefix"), "{error}");
    }
}

/// C7 P7: keys, tags and tenants are as many as there are users, and no label.
#[tokio::test]
async fn no_argument_becomes_a_label() {
    let endpoint = Endpoint::start();
    let _recording = endpoint.record();
    let (cache, db) = (Cache::memory(), Source::new());
    for id in 0..50 {
        let tenant = Tenant::new(format!("secret-tenant-{id}")).unwrap();
        let calls = async {
            get_user(&db, id + 7_770_000).await.unwrap();
            rename(&db, id + 7_770_000, "Ada").await;
            cache.set(format!("secret-key-{id}"), id).tags([format!("secret-tag-{id}")]).await.unwrap();
            cache.invalidate(format!("secret-tag-{id}")).await.unwrap();
        };
        tenant.scope(cache.scope(calls)).await;
    }
    cache.publish_metrics();
    let seen = endpoint.scrape();
    let series = seen.series().join("\n");
    assert!(!series.contains("secret") && !series.contains("777"), "{series}");
    let labels: Vec<_> = seen.labels().into_iter().collect();
    assert_eq!(labels, ["cache", "cause", "le", "operation", "resource_type"]);
}

/// C7 E8: with statistics off, calls that go well are not told either; what is lost is.
#[tokio::test]
async fn statistics_that_are_off_are_not_told() {
    let endpoint = Endpoint::start();
    let _recording = endpoint.record();
    let cache = Cache::builder().ignore_env().stats(false).build().await.unwrap();
    let db = Source::new();
    cache.scope(async { (get_user(&db, 1).await.unwrap(), get_user(&db, 1).await.unwrap()) }).await;
    let seen = endpoint.scrape();
    assert_eq!(
        (seen.count(r#"cache_hits_total{resource_type="get_user"}"#), seen.text.contains("cache_misses")),
        (0, false)
    );
}

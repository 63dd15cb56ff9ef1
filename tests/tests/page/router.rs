//! What each endpoint answers, and what invalidating does.

use cache_runtime::{Cache, Tenant};
use serde_json::{Value, json};

use super::http::{Answer, get, post};
use super::shop::{Served, banner, get_product, mounted};

async fn invalidate(page: &Served, body: Value) -> Answer {
    post("/cache/invalidate", &body).header("x-cache-token", page.token().await).send(page.at).await
}

/// N14: the page is there with and without a slash, loads nothing from elsewhere, and says so.
#[tokio::test]
async fn the_page_is_one_document_that_may_load_nothing_else() {
    let page = mounted(&Cache::memory(), |admin| admin).await;
    for path in ["/cache", "/cache/"] {
        let answer = get(path).send(page.at).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert!(
            answer.body.contains(&format!("<script nonce=\"{nonce}\">")),
            "the nonce of the policy is that of the script"
        );
        assert!(!answer.body.contains("{{"), "everything is filled in");
        assert!(
            !answer.body.contains("src=\"http")
                && !answer.body.contains("href=\"http")
                && !answer.body.contains("@import")
        );
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_ne!(
        get("/cache").send(page.at).await.body,
        get("/cache").send(page.at).await.body,
        "each answer has its own nonce"
    );
}

/// N14: numbers per function and in all.
#[tokio::test]
async fn stats_have_what_each_function_did() {
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    cache
        .scope(async {
            for _ in 0..4 {
                get_product(3).await;
            }
            cache.set("direct", 1_u64).await.unwrap();
            cache.get::<u64>("direct").await.unwrap();
        })
        .await;
    let stats = get("/cache/stats").send(page.at).await.json();
    assert_eq!((stats["totals"]["hits"].as_u64(), stats["totals"]["loads"].as_u64()), (Some(4), Some(1)));
    assert_eq!(
        (&stats["cache"]["backend"], &stats["backend"]["up"], &stats["closed"]),
        (&json!("memory"), &Value::Null, &json!(false))
    );
    let rows = stats["functions"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == "get_product").unwrap();
    assert_eq!(
        (&row["hits"], &row["misses"], &row["entries"], &row["kind"]),
        (&json!(3), &json!(1), &json!(1), &json!("cache_read"))
    );
    assert!(row["bytes"].as_u64() > Some(0) && row["load"]["p50_ns"].as_u64() > Some(1_000_000), "{row}");
    assert!(row["saved_ns"].as_u64() >= Some(3_000_000), "{row}");
    assert!(rows.iter().any(|row| row["kind"] == "direct" && row["hits"] == 1), "{rows:?}");
    let functions = get("/cache/functions").send(page.at).await.json();
    assert_eq!(functions.as_array().unwrap().len(), rows.len());
}

/// N14: the catalogue with its problems; a tag that another service carries is none.
#[tokio::test]
async fn the_catalogue_names_functions_and_problems() {
    let page = mounted(&Cache::memory(), |admin| admin).await;
    let catalogue = get("/cache/catalogue").send(page.at).await.json();
    let product = catalogue["functions"].as_array().unwrap().iter().find(|one| one["name"] == "get_product").unwrap();
    assert_eq!((&product["key"], &product["ttl"]), (&json!("product:<id>"), &json!("5m")));
    let problems = catalogue["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0]["text"].as_str().unwrap().contains("`prodcut:<id>`, which no cached function carries"));
    let calm = mounted(&Cache::memory(), |admin| admin.allow_tag("prodcut:<id>")).await;
    assert_eq!(get("/cache/catalogue").send(calm.at).await.json()["problems"], json!([]));
}

/// N14: health follows the cache.
#[tokio::test]
async fn health_is_503_once_the_cache_is_closed() {
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    let up = get("/cache/health").send(page.at).await;
    assert_eq!((up.status, up.json()), (200, json!({ "status": "up" })));
    cache.close().await.unwrap();
    let down = get("/cache/health").send(page.at).await;
    assert_eq!((down.status, down.json()), (503, json!({ "status": "down", "reason": "the cache was closed" })));
    assert_eq!(get("/cache/stats").send(page.at).await.json()["closed"], json!(true), "numbers are there nevertheless");
}

/// N14: a tag, a key and a function, each dropping what it names and nothing else.
#[tokio::test]
async fn tags_keys_and_functions_are_invalidated() {
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    let there = async |id| cache.scope(get_product::peek(id)).await.unwrap().is_some();
    let path = format!("{}::get_product", module_path!().replace("router", "shop"));
    for (body, answer, left) in [
        (json!({ "kind": "tag", "name": "product:1", "confirmed": true }), json!({ "done": true }), [false, true]),
        (
            json!({ "kind": "key", "name": "product:1", "confirmed": true }),
            json!({ "done": true, "dropped": 1 }),
            [false, true],
        ),
        (
            json!({ "kind": "key", "name": "product:9", "confirmed": true }),
            json!({ "done": true, "dropped": 0 }),
            [true, true],
        ),
        (json!({ "kind": "function", "name": path, "confirmed": true }), json!({ "done": true }), [false, false]),
    ] {
        cache.scope(async { (get_product(1).await, get_product(2).await, banner(1).await) }).await;
        let said = invalidate(&page, body.clone()).await;
        assert_eq!((said.status, said.json()), (200, answer), "{body}");
        assert_eq!([there(1).await, there(2).await], left, "{body}");
        assert!(cache.scope(banner::peek(1)).await.unwrap().is_some(), "{body}: another function's entry stays");
    }
}

/// N14: what cannot be done is said, and nothing is done.
#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    cache.scope(get_product(1)).await;
    for (body, status, reason) in [
        (json!({ "kind": "tag", "name": "product:1" }), 400, "not confirmed"),
        (json!({ "kind": "tag", "name": "product:1", "confirmed": false }), 400, "not confirmed"),
        (json!({ "kind": "cache", "name": "product:1", "confirmed": true }), 400, "unknown variant `cache`"),
        (json!({ "kind": "tag", "confirmed": true }), 400, "missing field `name`"),
        (json!({ "kind": "tag", "name": "product:1", "force": 1, "confirmed": true }), 400, "unknown field `force`"),
        (json!({ "kind": "tag", "name": "", "confirmed": true }), 422, "the tag is empty"),
        (json!({ "kind": "function", "name": "no::such", "confirmed": true }), 404, "no cached function"),
        (
            json!({ "kind": "tag", "name": "product:1", "tenant": "a:b", "confirmed": true }),
            400,
            "a tenant name cannot contain",
        ),
    ] {
        let said = invalidate(&page, body.clone()).await;
        assert_eq!(said.status, status, "{body}: {said:?}");
        assert!(said.json()["reason"].as_str().unwrap().contains(reason), "{body}: {said:?}");
    }
    let long = invalidate(&page, json!({ "kind": "key", "name": "x".repeat(20_000), "confirmed": true })).await;
    assert_eq!(long.status, 413);
    let token = page.token().await;
    let torn =
        post("/cache/invalidate", &json!(null)).body("{\"kind\":").header("x-cache-token", token).send(page.at).await;
    assert_eq!(torn.status, 400);
    assert!(cache.scope(get_product::peek(1)).await.unwrap().is_some(), "nothing was dropped");
}

/// N14, E7: as one tenant, or as none, whatever the request is in.
#[tokio::test]
async fn an_invalidation_is_that_of_the_tenant_it_names() {
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    let (one, two) = (Tenant::new("one").unwrap(), Tenant::new("two").unwrap());
    let load = async || {
        cache.scope(get_product(1)).await;
        one.scope(cache.scope(get_product(1))).await;
        two.scope(cache.scope(get_product(1))).await;
    };
    let there = async || {
        let none = cache.scope(get_product::peek(1)).await.unwrap().is_some();
        let one = one.scope(cache.scope(get_product::peek(1))).await.unwrap().is_some();
        [none, one, two.scope(cache.scope(get_product::peek(1))).await.unwrap().is_some()]
    };
    load().await;
    invalidate(&page, json!({ "kind": "tag", "name": "product:1", "tenant": "one", "confirmed": true })).await;
    assert_eq!(there().await, [true, false, true]);
    load().await;
    invalidate(&page, json!({ "kind": "tag", "name": "product:1", "tenant": null, "confirmed": true })).await;
    assert_eq!(there().await, [false, true, true]);
}

/// N14, E7: where tenants are isolated, an invalidation without one is refused and says what to do.
#[tokio::test]
async fn isolated_tenants_have_to_be_named() {
    let cache = Cache::builder().url("mem://").enforce_tenant_isolation(true).build().await.unwrap();
    let page = mounted(&cache, |admin| admin).await;
    for kind in ["tag", "key", "function"] {
        let name =
            if kind == "function" { module_path!().replace("router", "shop::get_product") } else { "x".to_owned() };
        let said = invalidate(&page, json!({ "kind": kind, "name": name, "confirmed": true })).await;
        assert_eq!(
            (said.status, &said.json()["reason"]),
            (422, &json!("tenants are isolated: name the tenant whose entries are meant")),
            "{kind}"
        );
        let said = invalidate(&page, json!({ "kind": kind, "name": name, "tenant": "one", "confirmed": true })).await;
        assert_eq!(said.status, 200, "{kind}: {said:?}");
    }
}

/// N14: nobody reads values or keys here, whatever they ask.
#[tokio::test]
async fn no_answer_has_a_value_or_a_key_in_it() {
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    cache.scope(banner(4242)).await;
    cache.set("key-of-direct-access", "secret-value".to_owned()).await.unwrap();
    for path in ["", "/stats", "/functions", "/catalogue", "/health"] {
        let answer = get(format!("/cache{path}")).send(page.at).await;
        assert_eq!(answer.status, 200, "{path}");
        for secret in ["secret-value", "4242", "key-of-direct-access"] {
            assert!(!answer.body.contains(secret), "{path} has {secret}");
        }
    }
}

/// C7, N14: what the program's recorder has, and the gauges of this cache as they are now.
#[tokio::test]
async fn metrics_are_those_of_the_programs_recorder() {
    // For all tests of this program: there is one.
    let handle = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    let cache = Cache::builder().ignore_env().prefix("measured").build().await.unwrap();
    cache.scope(async { (get_product(1).await, get_product(2).await) }).await;
    let page = mounted(&cache, |admin| admin.metrics(move || handle.render())).await;
    let answer = get("/cache/metrics").send(page.at).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    assert!(answer.body.contains("cache_entries{cache=\"measured:v1\"} 2"), "{}", answer.body);
    let without = mounted(&cache, |admin| admin).await;
    assert_eq!(get("/cache/metrics").send(without.at).await.status, 404);
}

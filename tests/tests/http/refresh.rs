//! Requests that want something new of what is kept, and handlers that fail them.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use cache_runtime::Cache;
use cache_runtime::http::CacheLayer;
use cache_tests::http::Server;
use cache_tests::{eventually, redis};

use crate::support::{Calls, Gate, answering, service, with};

const SOON: Duration = Duration::from_secs(10);

const CONTROL: &str = "max-age=10, stale-if-error=1000";
const NEW: [(&str, &str); 1] = [("cache-control", "no-cache")];

/// Answers the first request, and others as their `x-status` says.
fn failing(n: u64, request: &Request) -> Response {
    let status = request.headers().get("x-status").and_then(|status| status.to_str().ok()?.parse().ok());
    let status: u16 = status.unwrap_or(if n == 1 { 200 } else { 503 });
    let headers = if status == 200 { &[("cache-control", CONTROL)][..] } else { &[] };
    with(headers, (StatusCode::from_u16(status).expect("a status"), format!("call {n}")))
}

/// RFC 5861, section 4: an error is 500, 502, 503 or 504. Everything else is the handler's answer.
#[tokio::test]
async fn who_asks_for_something_new_is_told_what_the_handler_says() {
    for (age, name) in [(0, "fresh"), (20, "old")] {
        let it = service(|layer| layer, failing).await;
        assert_eq!(it.get("/").await.text(), "call 1");
        it.cache.clock().advance(Duration::from_secs(age));
        let mut calls = 1;
        for status in ["404", "403", "401", "429", "501", "505"] {
            let reply = it.get_with("/", &[NEW[0], ("x-status", status)]).await;
            calls += 1;
            assert_eq!((reply.status.to_string(), reply.text()), (status.into(), &*format!("call {calls}")), "{name}");
        }
        for status in ["500", "502", "503", "504"] {
            let reply = it.get_with("/", &[NEW[0], ("x-status", status)]).await;
            calls += 1;
            assert_eq!((reply.status, reply.text(), reply.is_hit()), (200, "call 1", true), "{name} {status}");
            assert_eq!(it.calls.count(), calls);
        }
    }
}

/// The same for who takes what is old: a status that is no failure is no reason to serve it.
#[tokio::test]
async fn what_is_old_is_served_for_failures_only() {
    for (status, served) in [("505", 505), ("507", 507), ("501", 501), ("404", 404), ("500", 200), ("504", 200)] {
        let it = service(|layer| layer, failing).await;
        it.get("/").await;
        it.cache.clock().advance(Duration::from_secs(20));
        assert_eq!(it.get_with("/", &[("x-status", status)]).await.status, served);
    }
}

/// What was promised for failures is served for them and for no longer, and to nobody who asks for another variant.
#[tokio::test]
async fn what_is_too_old_or_another_variant_is_not_served_for_a_failure() {
    let answer = |n, request: &Request| {
        let mut response = failing(n, request);
        response.headers_mut().append("vary", "x-a".parse().expect("a header"));
        response
    };
    let it = service(|layer| layer, answer).await;
    it.get("/").await;
    assert_eq!(it.get_with("/", &[NEW[0], ("x-a", "1")]).await.status, 503);
    // What is old is looked for where it lies, which may be somebody else's.
    it.cache.clock().advance(Duration::from_secs(20));
    assert_eq!(it.get_with("/", &[NEW[0], ("x-a", "1")]).await.status, 503);
    it.cache.clock().advance(Duration::from_secs(989));
    assert_eq!(it.get_with("/", &NEW).await.status, 200);
    it.cache.clock().advance(Duration::from_secs(1));
    assert_eq!(it.get_with("/", &NEW).await.status, 503);

    let silent = |n, _: &Request| {
        if n == 1 {
            with(&[("cache-control", "max-age=10, stale-while-revalidate=99")], "call 1")
        } else {
            StatusCode::BAD_GATEWAY.into_response()
        }
    };
    for age in [0, 20] {
        let it = service(|layer| layer, silent).await;
        it.get("/").await;
        it.cache.clock().advance(Duration::from_secs(age));
        assert_eq!(it.get_with("/", &NEW).await.status, 502);
    }
}

/// An error that one client brings about is no failure of the handler to those who waited for its answer: they ask themselves.
#[tokio::test]
async fn who_waits_for_a_request_that_is_refused_is_served_nothing_old() {
    let (cache, calls, gate) = (Cache::for_test(), Calls::default(), Gate::new());
    let (count, wait) = (calls.clone(), gate.clone());
    let handler = move |request: Request| async move {
        let n = count.next();
        if n > 1 {
            wait.pass().await;
        }
        let refused = request.headers().contains_key("x-status");
        if refused { failing(n, &request) } else { with(&[("cache-control", CONTROL)], format!("call {n}")) }
    };
    let app = Router::new().route("/", get(handler)).layer(CacheLayer::with((*cache).clone()));
    let server = std::sync::Arc::new(Server::start(app).await);
    assert_eq!(server.get("/").await.text(), "call 1");
    cache.clock().advance(Duration::from_secs(20));
    let ask = |headers: &'static [(&str, &str)]| {
        let server = std::sync::Arc::clone(&server);
        tokio::spawn(async move { server.get_with("/", headers).await })
    };
    let refused = ask(&[("cache-control", "no-cache"), ("x-status", "403")]);
    eventually("the handler is called", SOON, async || calls.count() == 2).await;
    let misses = cache.stats().misses;
    let waiting: Vec<_> = (0..5).map(|_| ask(&[])).collect();
    eventually("the others wait", SOON, async || cache.stats().misses >= misses + 5).await;
    gate.open(2);
    assert_eq!(refused.await.expect("a reply").status, 403);
    for reply in waiting {
        let reply = reply.await.expect("a reply");
        assert_eq!((reply.status, reply.text()), (200, "call 3"));
    }
    assert_eq!(calls.count(), 3);
}

/// The same on a server that processes share.
#[tokio::test]
async fn who_asks_for_something_new_on_redis_is_told_what_the_handler_says() {
    let redis = redis::Server::start().await;
    for (scheme, name) in [("", "a"), ("hybrid+", "b")] {
        let calls = Calls::default();
        let cache = Cache::builder().url(format!("{scheme}{}", redis.url())).build().await.expect("a cache");
        let answer = |n, request: &Request| {
            let mut response = failing(n, request);
            if n == 1 {
                response
                    .headers_mut()
                    .insert("cache-control", "max-age=1, stale-if-error=1000".parse().expect("a header"));
            }
            response
        };
        let app = answering(&calls, answer).layer(CacheLayer::with(cache).name(name));
        let server = Server::start(app).await;
        server.get("/").await;
        for round in 0..2 {
            let refused = server.get_with("/", &[NEW[0], ("x-status", "403")]).await;
            assert_eq!(refused.status, 403, "{scheme} {round}");
            let failed = server.get_with("/", &[NEW[0], ("x-status", "503")]).await;
            assert_eq!((failed.status, failed.text()), (200, "call 1"), "{scheme} {round}");
            tokio::time::sleep(Duration::from_millis(1200)).await;
        }
        assert_eq!(calls.count(), 5, "{scheme}");
    }
}

//! Responses that several processes share, on real servers.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use cache_runtime::Cache;
use cache_runtime::http::{CacheLayer, Tags};
use cache_tests::eventually;
use cache_tests::http::Server;
use cache_tests::redis;

use crate::support::{Calls, answering, with};

const SOON: Duration = Duration::from_secs(10);

/// A service of its own on the same Redis server, as another process would be.
async fn service<R: axum::response::IntoResponse>(
    url: &str,
    set: impl FnOnce(CacheLayer) -> CacheLayer,
    calls: &Calls,
    answer: impl Fn(u64, &Request) -> R + Clone + Send + Sync + 'static,
) -> (Cache, Server) {
    let cache = Cache::builder().url(url).build().await.expect("a cache");
    let layer = set(CacheLayer::with(cache.clone()));
    (cache, Server::start(answering(calls, answer).layer(layer)).await)
}

/// B7: what one process made another one serves, with its validator, and drops when a third says so.
#[tokio::test]
async fn processes_share_responses_and_what_drops_them() {
    let redis = redis::Server::start().await;
    for scheme in ["", "hybrid+"] {
        let url = format!("{scheme}{}", redis.url());
        let calls = Calls::default();
        let set = |layer: CacheLayer| {
            layer.name(if scheme.is_empty() { "a" } else { "b" }).tags(|_: &http::request::Parts| "all")
        };
        let answer = |n, request: &Request| {
            let kind = request.headers().get("x-a").map_or("", |value| value.to_str().expect("text"));
            with(&[("vary", "x-a")], format!("{kind} {n}"))
        };
        let (_, one) = service(&url, set, &calls, answer).await;
        let (cache, two) = service(&url, set, &calls, answer).await;
        let first = one.get_with("/", &[("x-a", "1")]).await;
        assert_eq!(one.get_with("/", &[("x-a", "2")]).await.text(), "2 2");
        for server in [&two, &one, &two] {
            let reply = server.get_with("/", &[("x-a", "1")]).await;
            assert_eq!((reply.text(), reply.is_hit()), ("1 1", true), "{url}");
            assert_eq!(reply.header("etag"), first.header("etag"));
            assert_eq!(server.get_with("/", &[("x-a", "2")]).await.text(), "2 2");
            let etag = first.header("etag").expect("a validator");
            assert_eq!(server.get_with("/", &[("x-a", "1"), ("if-none-match", etag)]).await.status, 304);
            assert_eq!(server.send("HEAD", "/", &[("x-a", "2")], "").await.header("content-length"), Some("3"));
        }
        assert_eq!(calls.count(), 2);
        cache.invalidate("all").await.expect("delivered");
        assert_eq!(two.get_with("/", &[("x-a", "2")]).await.text(), "2 3");
        eventually("the other process hears of it", SOON, async || {
            one.get_with("/", &[("x-a", "2")]).await.text() == "2 3"
        })
        .await;
        two.send("DELETE", "/", &[], "").await;
        assert!(!two.get_with("/", &[("x-a", "2")]).await.is_hit());
    }
}

/// Tags that only the handler tells: the first response may go unkept, and none that was dropped comes back.
#[tokio::test]
async fn tags_of_handlers_hold_on_redis() {
    let redis = redis::Server::start().await;
    let calls = Calls::default();
    let answer = |n, _: &Request| {
        let mut response = format!("call {n}").into_response();
        response.extensions_mut().insert(Tags::new("user:1"));
        response
    };
    let (cache, server) = service(&redis.url(), |layer| layer, &calls, answer).await;
    server.get("/").await;
    server.get("/").await;
    let made = calls.count();
    assert!(made <= 2, "{made}");
    assert!(server.get("/").await.is_hit());
    cache.invalidate("user:1").await.expect("delivered");
    assert_eq!(server.get("/").await.text(), format!("call {}", made + 1));
    assert!(server.get("/").await.is_hit());
}

/// How long a response may be served old is its own affair, on Redis and in copies of it too.
#[tokio::test]
async fn old_responses_are_served_on_redis_for_as_long_as_they_say() {
    let redis = redis::Server::start().await;
    for (scheme, name) in [("", "a"), ("hybrid+", "b")] {
        let calls = Calls::default();
        let answer = |n, request: &Request| match (request.uri().path(), n) {
            ("/failing", 2..) => StatusCode::BAD_GATEWAY.into_response(),
            ("/failing", _) => with(&[("cache-control", "max-age=1, stale-if-error=60")], format!("call {n}")),
            ("/plain", _) => with(&[("cache-control", "max-age=1")], format!("call {n}")),
            _ => with(&[("cache-control", "max-age=1, stale-while-revalidate=60")], format!("call {n}")),
        };
        let url = format!("{scheme}{}", redis.url());
        let (_, server) = service(&url, |layer| layer.name(name), &calls, answer).await;
        assert_eq!(server.get("/failing").await.text(), "call 1");
        assert_eq!(server.get("/old").await.text(), "call 2");
        assert_eq!(server.get("/plain").await.text(), "call 3");
        assert!(server.get("/plain").await.is_hit());
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let old = server.get("/old").await;
        assert_eq!((old.text(), old.is_hit()), ("call 2", true), "{url}");
        eventually("the refresh", SOON, async || server.get("/old").await.text() == "call 4").await;
        let failing = server.get("/failing").await;
        assert_eq!((failing.status, failing.text()), (200, "call 1"), "{url}");
        let before = calls.count();
        assert_eq!(server.get("/plain").await.text(), format!("call {}", before + 1), "{url}");
    }
}

/// P4
#[tokio::test]
async fn a_server_that_is_gone_is_gone_past() {
    let redis = redis::Server::start().await;
    let calls = Calls::default();
    let (cache, server) = service(&redis.url(), |layer| layer, &calls, |n, _: &Request| format!("call {n}")).await;
    assert_eq!((server.get("/").await.text(), server.get("/").await.text()), ("call 1", "call 1"));
    drop(redis);
    for n in 2..=4 {
        let reply = server.get("/").await;
        assert_eq!((reply.status, reply.text()), (200, &*format!("call {n}")));
    }
    assert!(cache.stats().degraded > 0);
}

/// The bytes of an entry that somebody changed are no response (P6).
#[tokio::test]
async fn bytes_that_are_no_response_are_a_miss() {
    let redis = redis::Server::start().await;
    let calls = Calls::default();
    let (cache, server) = service(&redis.url(), |layer| layer, &calls, |n, _: &Request| format!("call {n}")).await;
    server.get("/").await;
    let key = cache.keys("http:*").collect::<Vec<_>>().await.expect("keys").pop().expect("one key");
    redis.command(&["SET", &format!("svc:v1:{}", key.as_str()), "HTTP/1.1 200 OK\r\n\r\nevil"]).await;
    assert_eq!(server.get("/").await.text(), "call 2");
    assert_eq!(server.get("/").await.text(), "call 2");
}

//! Layers within layers, changes whose client went away, and what one client may demand without others noticing.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Extension, Router};
use cache_runtime::Cache;
use cache_runtime::http::{CacheLayer, Tags, TenantLayer};
use cache_tests::eventually;
use cache_tests::http::Server;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Calls, Gate, answering, service, with};

const SOON: Duration = Duration::from_secs(10);

/// C5: a layer around the one that tells tenants apart keeps nothing, also not of requests that name none.
#[tokio::test]
async fn a_layer_around_the_tenants_mixes_nobody_up() {
    for tenants in [TenantLayer::header("x-tenant"), TenantLayer::header("x-tenant").tolerant()] {
        let (cache, calls) = (Cache::memory(), Calls::default());
        let around = CacheLayer::with(cache);
        let app = answering(&calls, |n, _| format!("call {n}")).layer(tenants.clone()).layer(tenants).layer(around);
        let server = Server::start(app).await;
        for n in 1..4 {
            assert_eq!(server.get("/").await.text(), format!("call {}", 2 * n - 1));
            assert_eq!(server.get_with("/", &[("x-tenant", "acme")]).await.text(), format!("call {}", 2 * n));
        }
    }
}

/// What a response depends on is known to the layer that has seen its handler, and to no other.
#[tokio::test]
async fn a_layer_around_another_keeps_nothing_once_more() {
    let (cache, calls) = (Cache::memory(), Calls::default());
    let service = |name: &str| {
        let count = calls.clone();
        let handler = async move || (Extension(Tags::new(["item:1"])), format!("call {}", count.next()));
        let inner = CacheLayer::with(cache.clone()).name("inner");
        Server::start(
            Router::new().route("/", get(handler).layer(inner)).layer(CacheLayer::with(cache.clone()).name(name)),
        )
    };
    let server = service("outer").await;
    for _ in 0..3 {
        assert_eq!(server.get("/").await.text(), "call 1");
    }
    cache.invalidate("item:1").await.expect("a cache");
    assert_eq!(server.get("/").await.text(), "call 2");
    // Of one name they are in each other's way: then nothing is kept at all.
    let server = service("inner").await;
    cache.clear().await.expect("a cache");
    for n in 3..6 {
        assert_eq!(server.get("/").await.text(), format!("call {n}"));
    }
}

/// P1: a change may have happened, although nobody hears what came of it.
#[tokio::test]
async fn a_change_whose_client_went_away_drops_what_is_kept() {
    let (cache, calls, gate) = (Cache::memory(), Calls::default(), Gate::new());
    let (begun, count, wait) = (Calls::default(), calls.clone(), gate.clone());
    let put = {
        let begun = begun.clone();
        async move || {
            begun.next();
            wait.pass().await;
        }
    };
    let page = async move || format!("call {}", count.next());
    let server = Server::start(Router::new().route("/", get(page).put(put)).layer(CacheLayer::with(cache))).await;
    for _ in 0..2 {
        assert_eq!(server.get("/").await.text(), "call 1");
    }
    let mut client = tokio::net::TcpStream::connect(server.address()).await.expect("a connection");
    client.write_all(b"PUT / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await.expect("sent");
    eventually("the change begins", SOON, async || begun.count() == 1).await;
    drop(client);
    eventually("the page is loaded again", SOON, async || server.get("/").await.text() == "call 2").await;
}

/// RFC 9111, section 5.2.1: who asks for something new is not served what is old, though others are.
#[tokio::test]
async fn who_asks_for_something_new_is_not_served_what_is_past_its_life() {
    for (control, text) in [("max-age=5", "call 2"), ("min-fresh=1", "call 2"), ("max-age=60", "call 1")] {
        let said = "max-age=10, stale-while-revalidate=60";
        let it =
            service(|layer| layer, move |n, _: &Request| with(&[("cache-control", said)], format!("call {n}"))).await;
        assert_eq!(it.get("/").await.text(), "call 1");
        it.cache.clock().advance(Duration::from_secs(20));
        assert_eq!(it.get_with("/", &[("cache-control", control)]).await.text(), text, "{control}");
        eventually("a new one", SOON, async || it.get("/").await.text() == "call 2").await;
    }
}

/// A client that brings about an error for itself takes nothing away from others.
#[tokio::test]
async fn an_error_that_one_client_asks_for_is_not_what_others_are_served() {
    let it = service(
        |layer| layer,
        |n, request: &Request| match request.headers().get("accept") {
            Some(_) => StatusCode::NOT_ACCEPTABLE.into_response(),
            None => format!("call {n}").into_response(),
        },
    )
    .await;
    assert_eq!(it.get("/").await.text(), "call 1");
    for _ in 0..3 {
        let refused = it.get_with("/", &[("cache-control", "no-cache"), ("accept", "nothing/at-all")]).await;
        assert_eq!(refused.status, 406);
        let kept = it.get("/").await;
        assert_eq!((kept.text(), kept.is_hit()), ("call 1", true));
    }
}

/// B7: a layer on a route sees no length, since that is said outside of it.
#[tokio::test]
async fn head_says_the_length_that_get_has() {
    let layer = CacheLayer::with(Cache::memory());
    let server = Server::start(Router::new().route("/", get(async || "hello").layer(layer))).await;
    for _ in 0..2 {
        assert_eq!(server.get("/").await.header("content-length"), Some("5"));
    }
    let head = server.send("HEAD", "/", &[], "").await;
    assert_eq!((head.is_hit(), head.header("content-length")), (true, Some("5")));
}

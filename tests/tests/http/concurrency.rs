//! Requests that come at the same time, and writes that come between.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use cache_runtime::http::{CacheLayer, Tags};
use cache_runtime::{Cache, TestCache, cache_write};
use cache_tests::eventually;
use cache_tests::http::{Reply, Server};

use crate::support::{Calls, Gate, with};

const SOON: Duration = Duration::from_secs(10);

/// A server whose handler waits at a gate before it answers.
struct Slow {
    cache: TestCache,
    calls: Calls,
    gate: Gate,
    server: Arc<Server>,
}

impl Slow {
    async fn new(
        set: impl FnOnce(CacheLayer) -> CacheLayer,
        answer: impl Fn(u64, &Request) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let (cache, calls, gate) = (Cache::for_test(), Calls::default(), Gate::new());
        let (count, wait) = (calls.clone(), gate.clone());
        let handler = move |request: Request| {
            let n = count.next();
            let response = answer(n, &request);
            let wait = wait.clone();
            async move {
                wait.pass().await;
                response
            }
        };
        let app = Router::new().fallback(get(handler)).layer(set(CacheLayer::with((*cache).clone())));
        Self { cache, calls, gate, server: Arc::new(Server::start(app).await) }
    }

    fn ask(
        &self,
        path: &'static str,
        headers: &'static [(&'static str, &'static str)],
    ) -> tokio::task::JoinHandle<Reply> {
        let server = Arc::clone(&self.server);
        tokio::spawn(async move { server.get_with(path, headers).await })
    }

    async fn called(&self, count: u64) {
        eventually("the handler is called", SOON, async || self.calls.count() == count).await;
    }
}

async fn all(asked: Vec<tokio::task::JoinHandle<Reply>>) -> Vec<Reply> {
    let mut replies = Vec::new();
    for reply in asked {
        replies.push(reply.await.expect("a reply"));
    }
    replies
}

/// B7, P2
#[tokio::test]
async fn a_crowd_waits_for_one_call() {
    let it = Slow::new(|layer| layer, |n, _| format!("call {n}").into_response()).await;
    let asked: Vec<_> = (0..100).map(|_| it.ask("/", &[])).collect();
    it.called(1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    it.gate.open(1);
    let replies = all(asked).await;
    assert!(replies.iter().all(|reply| reply.text() == "call 1"));
    assert_eq!(it.calls.count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.cache().contains("stored")).count(), 1);
    assert!(it.cache.stats().coalesced > 0);
}

/// What turns out to be for one caller is given to nobody else, however many waited for it; and they do not wait in a row.
#[tokio::test]
async fn a_crowd_never_shares_what_is_for_one_caller() {
    for (name, value) in [
        ("cache-control", "private"),
        ("cache-control", "no-store"),
        ("set-cookie", "session=1"),
        ("vary", "*"),
        ("content-type", "text/event-stream"),
    ] {
        let it = Slow::new(|layer| layer, move |n, _| with(&[(name, value)], format!("call {n}"))).await;
        let asked: Vec<_> = (0..20).map(|_| it.ask("/", &[])).collect();
        it.called(1).await;
        it.gate.open(1);
        // All others are in the handler at the same time.
        it.called(20).await;
        it.gate.open(19);
        let mut bodies: Vec<String> = all(asked).await.iter().map(|reply| reply.text().to_owned()).collect();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 20, "{name}: {value}");

        // A while longer nobody waits for anybody there.
        let asked: Vec<_> = (0..5).map(|_| it.ask("/", &[])).collect();
        it.called(25).await;
        it.gate.open(5);
        assert!(all(asked).await.iter().all(|reply| reply.cache() == "http; fwd=uri-miss; detail=uncacheable"));
    }
}

/// A failure is not handed to those who waited, and does not make them wait in a row.
#[tokio::test]
async fn a_crowd_does_not_share_a_failure() {
    let it = Slow::new(
        |layer| layer,
        |n, _| {
            if n == 1 { StatusCode::INTERNAL_SERVER_ERROR.into_response() } else { format!("call {n}").into_response() }
        },
    )
    .await;
    let asked: Vec<_> = (0..10).map(|_| it.ask("/", &[])).collect();
    it.called(1).await;
    // All wait for the first before it fails.
    eventually("the others wait", SOON, async || it.cache.stats().misses >= 10).await;
    it.gate.open(1);
    it.called(10).await;
    it.gate.open(9);
    assert_eq!(all(asked).await.iter().filter(|reply| reply.status == 500).count(), 1);
    // Nothing of it is remembered.
    let next = it.ask("/", &[]);
    it.called(11).await;
    it.gate.open(1);
    assert!(next.await.expect("a reply").cache().ends_with("stored"));
}

/// Those who waited for another variant have their own loaded, once.
#[tokio::test]
async fn a_crowd_of_two_variants_calls_twice() {
    let it = Slow::new(
        |layer| layer,
        |n, request| {
            let kind = if request.headers().contains_key("x-a") { "a" } else { "plain" };
            with(&[("vary", "x-a")], format!("{kind} {n}"))
        },
    )
    .await;
    let plain: Vec<_> = (0..10).map(|_| it.ask("/", &[])).collect();
    it.called(1).await;
    let special: Vec<_> = (0..10).map(|_| it.ask("/", &[("x-a", "1")])).collect();
    eventually("the others wait", SOON, async || it.cache.stats().misses >= 20).await;
    it.gate.open(1);
    it.called(2).await;
    it.gate.open(1);
    assert!(all(plain).await.iter().all(|reply| reply.text() == "plain 1"));
    assert!(all(special).await.iter().all(|reply| reply.text() == "a 2"));
    assert_eq!(it.calls.count(), 2);
}

#[cache_write(tags = ["user:<id>"], cache = cache)]
async fn rename(cache: &Cache, id: u64) -> Result<(), ()> {
    Ok(())
}

/// B7, P1: a write drops a response that is kept, and one that is being made cannot put it back. Tags of the layer and of
/// the handler alike.
#[tokio::test]
async fn a_write_drops_responses_that_are_kept_and_that_are_being_made() {
    for by_layer in [true, false] {
        let it = Slow::new(
            |layer| if by_layer { layer.tags(|_: &http::request::Parts| "user:1") } else { layer },
            move |n, _| {
                let mut response = format!("call {n}").into_response();
                if !by_layer {
                    response.extensions_mut().insert(Tags::new("user:1"));
                }
                response
            },
        )
        .await;
        let early = it.ask("/", &[]);
        it.called(1).await;
        rename(&it.cache, 1).await.expect("a write");
        // Begins after the write, so it waits for nothing that began before.
        let late = it.ask("/", &[]);
        if by_layer {
            it.called(2).await;
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        it.gate.open(2);
        assert_eq!(early.await.expect("a reply").text(), "call 1");
        assert_eq!(late.await.expect("a reply").text(), "call 2", "by the layer: {by_layer}");
        let third = it.ask("/", &[]).await.expect("a reply");
        assert_eq!((third.text(), third.is_hit()), ("call 2", true), "by the layer: {by_layer}");

        rename(&it.cache, 2).await.expect("a write");
        assert!(it.ask("/", &[]).await.expect("a reply").is_hit());
        rename(&it.cache, 1).await.expect("a write");
        it.gate.open(1);
        assert_eq!(it.ask("/", &[]).await.expect("a reply").text(), "call 3");
    }
}

/// P3: a client that goes away leaves those who waited for its call to one of them.
#[tokio::test]
async fn who_waits_takes_over_from_a_client_that_went_away() {
    let it = Slow::new(|layer| layer, |n, _| format!("call {n}").into_response()).await;
    let gone = it.ask("/", &[]);
    it.called(1).await;
    let waiting: Vec<_> = (0..5).map(|_| it.ask("/", &[])).collect();
    eventually("the others wait", SOON, async || it.cache.stats().misses >= 6).await;
    gone.abort();
    it.called(2).await;
    it.gate.open(1);
    assert!(all(waiting).await.iter().all(|reply| reply.text() == "call 2"));
}

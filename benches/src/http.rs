//! A kept response of 1 KiB, by a layer of tower and nothing else: no network, no server. Beside the bare handler, and a peer.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cache_runtime::Cache;
use cache_runtime::http::{CacheLayer, CacheService};
use http::header::{CONTENT_TYPE, HeaderValue, IF_NONE_MATCH};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use tower_layer::Layer as _;
use tower_service::Service;

use crate::data::{HOT, ZIPF};
use crate::harness::{Group, one_task};

type Answer = Response<Full<Bytes>>;

/// The handler: its body is there already.
#[derive(Clone, Debug)]
struct Handler;

impl Service<Request<Full<Bytes>>> for Handler {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        static BODY: [u8; 1024] = [b'x'; 1024];
        let mut response = Response::new(Full::new(Bytes::from_static(&BODY)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        ready(Ok(response))
    }
}

static URIS: LazyLock<Vec<Uri>> =
    LazyLock::new(|| (0..1024).map(|id| format!("/items/{id}?page=1").parse().expect("a target")).collect());

fn request(id: u64) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = URIS[id as usize % URIS.len()].clone();
    request
}

fn ours() -> CacheService<Handler> {
    CacheLayer::with(Cache::memory()).ttl("1h").layer(Handler)
}

type Peer = tower_http_cache::layer::CacheService<Handler, tower_http_cache::backend::memory::InMemoryBackend>;

fn peer() -> Peer {
    let backend = tower_http_cache::backend::memory::InMemoryBackend::new(20_000);
    tower_http_cache::layer::CacheLayer::builder(backend).ttl(Duration::from_secs(3600)).build().layer(Handler)
}

async fn call<S>(service: &S, request: Request<Full<Bytes>>) -> S::Response
where
    S: Service<Request<Full<Bytes>>> + Clone,
    S::Error: std::fmt::Debug,
{
    service.clone().call(request).await.expect("an answer")
}

fn group(title: &'static str, ids: &'static [u32]) -> Group {
    let (own, unchanged, quiet, peer) = (ours(), ours(), CacheLayer::with(Cache::memory()).ttl("1h"), peer());
    let quiet = quiet.say_status(false).layer(Handler);
    // The validator of the one body that there is.
    let etag = {
        let kept = crate::harness::RUNTIME.block_on(call(&unchanged, request(0)));
        kept.headers()["etag"].clone()
    };
    Group::new(title)
        .case("the bare handler", one_task(ids, async |id| call(&Handler, request(id)).await))
        .case("ours, hit", one_task(ids, async move |id| call(&own, request(id)).await))
        .case("ours, hit, without `Cache-Status`", one_task(ids, async move |id| call(&quiet, request(id)).await))
        .case(
            "ours, 304",
            one_task(ids, async move |id| {
                let mut request = request(id);
                request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
                let response = call(&unchanged, request).await;
                assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
                response
            }),
        )
        .case("tower-http-cache, hit", one_task(ids, async move |id| call(&peer, request(id)).await))
}

pub(crate) fn groups() -> Vec<Group> {
    vec![group("HTTP: one response, one task", &HOT), group("HTTP: 1 024 responses, zipf, one task", &ZIPF)]
}

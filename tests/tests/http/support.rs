//! What these tests share: handlers that count, and say how often they were called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cache_runtime::http::CacheLayer;
use cache_runtime::{Cache, TestCache};
use cache_tests::http::Server;
use tokio::sync::Semaphore;

/// How often a handler was called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Arc<AtomicU64>);

impl Calls {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(SeqCst)
    }

    /// Counts a call; the first is 1.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, SeqCst) + 1
    }
}

/// A router whose every path is answered by `answer`, which is told how many calls there were, this one included.
pub(crate) fn answering<R: IntoResponse>(
    calls: &Calls,
    answer: impl Fn(u64, &Request) -> R + Clone + Send + Sync + 'static,
) -> Router {
    let calls = calls.clone();
    let handler = move |request: Request| {
        let response = answer(calls.next(), &request).into_response();
        async move { response }
    };
    Router::new().fallback(get(handler.clone()).post(handler.clone()).put(handler.clone()).delete(handler))
}

/// A response with these headers.
pub(crate) fn with(headers: &[(&'static str, &'static str)], body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().expect("a header"));
    }
    response
}

/// A server on a cache of its own.
pub(crate) struct Service {
    pub(crate) cache: TestCache,
    pub(crate) calls: Calls,
    pub(crate) server: Server,
}

impl std::ops::Deref for Service {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

/// [`answering`] behind a layer.
pub(crate) async fn service<R: IntoResponse>(
    set: impl FnOnce(CacheLayer) -> CacheLayer,
    answer: impl Fn(u64, &Request) -> R + Clone + Send + Sync + 'static,
) -> Service {
    let (cache, calls) = (Cache::for_test(), Calls::default());
    let layer = set(CacheLayer::with((*cache).clone()));
    let server = Server::start(answering(&calls, answer).layer(layer)).await;
    Service { cache, calls, server }
}

/// A handler that waits before it answers, until it is let go.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets so many calls go.
    pub(crate) fn open(&self, calls: usize) {
        self.0.add_permits(calls);
    }

    pub(crate) async fn pass(&self) {
        self.0.acquire().await.expect("a gate").forget();
    }
}

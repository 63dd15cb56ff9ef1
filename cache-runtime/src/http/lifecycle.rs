//! The cache in the life of a service on axum: there at the start, asked for its health, closed after the last request.

use std::future::{Future, IntoFuture};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::cache::Cache;
use crate::clock::{after, alive_now};
use crate::error::Error;
use crate::timer::within;

/// How long a question after the cache's health waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Begins the life of a service: the cache's backend answers, or this is an error, so that a wrong address does not first
/// show as a slow service. [`Lifecycle::new`] begins it whether the backend answers or not.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use cache_runtime::{Cache, http};
///
/// let cache = Cache::memory();
/// let life = http::lifecycle(cache.clone()).await?;
/// let app = axum::Router::<()>::new().merge(life.health());
///
/// // let server = axum::serve(listener, app).with_graceful_shutdown(life.stop(signal));
/// # drop(app);
/// # let server = std::future::ready(Ok(()));
/// life.run(server).await?;
/// assert!(cache.ping().await.is_err()); // closed
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Errors
///
/// The backend cannot be used.
pub async fn lifecycle(cache: Cache) -> Result<Lifecycle, Error> {
    cache.ping().await?;
    Ok(Lifecycle::new(cache))
}

/// The life of a service. Made by [`lifecycle`], or by [`new`](Self::new).
#[derive(Clone, Debug)]
pub struct Lifecycle {
    cache: Cache,
    is_stopping: Arc<AtomicBool>,
}

impl Lifecycle {
    /// Begins the life of a service whose instances also start while the cache's backend is away: calls go to their sources
    /// until it answers, and `/healthz` says so.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self { cache, is_stopping: Arc::default() }
    }

    /// Routes for who watches the service: `GET /healthz` and `GET /readyz`.
    ///
    /// `/healthz` is `200` as long as the service answers; it says whether the cache can be used (`ok`, or `degraded` with
    /// why) and how many invalidations are undelivered. A service works without its cache, so that being `degraded` is no
    /// reason to restart it, nor to send it no requests: `/readyz` is `200` until the service stops, then `503`.
    pub fn health<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let (alive, ready) = (self.clone(), self.clone());
        Router::new()
            .route("/healthz", get(async move || alive.report().await))
            .route("/readyz", get(async move || ready.readiness()))
    }

    async fn report(&self) -> Response {
        let cache = match within(after(alive_now(), PATIENCE), self.cache.ping()).await {
            Some(Ok(())) => "ok".to_owned(),
            // The kind, not the text: that has addresses.
            Some(Err(error)) => format!("{:?}", error.kind()),
            None => "Timeout".to_owned(),
        };
        let status = if cache == "ok" { "ok" } else { "degraded" };
        // Not all of `stats()`, which counts entries.
        let undelivered = self.cache.core.shared.as_ref().map_or(0, |shared| shared.outbox.len());
        axum::Json(serde_json::json!({ "status": status, "cache": cache, "undelivered": undelivered })).into_response()
    }

    fn readiness(&self) -> Response {
        if self.is_stopping.load(Ordering::Relaxed) {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
        } else {
            "ready\n".into_response()
        }
    }

    /// Ends when `signal` does, and takes note that the service stops: for `with_graceful_shutdown`.
    pub fn stop<F: Future<Output = ()> + Send + 'static>(
        &self,
        signal: F,
    ) -> impl Future<Output = ()> + Send + 'static {
        let is_stopping = Arc::clone(&self.is_stopping);
        async move {
            signal.await;
            is_stopping.store(true, Ordering::Relaxed);
        }
    }

    /// Runs a server to its end, then closes the cache: requests that were under way are answered from it, work in the
    /// background ends, and invalidations are delivered.
    ///
    /// # Errors
    ///
    /// The server's; or invalidations could not be delivered in the end.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the server, and closes nothing.
    pub async fn run(&self, server: impl IntoFuture<Output = io::Result<()>>) -> io::Result<()> {
        let served = server.await;
        self.is_stopping.store(true, Ordering::Relaxed);
        let closed = self.cache.close().await.map_err(io::Error::other);
        served.and(closed)
    }
}

//! The live page: a router that shows what a cache does and can make entries invalid. It is there where it is mounted, and
//! nowhere else. Lives here: [`Admin`], who builds it. Who may ask is `guard`'s business, what is answered that of `api`,
//! `events` and `page`, and the numbers are `view`'s.

mod api;
mod events;
mod guard;
mod page;
mod view;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{Route, get, post};
use tokio::net::TcpListener;
use tower_layer::Layer;
use tower_service::Service;

use crate::cache::Cache;
use crate::error::{Error, ErrorKind};
use guard::Trust;

/// Longest body of a request, in bytes: a name and little else.
const MAX_BODY: usize = 16 * 1024;

/// The live page of a cache, and the JSON beneath it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use cache_runtime::{Cache, http::admin::Admin};
///
/// let cache = Cache::from_env().await?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3001").await?;
/// println!("http://{}", listener.local_addr()?);
/// Admin::new(cache).serve(listener).await?;
/// # Ok(()) }
/// ```
///
/// # Who may use it
///
/// It has no users and passwords of its own: put the layer that your service has in front, with
/// [`authenticated_by`](Self::authenticated_by). Without one, only a browser or program on the same machine is answered, under a
/// name of this machine: whoever connects from elsewhere, comes through a proxy, or asks for another host gets 403 and a text
/// that says why. [`allow_public`](Self::allow_public) lifts that.
///
/// With or without a layer, a page of another origin can neither read nor change anything: see the guide, also for what
/// [`allow_public`](Self::allow_public) leaves open.
///
/// # What it shows
///
/// Numbers of this process, over all tenants; annotated functions, with templates of keys and tags; the state of the backend.
/// Never a value, and never a key.
#[must_use = "it does nothing until `into_router` or `serve`"]
pub struct Admin {
    cache: Cache,
    protection: Option<Protection>,
    public: bool,
    origins: Vec<String>,
    allowed: Vec<String>,
    read_only: bool,
    #[cfg(feature = "metrics")]
    metrics: Option<api::Render>,
}

/// Puts the caller's authentication in front.
type Protection = Box<dyn FnOnce(Router) -> Router + Send>;

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("authenticated", &self.protection.is_some())
            .field("public", &self.public)
            .field("origins", &self.origins)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// The page of `cache`.
    pub fn new(cache: Cache) -> Self {
        Self {
            cache,
            protection: None,
            public: false,
            origins: Vec::new(),
            allowed: Vec::new(),
            read_only: false,
            #[cfg(feature = "metrics")]
            metrics: None,
        }
    }

    /// Puts `layer` in front of every request: it is to answer those that it does not know, with 401 for one. What passes it
    /// may come from anywhere.
    ///
    /// ```
    /// use axum::{extract::Request, http::StatusCode, middleware::{Next, from_fn}, response::Response};
    /// use cache_runtime::{Cache, http::admin::Admin};
    ///
    /// async fn staff_only(request: Request, next: Next) -> Result<Response, StatusCode> {
    ///     // Your own check: a session, a header that your proxy sets, a client certificate.
    ///     match request.headers().get("x-staff") {
    ///         Some(_) => Ok(next.run(request).await),
    ///         None => Err(StatusCode::UNAUTHORIZED),
    ///     }
    /// }
    ///
    /// let page = Admin::new(Cache::memory()).authenticated_by(from_fn(staff_only)).into_router();
    /// let app: axum::Router = axum::Router::new().nest_service("/cache", page);
    /// ```
    pub fn authenticated_by<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        let inner = self.protection.take();
        self.protection = Some(Box::new(move |router| {
            let router = match inner {
                Some(inner) => inner(router),
                None => router,
            };
            router.layer(layer)
        }));
        self
    }

    /// Answers whoever asks, with no authentication that this router knows of. For where something in front of it sees to
    /// that: a proxy, a network that only staff can reach, a layer around the router that it is nested in.
    pub fn allow_public(mut self) -> Self {
        self.public = true;
        self
    }

    /// Names an origin under which browsers reach the page: `https://admin.example.com`. Needed behind a proxy that changes the
    /// `Host` header, which is believed otherwise. Once one is named, pages of no other origin can change anything, whatever
    /// `Host` says; name each that is used.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Declares a tag that functions here invalidate and none carries, since another service does. As
    /// [`Catalogue::allow`](crate::Catalogue::allow).
    pub fn allow_tag(mut self, tag: impl Into<String>) -> Self {
        self.allowed.push(tag.into());
        self
    }

    /// Shows, and changes nothing: the buttons are gone, and requests to invalidate are refused.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Answers `GET /metrics` with what `render` gives, for Prometheus. The recorder is the program's, so it gives the text of all
    /// of its metrics; those of this cache are [published](Cache::publish_metrics) just before.
    ///
    /// ```no_run
    /// # use cache_runtime::{Cache, http::admin::Admin};
    /// # fn install_recorder() -> Handle { Handle }
    /// # struct Handle;
    /// # impl Handle { fn render(&self) -> String { String::new() } }
    /// // let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    /// # let metrics = install_recorder();
    /// let page = Admin::new(Cache::memory()).metrics(move || metrics.render()).into_router();
    /// # drop(page);
    /// ```
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Arc::new(render));
        self
    }

    /// The router, for `nest_service("/cache", ..)` at a path of your choice; with `nest` it is at `/cache`, and not at `/cache/`.
    ///
    /// Without authentication it has to know who connected: serve it with
    /// `app.into_make_service_with_connect_info::<SocketAddr>()`, as [`serve`](Self::serve) does. Where it does not know, it
    /// answers 403.
    pub fn into_router(self) -> Router {
        let trust = match (&self.protection, self.public) {
            (None, false) => Trust::ThisMachine,
            _ => Trust::Anyone,
        };
        let state = Arc::new(State {
            view: Arc::new(view::View::new(self.cache.clone())),
            cache: self.cache,
            trust,
            origins: self.origins,
            allowed: self.allowed,
            read_only: self.read_only,
            token: token(),
        });
        let router = Router::new();
        #[cfg(feature = "metrics")]
        let router = match self.metrics {
            Some(render) => router.route("/metrics", get(move |state: Shared| api::metrics(state, render))),
            None => router,
        };
        let router = router
            .route("/", get(page::page))
            .route("/stats", get(api::stats))
            .route("/functions", get(api::functions))
            .route("/catalogue", get(api::catalogue))
            .route("/health", get(api::health))
            .route("/events", get(events::events))
            .route("/invalidate", post(api::invalidate))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(from_fn_with_state(Arc::clone(&state), guard::guard))
            .with_state(state);
        match self.protection {
            Some(protect) => protect(router),
            None => router,
        }
    }

    /// Serves the page alone on `listener`, until the process ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] where the address can be reached from other machines and neither
    /// [`authenticated_by`](Self::authenticated_by) nor [`allow_public`](Self::allow_public) was called;
    /// [`ErrorKind::Unavailable`] where the listener fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), Error> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "the listener of the cache's page failed").with_source(error)
        };
        let address = listener.local_addr().map_err(failed)?;
        if self.protection.is_none() && !self.public && !address.ip().to_canonical().is_loopback() {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the cache's page would be open to whoever reaches {address}: bind it to 127.0.0.1, or put \
                     authentication in front with `authenticated_by`, or say `allow_public`"
                ),
            ));
        }
        let service = self.into_router().into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await.map_err(failed)
    }
}

/// What all requests share.
#[derive(Debug)]
struct State {
    cache: Cache,
    view: Arc<view::View>,
    trust: Trust,
    origins: Vec<String>,
    allowed: Vec<String>,
    read_only: bool,
    /// Only who can read the page knows it. It also tells one start of the process from the next.
    token: String,
}

type Shared = axum::extract::State<Arc<State>>;

fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

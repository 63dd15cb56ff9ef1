//! [`CacheLayer`]: what users mount and how they set it up. What it does with a request is in `serve`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, Request, Response};
use http_body::Body as HttpBody;
use tower_layer::Layer;
use tower_service::Service;

use super::body::{Body, BoxError};
use super::rule::{Credentials, Rules};
use super::serve::serve;
use crate::cache::Cache;
use crate::engine::sink::IntoTags;
use crate::policy::{IntoTtl, Lifetime};
use crate::site::Site;

/// Caches whole responses of any HTTP service on tower.
///
/// Entries are like those of annotated functions: of the cache and the tenant in scope, dropped by tags
/// (`#[cache_write(tags = [..])]`, also while they are loaded), loaded once for all who wait, on whatever backend.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::convert::Infallible;
/// use cache_runtime::{Cache, http::CacheLayer};
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use bytes::Bytes;
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// # #[derive(Clone)] struct Hello;
/// # impl Service<Request<Full<Bytes>>> for Hello {
/// #     type Response = Response<Full<Bytes>>;
/// #     type Error = Infallible;
/// #     type Future = std::future::Ready<Result<Self::Response, Infallible>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> { std::task::Poll::Ready(Ok(())) }
/// #     fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future { std::future::ready(Ok(Response::new(Full::from("hello")))) }
/// # }
/// let layer = CacheLayer::new()
///     .ttl("1m")
///     .query(["page"])
///     .tags(|request| format!("path:{}", request.uri.path()));
/// let mut service = layer.layer(Hello);
///
/// let cache = Cache::memory();
/// cache.scope(async {
///     for expected in [&["http; fwd=uri-miss; stored"][..], &["http; hit; ttl=60", "http; hit; ttl=59"]] {
///         let request = Request::new(Full::default());
///         let response = service.call(request).await.unwrap();
///         assert!(expected.contains(&response.headers()["cache-status"].to_str().unwrap()));
///     }
/// }).await;
/// # });
/// ```
///
/// # What is kept
///
/// Responses to `GET` whose status allows it, for as long as [`KeepFor`](super::KeepFor), `s-maxage`, `max-age` or `Expires` say,
/// else for this layer's [`ttl`](Self::ttl). Not kept: what says `no-store`, `no-cache`, `private` or `Vary: *`, what has
/// `Set-Cookie`, what answers a request with `Authorization`, `Cookie`, `Range`, a body, or [a header that is in no
/// key](super::UNKEYED), and bodies that are too long or come slowly, which are passed through as they come.
///
/// # Concurrent requests
///
/// Those that ask for the same wait for one call of the handler. Where its response turns out to be nobody else's, they call
/// the handler themselves, and for a while nobody waits for that key.
///
/// # Cancel safety
///
/// A client that goes away cancels its own call of the handler; one of those who wait goes on in its place.
#[derive(Clone, Debug)]
pub struct CacheLayer {
    rules: Arc<Rules>,
}

impl Default for CacheLayer {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// A span of time out of what can be written for one.
#[track_caller]
fn span(what: &str, ttl: impl IntoTtl) -> Duration {
    match ttl.into_ttl() {
        Ok(Lifetime::For(span)) => span,
        Ok(Lifetime::Forever) => Duration::from_secs(u64::from(u32::MAX)),
        Ok(Lifetime::Bucket(_)) => panic!("{what} is a time such as \"30s\", not a bucket"),
        Err(error) => panic!("{what}: {error}"),
    }
}

impl CacheLayer {
    /// A layer on the cache in scope, else on the global one.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let place = std::panic::Location::caller();
        Self { rules: Arc::new(Rules::new((place.file(), place.line()))) }
    }

    /// A layer on this cache.
    #[must_use]
    #[track_caller]
    pub fn with(cache: Cache) -> Self {
        Self::new().cache(cache)
    }

    fn change(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(&mut self.rules));
        self
    }

    /// The cache, whichever is in scope.
    #[must_use]
    pub fn cache(self, cache: Cache) -> Self {
        self.change(|rules| rules.cache = Some(cache))
    }

    /// A name for keys, statistics and `Cache-Status`. Default: `http`. Two layers of one name share their entries: give
    /// each its own where services answer the same host and path differently, and where one is within the other: there the inner
    /// one keeps, and the outer one passes on.
    ///
    /// # Panics
    ///
    /// It does not begin with a letter, or has something else than letters, digits, `.`, `_` and `-`.
    #[must_use]
    #[track_caller]
    pub fn name(self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        let is_token = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        assert!(
            name.starts_with(|c: char| c.is_ascii_alphabetic()) && is_token,
            "the name of a cache layer begins with a letter and has letters, digits, `.`, `_` and `-`"
        );
        self.change(|rules| rules.name = name.into())
    }

    /// How long responses are kept that do not say so. Default: the bucket `Default`.
    ///
    /// # Panics
    ///
    /// It cannot be understood.
    #[must_use]
    #[track_caller]
    pub fn ttl(self, ttl: impl IntoTtl) -> Self {
        let life = ttl.into_ttl().unwrap_or_else(|error| panic!("the ttl of a cache layer: {error}"));
        self.change(|rules| rules.life = life)
    }

    /// The same from the request; `None`: as [`ttl`](Self::ttl) says. What it returns must be a time; one that cannot be
    /// understood counts as `None`.
    #[must_use]
    pub fn ttl_of<T: IntoTtl>(self, of: impl Fn(&Parts) -> Option<T> + Send + Sync + 'static) -> Self {
        self.change(|rules| rules.life_of = Some(Arc::new(move |parts| of(parts)?.into_ttl().ok())))
    }

    /// Tags of the response, from the request. Tags that only the handler knows: [`Tags`](super::Tags).
    #[must_use]
    pub fn tags<M, T: IntoTags<M>>(self, of: impl Fn(&Parts) -> T + Send + Sync + 'static) -> Self {
        self.change(|rules| rules.tags_of.push(Arc::new(move |parts, each| of(parts).for_each_tag(each))))
    }

    /// The namespace of the response, from the request; `None`: the cache's own.
    #[must_use]
    pub fn namespace<T: Into<String>>(self, of: impl Fn(&Parts) -> Option<T> + Send + Sync + 'static) -> Self {
        self.change(|rules| rules.namespace_of = Some(Arc::new(move |parts| of(parts).map(Into::into))))
    }

    /// The path in the key, from the request. Needed where something in front of this layer rewrites it; with axum, what
    /// nested routers cut off is known.
    #[must_use]
    pub fn path(self, of: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        self.change(|rules| rules.path_of = Some(Arc::new(of)))
    }

    /// Only these query parameters select a response; others are ignored, whatever the handler makes of them. Default: all.
    ///
    /// **A handler that reads another one has its response kept for all.** A query with a `;` is taken as a whole.
    #[must_use]
    pub fn query<T: AsRef<str>>(self, names: impl IntoIterator<Item = T>) -> Self {
        self.change(|rules| rules.query = Some(names.into_iter().map(|name| name.as_ref().into()).collect()))
    }

    /// A header that selects a response, whether the response says so (`Vary`) or not.
    ///
    /// # Panics
    ///
    /// It is not the name of a header.
    #[must_use]
    #[track_caller]
    pub fn key_header(self, name: impl AsRef<str>) -> Self {
        let name = header(name.as_ref());
        self.change(|rules| {
            rules.unkeyed.retain(|known| *known != name);
            if !rules.key_headers.contains(&name) {
                rules.key_headers.push(name);
            }
        })
    }

    /// A header of [`UNKEYED`](super::UNKEYED) that requests may have: no handler looks at it.
    ///
    /// # Panics
    ///
    /// It is not the name of a header.
    #[must_use]
    #[track_caller]
    pub fn ignore_header(self, name: impl AsRef<str>) -> Self {
        let name = header(name.as_ref());
        self.change(|rules| {
            rules.unkeyed.retain(|known| *known != name);
            rules.key_headers.retain(|known| *known != name);
        })
    }

    /// For how long after its life a response is served while one request refreshes it in the background, where the response
    /// says nothing of `stale-while-revalidate`. Default: not at all.
    ///
    /// # Panics
    ///
    /// It cannot be understood.
    #[must_use]
    #[track_caller]
    pub fn stale(self, span_: impl IntoTtl) -> Self {
        let stale = span("`stale` of a cache layer", span_);
        self.change(|rules| rules.stale = stale)
    }

    /// For how long after its life a response is served where the handler fails (500, 502, 503, 504, or an error), where the response says
    /// nothing of `stale-if-error`. Default: not at all.
    ///
    /// # Panics
    ///
    /// It cannot be understood.
    #[must_use]
    #[track_caller]
    pub fn stale_if_error(self, span_: impl IntoTtl) -> Self {
        let stale = span("`stale_if_error` of a cache layer", span_);
        self.change(|rules| rules.stale_if_error = stale)
    }

    /// The longest body that is kept, in bytes. Longer ones are passed through. Default: 1 MiB.
    #[must_use]
    pub fn max_body(self, bytes: usize) -> Self {
        self.change(|rules| rules.max_body = bytes)
    }

    /// How long a body may take to come before it counts as a stream, which is passed through. Default: 250 ms.
    #[must_use]
    pub fn stream_after(self, time: Duration) -> Self {
        self.change(|rules| rules.patience = time)
    }

    /// For how long nobody waits for a key whose response could not be kept. Default: 10 s.
    #[must_use]
    pub fn pass_for(self, time: Duration) -> Self {
        self.change(|rules| rules.pass_for = time)
    }

    /// Requests with `Authorization`. Default: [`Credentials::Bypass`]. Read what [`Credentials::Shared`] says before you use it.
    #[must_use]
    pub fn authorization(self, credentials: Credentials) -> Self {
        self.change(|rules| rules.authorization = credentials)
    }

    /// Requests with `Cookie`. Default: [`Credentials::Bypass`]. Read what [`Credentials::Shared`] says before you use it.
    #[must_use]
    pub fn cookie(self, credentials: Credentials) -> Self {
        self.change(|rules| rules.cookie = credentials)
    }

    /// Whether responses with `Set-Cookie` are kept, cookie included. Default: no.
    ///
    /// **Everybody who is served such a response gets that cookie.** With a session in it, they share the session.
    #[must_use]
    pub fn store_set_cookie(self, stores: bool) -> Self {
        self.change(|rules| rules.stores_set_cookie = stores)
    }

    /// Whether `Cache-Control` of requests counts (`no-cache`, `no-store`, `max-age`, `min-fresh`, `only-if-cached`). Default: yes.
    /// Where it does, any client can have the handler called.
    #[must_use]
    pub fn hear_requests(self, hears: bool) -> Self {
        self.change(|rules| rules.hears_requests = hears)
    }

    /// Whether responses say what the cache did (`Cache-Status`, RFC 9211). Default: yes.
    #[must_use]
    pub fn say_status(self, says: bool) -> Self {
        self.change(|rules| rules.says_status = says)
    }

    /// One call of the handler in the whole fleet, as `lock = true` of a function.
    #[must_use]
    pub fn lock(self) -> Self {
        self.change(|rules| rules.lock = true)
    }

    /// Responses are encrypted on a shared backend, as `encrypt = true` of a function.
    #[must_use]
    pub fn encrypt(self) -> Self {
        self.change(|rules| rules.encrypt = true)
    }
}

#[track_caller]
fn header(name: &str) -> HeaderName {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("{name:?} is not the name of a header"),
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> CacheService<S> {
        CacheService { inner, rules: Arc::clone(&self.rules), site: self.rules.site() }
    }
}

/// A service whose responses are cached. Made by [`CacheLayer`].
#[derive(Clone)]
pub struct CacheService<S> {
    inner: S,
    rules: Arc<Rules>,
    site: &'static Site,
}

impl<S> fmt::Debug for CacheService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheService").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl<S, B, RB> Service<Request<B>> for CacheService<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    B: HttpBody + Send + 'static,
    RB: HttpBody + Send + 'static,
    RB::Error: Into<BoxError>,
{
    type Response = Response<Body<RB>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was asked whether it is ready is the one that is called.
        let next = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, next);
        Box::pin(serve(Arc::clone(&self.rules), self.site, service, request))
    }
}

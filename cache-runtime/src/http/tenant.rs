//! Layers that decide in which context a request runs: its tenant, its cache. What the context is, is `cache/context`'s.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::body::Body;
use crate::cache::Cache;
use crate::error::{Error, ErrorKind};
use crate::tenant::Tenant;

type Find = Arc<dyn Fn(&Parts) -> Result<Option<Tenant>, Error> + Send + Sync>;

/// The tenant that a response was made for: who keeps it for another one, or for none, would mix them up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MadeFor(pub(super) Option<Tenant>);

/// Runs each request as the tenant that it names, and nothing else: what the handler spawns is outside, unless it is wrapped
/// in [`in_context`](crate::in_context).
///
/// Mount it outside of a [`CacheLayer`](super::CacheLayer), so that responses are kept for their tenant. The other way round
/// nothing is kept.
///
/// ```
/// use cache_runtime::http::TenantLayer;
///
/// let by_header = TenantLayer::header("x-tenant").required();
/// let by_path = TenantLayer::path_segment(0);
/// let by_claims = TenantLayer::new(|parts| parts.extensions.get::<cache_runtime::Tenant>().cloned());
/// ```
///
/// | the request names | answer |
/// |---|---|
/// | one tenant | runs as this tenant |
/// | none | runs as no tenant; `400` with [`required`](Self::required) |
/// | an empty, over-long or otherwise impossible one, or two | `400`; runs as no tenant with [`tolerant`](Self::tolerant) |
///
/// As no tenant, nothing is kept where isolation is enforced; where it is not, entries are those that belong to no tenant.
///
/// **A header is what a client says.** Take the tenant from one only where something in front of the service sets it.
#[derive(Clone)]
pub struct TenantLayer {
    find: Find,
    is_required: bool,
    is_tolerant: bool,
}

impl fmt::Debug for TenantLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantLayer")
            .field("is_required", &self.is_required)
            .field("is_tolerant", &self.is_tolerant)
            .finish_non_exhaustive()
    }
}

impl TenantLayer {
    /// The tenant as a closure says: from a request's extension, for one.
    #[must_use]
    pub fn new(find: impl Fn(&Parts) -> Option<Tenant> + Send + Sync + 'static) -> Self {
        Self::finding(move |parts| Ok(find(parts)))
    }

    /// The tenant as a closure says, or why what the request says is none.
    #[must_use]
    pub fn finding(find: impl Fn(&Parts) -> Result<Option<Tenant>, Error> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find), is_required: false, is_tolerant: false }
    }

    /// The tenant that a header names.
    ///
    /// # Panics
    ///
    /// It is not the name of a header.
    #[must_use]
    #[track_caller]
    pub fn header(name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { panic!("{name:?} is not the name of a header") };
        Self::finding(move |parts| {
            let mut values = parts.headers.get_all(&name).iter();
            let Some(value) = values.next() else { return Ok(None) };
            if values.next().is_some() {
                return Err(Error::new(ErrorKind::InvalidTenant, "the request names more than one tenant"));
            }
            let text = value.to_str();
            let text = text.map_err(|_| Error::new(ErrorKind::InvalidTenant, "the tenant name is not text"))?;
            Tenant::new(text).map(Some)
        })
    }

    /// The tenant that a part of the path names; the first is 0. What it says is taken as it stands: nothing is decoded.
    #[must_use]
    pub fn path_segment(index: usize) -> Self {
        Self::finding(move |parts| {
            let segment = super::request::uri(parts).path().split('/').skip(1).nth(index);
            segment.filter(|segment| !segment.is_empty()).map(Tenant::new).transpose()
        })
    }

    /// Requests that name none are answered with `400`.
    #[must_use]
    pub fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// Requests that name an impossible one run as no tenant.
    #[must_use]
    pub fn tolerant(self) -> Self {
        Self { is_tolerant: true, ..self }
    }

    /// The tenant, or what to answer.
    fn decide(&self, parts: &Parts) -> Result<Option<Tenant>, &'static str> {
        match (self.find)(parts) {
            Ok(None) if self.is_required => Err("the request names no tenant\n"),
            Ok(tenant) => Ok(tenant),
            Err(_) if self.is_tolerant && !self.is_required => Ok(None),
            // What it says may be hostile, and is not repeated.
            Err(_) => Err("the tenant that the request names is not valid\n"),
        }
    }
}

impl<S> Layer<S> for TenantLayer {
    type Service = TenantService<S>;

    fn layer(&self, inner: S) -> TenantService<S> {
        TenantService { inner, layer: self.clone() }
    }
}

/// A service whose requests run as the tenant that they name. Made by [`TenantLayer`].
#[derive(Clone, Debug)]
pub struct TenantService<S> {
    inner: S,
    layer: TenantLayer,
}

type Answer<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

impl<S, B, RB> Service<Request<B>> for TenantService<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    RB: Send + 'static,
{
    type Response = Response<Body<RB>>;
    type Error = S::Error;
    type Future = Answer<Self::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let tenant = match self.layer.decide(&parts) {
            Ok(tenant) => tenant,
            Err(why) => {
                let mut response = Response::new(Body::whole(Bytes::from_static(why.as_bytes())));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        let next = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, next);
        let made_for = MadeFor(tenant.clone());
        let work = async move {
            let mut response = service.call(Request::from_parts(parts, body)).await?.map(Body::through);
            let extensions = response.extensions_mut();
            if extensions.get::<MadeFor>().is_none_or(|made| made.0.is_none()) {
                extensions.insert(made_for);
            }
            Ok(response)
        };
        match tenant {
            Some(tenant) => Box::pin(tenant.scope(work)),
            None => Box::pin(Tenant::global(work)),
        }
    }
}

/// Runs each request in a cache of its own choice: annotated functions and layers within use that one. For services with several
/// caches, and for tests of a service.
///
/// ```
/// use cache_runtime::{Cache, http::ScopeLayer};
///
/// let layer = ScopeLayer::new(Cache::memory());
/// ```
#[derive(Clone, Debug)]
pub struct ScopeLayer {
    cache: Cache,
}

impl ScopeLayer {
    /// Requests run in this cache.
    #[must_use]
    pub fn new(cache: impl Into<Cache>) -> Self {
        Self { cache: cache.into() }
    }
}

impl<S> Layer<S> for ScopeLayer {
    type Service = ScopeService<S>;

    fn layer(&self, inner: S) -> ScopeService<S> {
        ScopeService { inner, cache: self.cache.clone() }
    }
}

/// A service whose requests run in one cache. Made by [`ScopeLayer`].
#[derive(Clone, Debug)]
pub struct ScopeService<S> {
    inner: S,
    cache: Cache,
}

impl<S, R> Service<R> for ScopeService<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answer<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let next = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, next);
        // What a service does before its future is polled is within, too.
        Box::pin(self.cache.scope(async move { service.call(request).await }))
    }
}

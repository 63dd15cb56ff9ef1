//! What a handler says about its response beside the headers, which a client does not see: put it into the response's
//! extensions.

use std::time::Duration;

use crate::engine::sink::IntoTags;

/// Tags of a response: put it into the response's extensions, and the kept response is dropped when one of them is
/// invalidated.
///
/// With axum: `(Extension(Tags::new([user(42)])), Json(user))`.
///
/// ```
/// use cache_runtime::http::Tags;
///
/// let mut response = http::Response::new("hello");
/// response.extensions_mut().insert(Tags::new(["greetings"]).and("texts"));
/// ```
///
/// # Staleness
///
/// They are known only from the response. In memory a response is kept from its first load on; on Redis the first load of a
/// key may go unstored. Tags that the request tells are better said on the layer, [`CacheLayer::tags`](super::CacheLayer::tags).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(pub(super) Vec<Box<str>>);

impl Tags {
    /// These tags.
    #[must_use]
    pub fn new<M>(tags: impl IntoTags<M>) -> Self {
        Self::default().and(tags)
    }

    /// These tags, too.
    #[must_use]
    pub fn and<M>(mut self, tags: impl IntoTags<M>) -> Self {
        tags.for_each_tag(&mut |tag| self.0.push(tag.into()));
        self
    }
}

/// How long a response is kept: put it into the response's extensions. It comes before `Cache-Control` and the layer's ttl,
/// and no client sees it. What forbids to keep a response (`no-store`, `private`, ..) still does.
///
/// ```
/// use std::time::Duration;
/// use cache_runtime::http::KeepFor;
///
/// let mut response = http::Response::new("hello");
/// response.extensions_mut().insert(KeepFor(Duration::from_secs(60)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepFor(pub Duration);

/// On a response that a layer has kept: one around it does not keep it once more.
#[derive(Clone, Copy, Debug)]
pub(super) struct FromLayer;

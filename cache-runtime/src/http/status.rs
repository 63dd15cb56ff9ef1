//! `Cache-Status` (RFC 9211): what the cache did with a request.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A kept response, fresh for so many seconds more; negative: an old one.
    Hit { ttl: i64 },
    /// Somebody else's request was under way, and its response was taken.
    Collapsed,
    /// The handler was called, and its response may be kept.
    Stored(Forward),
    /// The handler was called.
    Forwarded(Forward, Option<&'static str>),
    /// Nothing is kept, and the request wants nothing else.
    Unsatisfied,
}

/// Why the handler was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forward {
    /// The request is not for a cache.
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    /// The request wants it.
    Request,
}

impl Forward {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
        }
    }
}

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

impl Outcome {
    /// Adds it to a response, after what other caches have said.
    pub(super) fn say(self, name: &str, headers: &mut HeaderMap) {
        let mut text = String::with_capacity(name.len() + 32);
        text.push_str(name);
        let written = match self {
            Self::Hit { ttl } => write!(text, "; hit; ttl={ttl}"),
            Self::Collapsed => write!(text, "; fwd=uri-miss; collapsed"),
            Self::Stored(forward) => write!(text, "; fwd={}; stored", forward.as_str()),
            Self::Forwarded(forward, None) => write!(text, "; fwd={}", forward.as_str()),
            Self::Forwarded(forward, Some(detail)) => write!(text, "; fwd={}; detail={detail}", forward.as_str()),
            Self::Unsatisfied => write!(text, "; fwd=uri-miss; detail=only-if-cached"),
        };
        if written.is_ok()
            && let Ok(value) = HeaderValue::from_str(&text)
        {
            headers.append(CACHE_STATUS, value);
        }
    }
}

//! What is kept of a response, what it becomes again, when it is not sent at all (304), and what a 304 of its handler makes of it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, VARY,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::directive::Directives;
use super::extension::FromLayer;
use crate::policy::Ages;
use crate::shape::{Checked, FallibleShared, Handling, One, Shared};

/// What is under a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Entry {
    /// A response.
    Kept(Kept),
    /// The response of this key cannot be kept: for a while nobody waits for somebody else's.
    Uncacheable,
}

/// A response.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(with = "code")]
    status: StatusCode,
    #[serde(with = "fields")]
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    /// When it was made, in milliseconds of the wall clock.
    made_ms: u64,
    /// How long it is fresh from then on.
    life_ms: u64,
    stale_ms: u64,
    stale_if_error_ms: u64,
    /// The headers by which it was chosen.
    #[serde(with = "names")]
    vary: Vec<HeaderName>,
    /// What the request said in them.
    variant: Variant,
    said: Said,
    /// Whether its `ETag` is the layer's, of which its handler knows nothing.
    is_etag_ours: bool,
}

/// What a handler said of its response beside the headers. It holds on where the handler confirms the response.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) tags: Vec<Box<str>>,
    pub(super) keep_for: Option<Duration>,
}

impl Said {
    /// Adds what was said of the response that is confirmed: its body depends on all that it did before.
    pub(super) fn holds_on(&mut self, before: &Self) {
        for tag in &before.tags {
            if !self.tags.contains(tag) {
                self.tags.push(tag.clone());
            }
        }
        self.keep_for = self.keep_for.or(before.keep_for);
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The request's values of some headers, hashed: they may be secret.
pub(super) type Variant = [u8; 16];

/// The request did not lead to a response that others could have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed;

/// How the engine sees it.
pub(super) type Shape = Checked<Entry, FallibleShared<Failed>, One, Shared>;

const HANDLING: &Handling<Entry> = &Handling { ages: Entry::ages, ..*Handling::STORABLE };

/// How the engine sees it.
pub(super) fn shape() -> Shape {
    Checked::new(HANDLING)
}

impl Entry {
    #[allow(clippy::unnecessary_wraps, reason = "every response says it, as `Handling` may")]
    fn ages(&self) -> Option<Ages> {
        let span = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        Some(match self {
            Self::Uncacheable => Ages::NONE,
            Self::Kept(kept) => {
                Ages { stale: span(kept.stale_ms), stale_if_error: span(kept.stale_if_error_ms), ..Ages::NONE }
            }
        })
    }
}

/// For how long a response may be served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When it was made, in milliseconds of the wall clock.
    pub(super) made_ms: u64,
    pub(super) life: Duration,
    pub(super) stale: Duration,
    pub(super) stale_if_error: Duration,
}

/// What a request wants beside the response: conditions that it may be answered by.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    none_match: Vec<HeaderValue>,
    modified_since: Option<HeaderValue>,
}

impl Conditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            none_match: headers.get_all(IF_NONE_MATCH).iter().cloned().collect(),
            modified_since: headers.get(IF_MODIFIED_SINCE).cloned(),
        }
    }

    /// Removes them from a request whose response is to be kept: it has to be the whole one.
    pub(super) fn strip(headers: &mut HeaderMap) {
        headers.remove(IF_NONE_MATCH);
        headers.remove(IF_MODIFIED_SINCE);
    }
}

/// The values that a request has in these headers.
pub(super) fn variant(names: &[HeaderName], headers: &HeaderMap) -> Variant {
    keyed(names, headers, std::iter::empty())
}

/// The values that a request has in these headers, and other texts that it says.
pub(super) fn keyed<'t>(names: &[HeaderName], headers: &HeaderMap, others: impl Iterator<Item = &'t str>) -> Variant {
    let mut hasher = blake3::Hasher::new();
    let mut feed = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    // Where the headers end and the others begin.
    feed(&(names.len() as u64).to_le_bytes());
    for name in names {
        feed(name.as_str().as_bytes());
        let values = headers.get_all(name);
        feed(&(values.iter().count() as u64).to_le_bytes());
        values.iter().for_each(|value| feed(value.as_bytes()));
    }
    others.for_each(|text| feed(text.as_bytes()));
    let mut variant = Variant::default();
    variant.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    variant
}

impl Kept {
    /// `headers` are the response's, without those of the connection.
    pub(super) fn new(
        status: StatusCode,
        mut headers: HeaderMap,
        body: Bytes,
        times: Times,
        vary: Vec<HeaderName>,
        request: &HeaderMap,
        said: Said,
    ) -> Self {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let own = etag(&headers, &body).filter(|_| !headers.contains_key(ETAG) && status == StatusCode::OK);
        let is_etag_ours = own.is_some();
        if let Some(etag) = own {
            headers.insert(ETAG, etag);
        }
        if !headers.contains_key(DATE)
            && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(at(times.made_ms)))
        {
            headers.insert(DATE, date);
        }
        headers.remove(AGE);
        let variant = variant(&vary, request);
        Self {
            status,
            headers: headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            body,
            made_ms: times.made_ms,
            life_ms: ms(times.life),
            stale_ms: ms(times.stale),
            stale_if_error_ms: ms(times.stale_if_error),
            vary,
            variant,
            said,
            is_etag_ours,
        }
    }

    /// What its handler said beside the headers.
    pub(super) fn said(&self) -> &Said {
        &self.said
    }

    fn etag_of_handler(&self) -> Option<&HeaderValue> {
        self.header(&ETAG).filter(|_| !self.is_etag_ours)
    }

    /// When its handler says it changed last, where that tells it from what the handler makes later: not within the same second
    /// (RFC 9110, section 8.8.2.2).
    fn changed(&self) -> Option<&HeaderValue> {
        let changed = self.header(&LAST_MODIFIED)?;
        let time = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
        let tells = time(changed)? < time(self.header(&DATE)?)?;
        tells.then_some(changed)
    }

    /// Has a request ask whether this is still what its handler would answer: `false` where the handler gave nothing to ask by.
    pub(super) fn ask_about(&self, request: &mut HeaderMap) -> bool {
        let by = [(IF_NONE_MATCH, self.etag_of_handler()), (IF_MODIFIED_SINCE, self.changed())];
        let mut is_asked = false;
        for (name, value) in by {
            if let Some(value) = value.filter(|_| self.status == StatusCode::OK) {
                request.insert(name, value.clone());
                is_asked = true;
            }
        }
        is_asked
    }

    /// Makes of the head of a 304 that of the response that it confirms (RFC 9111, section 4.3.4); the body is this one's.
    /// `None`: it speaks of another one.
    pub(super) fn confirmed(&self, parts: &mut Parts) -> Option<Bytes> {
        let own = self.etag_of_handler();
        let is_other = |new: &HeaderValue| own.is_some_and(|own| !matches_tag(new.as_bytes(), own.as_bytes()));
        if parts.headers.get(ETAG).is_some_and(is_other) {
            return None;
        }
        // The body is still the one that these describe.
        let of_body = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_TYPE, CONTENT_RANGE, ETAG];
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let is_gone = *name == DATE || (*name == ETAG && self.is_etag_ours);
            // It was also selected by what the confirmation does not say again.
            let stays = of_body.contains(name) || *name == VARY || !parts.headers.contains_key(name);
            if !is_gone && stays {
                headers.append(name.clone(), value.clone());
            }
        }
        for (name, value) in parts.headers.iter().filter(|(name, _)| !of_body.contains(name)) {
            if *name != VARY || headers.get_all(VARY).iter().all(|known| known != value) {
                headers.append(name.clone(), value.clone());
            }
        }
        (parts.status, parts.headers) = (self.status, headers);
        Some(self.body.clone())
    }

    /// How long it lives in the cache from now on.
    pub(super) fn left(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.life_ms.saturating_sub(self.age_ms(now_ms)))
    }

    /// Whether it is what a request with these headers asks for.
    pub(super) fn fits(&self, request: &HeaderMap) -> bool {
        self.vary.is_empty() || self.variant == variant(&self.vary, request)
    }

    /// What tells a request's response from this one.
    pub(super) fn variant_of(&self, request: &HeaderMap) -> Variant {
        variant(&self.vary, request)
    }

    fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.made_ms)
    }

    /// Seconds that it is fresh for; negative: since when it is not.
    pub(super) fn ttl(&self, now_ms: u64) -> i64 {
        let ms = i64::try_from(self.life_ms).unwrap_or(i64::MAX);
        ms.saturating_sub(i64::try_from(self.age_ms(now_ms)).unwrap_or(i64::MAX)).div_euclid(1000)
    }

    /// Whether it is new enough for a request.
    pub(super) fn satisfies(&self, wants: &Directives, now_ms: u64) -> bool {
        let age = self.age_ms(now_ms) / 1000;
        let left = self.life_ms.saturating_sub(self.age_ms(now_ms)) / 1000;
        !wants.no_cache
            && wants.max_age.is_none_or(|most| age <= most)
            && wants.min_fresh.is_none_or(|least| left >= least)
    }

    /// Whether it may be served where the handler fails (RFC 5861, section 4).
    pub(super) fn outlasts_failures(&self, now_ms: u64) -> bool {
        let until = self.life_ms.saturating_add(self.stale_if_error_ms);
        self.stale_if_error_ms > 0 && self.age_ms(now_ms) < until
    }

    pub(super) fn made_ms(&self) -> u64 {
        self.made_ms
    }

    fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether who asks has it already (RFC 9110, section 13.1).
    fn is_unchanged(&self, conditions: &Conditions) -> bool {
        if self.status != StatusCode::OK {
            return false;
        }
        if !conditions.none_match.is_empty() {
            let Some(own) = self.header(&ETAG) else { return false };
            return conditions.none_match.iter().any(|list| matches_tag(list.as_bytes(), own.as_bytes()));
        }
        let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
        let since = conditions.modified_since.as_ref().and_then(date);
        since.zip(self.header(&LAST_MODIFIED).and_then(date)).is_some_and(|(since, changed)| changed <= since)
    }

    /// The response again, without its body for `HEAD`.
    pub(super) fn respond<B>(&self, conditions: &Conditions, is_head: bool, now_ms: u64) -> Response<Body<B>> {
        let is_unchanged = self.is_unchanged(conditions);
        let body = if is_unchanged || is_head { Bytes::new() } else { self.body.clone() };
        let mut response = Response::new(Body::whole(body));
        let of_unchanged = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY];
        let headers = response.headers_mut();
        for (name, value) in &self.headers {
            if !is_unchanged || of_unchanged.contains(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        headers.insert(AGE, HeaderValue::from(self.age_ms(now_ms) / 1000));
        if is_head && !is_unchanged && self.status != StatusCode::NO_CONTENT && !headers.contains_key(CONTENT_LENGTH) {
            // Of the body that `GET` has. A server would say 0, of the one that it is given.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        response.extensions_mut().insert(FromLayer);
        *response.status_mut() = if is_unchanged { StatusCode::NOT_MODIFIED } else { self.status };
        response
    }
}

/// A moment of the wall clock.
pub(super) fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

/// A strong validator: of the body, and of what else makes it another representation.
fn etag(headers: &HeaderMap, body: &Bytes) -> Option<HeaderValue> {
    let mut hasher = blake3::Hasher::new();
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        hasher.update(headers.get(name).map_or(b"".as_slice(), HeaderValue::as_bytes));
        hasher.update(&[0]);
    }
    hasher.update(body);
    let hex = hasher.finalize().to_hex();
    HeaderValue::from_str(&format!("\"{}\"", &hex[..32])).ok()
}

/// Whether a list of entity tags has this one, however weak.
fn matches_tag(list: &[u8], own: &[u8]) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let own = opaque(own);
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    // A comma may stand in a tag, and a quote may not.
    while !rest.is_empty() {
        let tag = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some(inner) = tag.strip_prefix(b"\"") else { return false };
        let Some(end) = inner.iter().position(|byte| *byte == b'"') else { return false };
        if own == tag[..end + 2] {
            return true;
        }
        rest = inner[end + 1..].trim_ascii_start();
        rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
    }
    false
}

/// A status as a number.
mod code {
    use http::StatusCode;
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(status.as_u16())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
        StatusCode::from_u16(u16::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Names of headers as text.
mod names {
    use http::HeaderName;
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(names: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names.iter().map(HeaderName::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderName>, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names.iter().map(|name| HeaderName::from_bytes(name.as_bytes()).map_err(D::Error::custom)).collect()
    }
}

/// Headers as pairs of text and bytes. What could not stand in a header is not taken for one.
mod fields {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    type Headers = Vec<(HeaderName, HeaderValue)>;

    /// More than these nobody sends, and a map of headers panics where there are far more.
    const MOST: usize = 1000;

    pub(super) fn serialize<S: Serializer>(headers: &Headers, serializer: S) -> Result<S::Ok, S::Error> {
        let pair = |(name, value): &(HeaderName, HeaderValue)| {
            (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()))
        };
        serializer.collect_seq(headers.iter().map(pair))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Headers, D::Error> {
        let pairs = Vec::<(String, Bytes)>::deserialize(deserializer)?;
        if pairs.len() > MOST {
            return Err(D::Error::custom("more headers than a response can have"));
        }
        let pair = |(name, value): (String, Bytes)| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(D::Error::custom)?;
            Ok((name, HeaderValue::from_maybe_shared(value).map_err(D::Error::custom)?))
        };
        pairs.into_iter().map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_compared_weakly_and_as_a_whole() {
        let table = [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("\"b\", \"a\"", "\"a\"", true),
            ("\"b,\" , W/\"a\"", "\"a\"", true),
            ("*", "\"a\"", true),
            ("\"ab\"", "\"a\"", false),
            ("a", "\"a\"", false),
            ("\"a", "\"a\"", false),
            ("\"x\"\"a\"", "\"b\"", false),
            ("", "\"a\"", false),
        ];
        for (list, own, expected) in table {
            assert_eq!(matches_tag(list.as_bytes(), own.as_bytes()), expected, "{list} {own}");
        }
    }

    #[test]
    fn variants_tell_apart_what_could_run_together() {
        let names = [HeaderName::from_static("a"), HeaderName::from_static("b")];
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            variant(&names, &headers)
        };
        let all = [
            of(&[]),
            of(&[("a", "")]),
            of(&[("a", "x")]),
            of(&[("b", "x")]),
            of(&[("a", "x"), ("a", "x")]),
            of(&[("a", "x, x")]),
            of(&[("a", "x"), ("b", "x")]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|other| other != one), "{index}");
        }
        assert_eq!(of(&[("a", "x"), ("c", "y")]), of(&[("a", "x")]));
    }
}

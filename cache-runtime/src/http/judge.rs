//! Whether a response may be kept, and for how long (RFC 9111, sections 3 and 4.2). Pure.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, DATE, EXPIRES, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::directive::{Directives, MOST, seconds};

/// What the layer says where a response does not, and what it allows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Defaults {
    pub(super) stale: Duration,
    pub(super) stale_if_error: Duration,
    pub(super) stores_set_cookie: bool,
    /// Whether the request has credentials that are not in the key: then the response has to allow it.
    pub(super) is_authorized: bool,
}

/// How long a response that may be kept is fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// `None`: nobody said; the layer's own.
    pub(super) life: Option<Duration>,
    /// How old it was when it arrived.
    pub(super) age: Duration,
    pub(super) stale: Duration,
    pub(super) stale_if_error: Duration,
    /// Lower case, in order, each once.
    pub(super) vary: Vec<HeaderName>,
}

/// Why a response is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The handler says so, or it is for one caller only.
    Private(&'static str),
    /// It failed. The next may not.
    Failed(&'static str),
}

/// Statuses that are kept where nobody says for how long.
const LASTING: [u16; 6] = [200, 203, 204, 301, 308, 410];

/// Statuses that are kept where the response says for how long.
const POSSIBLE: [u16; 8] = [300, 302, 303, 307, 404, 405, 414, 501];

/// Whether an old response may be served instead of one of this status (RFC 5861, section 4).
pub(super) fn is_failure(status: StatusCode) -> bool {
    [500, 502, 503, 504].contains(&status.as_u16())
}

/// Judges a response. `said`: how long its handler wants it kept, other than by a header.
pub(super) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    said: Option<Duration>,
    defaults: &Defaults,
    now: SystemTime,
) -> Result<Terms, Refusal> {
    let private = |why| Err(Refusal::Private(why));
    let control = Directives::of_response(headers);
    let is_possible = POSSIBLE.contains(&status.as_u16());
    if is_failure(status) {
        return Err(Refusal::Failed("status"));
    }
    if !is_possible && !LASTING.contains(&status.as_u16()) {
        return private("status");
    }
    if control.no_store || control.private || control.no_cache {
        return private("cache-control");
    }
    if headers.contains_key(SET_COOKIE) && !defaults.stores_set_cookie {
        return private("set-cookie");
    }
    if headers.contains_key(CONTENT_RANGE) {
        return private("content-range");
    }
    if is_endless(headers) {
        return private("streaming");
    }
    let Some(vary) = vary(headers) else { return private("vary") };
    if defaults.is_authorized && !(control.public || control.s_maxage.is_some() || control.must_revalidate) {
        return private("authorization");
    }
    let lasts = said.map(|said| said.min(Duration::from_secs(MOST))).or_else(|| {
        let seconds = control.s_maxage.or(control.max_age);
        seconds.map(Duration::from_secs).or_else(|| expires(headers, now))
    });
    if lasts.is_none() && is_possible {
        return private("status");
    }
    let mut age = Duration::from_secs(headers.get(AGE).and_then(|age| age.to_str().ok()).map_or(0, seconds));
    if said.is_none() && lasts.is_some() {
        // A lifetime in headers began when the response was made; one that the service gives it begins now.
        let apparent = headers.get(DATE).and_then(date).and_then(|made| now.duration_since(made).ok());
        age = age.max(apparent.map_or(Duration::ZERO, |apparent| Duration::from_secs(apparent.as_secs())));
    }
    // What must be revalidated is never served old; `s-maxage` means that too, unless the response says for how long.
    let allowed = |directive: Option<u64>, default: Duration| {
        if control.must_revalidate || control.proxy_revalidate {
            return Duration::ZERO;
        }
        let default = if control.s_maxage.is_some() { Duration::ZERO } else { default };
        directive.map_or(default, Duration::from_secs)
    };
    let terms = Terms {
        life: lasts,
        age,
        stale: allowed(control.stale_while_revalidate, defaults.stale),
        stale_if_error: allowed(control.stale_if_error, defaults.stale_if_error),
        vary,
    };
    if terms.life.is_some_and(|life| life <= age) {
        return private("expired");
    }
    Ok(terms)
}

/// How long it lasts by `Expires`; a date that cannot be read is over.
fn expires(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let expires = headers.get(EXPIRES)?;
    let from = headers.get(DATE).and_then(date).unwrap_or(now);
    // What is over is over, whatever the clock says that wrote `Date`.
    Some(date(expires).filter(|at| *at > now).and_then(|at| at.duration_since(from).ok()).unwrap_or_default())
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// Whether its body says that it goes on and on.
fn is_endless(headers: &HeaderMap) -> bool {
    let says = |name: &HeaderName, starts: &[&str]| {
        let begins =
            |value: &str, start: &str| value.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| starts.iter().any(|start| begins(value, start)))
    };
    says(&CONTENT_TYPE, &["text/event-stream", "multipart/x-mixed-replace"])
        || says(&HeaderName::from_static("x-accel-buffering"), &["no"])
}

/// The headers that it varies by; `None`: by something that no header tells.
fn vary(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "*" {
                return None;
            }
            names.push(HeaderName::from_bytes(name.as_bytes()).ok()?);
        }
    }
    names.sort_by(|one: &HeaderName, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    Some(names)
}

/// Removes headers that are about the connection and not about the response.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        // Nobody takes these from a response by naming them.
        .filter(|name| ![CACHE_CONTROL, VARY, SET_COOKIE].contains(name))
        .collect();
    let always = [
        CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("proxy-authentication-info"),
    ];
    for name in always.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn of(status: u16, pairs: &[(&'static str, &'static str)]) -> Result<Terms, Refusal> {
        judge(StatusCode::from_u16(status).expect("a status"), &headers(pairs), None, &Defaults::default(), NOW)
    }

    /// How long a response is kept by its own words, in seconds; `None`: by the layer's.
    fn life(status: u16, pairs: &[(&'static str, &'static str)]) -> Result<Option<u64>, Refusal> {
        of(status, pairs).map(|terms| terms.life.map(|life| life.as_secs()))
    }

    #[test]
    fn what_is_kept_and_for_how_long() {
        let private = |why| Err(Refusal::Private(why));
        type Row = (u16, &'static [(&'static str, &'static str)], Result<Option<u64>, Refusal>);
        let table: &[Row] = &[
            (200, &[], Ok(None)),
            (204, &[], Ok(None)),
            (404, &[], private("status")),
            (404, &[("cache-control", "max-age=5")], Ok(Some(5))),
            (302, &[("cache-control", "s-maxage=5")], Ok(Some(5))),
            (302, &[], private("status")),
            (201, &[("cache-control", "max-age=5")], private("status")),
            (206, &[("cache-control", "max-age=5")], private("status")),
            (304, &[("cache-control", "max-age=5")], private("status")),
            (401, &[("cache-control", "max-age=5")], private("status")),
            (500, &[("cache-control", "max-age=5")], Err(Refusal::Failed("status"))),
            (503, &[], Err(Refusal::Failed("status"))),
            (505, &[("cache-control", "max-age=5")], private("status")),
            (200, &[("cache-control", "no-store")], private("cache-control")),
            (200, &[("cache-control", "private, max-age=5")], private("cache-control")),
            (200, &[("cache-control", "no-cache")], private("cache-control")),
            (200, &[("cache-control", "max-age=60, s-maxage=5")], Ok(Some(5))),
            (200, &[("cache-control", "max-age=0")], private("expired")),
            (200, &[("cache-control", "max-age=x")], private("expired")),
            (200, &[("cache-control", "max-age=60"), ("age", "20")], Ok(Some(60))),
            (200, &[("cache-control", "max-age=60"), ("age", "60")], private("expired")),
            (200, &[("expires", "0")], private("expired")),
            (200, &[("expires", "Thu, 01 Jan 1970 00:01:00 GMT")], Ok(Some(60))),
            (
                200,
                &[("expires", "Thu, 01 Jan 1970 00:01:00 GMT"), ("date", "Thu, 01 Jan 1970 00:00:50 GMT")],
                Ok(Some(10)),
            ),
            (200, &[("expires", "Thu, 01 Jan 1970 00:01:00 GMT"), ("cache-control", "max-age=7")], Ok(Some(7))),
            (200, &[("set-cookie", "a=b")], private("set-cookie")),
            (200, &[("content-range", "bytes 0-1/2")], private("content-range")),
            (200, &[("content-type", "Text/Event-Stream; charset=utf-8")], private("streaming")),
            (200, &[("vary", "*")], private("vary")),
            (200, &[("vary", "accept, *")], private("vary")),
        ];
        for (status, pairs, expected) in table {
            assert_eq!(life(*status, pairs), *expected, "{status} {pairs:?}");
        }
    }

    #[test]
    fn what_has_expired_is_not_fresh_because_an_old_date_says_so() {
        let date = ("date", "Thu, 01 Jan 1970 00:00:10 GMT");
        for life in [("expires", "Thu, 01 Jan 1970 00:01:00 GMT"), ("cache-control", "max-age=50")] {
            let at = |seconds, said| {
                let now = NOW + Duration::from_secs(seconds);
                let judged = judge(StatusCode::OK, &headers(&[life, date]), said, &Defaults::default(), now);
                judged.map(|terms| (terms.life.unwrap_or_default().as_secs(), terms.age.as_secs()))
            };
            assert_eq!(at(5, None), Ok((50, 0)), "a clock that is ahead");
            assert_eq!(at(59, None), Ok((50, 49)), "one second is left");
            assert_eq!(at(60, None), Err(Refusal::Private("expired")));
            assert_eq!(at(99, Some(Duration::from_secs(7))), Ok((7, 0)), "what the service says begins now");
        }
    }

    #[test]
    fn headers_that_a_response_varies_by_are_a_set() {
        let terms = of(200, &[("vary", "Accept-Language, accept"), ("vary", "ACCEPT")]).expect("kept");
        assert_eq!(terms.vary, ["accept", "accept-language"]);
    }

    #[test]
    fn what_must_be_revalidated_is_never_served_old() {
        let defaults =
            Defaults { stale: Duration::from_secs(9), stale_if_error: Duration::from_secs(8), ..Defaults::default() };
        let windows = |control: &'static str| {
            let headers = headers(&[("cache-control", control)]);
            let terms = judge(StatusCode::OK, &headers, None, &defaults, NOW).expect("kept");
            (terms.stale.as_secs(), terms.stale_if_error.as_secs())
        };
        assert_eq!(windows("max-age=1"), (9, 8));
        assert_eq!(windows("max-age=1, stale-while-revalidate=3, stale-if-error=4"), (3, 4));
        assert_eq!(windows("max-age=1, stale-while-revalidate=3, must-revalidate"), (0, 0));
        assert_eq!(windows("max-age=1, proxy-revalidate"), (0, 0));
        assert_eq!(windows("s-maxage=1"), (0, 0));
        assert_eq!(windows("s-maxage=1, stale-while-revalidate=3"), (3, 0));
    }

    #[test]
    fn responses_to_credentials_are_kept_only_where_they_allow_it() {
        let defaults = Defaults { is_authorized: true, ..Defaults::default() };
        for (control, kept) in [
            ("max-age=5", false),
            ("public, max-age=5", true),
            ("s-maxage=5", true),
            ("max-age=5, must-revalidate", true),
            ("max-age=5, proxy-revalidate", false),
            ("public, private", false),
        ] {
            let headers = headers(&[("cache-control", control)]);
            assert_eq!(judge(StatusCode::OK, &headers, None, &defaults, NOW).is_ok(), kept, "{control}");
        }
    }

    #[test]
    fn headers_of_the_connection_go() {
        let mut headers =
            headers(&[("connection", "x-mine, vary"), ("x-mine", "1"), ("x-other", "2"), ("te", "x"), ("vary", "a")]);
        strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["vary", "x-other"]);
    }
}

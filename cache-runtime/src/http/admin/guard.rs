//! Who may ask. Looked at before anything else: where a request comes from, under which name it reached this machine, and
//! whether a page of another site sent it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State as Given};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, FORWARDED, HOST, ORIGIN, REFERRER_POLICY, VIA,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::State;

/// The header that carries the page's token.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-cache-token");

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DESTINATION: HeaderName = HeaderName::from_static("sec-fetch-dest");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What proxies add. A request that has one of them comes from elsewhere, whoever connected.
const PROXIES: [HeaderName; 8] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
];

/// Whom a router answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nobody was authenticated: programs on this machine only.
    ThisMachine,
    /// Whoever comes so far was authenticated, or is to be answered nevertheless.
    Anyone,
}

/// Why a request is refused, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(StatusCode, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

const fn forbidden(why: &'static str) -> Refused {
    Refused(StatusCode::FORBIDDEN, why)
}

/// Refuses what may not pass, and says to browsers what they may do with what does.
pub(super) async fn guard(Given(state): Given<Arc<State>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match check(&state, &parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // The page brings a policy of its own; the rest is nothing that a browser should draw.
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(nothing);
    response
}

fn check(state: &State, parts: &Parts) -> Result<(), Refused> {
    if state.trust == Trust::ThisMachine {
        from_this_machine(parts)?;
    }
    from_this_site(state, parts)?;
    if parts.method == Method::GET || parts.method == Method::HEAD { Ok(()) } else { may_change(state, parts) }
}

/// Without authentication: the other end is on this machine, nobody stands between, and it asks for a name of this machine.
/// The last is against a foreign page whose host name suddenly resolves to 127.0.0.1.
fn from_this_machine(parts: &Parts) -> Result<(), Refused> {
    let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else {
        return Err(forbidden(
            "the cache's page has no authentication in front, and cannot tell who asks: serve it with \
             `into_make_service_with_connect_info::<SocketAddr>()`, or see `Admin::authenticated_by`",
        ));
    };
    if !peer.ip().to_canonical().is_loopback() || PROXIES.iter().any(|name| parts.headers.contains_key(name)) {
        return Err(forbidden(
            "the cache's page has no authentication in front, so it answers programs on its own machine only: see \
             `Admin::authenticated_by`",
        ));
    }
    if !host(parts).is_some_and(names_this_machine) {
        return Err(forbidden(
            "the cache's page has no authentication in front, so it answers under `localhost`, `127.0.0.1` and `[::1]` only",
        ));
    }
    Ok(())
}

/// A page of another site may lead a browser here, and nothing else.
fn from_this_site(state: &State, parts: &Parts) -> Result<(), Refused> {
    let into_a_tab = matches!(text(parts, &DESTINATION), Some("document") | None);
    let led_here = parts.method == Method::GET && text(parts, &MODE) == Some("navigate") && into_a_tab;
    let foreign = match text(parts, &SITE) {
        Some("same-origin" | "none") | None => false,
        Some(_) => !led_here,
    };
    let alien =
        parts.headers.get(ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(|it| is_ours(state, parts, it)));
    if foreign || alien {
        return Err(forbidden(
            "a page of another origin sent this request. Behind a proxy that changes the `Host` header, name the origin of \
             the page with `Admin::origin`",
        ));
    }
    Ok(())
}

fn is_ours(state: &State, parts: &Parts, origin: &str) -> bool {
    if state.origins.iter().any(|ours| ours.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    // `Host` is what the browser was told the server is called, by anybody whose name resolves to it. Where it was looked at, or
    // nothing better is known, it counts.
    let counts = state.trust == Trust::ThisMachine || state.origins.is_empty();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    counts && authority.zip(host(parts)).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// A change is asked for by the page: it knows the token, and its request is one that another site's page could not send
/// without being asked for permission first.
fn may_change(state: &State, parts: &Parts) -> Result<(), Refused> {
    if state.read_only {
        return Err(forbidden("this page shows, and changes nothing: it was mounted with `Admin::read_only`"));
    }
    let kind = text(parts, &CONTENT_TYPE).and_then(|kind| kind.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Err(Refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a change is asked for with `content-type: application/json`",
        ));
    }
    if !text(parts, &TOKEN).is_some_and(|token| same(token, &state.token)) {
        return Err(forbidden("the token is missing, or that of an earlier start of this process: reload the page"));
    }
    Ok(())
}

/// In a time that does not depend on where they differ.
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn text<'p>(parts: &'p Parts, name: &HeaderName) -> Option<&'p str> {
    parts.headers.get(name)?.to_str().ok()
}

/// The name under which the client knows this server: of HTTP/2 it is in the address.
fn host(parts: &Parts) -> Option<&str> {
    text(parts, &HOST).or_else(|| parts.uri.authority().map(|authority| authority.as_str()))
}

fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_told_from_those_that_only_begin_alike() {
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1:3000", "127.8.9.1", "[::1]:3000", "[::1]", "[::ffff:127.0.0.1]"]
        {
            assert!(names_this_machine(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.com",
            "evil.com:80",
            "127.0.0.1.evil.com",
            "10.0.0.1",
            "[::2]:80",
            "a@localhost",
            "localhost:1:2",
        ] {
            assert!(!names_this_machine(host), "{host}");
        }
    }

    #[test]
    fn tokens_are_the_same_only_in_every_byte() {
        assert!(same("abc", "abc"));
        assert!(!same("abc", "abd") && !same("abc", "ab") && !same("", "abc"));
    }
}

//! Old responses that their handler confirms (304): what it is asked, what becomes of them, and that nothing that was
//! invalidated comes back that way.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use cache_runtime::Cache;
use cache_runtime::http::{CacheLayer, KeepFor, Tags};
use cache_tests::http::Server;
use cache_tests::{eventually, redis};
use parking_lot::Mutex;

use crate::support::{Calls, Gate, Service, answering, service, with};

const SOON: Duration = Duration::from_secs(10);
const MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
const OLD: &str = "max-age=10, stale-if-error=1000";

/// What the handler was asked by.
fn asked(request: &Request) -> String {
    let said = |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().expect("text")).to_owned();
    format!("{} {}", said("if-none-match"), said("if-modified-since"))
}

/// A page with a validator, of a handler that knows its own.
fn page(n: u64, request: &Request) -> Response {
    let tag = [("etag", "\"v1\""), ("cache-control", OLD)];
    match request.headers().get("if-none-match") {
        Some(known) if known == "\"v1\"" => with(&[tag[0], tag[1], ("x-checked", "yes")], StatusCode::NOT_MODIFIED),
        _ => with(&[tag[0], tag[1], ("x-checked", "no")], format!("call {n}")),
    }
}

async fn age(it: &Service, seconds: u64) {
    it.cache.clock().advance(Duration::from_secs(seconds));
}

#[tokio::test]
async fn an_old_response_that_its_handler_confirms_is_new_again() {
    let it = service(|layer| layer, page).await;
    let mut date = it.get("/").await.header("date").expect("a date").to_owned();
    for round in 2..5 {
        age(&it, 11).await;
        let confirmed = it.get("/").await;
        assert_eq!((confirmed.status, confirmed.text(), it.calls.count()), (200, "call 1", round));
        assert_eq!(confirmed.cache(), "http; fwd=uri-miss; stored");
        assert_eq!((confirmed.header("x-checked"), confirmed.header("age")), (Some("yes"), Some("0")));
        assert!(confirmed.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
        let confirmed_at = confirmed.header("date").expect("a date");
        assert_ne!(confirmed_at, date);
        date = confirmed_at.to_owned();
        age(&it, 9).await;
        let kept = it.get("/").await;
        assert_eq!((kept.text(), kept.is_hit(), kept.header("age")), ("call 1", true, Some("9")));
        assert_eq!(kept.header("content-length"), Some("6"));
    }
}

/// The conditions of the client are its own, and those of the handler are not the client's.
#[tokio::test]
async fn a_client_is_told_what_it_has_itself() {
    let it = service(|layer| layer, page).await;
    it.get("/").await;
    for (known, status) in [("\"mine\"", 200), ("\"v1\"", 304)] {
        age(&it, 11).await;
        let reply = it.get_with("/", &[("if-none-match", known)]).await;
        assert_eq!(reply.status, status, "{known}");
        assert_eq!(reply.text(), if status == 200 { "call 1" } else { "" });
    }
    assert_eq!(it.calls.count(), 3);
}

#[tokio::test]
async fn handlers_are_asked_by_their_own_validators_only() {
    let rows: [(&'static [(&'static str, &'static str)], String); 4] = [
        (&[("cache-control", OLD)], "- -".into()),
        (&[("cache-control", OLD), ("etag", "W/\"mine\"")], "W/\"mine\" -".into()),
        (&[("cache-control", OLD), ("last-modified", MODIFIED)], format!("- {MODIFIED}")),
        (&[("cache-control", OLD), ("etag", "\"a\""), ("last-modified", MODIFIED)], format!("\"a\" {MODIFIED}")),
    ];
    for (headers, expected) in rows {
        let it = service(|layer| layer, move |_, request: &Request| with(headers, asked(request))).await;
        assert_eq!(it.get_with("/", &[("if-none-match", "\"x\"")]).await.text(), "- -");
        age(&it, 11).await;
        assert_eq!(it.get_with("/", &[("if-none-match", "\"x\"")]).await.text(), expected);
    }
}

/// P1: what was invalidated is not confirmed, whatever its handler's validator knows of that.
#[tokio::test]
async fn nobody_asks_for_what_was_invalidated() {
    let it = service(
        |layer| layer.tags(|_: &http::request::Parts| "by-layer"),
        |n, request: &Request| {
            let mut response = page(n, request);
            response.extensions_mut().insert(Tags::new("by-handler"));
            response
        },
    )
    .await;
    assert_eq!(it.get("/").await.text(), "call 1");
    for (tag, n) in [("by-layer", 2), ("by-handler", 3)] {
        age(&it, 11).await;
        it.cache.invalidate(tag).await.expect("a cache");
        let reply = it.get("/").await;
        assert_eq!((reply.text(), reply.header("x-checked")), (&*format!("call {n}"), Some("no")));
    }
}

/// P1: also while the handler is asked. Tags of the layer, of the first response, and of the confirmation.
#[tokio::test]
async fn what_is_invalidated_while_it_is_confirmed_is_not_kept() {
    for (tag, says_others) in [("by-layer", false), ("by-first", false), ("by-first", true), ("by-second", true)] {
        let (cache, calls, gate) = (Cache::for_test(), Calls::default(), Gate::new());
        let (count, wait) = (calls.clone(), gate.clone());
        let handler = move |request: Request| async move {
            let n = count.next();
            let mut response = page(n, &request);
            let tags = if says_others && n == 2 { vec!["by-second"] } else { vec!["by-first"] };
            if n != 2 || says_others {
                response.extensions_mut().insert(Tags::new(tags));
            }
            if n == 2 {
                wait.pass().await;
            }
            response
        };
        let layer = CacheLayer::with((*cache).clone()).tags(|_: &http::request::Parts| "by-layer");
        let server = Arc::new(Server::start(Router::new().route("/", get(handler)).layer(layer)).await);
        assert_eq!(server.get("/").await.text(), "call 1");
        cache.clock().advance(Duration::from_secs(11));
        let asking = {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.get("/").await })
        };
        eventually("the handler is asked", SOON, async || calls.count() == 2).await;
        cache.invalidate(tag).await.expect("a cache");
        gate.open(1);
        assert_eq!(asking.await.expect("a reply").text(), "call 1", "{tag}");
        let next = server.get("/").await;
        assert_eq!((next.text(), next.header("x-checked")), ("call 3", Some("no")), "{tag}");
    }
}

/// What the handler said beside the headers holds on where its confirmation does not say it again, or says something else.
#[tokio::test]
async fn tags_and_times_of_a_handler_outlast_its_confirmation() {
    let it = service(
        |layer| layer.ttl("1h").stale_if_error("1h"),
        |n, request: &Request| {
            let mut response = page(n, request);
            response.headers_mut().remove("cache-control");
            if n == 1 {
                response.extensions_mut().insert(Tags::new("first"));
                response.extensions_mut().insert(KeepFor(Duration::from_secs(10)));
            } else if n == 3 {
                response.extensions_mut().insert(Tags::new("third"));
            }
            response
        },
    )
    .await;
    it.get("/").await;
    for n in 2..4 {
        age(&it, 11).await;
        assert_eq!((it.get("/").await.text(), it.calls.count()), ("call 1", n));
    }
    it.cache.invalidate("first").await.expect("a cache");
    assert_eq!(it.get("/").await.text(), "call 4");
}

/// A page for each language, of a handler whose confirmations name only some of the headers that select it.
#[tokio::test]
async fn what_selected_the_body_selects_it_on_where_its_confirmation_does_not_say_so() {
    let it = service(
        |layer| layer,
        |n, request: &Request| {
            if request.headers().contains_key("if-none-match") {
                return with(&[("etag", "\"v1\""), ("vary", "origin")], StatusCode::NOT_MODIFIED);
            }
            let mut response = with(&[("etag", "\"v1\""), ("cache-control", OLD)], format!("call {n}"));
            for name in ["accept-language", "origin"] {
                response.headers_mut().append("vary", name.parse().expect("a name"));
            }
            response
        },
    )
    .await;
    it.get_with("/", &[("accept-language", "de")]).await;
    for round in 2..4 {
        age(&it, 11).await;
        let confirmed = it.get_with("/", &[("accept-language", "de")]).await;
        assert_eq!((confirmed.text(), it.calls.count()), ("call 1", round));
        let vary = confirmed.headers.iter().filter(|(name, _)| name == "vary");
        assert_eq!(
            vary.map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
            ["accept-language", "origin"],
            "said once"
        );
    }
    assert_eq!(it.get_with("/", &[("accept-language", "fr")]).await.text(), "call 4");
    assert!(it.get_with("/", &[("accept-language", "de")]).await.is_hit());
}

/// The body is the one that the kept validator names, exactly; and one without a validator may be confirmed with a new one.
#[tokio::test]
async fn a_confirmation_changes_no_validator() {
    for (first, second, then) in [
        (&[("etag", "W/\"a\"")][..], &[("etag", "\"a\"")][..], Some("W/\"a\"")),
        (&[("last-modified", MODIFIED)], &[("last-modified", MODIFIED), ("etag", "\"new\"")], None),
    ] {
        let answer = move |n, _: &Request| {
            let mut response = if n == 1 { "call 1".into_response() } else { StatusCode::NOT_MODIFIED.into_response() };
            for (name, value) in if n == 1 { first } else { second } {
                response.headers_mut().insert(*name, value.parse().expect("a header"));
            }
            response.headers_mut().insert("cache-control", OLD.parse().expect("a header"));
            response
        };
        let it = service(|layer| layer, answer).await;
        let before = it.get("/").await.header("etag").map(str::to_owned);
        age(&it, 11).await;
        let confirmed = it.get("/").await;
        assert_eq!((confirmed.status, confirmed.text(), it.calls.count()), (200, "call 1", 2));
        assert_eq!(confirmed.header("etag"), then.or(before.as_deref()), "{first:?}");
    }
}

/// What a layer has confirmed and may not keep itself goes to one around it with all that it depends on.
#[tokio::test]
async fn a_layer_around_it_hears_of_tags_that_the_confirmation_does_not_say() {
    let answer = |n, _: &Request| {
        let headers = [("etag", "\"v1\""), ("cache-control", OLD)];
        let mut response =
            if n == 2 { with(&headers, StatusCode::NOT_MODIFIED) } else { with(&headers, format!("call {n}")) };
        if n == 1 {
            response.extensions_mut().insert(Tags::new("first"));
        } else if n == 2 {
            response.headers_mut().insert("set-cookie", "session=1".parse().expect("a header"));
        }
        response
    };
    let (cache, calls) = (Cache::for_test(), Calls::default());
    let layer = |name| CacheLayer::with((*cache).clone()).name(name);
    let app = answering(&calls, answer).layer(layer("inner")).layer(layer("outer").store_set_cookie(true));
    let server = Server::start(app).await;
    assert_eq!(server.get("/").await.text(), "call 1");
    cache.clock().advance(Duration::from_secs(11));
    assert_eq!((server.get("/").await.text(), calls.count()), ("call 1", 2));
    assert_eq!((server.get("/").await.text(), calls.count()), ("call 1", 2), "kept by the outer one");
    cache.invalidate("first").await.expect("a cache");
    assert_eq!(server.get("/").await.text(), "call 3");
}

/// A date tells apart what is a second older than the response; what is as young may have changed since.
#[tokio::test]
async fn a_response_as_young_as_its_date_is_not_confirmed_by_it() {
    let answer = |_, request: &Request| {
        with(&[("cache-control", OLD), ("last-modified", "Fri, 01 Jan 2100 00:00:00 GMT")], asked(request))
    };
    let it = service(|layer| layer, answer).await;
    it.get("/").await;
    age(&it, 11).await;
    assert_eq!(it.get("/").await.text(), "- -");
}

/// A confirmation may forbid to keep it any longer; and one of something else confirms nothing.
#[tokio::test]
async fn a_confirmation_that_is_none_of_what_is_kept() {
    for (headers, text, is_kept) in [
        (&[("cache-control", "no-store")][..], "call 1", false),
        (&[("set-cookie", "session=1")], "call 1", false),
        (&[("vary", "*")], "call 1", false),
    ] {
        let answer = move |n, _: &Request| match n {
            1 => with(&[("etag", "\"v1\""), ("cache-control", OLD)], "call 1"),
            2 => with(headers, StatusCode::NOT_MODIFIED),
            n => format!("call {n}").into_response(),
        };
        let it = service(|layer| layer, answer).await;
        it.get("/").await;
        age(&it, 11).await;
        let reply = it.get("/").await;
        assert_eq!((reply.status, reply.text()), (200, text), "{headers:?}");
        assert_eq!(it.get("/").await.text() == text, is_kept, "{headers:?}");
    }
    let other = |n, _: &Request| match n {
        1 => with(&[("etag", "\"v1\""), ("cache-control", "max-age=10, stale-while-revalidate=0")], "call 1"),
        _ => with(&[("etag", "\"v2\"")], StatusCode::NOT_MODIFIED),
    };
    let it = service(|layer| layer.stale_if_error("1h"), other).await;
    it.get("/").await;
    age(&it, 11).await;
    let old = it.get("/").await;
    assert_eq!((old.text(), old.is_hit(), old.header("etag")), ("call 1", true, Some("\"v1\"")));
}

/// The same on a server that processes share, and in copies of it.
#[tokio::test]
async fn responses_are_confirmed_on_redis_too() {
    let redis = redis::Server::start().await;
    for (scheme, name) in [("", "a"), ("hybrid+", "b")] {
        let calls = Calls::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let cache = Cache::builder().url(format!("{scheme}{}", redis.url())).build().await.expect("a cache");
        let log = Arc::clone(&seen);
        let answer = move |n, request: &Request| {
            log.lock().push(asked(request));
            let mut response = page(n, request);
            response.headers_mut().insert("cache-control", "max-age=1, stale-if-error=1000".parse().expect("a header"));
            response
        };
        let layer = CacheLayer::with(cache.clone()).name(name).tags(|_: &http::request::Parts| "all");
        let server = Server::start(answering(&calls, answer).layer(layer)).await;
        assert_eq!(server.get("/").await.text(), "call 1");
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let confirmed = server.get("/").await;
        assert_eq!((confirmed.status, confirmed.text(), confirmed.header("x-checked")), (200, "call 1", Some("yes")));
        tokio::time::sleep(Duration::from_millis(1200)).await;
        cache.invalidate("all").await.expect("delivered");
        assert_eq!(server.get("/").await.header("x-checked"), Some("no"), "{scheme}");
        assert_eq!(*seen.lock(), ["- -", "\"v1\" -", "- -"], "{scheme}");
    }
}

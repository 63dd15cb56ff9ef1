//! What is kept, for whom, and what it looks like when it is served again.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Extension, Router};
use cache_runtime::Cache;
use cache_runtime::http::{CacheLayer, Credentials, KeepFor, Tags};
use cache_tests::eventually;
use cache_tests::http::Server;
use futures_util::stream;

use crate::support::{Calls, Service, service, with};

const SOON: Duration = Duration::from_secs(10);

fn call(n: u64, _: &Request) -> String {
    format!("call {n}")
}

/// B7: a response is kept, and comes with its age, a validator and what the cache did.
#[tokio::test]
async fn a_response_is_kept_and_served_again() {
    let it = service(|layer| layer.ttl("1m").name("pages"), call).await;
    let first = it.get("/a?x=1").await;
    assert_eq!((first.status, first.text(), first.cache()), (200, "call 1", "pages; fwd=uri-miss; stored"));
    assert_eq!(first.header("age"), Some("0"));
    let etag = first.header("etag").expect("a validator").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");

    it.cache.clock().advance(Duration::from_secs(7));
    let second = it.get("/a?x=1").await;
    assert_eq!((second.text(), second.cache()), ("call 1", "pages; hit; ttl=53"));
    assert_eq!(second.header("age"), Some("7"));
    assert_eq!(second.header("etag"), Some(&*etag));
    for name in ["date", "content-type", "content-length"] {
        assert_eq!(second.header(name), first.header(name));
    }

    assert_eq!(it.get("/b?x=1").await.text(), "call 2");
    assert_eq!(it.get("/a").await.text(), "call 3");
    assert_eq!(it.get_with("/a?x=1", &[("host", "other")]).await.text(), "call 4");

    it.cache.clock().advance(Duration::from_secs(53));
    assert_eq!(it.get("/a?x=1").await.text(), "call 5");
    let stats = it.cache.stats();
    assert_eq!((stats.hits, stats.loads), (1, 5));
    assert!(stats.functions.contains_key("http::pages"), "{:?}", stats.functions.keys());
}

#[tokio::test]
async fn parameters_select_in_any_order_and_only_those_that_were_chosen() {
    let it = service(|layer| layer, call).await;
    assert_eq!(it.get("/?a=1&b=2").await.text(), "call 1");
    assert_eq!(it.get("/?b=2&a=1").await.text(), "call 1");
    assert_eq!(it.get("/?a=2&b=1").await.text(), "call 2");

    let it = service(|layer| layer.query(["page"]), call).await;
    assert_eq!(it.get("/?page=1&utm=x").await.text(), "call 1");
    assert_eq!(it.get("/?utm=y&page=1").await.text(), "call 1");
    assert_eq!(it.get("/?page=2").await.text(), "call 2");
    assert_eq!(it.get("/?utm=z").await.text(), "call 3");
    assert_eq!(it.get("/").await.text(), "call 3");
}

/// A response of each variant, one call each, from the first request on.
#[tokio::test]
async fn variants_are_kept_apart() {
    let it = service(
        |layer| layer.tags(|_: &http::request::Parts| "all"),
        |n, request: &Request| {
            let language =
                request.headers().get("accept-language").map_or("none", |value| value.to_str().expect("text"));
            with(&[("vary", "Accept-Language, X-Device")], format!("{language} {n}"))
        },
    )
    .await;
    let get = async |language| it.get_with("/", &[("accept-language", language)]).await;
    for round in 0..3 {
        for (language, expected) in [("de", "de 1"), ("en", "en 2"), ("fr", "fr 3")] {
            let reply = get(language).await;
            assert_eq!(reply.text(), expected);
            assert_eq!(reply.is_hit(), round > 0, "{}", reply.cache());
            assert_eq!(reply.header("vary"), Some("Accept-Language, X-Device"));
        }
    }
    assert_eq!(it.get("/").await.text(), "none 4");
    assert!(get("en").await.is_hit());
    it.cache.invalidate("all").await.expect("a cache");
    for (language, expected) in [("en", "en 5"), ("de", "de 6"), ("fr", "fr 7")] {
        assert_eq!(get(language).await.text(), expected);
        assert!(get(language).await.is_hit());
    }
}

/// One variant may vary by what another does not.
#[tokio::test]
async fn variants_that_vary_by_something_else_are_kept_apart_too() {
    let it = service(
        |layer| layer,
        |n, request: &Request| {
            let has = |name: &str| request.headers().contains_key(name);
            let vary = if has("x-a") { "x-a, x-b" } else { "x-a" };
            with(&[("vary", vary)], format!("{} {} {n}", has("x-a"), has("x-b")))
        },
    )
    .await;
    for _ in 0..2 {
        assert_eq!(it.get("/").await.text(), "false false 1");
        assert_eq!(it.get_with("/", &[("x-a", "1")]).await.text(), "true false 2");
        assert_eq!(it.get_with("/", &[("x-a", "1"), ("x-b", "1")]).await.text(), "true true 3");
        assert_eq!(it.get_with("/", &[("x-b", "1")]).await.text(), "false false 1");
    }
}

#[tokio::test]
async fn what_is_for_one_caller_is_never_kept() {
    for headers in [
        &[("cache-control", "no-store")][..],
        &[("cache-control", "private")],
        &[("cache-control", "no-cache")],
        &[("cache-control", "max-age=0")],
        &[("set-cookie", "session=1")],
        &[("vary", "*")],
        &[("expires", "0")],
        &[("cache-control", "max-age=9"), ("content-range", "bytes 0-1/2")],
    ] {
        let it = service(|layer| layer, |n, _: &Request| with(headers, format!("call {n}"))).await;
        for n in 1..=3 {
            let reply = it.get("/").await;
            assert_eq!(reply.text(), format!("call {n}"), "{headers:?}");
            assert!(!reply.is_hit());
            assert_eq!(reply.header(headers[0].0), Some(headers[0].1));
        }
    }
    let it =
        service(|layer| layer.store_set_cookie(true), |n, _: &Request| with(&[("set-cookie", "a=b")], n.to_string()));
    let it = it.await;
    assert_eq!((it.get("/").await.text(), it.get("/").await.text()), ("1", "1"));
    assert_eq!(it.get("/").await.header("set-cookie"), Some("a=b"));
}

#[tokio::test]
async fn statuses_are_kept_where_they_last() {
    for (status, headers, kept) in [
        (200, &[][..], true),
        (301, &[], true),
        (404, &[], false),
        (404, &[("cache-control", "max-age=9")], true),
        (302, &[], false),
        (201, &[("cache-control", "max-age=9")], false),
        (206, &[("cache-control", "max-age=9")], false),
        (401, &[("cache-control", "max-age=9")], false),
        (500, &[("cache-control", "max-age=9")], false),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let it = service(|layer| layer, move |n, _: &Request| with(headers, (status, n.to_string()))).await;
        assert_eq!(it.get("/").await.status, status);
        let second = it.get("/").await;
        assert_eq!((second.status, second.is_hit()), (status.as_u16(), kept), "{status} {headers:?}");
    }
}

#[tokio::test]
async fn requests_with_credentials_go_to_the_handler_unless_the_layer_was_told() {
    let public = |n, _: &Request| with(&[("cache-control", "public, max-age=60")], format!("call {n}"));
    for name in ["authorization", "cookie"] {
        let it = service(|layer| layer, public).await;
        assert_eq!(it.get("/").await.text(), "call 1");
        let reply = it.get_with("/", &[(name, "mine")]).await;
        assert_eq!((reply.text(), reply.cache()), ("call 2", &*format!("http; fwd=bypass; detail={name}")));
        assert_eq!(it.get("/").await.text(), "call 1");

        let tell = |credentials| {
            move |layer: CacheLayer| match name {
                "cookie" => layer.cookie(credentials),
                _ => layer.authorization(credentials),
            }
        };
        let it = service(tell(Credentials::Each), public).await;
        assert_eq!(it.get_with("/", &[(name, "one")]).await.text(), "call 1");
        assert_eq!(it.get_with("/", &[(name, "two")]).await.text(), "call 2");
        assert_eq!(it.get("/").await.text(), "call 3");
        assert_eq!(it.get_with("/", &[(name, "one")]).await.text(), "call 1");
        assert_eq!(it.get_with("/", &[(name, "two")]).await.text(), "call 2");

        let it = service(tell(Credentials::Shared), public).await;
        assert_eq!(it.get_with("/", &[(name, "one")]).await.text(), "call 1");
        assert_eq!(it.get_with("/", &[(name, "two")]).await.text(), "call 1");
    }
    // What does not say that it may be shown to others is not, even then.
    let it = service(|layer| layer.authorization(Credentials::Shared), call).await;
    assert_eq!(it.get_with("/", &[("authorization", "one")]).await.text(), "call 1");
    assert_eq!(it.get_with("/", &[("authorization", "two")]).await.text(), "call 2");
}

/// Secrets are in no key.
#[tokio::test]
async fn keys_have_no_credentials_in_them() {
    let it = service(|layer| layer.authorization(Credentials::Each).cookie(Credentials::Each), call).await;
    it.get_with("/", &[("authorization", "Bearer s3cret"), ("cookie", "session=s3cret")]).await;
    let keys = it.cache.keys("*").collect::<Vec<_>>().await.expect("keys");
    assert_eq!(keys.len(), 1);
    assert!(!format!("{keys:?}").contains("s3cret"));
}

#[tokio::test]
async fn requests_may_ask_for_something_new() {
    let it = service(|layer| layer.ttl("1m"), call).await;
    let get = async |control: &str| it.get_with("/", &[("cache-control", control)]).await;
    let missing = get("only-if-cached").await;
    assert_eq!((missing.status, missing.text(), it.calls.count()), (504, "", 0));
    assert_eq!(get("max-age=5").await.text(), "call 1");
    it.cache.clock().advance(Duration::from_secs(10));
    assert_eq!(get("only-if-cached").await.text(), "call 1");
    assert_eq!(get("max-age=10").await.text(), "call 1");
    assert_eq!(get("min-fresh=50").await.text(), "call 1");
    assert_eq!(get("max-age=9, only-if-cached").await.status, 504);
    let newer = get("max-age=9").await;
    assert_eq!((newer.text(), newer.cache()), ("call 2", "http; fwd=request; stored"));
    assert_eq!(it.get("/").await.text(), "call 2");
    assert_eq!(get("no-cache").await.text(), "call 3");
    assert_eq!(it.get_with("/", &[("pragma", "no-cache")]).await.text(), "call 4");
    assert_eq!(get("no-store").await.text(), "call 5");
    assert_eq!(it.get("/").await.text(), "call 4");
    it.cache.clock().advance(Duration::from_secs(1));
    assert_eq!(get("min-fresh=60").await.text(), "call 6");

    let it = service(|layer| layer.hear_requests(false), call).await;
    it.get("/").await;
    assert_eq!(it.get_with("/", &[("cache-control", "no-cache, no-store, max-age=0")]).await.text(), "call 1");
}

/// B7
#[tokio::test]
async fn head_is_answered_from_get() {
    let it = service(|layer| layer, call).await;
    assert_eq!(it.send("HEAD", "/", &[], "").await.status, 200);
    assert_eq!(it.calls.count(), 1);
    let kept = it.get("/").await;
    assert_eq!(kept.text(), "call 2");
    let head = it.send("HEAD", "/", &[], "").await;
    assert_eq!((head.status, head.text(), head.is_hit(), it.calls.count()), (200, "", true, 2));
    assert_eq!(head.header("content-length"), Some("6"));
    assert_eq!(head.header("etag"), kept.header("etag"));
}

/// A response to `HEAD` has no body, also where it does not say how long that of `GET` is.
#[tokio::test]
async fn what_head_is_answered_is_not_what_get_is() {
    let stream = |n| Body::from_stream(stream::iter([Ok::<_, std::io::Error>(format!("call {n}"))]));
    let it = service(|layer| layer, move |n, _: &Request| stream(n)).await;
    for n in [1, 2] {
        let head = it.send("HEAD", "/", &[], "").await;
        assert_eq!((head.text(), it.calls.count()), ("", n));
    }
    assert_eq!(it.get("/").await.text(), "call 3");
    assert_eq!(it.get("/").await.text(), "call 3");
}

/// B7
#[tokio::test]
async fn who_has_it_already_is_told_so() {
    let it = service(
        |layer| layer.ttl("1m").tags(|_: &http::request::Parts| "all"),
        |n, _: &Request| {
            let headers = [("cache-control", "max-age=60"), ("x-other", "1"), ("content-language", "de")];
            with(&headers, format!("version {}", n / 2))
        },
    )
    .await;
    let first = it.get("/").await;
    let etag = first.header("etag").expect("a validator");
    it.cache.clock().advance(Duration::from_secs(3));
    for list in [etag, "*", &format!("\"x\", W/{etag}")] {
        let reply = it.get_with("/", &[("if-none-match", list)]).await;
        assert_eq!((reply.status, reply.text(), reply.header("etag")), (304, "", Some(etag)), "{list}");
        assert_eq!((reply.header("age"), reply.header("cache-control")), (Some("3"), Some("max-age=60")));
        assert!(reply.header("date").is_some());
        assert_eq!((reply.header("x-other"), reply.header("content-type")), (None, None));
    }
    assert_eq!(it.get_with("/", &[("if-none-match", "\"x\"")]).await.status, 200);
    assert_eq!(it.calls.count(), 1);

    // What is dropped takes its validator with it.
    it.cache.invalidate("all").await.expect("a cache");
    let changed = it.get_with("/", &[("if-none-match", etag)]).await;
    assert_eq!((changed.status, changed.text()), (200, "version 1"));
    assert_ne!(changed.header("etag"), Some(etag));
    // The handler is called, and answers what the client has already.
    it.cache.invalidate("all").await.expect("a cache");
    let etag = changed.header("etag").expect("a validator");
    assert_eq!(it.get_with("/", &[("if-none-match", etag)]).await.status, 304);
    assert_eq!(it.calls.count(), 3);
}

#[tokio::test]
async fn validators_of_handlers_are_kept() {
    let modified = "Thu, 01 Jan 2026 00:00:00 GMT";
    let it = service(
        |layer| layer,
        move |n, request: &Request| {
            // A handler that answers conditions itself is asked without them, so that there is something to keep.
            assert!(!request.headers().contains_key("if-none-match"));
            with(&[("etag", "W/\"mine\""), ("last-modified", modified)], n.to_string())
        },
    )
    .await;
    assert_eq!(it.get_with("/", &[("if-none-match", "\"other\"")]).await.header("etag"), Some("W/\"mine\""));
    assert_eq!(it.get_with("/", &[("if-none-match", "W/\"mine\"")]).await.status, 304);
    assert_eq!(it.get_with("/", &[("if-modified-since", modified)]).await.status, 304);
    let later = "Fri, 02 Jan 2026 00:00:00 GMT";
    assert_eq!(it.get_with("/", &[("if-modified-since", later)]).await.status, 304);
    let earlier = "Wed, 31 Dec 2025 00:00:00 GMT";
    assert_eq!(it.get_with("/", &[("if-modified-since", earlier)]).await.status, 200);
    // The validator comes before the date.
    let both = [("if-none-match", "\"other\""), ("if-modified-since", modified)];
    assert_eq!(it.get_with("/", &both).await.status, 200);
}

/// B7: `stale-while-revalidate` and `stale-if-error`, by the words of the response.
#[tokio::test]
async fn old_responses_are_served_for_as_long_as_they_say() {
    let it = service(
        |layer| layer,
        |n, _: &Request| match n {
            3 | 4 => StatusCode::BAD_GATEWAY.into_response(),
            n => {
                let control = "max-age=10, stale-while-revalidate=20, stale-if-error=100";
                with(&[("cache-control", control)], format!("call {n}"))
            }
        },
    )
    .await;
    let advance = |seconds| it.cache.clock().advance(Duration::from_secs(seconds));
    assert_eq!(it.get("/").await.text(), "call 1");
    advance(11);
    let old = it.get("/").await;
    assert_eq!((old.text(), old.cache()), ("call 1", "http; hit; ttl=-1"));
    eventually("the refresh", SOON, async || it.calls.count() == 2).await;
    eventually("the new response", SOON, async || it.get("/").await.text() == "call 2").await;
    // Too old for that, and the handler fails.
    advance(31);
    let old = it.get("/").await;
    assert_eq!((old.status, old.text(), it.calls.count()), (200, "call 2", 3));
    // Far too old.
    advance(100);
    assert_eq!(it.get("/").await.status, 502);
    assert_eq!(it.get("/").await.text(), "call 5");
}

#[tokio::test]
async fn a_response_that_must_be_revalidated_is_not_served_old() {
    let it = service(
        |layer| layer.stale("1m").stale_if_error("1m"),
        |n, _: &Request| with(&[("cache-control", "max-age=10, must-revalidate")], format!("call {n}")),
    )
    .await;
    it.get("/").await;
    it.cache.clock().advance(Duration::from_secs(11));
    assert_eq!(it.get("/").await.text(), "call 2");
}

#[tokio::test]
async fn what_the_layer_says_holds_where_the_response_says_nothing() {
    let it = service(|layer| layer.ttl("10s").stale("20s"), call).await;
    it.get("/").await;
    it.cache.clock().advance(Duration::from_secs(29));
    assert_eq!(it.get("/").await.text(), "call 1");
    eventually("the refresh", SOON, async || it.get("/").await.text() == "call 2").await;
    it.cache.clock().advance(Duration::from_secs(31));
    assert_eq!(it.get("/").await.text(), "call 3");
}

#[tokio::test]
async fn handlers_say_how_long_and_by_which_tags() {
    let it = service(
        |layer| layer.ttl("10s"),
        |n, request: &Request| {
            let tag = request.uri().path().to_owned();
            let mut response = with(&[], format!("call {n}"));
            response.extensions_mut().insert(Tags::new(tag).and(["all"]));
            response.extensions_mut().insert(KeepFor(Duration::from_secs(100)));
            response
        },
    )
    .await;
    assert_eq!((it.get("/a").await.text(), it.get("/b").await.text()), ("call 1", "call 2"));
    it.cache.clock().advance(Duration::from_secs(99));
    assert_eq!(it.get("/a").await.text(), "call 1");
    it.cache.invalidate("/a").await.expect("a cache");
    assert_eq!((it.get("/a").await.text(), it.get("/b").await.text()), ("call 3", "call 2"));
    it.cache.invalidate("all").await.expect("a cache");
    assert_eq!((it.get("/a").await.text(), it.get("/b").await.text()), ("call 4", "call 5"));
}

#[tokio::test]
async fn namespaces_and_times_come_from_requests() {
    let it = service(
        |layer| {
            layer
                .namespace(|parts: &http::request::Parts| parts.uri.path().split('/').nth(1).map(str::to_owned))
                .ttl_of(|parts| parts.uri.query().map(|_| "10s"))
                .ttl("1h")
        },
        call,
    )
    .await;
    assert_eq!((it.get("/x/1").await.text(), it.get("/y/1?q").await.text()), ("call 1", "call 2"));
    it.cache.clock().advance(Duration::from_secs(11));
    assert_eq!((it.get("/x/1").await.text(), it.get("/y/1?q").await.text()), ("call 1", "call 3"));
    it.cache.invalidate_namespace("x").await.expect("a cache");
    assert_eq!((it.get("/x/1").await.text(), it.get("/y/1?q").await.text()), ("call 4", "call 3"));
}

/// RFC 9111, section 4.4: a change that went well drops what is kept of its target, all variants.
#[tokio::test]
async fn a_change_drops_what_is_kept_of_its_target() {
    let it = service(
        |layer| layer,
        |n, request: &Request| match (request.method().as_str(), request.uri().path()) {
            ("GET", _) => with(&[("vary", "x-a")], format!("call {n}")),
            (_, "/bad") => StatusCode::BAD_REQUEST.into_response(),
            _ => StatusCode::NO_CONTENT.into_response(),
        },
    )
    .await;
    for path in ["/good", "/bad", "/other"] {
        for variant in ["1", "2"] {
            it.get_with(path, &[("x-a", variant)]).await;
        }
    }
    for (method, path) in [("POST", "/good"), ("PUT", "/bad"), ("OPTIONS", "/other")] {
        it.send(method, path, &[], "").await;
    }
    for (path, kept) in [("/good", false), ("/bad", true), ("/other", true)] {
        for variant in ["2", "1"] {
            assert_eq!(it.get_with(path, &[("x-a", variant)]).await.is_hit(), kept, "{path} {variant}");
        }
    }
}

/// The same whichever variant is asked for first afterwards: the others are found by what that one varies by.
#[tokio::test]
async fn a_change_drops_variants_that_lie_beside_the_first() {
    let it = service(|layer| layer, |n, _: &Request| with(&[("vary", "x-a")], format!("call {n}"))).await;
    let get = async |variant: &str| it.get_with("/", &[("x-a", variant)]).await;
    assert_eq!((get("1").await.text(), get("2").await.text()), ("call 1", "call 2"));
    it.send("DELETE", "/", &[], "").await;
    assert_eq!((get("1").await.text(), get("2").await.text()), ("call 4", "call 5"));
}

/// Nested routers cut the path that a layer in them sees.
#[tokio::test]
async fn one_layer_in_two_nested_routers_keeps_them_apart() {
    let (cache, calls) = (Cache::for_test(), Calls::default());
    let layer = CacheLayer::with((*cache).clone());
    let inner = |name: &'static str| {
        let calls = calls.clone();
        let handler = move || async move { format!("{name} {}", calls.next()) };
        Router::new().route("/x", get(handler)).layer(layer.clone())
    };
    let app = Router::new().nest("/one", inner("one")).nest("/two", inner("two"));
    let server = Server::start(app).await;
    for _ in 0..2 {
        assert_eq!(server.get("/one/x").await.text(), "one 1");
        assert_eq!(server.get("/two/x").await.text(), "two 2");
    }
}

/// D7: with no cache named, it is the one in scope, else the global one.
#[tokio::test]
async fn a_layer_without_a_cache_uses_the_global_one() {
    let calls = Calls::default();
    let app = crate::support::answering(&calls, call).layer(CacheLayer::new().name("global"));
    let server = Server::start(app).await;
    assert_eq!((server.get("/").await.text(), server.get("/").await.text()), ("call 1", "call 1"));
    assert!(cache_runtime::cache().expect("the global cache").stats().functions.contains_key("http::global"));
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_is_gone_past() {
    let it: Service = service(|layer| layer, call).await;
    it.cache.close().await.expect("closed");
    for n in 1..=2 {
        let reply = it.get("/").await;
        assert_eq!((reply.status, reply.text()), (200, &*format!("call {n}")));
        assert_eq!(reply.cache(), "http; fwd=bypass; detail=no-cache-usable");
    }
    assert_eq!(it.cache.stats().degraded, 2);
}

#[tokio::test]
async fn tags_of_extensions_come_with_axum_extractors() {
    let cache = Cache::for_test();
    let calls = Calls::default();
    let count = calls.clone();
    let handler = move || async move { (Extension(Tags::new("t")), format!("call {}", count.next())) };
    let app = Router::new().route("/", get(handler)).layer(CacheLayer::with((*cache).clone()));
    let server = Server::start(app).await;
    assert_eq!((server.get("/").await.text(), server.get("/").await.text()), ("call 1", "call 1"));
    cache.invalidate("t").await.expect("a cache");
    assert_eq!(server.get("/").await.text(), "call 2");
}

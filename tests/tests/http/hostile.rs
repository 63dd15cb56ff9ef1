//! Requests that want to mislead the cache, and responses that end badly.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use axum::routing::get;
use bytes::Bytes;
use cache_runtime::Cache;
use cache_runtime::http::{CacheLayer, UNKEYED};
use cache_tests::http::Server;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Calls, Gate, service, with};

/// A page that says what it was told of its own address, as those do that are poisoned.
fn page(n: u64, request: &Request) -> String {
    let told: Vec<String> = request
        .headers()
        .iter()
        .filter(|(name, _)| UNKEYED.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap_or("?")))
        .collect();
    format!("call {n} {}", told.join(" "))
}

/// Cache poisoning by headers that are in no key: the list, one by one.
#[tokio::test]
async fn no_header_of_the_list_gets_into_a_kept_page() {
    for &name in UNKEYED {
        let it = service(|layer| layer, page).await;
        let poisoned = it.get_with("/", &[(name, "evil.example")]).await;
        assert!(poisoned.text().contains("evil"), "the page does not say what {name} says");
        assert!(!it.get("/").await.text().contains("evil"), "{name}");
        assert!(!it.get("/").await.text().contains("evil"), "{name}");
        // Nor is who sends it served somebody else's.
        assert!(it.get_with("/", &[(name, "other.example")]).await.text().contains("other"), "{name}");
    }
}

#[tokio::test]
async fn a_header_of_the_list_can_be_keyed_or_ignored() {
    let it = service(|layer| layer.key_header("X-Forwarded-Host"), page).await;
    for _ in 0..2 {
        assert_eq!(it.get_with("/", &[("x-forwarded-host", "a")]).await.text(), "call 1 x-forwarded-host=a");
        assert_eq!(it.get_with("/", &[("x-forwarded-host", "b")]).await.text(), "call 2 x-forwarded-host=b");
    }
    let it = service(|layer| layer.ignore_header("X-Forwarded-Host"), page).await;
    assert_eq!(it.get_with("/", &[("x-forwarded-host", "a")]).await.text(), "call 1 x-forwarded-host=a");
    assert_eq!(it.get_with("/", &[("x-forwarded-host", "b")]).await.text(), "call 1 x-forwarded-host=a");
}

/// What nearly every proxy sends does not keep a service from being cached.
#[tokio::test]
async fn the_scheme_that_a_proxy_saw_is_part_of_the_key() {
    let it = service(|layer| layer, page).await;
    for _ in 0..2 {
        assert_eq!(it.get_with("/", &[("x-forwarded-proto", "http")]).await.text(), "call 1 x-forwarded-proto=http");
        assert_eq!(it.get_with("/", &[("x-forwarded-proto", "https")]).await.text(), "call 2 x-forwarded-proto=https");
    }
}

#[tokio::test]
async fn queries_that_try_to_collide_have_pages_of_their_own() {
    let it = service(|layer| layer, |_, request: &Request| request.uri().to_string()).await;
    let targets = [
        "/",
        "/?",
        "/?a",
        "/?a=",
        "/?a=1",
        "/?a=1&",
        "/?&a=1",
        "/?a=1&a=2",
        "/?a=2&a=1",
        "/?a=1%26b=2",
        "/?a=1&b=2",
        "/?a=1;b=2",
        "/?b=2;a=1",
        "/?A=1",
        "/?a[]=1",
        "/?%61=1&a=2",
        "/?a=2&%61=1",
        "/?a=1:b",
        "/?a=1%3Ab",
        "/?a=1%253Ab",
        "/a/b",
        "/a%2Fb",
        "/a%2fb",
        "/a:b",
        "/a%3Ab",
        "/a/",
        "//a",
        "/%-",
        "/?%-",
        "/?a=%2B",
        "/?a=+",
        "/?a=%20",
        "/*",
        "/?*",
        "/a?b:c",
        "/a:b?c",
        "/a/../b",
        "/b",
        "/tenant-x:y",
    ];
    for round in 0..2 {
        for target in targets {
            let reply = it.get(target).await;
            let same_page = target == "/?&a=1" && reply.text() == "/?a=1&";
            assert!(reply.text() == target || same_page, "{target} was given {}", reply.text());
            assert!(reply.is_hit() || round == 0, "{target}");
        }
    }
}

/// Text that is very long has a key of its own as well.
#[tokio::test]
async fn long_targets_do_not_run_together() {
    let it = service(|layer| layer, |_, request: &Request| request.uri().to_string()).await;
    let long = "x".repeat(3000);
    for tail in ["1", "2", "1", "2"] {
        let target = format!("/{long}?{long}{tail}");
        assert_eq!(it.get(&target).await.text(), target);
    }
}

/// A `Range` is the handler's business: it is neither answered from what is kept nor kept.
#[tokio::test]
async fn ranges_go_to_the_handler_untouched() {
    let it = service(
        |layer| layer.ttl("1h"),
        |n, request: &Request| match request.headers().get("range") {
            Some(range) => {
                let headers = [("content-range", "bytes 0-1/6"), ("cache-control", "max-age=60")];
                let body = format!("{} {n}", range.to_str().expect("text"));
                with(&headers, (axum::http::StatusCode::PARTIAL_CONTENT, body))
            }
            None => format!("call {n}").into_response(),
        },
    )
    .await;
    let range = [("range", "bytes=0-1")];
    let first = it.get_with("/", &range).await;
    assert_eq!((first.status, first.text()), (206, "bytes=0-1 1"));
    assert_eq!(it.get("/").await.text(), "call 2");
    let second = it.get_with("/", &range).await;
    assert_eq!((second.status, second.text(), second.cache()), (206, "bytes=0-1 3", "http; fwd=bypass; detail=range"));
    assert_eq!(it.get_with("/", &[("if-range", "\"x\"")]).await.text(), "call 4");
    assert_eq!(it.get_with("/", &[("range", "rows=1-2")]).await.text(), "rows=1-2 5");
    assert_eq!(it.get("/").await.text(), "call 2");
}

/// A second request hidden in a `Range`, a folded header or a doubled length is no way past: what the server takes for one
/// request is one to the cache, with or without a body.
#[tokio::test]
async fn smuggled_requests_are_not_kept() {
    let it = service(|layer| layer, |n, _: &Request| format!("call {n}")).await;
    let hidden = "GET /hidden HTTP/1.1\r\nhost: test\r\n\r\n";
    for head in [
        format!("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\nrange: bytes=0-1\r\ncontent-length: {}\r\n\r\n", hidden.len()),
        format!("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", hidden.len()),
        "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\ncontent-length: 9\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ntransfer-encoding: chunked\r\nrange: bytes=0-1\r\n\r\n0\r\n\r\n".to_owned(),
    ] {
        let reply = it.raw(format!("{head}{hidden}").as_bytes()).await;
        assert!(reply.status == 400 || reply.cache().contains("fwd=bypass"), "{head}: {reply:?}");
    }
    assert!(!it.get("/").await.is_hit());
    assert!(!it.get("/hidden").await.is_hit());
}

/// Whoever sends a body with `GET` may be answered by it.
#[tokio::test]
async fn a_body_in_a_get_is_nobody_elses() {
    let it = service(|layer| layer, |n, _: &Request| format!("call {n}")).await;
    assert_eq!(it.send("GET", "/", &[], "evil").await.cache(), "http; fwd=bypass; detail=body");
    assert_eq!(it.get("/").await.text(), "call 2");
}

/// A body that ends in the middle is passed on as one, and not kept.
#[tokio::test]
async fn a_body_that_fails_half_way_is_not_kept() {
    let it = service(
        |layer| layer,
        |n, _: &Request| {
            let end = if n == 1 { Err(std::io::Error::other("gone")) } else { Ok(Bytes::from_static(b"end")) };
            Body::from_stream(stream::iter([Ok(Bytes::from_static(b"half ")), end]))
        },
    )
    .await;
    let broken = it.get("/").await;
    assert_eq!((broken.status, broken.text(), broken.complete), (200, "half ", false));
    let whole = it.get("/").await;
    assert_eq!((whole.text(), whole.complete, whole.is_hit()), ("half end", true, false));
    assert!(it.get("/").await.is_hit());
}

/// A length that is not the body's is passed on, for the server to find, and not kept.
#[tokio::test]
async fn a_body_of_another_length_than_it_says_is_not_kept() {
    let it = service(
        |layer| layer,
        |n, _: &Request| {
            let mut response =
                Body::from_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"four"))])).into_response();
            if n == 1 {
                response.headers_mut().insert("content-length", 9.into());
            }
            response
        },
    )
    .await;
    let mut stream = tokio::net::TcpStream::connect(it.server.address()).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut seen = Vec::new();
    let _ = stream.read_to_end(&mut seen).await;
    let whole = it.get("/").await;
    assert_eq!((whole.text(), whole.is_hit()), ("four", false));
    assert!(it.get("/").await.is_hit());
}

#[tokio::test]
async fn long_bodies_are_passed_through_and_not_kept() {
    let it = service(
        |layer| layer.max_body(10),
        |n, request: &Request| match request.uri().path() {
            "/known" => "x".repeat(11).into_response(),
            "/short" => "x".repeat(10).into_response(),
            _ => {
                let parts = (0..n + 10).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"y")));
                Body::from_stream(stream::iter(parts.collect::<Vec<_>>())).into_response()
            }
        },
    )
    .await;
    for path in ["/known", "/known", "/unknown", "/unknown"] {
        let reply = it.get(path).await;
        assert!(reply.complete && !reply.is_hit(), "{path}");
        assert!(reply.body.len() > 10);
    }
    it.get("/short").await;
    assert!(it.get("/short").await.is_hit());
}

/// Who streams is heard at once, and not only at the end.
#[tokio::test]
async fn streams_are_passed_on_as_they_come() {
    let (cache, calls, gate) = (Cache::for_test(), Calls::default(), Gate::new());
    for content_type in ["text/event-stream", "text/plain"] {
        let (count, wait) = (calls.clone(), gate.clone());
        let handler = move || async move {
            count.next();
            let parts = stream::unfold(0, move |n| {
                let wait = wait.clone();
                async move {
                    if n > 0 {
                        wait.pass().await;
                    }
                    (n < 2).then_some((Ok::<_, std::io::Error>(format!("part {n};")), n + 1))
                }
            });
            with(&[], ([("content-type", content_type)], Body::from_stream(parts)))
        };
        let app = Router::new().route("/", get(handler)).layer(CacheLayer::with((*cache).clone()));
        let server = Server::start(app).await;
        for _ in 0..2 {
            let mut stream = tokio::net::TcpStream::connect(server.address()).await.expect("a connection");
            stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.expect("sent");
            let mut seen = Vec::new();
            while !seen.windows(7).any(|part| part == b"part 0;") {
                let read = tokio::time::timeout(Duration::from_secs(10), stream.read_buf(&mut seen)).await;
                assert!(read.expect("a part in time").expect("a part") > 0);
            }
            gate.open(2);
            stream.read_to_end(&mut seen).await.expect("the rest");
            assert!(seen.windows(7).any(|part| part == b"part 1;"));
        }
    }
    assert_eq!(calls.count(), 4);
}

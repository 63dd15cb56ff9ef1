//! Who may ask: from where, under which name, after which authentication, and from which site.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use cache_runtime::http::admin::Admin;
use cache_runtime::{Cache, ErrorKind};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::http::{Answer, Asked, get, post};
use super::shop::{Served, get_product, mounted, serve};

const PATHS: [&str; 6] =
    ["/cache", "/cache/stats", "/cache/functions", "/cache/catalogue", "/cache/health", "/cache/events"];

/// Lets a request look as if it came from another machine, as far as a router can see.
async fn from_afar(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([203, 0, 113, 9], 4711))));
    next.run(request).await
}

async fn staff(request: Request, next: Next) -> Result<Response, StatusCode> {
    match request.headers().get("authorization") {
        Some(given) if given == "Bearer staff" => Ok(next.run(request).await),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

fn dropping(name: &str) -> Value {
    json!({ "kind": "tag", "name": name, "confirmed": true })
}

/// N14: off unless mounted: a service that does not mount it has none.
#[tokio::test]
async fn there_is_no_page_where_none_is_mounted() {
    let server = serve(&Cache::memory(), Router::new()).await;
    assert_eq!(get("/cache").send(server.at).await.status, 404);
}

/// N14: without authentication only this machine is answered, and the text says what to do.
#[tokio::test]
async fn without_authentication_other_machines_are_refused() {
    let cache = Cache::memory();
    let page = Admin::new(cache.clone()).into_router().layer(from_fn(from_afar));
    let server = serve(&cache, Router::new().nest("/cache", page)).await;
    for path in PATHS {
        let answer = get(path).send(server.at).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(
            answer.body.contains("answers programs on its own machine only: see `Admin::authenticated_by`"),
            "{answer:?}"
        );
    }
}

/// N14: a request that really comes over a network interface, and not from the loopback one.
#[tokio::test]
async fn without_authentication_a_real_outside_address_is_refused() {
    // No packet is sent: this asks which address of ours would be used.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()));
    let Ok(outside) = probe else { return };
    let cache = Cache::memory();
    let listener = TcpListener::bind((outside.ip(), 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let service = Admin::new(cache).into_router().into_make_service_with_connect_info::<SocketAddr>();
    let task = tokio::spawn(async move { axum::serve(listener, service).await });
    let answer = get("/stats").header("host", "localhost").send(at).await;
    task.abort();
    assert_eq!(answer.status, 403, "{answer:?}");
}

/// N14: what comes through a proxy comes from elsewhere, whoever connected.
#[tokio::test]
async fn without_authentication_proxies_are_refused() {
    let page = mounted(&Cache::memory(), |admin| admin).await;
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("via", "1.1 edge"),
        ("x-real-ip", "::1"),
        ("x-forwarded-proto", "https"),
    ] {
        assert_eq!(get("/cache/stats").header(name, value).send(page.at).await.status, 403, "{name}");
    }
}

/// N14: a foreign page whose name was made to point here (DNS rebinding) asks for its own host.
#[tokio::test]
async fn without_authentication_only_names_of_this_machine_are_answered() {
    let page = mounted(&Cache::memory(), |admin| admin).await;
    let port = page.at.port();
    for host in [format!("localhost:{port}"), "127.0.0.1".to_owned(), "[::1]:80".to_owned()] {
        assert_eq!(get("/cache/stats").header("host", host.clone()).send(page.at).await.status, 200, "{host}");
    }
    for host in [
        format!("evil.example:{port}"),
        "localhost.evil.example".to_owned(),
        "127.0.0.1.evil.example".to_owned(),
        String::new(),
    ] {
        let answer = get("/cache/stats").header("host", host.clone()).send(page.at).await;
        assert!(matches!(answer.status, 400 | 403), "{host}: {answer:?}");
    }
}

/// N14: a server that does not say who connects is not trusted to have asked.
#[tokio::test]
async fn without_authentication_a_server_that_hides_its_peers_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let app = Admin::new(Cache::memory()).into_router();
    let task = tokio::spawn(async move { axum::serve(listener, app).await });
    let answer = get("/stats").send(at).await;
    task.abort();
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("into_make_service_with_connect_info"), "{answer:?}");
}

/// N14: served by itself it does not start on a public address without authentication, unless forced.
#[tokio::test]
async fn it_refuses_to_start_on_a_public_address() {
    let public = || TcpListener::bind("0.0.0.0:0");
    let started = Admin::new(Cache::memory()).serve(public().await.unwrap());
    let refused = timeout(Duration::from_secs(10), started).await.expect("it does not serve").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.to_string().contains("would be open to whoever reaches 0.0.0.0:"), "{refused}");
    assert!(refused.to_string().contains("authenticated_by"), "{refused}");

    let starts = [
        (Admin::new(Cache::memory()), TcpListener::bind("127.0.0.1:0").await.unwrap(), 200),
        (Admin::new(Cache::memory()).allow_public(), public().await.unwrap(), 200),
        (Admin::new(Cache::memory()).authenticated_by(from_fn(staff)), public().await.unwrap(), 401),
    ];
    for (admin, listener, status) in starts {
        let at = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let task = tokio::spawn(admin.serve(listener));
        assert_eq!(get("/stats").send(at).await.status, status);
        task.abort();
    }
}

/// N14: the caller's own layer is in front of everything, and what passes it may come from anywhere.
#[tokio::test]
async fn the_callers_authentication_is_in_front() {
    let cache = Cache::memory();
    let page = Admin::new(cache.clone()).authenticated_by(from_fn(staff)).into_router().layer(from_fn(from_afar));
    let server = serve(&cache, Router::new().nest("/cache", page)).await;
    for path in PATHS {
        assert_eq!(get(path).send(server.at).await.status, 401, "{path}");
    }
    let token = "x".repeat(32);
    assert_eq!(
        post("/cache/invalidate", &dropping("x")).header("x-cache-token", token).send(server.at).await.status,
        401
    );
    let known = get("/cache/stats")
        .header("authorization", "Bearer staff")
        .header("host", "shop.example")
        .send(server.at)
        .await;
    assert_eq!(known.status, 200, "{known:?}");
}

/// As a browser sends it from the page itself.
async fn rightful(page: &Served) -> Asked {
    let origin = format!("http://{}", page.at);
    post("/cache/invalidate", &dropping("product:1"))
        .header("x-cache-token", page.token().await)
        .header("origin", origin)
        .header("sec-fetch-site", "same-origin")
        .header("sec-fetch-mode", "cors")
}

/// N14: what another site can make a browser send changes nothing; one thing amiss is enough.
#[tokio::test]
async fn forged_requests_change_nothing() {
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    cache.scope(get_product(1)).await;
    let there = async || cache.scope(get_product::peek(1)).await.unwrap().is_some();
    type Forge = fn(Asked) -> Asked;
    let forged: [(&str, u16, Forge); 9] = [
        ("a foreign origin", 403, |it| it.header("origin", "https://evil.example")),
        ("an origin that only begins like ours", 403, |it| it.header("origin", "http://127.0.0.1.evil.example")),
        ("another port of this machine", 403, |it| it.header("origin", "http://127.0.0.1:1")),
        ("a sandboxed frame", 403, |it| it.header("origin", "null")),
        ("another site, without an origin", 403, |it| it.header("sec-fetch-site", "cross-site")),
        ("a neighbour on the same site", 403, |it| it.header("sec-fetch-site", "same-site")),
        ("no token", 403, |it| it.header("x-cache-token", "")),
        ("another token", 403, |it| it.header("x-cache-token", "0".repeat(32))),
        ("a form", 415, |it| it.header("content-type", "text/plain")),
    ];
    for (what, status, forge) in forged {
        let answer = forge(rightful(&page).await).send(page.at).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(there().await, "{what}: the entry was dropped");
    }
    assert_eq!(rightful(&page).await.send(page.at).await.status, 200);
    assert!(!there().await, "the page itself can");
}

/// N14: another site cannot read either, also where the service allows it for all of its routes (CORS). It may link here.
#[tokio::test]
async fn another_site_reads_nothing_but_may_link_here() {
    let page = mounted(&Cache::memory(), |admin| admin).await;
    let foreign =
        |path: &str| get(path).header("sec-fetch-site", "cross-site").header("origin", "https://evil.example");
    for path in PATHS {
        assert_eq!(foreign(path).send(page.at).await.status, 403, "{path}");
    }
    let link =
        get("/cache").header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate").send(page.at).await;
    assert_eq!((link.status, link.header("cross-origin-resource-policy")), (200, Some("same-origin")));
    let frame = get("/cache").header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
    assert_eq!(frame.header("sec-fetch-dest", "iframe").send(page.at).await.status, 403);
}

/// N14: behind a proxy that changes the host, the page's origin is named.
#[tokio::test]
async fn an_origin_that_was_named_is_ours() {
    let page = mounted(&Cache::memory(), |admin| admin.allow_public().origin("https://admin.example")).await;
    let at = async |origin: &'static str| rightful(&page).await.header("origin", origin).send(page.at).await.status;
    assert_eq!(at("https://admin.example").await, 200);
    assert_eq!(at("http://admin.example").await, 403, "another scheme is another origin");
    let called = rightful(&page).await.header("host", "rebound.example").header("origin", "http://rebound.example");
    assert_eq!(
        called.send(page.at).await.status,
        403,
        "what the server is called says nothing where an origin is named"
    );
}

/// N14: a page that only shows.
#[tokio::test]
async fn a_read_only_page_changes_nothing() {
    let cache = Cache::memory();
    let page = mounted(&cache, Admin::read_only).await;
    cache.scope(get_product(1)).await;
    let answer: Answer = rightful(&page).await.send(page.at).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("read_only"), "{answer:?}");
    assert!(cache.scope(get_product::peek(1)).await.unwrap().is_some());
}

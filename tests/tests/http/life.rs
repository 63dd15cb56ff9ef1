//! The cache at the start of a service, in its health, and at its end.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cache_runtime::http::{CacheLayer, Lifecycle, lifecycle};
use cache_runtime::{Cache, ErrorKind};
use cache_tests::http::send;
use cache_tests::{eventually, redis};

use crate::support::{Calls, Gate};

const SOON: Duration = Duration::from_secs(10);

/// A9: the cache is open for requests that are under way when the service is told to stop, and closed after the last.
#[tokio::test]
async fn the_cache_is_closed_after_the_last_request() {
    let server = redis::Server::start().await;
    let cache = Cache::builder().url(server.url()).build().await.expect("a cache");
    let (calls, gate) = (Calls::default(), Gate::new());
    let life = lifecycle(cache.clone()).await.expect("a server that answers");
    let (count, wait, inner) = (calls.clone(), gate.clone(), cache.clone());
    let handler = move || async move {
        count.next();
        wait.pass().await;
        inner.incr("under way", 1).await.expect("an open cache").to_string()
    };
    let app = Router::new().route("/", get(handler)).layer(CacheLayer::with(cache.clone())).merge(life.health());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let signal = life.stop(async { stopped.await.unwrap_or_default() });
    let running = tokio::spawn({
        let life = life.clone();
        async move { life.run(axum::serve(listener, app).with_graceful_shutdown(signal)).await }
    });

    let healthy = send(address, "GET", "/healthz", &[], "").await;
    assert_eq!((healthy.status, healthy.text()), (200, r#"{"cache":"ok","status":"ok","undelivered":0}"#));
    assert_eq!(send(address, "GET", "/readyz", &[], "").await.status, 200);

    let under_way = tokio::spawn(async move { send(address, "GET", "/", &[], "").await });
    eventually("the handler is called", SOON, async || calls.count() == 1).await;
    stop.send(()).expect("a server that listens");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!running.is_finished());
    assert!(cache.ping().await.is_ok());
    gate.open(1);
    let reply = under_way.await.expect("a reply");
    assert_eq!((reply.status, reply.text()), (200, "1"));
    running.await.expect("a task").expect("a server that ended well");
    assert_eq!(cache.ping().await.expect_err("closed").kind(), ErrorKind::Closed);
}

/// A11: a wrong address is an error at the start, and a server that goes away later is no reason to be restarted.
#[tokio::test]
async fn health_tells_of_the_backend_without_failing_for_it() {
    let server = redis::Server::start().await;
    let cache = Cache::builder().url(server.url()).build().await.expect("a cache");
    let life = lifecycle(cache).await.expect("a server that answers");
    let served = cache_tests::http::Server::start(life.health()).await;
    server.kill();
    let reply = served.get("/healthz").await;
    assert_eq!(reply.status, 200);
    assert!(reply.text().contains(r#""status":"degraded""#), "{}", reply.text());
    assert!(!reply.text().contains(&server.port().to_string()), "{}", reply.text());
    assert_eq!(served.get("/readyz").await.status, 200);

    let late = Cache::builder().url(server.url()).build().await;
    let failed = match late {
        Ok(cache) => lifecycle(cache).await.map(drop),
        Err(error) => Err(error),
    };
    assert!(failed.is_err());
}

/// A11: where that is wanted, instances start during an outage of the backend, and use it once it is back.
#[tokio::test]
async fn a_service_can_start_without_its_backend() {
    let server = redis::Server::start().await;
    server.kill();
    let cache = Cache::builder().url(server.url()).build().await.expect("a cache, without its server");
    let (life, state) = (Lifecycle::new(cache.clone()), cache.clone());
    let greet = async || Ok::<_, std::convert::Infallible>("hello".to_owned());
    let handler = async move || state.get_or_load("greeting", greet).await.expect("what cannot fail");
    let app = Router::new().route("/", get(handler)).merge(life.health());
    let served = cache_tests::http::Server::start(app).await;
    assert_eq!(served.get("/").await.text(), "hello");
    assert!(served.get("/healthz").await.text().contains(r#""status":"degraded""#));

    server.restart(redis::Snapshot::Discard).await;
    let is_well = async || served.get("/healthz").await.text().contains(r#""status":"ok""#);
    eventually("the cache is well again", SOON, is_well).await;
    eventually("the value is kept", SOON, async || {
        served.get("/").await.text() == "hello" && cache.get::<String>("greeting").await.expect("a cache").is_some()
    })
    .await;
}

//! The stream of numbers.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use cache_runtime::Cache;
use cache_runtime::http::admin::Admin;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::http::get;
use super::shop::{get_product, mounted};

/// Reads until the stream has brought one event more.
async fn next(stream: &mut TcpStream, read: &mut String) -> Value {
    let mut bytes = [0; 8192];
    loop {
        if let Some((event, rest)) = read.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: ")).map(ToOwned::to_owned);
            *read = rest.to_owned();
            if let Some(data) = data {
                return serde_json::from_str(&data).expect("numbers are JSON");
            }
            continue;
        }
        let count =
            timeout(Duration::from_secs(5), stream.read(&mut bytes)).await.expect("an event each second").unwrap();
        assert_ne!(count, 0, "the stream goes on");
        read.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
}

/// N14: live, each second, with what happened in between.
#[tokio::test]
async fn events_bring_what_happened_since_the_last() {
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    let mut stream = get("/cache/events").open(page.at).await;
    let mut read = String::new();
    let first = next(&mut stream, &mut read).await;
    assert_eq!(first["totals"]["loads"], 0);
    cache.scope(get_product(1)).await;
    let second = next(&mut stream, &mut read).await;
    assert_eq!(second["totals"]["loads"], 1);
    assert_eq!(second["instance"], first["instance"]);
    let between = second["at"].as_u64().unwrap() - first["at"].as_u64().unwrap();
    assert!((500..4000).contains(&between), "{between} ms");
}

/// N14: a page that somebody left open does not keep a service from shutting down.
#[tokio::test]
async fn an_open_stream_ends_so_that_a_server_can_shut_down() {
    let cache = Cache::memory();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let app = Router::new().nest("/cache", Admin::new(cache.clone()).into_router());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move { stopped.await.unwrap_or_default() });
    let server = tokio::spawn(async move { server.await });
    let mut stream = get("/cache/events").open(at).await;
    next(&mut stream, &mut String::new()).await;
    stop.send(()).unwrap();
    timeout(Duration::from_secs(20), server).await.expect("the server ends").unwrap().unwrap();
}

/// N14: a cache that was closed says so once more, and that was it.
#[tokio::test]
async fn the_stream_of_a_closed_cache_ends() {
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    let mut stream = get("/cache/events").open(page.at).await;
    next(&mut stream, &mut String::new()).await;
    cache.close().await.unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("the stream ends").unwrap();
}

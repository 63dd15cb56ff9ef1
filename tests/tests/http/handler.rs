//! Attributes on handlers with axum's extractors and results.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cache_runtime::http::ScopeLayer;
use cache_runtime::{Cache, KeyPart, cache_read, cache_write, memoize};
use cache_tests::Row;
use cache_tests::http::Server;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::support::Calls;

#[derive(Clone, Debug, Default)]
struct App {
    calls: Calls,
    names: Arc<Mutex<HashMap<u64, String>>>,
    cache: Option<Cache>,
}

impl App {
    fn row(&self, id: u64) -> Row {
        self.calls.next();
        let name = self.names.lock().get(&id).cloned();
        Row { name: name.unwrap_or_else(|| format!("row {id}")), ..Row::fresh(id) }
    }
}

/// Failures have statuses of their own.
#[derive(Debug)]
enum Problem {
    Missing,
    Broken,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::Missing => StatusCode::NOT_FOUND,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
        .into_response()
    }
}

#[derive(Clone, Debug, Deserialize, KeyPart)]
struct Page {
    page: u32,
    sort: Option<String>,
}

#[cache_read(key = "row:<id>", tags = ["org:<result.org_id>"], skip(app))]
async fn row(State(app): State<App>, Path(id): Path<u64>) -> Result<Json<Row>, Problem> {
    match id {
        0 => {
            app.calls.next();
            Err(Problem::Missing)
        }
        1 => {
            app.calls.next();
            Err(Problem::Broken)
        }
        id => Ok(Json(app.row(id))),
    }
}

/// The same entries by value.
#[cache_read(key = "row:<id>", skip(app))]
async fn plain_row(app: &App, id: u64) -> Result<Row, Problem> {
    Ok(app.row(id))
}

#[cache_read(key = "rows:<page>", skip(app), tags = ["rows"])]
async fn rows(State(app): State<App>, Query(page): Query<Page>) -> Json<Vec<Row>> {
    Json(vec![app.row(page.page.into())])
}

#[cache_read(key = "maybe:<id>", skip(app), stale = "1m", ttl = "1m")]
async fn maybe(State(app): State<App>, Path(id): Path<u64>) -> Option<Json<Row>> {
    let row = app.row(id);
    (id % 2 == 0).then_some(Json(row))
}

#[memoize(skip(app))]
async fn memoized(State(app): State<App>, Path((id, lang)): Path<(u64, String)>) -> Json<String> {
    Json(format!("{} {lang}", app.row(id).name))
}

#[cache_write(put = "row:<id>", tags = ["rows"])]
async fn rename(State(app): State<App>, Path(id): Path<u64>, name: String) -> Result<Json<Row>, Problem> {
    app.names.lock().insert(id, name.clone());
    Ok(Json(Row { name, ..Row::fresh(id) }))
}

/// Direct access with the cache out of the state.
async fn direct(State(cache): State<Cache>, Path(key): Path<String>) -> Result<String, StatusCode> {
    let count = cache.incr(key, 1).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(count.to_string())
}

impl axum::extract::FromRef<App> for Cache {
    fn from_ref(app: &App) -> Self {
        app.cache.clone().expect("a cache")
    }
}

async fn service() -> (App, Server) {
    let cache: Cache = Cache::for_test().into();
    let app = App { cache: Some(cache.clone()), ..App::default() };
    let router = Router::new()
        .route("/rows/{id}", get(row))
        .route("/rows/{id}/name", post(rename))
        .route("/rows", get(rows))
        .route(
            "/maybe/{id}",
            get(async |state: State<App>, id: Path<u64>| maybe(state, id).await.ok_or(StatusCode::NOT_FOUND)),
        )
        .route("/names/{id}/{lang}", get(memoized))
        .route("/count/{key}", get(direct))
        .layer(ScopeLayer::new(cache))
        .with_state(app.clone());
    (app, Server::start(router).await)
}

/// A11, B7: extractors are parameters like others, and `Json` is a wrapping like `Arc`.
#[tokio::test]
async fn handlers_are_cached_as_functions_are() {
    let (app, server) = service().await;
    let cache = app.cache.clone().expect("a cache");
    for _ in 0..2 {
        let reply = server.get("/rows/42").await;
        assert_eq!(serde_json::from_slice::<Row>(&reply.body).expect("a row"), Row::fresh(42));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(app.calls.count(), 1);
    }
    // One entry, whatever it is wrapped in.
    assert_eq!(cache.get::<Row>("row:42").await.expect("a cache"), Some(Row::fresh(42)));
    let plain = cache.scope(plain_row(&app, 42)).await.expect("a row");
    assert_eq!((plain, app.calls.count()), (Row::fresh(42), 1));
    let peeked = cache.scope(row::peek(Path(42))).await.expect("a cache").expect("an entry");
    assert_eq!(peeked.0, Row::fresh(42));

    cache.invalidate("org:4").await.expect("a cache");
    server.get("/rows/42").await;
    assert_eq!(app.calls.count(), 2);

    let named = server.send("POST", "/rows/42/name", &[], "new").await;
    assert_eq!(named.status, 200);
    assert!(server.get("/rows/42").await.text().contains("\"new\""));
    assert_eq!(app.calls.count(), 2);
}

/// Failures of handlers are theirs, with their status, and are not kept.
#[tokio::test]
async fn failures_of_handlers_are_not_cached() {
    let (app, server) = service().await;
    for n in 1..=3 {
        assert_eq!(server.get("/rows/0").await.status, 404);
        assert_eq!(server.get("/rows/1").await.status, 500);
        assert_eq!(app.calls.count(), 2 * n);
    }
}

#[tokio::test]
async fn queries_and_paths_of_several_parts_select() {
    let (app, server) = service().await;
    for _ in 0..2 {
        server.get("/rows?page=3").await;
        server.get("/rows?page=4").await;
        server.get("/rows?page=4&sort=name").await;
        server.get("/rows?sort=&page=4").await;
        assert_eq!(app.calls.count(), 4);
    }
    for _ in 0..2 {
        assert_eq!(server.get("/names/7/de").await.text(), "\"row 7 de\"");
        assert_eq!(server.get("/names/7/en").await.text(), "\"row 7 en\"");
        assert_eq!(app.calls.count(), 6);
    }
    for _ in 0..2 {
        assert_eq!((server.get("/maybe/8").await.status, server.get("/maybe/9").await.status), (200, 404));
        assert_eq!(app.calls.count(), 8);
    }
}

#[tokio::test]
async fn the_cache_comes_out_of_the_state() {
    let (_, server) = service().await;
    assert_eq!((server.get("/count/a").await.text(), server.get("/count/a").await.text()), ("1", "2"));
}

//! Routes and handlers. What is cached stands at each: a value (`#[cache_read]`), or the whole response (`CacheLayer`).

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use cache_runtime::http::{CacheLayer, Tags, TenantLayer};
use cache_runtime::{Tenant, cache_read, cache_write, resource};
use serde::Deserialize;

use crate::db::{Db, DbError, Note};

resource! {
    /// A note, by id. The tenant is part of every key and tag by itself.
    pub(crate) note("note", id: u64);
}

/// All routes of the service.
pub(crate) fn routes(db: Db) -> Router {
    // Whole responses: for lists, whose clients come back with an `If-None-Match`.
    let pages = CacheLayer::new().name("pages").ttl("1m").stale("5m").query(["page"]).tags(|_| "notes");
    Router::new()
        .route("/notes", get(list).layer(pages))
        .route("/notes/{id}", get(read).put(write))
        .with_state(db)
        // Outside of the layers above, so that they keep what belongs to a tenant for that tenant.
        .layer(TenantLayer::header("x-tenant").required())
}

/// Why a request was not answered.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    NotFound,
    Database(DbError),
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "there is no such note\n").into_response(),
            Self::Database(error) => {
                eprintln!("{error:?}");
                (StatusCode::INTERNAL_SERVER_ERROR, "the database failed\n").into_response()
            }
        }
    }
}

/// The tenant of the request; there is one wherever the layer is.
fn tenant() -> String {
    Tenant::current().map_or(String::new(), |tenant| tenant.to_string())
}

/// A cached value: other handlers that need the note share the entry. A failure is not kept.
#[cache_read(resource = note(id), ttl = "5m", stale_if_error = "1h", skip(db))]
async fn read(State(db): State<Db>, Path(id): Path<u64>) -> Result<Json<Note>, Problem> {
    db.note(tenant(), id).await?.map(Json).ok_or(Problem::NotFound)
}

#[derive(Debug, Deserialize)]
struct Page {
    page: Option<u64>,
}

/// A cached response. Its tags: `notes` by the layer, and one of each note that is on the page.
async fn list(State(db): State<Db>, Query(Page { page }): Query<Page>) -> Result<impl IntoResponse, Problem> {
    let notes = db.page(tenant(), page.unwrap_or(1)).await?;
    let tags = Tags::new(notes.iter().map(|one| note(one.id)));
    Ok((Extension(tags), Json(notes)))
}

/// A change: drops the note and every page that shows it, for this tenant, then loads the note again.
#[cache_write(resource = note(id), tags = ["notes"])]
async fn write(State(db): State<Db>, Path(id): Path<u64>, text: String) -> Result<Json<Note>, Problem> {
    Ok(Json(db.store(tenant(), id, text).await?))
}

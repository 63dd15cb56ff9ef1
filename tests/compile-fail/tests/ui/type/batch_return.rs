//! Batch functions that return no collection, or one of `Json`s.
use axum::Json;
use cache_runtime::cache_read;
use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct User {
    id: u64,
}

#[cache_read(key = "number:<id>", each(id in ids))]
async fn number(ids: Vec<u64>) -> u64 {
    ids.len() as u64
}

#[cache_read(key = "user:<id>", each(id in ids), tags = ["user:<result.id>"], cache_if = |user| user.id > 0, by = |user| user.id)]
async fn user(ids: &[u64]) -> User {
    User { id: ids[0] }
}

#[cache_read(key = "fallible:<id>", each(id in ids), ttl = "1m", stale = "1m")]
async fn fallible(ids: Vec<u64>) -> Result<User, std::fmt::Error> {
    Ok(User { id: ids[0] })
}

#[cache_read(key = "optional:<id>", each(id in ids), bypass = ids.is_empty())]
async fn optional(ids: Vec<u64>) -> Option<u64> {
    ids.first().copied()
}

#[cache_read(key = "nothing:<id>", each(id in ids))]
async fn nothing(ids: Vec<u64>) {
    let _ = ids;
}

#[cache_read(key = "carries:<id>", each(id in ids), on_error = fail)]
async fn carries_errors(ids: Vec<u64>) -> Result<u64, cache_runtime::Error> {
    Ok(ids.len() as u64)
}

#[cache_read(key = "timed:<id>", each(id in ids), timeout = "1s", monitor = "1%")]
async fn timed(ids: Vec<u64>) -> Result<Arc<HashMap<u64, u64>>, cache_runtime::Error> {
    Ok(Arc::new(ids.into_iter().map(|id| (id, id)).collect()))
}

#[cache_read(key = "boxed:<id>", each(id in ids))]
fn boxed<'a>(ids: &'a [u64]) -> Pin<Box<dyn Future<Output = u64> + Send + 'a>> {
    Box::pin(async move { ids.len() as u64 })
}

struct NotStorable;

#[cache_read(key = "opaque:<id>", each(id in ids))]
async fn not_storable(ids: Vec<u64>) -> NotStorable {
    let _ = ids;
    NotStorable
}

#[cache_read(key = "generic:<T>:<id>", each(id in ids))]
async fn generic<T: Default>(ids: Vec<u64>) -> T {
    let _ = ids;
    T::default()
}

struct Repo;

impl Repo {
    #[cache_read(key = "private:<id>", each(id in ids), skip(self))]
    async fn private(&self, ids: Vec<u64>) -> u64 {
        ids.len() as u64
    }

    #[cache_read(key = "public:<id>", each(id in ids), skip(self))]
    pub async fn public(&self, ids: Vec<u64>) -> Result<u64, String> {
        Ok(ids.len() as u64)
    }
}

#[cache_read(key = "handler:<id>", each(id in ids))]
async fn handler(ids: Vec<u64>) -> Json<Vec<u64>> {
    Json(ids)
}

#[cache_read(key = "fallible-handler:<id>", each(id in ids))]
async fn fallible_handler(ids: Vec<u64>) -> Result<Json<User>, String> {
    Ok(Json(User { id: ids[0] }))
}

#[cache_read(key = "elements:<id>", each(id in ids), tags = ["user:<result.id>"])]
async fn elements(ids: Vec<u64>) -> HashMap<u64, Json<User>> {
    ids.into_iter().map(|id| (id, Json(User { id }))).collect()
}

#[cache_read(key = "fallible-elements:<id>", each(id in ids))]
async fn fallible_elements(ids: Vec<u64>) -> Result<BTreeMap<u64, Json<u64>>, String> {
    Ok(ids.into_iter().map(|id| (id, Json(id))).collect())
}

#[cache_read(key = "listed:<id>", each(id in ids))]
async fn listed(ids: Vec<u64>) -> Vec<Json<u64>> {
    ids.into_iter().map(Json).collect()
}

async fn user_of_the_companion() -> Result<(), cache_runtime::Error> {
    number::invalidate(1).await?;
    number::put(2, 1).await?;
    let _: Option<u64> = number::peek(1).await?;
    Repo.public_entry(1).invalidate().await
}

fn main() {}

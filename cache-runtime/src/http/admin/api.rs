//! What the page asks for: numbers, the catalogue, health; and the one thing that it changes.

use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Shared, State};
use crate::cache::Cache;
use crate::cache::catalogue::{Function, Problem, catalogue as all_functions};
use crate::engine::call::Call;
use crate::engine::timed::Timed;
use crate::error::{Error, ErrorKind};
use crate::meter::Operation;
use crate::site::{Site, SiteKind};
use crate::tenant::Tenant;

/// Everything that the page shows of now.
pub(super) async fn stats(state: Shared) -> Response {
    json_text(state.view.now().await.all.clone())
}

/// The functions of it.
pub(super) async fn functions(state: Shared) -> Response {
    json_text(state.view.now().await.functions.clone())
}

fn json_text(text: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// Gives the text of a program's metrics.
#[cfg(feature = "metrics")]
pub(super) type Render = std::sync::Arc<dyn Fn() -> String + Send + Sync>;

/// What the program's recorder has, for Prometheus.
#[cfg(feature = "metrics")]
pub(super) async fn metrics(state: Shared, render: Render) -> Response {
    let cache = state.cache.clone();
    let told = move || {
        cache.publish_metrics();
        render()
    };
    // It counts entries: not on a thread that answers requests.
    match tokio::task::spawn_blocking(told).await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether the backend answers.
pub(super) async fn health(state: Shared) -> Response {
    match state.cache.ping().await {
        Ok(()) => Json(Health { status: "up", reason: None }).into_response(),
        Err(error) => {
            let health = Health { status: "down", reason: Some(error.to_string()) };
            (StatusCode::SERVICE_UNAVAILABLE, Json(health)).into_response()
        }
    }
}

#[derive(Serialize)]
struct Listed {
    path: String,
    name: &'static str,
    kind: &'static str,
    file: &'static str,
    line: u32,
    key: Option<String>,
    tags: &'static [&'static str],
    ttl: Option<String>,
    value: Option<&'static str>,
    recaches: &'static [&'static str],
}

#[derive(Serialize)]
struct Wrong {
    kind: String,
    function: String,
    text: String,
}

#[derive(Serialize)]
struct Catalogued {
    functions: Vec<Listed>,
    problems: Vec<Wrong>,
}

fn listed(function: &Function) -> Listed {
    let key = function.key();
    Listed {
        path: function.path(),
        name: function.name(),
        kind: function.0.made_by(),
        file: function.file(),
        line: function.line(),
        ttl: key.is_some().then(|| function.ttl()),
        key,
        tags: function.tags(),
        value: function.value(),
        recaches: function.recaches(),
    }
}

fn wrong(problem: Problem) -> Wrong {
    Wrong { kind: format!("{:?}", problem.kind()), function: problem.function().path(), text: problem.to_string() }
}

/// The annotated functions of the program, and what is wrong between them.
pub(super) async fn catalogue(state: Shared) -> Response {
    // Every function is compared with every other.
    let catalogued = tokio::task::spawn_blocking(move || {
        let catalogue = state.allowed.iter().fold(all_functions(), |catalogue, tag| catalogue.allow(tag));
        Catalogued {
            functions: catalogue.functions().iter().map(listed).collect(),
            problems: catalogue.problems().into_iter().map(wrong).collect(),
        }
    });
    match catalogued.await {
        Ok(catalogued) => Json(catalogued).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What becomes invalid.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Tag,
    Key,
    Function,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalidate {
    kind: Kind,
    name: String,
    /// As which tenant; without one, as none.
    #[serde(default)]
    tenant: Option<String>,
    /// That somebody was asked and said yes.
    #[serde(default)]
    confirmed: bool,
}

#[derive(Serialize)]
struct Answer {
    done: bool,
    /// Entries that were dropped, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn refused(status: StatusCode, reason: impl Into<String>) -> Response {
    (status, Json(Answer { done: false, dropped: None, reason: Some(reason.into()) })).into_response()
}

/// Makes a tag, a key or a function invalid: as the tenant that is named, or as none, whatever tenant the request is in.
pub(super) async fn invalidate(state: Shared, body: Bytes) -> Response {
    let asked: Invalidate = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => {
            return refused(StatusCode::BAD_REQUEST, format!("the body does not say what to invalidate: {error}"));
        }
    };
    if !asked.confirmed {
        return refused(StatusCode::BAD_REQUEST, "not confirmed: nothing was done");
    }
    let tenant = match asked.tenant.as_deref().filter(|tenant| !tenant.is_empty()).map(Tenant::new).transpose() {
        Ok(tenant) => tenant,
        Err(error) => return refused(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let work = drop_named(&state, asked.kind, &asked.name);
    let done = match tenant {
        Some(tenant) => tenant.scope(work).await,
        None => Tenant::global(work).await,
    };
    match done {
        Ok(Dropped::Nothing) => refused(StatusCode::NOT_FOUND, "no cached function of this program has that path"),
        Ok(Dropped::Some(dropped)) => Json(Answer { done: true, dropped, reason: None }).into_response(),
        Err(error) if error.kind() == ErrorKind::TenantRequired => {
            refused(StatusCode::UNPROCESSABLE_ENTITY, "tenants are isolated: name the tenant whose entries are meant")
        }
        Err(error) => refused(status(&error), error.to_string()),
    }
}

enum Dropped {
    /// There is nothing of that name.
    Nothing,
    /// This many entries, where that is known.
    Some(Option<u64>),
}

async fn drop_named(state: &State, kind: Kind, name: &str) -> Result<Dropped, Error> {
    let cache = &state.cache;
    Ok(match kind {
        Kind::Tag => {
            cache.invalidate(name).await?;
            Dropped::Some(None)
        }
        Kind::Key => Dropped::Some(Some(cache.invalidate_keys([name]).await?)),
        Kind::Function if clear_function(cache, name).await? => Dropped::Some(None),
        Kind::Function => Dropped::Nothing,
    })
}

/// Drops all entries of the function with this path, as the catalogue has it: of the tenant in scope, or of none. `false`:
/// there is no such function.
async fn clear_function(cache: &Cache, path: &str) -> Result<bool, Error> {
    let used = cache.core.functions().map(|function| function.site).find(|site| site.path() == path);
    let known = || Site::all().find(|site| site.path() == path);
    let Some(site) = used.or_else(known).filter(|site| site.kind != SiteKind::Write) else { return Ok(false) };
    let call = Call::of(site, cache);
    let _timed = Timed::start(&call, Operation::Invalidate, None);
    match call.direct_shared()? {
        // Memoized values are in this process, whatever the backend is.
        Some(direct) if site.kind != SiteKind::Memoize => direct.clear_function().await?,
        _ => call.clear_function()?,
    }
    Ok(true)
}

fn status(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::InvalidKey => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

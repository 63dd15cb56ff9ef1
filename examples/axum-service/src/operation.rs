//! What those who run the service look at. Metrics and the live page are mounted here, each with what keeps strangers out.

use axum::routing::get;
use axum::{Json, Router};
use cache_runtime::Cache;
use cache_runtime::http::Lifecycle;

/// Health, and what the cache did.
pub(crate) fn routes(life: &Lifecycle, cache: Cache) -> Router {
    Router::new().merge(life.health()).route("/stats", get(async move || Json(stats(&cache))))
    // Metrics for Prometheus go here: `.route("/metrics", ..)`.
    // The live page goes here: `.nest("/cache", ..)`.
}

fn stats(cache: &Cache) -> serde_json::Value {
    let stats = cache.stats();
    let functions = stats.functions.iter().map(|(name, function)| {
        let numbers = serde_json::json!({ "hits": function.hits, "misses": function.misses, "loads": function.loads });
        (name.clone(), numbers)
    });
    serde_json::json!({
        "entries": stats.entries,
        "hits": stats.hits,
        "misses": stats.misses,
        "functions": functions.collect::<serde_json::Map<_, _>>(),
    })
}

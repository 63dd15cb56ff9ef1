//! What those who run the service look at: health, metrics and the live page. A service that strangers reach serves them on
//! another port, or with authentication in front.

use axum::routing::get;
use axum::{Json, Router};
use cache_runtime::Cache;
use cache_runtime::http::Lifecycle;
use cache_runtime::http::admin::Admin;
use metrics_exporter_prometheus::PrometheusHandle;

/// Health, what the cache did, and what it does at the moment.
pub(crate) fn routes(life: &Lifecycle, cache: Cache, metrics: PrometheusHandle) -> Router {
    // Without `authenticated_by(..)` it answers this machine only.
    let page = Admin::new(cache.clone()).into_router();
    let gauges = cache.clone();
    let scrape = async move || {
        gauges.publish_metrics();
        metrics.render()
    };
    Router::new()
        .merge(life.health())
        .route("/stats", get(async move || Json(stats(&cache))))
        .route("/metrics", get(scrape))
        .nest_service("/cache", page)
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

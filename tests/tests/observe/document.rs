//! C7: the guide, the dashboard and the alert rules name what a cache exports, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::metric::everything;

fn read(file: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs");
    fs::read_to_string(docs.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What looks like one of our metrics.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("cache_") && *word != "cache_runtime").map(str::to_owned).collect()
}

/// The metric that a series belongs to.
fn metric(series: &str) -> &str {
    let parts = ["_bucket", "_sum", "_count"];
    parts.iter().find_map(|part| series.strip_suffix(part).filter(|name| name.ends_with("_seconds"))).unwrap_or(series)
}

#[track_caller]
fn exist(what: &str, used: &BTreeSet<String>, exported: &BTreeSet<String>) {
    let unknown: Vec<_> = used.iter().filter(|series| !exported.contains(metric(series))).collect();
    assert!(unknown.is_empty(), "{what} names what nobody exports: {unknown:?}");
}

/// The first column of the table of metrics.
fn documented(guide: &str) -> BTreeSet<String> {
    let section = guide.split("\n## ").find(|section| section.starts_with("Metrics\n")).unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| `cache_"))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(metrics)
        .collect()
}

/// The expressions of a dashboard's panels.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// C7: every metric that is exported is in the guide's table, and the other way round.
#[tokio::test]
async fn the_guide_lists_exactly_what_is_exported() {
    let exported = everything().await.names();
    assert_eq!(documented(&read("guide/observability.md")), exported);
}

/// C7: PromQL in the guide, in the dashboard and in the alert rules is about metrics that exist.
#[tokio::test]
async fn queries_are_about_metrics_that_exist() {
    let exported = everything().await.names();
    let guide = read("guide/observability.md");
    let queries: Vec<&str> = guide.split("```promql").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(queries.len() >= 5);
    exist("the guide", &metrics(&queries.concat()), &exported);
    let (dashboard, alerts) = (read("grafana/cache.json"), read("alerts.yml"));
    exist("the dashboard", &metrics(&dashboard), &exported);
    exist("the alert rules", &metrics(&alerts), &exported);
}

/// C7: the dashboard is one that Grafana can import, and shows something in every panel.
#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read("grafana/cache.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${source}", "{}", panel["title"]);
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{}", panel["title"]);
    }
    for expression in expressions(&dashboard) {
        let count = |c: char| expression.matches(c).count();
        assert!(count('(') == count(')') && count('{') == count('}') && count('[') == count(']'), "{expression}");
        assert!(expression.contains("$instance"), "{expression}");
    }
}

/// C7: each alert has its reason in the guide, and the guide names no other.
#[test]
fn every_alert_has_its_reason() {
    let alerts = read("alerts.yml");
    let rules: BTreeSet<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let guide = read("guide/observability.md");
    let reasons: BTreeSet<_> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `Cache")?.split('`').next())
        .map(|name| format!("Cache{name}"))
        .collect();
    assert_eq!(rules.iter().map(|rule| (*rule).to_owned()).collect::<BTreeSet<_>>(), reasons);
    for part in ["expr:", "labels:", "severity:", "summary:"] {
        assert_eq!(alerts.lines().filter(|line| line.trim().starts_with(part)).count(), rules.len(), "{part}");
    }
}

//! Layers among the functions of a program: by name, wherever these are listed.

use cache_runtime::http::CacheLayer;
use cache_runtime::{ProblemKind, SiteKind, cache_read, cache_write, catalogue};
use tower_layer::Layer as _;

use crate::support::service;

#[cache_write(tags = ["catalogued:<id>"])]
async fn change(id: u64) {}

#[cache_read(key = "http:mounted:here:<a>:<b>")]
async fn in_its_way(a: u64, b: u64) -> u64 {
    a + b
}

#[tokio::test]
async fn a_layer_is_a_function_of_the_cache_by_its_name() {
    let it = service(|layer| layer.name("listed"), |n, _| format!("call {n}")).await;
    it.get("/").await;
    it.get("/").await;
    let functions = it.cache.functions();
    let [layer] = &functions[..] else { panic!("one function was used: {functions:?}") };
    assert_eq!((layer.function.path().as_str(), layer.function.name()), ("http::listed", "listed"));
    assert_eq!((layer.entries, layer.stats.loads, layer.stats.hits), (1, 1, 1));
}

/// Once it is mounted, whether a request came or not; and one that is mounted twice is there once.
#[test]
fn a_mounted_layer_is_in_the_catalogue() {
    let layer = CacheLayer::new().name("mounted").ttl("1m");
    let line = line!() - 1;
    let found = || {
        let all = catalogue();
        all.functions().iter().filter(|function| function.path() == "http::mounted").copied().collect::<Vec<_>>()
    };
    assert!(found().is_empty());
    let _services = (layer.layer(()), layer.clone().layer(()));
    let found = found();
    let [function] = &found[..] else { panic!("one layer was mounted: {found:?}") };
    assert_eq!((function.kind(), function.line()), (SiteKind::Read, line));
    assert!(function.file().ends_with("catalogue.rs"));
    assert_eq!(function.key().as_deref(), Some("http:mounted:<host>:<path>:<query>"));
    let table = catalogue().to_string();
    let row = table.lines().find(|line| line.contains(" mounted ")).expect("a row");
    assert!(row.starts_with("CacheLayer  mounted "), "{row}");

    let problems = catalogue().problems();
    let of =
        |kind| problems.iter().filter(|problem| problem.kind() == kind).map(ToString::to_string).collect::<Vec<_>>();
    // A function whose keys could be taken for a layer's.
    let overlaps = of(ProblemKind::KeysOverlap);
    assert!(overlaps.iter().any(|text| text.contains("http::mounted") && text.contains("in_its_way")), "{overlaps:?}");
    // Whether a layer has a tag is not known here, and is said to be unknown.
    let unknown = of(ProblemKind::TagNobodyCarries);
    let unknown = unknown.iter().find(|text| text.contains("catalogued:<id>")).expect("a problem");
    assert!(unknown.contains("tags by expression are not known here"), "{unknown}");
}

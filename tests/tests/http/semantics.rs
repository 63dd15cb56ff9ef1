//! What is kept and for how long, beside the crate `http-cache-semantics`, which reads the same RFC (decision 10).

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::routing::get;
use cache_runtime::Cache;
use cache_runtime::http::CacheLayer;
use http_cache_semantics::{CacheOptions, CachePolicy};
use proptest::prelude::*;
use tower_service::Service as _;

/// When this began, to the second: ours asks the real clock.
#[expect(clippy::disallowed_methods, reason = "responses are dated by the real clock")]
static NOW: LazyLock<SystemTime> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
});

fn date(at: SystemTime) -> &'static str {
    httpdate::fmt_http_date(at).leak()
}

/// When responses are dated, when they expire, and when they have expired.
static DATE: LazyLock<&str> = LazyLock::new(|| date(*NOW));
static LATER: LazyLock<&str> = LazyLock::new(|| date(*NOW + Duration::from_secs(3600)));
static BEFORE: LazyLock<&str> = LazyLock::new(|| date(*NOW - Duration::from_secs(10)));

fn headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let one = prop::sample::select(vec![
        ("cache-control", "no-store"),
        ("cache-control", "private"),
        ("cache-control", "no-cache"),
        ("cache-control", "public"),
        ("cache-control", "max-age=60"),
        ("cache-control", "max-age=0"),
        ("cache-control", "max-age=\"30\""),
        ("cache-control", "s-maxage=90"),
        ("cache-control", "s-maxage=5, max-age=600"),
        ("cache-control", "must-revalidate"),
        ("cache-control", "stale-while-revalidate=10"),
        ("cache-control", "max-age=60, foo=\"a, no-store\""),
        ("age", "20"),
        ("vary", "*"),
        ("vary", "accept"),
        ("expires", "0"),
        ("expires", *LATER),
        ("expires", *BEFORE),
        ("set-cookie", "a=b"),
        ("x-other", "1"),
    ]);
    prop::collection::vec(one, 0..4)
}

/// What we made of a response: for how many seconds it is kept from now on.
async fn kept(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    let answer = headers.clone();
    let handler = move || {
        let mut response = Response::new(Body::from("body"));
        *response.status_mut() = status;
        *response.headers_mut() = answer.clone();
        async move { response }
    };
    let layer = CacheLayer::with((*Cache::for_test()).clone()).ttl("1s");
    let mut app = Router::new().route("/", get(handler)).layer(layer);
    let mut last = String::new();
    for _ in 0..2 {
        let request = Request::get("/").body(Body::empty()).expect("a request");
        let response = app.call(request).await.expect("a response");
        last = response.headers()["cache-status"].to_str().expect("text").to_owned();
    }
    last.split("ttl=").nth(1).and_then(|ttl| ttl.parse().ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is kept may be kept, and no longer than that; whatever is not kept had no life, but for what is stricter here.
    #[test]
    fn nothing_is_kept_that_the_rfc_forbids(
        status in prop::sample::select(vec![200_u16, 201, 204, 206, 301, 302, 304, 404, 410, 500, 503]),
        pairs in headers(),
    ) {
        let status = StatusCode::from_u16(status).expect("a status");
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_static(*DATE));
        for (name, value) in &pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let ours = runtime.block_on(kept(status, &headers));

        let request = http::Request::get("/").body(()).expect("a request");
        let mut response = http::Response::builder().status(status).body(()).expect("a response");
        *response.headers_mut() = headers.clone();
        let now = *NOW;
        let options = CacheOptions { cache_heuristic: 0.0, ..CacheOptions::default() };
        let policy = CachePolicy::new_options(&request, &response, now, options);
        let theirs = policy.time_to_live(now).as_secs();
        let says = |name: &str| pairs.iter().any(|(known, value)| *known == "cache-control" && value.to_ascii_lowercase().contains(name));
        let is_explicit = says("max-age") || says("s-maxage") || headers.contains_key("expires");

        match ours {
            // By the layer's own ttl, as a heuristic would.
            Some(1) if !is_explicit => prop_assert!(policy.is_storable(), "{status} {pairs:?}"),
            Some(ours) => {
                prop_assert!(policy.is_storable(), "{status} {pairs:?}");
                // Of directives that are said twice we take the smaller one.
                prop_assert!(ours <= theirs, "{status} {pairs:?}: {ours} and not {theirs}");
            }
            None => {
                let stricter = headers.contains_key("set-cookie")
                    || says("no-cache")
                    || says("max-age=0")
                    || headers.get_all("vary").iter().any(|value| value == "*")
                    || [201, 206, 304, 500, 503].contains(&status.as_u16())
                    || headers.contains_key("age");
                prop_assert!(theirs == 0 || !policy.is_storable() || stricter, "{status} {pairs:?}: theirs {theirs}");
            }
        }
    }
}

//! Scheme and host: whichever way a request names them, responses of two are never mixed up, and a change of one drops all that
//! is kept of it.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, Version};
use axum::routing::get;
use cache_runtime::Cache;
use cache_runtime::http::CacheLayer;
use tower_service::Service as _;

use crate::support::{Calls, answering, service};

/// What a page can know of its own address.
fn page(n: u64, request: &Request) -> String {
    let hosts: Vec<_> = request.headers().get_all("host").iter().map(|host| host.to_str().expect("text")).collect();
    format!("call {n} {} {}", request.uri(), hosts.join(" "))
}

/// A request as servers hand it over: the target in absolute form, or from the pseudo-headers of HTTP/2.
async fn ask(app: &Router, method: Method, uri: &str, version: Version, hosts: &[&str]) -> String {
    let request = hosts.iter().fold(Request::builder(), |request, host| request.header("host", *host));
    let request = request.method(method).uri(uri).version(version).body(Body::empty()).expect("a request");
    let response = app.clone().call(request).await.expect("a response");
    String::from_utf8(to_bytes(response.into_body(), 1 << 16).await.expect("a body").to_vec()).expect("text")
}

const ADDRESSES: &[(&str, Version, &[&str])] = &[
    ("/p", Version::HTTP_11, &["a"]),
    ("/p", Version::HTTP_11, &["b"]),
    ("/p", Version::HTTP_11, &["a:80"]),
    ("/p", Version::HTTP_11, &["a,b"]),
    ("/p", Version::HTTP_11, &["http://a/p"]),
    ("/p", Version::HTTP_10, &[]),
    ("http://a/p", Version::HTTP_2, &[]),
    ("https://a/p", Version::HTTP_2, &[]),
    ("http://b/p", Version::HTTP_2, &[]),
    ("https://b/p", Version::HTTP_2, &[]),
    ("http://a:80/p", Version::HTTP_2, &[]),
    ("http://a/p", Version::HTTP_11, &["a"]),
    ("https://a/p", Version::HTTP_11, &["a"]),
    ("http://b/p", Version::HTTP_11, &["b"]),
];

/// Requests that name two hosts.
const TORN: &[(&str, &[&str])] = &[
    ("/p", &["a", "b"]),
    ("/p", &["b", "a"]),
    ("/p", &["a", "a"]),
    ("http://a/p", &["b"]),
    ("http://b/p", &["a"]),
    ("https://b/p", &["a"]),
    ("http://b/p", &["a", "b"]),
    ("http://b/p", &["b", "a"]),
];

/// Whatever a page makes of its address, nobody is shown what it made of another one.
#[tokio::test]
async fn no_two_addresses_share_a_page() {
    let (cache, calls) = (Cache::memory(), Calls::default());
    let app = answering(&calls, page).layer(CacheLayer::with(cache));
    for _ in 0..2 {
        for (n, (uri, version, hosts)) in ADDRESSES.iter().enumerate() {
            let text = ask(&app, Method::GET, uri, *version, hosts).await;
            assert_eq!(text, format!("call {} {uri} {}", n + 1, hosts.join(" ")));
        }
    }
    // Names of hosts and schemes have no case.
    assert!(ask(&app, Method::GET, "/p", Version::HTTP_11, &["A"]).await.starts_with("call 1 "));
    assert!(ask(&app, Method::GET, "HTTPS://A/p", Version::HTTP_2, &[]).await.starts_with("call 8 "));
}

/// Of a request that names two hosts nobody knows whose page its handler makes, so nothing is kept, and nobody is served it.
#[tokio::test]
async fn requests_that_name_two_hosts_go_past_the_cache() {
    let it = service(|layer| layer, page).await;
    let (cache, calls) = (Cache::memory(), Calls::default());
    let app = answering(&calls, page).layer(CacheLayer::with(cache.clone()));
    for (n, (uri, hosts)) in TORN.iter().chain(TORN).enumerate() {
        let text = ask(&app, Method::GET, uri, Version::HTTP_11, hosts).await;
        assert_eq!(text, format!("call {} {uri} {}", n + 1, hosts.join(" ")));
    }
    assert!(cache.keys("*").collect::<Vec<_>>().await.expect("keys").is_empty());
    let reply = it.raw(b"GET http://b/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(reply.cache(), "http; fwd=bypass; detail=host");
}

/// The same behind routers that cut the path.
#[tokio::test]
async fn nested_routers_do_not_mix_addresses_up() {
    let (cache, calls) = (Cache::memory(), Calls::default());
    let inner = answering(&calls, page).layer(CacheLayer::with(cache));
    let app = Router::new().nest("/in", inner);
    for _ in 0..2 {
        for (n, uri) in ["http://a/in/p", "https://a/in/p", "http://b/in/p"].into_iter().enumerate() {
            let text = ask(&app, Method::GET, uri, Version::HTTP_2, &[]).await;
            assert!(text.starts_with(&format!("call {} ", n + 1)), "{uri}: {text}");
        }
    }
}

/// On the wire: a server hands the absolute form over.
#[tokio::test]
async fn the_absolute_form_is_no_way_into_the_page_of_another_host() {
    let it = service(|layer| layer, page).await;
    let ask =
        async |head: &str| it.raw(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.text().to_owned();
    for round in 0..2 {
        assert_eq!(ask("GET / HTTP/1.1\r\nhost: a").await, "call 1 / a");
        assert_eq!(ask("GET / HTTP/1.1\r\nhost: b").await, "call 2 / b");
        assert_eq!(ask("GET http://a/ HTTP/1.1\r\nhost: a").await, "call 3 http://a/ a");
        assert_eq!(ask("GET https://a/ HTTP/1.1\r\nhost: a").await, "call 4 https://a/ a");
        assert_eq!(ask("GET http://b/ HTTP/1.1\r\nhost: a").await, format!("call {} http://b/ a", 5 + round));
        assert_eq!(ask("GET / HTTP/1.1\r\nhost: A").await, "call 1 / a");
    }
}

/// RFC 9111, section 4.4: one target, however it is named.
#[tokio::test]
async fn a_change_drops_all_that_is_kept_of_its_host() {
    let (cache, calls) = (Cache::memory(), Calls::default());
    let app = Router::new().fallback(get(move || async move { calls.next().to_string() }).put(async || ()));
    let app = app.layer(CacheLayer::with(cache));
    let kept: [(&str, Version, &[&str]); 4] = [
        ("/p", Version::HTTP_11, &["a"]),
        ("https://a/p", Version::HTTP_2, &[]),
        ("http://a/p", Version::HTTP_11, &["a"]),
        ("/p", Version::HTTP_11, &["b"]),
    ];
    let changes: [(&str, Version, &[&str], bool); 5] = [
        ("/p", Version::HTTP_11, &["a"], false),
        ("https://a/p", Version::HTTP_2, &[], false),
        // Whose page it changed is for its handler to know.
        ("http://a/p", Version::HTTP_11, &["b"], true),
        ("http://c/p", Version::HTTP_11, &["a"], false),
        ("http://me:secret@a/p", Version::HTTP_11, &[], false),
    ];
    for (uri, version, hosts, is_both) in changes {
        let mut before = Vec::new();
        for (uri, version, hosts) in kept {
            before.push(ask(&app, Method::GET, uri, version, hosts).await);
        }
        ask(&app, Method::PUT, uri, version, hosts).await;
        for ((kept_uri, version, kept_hosts), before) in kept.into_iter().zip(before) {
            let is_kept = ask(&app, Method::GET, kept_uri, version, kept_hosts).await == before;
            let is_other = kept_hosts == ["b"];
            assert_eq!(is_kept, is_other && !is_both, "PUT {uri} {hosts:?}, GET {kept_uri} {kept_hosts:?}");
        }
    }
}

/// A name and a password in the address are credentials as those of `Authorization` are: neither kept for others nor in a key.
#[tokio::test]
async fn who_is_named_in_the_address_goes_past_the_cache() {
    let (cache, calls) = (Cache::memory(), Calls::default());
    let app = answering(&calls, page).layer(CacheLayer::with(cache.clone()));
    for n in 1..=2 {
        let text = ask(&app, Method::GET, "http://me:s3cret@a/p", Version::HTTP_11, &["a"]).await;
        assert!(text.starts_with(&format!("call {n} ")), "{text}");
    }
    assert!(cache.keys("*").collect::<Vec<_>>().await.expect("keys").is_empty());
    ask(&app, Method::GET, "http://a/p", Version::HTTP_11, &["a"]).await;
    assert!(ask(&app, Method::GET, "http://you@a/p", Version::HTTP_11, &["a"]).await.starts_with("call 4 "));
}

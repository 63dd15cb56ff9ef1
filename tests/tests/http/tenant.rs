//! The tenant of a request, and what comes of requests that name none or an impossible one.

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use cache_runtime::http::{CacheLayer, ScopeLayer, TenantLayer};
use cache_runtime::{Cache, ErrorKind, Tenant, cache_read, in_context};
use cache_tests::http::Server;

use crate::support::{Calls, answering};

fn call(n: u64, _: &Request) -> String {
    format!("call {n} for {}", Tenant::current().map_or("nobody".to_owned(), |tenant| tenant.to_string()))
}

/// A service whose responses are kept by tenant.
async fn service(layer: TenantLayer, enforced: bool) -> (Cache, Calls, Server) {
    let cache = Cache::builder().url("mem://").enforce_tenant_isolation(enforced).build().await.expect("a cache");
    let calls = Calls::default();
    let app = answering(&calls, call).layer(CacheLayer::with(cache.clone())).layer(layer);
    (cache, calls, Server::start(app).await)
}

/// C5
#[tokio::test]
async fn each_tenant_has_responses_of_its_own() {
    let (cache, _, server) = service(TenantLayer::header("x-tenant"), true).await;
    let get = async |tenant| server.get_with("/", &[("x-tenant", tenant)]).await;
    for _ in 0..2 {
        assert_eq!(get("acme").await.text(), "call 1 for acme");
        assert_eq!(get("blue").await.text(), "call 2 for blue");
        // Upper and lower case are two tenants.
        assert_eq!(get("Acme").await.text(), "call 3 for Acme");
    }
    let acme = Tenant::new("acme").expect("a tenant");
    acme.scope(cache.clear()).await.expect("cleared");
    assert_eq!(get("acme").await.text(), "call 4 for acme");
    assert_eq!(get("blue").await.text(), "call 2 for blue");
}

/// Nobody is told what he sent, and nobody runs as somebody else.
#[tokio::test]
async fn impossible_tenants_are_refused() {
    let long = "x".repeat(65);
    let hostile: Vec<Vec<(&str, &str)>> = vec![
        vec![("x-tenant", "")],
        vec![("x-tenant", " ")],
        vec![("x-tenant", &long)],
        vec![("x-tenant", "acme:user")],
        vec![("x-tenant", "../acme")],
        vec![("x-tenant", "*")],
        vec![("x-tenant", "acme, blue")],
        vec![("x-tenant", "acm\u{e9}")],
        vec![("x-tenant", "%61cme")],
        vec![("x-tenant", "acme"), ("x-tenant", "blue")],
        vec![("x-tenant", "acme"), ("X-TENANT", "acme")],
    ];
    let (_, calls, server) = service(TenantLayer::header("x-tenant"), true).await;
    for headers in &hostile {
        let reply = server.get_with("/", headers).await;
        assert_eq!(
            (reply.status, reply.text()),
            (400, "the tenant that the request names is not valid\n"),
            "{headers:?}"
        );
    }
    assert_eq!(calls.count(), 0);

    // By choice they run as nobody: nothing is kept where isolation is enforced.
    let (cache, calls, server) = service(TenantLayer::header("x-tenant").tolerant(), true).await;
    for (n, headers) in (1..).zip(&hostile) {
        let reply = server.get_with("/", headers).await;
        assert_eq!((reply.status, reply.text()), (200, &*format!("call {n} for nobody")), "{headers:?}");
        assert_eq!(reply.cache(), "http; fwd=bypass; detail=no-cache-usable");
    }
    assert_eq!((cache.stats().degraded_by.no_tenant, cache.stats().entries), (calls.count(), 0));
}

/// Isolation that is enforced and a request that names none: the handler is called, nothing is kept, and it is counted.
#[tokio::test]
async fn requests_without_a_tenant_are_served_past_the_cache_or_refused() {
    let (cache, _, server) = service(TenantLayer::header("x-tenant"), true).await;
    assert_eq!(
        (server.get("/").await.text(), server.get("/").await.text()),
        ("call 1 for nobody", "call 2 for nobody")
    );
    assert_eq!((cache.stats().degraded_by.no_tenant, cache.stats().entries), (2, 0));

    let (_, calls, server) = service(TenantLayer::header("x-tenant").required(), true).await;
    let reply = server.get("/").await;
    assert_eq!((reply.status, reply.text(), calls.count()), (400, "the request names no tenant\n", 0));
    assert_eq!(server.get_with("/", &[("x-tenant", "acme")]).await.status, 200);

    // Not enforced: what belongs to no tenant.
    let (_, _, server) = service(TenantLayer::header("x-tenant"), false).await;
    assert_eq!(server.get("/").await.text(), "call 1 for nobody");
    assert_eq!(server.get_with("/", &[("x-tenant", "acme")]).await.text(), "call 2 for acme");
    assert_eq!(server.get("/").await.text(), "call 1 for nobody");
}

#[tokio::test]
async fn tenants_come_from_paths_and_extensions_too() {
    let (_, _, server) = service(TenantLayer::path_segment(1), true).await;
    for _ in 0..2 {
        assert_eq!(server.get("/of/acme/x").await.text(), "call 1 for acme");
        assert_eq!(server.get("/of/blue/x").await.text(), "call 2 for blue");
    }
    assert_eq!(server.get("/of/a%63me/x").await.status, 400);
    assert_eq!(server.get("/of").await.text(), "call 3 for nobody");
    assert_eq!(server.get("/of//x").await.text(), "call 4 for nobody");

    let calls = Calls::default();
    let cache = Cache::for_test();
    let login = axum::middleware::from_fn(async |mut request: Request, next: axum::middleware::Next| {
        // A stand-in for what checks a token.
        if let Some(token) = request.headers_mut().remove("x-token") {
            let name = token.to_str().expect("text").strip_prefix("token-of-").expect("a token");
            let tenant = Tenant::new(name).expect("a tenant");
            request.extensions_mut().insert(tenant);
        }
        next.run(request).await
    });
    let tenant = TenantLayer::new(|parts| parts.extensions.get::<Tenant>().cloned()).required();
    let app = answering(&calls, call).layer(CacheLayer::with((*cache).clone())).layer(tenant).layer(login);
    let server = Server::start(app).await;
    assert_eq!(server.get_with("/", &[("x-token", "token-of-acme")]).await.text(), "call 1 for acme");
    assert_eq!(server.get_with("/", &[("x-token", "token-of-blue")]).await.text(), "call 2 for blue");
    assert_eq!(server.get("/").await.status, 400);
}

/// Mounted the wrong way round, one tenant's response would be kept for all: it is not kept at all.
#[tokio::test]
async fn a_cache_layer_around_a_tenant_layer_keeps_nothing() {
    let (cache, calls) = (Cache::for_test(), Calls::default());
    let app = answering(&calls, call).layer(TenantLayer::header("x-tenant")).layer(CacheLayer::with((*cache).clone()));
    let server = Server::start(app).await;
    for (n, tenant) in (1..).zip(["acme", "blue", "acme"]) {
        let reply = server.get_with("/", &[("x-tenant", tenant)]).await;
        assert_eq!(reply.text(), format!("call {n} for {tenant}"));
    }
}

#[cache_read(key = "who:<id>")]
async fn who(id: u64) -> String {
    format!("{} {id}", Tenant::current().map_or("nobody".to_owned(), |tenant| tenant.to_string()))
}

/// C5: the tenant goes along into a task where it is taken along; where it is not, the source is called, and that is counted.
#[tokio::test]
async fn spawned_tasks_have_the_tenant_that_they_were_given() {
    let cache = Cache::builder().url("mem://").enforce_tenant_isolation(true).build().await.expect("a cache");
    let handler = async || {
        let carried = tokio::spawn(in_context(who(1))).await.expect("a task");
        let lost = tokio::spawn(in_context(Tenant::global(who(1)))).await.expect("a task");
        let direct = tokio::spawn(in_context(Tenant::global(async { cache_runtime::cache()?.get::<u64>("k").await })));
        let direct = direct.await.expect("a task").expect_err("no tenant").kind();
        // What it was for this request is over with the request.
        assert_eq!(direct, ErrorKind::TenantRequired);
        format!("{carried}, {lost}, {}", tokio::spawn(async { Tenant::current().is_none() }).await.expect("a task"))
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(TenantLayer::header("x-tenant"))
        .layer(ScopeLayer::new(cache.clone()));
    let server = Server::start(app).await;
    for n in 1..=2 {
        assert_eq!(server.get_with("/", &[("x-tenant", "acme")]).await.text(), "acme 1, nobody 1, true");
        assert_eq!(cache.stats().degraded_by.no_tenant, n);
    }
    assert_eq!((cache.stats().loads, cache.stats().hits), (3, 1));
    assert_eq!(Tenant::current(), None);
}

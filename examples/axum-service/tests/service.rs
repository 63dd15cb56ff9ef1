//! The program itself, on a free port: what it prints can be tried.

use std::process::Stdio;

use cache_tests::http::{Reply, send};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

#[tokio::test]
async fn the_service_does_what_it_says() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_axum-service"))
        .args(["--port", "0", "--query-ms", "1"])
        .env_remove("CACHE_URL")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program");
    let mut lines = BufReader::new(program.stdout.take().expect("its output")).lines();
    let first = lines.next_line().await.expect("output").expect("a line");
    let address = first.strip_prefix("listening on http://").expect("an address").parse().expect("an address");
    let ask = async |method: &str, path: &str, tenant: &str, body: &str| -> Reply {
        send(address, method, path, &[("x-tenant", tenant)], body).await
    };
    let loads = async |name: &str| -> u64 {
        let stats: serde_json::Value =
            serde_json::from_slice(&send(address, "GET", "/stats", &[], "").await.body).expect("JSON");
        stats["functions"][name]["loads"].as_u64().unwrap_or_default()
    };

    // Values, by tenant.
    for _ in 0..2 {
        assert!(ask("GET", "/notes/1", "acme", "").await.text().contains("note 1 of acme"));
        assert!(ask("GET", "/notes/1", "blue", "").await.text().contains("note 1 of blue"));
    }
    assert_eq!(loads("axum_service::api::read").await, 2);
    assert_eq!(ask("GET", "/notes/99", "acme", "").await.status, 404);

    // Responses, with validators.
    let page = ask("GET", "/notes?page=1&utm=x", "acme", "").await;
    assert_eq!(page.cache(), "pages; fwd=uri-miss; stored");
    let again = ask("GET", "/notes?page=1", "acme", "").await;
    assert!(again.is_hit());
    let etag = [("x-tenant", "acme"), ("if-none-match", again.header("etag").expect("a validator"))];
    assert_eq!(send(address, "GET", "/notes?page=1", &etag, "").await.status, 304);
    assert!(!ask("GET", "/notes?page=1", "blue", "").await.is_hit());

    // A change drops both, for its tenant.
    let changed = ask("PUT", "/notes/1", "acme", "buy milk").await;
    assert!(changed.text().contains("buy milk"));
    assert!(ask("GET", "/notes/1", "acme", "").await.text().contains("buy milk"));
    let page = ask("GET", "/notes?page=1", "acme", "").await;
    assert!(!page.is_hit() && page.text().contains("buy milk"));
    assert!(ask("GET", "/notes?page=1", "blue", "").await.is_hit());

    // No tenant, an impossible one, and how the service is.
    assert_eq!(send(address, "GET", "/notes/1", &[], "").await.status, 400);
    assert_eq!(ask("GET", "/notes/1", "a:b", "").await.status, 400);
    assert!(send(address, "GET", "/healthz", &[], "").await.text().contains(r#""status":"ok""#));

    // What Prometheus collects.
    let metrics = send(address, "GET", "/metrics", &[], "").await;
    for name in
        [r#"cache_hits_total{resource_type="note"}"#, "cache_entries", "cache_operation_duration_seconds_bucket"]
    {
        assert!(metrics.text().contains(name), "{name}: {}", metrics.text());
    }

    // The live page, for this machine under a name of its own.
    let local = [("host", "localhost")];
    assert!(send(address, "GET", "/cache", &local, "").await.text().contains("<title>Cache</title>"));
    assert!(send(address, "GET", "/cache/stats", &local, "").await.text().contains("axum_service::api::read"));
    assert_eq!(send(address, "GET", "/cache", &[("host", "evil.example")], "").await.status, 403);

    // It ends when it is told to, in its own time.
    let pid = program.id().expect("a process").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("a signal").success());
    assert!(program.wait().await.expect("an end").success());
}

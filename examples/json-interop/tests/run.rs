//! Runs the program as a newcomer does, on a Redis server of the test's own.

use std::process::Output;

use cache_tests::redis::Server;
use tokio::process::Command;

async fn run(url: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_json-interop"));
    command.env_remove("CACHE_URL").env_remove("REDIS_URL");
    if let Some(url) = url {
        command.env("CACHE_URL", url);
    }
    command.kill_on_drop(true).output().await.expect("the program starts")
}

/// C6
#[tokio::test]
async fn python_reads_and_invalidates_what_rust_has_cached() {
    for server in [Server::start().await, Server::options().password("p@ss word").start().await] {
        let output = run(Some(&server.url())).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let said: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let user = |name: &str| format!(r#"rust: User {{ id: 42, name: "{name}", languages: ["en", "fr"] }}"#);
        let json = |name: &str| format!(r#"python: {{"id": 42, "languages": ["en", "fr"], "name": "{name}"}}"#);
        let update = |name: &str| format!("sql: UPDATE users SET name = '{name}', by another service");
        let select = || "sql: SELECT * FROM users WHERE id = 42".to_owned();
        let wanted = [
            select(),
            user("Ada"),
            json("Ada"),
            update("Grace"),
            user("Ada"),
            "python: dropped user:42".into(),
            select(),
            user("Grace"),
            json("Grace"),
            update("Edsger"),
            "python: invalidated users".into(),
            select(),
            user("Edsger"),
        ];
        assert_eq!(said, wanted);
    }
}

#[tokio::test]
async fn without_a_server_it_says_what_is_missing() {
    let output = run(None).await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("CACHE_URL=redis://"));
}

//! Runs the program as a newcomer does, on a Redis server of the test's own.

use cache_tests::redis::Server;
use tokio::process::Command;

#[tokio::test]
async fn several_processes_load_a_cold_key_once_and_read_nothing_stale() {
    let server = Server::start().await;
    for url in [server.url(), format!("hybrid+{}", server.url())] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
        command.args(["--url", &url, "--workers", "2", "--tasks", "20", "--seconds", "1"]).kill_on_drop(true);
        let output = command.output().await.expect("the program starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("the function ran 1 ×"), "{text}");
        // In a hybrid fleet another process may read what is up to a second old: that is its promise.
        if !url.starts_with("hybrid") {
            assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            assert!(text.contains(" 0 stale reads"), "{text}");
        }
    }
}

//! The worker's side of the protocol: a line of JSON in, a line of JSON out. The commands are in `bin/cache-worker.rs`.

use std::io::{BufRead, Write, stdin, stdout};
use std::thread;

use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Runs commands from stdin, one after another, until `exit`.
///
/// A command is `{"do": name, "with": anything}` and its answer `{"ok": anything}` or `{"error": text}`. `exit` is answered
/// here. When stdin ends (the test process is gone) the process ends at once, whatever runs in it.
pub async fn serve(mut run: impl AsyncFnMut(&str, Value) -> Result<Value, String>) {
    let (sender, mut lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        std::process::exit(0);
    });
    while let Some(line) = lines.recv().await {
        let answer = match serde_json::from_str::<Value>(&line) {
            Ok(mut command) => {
                let name = command["do"].as_str().unwrap_or_default().to_owned();
                if name == "exit" {
                    return print(&json!({ "ok": null }));
                }
                run(&name, command["with"].take()).await
            }
            Err(error) => Err(format!("not a line of JSON: {error}")),
        };
        print(&match answer {
            Ok(value) => json!({ "ok": value }),
            Err(text) => json!({ "error": text }),
        });
    }
}

fn print(answer: &Value) {
    let mut out = stdout().lock();
    // A reader that is gone shows as the end of stdin.
    let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
}

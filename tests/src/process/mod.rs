//! Other processes: how they are started so that none outlives the test, and workers that run annotated functions.
//!
//! ```no_run
//! use cache_tests::process::Worker;
//! use serde_json::json;
//!
//! # async fn example(program: &str, url: &str) {
//! // In an integration test the program is `env!("CARGO_BIN_EXE_cache-worker")`.
//! let mut worker = Worker::start_with(program, [("CACHE_URL", url)]).await;
//! assert_eq!(worker.command("echo", json!({ "id": 1 })).await["id"], 1);
//! worker.kill();
//! # }
//! ```

mod guard;
mod serve;
mod worker;

pub use guard::Guard;
pub use serve::serve;
pub use worker::Worker;

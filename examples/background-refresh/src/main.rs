//! Values that are refreshed before anybody waits for them, and old values where there is nothing newer.
//!
//! ```sh
//! cargo run -p background-refresh
//! ```
//!
//! The source takes 300 ms. Only the first caller ever waits for it.
#![allow(clippy::disallowed_methods, reason = "the lint keeps the library on one clock; a program may read the time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_runtime::cache_read;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rates {
    /// Rises with every load.
    edition: u64,
}

#[derive(Debug)]
struct SourceDown;

/// A service somewhere else: slow, and now and then away.
#[derive(Default)]
struct Source {
    loads: AtomicU64,
    down: AtomicBool,
}

impl Source {
    async fn rates(&self) -> Result<Rates, SourceDown> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if self.down.load(Ordering::Relaxed) {
            println!("    (the source was asked, and failed)");
            return Err(SourceDown);
        }
        let edition = 1 + self.loads.fetch_add(1, Ordering::Relaxed);
        println!("    (the source gave edition {edition})");
        Ok(Rates { edition })
    }
}

/// | the value's age | a caller gets |
/// |---|---|
/// | to 0.5 s | the value |
/// | to 1 s | the value, and one refresh begins in the background |
/// | to 3 s | the old value at once, and one refresh begins |
/// | to 61 s | a new value; the old one where the source fails |
///
/// Work in the background owns its arguments: `&Arc<Source>` is cloned cheaply.
#[cache_read(key = "rates", ttl = "1s", early_ttl = "500ms", stale = "2s", stale_if_error = "1m", skip(source))]
async fn rates(source: &Arc<Source>) -> Result<Rates, SourceDown> {
    source.rates().await
}

/// Asks, and says how long that took.
async fn ask(what: &str, source: &Arc<Source>) -> Result<(), SourceDown> {
    let began = Instant::now();
    let answer = rates(source).await?;
    let took = began.elapsed();
    let word = if took < Duration::from_millis(150) { "at once" } else { "after a wait" };
    println!("{what}: edition {} {word}", answer.edition);
    Ok(())
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::main]
async fn main() -> Result<(), SourceDown> {
    let source = Arc::new(Source::default());
    ask("nothing there       ", &source).await?;
    ask("fresh               ", &source).await?;

    pass(600).await;
    ask("due for a refresh   ", &source).await?;
    pass(400).await;
    ask("a moment later      ", &source).await?;

    pass(1500).await;
    ask("past its ttl        ", &source).await?;
    pass(400).await;
    ask("a moment later      ", &source).await?;

    source.down.store(true, Ordering::Relaxed);
    pass(3500).await;
    ask("the source is down  ", &source).await?;

    let stats = rates::stats();
    println!(
        "{} loads, {} early answers, {} stale ones, {} errors",
        stats.loads, stats.early, stats.stale, stats.errors
    );
    Ok(())
}

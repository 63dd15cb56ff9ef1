//! Waiting on things outside of the process: polled on the real clock, with an end. What happens in the process is waited
//! for with [`until`](crate::until).

use std::time::Duration;

const EVERY: Duration = Duration::from_millis(10);

/// Asks every 10 ms until `done`.
///
/// The clock of the runtime must not be paused: a paused one is past any limit as soon as nothing else runs.
///
/// # Panics
///
/// When that does not come within `limit`, so that no test hangs.
pub async fn eventually(what: &str, limit: Duration, done: impl AsyncFnMut() -> bool) {
    assert!(within(limit, done).await, "not within {limit:?}: {what}");
}

/// As [`eventually`], for callers who have more to say about what did not come.
pub(crate) async fn within(limit: Duration, mut done: impl AsyncFnMut() -> bool) -> bool {
    let polled = async {
        while !done().await {
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::time::timeout(limit, polled).await.is_ok()
}

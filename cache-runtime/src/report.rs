//! What the cache says about itself: once per cause, and never with a value or a secret in it.

use std::collections::HashSet;
use std::sync::LazyLock;

use parking_lot::Mutex;

/// Says that the cache does less than it should, once per cause in a process.
pub(crate) fn warn_once(cause: &'static str, message: &dyn std::fmt::Display) {
    static SAID: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    if SAID.lock().insert(cause) {
        say(cause, message);
    }
}

#[cfg(feature = "tracing")]
fn say(cause: &'static str, message: &dyn std::fmt::Display) {
    tracing::warn!(cause, "{message}");
}

#[cfg(not(feature = "tracing"))]
fn say(cause: &'static str, message: &dyn std::fmt::Display) {
    eprintln!("cache-runtime: {cause}: {message}");
}

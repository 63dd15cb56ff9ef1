//! What the cache says about itself: once per cause and interval, and never with a value or a secret in it.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Nanos, after, alive_now};

/// How long a cause is not said again.
const INTERVAL: Duration = Duration::from_secs(60);

/// Says that the cache does less than it should.
pub(crate) fn warn(cause: &'static str, message: &dyn fmt::Display) {
    static NEXT: LazyLock<Mutex<HashMap<&'static str, Nanos>>> = LazyLock::new(Mutex::default);
    let now = alive_now();
    let due = {
        let mut next = NEXT.lock();
        let at = next.entry(cause).or_default();
        let due = now >= *at;
        if due {
            *at = after(now, INTERVAL);
        }
        due
    };
    if due {
        say(cause, message);
    }
}

#[cfg(feature = "tracing")]
fn say(cause: &'static str, message: &dyn fmt::Display) {
    // What matters must not be lost since the program has no subscriber.
    if tracing::dispatcher::has_been_set() {
        tracing::warn!(cause, "{message}");
    } else {
        print(cause, message);
    }
}

#[cfg(not(feature = "tracing"))]
use print as say;

fn print(cause: &'static str, message: &dyn fmt::Display) {
    eprintln!("cache-runtime: {cause}: {message}");
}

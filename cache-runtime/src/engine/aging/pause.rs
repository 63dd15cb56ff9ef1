//! Keys whose source has just failed: an old value is served for a while before it is asked again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Nanos, after, alive_now};

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Keys that are remembered at most; past it, sources are asked more often.
const LIMIT: usize = 4096;

/// Until when a key's source is left alone.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<HashMap<Box<[u8]>, Nanos, foldhash::fast::RandomState>>);

impl Pauses {
    /// Whether the source of this key is left alone now.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.0.lock().get(key).is_some_and(|until| alive_now() < *until)
    }

    /// The source of this key has failed.
    pub(crate) fn begin(&self, key: &[u8]) {
        let now = alive_now();
        let mut keys = self.0.lock();
        if keys.len() >= LIMIT {
            keys.retain(|_, until| now < *until);
        }
        if keys.len() < LIMIT {
            keys.insert(key.into(), after(now, PAUSE));
        }
    }

    /// It has not.
    pub(crate) fn end(&self, key: &[u8]) {
        self.0.lock().remove(key);
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn keys_are_held_and_let_go_and_never_too_many() {
        let pauses = Pauses::default();
        assert!(!pauses.holds(b"k"));
        pauses.begin(b"k");
        assert!(pauses.holds(b"k"));
        pauses.end(b"k");
        assert!(!pauses.holds(b"k"));
        (0..2 * LIMIT).for_each(|n| pauses.begin(&n.to_le_bytes()));
        assert_eq!(pauses.0.lock().len(), LIMIT);
    }
}

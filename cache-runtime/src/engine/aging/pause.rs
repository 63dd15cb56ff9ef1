//! Keys whose source has just failed: an old value is served for a while before it is asked again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Nanos, after, alive_now};

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Keys that are remembered at most; past it, sources are asked more often.
const LIMIT: usize = 4096;

/// Until when each key's source is left alone.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    until: HashMap<Box<[u8]>, Nanos, foldhash::fast::RandomState>,
    /// Before this none of them is over, so nobody looks for those that are.
    soonest: Nanos,
}

impl Held {
    fn is_full(&mut self, now: Nanos) -> bool {
        if self.until.len() >= LIMIT && now >= self.soonest {
            self.until.retain(|_, until| now < *until);
            self.soonest = self.until.values().copied().min().unwrap_or(Nanos::MAX);
        }
        self.until.len() >= LIMIT
    }
}

impl Pauses {
    /// Whether the source of this key is left alone now.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.holds_at(key, alive_now())
    }

    fn holds_at(&self, key: &[u8], now: Nanos) -> bool {
        self.0.lock().until.get(key).is_some_and(|until| now < *until)
    }

    /// The source of this key has failed.
    pub(crate) fn begin(&self, key: &[u8]) {
        self.begin_at(key, alive_now());
    }

    fn begin_at(&self, key: &[u8], now: Nanos) {
        let mut held = self.0.lock();
        if !held.is_full(now) {
            let until = after(now, PAUSE);
            held.soonest = held.soonest.min(until);
            held.until.insert(key.into(), until);
        }
    }

    /// It has not.
    pub(crate) fn end(&self, key: &[u8]) {
        self.0.lock().until.remove(key);
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn keys_are_held_and_let_go() {
        let pauses = Pauses::default();
        assert!(!pauses.holds_at(b"k", 0));
        pauses.begin_at(b"k", 0);
        assert!(pauses.holds_at(b"k", after(0, PAUSE) - 1));
        assert!(!pauses.holds_at(b"k", after(0, PAUSE)));
        pauses.end(b"k");
        assert!(!pauses.holds_at(b"k", 0));
    }

    #[test]
    fn there_are_never_too_many_and_room_as_soon_as_some_are_over() {
        let pauses = Pauses::default();
        let begin = |keys: std::ops::Range<usize>, now| keys.for_each(|n| pauses.begin_at(&n.to_le_bytes(), now));
        begin(0..LIMIT / 2, 0);
        begin(LIMIT / 2..2 * LIMIT, 10);
        assert_eq!(pauses.0.lock().until.len(), LIMIT);
        assert!(!pauses.holds_at(&LIMIT.to_le_bytes(), 10), "no room was left for it");
        let over = after(0, PAUSE);
        begin(LIMIT..2 * LIMIT, over);
        assert_eq!(pauses.0.lock().until.len(), LIMIT);
        assert!(pauses.holds_at(&LIMIT.to_le_bytes(), over), "what was over has made room");
        assert!(pauses.holds_at(&(LIMIT - 1).to_le_bytes(), over), "what was not over stays");
    }
}

//! What a recorder of the `metrics` facade is told: names, and counters that pass on what they count (feature `metrics`).
//! Without the feature all of this is nothing, and costs nothing.
//!
//! What is counted, and when, is decided above. No key, no tag and no tenant gets in here: labels come from the program's
//! text and from its configuration.

pub(crate) mod name;
#[cfg(feature = "metrics")]
mod told;
#[cfg(not(feature = "metrics"))]
mod untold;

#[cfg(feature = "metrics")]
pub(crate) use told::{Counter, Function, Scope};
#[cfg(not(feature = "metrics"))]
pub(crate) use untold::{Counter, Function, Scope};

#[cfg(feature = "metrics")]
use parking_lot::Mutex;

/// What the names of metrics begin with, unless the builder says otherwise.
pub(crate) const PREFIX: &str = "cache";

impl Scope {
    /// Of calls that found no cache.
    pub(crate) fn unbuilt() -> Self {
        Self::new(PREFIX, "")
    }
}

/// What a gauge with a label was published for. A recorder keeps what it was told last: of what has gone it has to be told.
#[cfg(feature = "metrics")]
#[derive(Debug, Default)]
pub(crate) struct Published(Mutex<Vec<String>>);

#[cfg(feature = "metrics")]
impl Published {
    /// These are published now; those that were and are not any more.
    pub(crate) fn replace(&self, labels: Vec<String>) -> Vec<String> {
        let mut published = self.0.lock();
        let mut before = std::mem::replace(&mut *published, labels);
        before.retain(|label| !published.contains(label));
        before
    }
}

/// What takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A call that was answered from the cache.
    Hit,
    /// The body of a function that reads.
    Load,
    /// The body of a function that writes.
    Write,
    /// A load in the background.
    Refresh,
    /// The recaches of a write.
    Recache,
    /// Making entries invalid.
    Invalidate,
    /// Waiting for who loads elsewhere.
    LeaseWait,
}

#[cfg_attr(not(all(feature = "metrics", feature = "tracing")), allow(dead_code, reason = "each asks for one of them"))]
impl Operation {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 7] =
        [Self::Hit, Self::Load, Self::Write, Self::Refresh, Self::Recache, Self::Invalidate, Self::LeaseWait];

    /// What it is called, in metrics and in spans.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Load => "load",
            Self::Write => "write",
            Self::Refresh => "refresh",
            Self::Recache => "recache",
            Self::Invalidate => "invalidate",
            Self::LeaseWait => "lease_wait",
        }
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_no_more_is_told_once() {
        let labels = |all: &[&str]| all.iter().map(|&label| label.to_owned()).collect::<Vec<String>>();
        let published = Published::default();
        assert_eq!(published.replace(labels(&["a", "b"])), labels(&[]));
        assert_eq!(published.replace(labels(&["b", "c"])), labels(&["a"]));
        assert_eq!(published.replace(labels(&["b", "c"])), labels(&[]));
    }
}

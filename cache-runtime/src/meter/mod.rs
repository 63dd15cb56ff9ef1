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

/// What the names of metrics begin with, unless the builder says otherwise.
pub(crate) const PREFIX: &str = "cache";

impl Scope {
    /// Of calls that found no cache.
    pub(crate) fn unbuilt() -> Self {
        Self::new(PREFIX, "")
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

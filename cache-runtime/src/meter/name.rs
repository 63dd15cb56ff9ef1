//! The names of all metrics, after the prefix (`cache_` unless the builder says otherwise), and what they mean.
//! `docs/guide/observability.md` lists them; a test compares it with what is exported.
#![cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "nobody is told"))]

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// Without the prefix.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $name:literal $help:literal)*) => {
        $(
            #[doc = $help]
            pub(crate) const $constant: Metric = Metric { name: $name, help: $help };
        )*
    };
}

// Of each function, by `resource_type`.
metrics! {
    HITS "hits_total" "Calls answered from the cache."
    MISSES "misses_total" "Calls that found nothing valid."
    LOADS "loads_total" "Times a function's own body ran."
    COALESCED "coalesced_total" "Callers that shared somebody else's load."
    STALE "stale_total" "Calls answered with a value past its ttl."
    EARLY "early_total" "Calls answered with a value that is to be refreshed before it expires."
    CHECKED "checked_total" "Answers that were compared with the source."
    DISAGREED "disagreed_total" "Answers that went on to differ from the source."
    ERRORS "errors_total" "Bodies that returned an error."
    ABANDONED "abandoned_total" "Bodies that panicked, or whose caller went away."
    BYPASSED "bypassed_total" "Calls that went past the cache because they asked to."
    UNSTORED "unstored_total" "Loaded values that were not kept, as asked or because they were too heavy."
    REFUSED "refused_total" "Loaded values that were not kept because something they depend on was invalidated meanwhile."
    REJECTED "rejected_total" "Entries whose bytes could not be used."
    TAKEOVERS "takeovers_total" "Times a caller took over from a leader that went away or stood still."
    LEASE_WAITS "lease_waits_total" "Calls that waited for somebody else in the fleet to load."
    LOST_LEASES "lost_leases_total" "Leases that were lost while their load ran."
    RECACHED "recached_total" "Entries that writes recached."
    RECACHE_FAILURES "recache_failures_total" "Recaches that failed or could not be started."
    INVALIDATIONS "invalidations_total" "Writes that invalidated something, and tags invalidated directly."
    DEGRADED "degraded_total" "Calls that went without the cache, by cause."
}

// Of each cache.
metrics! {
    EVICTIONS "evictions_total" "Entries that left memory, by cause."
    UNDELIVERED_TOTAL "undelivered_total" "Invalidations that could not be delivered at once."
    DURATION "operation_duration_seconds" "How long operations took; of hits, one in 64."
}

// Of each cache, when it is asked to say so.
metrics! {
    ENTRIES "entries" "Valid entries in memory."
    BYTES "bytes" "Bytes of keys and values in memory, roughly."
    FLIGHTS "flights" "Keys that are being loaded or written through."
    BACKGROUND "background_tasks" "Background tasks that run."
    UNDELIVERED "undelivered" "Names and patterns whose invalidation waits to be delivered."
    COPIES_SERVED "copies_served" "Whether copies in memory of what is on servers may be served: 1, or 0."
    COPIES_LEASE "copies_lease_seconds" "For how much longer copies may be served if no server is heard of."
    BREAKER "breaker_state" "Whether a server is used: 0 closed, 1 being tried, 2 open."
}

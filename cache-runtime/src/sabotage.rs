//! Planted bugs, for the proof that the history checker of the tests finds them. Without the feature `sabotage` nothing here
//! is reachable: [`is`] is constant. With it, `CACHE_SABOTAGE` plants one bug in the whole process; unset, none.

/// A bug that somebody could make.
#[cfg_attr(
    not(all(feature = "redis", feature = "sabotage")),
    allow(dead_code, reason = "some are made where there are servers, or where something is planted")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The nonces of cells are read after the load, not before it.
    LateNonce,
    /// A cell that is missing counts as equal.
    MissingCell,
    /// An entry is stored without asking for its lease.
    FillWithoutLease,
    /// What another server accepted counts as this one's.
    NoIdentity,
    /// A load that runs is joined without looking whether it is outdated.
    JoinBlindly,
    /// Invalidating an entry leaves its lease, and so the load that holds it.
    LeaseSurvives,
    /// An invalidation that could not be delivered is forgotten.
    ForgetUndelivered,
    /// Copies in memory are served however long a server has been silent.
    NoLease,
    /// A connection that takes the place of another does not ask to be told of changes.
    NoRearm,
    /// Copies stay when changes may have been missed.
    NoFlush,
    /// Changes that a server tells are not listened to.
    DeafToPushes,
    /// A copy is made invalid by what is pushed after the answer that it was made of, not by what overtakes it.
    LateMark,
    /// What this process changes is known to its copies only when the server tells.
    OwnUntold,
    /// A fence invalidates before the body, and marks nothing.
    NoMark,
    /// A writer that ends removes the marks of all writers.
    AllMarks,
    /// A fenced write does not wait for the copies of other processes.
    NoSettling,
}

/// Whether this bug was planted.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
pub(crate) const fn is(_: Mutation) -> bool {
    false
}

/// Whether this bug was planted.
///
/// # Panics
///
/// `CACHE_SABOTAGE` names no bug: a test of the checker would go wrong in silence.
#[cfg(feature = "sabotage")]
pub(crate) fn is(mutation: Mutation) -> bool {
    static PLANTED: std::sync::OnceLock<Option<Mutation>> = std::sync::OnceLock::new();
    *PLANTED.get_or_init(|| std::env::var("CACHE_SABOTAGE").ok().map(|name| named(&name))) == Some(mutation)
}

/// Whether this bug was planted and this is not the first time that it is asked about.
#[cfg(feature = "redis")]
pub(crate) fn is_again(mutation: Mutation) -> bool {
    static ASKED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    is(mutation) && ASKED.swap(true, std::sync::atomic::Ordering::Relaxed)
}

#[cfg(feature = "sabotage")]
fn named(name: &str) -> Mutation {
    match name {
        "late-nonce" => Mutation::LateNonce,
        "missing-cell" => Mutation::MissingCell,
        "fill-without-lease" => Mutation::FillWithoutLease,
        "no-identity" => Mutation::NoIdentity,
        "join-blindly" => Mutation::JoinBlindly,
        "lease-survives" => Mutation::LeaseSurvives,
        "forget-undelivered" => Mutation::ForgetUndelivered,
        "no-lease" => Mutation::NoLease,
        "no-rearm" => Mutation::NoRearm,
        "no-flush" => Mutation::NoFlush,
        "deaf-to-pushes" => Mutation::DeafToPushes,
        "late-mark" => Mutation::LateMark,
        "own-untold" => Mutation::OwnUntold,
        "no-mark" => Mutation::NoMark,
        "all-marks" => Mutation::AllMarks,
        "no-settling" => Mutation::NoSettling,
        _ => panic!("CACHE_SABOTAGE names no planted bug: {name}"),
    }
}

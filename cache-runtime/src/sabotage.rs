//! Planted bugs, for the proof that the history checker of the tests finds them. Without the feature `sabotage` nothing here
//! is reachable: [`is`] is constant. With it, `CACHE_SABOTAGE` plants one bug in the whole process; unset, none.

/// A bug that somebody could make.
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "one of them is made there"))]
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
        _ => panic!("CACHE_SABOTAGE names no planted bug: {name}"),
    }
}

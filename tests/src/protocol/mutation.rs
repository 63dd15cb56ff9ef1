//! Mistakes that can be planted. Each was made somewhere, or is one that a first implementation makes.

/// One mistake in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A load reads its cells when it ends.
    NonceAfterLoad,
    /// A cell that is not there fits every entry.
    MissingCellIsEqual,
    /// A fill does not ask whether its lease is still held.
    FillWithoutLease,
    /// Invalidating counts up instead of drawing a new nonce.
    CounterForNonce,
    /// Bytes of another server are believed.
    NoIdentity,
    /// Who comes joins the load that runs, whatever was invalidated since.
    BlindJoin,
    /// Who comes joins a load that knows no nonces, since its cells were marked.
    JoinOfUnverifiable,
    /// The L1 serves as long as the link looks up.
    NoLease,
    /// The lease of the L1 runs from when the answer came, not from when the question went.
    LeaseFromAnswer,
    /// Pushes are handled by another task than answers.
    AnswerOvertakesPush,
    /// Local cells are taken when the value is put into the L1, not before the read.
    NoPendingMark,
    /// A new link does not ask for pushes.
    NoRearm,
    /// What is in the L1 outlives the link that would have told of its end.
    NoFlush,
    /// An own fill is not followed by a tracked read.
    UntrackedFill,
    /// A cell that was just made is not read on the tracked link.
    UntrackedEnsure,
    /// A writer relies on the push to its own process.
    NoLocalKill,
    /// A writer kills its local cells before the delivery, and not after it.
    LocalKillBeforeDelivery,
    /// What could not be delivered is forgotten.
    ForgottenDelivery,
    /// A late delivery ends the distrust, and kills no local cells.
    LateDeliveryWithoutKill,
    /// A reader makes a new nonce over a mark.
    EnsureOverMark,
    /// Who replaces an entry takes the lease over a mark.
    StealOverMark,
    /// An invalidation removes the marks of others.
    DropRemovesMarks,
    /// A writer's end removes all marks.
    EndRemovesAllMarks,
    /// A fenced write returns when its invalidation is acknowledged.
    FenceWithoutWait,
    /// A writer that finds its mark gone returns as if it had been there.
    LostFenceUnnoticed,
    /// A renewal that finds the mark gone puts it back as if it had been there.
    RenewalHidesLoss,
    /// A mark on a key's lease leaves its entry.
    MarkLeavesEntry,
}

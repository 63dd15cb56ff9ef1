//! Each planted mistake breaks a promise, in the shortest way there is. Run with `--nocapture` to read how.

use cache_tests::protocol::{Mutation, Promise, Scenario, explore};

use super::world;

/// Plants `mutation` in `world`, and expects that `promise` is broken there.
fn breaks(world: Scenario, mutation: Mutation, promise: Promise) {
    let found = explore(&world.with(mutation), 3_000_000);
    let violation = found.violation.unwrap_or_else(|| panic!("{mutation:?} does no harm in: {}", world.name));
    println!("{mutation:?}, in: {} ({} states)\n{violation}", world.name, found.states);
    assert_eq!(violation.promise, promise, "{mutation:?}");
}

macro_rules! breaks {
    ($($name:ident: $mutation:ident in $world:ident breaks $promise:ident;)+) => {
        $(#[test]
        fn $name() {
            breaks(world::$world, Mutation::$mutation, Promise::$promise);
        })+
    };
}

breaks! {
    a_nonce_read_after_the_load: NonceAfterLoad in TAG breaks Resurrection;
    a_missing_cell_that_counts_as_equal: MissingCellIsEqual in TAG breaks Acknowledged;
    a_fill_without_its_lease: FillWithoutLease in KEY breaks Resurrection;
    a_counter_instead_of_a_nonce: CounterForNonce in TAG breaks Resurrection;
    no_identity: NoIdentity in RESTART_TAG breaks Resurrection;
    no_identity_by_key: NoIdentity in RESTART_KEY breaks Resurrection;
    joining_a_load_from_before_the_write: BlindJoin in SHARED_TAG breaks Acknowledged;
    joining_a_load_from_before_a_fenced_commit: JoinOfUnverifiable in FENCE_SHARED breaks FencedCommit;
    an_l1_without_a_lease: NoLease in L1_TAG breaks Bounded;
    a_lease_that_runs_from_the_answer: LeaseFromAnswer in L1_TAG breaks Bounded;
    an_answer_that_overtakes_a_push: AnswerOvertakesPush in L1_TAG breaks Bounded;
    no_pending_mark: NoPendingMark in L1_TAG breaks Bounded;
    no_arming_after_a_reconnect: NoRearm in L1_TAG breaks Bounded;
    no_flush_after_a_lost_link: NoFlush in L1_TAG breaks Bounded;
    a_fill_without_a_tracked_read: UntrackedFill in L1_KEY breaks Bounded;
    a_new_cell_without_a_tracked_read: UntrackedEnsure in L1_TAG breaks Bounded;
    an_own_write_without_the_local_kill: NoLocalKill in L1_OWN breaks Own;
    a_local_kill_before_the_delivery_only: LocalKillBeforeDelivery in L1_OWN breaks Own;
    an_undelivered_invalidation_that_is_forgotten: ForgottenDelivery in UNDELIVERED breaks Own;
    a_late_delivery_without_the_local_kill: LateDeliveryWithoutKill in L1_OWN breaks Own;
    an_ensure_over_a_mark: EnsureOverMark in FENCE breaks FencedCommit;
    a_lease_stolen_over_a_mark: StealOverMark in FENCE_KEY breaks FencedCommit;
    an_invalidation_that_removes_the_marks_of_others: DropRemovesMarks in FENCE breaks FencedCommit;
    an_end_that_removes_all_marks: EndRemovesAllMarks in FENCE_TWICE breaks FencedCommit;
    a_fence_that_returns_at_once: FenceWithoutWait in FENCE_L1 breaks FencedReturn;
    a_lost_fence_that_returns_at_once: LostFenceUnnoticed in FENCE_LOST breaks FencedReturn;
    a_renewal_that_hides_a_loss: RenewalHidesLoss in FENCE_LOST breaks FencedReturn;
    a_mark_that_leaves_the_entry: MarkLeavesEntry in FENCE_KEY breaks FencedCommit;
}

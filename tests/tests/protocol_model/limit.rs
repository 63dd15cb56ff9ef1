//! What is not promised, and would not hold. Run with `--nocapture` to read why.

use cache_tests::protocol::{Faults, Promise, Scenario, explore};

use super::world;

/// A mark is a key like another: a server that is full may evict it, and a writer that is too slow may not renew it. A writer
/// that then dies between its commit and its invalidation leaves what others have stored meanwhile.
#[test]
fn a_writer_that_dies_after_it_lost_its_mark_leaves_something_stale() {
    let faults = Faults { crashes: 1, ..world::FENCE_LOST.faults };
    let found = explore(&Scenario { strict: true, faults, ..world::FENCE_LOST }, 1_000_000);
    let violation = found.violation.expect("the mark is lost");
    println!("{violation}");
    assert_eq!(violation.promise, Promise::FencedCommit);
}

/// Between the commit and its invalidation nobody hears of a plain write.
#[test]
fn a_plain_write_that_dies_in_mid_write_leaves_something_stale() {
    let found = explore(&Scenario { strict: true, writers: [Some((2, false)), None], ..world::FENCE_L1 }, 1_000_000);
    let violation = found.violation.expect("nothing was invalidated");
    println!("{violation}");
    assert_eq!(violation.promise, Promise::FencedCommit);
}

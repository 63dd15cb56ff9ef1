//! The promises are kept in all worlds, and what they are about does happen there.

use cache_tests::protocol::{Scenario, Sight, explore};

use super::world;

/// More states than any world has: a change that makes one explode is noticed.
const LIMIT: usize = 1_000_000;

/// Searches `world`; it has to be clean, and to show `sights`.
fn keeps(world: Scenario, sights: &[Sight]) {
    let found = explore(&world, LIMIT);
    println!("{}: {} states, {} steps, depth {}", world.name, found.states, found.steps, found.depth);
    if let Some(violation) = found.violation {
        panic!("{}\n{violation}", world.name);
    }
    let unseen: Vec<_> = sights.iter().filter(|sight| !found.sights.has(**sight)).collect();
    assert!(unseen.is_empty(), "{}: never seen: {unseen:?}", world.name);
}

/// The worlds that tell most, with a call more of each reader and a second write.
#[test]
#[ignore = "about four minutes, less with --release"]
fn larger_worlds() {
    for world in [world::TAG, world::KEY, world::L1_TAG, world::L1_KEY, world::FENCE_L1, world::FENCE_KEY] {
        let mut larger = world;
        larger.readers.iter_mut().filter(|(_, calls)| *calls > 0).for_each(|(_, calls)| *calls += 1);
        larger.writers[1] = larger.writers[1].or(Some((2, false)));
        let found = explore(&larger, 30_000_000);
        println!("larger: {}: {} states, {} steps, depth {}", world.name, found.states, found.steps, found.depth);
        if let Some(violation) = found.violation {
            panic!("{}\n{violation}", world.name);
        }
    }
}

macro_rules! kept {
    ($($name:ident: $world:ident sees $($sight:ident)+;)+) => {
        $(#[test]
        fn $name() {
            keeps(world::$world, &[$(Sight::$sight),+]);
        })+
    };
}

kept! {
    a_tag: TAG sees HitL2 Filled Unstored Dead;
    a_key: KEY sees HitL2 Filled Refused Unstored;
    three_readers_of_which_one_replaces: THREE sees HitL2 Filled Refused Unstored Dead DiedInMidWrite;
    shared_loads_of_a_tag: SHARED_TAG sees HitL2 Filled Joined NotJoined Dead;
    shared_loads_of_a_key: SHARED_KEY sees HitL2 Filled Refused Joined NotJoined;
    an_undelivered_invalidation: UNDELIVERED sees HitL2 Bypassed Joined DiedInMidWrite;
    a_restart_and_a_tag: RESTART_TAG sees HitL2 Filled Refused Foreign Dead;
    a_restart_and_a_key: RESTART_KEY sees HitL2 Filled Refused Foreign;
    an_l1_and_a_tag: L1_TAG sees WithinBound HitL1 HitL2 Promoted DeadOnArrival Lapsed Pushed Reconnected Dead;
    an_l1_and_a_key: L1_KEY sees WithinBound HitL1 HitL2 Promoted DeadOnArrival Lapsed Pushed Reconnected Refused;
    an_l1_beside_a_process_without_one: L1_BESIDE sees WithinBound HitL1 HitL2 Promoted DeadOnArrival Pushed Unstored;
    two_l1s: L1_TWICE sees WithinBound HitL1 HitL2 Promoted DeadOnArrival Pushed Unstored;
    shared_loads_and_an_l1: L1_SHARED sees HitL1 Joined NotJoined;
    an_own_write_and_a_tag: L1_OWN sees HitL1 HitL2 Bypassed DeadOnArrival Pushed;
    an_own_write_and_a_key: L1_OWN_KEY sees HitL1 HitL2 Bypassed DeadOnArrival;
    a_restart_and_an_l1: L1_RESTART sees HitL1 Foreign Reconnected;
    a_fence_and_a_tag: FENCE sees HitL2 Marked Unstored MarkExpired DiedInMidWrite ReadAhead FenceLost;
    a_fence_and_a_key: FENCE_KEY sees HitL2 Marked Unstored MarkExpired DiedInMidWrite ReadAhead FenceLost;
    two_fences_and_a_tag: FENCE_TWICE sees HitL2 Marked Unstored MarkExpired DiedInMidWrite ReadAhead;
    two_fences_and_a_key: FENCE_TWICE_KEY sees HitL2 Marked Unstored MarkExpired DiedInMidWrite ReadAhead;
    shared_loads_and_a_fence_on_a_tag: FENCE_SHARED sees HitL2 Joined NotJoined Marked DiedInMidWrite;
    shared_loads_and_a_fence_on_a_key: FENCE_SHARED_KEY sees HitL2 Joined NotJoined Marked DiedInMidWrite;
    a_fence_an_l1_and_a_tag: FENCE_L1 sees HitL1 Marked Pushed Lapsed DeadOnArrival DiedInMidWrite;
    a_fence_an_l1_and_a_key: FENCE_L1_KEY sees HitL1 Marked Pushed Lapsed DeadOnArrival DiedInMidWrite;
    a_lost_fence_and_a_tag: FENCE_LOST sees HitL1 FenceLost;
    a_lost_fence_and_a_key: FENCE_LOST_KEY sees HitL1 FenceLost Foreign;
    an_own_fenced_write: FENCE_OWN sees HitL1 Marked Bypassed;
}

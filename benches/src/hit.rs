//! Hits: annotated functions beside bare maps and `cached`.

use crate::data::{HOT, KEYS, User, ZIPF, id_of_rank, org_of};
use crate::harness::{Group, RUNTIME, Run, one_task, two_threads};
use crate::{ours, peer};

const QUICK: &str = "bare quick_cache, stack-built key";
const MOKA: &str = "bare moka, stack-built key";

async fn ours_global(id: u64) -> std::sync::Arc<User> {
    ours::shared(id, org_of(id)).await
}

fn shared(title: &'static str, run: fn(&'static [u32], Which) -> Run, ids: &'static [u32]) -> Group {
    use Which::*;
    Group::new(title)
        .case(QUICK, run(ids, Quick))
        .case("ours, quick_cache, the global cache", run(ids, Ours))
        .case("ours, quick_cache, `cache = expr`", run(ids, OursNamed))
        .case("ours, moka, `cache = expr`", run(ids, OursMoka))
        .case(MOKA, run(ids, Moka))
        .case("bare moka with time_to_live", run(ids, MokaTtl))
        .case("cached, concurrent_cached(max_size, ttl), u64", run(ids, CachedNumber))
        .case("cached, the same, String key", run(ids, CachedText))
        .case("cached, the same, String key, async fn", run(ids, CachedTextAsync))
        .case("papaya (a map: no bound, ttl, recency)", run(ids, Papaya))
}

#[derive(Clone, Copy)]
enum Which {
    Quick,
    Ours,
    OursNamed,
    OursMoka,
    Moka,
    MokaTtl,
    CachedNumber,
    CachedText,
    CachedTextAsync,
    Papaya,
}

/// The cases that return `Arc<User>`, each with its own type, so that calls are direct.
macro_rules! runs {
    ($name:ident, $run:ident) => {
        fn $name(ids: &'static [u32], which: Which) -> Run {
            match which {
                Which::Quick => $run(ids, peer::quick),
                Which::Ours => $run(ids, ours_global),
                Which::OursNamed => $run(ids, async |id| ours::shared_named(id, org_of(id)).await),
                Which::OursMoka => $run(ids, async |id| ours::shared_moka(id, org_of(id)).await),
                Which::Moka => $run(ids, peer::moka),
                Which::MokaTtl => $run(ids, peer::moka_ttl),
                Which::CachedNumber => $run(ids, async |id| peer::cached_number(id)),
                Which::CachedText => $run(ids, async |id| peer::cached_text(id)),
                Which::CachedTextAsync => $run(ids, peer::cached_text_async),
                Which::Papaya => $run(ids, peer::papaya),
            }
        }
    };
}
runs!(alone, one_task);
runs!(contended, two_threads);

pub(crate) fn groups() -> Vec<Group> {
    ours::init();
    fill();
    vec![
        shared("hit: Arc<User>, 10 000 keys zipf, one task", alone, &ZIPF),
        shared("hit: Arc<User>, one hot key, one task", alone, &HOT),
        shared("hit: Arc<User>, one hot key, two threads (ns of one thread)", contended, &HOT),
        shared("hit: Arc<User>, 10 000 keys zipf, two threads (ns of one thread)", contended, &ZIPF),
        by_value("hit: User by value, 10 000 keys zipf, one task", &ZIPF),
        by_value("hit: User by value, one hot key, one task", &HOT),
    ]
}

/// The cases that return `User`. Each is called by an async function, so that the value takes the same way.
fn by_value(title: &'static str, ids: &'static [u32]) -> Group {
    Group::new(title)
        .case("bare quick_cache of User, stack-built key", one_task(ids, async |id| peer::quick_by_value(id).await))
        .case("bare quick_cache of Arc<User>, cloned", one_task(ids, async |id| peer::quick_behind_arc(id).await))
        .case("User::clone alone", one_task(ids, peer::clone_alone))
        .case("ours, quick_cache, the global cache", one_task(ids, async |id| ours::by_value(id, org_of(id)).await))
        .case("ours, Arc<User>, cloned", one_task(ids, async |id| User::clone(&*ours::shared(id, org_of(id)).await)))
        .case("ours, moka, `cache = expr`", one_task(ids, async |id| ours::by_value_moka(id, org_of(id)).await))
        .case(
            "cached, concurrent_cached(max_size, ttl), u64",
            one_task(ids, async |id| peer::cached_number_by_value(id)),
        )
        .case("cached, the same, String key", one_task(ids, async |id| peer::cached_text_by_value(id)))
}

/// Every cache holds every key before anything is measured. One after the other, so that what belongs to one cache lies
/// together in memory, as it does in a program that has one.
fn fill() {
    macro_rules! fill {
        ($($call:expr;)*) => {
            RUNTIME.block_on(async {
                $(for id in (0..KEYS).map(id_of_rank) {
                    let call = $call;
                    call(id).await;
                })*
            });
        };
    }
    fill! {
        async |id| drop(ours::shared(id, org_of(id)).await);
        async |id| drop(ours::shared_moka(id, org_of(id)).await);
        async |id| drop(ours::memoized(id));
        async |id| drop(ours::memoized_auto(id));
        peer::quick;
        peer::quick_by_value;
        peer::moka;
        peer::moka_ttl;
        peer::papaya;
        async |id| drop(peer::cached_number(id));
        async |id| drop(peer::cached_text(id));
        peer::cached_text_async;
        async |id| drop(peer::cached_number_by_value(id));
        async |id| drop(peer::cached_text_by_value(id));
        peer::clone_alone;
        // The same entries again: these run no loader.
        async |id| drop(ours::shared_named(id, org_of(id)).await);
        async |id| drop(ours::by_value(id, org_of(id)).await);
        async |id| drop(ours::by_value_moka(id, org_of(id)).await);
    }
}

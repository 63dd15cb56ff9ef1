//! The history checker at work: random runs of real processes under faults, and the proof that it finds planted bugs.
//!
//! `CACHE_STRESS_SECONDS=600` makes random runs go on for as long, with a new seed every few seconds;
//! `CACHE_HISTORY_SEED=7` replays the schedule of one seed. `docs/consistency.md` says what is proven.

mod mutation;

use std::time::Duration;

use cache_tests::history::{Backend, Coverage, Plan, Round, random};

const PROGRAM: &str = env!("CARGO_BIN_EXE_history-worker");

/// One round. Longer runs are more rounds: each one has a server and a database of its own, and its history is checked at its
/// end.
const ROUND: Duration = Duration::from_secs(4);

/// Seeds of the short run.
const SEEDS: [u64; 2] = [1, 2];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The seeds of this run: those of the short one, the one that is replayed, or as many as there is time for.
fn seeds() -> Vec<u64> {
    if let Some(seed) = number("CACHE_HISTORY_SEED") {
        return vec![seed];
    }
    match number("CACHE_STRESS_SECONDS") {
        Some(seconds) => {
            let first = u64::from(std::process::id()) << 16;
            (0..(seconds / ROUND.as_secs()).max(1)).map(|round| first + round).collect()
        }
        None => SEEDS.to_vec(),
    }
}

async fn prove(backend: Backend) {
    let mut seen = Coverage::default();
    let seeds = seeds();
    for seed in &seeds {
        let plan = Plan { program: PROGRAM, backend, seed: *seed, length: ROUND, workers: 3, environment: &[] };
        let Round { checked, faults } = random(plan).await;
        let coverage = checked.unwrap_or_else(|report| panic!("{report}"));
        println!("{backend:?}, seed {seed}: {faults} faults, {coverage:?}");
        seen += coverage;
    }
    let Coverage { reads, hits, obliged_hits, acknowledged, kept, crashed, .. } = seen;
    assert!(reads > 1_000 && hits > 200 && obliged_hits > 50, "the cache was hardly used: {seen:?}");
    assert!(acknowledged > 50 && kept > 10, "too few writes: {seen:?}");
    assert!(seeds.len() < 2 || crashed > 0, "no process died in mid-write: {seen:?}");
}

/// P1 P3 P4 P5
#[tokio::test]
async fn nothing_stale_is_read_from_redis_whatever_breaks() {
    prove(Backend::Redis).await;
}

/// P1 P3 P4 P5 N5
#[tokio::test]
async fn nothing_stale_is_read_from_a_hybrid_cache_whatever_breaks() {
    prove(Backend::Hybrid).await;
}

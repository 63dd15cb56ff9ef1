//! Invalidating a tag, by how much it covers.

use std::sync::Arc;

use cache_runtime::{Cache, cache_read};

use crate::harness::{Plan, RUNTIME, Spread, now, ratios};

const SIZES: [u64; 4] = [1, 1_000, 100_000, 1_000_000];
/// Filling a million entries takes longer than all that is measured.
const ROUNDS: usize = 9;

#[cache_read(cache = cache, key = "covered:<size>:<n>", ttl = "1h", tags = ["size:<size>"], skip(cache))]
async fn covered(cache: &Cache, size: u64, n: u64) -> Arc<u64> {
    Arc::new(n)
}

pub(crate) fn measure(plan: &Plan) {
    let title = "invalidation: one tag, by the entries under it";
    if !plan.wants(title) {
        return;
    }
    let mut micros: [Vec<f64>; SIZES.len()] = Default::default();
    RUNTIME.block_on(async {
        let cache = Cache::builder().ignore_env().max_items(4_000_000).build().await.expect("the settings are usable");
        let mut coldness = vec![0_u8; 64 << 20];
        for round in 0..plan.rounds.min(ROUNDS) + 1 {
            for size in SIZES {
                for n in 0..size {
                    covered(&cache, size, n).await;
                }
            }
            // A million entries leave nothing in the processor's caches, so one entry shall not either.
            for (micros, size) in micros.iter_mut().zip(SIZES) {
                coldness.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
                let tag = format!("size:{size}");
                let start = now();
                cache.invalidate(&tag).await.expect("a memory cache can be used");
                let took = start.elapsed();
                assert!(
                    covered::peek(&cache, size, 0).await.is_ok_and(|found| found.is_none()),
                    "{tag} was invalidated"
                );
                // The first round warms up.
                if round > 0 {
                    micros.push(took.as_secs_f64() * 1e6);
                }
            }
        }
    });
    println!("\n### {title}\n");
    println!("| {:44} | {:>8} | {:>8} | {:>8} | {:>6} |", "entries", "median", "min", "max", "ratio");
    println!("|{:-<46}|{0:->9}:|{0:->9}:|{0:->9}:|{0:->7}:|", "");
    for (size, this) in SIZES.iter().zip(&micros) {
        let spread = Spread::of(this);
        let ratio = Spread::of(&ratios(this, &micros[0])).median;
        println!(
            "| {:44} | {:5.2} µs | {:5.2} µs | {:5.2} µs | {:>6.2} |",
            size, spread.median, spread.min, spread.max, ratio
        );
    }
}

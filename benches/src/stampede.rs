//! Ten thousand callers of one cold key.

use std::time::Duration;

use crate::harness::{Plan, RUNTIME, Spread, now, ratios};
use crate::{data, ours, peer};

/// How long the loader takes.
pub(crate) const LOADER: Duration = Duration::from_millis(50);
const CALLERS: usize = 10_000;

struct Crowd {
    name: &'static str,
    run: Box<dyn Fn(u64)>,
    millis: Vec<f64>,
    loads: Vec<u64>,
}

fn crowd<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    name: &'static str,
    call: impl Fn(u64) -> F + 'static,
) -> Crowd {
    let run = move |round| {
        RUNTIME.block_on(async {
            let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(call(round))).collect();
            for caller in callers {
                caller.await.expect("no loader panics");
            }
        });
    };
    Crowd { name, run: Box::new(run), millis: Vec::new(), loads: Vec::new() }
}

pub(crate) fn measure(plan: &Plan) {
    let title = "stampede: 10 000 callers of one cold key, loader of 50 ms";
    if !plan.wants(title) {
        return;
    }
    let mut crowds = [
        crowd("floor: as many tasks that sleep 50 ms", |_| tokio::time::sleep(LOADER)),
        crowd("ours, quick_cache", ours::slow),
        crowd("ours, moka", ours::slow_moka),
        crowd("quick_cache, get_or_insert_async", peer::slow_quick),
        crowd("moka::future, get_with", peer::slow_moka),
        crowd("cached(sync_writes = \"by_key\")", peer::slow_cached),
    ];
    for round in 0..plan.rounds as u64 + 1 {
        for crowd in &mut crowds {
            let loads = data::loads();
            let start = now();
            (crowd.run)(round);
            // The first round warms up.
            if round > 0 {
                crowd.millis.push(start.elapsed().as_secs_f64() * 1e3);
                crowd.loads.push(data::loads() - loads);
            }
        }
    }
    println!("\n### {title}\n");
    println!("| {:44} | {:>8} | {:>8} | {:>8} | {:>6} | {:>6} |", "case", "median", "min", "max", "ratio", "loads");
    println!("|{:-<46}|{0:->9}:|{0:->9}:|{0:->9}:|{0:->7}:|{0:->7}:|", "");
    for crowd in &crowds {
        let spread = Spread::of(&crowd.millis);
        let ratio = Spread::of(&ratios(&crowd.millis, &crowds[0].millis)).median;
        println!(
            "| {:44} | {:5.1} ms | {:5.1} ms | {:5.1} ms | {:>6.2} | {:>6} |",
            crowd.name,
            spread.median,
            spread.min,
            spread.max,
            ratio,
            crowd.loads.iter().max().copied().unwrap_or(0)
        );
    }
}

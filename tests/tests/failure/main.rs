//! P4, P5: what happens when what fails. Every fault of `docs/failure.md`, made with real servers and a proxy, under every
//! kind of call, on Redis and with copies in memory in front of it.
//!
//! `table` says what each call comes to; `fault` makes the faults; `run` has all calls made while a fault lasts, and looks at
//! the whole after it; `probe` counts what is sent to a server that is away.

#[path = "../fleet/mod.rs"]
mod fleet;

mod call;
mod fault;
mod probe;
mod run;
mod table;

use std::thread;
use std::time::Duration;

use table::Row;

/// P4, P5
#[test]
fn what_happens_when_the_network_fails() {
    all(&table::NETWORK);
}

/// P4, P5
#[test]
fn what_happens_when_a_server_fails() {
    all(&table::SERVER);
}

/// P4, P5
#[test]
fn what_happens_when_one_of_several_servers_fails() {
    all(&table::SEVERAL);
}

/// Each fault on a thread and a runtime of its own, so that what is left behind can be counted. With `CACHE_STRESS_SECONDS`,
/// again and again, with other numbers of connections; with `CACHE_FAULT`, those whose names have this in them.
fn all(rows: &'static [Row]) {
    let seconds = std::env::var("CACHE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let ends = fleet::now() + Duration::from_secs(seconds);
    let only = std::env::var("CACHE_FAULT").ok();
    for round in 0_u32.. {
        let wanted = |row: &&Row| only.as_ref().is_none_or(|only| format!("{:?}", row.fault).contains(only));
        let one = |row: &'static Row| {
            let work = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(run::run(row, 1 + (round + 1) % 3));
            };
            (row.name(), thread::Builder::new().name(format!("{:?}", row.fault)).spawn(work).unwrap())
        };
        let running: Vec<_> = rows.iter().filter(wanted).map(one).collect();
        let failed: Vec<_> =
            running.into_iter().filter_map(|(name, thread)| thread.join().is_err().then_some(name)).collect();
        assert!(failed.is_empty(), "see above: {failed:?}");
        if fleet::now() >= ends {
            return;
        }
    }
}

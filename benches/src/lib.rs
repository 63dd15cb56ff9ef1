//! The project beside its peers, in one run: what is measured, and in which order. How to read it is in `README.md`.

mod data;
mod harness;
mod hit;
mod http;
mod invalidation;
mod key;
mod ours;
mod peer;
mod stampede;

use std::process::ExitCode;

use harness::Plan;

/// Runs what the arguments ask for and prints it. Fails where a case that should only hit ran a loader.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let plan = match Plan::parse(arguments) {
        Ok(plan) => plan,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    harness::preamble(&plan);
    let mut groups = hit::groups();
    groups.extend(key::groups());
    groups.extend(http::groups());
    let in_nanos = harness::nanos(&plan, groups);
    stampede::measure(&plan);
    invalidation::measure(&plan);
    if in_nanos { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! Annotated functions in front of a real SQLite database: the same load without and then with the cache.
//!
//! - `service.rs`: the annotated functions. Begin there.
//! - `db.rs`: the database and its queries.
//! - `load.rs`, `check.rs`: the load, and what makes sure that no read is stale.
//! - `table.rs`: what is printed.
//! - `chaos.rs`, `chart.rs`: a network that breaks while the load runs, and how the service took it.
//!
//! Here is what happens, in order.

mod chaos;
mod chart;
mod check;
mod db;
mod load;
mod service;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, Engine};
use clap::{Parser, ValueEnum};

use chaos::Chaos;
use chart::Chart;
use check::Check;
use db::{Db, Size};
use load::{Plan, Zipf};
use table::{Progress, grouped};

/// Runs the same load on a SQLite database without and then with the cache, and checks that no read is stale
#[derive(Parser)]
#[command(
    name = "quickstart",
    after_help = "Exit code: 0 no read was stale; 1 some were, or the database failed; 2 an option cannot be used."
)]
struct Options {
    /// How long each of the two runs takes, in seconds (with `--chaos`: how long the second takes, 25 unless said)
    #[arg(long, default_value_t = 3, default_value_if("chaos", "true", "25"), value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Tasks that send requests at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    tasks: u64,
    /// Where entries are kept: `mem://`, `redis://localhost:6379`, `redis+cluster://..`, `redis+sentinel://..`
    #[arg(long, default_value = "mem://")]
    url: String,
    /// The map that keeps the entries in memory
    #[arg(long, value_enum, default_value = "quick_cache")]
    engine: EngineName,
    /// Users in the database, with ten orders each
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    users: u64,
    /// Another seed makes other data and other requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Break the network to the Redis server of `--url` in several ways while the load runs, and draw what comes of it
    #[arg(long)]
    chaos: bool,
    /// Write past the annotated functions, so that nothing is invalidated: shows that the check finds stale reads
    #[arg(long, env = "QUICKSTART_BREAK_INVALIDATION", value_parser = clap::builder::BoolishValueParser::new())]
    break_invalidation: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineName {
    #[value(name = "quick_cache")]
    QuickCache,
    #[value(name = "moka")]
    Moka,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // Four threads that may block: so many connections has the database.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(4).build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(options))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    // 1. A database. The folder goes away with `folder`.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("quickstart.db");
    let size = Size::of(options.users);
    let db = Db::create(file.clone(), size, options.seed).await?;
    let (orders, users, orgs) = (grouped(size.orders), grouped(size.users), grouped(size.orgs));
    println!("SQLite database {}: {orders} orders of {users} users in {orgs} organisations", file.display());

    // 2. The cache: once, at start-up. Annotated functions find it.
    let engine = match options.engine {
        EngineName::QuickCache => Engine::QuickCache,
        EngineName::Moka => Engine::Moka,
    };
    let chaos = if options.chaos { Some(Chaos::before(&options.url).await?) } else { None };
    let url = chaos.as_ref().map_or(&options.url, |chaos| &chaos.url);
    let cache = Cache::builder().url(url).engine(engine).max_items(100_000).prefix("quickstart");
    // The database is a new one in each run, and a server may still have the entries of the last.
    let cache = cache.version(format!("run-{:016x}", fastrand::u64(..))).build().await?;
    cache_runtime::init(cache.clone())?;
    match cache.info().await {
        Ok(info) => println!("Entries are kept in: {}", info.backend),
        Err(error) => println!("No server answers there, so every call goes to the database: {error}"),
    }

    // 3. The load, without and with the cache.
    let check = Arc::new(Check::new(size.users, size.orgs));
    let time = Duration::from_secs(options.seconds);
    let plan = |time| {
        Arc::new(Plan {
            tasks: options.tasks,
            time,
            seed: options.seed,
            users: Zipf::new(size.users, options.seed),
            orgs: Zipf::new(size.orgs, options.seed),
            break_invalidation: options.break_invalidation,
        })
    };
    println!(
        "{} tasks, 99 % reads and 1 % writes, {} s for each run, engine {engine}\n",
        options.tasks, options.seconds
    );
    if options.break_invalidation {
        println!("Invalidation is broken on purpose: stale reads are to be expected.\n");
    }

    let off = Cache::builder().url("mem://").enabled(false).build().await?;
    let calm = if options.chaos { time.min(Duration::from_secs(3)) } else { time };
    let bar = Progress::new("without the cache", calm);
    let without = load::run(&plan(calm), &db, &check, Some(&off), |tick| bar.show(tick)).await?;
    bar.end(without.reads);

    let bar = Progress::new("with the cache", time);
    let mut chart = Chart::new(time);
    let plan = plan(time);
    let running = load::run(&plan, &db, &check, None, |tick| {
        bar.show(tick);
        chart.add(tick);
    });
    let reign = async {
        if let Some(chaos) = &chaos {
            chaos.reign(time).await;
        }
    };
    let (with, ()) = tokio::join!(running, reign);
    let with = with?;
    bar.end(with.reads);

    // 4. What came of it.
    println!();
    if options.chaos {
        chart.print(without.reads as f64 / without.time.as_secs_f64());
        let stats = cache.stats();
        println!(
            "  {} calls went past the cache; {} invalidations had to wait for the server",
            grouped(stats.degraded),
            grouped(stats.undelivered_total)
        );
        println!();
    }
    table::print(&without, &with, &cache.stats());
    if cfg!(debug_assertions) {
        println!("  A build without optimisation; `cargo run --release -p quickstart` is quicker.");
    }
    println!();
    table::print_catalogue(&cache_runtime::catalogue());
    if let Err(error) = cache.close().await {
        println!("\n{error}");
    }

    if without.stale + with.stale > 0 {
        println!("\nSTALE READS. For example:");
        without.examples.iter().chain(&with.examples).take(3).for_each(|example| println!("  {example}"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

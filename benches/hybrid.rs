//! A hybrid cache beside the embedded one and beside Redis alone, in one run: `cargo bench -p cache-benches --bench hybrid`.
//!
//! As in `redis`, cases take turns in short rounds, and medians and their ratios are printed. `-- --quick` runs so few that
//! it shows only that everything runs.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use cache_runtime::{Builder, Cache, cache_read, cache_write};
use cache_tests::redis::Server;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Page {
    id: u64,
    title: String,
    body: String,
}

/// What a loader reads, so that old and new can be told apart.
static VERSION: AtomicU64 = AtomicU64::new(0);

#[cache_read(key = "page:<id>", ttl = "1h", tags = ["page:<id>", "pages"], cache = cache, skip(cache))]
async fn page(cache: &Cache, id: u64) -> Arc<Page> {
    let _ = cache;
    Arc::new(Page { id, title: format!("page {id}"), body: "x".repeat(64) })
}

#[cache_read(key = "version:<id>", ttl = "1h", tags = ["version:<id>"], cache = cache, skip(cache))]
async fn version(cache: &Cache, id: u64) -> u64 {
    let _ = (cache, id);
    VERSION.load(SeqCst)
}

#[cache_write(tags = ["version:<id>"], cache = cache)]
async fn write(cache: &Cache, id: u64) -> u64 {
    let _ = (cache, id);
    VERSION.fetch_add(1, SeqCst) + 1
}

#[cache_write(tags = ["version:<id>"], cache = cache, fence = "30s")]
async fn write_fenced(cache: &Cache, id: u64) -> u64 {
    let _ = (cache, id);
    VERSION.fetch_add(1, SeqCst) + 1
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    hits: u32,
    keys: u64,
    writes: usize,
    round: Duration,
}

const FULL: Plan = Plan { rounds: 31, hits: 100_000, keys: 1_000, writes: 300, round: Duration::from_millis(200) };
const QUICK: Plan = Plan { rounds: 5, hits: 10_000, keys: 50, writes: 5, round: Duration::from_millis(20) };

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn percentile(of: &mut [f64], percent: usize) -> f64 {
    of.sort_by(f64::total_cmp);
    of[(of.len() * percent / 100).min(of.len() - 1)]
}

async fn cache(url: &str, how: impl FnOnce(Builder) -> Builder) -> Cache {
    let patient = Cache::builder().ignore_env().url(url).response_timeout(Duration::from_secs(5));
    how(patient).build().await.expect("a cache")
}

/// A hit in memory is ready at its first poll.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Nanoseconds of one hit in memory; how many there were not, too.
fn hits(cache: &Cache, count: u32) -> (f64, u32) {
    let (start, mut missed) = (Instant::now(), 0);
    for _ in 0..count {
        match at_once(page(cache, 1)) {
            Some(page) => drop(black_box(page)),
            None => missed += 1,
        }
    }
    (start.elapsed().as_secs_f64() * 1e9 / f64::from(count), missed)
}

async fn in_memory(plan: Plan, hybrid: &Cache) {
    let embedded = Cache::memory();
    page(&embedded, 1).await;
    let (mut ours, mut theirs, mut missed) = (Vec::new(), Vec::new(), 0);
    for _ in 0..plan.rounds {
        // The answers that say for how long copies may be served come in here.
        while at_once(page(hybrid, 1)).is_none() {
            page(hybrid, 1).await;
            tokio::task::yield_now().await;
        }
        let (nanos, gone) = hits(hybrid, plan.hits);
        ours.push(nanos);
        missed += gone;
        theirs.push(hits(&embedded, plan.hits).0);
    }
    while at_once(page(hybrid, 1)).is_none() {
        page(hybrid, 1).await;
    }
    let allocations = allocation_counter::measure(|| drop(at_once(page(hybrid, 1)))).count_total;
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "hit in memory: {ours:.0} ns, embedded {theirs:.0} ns, ratio {:.2}, {allocations} allocations ({missed} found no copy)",
        ours / theirs
    );
}

/// Each key once: what is on the server comes into the memory of one that has nothing.
async fn promotion(plan: Plan, url: &str) {
    let stored = cache(&format!("hybrid+{url}"), |builder| builder).await;
    for id in 0..plan.keys {
        page(&stored, id).await;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let hybrid = cache(&format!("hybrid+{url}"), |builder| builder).await;
        let plain = cache(url, |builder| builder).await;
        // Connected, and the hybrid one hears of changes.
        page(&hybrid, plan.keys).await;
        page(&plain, plan.keys).await;
        while hybrid.stats().copies_served != Some(true) {
            tokio::task::yield_now().await;
        }
        for (of, cache) in [(&mut ours, &hybrid), (&mut theirs, &plain)] {
            let start = Instant::now();
            for id in 0..plan.keys {
                black_box(page(cache, id).await);
            }
            of.push(start.elapsed().as_secs_f64() * 1e6 / plan.keys as f64);
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("hit on the server, copied: {ours:.1} µs, on Redis alone {theirs:.1} µs, ratio {:.2}", ours / theirs);
}

/// From the moment at which the writer is told that it is done until another cache has the new value, and until it has read
/// it for the first time from the beginning of the write.
async fn propagation(plan: Plan, url: &str) {
    let writer = cache(&format!("hybrid+{url}"), |builder| builder).await;
    let reader = cache(&format!("hybrid+{url}"), |builder| builder).await;
    let (mut whole, mut after) = (Vec::new(), Vec::new());
    for _ in 0..plan.writes {
        while at_once(version(&reader, 1)).is_none() {
            version(&reader, 1).await;
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        let writer = writer.clone();
        let written = tokio::spawn(async move { (write(&writer, 1).await, Instant::now()) });
        let old = VERSION.load(SeqCst);
        let seen = loop {
            let now = version(&reader, 1).await;
            if now > old || now == VERSION.load(SeqCst) && written.is_finished() {
                break Instant::now();
            }
            tokio::task::yield_now().await;
        };
        let (_, returned) = written.await.expect("no write panics");
        whole.push((seen - start).as_secs_f64() * 1e3);
        after.push(seen.saturating_duration_since(returned).as_secs_f64() * 1e3);
    }
    for (what, of) in [("its begin", &mut whole), ("its return", &mut after)] {
        let (half, most) = (percentile(of, 50), percentile(of, 99));
        println!("a write is read by another cache, from {what}: p50 {half:.3} ms, p99 {most:.3} ms");
    }
}

async fn writes(plan: Plan, url: &str) {
    for (lease, name) in [(None, "l1_lease as it is"), (Some(Duration::ZERO), "l1_lease 0")] {
        let cache = cache(url, |builder| match lease {
            Some(lease) => builder.l1_lease(lease),
            None => builder,
        })
        .await;
        let fenced = if lease.is_some() { plan.writes } else { plan.rounds.min(5) };
        let (mut plain, mut with) = (Vec::new(), Vec::new());
        for turn in 0..plan.writes {
            let start = Instant::now();
            write(&cache, 2).await;
            plain.push(start.elapsed().as_secs_f64() * 1e6);
            if turn < fenced {
                let start = Instant::now();
                write_fenced(&cache, 2).await;
                with.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
        println!("write, {name}: {:.0} µs, with a fence {:.0} µs", median(plain), median(with));
    }
}

/// Bare connections that read, and have changes pushed or not.
async fn connections(server: &Server, count: usize, tracked: bool) -> Vec<MultiplexedConnection> {
    use redis::IntoConnectionInfo as _;
    let mut all = Vec::new();
    for _ in 0..count {
        let info = format!("{}?protocol=resp3", server.url()).into_connection_info().expect("a URL");
        let client = redis::Client::open(info).expect("a client");
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(5)));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.expect("it answers");
        let tracking = if tracked { "ON" } else { "OFF" };
        let told = redis::cmd("CLIENT").arg("TRACKING").arg(tracking).query_async::<()>(&mut connection).await;
        told.expect("the server tracks");
        all.push(connection);
    }
    all
}

/// `MGET`s of an entry and three cells a second, with 64 callers.
async fn rate(plan: Plan, connections: &[MultiplexedConnection]) -> f64 {
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    let end = start + plan.round;
    for caller in 0..64_u64 {
        let mut connection = connections[caller as usize % connections.len()].clone();
        tasks.spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < end {
                let id = (caller * 7919 + done * 31) % plan.keys;
                let mut command = redis::cmd("MGET");
                command.arg(format!("svc:v1:page:{id}")).arg("svc:v1:%+all").arg(format!("svc:v1:%+tag:page:{id}"));
                command.arg("svc:v1:%+tag:pages");
                black_box(command.query_async::<Vec<Option<Vec<u8>>>>(&mut connection).await.expect("it answers"));
                done += 1;
            }
            done
        });
    }
    let done: u64 = tasks.join_all().await.into_iter().sum();
    done as f64 / start.elapsed().as_secs_f64()
}

async fn tracking(plan: Plan, server: &Server) {
    for count in [1, 8] {
        let tracked = connections(server, count, true).await;
        let untracked = connections(server, count, false).await;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            with.push(rate(plan, &tracked).await);
            without.push(rate(plan, &untracked).await);
        }
        let (with, without) = (median(with), median(without));
        println!(
            "MGET of 4 keys on {count} connections: {with:.0} a second tracked, {without:.0} untracked, ratio {:.2}",
            with / without
        );
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let plan = if std::env::args().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let server = Server::start().await;
    let url = server.url();
    // What is measured is a hit, and not whether this thread leaves the one that asks the server any time.
    let hybrid = cache(&format!("hybrid+{url}"), |builder| builder.l1_lease(Duration::from_secs(60))).await;
    in_memory(plan, &hybrid).await;
    promotion(plan, &url).await;
    propagation(plan, &url).await;
    writes(plan, &url).await;
    tracking(plan, &server).await;
}

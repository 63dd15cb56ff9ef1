//! The Redis backend beside bare `redis` and beside its peers on the same server, in one run:
//! `cargo bench -p cache-benches --bench redis`.
//!
//! Cases take turns in short rounds, and medians over the rounds are printed: machines drift, ratios of one round do not.
//! The baseline is the bare client, which reads the very names that we read (`MGET` of the entry and its cells) on as many
//! connections with the same settings, and decodes the same value with bincode; it checks nothing.

mod bare;
mod function;
mod measure;
mod peer;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use cache_runtime::{Cache, Codec};
use cache_tests::redis::Server;

use self::bare::Bare;
use self::function::{LOADS, Page, cold, elements, large, large_tagged, small, small_tagged};
use self::measure::{Case, KEYS, Plan, compare, median};

/// What ours and the bare client are measured on.
struct Bench {
    plan: Plan,
    server: Server,
    cache: Cache,
    bare: Arc<Bare>,
}

/// The names that a hit reads: the entry, the cells of the whole cache and of the function, and those of the tags.
fn names(entry: &str, of_all: &[String], tags: &[String]) -> Vec<String> {
    let tags = tags.iter().map(|tag| format!("svc:v1:%+tag:{tag}"));
    [format!("svc:v1:{entry}")].into_iter().chain(of_all.iter().cloned()).chain(tags).collect()
}

/// The names that all hits of a function share. Any function's cell will do: all are as long as each other.
async fn of_all(server: &Server) -> Vec<String> {
    let functions: Vec<String> = server.query(&["KEYS", "svc:v1:%+fn:*"]).await;
    ["svc:v1:%+all".to_owned()].into_iter().chain(functions.into_iter().take(1)).collect()
}

macro_rules! hit {
    ($bench:expr, $function:ident, $entry:literal, $size:expr, $tags:expr) => {
        for callers in [1, 64] {
            let Bench { plan, server, cache, bare } = &$bench;
            let title = format!("hit, {} B, {} tags, {callers} callers", $size, $tags(0).len());
            if !plan.wants(&title) {
                continue;
            }
            cache
                .scope(async {
                    for id in 0..KEYS {
                        $function(id).await;
                    }
                })
                .await;
            let of_all = of_all(server).await;
            let names: Arc<Vec<Vec<String>>> = Arc::new(
                (0..KEYS).map(|id| names(&format!(concat!($entry, ":{}"), id), &of_all, &$tags(id))).collect(),
            );
            let value: Arc<Vec<u8>> = Arc::new(Codec::Bincode.encode(&Page::of(1, $size)).expect("it encodes"));
            let (cache, bare) = (cache.clone(), Arc::clone(bare));
            let mut cases = vec![
                Case::new("bare: MGET of the same names, decode", move |id| {
                    let (bare, names, value) = (Arc::clone(&bare), Arc::clone(&names), Arc::clone(&value));
                    async move { bare.read(&names[id as usize], &value, 1).await }
                }),
                Case::new("ours", move |id| {
                    let cache = cache.clone();
                    async move { drop(black_box(cache.scope($function(id)).await)) }
                }),
            ];
            if $tags(0).is_empty() {
                cases.extend(peer::cases(server, $size).await);
            }
            compare(plan, &title, callers, &cases).await;
        }
    };
}

async fn batch(bench: &Bench) {
    let Bench { plan, server, cache, bare } = bench;
    if !plan.wants("batch of 100 hits") {
        return;
    }
    // 1000 ids in ten batches.
    let ids = |id: u64| -> Vec<u64> { (id % 10 * 100..(id % 10 + 1) * 100).collect() };
    for batch in 0..10 {
        cache.scope(elements(ids(batch))).await;
    }
    let of_all: Vec<String> = of_all(server).await.into_iter().chain(["svc:v1:%+tag:pages".to_owned()]).collect();
    let value: Arc<Vec<u8>> = Arc::new(Codec::Bincode.encode(&Page::of(1, 64)).expect("it encodes"));
    let names: Vec<Vec<String>> = (0..10)
        .map(|batch| {
            let entries = ids(batch).into_iter().map(|id| format!("svc:v1:element:{id}"));
            entries.chain(of_all.iter().cloned()).collect()
        })
        .collect();
    let names = Arc::new(names);
    let (cache, bare) = (cache.clone(), Arc::clone(bare));
    let cases = [
        Case::new("bare: MGET of the same names, decode each", move |id| {
            let (bare, names, value) = (Arc::clone(&bare), Arc::clone(&names), Arc::clone(&value));
            async move { bare.read(&names[id as usize % 10], &value, 100).await }
        }),
        Case::new("ours", move |id| {
            let cache = cache.clone();
            async move { drop(black_box(cache.scope(elements(ids(id))).await)) }
        }),
    ];
    for callers in [1, 8] {
        compare(plan, &format!("batch of 100 hits, 64 B, 1 tag, {callers} callers"), callers, &cases).await;
    }
}

async fn invalidation(bench: &Bench) {
    let cache = &bench.cache;
    for count in [1_u64, 1_000, 100_000] {
        for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
            let entries = chunk.iter().map(|id| (format!("many:{id}"), *id));
            cache.set_many(entries).tags(["many"]).ttl("1h").await.expect("it is stored");
        }
        let mut times = Vec::new();
        for _ in 0..50 {
            let start = Instant::now();
            cache.invalidate("many").await.expect("it is told");
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        println!("invalidating a tag of {count:>6} entries: {:.0} µs", median(times));
    }
}

async fn stampede(bench: &Bench) {
    let mut fleet = Vec::new();
    for _ in 0..10 {
        fleet.push(Cache::builder().ignore_env().url(bench.server.url()).build().await.expect("a cache"));
    }
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for cache in &fleet {
        for _ in 0..1000 {
            let cache = cache.clone();
            tasks.spawn(async move { cache.scope(cold(1)).await });
        }
    }
    tasks.join_all().await;
    println!(
        "stampede, 10 caches × 1000 callers, 50 ms loader: {} load, {:.0} ms",
        LOADS.load(Relaxed),
        start.elapsed().as_secs_f64() * 1e3
    );
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|argument| argument == "--list") {
        return;
    }
    let plan = match Plan::parse(arguments) {
        Ok(plan) => plan,
        Err(usage) => {
            eprintln!("{usage}");
            return;
        }
    };
    let server = Server::start().await;
    let cache = Cache::builder().ignore_env().url(server.url()).build().await.expect("a cache");
    let bare = Arc::new(Bare::connect(&server).await);
    let bench = Bench { plan, server, cache, bare };
    let none = |_: u64| Vec::new();
    let two = |id: u64| vec![format!("page:{id}"), "pages".to_owned()];
    hit!(bench, small, "small", 64, none);
    hit!(bench, small_tagged, "small-tagged", 64, two);
    hit!(bench, large, "large", 4096, none);
    hit!(bench, large_tagged, "large-tagged", 4096, two);
    batch(&bench).await;
    if bench.plan.wants("invalidation") {
        println!();
        invalidation(&bench).await;
    }
    if bench.plan.wants("stampede") {
        stampede(&bench).await;
    }
}

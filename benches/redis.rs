//! The Redis backend beside bare `redis` on the same server, in one run: `cargo bench -p cache-benches --bench redis`.
//!
//! Each case runs in short rounds, ours and the bare client's in turn, and prints medians and their ratio: machines drift,
//! ratios do not. The bare client reads the very keys that we read (`MGET` of the entry and its cells) and decodes the
//! value with bincode; it checks nothing. Settings are the same: RESP3, two multiplexed connections, no delay.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cache_runtime::{Cache, cache_read};
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

impl Page {
    fn of(id: u64, size: usize) -> Self {
        Self { id, title: format!("page {id}"), body: "x".repeat(size) }
    }
}

#[cache_read(key = "small:<id>", ttl = "1h")]
async fn small(id: u64) -> Arc<Page> {
    Arc::new(Page::of(id, 64))
}

#[cache_read(key = "small-tagged:<id>", ttl = "1h", tags = ["page:<id>", "pages"])]
async fn small_tagged(id: u64) -> Arc<Page> {
    Arc::new(Page::of(id, 64))
}

#[cache_read(key = "large:<id>", ttl = "1h")]
async fn large(id: u64) -> Arc<Page> {
    Arc::new(Page::of(id, 4096))
}

#[cache_read(key = "large-tagged:<id>", ttl = "1h", tags = ["page:<id>", "pages"])]
async fn large_tagged(id: u64) -> Arc<Page> {
    Arc::new(Page::of(id, 4096))
}

#[cache_read(key = "element:<id>", ttl = "1h", tags = ["pages"], each(id in ids))]
async fn elements(ids: Vec<u64>) -> Vec<Option<Arc<Page>>> {
    ids.into_iter().map(|id| Some(Arc::new(Page::of(id, 64)))).collect()
}

static LOADS: AtomicU64 = AtomicU64::new(0);

#[cache_read(key = "cold:<id>", ttl = "1h", lock = true)]
async fn cold(id: u64) -> u64 {
    LOADS.fetch_add(1, Relaxed);
    tokio::time::sleep(Duration::from_millis(50)).await;
    id
}

const KEYS: u64 = 1000;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(200);

/// The bare client.
struct Bare {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
}

impl Bare {
    async fn connect(server: &Server) -> Self {
        use redis::IntoConnectionInfo as _;
        let info = format!("{}?protocol=resp3", server.url()).into_connection_info().expect("a URL");
        let client = redis::Client::open(info).expect("a client");
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(5)));
        let mut connections = Vec::new();
        for _ in 0..2 {
            connections.push(client.get_multiplexed_async_connection_with_config(&config).await.expect("it answers"));
        }
        Self { connections, next: AtomicUsize::new(0) }
    }

    /// Reads the keys, and decodes what stands in for the value.
    async fn read(&self, keys: &[String], value: &[u8]) {
        let mut connection = self.connections[self.next.fetch_add(1, Relaxed) % 2].clone();
        let mut command = redis::cmd("MGET");
        keys.iter().for_each(|key| {
            command.arg(key);
        });
        let values: Vec<Option<Vec<u8>>> = command.query_async(&mut connection).await.expect("it answers");
        assert!(values.iter().all(Option::is_some));
        black_box(cache_runtime::Codec::Bincode.decode::<Page>(value).expect("a page"));
    }
}

/// Calls a second, with so many callers at once.
async fn rate<F: Future<Output = ()> + Send>(callers: usize, call: impl Fn(u64) -> F + Send + Sync + 'static) -> f64 {
    let call = Arc::new(call);
    let end = Instant::now() + ROUND;
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers as u64 {
        let call = Arc::clone(&call);
        tasks.spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < end {
                call((caller * 7919 + done * 31) % KEYS).await;
                done += 1;
            }
            done
        });
    }
    let done: u64 = tasks.join_all().await.into_iter().sum();
    done as f64 / start.elapsed().as_secs_f64()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

async fn keys_of(server: &Server, entry: &str, tags: &[String]) -> Vec<String> {
    let mut keys = vec![format!("svc:v1:{entry}"), "svc:v1:%+all".to_owned()];
    let functions: Vec<String> = server.query(&["KEYS", "svc:v1:%+fn:*"]).await;
    keys.extend(functions.into_iter().take(1));
    keys.extend(tags.iter().map(|tag| format!("svc:v1:%+tag:{tag}")));
    keys
}

macro_rules! hit {
    ($server:expr, $cache:expr, $bare:expr, $function:ident, $entry:literal, $size:expr, $tagged:expr) => {
        for callers in [1, 64] {
            $cache.scope(async { for id in 0..KEYS { $function(id).await; } }).await;
            let tags = |id: u64| if $tagged { vec![format!("page:{id}"), "pages".to_owned()] } else { Vec::new() };
            let mut keys = Vec::new();
            let shape = keys_of($server, "", &[]).await;
            for id in 0..KEYS {
                let mut of = vec![format!(concat!("svc:v1:", $entry, ":{}"), id)];
                of.extend(shape[1..].iter().cloned());
                of.extend(tags(id).iter().map(|tag| format!("svc:v1:%+tag:{tag}")));
                keys.push(of);
            }
            let (keys, value) = (Arc::new(keys), Arc::new(cache_runtime::Codec::Bincode.encode(&Page::of(1, $size)).expect("it encodes")));
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let cache = $cache.clone();
                ours.push(rate(callers, move |id| { let cache = cache.clone(); async move { cache.scope($function(id)).await; } }).await);
                let (bare, keys, value) = (Arc::clone(&$bare), Arc::clone(&keys), Arc::clone(&value));
                theirs.push(rate(callers, move |id| {
                    let (bare, keys, value) = (Arc::clone(&bare), Arc::clone(&keys), Arc::clone(&value));
                    async move { bare.read(&keys[id as usize], &value).await }
                }).await);
            }
            let (ours, theirs) = (median(ours), median(theirs));
            println!(
                "hit, {:>4} B, {} tags, {callers:>2} callers: {ours:>8.0} a second, bare MGET of the same keys + decode {theirs:>8.0}, ratio {:.2}",
                $size, tags(0).len(), ours / theirs
            );
        }
    };
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let server = Server::start().await;
    let cache = Cache::builder().ignore_env().url(server.url()).build().await.expect("a cache");
    let bare = Arc::new(Bare::connect(&server).await);
    hit!(&server, cache, bare, small, "small", 64, false);
    hit!(&server, cache, bare, small_tagged, "small-tagged", 64, true);
    hit!(&server, cache, bare, large, "large", 4096, false);
    hit!(&server, cache, bare, large_tagged, "large-tagged", 4096, true);

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

    let ids: Vec<u64> = (0..100).collect();
    cache.scope(elements(ids.clone())).await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let keys: Vec<String> = ids.iter().map(|id| format!("svc:v1:element:{id}")).collect();
    let value = cache_runtime::Codec::Bincode.encode(&Page::of(1, 64)).expect("it encodes");
    for _ in 0..300 {
        let start = Instant::now();
        black_box(cache.scope(elements(ids.clone())).await);
        ours.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        bare.read(&keys, &value).await;
        for _ in 1..100 {
            black_box(cache_runtime::Codec::Bincode.decode::<Page>(&value).expect("a page"));
        }
        theirs.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("batch of 100 hits: {ours:.0} µs, bare MGET + decode {theirs:.0} µs, ratio {:.2}", ours / theirs);

    let fleet: Vec<Cache> = {
        let mut all = Vec::new();
        for _ in 0..10 {
            all.push(Cache::builder().ignore_env().url(server.url()).build().await.expect("a cache"));
        }
        all
    };
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

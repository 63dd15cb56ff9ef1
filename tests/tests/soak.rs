//! P7 over time: a stream of distinct keys, tags and tenants under every kind of call, after which memory, tasks,
//! connections and keys are what they were; and P4 under load: callers that do not notice a server that pauses again and again.
//!
//! `CACHE_STRESS_SECONDS` makes both longer (default: some seconds).

#[path = "fleet/mod.rs"]
mod fleet;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Cache, Tenant, cache_read, cache_write};
use cache_tests::eventually;
use cache_tests::redis::Server;
use fleet::{LONG, Place, Source, ended, now};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Entries live for so long, so that those of the beginning are gone at the end.
#[cache_read(key = "one:<id>", cache = at, tags = ["group:<id>", "all"], ttl = "1s", lock = true, lock_ttl = "1s", skip(at))]
async fn one(at: &Cache, id: u64) -> u64 {
    id
}

#[cache_read(key = "many:<id>", cache = at, tags = ["group:<id>"], ttl = "1s", each(id in ids), skip(at))]
async fn many(at: &Cache, ids: Vec<u64>) -> HashMap<u64, u64> {
    ids.into_iter().map(|id| (id, id)).collect()
}

#[cache_read(key = "json:<id>", cache = at, tags = ["group:<result>"], ttl = "1s", codec = json, stale = "500ms", skip(at))]
async fn json(at: &Cache, id: u64) -> u64 {
    id
}

#[cache_write(cache = at, tags = ["group:<id>"], recache = [one(at, id)])]
async fn recache(at: &Cache, id: u64) -> u64 {
    id
}

#[cache_write(cache = at, tags = ["group:<id>"], put = one(at, id))]
async fn put(at: &Cache, id: u64) -> u64 {
    id
}

#[cache_write(cache = at, tags = ["group:<id>"], fence = "1s")]
async fn fence(at: &Cache, id: u64) -> u64 {
    id
}

/// Everything that a cache does, with names that nobody has used before; in the end they are all invalidated.
async fn everything(at: &Cache, dropping: &Cache, id: u64) {
    assert_eq!(one(at, id).await, id);
    assert_eq!(one(at, id).await, id);
    assert_eq!(many(at, vec![id, id + 1, id + 2]).await.len(), 3);
    assert_eq!(json(at, id).await, id);
    assert_eq!(json(at, id).await, id);
    match id / 4 % 4 {
        0 => recache(at, id).await,
        1 => put(at, id).await,
        2 => fence(at, id).await,
        _ => id,
    };
    let name = format!("direct:{id}");
    at.set(&*name, id).ttl("1s").tags(format!("group:{id}")).await.unwrap();
    assert_eq!(at.get::<u64>(&*name).await.unwrap(), Some(id));
    assert_eq!(at.incr(format!("count:{id}"), 1).await.unwrap(), 1);
    at.expire(format!("count:{id}"), "1s").await.unwrap();
    // Callers that go away. Of another process: what they leave undelivered is no business of this one.
    let _ = tokio::time::timeout(Duration::from_micros(id % 1_000), recache(dropping, id)).await;
    at.invalidate((id..id + 3).map(|id| format!("group:{id}")).collect::<Vec<_>>()).await.unwrap();
}

/// What must not grow.
#[derive(Debug)]
struct Level {
    resident: u64,
    tasks: usize,
    connections: usize,
    keys: u64,
}

impl Level {
    async fn of(server: &Server) -> Self {
        let clients: String = server.query(&["CLIENT", "LIST"]).await;
        Self {
            resident: resident(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            // Of the caches: the others use the server's socket.
            connections: clients.lines().filter(|line| line.contains("addr=127.0.0.1")).count(),
            keys: server.query(&["DBSIZE"]).await,
        }
    }
}

/// Pages of this process that are in memory, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).map_or(0, |pages: u64| pages * 4096)
}

fn stress(least: u64) -> Duration {
    let seconds = std::env::var("CACHE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0).max(least))
}

async fn soak(hybrid: bool) {
    let server = Server::start().await;
    let url = format!("{}{}", if hybrid { "hybrid+" } else { "" }, server.url());
    let build = async || {
        let builder =
            Cache::builder().ignore_env().url(&url).prefix("t").max_items(500).l1_lease(Duration::from_millis(200));
        builder.connect_timeout(LONG).response_timeout(LONG).build().await.unwrap()
    };
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let caches = [build().await, build().await, build().await];
    let (next, tenants) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let slice = async |limit: Duration| {
        let (ends, mut callers) = (now() + limit, JoinSet::new());
        for caller in 0..8_usize {
            let (at, dropping) = (caches[caller % 2].clone(), caches[2].clone());
            let (next, tenants) = (Arc::clone(&next), Arc::clone(&tenants));
            callers.spawn(async move {
                while now() < ends {
                    let id = next.fetch_add(4, SeqCst);
                    if id % 5 == 0 {
                        let tenant = Tenant::new(format!("t{}", tenants.fetch_add(1, SeqCst))).unwrap();
                        // What a tenant has ends with the tenant: the cell of all that is its own is dropped.
                        tenant
                            .scope(async {
                                everything(&at, &dropping, id).await;
                                at.clear().await.unwrap();
                            })
                            .await;
                    } else {
                        everything(&at, &dropping, id).await;
                    }
                }
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
        for at in &caches {
            let quiet = async || at.stats().background == 0 && at.stats().flights == 0;
            eventually("background work ends", LONG, quiet).await;
        }
        // Entries and leases end.
        sleep(Duration::from_millis(2_200)).await;
    };
    let whole = stress(6);
    slice(whole / 3).await;
    let (ids, early) = (next.load(SeqCst), Level::of(&server).await);
    slice(whole * 2 / 3).await;
    let (more, late) = (next.load(SeqCst) - ids, Level::of(&server).await);
    let text = format!("after {} names {early:?}, after {more} more {late:?}", ids);
    println!("hybrid: {hybrid}: {text}");
    assert!(more > ids / 2, "too little was done: {text}");
    assert!(late.resident < early.resident + (48 << 20), "memory: {text}");
    assert!(late.tasks <= early.tasks + 2, "tasks: {text}");
    assert!(late.connections <= early.connections, "connections: {text}");
    // The cells of functions of tenants, which expire after hours, are few for each tenant.
    let cells = tenants.load(SeqCst) * 6;
    assert!(late.keys <= early.keys.min(100) + cells + 50, "keys: {text}, and {cells} of tenants");
    let keyspace = server.info("db0").await;
    let number = |field: &str| {
        let found = keyspace.split(',').find_map(|part| part.strip_prefix(field)?.parse::<u64>().ok());
        found.unwrap_or_else(|| panic!("{field} in {keyspace}"))
    };
    assert_eq!(number("keys="), number("expires="), "some keys never expire: {keyspace}");
    for (index, at) in caches.iter().enumerate() {
        let stats = at.stats();
        assert_eq!((stats.degraded * u64::from(index < 2), stats.undelivered), (0, 0), "{stats:?}");
        assert!(stats.entries <= 500, "{stats:?}");
        assert!(stats.tags <= 20_000, "{stats:?}");
        at.close().await.unwrap();
    }
    drop(caches);
    let gone = async || tokio::runtime::Handle::current().metrics().num_alive_tasks() <= before;
    eventually("all tasks end with the caches", LONG, gone).await;
}

/// P7
#[tokio::test]
async fn nothing_is_left_behind_on_redis() {
    soak(false).await;
}

/// P7
#[tokio::test]
async fn nothing_is_left_behind_with_copies_in_memory() {
    soak(true).await;
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
async fn row(at: &Place, id: u64) -> fleet::Row {
    at.read(id).await
}

#[cache_write(cache = at.cache, tags = ["group:<id>"])]
async fn write(at: &Place, id: u64) -> fleet::Row {
    at.commit(id)
}

/// P4: 64 callers, and a server that stands still half of the time. Each call returns what is right, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_pauses_again_and_again_fails_no_call() {
    let server = Server::start().await;
    let timeout = Duration::from_millis(100);
    for hybrid in [false, true] {
        let source = Arc::<Source>::default();
        let url = format!("{}{}", if hybrid { "hybrid+" } else { "" }, server.url());
        let builder = Cache::builder().ignore_env().url(url).prefix(fleet::prefix());
        let cache = builder.connect_timeout(timeout).response_timeout(timeout).build().await.unwrap();
        let at = Place::new(cache, &source);
        let ends = Arc::<AtomicBool>::default();
        let callers: Vec<_> = (0..64_u64)
            .map(|caller| {
                let (at, ends) = (Arc::clone(&at), Arc::clone(&ends));
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    // Each caller writes a row of its own, and reads it back.
                    for n in 0_u64.. {
                        if ends.load(SeqCst) {
                            break;
                        }
                        let begun = now();
                        if n % 20 == 0 {
                            let written = write(&at, caller).await.version;
                            assert_eq!(row(&at, caller).await.version, written);
                        } else {
                            row(&at, caller).await;
                        }
                        times.push(begun.elapsed());
                        sleep(Duration::from_millis(1)).await;
                    }
                    times
                })
            })
            .collect();
        let until = now() + stress(3) / 2;
        while now() < until {
            server.stop_signal();
            sleep(Duration::from_millis(200)).await;
            server.cont_signal();
            sleep(Duration::from_millis(300)).await;
        }
        ends.store(true, SeqCst);
        let mut times = Vec::new();
        for caller in callers {
            times.extend(ended("a caller", caller).await);
        }
        times.sort_unstable();
        let at_share = |share: usize| times[times.len() * share / 1000 - 1];
        let stats = at.cache.stats();
        println!(
            "hybrid: {hybrid}: {} calls, p50 {:?}, p99 {:?}, p999 {:?}, longest {:?}; {} degraded",
            times.len(),
            at_share(500),
            at_share(990),
            at_share(999),
            times[times.len() - 1],
            stats.degraded
        );
        // A write waits four times at most, and a busy machine takes its time.
        assert!(times[times.len() - 1] < timeout * 2 * 4 * 3 + Duration::from_secs(4), "{:?}", times[times.len() - 1]);
        assert!(stats.degraded > 0 && stats.hits > 100, "nothing happened: {stats:?}");
        for id in 0..64 {
            let version = source.now(id).version;
            assert_eq!(row(&at, id).await.version, version);
        }
        eventually("everything is delivered", LONG, async || at.cache.stats().undelivered == 0).await;
    }
}

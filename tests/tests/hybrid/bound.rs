//! What copies cost: the process' memory and the server's stay bounded, whatever is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::cache_read;
use cache_tests::redis::Server;

use super::fleet::{self, LONG, Place, Source, now, within};
use super::{Process, untagged, write_key};

#[cache_read(key = "stream:<id>", cache = at.cache, ttl = "5s", each(id in ids), skip(at))]
async fn stream(at: &Place, ids: Vec<u64>) -> HashMap<u64, u64> {
    let _ = at;
    ids.into_iter().map(|id| (id, id)).collect()
}

/// How long the test of a stream goes on beyond what it does anyway.
fn stress() -> Duration {
    let seconds = std::env::var("CACHE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// Pages of this process that are in memory, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(0_u64) * 1024
}

/// N5, P7: a server that forgets whom to tell tells them so: copies are right.
#[tokio::test]
async fn copies_are_right_where_the_server_remembers_few_readers() {
    let server = Server::options().config("tracking-table-max-keys 100").start().await;
    let (prefix, source) = (fleet::prefix(), Arc::default());
    let a = Process::new(&server, &prefix, &source).await;
    let b = Process::new(&server, &prefix, &source).await;
    for version in 1..=3 {
        for id in 0..300 {
            untagged(&b.at, id).await;
            untagged(&b.at, id).await;
        }
        for id in 0..300 {
            write_key(&a.at, id).await;
        }
        for id in 0..300 {
            within("the new version", async {
                while untagged(&b.at, id).await.version != version {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
    let tracked: u64 = server.info("tracking_total_keys").await.parse().unwrap();
    assert!(tracked <= 200, "{tracked}");
}

/// P7: 50 000 distinct keys (up to ten million with `CACHE_STRESS_SECONDS`), each of which is copied once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_distinct_keys_leaves_nothing_behind() {
    const COPIES: u64 = 1_000;
    const TRACKED: u64 = 20_000;
    const CHUNK: u64 = 500;
    let server = Server::options()
        .maxmemory("100mb", "allkeys-lru")
        .config(&format!("tracking-table-max-keys {TRACKED}"))
        .start()
        .await;
    let cache = super::builder(&server.url(), &fleet::prefix()).response_timeout(LONG).l1_lease(LONG).max_items(COPIES);
    let b = Place::new(cache.build().await.unwrap(), &Arc::<Source>::default());
    let (began, mut next) = (now(), 0);
    let mut early = 0;
    while next < 50_000 || next < 10_000_000 && began.elapsed() < stress() {
        let ids: Vec<u64> = (next..next + CHUNK).collect();
        for _ in 0..2 {
            assert_eq!(stream(&b, ids.clone()).await.len() as u64, CHUNK);
        }
        next += CHUNK;
        if next == 25_000 {
            early = resident();
        }
    }
    let stats = b.cache.stats();
    assert!(stats.entries <= COPIES, "{stats:?}");
    // Two names for each copy, tags that they share, and what was not swept up yet.
    assert!(stats.tags <= 10 * COPIES, "{stats:?}");
    assert_eq!(stats.degraded, 0);
    let grown = resident().saturating_sub(early) >> 20;
    assert!(grown < 40, "{grown} MiB after the first 25 000");
    let tracked: u64 = server.info("tracking_total_keys").await.parse().unwrap();
    assert!(tracked <= TRACKED + 4 * CHUNK, "the server remembers {tracked} keys");
    let used: u64 = server.info("used_memory").await.parse().unwrap();
    assert!(used < 130 << 20, "{used}");
}

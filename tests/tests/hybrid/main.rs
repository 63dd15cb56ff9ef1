//! A hybrid cache: copies in memory of what is on Redis. What a hit costs, how writes elsewhere reach a copy, and that no copy
//! is served when that cannot be known. Two caches on one server stand for two processes.
//!
//! | file | what |
//! |---|---|
//! | `copy` | what is kept in memory, for how long, and what a hit costs |
//! | `reach` | how changes reach copies |
//! | `fence` | marks of what is being written |
//! | `fenced` | marks in unusual company |
//! | `hidden` | networks and servers that hide what changes |
//! | `identity` | servers whose data set is replaced |
//! | `pause` | processes, servers and runtimes that stand still |
//! | `bound` | what copies cost |
//! | `spread` | clusters and sentinels, TLS and sockets |
//! | `chase` | writes and reads without pause, and what may be read when |
//! | `silence` | links that are lost, half open, or hide what servers say |

#[path = "../fleet/mod.rs"]
mod fleet;

mod bound;
mod chase;
mod copy;
mod fence;
mod fenced;
mod hidden;
mod identity;
mod pause;
mod reach;
mod silence;
mod spread;

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Builder, Cache, cache_read, cache_write};
use cache_tests::redis::{Proxy, Server};
use fleet::{LONG, Place, Row, Source};
use tokio::task::yield_now;

/// δ of these tests, where it matters that it is short.
const LEASE: Duration = Duration::from_millis(400);

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>", "all"], namespace = "rows", ttl = "1m", skip(at))]
async fn tagged(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "plain:<id>", cache = at.cache, ttl = "1m", skip(at))]
async fn untagged(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_write(cache = at.cache, tags = ["group:<id>"])]
async fn write(at: &Place, id: u64) -> Row {
    at.commit(id)
}

#[cache_write(cache = at.cache, keys = ["plain:<id>"])]
async fn write_key(at: &Place, id: u64) -> Row {
    at.commit(id)
}

fn builder(url: &str, prefix: &str) -> Builder {
    Cache::builder().ignore_env().url(format!("hybrid+{url}")).prefix(prefix).connect_timeout(LONG)
}

/// A process, behind a network of its own.
struct Process {
    at: Arc<Place>,
    net: Proxy,
}

impl Process {
    /// With the default δ and the default patience, so that a busy machine is not taken for a server that is away.
    async fn new(server: &Server, prefix: &str, source: &Arc<Source>) -> Self {
        Self::with(server, prefix, source, |builder| builder.response_timeout(LONG).l1_lease(LONG)).await
    }

    async fn with(server: &Server, prefix: &str, source: &Arc<Source>, how: impl FnOnce(Builder) -> Builder) -> Self {
        let net = Proxy::start(server.addr());
        let cache = how(builder(&net.url(), prefix)).build().await.unwrap();
        Self { at: Place::new(cache, source), net }
    }

    /// Commands that were sent for `work`, what keeps the connection alive aside.
    async fn cost<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let count = || {
            let of = |(name, count): (String, u64)| if matches!(&*name, "INFO" | "PING") { 0 } else { count };
            self.net.commands().into_iter().map(of).sum::<u64>()
        };
        let before = count();
        let done = work.await;
        (done, count() - before)
    }

    /// Reads until the value comes from memory.
    async fn copied<T>(&self, read: impl AsyncFn() -> T) -> T {
        loop {
            // A hit in memory never waits, and what comes in on the network has to be looked at.
            yield_now().await;
            let (value, cost) = self.cost(read()).await;
            if cost == 0 {
                return value;
            }
        }
    }
}

/// Two processes on the server of all tests.
async fn two() -> (Process, Process, Arc<Source>) {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::default());
    (Process::new(server, &prefix, &source).await, Process::new(server, &prefix, &source).await, source)
}

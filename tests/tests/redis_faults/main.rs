//! P4 and P5 with one server: away, slow, half-open, restarted, answering what it should not. Annotated functions return what
//! the source has, soon; what was invalidated is served to nobody afterwards; and everything goes on by itself.
//!
//! `outages` has servers that die, stop or restart; `network` what may happen in between; `undelivered` invalidations that
//! found nobody; `replies` servers that answer with errors or nonsense.

#[path = "../fleet/mod.rs"]
mod fleet;

mod network;
mod outages;
mod replies;
mod undelivered;

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Builder, Cache, Error, ErrorKind, cache_read, cache_write};
use cache_tests::eventually;
use cache_tests::redis::Proxy;
use fleet::{Gate, LONG, Place, Row, Source};

/// What a call may take at most: the documented timeouts, each of them twice, and a busy machine.
const SOON: Duration = Duration::from_secs(4);

/// A cache with the timeouts that users have.
fn builder(url: &str, prefix: &str) -> Builder {
    Cache::builder().ignore_env().url(url).prefix(prefix)
}

async fn place(url: &str, prefix: &str, source: &Arc<Source>) -> Arc<Place> {
    Place::new(builder(url, prefix).build().await.unwrap(), source)
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
async fn row(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_write(cache = at.cache, tags = ["group:<id>"])]
async fn write(at: &Place, id: u64) -> Row {
    at.commit(id)
}

/// Learns only from its result what it writes through.
#[cache_write(cache = at.cache, tags = ["group:<result.id>"], put = row(at, result.id))]
async fn write_late(at: &Place, gate: &Gate, id: u64) -> Row {
    gate.write(at, id).await
}

/// What functions with `on_error = fail` return.
#[derive(Debug)]
struct Trouble(ErrorKind);

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self(error.kind())
    }
}

#[cache_read(key = "strict:<id>", cache = at.cache, tags = ["group:<id>"], on_error = fail, skip(at))]
async fn strict(at: &Place, id: u64) -> Result<Row, Trouble> {
    Ok(at.read(id).await)
}

#[cache_write(cache = at.cache, tags = ["group:<id>"], on_error = fail)]
async fn strict_write(at: &Place, id: u64) -> Result<Row, Trouble> {
    Ok(at.commit(id))
}

/// Reads until a read is a hit. Every value on the way has to be at least of this version.
async fn until_hit(what: &str, at: &Place, id: u64, version: u64) {
    fleet::within(&format!("a hit {what}"), async {
        loop {
            let before = at.cache.stats().hits;
            let read = row(at, id).await;
            assert!(read.version >= version, "{what}: version {} is from before {version}", read.version);
            if at.cache.stats().hits > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A call that must not take long.
async fn quick<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.unwrap_or_else(|_| panic!("{what} took longer than {SOON:?}"))
}

/// Nobody answers, and nobody can connect.
fn away(proxy: &Proxy) {
    proxy.refuse();
    proxy.reset_all();
}

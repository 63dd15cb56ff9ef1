//! One process writes without pause and another reads, while things go wrong: no read that began δ after a write was
//! acknowledged yields an older value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Builder, Error, cache_read, cache_write};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::fleet::{self, Place, Row, Source, now};
use super::tagged;

#[cache_write(cache = at.cache, tags = ["group:<id>"], on_error = fail)]
async fn write_or_fail(at: &Place, id: u64) -> Result<Row, Error> {
    Ok(at.commit(id))
}

/// Serves what has expired while it is loaded again; what was invalidated it must not serve.
#[cache_read(key = "old:<id>", cache = at.cache, tags = ["group:<id>"], ttl = "30ms", stale = "1m", skip(at))]
async fn aging(at: &Arc<Place>, id: u64) -> Row {
    at.read(id).await
}

/// Rows that are written and read.
const ROWS: u64 = 4;

/// Who writes and who reads.
pub(super) struct Chase {
    writer: Arc<Place>,
    reader: Arc<Place>,
    lease: Duration,
    /// Of each row: what was acknowledged, and when.
    acknowledged: Vec<Mutex<Vec<(Instant, u64)>>>,
    over: AtomicBool,
    /// Writes that were acknowledged, so far.
    pub(super) writes: AtomicU64,
}

impl Chase {
    /// Two hybrid caches with so short a δ, and little patience.
    pub(super) async fn new(url: &str, lease: Duration) -> Self {
        Self::with(url, lease, |builder| builder).await
    }

    pub(super) async fn with(url: &str, lease: Duration, how: impl Fn(Builder) -> Builder) -> Self {
        let (prefix, source) = (fleet::prefix(), Arc::<Source>::default());
        let place = async || {
            let builder: Builder = super::builder(url, &prefix).response_timeout(Duration::from_millis(300));
            Place::new(how(builder.l1_lease(lease)).build().await.unwrap(), &source)
        };
        Self {
            writer: place().await,
            reader: place().await,
            lease,
            acknowledged: (0..ROWS).map(|_| Mutex::default()).collect(),
            over: AtomicBool::new(false),
            writes: AtomicU64::new(0),
        }
    }

    /// Goes on until `faults` are over.
    pub(super) async fn during(&self, faults: impl Future<Output = ()>) {
        self.over.store(false, SeqCst);
        let faults = async {
            faults.await;
            self.over.store(true, SeqCst);
        };
        tokio::join!(faults, self.writes(), self.reads(0), self.reads(1));
    }

    async fn writes(&self) {
        for id in (0..ROWS).cycle() {
            if self.over.load(SeqCst) {
                break;
            }
            if let Ok(row) = write_or_fail(&self.writer, id).await {
                self.acknowledged[id as usize].lock().push((now(), row.version));
                self.writes.fetch_add(1, SeqCst);
            }
            sleep(Duration::from_millis(4)).await;
        }
    }

    async fn reads(&self, first: u64) {
        for turn in 0.. {
            if self.over.load(SeqCst) {
                break;
            }
            let id = (first + turn / 2) % ROWS;
            let began = now();
            let row = if turn % 2 == 0 { tagged(&self.reader, id).await } else { aging(&self.reader, id).await };
            self.judge(id, began, row.version);
            tokio::task::yield_now().await;
        }
    }

    fn judge(&self, id: u64, began: Instant, version: u64) {
        let acknowledged = self.acknowledged[id as usize].lock();
        let must = acknowledged.iter().rev().find(|(at, _)| *at + self.lease <= began);
        if let Some((at, must)) = must {
            let late = began.duration_since(*at);
            assert!(version >= *must, "row {id}: {version} was read {late:?} after {must} had been written");
        }
    }

    /// Nothing is written any more: everybody reads the newest, and from memory in the end.
    pub(super) async fn settles(&self) {
        // What could not be delivered is, by now or soon; copies hear of it within the lease.
        fleet::soon("deliveries", || self.writer.cache.stats().undelivered == 0).await;
        sleep(self.lease).await;
        for place in [&self.reader, &self.writer] {
            for id in 0..ROWS {
                let newest = place.source.now(id).version;
                fleet::within("the newest, from memory", async {
                    let mut hits = 0;
                    // Ten times in a row without going anywhere.
                    while hits < 10 {
                        let mut read = Box::pin(tagged(place, id));
                        let row = match at_once(read.as_mut()).await {
                            Some(row) => {
                                hits += 1;
                                row
                            }
                            None => {
                                hits = 0;
                                read.await
                            }
                        };
                        assert!(
                            hits == 0 || row.version == newest,
                            "row {id}: a copy of {}, not {newest}",
                            row.version
                        );
                        if row.version < newest {
                            hits = 0;
                        }
                        tokio::task::yield_now().await;
                    }
                })
                .await;
            }
        }
    }
}

/// What a future is ready with at once: a hit in memory never waits.
async fn at_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(cx) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

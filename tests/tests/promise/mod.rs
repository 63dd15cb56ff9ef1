//! What the promise tests share: a versioned source with a gate, and futures that a test polls by hand.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cache_runtime::{Cache, TestCache};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What a read returns: the version is how the tests tell old from new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub id: u64,
    pub org: u64,
    pub version: u64,
}

/// One versioned row behind a gate, and the cache in front of it.
#[derive(Debug)]
pub struct Db {
    pub cache: Cache,
    pub test: TestCache,
    version: AtomicU64,
    org: AtomicU64,
    loads: AtomicU64,
    open: watch::Sender<bool>,
}

impl Db {
    pub fn new() -> Arc<Self> {
        let test = Cache::for_test();
        Arc::new(Self {
            cache: test.cache().clone(),
            test,
            version: AtomicU64::new(0),
            org: AtomicU64::new(7),
            loads: AtomicU64::new(0),
            open: watch::Sender::new(true),
        })
    }

    /// Reads the row at once and hands it out when the gate is open: a held read returns what was there when it began.
    pub async fn read(&self, id: u64) -> Row {
        self.loads.fetch_add(1, SeqCst);
        let row = self.now(id);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        row
    }

    pub fn now(&self, id: u64) -> Row {
        Row { id, org: self.org.load(SeqCst), version: self.version.load(SeqCst) }
    }

    /// Commits a new version.
    pub fn write(&self) -> u64 {
        self.version.fetch_add(1, SeqCst) + 1
    }

    pub fn set_org(&self, org: u64) {
        self.org.store(org, SeqCst);
    }

    pub fn loads(&self) -> u64 {
        self.loads.load(SeqCst)
    }

    /// From now on reads wait.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Nothing may be left of flights and tickets when a test ends.
    pub fn assert_settled(&self) {
        assert_eq!(self.cache.stats().flights, 0, "flights or tickets are left");
    }
}

/// Counts how often it was called.
#[derive(Debug, Default)]
pub struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A future that is polled only when the test says so.
pub struct Hand<'f, T> {
    future: Pin<Box<dyn Future<Output = T> + 'f>>,
    wakes: Arc<Wakes>,
}

impl<T> std::fmt::Debug for Hand<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hand").field("wakes", &self.wakes).finish_non_exhaustive()
    }
}

impl<'f, T> Hand<'f, T> {
    pub fn new(future: impl Future<Output = T> + 'f) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    /// Polled once; it has to wait.
    #[track_caller]
    pub fn begun(future: impl Future<Output = T> + 'f) -> Self {
        let mut hand = Self::new(future);
        assert!(hand.poll().is_pending(), "it should have had to wait");
        hand
    }

    pub fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub fn wakes(&self) -> usize {
        self.wakes.0.load(SeqCst)
    }

    #[track_caller]
    pub fn ready(&mut self) -> T {
        for _ in 0..100 {
            if let Poll::Ready(value) = self.poll() {
                return value;
            }
        }
        panic!("it should be done");
    }

    /// Leaves it to the runtime.
    pub async fn finish(self) -> T {
        self.future.await
    }
}

/// Fails a test that would hang.
pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("took longer than {limit:?}: {what}"))
}

/// A future that is pending `n` times, each time waking itself.
pub async fn yields(n: usize) {
    for _ in 0..n {
        tokio::task::yield_now().await;
    }
}

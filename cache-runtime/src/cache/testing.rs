//! For users' tests (feature `testing`): a cache of one's own, a clock that the test moves, a store that fails on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Cache;
use crate::clock::Clock;

/// A clock that only a test moves. Give it to [`Builder::test_clock`](crate::Builder::test_clock).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use cache_runtime::{Cache, TestClock};
///
/// let clock = TestClock::new();
/// let cache = Cache::builder().max_items(10).test_clock(&clock).build().await?;
/// cache.set("k", 1_u64).ttl("5m").await?;
/// clock.advance(Duration::from_secs(299));
/// assert!(cache.exists("k").await?);
/// clock.advance(Duration::from_secs(2));
/// assert!(!cache.exists("k").await?);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct TestClock {
    now: Arc<AtomicU64>,
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl TestClock {
    /// A clock that stands still.
    #[must_use]
    pub fn new() -> Self {
        // Not at zero, so that what lies in the past can be said.
        Self { now: Arc::new(AtomicU64::new(Duration::from_secs(3600).as_nanos() as u64)) }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX / 2), Ordering::AcqRel);
    }
}

impl crate::Builder {
    /// Expiry follows this clock instead of the machine's. Waiting for a leader, and noticing that it stands still, do not.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::{Cache, TestClock};
    ///
    /// let clock = TestClock::default();
    /// let cache = Cache::builder().test_clock(&clock).build().await?;
    /// cache.set("k", 1_u64).ttl("1s").await?;
    /// clock.advance(std::time::Duration::from_secs(2));
    /// assert!(!cache.exists("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn test_clock(self, clock: &TestClock) -> Self {
        self.clock(Clock::manual(Arc::clone(&clock.now)))
    }
}

/// A memory cache for one test, with its own clock. It is a [`Cache`] wherever one is asked for.
///
/// ```
/// # async fn example() -> Result<(), cache_runtime::Error> {
/// use std::time::Duration;
/// use cache_runtime::Cache;
///
/// let cache = Cache::for_test();
/// cache.scope(async {
///     cache.set("k", 1_u64).ttl("5m").await?;
///     cache.advance(Duration::from_secs(301));
///     assert_eq!(cache.get::<u64>("k").await?, None);
///     Ok::<_, cache_runtime::Error>(())
/// }).await?;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct TestCache {
    cache: Cache,
    clock: TestClock,
}

impl std::ops::Deref for TestCache {
    type Target = Cache;
    fn deref(&self) -> &Cache {
        &self.cache
    }
}

impl From<TestCache> for Cache {
    fn from(test: TestCache) -> Self {
        test.cache
    }
}

impl AsRef<Cache> for TestCache {
    fn as_ref(&self) -> &Cache {
        &self.cache
    }
}

impl Cache {
    /// A memory cache for one test: entries, counters and clock of its own, whatever the environment says. Run the code
    /// under test in its [`scope`](Self::scope).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use cache_runtime::{Cache, cache_read};
    /// # #[cache_read(key = "price:<id>")]
    /// # async fn price(id: u64) -> u64 { id * 10 }
    /// let cache = Cache::for_test();
    /// cache.scope(async {
    ///     assert_eq!(price(1).await, 10);
    ///     assert_eq!(price(1).await, 10);
    /// }).await;
    /// assert_eq!((cache.stats().loads, cache.stats().hits), (1, 1));
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn for_test() -> TestCache {
        let clock = TestClock::new();
        let cache = Self::builder().ignore_env().test_clock(&clock).build_now();
        TestCache { cache: cache.unwrap_or_else(|_| unreachable!("the defaults are usable")), clock }
    }
}

impl TestCache {
    /// The cache.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::Cache;
    ///
    /// let test = Cache::for_test();
    /// let service_cache: Cache = test.cache().clone(); // for what takes a `Cache`
    /// service_cache.set("k", 1_u64).await?;
    /// assert!(test.exists("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Lets time pass for this cache's entries.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// The clock.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use cache_runtime::Cache;
    ///
    /// let cache = Cache::for_test();
    /// let clock = cache.clock().clone(); // for what moves the time and does not hold the cache
    /// cache.set("k", 1_u64).ttl("5m").await?;
    /// clock.advance(Duration::from_secs(301));
    /// assert!(!cache.exists("k").await?);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// From now on every use of the store fails (or works again): annotated functions call their source, direct calls
    /// return [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use cache_runtime::{Cache, ErrorKind};
    ///
    /// let cache = Cache::for_test();
    /// cache.set_failing(true);
    /// assert_eq!(cache.get::<u64>("k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    /// cache.set_failing(false);
    /// assert_eq!(cache.get::<u64>("k").await?, None);
    /// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn set_failing(&self, failing: bool) {
        self.cache.core.set_failing(failing);
    }
}

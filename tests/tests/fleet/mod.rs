//! Several caches on one server, each of which stands for a process, in front of one source: its rows have versions, and a
//! test holds loads and writes where it wants them. Claims about processes themselves are tested with real ones.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cache_runtime::{Builder, Cache};
use cache_tests::redis::Server;
use parking_lot::Mutex;
use redis::FromRedisValue;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Nothing that works takes this long, however busy the machine is.
pub const LONG: Duration = Duration::from_secs(20);

/// What a read returns: the version is how the tests tell old from new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub id: u64,
    pub org: u64,
    pub version: u64,
}

/// One server for all tests of a program. Nobody drops it: it ends with the test process.
pub async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(Server::start).await
}

/// A prefix that no other test of this program has.
pub fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NEXT.fetch_add(1, SeqCst))
}

/// A cache whose patience outlasts a busy machine: a timeout would be a miss, and not what these tests are about.
pub fn builder(url: &str, prefix: &str) -> Builder {
    Cache::builder().ignore_env().url(url).prefix(prefix).connect_timeout(LONG).response_timeout(LONG)
}

/// Versioned rows. All begin with version 0.
#[derive(Debug)]
pub struct Source {
    rows: Mutex<BTreeMap<u64, Slot>>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Slot {
    version: u64,
    org: u64,
    loads: u64,
    /// Loads from the first to the second wait.
    held: Option<(u64, u64)>,
}

impl Default for Source {
    fn default() -> Self {
        Self { rows: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Source {
    /// Reads the row at once and hands it out when it is not held: a held load returns what was there when it began.
    pub async fn read(&self, id: u64) -> Row {
        let (row, load) = {
            let mut rows = self.rows.lock();
            let slot = rows.entry(id).or_default();
            slot.loads += 1;
            (Row { id, org: slot.org, version: slot.version }, slot.loads)
        };
        let mut changed = self.changed.subscribe();
        let passes = |(): &()| self.rows.lock()[&id].held.is_none_or(|(first, last)| load < first || load > last);
        let _ = changed.wait_for(passes).await;
        row
    }

    pub fn now(&self, id: u64) -> Row {
        let slot = &self.rows.lock();
        slot.get(&id).map_or(Row { id, org: 0, version: 0 }, |slot| Row { id, org: slot.org, version: slot.version })
    }

    pub fn commit(&self, id: u64) -> Row {
        let mut rows = self.rows.lock();
        let slot = rows.entry(id).or_default();
        slot.version += 1;
        Row { id, org: slot.org, version: slot.version }
    }

    pub fn set_org(&self, id: u64, org: u64) {
        self.rows.lock().entry(id).or_default().org = org;
    }

    pub fn loads(&self, id: u64) -> u64 {
        self.rows.lock().get(&id).map_or(0, |slot| slot.loads)
    }

    /// Loads of the row with these numbers wait, until this is said anew.
    pub fn hold(&self, id: u64, first: u64, last: u64) {
        self.rows.lock().entry(id).or_default().held = Some((first, last));
        self.changed.send_replace(());
    }

    /// No load of the row waits.
    pub fn release(&self, id: u64) {
        self.rows.lock().entry(id).or_default().held = None;
        self.changed.send_replace(());
    }
}

/// A cache, which stands for a process.
#[derive(Debug)]
pub struct Place {
    pub cache: Cache,
    pub source: Arc<Source>,
    loads: AtomicU64,
}

impl Place {
    pub fn new(cache: Cache, source: &Arc<Source>) -> Arc<Self> {
        Arc::new(Self { cache, source: Arc::clone(source), loads: AtomicU64::new(0) })
    }

    pub async fn read(&self, id: u64) -> Row {
        self.loads.fetch_add(1, SeqCst);
        self.source.read(id).await
    }

    pub fn commit(&self, id: u64) -> Row {
        self.source.commit(id)
    }

    /// Loads that began here, of whatever row.
    pub fn loads(&self) -> u64 {
        self.loads.load(SeqCst)
    }
}

/// Three places on one server.
pub struct Fleet {
    pub a: Arc<Place>,
    pub b: Arc<Place>,
    pub c: Arc<Place>,
    pub source: Arc<Source>,
    pub prefix: String,
    admin: redis::aio::MultiplexedConnection,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Fleet {
    /// On the server of all tests.
    pub async fn new() -> Self {
        Self::on(server().await).await
    }

    pub async fn on(server: &'static Server) -> Self {
        let (source, prefix) = (Arc::default(), prefix());
        let place = async || Place::new(builder(&server.url(), &prefix).pool_size(1).build().await.unwrap(), &source);
        let (a, b, c) = (place().await, place().await, place().await);
        let admin = server.connection().await.unwrap();
        Self { a, b, c, source, prefix, admin }
    }

    pub fn places(&self) -> [&Arc<Place>; 3] {
        [&self.a, &self.b, &self.c]
    }

    /// Runs a command on the server, past all proxies.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        within(words[0], command.query_async(&mut self.admin.clone())).await.unwrap()
    }

    /// The names of all keys of these caches, in order.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(&["KEYS", &format!("{}:*", self.prefix)]).await;
        keys.sort_unstable();
        keys
    }

    /// What the server does when it evicts keys.
    pub async fn evict(&self, keys: &[String]) {
        if !keys.is_empty() {
            let words: Vec<&str> = ["DEL"].into_iter().chain(keys.iter().map(String::as_str)).collect();
            self.ask::<u64>(&words).await;
        }
    }

    /// The name of the lease of an entry.
    pub fn lease(&self, key: &str) -> String {
        let prefix = format!("{}:v1:", self.prefix);
        format!("{prefix}%+lease:{{{prefix}{key}}}")
    }

    pub async fn exists(&self, name: &str) -> bool {
        self.ask::<u64>(&["EXISTS", name]).await == 1
    }
}

/// Where a write's body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Outside,
    InBody,
    MayCommit,
    Committed,
    MayReturn,
}

/// Lets a test decide when a write commits and when it returns.
#[derive(Debug)]
pub struct Gate(watch::Sender<Stage>);

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Stage::Outside)))
    }

    /// The write's body.
    pub async fn write(&self, at: &Place, id: u64) -> Row {
        self.reach(Stage::InBody);
        self.reached(Stage::MayCommit).await;
        let row = at.commit(id);
        self.reach(Stage::Committed);
        self.reached(Stage::MayReturn).await;
        row
    }

    fn reach(&self, stage: Stage) {
        self.0.send_modify(|now| *now = stage.max(*now));
    }

    async fn reached(&self, stage: Stage) {
        let _ = self.0.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Waits until the body runs.
    pub async fn in_body(&self) {
        within("the body", self.reached(Stage::InBody)).await;
    }

    /// Has the body commit, and waits until it has.
    pub async fn commit(&self) {
        self.reach(Stage::MayCommit);
        within("the commit", self.reached(Stage::Committed)).await;
    }

    /// Lets the body return.
    pub fn let_go(&self) {
        self.reach(Stage::MayReturn);
    }
}

/// A future that is polled only when the test says so; what it waits for goes on all the same.
pub struct Hand<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    woken: Arc<Woken>,
}

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl<T> std::fmt::Debug for Hand<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hand").field("woken", &self.woken).finish_non_exhaustive()
    }
}

impl<T> Hand<T> {
    pub fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Box::pin(future), woken: Arc::default() }
    }

    /// Polls it once.
    pub fn poll(&mut self) -> Poll<T> {
        self.woken.0.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Waits until what it waits for has come. It is not polled.
    pub async fn woken(&self) {
        soon("a wake-up", || self.woken.0.load(SeqCst)).await;
    }

    /// Leaves it to the runtime.
    pub async fn finish(self) -> T {
        within("a future that was polled by hand", self.future).await
    }
}

/// Fails a test that would hang. A busy machine is given time.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let patience = 3 * LONG;
    timeout(patience, work).await.unwrap_or_else(|_| panic!("took longer than {patience:?}: {what}"))
}

/// Waits, looking every millisecond, for what other tasks or the server do.
pub async fn soon(what: &str, done: impl Fn() -> bool) {
    within(what, async {
        while !done() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// For measuring.
#[allow(clippy::disallowed_methods, reason = "what is measured is what the machine does")]
pub fn now() -> Instant {
    Instant::now()
}

/// What a task returned.
pub async fn ended<T>(what: &str, task: JoinHandle<T>) -> T {
    within(what, task).await.unwrap_or_else(|error| panic!("{what}: {error}"))
}

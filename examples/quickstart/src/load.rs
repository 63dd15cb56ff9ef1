//! The load: many concurrent tasks that read and write, a few users and organisations far more often than the rest.
#![allow(clippy::disallowed_methods, reason = "the lint keeps the library on one clock; a program may read the time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cache_runtime::Cache;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::check::{Check, Moment, Row};
use crate::db::{self, Db, DbError, User};
use crate::service::{Orgs, get_user, get_users, move_user, rename_user, top_orgs};

/// Of a thousand requests, how many write.
const WRITES: u32 = 10;
/// Of a thousand reads, how many are what. The others read one user.
const TOP: u32 = 1;
const OVERVIEWS: u32 = 99;
const BATCHES: u32 = 50;
/// Users in a batch.
const BATCH_SIZE: usize = 5;
/// How skewed the load is: the n-th most frequent user comes up 1/n^1.2 as often as the first.
const SKEW: f64 = 1.2;

/// What to run.
pub(crate) struct Plan {
    pub(crate) tasks: u64,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) users: Zipf,
    pub(crate) orgs: Zipf,
    /// Write to the database past the annotated functions, so that nothing is invalidated.
    pub(crate) break_invalidation: bool,
}

/// What happened.
pub(crate) struct Outcome {
    pub(crate) time: Duration,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Read queries that reached the database.
    pub(crate) queries: u64,
    /// How long reads took, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Rows whose version was checked.
    pub(crate) checked: u64,
    pub(crate) stale: u64,
    /// The first stale reads of each task, in words.
    pub(crate) examples: Vec<String>,
}

/// Runs the load: with `switched_off` as the cache of its tasks, else with the global one.
pub(crate) async fn run(
    plan: &Arc<Plan>,
    db: &Db,
    check: &Arc<Check>,
    switched_off: Option<&Cache>,
    mut progress: impl FnMut(&Tick),
) -> Result<Outcome, DbError> {
    let signs = Arc::new(Signs::default());
    let queries = db.queries();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..plan.tasks {
        let client = Client::new(number, plan, db, check, &signs);
        match switched_off.cloned() {
            Some(cache) => tasks.spawn(async move { cache.scope(client.work()).await }),
            None => tasks.spawn(client.work()),
        };
    }
    while began.elapsed() < plan.time && !signs.stop.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        progress(&Tick { passed: began.elapsed(), reads: signs.reads.load(Relaxed), times: signs.times() });
    }
    signs.stop.store(true, Relaxed);
    let time = began.elapsed();

    let mut outcome = Outcome {
        time,
        reads: 0,
        writes: 0,
        queries: 0,
        latency: histogram(),
        checked: 0,
        stale: 0,
        examples: Vec::new(),
    };
    while let Some(client) = tasks.join_next().await {
        let client = client.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))?;
        outcome.reads += client.latency.len();
        outcome.writes += client.writes;
        outcome.latency += client.latency;
        outcome.checked += client.checked;
        outcome.stale += client.stale;
        outcome.examples.extend(client.examples);
    }
    outcome.queries = db.queries() - queries;
    Ok(outcome)
}

/// How a run is doing.
pub(crate) struct Tick {
    pub(crate) passed: Duration,
    /// Reads so far.
    pub(crate) reads: u64,
    /// Reads since the last tick, by the power of two that their nanoseconds are below.
    pub(crate) times: [u64; 64],
}

/// What the tasks and the progress bar tell each other.
struct Signs {
    stop: AtomicBool,
    reads: AtomicU64,
    times: [AtomicU64; 64],
}

impl Default for Signs {
    fn default() -> Self {
        Self { stop: AtomicBool::default(), reads: AtomicU64::default(), times: [const { AtomicU64::new(0) }; 64] }
    }
}

impl Signs {
    fn took(&self, nanos: u64) {
        self.reads.fetch_add(1, Relaxed);
        self.times[64_u32.saturating_sub(nanos.leading_zeros()).min(63) as usize].fetch_add(1, Relaxed);
    }

    /// Since it was asked the last time.
    fn times(&self) -> [u64; 64] {
        self.times.each_ref().map(|times| times.swap(0, Relaxed))
    }
}

/// One task: it sends a request, waits for the answer, checks it, and sends the next.
struct Client {
    plan: Arc<Plan>,
    db: Db,
    orgs: Orgs,
    check: Arc<Check>,
    signs: Arc<Signs>,
    random: fastrand::Rng,
    latency: Histogram<u64>,
    writes: u64,
    checked: u64,
    stale: u64,
    examples: Vec<String>,
}

impl Client {
    fn new(number: u64, plan: &Arc<Plan>, db: &Db, check: &Arc<Check>, signs: &Arc<Signs>) -> Self {
        Self {
            plan: Arc::clone(plan),
            db: db.clone(),
            orgs: Orgs { db: db.clone() },
            check: Arc::clone(check),
            signs: Arc::clone(signs),
            // The same requests in every run.
            random: fastrand::Rng::with_seed(plan.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            latency: histogram(),
            writes: 0,
            checked: 0,
            stale: 0,
            examples: Vec::new(),
        }
    }

    async fn work(mut self) -> Result<Self, DbError> {
        while !self.signs.stop.load(Relaxed) {
            let result = if self.random.u32(..1000) < WRITES { self.write().await } else { self.read().await };
            if let Err(error) = result {
                self.signs.stop.store(true, Relaxed);
                return Err(error);
            }
            // The next request has yet to arrive; other tasks have theirs.
            tokio::task::yield_now().await;
        }
        Ok(self)
    }

    async fn read(&mut self) -> Result<(), DbError> {
        let kind = self.random.u32(..1000);
        let moment = self.check.now();
        if kind < TOP {
            let began = Instant::now();
            top_orgs(&self.db, 10).await?;
            self.took(began);
        } else if kind < TOP + OVERVIEWS {
            let org_id = self.plan.orgs.pick(&mut self.random);
            let began = Instant::now();
            let overview = self.orgs.overview(org_id).await?;
            self.took(began);
            self.saw(Row::Org(org_id), moment, overview.map(|overview| overview.version));
        } else if kind < TOP + OVERVIEWS + BATCHES {
            let ids: Vec<u64> = (0..BATCH_SIZE).map(|_| self.plan.users.pick(&mut self.random)).collect();
            let began = Instant::now();
            let users = get_users(&self.db, ids.clone()).await?;
            self.took(began);
            for id in ids {
                self.saw_user(id, moment, users.get(&id).map(|user| &**user));
            }
        } else {
            let user_id = self.plan.users.pick(&mut self.random);
            let began = Instant::now();
            let user = get_user(&self.db, user_id).await?;
            self.took(began);
            self.saw_user(user_id, moment, user.as_deref());
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), DbError> {
        let (db, past) = (&self.db, self.plan.break_invalidation);
        let user_id = self.plan.users.pick(&mut self.random);
        let org_id = self.plan.orgs.pick(&mut self.random);
        match self.random.u32(..100) {
            0 => {
                let name = db::org_name(&mut self.random);
                let version =
                    if past { db.rename_org(org_id, name).await? } else { self.orgs.rename(org_id, name).await? };
                self.check.wrote(Row::Org(org_id), version);
            }
            1..=4 => {
                let moved =
                    if past { db.move_user(user_id, org_id).await? } else { move_user(db, user_id, org_id).await? };
                self.check.wrote(Row::User(user_id), moved.user_version);
                self.check.wrote(Row::Org(moved.left.id), moved.left.version);
                self.check.wrote(Row::Org(moved.joined.id), moved.joined.version);
            }
            _ => {
                let name = db::user_name(&mut self.random);
                let version =
                    if past { db.rename_user(user_id, name).await? } else { rename_user(db, user_id, name).await? };
                self.check.wrote(Row::User(user_id), version);
            }
        }
        self.writes += 1;
        Ok(())
    }

    fn took(&mut self, began: Instant) {
        let nanos = began.elapsed().as_nanos() as u64;
        self.latency.saturating_record(nanos);
        self.signs.took(nanos);
    }

    fn saw_user(&mut self, id: u64, began: Moment, user: Option<&User>) {
        self.saw(Row::User(id), began, user.filter(|user| user.id == id).map(|user| user.version));
        if let Some(user) = user {
            self.saw(Row::Org(user.org_id), began, Some(user.org_version));
        }
    }

    /// Checks what a read showed of a row; a row that is not there shows version 0.
    fn saw(&mut self, row: Row, began: Moment, shown: Option<u64>) {
        self.checked += 1;
        let shown = shown.unwrap_or(0);
        if let Some(required) = self.check.missed(row, began, shown) {
            self.stale += 1;
            if self.examples.is_empty() {
                self.examples
                    .push(format!("{row} was read at version {shown} after version {required} had been written"));
            }
        }
    }
}

/// From 1 ns to 1 min, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap_or_else(|_| unreachable!("the bounds are sound"))
}

/// Random numbers from 0 on, a few of them far more often than the rest.
pub(crate) struct Zipf {
    /// Sums of the shares; the last is 1.
    sums: Vec<f64>,
    /// Which number is the n-th most frequent.
    ranks: Vec<u64>,
}

impl Zipf {
    pub(crate) fn new(count: u64, seed: u64) -> Self {
        let mut sums: Vec<f64> = (1..=count)
            .scan(0.0, |sum, n| {
                *sum += (n as f64).powf(-SKEW);
                Some(*sum)
            })
            .collect();
        let total = sums.last().copied().unwrap_or(1.0);
        sums.iter_mut().for_each(|sum| *sum /= total);
        let mut ranks: Vec<u64> = (0..count).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut ranks);
        Self { sums, ranks }
    }

    fn pick(&self, random: &mut fastrand::Rng) -> u64 {
        let point = random.f64();
        let rank = self.sums.partition_point(|sum| *sum <= point);
        self.ranks[rank.min(self.ranks.len() - 1)]
    }
}

//! Operations, one by one or at random, and what is written down about them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::Cache;
use cache_tests::history::{Dice, Event, FAMILIES, Got, How, Log, OpId, ROWS, Source, is_fenced, now, row_name};
use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::function::{At, Trouble, read, write};

/// How often is looked whether invalidations that waited have been delivered.
const LOOK: Duration = Duration::from_millis(3);

/// When the process is to die: in the middle of one of its writes, by its own hand and so exactly there.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Bodies of reads that have begun.
    pub(crate) loads: AtomicU64,
    writes: AtomicU64,
    /// In which write; 0: in none.
    dies_in: AtomicU64,
    after_commit: AtomicBool,
}

impl Fate {
    pub(crate) fn before_commit(&self) {
        let number = self.writes.fetch_add(1, SeqCst) + 1;
        if number == self.dies_in.load(SeqCst) && !self.after_commit.load(SeqCst) {
            die();
        }
    }

    pub(crate) fn after_commit(&self) {
        let due = self.dies_in.load(SeqCst);
        // Writes overlap: the first one that gets here.
        if due != 0 && self.writes.load(SeqCst) >= due && self.after_commit.load(SeqCst) {
            die();
        }
    }
}

fn die() {
    let _ = kill_process(getpid(), Signal::KILL);
}

/// What lives as long as the process.
pub(crate) struct World {
    cache: Cache,
    source: Arc<Source>,
    log: Arc<Log>,
    fate: Arc<Fate>,
    process: u64,
    operations: AtomicU64,
    stop: AtomicBool,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    /// Writes that have ended, and whose invalidation waits.
    waiting: Mutex<Vec<OpId>>,
}

/// What an operation does.
#[derive(Clone, Copy)]
struct Plan<'p> {
    family: &'p str,
    id: u64,
    before: Duration,
    after: Duration,
    /// After which it is dropped.
    patience: Option<Duration>,
}

impl<'p> Plan<'p> {
    fn of(with: &'p Value) -> Self {
        Self {
            family: with["family"].as_str().unwrap_or_default(),
            id: with["id"].as_u64().unwrap_or_default(),
            before: Duration::from_millis(with["before_ms"].as_u64().unwrap_or_default()),
            after: Duration::from_millis(with["hold_ms"].as_u64().unwrap_or_default()),
            patience: None,
        }
    }
}

impl World {
    /// `url`, `rows`, `log`, `number`, `l1_lease_ms`
    pub(crate) async fn open(with: &Value) -> Result<Arc<Self>, String> {
        let text = |name: &str| with[name].as_str().unwrap_or_default();
        let cache = Cache::builder().ignore_env().url(text("url")).prefix("history");
        // Shorter than the faults, which are short because the run is.
        let cache = cache.connect_timeout(Duration::from_millis(300)).response_timeout(Duration::from_millis(150));
        let cache = cache.l1_lease(Duration::from_millis(with["l1_lease_ms"].as_u64().unwrap_or(1_000)));
        let world = Arc::new(Self {
            cache: cache.build().await.map_err(|error| error.to_string())?,
            source: Arc::new(Source::open(Path::new(text("rows")))),
            log: Arc::new(Log::create(Path::new(text("log"))).map_err(|error| error.to_string())?),
            fate: Arc::default(),
            process: with["number"].as_u64().unwrap_or_default(),
            operations: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            tasks: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
        });
        tokio::spawn(watch(Arc::clone(&world)));
        Ok(world)
    }

    /// `run` (`seed`, `tasks`, `writes_once_in`, `die_in_write`, `die_after_commit`), `halt`; `read` and `write` (`family`, `id`, `before_ms`, `hold_ms`),
    /// `start read` (which does not wait), `settle` (which does), `hammer` (`times` besides), `loads`, `undelivered`.
    pub(crate) async fn command(self: &Arc<Self>, name: &str, with: &Value) -> Result<Value, String> {
        let number = |name: &str| with[name].as_u64().unwrap_or_default();
        match name {
            "run" => {
                self.fate.dies_in.store(number("die_in_write"), SeqCst);
                self.fate.after_commit.store(with["die_after_commit"] == true, SeqCst);
                let mut dice = Dice::new(number("seed"));
                let mut tasks = self.tasks.lock().await;
                for _ in 0..number("tasks") {
                    tasks.spawn(at_random(Arc::clone(self), Dice::new(dice.roll()), number("writes_once_in")));
                }
            }
            "halt" => {
                // Whoever is to die has had its chance.
                self.fate.dies_in.store(0, SeqCst);
                self.stop.store(true, SeqCst);
                self.settle().await?;
            }
            "read" => return Ok(self.read(Plan::of(with)).await.map_or(Value::Null, |version| json!(version))),
            "write" => self.write(Plan::of(with)).await,
            "start read" => {
                let (world, with) = (Arc::clone(self), with.clone());
                self.tasks.lock().await.spawn(async move {
                    let _ = world.read(Plan::of(&with)).await;
                });
            }
            "hammer" => self.hammer(Plan::of(with), number("times")).await?,
            "settle" => self.settle().await?,
            "loads" => return Ok(json!(self.fate.loads.load(SeqCst))),
            "undelivered" => return Ok(json!(self.cache.stats().undelivered)),
            _ => return Err(format!("unknown command `{name}`")),
        }
        Ok(Value::Null)
    }

    /// Writes a row and reads it at once, again and again, while others read it all the time.
    async fn hammer(self: &Arc<Self>, plan: Plan<'_>, times: u64) -> Result<(), String> {
        const READERS: u64 = 3;
        let over = Arc::new(AtomicBool::new(false));
        let mut readers = JoinSet::new();
        for _ in 0..READERS {
            let (world, over, family) = (Arc::clone(self), Arc::clone(&over), plan.family.to_owned());
            readers.spawn(async move {
                while !over.load(SeqCst) {
                    world.read(Plan { family: &family, ..plan }).await;
                    tokio::task::yield_now().await;
                }
            });
        }
        for _ in 0..times {
            self.write(plan).await;
            self.read(plan).await;
            self.read(plan).await;
        }
        over.store(true, SeqCst);
        while let Some(ended) = readers.join_next().await {
            ended.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn settle(&self) -> Result<(), String> {
        let mut tasks = self.tasks.lock().await;
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn at(&self, plan: Plan<'_>) -> At {
        At {
            cache: self.cache.clone(),
            source: Arc::clone(&self.source),
            log: Arc::clone(&self.log),
            fate: Arc::clone(&self.fate),
            op: (self.process << 32) | self.operations.fetch_add(1, SeqCst),
            before: plan.before,
            after: plan.after,
            loaded: Arc::default(),
        }
    }

    /// One read, written down. Returns its version.
    async fn read(&self, plan: Plan<'_>) -> Option<u64> {
        let at = self.at(plan);
        let start = now();
        let done = patiently(plan.patience, read(&at, plan.family, plan.id)).await?;
        let end = now();
        let got = match done {
            Ok(row) => {
                let loaded = at.loaded.load(SeqCst);
                Got::Row { name: row.name, version: row.version, by: row.by, loaded }
            }
            Err(Trouble::Cache(error)) if plan.family == "strict" => Got::Refused(error),
            Err(Trouble::Cache(error)) => Got::Failed(error),
            Err(Trouble::Source(error)) => panic!("{error}"),
        };
        let version = if let Got::Row { version, .. } = &got { Some(*version) } else { None };
        self.log.add(&Event::Read { op: at.op, row: row_name(plan.family, plan.id), start, end, got });
        version
    }

    /// One write, written down.
    async fn write(&self, plan: Plan<'_>) {
        let at = self.at(plan);
        let (op, row, fenced) = (at.op, row_name(plan.family, plan.id), is_fenced(plan.family));
        self.log.add(&Event::Writing { op, row, fenced, at: now() });
        let done = patiently(plan.patience, write(&at, plan.family, plan.id)).await;
        let waits = self.cache.stats().undelivered != 0;
        let how = match done {
            Some(Ok(_)) if !waits => How::Acknowledged,
            Some(Ok(_)) => How::Kept,
            Some(Err(Trouble::Cache(error))) => How::Refused(error),
            Some(Err(Trouble::Source(error))) => panic!("{error}"),
            None => How::Cancelled,
        };
        if how != How::Acknowledged {
            self.waiting.lock().push(op);
        }
        self.log.add(&Event::Written { op, end: now(), how });
    }
}

async fn patiently<T>(patience: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match patience {
        Some(patience) => timeout(patience, work).await.ok(),
        None => Some(work.await),
    }
}

/// Writes down when invalidations that waited have been delivered.
async fn watch(world: Arc<World>) {
    loop {
        sleep(LOOK).await;
        // Taken before looking: what comes in between is for the next time.
        let ops = world.waiting.lock().clone();
        if !ops.is_empty() && world.cache.stats().undelivered == 0 {
            world.waiting.lock().retain(|op| !ops.contains(op));
            world.log.add(&Event::Delivered { ops, at: now() });
        }
    }
}

/// One operation after the other.
async fn at_random(world: Arc<World>, mut dice: Dice, writes_once_in: u64) {
    while !world.stop.load(SeqCst) {
        let writes = writes_once_in > 0 && dice.once_in(writes_once_in);
        let mut now_and_then = |times, most| {
            let ms = dice.between(1, most);
            if dice.once_in(times) { Duration::from_millis(ms) } else { Duration::ZERO }
        };
        let (before, after) = (now_and_then(4, 5), now_and_then(if writes { 3 } else { 6 }, 30));
        let patience = now_and_then(20, 8);
        let plan = Plan {
            family: dice.of::<&str>(&FAMILIES),
            id: dice.below(ROWS),
            before,
            after,
            patience: (!patience.is_zero()).then_some(patience),
        };
        if writes {
            world.write(plan).await;
        } else {
            world.read(plan).await;
        }
        sleep(Duration::from_millis(dice.below(4))).await;
    }
}

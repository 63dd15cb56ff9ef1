//! All calls while a fault lasts, and a look at the whole after it.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::Cache;
use cache_tests::eventually;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::call::{self, judged};
use crate::fault::World;
use crate::fleet::{LONG, Place, Source, now};
use crate::table::{Comes, Fault, Later, Op, READS, Row, WRITES};

/// Rows that are there before. The first is for the first calls.
const KNOWN: std::ops::Range<u64> = 0..8;

/// Rows that are written while the fault lasts.
const WRITTEN: std::ops::Range<u64> = 100..120;

/// Rows that nobody has read: one for each call from here on.
const COLD: u64 = 1_000;

/// Sequential calls of each kind after the first ones.
const LATER: u64 = 3;

/// δ.
const LEASE: Duration = Duration::from_millis(400);

/// On top of what a call waits for. A busy machine takes some of it.
const BUSY: Duration = Duration::from_secs(4);

/// Commands that may be on their way to a silent server before it counts as away: those of the first calls, and three for
/// each connection.
const AT_FIRST: u64 = 64;

/// Caches of one kind, each of which stands for a process: one that only reads, one that writes, and one beside, past what is
/// broken.
struct Side {
    what: String,
    row: &'static Row,
    hybrid: bool,
    timeout: Duration,
    source: Arc<Source>,
    reader: Arc<Place>,
    writer: Arc<Place>,
    beside: Arc<Place>,
}

/// One fault, from before it to after it.
pub(crate) async fn run(row: &'static Row, connections: u32) {
    let mut world = World::new(row.fault).await;
    // Own connections of the test have ended, too, before tasks are counted.
    sleep(Duration::from_millis(20)).await;
    let tasks = alive();
    let sides = [Side::new(&world, row, false, connections).await, Side::new(&world, row, true, connections).await];
    for side in &sides {
        side.warm().await;
    }
    world.remember().await;
    // What was there at that time is old.
    for side in &sides {
        for id in KNOWN {
            call::write(&side.beside, id).await;
        }
        side.warm().await;
    }
    world.begin().await;
    tokio::join!(sides[0].first(&world), sides[1].first(&world));
    tokio::join!(sides[0].later(&world), sides[1].later(&world));
    let during = alive();
    assert!(during < tasks + 100, "{}: {during} tasks, and {tasks} before", row.name());
    world.end().await;
    tokio::join!(sides[0].healed(), sides[1].healed());
    drop(sides);
    eventually(&format!("{}: all tasks end with the caches", row.name()), LONG, async || alive() <= tasks).await;
}

/// Tasks of this runtime.
fn alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

impl Side {
    async fn new(world: &World, row: &'static Row, hybrid: bool, connections: u32) -> Self {
        let timeout = world.timeout(row.silent);
        let (which, source) = (usize::from(hybrid), Arc::<Source>::default());
        let scheme = if hybrid { "hybrid+" } else { "" };
        // Answers have to be quicker than δ.
        let lease = match (hybrid, row.fault) {
            (false, _) => Duration::ZERO,
            (true, Fault::Slow(300)) => Duration::from_secs(2),
            (true, _) => LEASE,
        };
        let place = async |through: Option<usize>| {
            let url = format!("{scheme}{}", world.url(through).await);
            let builder = Cache::builder().ignore_env().url(url).prefix(&world.prefixes[which]).l1_lease(lease);
            let builder = builder.connect_timeout(timeout).response_timeout(timeout).pool_size(connections);
            Place::new(builder.build().await.unwrap(), &source)
        };
        let (reader, writer, beside) = (place(Some(which)).await, place(Some(which)).await, place(None).await);
        let what = format!("{} ({})", row.name(), if hybrid { "hybrid" } else { "redis" });
        Self { what, row, hybrid, timeout, source, reader, writer, beside }
    }

    fn places(&self) -> [&Arc<Place>; 3] {
        [&self.reader, &self.writer, &self.beside]
    }

    async fn warm(&self) {
        for id in KNOWN {
            call::warm(&self.reader, id).await;
        }
        for id in KNOWN {
            self.until_hit("before", &self.reader, id).await;
        }
        for id in WRITTEN {
            for at in [&self.writer, &self.beside] {
                call::known(at, id).await;
            }
        }
        if self.hybrid {
            eventually(&format!("{}: copies are served", self.what), LONG, async || {
                self.reader.cache.stats().copies_served == Some(true)
            })
            .await;
            for id in KNOWN {
                call::known(&self.reader, id).await;
            }
        }
    }

    fn reads(&self) -> impl Iterator<Item = Op> + use<> {
        let other = if self.hybrid { Op::Known } else { Op::Copied };
        READS.into_iter().filter(move |op| *op != other)
    }

    /// How long a call may take.
    fn limit(&self, op: Op) -> Duration {
        if self.row.silent { self.timeout * 2 * op.waits() * 3 + BUSY } else { BUSY * op.waits() }
    }

    /// Everything at once.
    async fn first(&self, world: &World) {
        if let Some(proxy) = world.proxy(usize::from(self.hybrid)) {
            proxy.reset();
        }
        let mut calls = JoinSet::new();
        for op in self.reads() {
            let (at, limit) = (Arc::clone(&self.reader), self.limit(op));
            let what = format!("{}: the first {op:?}", self.what);
            let (cell, late) = (self.row.cell(op), self.row.silent || self.hybrid);
            let is_known = matches!(op, Op::Copied | Op::Known);
            let version = if is_known { self.source.now(0).version } else { 0 };
            calls.spawn(async move {
                let before = call::stats(&at, op);
                let returned = timed(&what, limit, call::read(&at, op, 0, COLD)).await;
                let comes = judged(op, &returned, &before, &call::stats(&at, op));
                // Copies are served until it is known that they must not be.
                let copy = late && comes == Comes::Hit && is_known;
                assert!(copy || cell.contains(&comes), "{what}: {comes:?}, not {cell:?}");
                let is_right = returned.is_ok_and(|value| value.is_none_or(|value| value == version));
                assert!(returned.is_err() || is_right, "{what}: {returned:?}, and the source has {version}");
            });
        }
        for (op, id) in WRITES.into_iter().zip(WRITTEN) {
            let (at, source) = (Arc::clone(&self.writer), Arc::clone(&self.source));
            let (limit, cell) = (self.limit(op), self.row.cell(op));
            let what = format!("{}: the first {op:?}", self.what);
            calls.spawn(async move {
                let returned = timed(&what, limit, call::invalidate(&at, op, id)).await;
                match returned {
                    Ok(version) => {
                        assert_eq!(version, 1, "{what}");
                        let may = |comes: &Comes| matches!(comes, Comes::Sent | Comes::Kept);
                        assert!(cell.iter().any(may), "{what}: it succeeded, which is not in {cell:?}");
                    }
                    Err(kind) => assert!(cell.contains(&Comes::Fails(kind)), "{what}: {kind:?}, not {cell:?}"),
                }
                assert_eq!(source.now(id).version, 1, "{what}: the body ran once");
                let read = timed(&what, limit, call::known(&at, id)).await;
                assert_eq!(read.version, 1, "{what}: its own write is read");
            });
        }
        while let Some(ended) = calls.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// One after the other, when it is known that something is wrong.
    async fn later(&self, world: &World) {
        let proxy = world.proxy(usize::from(self.hybrid));
        let afresh = self.row.later == Later::Afresh;
        // A server that has come back may have its copies served again before anybody looks.
        if self.hybrid && !afresh && !self.row.cell(Op::Copied).contains(&Comes::Hit) {
            let served = async || self.reader.cache.stats().copies_served == Some(true);
            eventually(&format!("{}: copies are not served", self.what), LONG, async || !served().await).await;
        }
        if self.row.later == Later::Nothing {
            self.found_out(world).await;
        }
        if afresh {
            for at in [&self.reader, &self.writer] {
                eventually(&format!("{}: the server is used again", self.what), LONG, async || {
                    at.cache.ping().await.is_ok() && at.cache.stats().undelivered == 0
                })
                .await;
            }
            // Copies of what was there before end with their lease, whatever anybody has noticed.
            sleep(LEASE).await;
        }
        let sent = proxy.map(data);
        // Three calls of each kind take half a minute there.
        let times = if self.row.fault == Fault::Slow(300) { 1 } else { LATER };
        for n in 0..times {
            for op in self.reads() {
                self.one_read(op, 1 + n, COLD + 1 + n).await;
            }
            for (op, id) in WRITES.into_iter().zip(WRITTEN.skip((1 + n) as usize * WRITES.len())) {
                self.one_write(op, id).await;
            }
            if proxy.is_some() {
                self.write_beside(1 + n).await;
            }
        }
        if let (Some(sent), Some(proxy), Later::Nothing) = (sent, proxy, self.row.later) {
            let more = data(proxy) - sent;
            assert_eq!(more, 0, "{}: a server that is away is asked: {:?}", self.what, proxy.commands());
            assert!(sent <= AT_FIRST, "{}: {sent} commands before it counted as away", self.what);
        }
    }

    /// Waits until both processes know. What finds out are calls.
    async fn found_out(&self, world: &World) {
        for at in [&self.reader, &self.writer] {
            eventually(&format!("{}: the server counts as away", self.what), LONG, async || {
                let sent = world.proxy(usize::from(self.hybrid)).map(data);
                let begun = now();
                let failed = at.cache.get::<u64>("nothing").await.is_err();
                let at_once = begun.elapsed() < self.timeout / 2;
                let nothing = world.proxy(usize::from(self.hybrid)).map(data) == sent;
                failed && at_once && nothing
            })
            .await;
        }
    }

    /// What a later call may come to.
    fn ways(&self, op: Op) -> &'static [Comes] {
        let cell = self.row.cell(op);
        if self.row.later == Later::Afresh { &cell[..1] } else { cell }
    }

    async fn one_read(&self, op: Op, known: u64, cold: u64) {
        let what = format!("{}: a later {op:?}", self.what);
        let (at, cell) = (&self.reader, self.ways(op));
        let (before, version) = (call::stats(at, op), self.source.now(known).version);
        let returned = timed(&what, BUSY, call::read(at, op, known, cold)).await;
        let comes = judged(op, &returned, &before, &call::stats(at, op));
        assert!(cell.contains(&comes), "{what}: {comes:?}, not {cell:?}");
        let is_function = !matches!(op, Op::Get | Op::Set | Op::Cold | Op::Lock | Op::Strict | Op::Batch);
        assert!(!is_function || returned == Ok(Some(version)), "{what}: {returned:?}, and the source has {version}");
    }

    async fn one_write(&self, op: Op, id: u64) {
        let what = format!("{}: a later {op:?}", self.what);
        let (at, cell) = (&self.writer, self.ways(op));
        let kept = at.cache.stats().undelivered_total;
        let returned = timed(&what, BUSY, call::invalidate(at, op, id)).await;
        let kept = at.cache.stats().undelivered_total - kept;
        let comes = match returned {
            Ok(_) if kept == 0 => Comes::Sent,
            Ok(_) => Comes::Kept,
            Err(kind) => Comes::Fails(kind),
        };
        assert!(cell.contains(&comes), "{what}: {comes:?}, not {cell:?}");
        assert!(comes == Comes::Sent || kept > 0, "{what}: what failed is kept");
        assert_eq!(self.source.now(id).version, 1, "{what}: the body ran once");
        let read = timed(&what, BUSY, call::known(at, id)).await;
        assert_eq!(read.version, 1, "{what}: its own write is read");
    }

    /// P1: what another process writes meanwhile, and has told the server.
    async fn write_beside(&self, id: u64) {
        let written = call::write(&self.beside, id).await.version;
        assert_eq!(self.beside.cache.stats().undelivered, 0, "{}: nothing is wrong there", self.what);
        if self.reader.cache.stats().copies_served == Some(true) {
            // Another process' copy may be served for so long.
            sleep(LEASE.max(Duration::from_secs(if self.row.fault == Fault::Slow(300) { 2 } else { 0 }))).await;
        }
        let read = timed(&self.what, BUSY, call::known(&self.reader, id)).await.version;
        assert!(read >= written, "{}: {read} after {written} was written elsewhere", self.what);
    }

    /// Afterwards: everything is delivered, nothing old is read by anybody, and hits are hits again, all by itself.
    async fn healed(&self) {
        for at in self.places() {
            let delivered = async || at.cache.stats().undelivered == 0;
            eventually(&format!("{}: everything is delivered", self.what), LONG, delivered).await;
        }
        if self.hybrid {
            sleep(LEASE).await;
        }
        for id in WRITTEN.chain(KNOWN) {
            let newest = self.source.now(id).version;
            for at in self.places() {
                let read = timed(&self.what, BUSY, call::known(at, id)).await.version;
                assert_eq!(read, newest, "{}: row {id} afterwards", self.what);
            }
        }
        for id in [0, 1, WRITTEN.start, WRITTEN.start + 1] {
            for at in self.places() {
                self.until_hit("afterwards", at, id).await;
            }
        }
        for at in self.places() {
            let degraded = at.cache.stats().degraded;
            assert!(call::strict(at, 0).await.is_ok(), "{}: a function that is to fail, afterwards", self.what);
            let _ = call::lock(at, 0).await;
            at.cache.set("after", 1_u64).await.unwrap();
            assert_eq!(at.cache.get::<u64>("after").await.unwrap(), Some(1), "{}", self.what);
            assert_eq!(at.cache.stats().degraded, degraded, "{}: still degraded afterwards", self.what);
            if self.hybrid {
                let served = async || at.cache.stats().copies_served == Some(true);
                eventually(&format!("{}: copies are served again", self.what), LONG, served).await;
            }
            let quiet = async || at.cache.stats().background == 0 && at.cache.stats().flights == 0;
            eventually(&format!("{}: background work ends", self.what), LONG, quiet).await;
            timed(&self.what, BUSY, at.cache.close()).await.unwrap();
        }
    }

    /// Reads until a read is a hit. Each of them has to be the newest.
    async fn until_hit(&self, when: &str, at: &Arc<Place>, id: u64) {
        eventually(&format!("{}: row {id} is a hit {when}", self.what), 3 * LONG, async || {
            let hits = call::stats(at, Op::Known).hits;
            let read = call::known(at, id).await.version;
            assert_eq!(read, self.source.now(id).version, "{}: row {id} {when}", self.what);
            call::stats(at, Op::Known).hits > hits
        })
        .await;
    }
}

/// Commands that callers sent, and not those that look whether the server is there.
fn data(proxy: &cache_tests::redis::Proxy) -> u64 {
    let commands = proxy.commands();
    ["GET", "MGET", "SET", "EVAL", "UNLINK"].iter().map(|name| commands.get(*name).copied().unwrap_or_default()).sum()
}

async fn timed<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("{what}: took longer than {limit:?}"))
}

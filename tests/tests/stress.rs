//! P1 under randomized load: tasks read and write versioned rows through every kind of invalidation, with loads that yield
//! and sleep, callers that go away, evictions, on both engines; every read is checked.
//!
//! *A read that began after a write returned shows at least that write's version, and no value that was never written.*
//!
//! `CACHE_STRESS_SECONDS` (default 2 in all) makes it longer; `CACHE_STRESS_SEED` starts from the seed that a failure prints.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Cache, Engine, cache_read, cache_write, memoize};
use serde::{Deserialize, Serialize};

const ROWS: u64 = 3;
const TASKS: u64 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    id: u64,
    org: u64,
    version: u64,
}

/// What is read by one kind of function, and written by those that invalidate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Tagged,
    ByResult,
    Batch,
    Memoized,
    Direct,
    Named,
}
use Family::{Batch, ByResult, Direct, Memoized, Named, Tagged};

const FAMILIES: [Family; 6] = [Tagged, ByResult, Batch, Memoized, Direct, Named];

#[derive(Debug, Default)]
struct Slot {
    /// As the database has it.
    committed: AtomicU64,
    /// What the last write that returned had committed.
    returned: AtomicU64,
}

#[derive(Debug)]
struct Db {
    cache: Cache,
    slots: Vec<Slot>,
    dice: AtomicU64,
}

/// splitmix64
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Db {
    fn roll(&self) -> u64 {
        mix(self.dice.fetch_add(1, SeqCst))
    }

    fn slot(&self, family: Family, id: u64) -> &Slot {
        &self.slots[(family as u64 * ROWS + id) as usize]
    }

    async fn pause(&self) {
        let roll = self.roll();
        match roll % 8 {
            0..=3 => {}
            4..=6 => {
                for _ in 0..roll / 8 % 4 {
                    tokio::task::yield_now().await;
                }
            }
            _ => tokio::time::sleep(Duration::from_micros(roll / 8 % 1500)).await,
        }
    }

    fn now(&self, family: Family, id: u64) -> Row {
        Row { id, org: id % 2, version: self.slot(family, id).committed.load(SeqCst) }
    }

    async fn load(&self, family: Family, id: u64) -> Row {
        self.pause().await;
        let row = self.now(family, id);
        self.pause().await;
        row
    }

    async fn commit(&self, family: Family, id: u64) -> Row {
        self.pause().await;
        let version = self.slot(family, id).committed.fetch_add(1, SeqCst) + 1;
        self.pause().await;
        Row { id, org: id % 2, version }
    }
}

// ----------------------------------------------------------------------------------------------------------------- reads

#[cache_read(key = "a:<id>", cache = db.cache, tags = ["ta:<id>", "a"], skip(db))]
async fn tagged(db: &Db, id: u64) -> Row {
    db.load(Tagged, id).await
}

#[cache_read(key = "b:<id>", cache = db.cache, tags = ["tb:<id>", "org:<result.org>"], skip(db))]
async fn by_result(db: &Db, id: u64) -> Option<Arc<Row>> {
    Some(Arc::new(db.load(ByResult, id).await))
}

#[cache_read(key = "c:<id>", cache = db.cache, tags = ["tc:<id>"], each(id in ids), skip(db))]
async fn batch(db: &Db, ids: Vec<u64>) -> HashMap<u64, Row> {
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, db.load(Batch, id).await);
    }
    rows
}

#[memoize(key = "d:<id>", cache = db.cache, tags = ["td:<id>"], capacity = 2, skip(db))]
fn memoized(db: &Db, id: u64) -> Row {
    let row = db.now(Memoized, id);
    if db.roll().is_multiple_of(4) {
        std::thread::yield_now();
    }
    row
}

#[cache_read(key = "n:<id>", cache = db.cache, namespace = "space:<id>", skip(db))]
async fn named(db: &Db, id: u64) -> Result<Row, std::fmt::Error> {
    let row = db.load(Named, id).await;
    if db.roll().is_multiple_of(16) { Err(std::fmt::Error) } else { Ok(row) }
}

async fn direct(db: &Db, id: u64) -> Row {
    let load = || async { Ok::<_, std::convert::Infallible>(db.load(Direct, id).await) };
    let Ok(row) = db.cache.get_or_load(format!("e:{id}"), load).tags([format!("te:{id}")]).await;
    row
}

// ---------------------------------------------------------------------------------------------------------------- writes

#[cache_write(cache = db.cache, tags = ["ta:<id>"])]
async fn write_tag(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, keys = ["a:<id>"])]
async fn write_key(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, patterns = ["a:<id>*"])]
async fn write_pattern(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, tags = ["a:<result.id>"])]
async fn write_default_tag(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, tags = ["ta:<id>"], put = tagged(db, id))]
async fn write_put(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, put = tagged(db, id))]
async fn write_put_alone(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, put = tagged(db, result.id))]
async fn write_put_of_result(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, tags = ["ta:<id>"], recache = [tagged(db, id)])]
async fn write_recache(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, tags = ["other"], recache = [tagged(db, id)])]
async fn write_recache_alone(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, tags = ["ta:<id>"], fence = "10s")]
async fn write_fenced(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, tags = ["ta:<id>"], fence = "10s", put = tagged(db, id))]
async fn write_fenced_put(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, tags = ["ta:<id>"], before = true)]
async fn write_before(db: &Db, id: u64) -> Row {
    db.commit(Tagged, id).await
}
#[cache_write(cache = db.cache, tags = ["org:<result.org>"])]
async fn write_result_tag(db: &Db, id: u64) -> Row {
    db.commit(ByResult, id).await
}
#[cache_write(cache = db.cache, tags = ["tb:<id>"], put = by_result(db, id))]
async fn write_result_put(db: &Db, id: u64) -> Row {
    db.commit(ByResult, id).await
}
#[cache_write(cache = db.cache, tags = ["tb:<id>"], recache = [by_result(db, id)])]
async fn write_result_recache(db: &Db, id: u64) -> Row {
    db.commit(ByResult, id).await
}
#[cache_write(cache = db.cache, tags = ["tc:<id>"])]
async fn write_batch_tag(db: &Db, id: u64) -> Row {
    db.commit(Batch, id).await
}
#[cache_write(cache = db.cache, keys = ["c:<id>"])]
async fn write_batch_key(db: &Db, id: u64) -> Row {
    db.commit(Batch, id).await
}
#[cache_write(cache = db.cache, tags = ["td:<id>"])]
async fn write_memoized_tag(db: &Db, id: u64) -> Row {
    db.commit(Memoized, id).await
}
#[cache_write(cache = db.cache, keys = ["d:<id>"])]
async fn write_memoized_key(db: &Db, id: u64) -> Row {
    db.commit(Memoized, id).await
}
#[cache_write(cache = db.cache, tags = ["te:<id>"])]
async fn write_direct_tag(db: &Db, id: u64) -> Row {
    db.commit(Direct, id).await
}
#[cache_write(cache = db.cache, namespaces = ["space:<id>"])]
async fn write_namespace(db: &Db, id: u64) -> Row {
    db.commit(Named, id).await
}

/// One write by a random way. The name of the way is for the report.
async fn write(db: &Db, family: Family, id: u64, roll: u64) -> (&'static str, Row) {
    // Committed by hand, then invalidated directly.
    let how = match (family, roll % 24) {
        (Tagged, 0) => return ("tag", write_tag(db, id).await),
        (Tagged, 1) => return ("key", write_key(db, id).await),
        (Tagged, 2) => return ("pattern", write_pattern(db, id).await),
        (Tagged, 3) => return ("default tag", write_default_tag(db, id).await),
        (Tagged, 4..=6) => return ("put", write_put(db, id).await),
        (Tagged, 7..=9) => return ("put alone", write_put_alone(db, id).await),
        (Tagged, 10..=12) => return ("put of result", write_put_of_result(db, id).await),
        (Tagged, 13) => return ("recache", write_recache(db, id).await),
        (Tagged, 14) => return ("recache alone", write_recache_alone(db, id).await),
        (Tagged, 15) => return ("fence", write_fenced(db, id).await),
        (Tagged, 16) => return ("fenced put", write_fenced_put(db, id).await),
        (Tagged, 17) => return ("before", write_before(db, id).await),
        (ByResult, 0..=9) => return ("result tag", write_result_tag(db, id).await),
        (ByResult, 10..=15) => return ("put with result tags", write_result_put(db, id).await),
        (ByResult, 16..=19) => return ("recache with result tags", write_result_recache(db, id).await),
        (Batch, 0..=9) => return ("batch tag", write_batch_tag(db, id).await),
        (Batch, 10..=19) => return ("batch key", write_batch_key(db, id).await),
        (Memoized, 0..=9) => return ("memoized tag", write_memoized_tag(db, id).await),
        (Memoized, 10..=19) => return ("memoized key", write_memoized_key(db, id).await),
        (Direct, 0..=9) => return ("direct tag", write_direct_tag(db, id).await),
        (Named, 0..=15) => return ("namespace", write_namespace(db, id).await),
        (_, roll) => roll,
    };
    let row = db.commit(family, id).await;
    let key = |letter: char| format!("{letter}:{id}");
    let cache = &db.cache;
    let how = match (family, how) {
        (_, 23) => cache.clear().await.map(|()| "clear"),
        (Tagged, 18) => tagged::invalidate(db, id).await.map(|()| "companion"),
        (Tagged, 19) => tagged::clear(db).await.map(|()| "clear function"),
        (Tagged, 20) => cache.invalidate(["a", "more"]).await.map(|()| "shared tag"),
        (Tagged, _) => cache.delete(key('a')).await.map(|_| "delete"),
        (ByResult, 20) => cache.invalidate(format!("org:{}", row.org)).await.map(|()| "result tag, direct"),
        (ByResult, 21) => cache.delete_match("b*").await.map(|_| "pattern with result tags"),
        (ByResult, _) => by_result::clear(db).await.map(|()| "clear with result tags"),
        (Batch, 20) => batch::invalidate(db, id).await.map(|()| "batch companion"),
        (Batch, 21) => cache.delete_match("c:?").await.map(|_| "batch pattern"),
        (Batch, _) => batch::clear(db).await.map(|()| "clear batch"),
        (Memoized, 20) => memoized::invalidate(db, id).wait().map(|()| "memoized companion"),
        (Memoized, _) => cache.delete_match("d:*").await.map(|_| "memoized pattern"),

        (Direct, 10..=18) => cache.delete(key('e')).await.map(|_| "direct delete"),
        (Direct, 19) => cache.pop::<Row>(key('e')).await.map(|_| "pop"),
        (Direct, _) => cache.invalidate_keys([key('e')]).await.map(|_| "invalidate keys"),
        (Named, _) => cache.invalidate_namespace(format!("space:{id}")).await.map(|()| "namespace, direct"),
    };
    (how.expect("a memory cache does not fail"), row)
}

/// Reads, by a random way, rows of a family.
async fn read(db: &Db, family: Family, id: u64, roll: u64) -> Vec<Row> {
    match family {
        Tagged if roll.is_multiple_of(16) => vec![tagged::refresh(db, id).await],
        Tagged if roll % 16 == 1 => tagged::peek(db, id).await.expect("it works").into_iter().collect(),
        Tagged => vec![tagged(db, id).await],
        ByResult => vec![*by_result(db, id).await.expect("it is there")],
        Batch => batch(db, (0..ROWS).filter(|other| *other == id || (roll >> other) & 1 == 0).collect())
            .await
            .into_values()
            .collect(),
        Memoized => vec![memoized(db, id)],
        Direct => vec![direct(db, id).await],
        Named => named(db, id).await.into_iter().collect(),
    }
}

#[derive(Debug, Default)]
struct Tally {
    reads: AtomicU64,
    writes: AtomicU64,
    cancelled: AtomicU64,
}

async fn actor(db: Arc<Db>, stop: Arc<AtomicBool>, tally: Arc<Tally>, seed: u64) -> Result<(), String> {
    let mut last = "nothing yet";
    let mut step = seed;
    while !stop.load(SeqCst) {
        step = step.wrapping_add(1);
        let roll = mix(step);
        let family = FAMILIES[(roll >> 8) as usize % FAMILIES.len()];
        let id = (roll >> 16) % ROWS;
        let patience = Duration::from_micros(if roll.is_multiple_of(5) { (roll >> 24) % 2_000 } else { 60_000_000 });
        if (roll >> 32).is_multiple_of(5) {
            match tokio::time::timeout(patience, write(&db, family, id, roll >> 40)).await {
                Ok((how, row)) => {
                    db.slot(family, id).returned.fetch_max(row.version, SeqCst);
                    tally.writes.fetch_add(1, SeqCst);
                    last = how;
                }
                Err(_) => drop(tally.cancelled.fetch_add(1, SeqCst)),
            }
        } else {
            let returned: Vec<u64> = (0..ROWS).map(|id| db.slot(family, id).returned.load(SeqCst)).collect();
            match tokio::time::timeout(patience, read(&db, family, id, roll >> 40)).await {
                Ok(rows) => {
                    tally.reads.fetch_add(1, SeqCst);
                    for row in rows {
                        let oldest = returned[row.id as usize];
                        let newest = db.slot(family, row.id).committed.load(SeqCst);
                        if row.version < oldest || row.version > newest {
                            return Err(format!(
                                "{family:?} row {}: read version {}, but version {oldest} was written before the read began \
                                 (the database has {newest}; this task last wrote by {last})",
                                row.id, row.version
                            ));
                        }
                    }
                }
                Err(_) => drop(tally.cancelled.fetch_add(1, SeqCst)),
            }
        }
    }
    Ok(())
}

fn run(engine: Engine, max_items: u64, seconds: f64, seed: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let cache = Cache::builder().ignore_env().engine(engine).max_items(max_items).build().await.unwrap();
        let slots = (0..ROWS * FAMILIES.len() as u64).map(|_| Slot::default()).collect();
        let db = Arc::new(Db { cache, slots, dice: AtomicU64::new(seed) });
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
        let actors: Vec<_> = (0..TASKS)
            .map(|task| {
                tokio::spawn(actor(Arc::clone(&db), Arc::clone(&stop), Arc::clone(&tally), mix(seed ^ (task << 40))))
            })
            .collect();
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        stop.store(true, SeqCst);
        let what = format!("{engine}, {max_items} items, seed {seed} (CACHE_STRESS_SEED={seed})");
        for actor in actors {
            match tokio::time::timeout(Duration::from_secs(30), actor).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(stale))) => panic!("{what}: {stale}"),
                Ok(Err(died)) => panic!("{what}: {died}"),
                Err(_) => panic!("{what}: a call did not come to its end"),
            }
        }
        let stats = db.cache.stats();
        println!(
            "{what}: {tally:?}, {} hits, {} loads, {} coalesced, {} refused",
            stats.hits, stats.loads, stats.coalesced, stats.refused
        );
        assert_eq!(stats.flights, 0, "{what}: flights or tickets are left");
        let (reads, writes) = (tally.reads.load(SeqCst), tally.writes.load(SeqCst));
        assert!(reads > 100 && writes > 20, "{what}: too little happened: {tally:?}");
        assert!(
            stats.hits > 0 && stats.coalesced > 0 && stats.refused > 0,
            "{what}: the races did not happen: {stats:?}"
        );
    });
}

/// P1
#[test]
fn no_read_is_stale_under_randomized_load() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<f64>().ok());
    let seconds = number("CACHE_STRESS_SECONDS").unwrap_or(2.0) / 4.0;
    // The address of a local differs from run to run, and no clock is read.
    let seed = number("CACHE_STRESS_SEED").map_or_else(|| u64::from(std::process::id()) << 16, |seed| seed as u64);
    for (engine, max_items) in
        [(Engine::QuickCache, 1_000), (Engine::QuickCache, 6), (Engine::Moka, 1_000), (Engine::Moka, 6)]
    {
        run(engine, max_items, seconds, seed);
    }
}

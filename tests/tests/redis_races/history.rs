//! P1 under randomized load: tasks in three processes read and write versioned rows through every kind of invalidation, with
//! loads that yield and sleep, callers that go away, leases that expire under a load, keys that vanish, and a server that
//! evicts; every read is checked.
//!
//! *A read that began after a write returned shows at least that write's version, and no value that was never written.*
//!
//! `CACHE_STRESS_SECONDS` (default 3 in all) makes it longer; `CACHE_STRESS_SEED` starts from the seed that a failure prints.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Cache, cache_read, cache_write};
use cache_tests::redis::Server;
use parking_lot::Mutex;

use super::fleet::{LONG, Row, builder, prefix, within};

const ROWS: u64 = 3;
const TASKS: u64 = 18;

/// What is read by one kind of function, and written by those that invalidate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Tagged,
    ByResult,
    Batch,
    Locked,
    Direct,
    Named,
    Json,
}
use Family::{Batch, ByResult, Direct, Json, Locked, Named, Tagged};

const FAMILIES: [Family; 7] = [Tagged, ByResult, Batch, Locked, Direct, Named, Json];

#[derive(Debug, Default)]
struct Slot {
    /// As the database has it.
    committed: AtomicU64,
    /// What the last write that returned had committed.
    returned: AtomicU64,
    /// How that was written.
    how: Mutex<&'static str>,
}

#[derive(Debug)]
struct Db {
    slots: Vec<Slot>,
    dice: AtomicU64,
}

/// One process.
#[derive(Debug)]
struct At {
    cache: Cache,
    db: Arc<Db>,
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
            _ => tokio::time::sleep(Duration::from_micros(roll / 8 % 4_000)).await,
        }
    }

    fn now(&self, family: Family, id: u64) -> Row {
        Row { id, org: id % 2, version: self.slot(family, id).committed.load(SeqCst) }
    }
}

impl At {
    async fn load(&self, family: Family, id: u64) -> Row {
        self.db.pause().await;
        let row = self.db.now(family, id);
        self.db.pause().await;
        row
    }

    async fn commit(&self, family: Family, id: u64) -> Row {
        self.db.pause().await;
        let version = self.db.slot(family, id).committed.fetch_add(1, SeqCst) + 1;
        self.db.pause().await;
        Row { id, org: id % 2, version }
    }
}

// ----------------------------------------------------------------------------------------------------------------- reads

#[cache_read(key = "a:<id>", cache = at.cache, tags = ["ta:<id>", "a"], skip(at))]
async fn tagged(at: &At, id: u64) -> Row {
    at.load(Tagged, id).await
}

#[cache_read(key = "b:<id>", cache = at.cache, tags = ["tb:<id>", "org:<result.org>"], skip(at))]
async fn by_result(at: &At, id: u64) -> Option<Arc<Row>> {
    Some(Arc::new(at.load(ByResult, id).await))
}

#[cache_read(key = "c:<id>", cache = at.cache, tags = ["tc:<id>"], each(id in ids), skip(at))]
async fn batch(at: &At, ids: Vec<u64>) -> HashMap<u64, Row> {
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, at.load(Batch, id).await);
    }
    rows
}

/// A lease that expires under most loads that sleep, where it is not renewed in time, and a wait that ends before them.
#[cache_read(key = "d:<id>", cache = at.cache, tags = ["td:<id>"], lock = true, lock_ttl = "3ms", wait = "10ms", skip(at))]
async fn locked(at: &At, id: u64) -> Row {
    at.load(Locked, id).await
}

#[cache_read(key = "n:<id>", cache = at.cache, namespace = "space:<id>", skip(at))]
async fn named(at: &At, id: u64) -> Result<Row, std::fmt::Error> {
    let row = at.load(Named, id).await;
    if at.db.roll().is_multiple_of(16) { Err(std::fmt::Error) } else { Ok(row) }
}

#[cache_read(key = "j:<id>", cache = at.cache, codec = json, tags = ["tj:<id>"], ttl = "40ms", jitter = "50%", skip(at))]
async fn json(at: &At, id: u64) -> Row {
    at.load(Json, id).await
}

async fn direct(at: &At, id: u64) -> Row {
    let load = || async { Ok::<_, std::convert::Infallible>(at.load(Direct, id).await) };
    let Ok(row) = at.cache.get_or_load(format!("e:{id}"), load).tags([format!("te:{id}")]).await;
    row
}

// ---------------------------------------------------------------------------------------------------------------- writes

macro_rules! writes {
    ($($family:ident { $($(#[$attr:meta])* $name:ident($at:ident, $id:ident);)* })*) => {
        $($($(#[$attr])*
        async fn $name($at: &At, $id: u64) -> Row {
            $at.commit($family, $id).await
        })*)*
    };
}
writes! {
    Tagged {
        #[cache_write(cache = at.cache, tags = ["ta:<id>"])]
        write_tag(at, id);
        #[cache_write(cache = at.cache, keys = ["a:<id>"])]
        write_key(at, id);
        #[cache_write(cache = at.cache, patterns = ["a:<id>*"])]
        write_pattern(at, id);
        #[cache_write(cache = at.cache, tags = ["a:<result.id>"])]
        write_default_tag(at, id);
        #[cache_write(cache = at.cache, tags = ["ta:<id>"], put = tagged(at, id))]
        write_put(at, id);
        #[cache_write(cache = at.cache, put = tagged(at, id))]
        write_put_alone(at, id);
        #[cache_write(cache = at.cache, put = tagged(at, result.id))]
        write_put_of_result(at, id);
        #[cache_write(cache = at.cache, tags = ["ta:<id>"], recache = [tagged(at, id)])]
        write_recache(at, id);
        #[cache_write(cache = at.cache, tags = ["other"], recache = [tagged(at, id)])]
        write_recache_alone(at, id);
        #[cache_write(cache = at.cache, tags = ["ta:<id>"], before = true)]
        write_before(at, id);
        #[cache_write(cache = at.cache, tags = ["ta:<id>"], put = tagged(at, id), recache = [tagged(at, id)])]
        write_put_recache(at, id);
    }
    ByResult {
        #[cache_write(cache = at.cache, tags = ["org:<result.org>"])]
        write_result_tag(at, id);
        #[cache_write(cache = at.cache, tags = ["tb:<id>"], put = by_result(at, id))]
        write_result_put(at, id);
        #[cache_write(cache = at.cache, tags = ["org:<result.org>"], put = by_result(at, result.id))]
        write_result_put_of_result(at, id);
        #[cache_write(cache = at.cache, tags = ["tb:<id>"], recache = [by_result(at, id)])]
        write_result_recache(at, id);
    }
    Batch {
        #[cache_write(cache = at.cache, tags = ["tc:<id>"])]
        write_batch_tag(at, id);
        #[cache_write(cache = at.cache, keys = ["c:<id>"])]
        write_batch_key(at, id);
        #[cache_write(cache = at.cache, tags = ["tc:<id>"], recache = [batch(at, vec![id, 0])])]
        write_batch_recache(at, id);
    }
    Locked {
        #[cache_write(cache = at.cache, tags = ["td:<id>"])]
        write_locked_tag(at, id);
        #[cache_write(cache = at.cache, keys = ["d:<id>"])]
        write_locked_key(at, id);
        #[cache_write(cache = at.cache, put = locked(at, id))]
        write_locked_put(at, id);
        #[cache_write(cache = at.cache, tags = ["td:<id>"], recache = [locked(at, id)])]
        write_locked_recache(at, id);
    }
    Direct {
        #[cache_write(cache = at.cache, tags = ["te:<id>"])]
        write_direct_tag(at, id);
    }
    Named {
        #[cache_write(cache = at.cache, namespaces = ["space:<id>"])]
        write_namespace(at, id);
        #[cache_write(cache = at.cache, put = named(at, id))]
        write_named_put(at, id);
    }
    Json {
        #[cache_write(cache = at.cache, tags = ["tj:<id>"])]
        write_json_tag(at, id);
        #[cache_write(cache = at.cache, put = json(at, id))]
        write_json_put(at, id);
        #[cache_write(cache = at.cache, put = json(at, result.id))]
        write_json_put_of_result(at, id);
    }
}

/// One write by a random way. The name of the way is for the report.
async fn write(at: &At, family: Family, id: u64, roll: u64) -> (&'static str, Row) {
    let how = match (family, roll % 24) {
        (Tagged, 0) => return ("tag", write_tag(at, id).await),
        (Tagged, 1) => return ("key", write_key(at, id).await),
        (Tagged, 2) => return ("pattern", write_pattern(at, id).await),
        (Tagged, 3) => return ("default tag", write_default_tag(at, id).await),
        (Tagged, 4..=6) => return ("put", write_put(at, id).await),
        (Tagged, 7..=9) => return ("put alone", write_put_alone(at, id).await),
        (Tagged, 10..=12) => return ("put of result", write_put_of_result(at, id).await),
        (Tagged, 13) => return ("recache", write_recache(at, id).await),
        (Tagged, 14) => return ("recache alone", write_recache_alone(at, id).await),
        (Tagged, 15 | 16) => return ("put and recache", write_put_recache(at, id).await),
        (Tagged, 17) => return ("before", write_before(at, id).await),
        (ByResult, 0..=6) => return ("result tag", write_result_tag(at, id).await),
        (ByResult, 7..=11) => return ("put with result tags", write_result_put(at, id).await),
        (ByResult, 12..=15) => return ("put of result with result tags", write_result_put_of_result(at, id).await),
        (ByResult, 16..=19) => return ("recache with result tags", write_result_recache(at, id).await),
        (Batch, 0..=7) => return ("batch tag", write_batch_tag(at, id).await),
        (Batch, 8..=14) => return ("batch key", write_batch_key(at, id).await),
        (Batch, 15..=19) => return ("batch recache", write_batch_recache(at, id).await),
        (Locked, 0..=5) => return ("locked tag", write_locked_tag(at, id).await),
        (Locked, 6..=10) => return ("locked key", write_locked_key(at, id).await),
        (Locked, 11..=14) => return ("locked put", write_locked_put(at, id).await),
        (Locked, 15..=19) => return ("locked recache", write_locked_recache(at, id).await),
        (Direct, 0..=9) => return ("direct tag", write_direct_tag(at, id).await),
        (Named, 0..=12) => return ("namespace", write_namespace(at, id).await),
        (Named, 13..=17) => return ("put in a namespace", write_named_put(at, id).await),
        (Json, 0..=9) => return ("json tag", write_json_tag(at, id).await),
        (Json, 10..=14) => return ("json put", write_json_put(at, id).await),
        (Json, 15..=19) => return ("json put of result", write_json_put_of_result(at, id).await),
        (_, roll) => roll,
    };
    // Committed by hand, then invalidated directly.
    let row = at.commit(family, id).await;
    let key = |letter: char| format!("{letter}:{id}");
    let cache = &at.cache;
    let how = match (family, how) {
        (_, 23) => cache.clear().await.map(|()| "clear"),
        (Tagged, 18) => tagged::invalidate(at, id).await.map(|()| "companion"),
        (Tagged, 19) => tagged::clear(at).await.map(|()| "clear function"),
        (Tagged, 20) => cache.invalidate(["a", "more"]).await.map(|()| "shared tag"),
        (Tagged, _) => cache.delete(key('a')).await.map(|_| "delete"),
        (ByResult, 20) => cache.invalidate(format!("org:{}", row.org)).await.map(|()| "result tag, direct"),
        (ByResult, 21) => cache.delete_match("b*").await.map(|_| "pattern with result tags"),
        (ByResult, _) => by_result::clear(at).await.map(|()| "clear with result tags"),
        (Batch, 20) => batch::invalidate(at, id).await.map(|()| "batch companion"),
        (Batch, 21) => cache.delete_match("c:?").await.map(|_| "batch pattern"),
        (Batch, _) => batch::clear(at).await.map(|()| "clear batch"),
        (Locked, 20) => locked::invalidate(at, id).await.map(|()| "locked companion"),
        (Locked, _) => cache.delete_match("d:*").await.map(|_| "locked pattern"),
        (Direct, 10..=17) => cache.delete(key('e')).await.map(|_| "direct delete"),
        (Direct, _) => cache.invalidate_keys([key('e')]).await.map(|_| "invalidate keys"),
        (Named, _) => cache.invalidate_namespace(format!("space:{id}")).await.map(|()| "namespace, direct"),
        (Json, 20) => cache.delete_match("j:*").await.map(|_| "json pattern"),
        (Json, _) => json::invalidate(at, id).await.map(|()| "json companion"),
    };
    (how.unwrap_or_else(|error| panic!("the server is there: {error}")), row)
}

/// Reads, by a random way, rows of a family.
async fn read(at: &At, family: Family, id: u64, roll: u64) -> Vec<Row> {
    match family {
        Tagged if roll.is_multiple_of(16) => vec![tagged::refresh(at, id).await],
        // These fail while an invalidation of a write that was cut short is on its way.
        Tagged if roll % 16 == 1 => tagged::peek(at, id).await.into_iter().flatten().collect(),
        Tagged if roll % 16 == 2 => at.cache.get::<Row>(format!("a:{id}")).await.into_iter().flatten().collect(),
        Tagged => vec![tagged(at, id).await],
        ByResult => vec![*by_result(at, id).await.expect("it is there")],
        Batch => batch(at, (0..ROWS).filter(|other| *other == id || (roll >> other) & 1 == 0).collect())
            .await
            .into_values()
            .collect(),
        Locked => vec![locked(at, id).await],
        Direct => vec![direct(at, id).await],
        Named => named(at, id).await.into_iter().collect(),
        Json => vec![json(at, id).await],
    }
}

#[derive(Debug, Default)]
struct Tally {
    reads: AtomicU64,
    writes: AtomicU64,
    cancelled: AtomicU64,
    evicted: AtomicU64,
}

async fn actor(at: Arc<At>, stop: Arc<AtomicBool>, tally: Arc<Tally>, seed: u64) -> Result<(), String> {
    let db = &at.db;
    let mut step = seed;
    while !stop.load(SeqCst) {
        step = step.wrapping_add(1);
        let roll = mix(step);
        let family = FAMILIES[(roll >> 8) as usize % FAMILIES.len()];
        let id = (roll >> 16) % ROWS;
        let patience = Duration::from_micros(if roll.is_multiple_of(5) { (roll >> 24) % 4_000 } else { 60_000_000 });
        if (roll >> 32).is_multiple_of(5) {
            match tokio::time::timeout(patience, write(&at, family, id, roll >> 40)).await {
                Ok((how, row)) => {
                    let slot = db.slot(family, id);
                    if slot.returned.fetch_max(row.version, SeqCst) < row.version {
                        *slot.how.lock() = how;
                    }
                    tally.writes.fetch_add(1, SeqCst);
                }
                Err(_) => drop(tally.cancelled.fetch_add(1, SeqCst)),
            }
        } else {
            let returned: Vec<u64> = (0..ROWS).map(|id| db.slot(family, id).returned.load(SeqCst)).collect();
            match tokio::time::timeout(patience, read(&at, family, id, roll >> 40)).await {
                Ok(rows) => {
                    tally.reads.fetch_add(1, SeqCst);
                    for row in rows {
                        let oldest = returned[row.id as usize];
                        let newest = db.slot(family, row.id).committed.load(SeqCst);
                        if row.version < oldest || row.version > newest {
                            return Err(format!(
                                "{family:?} row {}: read version {}, but version {oldest} was written before the read began \
                                 (the database has {newest}; by {}, roll {})",
                                row.id,
                                row.version,
                                db.slot(family, row.id).how.lock(),
                                (roll >> 40) % 16,
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

/// Drops one key of these caches after the other, leases more often than others.
async fn evictor(server: &Server, prefix: &str, stop: &AtomicBool, tally: &Tally, seed: u64) {
    let mut connection = server.connection().await.expect("the server is there");
    let mut step = seed;
    while !stop.load(SeqCst) {
        step = step.wrapping_add(1);
        let roll = mix(step);
        let what = if roll.is_multiple_of(2) { "%+lease*" } else { "*" };
        let pattern = format!("{prefix}:v1:{what}");
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.expect("it answers");
        if !keys.is_empty() {
            let key = &keys[(roll >> 8) as usize % keys.len()];
            let gone: u64 = redis::cmd("DEL").arg(key).query_async(&mut connection).await.expect("it answers");
            tally.evicted.fetch_add(gone, SeqCst);
        }
        tokio::time::sleep(Duration::from_micros((roll >> 16) % 5_000)).await;
    }
}

/// Fills the server with what is not ours, so that it evicts what is.
async fn filler(server: &Server, stop: &AtomicBool) {
    let mut connection = server.connection().await.expect("the server is there");
    let junk = vec![b'x'; 20_000];
    let mut number = 0_u64;
    while !stop.load(SeqCst) {
        number += 1;
        let _: redis::RedisResult<()> =
            redis::cmd("SET").arg(format!("junk:{}", number % 1_000)).arg(&junk).query_async(&mut connection).await;
        // At once until the server is full, then as much as leaves the others some time.
        if number > 400 && number.is_multiple_of(4) {
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    }
}

/// What else happens on the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// Keys are dropped one by one.
    Eviction,
    /// The server is full of what is not ours.
    Pressure,
}

fn run(trouble: Trouble, seconds: f64, seed: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let what = format!("{trouble:?}, seed {seed} (CACHE_STRESS_SEED={seed})");
        let options = Server::options();
        let server = if trouble == Trouble::Pressure { options.maxmemory("4mb", "allkeys-lru") } else { options };
        let (server, prefix) = (server.start().await, prefix());
        let slots = (0..ROWS * FAMILIES.len() as u64).map(|_| Slot::default()).collect();
        let db = Arc::new(Db { slots, dice: AtomicU64::new(seed) });
        let mut places = Vec::new();
        for _ in 0..3 {
            let cache = builder(&server.url(), &prefix).build().await.unwrap();
            places.push(Arc::new(At { cache, db: Arc::clone(&db) }));
        }
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
        let actors: Vec<_> = (0..TASKS)
            .map(|task| {
                let at = Arc::clone(&places[task as usize % places.len()]);
                tokio::spawn(actor(at, Arc::clone(&stop), Arc::clone(&tally), mix(seed ^ (task << 40))))
            })
            .collect();
        let ends = async {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            // A busy machine needs longer for as much.
            let enough = async || match trouble {
                Trouble::None => tally.writes.load(SeqCst) > 100,
                Trouble::Eviction => tally.evicted.load(SeqCst) > 10,
                Trouble::Pressure => server.info("evicted_keys").await.parse::<u64>().unwrap() > 10,
            };
            cache_tests::eventually("enough trouble", LONG, enough).await;
            stop.store(true, SeqCst);
        };
        match trouble {
            Trouble::None => ends.await,
            Trouble::Eviction => drop(tokio::join!(ends, evictor(&server, &prefix, &stop, &tally, seed))),
            Trouble::Pressure => drop(tokio::join!(ends, filler(&server, &stop))),
        }
        for actor in actors {
            match tokio::time::timeout(LONG, actor).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(stale))) => panic!("{what}: {stale}"),
                Ok(Err(died)) => panic!("{what}: {died}"),
                Err(_) => panic!("{what}: a call did not come to its end"),
            }
        }
        let (mut hits, mut loads, mut coalesced, mut refused) = (0, 0, 0, 0);
        for place in &places {
            let stats = place.cache.stats();
            hits += stats.hits;
            loads += stats.loads;
            coalesced += stats.coalesced;
            refused += stats.refused;
            assert_eq!(stats.flights, 0, "{what}: flights are left");
            within("background work", place.cache.close()).await.unwrap();
        }
        let evicted: u64 = server.info("evicted_keys").await.parse().unwrap();
        println!(
            "{what}: {tally:?}, {hits} hits, {loads} loads, {coalesced} coalesced, {refused} refused, {evicted} evicted"
        );
        let (reads, writes) = (tally.reads.load(SeqCst), tally.writes.load(SeqCst));
        assert!(reads > 100 && writes > 20, "{what}: too little happened: {tally:?}");
        assert!(hits > 0 && coalesced > 0 && refused > 0, "{what}: the races did not happen");
        match trouble {
            Trouble::None => {}
            Trouble::Eviction => assert!(tally.evicted.load(SeqCst) > 10, "{what}: nothing was dropped: {tally:?}"),
            Trouble::Pressure => assert!(evicted > 10, "{what}: nothing was evicted"),
        }
    });
}

fn seconds_and_seed() -> (f64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<f64>().ok());
    let seconds = number("CACHE_STRESS_SECONDS").unwrap_or(3.0) / 3.0;
    let seed = number("CACHE_STRESS_SEED").map_or_else(|| u64::from(std::process::id()) << 16, |seed| seed as u64);
    (seconds, seed)
}

/// P1 N4
#[test]
fn no_read_is_stale_under_randomized_load() {
    let (seconds, seed) = seconds_and_seed();
    run(Trouble::None, seconds, seed);
}

/// P1 P5 N4
#[test]
fn no_read_is_stale_while_keys_vanish() {
    let (seconds, seed) = seconds_and_seed();
    run(Trouble::Eviction, seconds, seed);
}

/// P1 P5 N4
#[test]
fn no_read_is_stale_on_a_server_that_evicts() {
    let (seconds, seed) = seconds_and_seed();
    run(Trouble::Pressure, seconds, seed);
}

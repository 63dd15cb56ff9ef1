//! P2, P3, N7, B3: who loads a key that several processes want, and what becomes of the others when that one is slow, goes
//! away, stops or is killed.

mod fleet;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::cache_read;
use cache_tests::process::Worker;
use cache_tests::redis::Proxy;
use fleet::{Fleet, Hand, LONG, Place, Row, builder, ended, now, prefix, server, soon, within};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

const WORKER: &str = env!("CARGO_BIN_EXE_cache-worker");
const MS: Duration = Duration::from_millis(1);

/// How long a waiter relies on being woken at least: what comes sooner was a wake-up.
const POLLS_AFTER: Duration = Duration::from_millis(200);

/// What needs the machine, and what measures it, wait for each other.
static HEAVY: Mutex<()> = Mutex::const_new(());

// ------------------------------------------------------------------------------------------------------ real processes

/// Processes with a cache on one server.
struct Team {
    workers: Vec<Worker>,
    counter: String,
}

impl Team {
    async fn new(size: usize) -> Self {
        let (server, prefix) = (server().await, prefix());
        let counter = format!("counted:{prefix}");
        let mut workers = Vec::new();
        for _ in 0..size {
            let mut worker = Worker::start(WORKER).await;
            worker.command("open", json!({ "url": server.url(), "prefix": prefix, "counter": counter })).await;
            workers.push(worker);
        }
        Self { workers, counter }
    }

    /// How often the bodies ran, in all processes.
    async fn loads(&self, id: u64) -> u64 {
        server().await.query::<Option<u64>>(&["GET", &format!("{}:{id}", self.counter)]).await.unwrap_or_default()
    }

    /// Has a process hold the lease of a key.
    async fn begin_load(&mut self, worker: usize, function: &str, id: u64, body_ms: u64) {
        let before = self.loads(id).await;
        self.workers[worker].send("call", with(function, id, 1, body_ms)).await;
        cache_tests::eventually("the load", LONG, async || self.loads(id).await == before + 1).await;
    }

    async fn call(&mut self, worker: usize, function: &str, id: u64, body_ms: u64) -> Answer {
        Answer::of(&self.workers[worker].command("call", with(function, id, 1, body_ms)).await)
    }
}

fn with(function: &str, id: u64, callers: u64, body_ms: u64) -> Value {
    json!({ "function": function, "id": id, "callers": callers, "body_ms": body_ms })
}

/// Which loads' values the callers of a process got, and when the last one did.
#[derive(Debug)]
struct Answer {
    got: HashMap<String, u64>,
    took: Duration,
}

impl Answer {
    fn of(answer: &Value) -> Self {
        let got =
            answer["got"].as_object().unwrap().iter().map(|(load, count)| (load.clone(), count.as_u64().unwrap()));
        Self { got: got.collect(), took: Duration::from_millis(answer["ms"].as_u64().unwrap()) }
    }

    fn only(&self) -> u64 {
        assert_eq!(self.got.len(), 1, "{self:?}");
        self.got.keys().next().unwrap().parse().unwrap()
    }
}

/// P2 B3 N7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_with_a_thousand_callers_each_load_once() {
    let _alone = HEAVY.lock().await;
    let mut team = Team::new(10).await;
    for (id, body_ms) in [(1, 300), (2, 0)] {
        for worker in &mut team.workers {
            worker.send("call", with("locked", id, 1_000, body_ms)).await;
        }
        for worker in &mut team.workers {
            let answer = Answer::of(&worker.answer().await.unwrap());
            assert_eq!(answer.got, [("1".to_owned(), 1_000)].into());
        }
        assert_eq!(team.loads(id).await, 1);
    }
}

/// P3: others wait for as long as the lease lives, and one of them loads then.
#[tokio::test]
async fn a_killed_holder_delays_others_by_about_its_lease() {
    let mut team = Team::new(3).await;
    team.begin_load(0, "short", 1, 60_000).await;
    team.workers[0].kill();
    team.workers[1].send("call", with("short", 1, 50, 10)).await;
    let here = team.call(2, "short", 1, 10).await;
    let there = Answer::of(&team.workers[1].answer().await.unwrap());
    assert_eq!((here.only(), there.only()), (2, 2), "one of those who waited has loaded for all");
    // The rest of the lease, and what it takes to look: nobody is woken by a process that is gone.
    for answer in [here, there] {
        assert!(answer.took < 4 * Duration::from_secs(1), "{answer:?}");
    }
}

/// P3: without `lock` nobody waits, and for no longer than the lease nothing is stored.
#[tokio::test]
async fn a_killed_holder_delays_nobody_who_does_not_wait() {
    let mut team = Team::new(2).await;
    team.begin_load(0, "short", 1, 60_000).await;
    team.workers[0].kill();
    assert_eq!(team.call(1, "unlocked", 1, 0).await.only(), 2);
    cache_tests::eventually("it is stored", 4 * Duration::from_secs(1), async || {
        let before = team.loads(1).await;
        team.call(1, "unlocked", 1, 0).await;
        team.loads(1).await == before
    })
    .await;
}

/// P2 P3: a process that stands still for longer than its lease lives is taken over, and cannot fill when it goes on.
#[tokio::test]
async fn a_stopped_holder_is_taken_over_and_stores_nothing_when_it_goes_on() {
    let mut team = Team::new(3).await;
    team.begin_load(0, "short", 1, 1_500).await;
    team.workers[0].stop_signal();
    let other = team.call(1, "short", 1, 10).await;
    assert_eq!(other.only(), 2);
    assert!(other.took < 4 * Duration::from_secs(1), "{other:?}");
    // And once more with a load that runs when it goes on.
    team.workers[1].command("write", json!({ "id": 1 })).await;
    team.begin_load(1, "short", 1, 1_500).await;
    team.workers[0].cont_signal();
    assert_eq!(Answer::of(&team.workers[0].answer().await.unwrap()).only(), 1, "its caller gets what it has loaded");
    assert_eq!(Answer::of(&team.workers[1].answer().await.unwrap()).only(), 3);
    for worker in 0..3 {
        assert_eq!(team.call(worker, "short", 1, 0).await.only(), 3);
    }
}

/// P1 between processes: a load that began before the write is not what anybody reads after it.
#[tokio::test]
async fn a_write_in_one_process_is_seen_by_all() {
    let mut team = Team::new(3).await;
    for id in 1..10 {
        team.begin_load(0, "locked", id, 50).await;
        team.workers[1].command("write", json!({ "id": id })).await;
        for worker in [2, 1] {
            assert_eq!(team.call(worker, "locked", id, 0).await.only(), 2);
        }
        assert_eq!(Answer::of(&team.workers[0].answer().await.unwrap()).only(), 1);
        assert_eq!(team.call(0, "locked", id, 0).await.only(), 2);
    }
}

// --------------------------------------------------------------------------------------------------------------- in one

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, skip(at))]
async fn locked(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, lock_ttl = "150ms", skip(at))]
async fn short(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
async fn unlocked(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, wait = "300ms", skip(at))]
async fn impatient(at: &Place, id: u64) -> Row {
    at.read(id).await
}

/// A load in a place that holds the lease of a key until the source is told to release it.
async fn holding<F>(fleet: &Fleet, id: u64, load: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let first = fleet.source.loads(id) + 1;
    fleet.source.hold(id, first, first);
    let task = tokio::spawn(load);
    soon("the load", || fleet.source.loads(id) == first).await;
    task
}

fn run(place: &Arc<Place>, id: u64) -> impl Future<Output = Row> + Send + 'static {
    let place = Arc::clone(place);
    async move { locked(&place, id).await }
}

impl Fleet {
    /// Waits until so many processes listen for the end of a lease.
    async fn listened(&self, id: u64, count: u64) {
        let lease = self.lease(&format!("row:{id}"));
        cache_tests::eventually("somebody listens", LONG, async || {
            self.ask::<(String, u64)>(&["PUBSUB", "NUMSUB", &lease]).await.1 == count
        })
        .await;
    }
}

/// P2: a body that takes longer than the lease lives keeps it.
#[tokio::test]
async fn a_lease_is_renewed_while_its_load_runs() {
    let fleet = Fleet::new().await;
    let (a, b) = (Arc::clone(&fleet.a), Arc::clone(&fleet.b));
    let holder = holding(&fleet, 1, async move { short(&a, 1).await }).await;
    let waiter = tokio::spawn(async move { short(&b, 1).await });
    let lease = fleet.lease("row:1");
    for _ in 0..60 {
        sleep(10 * MS).await;
        assert_ne!(fleet.ask::<i64>(&["PTTL", &lease]).await, -2, "the lease is gone");
    }
    fleet.source.release(1);
    ended("the holder", holder).await;
    ended("the waiter", waiter).await;
    assert_eq!(fleet.source.loads(1), 1);
    assert!(!fleet.exists(&lease).await);
}

/// P2: who has lost its lease hears of it, and it is counted.
#[tokio::test]
async fn a_lease_that_is_lost_is_counted_once() {
    let fleet = Fleet::new().await;
    let a = Arc::clone(&fleet.a);
    let holder = holding(&fleet, 1, async move { short(&a, 1).await }).await;
    sleep(200 * MS).await;
    assert_eq!(fleet.a.cache.stats().lost_leases, 0, "it was renewed");
    fleet.ask::<u64>(&["DEL", &fleet.lease("row:1")]).await;
    soon("the loss", || fleet.a.cache.stats().lost_leases == 1).await;
    sleep(200 * MS).await;
    fleet.source.release(1);
    ended("the holder", holder).await;
    let stats = fleet.a.cache.stats();
    assert_eq!((stats.lost_leases, stats.refused), (1, 1));
}

/// P2: a lease that expired cannot fill, and what another process has stored meanwhile stays.
#[tokio::test]
async fn a_load_whose_lease_expired_stores_nothing() {
    let fleet = Fleet::new().await;
    let mut holder = Hand::new({
        let a = Arc::clone(&fleet.a);
        async move { short(&a, 1).await }
    });
    fleet.source.hold(1, 1, 1);
    // Polled until its body waits, and not again: nobody renews its lease.
    while fleet.source.loads(1) == 0 {
        assert!(holder.poll().is_pending());
        if fleet.source.loads(1) == 0 {
            holder.woken().await;
        }
    }
    let taken_over = within("the takeover", short(&fleet.b, 1)).await;
    assert_eq!((taken_over.version, fleet.source.loads(1)), (0, 2));
    fleet.source.release(1);
    holder.finish().await;
    assert_eq!(fleet.a.cache.stats().refused, 1, "it is counted");
    for place in fleet.places() {
        short(place, 1).await;
    }
    assert_eq!(fleet.source.loads(1), 2);
}

// ---------------------------------------------------------------------------------------------------------------- wake-up

/// What ends a load.
#[derive(Clone, Copy, Debug)]
enum End {
    Stored,
    Failed,
    Unwanted,
    Panicked,
    Dropped,
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, cache_if = |row| row.version == 0, skip(at, end))]
async fn ends(at: &Place, id: u64, end: End) -> Result<Row, u8> {
    let row = at.read(id).await;
    match end {
        End::Failed => Err(1),
        End::Panicked => panic!("as it was told"),
        End::Unwanted => Ok(Row { version: 1, ..row }),
        End::Stored | End::Dropped => Ok(row),
    }
}

/// N7: whatever ends a load, a waiter in another process is woken at once, well before it would look by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_woken_when_the_lease_ends() {
    let _alone = HEAVY.lock().await;
    for end in [End::Stored, End::Failed, End::Unwanted, End::Panicked, End::Dropped] {
        let fleet = Fleet::new().await;
        let mut delays = Vec::new();
        let mut rounds = 0;
        // Where the machine is too slow to tell a wake-up from a look, it is given another chance, and a third.
        while delays.len() <= rounds / 2 && rounds < 21 {
            for _ in 0..7 {
                rounds += 1;
                delays.extend(woken_after(&fleet, rounds as u64, end).await);
            }
        }
        delays.sort_unstable();
        assert!(delays.len() > rounds / 2, "{end:?}: waiters were not woken: {delays:?} of {rounds}");
        assert!(delays[0] < 10 * MS, "{end:?}: {delays:?}");
        assert!(delays[delays.len() / 2] < 50 * MS, "{end:?}: {delays:?}");
    }
}

/// How long after the end of a load a waiter in another process had his value; `None` where he may have looked by himself.
async fn woken_after(fleet: &Fleet, id: u64, end: End) -> Option<Duration> {
    let (a, b) = (Arc::clone(&fleet.a), Arc::clone(&fleet.b));
    let holder = holding(fleet, id, async move { ends(&a, id, end).await }).await;
    let waiter = tokio::spawn(async move {
        let row = ends(&b, id, End::Stored).await;
        (now(), row)
    });
    // He begins to wait after this, so that he does not look before `POLLS_AFTER` from here.
    let began = now();
    fleet.listened(id, 1).await;
    sleep(100 * MS).await;
    assert!(!waiter.is_finished(), "{end:?}: he does not wait");
    let released = now();
    if let End::Dropped = end {
        holder.abort();
    } else {
        fleet.source.release(id);
    }
    let (woken, row) = ended("the waiter", waiter).await;
    assert!(row.is_ok());
    let _ = holder.await;
    assert_eq!(fleet.source.loads(id), if let End::Stored = end { 1 } else { 2 }, "{end:?}");
    (woken - began < POLLS_AFTER).then(|| woken - released)
}

/// N7: waiting costs a look now and then, not a stream of commands.
#[tokio::test]
async fn a_waiter_does_not_poll_the_server() {
    let fleet = Fleet::new().await;
    let proxy = Proxy::start(server().await.addr());
    let far = Place::new(builder(&proxy.url(), &fleet.prefix).build().await.unwrap(), &fleet.source);
    let holder = holding(&fleet, 1, run(&fleet.a, 1)).await;
    let waiters: Vec<_> = (0..20).map(|_| tokio::spawn(run(&far, 1))).collect();
    fleet.listened(1, 1).await;
    proxy.reset();
    sleep(1_000 * MS).await;
    let (trips, sent) = (proxy.round_trips(), proxy.commands());
    fleet.source.release(1);
    ended("the holder", holder).await;
    for waiter in waiters {
        ended("a waiter", waiter).await;
    }
    assert!(trips <= 20, "{trips} round trips of one process in a second: {sent:?}");
    assert_eq!(fleet.source.loads(1), 1);
    drop(far);
    fleet.listened(1, 0).await;
}

/// P3: at `wait` a caller loads for himself; what he loads is not stored, since the lease is another's.
#[tokio::test]
async fn at_its_deadline_a_waiter_loads_for_itself() {
    let fleet = Fleet::new().await;
    let a = Arc::clone(&fleet.a);
    let holder = holding(&fleet, 1, async move { impatient(&a, 1).await }).await;
    fleet.source.commit(1);
    let began = now();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let b = Arc::clone(&fleet.b);
            tokio::spawn(async move { impatient(&b, 1).await })
        })
        .collect();
    for waiter in waiters {
        assert_eq!(ended("a waiter", waiter).await.version, 1);
    }
    let waited = began.elapsed();
    assert!(waited >= 290 * MS && waited < 2_000 * MS, "{waited:?}");
    assert!(fleet.exists(&fleet.lease("row:1")).await, "the holder still has the lease");
    assert!(fleet.c.cache.get::<Row>("row:1").await.unwrap().is_none(), "nothing was stored");
    fleet.source.release(1);
    ended("the holder", holder).await;
    let loads = fleet.source.loads(1);
    impatient(&fleet.c, 1).await;
    assert_eq!(fleet.source.loads(1), loads, "the holder's value is stored");
}

/// P2: without `lock`, who does not get the lease loads at once and stores nothing.
#[tokio::test]
async fn without_lock_losers_load_at_once_and_store_nothing() {
    let fleet = Fleet::new().await;
    let a = Arc::clone(&fleet.a);
    let holder = holding(&fleet, 1, async move { unlocked(&a, 1).await }).await;
    for n in 2..5 {
        within("a loser", unlocked(&fleet.b, 1)).await;
        assert_eq!(fleet.source.loads(1), n, "a loser's value was stored");
    }
    fleet.source.release(1);
    ended("the holder", holder).await;
    for place in fleet.places() {
        unlocked(place, 1).await;
    }
    assert_eq!(fleet.source.loads(1), 4, "the holder's value is stored");
}

/// P2: in a process, callers share the load of one who did not get the lease.
#[tokio::test]
async fn losers_of_one_process_share_one_load() {
    let fleet = Fleet::new().await;
    let a = Arc::clone(&fleet.a);
    let holder = holding(&fleet, 1, async move { unlocked(&a, 1).await }).await;
    fleet.source.hold(1, 1, u64::MAX);
    let losers: Vec<_> = (0..20)
        .map(|_| {
            let b = Arc::clone(&fleet.b);
            tokio::spawn(async move { unlocked(&b, 1).await })
        })
        .collect();
    soon("all have missed", || fleet.b.cache.stats().misses == 20).await;
    sleep(20 * MS).await;
    fleet.source.release(1);
    for task in losers.into_iter().chain([holder]) {
        ended("a caller", task).await;
    }
    assert_eq!(fleet.source.loads(1), 2);
}

// --------------------------------------------------------------------------------------------------------------- going away

/// P3: a caller that goes away at any point of its call gives the lease back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_at_any_point_gives_the_lease_back() {
    let fleet = Fleet::new().await;
    let mut id = 0;
    // Dropped at once after a poll, with a command on its way, or when the answer has come.
    for answered in [false, true] {
        let mut cut = 0;
        for polls in 1..12 {
            for _ in 0..8 {
                id += 1;
                fleet.source.hold(id, 1, 1);
                let mut call = Hand::new(run(&fleet.a, id));
                let mut finished = false;
                for poll in 1..=polls {
                    finished = call.poll().is_ready();
                    if finished {
                        break;
                    }
                    if fleet.source.loads(id) == 1 {
                        fleet.source.release(id);
                    }
                    if poll < polls || answered {
                        call.woken().await;
                    }
                }
                cut += u64::from(!finished);
                drop(call);
                let lease = fleet.lease(&format!("row:{id}"));
                let what = format!("the lease is given back, {polls} polls, answered: {answered}");
                cache_tests::eventually(&what, 3_000 * MS, async || !fleet.exists(&lease).await).await;
                fleet.source.release(id);
                within("another process", locked(&fleet.b, id)).await;
            }
        }
        assert!(cut > 16, "a miss has several points at which it waits, and {cut} calls were cut short");
    }
    assert_eq!(fleet.a.cache.stats().flights, 0);
}

/// P3: a waiter that goes away disturbs nobody; when the leader does, those who wait in any process get a value.
#[tokio::test]
async fn waiters_survive_the_leader_and_each_other() {
    let fleet = Fleet::new().await;
    let holder = holding(&fleet, 1, run(&fleet.a, 1)).await;
    let waiters: Vec<_> = (0..30).map(|n| tokio::spawn(run(fleet.places()[n % 3], 1))).collect();
    fleet.listened(1, 2).await;
    for waiter in waiters.iter().step_by(4) {
        waiter.abort();
    }
    holder.abort();
    for (n, waiter) in waiters.into_iter().enumerate() {
        if n % 4 != 0 {
            ended("a waiter", waiter).await;
        }
    }
    assert_eq!(fleet.source.loads(1), 2);
}

/// P3: a panic in the body is its caller's own, and another process loads next.
#[tokio::test]
async fn a_lease_is_given_back_when_the_body_panics() {
    let fleet = Fleet::new().await;
    let a = Arc::clone(&fleet.a);
    let holder = holding(&fleet, 1, async move { ends(&a, 1, End::Panicked).await }).await;
    fleet.source.release(1);
    assert!(holder.await.unwrap_err().is_panic());
    let began = now();
    assert!(ends(&fleet.b, 1, End::Stored).await.is_ok());
    assert!(began.elapsed() < 5 * Duration::from_secs(1));
    assert_eq!(fleet.source.loads(1), 2);
}

/// P3: a key that is invalidated while others wait for its lease does not keep them waiting for the old load's end.
#[tokio::test]
async fn waiters_of_an_invalidated_load_do_not_wait_for_it() {
    let fleet = Fleet::new().await;
    let holder = holding(&fleet, 1, run(&fleet.a, 1)).await;
    let waiter = tokio::spawn(run(&fleet.b, 1));
    fleet.listened(1, 1).await;
    fleet.source.commit(1);
    fleet.c.cache.delete("row:1").await.unwrap();
    // It is not woken, and looks by itself within a second.
    let row = timeout(3 * Duration::from_secs(1), waiter).await.expect("it waits for the old load").unwrap();
    assert_eq!(row.version, 1);
    fleet.source.release(1);
    ended("the holder", holder).await;
    assert_eq!(locked(&fleet.c, 1).await.version, 1);
}

// -------------------------------------------------------------------------------------------------------- itself and batches

/// P3: a function that calls itself with the same key does not wait for its own lease.
#[tokio::test]
async fn a_locked_function_that_calls_itself_with_the_same_key_does_not_deadlock() {
    #[cache_read(key = "deep:<id>", cache = at.cache, lock = true, skip(at, depth))]
    async fn deep(at: &Place, id: u64, depth: u64) -> u64 {
        at.read(id).await;
        if depth == 0 { 0 } else { Box::pin(deep(at, id, depth - 1)).await + 1 }
    }
    let fleet = Fleet::new().await;
    let began = now();
    let (here, there) = tokio::join!(deep(&fleet.a, 1, 3), deep(&fleet.b, 1, 3));
    assert_eq!((here, there), (3, 3));
    assert!(began.elapsed() < 5 * Duration::from_secs(1));
}

#[cache_read(key = "row:<id>", cache = at.cache, lock = true, each(id in ids), skip(at))]
async fn batch(at: &Place, ids: Vec<u64>) -> HashMap<u64, Row> {
    sleep(5 * MS).await;
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, at.read(id).await);
    }
    rows
}

/// P2 P3 N12: batches of several processes that overlap in any order load each element once, and do not wait for one another
/// in a circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_locked_batches_load_each_element_once() {
    let fleet = Fleet::new().await;
    let turn = AtomicU64::new(0);
    for round in 0..5_u64 {
        let base = round * 100;
        let batches: Vec<_> = (0..12_u64)
            .map(|n| {
                let place = Arc::clone(fleet.places()[n as usize % 3]);
                let mut ids: Vec<u64> = (n % 4..n % 4 + 8).map(|id| base + id).collect();
                if turn.fetch_add(1, SeqCst).is_multiple_of(2) {
                    ids.reverse();
                }
                tokio::spawn(async move { batch(&place, ids).await })
            })
            .collect();
        for task in batches {
            assert_eq!(ended("a batch", task).await.len(), 8);
        }
        for id in base..base + 11 {
            assert_eq!(fleet.source.loads(id), 1, "element {id}");
        }
    }
}

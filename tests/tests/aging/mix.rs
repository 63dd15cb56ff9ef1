//! One call of a batch function with elements of every age: every combination of `early_ttl`, `stale`, `stale_if_error`,
//! `timeout`, `soft_timeout` and `lock`, and each of the other options with them, with every kind of source, on three
//! backends. `mix_plan` has the functions and says what each call must come to; here they are run, and everything that a
//! call leaves behind is looked at. In memory the test moves the clock, on a server it moves the entries' expiry.
//!
//! A part of the cases runs each time; all of them, with every set of ages, with `CACHE_COMBINATIONS=full` (minutes), and with any
//! other text those whose description has it: `CACHE_COMBINATIONS='Held, ["stale", "lock"'`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Cache, ErrorKind, TestClock};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Broken;
use super::fleet::{self, now, soon, within};
use super::mix_plan::{Answer, Case, Counted, Expected, Kept, State, TTL, all, long_ago, row};
use super::verdict::{Tally, Verdict};

/// A source of rows, which remembers what it was asked for.
#[derive(Clone)]
pub(crate) struct Rows(Arc<Inner>);

struct Inner {
    version: AtomicU64,
    answer: Mutex<Answer>,
    asked: Mutex<Vec<Vec<u64>>>,
    is_open: watch::Sender<bool>,
}

impl Rows {
    fn new() -> Self {
        Self(Arc::new(Inner {
            version: AtomicU64::new(1),
            answer: Mutex::new(Answer::Answers),
            asked: Mutex::default(),
            is_open: watch::Sender::new(true),
        }))
    }

    fn set(&self, version: u64, answer: Answer) {
        self.0.version.store(version, SeqCst);
        *self.0.answer.lock() = answer;
        self.0.is_open.send_replace(!matches!(answer, Answer::Held | Answer::Overtaken));
    }

    fn let_go(&self) {
        self.0.is_open.send_replace(true);
    }

    /// The calls since the last time, each with its elements in order.
    fn asked(&self) -> Vec<Vec<u64>> {
        let mut asked = std::mem::take(&mut *self.0.asked.lock());
        asked.sort_unstable();
        asked
    }

    pub(crate) async fn load(&self, mut ids: Vec<u64>) -> Result<HashMap<u64, u64>, Broken> {
        ids.sort_unstable();
        let (version, answer) = (self.0.version.load(SeqCst), *self.0.answer.lock());
        let mut opened = self.0.is_open.subscribe();
        self.0.asked.lock().push(ids.clone());
        let _ = opened.wait_for(|is_open| *is_open).await;
        match answer {
            Answer::Fails => Err(Broken::Source),
            Answer::Some => Ok(ids.into_iter().filter(|id| id % 2 == 1).map(|id| (id, row(id, version))).collect()),
            Answer::Answers | Answer::Held | Answer::Overtaken => {
                Ok(ids.into_iter().map(|id| (id, row(id, version))).collect())
            }
        }
    }
}

/// Where cases run, one after the other.
struct Place {
    cache: Cache,
    backend: Backend,
}

enum Backend {
    Memory(TestClock),
    /// What stores the entries that are there before: another process.
    Server {
        filler: Cache,
        admin: redis::aio::MultiplexedConnection,
        prefix: String,
    },
}

impl Place {
    async fn new(kind: &str) -> Self {
        if kind == "memory" {
            let clock = TestClock::new();
            let cache = Cache::builder().ignore_env().test_clock(&clock).build().await.unwrap();
            return Self { cache, backend: Backend::Memory(clock) };
        }
        let (server, prefix) = (fleet::server().await, fleet::prefix());
        let url = if kind == "hybrid" { format!("hybrid+{}", server.url()) } else { server.url() };
        let cache = fleet::builder(&url, &prefix).pool_size(1).build().await.unwrap();
        let filler = fleet::builder(&server.url(), &prefix).pool_size(1).build().await.unwrap();
        let admin = server.connection().await.unwrap();
        Self { cache, backend: Backend::Server { filler, admin, prefix } }
    }

    async fn settled(&self) {
        let is_idle = || {
            let stats = self.cache.stats();
            stats.background + stats.flights == 0
        };
        soon("the background", is_idle).await;
    }

    /// Brings elements into their states. Returns how long the server keeps each, in ms.
    async fn set_up(&self, case: &Case, elements: &BTreeMap<u64, State>, rows: &Rows) -> HashMap<u64, i64> {
        let mut aged: Vec<(u64, u64)> = elements.iter().filter_map(|(id, state)| Some((state.age()?, *id))).collect();
        aged.sort_unstable();
        let mut left = HashMap::new();
        match &self.backend {
            Backend::Memory(clock) => {
                let mut groups: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
                aged.iter().for_each(|(age, id)| groups.entry(*age).or_default().push(*id));
                let mut since = None;
                for (age, ids) in groups.into_iter().rev() {
                    clock.advance(Duration::from_secs(since.map_or(0, |since| since - age)));
                    fill(case, &ids, &self.cache, rows).await;
                    since = Some(age);
                }
                clock.advance(Duration::from_secs(since.unwrap_or_default()));
            }
            Backend::Server { filler, .. } if !aged.is_empty() => {
                let of = |is_old: bool| -> Vec<u64> {
                    aged.iter().filter(|(age, _)| (*age >= TTL) == is_old).map(|(_, id)| *id).collect()
                };
                let (new, old) = (of(false), of(true));
                if !new.is_empty() {
                    fill(case, &new, filler, rows).await;
                }
                if !old.is_empty() {
                    long_ago(old, filler, rows).await.unwrap();
                }
                let mut whole = self.left(aged.iter().map(|(_, id)| *id)).await;
                let mut pipe = redis::pipe();
                for (age, id) in &aged {
                    assert!(whole[id] > 0, "{id} was not stored: {:?}", case.plan);
                    if *age >= TTL {
                        whole.insert(*id, i64::try_from(case.plan.life().1 * 1000).unwrap());
                    }
                    let ms = whole[id] - i64::try_from(age * 1000).unwrap();
                    pipe.cmd("PEXPIRE").arg(self.name(*id)).arg(ms.max(0));
                    left.insert(*id, ms);
                }
                self.ask::<Vec<u64>>(&pipe).await;
            }
            Backend::Server { .. } => {}
        }
        let invalidated: Vec<String> = elements
            .iter()
            .filter(|(_, state)| **state == State::Invalidated)
            .map(|(id, _)| format!("t:{id}"))
            .collect();
        if !invalidated.is_empty() {
            self.cache.invalidate_tags(invalidated).await.unwrap();
        }
        left
    }

    /// The name of an entry on the server.
    fn name(&self, id: u64) -> String {
        match &self.backend {
            Backend::Memory(_) => unreachable!("there is no server"),
            Backend::Server { prefix, .. } => format!("{prefix}:v1:x:{id}"),
        }
    }

    async fn ask<T: redis::FromRedisValue>(&self, pipe: &redis::Pipeline) -> T {
        match &self.backend {
            Backend::Memory(_) => unreachable!("there is no server"),
            Backend::Server { admin, .. } => within("the server", pipe.query_async(&mut admin.clone())).await.unwrap(),
        }
    }

    /// How long the server keeps these, in ms.
    async fn left(&self, ids: impl Iterator<Item = u64>) -> HashMap<u64, i64> {
        let ids: Vec<u64> = ids.collect();
        let mut pipe = redis::pipe();
        ids.iter().for_each(|id| {
            pipe.cmd("PTTL").arg(self.name(*id));
        });
        let left: Vec<i64> = self.ask(&pipe).await;
        ids.into_iter().zip(left).collect()
    }

    /// What is stored of each element, past the functions. `None`: it is as it must be.
    async fn stored(&self, case: &Case, expected: &Expected, before: &HashMap<u64, i64>) -> Option<String> {
        if let Backend::Memory(_) = &self.backend {
            return None;
        }
        let left = self.left(expected.kept.keys().copied()).await;
        // Nothing that a test measures here takes a minute.
        let between = |left: i64, from: i64, to: i64| left > from - 60_000 && left <= to;
        let (shortest, longest) = case.plan.life();
        let [shortest, longest] = [shortest, longest].map(|s| i64::try_from(s * 1000).unwrap());
        for (id, kept) in &expected.kept {
            let is = match kept {
                // What was invalidated may lie there; it is not served, which is looked at later.
                Kept::Nothing => true,
                Kept::Old { .. } => between(left[id], before[id], before[id]),
                Kept::New { .. } => between(left[id], shortest, longest),
            };
            if !is {
                return Some(format!("{id} is kept for {} ms, before for {:?}: {kept:?}", left[id], before.get(id)));
            }
        }
        let Backend::Server { prefix, .. } = &self.backend else { return None };
        let mut pipe = redis::pipe();
        for id in expected.kept.keys() {
            pipe.cmd("EXISTS").arg(format!("{prefix}:v1:%+lease:{{{}}}", self.name(*id)));
        }
        let leases: u64 = self.ask::<Vec<u64>>(&pipe).await.into_iter().sum();
        (leases > 0).then(|| format!("{leases} leases are left"))
    }
}

/// Stores elements. A short timeout may be over before the load has begun, which is not what these cases are about.
async fn fill(case: &Case, ids: &[u64], cache: &Cache, rows: &Rows) {
    loop {
        match (case.call)(ids.to_vec(), cache.clone(), rows.clone()).await {
            Err(Broken::Cache(ErrorKind::Timeout)) if case.plan.times.short => {}
            filled => return assert_eq!(filled.map(|found| found.len()), Ok(ids.len()), "{:?}", case.plan),
        }
    }
}

fn counted(case: &Case, cache: &Cache) -> Counted {
    let stats = (case.stats)(cache);
    Counted {
        hits: stats.hits,
        misses: stats.misses,
        stale: stats.stale,
        early: stats.early,
        loads: stats.loads,
        errors: stats.errors,
        abandoned: stats.abandoned,
    }
}

fn since(now: &Counted, before: &Counted) -> Counted {
    Counted {
        hits: now.hits - before.hits,
        misses: now.misses - before.misses,
        stale: now.stale - before.stale,
        early: now.early - before.early,
        loads: now.loads - before.loads,
        errors: now.errors - before.errors,
        abandoned: now.abandoned - before.abandoned,
    }
}

fn sorted(ret: Result<HashMap<u64, u64>, Broken>) -> Result<BTreeMap<u64, u64>, Broken> {
    ret.map(|found| found.into_iter().collect())
}

/// Numbers that no other case has, two of each state.
fn elements(states: &[State]) -> BTreeMap<u64, State> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let first = NEXT.fetch_add(2 * State::ALL.len() as u64, SeqCst);
    (first..).zip(states.iter().flat_map(|state| [*state, *state])).collect()
}

async fn run(place: &Place, name: &str, case: &Case, answer: Answer, states: &[State]) -> Verdict {
    let (rows, elements) = (Rows::new(), elements(states));
    let expected = case.plan.expected(&elements, answer);
    let before = place.set_up(case, &elements, &rows).await;
    place.settled().await;
    rows.asked();
    rows.set(2, answer);
    let counts = counted(case, &place.cache);
    let call = |ids: Vec<u64>| (case.call)(ids, place.cache.clone(), rows.clone());
    // In no order, and one of them twice.
    let mut ids: Vec<u64> = elements.keys().copied().collect();
    ids.sort_unstable_by_key(|id| id.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    ids.extend(ids.first().copied());
    let began = now();
    let mut called = tokio::spawn(call(ids));
    let mut ret = None;
    if matches!(answer, Answer::Held | Answer::Overtaken) && !expected.is_given_up {
        // Nobody waits for what is held, or everybody does.
        let has_begun = async {
            if expected.is_early {
                ret = Some((&mut called).await.unwrap());
            }
            while rows.0.asked.lock().len() < expected.asked.len() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(fleet::LONG, has_begun).await.is_err() {
            rows.let_go();
            let counts = since(&counted(case, &place.cache), &counts);
            let stored = place.stored(case, &expected, &before).await;
            return Verdict::Wrong(format!(
                "asked for {:?}, returned {ret:?}, {counts:?}, {stored:?}: {expected:?}",
                rows.asked()
            ));
        }
        if answer == Answer::Overtaken {
            let even = elements.keys().filter(|id| id.is_multiple_of(2)).map(|id| format!("t:{id}"));
            place.cache.invalidate_tags(even).await.unwrap();
        }
        rows.let_go();
    }
    let ret = sorted(match ret {
        Some(ret) => ret,
        None => within(name, called).await.unwrap(),
    });
    place.settled().await;
    let got = Expected {
        ret,
        asked: rows.asked(),
        counted: since(&counted(case, &place.cache), &counts),
        ..expected.clone()
    };
    if got != expected {
        let is_late = expected.is_given_up && got.asked.len() < expected.asked.len();
        return if is_late {
            Verdict::Unclear
        } else {
            Verdict::Wrong(format!("{got:?}\n    instead of {expected:?}"))
        };
    }
    if let Some(wrong) = place.stored(case, &expected, &before).await {
        return Verdict::Wrong(wrong);
    }
    left_behind(place, case, &expected, &rows, began).await
}

/// What is kept of each element, asked for with a source that fails, then with one that has something newer.
async fn left_behind(
    place: &Place,
    case: &Case,
    expected: &Expected,
    rows: &Rows,
    began: tokio::time::Instant,
) -> Verdict {
    let call = |ids: Vec<u64>| (case.call)(ids, place.cache.clone(), rows.clone());
    let ids = |is: &dyn Fn(Kept) -> bool| -> Vec<u64> {
        expected.kept.iter().filter(|(_, kept)| is(**kept)).map(|(id, _)| *id).collect()
    };
    rows.set(3, Answer::Fails);
    let kept = ids(&|kept| kept != Kept::Nothing);
    let again = kept.iter().filter_map(|id| match expected.kept[id] {
        Kept::Nothing | Kept::New { absent: true } => None,
        Kept::New { absent: false } => Some((*id, row(*id, 2))),
        Kept::Old { .. } => Some((*id, row(*id, 1))),
    });
    let again = Ok(again.collect());
    let got = sorted(within("the second call", call(kept)).await);
    // A source that has failed is left alone for a second.
    let failed = if expected.is_given_up { 250 } else { 0 };
    let is_paused = began.elapsed() < Duration::from_millis(900 + failed);
    place.settled().await;
    let asked = rows.asked();
    if got != again {
        return Verdict::Wrong(format!("what is kept is {got:?} instead of {again:?}: {expected:?}"));
    }
    let has_paused = !ids(&|kept| kept == Kept::Old { paused: true }).is_empty();
    if !asked.is_empty() && (is_paused || !has_paused) {
        return Verdict::Wrong(format!("the second call asked for {asked:?}: {expected:?}"));
    }
    rows.set(3, Answer::Answers);
    let gone = ids(&|kept| kept == Kept::Nothing);
    if gone.is_empty() {
        return Verdict::Right;
    }
    let new = Ok(gone.iter().map(|id| (*id, row(*id, 3))).collect());
    let got = sorted(within("the last call", call(gone.clone())).await);
    place.settled().await;
    let asked = rows.asked();
    match got {
        Err(Broken::Cache(ErrorKind::Timeout)) if case.plan.times.short => Verdict::Unclear,
        got if got == new && asked == [gone] => Verdict::Right,
        got => Verdict::Wrong(format!("what is gone is {got:?} instead of {new:?}, and was asked for {asked:?}")),
    }
}

/// The sets of states of one call's elements.
fn mixes() -> Vec<Vec<State>> {
    use State::{Early, Failing, Fresh, Gone, Invalidated, Missing, Stale};
    if is_full() {
        let of = |set: usize| State::ALL.into_iter().enumerate().filter(move |(n, _)| set >> n & 1 == 1);
        return (1..1 << State::ALL.len()).map(|set| of(set).map(|(_, state)| state).collect()).collect();
    }
    let mut mixes: Vec<Vec<State>> = State::ALL.into_iter().map(|state| vec![state]).collect();
    mixes.extend([
        State::ALL.to_vec(),
        vec![Fresh, Early, Stale, Failing],
        vec![Early, Stale, Missing],
        vec![Stale, Failing],
        vec![Fresh, Early, Invalidated, Gone],
    ]);
    mixes
}

fn is_full() -> bool {
    std::env::var("CACHE_COMBINATIONS").is_ok_and(|said| said == "full")
}

/// Every so many cases are run where not all are. It has no divisor in common with how many mixes and answers there are.
fn stride(kind: &str) -> usize {
    match kind {
        _ if is_full() => 1,
        "memory" => 7,
        _ => 13,
    }
}

async fn every_mix(kind: &'static str) {
    let mut tally = Tally::default();
    loop {
        round(kind, &mut tally).await;
        if tally.says_enough(kind) {
            return;
        }
    }
}

async fn round(kind: &'static str, tally: &mut Tally) {
    let (mut cases, mut waiting) = (Vec::new(), Vec::new());
    let said = std::env::var("CACHE_COMBINATIONS").ok();
    let mut n = 0_usize;
    for case in all() {
        // On a server the first load of a key only finds out its tags, and is not stored: `redis_round_trips` has that.
        if kind != "memory" && case.plan.has_result_tags() {
            continue;
        }
        for answer in Answer::ALL.into_iter().filter(|answer| case.plan.meets(*answer)) {
            for states in mixes() {
                n += 1;
                let name = format!("{kind}, {answer:?}, {:?}, {states:?}", case.plan);
                let is_run = match &said {
                    Some(text) if text != "full" => name.contains(text),
                    _ => n.is_multiple_of(stride(kind)),
                };
                if is_run && !tally.is_right(&name) {
                    let to = if case.plan.times.short { &mut waiting } else { &mut cases };
                    to.push((case, answer, states));
                }
            }
        }
    }
    // What waits for a timeout waits beside others.
    let mut workers = JoinSet::new();
    for (cases, at_once) in [(cases, 4), (waiting, 24)] {
        let cases = Arc::new(Mutex::new(cases));
        for _ in 0..at_once {
            let cases = Arc::clone(&cases);
            workers.spawn(async move {
                let place = Place::new(kind).await;
                let mut verdicts = Vec::new();
                loop {
                    let Some((case, answer, states)) = cases.lock().pop() else { break };
                    let name = format!("{kind}, {answer:?}, {:?}, {states:?}", case.plan);
                    let verdict = run(&place, &name, &case, answer, &states).await;
                    verdicts.push((name, verdict));
                }
                assert_eq!(place.cache.stats().undelivered, 0);
                verdicts
            });
        }
    }
    while let Some(verdicts) = workers.join_next().await {
        verdicts.unwrap().into_iter().for_each(|(name, verdict)| tally.add(name, verdict));
    }
}

/// A3, N8, N12, P1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_every_age_hold_in_memory() {
    every_mix("memory").await;
}

/// A3, N8, N12, P1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_every_age_hold_on_redis() {
    every_mix("redis").await;
}

/// A3, N8, N12, P1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_every_age_hold_in_a_hybrid_cache() {
    every_mix("hybrid").await;
}

//! Every combination of `early_ttl`, `stale`, `stale_if_error`, `timeout` and `lock`, and each of the other options with
//! them: in every state of an entry, with every kind of source, on three backends. `plan` has the functions and says what
//! each case must come to; here they are run. With `CACHE_STRESS_SECONDS`, again and again at other moments.

use std::time::Duration;

use cache_runtime::ErrorKind;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fleet::{self, now, soon};
use super::plan::{Answer, Case, Class, Expected, HARD, Kept, Ret, all};
use super::verdict::{Tally, Verdict};
use super::{Broken, On, Source, ms};

/// When a value is asked for, in ms after it was stored; `None`: it never was.
const STATES: [(&str, Option<u64>); 7] = [
    ("missing", None),
    ("fresh", Some(0)),
    ("early", Some(650)),
    ("stale", Some(1350)),
    ("failing", Some(2350)),
    ("gone", Some(3150)),
    ("invalidated", Some(1300)),
];

/// One case between its calls.
struct Asked {
    case: Case,
    source: Source,
    /// The entry's age in ms when it was seen: at least and at most. `None`: it was not to be found.
    age: Option<(u64, u64)>,
    ret: Ret,
    /// Between these moments the entry that was there before was stored.
    stored: Option<(Instant, Instant)>,
    /// Whether the call that was to store it did.
    is_set_up: bool,
    took: u64,
    began: Instant,
}

fn millis(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}

/// How much later than it should a machine may do what it has to.
const SLACK: u64 = 120;

/// Without `CACHE_STRESS_SECONDS`, every so many functions with other options are run in a state.
fn stride(kind: &str) -> u64 {
    match (std::env::var_os("CACHE_STRESS_SECONDS"), kind) {
        (Some(_), _) => 1,
        (None, "memory") => 2,
        (None, _) => 4,
    }
}

fn name(kind: &str, state: &str, answer: Answer, case: &Case) -> String {
    format!("{kind}, {state}, {answer:?}, {case:?}")
}

/// Runs functions in one state of their entries, with one kind of source, side by side.
async fn run(
    kind: &'static str,
    state: &'static str,
    age: Option<u64>,
    answer: Answer,
    cases: Vec<Case>,
) -> Vec<(String, Verdict)> {
    let on = On::new(kind).await;
    let mut first = JoinSet::new();
    for (n, case) in cases.into_iter().enumerate() {
        let (cache, source) = (on.cache.clone(), Source::default());
        first.spawn(async move {
            // Not all at once: what is measured is time.
            ms(n as u64 * 15).await;
            source.set(1);
            let (mut stored, mut is_set_up) = (None, true);
            if let Some(age) = age {
                let first = (case.call)(case.id, cache.clone(), source.clone()).await;
                assert!(matches!(first, Ok(Some(1)) | Err(Broken::Cache(ErrorKind::Timeout))), "{case:?}: {first:?}");
                is_set_up = first.is_ok();
                let done = now();
                stored = Some((source.times().1.unwrap_or(done), done));
                ms(age).await;
            }
            if state == "invalidated" {
                cache.invalidate_tags([format!("t:{}", case.id)]).await.unwrap();
                stored = None;
            }
            source.set(2);
            source.answer(answer);
            let began = now();
            let ret = (case.call)(case.id, cache.clone(), source.clone()).await;
            let took = millis(began, now());
            let seen = source.times().0.filter(|loaded| *loaded >= began).map_or_else(now, |loaded| loaded.min(now()));
            let age = stored.map(|(from, to)| (millis(to, began).saturating_sub(3), millis(from, seen) + 3));
            Asked { case, source, age, ret, stored, is_set_up, took, began }
        });
    }
    let mut asked = Vec::new();
    while let Some(done) = first.join_next().await {
        asked.push(done.unwrap());
    }
    soon("the background", || on.cache.stats().background + on.cache.stats().flights == 0).await;
    let idle = now();
    let mut verdicts = Vec::new();
    for asked in asked {
        let name = name(kind, state, answer, &asked.case);
        let verdict = judge(&on, asked, age.is_some(), answer, idle).await;
        verdicts.push((name, verdict));
    }
    soon("the background", || on.cache.stats().background + on.cache.stats().flights == 0).await;
    assert_eq!(on.cache.stats().undelivered, 0);
    verdicts
}

async fn judge(on: &On, asked: Asked, loaded_before: bool, answer: Answer, idle: Instant) -> Verdict {
    let Asked { case, source, age, ret, stored, is_set_up, took, began } = asked;
    let plan = case.plan;
    if !is_set_up {
        return Verdict::Unclear;
    }
    let Some(class) = plan.class_between(age) else { return Verdict::Unclear };
    if took > plan.limit(class, answer) + SLACK {
        return Verdict::Unclear;
    }
    if source.times().1.is_some_and(|ended| plan.may_be_given_up(answer, millis(began, ended))) {
        return Verdict::Unclear;
    }
    let expected = plan.expected(class, answer);
    let stats = (case.stats)(&on.cache);
    let before = u64::from(loaded_before);
    let got = Expected {
        ret,
        hits: stats.hits,
        misses: stats.misses - before,
        stale: stats.stale,
        early: stats.early,
        loads: source.loads() - before,
        errors: stats.errors,
        abandoned: stats.abandoned,
        kept: expected.kept,
    };
    if got != expected {
        // The time was over before the load began or a quick source was heard, or it was noticed after a slow one.
        let is_late = got.loads < expected.loads || got.abandoned != expected.abandoned;
        if plan.has_timeout() && millis(began, idle) >= HARD && is_late {
            return Verdict::Unclear;
        }
        // A refresh in the background may have come too late to be one.
        let late = plan.class_between(age.zip(stored).map(|((from, _), (stored, _))| (from, millis(stored, idle))));
        if got.loads < expected.loads && late.is_none() {
            return Verdict::Unclear;
        }
        return Verdict::Wrong(format!("{class:?} at {age:?}: {got:?} instead of {expected:?}"));
    }
    // What a second call returns, from a source that is well again.
    source.set(3);
    source.answer(Answer::Answers);
    let loads = source.loads();
    let again = now();
    let fresh = source.times().1.map(|ended| (ended, ended));
    let second = (case.call)(case.id, on.cache.clone(), source.clone()).await;
    let until = now();
    let since = |stored: Option<(Instant, Instant)>| {
        stored.map(|(from, to)| (millis(to, again).saturating_sub(3), millis(from, until) + 3))
    };
    let expected = match expected.kept {
        Kept::Nothing => Some((Ok(Some(3)), 1)),
        Kept::Error => Some((Err(Broken::Source), 0)),
        Kept::New(value) => {
            let class = plan.class_between(since(fresh));
            (class == Some(Class::Fresh)).then_some((Ok(value), 0))
        }
        Kept::Old { paused } => match plan.class_between(since(stored)) {
            Some(Class::Fresh) => Some((Ok(Some(1)), 0)),
            Some(Class::Missing) => Some((Ok(Some(3)), 1)),
            Some(_) if paused && fresh.is_some_and(|(failed, _)| millis(failed, until) < 900) => Some((Ok(Some(1)), 0)),
            Some(_) | None => None,
        },
    };
    match expected {
        None => Verdict::Unclear,
        // It had run out of time.
        Some(_)
            if plan.has_timeout()
                && second == Err(Broken::Cache(ErrorKind::Timeout))
                && millis(again, until) >= HARD =>
        {
            Verdict::Unclear
        }
        Some(expected) if (second.clone(), source.loads() - loads) == expected => Verdict::Right,
        Some(expected) => {
            let got = (second, source.loads() - loads);
            Verdict::Wrong(format!(
                "after {class:?} at {age:?}, {:?} again: {got:?} instead of {expected:?}",
                stored.map(|s| millis(s.1, again))
            ))
        }
    }
}

async fn every_case(kind: &'static str) {
    let ends = now() + Duration::from_secs(std::env::var("CACHE_STRESS_SECONDS").map_or(0, |s| s.parse().unwrap()));
    let (mut shift, mut tally) = (0, Tally::default());
    loop {
        let mut groups = JoinSet::new();
        for (n, answer) in Answer::ALL.into_iter().enumerate() {
            for (turn, (state, age)) in STATES.into_iter().enumerate() {
                let turn = (n + turn) as u64;
                let is_run = |case: &Case| {
                    ((case.plan.is_core() && !case.is_batch) || (case.id + turn).is_multiple_of(stride(kind)))
                        && !tally.is_right(&name(kind, state, answer, case))
                };
                let cases: Vec<Case> = all().into_iter().filter(is_run).collect();
                for (part, cases) in cases.chunks(12).enumerate() {
                    let (cases, part) = (cases.to_vec(), part as u64);
                    groups.spawn(async move {
                        ms(n as u64 * 1000 + part * 250 + turn * 40).await;
                        run(kind, state, age.map(|age| age + shift), answer, cases).await
                    });
                }
            }
        }
        while let Some(verdicts) = groups.join_next().await {
            verdicts.unwrap().into_iter().for_each(|(name, verdict)| tally.add(name, verdict));
        }
        if !tally.says_enough(kind) {
            continue;
        }
        if now() >= ends {
            return;
        }
        tally = Tally::default();
        shift = (shift + 37) % 150;
    }
}

/// A3, N8, D10, P1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn combinations_hold_in_memory() {
    every_case("memory").await;
}

/// A3, N8, D10, P1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn combinations_hold_on_redis() {
    fleet::server().await;
    every_case("redis").await;
}

/// A3, N8, D10, P1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn combinations_hold_in_a_hybrid_cache() {
    fleet::server().await;
    every_case("hybrid").await;
}

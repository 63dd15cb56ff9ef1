//! Batch functions with every combination of options, and what a call must come to whose elements are of every age: the
//! rules of the guide, said once more and without a cache. `mix` runs them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use cache_runtime::{Cache, ErrorKind, FunctionStats, cache_read};

use super::Broken;
use super::mix::Rows;

pub(crate) type Rets = Result<HashMap<u64, u64>, Broken>;
type Called = Pin<Box<dyn Future<Output = Rets> + Send>>;

/// The ages of these functions, in s: far from each other, so that no machine is too slow for them.
const EARLY: u64 = 500;
pub(crate) const TTL: u64 = 1000;
const STALE: u64 = 1000;
const FAILING: u64 = 2000;

/// What an element is before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Missing,
    Fresh,
    Early,
    Stale,
    Failing,
    Gone,
    Invalidated,
}

impl State {
    pub(crate) const ALL: [Self; 7] =
        [Self::Missing, Self::Fresh, Self::Early, Self::Stale, Self::Failing, Self::Gone, Self::Invalidated];

    /// Its age in s.
    pub(crate) fn age(self) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::Fresh => Some(100),
            Self::Early => Some(700),
            Self::Stale | Self::Invalidated => Some(1500),
            Self::Failing => Some(2500),
            Self::Gone => Some(4000),
        }
    }
}

/// What the source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Answers,
    Fails,
    /// Rows with even numbers are not there.
    Some,
    /// It takes longer than any timeout, where there is one; else until the test lets it go.
    Held,
    /// Rows with even numbers are changed and invalidated while it is at work.
    Overtaken,
}

impl Answer {
    pub(crate) const ALL: [Self; 5] = [Self::Answers, Self::Fails, Self::Some, Self::Held, Self::Overtaken];
}

/// Which timeouts a function has, and whether they are short enough to be waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) soft: bool,
    pub(crate) hard: bool,
    pub(crate) short: bool,
}

/// Which options a function has.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) times: Times,
    early: bool,
    stale: bool,
    failing: bool,
    lock: bool,
    jitter: bool,
    ttl_none: bool,
    cache_if: bool,
    of_value: bool,
    result_tags: bool,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [
            (self.early, "early_ttl"),
            (self.stale, "stale"),
            (self.failing, "stale_if_error"),
            (self.lock, "lock"),
            (self.jitter, "jitter"),
            (self.ttl_none, "ttl_none"),
            (self.cache_if, "cache_if"),
            (self.of_value, "ttl of the value"),
            (self.result_tags, "tags of the result"),
            (self.times.soft, if self.times.short { "short soft_timeout" } else { "soft_timeout" }),
            (self.times.hard, if self.times.short { "short timeout" } else { "timeout" }),
        ];
        f.debug_list().entries(said.iter().filter(|(on, _)| *on).map(|(_, name)| name)).finish()
    }
}

/// How fresh an element is for a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Fresh,
    Early,
    Stale,
    Failing,
    Missing,
}

/// What is kept of an element afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    /// The value of version 1, whose source is left alone for a while or not.
    Old {
        paused: bool,
    },
    /// Version 2, or that there is none.
    New {
        absent: bool,
    },
}

/// What a call comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) stale: u64,
    pub(crate) early: u64,
    pub(crate) loads: u64,
    pub(crate) errors: u64,
    pub(crate) abandoned: u64,
}

/// What a call comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) ret: Result<BTreeMap<u64, u64>, Broken>,
    /// The calls of the body, each with its elements, in order.
    pub(crate) asked: Vec<Vec<u64>>,
    pub(crate) counted: Counted,
    pub(crate) kept: BTreeMap<u64, Kept>,
    /// Whether the call returns while a body is held.
    pub(crate) is_early: bool,
    /// Whether bodies are given up.
    pub(crate) is_given_up: bool,
}

/// The row of this version.
pub(crate) fn row(id: u64, version: u64) -> u64 {
    10 * id + version
}

impl Plan {
    /// How long an entry is of use after its ttl, in s.
    fn window(self) -> u64 {
        (u64::from(self.stale) * STALE).max(u64::from(self.failing) * FAILING)
    }

    /// How long a new entry is kept at least and at most, in s.
    pub(crate) fn life(self) -> (u64, u64) {
        let ttl = if self.jitter { TTL * 9 / 10 } else { TTL };
        (ttl + self.window(), TTL + self.window())
    }

    /// Whether some of its tags are known after the load only.
    pub(crate) fn has_result_tags(self) -> bool {
        self.result_tags
    }

    fn class(self, state: State) -> Class {
        let age = match (state, state.age()) {
            (State::Invalidated, _) | (_, None) => return Class::Missing,
            (_, Some(age)) => age,
        };
        if age < TTL {
            return if self.early && age >= EARLY { Class::Early } else { Class::Fresh };
        }
        if self.stale && age < TTL + STALE {
            Class::Stale
        } else if self.failing && age < TTL + FAILING {
            Class::Failing
        } else {
            Class::Missing
        }
    }

    /// Whether this function is asked while the source does this: short timeouts are for sources that are slow.
    pub(crate) fn meets(self, answer: Answer) -> bool {
        let Times { soft, hard, short } = self.times;
        match answer {
            Answer::Answers | Answer::Fails | Answer::Some => !short,
            Answer::Held => short || !(soft || hard),
            Answer::Overtaken => !(short && hard),
        }
    }

    fn kept(self, id: u64, class: Class, answer: Answer, is_loaded: bool) -> Kept {
        let given_up = answer == Answer::Held && self.times.hard;
        match answer {
            Answer::Overtaken if id.is_multiple_of(2) => Kept::Nothing,
            _ if !is_loaded => Kept::Old { paused: false },
            _ if (answer == Answer::Fails || given_up) && class == Class::Missing => Kept::Nothing,
            _ if answer == Answer::Fails || given_up => Kept::Old { paused: true },
            Answer::Some if id.is_multiple_of(2) && self.ttl_none => Kept::Nothing,
            Answer::Some if id.is_multiple_of(2) => Kept::New { absent: true },
            _ if self.cache_if => Kept::Nothing,
            _ => Kept::New { absent: false },
        }
    }

    /// What a call for these elements must come to, whose entries have version 1 while the source has 2.
    pub(crate) fn expected(self, elements: &BTreeMap<u64, State>, answer: Answer) -> Expected {
        let classes = || elements.iter().map(|(id, state)| (*id, self.class(*state)));
        let is_at_once =
            |class| matches!(class, Class::Fresh | Class::Early) || class == Class::Stale && !self.times.soft;
        let of = |wanted: &dyn Fn(Class) -> bool| -> Vec<u64> {
            classes().filter(|(_, class)| wanted(*class)).map(|(id, _)| id).collect()
        };
        let at_once = of(&is_at_once);
        let refreshed = of(&|class| is_at_once(class) && class != Class::Fresh);
        let awaited = of(&|class| !is_at_once(class));
        let late = of(&|class| !is_at_once(class) && class != Class::Missing);
        let all_old = late.len() == awaited.len();
        let is_slow = matches!(answer, Answer::Held | Answer::Overtaken);
        let is_softened = self.times.short && self.times.soft && is_slow && all_old;
        let is_given_up = self.times.hard && answer == Answer::Held;
        let fails = answer == Answer::Fails || is_given_up;
        let serves_late = !awaited.is_empty() && all_old && (fails || is_softened);
        let early = of(&|class| class == Class::Early).len() as u64;
        let asked: Vec<Vec<u64>> = {
            let mut asked: Vec<_> = [refreshed.clone(), awaited.clone()].into();
            asked.retain(|ids| !ids.is_empty());
            asked.sort_unstable();
            asked
        };
        let loads = asked.len() as u64;
        let at_once_stale = of(&|class| is_at_once(class) && class == Class::Stale).len() as u64;
        let counted = Counted {
            hits: (at_once.len() + if serves_late { late.len() } else { 0 }) as u64,
            misses: awaited.len() as u64,
            stale: at_once_stale + if serves_late { late.len() as u64 } else { 0 },
            early,
            loads,
            errors: if answer == Answer::Fails { loads } else { 0 },
            abandoned: if is_given_up { loads } else { 0 },
        };
        let ret = if fails && !awaited.is_empty() && !all_old {
            Err(if is_given_up { Broken::Cache(ErrorKind::Timeout) } else { Broken::Source })
        } else {
            let is_new = |id: &u64| awaited.contains(id) && !serves_late;
            let is_there = |id: &u64| !(is_new(id) && answer == Answer::Some && id.is_multiple_of(2));
            let ids = elements.keys().filter(|id| is_there(id));
            Ok(ids.map(|id| (*id, row(*id, if is_new(id) { 2 } else { 1 }))).collect())
        };
        let is_loaded = |id: &u64| awaited.contains(id) || refreshed.contains(id);
        let kept = classes().map(|(id, class)| (id, self.kept(id, class, answer, is_loaded(&id)))).collect();
        Expected { ret, asked, counted, kept, is_early: awaited.is_empty() || is_softened, is_given_up }
    }
}

/// One function.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) plan: Plan,
    pub(crate) call: fn(Vec<u64>, Cache, Rows) -> Called,
    pub(crate) stats: fn(&Cache) -> FunctionStats,
}

/// What stores entries that are past their ttl by the clock on the wall, too: a look that follows the taking of a lease goes by it.
#[cache_read(each(id in ids), key = "x:<id>", cache = cache, ttl = "1ms", stale = "10h", tags = ["t:<id>"], skip(cache, rows))]
pub(crate) async fn long_ago(ids: Vec<u64>, cache: &Cache, rows: &Rows) -> Rets {
    rows.load(ids).await
}

/// Functions with these options, and each with or without those in braces.
macro_rules! product {
    ($times:expr, [$($said:tt)*] [$($flag:ident)*]) => {
        #[cache_read(each(id in ids), key = "x:<id>", cache = cache, skip(cache, rows), $($said)*)]
        async fn function(ids: Vec<u64>, cache: &Cache, rows: &Rows) -> Rets {
            rows.load(ids).await
        }

        pub(super) fn cases(into: &mut Vec<Case>) {
            #[allow(clippy::needless_update, reason = "a function may have all of them")]
            let plan = Plan { times: $times, $($flag: true,)* ..Plan::default() };
            into.push(Case {
                plan,
                call: |ids, cache, rows| Box::pin(async move { function(ids, &cache, &rows).await }),
                stats: |cache| function::stats(cache),
            });
        }
    };
    ($times:expr, [$($said:tt)*] [$($flag:ident)*] { $with:ident $without:ident $($opt:tt)* } $($rest:tt)*) => {
        mod $with {
            use super::*;
            product! { $times, [$($said)* $($opt)*,] [$($flag)* $with] $($rest)* }
        }
        mod $without {
            use super::*;
            product! { $times, [$($said)*] [$($flag)*] $($rest)* }
        }
        pub(super) fn cases(into: &mut Vec<Case>) {
            $with::cases(into);
            $without::cases(into);
        }
    };
}

/// Modules of functions.
macro_rules! groups {
    ($($name:ident: $times:expr, [$($said:tt)*] [$($flag:ident)*] $({ $($opt:tt)* })*;)*) => {
        $(mod $name {
            use super::*;
            product! { $times, [$($said)*] [$($flag)*] $({ $($opt)* })* }
        })*
        pub(super) fn cases(into: &mut Vec<Case>) {
            $($name::cases(into);)*
        }
    };
}

const NONE: Times = Times { soft: false, hard: false, short: false };
const HARD: Times = Times { hard: true, ..NONE };
const SOFT: Times = Times { soft: true, ..NONE };
const BOTH: Times = Times { soft: true, ..HARD };
const SHORT_HARD: Times = Times { short: true, ..HARD };
const SHORT_SOFT: Times = Times { short: true, ..SOFT };
const SHORT_BOTH: Times = Times { short: true, ..BOTH };

/// All subsets of the options that decide when an old value is served.
mod core {
    use super::*;
    groups! {
        none: NONE, [ttl = "1000s", tags = ["t:<id>"],] []
            { early no_early early_ttl = "500s" } { stale no_stale stale = "1000s" }
            { failing no_failing stale_if_error = "2000s" } { lock no_lock lock = true };
        hard: HARD, [ttl = "1000s", tags = ["t:<id>"], timeout = "60s",] []
            { early no_early early_ttl = "500s" } { stale no_stale stale = "1000s" }
            { failing no_failing stale_if_error = "2000s" } { lock no_lock lock = true };
        short_hard: SHORT_HARD, [ttl = "1000s", tags = ["t:<id>"], timeout = "250ms",] []
            { early no_early early_ttl = "500s" } { stale no_stale stale = "1000s" }
            { failing no_failing stale_if_error = "2000s" } { lock no_lock lock = true };
        soft: SOFT, [ttl = "1000s", tags = ["t:<id>"], stale = "1000s", soft_timeout = "50s",] [stale]
            { early no_early early_ttl = "500s" } { failing no_failing stale_if_error = "2000s" }
            { lock no_lock lock = true };
        short_soft: SHORT_SOFT, [ttl = "1000s", tags = ["t:<id>"], stale = "1000s", soft_timeout = "80ms",] [stale]
            { early no_early early_ttl = "500s" } { failing no_failing stale_if_error = "2000s" }
            { lock no_lock lock = true };
        both: BOTH, [ttl = "1000s", tags = ["t:<id>"], stale = "1000s", soft_timeout = "50s", timeout = "60s",] [stale]
            { early no_early early_ttl = "500s" } { failing no_failing stale_if_error = "2000s" }
            { lock no_lock lock = true };
        short_both: SHORT_BOTH, [ttl = "1000s", tags = ["t:<id>"], stale = "1000s", soft_timeout = "80ms", timeout = "250ms",] [stale]
            { early no_early early_ttl = "500s" } { failing no_failing stale_if_error = "2000s" }
            { lock no_lock lock = true };
    }
}

/// One more option, with each of them and with all.
macro_rules! with_each {
    ($module:ident [$($flag:ident)*] [$($said:tt)*]) => {
        mod $module {
            use super::*;
            groups! {
                alone: NONE, [$($said)*,] [$($flag)*];
                early: NONE, [$($said)*, early_ttl = "500s",] [$($flag)* early];
                stale: NONE, [$($said)*, stale = "1000s",] [$($flag)* stale];
                failing: NONE, [$($said)*, stale_if_error = "2000s",] [$($flag)* failing];
                lock: NONE, [$($said)*, lock = true,] [$($flag)* lock];
                hard: HARD, [$($said)*, timeout = "60s",] [$($flag)*];
                soft: SHORT_SOFT, [$($said)*, stale = "1000s", soft_timeout = "80ms",] [$($flag)* stale];
                all: BOTH, [$($said)*, early_ttl = "500s", stale = "1000s", stale_if_error = "2000s", lock = true,
                    soft_timeout = "50s", timeout = "60s",] [$($flag)* early stale failing lock];
            }
        }
    };
}

with_each!(jitter [jitter] [ttl = "1000s", tags = ["t:<id>"], jitter = "10%"]);
with_each!(ttl_none [ttl_none] [ttl = "1000s", tags = ["t:<id>"], ttl_none = "0s"]);
with_each!(cache_if [cache_if] [ttl = "1000s", tags = ["t:<id>"], cache_if = |value| *value % 10 != 2]);
with_each!(unless [cache_if] [ttl = "1000s", tags = ["t:<id>"], unless = |value| *value % 10 == 2]);
with_each!(of_value [of_value ttl_none] [ttl = |_value| Duration::from_secs(1000), tags = ["t:<id>"], ttl_none = "0s"]);
with_each!(result_tags [result_tags] [ttl = "1000s", tags = ["t:<id>", "of:<result>"]]);

/// All of these functions.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    core::cases(&mut cases);
    jitter::cases(&mut cases);
    ttl_none::cases(&mut cases);
    cache_if::cases(&mut cases);
    unless::cases(&mut cases);
    of_value::cases(&mut cases);
    result_tags::cases(&mut cases);
    cases
}

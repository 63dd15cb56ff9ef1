//! Functions with every combination of options, and what a call of each must come to: the rules of the guide, said once more
//! and without a cache.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use cache_runtime::{Cache, ErrorKind, FunctionStats, cache_read};

use super::{Broken, Source};

pub(crate) type Ret = Result<Option<u64>, Broken>;
type Called = Pin<Box<dyn Future<Output = Ret> + Send>>;

/// The ages of these functions, in ms.
const EARLY: u64 = 500;
const TTL: u64 = 1000;
const STALE: u64 = 1000;
const FAILING: u64 = 2000;
const SOFT: u64 = 150;
pub(crate) const HARD: u64 = 800;

/// Between the timeouts, and past both.
const SLOW: u64 = 350;
const SLOWER: u64 = 1150;

/// What the source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Answers,
    Fails,
    PastSoft,
    PastHard,
    Absent,
}

impl Answer {
    pub(crate) const ALL: [Self; 5] = [Self::Answers, Self::Fails, Self::PastSoft, Self::PastHard, Self::Absent];

    pub(crate) fn delay(self) -> u64 {
        match self {
            Self::PastSoft => SLOW,
            Self::PastHard => SLOWER,
            Self::Answers | Self::Fails | Self::Absent => 0,
        }
    }
}

/// Which options a function has.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    early: bool,
    stale: bool,
    failing: bool,
    timeout: bool,
    lock: bool,
    soft: bool,
    jitter: bool,
    ttl_none: bool,
    ttl_err: bool,
    cache_if: bool,
    of_value: bool,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [
            (self.early, "early_ttl"),
            (self.stale, "stale"),
            (self.failing, "stale_if_error"),
            (self.timeout, "timeout"),
            (self.lock, "lock"),
            (self.soft, "soft_timeout"),
            (self.jitter, "jitter"),
            (self.ttl_none, "ttl_none"),
            (self.ttl_err, "ttl_err"),
            (self.cache_if, "cache_if"),
            (self.of_value, "ttl of the value"),
        ];
        f.debug_list().entries(said.iter().filter(|(on, _)| *on).map(|(_, name)| name)).finish()
    }
}

/// How fresh an entry is for a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Fresh,
    Early,
    Stale,
    Failing,
    Missing,
}

/// What is under the key afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    Old { paused: bool },
    New(Option<u64>),
    Error,
}

/// What a load comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    Value,
    Absent,
    Error,
    GivenUp,
}

/// What a call comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) ret: Ret,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) stale: u64,
    pub(crate) early: u64,
    pub(crate) loads: u64,
    pub(crate) errors: u64,
    pub(crate) abandoned: u64,
    pub(crate) kept: Kept,
}

impl Plan {
    fn class(self, age: u64, ttl: u64) -> Class {
        if age < ttl {
            return if self.early && age >= EARLY { Class::Early } else { Class::Fresh };
        }
        if self.stale && age < ttl + STALE {
            Class::Stale
        } else if self.failing && age < ttl + FAILING {
            Class::Failing
        } else {
            Class::Missing
        }
    }

    /// How fresh an entry is whose age is between these; `None`: that cannot be said.
    pub(crate) fn class_between(self, age: Option<(u64, u64)>) -> Option<Class> {
        let Some((from, to)) = age else { return Some(Class::Missing) };
        let shortest = if self.jitter { TTL * 9 / 10 } else { TTL };
        let class = self.class(from, TTL);
        [(from, shortest), (to, TTL), (to, shortest)]
            .into_iter()
            .all(|(age, ttl)| self.class(age, ttl) == class)
            .then_some(class)
    }

    /// Whether it is one of the options whose combinations all have a function.
    pub(crate) fn is_core(self) -> bool {
        let Self { early, stale, failing, timeout, lock, .. } = self;
        self == Self { early, stale, failing, timeout, lock, ..Self::default() }
    }

    /// How long a call may take, in ms, without the machine's own slowness.
    pub(crate) fn limit(self, class: Class, answer: Answer) -> u64 {
        match class {
            Class::Fresh | Class::Early => 0,
            Class::Stale if !self.soft => 0,
            Class::Stale | Class::Failing if self.soft => answer.delay().min(SOFT),
            Class::Stale | Class::Failing | Class::Missing if self.timeout => answer.delay().min(HARD),
            Class::Stale | Class::Failing | Class::Missing => answer.delay(),
        }
    }

    /// Whether loads are given up.
    pub(crate) fn has_timeout(self) -> bool {
        self.timeout
    }

    /// Whether a machine that needed so many ms for a load may have kept it from being stored before the timeout.
    pub(crate) fn may_be_given_up(self, answer: Answer, took: u64) -> bool {
        self.timeout && answer.delay() < HARD && took > answer.delay() + 100
    }

    fn loaded(self, answer: Answer) -> Loaded {
        match answer {
            Answer::PastHard if self.timeout => Loaded::GivenUp,
            Answer::Answers | Answer::PastSoft | Answer::PastHard => Loaded::Value,
            Answer::Fails => Loaded::Error,
            Answer::Absent => Loaded::Absent,
        }
    }

    fn kept(self, loaded: Loaded, has_old: bool) -> Kept {
        match loaded {
            Loaded::Value if self.cache_if => Kept::Nothing,
            Loaded::Absent if self.ttl_none => Kept::Nothing,
            Loaded::Value => Kept::New(Some(2)),
            Loaded::Absent => Kept::New(None),
            Loaded::Error | Loaded::GivenUp if has_old => Kept::Old { paused: true },
            Loaded::Error if self.ttl_err => Kept::Error,
            Loaded::Error | Loaded::GivenUp => Kept::Nothing,
        }
    }

    /// What a call must come to that finds an entry with the value 1 like this, while the source has 2.
    pub(crate) fn expected(self, class: Class, answer: Answer) -> Expected {
        let old = Ok(Some(1));
        let loaded = self.loaded(answer);
        let fresh = Expected {
            ret: old.clone(),
            hits: 1,
            misses: 0,
            stale: 0,
            early: 0,
            loads: 0,
            errors: 0,
            abandoned: 0,
            kept: Kept::Old { paused: false },
        };
        let load = Expected {
            loads: 1,
            errors: u64::from(loaded == Loaded::Error),
            abandoned: u64::from(loaded == Loaded::GivenUp),
            kept: self.kept(loaded, class != Class::Missing),
            ..fresh.clone()
        };
        let replaced = match loaded {
            Loaded::Value => Some(Ok(Some(2))),
            Loaded::Absent => Some(Ok(None)),
            Loaded::Error | Loaded::GivenUp => None,
        };
        let is_late = self.soft && answer.delay() > 0;
        match (class, replaced) {
            (Class::Fresh, _) => fresh,
            (Class::Early, _) => Expected { early: 1, ..load },
            (Class::Stale, _) if !self.soft => Expected { stale: 1, ..load },
            (Class::Missing, replaced) => {
                let ret = replaced.unwrap_or(Err(match loaded {
                    Loaded::GivenUp => Broken::Cache(ErrorKind::Timeout),
                    _ => Broken::Source,
                }));
                Expected { ret, hits: 0, misses: 1, ..load }
            }
            (Class::Stale | Class::Failing, Some(ret)) if !is_late => Expected { ret, hits: 0, misses: 1, ..load },
            (Class::Stale | Class::Failing, _) => Expected { misses: 1, stale: 1, ..load },
        }
    }
}

/// One function.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) id: u64,
    /// Whether it is a batch function, which is asked for one element.
    pub(crate) is_batch: bool,
    pub(crate) plan: Plan,
    pub(crate) call: fn(u64, Cache, Source) -> Called,
    pub(crate) stats: fn(&Cache) -> FunctionStats,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}{}", self.id, self.plan, if self.is_batch { " of a batch" } else { "" })
    }
}

/// A function with these options, and each with or without the options in braces. After `@batch`, batch functions.
macro_rules! product {
    (@batch [$($said:tt)*] [$($flag:ident)*] [$($ttl:tt)*]) => {
        #[cache_read(each(id in ids), key = "b:<id>", tags = ["t:<id>"], cache = cache, skip(cache, source), $($ttl)*, $($said)*)]
        async fn function(ids: Vec<u64>, cache: &Cache, source: &Source) -> Result<HashMap<u64, u64>, Broken> {
            let value = source.answered().await?;
            Ok(ids.into_iter().filter_map(|id| Some((id, value?))).collect())
        }

        pub(super) fn cases(into: &mut Vec<Case>) {
            #[allow(clippy::needless_update, reason = "a function may have all of them")]
            let plan = Plan { $($flag: true,)* ..Plan::default() };
            into.push(Case {
                id: into.len() as u64,
                is_batch: true,
                plan,
                call: |id, cache, source| {
                    Box::pin(async move { Ok(function(vec![id], &cache, &source).await?.remove(&id)) })
                },
                stats: |cache| function::stats(cache),
            });
        }
    };
    (@batch [$($said:tt)*] [$($flag:ident)*] [$($ttl:tt)*] { $with:ident $without:ident $field:ident $($opt:tt)* } $($rest:tt)*) => {
        mod $with {
            use super::*;
            product! { @batch [$($said)* $($opt)*,] [$($flag)* $field] [$($ttl)*] $($rest)* }
        }
        mod $without {
            use super::*;
            product! { @batch [$($said)*] [$($flag)*] [$($ttl)*] $($rest)* }
        }
        pub(super) fn cases(into: &mut Vec<Case>) {
            $with::cases(into);
            $without::cases(into);
        }
    };
    (@ [$($said:tt)*] [$($flag:ident)*] [$($ttl:tt)*]) => {
        #[cache_read(key = "c:<id>", tags = ["t:<id>"], cache = cache, skip(cache, source), $($ttl)*, $($said)*)]
        async fn function(id: u64, cache: &Cache, source: &Source) -> Ret {
            source.answered().await
        }

        pub(super) fn cases(into: &mut Vec<Case>) {
            #[allow(clippy::needless_update, reason = "a function may have all of them")]
            let plan = Plan { $($flag: true,)* ..Plan::default() };
            into.push(Case {
                id: into.len() as u64,
                is_batch: false,
                plan,
                call: |id, cache, source| Box::pin(async move { function(id, &cache, &source).await }),
                stats: |cache| function::stats(cache),
            });
        }
    };
    (@ [$($said:tt)*] [$($flag:ident)*] [$($ttl:tt)*] { $with:ident $without:ident $field:ident $($opt:tt)* } $($rest:tt)*) => {
        mod $with {
            use super::*;
            product! { @ [$($said)* $($opt)*,] [$($flag)* $field] [$($ttl)*] $($rest)* }
        }
        mod $without {
            use super::*;
            product! { @ [$($said)*] [$($flag)*] [$($ttl)*] $($rest)* }
        }
        pub(super) fn cases(into: &mut Vec<Case>) {
            $with::cases(into);
            $without::cases(into);
        }
    };
}

/// Single functions.
macro_rules! each {
    ($($name:ident [$($flag:ident)*] [$($ttl:tt)*] [$($said:tt)*];)*) => {
        $(mod $name {
            use super::*;
            product! { @ [$($said)*] [$($flag)*] [$($ttl)*] }
        })*
        pub(super) fn cases(into: &mut Vec<Case>) {
            $($name::cases(into);)*
        }
    };
}

/// All subsets of the options that decide when an old value is served.
mod core {
    use super::*;
    product! {
        @ [] [] [ttl = "1s"]
        { early not_early early early_ttl = "500ms" }
        { stale not_stale stale stale = "1s" }
        { failing not_failing failing stale_if_error = "2s" }
        { timeout no_timeout timeout timeout = "800ms" }
        { lock no_lock lock lock = true }
    }
}

/// The same of batch functions.
mod batch {
    use super::*;
    product! {
        @batch [] [] [ttl = "1s"]
        { early not_early early early_ttl = "500ms" }
        { stale not_stale stale stale = "1s" }
        { failing not_failing failing stale_if_error = "2s" }
        { timeout no_timeout timeout timeout = "800ms" }
        { lock no_lock lock lock = true }
    }
}

/// And of those that have a soft timeout, and what else a batch function may have.
mod soft_batch {
    use super::*;
    mod soft {
        use super::*;
        product! {
            @batch [] [soft stale] [ttl = "1s", stale = "1s", soft_timeout = "150ms"]
            { early not_early early early_ttl = "500ms" }
            { failing not_failing failing stale_if_error = "2s" }
            { timeout no_timeout timeout timeout = "800ms" }
        }
    }
    mod more {
        use super::*;
        product! {
            @batch [] [ttl_none stale] [ttl = |_value| Duration::from_secs(1), stale = "1s", ttl_none = "0s"]
            { cache_if no_cache_if cache_if cache_if = |value| *value != 2 }
            { failing not_failing failing stale_if_error = "2s" }
        }
    }
    pub(super) fn cases(into: &mut Vec<Case>) {
        soft::cases(into);
        more::cases(into);
    }
}

/// One more option, with each of them and with all.
macro_rules! with_each {
    ($module:ident $field:ident [$($ttl:tt)*] [$($opt:tt)*]) => {
        mod $module {
            use super::*;
            each! {
                alone [$field] [$($ttl)*] [$($opt)*];
                early [$field early] [$($ttl)*] [$($opt)*, early_ttl = "500ms"];
                stale [$field stale] [$($ttl)*] [$($opt)*, stale = "1s"];
                failing [$field failing] [$($ttl)*] [$($opt)*, stale_if_error = "2s"];
                timeout [$field timeout] [$($ttl)*] [$($opt)*, timeout = "800ms"];
                lock [$field lock] [$($ttl)*] [$($opt)*, lock = true];
                all [$field early stale failing timeout lock] [$($ttl)*] [$($opt)*, early_ttl = "500ms", stale = "1s",
                    stale_if_error = "2s", timeout = "800ms", lock = true];
            }
        }
    };
}

with_each!(jitter jitter [ttl = "1s"] [jitter = "10%"]);
with_each!(ttl_none ttl_none [ttl = "1s"] [ttl_none = "0s"]);
with_each!(ttl_err ttl_err [ttl = "1s"] [ttl_err = "60s"]);
with_each!(cache_if cache_if [ttl = "1s"] [cache_if = |value| *value != 2]);
with_each!(unless cache_if [ttl = "1s"] [unless = |value| *value == 2]);
with_each!(of_value of_value [ttl = |_value| Duration::from_secs(1)] [version = 2]);

/// A soft timeout, which needs `stale`, with each of the others.
mod soft {
    use super::*;
    each! {
        stale [soft stale] [ttl = "1s"] [stale = "1s", soft_timeout = "150ms"];
        early [soft stale early] [ttl = "1s"] [stale = "1s", soft_timeout = "150ms", early_ttl = "500ms"];
        failing [soft stale failing] [ttl = "1s"] [stale = "1s", soft_timeout = "150ms", stale_if_error = "2s"];
        timeout [soft stale timeout] [ttl = "1s"] [stale = "1s", soft_timeout = "150ms", timeout = "800ms"];
        lock [soft stale lock] [ttl = "1s"] [stale = "1s", soft_timeout = "150ms", lock = true];
        jitter [soft stale jitter] [ttl = "1s"] [stale = "1s", soft_timeout = "150ms", jitter = "10%"];
        cache_if [soft stale cache_if] [ttl = "1s"] [stale = "1s", soft_timeout = "150ms", cache_if = |value| *value != 2];
        ttl_none [soft stale ttl_none] [ttl = "1s"] [stale = "1s", soft_timeout = "150ms", ttl_none = "0s"];
        ttl_err [soft stale ttl_err] [ttl = "1s"] [stale = "1s", soft_timeout = "150ms", ttl_err = "60s"];
        all [soft early stale failing timeout lock] [ttl = "1s"] [early_ttl = "500ms", stale = "1s",
            stale_if_error = "2s", soft_timeout = "150ms", timeout = "800ms", lock = true];
    }
}

/// All of these functions, each with a number of its own.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    core::cases(&mut cases);
    soft::cases(&mut cases);
    jitter::cases(&mut cases);
    ttl_none::cases(&mut cases);
    ttl_err::cases(&mut cases);
    cache_if::cases(&mut cases);
    unless::cases(&mut cases);
    of_value::cases(&mut cases);
    batch::cases(&mut cases);
    soft_batch::cases(&mut cases);
    cases
}

//! Measuring: cases in turn, round by round, so that what else the machine does meets all of them; medians, and ratios
//! to the baseline *of the same round*.

use std::hint::black_box;
use std::sync::{Barrier, LazyLock};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::data;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
    pub(crate) filter: Option<String>,
    pub(crate) case: Option<String>,
    times: Option<u64>,
}

const USAGE: &str = "usage: cargo bench -p cache-benches -- [FILTER] [--case TEXT] [--rounds N] [--ms N] [--times N]
  FILTER      only groups whose title contains it
  --case TEXT only each group's baseline and the cases whose name contains it
  --rounds N  rounds, at least 3 (default 21)
  --ms N      time of one case in one round (default 25)
  --times N   for profilers: run the cases of FILTER and --case (not the baseline) N times, print nothing";

impl Plan {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut plan = Self { rounds: 21, slice: Duration::from_millis(25), filter: None, case: None, times: None };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok()).ok_or(USAGE);
            match argument.as_str() {
                "--case" => plan.case = Some(arguments.next().ok_or(USAGE)?),
                // Cargo's own.
                "--bench" => {}
                "--rounds" => plan.rounds = (number()? as usize).max(3),
                "--times" => plan.times = Some(number()?),
                "--ms" => plan.slice = Duration::from_millis(number()?.max(1)),
                text if text.starts_with('-') => return Err(USAGE.to_owned()),
                text => plan.filter = Some(text.to_owned()),
            }
        }
        Ok(plan)
    }

    fn wants_case(&self, name: &str) -> bool {
        self.case.as_deref().is_none_or(|text| name.contains(text))
    }

    pub(crate) fn wants(&self, title: &str) -> bool {
        self.filter.as_deref().is_none_or(|filter| title.contains(filter))
    }
}

/// The runtime of all cases.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started")
});

/// Runs the operation so often and returns the time that one thread took.
pub(crate) type Run = Box<dyn FnMut(u64) -> Duration>;

pub(crate) struct Case {
    name: &'static str,
    run: Run,
}

/// Cases that are compared with each other. The first is the baseline.
pub(crate) struct Group {
    title: &'static str,
    cases: Vec<Case>,
}

impl Group {
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, cases: Vec::new() }
    }

    pub(crate) fn case(mut self, name: &'static str, run: Run) -> Self {
        self.cases.push(Case { name, run });
        self
    }
}

#[allow(clippy::disallowed_methods, reason = "measuring time is what this file is for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// One task that asks for one id after the other.
pub(crate) fn one_task<T>(ids: &'static [u32], call: impl AsyncFn(u64) -> T + 'static) -> Run {
    Box::new(move |count| RUNTIME.block_on(calls(ids, 0, count, &call)))
}

/// Two threads, each with a task that does so.
pub(crate) fn two_threads<T>(ids: &'static [u32], call: impl AsyncFn(u64) -> T + Sync + 'static) -> Run {
    Box::new(move |count| {
        let start = Barrier::new(2);
        let work = |offset| {
            start.wait();
            RUNTIME.block_on(calls(ids, offset, count, &call))
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| work(ids.len() / 2));
            let took = work(0);
            (took + other.join().expect("no case panics")) / 2
        })
    })
}

async fn calls<T>(ids: &[u32], offset: usize, count: u64, call: &impl AsyncFn(u64) -> T) -> Duration {
    let mask = ids.len() - 1;
    let start = now();
    for i in 0..count as usize {
        black_box(call(u64::from(ids[(i + offset) & mask])).await);
    }
    start.elapsed()
}

/// No task at all.
pub(crate) fn plain<T>(ids: &'static [u32], call: impl Fn(u64) -> T + 'static) -> Run {
    Box::new(move |count| {
        let mask = ids.len() - 1;
        let start = now();
        for i in 0..count as usize {
            black_box(call(black_box(u64::from(ids[i & mask]))));
        }
        start.elapsed()
    })
}

/// Untimed calls before every measurement: each key of the sequence once.
const WARM_UP: u64 = data::SEQUENCE as u64;

struct Measured {
    iterations: u64,
    allocations: f64,
    /// Nanoseconds of one operation, by round.
    rounds: Vec<f64>,
}

/// Measures the groups and prints them. `false`: something that should have hit ran its loader.
pub(crate) fn nanos(plan: &Plan, groups: Vec<Group>) -> bool {
    let mut groups: Vec<Group> = groups.into_iter().filter(|group| plan.wants(group.title)).collect();
    if let Some(times) = plan.times {
        let cases = groups.iter_mut().flat_map(|group| &mut group.cases);
        for case in cases.filter(|case| plan.wants_case(case.name)) {
            (case.run)(times);
        }
        return true;
    }
    for group in &mut groups {
        let mut first = true;
        group.cases.retain(|case| std::mem::take(&mut first) || plan.wants_case(case.name));
    }
    let mut measured: Vec<Vec<Measured>> =
        groups.iter_mut().map(|group| group.cases.iter_mut().map(|case| prepare(case, plan.slice)).collect()).collect();
    let loads = data::loads();
    for _ in 0..plan.rounds {
        for (group, measured) in groups.iter_mut().zip(&mut measured) {
            for (case, measured) in group.cases.iter_mut().zip(measured) {
                // The processor's caches are the last case's: without this, what is measured is mostly their filling.
                (case.run)(WARM_UP);
                let took = (case.run)(measured.iterations);
                measured.rounds.push(took.as_nanos() as f64 / measured.iterations as f64);
            }
        }
    }
    for (group, measured) in groups.iter().zip(&measured) {
        print(group, measured);
    }
    let loads = data::loads() - loads;
    if loads > 0 {
        println!("\nnot valid: {loads} calls ran a loader while hits were measured");
    }
    loads == 0
}

/// Warms a case up, counts its allocations and finds out how often it fits into a slice.
fn prepare(case: &mut Case, slice: Duration) -> Measured {
    (case.run)(200_000);
    let mut took = Duration::ZERO;
    let count = 10_000;
    // What starting a thread allocates is not the operation's.
    let empty = allocation_counter::measure(|| _ = (case.run)(0)).count_total;
    let allocations = allocation_counter::measure(|| took = (case.run)(count)).count_total;
    let iterations = (slice.as_nanos() as u64 * count / took.as_nanos().max(1) as u64).max(count);
    let allocations = allocations.saturating_sub(empty) as f64 / count as f64;
    Measured { iterations, allocations, rounds: Vec::new() }
}

fn print(group: &Group, measured: &[Measured]) {
    println!("\n### {}\n", group.title);
    println!(
        "| {:44} | {:>8} | {:>8} | {:>8} | {:>6} | {:>6} | {:>6} |",
        "case", "median", "min", "max", "ratio", "of min", "allocs"
    );
    println!("|{:-<46}|{0:->9}:|{0:->9}:|{0:->9}:|{0:->7}:|{0:->7}:|{0:->7}:|", "");
    for (case, this) in group.cases.iter().zip(measured) {
        let spread = Spread::of(&this.rounds);
        let ratio = Spread::of(&ratios(&this.rounds, &measured[0].rounds)).median;
        let of_min = spread.min / Spread::of(&measured[0].rounds).min;
        println!(
            "| {:44} | {:5.1} ns | {:5.1} ns | {:5.1} ns | {ratio:>6.2} | {of_min:>6.2} | {:>6.2} |",
            case.name, spread.median, spread.min, spread.max, this.allocations
        );
    }
}

pub(crate) fn ratios(these: &[f64], baseline: &[f64]) -> Vec<f64> {
    these.iter().zip(baseline).map(|(this, baseline)| this / baseline).collect()
}

pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { median: sorted[sorted.len() / 2], min: sorted[0], max: sorted[sorted.len() - 1] }
    }
}

/// What a reader has to know of the machine.
pub(crate) fn preamble(plan: &Plan) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{} rounds of {:?} a case, in turn; {cores} cores; load before: {load}; ratio: median of the rounds' ratios to the first case",
        plan.rounds, plan.slice
    );
}

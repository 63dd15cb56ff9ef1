//! Measuring what waits for a server: so many calls a second, and how much of the processor each of them takes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Ids that callers ask for: each of them once, then again.
pub(crate) const KEYS: u64 = 1000;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    filter: Option<String>,
    case: Option<String>,
    calls: Option<u64>,
}

const USAGE: &str = "usage: cargo bench -p cache-benches --bench redis -- [FILTER] [--case TEXT] [--rounds N] [--ms N]
  FILTER      only groups whose title contains it
  --case TEXT only each group's baseline and the cases whose name contains it
  --rounds N  rounds, at least 3 (default 15)
  --ms N      time of one case in one round (default 200)
  --calls N   for profilers: the cases that TEXT names, the baseline only if it is one; N calls of each caller, nothing printed";

impl Plan {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let round = Duration::from_millis(200);
        let mut plan = Self { rounds: 15, round, filter: None, case: None, calls: None };
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok()).ok_or(USAGE);
            match argument.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--rounds" => plan.rounds = (number()? as usize).max(3),
                "--ms" => plan.round = Duration::from_millis(number()?.max(1)),
                "--calls" => plan.calls = Some(number()?),
                "--case" => plan.case = Some(arguments.next().ok_or(USAGE)?),
                text if text.starts_with('-') => return Err(USAGE.to_owned()),
                text => plan.filter = Some(text.to_owned()),
            }
        }
        Ok(plan)
    }

    pub(crate) fn wants(&self, title: &str) -> bool {
        self.filter.as_deref().is_none_or(|filter| title.contains(filter))
    }
}

/// What a round of a case came to.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Calls a second.
    rate: f64,
    /// Microseconds of this process' processors for each.
    cpu: f64,
}

/// When a round ends.
#[derive(Clone, Copy, Debug)]
enum End {
    At(Instant),
    After(u64),
}

/// Gives how many calls there were.
type Run = Box<dyn Fn(usize, End) -> Pin<Box<dyn Future<Output = u64>>>>;

/// Something that calls.
pub(crate) struct Case {
    name: &'static str,
    run: Run,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Case {
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        call: impl Fn(u64) -> F + Send + Sync + 'static,
    ) -> Self {
        let call = Arc::new(call);
        let run = Box::new(move |callers, end| Box::pin(round(callers, end, Arc::clone(&call))) as Pin<Box<_>>);
        Self { name, run }
    }
}

/// So many callers at once, each with the next call when its last has ended.
async fn round<F: Future<Output = ()> + Send + 'static>(
    callers: usize,
    end: End,
    call: Arc<impl Fn(u64) -> F + Send + Sync + 'static>,
) -> u64 {
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers as u64 {
        let call = Arc::clone(&call);
        tasks.spawn(async move {
            let mut done = 0_u64;
            while match end {
                End::At(end) => Instant::now() < end,
                End::After(calls) => done < calls,
            } {
                call((caller * 7919 + done * 31) % KEYS).await;
                done += 1;
            }
            done
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// Microseconds that all threads of this process have run.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Measures the cases in turn, and prints them beside the first. Each has been warmed up.
pub(crate) async fn compare(plan: &Plan, title: &str, callers: usize, cases: &[Case]) {
    let wanted = |case: &Case| plan.case.as_deref().is_none_or(|text| case.name.contains(text));
    if let Some(calls) = plan.calls {
        for case in cases.iter().filter(|case| wanted(case)) {
            (case.run)(callers, End::After(calls)).await;
        }
        return;
    }
    let cases: Vec<&Case> = cases[..1].iter().chain(cases[1..].iter().filter(|case| wanted(case))).collect();
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); cases.len()];
    for turn in 0..plan.rounds {
        // Each goes first as often as last.
        for index in 0..cases.len() {
            let index = if turn % 2 == 0 { index } else { cases.len() - 1 - index };
            let (start, before) = (Instant::now(), cpu());
            let calls = (cases[index].run)(callers, End::At(start + plan.round)).await.max(1) as f64;
            let rate = calls / start.elapsed().as_secs_f64();
            rounds[index].push(Round { rate, cpu: (cpu() - before) / calls });
        }
    }
    println!("\n{title}");
    for (case, of) in cases.iter().zip(&rounds) {
        let ratios = of.iter().zip(&rounds[0]).map(|(ours, base)| ours.rate / base.rate).collect();
        println!(
            "  {:<44} {:>8.0} a second   ratio {:.2}   {:>6.1} µs of processor a call",
            case.name,
            median(of.iter().map(|round| round.rate).collect()),
            median(ratios),
            median(of.iter().map(|round| round.cpu).collect()),
        );
    }
}

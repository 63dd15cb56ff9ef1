//! What the program prints: progress, the table, the catalogue.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use cache_runtime::{CacheStats, Catalogue, SiteKind};

use crate::load::{Outcome, Tick};

/// A progress bar on stderr, where that is a terminal; else one line at the end.
pub(crate) struct Progress {
    title: &'static str,
    total: Duration,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(title: &'static str, total: Duration) -> Self {
        Self { title, total, terminal: std::io::stderr().is_terminal() }
    }

    pub(crate) fn show(&self, tick: &Tick) {
        const WIDTH: usize = 30;
        let Tick { passed, reads, .. } = *tick;
        if self.terminal {
            let share = (passed.as_secs_f64() / self.total.as_secs_f64()).min(1.0);
            let done = (share * WIDTH as f64) as usize;
            let (full, empty) = ("█".repeat(done), "░".repeat(WIDTH - done));
            eprint!("\r{:<18} {full}{empty} {:>3.0} %  {:>11} reads", self.title, share * 100.0, grouped(reads));
            let _ = std::io::stderr().flush();
        }
    }

    pub(crate) fn end(&self, reads: u64) {
        if self.terminal {
            eprintln!();
        } else {
            eprintln!("{:<18} {} reads", self.title, grouped(reads));
        }
    }
}

/// The two runs side by side.
pub(crate) fn print(without: &Outcome, with: &Outcome, stats: &CacheStats) {
    let second = |count: u64, run: &Outcome| count as f64 / run.time.as_secs_f64();
    let per_thousand = |run: &Outcome| run.queries as f64 * 1000.0 / run.reads.max(1) as f64;
    let quantile = |run: &Outcome, share| run.latency.value_at_quantile(share) as f64;

    row("", "without the cache", "with the cache", "");
    rule();
    let (before, after) = (second(without.reads, without), second(with.reads, with));
    row("reads a second", grouped(before as u64), grouped(after as u64), factor(after / before, "more", "fewer"));
    row(
        "writes a second",
        grouped(second(without.writes, without) as u64),
        grouped(second(with.writes, with) as u64),
        "",
    );
    rule();
    let (before, after) = (per_thousand(without), per_thousand(with));
    row(
        "database queries per 1,000 reads",
        grouped(before.round() as u64),
        grouped(after.round() as u64),
        factor(before / after, "fewer", "more"),
    );
    row("  queries that reached it, in all", grouped(without.queries), grouped(with.queries), "");
    rule();
    for (name, share) in [("time of a read, median (p50)", 0.50), ("  slowest of a hundred (p99)", 0.99)] {
        let (before, after) = (quantile(without, share), quantile(with, share));
        row(name, duration(before), duration(after), factor(before / after, "shorter", "longer"));
    }
    rule();
    row("hit rate", "–", format!("{:.1} %", hit_rate(stats) * 100.0), "");
    row("callers that shared a load", "–", grouped(stats.coalesced), "");
    row("entries recached after a write", "–", grouped(stats.recached), "");
    rule();
    row("rows read and checked", grouped(without.checked), grouped(with.checked), "");
    let verdict = if with.stale + without.stale == 0 { "✓" } else { "✗ STALE" };
    row("stale reads after a write", grouped(without.stale), grouped(with.stale), verdict);
}

/// The annotated functions and what is wrong between them.
pub(crate) fn print_catalogue(catalogue: &Catalogue) {
    println!("Annotated functions, as `cache_runtime::catalogue()` lists them:\n");
    let functions = catalogue.functions();
    let width = functions.iter().map(|function| function.name().len()).max().unwrap_or(0);
    for function in functions {
        let file = function.file().rsplit(['/', '\\']).next().unwrap_or_default();
        let (kind, mut facts) = match function.kind() {
            SiteKind::Write => ("cache_write", vec![format!("invalidates {}", function.tags().join(", "))]),
            SiteKind::Memoize => ("memoize", vec![]),
            _ => ("cache_read", vec![]),
        };
        if let Some(key) = function.key() {
            facts.push(format!("key {key}"));
            if !function.tags().is_empty() {
                facts.push(format!("tags {}", function.tags().join(", ")));
            }
            facts.push(format!("ttl {}", function.ttl()));
        }
        if !function.recaches().is_empty() {
            facts.push(format!("recaches {}", function.recaches().join(", ")));
        }
        println!("  {file}:{:<3} {kind:<11} {:<width$}  {}", function.line(), function.name(), facts.join(" · "));
    }
    let problems = catalogue.problems();
    if problems.is_empty() {
        println!("\nProblems between them, such as misspelt tags: none");
    } else {
        println!("\nProblems between them: {}\n{problems}", problems.len());
    }
}

/// Of the functions whose staleness is checked; memoized ones would only make it look better.
fn hit_rate(stats: &CacheStats) -> f64 {
    let catalogue = cache_runtime::catalogue();
    let reads = catalogue.functions().iter().filter(|function| function.kind() == SiteKind::Read);
    let (hits, calls) = reads
        .filter_map(|function| stats.functions.get(&format!("{}::{}", function.module(), function.name())))
        .fold((0, 0), |(hits, calls), function| (hits + function.hits, calls + function.hits + function.misses));
    hits as f64 / calls.max(1) as f64
}

fn row(name: &str, without: impl Display, with: impl Display, verdict: impl Display) {
    println!("  {}", format!("{name:<34} {without:>18} {with:>18}   {verdict}").trim_end());
}

fn rule() {
    println!("  {}", "─".repeat(72));
}

/// `12 × fewer`; where it is the other way round, `1.3 × more`.
fn factor(factor: f64, above: &str, below: &str) -> String {
    let (factor, word) = if factor < 1.0 { (1.0 / factor, below) } else { (factor, above) };
    let number = if factor < 10.0 { format!("{factor:.1}") } else { grouped(factor.round() as u64) };
    format!("{number} × {word}")
}

pub(crate) fn duration(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n if n < 1e9 => format!("{:.1} ms", n / 1e6),
        n => format!("{:.1} s", n / 1e9),
    }
}

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

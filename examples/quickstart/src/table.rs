//! What the program prints: progress, the table, the catalogue.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use cache_runtime::{CacheStats, Catalogue, SiteKind};

use crate::load::Outcome;

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

    pub(crate) fn show(&self, passed: Duration, reads: u64) {
        const WIDTH: usize = 30;
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
    row("reads a second", grouped(before as u64), grouped(after as u64), times(after / before));
    row("writes a second", grouped(second(without.writes, without) as u64), grouped(second(with.writes, with) as u64), "");
    rule();
    row("queries that reached the database", grouped(without.queries), grouped(with.queries), "");
    let (before, after) = (per_thousand(without), per_thousand(with));
    row("  for each 1,000 reads", grouped(before.round() as u64), format!("{after:.1}"), fewer(before / after));
    rule();
    for (name, share) in [("time of a read, median (p50)", 0.50), ("  slowest of a hundred (p99)", 0.99)] {
        let (before, after) = (quantile(without, share), quantile(with, share));
        row(name, duration(before), duration(after), shorter(before / after));
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
    println!("Annotated functions (src/service.rs), as `cache_runtime::catalogue()` lists them:\n");
    let width = catalogue.functions().iter().map(|function| function.name().len()).max().unwrap_or(0);
    for function in catalogue.functions() {
        let (kind, key) = match (function.kind(), function.key()) {
            (SiteKind::Write, _) => ("cache_write", "invalidates".to_owned()),
            (SiteKind::Memoize, key) => ("memoize", format!("key {}", key.unwrap_or_default())),
            (_, key) => ("cache_read", format!("key {}", key.unwrap_or_default())),
        };
        print!("  {kind:<11}  {:<width$}  {key}", function.name());
        match function.tags() {
            [] => {}
            tags => print!("{}{}", if function.kind() == SiteKind::Write { " " } else { ", tags " }, tags.join(", ")),
        }
        if function.kind() != SiteKind::Write {
            print!(", ttl {}", function.ttl());
        }
        if !function.recaches().is_empty() {
            print!(", recaches {}", function.recaches().join(", "));
        }
        println!();
    }
    let problems = catalogue.problems();
    match problems.len() {
        0 => println!("\nProblems between them (misspelt tags, keys that meet): none"),
        count => println!("\nProblems between them: {count}\n{problems}"),
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

fn times(factor: f64) -> String {
    format!("{} × as many", rounded(factor))
}

fn fewer(factor: f64) -> String {
    format!("{} × fewer", rounded(factor))
}

fn shorter(factor: f64) -> String {
    format!("{} × shorter", rounded(factor))
}

fn rounded(factor: f64) -> String {
    if factor < 10.0 { format!("{factor:.1}") } else { grouped(factor.round() as u64) }
}

fn duration(nanos: f64) -> String {
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

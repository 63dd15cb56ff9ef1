//! How a run went over time, as two rows of bars with the troubles beneath.

use std::time::Duration;

use crate::chaos::TROUBLES;
use crate::load::Tick;
use crate::table::{duration, grouped};

const WIDTH: usize = 72;

/// From nothing to a whole one.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A run, in so many slices of its time.
pub(crate) struct Chart {
    time: Duration,
    slices: Vec<Slice>,
}

#[derive(Clone)]
struct Slice {
    /// How much of its time was seen.
    seen: Duration,
    times: [u64; 64],
}

impl Chart {
    pub(crate) fn new(time: Duration) -> Self {
        Self { time, slices: vec![Slice { seen: Duration::ZERO, times: [0; 64] }; WIDTH] }
    }

    pub(crate) fn add(&mut self, tick: &Tick) {
        let share = tick.passed.as_secs_f64() / self.time.as_secs_f64();
        let before: Duration = self.slices.iter().map(|slice| slice.seen).sum();
        let slice = &mut self.slices[((share * WIDTH as f64) as usize).min(WIDTH - 1)];
        slice.seen += tick.passed.saturating_sub(before);
        slice.times.iter_mut().zip(tick.times).for_each(|(sum, more)| *sum += more);
    }

    /// `calm`: reads a second without the cache, to compare.
    pub(crate) fn print(&self, calm: f64) {
        let rate = |slice: &Slice| slice.times.iter().sum::<u64>() as f64 / slice.seen.as_secs_f64().max(1e-9);
        // A slice in which nothing was looked at is as the one before.
        let mut seen: Vec<&Slice> = Vec::with_capacity(WIDTH);
        for slice in &self.slices {
            let last = seen.last().copied().unwrap_or(slice);
            seen.push(if slice.seen.is_zero() { last } else { slice });
        }
        let rates: Vec<f64> = seen.iter().copied().map(rate).collect();
        let most = rates.iter().copied().fold(calm, f64::max);
        println!("  reads a second, up to {} (without the cache: {})", grouped(most as u64), grouped(calm as u64));
        line(rates.iter().map(|rate| rate / most));
        let slowest: Vec<f64> = seen.iter().map(|slice| p99(&slice.times)).collect();
        let (low, high) = (1e3_f64, slowest.iter().copied().fold(1e4, f64::max));
        println!(
            "  slowest of a hundred (p99), from {} to {}, each step as many times more",
            duration(low),
            duration(high)
        );
        line(slowest.iter().map(|time| (time.max(low) / low).ln() / (high / low).ln()));
        let mark =
            |at: f64| TROUBLES.iter().find(|trouble| (trouble.from..trouble.to).contains(&at)).map_or('·', |t| t.mark);
        println!("  {}", (0..WIDTH).map(|slice| mark((slice as f64 + 0.5) / WIDTH as f64)).collect::<String>());
        for trouble in &TROUBLES {
            println!("  {} {}", trouble.mark, trouble.name);
        }
    }
}

/// The power of two of nanoseconds that 99 of 100 reads are below.
fn p99(times: &[u64; 64]) -> f64 {
    let all: u64 = times.iter().sum();
    let mut sum = 0;
    let power = times.iter().position(|count| {
        sum += count;
        sum * 100 >= all * 99 && sum > 0
    });
    power.map_or(0.0, |power| 2_f64.powi(power as i32))
}

fn line(shares: impl Iterator<Item = f64>) {
    let bar = |share: f64| BARS[((share * 8.0).ceil() as usize).clamp(1, 8)];
    println!("  {}", shares.map(bar).collect::<String>());
}

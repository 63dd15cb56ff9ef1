//! How long something took, in buckets.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Durations in buckets of a quarter of a power of two (at most 19 % wide).
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: OnceLock<Box<[AtomicU64]>>,
    total: AtomicU64,
    max: AtomicU64,
}

const BUCKETS: usize = 64 * 4;

impl Histogram {
    pub(crate) fn record(&self, nanos: u64) {
        let buckets = self.buckets.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(nanos, Ordering::Relaxed);
        self.max.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(crate) fn summary(&self) -> Latency {
        let Some(buckets) = self.buckets.get() else { return Latency::default() };
        let counts: Vec<u64> = buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let max = self.max.load(Ordering::Relaxed);
        let at = |share: f64| {
            let rank = ((count as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            let found = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            Duration::from_nanos(found.map_or(max, |index| upper(index).min(max)))
        };
        Latency {
            count,
            mean: Duration::from_nanos(self.total.load(Ordering::Relaxed).checked_div(count).unwrap_or(0)),
            p50: at(0.50),
            p99: at(0.99),
            max: Duration::from_nanos(max),
        }
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < 4 {
        return nanos as usize;
    }
    let log = nanos.ilog2();
    let quarter = (nanos >> (log - 2)) & 3;
    log as usize * 4 + quarter as usize
}

fn upper(index: usize) -> u64 {
    if index < 4 {
        return index as u64;
    }
    let (log, quarter) = ((index / 4) as u32, (index % 4) as u64);
    if log < 2 { 4 } else { ((5 + quarter) << (log - 2)).saturating_sub(1) }
}

/// How long something took: a function's own body, over all loads so far, or the hits that were measured.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use cache_runtime::{Cache, cache_read};
/// #[cache_read(key = "price:<id>")]
/// async fn price(id: u64) -> u64 {
///     id * 10
/// }
///
/// Cache::memory().scope(async {
///     price(1).await;
///     let latency = price::stats().latency;
///     assert_eq!(latency.count, 1);
///     assert!(latency.p50 <= latency.p99 && latency.p99 <= latency.max);
/// }).await;
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many were measured: all loads, and one in 64 hits.
    pub count: u64,
    /// Mean.
    pub mean: Duration,
    /// Median, at most a fifth too high.
    pub p50: Duration,
    /// 99th percentile, at most a fifth too high.
    pub p99: Duration,
    /// Longest.
    pub max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_at_most_a_fifth_too_high() {
        let histogram = Histogram::default();
        for nanos in 1..=10_000 {
            histogram.record(nanos);
        }
        let summary = histogram.summary();
        assert_eq!(summary.count, 10_000);
        assert_eq!(summary.max, Duration::from_nanos(10_000));
        for (got, exact) in [(summary.p50, 5_000.0), (summary.p99, 9_900.0)] {
            let ratio = got.as_nanos() as f64 / exact;
            assert!((1.0..1.25).contains(&ratio), "{got:?} for {exact}");
        }
    }

    #[test]
    fn buckets_are_ordered_and_cover_every_duration() {
        let mut last = 0;
        for nanos in [0, 1, 2, 3, 4, 5, 7, 8, 100, 1_000, u64::MAX / 2, u64::MAX] {
            let index = bucket(nanos);
            assert!(index >= last && index < BUCKETS, "{nanos} in {index}");
            assert!(upper(index) >= nanos || nanos > u64::MAX / 2, "{nanos} in {index}");
            last = index;
        }
    }
}

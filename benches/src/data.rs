//! What all cases work on: one value type, one skewed sequence of ids, one count of loads.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Keys in use.
pub(crate) const KEYS: u64 = 10_000;
/// Capacity of every bounded cache: none of them has to evict, so all of them only hit.
pub(crate) const CAPACITY: usize = 20_000;
/// Length of the sequence of ids; a power of two.
pub(crate) const SEQUENCE: usize = 1 << 16;

/// A row as programs cache them: some numbers and three short strings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) org_id: u64,
    pub(crate) active: bool,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) city: String,
}

/// How often any case's loader ran.
static LOADS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn loads() -> u64 {
    LOADS.load(Ordering::Relaxed)
}

/// The source behind every cache.
#[cold]
pub(crate) fn load(id: u64) -> User {
    LOADS.fetch_add(1, Ordering::Relaxed);
    User {
        id,
        org_id: org_of(id),
        active: true,
        name: format!("user number {id}"),
        email: format!("user-{id}@example.org"),
        city: "Amsterdam".to_owned(),
    }
}

pub(crate) fn org_of(id: u64) -> u64 {
    id / 100
}

/// Ids have six digits, and neighbours in the ranking are not neighbours in the numbering.
pub(crate) fn id_of_rank(rank: u64) -> u64 {
    100_000 + rank * 7_919 % KEYS
}

/// Ids of [`KEYS`] keys, zipf with exponent 1: the first is asked for in one call of ten.
pub(crate) static ZIPF: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut random = Random(42);
    (0..SEQUENCE)
        .map(|_| {
            let at = random.unit() * sum;
            id_of_rank(cumulated.partition_point(|&edge| edge < at) as u64) as u32
        })
        .collect()
});

/// One id, again and again.
pub(crate) static HOT: LazyLock<Vec<u32>> = LazyLock::new(|| vec![id_of_rank(0) as u32; SEQUENCE]);

/// SplitMix64: the same sequence in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

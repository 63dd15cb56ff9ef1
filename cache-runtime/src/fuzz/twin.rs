//! The stable twin of the fuzz targets: the corpus, cut, flipped and spliced, for `CACHE_FUZZ_SECONDS` (1) each.

use std::path::Path;
use std::time::Duration;

use super::TARGETS;
use crate::clock::{Clock, after};

/// `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Changes bytes in up to three places; `nasty` is what they are likely to stumble over.
pub(crate) fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>], nasty: &[&[u8]]) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        let len = dice.below(bytes.len() - at + 1);
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + len.min(8))),
            2 => bytes.splice(at..at, nasty[dice.below(nasty.len())].iter().copied()).for_each(drop),
            3 => {
                // The same many times: nesting.
                let times = dice.below(40) * 100;
                let part = nasty[dice.below(nasty.len())].to_vec();
                bytes.splice(at..at, part.repeat(times)).for_each(drop);
            }
            4 => {
                let other = &others[dice.below(others.len())];
                let from = dice.below(other.len());
                let to = from + dice.below(other.len() - from);
                bytes.splice(at..at + len.min(64), other[from..to].iter().copied()).for_each(drop);
            }
            5 => bytes.splice(at..at, (0..dice.below(9)).map(|_| dice.next() as u8).collect::<Vec<_>>()).for_each(drop),
            _ if bytes.is_empty() => {}
            _ => {
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= 1 << dice.below(8);
            }
        }
    }
}

/// What texts and the server's protocol are likely to stumble over.
const NASTY: [&[u8]; 16] = [
    b"%",
    b"%3A",
    b"%,",
    b":",
    b"*",
    b"[",
    b"\\",
    b"@",
    b"//",
    b"\"",
    b"\r\n",
    b"*1\r\n",
    b"$-1\r\n",
    b">2\r\n",
    b"99999999999999999999",
    "\u{202E}\u{10FFFF}".as_bytes(),
];

/// What is in the corpus of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "nothing in {}", folder.display());
    seeds
}

/// P6, P3
#[test]
fn every_target_takes_its_corpus_and_what_is_near_it() {
    let seconds = std::env::var("CACHE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let clock = Clock::machine();
    for (name, target) in TARGETS {
        let seeds = corpus(name);
        seeds.iter().for_each(|seed| target(seed));
        let end = after(clock.now(), Duration::from_secs(seconds));
        let mut dice = Dice(1);
        while clock.now() < end {
            let state = dice.0;
            let mut bytes = seeds[dice.below(seeds.len())].clone();
            mutate(&mut dice, &mut bytes, &seeds, &NASTY);
            let panicked = std::panic::catch_unwind(|| target(&bytes)).is_err();
            assert!(!panicked, "{name}, dice {state}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

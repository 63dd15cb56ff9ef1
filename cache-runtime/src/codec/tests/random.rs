//! The stable twin of the fuzz target: real entries, cut, flipped, spliced and lied about, for `CACHE_FUZZ_SECONDS`.

use std::time::Duration;

use super::*;
use crate::clock::{Clock, after};
use crate::codec::fuzz::{KEYS, NAME as FUZZ_NAME, Sample, Tagged, Tree, decode};
use crate::envelope::reseal;
use crate::fuzz::{Dice, mutate};

fn sample(tree: Tree) -> Sample {
    Sample {
        id: u64::MAX,
        small: (1, -1, true, 'ß'),
        big: i128::MIN,
        name: "Ada".repeat(40),
        bytes: vec![7; 300],
        tags: vec!["a".into(), String::new()],
        map: [("k".to_owned(), Some(-5)), ("l".to_owned(), None)].into(),
        time: Duration::from_millis(1500),
        tree: Some(Box::new(tree)),
        ..Sample::default()
    }
}

fn tree(depth: usize) -> Tree {
    (0..depth).fold(Tree::Leaf, |below, level| match level % 2 {
        0 => Tree::One(Box::new(below)),
        _ => Tree::Many { left: Some(Box::new(below)), rest: vec![Tree::Leaf] },
    })
}

/// Real entries of every kind.
fn entries() -> Vec<(Wire<'static>, Image)> {
    let mut entries = Vec::new();
    for codec in codecs() {
        for (compress_above, encrypt) in [(None, false), (Some(16), false), (None, true), (Some(16), true)] {
            let wire = Wire { codec, compress_above, encrypt, keys: &KEYS, name: FUZZ_NAME };
            if wire.check().is_err() {
                continue;
            }
            let mut add = |image: Image| entries.push((wire, image));
            add(packed(&wire, &sample(tree(5))));
            add(packed(&wire, &tree(30)));
            add(packed(&wire, &1_u64));
            add(pack::<u64>(&wire, &head(Outcome::Hint), None).unwrap());
            if codec != Codec::Bincode {
                add(packed(&wire, &Tagged::B { inner: Box::new(Tagged::A { x: Some(1) }) }));
            }
        }
    }
    entries
}

/// Bytes that lengths and markers are made of.
const NASTY: [&[u8]; 12] = [
    &[0xFF; 9],
    &[0xFB, 0xFF, 0xFF],
    &[0xFC, 0xFF, 0xFF, 0xFF, 0x7F],
    &[0xFD, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
    &[0xDD, 0x7F, 0xFF, 0xFF, 0xFF],
    &[0xDF, 0xFF, 0xFF, 0xFF, 0xFF],
    &[0xC6, 0xFF, 0xFF, 0xFF, 0xFF],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    b"[[[[[[[[[[[[[[[[",
    b"{\"type\":\"B\",\"inner\":",
    b"1e999999999",
    &[0],
];

/// P6
#[test]
fn no_bytes_panic_hang_or_ask_for_much_memory_and_none_that_were_changed_are_accepted() {
    let seconds = std::env::var("CACHE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let clock = Clock::machine();
    let end = after(clock.now(), Duration::from_secs(seconds));
    let entries = entries();
    let flat: Vec<Vec<u8>> = entries.iter().map(|(_, image)| image.envelope.clone()).collect();
    let mut dice = Dice(1);
    let mut rounds = 0_u64;
    while rounds < 200 || clock.now() < end {
        rounds += 1;
        let state = dice.0;
        let (wire, image) = &entries[dice.below(entries.len())];
        let plain = image.plain.clone().unwrap_or_default();
        let mut bytes = [&image.envelope[..], &plain].concat();
        mutate(&mut dice, &mut bytes, &flat, &NASTY);
        let mut data =
            vec![dice.next() as u8, if image.plain.is_some() { plain.len() as u8 } else { dice.next() as u8 }];
        data.extend_from_slice(&bytes);
        let info = allocation_counter::measure(|| decode(&data));
        // LZ4 makes up to 255 bytes of one, and a type may take more room than its bytes.
        let most = 400 * data.len() as u64 + (1 << 16);
        assert!(info.bytes_max <= most, "{} bytes of {}, dice {state}", info.bytes_max, data.len());

        // As the entry that it was: the checksum finds every accident, and a right checksum does not open what is sealed.
        if image.plain.is_some() || bytes == image.envelope {
            continue;
        }
        let accepted = |bytes: &[u8]| {
            let envelope = Envelope::parse(FUZZ_NAME, bytes, None).ok();
            envelope.is_some_and(|envelope| verify(wire, &envelope).is_ok())
        };
        assert!(!accepted(&bytes), "accepted by accident, dice {state}");
        let forged = reseal(&bytes, FUZZ_NAME, None);
        assert!(!wire.encrypt || forged == image.envelope || !accepted(&forged), "forged, dice {state}");
    }
}

//! Unit tests of the renderer; that keys can be read back is shown in `tests/tests/keys.rs`.

use super::super::{PartShape, template_seed, template_seed_resource};
use super::*;

fn key(render: impl FnOnce(&mut KeyWriter)) -> String {
    let mut w = KeyWriter::new(0);
    render(&mut w);
    w.into_key().to_string()
}

#[test]
fn a_prefix_is_in_front_and_not_of_the_key() {
    let mut w = KeyWriter::with_prefix(b"svc:v1:tenant-x:", 0);
    w.lit("user:");
    w.part(&42_u64);
    w.finish();
    assert_eq!(w.as_bytes(), b"svc:v1:tenant-x:user:42");
    assert_eq!(w.logical_bytes(), b"user:42");
    assert_eq!(w.into_key().as_str(), "user:42");
}

#[test]
#[cfg_attr(miri, ignore = "six hundred keys, letter by letter")]
fn every_length_around_the_border_of_the_buffer_is_the_same_text() {
    for len in 0..300 {
        let letters: String = ('a'..='z').cycle().take(len).collect();
        for text in [letters, "é".repeat(len)] {
            let expected = ["p:", text.as_str(), ":", "end"].concat();
            let mut w = KeyWriter::with_prefix(b"p:", 0);
            w.part(&text);
            w.lit(":");
            w.lit("");
            w.part("end");
            assert_eq!(w.as_bytes(), expected.as_bytes());
            assert_eq!(w.logical_bytes(), &expected.as_bytes()[2..]);
            let mut bytewise = KeyWriter::new(0);
            text.chars().for_each(|c| bytewise.part(&c));
            assert_eq!(bytewise.as_bytes(), text.as_bytes());
        }
    }
}

#[test]
fn integers_fit_where_the_buffer_ends() {
    for lead in 100..130 {
        for value in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut w = KeyWriter::new(0);
            w.lit(&"x".repeat(lead));
            w.part(&value);
            assert_eq!(w.as_bytes(), format!("{}{value}", "x".repeat(lead)).as_bytes());
        }
    }
    for shift in 0..64 {
        for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
            assert_eq!(key(|w| w.part(&value)), value.to_string());
            assert_eq!(key(|w| w.part(&value.cast_signed())), value.cast_signed().to_string());
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "two hundred thousand numbers")]
fn numbers_of_every_length_are_written_as_display_writes_them() {
    let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
    let edges = powers.flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(9)]);
    let spread = (0..200_000_u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (i % 40 + 24));
    for value in edges.chain(spread).chain([u64::MAX]) {
        assert_eq!(key(|w| w.part(&value)), value.to_string());
    }
    let two = key(|w| {
        w.part(&7_u64);
        w.lit(":");
        w.part(&10_u64);
    });
    assert_eq!(two, "7:10", "what was written behind the first number is overwritten");
}

#[test]
fn keys_of_every_length_are_compared_to_their_last_byte() {
    for len in 0..70_usize {
        let one: Vec<u8> = (0..len as u8).collect();
        assert!(same(&one, &one.clone()), "{len}");
        assert!(!same(&one, &[&one[..], b"x"].concat()), "{len}");
        for at in 0..len {
            let mut other = one.clone();
            other[at] ^= 1;
            assert!(!same(&one, &other), "{len} at {at}");
        }
    }
}

#[test]
fn a_prefix_of_any_length_is_begun_with() {
    for len in [0, 1, 31, 32, 33, 127, 128, 200] {
        let prefix = "p".repeat(len);
        let mut w = KeyWriter::new(0);
        w.begin(&Prefix::new(prefix.as_bytes()));
        w.lit("user:");
        assert_eq!(w.as_bytes(), format!("{prefix}user:").as_bytes());
        assert_eq!(w.logical_bytes(), b"user:");
    }
}

#[test]
fn a_prefix_is_part_of_the_text_and_not_of_the_logical_key() {
    let mut w = KeyWriter::with_prefix(b"svc:v1:", 7);
    assert_eq!(w.logical_bytes(), b"");
    w.lit("user:");
    w.part("x");
    assert_eq!(w.as_bytes(), b"svc:v1:user:x");
    assert_eq!(w.logical_bytes(), b"user:x");
    assert_eq!(w.template(), fold(7, <str as KeyPart>::KIND));
}

#[test]
fn a_key_over_the_limit_keeps_its_front_and_says_so() {
    assert_eq!(key(|w| w.part(&"x".repeat(256))), "x".repeat(256));
    let long = key(|w| w.part(&"x".repeat(257)));
    assert_eq!(long.len(), 256);
    assert_eq!(&long[..224], format!("{}%~", "x".repeat(222)));
    assert_ne!(long, key(|w| w.part(&"x".repeat(258))));
    // The prefix does not count, and the hash is of the logical key alone.
    let mut w = KeyWriter::with_prefix(&[b'p'; 100], 0);
    w.part(&"x".repeat(257));
    w.finish();
    w.finish();
    assert_eq!(w.logical_bytes(), long.as_bytes());
    assert_eq!(w.as_bytes().len(), 356);
}

#[test]
#[cfg_attr(miri, ignore = "a key for every place where it could be cut")]
fn shortening_cuts_between_characters_and_between_escapes() {
    for lead in 0..12 {
        let lead = "x".repeat(lead);
        for text in ["é", "€", "𐍈", ":", "\n"] {
            let long = key(|w| w.part(&(lead.clone() + &text.repeat(300))));
            let (front, digest) = long.split_once("%~").expect("shortened");
            assert_eq!(digest.len(), 32);
            assert!(!front.ends_with('%') && !front.ends_with("%0") && !front.ends_with("%3"), "{front}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte")]
fn a_megabyte_is_a_key_like_any_other() {
    let text = "\0:*é".repeat(1 << 18);
    let one = key(|w| w.part(&text));
    assert!(one.len() <= 256);
    assert_ne!(one, key(|w| w.part(&(text + "x"))));
}

#[test]
fn no_value_reaches_into_a_tenant() {
    assert_eq!(key(|w| w.part("tenant-b")), "%74enant-b");
    assert_eq!(key(|w| w.part("tenant")), "tenant");
    let mut w = KeyWriter::with_prefix(b"svc:v1:", 0);
    w.part("tenant-b");
    w.lit(":user:1");
    w.finish();
    w.finish();
    assert_eq!(w.as_bytes(), b"svc:v1:%74enant-b:user:1");
    // Not what a value that is written so gives.
    assert_eq!(key(|w| w.part("%74enant-b")), "%2574enant-b");
}

#[test]
fn a_pattern_is_not_shortened() {
    let text = key(|w| {
        w.part(&"x*".repeat(200));
        w.any();
    });
    assert_eq!(text, "x%2A".repeat(200) + "*");
}

#[test]
fn modifiers_render_as_documented() {
    assert_eq!(key(|w| w.lower("ÀB:İ")), "àb%3Ai\u{307}");
    assert_eq!(key(|w| w.upper("straße")), "STRASSE");
    assert_eq!(key(|w| w.len(12)), "12");
    assert_eq!(key(|w| w.display(&format_args!("{}:{}", 1.5, "x"))), "1.5%3Ax");
    assert_eq!(key(|w| w.module("app::users")), "app.users");
    assert_eq!(key(|w| w.type_name::<Option<[u8; 2]>>()), "core.option.Option<%5Bu8; 2%5D>");
    // Part of keys that are shared between versions and services: must never change.
    assert_eq!(key(|w| w.hash("abc")), "6437b3ac38465133ffb63b75273a8db5");
    assert_eq!(key(|w| w.hash("")), "af1349b9f5f9a1a6a0404dea36dcc949");
    assert_eq!(
        key(|w| w.part(&"x".repeat(300)))[222..],
        ["%~", &blake3::hash("x".repeat(300).as_bytes()).to_hex()[..32]].concat()
    );
}

#[test]
#[should_panic(expected = "Display implementation returned an error")]
fn a_failing_display_is_not_half_a_key() {
    struct Failing;
    impl fmt::Display for Failing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            Err(fmt::Error)
        }
    }
    key(|w| w.display(&Failing));
}

#[test]
fn the_template_is_text_and_kinds() {
    fn template(seed: u64, render: impl FnOnce(&mut KeyWriter)) -> u64 {
        let mut w = KeyWriter::new(seed);
        render(&mut w);
        w.template()
    }
    let read = template(template_seed("user:<user_id>"), |w| w.part(&42_u64));
    assert_eq!(template(template_seed("user:<result.id>"), |w| w.part(&&7_i32)), read);
    assert_ne!(template(template_seed("user:<name>"), |w| w.part("42")), read);
    assert_ne!(template(template_seed("user:<id:hash>"), |w| w.hash(&42_u64)), read);
    assert_eq!(
        template(template_seed_resource("user:<id>", "profile"), |w| w.part(&1_u8)),
        template(template_seed("user:profile:<user_id>"), |w| w.part(&1_u64)),
    );
    assert_eq!(template(0, |w| w.part(&1)), 0);
    // A derived type may write its fields either way.
    struct Pair(u8, &'static str);
    impl KeyPart for Pair {
        const KIND: u64 = 9;
        const SHAPE: PartShape = PartShape::Composite;
        fn write(&self, w: &mut KeyWriter) {
            w.part(&self.0);
            w.lit(":");
            self.1.write(w);
        }
    }
    assert_eq!(template(1, |w| w.part(&Pair(1, "a"))), fold(1, 9));
}

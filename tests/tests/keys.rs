//! Keys are injective: every rendering can be read back. The decoder here shares no code with the renderer, so that a
//! mistake cannot cancel itself out.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZero;
use std::sync::Arc;

use cache_runtime::__private::{KeyWriter, template_seed};
use cache_runtime::{Key, KeyPart};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

/// The inverse of `KeyPart`: reads a value off the front of a key.
trait Decode: Sized {
    /// Whether the value is one plain segment, by the documented rule.
    const SIMPLE: bool = true;
    fn decode(text: &mut &str) -> Option<Self>;
}

fn eat(text: &mut &str, expected: &str) -> Option<()> {
    *text = text.strip_prefix(expected)?;
    Some(())
}

/// Reads one segment up to `:`, a marker or the end, and undoes its escapes.
fn segment(text: &mut &str) -> Option<String> {
    let mut bytes = Vec::new();
    while let Some(&byte) = text.as_bytes().first() {
        match byte {
            b':' => break,
            b'%' => {
                let Some(code) = text.get(1..3).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) else { break };
                assert_eq!(code, code.to_ascii_uppercase());
                bytes.push(u8::from_str_radix(code, 16).ok()?);
                *text = &text[3..];
            }
            _ => {
                let c = text.chars().next()?;
                assert!(!"*?[]{}\\".contains(c) && !c.is_control(), "{c:?} is not escaped");
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                *text = &text[c.len_utf8()..];
            }
        }
    }
    String::from_utf8(bytes).ok()
}

macro_rules! decode_parsed {
    ($($t:ty)*) => {$(
        impl Decode for $t {
            fn decode(text: &mut &str) -> Option<Self> {
                segment(text)?.parse().ok()
            }
        }
    )*};
}

decode_parsed! {
    u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize NonZero<u32> NonZero<i64> bool char String IpAddr Ipv4Addr Ipv6Addr Uuid
}

impl Decode for Box<str> {
    fn decode(text: &mut &str) -> Option<Self> {
        segment(text).map(Into::into)
    }
}

impl Decode for Arc<str> {
    fn decode(text: &mut &str) -> Option<Self> {
        segment(text).map(Into::into)
    }
}

impl Decode for () {
    fn decode(_: &mut &str) -> Option<Self> {
        Some(())
    }
}

impl<T: Decode> Decode for Option<T> {
    const SIMPLE: bool = false;
    fn decode(text: &mut &str) -> Option<Self> {
        if eat(text, "%-").is_some() {
            return Some(None);
        }
        if T::SIMPLE {
            return T::decode(text).map(Some);
        }
        eat(text, "%(")?;
        let value = T::decode(text)?;
        eat(text, "%,%)")?;
        Some(Some(value))
    }
}

impl<T: Decode> Decode for Vec<T> {
    const SIMPLE: bool = false;
    fn decode(text: &mut &str) -> Option<Self> {
        eat(text, "%(")?;
        let mut items = Self::new();
        while eat(text, "%)").is_none() {
            items.push(T::decode(text)?);
            eat(text, "%,")?;
        }
        Some(items)
    }
}

impl<T: Decode + Debug, const N: usize> Decode for [T; N] {
    const SIMPLE: bool = false;
    fn decode(text: &mut &str) -> Option<Self> {
        Vec::decode(text)?.try_into().ok()
    }
}

macro_rules! decode_tuples {
    ($(($first:ident $($rest:ident)*))*) => {$(
        impl<$first: Decode, $($rest: Decode),*> Decode for ($first, $($rest,)*) {
            const SIMPLE: bool = false;
            fn decode(text: &mut &str) -> Option<Self> {
                Some(($first::decode(text)?, $({ eat(text, ":")?; $rest::decode(text)? },)*))
            }
        }
    )*};
}

decode_tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) }

/// What a template renders, before the length is looked at, and the key it makes.
fn rendered(render: impl Fn(&mut KeyWriter)) -> (String, Key) {
    let mut w = KeyWriter::with_prefix(b"svc:v1:", template_seed("x"));
    render(&mut w);
    let whole = String::from_utf8(w.logical_bytes().to_vec()).expect("keys are UTF-8");
    let key = w.into_key();
    if whole.len() <= 256 && !whole.starts_with("tenant-") {
        assert_eq!(key, whole.as_str());
    }
    assert!(key.as_str().len() <= 256);
    assert!(!key.as_str().starts_with("tenant-"));
    (whole, key)
}

/// Reads two arguments back out of three shapes of template.
fn check<A, B>(a: &A, b: &B)
where
    A: KeyPart + Decode + PartialEq + Debug,
    B: KeyPart + Decode + PartialEq + Debug,
{
    let (text, key) = rendered(|w| {
        w.lit("user:");
        w.part(a);
        w.lit(":");
        w.part(b);
    });
    let mut rest = text.as_str();
    assert_eq!(eat(&mut rest, "user:"), Some(()));
    assert_eq!(A::decode(&mut rest).as_ref(), Some(a), "{text}");
    assert_eq!(eat(&mut rest, ":"), Some(()), "{text}");
    assert_eq!(B::decode(&mut rest).as_ref(), Some(b), "{text}");
    assert_eq!(rest, "", "{text}");
    assert_eq!(Key::from(&text), key);

    // The value comes first and may be anything, a tenant's segment included.
    let (text, key) = rendered(|w| {
        w.part(a);
        w.lit(":by:");
        w.part(b);
        w.lit(":end");
    });
    let readable = if text.len() <= 256 { key.to_string() } else { text };
    let mut rest = readable.as_str();
    assert_eq!(A::decode(&mut rest).as_ref(), Some(a), "{readable}");
    assert_eq!(eat(&mut rest, ":by:"), Some(()), "{readable}");
    assert_eq!(B::decode(&mut rest).as_ref(), Some(b), "{readable}");
    assert_eq!(rest, ":end", "{readable}");

    // As an item among others.
    let pair = vec![Some((a, b)), None];
    let (text, _) = rendered(|w| w.part(&pair));
    let decoded = Vec::<Option<(A, B)>>::decode(&mut text.as_str()).expect(&text);
    assert_eq!(decoded.iter().map(|item| item.as_ref().map(|(a, b)| (a, b))).collect::<Vec<_>>(), pair, "{text}");
}

/// Texts that have broken keys elsewhere, and any others.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        ":",
        "::",
        "%",
        "%%",
        "%3A",
        "%25",
        "%-",
        "%(",
        "%)",
        "%,",
        "%~",
        "%+",
        "*",
        "?",
        "[",
        "]",
        "[^a]",
        "{",
        "}",
        "{b}",
        "<id>",
        "\\",
        "\n",
        "\r",
        "\t",
        "\0",
        "\u{7F}",
        "\u{85}",
        "\u{9F}",
        "\u{A0}",
        "\u{61C}",
        "\u{200E}",
        "\u{200F}",
        "\u{202A}",
        "\u{202E}",
        "\u{2066}",
        "\u{2069}",
        "é",
        "漢",
        "𐍈",
        "None",
        "null",
        "true",
        "tenant-",
        "tenant-a:",
        "-",
        "",
        " ",
        "a",
        "7",
        "A",
    ]);
    prop_oneof![
        4 => vec(pieces, 0..6).prop_map(|pieces| pieces.concat()),
        2 => any::<String>(),
        1 => ".{0,12}",
        1 => "[a-z]{240,280}",
    ]
}

proptest! {
    #[test]
    fn texts_can_be_read_back(a in hostile(), b in hostile()) {
        check(&a, &b);
        check(&Box::<str>::from(a.as_str()), &Arc::<str>::from(b.as_str()));
        check(&Some(a.clone()), &Some(Some(b.clone())));
        check(&(a.clone(),), &[a, b]);
    }

    #[test]
    fn characters_and_flags_can_be_read_back(a in any::<char>(), b in any::<bool>(), c in any::<Option<Option<bool>>>()) {
        check(&a, &b);
        check(&c, &Some(a));
        check(&(), &Some(()));
        check(&vec![(); usize::from(b)], &(a, b));
    }

    #[test]
    fn integers_can_be_read_back(
        a in any::<(u8, u16, u32, u64, u128, usize)>(),
        b in any::<(i8, i16, i32, i64, i128, isize)>(),
        c in any::<(NonZero<u32>, NonZero<i64>)>(),
    ) {
        check(&a, &b);
        check(&c, &Some(c.1));
        check(&a.3, &b.3);
        check(&(1_u64 << (a.0 % 64)), &(i64::MIN >> (a.0 % 64)));
    }

    #[test]
    fn addresses_and_uuids_can_be_read_back(a in any::<IpAddr>(), b in any::<Ipv6Addr>(), c in any::<Ipv4Addr>(), d in any::<u128>()) {
        check(&a, &b);
        check(&Some(c), &Uuid::from_u128(d));
    }

    #[test]
    fn nested_values_can_be_read_back(
        a in vec(proptest::option::of(hostile()), 0..4),
        b in vec(vec(proptest::option::of(proptest::option::of(hostile())), 0..3), 0..3),
        c in proptest::option::of((hostile(), any::<i32>(), vec(hostile(), 0..2))),
        d in proptest::option::of(proptest::option::of(proptest::option::of(any::<u8>()))),
    ) {
        check(&a, &b);
        check(&c, &d);
        check(&Some(a.clone()), &(c.clone(), (d,), a.clone()));
        check(&((d, c.clone()), (a, b)), &Some((c,)));
    }

    #[test]
    fn tuples_of_every_length_can_be_read_back(a in hostile(), b in any::<Option<u8>>(), c in vec(hostile(), 0..2)) {
        check(&(a.clone(), b, c.clone()), &(b, c.clone(), a.clone(), b));
        check(&(1, a.clone(), b, a.clone(), 5), &(a.clone(), a.clone(), b, c.clone(), 5, 6));
        check(&(1, 2, 3, a.clone(), c.clone(), b, 7), &(b, b, b, a.clone(), c, a, true, 'x'));
    }

    #[test]
    fn no_value_acts_as_a_pattern(value in hostile(), other in hostile()) {
        use cache_runtime::__private::Pattern;
        let text = |value: &String| rendered(|w| { w.lit("user:"); w.part(value); }).0;
        let (pattern, other_text) = (text(&value), text(&other));
        prop_assert!(Pattern::wild(pattern.as_bytes()).matches(&pattern));
        prop_assert!(Pattern::glob(&pattern).matches(&pattern));
        prop_assert_eq!(Pattern::glob(&pattern).matches(&other_text), value == other);
    }

    #[test]
    fn long_keys_differ_wherever_their_values_do(front in "[a-z:é%]{0,300}", at in 0_usize..2000, len in 300_usize..2000) {
        let one = front.clone() + &"x".repeat(len);
        let mut other = one.clone();
        let boundary = (0..=at.min(one.len())).rev().find(|&at| one.is_char_boundary(at)).unwrap_or(0);
        other.insert(boundary, 'y');
        let key = |value: &str| rendered(|w| { w.lit("page:"); w.part(value); }).1;
        prop_assert_ne!(key(&one), key(&other));
        prop_assert!(key(&one).as_str().contains("%~"));
        prop_assert!(key(&one).as_str().starts_with("page:"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn a_megabyte_can_be_read_back(piece in hostile().prop_filter("some text", |piece| !piece.is_empty()), b in hostile()) {
        let a = piece.repeat((1 << 20) / piece.len() + 1);
        check(&a, &b);
    }
}

#[test]
fn what_collides_elsewhere_does_not_here() {
    let pair = |a: &str, b: &str| {
        rendered(|w| {
            w.lit("k:");
            w.part(a);
            w.lit(":");
            w.part(b);
        })
        .1
    };
    assert_ne!(pair("1:2", "3"), pair("1", "2:3"));
    assert_ne!(pair("1%3A2", "3"), pair("1:2", "3"));
    let one = |value: &dyn Fn(&mut KeyWriter)| rendered(value).1;
    assert_ne!(one(&|w| w.part(&None::<&str>)), one(&|w| w.part("None")));
    assert_ne!(one(&|w| w.part(&None::<&str>)), one(&|w| w.part("%-")));
    assert_ne!(one(&|w| w.part(&Some(None::<u8>))), one(&|w| w.part(&None::<Option<u8>>)));
    assert_ne!(one(&|w| w.part::<[&str; 0]>(&[])), one(&|w| w.part(&[""])));
    assert_ne!(one(&|w| w.part(&["a", "b"])), one(&|w| w.part(&["a%,b"])));
    assert_ne!(one(&|w| w.part(&("a:b",))), one(&|w| w.part(&("a", "b"))));
}

#[test]
fn readable_values_stay_readable() {
    assert_eq!(rendered(|w| w.part("user 42, café, 漢字 <x>")).1, "user 42, café, 漢字 <x>");
    let key = rendered(|w| {
        w.lit("user:");
        w.part(&42_u64);
    });
    assert_eq!(key.1, "user:42");
}

#[test]
fn templates_that_meet_on_one_text_differ_in_identity() {
    let template = |text: &str, render: &dyn Fn(&mut KeyWriter)| {
        let mut w = KeyWriter::new(template_seed(text));
        render(&mut w);
        let key = w.into_key();
        assert_eq!(key, "user:42");
        key.template()
    };
    let lit = |w: &mut KeyWriter| w.lit("user:");
    let by_number = template("user:<id>", &|w| {
        lit(w);
        w.part(&42_u64);
    });
    let by_other_name = template("user:<result.id>", &|w| {
        lit(w);
        w.part(&42_i32);
    });
    let by_text = template("user:<id>", &|w| {
        lit(w);
        w.part("42");
    });
    let both = template("<kind>:<id>", &|w| {
        w.part("user");
        w.lit(":");
        w.part(&42_u64);
    });
    let fixed = template("user:42", &|w| w.lit("user:42"));
    assert_eq!(by_number, by_other_name);
    let all = [by_number, by_text, both, fixed, Key::from("user:42").template()];
    for (i, one) in all.iter().enumerate() {
        assert!(!all[i + 1..].contains(one));
    }
}

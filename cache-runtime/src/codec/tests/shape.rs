//! A type that changed is a miss: every kind of change, at the top and further down, with every codec that can carry it.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;

use super::*;

/// What `Old` wrote, `Old` reads, and `New` does not.
fn miss<Old, New>(what: &str, codecs: &[Codec], value: &Old)
where
    Old: Serialize + DeserializeOwned + PartialEq + Debug,
    New: Serialize + DeserializeOwned + Debug,
{
    for &codec in codecs.iter().filter(|codec| codec.compiled_in()) {
        let wire = wire(codec);
        let image = packed(&wire, value);
        assert_eq!(read::<Old>(&wire, &image).as_ref(), Ok(value), "{what}, {codec}");
        let got = read::<New>(&wire, &image).map(|new| format!("{new:?}"));
        assert_eq!(got, Err(Reject::Shape), "{what}, {codec}");
    }
}

const ALL: &[Codec] = &[Codec::Bincode, Codec::Json, Codec::MsgPack];
/// Bincode cannot tell a type what it is.
const SELF_DESCRIBING: &[Codec] = &[Codec::Json, Codec::MsgPack];

/// The new types are in a module below the old ones, so that nothing need be public.
macro_rules! misses {
    ($codecs:expr; $($what:literal: { $($old:item)* } => { $($new:item)* }, $value:expr;)*) => {
        $({
            #[allow(dead_code, unused_imports, reason = "not every type is made")]
            mod old {
                use super::*;
                $(#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)] $old)*
                mod new {
                    use super::super::*;
                    $(#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)] $new)*
                    pub(in super::super) fn check(value: &super::T) {
                        miss::<super::T, T>($what, $codecs, value);
                    }
                }
                pub(super) fn check() {
                    new::check(&$value);
                }
            }
            old::check();
        })*
    };
}

#[test]
fn a_structure_whose_fields_changed_is_a_miss() {
    misses! { ALL;
        "a field is added": { struct T { a: u8 } } => { struct T { a: u8, b: u8 } }, T { a: 1 };
        "a field with a default is added":
            { struct T { a: u8 } } => { struct T { a: u8, #[serde(default)] b: u8 } }, T { a: 1 };
        "an optional field is added":
            { struct T { a: u8 } } => { struct T { a: u8, b: Option<u8> } }, T { a: 1 };
        "a unit field, which takes no bytes, is added":
            { struct T { a: u8 } } => { struct T { a: u8, b: () } }, T { a: 1 };
        "a field is removed": { struct T { a: u8, b: u8 } } => { struct T { a: u8 } }, T { a: 1, b: 2 };
        "a field is renamed": { struct T { a: u8, b: u8 } } => { struct T { a: u8, c: u8 } }, T { a: 1, b: 2 };
        "an optional field is renamed":
            { struct T { a: Option<u8> } } => { struct T { b: Option<u8> } }, T { a: Some(1) };
        "an absent field is renamed":
            { struct T { a: Option<u8> } } => { struct T { b: Option<u8> } }, T { a: None };
        "fields are reordered":
            { struct T { a: u8, b: u8 } } => { struct T { b: u8, a: u8 } }, T { a: 1, b: 2 };
        "names are swapped":
            { struct T { first: String, last: String } } => { struct T { last: String, first: String } },
            T { first: "Ada".into(), last: "Lovelace".into() };
        "a field is retyped": { struct T { a: u8 } } => { struct T { a: i8 } }, T { a: 1 };
        "a field is widened": { struct T { a: u32 } } => { struct T { a: u64 } }, T { a: 1 };
        "a field is widened to 128 bits": { struct T { a: u64 } } => { struct T { a: u128 } }, T { a: 1 };
        "a float is narrowed": { struct T { a: f64 } } => { struct T { a: f32 } }, T { a: 1.5 };
        "a text becomes bytes": { struct T { a: String } } => { struct T { a: Vec<u8> } }, T { a: "x".into() };
        "a text becomes a character": { struct T { a: String } } => { struct T { a: char } }, T { a: "x".into() };
        "a field becomes optional": { struct T { a: u8 } } => { struct T { a: Option<u8> } }, T { a: 1 };
        "a field is no longer optional": { struct T { a: Option<u8> } } => { struct T { a: u8 } }, T { a: Some(1) };
        "a list becomes a pair": { struct T { a: Vec<u8> } } => { struct T { a: (u8, u8) } }, T { a: vec![1, 2] };
        "elements are retyped": { struct T { a: Vec<u16> } } => { struct T { a: Vec<i16> } }, T { a: vec![1] };
        "a list becomes a map":
            { struct T { a: Vec<(u8, u8)> } } => { struct T { a: BTreeMap<u8, u8> } }, T { a: vec![(1, 2)] };
        "keys of a map are retyped":
            { struct T { a: BTreeMap<u8, u8> } } => { struct T { a: BTreeMap<u16, u8> } },
            T { a: BTreeMap::from([(1, 2)]) };
        "values of a map are retyped":
            { struct T { a: BTreeMap<u8, u8> } } => { struct T { a: BTreeMap<u8, i8> } },
            T { a: BTreeMap::from([(1, 2)]) };
        "a structure becomes a tuple": { struct T { a: u8, b: u8 } } => { struct T(u8, u8); }, T { a: 1, b: 2 };
        "a tuple grows by nothing": { struct T(u8, u8); } => { struct T(u8, u8, ()); }, T(1, 2);
        "a value moves out of an inner tuple": { struct T((u8, u8), u8); } => { struct T((u8,), (u8, u8)); }, T((1, 2), 3);
        "an inner tuple ends earlier": { struct T(((u8, u8), u8)); } => { struct T(((u8,), u8, u8)); }, T(((1, 2), 3));
        "a structure gives its field away": { struct T { a: u8 } } => { #[serde(transparent)] struct T { a: u8 } }, T { a: 1 };
        "a structure has another name": { struct T { a: u8 } } => { #[serde(rename = "U")] struct T { a: u8 } }, T { a: 1 };
        "a number has another meaning":
            { struct UserId(u64); struct T { a: UserId } } => { struct OrderId(u64); struct T { a: OrderId } },
            T { a: UserId(1) };
    }
}

#[test]
fn an_enum_whose_variants_changed_is_a_miss() {
    misses! { ALL;
        "a variant is added": { enum T { A, B } } => { enum T { A, B, C } }, T::B;
        "a variant is added in front": { enum T { A, B } } => { enum T { C, A, B } }, T::A;
        "a variant is removed": { enum T { A, B } } => { enum T { A } }, T::A;
        "another variant is renamed": { enum T { A, B } } => { enum T { A, C } }, T::A;
        "variants are reordered": { enum T { A, B } } => { enum T { B, A } }, T::A;
        "a variant gets a value": { enum T { A, B } } => { enum T { A(u8), B } }, T::A;
        "a variant gets a value that takes no bytes": { enum T { A, B } } => { enum T { A(()), B } }, T::A;
        "a variant's value is retyped": { enum T { A(u8) } } => { enum T { A(i8) } }, T::A(1);
        "a variant gets a second value": { enum T { A(u8) } } => { enum T { A(u8, Option<u8>) } }, T::A(1);
        "a field of a variant is renamed": { enum T { A { x: u8 } } } => { enum T { A { y: u8 } } }, T::A { x: 1 };
        "an optional field of a variant is renamed":
            { enum T { A { x: Option<u8> } } } => { enum T { A { y: Option<u8> } } }, T::A { x: None };
        "fields of a variant are reordered":
            { enum T { A { x: u8, y: u8 } } } => { enum T { A { y: u8, x: u8 } } }, T::A { x: 1, y: 2 };
        "fields of a variant become values":
            { enum T { A { x: u8, y: u8 } } } => { enum T { A(u8, u8) } }, T::A { x: 1, y: 2 };
        "an enum has another name": { enum T { A } } => { #[serde(rename = "U")] enum T { A } }, T::A;
    }
}

#[test]
fn a_change_further_down_is_a_miss() {
    misses! { ALL;
        "in a field": { struct I { a: u8, b: u8 } struct T { i: I } }
            => { struct I { b: u8, a: u8 } struct T { i: I } }, T { i: I { a: 1, b: 2 } };
        "in an option": { struct I { a: u8 } struct T { i: Option<I> } }
            => { struct I { b: u8 } struct T { i: Option<I> } }, T { i: Some(I { a: 1 }) };
        "in a box": { struct I { a: u8 } struct T { i: Box<I> } }
            => { struct I { b: u8 } struct T { i: Box<I> } }, T { i: Box::new(I { a: 1 }) };
        "in a list": { struct I { a: u8 } struct T(Vec<I>); }
            => { struct I { b: u8 } struct T(Vec<I>); }, T(vec![I { a: 1 }, I { a: 2 }]);
        "in the second element of a list": { enum I { A, B { x: u8 } } struct T(Vec<I>); }
            => { enum I { A, B { y: u8 } } struct T(Vec<I>); }, T(vec![I::A, I::B { x: 1 }]);
        "in a map": { struct I { a: u8 } struct T { m: HashMap<String, I> } }
            => { struct I { b: u8 } struct T { m: HashMap<String, I> } }, T { m: HashMap::from([("k".into(), I { a: 1 })]) };
        "in a tuple": { struct I { a: u8 } struct T((u8, (I, u8))); }
            => { struct I { b: u8 } struct T((u8, (I, u8))); }, T((1, (I { a: 1 }, 2)));
        "in a newtype": { struct I { a: u8 } struct N(I); struct T { n: N } }
            => { struct I { b: u8 } struct N(I); struct T { n: N } }, T { n: N(I { a: 1 }) };
        "in a variant": { struct I { a: u8 } enum T { V(Option<Vec<I>>) } }
            => { struct I { b: u8 } enum T { V(Option<Vec<I>>) } }, T::V(Some(vec![I { a: 1 }]));
        "four levels down": { struct D { a: u8, b: u8 } struct C(D); enum B { X { c: Vec<C> } } struct T { b: Option<B> } }
            => { struct D { b: u8, a: u8 } struct C(D); enum B { X { c: Vec<C> } } struct T { b: Option<B> } },
            T { b: Some(B::X { c: vec![C(D { a: 1, b: 2 })] }) };
    }
}

#[test]
fn a_change_behind_serdes_own_buffer_is_a_miss() {
    misses! { SELF_DESCRIBING;
        "an optional field of a tagged variant is renamed":
            { #[serde(tag = "type")] enum T { A { x: Option<u8> } } }
            => { #[serde(tag = "type")] enum T { A { y: Option<u8> } } }, T::A { x: Some(1) };
        "an absent field of a tagged variant is renamed":
            { #[serde(tag = "type")] enum T { A { x: Option<u8> } } }
            => { #[serde(tag = "type")] enum T { A { y: Option<u8> } } }, T::A { x: None };
        "a field with a default is added to a tagged variant":
            { #[serde(tag = "type")] enum T { A { x: u8 } } }
            => { #[serde(tag = "type")] enum T { A { x: u8, #[serde(default)] y: u8 } } }, T::A { x: 1 };
        "a field of a tagged variant is widened":
            { #[serde(tag = "type")] enum T { A { x: u8 } } }
            => { #[serde(tag = "type")] enum T { A { x: u64 } } }, T::A { x: 1 };
        "a field that was not written, of a tagged variant, is renamed":
            { #[serde(tag = "type")] enum T { A { #[serde(skip_serializing_if = "Option::is_none")] x: Option<u8> } } }
            => { #[serde(tag = "type")] enum T { A { #[serde(skip_serializing_if = "Option::is_none")] y: Option<u8> } } },
            T::A { x: None };
        "a field that is not written is added to a tagged variant":
            { #[serde(tag = "type")] enum T { A { x: u8 } } }
            => { #[serde(tag = "type")] enum T { A { x: u8, #[serde(skip_serializing_if = "Option::is_none")] y: Option<u8> } } },
            T::A { x: 1 };
        "a variant with a content beside its tag":
            { #[serde(tag = "t", content = "c")] enum T { A { x: Option<u8> } } }
            => { #[serde(tag = "t", content = "c")] enum T { A { y: Option<u8> } } }, T::A { x: None };
        "an optional field of an untagged variant is renamed":
            { #[serde(untagged)] enum T { A { x: Option<u8> } } }
            => { #[serde(untagged)] enum T { A { y: Option<u8> } } }, T::A { x: Some(1) };
        "untagged variants are reordered, and the other one fits too":
            { #[serde(untagged)] enum T { A { x: u8 }, B { x: u8, y: Option<u8> } } }
            => { #[serde(untagged)] enum T { B { x: u8, y: Option<u8> }, A { x: u8 } } }, T::A { x: 1 };
        "an own field beside a flattened one is renamed":
            { struct F { f: u8 } struct T { a: Option<u8>, #[serde(flatten)] f: F } }
            => { struct F { f: u8 } struct T { b: Option<u8>, #[serde(flatten)] f: F } }, T { a: Some(1), f: F { f: 1 } };
        "a flattened optional field is renamed":
            { struct F { f: Option<u8> } struct T { a: u8, #[serde(flatten)] f: F } }
            => { struct F { g: Option<u8> } struct T { a: u8, #[serde(flatten)] f: F } }, T { a: 1, f: F { f: Some(1) } };
        "an absent flattened field is renamed":
            { struct F { f: Option<u8> } struct T { a: u8, #[serde(flatten)] f: F } }
            => { struct F { g: Option<u8> } struct T { a: u8, #[serde(flatten)] f: F } }, T { a: 1, f: F { f: None } };
        "a field with a default is added to a flattened structure":
            { struct F { f: u8 } struct T { a: u8, #[serde(flatten)] f: F } }
            => { struct F { f: u8, #[serde(default)] g: u8 } struct T { a: u8, #[serde(flatten)] f: F } },
            T { a: 1, f: F { f: 1 } };
        "a flattened field is retyped":
            { struct F { f: u8 } struct T { a: u8, #[serde(flatten)] f: F } }
            => { struct F { f: u16 } struct T { a: u8, #[serde(flatten)] f: F } }, T { a: 1, f: F { f: 1 } };
    }
}

#[test]
fn a_value_that_is_a_part_of_another_type_is_a_miss() {
    miss::<_, u64>("a number and a newtype", ALL, &std::num::Wrapping(7_u8));
    miss::<_, i64>("sign", ALL, &7_u64);
    miss::<_, Vec<u8>>("an empty text and an empty list", &[Codec::Bincode], &String::new());
    miss::<_, String>("a list of bytes that are a text", &[Codec::Bincode], &b"text".to_vec());
    miss::<_, (u8, u8)>("the value of an option", &[Codec::Bincode], &Some(3_u8));
    miss::<_, Vec<Vec<u8>>>("an inner list", ALL, &vec![vec![1_u16], vec![]]);
    // The same bytes in bincode, and the same kinds in the same order but for where a list ends.
    miss::<_, (Vec<u8>, u8, u8)>("where a list ends", &[Codec::Bincode], &(vec![1_u8, 2], 3_u8));
}

#[test]
fn a_set_or_map_reads_what_it_wrote_whatever_its_order_is() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        A { set: HashSet<(u8, Option<u8>)>, map: HashMap<String, Option<u8>> },
    }
    let set: HashSet<(u8, Option<u8>)> = (0..50_u8).map(|i| (i, (i % 3 == 0).then_some(i))).collect();
    let map: HashMap<String, Option<u8>> = (0..50_u8).map(|i| (format!("k{i}"), (i % 3 == 0).then_some(i))).collect();
    comes_back(&set);
    comes_back(&map);
    // Behind the buffer the order in which they serialize themselves again counts, and is another one.
    for codec in codecs().filter(|codec| SELF_DESCRIBING.contains(codec)) {
        let (wire, value) = (wire(codec), Tagged::A { set: set.clone(), map: map.clone() });
        assert_eq!(read(&wire, &packed(&wire, &value)), Ok(value), "{codec}");
    }
}

#[test]
fn fingerprints_are_the_same_in_every_build_and_codec() {
    #[derive(Serialize, Deserialize)]
    enum Kind {
        Unit,
        Tuple(u8, f64),
    }
    #[derive(Serialize, Deserialize)]
    struct User {
        id: u64,
        name: String,
        kinds: Vec<Kind>,
        more: Option<Box<Self>>,
    }
    let user = |more| User { id: 1, name: "Ada".into(), kinds: vec![Kind::Unit, Kind::Tuple(1, 0.5)], more };
    let value = user(Some(Box::new(user(None))));
    for codec in codecs() {
        let fingerprint = parse(&packed(&wire(codec), &value)).unwrap().fingerprint;
        assert_eq!(fingerprint, 0x9213_7FB3_AD1C_2598, "{codec}: {fingerprint:#x}");
    }
}

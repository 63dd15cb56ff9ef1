//! Any type, and any change of it: schemas made at random are asked for as derived code asks, and a schema that was changed
//! somewhere does not read what the one before wrote, or leaves another hash.

use std::cell::Cell;
use std::fmt;

use proptest::prelude::*;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, VariantAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, Serializer};

use super::*;
use crate::codec::format::{decode_onto, encode};
use crate::codec::tape::Tape;

type Names = &'static [&'static str];

/// A type. Its sample value reaches all of it: options are there, lists are not empty, and enums are in the one variant
/// whose fields are given.
#[derive(Clone, Debug, PartialEq)]
enum Schema {
    Leaf(Leaf),
    Option(Box<Self>),
    List(Box<Self>),
    Map(Box<Self>),
    Tuple(Vec<Self>),
    Struct(Names, Vec<Self>),
    Enum { variants: Names, taken: usize, fields: Names, inner: Vec<Self> },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaf {
    Bool,
    U8,
    I8,
    U16,
    U32,
    U64,
    I64,
    U128,
    F32,
    F64,
    Char,
    Text,
    Unit,
}

const LEAVES: [Leaf; 13] = [
    Leaf::Bool,
    Leaf::U8,
    Leaf::I8,
    Leaf::U16,
    Leaf::U32,
    Leaf::U64,
    Leaf::I64,
    Leaf::U128,
    Leaf::F32,
    Leaf::F64,
    Leaf::Char,
    Leaf::Text,
    Leaf::Unit,
];

/// A source of choices.
struct Dice(Cell<u64>);

impl Dice {
    fn below(&self, n: usize) -> usize {
        self.0.set(self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        let z = (self.0.get() ^ self.0.get() >> 31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((z ^ z >> 29) % n as u64) as usize
    }

    fn names(&self, n: usize) -> Names {
        const POOL: [&str; 8] = ["a", "b", "id", "name", "created_at", "address_line_1", "address_line_2", "x"];
        let start = self.below(POOL.len());
        let names: Vec<_> = (0..n).map(|i| POOL[(start + i) % POOL.len()]).collect();
        names.leak()
    }

    fn schema(&self, depth: usize) -> Schema {
        let inner = |n: usize| (0..n).map(|_| self.schema(depth - 1)).collect();
        let boxed = || Box::new(self.schema(depth - 1));
        match if depth == 0 { 0 } else { self.below(7) } {
            1 => Schema::Option(boxed()),
            2 => Schema::List(boxed()),
            3 => Schema::Map(boxed()),
            4 => Schema::Tuple(inner(1 + self.below(3))),
            5 => {
                let n = 1 + self.below(4);
                Schema::Struct(self.names(n), inner(n))
            }
            6 => {
                let (n, fields) = (1 + self.below(4), 1 + self.below(3));
                let taken = self.below(n);
                Schema::Enum { variants: self.names(n), taken, fields: self.names(fields), inner: inner(fields) }
            }
            _ => Schema::Leaf(LEAVES[self.below(LEAVES.len())]),
        }
    }

    /// Changes names, or nothing.
    fn change_names(&self, names: Names) -> Names {
        let mut names = names.to_vec();
        let at = self.below(names.len());
        match self.below(3) {
            0 => names[at] = "renamed",
            1 => names.reverse(),
            _ => names.push("added"),
        }
        names.leak()
    }

    /// Changes something somewhere, or nothing.
    fn change(&self, schema: &Schema) -> Schema {
        // Downwards mostly, or it would be the top that changes nearly always.
        let further = self.below(3) > 0;
        let one_of = |inner: &[Schema]| {
            let mut inner = inner.to_vec();
            let at = self.below(inner.len());
            inner[at] = self.change(&inner[at]);
            inner
        };
        match schema {
            Schema::Option(inner) if further => Schema::Option(Box::new(self.change(inner))),
            Schema::List(inner) if further => Schema::List(Box::new(self.change(inner))),
            Schema::Map(inner) if further => Schema::Map(Box::new(self.change(inner))),
            Schema::Tuple(inner) if further => Schema::Tuple(one_of(inner)),
            Schema::Struct(names, inner) if further => Schema::Struct(names, one_of(inner)),
            Schema::Enum { variants, taken, fields, inner } if further => {
                Schema::Enum { variants, taken: *taken, fields, inner: one_of(inner) }
            }
            Schema::Struct(names, inner) => {
                let (mut names, mut inner) = (names.to_vec(), inner.clone());
                let at = self.below(names.len());
                match self.below(5) {
                    0 => names[at] = "renamed",
                    1 => {
                        // An optional field, which self-describing formats read as absent.
                        names.insert(at, "added");
                        inner.insert(at, Schema::Option(Box::new(self.schema(0))));
                    }
                    2 => {
                        names.remove(at);
                        inner.remove(at);
                    }
                    3 => {
                        names.swap(0, at);
                        inner.swap(0, at);
                    }
                    _ => names.swap(0, at),
                }
                Schema::Struct(names.leak(), inner)
            }
            Schema::Enum { variants, taken, fields, inner } => {
                let (variants, fields) = match self.below(2) {
                    0 => (self.change_names(variants), *fields),
                    // Names without a type of their own would not be a type.
                    _ => (*variants, fields.iter().rev().copied().collect::<Vec<_>>().leak() as Names),
                };
                Schema::Enum { variants, taken: *taken, fields, inner: inner.clone() }
            }
            Schema::Option(inner) if self.below(2) == 0 => (**inner).clone(),
            other if self.below(3) == 0 => Schema::Option(Box::new(other.clone())),
            _ => self.schema(1),
        }
    }
}

/// A value of the schema.
struct Sample<'s>(&'s Schema);

impl Serialize for Sample<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Schema::Leaf(leaf) => match leaf {
                Leaf::Bool => serializer.serialize_bool(true),
                Leaf::U8 => serializer.serialize_u8(1),
                Leaf::I8 => serializer.serialize_i8(1),
                Leaf::U16 => serializer.serialize_u16(1),
                Leaf::U32 => serializer.serialize_u32(1),
                Leaf::U64 => serializer.serialize_u64(1),
                Leaf::I64 => serializer.serialize_i64(1),
                Leaf::U128 => serializer.serialize_u128(1),
                Leaf::F32 => serializer.serialize_f32(1.0),
                Leaf::F64 => serializer.serialize_f64(1.0),
                Leaf::Char => serializer.serialize_char('a'),
                Leaf::Text => serializer.serialize_str("a"),
                Leaf::Unit => serializer.serialize_unit(),
            },
            Schema::Option(inner) => serializer.serialize_some(&Sample(inner)),
            Schema::List(inner) => {
                let mut list = serializer.serialize_seq(Some(1))?;
                list.serialize_element(&Sample(inner))?;
                list.end()
            }
            Schema::Map(inner) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("a", &Sample(inner))?;
                map.end()
            }
            Schema::Tuple(inner) => {
                let mut tuple = serializer.serialize_tuple(inner.len())?;
                inner.iter().try_for_each(|inner| tuple.serialize_element(&Sample(inner)))?;
                tuple.end()
            }
            Schema::Struct(names, inner) => {
                let mut parts = serializer.serialize_struct("T", names.len())?;
                let mut fields = names.iter().zip(inner);
                fields.try_for_each(|(name, inner)| parts.serialize_field(name, &Sample(inner)))?;
                parts.end()
            }
            Schema::Enum { variants, taken, fields, inner } => {
                let (at, name) = (*taken as u32, variants[*taken]);
                let mut parts = serializer.serialize_struct_variant("E", at, name, fields.len())?;
                let mut fields = fields.iter().zip(inner);
                fields.try_for_each(|(name, inner)| parts.serialize_field(name, &Sample(inner)))?;
                parts.end()
            }
        }
    }
}

/// Asks as derived code does.
impl<'de> DeserializeSeed<'de> for &Schema {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            Schema::Leaf(leaf) => match leaf {
                Leaf::Bool => bool::deserialize(deserializer).map(drop),
                Leaf::U8 => u8::deserialize(deserializer).map(drop),
                Leaf::I8 => i8::deserialize(deserializer).map(drop),
                Leaf::U16 => u16::deserialize(deserializer).map(drop),
                Leaf::U32 => u32::deserialize(deserializer).map(drop),
                Leaf::U64 => u64::deserialize(deserializer).map(drop),
                Leaf::I64 => i64::deserialize(deserializer).map(drop),
                Leaf::U128 => u128::deserialize(deserializer).map(drop),
                Leaf::F32 => f32::deserialize(deserializer).map(drop),
                Leaf::F64 => f64::deserialize(deserializer).map(drop),
                Leaf::Char => char::deserialize(deserializer).map(drop),
                Leaf::Text => String::deserialize(deserializer).map(drop),
                Leaf::Unit => <()>::deserialize(deserializer),
            },
            Schema::Option(_) => deserializer.deserialize_option(self),
            Schema::List(_) => deserializer.deserialize_seq(self),
            Schema::Map(_) => deserializer.deserialize_map(self),
            Schema::Tuple(inner) => deserializer.deserialize_tuple(inner.len(), self),
            Schema::Struct(names, _) => deserializer.deserialize_struct("T", names, self),
            Schema::Enum { variants, .. } => deserializer.deserialize_enum("E", variants, self),
        }
    }
}

/// Fields, in order or by name.
struct Fields<'s>(Names, &'s [Schema]);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.1
            .iter()
            .try_for_each(|inner| seq.next_element_seed(inner)?.ok_or_else(|| de::Error::custom("a field is missing")))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = vec![false; self.0.len()];
        while let Some(key) = map.next_key::<String>()? {
            match self.0.iter().position(|name| *name == key) {
                Some(at) => {
                    seen[at] = true;
                    map.next_value_seed(&self.1[at])?;
                }
                None => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        let missing = seen.iter().zip(self.1).any(|(seen, inner)| !seen && !matches!(inner, Schema::Option(_)));
        if missing { Err(de::Error::custom("a field is missing")) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for &Schema {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the schema says")
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Schema::Option(inner) = self else { return Err(de::Error::custom("not an option")) };
        inner.as_ref().deserialize(deserializer)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        match self {
            Schema::List(inner) => {
                while seq.next_element_seed(inner.as_ref())?.is_some() {}
                Ok(())
            }
            Schema::Tuple(inner) | Schema::Struct(_, inner) => Fields(&[], inner).visit_seq(seq),
            _ => Err(de::Error::custom("not a list")),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self {
            Schema::Map(inner) => {
                while map.next_key::<String>()?.is_some() {
                    map.next_value_seed(inner.as_ref())?;
                }
                Ok(())
            }
            Schema::Struct(names, inner) => Fields(names, inner).visit_map(map),
            _ => Err(de::Error::custom("not a map")),
        }
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, data: A) -> Result<(), A::Error> {
        let Schema::Enum { variants, taken, fields, inner } = self else {
            return Err(de::Error::custom("not an enum"));
        };
        let (at, variant) = data.variant_seed(Identifier(variants))?;
        if at == *taken { variant.struct_variant(fields, Fields(fields, inner)) } else { variant.unit_variant() }
    }
}

/// Which variant.
struct Identifier(Names);

impl<'de> DeserializeSeed<'de> for Identifier {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Identifier {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a variant")
    }

    fn visit_u64<E: de::Error>(self, at: u64) -> Result<usize, E> {
        Ok(at as usize)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<usize, E> {
        self.0.iter().position(|known| *known == name).ok_or_else(|| E::custom("no such variant"))
    }
}

/// The hash that is left when `schema` reads `bytes`, if it does.
fn asked(codec: Codec, bytes: &[u8], schema: &Schema) -> Option<u64> {
    let tape = Tape::new(bytes.len());
    decode_onto(codec, bytes, &tape, schema).ok().map(|()| tape.hash())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_type_that_was_changed_anywhere_leaves_another_hash(seed in any::<u64>()) {
        let dice = Dice(Cell::new(seed));
        let schema = dice.schema(4);
        // Only bincode can say that there is nothing behind an option that is there; `pack` refuses it with the others.
        let only_bincode = format!("{schema:?}").contains("Option(Leaf(Unit))");
        let changed = (0..20).map(|_| dice.change(&schema)).find(|changed| *changed != schema);
        for codec in codecs().filter(|codec| !only_bincode || *codec == Codec::Bincode) {
            let bytes = encode(codec, &Sample(&schema)).unwrap();
            let hash = asked(codec, &bytes, &schema);
            prop_assert!(hash.is_some(), "{codec} does not read {schema:?}");
            prop_assert_eq!(asked(codec, &bytes, &schema), hash);
            if let Some(changed) = &changed {
                prop_assert_ne!(asked(codec, &bytes, changed), hash, "{} and {:?}", codec, changed);
            }
        }
    }
}

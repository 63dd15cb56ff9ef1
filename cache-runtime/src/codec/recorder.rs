//! A recording deserializer: it passes everything through, notes on a [`Tape`] what the type asks for, and holds the
//! limits that formats lack (depth of nesting, lists that claim to be long). It changes nothing that a type sees, but how
//! much room a list says it needs.
//!
//! What the type asks for is its shape: two types that ask for the same in the same order get the same bytes each time, so
//! that not even lengths and ends of lists need be noted, and a field that was added, removed, renamed, reordered or retyped
//! makes the type ask for something else. The shape is that of the one value that is decoded: what is behind an option that
//! is absent, in a list that is empty, or in a variant that was not taken is not asked for, and cannot mislead the decoding
//! of those bytes either.
//!
//! All of it is inlined by force: it stands between code of two other crates that the compiler else keeps apart, and small
//! structures then cost half as much again.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::tape::{Limit, Mark, Tape};

/// Whatever takes part in a decoding, and the tape.
pub(super) struct Recorded<'t, T> {
    inner: T,
    tape: &'t Tape,
    /// How many more levels may follow.
    depth: u8,
    /// For visitors: whether the data say how long a list is. Where the type does, there is nothing to doubt.
    claims: bool,
}

impl<'t, T> Recorded<'t, T> {
    pub(super) fn new(inner: T, tape: &'t Tape) -> Self {
        Self { inner, tape, depth: super::tape::MAX_DEPTH, claims: false }
    }

    /// Something else on the same level.
    #[inline(always)]
    fn with<U>(&self, inner: U) -> Recorded<'t, U> {
        Recorded { inner, tape: self.tape, depth: self.depth, claims: false }
    }

    /// A visitor of what is one level further down.
    #[inline(always)]
    fn below<V, E: Error>(&self, visitor: V, claims: bool) -> Result<Recorded<'t, V>, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Recorded { inner: visitor, tape: self.tape, depth, claims }),
            None => {
                self.tape.pass(Limit::Depth);
                Err(E::custom("nested too deeply"))
            }
        }
    }
}

/// Asks for what has nothing below it.
macro_rules! leaves {
    ($($ask:ident => $inner:ident $mark:ident;)*) => {
        $(#[inline(always)]
        fn $ask<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.tape.mark(Mark::$mark);
            self.inner.$inner(visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Recorded<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_bool => deserialize_bool Bool;
        deserialize_i8 => deserialize_i8 I8;
        deserialize_i16 => deserialize_i16 I16;
        deserialize_i32 => deserialize_i32 I32;
        deserialize_i64 => deserialize_i64 I64;
        deserialize_i128 => deserialize_i128 I128;
        deserialize_u8 => deserialize_u8 U8;
        deserialize_u16 => deserialize_u16 U16;
        deserialize_u32 => deserialize_u32 U32;
        deserialize_u64 => deserialize_u64 U64;
        deserialize_u128 => deserialize_u128 U128;
        deserialize_f32 => deserialize_f32 F32;
        deserialize_f64 => deserialize_f64 F64;
        deserialize_char => deserialize_char Char;
        deserialize_str => deserialize_str Str;
        // Borrowed text: where it is to be owned, bincode reserves what the bytes claim before it looks whether they are there.
        deserialize_string => deserialize_str Str;
        deserialize_bytes => deserialize_bytes Bytes;
        deserialize_byte_buf => deserialize_bytes Bytes;
        deserialize_unit => deserialize_unit Unit;
        // What is ignored has no shape. All formats bound its depth themselves, or refuse.
        deserialize_ignored_any => deserialize_ignored_any Ignored;
    }

    /// The names that it can find are known from the struct or enum that it is asked for.
    #[inline(always)]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_identifier(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.tape.look();
        let visitor = self.below(visitor, true)?;
        self.inner.deserialize_any(visitor)
    }

    #[inline(always)]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        // What is found, nothing or something, tells that this was asked.
        let visitor = self.below(visitor, false)?;
        self.inner.deserialize_option(visitor)
    }

    #[inline(always)]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.tape.mark_names(Mark::UnitStruct, name, &[]);
        self.inner.deserialize_unit_struct(name, visitor)
    }

    #[inline(always)]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.tape.mark_names(Mark::Newtype, name, &[]);
        let visitor = self.below(visitor, false)?;
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    #[inline(always)]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.tape.mark(Mark::Seq);
        let visitor = self.below(visitor, true)?;
        self.inner.deserialize_seq(visitor)
    }

    #[inline(always)]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.tape.mark_with(Mark::Tuple, len);
        let visitor = self.below(visitor, false)?;
        self.inner.deserialize_tuple(len, visitor)
    }

    #[inline(always)]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.tape.mark_names(Mark::TupleStruct, name, &[]);
        self.tape.mark_with(Mark::Tuple, len);
        let visitor = self.below(visitor, false)?;
        self.inner.deserialize_tuple_struct(name, len, visitor)
    }

    #[inline(always)]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.tape.mark(Mark::Map);
        let visitor = self.below(visitor, true)?;
        self.inner.deserialize_map(visitor)
    }

    #[inline(always)]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.tape.mark_names(Mark::Struct, name, fields);
        let visitor = self.below(visitor, false)?;
        self.inner.deserialize_struct(name, fields, visitor)
    }

    #[inline(always)]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.tape.mark_names(Mark::Enum, name, variants);
        let visitor = self.below(visitor, false)?;
        self.inner.deserialize_enum(name, variants, visitor)
    }

    #[inline(always)]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Passes on what was found.
macro_rules! found {
    ($($visit:ident($ty:ty);)*) => {
        $(#[inline(always)]
        fn $visit<E: Error>(self, value: $ty) -> Result<V::Value, E> {
            self.inner.$visit(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Recorded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    found! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    #[inline(always)]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.tape.mark(Mark::None);
        self.inner.visit_none()
    }

    #[inline(always)]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.tape.mark(Mark::Some);
        let deserializer = self.with(deserializer);
        self.inner.visit_some(deserializer)
    }

    #[inline(always)]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline(always)]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    #[inline(always)]
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        if self.claims && !self.tape.claim(seq.size_hint()) {
            return Err(A::Error::invalid_value(Unexpected::Other("list longer than the input"), &self));
        }
        let seq = self.with(seq);
        self.inner.visit_seq(seq)
    }

    #[inline(always)]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        if self.claims && !self.tape.claim(map.size_hint()) {
            return Err(A::Error::invalid_value(Unexpected::Other("map longer than the input"), &self));
        }
        let map = self.with(map);
        self.inner.visit_map(map)
    }

    #[inline(always)]
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        let data = self.with(data);
        self.inner.visit_enum(data)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Recorded<'_, S> {
    type Value = S::Value;

    #[inline(always)]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Recorded<'_, A> {
    type Error = A::Error;

    #[inline(always)]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.with(seed);
        self.inner.next_element_seed(seed)
    }

    #[inline(always)]
    fn size_hint(&self) -> Option<usize> {
        self.tape.bounded(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Recorded<'_, A> {
    type Error = A::Error;

    #[inline(always)]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let seed = self.with(seed);
        self.inner.next_key_seed(seed)
    }

    #[inline(always)]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.with(seed);
        self.inner.next_value_seed(seed)
    }

    #[inline(always)]
    fn size_hint(&self) -> Option<usize> {
        self.tape.bounded(self.inner.size_hint())
    }
}

impl<'de, 't, A: EnumAccess<'de>> EnumAccess<'de> for Recorded<'t, A> {
    type Error = A::Error;
    type Variant = Recorded<'t, A::Variant>;

    #[inline(always)]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let seed = self.with(seed);
        let Recorded { inner, tape, depth, claims } = self;
        let (value, variant) = inner.variant_seed(seed)?;
        Ok((value, Recorded { inner: variant, tape, depth, claims }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Recorded<'_, A> {
    type Error = A::Error;

    #[inline(always)]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.tape.mark(Mark::UnitVariant);
        self.inner.unit_variant()
    }

    #[inline(always)]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.tape.mark(Mark::NewtypeVariant);
        let seed = self.with(seed);
        self.inner.newtype_variant_seed(seed)
    }

    #[inline(always)]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.tape.mark_with(Mark::TupleVariant, len);
        let visitor = self.with(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    #[inline(always)]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.tape.mark_names(Mark::StructVariant, "", fields);
        let visitor = self.with(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}

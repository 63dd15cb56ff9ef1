//! The shape of a value as it serializes itself: a serializer that keeps no bytes, only a hash of kinds and names. Contents
//! are not in it, but the texts of map keys, which may be names of fields (`#[serde(flatten)]`).
//!
//! It sees what the recording deserializer cannot: a type that looks at the data first (`untagged`, `tag`, `flatten`) asks
//! for the rest behind serde's own buffer. And it tells whether what was read back is what was written: formats that have
//! no way to say `Some(None)` or `NaN` say something else without a word.

use std::fmt;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::tape::{Mark, fold, text};

/// The shape of `value` in a format that people read, or do not; `None` where it cannot be serialized.
pub(super) fn shape<V: Serialize + ?Sized>(value: &V, human_readable: bool) -> Option<u64> {
    value.serialize(Walk { human_readable, key: false }).ok()
}

#[derive(Clone, Copy)]
struct Walk {
    human_readable: bool,
    /// Whether this is the key of a map, whose text counts.
    key: bool,
}

/// The value refused to be serialized; what it said may quote it.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

fn of(mark: Mark) -> u64 {
    fold(0, mark as u64)
}

/// A value made of others.
struct Parts {
    walk: Walk,
    hash: u64,
    /// Of elements whose order may be another every time (sets, maps).
    unordered: u64,
    /// The key whose value follows.
    key: u64,
}

impl Parts {
    fn add<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), Refused> {
        self.hash = fold(self.hash, part.serialize(self.walk)?);
        Ok(())
    }

    fn add_field<T: Serialize + ?Sized>(&mut self, name: &str, part: &T) -> Result<(), Refused> {
        self.hash = fold(self.hash, text(name));
        self.add(part)
    }

    fn skip(&mut self, name: &str) {
        self.hash = fold(fold(self.hash, text(name)), of(Mark::Skipped));
    }

    fn end(self) -> u64 {
        fold(self.hash, self.unordered)
    }
}

impl Walk {
    fn parts(self, mark: Mark) -> Parts {
        Parts { walk: Self { key: false, ..self }, hash: of(mark), unordered: 0, key: 0 }
    }

    fn named(self, mark: Mark, name: &str) -> Parts {
        let mut parts = self.parts(mark);
        parts.hash = fold(parts.hash, text(name));
        parts
    }
}

/// What has no parts.
macro_rules! leaves {
    ($($say:ident($ty:ty) $mark:ident;)*) => {
        $(fn $say(self, _: $ty) -> Result<u64, Refused> {
            Ok(of(Mark::$mark))
        })*
    };
}

impl Serializer for Walk {
    type Ok = u64;
    type Error = Refused;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    leaves! {
        serialize_bool(bool) Bool;
        serialize_i8(i8) I8;
        serialize_i16(i16) I16;
        serialize_i32(i32) I32;
        serialize_i64(i64) I64;
        serialize_i128(i128) I128;
        serialize_u8(u8) U8;
        serialize_u16(u16) U16;
        serialize_u32(u32) U32;
        serialize_u64(u64) U64;
        serialize_u128(u128) U128;
        serialize_f32(f32) F32;
        serialize_f64(f64) F64;
        serialize_char(char) Char;
        serialize_bytes(&[u8]) Bytes;
    }

    fn serialize_str(self, value: &str) -> Result<u64, Refused> {
        Ok(if self.key { text(value) } else { of(Mark::Str) })
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<u64, Refused> {
        if self.key { self.serialize_str(&value.to_string()) } else { Ok(of(Mark::Str)) }
    }

    fn serialize_none(self) -> Result<u64, Refused> {
        Ok(of(Mark::None))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u64, Refused> {
        Ok(fold(of(Mark::Some), value.serialize(self)?))
    }

    fn serialize_unit(self) -> Result<u64, Refused> {
        Ok(of(Mark::Unit))
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<u64, Refused> {
        Ok(self.named(Mark::UnitStruct, name).end())
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Result<u64, Refused> {
        Ok(fold(self.named(Mark::UnitVariant, name).end(), text(variant)))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<u64, Refused> {
        Ok(fold(self.named(Mark::Newtype, name).end(), value.serialize(self)?))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<u64, Refused> {
        let mut parts = self.named(Mark::NewtypeVariant, name);
        parts.add_field(variant, value)?;
        Ok(parts.end())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, Refused> {
        Ok(self.parts(Mark::Seq))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts, Refused> {
        Ok(self.parts(Mark::Tuple))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Parts, Refused> {
        Ok(self.named(Mark::TupleStruct, name))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, Refused> {
        let mut parts = self.named(Mark::TupleVariant, name);
        parts.hash = fold(parts.hash, text(variant));
        Ok(parts)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts, Refused> {
        Ok(self.parts(Mark::Map))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts, Refused> {
        Ok(self.named(Mark::Struct, name))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, Refused> {
        let mut parts = self.named(Mark::StructVariant, name);
        parts.hash = fold(parts.hash, text(variant));
        Ok(parts)
    }

    fn is_human_readable(&self) -> bool {
        self.human_readable
    }
}

impl SerializeSeq for Parts {
    type Ok = u64;
    type Error = Refused;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        // A list may be a set, which has another order every time it is read.
        self.unordered = self.unordered.wrapping_add(fold(of(Mark::Seq), value.serialize(self.walk)?));
        Ok(())
    }

    fn end(self) -> Result<u64, Refused> {
        Ok(self.end())
    }
}

impl SerializeMap for Parts {
    type Ok = u64;
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key = key.serialize(Walk { key: true, ..self.walk })?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.unordered = self.unordered.wrapping_add(fold(self.key, value.serialize(self.walk)?));
        Ok(())
    }

    fn end(self) -> Result<u64, Refused> {
        Ok(self.end())
    }
}

/// Parts whose number and order the type gives.
macro_rules! tuples {
    ($($part:ident::$add:ident),*) => {
        $(impl $part for Parts {
            type Ok = u64;
            type Error = Refused;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.add(value)
            }

            fn end(self) -> Result<u64, Refused> {
                Ok(self.end())
            }
        })*
    };
}
tuples!(
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// Parts that have names.
macro_rules! structs {
    ($($part:ident),*) => {
        $(impl $part for Parts {
            type Ok = u64;
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
                self.add_field(name, value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Refused> {
                self.skip(name);
                Ok(())
            }

            fn end(self) -> Result<u64, Refused> {
                Ok(self.end())
            }
        })*
    };
}
structs!(SerializeStruct, SerializeStructVariant);

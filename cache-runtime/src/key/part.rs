//! [`KeyPart`] and its implementations: which values may be part of a key, and how each is written.
//!
//! Floats are absent on purpose (`-0.0`, NaN), and so is `Debug` output, which promises nothing.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;

use super::KeyWriter;
use super::template::{kind_name, mix};

/// What a rendering looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartShape {
    /// One escaped segment: no `:`, and never begins with a marker.
    Simple,
    /// Anything else: several segments, groups, or something that may be `None`.
    Composite,
}

/// A value that may be part of a key.
///
/// Implemented for integers, `bool`, `char`, strings, `NonZero*`, IP addresses, `Uuid` (feature `uuid`), `Option`,
/// references and smart pointers, slices, arrays, `Vec` and tuples of up to eight parts; `#[derive(KeyPart)]` adds
/// newtypes, structs and enums.
///
/// An implementation by hand must keep the promise that keys are injective: distinct values of a type are written
/// distinctly, and a rendering says where it ends (see [`PartShape`]). Writing one other part is always right:
///
/// ```
/// use cache_runtime::__private::{KeyPart, KeyWriter, PartShape};
///
/// struct Email(String);
///
/// impl KeyPart for Email {
///     const KIND: u64 = <str as KeyPart>::KIND;
///     const SHAPE: PartShape = <str as KeyPart>::SHAPE;
///     fn write(&self, w: &mut KeyWriter) {
///         self.0.write(w);
///     }
/// }
/// ```
///
/// ```
/// use cache_runtime::{KeyPart, key};
///
/// #[derive(KeyPart)]
/// struct UserId(u64);
///
/// let (id, lang) = (UserId(42), Some("en"));
/// assert_eq!(key!("page:<id>:<lang>").as_str(), "page:42:en");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a cache key",
    label = "this has no text that would keep its values apart",
    note = "for a type of yours: `#[derive(KeyPart)]`",
    note = "for a type with a good `Display`: `<x:display>`; for a long text or bytes: `<x:hash>`",
    note = "if it does not select the value (a connection, a pool): `skip(x)`"
)]
pub trait KeyPart {
    /// Tells apart types whose texts are alike (`42` and `"42"`); part of the template's identity. Types that stand for
    /// the same thing share it: all integers, all strings.
    #[doc(hidden)]
    const KIND: u64;

    /// What the rendering looks like from outside.
    #[doc(hidden)]
    const SHAPE: PartShape;

    /// Writes the value.
    #[doc(hidden)]
    fn write(&self, w: &mut KeyWriter);
}

const STR: u64 = kind_name("str");
const INTEGER: u64 = kind_name("integer");
const IP: u64 = kind_name("ip");
const LIST: u64 = kind_name("list");
const OPTION: u64 = kind_name("option");
const TUPLE: u64 = kind_name("tuple");

impl KeyPart for str {
    const KIND: u64 = STR;
    const SHAPE: PartShape = PartShape::Simple;

    #[inline]
    fn write(&self, w: &mut KeyWriter) {
        w.escaped(self);
    }
}

impl KeyPart for String {
    const KIND: u64 = STR;
    const SHAPE: PartShape = PartShape::Simple;

    #[inline]
    fn write(&self, w: &mut KeyWriter) {
        w.escaped(self);
    }
}

impl KeyPart for char {
    const KIND: u64 = kind_name("char");
    const SHAPE: PartShape = PartShape::Simple;

    #[inline]
    fn write(&self, w: &mut KeyWriter) {
        w.escaped(self.encode_utf8(&mut [0; 4]));
    }
}

impl KeyPart for bool {
    const KIND: u64 = kind_name("bool");
    const SHAPE: PartShape = PartShape::Simple;

    #[inline]
    fn write(&self, w: &mut KeyWriter) {
        w.lit(if *self { "true" } else { "false" });
    }
}

macro_rules! integers {
    ($($int:ident)*) => {$(
        impl KeyPart for $int {
            const KIND: u64 = INTEGER;
            const SHAPE: PartShape = PartShape::Simple;

            #[inline]
            fn write(&self, w: &mut KeyWriter) {
                integers!(@write $int *self, w);
            }
        }

        impl KeyPart for NonZero<$int> {
            const KIND: u64 = INTEGER;
            const SHAPE: PartShape = PartShape::Simple;

            #[inline]
            fn write(&self, w: &mut KeyWriter) {
                self.get().write(w);
            }
        }
    )*};
    (@write u128 $value:expr, $w:ident) => { $w.wide_integer($value) };
    (@write i128 $value:expr, $w:ident) => { $w.wide_integer($value) };
    (@write $int:ident $value:expr, $w:ident) => {
        #[allow(unused_comparisons, clippy::cast_lossless, clippy::cast_sign_loss, reason = "one body for all integers")]
        {
            let value = $value;
            if value < 0 {
                $w.lit("-");
            }
            $w.integer(value.abs_diff(0) as u64);
        }
    };
}

integers! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize }

macro_rules! addresses {
    ($($ip:ty)*) => {$(
        impl KeyPart for $ip {
            const KIND: u64 = IP;
            const SHAPE: PartShape = PartShape::Simple;

            fn write(&self, w: &mut KeyWriter) {
                w.formatted(format_args!("{self}"));
            }
        }
    )*};
}

addresses! { IpAddr Ipv4Addr Ipv6Addr }

#[cfg(feature = "uuid")]
impl KeyPart for uuid::Uuid {
    const KIND: u64 = kind_name("uuid");
    const SHAPE: PartShape = PartShape::Simple;

    #[inline]
    fn write(&self, w: &mut KeyWriter) {
        w.lit(self.as_hyphenated().encode_lower(&mut Self::encode_buffer()));
    }
}

macro_rules! pointers {
    ($($(#[$attr:meta])* $pointer:ty),*) => {$(
        impl<T: KeyPart + ?Sized> KeyPart for $pointer {
            const KIND: u64 = T::KIND;
            const SHAPE: PartShape = T::SHAPE;

            #[inline]
            fn write(&self, w: &mut KeyWriter) {
                T::write(self, w);
            }
        }
    )*};
}

pointers! { &T, &mut T, Box<T>, Arc<T>, Rc<T> }

impl<T: KeyPart + ToOwned + ?Sized> KeyPart for Cow<'_, T> {
    const KIND: u64 = T::KIND;
    const SHAPE: PartShape = T::SHAPE;

    #[inline]
    fn write(&self, w: &mut KeyWriter) {
        T::write(self, w);
    }
}

impl<T: KeyPart> KeyPart for Option<T> {
    const KIND: u64 = mix(OPTION, T::KIND);
    const SHAPE: PartShape = PartShape::Composite;

    #[inline]
    fn write(&self, w: &mut KeyWriter) {
        match (self, T::SHAPE) {
            (None, _) => w.none(),
            (Some(value), PartShape::Simple) => value.write(w),
            (Some(value), PartShape::Composite) => {
                w.open();
                value.write(w);
                w.end_item();
                w.close();
            }
        }
    }
}

impl<T: KeyPart> KeyPart for [T] {
    const KIND: u64 = mix(LIST, T::KIND);
    const SHAPE: PartShape = PartShape::Composite;

    fn write(&self, w: &mut KeyWriter) {
        w.open();
        for item in self {
            item.write(w);
            w.end_item();
        }
        w.close();
    }
}

impl<T: KeyPart, const N: usize> KeyPart for [T; N] {
    const KIND: u64 = <[T] as KeyPart>::KIND;
    const SHAPE: PartShape = PartShape::Composite;

    fn write(&self, w: &mut KeyWriter) {
        self.as_slice().write(w);
    }
}

impl<T: KeyPart> KeyPart for Vec<T> {
    const KIND: u64 = <[T] as KeyPart>::KIND;
    const SHAPE: PartShape = PartShape::Composite;

    fn write(&self, w: &mut KeyWriter) {
        self.as_slice().write(w);
    }
}

impl KeyPart for () {
    const KIND: u64 = TUPLE;
    const SHAPE: PartShape = PartShape::Simple;

    #[inline]
    fn write(&self, _: &mut KeyWriter) {}
}

macro_rules! tuples {
    ($(($first:ident $(, $rest:ident)*))*) => {$(
        impl<$first: KeyPart, $($rest: KeyPart),*> KeyPart for ($first, $($rest,)*) {
            const KIND: u64 = {
                let kind = mix(TUPLE, $first::KIND);
                $(let kind = mix(kind, $rest::KIND);)*
                kind
            };
            const SHAPE: PartShape = PartShape::Composite;

            #[inline]
            #[expect(non_snake_case, reason = "the fields are called after their types")]
            fn write(&self, w: &mut KeyWriter) {
                let ($first, $($rest,)*) = self;
                $first.write(w);
                $(
                    w.lit(":");
                    $rest.write(w);
                )*
            }
        }
    )*};
}

tuples! {
    (A)
    (A, B)
    (A, B, C)
    (A, B, C, D)
    (A, B, C, D, E)
    (A, B, C, D, E, F)
    (A, B, C, D, E, F, G)
    (A, B, C, D, E, F, G, H)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: KeyPart + ?Sized>(value: &T) -> String {
        let mut w = KeyWriter::new(0);
        w.part(value);
        w.into_key().to_string()
    }

    #[test]
    fn values_are_written_as_documented() {
        assert_eq!(text(&42_u64), "42");
        assert_eq!(text(&i128::MIN), i128::MIN.to_string());
        assert_eq!(text(&u128::MAX), u128::MAX.to_string());
        assert_eq!(text(&NonZero::new(7_u8)), "7");
        assert_eq!(text(&true), "true");
        assert_eq!(text(&'*'), "%2A");
        assert_eq!(text("a:b%c\\[é]\n\u{202E}"), "a%3Ab%25c%5C%5Bé%5D%0A%E2%80%AE");
        assert_eq!(text(&Ipv6Addr::LOCALHOST), "%3A%3A1");
        assert_eq!(text(&IpAddr::from([10, 0, 0, 1])), "10.0.0.1");
        assert_eq!(text(&(1, "a:b", None::<u8>)), "1:a%3Ab:%-");
        assert_eq!(text(&Some("None")), "None");
        assert_eq!(text(&Some(None::<u8>)), "%(%-%,%)");
        assert_eq!(text(&Some(Some(1))), "%(1%,%)");
        assert_eq!(text(&Some((1, 2))), "%(1:2%,%)");
        assert_eq!(text::<[u8; 0]>(&[]), "%(%)");
        assert_eq!(text(&[""]), "%(%,%)");
        assert_eq!(text(&vec![Some("a"), None]), "%(a%,%-%,%)");
        assert_eq!(text(&()), "");
        assert_eq!(text(&((), ())), ":");
    }

    #[test]
    fn pointers_are_written_as_what_they_point_to() {
        let expected = "a%3Ab";
        let owned = String::from("a:b");
        assert_eq!(text(&owned), expected);
        assert_eq!(text(&&owned.as_str()), expected);
        assert_eq!(text(&Cow::Borrowed("a:b")), expected);
        assert_eq!(text(&Box::<str>::from("a:b")), expected);
        assert_eq!(text(&Arc::<str>::from("a:b")), expected);
        assert_eq!(text(&Rc::new(owned.clone())), expected);
        assert_eq!(<Arc<str> as KeyPart>::KIND, <&mut Box<String> as KeyPart>::KIND);
    }

    #[test]
    fn kinds_tell_types_apart_and_unite_spellings() {
        assert_eq!(i32::KIND, u64::KIND);
        assert_eq!(NonZero::<u8>::KIND, u64::KIND);
        assert_eq!(<[u8; 3]>::KIND, Vec::<u64>::KIND);
        let kinds = [
            u64::KIND,
            str::KIND,
            char::KIND,
            bool::KIND,
            Ipv4Addr::KIND,
            Option::<u64>::KIND,
            Option::<Option<u64>>::KIND,
            Option::<str_ref::Str>::KIND,
            Vec::<u64>::KIND,
            <()>::KIND,
            <(u64,)>::KIND,
            <(u64, u64)>::KIND,
            <((u64, u64),)>::KIND,
            <((u64, u64), u64)>::KIND,
            <(u64, (u64, u64))>::KIND,
            <(u64, u64, u64)>::KIND,
            <(u64, String)>::KIND,
            <(String, u64)>::KIND,
        ];
        for (i, one) in kinds.iter().enumerate() {
            assert!(!kinds[i + 1..].contains(one), "{i}");
        }
    }

    mod str_ref {
        pub(super) type Str = &'static str;
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn uuids_are_written_in_lower_case() {
        assert_eq!(text(&uuid::Uuid::from_u128(0xAB)), "00000000-0000-0000-0000-0000000000ab");
    }
}

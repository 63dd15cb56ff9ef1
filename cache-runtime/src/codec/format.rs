//! The codecs themselves: a value's bytes, and a value from bytes through the recording deserializer, with limits and
//! with nothing left over. Neither envelopes nor keys.

use std::marker::PhantomData;

use serde::de::{DeserializeOwned, DeserializeSeed};
use serde::ser::Serialize;

use super::recorder::Recorded;
use super::tape::{Limit, MAX_DEPTH, Tape, fold};
use super::walk;
use crate::envelope::Codec;
use crate::error::{Error, ErrorKind};

/// No encoded value may be longer, whatever it claims about itself.
pub(super) const MAX_LEN: usize = 64 << 20;

/// Why bytes are not a value of the type asked for. What the formats say may quote the bytes, and is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// They are another value, or none.
    Wrong,
    /// Bytes are left over.
    Over,
    /// They pass a limit.
    Limit(Limit),
    /// The format cannot tell the type what it is, and the type asks.
    #[cfg_attr(not(feature = "bincode"), allow(dead_code, reason = "only bincode cannot"))]
    Asks,
    /// The codec is not compiled in.
    #[cfg_attr(all(feature = "bincode", feature = "msgpack"), allow(dead_code, reason = "all are compiled in"))]
    Missing,
}

impl Codec {
    /// The name, as settings and attributes say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bincode => "bincode",
            Self::Json => "json",
            Self::MsgPack => "msgpack",
        }
    }

    /// Whether this build has it.
    pub(crate) fn compiled_in(self) -> bool {
        match self {
            Self::Bincode => cfg!(feature = "bincode"),
            Self::Json => true,
            Self::MsgPack => cfg!(feature = "msgpack"),
        }
    }

    pub(super) fn human_readable(self) -> bool {
        self == Self::Json
    }

    pub(super) fn missing(self) -> Error {
        let name = self.name();
        let what = format!("codec {name} is not compiled in: it needs the feature `{name}` of cache-runtime");
        Error::new(ErrorKind::Unsupported, what)
    }

    /// An error about a value and this codec. What the value's own code says may quote it, and is not kept.
    pub(super) fn error(self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Codec, format!("{}: {what}", self.name()))
    }
}

/// The bytes of `value`.
pub(super) fn encode<V: Serialize + ?Sized>(codec: Codec, value: &V) -> Result<Vec<u8>, Error> {
    let bytes = match codec {
        #[cfg(feature = "bincode")]
        Codec::Bincode => {
            bincode::serde::encode_to_vec(value, bincode::config::standard().with_limit::<MAX_LEN>()).ok()
        }
        Codec::Json => Some(serde_json::to_vec(value).map_err(json_fault)?),
        #[cfg(feature = "msgpack")]
        Codec::MsgPack => rmp_serde::to_vec_named(value).ok(),
        #[cfg(not(all(feature = "bincode", feature = "msgpack")))]
        _ => return Err(codec.missing()),
    };
    let bytes = bytes.ok_or_else(|| codec.error("value cannot be encoded"))?;
    match bytes.len() {
        0..=MAX_LEN => Ok(bytes),
        len => Err(Error::new(ErrorKind::TooLarge, format!("value has {len} bytes; at most {MAX_LEN} are stored"))),
    }
}

/// What serde_json itself finds fault with is passed on; what a value's own code says is not.
fn json_fault(error: serde_json::Error) -> Error {
    let says = Codec::Json.error("value cannot be encoded");
    match error.classify() {
        serde_json::error::Category::Syntax => says.with_source(error),
        _ => says,
    }
}

/// The value that `bytes` are, and its type's fingerprint.
pub(super) fn decode<V: Serialize + DeserializeOwned>(codec: Codec, bytes: &[u8]) -> Result<(V, u64), Undecodable> {
    let tape = Tape::new(bytes.len());
    let value: V = decode_onto(codec, bytes, &tape, PhantomData)?;
    let mut hash = tape.hash();
    if tape.looked() {
        let shape = walk::shape(&value, codec.human_readable()).ok_or(Undecodable::Wrong)?;
        hash = fold(hash, shape);
    }
    Ok((value, hash))
}

/// The value that `bytes` are, whatever they were when they were written.
pub(super) fn decode_any<V: DeserializeOwned>(codec: Codec, bytes: &[u8]) -> Result<V, Undecodable> {
    decode_onto(codec, bytes, &Tape::new(bytes.len()), PhantomData)
}

/// What `seed` makes of `bytes`, recorded.
pub(super) fn decode_onto<'b, S: DeserializeSeed<'b>>(
    codec: Codec,
    bytes: &'b [u8],
    tape: &Tape,
    seed: S,
) -> Result<S::Value, Undecodable> {
    let seed = Recorded::new(seed, tape);
    let decoded = match codec {
        #[cfg(feature = "bincode")]
        Codec::Bincode => bincode_value(bytes, seed),
        Codec::Json => json_value(bytes, seed),
        #[cfg(feature = "msgpack")]
        Codec::MsgPack => msgpack_value(bytes, seed),
        #[cfg(not(all(feature = "bincode", feature = "msgpack")))]
        _ => Err(Undecodable::Missing),
    };
    match tape.passed() {
        Some(limit) => Err(Undecodable::Limit(limit)),
        None => decoded,
    }
}

#[cfg(feature = "bincode")]
fn bincode_value<'b, S: DeserializeSeed<'b>>(bytes: &'b [u8], seed: S) -> Result<S::Value, Undecodable> {
    use bincode::error::DecodeError;
    use bincode::serde::DecodeError as Refused;

    match bincode::serde::seed_decode_from_slice(seed, bytes, bincode::config::standard().with_limit::<MAX_LEN>()) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok(_) => Err(Undecodable::Over),
        Err(DecodeError::Serde(Refused::AnyNotSupported | Refused::IdentifierNotSupported)) => Err(Undecodable::Asks),
        Err(_) => Err(Undecodable::Wrong),
    }
}

fn json_value<'b, S: DeserializeSeed<'b>>(bytes: &'b [u8], seed: S) -> Result<S::Value, Undecodable> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut deserializer).map_err(|_| Undecodable::Wrong)?;
    deserializer.end().map_err(|_| Undecodable::Over).map(|()| value)
}

#[cfg(feature = "msgpack")]
fn msgpack_value<'b, S: DeserializeSeed<'b>>(bytes: &'b [u8], seed: S) -> Result<S::Value, Undecodable> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(super::tape::MAX_DEPTH.into());
    let value = seed.deserialize(&mut deserializer).map_err(|_| Undecodable::Wrong)?;
    // It does not say what it has left. One more value is asked for, and only at the very end is there not even a marker.
    match <bool as serde::Deserialize>::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(Undecodable::Over),
    }
}

/// What is wrong with a value that cannot be read back.
pub(super) fn explain(codec: Codec, fault: Undecodable) -> Error {
    match fault {
        Undecodable::Missing => codec.missing(),
        Undecodable::Limit(Limit::Depth) => {
            codec.error(format_args!("value cannot be read back: it is nested more than {MAX_DEPTH} levels deep"))
        }
        Undecodable::Limit(Limit::Elements) => {
            codec.error("value cannot be read back: it has a long list of elements that take no bytes")
        }
        Undecodable::Asks => codec.error(
            "value cannot be read back: its type looks at the data (`untagged`, `tag`, `flatten`), which only json and msgpack support",
        ),
        Undecodable::Wrong | Undecodable::Over => {
            codec.error("value cannot be read back: its type does not read what it writes, or the codec cannot express it")
        }
    }
}

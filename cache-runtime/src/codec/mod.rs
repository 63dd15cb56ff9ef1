//! How values become the bytes that a shared backend keeps, and back, so that any bytes are safe: whatever they are, they
//! are the value that was stored under this name and type, or a counted miss. No I/O here. The memory store keeps values
//! typed and only asks how big they are.
//!
//! [`pack`] encodes a value, reads its own bytes back to prove that they can be read, compresses and encrypts where asked
//! for, and puts all into an envelope (`envelope`, which has the wire format). [`unpack`] is the way back.
//!
//! # A type that changed
//!
//! While a value is decoded, a recording deserializer hashes what its type asks for: kinds, names of fields and variants, in
//! their order, at any depth. This *fingerprint* is in the envelope, and a reader whose type asks for something else
//! has a miss, also with bincode, which would decode swapped fields without a word. A type that looks at the data first
//! (`untagged`, `tag`, `flatten`) hides a part of what it asks for; for such a value the hash of how it serializes itself is
//! added.
//!
//! Not seen are: types behind an option that is absent, in a list that is empty, or in a variant that was not taken (the
//! bytes have nothing of them that could be misread); fields of a flattened structure that `skip_serializing_if` left out; a
//! changed meaning under the same names and kinds; and hand-written implementations that ask for the same and make
//! something else of it. For those there is `version`. Renaming a type is seen, and is a miss.
//!
//! # A value that does not come back
//!
//! Some formats have no way to say what some values are: JSON and MessagePack say `Some(None)` as `None`, JSON says `NaN` as
//! `null`, and an `untagged` type may come back as another variant. The shape of what was read back is compared with the
//! shape of the value, and such a value is an error when it is written, not another value when it is read.
//!
//! # Limits
//!
//! A value has at most 64 MiB of bytes, compressed or not, and is nested at most 128 levels deep, each option, list,
//! structure and enum being one. A list reserves no more room than the input has bytes, whatever it claims, and a list of
//! elements that take no bytes has at most 65 536 more of them than the input has bytes.

mod compress;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod keyring;
mod recorder;
mod tape;
#[cfg(test)]
mod tests;
mod walk;
mod wire;

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::envelope::Codec;
use crate::error::{Error, ErrorKind};

pub(crate) use keyring::Keyring;
pub(crate) use wire::{Wire, pack, pack_counter, relabel, relive, unpack, verify};

impl Default for Codec {
    fn default() -> Self {
        if cfg!(feature = "bincode") { Self::Bincode } else { Self::Json }
    }
}

impl Codec {
    /// Encodes `value`.
    ///
    /// ```
    /// let bytes = cache_runtime::Codec::Json.encode("Ada")?;
    /// assert_eq!(bytes, br#""Ada""#);
    /// # Ok::<(), cache_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] where the value cannot be represented, [`ErrorKind::TooLarge`] where it has more than 64 MiB,
    /// [`ErrorKind::Unsupported`] where the codec is not compiled in.
    pub fn encode<V: Serialize + ?Sized>(self, value: &V) -> Result<Vec<u8>, Error> {
        format::encode(self, value)
    }

    /// Decodes what [`encode`](Self::encode) made. All bytes must be used, and no bytes make it panic, overflow the stack,
    /// or allocate much more than they are.
    ///
    /// ```
    /// use cache_runtime::{Codec, ErrorKind};
    ///
    /// assert_eq!(Codec::Json.decode::<String>(br#""Ada""#)?, "Ada");
    /// assert_eq!(Codec::Json.decode::<u64>(br#""Ada""#).unwrap_err().kind(), ErrorKind::Codec);
    /// # Ok::<(), cache_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] for bytes that are no such value, [`ErrorKind::Unsupported`] where the codec is not compiled in.
    pub fn decode<V: DeserializeOwned>(self, bytes: &[u8]) -> Result<V, Error> {
        format::decode_any(self, bytes).map_err(|fault| match fault {
            format::Undecodable::Missing => self.missing(),
            format::Undecodable::Over => self.error("bytes are left over after a value"),
            _ => self.error("bytes cannot be decoded"),
        })
    }
}

/// As settings and attributes say it.
impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `bincode`, `json` or `msgpack`.
///
/// # Errors
///
/// [`ErrorKind::Config`] for any other text. Whether the codec is compiled in is not looked at.
impl FromStr for Codec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let all = [Self::Bincode, Self::Json, Self::MsgPack];
        all.into_iter().find(|codec| codec.name() == text).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("`{text}` is not a codec; use `bincode`, `json` or `msgpack`"))
        })
    }
}

/// The bytes that a value takes in memory, roughly: its own size and what it would encode to, which stands for what it owns.
///
/// Only asked where the store is bounded by bytes.
pub(crate) fn size<V: Serialize>(value: &V) -> u64 {
    let mut counter = Counter(0);
    // A value that cannot be serialized is weighed by its own size.
    let _ = serde_json::to_writer(&mut counter, value);
    size_of_val(value) as u64 + counter.0
}

struct Counter(u64);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

//! How values become bytes. The memory store keeps values typed and only asks how big they are; a shared backend will
//! encode and decode through [`Codec`] inside an envelope. No I/O here.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind};

/// The bytes that a shared backend keeps. Values in memory are never encoded.
///
/// ```
/// use cache_runtime::Codec;
///
/// let bytes = Codec::Json.encode(&vec![1, 2])?;
/// assert_eq!(bytes, b"[1,2]");
/// assert_eq!(Codec::Json.decode::<Vec<u8>>(&bytes)?, [1, 2]);
/// # Ok::<(), cache_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// Compact and quick: the default (feature `bincode`).
    Bincode,
    /// Readable by services in other languages.
    Json,
    /// Compact and self-describing.
    MsgPack,
}

/// No encoded value may be longer, whatever it claims about itself.
#[cfg(feature = "bincode")]
const LIMIT: usize = 64 << 20;

impl Default for Codec {
    fn default() -> Self {
        if cfg!(feature = "bincode") { Self::Bincode } else { Self::Json }
    }
}

impl Codec {
    /// Encodes `value`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] where the value cannot be represented, [`ErrorKind::Unsupported`] where the codec is not compiled in.
    pub fn encode<V: Serialize>(self, value: &V) -> Result<Vec<u8>, Error> {
        match self {
            #[cfg(feature = "bincode")]
            Self::Bincode => bincode::serde::encode_to_vec(value, bincode::config::standard().with_limit::<LIMIT>())
                .map_err(|error| Error::new(ErrorKind::Codec, "value cannot be encoded as bincode").with_source(error)),
            Self::Json => serde_json::to_vec(value)
                .map_err(|error| Error::new(ErrorKind::Codec, "value cannot be encoded as JSON").with_source(error)),
            other => Err(other.missing()),
        }
    }

    /// Decodes what [`encode`](Self::encode) made. All bytes must be used, and no more than 64 MiB are allocated for them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] for bytes that are no such value, [`ErrorKind::Unsupported`] where the codec is not compiled in.
    pub fn decode<V: DeserializeOwned>(self, bytes: &[u8]) -> Result<V, Error> {
        match self {
            #[cfg(feature = "bincode")]
            Self::Bincode => {
                let config = bincode::config::standard().with_limit::<LIMIT>();
                let (value, used) = bincode::serde::decode_from_slice(bytes, config).map_err(|error| {
                    Error::new(ErrorKind::Codec, "bytes cannot be decoded as bincode").with_source(error)
                })?;
                if used == bytes.len() {
                    Ok(value)
                } else {
                    Err(Error::new(ErrorKind::Codec, "bytes are left over after a bincode value"))
                }
            }
            Self::Json => serde_json::from_slice(bytes)
                .map_err(|error| Error::new(ErrorKind::Codec, "bytes cannot be decoded as JSON").with_source(error)),
            other => Err(other.missing()),
        }
    }

    fn missing(self) -> Error {
        Error::new(ErrorKind::Unsupported, format!("codec {self:?} is not compiled in"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_gives_back_what_it_was_given_and_refuses_trailing_bytes() {
        for codec in [Codec::default(), Codec::Json] {
            let value = (7_u64, "text".to_owned(), vec![Some(1_i32), None]);
            let mut bytes = codec.encode(&value).unwrap();
            assert_eq!(codec.decode::<(u64, String, Vec<Option<i32>>)>(&bytes).unwrap(), value);
            bytes.push(0);
            assert_eq!(
                codec.decode::<(u64, String, Vec<Option<i32>>)>(&bytes).unwrap_err().kind(),
                ErrorKind::Codec,
                "{codec:?}"
            );
        }
    }

    #[test]
    fn a_long_string_weighs_more_than_its_header() {
        assert!(size(&"x".repeat(1000)) >= 1000);
        assert!(size(&1_u64) < 32);
    }
}

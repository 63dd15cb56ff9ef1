//! The envelope: what a shared backend keeps of an entry beside its value, and the bytes of both. Pure: it knows no types,
//! no keys and no clock. What the payload means is `codec`'s business.
//!
//! # Wire format, version 1
//!
//! Numbers are little-endian; a *varint* is LEB128: seven bits a byte, the lowest first, at most ten bytes.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 3 | magic | `CA C4 E5`: begins no text and no JSON |
//! | 1 | wire version | `01` |
//! | 1 | flags | bits 0–1 [`Outcome`]; 2–3 codec (0: no value, 1: bincode, 2: JSON, 3: MessagePack); 4 compressed; 5 encrypted; 6 plain; 7 counter |
//! | 8 | template | identity of key template and schema version |
//! | 8 | fingerprint | of the stored type; only where there is a value |
//! | 4 | key id | only with *encrypted* |
//! | varint | created | milliseconds since 1970 |
//! | varint | expires | milliseconds since 1970; 0: as the store's own expiry says |
//! | varint | cost | microseconds that the load took |
//! | varint | number of cells | at most 256 |
//! | per cell: varint, *n*, 16 | length, name, nonce | a name has 1 to 1024 bytes |
//! | varint | length of the payload | |
//! | *n* | payload | |
//! | 4 | CRC-32 | of the entry's physical name, everything above, and the plain value |
//!
//! *Plain*: the value is JSON, lies under the entry's own name, and the payload is empty. *Counter*: it is plain, a whole
//! number, and the server adds to it; therefore it alone is not in the checksum. *Compressed*: the payload is a varint, the
//! length before, and an LZ4 block. *Encrypted*: the payload (compressed before, if at all; empty where there is no value)
//! is a nonce of 24 bytes, the XChaCha20-Poly1305 ciphertext, and a tag of 16 bytes; the associated data are the length of
//! the entry's physical name as four bytes, that name, and the header, which is everything above the payload.
//!
//! The checksum finds accidents: bytes that were cut or flipped, and an entry that lies or is answered under a name that is
//! not its own. Against somebody who forges entries only encryption helps: it hides the value, and binds it to its name and
//! to its whole header, nonces of cells included. It hides neither names, nor times, nor how long a value is.

mod read;
#[cfg(test)]
mod tests;
mod varint;
mod write;

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

pub(crate) use varint::{put_varint, take_varint};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use write::reseal;
pub(crate) use write::{Form, Limit, seal, write_header};

/// The unguessable content of a cell.
pub(crate) type Nonce = [u8; 16];

/// Full physical names of cells, and the nonces that an entry has of them.
pub(crate) type Cells<'h> = SmallVec<[(Cow<'h, [u8]>, Nonce); 6]>;

/// Tells which key encrypted a payload, and nothing about that key.
pub(crate) type KeyId = [u8; 4];

const MAGIC: [u8; 3] = [0xCA, 0xC4, 0xE5];
const VERSION: u8 = 1;

/// Most cells of one entry.
pub(crate) const MAX_CELLS: usize = 256;

/// Longest name of a cell, in bytes.
pub(crate) const MAX_NAME: usize = 1024;

/// The length of the checksum.
const CHECKSUM: usize = 4;

mod flag {
    pub(super) const OUTCOME: u8 = 0b11;
    pub(super) const CODEC_SHIFT: u8 = 2;
    pub(super) const COMPRESSED: u8 = 1 << 4;
    pub(super) const ENCRYPTED: u8 = 1 << 5;
    pub(super) const PLAIN: u8 = 1 << 6;
    pub(super) const COUNTER: u8 = 1 << 7;
}

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
    /// Compact and self-describing, with the names of fields (feature `msgpack`).
    MsgPack,
}

/// What an entry says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is this value.
    Some,
    /// There is none, and that is known.
    None,
    /// The load failed with this error.
    Err,
    /// Nothing: only the names of cells that a later load should know.
    Hint,
}

/// Everything that an entry says but its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head<'h> {
    /// What the entry says about its key.
    pub(crate) outcome: Outcome,
    /// Identity of key template and schema version; 0: the value was set by the text of its key.
    pub(crate) template: u64,
    /// Wall clock.
    pub(crate) created_ms: u64,
    /// Wall clock, logical expiry; 0: as the store's own expiry says.
    pub(crate) expires_ms: u64,
    /// How long the load took.
    pub(crate) cost_us: u64,
    /// What the entry depends on, as it was before the load.
    pub(crate) cells: Cells<'h>,
}

/// Where an entry's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the envelope.
    Inside,
    /// Alone under the entry's own name, as JSON.
    Plain,
    /// Likewise, and the server adds to it.
    Counter,
}

/// Bytes that have the form of an entry. Whether they are one of the right type, and by whom, `codec` says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Envelope<'b> {
    /// Everything but the value.
    pub(crate) head: Head<'b>,
    /// How the value is encoded; `None`: there is none.
    pub(crate) codec: Option<Codec>,
    /// Whether the value was compressed.
    pub(crate) compressed: bool,
    /// Which key encrypted the value, if one did.
    pub(crate) key: Option<KeyId>,
    /// Where the value is.
    pub(crate) place: Place,
    /// What the stored type looks like; 0 without a value.
    pub(crate) fingerprint: u64,
    /// The value's bytes, wherever they are.
    pub(crate) payload: &'b [u8],
    /// All bytes above the payload.
    pub(crate) header: &'b [u8],
}

/// Why bytes are a miss. No content of theirs is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reject {
    /// They are no envelope.
    Foreign,
    /// They are of a wire version that this build does not read.
    Version,
    /// They end too early, or the value beside them is gone.
    Truncated,
    /// Checksum, lengths or flags are wrong, or they belong to another name.
    Corrupt,
    /// They are, or decompress to, more than is ever read.
    TooLarge,
    /// They are encoded in another way than asked for, or one that is not compiled in.
    Codec,
    /// The key that encrypted them is not known here.
    Key,
    /// The right key did not encrypt these bytes for this name.
    #[cfg_attr(not(feature = "encryption"), allow(dead_code, reason = "nothing is opened without keys"))]
    Forged,
    /// They are not encrypted, and only encrypted ones are accepted.
    Unsealed,
    /// They are a value of another type, or of the type as it was before it was changed.
    Shape,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "bytes are not an entry of this cache",
            Self::Version => "entry has a wire version that this build does not read",
            Self::Truncated => "entry ends too early",
            Self::Corrupt => "entry is corrupt or lies under a name that is not its own",
            Self::TooLarge => "entry is too large",
            Self::Codec => "entry is encoded in another way than asked for",
            Self::Key => "entry is encrypted with a key that is not known here",
            Self::Forged => "entry does not authenticate",
            Self::Unsealed => "entry is not encrypted",
            Self::Shape => "entry is a value of another type",
        })
    }
}

impl Envelope<'_> {
    /// Whether the payload is encrypted.
    pub(crate) fn encrypted(&self) -> bool {
        self.key.is_some()
    }

    /// Whether the value lies alone under the entry's own name.
    #[cfg(test)]
    pub(crate) fn plain(&self) -> bool {
        self.place != Place::Inside
    }
}

/// Without the value, and without names.
impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("outcome", &self.head.outcome)
            .field("cells", &self.head.cells.len())
            .field("codec", &self.codec)
            .field("compressed", &self.compressed)
            .field("encrypted", &self.encrypted())
            .field("place", &self.place)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

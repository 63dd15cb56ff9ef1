//! Writing an envelope: header, payload (by the caller), checksum.

use std::fmt;

use super::{CHECKSUM, Codec, Head, KeyId, MAGIC, MAX_CELLS, MAX_NAME, Outcome, Place, VERSION, flag, put_varint};

/// What a header says about the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// How the value is encoded; `None`: there is none.
    pub(crate) codec: Option<Codec>,
    /// Whether it is compressed.
    pub(crate) compressed: bool,
    /// Which key encrypts it.
    pub(crate) key: Option<KeyId>,
    /// Where it is.
    pub(crate) place: Place,
    /// What its type looks like.
    pub(crate) fingerprint: u64,
    /// How long the payload is; 0 where the value is elsewhere.
    pub(crate) len: usize,
}

/// What no envelope has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// More cells than [`MAX_CELLS`].
    Cells,
    /// A cell without a name, or with one longer than [`MAX_NAME`].
    Name,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cells => write!(f, "an entry can depend on {MAX_CELLS} tags at most"),
            Self::Name => write!(f, "the name of a tag's cell must have 1 to {MAX_NAME} bytes"),
        }
    }
}

/// The header, in a buffer with room for the payload and the checksum.
pub(crate) fn write_header(head: &Head<'_>, form: &Form) -> Result<Vec<u8>, Limit> {
    if head.cells.len() > MAX_CELLS {
        return Err(Limit::Cells);
    }
    if head.cells.iter().any(|(name, _)| !(1..=MAX_NAME).contains(&name.len())) {
        return Err(Limit::Name);
    }
    // Varints longer than two bytes: three times, and the payload's length.
    let cells: usize = head.cells.iter().map(|(name, nonce)| 2 + name.len() + nonce.len()).sum();
    let mut out = Vec::with_capacity(70 + cells + form.len + CHECKSUM);
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
    out.push(flags(head.outcome, form));
    out.extend_from_slice(&head.template.to_le_bytes());
    if form.codec.is_some() {
        out.extend_from_slice(&form.fingerprint.to_le_bytes());
    }
    if let Some(key) = form.key {
        out.extend_from_slice(&key);
    }
    for number in [head.created_ms, head.expires_ms, head.cost_us, head.cells.len() as u64] {
        put_varint(&mut out, number);
    }
    for (name, nonce) in &head.cells {
        put_varint(&mut out, name.len() as u64);
        out.extend_from_slice(name);
        out.extend_from_slice(nonce);
    }
    put_varint(&mut out, form.len as u64);
    Ok(out)
}

/// Adds the checksum, which is the last thing. `plain` is what lies elsewhere and stays as it is.
pub(crate) fn seal(out: &mut Vec<u8>, name: &[u8], plain: Option<&[u8]>) {
    let sum = checksum(name, out, plain);
    out.extend_from_slice(&sum);
}

/// Of the entry's name, everything above the checksum, and what lies elsewhere.
pub(super) fn checksum(name: &[u8], above: &[u8], plain: Option<&[u8]>) -> [u8; CHECKSUM] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(name);
    sum.update(above);
    sum.update(plain.unwrap_or_default());
    sum.finalize().to_le_bytes()
}

fn flags(outcome: Outcome, form: &Form) -> u8 {
    let outcome = match outcome {
        Outcome::Some => 0,
        Outcome::None => 1,
        Outcome::Err => 2,
        Outcome::Hint => 3,
    };
    let codec = match form.codec {
        None => 0,
        Some(Codec::Bincode) => 1,
        Some(Codec::Json) => 2,
        Some(Codec::MsgPack) => 3,
    };
    let mut flags = outcome | codec << flag::CODEC_SHIFT;
    let mut set = |on: bool, flag: u8| flags |= if on { flag } else { 0 };
    set(form.compressed, flag::COMPRESSED);
    set(form.key.is_some(), flag::ENCRYPTED);
    set(form.place != Place::Inside, flag::PLAIN);
    set(form.place == Place::Counter, flag::COUNTER);
    flags
}

/// The bytes with their last four made the right checksum, for tests that are to come further.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn reseal(bytes: &[u8], name: &[u8], plain: Option<&[u8]>) -> Vec<u8> {
    let mut out = bytes[..bytes.len().saturating_sub(CHECKSUM)].to_vec();
    seal(&mut out, name, plain);
    out
}

//! Reading an envelope: nothing is trusted, nothing is copied, and nothing is allocated but the list of cells.

use std::borrow::Cow;

use super::write::checksum;
use super::{
    CHECKSUM, Cells, Codec, Envelope, Head, MAGIC, MAX_CELLS, MAX_NAME, Nonce, Outcome, Place, Reject, VERSION, flag,
    take_varint,
};

/// A whole number takes at most this many digits, with its sign.
const MAX_DIGITS: usize = 20;

impl<'b> Envelope<'b> {
    /// Reads the envelope of the entry under the physical name `name`. `plain` is what lies under that name where the
    /// envelope lies beside it.
    ///
    /// What this accepts may still be forged: only `codec`'s `unpack` and `verify` tell.
    pub(crate) fn parse(name: &[u8], envelope: &'b [u8], plain: Option<&'b [u8]>) -> Result<Self, Reject> {
        let mut rest = envelope;
        if take(&mut rest, MAGIC.len()).ok() != Some(&MAGIC[..]) {
            return Err(Reject::Foreign);
        }
        if byte(&mut rest)? != VERSION {
            return Err(Reject::Version);
        }
        let (outcome, codec, place, marks) = flags(byte(&mut rest)?)?;
        let template = u64::from_le_bytes(array(&mut rest)?);
        let fingerprint = if codec.is_some() { u64::from_le_bytes(array(&mut rest)?) } else { 0 };
        let key = if marks & flag::ENCRYPTED != 0 { Some(array(&mut rest)?) } else { None };
        let created_ms = take_varint(&mut rest)?;
        let expires_ms = take_varint(&mut rest)?;
        let cost_us = take_varint(&mut rest)?;
        let cells = cells(&mut rest)?;
        let len = usize::try_from(take_varint(&mut rest)?).map_err(|_| Reject::Truncated)?;

        let header = &envelope[..envelope.len() - rest.len()];
        let inside = take(&mut rest, len)?;
        let sum: [u8; CHECKSUM] = array(&mut rest)?;
        if !rest.is_empty() || (codec.is_none() && key.is_none() && !inside.is_empty()) {
            return Err(Reject::Corrupt);
        }
        let payload = match (place, plain) {
            (Place::Inside, None) => inside,
            (Place::Plain | Place::Counter, None) => return Err(Reject::Truncated),
            (Place::Plain, Some(plain)) if inside.is_empty() => plain,
            (Place::Counter, Some(plain)) if inside.is_empty() && plain.len() <= MAX_DIGITS => plain,
            _ => return Err(Reject::Corrupt),
        };
        let covered = plain.filter(|_| place == Place::Plain);
        if checksum(name, &envelope[..envelope.len() - CHECKSUM], covered) != sum {
            return Err(Reject::Corrupt);
        }
        let head = Head { outcome, template, created_ms, expires_ms, cost_us, cells };
        let compressed = marks & flag::COMPRESSED != 0;
        Ok(Self { head, codec, compressed, key, place, fingerprint, payload, header })
    }
}

/// Outcome, codec and place, and the byte itself for the rest. What does not go together is refused.
fn flags(marks: u8) -> Result<(Outcome, Option<Codec>, Place, u8), Reject> {
    let outcome = match marks & flag::OUTCOME {
        0 => Outcome::Some,
        1 => Outcome::None,
        2 => Outcome::Err,
        _ => Outcome::Hint,
    };
    let codec = match marks >> flag::CODEC_SHIFT & 0b11 {
        0 => None,
        1 => Some(Codec::Bincode),
        2 => Some(Codec::Json),
        _ => Some(Codec::MsgPack),
    };
    let place = match (marks & flag::PLAIN != 0, marks & flag::COUNTER != 0) {
        (false, false) => Place::Inside,
        (true, false) => Place::Plain,
        (true, true) => Place::Counter,
        (false, true) => return Err(Reject::Corrupt),
    };
    let has_value = match outcome {
        Outcome::Some => codec.is_some(),
        Outcome::None | Outcome::Hint => codec.is_none(),
        Outcome::Err => true,
    };
    let changed = marks & (flag::COMPRESSED | flag::ENCRYPTED) != 0;
    let consistent = has_value
        && (codec.is_some() || marks & flag::COMPRESSED == 0)
        && (place == Place::Inside || (codec == Some(Codec::Json) && !changed));
    if consistent { Ok((outcome, codec, place, marks)) } else { Err(Reject::Corrupt) }
}

fn cells<'b>(rest: &mut &'b [u8]) -> Result<Cells<'b>, Reject> {
    let count = take_varint(rest)?;
    if count > MAX_CELLS as u64 {
        return Err(Reject::Corrupt);
    }
    let count = count as usize;
    // A cell takes at least a length, a byte and a nonce: a claim that the bytes cannot keep allocates nothing.
    if count * (2 + size_of::<Nonce>()) > rest.len() {
        return Err(Reject::Truncated);
    }
    let mut cells = Cells::with_capacity(count);
    for _ in 0..count {
        let len = take_varint(rest)?;
        if !(1..=MAX_NAME as u64).contains(&len) {
            return Err(Reject::Corrupt);
        }
        let name = take(rest, len as usize)?;
        cells.push((Cow::Borrowed(name), array(rest)?));
    }
    Ok(cells)
}

fn take<'b>(rest: &mut &'b [u8], len: usize) -> Result<&'b [u8], Reject> {
    let (taken, left) = rest.split_at_checked(len).ok_or(Reject::Truncated)?;
    *rest = left;
    Ok(taken)
}

fn byte(rest: &mut &[u8]) -> Result<u8, Reject> {
    array::<1>(rest).map(|[byte]| byte)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Reject> {
    let (taken, left) = rest.split_first_chunk().ok_or(Reject::Truncated)?;
    *rest = left;
    Ok(*taken)
}

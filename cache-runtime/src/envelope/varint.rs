//! Whole numbers in as few bytes as they need (LEB128).

use super::Reject;

/// Appends a number.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the front of `bytes`.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<u64, Reject> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Reject::Truncated)?;
        *bytes = rest;
        // The tenth byte has room for one bit.
        if shift == 63 && byte > 1 {
            return Err(Reject::Corrupt);
        }
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Reject::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_and_takes_as_few_bytes_as_it_needs() {
        for (number, len) in
            [(0, 1), (0x7F, 1), (0x80, 2), (0x3FFF, 2), (0x4000, 3), (u64::MAX >> 1, 9), (u64::MAX, 10)]
        {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(out.len(), len, "{number}");
            out.push(7);
            let mut rest = &out[..];
            assert_eq!((take_varint(&mut rest), rest), (Ok(number), &[7][..]));
        }
    }

    #[test]
    fn a_number_that_ends_early_or_has_more_than_64_bits_is_refused() {
        assert_eq!(take_varint(&mut &[][..]), Err(Reject::Truncated));
        assert_eq!(take_varint(&mut &[0xFF; 9][..]), Err(Reject::Truncated));
        let mut over = [0xFF; 10];
        for last in [0x02, 0x7F, 0x80, 0xFF] {
            over[9] = last;
            assert_eq!(take_varint(&mut &over[..]), Err(Reject::Corrupt), "{last:x}");
        }
    }
}

//! Which bytes of a value are written as `%XX`, and how they are found quickly. Pure; knows nothing of keys.

/// A byte that is written as it is.
const PLAIN: u8 = 0;
/// A byte that is always escaped.
const ESCAPE: u8 = 1;
/// The first byte of a character that may have to be escaped.
const LEAD: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [PLAIN; 256];
    let mut byte = 0;
    while byte < 0x20 {
        class[byte] = ESCAPE;
        byte += 1;
    }
    class[0x7F] = ESCAPE;
    let special = b":%*?[]{}\\";
    let mut i = 0;
    while i < special.len() {
        class[special[i] as usize] = ESCAPE;
        i += 1;
    }
    // C1 controls are C2 80..9F, U+061C is D8 9C, the other bidi controls begin with E2 80 and E2 81.
    class[0xC2] = LEAD;
    class[0xD8] = LEAD;
    class[0xE2] = LEAD;
    class
};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// `%XX` for `byte`.
#[inline]
pub(super) const fn escaped(byte: u8) -> [u8; 3] {
    [b'%', HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]
}

/// Whether nothing in `bytes` can need escaping. May say no for a text in which nothing does, never the other way round.
#[inline]
pub(super) fn all_plain(bytes: &[u8]) -> bool {
    // Without an early exit: for the lengths that values have, branches cost more than looking at every byte.
    bytes.iter().fold(PLAIN, |seen, &byte| seen | CLASS[usize::from(byte)]) == PLAIN
}

/// Position of the first byte at or after `from` that must be escaped, and how many bytes from there on.
#[inline]
pub(super) fn next_special(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        match CLASS[usize::from(byte)] {
            PLAIN => {}
            ESCAPE => return Some((at, 1)),
            _ => {
                if let Some(len) = control(&bytes[at..]) {
                    return Some((at, len));
                }
            }
        }
        at += 1;
    }
    None
}

/// Length of the non-ASCII control character that `bytes` begins with.
#[cold]
fn control(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0xC2, 0x80..=0x9F, ..] | [0xD8, 0x9C, ..] => Some(2),
        // U+200E U+200F, U+202A..U+202E; U+2066..U+2069
        [0xE2, 0x80, 0x8E | 0x8F | 0xAA..=0xAE, ..] | [0xE2, 0x81, 0xA6..=0xA9, ..] => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule as the documents state it, character by character.
    fn must_escape(c: char) -> bool {
        matches!(c, ':' | '%' | '*' | '?' | '[' | ']' | '{' | '}' | '\\')
            || c.is_control()
            || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    }

    #[test]
    #[cfg_attr(miri, ignore = "a million characters")]
    fn every_character_is_escaped_exactly_when_the_rule_says_so() {
        for c in '\0'..=char::MAX {
            let mut buf = [0; 4];
            let bytes = c.encode_utf8(&mut buf).as_bytes();
            let expected = must_escape(c).then_some((0, bytes.len()));
            assert_eq!(next_special(bytes, 0), expected, "{c:?}");
        }
    }

    #[test]
    fn escapes_are_upper_case_hex() {
        assert_eq!(&escaped(b':'), b"%3A");
        assert_eq!(&escaped(0xE2), b"%E2");
        assert_eq!(&escaped(0), b"%00");
    }
}

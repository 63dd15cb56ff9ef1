//! Glob patterns over keys: compiled once, matched on bytes, never slower than pattern times text. Pure.

use std::borrow::Cow;

use super::escape::escaped;
use super::writer::{self, OWN, RESERVED};

/// A compiled pattern.
///
/// Matching is by byte, as in Redis: `?` takes one byte of a character outside ASCII. No backtracking beyond the last `*`,
/// so a hostile pattern costs at most its length times the text's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Byte(u8),
    /// `?`
    One,
    /// `[..]`: a bit for every byte.
    Class(Box<[u64; 4]>),
    /// `*`
    Run,
}

impl Pattern {
    /// A pattern made from a template: `*` is any run of bytes, everything else stands for itself.
    #[must_use]
    pub fn wild(pattern: &[u8]) -> Self {
        let pattern = following_keys(pattern);
        let step = |&byte: &u8| if byte == b'*' { Step::Run } else { Step::Byte(byte) };
        Self::new(pattern.iter().map(step).collect())
    }

    /// A pattern given by a user, read as Redis reads it: `*`, `?`, `[abc]`, `[^a-z]` and `\x`.
    ///
    /// The corners are Redis' too: an unclosed class ends with the pattern, `]` directly after `[` closes it, a range may
    /// be given backwards, a `\` at the end stands for itself. One difference: `*` matches the empty text.
    #[must_use]
    pub fn glob(pattern: impl AsRef<[u8]>) -> Self {
        let pattern = following_keys(pattern.as_ref());
        let mut rest = &*pattern;
        let mut steps = Vec::new();
        while let [first, tail @ ..] = rest {
            rest = tail;
            steps.push(match (first, tail) {
                (b'*', _) => Step::Run,
                (b'?', _) => Step::One,
                (b'[', _) => {
                    let (class, tail) = class(tail);
                    rest = tail;
                    Step::Class(Box::new(class))
                }
                (b'\\', [escaped, tail @ ..]) => {
                    rest = tail;
                    Step::Byte(*escaped)
                }
                (byte, _) => Step::Byte(*byte),
            });
        }
        Self::new(steps)
    }

    /// Whether a key that was stored under `key` could have had a text that matches.
    ///
    /// Of a key that was shortened only the front is known, so every text that begins with it has to be thought of. For
    /// dropping, where one entry too many costs a load and one too few is a stale read.
    #[must_use]
    pub fn could_match(&self, key: &[u8]) -> bool {
        match writer::shortened(key) {
            Some(front) => self.matches(key) || self.begins(front),
            None => self.matches(key),
        }
    }

    /// Whether some text that begins with `front` matches: every step that is left can be taken by some text.
    fn begins(&self, front: &[u8]) -> bool {
        let mut at = vec![false; self.steps.len() + 1];
        at[0] = true;
        for &byte in front {
            let mut next = vec![false; at.len()];
            for step in 0..self.steps.len() {
                if !at[step] {
                    continue;
                }
                match &self.steps[step] {
                    // It takes the byte and stays, or nothing and goes on.
                    Step::Run => {
                        next[step] = true;
                        at[step + 1] = true;
                    }
                    one => next[step + 1] |= one.takes(byte),
                }
            }
            at = next;
        }
        at.contains(&true)
    }

    fn new(mut steps: Vec<Step>) -> Self {
        steps.dedup_by(|a, b| *a == Step::Run && *b == Step::Run);
        Self { steps: steps.into() }
    }

    /// The bytes that every text which could match begins with.
    pub(crate) fn literal_front(&self) -> Vec<u8> {
        // A key that was shortened keeps only its front: no more than that may be asked for.
        let literal = |step: &Step| if let Step::Byte(byte) = step { Some(*byte) } else { None };
        self.steps.iter().map_while(literal).take(writer::MAX_LOGICAL_LEN / 2).collect()
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn matches(&self, text: impl AsRef<[u8]>) -> bool {
        let text = text.as_ref();
        let (mut step, mut at) = (0, 0);
        // Where to go on when a step fails: after the last `*`, which then takes one byte more.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match (self.steps.get(step), text.get(at)) {
                (None, None) => return true,
                (Some(Step::Run), _) => {
                    step += 1;
                    if step == self.steps.len() {
                        return true;
                    }
                    retry = Some((step, at));
                }
                (Some(one), Some(&byte)) if one.takes(byte) => {
                    step += 1;
                    at += 1;
                }
                (_, None) => return false,
                _ => match &mut retry {
                    Some((after, from)) => {
                        *from += 1;
                        (step, at) = (*after, *from);
                    }
                    None => return false,
                },
            }
        }
    }
}

impl Step {
    #[inline]
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::One => true,
            Self::Class(bits) => bits[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1,
            Self::Run => false,
        }
    }
}

/// Keys never begin with `tenant-` but with `%74enant-` (see `KeyWriter::finish`), nor with `%+` but with `%25+` (see
/// `Key::raw`); a pattern that spells it follows them.
fn following_keys(pattern: &[u8]) -> Cow<'_, [u8]> {
    let changed = pattern.starts_with(RESERVED) || pattern.starts_with(OWN);
    if changed { [&escaped(pattern[0]), &pattern[1..]].concat().into() } else { pattern.into() }
}

/// Reads a class after its `[`; what follows its `]` comes back.
fn class(mut rest: &[u8]) -> ([u64; 4], &[u8]) {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut bits = [0_u64; 4];
    let mut add = |from: u8, to: u8| {
        for byte in from.min(to)..=from.max(to) {
            bits[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    };
    loop {
        match rest {
            [] => break,
            [b'\\', byte, tail @ ..] => {
                add(*byte, *byte);
                rest = tail;
            }
            [b']', tail @ ..] => {
                rest = tail;
                break;
            }
            [from, b'-', to, tail @ ..] => {
                add(*from, *to);
                rest = tail;
            }
            [byte, tail @ ..] => {
                add(*byte, *byte);
                rest = tail;
            }
        }
    }
    if negated {
        bits = bits.map(|word| !word);
    }
    (bits, rest)
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::reference;
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "a long pattern against a long text")]
    fn a_shortened_key_could_match_what_its_front_allows() {
        let mut w = crate::key::KeyWriter::new(0);
        w.lit(&"user:".repeat(100));
        w.finish();
        let key = w.as_bytes();
        let table = [("user:*", true), ("*", true), ("*x", true), ("u*r:*", true), ("org:*", false), ("user", false)];
        for (pattern, expected) in table {
            assert_eq!(Pattern::glob(pattern).could_match(key), expected, "{pattern}");
        }
        assert!(Pattern::glob("user:".repeat(100)).could_match(key), "the very text");
        assert!(!Pattern::glob("user:1").could_match(b"user:12"), "a key that was not shortened is what it is");
    }

    #[test]
    fn globs_match_as_in_redis() {
        // pattern, what matches, what does not
        let table: &[(&str, &[&str], &[&str])] = &[
            ("user:1", &["user:1"], &["user:12", "user:", "xuser:1", ""]),
            ("user:*", &["user:", "user:1", "user:1:x"], &["user", "auser:1"]),
            ("*:1", &[":1", "a:1", "a:1:1"], &["1", "a:12"]),
            ("**a**", &["a", "xa", "ax", "xax"], &["", "x"]),
            ("a*b*c", &["abc", "aXbXc", "abbcc", "abcbc"], &["ab", "acb", "abcX"]),
            ("*", &["", "a", "é"], &[]),
            ("?", &["a"], &["", "ab", "é"]),
            ("??", &["ab", "é"], &["a"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]),
            ("h[^e]llo", &["hallo", "h^llo"], &["hello"]),
            ("h[a-b]llo", &["hallo", "hbllo"], &["hcllo", "h-llo"]),
            ("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("[a-]x", &["a", "]", "_"], &["-x", "ax"]), // a range up to `]`, and then the class is not closed
            ("[]a]", &[], &["]", "a", "]a]", "a]"]),
            ("[^]", &["a", "]", "^"], &["", "ab"]),
            ("[abc", &["a", "c"], &["d", "[abc"]),
            ("[\\]]", &["]"], &["\\", "\\]"]),
            ("[\\^]", &["^"], &["\\"]),
            ("[a\\-c]", &["a", "-", "c"], &["b", "\\"]),
            ("[", &[], &["", "["]),
            ("\\*", &["*"], &["a", "\\*", ""]),
            ("\\a", &["a"], &["\\a"]),
            ("a\\", &["a\\"], &["a"]),
            ("", &[""], &["a"]),
            ("tenant-a:*", &["%74enant-a:1"], &["tenant-a:1"]),
            ("%+*", &["%25+all"], &["%+all"]),
        ];
        for (pattern, yes, no) in table {
            let compiled = Pattern::glob(pattern);
            for text in *yes {
                assert!(compiled.matches(text), "{pattern} should match {text}");
            }
            for text in *no {
                assert!(!compiled.matches(text), "{pattern} should not match {text}");
            }
        }
    }

    #[test]
    fn template_patterns_know_only_the_star() {
        let pattern = Pattern::wild(b"a?[b]\\:*");
        assert!(pattern.matches("a?[b]\\:x"));
        assert!(!pattern.matches("axb:x"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "ten million steps")]
    fn hostile_patterns_do_not_blow_up() {
        let pattern = Pattern::glob("*a".repeat(500) + "b");
        assert!(!pattern.matches("a".repeat(20_000)));
    }

    /// Every text over `alphabet` of at most `len` bytes.
    fn texts(alphabet: &[u8], len: usize) -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        let mut from = 0;
        for _ in 0..len {
            let to = all.len();
            for i in from..to {
                all.extend(alphabet.iter().map(|&byte| [all[i].as_slice(), &[byte]].concat()).collect::<Vec<_>>());
            }
            from = to;
        }
        all
    }

    #[test]
    #[cfg_attr(miri, ignore = "a hundred thousand patterns")]
    fn every_short_pattern_agrees_with_redis_own_algorithm() {
        let texts = texts(b"ab]-^\\", 2);
        for pattern in self::texts(b"ac*?[]^\\-", 5) {
            let compiled = Pattern::glob(&pattern);
            for text in texts.iter().filter(|text| !text.is_empty()) {
                assert_eq!(
                    compiled.matches(text),
                    reference(&pattern, text),
                    "{:?} {:?}",
                    String::from_utf8_lossy(&pattern),
                    String::from_utf8_lossy(text)
                );
            }
        }
    }
}

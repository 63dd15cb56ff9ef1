//! What one decoding leaves behind: a hash of what the type asked for, and how much of its limits is used. No serde here.

use std::cell::Cell;

/// How deep values may be nested. A level takes some kilobytes of stack in a debug build, and threads have two megabytes.
pub(super) const MAX_DEPTH: u8 = 128;

/// Elements that take no bytes (`Vec<()>`) are bounded too: so many more elements than bytes may be claimed.
const FREE_ELEMENTS: usize = 1 << 16;

/// What a type may ask for. The numbers are part of every stored fingerprint.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Mark {
    Any = 1,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    None,
    Some,
    Unit,
    UnitStruct,
    Newtype,
    Seq,
    Tuple,
    TupleStruct,
    Map,
    Struct,
    Enum,
    UnitVariant,
    NewtypeVariant,
    TupleVariant,
    StructVariant,
    Ignored,
    Skipped,
}

/// The record of one decoding.
pub(super) struct Tape {
    hash: Cell<u64>,
    /// How long the input is: no list has more elements, those aside that take no bytes.
    len: usize,
    /// Elements that may still be claimed.
    elements: Cell<usize>,
    /// Whether the type looked at the data to learn what it is.
    looked: Cell<bool>,
    /// Which limit ended the decoding, if one did.
    limit: Cell<Option<Limit>>,
}

/// A limit that a value may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// [`MAX_DEPTH`].
    Depth,
    /// More elements than bytes, and than are allowed without any.
    Elements,
}

impl Tape {
    pub(super) fn new(len: usize) -> Self {
        Self {
            hash: Cell::new(SEED),
            len,
            elements: Cell::new(len.saturating_add(FREE_ELEMENTS)),
            looked: Cell::new(false),
            limit: Cell::new(None),
        }
    }

    #[inline]
    pub(super) fn mark(&self, mark: Mark) {
        self.add(mark as u64);
    }

    #[inline]
    fn add(&self, word: u64) {
        self.hash.set(fold(self.hash.get(), word));
    }

    /// What is asked for with a number.
    #[inline]
    pub(super) fn mark_with(&self, mark: Mark, number: usize) {
        self.add((number as u64) << 8 | mark as u64);
    }

    /// What is asked for by the name of a type and the names in it.
    #[inline]
    pub(super) fn mark_names(&self, mark: Mark, name: &'static str, list: &'static [&'static str]) {
        self.add(names(name, list).wrapping_add(mark as u64));
    }

    /// Takes note of a list that says how long it is; `false`: so many elements cannot be in the input.
    #[inline]
    pub(super) fn claim(&self, elements: Option<usize>) -> bool {
        match self.elements.get().checked_sub(elements.unwrap_or(0)) {
            Some(left) => self.elements.set(left),
            None => self.pass(Limit::Elements),
        }
        self.limit.get().is_none()
    }

    #[cold]
    pub(super) fn pass(&self, limit: Limit) {
        self.limit.set(Some(limit));
    }

    pub(super) fn passed(&self) -> Option<Limit> {
        self.limit.get()
    }

    /// What a list may say about its length to whoever reserves room for it.
    #[inline]
    pub(super) fn bounded(&self, hint: Option<usize>) -> Option<usize> {
        hint.map(|hint| hint.min(self.len))
    }

    pub(super) fn look(&self) {
        self.looked.set(true);
        self.mark(Mark::Any);
    }

    /// Whether the type looked at the data to learn what it is, so that what it asks for further is not on this tape.
    pub(super) fn looked(&self) -> bool {
        self.looked.get()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.get()
    }
}

/// Digits of pi. These constants are part of every stored fingerprint.
const SEED: u64 = 0x243F_6A88_85A3_08D3;
const FACTOR: u64 = 0x1319_8A2E_0370_7345;

/// Both halves of a wide product, so that every bit of either factor reaches every bit of the result.
#[inline]
const fn product(a: u64, b: u64) -> u64 {
    let wide = a as u128 * b as u128;
    wide as u64 ^ (wide >> 64) as u64
}

/// Adds a word to a hash.
#[inline]
pub(super) const fn fold(hash: u64, word: u64) -> u64 {
    product(hash ^ word, FACTOR)
}

/// The hash of a text: one product for most names, since every element of a list has some.
#[inline]
pub(super) fn text(text: &str) -> u64 {
    let bytes = text.as_bytes();
    // Both ends, which overlap in a short text: nothing is copied to be padded.
    let (start, end) = if let (Some(start), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let start = u64::from_le_bytes(*start);
        (if bytes.len() > 16 { middle(start, bytes) } else { start }, u64::from_le_bytes(*end))
    } else if let (Some(start), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
        (u64::from(u32::from_le_bytes(*start)), u64::from(u32::from_le_bytes(*end)))
    } else {
        (bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)), 0)
    };
    // The length is spread over all bits, or it could stand for a change of a byte.
    product(start ^ SEED, end ^ FACTOR.wrapping_mul(2 * bytes.len() as u64 + 1))
}

/// What follows the first eight bytes of a long text.
#[cold]
fn middle(start: u64, bytes: &[u8]) -> u64 {
    let words = bytes[8..].chunks_exact(8);
    words.fold(fold(0, start), |hash, word| fold(hash, word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))))
}

/// The hash of names in their order.
#[inline]
fn names(name: &str, list: &[&str]) -> u64 {
    let hash = fold(text(name), list.len() as u64);
    list.iter().fold(hash, |hash, name| fold(hash, text(name)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_byte_of_a_text_counts_and_so_does_its_length() {
        let mut seen = HashSet::new();
        for len in 0..40 {
            let base = "a".repeat(len);
            assert!(seen.insert(text(&base)), "{len}");
            for at in 0..len {
                for other in ["b", "A", "\0"] {
                    let mut changed = base.clone();
                    changed.replace_range(at..=at, other);
                    assert!(seen.insert(text(&changed)), "{other:?} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn names_cannot_be_shifted_from_one_into_the_next() {
        let lists: [(&str, &[&str]); 7] = [
            ("a", &["b", "c"]),
            ("a", &["c", "b"]),
            ("a", &["bc"]),
            ("ab", &["c"]),
            ("a", &["", "bc"]),
            ("a", &["bc", ""]),
            ("", &["a", "b", "c"]),
        ];
        let hashes: HashSet<u64> = lists.iter().map(|(name, list)| names(name, list)).collect();
        assert_eq!(hashes.len(), lists.len());
    }
}

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
    Option,
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
    Identifier,
    Ignored,
    End,
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
    /// Hashes of names that were seen last: the elements of a list have the same ones.
    memo: [Cell<Memo>; 1 << MEMO_BITS],
}

const MEMO_BITS: u32 = 2;

/// A limit that a value may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// [`MAX_DEPTH`].
    Depth,
    /// More elements than bytes, and than are allowed without any.
    Elements,
}

/// Lists of names are known by where they are: they are `'static`.
#[derive(Clone, Copy, Default)]
struct Memo {
    name: (usize, usize),
    list: (usize, usize),
    hash: u64,
}

impl Tape {
    pub(super) fn new(len: usize) -> Self {
        Self {
            hash: Cell::new(SEED),
            len,
            elements: Cell::new(len.saturating_add(FREE_ELEMENTS)),
            looked: Cell::new(false),
            limit: Cell::new(None),
            memo: Default::default(),
        }
    }

    #[inline]
    pub(super) fn mark(&self, mark: Mark) {
        self.add(mark as u64);
    }

    #[inline]
    pub(super) fn add(&self, word: u64) {
        self.hash.set(fold(self.hash.get(), word));
    }

    /// The name of a type and the names in it.
    #[inline]
    pub(super) fn names(&self, name: &'static str, list: &'static [&'static str]) {
        let key = |at: *const u8, len: usize| (at.addr(), len);
        let (name_at, list_at) = (key(name.as_ptr(), name.len()), key(list.as_ptr().cast(), list.len()));
        let slot = (name_at.0 ^ list_at.0) as u64;
        let slot = &self.memo[(slot.wrapping_mul(FACTOR) >> (u64::BITS - MEMO_BITS)) as usize];
        let known = slot.get();
        let hash = if known.name == name_at && known.list == list_at && known.hash != 0 {
            known.hash
        } else {
            let hash = names(name, list);
            slot.set(Memo { name: name_at, list: list_at, hash });
            hash
        };
        self.add(hash);
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

/// Adds a word to a hash: both halves of a wide product, so that every bit of either reaches every bit of the result.
#[inline]
pub(super) const fn fold(hash: u64, word: u64) -> u64 {
    let wide = (hash ^ word) as u128 * FACTOR as u128;
    wide as u64 ^ (wide >> 64) as u64
}

/// The hash of a text.
pub(super) fn text(text: &str) -> u64 {
    let mut words = text.as_bytes().chunks_exact(8);
    let mut hash = fold(SEED, text.len() as u64);
    for word in &mut words {
        hash = fold(hash, word.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)));
    }
    fold(hash, words.remainder().iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
}

/// The hash of names in their order. Never 0.
fn names(name: &str, list: &[&str]) -> u64 {
    let hash = fold(text(name), list.len() as u64);
    list.iter().fold(hash, |hash, name| fold(hash, text(name))) | 1
}

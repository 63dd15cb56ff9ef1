//! [`KeyWriter`]: renders one key into a buffer on the stack. The hottest code of the project; what is not called on
//! every hit is marked cold and kept out of line.

use std::fmt;

use super::template::{fold, kind_name};
use super::{Key, KeyPart, escape};

/// Longest logical key in bytes; what is longer is shortened to its readable front and a 128-bit hash.
pub(crate) const MAX_LOGICAL_LEN: usize = 256;

/// Keys up to this many bytes, prefix included, are rendered without heap allocation.
const INLINE: usize = 128;
/// Value of `len` once the text has moved to `spill`: no range that begins here fits into the array.
const SPILLED: usize = INLINE + 1;
/// `%~` and 32 hex digits.
const DIGEST_LEN: usize = 34;
/// The first segment that tenants live under. Templates cannot begin with it; values and raw texts that do are changed.
pub(super) const RESERVED: &[u8] = b"tenant-";
/// What names that the cache makes for itself begin with. Nothing that is rendered can: `%` is escaped in values and refused
/// in templates. Raw texts that do are changed.
pub(super) const OWN: &[u8] = b"%+";

/// `00` to `99`.
const DIGITS: [[u8; 2]; 100] = {
    let mut digits = [[b'0'; 2]; 100];
    let mut i = 0;
    while i < 100 {
        digits[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    digits
};

const KIND_LOWER: u64 = kind_name("lower");
const KIND_UPPER: u64 = kind_name("upper");
const KIND_HASH: u64 = kind_name("hash");
const KIND_LEN: u64 = kind_name("len");
const KIND_DISPLAY: u64 = kind_name("display");
const KIND_TYPE: u64 = kind_name("type");

/// Renders a key: literal text, parts and, for patterns, wildcards.
///
/// Up to 128 bytes nothing is allocated. The bytes are UTF-8, which nothing on the hot path checks or needs.
#[derive(Clone)]
pub struct KeyWriter {
    bytes: [u8; INLINE],
    /// Bytes used, or [`SPILLED`].
    len: usize,
    /// The whole text, once it did not fit.
    spill: Vec<u8>,
    prefix_len: usize,
    template: u64,
    /// Has a wildcard, so it is matched and never looked up.
    pattern: bool,
}

impl KeyWriter {
    /// An empty key of the template with this [seed](super::template_seed); 0 for none.
    #[inline]
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { bytes: [0; INLINE], len: 0, spill: Vec::new(), prefix_len: 0, template: seed, pattern: false }
    }

    /// A key that begins with bytes which are not part of it: prefix, version and tenant, with their separators.
    ///
    /// `prefix` must be UTF-8, and is as safe as its maker: it is not escaped.
    #[inline]
    #[must_use]
    pub fn with_prefix(prefix: &[u8], seed: u64) -> Self {
        let mut w = Self::new(seed);
        w.prefix(prefix);
        w
    }

    /// [`with_prefix`](Self::with_prefix) in place, of a writer that is empty.
    #[inline]
    pub(crate) fn begin(&mut self, prefix: &Prefix) {
        if prefix.len <= Prefix::BLOCK {
            self.bytes[..Prefix::BLOCK].copy_from_slice(&prefix.block);
            self.len = prefix.len;
            self.prefix_len = prefix.len;
        } else {
            self.prefix(&prefix.text);
        }
    }

    /// More of the prefix; see [`with_prefix`](Self::with_prefix). Only before anything else.
    #[inline]
    pub(crate) fn prefix(&mut self, more: &[u8]) {
        self.push_unsized(more);
        self.prefix_len += more.len();
    }

    /// Literal text of the template.
    #[inline]
    pub fn lit(&mut self, text: &str) {
        self.push(text.as_bytes());
    }

    /// A value.
    #[inline]
    pub fn part<T: KeyPart + ?Sized>(&mut self, value: &T) {
        // Taken before, set after: whether a derived `write` calls `part` or `write` on its fields makes no difference.
        let template = fold(self.template, T::KIND);
        value.write(self);
        self.template = template;
    }

    /// A text in lower case (`<name:lower>`), character by character.
    #[inline]
    pub fn lower<T: AsRef<str> + ?Sized>(&mut self, text: &T) {
        self.template = fold(self.template, KIND_LOWER);
        self.chars(text.as_ref().chars().flat_map(char::to_lowercase));
    }

    /// A text in upper case (`<name:upper>`), character by character.
    #[inline]
    pub fn upper<T: AsRef<str> + ?Sized>(&mut self, text: &T) {
        self.template = fold(self.template, KIND_UPPER);
        self.chars(text.as_ref().chars().flat_map(char::to_uppercase));
    }

    /// 128 bits of the BLAKE3 hash of a value's rendering, as 32 hex digits (`<body:hash>`). The same on every machine.
    #[inline]
    pub fn hash<T: KeyPart + ?Sized>(&mut self, value: &T) {
        self.template = fold(fold(self.template, KIND_HASH), T::KIND);
        let mut rendering = Self::new(0);
        value.write(&mut rendering);
        self.push(&digest(rendering.as_bytes()));
    }

    /// A length (`<s:len>`).
    #[inline]
    pub fn len(&mut self, len: usize) {
        self.template = fold(self.template, KIND_LEN);
        self.integer(len as u64);
    }

    /// A value's `Display`, escaped (`<x:display>`). Distinct values whose text is the same share a key.
    ///
    /// # Panics
    ///
    /// If the value's `Display` returns an error, as [`ToString`] does: half a text could be another value's key.
    #[inline]
    pub fn display<T: fmt::Display + ?Sized>(&mut self, value: &T) {
        self.template = fold(self.template, KIND_DISPLAY);
        self.formatted(format_args!("{value}"));
    }

    /// The name of a type, with `::` written `.`, escaped.
    #[inline]
    pub fn type_name<T: ?Sized>(&mut self) {
        self.template = fold(self.template, KIND_TYPE);
        self.dotted(std::any::type_name::<T>());
    }

    /// Whose the function around `here` is, where its path does not say that: a trait's function, whose body several types may
    /// have, or one of a type with parameters.
    #[inline]
    pub fn owner<F: Fn()>(&mut self, _here: F) {
        let path = std::any::type_name::<F>();
        // What the path does not say is in angle brackets: `<Circle as Shape>::area`, `Repo<User>::all`.
        if path.contains('<') {
            self.lit(":");
            self.dotted(path.trim_end_matches("::{{closure}}"));
        }
    }

    /// A module path, with `::` written `.`.
    #[inline]
    pub fn module(&mut self, path: &'static str) {
        self.dotted(path);
    }

    /// A wildcard. Only patterns have one, and a pattern is not shortened.
    #[inline]
    pub fn any(&mut self) {
        self.pattern = true;
        self.push(b"*");
    }

    /// Begins a group.
    #[inline]
    pub fn open(&mut self) {
        self.push(b"%(");
    }

    /// Ends an item of a group.
    #[inline]
    pub fn end_item(&mut self) {
        self.push(b"%,");
    }

    /// Ends a group.
    #[inline]
    pub fn close(&mut self) {
        self.push(b"%)");
    }

    /// `None`.
    #[inline]
    pub fn none(&mut self) {
        self.push(b"%-");
    }

    /// Makes the text final: shortens what is over the limit, and keeps values out of the tenants' segment. Twice is as
    /// good as once.
    #[inline]
    pub fn finish(&mut self) {
        if !is_final(self.logical_bytes()) {
            self.finish_slowly();
        }
    }

    /// The text, prefix included.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.spill)
    }

    /// The text without the prefix.
    #[inline]
    #[must_use]
    pub fn logical_bytes(&self) -> &[u8] {
        self.as_bytes().get(self.prefix_len..).unwrap_or_default()
    }

    /// Identity of the template and of the kinds of the parts so far; 0 if it was made with 0.
    #[inline]
    #[must_use]
    pub fn template(&self) -> u64 {
        self.template
    }

    /// The finished logical key.
    #[must_use]
    pub fn into_key(mut self) -> Key {
        self.finish();
        Key::finished(&String::from_utf8_lossy(self.logical_bytes()), self.template)
    }

    /// Bytes of known length compile to a move or two.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let end = self.len.wrapping_add(bytes.len());
        if let Some(free) = self.bytes.get_mut(self.len..end) {
            free.copy_from_slice(bytes);
            self.len = end;
        } else {
            self.push_spilled(bytes);
        }
    }

    #[cold]
    #[inline(never)]
    fn push_spilled(&mut self, bytes: &[u8]) {
        if self.len != SPILLED {
            self.spill = Vec::with_capacity((self.len + bytes.len()).max(2 * INLINE));
            self.spill.extend_from_slice(&self.bytes[..self.len]);
            self.len = SPILLED;
        }
        self.spill.extend_from_slice(bytes);
    }

    /// Bytes of a length known only now. Short ones are copied as two overlapping blocks: a call of `memcpy` costs more.
    #[inline]
    fn push_unsized(&mut self, bytes: &[u8]) {
        let end = self.len.wrapping_add(bytes.len());
        match self.bytes.get_mut(self.len..end) {
            Some(free) => {
                copy(free, bytes);
                self.len = end;
            }
            None => self.push_spilled(bytes),
        }
    }

    /// Up to eight digits at once: they are written with what is behind them, which the next text overwrites.
    #[inline]
    pub(super) fn integer(&mut self, value: u64) {
        match self.bytes.get_mut(self.len..self.len.wrapping_add(8)) {
            Some(free) if value < 100_000_000 => {
                let (digits, count) = decimal(value);
                free.copy_from_slice(&digits);
                self.len += count;
            }
            _ => self.long_integer(value),
        }
    }

    /// Digits are written where they belong: a call of `memcpy` costs more.
    fn long_integer(&mut self, mut value: u64) {
        let count = value.checked_ilog10().unwrap_or(0) as usize + 1;
        let end = self.len + count;
        let Some(free) = self.bytes.get_mut(self.len..end) else {
            return self.wide_integer(value);
        };
        let mut pairs = free.rchunks_exact_mut(2);
        for pair in &mut pairs {
            pair.copy_from_slice(&DIGITS[(value % 100) as usize]);
            value /= 100;
        }
        if let [first] = pairs.into_remainder() {
            *first = DIGITS[(value % 100) as usize][1];
        }
        self.len = end;
    }

    #[cold]
    #[inline(never)]
    pub(super) fn wide_integer<I: itoa::Integer>(&mut self, value: I) {
        self.push(itoa::Buffer::new().format(value).as_bytes());
    }

    fn dotted(&mut self, path: &str) {
        let mut rest = path;
        while let Some(at) = rest.bytes().position(|byte| byte == b':') {
            let (front, back) = rest.split_at(at);
            self.escaped(front);
            rest = if let Some(tail) = back.strip_prefix("::") {
                self.push(b".");
                tail
            } else {
                self.push(&escape::escaped(b':'));
                &back[1..]
            };
        }
        self.escaped(rest);
    }

    /// A value's text, with what means something escaped.
    #[inline]
    pub(super) fn escaped(&mut self, text: &str) {
        let bytes = text.as_bytes();
        if escape::all_plain(bytes) {
            self.push_unsized(bytes);
        } else {
            self.escaped_slowly(bytes);
        }
    }

    #[cold]
    #[inline(never)]
    fn escaped_slowly(&mut self, bytes: &[u8]) {
        let mut done = 0;
        while let Some((at, len)) = escape::next_special(bytes, done) {
            self.push(&bytes[done..at]);
            done = at + len;
            for &byte in &bytes[at..done] {
                self.push(&escape::escaped(byte));
            }
        }
        self.push(&bytes[done..]);
    }

    pub(super) fn chars(&mut self, chars: impl Iterator<Item = char>) {
        for c in chars {
            self.escaped(c.encode_utf8(&mut [0; 4]));
        }
    }

    pub(super) fn formatted(&mut self, text: fmt::Arguments<'_>) {
        struct Escaping<'a>(&'a mut KeyWriter);
        impl fmt::Write for Escaping<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.escaped(text);
                Ok(())
            }
        }
        fmt::write(&mut Escaping(self), text).expect("a Display implementation returned an error unexpectedly");
    }

    #[cold]
    #[inline(never)]
    fn finish_slowly(&mut self) {
        let mut text = self.logical_bytes().to_vec();
        if text.starts_with(RESERVED) {
            text.splice(..1, escape::escaped(RESERVED[0]));
        }
        if text.len() > MAX_LOGICAL_LEN && !self.pattern {
            let digest = digest(&text);
            text.truncate(front(&text));
            text.extend_from_slice(b"%~");
            text.extend_from_slice(&digest);
        }
        let mut whole = self.as_bytes()[..self.prefix_len].to_vec();
        whole.extend_from_slice(&text);
        self.spill = whole;
        self.len = SPILLED;
    }
}

impl fmt::Debug for KeyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWriter")
            .field("text", &String::from_utf8_lossy(self.as_bytes()))
            .field("template", &format_args!("{:#018x}", self.template))
            .finish_non_exhaustive()
    }
}

/// The digits of a number below 10^8, followed by zeros, and how many they are.
///
/// All eight digits are computed side by side in one word, first in two halves, then in four pairs.
#[inline]
fn decimal(value: u64) -> ([u8; 8], usize) {
    let halves = (value / 10_000) | ((value % 10_000) << 32);
    // A multiplication and a shift divide each part; the masks drop what they leave in its neighbour.
    let hundreds = ((halves * 10_486) >> 20) & 0x7F_0000_007F;
    let pairs = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000F_000F_000F_000F;
    let digits = tens | ((pairs - tens * 10) << 8);
    // The first digit is in the lowest byte. A number has at least one digit, be it zero.
    let leading = (digits | (1 << 56)).trailing_zeros() / 8;
    (((digits >> (8 * leading)) | 0x3030_3030_3030_3030).to_le_bytes(), 8 - leading as usize)
}

/// What every key of a cache begins with, prepared for copying a block of known length.
#[derive(Clone)]
pub(crate) struct Prefix {
    block: [u8; Self::BLOCK],
    len: usize,
    text: Box<[u8]>,
}

impl Prefix {
    const BLOCK: usize = 32;

    pub(crate) fn new(text: &[u8]) -> Self {
        let mut block = [0; Self::BLOCK];
        let short = text.len().min(Self::BLOCK);
        block[..short].copy_from_slice(&text[..short]);
        Self { block, len: text.len(), text: text.into() }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prefix").field(&String::from_utf8_lossy(&self.text)).finish()
    }
}

/// Whether two keys are the same. Most have 16 to 32 bytes: two overlapping blocks cost less than a call of `memcmp`.
#[inline]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    let len = one.len();
    if len != other.len() {
        return false;
    }
    if !(16..=32).contains(&len) {
        return one == other;
    }
    let block = |of: &[u8], at: usize| of[at..at + 16].first_chunk().map(|block| u128::from_ne_bytes(*block));
    block(one, 0) == block(other, 0) && block(one, len - 16) == block(other, len - 16)
}

/// Copies between slices of one length.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    let len = to.len().min(from.len());
    match len {
        8..=16 => blocks::<8>(to, from, len),
        17..=32 => blocks::<16>(to, from, len),
        4..=7 => blocks::<4>(to, from, len),
        1..=3 => {
            to[0] = from[0];
            to[len / 2] = from[len / 2];
            to[len - 1] = from[len - 1];
        }
        _ => to.copy_from_slice(from),
    }
}

/// Copies `N..=2 * N` bytes as a first and a last block of `N`.
#[inline]
fn blocks<const N: usize>(to: &mut [u8], from: &[u8], len: usize) {
    to[..N].copy_from_slice(&from[..N]);
    to[len - N..len].copy_from_slice(&from[len - N..len]);
}

/// Whether a logical text is a key as it is: short enough and out of the tenants' segment.
#[inline]
pub(super) fn is_final(text: &[u8]) -> bool {
    // Single bytes first: the processor cannot forward what several short stores have just written to one wide load.
    let reserved = text.first() == Some(&b't') && text.get(6) == Some(&b'-') && text.starts_with(RESERVED);
    text.len() <= MAX_LOGICAL_LEN && !reserved
}

/// The readable front of a key that was shortened. No other text has the marker there.
pub(super) fn shortened(key: &[u8]) -> Option<&[u8]> {
    let front = key.len().checked_sub(DIGEST_LEN)?;
    key[front..].starts_with(b"%~").then(|| &key[..front])
}

/// How much of an over-long text stays: whole characters and whole escapes.
fn front(text: &[u8]) -> usize {
    let mut cut = MAX_LOGICAL_LEN - DIGEST_LEN;
    while cut > 0 && text[cut] & 0xC0 == 0x80 {
        cut -= 1;
    }
    match text[..cut] {
        [.., b'%'] => cut - 1,
        [.., b'%', byte] if byte.is_ascii_hexdigit() => cut - 2,
        _ => cut,
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hash = blake3::hash(bytes);
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(hash.as_bytes()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    hex
}

#[cfg(test)]
mod tests;

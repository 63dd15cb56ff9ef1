//! What reads bytes that others wrote, as targets for a fuzzer: each lies beside its subject, and is listed here. A target
//! panics where a promise is broken, and nowhere else.
//!
//! `fuzz/` runs them under libFuzzer; [`twin`] runs them on a stable compiler, on the corpus and what is near it.

#[cfg(test)]
mod twin;

#[cfg(test)]
pub(crate) use twin::{Dice, mutate};

/// A target: what it is called in `fuzz/corpus`, and what it does.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of the runtime's.
pub(crate) const TARGETS: &[Target] = &[
    ("decode", crate::codec::fuzz::decode),
    ("key", crate::key::fuzz::keys),
    ("pattern", crate::key::fuzz::pattern),
    ("url", crate::config::fuzz::url),
    ("config", crate::config::fuzz::config),
    #[cfg(feature = "redis")]
    ("answer", crate::redis::fuzz::answer),
];

/// Bytes to make values of. When they are over, all values are small.
pub(crate) struct Bytes<'d>(pub(crate) &'d [u8]);

impl Bytes<'_> {
    /// The next one.
    pub(crate) fn byte(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    /// Yes or no.
    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    /// A number of any size.
    pub(crate) fn number(&mut self) -> u64 {
        (0..self.below(9)).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// A text, mostly short.
    pub(crate) fn text(&mut self) -> String {
        let len = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(len);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    /// Something, or nothing.
    pub(crate) fn option<T>(&mut self, some: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| some(self))
    }
}

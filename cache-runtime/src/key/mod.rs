//! Keys: how values become text, how the text keeps values apart, and what a template is.
//!
//! Lives here: [`Key`], the renderer [`KeyWriter`], [`KeyPart`], escaping, template identity and glob patterns. May not live
//! here: tenants, prefixes (they arrive as bytes), stores, tasks, time.
//!
//! # Why keys cannot be confused
//!
//! - `:` separates segments and never occurs inside a value.
//! - `%` begins every escape (`%3A`) and every marker, and never occurs in a value or a template otherwise.
//! - Every part says when it ends: it is followed by `:`, `%,`, `%)` or the end, and contains none of them unescaped and
//!   unbalanced. So a rendering can be read back, which is what the property test does.
//!
//! | text | meaning |
//! |---|---|
//! | `%3A` | one byte of a value that would mean something (two upper-case hex digits) |
//! | `%-` | `None` |
//! | `%(` .. `%)` | a group: a list, a nested option, the fields of a variant |
//! | `%,` | the end of an item in a group, so that `[]` and `[""]` differ |
//! | `%~` | the text was over the limit; 32 hex digits of its BLAKE3 hash follow |
//! | `%+` | reserved for names that the cache makes for itself |

mod escape;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod part;
mod pattern;
mod template;
mod writer;

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use part::{KeyPart, PartShape};
pub use pattern::Pattern;
pub use template::{kind_name, mix, template_seed, template_seed_auto, template_seed_resource};
pub use writer::KeyWriter;
pub(crate) use writer::{Prefix, same};

/// The name of an entry: what a user reads, without prefix, version and tenant.
///
/// Cheap to clone. Two keys are equal when their texts are; the template they were made from does not take part, since
/// direct access by text (`cache.get("user:42")`) must find what a template stored.
///
/// # Limits
///
/// A text over 256 bytes keeps its readable front and ends in `%~` and a 128-bit hash of the whole, whichever way the key
/// was made, so both ways meet on one entry. A text that begins with `tenant-` is written `%74enant-`, since that segment
/// is where tenants live and no text may reach into one; one that begins with `%+`, where a shared backend has the cache's own
/// names, is written `%25+`.
///
/// # Examples
///
/// ```
/// use cache_runtime::Key;
///
/// let key = Key::from("user:42");
/// assert_eq!(key.as_str(), "user:42");
/// ```
#[derive(Clone)]
pub struct Key {
    text: Arc<str>,
    template: u64,
}

impl Key {
    /// A key with this text, taken as it is: `:` separates, nothing is escaped.
    ///
    /// Text that comes from outside belongs into `key!("user:<name>")` instead, which escapes it.
    ///
    /// ```
    /// use cache_runtime::{Key, key};
    ///
    /// let name = "a:b";
    /// assert_eq!(Key::new("user:a:b").as_str(), "user:a:b");
    /// assert_eq!(key!("user:<name>").as_str(), "user:a%3Ab");
    /// ```
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        Self::raw(text.as_ref())
    }

    /// The text.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Identity of the template this key was made from; 0 for a key given as text, which matches every template.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub const fn template(&self) -> u64 {
        self.template
    }

    /// A key of a text that [`KeyWriter::finish`] has seen.
    pub(crate) fn finished(text: &str, template: u64) -> Self {
        Self { text: Arc::from(text), template }
    }

    fn raw(text: &str) -> Self {
        if Self::is_final(text) {
            return Self::finished(text, 0);
        }
        let own = text.as_bytes().starts_with(writer::OWN);
        let mut w = KeyWriter::new(0);
        if own {
            w.push(&escape::escaped(b'%'));
        }
        w.lit(&text[usize::from(own)..]);
        w.into_key()
    }

    /// Whether a text is a key as it is.
    pub(crate) fn is_final(text: &str) -> bool {
        writer::is_final(text.as_bytes()) && !text.as_bytes().starts_with(writer::OWN)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", &*self.text)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Key {}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        &*self.text == other
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        &*self.text == *other
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As `str` hashes, because of `Borrow<str>`.
        self.text.hash(state);
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::raw(text)
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::raw(&text)
    }
}

impl From<&String> for Key {
    fn from(text: &String) -> Self {
        Self::raw(text)
    }
}

impl From<Cow<'_, str>> for Key {
    fn from(text: Cow<'_, str>) -> Self {
        Self::raw(&text)
    }
}

impl From<&Self> for Key {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_way_to_give_a_text_gives_the_same_key() {
        let owned = String::from("user:42");
        let key = Key::from("user:42");
        assert_eq!(key, Key::from(&owned));
        assert_eq!(key, Key::from(Cow::Borrowed("user:42")));
        assert_eq!(key, Key::from(owned));
        assert_eq!(key, "user:42");
        assert_eq!(key.template(), 0);
        assert_eq!(format!("{key} {key:?} {key:>9}"), "user:42 Key(\"user:42\")   user:42");
    }

    #[test]
    fn equality_ignores_the_template() {
        let mut w = KeyWriter::new(template_seed("user:<id>"));
        w.lit("user:");
        w.part(&42_u64);
        let key = w.into_key();
        assert_ne!(key.template(), 0);
        assert_eq!(key, Key::from("user:42"));
        let map = HashMap::from([(key, 1)]);
        assert_eq!(map.get("user:42"), Some(&1));
    }

    #[test]
    fn raw_text_over_the_limit_is_shortened_as_a_rendered_one_is() {
        let long = "x".repeat(1000);
        let mut w = KeyWriter::new(0);
        w.part(long.as_str());
        assert_eq!(Key::from(&long), w.into_key());
        assert!(Key::from(&long).as_str().len() <= writer::MAX_LOGICAL_LEN);
    }

    #[test]
    fn raw_text_cannot_be_a_name_of_the_caches_own() {
        assert_eq!(Key::from("%+all").as_str(), "%25+all");
        assert_eq!(Key::from("%+").as_str(), "%25+");
        assert_eq!(Key::from("%-:%+all").as_str(), "%-:%+all", "only what comes first is one");
        assert_eq!(Key::from(Key::from("%+all").as_str()).as_str(), "%25+all", "twice is once");
        assert!(Key::from(format!("%+{}", "x".repeat(400))).as_str().starts_with("%25+x"));
    }

    #[test]
    fn raw_text_cannot_reach_into_a_tenant() {
        assert_eq!(Key::from("tenant-a:user:1").as_str(), "%74enant-a:user:1");
        assert_eq!(Key::from("tenants:1").as_str(), "tenants:1");
        let long = format!("tenant-{}", "x".repeat(400));
        assert!(Key::from(long).as_str().starts_with("%74enant-x"));
    }
}

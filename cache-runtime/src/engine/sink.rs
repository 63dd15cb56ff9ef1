//! Where expansions say tags: what can be a tag, and the sinks that turn tags into cells.

use std::borrow::Cow;
use std::sync::Arc;

use super::core::Core;
use super::name::{self, Covers};
use crate::cell::{Cell, CellSet};
use crate::key::{Key, KeyWriter};
use crate::tags::Watch;
use crate::tenant::Tenant;

/// A tag: what entries are labelled with, so that they can be invalidated together.
///
/// Invalidating the tag `user:42` also drops the entry whose key is `user:42`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use cache_runtime::{Cache, Tag, key};
///
/// let cache = Cache::memory();
/// let user_id = 42_u64;
/// cache.set("k", 1_u64).tags([Tag::from(key!("user:<user_id>"))]).await?;
/// cache.invalidate(Tag::new("user:42")).await?;
/// assert!(!cache.exists("k").await?);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(Key);

impl Tag {
    /// A tag with this text, taken as it is. Escape what comes from outside with [`key!`](crate::key!).
    ///
    /// ```
    /// assert_eq!(cache_runtime::Tag::new("user:42").as_str(), "user:42");
    /// ```
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(Key::new(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<Key> for Tag {
    fn from(key: Key) -> Self {
        Self(key)
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One tag: [`Tag`], [`Key`], text, or a resource such as `user(42)`.
///
/// ```
/// use cache_runtime::{AsTag, Tag, key, resource};
///
/// resource! { user("user", user_id: u64); }
///
/// let user_id = 42_u64;
/// for tag in [&"user:42" as &dyn AsTag, &Tag::new("user:42"), &key!("user:<user_id>"), &user(42)] {
///     assert_eq!(tag.as_tag(), "user:42");
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tag",
    note = "a tag is text, a `Tag`, a `Key` (`key!(\"user:<user_id>\")`) or a resource (`user(42)`)"
)]
pub trait AsTag {
    /// The tag's text.
    fn as_tag(&self) -> &str;
}

impl AsTag for Tag {
    fn as_tag(&self) -> &str {
        self.as_str()
    }
}
impl AsTag for Key {
    fn as_tag(&self) -> &str {
        self.as_str()
    }
}
impl AsTag for str {
    fn as_tag(&self) -> &str {
        self
    }
}
impl AsTag for String {
    fn as_tag(&self) -> &str {
        self
    }
}
impl AsTag for Cow<'_, str> {
    fn as_tag(&self) -> &str {
        self
    }
}
impl<T: AsTag + ?Sized> AsTag for &T {
    fn as_tag(&self) -> &str {
        (**self).as_tag()
    }
}

/// Marks [`IntoTags`] of one tag.
#[derive(Debug)]
pub struct OneTag;
/// Marks [`IntoTags`] of several tags.
#[derive(Debug)]
pub struct ManyTags;

/// Tags: one of [`AsTag`], or anything that iterates over some (a `Vec`, an array, an `Option`, an iterator).
///
/// `M` is inferred.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let cache = cache_runtime::Cache::memory();
/// let maybe: Option<&str> = None;
/// cache.set("k", 1_u64).tags("one").tags(vec!["two".to_owned()]).tags(maybe).await?;
/// cache.invalidate((1..=3).map(|n| format!("number:{n}"))).await?;
/// assert!(cache.exists("k").await?);
/// cache.invalidate("two").await?;
/// assert!(!cache.exists("k").await?);
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` yields no tags",
    note = "tags are text, `Tag`, `Key`, resources such as `user(42)`, and whatever iterates over those"
)]
pub trait IntoTags<M> {
    /// Calls `each` with every tag's text.
    fn for_each_tag(self, each: &mut dyn FnMut(&str));
}

impl<T: AsTag> IntoTags<OneTag> for T {
    fn for_each_tag(self, each: &mut dyn FnMut(&str)) {
        each(self.as_tag());
    }
}

impl<I: IntoIterator> IntoTags<ManyTags> for I
where
    I::Item: AsTag,
{
    fn for_each_tag(self, each: &mut dyn FnMut(&str)) {
        for tag in self {
            each(tag.as_tag());
        }
    }
}

/// The bytes of a tag's final text: shortened like a key where it is long, so that both ways to say it meet.
pub(crate) fn canonical(text: &str) -> Cow<'_, [u8]> {
    if Key::is_final(text) {
        Cow::Borrowed(text.as_bytes())
    } else {
        Cow::Owned(Key::new(text).as_str().as_bytes().to_vec())
    }
}

/// Renders a template's text.
pub(crate) fn render(write: impl FnOnce(&mut KeyWriter)) -> KeyWriter {
    let mut writer = KeyWriter::new(0);
    write(&mut writer);
    writer.finish();
    writer
}

/// What is known of an entry before its load, by text: tags and namespace. Rendered at once, so that nothing of a call's
/// arguments has to outlive an await.
#[derive(Debug, Default)]
pub struct Early {
    /// Nothing is said where nothing will be stored.
    wanted: bool,
    pub(crate) tags: Texts,
    pub(crate) namespace: Option<Box<[u8]>>,
}

/// Texts of tags.
pub(crate) type Texts = smallvec::SmallVec<[Box<[u8]>; 2]>;

impl Early {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Takes the tags.
    pub fn tags(&mut self, say: impl FnOnce(&mut EarlyTags<'_>)) {
        if self.wanted {
            say(&mut EarlyTags(&mut self.tags));
        }
    }

    /// Takes the namespace by template.
    pub fn namespace(&mut self, write: impl FnOnce(&mut KeyWriter)) {
        if self.wanted {
            self.namespace = Some(render(write).as_bytes().into());
        }
    }

    /// Takes the namespace by expression.
    pub fn namespace_expr(&mut self, namespace: impl AsRef<str>) {
        self.namespace = Some(canonical(namespace.as_ref()).into());
    }
}

/// Takes an entry's tags by text; their cells are acquired when the load begins.
#[derive(Debug)]
pub struct EarlyTags<'e>(&'e mut Texts);

impl EarlyTags<'_> {
    /// A tag by template.
    pub fn tag(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.0.push(render(write).as_bytes().into());
    }

    /// Tags by expression.
    pub fn add<M>(&mut self, tags: impl IntoTags<M>) {
        tags.for_each_tag(&mut |tag| self.0.push(canonical(tag).into()));
    }
}

/// A cell and its name.
pub(crate) type NamedCell = (Box<[u8]>, Arc<Cell>);

/// Takes the tags of an entry. After the load, tags that were invalidated since it began refuse the fill.
#[derive(Debug)]
pub struct Tags<'t> {
    pub(crate) core: &'t Core,
    pub(crate) tenant: Option<&'t Tenant>,
    pub(crate) cells: &'t mut CellSet,
    /// Present once the load has run.
    pub(crate) watch: Option<&'t Watch>,
    pub(crate) refused: bool,
    /// Names and cells, for a write-through, which replaces them.
    pub(crate) named: Option<&'t mut Vec<NamedCell>>,
    /// The texts alone, where the entry is on a shared backend.
    pub(crate) texts: Option<&'t mut Texts>,
}

impl<'t> Tags<'t> {
    pub(crate) fn new(
        core: &'t Core,
        tenant: Option<&'t Tenant>,
        cells: &'t mut CellSet,
        watch: Option<&'t Watch>,
    ) -> Self {
        Self { core, tenant, cells, watch, refused: false, named: None, texts: None }
    }

    /// A tag by template.
    pub fn tag(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.push(render(write).as_bytes());
    }

    /// Tags by expression.
    pub fn add<M>(&mut self, tags: impl IntoTags<M>) {
        tags.for_each_tag(&mut |tag| self.push(&canonical(tag)));
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        if let Some(texts) = &mut self.texts {
            texts.push(text.into());
            return;
        }
        let name = name::cell(Covers::Tag, self.tenant, text);
        let cell = match self.watch {
            None => self.core.cells.acquire(&name),
            Some(watch) => match watch.acquire(&name) {
                Some(cell) => cell,
                None => {
                    self.refused = true;
                    return;
                }
            },
        };
        if let Some(named) = &mut self.named {
            named.push((name.as_slice().into(), Arc::clone(&cell)));
        }
        self.cells.push(cell);
    }
}

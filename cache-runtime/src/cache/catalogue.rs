//! The catalogue: every annotated function and every mounted layer of the program, and what is wrong between them.

use std::collections::BTreeSet;
use std::fmt;

use crate::engine::call::Call;
use crate::site::{KeyText, Site, SiteKind, UNKNOWN};
use crate::stats::FunctionStats;

/// Every annotated function of the program that was linked, in the order of file and line, and every layer of an HTTP service
/// that was mounted so far.
///
/// ```standalone_crate
/// // In a test suite: a misspelt tag is a failing test.
/// let problems = cache_runtime::catalogue().problems();
/// assert!(problems.is_empty(), "{problems}");
/// ```
#[must_use]
pub fn catalogue() -> Catalogue {
    let mut functions: Vec<_> = Site::all().map(Function).collect();
    functions.sort_by_key(|function| (function.0.file, function.0.line, function.0.name));
    functions.dedup_by_key(|function| std::ptr::from_ref(function.0));
    Catalogue { functions, allowed: BTreeSet::new() }
}

/// See [`catalogue`].
///
/// ```standalone_crate
/// use cache_runtime::{cache_read, catalogue};
///
/// #[cache_read(key = "price:<id>", ttl = "5m")]
/// async fn price(id: u64) -> u64 {
///     id * 10
/// }
///
/// let catalogue = catalogue();
/// assert_eq!(catalogue.functions().len(), 1);
/// assert!(catalogue.to_string().contains("key price:<id>  ttl 5m")); // for people
/// ```
#[derive(Clone, Debug)]
pub struct Catalogue {
    functions: Vec<Function>,
    allowed: BTreeSet<String>,
}

/// One annotated function, or one layer of an HTTP service (`CacheLayer`), which has its name, where it was made, and the module
/// `http`.
///
/// ```standalone_crate
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use cache_runtime::{Cache, SiteKind, cache_read, cache_write, catalogue};
///
/// #[cache_read(key = "price:<id>", ttl = "5m", tags = ["prices"])]
/// async fn price(id: u64) -> u64 {
///     id * 10
/// }
///
/// #[cache_write(tags = ["prices"], recache = [price(id)])]
/// async fn set_price(id: u64) {}
///
/// let all = catalogue();
/// let [read, write] = all.functions() else { panic!("there are two functions") };
/// println!("{} at {}:{} in {}", read.path(), read.file(), read.line(), read.module());
/// assert_eq!((read.name(), read.kind()), ("price", SiteKind::Read));
/// assert_eq!((read.key().as_deref(), read.ttl().as_str()), (Some("price:<id>"), "5m"));
/// assert_eq!((read.tags(), read.value()), (["prices"].as_slice(), Some("u64")));
/// assert_eq!((write.key(), write.recaches()), (None, ["price"].as_slice()));
///
/// Cache::memory().scope(async {
///     price(1).await;
///     assert_eq!(read.stats().loads, 1);
/// }).await;
/// # Ok::<(), cache_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Function(pub(crate) &'static Site);

impl Function {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Module and name, with the type of a method and the function around an inner one: what
    /// [`CacheStats::functions`](crate::CacheStats::functions) calls it.
    #[must_use]
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// What the current cache did for it.
    #[must_use]
    pub fn stats(&self) -> FunctionStats {
        Call::current(self.0).stats()
    }

    /// Its module.
    #[must_use]
    pub fn module(&self) -> &'static str {
        self.0.module
    }

    /// Where its attribute is.
    #[must_use]
    pub fn file(&self) -> &'static str {
        self.0.file
    }

    /// Where its attribute is.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.0.line
    }

    /// Which attribute it has.
    #[must_use]
    pub fn kind(&self) -> SiteKind {
        self.0.kind
    }

    /// Its key template; `None` for writes, `*` where it is computed.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        self.0.key_text()
    }

    /// Its tag templates; `*` stands for an expression. A read without any is tagged with its key.
    #[must_use]
    pub fn tags(&self) -> &'static [&'static str] {
        self.0.tags
    }

    /// How long its entries live, in words.
    #[must_use]
    pub fn ttl(&self) -> String {
        let options = &self.0.options;
        if options.dynamic_life {
            return "computed".to_owned();
        }
        match options.life {
            crate::policy::Lifetime::Bucket(bucket) => format!("{bucket:?}").to_lowercase(),
            crate::policy::Lifetime::For(span) => crate::duration::spoken(span),
            crate::policy::Lifetime::Forever => "forever".to_owned(),
        }
    }

    /// The type it stores; of generic functions and methods, once they have run.
    #[must_use]
    pub fn value(&self) -> Option<&'static str> {
        self.0.value_name()
    }

    /// The functions whose entries it recaches.
    #[must_use]
    pub fn recaches(&self) -> &'static [&'static str] {
        self.0.recaches
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.path(), self.file(), self.line())
    }
}

impl Catalogue {
    /// The functions.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Declares a tag that writes here may invalidate although no function here carries it: another service does.
    ///
    /// ```standalone_crate
    /// # use cache_runtime::{cache_write, catalogue};
    /// #[cache_write(tags = ["invoice:<id>"])] // another service caches invoices
    /// async fn pay(id: u64) {}
    ///
    /// assert_eq!(catalogue().problems().len(), 1);
    /// assert!(catalogue().allow("invoice:<id>").problems().is_empty());
    /// ```
    #[must_use]
    pub fn allow(mut self, tag: impl AsRef<str>) -> Self {
        self.allowed.insert(anonymous(tag.as_ref()));
        self
    }

    /// What is wrong between the functions.
    ///
    /// - A write invalidates a tag that nothing carries: misspelt, as a rule. Tags by expression count as unknown, and
    ///   resources cannot be misspelt.
    /// - Two functions have one key and store different types: they drop each other's entries.
    /// - Two templates can make the same key text: `user:<a>:<b>` and `user:profile:<id>`. They never see each other's
    ///   values, but drop each other's entries.
    /// - A write-through names a key (`put = "user:<user_id>"`) whose reader has tags: its entry would not have them.
    ///
    /// ```standalone_crate
    /// # use cache_runtime::{cache_read, cache_write, catalogue};
    /// #[cache_read(key = "user:<id>")]
    /// async fn get_user(id: u64) -> u64 {
    ///     id
    /// }
    ///
    /// #[cache_write(tags = ["usr:<id>"])]
    /// async fn rename(id: u64) {}
    ///
    /// let problems = catalogue().problems().to_string();
    /// assert!(problems.contains("invalidates the tag `usr:<id>`, which no cached function carries"));
    /// ```
    #[must_use]
    pub fn problems(&self) -> Problems {
        let mut found = Vec::new();
        self.tags_nobody_carries(&mut found);
        self.keys_that_meet(&mut found);
        self.puts_without_tags(&mut found);
        Problems { found }
    }

    fn tags_nobody_carries(&self, found: &mut Vec<Problem>) {
        let mut carried = BTreeSet::new();
        let mut unknown = false;
        let reads = self.functions.iter().filter(|function| function.kind() != SiteKind::Write);
        for function in reads.clone() {
            carried.extend(function.tags().iter().map(|tag| anonymous(tag)));
            unknown |= function.tags().contains(&UNKNOWN);
            // Invalidating a tag drops the entry of that name, too.
            carried.extend(function.key().map(|key| anonymous(&key)));
            if let KeyText::Resource(template, _) = function.0.key {
                carried.insert(anonymous(template));
            }
        }
        let names: Vec<String> =
            reads.flat_map(|function| function.tags().iter().map(|tag| (*tag).to_owned())).collect();
        for function in self.functions.iter().filter(|function| function.kind() == SiteKind::Write) {
            for tag in function.tags().iter().filter(|tag| **tag != UNKNOWN) {
                let plain = anonymous(tag);
                if !carried.contains(&plain) && !self.allowed.contains(&plain) && !self.allowed.contains(*tag) {
                    found.push(Problem {
                        kind: ProblemKind::TagNobodyCarries,
                        function: *function,
                        text: format!(
                            "{function} invalidates the tag `{tag}`, which no cached function carries{}{}",
                            closest(tag, &names).map(|near| format!("; `{near}` is close")).unwrap_or_default(),
                            if unknown { " (tags by expression are not known here)" } else { "" },
                        ),
                    });
                }
            }
        }
    }

    /// A write-through by key knows nothing of the reader's tags: what invalidates those would not reach its entry.
    fn puts_without_tags(&self, found: &mut Vec<Problem>) {
        for write in &self.functions {
            let Some(put) = write.0.put.filter(|put| *put != UNKNOWN).map(anonymous) else { continue };
            let meets = |read: &&Function| {
                let key = read.key().map(|key| anonymous(&key));
                let tagged = read.tags().iter().any(|tag| Some(anonymous(tag)) != key);
                read.kind() != SiteKind::Write && key.as_ref() == Some(&put) && tagged
            };
            if let Some(read) = self.functions.iter().find(meets) {
                found.push(Problem {
                    kind: ProblemKind::PutWithoutTags,
                    function: *write,
                    text: format!(
                        "{write} puts its result under a key whose reader {read} has tags ({}): write `put = {}(..)`, \
                         which brings them along",
                        read.tags().join(", "),
                        read.name(),
                    ),
                });
            }
        }
    }

    fn keys_that_meet(&self, found: &mut Vec<Problem>) {
        let keyed: Vec<(Function, String)> = self
            .functions
            .iter()
            .filter(|function| function.kind() != SiteKind::Write)
            .filter_map(|function| function.key().filter(|key| key != UNKNOWN).map(|key| (*function, key)))
            .collect();
        for (index, (one, key)) in keyed.iter().enumerate() {
            for (other, other_key) in &keyed[index + 1..] {
                if anonymous(key) == anonymous(other_key) {
                    if let (Some(a), Some(b)) = (one.value(), other.value())
                        && a != b
                    {
                        found.push(Problem {
                            kind: ProblemKind::TypesDiffer,
                            function: *other,
                            text: format!("{one} stores `{a}` and {other} stores `{b}` under one key, `{key}`"),
                        });
                    }
                } else if overlaps(key, other_key) {
                    found.push(Problem {
                        kind: ProblemKind::KeysOverlap,
                        function: *other,
                        text: format!("the keys `{key}` of {one} and `{other_key}` of {other} can be the same text"),
                    });
                }
            }
        }
    }
}

impl fmt::Display for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for function in &self.functions {
            write!(f, "{:<12}{:<24}", function.0.made_by(), function.name())?;
            if let Some(key) = function.key() {
                write!(f, " key {key}  ttl {}", function.ttl())?;
            }
            if !function.tags().is_empty() {
                let verb = if function.kind() == SiteKind::Write { "invalidates" } else { "tags" };
                write!(f, "  {verb} {}", function.tags().join(", "))?;
            }
            if !function.recaches().is_empty() {
                write!(f, "  recaches {}", function.recaches().join(", "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// What a [`Problem`] is about.
///
/// ```standalone_crate
/// use cache_runtime::{ProblemKind, cache_write, catalogue};
///
/// #[cache_write(tags = ["invoice:<id>"])]
/// async fn pay(id: u64) {}
///
/// for problem in catalogue().problems() {
///     match problem.kind() {
///         ProblemKind::TagNobodyCarries => println!("misspelt? {problem}"),
///         _ => panic!("{problem}"),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A write invalidates a tag that no read carries.
    TagNobodyCarries,
    /// Two functions store different types under one key.
    TypesDiffer,
    /// Two different templates can make the same text.
    KeysOverlap,
    /// A write-through by key has none of the reader's tags.
    PutWithoutTags,
}

/// One thing that is wrong.
///
/// ```standalone_crate
/// use cache_runtime::{ProblemKind, cache_write, catalogue};
///
/// #[cache_write(tags = ["invoice:<id>"])]
/// async fn pay(id: u64) {}
///
/// let problems = catalogue().problems();
/// assert_eq!(problems[0].kind(), ProblemKind::TagNobodyCarries);
/// assert_eq!(problems[0].function().name(), "pay");
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    function: Function,
    text: String,
}

impl Problem {
    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// The function to look at.
    #[must_use]
    pub fn function(&self) -> Function {
        self.function
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is wrong. Empty in a sound program; reads as a list.
///
/// ```standalone_crate
/// let problems = cache_runtime::catalogue().problems();
/// for problem in problems.iter() {
///     println!("{problem}");
/// }
/// assert!(problems.is_empty(), "{problems}");
/// ```
#[derive(Clone, Debug)]
pub struct Problems {
    found: Vec<Problem>,
}

impl Problems {
    /// Leaves out what is said about a tag that another service carries.
    ///
    /// ```standalone_crate
    /// # use cache_runtime::{cache_write, catalogue};
    /// #[cache_write(tags = ["invoice:<id>"])] // another service caches invoices
    /// async fn pay(id: u64) {}
    ///
    /// assert!(catalogue().problems().allow("invoice:<id>").is_empty());
    /// ```
    #[must_use]
    pub fn allow(mut self, tag: impl AsRef<str>) -> Self {
        let allowed = anonymous(tag.as_ref());
        self.found.retain(|problem| {
            problem.kind != ProblemKind::TagNobodyCarries
                || !problem
                    .function
                    .tags()
                    .iter()
                    .any(|tag| anonymous(tag) == allowed && problem.text.contains(&format!("`{tag}`")))
        });
        self
    }
}

impl std::ops::Deref for Problems {
    type Target = [Problem];
    fn deref(&self) -> &[Problem] {
        &self.found
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.found.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// A template without its parameters' names: `user:<user_id>` and `user:<id>` are one tag.
fn anonymous(template: &str) -> String {
    let mut text = String::with_capacity(template.len());
    for piece in pieces(template) {
        match piece {
            Piece::Literal(literal) => text.push_str(&literal),
            Piece::Value(modifier) => {
                text.push('\u{1}');
                text.push_str(modifier);
                text.push('\u{2}');
            }
        }
    }
    text
}

enum Piece<'t> {
    Literal(String),
    /// A placeholder, with its modifier.
    Value(&'t str),
}

/// Takes a checked template apart. What does not parse stays literal.
fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        let doubled = rest.len() > 1 && rest[1..].starts_with(first) && "<>{}".contains(first);
        let close = match first {
            '<' => '>',
            '{' => '}',
            _ => '\0',
        };
        if doubled {
            literal.push(first);
            rest = &rest[2..];
        } else if let Some(end) = (close != '\0').then(|| rest.find(close)).flatten() {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Value(rest[1..end].split_once(':').map_or("", |(_, modifier)| modifier)));
            rest = &rest[end + 1..];
        } else {
            literal.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

/// Whether two templates can make the same text: segment by segment, a placeholder can be any text without `:`.
fn overlaps(one: &str, other: &str) -> bool {
    let split = |template: &str| anonymous(template).split(':').map(ToOwned::to_owned).collect::<Vec<_>>();
    let (one, other) = (split(one), split(other));
    one.len() == other.len() && one.iter().zip(&other).all(|(a, b)| segment_meets(a, b))
}

fn segment_meets(one: &str, other: &str) -> bool {
    let parts = |segment: &str| -> Option<(String, String)> {
        let start = segment.find('\u{1}')?;
        let end = segment.rfind('\u{2}')?;
        Some((segment[..start].to_owned(), segment[end + '\u{2}'.len_utf8()..].to_owned()))
    };
    match (parts(one), parts(other)) {
        (None, None) => one == other,
        (Some((before, after)), None) => fits(&before, &after, other),
        (None, Some((before, after))) => fits(&before, &after, one),
        (Some((a, b)), Some((c, d))) => {
            (a.starts_with(&c) || c.starts_with(&a)) && (b.ends_with(&d) || d.ends_with(&b))
        }
    }
}

fn fits(before: &str, after: &str, text: &str) -> bool {
    text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
}

/// The most alike of `names`, if any is alike.
fn closest<'n>(wanted: &str, names: &'n [String]) -> Option<&'n str> {
    let distance = |name: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (wanted.chars().collect(), name.chars().collect());
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let substituted = diagonal + usize::from(x != y);
                diagonal = row[j + 1];
                row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
            }
        }
        row[b.len()]
    };
    names
        .iter()
        .map(|name| (distance(name), name.as_str()))
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_can_make_one_text_overlap() {
        let table = [
            ("user:<a>", "user:<b>", true),
            ("user:<a>", "user:profile", true),
            ("user:<a>:x", "user:<a>:y", false),
            ("user:<a>", "org:<a>", false),
            ("user:<a>", "user:<a>:<b>", false),
            ("u-<a>", "u-x-<a>", true),
            ("u-<a>", "v-<a>", false),
            ("<a>-x", "<a>-y", false),
            ("user:profile:<id>", "user:<a>:<b>", true),
        ];
        for (one, other, expected) in table {
            assert_eq!(overlaps(one, other), expected, "{one} and {other}");
            assert_eq!(overlaps(other, one), expected, "{other} and {one}");
        }
    }

    #[test]
    fn parameter_names_do_not_tell_tags_apart_and_modifiers_do() {
        assert_eq!(anonymous("user:<user_id>"), anonymous("user:{id}"));
        assert_eq!(anonymous("user:<user_id>"), anonymous("user:<result.id>"));
        assert_ne!(anonymous("user:<name>"), anonymous("user:<name:lower>"));
        assert_ne!(anonymous("user:<<a>>"), anonymous("user:<a>"));
    }
}

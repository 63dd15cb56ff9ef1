//! How mistakes are collected and worded. Nothing here knows an option or a rule.
//!
//! Every mistake of one item is reported in the same compile, so nothing returns early: steps push into [`Errors`] and
//! the entry point asks once, at the end.

use std::fmt::Write as _;
use std::ops::Range;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The mistakes found so far in one macro invocation.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    list: Vec<syn::Error>,
}

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.list.push(error);
    }

    /// Reports at all of `tokens`.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl Into<String>) {
        self.list.push(syn::Error::new_spanned(tokens, message.into()));
    }

    pub(crate) fn span(&mut self, span: Span, message: impl Into<String>) {
        self.list.push(syn::Error::new(span, message.into()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Keeps the value of a step that succeeded, and the error of one that did not.
    pub(crate) fn keep<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.list.push(error)).ok()
    }

    /// One `compile_error!` per mistake; valid as items, as statements and inside an `impl`.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.list.into_iter().map(|error| error.to_compile_error()).collect()
    }
}

/// A message of several lines, laid out to line up under rustc's `error: `.
#[derive(Debug)]
pub(crate) struct Message {
    text: String,
    spaced: bool,
}

impl Message {
    pub(crate) fn new(headline: impl Into<String>) -> Self {
        Self { text: headline.into(), spaced: false }
    }

    /// Shows `literal` with carets under `range` (bytes), since a span inside of a literal needs a nightly compiler.
    pub(crate) fn drawn(mut self, literal: &str, range: &Range<usize>, label: &str) -> Self {
        let show = |part: &str| part.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
        let before = show(literal.get(..range.start).unwrap_or_default());
        let marked = show(literal.get(range.clone()).unwrap_or_default());
        let width = marked.chars().count().max(1);
        let indent = " ".repeat(before.chars().count());
        let carets = "^".repeat(width);
        let _ = write!(self.text, "\n\n    {}\n    {indent}{carets} {label}\n", show(literal));
        self.spaced = false;
        self
    }

    pub(crate) fn help(self, text: impl AsRef<str>) -> Self {
        self.line("help", text.as_ref())
    }

    pub(crate) fn note(self, text: impl AsRef<str>) -> Self {
        self.line("note", text.as_ref())
    }

    fn line(mut self, label: &str, text: &str) -> Self {
        if !self.spaced {
            self.text.push('\n');
            self.spaced = true;
        }
        let _ = writeln!(self.text, "{label}: {text}");
        self
    }

    pub(crate) fn build(self) -> String {
        self.text.trim_end().to_owned()
    }
}

impl From<Message> for String {
    fn from(message: Message) -> Self {
        message.build()
    }
}

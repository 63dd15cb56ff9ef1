//! What an attribute means, once everything was checked. Only valid states can be written down here.
//!
//! The expansion reads nothing else: no option, no literal, no rule.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream};
use syn::{Expr, Path};

use crate::args::Ttl;
use crate::template::Modifier;

/// A function in front of which a cache stands.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) common: Common,
    pub(crate) memoize: bool,
    pub(crate) key: Key,
    pub(crate) namespace: Option<Text>,
    pub(crate) ttl: Option<Ttl>,
    /// What a dynamic ttl mentions.
    pub(crate) ttl_uses: Uses,
    pub(crate) tags: Vec<Element>,
    pub(crate) bypass: Option<Expr>,
    pub(crate) store_if: Option<OfValue>,
    pub(crate) store_unless: Option<OfValue>,
    pub(crate) batch: Option<Batch>,
    pub(crate) settings: Vec<Setting>,
    /// `on_error = fail`, or `timeout`: an error of the cache may be returned. With the place of the return type.
    pub(crate) fails: Option<Span>,
    /// Whether the call fails where the cache cannot be used, before it looks anything up.
    pub(crate) fails_first: bool,
    /// Whether values are refreshed before they expire or served after, and where loads then run.
    pub(crate) aging: Aging,
    /// Whether calls that were answered from the cache may be checked against the source.
    pub(crate) monitored: bool,
    /// Whether errors are kept where entries are, which may be another process.
    pub(crate) keeps_errors: bool,
    /// What options ask of the return type: the runtime's evidence, and the option's place.
    pub(crate) evidence: Vec<(&'static str, Span)>,
    /// Parameters that key, namespace or `cache` name: what the verbs take.
    pub(crate) selecting: Uses,
    /// Those of `selecting` and whatever else storing a value mentions.
    pub(crate) storing: Uses,
}

/// What becomes of a load besides running it to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aging {
    /// Nothing.
    None,
    /// It may be given up, or an old value be returned in its place.
    Here,
    /// It may go on in the background, and owns what it needs.
    Anywhere,
}

/// A function after which entries are no longer valid.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) common: Common,
    pub(crate) tags: Vec<Element>,
    pub(crate) keys: Vec<Element>,
    pub(crate) namespaces: Vec<Element>,
    pub(crate) patterns: Vec<Element>,
    pub(crate) put: Option<Put>,
    pub(crate) recache: Vec<Call>,
    pub(crate) concurrency: usize,
    pub(crate) background: bool,
    pub(crate) settings: Vec<Setting>,
    pub(crate) fails: Option<Span>,
}

/// What reading and writing share.
#[derive(Debug)]
pub(crate) struct Common {
    /// The runtime crate.
    pub(crate) runtime: Path,
    pub(crate) place: Place,
    pub(crate) cache: Option<Expr>,
}

/// Where the generated functions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A type of the function's name, beside it.
    Name,
    /// Further functions of the same `impl`.
    Method,
    /// Nowhere: everything stands in the function's own body.
    Inline,
}

/// One entry for each element of a parameter.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) element: Ident,
    /// The index of the parameter that holds the elements, and its binding.
    pub(crate) param: usize,
    pub(crate) elements: Ident,
    pub(crate) by: Option<Expr>,
}

/// Where the value lives.
#[derive(Debug)]
pub(crate) enum Key {
    Text(Text),
    /// Module, function and these parts.
    Auto(Text, Vec<String>),
    Resource(Resource),
    /// A function or closure over these arguments.
    Computed(Expr, Vec<TokenStream>),
}

/// `user(user_id)`, perhaps with a suffix.
#[derive(Debug)]
pub(crate) struct Resource {
    /// The resource's type.
    pub(crate) path: Path,
    pub(crate) arguments: TokenStream,
    pub(crate) suffix: String,
    pub(crate) uses: Uses,
}

/// A template whose placeholders have been found.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    /// As the catalogue shows it: `<x>` for every spelling of a placeholder.
    pub(crate) canonical: String,
    pub(crate) segments: Vec<Segment>,
    pub(crate) uses: Uses,
}

#[derive(Debug, Clone)]
pub(crate) enum Segment {
    Lit(String),
    /// `*` in a pattern.
    Any,
    TypeName(Ident),
    /// The type whose function it is, where that can only be asked of the compiler.
    Owner,
    Part(Part),
}

/// A value in a key.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) source: Source,
    /// `.org.id`, with the spans that field errors shall have.
    pub(crate) fields: TokenStream,
    pub(crate) modifier: Modifier,
    /// Where an unusable type is reported: first and last token.
    pub(crate) blame: (Span, Span),
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Param(usize, Ident),
    SelfValue(Ident),
    Const(Ident),
    Element(Ident),
    Result,
    Expr(TokenStream),
}

/// What a piece of the attribute mentions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    pub(crate) params: BTreeSet<usize>,
    /// The bindings within those parameters.
    pub(crate) bindings: BTreeSet<String>,
    pub(crate) self_value: bool,
    pub(crate) result: bool,
    pub(crate) element: bool,
    pub(crate) generics: BTreeSet<String>,
}

impl Uses {
    pub(crate) fn add(&mut self, other: &Self) {
        self.params.extend(&other.params);
        self.bindings.extend(other.bindings.iter().cloned());
        self.generics.extend(other.generics.iter().cloned());
        self.self_value |= other.self_value;
        self.result |= other.result;
        self.element |= other.element;
    }
}

/// A tag, key, namespace or pattern.
#[derive(Debug)]
pub(crate) enum Element {
    Text(Text),
    Expr(OfValue),
    /// A resource's type, which knows its template, and the expression for the tag.
    Resource(Path, OfValue),
}

/// An expression over parameters and perhaps the result.
#[derive(Debug, Clone)]
pub(crate) struct OfValue {
    pub(crate) tokens: TokenStream,
    /// The identifier `result` as it was written, for its hygiene.
    pub(crate) result: Option<Ident>,
    pub(crate) uses: Uses,
}

impl Element {
    pub(crate) fn uses(&self) -> &Uses {
        match self {
            Self::Text(text) => &text.uses,
            Self::Expr(expr) | Self::Resource(_, expr) => &expr.uses,
        }
    }
}

/// Where `put` writes to.
#[derive(Debug)]
pub(crate) enum Put {
    Text(Text),
    /// A call that yields a companion's target.
    Companion(OfValue),
}

/// A call of `recache`, rewritten to the refreshing function.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) call: OfValue,
    /// The function as the catalogue shows it.
    pub(crate) name: String,
}

/// A call of the site's builder.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) method: &'static str,
    pub(crate) argument: Argument,
}

#[derive(Debug)]
pub(crate) enum Argument {
    None,
    Number(u64),
    Bool(bool),
    /// A variant of the runtime's `Codec`.
    Codec(&'static str),
}

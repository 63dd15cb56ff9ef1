//! Arguments that are needed after the body, which may consume them: cloned before it, and named again after it.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens as _, format_ident};
use syn::ext::IdentExt as _;

use super::Cx;
use crate::function::Param;
use crate::model::{Element, OfValue, Part, Segment, Source, Text};

/// How long what was captured must live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Within the call: references are used again.
    Call,
    /// Beyond it: references are turned into what they refer to.
    Owned,
}

/// The statements around the body, and the names of captured fields.
#[derive(Debug)]
pub(super) struct Captures {
    /// Before the body.
    pub(super) before: TokenStream,
    /// First in an inline body: references that it gets only for a while.
    pub(super) inside: TokenStream,
    /// After the body.
    pub(super) after: TokenStream,
    /// First in what runs more than once and takes what was captured.
    pub(super) again: TokenStream,
    leaves: BTreeMap<String, Ident>,
    /// What `self` is called in expressions, where it was captured as a whole.
    this: Option<(Ident, Ident)>,
    /// Names that are mentioned once, so that what mentions them may take them.
    sole: BTreeSet<String>,
}

/// What is needed later.
#[derive(Debug, Default)]
pub(super) struct Needs<'a> {
    texts: Vec<&'a Text>,
    names: BTreeSet<String>,
    mentioned: BTreeMap<String, usize>,
    pub(super) self_value: bool,
    /// Some expression mentions `self`, so that fields of it will not do.
    whole_self: bool,
    /// The body gets what was captured, and nothing else.
    for_body: bool,
    /// Parameters whose patterns cannot be put together again: they are passed on under names of the expansion.
    unnamed: Vec<usize>,
}

impl<'a> Needs<'a> {
    pub(super) fn element(&mut self, element: &'a Element) {
        match element {
            Element::Text(text) => self.text(text),
            Element::Expr(expr) | Element::Resource(_, expr) => self.expr(expr),
        }
    }

    pub(super) fn text(&mut self, text: &'a Text) {
        self.self_value |= text.uses.self_value;
        self.mention(&text.uses.bindings, 2);
        self.texts.push(text);
    }

    pub(super) fn expr(&mut self, expr: &OfValue) {
        self.self_value |= expr.uses.self_value;
        self.whole_self |= expr.uses.self_value;
        for name in &expr.uses.bindings {
            *self.mentioned.entry(name.clone()).or_default() += crate::tokens::count(&expr.tokens, name);
        }
        self.names.extend(expr.uses.bindings.iter().cloned());
    }

    /// What a body has only for as long as the call lasts: the references among its parameters, and `&self`. The rest moves
    /// with it.
    pub(super) fn borrowed(cx: &Cx<'_>) -> Self {
        let mut needs = Self::default();
        let borrowed = |param: &&Param| param.is_plain() && param.reference().is_some() && !is_static(param);
        for param in cx.function.params.iter().filter(borrowed) {
            needs.names.extend(param.name().map(|name| name.unraw().to_string()));
        }
        needs.self_value = cx.function.receiver().is_some_and(is_borrowed);
        needs.whole_self = needs.self_value;
        needs
    }

    /// All that a body has, for one that may run more than once.
    pub(super) fn everything(cx: &Cx<'_>, inline: bool) -> Self {
        let mut needs = Self { for_body: true, ..Self::default() };
        for (index, param) in cx.function.params.iter().enumerate() {
            if !inline && param.rebuilt.is_none() {
                needs.unnamed.push(index);
            } else if !(param.is_plain() && is_static(param)) {
                needs.names.extend(param.bindings.iter().map(|name| name.unraw().to_string()));
            }
        }
        needs.self_value = cx.function.receiver().is_some();
        needs.whole_self = needs.self_value;
        needs
    }

    fn mention(&mut self, names: &BTreeSet<String>, times: usize) {
        for name in names {
            *self.mentioned.entry(name.clone()).or_default() += times;
        }
    }

    pub(super) fn uses(&mut self, uses: &crate::model::Uses) {
        self.self_value |= uses.self_value;
        self.whole_self |= uses.self_value;
        self.mention(&uses.bindings, 2);
        self.names.extend(uses.bindings.iter().cloned());
    }
}

impl Captures {
    /// `inline`: the body is an `async move` block of this function rather than a call.
    pub(super) fn new(cx: &Cx<'_>, needs: &Needs<'_>, life: Life, inline: bool) -> Self {
        let p = cx.p();
        let mut captures = Self {
            before: TokenStream::new(),
            inside: TokenStream::new(),
            after: TokenStream::new(),
            again: TokenStream::new(),
            leaves: BTreeMap::new(),
            this: None,
            sole: BTreeSet::new(),
        };
        captures.sole =
            needs.mentioned.iter().filter(|(_, times)| **times == 1).map(|(name, _)| name.clone()).collect();
        let mut names = needs.names.clone();
        for part in needs.texts.iter().flat_map(|text| &text.segments).filter_map(|segment| match segment {
            Segment::Part(part) => Some(part),
            _ => None,
        }) {
            match &part.source {
                Source::Param(index, binding) => {
                    let kept = life == Life::Call && cx.function.params[*index].survives();
                    if part.fields.is_empty() {
                        names.insert(binding.unraw().to_string());
                    } else if !kept && !names.contains(&binding.unraw().to_string()) {
                        captures.add_leaf(&p, part, binding);
                    }
                }
                Source::SelfValue(ident) if life == Life::Owned || !cx.function.self_is_shared() => {
                    captures.add_leaf(&p, part, ident)
                }
                Source::Expr(tokens) => {
                    let mentioned = crate::tokens::mentions(tokens);
                    names.extend(mentioned.into_iter().filter(|name| cx.function.binding(name).is_some()));
                }
                _ => {}
            }
        }
        for name in names {
            let Some((index, binding)) = cx.function.binding(&name) else { continue };
            let param = &cx.function.params[index];
            crate::hygiene::located(blame(param), || {
                if needs.for_body && inline && param.is_mutable() {
                    captures.add_mutable(cx, &name, binding, param);
                } else {
                    captures.add_name(cx, &name, binding, param, life, inline);
                }
            });
        }
        for index in &needs.unnamed {
            let param = &cx.function.params[*index];
            crate::hygiene::located(blame(param), || captures.add_unnamed(cx, *index, param));
        }
        if needs.whole_self && life == Life::Owned {
            captures.add_self(cx);
        }
        captures
    }

    /// For what runs more than once.
    pub(super) fn shared(mut self) -> Self {
        self.sole.clear();
        self
    }

    /// What is the user's, with `self` as it was captured.
    pub(super) fn with_self(&self, tokens: TokenStream) -> TokenStream {
        match &self.this {
            Some((written, kept)) => crate::tokens::rename(tokens, written, kept),
            None => tokens,
        }
    }

    /// An expression after the body: what is mentioned again elsewhere is cloned once more.
    pub(super) fn arguments(&self, cx: &Cx<'_>, tokens: TokenStream) -> TokenStream {
        let tokens = match &self.this {
            Some((written, kept)) => crate::tokens::rename(tokens, written, kept),
            None => tokens,
        };
        cx.cloned(tokens, &|name| !self.sole.contains(name))
    }

    /// `self` as a whole, for what outlives the call.
    fn add_self(&mut self, cx: &Cx<'_>) {
        let Some((receiver, written)) = cx.function.receiver().zip(cx.function.self_ident.as_ref()) else { return };
        let span = crate::hygiene::span();
        let (kept, this) = (Ident::new("kept_self", span), Ident::new("this", span));
        let by_reference = is_borrowed(receiver);
        // What cannot be owned is reported at `self`.
        crate::hygiene::located(receiver.self_token.span, || {
            let p = cx.p();
            if by_reference {
                self.before.extend(q!(let #kept = #p::own(&*#written);));
                self.after.extend(q!(let #this = &#kept;));
            } else {
                self.before.extend(q!(let #kept = #p::capture(&#written);));
                self.after.extend(q!(let #this = #kept;));
            }
            self.again.extend(q!(let #kept = #p::capture(&#kept);));
        });
        self.this = Some((written.clone(), this));
    }

    /// The capture that stands for a placeholder with fields.
    pub(super) fn leaf(&self, part: &Part) -> Option<&Ident> {
        self.leaves.get(&leaf_name(part)?)
    }

    fn add_leaf(&mut self, p: &TokenStream, part: &Part, root: &Ident) {
        let Some(name) = leaf_name(part) else { return };
        if self.leaves.contains_key(&name) {
            return;
        }
        let ident = format_ident!("field{}", self.leaves.len(), span = crate::hygiene::span());
        let fields = &part.fields;
        self.before.extend(q!(let #ident = #p::capture(&#root #fields);));
        self.leaves.insert(name, ident);
    }

    fn add_name(&mut self, cx: &Cx<'_>, name: &str, binding: &Ident, param: &Param, life: Life, inline: bool) {
        let p = cx.p();
        let kept = format_ident!("kept_{}", name, span = crate::hygiene::span());
        if param.is_plain() && param.is_plainly_copy() {
            return;
        }
        match (param.reference().filter(|_| param.is_plain()), life) {
            (Some(false), Life::Call) => {}
            // A body that is called gets a reborrow by itself.
            (Some(true), Life::Call) if !inline => {}
            (Some(true), Life::Call) => {
                self.before.extend(q!(let #kept = &mut *#binding;));
                self.inside.extend(q!(let #binding = #kept;));
            }
            (Some(_), Life::Owned) => self.add_owned(cx, binding, &kept, param),
            (None, _) => {
                self.before.extend(q!(let #kept = #p::capture(&#binding);));
                self.after.extend(q!(let #binding = #kept;));
                self.again.extend(q!(let #kept = #p::capture(&#kept);));
            }
        }
    }

    /// What a body that stands inside of the block may change. Where it is declared, `mut` is not to be reported as unused.
    fn add_mutable(&mut self, cx: &Cx<'_>, name: &str, binding: &Ident, param: &Param) {
        self.before.extend(q!(let _ = &mut #binding;));
        self.add_name(cx, name, binding, param, Life::Owned, true);
        self.after.extend(q!(let mut #binding = #binding;));
    }

    fn add_owned(&mut self, cx: &Cx<'_>, binding: &Ident, kept: &Ident, param: &Param) {
        let (p, ty) = (cx.p(), super::generics::elided(&param.ty));
        self.before.extend(q!(let #kept = #p::own(&*#binding);));
        self.after.extend(q!(let #binding: #ty = ::core::borrow::Borrow::borrow(&#kept);));
        // Said as before, so that what cannot be owned is one mistake.
        self.again
            .extend(q!(let #binding: #ty = ::core::borrow::Borrow::borrow(&#kept); let #kept = #p::own(&*#binding);));
    }

    /// A parameter that is passed on under a name of the expansion.
    fn add_unnamed(&mut self, cx: &Cx<'_>, index: usize, param: &Param) {
        let (p, name) = (cx.p(), super::signature::positional(index));
        let kept = format_ident!("kept_{}", name, span = crate::hygiene::span());
        match param.reference() {
            Some(_) => self.add_owned(cx, &name, &kept, param),
            None => {
                self.before.extend(q!(let #kept = #p::capture(&#name);));
                self.after.extend(q!(let #name = #kept;));
                self.again.extend(q!(let #kept = #p::capture(&#kept);));
            }
        }
        self.after.extend(super::signature::bound(index, param));
    }
}

/// Where what cannot be cloned or owned is reported: at the parameter.
fn blame(param: &Param) -> proc_macro2::Span {
    match &param.ty {
        syn::Type::Reference(reference) => crate::function::first_span(&reference.elem.to_token_stream()),
        ty => crate::function::first_span(&ty.to_token_stream()),
    }
}

/// Whether it is a reference that outlives every call.
fn is_static(param: &Param) -> bool {
    matches!(&param.ty, syn::Type::Reference(ty) if ty.lifetime.as_ref().is_some_and(|life| life.ident == "static"))
}

fn is_borrowed(receiver: &syn::Receiver) -> bool {
    match &receiver.kind {
        syn::ReceiverKind::Reference(..) => true,
        syn::ReceiverKind::Typed(_, ty) => matches!(**ty, syn::Type::Reference(_)),
        _ => false,
    }
}

fn leaf_name(part: &Part) -> Option<String> {
    let root = match &part.source {
        Source::Param(_, ident) if !part.fields.is_empty() => ident.unraw().to_string(),
        Source::SelfValue(_) => "self".to_owned(),
        _ => return None,
    };
    Some(format!("{root}{}", part.fields))
}

//! Writing keys and tags: each becomes a closure of calls on the runtime's `KeyWriter`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;

use super::Cx;
use super::capture::Captures;
use crate::model::{Element, Key, Part, Segment, Source, Text};
use crate::template::Modifier;

/// The calls on `w` that write `text`.
pub(super) fn segments(cx: &Cx<'_>, text: &Text, captures: Option<&Captures>) -> TokenStream {
    let mut out = TokenStream::new();
    let mut plain = String::new();
    for segment in &text.segments {
        if let Segment::Lit(text) = segment {
            plain.push_str(text);
            continue;
        }
        flush(&mut plain, &mut out);
        match segment {
            Segment::Lit(_) => {}
            Segment::Any => out.extend(q!(w.any();)),
            Segment::Owner => out.extend(q!(w.owner(|| ());)),
            Segment::TypeName(ident) => out.extend(q!(w.type_name::<#ident>();)),
            Segment::Part(part) => out.extend(self::part(cx, part, captures)),
        }
    }
    flush(&mut plain, &mut out);
    out
}

fn flush(plain: &mut String, out: &mut TokenStream) {
    if !plain.is_empty() {
        let text = std::mem::take(plain);
        out.extend(q!(w.lit(#text);));
    }
}

/// One value. Its tokens stand at the parameter's type, where the compiler then reports what cannot be a key part; equal
/// places for all uses of a parameter make equal reports, of which rustc shows one.
fn part(cx: &Cx<'_>, part: &Part, captures: Option<&Captures>) -> TokenStream {
    let (first, last) = part.blame;
    let at = |span: Span| Span::mixed_site().located_at(span);
    let place = place(cx, part, captures);
    let w = Ident::new("w", crate::hygiene::span());
    let reference = quote_spanned!(at(first)=> &);
    let last = at(last);
    match part.modifier {
        Modifier::None => quote_spanned!(last=> #w.part(#reference #place);),
        Modifier::Lower => quote_spanned!(last=> #w.lower(#reference #place);),
        Modifier::Upper => quote_spanned!(last=> #w.upper(#reference #place);),
        Modifier::Hash => quote_spanned!(last=> #w.hash(#reference #place);),
        Modifier::Display => quote_spanned!(last=> #w.display(#reference #place);),
        Modifier::Len => quote_spanned!(last=> #w.len(#place.len());),
    }
}

fn place(cx: &Cx<'_>, part: &Part, captures: Option<&Captures>) -> TokenStream {
    let located = |ident: &Ident| {
        let mut ident = ident.clone();
        ident.set_span(ident.span().located_at(part.blame.1));
        ident
    };
    let fields = &part.fields;
    if let Some(captured) = captures.and_then(|captures| captures.leaf(part)) {
        let captured = located(captured);
        return q!(#captured);
    }
    match &part.source {
        Source::Param(_, ident) | Source::SelfValue(ident) | Source::Const(ident) | Source::Element(ident) => {
            let ident = located(ident);
            q!(#ident #fields)
        }
        Source::Result => {
            let value = Ident::new("value", Span::mixed_site().located_at(part.blame.1));
            q!(#value #fields)
        }
        Source::Expr(tokens) => {
            let tokens = cx.owned_arguments(tokens.clone());
            q!((#tokens))
        }
    }
}

/// The closure body that writes a function's key; `site` is an expression for its site.
pub(super) fn key(cx: &Cx<'_>, key: &Key, site: &TokenStream) -> TokenStream {
    match key {
        Key::Text(text) => segments(cx, text, None),
        Key::Auto(text, _) => {
            let segments = segments(cx, text, None);
            q!(w.lit(#site.place()); #segments)
        }
        Key::Resource(resource) => {
            let (path, suffix) = (&resource.path, &resource.suffix);
            let arguments = cx.owned_arguments(resource.arguments.clone());
            q!(#path::__write(w, #suffix, #arguments);)
        }
        Key::Computed(..) => TokenStream::new(),
    }
}

/// `let key = ..;` on the site `at`.
pub(super) fn binding(cx: &Cx<'_>, key: &Key, site: &TokenStream) -> TokenStream {
    match key {
        Key::Computed(function, arguments) => {
            let built = computed(cx, function, arguments);
            q!(let key = at.key_from(#built);)
        }
        _ => {
            let body = self::key(cx, key, site);
            q!(let key = at.key(|w| { #body });)
        }
    }
}

/// `let key = ..;`, where a hit returns at once.
pub(super) fn lookup(cx: &Cx<'_>, key: &Key, site: &TokenStream, mode: &TokenStream) -> TokenStream {
    let look = match key {
        Key::Computed(function, arguments) => {
            let built = computed(cx, function, arguments);
            q!(at.hit_from(#mode, shape, #built))
        }
        _ => {
            let body = self::key(cx, key, site);
            q!(at.hit(#mode, shape, |w| { #body }))
        }
    };
    q!(let key = match #look {
        ::core::result::Result::Ok(ret) => return ret,
        ::core::result::Result::Err(key) => key,
    };)
}

/// The call of `key_with`'s function or closure.
pub(super) fn computed(cx: &Cx<'_>, function: &syn::Expr, arguments: &[TokenStream]) -> TokenStream {
    let arguments: Vec<TokenStream> = arguments.iter().map(|argument| cx.owned_arguments(argument.clone())).collect();
    if !matches!(function, syn::Expr::Closure(_)) {
        return q!((#function)(#(#arguments),*));
    }
    // Through a function, so that the closure's parameters get their types from the arguments.
    let types: Vec<Ident> = (0..arguments.len()).map(|i| quote::format_ident!("A{i}")).collect();
    let names: Vec<Ident> =
        (0..arguments.len()).map(|i| quote::format_ident!("a{i}", span = crate::hygiene::span())).collect();
    q!({
        fn __cache_key_with<#(#types,)* R>(build: impl ::core::ops::FnOnce(#(#types),*) -> R, #(#names: #types),*) -> R {
            build(#(#names),*)
        }
        __cache_key_with(#function, #(#arguments),*)
    })
}

/// One element of a list, added to the sink `t`.
pub(super) fn element(cx: &Cx<'_>, element: &Element, method: &str, captures: Option<&Captures>) -> TokenStream {
    let ident = |name: &str| Ident::new(name, crate::hygiene::span());
    match element {
        Element::Resource(_, expr) => self::element(cx, &Element::Expr(expr.clone()), method, captures),
        Element::Text(text) => {
            let (method, canonical) = (ident(method), &text.canonical);
            let segments = segments(cx, text, captures);
            q!(t.#method(#canonical, |w| { #segments });)
        }
        Element::Expr(expr) => {
            let method = if method == "tag" { ident("add") } else { ident(&format!("add_{method}")) };
            let tokens = match captures {
                Some(captures) => captures.arguments(cx, expr.tokens.clone()),
                None => cx.owned_arguments(expr.tokens.clone()),
            };
            let result = result(expr.result.as_ref());
            q!(#result t.#method(#tokens);)
        }
    }
}

/// The user's `result`, with the hygiene of where it was written.
pub(super) fn result(name: Option<&Ident>) -> TokenStream {
    match name {
        Some(name) => q!(let #name = value;),
        None => TokenStream::new(),
    }
}

//! Rules: what an option means for this function, and which options go together. The only place that sees two at once.
//!
//! Nothing is expanded here. Every function takes the collector and returns what it could make sense of.

mod call;
mod cover;
mod key;
mod read;
mod scope;
mod write;

pub(crate) use read::{guess, read};
pub(crate) use scope::{Scope, When, fields, template_problem};
pub(crate) use write::write;

use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::{Path, Safety, parse_quote};

use crate::args::Args;
use crate::error::{Errors, Message};
use crate::function::{Form, Function, has_impl_trait};
use crate::model::{Common, Place};

/// What no attribute can work with, whatever its options are.
fn function(function: &Function, attribute: &str, needs_async: bool, errors: &mut Errors) {
    let sig = &function.sig;
    let name = function.name();
    if needs_async && matches!(function.form, Form::Sync) {
        errors.span(
            sig.fn_token.span,
            Message::new(format!("`{attribute}` needs an async function, and `{name}` is not one"))
                .help(if attribute == "cache_read" {
                    "`memoize` works on it: `#[memoize(ttl = \"60s\")]`"
                } else {
                    "make it `async fn`; for reads, `memoize` works on it"
                })
                .note(
                    "a cache may have to wait for another process; a function that is not async would block its thread",
                ),
        );
    }
    if let Safety::Unsafe(token) = &sig.safety {
        errors.at(
            token,
            Message::new("an unsafe function cannot be cached")
                .help("wrap it in a safe function, and annotate that one"),
        );
    }
    if let Some(token) = &sig.constness {
        errors.at(token, Message::new("a const function cannot be cached").help("remove `const`"));
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a variadic function cannot be cached");
    }
    if has_impl_trait(&function.output) {
        errors.at(
            &function.output,
            Message::new("an `impl Trait` return value cannot be stored: its type has no name")
                .help("return a named type, like `Vec<User>` or a struct"),
        );
    }
}

fn common(args: &Args, place: Place) -> Common {
    let runtime: Path = args.runtime().cloned().unwrap_or_else(|| parse_quote!(::cache_runtime));
    Common { runtime, place, cache: args.expr("cache").cloned() }
}

/// Where the companion goes, unless the user says so.
fn place(function: &Function, args: &Args, errors: &mut Errors) -> Place {
    let public = !matches!(function.vis, syn::Visibility::Inherited);
    let boxed_method = matches!(function.form, Form::Boxed(_)) && function.is_associated();
    let wanted = args.word("companion");
    if boxed_method {
        if let (Some("name" | "method"), Some(opt)) = (wanted, args.get("companion")) {
            errors.at(
                &opt.name,
                Message::new("a method in a trait has no companion: nothing can be added to its `impl`")
                    .help("remove `companion`"),
            );
        }
        return Place::Inline;
    }
    match wanted {
        Some("none") => Place::Inline,
        Some("method") => Place::Method,
        Some("name") if function.receiver().is_none() => Place::Name,
        Some("name") => {
            let span = args.get("companion").map_or_else(Span::call_site, |opt| opt.name.span());
            errors.span(
                span,
                Message::new("a method has no companion of its own name")
                    .help("write `companion = method`, or remove it"),
            );
            Place::Inline
        }
        _ if function.is_associated() && public => Place::Method,
        _ if function.is_associated() => Place::Inline,
        _ => Place::Name,
    }
}

/// The first and the last token of something, for errors that rustc makes about it.
fn ends(tokens: &impl quote::ToTokens) -> (Span, Span) {
    let tokens = tokens.to_token_stream();
    (crate::function::first_span(&tokens), crate::function::last_span(&tokens))
}

/// An option that only means something beside another one.
fn needs(args: &Args, name: &str, other: &str, example: &str, errors: &mut Errors) -> bool {
    match args.get(name) {
        Some(opt) if !args.wrote(other) => {
            errors.span(
                opt.name.span(),
                Message::new(format!("`{name}` needs `{other}`")).help(format!("add `{example}`")),
            );
            false
        }
        _ => true,
    }
}

/// The text of a string literal.
fn literal(expr: &syn::Expr) -> Option<&syn::LitStr> {
    match expr {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text),
        syn::Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

fn expr_span(expr: &syn::Expr) -> Span {
    expr.span()
}

/// Source text of an expression, on one line, as the catalogue and messages show it.
fn shown(tokens: &impl quote::ToTokens) -> String {
    tokens.to_token_stream().to_string()
}

//! Calls of other cached functions, in `recache` and `put`: `f(x)` becomes a call of what `f`'s companion offers.

use proc_macro2::{Ident, Span};
use quote::{ToTokens as _, format_ident, quote};
use syn::ext::IdentExt as _;
use syn::{Expr, ExprCall, ExprMethodCall, ExprPath, Path, PathArguments, PathSegment};

use crate::error::{Errors, Message};

/// What a call is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Refresh,
    Put,
}

impl Verb {
    /// The name of the associated function beside method `method`.
    fn method(self, method: &Ident) -> Ident {
        let name = method.unraw();
        match self {
            Self::Refresh => format_ident!("{name}_refresh", span = method.span()),
            Self::Put => format_ident!("__{name}_put", span = method.span()),
        }
    }

    fn name(self, span: Span) -> Ident {
        match self {
            Self::Refresh => Ident::new("refresh", span),
            Self::Put => Ident::new("__put", span),
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Refresh => "recache",
            Self::Put => "put",
        }
    }
}

/// The call rewritten, and the function's name for the catalogue.
pub(crate) fn rewrite(expr: &Expr, verb: Verb, errors: &mut Errors) -> Option<(Expr, String)> {
    match expr {
        Expr::Group(group) => rewrite(&group.expr, verb, errors),
        Expr::Paren(paren) => rewrite(&paren.expr, verb, errors),
        Expr::Call(call) => match &*call.func {
            Expr::Path(path) => Some(function(call, path, verb)),
            _ => not_a_call(expr, verb, errors),
        },
        Expr::MethodCall(call) => Some(method(call, verb)),
        Expr::Await(awaited) => {
            errors.at(
                expr,
                Message::new(format!("a call in `{}` is awaited for you", verb.option()))
                    .help(format!("write `{}`", awaited.base.to_token_stream())),
            );
            None
        }
        Expr::Path(path) => {
            let name = path.path.to_token_stream().to_string().replace(' ', "");
            errors.at(
                expr,
                Message::new(format!("`{}` takes a call of a cached function, with its arguments", verb.option()))
                    .help(format!(
                        "write `{} = {}`",
                        verb.option(),
                        if verb == Verb::Put { format!("{name}(..)") } else { format!("[{name}(..)]") }
                    )),
            );
            None
        }
        _ => not_a_call(expr, verb, errors),
    }
}

fn not_a_call(expr: &Expr, verb: Verb, errors: &mut Errors) -> Option<(Expr, String)> {
    let example = match verb {
        Verb::Refresh => "recache = [get_user(db, user_id)]",
        Verb::Put => "put = get_user(user_id)",
    };
    errors.at(
        expr,
        Message::new(format!("`{}` takes calls of cached functions", verb.option())).help(format!("write `{example}`")),
    );
    None
}

/// `a::f::<G>(..)` to `a::f::refresh::<G>(..)`; `Type::m(..)` to `Type::m_refresh(..)`.
fn function(call: &ExprCall, path: &ExprPath, verb: Verb) -> (Expr, String) {
    let mut call = call.clone();
    let mut path = path.clone();
    let shown = shown(&path.path);
    let qualifier = path.path.segments.iter().rev().nth(1);
    let associated = path.qself.is_some()
        || qualifier.is_some_and(|segment| {
            segment.ident == "Self" || segment.ident.to_string().starts_with(char::is_uppercase)
        });
    if let Some(last) = path.path.segments.last_mut() {
        if associated {
            last.ident = verb.method(&last.ident);
        } else {
            let arguments = std::mem::replace(&mut last.arguments, PathArguments::None);
            let ident = verb.name(last.ident.span());
            path.path.segments.push(PathSegment { ident, arguments });
        }
    }
    *call.func = Expr::Path(path);
    (Expr::Call(call), shown)
}

fn method(call: &ExprMethodCall, verb: Verb) -> (Expr, String) {
    let mut call = call.clone();
    let shown = call.method.unraw().to_string();
    call.method = verb.method(&call.method);
    (Expr::MethodCall(call), shown)
}

/// The path without generic arguments, as the catalogue knows the function.
fn shown(path: &Path) -> String {
    path.segments.iter().map(|segment| segment.ident.unraw().to_string()).collect::<Vec<_>>().join("::")
}

/// `user(user_id)`, `users::user(user_id)` or `user::tag(user_id)`: the resource's type and its arguments.
pub(crate) fn resource(expr: &Expr, errors: &mut Errors) -> Option<(Path, proc_macro2::TokenStream)> {
    let call = match expr {
        Expr::Group(group) => return resource(&group.expr, errors),
        Expr::Call(call) => call,
        _ => {
            errors.at(
                expr,
                Message::new("`resource` takes a resource with its id")
                    .help("write `resource = user(user_id)`, where `user` is declared by `resource!`"),
            );
            return None;
        }
    };
    let Expr::Path(function) = &*call.func else {
        errors.at(
            &call.func,
            Message::new("`resource` takes a resource with its id").help("write `resource = user(user_id)`"),
        );
        return None;
    };
    let mut path = function.path.clone();
    if path.segments.len() > 1 && path.segments.last().is_some_and(|last| last.ident == "tag") {
        let count = path.segments.len() - 1;
        path.segments = path.segments.into_iter().take(count).collect();
    }
    let arguments = &call.args;
    Some((path, quote!(#arguments)))
}

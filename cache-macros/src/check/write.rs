//! `cache_write`: from options to a checked [`Write`].

use syn::Expr;
use syn::spanned::Spanned as _;

use super::call::{self, Verb};
use super::{Scope, When, common, ends, literal, needs};
use crate::args::{Args, Value};
use crate::error::{Errors, Message};
use crate::function::Function;
use crate::model::{Argument, Call, Element, OfValue, Place, Put, Setting, Write};
use quote::quote;

const TARGETS: [&str; 7] = ["tags", "keys", "namespaces", "patterns", "resource", "put", "recache"];

/// Checks everything and gives the plan if nothing is wrong; on mistakes the collector holds them.
pub(crate) fn write(args: &Args, function: &Function, errors: &mut Errors) -> Option<Write> {
    super::function(function, "cache_write", true, errors);
    let scope = Scope::new(function, "tag", When::After);
    let list = |name: &str, what: &'static str, errors: &mut Errors| -> Vec<Element> {
        let scope = Scope { what, pattern: what == "pattern", ..scope };
        args.list(name).iter().filter_map(|expr| scope.element(expr, errors)).collect()
    };
    let mut tags = list("tags", "tag", errors);
    let keys = list("keys", "key", errors);
    let namespaces = list("namespaces", "namespace", errors);
    let patterns = list("patterns", "pattern", errors);
    if let Some(expr) = args.expr("resource")
        && let Some((path, arguments)) = call::resource(expr, errors)
    {
        let mut found = scope.expression(expr, errors);
        let renamed = match function.self_ident.as_ref().filter(|ident| *ident != "self") {
            Some(ident) => crate::tokens::rename_self(arguments, ident),
            None => arguments,
        };
        found.tokens = quote!(#path::tag(#renamed));
        tags.push(Element::Resource(path, found));
    }
    let put = args.expr("put").and_then(|expr| put(expr, &scope, errors));
    let recache = args.list("recache").iter().filter_map(|expr| recache(expr, &scope, errors)).collect();

    let complete = needs(args, "recache_concurrency", "recache", "recache = [get_user(db, user_id)]", errors)
        & needs(args, "recache_mode", "recache", "recache = [get_user(db, user_id)]", errors);
    if complete && !args.doubtful(&TARGETS) && !TARGETS.iter().any(|name| args.wrote(name)) {
        errors.span(
            proc_macro2::Span::call_site(),
            Message::new("`cache_write` has nothing to invalidate").help("write `tags = [\"user:<user_id>\"]`").note(
                "`keys`, `namespaces`, `patterns`, `resource`, `put` and `recache` are the other things it can do",
            ),
        );
    }
    if args.get("fence").is_some() {
        fence(args, &tags, errors);
    }

    errors.is_empty().then(|| Write {
        common: common(args, Place::Inline),
        tags,
        keys,
        namespaces,
        patterns,
        put,
        recache,
        concurrency: args.int("recache_concurrency").and_then(|n| usize::try_from(n).ok()).unwrap_or(5),
        background: args.word("recache_mode") == Some("background"),
        settings: settings(args),
        fails: (args.word("on_error") == Some("fail")).then(|| ends(&function.output).0),
    })
}

/// A fence marks the tags before the body runs, so they have to be known by then.
fn fence(args: &Args, tags: &[Element], errors: &mut Errors) {
    if !args.wrote("tags") && !args.wrote("resource") {
        needs(args, "fence", "tags", "tags = [\"user:<user_id>\"]", errors);
    }
    let written = args.list("tags").iter().chain(args.expr("resource"));
    for (tag, expr) in tags.iter().zip(written).filter(|(tag, _)| tag.uses().result) {
        let _ = tag;
        errors.span(
            expr.span(),
            Message::new("a fenced tag cannot mention `result`: a fence is set before the call")
                .help("name parameters in the tag, or remove `fence`"),
        );
    }
}

fn put(expr: &Expr, scope: &Scope<'_>, errors: &mut Errors) -> Option<Put> {
    let scope = Scope { what: "put", ..*scope };
    if let Some(text) = literal(expr) {
        return scope.template(text, errors).ok().map(Put::Text);
    }
    let (call, _) = call::rewrite(expr, Verb::Put, errors)?;
    Some(Put::Companion(scope.expression(&call, errors)))
}

fn recache(expr: &Expr, scope: &Scope<'_>, errors: &mut Errors) -> Option<Call> {
    let (call, name) = call::rewrite(expr, Verb::Refresh, errors)?;
    let call: OfValue = scope.expression(&call, errors);
    Some(Call { call, name })
}

fn settings(args: &Args) -> Vec<Setting> {
    let mut list = Vec::new();
    let mut set = |method, argument| list.push(Setting { method, argument });
    if let Some(ms) = args.ms("fence") {
        set("fence_ms", Argument::Number(ms));
    }
    if let Some(number) = args.int("recache_concurrency") {
        set("recache_concurrency", Argument::Number(number));
    }
    if args.word("recache_mode") == Some("background") {
        set("recache_background", Argument::None);
    }
    if let Some(Value::Bool(true)) = args.get("before").map(|opt| &opt.value) {
        set("before", Argument::None);
    }
    if args.word("tenant") == Some("global") {
        set("global_tenant", Argument::None);
    }
    if args.word("on_error") == Some("fail") {
        set("on_error_fail", Argument::None);
    }
    list
}

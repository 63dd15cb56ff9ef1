//! `cache_read` and `memoize`: from options to a checked [`Read`]. Where the value lives is decided in `key`.

use proc_macro2::Span;
use quote::ToTokens as _;
use syn::Expr;
use syn::ext::IdentExt as _;

use super::scope::Failed;
use super::{Scope, When, common, cover, ends, key, literal, needs, place};
use crate::args::{Args, Ttl, Value};
use crate::error::{Errors, Message};
use crate::function::{Form, Function};
use crate::model::{Aging, Argument, Batch, Element, Key, OfValue, Read, Setting, Text, Uses};
use crate::suggest;

/// Checks everything and gives the plan if nothing is wrong; on mistakes the collector holds them.
pub(crate) fn read(args: &Args, function: &Function, memoize: bool, errors: &mut Errors) -> Option<Read> {
    let attribute = if memoize { "memoize" } else { "cache_read" };
    // What `each` needs, it says itself: its help is another one.
    super::function(function, attribute, !memoize && args.each().is_none(), errors);
    let skipped = cover::skipped(function, args.skipped(), errors);
    let batch = batch(args, function, errors);
    let scope = Scope {
        element: args.each().map(|each| &each.element),
        doubtful: args.doubtful(&["each"]),
        ..Scope::new(function, "key", When::Before)
    };
    combinations(args, errors);
    let resource = args.expr("resource").and_then(|expr| key::resource(expr, args, &scope, errors));
    let derived = resource.as_ref().filter(|_| !args.wrote("tags"));
    let derived = derived.map(|resource| Element::Resource(resource.path.clone(), key::resource_tag(resource)));
    let key = key::key(args, &scope, &skipped, batch.as_ref(), resource, memoize, errors);
    let tags = match derived {
        Some(tag) => vec![tag],
        None => {
            let scope = Scope { what: "tag", when: When::After, ..scope };
            args.list("tags").iter().filter_map(|expr| scope.element(expr, errors)).collect()
        }
    };
    let namespace = match args.get("namespace").map(|opt| &opt.value) {
        Some(Value::Expr(expr)) => match literal(expr) {
            Some(text) => Scope { what: "namespace", ..scope }.template(text, errors).ok(),
            None => {
                errors.at(expr, Message::new("`namespace` is a template").help("write `namespace = \"users\"`"));
                None
            }
        },
        _ => None,
    };
    let after = Scope { when: When::After, ..scope };
    let (ttl, ttl_uses) = ttl(args, &scope, errors);
    let store_if = args.expr("cache_if").map(|expr| of_value(&after, expr, errors));
    let store_unless = args.expr("unless").map(|expr| of_value(&after, expr, errors));
    let place = place(function, args, errors);

    let key = key?;
    let mut selecting = key::key_uses(&key, &scope);
    if let Some(batch) = &batch {
        selecting.params.insert(batch.param);
        selecting.bindings.insert(batch.elements.to_string());
    }
    key::impl_trait_in_key(function, &selecting, errors);
    if let Some(namespace) = &namespace {
        selecting.add(&namespace.uses);
    }
    if let Some(cache) = args.expr("cache") {
        selecting.add(&scope.expression(cache, errors).uses);
    }
    let mut storing = selecting.clone();
    storing.add(&ttl_uses);
    let said = tags.iter().map(Element::uses).chain(store_if.iter().chain(&store_unless).map(|closure| &closure.uses));
    said.for_each(|uses| storing.add(uses));

    if aging(args) == Aging::Anywhere {
        ownable(args, function, errors);
    }
    let bypass = args.expr("bypass").cloned().map(|expr| renamed(&scope, expr));
    let fails_first = args.word("on_error") == Some("fail");
    errors.is_empty().then(|| Read {
        common: common(args, place),
        memoize,
        key,
        namespace,
        ttl,
        ttl_uses,
        tags,
        bypass,
        store_if,
        store_unless,
        batch,
        settings: settings(args),
        fails: (fails_first || args.get("timeout").is_some()).then(|| ends(&function.output).0),
        fails_first,
        aging: aging(args),
        monitored: args.get("monitor").is_some(),
        keeps_errors: !memoize && keeps_errors(args).is_some(),
        evidence: evidence(args),
        selecting,
        storing,
    })
}

/// What the verbs of a function with mistakes most likely take.
pub(crate) fn guess(args: &Args, function: &Function) -> Read {
    let errors = &mut Errors::default();
    let skipped = cover::skipped(function, args.skipped(), errors);
    let batch = batch(args, function, errors);
    let scope =
        Scope { element: batch.as_ref().map(|batch| &batch.element), ..Scope::new(function, "key", When::Before) };
    let named = args.expr("key").filter(|expr| !key::is_auto(expr)).map(|expr| key::text_key(expr, &scope, errors));
    let mut selecting = match named {
        Some(Ok(text)) => text.uses,
        Some(Err(Failed::Names(near, mut uses))) => {
            uses.params.extend(near.into_iter().flatten());
            uses
        }
        _ => {
            let params = 0..function.params.len();
            Uses {
                params: params
                    .filter(|index| !skipped.params.contains(index) && !function.params[*index].ignored)
                    .collect(),
                ..Uses::default()
            }
        }
    };
    selecting.params.extend(batch.as_ref().map(|batch| batch.param));
    for extra in ["namespace", "cache"].into_iter().filter_map(|name| args.expr(name)) {
        selecting.add(&match literal(extra) {
            Some(text) => scope.template(text, errors).map(|text| text.uses).unwrap_or_default(),
            None => scope.expression(extra, errors).uses,
        });
    }
    let mut storing = selecting.clone();
    let after = Scope { when: When::After, what: "tag", ..scope };
    args.list("tags").iter().filter_map(|expr| after.element(expr, errors)).for_each(|tag| storing.add(tag.uses()));
    Read {
        common: common(args, place(function, args, errors)),
        memoize: false,
        key: Key::Text(Text { canonical: String::new(), segments: Vec::new(), uses: Uses::default() }),
        namespace: None,
        ttl: None,
        ttl_uses: Uses::default(),
        tags: Vec::new(),
        bypass: None,
        store_if: None,
        store_unless: None,
        batch,
        settings: Vec::new(),
        fails: None,
        fails_first: false,
        aging: Aging::None,
        monitored: false,
        keeps_errors: false,
        evidence: Vec::new(),
        selecting,
        storing,
    }
}

pub(super) fn renamed(scope: &Scope<'_>, expr: Expr) -> Expr {
    match scope.function.self_ident.as_ref().filter(|ident| *ident != "self") {
        Some(ident) => Expr::Verbatim(crate::tokens::rename_self(expr.to_token_stream(), ident)),
        None => expr,
    }
}

fn combinations(args: &Args, errors: &mut Errors) {
    for (one, other) in [("key", "key_with"), ("key", "resource"), ("key_with", "resource")] {
        // `key` overrides what a resource derives.
        if one == "key" && other == "resource" {
            continue;
        }
        if let (Some(_), Some(second)) = (args.get(one), args.get(other)) {
            errors.span(
                second.name.span(),
                Message::new(format!("`{one}` and `{other}` both say where the value lives")).help("keep one of them"),
            );
        }
    }
    needs(args, "suffix", "resource", "resource = user(user_id)", errors);
    needs(args, "by", "each", "each(id in ids)", errors);
    if args.each().is_some() && args.get("ttl_err").is_some() {
        at_option(
            args,
            "ttl_err",
            Message::new("`ttl_err` has no effect with `each`: an `Err` is about all elements, and is never kept")
                .help("remove `ttl_err`"),
            errors,
        );
    }
    needs(args, "stale", "ttl", "ttl = \"5m\"", errors);
    needs(args, "early_ttl", "ttl", "ttl = \"5m\"", errors);
    needs(args, "soft_timeout", "stale", "stale = \"1m\"", errors);
    if let (Some(early), Some(Ttl::Ms(ttl))) = (args.ms("early_ttl"), args.ttl("ttl"))
        && early >= *ttl
    {
        at_option(
            args,
            "early_ttl",
            Message::new("`early_ttl` is an age before `ttl`").help("make it shorter than `ttl`"),
            errors,
        );
    }
    if let (Some(soft), Some(hard)) = (args.ms("soft_timeout"), args.ms("timeout"))
        && soft >= hard
    {
        at_option(
            args,
            "soft_timeout",
            Message::new("`soft_timeout` comes before `timeout`").help("make it shorter than `timeout`"),
            errors,
        );
    }
    if let Some(Ttl::Forever) = args.ttl("ttl") {
        for name in ["refresh", "jitter", "stale", "early_ttl", "stale_if_error"] {
            let off = name == "refresh" && !args.flag("refresh");
            if args.get(name).is_some() && !off {
                at_option(
                    args,
                    name,
                    Message::new(format!("`{name}` means nothing with `ttl = \"forever\"`"))
                        .help("remove it, or give a ttl"),
                    errors,
                );
            }
        }
    }
}

/// A load that may outlive its call owns its arguments. References are turned into what they refer to; what has a reference
/// inside cannot be.
fn ownable(args: &Args, function: &Function, errors: &mut Errors) {
    let asked = ["early_ttl", "stale", "soft_timeout", "monitor"].into_iter().find(|name| args.get(name).is_some());
    for param in function.params.iter().filter(|param| param.reference().is_none()) {
        let ty = param.ty.to_token_stream();
        if crate::tokens::borrows(&ty) {
            let (name, written) = (asked.unwrap_or_default(), ty.to_string().replace(' ', ""));
            errors.span(
                crate::function::first_span(&ty),
                Message::new(format!("background work cannot own `{written}`, which borrows"))
                    .help(format!("take what it borrows by value or by a plain reference, or remove `{name}`"))
                    .note(format!("with `{name}` a load may outlive the call that began it")),
            );
        }
    }
}

fn aging(args: &Args) -> Aging {
    let asked = |names: &[&str]| names.iter().any(|name| args.get(name).is_some());
    if asked(&["early_ttl", "stale", "soft_timeout", "monitor"]) {
        Aging::Anywhere
    } else if asked(&["stale_if_error", "timeout"]) {
        Aging::Here
    } else {
        Aging::None
    }
}

fn at_option(args: &Args, name: &str, message: Message, errors: &mut Errors) {
    errors.span(args.get(name).map_or_else(Span::call_site, |opt| opt.name.span()), message);
}

fn batch(args: &Args, function: &Function, errors: &mut Errors) -> Option<Batch> {
    let each = args.each()?;
    if matches!(function.form, Form::Sync) {
        let message = Message::new(format!("`each` needs an async function, and `{}` is not one", function.name()));
        errors.span(each.element.span(), message.help("make it `async fn`"));
    }
    let name = each.elements.unraw().to_string();
    let Some((param, binding)) = function.binding(&name).filter(|(index, _)| function.params[*index].is_plain()) else {
        let names: Vec<String> =
            function.params.iter().filter_map(|param| param.name()).map(ToString::to_string).collect();
        let mut message =
            Message::new(format!("`each` names `{name}`, but `{}` has no such parameter", function.name()));
        if let Some(near) = suggest::closest(&name, names.iter().map(String::as_str)) {
            message = message.help(format!("a parameter with a similar name exists: `{near}`"));
        }
        errors.span(each.elements.span(), message.note(format!("parameters are {}", suggest::list(&names))));
        return None;
    };
    if let Some((_, other)) = function.binding(&each.element.unraw().to_string()) {
        errors.span(
            each.element.span(),
            Message::new(format!("`{other}` is a parameter already")).help("give the element another name"),
        );
    }
    Some(Batch { element: each.element.clone(), param, elements: binding.clone(), by: args.expr("by").cloned() })
}

fn of_value(scope: &Scope<'_>, expr: &Expr, errors: &mut Errors) -> OfValue {
    scope.expression(expr, errors)
}

fn ttl(args: &Args, scope: &Scope<'_>, errors: &mut Errors) -> (Option<Ttl>, Uses) {
    let ttl = args.ttl("ttl").cloned();
    let uses = match &ttl {
        Some(Ttl::Dynamic(expr) | Ttl::OfValue(expr)) => scope.expression(expr, errors).uses,
        _ => Uses::default(),
    };
    (ttl, uses)
}

/// Options that mean nothing for most return types. A batch's elements may always be absent.
fn evidence(args: &Args) -> Vec<(&'static str, Span)> {
    let mut list = Vec::new();
    let is_batch = args.each().is_some();
    if let Some(opt) = args.get("ttl_none").filter(|_| !is_batch) {
        list.push(("may_be_absent", opt.name.span()));
    }
    list.extend(keeps_errors(args).map(|span| ("keeps_errors", span)));
    list
}

/// Where it is asked for that errors are kept. `"0s"` does not.
fn keeps_errors(args: &Args) -> Option<Span> {
    args.get("ttl_err").filter(|_| args.ms("ttl_err") != Some(0)).map(|opt| opt.name.span())
}

fn settings(args: &Args) -> Vec<Setting> {
    let mut list = Vec::new();
    let mut set = |method, argument| list.push(Setting { method, argument });
    for (name, method) in [("lock", "lock"), ("refresh", "sliding"), ("encrypt", "encrypt")] {
        if args.flag(name) {
            set(method, Argument::None);
        }
    }
    for (name, method) in [
        ("lock_ttl", "lock_ttl_ms"),
        ("wait", "wait_ms"),
        ("ttl_none", "ttl_none_ms"),
        ("ttl_err", "ttl_err_ms"),
        ("jitter", "jitter_ms"),
        ("local", "local_ms"),
        ("early_ttl", "early_ttl_ms"),
        ("stale", "stale_ms"),
        ("stale_if_error", "stale_if_error_ms"),
        ("soft_timeout", "soft_timeout_ms"),
        ("timeout", "timeout_ms"),
    ] {
        if let Some(ms) = args.ms(name) {
            set(method, Argument::Number(ms));
        }
    }
    if let Some(Value::Percent(percent)) = args.get("jitter").map(|opt| &opt.value) {
        set("jitter_percent", Argument::Number(*percent));
    }
    if let Some(Value::Bool(on)) = args.get("local").map(|opt| &opt.value) {
        set("local", Argument::Bool(*on));
    }
    for (name, method) in [("version", "version"), ("compress_above", "compress_above"), ("capacity", "capacity")] {
        if let Some(number) = args.int(name) {
            set(method, Argument::Number(number));
        }
    }
    if let Some(ppm) = args.int("monitor") {
        set("monitor_ppm", Argument::Number(ppm));
    }
    if let Some(Value::Word(_)) = args.get("early_ttl").map(|opt| &opt.value) {
        set("early_ttl_auto", Argument::None);
    }
    match args.word("codec") {
        Some("json") => set("codec", Argument::Codec("Json")),
        Some("msgpack") => set("codec", Argument::Codec("MsgPack")),
        Some(_) => set("codec", Argument::Codec("Bincode")),
        None => {}
    }
    if args.word("tenant") == Some("global") {
        set("global_tenant", Argument::None);
    }
    if args.word("on_error") == Some("fail") {
        set("on_error_fail", Argument::None);
    }
    list
}

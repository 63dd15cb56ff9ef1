//! `cache_read` and `memoize`: from options to a checked [`Read`].

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote};
use syn::ext::IdentExt as _;
use syn::{Expr, Token};

use super::cover::{self, Skipped};
use super::scope::Failed;
use super::{Scope, When, call, common, ends, expr_span, literal, needs, not_yet, place, shown};
use crate::args::{Args, Ttl, Value};
use crate::error::{Errors, Message};
use crate::function::{Form, Function};
use crate::model::{Argument, Batch, Element, Key, OfValue, Part, Read, Resource, Segment, Setting, Source, Text, Uses};
use crate::template::{Modifier, escape};
use crate::{suggest, template};

/// Checks everything and gives the plan if nothing is wrong; on mistakes the collector holds them.
pub(crate) fn read(args: &Args, function: &Function, memoize: bool, errors: &mut Errors) -> Option<Read> {
    let attribute = if memoize { "memoize" } else { "cache_read" };
    super::function(function, attribute, !memoize, errors);
    let skipped = cover::skipped(function, args.skipped(), errors);
    let batch = batch(args, function, errors);
    let scope = Scope { element: batch.as_ref().map(|batch| &batch.element), ..Scope::new(function, "key", When::Before) };
    combinations(args, errors);
    let resource = args.expr("resource").and_then(|expr| resource(expr, args, &scope, errors));
    let derived = resource.as_ref().filter(|_| !args.wrote("tags")).map(resource_tag);
    let key = key(args, &scope, &skipped, batch.as_ref(), resource, memoize, errors);
    let tags = match derived {
        Some(tag) => vec![Element::Expr(tag)],
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
    let mut selecting = key_uses(&key, &scope);
    if let Some(batch) = &batch {
        selecting.params.insert(batch.param);
        selecting.bindings.insert(batch.elements.to_string());
    }
    impl_trait_in_key(function, &selecting, errors);
    if let Some(namespace) = &namespace {
        selecting.add(&namespace.uses);
    }
    if let Some(cache) = args.expr("cache") {
        selecting.add(&scope.expression(cache, errors).uses);
    }
    let mut storing = selecting.clone();
    tags.iter().for_each(|tag| storing.add(tag.uses()));
    storing.add(&ttl_uses);
    store_if.iter().chain(&store_unless).for_each(|closure| storing.add(&closure.uses));

    let bypass = args.expr("bypass").cloned().map(|expr| renamed(&scope, expr));
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
        fails: (args.word("on_error") == Some("fail")).then(|| ends(&function.output).0),
        selecting,
        storing,
    })
}

/// What the verbs of a function with mistakes most likely take.
pub(crate) fn guess(args: &Args, function: &Function) -> Read {
    let errors = &mut Errors::default();
    let skipped = cover::skipped(function, args.skipped(), errors);
    let batch = batch(args, function, errors);
    let scope = Scope { element: batch.as_ref().map(|batch| &batch.element), ..Scope::new(function, "key", When::Before) };
    let named = args.expr("key").filter(|expr| !is_auto(expr)).map(|expr| text_key(expr, &scope, errors));
    let mut selecting = match named {
        Some(Ok(text)) => text.uses,
        Some(Err(Failed::Names(near, mut uses))) => {
            uses.params.extend(near.into_iter().flatten());
            uses
        }
        _ => {
            let params = 0..function.params.len();
            Uses { params: params.filter(|index| !skipped.params.contains(index) && !function.params[*index].ignored).collect(), ..Uses::default() }
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
        selecting,
        storing,
    }
}

fn renamed(scope: &Scope<'_>, expr: Expr) -> Expr {
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
            errors.span(second.name.span(), Message::new(format!("`{one}` and `{other}` both say where the value lives")).help("keep one of them"));
        }
    }
    needs(args, "suffix", "resource", "resource = user(user_id)", errors);
    needs(args, "by", "each", "each(id in ids)", errors);
    let conflicts = errors.len();
    needs(args, "stale", "ttl", "ttl = \"5m\"", errors);
    needs(args, "early_ttl", "ttl", "ttl = \"5m\"", errors);
    needs(args, "soft_timeout", "stale", "stale = \"1m\"", errors);
    if let (Some(early), Some(Ttl::Ms(ttl))) = (args.ms("early_ttl"), args.ttl("ttl")) {
        if early >= *ttl {
            at_option(args, "early_ttl", Message::new("`early_ttl` is an age before `ttl`").help("make it shorter than `ttl`"), errors);
        }
    }
    if let (Some(soft), Some(hard)) = (args.ms("soft_timeout"), args.ms("timeout")) {
        if soft >= hard {
            at_option(args, "soft_timeout", Message::new("`soft_timeout` comes before `timeout`").help("make it shorter than `timeout`"), errors);
        }
    }
    if let Some(Ttl::Forever) = args.ttl("ttl") {
        for name in ["refresh", "jitter", "stale", "early_ttl", "stale_if_error"] {
            let off = name == "refresh" && !args.flag("refresh");
            if args.get(name).is_some() && !off {
                at_option(args, name, Message::new(format!("`{name}` means nothing with `ttl = \"forever\"`")).help("remove it, or give a ttl"), errors);
            }
        }
    }
    if errors.len() == conflicts {
        not_yet(args, &["early_ttl", "stale", "stale_if_error", "soft_timeout", "timeout"], errors);
    }
}

fn at_option(args: &Args, name: &str, message: Message, errors: &mut Errors) {
    errors.span(args.get(name).map_or_else(Span::call_site, |opt| opt.name.span()), message);
}

fn batch(args: &Args, function: &Function, errors: &mut Errors) -> Option<Batch> {
    let each = args.each()?;
    let name = each.elements.unraw().to_string();
    let Some((param, binding)) = function.binding(&name).filter(|(index, _)| function.params[*index].is_plain()) else {
        let names: Vec<String> = function.params.iter().filter_map(|param| param.name()).map(ToString::to_string).collect();
        let mut message = Message::new(format!("`each` names `{name}`, but `{}` has no such parameter", function.name()));
        if let Some(near) = suggest::closest(&name, names.iter().map(String::as_str)) {
            message = message.help(format!("a parameter with a similar name exists: `{near}`"));
        }
        errors.span(each.elements.span(), message.note(format!("parameters are {}", suggest::list(&names))));
        return None;
    };
    if let Some((_, other)) = function.binding(&each.element.unraw().to_string()) {
        errors.span(each.element.span(), Message::new(format!("`{other}` is a parameter already")).help("give the element another name"));
    }
    if matches!(function.form, Form::Sync) {
        errors.span(each.element.span(), "`each` needs an async function");
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

fn key(args: &Args, scope: &Scope<'_>, skipped: &Skipped, batch: Option<&Batch>, resource: Option<Resource>, memoize: bool, errors: &mut Errors) -> Option<Key> {
    let function = scope.function;
    let covered = batch.map(|batch| batch.param);
    // What was not understood may have said it.
    let silent = args.doubtful(&["key", "key_with", "resource", "suffix", "skip", "each"]);
    if let Some(expr) = args.expr("key") {
        if is_auto(expr) {
            return Some(auto(scope, skipped, batch));
        }
        let (text, shown, doubtful) = match text_key(expr, scope, errors) {
            Ok(text) => (Some(text.clone()), Some((text.canonical, text.uses)), Vec::new()),
            Err(Failed::Names(near, uses)) if near.iter().all(Option::is_some) => (None, Some((String::new(), uses)), near.into_iter().flatten().collect()),
            Err(_) => (None, None, Vec::new()),
        };
        if let Some((canonical, mut uses)) = shown {
            element_in_key(&uses, batch, expr, errors);
            uses.params.extend(covered);
            let pasteable = Some(canonical.as_str()).filter(|text| !text.is_empty() && literal(expr).is_some());
            if !silent {
                cover::everything(function, &uses, skipped, &doubtful, pasteable, errors);
                in_both(function, text.as_ref(), args, errors);
            }
        }
        return text.map(Key::Text);
    }
    if let Some(expr) = args.expr("key_with") {
        let arguments = key_parameters(function, skipped, batch);
        return Some(Key::Computed(renamed(scope, expr.clone()), arguments));
    }
    if args.wrote("resource") {
        let resource = resource?;
        let mut uses = resource.uses.clone();
        uses.params.extend(covered);
        if !silent {
            cover::everything(function, &uses, skipped, &[], None, errors);
        }
        return Some(Key::Resource(resource));
    }
    if memoize && !args.wrote("key") {
        return Some(auto(scope, skipped, batch));
    }
    if !["key", "key_with", "resource"].iter().any(|name| args.wrote(name)) && !silent {
        let names: Vec<String> = function.params.iter().enumerate().filter(|(index, _)| !skipped.params.contains(index)).filter_map(|(_, param)| param.name()).map(|name| format!(":<{name}>")).collect();
        errors.span(
            Span::call_site(),
            Message::new("`cache_read` needs a key")
                .help(format!("write `key = \"{}{}\"`", function.name(), names.concat()))
                .note("`key = auto` is module, function and every parameter; `key_with` and `resource` say it in other ways"),
        );
    }
    None
}

fn is_auto(expr: &Expr) -> bool {
    matches!(expr, Expr::Path(path) if path.path.is_ident("auto"))
}

/// With a batch, an element's key has to say which element it is.
fn element_in_key(uses: &Uses, batch: Option<&Batch>, expr: &Expr, errors: &mut Errors) {
    if let Some(batch) = batch.filter(|_| !uses.element) {
        let name = &batch.element;
        errors.at(expr, Message::new(format!("the key does not mention `{name}`, so all elements would share one entry")).help(format!("add `<{name}>` to the key")));
    }
}

/// `<a>` in the key and `skip(a)`: one of the two is a slip.
fn in_both(function: &Function, text: Option<&Text>, args: &Args, errors: &mut Errors) {
    let Some(text) = text else { return };
    for name in args.skipped() {
        let whole = text.segments.iter().any(|segment| match segment {
            Segment::Part(Part { source: Source::Param(_, binding), fields, .. }) => fields.is_empty() && binding.unraw() == name.unraw(),
            Segment::TypeName(ident) | Segment::Part(Part { source: Source::Const(ident), .. }) => ident == name,
            _ => false,
        });
        if whole && (function.binding(&name.unraw().to_string()).is_some() || text.uses.generics.contains(&name.to_string())) {
            errors.span(name.span(), Message::new(format!("`{name}` is in the key and in `skip(..)`")).help("remove one of them"));
        }
    }
}

fn impl_trait_in_key(function: &Function, selecting: &Uses, errors: &mut Errors) {
    for index in &selecting.params {
        let Some(param) = function.params.get(*index).filter(|param| param.has_impl_trait()) else { continue };
        let name = param.name().map_or_else(|| index.to_string(), ToString::to_string);
        errors.at(
            &param.ty,
            Message::new(format!("`{name}` is in the key, and an `impl Trait` type has no name that the key could carry"))
                .help(format!("give it a name: `fn {}<T: ..>({name}: T)`, with `<T>` in the key or in `skip(T)`", function.name()))
                .help(format!("or skip it, if it does not select the value: `skip({name})`")),
        );
    }
}

/// `key = "text"` or `key = ("text", expression, ..)`.
fn text_key(expr: &Expr, scope: &Scope<'_>, errors: &mut Errors) -> Result<Text, Failed> {
    if let Some(text) = literal(expr) {
        return scope.template(text, errors);
    }
    let elems = match expr {
        Expr::Tuple(tuple) if !tuple.elems.is_empty() => &tuple.elems,
        _ => {
            errors.span(
                expr_span(expr),
                Message::new("a key is a template, a tuple, or `auto`")
                    .help("write `key = \"user:<user_id>\"`, or `key = (\"user\", expression)`; a function that builds it goes into `key_with`"),
            );
            return Err(Failed::Syntax);
        }
    };
    let mut out = Text { canonical: String::new(), segments: Vec::new(), uses: Uses::default() };
    let mut failed = Vec::new();
    for (index, elem) in elems.iter().enumerate() {
        if index > 0 {
            out.canonical.push(':');
            out.segments.push(Segment::Lit(":".to_owned()));
        }
        if let Some(text) = literal(elem) {
            match scope.template(text, errors) {
                Ok(part) if index > 0 || !part.canonical.is_empty() => {
                    out.canonical.push_str(&part.canonical);
                    out.segments.extend(part.segments);
                    out.uses.add(&part.uses);
                }
                Ok(_) => {}
                Err(Failed::Names(near, uses)) => {
                    out.uses.add(&uses);
                    failed.extend(near);
                }
                Err(Failed::Syntax) => failed.push(None),
            }
        } else {
            let found = scope.expression(elem, errors);
            out.uses.add(&found.uses);
            out.canonical.push_str(&format!("<{}>", escape(&shown(elem).replace(' ', ""))));
            out.segments.push(Segment::Part(Part { source: Source::Expr(found.tokens), fields: TokenStream::new(), modifier: Modifier::None, blame: ends(elem) }));
        }
    }
    if failed.is_empty() { Ok(out) } else { Err(Failed::Names(failed, out.uses)) }
}

/// Every parameter that is not skipped, then every generic one.
fn auto(scope: &Scope<'_>, skipped: &Skipped, batch: Option<&Batch>) -> Key {
    let function = scope.function;
    let mut text = Text { canonical: String::new(), segments: Vec::new(), uses: Uses::default() };
    let mut names = Vec::new();
    let mut add = |name: String, segment: Segment| {
        text.segments.push(Segment::Lit(":".to_owned()));
        text.segments.push(segment);
        names.push(name);
    };
    let plain = |source, blame| Segment::Part(Part { source, fields: TokenStream::new(), modifier: Modifier::None, blame });
    let mut uses = Uses::default();
    if let (Some(ident), false) = (&function.self_ident, skipped.self_value) {
        uses.self_value = true;
        add("self".to_owned(), plain(Source::SelfValue(ident.clone()), (ident.span(), ident.span())));
    }
    for (index, param) in function.params.iter().enumerate() {
        if skipped.params.contains(&index) || skipped.doubtful.contains(&index) || param.ignored {
            continue;
        }
        if let Some(batch) = batch.filter(|batch| batch.param == index) {
            uses.element = true;
            add(batch.element.to_string(), plain(Source::Element(batch.element.clone()), ends(&param.ty)));
            continue;
        }
        uses.params.insert(index);
        for binding in &param.bindings {
            uses.bindings.insert(binding.unraw().to_string());
            let blame = if param.is_plain() { ends(&param.ty) } else { (binding.span(), binding.span()) };
            add(binding.unraw().to_string(), plain(Source::Param(index, binding.clone()), blame));
        }
    }
    for generic in function.type_params() {
        let name = generic.to_string();
        if !skipped.generics.contains(&name) && cover::selects(function, &name, skipped) {
            uses.generics.insert(name.clone());
            add(name, Segment::TypeName(generic.clone()));
        }
    }
    for generic in function.const_params() {
        let name = generic.to_string();
        if !skipped.generics.contains(&name) && cover::selects(function, &name, skipped) {
            uses.generics.insert(name.clone());
            add(name, plain(Source::Const(generic.clone()), (generic.span(), generic.span())));
        }
    }
    text.uses = uses;
    Key::Auto(text, names)
}

/// The arguments of `key_with`: every parameter that is not skipped, as declared.
fn key_parameters(function: &Function, skipped: &Skipped, batch: Option<&Batch>) -> Vec<TokenStream> {
    let mut list: Vec<TokenStream> = function.self_ident.iter().filter(|_| !skipped.self_value).map(quote::ToTokens::to_token_stream).collect();
    for (index, param) in function.params.iter().enumerate() {
        if skipped.params.contains(&index) || param.ignored {
            continue;
        }
        match batch.filter(|batch| batch.param == index) {
            Some(batch) => list.push(batch.element.to_token_stream()),
            None => list.extend(param.rebuilt.clone().or_else(|| param.bindings.first().map(quote::ToTokens::to_token_stream))),
        }
    }
    list
}

fn key_uses(key: &Key, scope: &Scope<'_>) -> Uses {
    match key {
        Key::Text(text) | Key::Auto(text, _) => text.uses.clone(),
        Key::Resource(resource) => resource.uses.clone(),
        Key::Computed(_, arguments) => {
            scope.uses(&quote!(#(#arguments),*))
        }
    }
}

fn resource(expr: &Expr, args: &Args, scope: &Scope<'_>, errors: &mut Errors) -> Option<Resource> {
    let suffix = match args.expr("suffix") {
        None => String::new(),
        Some(suffix) => match literal(suffix) {
            Some(text) => {
                match template::parse(&text.value()) {
                    Err(problem) => errors.push(super::template_problem("suffix", text, &problem)),
                    Ok(parsed) if parsed.pieces.iter().any(|piece| matches!(piece, template::Piece::Hole(_))) => {
                        errors.at(text, Message::new("a suffix has no placeholders: it names a part of the resource").help("for other parts of the key, write `key = \"user:profile:<user_id>\"`"));
                    }
                    Ok(_) => {}
                }
                text.value()
            }
            None => {
                errors.at(suffix, Message::new("`suffix` is text").help("write `suffix = \"profile\"`"));
                return None;
            }
        },
    };
    let (path, arguments) = call::resource(expr, errors)?;
    let arguments: syn::punctuated::Punctuated<Expr, Token![,]> = syn::parse::Parser::parse2(syn::punctuated::Punctuated::parse_terminated, arguments).ok()?;
    let mut uses = Uses::default();
    let mut renamed = TokenStream::new();
    for argument in &arguments {
        let found = scope.expression(argument, errors);
        uses.add(&found.uses);
        let tokens = found.tokens;
        renamed.extend(quote!(#tokens,));
    }
    Some(Resource { path, arguments: renamed, suffix, uses })
}

/// The tag that a resource carries by itself.
fn resource_tag(resource: &Resource) -> OfValue {
    let (path, arguments) = (&resource.path, &resource.arguments);
    OfValue { tokens: quote!(#path::tag(#arguments)), result: None, uses: resource.uses.clone() }
}

fn settings(args: &Args) -> Vec<Setting> {
    let mut list = Vec::new();
    let mut set = |method, argument| list.push(Setting { method, argument });
    for (name, method) in [("lock", "lock"), ("refresh", "sliding"), ("encrypt", "encrypt")] {
        if args.flag(name) {
            set(method, Argument::None);
        }
    }
    for (name, method) in [("lock_ttl", "lock_ttl_ms"), ("wait", "wait_ms"), ("ttl_none", "ttl_none_ms"), ("ttl_err", "ttl_err_ms"), ("jitter", "jitter_ms"), ("local", "local_ms")] {
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
    match args.word("codec") {
        Some("json") => set("codec", Argument::Codec("Json")),
        Some("msgpack") => set("codec", Argument::Codec("Msgpack")),
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

//! Where a value lives: `key` in its three forms, `key_with`, `resource`, and that nothing is left out.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, quote};
use syn::ext::IdentExt as _;
use syn::{Expr, Token};

use super::cover::{self, Skipped};
use super::read::renamed;
use super::scope::Failed;
use super::{Scope, call, ends, expr_span, literal, shown};
use crate::args::Args;
use crate::error::{Errors, Message};
use crate::function::Function;
use crate::model::{Batch, Key, OfValue, Part, Resource, Segment, Source, Text, Uses};
use crate::template::{self, Modifier, escape};

/// Where the value lives, if the options say it and cover every parameter.
pub(super) fn key(
    args: &Args,
    scope: &Scope<'_>,
    skipped: &Skipped,
    batch: Option<&Batch>,
    resource: Option<Resource>,
    memoize: bool,
    errors: &mut Errors,
) -> Option<Key> {
    let function = scope.function;
    let covered = batch.map(|batch| batch.param);
    let owner = match args.word("companion") {
        _ if function.receiver().is_some() => Owner::Known,
        Some("method") => Owner::Known,
        Some("none") => Owner::Unknown,
        _ if function.is_associated() => Owner::Unknown,
        _ => Owner::None,
    };
    // What was not understood may have said it.
    let silent = args.doubtful(&["key", "key_with", "resource", "suffix", "skip", "each"])
        || (batch.is_none() && args.each().is_some());
    if let Some(expr) = args.expr("key") {
        if is_auto(expr) {
            return Some(auto(scope, skipped, batch, owner));
        }
        let (text, shown, doubtful) = match text_key(expr, scope, errors) {
            Ok(text) => (Some(text.clone()), Some((text.canonical, text.uses)), Vec::new()),
            Err(Failed::Names(near, uses)) if near.iter().all(Option::is_some) => {
                (None, Some((String::new(), uses)), near.into_iter().flatten().collect())
            }
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
        return Some(auto(scope, skipped, batch, owner));
    }
    if !["key", "key_with", "resource"].iter().any(|name| args.wrote(name)) && !silent {
        let names: Vec<String> = function
            .params
            .iter()
            .enumerate()
            .filter(|(index, _)| !skipped.params.contains(index))
            .filter_map(|(_, param)| param.name())
            .map(|name| format!(":<{name}>"))
            .collect();
        errors.span(
            Span::call_site(),
            Message::new("`cache_read` needs a key")
                .help(format!("write `key = \"{}{}\"`", function.name(), names.concat()))
                .note("`key = auto` is module, function and every parameter; `key_with` and `resource` say it in other ways"),
        );
    }
    None
}

pub(super) fn is_auto(expr: &Expr) -> bool {
    matches!(expr, Expr::Path(path) if path.path.is_ident("auto"))
}

/// With a batch, an element's key has to say which element it is.
fn element_in_key(uses: &Uses, batch: Option<&Batch>, expr: &Expr, errors: &mut Errors) {
    if let Some(batch) = batch.filter(|_| !uses.element) {
        let name = &batch.element;
        errors.at(
            expr,
            Message::new(format!("the key does not mention `{name}`, so all elements would share one entry"))
                .help(format!("add `<{name}>` to the key")),
        );
    }
}

/// `<a>` in the key and `skip(a)`: one of the two is a slip.
fn in_both(function: &Function, text: Option<&Text>, args: &Args, errors: &mut Errors) {
    let Some(text) = text else { return };
    for name in args.skipped() {
        let whole = text.segments.iter().any(|segment| match segment {
            Segment::Part(Part { source: Source::Param(_, binding), fields, .. }) => {
                fields.is_empty() && binding.unraw() == name.unraw()
            }
            Segment::TypeName(ident) | Segment::Part(Part { source: Source::Const(ident), .. }) => ident == name,
            _ => false,
        });
        if whole
            && (function.binding(&name.unraw().to_string()).is_some() || text.uses.generics.contains(&name.to_string()))
        {
            errors.span(
                name.span(),
                Message::new(format!("`{name}` is in the key and in `skip(..)`")).help("remove one of them"),
            );
        }
    }
}

pub(super) fn impl_trait_in_key(function: &Function, selecting: &Uses, errors: &mut Errors) {
    for index in &selecting.params {
        let Some(param) = function.params.get(*index).filter(|param| param.has_impl_trait()) else { continue };
        let name = param.name().map_or_else(|| index.to_string(), ToString::to_string);
        errors.at(
            &param.ty,
            Message::new(format!(
                "`{name}` is in the key, and an `impl Trait` type has no name that the key could carry"
            ))
            .help(format!(
                "give it a name: `fn {}<T: ..>({name}: T)`, with `<T>` in the key or in `skip(T)`",
                function.name()
            ))
            .help(format!("or skip it, if it does not select the value: `skip({name})`")),
        );
    }
}

/// `key = "text"` or `key = ("text", expression, ..)`.
pub(super) fn text_key(expr: &Expr, scope: &Scope<'_>, errors: &mut Errors) -> Result<Text, Failed> {
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
            out.segments.push(Segment::Part(Part {
                source: Source::Expr(found.tokens),
                fields: TokenStream::new(),
                modifier: Modifier::None,
                blame: ends(elem),
            }));
        }
    }
    if failed.is_empty() { Ok(out) } else { Err(Failed::Names(failed, out.uses)) }
}

/// Whose a function is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// A module's.
    None,
    /// That of `Self`.
    Known,
    /// There may be a `Self`.
    Unknown,
}

/// Every parameter that is not skipped, then every generic one. A method's type is one of these: the body may be the default
/// of a trait's method, or stand in an `impl<T>`.
fn auto(scope: &Scope<'_>, skipped: &Skipped, batch: Option<&Batch>, owner: Owner) -> Key {
    let function = scope.function;
    let mut text = Text { canonical: String::new(), segments: Vec::new(), uses: Uses::default() };
    let mut names = Vec::new();
    let mut add = |name: String, segment: Segment| {
        text.segments.push(Segment::Lit(":".to_owned()));
        text.segments.push(segment);
        names.push(name);
    };
    let plain =
        |source, blame| Segment::Part(Part { source, fields: TokenStream::new(), modifier: Modifier::None, blame });
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
    if owner == Owner::Known {
        add("Self".to_owned(), Segment::TypeName(Ident::new("Self", crate::hygiene::span())));
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
    if owner == Owner::Unknown {
        text.segments.push(Segment::Owner);
    }
    text.uses = uses;
    Key::Auto(text, names)
}

/// The arguments of `key_with`: every parameter that is not skipped, as declared.
fn key_parameters(function: &Function, skipped: &Skipped, batch: Option<&Batch>) -> Vec<TokenStream> {
    let mut list: Vec<TokenStream> =
        function.self_ident.iter().filter(|_| !skipped.self_value).map(quote::ToTokens::to_token_stream).collect();
    for (index, param) in function.params.iter().enumerate() {
        if skipped.params.contains(&index) || param.ignored {
            continue;
        }
        match batch.filter(|batch| batch.param == index) {
            Some(batch) => list.push(batch.element.to_token_stream()),
            None => list
                .extend(param.rebuilt.clone().or_else(|| param.bindings.first().map(quote::ToTokens::to_token_stream))),
        }
    }
    list
}

pub(super) fn key_uses(key: &Key, scope: &Scope<'_>) -> Uses {
    match key {
        Key::Text(text) | Key::Auto(text, _) => text.uses.clone(),
        Key::Resource(resource) => resource.uses.clone(),
        Key::Computed(_, arguments) => scope.uses(&quote!(#(#arguments),*)),
    }
}

pub(super) fn resource(expr: &Expr, args: &Args, scope: &Scope<'_>, errors: &mut Errors) -> Option<Resource> {
    let suffix = match args.expr("suffix") {
        None => String::new(),
        Some(suffix) => match literal(suffix) {
            Some(text) => {
                match template::parse(&text.value()) {
                    Err(problem) => errors.push(super::template_problem("suffix", text, &problem)),
                    Ok(parsed) if parsed.pieces.iter().any(|piece| matches!(piece, template::Piece::Hole(_))) => {
                        errors.at(
                            text,
                            Message::new("a suffix has no placeholders: it names a part of the resource")
                                .help("for other parts of the key, write `key = \"user:profile:<user_id>\"`"),
                        );
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
    let arguments: syn::punctuated::Punctuated<Expr, Token![,]> =
        syn::parse::Parser::parse2(syn::punctuated::Punctuated::parse_terminated, arguments).ok()?;
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
pub(super) fn resource_tag(resource: &Resource) -> OfValue {
    let (path, arguments) = (&resource.path, &resource.arguments);
    OfValue { tokens: quote!(#path::tag(#arguments)), result: None, uses: resource.uses.clone() }
}

//! The rule that makes a cache right: whatever a function depends on is in its key, or was skipped on purpose.

use proc_macro2::Ident;
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::{FnArg, GenericArgument, Type};

use crate::error::{Errors, Message};
use crate::function::Function;
use crate::model::Uses;
use crate::{suggest, tokens};

/// What `skip(..)` names.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    pub(crate) params: Vec<usize>,
    pub(crate) self_value: bool,
    pub(crate) generics: Vec<String>,
    /// Some name in it was wrong: silence about what it may have meant.
    pub(crate) doubtful: Vec<usize>,
    names: Vec<String>,
}

/// Resolves `skip(..)`.
pub(crate) fn skipped(function: &Function, names: &[Ident], errors: &mut Errors) -> Skipped {
    let mut skipped = Skipped::default();
    for name in names {
        let text = name.unraw().to_string();
        if skipped.names.contains(&text) {
            errors.span(name.span(), Message::new(format!("`{text}` is skipped twice")).help("remove one of them"));
            continue;
        }
        if text == "self" && function.receiver().is_some() {
            skipped.self_value = true;
        } else if let Some((index, _)) = function.binding(&text) {
            skipped.params.push(index);
        } else if function.type_params().chain(function.const_params()).any(|generic| *generic == text) {
            skipped.generics.push(text.clone());
        } else {
            let names = candidates(function);
            let mut message =
                Message::new(format!("`skip` names `{text}`, but `{}` has no such parameter", function.name()));
            if let Some(near) = suggest::closest(&text, names.iter().map(String::as_str)) {
                message = message.help(format!("a parameter with a similar name exists: `{near}`"));
                skipped.doubtful.extend(function.binding(near).map(|(index, _)| index));
            }
            let note = if names.is_empty() {
                "there is nothing to skip".to_owned()
            } else {
                format!("parameters are {}", suggest::list(&names))
            };
            errors.span(name.span(), message.note(note));
        }
        skipped.names.push(text);
    }
    skipped
}

fn candidates(function: &Function) -> Vec<String> {
    let mut names: Vec<String> = function.self_ident.iter().map(|_| "self".to_owned()).collect();
    names.extend(function.params.iter().flat_map(|param| &param.bindings).map(|binding| binding.unraw().to_string()));
    names.extend(function.type_params().chain(function.const_params()).map(ToString::to_string));
    names
}

/// Reports what is neither in the key (`used`) nor skipped. `doubtful` parameters belong to a mistake that was reported.
pub(crate) fn everything(
    function: &Function,
    used: &Uses,
    skipped: &Skipped,
    doubtful: &[usize],
    key: Option<&str>,
    errors: &mut Errors,
) {
    let out = |name: &str| {
        let add = match key {
            Some(text) => format!("if it selects the value, add it to the key: `key = \"{text}:<{name}>\"`"),
            None => format!("if it selects the value, add `{name}` to the key"),
        };
        let mut list = skipped.names.clone();
        list.push(name.to_owned());
        (add, format!("if it does not, skip it: `skip({})`", list.join(", ")))
    };
    if let Some(FnArg::Receiver(receiver)) = function.sig.inputs.first()
        && !used.self_value
        && !skipped.self_value
    {
        let mut list = skipped.names.clone();
        list.push("self".to_owned());
        errors.at(
            receiver,
            Message::new("`self` is in neither the key nor `skip(..)`")
                .help(format!("if every instance gives the same values, skip it: `skip({})`", list.join(", ")))
                .help("if a field selects the value, add it to the key: `<self.field>`"),
        );
    }
    for (index, param) in function.params.iter().enumerate() {
        let known = used.params.contains(&index)
            || skipped.params.contains(&index)
            || skipped.doubtful.contains(&index)
            || doubtful.contains(&index);
        if known || param.ignored || param.bindings.is_empty() {
            continue;
        }
        let Some(first) = param.bindings.first() else { continue };
        let name = param.name().unwrap_or(first).unraw().to_string();
        let (add, skip) = out(&name);
        let message =
            Message::new(format!("parameter `{name}` is in neither the key nor `skip(..)`")).help(add).help(skip);
        match param.name() {
            Some(ident) => errors.at(ident, message),
            None => errors.at(&param.pat, message),
        }
    }
    for generic in function.type_params().chain(function.const_params()) {
        let name = generic.to_string();
        if used.generics.contains(&name) || skipped.generics.contains(&name) || !selects(function, &name, skipped) {
            continue;
        }
        let (add, skip) = out(&name);
        errors.at(
            generic,
            Message::new(format!("generic parameter `{name}` is in neither the key nor `skip(..)`"))
                .help(add)
                .help(skip)
                .note("calls with different types would share an entry"),
        );
    }
}

/// Whether a generic parameter can select the value.
///
/// It cannot where it is only the type of what was skipped (`skip(db)` with `db: &D` speaks for `D` as well), and the
/// length of an array is seen from the array. Everything else can, a value in the key included: `1u32` and `1u64` make
/// the same key, and so do two newtypes.
pub(crate) fn selects(function: &Function, name: &str, skipped: &Skipped) -> bool {
    let in_output = tokens::idents(&function.output.to_token_stream()).contains(name);
    if in_output && !array_lengths(&function.output).contains(&name.to_owned()) {
        return true;
    }
    let carriers: Vec<usize> = (0..function.params.len())
        .filter(|index| tokens::idents(&function.params[*index].ty.to_token_stream()).contains(name))
        .collect();
    if carriers.iter().any(|index| {
        !skipped.params.contains(index) && array_lengths(&function.params[*index].ty).contains(&name.to_owned())
    }) {
        return false;
    }
    carriers.is_empty()
        || in_output
        || carriers.iter().any(|index| !skipped.params.contains(index) && !function.params[*index].ignored)
}

/// Names that stand as the length of an array in `ty`.
fn array_lengths(ty: &Type) -> Vec<String> {
    match ty {
        Type::Array(array) => {
            let mut names = array_lengths(&array.elem);
            names.push(array.len.to_token_stream().to_string());
            names
        }
        Type::Reference(reference) => array_lengths(&reference.elem),
        Type::Group(group) => array_lengths(&group.elem),
        Type::Paren(paren) => array_lengths(&paren.elem),
        Type::Tuple(tuple) => tuple.elems.iter().flat_map(array_lengths).collect(),
        Type::Path(path) => path
            .path
            .segments
            .iter()
            .filter_map(|segment| match &segment.arguments {
                syn::PathArguments::AngleBracketed(arguments) => Some(arguments),
                _ => None,
            })
            .flat_map(|arguments| &arguments.args)
            .flat_map(|argument| match argument {
                GenericArgument::Type(ty @ Type::Array(_)) => array_lengths(ty),
                _ => Vec::new(),
            })
            .collect(),
        _ => Vec::new(),
    }
}

//! What every attribute does around its own steps: parse, collect mistakes, and never lose the user's function.

use proc_macro2::TokenStream;
use quote::quote;

use crate::args::{self, Args};
use crate::error::{Errors, Message};
use crate::function::Function;
use crate::{check, expand};

pub(crate) fn read(args: TokenStream, item: TokenStream, memoize: bool) -> TokenStream {
    let attribute = if memoize { &args::MEMOIZE } else { &args::READ };
    run(args, item, attribute, |args, function, errors| {
        let plan = check::read(args, function, memoize, errors)?;
        Some(expand::read(function, &plan))
    })
}

pub(crate) fn write(args: TokenStream, item: TokenStream) -> TokenStream {
    run(args, item, &args::WRITE, |args, function, errors| {
        let plan = check::write(args, function, errors)?;
        Some(expand::write(function, &plan))
    })
}

fn run(
    args: TokenStream,
    item: TokenStream,
    attribute: &args::Attribute,
    steps: impl FnOnce(&Args, &Function, &mut Errors) -> Option<TokenStream>,
) -> TokenStream {
    let function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let mut errors = Errors::default();
            // Code that is being typed gets the parser's own word; another item gets ours.
            if is_another_item(&item) {
                errors.span(
                    proc_macro2::Span::call_site(),
                    Message::new(format!("`{}` goes on a function", attribute.name))
                        .help("put it on a function or on a method"),
                );
            } else {
                errors.push(error);
            }
            let errors = errors.into_tokens();
            return quote!(#item #errors);
        }
    };
    let mut errors = Errors::default();
    let args = Args::parse(args, attribute, &mut errors);
    let expanded = steps(&args, &function, &mut errors);
    match expanded {
        Some(expanded) if errors.is_empty() => expanded,
        _ => {
            let (item, errors) = (function.to_original(), errors.into_tokens());
            let stub = if attribute.name == args::WRITE.name {
                TokenStream::new()
            } else {
                expand::fallback(&function, &args)
            };
            quote!(#item #stub #errors)
        }
    }
}

fn is_another_item(item: &TokenStream) -> bool {
    match syn::parse2::<syn::Item>(item.clone()) {
        Ok(syn::Item::Fn(_) | syn::Item::Verbatim(_)) | Err(_) => false,
        Ok(_) => true,
    }
}

#[cfg(test)]
mod tests;

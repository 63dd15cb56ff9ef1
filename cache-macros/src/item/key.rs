//! `key!("user:<user_id>")`: a checked key of variables in scope, or of values given as in `format!`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, LitStr, Path, Token, parse_quote};

use crate::check::template_problem;
use crate::error::{Errors, Message};
use crate::suggest;
use crate::template::{self, Hole, Modifier, Piece, Root};

struct Input {
    runtime: Path,
    text: LitStr,
    values: Vec<(Option<Ident>, Expr)>,
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut runtime: Path = parse_quote!(::cache_runtime);
        if input.peek(Token![crate]) && input.peek2(Token![=]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            runtime = input.call(Path::parse_mod_style)?;
            input.parse::<Token![,]>()?;
        }
        let text = input.parse().map_err(|error| {
            syn::Error::new(
                error.span(),
                Message::new("`key!` takes a template").help("write `key!(\"user:<user_id>\")`").build(),
            )
        })?;
        let mut values = Vec::new();
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let name = if input.peek(syn::Ident::peek_any) && input.peek2(Token![=]) && !input.peek2(Token![==]) {
                let name = input.call(Ident::parse_any)?;
                input.parse::<Token![=]>()?;
                Some(name)
            } else {
                None
            };
            values.push((name, input.parse()?));
        }
        Ok(Self { runtime, text, values })
    }
}

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let input: Input = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let text = input.text.value();
    let parsed = match template::parse(&text) {
        Ok(parsed) => parsed,
        Err(problem) => return template_problem("key", &input.text, &problem).into_compile_error(),
    };
    let mut errors = Errors::default();
    let mut canonical = String::new();
    let mut used = vec![false; input.values.len()];
    let mut body = TokenStream::new();
    let w = Ident::new("w", Span::mixed_site());
    for piece in &parsed.pieces {
        match piece {
            Piece::Text(plain) => {
                canonical.push_str(&template::escape(plain));
                body.extend(quote!(#w.lit(#plain);));
            }
            Piece::Hole(hole) => {
                canonical.push_str(&format!("<{}{}>", hole.path(), hole.modifier.suffix()));
                body.extend(
                    value(hole, &input, &mut used, &mut errors)
                        .map(|place| part(&w, &place, hole.modifier, input.text.span())),
                );
            }
        }
    }
    for (index, (name, expr)) in input.values.iter().enumerate().filter(|(index, _)| !used[*index]) {
        let what = name.as_ref().map_or_else(|| format!("value {index}"), |name| format!("`{name}`"));
        errors.at(
            expr,
            Message::new(format!("{what} is not in the key")).help(format!(
                "add `<{}>` to the template, or remove the value",
                name.as_ref().map_or_else(|| index.to_string(), ToString::to_string)
            )),
        );
    }
    if !errors.is_empty() {
        let errors = errors.into_tokens();
        let runtime = &input.runtime;
        return quote!({ #errors #runtime::Key::new("") });
    }
    let runtime = &input.runtime;
    quote!(#runtime::__private::template_key(#canonical, |#w| { #body }))
}

/// The expression that a placeholder stands for.
fn value(hole: &Hole, input: &Input, used: &mut [bool], errors: &mut Errors) -> Option<TokenStream> {
    let span = input.text.span();
    let fields = crate::check::fields(&hole.fields, span);
    let given = match &hole.root {
        Root::Index(index) => {
            let positional: Vec<usize> =
                input.values.iter().enumerate().filter(|(_, (name, _))| name.is_none()).map(|(at, _)| at).collect();
            let Some(at) = positional.get(*index) else {
                errors.span(
                    span,
                    Message::new(format!("the key names value {index}, and {} are given", positional.len()))
                        .drawn(&input.text.value(), &hole.range, "no such value")
                        .help("give it after the template: `key!(\"user:<0>\", user_id)`"),
                );
                return None;
            };
            Some(*at)
        }
        Root::Name(name) => input
            .values
            .iter()
            .position(|(given, _)| given.as_ref().is_some_and(|given| given.unraw() == name.trim_start_matches("r#"))),
    };
    if let Some(at) = given {
        used[at] = true;
        let expr = &input.values[at].1;
        return Some(quote!((#expr) #fields));
    }
    let Root::Name(name) = &hole.root else { return None };
    let Ok(mut ident) = syn::parse_str::<Ident>(name)
        .or_else(|error| if name == "self" { Ok(Ident::new("self", span)) } else { Err(error) })
    else {
        errors.span(
            span,
            Message::new(format!("`{name}` is a word of the language"))
                .drawn(&input.text.value(), &hole.range, "not a variable")
                .note(format!("write {}", suggest::list([format!("<r#{name}>")]))),
        );
        return None;
    };
    ident.set_span(span);
    Some(quote!(#ident #fields))
}

fn part(w: &Ident, place: &TokenStream, modifier: Modifier, span: Span) -> TokenStream {
    let span = Span::mixed_site().located_at(span);
    match modifier {
        Modifier::None => quote_spanned!(span=> #w.part(&#place);),
        Modifier::Lower => quote_spanned!(span=> #w.lower(&#place);),
        Modifier::Upper => quote_spanned!(span=> #w.upper(&#place);),
        Modifier::Hash => quote_spanned!(span=> #w.hash(&#place);),
        Modifier::Display => quote_spanned!(span=> #w.display(&#place);),
        Modifier::Len => quote_spanned!(span=> #w.len(#place.len());),
    }
    .into_token_stream()
}

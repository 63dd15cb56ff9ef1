//! Reading one option's value, in the form that its row of the table asks for.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::parse::{Parse as _, ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Expr, ExprLit, Lit, LitBool, Path, Token, bracketed, parenthesized, token};

use super::table::{Kind, Spec};
use crate::error::Message;
use crate::{suggest, unit};

/// What an option holds, after its literal was understood.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Expr(Expr),
    List(Vec<Expr>),
    Ttl(Ttl),
    Ms(u64),
    Percent(u64),
    Bool(bool),
    Int(u64),
    Word(String),
    Names(Vec<Ident>),
    Each(Each),
    Path(Path),
}

/// How long an entry lives.
#[derive(Debug, Clone)]
pub(crate) enum Ttl {
    Ms(u64),
    Forever,
    /// `Ttl::Short` and the like: known to the catalogue, looked up at run time.
    Bucket(Expr),
    /// Over the parameters.
    Dynamic(Expr),
    /// A closure over the value.
    OfValue(Expr),
}

/// `each(id in ids)`.
#[derive(Debug, Clone)]
pub(crate) struct Each {
    pub(crate) element: Ident,
    pub(crate) elements: Ident,
}

pub(super) fn parse(input: ParseStream<'_>, name: &Ident, spec: &Spec) -> syn::Result<Value> {
    match spec.kind {
        Kind::Names => return names(input, name, spec),
        Kind::Each => return each(input, name, spec),
        _ => {}
    }
    if !input.peek(Token![=]) {
        return Err(spec.wrong(name.span(), &format!("option `{}` needs a value", spec.name)));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(spec.wrong(name.span(), &format!("option `{}` needs a value", spec.name)));
    }
    match spec.kind {
        Kind::List => list(input),
        Kind::Path => input.call(Path::parse_mod_style).map(Value::Path),
        Kind::Word(words) => word(input, spec, words),
        _ => {
            let expr: Expr = input.parse()?;
            of_expr(expr, spec)
        }
    }
}

fn of_expr(expr: Expr, spec: &Spec) -> syn::Result<Value> {
    let span = expr.span();
    match (spec.kind, plain_literal(&expr)) {
        (Kind::Ttl, Some(literal)) => ttl_literal(literal, spec).map(Value::Ttl),
        (Kind::Ttl, None) => Ok(Value::Ttl(match &expr {
            Expr::Closure(_) => Ttl::OfValue(expr),
            Expr::Path(path) if is_bucket(&path.path) => Ttl::Bucket(expr),
            _ => Ttl::Dynamic(expr),
        })),
        (Kind::Duration | Kind::Early, Some(literal)) => match duration(literal, spec)? {
            0 => Err(spec.wrong(span, &format!("`{}` may not be zero", spec.name))),
            ms => Ok(Value::Ms(ms)),
        },
        (Kind::DurationOrZero, Some(literal)) => duration(literal, spec).map(Value::Ms),
        (Kind::Jitter, Some(Lit::Str(text))) => match unit::percent(&text.value()) {
            Some(percent) => percent.map(Value::Percent).map_err(|what| syn::Error::new(span, laid_out(&what))),
            None => duration(&Lit::Str(text.clone()), spec).map(Value::Ms),
        },
        (Kind::Share, Some(Lit::Str(text))) => {
            unit::share_ppm(&text.value()).map(Value::Int).map_err(|what| syn::Error::new(span, laid_out(&what)))
        }
        (Kind::Share, _) => Err(spec.wrong(span, &format!("`{}` is a percentage", spec.name))),
        (Kind::Early, None) if is_word(&expr, "auto") => Ok(Value::Word("auto".to_owned())),
        (Kind::Local, Some(Lit::Bool(on))) => Ok(Value::Bool(on.value)),
        (Kind::Local | Kind::Jitter, Some(literal)) => duration(literal, spec).map(Value::Ms),
        (Kind::Size, Some(Lit::Str(text))) => {
            unit::size_bytes(&text.value()).map(Value::Int).map_err(|what| syn::Error::new(span, laid_out(&what)))
        }
        (Kind::Size, Some(Lit::Int(number))) => number.base10_parse().map(Value::Int),
        (Kind::Bool, Some(Lit::Bool(LitBool { value, .. }))) => Ok(Value::Bool(*value)),
        (Kind::Bool, _) => Err(spec.wrong(span, &format!("`{}` is `true` or `false`", spec.name))),
        (Kind::Int, Some(Lit::Int(number))) => match number.base10_parse::<u32>() {
            Ok(0) => Err(spec.wrong(span, &format!("`{}` may not be zero", spec.name))),
            Ok(number) => Ok(Value::Int(number.into())),
            Err(error) => Err(spec.wrong(span, &format!("`{}` is not usable here: {error}", spec.name))),
        },
        (Kind::Int, _) => Err(spec.wrong(span, &format!("`{}` is a whole number", spec.name))),
        (Kind::Duration | Kind::DurationOrZero | Kind::Jitter | Kind::Local | Kind::Early | Kind::Size, _) => {
            Err(spec.wrong(span, &format!("`{}` is a literal, known when the program is compiled", spec.name)))
        }
        _ => Ok(Value::Expr(expr)),
    }
}

fn is_word(expr: &Expr, word: &str) -> bool {
    matches!(expr, Expr::Path(path) if path.path.is_ident(word))
}

fn plain_literal(expr: &Expr) -> Option<&Lit> {
    match expr {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Group(group) => plain_literal(&group.expr),
        _ => None,
    }
}

fn ttl_literal(literal: &Lit, spec: &Spec) -> syn::Result<Ttl> {
    if let Lit::Str(text) = literal
        && text.value() == "forever"
    {
        return Ok(Ttl::Forever);
    }
    match duration(literal, spec)? {
        0 => Err(spec.wrong(literal.span(), "a ttl of zero would store what is never served")),
        ms => Ok(Ttl::Ms(ms)),
    }
}

fn duration(literal: &Lit, spec: &Spec) -> syn::Result<u64> {
    match literal {
        Lit::Str(text) => unit::duration_ms(&text.value()).map_err(|what| {
            let forever = suggest::closest(&text.value(), ["forever"]).filter(|_| matches!(spec.kind, Kind::Ttl));
            let what =
                forever.map_or(what, |word| format!("`{}` is not a duration\nhelp: write \"{word}\"", text.value()));
            syn::Error::new(text.span(), laid_out(&what))
        }),
        Lit::Int(number) => match number.base10_parse::<u64>() {
            Ok(seconds) if number.suffix().is_empty() && seconds <= unit::MAX_MS / 1_000 => Ok(seconds * 1_000),
            _ => Err(spec.wrong(number.span(), &format!("`{number}` is not a number of seconds"))),
        },
        other => {
            Err(spec
                .wrong(other.span(), &format!("`{}` is a duration: text with units, or integer seconds", spec.name)))
        }
    }
}

/// Sentences with `\nhelp:` in them, in the layout of all messages.
fn laid_out(what: &str) -> String {
    let mut lines = what.split('\n');
    let mut message = Message::new(lines.next().unwrap_or_default());
    for line in lines {
        message = match line.split_once(": ") {
            Some(("help", text)) => message.help(text),
            Some(("note", text)) => message.note(text),
            _ => message,
        };
    }
    message.build()
}

fn is_bucket(path: &Path) -> bool {
    let mut segments = path.segments.iter().rev();
    let last = segments.next().is_some_and(|s| s.ident == "Short" || s.ident == "Default" || s.ident == "Long");
    last && segments.next().is_some_and(|s| s.ident == "Ttl")
}

fn list(input: ParseStream<'_>) -> syn::Result<Value> {
    if input.peek(token::Bracket) {
        let ahead = input.fork();
        let content;
        bracketed!(content in ahead);
        if ahead.is_empty() || ahead.peek(Token![,]) {
            let _ = content;
            let content;
            bracketed!(content in input);
            return Ok(Value::List(content.parse_terminated(Expr::parse, Token![,])?.into_iter().collect()));
        }
    }
    Ok(Value::List(vec![input.parse()?]))
}

fn word(input: ParseStream<'_>, spec: &Spec, words: &[&str]) -> syn::Result<Value> {
    let span = input.span();
    let Ok(found) = input.call(Ident::parse_any) else {
        let quoted = input.parse::<Lit>().ok();
        let what = match &quoted {
            Some(Lit::Str(text)) if words.contains(&text.value().as_str()) => {
                return Err(syn::Error::new(
                    span,
                    Message::new(format!("`{}` is a word, not text", spec.name))
                        .help(format!("write `{} = {}`", spec.name, text.value()))
                        .build(),
                ));
            }
            _ => format!("`{}` does not take this value", spec.name),
        };
        return Err(spec.wrong(span, &what));
    };
    let text = found.unraw().to_string();
    if words.contains(&text.as_str()) {
        return Ok(Value::Word(text));
    }
    let mut message = Message::new(format!("`{}` has no value `{text}`", spec.name));
    if let Some(near) = suggest::closest(&text, words.iter().copied()) {
        message = message.help(format!("write `{} = {near}`", spec.name));
    }
    Err(syn::Error::new(found.span(), message.note(format!("valid values are {}", suggest::list(words))).build()))
}

fn names(input: ParseStream<'_>, name: &Ident, spec: &Spec) -> syn::Result<Value> {
    if !input.peek(token::Paren) {
        return Err(spec.wrong(name.span(), &format!("`{}` takes names in parentheses", spec.name)));
    }
    let content;
    parenthesized!(content in input);
    let list = content.call(|input| Punctuated::<Ident, Token![,]>::parse_terminated_with(input, Ident::parse_any))?;
    Ok(Value::Names(list.into_iter().collect()))
}

fn each(input: ParseStream<'_>, name: &Ident, spec: &Spec) -> syn::Result<Value> {
    let wrong =
        |span: Span| spec.wrong(span, "`each` takes a name for the element and the parameter that holds the elements");
    if !input.peek(token::Paren) {
        return Err(wrong(name.span()));
    }
    let content;
    parenthesized!(content in input);
    let span = content.span();
    let tokens: proc_macro2::TokenStream = content.parse()?;
    let parsed = (|input: ParseStream<'_>| {
        let element: Ident = input.parse()?;
        input.parse::<Token![in]>()?;
        Ok(Each { element, elements: input.parse()? })
    })
    .parse2(tokens);
    parsed.map(Value::Each).map_err(|_| wrong(span))
}

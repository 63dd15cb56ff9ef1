//! From attribute tokens to options: which exist, how each is written, and that none is written twice.
//!
//! Nothing here looks at the function, and no rule about two options at once lives here (see `check`).

mod table;
mod value;

use proc_macro2::{Ident, Span, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Expr, Path, Token};

use crate::error::{Errors, Message};
use crate::suggest;

pub(crate) use table::{Attribute, MEMOIZE, READ, WRITE};
use table::{Kind, Spec};
pub(crate) use value::{Each, Ttl, Value};

/// The options of one attribute, each at most once.
#[derive(Debug)]
pub(crate) struct Args {
    found: Vec<(&'static str, Opt<Value>)>,
    /// `ttl = ` was written but could not be read: rules about missing options stay silent about it.
    broken: Vec<&'static str>,
    /// What misspelt options probably meant.
    meant: Vec<&'static str>,
    /// Something could not be read as an option at all.
    lost: bool,
}

/// An option's value together with the name that the user wrote.
#[derive(Debug, Clone)]
pub(crate) struct Opt<T> {
    pub(crate) name: Ident,
    pub(crate) value: T,
}

impl Args {
    /// Reads every option; mistakes are collected and what can be understood is kept.
    pub(crate) fn parse(tokens: proc_macro2::TokenStream, attribute: &Attribute, errors: &mut Errors) -> Self {
        let mut args = Self { found: Vec::new(), broken: Vec::new(), meant: Vec::new(), lost: false };
        let outcome = (|input: ParseStream<'_>| {
            while !input.is_empty() {
                let understood = args.option(input, attribute, errors);
                args.lost |= !skip_to_comma(input, errors, understood) && understood;
            }
            Ok(())
        })
        .parse2(tokens);
        errors.keep(outcome);
        args
    }

    fn option(&mut self, input: ParseStream<'_>, attribute: &Attribute, errors: &mut Errors) -> bool {
        let Ok(name) = input.call(Ident::parse_any) else {
            errors.push(input.error(format!(
                "expected an option\nhelp: write `{}`\nnote: options of `{}` are {}",
                attribute.example,
                attribute.name,
                attribute.names()
            )));
            self.lost = true;
            return false;
        };
        let text = name.unraw().to_string();
        let Some(spec) = attribute.options.iter().find(|spec| spec.name == text) else {
            errors.push(unknown(&name, &text, attribute));
            self.meant.extend(suggest::closest(&text, attribute.options.iter().map(|spec| spec.name)));
            return false;
        };
        let parsed = value::parse(input, &name, spec);
        if self.found.iter().any(|(known, _)| *known == spec.name) || self.broken.contains(&spec.name) {
            errors.span(name.span(), Message::new(format!("duplicate option `{text}`")).help("keep one of them"));
            return parsed.is_ok();
        }
        match parsed {
            Ok(value) => {
                self.found.push((spec.name, Opt { name, value }));
                true
            }
            Err(error) => {
                errors.push(error);
                self.broken.push(spec.name);
                false
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Opt<Value>> {
        self.found.iter().find(|(known, _)| *known == name).map(|(_, opt)| opt)
    }

    /// Whether the user wrote the option, readable or not.
    pub(crate) fn wrote(&self, name: &str) -> bool {
        self.get(name).is_some() || self.broken.contains(&name)
    }

    /// Whether one of `names` may have been meant by what could not be understood: rules about what is missing would
    /// then report one mistake twice.
    pub(crate) fn doubtful(&self, names: &[&str]) -> bool {
        self.lost || self.broken.iter().chain(&self.meant).any(|name| names.contains(name))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Opt { value: Value::Bool(true), .. }))
    }

    pub(crate) fn ms(&self, name: &str) -> Option<u64> {
        match self.get(name)?.value {
            Value::Ms(ms) => Some(ms),
            _ => None,
        }
    }

    pub(crate) fn int(&self, name: &str) -> Option<u64> {
        match self.get(name)?.value {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.value {
            Value::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(crate) fn expr(&self, name: &str) -> Option<&Expr> {
        match &self.get(name)?.value {
            Value::Expr(expr) => Some(expr),
            _ => None,
        }
    }

    pub(crate) fn list(&self, name: &str) -> &[Expr] {
        match self.get(name).map(|opt| &opt.value) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    pub(crate) fn skipped(&self) -> &[Ident] {
        match self.get("skip").map(|opt| &opt.value) {
            Some(Value::Names(names)) => names,
            _ => &[],
        }
    }

    pub(crate) fn each(&self) -> Option<&Each> {
        match &self.get("each")?.value {
            Value::Each(each) => Some(each),
            _ => None,
        }
    }

    pub(crate) fn ttl(&self, name: &str) -> Option<&Ttl> {
        match &self.get(name)?.value {
            Value::Ttl(ttl) => Some(ttl),
            _ => None,
        }
    }

    pub(crate) fn runtime(&self) -> Option<&Path> {
        match &self.get("crate")?.value {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }
}

fn unknown(name: &Ident, text: &str, attribute: &Attribute) -> syn::Error {
    let mut message = Message::new(format!("`{}` has no option `{text}`", attribute.name));
    if let Some(elsewhere) = attribute.elsewhere(text) {
        message = message.help(elsewhere);
    } else if let Some(near) = suggest::closest(text, attribute.options.iter().map(|spec| spec.name)) {
        let example = attribute.options.iter().find(|spec| spec.name == near).map_or("", |spec| spec.example);
        message = message.help(format!("a similar option exists: `{example}`"));
    }
    syn::Error::new(name.span(), message.note(format!("options are {}", attribute.names())).build())
}

/// After an option: a comma or the end. After a broken one: whatever comes until then is passed over.
fn skip_to_comma(input: ParseStream<'_>, errors: &mut Errors, understood: bool) -> bool {
    if input.is_empty() || input.parse::<Option<Token![,]>>().is_ok_and(|comma| comma.is_some()) {
        return true;
    }
    if understood {
        errors.push(input.error("expected `,` between options"));
    }
    while !input.is_empty() && !input.peek(Token![,]) {
        if input.parse::<TokenTree>().is_err() {
            break;
        }
    }
    let _ = input.parse::<Option<Token![,]>>();
    false
}

impl Spec {
    fn wrong(&self, span: Span, what: &str) -> syn::Error {
        let mut message = Message::new(what.to_owned()).help(format!("write `{}`", self.example));
        if let Kind::Word(words) = self.kind {
            message = message.note(format!("valid values are {}", suggest::list(words)));
        }
        syn::Error::new(span, message.build())
    }
}

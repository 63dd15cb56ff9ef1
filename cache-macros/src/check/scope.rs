//! Names in templates and expressions: what may be named where, and the messages for what cannot.

use std::ops::Range;

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens as _, quote};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Expr, Index, LitStr};

use super::{ends, literal};
use crate::error::{Errors, Message};
use crate::function::Function;
use crate::model::{Element, OfValue, Part, Segment, Source, Text, Uses};
use crate::template::{self, Hole, Piece, Problem, Root};
use crate::{suggest, tokens};

/// When a template is rendered, which decides whether it may read the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// What a template of one function may name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) function: &'a Function,
    pub(crate) element: Option<&'a Ident>,
    /// What the text is: `key`, `tag`, `pattern`, ..
    pub(crate) what: &'static str,
    pub(crate) when: When,
    /// Whether `*` is a wildcard.
    pub(crate) pattern: bool,
    /// A mistake elsewhere may be why a name is not known.
    pub(crate) doubtful: bool,
}

/// A template that could not be used, and what was probably meant: enough not to report the consequences.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Placeholders that are misspelt, with the parameters that they resemble; `None` where none does.
    Names(Vec<Option<usize>>, Uses),
    Syntax,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(function: &'a Function, what: &'static str, when: When) -> Self {
        Self { function, element: None, what, when, pattern: false, doubtful: false }
    }

    /// A list element: a template if it is a literal, an expression otherwise.
    pub(crate) fn element(&self, expr: &Expr, errors: &mut Errors) -> Option<Element> {
        match literal(expr) {
            Some(text) => self.template(text, errors).ok().map(Element::Text),
            None => Some(Element::Expr(self.expression(expr, errors))),
        }
    }

    pub(crate) fn template(&self, text: &LitStr, errors: &mut Errors) -> Result<Text, Failed> {
        let value = text.value();
        let parsed = template::parse(&value).map_err(|problem| {
            errors.push(template_problem(self.what, text, &problem));
            Failed::Syntax
        })?;
        let mut out = Text { canonical: String::new(), segments: Vec::new(), uses: Uses::default() };
        let mut meant = Vec::new();
        for piece in &parsed.pieces {
            match piece {
                Piece::Text(plain) => {
                    out.canonical.push_str(&template::escape(plain));
                    self.plain(plain, &mut out.segments);
                }
                Piece::Hole(hole) => match self.hole(hole, text, &mut out.uses) {
                    Ok((segment, name)) => {
                        out.canonical.push_str(&format!("<{name}{}>", hole.modifier.suffix()));
                        out.segments.push(segment);
                    }
                    Err(error) => {
                        let (error, near) = *error;
                        if !self.doubtful {
                            errors.push(error);
                        }
                        meant.push(near);
                    }
                },
            }
        }
        if meant.is_empty() { Ok(out) } else { Err(Failed::Names(meant, out.uses)) }
    }

    fn plain(&self, plain: &str, segments: &mut Vec<Segment>) {
        if !self.pattern {
            segments.push(Segment::Lit(plain.to_owned()));
            return;
        }
        for (index, part) in plain.split('*').enumerate() {
            if index > 0 {
                segments.push(Segment::Any);
            }
            if !part.is_empty() {
                segments.push(Segment::Lit(part.to_owned()));
            }
        }
    }

    /// What a placeholder stands for, and its canonical path.
    #[allow(clippy::type_complexity, reason = "the error half is only passed on")]
    fn hole(
        &self,
        hole: &Hole,
        text: &LitStr,
        uses: &mut Uses,
    ) -> Result<(Segment, String), Box<(syn::Error, Option<usize>)>> {
        let path = hole.path();
        let part = |source: Source, blame: (Span, Span)| {
            let blame = if hole.fields.is_empty() { blame } else { (text.span(), text.span()) };
            Segment::Part(Part { source, fields: fields(&hole.fields, text.span()), modifier: hole.modifier, blame })
        };
        let name = match &hole.root {
            Root::Index(index) => {
                let Some(param) = self.function.params.get(*index) else {
                    return Err(Box::new((self.no_such_index(*index, hole, text), None)));
                };
                let Some(binding) = param.bindings.first().filter(|_| param.bindings.len() == 1 || param.is_plain())
                else {
                    let names = suggest::list(param.bindings.iter().map(|b| format!("<{b}>")));
                    let message = Message::new(format!("parameter {index} of `{}` is a pattern", self.function.name()))
                        .drawn(&text.value(), &hole.range, "not one value")
                        .help(if names.is_empty() {
                            "give the parameter a name".to_owned()
                        } else {
                            format!("name what it binds: {names}")
                        });
                    return Err(Box::new((error_in(text, &hole.range, message), Some(*index))));
                };
                uses.params.insert(*index);
                uses.bindings.insert(binding.unraw().to_string());
                let mut canonical = binding.unraw().to_string();
                for field in &hole.fields {
                    canonical.push('.');
                    canonical.push_str(field);
                }
                return Ok((part(Source::Param(*index, binding.clone()), ends(&param.ty)), canonical));
            }
            Root::Name(name) => name.strip_prefix("r#").unwrap_or(name),
        };
        if let Some(element) = self.element.filter(|element| *element == name) {
            uses.element = true;
            return Ok((part(Source::Element(element.clone()), (element.span(), element.span())), path));
        }
        if name == "result" && self.when == When::After {
            return match self.function.binding("result") {
                Some(_) => Err(Box::new((self.result_is_a_parameter(text.span()), None))),
                None => {
                    uses.result = true;
                    Ok((part(Source::Result, ends(&self.function.output)), path))
                }
            };
        }
        if let Some((index, binding)) = self.function.binding(name) {
            uses.params.insert(index);
            uses.bindings.insert(name.to_owned());
            let param = &self.function.params[index];
            let blame = if param.is_plain() { ends(&param.ty) } else { (binding.span(), binding.span()) };
            return Ok((part(Source::Param(index, binding.clone()), blame), path));
        }
        if let (true, Some(ident)) = (name == "self", &self.function.self_ident) {
            uses.self_value = true;
            let receiver = self.function.receiver().map_or_else(Span::call_site, |r| r.self_token.span);
            return Ok((part(Source::SelfValue(ident.clone()), (receiver, receiver)), path));
        }
        if hole.fields.is_empty() {
            if let Some(generic) = self.function.type_params().find(|ident| *ident == name) {
                uses.generics.insert(name.to_owned());
                return Ok((Segment::TypeName(generic.clone()), path));
            }
            if let Some(generic) = self.function.const_params().find(|ident| *ident == name) {
                uses.generics.insert(name.to_owned());
                return Ok((part(Source::Const(generic.clone()), (generic.span(), generic.span())), path));
            }
        }
        Err(Box::new(self.no_such_name(name, hole, text)))
    }

    fn no_such_index(&self, index: usize, hole: &Hole, text: &LitStr) -> syn::Error {
        let count = self.function.params.len();
        let message = Message::new(format!(
            "{} names parameter {index}, but `{}` has {count}",
            self.template_name(),
            self.function.name()
        ))
        .drawn(&text.value(), &hole.range, "not a parameter")
        .help(if count == 0 {
            "remove the placeholder".to_owned()
        } else {
            format!("the last one is `<{}>`; `self` does not count", count - 1)
        });
        error_in(text, &hole.range, message)
    }

    fn no_such_name(&self, name: &str, hole: &Hole, text: &LitStr) -> (syn::Error, Option<usize>) {
        if name == "result" {
            let message = Message::new(format!(
                "a {} cannot mention `result`: a {} exists before the call",
                self.what, self.what
            ))
            .drawn(&text.value(), &hole.range, "known only after the call")
            .help("name parameters here; tags may read the result: `tags = [\"user:<result.id>\"]`");
            return (error_in(text, &hole.range, message), None);
        }
        let mut names: Vec<String> = self.names();
        if self.when == When::After {
            names.push("result".to_owned());
        }
        let near = suggest::closest(name, names.iter().map(String::as_str)).map(str::to_owned);
        let index = near.as_deref().and_then(|near| self.function.binding(near)).map(|(index, _)| index);
        let mut message = Message::new(format!(
            "{} names `{name}`, but `{}` has no such parameter",
            self.template_name(),
            self.function.name()
        ))
        .drawn(
            &text.value(),
            &(hole.range.start..hole.range.start + name.len().min(hole.range.len())),
            "not a parameter",
        );
        if let Some(near) = &near {
            let what = if near == "result" {
                "the returned value is called"
            } else {
                "a parameter with a similar name exists:"
            };
            message = message.help(format!("{what} `{near}`"));
        }
        message = message.note(if names.is_empty() {
            "there is nothing that a placeholder may name here".to_owned()
        } else {
            format!("placeholders may name: {}", suggest::list(&names))
        });
        (error_in(text, &hole.range, message), index)
    }

    fn template_name(&self) -> String {
        format!("{} template", self.what)
    }

    fn names(&self) -> Vec<String> {
        let function = self.function;
        let mut names: Vec<String> = self.element.map(ToString::to_string).into_iter().collect();
        names.extend(function.self_ident.iter().map(|_| "self".to_owned()));
        names.extend(
            function.params.iter().flat_map(|param| &param.bindings).map(|binding| binding.unraw().to_string()),
        );
        names.extend(function.type_params().chain(function.const_params()).map(ToString::to_string));
        names
    }

    fn result_is_a_parameter(&self, span: Span) -> syn::Error {
        let message = Message::new(format!(
            "`result` is the returned value here, and `{}` has a parameter of that name",
            self.function.name()
        ))
        .help("rename the parameter");
        syn::Error::new(span, message.build())
    }

    /// What an expression mentions, with `self` renamed where async-trait did so in the body.
    pub(crate) fn expression(&self, expr: &Expr, errors: &mut Errors) -> OfValue {
        let mut tokens = expr.to_token_stream();
        if let Some(ident) = self.function.self_ident.as_ref().filter(|ident| *ident != "self") {
            tokens = tokens::rename_self(tokens, ident);
        }
        let own = closure_names(expr);
        let mut uses = self.uses(&tokens);
        for name in &own {
            if uses.bindings.remove(name) {
                uses.params.retain(|index| {
                    self.function.params[*index].bindings.iter().any(|b| uses.bindings.contains(&b.unraw().to_string()))
                });
            }
        }
        let result =
            tokens::first_ident(&tokens, "result").filter(|_| uses.result && !own.iter().any(|name| name == "result"));
        uses.result = result.is_some();
        if uses.result {
            if self.function.binding("result").is_some() {
                errors.push(self.result_is_a_parameter(expr.span()));
            } else if self.when == When::Before {
                uses.result = false;
            }
        }
        OfValue { tokens, result: result.filter(|_| uses.result), uses }
    }

    /// What `tokens` mention.
    pub(crate) fn uses(&self, tokens: &TokenStream) -> Uses {
        let mut uses = Uses::default();
        for name in tokens::mentions(tokens) {
            if self.element.is_some_and(|element| *element == name) {
                uses.element = true;
            } else if name == "result" && self.when == When::After {
                uses.result = true;
            } else if let Some((index, _)) = self.function.binding(&name) {
                uses.params.insert(index);
                uses.bindings.insert(name);
            } else if self.function.self_ident.as_ref().is_some_and(|ident| *ident == name) {
                uses.self_value = true;
            }
        }
        let idents = tokens::idents(tokens);
        uses.generics = self
            .function
            .type_params()
            .chain(self.function.const_params())
            .map(ToString::to_string)
            .filter(|name| idents.contains(name))
            .collect();
        uses
    }
}

/// What a closure binds itself.
fn closure_names(expr: &Expr) -> Vec<String> {
    match expr {
        Expr::Closure(closure) => {
            closure.inputs.iter().flat_map(|input| tokens::idents(&input.to_token_stream())).collect()
        }
        _ => Vec::new(),
    }
}

/// `.org.id`
pub(crate) fn fields(names: &[String], span: Span) -> TokenStream {
    // Hygienic spans, lest rustc offers to replace the whole literal.
    let span = Span::mixed_site().located_at(span);
    let mut out = TokenStream::new();
    for name in names {
        let dot = syn::Token![.](span);
        match name.parse::<u32>() {
            Ok(index) => {
                let index = Index { index, span };
                out.extend(quote!(#dot #index));
            }
            Err(_) => {
                // A keyword can only be a field in its raw form; what is no identifier at all is rustc's to refuse.
                let parsed = syn::parse_str::<Ident>(name).or_else(|_| syn::parse_str(&format!("r#{name}")));
                let mut field = parsed.unwrap_or_else(|_| Ident::new("_", span));
                field.set_span(span);
                out.extend(quote!(#dot #field));
            }
        }
    }
    out
}

/// An error at a place within a literal: there if the compiler can say it, at the literal with a drawing otherwise.
fn error_in(text: &LitStr, range: &Range<usize>, message: Message) -> syn::Error {
    syn::Error::new(subspan(text, range).unwrap_or_else(|| text.span()), message.build())
}

fn subspan(text: &LitStr, range: &Range<usize>) -> Option<Span> {
    let literal: Literal = text.token();
    // Offsets are those of the value only where nothing is escaped.
    (literal.to_string() == format!("\"{}\"", text.value()))
        .then(|| literal.subspan(range.start + 1..range.end + 1))
        .flatten()
}

pub(crate) fn template_problem(what: &str, text: &LitStr, problem: &Problem) -> syn::Error {
    let value = text.value();
    let headline = if problem.message.contains("template") {
        format!("{} ({what})", problem.message)
    } else {
        format!("{}: {}", what, problem.message)
    };
    let message = Message::new(headline).drawn(&value, &problem.range, &problem.label).help(&problem.help);
    error_in(text, &problem.range, message)
}

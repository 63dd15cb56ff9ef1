//! From a checked plan to tokens. Infallible and without decisions about options: those were made in `check`.
//!
//! Every token that is not the user's is spanned `mixed_site`: its local names cannot meet those of the user, while
//! paths and items resolve where the attribute stands.

mod aging;
mod batch;
mod capture;
mod companion;
mod fallback;
mod flow;
mod generics;
mod key;
mod signature;
mod site;
mod verb;
mod write;

pub(crate) use fallback::fallback;
pub(crate) use generics::without_lifetimes;

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::{Attribute, Expr, Meta};

use crate::function::{self, Form, Function};
use crate::model::{Common, Place, Read, Write};

/// What all parts of one expansion need.
#[derive(Debug, Clone, Copy)]
struct Cx<'a> {
    function: &'a Function,
    common: &'a Common,
    /// What one element of a batch is called.
    element: Option<&'a Ident>,
}

impl<'a> Cx<'a> {
    fn new(function: &'a Function, common: &'a Common) -> Self {
        Self { function, common, element: None }
    }

    fn of(function: &'a Function, plan: &'a Read) -> Self {
        Self { function, common: &plan.common, element: plan.batch.as_ref().map(|batch| &batch.element) }
    }

    /// The private module of the runtime.
    fn p(&self) -> TokenStream {
        let runtime = self.runtime();
        q!(#runtime::__private)
    }

    /// The runtime crate, at the place of the generated tokens: a path that begins elsewhere would be blamed there.
    fn runtime(&self) -> TokenStream {
        crate::hygiene::relocated(self.common.runtime.to_token_stream(), crate::hygiene::span())
    }

    /// The cache that this call works with.
    fn at(&self, site: &TokenStream) -> TokenStream {
        let p = self.p();
        match &self.common.cache {
            Some(cache) => {
                let expr = self.renamed(cache.to_token_stream());
                // What belongs to a parameter that the body may take is the call's own.
                let cache =
                    if self.is_taken(cache) { q!(#p::Cache::clone(&(#expr))) } else { self.owned_arguments(expr) };
                q!(let cache: &#p::Cache = &(#cache); let at = #p::At::of(#site, cache);)
            }
            None => q!(let at = #p::At::current(#site);),
        }
    }

    /// Whether an expression begins with a parameter that is there by value.
    fn is_taken(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Path(path) => path.path.get_ident().is_some_and(|name| {
                let binding = self.function.binding(&name.unraw().to_string());
                binding.is_some_and(|(index, _)| self.function.params[index].reference().is_none())
            }),
            Expr::Field(field) => self.is_taken(&field.base),
            Expr::Paren(inner) => self.is_taken(&inner.expr),
            Expr::MethodCall(call) => self.is_taken(&call.receiver),
            _ => false,
        }
    }

    fn renamed(&self, tokens: TokenStream) -> TokenStream {
        match self.function.self_ident.as_ref().filter(|ident| *ident != "self") {
            Some(ident) => crate::tokens::rename_self(tokens, ident),
            None => tokens,
        }
    }

    /// The expression with what it would take replaced by clones.
    fn owned_arguments(&self, tokens: TokenStream) -> TokenStream {
        self.cloned(tokens, &|_| true)
    }

    fn cloned(&self, tokens: TokenStream, wanted: &dyn Fn(&str) -> bool) -> TokenStream {
        crate::tokens::clone_moved(tokens, &self.common.runtime, &|name| {
            let element = self.element.is_some_and(|element| element == name);
            wanted(name)
                && (element
                    || self.function.binding(name).is_some_and(|(index, _)| {
                        let param = &self.function.params[index];
                        param.reference().is_none() && !param.is_plainly_copy()
                    }))
        })
    }

    /// `let bound = name(shape);`, blamed on the return type.
    fn evidence(&self, bound: &str, name: &str) -> TokenStream {
        let (p, bound, name) =
            (self.p(), Ident::new(bound, crate::hygiene::span()), Ident::new(name, crate::hygiene::span()));
        q!(let #bound = #p::#name(shape);)
    }

    /// [`evidence`](Self::evidence) that something can be stored, behind the gate that makes one error of several bounds. The gate
    /// is a statement of its own: errors in the argument of a call would be at as many places as there are calls.
    fn stored(&self, bound: &str, name: &str) -> TokenStream {
        let (p, bound, name) =
            (self.p(), Ident::new(bound, crate::hygiene::span()), Ident::new(name, crate::hygiene::span()));
        q!(let gated = #p::gated!(shape); let #bound = #p::#name(gated);)
    }

    fn shape(&self) -> TokenStream {
        let (p, output) = (self.p(), &self.function.output);
        q!(let shape = #p::shape!(#output);)
    }
}

/// A function in front of which a cache stands.
pub(crate) fn read(function: &Function, plan: &Read) -> TokenStream {
    let location = function::first_span(&function.output.to_token_stream());
    crate::hygiene::located(location, || read_here(function, plan))
}

fn read_here(function: &Function, plan: &Read) -> TokenStream {
    let cx = Cx::of(function, plan);
    match plan.common.place {
        Place::Name => companion::named(&cx, plan),
        Place::Method => companion::method(&cx, plan),
        Place::Inline => {
            let site = site::block(&site::read(&cx, plan));
            let body = flow::Body::inline(&cx);
            let (p, inline) = (cx.p(), true);
            let statements = flow::statements(&cx, plan, &q!(site), &q!(#p::Mode::Read), &body, inline);
            in_place(function, &q!(let site: &'static #p::Site = #site; #statements))
        }
    }
}

/// A function after which entries are no longer valid.
pub(crate) fn write(function: &Function, plan: &Write) -> TokenStream {
    let location = function::first_span(&function.output.to_token_stream());
    crate::hygiene::located(location, || {
        let cx = Cx::new(function, &plan.common);
        let site = site::block(&site::write(&cx, plan));
        in_place(function, &write::statements(&cx, plan, &site))
    })
}

/// The user's function with `statements` as its body.
fn in_place(function: &Function, statements: &TokenStream) -> TokenStream {
    let Function { attrs, vis, sig, .. } = function;
    let (inner, _) = function::split_body(&function.body);
    match &function.form {
        Form::Boxed(boxed) => {
            let (pin, bindings) = (&boxed.pin, &boxed.bindings);
            q!(#(#attrs)* #vis #sig { #inner #pin(async move { #bindings #statements }) })
        }
        _ => q!(#(#attrs)* #vis #sig { #inner #statements }),
    }
}

/// The outer attributes by what they are about.
struct Attributes {
    /// For the function that the user calls.
    public: Vec<Attribute>,
    /// For the one that holds the body.
    body: Vec<Attribute>,
    /// For every other item.
    items: Vec<Attribute>,
}

fn split_attributes(function: &Function) -> Attributes {
    let mut split = Attributes { public: Vec::new(), body: Vec::new(), items: Vec::new() };
    for attr in &function.attrs {
        let path = attr.path();
        if path.is_ident("cfg") || path.is_ident("cfg_attr") {
            split.public.push(attr.clone());
            split.body.push(attr.clone());
            split.items.push(attr.clone());
        } else if ["allow", "warn", "deny", "forbid"].iter().any(|name| path.is_ident(name)) {
            split.public.push(attr.clone());
            split.body.push(attr.clone());
        } else if path.is_ident("expect") {
            // Which of the two functions fulfils it cannot be known, and the other one would then be reported.
            let mut attr = attr.clone();
            if let Meta::List(list) = &mut attr.meta {
                list.path = syn::parse_quote_spanned!(syn::spanned::Spanned::span(&list.path)=> allow);
            }
            split.public.push(attr.clone());
            split.body.push(attr);
        } else if path.is_ident("doc")
            && attr.to_token_stream().to_string().contains("hidden")
            && !matches!(attr.meta, Meta::NameValue(_))
        {
            split.public.push(attr.clone());
            split.items.push(attr.clone());
        } else {
            split.public.push(attr.clone());
        }
    }
    split
}

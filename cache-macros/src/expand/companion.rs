//! Where generated functions live: a type beside a free function, or further functions beside a method.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;

use super::flow::{self, Body};
use super::verb::Verbs;
use super::{Cx, site, split_attributes};
use crate::function::{Form, Function};
use crate::model::Read;

/// A free function: itself, and a type of its name with the verbs.
pub(super) fn named(cx: &Cx<'_>, plan: &Read) -> TokenStream {
    let function = cx.function;
    let Function { vis, sig, form, output, .. } = function;
    let (p, name, turbofish) = (cx.p(), &sig.ident, function.turbofish());
    let attributes = split_attributes(function);
    let (public, of_body, of_items) = (&attributes.public, &attributes.body, &attributes.items);
    let forward = super::signature::forward(function);
    let (inputs, arguments) = (&forward.inputs, &forward.arguments);
    let (generics, clause) = (&sig.generics, &sig.generics.where_clause);
    let (_, dot_await) = asynchrony(form);
    let (keyword, _) = asynchrony_of_call(form);

    let wrapper = forwarding_signature(function, &sig.ident, inputs);
    let wrapped = match form {
        Form::Boxed(boxed) => {
            let pin = &boxed.pin;
            q!(#pin(#name::__call #turbofish(#p::Mode::Read, #(#arguments),*)))
        }
        _ => q!(#name::__call #turbofish(#p::Mode::Read, #(#arguments),*)#dot_await),
    };

    let held_body = body_with_uses(function, plan);
    let mut bypass = sig.clone();
    bypass.ident = Ident::new("bypass", sig.ident.span());
    let site = site::read(cx, plan);
    let site = site::block(&site);
    let bindings = &forward.bindings;
    let call = Body::Call(q!(Self::bypass #turbofish(#(#arguments),*)));
    let statements = flow::statements(cx, plan, &q!(Self::__site()), &q!(mode), &call, false);
    let mut refresh = sig.clone();
    refresh.ident = Ident::new("refresh", sig.ident.span());
    let refresh_signature = forwarding_signature(function, &refresh.ident, inputs);
    let refreshed = match form {
        Form::Boxed(boxed) => {
            let pin = &boxed.pin;
            q!(#pin(Self::__call #turbofish(#p::Mode::Refresh, #(#arguments),*)))
        }
        _ => q!(Self::__call #turbofish(#p::Mode::Refresh, #(#arguments),*)#dot_await),
    };
    let verbs = Verbs::new(cx, plan, q!(Self::__site()));
    let mut verb_items = TokenStream::new();
    verb_items.extend([verbs.invalidate(), verbs.key(), verbs.clear(), verbs.stats()]);
    if plan.batch.is_none() {
        verb_items.extend([verbs.peek(), verbs.put(), verbs.hidden_target(&q!(__put), &TokenStream::new()), verbs.warm(&q!(Self::__call #turbofish))]);
    }
    let comma = generics_comma(inputs);
    let doc = format!("What the cache offers for [`{0}`](fn@{0}) beside calling it.", name.unraw());
    let bypass_doc = format!("Calls [`{0}`](fn@{0}) itself: the cache is neither read nor written.", name.unraw());
    let refresh_doc = format!("Calls [`{0}`](fn@{0}) itself and stores what it returns, whatever is cached.", name.unraw());
    q!(
        #(#public)*
        #vis #wrapper { #wrapped }

        #(#of_items)*
        #[doc = #doc]
        #[allow(non_camel_case_types, dead_code, missing_debug_implementations, missing_copy_implementations, clippy::all, clippy::pedantic)]
        #vis struct #name {}

        #(#of_items)*
        #[allow(
            dead_code,
            clippy::missing_errors_doc,
            clippy::missing_panics_doc,
            clippy::must_use_candidate,
            clippy::missing_const_for_fn
        )]
        impl #name {
            #[doc = #bypass_doc]
            #(#of_body)*
            #vis #bypass #held_body
        }

        #(#of_items)*
        #[allow(dead_code, unused, clippy::all, clippy::pedantic, clippy::nursery)]
        impl #name {
            #[doc = #refresh_doc]
            #vis #refresh_signature { #refreshed }

            #verb_items

            fn __site() -> &'static #p::Site { #site }

            #keyword fn __call #generics(mode: #p::Mode #comma #(#inputs),*) -> #output #clause { #bindings #statements }
        }
    )
}

/// A method: itself, and hidden functions beside it that its `_entry` and `_refresh` share with it.
pub(super) fn method(cx: &Cx<'_>, plan: &Read) -> TokenStream {
    let function = cx.function;
    let Function { vis, sig, form, output, .. } = function;
    let (p, turbofish) = (cx.p(), function.turbofish());
    let name = sig.ident.unraw();
    let ident = |text: String| Ident::new(&text, sig.ident.span());
    let (of_site, of_call, of_body_fn) = (ident(format!("__{name}_site")), ident(format!("__{name}_call")), ident(format!("__{name}_body")));
    let (of_entry, of_refresh, of_put) = (ident(format!("{name}_entry")), ident(format!("{name}_refresh")), ident(format!("__{name}_put")));
    let attributes = split_attributes(function);
    let (public, of_body, of_items) = (&attributes.public, &attributes.body, &attributes.items);
    let forward = super::signature::forward(function);
    let (inputs, arguments) = (&forward.inputs, &forward.arguments);
    let (generics, clause) = (&sig.generics, &sig.generics.where_clause);
    let (keyword, dot_await) = asynchrony(form);

    let receiver = function.receiver().map(|receiver| {
        let mut receiver = receiver.clone();
        receiver.mutability = None;
        q!(#receiver,)
    });
    let this = function.receiver().map(|receiver| {
        let this = &receiver.self_token;
        q!(#this,)
    });
    let mut all_inputs: Vec<TokenStream> = function
        .receiver()
        .map(|receiver| {
            let mut receiver = receiver.clone();
            receiver.mutability = None;
            receiver.to_token_stream()
        })
        .into_iter()
        .collect();
    all_inputs.extend(inputs.iter().cloned());
    let wrapper = forwarding_signature(function, &sig.ident, &all_inputs);
    let refresh = forwarding_signature(function, &of_refresh, &all_inputs);

    let held_body = body_with_uses(function, plan);
    let mut body_signature = sig.clone();
    body_signature.ident = of_body_fn.clone();
    let site = site::block(&site::read(cx, plan));
    let bindings = &forward.bindings;
    let call = Body::Call(q!(Self::#of_body_fn #turbofish(#this #(#arguments),*)));
    let statements = flow::statements(cx, plan, &q!(Self::#of_site()), &q!(mode), &call, false);

    let verbs = Verbs::new(cx, plan, q!(Self::#of_site()));
    let entry = if plan.batch.is_none() {
        let this = function.receiver().map(|receiver| {
            let this = &receiver.self_token;
            q!(&#this,)
        });
        let (this, put) = {
            let this = this.unwrap_or_default();
            let put = verbs.hidden_target(&q!(#of_put), &this);
            (this, put)
        };
        let entry = verbs.entry(&of_entry, &this);
        q!(#put #entry)
    } else {
        TokenStream::new()
    };
    let refresh_doc = format!("Calls [`Self::{name}`] itself and stores what it returns, whatever is cached.");
    let lints = q!(#[allow(dead_code, unused, clippy::all, clippy::pedantic, clippy::nursery)]);
    let comma = generics_comma(inputs);
    let entry = with_lints(&entry, &lints);
    q!(
        #(#public)*
        #vis #wrapper { Self::#of_call #turbofish(#this #p::Mode::Read #comma #(#arguments),*)#dot_await }

        #[doc(hidden)]
        #(#of_body)*
        #body_signature #held_body

        #(#of_items)*
        #[doc = #refresh_doc]
        #lints
        #vis #refresh { Self::#of_call #turbofish(#this #p::Mode::Refresh #comma #(#arguments),*)#dot_await }

        #entry

        #(#of_items)*
        #[doc(hidden)]
        #lints
        fn #of_site() -> &'static #p::Site { #site }

        #(#of_items)*
        #[doc(hidden)]
        #lints
        #keyword fn #of_call #generics(#receiver mode: #p::Mode #comma #(#inputs),*) -> #output #clause { #bindings #statements }
    )
}

/// The body, in which a parameter that only the attribute mentions counts as used.
fn body_with_uses(function: &Function, plan: &Read) -> TokenStream {
    let body = &function.body;
    let mentioned = crate::tokens::idents(&body.stream());
    let captured = crate::tokens::mentions(&body.stream());
    let unused = plan.storing.bindings.iter().filter(|name| !mentioned.contains(*name) && !captured.contains(*name));
    let unused: Vec<&Ident> = unused.filter_map(|name| function.binding(name)).map(|(_, binding)| binding).collect();
    if unused.is_empty() {
        return body.to_token_stream();
    }
    let (inner, statements) = crate::function::split_body(body);
    let uses = q!(#(let _ = &#unused;)*);
    let mut body = proc_macro2::Group::new(proc_macro2::Delimiter::Brace, quote::quote!(#inner #uses #statements));
    body.set_span(function.body.span());
    body.to_token_stream()
}

/// The lints in front of every function in `items`, which begin with `#[doc`.
fn with_lints(items: &TokenStream, lints: &TokenStream) -> TokenStream {
    let mut out = TokenStream::new();
    let mut previous_was_item = true;
    for tree in items.clone() {
        let starts = matches!(&tree, proc_macro2::TokenTree::Punct(punct) if punct.as_char() == '#');
        if starts && previous_was_item {
            out.extend(lints.clone());
        }
        previous_was_item = matches!(&tree, proc_macro2::TokenTree::Group(group) if group.delimiter() == proc_macro2::Delimiter::Brace);
        out.extend([tree]);
    }
    out
}

/// `async` and `.await`, where calls need them.
fn asynchrony(form: &Form) -> (TokenStream, TokenStream) {
    match form {
        Form::Async => (q!(async), q!(.await)),
        _ => (TokenStream::new(), TokenStream::new()),
    }
}

/// As [`asynchrony`], for the inner function, which is async for boxed futures as well.
fn asynchrony_of_call(form: &Form) -> (TokenStream, TokenStream) {
    match form {
        Form::Sync => (TokenStream::new(), TokenStream::new()),
        _ => (q!(async), q!(.await)),
    }
}

/// The user's signature under `name`, with patterns that can be passed on.
fn forwarding_signature(function: &Function, name: &Ident, inputs: &[TokenStream]) -> TokenStream {
    let sig = &function.sig;
    let (asyncness, generics, output, clause) = (&sig.asyncness, &sig.generics, &sig.output, &sig.generics.where_clause);
    let (fn_token, mut parens) = (&sig.fn_token, proc_macro2::Group::new(proc_macro2::Delimiter::Parenthesis, q!(#(#inputs),*)));
    parens.set_span(sig.paren_token.span.join());
    q!(#asyncness #fn_token #name #generics #parens #output #clause)
}

fn generics_comma(inputs: &[TokenStream]) -> TokenStream {
    if inputs.is_empty() { TokenStream::new() } else { q!(,) }
}

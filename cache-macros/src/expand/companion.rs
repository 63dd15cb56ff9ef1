//! Where generated functions live: a type beside a free function, or further functions beside a method.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;

use super::flow::{self, Body};
use super::signature::{self, Forward};
use super::verb::Verbs;
use super::{Attributes, Cx, site, split_attributes};
use crate::function::{Boxed, Form, Function};
use crate::model::Read;

/// A free function: itself, and a type of its name with the verbs.
pub(super) fn named(cx: &Cx<'_>, plan: &Read) -> TokenStream {
    let function = cx.function;
    let Function { vis, sig, form, output, .. } = function;
    let (p, name, turbofish) = (cx.p(), &sig.ident, function.turbofish());
    let (generics, clause) = (&sig.generics, &sig.generics.where_clause);
    let Attributes { public, body: of_body, items: of_items } = split_attributes(function);
    let Forward { inputs, arguments, bindings } = signature::forward(function);
    let comma = comma_after(&inputs);

    let original = forwarding_signature(function, name, &inputs);
    let called = forwarded(form, &q!(#name::__call #turbofish(#p::Mode::Read, #(#arguments),*)));
    let refresh = forwarding_signature(function, &Ident::new("refresh", name.span()), &inputs);
    let refreshed = forwarded(form, &q!(Self::__call #turbofish(#p::Mode::Refresh, #(#arguments),*)));
    let bypass = syn::Signature { ident: Ident::new("bypass", name.span()), ..sig.clone() };
    let body = body_with_uses(function, plan);

    let site = site::block(&site::read(cx, plan));
    let run = Body::Call(q!(Self::bypass #turbofish(#(#arguments),*)));
    let statements = flow::statements(cx, plan, &q!(Self::__site()), &q!(mode), &run, false);
    // Boxed futures are async on the way to their box.
    let keyword = (!matches!(form, Form::Sync)).then(|| q!(async));

    let verbs = Verbs::new(cx, plan, q!(Self::__site()));
    let mut verb_items: TokenStream =
        [verbs.invalidate(), verbs.key(), verbs.clear(), verbs.stats(), verbs.warm(&q!(Self::__call #turbofish))]
            .into_iter()
            .collect();
    if verbs.has_a_nameable_value() {
        verb_items.extend([verbs.peek(), verbs.put(), verbs.hidden_target(&q!(__put), &TokenStream::new())]);
    }
    let link = format!("[`{0}`](fn@{0})", name.unraw());
    let doc = format!("What the cache offers for {link} beside calling it.");
    let bypass_doc = format!("Calls {link} itself: the cache is neither read nor written.");
    let refresh_doc = format!("Calls {link} itself and stores what it returns, whatever is cached.");
    q!(
        #(#public)*
        #vis #original { #called }

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
            #vis #bypass #body
        }

        #(#of_items)*
        #[allow(dead_code, unused, clippy::all, clippy::pedantic, clippy::nursery)]
        impl #name {
            #[doc = #refresh_doc]
            #vis #refresh { #refreshed }

            #verb_items

            fn __site() -> &'static #p::Site { #site }

            #keyword fn __call #generics(mode: #p::Mode #comma #(#inputs),*) -> #output #clause { #bindings #statements }
        }
    )
}

/// A method: itself, and functions beside it: `_entry`, `_refresh`, and hidden ones that they share with it.
pub(super) fn method(cx: &Cx<'_>, plan: &Read) -> TokenStream {
    let function = cx.function;
    let Function { vis, sig, form, output, .. } = function;
    let (p, turbofish, name) = (cx.p(), function.turbofish(), sig.ident.unraw());
    let (generics, clause) = (&sig.generics, &sig.generics.where_clause);
    let Attributes { public, body: of_body, items: of_items } = split_attributes(function);
    let Forward { inputs, arguments, bindings } = signature::forward(function);
    let comma = comma_after(&inputs);
    let ident = |text: String| Ident::new(&text, sig.ident.span());
    let (of_site, of_call, of_bypass) =
        (ident(format!("__{name}_site")), ident(format!("__{name}_call")), ident(format!("__{name}_body")));
    let (of_entry, of_refresh, of_put) =
        (ident(format!("{name}_entry")), ident(format!("{name}_refresh")), ident(format!("__{name}_put")));

    let this = function.receiver().map(|receiver| &receiver.self_token);
    let receiver = function.receiver().cloned().map(|receiver| syn::Receiver { mutability: None, ..receiver });
    let (this_first, receiver_first) = (this.map(|this| q!(#this,)), receiver.as_ref().map(|receiver| q!(#receiver,)));
    let all_inputs: Vec<TokenStream> =
        receiver.iter().map(quote::ToTokens::to_token_stream).chain(inputs.iter().cloned()).collect();
    let original = forwarding_signature(function, &sig.ident, &all_inputs);
    let called = forwarded(form, &q!(Self::#of_call #turbofish(#this_first #p::Mode::Read #comma #(#arguments),*)));
    let refresh = forwarding_signature(function, &of_refresh, &all_inputs);
    let refreshed =
        forwarded(form, &q!(Self::#of_call #turbofish(#this_first #p::Mode::Refresh #comma #(#arguments),*)));
    let bypass = syn::Signature { ident: of_bypass.clone(), ..sig.clone() };
    let body = body_with_uses(function, plan);

    let site = site::block(&site::read(cx, plan));
    let run = Body::Call(q!(Self::#of_bypass #turbofish(#this_first #(#arguments),*)));
    let statements = flow::statements(cx, plan, &q!(Self::#of_site()), &q!(mode), &run, false);
    let keyword = (!matches!(form, Form::Sync)).then(|| q!(async));

    let lints = q!(#[allow(dead_code, unused, clippy::all, clippy::pedantic, clippy::nursery)]);
    let verbs = Verbs::new(cx, plan, q!(Self::#of_site()));
    let entry = verbs.has_a_nameable_value().then(|| {
        let this = this.map(quote::ToTokens::to_token_stream);
        let by_reference = this.as_ref().map(|this| q!(&#this,)).unwrap_or_default();
        let put = verbs.hidden_target(&q!(#of_put), &by_reference);
        let entry = verbs.entry(&of_entry, &of_put, this.as_ref());
        q!(#(#of_items)* #lints #put #(#of_items)* #lints #entry)
    });
    let refresh_doc = format!("Calls [`Self::{name}`] itself and stores what it returns, whatever is cached.");
    q!(
        #(#public)*
        #vis #original { #called }

        #[doc(hidden)]
        #(#of_body)*
        #bypass #body

        #(#of_items)*
        #[doc = #refresh_doc]
        #lints
        #vis #refresh { #refreshed }

        #entry

        #(#of_items)*
        #[doc(hidden)]
        #lints
        fn #of_site() -> &'static #p::Site { #site }

        #(#of_items)*
        #[doc(hidden)]
        #lints
        #keyword fn #of_call #generics(#receiver_first mode: #p::Mode #comma #(#inputs),*) -> #output #clause { #bindings #statements }
    )
}

/// A call of the inner function as the body of one with the user's signature.
fn forwarded(form: &Form, call: &TokenStream) -> TokenStream {
    match form {
        Form::Async => q!(#call.await),
        Form::Sync => call.clone(),
        Form::Boxed(Boxed { pin, .. }) => q!(#pin(#call)),
    }
}

/// The body, in which a parameter that only the attribute mentions counts as used.
fn body_with_uses(function: &Function, plan: &Read) -> TokenStream {
    let body = &function.body;
    let mentioned = crate::tokens::idents(&body.stream());
    let captured = crate::tokens::mentions(&body.stream());
    let bypass = plan.bypass.as_ref().map(|bypass| crate::tokens::mentions(&bypass.to_token_stream()));
    let known = plan.storing.bindings.iter().chain(bypass.iter().flatten());
    let unused: std::collections::BTreeSet<&String> =
        known.filter(|name| !mentioned.contains(*name) && !captured.contains(*name)).collect();
    let unused: Vec<&Ident> =
        unused.into_iter().filter_map(|name| function.binding(name)).map(|(_, binding)| binding).collect();
    if unused.is_empty() {
        return body.to_token_stream();
    }
    let (inner, statements) = crate::function::split_body(body);
    let uses = q!(#(let _ = &#unused;)*);
    let mut body = proc_macro2::Group::new(proc_macro2::Delimiter::Brace, quote::quote!(#inner #uses #statements));
    body.set_span(function.body.span());
    body.to_token_stream()
}

/// The user's signature under `name`, with patterns that can be passed on.
fn forwarding_signature(function: &Function, name: &Ident, inputs: &[TokenStream]) -> TokenStream {
    let sig = &function.sig;
    let (asyncness, generics, output, clause) =
        (&sig.asyncness, &sig.generics, &sig.output, &sig.generics.where_clause);
    let (fn_token, mut parens) =
        (&sig.fn_token, proc_macro2::Group::new(proc_macro2::Delimiter::Parenthesis, q!(#(#inputs),*)));
    parens.set_span(sig.paren_token.span.join());
    q!(#asyncness #fn_token #name #generics #parens #output #clause)
}

fn comma_after(inputs: &[TokenStream]) -> TokenStream {
    if inputs.is_empty() { TokenStream::new() } else { q!(,) }
}

//! `each(id in ids)`: look up every element, run the body with the missing ones, put the answer together.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens as _;
use syn::Type;

use super::capture::{Captures, Life};
use super::flow::{After, Body, by_move};
use super::{Cx, flow, generics, key};
use crate::model::{Batch, Key, Read, Uses};

/// Everything from the elements to the function's result.
pub(super) fn statements(
    cx: &Cx<'_>,
    plan: &Read,
    site: &TokenStream,
    mode: &TokenStream,
    body: &Body,
    inline: bool,
) -> TokenStream {
    let Some(Batch { element, param, elements, by }) = &plan.batch else { return TokenStream::new() };
    let p = cx.p();
    let at = cx.at(site);
    let mut shape = shape(cx);
    if plan.fails.is_some() {
        let raw = cx.shape();
        shape = q!(#raw let raw = shape; #shape);
    }
    // A list says by itself which element each of its values belongs to only where each has its place.
    let told = by.is_none().then(|| q!(#p::tells_elements(shape);));
    shape.extend(told);
    let write = key(cx, plan, element, site);
    let by = by.as_ref().map(|by| q!(batch.by(#by);));
    let own = |used: bool| used.then(|| q!(let #element = #p::capture(#element);));
    let owned = own(plan.tags.iter().any(|tag| !tag.uses().result && needs_owned(tag)));
    let known = flow::known(cx, plan, &q!(early));
    let mentioned = crate::tokens::idents(&known).iter().any(|ident| element == ident);
    let say = match (known.is_empty(), mentioned) {
        (true, _) => q!(|_, _| {}),
        (false, true) => q!(|early, #element| { #owned #known }),
        // What nobody uses would be reported as the user's own variable.
        (false, false) => q!(|early, _| { #known }),
    };
    let ttl = flow::ttl(cx, plan, &q!(batch));
    let after = After::new(plan);
    let needs = after.needs();
    // Said for every element, so nothing may be taken.
    let captures = Captures::new(cx, &needs, Life::Call, inline).shared();
    let runnable = body.runnable(cx, &captures.inside, by_move(cx, &needs));
    let on_value = (!after.is_empty()).then(|| {
        let owns = own(plan.tags.iter().any(|tag| tag.uses().result && needs_owned(tag)));
        let (statements, rebound) = (after.statements(cx, &captures), &captures.after);
        q!(#rebound batch.on_value(|#element, value, t| { #owns #statements });)
    });
    let captured = &captures.before;
    let (place, missing) = missing(cx, *param, elements);
    let look_up = if plan.fails.is_some() {
        q!(
            match at.batch(#mode, shape, #p::elements(&#elements), |w, #element| { #write }, #say).look_up_or_fail().await {
                ::core::result::Result::Ok(batch) => batch,
                ::core::result::Result::Err(error) => return #p::fail(raw, error),
            }
        )
    } else {
        q!(at.batch(#mode, shape, #p::elements(&#elements), |w, #element| { #write }, #say).look_up().await)
    };
    let run = q!(
        if let ::core::result::Result::Err(early) = batch.run(runnable).await {
            return early;
        }
        #on_value
    );
    let Some(bypass) = &plan.bypass else {
        return q!(
            #at
            #shape
            let mut batch = #look_up;
            #by
            if !batch.is_complete() {
                #ttl #captured
                #place
                #missing
                let runnable = #runnable;
                #run
            }
            batch.finish().await
        );
    };
    let bypass = cx.owned_arguments(bypass.to_token_stream());
    // The body stands once, for both ways.
    q!(
        #at
        #shape
        let bypass = #bypass;
        #place
        let (batch, #elements) = if bypass {
            at.bypassed();
            (::core::option::Option::None, #elements)
        } else {
            let mut batch = #look_up;
            #by
            if batch.is_complete() {
                return batch.finish().await;
            }
            #ttl
            #missing
            (::core::option::Option::Some(batch), #elements)
        };
        #captured
        let runnable = #runnable;
        let ::core::option::Option::Some(mut batch) = batch else { return runnable.await };
        #run
        batch.finish().await
    )
}

/// The closure body that writes the key of one element.
fn key(cx: &Cx<'_>, plan: &Read, element: &Ident, site: &TokenStream) -> TokenStream {
    let p = cx.p();
    match &plan.key {
        Key::Computed(function, arguments) => {
            let built = key::computed(cx, function, arguments);
            q!(let #element = #p::capture(#element); w.key(#built);)
        }
        Key::Resource(_) => {
            let body = key::key(cx, &plan.key, site);
            q!(let #element = #p::capture(#element); #body)
        }
        _ => key::key(cx, &plan.key, site),
    }
}

/// An expression gets the element by value, a template looks at it.
fn needs_owned(element: &crate::model::Element) -> bool {
    let uses: &Uses = element.uses();
    uses.element && !matches!(element, crate::model::Element::Text(_))
}

/// The batch's shape with the evidence that its elements can be stored.
pub(super) fn shape(cx: &Cx<'_>) -> TokenStream {
    let (p, output) = (cx.p(), &cx.function.output);
    let evidence = cx.stored("shape", "batch_storable");
    q!(let shape = #p::batch_shape!(#output); #evidence)
}

/// The parameter again, with the missing elements only.
fn missing(cx: &Cx<'_>, param: usize, elements: &Ident) -> (Option<TokenStream>, TokenStream) {
    let (p, ty) = (cx.p(), generics::elided(&cx.function.params[param].ty));
    match ty {
        Type::Reference(_) => (
            Some(q!(let missing;)),
            q!(
                missing = #p::missing_as(#elements, batch.missing());
                let #elements: #ty = &missing;
            ),
        ),
        _ => (None, q!(let #elements: #ty = #p::missing_as(&#elements, batch.missing());)),
    }
}

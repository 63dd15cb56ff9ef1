//! `each(id in ids)`: look up every element, run the body with the missing ones, put the answer together.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens as _;
use syn::Type;

use super::capture::{Captures, Life, Needs};
use super::flow::{After, Body, by_move};
use super::{Cx, flow, generics, key};
use crate::model::{Aging, Batch, Key, Read, Uses};

/// Everything from the elements to the function's result.
pub(super) fn statements(
    cx: &Cx<'_>,
    plan: &Read,
    site: &TokenStream,
    mode: &TokenStream,
    body: &Body,
    inline: bool,
) -> TokenStream {
    let Some(batch) = &plan.batch else { return TokenStream::new() };
    let (at, mut shape) = (cx.at(site), shape(cx));
    if plan.fails.is_some() {
        // Never called `shape`: of a return type that is refused, rustc would tell the one from the other.
        let (p, output) = (cx.p(), &cx.function.output);
        shape = q!(let raw = #p::shape!(#output); #shape);
    }
    if batch.by.is_none() {
        // A list says by itself which element each of its values belongs to only where each has its place.
        let p = cx.p();
        shape.extend(q!(#p::tells_elements(shape);));
    }
    let asked = asked(cx, plan, batch, site, mode);
    if plan.aging != Aging::None {
        let driven = aged(cx, plan, batch, &asked, body, inline);
        return q!(#at #shape #driven);
    }
    let p = cx.p();
    let look_up = if plan.fails.is_some() {
        q!(
            match #asked.look_up_or_fail().await {
                ::core::result::Result::Ok(batch) => batch,
                ::core::result::Result::Err(error) => return #p::fail(raw, error),
            }
        )
    } else {
        q!(#asked.look_up().await)
    };
    let Load { ttl, by, captured, place, missing, runnable, run } =
        Load::new(cx, plan, batch, body, inline, &q!(early));
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
    let (bypass, elements) = (cx.owned_arguments(bypass.to_token_stream()), &batch.elements);
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

/// A call whose elements may be old, or whose load may be given up: loads become futures, which the runtime drives.
fn aged(cx: &Cx<'_>, plan: &Read, batch: &Batch, asked: &TokenStream, body: &Body, inline: bool) -> TokenStream {
    let p = cx.p();
    let ask = if plan.fails.is_some() {
        q!(match #asked.ask_or_fail().await {
            ::core::result::Result::Ok(ask) => ask,
            ::core::result::Result::Err(error) => return #p::fail(raw, error),
        })
    } else {
        q!(#asked.ask().await)
    };
    let mut run = q!(match #ask {
        #p::BatchAsk::Done(ret) => return ret,
        #p::BatchAsk::Run(run) => run,
    });
    if let Some(bypass) = &plan.bypass {
        let bypass = cx.owned_arguments(bypass.to_token_stream());
        run = q!(if #bypass {
            at.bypassed();
            at.batch_past(shape)
        } else {
            #run
        });
    }
    let work = work(cx, plan, batch, body, inline);
    let (before, driven) = if plan.aging == Aging::Anywhere {
        // Up to two of them: what the caller waits for, and what is refreshed meanwhile. Each has all of it.
        let owned = Captures::new(cx, &Needs::everything(cx, inline), Life::Owned, inline);
        let (before, again, rebound, work) = (&owned.before, &owned.again, &owned.after, owned.with_self(work));
        let make = q!(move |loading| {
            #again
            async move { #rebound #work }
        });
        (q!(#before), q!(run.anywhere(#make).await))
    } else {
        (q!(let (drive, loading) = run.split(); let work = async { #work };), q!(drive.here(work).await))
    };
    let driven = if plan.fails.is_some() {
        q!(match #driven {
            ::core::result::Result::Ok(ret) => ret,
            ::core::result::Result::Err(error) => #p::fail(raw, error),
        })
    } else {
        q!(#p::certain(#driven))
    };
    q!(let run = #run; #before #driven)
}

/// One load from its beginning to its end.
fn work(cx: &Cx<'_>, plan: &Read, batch: &Batch, body: &Body, inline: bool) -> TokenStream {
    let (p, elements) = (cx.p(), &batch.elements);
    let begin = q!(
        let mut batch = match loader.begin(&at).await {
            ::core::result::Result::Ok(batch) => batch,
            ::core::result::Result::Err(ended) => return ended,
        };
    );
    let failed = q!(::core::option::Option::Some(batch.failed(early)));
    let Load { ttl, by, captured, place, missing, runnable, run } = Load::new(cx, plan, batch, body, inline, &failed);
    if plan.bypass.is_none() {
        return q!(
            let (at, loader) = loading.split();
            #begin
            #by
            if !batch.is_complete() {
                #ttl #captured
                #place
                #missing
                let runnable = #runnable;
                #run
            }
            ::core::option::Option::Some(batch.ended().await)
        );
    }
    q!(
        let (at, loader) = loading.split();
        #place
        let (batch, #elements) = if loader.is_past() {
            (::core::option::Option::None, #elements)
        } else {
            #begin
            #by
            if batch.is_complete() {
                return ::core::option::Option::Some(batch.ended().await);
            }
            #ttl
            #missing
            (::core::option::Option::Some(batch), #elements)
        };
        #captured
        let runnable = #runnable;
        let ::core::option::Option::Some(mut batch) = batch else {
            return ::core::option::Option::Some(#p::Ended::past(runnable.await));
        };
        #run
        ::core::option::Option::Some(batch.ended().await)
    )
}

/// The look at what is there at once.
fn asked(cx: &Cx<'_>, plan: &Read, batch: &Batch, site: &TokenStream, mode: &TokenStream) -> TokenStream {
    let Batch { element, elements, .. } = batch;
    let p = cx.p();
    let write = key(cx, plan, element, site);
    let own = plan.tags.iter().any(|tag| !tag.uses().result && needs_owned(tag));
    let owned = own.then(|| q!(let #element = #p::capture(#element);));
    let known = flow::known(cx, plan, &q!(early));
    let mentioned = crate::tokens::idents(&known).iter().any(|ident| element == ident);
    let say = match (known.is_empty(), mentioned) {
        (true, _) => q!(|_, _| {}),
        (false, true) => q!(|early, #element| { #owned #known }),
        // What nobody uses would be reported as the user's own variable.
        (false, false) => q!(|early, _| { #known }),
    };
    let asked = q!(at.batch(#mode, shape, #p::elements(&#elements), |w, #element| { #write }, #say));
    if plan.monitored { q!(#asked.monitored(|w, #element| { #write }, #p::same)) } else { asked }
}

/// The statements of a load with the missing elements.
struct Load {
    ttl: TokenStream,
    by: Option<TokenStream>,
    captured: TokenStream,
    place: Option<TokenStream>,
    missing: TokenStream,
    runnable: TokenStream,
    run: TokenStream,
}

impl Load {
    /// `failed`: what is returned where the body returns `early`.
    fn new(cx: &Cx<'_>, plan: &Read, batch: &Batch, body: &Body, inline: bool, failed: &TokenStream) -> Self {
        let Batch { element, param, elements, by } = batch;
        let p = cx.p();
        let after = After::new(plan);
        let needs = after.needs();
        // Said for every element, so nothing may be taken.
        let captures = Captures::new(cx, &needs, Life::Call, inline).shared();
        let on_value = (!after.is_empty()).then(|| {
            let own = plan.tags.iter().any(|tag| tag.uses().result && needs_owned(tag));
            let owns = own.then(|| q!(let #element = #p::capture(#element);));
            let (statements, rebound) = (after.statements(cx, &captures), &captures.after);
            // What nobody uses would be reported as the user's own variable.
            let mentioned = own || crate::tokens::idents(&statements).iter().any(|ident| element == ident);
            let element = if mentioned { q!(#element) } else { q!(_) };
            q!(#rebound batch.on_value(|#element, value, t| { #owns #statements });)
        });
        let (place, missing) = missing(cx, *param, elements, inline);
        Self {
            ttl: flow::ttl(cx, plan, &q!(batch)),
            by: by.as_ref().map(|by| q!(batch.by(#by);)),
            runnable: body.runnable(cx, &captures.inside, by_move(cx, &needs)),
            captured: captures.before,
            place,
            missing,
            run: q!(
                if let ::core::result::Result::Err(early) = batch.run(runnable).await {
                    return #failed;
                }
                #on_value
            ),
        }
    }
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
fn missing(cx: &Cx<'_>, param: usize, elements: &Ident, inline: bool) -> (Option<TokenStream>, TokenStream) {
    let (p, param) = (cx.p(), &cx.function.params[param]);
    let ty = generics::elided(&param.ty);
    // As it was declared, for a body that stands here.
    let mutable = (inline && param.is_mutable()).then(|| q!(mut));
    let used = mutable.as_ref().map(|_| q!(let _ = &mut #elements;));
    match ty {
        Type::Reference(_) => (
            Some(q!(let missing;)),
            q!(
                #used
                missing = #p::missing_as(#elements, batch.missing());
                let #mutable #elements: #ty = &missing;
            ),
        ),
        _ => (None, q!(#used let #mutable #elements: #ty = #p::missing_as(&#elements, batch.missing());)),
    }
}

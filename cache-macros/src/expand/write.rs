//! The way of a write: render, mark, run the body, invalidate, recache. The engine behind it is the runtime's.

use proc_macro2::{Ident, TokenStream};
use quote::format_ident;

use super::capture::{Captures, Life, Needs};
use super::flow::{Body, by_move};
use super::{Cx, key};
use crate::model::{Call, Element, Put, Write};

/// Everything from the cache to the function's result.
pub(super) fn statements(cx: &Cx<'_>, plan: &Write, site: &TokenStream) -> TokenStream {
    let at = cx.at(site);
    let lists: [(&str, &[Element]); 4] =
        [("tag", &plan.tags), ("key", &plan.keys), ("namespace", &plan.namespaces), ("pattern", &plan.patterns)];
    let elements = || lists.iter().flat_map(|(method, list)| list.iter().map(move |element| (*method, element)));

    let before: TokenStream = elements()
        .filter(|(_, element)| !element.uses().result)
        .map(|(method, element)| key::element(cx, element, method, None))
        .collect();
    let before = (!before.is_empty()).then(|| q!(write.with(|t| { #before });));
    let (put_before, put_after) = match &plan.put {
        Some(put) if put_uses(put) => (None, Some(put)),
        put => (put.as_ref(), None),
    };
    let put_statement = put_before.map(|put| {
        let target = target(cx, put, None);
        q!(write.put(#target);)
    });

    let mut needs = Needs::default();
    elements().filter(|(_, element)| element.uses().result).for_each(|(_, element)| needs.element(element));
    match put_after {
        Some(Put::Text(text)) => needs.text(text),
        Some(Put::Companion(call)) => needs.expr(call),
        None => {}
    }
    // Background work owns its arguments; the others are captured for this call.
    if !plan.background {
        plan.recache.iter().for_each(|call| needs.expr(&call.call));
    }
    let captures = Captures::new(cx, &needs, Life::Call, true);

    let after: TokenStream = elements()
        .filter(|(_, element)| element.uses().result)
        .map(|(method, element)| key::element(cx, element, method, Some(&captures)))
        .collect();
    let put_after = put_after.map(|put| {
        let (target, result) = (target(cx, put, Some(&captures)), key::result(put_result(put)));
        q!(#result t.put(#target);)
    });
    let on_value =
        (!after.is_empty() || put_after.is_some()).then(|| q!(done.on_value(|value, t| { #after #put_after });));

    let mut shape = cx.shape();
    if let Some(put) = &plan.put {
        let name = if matches!(put, Put::Text(_)) { "kept" } else { "_" };
        shape.extend(cx.stored(name, "storable"));
    }
    let invalidate = format_ident!(
        "invalidate{}{}",
        if plan.put.is_some() { "_and_put" } else { "" },
        if plan.fails.is_some() { "_or_fail" } else { "" }
    );
    let (begin, invalidate) = if plan.fails.is_some() {
        let p = cx.p();
        (
            q!(if let ::core::result::Result::Err(error) = write.begin_or_fail().await {
                return #p::fail(shape, error);
            }),
            q!(match done.#invalidate().await {
                ::core::result::Result::Ok(done) => done,
                ::core::result::Result::Err(error) => return #p::fail(shape, error),
            }),
        )
    } else {
        (q!(write.begin().await;), q!(done.#invalidate().await))
    };
    let owned = background_captures(cx, plan, &|_| true);
    let owned_before = owned.as_ref().map(|owned| &owned.before);
    let runnable = Body::inline(cx).runnable(cx, &captures.inside, by_move(cx, &needs));
    let (captured, rebound) = (&captures.before, &captures.after);
    let recache = recache(cx, plan, &captures, owned.as_ref());
    let mutable = on_value.is_some().then(|| q!(mut));
    q!(
        #at
        #shape
        let mut write = at.write(shape);
        #before
        #put_statement
        #begin
        #captured
        #owned_before
        let #mutable done = write.run(#runnable).await;
        #rebound
        #on_value
        let done = #invalidate;
        #recache
        done.finish()
    )
}

fn put_uses(put: &Put) -> bool {
    match put {
        Put::Text(text) => text.uses.result,
        Put::Companion(call) => call.uses.result,
    }
}

fn put_result(put: &Put) -> Option<&Ident> {
    match put {
        Put::Text(_) => None,
        Put::Companion(call) => call.result.as_ref(),
    }
}

/// An expression for the entry that the result becomes.
fn target(cx: &Cx<'_>, put: &Put, captures: Option<&Captures>) -> TokenStream {
    let p = cx.p();
    match put {
        Put::Text(text) => {
            let (canonical, segments) = (&text.canonical, key::segments(cx, text, captures));
            q!(#p::PutTarget::of_key(&at, #p::template_key(#canonical, |w| { #segments }), kept))
        }
        Put::Companion(call) => match captures {
            Some(captures) => captures.arguments(cx, call.tokens.clone()),
            None => cx.owned_arguments(call.tokens.clone()),
        },
    }
}

fn background_captures(cx: &Cx<'_>, plan: &Write, calls: &dyn Fn(&Call) -> bool) -> Option<Captures> {
    plan.background.then(|| {
        let mut needs = Needs::default();
        plan.recache.iter().filter(|call| calls(call)).for_each(|call| needs.expr(&call.call));
        Captures::new(cx, &needs, Life::Owned, true)
    })
}

/// The recaching calls, after the invalidation. One chain holds them all, so that they share one limit.
fn recache(cx: &Cx<'_>, plan: &Write, captures: &Captures, owned: Option<&Captures>) -> TokenStream {
    if plan.recache.is_empty() {
        return TokenStream::new();
    }
    let (p, limit) = (cx.p(), plan.concurrency);
    let limit = proc_macro2::Literal::usize_unsuffixed(limit);
    let chain = |calls: Vec<&Call>| {
        let calls = calls.into_iter().map(|call| {
            let tokens = owned.unwrap_or(captures).arguments(cx, call.call.tokens.clone());
            q!(.call(async { #p::succeeds!(#tokens.await) }))
        });
        q!(#p::Recaches::new()#(#calls)*)
    };
    let plain: Vec<&Call> = plan.recache.iter().filter(|call| !call.call.uses.result).collect();
    let mentions = plain.len() < plan.recache.len();
    let results: TokenStream = plan.recache.iter().map(|call| key::result(call.call.result.as_ref())).collect();
    let all = chain(plan.recache.iter().collect());
    let only_plain = (!plain.is_empty()).then(|| chain(plain));
    let Some(owned) = owned else {
        return if mentions {
            let otherwise = only_plain.map(|chain| q!(else { done.recache(#limit, #chain).await; }));
            q!(
                if let ::core::option::Option::Some(value) = done.value() {
                    #[allow(unused_variables)]
                    #results
                    done.recache(#limit, #all).await;
                } #otherwise
            )
        } else {
            q!(done.recache(#limit, #all).await;)
        };
    };
    let rebound = &owned.after;
    if mentions {
        let plain = background_captures(cx, plan, &|call| !call.call.uses.result).map(|captures| captures.after);
        let otherwise = only_plain
            .map(|chain| q!(else { done.background(async move { #plain #p::run_recaches(#limit, #chain).await }); }));
        q!(
            if let ::core::option::Option::Some(value) = ::core::option::Option::map(done.value(), ::core::clone::Clone::clone) {
                done.background(async move {
                    let value = &value;
                    #results
                    #rebound
                    #p::run_recaches(#limit, #all).await
                });
            } #otherwise
        )
    } else {
        q!(done.background(async move { #rebound #p::run_recaches(#limit, #all).await });)
    }
}

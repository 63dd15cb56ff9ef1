//! A call whose load may be given up, or go on in the background while an old value is returned: the load becomes one
//! future, which the runtime drives. Which of it happens, and when, is the runtime's.

use proc_macro2::TokenStream;
use quote::ToTokens as _;

use super::capture::{Captures, Life, Needs};
use super::flow::{self, After, Body};
use super::{Cx, key};
use crate::model::{Aging, Read};

/// Everything from the cache to the function's result.
pub(super) fn statements(
    cx: &Cx<'_>,
    plan: &Read,
    site: &TokenStream,
    mode: &TokenStream,
    body: &Body,
    inline: bool,
) -> TokenStream {
    let p = cx.p();
    let (at, shape) = (cx.at(site), flow::checked_shape(cx, plan));
    // The short way of a hit leads past what is looked at afterwards.
    let binds = plan.fails_first || plan.monitored;
    let key = if binds { key::binding(cx, &plan.key, site) } else { key::lookup(cx, &plan.key, site, mode) };
    let early = flow::early(cx, plan);
    let ask = if plan.fails.is_some() {
        q!(match at.ask_or_fail(#mode, &key, early, shape).await {
            ::core::result::Result::Ok(ask) => ask,
            ::core::result::Result::Err(error) => return #p::fail(raw, error),
        })
    } else {
        q!(at.ask(#mode, &key, early, shape).await)
    };
    let done = if plan.monitored {
        q!(match at.sampled(&key, shape, ret, #p::same) {
            ::core::result::Result::Ok(run) => run,
            ::core::result::Result::Err(ret) => return ret,
        })
    } else {
        q!(return ret)
    };
    let run = q!(match #ask {
        #p::Ask::Done(ret) => #done,
        #p::Ask::Run(run) => run,
    });
    let run = match &plan.bypass {
        None => q!(#key #early let run = #run;),
        Some(bypass) => {
            let bypass = cx.owned_arguments(bypass.to_token_stream());
            q!(let run = if #bypass {
                at.bypassed();
                at.run_past(shape)
            } else {
                #key
                #early
                #run
            };)
        }
    };
    // What the work owns where it may outlive the call; else it borrows what the call has.
    let owned = (plan.aging == Aging::Anywhere).then(|| Captures::new(cx, &Needs::borrowed(cx), Life::Owned, inline));
    let work = work(cx, plan, body, inline);
    let (before, work, drive) = match &owned {
        Some(owned) => {
            let (before, rebound, work) = (&owned.before, &owned.after, owned.with_self(work));
            (before.clone(), q!(async move { #rebound #work }), q!(anywhere))
        }
        None => (TokenStream::new(), q!(async { #work }), q!(here)),
    };
    let driven = if plan.fails.is_some() {
        q!(match drive.#drive(work).await {
            ::core::result::Result::Ok(ret) => ret,
            ::core::result::Result::Err(error) => #p::fail(raw, error),
        })
    } else {
        q!(#p::certain(drive.#drive(work).await))
    };
    q!(#at #shape #run let (drive, loading) = run.split(); #before let work = #work; #driven)
}

/// The load from its beginning to its end.
fn work(cx: &Cx<'_>, plan: &Read, body: &Body, inline: bool) -> TokenStream {
    let ttl = flow::ttl(cx, plan, &q!(load));
    let after = After::new(plan);
    let needs = after.needs();
    let captures = Captures::new(cx, &needs, Life::Call, inline);
    let runnable = body.runnable(cx, &captures.inside, flow::by_move(cx, &needs));
    let mutable = (!ttl.is_empty()).then(|| q!(mut));
    let (captured, said, rebound) = (&captures.before, after.statements(cx, &captures), &captures.after);
    let finish = if after.is_empty() {
        q!(load.run(runnable).await.finish().await)
    } else {
        q!({
            let mut done = load.run(runnable).await;
            #rebound
            done.on_value(|value, t| { #said });
            done.finish().await
        })
    };
    q!(
        let (at, loader) = loading.split();
        let #mutable load = loader.begin(&at).await?;
        #ttl
        #captured
        let runnable = #runnable;
        ::core::option::Option::Some(#finish)
    )
}

//! The way of a call through the cache, as statements: key, look-up, body, store. The engine behind it is the runtime's.

use proc_macro2::TokenStream;
use quote::ToTokens as _;

use super::capture::{Captures, Life, Needs};
use super::{Cx, aging, batch, key};
use crate::args::Ttl;
use crate::function::{self, Form};
use crate::model::{Aging, Element, Read};

/// How the user's body is started.
#[derive(Debug)]
pub(super) enum Body {
    /// An expression that calls the function which holds it.
    Call(TokenStream),
    /// The body itself.
    Inline(Inline),
}

#[derive(Debug)]
pub(super) struct Inline {
    statements: TokenStream,
    fake: TokenStream,
}

impl Body {
    pub(super) fn inline(cx: &Cx<'_>) -> Self {
        let (_, statements) = function::split_body(&cx.function.body);
        let statements = match &cx.function.form {
            Form::Boxed(boxed) => boxed.rest.clone(),
            _ => statements,
        };
        Self::Inline(Inline { statements, fake: function::fake_return(&cx.function.output) })
    }

    /// The future of the body, or its closure where nothing is async.
    pub(super) fn runnable(&self, cx: &Cx<'_>, inside: &TokenStream, by_move: bool) -> TokenStream {
        let capture = by_move.then(|| q!(move));
        match (self, &cx.function.form) {
            (Self::Call(call), Form::Sync) => q!(|| #call),
            (Self::Call(call), _) => call.clone(),
            (Self::Inline(Inline { statements, fake }), Form::Sync) => q!(#capture || { #inside #fake #statements }),
            (Self::Inline(Inline { statements, fake }), _) => q!(async #capture { #inside #fake #statements }),
        }
    }
}

/// What needs the value and so runs after the body.
pub(super) struct After<'a> {
    tags: Vec<&'a Element>,
    plan: &'a Read,
}

impl<'a> After<'a> {
    pub(super) fn new(plan: &'a Read) -> Self {
        Self { tags: plan.tags.iter().filter(|tag| tag.uses().result).collect(), plan }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty()
            && !matches!(self.plan.ttl, Some(Ttl::OfValue(_)))
            && self.plan.store_if.is_none()
            && self.plan.store_unless.is_none()
    }

    pub(super) fn needs(&self) -> Needs<'a> {
        let mut needs = Needs::default();
        self.tags.iter().for_each(|tag| needs.element(tag));
        if matches!(self.plan.ttl, Some(Ttl::OfValue(_))) {
            needs.uses(&self.plan.ttl_uses);
        }
        self.plan.store_if.iter().chain(&self.plan.store_unless).for_each(|closure| needs.expr(closure));
        needs
    }

    /// The statements of the closure over `value` and `t`.
    pub(super) fn statements(&self, cx: &Cx<'_>, captures: &Captures) -> TokenStream {
        let p = cx.p();
        let mut out: TokenStream = self.tags.iter().map(|tag| key::element(cx, tag, "tag", Some(captures))).collect();
        if let Some(Ttl::OfValue(closure)) = &self.plan.ttl {
            let closure = captures.arguments(cx, cx.renamed(closure.to_token_stream()));
            out.extend(q!(t.ttl(#p::with(value, #closure));));
        }
        if let Some(closure) = &self.plan.store_if {
            let closure = captures.arguments(cx, closure.tokens.clone());
            out.extend(q!(t.store_if(#p::with(value, #closure));));
        }
        if let Some(closure) = &self.plan.store_unless {
            let closure = captures.arguments(cx, closure.tokens.clone());
            out.extend(q!(t.store_if(!#p::with(value, #closure));));
        }
        out
    }
}

/// [`shape`], with what options ask of the return type. `raw` is what an error of the cache becomes a return value by.
pub(super) fn checked_shape(cx: &Cx<'_>, plan: &Read) -> TokenStream {
    let mut shape = shape(cx, plan);
    if plan.fails.is_some() {
        let raw = cx.shape();
        shape = q!(#raw let raw = shape; #shape);
    }
    for (name, span) in &plan.evidence {
        let (raw, check) = crate::hygiene::located(*span, || {
            let (p, name) = (cx.p(), proc_macro2::Ident::new(name, crate::hygiene::span()));
            (cx.shape(), q!(#p::#name(shape);))
        });
        shape = q!(#raw #check #shape);
    }
    shape
}

/// What needs no value, rendered before anything awaits.
pub(super) fn early(cx: &Cx<'_>, plan: &Read) -> TokenStream {
    let said = known(cx, plan, &q!(early));
    let mutable = (!said.is_empty()).then(|| q!(mut));
    q!(let #mutable early = at.early(); #said)
}

/// The statements on a sink that say the tags and the namespace, as far as they need no value.
pub(super) fn known(cx: &Cx<'_>, plan: &Read, sink: &TokenStream) -> TokenStream {
    let mut out = TokenStream::new();
    let tags: TokenStream =
        plan.tags.iter().filter(|tag| !tag.uses().result).map(|tag| key::element(cx, tag, "tag", None)).collect();
    if !tags.is_empty() {
        out.extend(q!(#sink.tags(|t| { #tags });));
    }
    if let Some(namespace) = &plan.namespace {
        let segments = key::segments(cx, namespace, None);
        out.extend(q!(#sink.namespace(|w| { #segments });));
    }
    out
}

/// The statement on a sink that says a ttl which is known at run time only.
pub(super) fn ttl(cx: &Cx<'_>, plan: &Read, sink: &TokenStream) -> TokenStream {
    let Some(Ttl::Dynamic(expr)) = &plan.ttl else { return TokenStream::new() };
    let expr = cx.owned_arguments(cx.renamed(expr.to_token_stream()));
    q!(#sink.ttl(#expr);)
}

/// The shape of one entry with the evidence that its bounds hold.
pub(super) fn shape(cx: &Cx<'_>, plan: &Read) -> TokenStream {
    if plan.batch.is_some() {
        let (p, shape) = (cx.p(), batch::shape(cx));
        return q!(#shape let shape = #p::BatchCached::one(shape););
    }
    let (p, output) = (cx.p(), &cx.function.output);
    let shape = if plan.keeps_errors { q!(let shape = #p::keeping_shape!(#output);) } else { cx.shape() };
    let evidence = if plan.memoize { cx.evidence("shape", "memoizable") } else { cx.stored("shape", "storable") };
    q!(#shape #evidence)
}

/// Everything from the cache to the function's result.
pub(super) fn statements(
    cx: &Cx<'_>,
    plan: &Read,
    site: &TokenStream,
    mode: &TokenStream,
    body: &Body,
    inline: bool,
) -> TokenStream {
    if plan.batch.is_some() {
        return batch::statements(cx, plan, site, mode, body, inline);
    }
    if plan.aging != Aging::None {
        return aging::statements(cx, plan, site, mode, body, inline);
    }
    let p = cx.p();
    let is_sync = matches!(cx.function.form, Form::Sync);
    let dot_await = (!is_sync).then(|| q!(.await));
    let (read, run, finish) = match (is_sync, plan.fails.is_some()) {
        (true, _) => (q!(miss_blocking), q!(run_blocking), q!(finish_blocking)),
        (false, true) => (q!(read_or_fail), q!(run), q!(finish)),
        (false, false) => (q!(miss), q!(run), q!(finish)),
    };
    let at = cx.at(site);
    let shape = checked_shape(cx, plan);
    // A hit is over before anything of it has to outlive an await: the key moves into the future only on a miss.
    let key =
        if plan.fails.is_some() { key::binding(cx, &plan.key, site) } else { key::lookup(cx, &plan.key, site, mode) };
    let (early, ttl) = (early(cx, plan), ttl(cx, plan, &q!(load)));
    let after = After::new(plan);
    let needs = after.needs();
    let captures = Captures::new(cx, &needs, Life::Call, inline);
    let runnable = body.runnable(cx, &captures.inside, by_move(cx, &needs));
    let mutable = (!ttl.is_empty()).then(|| q!(mut));
    let look_up = if plan.fails.is_some() {
        q!(match at.#read(#mode, &key, early, shape).await {
            ::core::result::Result::Ok(#p::Step::Done(ret)) => return ret,
            ::core::result::Result::Ok(#p::Step::Load(load)) => load,
            ::core::result::Result::Err(error) => return #p::fail(raw, error),
        })
    } else {
        q!(match at.#read(#mode, &key, early, shape)#dot_await {
            #p::Step::Done(ret) => return ret,
            #p::Step::Load(load) => load,
        })
    };
    let captured = &captures.before;
    let finish = if after.is_empty() {
        q!(load.#run(runnable)#dot_await.#finish()#dot_await)
    } else {
        let (statements, after) = (after.statements(cx, &captures), &captures.after);
        q!(
            let mut done = load.#run(runnable)#dot_await;
            #after
            done.on_value(|value, t| { #statements });
            done.#finish()#dot_await
        )
    };
    let Some(bypass) = &plan.bypass else {
        return q!(#at #shape #key #early let #mutable load = #look_up; #ttl #captured let runnable = #runnable; #finish);
    };
    let bypass = cx.owned_arguments(bypass.to_token_stream());
    let direct = if is_sync { q!(runnable()) } else { q!(runnable.await) };
    q!(
        #at
        let load = if #bypass {
            at.bypassed();
            ::core::option::Option::None
        } else {
            #shape
            #key
            #early
            let #mutable load = #look_up;
            #ttl
            ::core::option::Option::Some(load)
        };
        #captured
        let runnable = #runnable;
        let ::core::option::Option::Some(load) = load else { return #direct };
        #finish
    )
}

/// Whether the body's block takes its arguments. It must where the future is to be as `Send` as the body; it cannot
/// where `&mut self` is used again afterwards.
pub(super) fn by_move(cx: &Cx<'_>, needs: &Needs<'_>) -> bool {
    !needs.self_value || cx.function.self_is_shared()
}

//! The verbs of a companion: invalidate, peek, put, and so on, for the parameters that select an entry.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens as _, quote};
use syn::{GenericParam, Generics, Lifetime, Type};

use super::capture::{Captures, Life};
use super::flow::{self, After};
use super::{Cx, generics, key, signature};
use crate::function::{Form, Param};
use crate::model::{Batch, Key, Place, Read, Uses};

/// What a function stores, as a constant can name it: where nothing of the function or of an `impl` is in it.
pub(super) fn stored_type(cx: &Cx<'_>, plan: &Read) -> Option<TokenStream> {
    let verbs = Verbs::new(cx, plan, TokenStream::new());
    (plan.common.place == Place::Name && !verbs.is_generic()).then(|| verbs.type_of("ValueOf"))
}

/// Types and parameters that several verbs share.
#[derive(Debug)]
pub(super) struct Verbs<'a> {
    cx: &'a Cx<'a>,
    plan: &'a Read,
    /// An expression for the site.
    site: TokenStream,
    /// Signatures only.
    stub: bool,
}

impl<'a> Verbs<'a> {
    pub(super) fn new(cx: &'a Cx<'a>, plan: &'a Read, site: TokenStream) -> Self {
        Self { cx, plan, site, stub: false }
    }

    /// The signatures alone, for a function whose attribute has mistakes.
    pub(super) fn stub(cx: &'a Cx<'a>, plan: &'a Read) -> Self {
        Self { cx, plan, site: TokenStream::new(), stub: true }
    }

    /// Whether signatures can say what is stored.
    pub(super) fn has_a_nameable_value(&self) -> bool {
        self.plan.batch.is_none() || !self.is_generic()
    }

    fn body(&self, body: TokenStream) -> TokenStream {
        if self.stub { q!(::core::unreachable!()) } else { body }
    }

    fn is_sync(&self) -> bool {
        matches!(self.cx.function.form, Form::Sync)
    }

    /// Whether constants cannot tell what the function returns, since it depends on a type parameter.
    fn is_generic(&self) -> bool {
        let in_impl = self.plan.common.place != Place::Name;
        generics::is_generic(&self.cx.function.sig.generics, &self.cx.function.output, in_impl)
    }

    /// A value whose type was found by method look-up, as the one that the signature says by traits.
    fn retyped(&self, value: TokenStream) -> TokenStream {
        let p = self.cx.p();
        if self.is_generic() { q!(#p::retype(#value)) } else { value }
    }

    /// `ValueOf` or `OutOf` of the return type.
    pub(super) fn type_of(&self, what: &str) -> TokenStream {
        let (p, function) = (self.cx.p(), self.cx.function);
        let generic = self.is_generic();
        let ty = if generic { function.output.clone() } else { generics::without_lifetimes(&function.output) };
        let name = match &self.plan.batch {
            Some(_) => quote::format_ident!("Element{what}"),
            None => quote::format_ident!("{what}{}", if generic { "Generic" } else { "" }),
        };
        q!(#p::#name!(#ty))
    }

    /// The parameters in `uses`, in signature order.
    pub(super) fn inputs(&self, uses: &Uses) -> Vec<TokenStream> {
        let params = self.cx.function.params.iter().enumerate();
        params
            .filter(|(index, _)| uses.params.contains(index))
            .map(|(index, param)| match self.plan.batch.as_ref().filter(|batch| batch.param == index) {
                Some(batch) => self.element_input(batch, param),
                None => signature::verb_input(param),
            })
            .collect()
    }

    /// A verb of a batch function is about one element.
    fn element_input(&self, batch: &Batch, param: &Param) -> TokenStream {
        let (p, element) = (self.cx.p(), &batch.element);
        let ty = match &param.ty {
            Type::Reference(reference) => &*reference.elem,
            ty => ty,
        };
        q!(#element: <#ty as #p::Elements>::Item)
    }

    pub(super) fn generics(&self, inputs: &[TokenStream], uses: &Uses, with_output: bool) -> Generics {
        let output = with_output.then_some(&self.cx.function.output);
        let mut generics =
            generics::subset(&self.cx.function.sig.generics, &quote!(#(#inputs),* #output), &uses.generics);
        if let Some(output) = output.filter(|_| self.is_generic()) {
            let p = self.cx.p();
            // `Unpin` is what tells a type from a parameter that could hide a `Result`; said here, only the function itself
            // is blamed where it is missing. First, so that rustc offers to add to the same place as in the function itself.
            generics.make_where_clause().predicates.insert(
                0,
                syn::parse_quote!(
                    #output: #p::Declared<
                        Value: ::core::marker::Send + ::core::marker::Sync + 'static,
                        Out: ::core::marker::Send + 'static,
                    > + ::core::marker::Unpin
                ),
            );
        }
        generics
    }

    /// `let at = ..; let key = ..;`
    fn looked_up(&self) -> TokenStream {
        let at = self.cx.at(&self.site);
        let key = key::binding(self.cx, &self.plan.key, &self.site);
        q!(#at #key)
    }

    fn doc(text: &str) -> TokenStream {
        q!(#[doc = #text])
    }

    /// One public verb. `body` is its async body, `now` the one of a function that is not async.
    #[allow(clippy::too_many_arguments, reason = "one row of a table")]
    fn verb(
        &self,
        doc: &str,
        name: &TokenStream,
        generics: &Generics,
        inputs: &[TokenStream],
        output: &TokenStream,
        body: &TokenStream,
        now: &TokenStream,
    ) -> TokenStream {
        let (p, vis, doc) = (self.cx.p(), &self.cx.function.vis, Self::doc(doc));
        let (params, _, clause) = generics.split_for_impl();
        let params = params.to_token_stream();
        let (body, now) = (self.body(body.clone()), self.body(now.clone()));
        if self.is_sync() {
            q!(#doc #vis fn #name #params(#(#inputs),*) -> #p::Immediate<#output> #clause { #now })
        } else {
            q!(#doc #vis async fn #name #params(#(#inputs),*) -> #output #clause { #body })
        }
    }

    pub(super) fn invalidate(&self) -> TokenStream {
        let p = self.cx.p();
        let inputs = self.inputs(&self.plan.selecting);
        let generics = self.generics(&inputs, &self.plan.selecting, false);
        let output = q!(::core::result::Result<(), #p::Error>);
        let doc = "Drops the entry of these arguments, everywhere.";
        let entry = self.looked_up();
        self.verb(
            doc,
            &q!(invalidate),
            &generics,
            &inputs,
            &output,
            &q!(#entry at.invalidate(&key).await),
            &q!(#entry #p::immediate(at.invalidate_now(&key))),
        )
    }

    pub(super) fn peek(&self) -> TokenStream {
        let (p, entry, out) = (self.cx.p(), self.looked_up(), self.type_of("OutOf"));
        let inputs = self.inputs(&self.plan.selecting);
        let generics = self.generics(&inputs, &self.plan.selecting, true);
        let shape = flow::shape(self.cx, self.plan);
        let output = q!(::core::result::Result<::core::option::Option<#out>, #p::Error>);
        let (peek, peek_now) =
            (self.retyped(q!(at.peek(&key, shape).await)), self.retyped(q!(at.peek_now(&key, shape))));
        self.verb(
            "The cached value for these arguments, if there is one. Never runs the function.",
            &q!(peek),
            &generics,
            &inputs,
            &output,
            &q!(#entry #shape #peek),
            &q!(#entry #shape #p::immediate(#peek_now)),
        )
    }

    pub(super) fn put(&self) -> TokenStream {
        let (p, value) = (self.cx.p(), self.type_of("ValueOf"));
        let own = self.inputs(&self.plan.storing);
        let generics = self.generics(&own, &self.plan.storing, true);
        let mut inputs = vec![q!(value: impl #p::Put<#value>)];
        inputs.extend(own);
        let output = q!(::core::result::Result<(), #p::Error>);
        let target =
            self.call_of_target(&q!(Self::__put), &generics, None).unwrap_or_else(|| self.inline_target(&value));
        // With the shape as evidence, a type that cannot be stored is one error; generic signatures have said it themselves.
        let (store, store_now) = if self.is_generic() {
            (q!(#target.store(value).await), q!(#p::immediate(#target.store_now(value))))
        } else {
            let shape = flow::shape(self.cx, self.plan);
            (
                q!(#shape #p::store(shape, #target, value).await),
                q!(#shape #p::immediate(#p::store_now(shape, #target, value))),
            )
        };
        self.verb(
            "Stores `value` as the entry of these arguments, with the function's tags and ttl.",
            &q!(put),
            &generics,
            &inputs,
            &output,
            &store,
            &store_now,
        )
    }

    /// A call of the function that makes the target, where all its parameters can be passed on.
    fn call_of_target(
        &self,
        path: &TokenStream,
        generics: &Generics,
        this: Option<&TokenStream>,
    ) -> Option<TokenStream> {
        let params =
            self.cx.function.params.iter().enumerate().filter(|(index, _)| self.plan.storing.params.contains(index));
        let mut arguments: Vec<TokenStream> = this.into_iter().cloned().collect();
        for (index, param) in params {
            arguments.push(match self.plan.batch.as_ref().filter(|batch| batch.param == index) {
                Some(batch) => batch.element.to_token_stream(),
                None => param.rebuilt.clone()?,
            });
        }
        let names: Vec<&Ident> = generics
            .params
            .iter()
            .filter_map(|param| match param {
                GenericParam::Type(param) => Some(&param.ident),
                GenericParam::Const(param) => Some(&param.ident),
                _ => None,
            })
            .collect();
        let turbofish = (!names.is_empty()).then(|| q!(::<#(#names),*>));
        Some(q!(#path #turbofish(#(#arguments),*)))
    }

    fn inline_target(&self, value: &TokenStream) -> TokenStream {
        let (p, target) = (self.cx.p(), self.target());
        q!({ let target: #p::PutTarget<#value> = { #target }; target })
    }

    /// `f_entry(..) -> Entry`, for methods; `put` is the function that makes the target.
    pub(super) fn entry(&self, name: &Ident, put: &Ident, this: Option<&TokenStream>) -> TokenStream {
        let (vis, runtime, value) = (&self.cx.function.vis, self.cx.runtime(), self.type_of("ValueOf"));
        let inputs = self.inputs(&self.plan.storing);
        let generics = self.generics(&inputs, &self.plan.storing, true);
        let (params, _, clause) = generics.split_for_impl();
        let target =
            self.call_of_target(&q!(Self::#put), &generics, this).unwrap_or_else(|| self.inline_target(&value));
        let (params, handle) = (params.to_token_stream(), self.body(q!(#target.into_entry())));
        let receiver = this.map(|this| q!(&#this,));
        let doc = Self::doc(&format!(
            "The entry of [`Self::{}`] for these arguments: invalidate it, look at it, replace it.",
            self.cx.function.name()
        ));
        q!(#doc #[must_use] #vis fn #name #params(#receiver #(#inputs),*) -> #runtime::Entry<#value> #clause { #handle })
    }

    /// The statements that end in a `PutTarget`.
    fn target(&self) -> TokenStream {
        let (statements, put) = (self.target_statements(), self.retyped(q!(put)));
        q!(#statements #put)
    }

    fn target_statements(&self) -> TokenStream {
        let (cx, plan, p) = (self.cx, self.plan, self.cx.p());
        let (entry, shape) = (self.looked_up(), flow::shape(cx, plan));
        let mut before = flow::known(cx, plan, &q!(put));
        before.extend(flow::ttl(cx, plan, &q!(put)));
        let after = After::new(plan);
        let captures = Captures::new(cx, &after.needs(), Life::Owned, false);
        let on_value = (!after.is_empty()).then(|| {
            let (captured, rebound, statements) = (&captures.before, &captures.after, after.statements(cx, &captures));
            q!(#captured put.on_value(move |value, t| { #rebound #statements });)
        });
        let mutable = (!before.is_empty() || on_value.is_some()).then(|| q!(mut));
        q!(#entry #shape let #mutable put = #p::PutTarget::new(&at, &key, shape); #before #on_value)
    }

    /// `name(..) -> PutTarget`, for `put = ..` of writes.
    pub(super) fn hidden_target(&self, name: &TokenStream, receiver: &TokenStream) -> TokenStream {
        let (p, vis, value) = (self.cx.p(), &self.cx.function.vis, self.type_of("ValueOf"));
        let inputs = self.inputs(&self.plan.storing);
        let generics = self.generics(&inputs, &self.plan.storing, true);
        let (params, _, clause) = generics.split_for_impl();
        let (params, target) = (params.to_token_stream(), self.body(self.target()));
        q!(#[doc(hidden)] #vis fn #name #params(#receiver #(#inputs),*) -> #p::PutTarget<#value> #clause { #target })
    }

    pub(super) fn key(&self) -> TokenStream {
        let (p, runtime, vis) = (self.cx.p(), self.cx.runtime(), &self.cx.function.vis);
        let inputs = self.inputs(&self.plan.selecting);
        let generics = self.generics(&inputs, &self.plan.selecting, false);
        let (params, _, clause) = generics.split_for_impl();
        let (params, doc) = (params.to_token_stream(), Self::doc("The key of these arguments."));
        let body = match &self.plan.key {
            Key::Computed(function, arguments) => {
                let built = key::computed(self.cx, function, arguments);
                q!(::core::convert::Into::into(#built))
            }
            other => {
                let (site, body) = (&self.site, key::key(self.cx, other, &self.site));
                q!(#p::logical_key(#site, |w| { #body }))
            }
        };
        let body = self.body(body);
        q!(#doc #[must_use] #vis fn key #params(#(#inputs),*) -> #runtime::Key #clause { #body })
    }

    pub(super) fn clear(&self) -> TokenStream {
        let p = self.cx.p();
        // `cache = expr` may need parameters here, too.
        let (uses, at) = (self.cache_uses(), self.cx.at(&self.site));
        let inputs = self.inputs(&uses);
        let generics = self.generics(&inputs, &uses, false);
        let output = q!(::core::result::Result<(), #p::Error>);
        self.verb(
            "Drops all entries of this function; the cost does not depend on how many there are.",
            &q!(clear),
            &generics,
            &inputs,
            &output,
            &q!(#at at.clear().await),
            &q!(#at #p::immediate(at.clear_now())),
        )
    }

    pub(super) fn stats(&self) -> TokenStream {
        let (runtime, vis) = (self.cx.runtime(), &self.cx.function.vis);
        let (uses, at) = (self.cache_uses(), self.cx.at(&self.site));
        let inputs = self.inputs(&uses);
        let generics = self.generics(&inputs, &uses, false);
        let (params, _, clause) = generics.split_for_impl();
        let body = self.body(q!(#at at.stats()));
        let (params, doc) = (params.to_token_stream(), Self::doc("What the cache did for this function so far."));
        q!(#doc #[must_use] #vis fn stats #params(#(#inputs),*) -> #runtime::FunctionStats #clause { #body })
    }

    fn cache_uses(&self) -> Uses {
        let Some(cache) = &self.plan.common.cache else { return Uses::default() };
        let scope = crate::check::Scope::new(self.cx.function, "cache", crate::check::When::Before);
        scope.uses(&cache.to_token_stream())
    }

    /// `warm(items, |item| (arguments))`.
    pub(super) fn warm(&self, call: &TokenStream) -> TokenStream {
        let function = self.cx.function;
        if function.params.is_empty() || function.params.iter().any(Param::has_impl_trait) {
            return TokenStream::new();
        }
        let (p, vis, output) = (self.cx.p(), &function.vis, &function.output);
        let mut lifetimes: Vec<Lifetime> = Vec::new();
        let types: Vec<Type> =
            function.params.iter().map(|param| generics::name_lifetimes(&param.ty, &mut lifetimes)).collect();
        let implied = generics::implied_bounds(&function.sig.generics, &types);
        let names: Vec<_> =
            (0..types.len()).map(|i| quote::format_ident!("a{i}", span = crate::hygiene::span())).collect();
        let own = &function.sig.generics;
        let own_lifetimes = own.lifetimes();
        let others = own.params.iter().filter(|param| !matches!(param, syn::GenericParam::Lifetime(_)));
        let predicates = own.where_clause.iter().flat_map(|clause| &clause.predicates);
        let dot_await = (!self.is_sync()).then(|| q!(.await));
        let body = self.body(
            q!(#p::warm(::core::iter::Iterator::map(::core::iter::IntoIterator::into_iter(items), move |item| {
                let (#(#names,)*) = #p::IntoArgs::into_args(with(item));
                async move { #p::succeeded(#p::shape!(#output), &#call(#p::Mode::Read, #(#names),*)#dot_await) }
            }))),
        );
        // An opaque type needs a body.
        let calls = if self.stub {
            q!(::core::iter::Empty<::core::future::Ready<bool>>)
        } else {
            q!(impl ::core::iter::Iterator<Item = impl ::core::future::Future<Output = bool>>)
        };
        let doc = Self::doc("Calls the function for every item, several at a time, so that later calls are hits.");
        q!(
            #doc
            #vis fn warm<'__warm, #(#lifetimes,)* #(#own_lifetimes,)* #(#others,)* __Items, __Args, __With>(
                items: __Items,
                mut with: __With,
            ) -> #p::Warm<'__warm, #calls>
            where
                __Items: ::core::iter::IntoIterator,
                __With: ::core::ops::FnMut(__Items::Item) -> __Args,
                __Args: #p::IntoArgs<(#(#types,)*)>,
                #(#implied,)*
                #(#predicates,)*
            {
                #body
            }
        )
    }
}

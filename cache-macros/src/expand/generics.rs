//! Generic parameters for generated functions that take only some of the user's parameters.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{GenericArgument, GenericParam, Generics, Lifetime, Type, TypeParamBound, TypeReference, WherePredicate};

use crate::tokens;

/// What is left of `generics` for a signature that mentions only `mentioned`; bounds about others go with them.
pub(super) fn subset(generics: &Generics, mentioned: &TokenStream, also: &BTreeSet<String>) -> Generics {
    let mut idents = tokens::idents(mentioned);
    idents.extend(also.iter().cloned());
    let all: BTreeSet<String> = generics.params.iter().map(name).collect();
    let kept: BTreeSet<String> = all.iter().filter(|name| idents.contains(*name)).cloned().collect();
    let allowed = |tokens: &dyn Fn() -> TokenStream| {
        tokens::idents(&tokens()).iter().all(|ident| !all.contains(ident) || kept.contains(ident))
    };
    let mut out = Generics { lt_token: generics.lt_token, gt_token: generics.gt_token, ..Generics::default() };
    for param in &generics.params {
        if !kept.contains(&name(param)) {
            continue;
        }
        let mut param = param.clone();
        match &mut param {
            GenericParam::Type(param) => {
                param.bounds = std::mem::take(&mut param.bounds)
                    .into_iter()
                    .filter(|bound: &TypeParamBound| allowed(&|| bound.to_token_stream()))
                    .collect();
                if param.bounds.is_empty() {
                    param.colon_token = None;
                }
            }
            GenericParam::Lifetime(param) => {
                param.bounds = std::mem::take(&mut param.bounds)
                    .into_iter()
                    .filter(|bound: &Lifetime| allowed(&|| bound.to_token_stream()))
                    .collect();
                if param.bounds.is_empty() {
                    param.colon_token = None;
                }
            }
            _ => {}
        }
        out.params.push(param);
    }
    if out.params.is_empty() {
        (out.lt_token, out.gt_token) = (None, None);
    }
    if let Some(clause) = &generics.where_clause {
        let predicates: Vec<&WherePredicate> = clause
            .predicates
            .iter()
            .filter(|predicate| {
                let idents = tokens::idents(&predicate.to_token_stream());
                allowed(&|| predicate.to_token_stream()) && idents.iter().any(|ident| kept.contains(ident))
            })
            .collect();
        if !predicates.is_empty() {
            let kept = out.make_where_clause();
            kept.where_token = clause.where_token;
            kept.predicates.extend(predicates.into_iter().cloned());
        }
    }
    out
}

fn name(param: &GenericParam) -> String {
    match param {
        GenericParam::Lifetime(param) => param.lifetime.to_string(),
        GenericParam::Type(param) => param.ident.to_string(),
        GenericParam::Const(param) => param.ident.to_string(),
    }
}

/// Whether `ty` mentions a type or const parameter of the function, or, in an `impl`, looks as if it mentioned one of that.
pub(super) fn is_generic(generics: &Generics, ty: &Type, in_impl: bool) -> bool {
    let own: BTreeSet<String> = generics.params.iter().map(name).collect();
    tokens::idents(&ty.to_token_stream())
        .iter()
        .any(|ident| own.contains(ident) && !ident.starts_with('\'') || in_impl && looks_like_a_parameter(ident))
}

/// `T`, `DB`, `K1`: nothing else of an `impl` is visible from one of its methods.
fn looks_like_a_parameter(ident: &str) -> bool {
    ident.len() <= 2
        && ident.starts_with(|c: char| c.is_ascii_uppercase())
        && ident.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// The type with every lifetime `'static`: what is stored has none, and constants cannot mention others.
pub(crate) fn without_lifetimes(ty: &Type) -> Type {
    struct Static;
    impl VisitMut for Static {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            *lifetime = Lifetime::new("'static", lifetime.span());
        }
        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            reference.lifetime = Some(Lifetime::new("'static", reference.and_token.span));
            visit_mut::visit_type_reference_mut(self, reference);
        }
        fn visit_type_fn_ptr_mut(&mut self, _: &mut syn::TypeFnPtr) {}
    }
    let mut ty = ty.clone();
    Static.visit_type_mut(&mut ty);
    ty
}

/// What a function's parameters say without saying it: `T: 'a` for `&'a T`, and `'b: 'a` for `&'a mut Connection<'b>`.
///
/// A path with a lifetime is taken as a reference with that lifetime to its other arguments, as `Cow<'a, [&'b str]>` is:
/// too much for a few types, which costs a caller nothing where lifetimes can be shortened.
pub(super) fn implied_bounds(generics: &Generics, types: &[Type]) -> Vec<WherePredicate> {
    struct References<'a>(&'a BTreeSet<String>, Vec<WherePredicate>);
    impl References<'_> {
        fn outlives(&mut self, inner: &Type, outer: &Lifetime) {
            for lifetime in free_lifetimes(inner).iter().filter(|lifetime| *lifetime != outer) {
                self.1.push(syn::parse_quote!(#lifetime: #outer));
            }
            if tokens::idents(&inner.to_token_stream()).iter().any(|ident| self.0.contains(ident)) {
                self.1.push(syn::parse_quote!(#inner: #outer));
            }
        }
    }
    impl<'ast> Visit<'ast> for References<'_> {
        fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
            if let Some(lifetime) = &reference.lifetime {
                self.outlives(&reference.elem, lifetime);
            }
            visit::visit_type_reference(self, reference);
        }
        fn visit_angle_bracketed_generic_arguments(&mut self, arguments: &'ast syn::AngleBracketedGenericArguments) {
            for outer in &arguments.args {
                let GenericArgument::Lifetime(outer) = outer else { continue };
                for inner in &arguments.args {
                    match inner {
                        GenericArgument::Type(inner) => self.outlives(inner, outer),
                        // What the type says of its lifetimes cannot be seen; equal ones satisfy all of it.
                        GenericArgument::Lifetime(inner)
                            if inner != outer && inner.ident != "static" && outer.ident != "static" =>
                        {
                            self.1.push(syn::parse_quote!(#inner: #outer));
                        }
                        _ => {}
                    }
                }
            }
            visit::visit_angle_bracketed_generic_arguments(self, arguments);
        }
        // What these mention may be bound by them.
        fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
        fn visit_type_trait_object(&mut self, _: &'ast syn::TypeTraitObject) {}
    }
    let own: BTreeSet<String> = generics.type_params().map(|param| param.ident.to_string()).collect();
    let mut references = References(&own, Vec::new());
    types.iter().for_each(|ty| references.visit_type(ty));
    references.1
}

/// The lifetimes in `ty` that `for<'a>` does not bind there.
fn free_lifetimes(ty: &Type) -> Vec<Lifetime> {
    #[derive(Default)]
    struct Free {
        found: Vec<Lifetime>,
        bound: BTreeSet<String>,
    }
    impl<'ast> Visit<'ast> for Free {
        fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
            if lifetime.ident != "static" && lifetime.ident != "_" && !self.found.contains(lifetime) {
                self.found.push(lifetime.clone());
            }
        }
        fn visit_bound_lifetimes(&mut self, bound: &'ast syn::BoundLifetimes) {
            self.bound.extend(tokens::idents(&bound.to_token_stream()));
        }
    }
    let mut free = Free::default();
    free.visit_type(ty);
    let Free { mut found, bound } = free;
    found.retain(|lifetime| !bound.contains(&lifetime.to_string()));
    found
}

/// The type with every lifetime left to inference.
pub(super) fn elided(ty: &Type) -> Type {
    struct Elided;
    impl VisitMut for Elided {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            *lifetime = Lifetime::new("'_", lifetime.span());
        }
        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            reference.lifetime = None;
            visit_mut::visit_type_reference_mut(self, reference);
        }
        fn visit_type_fn_ptr_mut(&mut self, _: &mut syn::TypeFnPtr) {}
    }
    let mut ty = ty.clone();
    Elided.visit_type_mut(&mut ty);
    ty
}

/// The type with its elided lifetimes named `'__w0`, `'__w1`, .., for places where they cannot be elided.
pub(super) fn name_lifetimes(ty: &Type, names: &mut Vec<Lifetime>) -> Type {
    struct Names<'a>(&'a mut Vec<Lifetime>);
    impl Names<'_> {
        fn fresh(&mut self) -> Lifetime {
            let lifetime = Lifetime::new(&format!("'__w{}", self.0.len()), crate::hygiene::span());
            self.0.push(lifetime.clone());
            lifetime
        }
    }
    impl VisitMut for Names<'_> {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident == "_" {
                *lifetime = self.fresh();
            }
        }
        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            if reference.lifetime.is_none() {
                reference.lifetime = Some(self.fresh());
            }
            visit_mut::visit_type_reference_mut(self, reference);
        }
        fn visit_angle_bracketed_generic_arguments_mut(&mut self, arguments: &mut syn::AngleBracketedGenericArguments) {
            // One for all of a path: what it may say of them (`struct Pair<'a, 'b: 'a>`) then holds.
            let mut elided = arguments
                .args
                .iter_mut()
                .filter_map(|argument| match argument {
                    GenericArgument::Lifetime(lifetime) if lifetime.ident == "_" => Some(lifetime),
                    _ => None,
                })
                .peekable();
            if elided.peek().is_some() {
                let fresh = self.fresh();
                elided.for_each(|lifetime| *lifetime = fresh.clone());
            }
            visit_mut::visit_angle_bracketed_generic_arguments_mut(self, arguments);
        }
        fn visit_type_fn_ptr_mut(&mut self, _: &mut syn::TypeFnPtr) {}
        fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut syn::ParenthesizedGenericArguments) {}
    }
    let mut ty = ty.clone();
    Names(names).visit_type_mut(&mut ty);
    ty
}

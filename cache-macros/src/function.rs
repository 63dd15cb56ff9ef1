//! The annotated function, taken apart: parameters with their bindings, generics, and how its body runs.
//!
//! No option is known here. The body stays tokens, so that half-typed code still completes in an editor; it is parsed
//! only where it may be the boxed future that `#[async_trait]` leaves behind.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, Block, Expr, FnArg, GenericArgument, GenericParam, Pat, PatType, PathArguments, Receiver, ReceiverKind,
    ReturnType, Signature, Stmt, Token, Type, TypeParamBound, Visibility,
};

/// An annotated function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
    pub(crate) params: Vec<Param>,
    pub(crate) form: Form,
    /// What a call yields once awaited.
    pub(crate) output: Type,
    /// What `self` is called where keys are built: `__self` below `#[async_trait]`.
    pub(crate) self_ident: Option<Ident>,
}

/// How the body runs.
#[derive(Debug)]
pub(crate) enum Form {
    Async,
    Sync,
    /// A function that returns a boxed future, as `#[async_trait]` makes them.
    Boxed(Boxed),
}

#[derive(Debug)]
pub(crate) struct Boxed {
    /// `Box::pin`, as it was written.
    pub(crate) pin: TokenStream,
    /// `let PATTERN = __arg;` and the like, which bind what keys may name.
    pub(crate) bindings: TokenStream,
    /// The rest of the `async move` block.
    pub(crate) rest: TokenStream,
}

/// One parameter, `self` excepted.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) pat: Pat,
    pub(crate) ty: Type,
    /// The names that the pattern binds; one of them when the parameter is plain.
    pub(crate) bindings: Vec<Ident>,
    /// The parameter's value as an expression, where the pattern can be put together again.
    pub(crate) rebuilt: Option<TokenStream>,
    /// `_`: nothing can depend on it.
    pub(crate) ignored: bool,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis: Visibility = input.parse()?;
        let _: Option<Token![default]> = if input.peek(Token![default]) { Some(input.parse()?) } else { None };
        let sig: Signature = input.parse()?;
        if input.peek(Token![;]) {
            return Err(input.error(
                "a function without a body cannot be annotated\nhelp: annotate the method in the `impl` block",
            ));
        }
        let TokenTree::Group(body) = input.parse::<TokenTree>()? else {
            return Err(input.error("expected the body of a function"));
        };
        if body.delimiter() != Delimiter::Brace {
            return Err(syn::Error::new(body.span(), "expected the body of a function"));
        }
        Ok(Self::new(attrs, vis, sig, body))
    }
}

impl Function {
    fn new(attrs: Vec<Attribute>, vis: Visibility, sig: Signature, body: Group) -> Self {
        let mut params: Vec<Param> = sig
            .inputs
            .iter()
            .filter_map(|input| match input {
                FnArg::Typed(typed) => Some(Param::new(typed)),
                FnArg::Receiver(_) => None,
            })
            .collect();
        let returned = match &sig.output {
            ReturnType::Default => syn::parse_quote_spanned!(sig.paren_token.span.close()=> ()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        };
        let mut self_ident = sig.receiver().map(|receiver| Ident::new("self", receiver.self_token.span));
        let (form, output) = if sig.asyncness.is_some() {
            (Form::Async, returned)
        } else {
            match boxed_output(&returned)
                .and_then(|output| Some((boxed_body(&body, &mut params, &mut self_ident)?, output)))
            {
                Some((boxed, output)) => (Form::Boxed(boxed), output),
                None => (Form::Sync, returned),
            }
        };
        Self { attrs, vis, sig, body, params, form, output, self_ident }
    }

    pub(crate) fn receiver(&self) -> Option<&Receiver> {
        self.sig.receiver()
    }

    /// The name without `r#`.
    pub(crate) fn name(&self) -> String {
        self.sig.ident.unraw().to_string()
    }

    /// Whether `self` can still be used after the body was called with it.
    pub(crate) fn self_is_shared(&self) -> bool {
        self.receiver().is_some_and(|receiver| match &receiver.kind {
            ReceiverKind::Reference(_, _, mutability) => mutability.is_none(),
            ReceiverKind::Typed(_, ty) => is_reference(ty) == Some(false),
            _ => false,
        })
    }

    /// Whether the function is known to stand inside of an `impl` or a `trait`.
    ///
    /// Nothing else tells: an associated function without `self` looks like a free one, unless it mentions `Self`.
    pub(crate) fn is_associated(&self) -> bool {
        let signature = self.sig.to_token_stream();
        self.receiver().is_some()
            || crate::tokens::idents(&signature).iter().any(|name| name == "Self" || name == "'async_trait")
            || crate::tokens::idents(&self.body.stream()).contains("Self")
    }

    pub(crate) fn type_params(&self) -> impl Iterator<Item = &Ident> {
        self.sig.generics.type_params().map(|param| &param.ident)
    }

    pub(crate) fn const_params(&self) -> impl Iterator<Item = &Ident> {
        self.sig.generics.const_params().map(|param| &param.ident)
    }

    /// `::<T, N>`, for calls whose arguments do not determine every type; lifetimes are left to inference.
    pub(crate) fn turbofish(&self) -> TokenStream {
        let names: Vec<&Ident> = self
            .sig
            .generics
            .params
            .iter()
            .filter_map(|param| match param {
                GenericParam::Type(param) => Some(&param.ident),
                GenericParam::Const(param) => Some(&param.ident),
                _ => None,
            })
            .collect();
        if names.is_empty() { TokenStream::new() } else { quote!(::<#(#names),*>) }
    }

    /// The parameter that binds `name`, with the binding.
    pub(crate) fn binding(&self, name: &str) -> Option<(usize, &Ident)> {
        self.params.iter().enumerate().find_map(|(index, param)| {
            param.bindings.iter().find(|binding| binding.unraw() == name).map(|binding| (index, binding))
        })
    }

    /// The item again, exactly as it came, for when it cannot be expanded.
    pub(crate) fn to_original(&self) -> TokenStream {
        let Self { attrs, vis, sig, body, .. } = self;
        quote!(#(#attrs)* #vis #sig #body)
    }
}

impl Param {
    fn new(typed: &PatType) -> Self {
        let pat = (*typed.pat).clone();
        let mut bindings = Vec::new();
        collect_bindings(&pat, &mut bindings);
        Self {
            attrs: typed.attrs.clone(),
            ty: (*typed.ty).clone(),
            rebuilt: rebuild(&pat),
            ignored: matches!(pat, Pat::Wild(_)),
            bindings,
            pat,
        }
    }

    /// The name that messages and `skip(..)` use, where there is exactly one.
    pub(crate) fn name(&self) -> Option<&Ident> {
        match &self.pat {
            Pat::Ident(pat) => Some(&pat.ident),
            _ => self.bindings.first().filter(|_| self.bindings.len() == 1),
        }
    }

    /// Whether the parameter is a plain name.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(&self.pat, Pat::Ident(pat) if pat.subpat.is_none() && pat.by_ref.is_none())
    }

    /// Whether a body may change what the parameter is called.
    pub(crate) fn is_mutable(&self) -> bool {
        matches!(&self.pat, Pat::Ident(pat) if pat.mutability.is_some())
    }

    /// `Some(true)` for `&mut T`, `Some(false)` for `&T`.
    pub(crate) fn reference(&self) -> Option<bool> {
        is_reference(&self.ty)
    }

    /// Whether its value is still there after a body took it.
    pub(crate) fn survives(&self) -> bool {
        self.is_plain() && (self.reference() == Some(false) || self.is_plainly_copy())
    }

    /// Whether the type is one that everybody knows to be `Copy`. Only to keep expansions short and errors plain: what is
    /// not recognized is cloned.
    pub(crate) fn is_plainly_copy(&self) -> bool {
        const NAMES: [&str; 16] = [
            "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64",
            "u128", "usize",
        ];
        matches!(&self.ty, Type::Path(path) if path.qself.is_none() && NAMES.iter().any(|name| path.path.is_ident(name)))
    }

    pub(crate) fn has_impl_trait(&self) -> bool {
        has_impl_trait(&self.ty)
    }
}

fn is_reference(ty: &Type) -> Option<bool> {
    match ty {
        Type::Reference(reference) => Some(reference.mutability.is_some()),
        Type::Group(group) => is_reference(&group.elem),
        Type::Paren(paren) => is_reference(&paren.elem),
        _ => None,
    }
}

/// Whether `impl Trait` occurs anywhere in the type.
pub(crate) fn has_impl_trait(ty: &Type) -> bool {
    crate::tokens::idents(&ty.to_token_stream()).contains("impl")
}

fn collect_bindings(pat: &Pat, found: &mut Vec<Ident>) {
    struct Bindings<'a>(&'a mut Vec<Ident>);
    impl<'ast> syn::visit::Visit<'ast> for Bindings<'_> {
        fn visit_pat_ident(&mut self, pat: &'ast syn::PatIdent) {
            // `None` and constants are written in upper case and bind nothing.
            if pat.subpat.is_some() || !pat.ident.to_string().starts_with(char::is_uppercase) {
                self.0.push(pat.ident.clone());
            }
            syn::visit::visit_pat_ident(self, pat);
        }
    }
    syn::visit::Visit::visit_pat(&mut Bindings(found), pat);
}

/// `Path(user_id)` is an expression as well as a pattern; `Foo { a, .. }` is not.
fn rebuild(pat: &Pat) -> Option<TokenStream> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() => {
            let ident = &pat.ident;
            Some(quote!(#ident))
        }
        Pat::Paren(paren) => rebuild(&paren.pat),
        Pat::Tuple(tuple) if tuple.elems.len() == 1 => {
            let only = rebuild(tuple.elems.first()?)?;
            Some(quote!((#only,)))
        }
        Pat::Tuple(tuple) => {
            let elems: Vec<_> = tuple.elems.iter().map(rebuild).collect::<Option<_>>()?;
            Some(quote!((#(#elems),*)))
        }
        Pat::TupleStruct(tuple) => {
            let path = &tuple.path;
            let elems: Vec<_> = tuple.elems.iter().map(rebuild).collect::<Option<_>>()?;
            Some(quote!(#path(#(#elems),*)))
        }
        Pat::Struct(pat) if pat.rest.is_none() => {
            let path = &pat.path;
            let fields: Vec<_> = pat
                .fields
                .iter()
                .map(|field| {
                    let (member, value) = (&field.member, rebuild(&field.pat)?);
                    Some(quote!(#member: #value))
                })
                .collect::<Option<_>>()?;
            Some(quote!(#path { #(#fields),* }))
        }
        _ => None,
    }
}

/// `Ret` of `Pin<Box<dyn Future<Output = Ret> + ..>>`.
fn boxed_output(ty: &Type) -> Option<Type> {
    let inner = sole_argument(ty, "Pin")?;
    let Type::TraitObject(object) = sole_argument(&inner, "Box")? else { return None };
    object.bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let last = bound.path.segments.last().filter(|segment| segment.ident == "Future")?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(assoc.ty.clone()),
            _ => None,
        })
    })
}

fn sole_argument(ty: &Type, name: &str) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(ty) if arguments.args.len() == 1 => Some(ty.clone()),
        _ => None,
    }
}

/// Takes `Box::pin(async move { let PATTERN = __arg; .. })` apart.
fn boxed_body(body: &Group, params: &mut [Param], self_ident: &mut Option<Ident>) -> Option<Boxed> {
    let block: Block = syn::parse2(body.to_token_stream()).ok()?;
    let [Stmt::Expr(Expr::Call(call), None)] = block.stmts.as_slice() else { return None };
    let Expr::Path(function) = &*call.func else { return None };
    if function.path.segments.last().is_none_or(|segment| segment.ident != "pin") || call.args.len() != 1 {
        return None;
    }
    let Expr::Async(future) = call.args.first()? else { return None };
    let statements = &future.block.stmts;
    let mut hoisted = TokenStream::new();
    let mut rest = TokenStream::new();
    let mut leading = true;
    for (index, statement) in statements.iter().enumerate() {
        let bound = match statement {
            Stmt::Local(local) if leading => bound_parameter(local, params, self_ident),
            _ => false,
        };
        // The first statement may be the edge that keeps type errors readable.
        leading &= bound || (index == 0 && matches!(statement, Stmt::Expr(Expr::If(_), _)));
        if bound { statement.to_tokens(&mut hoisted) } else { statement.to_tokens(&mut rest) }
    }
    Some(Boxed { pin: function.to_token_stream(), bindings: hoisted, rest })
}

/// Whether `local` only gives a parameter its pattern back; the parameter then binds what the pattern binds.
fn bound_parameter(local: &syn::Local, params: &mut [Param], self_ident: &mut Option<Ident>) -> bool {
    let Some(init) = &local.init else { return false };
    let source = match &*init.expr {
        Expr::Path(path) => path.path.get_ident().cloned(),
        // `let PATTERN = { let __arg1 = __arg1; __arg1 };` and not a body that ends with a parameter.
        Expr::Block(block) => match block.block.stmts.as_slice() {
            [Stmt::Local(_), Stmt::Expr(Expr::Path(path), None)] => {
                path.path.get_ident().filter(|source| source.to_string().starts_with("__arg")).cloned()
            }
            _ => None,
        },
        _ => None,
    };
    let Some(source) = source else { return false };
    if source == "self" {
        if let Pat::Ident(pat) = &local.pat {
            *self_ident = Some(pat.ident.clone());
            return true;
        }
        return false;
    }
    let Some(param) = params.iter_mut().find(|param| matches!(&param.pat, Pat::Ident(pat) if pat.ident == source))
    else {
        return false;
    };
    let mut bindings = Vec::new();
    collect_bindings(&local.pat, &mut bindings);
    param.ignored = bindings.iter().all(|binding| binding.to_string().starts_with("__arg"))
        && source.to_string().starts_with("__arg");
    param.bindings = bindings;
    true
}

/// The statements of a body, inner attributes apart, since they may only stand first.
pub(crate) fn split_body(body: &Group) -> (TokenStream, TokenStream) {
    let trees: Vec<TokenTree> = body.stream().into_iter().collect();
    let mut end = 0;
    while let [TokenTree::Punct(hash), TokenTree::Punct(bang), TokenTree::Group(_), ..] = &trees[end..] {
        if hash.as_char() != '#' || bang.as_char() != '!' {
            break;
        }
        end += 3;
    }
    (trees[..end].iter().cloned().collect(), trees[end..].iter().cloned().collect())
}

/// `if false { .. }` that gives `return` and `?` their type, as in tracing: without it errors appear at the attribute.
pub(crate) fn fake_return(output: &Type) -> TokenStream {
    q! {
        #[allow(unknown_lints, unused_variables, unreachable_code, clippy::all, clippy::pedantic, clippy::restriction, clippy::nursery)]
        if false {
            let fake: #output = loop {};
            return fake;
        }
    }
}

pub(crate) fn first_span(tokens: &TokenStream) -> Span {
    tokens.clone().into_iter().next().map_or_else(Span::call_site, |token| token.span())
}

pub(crate) fn last_span(tokens: &TokenStream) -> Span {
    tokens.clone().into_iter().last().map_or_else(Span::call_site, |token| token.span())
}

//! `resource! { pub user("user", user_id: u64); }`: a name with ids, as a type that stands for a tag or a key.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens as _, format_ident, quote};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, LitStr, Path, Token, Type, Visibility, parenthesized, parse_quote};

use crate::check::template_problem;
use crate::error::{Errors, Message};
use crate::expand::without_lifetimes;
use crate::template::{self, Piece};

struct Resource {
    attrs: Vec<Attribute>,
    vis: Visibility,
    name: Ident,
    kind: LitStr,
    ids: Vec<(Ident, Type)>,
}

struct Input {
    runtime: Path,
    resources: Vec<Resource>,
}

impl Parse for Resource {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let name: Ident = input.parse()?;
        let content;
        parenthesized!(content in input);
        let kind = content.parse()?;
        if !content.is_empty() {
            content.parse::<Token![,]>()?;
        }
        let ids = content.call(|input| {
            Punctuated::<(Ident, Type), Token![,]>::parse_terminated_with(input, |input| {
                let id = input.parse()?;
                input.parse::<Token![:]>()?;
                Ok((id, input.parse()?))
            })
        })?;
        input.parse::<Token![;]>()?;
        Ok(Self { attrs, vis, name, kind, ids: ids.into_iter().collect() })
    }
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut runtime: Path = parse_quote!(::cache_runtime);
        if input.peek(Token![crate]) && input.peek2(Token![=]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            runtime = input.call(Path::parse_mod_style)?;
            input.parse::<Token![;]>()?;
        }
        let mut resources = Vec::new();
        while !input.is_empty() {
            resources.push(input.parse()?);
        }
        Ok(Self { runtime, resources })
    }
}

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let input: Input = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => {
            let message = Message::new(error.to_string())
                .help("a resource is declared like `resource! { pub user(\"user\", user_id: u64); }`");
            return syn::Error::new(error.span(), message.build()).into_compile_error();
        }
    };
    let mut errors = Errors::default();
    input.resources.iter().for_each(|resource| check(resource, &mut errors));
    if !errors.is_empty() {
        return errors.into_tokens();
    }
    input.resources.iter().map(|resource| one(&input.runtime, resource)).collect()
}

fn check(resource: &Resource, errors: &mut Errors) {
    match template::parse(&resource.kind.value()) {
        Err(problem) => errors.push(template_problem("resource name", &resource.kind, &problem)),
        Ok(parsed) if parsed.pieces.iter().any(|piece| matches!(piece, Piece::Hole(_))) => {
            errors.at(
                &resource.kind,
                Message::new("a resource's name has no placeholders: its ids follow it")
                    .help("write `user(\"user\", user_id: u64)`"),
            );
        }
        Ok(_) => {}
    }
    for (index, (id, _)) in resource.ids.iter().enumerate() {
        if resource.ids[..index].iter().any(|(other, _)| other == id) {
            errors
                .span(id.span(), Message::new(format!("`{id}` is there twice")).help("give each id a name of its own"));
        }
    }
}

fn one(runtime: &Path, resource: &Resource) -> TokenStream {
    let Resource { attrs, vis, name, kind, ids } = resource;
    let p = quote!(#runtime::__private);
    let parsed = template::parse(&kind.value()).map(|parsed| parsed.pieces).unwrap_or_default();
    let plain: String =
        parsed.into_iter().map(|piece| if let Piece::Text(text) = piece { text } else { String::new() }).collect();
    let mut template = template::escape(&plain);
    for (id, _) in ids {
        template.push_str(&format!(":<{}>", id.unraw()));
    }
    let (names, types): (Vec<&Ident>, Vec<&Type>) = ids.iter().map(|(id, ty)| (id, ty)).unzip();
    let statics = types.iter().map(|ty| without_lifetimes(ty));
    let kinds: Vec<Ident> = (0..ids.len()).map(|i| format_ident!("Kind{i}")).collect();
    let documented = attrs.iter().any(|attr| attr.path().is_ident("doc"));
    let shown = name.unraw().to_string();
    let doc = (!documented).then(|| {
        let text = format!("The resource `{template}`: a tag, and a key.");
        quote!(#[doc = #text])
    });
    let parts = names.iter().zip(&types).map(|(name, ty)| {
        let (first, last) =
            (crate::function::first_span(&ty.to_token_stream()), crate::function::last_span(&ty.to_token_stream()));
        let mut place = (*name).clone();
        place.set_span(name.span().located_at(last));
        let reference = quote::quote_spanned!(proc_macro2::Span::mixed_site().located_at(first)=> &);
        q!(w.lit(":"); w.part(#reference #place);)
    });
    let parts: TokenStream = parts.collect();
    let tag_doc = format!("As the function `{shown}`, for where a parameter shadows it.");
    q!(
        #(#attrs)*
        #doc
        #[must_use]
        #vis fn #name(#(#names: #types),*) -> #name { #name::tag(#(#names),*) }

        #(#attrs)*
        #doc
        #[allow(non_camel_case_types)]
        #[derive(::core::clone::Clone, ::core::fmt::Debug, ::core::cmp::PartialEq, ::core::cmp::Eq, ::core::hash::Hash)]
        #vis struct #name { key: #runtime::Key, ids: ::std::string::String }

        #[allow(dead_code, clippy::all, clippy::pedantic)]
        impl #name {
            #[doc = "The first segment of the key."]
            #vis const NAME: &'static str = #plain;
            #[doc = "The template of key and tag."]
            #vis const TEMPLATE: &'static str = #template;

            #[doc = #tag_doc]
            #[must_use]
            #vis fn tag(#(#names: #types),*) -> Self {
                let mut w = #p::KeyWriter::new(0);
                #parts
                let ids = ::std::string::String::from_utf8_lossy(w.as_bytes()).into_owned();
                Self { key: #p::template_key(Self::TEMPLATE, |w| Self::__write(w, "", #(#names),*)), ids }
            }

            #[doc = "The key of a part of this resource: `suffix` stands behind the name."]
            #[must_use]
            #vis fn suffix(&self, suffix: &'static str) -> #runtime::Key {
                #(
                    struct #kinds;
                    impl #runtime::KeyPart for #kinds {
                        const KIND: u64 = <#statics as #runtime::KeyPart>::KIND;
                        const SHAPE: #p::PartShape = #p::PartShape::Simple;
                        fn write(&self, _: &mut #p::KeyWriter) {}
                    }
                )*
                let mut w = #p::KeyWriter::new(#p::template_seed_resource(Self::TEMPLATE, suffix));
                w.lit(Self::NAME);
                if !suffix.is_empty() {
                    w.lit(":");
                    w.lit(suffix);
                }
                #(w.part(&#kinds);)*
                w.lit(&self.ids);
                w.into_key()
            }

            #[doc(hidden)]
            #vis fn __write(w: &mut #p::KeyWriter, suffix: &'static str, #(#names: #types),*) {
                w.lit(Self::NAME);
                if !suffix.is_empty() {
                    w.lit(":");
                    w.lit(suffix);
                }
                #parts
            }
        }

        impl #p::AsTag for #name {
            fn as_tag(&self) -> &str { self.key.as_str() }
        }

        impl ::core::convert::From<#name> for #runtime::Key {
            fn from(resource: #name) -> Self { resource.key }
        }

        impl ::core::convert::From<&#name> for #runtime::Key {
            fn from(resource: &#name) -> Self { ::core::clone::Clone::clone(&resource.key) }
        }

        impl ::core::fmt::Display for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(&self.key, f)
            }
        }
    )
}

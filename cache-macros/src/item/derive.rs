//! `#[derive(KeyPart)]`: newtypes are what they wrap, structs are their fields, enums are their variants' names.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt as _;
use syn::{Attribute, Data, DataEnum, DeriveInput, Fields, LitStr, Path, Type, Variant, parse_quote};

use crate::error::{Errors, Message};

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let options = options(&input.attrs, true, &mut errors);
    let runtime = options.runtime.unwrap_or_else(|| parse_quote!(::cache_runtime));
    let p = quote!(#runtime::__private);
    let part = quote!(#runtime::KeyPart);
    let body = match &input.data {
        Data::Struct(data) => structure(&input.ident, &data.fields, &p, &part),
        Data::Enum(data) => enumeration(data, &p, &part, &mut errors),
        Data::Union(data) => {
            errors.at(
                data.union_token,
                Message::new("a union cannot be a key part: which field is set is not known").help("use an enum"),
            );
            TokenStream::new()
        }
    };
    if !errors.is_empty() {
        return errors.into_tokens();
    }
    let name = &input.ident;
    let mut generics = input.generics.clone();
    for param in generics.type_params_mut() {
        param.bounds.push(parse_quote!(#part));
    }
    let (params, arguments, clause) = generics.split_for_impl();
    q!(
        #[automatically_derived]
        impl #params #part for #name #arguments #clause { #body }
    )
}

/// What `#[key(..)]` says.
#[derive(Default)]
struct Options {
    runtime: Option<Path>,
    rename: Option<LitStr>,
}

fn options(attrs: &[Attribute], on_type: bool, errors: &mut Errors) -> Options {
    let mut options = Options::default();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("key")) {
        let parsed = attr.parse_nested_meta(|meta| {
            if on_type && meta.path.is_ident("crate") {
                options.runtime = Some(meta.value()?.call(Path::parse_mod_style)?);
                Ok(())
            } else if !on_type && meta.path.is_ident("rename") {
                options.rename = Some(meta.value()?.parse()?);
                Ok(())
            } else {
                let valid =
                    if on_type { "`#[key(crate = path)]` on a type" } else { "`#[key(rename = \"..\")]` on a variant" };
                Err(meta.error(Message::new("unknown option").help(format!("valid here is {valid}")).build()))
            }
        });
        errors.keep(parsed);
    }
    options
}

/// Writes the field of type `ty` behind `place`; the bound is reported at the field's type.
fn write(place: &TokenStream, ty: &Type, part: &TokenStream) -> TokenStream {
    q!(<#ty as #part>::write(#place, w);)
}

fn structure(name: &Ident, fields: &Fields, p: &TokenStream, part: &TokenStream) -> TokenStream {
    let list: Vec<(TokenStream, &Type)> = fields
        .iter()
        .enumerate()
        .map(|(index, field)| match &field.ident {
            Some(ident) => (quote!(#ident), &field.ty),
            None => {
                let index = syn::Index::from(index);
                (quote!(#index), &field.ty)
            }
        })
        .collect();
    if let (Fields::Unnamed(_), [(member, ty)]) = (fields, list.as_slice()) {
        let write = write(&q!(&self.#member), ty, part);
        return q!(
            const KIND: u64 = <#ty as #part>::KIND;
            const SHAPE: #p::PartShape = <#ty as #part>::SHAPE;
            fn write(&self, w: &mut #p::KeyWriter) { #write }
        );
    }
    if list.is_empty() {
        let text = escaped(&name.unraw().to_string());
        return q!(
            const KIND: u64 = #p::kind_name("unit");
            const SHAPE: #p::PartShape = #p::PartShape::Simple;
            fn write(&self, w: &mut #p::KeyWriter) { w.lit(#text); }
        );
    }
    let kind = list.iter().fold(q!(#p::kind_name("struct")), |kind, (_, ty)| q!(#p::mix(#kind, <#ty as #part>::KIND)));
    let writes = list.iter().enumerate().map(|(index, (member, ty))| {
        let separator = (index > 0).then(|| q!(w.lit(":");));
        let write = write(&q!(&self.#member), ty, part);
        q!(#separator #write)
    });
    q!(
        const KIND: u64 = #kind;
        const SHAPE: #p::PartShape = #p::PartShape::Composite;
        fn write(&self, w: &mut #p::KeyWriter) { #(#writes)* }
    )
}

fn enumeration(data: &DataEnum, p: &TokenStream, part: &TokenStream, errors: &mut Errors) -> TokenStream {
    let simple = data.variants.iter().all(|variant| variant.fields.is_empty());
    let mut texts: Vec<String> = Vec::new();
    let mut arms = TokenStream::new();
    for variant in &data.variants {
        let options = options(&variant.attrs, false, errors);
        let text = options.rename.as_ref().map_or_else(|| variant.ident.unraw().to_string(), LitStr::value);
        if text.is_empty() {
            errors.at(&options.rename, Message::new("a variant cannot have an empty name").help("remove `rename`"));
        }
        if texts.contains(&text) {
            errors.at(
                &variant.ident,
                Message::new(format!("two variants are written `{text}`"))
                    .help("rename one of them: `#[key(rename = \"..\")]`"),
            );
        }
        arms.extend(arm(variant, &escaped(&text), part));
        texts.push(text);
    }
    let shape = if simple { q!(Simple) } else { q!(Composite) };
    let body = if data.variants.is_empty() {
        q!({
            let _ = w;
            match *self {}
        })
    } else {
        q!({ match self { #arms } })
    };
    q!(
        const KIND: u64 = #p::kind_name("enum");
        const SHAPE: #p::PartShape = #p::PartShape::#shape;
        fn write(&self, w: &mut #p::KeyWriter) #body
    )
}

fn arm(variant: &Variant, text: &str, part: &TokenStream) -> TokenStream {
    let name = &variant.ident;
    let places: Vec<Ident> =
        (0..variant.fields.len()).map(|i| format_ident!("f{i}", span = proc_macro2::Span::mixed_site())).collect();
    let pattern = match &variant.fields {
        Fields::Unit => quote!(Self::#name),
        Fields::Unnamed(_) => quote!(Self::#name(#(#places),*)),
        Fields::Named(fields) => {
            let names = fields.named.iter().map(|field| &field.ident);
            quote!(Self::#name { #(#names: #places),* })
        }
    };
    if places.is_empty() {
        return q!(#pattern => w.lit(#text),);
    }
    let writes = variant.fields.iter().zip(&places).map(|(field, place)| {
        let write = write(&quote!(#place), &field.ty, part);
        q!(#write w.end_item();)
    });
    q!(#pattern => { w.lit(#text); w.open(); #(#writes)* w.close(); })
}

/// A name in a key is escaped as a value is: `rename = "a:b"` must not make two segments.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if matches!(c, ':' | '%' | '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '<' | '>') || c.is_control() {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(c);
        }
        out
    })
}

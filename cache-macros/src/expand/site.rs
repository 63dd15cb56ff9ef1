//! The static that describes an annotated function to the runtime and to the catalogue.

use proc_macro2::{Literal, TokenStream};

use super::Cx;
use crate::args::Ttl;
use crate::model::{Argument, Element, Key, Put, Read, Setting, Write};

/// A site as an expression: the static stands in a block of its own, where no name of the user's is.
pub(super) fn block(site: &Site) -> TokenStream {
    let (p, builder) = (&site.p, &site.builder);
    q!({
        // Its path says where the function is: the type of a method, and the function around an inner one.
        fn __here() {}
        static SITE: #p::Site = #builder;
        #p::register!(SITE);
        &SITE
    })
}

/// The builder expression of a site.
pub(super) struct Site {
    p: TokenStream,
    builder: TokenStream,
}

impl Site {
    fn new(cx: &Cx<'_>, kind: &TokenStream) -> Self {
        let (p, name) = (cx.p(), cx.function.name());
        let builder = q!(
            #p::Site::#kind(#name, ::core::module_path!(), ::core::file!(), ::core::line!())
                .here(|| ::core::any::type_name_of_val(&__here))
        );
        Self { p, builder }
    }

    fn call(&mut self, call: &TokenStream) {
        self.builder.extend(q!(.#call));
    }

    fn texts(&mut self, method: &str, elements: &[Element]) {
        if elements.is_empty() {
            return;
        }
        let p = &self.p;
        let texts = elements.iter().map(|element| match element {
            Element::Text(text) => {
                let text = &text.canonical;
                q!(#text)
            }
            Element::Resource(path, _) => q!(#path::TEMPLATE),
            Element::Expr(_) => q!(#p::UNKNOWN),
        });
        let method = proc_macro2::Ident::new(method, crate::hygiene::span());
        let call = q!(#method(&[#(#texts),*]));
        self.call(&call);
    }

    fn settings(&mut self, settings: &[Setting]) {
        for Setting { method, argument } in settings {
            let method = proc_macro2::Ident::new(method, crate::hygiene::span());
            let p = &self.p;
            let call = match argument {
                Argument::None => q!(#method()),
                Argument::Number(number) => {
                    let number = Literal::u64_unsuffixed(*number);
                    q!(#method(#number))
                }
                Argument::Bool(on) => q!(#method(#on)),
                Argument::Codec(name) => {
                    let name = proc_macro2::Ident::new(name, crate::hygiene::span());
                    q!(#method(#p::Codec::#name))
                }
            };
            self.call(&call);
        }
    }
}

pub(super) fn read(cx: &Cx<'_>, plan: &Read) -> Site {
    let mut site = Site::new(cx, &if plan.memoize { q!(memoize) } else { q!(read) });
    let key = match &plan.key {
        Key::Text(text) => {
            let text = &text.canonical;
            q!(key(#text))
        }
        Key::Auto(_, names) => q!(key_auto(&[#(#names),*])),
        Key::Resource(resource) => {
            let (path, suffix) = (&resource.path, &resource.suffix);
            q!(key_resource(#path::TEMPLATE, #suffix))
        }
        Key::Computed(..) => q!(key_computed()),
    };
    site.call(&key);
    site.texts("tags", &plan.tags);
    if plan.tags.iter().any(|tag| tag.uses().result) {
        site.call(&q!(result_tags()));
    }
    if let Some(namespace) = &plan.namespace {
        let text = &namespace.canonical;
        site.call(&q!(namespace_text(#text)));
    }
    match &plan.ttl {
        None => {}
        Some(Ttl::Ms(ms)) => {
            let ms = Literal::u64_unsuffixed(*ms);
            site.call(&q!(ttl_ms(#ms)));
        }
        Some(Ttl::Forever) => site.call(&q!(ttl_forever())),
        Some(Ttl::Bucket(bucket)) => site.call(&q!(ttl_bucket(#bucket))),
        Some(Ttl::Dynamic(_) | Ttl::OfValue(_)) => site.call(&q!(ttl_dynamic())),
    }
    site.settings(&plan.settings);
    if let Some(value) = super::verb::stored_type(cx, plan) {
        site.call(&q!(value(|| ::core::any::type_name::<#value>())));
    }
    site
}

pub(super) fn write(cx: &Cx<'_>, plan: &Write) -> Site {
    let mut site = Site::new(cx, &q!(write));
    site.texts("tags", &plan.tags);
    site.texts("keys", &plan.keys);
    site.texts("patterns", &plan.patterns);
    site.texts("namespaces", &plan.namespaces);
    if plan.tags.iter().any(|tag| tag.uses().result) {
        site.call(&q!(result_tags()));
    }
    if let Some(put) = &plan.put {
        let p = cx.p();
        let call = match put {
            Put::Text(text) => {
                let text = &text.canonical;
                q!(put(#text))
            }
            Put::Companion(_) => q!(put(#p::UNKNOWN)),
        };
        site.call(&call);
    }
    if !plan.recache.is_empty() {
        let names = plan.recache.iter().map(|call| &call.name);
        site.call(&q!(recaches(&[#(#names),*])));
    }
    site.settings(&plan.settings);
    site
}

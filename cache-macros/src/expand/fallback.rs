//! What stands beside a function whose attribute has mistakes: the verbs without their bodies, so that `get_user::invalidate(42)`
//! elsewhere is no second error.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;

use super::verb::Verbs;
use super::{Cx, split_attributes};
use crate::args::Args;
use crate::check;
use crate::function::{Function, has_impl_trait};
use crate::model::Place;

/// The verbs as far as their signatures can be guessed; nothing where that would be a guess about the return type.
pub(crate) fn fallback(function: &Function, args: &Args) -> TokenStream {
    let hopeless =
        function.sig.variadic.is_some() || has_impl_trait(&function.output) || args.doubtful(&["crate", "companion"]);
    if hopeless {
        return TokenStream::new();
    }
    let location = crate::function::first_span(&function.output.to_token_stream());
    crate::hygiene::located(location, || {
        let plan = check::guess(args, function);
        let cx = Cx::of(function, &plan);
        let verbs = Verbs::stub(&cx, &plan);
        match plan.common.place {
            Place::Name => named(&cx, &verbs),
            Place::Method => method(&cx, &verbs),
            Place::Inline => TokenStream::new(),
        }
    })
}

fn named(cx: &Cx<'_>, verbs: &Verbs<'_>) -> TokenStream {
    let (vis, name, items) = (&cx.function.vis, &cx.function.sig.ident, split_attributes(cx.function).items);
    let (refresh, bypass) = (like_the_function(cx, "refresh"), like_the_function(cx, "bypass"));
    let typed = verbs.has_a_nameable_value().then(|| {
        let (peek, put, target) = (verbs.peek(), verbs.put(), verbs.hidden_target(&q!(__put), &TokenStream::new()));
        q!(#peek #put #target)
    });
    let (invalidate, key, clear, stats, warm) =
        (verbs.invalidate(), verbs.key(), verbs.clear(), verbs.stats(), verbs.warm(&TokenStream::new()));
    q!(
        #(#items)*
        #[allow(non_camel_case_types, dead_code, missing_docs, missing_debug_implementations)]
        #vis struct #name {}

        #(#items)*
        #[allow(dead_code, unused, missing_docs, clippy::all, clippy::pedantic)]
        impl #name { #refresh #bypass #invalidate #key #clear #stats #warm #typed }
    )
}

fn method(cx: &Cx<'_>, verbs: &Verbs<'_>) -> TokenStream {
    if !verbs.has_a_nameable_value() {
        return TokenStream::new();
    }
    let name = cx.function.sig.ident.unraw();
    let refresh = like_the_function(cx, &format!("{name}_refresh"));
    let ident = |text: String| Ident::new(&text, cx.function.sig.ident.span());
    let (of_entry, of_put) = (ident(format!("{name}_entry")), ident(format!("__{name}_put")));
    let this = cx.function.receiver().map(|receiver| receiver.self_token.to_token_stream());
    let by_reference = this.as_ref().map(|this| q!(&#this,)).unwrap_or_default();
    let put = verbs.hidden_target(&q!(#of_put), &by_reference);
    let entry = verbs.entry(&of_entry, &of_put, this.as_ref());
    q!(
        #[allow(dead_code, unused, missing_docs)]
        #refresh
        #[allow(dead_code, unused, missing_docs)]
        #put
        #[allow(dead_code, unused, missing_docs)]
        #entry
    )
}

/// The user's signature under another name, with a body that is never run: nothing of this is ever compiled to a program.
fn like_the_function(cx: &Cx<'_>, name: &str) -> TokenStream {
    let (vis, mut sig) = (&cx.function.vis, cx.function.sig.clone());
    sig.ident = Ident::new(name, sig.ident.span());
    sig.constness = None;
    q!(#[allow(unused)] #vis #sig { ::core::unreachable!() })
}

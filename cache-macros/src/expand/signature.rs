//! Parameter lists of generated functions, and the arguments that pass them on.

use proc_macro2::{Ident, TokenStream};
use quote::format_ident;
use syn::visit_mut::{self, VisitMut};
use syn::{Pat, PatIdent};

use crate::function::{Function, Param};

/// The parameters of a function that passes all of them on.
#[derive(Debug)]
pub(super) struct Forward {
    /// `db: &Db, user_id: u64`
    pub(super) inputs: Vec<TokenStream>,
    /// `db, user_id`
    pub(super) arguments: Vec<TokenStream>,
    /// Bindings within patterns that could not be put together again, taken by reference.
    pub(super) bindings: TokenStream,
}

/// Signature inputs and arguments for forwarding; `self` is not among them.
pub(super) fn forward(function: &Function) -> Forward {
    let mut forward = Forward { inputs: Vec::new(), arguments: Vec::new(), bindings: TokenStream::new() };
    for (index, param) in function.params.iter().enumerate() {
        let (attrs, ty) = (&param.attrs, &param.ty);
        if let Some(value) = &param.rebuilt {
            let pat = without_mut(&param.pat);
            forward.inputs.push(q!(#(#attrs)* #pat: #ty));
            forward.arguments.push(value.clone());
            continue;
        }
        let name = positional(index);
        forward.inputs.push(q!(#(#attrs)* #name: #ty));
        forward.arguments.push(q!(#name));
        forward.bindings.extend(bound(index, param));
    }
    forward
}

/// What the pattern of a parameter binds that is passed on under a name of the expansion.
pub(super) fn bound(index: usize, param: &Param) -> TokenStream {
    let name = positional(index);
    if param.bindings.is_empty() {
        return TokenStream::new();
    }
    match param.reference() {
        // A shared reference can be matched as often as one likes.
        Some(false) => {
            let pat = without_mut(&param.pat);
            q!(let #pat = #name;)
        }
        _ => {
            let pat = by_reference(&param.pat);
            q!(let #pat = &#name;)
        }
    }
}

/// The parameters of a verb: as declared, without what only a body needs.
pub(super) fn verb_input(param: &Param) -> TokenStream {
    let (pat, ty) = (without_mut(&param.pat), &param.ty);
    q!(#pat: #ty)
}

pub(super) fn positional(index: usize) -> Ident {
    format_ident!("arg{index}", span = crate::hygiene::span())
}

fn without_mut(pat: &Pat) -> Pat {
    struct Plain;
    impl VisitMut for Plain {
        fn visit_pat_ident_mut(&mut self, pat: &mut PatIdent) {
            pat.mutability = None;
            visit_mut::visit_pat_ident_mut(self, pat);
        }
    }
    let mut pat = pat.clone();
    Plain.visit_pat_mut(&mut pat);
    pat
}

/// The pattern for a reference to the value: bindings become references by themselves.
fn by_reference(pat: &Pat) -> Pat {
    struct Plain;
    impl VisitMut for Plain {
        fn visit_pat_ident_mut(&mut self, pat: &mut PatIdent) {
            pat.mutability = None;
            pat.by_ref = None;
            visit_mut::visit_pat_ident_mut(self, pat);
        }
    }
    let mut pat = pat.clone();
    Plain.visit_pat_mut(&mut pat);
    pat
}

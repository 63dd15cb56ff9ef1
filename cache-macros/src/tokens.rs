//! Questions about tokens that the compiler has not typed yet: which names does an expression mention, and how.
//!
//! Approximate on purpose and in one direction: a name that is only a field or a path segment is never a mention, and a
//! name that is shadowed inside of the expression may be one.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote_spanned};
use syn::ext::IdentExt as _;

/// Names used as values in `tokens`, the captured ones of format strings included.
pub(crate) fn mentions(tokens: &TokenStream) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    visit(tokens.clone(), &mut |occurrence| {
        found.insert(occurrence.name);
    });
    found
}

/// Whether a type has a reference inside, or a lifetime other than `'static`. Not what it takes or returns, where it is
/// called.
pub(crate) fn borrows(ty: &TokenStream) -> bool {
    let names = idents(ty);
    let is_called = ["Fn", "FnMut", "FnOnce", "fn", "for"].iter().any(|name| names.contains(*name));
    let has_lifetime = names.iter().any(|name| name.starts_with('\'') && name != "'static");
    !is_called && (has_lifetime || has_reference(ty.clone(), false))
}

/// `&` that is not of `&'static`.
fn has_reference(tokens: TokenStream, mut after: bool) -> bool {
    for token in tokens {
        let is_lifetime = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
        if std::mem::replace(&mut after, false) && !is_lifetime {
            return true;
        }
        match token {
            TokenTree::Punct(punct) => after = punct.as_char() == '&',
            TokenTree::Group(group) if has_reference(group.stream(), false) => return true,
            _ => {}
        }
    }
    after
}

/// How often `name` is used as a value.
pub(crate) fn count(tokens: &TokenStream, name: &str) -> usize {
    let mut times = 0;
    visit(tokens.clone(), &mut |occurrence| times += usize::from(occurrence.name == name));
    times
}

/// Every identifier, in whatever role.
pub(crate) fn idents(tokens: &TokenStream) -> BTreeSet<String> {
    fn walk(tokens: TokenStream, found: &mut BTreeSet<String>) {
        let mut quote = false;
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) if quote => {
                    found.insert(format!("'{ident}"));
                }
                TokenTree::Ident(ident) => {
                    found.insert(ident.unraw().to_string());
                }
                TokenTree::Group(group) => walk(group.stream(), found),
                _ => {}
            }
            quote = matches!(&token, TokenTree::Punct(p) if p.as_char() == '\'');
        }
    }
    let mut found = BTreeSet::new();
    walk(tokens.clone(), &mut found);
    found
}

/// The first token that is the identifier `name` used as a value, for its hygiene.
pub(crate) fn first_ident(tokens: &TokenStream, name: &str) -> Option<Ident> {
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(ident) if ident.unraw() == name => return Some(ident),
            TokenTree::Group(group) => {
                if let Some(ident) = first_ident(&group.stream(), name) {
                    return Some(ident);
                }
            }
            _ => {}
        }
    }
    None
}

/// Replaces the names that are handed over by value: `f(x)` becomes `f(clone(&x))`, while `f(&x)` and `x.id` stay.
///
/// That keeps "arguments are captured, references are used again" true without asking for `Clone` where nothing is taken.
pub(crate) fn clone_moved(tokens: TokenStream, runtime: &syn::Path, is_owned: &dyn Fn(&str) -> bool) -> TokenStream {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut out = TokenStream::new();
    for (i, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(group) if !macro_arguments(&trees, i) => {
                let mut inner = Group::new(group.delimiter(), clone_moved(group.stream(), runtime, is_owned));
                inner.set_span(group.span());
                out.extend([TokenTree::Group(inner)]);
            }
            TokenTree::Ident(ident) if alone(&trees, i) && is_owned(&ident.unraw().to_string()) => {
                let span = Span::mixed_site().located_at(ident.span());
                let runtime = crate::hygiene::relocated(runtime.to_token_stream(), ident.span());
                // A binding of its own, so that a mismatch is about the argument and not about the clone.
                out.extend(quote_spanned!(span=> { let argument = #runtime::__private::capture(&#ident); argument }));
            }
            other => out.extend([other.clone()]),
        }
    }
    out
}

/// Replaces the identifier `self`, which async-trait renames in bodies but not in attributes.
pub(crate) fn rename_self(tokens: TokenStream, to: &Ident) -> TokenStream {
    rename(tokens, &Ident::new("self", Span::call_site()), to)
}

/// Replaces one identifier, wherever it stands; the new one is seen where the old one was.
pub(crate) fn rename(tokens: TokenStream, from: &Ident, to: &Ident) -> TokenStream {
    tokens
        .into_iter()
        .map(|tree| match tree {
            TokenTree::Ident(ident) if ident == *from => {
                let mut to = to.clone();
                to.set_span(to.span().located_at(ident.span()));
                TokenTree::Ident(to)
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), rename(group.stream(), from, to));
                inner.set_span(group.span());
                TokenTree::Group(inner)
            }
            other => other,
        })
        .collect()
}

struct Occurrence {
    name: String,
}

fn visit(tokens: TokenStream, seen: &mut dyn FnMut(Occurrence)) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    for (i, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(group) => {
                if macro_arguments(&trees, i) {
                    for name in captured(&group.stream()) {
                        seen(Occurrence { name });
                    }
                }
                visit(group.stream(), seen);
            }
            TokenTree::Ident(ident) if is_value(&trees, i) => seen(Occurrence { name: ident.unraw().to_string() }),
            _ => {}
        }
    }
}

/// `{name}` inside of the string literals of a macro call.
fn captured(tokens: &TokenStream) -> Vec<String> {
    let mut names = Vec::new();
    for tree in tokens.clone() {
        let TokenTree::Literal(literal) = tree else { continue };
        let text = literal.to_string();
        if !text.contains('"') {
            continue;
        }
        for part in text.split('{').skip(1) {
            let name: String = part.chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect();
            if part[name.len()..].starts_with(['}', ':']) && !name.is_empty() {
                names.push(name);
            }
        }
    }
    names
}

fn punct(trees: &[TokenTree], at: Option<usize>) -> Option<char> {
    match trees.get(at?)? {
        TokenTree::Punct(punct) => Some(punct.as_char()),
        _ => None,
    }
}

fn before(i: usize, n: usize) -> Option<usize> {
    i.checked_sub(n)
}

fn macro_arguments(trees: &[TokenTree], i: usize) -> bool {
    punct(trees, before(i, 1)) == Some('!')
        && matches!(before(i, 2).and_then(|at| trees.get(at)), Some(TokenTree::Ident(_)))
}

fn is_value(trees: &[TokenTree], i: usize) -> bool {
    let (previous, earlier) = (punct(trees, before(i, 1)), punct(trees, before(i, 2)));
    let (next, later) = (punct(trees, Some(i + 1)), punct(trees, Some(i + 2)));
    let field = previous == Some('.') && earlier != Some('.');
    let lifetime = previous == Some('\'');
    let path = (previous == Some(':') && earlier == Some(':')) || (next == Some(':') && later == Some(':'));
    let call = next == Some('!') && matches!(trees.get(i + 2), Some(TokenTree::Group(_)));
    let function =
        matches!(trees.get(i + 1), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
    !(field || lifetime || path || call || function)
}

/// An identifier that is a whole argument or operand: what stands there is taken by value.
fn alone(trees: &[TokenTree], i: usize) -> bool {
    let previous = match before(i, 1).and_then(|at| trees.get(at)) {
        None => true,
        Some(TokenTree::Punct(punct)) => {
            matches!(punct.as_char(), ',' | '=' | '|')
                || (punct.as_char() == ':' && super::tokens::punct(trees, before(i, 2)) != Some(':'))
        }
        Some(_) => false,
    };
    let next = match trees.get(i + 1) {
        None => true,
        Some(TokenTree::Punct(punct)) => punct.as_char() == ',',
        Some(_) => false,
    };
    previous && next && is_value(trees, i)
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::{clone_moved, mentions};

    #[test]
    fn fields_paths_and_calls_are_no_mentions() {
        let found = mentions(&quote!(user(user_id, a.b, m::c, d::e(), f!(g), format!("{h} {i:?} {}", j))));
        let found: Vec<_> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["a", "g", "h", "i", "j", "user_id"]);
    }

    #[test]
    fn only_what_is_taken_is_cloned() {
        let out = clone_moved(quote!(f(a, &b, c.d, [a], S { x: a })), &syn::parse_quote!(rt), &|_| true).to_string();
        let cloned = quote!({
            let argument = rt::__private::capture(&a);
            argument
        });
        assert_eq!(out, quote!(f(#cloned, &b, c.d, [#cloned], S { x: #cloned })).to_string());
    }
}

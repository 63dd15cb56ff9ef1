//! Where generated tokens say that they are, and whose names they see.
//!
//! All of them are `mixed_site`: their local names cannot meet those of the user. Their *location* is the return type's,
//! because that is what the compiler still finds wrong once `check` is content (it cannot be stored, it is not `Send`):
//! reports from several generated functions then stand at one place and are one report.

use std::cell::Cell;

use proc_macro2::{Group, Span, TokenStream, TokenTree};

thread_local! {
    static LOCATION: Cell<Option<Span>> = const { Cell::new(None) };
}

/// The span of a generated token.
pub(crate) fn span() -> Span {
    let location = LOCATION.with(Cell::get);
    location.map_or_else(Span::mixed_site, |location| Span::mixed_site().located_at(location))
}

/// `tokens` at another place, seeing the same names.
pub(crate) fn relocated(tokens: TokenStream, location: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut tree| {
            if let TokenTree::Group(group) = &tree {
                let mut inner = Group::new(group.delimiter(), relocated(group.stream(), location));
                inner.set_span(group.span().located_at(location));
                return TokenTree::Group(inner);
            }
            tree.set_span(tree.span().located_at(location));
            tree
        })
        .collect()
}

/// Runs `work` with generated tokens at `location`.
pub(crate) fn located<T>(location: Span, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Span>);
    impl Drop for Restore {
        fn drop(&mut self) {
            LOCATION.with(|cell| cell.set(self.0));
        }
    }
    let _restore = Restore(LOCATION.with(|cell| cell.replace(Some(location))));
    work()
}

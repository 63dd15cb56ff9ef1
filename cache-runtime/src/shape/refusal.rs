//! What a batch function may not return. Classification ends in a type whose gate is closed: method look-up stops there with
//! the message of the missing bound, and of what has no type nothing more is said.

use std::marker::PhantomData;

use super::Marker;
use super::gate::Gate;
use super::probe::AfterResult;

/// The end of a return type `V` that is no collection.
#[derive(Debug)]
pub struct NoCollection<V>(Marker<V>);

/// Fallback of `peel_batch`. Taken by reference: method look-up tries it last.
pub trait PeelNoBatch<V> {
    /// Finds no collection.
    fn peel_batch(&self) -> NoCollection<V> {
        NoCollection(PhantomData)
    }
}

impl<V, R> PeelNoBatch<V> for AfterResult<V, R> {}

impl<V> NoCollection<V> {
    /// Peels nothing.
    #[must_use]
    pub fn peel_arc(self) -> Self {
        self
    }
}

/// Implemented by nothing. The bound is on the receiver: of another type rustc would not print the message, and of a receiver with
/// a lifetime in it (`&'static str`) it prints its own, once, at the same place.
#[diagnostic::on_unimplemented(
    message = "a batch function returns a collection, and `{V}` is none",
    label = "no collection",
    note = "if `{V}` is the value of one element, return `HashMap<_, {V}>`, or `Vec<Option<{V}>>` with one for each element, in their order",
    note = "a `BTreeMap<_, _>` will do as well, or a `Vec<_>` with `by = |value| value.id`; any of them bare or in a `Result`"
)]
pub trait CollectionOf<V> {}

impl<V> Gate for NoCollection<V> where Self: CollectionOf<V> {}

//! `axum::Json`, the wrapping of handlers' results: what is stored is the value in it, so that `Json<User>`, `User` and
//! `Arc<User>` of one template are the same entry.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::Json;

use super::Marker;
use super::batch::{Collected, PeelBatch};
use super::bounds::Plain;
use super::cached::Classified;
use super::gate::{Gate, GateUnstorable};
use super::probe::{AfterOption, AfterResult, Never, One, PeelWrapping, Probe, Shape};
use super::signature::{Declared, DeclaredArc, DeclaredOption, Outcome};
use super::wrap::{HandOut, HandsOut};
use crate::record::Erased;

/// The value is handed out in a `Json`.
#[derive(Debug)]
pub struct InJson;

impl<V, R, O> PeelWrapping for AfterOption<Json<V>, R, O> {
    type Peeled = Shape<V, R, O, InJson>;
    fn peel_arc(self) -> Self::Peeled {
        Shape::new()
    }
}

impl<V> Classified<V> for Shape<V, Never, One, InJson> {}

impl<V> HandOut<V> for InJson {
    type Out = Json<V>;
}

#[diagnostic::do_not_recommend]
impl<V: Clone> HandsOut<V> for InJson {
    fn take(out: Json<V>) -> Arc<V> {
        Arc::new(out.0)
    }
    fn copy(out: &Json<V>) -> Arc<V> {
        Arc::new(out.0.clone())
    }
    fn give(value: Arc<V>) -> Json<V> {
        Json(Arc::unwrap_or_clone(value))
    }
    #[inline]
    fn lend(stored: &Erased) -> Option<Json<V>>
    where
        V: Send + Sync + 'static,
    {
        stored.downcast_ref::<V>().cloned().map(Json)
    }
}

impl<V, R, O> GateUnstorable for Shape<V, R, O, InJson> {
    type Gated = Self;
    fn gate(&self) -> Self {
        Self::new()
    }
}

impl<T> Probe<Json<T>> {
    /// It is a `Json`.
    pub const JSON: bool = true;
}
impl<T> Probe<Option<Json<T>>> {
    /// It is a `Json`.
    pub const JSON: bool = true;
}
impl<T, E> Probe<Result<Json<T>, E>> {
    /// It is a `Json`.
    pub const JSON: bool = true;
}
impl<T, E> Probe<Result<Option<Json<T>>, E>> {
    /// It is a `Json`.
    pub const JSON: bool = true;
}

macro_rules! outcomes {
    ($($kind:literal: [$($param:ident),*] $ty:ty;)*) => {
        $(impl<$($param),*> Outcome<$kind> for $ty { type Value = T; type Out = Json<T>; })*
    };
}
outcomes! {
    8: [T] Json<T>;
    9: [T, E] Result<Json<T>, E>;
    10: [T] Option<Json<T>>;
    11: [T, E] Result<Option<Json<T>>, E>;
}

impl<T: Plain> DeclaredArc for Json<T> {
    type Value = T;
    type Out = Self;
}
impl<T: Plain> DeclaredOption for Json<T> {
    type Value = T;
    type Out = Self;
}
impl<T: Plain> Declared for Json<T> {
    type Value = T;
    type Out = Self;
}

/// The end of a batch function's `Json<V>`: as [`NoCollection`](super::refusal::NoCollection).
#[derive(Debug)]
pub struct NoHandler<V>(Marker<V>);

impl<V, R> PeelBatch for AfterResult<Json<V>, R> {
    type Peeled = NoHandler<V>;
    fn peel_batch(self) -> NoHandler<V> {
        NoHandler(PhantomData)
    }
}

impl<V> NoHandler<V> {
    /// Peels nothing.
    #[must_use]
    pub fn peel_arc(self) -> Self {
        self
    }
}

/// Implemented by nothing.
#[diagnostic::on_unimplemented(
    message = "a batch function returns a collection, and `Json<{V}>` is none",
    label = "no collection",
    note = "return a `HashMap<_, _>`, a `BTreeMap<_, _>`, a `Vec<Option<_>>`, or a `Vec<_>` with `by = |value| value.id`, or a `Result` of one",
    note = "a batch function is no handler: have the handler call it, and put what it returns into a `Json` there"
)]
pub trait HandlerOf<V> {}

impl<V> Gate for NoHandler<V> where Self: HandlerOf<V> {}

/// The end of a batch function's collection of `Json<V>`.
#[derive(Debug)]
pub struct NoElement<V>(Marker<V>);

impl<V, C, R> PeelWrapping for Collected<Json<V>, C, R> {
    type Peeled = NoElement<V>;
    fn peel_arc(self) -> NoElement<V> {
        NoElement(PhantomData)
    }
}

/// Implemented by nothing.
#[diagnostic::on_unimplemented(
    message = "a batch function cannot return the values of its elements as `Json<{V}>`",
    label = "values in a `Json`",
    note = "return a collection of `{V}`",
    note = "a batch function is no handler: have the handler call it, and put what it returns into a `Json` there"
)]
pub trait ElementOf<V> {}

impl<V> Gate for NoElement<V> where Self: ElementOf<V> {}

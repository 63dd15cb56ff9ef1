//! One mistake, one error: a value that cannot be stored is not asked whether it can be cloned, too. Method look-up tells,
//! as in `probe`; what it tells decides which bounds are stated, and nothing about a program that compiles.

use std::sync::Arc;

use super::batch::BatchShape;
use super::bounds::Storable;
use super::probe::{Owned, Shape, Shared};
use super::wrap::{HandOut, HandsOut};
use crate::record::Erased;

/// Takes the place of [`Owned`] where the value cannot be stored.
#[derive(Debug)]
pub struct Unstorable;

impl<V> HandOut<V> for Unstorable {
    type Out = V;
}

#[diagnostic::do_not_recommend]
impl<V> HandsOut<V> for Unstorable {
    fn take(out: V) -> Arc<V> {
        Arc::new(out)
    }
    fn copy(_: &V) -> Arc<V> {
        unreachable!("what cannot be stored does not compile")
    }
    fn give(_: Arc<V>) -> V {
        unreachable!("what cannot be stored does not compile")
    }
    fn lend(_: &Erased) -> Option<V> {
        unreachable!("what cannot be stored does not compile")
    }
}

/// A shape whose value can be stored: all bounds are asked for.
pub trait Gate: Sized {
    /// The same shape.
    #[must_use]
    fn gate(self) -> Self {
        self
    }
}

impl<V: Storable, R, O, A> Gate for Shape<V, R, O, A> {}
impl<V: Storable, C, R, A> Gate for BatchShape<V, C, R, A> {}

/// Fallback of [`Gate`]. Taken by reference: method look-up tries it last.
pub trait GateUnstorable {
    /// The shape of which nothing more is asked.
    type Gated;
    /// What is left to ask.
    fn gate(&self) -> Self::Gated;
}

impl<V, R, O> GateUnstorable for Shape<V, R, O, Owned> {
    type Gated = Shape<V, R, O, Unstorable>;
    fn gate(&self) -> Self::Gated {
        Shape::new()
    }
}

impl<V, R, O> GateUnstorable for Shape<V, R, O, Shared> {
    type Gated = Self;
    fn gate(&self) -> Self {
        Self::new()
    }
}

impl<V, C, R> GateUnstorable for BatchShape<V, C, R, Owned> {
    type Gated = BatchShape<V, C, R, Unstorable>;
    fn gate(&self) -> Self::Gated {
        BatchShape::new()
    }
}

impl<V, C, R> GateUnstorable for BatchShape<V, C, R, Shared> {
    type Gated = Self;
    fn gate(&self) -> Self {
        Self::new()
    }
}

impl<V: ?Sized, R, O, A> Shape<&V, R, O, A> {
    /// Of a reference the bound would be asked without its lifetime, and be an error of its own.
    #[must_use]
    pub fn gate(self) -> Self {
        self
    }
}

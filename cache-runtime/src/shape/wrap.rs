//! The three wrappings a value may have: how a function fails, whether its value may be absent, how it is handed out.

use std::convert::Infallible;
use std::sync::Arc;

use super::bounds::Storable;
use super::cached::Handling;
use super::probe::{Fallible, FallibleKept, FallibleShared, Maybe, Never, One, Owned, Shared};
use crate::record::Erased;

/// How a function fails.
pub trait Failure {
    /// Whether it does.
    const CAN_FAIL: bool;
    /// The error, or an uninhabited type.
    type Error;
    /// `X` as the function returns it.
    type Wrap<X>;
    /// A success.
    fn ok<X>(value: X) -> Self::Wrap<X>;
    /// A failure.
    fn err<X>(error: Self::Error) -> Self::Wrap<X>;
    /// Success or failure.
    fn split<X>(ret: Self::Wrap<X>) -> Result<X, Self::Error>;
    /// The error for those who waited, where it can be cloned.
    fn share(error: &Self::Error) -> Option<Erased>;
    /// A shared or stored error for one more caller.
    fn unshare(error: &Erased) -> Option<Self::Error>;
    /// How the error becomes bytes and back, where it is kept and can.
    fn handling() -> Option<Handling<Self::Error>> {
        None
    }
}

impl Failure for Never {
    const CAN_FAIL: bool = false;
    type Error = Infallible;
    type Wrap<X> = X;
    fn ok<X>(value: X) -> X {
        value
    }
    fn err<X>(error: Infallible) -> X {
        match error {}
    }
    fn split<X>(ret: X) -> Result<X, Infallible> {
        Ok(ret)
    }
    fn share(error: &Infallible) -> Option<Erased> {
        match *error {}
    }
    fn unshare(_: &Erased) -> Option<Infallible> {
        None
    }
}

impl<E> Failure for Fallible<E> {
    const CAN_FAIL: bool = true;
    type Error = E;
    type Wrap<X> = Result<X, E>;
    fn ok<X>(value: X) -> Result<X, E> {
        Ok(value)
    }
    fn err<X>(error: E) -> Result<X, E> {
        Err(error)
    }
    fn split<X>(ret: Result<X, E>) -> Result<X, E> {
        ret
    }
    fn share(_: &E) -> Option<Erased> {
        None
    }
    fn unshare(_: &Erased) -> Option<E> {
        None
    }
}

impl<E: Clone + Send + Sync + 'static> Failure for FallibleShared<E> {
    const CAN_FAIL: bool = true;
    type Error = E;
    type Wrap<X> = Result<X, E>;
    fn ok<X>(value: X) -> Result<X, E> {
        Ok(value)
    }
    fn err<X>(error: E) -> Result<X, E> {
        Err(error)
    }
    fn split<X>(ret: Result<X, E>) -> Result<X, E> {
        ret
    }
    fn share(error: &E) -> Option<Erased> {
        Some(Arc::new(error.clone()))
    }
    fn unshare(error: &Erased) -> Option<E> {
        error.downcast_ref::<E>().cloned()
    }
}

impl<E: Clone + Storable> Failure for FallibleKept<E> {
    const CAN_FAIL: bool = true;
    type Error = E;
    type Wrap<X> = Result<X, E>;
    fn ok<X>(value: X) -> Result<X, E> {
        Ok(value)
    }
    fn err<X>(error: E) -> Result<X, E> {
        Err(error)
    }
    fn split<X>(ret: Result<X, E>) -> Result<X, E> {
        ret
    }
    fn share(error: &E) -> Option<Erased> {
        FallibleShared::share(error)
    }
    fn unshare(error: &Erased) -> Option<E> {
        FallibleShared::unshare(error)
    }
    fn handling() -> Option<Handling<E>> {
        Some(*Handling::STORABLE)
    }
}

/// Whether a function's value may be absent.
pub trait Presence {
    /// `X` as the function returns it.
    type Wrap<X>;
    /// A value that is there.
    fn some<X>(value: X) -> Self::Wrap<X>;
    /// An absent value, where that can be said.
    fn none<X>() -> Option<Self::Wrap<X>>;
    /// The value, if it is there.
    fn split<X>(value: Self::Wrap<X>) -> Option<X>;
}

impl Presence for One {
    type Wrap<X> = X;
    fn some<X>(value: X) -> X {
        value
    }
    fn none<X>() -> Option<X> {
        None
    }
    fn split<X>(value: X) -> Option<X> {
        Some(value)
    }
}

impl Presence for Maybe {
    type Wrap<X> = Option<X>;
    fn some<X>(value: X) -> Option<X> {
        Some(value)
    }
    fn none<X>() -> Option<Option<X>> {
        Some(None)
    }
    fn split<X>(value: Option<X>) -> Option<X> {
        value
    }
}

/// The type by which a value is handed out.
pub trait HandOut<V> {
    /// `V` or `Arc<V>`.
    type Out;
}

impl<V> HandOut<V> for Owned {
    type Out = V;
}

impl<V> HandOut<V> for Shared {
    type Out = Arc<V>;
}

/// How a value is handed out.
#[diagnostic::on_unimplemented(
    message = "`{V}` must be `Clone` to be returned from the cache by value",
    label = "not `Clone`",
    note = "derive `Clone` for it, or return `Arc<{V}>`, which a hit shares without cloning"
)]
pub trait HandsOut<V>: HandOut<V> {
    /// Into the store.
    fn take(out: Self::Out) -> Arc<V>;
    /// Into the store, and the caller keeps it too.
    fn copy(out: &Self::Out) -> Arc<V>;
    /// Out of the store.
    fn give(value: Arc<V>) -> Self::Out;
    /// Out of the store, where it stays; `None`: it is of another type. A value by value is cloned where it is, without a count
    /// of its pointer.
    fn lend(stored: &Erased) -> Option<Self::Out>
    where
        V: Send + Sync + 'static;
}

#[diagnostic::do_not_recommend]
impl<V: Clone> HandsOut<V> for Owned {
    fn take(out: V) -> Arc<V> {
        Arc::new(out)
    }
    fn copy(out: &V) -> Arc<V> {
        Arc::new(out.clone())
    }
    fn give(value: Arc<V>) -> V {
        Arc::unwrap_or_clone(value)
    }
    #[inline]
    fn lend(stored: &Erased) -> Option<V>
    where
        V: Send + Sync + 'static,
    {
        stored.downcast_ref::<V>().cloned()
    }
}

impl<V> HandsOut<V> for Shared {
    fn take(out: Arc<V>) -> Arc<V> {
        out
    }
    fn copy(out: &Arc<V>) -> Arc<V> {
        Arc::clone(out)
    }
    fn give(value: Arc<V>) -> Arc<V> {
        value
    }
    #[inline]
    fn lend(stored: &Erased) -> Option<Arc<V>>
    where
        V: Send + Sync + 'static,
    {
        Arc::clone(stored).downcast().ok()
    }
}

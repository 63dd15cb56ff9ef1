//! Bounds that an option asks of a function, each with its own message, and small helpers of expansions.

use crate::engine::put::{Put, PutTarget};
use crate::error::Error;
use crate::shape::{Cached, Failure, HandOut, Presence, RetOf, Returned, Shape};

/// An argument for after the body: a clone, and of a reference the reference.
#[inline]
pub fn capture<T: Clone>(value: &T) -> T {
    value.clone()
}

/// An argument that background work can own.
#[diagnostic::on_unimplemented(
    message = "background work cannot own `{Self}`",
    label = "cannot be owned",
    note = "work in the background outlives the call: the argument must be `Clone` (or `ToOwned`), `Send` and `'static`",
    note = "or recache with `recache_mode = await`, which borrows"
)]
pub trait Ownable {
    /// What owns it.
    type Owned;
    /// Makes it owned.
    fn own(&self) -> Self::Owned;
}

#[diagnostic::do_not_recommend]
impl<T: ToOwned + ?Sized> Ownable for T {
    type Owned = T::Owned;
    fn own(&self) -> T::Owned {
        self.to_owned()
    }
}

/// An argument that outlives the call.
#[inline]
pub fn own<T: Ownable + ?Sized>(value: &T) -> T::Owned {
    value.own()
}

/// Calls `f` with the value, so that a closure's parameter has its type.
#[inline]
pub fn with<V, R>(value: &V, f: impl FnOnce(&V) -> R) -> R {
    f(value)
}

/// The identity, where generic code names one type in two ways.
///
/// # Panics
///
/// If the types differ, which no expansion makes happen.
pub fn retype<A: 'static, B: 'static>(value: A) -> B {
    let mut slot = Some(value);
    let slot: &mut dyn std::any::Any = &mut slot;
    match slot.downcast_mut::<Option<B>>().and_then(Option::take) {
        Some(value) => value,
        None => unreachable!("{} is {}", std::any::type_name::<A>(), std::any::type_name::<B>()),
    }
}

/// Whether a call succeeded.
pub fn succeeded<S: Returned>(shape: S, ret: &S::Ret) -> bool {
    shape.succeeded(ret)
}

/// A function that can return the cache's own error (`on_error = fail`).
#[diagnostic::on_unimplemented(
    message = "`on_error = fail` and `timeout` need a function that can return `cache_runtime::Error`",
    label = "cannot carry it",
    note = "return a `Result<_, E>` with `E: From<cache_runtime::Error>`"
)]
pub trait CarriesError {
    /// The return type.
    type Ret;
    /// The error as the function returns it.
    fn carry(self, error: Error) -> Self::Ret;
}

impl<V, O: Presence, A: HandOut<V>, E: From<Error>> CarriesError for Shape<V, crate::shape::Fallible<E>, O, A> {
    type Ret = RetOf<V, crate::shape::Fallible<E>, O, A>;
    fn carry(self, error: Error) -> Self::Ret {
        Err(error.into())
    }
}

impl<V, O: Presence, A: HandOut<V>, E> CarriesError for Shape<V, crate::shape::FallibleShared<E>, O, A>
where
    E: From<Error> + Clone + Send + Sync + 'static,
{
    type Ret = RetOf<V, crate::shape::FallibleShared<E>, O, A>;
    fn carry(self, error: Error) -> Self::Ret {
        Err(error.into())
    }
}

/// The cache's own error as the function returns it; evidence that it can.
pub fn fail<V, R: Failure, O: Presence, A: HandOut<V>>(shape: Shape<V, R, O, A>, error: Error) -> RetOf<V, R, O, A>
where
    Shape<V, R, O, A>: CarriesError<Ret = RetOf<V, R, O, A>>,
{
    shape.carry(error)
}

/// Errors that the cache can keep (`ttl_err`).
#[diagnostic::on_unimplemented(
    message = "`ttl_err` has nothing to keep",
    label = "no error that can be kept",
    note = "the function must return a `Result<_, E>` with `E: Clone + Send + Sync + 'static`"
)]
pub trait KeepsErrors {}
impl<V, E, O, A> KeepsErrors for Shape<V, crate::shape::FallibleShared<E>, O, A> {}

/// Evidence for `ttl_err`.
pub fn keeps_errors<S: KeepsErrors>(_: S) {}

/// Values that may be absent (`ttl_none`).
#[diagnostic::on_unimplemented(
    message = "`ttl_none` has nothing to keep",
    label = "no `None` here",
    note = "the function must return an `Option`, bare or in a `Result`"
)]
pub trait MayBeAbsent {}
impl<V, R, A> MayBeAbsent for Shape<V, R, crate::shape::Maybe, A> {}

/// Evidence for `ttl_none`.
pub fn may_be_absent<S: MayBeAbsent>(_: S) {}

/// Stores what the caller claims, over whatever is there. The shape is the evidence for the value's bounds.
///
/// # Errors
///
/// The cache cannot be used, or the value is heavier than the store.
pub async fn store<S: Cached>(_: S, target: PutTarget<S::Value>, value: impl Put<S::Value>) -> Result<(), Error> {
    target.store(value).await
}

/// [`store`] for synchronous functions.
///
/// # Errors
///
/// As [`store`].
pub fn store_now<S: Cached>(_: S, target: PutTarget<S::Value>, value: impl Put<S::Value>) -> Result<(), Error> {
    target.store_now(value)
}

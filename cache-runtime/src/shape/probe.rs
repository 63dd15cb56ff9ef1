//! Classification by method look-up: an inherent method on `Probe<Result<T, E>>` wins over the trait method that every
//! other `Probe<T>` has.

use super::Marker;
use super::bounds::Storable;
use std::marker::PhantomData;
use std::sync::Arc;

/// The start of classification: a return type that nothing is known about yet.
#[derive(Debug)]
pub struct Probe<R: ?Sized>(PhantomData<fn() -> Box<R>>);

/// What is left of a return type after `Result`.
#[derive(Debug)]
pub struct AfterResult<V, R>(Marker<(V, R)>);

/// What is left of a return type after `Option`.
#[derive(Debug)]
pub struct AfterOption<V, R, O>(Marker<(V, R, O)>);

/// A classified return type: `V` is stored, and `R`, `O`, `A` say what it was wrapped in.
#[derive(Debug)]
pub struct Shape<V, R, O, A>(Marker<(V, R, O, A)>);

impl<V, R, O, A> Clone for Shape<V, R, O, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V, R, O, A> Copy for Shape<V, R, O, A> {}

impl<V, R, O, A> Shape<V, R, O, A> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R> Probe<R> {
    /// The probe of `R`.
    pub const NEW: Self = Self(PhantomData);

    /// The probe of a value's type.
    pub fn of(_: &R) -> Self {
        Self::NEW
    }
}

/// The function returns a bare value.
#[derive(Debug)]
pub struct Never;
/// The function returns a `Result<_, E>` whose errors stay with the caller they happened to.
#[derive(Debug)]
pub struct Fallible<E>(PhantomData<fn() -> E>);
/// The function returns a `Result<_, E>` whose errors can be cloned for those who waited.
#[derive(Debug)]
pub struct FallibleShared<E>(PhantomData<fn() -> E>);
/// As [`FallibleShared`], and asked to keep its errors, which any process can read back.
#[derive(Debug)]
pub struct FallibleKept<E>(PhantomData<fn() -> E>);
/// The value is always there.
#[derive(Debug)]
pub struct One;
/// The value is an `Option`.
#[derive(Debug)]
pub struct Maybe;
/// The value is handed out by clone.
#[derive(Debug)]
pub struct Owned;
/// The value is handed out as an `Arc`.
#[derive(Debug)]
pub struct Shared;

impl<V, E: Clone + Send + Sync + 'static> Probe<Result<V, E>> {
    /// Peels a `Result` whose error can be shared.
    pub fn peel_result(self) -> AfterResult<V, FallibleShared<E>> {
        AfterResult(PhantomData)
    }
}

/// Fallback of [`Probe::peel_result`] for errors that cannot be cloned.
pub trait PeelResult: Sized {
    /// What is left.
    type Peeled;
    /// Peels.
    fn peel_result(self) -> Self::Peeled;
}

impl<V, E> PeelResult for Probe<Result<V, E>> {
    type Peeled = AfterResult<V, Fallible<E>>;
    fn peel_result(self) -> Self::Peeled {
        AfterResult(PhantomData)
    }
}

/// Fallback of [`PeelResult`] for what is no `Result`. Taken by reference: method look-up tries it last.
pub trait PeelNoResult<V> {
    /// Peels nothing.
    fn peel_result(&self) -> AfterResult<V, Never> {
        AfterResult(PhantomData)
    }
}

impl<V> PeelNoResult<V> for Probe<V> {}

impl<V, R> AfterResult<Option<V>, R> {
    /// Peels an `Option`.
    pub fn peel_option(self) -> AfterOption<V, R, Maybe> {
        AfterOption(PhantomData)
    }
}

/// Fallback of `AfterResult::peel_option`.
pub trait PeelNoOption<V, R> {
    /// Peels nothing.
    fn peel_option(&self) -> AfterOption<V, R, One> {
        AfterOption(PhantomData)
    }
}

impl<V, R> PeelNoOption<V, R> for AfterResult<V, R> {}

impl<V, R, O> AfterOption<Arc<V>, R, O> {
    /// Peels an `Arc`.
    pub fn peel_arc(self) -> Shape<V, R, O, Shared> {
        Shape::new()
    }
}

/// `AfterOption::peel_arc` of other wrappings. A trait, so that a type that the compiler could not find out is not an error of its
/// own: two methods of `AfterOption` itself would be one too many for it.
pub trait PeelWrapping: Sized {
    /// What is left.
    type Peeled;
    /// Peels the wrapping.
    fn peel_arc(self) -> Self::Peeled;
}

/// Fallback of `AfterOption::peel_arc`.
pub trait PeelNoArc<V, R, O> {
    /// Peels nothing.
    fn peel_arc(&self) -> Shape<V, R, O, Owned> {
        Shape::new()
    }
}

impl<V, R, O> PeelNoArc<V, R, O> for AfterOption<V, R, O> {}

impl<V, E: ?Sized, O, A> Shape<V, FallibleShared<&E>, O, A> {
    /// Nothing that is borrowed comes back from bytes. Said here, since a bound would be asked of `&'static str` without its
    /// lifetime, and found to hold.
    #[must_use]
    pub fn keep_errors(self) -> Self {
        self
    }
}

/// Errors that are kept on a shared backend too.
pub trait KeepErrors {
    /// With errors that can become bytes.
    type Kept;
    /// Takes note of it.
    fn keep_errors(self) -> Self::Kept;
}

impl<V, E: Clone + Storable, O, A> KeepErrors for Shape<V, FallibleShared<E>, O, A> {
    type Kept = Shape<V, FallibleKept<E>, O, A>;
    fn keep_errors(self) -> Self::Kept {
        Shape::new()
    }
}

/// Fallback of [`KeepErrors`] for errors that cannot be serialized: they are kept in this process only.
pub trait KeepErrorsHere: Copy {
    /// Nothing changes.
    #[must_use]
    fn keep_errors(&self) -> Self {
        *self
    }
}

impl<V, R, O, A> KeepErrorsHere for Shape<V, R, O, A> {}

//! What a function returns, told apart by traits and never by spelling: `Result`, then `Option`, then `Arc` are peeled
//! off until the stored type is left. Pure types; no value is touched before a load has run.
//!
//! Expansions classify by method look-up: an inherent method on `Probe<Result<T, E>>` wins over the trait method that
//! every other `Probe<T>` has. Inside a generic function a bare type parameter would look plain although it could be
//! a `Result`; [`Classified`] asks for a bound there.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::{Erased, Stored};

/// A type that a shared cache can keep: it can be serialized and read back by any process.
///
/// Implemented for every type that is `Serialize + DeserializeOwned + Send + Sync + 'static`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in the cache",
    label = "not storable",
    note = "a cached value must be `serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static`",
    note = "add `#[derive(Clone, serde::Serialize, serde::Deserialize)]` to it, or use `#[memoize]`, which keeps values in this process and needs only `Clone + Send + Sync`"
)]
pub trait Storable: Serialize + DeserializeOwned + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Storable for T {}

/// A type that `#[memoize]` can keep in this process: `Send + Sync + 'static`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be memoized",
    label = "not memoizable",
    note = "a memoized value is shared between threads: it must be `Send + Sync + 'static`"
)]
pub trait Memoizable: Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Send + Sync + 'static> Memoizable for T {}

/// A type that is not a `Result`: the bound to put on a type parameter that a cached generic function returns.
///
/// Without it a parameter could be a `Result`, whose `Err` must never be cached, and nobody could tell.
///
/// ```
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct User { id: u64 }
/// impl cache_runtime::Plain for User {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` could be a `Result`, so the cache cannot tell its failures from its values",
    note = "add the bound `{Self}: cache_runtime::Plain`, and `impl cache_runtime::Plain for ..` on the types it stands for"
)]
pub trait Plain: Unpin {}

macro_rules! plain {
    ($($ty:ty),* $(,)?) => { $(impl Plain for $ty {})* };
}
plain!(
    (),
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    String,
    Box<str>,
    std::time::Duration,
);
impl<T: Unpin> Plain for Vec<T> {}
impl<T> Plain for Box<[T]> {}
impl<K, V, S: Unpin> Plain for std::collections::HashMap<K, V, S>
where
    Self: Unpin,
{
}
impl<K, V> Plain for std::collections::BTreeMap<K, V> where Self: Unpin {}
impl<T, S: Unpin> Plain for std::collections::HashSet<T, S> where Self: Unpin {}
impl<T> Plain for std::collections::BTreeSet<T> where Self: Unpin {}
impl<A: Unpin, B: Unpin> Plain for (A, B) {}
impl<A: Unpin, B: Unpin, C: Unpin> Plain for (A, B, C) {}

/// The start of classification: a return type that nothing is known about yet.
#[derive(Debug)]
pub struct Probe<R: ?Sized>(PhantomData<fn() -> Box<R>>);

/// What is left of a return type after `Result`.
#[derive(Debug)]
pub struct AfterResult<V, R>(PhantomData<fn() -> (V, R)>);

/// What is left of a return type after `Option`.
#[derive(Debug)]
pub struct AfterOption<V, R, O>(PhantomData<fn() -> (V, R, O)>);

/// A classified return type: `V` is stored, and `R`, `O`, `A` say what it was wrapped in.
#[derive(Debug)]
pub struct Shape<V, R, O, A>(PhantomData<fn() -> (V, R, O, A)>);

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

/// Fallback of [`AfterResult::peel_option`].
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

/// Fallback of [`AfterOption::peel_arc`].
pub trait PeelNoArc<V, R, O> {
    /// Peels nothing.
    fn peel_arc(&self) -> Shape<V, R, O, Owned> {
        Shape::new()
    }
}

impl<V, R, O> PeelNoArc<V, R, O> for AfterOption<V, R, O> {}

/// How a function fails.
pub trait Failure {
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
}

impl Failure for Never {
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
}

/// A return type that is only looked at, as writes do: no bound on the value.
pub trait Returned: Copy {
    /// The function's return type.
    type Ret;
    /// The value in it.
    type Value;
    /// Whether it is a success.
    fn succeeded(self, ret: &Self::Ret) -> bool;
    /// The value, unless it failed or is absent.
    fn value(self, ret: &Self::Ret) -> Option<&Self::Value>;
}

/// A return type whose value a write-through can store.
pub trait Kept: Returned {
    /// The value for the store; the caller keeps its own.
    fn keep(self, ret: &Self::Ret) -> Option<Arc<Self::Value>>;
}

/// One implementation per wrapping: a reference into a generic wrapping could not be given a lifetime.
macro_rules! returned {
    ($([$($e:ident)?] $failure:ty, $presence:ty, $hand:ty: $ret:ty, |$r:ident| $ok:expr, $value:expr, $keep:expr $(; $clone:ident)?;)*) => {
        $(impl<V, $($e)?> Returned for Shape<V, $failure, $presence, $hand> {
            type Ret = $ret;
            type Value = V;
            #[allow(unused_variables)]
            fn succeeded(self, $r: &Self::Ret) -> bool {
                $ok
            }
            fn value(self, $r: &Self::Ret) -> Option<&V> {
                $value
            }
        }
        #[diagnostic::do_not_recommend]
        impl<V, $($e)?> Kept for Shape<V, $failure, $presence, $hand>
        where
            $(V: $clone)?
        {
            fn keep(self, $r: &Self::Ret) -> Option<Arc<V>> {
                $keep
            }
        })*
    };
}

returned! {
    [] Never, One, Owned: V, |ret| true, Some(ret), Some(ret).map(|out| Arc::new(out.clone())); Clone;
    [] Never, One, Shared: Arc<V>, |ret| true, Some(ret).map(|out| &**out), Some(ret).map(Arc::clone);
    [] Never, Maybe, Owned: Option<V>, |ret| true, ret.as_ref(), ret.as_ref().map(|out| Arc::new(out.clone())); Clone;
    [] Never, Maybe, Shared: Option<Arc<V>>, |ret| true, ret.as_ref().map(|out| &**out), ret.as_ref().map(Arc::clone);
    [E] Fallible<E>, One, Owned: Result<V, E>, |ret| ret.is_ok(), ret.as_ref().ok(), ret.as_ref().ok().map(|out| Arc::new(out.clone())); Clone;
    [E] Fallible<E>, One, Shared: Result<Arc<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().map(|out| &**out), ret.as_ref().ok().map(Arc::clone);
    [E] Fallible<E>, Maybe, Owned: Result<Option<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref), ret.as_ref().ok().and_then(Option::as_ref).map(|out| Arc::new(out.clone())); Clone;
    [E] Fallible<E>, Maybe, Shared: Result<Option<Arc<V>>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref).map(|out| &**out), ret.as_ref().ok().and_then(Option::as_ref).map(Arc::clone);
    [E] FallibleShared<E>, One, Owned: Result<V, E>, |ret| ret.is_ok(), ret.as_ref().ok(), ret.as_ref().ok().map(|out| Arc::new(out.clone())); Clone;
    [E] FallibleShared<E>, One, Shared: Result<Arc<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().map(|out| &**out), ret.as_ref().ok().map(Arc::clone);
    [E] FallibleShared<E>, Maybe, Owned: Result<Option<V>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref), ret.as_ref().ok().and_then(Option::as_ref).map(|out| Arc::new(out.clone())); Clone;
    [E] FallibleShared<E>, Maybe, Shared: Result<Option<Arc<V>>, E>, |ret| ret.is_ok(), ret.as_ref().ok().and_then(Option::as_ref).map(|out| &**out), ret.as_ref().ok().and_then(Option::as_ref).map(Arc::clone);
}

/// Whether it is known that the return type hides no `Result`.
#[diagnostic::on_unimplemented(
    message = "`{V}` could be a `Result`, so the cache cannot tell its failures from its values",
    label = "could be a `Result`",
    note = "add the bound `{V}: cache_runtime::Plain`"
)]
pub trait Classified<V> {}

// Every concrete type that a cache would keep is `Unpin`, and a type parameter is not known to be. That is what tells
// a parameter, which could be a `Result`, from a type that was told apart by method look-up.
#[diagnostic::do_not_recommend]
impl<V: Unpin> Classified<V> for Shape<V, Never, One, Owned> {}
impl<V> Classified<V> for Shape<V, Never, One, Shared> {}
impl<V, A> Classified<V> for Shape<V, Never, Maybe, A> {}
impl<V, E, O, A> Classified<V> for Shape<V, Fallible<E>, O, A> {}
impl<V, E, O, A> Classified<V> for Shape<V, FallibleShared<E>, O, A> {}

/// A function's outcome, taken apart.
#[derive(Debug)]
pub enum Split<V, E> {
    /// A value.
    Some(Arc<V>),
    /// An absent value.
    None,
    /// A failure.
    Err(E),
}

/// A return type that the engine can store and give back. Made by [`storable`] and [`memoizable`], which check the bounds.
pub trait Cached: Copy + Send + Sync {
    /// The function's return type.
    type Ret;
    /// What is stored.
    type Value: Send + Sync + 'static;
    /// `Value`, or `Arc<Value>` where the function returns that.
    type Out;
    /// The function's error.
    type Error;

    /// Takes a return value apart.
    fn split(self, ret: Self::Ret) -> Split<Self::Value, Self::Error>;
    /// A value as the function returns it.
    fn some(self, value: Arc<Self::Value>) -> Self::Ret;
    /// Absence as the function returns it, where it can.
    fn none(self) -> Option<Self::Ret>;
    /// An error as the function returns it.
    fn err(self, error: Self::Error) -> Self::Ret;
    /// A value alone.
    fn out(self, value: Arc<Self::Value>) -> Self::Out;
    /// An error to share, where it can be cloned.
    fn share(self, error: &Self::Error) -> Option<Erased>;
    /// A shared error for one more caller.
    fn unshare(self, error: &Erased) -> Option<Self::Error>;
    /// Bytes that the value takes in memory, roughly.
    fn bytes(self, value: &Self::Value) -> u64;

    /// What is stored as the function returns it, if it is of this type.
    #[inline]
    fn revive(self, stored: &Stored) -> Option<Self::Ret> {
        match stored {
            Stored::Some(value) => Arc::clone(value).downcast::<Self::Value>().ok().map(|value| self.some(value)),
            Stored::None => self.none(),
            Stored::Err(error) => self.unshare(error).map(|error| self.err(error)),
        }
    }
}

/// A shape whose bounds were checked, with the way to weigh its values.
#[derive(Debug)]
pub struct Checked<V, R, O, A> {
    bytes: fn(&V) -> u64,
    shape: PhantomData<Shape<V, R, O, A>>,
}

impl<V, R, O, A> Checked<V, R, O, A> {
    pub(crate) fn new(bytes: fn(&V) -> u64) -> Self {
        Self { bytes, shape: PhantomData }
    }
}

impl<V, R, O, A> Clone for Checked<V, R, O, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V, R, O, A> Copy for Checked<V, R, O, A> {}

impl<V: Send + Sync + 'static, R: Failure, O: Presence, A: HandsOut<V>> Cached for Checked<V, R, O, A> {
    type Ret = R::Wrap<O::Wrap<A::Out>>;
    type Value = V;
    type Out = A::Out;
    type Error = R::Error;

    fn split(self, ret: Self::Ret) -> Split<V, R::Error> {
        match R::split(ret) {
            Ok(value) => O::split(value).map_or(Split::None, |value| Split::Some(A::take(value))),
            Err(error) => Split::Err(error),
        }
    }
    #[inline]
    fn some(self, value: Arc<V>) -> Self::Ret {
        R::ok(O::some(A::give(value)))
    }
    fn none(self) -> Option<Self::Ret> {
        O::none().map(R::ok)
    }
    fn err(self, error: R::Error) -> Self::Ret {
        R::err(error)
    }
    fn out(self, value: Arc<V>) -> A::Out {
        A::give(value)
    }
    fn share(self, error: &R::Error) -> Option<Erased> {
        R::share(error)
    }
    fn unshare(self, error: &Erased) -> Option<R::Error> {
        R::unshare(error)
    }
    fn bytes(self, value: &V) -> u64 {
        (self.bytes)(value)
    }
}

/// The return type that a shape stands for.
pub type RetOf<V, R, O, A> = <R as Failure>::Wrap<<O as Presence>::Wrap<<A as HandOut<V>>::Out>>;

/// Evidence that what a `#[cache_read]` function returns can be stored: the one place that states the bounds.
pub fn storable<V, R, O, A>(
    _: Shape<V, R, O, A>,
) -> impl Cached<Ret = RetOf<V, R, O, A>, Value = V, Out = A::Out, Error = R::Error>
where
    V: Storable,
    R: Failure,
    O: Presence,
    A: HandsOut<V>,
    Shape<V, R, O, A>: Classified<V>,
{
    Checked::<V, R, O, A>::new(crate::codec::size::<V>)
}

/// Evidence that what a `#[memoize]` function returns can be kept in this process.
pub fn memoizable<V, R, O, A>(
    _: Shape<V, R, O, A>,
) -> impl Cached<Ret = RetOf<V, R, O, A>, Value = V, Out = A::Out, Error = R::Error>
where
    V: Memoizable,
    R: Failure,
    O: Presence,
    A: HandsOut<V>,
    Shape<V, R, O, A>: Classified<V>,
{
    Checked::<V, R, O, A>::new(|value| size_of_val(value) as u64)
}

/// A return type at the type level, for signatures. `KIND` is what [`kind`] computes from the [`Probe`]'s constants.
pub trait Outcome<const KIND: u8> {
    /// What is stored.
    type Value;
    /// `Value`, or `Arc<Value>` where the function returns that.
    type Out;
}

/// `Probe`'s constants for types that are not what they ask.
pub trait Fallback {
    /// No `Result`.
    const RESULT: bool = false;
    /// No `Option` below the `Result`.
    const OPTION: bool = false;
    /// No `Arc` below those.
    const ARC: bool = false;
}

impl<R> Fallback for Probe<R> {}

impl<T, E> Probe<Result<T, E>> {
    /// It is a `Result`.
    pub const RESULT: bool = true;
}
impl<T> Probe<Option<T>> {
    /// It is an `Option`.
    pub const OPTION: bool = true;
}
impl<T, E> Probe<Result<Option<T>, E>> {
    /// It is an `Option`.
    pub const OPTION: bool = true;
}
impl<T> Probe<Arc<T>> {
    /// It is an `Arc`.
    pub const ARC: bool = true;
}
impl<T> Probe<Option<Arc<T>>> {
    /// It is an `Arc`.
    pub const ARC: bool = true;
}
impl<T, E> Probe<Result<Arc<T>, E>> {
    /// It is an `Arc`.
    pub const ARC: bool = true;
}
impl<T, E> Probe<Result<Option<Arc<T>>, E>> {
    /// It is an `Arc`.
    pub const ARC: bool = true;
}

/// One number for what a return type is wrapped in.
#[must_use]
pub const fn kind(result: bool, option: bool, arc: bool) -> u8 {
    result as u8 | (option as u8) << 1 | (arc as u8) << 2
}

macro_rules! outcomes {
    ($($kind:literal: [$($param:ident),*] $ty:ty => $out:ty;)*) => {
        $(impl<$($param),*> Outcome<$kind> for $ty { type Value = T; type Out = $out; })*
    };
}
outcomes! {
    0: [T] T => T;
    1: [T, E] Result<T, E> => T;
    2: [T] Option<T> => T;
    3: [T, E] Result<Option<T>, E> => T;
    4: [T] Arc<T> => Arc<T>;
    5: [T, E] Result<Arc<T>, E> => Arc<T>;
    6: [T] Option<Arc<T>> => Arc<T>;
    7: [T, E] Result<Option<Arc<T>>, E> => Arc<T>;
}

/// [`Outcome`] for generic code, where what a parameter stands for must be said by a bound.
pub trait Declared {
    /// What is stored.
    type Value;
    /// `Value`, or `Arc<Value>` where the function returns that.
    type Out;
}

/// [`Declared`] below a `Result`.
pub trait DeclaredOption {
    /// What is stored.
    type Value;
    /// How it is handed out.
    type Out;
}

/// [`Declared`] below an `Option`.
pub trait DeclaredArc {
    /// What is stored.
    type Value;
    /// How it is handed out.
    type Out;
}

impl<T: Plain> DeclaredArc for T {
    type Value = T;
    type Out = T;
}
impl<T> DeclaredArc for Arc<T> {
    type Value = T;
    type Out = Self;
}
impl<T: Plain> DeclaredOption for T {
    type Value = T;
    type Out = T;
}
impl<T> DeclaredOption for Arc<T> {
    type Value = T;
    type Out = Self;
}
impl<T: DeclaredArc> DeclaredOption for Option<T> {
    type Value = T::Value;
    type Out = T::Out;
}
impl<T: Plain> Declared for T {
    type Value = T;
    type Out = T;
}
impl<T> Declared for Arc<T> {
    type Value = T;
    type Out = Self;
}
impl<T: DeclaredArc> Declared for Option<T> {
    type Value = T::Value;
    type Out = T::Out;
}
impl<T: DeclaredOption, E> Declared for Result<T, E> {
    type Value = T::Value;
    type Out = T::Out;
}

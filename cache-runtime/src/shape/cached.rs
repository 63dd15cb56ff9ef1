//! Return types that are stored and given back. [`storable`] and [`memoizable`] are the only places that state bounds, so
//! that a type which misses one gives one error, at the return type.

use std::marker::PhantomData;
use std::sync::Arc;

use super::bounds::{Memoizable, Storable};
use super::gate::Unstorable;
use super::probe::{Fallible, FallibleKept, FallibleShared, Maybe, Never, One, Owned, Shape, Shared};
use super::wrap::{Failure, HandOut, HandsOut, Presence};
use crate::codec::Wire;
use crate::envelope::{Envelope, Head, Reject};
use crate::error::{Error, ErrorKind};
use crate::policy::Ages;
use crate::record::{Erased, Stored};
use crate::store::Image;

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
#[diagnostic::do_not_recommend]
impl<V> Classified<V> for Shape<V, Never, One, Unstorable> {}
impl<V, A> Classified<V> for Shape<V, Never, Maybe, A> {}
impl<V, E, O, A> Classified<V> for Shape<V, Fallible<E>, O, A> {}
impl<V, E, O, A> Classified<V> for Shape<V, FallibleShared<E>, O, A> {}
impl<V, E, O, A> Classified<V> for Shape<V, FallibleKept<E>, O, A> {}

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
    /// How the value is weighed, and becomes bytes and back.
    fn handling(self) -> &'static Handling<Self::Value>;
    /// How the error becomes bytes and back, where it is kept and can.
    fn errors(self) -> Option<Handling<Self::Error>>;

    /// Bytes that the value takes in memory, roughly.
    fn bytes(self, value: &Self::Value) -> u64 {
        (self.handling().bytes)(value)
    }

    /// Whether the function returns a type parameter that stands for a `Result` here, past the bound that is to forbid it.
    /// Asked on a miss, not on a hit: such a value is never stored.
    fn hides_result(self) -> bool;

    /// What stays stored as the function returns it, if it is of this type.
    fn lend(self, stored: &Stored) -> Option<Self::Ret>;

    /// The value that is stored, if it is one and of this type.
    #[inline]
    fn value(self, stored: &Stored) -> Option<Arc<Self::Value>> {
        match stored {
            Stored::Some(value) => Arc::clone(value).downcast().ok(),
            Stored::None | Stored::Err(_) => None,
        }
    }

    /// What is stored as the function returns it, if it is of this type.
    fn revive(self, stored: Stored) -> Option<Self::Ret> {
        match stored {
            Stored::Some(value) => value.downcast::<Self::Value>().ok().map(|value| self.some(value)),
            Stored::None => self.none(),
            Stored::Err(error) => self.unshare(&error).map(|error| self.err(error)),
        }
    }
}

/// How values of one type are weighed, and become bytes and back.
pub struct Handling<V> {
    pub(crate) bytes: fn(&V) -> u64,
    pub(crate) pack: Pack<V>,
    pub(crate) unpack: Unpack<V>,
    /// For how long a value is of use after its life, where that is said by the value and not by the function.
    pub(crate) ages: fn(&V) -> Option<Ages>,
}

type Pack<V> = fn(&Wire<'_>, &Head<'_>, Option<&V>) -> Result<Image, Error>;
type Unpack<V> = fn(&Wire<'_>, &Envelope<'_>) -> Result<V, Reject>;

impl<V> std::fmt::Debug for Handling<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handling(..)")
    }
}

impl<V> Clone for Handling<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Handling<V> {}

impl<V: Storable> Handling<V> {
    /// Of a type that can be stored anywhere.
    pub(crate) const STORABLE: &'static Self = &Self {
        bytes: crate::codec::size::<V>,
        pack: crate::codec::pack::<V>,
        unpack: crate::codec::unpack::<V>,
        ages: |_| None,
    };
}

impl<V: 'static> Handling<V> {
    /// Of a type that stays in this process.
    pub(crate) const MEMOIZABLE: &'static Self = &Self {
        bytes: |value| size_of_val(value) as u64,
        pack: |_, _, _| Err(Error::new(ErrorKind::Unsupported, "a memoized value stays in its process")),
        unpack: |_, _| Err(Reject::Codec),
        ages: |_| None,
    };
}

/// For how long a stored value is of use after its life, where the value says it.
pub(crate) fn ages_of<S: Cached>(shape: S, stored: &Stored) -> Option<Ages> {
    match stored {
        Stored::Some(value) => value.downcast_ref().and_then(shape.handling().ages),
        Stored::None | Stored::Err(_) => None,
    }
}

/// A shape whose bounds were checked, with what its values need.
pub(crate) struct Checked<V: 'static, R, O, A> {
    handling: &'static Handling<V>,
    shape: PhantomData<Shape<V, R, O, A>>,
}

impl<V, R, O, A> std::fmt::Debug for Checked<V, R, O, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checked(..)")
    }
}

impl<V, R, O, A> Checked<V, R, O, A> {
    pub(crate) fn new(handling: &'static Handling<V>) -> Self {
        Self { handling, shape: PhantomData }
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
    #[inline]
    fn lend(self, stored: &Stored) -> Option<Self::Ret> {
        match stored {
            Stored::Some(value) => A::lend(value).map(|out| R::ok(O::some(out))),
            Stored::None => self.none(),
            Stored::Err(error) => self.unshare(error).map(R::err),
        }
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
    fn handling(self) -> &'static Handling<V> {
        self.handling
    }
    fn errors(self) -> Option<Handling<R::Error>> {
        R::handling()
    }
    fn hides_result(self) -> bool {
        !R::CAN_FAIL && std::any::type_name::<V>().starts_with("core::result::Result<")
    }
}

/// The return type that a shape stands for.
pub(crate) type RetOf<V, R, O, A> = <R as Failure>::Wrap<<O as Presence>::Wrap<<A as HandOut<V>>::Out>>;

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
    Checked::<V, R, O, A>::new(Handling::STORABLE)
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
    Checked::<V, R, O, A>::new(Handling::MEMOIZABLE)
}

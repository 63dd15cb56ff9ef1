//! What expansions call. Not a public interface: it changes with every version of `cache-macros`, which is pinned to it.
//! Re-exports and thin functions only; the algorithm is the engine's.

pub use inventory;

pub use crate::cache::Cache;
pub use crate::cache::handle::Entry;
pub use crate::cache::warm::{IntoArgs, Warm, warm};
pub use crate::codec::Codec;
pub use crate::engine::batch::Batch;
pub use crate::engine::call::{Call as At, logical_key, template_key};
pub use crate::engine::load::{Done, Fill, Load};
pub use crate::engine::put::{Put, PutTarget};
pub use crate::engine::read::{Mode, Step};
pub use crate::engine::recache::{RecacheChain, Recaches, Report, run as run_recaches};
pub use crate::engine::sink::{AsTag, IntoTags, Tags};
pub use crate::engine::targets::WriteSink;
pub use crate::engine::write::{Invalidated, Write, Written};
pub use crate::error::Error;
pub use crate::key::{
    Key, KeyPart, KeyWriter, PartShape, Pattern, kind_name, mix, template_seed, template_seed_auto,
    template_seed_resource,
};
pub use crate::policy::{IntoTtl, Lifetime, Ttl};
pub use crate::shape::{
    BatchCached, BatchFallback, BatchOutcome, Elements, FromMissing, PeelList, PeelNoBatchArc, batch_kind,
    batch_memoizable, batch_storable, element, elements, missing_as,
};
pub use crate::shape::{
    Cached, Declared, Fallback, Outcome, PeelNoArc, PeelNoOption, PeelNoResult, PeelResult, Probe, Returned, Shape,
    kind, memoizable, storable,
};
pub use crate::site::{Registered, Site, SiteKind, UNKNOWN};
pub use crate::stats::FunctionStats;

use crate::shape::{Failure, HandOut, Presence, RetOf};

/// Classifies a return type by method look-up.
#[doc(hidden)]
#[macro_export]
macro_rules! __shape {
    ($ret:ty) => {{
        #[allow(unused_imports)]
        use $crate::__private::{PeelNoArc as _, PeelNoOption as _, PeelNoResult as _, PeelResult as _};
        $crate::__private::Probe::<$ret>::NEW.peel_result().peel_option().peel_arc()
    }};
}
pub use crate::__shape as shape;

/// Whether an annotated function's result is a success, whatever its type.
#[doc(hidden)]
#[macro_export]
macro_rules! __succeeds {
    ($ret:expr) => {{
        #[allow(unused_imports)]
        use $crate::__private::{PeelNoArc as _, PeelNoOption as _, PeelNoResult as _, PeelResult as _};
        let ret = $ret;
        $crate::__private::succeeded($crate::__private::Probe::of(&ret).peel_result().peel_option().peel_arc(), &ret)
    }};
}
pub use crate::__succeeds as succeeds;

/// Classifies a batch function's return type.
#[doc(hidden)]
#[macro_export]
macro_rules! __batch_shape {
    ($ret:ty) => {{
        #[allow(unused_imports)]
        use $crate::__private::{PeelList as _, PeelNoBatchArc as _, PeelNoResult as _, PeelResult as _};
        $crate::__private::Probe::<$ret>::NEW.peel_result().peel_batch().peel_arc()
    }};
}
pub use crate::__batch_shape as batch_shape;

/// What a function stores, in a signature.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __ValueOf {
    ($ret:ty) => {
        <$ret as $crate::__private::Outcome<
            {
                #[allow(unused_imports)]
                use $crate::__private::Fallback as _;
                $crate::__private::kind(
                    <$crate::__private::Probe<$ret>>::RESULT,
                    <$crate::__private::Probe<$ret>>::OPTION,
                    <$crate::__private::Probe<$ret>>::ARC,
                )
            },
        >>::Value
    };
}
pub use crate::__ValueOf as ValueOf;

/// How a function hands its value out, in a signature.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __OutOf {
    ($ret:ty) => {
        <$ret as $crate::__private::Outcome<
            {
                #[allow(unused_imports)]
                use $crate::__private::Fallback as _;
                $crate::__private::kind(
                    <$crate::__private::Probe<$ret>>::RESULT,
                    <$crate::__private::Probe<$ret>>::OPTION,
                    <$crate::__private::Probe<$ret>>::ARC,
                )
            },
        >>::Out
    };
}
pub use crate::__OutOf as OutOf;

/// What a batch function stores per element, in a signature.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __ElementValueOf {
    ($ret:ty) => {
        <$ret as $crate::__private::BatchOutcome<
            {
                #[allow(unused_imports)]
                use $crate::__private::BatchFallback as _;
                $crate::__private::batch_kind(
                    <$crate::__private::Probe<$ret>>::LIST,
                    <$crate::__private::Probe<$ret>>::ELEMENT_OPTION,
                    <$crate::__private::Probe<$ret>>::ELEMENT_ARC,
                )
            },
        >>::Value
    };
}
pub use crate::__ElementValueOf as ElementValueOf;

/// How a batch function hands an element out, in a signature.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __ElementOutOf {
    ($ret:ty) => {
        <$ret as $crate::__private::BatchOutcome<
            {
                #[allow(unused_imports)]
                use $crate::__private::BatchFallback as _;
                $crate::__private::batch_kind(
                    <$crate::__private::Probe<$ret>>::LIST,
                    <$crate::__private::Probe<$ret>>::ELEMENT_OPTION,
                    <$crate::__private::Probe<$ret>>::ELEMENT_ARC,
                )
            },
        >>::Out
    };
}
pub use crate::__ElementOutOf as ElementOutOf;

/// The shape of one element of a batch function, for its companion's verbs.
#[doc(hidden)]
#[macro_export]
macro_rules! __element_shape {
    ($ret:ty) => {
        $crate::__private::element($crate::__batch_shape!($ret))
    };
}
pub use crate::__element_shape as element_shape;

/// [`ValueOf`] in generic code.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __ValueOfGeneric {
    ($ret:ty) => {
        <$ret as $crate::__private::Declared>::Value
    };
}
pub use crate::__ValueOfGeneric as ValueOfGeneric;

/// [`OutOf`] in generic code.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __OutOfGeneric {
    ($ret:ty) => {
        <$ret as $crate::__private::Declared>::Out
    };
}
pub use crate::__OutOfGeneric as OutOfGeneric;

/// Enters a site into the catalogue.
#[doc(hidden)]
#[macro_export]
macro_rules! __register {
    ($site:ident) => {
        $crate::__private::inventory::submit! { $crate::__private::Registered(&$site) }
    };
}
pub use crate::__register as register;

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

/// A verb of a synchronous function: done already. `.await` it, or take it with [`wait`](Self::wait).
#[must_use = "it may have failed"]
#[derive(Debug)]
pub struct Immediate<T>(T);

impl<T> Immediate<T> {
    /// What came of it.
    pub fn wait(self) -> T {
        self.0
    }
}

impl<T> std::future::IntoFuture for Immediate<T> {
    type Output = T;
    type IntoFuture = std::future::Ready<T>;
    fn into_future(self) -> Self::IntoFuture {
        std::future::ready(self.0)
    }
}

/// Wraps what was done.
pub fn immediate<T>(done: T) -> Immediate<T> {
    Immediate(done)
}

impl<'c> At<'c> {
    /// Drops the entry, everywhere.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn invalidate(&self, key: &KeyWriter) -> Result<(), Error> {
        self.invalidate_now(key)
    }

    /// [`invalidate`](Self::invalidate) for synchronous functions.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub fn invalidate_now(&self, key: &KeyWriter) -> Result<(), Error> {
        self.delete(key).map(drop)
    }

    /// The value, if it is there. Never loads, and counts nothing.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is asked here")]
    pub async fn peek<S: Cached>(&self, key: &KeyWriter, shape: S) -> Result<Option<S::Out>, Error> {
        self.peek_now(key, shape)
    }

    /// [`peek`](Self::peek) for synchronous functions.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub fn peek_now<S: Cached>(&self, key: &KeyWriter, shape: S) -> Result<Option<S::Out>, Error> {
        self.required()?;
        Ok(self.glance(key, shape).and_then(|ret| match shape.split(ret) {
            crate::shape::Split::Some(value) => Some(shape.out(value)),
            _ => None,
        }))
    }

    /// Drops all entries of the function. O(1).
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn clear(&self) -> Result<(), Error> {
        self.clear_function()
    }

    /// [`clear`](Self::clear) for synchronous functions.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub fn clear_now(&self) -> Result<(), Error> {
        self.clear_function()
    }
}

impl<V: Send + Sync + 'static> PutTarget<V> {
    /// The entry as a value of its own.
    pub fn into_entry(self) -> Entry<V> {
        Entry::new(self)
    }
}

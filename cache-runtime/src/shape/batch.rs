//! What a batch function returns and takes: collections told apart as single values are.

use super::Marker;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;

use super::RetOf;
use super::{
    AfterResult, Cached, Checked, Classified, Failure, HandOut, Handling, HandsOut, Maybe, Memoizable, Never, Owned,
    Probe, Shape, Shared, Storable,
};

/// A batch's return type after `Result`: collection `C` of `V`.
#[derive(Debug)]
pub struct Collected<V, C, R>(Marker<(V, C, R)>);

/// A classified batch return type.
#[derive(Debug)]
pub struct BatchShape<V, C, R, A>(Marker<(V, C, R, A)>);

impl<V, C, R, A> BatchShape<V, C, R, A> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K, V, S, R> AfterResult<HashMap<K, V, S>, R> {
    /// Peels the collection.
    pub fn peel_batch(self) -> Collected<V, HashMap<K, V, S>, R> {
        Collected(PhantomData)
    }
}

impl<K, V, R> AfterResult<BTreeMap<K, V>, R> {
    /// Peels the collection.
    pub fn peel_batch(self) -> Collected<V, BTreeMap<K, V>, R> {
        Collected(PhantomData)
    }
}

impl<V, R> AfterResult<Vec<Option<V>>, R> {
    /// Peels the collection.
    pub fn peel_batch(self) -> Collected<V, Vec<Option<V>>, R> {
        Collected(PhantomData)
    }
}

/// Fallback of `AfterResult::peel_batch`.
pub trait PeelBatch: Sized {
    /// What is left.
    type Peeled;
    /// Peels the collection.
    fn peel_batch(self) -> Self::Peeled;
}

/// A list whose elements say themselves which they are (`by = |v| v.id`).
impl<V, R> PeelBatch for AfterResult<Vec<V>, R> {
    type Peeled = Collected<V, Vec<V>, R>;
    fn peel_batch(self) -> Self::Peeled {
        Collected(PhantomData)
    }
}

impl<V, C, R> Collected<Arc<V>, C, R> {
    /// Peels an `Arc` off the elements.
    pub fn peel_arc(self) -> BatchShape<V, C, R, Shared> {
        BatchShape::new()
    }
}

/// Fallback of `peel_arc`.
pub trait PeelNoBatchArc<V, C, R> {
    /// Peels nothing.
    fn peel_arc(&self) -> BatchShape<V, C, R, Owned> {
        BatchShape::new()
    }
}

impl<V, C, R> PeelNoBatchArc<V, C, R> for Collected<V, C, R> {}

/// A batch return type whose bounds were checked.
pub trait BatchCached: Copy + Send + Sync {
    /// One element.
    type One: Cached<Out = Self::Out>;
    /// One element as it is handed out.
    type Out;
    /// The collection.
    type Collection;
    /// The function's return type.
    type Ret;
    /// The shape of one element.
    fn one(self) -> Self::One;
    /// The collection, or the body's own failure.
    fn split(self, ret: Self::Ret) -> Result<Self::Collection, Self::Ret>;
    /// The collection as the function returns it.
    fn ok(self, collection: Self::Collection) -> Self::Ret;
    /// An element into the store; it stays for the caller too.
    fn copy(self, out: &Self::Out) -> Arc<<Self::One as Cached>::Value>;
    /// An element out of the store.
    fn give(self, value: Arc<<Self::One as Cached>::Value>) -> Self::Out;
}

/// The checked form of [`BatchShape`].
pub(crate) struct CheckedBatch<V: 'static, C, R, A> {
    handling: &'static Handling<V>,
    marker: Marker<(V, C, R, A)>,
}

impl<V, C, R, A> std::fmt::Debug for CheckedBatch<V, C, R, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CheckedBatch(..)")
    }
}

impl<V, C, R, A> Clone for CheckedBatch<V, C, R, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V, C, R, A> Copy for CheckedBatch<V, C, R, A> {}

impl<V: Send + Sync + 'static, C, R: Failure, A: HandsOut<V>> BatchCached for CheckedBatch<V, C, R, A> {
    type One = Checked<V, Never, Maybe, A>;
    type Out = A::Out;
    type Collection = C;
    type Ret = R::Wrap<C>;
    fn one(self) -> Self::One {
        Checked::new(self.handling)
    }
    fn split(self, ret: Self::Ret) -> Result<C, Self::Ret> {
        R::split(ret).map_err(R::err)
    }
    fn ok(self, collection: C) -> Self::Ret {
        R::ok(collection)
    }
    fn copy(self, out: &A::Out) -> Arc<V> {
        A::copy(out)
    }
    fn give(self, value: Arc<V>) -> A::Out {
        A::give(value)
    }
}

/// Evidence that a batch function's elements can be stored.
pub fn batch_storable<V, C, R, A>(
    _: BatchShape<V, C, R, A>,
) -> impl BatchCached<
    Out = <A as HandOut<V>>::Out,
    Collection = C,
    Ret = R::Wrap<C>,
    One: Cached<Value = V, Ret = RetOf<V, Never, Maybe, A>>,
>
where
    V: Storable,
    R: Failure,
    A: HandsOut<V>,
    Shape<V, R, Maybe, A>: Classified<V>,
{
    CheckedBatch::<V, C, R, A> { handling: Handling::STORABLE, marker: PhantomData }
}

/// Evidence that a memoized batch function's elements can be kept.
pub fn batch_memoizable<V, C, R, A>(
    _: BatchShape<V, C, R, A>,
) -> impl BatchCached<
    Out = <A as HandOut<V>>::Out,
    Collection = C,
    Ret = R::Wrap<C>,
    One: Cached<Value = V, Ret = RetOf<V, Never, Maybe, A>>,
>
where
    V: Memoizable,
    R: Failure,
    A: HandsOut<V>,
    Shape<V, R, Maybe, A>: Classified<V>,
{
    CheckedBatch::<V, C, R, A> { handling: Handling::MEMOIZABLE, marker: PhantomData }
}

/// The elements of a batch parameter, in its order.
pub trait Elements {
    /// One element.
    type Item: Clone + Eq + Hash;
    /// All of them.
    fn elements(&self) -> Vec<Self::Item>;
}

/// A batch parameter that can be made anew of the missing elements.
pub trait FromMissing: Elements {
    /// What owns it.
    type Owned;
    /// Made of these elements.
    fn from_missing(missing: Vec<Self::Item>) -> Self::Owned;
}

macro_rules! elements {
    ($([$($g:tt)*] $ty:ty => $owned:ty;)*) => {
        $(impl<$($g)*> Elements for $ty {
            type Item = K;
            fn elements(&self) -> Vec<K> { self.iter().cloned().collect() }
        }
        impl<$($g)*> FromMissing for $ty {
            type Owned = $owned;
            fn from_missing(missing: Vec<K>) -> $owned { missing.into_iter().collect() }
        })*
    };
}
elements! {
    [K: Clone + Eq + Hash] Vec<K> => Vec<K>;
    [K: Clone + Eq + Hash] [K] => Vec<K>;
    [K: Clone + Eq + Hash] Box<[K]> => Box<[K]>;
    [K: Clone + Eq + Hash, S: BuildHasher + Default] HashSet<K, S> => HashSet<K, S>;
    [K: Clone + Eq + Hash + Ord] BTreeSet<K> => BTreeSet<K>;
}
impl<T: Elements + ?Sized> Elements for &T {
    type Item = T::Item;
    fn elements(&self) -> Vec<T::Item> {
        (**self).elements()
    }
}
impl<T: FromMissing + ?Sized> FromMissing for &T {
    type Owned = T::Owned;
    fn from_missing(missing: Vec<T::Item>) -> T::Owned {
        T::from_missing(missing)
    }
}

/// All elements of a batch parameter.
pub fn elements<T: Elements + ?Sized>(ids: &T) -> Vec<T::Item> {
    ids.elements()
}

/// The missing elements in the parameter's own type. The parameter only names the type.
pub fn missing_as<T: FromMissing + ?Sized>(_: &T, missing: Vec<T::Item>) -> T::Owned {
    T::from_missing(missing)
}

/// A collection of results that can be taken apart by element and put together again.
pub trait Collection<K, V>: Sized {
    /// What belongs to each of `ids`. `None` as a whole: it does not fit them.
    fn take(self, ids: &[K], by: Option<&dyn Fn(&V) -> K>) -> Option<Vec<Option<V>>>;
    /// The results of `ids`.
    fn build(ids: &[K], values: Vec<Option<V>>) -> Self;
}

impl<K: Clone + Eq + Hash, V, S: BuildHasher + Default> Collection<K, V> for HashMap<K, V, S> {
    fn take(mut self, ids: &[K], _: Option<&dyn Fn(&V) -> K>) -> Option<Vec<Option<V>>> {
        Some(ids.iter().map(|id| self.remove(id)).collect())
    }
    fn build(ids: &[K], values: Vec<Option<V>>) -> Self {
        ids.iter().cloned().zip(values).filter_map(|(id, value)| Some((id, value?))).collect()
    }
}

impl<K: Clone + Ord, V> Collection<K, V> for BTreeMap<K, V> {
    fn take(mut self, ids: &[K], _: Option<&dyn Fn(&V) -> K>) -> Option<Vec<Option<V>>> {
        Some(ids.iter().map(|id| self.remove(id.borrow())).collect())
    }
    fn build(ids: &[K], values: Vec<Option<V>>) -> Self {
        ids.iter().cloned().zip(values).filter_map(|(id, value)| Some((id, value?))).collect()
    }
}

impl<K, V> Collection<K, V> for Vec<Option<V>> {
    fn take(self, ids: &[K], _: Option<&dyn Fn(&V) -> K>) -> Option<Self> {
        (self.len() == ids.len()).then_some(self)
    }
    fn build(_: &[K], values: Self) -> Self {
        values
    }
}

impl<K: Eq + Hash, V> Collection<K, V> for Vec<V> {
    fn take(self, ids: &[K], by: Option<&dyn Fn(&V) -> K>) -> Option<Vec<Option<V>>> {
        let by = by?;
        let mut values: HashMap<K, V> = self.into_iter().map(|value| (by(&value), value)).collect();
        Some(ids.iter().map(|id| values.remove(id)).collect())
    }
    fn build(_: &[K], values: Vec<Option<V>>) -> Self {
        values.into_iter().flatten().collect()
    }
}

/// A collection that says by itself which element each of its values belongs to: a map, or a list with a place for each.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which element each of its values belongs to",
    label = "values without their elements",
    note = "add `by = |value| value.id` to the attribute: what of a value is its element",
    note = "or return a `HashMap<_, _>`, or a `Vec<Option<_>>` with one value for each element, in their order"
)]
pub trait TellsElements {}

#[diagnostic::do_not_recommend]
impl<K, V, S> TellsElements for HashMap<K, V, S> {}
#[diagnostic::do_not_recommend]
impl<K, V> TellsElements for BTreeMap<K, V> {}
#[diagnostic::do_not_recommend]
impl<V> TellsElements for Vec<Option<V>> {}

/// Refuses a list of values without `by`.
pub fn tells_elements<S: BatchCached<Collection: TellsElements>>(_: S) {}

/// A batch return type at the type level, for signatures.
pub trait BatchOutcome<const KIND: u8> {
    /// What is stored per element.
    type Value;
    /// How an element is handed out.
    type Out;
}

/// `Probe`'s constants for batch types that are not what they ask.
pub trait BatchFallback {
    /// It is no map.
    const MAP: bool = false;
    /// It is no list.
    const LIST: bool = false;
    /// Elements of the list are not optional.
    const ELEMENT_OPTION: bool = false;
    /// Elements are no `Arc`s.
    const ELEMENT_ARC: bool = false;
}

impl<R> BatchFallback for Probe<R> {}

/// One number for a batch return type.
#[must_use]
pub const fn batch_kind(map: bool, list: bool, option: bool, arc: bool) -> u8 {
    list as u8 | (option as u8) << 1 | (arc as u8) << 2 | ((!map && !list) as u8) << 3
}

/// Constants of a return type, bare and in a `Result`.
macro_rules! told {
    ($([$($g:ident),*] $ty:ty => $name:ident;)*) => {
        $(impl<$($g),*> Probe<$ty> {
            #[allow(missing_docs)]
            pub const $name: bool = true;
        }
        impl<$($g,)* E> Probe<Result<$ty, E>> {
            #[allow(missing_docs)]
            pub const $name: bool = true;
        })*
    };
}
told! {
    [K, T, S] HashMap<K, T, S> => MAP;
    [K, T] BTreeMap<K, T> => MAP;
    [T] Vec<T> => LIST;
    [T] Vec<Option<T>> => ELEMENT_OPTION;
    [T] Vec<Arc<T>> => ELEMENT_ARC;
    [T] Vec<Option<Arc<T>>> => ELEMENT_ARC;
    [K, T, S] HashMap<K, Arc<T>, S> => ELEMENT_ARC;
    [K, T] BTreeMap<K, Arc<T>> => ELEMENT_ARC;
}

/// Element types of a return type, bare and in a `Result`.
macro_rules! outcomes {
    ($($kind:literal: [$($g:ident),*] $ty:ty => $out:ty;)*) => {
        $(impl<$($g),*> BatchOutcome<$kind> for $ty {
            type Value = T;
            type Out = $out;
        }
        impl<$($g,)* E> BatchOutcome<$kind> for Result<$ty, E> {
            type Value = T;
            type Out = $out;
        })*
    };
}
outcomes! {
    0: [K, T, S] HashMap<K, T, S> => T;
    0: [K, T] BTreeMap<K, T> => T;
    1: [T] Vec<T> => T;
    3: [T] Vec<Option<T>> => T;
    4: [K, T, S] HashMap<K, Arc<T>, S> => Arc<T>;
    4: [K, T] BTreeMap<K, Arc<T>> => Arc<T>;
    5: [T] Vec<Arc<T>> => Arc<T>;
    7: [T] Vec<Option<Arc<T>>> => Arc<T>;
}

/// What is no collection is refused where it is classified, once; signatures say nothing of it.
impl<T> BatchOutcome<8> for T {
    type Value = T;
    type Out = T;
}

/// The shape of one element of a batch function.
pub fn element<V, C, R, A>(_: BatchShape<V, C, R, A>) -> Shape<V, Never, Maybe, A> {
    Shape::new()
}

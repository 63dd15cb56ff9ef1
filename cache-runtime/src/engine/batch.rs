//! Batch reading (`each(id in ids)`): one entry per element, the body runs once with the missing elements only.
//!
//! The elements' flights are taken in the order of their keys, waiting for each that somebody else leads. Batches
//! therefore cannot wait for one another in a circle, and no element is loaded twice.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;

use super::call::Call;
use super::read::{self, Fill, Load, Mode, Step, Stopwatch};
use super::sink::Tags;
use crate::flight::{self, Lead, Snapshot};
use crate::key::KeyWriter;
use crate::policy::Lifetime;
use crate::record::Stored;
use crate::shape::{
    AfterResult, Cached, Checked, Classified, Failure, HandOut, HandsOut, Maybe, Memoizable, Never, Owned, Shape, Shared,
    Storable,
};
use crate::tags::{CellSet, Watch};

/// A batch's return type after `Result`: collection `C` of `V`.
#[derive(Debug)]
pub struct Collected<V, C, R>(PhantomData<fn() -> (V, C, R)>);

/// A classified batch return type.
#[derive(Debug)]
pub struct BatchShape<V, C, R, A>(PhantomData<fn() -> (V, C, R, A)>);

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

/// Fallback of `peel_batch`: a list whose elements say themselves which they are (`by = |v| v.id`).
pub trait PeelList<V, R> {
    /// Peels the collection.
    fn peel_batch(&self) -> Collected<V, Vec<V>, R> {
        Collected(PhantomData)
    }
}

impl<V, R> PeelList<V, R> for AfterResult<Vec<V>, R> {}

impl<V, C, R> Collected<Arc<V>, C, R> {
    /// Peels an `Arc` off the elements.
    pub fn peel_arc(self) -> BatchShape<V, C, R, Shared> {
        BatchShape(PhantomData)
    }
}

/// Fallback of `peel_arc`.
pub trait PeelNoBatchArc<V, C, R> {
    /// Peels nothing.
    fn peel_arc(&self) -> BatchShape<V, C, R, Owned> {
        BatchShape(PhantomData)
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
#[derive(Debug)]
pub struct CheckedBatch<V, C, R, A> {
    bytes: fn(&V) -> u64,
    marker: PhantomData<fn() -> (V, C, R, A)>,
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
        Checked::new(self.bytes)
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
) -> impl BatchCached<Out = <A as HandOut<V>>::Out, Collection = C, Ret = R::Wrap<C>, One: Cached<Value = V>>
where
    V: Storable,
    R: Failure,
    A: HandsOut<V>,
    Shape<V, R, Maybe, A>: Classified<V>,
{
    CheckedBatch::<V, C, R, A> { bytes: crate::codec::size::<V>, marker: PhantomData }
}

/// Evidence that a memoized batch function's elements can be kept.
pub fn batch_memoizable<V, C, R, A>(
    _: BatchShape<V, C, R, A>,
) -> impl BatchCached<Out = <A as HandOut<V>>::Out, Collection = C, Ret = R::Wrap<C>, One: Cached<Value = V>>
where
    V: Memoizable,
    R: Failure,
    A: HandsOut<V>,
    Shape<V, R, Maybe, A>: Classified<V>,
{
    CheckedBatch::<V, C, R, A> { bytes: |value| size_of_val(value) as u64, marker: PhantomData }
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
    fn take(self, ids: &[K], _: Option<&dyn Fn(&V) -> K>) -> Option<Vec<Option<V>>> {
        (self.len() == ids.len()).then_some(self)
    }
    fn build(_: &[K], values: Vec<Option<V>>) -> Self {
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

/// What is known of one element.
enum Slot<V> {
    Found(Arc<V>),
    Absent,
    /// To be loaded; with a lead it is stored and shared.
    Missing(Option<Lead>, u64),
}

/// A batch call.
///
/// # Cancel safety
///
/// Dropping it gives up the flights it leads; those who waited for them load themselves.
pub struct Batch<'a, S: BatchCached, K> {
    call: &'a Call<'a>,
    shape: S,
    /// As given, duplicates included.
    asked: Vec<K>,
    /// Each element once, with the place of its slot.
    unique: Vec<K>,
    slots: Vec<Slot<<S::One as Cached>::Value>>,
    /// Indices into `unique` of what the body is asked for.
    missing: Vec<usize>,
    by: Option<Box<dyn Fn(&S::Out) -> K + Send + Sync + 'a>>,
    tags: HashMap<usize, CellSet>,
    namespace: Option<Box<[u8]>>,
    life: Option<Lifetime>,
    loaded: Option<Loaded>,
}

struct Loaded {
    cost: u64,
    watch: Option<Arc<Watch>>,
    leads: Vec<(usize, Lead, u64, CellSet)>,
}

impl<S: BatchCached, K> std::fmt::Debug for Batch<'_, S, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("site", &self.call.site).field("missing", &self.missing.len()).finish_non_exhaustive()
    }
}

impl<'c> Call<'c> {
    /// Looks all elements up, and takes or waits for the flights of those that are missing.
    pub async fn batch<S, K>(
        &'c self,
        mode: Mode,
        shape: S,
        asked: Vec<K>,
        render: impl Fn(&mut KeyWriter, &K),
    ) -> Batch<'c, S, K>
    where
        S: BatchCached,
        K: Clone + Eq + Hash,
    {
        let mut seen = HashSet::new();
        let unique: Vec<K> = asked.iter().filter(|id| seen.insert((*id).clone())).cloned().collect();
        drop(seen);
        let keys: Vec<KeyWriter> = unique.iter().map(|id| self.key(|writer| render(writer, id))).collect();
        let mut order: Vec<usize> = (0..unique.len()).collect();
        order.sort_by(|a, b| keys[*a].as_bytes().cmp(keys[*b].as_bytes()));
        let mut slots: Vec<_> = unique.iter().map(|_| None).collect();
        let mut missing = Vec::new();
        for index in order {
            slots[index] = Some(match self.read(mode, &keys[index], shape.one()).await {
                Step::Done(ret) => match shape.one().split(ret) {
                    crate::shape::Split::Some(value) => Slot::Found(value),
                    _ => Slot::Absent,
                },
                Step::Load(load) => {
                    missing.push(index);
                    let (lead, template) = load.into_lead();
                    Slot::Missing(lead, template)
                }
            });
        }
        missing.sort_unstable();
        Batch {
            call: self,
            shape,
            asked,
            unique,
            slots: slots.into_iter().flatten().collect(),
            missing,
            by: None,
            tags: HashMap::new(),
            namespace: None,
            life: None,
            loaded: None,
        }
    }
}

impl<'a, S, K> Batch<'a, S, K>
where
    S: BatchCached,
    K: Clone + Eq + Hash,
    S::Collection: Collection<K, S::Out>,
{
    /// How a list's elements say which they are.
    pub fn by(&mut self, by: impl Fn(&S::Out) -> K + Send + Sync + 'a) {
        self.by = Some(Box::new(by));
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// The missing elements, in the order they were asked for.
    pub fn missing(&self) -> Vec<K> {
        self.missing.iter().map(|index| self.unique[*index].clone()).collect()
    }

    /// Takes the tags of each missing element that are known before the body.
    pub fn tags(&mut self, say: impl Fn(&K, &mut Tags<'_>)) {
        let Some(core) = self.call.core() else { return };
        for index in &self.missing {
            let cells = self.tags.entry(*index).or_default();
            say(&self.unique[*index], &mut Tags::new(core, self.call.tenant(), cells, None));
        }
    }

    /// Takes the namespace by template.
    pub fn namespace(&mut self, write: impl FnOnce(&mut KeyWriter)) {
        self.namespace = Some(super::sink::render(write).as_bytes().into());
    }

    /// Takes a ttl that is known at run time only.
    pub fn ttl(&mut self, ttl: impl crate::policy::IntoTtl) {
        self.life = Some(read::lifetime(self.call, ttl));
    }

    /// Runs the body with the missing elements.
    ///
    /// # Errors
    ///
    /// The body's own failure, as the function returns it.
    pub async fn run(&mut self, body: impl Future<Output = S::Ret>) -> Result<(), S::Ret> {
        let core = self.call.core();
        let watch = match core {
            Some(core) if self.call.site.options.result_tags => Some(Arc::new(core.cells.watch())),
            _ => None,
        };
        let mut leads = Vec::new();
        for index in &self.missing {
            let Slot::Missing(lead, template) = &mut self.slots[*index] else { continue };
            let (Some(lead), Some(core)) = (lead.take(), core) else { continue };
            let mut cells = self.tags.remove(index).unwrap_or_default();
            core.implicit_cells(self.call.tenant(), Some(self.call.site), self.namespace.as_deref(), &mut cells);
            lead.depart(Snapshot { cells: cells.clone(), watch: watch.clone() });
            leads.push((*index, lead, *template, cells));
        }
        let flights: Arc<[_]> = leads.iter().map(|(_, lead, ..)| Arc::clone(lead.flight())).collect();
        let stopwatch = Stopwatch::start(self.call);
        let ret = flight::leading(flights, body).await;
        let cost = stopwatch.stop();
        let collection = match self.shape.split(ret) {
            Ok(collection) => collection,
            Err(failed) => {
                if let Some(function) = self.call.function() {
                    function.counters.errors.increment();
                }
                return Err(failed);
            }
        };
        let ids = self.missing();
        match collection.take(&ids, self.by.as_deref().map(|by| by as &dyn Fn(&S::Out) -> K)) {
            Some(values) => {
                for (index, value) in self.missing.iter().zip(values) {
                    self.slots[*index] = match value {
                        Some(out) => Slot::Found(self.shape.copy(&out)),
                        None => Slot::Absent,
                    };
                }
            }
            None => {
                // It cannot be said which value belongs to which element: nothing is stored, and nothing is made up.
                leads.clear();
                self.call.degraded();
                for index in &self.missing {
                    self.slots[*index] = Slot::Absent;
                }
            }
        }
        self.loaded = Some(Loaded { cost, watch, leads });
        Ok(())
    }

    /// Runs `say` with each loaded value, then stores and shares it.
    pub fn on_value(&mut self, say: impl Fn(&K, &<S::One as Cached>::Value, &mut Fill<'_>)) {
        self.land(say);
    }

    fn land(&mut self, say: impl Fn(&K, &<S::One as Cached>::Value, &mut Fill<'_>)) {
        let (Some(loaded), Some(core)) = (self.loaded.take(), self.call.core()) else { return };
        let options = &self.call.site.options;
        for (index, lead, template, cells) in loaded.leads {
            let mut plan = read::Plan { cells, life: self.life, store: true, refused: false };
            let (stored, life, value) = match &self.slots[index] {
                Slot::Found(value) => {
                    let tags = Tags::new(core, self.call.tenant(), &mut plan.cells, loaded.watch.as_deref());
                    let mut fill = Fill::new(self.call, tags, &mut plan.life, &mut plan.store);
                    say(&self.unique[index], value, &mut fill);
                    plan.refused |= fill.refused();
                    (Stored::Some(Arc::clone(value) as _), plan.life, Some(value))
                }
                _ => (Stored::None, options.ttl_none.map(Lifetime::For).or(self.life), None),
            };
            let bytes = || value.map_or(0, |value| self.shape.one().bytes(value));
            read::land(core, self.call, lead, Some(stored), life, template, loaded.cost, plan, bytes);
        }
    }

    /// All elements together, as the function returns them.
    #[allow(clippy::unused_async, reason = "a shared backend stores here")]
    pub async fn finish(mut self) -> S::Ret {
        self.land(|_, _, _| {});
        let places: HashMap<&K, usize> = self.unique.iter().enumerate().map(|(index, id)| (id, index)).collect();
        let give = |id: &K| match places.get(id).map(|index| &self.slots[*index]) {
            Some(Slot::Found(value)) => Some(self.shape.give(Arc::clone(value))),
            _ => None,
        };
        let values = self.asked.iter().map(give).collect();
        self.shape.ok(S::Collection::build(&self.asked, values))
    }
}

impl<S: Cached> Load<'_, S> {
    /// The lead alone, for a batch, which runs one body for many.
    pub(crate) fn into_lead(self) -> (Option<Lead>, u64) {
        (self.lead, self.template)
    }
}

//! Batch reading (`each(id in ids)`): one entry per element, the body runs once with the missing elements only.
//!
//! The elements' flights are taken in the order of their keys, waiting for each that somebody else leads. Batches
//! therefore cannot wait for one another in a circle, and no element is loaded twice.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::call::Call;
use super::load::{self, Fill, Load, Share, Stopwatch};
use super::read::{Mode, Patience, Step};
use super::shared::fill::{Ending, Fill as SharedFill};
use super::shared::{Shared, renewing};
use super::sink::{Early, Tags, Texts};
use crate::cell::CellSet;
use crate::error::Error;
use crate::flight::{self, Base, Landing, Lead, Snapshot};
use crate::key::KeyWriter;
use crate::policy::Lifetime;
use crate::record::Stored;
use crate::report;
use crate::shape::{BatchCached, Cached, Collection};
use crate::tags::Watch;

/// Says of a list's element which it is.
type By<'a, V, K> = Box<dyn Fn(&V) -> K + Send + Sync + 'a>;

/// What is known of one element.
enum Slot<V> {
    Found(Arc<V>),
    Absent,
    /// To be loaded; with a lead it is stored and shared.
    Missing(Box<Leading>),
}

/// The right to load an element.
pub(crate) struct Leading {
    pub(super) lead: Option<Lead>,
    pub(super) template: u64,
    pub(super) early: Early,
    pub(super) share: Option<Share>,
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
    by: Option<By<'a, S::Out, K>>,
    life: Option<Lifetime>,
    loaded: Option<Loaded>,
    /// What is still to be stored on a shared backend.
    landing: Vec<Landed>,
    /// When it began, where it replaces what is there.
    refreshes: Option<u64>,
}

struct Loaded {
    cost: u64,
    watch: Option<Arc<Watch>>,
    leads: Vec<Led>,
}

/// An element that was loaded and not stored yet.
struct Landed {
    lead: Lead,
    stored: Stored,
    grant: Option<SharedFill>,
}

/// An element whose load runs or has run.
struct Led {
    index: usize,
    lead: Lead,
    template: u64,
    cells: CellSet,
    share: Option<Share>,
}

impl<S: BatchCached, K> std::fmt::Debug for Batch<'_, S, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("site", &self.call.site)
            .field("missing", &self.missing.len())
            .finish_non_exhaustive()
    }
}

impl<'c> Call<'c> {
    /// Looks up what is there already. `render` writes an element's key, `say` what is known of it before its load: both
    /// are done with before anything awaits.
    pub fn batch<S, K>(
        &'c self,
        mode: Mode,
        shape: S,
        asked: Vec<K>,
        render: impl Fn(&mut KeyWriter, &K),
        say: impl Fn(&mut Early, &K),
    ) -> Asked<'c, S, K>
    where
        S: BatchCached,
        K: Clone + Eq + Hash,
    {
        let mut seen = HashSet::with_capacity_and_hasher(asked.len(), foldhash::fast::RandomState::default());
        let unique: Vec<K> = asked.iter().filter(|id| seen.insert((*id).clone())).cloned().collect();
        drop(seen);
        let mut slots = Vec::with_capacity(unique.len());
        let mut wanted = Vec::new();
        for (index, id) in unique.iter().enumerate() {
            match self.hit(mode, shape.one(), |writer| render(writer, id)) {
                Ok(ret) => slots.push(Some(Slot::of(shape, ret))),
                Err(key) => {
                    let mut early = self.early();
                    say(&mut early, id);
                    wanted.push(Wanted { index, key, early });
                    slots.push(None);
                }
            }
        }
        // A shared backend is asked for all at once, whatever their order.
        if self.shared().is_none() {
            wanted.sort_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
        }
        Asked { call: self, mode, shape, asked, unique, slots, wanted }
    }
}

/// A batch call whose missing elements have not been waited for.
pub struct Asked<'a, S: BatchCached, K> {
    call: &'a Call<'a>,
    mode: Mode,
    shape: S,
    asked: Vec<K>,
    unique: Vec<K>,
    slots: Vec<Option<Slot<<S::One as Cached>::Value>>>,
    /// In the order of their keys, where they are waited for one after the other.
    wanted: Vec<Wanted>,
}

/// An element that was not found at once.
pub(crate) struct Wanted {
    pub(super) index: usize,
    pub(super) key: KeyWriter,
    pub(super) early: Early,
}

impl<'a, S: BatchCached, K> Asked<'a, S, K> {
    /// Takes or waits for the flights of the elements that are missing.
    pub async fn look_up(self) -> Batch<'a, S, K> {
        let began = self.call.core().filter(|_| self.mode == Mode::Refresh).map(|core| core.now());
        if let Some(shared) = self.call.shared() {
            return self.look_up_shared(shared).await;
        }
        let Self { call, mode, shape, asked, unique, mut slots, wanted } = self;
        let mut missing = Vec::new();
        let mut patience = Patience::new(call.site.options.wait);
        for Wanted { index, key, early } in wanted {
            let step = call.miss_within(mode, &key, early, shape.one(), &mut patience).await;
            slots[index] = Some(match step {
                Step::Done(ret) => Slot::of(shape, ret),
                Step::Load(load) => {
                    missing.push(index);
                    Slot::Missing(Box::new(load.into_leading()))
                }
            });
        }
        missing.sort_unstable();
        let slots = slots.into_iter().flatten().collect();
        Batch {
            call,
            shape,
            asked,
            unique,
            slots,
            missing,
            by: None,
            life: None,
            loaded: None,
            landing: Vec::new(),
            refreshes: began,
        }
    }

    async fn look_up_shared(self, shared: &Arc<Shared>) -> Batch<'a, S, K> {
        let Self { call, mode, shape, asked, unique, mut slots, wanted } = self;
        let mut missing = Vec::new();
        for (index, found) in call.batch_shared(shared, mode, shape.one(), wanted).await {
            slots[index] = Some(match found {
                Ok(ret) => Slot::of(shape, ret),
                Err(leading) => {
                    missing.push(index);
                    Slot::Missing(Box::new(leading))
                }
            });
        }
        missing.sort_unstable();
        let slots = slots.into_iter().flatten().collect();
        Batch {
            call,
            shape,
            asked,
            unique,
            slots,
            missing,
            by: None,
            life: None,
            loaded: None,
            landing: Vec::new(),
            refreshes: None,
        }
    }

    /// [`look_up`](Self::look_up), which fails where the cache cannot be used (`on_error = fail`).
    ///
    /// # Errors
    ///
    /// The cache cannot be used; the body has not run.
    pub async fn look_up_or_fail(self) -> Result<Batch<'a, S, K>, Error> {
        match self.call.failure() {
            Some(error) => {
                self.call.degraded();
                Err(error)
            }
            None => Ok(self.look_up().await),
        }
    }
}

impl<V> Slot<V> {
    fn of<S: BatchCached>(shape: S, ret: <S::One as Cached>::Ret) -> Self
    where
        S::One: Cached<Value = V>,
    {
        match shape.one().split(ret) {
            crate::shape::Split::Some(value) => Self::Found(value),
            _ => Self::Absent,
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

    /// Takes a ttl that is known at run time only.
    pub fn ttl(&mut self, ttl: impl crate::policy::IntoTtl) {
        self.life = Some(load::lifetime(self.call, ttl));
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
            let Slot::Missing(leading) = &mut self.slots[*index] else { continue };
            let (Some(lead), Some(core)) = (leading.lead.take(), core) else { continue };
            let (share, template) = (leading.share.take(), leading.template);
            let mut cells = CellSet::default();
            match &share {
                Some(share) => {
                    let base = share.base(self.call.site.options.result_tags);
                    lead.depart(Snapshot { base, ..Snapshot::default() });
                }
                None => {
                    cells = load::early_cells(core, self.call, &leading.early);
                    lead.depart(Snapshot { cells: cells.clone(), watch: watch.clone(), base: Base::Memory });
                }
            }
            leads.push(Led { index: *index, lead, template, cells, share });
        }
        let flights: Arc<[_]> = leads.iter().map(|led| Arc::clone(led.lead.flight())).collect();
        let stopwatch = Stopwatch::start(self.call);
        let grants = leads.iter().filter_map(|led| led.share.as_ref()?.grant.as_deref()).collect();
        let ret = renewing(grants, self.call.site.options.lock_ttl, flight::leading(flights, body)).await;
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
                let function = self.call.site.name;
                report::warn(
                    "a batch function returned a list of another length than it was asked for",
                    &format_args!("`{function}`: its elements count as absent and are not stored"),
                );
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
        for Led { index, lead, template, cells, share } in loaded.leads {
            let mut plan = load::Plan {
                cells,
                life: self.life,
                store: true,
                refused: false,
                refreshes: self.refreshes,
                late: Texts::default(),
            };
            let (stored, life, value) = match &self.slots[index] {
                Slot::Found(value) => {
                    let mut tags = Tags::new(core, self.call.tenant(), &mut plan.cells, loaded.watch.as_deref());
                    tags.texts = share.is_some().then_some(&mut plan.late);
                    let mut fill = Fill::new(self.call, tags, &mut plan.life, &mut plan.store);
                    say(&self.unique[index], value, &mut fill);
                    plan.refused |= fill.refused();
                    (Stored::Some(Arc::clone(value) as _), plan.life, Some(value))
                }
                _ => (Stored::None, options.ttl_none.map(Lifetime::For).or(self.life), None),
            };
            if let Some(share) = share {
                self.landing.push(Landed {
                    lead,
                    stored,
                    grant: share.grant.map(|grant| {
                        let ending = Ending {
                            value: Ok(value.map(|value| &**value)),
                            life,
                            cost: loaded.cost,
                            template,
                            wanted: plan.store,
                            late: plan.late,
                            handling: self.shape.one().handling(),
                            errors: self.shape.one().errors(),
                        };
                        self.call.fill(core, *grant, ending)
                    }),
                });
                continue;
            }
            let bytes = || value.map_or(0, |value| self.shape.one().bytes(value));
            load::land(core, self.call, lead, Some(stored), life, template, loaded.cost, plan, bytes);
        }
    }

    /// Stores the elements of a shared backend, in one round trip, then shares them with those who wait in this process.
    async fn land_shared(&mut self) {
        let (landing, Some(core)) = (std::mem::take(&mut self.landing), self.call.core()) else { return };
        let mut fills = Vec::new();
        let mut lands = Vec::new();
        for Landed { lead, stored, grant } in landing {
            let late = grant.as_ref().is_some_and(|fill| fill.complete) && matches!(stored, Stored::Some(_));
            fills.extend(grant);
            lands.push((lead, Landing::Shared { stored, late }));
        }
        self.call.send_fills(core, fills).await;
        for (lead, landing) in lands {
            lead.land(landing, &CellSet::default(), |_| ());
        }
    }

    /// All elements together, as the function returns them.
    pub async fn finish(mut self) -> S::Ret {
        self.land(|_, _, _| {});
        self.land_shared().await;
        let give = |slot: Option<&Slot<_>>| match slot {
            Some(Slot::Found(value)) => Some(self.shape.give(Arc::clone(value))),
            _ => None,
        };
        let values = if self.asked.len() == self.unique.len() {
            self.slots.iter().map(|slot| give(Some(slot))).collect()
        } else {
            let places: HashMap<&K, usize> = self.unique.iter().enumerate().map(|(index, id)| (id, index)).collect();
            self.asked.iter().map(|id| give(places.get(id).map(|index| &self.slots[*index]))).collect()
        };
        self.shape.ok(S::Collection::build(&self.asked, values))
    }
}

impl<S: Cached> Load<'_, S> {
    /// The lead alone, for a batch, which runs one body for many.
    fn into_leading(self) -> Leading {
        let (lead, template, early, share) = self.into_parts();
        Leading { lead, template, early, share }
    }
}

impl<S: BatchCached, K> std::fmt::Debug for Asked<'_, S, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("site", &self.call.site)
            .field("wanted", &self.wanted.len())
            .finish_non_exhaustive()
    }
}

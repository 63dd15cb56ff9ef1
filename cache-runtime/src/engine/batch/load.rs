//! Running a batch's body with the missing elements, storing and sharing what it returned, and putting the answer together.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::{By, Slot, ValueOf};
use crate::cell::CellSet;
use crate::engine::call::Call;
use crate::engine::load::{self, Fill, Share, Stopwatch};
use crate::engine::shared::fill::{Ending, Fill as SharedFill};
use crate::engine::shared::renewing;
use crate::engine::sink::{Tags, Texts};
use crate::error::Error;
use crate::flight::{self, Base, Landing, Lead, Snapshot};
use crate::policy::Lifetime;
use crate::record::Stored;
use crate::report;
use crate::shape::{BatchCached, Cached, Collection};
use crate::tags::Watch;

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
    slots: Vec<Slot<ValueOf<S>>>,
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
    has_old: bool,
}

impl<S: BatchCached, K> std::fmt::Debug for Batch<'_, S, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("site", &self.call.site)
            .field("missing", &self.missing.len())
            .finish_non_exhaustive()
    }
}

/// What became of the elements of a batch that is a part of a call.
pub struct Ended<S: BatchCached>(pub(super) End<S>);

pub(super) enum End<S: BatchCached> {
    /// The body ran past the cache, and returned this.
    Past(S::Ret),
    /// The cache cannot be used, and the function is to fail then.
    Unusable(Error),
    /// Each element's slot, in the order of the elements, and what the body returned if it failed.
    Cached { slots: Vec<Slot<ValueOf<S>>>, failed: Option<S::Ret> },
}

impl<S: BatchCached> Ended<S> {
    /// Of a body that ran past the cache.
    pub fn past(ret: S::Ret) -> Self {
        Self(End::Past(ret))
    }

    pub(super) fn unusable(error: Error) -> Self {
        Self(End::Unusable(error))
    }
}

impl<'a, S: BatchCached, K> Batch<'a, S, K> {
    /// Those of `unique` that are missing are to be loaded.
    pub(super) fn new(
        call: &'a Call<'a>,
        shape: S,
        asked: Vec<K>,
        unique: Vec<K>,
        slots: Vec<Slot<ValueOf<S>>>,
        refreshes: Option<u64>,
    ) -> Self {
        let is_missing = |(index, slot): (usize, &Slot<_>)| matches!(slot, Slot::Missing(_)).then_some(index);
        let missing = slots.iter().enumerate().filter_map(is_missing).collect();
        Self {
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
            refreshes,
        }
    }

    /// Ends with what the body returned where it failed.
    pub fn failed(self, failed: S::Ret) -> Ended<S> {
        Ended(End::Cached { slots: self.slots, failed: Some(failed) })
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
            let (share, template, has_old) = (leading.share.take(), leading.template, leading.has_old);
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
            leads.push(Led { index: *index, lead, template, cells, share, has_old });
        }
        let flights: Arc<[_]> = leads.iter().map(|led| Arc::clone(led.lead.flight())).collect();
        let stopwatch = Stopwatch::start(self.call, None);
        let body = stopwatch.timed.run(body);
        let grants = leads.iter().filter_map(|led| led.share.as_ref()?.grant.as_deref()).collect();
        let ret = renewing(self.call, grants, flight::leading(flights, body)).await;
        let cost = stopwatch.stop();
        let collection = match self.shape.split(ret) {
            Ok(collection) => collection,
            Err(failed) => {
                if let Some(function) = self.call.function() {
                    function.counters.errors.increment();
                }
                // Before the leads are given back: whoever leads next is to know.
                if let Some(core) = core {
                    let old = leads.iter().filter(|led| led.has_old);
                    old.for_each(|led| core.pauses.begin(led.lead.key()));
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
        for Led { index, lead, template, cells, share, .. } in loaded.leads {
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
                            ages: None,
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
            load::land(core, self.call, lead, Some(stored), life, template, loaded.cost, plan, None, bytes);
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
        collected(self.shape, &self.asked, &self.unique, &self.slots)
    }

    /// Every element by itself, for a batch that is a part of a call.
    pub async fn ended(mut self) -> Ended<S> {
        self.land(|_, _, _| {});
        self.land_shared().await;
        Ended(End::Cached { slots: self.slots, failed: None })
    }
}

/// The elements that were asked for, as the function returns them.
pub(super) fn collected<S, K>(shape: S, asked: &[K], unique: &[K], slots: &[Slot<ValueOf<S>>]) -> S::Ret
where
    S: BatchCached,
    K: Eq + Hash,
    S::Collection: Collection<K, S::Out>,
{
    let give = |slot: Option<&Slot<_>>| match slot {
        Some(Slot::Found(value)) => Some(shape.give(Arc::clone(value))),
        _ => None,
    };
    let values = if asked.len() == unique.len() {
        slots.iter().map(|slot| give(Some(slot))).collect()
    } else {
        let places: HashMap<&K, usize> = unique.iter().enumerate().map(|(index, id)| (id, index)).collect();
        asked.iter().map(|id| give(places.get(id).map(|index| &slots[*index]))).collect()
    };
    shape.ok(S::Collection::build(asked, values))
}

impl<S: BatchCached> std::fmt::Debug for Ended<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ended(..)")
    }
}

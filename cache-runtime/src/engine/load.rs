//! Loading: run the body, then store and share what it returned, unless something it depends on was invalidated.
//!
//! A [`Load`] takes the cells of its tags, runs the body in place and becomes a [`Done`]; that takes what depends on the
//! value and is finished. Nothing awaits between a load's first cell and its body, so the snapshot is complete before it.

use std::sync::Arc;
use std::time::Duration;

use super::call::Call;
use super::core::{Core, Function};
use super::shared::fill::{self, Ending};
use super::shared::{Grant, renewing};
use super::sink::{Early, Tags, Texts};
use super::timed::Timed;
use crate::cell::CellSet;
use crate::clock::{Nanos, after};
use crate::flight::{self, Base, Landing, Lead, Snapshot};
use crate::key::KeyWriter;
use crate::memory::Removed;
use crate::meter::Operation;
use crate::policy::{Ages, IntoTtl, Lifetime};
use crate::record::{Record, Stored};
use crate::shape::{Cached, Split, ages_of};
use crate::site::SiteKind;
use crate::tags::Watch;

/// The right to run the body, and to store what it returns unless something it depends on is invalidated meanwhile.
///
/// # Cancel safety
///
/// Dropping it at any point lets a waiter take over; nothing partial becomes visible.
pub struct Load<'a, S: Cached> {
    call: &'a Call<'a>,
    shape: S,
    /// `None`: nothing will be stored or shared.
    pub(super) lead: Option<Lead>,
    pub(super) template: u64,
    early: Early,
    cells: CellSet,
    watch: Option<Arc<Watch>>,
    life: Option<Lifetime>,
    /// When it began, for a load that replaces what is there.
    pub(super) refreshes: Option<Nanos>,
    /// Present where the entry is on a shared backend.
    share: Option<Share>,
    /// Whether an error leaves what is there alone, also one that is kept (`ttl_err`).
    pub(super) keeps_old: bool,
}

/// A load whose entry is on a shared backend.
#[derive(Debug)]
pub(crate) struct Share {
    /// `None`: the backend could not be asked, and nothing will be stored.
    pub(super) grant: Option<Box<Grant>>,
}

impl Share {
    pub(super) fn of(grant: Grant) -> Self {
        Self { grant: Some(Box::new(grant)) }
    }

    /// Where it can be seen whether the load is up to date.
    pub(super) fn base(&self, late: bool) -> Base {
        self.grant.as_ref().map_or(Base::Unknown, |grant| Base::Shared(grant.snapshot(), late))
    }
}

impl<'a, S: Cached> Load<'a, S> {
    pub(super) fn new(call: &'a Call<'a>, shape: S, lead: Option<Lead>, template: u64, early: Early) -> Self {
        // The watch begins before the tags that are known before the body, and those before the body.
        let watch = match (call.core(), &lead) {
            (Some(core), Some(_)) if call.site.options.result_tags && call.shared().is_none() => {
                Some(Arc::new(core.cells.watch()))
            }
            _ => None,
        };
        Self {
            call,
            shape,
            lead,
            template,
            early,
            cells: CellSet::default(),
            watch,
            life: None,
            refreshes: None,
            share: None,
            keeps_old: false,
        }
    }

    /// A load whose entry is on a shared backend.
    pub(super) fn shared(call: &'a Call<'a>, shape: S, lead: Lead, template: u64, early: Early, share: Share) -> Self {
        Self {
            call,
            shape,
            lead: Some(lead),
            template,
            early,
            cells: CellSet::default(),
            watch: None,
            life: None,
            refreshes: None,
            share: Some(share),
            keeps_old: false,
        }
    }

    /// The lead alone, with what it is for.
    pub(super) fn into_parts(self) -> (Option<Lead>, u64, Early, Option<Share>) {
        (self.lead, self.template, self.early, self.share)
    }

    /// [`into_parts`](Self::into_parts), with when it began.
    #[allow(clippy::type_complexity, reason = "the fields, in a row")]
    pub(super) fn into_all_parts(self) -> (Option<Lead>, u64, Early, Option<Share>, Option<Nanos>) {
        (self.lead, self.template, self.early, self.share, self.refreshes)
    }

    fn core(&self) -> Option<&'a Arc<Core>> {
        if self.lead.is_some() { self.call.core() } else { None }
    }

    /// Takes a ttl that is known at run time only. One that cannot be understood is the bucket `Default`, and is reported.
    pub fn ttl(&mut self, ttl: impl IntoTtl) {
        self.life = Some(lifetime(self.call, ttl));
    }

    /// Fixes the snapshot. Everything that the value depends on is in it before the body begins.
    fn depart(&mut self) {
        let Some(core) = self.core() else { return };
        let Some(lead) = &self.lead else { return };
        if let Some(share) = &self.share {
            let base = share.base(self.call.site.options.result_tags);
            lead.depart(Snapshot { base, ..Snapshot::default() });
            return;
        }
        self.cells = early_cells(core, self.call, &self.early);
        lead.depart(Snapshot { cells: self.cells.clone(), watch: self.watch.clone(), base: Base::Memory });
    }

    /// Runs the body in place.
    pub async fn run(mut self, body: impl Future<Output = S::Ret>) -> Done<'a, S> {
        self.depart();
        let stopwatch = Stopwatch::start(self.call, self.lead.as_ref().map(Lead::key));
        let ret = match &self.lead {
            Some(lead) => {
                let body = stopwatch.timed.run(body);
                let leading = flight::leading(Arc::new([Arc::clone(lead.flight())]), body);
                match &self.share {
                    None => leading.await,
                    Some(share) => {
                        let grants = share.grant.iter().map(|grant| &**grant).collect();
                        renewing(self.call, grants, leading).await
                    }
                }
            }
            None => stopwatch.timed.run(body).await,
        };
        let cost = stopwatch.stop();
        #[cfg(feature = "sabotage")]
        if let Some(grant) = self.share.as_mut().and_then(|share| share.grant.as_mut()) {
            grant.read_late().await;
        }
        Done::new(self, ret, cost)
    }

    /// Runs a synchronous body.
    pub fn run_blocking(mut self, body: impl FnOnce() -> S::Ret) -> Done<'a, S> {
        self.depart();
        let stopwatch = Stopwatch::start(self.call, self.lead.as_ref().map(Lead::key));
        let ret = stopwatch.timed.run_blocking(|| match &self.lead {
            Some(lead) => flight::leading_blocking(lead.flight(), body),
            None => body(),
        });
        let cost = stopwatch.stop();
        Done::new(self, ret, cost)
    }
}

/// The cells of everything that is known before a load, as they are now.
pub(crate) fn early_cells(core: &Core, call: &Call<'_>, early: &Early) -> CellSet {
    let mut cells = CellSet::default();
    let mut tags = Tags::new(core, call.tenant(), &mut cells, None);
    early.tags.iter().for_each(|tag| tags.push(tag));
    core.implicit_cells(call.tenant(), call.site, early.namespace.as_deref(), &mut cells);
    cells
}

pub(crate) fn lifetime(call: &Call<'_>, ttl: impl IntoTtl) -> Lifetime {
    ttl.into_ttl().unwrap_or_else(|_| {
        call.degraded();
        Lifetime::default()
    })
}

/// Measures a body, and counts one that does not come to its end.
pub(crate) struct Stopwatch<'a> {
    function: Option<&'a Function>,
    pub(crate) timed: Timed,
}

impl<'a> Stopwatch<'a> {
    /// `key`: whose value the body is to give, where it is one.
    pub(crate) fn start(call: &'a Call<'a>, key: Option<&[u8]>) -> Self {
        let function = call.function();
        if let Some(function) = function {
            function.tally().inspect(|counters| counters.loads.increment());
        }
        let operation = if call.site.kind == SiteKind::Write { Operation::Write } else { Operation::Load };
        Self { function, timed: Timed::start(call, operation, key) }
    }

    pub(crate) fn stop(mut self) -> Nanos {
        let cost = self.timed.so_far();
        if let Some(function) = self.function.take() {
            function.tally().inspect(|counters| counters.latency.record(cost));
        }
        cost
    }
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        if let Some(function) = self.function {
            function.counters.abandoned.increment();
        }
    }
}

/// A load whose body has run.
pub struct Done<'a, S: Cached> {
    call: &'a Call<'a>,
    shape: S,
    lead: Option<Lead>,
    template: u64,
    split: Split<S::Value, S::Error>,
    cost: Nanos,
    plan: Plan,
    watch: Option<Arc<Watch>>,
    share: Option<Share>,
}

/// What is to become of a loaded value.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cells: CellSet,
    pub(crate) life: Option<Lifetime>,
    pub(crate) store: bool,
    /// A tag of it was invalidated while it was loaded.
    pub(crate) refused: bool,
    /// When it began, for a load that replaces what is there.
    pub(crate) refreshes: Option<Nanos>,
    /// Tags from the value, where the entry is on a shared backend.
    pub(crate) late: Texts,
}

/// Takes what depends on the value: tags, ttl, and whether to store it.
#[derive(Debug)]
pub struct Fill<'f> {
    call: &'f Call<'f>,
    tags: Tags<'f>,
    life: &'f mut Option<Lifetime>,
    store: &'f mut bool,
}

impl<'f> Fill<'f> {
    pub(crate) fn new(call: &'f Call<'f>, tags: Tags<'f>, life: &'f mut Option<Lifetime>, store: &'f mut bool) -> Self {
        Self { call, tags, life, store }
    }

    pub(crate) fn refused(&self) -> bool {
        self.tags.refused
    }

    /// A tag by template.
    pub fn tag(&mut self, text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.tags.tag(text, write);
    }

    /// Tags by expression.
    pub fn add<M>(&mut self, tags: impl super::sink::IntoTags<M>) {
        self.tags.add(tags);
    }

    /// The ttl, from the value.
    pub fn ttl(&mut self, ttl: impl IntoTtl) {
        *self.life = Some(lifetime(self.call, ttl));
    }

    /// Whether to store it. All that are said must agree.
    pub fn store_if(&mut self, store: bool) {
        *self.store &= store;
    }
}

impl<'a, S: Cached> Done<'a, S> {
    fn new(load: Load<'a, S>, ret: S::Ret, cost: Nanos) -> Self {
        let Load { call, shape, lead, template, cells, watch, life, refreshes, share, keeps_old, .. } = load;
        let split = shape.split(ret);
        if matches!(split, Split::Err(_))
            && let Some(function) = call.function()
        {
            function.counters.errors.increment();
        }
        let store = !keeps_old || !matches!(split, Split::Err(_));
        let plan = Plan { cells, life, store, refused: false, refreshes, late: Texts::default() };
        Self { call, shape, lead, template, split, cost, plan, watch, share }
    }

    /// Runs `say` with the value. Not called where there is none, or where nothing will be stored.
    pub fn on_value(&mut self, say: impl FnOnce(&S::Value, &mut Fill<'_>)) {
        let (Split::Some(value), Some(_), Some(core)) = (&self.split, &self.lead, self.call.core()) else { return };
        let plan = &mut self.plan;
        let mut tags = Tags::new(core, self.call.tenant(), &mut plan.cells, self.watch.as_deref());
        tags.texts = self.share.is_some().then_some(&mut plan.late);
        let mut fill = Fill::new(self.call, tags, &mut plan.life, &mut plan.store);
        say(value, &mut fill);
        plan.refused |= fill.refused();
    }

    /// Stores and shares the outcome and returns it.
    ///
    /// # Cancel safety
    ///
    /// On a memory store it completes without waiting. On a shared backend, dropping it may leave the entry unstored.
    pub async fn finish(mut self) -> S::Ret {
        if let Some(share) = self.share.take() {
            self.finish_shared(share).await;
        }
        self.finish_blocking()
    }

    /// Stores what was loaded on the shared backend, then shares it with those who wait in this process.
    async fn finish_shared(&mut self, share: Share) {
        let (Some(lead), Some(core)) = (self.lead.take(), self.call.core()) else { return };
        let late = match share.grant {
            None => false,
            Some(grant) => {
                let fill = self.fill(core, *grant);
                let complete = fill.complete;
                self.call.send_fills(core, vec![fill]).await;
                complete
            }
        };
        let stored = match &self.split {
            Split::Some(value) => Some(Stored::Some(Arc::clone(value) as _)),
            Split::None => Some(Stored::None),
            Split::Err(error) => self.shape.share(error).map(Stored::Err),
        };
        let landing = match stored {
            Some(stored) => Landing::Shared { late: late && matches!(stored, Stored::Some(_)), stored },
            None => Landing::Nothing,
        };
        lead.land(landing, &CellSet::default(), |_| ());
    }

    /// What is to be sent. Apart, since an error need not be `Sync`, and no reference to it may be held while sending.
    fn fill(&mut self, core: &Core, grant: Grant) -> fill::Fill {
        let options = &self.call.site.options;
        let (value, life) = match &self.split {
            Split::Some(value) => (Ok(Some(&**value)), self.plan.life),
            Split::None => (Ok(None), options.ttl_none.map(Lifetime::For).or(self.plan.life)),
            Split::Err(error) => (Err(error), options.ttl_err.map(Lifetime::For)),
        };
        let ending = Ending {
            value,
            life,
            cost: self.cost,
            template: self.template,
            wanted: self.plan.store && (value.is_ok() || options.ttl_err.is_some()),
            ages: match value {
                Ok(Some(value)) => (self.shape.handling().ages)(value),
                _ => None,
            },
            late: std::mem::take(&mut self.plan.late),
            handling: self.shape.handling(),
            errors: self.shape.errors(),
        };
        self.call.fill(core, grant, ending)
    }

    /// Gives the load up: what is there stays, and one of those who wait begins another load. For an outcome that is this
    /// caller's own doing, and says nothing of what others are served.
    #[cfg(feature = "tower")]
    pub(crate) fn withdraw(self) {
        if let Some(lead) = self.lead {
            lead.land(Landing::Superseded, &CellSet::default(), |_| ());
        }
    }

    /// [`finish`](Self::finish) for synchronous functions.
    pub fn finish_blocking(self) -> S::Ret {
        let Self { call, shape, lead, template, split, cost, mut plan, watch: _watch, share: _ } = self;
        if let (Some(lead), Some(core)) = (lead, call.core()) {
            let options = &call.site.options;
            let (stored, life) = match &split {
                Split::Some(value) => (Some(Stored::Some(Arc::clone(value) as _)), plan.life),
                Split::None => (Some(Stored::None), options.ttl_none.map(Lifetime::For).or(plan.life)),
                Split::Err(error) => {
                    plan.store &= options.ttl_err.is_some();
                    (shape.share(error).map(Stored::Err), options.ttl_err.map(Lifetime::For))
                }
            };
            let bytes = || if let Split::Some(value) = &split { shape.bytes(value) } else { 0 };
            let ages = stored.as_ref().and_then(|stored| ages_of(shape, stored));
            land(core, call, lead, stored, life, template, cost, plan, ages, bytes);
        }
        match split {
            Split::Some(value) => shape.some(value),
            Split::None => shape.none().unwrap_or_else(|| unreachable!("an absent value came from an `Option`")),
            Split::Err(error) => shape.err(error),
        }
    }
}

/// Ends a flight: stores `stored` if everything allows it, and shares it with those who wait.
#[allow(clippy::too_many_arguments, reason = "the end of a load knows all of this and nothing of it belongs together")]
pub(crate) fn land(
    core: &Core,
    call: &Call<'_>,
    lead: Lead,
    stored: Option<Stored>,
    life: Option<Lifetime>,
    template: u64,
    cost: Nanos,
    plan: Plan,
    ages: Option<Ages>,
    bytes: impl FnOnce() -> u64,
) {
    let function = core.function(call.site);
    let Some(stored) = stored else {
        lead.land(Landing::Nothing, &CellSet::default(), |_| ());
        return;
    };
    let counters = &function.counters;
    let failed = matches!(stored, Stored::Err(_));
    let cells = plan.cells.clone();
    let live = !plan.refused && cells.is_live();
    let record = if plan.store && live {
        let mut record =
            record(core, call, lead.key(), stored.clone(), life, template, cost, plan.cells.clone(), bytes);
        if let (Some(record), Some(ages)) = (&mut record, ages) {
            record.window = after(0, ages.window());
        }
        record
    } else {
        if !live {
            counters.refused.increment();
        } else if !failed {
            counters.unstored.increment();
        }
        None
    };
    let store = core.store_of(function);
    let key: Box<[u8]> = lead.key().into();
    let wanted = record.is_some();
    // Late joiners wait for tags that only a value has.
    let late = !plan.refused && matches!(stored, Stored::Some(_));
    let landing = Landing::Shared { stored, late };
    let (filled, _removed) = lead.land(landing, &cells, |open| match record {
        Some(record) if open => (true, store.map().insert(key, Arc::new(record))),
        // The source has answered: whatever else is under the key is not its answer. Errors leave it alone.
        _ if failed => (false, Removed::new()),
        _ if open => (false, core.remove_everywhere(&key)),
        // A refresh that another one has overtaken: what was there before this one is not to stay until that one lands.
        _ => (false, plan.refreshes.map_or_else(Removed::new, |began| core.remove_older(&key, began))),
    });
    if wanted && !filled {
        counters.refused.increment();
    }
}

/// The record of a value, unless its ttl is zero or it is heavier than the store.
#[allow(clippy::too_many_arguments, reason = "a record has this many sides")]
pub(crate) fn record(
    core: &Core,
    call: &Call<'_>,
    physical: &[u8],
    stored: Stored,
    life: Option<Lifetime>,
    template: u64,
    cost: Nanos,
    cells: CellSet,
    bytes: impl FnOnce() -> u64,
) -> Option<Record> {
    let options = &call.site.options;
    let now = core.now();
    let asked = life;
    let life = life.unwrap_or(options.life);
    let counters = &core.function(call.site).counters;
    let Some(expires) = core.expiry(now, life, options.jitter) else {
        counters.unstored.increment();
        return None;
    };
    let bytes = core.bytes(physical, &stored, bytes);
    let weight = if options.capacity.is_some() { 1 } else { core.settings.bounds.weight(bytes) };
    if !core.settings.bounds.admits(weight) {
        counters.unstored.increment();
        return None;
    }
    // Nobody is served an old error.
    let window = if matches!(stored, Stored::Err(_)) { Duration::ZERO } else { options.ages.window() };
    let mut record = Record::new(physical, stored, template, now, expires, cells);
    record.window = after(0, window);
    record.owner = call.site.index();
    record.cost = cost;
    record.life = asked;
    record.bytes = bytes;
    record.weight = u32::try_from(weight).unwrap_or(u32::MAX);
    Some(record)
}

opaque_debug!(Load<'_, S: Cached>, Done<'_, S: Cached>);

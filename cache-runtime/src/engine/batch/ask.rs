//! What is there of a batch's elements, however old: what is served at once, what is refreshed meanwhile, and what the caller
//! has to wait for.

use std::hash::Hash;
use std::sync::Arc;

use super::begin::{BatchLoading, How, Refreshing};
use super::drive::{Awaited, BatchDrive, BatchRun, Refresh};
use super::load::collected;
use super::look::Asked;
use super::{OneOf, Slot, ValueOf, Wanted, opaque_batch_debug};
use crate::clock::{Nanos, after, alive_now};
use crate::engine::aging::{Old, timed_out};
use crate::engine::call::Call;
use crate::engine::core::Core;
use crate::engine::read::Mode;
use crate::engine::shared::look::Want;
use crate::error::Error;
use crate::policy::Freshness;
use crate::shape::{BatchCached, Collection};
use crate::timer::within;

/// What a batch call comes to.
#[allow(clippy::large_enum_variant, reason = "a run is made once in a miss, and moved into place")]
pub enum BatchAsk<S: BatchCached, K> {
    /// All elements.
    Done(S::Ret),
    /// The body has to run.
    Run(BatchRun<S, K>),
}

/// An element that is not served yet.
struct Sought<R> {
    wanted: Wanted,
    want: Option<Want>,
    old: Option<Old<R>>,
}

/// An element that is served, and to be refreshed.
struct Served {
    wanted: Wanted,
    want: Option<Want>,
    chance: f64,
    created: Option<Nanos>,
}

/// What was found so far.
struct Survey<'a, S: BatchCached> {
    call: &'a Call<'a>,
    shape: S,
    slots: Vec<Option<Slot<ValueOf<S>>>>,
    sought: Vec<Sought<OneOf<S>>>,
    old: Vec<Served>,
}

impl<S: BatchCached> Survey<'_, S> {
    /// Takes what was found of an element.
    fn take(&mut self, core: &Core, wanted: Wanted, want: Option<Want>, found: Option<Old<OneOf<S>>>) {
        let Some(found) = found else { return self.sought.push(Sought { wanted, want, old: None }) };
        if found.freshness == Freshness::Fresh {
            self.slots[wanted.index] = Some(Slot::of(self.shape, found.ret));
            return;
        }
        let is_paused = core.pauses.holds(wanted.key.as_bytes());
        if !self.call.is_at_once(found.freshness, || is_paused) {
            return self.sought.push(Sought { wanted, want, old: Some(found) });
        }
        let Old { chance, created, .. } = found;
        self.slots[wanted.index] = Some(Slot::of(self.shape, self.call.served_old(core, found)));
        if !is_paused {
            self.old.push(Served { wanted, want, chance, created });
        }
    }

    /// Whether every element that is not served could be, by an old value.
    fn has_old(&self) -> bool {
        self.sought.iter().all(|sought| sought.old.is_some())
    }

    /// Serves all of them so.
    fn serve_old(&mut self, core: &Core) {
        for Sought { wanted, old, .. } in std::mem::take(&mut self.sought) {
            if let Some(old) = old {
                self.slots[wanted.index] = Some(Slot::of(self.shape, self.call.served_old(core, old)));
            }
        }
    }

    /// Looks on the shared backend for what memory did not have. `false`: it could not be asked.
    ///
    /// # Errors
    ///
    /// It could not be asked, and the function is to fail then; or the time is over.
    async fn look(&mut self, core: &Core, mode: Mode, limits: [Option<Nanos>; 2]) -> Result<bool, Error> {
        let Some(shared) = self.call.shared() else { return Ok(true) };
        let of = |wanted: &Wanted| Want::of(shared, self.call, &wanted.key, &wanted.early);
        let mut wants: Vec<Want> = self.sought.iter().map(|sought| of(&sought.wanted)).collect();
        let (mut found, mut answered) = (None, true);
        if mode == Mode::Read && !wants.is_empty() {
            let looking = self.call.look_aged(core, shared, &mut wants, self.shape.one());
            let [soft, deadline] = limits;
            let looked = match soft.filter(|_| self.has_old()).or(deadline) {
                None => Some(looking.await),
                Some(limit) => within(limit, looking).await,
            };
            match looked {
                Some(Ok(looked)) => found = Some(looked),
                Some(Err(error)) => {
                    answered = false;
                    self.call.failing(error)?;
                }
                None if self.has_old() => {
                    self.serve_old(core);
                    return Ok(true);
                }
                None => return Err(timed_out(self.call)),
            }
        }
        let sought = std::mem::take(&mut self.sought).into_iter().zip(wants);
        match found {
            // What the backend has is all there is, whatever a copy was worth.
            Some(found) => {
                sought.zip(found).for_each(|((sought, want), found)| self.take(core, sought.wanted, Some(want), found));
            }
            None => self.sought = sought.map(|(sought, want)| Sought { want: Some(want), ..sought }).collect(),
        }
        Ok(answered)
    }

    /// The load of what was found and is old, unless others of this process are at all of it or have done it.
    fn refresh<K: Clone>(&mut self, core: &Arc<Core>, unique: &[K]) -> Option<Refresh<S, K>> {
        let (mut ids, mut leads, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut old = std::mem::take(&mut self.old);
        old.sort_unstable_by_key(|served| served.wanted.index);
        for Served { wanted, want, chance, created } in old {
            let (key, template) = (wanted.key.as_bytes(), wanted.key.template());
            let Some(lead) = self.call.refreshing(core, &wanted.key, created) else { continue };
            let want = match (want, self.call.shared()) {
                (None, Some(shared)) => Some(Want::of(shared, self.call, &wanted.key, &wanted.early)),
                (want, _) => want,
            };
            ids.push(unique[wanted.index].clone());
            keys.push(key.into());
            leads.push(Refreshing { lead, early: wanted.early, template, want: want.map(|want| (want, chance)) });
        }
        if ids.is_empty() {
            return None;
        }
        self.call.site.value.get_or_init(std::any::type_name::<ValueOf<S>>);
        let loading = BatchLoading::new(self.call, self.shape, ids, How::Refresh(leads));
        Some(Refresh { loading, keys })
    }
}

impl<S, K> Asked<'_, S, K>
where
    S: BatchCached,
    K: Clone + Eq + Hash,
    S::Collection: Collection<K, S::Out>,
{
    /// All elements, or the loads that are to be made.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits disturbs nobody.
    ///
    /// # Panics
    ///
    /// It failed, which only a function can that is expanded to [`ask_or_fail`](Self::ask_or_fail).
    pub async fn ask(self) -> BatchAsk<S, K> {
        self.try_ask()
            .await
            .unwrap_or_else(|error| unreachable!("only a `timeout` or `on_error = fail` fails: {error}"))
    }

    /// [`ask`](Self::ask), which fails where the cache cannot be used (`on_error = fail`) or the time is over (`timeout`).
    ///
    /// # Errors
    ///
    /// Which of them.
    pub async fn ask_or_fail(self) -> Result<BatchAsk<S, K>, Error> {
        if self.call.site.options.on_error_fail
            && let Some(error) = self.call.failure()
        {
            self.call.degraded();
            return Err(error);
        }
        self.try_ask().await
    }

    async fn try_ask(self) -> Result<BatchAsk<S, K>, Error> {
        let Self { call, mode, shape, asked, unique, slots, mut wanted, drawn } = self;
        Wanted::order(&mut wanted);
        let options = &call.site.options;
        let began = alive_now();
        let deadline = options.timeout.map(|timeout| after(began, timeout));
        let soft = options.soft_timeout.map(|soft| after(began, soft));
        let mut survey = Survey { call, shape, slots, sought: Vec::new(), old: Vec::new() };
        let (mut answered, mut refresh, mut refreshes, mut check) = (true, None, None, None);
        match call.core() {
            Some(core) => {
                refreshes = (mode == Mode::Refresh).then(|| core.now());
                for wanted in wanted {
                    let found = if mode == Mode::Read { call.aged_here(core, &wanted.key, shape.one()) } else { None };
                    survey.take(core, wanted, None, found);
                }
                answered = survey.look(core, mode, [soft, deadline]).await?;
                // What is refreshed anyhow needs no check.
                check = drawn.and_then(|drawn| {
                    let is_old = |index| survey.old.iter().any(|old| old.wanted.index == index);
                    drawn.check(call, shape, &unique, |index| survey.slots[index].is_some() && !is_old(index))
                });
                refresh = survey.refresh(core, &unique);
            }
            None => {
                survey.sought = wanted.into_iter().map(|wanted| Sought { wanted, want: None, old: None }).collect();
            }
        }
        let Survey { slots, sought, .. } = survey;
        if sought.is_empty() && refresh.is_none() && check.is_none() {
            return Ok(BatchAsk::Done(collected(shape, &asked, &unique, &whole(slots))));
        }
        // The body is asked in the order of the call, and flights are taken in the order of their keys.
        let mut order: Vec<usize> = sought.iter().map(|sought| sought.wanted.index).collect();
        order.sort_unstable();
        let ids = order.iter().map(|index| unique[*index].clone()).collect();
        let (mut wanted, mut wants) = (Vec::with_capacity(sought.len()), Vec::with_capacity(sought.len()));
        let mut awaited: Vec<Awaited<ValueOf<S>>> = order.iter().map(|index| Awaited::of(*index)).collect();
        for Sought { wanted: mut element, want, old } in sought {
            let place = order.partition_point(|index| *index < element.index);
            awaited[place].key = element.key.as_bytes().into();
            element.has_old = old.is_some();
            awaited[place].old = old.map(|old| old.map(|ret| Slot::of(shape, ret)));
            element.index = place;
            wanted.push(element);
            wants.extend(want);
        }
        let load = (!wanted.is_empty()).then(|| {
            let how = How::Load { mode, wanted, wants, answered, refreshes };
            BatchLoading::new(call, shape, ids, how)
        });
        let drive = BatchDrive { call: call.to_owned_call(), shape, asked, unique, slots, awaited, deadline, soft };
        Ok(BatchAsk::Run(BatchRun { drive, load, refresh, check }))
    }
}

impl Call<'_> {
    /// [`Asked::ask`] where `bypass` says so.
    pub fn batch_past<S: BatchCached, K>(&self, shape: S) -> BatchRun<S, K> {
        let deadline = self.site.options.timeout.map(|timeout| after(alive_now(), timeout));
        let drive = BatchDrive {
            call: self.to_owned_call(),
            shape,
            asked: Vec::new(),
            unique: Vec::new(),
            slots: Vec::new(),
            awaited: Vec::new(),
            deadline,
            soft: None,
        };
        let load = Some(BatchLoading::new(self, shape, Vec::new(), How::Past));
        BatchRun { drive, load, refresh: None, check: None }
    }
}

/// Slots of which each is known.
pub(super) fn whole<V>(slots: Vec<Option<Slot<V>>>) -> Vec<Slot<V>> {
    slots.into_iter().map(|slot| slot.unwrap_or(Slot::Left)).collect()
}

opaque_batch_debug!(BatchAsk<S, K>);

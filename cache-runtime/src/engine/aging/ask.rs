//! What a call comes to: a value, an old one that is refreshed in the background, or a load.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Old;
use super::drive::{Drive, timed_out};
use super::monitor::Check;
use crate::clock::{Nanos, after, alive_now};
use crate::engine::call::Call;
use crate::engine::core::Core;
use crate::engine::load::{Load, Share};
use crate::engine::read::{Mode, Next, Patience, Step, Waited};
use crate::engine::shared::look::Want;
use crate::engine::shared::read::Looked;
use crate::engine::sink::Early;
use crate::error::Error;
use crate::flight::{Landing, Lead, Role};
use crate::key::KeyWriter;
use crate::policy::Freshness;
use crate::shape::{Cached, ages_of};
use crate::site::SiteKind;
use crate::timer::within;

/// What a call comes to.
#[allow(clippy::large_enum_variant, reason = "a run is made once in a miss, and moved into place")]
pub enum Ask<S: Cached> {
    /// The value.
    Done(S::Ret),
    /// The body has to run.
    Run(Run<S>),
}

/// A load that is to be driven.
pub struct Run<S: Cached> {
    drive: Drive<S>,
    loading: Loading<S>,
}

/// A load that owns what it needs.
pub struct Loading<S: Cached> {
    call: Call<'static>,
    loader: Loader<S>,
}

/// A load without its call.
pub struct Loader<S: Cached> {
    pub(super) shape: S,
    pub(super) template: u64,
    pub(super) early: Early,
    pub(super) lead: Option<Lead>,
    pub(super) how: How,
    /// Whether there is an old value, which an error must not replace.
    pub(super) has_old: bool,
}

/// What is left to do before the body.
pub(super) enum How {
    /// Nothing.
    Begin { refreshes: Option<Nanos>, share: Option<Share> },
    /// Look whether somebody else has refreshed it, or does.
    Look(Box<Want>, f64),
}

impl<S: Cached> Run<S> {
    /// Who drives, and what.
    pub fn split(self) -> (Drive<S>, Loading<S>) {
        (self.drive, self.loading)
    }

    /// The value that is served if the load takes too long, fails, or goes on in the background.
    #[cfg(feature = "tower")]
    pub(crate) fn old(&self) -> Option<&S::Ret> {
        self.drive.old()
    }

    /// The load is only compared with the old value, which is returned.
    pub(super) fn checked(mut self, check: Check<S::Value>) -> Self {
        self.drive = self.drive.checked(check);
        self
    }
}

impl<S: Cached> Loading<S> {
    /// The call, and what is to be begun with it.
    pub fn split(self) -> (Call<'static>, Loader<S>) {
        (self.call, self.loader)
    }
}

impl<S: Cached> Loader<S> {
    /// The load; `None`: somebody else has done it or does it.
    pub async fn begin<'a>(self, at: &'a Call<'static>) -> Option<Load<'a, S>> {
        let Self { shape, template, early, lead, how, has_old } = self;
        let mut load = match (how, lead) {
            (How::Begin { refreshes, share: None }, lead) => {
                let mut load = Load::new(at, shape, lead, template, early);
                load.refreshes = refreshes;
                load
            }
            (How::Begin { share: Some(share), .. }, Some(lead)) => {
                Load::shared(at, shape, lead, template, early, share)
            }
            (How::Look(want, chance), Some(lead)) => {
                let shared = at.shared()?;
                let grant = at.granted_refreshes(shared, vec![(*want, chance)], shape).await.pop()??;
                Load::shared(at, shape, lead, template, early, Share::of(grant))
            }
            (How::Begin { .. } | How::Look(..), None) => return None,
        };
        load.keeps_old = has_old;
        Some(load)
    }
}

impl Call<'_> {
    /// The value under `key`, or the right to load it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits disturbs nobody.
    pub async fn ask<S: Cached>(&self, mode: Mode, key: &KeyWriter, early: Early, shape: S) -> Ask<S> {
        match self.try_ask(mode, key, early, shape).await {
            Ok(ask) => ask,
            // A failure that the call is to return is asked for by `ask_or_fail`.
            Err(_) => self.run_alone(shape),
        }
    }

    /// [`ask`](Self::ask), which fails where the cache cannot be used (`on_error = fail`) or the time is over (`timeout`).
    ///
    /// # Errors
    ///
    /// Which of them.
    pub async fn ask_or_fail<S: Cached>(
        &self,
        mode: Mode,
        key: &KeyWriter,
        early: Early,
        shape: S,
    ) -> Result<Ask<S>, Error> {
        if self.site.options.on_error_fail
            && let Some(error) = self.failure()
        {
            self.degraded();
            return Err(error);
        }
        self.try_ask(mode, key, early, shape).await
    }

    async fn try_ask<S: Cached>(&self, mode: Mode, key: &KeyWriter, early: Early, shape: S) -> Result<Ask<S>, Error> {
        let Some(core) = self.cacheable(shape) else { return Ok(self.run_alone(shape)) };
        let options = &self.site.options;
        let began = alive_now();
        let deadline = options.timeout.map(|timeout| after(began, timeout));
        let soft = options.soft_timeout.map(|soft| after(began, soft));
        let mut old = None;
        if mode == Mode::Read {
            old = self.aged_here(core, key, shape);
            if let Some(found) = old.take_if(|old| old.freshness == Freshness::Fresh) {
                return Ok(Ask::Done(found.ret));
            }
            if let Some(found) = old.take_if(|old| self.is_served_at_once(core, key, old)) {
                if core.pauses.holds(key.as_bytes()) {
                    return Ok(Ask::Done(self.served_old(core, found)));
                }
                let want = self.shared().map(|shared| Want::of(shared, self, key, &early));
                return Ok(self.refreshed(core, key, early, shape, found, want));
            }
        }
        // Filled while it is looked for, and taken where that, or waiting for who loads, lasts too long.
        let shelf = Mutex::new(old);
        let looked = if soft.is_none() && deadline.is_none() {
            self.looked(core, mode, key, early, shape, &shelf).await
        } else {
            let mut looking = std::pin::pin!(self.looked(core, mode, key, early, shape, &shelf));
            let mut looked = None;
            for (at, is_hard) in [(soft, false), (deadline, true)] {
                let Some(at) = at.filter(|_| looked.is_none()) else { continue };
                looked = within(at, &mut looking).await;
                if looked.is_some() {
                    break;
                }
                let found = shelf.lock().take();
                match found {
                    Some(old) => return Ok(Ask::Done(self.served_old(core, old))),
                    None if is_hard => return Err(timed_out(self)),
                    None => {}
                }
            }
            match looked {
                Some(looked) => looked,
                None => looking.await,
            }
        };
        let old = shelf.lock().take();
        match looked? {
            Looked::Step(Step::Done(ret)) => Ok(Ask::Done(self.settled_with(core, shape, ret, old))),
            Looked::Step(Step::Load(load)) => {
                let has_old = old.is_some();
                let (lead, template, early, share, refreshes) = load.into_all_parts();
                let how = How::Begin { refreshes, share };
                let loader = Loader { shape, template, early, lead, how, has_old };
                Ok(Ask::Run(self.run(key.as_bytes(), old, deadline, soft, loader)))
            }
            Looked::Refresh(want, early) => match old {
                Some(old) if core.pauses.holds(key.as_bytes()) => Ok(Ask::Done(self.served_old(core, old))),
                Some(old) => Ok(self.refreshed(core, key, early, shape, old, Some(want))),
                None => Ok(self.run_alone(shape)),
            },
        }
    }

    /// Looks, joins and leads, as without any of these options.
    async fn looked<'a, S: Cached>(
        &'a self,
        core: &Arc<Core>,
        mode: Mode,
        key: &KeyWriter,
        early: Early,
        shape: S,
        old: &Mutex<Option<Old<S::Ret>>>,
    ) -> Result<Looked<'a, S>, Error> {
        let mut patience = Patience::new(self.site.options.wait);
        if let Some(shared) = self.shared() {
            return Box::pin(self.look_shared(shared, mode, key, early, shape, &mut patience, old, None)).await;
        }
        let mut next = self.next(mode, key, shape, &patience);
        loop {
            match next {
                Next::Done(ret) => return Ok(Looked::Step(Step::Done(ret))),
                Next::Lead(lead) => return Ok(Looked::Step(self.load(shape, key, early, lead))),
                Next::Wait(joined) => {
                    let waited = patience.pause(joined).await;
                    if matches!(waited, Waited::Landed(Landing::Nothing))
                        && let Some(old) = { old.lock().take() }
                    {
                        // Who led has failed. One attempt is enough while there is something to serve.
                        return Ok(Looked::Step(Step::Done(self.served_old(core, old))));
                    }
                    next = self.waited(key, shape, waited, &mut patience);
                }
            }
        }
    }

    pub(super) fn run<S: Cached>(
        &self,
        key: &[u8],
        old: Option<Old<S::Ret>>,
        deadline: Option<Nanos>,
        soft: Option<Nanos>,
        loader: Loader<S>,
    ) -> Run<S> {
        let drive = Drive::new(self.to_owned_call(), loader.shape, key, old, deadline, soft);
        Run { drive, loading: Loading { call: self.to_owned_call(), loader } }
    }

    /// A load past the cache.
    fn run_alone<S: Cached>(&self, shape: S) -> Ask<S> {
        Ask::Run(self.run_past(shape))
    }

    /// [`ask`](Self::ask) where `bypass` says so.
    pub fn run_past<S: Cached>(&self, shape: S) -> Run<S> {
        let deadline = self.site.options.timeout.map(|timeout| after(alive_now(), timeout));
        let how = How::Begin { refreshes: None, share: None };
        let loader = Loader { shape, template: 0, early: Early::default(), lead: None, how, has_old: false };
        self.run(&[], None, deadline, None, loader)
    }

    /// An old value, and the right to refresh it in the background unless somebody of this process does.
    fn refreshed<S: Cached>(
        &self,
        core: &Arc<Core>,
        key: &KeyWriter,
        early: Early,
        shape: S,
        old: Old<S::Ret>,
        want: Option<Want>,
    ) -> Ask<S> {
        let Some(lead) = self.refreshing(core, key, old.created) else { return Ask::Done(self.served_old(core, old)) };
        self.site.value.get_or_init(std::any::type_name::<S::Value>);
        let how = match want {
            Some(want) => How::Look(Box::new(want), old.chance),
            None => How::Begin { refreshes: None, share: None },
        };
        let loader = Loader { shape, template: key.template(), early, lead: Some(lead), how, has_old: true };
        let soft = self.site.options.soft_timeout.map(|soft| after(alive_now(), soft));
        Ask::Run(self.run(key.as_bytes(), Some(old), None, soft, loader))
    }

    /// The right to refresh what was stored at `created`; `None`: somebody of this process does, or has done so since it was
    /// found. What may be on a shared backend has no such time: it is looked at there, before the load.
    pub(in crate::engine) fn refreshing(
        &self,
        core: &Arc<Core>,
        key: &KeyWriter,
        created: Option<Nanos>,
    ) -> Option<Lead> {
        // Found under the key's lock, dropped outside of it: that may run the user's code.
        let mut there = None;
        let again = || {
            let created = created?;
            there = core.store_of(core.function(self.site)).get(key.as_bytes());
            there.as_ref().is_some_and(|record| record.created > created).then_some(())
        };
        match core.flights.begin(key.as_bytes(), key.template(), self.site.options.wait, again) {
            Err(Role::Lead(lead) | Role::TakeOver(lead)) => Some(lead),
            Ok(()) | Err(Role::Join(_) | Role::Alone) => None,
        }
    }

    /// Whether an old value is returned without waiting for a new one: as the options say, or since its source has just
    /// failed.
    pub(crate) fn is_served_at_once<R>(&self, core: &Core, key: &KeyWriter, old: &Old<R>) -> bool {
        self.is_at_once(old.freshness, || core.pauses.holds(key.as_bytes()))
    }

    pub(in crate::engine) fn is_at_once(&self, freshness: Freshness, is_paused: impl FnOnce() -> bool) -> bool {
        match freshness {
            Freshness::Fresh | Freshness::Early => true,
            Freshness::Stale => self.site.options.soft_timeout.is_none() || is_paused(),
            Freshness::Failing => is_paused(),
        }
    }

    /// Counts an old value that is returned.
    pub(in crate::engine) fn served_old<R>(&self, core: &Core, old: Old<R>) -> R {
        if let Some(counters) = core.function(self.site).tally() {
            counters.late_hit();
            match old.freshness {
                Freshness::Fresh => {}
                Freshness::Early => counters.early.increment(),
                Freshness::Stale | Freshness::Failing => counters.stale.increment(),
            }
        }
        old.ret
    }

    /// What a load came to, or the old value where it failed.
    pub(super) fn settled_with<S: Cached>(
        &self,
        core: &Core,
        shape: S,
        ret: S::Ret,
        old: Option<Old<S::Ret>>,
    ) -> S::Ret {
        match (super::drive::failure(shape, ret), old) {
            (Err(_), Some(old)) => self.served_old(core, old),
            (Ok(ret) | Err(ret), _) => ret,
        }
    }

    /// The value of an entry in memory, however old. What is fresh is counted.
    pub(in crate::engine) fn aged_here<S: Cached>(
        &self,
        core: &Core,
        key: &KeyWriter,
        shape: S,
    ) -> Option<Old<S::Ret>> {
        let now = core.now();
        if let Some(shared) = &core.shared
            && self.site.kind != SiteKind::Memoize
            && !shared.serves(self.site, core.settings.clock.alive(now))
        {
            return None;
        }
        let function = core.function(self.site);
        let record = core.store_of(function).get(key.as_bytes())?;
        if record.is_dead(now) || !record.fits(key.template()) {
            return None;
        }
        let life = Duration::from_nanos(record.expires().saturating_sub(record.created));
        let age = Duration::from_nanos(now.saturating_sub(record.created));
        let is_error = matches!(record.value, crate::record::Stored::Err(_));
        let cost = Duration::from_nanos(record.cost);
        let chance = rand::random();
        let ages = ages_of(shape, &record.value).unwrap_or(self.site.options.ages);
        let freshness = ages.freshness(age, life, cost, chance)?;
        if freshness != Freshness::Fresh && is_error {
            return None;
        }
        let ret = shape.lend(&record.value)?;
        if let Some(counters) = function.tally().filter(|_| freshness == Freshness::Fresh) {
            record.touch(now);
            counters.hit(|| core.settings.clock.alive(now));
            self.say_hit(key.as_bytes());
        }
        if self.site.options.sliding && freshness.is_within_life() {
            self.slide(core, &record, now);
        }
        let created = (!record.is_copy).then_some(record.created);
        Some(Old { ret, freshness, chance, created })
    }
}

opaque_debug!(Ask<S: Cached>, Run<S: Cached>, Loading<S: Cached>, Loader<S: Cached>);

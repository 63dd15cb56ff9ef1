//! Batch reading on a shared backend: one look-up for all elements, one round trip for the leases of those that are missing,
//! one for what was loaded.

use std::sync::Arc;

use super::Shared;
use super::glance::GlancedBatch;
use super::grant::Acquired;
use super::look::Want;
use super::read::{Turn, woken};
use crate::clock::wall_ms;
use crate::engine::aging::Old;
use crate::engine::batch::{Became, Leading, Wanted};
use crate::engine::call::Call;
use crate::engine::core::Core;
use crate::engine::load::Share;
use crate::engine::read::{Mode, Patience};
use crate::error::Error;
use crate::flight::Lead;
use crate::policy::Freshness;
use crate::shape::Cached;
use crate::store::{Listener, Name};

/// An element that is loaded and not stored.
fn alone<R>(wanted: Wanted) -> (usize, Became<R>) {
    (wanted.index, Became::Lead(Leading::alone(wanted)))
}

/// An element that nobody of this process loads.
struct Led {
    wanted: Wanted,
    want: Want,
    lead: Lead,
}

impl Call<'_> {
    /// Finds the elements, or takes the right to load them.
    ///
    /// # Errors
    ///
    /// The backend cannot be used, and the function is to fail then.
    pub(crate) async fn batch_shared<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        mode: Mode,
        shape: S,
        wanted: Vec<Wanted>,
    ) -> Result<Vec<(usize, Became<S::Ret>)>, Error> {
        let Some(core) = self.cacheable(shape) else { return Ok(wanted.into_iter().map(alone).collect()) };
        let mut reachable = shared.is_trusted() || mode == Mode::Refresh;
        if !reachable {
            self.failing(super::write::undelivered())?;
        }
        let mut found = Vec::with_capacity(wanted.len());
        let GlancedBatch { served, others: wanted, seen: first } =
            Box::pin(self.glance_batch(shared, mode, wanted, shape)).await;
        found.extend(served.into_iter().map(|(index, ret)| (index, Became::Done(ret))));
        if wanted.is_empty() {
            return Ok(found);
        }
        let mut wants: Vec<Want> =
            wanted.iter().map(|wanted| Want::of(shared, self, &wanted.key, &wanted.early)).collect();
        let mut missing = Vec::new();
        let mut seen = Vec::new();
        if reachable && mode == Mode::Read {
            let looked = match first {
                Some(first) => shared.look_on(&wants, first, wall_ms()).await,
                None => shared.look(&wants, wall_ms()).await,
            };
            match looked {
                Ok(looked) => seen = looked,
                Err(error) => {
                    reachable = false;
                    self.failing(error)?;
                }
            }
        }
        let mut seen = seen.into_iter();
        let mut slides = Vec::new();
        for (wanted, mut want) in wanted.into_iter().zip(wants.drain(..)) {
            let seen = seen.next();
            match self.served_sliding(core, shared, &mut want, seen.as_ref(), shape, &mut slides) {
                Some(ret) => found.push((wanted.index, Became::Done(ret))),
                None => {
                    seen.iter().for_each(|seen| want.learn(shared, seen));
                    missing.push((wanted, want));
                }
            }
        }
        shared.slide(slides);
        found.extend(self.lead_shared(shared, mode, shape, missing, reachable).await?);
        Ok(found)
    }

    /// What is there of elements, however old. What is fresh is counted.
    ///
    /// # Errors
    ///
    /// The backend cannot be asked, or not be believed.
    pub(crate) async fn look_aged<S: Cached>(
        &self,
        core: &Core,
        shared: &Arc<Shared>,
        wants: &mut [Want],
        shape: S,
    ) -> Result<Vec<Option<Old<S::Ret>>>, Error> {
        if !shared.is_trusted() {
            return Err(super::write::undelivered());
        }
        wants.iter_mut().for_each(|want| want.aged = true);
        let looked = shared.look(wants, wall_ms()).await;
        let mut slides = Vec::new();
        let mut found = Vec::with_capacity(wants.len());
        for (want, seen) in wants.iter_mut().zip(looked?) {
            let old = self.aged(core, shared, want, &seen, shape, rand::random());
            if old.as_ref().is_some_and(|old| old.freshness.is_within_life()) && self.site.options.sliding {
                slides.extend(self.slides_of(core, shared, want, Some(&seen)));
            }
            if old.as_ref().is_some_and(|old| old.freshness == Freshness::Fresh) {
                self.count_hit(core, shared, &want.name.entry, core.now(), want.began);
            }
            want.learn(shared, &seen);
            want.only_fresh(Some(&seen), old.as_ref().is_some_and(|old| !old.freshness.is_within_life()));
            found.push(old);
        }
        shared.slide(slides);
        Ok(found)
    }

    /// The right to load elements that are missing on the backend, or what others load.
    ///
    /// # Errors
    ///
    /// As [`batch_shared`](Self::batch_shared).
    pub(crate) async fn lead_shared<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        mode: Mode,
        shape: S,
        missing: Vec<(Wanted, Want)>,
        reachable: bool,
    ) -> Result<Vec<(usize, Became<S::Ret>)>, Error> {
        let Some(core) = self.cacheable(shape) else {
            return Ok(missing.into_iter().map(|(wanted, _)| alone(wanted)).collect());
        };
        if mode == Mode::Read {
            let misses = missing.iter().filter(|(wanted, _)| !wanted.is_twin).count() as u64;
            core.function(self.site).tally().inspect(|counters| counters.misses.add(misses));
        }
        let mut patience = Patience::new(self.site.options.wait);
        // In the order of their keys, so that batches cannot wait for one another in a circle.
        let mut found = Vec::with_capacity(missing.len());
        let mut led = Vec::new();
        for (wanted, mut want) in missing {
            if wanted.is_twin {
                found.push(alone(wanted));
                continue;
            }
            match self.settled(core, shared, mode, &wanted, &mut want, shape, reachable, &mut patience).await {
                Turn::Done(ret) => found.push((wanted.index, Became::Done(ret))),
                Turn::Lead(_) if self.is_left(&wanted) => found.push((wanted.index, Became::Left)),
                Turn::Lead(lead) => led.push(Led { wanted, want, lead }),
                Turn::Alone | Turn::Again | Turn::Nothing => found.push(alone(wanted)),
            }
        }
        if led.is_empty() {
            return Ok(found);
        }
        self.site.value.get_or_init(std::any::type_name::<S::Value>);
        let acquired =
            if reachable { self.acquired(shared, mode, &mut led, shape, &mut patience).await } else { Ok(None) };
        let mut acquired = match acquired {
            Ok(acquired) => acquired,
            Err(error) => {
                self.failing(error)?;
                None
            }
        };
        let acquired = acquired.iter_mut().flat_map(|acquired| acquired.drain(..).map(Some));
        for (Led { wanted, mut want, lead }, acquired) in
            led.into_iter().zip(acquired.chain(std::iter::repeat_with(|| None)))
        {
            let template = wanted.key.template();
            if let Some(acquired) = &acquired
                && mode == Mode::Read
                && let Some(stored) = self.decode(shared, &mut want, &acquired.seen, shape)
                && let Some(ret) = shape.revive(stored.clone())
            {
                lead.found(stored);
                core.function(self.site).tally().inspect(|counters| counters.coalesced.increment());
                found.push((wanted.index, Became::Done(ret)));
                continue;
            }
            let grant = acquired.map(|acquired| acquired.into_grant(shared, want, mode == Mode::Refresh));
            let leading = Leading {
                lead: Some(lead),
                template,
                early: wanted.early,
                share: Some(Share { grant: grant.map(Box::new) }),
                has_old: wanted.has_old,
            };
            found.push((wanted.index, Became::Lead(leading)));
        }
        Ok(found)
    }

    /// [`turn`](Self::turn) until it comes to something.
    #[allow(clippy::too_many_arguments, reason = "one step of the loop above")]
    async fn settled<S: Cached>(
        &self,
        core: &Arc<Core>,
        shared: &Arc<Shared>,
        mode: Mode,
        wanted: &Wanted,
        want: &mut Want,
        shape: S,
        reachable: bool,
        patience: &mut Patience,
    ) -> Turn<S::Ret> {
        loop {
            let turn = self.turn(core, shared, mode, &wanted.key, shape, reachable, patience).await;
            let (Turn::Again | Turn::Nothing) = turn else { return turn };
            if reachable
                && let Ok(seen) = shared.look(std::slice::from_ref(want), wall_ms()).await
                && let Some(ret) = self.served(core, shared, want, seen.first(), shape)
            {
                return Turn::Done(ret);
            }
        }
    }

    /// The leases of all elements. With `lock`, none is held while waiting for one that somebody else holds, so that the
    /// batches of two processes cannot wait for each other.
    async fn acquired<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        mode: Mode,
        led: &mut [Led],
        shape: S,
        patience: &mut Patience,
    ) -> Result<Option<Vec<Acquired>>, Error> {
        let options = &self.site.options;
        let wants: Vec<Want> = led.iter().map(|led| led.want.clone()).collect();
        let mut listening: Option<(Name, Box<dyn Listener>)> = None;
        let mut waiting = None;
        loop {
            led.iter().for_each(|led| led.lead.look());
            shared.still_trusted(mode)?;
            let acquired = shared.acquire(&wants, options.lock_ttl, mode == Mode::Refresh).await?;
            let blocked = acquired.iter().zip(&mut *led).find_map(|(acquired, led)| {
                let found = acquired.hold.is_some()
                    || acquired.is_fenced()
                    || self.decode(shared, &mut led.want, &acquired.seen, shape).is_some();
                (!found).then(|| Arc::clone(&led.want.name.lease))
            });
            let Some(lease) = blocked.filter(|_| options.lock && mode == Mode::Read && !patience.is_over()) else {
                return Ok(Some(acquired));
            };
            drop(acquired);
            match &mut listening {
                Some((of, listener)) if *of == lease => {
                    waiting.get_or_insert_with(|| self.waiting(None));
                    woken(listener.as_mut(), patience).await;
                }
                // Listen, then look once more: what ended before the first is seen by the second.
                other => {
                    let listener = shared.store.listen(&lease).await?;
                    *other = Some((lease, listener));
                }
            }
        }
    }
}

//! Batch reading on a shared backend: one look-up for all elements, one round trip for the leases of those that are missing,
//! one for what was loaded.

use std::sync::Arc;

use super::Shared;
use super::glance::GlancedBatch;
use super::grant::Acquired;
use super::look::Want;
use super::read::{Turn, woken};
use crate::clock::wall_ms;
use crate::engine::batch::{Leading, Wanted};
use crate::engine::call::Call;
use crate::engine::load::Share;
use crate::engine::read::{Mode, Patience};
use crate::error::Error;
use crate::flight::Lead;
use crate::shape::Cached;
use crate::store::{Listener, Name};

/// What became of an element: its value, or the right to load it.
type Found<R> = (usize, Result<R, Leading>);

/// An element that nobody of this process loads.
struct Led {
    wanted: Wanted,
    want: Want,
    lead: Lead,
}

impl Call<'_> {
    /// Finds the elements, or takes the right to load them.
    pub(crate) async fn batch_shared<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        mode: Mode,
        shape: S,
        wanted: Vec<Wanted>,
    ) -> Vec<Found<S::Ret>> {
        let alone = |wanted: Wanted| {
            let template = wanted.key.template();
            (wanted.index, Err(Leading { lead: None, template, early: wanted.early, share: None }))
        };
        let Some(core) = self.cacheable(shape) else { return wanted.into_iter().map(alone).collect() };
        let mut patience = Patience::new(self.site.options.wait);
        let mut reachable = shared.is_trusted() || mode == Mode::Refresh;
        if !reachable {
            self.failed(&super::write::undelivered());
        }
        let mut found = Vec::with_capacity(wanted.len());
        let GlancedBatch { served, others: wanted, seen: first } =
            Box::pin(self.glance_batch(shared, mode, wanted, shape)).await;
        found.extend(served.into_iter().map(|(index, ret)| (index, Ok(ret))));
        if wanted.is_empty() {
            return found;
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
                    self.failed(&error);
                }
            }
        }
        let mut seen = seen.into_iter();
        for (wanted, mut want) in wanted.into_iter().zip(wants.drain(..)) {
            let seen = seen.next();
            match self.served(core, shared, &mut want, seen.as_ref(), shape) {
                Some(ret) => found.push((wanted.index, Ok(ret))),
                None => {
                    seen.iter().for_each(|seen| want.learn(shared, seen));
                    if mode == Mode::Read {
                        core.function(self.site).tally().inspect(|counters| counters.misses.increment());
                    }
                    missing.push((wanted, want));
                }
            }
        }
        // In the order of their keys, so that batches cannot wait for one another in a circle.
        let mut led = Vec::new();
        for (wanted, mut want) in missing {
            match self.settled(core, shared, mode, &wanted, &mut want, shape, reachable, &mut patience).await {
                Turn::Done(ret) => found.push((wanted.index, Ok(ret))),
                Turn::Lead(lead) => led.push(Led { wanted, want, lead }),
                Turn::Alone | Turn::Again => found.push(alone(wanted)),
            }
        }
        if led.is_empty() {
            return found;
        }
        let acquired =
            if reachable { self.acquired(shared, mode, &mut led, shape, &mut patience).await } else { Ok(None) };
        let mut acquired = acquired.unwrap_or_else(|error| {
            self.failed(&error);
            None
        });
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
                found.push((wanted.index, Ok(ret)));
                continue;
            }
            let grant = acquired.map(|acquired| acquired.into_grant(shared, want, mode == Mode::Refresh));
            let leading = Leading {
                lead: Some(lead),
                template,
                early: wanted.early,
                share: Some(Share { grant: grant.map(Box::new) }),
            };
            found.push((wanted.index, Err(leading)));
        }
        found
    }

    /// [`turn`](Self::turn) until it comes to something.
    #[allow(clippy::too_many_arguments, reason = "one step of the loop above")]
    async fn settled<S: Cached>(
        &self,
        core: &Arc<crate::engine::core::Core>,
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
            let Turn::Again = turn else { return turn };
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
        loop {
            led.iter().for_each(|led| led.lead.look());
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
                Some((of, listener)) if *of == lease => woken(listener.as_mut(), patience).await,
                // Listen, then look once more: what ended before the first is seen by the second.
                other => {
                    let listener = shared.store.listen(&lease).await?;
                    *other = Some((lease, listener));
                }
            }
        }
    }
}

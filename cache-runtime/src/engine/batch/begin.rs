//! The beginning of a load of some of a batch's elements, which may be in the background: their flights and leases.

use super::load::{Batch, Ended};
use super::{Leading, Slot, Wanted, opaque_batch_debug};
use crate::clock::Nanos;
use crate::engine::call::Call;
use crate::engine::load::Share;
use crate::engine::read::Mode;
use crate::engine::shared::look::Want;
use crate::engine::sink::Early;
use crate::flight::Lead;
use crate::shape::BatchCached;

/// A load of some elements that owns what it needs.
pub struct BatchLoading<S: BatchCached, K> {
    call: Call<'static>,
    loader: BatchLoader<S, K>,
}

/// Such a load without its call.
pub struct BatchLoader<S: BatchCached, K> {
    shape: S,
    ids: Vec<K>,
    how: How,
}

/// What is left to do before the body.
pub(super) enum How {
    /// Nothing: it runs past the cache.
    Past,
    /// Take the elements' flights, or wait for those who have them. `wants` are there where entries are on a shared backend,
    /// which `answered` when it was looked for them.
    Load { mode: Mode, wanted: Vec<Wanted>, wants: Vec<Want>, answered: bool, refreshes: Option<Nanos> },
    /// Look whether somebody else has refreshed them, or does.
    Refresh(Vec<Refreshing>),
    /// Nothing, and nothing is stored: what comes of it is only compared. The templates of the elements' keys.
    Check(Vec<u64>),
}

/// An element of which an old value was served.
pub(super) struct Refreshing {
    pub(super) lead: Lead,
    pub(super) early: Early,
    pub(super) template: u64,
    /// Where entries are on a shared backend, with the chance by which it is refreshed.
    pub(super) want: Option<(Want, f64)>,
}

impl<S: BatchCached, K> BatchLoading<S, K> {
    pub(super) fn new(call: &Call<'_>, shape: S, ids: Vec<K>, how: How) -> Self {
        Self { call: call.to_owned_call(), loader: BatchLoader { shape, ids, how } }
    }

    /// The call, and what is to be begun with it.
    pub fn split(self) -> (Call<'static>, BatchLoader<S, K>) {
        (self.call, self.loader)
    }
}

impl<S: BatchCached, K> BatchLoader<S, K> {
    /// Whether the body is to be run past the cache.
    pub fn is_past(&self) -> bool {
        matches!(self.how, How::Past)
    }

    /// The elements, those that are to be loaded among them.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives back what it has taken.
    ///
    /// # Errors
    ///
    /// What the load comes to without the body: nothing, since others have done it or do it, or an error of the cache.
    pub async fn begin<'a>(self, at: &'a Call<'static>) -> Result<Batch<'a, S, K>, Option<Ended<S>>> {
        let Self { shape, ids, how } = self;
        let (slots, refreshes) = match how {
            How::Past => return Err(None),
            How::Load { mode, wanted, wants, answered, refreshes } => {
                let (found, refreshes) = match at.shared() {
                    Some(shared) => {
                        let missing = wanted.into_iter().zip(wants).collect();
                        let led = at.lead_shared(shared, mode, shape.one(), missing, answered).await;
                        (led.map_err(|error| Some(Ended::unusable(error)))?, None)
                    }
                    None => (at.lead_here(mode, shape.one(), wanted).await, refreshes),
                };
                let mut slots: Vec<_> = ids.iter().map(|_| None).collect();
                for (place, became) in found {
                    slots[place] = Some(Slot::became(shape, became));
                }
                (super::ask::whole(slots), refreshes)
            }
            How::Check(templates) => {
                let alone = |template| {
                    Slot::Missing(Box::new(Leading {
                        lead: None,
                        template,
                        early: Early::default(),
                        share: None,
                        has_old: false,
                    }))
                };
                (templates.into_iter().map(alone).collect(), None)
            }
            How::Refresh(mut old) => {
                let shares: Vec<Option<Option<Share>>> = match at.shared() {
                    None => old.iter().map(|_| Some(None)).collect(),
                    Some(shared) => {
                        let wants = old.iter_mut().filter_map(|old| old.want.take()).collect();
                        let grants = at.granted_refreshes(shared, wants, shape.one()).await;
                        grants.into_iter().map(|grant| grant.map(|grant| Some(Share::of(grant)))).collect()
                    }
                };
                let slot = |(old, share): (Refreshing, Option<Option<Share>>)| {
                    let Some(share) = share else { return Slot::Left };
                    let Refreshing { lead, early, template, .. } = old;
                    Slot::Missing(Box::new(Leading { lead: Some(lead), template, early, share, has_old: true }))
                };
                let slots: Vec<_> = old.into_iter().zip(shares).map(slot).collect();
                if slots.iter().all(|slot| matches!(slot, Slot::Left)) {
                    return Err(None);
                }
                (slots, None)
            }
        };
        Ok(Batch::new(at, shape, Vec::new(), ids, slots, refreshes))
    }
}

opaque_batch_debug!(BatchLoading<S, K>, BatchLoader<S, K>);

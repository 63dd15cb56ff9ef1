//! The consistency monitor of batch functions: of the elements that a call found, each is drawn by itself, and those that
//! were are checked by one call of the body in the background. What counts, and when, is `aging/monitor`'s.

use std::sync::Arc;

use super::begin::{BatchLoading, How};
use super::load::{End, Ended};
use super::look::Asked;
use super::{Slot, ValueOf};
use crate::engine::aging::{grace, is_same};
use crate::engine::call::Call;
use crate::engine::core::Core;
use crate::key::KeyWriter;
use crate::record::Stored;
use crate::shape::BatchCached;

/// Elements that were drawn, with their places in the call. They are checked if they turn out to be there.
pub(super) struct Drawn<V> {
    elements: Vec<(usize, KeyWriter)>,
    same: fn(&V, &V) -> bool,
}

/// A check of some elements, and the load that it compares them with.
pub(super) struct Checking<S: BatchCached, K> {
    pub(super) loading: BatchLoading<S, K>,
    pub(super) check: BatchCheck<ValueOf<S>>,
}

/// Elements that were served.
pub(super) struct BatchCheck<V> {
    keys: Vec<KeyWriter>,
    same: fn(&V, &V) -> bool,
}

impl<S: BatchCached, K> Asked<'_, S, K> {
    /// Draws the elements that are to be checked. `render` writes an element's key.
    #[must_use]
    pub fn monitored(
        mut self,
        render: impl Fn(&mut KeyWriter, &K),
        same: fn(&ValueOf<S>, &ValueOf<S>) -> bool,
    ) -> Self {
        if !self.call.has_room_to_check() {
            return self;
        }
        let drawn = self.unique.iter().enumerate().filter(|_| self.call.is_drawn());
        let elements: Vec<_> = drawn.map(|(index, id)| (index, self.call.key(|writer| render(writer, id)))).collect();
        self.drawn = (!elements.is_empty()).then_some(Drawn { elements, same });
        self
    }
}

impl<V> Drawn<V> {
    /// The check of those for which `is_served` says so.
    pub(super) fn check<S, K: Clone>(
        self,
        call: &Call<'_>,
        shape: S,
        unique: &[K],
        is_served: impl Fn(usize) -> bool,
    ) -> Option<Checking<S, K>>
    where
        S: BatchCached,
        S::One: crate::shape::Cached<Value = V>,
    {
        let Self { mut elements, same } = self;
        elements.retain(|(index, _)| is_served(*index));
        if elements.is_empty() {
            return None;
        }
        let ids = elements.iter().map(|(index, _)| unique[*index].clone()).collect();
        let keys: Vec<_> = elements.into_iter().map(|(_, key)| key).collect();
        let how = How::Check(keys.iter().map(KeyWriter::template).collect());
        Some(Checking { loading: BatchLoading::new(call, shape, ids, how), check: BatchCheck { keys, same } })
    }
}

impl<V: Send + Sync + 'static> BatchCheck<V> {
    /// Runs the source, and compares.
    pub(super) async fn run<S>(self, call: Call<'static>, shape: S, source: impl Future<Output = Option<Ended<S>>>)
    where
        S: BatchCached,
        S::One: crate::shape::Cached<Value = V>,
    {
        let Some(core) = call.core() else { return };
        let mut before = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            before.push(call.kept(core, key, shape.one()).await);
        }
        // A source that fails says nothing.
        let Some(Ended(End::Cached { slots, failed: None })) = source.await else { return };
        let mut compared = 0;
        let mut differing = Vec::new();
        for ((key, before), slot) in self.keys.iter().zip(before).zip(slots) {
            let fresh = match slot {
                Slot::Found(value) => Stored::Some(value as Arc<_>),
                Slot::Absent => Stored::None,
                Slot::Missing(_) | Slot::Left => continue,
            };
            let Some(before) = before else { continue };
            compared += 1;
            if self.differs(&call, core, key, shape, &fresh).await.is_some() {
                differing.push((key, before, fresh));
            }
        }
        core.function(call.site).counters.checked.add(compared);
        if differing.is_empty() {
            return;
        }
        grace(core).await;
        for (key, before, fresh) in differing {
            let still = self.differs(&call, core, key, shape, &fresh).await;
            if still.is_some_and(|still| is_same(self.same, &still, &before)) {
                call.disagrees(core, key);
            }
        }
    }

    /// What calls are answered now, if it is not what the source has said.
    async fn differs<S>(
        &self,
        call: &Call<'_>,
        core: &Arc<Core>,
        key: &KeyWriter,
        shape: S,
        fresh: &Stored,
    ) -> Option<Stored>
    where
        S: BatchCached,
        S::One: crate::shape::Cached<Value = V>,
    {
        call.kept(core, key, shape.one()).await.filter(|kept| !is_same(self.same, kept, fresh))
    }
}

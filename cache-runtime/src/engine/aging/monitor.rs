//! The consistency monitor: a share of the calls that were answered from the cache is checked against the source in the
//! background. A cache that invalidates what is written never disagrees for long; where one does, a write goes past it.
//! Elements of a batch are drawn one by one, and those of one call are checked together (`batch/monitor`).
//!
//! What may disagree for a moment is a value whose write has committed and not yet invalidated, and a copy in memory for less
//! than δ. So what differs is looked at again after [`GRACE`] and δ, and counts if calls still get the same old value.

use std::sync::Arc;
use std::time::Duration;

use super::Old;
use super::ask::{How, Loader, Run};
use crate::clock::{after, alive_now};
use crate::engine::call::Call;
use crate::engine::core::Core;
use crate::engine::sink::Early;
use crate::key::KeyWriter;
use crate::policy::Freshness;
use crate::record::Stored;
use crate::report;
use crate::shape::{Cached, Comparable, Split};
use crate::timer::Sleep;

/// How long a write may take between its commit and its invalidation.
const GRACE: Duration = Duration::from_secs(1);

/// Checks of one cache at a time, other work in the background included; those above it are left out.
const AT_ONCE: usize = 64;

/// A call that was answered, and is to be checked.
pub(super) struct Check<V> {
    key: KeyWriter,
    same: fn(&V, &V) -> bool,
}

/// Compares values as their own type says.
pub fn same<V: Comparable>(one: &V, other: &V) -> bool {
    one == other
}

impl Call<'_> {
    /// A run of the source that is compared with what the call was answered, for the share of the calls that are checked; for
    /// the others what they were answered.
    ///
    /// # Errors
    ///
    /// The answer: this call is not checked.
    pub fn sampled<S: Cached>(
        &self,
        key: &KeyWriter,
        shape: S,
        ret: S::Ret,
        same: fn(&S::Value, &S::Value) -> bool,
    ) -> Result<Run<S>, S::Ret> {
        if !self.is_drawn() || !self.has_room_to_check() {
            return Err(ret);
        }
        let how = How::Begin { refreshes: None, share: None };
        let loader =
            Loader { shape, template: key.template(), early: Early::default(), lead: None, how, has_old: true };
        let old = Old { ret, freshness: Freshness::Fresh, chance: 1.0, created: None };
        Ok(self.run(key.as_bytes(), Some(old), None, None, loader).checked(Check { key: key.clone(), same }))
    }

    /// Throws the die for one answer.
    pub(in crate::engine) fn is_drawn(&self) -> bool {
        let share = self.site.options.monitor_ppm;
        share >= 1_000_000 || rand::random_range(0..1_000_000) < share
    }

    /// Whether there are not too many checks at work.
    pub(in crate::engine) fn has_room_to_check(&self) -> bool {
        self.core().is_some_and(|core| core.background.len() < AT_ONCE)
    }

    /// Counts a value that goes on to differ from its source.
    pub(in crate::engine) fn disagrees(&self, core: &Core, key: &KeyWriter) {
        core.function(self.site).counters.disagreed.increment();
        let (function, key) = (self.site.name, String::from_utf8_lossy(key.logical_bytes()).into_owned());
        report::warn("a cached value is not what its source says", &format_args!("`{function}`: {key}"));
    }

    /// What a call would be answered from the cache now; `None`: nothing.
    pub(in crate::engine) async fn kept<S: Cached>(
        &self,
        core: &Arc<Core>,
        key: &KeyWriter,
        shape: S,
    ) -> Option<Stored> {
        if core.shared.as_ref().is_none_or(|shared| shared.serves(self.site, alive_now())) {
            let record = core.valid(core.store_of(core.function(self.site)), key.as_bytes());
            if let Some(record) = record.filter(|record| record.fits(key.template())) {
                return Some(record.value.clone());
            }
        }
        let direct = self.direct_shared().ok()??;
        direct.stored(key, shape.handling()).await.ok()?
    }
}

/// Waits until a write that was at work has invalidated, and until no older copy is served.
pub(in crate::engine) async fn grace(core: &Core) {
    let lease = core.shared.as_ref().map_or(Duration::ZERO, |shared| shared.lease());
    Sleep::until(after(alive_now(), GRACE + lease)).await;
}

/// Whether two answers say the same.
pub(in crate::engine) fn is_same<V: 'static>(same: fn(&V, &V) -> bool, one: &Stored, other: &Stored) -> bool {
    match (one, other) {
        (Stored::Some(one), Stored::Some(other)) => {
            matches!((one.downcast_ref(), other.downcast_ref()), (Some(one), Some(other)) if same(one, other))
        }
        (Stored::None, Stored::None) => true,
        // An error that is kept is no value.
        (Stored::Err(_), _) | (_, Stored::Err(_)) => true,
        _ => false,
    }
}

impl<V: Send + Sync + 'static> Check<V> {
    /// Runs the source, and compares.
    pub(super) async fn run<S: Cached<Value = V>>(
        self,
        call: Call<'static>,
        shape: S,
        source: impl Future<Output = Option<S::Ret>>,
    ) {
        let Some(core) = call.core() else { return };
        let Some(before) = call.kept(core, &self.key, shape).await else { return };
        let fresh = match source.await.map(|ret| shape.split(ret)) {
            Some(Split::Some(value)) => Stored::Some(value),
            Some(Split::None) => Stored::None,
            // A source that fails says nothing.
            Some(Split::Err(_)) | None => return,
        };
        core.function(call.site).counters.checked.increment();
        let is = |one: &Stored, other: &Stored| is_same(self.same, one, other);
        let differs = |kept: Option<Stored>| kept.filter(|kept| !is(kept, &fresh));
        if differs(call.kept(core, &self.key, shape).await).is_none() {
            return;
        }
        grace(core).await;
        let still = differs(call.kept(core, &self.key, shape).await);
        if still.is_some_and(|still| is(&still, &before)) {
            call.disagrees(core, &self.key);
        }
    }
}

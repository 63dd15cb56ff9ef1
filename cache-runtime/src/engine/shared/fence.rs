//! A write's fence on a shared backend: what it is about to change is marked before its body, so that nobody serves or stores
//! it meanwhile, and so that a writer who dies leaves nothing stale: his marks, and with them what they marked, expire.
//!
//! Marks are renewed while the body runs, and removed in the course of the invalidation after it. A copy in the memory of
//! another process may be served for δ after the mark was set at the latest; so the write does not return before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Shared;
use super::grant::alongside;
use crate::clock::{Nanos, after, alive_now};
use crate::engine::call::Call;
use crate::error::Error;
use crate::outbox::Invalidation;
use crate::report;
use crate::sabotage::{self, Mutation};
use crate::store::{Name, Nonce, Op};
use crate::timer::Sleep;

/// The marks of one write. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct Fence {
    shared: Arc<Shared>,
    /// Cells, and leases of keys.
    names: Vec<Name>,
    writer: Nonce,
    /// How long a mark is good.
    span: Duration,
    /// When all of them had been set.
    set: Nanos,
    /// Whether a mark was found missing.
    lost: AtomicBool,
}

impl Fence {
    /// Marks `names` and drops `what`: one round trip.
    ///
    /// # Errors
    ///
    /// A mark could not be set: there is no fence. Those that were set are removed.
    pub(crate) async fn raise(
        shared: &Arc<Shared>,
        names: Vec<Name>,
        mut what: Invalidation,
        span: Duration,
    ) -> Result<Self, Error> {
        let shared = Arc::clone(shared);
        let mut fence = Self { shared, names, writer: super::nonce(), span, set: 0, lost: AtomicBool::new(false) };
        what.names.retain(|name| !fence.names.contains(name));
        what.marks.extend(fence.marks());
        fence.shared.invalidate(what).await?;
        fence.set = alive_now();
        Ok(fence)
    }

    fn marks(&self) -> Vec<Op> {
        if sabotage::is(Mutation::NoMark) {
            return Vec::new();
        }
        let mark = |name: &Name| Op::Mark { name: Arc::clone(name), writer: self.writer, ttl: self.span };
        self.names.iter().map(mark).collect()
    }

    fn unmarks(&self) -> Vec<Op> {
        let unmark = |name: &Name| Op::Unmark { name: Arc::clone(name), writer: self.writer };
        self.names.iter().map(unmark).collect()
    }

    /// Runs a body while the marks are renewed, each third of their life.
    pub(crate) async fn renewing<F: Future>(&self, body: F) -> F::Output {
        let renewal = async {
            loop {
                Sleep::until(after(alive_now(), self.span / 3)).await;
                let replies = self.shared.store.run(self.marks()).await;
                // What could not be renewed may still be there, and is seen the next time or at the end.
                if replies.iter().any(|reply| matches!(reply, Ok(crate::store::Reply::Flag(false)))) {
                    self.lost.store(true, Ordering::Relaxed);
                }
            }
        };
        alongside(body, renewal).await
    }

    /// Has the marks removed with the invalidation after the body. That is told what was marked, too: where a mark is gone
    /// (an eviction), others may have made the cell anew, and stored what was there before the body.
    pub(crate) fn lower(mut self, what: &mut Invalidation) -> Lowered {
        what.marks.extend(self.unmarks());
        let lowered = Lowered { set: self.set, lease: self.shared.lease(), lost: self.lost.load(Ordering::Relaxed) };
        self.names.clear();
        lowered
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if !self.names.is_empty() {
            let (store, unmarks) = (Arc::clone(&self.shared.store), self.unmarks());
            // Marks that cannot be removed expire.
            self.shared.spawn(async move {
                let _ = store.run(unmarks).await;
            });
        }
    }
}

/// A fence whose marks are being removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lowered {
    set: Nanos,
    lease: Duration,
    lost: bool,
}

impl Lowered {
    /// Waits until no copy anywhere can still be served that was made before the marks; where a mark was found missing, that
    /// was made before now. `marked`: whether all were there at the end.
    pub(crate) async fn settled(self, call: &Call<'_>, marked: bool) {
        let mut since = self.set;
        if self.lost || !marked {
            // What was loaded while nothing was marked may have been copied until the invalidation.
            since = alive_now();
            call.function().inspect(|function| function.counters.degraded.count(None));
            let function = call.site.name;
            report::warn(
                "a fence was lost while its writer was at work",
                &format_args!("`{function}`: others may have read and kept what it has changed since"),
            );
        }
        if !sabotage::is(Mutation::NoSettling) {
            Sleep::until(after(since, self.lease)).await;
        }
    }
}

//! The right to fill an entry on a shared backend: its lease, and the nonces of its cells as they were before the load.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::look::{Seen, Want};
use super::{CELL_TTL, Shared};
use crate::clock::{after, alive_now, wall_ms};
use crate::engine::call::Call;
use crate::error::Error;
use crate::store::{FENCED, MARK, Name, Nonce, Op, Reply, SharedSnapshot};
use crate::timer::Sleep;

/// A lease that this process may hold. Dropping it gives it back, whatever became of its load.
#[derive(Debug)]
pub(super) struct Hold {
    shared: Arc<Shared>,
    pub(super) lease: Name,
    pub(super) token: Nonce,
    /// Whether there is something to give back.
    armed: bool,
}

impl Hold {
    pub(super) fn new(shared: &Arc<Shared>, lease: &Name) -> Self {
        Self { shared: Arc::clone(shared), lease: Arc::clone(lease), token: super::nonce(), armed: true }
    }

    /// It was given back, or was never ours.
    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }

    pub(super) fn acquire(&self, ttl: Duration, steal: bool) -> Op {
        Op::Acquire { lease: Arc::clone(&self.lease), token: self.token, ttl, steal }
    }

    pub(super) fn release(&self) -> Op {
        Op::Release { lease: Arc::clone(&self.lease), token: self.token }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.armed {
            let (store, release) = (Arc::clone(&self.shared.store), self.release());
            // A lease that cannot be given back expires.
            self.shared.spawn(async move {
                let _ = store.run(vec![release]).await;
            });
        }
    }
}

/// What a load on a shared backend began with.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(super) shared: Arc<Shared>,
    pub(super) want: Want,
    /// `None`: somebody else holds the lease, and nothing will be stored.
    pub(super) hold: Option<Hold>,
    /// Every cell that the value may depend on, as it was before the body.
    pub(super) cells: Vec<(Name, Nonce)>,
    pub(super) snapshot: Arc<SharedSnapshot>,
    /// Whether it replaces what is there.
    pub(super) refresh: bool,
}

impl Grant {
    /// What others have to compare before they join this load.
    pub(crate) fn snapshot(&self) -> Arc<SharedSnapshot> {
        Arc::clone(&self.snapshot)
    }
}

/// What taking a lease came to.
#[derive(Debug)]
pub(super) struct Acquired {
    /// The lease, if it was free.
    pub(super) hold: Option<Hold>,
    /// The entry as it is under the lease.
    pub(super) seen: Seen,
    /// Every cell that the entry may depend on, with its nonce.
    pub(super) cells: Vec<(Name, Nonce)>,
    /// Who holds the lease.
    pub(super) holder: Option<Vec<u8>>,
}

impl Acquired {
    /// Whether a writer is at work on what is read: nothing is stored, and nobody is worth waiting for.
    pub(super) fn is_fenced(&self) -> bool {
        let held = self.holder.as_ref().is_some_and(|holder| holder.starts_with(MARK));
        held || self.cells.iter().any(|(_, nonce)| *nonce == FENCED)
    }

    pub(super) fn into_grant(mut self, shared: &Arc<Shared>, want: Want, refresh: bool) -> Grant {
        let is_fenced = self.is_fenced();
        let hold = self.hold.take().filter(|_| !is_fenced);
        let snapshot =
            SharedSnapshot { lease: Arc::clone(&want.name.lease), holder: self.holder, cells: self.cells.clone() };
        Grant { shared: Arc::clone(shared), want, hold, cells: self.cells, snapshot: Arc::new(snapshot), refresh }
    }
}

impl Shared {
    /// Takes the leases of entries, reads the entries once more, and makes sure that their cells exist: one round trip.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        wants: &[Want],
        ttl: Duration,
        steal: bool,
    ) -> Result<Vec<Acquired>, Error> {
        // Held from before the command is sent: one that was given up on may have taken effect.
        let mut holds: Vec<Hold> = wants.iter().map(|want| Hold::new(self, &want.name.lease)).collect();
        let mut ops = Vec::new();
        for (want, hold) in wants.iter().zip(&holds) {
            ops.push(hold.acquire(ttl, steal));
            ops.push(Op::ReadPlain(Arc::clone(&want.name.lease)));
            ops.extend(want.entry_ops());
        }
        let mut names: Vec<&Name> = Vec::new();
        for cell in wants.iter().flat_map(Want::cells) {
            if !names.contains(&cell) {
                names.push(cell);
            }
        }
        ops.extend(names.iter().map(|cell| ensure(cell)));
        let mut replies = self.store.run(ops).await.into_iter();
        let mut acquired = Vec::with_capacity(wants.len());
        for (want, mut hold) in wants.iter().zip(holds.drain(..)) {
            let got = replies.next().unwrap_or_else(super::no_reply)?.flag()?;
            if !got {
                hold.disarm();
            }
            let holder = replies.next().unwrap_or_else(super::no_reply)?.bytes()?;
            let seen = want.take_entry(&mut replies)?;
            acquired.push(Acquired { hold: got.then_some(hold), seen, cells: Vec::new(), holder });
        }
        let mut cells = Vec::with_capacity(names.len());
        for name in names {
            cells.push((Arc::clone(name), replies.next().unwrap_or_else(super::no_reply)?.nonce()?));
        }
        for (want, acquired) in wants.iter().zip(&mut acquired) {
            acquired.cells = cells.iter().filter(|(name, _)| want.cells().any(|cell| cell == name)).cloned().collect();
            acquired.seen.cells = acquired.cells.iter().map(|(name, nonce)| (Arc::clone(name), Some(*nonce))).collect();
        }
        // Somebody else may have stored it meanwhile, with cells that this caller does not know.
        let mut seen: Vec<Seen> = acquired.iter_mut().map(|acquired| std::mem::take(&mut acquired.seen)).collect();
        self.ask(wants, &mut seen, wall_ms()).await?;
        acquired.iter_mut().zip(seen).for_each(|(acquired, seen)| acquired.seen = seen);
        Ok(acquired)
    }

    /// Whether nothing that a load depends on was invalidated since it began: one round trip.
    pub(super) async fn still_holds(&self, snapshot: &SharedSnapshot) -> Result<bool, Error> {
        // Nobody held the lease when it was looked at: an invalidation of the key leaves no trace. A fence's mark says as little:
        // it is the same before and after what is fenced.
        if snapshot.holder.as_ref().is_none_or(|holder| holder.starts_with(MARK)) {
            return Ok(false);
        }
        let mut ops = vec![Op::ReadPlain(Arc::clone(&snapshot.lease))];
        ops.extend(snapshot.cells.iter().map(|(cell, _)| Op::Read(Arc::clone(cell))));
        let mut replies = self.store.run(ops).await.into_iter();
        if replies.next().unwrap_or_else(super::no_reply)?.bytes()? != snapshot.holder {
            return Ok(false);
        }
        for (_, nonce) in &snapshot.cells {
            if replies.next().unwrap_or_else(super::no_reply)?.bytes()?.as_deref() != Some(nonce.as_slice()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What an entry is worth that was read under its lease.
    pub(super) fn is_live(seen: &Seen, want: &Want) -> bool {
        matches!(seen.judge(want, wall_ms()), super::look::Verdict::Live(_))
    }
}

/// Makes sure that a cell exists, for longer than most entries live.
pub(super) fn ensure(cell: &Name) -> Op {
    Op::Ensure { cell: Arc::clone(cell), fresh: super::nonce(), ttl: Some(CELL_TTL) }
}

/// Runs a body while the leases of its grants are renewed, each third of `lock_ttl`. Renewal stops where the body is not polled:
/// others then take over when the lease ends.
pub(crate) async fn renewing<F: Future>(call: &Call<'_>, grants: Vec<&Grant>, body: F) -> F::Output {
    let (ttl, function) = (call.site.options.lock_ttl, call.function());
    let mut held: Vec<(Name, Nonce)> = grants
        .iter()
        .filter_map(|grant| grant.hold.as_ref())
        .map(|hold| (Arc::clone(&hold.lease), hold.token))
        .collect();
    let store = grants.first().map(|grant| Arc::clone(&grant.shared.store));
    drop(grants);
    let Some(store) = store.filter(|_| !held.is_empty()) else { return body.await };
    let renewal = async move {
        while !held.is_empty() {
            Sleep::until(after(alive_now(), ttl / 3)).await;
            let renew = |(lease, token): &(Name, Nonce)| Op::Renew { lease: Arc::clone(lease), token: *token, ttl };
            let renewed = store.run(held.iter().map(renew).collect()).await;
            // What was lost shows when the entry is filled, too. One that could not be asked for may still be ours.
            let mut lost = renewed.iter().map(|reply| matches!(reply, Ok(Reply::Flag(false))));
            held.retain(|_| {
                let is_lost = lost.next().unwrap_or(false);
                function.filter(|_| is_lost).inspect(|function| function.counters.lost_leases.increment());
                !is_lost
            });
        }
        std::future::pending().await
    };
    alongside(body, renewal).await
}

/// Runs a body, and beside it, while it is polled, what never ends.
pub(super) async fn alongside<F: Future>(
    body: F,
    renewal: impl Future<Output = std::convert::Infallible>,
) -> F::Output {
    let (mut body, mut renewal) = (pin!(body), pin!(renewal));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ret) = body.as_mut().poll(cx) {
            return Poll::Ready(ret);
        }
        let _ = renewal.as_mut().poll(cx);
        Poll::Pending
    })
    .await
}

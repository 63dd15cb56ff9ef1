//! Running the loads of a batch call whose elements may be old, or which may be given up.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use super::ask::whole;
use super::begin::{BatchLoading, How};
use super::load::{End, Ended, collected};
use super::monitor::Checking;
use super::{Slot, ValueOf, opaque_batch_debug};
use crate::clock::{Nanos, after, alive_now};
use crate::engine::aging::{Background, Old, timed_out};
use crate::engine::call::Call;
use crate::engine::timed::Timed;
use crate::error::{Error, ErrorKind};
use crate::meter::Operation;
use crate::shape::{BatchCached, Collection};
use crate::timer::within;

/// The loads of one call.
pub struct BatchRun<S: BatchCached, K> {
    pub(super) drive: BatchDrive<S, K>,
    /// Of what the caller waits for.
    pub(super) load: Option<BatchLoading<S, K>>,
    pub(super) refresh: Option<Refresh<S, K>>,
    /// Of what is only compared with the source.
    pub(super) check: Option<Checking<S, K>>,
}

/// The load of elements of which old values are served meanwhile.
pub(super) struct Refresh<S: BatchCached, K> {
    pub(super) loading: BatchLoading<S, K>,
    pub(super) keys: Vec<Box<[u8]>>,
}

/// An element that the caller waits for.
pub(super) struct Awaited<V> {
    index: usize,
    pub(super) key: Box<[u8]>,
    pub(super) old: Option<Old<Slot<V>>>,
}

impl<V> Awaited<V> {
    pub(super) fn of(index: usize) -> Self {
        Self { index, key: Box::default(), old: None }
    }
}

/// Runs the load that the caller waits for, and puts the answer together.
pub struct BatchDrive<S: BatchCached, K> {
    pub(super) call: Call<'static>,
    pub(super) shape: S,
    pub(super) asked: Vec<K>,
    pub(super) unique: Vec<K>,
    pub(super) slots: Vec<Option<Slot<ValueOf<S>>>>,
    /// In the order in which the load has them.
    pub(super) awaited: Vec<Awaited<ValueOf<S>>>,
    pub(super) deadline: Option<Nanos>,
    /// When old values are returned instead of what is being loaded.
    pub(super) soft: Option<Nanos>,
}

impl<S: BatchCached, K> BatchRun<S, K> {
    /// Who drives, and what. For loads that borrow from their call: nothing runs in the background.
    pub fn split(self) -> (BatchDrive<S, K>, BatchLoading<S, K>) {
        let Self { drive, load, .. } = self;
        let load = load.unwrap_or_else(|| BatchLoading::new(&drive.call, drive.shape, Vec::new(), How::Past));
        (drive, load)
    }
}

impl<S, K> BatchDrive<S, K>
where
    S: BatchCached,
    K: Eq + Hash,
    S::Collection: Collection<K, S::Out>,
{
    /// Runs the load in the caller's own task.
    ///
    /// # Errors
    ///
    /// It took longer than `timeout`, and not every element has an old value that may be served instead.
    pub async fn here(self, work: impl Future<Output = Option<Ended<S>>>) -> Result<S::Ret, Error> {
        match self.deadline {
            Some(deadline) => match within(deadline, work).await {
                Some(ended) => self.settle(ended),
                None => self.elapsed(),
            },
            None => self.settle(work.await),
        }
    }

    /// The load has ended.
    fn settle(mut self, ended: Option<Ended<S>>) -> Result<S::Ret, Error> {
        let mut failed = None;
        let core = self.call.core().filter(|_| self.call.site.options.ages.is_set());
        match ended {
            Some(Ended(End::Past(ret))) => return Ok(ret),
            Some(Ended(End::Unusable(error))) => return Err(error),
            Some(Ended(End::Cached { slots, failed: ret })) => {
                failed = ret;
                for (awaited, slot) in std::mem::take(&mut self.awaited).into_iter().zip(slots) {
                    match slot {
                        Slot::Found(_) | Slot::Absent => {
                            if let Some(core) = core {
                                core.pauses.end(&awaited.key);
                            }
                            self.slots[awaited.index] = Some(slot);
                        }
                        Slot::Missing(_) | Slot::Left => self.awaited.push(awaited),
                    }
                }
            }
            None => {}
        }
        if self.awaited.iter().all(|awaited| awaited.old.is_some()) {
            return Ok(self.serve_old());
        }
        failed.ok_or_else(|| Error::new(ErrorKind::Unavailable, "elements that nobody has were loaded by nobody"))
    }

    /// The time is over.
    fn elapsed(self) -> Result<S::Ret, Error> {
        let old = self.awaited.iter().filter(|awaited| awaited.old.is_some());
        if let Some(core) = self.call.core() {
            old.clone().for_each(|awaited| core.pauses.begin(&awaited.key));
        }
        // Past the cache nothing is awaited, and there is nothing to serve.
        if old.count() < self.awaited.len().max(1) { Err(timed_out(&self.call)) } else { Ok(self.serve_old()) }
    }

    /// The answer, with old values of what is still awaited.
    fn serve_old(mut self) -> S::Ret {
        for Awaited { index, old, .. } in std::mem::take(&mut self.awaited) {
            let served = |old: Old<_>| match self.call.core() {
                Some(core) => self.call.served_old(core, old),
                None => old.ret,
            };
            self.slots[index] = old.map(served);
        }
        collected(self.shape, &self.asked, &self.unique, &whole(self.slots))
    }
}

impl<S, K> BatchRun<S, K>
where
    S: BatchCached + 'static,
    S::Ret: Send + 'static,
    S::Collection: Collection<K, S::Out>,
    K: Eq + Hash,
{
    /// Runs loads that own what they need, each made by `make`. `carried` brings the caller's context along.
    pub(crate) async fn run<F, C>(
        self,
        make: impl Fn(BatchLoading<S, K>) -> F,
        carried: impl Fn(Background<F>) -> C,
    ) -> Result<S::Ret, Error>
    where
        F: Future<Output = Option<Ended<S>>> + Send + 'static,
        C: Future<Output = Option<Ended<S>>> + Send + 'static,
    {
        let Self { drive, load, refresh, check } = self;
        if let (Some(Checking { loading, check }), Some(core)) = (check, drive.call.core()) {
            let checked = check.run(drive.call.to_owned_call(), drive.shape, carried(Box::pin(make(loading))));
            // One that finds no place is left out.
            let _ = core.background.spawn(checked);
        }
        if let Some(Refresh { loading, keys }) = refresh {
            drive.go_on(keys, carried(Box::pin(make(loading))));
        }
        let Some(load) = load else { return Ok(drive.serve_old()) };
        let mut work = Box::pin(make(load));
        let has_old = !drive.awaited.is_empty() && drive.awaited.iter().all(|awaited| awaited.old.is_some());
        let Some(soft) = drive.soft.filter(|_| has_old) else { return drive.here(work).await };
        if let Some(ended) = within(soft, &mut work).await {
            return drive.settle(ended);
        }
        drive.go_on(drive.awaited.iter().map(|awaited| awaited.key.clone()).collect(), carried(work));
        Ok(drive.serve_old())
    }
}

impl<S: BatchCached + 'static, K> BatchDrive<S, K> {
    /// Leaves a load to the background. Nobody waits for it, and who is not served by old values joins its flights.
    fn go_on(&self, keys: Vec<Box<[u8]>>, work: impl Future<Output = Option<Ended<S>>> + Send + 'static) {
        let Some(core) = self.call.core().cloned() else { return };
        let deadline = self.call.site.options.timeout.map(|timeout| after(alive_now(), timeout));
        let background = Arc::clone(&core.background);
        let timed = Timed::follow(&self.call, Operation::Refresh, None);
        background.spawn(async move {
            let work = timed.run(work);
            let ended = match deadline {
                Some(deadline) => within(deadline, work).await,
                None => Some(work.await),
            };
            drop(timed);
            match ended {
                None => keys.iter().for_each(|key| core.pauses.begin(key)),
                Some(Some(Ended(End::Cached { slots, .. }))) => {
                    for (key, slot) in keys.iter().zip(slots) {
                        // Where it failed, the load has said so; what is left was done by somebody else, or is.
                        if matches!(slot, Slot::Found(_) | Slot::Absent) {
                            core.pauses.end(key);
                        }
                    }
                }
                Some(Some(Ended(End::Past(_) | End::Unusable(_))) | None) => {}
            }
        });
    }
}

opaque_batch_debug!(BatchRun<S, K>, BatchDrive<S, K>);

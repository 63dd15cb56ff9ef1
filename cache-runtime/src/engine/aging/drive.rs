//! Running a load: in place, within a time, or in the background while an old value is returned.

use std::future::Future;
use std::sync::Arc;

use super::Old;
use super::monitor::Check;
use crate::clock::{Nanos, after, alive_now};
use crate::engine::call::Call;
use crate::engine::core::Core;
use crate::engine::timed::Timed;
use crate::error::{Error, ErrorKind};
use crate::meter::Operation;
use crate::policy::Freshness;
use crate::shape::{Cached, Split};
use crate::timer::within;

/// Runs one load.
pub struct Drive<S: Cached> {
    call: Call<'static>,
    shape: S,
    key: Box<[u8]>,
    old: Option<Old<S::Ret>>,
    deadline: Option<Nanos>,
    /// When an old value is returned instead of what is being loaded.
    soft: Option<Nanos>,
    /// Whether the load is only compared with the old value.
    check: Option<Check<S::Value>>,
}

/// What a timeout is, as an error.
pub(crate) fn timed_out(call: &Call<'_>) -> Error {
    let function = call.site.name;
    Error::new(ErrorKind::Timeout, format!("`{function}` took longer than its `timeout`"))
}

/// A return value, sorted by whether it is a failure.
pub(super) fn failure<S: Cached>(shape: S, ret: S::Ret) -> Result<S::Ret, S::Ret> {
    match shape.split(ret) {
        Split::Some(value) => Ok(shape.some(value)),
        Split::None => Ok(shape.none().unwrap_or_else(|| unreachable!("an absent value came from an `Option`"))),
        Split::Err(error) => Err(shape.err(error)),
    }
}

impl<S: Cached> Drive<S> {
    pub(super) fn new(
        call: Call<'static>,
        shape: S,
        key: &[u8],
        old: Option<Old<S::Ret>>,
        deadline: Option<Nanos>,
        soft: Option<Nanos>,
    ) -> Self {
        Self { call, shape, key: key.into(), old, deadline, soft, check: None }
    }

    #[cfg(feature = "tower")]
    pub(super) fn old(&self) -> Option<&S::Ret> {
        self.old.as_ref().map(|old| &old.ret)
    }

    pub(super) fn checked(self, check: Check<S::Value>) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Runs a load in the caller's own task.
    ///
    /// # Errors
    ///
    /// It took longer than `timeout`, and there is no old value that may be served instead.
    pub async fn here(self, work: impl Future<Output = Option<S::Ret>>) -> Result<S::Ret, Error> {
        match self.deadline {
            Some(deadline) => match within(deadline, work).await {
                Some(ret) => self.settle(ret),
                None => self.elapsed(),
            },
            None => self.settle(work.await),
        }
    }

    fn core(&self) -> Option<&Arc<Core>> {
        self.call.core()
    }

    /// The load has ended.
    fn settle(self, ret: Option<S::Ret>) -> Result<S::Ret, Error> {
        let Self { call, shape, key, old, .. } = self;
        let Some(ret) = ret else {
            let nothing = || Error::new(ErrorKind::Unavailable, "somebody else refreshes a value that is not there");
            return old.map(|old| old.ret).ok_or_else(nothing);
        };
        let Some(core) = call.core() else { return Ok(ret) };
        let (ret, old) = match (failure(shape, ret), old) {
            (Ok(ret), _) => {
                if call.site.options.ages.is_set() {
                    core.pauses.end(&key);
                }
                (ret, None)
            }
            (Err(ret), old) => (ret, old),
        };
        match old {
            Some(old) => {
                core.pauses.begin(&key);
                Ok(call.served_old(core, old))
            }
            None => Ok(ret),
        }
    }

    /// The time is over.
    fn elapsed(self) -> Result<S::Ret, Error> {
        let Self { call, key, old, .. } = self;
        match (call.core(), old) {
            (Some(core), Some(old)) => {
                core.pauses.begin(&key);
                Ok(call.served_old(core, old))
            }
            _ => Err(timed_out(&call)),
        }
    }
}

impl<S> Drive<S>
where
    S: Cached + 'static,
    S::Ret: Send + 'static,
{
    /// Runs a load that owns what it needs. `carried` brings the caller's context along.
    pub(crate) async fn run<F, C>(mut self, work: F, carried: impl FnOnce(Background<F>) -> C) -> Result<S::Ret, Error>
    where
        F: Future<Output = Option<S::Ret>> + Send + 'static,
        C: Future<Output = Option<S::Ret>> + Send + 'static,
    {
        if let (Some(check), Some(old)) = (self.check.take(), self.old.take_if(|old| old.freshness == Freshness::Fresh))
        {
            let background = self.core().map(|core| Arc::clone(&core.background));
            let checked = check.run(self.call, self.shape, carried(Box::pin(work)));
            // One that finds no place is left out.
            let _ = background.is_some_and(|background| background.spawn(checked));
            return Ok(old.ret);
        }
        let soft = self.soft;
        let at_once = |old: &mut Old<S::Ret>| match old.freshness {
            Freshness::Fresh | Freshness::Early => true,
            Freshness::Stale => soft.is_none(),
            Freshness::Failing => false,
        };
        if let Some(old) = self.old.take_if(at_once) {
            let ret = match self.core() {
                Some(core) => self.call.served_old(core, old),
                None => old.ret,
            };
            self.go_on(carried(Box::pin(work)));
            return Ok(ret);
        }
        let (Some(soft), true) = (soft, self.old.is_some()) else { return self.here(work).await };
        let mut work = Box::pin(work);
        match within(soft, &mut work).await {
            Some(ret) => self.settle(ret),
            None => {
                let old = self.old.take();
                let ret = old.zip(self.core()).map(|(old, core)| self.call.served_old(core, old));
                let late = timed_out(&self.call);
                self.go_on(carried(work));
                ret.ok_or(late)
            }
        }
    }

    /// Leaves a load to the background. Nobody waits for it, and who is not served by an old value joins it.
    fn go_on(self, work: impl Future<Output = Option<S::Ret>> + Send + 'static) {
        let Self { call, shape, key, .. } = self;
        let Some(core) = call.core().cloned() else { return };
        let deadline = call.site.options.timeout.map(|timeout| after(alive_now(), timeout));
        let background = Arc::clone(&core.background);
        let timed = Timed::follow(&call, Operation::Refresh, Some(&key));
        background.spawn(async move {
            let work = timed.run(work);
            let ended = match deadline {
                Some(deadline) => within(deadline, work).await,
                None => Some(work.await),
            };
            drop(timed);
            match ended.map(|ret| ret.map(|ret| failure(shape, ret).is_err())) {
                // Somebody else has done it, or does it.
                Some(None) => {}
                Some(Some(false)) => core.pauses.end(&key),
                Some(Some(true)) | None => core.pauses.begin(&key),
            }
        });
    }
}

/// A load on its way to the background.
pub(crate) type Background<F> = std::pin::Pin<Box<F>>;

opaque_debug!(Drive<S: Cached>);

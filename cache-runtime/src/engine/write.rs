//! Writing: run the body; after success invalidate, store what is written through, then recache.
//!
//! Everything that names what becomes invalid is rendered before the body, which may consume the arguments; what
//! mentions `result` is added after it. A body that fails invalidates nothing. One that panics or is dropped may have
//! committed, so it does invalidate what is known.

use std::sync::Arc;

use super::call::Call;
use super::claim::Claim;
use super::load::Stopwatch;
use super::put::PutTarget;
use super::recache::{self, RecacheChain};
use super::shared::Shared;
use super::shared::fence::{Fence, Lowered};
use super::shared::write::SharedClaims;
use super::targets::{Claims, Targets, WriteSink};
use super::timed::Timed;
use crate::cell::Cell;
use crate::error::Error;
use crate::meter::Operation;
use crate::outbox::Invalidation;
use crate::shape::{Kept, Returned};
use crate::tags::Watch;

impl<'c> Call<'c> {
    /// Begins a write.
    pub fn write<S: Returned>(&'c self, shape: S) -> Write<'c, S> {
        let guard = Guard {
            call: self,
            targets: Targets::default(),
            put_keys: Vec::new(),
            fences: Vec::new(),
            fence: None,
            armed: false,
        };
        Write { guard, shape, puts: Vec::new(), claims: Vec::new(), shared: None, watch: None }
    }
}

/// What has to be undone or done where a write does not come to its end.
#[derive(Debug)]
struct Guard<'c> {
    call: &'c Call<'c>,
    targets: Targets,
    /// Physical keys that were to be written through.
    put_keys: Vec<Box<[u8]>>,
    fences: Vec<(Box<[u8]>, Arc<Cell>)>,
    /// The same on a shared backend.
    fence: Option<Fence>,
    /// The body began and its outcome is unknown.
    armed: bool,
}

impl Guard<'_> {
    /// What becomes invalid on a shared backend.
    fn shared_targets(&self, shared: &Shared) -> Invalidation {
        let mut what = self.targets.on(shared, self.call);
        self.put_keys.iter().for_each(|key| shared.push_entry(key, &mut what));
        what
    }

    fn unfence(&mut self) {
        if let Some(core) = self.call.reachable() {
            for (name, mark) in self.fences.drain(..) {
                core.cells.unfence(&name, &mark);
            }
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.armed
            && let Some(core) = self.call.reachable()
        {
            self.targets.invalidate(core, self.call, &[]);
            for name in self.targets.names(self.call) {
                core.cells.invalidate(&name);
            }
            for key in &self.put_keys {
                core.drop_key(key);
            }
            if let Some(shared) = self.call.reachable_shared() {
                shared.invalidate_later(self.shared_targets(shared));
            }
        }
        self.unfence();
    }
}

/// A write before its body.
///
/// # Cancel safety
///
/// Dropping it before the body changes nothing but what `before` has done. Dropped while the body runs, what is known to
/// become invalid does, since the body may have committed.
pub struct Write<'c, S: Returned> {
    guard: Guard<'c>,
    shape: S,
    /// What is written through, until `begin` claims it.
    puts: Vec<PutTarget<S::Value>>,
    claims: Vec<Claim<S::Value>>,
    /// The same on a shared backend.
    shared: Option<SharedClaims<S::Value>>,
    /// Began before the body, where something is written through.
    watch: Option<Arc<Watch>>,
}

impl<'c, S: Returned> Write<'c, S> {
    /// Takes what does not mention the result.
    pub fn with(&mut self, say: impl FnOnce(&mut WriteSink<'_, S::Value>)) {
        say(&mut WriteSink::new(&mut self.guard.targets, None));
    }

    /// `before`, `fence`, and the claims of what is written through, in this order: the first two must not void the third.
    pub async fn begin(&mut self) {
        // An invalidation that did not arrive is kept, and delivered once more with the one after the body.
        let _ = self.try_begin().await;
    }

    async fn try_begin(&mut self) -> Result<(), Error> {
        let call = self.guard.call;
        let Some(core) = call.reachable() else { return Ok(()) };
        let options = &call.site.options;
        let names = self.guard.targets.names(call);
        let mut told = Ok(());
        if options.before {
            self.guard.targets.invalidate(core, call, &[]);
            names.iter().for_each(|name| core.cells.invalidate(name));
        }
        match (call.reachable_shared(), options.fence) {
            (Some(shared), Some(span)) => {
                let (what, names) = (self.guard.targets.on(shared, call), self.guard.targets.fenced(shared, call));
                match Fence::raise(shared, names, what, span).await {
                    Ok(fence) => self.guard.fence = Some(fence),
                    Err(error) => {
                        call.failed(&error);
                        told = Err(error);
                    }
                }
            }
            (Some(shared), None) if options.before => {
                told = shared.invalidate(self.guard.targets.on(shared, call)).await.map(drop);
            }
            _ => {}
        }
        if options.fence.is_some() {
            self.guard.fences = names.into_iter().map(|name| (name.clone(), core.cells.fence(&name))).collect();
        }
        if call.site.put.is_some() {
            let watch = Arc::new(core.cells.watch());
            let (shared, local): (Vec<_>, Vec<_>) = self.puts.drain(..).partition(|put| put.call().shared().is_some());
            for put in local {
                self.guard.put_keys.push(put.key().as_bytes().into());
                self.claims.extend(put.claim(&watch));
            }
            self.watch = Some(watch);
            self.guard.put_keys.extend(shared.iter().map(|put| Box::from(put.key().as_bytes())));
            if let Some(backend) = call.shared() {
                self.shared = Some(SharedClaims::begin(backend, call, shared).await);
            }
        }
        told
    }

    /// [`begin`](Self::begin), which fails where the cache cannot be told (`on_error = fail`).
    ///
    /// # Errors
    ///
    /// The cache cannot be used; the body has not run.
    pub async fn begin_or_fail(&mut self) -> Result<(), Error> {
        match self.guard.call.failure() {
            Some(error) => {
                self.guard.call.degraded();
                Err(error)
            }
            None => self.try_begin().await,
        }
    }

    /// Runs the body.
    pub async fn run(mut self, body: impl Future<Output = S::Ret>) -> Written<'c, S> {
        if self.guard.call.core().is_none() {
            self.guard.call.degraded();
        }
        let stopwatch = Stopwatch::start(self.guard.call, None);
        self.guard.armed = true;
        let ret = match &self.guard.fence {
            Some(fence) => fence.renewing(body).await,
            None => body.await,
        };
        stopwatch.stop();
        let succeeded = self.shape.succeeded(&ret);
        self.guard.armed = succeeded;
        if !succeeded && let Some(function) = self.guard.call.function() {
            function.counters.errors.increment();
        }
        Written { write: self, ret, succeeded }
    }
}

impl<S: Kept> Write<'_, S> {
    /// The entry that the result becomes.
    pub fn put(&mut self, target: PutTarget<S::Value>) {
        self.puts.push(target);
    }
}

/// A write whose body has run.
pub struct Written<'c, S: Returned> {
    write: Write<'c, S>,
    ret: S::Ret,
    succeeded: bool,
}

impl<'c, S: Returned> Written<'c, S> {
    /// Takes what mentions the result. Not called where the body failed or the value is absent.
    pub fn on_value(&mut self, say: impl FnOnce(&S::Value, &mut WriteSink<'_, S::Value>)) {
        if let Some(value) = self.write.shape.value(&self.ret) {
            let Write { guard, claims, shared, watch, .. } = &mut self.write;
            let shared = shared.as_mut();
            let claims = watch.as_ref().map(|watch| Claims { claims, watch, shared });
            say(value, &mut WriteSink::new(&mut guard.targets, claims));
        }
    }

    /// Makes it all invalid, if the body succeeded.
    ///
    /// A read that begins after this returns never yields what was there before the body: in this process always, elsewhere
    /// unless the shared backend could not be told. What it could not be told is kept, and this process does not believe the
    /// backend before it was.
    pub async fn invalidate(self) -> Invalidated<'c, S> {
        let _timed = self.timed();
        self.settle(|_, _, _, _| {}).deliver().await.0
    }

    /// [`invalidate`](Self::invalidate), which fails where the cache could not be told (`on_error = fail`).
    ///
    /// # Errors
    ///
    /// The cache cannot be used. The body has run, and its result is dropped for the error.
    pub async fn invalidate_or_fail(self) -> Result<Invalidated<'c, S>, Error> {
        self.told()?;
        let _timed = self.timed();
        let (done, told) = self.settle(|_, _, _, _| {}).deliver().await;
        told.map(|()| done)
    }

    /// What follows is the invalidation.
    fn timed(&self) -> Option<Timed> {
        self.succeeded.then(|| Timed::start(self.write.guard.call, Operation::Invalidate, None))
    }

    fn told(&self) -> Result<(), Error> {
        match self.write.guard.call.failure() {
            Some(error) if self.succeeded => Err(error),
            _ => Ok(()),
        }
    }

    /// The part that happens in this process. `through` stores what is written through, and takes the names that it has
    /// dealt with from the list.
    fn settle(
        mut self,
        through: impl FnOnce(&S, &S::Ret, &mut Vec<Claim<S::Value>>, &mut Vec<Box<[u8]>>),
    ) -> Settled<'c, S> {
        let call = self.write.guard.call;
        let mut claims = std::mem::take(&mut self.write.claims);
        let (mut what, mut lowered) = (None, None);
        if let (true, Some(core)) = (self.succeeded, call.reachable()) {
            if let Some(function) = call.function() {
                function.counters.invalidations.increment();
            }
            // A fence of our own must not refuse our own result.
            self.write.guard.unfence();
            let mut names = self.write.guard.targets.names(call);
            // Keys first: what is written through must not be dropped again.
            let claimed: Vec<Box<[u8]>> = claims.iter().filter_map(|claim| claim.key().map(Into::into)).collect();
            self.write.guard.targets.invalidate(core, call, &claimed);
            through(&self.write.shape, &self.ret, &mut claims, &mut names);
            for claim in &claims {
                // Nothing was stored there: the old value is not to stay.
                claim.key().map(|key| core.drop_key(key));
            }
            for name in &names {
                core.cells.invalidate(name);
            }
            what = call.reachable_shared().map(|shared| self.write.guard.targets.on(shared, call));
            if let Some(what) = &mut what {
                lowered = self.write.guard.fence.take().map(|fence| fence.lower(what));
            }
        }
        self.write.guard.armed = false;
        let done = Invalidated { call, shape: self.write.shape, ret: self.ret, succeeded: self.succeeded };
        Settled { done, claims: self.write.shared, what, lowered }
    }
}

/// A write whose invalidation is done in this process.
struct Settled<'c, S: Returned> {
    done: Invalidated<'c, S>,
    claims: Option<SharedClaims<S::Value>>,
    /// What is left to do on a shared backend.
    what: Option<Invalidation>,
    /// The fence that goes with it.
    lowered: Option<Lowered>,
}

impl<'c, S: Returned> Settled<'c, S> {
    /// Tells the shared backend, if there is one.
    async fn deliver(self) -> (Invalidated<'c, S>, Result<(), Error>) {
        let Self { done, what, lowered, .. } = self;
        let call = done.call;
        let told = match what.zip(call.reachable_shared()) {
            Some((what, shared)) => shared.invalidate(what).await.map(|delivered| delivered.marked),
            None => Ok(true),
        };
        told.as_ref().err().into_iter().for_each(|error| call.failed(error));
        if let Some(lowered) = lowered {
            lowered.settled(call, told.as_ref().is_ok_and(|marked| *marked)).await;
        }
        (done, told.map(drop))
    }
}

impl<'c, S: Kept> Settled<'c, S>
where
    S::Value: Send + Sync + 'static,
{
    /// [`deliver`](Self::deliver), and the result becomes the entries that were put.
    async fn deliver_and_put(mut self) -> (Invalidated<'c, S>, Result<(), Error>) {
        let (Some(claims), Some(what)) = (self.claims.take(), self.what.take()) else { return self.deliver().await };
        let value = self.done.shape.keep(&self.done.ret);
        let call = self.done.call;
        let told = claims.redeem(value.as_ref(), what).await;
        told.as_ref().err().into_iter().for_each(|error| call.failed(error));
        if let Some(lowered) = self.lowered {
            lowered.settled(call, told.as_ref().is_ok_and(|marked| *marked)).await;
        }
        (self.done, told.map(drop))
    }
}

impl<'c, S: Kept> Written<'c, S>
where
    S::Value: Send + Sync + 'static,
{
    /// [`invalidate`](Self::invalidate), and the result becomes the entries that were put. An absent value drops them.
    pub async fn invalidate_and_put(self) -> Invalidated<'c, S> {
        let _timed = self.timed();
        self.settle_and_put().deliver_and_put().await.0
    }

    /// Both: [`invalidate_and_put`](Self::invalidate_and_put) and [`invalidate_or_fail`](Self::invalidate_or_fail).
    ///
    /// # Errors
    ///
    /// As [`invalidate_or_fail`](Self::invalidate_or_fail).
    pub async fn invalidate_and_put_or_fail(self) -> Result<Invalidated<'c, S>, Error> {
        self.told()?;
        let _timed = self.timed();
        let (done, told) = self.settle_and_put().deliver_and_put().await;
        told.map(|()| done)
    }

    fn settle_and_put(self) -> Settled<'c, S> {
        self.settle(|shape, ret, claims, names| {
            if let Some(value) = shape.keep(ret) {
                for claim in claims.drain(..) {
                    claim.redeem(&value, names);
                }
            }
        })
    }
}

/// A write whose invalidation is done.
pub struct Invalidated<'c, S: Returned> {
    call: &'c Call<'c>,
    shape: S,
    ret: S::Ret,
    succeeded: bool,
}

impl<'c, S: Returned> Invalidated<'c, S> {
    /// The value, unless the body failed or it is absent.
    pub fn value(&self) -> Option<&S::Value> {
        self.shape.value(&self.ret)
    }

    /// Whether the body succeeded: nothing is recached otherwise.
    pub fn succeeded(&self) -> bool {
        self.succeeded
    }

    /// Runs the recaches, at most `limit` at once. What one of them does, panics included, is its own.
    ///
    /// The future holds the call and not the result, so that it is `Send` where the recaches are.
    pub fn recache<C: RecacheChain>(&self, limit: usize, chain: C) -> impl Future<Output = ()> + use<'c, S, C> {
        let call = (self.succeeded && self.call.core().is_some()).then_some(self.call);
        async move {
            let Some(call) = call else { return };
            let timed = Timed::start(call, Operation::Recache, None);
            let report = timed.run(recache::run(limit, chain)).await;
            count(call, &report);
        }
    }

    /// Starts background work that reports to this call. It brings its own context; see `cache::context`.
    pub(crate) fn start(&self, work: impl Future<Output = recache::Report> + Send + 'static) {
        let Some(core) = self.call.core() else { return };
        if !self.succeeded {
            return;
        }
        let owned = self.call.to_owned_call();
        let timed = Timed::follow(self.call, Operation::Recache, None);
        let started = core.background.spawn(async move {
            let report = timed.run(work).await;
            count(&owned, &report);
        });
        if !started {
            core.function(self.call.site).counters.recache_failures.increment();
        }
    }

    /// The function's return value, untouched.
    pub fn finish(self) -> S::Ret {
        self.ret
    }
}

fn count(call: &Call<'_>, report: &recache::Report) {
    if let Some(function) = call.function() {
        function.counters.recached.add(report.done);
        function.counters.recache_failures.add(report.failed);
    }
}

opaque_debug!(Write<'_, S: Returned>, Written<'_, S: Returned>, Invalidated<'_, S: Returned>);

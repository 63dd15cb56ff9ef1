//! Writing: run the body; after success invalidate, store what is written through, then recache.
//!
//! Everything that names what becomes invalid is rendered before the body, which may consume the arguments; what
//! mentions `result` is added after it. A body that fails invalidates nothing. One that panics or is dropped may have
//! committed, so it does invalidate what is known.

use std::sync::Arc;

use super::call::Call;
use super::core::Core;
use super::load::Stopwatch;
use super::name::{self, Covers};
use super::put::{Claim, PutTarget, Redeem};
use super::recache::{self, RecacheChain};
use super::sink::{IntoTags, canonical, render};
use crate::cell::Cell;
use crate::error::Error;
use crate::key::{Key, KeyWriter, Pattern};
use crate::shape::{Kept, Returned};
use crate::tags::Watch;
use crate::tenant::Tenant;

/// What a write makes invalid.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// Logical tags: each a cell, and the entry of that key.
    tags: Vec<Box<[u8]>>,
    keys: Vec<Box<[u8]>>,
    namespaces: Vec<Box<[u8]>>,
    patterns: Vec<Pattern>,
}

/// Takes what a write makes invalid.
pub struct WriteSink<'w, V> {
    targets: &'w mut Targets,
    puts: Option<&'w mut Vec<Through<V>>>,
    watch: Option<&'w Arc<Watch>>,
}

impl<V> WriteSink<'_, V> {
    /// A tag by template.
    pub fn tag(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.targets.tags.push(render(write).as_bytes().into());
    }

    /// Tags by expression.
    pub fn add<M>(&mut self, tags: impl IntoTags<M>) {
        tags.for_each_tag(&mut |tag| self.targets.tags.push(canonical(tag).into()));
    }

    /// A key by template.
    pub fn key(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.targets.keys.push(render(write).as_bytes().into());
    }

    /// A key by expression.
    pub fn add_key(&mut self, key: impl Into<Key>) {
        self.targets.keys.push(key.into().as_str().as_bytes().into());
    }

    /// A namespace by template.
    pub fn namespace(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        self.targets.namespaces.push(render(write).as_bytes().into());
    }

    /// A namespace by expression.
    pub fn add_namespace(&mut self, namespace: impl AsRef<str>) {
        self.targets.namespaces.push(canonical(namespace.as_ref()).into());
    }

    /// A pattern by template, its values escaped.
    pub fn pattern(&mut self, _text: &'static str, write: impl FnOnce(&mut KeyWriter)) {
        let mut writer = KeyWriter::new(0);
        write(&mut writer);
        self.targets.patterns.push(Pattern::wild(writer.as_bytes()));
    }

    /// A pattern by expression.
    pub fn add_pattern(&mut self, pattern: impl AsRef<str>) {
        self.targets.patterns.push(Pattern::glob(pattern.as_ref()));
    }
}

impl<V: Send + Sync + 'static> WriteSink<'_, V> {
    /// An entry named after the write: it is stored if nobody touches it from here on.
    pub fn put(&mut self, target: PutTarget<V>) {
        if let Some(puts) = &mut self.puts
            && let Some(claim) = self.watch.and_then(|watch| target.claim(watch))
        {
            puts.push(Through(Box::new(claim)));
        }
    }
}

impl Targets {
    /// The cells to kill: those of the tags and of the namespaces.
    fn names(&self, call: &Call<'_>) -> Vec<Box<[u8]>> {
        let tags = self.tags.iter().map(|tag| name::cell(Covers::Tag, call.tenant(), tag));
        let namespaces = self.namespaces.iter().map(|name| name::cell(Covers::Namespace, call.tenant(), name));
        tags.chain(namespaces).map(|name| name.as_slice().into()).collect()
    }

    /// Makes it all invalid: the cells in `names`, and all keys but those in `spare`.
    fn invalidate(&self, core: &Core, call: &Call<'_>, names: &[Box<[u8]>], spare: &[Box<[u8]>]) {
        for name in names {
            core.cells.invalidate(name);
        }
        for key in self.keys.iter().chain(&self.tags) {
            let physical = physical_key(core, call, key);
            if !spare.contains(&physical) {
                core.drop_key(&physical);
            }
        }
        for pattern in &self.patterns {
            drop_matching(core, call.tenant(), pattern);
        }
    }
}

pub(crate) fn physical_key(core: &Core, call: &Call<'_>, logical: &[u8]) -> Box<[u8]> {
    let mut writer = core.writer(call.tenant(), 0);
    writer.lit(&String::from_utf8_lossy(logical));
    writer.as_bytes().into()
}

/// Drops all entries of a tenant (or of none) whose logical key matches; returns how many. Loads in flight are closed
/// first, so that none that began before can fill after.
pub(crate) fn drop_matching(core: &Core, tenant: Option<&Tenant>, pattern: &Pattern) -> u64 {
    let matches =
        |key: &[u8]| name::logical_of(&core.settings.prefix, tenant, key).is_some_and(|key| pattern.matches(key));
    core.flights.close_matching(matches);
    let now = core.now();
    let mut dropped = 0;
    core.each_store(|map| {
        map.sweep(&mut |key, record| {
            let gone = matches(key);
            dropped += u64::from(gone && record.is_valid(now));
            gone
        });
    });
    dropped
}

/// A write-through of whatever type.
struct Through<V>(Box<dyn Redeem<V>>);

impl<V> std::fmt::Debug for Through<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Through(..)")
    }
}

impl<'c> Call<'c> {
    /// Begins a write.
    pub fn write<S: Returned>(&'c self, shape: S) -> Write<'c, S> {
        Write {
            guard: Guard { call: self, targets: Targets::default(), fences: Vec::new(), armed: true },
            shape,
            puts: Vec::new(),
            watch: match self.core() {
                Some(core) if self.site.put.is_some() => Some(Arc::new(core.cells.watch())),
                _ => None,
            },
        }
    }
}

/// What has to be undone or done where a write does not come to its end.
#[derive(Debug)]
struct Guard<'c> {
    call: &'c Call<'c>,
    targets: Targets,
    fences: Vec<(Box<[u8]>, Arc<Cell>)>,
    /// The body began and its outcome is unknown.
    armed: bool,
}

impl Guard<'_> {
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
            let tags = self.targets.names(self.call);
            self.targets.invalidate(core, self.call, &tags, &[]);
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
    puts: Vec<Through<S::Value>>,
    /// Began before the body, where something is written through.
    watch: Option<Arc<Watch>>,
}

impl<'c, S: Returned> Write<'c, S> {
    /// Takes what does not mention the result.
    pub fn with(&mut self, say: impl FnOnce(&mut WriteSink<'_, S::Value>)) {
        say(&mut WriteSink { targets: &mut self.guard.targets, puts: None, watch: None });
    }

    /// [`with`](Self::with), by its most common use.
    pub fn tags(&mut self, say: impl FnOnce(&mut WriteSink<'_, S::Value>)) {
        self.with(say);
    }

    /// `before` and `fence`.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn begin(&mut self) {
        let Some(core) = self.guard.call.reachable() else { return };
        let options = &self.guard.call.site.options;
        let tags = self.guard.targets.names(self.guard.call);
        if options.before {
            self.guard.targets.invalidate(core, self.guard.call, &tags, &[]);
        }
        if options.fence.is_some() {
            self.guard.fences = tags.into_iter().map(|name| (name.clone(), core.cells.fence(&name))).collect();
        }
    }

    /// [`begin`](Self::begin), which fails where the cache cannot be told (`on_error = fail`).
    ///
    /// # Errors
    ///
    /// The cache cannot be used; the body has not run.
    pub async fn begin_or_fail(&mut self) -> Result<(), Error> {
        if let Some(refusal) = self.guard.call.refusal() {
            self.guard.armed = false;
            return Err(refusal.error());
        }
        self.begin().await;
        Ok(())
    }

    /// Runs the body.
    pub async fn run(mut self, body: impl Future<Output = S::Ret>) -> Written<'c, S> {
        if self.guard.call.core().is_none() {
            self.guard.call.degraded();
        }
        let stopwatch = Stopwatch::start(self.guard.call);
        let ret = body.await;
        stopwatch.stop();
        let succeeded = self.shape.succeeded(&ret);
        // From here on nothing can be left undone: what follows does not wait on a memory store.
        self.guard.armed = succeeded;
        if !succeeded && let Some(function) = self.guard.call.function() {
            function.counters.errors.increment();
        }
        Written { write: self, ret, succeeded }
    }
}

impl<S: Kept> Write<'_, S>
where
    S::Value: Send + Sync + 'static,
{
    /// The entry that the result becomes.
    pub fn put(&mut self, target: PutTarget<S::Value>) {
        if let Some(claim) = self.watch.as_ref().and_then(|watch| target.claim(watch)) {
            self.puts.push(Through(Box::new(claim) as Box<Claim<_>>));
        }
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
            let puts = Some(&mut self.write.puts);
            let watch = self.write.watch.as_ref();
            say(value, &mut WriteSink { targets: &mut self.write.guard.targets, puts, watch });
        }
    }

    /// Makes it all invalid, if the body succeeded.
    ///
    /// A read that begins after this returns never yields what was there before the body.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn invalidate(self) -> Invalidated<'c, S> {
        self.settle(|_, _, _, _| {})
    }

    /// [`invalidate`](Self::invalidate), which fails where the cache could not be told (`on_error = fail`).
    ///
    /// # Errors
    ///
    /// The cache cannot be used. The body has run, and its result is dropped for the error.
    pub async fn invalidate_or_fail(self) -> Result<Invalidated<'c, S>, Error> {
        self.told()?;
        Ok(self.invalidate().await)
    }

    fn told(&self) -> Result<(), Error> {
        match self.write.guard.call.refusal() {
            Some(refusal) if self.succeeded => Err(refusal.error()),
            _ => Ok(()),
        }
    }

    fn settle(
        mut self,
        through: impl FnOnce(&S, &S::Ret, Vec<Through<S::Value>>, &mut Vec<Box<[u8]>>),
    ) -> Invalidated<'c, S> {
        let call = self.write.guard.call;
        let puts = std::mem::take(&mut self.write.puts);
        if let (true, Some(core)) = (self.succeeded, call.reachable()) {
            if let Some(function) = call.function() {
                function.counters.invalidations.increment();
            }
            // A fence of our own must not refuse our own result.
            self.write.guard.unfence();
            let mut tags = self.write.guard.targets.names(call);
            tags.sort_unstable();
            tags.dedup();
            // Keys first: what is written through must not be dropped again.
            let spare: Vec<Box<[u8]>> = puts.iter().filter_map(|put| put.0.claimed().map(Into::into)).collect();
            self.write.guard.targets.invalidate(core, call, &[], &spare);
            through(&self.write.shape, &self.ret, puts, &mut tags);
            for name in &tags {
                core.cells.invalidate(name);
            }
        }
        self.write.guard.armed = false;
        Invalidated { call, shape: self.write.shape, ret: self.ret, succeeded: self.succeeded }
    }
}

impl<'c, S: Kept> Written<'c, S>
where
    S::Value: Send + Sync + 'static,
{
    /// [`invalidate`](Self::invalidate), and the result becomes the entries that were put.
    #[allow(clippy::unused_async, reason = "a shared backend is told here")]
    pub async fn invalidate_and_put(self) -> Invalidated<'c, S> {
        self.settle(|shape, ret, puts, tags| {
            if let Some(value) = shape.keep(ret) {
                for put in puts {
                    put.0.redeem(&value, tags);
                }
            }
        })
    }
}

impl<'c, S: Kept> Written<'c, S>
where
    S::Value: Send + Sync + 'static,
{
    /// Both: [`invalidate_and_put`](Self::invalidate_and_put) and [`invalidate_or_fail`](Self::invalidate_or_fail).
    ///
    /// # Errors
    ///
    /// As [`invalidate_or_fail`](Self::invalidate_or_fail).
    pub async fn invalidate_and_put_or_fail(self) -> Result<Invalidated<'c, S>, Error> {
        self.told()?;
        Ok(self.invalidate_and_put().await)
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
            let report = recache::run(limit, chain).await;
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
        let started = core.spawn(async move {
            let report = work.await;
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

opaque_debug!(Write<'_, S: Returned>, Written<'_, S: Returned>, Invalidated<'_, S: Returned>, WriteSink<'_, V>);

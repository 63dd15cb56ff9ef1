//! Reading: look up, then lead or join. [`Call::read`] gives the value or a [`Load`]; the rest is `load`'s.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::call::Call;
use super::core::{Core, Function};
use super::load::Load;
use super::sink::Early;
use crate::clock::{Nanos, after, alive_now};
use crate::error::Error;
use crate::flight::{Joined, Landing, Lead, Role};
use crate::key::KeyWriter;
use crate::memory::{KeyHash, Store};
use crate::policy::{EarlyRefresh, Jitter};
use crate::record::Record;
use crate::report;
use crate::shape::Cached;
use crate::site::SiteKind;
use crate::timer::Sleep;

/// Whether the cache is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Look up, then join or lead.
    Read,
    /// Load whatever is there, and never join an older flight.
    Refresh,
}

/// What a read comes to.
#[allow(clippy::large_enum_variant, reason = "a load is made once in a miss, and moved into place")]
pub enum Step<'a, S: Cached> {
    /// The value.
    Done(S::Ret),
    /// The body has to run.
    Load(Load<'a, S>),
}

/// What a read comes to before it may have to wait.
pub(super) enum Next<R> {
    Done(R),
    /// The body has to run.
    Lead(Leading),
    Wait(Joined),
}

/// Who runs a body.
pub(super) struct Leading {
    /// `None`: nothing will be stored or shared.
    pub(super) lead: Option<Lead>,
    /// When it began, where it replaces what is there.
    pub(super) refreshes: Option<Nanos>,
}

impl Leading {
    pub(super) const ALONE: Self = Self { lead: None, refreshes: None };
}

/// How waiting for a flight ended.
pub(super) enum Waited {
    Landed(Landing),
    /// The leader stands still: whoever asks next takes over.
    Still,
    /// The caller has waited for as long as it may.
    OutOfTime,
}

/// How often a waiter looks whether its leader still lives.
const LOOK: Duration = Duration::from_millis(500);

/// How long one call waits, whatever it waits for: `wait`, and once more if the flight it waited for was superseded.
#[derive(Debug)]
pub(crate) struct Patience {
    wait: Duration,
    deadline: Option<Nanos>,
    graced: bool,
}

impl Patience {
    pub(crate) fn new(wait: Duration) -> Self {
        Self { wait, deadline: None, graced: false }
    }

    /// How long one wait lasts at most.
    pub(super) fn limit(&self) -> Duration {
        self.wait
    }

    pub(super) fn deadline(&mut self) -> Nanos {
        *self.deadline.get_or_insert_with(|| after(alive_now(), self.wait))
    }

    pub(super) fn grace(&mut self) {
        if !self.graced {
            self.graced = true;
            self.deadline = None;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| alive_now() >= deadline)
    }

    /// What there is to say without waiting, else when to look again.
    fn look(&mut self, joined: &mut Joined, waker: &Waker) -> Result<Waited, Nanos> {
        if let Some(landing) = joined.poll(waker) {
            return Ok(Waited::Landed(landing));
        }
        let flight = joined.flight();
        if flight.stands_still(self.wait) {
            return Ok(Waited::Still);
        }
        if self.is_over() {
            return Ok(Waited::OutOfTime);
        }
        Err(after(alive_now(), LOOK).min(self.deadline()).min(flight.overdue(self.wait)))
    }

    pub(super) async fn pause(&mut self, mut joined: Joined) -> Waited {
        let mut sleep = None;
        std::future::poll_fn(|cx| {
            loop {
                let at = match self.look(&mut joined, cx.waker()) {
                    Ok(waited) => return Poll::Ready(waited),
                    Err(at) => at,
                };
                let sleep = sleep.get_or_insert_with(|| Box::pin(Sleep::until(at)));
                match sleep.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => *sleep = Box::pin(Sleep::until(at)),
                }
            }
        })
        .await
    }

    fn wait_blocking(&mut self, mut joined: Joined) -> Waited {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            match self.look(&mut joined, &waker) {
                Ok(waited) => return waited,
                Err(at) => std::thread::park_timeout(Duration::from_nanos(at.saturating_sub(alive_now()))),
            }
        }
    }
}

impl Call<'_> {
    /// The value, or the right to load it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits disturbs nobody.
    #[inline]
    pub async fn read<S: Cached>(&self, mode: Mode, key: &KeyWriter, early: Early, shape: S) -> Step<'_, S> {
        if mode == Mode::Read
            && let Some(ret) = self.hit_under(key, shape)
        {
            return Step::Done(ret);
        }
        self.miss(mode, key, early, shape).await
    }

    /// The valid value under the key that `render` writes, or that key.
    ///
    /// # Errors
    ///
    /// There is none: the key, for [`miss`](Self::miss).
    #[inline]
    #[allow(clippy::result_large_err, reason = "the key is not an error, and it is moved only on a miss")]
    pub fn hit<S: Cached>(
        &self,
        mode: Mode,
        shape: S,
        render: impl FnOnce(&mut KeyWriter),
    ) -> Result<S::Ret, KeyWriter> {
        let mut key = KeyWriter::new(self.site.seed());
        self.write_key(&mut key, render);
        if mode == Mode::Read
            && let Some(ret) = self.hit_under(&key, shape)
        {
            return Ok(ret);
        }
        Err(key)
    }

    /// [`hit`](Self::hit) under a logical key (`key_with`).
    ///
    /// # Errors
    ///
    /// As [`hit`](Self::hit).
    #[allow(clippy::result_large_err, reason = "the key is not an error, and it is moved only on a miss")]
    pub fn hit_from<S: Cached>(
        &self,
        mode: Mode,
        shape: S,
        key: impl Into<crate::key::Key>,
    ) -> Result<S::Ret, KeyWriter> {
        let key = self.key_from(key);
        if mode == Mode::Read
            && let Some(ret) = self.hit_under(&key, shape)
        {
            return Ok(ret);
        }
        Err(key)
    }

    /// Like [`read`](Self::read), but fails where the cache cannot be used (`on_error = fail`).
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn read_or_fail<S: Cached>(
        &self,
        mode: Mode,
        key: &KeyWriter,
        early: Early,
        shape: S,
    ) -> Result<Step<'_, S>, Error> {
        if let Some(error) = self.failure() {
            self.degraded();
            return Err(error);
        }
        match self.shared() {
            Some(shared) => {
                let mut patience = Patience::new(self.site.options.wait);
                Box::pin(self.miss_shared(shared, mode, key, early, shape, &mut patience)).await
            }
            _ => Ok(self.read(mode, key, early, shape).await),
        }
    }

    /// [`miss`](Self::miss) for a synchronous function: waiting blocks the thread.
    #[cold]
    pub fn miss_blocking<S: Cached>(&self, mode: Mode, key: &KeyWriter, early: Early, shape: S) -> Step<'_, S> {
        let mut patience = Patience::new(self.site.options.wait);
        let mut next = self.next(mode, key, shape, &patience);
        loop {
            match next {
                Next::Done(ret) => return Step::Done(ret),
                Next::Lead(lead) => return self.load(shape, key, early, lead),
                Next::Wait(joined) => {
                    let waited = patience.wait_blocking(joined);
                    next = self.waited(key, shape, waited, &mut patience);
                }
            }
        }
    }

    /// The valid value under `key`. No lock of ours, no allocation, no shared write but what the map does.
    #[inline]
    pub(crate) fn hit_under<S: Cached>(&self, key: &KeyWriter, shape: S) -> Option<S::Ret> {
        let core = self.core()?;
        let shared = core.shared.as_ref().filter(|_| self.site.kind != SiteKind::Memoize);
        // Where memory has no copies, nobody asks the time.
        if shared.is_some_and(|shared| !shared.copies(self.site)) {
            return None;
        }
        let now = core.now();
        if shared.is_some_and(|shared| !shared.serves(self.site, core.settings.clock.alive(now))) {
            return None;
        }
        if self.site.options.ages.early != EarlyRefresh::Never {
            // Whether it is to be refreshed is asked by `ask`.
            return None;
        }
        let function = core.function(self.site);
        let tally = function.tally();
        let ret = look(core, function, key, shape, now, |record, now| {
            if tally.is_some() {
                record.touch(now);
            }
            if self.site.options.sliding {
                self.slide(core, record, now);
            }
        })?;
        if let Some(counters) = tally {
            counters.hit(|| core.settings.clock.alive(now));
        }
        self.say_hit(key.as_bytes());
        Some(ret)
    }

    /// A hit extends the life by the ttl. Written only when that is worth it, so that a hot key is not written on every hit.
    pub(super) fn slide(&self, core: &Core, record: &Record, now: Nanos) {
        let life = record.life.unwrap_or(self.site.options.life);
        if let Some(expires) = core.expiry(now, life, Jitter::None) {
            let gained = expires.saturating_sub(record.expires());
            if gained > expires.saturating_sub(now) / 64 {
                record.set_expires(expires);
            }
        }
    }

    /// The right to load a key that missed, or what somebody else loads.
    ///
    /// # Cancel safety
    ///
    /// As [`read`](Self::read).
    #[cold]
    pub async fn miss<S: Cached>(&self, mode: Mode, key: &KeyWriter, early: Early, shape: S) -> Step<'_, S> {
        self.miss_within(mode, key, early, shape, &mut Patience::new(self.site.options.wait)).await
    }

    #[cold]
    pub(crate) async fn miss_within<S: Cached>(
        &self,
        mode: Mode,
        key: &KeyWriter,
        early: Early,
        shape: S,
        patience: &mut Patience,
    ) -> Step<'_, S> {
        if let Some(shared) = self.shared() {
            // A failure that the call is to return was asked for by `read_or_fail`.
            let step = Box::pin(self.miss_shared(shared, mode, key, early, shape, patience)).await;
            return step.unwrap_or_else(|_| self.load(shape, key, Early::default(), Leading::ALONE));
        }
        let mut next = self.next(mode, key, shape, patience);
        loop {
            match next {
                Next::Done(ret) => return Step::Done(ret),
                Next::Lead(lead) => return self.load(shape, key, early, lead),
                Next::Wait(joined) => {
                    let waited = patience.pause(joined).await;
                    next = self.waited(key, shape, waited, patience);
                }
            }
        }
    }

    /// What to do about a key that missed.
    pub(super) fn next<S: Cached>(&self, mode: Mode, key: &KeyWriter, shape: S, patience: &Patience) -> Next<S::Ret> {
        let Some(core) = self.cacheable(shape) else { return Next::Lead(Leading::ALONE) };
        if mode == Mode::Refresh {
            let began = core.now();
            // For write-throughs that name their key only after the body.
            core.cells.note(key.as_bytes());
            let lead = core.flights.displace(key.as_bytes(), key.template());
            return Next::Lead(Leading { lead: Some(lead), refreshes: Some(began) });
        }
        core.function(self.site).tally().inspect(|counters| counters.misses.increment());
        self.begin(core, key, shape, patience)
    }

    /// The cache, unless the call goes past it or nobody can tell its failures from its values.
    pub(super) fn cacheable<S: Cached>(&self, shape: S) -> Option<&Arc<Core>> {
        let Some(core) = self.core() else {
            self.degraded();
            return None;
        };
        if shape.hides_result() {
            self.degraded();
            let function = self.site.name;
            report::warn(
                "a type parameter stands for a `Result`",
                &format_args!(
                    "`{function}` is not cached there: it returns a type parameter; bound it by `cache_runtime::Plain`"
                ),
            );
            return None;
        }
        Some(core)
    }

    fn begin<S: Cached>(&self, core: &Arc<Core>, key: &KeyWriter, shape: S, patience: &Patience) -> Next<S::Ret> {
        let function = core.function(self.site);
        // Found under the key's lock, used and dropped outside of it: both run the user's code.
        let mut found = None;
        let again = || {
            found = core.store_of(function).get(key.as_bytes());
            found.as_ref().filter(|record| record.is_valid(core.now()) && record.fits(key.template())).map(Arc::clone)
        };
        let lead = |lead| Next::Lead(Leading { lead: Some(lead), refreshes: None });
        match core.flights.begin(key.as_bytes(), key.template(), patience.wait, again) {
            Ok(record) => match shape.lend(&record.value) {
                Some(ret) => {
                    function.tally().inspect(|counters| counters.coalesced.increment());
                    Next::Done(ret)
                }
                // Another return type under the same template: its values are not this function's.
                None => lead(core.flights.displace(key.as_bytes(), key.template())),
            },
            Err(Role::Lead(leading)) => lead(leading),
            Err(Role::TakeOver(leading)) => {
                function.counters.takeovers.increment();
                lead(leading)
            }
            Err(Role::Join(_)) if patience.is_over() => Next::Lead(Leading::ALONE),
            Err(Role::Join(joined)) => Next::Wait(joined),
            Err(Role::Alone) => Next::Lead(Leading::ALONE),
        }
    }

    pub(super) fn load<S: Cached>(&self, shape: S, key: &KeyWriter, early: Early, leading: Leading) -> Step<'_, S> {
        if leading.lead.is_some() {
            self.site.value.get_or_init(std::any::type_name::<S::Value>);
        }
        let mut load = Load::new(self, shape, leading.lead, key.template(), early);
        load.refreshes = leading.refreshes;
        Step::Load(load)
    }

    pub(super) fn waited<S: Cached>(
        &self,
        key: &KeyWriter,
        shape: S,
        waited: Waited,
        patience: &mut Patience,
    ) -> Next<S::Ret> {
        let Some(core) = self.core() else { return Next::Lead(Leading::ALONE) };
        match waited {
            Waited::Landed(Landing::Shared { stored, .. }) => match shape.revive(stored) {
                Some(ret) => {
                    core.function(self.site).tally().inspect(|counters| counters.coalesced.increment());
                    return Next::Done(ret);
                }
                None => return Next::Lead(Leading::ALONE),
            },
            Waited::Landed(Landing::Superseded) | Waited::Still => patience.grace(),
            Waited::Landed(Landing::Nothing) | Waited::OutOfTime => {}
        }
        self.begin(core, key, shape, patience)
    }
}

/// Whether a record may be served.
enum Sighted {
    Live,
    /// Expired or invalidated.
    Dead,
    /// Another template's.
    Other,
}

/// What a look at a record under the map's lock comes to, to be used after that is given back: a value is not cloned under it,
/// which is the user's code. Two words: it fits into registers.
enum Seen<V> {
    /// The value.
    Value(Arc<V>),
    /// An absent value, an error, or a value of another type.
    Else(Arc<Record>),
    /// Expired or invalidated.
    Dead(Arc<Record>),
    /// Another template's.
    Other,
}

/// What a look compares a record with.
struct Sight<'a, S> {
    template: u64,
    shape: S,
    epoch: u64,
    now: Nanos,
    key: &'a [u8],
    hash: KeyHash,
}

impl<S: Cached> Sight<'_, S> {
    #[inline(always)]
    fn sight(&self, record: &Record, used: impl FnOnce(&Record, Nanos)) -> Sighted {
        if !record.is_valid_at(self.now, self.epoch) {
            return Sighted::Dead;
        }
        if !record.fits(self.template) {
            return Sighted::Other;
        }
        used(record, self.now);
        Sighted::Live
    }

    fn see(&self, record: &Arc<Record>, used: impl FnOnce(&Record, Nanos)) -> Seen<S::Value> {
        match self.sight(record, used) {
            Sighted::Live => match self.shape.value(&record.value) {
                Some(value) => Seen::Value(value),
                None => Seen::Else(Arc::clone(record)),
            },
            Sighted::Dead => Seen::Dead(Arc::clone(record)),
            Sighted::Other => Seen::Other,
        }
    }

    /// The look that the front could not answer.
    #[inline(never)]
    fn look(&self, core: &Core, store: &Store, used: impl Fn(&Record, Nanos)) -> Option<S::Ret> {
        match store.read(self.hash, self.key, |record| self.see(record, &used))? {
            Seen::Value(value) => Some(self.shape.some(value)),
            Seen::Else(record) => self.shape.lend(&record.value),
            Seen::Dead(record) => self.bury(core, store, &record),
            Seen::Other => None,
        }
    }

    /// Removes what will be of no use any more. No lock is held.
    #[cold]
    fn bury(&self, core: &Core, store: &Store, record: &Arc<Record>) -> Option<S::Ret> {
        if record.is_dead(self.now) && store.map().remove_same(self.key, record) {
            core.departed(record);
        }
        None
    }
}

/// The valid value under a physical key, if it was stored for this template and type. `used` is told of the record; it may
/// run under the map's lock.
#[inline]
pub(crate) fn look<S: Cached>(
    core: &Core,
    function: &Function,
    key: &KeyWriter,
    shape: S,
    now: Nanos,
    used: impl Fn(&Record, Nanos),
) -> Option<S::Ret> {
    let store = core.store_of(function);
    let (template, key) = (key.template(), key.as_bytes());
    let sight = Sight { template, shape, epoch: core.cells.epoch(), now, key, hash: store.hash(key) };
    let Some(held) = store.front(sight.hash, key) else { return sight.look(core, store, used) };
    let Some(record) = held.record() else { return sight.look(core, store, used) };
    // No lock is held: the value is cloned where it is, while the front's guard keeps it.
    match sight.sight(record, used) {
        Sighted::Live => shape.lend(&record.value),
        Sighted::Dead => sight.bury(core, store, record),
        Sighted::Other => None,
    }
}

opaque_debug!(Step<'_, S: Cached>);

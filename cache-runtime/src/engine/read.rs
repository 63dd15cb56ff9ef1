//! Reading: look up, then lead or join. [`Call::read`] gives the value or a [`Load`]; the rest is `load`'s.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Call, Refusal};
use super::core::{Core, Function};
use super::load::Load;
use crate::clock::Nanos;
use crate::error::Error;
use crate::flight::{Flight, Joined, Landing, Lead, Role};
use crate::key::KeyWriter;
use crate::policy::Jitter;
use crate::record::Record;
use crate::shape::Cached;

/// Whether the cache is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Look up, then join or lead.
    Read,
    /// Load whatever is there, and never join an older flight.
    Refresh,
}

/// What a read comes to.
pub enum Step<'a, S: Cached> {
    /// The value.
    Done(S::Ret),
    /// The body has to run.
    Load(Load<'a, S>),
}

/// What a read comes to before it may have to wait.
enum Next<'a, S: Cached> {
    Step(Step<'a, S>),
    Wait(Joined),
}

/// How waiting for a flight ended.
enum Waited {
    Landed(Landing),
    /// The leader was woken and never polled.
    Abandoned(Arc<Flight>),
    /// `wait` has passed.
    TimedOut(Arc<Flight>),
}

/// How often a waiter looks whether its leader still lives.
const LOOK: Duration = Duration::from_millis(500);
/// A caller whose wait has passed joins a flight that somebody began meanwhile this often before it loads alone.
const ROUNDS: u32 = 2;

impl Call<'_> {
    /// The value, or the right to load it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits disturbs nobody.
    #[inline]
    pub async fn read<S: Cached>(&self, mode: Mode, key: &KeyWriter, shape: S) -> Step<'_, S> {
        if mode == Mode::Read
            && let Some(ret) = self.hit(key, shape)
        {
            return Step::Done(ret);
        }
        self.miss(mode, key, shape).await
    }

    /// Like [`read`](Self::read), but fails where the cache cannot be used (`on_error = fail`).
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn read_or_fail<S: Cached>(&self, mode: Mode, key: &KeyWriter, shape: S) -> Result<Step<'_, S>, Error> {
        match self.refusal() {
            Some(Refusal::Off) if self.required().is_ok() => Ok(self.read(mode, key, shape).await),
            Some(refusal) => {
                self.degraded();
                Err(refusal.error())
            }
            None => Ok(self.read(mode, key, shape).await),
        }
    }

    /// [`read`](Self::read) for a synchronous function: waiting blocks the thread.
    pub fn read_blocking<S: Cached>(&self, mode: Mode, key: &KeyWriter, shape: S) -> Step<'_, S> {
        if mode == Mode::Read
            && let Some(ret) = self.hit(key, shape)
        {
            return Step::Done(ret);
        }
        let mut next = self.next(mode, key, shape);
        let mut rounds = ROUNDS;
        loop {
            match next {
                Next::Step(step) => return step,
                Next::Wait(joined) => {
                    let waited = wait_blocking(joined, self.site.options.wait);
                    next = self.waited(key, shape, waited, &mut rounds);
                }
            }
        }
    }

    /// The valid value under `key`. No lock of ours, no allocation, no shared write but what the map does.
    #[inline]
    pub(crate) fn hit<S: Cached>(&self, key: &KeyWriter, shape: S) -> Option<S::Ret> {
        let core = self.core()?;
        let function = core.function(self.site);
        let (ret, record, now) = look(core, function, key.as_bytes(), key.template(), shape)?;
        if core.settings.stats {
            function.counters.hits.increment();
            record.touch(now);
        }
        if self.site.options.sliding {
            self.slide(core, &record, now);
        }
        Some(ret)
    }

    /// A hit extends the life by the ttl. Written only when that is worth it, so that a hot key is not written on every hit.
    fn slide(&self, core: &Core, record: &Record, now: Nanos) {
        let life = record.life.unwrap_or(self.site.options.life);
        if let Some(expires) = core.expiry(now, life, Jitter::None) {
            let gained = expires.saturating_sub(record.expires());
            if gained > expires.saturating_sub(now) / 64 {
                record.set_expires(expires);
            }
        }
    }

    #[cold]
    async fn miss<S: Cached>(&self, mode: Mode, key: &KeyWriter, shape: S) -> Step<'_, S> {
        let mut next = self.next(mode, key, shape);
        let mut rounds = ROUNDS;
        loop {
            match next {
                Next::Step(step) => return step,
                Next::Wait(joined) => {
                    let waited = wait(joined, self.site.options.wait).await;
                    next = self.waited(key, shape, waited, &mut rounds);
                }
            }
        }
    }

    /// What to do about a key that missed: the first time, and each time that waiting gave nothing.
    fn next<S: Cached>(&self, mode: Mode, key: &KeyWriter, shape: S) -> Next<'_, S> {
        let Some(core) = self.core() else {
            self.degraded();
            return Next::Step(Step::Load(Load::new(self, shape, None, key.template())));
        };
        let function = core.function(self.site);
        if mode == Mode::Refresh {
            let lead = core.flights.displace(key.as_bytes(), key.template());
            return self.lead(shape, lead, key);
        }
        function.counters.misses.increment();
        self.begin(core, key, shape)
    }

    fn begin<S: Cached>(&self, core: &Arc<Core>, key: &KeyWriter, shape: S) -> Next<'_, S> {
        let function = core.function(self.site);
        let again = || look(core, function, key.as_bytes(), key.template(), shape).map(|(ret, ..)| ret);
        match core.flights.begin(key.as_bytes(), key.template(), again) {
            Ok(ret) => {
                function.counters.coalesced.increment();
                Next::Step(Step::Done(ret))
            }
            Err(Role::Lead(lead)) => self.lead(shape, lead, key),
            Err(Role::Join(joined)) => Next::Wait(joined),
            Err(Role::Alone) => Next::Step(Step::Load(Load::new(self, shape, None, key.template()))),
        }
    }

    fn lead<S: Cached>(&self, shape: S, lead: Lead, key: &KeyWriter) -> Next<'_, S> {
        self.site.value.get_or_init(std::any::type_name::<S::Value>);
        Next::Step(Step::Load(Load::new(self, shape, Some(lead), key.template())))
    }

    fn waited<S: Cached>(&self, key: &KeyWriter, shape: S, waited: Waited, rounds: &mut u32) -> Next<'_, S> {
        let Some(core) = self.core() else {
            return Next::Step(Step::Load(Load::new(self, shape, None, key.template())));
        };
        let function = core.function(self.site);
        let (stuck, out_of_time) = match waited {
            Waited::Landed(Landing::Shared(stored)) => {
                return match shape.revive(&stored) {
                    Some(ret) => {
                        function.counters.coalesced.increment();
                        Next::Step(Step::Done(ret))
                    }
                    // Another return type under the same template: its values are not this function's.
                    None => Next::Step(Step::Load(Load::new(self, shape, None, key.template()))),
                };
            }
            Waited::Landed(Landing::Nothing) => return self.begin(core, key, shape),
            Waited::Abandoned(flight) => (flight, false),
            Waited::TimedOut(flight) => (flight, true),
        };
        if let Some(lead) = core.flights.take_over(key.as_bytes(), &stuck) {
            function.counters.takeovers.increment();
            return self.lead(shape, lead, key);
        }
        if out_of_time {
            *rounds -= 1;
            if *rounds == 0 {
                return Next::Step(Step::Load(Load::new(self, shape, None, key.template())));
            }
        }
        self.begin(core, key, shape)
    }
}

/// The valid value under a physical key, if it was stored for this template and type.
#[inline]
pub(crate) fn look<S: Cached>(
    core: &Core,
    function: &Function,
    physical: &[u8],
    template: u64,
    shape: S,
) -> Option<(S::Ret, Arc<Record>, Nanos)> {
    let store = core.store_of(function);
    let record = store.get(physical)?;
    let now = core.now();
    if !record.is_valid(now) {
        store.map().remove_same(physical, &record);
        return None;
    }
    if !record.fits(template) {
        return None;
    }
    let ret = shape.revive(&record.value)?;
    Some((ret, record, now))
}

async fn wait(mut joined: Joined, limit: Duration) -> Waited {
    if tokio::runtime::Handle::try_current().is_err() {
        // Without a runtime there is no timer: the leader's end is all there is to wait for.
        return Waited::Landed(joined.await);
    }
    let mut left = limit;
    loop {
        let look = left.min(LOOK);
        if let Ok(landing) = tokio::time::timeout(look, &mut joined).await {
            return Waited::Landed(landing);
        }
        left = left.saturating_sub(look);
        if let Some(over) = look_at(&joined, left) {
            return over;
        }
    }
}

fn wait_blocking(mut joined: Joined, limit: Duration) -> Waited {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let end = crate::clock::after(crate::clock::alive_now(), limit);
    loop {
        if let Some(landing) = joined.poll(&waker) {
            return Waited::Landed(landing);
        }
        let left = Duration::from_nanos(end.saturating_sub(crate::clock::alive_now()));
        if let Some(over) = look_at(&joined, left) {
            return over;
        }
        std::thread::park_timeout(left.min(LOOK));
    }
}

fn look_at(joined: &Joined, left: Duration) -> Option<Waited> {
    let flight = joined.flight();
    if flight.is_abandoned() {
        Some(Waited::Abandoned(Arc::clone(flight)))
    } else {
        left.is_zero().then(|| Waited::TimedOut(Arc::clone(flight)))
    }
}

opaque_debug!(Step<'_, S: Cached>);

//! A call that missed in this process: look on the backend, then lead, join or wait for who loads elsewhere.
//!
//! Callers of one process share a load as they do in memory. Who joins one that runs already makes sure first that nothing
//! was invalidated since it began, wherever that happened: a round trip. Where the backend cannot be asked, he waits for
//! that load to end and for the next one, which begins after him.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;

use super::Shared;
use super::fill::lifetime;
use super::glance::Glanced;
use super::grant::{Acquired, Grant};
use super::look::{Seen, Want};
use crate::clock::{Nanos, after, alive_now, wall_ms};
use crate::engine::aging::Old;
use crate::engine::call::Call;
use crate::engine::core::{Core, Function};
use crate::engine::load::{Load, Share};
use crate::engine::read::{Leading, Mode, Patience, Step, Waited};
use crate::engine::sink::Early;
use crate::engine::timed::Timed;
use crate::error::Error;
use crate::flight::{Base, Joined, Landing, Lead, Role};
use crate::key::KeyWriter;
use crate::meter::Operation;
use crate::policy::{Ages, Freshness, Jitter};
use crate::record::Stored;
use crate::sabotage::{self, Mutation};
use crate::shape::{Cached, ages_of};
use crate::store::{Life, Listener, Op};
use crate::timer::Sleep;

/// How long a waiter relies on being woken before it looks by itself; jittered, so that waiters spread.
const BACKSTOP: Duration = Duration::from_millis(400);

/// How a caller comes by the right to load.
pub(super) enum Turn<R> {
    Done(R),
    Lead(Lead),
    Alone,
    /// Look again.
    Again,
    /// Who led has nothing to share: look again, unless an old value will do.
    Nothing,
}

/// What looking at a shared backend comes to.
#[allow(clippy::large_enum_variant, reason = "a load is made once in a miss, and moved into place")]
pub(crate) enum Looked<'a, S: Cached> {
    /// A value, or a load.
    Step(Step<'a, S>),
    /// An old value, which is to be refreshed in the background.
    Refresh(Want, Early),
}

/// Whether a running load may be joined.
enum Fit {
    Yes,
    /// Something that it depends on was invalidated.
    Outdated,
    /// The backend cannot be asked.
    Unknown,
}

impl Call<'_> {
    /// [`miss`](Self::miss) on a shared backend.
    pub(crate) async fn miss_shared<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        mode: Mode,
        key: &KeyWriter,
        early: Early,
        shape: S,
        patience: &mut Patience,
    ) -> Result<Step<'_, S>, Error> {
        // Almost every call ends here, so what follows is not a part of this future but of another.
        let first = match self.glance_shared(shared, mode, key, &early, shape).await {
            Glanced::Served(ret) => return Ok(Step::Done(ret)),
            Glanced::Seen(seen) => Some(seen),
            Glanced::Nothing => None,
        };
        let old = Mutex::new(None);
        let looked = Box::pin(self.look_shared(shared, mode, key, early, shape, patience, &old, first)).await?;
        match looked {
            Looked::Step(step) => Ok(step),
            Looked::Refresh(_, early) => Ok(self.load(shape, key, early, Leading::ALONE)),
        }
    }

    /// [`miss_shared`](Self::miss_shared) of a function that may be served an `old` value. `first` is what was found there,
    /// where somebody has looked already.
    #[allow(clippy::too_many_arguments, reason = "a miss knows all of this and nothing of it belongs together")]
    pub(crate) async fn look_shared<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        mode: Mode,
        key: &KeyWriter,
        early: Early,
        shape: S,
        patience: &mut Patience,
        old: &Mutex<Option<Old<S::Ret>>>,
        mut first: Option<Result<Seen, Error>>,
    ) -> Result<Looked<'_, S>, Error> {
        let Some(core) = self.cacheable(shape) else {
            return Ok(Looked::Step(self.load(shape, key, early, Leading::ALONE)));
        };
        let mut want = Want::of(shared, self, key, &early);
        want.aged = self.site.options.ages.is_set();
        let mut counted = false;
        loop {
            // One who replaces what is there believes nothing of it.
            let mut reachable = shared.is_trusted() || mode == Mode::Refresh;
            if !reachable {
                // An invalidation of this process has not reached it.
                self.failing(super::write::undelivered())?;
            } else if mode == Mode::Read {
                let looked = match first.take() {
                    Some(seen) => {
                        shared.look_on(std::slice::from_ref(&want), seen.map(|seen| vec![seen]), wall_ms()).await
                    }
                    None => shared.look(std::slice::from_ref(&want), wall_ms()).await,
                };
                match looked {
                    Ok(seen) if want.aged => {
                        let found = seen
                            .first()
                            .and_then(|seen| self.aged(core, shared, &mut want, seen, shape, rand::random()));
                        if found.as_ref().is_some_and(|found| found.freshness.is_within_life())
                            && let Some(seen) = seen.first().filter(|_| self.site.options.sliding)
                        {
                            shared.slide(self.slides_of(core, shared, &want, Some(seen)));
                        }
                        let is_old = found.as_ref().is_some_and(|found| !found.freshness.is_within_life());
                        match found {
                            Some(found) if found.freshness == Freshness::Fresh => {
                                self.count_hit(core, shared, &want.name.entry, core.now(), want.began);
                                return Ok(Looked::Step(Step::Done(found.ret)));
                            }
                            Some(found) => {
                                let at_once = self.is_served_at_once(core, key, &found);
                                *old.lock() = Some(found);
                                if at_once {
                                    return Ok(Looked::Refresh(want, early));
                                }
                            }
                            None => {}
                        }
                        seen.iter().for_each(|seen| want.learn(shared, seen));
                        want.only_fresh(seen.first(), is_old);
                    }
                    Ok(seen) => {
                        if let Some(ret) = self.served(core, shared, &mut want, seen.first(), shape) {
                            return Ok(Looked::Step(Step::Done(ret)));
                        }
                        seen.iter().for_each(|seen| want.learn(shared, seen));
                    }
                    Err(error) => {
                        reachable = false;
                        self.failing(error)?;
                    }
                }
            }
            if !counted && mode == Mode::Read {
                core.function(self.site).tally().inspect(|counters| counters.misses.increment());
                counted = true;
            }
            let lead = match self.turn(core, shared, mode, key, shape, reachable, patience).await {
                Turn::Done(ret) => return Ok(Looked::Step(Step::Done(ret))),
                Turn::Alone => return Ok(Looked::Step(self.load(shape, key, early, Leading::ALONE))),
                Turn::Again => continue,
                Turn::Nothing => {
                    let old = old.lock().take();
                    // One attempt is enough while there is something to serve.
                    let Some(old) = old else { continue };
                    return Ok(Looked::Step(Step::Done(self.served_old(core, old))));
                }
                Turn::Lead(lead) => lead,
            };
            let grant = if reachable {
                match self.granted(shared, mode, &lead, &mut want, shape, patience).await {
                    Ok(Ok(grant)) => Some(grant),
                    Ok(Err(stored)) => {
                        // Somebody else has stored it meanwhile.
                        lead.found(stored.clone());
                        match shape.revive(stored) {
                            Some(ret) => {
                                core.function(self.site).tally().inspect(|counters| counters.coalesced.increment());
                                return Ok(Looked::Step(Step::Done(ret)));
                            }
                            None => return Ok(Looked::Step(self.load(shape, key, early, Leading::ALONE))),
                        }
                    }
                    Err(error) => {
                        self.failing(error)?;
                        None
                    }
                }
            } else {
                None
            };
            self.site.value.get_or_init(std::any::type_name::<S::Value>);
            let share = Share { grant: grant.map(Box::new) };
            return Ok(Looked::Step(Step::Load(Load::shared(self, shape, lead, key.template(), early, share))));
        }
    }

    /// What a look-up found, if it may be served, counted.
    pub(super) fn served<S: Cached>(
        &self,
        core: &Core,
        shared: &Shared,
        want: &mut Want,
        seen: Option<&Seen>,
        shape: S,
    ) -> Option<S::Ret> {
        let mut slides = Vec::new();
        let ret = self.served_sliding(core, shared, want, seen, shape, &mut slides);
        shared.slide(slides);
        ret
    }

    /// [`served`](Self::served), with what is to be sent to extend its life.
    pub(super) fn served_sliding<S: Cached>(
        &self,
        core: &Core,
        shared: &Shared,
        want: &mut Want,
        seen: Option<&Seen>,
        shape: S,
        slides: &mut Vec<Op>,
    ) -> Option<S::Ret> {
        let seen = seen?;
        let stored = self.decode(shared, want, seen, shape)?;
        self.copy(core, want, seen, &stored, self.ages_of(shape, &stored));
        let ret = shape.revive(stored)?;
        if self.site.options.sliding {
            slides.extend(self.slides_of(core, shared, want, None));
        }
        self.count_hit(core, shared, &want.name.entry, core.now(), want.began);
        Some(ret)
    }

    /// Counts a hit on what was read at `now`, by a call that `began` then.
    pub(super) fn count_hit(&self, core: &Core, shared: &Shared, entry: &[u8], now: Nanos, began: Nanos) {
        if let Some(counters) = core.function(self.site).tally() {
            counters.hit(|| began);
            shared.notes.touch(entry, now);
        }
        self.say_hit(entry);
    }

    /// The value that a look-up found, however old.
    #[allow(clippy::too_many_arguments, reason = "what was asked for, what was found, and how it is judged")]
    pub(super) fn aged<S: Cached>(
        &self,
        core: &Core,
        shared: &Shared,
        want: &mut Want,
        seen: &Seen,
        shape: S,
        chance: f64,
    ) -> Option<Old<S::Ret>> {
        let stored = self.decode(shared, want, seen, shape)?;
        let ages = self.ages_of(shape, &stored);
        let freshness = self.freshness(want, seen, ages, chance)?;
        self.copy(core, want, seen, &stored, ages);
        Some(Old { ret: shape.revive(stored)?, freshness, chance, created: None })
    }

    /// What is kept under a key, however old, as its backend has it: within a load nothing that a copy in memory has not heard
    /// of yet may be taken for valid.
    #[cfg(feature = "tower")]
    pub(crate) async fn kept_now<S: Cached>(&self, key: &KeyWriter, early: &Early, shape: S) -> Option<S::Ret> {
        let core = self.cacheable(shape)?;
        let Some(shared) = self.shared() else { return Some(self.aged_here(core, key, shape)?.ret) };
        if !shared.is_trusted() {
            return None;
        }
        let mut want = Want::of(shared, self, key, early);
        want.aged = true;
        let seen = shared.look(std::slice::from_ref(&want), wall_ms()).await.ok()?;
        let old = self.aged(core, shared, &mut want, seen.first()?, shape, rand::random());
        Some(old?.ret)
    }

    /// For how long a value is of use after its life.
    fn ages_of<S: Cached>(&self, shape: S, stored: &Stored) -> Ages {
        ages_of(shape, stored).unwrap_or(self.site.options.ages)
    }

    /// How long an entry is fresh, if it is of use after that.
    pub(super) fn life_of(&self, want: &Want, seen: &Seen) -> Option<Duration> {
        let head = seen.parse(want)?.ok()?.head;
        (head.expires_ms > 0).then(|| Duration::from_millis(head.expires_ms.saturating_sub(head.created_ms)))
    }

    /// How fresh an entry is. Its age is told by how long the server keeps it: clocks differ.
    fn freshness(&self, want: &Want, seen: &Seen, ages: Ages, chance: f64) -> Option<Freshness> {
        let Some(life) = self.life_of(want, seen) else { return Some(Freshness::Fresh) };
        let Some(left) = seen.left? else { return Some(Freshness::Fresh) };
        let age = (life + ages.window()).saturating_sub(left);
        let cost = seen.parse(want).and_then(Result::ok).map_or(0, |envelope| envelope.head.cost_us);
        ages.freshness(age, life, Duration::from_micros(cost), chance)
    }

    /// The right to refresh entries in the background; `None`: it has been refreshed, or somebody does, or it cannot be. With
    /// each, the chance by which it is to be refreshed.
    pub(crate) async fn granted_refreshes<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        wants: Vec<(Want, f64)>,
        shape: S,
    ) -> Vec<Option<Grant>> {
        let (mut wants, chances): (Vec<Want>, Vec<f64>) = wants.into_iter().unzip();
        let mut grants: Vec<Option<Grant>> = wants.iter().map(|_| None).collect();
        let Some(core) = self.core().filter(|_| shared.is_trusted()) else { return grants };
        wants.iter_mut().for_each(|want| want.aged = true);
        let looked = match shared.look(&wants, wall_ms()).await {
            Ok(looked) => looked,
            Err(error) => {
                self.failed(&error);
                return grants;
            }
        };
        let (mut old, mut places, mut before) = (Vec::new(), Vec::new(), Vec::new());
        for (place, ((mut want, chance), seen)) in wants.into_iter().zip(chances).zip(looked).enumerate() {
            let found = self.aged(core, shared, &mut want, &seen, shape, chance);
            if found.is_some_and(|found| found.freshness == Freshness::Fresh) {
                continue;
            }
            want.learn(shared, &seen);
            want.aged = false;
            old.push(want);
            places.push(place);
            before.push(seen);
        }
        if old.is_empty() {
            return grants;
        }
        match shared.acquire(&old, self.site.options.lock_ttl, false).await {
            Ok(acquired) => {
                for (((place, want), before), acquired) in places.into_iter().zip(&old).zip(&before).zip(acquired) {
                    // Who holds the lease refreshes it, or has just done so.
                    let is_same = acquired.seen.envelope == before.envelope;
                    if acquired.hold.is_some() && is_same && !acquired.is_fenced() {
                        grants[place] = Some(self.grant(shared, want, acquired, false));
                    }
                }
            }
            Err(error) => self.failed(&error),
        }
        grants
    }

    /// A hit extends the life by the ttl: what is to be sent, if it is worth it. A ttl that is known only from a load is not
    /// known here, and such an entry does not slide.
    pub(super) fn slides_of(&self, core: &Core, shared: &Shared, want: &Want, aged: Option<&Seen>) -> Vec<Op> {
        let options = &self.site.options;
        let ttl = if options.dynamic_life { None } else { lifetime(core, options.life, Jitter::None).flatten() };
        let Some(ttl) = ttl else { return Vec::new() };
        let now = core.now();
        if !shared.notes.slides(&want.name.entry, now, (ttl / 64).as_nanos() as u64) {
            return Vec::new();
        }
        let names = [&want.name.entry, &want.name.side].map(Arc::clone);
        let window = self.site.options.ages.window();
        let relived = aged.and_then(|seen| self.relived(shared, want, seen, Some(ttl), window));
        let mut ops = match relived {
            Some(op) => vec![op],
            None => names.into_iter().map(|name| Op::Expire(name, Some(ttl))).collect(),
        };
        let of_use = ttl.saturating_add(window);
        ops.extend(want.cells().map(|cell| Op::Extend(Arc::clone(cell), Some(of_use))));
        ops
    }

    /// Gives another life to an entry that is of use after it, which its bytes tell; `None`: it is not one.
    pub(super) fn relived(
        &self,
        shared: &Shared,
        want: &Want,
        seen: &Seen,
        ttl: Option<Duration>,
        window: Duration,
    ) -> Option<Op> {
        let envelope = seen.parse(want)?.ok().filter(|envelope| envelope.head.expires_ms > 0)?;
        let span = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = ttl.map_or(0, |ttl| wall_ms().saturating_add(span(ttl)));
        let image = crate::codec::relive(&shared.wire(self.site, &want.name.entry), &envelope, expires_ms).ok()?;
        let life = ttl.map_or(Life::Forever, |ttl| Life::For(ttl.saturating_add(window)));
        Some(super::direct::replace(want, Some(seen), Some(image), life, false))
    }

    /// Leads, or waits for a load of this process.
    #[allow(clippy::too_many_arguments, reason = "one step of the loop above")]
    pub(super) async fn turn<S: Cached>(
        &self,
        core: &Arc<Core>,
        shared: &Shared,
        mode: Mode,
        key: &KeyWriter,
        shape: S,
        reachable: bool,
        patience: &mut Patience,
    ) -> Turn<S::Ret> {
        let (bytes, template) = (key.as_bytes(), key.template());
        if mode == Mode::Refresh {
            return Turn::Lead(core.flights.displace(bytes, template));
        }
        let mut older: Option<Joined> = None;
        let joined = loop {
            let lead = match core.flights.begin(bytes, template, patience.limit(), || None::<()>) {
                Ok(()) => return Turn::Again,
                Err(Role::Lead(lead)) => lead,
                Err(Role::TakeOver(lead)) => {
                    core.function(self.site).counters.takeovers.increment();
                    lead
                }
                Err(Role::Alone) => return Turn::Alone,
                Err(Role::Join(_)) if patience.is_over() => return Turn::Alone,
                Err(Role::Join(joined)) => {
                    match fits(shared, &joined, reachable).await {
                        Fit::Yes => break joined,
                        Fit::Outdated => joined.flight().outdate(),
                        Fit::Unknown => {
                            joined.flight().outdate();
                            older = Some(joined);
                        }
                    }
                    continue;
                }
            };
            // One load at a time where nobody can tell whether the one that runs may be joined. Whoever comes meanwhile joins
            // this one, which begins after him.
            if let Some(older) = older {
                patience.pause(older).await;
            }
            return Turn::Lead(lead);
        };
        match patience.pause(joined).await {
            Waited::Landed(Landing::Shared { stored, .. }) => match shape.revive(stored) {
                Some(ret) => {
                    core.function(self.site).tally().inspect(|counters| counters.coalesced.increment());
                    Turn::Done(ret)
                }
                None => Turn::Alone,
            },
            Waited::Landed(Landing::Superseded) | Waited::Still => {
                patience.grace();
                Turn::Again
            }
            Waited::Landed(Landing::Nothing) => Turn::Nothing,
            Waited::OutOfTime => Turn::Alone,
        }
    }

    /// The right to fill the entry, or the entry, if somebody has stored it meanwhile. With `lock`, waits for who loads.
    async fn granted<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        mode: Mode,
        lead: &Lead,
        want: &mut Want,
        shape: S,
        patience: &mut Patience,
    ) -> Result<Result<Grant, Stored>, Error> {
        let options = &self.site.options;
        let refresh = mode == Mode::Refresh;
        let mut listener: Option<Box<dyn Listener>> = None;
        let mut waiting = None;
        loop {
            lead.look();
            shared.still_trusted(mode)?;
            let mut acquired = shared.acquire(std::slice::from_ref(want), options.lock_ttl, refresh).await?;
            let acquired = acquired.pop().map_or_else(super::no_reply, Ok)?;
            if !refresh
                && Shared::is_live(&acquired.seen, want)
                && let Some(stored) = self.decode(shared, want, &acquired.seen, shape)
            {
                return Ok(Err(stored));
            }
            let waits = options.lock && !refresh && !acquired.is_fenced();
            if acquired.hold.is_some() || !waits || patience.is_over() {
                return Ok(Ok(self.grant(shared, want, acquired, refresh)));
            }
            want.learn(shared, &acquired.seen);
            // Listen, then look once more: what ended before the first is seen by the second.
            let Some(listener) = &mut listener else {
                listener = Some(shared.store.listen(&want.name.lease).await?);
                continue;
            };
            waiting.get_or_insert_with(|| self.waiting(Some(&want.name.entry)));
            woken(listener.as_mut(), patience).await;
            lead.look();
            shared.still_trusted(mode)?;
            let seen = shared.look(std::slice::from_ref(want), wall_ms()).await?;
            if let Some(stored) = seen.first().and_then(|seen| self.decode(shared, want, seen, shape)) {
                return Ok(Err(stored));
            }
        }
    }

    /// Counts a call that waits for a lease, as long as what is returned is kept.
    pub(super) fn waiting(&self, key: Option<&[u8]>) -> Timed {
        if let Some(counters) = self.function().and_then(Function::tally) {
            counters.lease_waits.increment();
        }
        Timed::start(self, Operation::LeaseWait, key)
    }

    pub(super) fn grant(&self, shared: &Arc<Shared>, want: &Want, acquired: Acquired, refresh: bool) -> Grant {
        acquired.into_grant(shared, want.clone(), refresh)
    }
}

/// Whether a caller that begins now may have what this load returns.
async fn fits(shared: &Shared, joined: &Joined, reachable: bool) -> Fit {
    match joined.flight().base() {
        // Its body has not begun: it begins after this caller.
        None => Fit::Yes,
        Some(_) if sabotage::is(Mutation::JoinBlindly) => Fit::Yes,
        Some(Base::Shared(snapshot, _)) if reachable => match shared.still_holds(&snapshot).await {
            Ok(true) => Fit::Yes,
            Ok(false) => Fit::Outdated,
            Err(_) => Fit::Unknown,
        },
        Some(_) => Fit::Unknown,
    }
}

/// Waits until the lease ended, or may have.
pub(super) async fn woken(listener: &mut dyn Listener, patience: &mut Patience) {
    let jitter = f64::from(rand::random::<u16>()) / f64::from(u16::MAX);
    let at = after(alive_now(), BACKSTOP.mul_f64(0.5 + jitter)).min(patience.deadline());
    let (mut woken, mut sleep) = (listener.woken(), std::pin::pin!(Sleep::until(at)));
    std::future::poll_fn(|cx| {
        if woken.as_mut().poll(cx).is_ready() || sleep.as_mut().poll(cx).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

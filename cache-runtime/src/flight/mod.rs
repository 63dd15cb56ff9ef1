//! Flights: one load per key and snapshot in a process.
//!
//! A [`Flight`] is a load that runs. Callers that miss the same key join it instead of loading again, unless something
//! it depends on was invalidated since it began. The table of flights is also where a key's invalidation meets the
//! fills that would undo it: both take the key's shard lock, and a flight that was *closed* may not fill.
//! Nothing here knows how a value is made, typed or stored; `fill` is given a closure.

mod current;
mod leading;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slotted;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::cell::CellSet;
use crate::clock::{Nanos, after, alive_now};
use crate::record::Stored;
use crate::store::SharedSnapshot;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use crate::tags::Watch;

pub(crate) use leading::{leading, leading_blocking};

/// A leader that was woken and not polled for this long counts as abandoned (a future that its owner forgot).
pub(crate) const ABANDONED_AFTER: Duration = Duration::from_secs(1);

/// A load that runs, shared by its leader and those who joined it.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Identity of the template it loads for. Others do not join: their values are different things.
    template: u64,
    state: Mutex<State>,
    /// Set under the shard lock when something invalidated the key or another flight took its place: it may not fill.
    closed: AtomicBool,
    /// When its leader was woken without having been polled since; 0 if it was.
    woken: AtomicU64,
    /// How often its leader has begun to look whether somebody else has stored the value meanwhile.
    looks: AtomicU64,
    /// When it began.
    started: Nanos,
}

#[derive(Debug, Default)]
struct State {
    /// What the value depends on, as it was before the loader began. `None` until the loader begins.
    snapshot: Option<Snapshot>,
    outcome: Option<Landing>,
    /// The outcome is what the leader's look of this number found: whoever joined after it began may have begun after that
    /// value was invalidated.
    found_by: Option<u64>,
    waiters: Vec<Option<Waker>>,
    /// Seats that were left.
    vacant: Vec<usize>,
}

/// What a load depends on, as it was before its body ran.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) cells: CellSet,
    /// Present where tags are known only after the load.
    pub(crate) watch: Option<Arc<Watch>>,
    pub(crate) base: Base,
}

/// Where it can be seen whether a load is still up to date.
#[derive(Clone, Debug, Default)]
pub(crate) enum Base {
    /// In its cells.
    #[default]
    Memory,
    /// On a shared backend, where who joins has to look. `late`: the value has tags that only the load tells.
    Shared(Arc<SharedSnapshot>, bool),
    /// Nowhere: the backend could not be asked when it began.
    Unknown,
}

/// How a flight ended for somebody who waited for it.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// Callers that waited may have this. Errors are in here only if they can be cloned.
    Shared {
        /// The outcome.
        stored: Stored,
        /// Callers that joined after something was invalidated may have it too: none of its tags was among that.
        /// Only where tags are known after the load is this in question.
        late: bool,
    },
    /// Nothing to share: the leader panicked, was dropped, or failed with an error that cannot be cloned. One waiter leads next.
    Nothing,
    /// It stood still, and somebody began another one.
    Superseded,
}

/// All flights and write-through tickets of one cache, by physical key.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: Box<[Mutex<Table>]>,
    hasher: foldhash::fast::RandomState,
}

type Table = HashMap<Box<[u8]>, Slot, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
struct Slot {
    flight: Option<Arc<Flight>>,
    /// Flights that stood still when another one began. Nobody joins them, and they may still fill.
    superseded: Vec<Arc<Flight>>,
    /// Writers that intend to store their result under this key, and may if nobody touched it since they began.
    tickets: Vec<Arc<Ticket>>,
}

impl Slot {
    /// Nothing that began before may fill any more.
    fn close(&mut self) {
        for flight in self.flight.iter().chain(&self.superseded) {
            flight.closed.store(true, Ordering::SeqCst);
        }
        for ticket in &self.tickets {
            ticket.lost.store(true, Ordering::SeqCst);
        }
    }

    fn is_empty(&self) -> bool {
        self.flight.is_none() && self.superseded.is_empty() && self.tickets.is_empty()
    }
}

/// A writer's claim on a key, lost when the key is invalidated, set or written through by anybody else.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    lost: AtomicBool,
}

/// What a caller that missed is to do.
#[derive(Debug)]
pub(crate) enum Role {
    /// Run the loader; nobody else does.
    Lead(Lead),
    /// Run the loader in the place of one that stands still.
    TakeOver(Lead),
    /// Wait for the one who does.
    Join(Joined),
    /// Run the loader and store nothing: it would wait for itself, or another template's load holds the key.
    Alone,
}

const SHARDS: usize = 32;

impl Flights {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Table::default())).collect(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Table> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Leads a new flight on `key` or joins the one that runs. One that is abandoned or runs for longer than `wait` is
    /// superseded: those who wait for it are told, and it may still fill.
    ///
    /// `again` reads the store once more under the lock: a flight that landed between the caller's miss and now has
    /// left its value there, and leading again would load twice.
    pub(crate) fn begin<H>(
        self: &Arc<Self>,
        key: &[u8],
        template: u64,
        wait: Duration,
        again: impl FnOnce() -> Option<H>,
    ) -> Result<H, Role> {
        let mut table = self.shard(key).lock();
        if let Some(hit) = again() {
            return Ok(hit);
        }
        let running = table.get(key).and_then(|slot| slot.flight.clone());
        let Some(running) = running else { return Err(Role::Lead(self.lead(&mut table, key, template))) };
        if running.template != template {
            return Err(Role::Alone);
        }
        let Some(late) = running.joinable() else {
            let lead = self.lead(&mut table, key, template);
            drop(table);
            return Err(Role::Lead(lead));
        };
        if current::contains(&running) {
            return Err(Role::Alone);
        }
        if !running.stands_still(wait) {
            return Err(Role::Join(Joined::new(&running, late)));
        }
        if let Some(slot) = table.get_mut(key) {
            slot.superseded.extend(slot.flight.take());
        }
        let lead = self.lead(&mut table, key, template);
        drop(table);
        // Outside of the lock: a waker may run anything.
        running.land(Landing::Superseded, &CellSet::default());
        Err(Role::TakeOver(lead))
    }

    /// Leads a new flight on `key` whatever runs: older flights keep those who wait for them and may not fill. Nor may
    /// write-throughs that began before: what this one finds in the source may be newer than their result.
    pub(crate) fn displace(self: &Arc<Self>, key: &[u8], template: u64) -> Lead {
        let mut table = self.shard(key).lock();
        if let Some(slot) = table.get_mut(key) {
            slot.close();
        }
        self.lead(&mut table, key, template)
    }

    fn lead(self: &Arc<Self>, table: &mut Table, key: &[u8], template: u64) -> Lead {
        let flight = Arc::new(Flight {
            template,
            state: Mutex::new(State::default()),
            closed: AtomicBool::new(false),
            woken: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            started: alive_now(),
        });
        let slot = match table.get_mut(key) {
            Some(slot) => slot,
            None => table.entry(key.into()).or_default(),
        };
        if let Some(older) = slot.flight.replace(Arc::clone(&flight)) {
            older.closed.store(true, Ordering::SeqCst);
        }
        Lead { flights: Arc::clone(self), key: key.into(), flight, landed: false }
    }

    /// Runs `change` on the store with no fill of `key` before it taking effect after it, and closes the key's flights.
    /// What `change` takes out of the store is to be returned, so that it is dropped outside of the lock.
    pub(crate) fn close<R>(&self, key: &[u8], change: impl FnOnce() -> R) -> R {
        self.close_with(key, || (), |()| change())
    }

    /// Runs `change` on the store while no other change of `key` runs. Flights stay open.
    pub(crate) fn exclusive<R>(&self, key: &[u8], change: impl FnOnce() -> R) -> R {
        let _table = self.shard(key).lock();
        change()
    }

    /// Closes the flights of all keys that `matches` says.
    pub(crate) fn close_matching(&self, mut matches: impl FnMut(&[u8]) -> bool) {
        for shard in &self.shards {
            let mut closed = Vec::new();
            let mut table = shard.lock();
            table.retain(|key, slot| {
                let gone = matches(key);
                if gone {
                    slot.close();
                    closed.push(std::mem::take(slot));
                }
                !gone
            });
            drop(table);
        }
    }

    /// Announces that a writer will store under `key`. See [`Flights::redeem`].
    pub(crate) fn ticket(&self, key: &[u8]) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket::default());
        self.shard(key).lock().entry(key.into()).or_default().tickets.push(Arc::clone(&ticket));
        ticket
    }

    /// Closes the key for everybody else and runs `change`, which is told whether `ticket` was still held.
    pub(crate) fn redeem<R>(&self, key: &[u8], ticket: &Arc<Ticket>, change: impl FnOnce(bool) -> R) -> R {
        self.close_with(key, || !ticket.lost.load(Ordering::SeqCst), change)
    }

    fn close_with<T, R>(&self, key: &[u8], before: impl FnOnce() -> T, change: impl FnOnce(T) -> R) -> R {
        let mut table = self.shard(key).lock();
        let seen = before();
        let mut slot = table.remove(key);
        if let Some(slot) = &mut slot {
            slot.close();
        }
        let changed = change(seen);
        drop(table);
        drop(slot);
        changed
    }

    /// Gives up a ticket that was not redeemed.
    pub(crate) fn forget(&self, key: &[u8], ticket: &Arc<Ticket>) {
        if let Slotted::Occupied(mut slot) = self.shard(key).lock().entry(key.into()) {
            slot.get_mut().tickets.retain(|held| !Arc::ptr_eq(held, ticket));
            if slot.get().is_empty() {
                slot.remove();
            }
        }
    }

    /// How many keys have a flight or a ticket.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

impl Flight {
    /// Whether a caller that begins now may get what this flight returns; if so, whether something was invalidated since
    /// it began, so that its late tags decide.
    fn joinable(&self) -> Option<bool> {
        if self.closed.load(Ordering::SeqCst) {
            return None;
        }
        let state = self.state.lock();
        if state.outcome.is_some() {
            return None;
        }
        // Without a snapshot the loader has not begun: whoever joins now began before it.
        let Some(snapshot) = &state.snapshot else { return Some(false) };
        if let Base::Shared(_, late) = snapshot.base {
            return Some(late);
        }
        snapshot.cells.is_live().then(|| snapshot.watch.as_ref().is_some_and(|watch| watch.saw_any()))
    }

    /// Where it can be seen whether it is up to date; `None` before its body began.
    pub(crate) fn base(&self) -> Option<Base> {
        self.state.lock().snapshot.as_ref().map(|snapshot| snapshot.base.clone())
    }

    /// Nobody joins it any more.
    pub(crate) fn outdate(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether the leader was woken and then not polled for [`ABANDONED_AFTER`], or has been at it for `wait`.
    pub(crate) fn stands_still(&self, wait: Duration) -> bool {
        let now = alive_now();
        let woken = self.woken.load(Ordering::SeqCst);
        (woken != 0 && now.saturating_sub(woken) >= ABANDONED_AFTER.as_nanos() as Nanos) || now >= self.overdue(wait)
    }

    /// When it will have run for `wait`.
    pub(crate) fn overdue(&self, wait: Duration) -> Nanos {
        after(self.started, wait)
    }

    /// `cells` are all that the value depends on. Whether late joiners may have it is decided together with setting the
    /// outcome: whoever joins before this did so while it was open, and what was invalidated before that shows here.
    fn land(&self, mut landing: Landing, cells: &CellSet) {
        let mut state = self.state.lock();
        if let Landing::Shared { late, .. } = &mut landing {
            *late = *late && cells.is_live();
        }
        if state.outcome.is_none() {
            state.outcome = Some(landing);
        }
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        for waiter in waiters.into_iter().flatten() {
            waiter.wake();
        }
    }
}

/// The right and duty to load one key. Dropping it without landing lets a waiter take over.
#[derive(Debug)]
pub(crate) struct Lead {
    flights: Arc<Flights>,
    key: Box<[u8]>,
    flight: Arc<Flight>,
    landed: bool,
}

impl Lead {
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Fixes what the value depends on. Call it before the loader runs.
    pub(crate) fn depart(&self, snapshot: Snapshot) {
        self.flight.state.lock().snapshot = Some(snapshot);
    }

    /// The leader looks, from now on, whether somebody else has stored the value meanwhile.
    pub(crate) fn look(&self) {
        self.flight.looks.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends the flight with what its last look found. Those who joined after that look had begun look for themselves.
    pub(crate) fn found(self, stored: Stored) {
        self.flight.state.lock().found_by = Some(self.flight.looks.load(Ordering::SeqCst));
        self.land(Landing::Shared { stored, late: true }, &CellSet::default(), |_| ());
    }

    /// Ends the flight: `change` is told whether the flight may still fill, then the waiters get `landing`. What `change`
    /// takes out of the store is to be returned, so that it is dropped outside of the lock.
    pub(crate) fn land<R>(mut self, landing: Landing, cells: &CellSet, change: impl FnOnce(bool) -> R) -> R {
        self.landed = true;
        let changed = {
            let mut table = self.flights.shard(&self.key).lock();
            let changed = change(!self.flight.closed.load(Ordering::SeqCst));
            self.leave(&mut table);
            changed
        };
        self.flight.land(landing, cells);
        changed
    }

    fn leave(&self, table: &mut Table) {
        if let Some(slot) = table.get_mut(&self.key) {
            let own = |held: &Arc<Flight>| Arc::ptr_eq(held, &self.flight);
            if slot.flight.as_ref().is_some_and(own) {
                slot.flight = None;
            }
            slot.superseded.retain(|held| !own(held));
            if slot.is_empty() {
                table.remove(&self.key);
            }
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.landed {
            self.leave(&mut self.flights.shard(&self.key).lock());
            self.flight.land(Landing::Nothing, &CellSet::default());
        }
    }
}

/// A place among those who wait for a flight. Dropping it disturbs nobody.
#[derive(Debug)]
pub(crate) struct Joined {
    flight: Arc<Flight>,
    seat: Option<usize>,
    /// It joined after something was invalidated.
    late: bool,
    /// The leader's looks that had begun by then.
    looks: u64,
}

impl Joined {
    fn new(flight: &Arc<Flight>, late: bool) -> Self {
        Self { flight: Arc::clone(flight), seat: None, late, looks: flight.looks.load(Ordering::SeqCst) }
    }

    pub(crate) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// How the flight ended, if it has; else `waker` will be called when it does.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Landing> {
        let mut state = self.flight.state.lock();
        if let Some(landing) = &state.outcome {
            return Some(match landing {
                Landing::Shared { late: false, .. } if self.late => Landing::Nothing,
                Landing::Shared { .. } if state.found_by.is_some_and(|look| self.looks >= look) => Landing::Nothing,
                landing => landing.clone(),
            });
        }
        match self.seat.and_then(|seat| state.waiters.get_mut(seat)) {
            Some(Some(known)) => known.clone_from(waker),
            Some(empty) => *empty = Some(waker.clone()),
            None => {
                let seat = state.vacant.pop().unwrap_or_else(|| {
                    state.waiters.push(None);
                    state.waiters.len() - 1
                });
                state.waiters[seat] = Some(waker.clone());
                self.seat = Some(seat);
            }
        }
        None
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(seat) = self.seat {
            let mut state = self.flight.state.lock();
            // Once the flight has landed there are no seats any more.
            if let Some(waiter) = state.waiters.get_mut(seat) {
                let waker = waiter.take();
                state.vacant.push(seat);
                drop(state);
                drop(waker);
            }
        }
    }
}

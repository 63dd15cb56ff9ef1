//! What is there of a batch's elements, and the right to load the rest.

use std::collections::HashSet;
use std::hash::Hash;

use super::load::Batch;
use super::monitor::Drawn;
use super::{Became, Leading, Slot, ValueOf, Wanted};
use crate::engine::call::Call;
use crate::engine::read::{Mode, Next, Patience, Step};
use crate::engine::sink::Early;
use crate::error::Error;
use crate::key::KeyWriter;
use crate::shape::{BatchCached, Cached};

impl<'c> Call<'c> {
    /// Looks up what is there already. `render` writes an element's key, `say` what is known of it before its load: both
    /// are done with before anything awaits.
    pub fn batch<S, K>(
        &'c self,
        mode: Mode,
        shape: S,
        asked: Vec<K>,
        render: impl Fn(&mut KeyWriter, &K),
        say: impl Fn(&mut Early, &K),
    ) -> Asked<'c, S, K>
    where
        S: BatchCached,
        K: Clone + Eq + Hash,
    {
        let mut seen = HashSet::with_capacity_and_hasher(asked.len(), foldhash::fast::RandomState::default());
        let unique: Vec<K> = asked.iter().filter(|id| seen.insert((*id).clone())).cloned().collect();
        drop(seen);
        let mut slots = Vec::with_capacity(unique.len());
        let mut wanted = Vec::new();
        for (index, id) in unique.iter().enumerate() {
            match self.hit(mode, shape.one(), |writer| render(writer, id)) {
                Ok(ret) => slots.push(Some(Slot::of(shape, ret))),
                Err(key) => {
                    if wanted.is_empty() {
                        wanted.reserve(unique.len() - index);
                    }
                    let mut early = self.early();
                    say(&mut early, id);
                    wanted.push(Wanted { index, key, early, has_old: false, is_twin: false });
                    slots.push(None);
                }
            }
        }
        Asked { call: self, mode, shape, asked, unique, slots, wanted, drawn: None }
    }

    /// The right to load elements that are missing in memory, or what others load. In the order of their keys.
    pub(super) async fn lead_here<S: Cached>(
        &self,
        mode: Mode,
        shape: S,
        wanted: Vec<Wanted>,
    ) -> Vec<(usize, Became<S::Ret>)> {
        let mut patience = Patience::new(self.site.options.wait);
        let mut found = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            found.push((wanted.index, self.lead_one(mode, shape, wanted, &mut patience).await));
        }
        found
    }

    async fn lead_one<S: Cached>(
        &self,
        mode: Mode,
        shape: S,
        wanted: Wanted,
        patience: &mut Patience,
    ) -> Became<S::Ret> {
        if wanted.is_twin {
            return Became::Lead(Leading::alone(wanted));
        }
        let mut next = self.next(mode, &wanted.key, shape, patience);
        loop {
            let joined = match next {
                Next::Done(ret) => return Became::Done(ret),
                Next::Lead(_) if self.is_left(&wanted) => return Became::Left,
                Next::Lead(leading) => match self.load(shape, &wanted.key, wanted.early, leading) {
                    Step::Done(ret) => return Became::Done(ret),
                    Step::Load(load) => return Became::Lead(load.into_leading(wanted.has_old)),
                },
                Next::Wait(joined) => joined,
            };
            let waited = patience.pause(joined).await;
            next = self.waited(&wanted.key, shape, waited, patience);
        }
    }
}

/// A batch call whose missing elements have not been waited for.
pub struct Asked<'a, S: BatchCached, K> {
    pub(super) call: &'a Call<'a>,
    pub(super) mode: Mode,
    pub(super) shape: S,
    /// As given, duplicates included.
    pub(super) asked: Vec<K>,
    /// Each element once, with the place of its slot.
    pub(super) unique: Vec<K>,
    pub(super) slots: Vec<Option<Slot<ValueOf<S>>>>,
    /// Not in any order yet.
    pub(super) wanted: Vec<Wanted>,
    /// What is to be checked, if it is there.
    pub(super) drawn: Option<Drawn<ValueOf<S>>>,
}

impl<'a, S: BatchCached, K> Asked<'a, S, K> {
    /// Takes or waits for the flights of the elements that are missing.
    ///
    /// # Panics
    ///
    /// It failed, which only a function can that is expanded to [`look_up_or_fail`](Self::look_up_or_fail).
    pub async fn look_up(self) -> Batch<'a, S, K> {
        self.try_look_up().await.unwrap_or_else(|error| unreachable!("only `on_error = fail` fails: {error}"))
    }

    /// [`look_up`](Self::look_up), which fails where the cache cannot be used (`on_error = fail`).
    ///
    /// # Errors
    ///
    /// The cache cannot be used; the body has not run.
    pub async fn look_up_or_fail(self) -> Result<Batch<'a, S, K>, Error> {
        match self.call.failure() {
            Some(error) => {
                self.call.degraded();
                Err(error)
            }
            None => self.try_look_up().await,
        }
    }

    async fn try_look_up(self) -> Result<Batch<'a, S, K>, Error> {
        let Self { call, mode, shape, asked, unique, mut slots, mut wanted, .. } = self;
        let (found, refreshes) = match call.shared() {
            Some(shared) => (call.batch_shared(shared, mode, shape.one(), wanted).await?, None),
            None => {
                Wanted::order(&mut wanted);
                let began = call.core().filter(|_| mode == Mode::Refresh).map(|core| core.now());
                (call.lead_here(mode, shape.one(), wanted).await, began)
            }
        };
        for (index, became) in found {
            slots[index] = Some(Slot::became(shape, became));
        }
        let slots = slots.into_iter().flatten().collect();
        Ok(Batch::new(call, shape, asked, unique, slots, refreshes))
    }
}

impl<S: BatchCached, K> std::fmt::Debug for Asked<'_, S, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("site", &self.call.site)
            .field("wanted", &self.wanted.len())
            .finish_non_exhaustive()
    }
}

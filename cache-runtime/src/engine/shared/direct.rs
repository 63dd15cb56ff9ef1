//! Direct access by key on a shared backend: what `Cache`'s own methods do. A key's change is one atomic command; what has to
//! look first compares what it saw, and starts again where somebody else was quicker.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::fill::{extended, lifetime};
use super::look::{Seen, Verdict, Want};
use crate::clock::{Nanos, after, alive_now, wall_ms};
use crate::engine::call::Call;
use crate::engine::core::Core;
use crate::engine::direct::{Claimed, Remaining};
use crate::engine::name::{self, Covers};

use crate::engine::sink::canonical;
use crate::envelope::{Envelope, Head, Outcome, Place};
use crate::error::{Error, ErrorKind};
use crate::key::{Key, KeyWriter, Pattern};
use crate::outbox::Invalidation;
use crate::policy::{Jitter, Lifetime};
use crate::record::Stored;
use crate::shape::{Handling, Storable};
use crate::store::{Cursor, Image, Life, Name, Nonce, Op};
use crate::timer::Sleep;

/// How often a change starts again because somebody else was quicker. Each time, somebody was.
const ATTEMPTS: u32 = 64;

/// How far apart callers are after one attempt.
const SPREAD: Duration = Duration::from_micros(250);

/// What is known of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) created_ms: u64,
    pub(crate) left: Option<Duration>,
    pub(crate) hits: u64,
    pub(crate) last_access: Nanos,
    pub(crate) bytes: u64,
    pub(crate) cost_us: u64,
}

/// A direct call on a shared backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct<'c> {
    pub(super) call: &'c Call<'c>,
    core: &'c Core,
    shared: &'c Arc<Shared>,
}

impl<'c> Call<'c> {
    /// This call on the shared backend; `None` where entries are in memory.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub(crate) fn direct_shared(&'c self) -> Result<Option<Direct<'c>>, Error> {
        let core = self.required()?;
        Ok(self.shared().map(|shared| Direct { call: self, core, shared }))
    }
}

impl Direct<'_> {
    fn want(&self, key: &KeyWriter) -> Want {
        Want::direct(self.shared, key)
    }

    /// Fails where what the backend says cannot be believed.
    async fn trusted(&self) -> Result<(), Error> {
        if self.shared.is_trusted() || self.shared.outbox.settled().await {
            return Ok(());
        }
        Err(super::write::undelivered())
    }

    async fn look(&self, want: &Want) -> Result<Seen, Error> {
        self.trusted().await?;
        let mut seen = self.shared.look(std::slice::from_ref(want), wall_ms()).await?;
        seen.pop().map_or_else(super::no_reply, Ok)
    }

    fn is_live(seen: &Seen, want: &Want) -> bool {
        matches!(seen.judge(want, wall_ms()), Verdict::Live(_))
    }

    /// The values under keys, counted. One round trip.
    pub(crate) async fn get<V: Storable>(&self, keys: &[KeyWriter]) -> Result<Vec<Option<Arc<V>>>, Error> {
        self.trusted().await?;
        let wants: Vec<Want> = keys.iter().map(|key| self.want(key)).collect();
        let seen = self.shared.look(&wants, wall_ms()).await?;
        let tally = self.core.function(self.call.site).tally();
        let mut values = Vec::with_capacity(wants.len());
        for (want, seen) in wants.iter().zip(&seen) {
            let value = self.value(want, seen);
            if let Some(counters) = tally {
                match &value {
                    Some(_) => {
                        counters.hit(|| want.began);
                        self.shared.notes.touch(&want.name.entry, self.core.now());
                    }
                    None => counters.misses.increment(),
                }
            }
            values.push(value);
        }
        Ok(values)
    }

    fn value<V: Storable>(&self, want: &Want, seen: &Seen) -> Option<Arc<V>> {
        match self.call.decode_value(self.shared, want, seen, Handling::<V>::STORABLE)? {
            Stored::Some(value) => value.downcast::<V>().ok(),
            Stored::None | Stored::Err(_) => None,
        }
    }

    /// The value under a key, not counted.
    pub(crate) async fn peek<V: Send + Sync + 'static>(
        &self,
        key: &KeyWriter,
        handling: &Handling<V>,
    ) -> Result<Option<Arc<V>>, Error> {
        Ok(match self.stored(key, handling).await? {
            Some(Stored::Some(value)) => value.downcast::<V>().ok(),
            _ => None,
        })
    }

    /// What is under a key: a value, or that there is none. Not counted.
    pub(crate) async fn stored<V: Send + Sync + 'static>(
        &self,
        key: &KeyWriter,
        handling: &Handling<V>,
    ) -> Result<Option<Stored>, Error> {
        let want = self.want(key);
        let seen = self.look(&want).await?;
        Ok(self.call.decode_value(self.shared, &want, &seen, handling))
    }

    pub(crate) async fn exists(&self, key: &KeyWriter) -> Result<bool, Error> {
        let want = self.want(key);
        Ok(Self::is_live(&self.look(&want).await?, &want))
    }

    /// What an entry that the caller claims depends on.
    fn claimed(&self, key: &KeyWriter, claim: &Claimed) -> Want {
        let tenant = self.call.tenant();
        let mut want = self.want(key);
        want.noted.clear();
        want.required = self.shared.implicit_cells(tenant, self.call.site, claim.namespace.as_deref());
        want.required.extend(claim.tags.iter().map(|tag| self.shared.cell(Covers::Tag, tenant, tag)));
        want.required.sort_unstable();
        want.required.dedup();
        want
    }

    fn head<'h>(&self, template: u64, cells: &'h [(Name, Nonce)]) -> Head<'h> {
        Head {
            outcome: Outcome::Some,
            template,
            created_ms: wall_ms(),
            expires_ms: 0,
            cost_us: 0,
            cells: cells.iter().map(|(name, nonce)| (Cow::Borrowed(&**name), *nonce)).collect(),
        }
    }

    /// How long an entry lives that a direct call asks for.
    fn lifetime(&self, claim: &Claimed) -> Result<Option<Duration>, Error> {
        lifetime(self.core, claim.life.unwrap_or_default(), Jitter::None).ok_or_else(|| {
            Error::new(ErrorKind::InvalidTtl, "a time to live of zero stores nothing; use `delete` to drop an entry")
        })
    }

    /// Stores values that the caller claims: a round trip for their cells, one for the entries.
    pub(crate) async fn set<V: Storable>(&self, entries: &[(KeyWriter, Arc<V>)], claim: &Claimed) -> Result<(), Error> {
        let ttl = self.lifetime(claim)?;
        let wants: Vec<Want> = entries.iter().map(|(key, _)| self.claimed(key, claim)).collect();
        let Some(first) = wants.first() else { return Ok(()) };
        // The entries have the same tags.
        let cells = self.shared.ensured(first).await?;
        let mut ops = vec![Op::Drop(vec![self.shared.cell(Covers::Any, None, b"")])];
        for (want, (key, value)) in wants.iter().zip(entries) {
            let image = self.image(want, key, &cells, &**value)?;
            self.shared.notes.renew(&want.name.entry);
            ops.push(replace(want, None, Some(image), ttl.map_or(Life::Forever, Life::For), true));
        }
        ops.extend(extended(&cells, ttl, 0));
        for reply in self.shared.store.run(ops).await {
            reply?;
        }
        Ok(())
    }

    fn image<V: Storable>(
        &self,
        want: &Want,
        key: &KeyWriter,
        cells: &[(Name, Nonce)],
        value: &V,
    ) -> Result<Image, Error> {
        let wire = self.shared.wire(self.call.site, &want.name.entry);
        (Handling::<V>::STORABLE.pack)(&wire, &self.head(key.template(), cells), Some(value))
    }

    /// Stores a value unless something valid is there.
    pub(crate) async fn set_nx<V: Storable>(
        &self,
        key: &KeyWriter,
        value: &Arc<V>,
        claim: &Claimed,
    ) -> Result<bool, Error> {
        let ttl = self.lifetime(claim)?;
        let (want, claimed) = (self.want(key), self.claimed(key, claim));
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let seen = self.look(&want).await?;
            if Self::is_live(&seen, &want) {
                return Ok(false);
            }
            let cells = self.shared.ensured(&claimed).await?;
            let image = self.image(&want, key, &cells, &**value)?;
            let life = ttl.map_or(Life::Forever, Life::For);
            let mut ops = vec![replace(&want, Some(&seen), Some(image), life, true)];
            ops.extend(extended(&cells, ttl, 0));
            if self.first_flag(ops).await? {
                return Ok(true);
            }
        }
        Err(contended())
    }

    async fn first_flag(&self, ops: Vec<Op>) -> Result<bool, Error> {
        let mut first = None;
        for reply in self.shared.store.run(ops).await {
            let reply = reply?;
            first = first.or(Some(reply));
        }
        first.map_or_else(super::no_reply, Ok)?.flag()
    }

    /// Drops entries, and memoized results of these names, which are in this process; says how many valid ones there were.
    pub(crate) async fn delete(&self, keys: &[KeyWriter]) -> Result<u64, Error> {
        let mut here = 0;
        for key in keys {
            here += u64::from(self.call.delete(key)?);
        }
        let wants: Vec<Want> = keys.iter().map(|key| self.want(key)).collect();
        // An invalidation is sent even where nothing that is there may be believed.
        let seen = if self.trusted().await.is_ok() {
            self.shared.look(&wants, wall_ms()).await.unwrap_or_default()
        } else {
            Vec::new()
        };
        self.invalidate_keys(keys).await?;
        Ok(here + wants.iter().zip(&seen).filter(|(want, seen)| Self::is_live(seen, want)).count() as u64)
    }

    /// Drops entries, whatever they are. One round trip.
    pub(crate) async fn invalidate_keys(&self, keys: &[KeyWriter]) -> Result<(), Error> {
        let mut what = Invalidation::default();
        for key in keys {
            self.shared.push_entry(key.as_bytes(), &mut what);
        }
        self.shared.invalidate(what).await.map(drop)
    }

    /// Takes the value out: of several concurrent callers one gets it.
    pub(crate) async fn pop<V: Storable>(&self, key: &KeyWriter) -> Result<Option<Arc<V>>, Error> {
        let want = self.want(key);
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let seen = self.look(&want).await?;
            let value = self.value::<V>(&want, &seen);
            if value.is_none() && Self::is_live(&seen, &want) {
                // What is of another type is not this caller's to take.
                return Ok(None);
            }
            // Where nothing is there, no load that runs may put it there.
            let any = Op::Drop(vec![self.shared.cell(Covers::Any, None, b"")]);
            let mut replies =
                self.shared.store.run(vec![any, replace(&want, Some(&seen), None, Life::Keep, true)]).await;
            if replies.pop().unwrap_or_else(super::no_reply)?.flag()? {
                return Ok(value);
            }
        }
        Err(contended())
    }

    /// Gives an entry another life from now on.
    pub(crate) async fn expire(&self, key: &KeyWriter, life: Lifetime) -> Result<bool, Error> {
        let Some(ttl) = lifetime(self.core, life, Jitter::None) else {
            return Ok(self.delete(std::slice::from_ref(key)).await? > 0);
        };
        let want = self.want(key);
        let mut seen = self.look(&want).await?;
        for attempt in 0..ATTEMPTS {
            let soft = match seen.judge(&want, wall_ms()) {
                Verdict::Live(envelope) => Self::soft(&envelope),
                _ => return Ok(false),
            };
            let Some(soft) = soft else { break };
            let hard = self.left(&want).await?.flatten().unwrap_or_default();
            let window = hard.saturating_sub(soft);
            let Some(op) = self.call.relived(self.shared, &want, &seen, ttl, window) else { break };
            let of_use = ttl.map(|ttl| ttl.saturating_add(window));
            let cells = seen.cells.iter().map(|(cell, _)| Op::Extend(Arc::clone(cell), of_use));
            if self.first_flag([op].into_iter().chain(cells).collect()).await? {
                return Ok(true);
            }
            pause(attempt + 1).await;
            seen = self.look(&want).await?;
        }
        if !Self::is_live(&seen, &want) {
            return Ok(false);
        }
        let mut ops = vec![Op::Expire(Arc::clone(&want.name.entry), ttl)];
        if seen.beside {
            ops.push(Op::Expire(Arc::clone(&want.name.side), ttl));
        }
        ops.extend(seen.cells.iter().map(|(cell, _)| Op::Extend(Arc::clone(cell), ttl)));
        self.first_flag(ops).await
    }

    pub(crate) async fn remaining(&self, key: &KeyWriter) -> Result<Option<Remaining>, Error> {
        let want = self.want(key);
        let seen = self.look(&want).await?;
        let Verdict::Live(envelope) = seen.judge(&want, wall_ms()) else { return Ok(None) };
        let left = self.left(&want).await?.map(|left| Self::soft(&envelope).or(left));
        Ok(left.map(|left| left.map_or(Remaining::Forever, Remaining::For)))
    }

    /// What is left of the life of an entry that is of use after it; `None`: it is not one.
    fn soft(envelope: &Envelope<'_>) -> Option<Duration> {
        let expires_ms = envelope.head.expires_ms;
        (expires_ms > 0).then(|| Duration::from_millis(expires_ms.saturating_sub(wall_ms())))
    }

    async fn left(&self, want: &Want) -> Result<Option<Option<Duration>>, Error> {
        let replies = self.shared.store.run(vec![Op::Left(Arc::clone(&want.name.entry))]).await;
        replies.into_iter().next().unwrap_or_else(super::no_reply)?.left()
    }

    /// Counts on: a counter begins at 0 and keeps its expiry. The server adds, so that no two callers count one number twice.
    pub(crate) async fn count(&self, key: &KeyWriter, by: i64) -> Result<i64, Error> {
        let want = self.want(key);
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let seen = self.look(&want).await?;
            let sum = match seen.judge(&want, wall_ms()) {
                Verdict::Live(envelope) if envelope.place == Place::Counter => {
                    let envelope = seen.envelope.clone().unwrap_or_default();
                    let op = Op::Count { name: want.name.clone(), seen: envelope, by };
                    self.shared.store.run(vec![op]).await.pop().unwrap_or_else(super::no_reply)?.sum()?
                }
                Verdict::Live(_) => match self.value::<i64>(&want, &seen) {
                    // A number that was set: it becomes a counter.
                    Some(start) => {
                        let sum = start.checked_add(by).ok_or_else(overflow)?;
                        let cells: Vec<_> =
                            seen.cells.iter().filter_map(|(name, nonce)| Some((Arc::clone(name), (*nonce)?))).collect();
                        self.begin_count(&want, &seen, &cells, sum, Life::Keep).await?
                    }
                    None => {
                        return Err(Error::new(
                            ErrorKind::WrongType,
                            "the value under the key is not a counter (`i64`)",
                        ));
                    }
                },
                _ => {
                    let claimed = self.claimed(key, &Claimed::default());
                    let cells = self.shared.ensured(&claimed).await?;
                    let ttl = self.lifetime(&Claimed::default())?;
                    self.begin_count(&want, &seen, &cells, by, ttl.map_or(Life::Forever, Life::For)).await?
                }
            };
            if let Some(sum) = sum {
                return Ok(sum);
            }
        }
        Err(contended())
    }

    async fn begin_count(
        &self,
        want: &Want,
        seen: &Seen,
        cells: &[(Name, Nonce)],
        sum: i64,
        life: Life,
    ) -> Result<Option<i64>, Error> {
        let wire = self.shared.wire(self.call.site, &want.name.entry);
        let image = crate::codec::pack_counter(&wire, &self.head(0, cells), sum)?;
        let done = self.first_flag(vec![replace(want, Some(seen), Some(image), life, true)]).await?;
        Ok(done.then_some(sum))
    }

    /// Labels an entry that is there with more tags.
    pub(crate) async fn tag(&self, key: &KeyWriter, tags: &[Box<[u8]>]) -> Result<bool, Error> {
        let tenant = self.call.tenant();
        let want = self.want(key);
        let mut added = want.clone();
        added.required = tags.iter().map(|tag| self.shared.cell(Covers::Tag, tenant, tag)).collect();
        added.noted.clear();
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let more = self.shared.ensured(&added).await?;
            let seen = self.look(&want).await?;
            let Verdict::Live(envelope) = seen.judge(&want, wall_ms()) else { return Ok(false) };
            let mut cells = envelope.head.cells.clone();
            for (name, nonce) in &more {
                if !cells.iter().any(|(known, _)| **known == **name) {
                    cells.push((Cow::Borrowed(&**name), *nonce));
                }
            }
            let image = crate::codec::relabel(&self.shared.wire(self.call.site, &want.name.entry), &envelope, cells)?;
            let left = self.left(&want).await?.flatten();
            let mut ops = vec![replace(&want, Some(&seen), Some(image), Life::Keep, false)];
            ops.extend(extended(&more, left, 0));
            if self.first_flag(ops).await? {
                self.shared
                    .notes
                    .learn(&want.name.entry, &more.iter().map(|(name, _)| Arc::clone(name)).collect::<Vec<_>>());
                return Ok(true);
            }
        }
        Err(contended())
    }

    /// A part of the logical keys of this tenant, or of none, that match.
    pub(crate) async fn keys(&self, pattern: &Pattern, from: Cursor) -> Result<(Vec<Key>, Option<Cursor>), Error> {
        self.trusted().await?;
        let prefix = &self.core.settings.prefix;
        let mut what = Invalidation::default();
        self.shared.push_pattern(self.call.tenant(), pattern, &mut what);
        let Some(sweep) = what.sweeps.pop() else { return Ok((Vec::new(), None)) };
        let page = self.shared.store.scan(&sweep.glob, from).await?;
        let mut found: Vec<(Key, KeyWriter)> = Vec::new();
        for physical in &page.names {
            if !matches!(super::names::about(prefix, physical), super::names::About::Entry(_)) {
                continue;
            }
            let logical = name::logical_of(prefix, self.call.tenant(), physical);
            if let Some(logical) = logical.filter(|key| pattern.matches(key)) {
                let key = Key::new(String::from_utf8_lossy(logical));
                found.push((key.clone(), self.call.key_from(key)));
            }
        }
        let wants: Vec<Want> = found.iter().map(|(_, key)| self.want(key)).collect();
        let seen = if wants.is_empty() { Vec::new() } else { self.shared.look(&wants, wall_ms()).await? };
        let live = wants.iter().zip(&seen).map(|(want, seen)| Self::is_live(seen, want));
        let keys = found.into_iter().zip(live).filter(|(_, live)| *live).map(|((key, _), _)| key).collect();
        Ok((keys, page.next))
    }

    pub(crate) async fn delete_match(&self, pattern: &Pattern) -> Result<u64, Error> {
        let mut what = Invalidation::default();
        self.shared.push_pattern(self.call.tenant(), pattern, &mut what);
        Ok(self.shared.invalidate(what).await?.found)
    }

    /// Makes everything under these tags invalid, and drops the entries of that name. One round trip.
    pub(crate) async fn invalidate_tags(&self, tags: &[Box<[u8]>]) -> Result<(), Error> {
        self.shared.invalidate(self.of_tags(tags)).await.map(drop)
    }

    /// The same in the background, for who cannot wait.
    #[cfg(feature = "tower")]
    pub(crate) fn invalidate_tags_later(&self, tags: &[Box<[u8]>]) {
        self.shared.invalidate_later(self.of_tags(tags));
    }

    fn of_tags(&self, tags: &[Box<[u8]>]) -> Invalidation {
        let mut what = Invalidation::default();
        for tag in tags {
            let key = crate::engine::targets::physical_key(self.core, self.call, tag);
            self.shared.push_entry(&key, &mut what);
            self.shared.push_cell(Covers::Tag, self.call.tenant(), tag, &mut what);
        }
        what
    }

    pub(crate) async fn invalidate_cell(&self, covers: Covers, text: &[u8]) -> Result<(), Error> {
        let tenant = if covers == Covers::All { None } else { self.call.tenant() };
        let mut what = Invalidation::default();
        self.shared.push_cell(covers, tenant, text, &mut what);
        self.shared.invalidate(what).await.map(drop)
    }

    pub(crate) async fn invalidate_namespace(&self, namespace: &str) -> Result<(), Error> {
        self.invalidate_cell(Covers::Namespace, &canonical(namespace)).await
    }

    /// Drops everything of this tenant; outside of one, everything.
    pub(crate) async fn clear_all(&self) -> Result<(), Error> {
        let covers = if self.call.tenant().is_some() { Covers::Tenant } else { Covers::All };
        self.invalidate_cell(covers, b"").await
    }

    /// Drops all entries of the call's function.
    pub(crate) async fn clear_function(&self) -> Result<(), Error> {
        self.invalidate_cell(Covers::Function, self.call.site.cell_text().as_bytes()).await
    }

    /// What is known of an entry, for people.
    pub(crate) async fn known(&self, key: &KeyWriter) -> Result<Option<Known>, Error> {
        let want = self.want(key);
        let seen = self.look(&want).await?;
        let Verdict::Live(envelope) = seen.judge(&want, wall_ms()) else { return Ok(None) };
        let Some(left) = self.left(&want).await? else { return Ok(None) };
        let note = self.shared.notes.get(&want.name.entry);
        let (hits, last_access) = Call::served_copy(self.core, &want);
        Ok(Some(Known {
            created_ms: envelope.head.created_ms,
            left: Self::soft(&envelope).or(left),
            hits: note.hits + hits,
            last_access: note.last_access.max(last_access),
            bytes: seen.bytes() + want.name.entry.len() as u64,
            cost_us: envelope.head.cost_us,
        }))
    }
}

/// A change of one entry, if it is as it was seen.
pub(super) fn replace(want: &Want, seen: Option<&Seen>, image: Option<Image>, life: Life, close: bool) -> Op {
    // The server adds to a counter without touching its envelope: what was counted meanwhile is not to be lost.
    let plain = seen.filter(|seen| matches!(seen.parse(want), Some(Ok(envelope)) if envelope.place == Place::Counter));
    let plain = plain.and_then(|seen| seen.plain.clone());
    let seen = seen.map(|seen| {
        let at = if seen.beside && seen.envelope.is_some() { &want.name.side } else { &want.name.entry };
        (Arc::clone(at), seen.envelope.clone())
    });
    Op::Replace { name: want.name.clone(), seen, plain, image, life, close }
}

/// Lets the others be done: at first there is nothing to wait for, then callers spread further and further.
async fn pause(attempt: u32) {
    if attempt > 1 {
        let share = f64::from(rand::random::<u16>()) / f64::from(u16::MAX);
        Sleep::until(after(alive_now(), SPREAD.mul_f64(f64::from(attempt) * share))).await;
    }
}

fn contended() -> Error {
    Error::new(ErrorKind::Unavailable, "others changed the entry again and again while this call tried to")
}

fn overflow() -> Error {
    Error::new(ErrorKind::WrongType, "the counter would overflow")
}

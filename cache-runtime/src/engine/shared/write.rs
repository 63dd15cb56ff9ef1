//! Writes on a shared backend: what becomes invalid is dropped in one round trip, whatever it covers; a write-through stores
//! its result if nobody touched the entry or its cells since before the body.
//!
//! A write-through holds the entry's lease and has seen its cells from before the body. Cells that the write itself
//! invalidates are then replaced by compare-and-set: of two writers that overlap, at most the first to arrive stores. Where
//! the key or a tag is known only from the result, the cell `%+any` stands for what nobody could watch: every invalidation
//! drops it in the same command, on backends where one command is atomic over all names; elsewhere such a result is not
//! stored.

use std::sync::Arc;

use super::fill::{aged, extended, lifetime};
use super::grant::{Hold, ensure};
use super::look::Want;
use super::names::{self, About};
use super::{CELL_TTL, Shared};
use crate::cell::CellSet;
use crate::clock::wall_ms;
use crate::engine::call::Call;
use crate::engine::load::Fill;
use crate::engine::name::{self, Covers};
use crate::engine::put::PutTarget;
use crate::engine::sink::{Tags, Texts};
use crate::envelope::{Head, Outcome};
use crate::error::{Error, ErrorKind};
use crate::key::Pattern;
use crate::outbox::{Delivered, Invalidation, Meant, Sweep};
use crate::sabotage::{self, Mutation};
use crate::store::{FENCED, Image, Life, Name, Nonce, Op, Reply};
use crate::tenant::Tenant;

/// What a call is told that has to go past the backend for an invalidation that did not reach it.
pub(crate) fn undelivered() -> Error {
    Error::new(ErrorKind::Unavailable, "an invalidation of this process has not reached the shared backend yet")
}

impl Shared {
    /// Adds the names of an entry.
    pub(crate) fn push_entry(&self, physical: &[u8], into: &mut Invalidation) {
        let name = names::entry(&self.prefix, physical);
        into.names.extend([name.entry, name.side]);
        if !sabotage::is(Mutation::LeaseSurvives) {
            into.names.push(name.lease);
        }
    }

    /// The name of an entry's lease.
    pub(crate) fn lease_name(&self, physical: &[u8]) -> Name {
        names::entry(&self.prefix, physical).lease
    }

    /// Adds a cell.
    pub(crate) fn push_cell(&self, covers: Covers, tenant: Option<&Tenant>, text: &[u8], into: &mut Invalidation) {
        into.names.push(self.cell(covers, tenant, text));
    }

    /// Adds all entries of a tenant, or of none, whose logical key matches.
    pub(crate) fn push_pattern(&self, tenant: Option<&Tenant>, pattern: &Pattern, into: &mut Invalidation) {
        let glob = names::glob(&self.prefix, &pattern.literal_front());
        let (prefix, tenant, pattern) = (self.prefix.clone(), tenant.cloned(), pattern.clone());
        let meant = move |name: &[u8]| {
            let matches = |key: &[u8]| {
                name::logical_of(&prefix, tenant.as_ref(), key).is_some_and(|key| pattern.could_match(key))
            };
            match names::about(&prefix, name) {
                About::Entry(key) if matches(key) => Meant::Entry,
                About::Beside(key) if matches(key) => Meant::Beside,
                _ => Meant::No,
            }
        };
        into.sweeps.push(Sweep { glob, meant: Arc::new(meant) });
    }

    /// Delivers an invalidation, or keeps it and fails.
    pub(crate) async fn invalidate(self: &Arc<Self>, mut what: Invalidation) -> Result<Delivered, Error> {
        self.complete(&mut what);
        self.outbox.send(what).await
    }

    /// Delivers an invalidation in the background.
    pub(crate) fn invalidate_later(&self, mut what: Invalidation) {
        self.complete(&mut what);
        self.outbox.keep(what);
    }

    fn complete(&self, what: &mut Invalidation) {
        if !what.names.is_empty() || !what.sweeps.is_empty() {
            what.names.push(self.any());
        }
        what.names.sort_unstable();
        what.names.dedup();
    }

    /// The cell that every invalidation drops.
    fn any(&self) -> Name {
        self.cell(Covers::Any, None, b"")
    }
}

/// A write-through between its writer's body and its result. Dropping it gives the lease back.
pub(crate) struct SharedClaim<V> {
    target: PutTarget<V>,
    want: Want,
    hold: Option<Hold>,
    /// The cells as they were before the body.
    cells: Vec<(Name, Nonce)>,
    /// What depends on the value, once there is one.
    said: Option<Said>,
}

/// The write-throughs of one write.
pub(crate) struct SharedClaims<V> {
    shared: Arc<Shared>,
    claims: Vec<SharedClaim<V>>,
    /// Known only after the body.
    late: Vec<PutTarget<V>>,
    /// The cell `%+any` before the body, where it can be relied on.
    any: Option<Nonce>,
}

impl<V> std::fmt::Debug for SharedClaims<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedClaims").field("claims", &self.claims.len()).finish_non_exhaustive()
    }
}

impl<V> SharedClaims<V> {
    /// Claims the entries that are known before the body: one round trip. Entries that could not be claimed are only
    /// invalidated.
    pub(crate) async fn begin(shared: &Arc<Shared>, call: &Call<'_>, targets: Vec<PutTarget<V>>) -> Self {
        let mut this = Self { shared: Arc::clone(shared), claims: Vec::new(), late: Vec::new(), any: None };
        let claims: Vec<_> = targets.into_iter().map(|target| SharedClaim::new(shared, target)).collect();
        let ops = if shared.store.is_single() { vec![ensure(&shared.any())] } else { Vec::new() };
        match this.acquire(ops, claims).await {
            Ok(any) => this.any = any,
            Err(error) => call.failed(&error),
        }
        this
    }

    /// Sends `ops`, of which the first may be about `%+any`, with the claims; returns the nonce it found.
    async fn acquire(&mut self, mut ops: Vec<Op>, mut claims: Vec<SharedClaim<V>>) -> Result<Option<Nonce>, Error> {
        let watches = !ops.is_empty();
        for claim in &mut claims {
            let hold = Hold::new(&self.shared, &claim.want.name.lease);
            ops.push(hold.acquire(claim.target.call().site.options.lock_ttl, false));
            ops.extend(claim.want.cells().map(ensure));
            claim.hold = Some(hold);
        }
        let mut replies = self.shared.store.run(ops).await.into_iter();
        let mut next = || replies.next().unwrap_or_else(super::no_reply);
        let any = if watches { next().and_then(Reply::nonce).map(Some) } else { Ok(None) };
        let mut failed = None;
        for claim in &mut claims {
            match next().and_then(Reply::flag) {
                Ok(true) => {}
                Ok(false) => claim.refuse(),
                // It may have been taken, and is given back. The entry is invalidated after the body all the same.
                Err(error) => failed = Some(error),
            }
            let cells: Vec<Name> = claim.want.cells().cloned().collect();
            for cell in cells {
                match next().and_then(Reply::nonce) {
                    // Of a cell that is being written nothing is known: the entry is only invalidated.
                    Ok(FENCED) => {}
                    Ok(nonce) => claim.cells.push((cell, nonce)),
                    Err(error) => failed = Some(error),
                }
            }
        }
        self.claims.extend(claims);
        failed.map_or(any, Err)
    }

    /// An entry named after the write.
    pub(crate) fn push_late(&mut self, target: PutTarget<V>) {
        self.late.push(target);
    }
}

impl<V: Send + Sync + 'static> SharedClaims<V> {
    /// Stores `value` in the course of the writer's invalidation. `None`: the value is absent. Returns whether all marks were
    /// there that were removed.
    pub(crate) async fn redeem(mut self, value: Option<&Arc<V>>, mut what: Invalidation) -> Result<bool, Error> {
        let shared = Arc::clone(&self.shared);
        // Dropped on the way, everything becomes invalid.
        let mut all = what.clone();
        all.names.extend(self.claims.iter().flat_map(SharedClaim::names));
        self.late.iter().for_each(|target| shared.push_entry(target.key().as_bytes(), &mut all));
        shared.complete(&mut all);
        let parcel = shared.outbox.parcel(all);
        self.claim_late(value).await;
        let mut keep = Vec::new();
        for mut claim in std::mem::take(&mut self.claims) {
            let stored = value.and_then(|value| claim.ready(&shared, value));
            match stored {
                Some(ready) => keep.push((claim, ready)),
                None => {
                    claim.refused();
                    what.names.extend(claim.names());
                }
            }
        }
        for target in self.late.drain(..) {
            target.count_refused();
            shared.push_entry(target.key().as_bytes(), &mut what);
        }
        // What is written through is replaced, not dropped.
        let kept = |name: &Name| {
            keep.iter().any(|(claim, _)| {
                let own = &claim.want.name;
                *name == own.entry || *name == own.side || *name == own.lease
            })
        };
        what.names.retain(|name| !kept(name));
        shared.complete(&mut what);
        let swaps = swaps(&mut keep, &mut what);
        let swapped = shared.swap(&swaps, &mut what).await;
        let delivered = shared.outbox.send(what).await.map(|delivered| delivered.marked);
        let mut dropped = Invalidation::default();
        // A write-through that is named after its body must not come after this one as if nothing had happened.
        let mut ops = vec![Op::Drop(vec![shared.any()])];
        let mut filled = Vec::new();
        for (mut claim, mut ready) in keep {
            let all = swapped
                .iter()
                .zip(&swaps)
                .all(|(swapped, swap)| *swapped || !ready.cells.iter().any(|(name, _)| *name == swap.cell));
            if !all || delivered.is_err() {
                claim.refused();
                dropped.names.extend(claim.names());
                continue;
            }
            for swap in &swaps {
                ready
                    .cells
                    .iter_mut()
                    .filter(|(name, _)| *name == swap.cell)
                    .for_each(|(_, nonce)| *nonce = swap.fresh);
            }
            let own = claim.fill(&shared, &ready, value);
            if let Some(hold) = &mut claim.hold {
                hold.disarm();
            }
            match own {
                Some(own) => {
                    filled.push((ops.len(), claim));
                    ops.extend(own);
                }
                None => dropped.names.extend(claim.names()),
            }
        }
        if !filled.is_empty() {
            let replies = shared.store.run(ops).await;
            if let Some(error) = replies.iter().find_map(|reply| reply.as_ref().err()) {
                // Whether it was stored is not known; what was there before is not to stay.
                dropped.names.extend(filled.iter().flat_map(|(_, claim)| claim.names()));
                let error = error.again();
                if error.kind() == ErrorKind::Unavailable {
                    shared.invalidate_later(dropped);
                } else {
                    // A server that takes no values (it is full) drops them all the same.
                    shared.invalidate(dropped).await.ok();
                }
                parcel.arrived();
                return delivered.and(Err(error));
            }
            for (at, claim) in filled {
                if !matches!(replies.get(at), Some(Ok(Reply::Flag(true)))) {
                    // The lease was lost during the body, and somebody who began before the commit may hold it by now.
                    claim.refused();
                    dropped.names.extend(claim.names());
                }
            }
        }
        if !dropped.names.is_empty() {
            let dropped = shared.invalidate(dropped).await;
            parcel.arrived();
            return dropped.and(delivered);
        }
        parcel.arrived();
        delivered
    }

    /// Claims what is known only now, if nothing at all was invalidated since before the body.
    async fn claim_late(&mut self, value: Option<&Arc<V>>) {
        let (Some(before), Some(value)) = (self.any, value) else { return };
        let shared = Arc::clone(&self.shared);
        let targets = std::mem::take(&mut self.late);
        let mut new: Vec<SharedClaim<V>> =
            targets.into_iter().map(|target| SharedClaim::new(&shared, target)).collect();
        let mut old = std::mem::take(&mut self.claims);
        for claim in new.iter_mut().chain(&mut old) {
            claim.say(&shared, value);
        }
        let unread: Vec<Name> = old.iter().flat_map(SharedClaim::unread).collect();
        if new.is_empty() && unread.is_empty() {
            self.claims = old;
            return;
        }
        let mut ops: Vec<Op> = unread.iter().map(ensure).collect();
        for claim in &mut new {
            let hold = Hold::new(&shared, &claim.want.name.lease);
            ops.push(hold.acquire(claim.target.call().site.options.lock_ttl, false));
            ops.extend(claim.want.cells().map(ensure));
            claim.hold = Some(hold);
        }
        // Last: what was invalidated before this is seen here, and what is invalidated after it finds the cells above.
        ops.push(Op::Read(shared.any()));
        let replies = shared.store.run(ops).await;
        let unchanged = matches!(replies.last(), Some(Ok(Reply::Bytes(Some(now)))) if **now == before);
        let mut replies = replies.into_iter();
        let mut nonce = || replies.next().and_then(Result::ok);
        let mut read = Vec::new();
        for name in unread {
            read.extend(
                nonce()
                    .and_then(|reply| reply.nonce().ok())
                    .filter(|nonce| *nonce != FENCED)
                    .map(|nonce| (name, nonce)),
            );
        }
        for claim in &mut new {
            let got = nonce().is_some_and(|reply| reply.flag().unwrap_or(false));
            if !got {
                claim.refuse();
            }
            let cells: Vec<Name> = claim.want.cells().cloned().collect();
            for cell in cells {
                let nonce = nonce().and_then(|reply| reply.nonce().ok()).filter(|nonce| *nonce != FENCED);
                claim.cells.extend(nonce.map(|nonce| (cell, nonce)));
            }
        }
        if unchanged {
            for claim in &mut old {
                let own: Vec<_> = read.iter().filter(|(name, _)| claim.want.noted.contains(name)).cloned().collect();
                claim.cells.extend(own);
            }
        } else {
            new.iter_mut().for_each(|claim| claim.cells.clear());
        }
        old.append(&mut new);
        self.claims = old;
    }
}

/// A value that may be stored once its writer's own cells are replaced.
pub(crate) struct Ready {
    cells: Vec<(Name, Nonce)>,
}

/// A cell of an entry that its writer invalidates.
struct Swap {
    cell: Name,
    seen: Nonce,
    fresh: Nonce,
}

/// Takes the cells of entries that are written through out of what is invalidated: they are replaced, not dropped.
fn swaps<V>(keep: &mut [(SharedClaim<V>, Ready)], what: &mut Invalidation) -> Vec<Swap> {
    let mut swaps: Vec<Swap> = Vec::new();
    for (_, ready) in keep {
        for (cell, seen) in &ready.cells {
            if let Some(index) = what.names.iter().position(|name| name == cell) {
                what.names.swap_remove(index);
                swaps.push(Swap { cell: Arc::clone(cell), seen: *seen, fresh: super::nonce() });
            }
        }
    }
    swaps
}

impl Shared {
    /// Replaces cells; says of each whether it was what its writer saw. One that is not known to be replaced goes back into
    /// `what`, so that dropping it is part of what the write delivers, keeps, or fails with.
    async fn swap(&self, swaps: &[Swap], what: &mut Invalidation) -> Vec<bool> {
        if swaps.is_empty() {
            return Vec::new();
        }
        let op = |swap: &Swap| Op::Swap {
            cell: Arc::clone(&swap.cell),
            seen: swap.seen,
            fresh: swap.fresh,
            ttl: Some(CELL_TTL),
        };
        let replies = self.store.run(swaps.iter().map(op).collect()).await;
        let replaced = replies.into_iter().zip(swaps).map(|(reply, swap)| {
            reply.and_then(Reply::flag).unwrap_or_else(|_| {
                what.names.push(Arc::clone(&swap.cell));
                false
            })
        });
        replaced.collect()
    }
}

impl<V> SharedClaim<V> {
    fn new(shared: &Shared, target: PutTarget<V>) -> Self {
        let mut want = Want::of(shared, &target.call, &target.key, &target.early);
        want.noted.clear();
        Self { target, want, hold: None, cells: Vec::new(), said: None }
    }

    /// Somebody else has the lease.
    fn refuse(&mut self) {
        if let Some(mut hold) = self.hold.take() {
            hold.disarm();
        }
    }

    /// The entry's names.
    fn names(&self) -> [Name; 3] {
        let name = &self.want.name;
        [Arc::clone(&name.entry), Arc::clone(&name.side), Arc::clone(&name.lease)]
    }
}

impl<V: Send + Sync + 'static> SharedClaim<V> {
    /// Takes the tags that only the value tells.
    fn say(&mut self, shared: &Shared, value: &V) {
        if self.said.is_some() {
            return;
        }
        let said = self.target.say(value);
        let tenant = self.target.call().tenant();
        for tag in &said.tags {
            let cell = shared.cell(Covers::Tag, tenant, tag);
            if !self.want.required.contains(&cell) && !self.want.noted.contains(&cell) {
                self.want.noted.push(cell);
            }
        }
        self.said = Some(said);
    }

    /// Cells that the entry depends on and that were not read before the body.
    fn unread(&self) -> Vec<Name> {
        let known = |name: &&Name| !self.cells.iter().any(|(known, _)| known == *name);
        self.want.noted.iter().filter(known).cloned().collect()
    }

    /// Whether the entry may be stored: the lease is held, every cell was seen, and the value is wanted.
    fn ready(&mut self, shared: &Shared, value: &V) -> Option<Ready> {
        self.hold.as_ref()?;
        self.say(shared, value);
        let complete = self.want.cells().all(|name| self.cells.iter().any(|(known, _)| known == name));
        (complete && self.is_wanted()).then(|| Ready { cells: self.cells.clone() })
    }

    fn is_wanted(&self) -> bool {
        self.said.as_ref().is_none_or(|said| said.wanted)
    }

    fn refused(&self) {
        self.target.count_refused();
    }

    /// The entry's bytes and how long it lives; `None`: it is not to be stored.
    #[allow(clippy::type_complexity, reason = "said in the line above")]
    fn image(
        &self,
        shared: &Shared,
        cells: &[(Name, Nonce)],
        value: &V,
    ) -> Result<Option<(Image, Option<std::time::Duration>)>, Error> {
        let call = self.target.call();
        let Some(core) = call.core() else { return Ok(None) };
        let options = &call.site.options;
        let life = self.said.as_ref().and_then(|said| said.life).unwrap_or(options.life);
        let Some(ttl) = lifetime(core, life, options.jitter) else { return Ok(None) };
        let created_ms = wall_ms();
        let (expires_ms, ttl) = aged(&options.ages, created_ms, ttl);
        let head = Head {
            outcome: Outcome::Some,
            template: self.target.key().template(),
            created_ms,
            expires_ms,
            cost_us: 0,
            cells: cells.iter().map(|(name, nonce)| (std::borrow::Cow::Borrowed(&**name), *nonce)).collect(),
        };
        let wire = shared.wire(call.site, &self.want.name.entry);
        let image = (self.target.handling.pack)(&wire, &head, Some(value))?;
        Ok(Some((image, ttl)))
    }

    /// The commands that store the value.
    fn fill(&self, shared: &Shared, ready: &Ready, value: Option<&Arc<V>>) -> Option<Vec<Op>> {
        let (hold, value) = (self.hold.as_ref()?, value?);
        let (image, ttl) = self.image(shared, &ready.cells, value).ok()??;
        let mut ops = vec![Op::Fill { name: self.want.name.clone(), token: hold.token, image, ttl, or_drop: true }];
        ops.extend(extended(&ready.cells, ttl, 0));
        Some(ops)
    }
}

impl<V: Send + Sync + 'static> PutTarget<V> {
    /// Runs what depends on the value, and returns what it came to.
    fn say(&mut self, value: &V) -> Said {
        let mut said = Said { tags: Texts::default(), life: self.life, wanted: true };
        if let (Some(say), Some(core)) = (self.on_value.take(), self.call.core()) {
            let mut cells = CellSet::default();
            let mut tags = Tags::new(core, self.call.tenant(), &mut cells, None);
            tags.texts = Some(&mut said.tags);
            say(value, &mut Fill::new(&self.call, tags, &mut said.life, &mut said.wanted));
        }
        said
    }

    fn count_refused(&self) {
        if let Some(function) = self.call().function() {
            function.counters.refused.increment();
        }
    }

    /// Stores what the caller claims, over whatever is there: a round trip for the cells, one for the entry.
    pub(crate) async fn store_shared(self, shared: &Arc<Shared>, value: &V) -> Result<(), Error> {
        let mut claim = SharedClaim::new(shared, self);
        claim.say(shared, value);
        let cells = shared.ensured(&claim.want).await?;
        let image = if claim.is_wanted() { claim.image(shared, &cells, value)? } else { None };
        shared.replace(&claim.want, &cells, image).await
    }
}

/// What depends on a value.
struct Said {
    tags: Texts,
    life: Option<crate::policy::Lifetime>,
    wanted: bool,
}

impl Shared {
    /// The cells of an entry, with their nonces.
    pub(super) async fn ensured(&self, want: &Want) -> Result<Vec<(Name, Nonce)>, Error> {
        let names: Vec<&Name> = want.cells().collect();
        let replies = self.store.run(names.iter().map(|cell| ensure(cell)).collect()).await;
        names.into_iter().zip(replies).map(|(name, reply)| Ok((Arc::clone(name), reply?.nonce()?))).collect()
    }

    /// Stores or drops an entry, whatever is there; loads that run may not fill it.
    pub(super) async fn replace(
        &self,
        want: &Want,
        cells: &[(Name, Nonce)],
        image: Option<(Image, Option<std::time::Duration>)>,
    ) -> Result<(), Error> {
        self.notes.renew(&want.name.entry);
        let (image, ttl) = image.map_or((None, None), |(image, ttl)| (Some(image), ttl));
        let mut ops = vec![
            Op::Drop(vec![self.any()]),
            Op::Replace {
                name: want.name.clone(),
                seen: None,
                plain: None,
                life: ttl.map_or(Life::Forever, Life::For),
                image,
                close: true,
            },
        ];
        ops.extend(extended(cells, ttl, 0));
        for reply in self.store.run(ops).await {
            reply?;
        }
        Ok(())
    }
}

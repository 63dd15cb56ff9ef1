//! Write-through: a writer's result becomes an entry, if nobody touched the key or its tags since before the body.
//!
//! Two writers can commit in one order and arrive here in the other. Cells as they were before the body, a ticket on the
//! key, and a watch for what is known only from the result together let only a writer store that nobody overtook; for
//! everybody else only the invalidation happens.

use std::sync::Arc;

use super::core::Core;
use super::load::{Fill, record};
use super::name::{self, Covers};
use super::put::PutTarget;
use super::sink::Tags;
use crate::cell::{Cell, CellSet};
use crate::flight::Ticket;
use crate::memory::Removed;
use crate::record::Stored;
use crate::tags::Watch;

/// A write-through between its writer's body and its result. Dropping it gives the key back.
pub(crate) struct Claim<V> {
    core: Arc<Core>,
    target: Option<PutTarget<V>>,
    ticket: Arc<Ticket>,
    /// What the entry depends on, by name, and the cells as they were before the body.
    seen: Vec<(Box<[u8]>, Arc<Cell>)>,
    watch: Arc<Watch>,
    /// Something that the entry depends on was touched between the body's begin and the claim.
    void: bool,
}

impl<V> std::fmt::Debug for Claim<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("target", &self.target).finish_non_exhaustive()
    }
}

impl<V> Drop for Claim<V> {
    fn drop(&mut self) {
        if let Some(target) = &self.target {
            self.core.flights.forget(target.key.as_bytes(), &self.ticket);
        }
    }
}

impl<V> PutTarget<V> {
    /// Claims the entry. `watch` began before the writer's body: what was touched since then by anybody else makes the
    /// claim void, also where the key is known only after the body.
    pub(crate) fn claim(self, watch: &Arc<Watch>) -> Option<Claim<V>> {
        let core = Arc::clone(self.call.core()?);
        // The ticket first: of somebody who touches the key meanwhile, either the watch or the ticket tells.
        let ticket = core.flights.ticket(self.key.as_bytes());
        let mut claim = Claim {
            void: watch.saw(self.key.as_bytes()) || watch.saw(name::ANY_PATTERN),
            core,
            ticket,
            seen: Vec::new(),
            watch: Arc::clone(watch),
            target: None,
        };
        let tenant = self.call.tenant();
        let implicit = claim.core.implicit_names(tenant, self.call.site, self.early.namespace.as_deref());
        for name in implicit.chain(self.early.tags.iter().map(|tag| name::cell(Covers::Tag, tenant, tag))) {
            match watch.acquire(&name) {
                Some(cell) => claim.see(name.as_slice().into(), cell),
                None => claim.void = true,
            }
        }
        claim.target = Some(self);
        Some(claim)
    }
}

impl<V> Claim<V> {
    /// The physical key that it claims.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.target.as_ref().map(|target| target.key.as_bytes())
    }

    /// Notes a cell, unless the name is known already: the first one is the oldest.
    fn see(&mut self, name: Box<[u8]>, cell: Arc<Cell>) {
        if !self.seen.iter().any(|(known, _)| *known == name) {
            self.seen.push((name, cell));
        }
    }
}

impl<V: Send + Sync + 'static> Claim<V> {
    /// Stores `value` in the course of the writer's invalidation. `invalidated` are the names that the writer invalidates
    /// and that nobody has invalidated yet; those of the entry are replaced, not only killed, and are taken from the list.
    pub(crate) fn redeem(mut self, value: &Arc<V>, invalidated: &mut Vec<Box<[u8]>>) {
        let Some(target) = self.target.take() else { return };
        let core = Arc::clone(&self.core);
        let mut cells = CellSet::default();
        let mut life = target.life;
        let mut wanted = true;
        if let Some(say) = target.on_value {
            let mut late = Vec::new();
            let mut known = CellSet::default();
            let mut tags = Tags::new(&core, target.call.tenant(), &mut known, Some(&self.watch));
            tags.named = Some(&mut late);
            let mut fill = Fill::new(&target.call, tags, &mut life, &mut wanted);
            say(value, &mut fill);
            self.void |= fill.refused();
            for (name, cell) in late {
                self.see(name, cell);
            }
        }
        for (name, seen) in &self.seen {
            // A mark of our own fence, which is gone by now: the watch began after it.
            let fresh = if seen.is_live() { Some(Arc::clone(seen)) } else { self.watch.acquire(name) };
            let cell = match (fresh, invalidated.iter().position(|own| own == name)) {
                (Some(fresh), Some(index)) => {
                    invalidated.swap_remove(index);
                    core.cells.replace(name, &fresh)
                }
                (fresh, _) => fresh,
            };
            match cell {
                Some(cell) => cells.push(cell),
                None => self.void = true,
            }
        }
        let function = core.function(target.call.site);
        let store = core.store_of(function);
        let stored = Stored::Some(Arc::clone(value) as _);
        let bytes = || (target.handling.bytes)(value);
        let record = if !self.void && wanted && cells.is_live() {
            record(&core, &target.call, target.key.as_bytes(), stored, life, target.key.template(), 0, cells, bytes)
        } else {
            None
        };
        core.cells.note(target.key.as_bytes());
        let _removed: Removed = core.flights.redeem(target.key.as_bytes(), &self.ticket, |held| match record {
            Some(record) if held => store.map().insert(target.key.as_bytes().into(), Arc::new(record)),
            _ => {
                function.counters.refused.increment();
                core.remove_everywhere(target.key.as_bytes())
            }
        });
    }
}

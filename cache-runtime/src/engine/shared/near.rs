//! Copies in memory of what is on a shared backend, in a hybrid cache: made of what a watched look-up found, with what the
//! look-up depended on. Whether a copy may be served is `hybrid`'s business, and the record's cells'.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::look::{Seen, Want};
use crate::cell::CellSet;
use crate::clock::{FOREVER, Nanos, after, alive_now};
use crate::engine::call::Call;
use crate::engine::core::Core;
use crate::policy::Ages;
use crate::record::{Record, Stored};
use crate::site::{Site, SiteKind};
use crate::store::Name;

/// What a look-up tells of an entry besides the entry, where later changes of it are told to this process.
#[derive(Debug)]
pub(super) struct Near {
    /// Acquired before the look-up was sent.
    pub(super) cells: CellSet,
    /// When it was sent.
    pub(super) sent: Nanos,
}

/// A copy that may be made of what is about to be read.
#[derive(Debug)]
pub(super) struct Pending {
    cells: CellSet,
    sent: Nanos,
}

impl Pending {
    /// The look-up has been answered.
    pub(super) fn found(self) -> Near {
        Near { cells: self.cells, sent: self.sent }
    }
}

impl Near {
    /// Adds cells that the entry names. To be called before they are read.
    pub(super) fn add(&mut self, shared: &Shared, names: &[Name]) {
        if let Some(l1) = &shared.l1 {
            l1.add_pending(names, &mut self.cells);
        }
    }

    /// How much of what was left when the look-up was sent is left now.
    fn left(&self, left: Duration) -> Duration {
        left.saturating_sub(Duration::from_nanos(alive_now().saturating_sub(self.sent)))
    }
}

impl Shared {
    /// Whether memory has copies of this function's entries. What slides is asked for each time, so that its life on the
    /// servers is extended.
    pub(crate) fn copies(&self, site: &Site) -> bool {
        self.l1.is_some() && site.kind == SiteKind::Read && site.options.local && !site.options.sliding
    }

    /// Whether copies of this function's entries may be served at this time of [`alive_now`].
    #[inline]
    pub(crate) fn serves(&self, site: &Site, now: Nanos) -> bool {
        self.l1.as_ref().is_some_and(|l1| l1.serves(now)) && self.copies(site)
    }

    /// The right to copy what is about to be read. The cells come first: an invalidation that is kept because it could not
    /// be delivered kills them after it has been kept.
    pub(super) fn pending(&self, want: &Want) -> Option<Pending> {
        let l1 = self.l1.as_ref().filter(|l1| want.copied && l1.serves(alive_now()))?;
        let cells = l1.pending([&want.name.entry, &want.name.side].into_iter().chain(want.cells()));
        self.outbox.is_empty().then(|| Pending { cells, sent: alive_now() })
    }
}

impl Call<'_> {
    /// How often the copy of an entry was served, and when it last was.
    pub(super) fn served_copy(core: &Core, want: &Want) -> (u64, Nanos) {
        let copy = core.store.get(&want.name.entry).filter(|record| record.is_copy);
        copy.map_or((0, 0), |record| (record.hits(), if record.hits() > 0 { record.last_access() } else { 0 }))
    }

    /// Keeps a copy of what a watched look-up found.
    pub(super) fn copy(&self, core: &Core, want: &Want, seen: &Seen, stored: &Stored, ages: Ages) {
        #[cfg(feature = "sabotage")]
        let marked_late = self.marked_late(want, seen);
        #[cfg(feature = "sabotage")]
        let seen = marked_late.as_ref().unwrap_or(seen);
        let Some(near) = seen.near.as_ref().filter(|near| near.cells.is_live()) else { return };
        let now = core.now();
        let cap = self.site.options.local_cap.map_or(FOREVER, |cap| after(now, cap));
        let Some(left) = seen.left else { return };
        // Never longer than the entry itself.
        let left = left.map(|left| near.left(left));
        let of_use = left.map_or(FOREVER, |left| after(now, left)).min(cap);
        let (created, expires) = match (self.life_of(want, seen), left) {
            (Some(life), Some(left)) => {
                let age = (life + ages.window()).saturating_sub(left);
                let created = now.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
                (created, after(created, life).min(cap))
            }
            _ => (now, of_use),
        };
        let physical = &want.name.entry;
        let bytes = core.bytes(physical, stored, || seen.bytes());
        let weight = core.settings.bounds.weight(bytes);
        if of_use <= now || !core.settings.bounds.admits(weight) {
            return;
        }
        let mut record = Record::new(physical, stored.clone(), want.template, now, expires, near.cells.clone());
        record.created = created;
        record.window = of_use.saturating_sub(expires);
        record.bytes = bytes;
        record.is_copy = true;
        record.owner = self.site.index();
        record.cost = seen.parse(want).and_then(Result::ok).map_or(0, |envelope| envelope.head.cost_us * 1_000);
        record.weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let _removed = core.store.map().insert(Box::from(&**physical), Arc::new(record));
    }
}

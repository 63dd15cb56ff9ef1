//! A glance: the look-up that most calls end with. It reads an entry and the cells that the call knows in one round trip, as
//! [`look`](super::look) does, and by the same rules; but nothing of it is kept, so nothing is allocated for each name.
//!
//! Whatever is not simply served is for `look` and `read`, which go on with what was found: nothing is read twice.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::look::{Form, Seen, Terms, Worth, content_of, judge};
use super::{Shared, is_function, names};
use crate::clock::wall_ms;
use crate::engine::batch::Wanted;
use crate::engine::call::Call;
use crate::engine::name::Covers;
use crate::engine::read::Mode;
use crate::engine::sink::Early;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::key::KeyWriter;
use crate::shape::Cached;
use crate::stats::began;
use crate::store::{Found, Names, Nonce};

/// Bytes that the names of one look-up take, mostly, and those of one more entry.
const ROOM: usize = 384;
const ROOM_OF_ONE_MORE: usize = 48;

/// What a glance came to.
pub(super) enum Glanced<R> {
    /// The value.
    Served(R),
    /// What is there, or why nobody knows.
    Seen(Result<Seen, Error>),
    /// It cannot be had at a glance.
    Nothing,
}

/// An entry among the names that are read.
struct Entry {
    /// Its own name. What may lie beside it follows.
    at: usize,
    template: u64,
    /// Its cells: first those that it has to depend on.
    cells: SmallVec<[usize; 8]>,
    required: usize,
    /// Which of them is the function's own; see `Want`.
    own: Option<usize>,
}

/// What is to be read.
struct Glance<'c> {
    shared: &'c Shared,
    call: &'c Call<'c>,
    form: Form,
    names: Names,
    /// Cells of other entries, where there are some: what many depend on is read once.
    others: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
}

impl<'c> Glance<'c> {
    /// With room for so many entries.
    fn new(shared: &'c Shared, call: &'c Call<'c>, entries: usize) -> Self {
        let names = Names::with_capacity(ROOM + (entries - 1) * ROOM_OF_ONE_MORE);
        Self { shared, call, form: shared.form(call.site), names, others: HashMap::default() }
    }

    /// Adds the entry of a call. What was said of the `last` one is mostly said of this one, too.
    fn add(&mut self, key: &KeyWriter, early: &Early, last: Option<(&Early, &Entry)>) -> Entry {
        let (prefix, physical) = (&self.shared.prefix, key.as_bytes());
        let at = self.names.add(|name| name.extend_from_slice(physical));
        if self.form == Form::Either {
            self.names.add(|name| names::write_side(name, prefix, physical));
        }
        let mut entry = Entry { at, template: key.template(), cells: SmallVec::new(), required: 0, own: None };
        match last {
            Some((said, last)) if said.tags == early.tags && said.namespace == early.namespace => {
                entry.cells.extend_from_slice(&last.cells[..last.required]);
                entry.own = last.own;
            }
            last => self.add_cells(&mut entry, early, last.is_some()),
        }
        entry.required = entry.cells.len();
        // Of tags that only the value tells, and of an entry that somebody else stored.
        for noted in self.shared.notes.cells(physical).iter().flat_map(|cells| &**cells) {
            self.add_cell(&mut entry, last.is_some(), |name| name.extend_from_slice(noted));
        }
        entry
    }

    /// Adds the cells that an entry has to depend on.
    fn add_cells(&mut self, entry: &mut Entry, early: &Early, is_one_more: bool) {
        let (shared, tenant, site) = (self.shared, self.call.tenant(), self.call.site);
        let mut cell = |covers, tenant, text: &[u8]| {
            let write = |name: &mut Vec<u8>| names::write_cell(name, &shared.prefix, covers, tenant, text);
            self.add_cell(entry, is_one_more, write)
        };
        cell(Covers::All, None, b"");
        let own = is_function(site).then(|| cell(Covers::Function, tenant, site.cell_text().as_bytes()));
        if tenant.is_some() {
            cell(Covers::Tenant, tenant, b"");
        }
        if let Some(namespace) = early.namespace.as_deref().or(shared.namespace.as_deref()) {
            cell(Covers::Namespace, tenant, namespace);
        }
        for tag in &early.tags {
            cell(Covers::Tag, tenant, tag);
        }
        entry.own = own;
    }

    /// Adds a cell to an entry, unless it has that already. Says where it is.
    fn add_cell(&mut self, entry: &mut Entry, is_one_more: bool, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let new = self.names.add(write);
        let name = self.names.get(new);
        let mut known = entry.cells.iter().copied().find(|known| self.names.get(*known) == name);
        let has = known.is_some();
        if known.is_none() && is_one_more {
            known = self.others.get(name).copied();
        }
        if let Some(known) = known {
            self.names.pop();
            if !has {
                entry.cells.push(known);
            }
            return known;
        }
        entry.cells.push(new);
        new
    }

    /// Lets entries that are added later find the cells of this one.
    fn share(&mut self, entry: &Entry) {
        for at in &entry.cells {
            self.others.entry(self.names.get(*at).into()).or_insert(*at);
        }
    }

    async fn read(self) -> Result<Read<'c>, Error> {
        let found = self.shared.store.get(&self.names).await?;
        Ok(Read { glance: self, found, now_ms: wall_ms() })
    }
}

/// What was read.
struct Read<'c> {
    glance: Glance<'c>,
    found: Vec<Option<Found>>,
    /// When it was judged.
    now_ms: u64,
}

impl Read<'_> {
    /// What is under one of the names.
    fn own(&self, at: usize) -> Option<&[u8]> {
        self.found.get(at)?.as_ref()?.own()
    }

    /// The envelope of an entry, and the value where that lies apart.
    fn bytes(&self, entry: &Entry) -> (Option<&[u8]>, Option<&[u8]>) {
        match self.glance.form {
            Form::Whole => (self.own(entry.at), None),
            Form::Either => match self.found.get(entry.at).and_then(Option::as_ref) {
                Some(here) if here.stamped => (Some(&here.bytes), None),
                here => (self.own(entry.at + 1), here.map(|here| &*here.bytes)),
            },
        }
    }

    /// The value of an entry, if it may be served.
    fn value<S: Cached>(&self, entry: &Entry, shape: S) -> Option<S::Ret> {
        let (envelope, plain) = self.bytes(entry);
        let Glance { shared, call, names, .. } = &self.glance;
        let name = names.get(entry.at);
        let envelope = Envelope::parse(name, envelope?, plain).ok()?;
        let terms = Judged { read: self, entry };
        let Worth::Live = judge(&envelope, &terms, self.now_ms) else { return None };
        shape.revive(content_of(&shared.wire(call.site, name), &envelope, shape).ok()??)
    }

    /// What was read of an entry, for who goes on with it.
    fn seen(&mut self, entry: &Entry) -> Seen {
        let nonce = |cell: &[u8]| Nonce::try_from(cell).ok();
        let cells = entry.cells.iter().map(|at| (self.glance.names.get(*at).into(), self.own(*at).and_then(nonce)));
        let cells = cells.collect();
        let (envelope, _) = self.bytes(entry);
        let envelope = envelope.map(<[u8]>::to_vec);
        let here = self.found.get_mut(entry.at).and_then(Option::take);
        match (self.glance.form, here) {
            (Form::Either, here) if !here.as_ref().is_some_and(|here| here.stamped) => {
                Seen { envelope, plain: here.map(|here| here.bytes), beside: true, cells, ..Seen::default() }
            }
            _ => Seen { envelope, cells, ..Seen::default() },
        }
    }
}

/// An entry that was read.
struct Judged<'a> {
    read: &'a Read<'a>,
    entry: &'a Entry,
}

impl Terms for Judged<'_> {
    fn template(&self) -> u64 {
        self.entry.template
    }

    fn nonce(&self, place: usize, cell: &[u8]) -> Option<Option<&[u8]>> {
        let cells = &self.entry.cells;
        let is = |at: &&usize| self.read.glance.names.get(**at) == cell;
        let at = cells.get(place).filter(is).or_else(|| cells.iter().find(is))?;
        Some(self.read.own(*at))
    }

    fn demanded(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let Entry { cells, required, own, .. } = self.entry;
        let required = cells[..*required].iter().enumerate();
        required.filter(move |(_, at)| *own != Some(**at)).map(|(place, at)| (place, self.read.glance.names.get(*at)))
    }
}

/// What a batch finds at a glance: the values, and the elements that take more, with what was seen of them.
pub(super) struct GlancedBatch<R> {
    pub(super) served: Vec<(usize, R)>,
    /// In the order of their keys.
    pub(super) others: Vec<Wanted>,
    /// Of `others`, if that was read.
    pub(super) seen: Option<Result<Vec<Seen>, Error>>,
}

impl Call<'_> {
    /// The value, where all that it takes is to read it.
    pub(super) async fn glance_shared<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        mode: Mode,
        key: &KeyWriter,
        early: &Early,
        shape: S,
    ) -> Glanced<S::Ret> {
        let Some(core) = self.core().filter(|_| mode == Mode::Read && self.is_seen_at_a_glance(shared, shape)) else {
            return Glanced::Nothing;
        };
        let began = began();
        let mut glance = Glance::new(shared, self, 1);
        let entry = glance.add(key, early, None);
        let mut read = match glance.read().await {
            Ok(read) => read,
            Err(error) => return Glanced::Seen(Err(error)),
        };
        match read.value(&entry, shape) {
            Some(ret) => {
                self.count_hit(core, shared, key.as_bytes(), core.now(), began);
                Glanced::Served(ret)
            }
            None => Glanced::Seen(Ok(read.seen(&entry))),
        }
    }

    /// [`glance_shared`](Self::glance_shared) at the elements of a batch.
    pub(super) async fn glance_batch<S: Cached>(
        &self,
        shared: &Arc<Shared>,
        mode: Mode,
        mut wanted: Vec<Wanted>,
        shape: S,
    ) -> GlancedBatch<S::Ret> {
        let mut served = Vec::new();
        let Some(core) = self.core().filter(|_| mode == Mode::Read && self.is_seen_at_a_glance(shared, shape)) else {
            Wanted::order(&mut wanted);
            return GlancedBatch { served, others: wanted, seen: None };
        };
        if wanted.is_empty() {
            return GlancedBatch { served, others: wanted, seen: None };
        }
        let began = began();
        let mut glance = Glance::new(shared, self, wanted.len());
        let mut entries: Vec<Entry> = Vec::with_capacity(wanted.len());
        for (index, Wanted { key, early, .. }) in wanted.iter().enumerate() {
            let last = index.checked_sub(1).map(|last| (&wanted[last].early, &entries[last]));
            let entry = glance.add(key, early, last);
            if last.is_none_or(|(_, last)| last.cells != entry.cells) {
                glance.share(&entry);
            }
            entries.push(entry);
        }
        let mut read = match glance.read().await {
            Ok(read) => read,
            Err(error) => {
                Wanted::order(&mut wanted);
                return GlancedBatch { served, others: wanted, seen: Some(Err(error)) };
            }
        };
        served.reserve(wanted.len());
        let now = core.now();
        let mut others = Vec::new();
        for (wanted, entry) in wanted.into_iter().zip(&entries) {
            match read.value(entry, shape) {
                Some(ret) => {
                    self.count_hit(core, shared, wanted.key.as_bytes(), now, began);
                    served.push((wanted.index, ret));
                }
                None => others.push((wanted, entry)),
            }
        }
        others.sort_by(|(a, _), (b, _)| a.key.as_bytes().cmp(b.key.as_bytes()));
        let seen = others.iter().map(|(_, entry)| read.seen(entry)).collect();
        let mut others: Vec<Wanted> = others.into_iter().map(|(wanted, _)| wanted).collect();
        // Which are in order already; some may be twins.
        Wanted::order(&mut others);
        GlancedBatch { served, others, seen: Some(Ok(seen)) }
    }

    /// Whether a hit is served with nothing to do besides. A copy needs marks, a life that slides needs names that are kept,
    /// and an age is asked of the server.
    fn is_seen_at_a_glance<S: Cached>(&self, shared: &Shared, shape: S) -> bool {
        let options = &self.site.options;
        let is_plain = !options.sliding && !options.ages.is_set() && !shared.copies(self.site);
        is_plain && !shape.hides_result() && shared.is_trusted()
    }
}

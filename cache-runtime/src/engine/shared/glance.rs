//! A glance: the look-up that most calls end with. It reads an entry and the cells that the call knows in one round trip, as
//! [`look`](super::look) does, and by the same rules; but nothing of it is kept, so nothing is allocated for each name.
//!
//! Whatever is not simply served is for `look` and `read`, which go on with what was found: nothing is read twice.

use std::sync::Arc;

use smallvec::SmallVec;

use super::look::{Form, Seen, Terms, Verdict, content_of, judge};
use super::{Shared, is_function, names};
use crate::clock::wall_ms;
use crate::engine::call::Call;
use crate::engine::name::Covers;
use crate::engine::read::Mode;
use crate::engine::sink::Early;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::key::KeyWriter;
use crate::shape::Cached;
use crate::store::{Found, Names, Nonce};

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
struct Glance {
    form: Form,
    names: Names,
}

/// What was read.
struct Read {
    glance: Glance,
    found: Vec<Option<Found>>,
}

impl Glance {
    /// Adds the entry of a call.
    fn add(&mut self, shared: &Shared, call: &Call<'_>, key: &KeyWriter, early: &Early) -> Entry {
        let (prefix, physical) = (&shared.prefix, key.as_bytes());
        let at = self.names.add(|name| name.extend_from_slice(physical));
        if self.form == Form::Either {
            self.names.add(|name| names::write_side(name, prefix, physical));
        }
        let mut entry = Entry { at, template: key.template(), cells: SmallVec::new(), required: 0, own: None };
        let tenant = call.tenant();
        let mut cell = |entry: &mut Entry, covers, tenant, text: &[u8]| {
            self.add_cell(entry, |name| names::write_cell(name, prefix, covers, tenant, text))
        };
        cell(&mut entry, Covers::All, None, b"");
        if is_function(call.site) {
            entry.own = Some(cell(&mut entry, Covers::Function, tenant, call.site.cell_text().as_bytes()));
        }
        if tenant.is_some() {
            cell(&mut entry, Covers::Tenant, tenant, b"");
        }
        if let Some(namespace) = early.namespace.as_deref().or(shared.namespace.as_deref()) {
            cell(&mut entry, Covers::Namespace, tenant, namespace);
        }
        for tag in &early.tags {
            cell(&mut entry, Covers::Tag, tenant, tag);
        }
        entry.required = entry.cells.len();
        // Of tags that only the value tells, and of an entry that somebody else stored.
        for noted in shared.notes.get(physical).cells.iter() {
            self.add_cell(&mut entry, |name| name.extend_from_slice(noted));
        }
        entry
    }

    /// Adds a cell to an entry, unless it has that already. Says where it is.
    fn add_cell(&mut self, entry: &mut Entry, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let new = self.names.add(write);
        if let Some(known) = entry.cells.iter().find(|known| self.names.get(**known) == self.names.get(new)) {
            self.names.pop();
            return *known;
        }
        entry.cells.push(new);
        new
    }
}

impl Read {
    /// What is at one of the names.
    fn own(&self, at: usize) -> Option<&[u8]> {
        self.found.get(at)?.as_ref()?.own()
    }

    /// The envelope of an entry, and the value where that lies apart.
    fn bytes(&self, entry: &Entry) -> (Option<&[u8]>, Option<&[u8]>) {
        let here = self.found.get(entry.at).and_then(Option::as_ref);
        match self.glance.form {
            Form::Whole => (self.own(entry.at), None),
            Form::Either => match here {
                Some(here) if here.stamped => (Some(&here.bytes), None),
                here => (self.own(entry.at + 1), here.map(|here| &*here.bytes)),
            },
        }
    }

    /// The value of an entry, if it may be served.
    fn value<S: Cached>(&self, shared: &Shared, call: &Call<'_>, entry: &Entry, shape: S) -> Option<S::Ret> {
        let (envelope, plain) = self.bytes(entry);
        let name = self.glance.names.get(entry.at);
        let envelope = Envelope::parse(name, envelope?, plain).ok()?;
        let Verdict::Live(envelope) = judge(envelope, &Judged { read: self, entry }, wall_ms()) else { return None };
        shape.revive(content_of(&shared.wire(call.site, name), &envelope, shape).ok()??)
    }

    /// What was read of an entry, for who goes on with it.
    fn seen(mut self, entry: &Entry) -> Seen {
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
    read: &'a Read,
    entry: &'a Entry,
}

impl Terms for Judged<'_> {
    fn template(&self) -> u64 {
        self.entry.template
    }

    fn nonce(&self, cell: &[u8]) -> Option<Option<&[u8]>> {
        let at = self.entry.cells.iter().find(|at| self.read.glance.names.get(**at) == cell)?;
        Some(self.read.own(*at))
    }

    fn demanded(&self) -> impl Iterator<Item = &[u8]> {
        let Entry { cells, required, own, .. } = self.entry;
        cells[..*required].iter().filter(move |at| *own != Some(**at)).map(|at| self.read.glance.names.get(*at))
    }
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
        let Some(core) = self.core() else { return Glanced::Nothing };
        // A copy needs marks, a life that slides needs names that are kept, and an age is asked of the server.
        let options = &self.site.options;
        let is_plain = mode == Mode::Read && !options.sliding && !options.ages.is_set() && !shared.copies(self.site);
        if !is_plain || shape.hides_result() || !shared.is_trusted() {
            return Glanced::Nothing;
        }
        let mut glance = Glance { form: shared.form(self.site), names: Names::default() };
        let entry = glance.add(shared, self, key, early);
        let read = match shared.store.get(&glance.names).await {
            Ok(found) => Read { glance, found },
            Err(error) => return Glanced::Seen(Err(error)),
        };
        match read.value(shared, self, &entry, shape) {
            Some(ret) => {
                self.count_hit(core, shared, key.as_bytes());
                Glanced::Served(ret)
            }
            None => Glanced::Seen(Ok(read.seen(&entry))),
        }
    }
}

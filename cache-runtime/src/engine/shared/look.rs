//! Looking entries up: one round trip reads an entry, its cells, and what else the caller wants; then it is judged.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::near::{Near, Pending};
use crate::clock::{Nanos, wall_ms};
use crate::codec::{Codec, Wire};
use crate::engine::call::Call;
use crate::engine::direct::DIRECT;
use crate::engine::name::Covers;
use crate::engine::sink::Early;
use crate::envelope::{Envelope, Outcome, Reject};
use crate::error::Error;
use crate::key::KeyWriter;
use crate::record::{Erased, Stored};
use crate::report;
use crate::sabotage::{self, Mutation};
use crate::shape::{Cached, Handling};
use crate::site::Site;
use crate::stats::began;
use crate::store::{EntryName, Name, Nonce, Op, Reply};

/// Where an entry's envelope is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Under the entry's own name.
    Whole,
    /// There, or beside it. Plain JSON has it beside it; what has no value, and what was compressed, has it under its own.
    Either,
}

/// An entry that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(super) name: EntryName,
    /// Identity of the key template; 0 fits every entry.
    pub(super) template: u64,
    pub(super) form: Form,
    /// Cells that the entry has to depend on.
    pub(super) required: Vec<Name>,
    /// Which of them is the function's own. An entry of this key and template that somebody else stored (a batch function, a
    /// write-through by key, a direct call) depends on its storer's instead, as in memory.
    pub(super) own: Option<Name>,
    /// Cells that it may depend on, as far as this process remembers.
    pub(super) noted: Vec<Name>,
    /// Whether memory is to have a copy of it.
    pub(super) copied: bool,
    /// Whether it is of use after its life, too.
    pub(super) aged: bool,
    /// Until when, in its storer's time, the entry lived whose life is over by the server's clock. What this machine's clock
    /// says of it does not make it young again.
    outlived_ms: u64,
    /// Whether what lies there was counted as unusable: a call looks more than once.
    rejected: bool,
    /// When the call began.
    pub(super) began: Nanos,
}

/// What a look-up found under one name.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The envelope, and under which of the entry's names it is.
    pub(super) envelope: Option<Vec<u8>>,
    pub(super) beside: bool,
    pub(super) plain: Option<Vec<u8>>,
    /// All cells that were read.
    pub(super) cells: Vec<(Name, Option<Nonce>)>,
    /// Where memory may have a copy of it.
    pub(super) near: Option<Near>,
    /// How long the entry still lives, where that was asked; the inner `None`: for ever.
    pub(super) left: Option<Option<Duration>>,
}

/// What an entry is worth.
#[derive(Debug)]
pub(super) enum Verdict<'e> {
    /// It may be served.
    Live(Box<Envelope<'e>>),
    /// Nothing is there, or only the names of cells that a load should know.
    Missing,
    /// Expired, invalidated, or without a cell that it should depend on.
    Dead,
    /// Another template's.
    Other,
    /// These cells have to be read first.
    Ask(Vec<Name>),
    /// Not an entry that this program can read.
    Unusable(Reject),
}

/// What an entry is judged by.
pub(super) trait Terms {
    /// Identity of the key template; 0 fits every entry.
    fn template(&self) -> u64;

    /// The nonce of a cell, if it has one; the outer `None`: it was not read. An entry mostly names its cells in the order in
    /// which they are wanted, so where it names this one is worth a try.
    fn nonce(&self, place: usize, cell: &[u8]) -> Option<Option<&[u8]>>;

    /// The cells that the entry has to depend on, the function's own aside, and where each is among what is wanted.
    fn demanded(&self) -> impl Iterator<Item = (usize, &[u8])>;
}

/// What an envelope is worth at a moment.
pub(super) enum Worth {
    Live,
    Missing,
    Dead,
    Other,
    Ask(Vec<Name>),
}

/// Judges an envelope; [`Verdict`] says what the words mean.
pub(super) fn judge(envelope: &Envelope<'_>, terms: &impl Terms, now_ms: u64) -> Worth {
    let head = &envelope.head;
    let template = terms.template();
    if head.template != template && head.template != 0 && template != 0 {
        return Worth::Other;
    }
    if head.outcome == Outcome::Hint {
        return Worth::Missing;
    }
    if head.expires_ms != 0 && head.expires_ms <= now_ms {
        return Worth::Dead;
    }
    let mut ask = Vec::new();
    for (place, (name, nonce)) in head.cells.iter().enumerate() {
        match terms.nonce(place, name) {
            None => ask.push(Arc::from(&**name)),
            Some(Some(current)) if *current == nonce[..] => {}
            Some(None) if sabotage::is(Mutation::MissingCell) => {}
            Some(_) => return Worth::Dead,
        }
    }
    let names = |place: usize, cell: &[u8]| head.cells.get(place).is_some_and(|(name, _)| **name == *cell);
    let is_named = |cell: &[u8]| (0..head.cells.len()).any(|place| names(place, cell));
    if terms.demanded().any(|(place, cell)| !names(place, cell) && !is_named(cell)) {
        return Worth::Dead;
    }
    if ask.is_empty() { Worth::Live } else { Worth::Ask(ask) }
}

/// A look-up of one entry.
struct Looked<'a> {
    want: &'a Want,
    seen: &'a Seen,
}

impl Terms for Looked<'_> {
    fn template(&self) -> u64 {
        self.want.template
    }

    fn nonce(&self, _: usize, cell: &[u8]) -> Option<Option<&[u8]>> {
        let (_, nonce) = self.seen.cells.iter().find(|(known, _)| **known == *cell)?;
        Some(nonce.as_ref().map(|nonce| &nonce[..]))
    }

    fn demanded(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let own = self.want.own.as_ref();
        let required = self.want.required.iter().enumerate();
        required.filter(move |(_, cell)| own != Some(cell)).map(|(place, cell)| (place, &**cell))
    }
}

/// Why an entry that is there is a miss.
#[derive(Debug)]
enum Rejected {
    Bytes(Reject),
    /// It is another template's.
    Template,
}

impl Want {
    /// The entry of a call that knows what it depends on.
    pub(crate) fn of(shared: &Shared, call: &Call<'_>, key: &KeyWriter, early: &Early) -> Self {
        let name = super::names::entry(&shared.prefix, key.as_bytes());
        let tenant = call.tenant();
        let mut required = shared.implicit_cells(tenant, call.site, early.namespace.as_deref());
        for tag in &early.tags {
            let cell = shared.cell(Covers::Tag, tenant, tag);
            if !required.contains(&cell) {
                required.push(cell);
            }
        }
        let form = shared.form(call.site);
        let own = shared.function_cell(tenant, call.site);
        let (template, noted, copied) = (key.template(), Vec::new(), shared.copies(call.site));
        let mut want = Self {
            name,
            template,
            form,
            required,
            own,
            noted,
            copied,
            aged: false,
            outlived_ms: 0,
            rejected: false,
            began: began(),
        };
        // Of tags that only the value tells, and of an entry that somebody else stored.
        want.remember(shared);
        want
    }

    /// The entry of a direct call, which knows nothing but its key.
    pub(super) fn direct(shared: &Shared, key: &KeyWriter) -> Self {
        let name = super::names::entry(&shared.prefix, key.as_bytes());
        let mut want = Self {
            name,
            template: key.template(),
            form: Form::Either,
            required: Vec::new(),
            own: None,
            noted: Vec::new(),
            copied: false,
            aged: false,
            outlived_ms: 0,
            rejected: false,
            began: began(),
        };
        want.remember(shared);
        want
    }

    /// The moment at which an entry is judged: what is of use after its life is, for as long as the server keeps it.
    fn moment(&self, now_ms: u64) -> u64 {
        if self.aged { 0 } else { now_ms }
    }

    /// From here on only what is fresh will do, which `seen` is not if it `is_old`.
    pub(super) fn only_fresh(&mut self, seen: Option<&Seen>, is_old: bool) {
        self.aged = false;
        if let Some(Ok(envelope)) = seen.filter(|_| is_old).and_then(|seen| seen.parse(self)) {
            self.outlived_ms = envelope.head.expires_ms;
        }
    }

    fn remember(&mut self, shared: &Shared) {
        let noted = shared.notes.cells(&self.name.entry);
        self.noted =
            noted.iter().flat_map(|cells| &**cells).filter(|cell| !self.required.contains(cell)).cloned().collect();
    }

    /// Takes the names of cells from what is there, so that a load knows them before it begins.
    pub(super) fn learn(&mut self, shared: &Shared, seen: &Seen) {
        let Some(Ok(envelope)) = seen.parse(self) else { return };
        self.noted = envelope
            .head
            .cells
            .iter()
            .filter(|(name, _)| !self.required.iter().any(|known| **known == **name))
            .map(|(name, _)| Arc::from(&**name))
            .collect();
        shared.notes.learn(&self.name.entry, &self.noted);
    }

    /// The commands that read the entry itself.
    pub(super) fn entry_ops(&self) -> Vec<Op> {
        let EntryName { entry, side, .. } = &self.name;
        match self.form {
            Form::Whole => vec![Op::Read(Arc::clone(entry))],
            Form::Either => vec![Op::ReadAny(Arc::clone(entry)), Op::Read(Arc::clone(side))],
        }
    }

    /// What [`entry_ops`](Self::entry_ops) read.
    pub(super) fn take_entry(&self, replies: &mut impl Iterator<Item = Result<Reply, Error>>) -> Result<Seen, Error> {
        let mut next = || replies.next().unwrap_or_else(super::no_reply);
        Ok(match self.form {
            Form::Whole => Seen { envelope: next()?.bytes()?, ..Seen::default() },
            Form::Either => match (next()?.any()?, next()?.bytes()?) {
                (Some((envelope, true)), _) => Seen { envelope: Some(envelope), ..Seen::default() },
                (plain, envelope) => {
                    Seen { envelope, plain: plain.map(|(bytes, _)| bytes), beside: true, ..Seen::default() }
                }
            },
        })
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &Name> {
        self.required.iter().chain(&self.noted)
    }
}

impl Seen {
    /// How many bytes it takes there.
    pub(super) fn bytes(&self) -> u64 {
        [&self.envelope, &self.plain].into_iter().flatten().map(|bytes| bytes.len() as u64).sum()
    }

    /// The envelope; `None` where there is none.
    pub(super) fn parse(&self, want: &Want) -> Option<Result<Envelope<'_>, Reject>> {
        let plain = if self.beside { self.plain.as_deref() } else { None };
        self.envelope.as_deref().map(|envelope| Envelope::parse(&want.name.entry, envelope, plain))
    }

    /// What the entry is worth to one who wants it.
    pub(super) fn judge(&self, want: &Want, now_ms: u64) -> Verdict<'_> {
        let envelope = match self.parse(want) {
            None => return Verdict::Missing,
            Some(Err(reject)) => return Verdict::Unusable(reject),
            Some(Ok(envelope)) => envelope,
        };
        let now_ms = if want.aged { now_ms } else { now_ms.max(want.outlived_ms) };
        match judge(&envelope, &Looked { want, seen: self }, now_ms) {
            Worth::Live => Verdict::Live(Box::new(envelope)),
            Worth::Missing => Verdict::Missing,
            Worth::Dead => Verdict::Dead,
            Worth::Other => Verdict::Other,
            Worth::Ask(cells) => Verdict::Ask(cells),
        }
    }
}

impl Shared {
    /// Where the envelopes of a function's entries are looked for.
    pub(super) fn form(&self, site: &Site) -> Form {
        let wire = self.wire(site, &[]);
        if wire.codec == Codec::Json && !wire.encrypt { Form::Either } else { Form::Whole }
    }

    /// Reads the entries with their cells: one round trip, and a second one where an entry names cells that nobody knew.
    pub(super) async fn look(&self, wants: &[Want], now_ms: u64) -> Result<Vec<Seen>, Error> {
        let mut cells: Vec<&Name> = Vec::new();
        for cell in wants.iter().flat_map(Want::cells) {
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        let mut pending: Vec<Option<Pending>> = wants.iter().map(|want| self.pending(want)).collect();
        let mut ops: Vec<Op> = wants.iter().flat_map(Want::entry_ops).collect();
        ops.extend(cells.iter().map(|cell| Op::Read(Arc::clone(cell))));
        let lives = wants.iter().zip(&pending).filter(|(want, pending)| pending.is_some() || want.aged);
        ops.extend(lives.map(|(want, _)| Op::Left(Arc::clone(&want.name.entry))));
        let (replies, told) = if pending.iter().any(Option::is_some) {
            self.store.read(ops).await
        } else {
            (self.store.run(ops).await, false)
        };
        let mut replies = replies.into_iter();
        let mut seen = wants.iter().map(|want| want.take_entry(&mut replies)).collect::<Result<Vec<_>, _>>()?;
        let mut read = Vec::with_capacity(cells.len());
        for cell in cells {
            let bytes = replies.next().unwrap_or_else(super::no_reply)?.bytes()?;
            read.push((Arc::clone(cell), bytes.and_then(|bytes| Nonce::try_from(bytes).ok())));
        }
        for ((want, pending), seen) in wants.iter().zip(&mut pending).zip(&mut seen) {
            if pending.is_some() || want.aged {
                seen.left = replies.next().unwrap_or_else(super::no_reply)?.left()?;
                seen.near = pending.take().filter(|_| told && seen.left.is_some()).map(Pending::found);
            }
        }
        for (want, seen) in wants.iter().zip(&mut seen) {
            // A single entry, as almost always: nothing to pick out.
            seen.cells = if wants.len() == 1 {
                std::mem::take(&mut read)
            } else {
                read.iter().filter(|(name, _)| want.cells().any(|cell| cell == name)).cloned().collect()
            };
        }
        self.ask(wants, &mut seen, now_ms).await?;
        Ok(seen)
    }

    /// What [`look`](Self::look) finds, where somebody has read the entries and the cells that they are wanted with.
    pub(super) async fn look_on(
        &self,
        wants: &[Want],
        seen: Result<Vec<Seen>, Error>,
        now_ms: u64,
    ) -> Result<Vec<Seen>, Error> {
        let mut seen = seen?;
        self.ask(wants, &mut seen, now_ms).await?;
        Ok(seen)
    }

    /// Reads the cells that entries name and nobody knew.
    pub(super) async fn ask(&self, wants: &[Want], seen: &mut [Seen], now_ms: u64) -> Result<(), Error> {
        let asked: Vec<Vec<Name>> = wants
            .iter()
            .zip(&*seen)
            .map(
                |(want, seen)| {
                    if let Verdict::Ask(cells) = seen.judge(want, want.moment(now_ms)) { cells } else { Vec::new() }
                },
            )
            .collect();
        if asked.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let watched = seen.iter().any(|seen| seen.near.is_some());
        for (seen, cells) in seen.iter_mut().zip(&asked) {
            seen.near.iter_mut().for_each(|near| near.add(self, cells));
        }
        let ops = asked.iter().flatten().map(|cell| Op::Read(Arc::clone(cell))).collect();
        let (replies, told) = if watched { self.store.read(ops).await } else { (self.store.run(ops).await, false) };
        let mut replies = replies.into_iter();
        for ((want, seen), cells) in wants.iter().zip(seen).zip(asked) {
            seen.near = seen.near.take().filter(|_| told || cells.is_empty());
            for cell in &cells {
                let bytes = replies.next().unwrap_or_else(super::no_reply)?.bytes()?;
                seen.cells.push((Arc::clone(cell), bytes.and_then(|bytes| Nonce::try_from(bytes).ok())));
            }
            if !cells.is_empty() {
                let known: Vec<Name> = want.noted.iter().cloned().chain(cells).collect();
                self.notes.learn(&want.name.entry, &known);
            }
        }
        Ok(())
    }
}

/// What is in an envelope: a value, that there is none, or an error; `None`: nothing that is of use here.
fn content<V: Send + Sync + 'static>(
    wire: &Wire<'_>,
    envelope: &Envelope<'_>,
    handling: &Handling<V>,
    error: impl FnOnce(&Wire<'_>, &Envelope<'_>) -> Result<Option<Erased>, Reject>,
) -> Result<Option<Stored>, Reject> {
    match envelope.head.outcome {
        Outcome::Some => (handling.unpack)(wire, envelope).map(|value| Some(Stored::Some(Arc::new(value)))),
        Outcome::None => crate::codec::verify(wire, envelope).map(|()| Some(Stored::None)),
        Outcome::Err => error(wire, envelope).map(|error| error.map(Stored::Err)),
        Outcome::Hint => Ok(None),
    }
}

/// [`content`] of what a function of this shape stored.
pub(super) fn content_of<S: Cached>(
    wire: &Wire<'_>,
    envelope: &Envelope<'_>,
    shape: S,
) -> Result<Option<Stored>, Reject> {
    content(wire, envelope, shape.handling(), |wire, envelope| errors(wire, envelope, shape))
}

fn errors<S: Cached>(wire: &Wire<'_>, envelope: &Envelope<'_>, shape: S) -> Result<Option<Erased>, Reject> {
    match shape.errors() {
        Some(errors) => (errors.unpack)(wire, envelope).map(|error| shape.share(&error)),
        None => Ok(None),
    }
}

impl Call<'_> {
    /// What a function stored that may be served: a value, that there is none, or an error that it keeps.
    pub(super) fn decode<S: Cached>(&self, shared: &Shared, want: &mut Want, seen: &Seen, shape: S) -> Option<Stored> {
        let errors = |wire: &Wire<'_>, envelope: &Envelope<'_>| errors(wire, envelope, shape);
        self.decode_as(shared, want, seen, shape.handling(), errors).unwrap_or_else(|rejected| {
            if !std::mem::replace(&mut want.rejected, true) {
                self.rejected(rejected);
            }
            None
        })
    }

    /// The value of an entry that may be served, for who wants no errors.
    pub(super) fn decode_value<V: Send + Sync + 'static>(
        &self,
        shared: &Shared,
        want: &Want,
        seen: &Seen,
        handling: &Handling<V>,
    ) -> Option<Stored> {
        self.decode_as(shared, want, seen, handling, |_, _| Ok(None)).unwrap_or_else(|rejected| {
            self.rejected(rejected);
            None
        })
    }

    fn decode_as<V: Send + Sync + 'static>(
        &self,
        shared: &Shared,
        want: &Want,
        seen: &Seen,
        handling: &Handling<V>,
        error: impl FnOnce(&Wire<'_>, &Envelope<'_>) -> Result<Option<Erased>, Reject>,
    ) -> Result<Option<Stored>, Rejected> {
        let envelope = match seen.judge(want, want.moment(wall_ms())) {
            Verdict::Live(envelope) => envelope,
            Verdict::Unusable(reject) => return Err(Rejected::Bytes(reject)),
            Verdict::Other => return Err(Rejected::Template),
            Verdict::Missing | Verdict::Dead | Verdict::Ask(_) => return Ok(None),
        };
        let mut wire = shared.wire(self.site, &want.name.entry);
        if std::ptr::eq(self.site, &raw const DIRECT) {
            // A direct call reads what any function stored; its decoder is one of ours, whichever it is.
            wire.codec = envelope.codec.unwrap_or(wire.codec);
        }
        content(&wire, &envelope, handling, error).map_err(Rejected::Bytes)
    }

    /// Counts an entry that could not be used. What another version of the program stored is expected, and so is that two
    /// functions on one key take turns; the rest is said.
    fn rejected(&self, rejected: Rejected) {
        if let Some(function) = self.function() {
            function.counters.rejected.increment();
        }
        if let Rejected::Bytes(reject) = rejected
            && reject != Reject::Shape
        {
            let function = self.site.name;
            report::warn("an entry cannot be used", &format_args!("`{function}`: {reject}"));
        }
    }
}

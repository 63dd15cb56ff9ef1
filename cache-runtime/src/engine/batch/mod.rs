//! Batch reading (`each(id in ids)`): one entry per element, the body runs once with the missing elements only.
//!
//! The elements' flights are taken in the order of their keys, waiting for each that somebody else leads. Batches
//! therefore cannot wait for one another in a circle, and no element is loaded twice.
//!
//! A function whose elements may be served after their time, or whose load may be given up, asks ([`Asked::ask`]) and is
//! told to return, or to make futures of its loads: one of the elements that the caller waits for, and one, for the
//! background, of those of which it has old values. As `aging` has it for one entry.
//!
//! | file | what |
//! |---|---|
//! | `look` | what is there, and the right to load the rest |
//! | `load` | running the body, storing and sharing what it returned |
//! | `ask` | what is there, however old, and which loads are to be made |
//! | `begin` | the beginning of such a load |
//! | `drive` | running it: in place, within a time, in the background |
//! | `monitor` | comparing elements that were served with the source |

mod ask;
mod begin;
mod drive;
mod load;
mod look;
mod monitor;

pub use ask::BatchAsk;
pub use begin::{BatchLoader, BatchLoading};
pub use drive::{BatchDrive, BatchRun};
pub use load::{Batch, Ended};
pub use look::Asked;

use std::sync::Arc;

use super::call::Call;
use super::load::{Load, Share};
use super::sink::Early;
use crate::flight::Lead;
use crate::key::KeyWriter;
use crate::shape::{BatchCached, Cached, Split};

/// Says of a list's element which it is.
type By<'a, V, K> = Box<dyn Fn(&V) -> K + Send + Sync + 'a>;

/// What is stored of one element.
type ValueOf<S> = <<S as BatchCached>::One as Cached>::Value;

/// One element as the engine reads it.
type OneOf<S> = <<S as BatchCached>::One as Cached>::Ret;

/// What is known of one element.
enum Slot<V> {
    Found(Arc<V>),
    Absent,
    /// To be loaded; with a lead it is stored and shared.
    Missing(Box<Leading>),
    /// Left to who has an old value of it, or to who refreshes it.
    Left,
}

impl<V> Slot<V> {
    fn of<S: BatchCached>(shape: S, ret: OneOf<S>) -> Self
    where
        S::One: Cached<Value = V>,
    {
        match shape.one().split(ret) {
            Split::Some(value) => Self::Found(value),
            _ => Self::Absent,
        }
    }

    fn became<S: BatchCached>(shape: S, became: Became<OneOf<S>>) -> Self
    where
        S::One: Cached<Value = V>,
    {
        match became {
            Became::Done(ret) => Self::of(shape, ret),
            Became::Lead(leading) => Self::Missing(Box::new(leading)),
            Became::Left => Self::Left,
        }
    }
}

/// The right to load an element.
pub(crate) struct Leading {
    pub(super) lead: Option<Lead>,
    pub(super) template: u64,
    pub(super) early: Early,
    pub(super) share: Option<Share>,
    /// Whether its source is left alone for a while where it fails: there is an old value.
    pub(super) has_old: bool,
}

impl Leading {
    /// A load of which nothing is stored or shared.
    pub(super) fn alone(wanted: Wanted) -> Self {
        let Wanted { key, early, has_old, .. } = wanted;
        Self { lead: None, template: key.template(), early, share: None, has_old }
    }
}

/// An element that was not found at once.
pub(crate) struct Wanted {
    pub(super) index: usize,
    pub(super) key: KeyWriter,
    pub(super) early: Early,
    /// Whether there is an old value to serve where its load fails.
    pub(super) has_old: bool,
    /// Whether another element of the call meets it on one key (`<name:lower>`), and is to be stored there. Waiting for that
    /// one's load would be waiting for itself.
    pub(super) is_twin: bool,
}

impl Wanted {
    /// Brings elements into the order of their keys, and says which are twins.
    pub(crate) fn order(all: &mut [Self]) {
        all.sort_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
        for index in 1..all.len() {
            all[index].is_twin = all[index].key.as_bytes() == all[index - 1].key.as_bytes();
        }
    }
}

impl Call<'_> {
    /// Whether an element is not worth a load: the source has failed while somebody waited for it, and there is an old value.
    pub(super) fn is_left(&self, wanted: &Wanted) -> bool {
        wanted.has_old && self.core().is_some_and(|core| core.pauses.holds(wanted.key.as_bytes()))
    }
}

/// What became of an element that was missing.
pub(crate) enum Became<R> {
    /// Somebody else has loaded it.
    Done(R),
    Lead(Leading),
    /// Who led has failed, and there is an old value: one attempt is enough then.
    Left,
}

impl<S: Cached> Load<'_, S> {
    /// The lead alone, for a batch, which runs one body for many.
    fn into_leading(self, has_old: bool) -> Leading {
        let (lead, template, early, share) = self.into_parts();
        Leading { lead, template, early, share, has_old }
    }
}

/// `Debug` for what holds users' values.
macro_rules! opaque_batch_debug {
    ($($name:ident<$($life:lifetime,)? S, K>),* $(,)?) => {
        $(impl<S: BatchCached, K> std::fmt::Debug for $name<$($life,)? S, K> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        })*
    };
}
use opaque_batch_debug;

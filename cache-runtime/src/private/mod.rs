//! What expansions call. Not a public interface: it changes with every version of `cache-macros`, which is pinned to it.
//! Re-exports and thin functions only; the algorithm is the engine's.

mod classify;
mod evidence;

use crate::engine::timed::Timed;
use crate::meter::Operation;

pub use inventory;

pub use crate::cache::Cache;
pub use crate::cache::handle::Entry;
pub use crate::cache::warm::{IntoArgs, Warm, warm};
pub use crate::codec::Codec;
pub use crate::engine::aging::{Ask, Drive, Loader, Loading, Run, same};
pub use crate::engine::batch::{Asked, Batch, BatchAsk, BatchDrive, BatchLoader, BatchLoading, BatchRun, Ended};
pub use crate::engine::call::{Call as At, logical_key, template_key};
pub use crate::engine::load::{Done, Fill, Load};
pub use crate::engine::put::{Put, PutTarget};
pub use crate::engine::read::{Mode, Step};
pub use crate::engine::recache::{RecacheChain, Recaches, Report, run as run_recaches};
pub use crate::engine::sink::{AsTag, Early, EarlyTags, IntoTags, Tags};
pub use crate::engine::targets::WriteSink;
pub use crate::engine::write::{Invalidated, Write, Written};
pub use crate::error::Error;
pub use crate::key::{
    Key, KeyPart, KeyWriter, PartShape, Pattern, kind_name, mix, template_seed, template_seed_auto,
    template_seed_resource,
};
pub use crate::policy::{IntoTtl, Lifetime, Ttl};
pub use crate::shape::{
    BatchCached, BatchFallback, BatchOutcome, Elements, FromMissing, PeelBatch, PeelNoBatch, PeelNoBatchArc,
    batch_kind, batch_memoizable, batch_storable, element, elements, missing_as, tells_elements,
};
pub use crate::shape::{
    Cached, Declared, Fallback, Gate, GateUnstorable, KeepErrors, KeepErrorsHere, Outcome, PeelNoArc, PeelNoOption,
    PeelNoResult, PeelResult, PeelWrapping, Probe, Returned, Shape, kind, memoizable, storable,
};
pub use crate::site::{Registered, Site, SiteKind, UNKNOWN};
pub use crate::stats::FunctionStats;

pub use classify::{
    ElementOutOf, ElementValueOf, OutOf, OutOfGeneric, ValueOf, ValueOfGeneric, batch_shape, element_shape, gated,
    keeping_shape, register, shape, succeeds,
};
pub use evidence::{
    CarriesError, KeepsErrors, MayBeAbsent, Ownable, capture, fail, keeps_errors, may_be_absent, own, retype, store,
    store_now, succeeded, with,
};

/// A verb of a synchronous function: done already. `.await` it, or take it with [`wait`](Self::wait).
#[must_use = "it may have failed"]
#[derive(Debug)]
pub struct Immediate<T>(T);

impl<T> Immediate<T> {
    /// What came of it.
    pub fn wait(self) -> T {
        self.0
    }
}

impl<T> std::future::IntoFuture for Immediate<T> {
    type Output = T;
    type IntoFuture = std::future::Ready<T>;
    fn into_future(self) -> Self::IntoFuture {
        std::future::ready(self.0)
    }
}

/// Wraps what was done.
pub fn immediate<T>(done: T) -> Immediate<T> {
    Immediate(done)
}

/// What a load came to of which nothing can be said but that.
///
/// # Panics
///
/// It failed, which only a `timeout` can have.
pub fn certain<R>(driven: Result<R, Error>) -> R {
    driven.unwrap_or_else(|error| unreachable!("without a `timeout` a load does not fail: {error}"))
}

impl<'c> At<'c> {
    /// Drops the entry, everywhere.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn invalidate(&self, key: &KeyWriter) -> Result<(), Error> {
        let _timed = Timed::start(self, Operation::Invalidate, Some(key.as_bytes()));
        match self.direct_shared()? {
            Some(direct) => direct.invalidate_keys(std::slice::from_ref(key)).await,
            None => self.invalidate_now(key),
        }
    }

    /// [`invalidate`](Self::invalidate) for synchronous functions.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub fn invalidate_now(&self, key: &KeyWriter) -> Result<(), Error> {
        self.delete(key).map(drop)
    }

    /// The value, if it is there. Never loads, and counts nothing.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn peek<S: Cached>(&self, key: &KeyWriter, shape: S) -> Result<Option<S::Out>, Error> {
        match self.direct_shared()? {
            Some(direct) => Ok(direct.peek(key, shape.handling()).await?.map(|value| shape.out(value))),
            None => self.peek_now(key, shape),
        }
    }

    /// [`peek`](Self::peek) for synchronous functions.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub fn peek_now<S: Cached>(&self, key: &KeyWriter, shape: S) -> Result<Option<S::Out>, Error> {
        self.required()?;
        Ok(self.glance(key, shape).and_then(|ret| match shape.split(ret) {
            crate::shape::Split::Some(value) => Some(shape.out(value)),
            _ => None,
        }))
    }

    /// Drops all entries of the function. O(1).
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub async fn clear(&self) -> Result<(), Error> {
        let _timed = Timed::start(self, Operation::Invalidate, None);
        match self.direct_shared()? {
            Some(direct) => direct.clear_function().await,
            None => self.clear_function(),
        }
    }

    /// [`clear`](Self::clear) for synchronous functions.
    ///
    /// # Errors
    ///
    /// The cache cannot be used.
    pub fn clear_now(&self) -> Result<(), Error> {
        self.clear_function()
    }
}

impl<V: Send + Sync + 'static> PutTarget<V> {
    /// The entry as a value of its own.
    pub fn into_entry(self) -> Entry<V> {
        Entry::new(self)
    }
}

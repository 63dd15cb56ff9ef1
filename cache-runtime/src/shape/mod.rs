//! What a function returns, told apart by traits and never by spelling: `Result`, then `Option`, then `Arc` are peeled
//! off until the stored type is left. Pure types; no value is touched before a load has run.

/// A type that stands for others and holds none of them: always `Send` and `Sync`.
type Marker<T> = std::marker::PhantomData<fn() -> T>;

mod batch;
mod bounds;
mod cached;
mod gate;
#[cfg(feature = "axum")]
mod json;
mod probe;
mod refusal;
mod returned;
mod signature;
mod wrap;

pub(crate) use batch::Collection;
pub use batch::{
    BatchCached, BatchFallback, BatchOutcome, Elements, FromMissing, PeelBatch, PeelNoBatchArc, batch_kind,
    batch_memoizable, batch_storable, element, elements, missing_as, tells_elements,
};
pub(crate) use bounds::Comparable;
pub use bounds::{Memoizable, Plain, Storable};
pub(crate) use cached::Handling;
pub use cached::{Cached, memoizable, storable};
pub(crate) use cached::{Checked, Classified, RetOf, Split, ages_of};
pub use gate::{Gate, GateUnstorable};
pub(crate) use probe::{AfterResult, Fallible, FallibleShared, Maybe, Never, One, Owned, Shared};
pub use probe::{
    KeepErrors, KeepErrorsHere, PeelNoArc, PeelNoOption, PeelNoResult, PeelResult, PeelWrapping, Probe, Shape,
};
pub use refusal::PeelNoBatch;
pub(crate) use returned::Kept;
pub use returned::Returned;
pub use signature::{Declared, Fallback, Outcome, kind};
pub(crate) use wrap::{Failure, HandOut, HandsOut, Presence};

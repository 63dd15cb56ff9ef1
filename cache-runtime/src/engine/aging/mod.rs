//! Values that are refreshed before they expire, or served after: `early_ttl`, `stale`, `stale_if_error`, `soft_timeout`,
//! `timeout`.
//!
//! A function with one of these asks ([`Call::ask`]) and is told to return, or to make a future of its load and have it
//! driven ([`Drive`]): in place, within a time, or in the background while an old value is returned. Whether a value is old
//! is `policy`'s; what was invalidated is never served, however new: it is not found.
//!
//! | file | what |
//! |---|---|
//! | `ask` | what a call comes to: a value, an old one, a load |
//! | `drive` | running the load |
//! | `monitor` | comparing what was served with the source |
//! | `pause` | keys whose source has just failed |

mod ask;
mod drive;
mod monitor;
mod pause;

pub use ask::{Ask, Loader, Loading, Run};
pub use drive::Drive;
pub(crate) use drive::{Background, timed_out};
pub use monitor::same;
pub(in crate::engine) use monitor::{grace, is_same};
pub(crate) use pause::Pauses;

use crate::clock::Nanos;
use crate::policy::Freshness;

/// A value that is not fresh.
#[derive(Debug)]
pub(crate) struct Old<R> {
    pub(crate) ret: R,
    pub(crate) freshness: Freshness,
    /// By which chance (`early_ttl = auto`). Who looks again, whether somebody else has refreshed it, throws no other die.
    pub(crate) chance: f64,
    /// When it was stored, where that was in memory and it is not a copy. Tells, later, whether it has been refreshed.
    pub(crate) created: Option<Nanos>,
}

impl<R> Old<R> {
    /// The same with something else in its place.
    pub(crate) fn map<T>(self, make: impl FnOnce(R) -> T) -> Old<T> {
        let Self { ret, freshness, chance, created } = self;
        Old { ret: make(ret), freshness, chance, created }
    }
}

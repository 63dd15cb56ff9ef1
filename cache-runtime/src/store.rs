//! The seams where a shared backend plugs in: bytes by physical key, and a lease for one loader in a whole fleet.
//! Object-safe and byte-level; typed values and algorithms live above. The memory store does not go through them: its
//! values stay typed, and its leases are flights.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::error::Error;

/// A boxed future of the seam.
pub type Answer<'s, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 's>>;

/// An entry and the cells it depends on, as one read returns them: `None` is a key that does not exist.
pub type Row = Vec<Option<Vec<u8>>>;

/// Bytes by key, shared by processes.
pub trait Store: Send + Sync {
    /// Reads all `keys` in one round trip.
    fn read<'s>(&'s self, keys: &'s [&'s [u8]]) -> Answer<'s, Row>;

    /// Writes `bytes` under `key` for `ttl` (`None`: forever) if the lease `token` still holds it.
    fn fill<'s>(&'s self, key: &'s [u8], token: &'s [u8], bytes: &'s [u8], ttl: Option<Duration>) -> Answer<'s, bool>;

    /// Deletes the entries and leases of `keys` and renews the cells of `tags`, in one round trip.
    fn invalidate<'s>(&'s self, keys: &'s [&'s [u8]], tags: &'s [&'s [u8]]) -> Answer<'s, ()>;
}

/// The right to load one key, held by one process in the fleet for a while.
pub trait Lease: Send + Sync {
    /// Takes the lease of `key` for `ttl` unless somebody holds it.
    fn acquire<'s>(&'s self, key: &'s [u8], token: &'s [u8], ttl: Duration) -> Answer<'s, bool>;

    /// Extends a lease that is still held. `false`: it was lost.
    fn renew<'s>(&'s self, key: &'s [u8], token: &'s [u8], ttl: Duration) -> Answer<'s, bool>;

    /// Gives the lease back if it is still held, and wakes those who wait for it.
    fn release<'s>(&'s self, key: &'s [u8], token: &'s [u8]) -> Answer<'s, ()>;
}

const _: fn(&dyn Store, &dyn Lease) = |_, _| {};

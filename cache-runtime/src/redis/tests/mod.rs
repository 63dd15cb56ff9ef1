//! The module against real servers, which the tests start themselves and which end with them.

mod access;
#[cfg(feature = "redis-cluster")]
mod clusters;
mod health;
mod listening;
mod nonsense;
mod ops;
#[cfg(feature = "redis-sentinel")]
mod sentinels;
mod server;

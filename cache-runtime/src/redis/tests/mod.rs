//! The module against real servers, which the tests start themselves and which end with them.

mod access;
mod health;
mod listening;
mod ops;
#[cfg(feature = "redis-sentinel")]
mod sentinels;
mod server;

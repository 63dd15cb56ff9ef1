//! The module against real servers, which the tests start themselves and which end with them.

mod health;
mod ops;
mod server;

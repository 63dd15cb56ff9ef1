//! The layers of HTTP services, over real HTTP: every test has a server on a port of its own.

mod response;
mod support;

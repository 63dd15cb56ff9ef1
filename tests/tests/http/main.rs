//! The layers of HTTP services, over real HTTP: every test has a server on a port of its own.

mod concurrency;
mod hostile;
mod isolation;
mod redis;
mod response;
mod support;
mod tenant;

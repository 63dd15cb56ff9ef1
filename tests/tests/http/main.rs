//! The layers of HTTP services, over real HTTP: every test has a server on a port of its own.

mod address;
mod catalogue;
mod concurrency;
mod edge;
mod handler;
mod hostile;
mod isolation;
mod life;
mod redis;
mod refresh;
mod response;
mod revalidation;
mod semantics;
mod support;
mod tenant;

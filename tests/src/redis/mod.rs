//! Real Redis servers for tests, alone, as a cluster, or under sentinels, and a proxy that counts and breaks what passes
//! between a client and a server. Nothing here knows the framework; see `cache-runtime/src/redis` for what it tests.
//!
//! Each server is a `redis-server` of the test's own, on a free port of the loopback interface, in a folder that goes with
//! it. A server that is not ours is never looked at: ours are told apart by a socket in their folder.
//!
//! ```no_run
//! use cache_tests::redis::{Proxy, Server};
//!
//! # async fn example() {
//! let server = Server::options().password("secret").start().await;
//! let proxy = Proxy::start(server.addr());
//! // .. connect a client to `proxy.addr()`, and let it do what the test is about ..
//! assert_eq!((proxy.round_trips(), proxy.count("MGET")), (1, 1));
//! server.command(&["FLUSHALL"]).await;
//! proxy.half_open();
//! # }
//! ```

mod certificate;
mod client;
mod cluster;
mod migration;
mod options;
mod program;
mod sentinel;
mod server;

pub use cluster::{Cluster, ClusterOptions};
pub use faulty_proxy::{Corrupt, Proxy};
pub use options::Options;
pub use sentinel::{Sentinel, SentinelOptions};
pub use server::{Server, Snapshot};

//! Entries on servers: [`SharedStore`] over Redis 7.0 or later and Valkey, one server or several.
//!
//! | file | what lives there |
//! |---|---|
//! | `op`, `script` | what an [`Op`] is in the server's language; pure |
//! | `info`, `fault` | what a server says about itself, and what its errors are in ours; pure |
//! | `dial`, `tls` | opening a connection |
//! | `link` | one connection |
//! | `node`, `keeper` | one server: its connections, its health, and what is done for it in the background |
//! | `wake` | who waits for which lease |
//! | `watch` | hearing of changes of what was read |
//! | `sentinel`, `cluster` | which server it is |
//!
//! No algorithm of the cache is here: only single commands, each right by itself.
//!
//! # What a user of the server must be allowed
//!
//! Names and channels begin with the cache's prefix and version. This is all, and nothing of it is too much; a test runs
//! everything as this user, and sees that each part of it is needed:
//!
//! ```text
//! ACL SETUSER cache on >password ~svc:v1:* &svc:v1:* -@all
//!     +info +ping +get +getrange +mget +set +unlink +eval +pexpire +persist +pttl +exists +incrby +time
//!     +publish +subscribe +unsubscribe +scan
//! ```
//!
//! A hybrid cache needs `+client|tracking` too: without it, it keeps nothing in memory, and says so.
//!
//! A database other than 0 needs `+select` too, and a cluster `+cluster|slots +asking`. `HELLO` and `AUTH`, which are sent
//! first, are open to everybody; `CLIENT SETINFO` is not sent. At a sentinel the user, where it asks for one, needs
//! `+sentinel|get-master-addr-by-name`. `SCAN` shows the names of others that share the server: it cannot be limited.

#[cfg(feature = "redis-cluster")]
mod cluster;
mod dial;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod info;
mod keeper;
mod link;
mod node;
mod op;
mod script;
#[cfg(feature = "redis-sentinel")]
mod sentinel;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod wake;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Value, cmd};

use self::dial::{Dial, Place};
use self::info::{Info, text};
use self::node::{Node, Target, Way};
use self::op::Job;
use self::watch::Watching;
use crate::error::{Error, ErrorKind};
use crate::server::{Server, TlsFiles, Topology};
use crate::store::{
    Answer, Cursor, Found, Listener, Name, Names, Op, Page, Reply, ServerInfo, ServerState, SharedStore, Watcher,
};

/// Names that one step of a scan looks at.
const SCANNED: u32 = 500;

/// Connections to each server, unless the configuration says how many.
pub(crate) const CONNECTIONS: u32 = 2;

/// What to connect to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    /// Which servers.
    pub(crate) server: Server,
    /// Connections to each server; at least 1.
    pub(crate) connections: u32,
    /// How long connecting may take.
    pub(crate) connect_timeout: Duration,
    /// How long an answer may take.
    pub(crate) response_timeout: Duration,
    /// The files of an encrypted connection.
    pub(crate) tls: TlsFiles,
}

impl Connect {
    /// With the defaults.
    #[cfg(test)]
    pub(crate) fn to(server: Server) -> Self {
        Self {
            server,
            connections: CONNECTIONS,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
            tls: TlsFiles::default(),
        }
    }
}

/// Entries on servers. Dropping it closes it.
pub(crate) struct Redis {
    layout: Layout,
    mode: &'static str,
}

enum Layout {
    One(Arc<Node>),
    #[cfg(feature = "redis-cluster")]
    Cluster(Arc<cluster::Cluster>),
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Redis");
        match &self.layout {
            Layout::One(node) => out.field("node", node),
            #[cfg(feature = "redis-cluster")]
            Layout::Cluster(cluster) => out.field("cluster", cluster),
        };
        out.finish()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.end();
    }
}

/// Checks the settings. Nothing is connected before the first use; see [`Redis::ready`].
///
/// # Errors
///
/// [`ErrorKind::Config`] names a setting that cannot be used, [`ErrorKind::Unsupported`] a feature that this build lacks.
pub(crate) fn open(connect: Connect) -> Result<Arc<Redis>, Error> {
    let Connect { server, connections, connect_timeout, response_timeout, tls } = connect;
    let missing = |feature: &str, what: &str| {
        let what = format!("{what} needs the feature `{feature}` of cache-runtime, which this build does not have");
        Err(Error::new(ErrorKind::Unsupported, what))
    };
    if server.tls && !cfg!(feature = "tls") {
        return missing("tls", "an encrypted connection (`rediss://`)");
    }
    if let Some(setting) = tls.first().filter(|_| !server.tls) {
        let what = format!("{setting}: the connection is not encrypted; use a `rediss://` URL");
        return Err(Error::new(ErrorKind::Config, what));
    }
    let dial = Arc::new(Dial {
        username: server.username,
        password: server.password,
        database: server.database,
        #[cfg(feature = "tls")]
        tls: if server.tls { Some(tls::Tls::load(&tls)?) } else { None },
        connect_timeout,
        response_timeout,
    });
    let connections = connections.max(1) as usize;
    let one = |place| Layout::One(Node::new(Target::Fixed { place, in_cluster: false }, dial.clone(), connections));
    let (layout, mode) = match server.topology {
        Topology::Standalone(endpoint) => (one(Place::Tcp(endpoint)), "standalone"),
        Topology::Unix(path) => (one(Place::Unix(path)), "standalone"),
        #[cfg(feature = "redis-sentinel")]
        Topology::Sentinel { sentinels, master } => {
            let sentinels = sentinels.into_iter().map(Place::Tcp).collect();
            let target = Target::Sentinel(sentinel::Sentinel { sentinels, master });
            (Layout::One(Node::new(target, dial, connections)), "sentinel")
        }
        #[cfg(not(feature = "redis-sentinel"))]
        Topology::Sentinel { .. } => return missing("redis-sentinel", "a `redis+sentinel://` URL"),
        #[cfg(feature = "redis-cluster")]
        Topology::Cluster(seeds) => (Layout::Cluster(cluster::Cluster::new(seeds, dial, connections)), "cluster"),
        #[cfg(not(feature = "redis-cluster"))]
        Topology::Cluster(_) => return missing("redis-cluster", "a `redis+cluster://` URL"),
    };
    Ok(Arc::new(Redis { layout, mode }))
}

impl Redis {
    /// Waits for the first connection to each server that is needed.
    ///
    /// # Errors
    ///
    /// Why there is none: see [`ErrorKind`]. Connecting goes on in the background all the same.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        match &self.layout {
            Layout::One(node) => node.ready().await,
            #[cfg(feature = "redis-cluster")]
            Layout::Cluster(cluster) => cluster.ready().await,
        }
    }

    fn end(&self) {
        match &self.layout {
            Layout::One(node) => node.close(),
            #[cfg(feature = "redis-cluster")]
            Layout::Cluster(cluster) => cluster.close(),
        }
    }

    /// Does `ops`. The flag: whether later changes of all that was read are told.
    async fn send(&self, ops: &[Op], watched: bool) -> (Vec<Result<Reply, Error>>, bool) {
        match &self.layout {
            Layout::One(node) => {
                let jobs: Vec<Job<'_>> = ops.iter().map(Job::Op).collect();
                let (replies, watched) = node.run(&jobs, Way { merge: true, asking: false, watched }).await;
                let named = |fault: fault::Fault| fault.into_error(&node.name());
                (replies.into_iter().map(|reply| reply.map_err(named)).collect(), watched)
            }
            #[cfg(feature = "redis-cluster")]
            Layout::Cluster(cluster) => cluster.run(ops, watched).await,
        }
    }

    /// All servers that hold entries, by number: a server that is new has a higher one.
    async fn nodes(&self) -> Result<Vec<(usize, Arc<Node>)>, Error> {
        match &self.layout {
            Layout::One(node) => Ok(vec![(0, node.clone())]),
            #[cfg(feature = "redis-cluster")]
            Layout::Cluster(cluster) => {
                let members = cluster.members().await?;
                Ok(members.into_iter().map(|member| (member.number, member.node.clone())).collect())
            }
        }
    }

    /// The answer of one server to a command that stands for no op.
    async fn ask(&self, node: &Node, command: Cmd) -> Result<Value, Error> {
        let answer = node.ask(vec![command]).await.and_then(|mut answers| answers.pop().ok_or_else(fault::closed));
        #[cfg(feature = "redis-cluster")]
        if let (Layout::Cluster(cluster), Err(error)) = (&self.layout, &answer) {
            cluster.suspect(error);
        }
        answer
    }
}

impl SharedStore for Redis {
    fn run(&self, ops: Vec<Op>) -> Answer<'_, Vec<Result<Reply, Error>>> {
        Box::pin(async move { self.send(&ops, false).await.0 })
    }

    fn get<'s>(&'s self, names: &'s Names) -> Answer<'s, Result<Vec<Option<Found>>, Error>> {
        // Two futures, so that the one that almost every call waits for is small.
        match &self.layout {
            Layout::One(node) => {
                Box::pin(async move { node.get(names).await.map_err(|fault| fault.into_error(&node.name())) })
            }
            #[cfg(feature = "redis-cluster")]
            Layout::Cluster(cluster) => Box::pin(async move {
                let ops: Vec<Op> = names.iter().map(|name| Op::ReadAny(name.into())).collect();
                let found = |(bytes, stamped)| Found { bytes, stamped };
                let (replies, _) = cluster.run(&ops, false).await;
                replies.into_iter().map(|reply| Ok(reply?.any()?.map(found))).collect()
            }),
        }
    }

    fn read(&self, ops: Vec<Op>) -> Answer<'_, (Vec<Result<Reply, Error>>, bool)> {
        Box::pin(async move { self.send(&ops, true).await })
    }

    fn watch(&self, watcher: Arc<dyn Watcher>, probe: Name, pulse: Duration) {
        let watching = Watching { watcher, probe, pulse };
        match &self.layout {
            Layout::One(node) => node.watch(watching),
            #[cfg(feature = "redis-cluster")]
            Layout::Cluster(cluster) => cluster.watch(watching),
        }
    }

    fn scan<'s>(&'s self, glob: &'s [u8], from: Cursor) -> Answer<'s, Result<Page, Error>> {
        Box::pin(async move {
            let nodes = self.nodes().await?;
            // A server that has gone since is passed over, and where the next one begins is another matter.
            let Some(place) = nodes.iter().position(|(number, _)| *number >= from.shard) else {
                return Ok(Page::default());
            };
            let (number, node) = &nodes[place];
            let at = if *number == from.shard { from.at } else { 0 };
            let mut scan = cmd("SCAN");
            scan.arg(at).arg("MATCH").arg(glob).arg("COUNT").arg(SCANNED);
            let answer = self.ask(node, scan).await?;
            let (at, names) = page(answer).ok_or_else(|| fault::nonsense(&node.name()))?;
            let next = match at {
                0 => nodes.get(place + 1).map(|(number, _)| Cursor { shard: *number, at: 0 }),
                at => Some(Cursor { shard: *number, at }),
            };
            Ok(Page { names, next })
        })
    }

    fn listen(&self, lease: &Name) -> Answer<'_, Result<Box<dyn Listener>, Error>> {
        let lease = lease.clone();
        Box::pin(async move {
            let ear = match &self.layout {
                Layout::One(node) => node.listen(&lease).await?,
                #[cfg(feature = "redis-cluster")]
                Layout::Cluster(cluster) => {
                    let listening = cluster.owner(&lease).await?.listen(&lease).await;
                    listening.inspect_err(|error| cluster.suspect(error))?
                }
            };
            Ok(Box::new(ear) as Box<dyn Listener>)
        })
    }

    fn ready(&self) -> Answer<'_, Result<(), Error>> {
        Box::pin(Self::ready(self))
    }

    fn is_single(&self) -> bool {
        matches!(self.layout, Layout::One(_))
    }

    fn ping(&self) -> Answer<'_, Result<(), Error>> {
        Box::pin(async move {
            let nodes = self.nodes().await?;
            let asked = join_all(nodes.iter().map(|(_, node)| self.ask(node, cmd("PING")))).await;
            asked.into_iter().try_for_each(|answer| answer.map(drop))
        })
    }

    fn info(&self) -> Answer<'_, Result<ServerInfo, Error>> {
        Box::pin(async move {
            let mut all = ServerInfo { mode: self.mode, ..ServerInfo::default() };
            let nodes = self.nodes().await?;
            let asked = join_all(nodes.iter().map(|(_, node)| {
                let mut info = cmd("INFO");
                info.arg("server").arg("memory").arg("keyspace");
                self.ask(node, info)
            }));
            for (answer, (_, node)) in asked.await.into_iter().zip(&nodes) {
                let answer = answer?;
                let info = text(&answer).ok_or_else(|| fault::nonsense(&node.name()))?;
                let info = Info::parse(info);
                all.shards += 1;
                all.keys += info.keys();
                all.used_memory += info.number("used_memory");
                if all.version.is_empty() {
                    all.version = info.version().to_owned();
                    all.eviction_policy = info.get("maxmemory_policy").to_owned();
                }
            }
            Ok(all)
        })
    }

    fn servers(&self) -> Vec<ServerState> {
        match &self.layout {
            Layout::One(node) => vec![node.state()],
            #[cfg(feature = "redis-cluster")]
            Layout::Cluster(cluster) => cluster.states(),
        }
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.end() })
    }
}

/// Where a scan goes on, and what it has found.
fn page(answer: Value) -> Option<(u64, Vec<Vec<u8>>)> {
    let Value::Array(parts) = answer else { return None };
    let Ok([Value::BulkString(at), Value::Array(names)]) = <[Value; 2]>::try_from(parts) else { return None };
    let name = |name| if let Value::BulkString(name) = name { Some(name) } else { None };
    Some((std::str::from_utf8(&at).ok()?.parse().ok()?, names.into_iter().map(name).collect::<Option<_>>()?))
}

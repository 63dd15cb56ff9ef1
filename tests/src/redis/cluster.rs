//! A cluster: three primaries with all slots, and replicas on request. Moving slots is in `migration`.

use std::time::Duration;

use super::options::{Kind, Options};
use super::{Proxy, Server};
use crate::eventually;

/// Three primaries share the slots evenly.
pub(super) const PRIMARIES: usize = 3;
const SLOTS: usize = 16_384;

/// A new cluster makes its primaries wait two seconds before they serve.
const FORMS: Duration = Duration::from_secs(60);

/// A cluster on this machine. Nodes 0, 1 and 2 begin as primaries with a third of the slots each; node 3 + *n* is a replica of
/// node *n* mod 3.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    ids: Vec<String>,
    proxies: Vec<Proxy>,
}

/// How a [`Cluster`] is to be.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    node: Options,
    replicas: usize,
    proxied: bool,
}

impl Cluster {
    /// Three primaries, no replicas.
    pub async fn start() -> Self {
        Self::options().start().await
    }

    /// What a cluster can be asked to be; ends with [`start`](ClusterOptions::start).
    #[must_use]
    pub fn options() -> ClusterOptions {
        ClusterOptions::default()
    }

    /// Where it is: all nodes, as one cache URL.
    #[must_use]
    pub fn url(&self) -> String {
        // Scheme and login are those of any node.
        let url = self.nodes[0].url();
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let login = rest.rsplit_once('@').map(|(login, _)| format!("{login}@")).unwrap_or_default();
        let host = |node: usize| self.proxies.get(node).map_or(self.nodes[node].addr(), Proxy::addr).to_string();
        let hosts: Vec<String> = (0..self.nodes.len()).map(host).collect();
        format!("{scheme}+cluster://{login}{}", hosts.join(","))
    }

    /// A node.
    #[must_use]
    pub fn node(&self, index: usize) -> &Server {
        &self.nodes[index]
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The proxy through which clients reach a node, if the cluster was started with [`proxied`](ClusterOptions::proxied).
    #[must_use]
    pub fn proxy(&self, index: usize) -> &Proxy {
        &self.proxies[index]
    }

    /// The name that a node goes by in the cluster.
    #[must_use]
    pub fn id(&self, index: usize) -> &str {
        &self.ids[index]
    }

    /// The slot of a key.
    pub async fn slot_of(&self, key: &str) -> u16 {
        let node = self.running().expect("a node runs");
        node.query(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// The node that serves a slot, as the running nodes see it.
    ///
    /// # Panics
    ///
    /// Nobody does.
    pub async fn owner(&self, slot: u16) -> usize {
        let index = self.nodes.iter().position(Server::is_running).expect("a node runs");
        let owner = self.owner_as_seen_by(index, slot).await;
        owner.unwrap_or_else(|| panic!("nobody serves slot {slot}"))
    }

    /// The node that serves a slot, as one node sees it.
    pub(super) async fn owner_as_seen_by(&self, index: usize, slot: u16) -> Option<usize> {
        let node = &self.nodes[index];
        // `id address flags primary ping pong epoch link slots..`
        let text: String = node.query(&["CLUSTER", "NODES"]).await;
        let serves = |line: &&str| {
            line.split(' ').skip(8).filter(|range| !range.starts_with('[')).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                first.parse().is_ok_and(|first| slot >= first) && last.parse().is_ok_and(|last| slot <= last)
            })
        };
        let id = text.lines().find(serves).and_then(|line| line.split(' ').next());
        id.and_then(|id| self.ids.iter().position(|known| known == id))
    }

    /// Kills a node. A replica of it takes over when the others have noticed, after two seconds or more; without one the
    /// cluster is down until the node is [restarted](Server::restart).
    pub fn kill_node(&self, index: usize) {
        self.nodes[index].kill();
    }

    /// Waits until all running nodes say that all slots are served.
    ///
    /// # Panics
    ///
    /// That does not come within a minute.
    pub async fn wait_until_ok(&self) {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            eventually("a node sees the cluster as ok", FORMS, async || {
                node.query::<String>(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok")
            })
            .await;
        }
    }

    fn running(&self) -> Option<&Server> {
        self.nodes.iter().find(|node| node.is_running())
    }

    /// All nodes know all others, which gossip alone takes seconds for.
    async fn meet(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            // Two primaries with one epoch would first have to find out which of them is right.
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            for other in &self.nodes[..index] {
                let (port, bus) = (other.port().to_string(), other.bus().to_string());
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
            }
        }
        let count = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            eventually("a node knows the others", FORMS, async || {
                let known: String = node.query(&["CLUSTER", "INFO"]).await;
                // A node that is only being met has no name yet.
                known.contains(&count) && !node.query::<String>(&["CLUSTER", "NODES"]).await.contains("handshake")
            })
            .await;
        }
    }

    async fn replicate(&self) {
        for (index, node) in self.nodes.iter().enumerate().skip(PRIMARIES) {
            node.command(&["CLUSTER", "REPLICATE", self.id(index % PRIMARIES)]).await;
        }
        for node in &self.nodes[PRIMARIES..] {
            eventually("a replica has what its primary has", FORMS, async || {
                let state: String = node.query(&["INFO", "replication"]).await;
                state.contains("role:slave") && state.contains("master_link_status:up")
            })
            .await;
        }
        // A replica that its primary does not know yet could not take over.
        for (index, node) in self.nodes.iter().enumerate().skip(PRIMARIES) {
            let expected = format!("slave {}", self.id(index % PRIMARIES));
            for other in &self.nodes {
                eventually("all nodes know a replica", FORMS, async || {
                    let text: String = other.query(&["CLUSTER", "NODES"]).await;
                    text.lines().any(|line| line.starts_with(&self.ids[index]) && line.contains(&expected))
                })
                .await;
            }
            debug_assert!(node.is_running());
        }
    }
}

impl ClusterOptions {
    /// How each node is to be. Neither sockets only nor sentinels make a cluster; TLS and passwords do.
    #[must_use]
    pub fn node(mut self, options: Options) -> Self {
        self.node = options;
        self
    }

    /// How many replicas each primary has. Default 0.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Clients reach each node through a proxy: the nodes announce its address instead of theirs. Not with TLS.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Starts the nodes, shares out the slots and waits until all nodes say that the cluster is ok.
    ///
    /// # Panics
    ///
    /// There is no `redis-server`, or the cluster does not come up within a minute.
    pub async fn start(self) -> Cluster {
        let mut cluster = Cluster { nodes: Vec::new(), ids: Vec::new(), proxies: Vec::new() };
        for _ in 0..PRIMARIES * (1 + self.replicas) {
            let node = self.node.clone().kind(Kind::ClusterNode).start().await;
            if self.proxied {
                let proxy = Proxy::start(node.addr());
                // Also in the file, for when the node is restarted.
                node.command(&["CONFIG", "SET", "cluster-announce-port", &proxy.port().to_string()]).await;
                node.command(&["CONFIG", "SET", "cluster-announce-bus-port", &node.bus().to_string()]).await;
                node.command(&["CONFIG", "REWRITE"]).await;
                cluster.proxies.push(proxy);
            }
            cluster.ids.push(node.query(&["CLUSTER", "MYID"]).await);
            cluster.nodes.push(node);
        }
        for (index, node) in cluster.nodes[..PRIMARIES].iter().enumerate() {
            let bound = |index: usize| SLOTS * index / PRIMARIES;
            let (first, last) = (bound(index).to_string(), (bound(index + 1) - 1).to_string());
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
        }
        cluster.meet().await;
        cluster.replicate().await;
        cluster.wait_until_ok().await;
        cluster
    }
}

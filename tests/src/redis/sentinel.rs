//! A primary and a replica under three sentinels.

use std::time::Duration;

use redis::Value;

use super::Server;
use super::options::{Kind, Options, quoted};
use crate::wait::within;

/// The name under which the sentinels know the primary.
const MASTER: &str = "mymaster";
const SENTINELS: usize = 3;

/// Silent for so many milliseconds, and a server counts as down.
const DOWN_AFTER: u32 = 1000;

/// How often a sentinel does things, in milliseconds; it has a command for that, for tests. What takes it seconds (greeting
/// each other, turning an old primary into a replica) takes less then. And it must ask more often than servers count as down:
/// it counts from when it learns of a server, and first asks after one of these periods. With equal ones it fails a new
/// primary over at once, back to the old one if that has come back empty meanwhile.
const PERIODS: [&str; 8] =
    ["PING-PERIOD", "200", "INFO-PERIOD", "500", "PUBLISH-PERIOD", "500", "TILT-TRIGGER", "10000"];

/// An election that failed is repeated after twice the fail-over timeout, on a machine that may be busy.
const LIMIT: Duration = Duration::from_secs(90);

/// A primary, its replica, and three sentinels of which two decide.
#[derive(Debug)]
pub struct Sentinel {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

/// How a [`Sentinel`] installation is to be.
#[derive(Clone, Debug, Default)]
pub struct SentinelOptions {
    server: Options,
    sentinel: Options,
}

impl Sentinel {
    /// An installation in which nobody needs a password.
    pub async fn start() -> Self {
        Self::options().start().await
    }

    /// What an installation can be asked to be; ends with [`start`](SentinelOptions::start).
    #[must_use]
    pub fn options() -> SentinelOptions {
        SentinelOptions::default()
    }

    /// Where it is: the sentinels and the primary's name, with the password of the data servers, as a cache URL.
    #[must_use]
    pub fn url(&self) -> String {
        let url = self.servers[0].url();
        let login = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
        let login = login.map(|(login, _)| format!("{login}@")).unwrap_or_default();
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| sentinel.addr().to_string()).collect();
        format!("redis+sentinel://{login}{}/{MASTER}/0", hosts.join(","))
    }

    /// The data servers; the first begins as the primary.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The server that the sentinels call the primary.
    ///
    /// # Panics
    ///
    /// They name nobody, or a server that does not say so itself.
    pub async fn primary(&self) -> &Server {
        let running = self.sentinels.iter().find(|sentinel| sentinel.is_running()).expect("a sentinel runs");
        let port = named(running).await;
        self.servers.iter().find(|server| server.port() == port).expect("the sentinels name a server of ours")
    }

    /// Kills the primary and waits until the other server is the primary and all sentinels say so. Takes seconds.
    ///
    /// The old one becomes a replica when it is [restarted](Server::restart).
    ///
    /// # Panics
    ///
    /// That does not come within 90 s; the logs say why.
    pub async fn fail_over(&self) {
        let old = self.primary().await;
        let new = self.servers.iter().find(|server| server.port() != old.port()).expect("there is a replica");
        old.kill();
        self.wait_until_primary(new).await;
    }

    /// Waits until a server is the primary and all sentinels say so.
    pub async fn wait_until_primary(&self, server: &Server) {
        self.eventually("the other server is the primary", async || is_primary(server).await).await;
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_running()) {
            self.eventually("all sentinels name the primary", async || named(sentinel).await == server.port()).await;
        }
    }

    /// Waits until a server is a replica of the primary and has what that has.
    pub async fn wait_until_replica(&self, server: &Server) {
        self.eventually("a server is a replica in sync", async || {
            let state = server.try_query::<String>(&["INFO", "replication"]).await.unwrap_or_default();
            state.contains("role:slave") && state.contains("master_link_status:up")
        })
        .await;
    }

    async fn eventually(&self, what: &str, done: impl AsyncFnMut() -> bool) {
        if !within(LIMIT, done).await {
            let logs = self
                .servers
                .iter()
                .chain(&self.sentinels)
                .map(|server| format!("{}:\n{}", server.port(), server.log()));
            panic!("not within {LIMIT:?}: {what}\n{}", logs.collect::<Vec<_>>().join("\n"));
        }
    }

    /// All sentinels know each other and the replica: without, none of them could fail over.
    async fn wait_until_known(&self) {
        for sentinel in &self.sentinels {
            self.eventually("the sentinels know each other and the replica", async || {
                let others = list(sentinel, "SENTINELS").await;
                let replicas = list(sentinel, "REPLICAS").await;
                others.len() == SENTINELS - 1 && replicas.len() == self.servers.len() - 1
            })
            .await;
        }
    }
}

impl SentinelOptions {
    /// How primary and replica are to be. A password is fine, and the sentinels know it; not TLS.
    #[must_use]
    pub fn server(mut self, options: Options) -> Self {
        self.server = options;
        self
    }

    /// The password of the sentinels, which by default ask for none. It is not a part of the URL.
    #[must_use]
    pub fn sentinel_password(mut self, password: &str) -> Self {
        self.sentinel = self.sentinel.config(&format!("requirepass {0}\nsentinel sentinel-pass {0}", quoted(password)));
        self
    }

    /// Starts everything and waits until it could fail over.
    ///
    /// # Panics
    ///
    /// There is no `redis-server`, or that does not come within 90 s.
    pub async fn start(self) -> Sentinel {
        let primary = self.server.clone().start().await;
        let replica = self.server.clone().config(&format!("replicaof 127.0.0.1 {}", primary.port())).start().await;

        let mut lines = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {} 2\nsentinel down-after-milliseconds {MASTER} {DOWN_AFTER}\n\
             sentinel failover-timeout {MASTER} 2000",
            primary.port()
        );
        if let Some(password) = &self.server.password {
            lines.push_str(&format!("\nsentinel auth-pass {MASTER} {}", quoted(password)));
        }
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            let sentinel = self.sentinel.clone().kind(Kind::Sentinel).config(&lines).start().await;
            sentinel.command(&[&["SENTINEL", "DEBUG"], &PERIODS[..]].concat()).await;
            sentinels.push(sentinel);
        }
        let installation = Sentinel { servers: vec![primary, replica], sentinels };
        installation.wait_until_replica(&installation.servers[1]).await;
        installation.wait_until_known().await;
        installation
    }
}

/// The port of the primary that a sentinel names; 0 if it names none.
async fn named(sentinel: &Server) -> u16 {
    let address: Option<(String, u16)> = sentinel.query(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await;
    address.map(|(_, port)| port).unwrap_or_default()
}

async fn is_primary(server: &Server) -> bool {
    server.try_query::<String>(&["INFO", "replication"]).await.is_ok_and(|state| state.contains("role:master"))
}

/// What a sentinel knows of one kind.
async fn list(sentinel: &Server, what: &str) -> Vec<Value> {
    sentinel.query(&["SENTINEL", what, MASTER]).await
}

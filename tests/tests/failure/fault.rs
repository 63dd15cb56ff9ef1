//! Making each fault, and ending it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cache_tests::eventually;
use cache_tests::redis::{Cluster, Corrupt, Proxy, Sentinel, Server, Snapshot};
use tokio::task::JoinHandle;

use crate::fleet::{self, LONG};
use crate::table::Fault;

/// What the user of [`Fault::Denied`] may do: the rules of the guide, for a hybrid cache.
const RULES: &str = "~* &* -@all +info +ping +get +getrange +mget +set +unlink +eval +pexpire +persist +pttl +exists +incrby \
                     +time +publish +subscribe +unsubscribe +scan +client|tracking";

/// What is read and written with, what keeps connections alive aside.
const COMMANDS: [&str; 10] = ["GET", "MGET", "SET", "EVAL", "UNLINK", "PEXPIRE", "PERSIST", "EXISTS", "PTTL", "SCAN"];

/// The servers of a fault.
pub(crate) enum Servers {
    /// The one of all tests of the program, behind proxies: one for a plain cache, one for a hybrid one.
    Shared([Proxy; 2]),
    One(Arc<Server>),
    Sentinel(Box<Sentinel>),
    Cluster(Box<Cluster>),
}

/// The slots that move: of rows that are known, and of cells that are written.
async fn moving(cluster: &Cluster, prefixes: &[String; 2]) -> BTreeSet<u16> {
    let mut slots = BTreeSet::new();
    for prefix in prefixes {
        let rows = (0..4).map(|id| format!("row:{id}"));
        for name in rows.chain((100..104).map(|id| format!("%+tag:group:{id}"))) {
            slots.insert(cluster.slot_of(&format!("{prefix}:v1:{name}")).await);
        }
    }
    slots
}

/// Whether what is to be found all the while is in slots that do not move.
async fn stay(cluster: &Cluster, prefixes: &[String; 2]) -> bool {
    let moving = moving(cluster, prefixes).await;
    for prefix in prefixes {
        let direct = (0..4).map(|id| format!("direct:{id}"));
        for name in direct.chain(["%+all".to_owned()]) {
            if moving.contains(&cluster.slot_of(&format!("{prefix}:v1:{name}")).await) {
                return false;
            }
        }
    }
    true
}

/// A fault that can be begun and ended once.
pub(crate) struct World {
    fault: Fault,
    pub(crate) servers: Servers,
    /// Prefixes of a plain cache and a hybrid one.
    pub(crate) prefixes: [String; 2],
    restarting: Option<JoinHandle<()>>,
    moving: Vec<(u16, usize)>,
}

impl World {
    pub(crate) async fn new(fault: Fault) -> Self {
        let servers = match fault {
            Fault::Denied | Fault::MayRead => {
                let user = format!("cache on >word {RULES}");
                Servers::One(Arc::new(Server::options().user(&user).start().await))
            }
            Fault::Loading => {
                // 4000 keys make it some seconds; it looks at its connections after each kilobyte.
                let slow = "key-load-delay 4000\nloading-process-events-interval-bytes 1024\nrdbcompression no";
                Servers::One(Arc::new(Server::options().config(slow).start().await))
            }
            Fault::Full | Fault::ReadOnly | Fault::Empty | Fault::Snapshot => {
                Servers::One(Arc::new(Server::start().await))
            }
            Fault::FailOver => Servers::Sentinel(Box::new(Sentinel::start().await)),
            Fault::NodeReplaced => Servers::Cluster(Box::new(Cluster::options().replicas(1).start().await)),
            Fault::NodeLost | Fault::SlotMoves => Servers::Cluster(Box::new(Cluster::start().await)),
            _ => {
                let server = fleet::server().await;
                Servers::Shared([Proxy::start(server.addr()), Proxy::start(server.addr())])
            }
        };
        let mut prefixes = [fleet::prefix(), fleet::prefix()];
        if let Servers::Cluster(cluster) = &servers {
            loop {
                for prefix in &mut prefixes {
                    // Every entry depends on this cell: the node that is lost has it.
                    while cluster.owner(cluster.slot_of(&format!("{prefix}:v1:%+all")).await).await != 0 {
                        *prefix = fleet::prefix();
                    }
                }
                // Names that have nothing to do with each other may share a slot, so that one moves with the other.
                if fault != Fault::SlotMoves || stay(cluster, &prefixes).await {
                    break;
                }
                prefixes = [fleet::prefix(), fleet::prefix()];
            }
        }
        Self { fault, servers, prefixes, restarting: None, moving: Vec::new() }
    }

    /// The URL of a plain cache; `through`: what may be broken. Otherwise past it, as another process sees the server.
    pub(crate) async fn url(&self, through: Option<usize>) -> String {
        match (&self.servers, through) {
            (Servers::Shared(proxies), Some(which)) => proxies[which].url(),
            (Servers::Shared(_), None) => fleet::server().await.url(),
            (Servers::One(server), _) if matches!(self.fault, Fault::Denied | Fault::MayRead) => {
                server.url_as("cache", "word")
            }
            (Servers::One(server), _) => server.url(),
            (Servers::Sentinel(sentinel), _) => sentinel.url(),
            (Servers::Cluster(cluster), _) => cluster.url(),
        }
    }

    /// The proxy before a cache, where the network is what fails.
    pub(crate) fn proxy(&self, which: usize) -> Option<&Proxy> {
        if let Servers::Shared(proxies) = &self.servers { Some(&proxies[which]) } else { None }
    }

    /// What an answer may take. A server that answers is not taken for one that is away, however busy the machine is.
    pub(crate) fn timeout(&self, silent: bool) -> Duration {
        if silent { Duration::from_millis(500) } else { Duration::from_secs(10) }
    }

    /// Something that is older than what is read later.
    pub(crate) async fn remember(&self) {
        match (self.fault, &self.servers) {
            (Fault::Snapshot, Servers::One(server)) => server.save_now().await,
            (Fault::Loading, Servers::One(server)) => {
                let fill = "for i=1,4000 do redis.call('SET','filler:'..i,string.rep('x',150)) end";
                server.command(&["EVAL", fill, "0"]).await;
                server.save_now().await;
            }
            _ => {}
        }
    }

    pub(crate) async fn begin(&mut self) {
        match &self.servers {
            Servers::Shared(proxies) => proxies.iter().for_each(|proxy| self.break_network(proxy)),
            Servers::One(server) => {
                let server = Arc::clone(server);
                self.break_server(&server).await;
            }
            Servers::Sentinel(sentinel) => sentinel.primary().await.kill(),
            Servers::Cluster(cluster) if self.fault == Fault::SlotMoves => {
                for slot in moving(cluster, &self.prefixes).await {
                    let to = (cluster.owner(slot).await + 1) % 3;
                    cluster.begin_migration(slot, to).await;
                    cluster.move_keys(slot, to).await;
                    self.moving.push((slot, to));
                }
            }
            Servers::Cluster(cluster) => cluster.kill_node(0),
        }
    }

    fn break_network(&self, proxy: &Proxy) {
        let replace = |corrupt: Corrupt| {
            COMMANDS.iter().for_each(|command| proxy.corrupt_answers_to(command, corrupt.clone(), u64::MAX));
        };
        match self.fault {
            Fault::Refused => {
                proxy.refuse();
                proxy.reset_all();
            }
            Fault::Reset => {
                proxy.corrupt(Corrupt::Reset, u64::MAX);
                proxy.reset_all();
            }
            Fault::HalfOpen => proxy.half_open(),
            Fault::OneWay => proxy.drop_to_client(),
            Fault::Slow(millis) => proxy.delay(Duration::from_millis(millis)),
            Fault::Nonsense => replace(Corrupt::Nonsense),
            Fault::WrongType => replace(Corrupt::Bytes(b"%1\r\n+a\r\n+secret\r\n".to_vec())),
            Fault::Endless => proxy.corrupt(Corrupt::HugeLength, u64::MAX),
            Fault::Stalls => replace(Corrupt::HugeLength),
            Fault::Gigabytes => proxy.corrupt(Corrupt::Bytes(b"$2147483648\r\n".to_vec()), u64::MAX),
            _ => unreachable!("{:?} is no fault of the network", self.fault),
        }
    }

    async fn break_server(&mut self, server: &Arc<Server>) {
        match self.fault {
            Fault::Denied => drop(server.command(&["ACL", "SETUSER", "cache", "-@all"]).await),
            Fault::MayRead => drop(server.command(&["ACL", "SETUSER", "cache", "-eval", "-set", "-unlink"]).await),
            Fault::Full => {
                server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
                server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
            }
            // Of a primary that is not there: it keeps its data.
            Fault::ReadOnly => drop(server.command(&["REPLICAOF", "127.0.0.1", "1"]).await),
            Fault::Empty => server.restart(Snapshot::Discard).await,
            Fault::Snapshot => server.restart(Snapshot::Keep).await,
            Fault::Loading => {
                let restarted = Arc::clone(server);
                self.restarting = Some(tokio::spawn(async move { restarted.restart(Snapshot::Keep).await }));
                eventually("the server is loading", LONG, async || {
                    let answer = server.try_query::<String>(&["PING"]).await;
                    answer.is_err_and(|error| error.code() == Some("LOADING"))
                })
                .await;
            }
            _ => unreachable!("{:?} is no fault of one server", self.fault),
        }
    }

    pub(crate) async fn end(&mut self) {
        match &self.servers {
            Servers::Shared(proxies) => proxies.iter().for_each(Proxy::heal),
            Servers::One(server) => match self.fault {
                Fault::Denied | Fault::MayRead => {
                    let rules: Vec<&str> = ["ACL", "SETUSER", "cache"].into_iter().chain(RULES.split(' ')).collect();
                    server.command(&rules).await;
                }
                Fault::Full => drop(server.command(&["CONFIG", "SET", "maxmemory", "0"]).await),
                Fault::ReadOnly => drop(server.command(&["REPLICAOF", "NO", "ONE"]).await),
                Fault::Loading => {
                    server.command(&["CONFIG", "SET", "key-load-delay", "0"]).await;
                    fleet::ended("loading", self.restarting.take().unwrap()).await;
                }
                _ => {}
            },
            Servers::Sentinel(sentinel) => sentinel.wait_until_primary(&sentinel.servers()[1]).await,
            Servers::Cluster(cluster) => {
                let moved: Vec<_> = self.moving.drain(..).collect();
                // What a node hears of one slot later may undo another, until none is on its way.
                for _ in 0..3 {
                    for (slot, to) in &moved {
                        cluster.end_migration(*slot, *to).await;
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                if self.fault == Fault::NodeLost {
                    cluster.node(0).restart(Snapshot::Discard).await;
                }
                cluster.wait_until_ok().await;
            }
        }
    }
}

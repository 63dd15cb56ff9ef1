//! Three primaries that share the slots.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::server::{Redisd, name, one, server, until};
use crate::error::ErrorKind;
use crate::redis::{Connect, Redis, open};
use crate::server::{Endpoint, Server, Topology};
use crate::slot;
use crate::store::{Cursor, EntryName, Image, Life, Op, Reply, SharedStore};

const MINUTE: Duration = Duration::from_secs(60);

struct Cluster {
    nodes: Vec<Redisd>,
}

impl Cluster {
    async fn start() -> Self {
        let options = ["cluster-enabled yes", "cluster-node-timeout 1000", "cluster-require-full-coverage no"];
        let cluster = Self { nodes: (0..3).map(|_| Redisd::start(&options)).collect() };
        for (n, node) in cluster.nodes.iter().enumerate() {
            let (first, last) = ((n * 16_384 / 3).to_string(), ((n + 1) * 16_384 / 3 - 1).to_string());
            node.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            node.command::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        }
        for other in &cluster.nodes[1..] {
            cluster.nodes[0].command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]);
        }
        until("the cluster is complete", async || cluster.nodes.iter().all(|node| is_complete(node, 3))).await;
        cluster
    }

    fn server(&self) -> Server {
        server(Topology::Cluster(self.nodes.iter().map(Redisd::endpoint).collect()))
    }

    fn open(&self) -> Arc<Redis> {
        open(Connect::to(self.server())).unwrap()
    }

    /// The node that has a name at first.
    fn owner(&self, name: &str) -> usize {
        usize::from(slot::of(name.as_bytes())) * 3 / 16_384
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].command(&["CLUSTER", "MYID"])
    }

    /// Begins to move a slot.
    fn open_slot(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        self.nodes[to].command::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        self.nodes[from].command::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
    }

    /// Moves a slot with all its names.
    fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.open_slot(slot, from, to);
        let slot = slot.to_string();
        let names: Vec<Vec<u8>> = self.nodes[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]);
        let port = self.nodes[to].port.to_string();
        for name in names {
            let words: [&[u8]; 6] = [b"MIGRATE", b"127.0.0.1", port.as_bytes(), &name, b"0", b"5000"];
            self.nodes[from].command_of::<()>(&words);
        }
        for node in [to, from] {
            self.nodes[node].command::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &self.id(to)]);
        }
    }

    /// How often a node has sent somebody elsewhere.
    fn redirections(&self, kind: &str) -> u64 {
        let of = |node: &Redisd| {
            let stats: String = node.command(&["INFO", "errorstats"]);
            let prefix = format!("errorstat_{kind}:count=");
            stats.lines().find_map(|line| line.strip_prefix(&prefix)?.trim().parse::<u64>().ok()).unwrap_or_default()
        };
        self.nodes.iter().map(of).sum()
    }
}

fn is_complete(node: &Redisd, primaries: usize) -> bool {
    let info: String = node.command(&["CLUSTER", "INFO"]);
    let slots: Vec<redis::Value> = node.command(&["CLUSTER", "SLOTS"]);
    info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384") && slots.len() >= primaries
}

fn entry(key: &str) -> EntryName {
    EntryName {
        entry: name(&format!("svc:{{{key}}}")),
        side: name(&format!("svc:~e:{{{key}}}")),
        lease: name(&format!("svc:~l:{{{key}}}")),
    }
}

fn store(key: &str, value: &str) -> Op {
    let image = Some(Image { envelope: value.into(), plain: None });
    Op::Replace { name: entry(key), seen: None, plain: None, image, life: Life::For(MINUTE), close: false }
}

fn bytes(text: &str) -> Reply {
    Reply::Bytes(Some(text.into()))
}

/// One key for each node.
fn keys(cluster: &Cluster) -> [String; 3] {
    [0, 1, 2].map(|node| (0..).map(|n| format!("k{n}")).find(|key| cluster.owner(key) == node).unwrap())
}

#[tokio::test]
async fn ops_find_the_servers_of_their_names() {
    let cluster = Cluster::start().await;
    let redis = cluster.open();
    redis.ready().await.unwrap();
    let keys: Vec<String> = (0..100).map(|n| format!("user:{n}")).collect();
    let replies = redis.run(keys.iter().map(|key| store(key, key)).collect()).await;
    assert!(replies.iter().all(|reply| matches!(reply, Ok(Reply::Flag(true)))), "{replies:?}");
    let replies = redis.run(keys.iter().map(|key| Op::Read(entry(key).entry)).collect()).await;
    for (key, reply) in keys.iter().zip(replies) {
        assert_eq!(reply.unwrap(), bytes(key));
    }
    let sizes: Vec<u64> = cluster.nodes.iter().map(|node| node.command(&["DBSIZE"])).collect();
    assert!(sizes.iter().all(|size| *size > 10) && sizes.iter().sum::<u64>() == 100, "{sizes:?}");
    for text in ["svc:v1:user:42", "foo{bar", "a{b}c", "{}x"] {
        assert_eq!(cluster.nodes[0].command::<u16>(&["CLUSTER", "KEYSLOT", text]), slot::of(text.as_bytes()), "{text}");
    }

    let acquire = Op::Acquire { lease: entry("a").lease, token: [1; 16], ttl: MINUTE, steal: false };
    let image = Image { envelope: b"e".to_vec(), plain: Some(b"1".to_vec()) };
    let fill = Op::Fill { name: entry("a"), token: [1; 16], image, ttl: None, or_drop: false };
    let ensure = Op::Ensure { cell: name("cell"), fresh: [7; 16], ttl: None };
    let count = Op::Count { name: entry("a"), seen: b"e".to_vec(), by: 2 };
    let left = Op::Left(name("none"));
    let nothing = Op::Drop(vec![]);
    let replies: Vec<Reply> =
        redis.run(vec![acquire, fill, ensure, count, left, nothing]).await.into_iter().map(Result::unwrap).collect();
    let (yes, sum) = (Reply::Flag(true), Reply::Sum(Some(3)));
    assert_eq!(replies, [yes.clone(), yes, Reply::Nonce([7; 16]), sum, Reply::Left(None), Reply::Count(0)]);

    let info = redis.info().await.unwrap();
    assert_eq!((info.mode, info.shards, info.keys), ("cluster", 3, 103));
    redis.ping().await.unwrap();
    let (mut found, mut at) = (BTreeSet::new(), Some(Cursor::default()));
    while let Some(cursor) = at {
        let page = redis.scan(b"svc:{user:*", cursor).await.unwrap();
        found.extend(page.names);
        at = page.next;
    }
    assert_eq!(found.len(), 100);
    let names = found.into_iter().map(Into::into).chain([name("none")]).collect();
    assert_eq!(one(&redis, Op::Drop(names)).await, Reply::Count(100));
    assert_eq!(cluster.redirections("MOVED"), 0, "the map was wrong");
}

#[tokio::test]
async fn a_slot_that_has_moved_is_found_and_its_values_are_missing_once() {
    let cluster = Cluster::start().await;
    let redis = cluster.open();
    let [key, other, _] = keys(&cluster);
    let slot = slot::of(key.as_bytes());
    one(&redis, store(&key, "old")).await;
    one(&redis, store(&other, "stays")).await;
    cluster.move_slot(slot, 0, 1);
    let moved = entry(&key).entry;
    let ops = vec![Op::Read(moved.clone()), Op::Read(entry(&other).entry), Op::ReadPlain(moved.clone())];
    let replies: Vec<Reply> = redis.run(ops).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(replies[..2], [Reply::Bytes(None), bytes("stays")]);
    assert!(matches!(&replies[2], Reply::Bytes(Some(bytes)) if bytes.starts_with(b"old")), "it is there: {replies:?}");
    one(&redis, store(&key, "new")).await;
    assert_eq!(one(&redis, Op::Read(moved.clone())).await, bytes("new"));
    let before = cluster.redirections("MOVED");
    assert!(before > 0);
    for _ in 0..20 {
        assert_eq!(one(&redis, Op::Read(moved.clone())).await, bytes("new"));
    }
    assert_eq!(cluster.redirections("MOVED"), before, "the map was not mended");
    // And back again, past all others.
    cluster.move_slot(slot, 1, 2);
    assert_eq!(one(&redis, Op::Read(moved)).await, Reply::Bytes(None));
}

#[tokio::test]
async fn a_slot_that_is_moving_is_asked_for_at_both_ends() {
    let cluster = Cluster::start().await;
    let redis = cluster.open();
    let [key, ..] = keys(&cluster);
    one(&redis, store(&key, "here")).await;
    cluster.open_slot(slot::of(key.as_bytes()), 0, 1);
    assert_eq!(one(&redis, Op::Read(entry(&key).entry)).await, bytes("here"), "still at the old end");
    let gone = name(&format!("gone:{{{key}}}"));
    let ensure = |fresh| Op::Ensure { cell: gone.clone(), fresh: [fresh; 16], ttl: None };
    let replies = redis.run(vec![ensure(1), Op::Read(entry(&key).entry), ensure(2)]).await;
    let replies: Vec<Reply> = replies.into_iter().map(Result::unwrap).collect();
    assert_eq!(replies, [Reply::Nonce([1; 16]), bytes("here"), Reply::Nonce([1; 16])]);
    assert!(cluster.redirections("ASK") > 0);
    assert_eq!(cluster.redirections("MOVED"), 0);
    // Names at both ends, in one command: neither end can do it.
    let both = redis.run(vec![Op::Drop(vec![gone, entry(&key).entry])]).await.pop().unwrap();
    assert!(matches!(&both, Err(error) if error.kind() == ErrorKind::Unavailable), "{both:?}");
}

#[tokio::test]
async fn a_server_that_is_away_takes_its_own_slots_with_it_only() {
    let mut cluster = Cluster::start().await;
    let redis = cluster.open();
    let [lost, kept, _] = keys(&cluster);
    one(&redis, store(&lost, "a")).await;
    one(&redis, store(&kept, "b")).await;
    cluster.nodes[0].kill();
    let read = || {
        vec![Op::Read(entry(&lost).entry), Op::Read(entry(&kept).entry), Op::Drop(vec![entry(&lost).side, name(&kept)])]
    };
    for _ in 0..100 {
        let replies = redis.run(read()).await;
        assert_eq!(replies[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(replies[1].as_ref().unwrap(), &bytes("b"));
        assert_eq!(replies[2].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(redis.ping().await.is_err());
    cluster.nodes[0].restart();
    until("the server is used again", async || redis.run(read()).await.iter().all(Result::is_ok)).await;
    assert_eq!(one(&redis, Op::Read(entry(&lost).entry)).await, Reply::Bytes(None));
}

#[tokio::test]
async fn a_replica_that_takes_over_is_found() {
    let mut cluster = Cluster::start().await;
    let options = ["cluster-enabled yes", "cluster-node-timeout 1000", "cluster-replica-validity-factor 0"];
    let replica = Redisd::start(&options);
    replica.command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &cluster.nodes[1].port.to_string()]);
    let id = cluster.id(0);
    until("it knows the others", async || is_complete(&replica, 3)).await;
    replica.command::<()>(&["CLUSTER", "REPLICATE", &id]);
    // A seed that is a replica can be asked for the map, and for nothing else.
    let redis = open(Connect::to(server(Topology::Cluster(vec![replica.endpoint()])))).unwrap();
    let [key, ..] = keys(&cluster);
    one(&redis, store(&key, "old")).await;
    until("it has synced", async || replica.command::<u64>(&["DBSIZE"]) == 1).await;
    cluster.nodes[0].kill();
    until("the replica is used", async || redis.run(vec![store(&key, "new")]).await[0].is_ok()).await;
    assert_eq!(one(&redis, Op::Read(entry(&key).entry)).await, bytes("new"));
    // The old primary comes back as a replica, and nobody minds.
    cluster.nodes[0].restart();
    until("it is a replica", async || {
        cluster.nodes[0].command::<String>(&["INFO", "replication"]).contains("role:slave")
    })
    .await;
    for _ in 0..10 {
        assert_eq!(one(&redis, Op::Read(entry(&key).entry)).await, bytes("new"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_end_of_a_lease_is_heard_wherever_its_slot_goes() {
    let cluster = Cluster::start().await;
    let (redis, other) = (cluster.open(), cluster.open());
    let wakes = async |listener: &mut Box<dyn crate::store::Listener>| {
        tokio::time::timeout(Duration::from_secs(2), listener.woken()).await.is_ok()
    };
    for key in keys(&cluster) {
        let mut listener = redis.listen(&entry(&key).lease).await.unwrap();
        one(&other, Op::Release { lease: entry(&key).lease, token: [1; 16] }).await;
        assert!(wakes(&mut listener).await, "{key}");
    }
    let [key, ..] = keys(&cluster);
    let mut listener = redis.listen(&entry(&key).lease).await.unwrap();
    cluster.move_slot(slot::of(key.as_bytes()), 0, 2);
    one(&other, Op::Release { lease: entry(&key).lease, token: [1; 16] }).await;
    assert!(wakes(&mut listener).await);
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused_with_the_right_one() {
    let cluster = Cluster::start().await;
    let alone = Redisd::start(&[]);
    let refused = async |server: Server| open(Connect::to(server)).unwrap().ready().await.unwrap_err();
    let error = refused(cluster.nodes[0].server()).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`redis+cluster://`"), "{error}");
    let error = refused(server(Topology::Cluster(vec![alone.endpoint()]))).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`redis://`"), "{error}");
}

#[tokio::test]
async fn a_cluster_that_is_away_fails_at_once_and_comes_back() {
    let mut cluster = Cluster::start().await;
    cluster.nodes.iter_mut().for_each(Redisd::kill);
    let redis = cluster.open();
    assert_eq!(redis.ready().await.unwrap_err().kind(), ErrorKind::Unavailable);
    for _ in 0..1_000 {
        let reply = redis.run(vec![Op::Left(name("x"))]).await.pop().unwrap();
        assert_eq!(reply.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    cluster.nodes.iter_mut().for_each(Redisd::restart);
    until("the cluster is used", async || {
        redis.run(vec![store("a", "x"), store("b", "x")]).await.iter().all(Result::is_ok)
    })
    .await;
    redis.close().await;
    assert_eq!(redis.ready().await.unwrap_err().kind(), ErrorKind::Closed);
    let stranger = Endpoint { host: "no-such-host.invalid".into(), port: 1 };
    let nowhere = open(Connect::to(server(Topology::Cluster(vec![stranger])))).unwrap();
    assert_eq!(nowhere.ready().await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_user_of_a_cluster_needs_two_commands_more() {
    let cluster = Cluster::start().await;
    let user = super::access::documented_user();
    let open = |more: &[&str]| {
        for node in &cluster.nodes {
            let user: Vec<&str> = user.iter().map(String::as_str).collect();
            node.command::<()>(&[&["ACL", "SETUSER", user[0], "reset"], &user[1..], more, &["~*", "&*"]].concat());
        }
        let server = Server { username: Some("cache".into()), password: Some("password".into()), ..cluster.server() };
        open(Connect::to(server)).unwrap()
    };
    assert_eq!(open(&[]).ready().await.unwrap_err().kind(), ErrorKind::Denied);
    let redis = open(&["+cluster|slots", "+asking"]);
    let [key, ..] = keys(&cluster);
    one(&redis, store(&key, "x")).await;
    cluster.open_slot(slot::of(key.as_bytes()), 0, 1);
    let gone = Op::Ensure { cell: name(&format!("gone:{{{key}}}")), fresh: [1; 16], ttl: None };
    assert_eq!(one(&redis, gone.clone()).await, Reply::Nonce([1; 16]));
    let redis = open(&["+cluster|slots"]);
    assert!(redis.run(vec![gone]).await[0].is_err());
}

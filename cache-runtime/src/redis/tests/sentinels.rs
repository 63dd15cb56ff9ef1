//! A primary that sentinels know, and its replica.

use std::sync::Arc;
use std::time::Duration;

use super::server::{Redisd, name, one, server, until};
use crate::error::ErrorKind;
use crate::redis::{Connect, Redis, open};
use crate::server::{Endpoint, Server, Topology};
use crate::store::{EntryName, Image, Life, Op, Reply, SharedStore};

struct Installation {
    /// The first is the primary at first.
    servers: Vec<Redisd>,
    sentinels: Vec<Redisd>,
}

impl Installation {
    async fn start(password: Option<&str>) -> Self {
        let login =
            password.map(|password| format!("requirepass {password}\nmasterauth {password}")).unwrap_or_default();
        let primary = Redisd::start(&[&login]);
        let replica = Redisd::start(&[&login, &format!("replicaof 127.0.0.1 {}", primary.port)]);
        let monitor = format!("sentinel monitor mymaster 127.0.0.1 {} 2", primary.port);
        let quick = "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 2000";
        let login =
            password.map(|p| format!("requirepass {p}\nsentinel sentinel-pass {p}\nsentinel auth-pass mymaster {p}"));
        let options = [&monitor, quick, login.as_deref().unwrap_or_default()];
        let mut installation = Self { servers: vec![primary, replica], sentinels: Vec::new() };
        for server in &mut installation.servers {
            server.password = password.map(str::to_owned);
        }
        installation.sentinels.extend((0..3).map(|_| Redisd::start_sentinel(&options, password)));
        until("the sentinels know everybody", async || installation.sentinels.iter().all(knows_everybody)).await;
        installation
    }

    fn server(&self) -> Server {
        let sentinels = self.sentinels.iter().map(Redisd::endpoint).collect();
        server(Topology::Sentinel { sentinels, master: "mymaster".into() })
    }

    fn open(&self) -> Arc<Redis> {
        open(Connect::to(self.server())).unwrap()
    }

    fn primary(&self) -> u16 {
        let (_, port): (String, u16) = self.sentinels[0].command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
        port
    }
}

fn knows_everybody(sentinel: &Redisd) -> bool {
    let info: String = sentinel.command(&["INFO", "sentinel"]);
    info.contains("status=ok") && info.contains("slaves=1,sentinels=3")
}

fn store(value: &str) -> Op {
    let name = EntryName { entry: name("e"), side: name("s"), lease: name("l") };
    let image = Some(Image { envelope: value.into(), plain: None });
    Op::Replace { name, seen: None, plain: None, image, life: Life::Forever, close: false }
}

async fn works(redis: &Redis) -> bool {
    redis.run(vec![store("new")]).await[0].is_ok()
}

#[tokio::test]
async fn the_primary_is_found_and_another_one_after_it_was_killed() {
    let mut all = Installation::start(None).await;
    let redis = all.open();
    one(&redis, store("old")).await;
    assert_eq!(redis.info().await.unwrap().mode, "sentinel");
    let mut listener = redis.listen(&name("l")).await.unwrap();
    until("the replica has it", async || all.servers[1].command::<u64>(&["EXISTS", "e"]) == 1).await;
    let stored: Vec<u8> = all.servers[1].command(&["GET", "e"]);
    assert!(stored.starts_with(b"old"));
    all.servers[0].kill();
    tokio::time::timeout(Duration::from_secs(5), listener.woken()).await.expect("a listener is woken");
    let mut replies = Vec::new();
    until("the new primary is used", async || {
        let reply = redis.run(vec![Op::Read(name("e"))]).await.pop().unwrap();
        let is_ok = reply.is_ok();
        replies.push(reply);
        is_ok
    })
    .await;
    until("all sentinels have heard", async || all.primary() == all.servers[1].port).await;
    assert_eq!(all.servers[1].command::<Vec<u8>>(&["GET", "e"]), stored, "it is still there");
    assert_eq!(replies.pop().unwrap().unwrap(), Reply::Bytes(None), "another server accepted it");
    let away = |error: &crate::Error| matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::ReadOnly);
    assert!(replies.iter().all(|reply| reply.as_ref().is_err_and(away)), "{replies:?}");
    // The old primary comes back, is made a replica, and is not used.
    all.servers[0].restart();
    until("it is a replica", async || {
        all.servers[0].command::<String>(&["INFO", "replication"]).contains("role:slave")
    })
    .await;
    // The sentinels close connections when they give a server another part.
    let new = Reply::Bytes(Some(b"new".to_vec()));
    until("the new primary goes on", async || {
        let replies = redis.run(vec![store("new"), Op::Read(name("e"))]).await;
        matches!(&replies[..], [Ok(_), Ok(value)] if *value == new)
    })
    .await;
    // What is heard is heard there too.
    until("it is subscribed there", async || {
        all.servers[1].command::<Vec<String>>(&["PUBSUB", "CHANNELS", "l"]).len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_primary_that_steps_down_is_left() {
    let all = Installation::start(None).await;
    let redis = all.open();
    one(&redis, store("old")).await;
    all.sentinels[0].command::<()>(&["SENTINEL", "FAILOVER", "mymaster"]);
    until("the sentinels have another", async || all.primary() == all.servers[1].port).await;
    // The old primary takes writes until the sentinels have told it to stop: these are lost.
    let is_there = || all.servers[1].command::<Vec<u8>>(&["GET", "e"]).starts_with(b"new");
    until("the new primary is used", async || works(&redis).await && is_there()).await;
}

#[tokio::test]
async fn sentinels_that_are_away_do_not_matter_while_one_is_there() {
    let mut all = Installation::start(None).await;
    all.sentinels[0].kill();
    let mut server = all.server();
    let Topology::Sentinel { sentinels, .. } = &mut server.topology else { unreachable!() };
    sentinels.insert(0, Endpoint { host: "no-such-host.invalid".into(), port: 1 });
    let redis = open(Connect::to(server.clone())).unwrap();
    redis.ready().await.unwrap();
    // Nor do they at all, while the primary is there.
    all.sentinels.iter_mut().for_each(Redisd::kill);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(works(&redis).await);
    let error = all.open().ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(open(Connect::to(server)).unwrap().ready().await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_an_error_of_the_configuration() {
    let all = Installation::start(None).await;
    let mut server = all.server();
    let Topology::Sentinel { master, .. } = &mut server.topology else { unreachable!() };
    *master = "other".into();
    let error = open(Connect::to(server)).unwrap().ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn sentinels_that_ask_for_a_password_get_that_of_the_server() {
    let all = Installation::start(Some("sesame")).await;
    assert_eq!(all.open().ready().await.unwrap_err().kind(), ErrorKind::Denied);
    let redis = open(Connect::to(Server { password: Some("sesame".into()), ..all.server() })).unwrap();
    one(&redis, store("x")).await;
    let wrong = open(Connect::to(Server { password: Some("wrong".into()), ..all.server() })).unwrap();
    assert_eq!(wrong.ready().await.unwrap_err().kind(), ErrorKind::Denied);
}

//! Servers that go away, come back, stand still, or are others than they were.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::server::{Redisd, name, one, until};
use crate::error::ErrorKind;
use crate::redis::{Connect, Redis, open};
use crate::store::{EntryName, Image, Life, Op, Reply, SharedStore};

const MINUTE: Duration = Duration::from_secs(60);

#[allow(clippy::disallowed_methods, reason = "a test measures how long it waits")]
fn now() -> Instant {
    Instant::now()
}

fn ensure(fresh: u8) -> Op {
    Op::Ensure { cell: name("cell"), fresh: [fresh; 16], ttl: Some(MINUTE) }
}

fn store(value: &str) -> Op {
    Op::Replace {
        name: EntryName { entry: name("e"), side: name("s"), lease: name("l") },
        seen: None,
        plain: None,
        image: Some(Image { envelope: value.into(), plain: None }),
        life: Life::For(MINUTE),
        close: false,
    }
}

async fn kind(redis: &Redis) -> Result<(), ErrorKind> {
    redis.run(vec![Op::Read(name("e"))]).await.pop().unwrap().map(drop).map_err(|error| error.kind())
}

async fn comes_back(redis: &Redis) {
    until("the server is used again", async || kind(redis).await.is_ok()).await;
}

#[tokio::test]
async fn what_another_server_accepted_is_missing() {
    let mut server = Redisd::start(&[]);
    let redis = server.open();
    one(&redis, ensure(1)).await;
    one(&redis, store("old")).await;
    let acquire = |token| Op::Acquire { lease: name("l"), token: [token; 16], ttl: MINUTE, steal: false };
    one(&redis, acquire(1)).await;
    server.command::<()>(&["SAVE"]);
    server.restart();
    comes_back(&redis).await;
    assert_eq!(server.command::<u8>(&["EXISTS", "cell", "e", "l"]), 3, "the snapshot was not loaded");
    assert_eq!(one(&redis, Op::Read(name("e"))).await, Reply::Bytes(None));
    let both = redis.run(vec![Op::Read(name("e")), Op::Read(name("cell"))]).await;
    assert!(both.iter().all(|reply| matches!(reply, Ok(Reply::Bytes(None)))), "{both:?}");
    let swap = Op::Swap { cell: name("cell"), seen: [1; 16], fresh: [2; 16], ttl: Some(MINUTE) };
    // A lease that came out of the snapshot fills nothing: what closed it may be lost with the rest.
    let fill = Op::Fill {
        name: EntryName { entry: name("e"), side: name("s"), lease: name("l") },
        token: [1; 16],
        image: Image { envelope: b"x".to_vec(), plain: None },
        ttl: None,
        or_drop: false,
    };
    assert_eq!(one(&redis, fill).await, Reply::Flag(false));
    assert_eq!(one(&redis, swap).await, Reply::Flag(false));
    server.restart();
    comes_back(&redis).await;
    assert_eq!(one(&redis, ensure(3)).await, Reply::Nonce([3; 16]));
}

#[tokio::test]
async fn a_data_set_that_is_replaced_under_a_live_connection_is_noticed() {
    let (server, other) = (Redisd::start(&[]), Redisd::start(&[]));
    let redis = server.open();
    one(&redis, store("old")).await;
    // The value as it was stored, so that it can come back unchanged.
    let stored: Vec<u8> = server.command(&["GET", "e"]);
    other.command_of::<()>(&[b"SET", b"e", &stored]);
    server.command::<()>(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    let failed = redis.run(vec![store("new")]).await.pop().unwrap();
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::ReadOnly);
    until("the replica is not used", async || kind(&redis).await == Err(ErrorKind::ReadOnly)).await;
    until("it has synced", async || server.command::<Option<Vec<u8>>>(&["GET", "e"]).as_ref() == Some(&stored)).await;
    server.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    comes_back(&redis).await;
    assert_eq!(server.command::<Vec<u8>>(&["GET", "e"]), stored);
    assert_eq!(one(&redis, Op::Read(name("e"))).await, Reply::Bytes(None));
}

#[tokio::test]
async fn a_silent_change_of_the_data_set_is_noticed_within_seconds() {
    let (server, other) = (Redisd::start(&[]), Redisd::start(&[]));
    let redis = server.open();
    one(&redis, store("old")).await;
    let stored: Vec<u8> = server.command(&["GET", "e"]);
    other.command_of::<()>(&[b"SET", b"e", &stored]);
    server.command::<()>(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    // While nothing is written, only the background finds out.
    until("it has synced", async || server.command::<String>(&["INFO", "replication"]).contains("link_status:up"))
        .await;
    server.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    comes_back(&redis).await;
    assert_eq!(server.command::<Vec<u8>>(&["GET", "e"]), stored);
    assert_eq!(one(&redis, Op::Read(name("e"))).await, Reply::Bytes(None));
}

#[tokio::test]
async fn a_server_that_was_killed_fails_at_once_and_comes_back_by_itself() {
    let mut server = Redisd::start(&[]);
    let redis = server.open();
    one(&redis, store("old")).await;
    server.kill();
    until("it is known to be away", async || kind(&redis).await == Err(ErrorKind::Unavailable)).await;
    let start = now();
    for _ in 0..1_000 {
        assert_eq!(kind(&redis).await, Err(ErrorKind::Unavailable));
    }
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(redis.ready().await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.restart();
    let start = now();
    comes_back(&redis).await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    redis.ready().await.unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_delays_by_a_bounded_time_and_then_not_at_all() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    one(&redis, store("old")).await;
    server.signal("STOP");
    let start = now();
    let mut slowest = Duration::ZERO;
    while start.elapsed() < Duration::from_secs(6) {
        let before = now();
        assert!(kind(&redis).await.is_err());
        slowest = slowest.max(before.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(slowest < Duration::from_millis(1_700), "{slowest:?}");
    let before = now();
    assert!(kind(&redis).await.is_err());
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
    server.signal("CONT");
    comes_back(&redis).await;
    assert_eq!(one(&redis, Op::Read(name("e"))).await, Reply::Bytes(Some(b"old".to_vec())), "it is the same server");
}

#[tokio::test]
async fn connections_that_the_server_closes_are_replaced_without_a_failure() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    for _ in 0..20 {
        one(&redis, store("x")).await;
        let closed: u32 = server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        assert!(closed >= 1);
        // What is on its way when that happens may fail; what begins afterwards does not.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn ten_thousand_callers_of_a_dead_server_wait_for_nothing() {
    let mut server = Redisd::start(&[]);
    let redis = server.open();
    one(&redis, store("x")).await;
    server.kill();
    let start = now();
    let all: Vec<_> = (0..10_000)
        .map(|_| {
            let redis = redis.clone();
            tokio::spawn(async move { kind(&redis).await })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), Err(ErrorKind::Unavailable));
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_server_that_is_away_is_not_tried_at_every_call() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = crate::server::Endpoint { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let tries = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = tries.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let redis = open(Connect::to(super::server::server(crate::server::Topology::Standalone(endpoint)))).unwrap();
    let start = now();
    while start.elapsed() < Duration::from_secs(1) {
        assert_eq!(kind(&redis).await, Err(ErrorKind::Unavailable));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // At 0, 50, 150, 350 and 750 ms, less a quarter at most, on two connections.
    let tries = tries.load(std::sync::atomic::Ordering::SeqCst);
    assert!((6..=14).contains(&tries), "{tries}");
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_leaves_the_connection_in_order() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    one(&redis, store("right")).await;
    for round in 0..200_u64 {
        let mut dropped = Box::pin(redis.run(vec![Op::Left(name("e")), Op::Read(name("none"))]));
        let wait = tokio::time::timeout(Duration::from_micros(round), &mut dropped).await;
        drop(wait);
        drop(dropped);
        assert_eq!(one(&redis, Op::Read(name("e"))).await, Reply::Bytes(Some(b"right".to_vec())));
    }
}

#[test]
fn a_cache_outlives_the_runtime_that_connected_it() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    for multi in [false, true, false] {
        let runtime = match multi {
            true => tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build(),
            false => tokio::runtime::Builder::new_current_thread().enable_io().build(),
        }
        .unwrap();
        runtime.block_on(async { one(&redis, store("x")).await });
        std::thread::sleep(Duration::from_millis(120));
    }
}

#[test]
fn a_runtime_that_nobody_runs_does_not_keep_the_server_away() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let idle = build();
    idle.block_on(async { one(&redis, store("x")).await });
    // `idle` lives, and nobody runs the tasks on it.
    build().block_on(comes_back(&redis));
    drop(idle);
}

#[test]
fn without_a_runtime_or_without_its_io_a_call_fails_and_does_not_panic() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let failed = futures_util::future::FutureExt::now_or_never(redis.run(vec![store("x")])).unwrap();
    assert_eq!(failed[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(bare.block_on(kind(&redis)), Err(ErrorKind::Unavailable));
    std::thread::sleep(Duration::from_millis(120));
    let whole = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    whole.block_on(async { one(&redis, store("x")).await });
}

/// Polls in this thread, which has no runtime.
fn without_a_runtime<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

#[test]
fn a_server_that_one_runtime_has_connected_can_be_used_from_without() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_io().build().unwrap();
    runtime.block_on(async { one(&redis, store("x")).await });
    without_a_runtime(async { one(&redis, store("y")).await });
    // The keeper rests by then, and who answers has to be asked again.
    std::thread::sleep(Duration::from_secs(18));
    without_a_runtime(async { one(&redis, store("z")).await });
    server.command::<u32>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    std::thread::sleep(Duration::from_millis(50));
    without_a_runtime(async { one(&redis, store("z")).await });
}

/// A name or a balancer that leads to two servers in turn.
#[tokio::test]
async fn a_name_that_leads_to_two_servers_never_mixes_their_values() {
    let servers = [Redisd::start(&[]), Redisd::start(&[])];
    let balancer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = balancer.local_addr().unwrap().port();
    let ports = [servers[0].port, servers[1].port];
    std::thread::spawn(move || {
        for (n, client) in balancer.incoming().map_while(Result::ok).enumerate() {
            let Ok(server) = std::net::TcpStream::connect(("127.0.0.1", ports[n % 2])) else { return };
            for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    let endpoint = crate::server::Endpoint { host: "127.0.0.1".into(), port };
    let redis = open(Connect::to(super::server::server(crate::server::Topology::Standalone(endpoint)))).unwrap();
    // What one server has accepted is on the other one too, in another version.
    one(&redis, store("right")).await;
    let stored = |server: &Redisd| server.command::<Option<Vec<u8>>>(&["GET", "e"]);
    let (from, other) = if stored(&servers[0]).is_some() { (0, 1) } else { (1, 0) };
    let stamp = stored(&servers[from]).unwrap().split_off(5);
    servers[other].command_of::<()>(&[b"SET", b"e", &[b"wrong" as &[u8], &stamp].concat()]);
    let mut seen = Vec::new();
    for _ in 0..40 {
        if let Ok(Reply::Bytes(value)) = &redis.run(vec![Op::Read(name("e"))]).await[0] {
            seen.push(value.clone());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(seen.iter().flatten().all(|value| value == b"right"), "{seen:?}");
    // All connections lead to one server at a time, which may be the other one after each look at it.
    let changes = seen.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((1..=12).contains(&changes), "{changes}");
}

#[tokio::test]
async fn nothing_is_left_behind_by_a_cache_that_is_closed_or_dropped() {
    let server = Redisd::start(&[]);
    let clients = || server.command::<String>(&["CLIENT", "LIST", "TYPE", "normal"]).lines().count() - 1;
    for close in [true, false] {
        let redis = server.open();
        one(&redis, store("x")).await;
        assert_eq!(clients(), 2);
        if close {
            redis.close().await;
        }
        let weak = Arc::downgrade(&redis);
        drop(redis);
        assert!(weak.upgrade().is_none());
        until("its connections are gone", async || clients() == 0).await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 0, "a task goes on");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_by_kind() {
    let ready = async |server| open(Connect::to(server)).unwrap().ready().await.unwrap_err();
    let server = Redisd::start(&["requirepass sesame"]);
    let error = ready(server.server()).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let mut wrong = server.server();
    wrong.password = Some("simsim".into());
    let error = ready(wrong.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!format!("{error:?}").contains("simsim"));
    wrong.username = Some("nobody".into());
    assert_eq!(ready(wrong).await.kind(), ErrorKind::Denied);
    let mut right = server.server();
    right.password = Some("sesame".into());
    open(Connect::to(right.clone())).unwrap().ready().await.unwrap();
    right.database = 99;
    let error = ready(right).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");

    let mut nowhere = server.server();
    nowhere.topology = crate::server::Topology::Standalone(crate::server::Endpoint {
        host: "no-such-host.invalid".into(),
        port: 6379,
    });
    let error = ready(nowhere).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().starts_with("host: "));
    let mut refused = server.server();
    drop(server);
    refused.password = None;
    let error = ready(refused).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn databases_are_apart() {
    let server = Redisd::start(&[]);
    let mut other = server.server();
    other.database = 3;
    let (first, other) = (server.open(), open(Connect::to(other)).unwrap());
    one(&first, store("x")).await;
    assert_eq!(one(&other, Op::Read(name("e"))).await, Reply::Bytes(None));
    one(&other, store("y")).await;
    assert_eq!(one(&first, Op::Read(name("e"))).await, Reply::Bytes(Some(b"x".to_vec())));
    assert_eq!(first.info().await.unwrap().keys, 2);
}

/// A test of a program that stops its clock: answers still take as long as they take.
#[tokio::test(start_paused = true)]
async fn a_stopped_clock_of_the_runtime_does_not_matter() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    redis.ready().await.unwrap();
    for _ in 0..50 {
        one(&redis, store("x")).await;
    }
}

#[tokio::test]
async fn while_it_is_used_it_is_asked_every_second_who_answers() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    one(&redis, store("x")).await;
    let infos = || super::server::calls(&server, "info");
    let before = infos();
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    // Twice on each of two connections, and once by ourselves.
    let asked = infos() - before;
    assert!((5..=7).contains(&asked), "{asked}");
}

#[tokio::test]
async fn after_a_rest_it_is_asked_first_who_answers() {
    let (server, other) = (Redisd::start(&[]), Redisd::start(&[]));
    let redis = server.open();
    one(&redis, store("old")).await;
    let stored: Vec<u8> = server.command(&["GET", "e"]);
    other.command_of::<()>(&[b"SET", b"e", &stored]);
    let infos = || super::server::calls(&server, "info");
    until("it rests", async || {
        let before = infos();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        // One of them is our own.
        infos() == before + 1
    })
    .await;
    server.command::<()>(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    until("it has synced", async || server.command::<String>(&["INFO", "replication"]).contains("link_status:up"))
        .await;
    server.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(server.command::<Vec<u8>>(&["GET", "e"]), stored);
    assert_eq!(one(&redis, Op::Read(name("e"))).await, Reply::Bytes(None));
}

//! Waiting for the end of a lease.

use std::time::Duration;

use super::server::{Redisd, name, one, until};
use crate::error::ErrorKind;
use crate::redis::Redis;
use crate::store::{EntryName, Image, Listener, Op, SharedStore};

const MINUTE: Duration = Duration::from_secs(60);

async fn acquire(redis: &Redis, lease: &str) {
    one(redis, Op::Acquire { lease: name(lease), token: [1; 16], ttl: MINUTE, steal: true }).await;
}

async fn release(redis: &Redis, lease: &str) {
    one(redis, Op::Release { lease: name(lease), token: [1; 16] }).await;
}

async fn wakes(listener: &mut Box<dyn Listener>) -> bool {
    tokio::time::timeout(Duration::from_secs(2), listener.woken()).await.is_ok()
}

async fn sleeps(listener: &mut Box<dyn Listener>) -> bool {
    tokio::time::timeout(Duration::from_millis(150), listener.woken()).await.is_err()
}

fn subscribers(server: &Redisd, channel: &str) -> u64 {
    let (_, count): (String, u64) = server.command(&["PUBSUB", "NUMSUB", channel]);
    count
}

#[tokio::test]
async fn whoever_ends_a_lease_wakes_those_who_wait_for_it_and_nobody_else() {
    let server = Redisd::start(&[]);
    let (redis, other) = (server.open(), server.open());
    let mut a = redis.listen(&name("a")).await.unwrap();
    let mut again = redis.listen(&name("a")).await.unwrap();
    let mut b = redis.listen(&name("b")).await.unwrap();
    assert!(sleeps(&mut a).await);
    acquire(&other, "a").await;
    release(&other, "a").await;
    assert!(wakes(&mut a).await && wakes(&mut again).await && sleeps(&mut b).await);
    assert!(sleeps(&mut a).await, "woken twice");
    acquire(&other, "a").await;
    let names = EntryName { entry: name("e"), side: name("s"), lease: name("a") };
    let image = Image { envelope: vec![1], plain: None };
    one(&other, Op::Fill { name: names, token: [1; 16], image, ttl: None, or_drop: false }).await;
    assert!(wakes(&mut a).await && wakes(&mut again).await && sleeps(&mut b).await);
    // A release by somebody who has it no more wakes too.
    release(&other, "a").await;
    assert!(wakes(&mut a).await);
}

#[tokio::test]
async fn what_happens_between_listening_and_waiting_is_not_missed() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    for n in 0..200 {
        let lease = format!("l{n}");
        let mut listener = redis.listen(&name(&lease)).await.unwrap();
        release(&redis, &lease).await;
        assert!(wakes(&mut listener).await, "{n}");
    }
}

#[tokio::test]
async fn a_channel_is_subscribed_while_somebody_listens() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let first = redis.listen(&name("a")).await.unwrap();
    let second = redis.listen(&name("a")).await.unwrap();
    assert_eq!(subscribers(&server, "a"), 1);
    drop(first);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(subscribers(&server, "a"), 1);
    drop(second);
    until("nobody listens", async || subscribers(&server, "a") == 0).await;
    // Coming and going in all orders, the last one hears.
    for n in 0..300_u64 {
        let before = redis.listen(&name("a")).await.unwrap();
        drop(before);
        tokio::time::sleep(Duration::from_micros(n * 20)).await;
        let mut last = redis.listen(&name("a")).await.unwrap();
        release(&redis, "a").await;
        assert!(wakes(&mut last).await, "{n}");
    }
    until("nobody listens", async || subscribers(&server, "a") == 0).await;
}

#[tokio::test]
async fn a_thousand_listeners_do_not_cost_a_thousand_round_trips() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let first = redis.listen(&name("first")).await.unwrap();
    let names: Vec<_> = (0..1_000).map(|n| name(&format!("l{n}"))).collect();
    let all = futures_util::future::join_all(names.iter().map(|name| redis.listen(name))).await;
    let mut all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    let calls = super::server::calls(&server, "subscribe");
    assert!(calls <= 20, "{calls}");
    release(&redis, "l77").await;
    assert!(wakes(&mut all[77]).await);
    assert!(sleeps(&mut all[78]).await);
    drop((first, all));
    until("nobody listens", async || server.command::<Vec<String>>(&["PUBSUB", "CHANNELS"]).is_empty()).await;
}

#[tokio::test]
async fn a_listener_is_woken_when_it_may_have_missed_something_and_hears_again_afterwards() {
    let mut server = Redisd::start(&[]);
    let redis = server.open();
    let mut listener = redis.listen(&name("a")).await.unwrap();
    // The connection is lost.
    let lost = async |server: &Redisd| server.command::<u32>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(lost(&server).await, 1);
    assert!(wakes(&mut listener).await);
    until("it is subscribed again", async || subscribers(&server, "a") == 1).await;
    while !sleeps(&mut listener).await {}
    release(&redis, "a").await;
    assert!(wakes(&mut listener).await);
    // The server is lost.
    server.restart();
    assert!(wakes(&mut listener).await);
    until("it is subscribed again", async || subscribers(&server, "a") == 1).await;
    while !sleeps(&mut listener).await {}
    until("the server is used again", async || redis.ping().await.is_ok()).await;
    release(&redis, "a").await;
    assert!(wakes(&mut listener).await);
}

#[tokio::test]
async fn a_server_that_is_away_is_not_listened_to_and_a_closed_cache_wakes_everybody() {
    let mut server = Redisd::start(&[]);
    let redis = server.open();
    let mut listener = redis.listen(&name("a")).await.unwrap();
    server.kill();
    assert!(wakes(&mut listener).await);
    until("it is known to be away", async || redis.ping().await.is_err()).await;
    let error = redis.listen(&name("b")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(sleeps(&mut listener).await, "a dead server wakes again and again");
    // What was published before it is subscribed again was not heard.
    server.restart();
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.woken()).await;
    assert!(heard.is_ok(), "it was not woken once it hears again");
    assert_eq!(subscribers(&server, "a"), 1);
    redis.close().await;
    assert!(wakes(&mut listener).await);
    assert_eq!(redis.listen(&name("b")).await.err().unwrap().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_listener_that_never_came_about_leaves_nothing() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    drop(redis.listen(&name("first")).await.unwrap());
    for n in 0..200_u64 {
        let lease = name("a");
        let _ = tokio::time::timeout(Duration::from_micros(n * 5), redis.listen(&lease)).await;
    }
    until("nobody listens", async || server.command::<Vec<String>>(&["PUBSUB", "CHANNELS"]).is_empty()).await;
    let mut listener = redis.listen(&name("a")).await.unwrap();
    release(&redis, "a").await;
    assert!(wakes(&mut listener).await);
}

#[tokio::test]
async fn an_answer_that_is_larger_than_a_subscriber_may_have_arrives() {
    let server = Redisd::start(&["client-output-buffer-limit pubsub 1mb 1mb 60"]);
    let redis = server.open();
    let _listener = redis.listen(&name("a")).await.unwrap();
    server.command_of::<()>(&[b"SET", b"large", &vec![b'x'; 8 << 20]]);
    for _ in 0..4 {
        let reply = one(&redis, Op::ReadPlain(name("large"))).await;
        assert!(matches!(reply, crate::store::Reply::Bytes(Some(bytes)) if bytes.len() == 8 << 20));
    }
}

//! Processes, servers and runtimes that stand still and go on: what they slept through is not served.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::Builder;
use cache_tests::process::Worker;
use cache_tests::redis::{Proxy, Server};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::chase::Chase;
use super::fleet::{self, Place, Source, ended, now, within};
use super::{LEASE, Process, builder, tagged, write};

async fn worker(url: &str, prefix: &str) -> Worker {
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_cache-worker")).await;
    let lease = u64::try_from(LEASE.as_millis()).unwrap();
    let with = json!({ "url": format!("hybrid+{url}"), "prefix": prefix, "counter": format!("count-{prefix}"), "lease_ms": lease });
    worker.command("open", with).await;
    worker
}

fn ask() -> Value {
    json!({ "function": "unlocked", "id": 1, "callers": 1, "body_ms": 0 })
}

/// Which load's value it was.
fn number(answer: &Value) -> u64 {
    let got = answer["got"].as_object().and_then(|got| got.keys().next()).map(|number| number.parse());
    got.unwrap_or_else(|| panic!("{answer}")).unwrap()
}

/// N5, P1: a process that was stopped serves nothing of what it did not hear, from its first call on.
#[tokio::test]
async fn a_process_that_was_stopped_serves_nothing_that_it_slept_through() {
    let (server, prefix) = (fleet::server().await, fleet::prefix());
    let net = Proxy::start(server.addr());
    let mut a = worker(&server.url(), &prefix).await;
    let mut b = worker(&net.url(), &prefix).await;
    for _ in 0..5 {
        let old = loop {
            let before = net.count("MGET") + net.count("EVAL");
            let old = number(&b.command("call", ask()).await);
            if net.count("MGET") + net.count("EVAL") == before {
                break old;
            }
        };
        b.stop_signal();
        a.command("write", json!({ "id": 1 })).await;
        let written = now();
        sleep(LEASE).await;
        // It finds the call when it goes on, as it finds what the server has pushed meanwhile.
        b.send("call", ask()).await;
        b.cont_signal();
        let new = number(&b.answer().await.unwrap());
        assert!(new > old, "{old} was served {:?} after it had been invalidated", written.elapsed());
    }
}

/// N5, P1: the same of a runtime that is not being run. What was pushed meanwhile is not even read.
#[tokio::test]
async fn a_runtime_that_was_blocked_serves_nothing_that_it_slept_through() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::<Source>::default());
    let b =
        Process::with(server, &prefix, &source, |builder| builder.response_timeout(fleet::LONG).l1_lease(LEASE)).await;
    for version in 1..=5 {
        b.copied(async || tagged(&b.at, 1).await).await;
        let (url, prefix, source) = (server.url(), prefix.clone(), Arc::clone(&source));
        let elsewhere = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let a = Place::new(builder(&url, &prefix).build().await.unwrap(), &source);
                write(&a, 1).await;
            });
        });
        // This runtime has but one thread.
        elsewhere.join().unwrap();
        std::thread::sleep(LEASE);
        assert_eq!(tagged(&b.at, 1).await.version, version);
    }
}

/// N5: a change right after a read: the push for it arrives together with the answer, and is handled before whoever has asked.
#[tokio::test]
async fn a_push_that_comes_with_the_answer_is_not_lost() {
    let server = Server::start().await;
    let (prefix, source) = (fleet::prefix(), Arc::<Source>::default());
    let a = Process::new(&server, &prefix, &source).await;
    let b = Process::new(&server, &prefix, &source).await;
    b.copied(async || tagged(&b.at, 1).await).await;
    for version in 1..=10 {
        write(&a.at, 1).await;
        source.set_org(1, version);
        tagged(&a.at, 1).await;
        // The server finds the read and then the write, and answers when it has done both.
        server.stop_signal();
        let place = Arc::clone(&b.at);
        let read = tokio::spawn(async move { tagged(&place, 1).await });
        sleep(Duration::from_millis(10)).await;
        let place = Arc::clone(&a.at);
        let written = tokio::spawn(async move { write(&place, 1).await });
        sleep(Duration::from_millis(10)).await;
        server.cont_signal();
        ended("the read", read).await;
        ended("the write", written).await;
        let newest = source.now(1).version;
        for _ in 0..3 {
            let row = within("copies", b.copied(async || tagged(&b.at, 1).await)).await;
            assert_eq!(row.version, newest, "what was read before was copied");
        }
    }
}

/// N5, P1: an answer that was found late says nothing of what has happened since the question was sent.
#[tokio::test]
async fn an_answer_that_lay_there_for_long_is_good_for_nothing() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::<Source>::default());
    // Longer than this runtime is blocked: the answer is still waited for.
    let patience = Duration::from_millis(1500);
    let how = |builder: Builder| builder.response_timeout(patience).l1_lease(LEASE);
    for _ in 0..2 {
        let b = Process::with(server, &prefix, &source, how).await;
        let old = b.copied(async || tagged(&b.at, 1).await).await;
        // A question is on its way for so long that this runtime can be blocked before the answer is there.
        b.net.delay(Duration::from_millis(30));
        let asked = b.net.count("INFO");
        while b.net.count("INFO") == asked {
            sleep(Duration::from_millis(1)).await;
        }
        std::thread::sleep(Duration::from_millis(60));
        b.net.drop_to_client();
        let (url, prefix, own) = (server.url(), prefix.clone(), Arc::clone(&source));
        let elsewhere = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let a = Place::new(builder(&url, &prefix).build().await.unwrap(), &own);
                write(&a, 1).await;
            });
        });
        elsewhere.join().unwrap();
        std::thread::sleep(LEASE);
        // It is found now.
        sleep(LEASE / 8).await;
        assert_eq!(tagged(&b.at, 1).await.version, old.version + 1);
    }
}

/// N5, P1, P4: a server that is stopped for a while. Copies are served for δ, and reads work all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_stopped_is_heard_again() {
    let server = Server::start().await;
    let chase = Chase::new(&server.url(), LEASE).await;
    for pause in [LEASE / 4, LEASE, 4 * LEASE] {
        chase
            .during(async {
                server.stop_signal();
                sleep(pause).await;
                server.cont_signal();
                sleep(LEASE).await;
            })
            .await;
        chase.settles().await;
    }
}

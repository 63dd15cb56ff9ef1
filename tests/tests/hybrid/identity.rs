//! The data set of a server is replaced under its copies: nothing that was invalidated comes back.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::Builder;
use cache_tests::eventually;
use cache_tests::redis::Server;
use tokio::time::sleep;

use super::fleet::{self, LONG, now, within};
use super::{LEASE, Process, tagged, write};

/// How long it may take to find out that a server that kept its connections is another: the pulse, or the keeper's round.
const FOUND_OUT: Duration = Duration::from_millis(1500);

/// P5, N5: `DEBUG RELOAD`, and a flush: what is invalidated before, in between or afterwards stays so.
#[tokio::test]
async fn a_server_that_reloads_or_forgets_its_data_brings_nothing_back() {
    let server = Server::options().config("enable-debug-command yes").start().await;
    let (prefix, source) = (fleet::prefix(), Arc::default());
    let a = Process::new(&server, &prefix, &source).await;
    let b = Process::new(&server, &prefix, &source).await;
    let mut version = 0;
    for what in [&["DEBUG", "RELOAD"][..], &["FLUSHALL"], &["FLUSHDB", "ASYNC"], &["DEBUG", "RELOAD"]] {
        for writes_before in [true, false] {
            for process in [&a, &b] {
                process.copied(async || tagged(&process.at, 1).await).await;
            }
            if writes_before {
                version = write(&a.at, 1).await.version;
            }
            server.command(what).await;
            // Acknowledged by the data that is there now: the copies have to know that the server tracks them no more.
            version = version.max(write(&a.at, 1).await.version);
            assert_eq!(tagged(&a.at, 1).await.version, version, "{what:?}");
            within("the new version", async {
                while b.copied(async || tagged(&b.at, 1).await).await.version != version {}
            })
            .await;
        }
    }
}

/// P5, N5: demoted, filled with what another has kept from before, and promoted again, on connections that stay.
#[tokio::test]
async fn a_server_that_was_a_replica_for_a_while_brings_nothing_back() {
    let server = Server::start().await;
    let other = Server::start().await;
    let (prefix, source) = (fleet::prefix(), Arc::default());
    // One hears of it by the pulse, the other, whose pulse is slow, by the keeper's round.
    let how = |builder: Builder| builder.response_timeout(LONG).l1_lease(LEASE);
    let a = Process::with(&server, &prefix, &source, how).await;
    let b = Process::new(&server, &prefix, &source).await;
    for process in [&a, &b] {
        process.copied(async || tagged(&process.at, 1).await).await;
    }
    replicate(&other, &server).await;
    other.command(&["REPLICAOF", "NO", "ONE"]).await;
    let version = write(&a.at, 1).await.version;
    for process in [&a, &b] {
        within("the new version", async {
            while process.copied(async || tagged(&process.at, 1).await).await.version != version {}
        })
        .await;
    }
    replicate(&server, &other).await;
    server.command(&["REPLICAOF", "NO", "ONE"]).await;
    let began = now();
    while began.elapsed() < FOUND_OUT + Duration::from_millis(500) {
        let since = began.elapsed();
        for process in [&a, &b] {
            let row = tagged(&process.at, 1).await;
            assert!(row.version == version || since < FOUND_OUT, "{row:?} {since:?} after the promotion");
        }
        sleep(Duration::from_millis(3)).await;
    }
    let version = write(&b.at, 1).await.version;
    for process in [&a, &b] {
        within("the newest, from memory", async {
            while process.copied(async || tagged(&process.at, 1).await).await.version != version {}
        })
        .await;
    }
}

async fn replicate(replica: &Server, primary: &Server) {
    replica.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    eventually("a replica in sync", LONG, async || {
        replica.query::<String>(&["INFO", "replication"]).await.contains("master_link_status:up")
    })
    .await;
}

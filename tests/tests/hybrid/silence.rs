//! Links that are lost, half open, or hide what servers say: within δ no copy is served, and none before it can be known again
//! what changes.

use std::sync::Arc;
use std::time::Duration;

use cache_tests::redis::{Corrupt, Server};
use tokio::time::sleep;

use super::fleet::{self, Hand, now, soon, within};
use super::reach::write_pattern;
use super::{LEASE, Process, tagged, two, write};

/// N5, P1: a link that dies without a word: within δ the copies are not served.
#[tokio::test]
async fn a_half_open_link_ends_within_the_lease() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::default());
    let a = Process::new(server, &prefix, &source).await;
    let patience = Duration::from_millis(100);
    type Fault = fn(&Process);
    // What a slow link brings is heard; only its answers come too late for the lease.
    let faults: [(Fault, bool); 3] =
        [(|b| b.net.drop_to_client(), true), (|b| b.net.half_open(), true), (|b| b.net.delay(2 * LEASE), false)];
    for (fault, is_deaf) in faults {
        let b =
            Process::with(server, &prefix, &source, |builder| builder.response_timeout(patience).l1_lease(LEASE)).await;
        let old = b.copied(async || tagged(&b.at, 1).await).await.version;
        fault(&b);
        write(&a.at, 1).await;
        let written = now();
        let mut served_old = 0;
        within("the new version", async {
            loop {
                let began = written.elapsed();
                if tagged(&b.at, 1).await.version == old {
                    assert!(began < LEASE, "an old copy was served {began:?} after the write");
                    served_old += 1;
                } else {
                    break;
                }
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert!(served_old > 0 || !is_deaf, "the link was not deaf: nothing is shown");
        b.net.heal();
        within("copies again", b.copied(async || tagged(&b.at, 1).await)).await;
    }
}

/// N5: a link that breaks is armed anew before copies are served again.
#[tokio::test]
async fn a_broken_link_is_armed_anew() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::default());
    let a = Process::new(server, &prefix, &source).await;
    let b = Process::new(server, &prefix, &source).await;
    for version in 1..=10 {
        b.copied(async || tagged(&b.at, 1).await).await;
        b.net.reset_all();
        write(&a.at, 1).await;
        within("the new version", async {
            while b.copied(async || tagged(&b.at, 1).await).await.version != version {}
        })
        .await;
    }
}

/// N5: `CLIENT KILL` of every connection, as an operator might.
#[tokio::test]
async fn connections_that_are_killed_by_the_server_are_armed_anew() {
    let server = Server::start().await;
    let (prefix, source) = (fleet::prefix(), Arc::default());
    let a = Process::new(&server, &prefix, &source).await;
    let b = Process::new(&server, &prefix, &source).await;
    for version in 1..=5 {
        b.copied(async || tagged(&b.at, 1).await).await;
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        within("a write", async { write(&a.at, 1).await }).await;
        within("the new version", async {
            while b.copied(async || tagged(&b.at, 1).await).await.version != version {}
        })
        .await;
    }
}

/// P1: an invalidation that could not be delivered is known to the process' own copies, whatever it covers.
#[tokio::test]
async fn a_writer_whose_invalidation_is_not_delivered_does_not_read_its_own_copies() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::default());
    let a = Process::new(server, &prefix, &source).await;
    for version in 1..=5 {
        a.copied(async || tagged(&a.at, 1).await).await;
        // Found by a scan, which fails; the connection on which changes are heard of is as it was.
        a.net.corrupt_answers_to("SCAN", Corrupt::error("BUSY"), u64::MAX);
        write_pattern(&a.at, 1).await;
        assert_eq!(a.at.cache.stats().copies_served, Some(true), "otherwise nothing is shown");
        assert!(a.at.cache.stats().undelivered > 0);
        for _ in 0..20 {
            assert_eq!(tagged(&a.at, 1).await.version, version);
        }
        a.net.heal();
        let row = within("copies again", a.copied(async || tagged(&a.at, 1).await)).await;
        assert_eq!(row.version, version);
    }
}

/// P1: the same of what was on its way from the server when the write began, and is copied after it has returned.
#[tokio::test]
async fn what_was_read_before_an_invalidation_that_is_not_delivered_is_not_copied() {
    let (a, b, _) = two().await;
    a.copied(async || tagged(&a.at, 1000).await).await;
    for id in 1..=5 {
        tagged(&b.at, id).await;
        let mut read = Hand::new({
            let at = Arc::clone(&a.at);
            async move { tagged(&at, id).await }
        });
        assert!(read.poll().is_pending());
        // The answer is there, and nobody has looked at it.
        read.woken().await;
        a.net.corrupt_answers_to("SCAN", Corrupt::error("BUSY"), u64::MAX);
        write_pattern(&a.at, id).await;
        assert!(a.at.cache.stats().undelivered > 0);
        assert_eq!(read.finish().await.version, 0);
        assert_eq!(tagged(&a.at, id).await.version, 1, "what the read found was copied");
        a.net.heal();
        soon("the delivery", || a.at.cache.stats().undelivered == 0).await;
    }
}

/// P5: a server that comes back with an old snapshot.
#[tokio::test]
async fn a_restart_from_an_old_snapshot_brings_nothing_back() {
    let server = Server::start().await;
    let (prefix, source) = (fleet::prefix(), Arc::default());
    let a = Process::new(&server, &prefix, &source).await;
    let b = Process::new(&server, &prefix, &source).await;
    b.copied(async || tagged(&b.at, 1).await).await;
    server.save_now().await;
    write(&a.at, 1).await;
    server.restart(cache_tests::redis::Snapshot::Keep).await;
    for process in [&a, &b] {
        for _ in 0..20 {
            assert_eq!(tagged(&process.at, 1).await.version, 1);
        }
    }
    within("copies again", b.copied(async || tagged(&b.at, 1).await)).await;
}

/// P9, N5: a user who may not have changes pushed: nothing is kept in memory, and everything else works.
#[tokio::test]
async fn without_the_right_to_hear_of_changes_there_are_no_copies() {
    let rules = "~* &* +@all -client|tracking";
    let server = Server::options().user(&format!("deaf on >secret {rules}")).start().await;
    let (prefix, source) = (fleet::prefix(), Arc::default());
    let url = server.url_as("deaf", "secret");
    let cache = super::builder(&url, &prefix).build().await.unwrap();
    let b = fleet::Place::new(cache, &source);
    let a = Process::new(&server, &prefix, &source).await;
    for version in 1..20 {
        tagged(&b, 1).await;
        write(&a.at, 1).await;
        assert_eq!(tagged(&b, 1).await.version, version);
    }
}

/// P9: whether copies are served can be seen.
#[tokio::test]
async fn whether_copies_are_served_can_be_seen() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::default());
    let patience = Duration::from_millis(100);
    let b = Process::with(server, &prefix, &source, |builder| builder.response_timeout(patience).l1_lease(LEASE)).await;
    assert_eq!(b.at.cache.info().await.unwrap().backend, "hybrid");
    assert_eq!(b.at.cache.stats().copies_served, Some(true));
    b.net.half_open();
    fleet::soon("the end of the lease", || b.at.cache.stats().copies_served == Some(false)).await;
    b.net.heal();
    fleet::soon("another lease", || b.at.cache.stats().copies_served == Some(true)).await;
    assert_eq!(cache_runtime::Cache::memory().stats().copies_served, None);
}

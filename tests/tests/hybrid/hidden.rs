//! What is between us and the server hides that things change, or the server is in no state to say so: nothing is kept in
//! memory, that is said, and everything else works.

use std::sync::Arc;
use std::time::Duration;

use cache_tests::redis::{Corrupt, Proxy, Server};
use tokio::time::sleep;

use super::fleet::{self, Place, Source, soon, within};
use super::{LEASE, Process, tagged, two, write};

/// A cache behind a network that has a fault from the beginning.
async fn behind(server: &Server, prefix: &str, source: &Arc<Source>, fault: impl FnOnce(&Proxy)) -> Process {
    let net = Proxy::start(server.addr());
    fault(&net);
    let cache = super::builder(&net.url(), prefix).build().await.unwrap();
    Process { at: Place::new(cache, source), net }
}

/// Reads and writes without ever being served a copy.
async fn works_without_copies(b: &Process, a: &Process) {
    for _ in 0..20 {
        tagged(&b.at, 1).await;
        let version = write(&a.at, 1).await.version;
        // The first finds nothing, the second finds it on the server; none has it in memory.
        tagged(&b.at, 1).await;
        let (row, cost) = b.cost(tagged(&b.at, 1)).await;
        assert_eq!(row.version, version);
        assert!(cost > 0, "a copy was served");
    }
    assert_eq!(b.at.cache.stats().copies_served, Some(false));
    assert_eq!(b.at.cache.stats().degraded, 0, "everything else works");
}

/// N5, P9: a balancer that knows nothing of pushes. Arming finds out.
#[tokio::test]
async fn where_pushes_do_not_arrive_there_are_no_copies() {
    let (a, _, source) = two().await;
    let prefix = fleet::prefix();
    let server = fleet::server().await;
    let a =
        Process { at: Place::new(super::builder(&a.net.url(), &prefix).build().await.unwrap(), &source), net: a.net };
    let b = behind(server, &prefix, &source, Proxy::swallow_pushes).await;
    works_without_copies(&b, &a).await;
    assert!(b.net.swallowed() > 0, "nothing was hidden: nothing is shown");
}

/// N5, P9: a server, or a proxy, that has no `CLIENT TRACKING`.
#[tokio::test]
async fn where_tracking_is_refused_there_are_no_copies() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::default());
    let a = Process::new(server, &prefix, &source).await;
    for answer in ["ERR unknown subcommand 'TRACKING'", "NOPERM this user has no permissions"] {
        let b = behind(server, &prefix, &source, |net| {
            net.corrupt_answers_to("CLIENT", Corrupt::error(answer), u64::MAX);
        })
        .await;
        works_without_copies(&b, &a).await;
        // It is not asked again and again.
        assert!(b.net.count("CLIENT") <= 2, "asked {} times", b.net.count("CLIENT"));
    }
}

/// N5: pushes that stop arriving while everything else goes on. Nothing can tell, but that a new connection is armed.
#[tokio::test]
async fn pushes_that_stop_are_found_out_when_the_connection_is_made_anew() {
    let (server, prefix, source) = (fleet::server().await, fleet::prefix(), Arc::default());
    let a = Process::new(server, &prefix, &source).await;
    let b = Process::new(server, &prefix, &source).await;
    b.copied(async || tagged(&b.at, 1).await).await;
    b.net.swallow_pushes();
    b.net.reset_all();
    within("the new connection", async {
        while b.net.swallowed() == 0 {
            tagged(&b.at, 1).await;
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    soon("copies are not served", || b.at.cache.stats().copies_served == Some(false)).await;
    works_without_copies(&b, &a).await;
}

/// P4, P7: a server that accepts no writes cannot show that its pushes arrive. It is left alone for a while each time, and
/// has copies again when it accepts writes.
#[tokio::test]
async fn a_server_that_cannot_be_armed_is_not_asked_incessantly() {
    let server = Server::start().await;
    let (prefix, source) = (fleet::prefix(), Arc::default());
    let b = Process::with(&server, &prefix, &source, |builder| builder.l1_lease(LEASE)).await;
    b.copied(async || tagged(&b.at, 1).await).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction"]).await;
    b.net.reset_all();
    let before = b.net.connections();
    let began = fleet::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(tagged(&b.at, 1).await.version, 0);
        sleep(Duration::from_millis(5)).await;
    }
    let made = b.net.connections() - before;
    assert!(made < 20, "{made} connections in a second");
    assert_eq!(b.at.cache.stats().copies_served, Some(false));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    within("copies again", b.copied(async || tagged(&b.at, 1).await)).await;
}

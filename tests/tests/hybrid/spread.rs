//! Servers that share the names, or take each other's place: a cluster, and a primary under sentinels.

use std::time::Duration;

use cache_runtime::Builder;
use cache_tests::redis::{Cluster, Sentinel, Server, Snapshot};
use tokio::time::sleep;

use super::chase::Chase;
use super::fleet::{self, soon};
use super::{LEASE, untagged};

const MOMENT: Duration = Duration::from_millis(300);

/// N5, E1: slots move, with what is in them, while copies are served and rows are written; then a server falls silent, and one
/// hides what changes, so that what is there cannot be copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_on_a_cluster_survive_slots_that_move_and_a_server_that_is_silent() {
    let cluster = Cluster::options().proxied().start().await;
    let chase = Chase::new(&cluster.url(), LEASE).await;
    chase.during(sleep(MOMENT)).await;
    chase.settles().await;
    chase
        .during(async {
            // Every slot in which there is anything, once around.
            for node in 0..3 {
                let keys: Vec<String> = cluster.node(node).query(&["KEYS", "*"]).await;
                for key in keys.iter().take(8) {
                    let slot = cluster.slot_of(key).await;
                    let owner = cluster.owner(slot).await;
                    cluster.migrate_slot(slot, (owner + 1) % 3).await;
                }
            }
        })
        .await;
    chase.settles().await;
    let writes = chase.writes.load(std::sync::atomic::Ordering::SeqCst);
    assert!(writes > 50, "hardly anything was written: {writes}");
    for node in 0..3 {
        chase
            .during(async {
                cluster.proxy(node).half_open();
                sleep(3 * LEASE).await;
                cluster.proxy(node).heal();
                sleep(MOMENT).await;
            })
            .await;
    }
    chase.settles().await;
    for node in 0..3 {
        cluster.proxy(node).swallow_pushes();
        let chase = Chase::new(&cluster.url(), LEASE).await;
        chase.during(sleep(2 * LEASE)).await;
        cluster.proxy(node).heal();
    }
}

/// N5, P5: a node dies, which ends the service of all copies. When its replica has taken its place they are served again, also
/// where nobody asks for anything of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_on_a_cluster_survive_a_node_that_dies() {
    let cluster = Cluster::options().replicas(1).start().await;
    let place = loop {
        let prefix = fleet::prefix();
        let cache = super::builder(&cluster.url(), &prefix).l1_lease(LEASE).build().await.unwrap();
        let place = fleet::Place::new(cache, &Default::default());
        fleet::within("copies", async {
            while untagged(&place, 1).await.version > 0 || place.cache.stats().copies_served != Some(true) {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let names: Vec<String> = cluster.node(0).query(&["KEYS", &format!("{prefix}:*")]).await;
        if names.is_empty() {
            break place;
        }
    };
    // Connected to it all the same.
    place.cache.info().await.unwrap();
    let chase = Chase::new(&cluster.url(), LEASE).await;
    chase.during(sleep(MOMENT)).await;
    chase.settles().await;
    chase
        .during(async {
            cluster.kill_node(0);
            soon("the end of the lease", || place.cache.stats().copies_served == Some(false)).await;
            cluster.wait_until_ok().await;
            sleep(MOMENT).await;
        })
        .await;
    chase.settles().await;
    fleet::within("copies again", async {
        while place.cache.stats().copies_served != Some(true) {
            untagged(&place, 1).await;
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// N5, P5: a fail-over to a replica that has not heard of the last writes, and back again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_survive_a_fail_over_that_loses_writes() {
    let installation = Sentinel::start().await;
    let chase = Chase::new(&installation.url(), LEASE).await;
    chase.during(sleep(MOMENT)).await;
    chase.settles().await;
    let [old, new] = installation.servers() else { panic!("a primary and a replica") };
    let before = chase.writes.load(std::sync::atomic::Ordering::SeqCst);
    chase
        .during(async {
            new.stop_signal();
            soon("writes that the replica does not hear of", || {
                chase.writes.load(std::sync::atomic::Ordering::SeqCst) > before + 20
            })
            .await;
            old.kill();
            new.cont_signal();
            installation.wait_until_primary(new).await;
            sleep(MOMENT).await;
        })
        .await;
    chase.settles().await;
    old.restart(Snapshot::Keep).await;
    chase
        .during(async {
            installation.wait_until_replica(old).await;
            installation.fail_over().await;
            sleep(MOMENT).await;
        })
        .await;
    chase.settles().await;
}

/// N5: TLS and sockets carry pushes, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_over_tls_and_over_a_socket() {
    let tls = Server::options().tls().start().await;
    let unix = Server::options().unix().start().await;
    for (server, is_tls) in [(&tls, true), (&unix, false)] {
        let how = |builder: Builder| if is_tls { builder.tls_ca(tls.tls_ca()) } else { builder };
        let chase = Chase::with(&server.url(), LEASE, how).await;
        chase.during(sleep(MOMENT)).await;
        chase.settles().await;
    }
}

/// N5: a slot that is given to another server while what is in it stays behind, and is deleted there without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a limit, in docs/consistency.md: a server that loses a slot with what is in it pushes nothing, and a later write finds nothing to drop"]
async fn a_slot_that_is_taken_from_its_server_takes_copies_along() {
    let cluster = Cluster::start().await;
    let (prefix, source) = (fleet::prefix(), std::sync::Arc::default());
    let place = async || {
        let cache = super::builder(&cluster.url(), &prefix).build().await.unwrap();
        fleet::Place::new(cache, &source)
    };
    let (a, b) = (place().await, place().await);
    for _ in 0..5 {
        untagged(&b, 1).await;
    }
    let slot = cluster.slot_of(&format!("{prefix}:v1:plain:1")).await;
    let from = cluster.owner(slot).await;
    let to = (from + 1) % 3;
    let text = slot.to_string();
    cluster.node(to).command(&["CLUSTER", "SETSLOT", &text, "IMPORTING", cluster.id(from)]).await;
    cluster.node(to).command(&["CLUSTER", "SETSLOT", &text, "NODE", cluster.id(to)]).await;
    cache_tests::eventually("the old owner has nothing left", fleet::LONG, async || {
        cluster.node(from).query::<u64>(&["CLUSTER", "COUNTKEYSINSLOT", &text]).await == 0
    })
    .await;
    super::write_key(&a, 1).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(untagged(&b, 1).await.version, 1);
}

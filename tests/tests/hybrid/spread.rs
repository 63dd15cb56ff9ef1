//! Servers that share the names, or take each other's place: a cluster, and a primary under sentinels.

use std::time::Duration;

use cache_runtime::Builder;
use cache_tests::redis::{Cluster, Sentinel, Server, Snapshot};
use tokio::time::sleep;

use super::LEASE;
use super::chase::Chase;
use super::fleet::soon;

const MOMENT: Duration = Duration::from_millis(300);

/// N5, E1: slots move, with what is in them, while copies are served and rows are written; then a server falls silent.
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
}

/// N5, P5: a node dies, and its replica takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_on_a_cluster_survive_a_node_that_dies() {
    let cluster = Cluster::options().replicas(1).start().await;
    let chase = Chase::new(&cluster.url(), LEASE).await;
    chase.during(sleep(MOMENT)).await;
    chase.settles().await;
    chase
        .during(async {
            cluster.kill_node(0);
            cluster.wait_until_ok().await;
            sleep(MOMENT).await;
        })
        .await;
    chase.settles().await;
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

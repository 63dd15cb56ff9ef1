//! Clusters: slots move, replicas take over, clients are sent to proxies.

use super::*;

#[tokio::test]
async fn a_slot_moves_with_its_keys() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.url().matches("127.0.0.1:").count(), 3);
    assert_eq!([cluster.owner(0).await, cluster.owner(8000).await, cluster.owner(16_383).await], [0, 1, 2]);
    let slot = cluster.slot_of("{x}").await;
    let from = cluster.owner(slot).await;
    let to = (from + 1) % 3;
    for key in 0..250 {
        cluster.node(from).command(&["SET", &format!("{{x}}{key}"), "1"]).await;
    }

    cluster.begin_migration(slot, to).await;
    let asked = cluster.node(from).try_query::<Value>(&["GET", "{x}no such key"]).await.unwrap_err();
    assert_eq!(asked.code(), Some("ASK"));
    cluster.move_keys(slot, to).await;
    cluster.end_migration(slot, to).await;

    assert_eq!(cluster.owner(slot).await, to);
    let moved = cluster.node(from).try_query::<Value>(&["GET", "{x}1"]).await.unwrap_err();
    assert_eq!(moved.code(), Some("MOVED"));
    assert!(moved.to_string().contains(&cluster.node(to).port().to_string()), "{moved}");
    assert_eq!(cluster.node(to).query::<u64>(&["DBSIZE"]).await, 250);

    cluster.migrate_slot(slot, from).await;
    assert_eq!(cluster.node(from).query::<u64>(&["DBSIZE"]).await, 250);
}

#[tokio::test]
async fn a_replica_takes_over_and_a_node_comes_back() {
    let cluster = Cluster::options().replicas(1).start().await;
    let slot = 0;
    cluster.kill_node(cluster.owner(slot).await);
    eventually("the replica serves the slot", LONG, async || cluster.owner(slot).await == 3).await;
    cluster.wait_until_ok().await;
    cluster.node(0).restart(Snapshot::Keep).await;
    eventually("the old primary is a replica", LONG, async || cluster.node(0).info("role").await == "slave").await;
}

#[tokio::test]
async fn clients_of_a_proxied_cluster_are_sent_to_proxies() {
    let cluster = Cluster::options().proxied().start().await;
    let mut client = connect(cluster.proxy(0).url()).await.unwrap();
    let moved = run(&mut client, "GET a").await.unwrap_err();
    let owner = cluster.owner(cluster.slot_of("a").await).await;
    assert!(moved.to_string().contains(&cluster.proxy(owner).addr().to_string()), "{moved}");
    assert!(cluster.url().contains(&cluster.proxy(2).addr().to_string()));
    // The nodes themselves do not pass through them.
    assert_eq!((cluster.proxy(1).connections(), cluster.proxy(0).count("GET")), (0, 1));
    cluster.migrate_slot(0, 1).await;
}

#[tokio::test]
async fn a_cluster_speaks_tls_and_asks_for_a_password() {
    let cluster = Cluster::options().node(Server::options().password("secret").tls()).start().await;
    assert!(cluster.url().starts_with("rediss+cluster://:secret@127.0.0.1:"), "{}", cluster.url());
    cluster.node(0).command(&["SET", "{06S}", "a key in slot 0"]).await;
    cluster.migrate_slot(0, 2).await;
    assert_eq!(cluster.node(2).query::<u64>(&["DBSIZE"]).await, 1);
}

//! Sentinels: the replica becomes the primary.

use super::*;

#[tokio::test]
async fn the_replica_becomes_the_primary() {
    let options = Sentinel::options().server(Server::options().password("secret")).sentinel_password("other");
    let sentinel = options.start().await;
    let url = sentinel.url();
    assert!(url.starts_with("redis+sentinel://:secret@") && url.ends_with("/mymaster/0"), "{url}");
    assert_eq!(url.matches("127.0.0.1:").count(), 3);

    let mut stranger = connect(format!("redis://{}", sentinel.sentinels()[0].addr())).await.unwrap();
    assert_eq!(run(&mut stranger, "PING").await.unwrap_err().code(), Some("NOAUTH"));

    let (old, new) = (&sentinel.servers()[0], &sentinel.servers()[1]);
    old.command(&["SET", "a", "1"]).await;
    assert_eq!(old.query::<u64>(&["WAIT", "1", "10000"]).await, 1);
    sentinel.fail_over().await;
    assert_eq!(sentinel.primary().await.port(), new.port());
    assert_eq!(new.query::<String>(&["GET", "a"]).await, "1");

    old.restart(Snapshot::Keep).await;
    sentinel.wait_until_replica(old).await;
    assert_eq!(old.query::<String>(&["GET", "a"]).await, "1");
}

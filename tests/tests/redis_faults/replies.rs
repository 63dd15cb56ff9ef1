//! Servers that answer what they should not.

use cache_tests::redis::Corrupt;

use super::*;

/// What entries, cells and leases are read and written with.
const COMMANDS: [&str; 8] = ["GET", "MGET", "SET", "EVAL", "UNLINK", "PEXPIRE", "PERSIST", "EXISTS"];

async fn answers(what: &str, corrupt: Corrupt, kinds: &[ErrorKind]) {
    let server = fleet::server().await;
    let (source, prefix, proxy) = (Arc::default(), fleet::prefix(), Proxy::start(server.addr()));
    let at = place(&format!("redis://{}", proxy.addr()), &prefix, &source).await;
    let other = place(&server.url(), &prefix, &source).await;
    until_hit("before", &at, 1, 0).await;
    until_hit("before", &other, 1, 0).await;
    for command in COMMANDS {
        proxy.corrupt_answers_to(command, corrupt.clone(), u64::MAX);
    }
    let error = quick(what, at.cache.get::<u64>("n")).await.unwrap_err();
    assert!(kinds.contains(&error.kind()), "{what}: {:?}, {error}", error.kind());
    let text = format!("{error} {error:?}");
    assert!(!text.contains("secret"), "{what}: what a server says may quote a value: {text}");
    for version in 1..=2 {
        assert_eq!(quick(what, write(&at, 1)).await.version, version);
        assert_eq!(quick(what, row(&at, 1)).await.version, version, "{what}");
    }
    assert!(at.cache.stats().degraded > 0, "{what}");
    assert!(quick(what, strict(&at, 1)).await.is_err(), "{what}");
    proxy.heal();
    until_hit(what, &at, 1, 2).await;
    assert_eq!(row(&other, 1).await.version, 2, "{what}");
}

/// P4: the table of the guide, and what is in no table.
#[tokio::test]
async fn errors_and_nonsense_have_a_kind_and_break_nothing() {
    use ErrorKind::{Denied, Full, Protocol, ReadOnly, Unavailable};
    let error = |text: &str| Corrupt::error(text);
    let table = [
        ("LOADING", error("LOADING Redis is loading the dataset in memory"), vec![Unavailable]),
        ("CLUSTERDOWN", error("CLUSTERDOWN The cluster is down"), vec![Unavailable]),
        ("TRYAGAIN", error("TRYAGAIN Multiple keys request during rehashing of slot"), vec![Unavailable]),
        ("MASTERDOWN", error("MASTERDOWN Link with MASTER is down"), vec![Unavailable]),
        ("OOM", error("OOM command not allowed when used memory > 'maxmemory'"), vec![Full]),
        // Whoever is a replica now is connected to anew.
        ("READONLY", error("READONLY You can't write against a read only replica"), vec![ReadOnly, Unavailable]),
        ("MISCONF", error("MISCONF Redis is configured to save RDB snapshots"), vec![ReadOnly]),
        ("NOPERM", error("NOPERM User cache has no permissions to run the 'get' command"), vec![Denied]),
        ("NOAUTH", error("NOAUTH Authentication required."), vec![Denied]),
        ("WRONGPASS", error("WRONGPASS invalid username-password pair"), vec![Denied]),
        ("unknown", error("WHATEVER secret"), vec![Protocol]),
        ("nonsense", Corrupt::Nonsense, vec![Protocol, Unavailable]),
        ("huge length", Corrupt::HugeLength, vec![Protocol, Unavailable]),
        ("huge array", Corrupt::HugeArray, vec![Protocol, Unavailable]),
        ("another type", Corrupt::Bytes(b":42\r\n".to_vec()), vec![Protocol]),
        ("a map", Corrupt::Bytes(b"%1\r\n+a\r\n+secret\r\n".to_vec()), vec![Protocol]),
        ("reset", Corrupt::Reset, vec![Unavailable]),
    ];
    let all = table.map(|(what, corrupt, kinds)| tokio::spawn(async move { answers(what, corrupt, &kinds).await }));
    for one in all {
        fleet::ended("a server that answers what it should not", one).await;
    }
}

/// P4: of a real one.
#[tokio::test]
async fn a_full_server_drops_what_is_invalidated_and_keeps_nothing_new() {
    let server = cache_tests::redis::Server::start().await;
    let source = Arc::default();
    let at = place(&server.url(), "t", &source).await;
    until_hit("before", &at, 1, 0).await;
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(at.cache.set("n", 1_u64).await.unwrap_err().kind(), ErrorKind::Full);
    for version in 1..=3 {
        write(&at, 1).await;
        assert_eq!(row(&at, 1).await.version, version);
        assert_eq!(row(&at, 1).await.version, version);
    }
    let stats = at.cache.stats();
    assert_eq!(stats.undelivered, 0, "a full server can still drop");
    let by = stats.degraded_by;
    assert!(by.full > 0 && by.full == stats.degraded, "{by:?}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until_hit("afterwards", &at, 1, 3).await;
}

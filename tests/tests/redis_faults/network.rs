//! What may happen between a process and its server.

use super::*;

/// What is wrong, and what makes it so.
type Break = (&'static str, fn(&Proxy));

const BREAKS: [Break; 6] = [
    ("refused", away),
    ("half open", Proxy::half_open),
    ("nothing arrives", Proxy::drop_to_server),
    ("no answer arrives", Proxy::drop_to_client),
    ("reset", Proxy::reset_all),
    ("slow", |proxy| proxy.delay(Duration::from_secs(3))),
];

async fn broken(what: &str, breaks: fn(&Proxy)) {
    let server = fleet::server().await;
    let (source, prefix, proxy) = (Arc::default(), fleet::prefix(), Proxy::start(server.addr()));
    let at = place(&format!("redis://{}", proxy.addr()), &prefix, &source).await;
    let other = place(&server.url(), &prefix, &source).await;
    until_hit("before", &at, 1, 0).await;
    until_hit("before", &other, 1, 0).await;

    breaks(&proxy);
    for version in 1..=3 {
        assert_eq!(quick(what, write(&at, 1)).await.version, version);
        assert_eq!(quick(what, row(&at, 1)).await.version, version, "{what}: a read after the write");
    }
    let many = async {
        for _ in 0..100 {
            assert_eq!(row(&at, 1).await.version, 3);
        }
    };
    quick(&format!("{what}: 100 reads"), many).await;

    proxy.heal();
    until_hit(what, &at, 1, 3).await;
    assert_eq!(
        row(&other, 1).await.version,
        3,
        "{what}: whoever writes reads from the server only when it knows of it"
    );
    assert_eq!(at.cache.stats().undelivered, 0);
}

/// P4, P5: each of them with writes in the middle of it.
#[tokio::test]
async fn whatever_the_network_does_reads_are_right_and_soon() {
    let all = BREAKS.map(|(what, breaks)| tokio::spawn(broken(what, breaks)));
    for one in all {
        fleet::ended("a broken network", one).await;
    }
}

/// P4: a server that is slower than the timeout is not asked call after call.
#[tokio::test]
async fn a_connection_that_is_reset_again_and_again_costs_no_call_its_result() {
    let server = fleet::server().await;
    let (source, prefix, proxy) = (Arc::default(), fleet::prefix(), Proxy::start(server.addr()));
    let at = place(&format!("redis://{}", proxy.addr()), &prefix, &source).await;
    for version in 0..20 {
        assert_eq!(quick("a read", row(&at, 1)).await.version, version);
        proxy.reset_all();
        assert_eq!(quick("a read", row(&at, 1)).await.version, version);
        quick("a write", write(&at, 1)).await;
    }
    until_hit("afterwards", &at, 1, 20).await;
}

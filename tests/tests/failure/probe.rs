//! What is sent to a server that is away, and what is said of it, however many call.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::Cache;
use cache_tests::redis::{Corrupt, Proxy, Server};
use tokio::time::sleep;

use crate::call;
use crate::fleet::{self, Place, ended, now};

/// A cache behind a network of its own, which has answered.
async fn behind(timeout: Duration) -> (Arc<Place>, Proxy) {
    let net = Proxy::start(fleet::server().await.addr());
    let builder = Cache::builder().ignore_env().url(net.url()).prefix(fleet::prefix());
    let cache = builder.connect_timeout(timeout).response_timeout(timeout).build().await.unwrap();
    let at = Place::new(cache, &Arc::default());
    found(&at).await;
    (at, net)
}

/// The server is found again.
async fn found(at: &Arc<Place>) {
    let hits = at.cache.stats().hits;
    fleet::within("a hit", async {
        while at.cache.stats().hits == hits {
            call::known(at, 0).await;
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// P4: who waits for an answer waits for `response_timeout`, and not until somebody finds that the connection is dead.
#[tokio::test]
async fn a_call_to_a_silent_server_waits_for_the_response_timeout() {
    let (at, net) = behind(Duration::from_millis(100)).await;
    net.half_open();
    let begun = now();
    assert_eq!(call::known(&at, 0).await.version, 0);
    let took = begun.elapsed();
    // Three seconds, and it would have been the keeper that ended it.
    assert!(took < Duration::from_millis(1_500), "{took:?}, and not 100 ms");
}

/// P4: a thousand callers do not knock a thousand times.
#[tokio::test]
async fn a_thousand_callers_of_a_server_that_is_away_are_a_few_probes() {
    let (at, net) = behind(fleet::LONG).await;
    net.corrupt(Corrupt::Reset, u64::MAX);
    net.reset_all();
    net.reset();
    let begun = now();
    let callers: Vec<_> = (0..1_000)
        .map(|id| {
            let at = Arc::clone(&at);
            tokio::spawn(async move {
                for _ in 0..10 {
                    call::known(&at, id).await;
                    sleep(Duration::from_millis(50)).await;
                }
            })
        })
        .collect();
    for caller in callers {
        ended("a caller", caller).await;
    }
    // A probe opens what is missing, two connections, and there are 50, 100, 200 ms and so on between them.
    let (probes, doublings) = (net.connections() / 2, (begun.elapsed().as_millis() / 25).ilog2());
    assert!(probes >= 2, "nobody looks whether it is back");
    assert!(probes <= u64::from(doublings) + 2, "{probes} probes in {:?}", begun.elapsed());
    assert_eq!(net.count("MGET") + net.count("EVAL"), 0, "nobody else sends anything: {:?}", net.commands());
    net.heal();
    found(&at).await;
}

/// P4: large answers do not come through, and small ones do. Whoever looks whether the server is there finds it, and waiting
/// for it is in vain all the same.
#[tokio::test]
async fn a_server_of_which_only_small_answers_arrive_is_not_waited_for_call_after_call() {
    let (at, net) = behind(Duration::from_millis(400)).await;
    for command in ["MGET", "GET", "EVAL"] {
        net.corrupt_answers_to(command, Corrupt::HugeLength, u64::MAX);
    }
    net.reset();
    let begun = now();
    let reads = async {
        for id in 0..150 {
            call::known(&at, id).await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    fleet::within("150 reads", reads).await;
    // Three on each of two connections, and again, since these had answered before; then one on each after each pause, which
    // gets longer, up to two seconds.
    let (sent, millis) = (net.count("MGET"), begun.elapsed().as_millis());
    let pauses = u128::from((millis / 25).ilog2()).min(7) + millis / 1_500;
    assert!(u128::from(sent) <= 12 + 2 * (pauses + 2), "{sent} calls of 150 waited for an answer in {millis} ms");
    net.heal();
    found(&at).await;
}

/// P9: who asks for errors gets them.
#[tokio::test]
async fn a_batch_that_is_to_fail_fails() {
    let (at, net) = behind(fleet::LONG).await;
    assert_eq!(call::strict_batch(&at, vec![1, 2]).await.unwrap().len(), 2);
    net.refuse();
    net.reset_all();
    assert!(call::strict_batch(&at, vec![1, 2]).await.is_err());
    assert!(call::strict_batch(&at, vec![3]).await.is_err());
}

/// Of another process: what a cache says goes to standard error.
const SAYS: &str = "probe::says";

/// Runs in a process of its own, started by the test below.
#[tokio::test]
#[ignore = "started by the test below"]
async fn says() {
    let server = Server::start().await;
    let builder = Cache::builder().ignore_env().url(server.url());
    let at = Place::new(builder.build().await.unwrap(), &Arc::default());
    let calls = async |from: u64| {
        for id in from..from + 200 {
            call::known(&at, id).await;
            call::write(&at, id).await;
        }
    };
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    calls(0).await;
    server.kill();
    calls(200).await;
    assert!(at.cache.stats().degraded > 400);
}

/// P9: one line for each cause, and not for each call.
#[test]
fn what_fails_a_thousand_times_is_said_once() {
    let program = std::env::current_exe().unwrap();
    let ran = std::process::Command::new(program).args(["--exact", SAYS, "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{text}");
    let said: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("cache-runtime: ")).collect();
    let of = |cause: &str| said.iter().filter(|line| line.starts_with(cause)).count();
    assert_eq!((of("the shared backend is full"), of("the shared backend is away")), (1, 1), "{said:?}");
    assert_eq!(said.len(), 2, "{said:?}");
}

//! P1, P4 and P5 on every kind of Redis that a URL can name, with annotated functions; and what `build()` says of settings
//! that cannot work.

#[path = "fleet/mod.rs"]
mod fleet;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Builder, Cache, ErrorKind, cache_read, cache_write};
use cache_tests::redis::{Cluster, Sentinel, Server, Snapshot};
use fleet::{Place, Row, Source};
use tokio::task::JoinHandle;

const PASSWORD: &str = "p@ss:w/rd%";

/// The rules of the guide, for the prefix `t`.
const RULES: &str = "~t:v1:* &t:v1:* -@all +info +ping +get +getrange +mget +set +unlink +eval +pexpire +persist +pttl +exists \
                     +incrby +time +publish +subscribe +unsubscribe +scan";

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
async fn row(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "locked:<id>", cache = at.cache, tags = ["group:<id>"], codec = json, lock = true, skip(at))]
async fn locked(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_write(cache = at.cache, tags = ["group:<id>"])]
async fn write(at: &Place, id: u64) -> Row {
    at.commit(id)
}

#[cache_write(cache = at.cache, tags = ["group:<id>"], put = row(at, id), patterns = ["nothing:*"])]
async fn write_through(at: &Place, id: u64) -> Row {
    at.commit(id)
}

async fn place(url: &str, source: &Arc<Source>, how: impl Fn(Builder) -> Builder) -> Arc<Place> {
    let builder = how(Cache::builder().ignore_env().url(url).prefix("t").response_timeout(Duration::from_secs(5)));
    Place::new(builder.build().await.unwrap_or_else(|error| panic!("{error}")), source)
}

/// Everything that a cache can do, in two processes.
async fn works(url: &str, how: impl Fn(Builder) -> Builder) {
    let source = Arc::default();
    let (a, b) = (place(url, &source, &how).await, place(url, &source, &how).await);
    for id in 0..20 {
        for at in [&a, &b, &a] {
            assert_eq!((row(at, id).await.version, locked(at, id).await.version), (0, 0));
        }
        assert_eq!(source.loads(id), 2, "one load of each");
        write(&b, id).await;
        assert_eq!((row(&a, id).await.version, locked(&a, id).await.version), (1, 1));
        write_through(&a, id).await;
        assert_eq!((row(&b, id).await.version, locked(&b, id).await.version), (2, 2));
    }
    let (one, two) = (&a.cache, &b.cache);
    one.set("n", 1_u64).ttl("1m").tags("tag").namespace("space").await.unwrap();
    assert_eq!(two.get::<u64>("n").await.unwrap(), Some(1));
    assert!(two.exists("n").await.unwrap() && two.ttl("n").await.unwrap().is_some());
    assert!(two.expire("n", "2m").await.unwrap() && two.expire("n", "forever").await.unwrap());
    assert!(two.tag("n", "other").await.unwrap());
    assert!(two.entry_info("n").await.unwrap().is_some());
    one.invalidate("other").await.unwrap();
    assert_eq!(two.get::<u64>("n").await.unwrap(), None);
    assert!(one.set_nx("n", 2_u64).await.unwrap() && !two.set_nx("n", 3_u64).await.unwrap());
    assert_eq!(two.pop::<u64>("n").await.unwrap(), Some(2));
    assert_eq!((one.incr("count", 2).await.unwrap(), two.decr("count", 1).await.unwrap()), (2, 1));
    one.set_many([("m:1", 1_u64), ("m:2", 2)]).await.unwrap();
    assert_eq!(two.get_many::<u64>(["m:1", "m:2", "m:3"]).await.unwrap().len(), 3);
    assert_eq!(two.keys("m:*").collect::<Vec<_>>().await.unwrap().len(), 2);
    assert_eq!(two.delete_match("m:*").await.unwrap(), 2);
    let Ok(loaded) = one.get_or_load("l", || async { Ok::<_, std::convert::Infallible>(5_u64) }).await;
    assert_eq!((loaded, two.get::<u64>("l").await.unwrap()), (5, Some(5)));
    assert!(two.delete("l").await.unwrap());
    one.set("k", 1_u64).namespace("space").await.unwrap();
    two.invalidate_keys(["other", "k"]).await.unwrap();
    one.set("k", 1_u64).namespace("space").await.unwrap();
    two.invalidate_namespace("space").await.unwrap();
    assert_eq!(one.get::<u64>("k").await.unwrap(), None);
    one.set("k", 1_u64).await.unwrap();
    one.cleanup_expired().await.unwrap();
    two.clear().await.unwrap();
    assert_eq!(one.get::<u64>("k").await.unwrap(), None);
    one.ping().await.unwrap();
    one.info().await.unwrap();
    for at in [&a, &b] {
        let stats = at.cache.stats();
        assert_eq!((stats.degraded, stats.undelivered_total), (0, 0), "something was refused: {stats:?}");
        at.cache.close().await.unwrap();
    }
}

/// A11
#[tokio::test]
async fn a_password() {
    let server = Server::options().password(PASSWORD).start().await;
    works(&server.url(), |builder| builder).await;
}

/// The guide's rules are enough for everything.
#[tokio::test]
async fn a_user_with_the_rules_of_the_guide() {
    let guide = include_str!("../../docs/guide/redis.md").replace('\n', " ");
    for rule in RULES.split(' ').filter(|rule| rule.starts_with(['+', '-'])) {
        assert!(guide.contains(rule), "the guide does not name {rule}");
    }
    let server = Server::options().user("default off").user(&format!("cache on >word {RULES}")).start().await;
    works(&server.url_as("cache", "word"), |builder| builder).await;
    let server = Server::options().user(&format!("cache on >word {RULES} +select")).start().await;
    works(&format!("{}/3", server.url_as("cache", "word")), |builder| builder).await;
}

#[tokio::test]
async fn a_socket_and_a_database() {
    let server = Server::options().unix().start().await;
    works(&format!("{}?db=2", server.url()), |builder| builder).await;
    assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 0, "all of it is in database 2");
    let server = Server::start().await;
    works(&format!("{}/5", server.url()), |builder| builder).await;
    assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 0, "all of it is in database 5");
}

#[tokio::test]
async fn tls_with_an_authority_and_a_certificate_of_ones_own() {
    let server = Server::options().tls().password(PASSWORD).start().await;
    works(&server.url(), |builder| builder.tls_ca(server.tls_ca())).await;
    let asks = Server::options().tls_client_certificate().start().await;
    let own = |builder: Builder| builder.tls_ca(asks.tls_ca()).tls_cert(asks.tls_cert()).tls_key(asks.tls_key());
    works(&asks.url(), own).await;

    let build = async |how: Builder| how.ignore_env().prefix("t").build().await.unwrap_err();
    let error = build(Cache::builder().url(server.url()).tls_ca(asks.tls_ca())).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("tls_ca"), "{error}");
    let error = build(Cache::builder().url(asks.url()).tls_ca(asks.tls_ca())).await;
    assert!(error.to_string().contains("tls_cert"), "{error}");
    let error = build(Cache::builder().url(asks.url()).tls_ca("/no/such/file")).await;
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("tls_ca"), "{error}");
}

/// What cannot get better by itself is an error at start-up, and shows no password.
#[tokio::test]
async fn settings_that_cannot_work_are_errors_at_build() {
    let server = Server::options().password(PASSWORD).start().await;
    let addr = server.addr();
    let table = [
        (format!("redis://:hush@{addr}"), ErrorKind::Denied),
        (format!("redis://alice:hush@{addr}"), ErrorKind::Denied),
        (format!("redis://{addr}"), ErrorKind::Denied),
        ("redis://:hush@no-such-host.invalid:6379".into(), ErrorKind::Config),
        (format!("{}/99", server.url()), ErrorKind::Config),
        ("redis://:hush@localhost:port".into(), ErrorKind::Config),
    ];
    for (url, kind) in table {
        let error = Cache::builder().ignore_env().url(&url).build().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hush") && !text.contains(PASSWORD) && !text.contains("p%40ss"), "{text}");
    }
    let error = Cache::builder().ignore_env().url(server.url()).tls_ca("ca.crt").build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("tls_ca"), "{error}");
}

/// Readers and a writer that do not stop while servers come and go. Who reads after a write sees that write, or a later one.
struct Load {
    places: [Arc<Place>; 2],
    source: Arc<Source>,
    ends: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

const IDS: u64 = 8;

impl Load {
    async fn begin(url: &str) -> Self {
        let source = Arc::default();
        let new = async || {
            let builder = Cache::builder().ignore_env().url(url).prefix("t").response_timeout(Duration::from_secs(1));
            Place::new(builder.build().await.unwrap(), &source)
        };
        let (places, ends) = ([new().await, new().await], Arc::<AtomicBool>::default());
        let mut tasks = Vec::new();
        // Each row is written in one place: the other may be ahead of an invalidation that could not be delivered, this one
        // never.
        for (writer, at) in places.iter().enumerate() {
            for id in (0..IDS).filter(|id| id % 2 == writer as u64) {
                let (at, ends) = (Arc::clone(at), Arc::clone(&ends));
                tasks.push(tokio::spawn(async move {
                    while !ends.load(SeqCst) {
                        let written = write(&at, id).await.version;
                        for _ in 0..5 {
                            let read = row(&at, id).await.version;
                            assert!(read >= written, "row {id}: {read} after {written} was written here");
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                }));
            }
            let (at, ends) = (Arc::clone(at), Arc::clone(&ends));
            tasks.push(tokio::spawn(async move {
                for id in (0..IDS).cycle() {
                    if ends.load(SeqCst) {
                        return;
                    }
                    row(&at, id).await;
                    tokio::task::yield_now().await;
                }
            }));
        }
        Self { places, source, ends, tasks }
    }

    /// Ends it: everybody sees what was written last, and finds it.
    async fn end(self) {
        self.ends.store(true, SeqCst);
        for task in self.tasks {
            fleet::ended("a task under load", task).await;
        }
        for at in &self.places {
            cache_tests::eventually("everything is delivered", fleet::LONG, async || {
                row(at, 0).await;
                at.cache.stats().undelivered == 0
            })
            .await;
        }
        for at in &self.places {
            for id in 0..IDS {
                let version = self.source.now(id).version;
                cache_tests::eventually(&format!("row {id} is found again"), fleet::LONG, async || {
                    let hits = at.cache.stats().hits;
                    assert_eq!(row(at, id).await.version, version, "row {id}: everything was delivered");
                    at.cache.stats().hits > hits
                })
                .await;
            }
        }
    }
}

async fn some_load() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// P5
#[tokio::test]
async fn sentinels_fail_over_during_load_and_nothing_is_stale() {
    let sentinel = Sentinel::start().await;
    works(&sentinel.url(), |builder| builder).await;
    let load = Load::begin(&sentinel.url()).await;
    some_load().await;
    sentinel.fail_over().await;
    some_load().await;
    load.end().await;
}

/// P1, P5
#[tokio::test]
async fn a_cluster_moves_a_slot_and_loses_a_node_during_load_and_nothing_is_stale() {
    let cluster = Cluster::start().await;
    works(&cluster.url(), |builder| builder).await;
    let load = Load::begin(&cluster.url()).await;
    some_load().await;
    let slot = cluster.slot_of("t:v1:row:0").await;
    let from = cluster.owner(slot).await;
    cluster.migrate_slot(slot, (from + 1) % 3).await;
    let slot = cluster.slot_of("t:v1:%+tag:group:1").await;
    let from = cluster.owner(slot).await;
    cluster.migrate_slot(slot, (from + 1) % 3).await;
    some_load().await;
    cluster.kill_node(0);
    some_load().await;
    cluster.node(0).restart(Snapshot::Discard).await;
    cluster.wait_until_ok().await;
    some_load().await;
    load.end().await;
}

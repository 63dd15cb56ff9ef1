//! How changes reach copies: by whatever way somebody changes what a copy depends on.

use std::sync::Arc;

use cache_runtime::{Tenant, cache_read, cache_write};

use tokio::task::yield_now;

use super::fleet::{self, Place, Row, within};
use super::{Process, tagged, two, untagged, write, write_key};

#[cache_write(cache = at.cache, namespaces = ["rows"])]
async fn write_namespace(at: &Place, id: u64) -> Row {
    at.commit(id)
}

#[cache_write(cache = at.cache, patterns = ["row:*"])]
pub(super) async fn write_pattern(at: &Place, id: u64) -> Row {
    at.commit(id)
}

#[cache_write(cache = at.cache, tags = ["all"], recache = [tagged(at, id)])]
async fn write_and_recache(at: &Place, id: u64) -> Row {
    at.commit(id)
}

#[cache_write(cache = at.cache, tags = ["group:<id>"], put = tagged(at, id))]
async fn write_through(at: &Place, id: u64) -> Row {
    at.commit(id)
}

/// Waits until a process reads this version, from memory in the end.
async fn reads(process: &Process, version: u64, read: impl AsyncFn() -> Row) {
    within("the new version", async { while process.copied(&read).await.version != version {} }).await;
}

/// N5: whatever way a write goes, the copies of other processes hear of it.
#[tokio::test]
async fn every_write_reaches_copies_elsewhere() {
    type Write = for<'a> fn(&'a Arc<Place>) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;
    macro_rules! ways {
        ($($name:literal: |$at:ident| $work:expr;)*) => {
            [$(($name, (|$at| Box::pin(async move { let _ = $work; })) as Write)),*]
        };
    }
    let ways = ways! {
        "a tag": |at| write(at, 1).await;
        "a namespace": |at| write_namespace(at, 1).await;
        "a pattern": |at| write_pattern(at, 1).await;
        "a recache": |at| write_and_recache(at, 1).await;
        "a write-through": |at| write_through(at, 1).await;
        "the key": |at| { at.commit(1); at.cache.delete("row:1").await.unwrap() };
        "a tag, by a direct call": |at| { at.commit(1); at.cache.invalidate_tags(["all"]).await.unwrap() };
        "everything": |at| { at.commit(1); at.cache.clear().await.unwrap() };
        "a forced refresh": |at| { at.commit(1); tagged::refresh(at, 1).await };
    };
    let (a, b, _) = two().await;
    for (version, (name, way)) in (1..).zip(ways) {
        for process in [&a, &b] {
            process.copied(async || tagged(&process.at, 1).await).await;
        }
        way(&a.at).await;
        assert_eq!(tagged(&a.at, 1).await.version, version, "{name}");
        within(name, reads(&b, version, async || tagged(&b.at, 1).await)).await;
    }
}

/// N5: an entry without tags goes by its key.
#[tokio::test]
async fn a_key_reaches_copies_elsewhere() {
    let (a, b, _) = two().await;
    b.copied(async || untagged(&b.at, 1).await).await;
    write_key(&a.at, 1).await;
    reads(&b, 1, async || untagged(&b.at, 1).await).await;
}

/// D7: a tenant's write leaves the copies of others alone.
#[tokio::test]
async fn tenants_do_not_disturb_each_other() {
    let (a, b, _) = two().await;
    let (acme, other) = (Tenant::new("acme").unwrap(), Tenant::new("other").unwrap());
    for tenant in [&acme, &other] {
        tenant.scope(b.copied(async || tagged(&b.at, 1).await)).await;
    }
    acme.scope(write(&a.at, 1)).await;
    acme.scope(reads(&b, 1, async || tagged(&b.at, 1).await)).await;
    let (row, cost) = other.scope(b.cost(tagged(&b.at, 1))).await;
    assert_eq!((row.version, cost), (0, 0));
}

/// N5, P5: what the server loses by itself is lost to copies, too; otherwise a later write would find nothing to drop.
#[tokio::test]
async fn what_the_server_evicts_or_flushes_is_not_served() {
    #[cache_read(key = "bare:<id>", cache = at.cache, skip(at))]
    async fn bare(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    let server = cache_tests::redis::Server::start().await;
    let (prefix, source) = (fleet::prefix(), Arc::default());
    let b = Process::new(&server, &prefix, &source).await;
    let names = ["bare:1", "%+all", "%+fn:*"];
    for (version, lost) in (1..).zip(names.map(Some).into_iter().chain([None])) {
        b.copied(async || bare(&b.at, 1).await).await;
        source.commit(1);
        match lost {
            Some(name) => {
                let found: Vec<String> = server.query(&["KEYS", &format!("{prefix}:v1:{name}")]).await;
                assert!(!found.is_empty(), "{name}");
                for name in found {
                    server.command(&["DEL", &name]).await;
                }
            }
            None => {
                server.command(&["FLUSHALL"]).await;
            }
        }
        within("the new version", async {
            while bare(&b.at, 1).await.version != version {
                yield_now().await
            }
        })
        .await;
    }
}

/// N5: keys that are evicted under memory pressure take their copies along.
#[tokio::test]
async fn memory_pressure_on_the_server_takes_copies_along() {
    let server = cache_tests::redis::Server::options().maxmemory("3mb", "allkeys-lru").start().await;
    let (prefix, source) = (fleet::prefix(), Arc::default());
    let a = Process::new(&server, &prefix, &source).await;
    let b = Process::new(&server, &prefix, &source).await;
    let filler = "x".repeat(2_000);
    for round in 1..=10 {
        for id in 0..20 {
            untagged(&b.at, id).await;
            untagged(&b.at, id).await;
        }
        for key in 0..400 {
            let _ = a.at.cache.set(format!("filler:{round}:{key}"), filler.clone()).await;
        }
        for id in 0..20 {
            write_key(&a.at, id).await;
        }
        for id in 0..20 {
            within("the new version", async {
                while untagged(&b.at, id).await.version < round {
                    yield_now().await
                }
            })
            .await;
        }
    }
}

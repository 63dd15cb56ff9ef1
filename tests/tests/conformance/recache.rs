//! Recaching: cached functions that are loaded again after a write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{cache_read, cache_write};
use cache_tests::{Failed, Row, Source};

use crate::backend::soon;
use crate::write::{get_list, get_profile, get_user, keys, settle};

#[cache_write(tags = ["user:<user_id>"], recache = [get_user(db, user_id), get_profile(db, user_id)])]
async fn simple(db: &Source, user_id: u64, name: String) -> Result<Row, Failed> {
    db.load(user_id).await?;
    Ok(db.write(user_id, &name))
}

/// Another parameter's name, a constant, an expression, a path, a part of the result.
#[cache_write(
    tags = ["lists"],
    recache = [get_list(db, company, 1), get_list(db, &company.to_uppercase(), page + 1), crate::write::get_profile(db, result.id)],
)]
async fn renamed_and_extra(db: &Source, company: &str, page: u32, id: u64) -> Result<Option<Row>, Failed> {
    let _ = page;
    Ok((id > 0).then(|| db.write(id, company)))
}

#[derive(Default)]
struct Gauge {
    now: AtomicU64,
    most: AtomicU64,
    done: AtomicU64,
}

#[cache_read(key = "gauged:<id>", skip(gauge))]
async fn gauged(gauge: &Gauge, id: u64) -> u64 {
    gauge.most.fetch_max(gauge.now.fetch_add(1, SeqCst) + 1, SeqCst);
    tokio::time::sleep(Duration::from_millis(20)).await;
    gauge.now.fetch_sub(1, SeqCst);
    gauge.done.fetch_add(1, SeqCst);
    id
}

#[cache_write(
    tags = ["none"],
    recache = [gauged(g, 1), gauged(g, 2), gauged(g, 3), gauged(g, 4), gauged(g, 5), gauged(g, *result)],
    recache_concurrency = 2,
)]
async fn two_at_once(g: &Gauge) -> u64 {
    let _ = g;
    6
}

#[cache_read(key = "panics:<id>", skip(db))]
async fn panics(db: &Source, id: u64) -> u64 {
    db.tick();
    panic!("the source of {id} panics")
}

#[cache_write(tags = ["users", "user:<id>"], recache = [panics(db, id), get_user(db, id), get_profile(db, id)])]
async fn with_failures(db: &Source, id: u64) -> u64 {
    db.tick();
    id
}

#[cache_read(key = "owned:<id>", skip(db))]
async fn owned(db: &Arc<Source>, id: u64) -> Row {
    db.row(id).await
}

#[cache_write(tags = ["owned:<id>"], recache = [owned(db, id), owned(db, result.id + 1)], recache_mode = background)]
async fn in_background(db: &Arc<Source>, id: u64, name: &str) -> Result<Row, Failed> {
    Ok(db.write(id, name))
}

everywhere! {
    /// A5: after the write the new value is in the cache, everywhere: the next read does not load.
    async fn a_write_recaches(on: &On) {
        let db = Source::new();
        settle(|| get_user(&db, 42)).await.unwrap();
        get_profile(&db, 42).await;
        simple(&db, 42, "Grace".to_owned()).await.unwrap();
        let loads = db.loads();
        assert_eq!(on.other().await.scope(get_profile(&db, 42)).await.name, "Grace");
        assert_eq!(get_user(&db, 42).await.unwrap().name, "Grace");
        assert_eq!(db.loads(), loads);
        assert_eq!(on.cache.stats().recached, 2);
        db.set_failing(true);
        simple(&db, 42, "never".to_owned()).await.unwrap_err();
        assert_eq!(on.cache.stats().recached, 2, "a failing body recaches nothing");
        assert_eq!(get_user(&db, 42).await.unwrap().name, "Grace");
    }

    /// A5: other names, constants, parts of the result; what mentions an absent result is left out.
    async fn recache_takes_renamed_extra_and_result_arguments(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        renamed_and_extra(&db, "acme", 4, 0).await.unwrap();
        assert_eq!(keys(cache).await, ["list:ACME:5", "list:acme:1"]);
        renamed_and_extra(&db, "acme", 4, 42).await.unwrap();
        assert_eq!(keys(cache).await, ["list:ACME:5", "list:acme:1", "profile:42"]);
        assert_eq!(get_profile::peek(42).await.unwrap().unwrap().name, "acme");
    }

    /// A5: at most `recache_concurrency` run at once, and all of them run.
    async fn recaches_run_so_many_at_once(on: &On) {
        let gauge = Gauge::default();
        two_at_once(&gauge).await;
        assert_eq!((gauge.most.load(SeqCst), gauge.done.load(SeqCst)), (2, 6));
        assert_eq!(keys(&on.cache).await.len(), 6);
    }

    /// A5 P9: a recache that panics or fails disturbs neither the writer nor the other recaches, is counted, and leaves
    /// nothing old.
    async fn a_failing_recache_is_reported_and_not_returned(on: &On) {
        let db = Source::new();
        settle(|| get_user(&db, 1)).await.unwrap();
        get_profile(&db, 1).await;
        db.write(1, "new");
        db.set_failing(true);
        assert_eq!(with_failures(&db, 1).await, 1);
        assert_eq!(get_profile::peek(1).await.unwrap().unwrap().name, "new", "the third one came through");
        assert_eq!(get_user::peek(1).await.unwrap(), None, "the second returned `Err`");
        let stats = on.cache.stats();
        assert_eq!((stats.recached, stats.recache_failures, stats.flights), (1, 2, 0));
        db.set_failing(false);
        assert_eq!(get_user(&db, 1).await.unwrap().name, "new", "and no lease is in the way");
    }

    /// A5: in the background the write does not wait; `close` does.
    async fn background_recaches_are_waited_for_by_close(on: &On) {
        let (cache, db) = (on.other().await, Arc::new(Source::new()));
        let there = on.with(|builder| builder).await;
        cache
            .scope(async {
                let held = db.hold().await;
                assert_eq!(in_background(&db, 1, "new").await.unwrap().version, 2);
                soon("both recaches load", async || db.loads() == 2).await;
                assert_eq!((cache.stats().background, cache.stats().recached), (1, 0));
                drop(held);
                soon("the background is done", async || cache.stats().background == 0).await;
                assert_eq!(owned::peek(1).await.unwrap().unwrap().version, 2);
                let held = db.hold().await;
                in_background(&db, 5, "later").await.unwrap();
                soon("the recaches load", async || db.loads() == 4).await;
                let closing = cache.clone();
                let closing = tokio::spawn(async move { closing.close().await });
                tokio::time::sleep(Duration::from_millis(30)).await;
                assert!(!closing.is_finished(), "`close` came back before the recaches");
                drop(held);
                closing.await.unwrap().unwrap();
                assert_eq!(cache.stats().recached, 4);
            })
            .await;
        if on.is_shared() {
            assert_eq!(there.get::<Row>("owned:5").await.unwrap().unwrap().name, "later", "what was recached is stored");
        }
    }
}

//! Recaching: cached functions that are loaded again after a write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use cache_runtime::{Cache, cache_read, cache_write};
use cache_tests::{Failed, Row, Source, until};

use super::reads::{get_list, get_profile, get_user};

pub(crate) mod recached {
    use super::*;

    #[derive(Clone)]
    pub(crate) struct Service {
        pub(crate) db: Arc<Source>,
        pub(crate) shard: u32,
    }

    impl Service {
        #[cache_read(key = "service:<self.shard>:<id>", tags = ["service:<id>"])]
        pub(crate) async fn row(&self, id: u64) -> Row {
            self.db.row(id).await
        }

        #[cache_read(key = "static:<id>", skip(db), companion = method)]
        pub(crate) async fn of_type(db: &Source, id: u64) -> Row {
            db.row(id).await
        }

        #[cache_write(tags = ["service:<id>", "static:<id>"], recache = [self.row(id), Self::of_type(&self.db, id), Service::of_type(&self.db, id + 1)])]
        pub(crate) async fn rename(&self, id: u64, name: String) -> Row {
            self.db.write(id, &name)
        }

        #[cache_write(tags = ["service:<id>"], recache = [self.row(id)], recache_mode = background)]
        pub(crate) async fn rename_later(&self, id: u64, name: &str) -> Row {
            self.db.write(id, name)
        }
    }

    #[cache_write(tags = ["user:<user_id>"], recache = [get_user(db, user_id)])]
    pub(crate) async fn simple(db: &Source, user_id: u64, name: String) -> Result<Row, Failed> {
        db.load(user_id).await?;
        Ok(db.write(user_id, &name))
    }

    /// Another parameter's name, a constant, an expression, a path, a call of the result.
    #[cache_write(
        tags = ["lists", "users"],
        recache = [get_list(db, company, 1), get_list(db, &company.to_uppercase(), page + 1), crate::reads::get_profile(db, result.id), super::get_user(db, result.org_id)],
    )]
    pub(crate) async fn renamed_and_extra(
        db: &Source,
        company: &str,
        page: u32,
        id: u64,
    ) -> Result<Option<Row>, Failed> {
        let _ = page;
        Ok((id > 0).then(|| db.write(id, company)))
    }

    #[cache_read(key = "generic:<G>:<id>", skip(db))]
    pub(crate) async fn generic<G>(db: &Source, id: u64) -> G
    where
        G: Clone
            + Send
            + Sync
            + serde::Serialize
            + serde::de::DeserializeOwned
            + From<u8>
            + cache_runtime::Plain
            + 'static,
    {
        let _ = id;
        db.tick();
        G::from(7)
    }

    #[cache_write(keys = ["never"], recache = [generic::<u64>(db, id), self::generic::<u32>(db, id)])]
    pub(crate) async fn of_generics(db: &Source, id: u64) {
        let _ = (db, id);
    }

    pub(crate) struct Path<T>(pub(crate) T);
    pub(crate) struct Connection {
        pub(crate) db: Source,
    }

    #[cache_read(key = "borrowed:<id>", skip(conn))]
    pub(crate) async fn of_connection(conn: &mut Connection, id: u64) -> Row {
        conn.db.row(id).await
    }

    #[cache_write(tags = ["borrowed:<id>"], recache = [of_connection(conn, id)])]
    pub(crate) async fn with_connection(conn: &mut Connection, id: u64) -> Row {
        conn.db.write(id, "exclusive")
    }

    #[cache_write(
        tags = ["named:<name>", "user:<row.id>"],
        recache = [get_list(db, &name, row.id as u32), get_user(db, id), get_profile(db, other.iter().sum())]
    )]
    pub(crate) async fn consuming(
        db: &Source,
        name: String,
        row: Row,
        Path(id): Path<u64>,
        mut other: Vec<u64>,
    ) -> usize {
        db.write(id, &name);
        other.clear();
        let all = (name, row, other);
        let length = all.0.len();
        drop(all);
        length
    }

    #[derive(Default)]
    pub(crate) struct Gauge {
        now: AtomicU64,
        pub(crate) most: AtomicU64,
        pub(crate) done: AtomicU64,
    }

    #[cache_read(key = "gauged:<id>", skip(gauge))]
    pub(crate) async fn gauged(gauge: &Gauge, id: u64) -> u64 {
        gauge.most.fetch_max(gauge.now.fetch_add(1, SeqCst) + 1, SeqCst);
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        gauge.now.fetch_sub(1, SeqCst);
        gauge.done.fetch_add(1, SeqCst);
        id
    }

    #[cache_write(
        tags = ["none"],
        recache = [gauged(g, 1), gauged(g, 2), gauged(g, 3), gauged(g, 4), gauged(g, 5), gauged(g, 6), gauged(g, 7), gauged(g, 8)],
    )]
    pub(crate) async fn five_at_once(g: &Gauge) {
        let _ = g;
    }

    #[cache_write(
        tags = ["none"],
        recache = [gauged(g, 1), gauged(g, 2), gauged(g, 3), gauged(g, 4), gauged(g, *result), gauged(g, result + 1)],
        recache_concurrency = 2,
    )]
    pub(crate) async fn two_at_once(g: &Gauge) -> u64 {
        let _ = g;
        5
    }

    #[cache_read(key = "panics:<id>", skip(db))]
    pub(crate) async fn panics(db: &Source, id: u64) -> u64 {
        db.tick();
        panic!("the source of {id} panics")
    }

    #[cache_write(tags = ["users"], recache = [panics(db, id), get_user(db, id), get_profile(db, id)])]
    pub(crate) async fn with_failures(db: &Source, id: u64) -> u64 {
        db.tick();
        id
    }

    #[cache_read(key = "owned:<id>:<name>", skip(db))]
    pub(crate) async fn owned(db: &Arc<Source>, id: u64, name: &str) -> Row {
        let _ = name;
        db.row(id).await
    }

    #[cache_write(tags = ["owned:<id>:<name>"], recache = [owned(db, id, name), owned(db, result.id + 1, &title)], recache_mode = background)]
    pub(crate) async fn in_background(db: &Arc<Source>, id: u64, name: &str, title: String) -> Result<Row, Failed> {
        Ok(db.write(id, &format!("{name} {title}")))
    }
}

/// A5: after the write the new value is in the cache: the next read does not load.
#[tokio::test]
async fn a_write_recaches() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 42).await.unwrap();
            recached::simple(&db, 42, "Grace".to_owned()).await.unwrap();
            let loads = db.loads();
            assert_eq!(get_user::peek(42).await.unwrap().unwrap().name, "Grace");
            assert_eq!(get_user(&db, 42).await.unwrap().name, "Grace");
            assert_eq!(db.loads(), loads);
            assert_eq!(cache.stats().recached, 1);
        })
        .await;
}

/// A5: a failing body recaches nothing.
#[tokio::test]
async fn a_failing_write_recaches_nothing() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            db.set_failing(true);
            recached::simple(&db, 42, "Grace".to_owned()).await.unwrap_err();
            assert_eq!(db.loads(), 1, "only the body's own");
            assert_eq!(cache.stats().recached, 0);
        })
        .await;
}

/// A5: arguments are expressions: other names, constants, parts of the result; what mentions an absent result is left out.
#[tokio::test]
async fn recache_takes_renamed_extra_and_result_arguments() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            recached::renamed_and_extra(&db, "acme", 4, 0).await.unwrap();
            let keys = || async {
                let mut keys: Vec<String> =
                    cache.keys("*").collect::<Vec<_>>().await.unwrap().iter().map(ToString::to_string).collect();
                keys.sort();
                keys
            };
            assert_eq!(keys().await, ["list:ACME:5", "list:acme:1"]);
            recached::renamed_and_extra(&db, "acme", 4, 42).await.unwrap();
            assert_eq!(keys().await, ["list:ACME:5", "list:acme:1", "profile:42", "user:4"]);
            assert_eq!(get_profile::peek(42).await.unwrap().unwrap().name, "acme");
        })
        .await;
}

/// A5 D3: methods and associated functions are recached; `self` and what is skipped are borrowed.
#[tokio::test]
async fn methods_are_recached() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    let service = recached::Service { db, shard: 3 };
    cache
        .scope(async {
            service.row(1).await;
            service.rename(1, "x".to_owned()).await;
            let loads = service.db.loads();
            assert_eq!(service.row(1).await.name, "x");
            assert_eq!(recached::Service::of_type(&service.db, 1).await.name, "x");
            assert_eq!(recached::Service::of_type(&service.db, 2).await, Row::fresh(2));
            assert_eq!(service.db.loads(), loads);
        })
        .await;
}

/// A5: a recache may use what the body consumed or changed: it sees the arguments as they came in.
#[tokio::test]
async fn a_recache_sees_the_arguments_as_they_came_in() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let length =
                recached::consuming(&db, "acme".to_owned(), Row::fresh(3), recached::Path(4), vec![5, 6]).await;
            assert_eq!(length, 4);
            assert!(get_list::peek("acme", 3).await.unwrap().is_some());
            assert_eq!(get_user::peek(4).await.unwrap().unwrap().name, "acme");
            assert!(get_profile::peek(11).await.unwrap().is_some());
            assert_eq!(cache.stats().recached, 3);
        })
        .await;
}

/// A5: an exclusive reference (a transaction, a connection) is used again by the recache.
#[tokio::test]
async fn a_recache_uses_an_exclusive_reference_again() {
    let cache = Cache::for_test();
    let mut conn = recached::Connection { db: Source::new() };
    cache
        .scope(async {
            recached::of_connection(&mut conn, 1).await;
            recached::with_connection(&mut conn, 1).await;
            assert_eq!(recached::of_connection(&mut conn, 1).await.name, "exclusive");
            assert_eq!(conn.db.loads(), 2);
        })
        .await;
}

/// A5: generic functions are recached by turbofish, each type its own entry.
#[tokio::test]
async fn generic_functions_are_recached() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            recached::of_generics(&db, 1).await;
            assert_eq!(db.loads(), 2);
            assert_eq!(recached::generic::<u64>(&db, 1).await, 7);
            assert_eq!(recached::generic::<u32>(&db, 1).await, 7);
            assert_eq!(db.loads(), 2);
            assert_eq!(recached::generic::<u16>(&db, 1).await, 7);
            assert_eq!(db.loads(), 3);
        })
        .await;
}

/// A5: at most `recache_concurrency` run at once, by default five, and all of them run.
#[tokio::test]
async fn recaches_run_so_many_at_once() {
    let cache = Cache::for_test();
    cache
        .scope(async {
            let gauge = recached::Gauge::default();
            recached::five_at_once(&gauge).await;
            assert_eq!((gauge.most.load(SeqCst), gauge.done.load(SeqCst)), (5, 8));
            let gauge = recached::Gauge::default();
            recached::two_at_once(&gauge).await;
            assert_eq!((gauge.most.load(SeqCst), gauge.done.load(SeqCst)), (2, 6));
        })
        .await;
}

/// A5 P9: a recache that panics or fails disturbs neither the writer nor the other recaches, and is counted.
#[tokio::test]
async fn a_failing_recache_is_reported_and_not_returned() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 1).await.unwrap();
            db.set_failing(true);
            assert_eq!(recached::with_failures(&db, 1).await, 1);
            assert_eq!(get_profile::peek(1).await.unwrap(), Some(Row::fresh(1)), "the third one came through");
            assert_eq!(get_user::peek(1).await.unwrap(), None, "the second returned `Err`");
            let stats = cache.stats();
            assert_eq!((stats.recached, stats.recache_failures), (1, 2), "one panicked and one failed");
            assert_eq!(stats.flights, 0);
        })
        .await;
}

/// A5: in the background the write does not wait; arguments are owned; `close` waits.
#[tokio::test]
async fn background_recaches_own_their_arguments_and_close_waits_for_them() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    cache
        .scope(async {
            {
                let (name, title) = ("short lived".to_owned(), "title".to_owned());
                let held = db.hold().await;
                let row = recached::in_background(&db, 1, &name, title).await.unwrap();
                assert_eq!(row.version, 2);
                drop(name);
                until("both recaches load", || db.loads() == 2).await;
                assert_eq!(cache.stats().background, 1);
                assert_eq!(recached::owned::peek(1, "short lived").await.unwrap(), None);
                drop(held);
            }
            until("the background is done", || cache.stats().background == 0).await;
            assert_eq!(recached::owned::peek(1, "short lived").await.unwrap().unwrap().version, 2);
            assert_eq!(recached::owned::peek(2, "title").await.unwrap(), Some(Row::fresh(2)));
            assert_eq!(cache.stats().recached, 2);

            let held = db.hold().await;
            recached::in_background(&db, 5, "later", "t".to_owned()).await.unwrap();
            let (done, closed) = (AtomicU64::new(0), async { cache.close().await.unwrap() });
            let wait = async {
                closed.await;
                assert_eq!(done.load(SeqCst), 1, "`close` came back before the recaches");
            };
            let release = async {
                until("the recaches load", || db.loads() == 4).await;
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                done.store(1, SeqCst);
                drop(held);
            };
            tokio::join!(wait, release);
            assert_eq!(cache.stats().recached, 4);
        })
        .await;
}

/// A5 D3: `&self` is cloned for the background.
#[tokio::test]
async fn a_background_recache_owns_self() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    cache
        .scope(async {
            {
                let service = recached::Service { db: Arc::clone(&db), shard: 1 };
                let name = "later".to_owned();
                service.rename_later(5, &name).await;
            }
            until("the background is done", || cache.stats().background == 0).await;
            assert_eq!(
                recached::Service { db: Arc::clone(&db), shard: 1 }.row_entry(5).peek().await.unwrap().unwrap().name,
                "later"
            );
        })
        .await;
}

/// A5 P1: a recache loads after the write although a value is there and an older load is in flight.
#[tokio::test]
async fn a_recache_never_joins_an_older_load() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let held = db.hold().await;
            let old = async { get_user(&db, 42).await.unwrap() };
            let write = async {
                until("the old load runs", || db.loads() == 1).await;
                db.write(42, "new");
                drop(held);
                recached::simple(&db, 42, "newer".to_owned()).await.unwrap();
                assert_eq!(get_user::peek(42).await.unwrap().unwrap().name, "newer");
            };
            let (old, ()) = tokio::join!(old, write);
            assert_eq!(old.version, 1, "who began before the write may see what was there then");
            assert_eq!(get_user(&db, 42).await.unwrap().name, "newer");
        })
        .await;
}

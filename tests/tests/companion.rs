//! The companion of an annotated function: `get_user::invalidate(42)` and its like, for functions and for methods.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::{Cache, Entry, Error, FunctionStats, Key, cache_read, key, memoize};
use cache_tests::{Broken, Failed, Row, Source, until};

#[cache_read(key = "user:<user_id>", ttl = "5m", tags = ["users", "org:<result.org_id>"], skip(db))]
async fn get_user(db: &Source, user_id: u64) -> Result<Row, Failed> {
    db.load(user_id).await
}

#[cache_read(key = "found:<id>", skip(db, why))]
async fn find(id: u64, db: &Source, why: &str) -> Result<Option<Arc<Row>>, Broken> {
    let _ = why;
    Ok(db.try_find(id).await?.map(Arc::new))
}

/// Parameters of key, tags, namespace and none of them, mixed.
#[cache_read(key = "mixed:<b>:<d>", tags = ["tag:<c>"], namespace = "ns:<e>", skip(a, c, e, f))]
async fn mixed(a: &Source, b: u8, c: &str, d: Option<String>, e: u64, f: Vec<u8>) -> u64 {
    let _ = (b, c, d, e, f);
    a.tick()
}

#[cache_read(key = "where:<id>", cache = cache, skip(cache, db))]
async fn placed(db: &Source, cache: &Cache, id: u64) -> u64 {
    let _ = (cache, id);
    db.tick()
}

#[cache_read(key = "typed:<T>:<id>", skip(db))]
async fn typed<T>(db: &Source, id: u64) -> Vec<T>
where
    T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + From<u8> + cache_runtime::Plain + 'static,
{
    let _ = id;
    db.tick();
    vec![T::from(1)]
}

/// N11: the example of the public surface, verb by verb, with the documented types.
#[tokio::test]
async fn every_verb_does_what_it_says() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let none: Option<Row> = get_user::peek(42).await.unwrap();
            assert_eq!((none, db.loads()), (None, 0), "`peek` never loads");

            let user = get_user(&db, 42).await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap().as_ref(), Some(&user));

            let dropped: Result<(), Error> = get_user::invalidate(42).await;
            dropped.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);

            let stored: Result<(), Error> = get_user::put(&user, 42).await;
            stored.unwrap();
            assert_eq!(get_user(&db, 42).await.unwrap(), user);
            assert_eq!(db.loads(), 1);

            db.write(42, "new");
            let fresh: Result<Row, Failed> = get_user::refresh(&db, 42).await;
            assert_eq!(fresh.unwrap().name, "new");
            assert_eq!(get_user(&db, 42).await.unwrap().name, "new");
            assert_eq!(db.loads(), 2);

            db.write(42, "newer");
            let plain: Result<Row, Failed> = get_user::bypass(&db, 42).await;
            assert_eq!(plain.unwrap().name, "newer");
            assert_eq!(get_user::peek(42).await.unwrap().unwrap().name, "new", "`bypass` stores nothing");

            let key: Key = get_user::key(42);
            assert_eq!(key.as_str(), "user:42");
            assert_eq!(key, key!("user:<id>", id = 42));

            let cleared: Result<(), Error> = get_user::clear().await;
            cleared.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);

            let stats: FunctionStats = get_user::stats();
            assert_eq!(stats.loads, 2, "`bypass` is the plain function");
        })
        .await;
}

/// B1 A13: `invalidate` takes one entry and no other.
#[tokio::test]
async fn invalidate_takes_one_entry() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for id in [1, 2, 12] {
                get_user(&db, id).await.unwrap();
            }
            get_user::invalidate(1).await.unwrap();
            assert_eq!(get_user::peek(1).await.unwrap(), None);
            assert!(get_user::peek(2).await.unwrap().is_some() && get_user::peek(12).await.unwrap().is_some());
            get_user::invalidate(99).await.expect("an entry that is not there can be dropped");
        })
        .await;
}

/// A13 P1: a load that runs while its entry is invalidated does not come back as the entry.
#[tokio::test]
async fn invalidate_closes_the_load_that_runs() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let held = db.hold().await;
            let load = get_user(&db, 42);
            let invalidate = async {
                until("the load runs", || db.loads() == 1).await;
                db.write(42, "new");
                get_user::invalidate(42).await.unwrap();
                drop(held);
            };
            let (old, ()) = tokio::join!(load, invalidate);
            assert_eq!(old.unwrap().version, 1);
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            assert_eq!(get_user(&db, 42).await.unwrap().version, 2);
        })
        .await;
}

/// N11: `put` stores with the function's ttl and tags, those of the value too, and takes values by any ownership.
#[tokio::test]
async fn put_stores_as_the_function_would() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let row = Row { org_id: 77, ..Row::fresh(42) };
            get_user::put(&row, 42).await.unwrap();
            assert_eq!(cache.ttl("user:42").await.unwrap().unwrap().duration(), Some(Duration::from_secs(300)));
            cache.invalidate("org:77").await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            get_user::put(row.clone(), 42).await.unwrap();
            cache.invalidate("users").await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            get_user::put(Arc::new(row.clone()), 42).await.unwrap();
            assert_eq!(get_user(&db, 42).await.unwrap(), row);
            assert_eq!(db.loads(), 0);
        })
        .await;
}

/// N11 C1: verbs of a function that returns `Result<Option<Arc<T>>>` take a `T` and give the `Arc`.
#[tokio::test]
async fn verbs_see_through_the_return_type() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let row = Row::fresh(7);
            find::put(&row, 7).await.unwrap();
            let peeked: Option<Arc<Row>> = find::peek(7).await.unwrap();
            assert_eq!(peeked.as_deref(), Some(&row));
            let got: Option<Arc<Row>> = find(7, &db, "because").await.unwrap();
            assert!(Arc::ptr_eq(&got.unwrap(), &peeked.unwrap()), "one allocation");
            db.remove(8);
            assert_eq!(find(8, &db, "").await.unwrap(), None);
            assert_eq!(find::peek(8).await.unwrap(), None);
            assert!(cache.exists(find::key(8)).await.unwrap(), "an absent value is an entry");
            find::invalidate(8).await.unwrap();
            assert!(!cache.exists(find::key(8)).await.unwrap());
        })
        .await;
}

/// N11: verbs ask for what the entry needs, in the order of the signature: `put` for what tags name, too.
#[tokio::test]
async fn verbs_take_what_key_namespace_and_tags_name() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let key = mixed::key(1, Some("x".to_owned()), 5);
            assert_eq!(key.as_str().split(':').next(), Some("mixed"));
            mixed::put(99, 1, "t", Some("x".to_owned()), 5).await.unwrap();
            assert_eq!(mixed(&db, 1, "ignored", Some("x".to_owned()), 5, Vec::new()).await, 99);
            assert_eq!(mixed::peek(1, Some("x".to_owned()), 5).await.unwrap(), Some(99));
            cache.invalidate("tag:t").await.unwrap();
            assert_eq!(mixed::peek(1, Some("x".to_owned()), 5).await.unwrap(), None);
            mixed::put(99, 1, "t", None, 5).await.unwrap();
            cache.invalidate_namespace("ns:5").await.unwrap();
            assert_eq!(mixed::peek(1, None, 5).await.unwrap(), None);
            mixed::put(99, 1, "t", None, 5).await.unwrap();
            mixed::invalidate(1, None, 5).await.unwrap();
            assert_eq!(mixed::refresh(&db, 1, "t", None, 5, vec![1]).await, 1);
            assert_eq!(mixed::bypass(&db, 1, "t", None, 5, vec![1]).await, 2);
        })
        .await;
}

/// D7 N11: verbs of a function with `cache = ..` take the cache.
#[tokio::test]
async fn verbs_use_the_functions_own_cache() {
    let (ambient, other, db) = (Cache::for_test(), Cache::for_test(), Source::new());
    ambient
        .scope(async {
            placed(&db, &other, 1).await;
            assert_eq!(placed::peek(&other, 1).await.unwrap(), Some(1));
            assert_eq!(placed::peek(&ambient, 1).await.unwrap(), None);
            placed::put(7, &ambient, 1).await.unwrap();
            placed::invalidate(&other, 1).await.unwrap();
            assert_eq!(placed::peek(&other, 1).await.unwrap(), None);
            assert_eq!(placed::peek(&ambient, 1).await.unwrap(), Some(7));
        })
        .await;
}

/// N11: verbs of generic functions take the type.
#[tokio::test]
async fn verbs_of_generic_functions_take_the_type() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(typed::<u64>(&db, 1).await, [1]);
            assert_eq!(typed::<u32>(&db, 1).await, [1]);
            assert_eq!(db.loads(), 2);
            assert_eq!(typed::peek::<u64>(1).await.unwrap(), Some(vec![1]));
            typed::invalidate::<u64>(1).await.unwrap();
            assert_eq!(typed::peek::<u64>(1).await.unwrap(), None);
            assert_eq!(typed::peek::<u32>(1).await.unwrap(), Some(vec![1]));
            typed::put(&vec![9_u64], 1).await.unwrap();
            assert_eq!(typed::refresh::<u32>(&db, 1).await, [1]);
            assert_eq!(typed::<u64>(&db, 1).await, [9]);
            assert_ne!(typed::key::<u64>(1).as_str(), typed::key::<u32>(1).as_str());
        })
        .await;
}

/// B4 N11: `clear` takes all entries of this function and of no other, loads in flight included.
#[tokio::test]
async fn clear_takes_one_functions_entries() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for id in 0..50 {
                get_user(&db, id).await.unwrap();
            }
            find(1, &db, "").await.unwrap();
            cache.set("user-like", 1_u64).await.unwrap();
            let held = db.hold().await;
            let load = get_user(&db, 99);
            let clear = async {
                until("the load runs", || db.loads() == 52).await;
                get_user::clear().await.unwrap();
                drop(held);
            };
            tokio::join!(load, clear).0.unwrap();
            assert_eq!(cache.stats().entries, 2);
            assert_eq!(get_user::peek(99).await.unwrap(), None, "a load that began before is not stored after");
            assert!(find::peek(1).await.unwrap().is_some());
        })
        .await;
}

/// A5 N11: `refresh` loads whatever is there, never joins an older load, and its errors are the function's.
#[tokio::test]
async fn refresh_always_loads() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 42).await.unwrap();
            get_user::refresh(&db, 42).await.unwrap();
            assert_eq!(db.loads(), 2);

            get_user::invalidate(42).await.unwrap();
            let held = db.hold().await;
            let older = get_user(&db, 42);
            let newer = async {
                until("the older load runs", || db.loads() == 3).await;
                db.write(42, "new");
                let refresh = get_user::refresh(&db, 42);
                let release = async {
                    until("the refresh loads by itself", || db.loads() == 4).await;
                    drop(held);
                };
                tokio::join!(refresh, release).0
            };
            let (_, newer) = tokio::join!(older, newer);
            assert_eq!(newer.unwrap().version, 2);
            assert_eq!(get_user(&db, 42).await.unwrap().version, 2, "the older load must not win");

            db.set_failing(true);
            assert_eq!(get_user::refresh(&db, 42).await, Err(Failed));
        })
        .await;
}

/// C9: `warm` fills the cache for many arguments, so many at once, says how far it is, and survives failures.
#[tokio::test]
async fn warm_fills_the_cache() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let seen = AtomicU64::new(0);
            let ids: Vec<u64> = (0..40).collect();
            let warmed = get_user::warm(ids, |id| (&db, id))
                .concurrency(16)
                .on_progress(|done, total| {
                    assert_eq!(total, 40);
                    assert_eq!(done as u64, seen.fetch_add(1, SeqCst) + 1);
                })
                .await;
            assert_eq!((warmed.done, warmed.failed), (40, 0));
            assert_eq!((seen.load(SeqCst), db.loads()), (40, 40));
            for id in 0..40 {
                get_user(&db, id).await.unwrap();
            }
            assert_eq!(db.loads(), 40);

            let held = db.hold().await;
            let warming = get_user::warm(100..110, |id| (&db, id)).concurrency(3);
            let look = async {
                until("three run", || db.loads() == 43).await;
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(db.loads(), 43, "no more than asked");
                drop(held);
            };
            tokio::join!(warming, look);
            assert_eq!(db.loads(), 50);

            db.set_failing(true);
            let warmed = get_user::warm([1, 2, 777], |id| (&db, id)).await;
            assert_eq!((warmed.done, warmed.failed), (2, 1));
            assert_eq!(get_user::warm(Vec::<u64>::new(), |id| (&db, id)).await.done, 0);
        })
        .await;
}

/// N11 B8: `stats` says what happened in this function and this cache.
#[tokio::test]
async fn stats_count_this_function() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for id in [1, 1, 1, 2] {
                get_user(&db, id).await.unwrap();
            }
            find(1, &db, "").await.unwrap();
            db.set_failing(true);
            get_user(&db, 3).await.unwrap_err();
            let stats = get_user::stats();
            assert_eq!((stats.hits, stats.misses, stats.loads, stats.errors), (2, 3, 3, 1));
            assert_eq!(stats.coalesced + stats.stale, 0);
            assert_eq!(stats.latency.count, 3);
            assert!((stats.hit_rate() - 0.4).abs() < 1e-9);
        })
        .await;
    let other = Cache::for_test();
    assert_eq!(other.scope(async { get_user::stats() }).await, FunctionStats::default());
}

// -------------------------------------------------------------------------------------------------------------- methods

mod methods {
    use super::*;

    pub(crate) struct Repo {
        pub(crate) db: Source,
        pub(crate) shard: u32,
    }

    impl Repo {
        /// With an explicit visibility: has a companion.
        #[cache_read(key = "repo:<self.shard>:<id>", ttl = "1m", tags = ["repo", "org:<result.org_id>"])]
        pub(crate) async fn get_user(&self, id: u64) -> Result<Option<Row>, Broken> {
            self.db.try_find(id).await
        }

        #[cache_read(key = "repo:private:<id>", skip(self), companion = method)]
        async fn inner(&self, id: u64) -> Row {
            self.db.row(id).await
        }

        #[cache_read(key = "repo:crate:<id>", skip(self))]
        pub(crate) async fn arc(&self, id: u64) -> Arc<Row> {
            Arc::new(self.inner(id).await)
        }

        #[cache_read(key = "repo:none:<id>", skip(self), companion = none)]
        pub(crate) async fn bare(&self, id: u64) -> Row {
            self.db.row(id).await
        }

        pub(crate) fn bare_entry(&self) -> &'static str {
            "the name is free"
        }

        pub(crate) async fn check_private(&self) {
            self.inner(5).await;
            assert!(self.inner_entry(5).peek().await.unwrap().is_some());
            self.inner_entry(5).invalidate().await.unwrap();
            assert_eq!(self.inner_entry(5).peek().await.unwrap(), None);
        }
    }
}

/// N11 D3: a method's entry can be read, stored and dropped, and a method can be refreshed.
#[tokio::test]
async fn methods_have_entries() {
    use methods::Repo;
    let cache = Cache::for_test();
    let (repo, other) = (Repo { db: Source::new(), shard: 1 }, Repo { db: Source::new(), shard: 2 });
    cache
        .scope(async {
            let entry: Entry<Row> = repo.get_user_entry(42);
            assert_eq!(entry.peek().await.unwrap(), None);
            repo.get_user(42).await.unwrap();
            assert_eq!(entry.peek().await.unwrap(), Some(Row::fresh(42)));
            assert_eq!(entry.key().as_str(), "repo:1:42");
            assert_eq!(other.get_user_entry(42).peek().await.unwrap(), None, "`self` selects the entry");
            entry.invalidate().await.unwrap();
            assert_eq!(entry.peek().await.unwrap(), None);
            let row = Row { org_id: 99, ..Row::fresh(42) };
            repo.get_user_entry(42).put(&row).await.unwrap();
            assert_eq!(repo.get_user(42).await.unwrap(), Some(row));
            assert_eq!(cache.ttl("repo:1:42").await.unwrap().unwrap().duration(), Some(Duration::from_secs(60)));
            cache.invalidate("org:99").await.unwrap();
            assert_eq!(repo.get_user_entry(42).peek().await.unwrap(), None);
            repo.db.write(42, "new");
            let fresh: Result<Option<Row>, Broken> = repo.get_user_refresh(42).await;
            assert_eq!(fresh.unwrap().unwrap().name, "new");
            assert_eq!(repo.get_user(42).await.unwrap().unwrap().name, "new");
            assert_eq!(repo.db.loads(), 2);

            repo.check_private().await;
            repo.arc(6).await;
            assert_eq!(repo.arc_entry(6).peek().await.unwrap().map(|row| row.id), Some(6));
            assert_eq!(repo.bare(7).await, repo.bare(7).await);
            assert_eq!(repo.bare_entry(), "the name is free");
        })
        .await;
}

mod named {
    //! A module that has the function's name: the companion stays away.
    use super::*;

    pub(crate) mod report {
        pub(crate) const YEARS: u64 = 3;
    }

    #[cache_read(key = "report:<year>", companion = none)]
    pub(crate) async fn report(year: u64) -> u64 {
        year * report::YEARS
    }

    #[memoize(companion = none)]
    pub(crate) fn squared(n: u64) -> u64 {
        n * n
    }

    #[allow(non_camel_case_types, dead_code, reason = "the name that a companion would take")]
    pub(crate) struct squared {}

    #[cache_read(key = "named:<id>", companion = name)]
    pub(crate) async fn free(id: u64) -> u64 {
        id
    }
}

/// N11: `companion` says whether there is one.
#[tokio::test]
async fn a_companion_can_be_left_out() {
    let cache = Cache::for_test();
    cache
        .scope(async {
            assert_eq!(named::report(2).await, 6);
            assert_eq!(named::squared(3), 9);
            assert_eq!(named::free(1).await, 1);
            assert_eq!(named::free::peek(1).await.unwrap(), Some(1));
        })
        .await;
}

/// P9: verbs say that the cache cannot be used, where the function itself goes on.
#[tokio::test]
async fn verbs_return_what_the_cache_says() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 1).await.unwrap();
            cache.set_failing(true);
            let kinds = [
                get_user::invalidate(1).await.unwrap_err().kind(),
                get_user::peek(1).await.unwrap_err().kind(),
                get_user::put(Row::fresh(1), 1).await.unwrap_err().kind(),
                get_user::clear().await.unwrap_err().kind(),
            ];
            assert_eq!(kinds, [cache_runtime::ErrorKind::Unavailable; 4]);
            assert_eq!(get_user::refresh(&db, 1).await.unwrap(), Row::fresh(1));
            assert_eq!(get_user(&db, 1).await.unwrap(), Row::fresh(1));
        })
        .await;
}

//! Errors that a function keeps (`ttl_err`): for how long, for whom, and what ends them.

use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, Remaining, cache_read, cache_write};
use cache_tests::{Broken, Row, Source};
use serde::{Deserialize, Serialize};

use crate::backend::soon;

#[cache_read(key = "err:<id>", tags = ["errors"], namespace = "n", ttl = "1h", ttl_err = "100s", skip(db))]
async fn kept(db: &Source, id: u64) -> Result<Option<Row>, Broken> {
    db.try_find(id).await
}

#[cache_write(tags = ["errors"])]
async fn write(db: &Source, id: u64) -> Row {
    db.write(id, "written")
}

#[cache_read(key = "err:brief", ttl_err = "60ms", skip(db))]
async fn brief(db: &Source) -> Result<Arc<Row>, Broken> {
    db.try_find(1).await.map(|row| Arc::new(row.unwrap()))
}

/// Why a query failed: shared within a process, and nothing of serde.
#[derive(Clone, Debug, PartialEq)]
enum Local {
    Broken,
}

#[cache_read(key = "err:local", ttl_err = "100s", skip(db))]
async fn local(db: &Source) -> Result<u64, Local> {
    db.tick();
    Err(Local::Broken)
}

/// It can be serialized, and is read back by nobody who does not own the bytes.
#[cache_read(key = "err:borrowed", ttl_err = "100s", skip(db))]
async fn borrowed(db: &Source) -> Result<u64, &'static str> {
    db.tick();
    Err("always")
}

#[cache_read(key = "err:generic:<id>", ttl_err = "100s", skip(db, E))]
async fn generic<E: Clone + From<u64> + Serialize + for<'de> Deserialize<'de> + Send + Sync + 'static>(
    db: &Source,
    id: u64,
) -> Result<u64, E> {
    db.tick();
    Err(E::from(id))
}

/// One error before and after its type was changed, as bytes that bincode cannot tell apart.
mod version {
    use super::*;

    pub(super) mod before {
        use super::*;

        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub(in super::super) struct Refused {
            pub(in super::super) code: u32,
            pub(in super::super) after: u32,
        }
    }
    pub(super) mod after {
        use super::*;

        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub(in super::super) struct Refused {
            pub(in super::super) after: u32,
            pub(in super::super) code: u32,
        }
    }

    #[cache_read(key = "err:version", ttl_err = "100s", skip(db))]
    pub(super) async fn old(db: &Source) -> Result<Row, before::Refused> {
        db.tick();
        Err(before::Refused { code: 1, after: 2 })
    }
    #[cache_read(key = "err:version", ttl_err = "100s", skip(db))]
    pub(super) async fn new(db: &Source) -> Result<Row, after::Refused> {
        db.tick();
        Err(after::Refused { code: 1, after: 2 })
    }
}

everywhere! {
    /// C2: with `ttl_err` an `Err` is kept for that long and for every process; it is no value, and a value has its own ttl.
    async fn an_error_is_kept_as_asked(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        db.set_failing(true);
        assert_eq!(kept(&db, 1).await, Err(Broken(1)));
        for cache in [cache, &on.other().await] {
            assert_eq!(cache.scope(kept(&db, 1)).await, Err(Broken(1)));
        }
        assert_eq!((db.loads(), kept::stats().hits), (1, if on.is_shared() { 1 } else { 2 }));
        let left = async |id: u64| match cache.ttl(cache_runtime::key!("err:<id>")).await.unwrap() {
            Some(Remaining::For(left)) => left.as_secs(),
            other => panic!("{other:?}"),
        };
        assert!((85..=100).contains(&left(1).await));
        assert!(cache.exists("err:1").await.unwrap(), "an error that is kept is there");
        assert_eq!(cache.get::<Row>("err:1").await.unwrap(), None);
        assert_eq!(cache.get::<Broken>("err:1").await.unwrap(), None);
        assert_eq!(kept::peek(1).await.unwrap(), None);
        assert_eq!(cache.stats().rejected, 0);
        kept::put(Row::fresh(9), 1).await.unwrap();
        assert_eq!(kept(&db, 1).await, Ok(Some(Row::fresh(9))), "a value takes its place");
        assert!(left(1).await > 3000);
        assert_eq!(kept::refresh(&db, 1).await, Err(Broken(2)));
        assert_eq!(kept(&db, 1).await, Err(Broken(2)), "and the other way round: it is what the source said last");
        assert_eq!(db.loads(), 2);
    }

    /// C2: it is over when its time is.
    async fn a_kept_error_expires(on: &On) {
        let db = Source::new();
        db.set_failing(true);
        assert_eq!(brief(&db).await, Err(Broken(1)));
        soon("it is over", async || brief(&db).await != Err(Broken(1))).await;
        db.set_failing(false);
        soon("so is the next", async || brief(&db).await.is_ok()).await;
    }

    /// P1: whatever makes a value invalid makes a kept error invalid, wherever it happens.
    async fn a_kept_error_is_never_served_after_an_invalidation(on: &On) {
        let (cache, other, db) = (&on.cache, on.other().await, Source::new());
        macro_rules! ends {
            ($what:literal, $by:expr) => {
                db.set_failing(true);
                let before = kept(&db, 1).await.unwrap_err();
                assert_eq!(kept(&db, 1).await, Err(before));
                db.set_failing(false);
                let _ = $by.await;
                on.heard().await;
                assert!(kept(&db, 1).await.is_ok(), $what);
                cache.clear().await.unwrap();
            };
        }
        ends!("its key", other.invalidate("err:1"));
        ends!("its tag", other.invalidate("errors"));
        ends!("its namespace", other.invalidate_namespace("n"));
        ends!("its entry", other.delete("err:1"));
        ends!("a pattern", other.delete_match("err:*"));
        ends!("all of the function", other.scope(kept::clear()));
        ends!("everything", other.clear());
        ends!("the verb", kept::invalidate(1));
        ends!("a write", other.scope(write(&db, 1)));
    }

    /// P1: an error of a load that an invalidation overtook is its callers' alone.
    async fn an_error_from_before_an_invalidation_is_not_kept(on: &On) {
        let (cache, other, db) = (&on.cache, on.other().await, Arc::new(Source::new()));
        for tag in ["errors", "err:1"] {
            let loads = db.loads();
            db.set_failing(true);
            let held = db.hold().await;
            let source = Arc::clone(&db);
            let old = tokio::spawn(cache.scope(async move { kept(&source, 1).await }));
            soon("the load runs", async || db.loads() == loads + 1).await;
            other.invalidate(tag).await.unwrap();
            drop(held);
            assert!(old.await.unwrap().is_err());
            db.set_failing(false);
            assert!(kept(&db, 1).await.is_ok(), "{tag}");
            cache.clear().await.unwrap();
        }
    }

    /// P6: an error of a type that was changed is a miss.
    async fn an_error_of_another_type_is_a_miss(on: &On) {
        let db = Source::new();
        for round in 1..=2 {
            assert_eq!(version::old(&db).await, Err(version::before::Refused { code: 1, after: 2 }));
            assert_eq!(version::old(&db).await, Err(version::before::Refused { code: 1, after: 2 }));
            assert_eq!(version::new(&db).await, Err(version::after::Refused { code: 1, after: 2 }));
            assert_eq!(db.loads(), 2 * round);
        }
        assert_eq!(on.cache.stats().rejected, if on.is_shared() { 3 } else { 0 });
    }

    /// C2: an error that cannot become bytes is kept in memory; elsewhere it is not, which is counted.
    async fn an_error_that_is_no_bytes_stays_in_its_process(on: &On) {
        let db = Source::new();
        for _ in 0..3 {
            assert_eq!(local(&db).await, Err(Local::Broken));
        }
        assert_eq!((db.loads(), local::stats().unstored), if on.is_shared() { (3, 3) } else { (1, 0) });
        let db = Source::new();
        for _ in 0..3 {
            assert_eq!(borrowed(&db).await, Err("always"));
        }
        assert_eq!((db.loads(), borrowed::stats().unstored), if on.is_shared() { (3, 3) } else { (1, 0) });
    }

    /// C2: where the error is a type parameter, its bounds say whether it can become bytes.
    async fn an_error_may_be_a_parameter(on: &On) {
        let db = Source::new();
        for _ in 0..2 {
            assert_eq!(generic::<u64>(&db, 1).await, Err(1));
        }
        assert_eq!(db.loads(), 1);
    }
}

mod shared {
    use super::*;

    macro_rules! by {
        ($($name:ident: $codec:ident;)*) => {
            $(#[cache_read(key = "err:codec", codec = $codec, ttl_err = "100s", skip(db))]
            async fn $name(db: &Source) -> Result<Row, String> {
                if db.tick() % 2 == 1 { Err("a reason to read".to_owned()) } else { Ok(Row::fresh(1)) }
            })*
        };
    }
    by! { bincode: bincode; json: json; msgpack: msgpack; }

    on_servers! {
        /// C6: no codec shows an error to other programs as the value, and the value is as ever when it is there.
        async fn an_error_does_not_lie_where_a_value_would(on: &On) {
            macro_rules! check {
                ($function:ident) => {
                    let db = Source::new();
                    assert_eq!($function(&db).await, Err("a reason to read".to_owned()));
                    assert_eq!($function(&db).await, Err("a reason to read".to_owned()), stringify!($function));
                    assert_eq!(db.loads(), 1);
                    let bytes = on.plain("err:codec").await.unwrap();
                    assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_err());
                    assert_eq!($function::refresh(&db).await, Ok(Row::fresh(1)));
                    assert_eq!($function(&db).await, Ok(Row::fresh(1)));
                    assert_eq!(db.loads(), 2);
                    on.cache.delete("err:codec").await.unwrap();
                };
            }
            check!(bincode);
            check!(json);
            check!(msgpack);
            assert_eq!(on.cache.stats().rejected, 0);
        }

        /// P9: an error is encrypted as a value is.
        async fn a_kept_error_is_encrypted_where_values_are(on: &On) {
            let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
            let cache: Cache = on.with(|builder| builder.encryption_key(key).encrypt(true)).await;
            let db = Source::new();
            for _ in 0..2 {
                assert_eq!(cache.scope(bincode(&db)).await, Err("a reason to read".to_owned()));
            }
            assert_eq!(db.loads(), 1);
            let bytes = on.plain("err:codec").await.unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"reason"));
        }

        /// A7: who waits for a load elsewhere gets its error, where errors are kept.
        async fn an_error_is_what_a_lease_was_waited_for(on: &On) {
            #[cache_read(key = "err:locked", lock = true, ttl_err = "100s", skip(db))]
            async fn locked(db: &Source) -> Result<Option<Row>, Broken> {
                db.try_find(1).await
            }
            let (other, db) = (on.other().await, Arc::new(Source::new()));
            db.set_failing(true);
            let held = db.hold().await;
            let call = |cache: &Cache| {
                let source = Arc::clone(&db);
                tokio::spawn(cache.scope(async move { locked(&source).await }))
            };
            let here = call(&on.cache);
            soon("the load runs", async || db.loads() == 1).await;
            let there = call(&other);
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(held);
            assert_eq!(here.await.unwrap(), Err(Broken(1)));
            assert_eq!(there.await.unwrap(), Err(Broken(1)));
            assert_eq!(db.loads(), 1);
        }
    }
}

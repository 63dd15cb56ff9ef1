//! Names that an expansion could use, and more of everything than usual.

use std::time::Duration;

use cache_runtime::{Cache, cache_read};
use cache_tests::Source;

mod clashes {
    //! Parameters and items named like whatever an expansion could use.
    #![allow(dead_code, non_camel_case_types, non_snake_case, clippy::too_many_arguments, reason = "that is the point")]

    use super::Source;
    use ::cache_runtime as renamed;

    pub(crate) struct Option;
    pub(crate) struct Result;
    pub(crate) struct Some;
    pub(crate) struct String;
    pub(crate) struct Vec;
    pub(crate) struct Box;
    pub(crate) struct Arc;
    pub(crate) struct Duration;
    pub(crate) trait Into {}
    pub(crate) trait Clone {}
    pub(crate) trait Future {}
    pub(crate) mod core {}
    pub(crate) mod std {}
    pub(crate) mod cache_runtime {}
    pub(crate) mod p {}
    pub(crate) fn drop() {}
    pub(crate) fn Ok() {}
    pub(crate) const SITE: u8 = 1;

    #[renamed::cache_read(
        crate = renamed,
        key = "clash:<at>:<key>:<shape>:<load>:<done>:<w>:<t>:<p>:<mode>:<value>:<site>",
        tags = ["clash:<fill>", vec_of(write, key), "clash:value:<result>"],
        namespace = "clash:<inv>",
        ttl = ttl_of(load),
        unless = |result| *result == done + 1_000_000,
        bypass = batch == 77,
        skip(fill, write, inv, ret, body, batch, db)
    )]
    pub(crate) async fn read(
        at: u64,
        key: u64,
        shape: u64,
        load: u64,
        done: u64,
        w: u64,
        t: u64,
        p: u64,
        mode: u64,
        value: u64,
        site: u64,
        fill: u64,
        write: u64,
        inv: u64,
        ret: u64,
        body: u64,
        batch: u64,
        db: &Source,
    ) -> u64 {
        let _ = (at, key, shape, load, done, w, t, p, mode, value, site, fill, write, inv, ret, body, batch);
        db.tick()
    }

    fn vec_of(write: u64, key: u64) -> ::std::vec::Vec<::std::string::String> {
        ::std::vec![::std::format!("{write}:{key}")]
    }

    fn ttl_of(load: u64) -> ::std::time::Duration {
        ::std::time::Duration::from_secs(load)
    }

    #[renamed::cache_write(
        crate = renamed,
        tags = ["clash:<write>", "clash:value:<result>", vec_of(done, at)],
        keys = ["clash:<ret>"],
        patterns = ["clash:<inv>:*"],
        namespaces = ["clash:<guard>"],
        recache = [read(at, done, write, inv, ret, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, db)]
    )]
    pub(crate) async fn write(
        at: u64,
        done: u64,
        write: u64,
        inv: u64,
        ret: u64,
        guard: u64,
        captured: u64,
        db: &Source,
    ) -> u64 {
        let _ = (at, done, write, inv, ret, guard, captured);
        db.tick()
    }

    #[renamed::memoize(crate = renamed, cache_if = |value| *value > w, skip(w))]
    pub(crate) fn memo(key: u64, at: u64, w: u64) -> u64 {
        key + at + w
    }
}

/// A1: nothing that an expansion uses can clash with a user's names, and the crate may have another name.
#[tokio::test]
async fn shadowed_names_do_not_matter() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let read = |at| clashes::read(at, 2, 3, 40, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, &db);
            assert_eq!((read(1).await, read(1).await, read(2).await), (1, 1, 2));
            cache.invalidate("clash:12").await.unwrap();
            assert_eq!((read(1).await, read(1).await), (3, 3));
            cache.invalidate("13:2").await.unwrap();
            assert_eq!((read(1).await, read(1).await), (4, 4));
            cache.invalidate("clash:value:4").await.unwrap();
            assert_eq!((read(1).await, read(1).await), (5, 5));
            cache.invalidate_namespace("clash:14").await.unwrap();
            assert_eq!((read(1).await, read(1).await), (6, 6));
            cache.advance(Duration::from_secs(40));
            assert_eq!(read(1).await, 7);
            assert_eq!(clashes::write(1, 2, 3, 4, 5, 6, 7, &db).await, 8);
            assert_eq!(clashes::read(1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, &db).await, 9, "recached");
            assert_eq!((clashes::memo(1, 2, 3), clashes::memo(1, 2, 3)), (6, 6));
        })
        .await;
}

/// N13: as many parameters and tags as anyone will have.
#[tokio::test]
async fn many_tags() {
    #[cache_read(key = "many:<id>", tags = [(0..100).map(|n| format!("many:{n}"))], skip(db))]
    async fn many(db: &Source, id: u64) -> u64 {
        let _ = id;
        db.tick()
    }
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for n in [0, 1, 50, 99] {
                let value = many(&db, 1).await;
                assert_eq!(many(&db, 1).await, value);
                cache.invalidate(format!("many:{n}")).await.unwrap();
                assert_eq!(many(&db, 1).await, value + 1);
            }
        })
        .await;
}

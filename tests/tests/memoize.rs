//! `#[memoize]`: results kept in this process, of synchronous and asynchronous functions, without serialization.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use cache_runtime::{Cache, KeyPart, Tenant, Ttl, memoize};
use cache_tests::{Row, Source};

/// Neither serializable nor comparable.
#[derive(Clone)]
struct Opaque(Arc<dyn Fn(u64) -> u64 + Send + Sync>);

#[derive(Clone, Copy, Debug, KeyPart)]
enum Period {
    Day,
    Month,
}

#[memoize(ttl = "60s", skip(db))]
async fn report(db: &Source, period: Period, region: &str) -> String {
    format!("{period:?} {region} {}", db.tick())
}

#[memoize(ttl = 300, key = "report:{period}:{region}", skip(db))]
async fn keyed(db: &Source, period: &str, region: &str) -> u64 {
    let _ = (period, region);
    db.tick()
}

#[memoize(skip(db))]
fn sync(db: &Source, n: u64, names: &[char]) -> u64 {
    let _ = (n, names);
    db.tick()
}

#[memoize(skip(db))]
async fn opaque(db: &Source, by: u64) -> Opaque {
    db.tick();
    Opaque(Arc::new(move |n| n * by))
}

#[memoize]
fn fibonacci(n: u64) -> u128 {
    COUNT.fetch_add(1, SeqCst);
    if n < 2 { n.into() } else { fibonacci(n - 1) + fibonacci(n - 2) }
}
static COUNT: AtomicU64 = AtomicU64::new(0);

#[memoize(capacity = 10, skip(db))]
fn small(db: &Source, n: u64) -> u64 {
    db.tick();
    n
}

#[memoize(ttl = Ttl::Long, tags = ["sums", "sum:<n>", "of:<result>"], skip(db))]
fn tagged(db: &Source, n: u64) -> u64 {
    db.tick();
    n * 10
}

#[memoize(cache_if = |n| n % 2 == 0, skip(db))]
fn even(db: &Source, n: u64) -> u64 {
    db.tick();
    n
}

#[memoize(unless = |row| row.id == 0, ttl_none = "2s", ttl = "10s", skip(db))]
async fn found(db: &Source, id: u64) -> Option<Arc<Row>> {
    db.find(id).await.map(Arc::new)
}

#[memoize(ttl_err = "2s", skip(db))]
fn parsed(db: &Source, text: &str) -> Result<u64, std::num::ParseIntError> {
    db.tick();
    text.parse()
}

#[memoize(skip(db))]
fn parsed_again(db: &Source, text: &str) -> Result<Option<Arc<u64>>, std::num::ParseIntError> {
    db.tick();
    if text.is_empty() { Ok(None) } else { text.parse().map(|n| Some(Arc::new(n))) }
}

#[memoize(skip(barrier, db))]
fn slow(db: &Source, barrier: &Barrier, n: u64) -> u64 {
    db.tick();
    barrier.wait();
    n
}

struct Shape {
    sides: u32,
    db: Source,
}

impl Shape {
    #[memoize(key = "shape:<self.sides>:<scale>")]
    pub(crate) fn area(&self, scale: u32) -> u64 {
        self.db.tick() * 1000 + u64::from(self.sides * scale)
    }

    /// A cached property.
    #[memoize(ttl = "60s", key = "perimeter:<self.sides>")]
    pub(crate) async fn perimeter(&self) -> u64 {
        self.db.tick()
    }
}

/// B4 D5: the key is module, function and every parameter that is not skipped.
#[tokio::test]
async fn every_parameter_selects() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(report(&db, Period::Day, "eu").await, "Day eu 1");
            assert_eq!(report(&db, Period::Day, "eu").await, "Day eu 1");
            assert_eq!(report(&Source::new(), Period::Day, "eu").await, "Day eu 1");
            assert_eq!(report(&db, Period::Month, "eu").await, "Month eu 2");
            assert_eq!(report(&db, Period::Day, "us").await, "Day us 3");
            let key = report::key(Period::Day, "eu");
            assert!(key.as_str().contains("memoize") && key.as_str().ends_with("report:Day:eu"), "{key}");
        })
        .await;
}

/// B4: a ttl, a key of one's own, and `clear`.
#[tokio::test]
async fn ttl_key_and_clear() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            report(&db, Period::Day, "eu").await;
            cache.advance(Duration::from_millis(59_999));
            assert_eq!(report(&db, Period::Day, "eu").await, "Day eu 1");
            cache.advance(Duration::from_millis(1));
            assert_eq!(report(&db, Period::Day, "eu").await, "Day eu 2");

            assert_eq!(keyed(&db, "2026", "eu").await, keyed(&db, "2026", "eu").await);
            assert_ne!(keyed(&db, "2026", "eu").await, keyed(&db, "2025", "eu").await);
            assert_eq!(keyed::key("2026", "eu").as_str(), "report:2026:eu");
            let before = keyed(&db, "2026", "eu").await;
            keyed::clear().await.unwrap();
            assert_ne!(keyed(&db, "2026", "eu").await, before);
            assert_eq!(report(&db, Period::Day, "eu").await, "Day eu 2", "another function is not cleared");
        })
        .await;
}

/// E12: a synchronous function, without a runtime.
#[test]
fn a_synchronous_function_needs_no_runtime() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache.scope_blocking(|| {
        assert_eq!(sync(&db, 1, &['a', 'b']), 1);
        assert_eq!(sync(&db, 1, &['a', 'b']), 1);
        assert_eq!(sync(&db, 1, &['a', ',', 'b']), 2);
        assert_eq!(sync(&db, 2, &['a', 'b']), 3);
        assert_eq!(sync::stats().hits, 1);
        assert_eq!(sync::refresh(&db, 1, &['a', 'b']), 4);
        assert_eq!(sync(&db, 1, &['a', 'b']), 4);
        assert_eq!(sync::bypass(&db, 1, &['a', 'b']), 5);
    });
}

mod nested {
    use super::*;

    #[memoize(skip(db))]
    fn names(db: &Source, names: &[&str], one: &Option<&str>, parts: (&str, &[&[u8]])) -> u64 {
        let _ = (names, one, parts);
        db.tick()
    }

    #[cache_runtime::cache_read(key = "nested:<names>:<text>", skip(db))]
    async fn read(db: &Source, names: &[&str], text: std::borrow::Cow<'_, str>) -> u64 {
        let _ = (names, text);
        db.tick()
    }

    /// A1: a parameter may be a slice of references, or another type with references inside.
    #[tokio::test]
    async fn a_parameter_may_be_a_slice_of_references() {
        let (cache, db) = (Cache::for_test(), Source::new());
        cache
            .scope(async {
                type Call<'a> = (&'a [&'a str], Option<&'a str>, (&'a str, &'a [&'a [u8]]));
                let calls: [Call<'_>; 5] = [
                    (&["a", "b"], None, ("", &[])),
                    (&["a,b"], None, ("", &[])),
                    (&["a", "b"], Some(""), ("", &[])),
                    (&["a", "b"], None, ("", &[b"x"])),
                    (&["a", "b"], None, ("x", &[])),
                ];
                for _ in 0..2 {
                    for (index, (list, one, parts)) in calls.iter().enumerate() {
                        assert_eq!(names(&db, list, one, *parts), index as u64 + 1);
                    }
                }
                assert_eq!(read(&db, &["a", "b"], "c".into()).await, read(&db, &["a", "b"], "c".into()).await);
                assert_eq!(read::peek(&["a"], "b".into()).await.unwrap(), None);
            })
            .await;
    }
}

/// E12 N11: the verbs of a synchronous function.
#[tokio::test]
async fn verbs_of_a_synchronous_function() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            sync(&db, 1, &[]);
            assert_eq!(sync::peek(1, &[]).await.unwrap(), Some(1));
            sync::invalidate(1, &[]).await.unwrap();
            assert_eq!(sync::peek(1, &[]).await.unwrap(), None);
            sync::put(99, 1, &[]).await.unwrap();
            assert_eq!(sync(&db, 1, &[]), 99);
            sync::clear().await.unwrap();
            assert_eq!(sync(&db, 1, &[]), 2);
        })
        .await;
}

/// E12: a function that calls itself is computed once for each argument.
#[tokio::test]
async fn recursion_is_memoized() {
    let cache = Cache::for_test();
    cache
        .scope(async {
            assert_eq!(fibonacci(90), 2_880_067_194_370_816_120);
            assert_eq!(COUNT.load(SeqCst), 91);
            fibonacci(90);
            assert_eq!(COUNT.load(SeqCst), 91);
        })
        .await;
}

/// B4: values need neither `Serialize` nor `PartialEq`.
#[tokio::test]
async fn values_need_no_serialization() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let triple = opaque(&db, 3).await;
            let again = opaque(&db, 3).await;
            assert!(Arc::ptr_eq(&triple.0, &again.0));
            assert_eq!((triple.0)(7), 21);
            assert_eq!((opaque(&db, 4).await.0)(7), 28);
            assert_eq!(db.loads(), 2);
        })
        .await;
}

/// E10 P7: `capacity` bounds this function's entries and leaves the cache's own room alone.
#[tokio::test]
async fn capacity_bounds_one_function() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            cache.set("mine", 1_u64).await.unwrap();
            for n in 0..1000 {
                small(&db, n);
            }
            assert!(cache.stats().entries <= 11, "{}", cache.stats().entries);
            assert!(cache.stats().entries >= 6, "{}", cache.stats().entries);
            assert_eq!(cache.get::<u64>("mine").await.unwrap(), Some(1));
            assert!(cache.stats().evictions >= 990);
            small::clear().await.unwrap();
            assert_eq!(cache.stats().entries, 1);
        })
        .await;
}

/// A2: tags of arguments and results.
#[tokio::test]
async fn memoized_results_have_tags() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let _ = (tagged(&db, 1), tagged(&db, 2));
            cache.invalidate("sum:1").await.unwrap();
            let _ = (tagged(&db, 1), tagged(&db, 2));
            assert_eq!(db.loads(), 3);
            cache.invalidate("of:20").await.unwrap();
            let _ = (tagged(&db, 1), tagged(&db, 2));
            assert_eq!(db.loads(), 4);
            cache.invalidate("sums").await.unwrap();
            let _ = (tagged(&db, 1), tagged(&db, 2));
            assert_eq!(db.loads(), 6);
            cache.advance(Duration::from_secs(3599));
            tagged(&db, 1);
            assert_eq!(db.loads(), 6);
            cache.advance(Duration::from_secs(1));
            tagged(&db, 1);
            assert_eq!(db.loads(), 7);
        })
        .await;
}

/// D2 C2: `cache_if`, `unless`, `ttl_none`, `ttl_err` as for reads.
#[tokio::test]
async fn what_is_kept_can_be_chosen() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for n in [1, 1, 2, 2] {
                assert_eq!(even(&db, n), n);
            }
            assert_eq!(db.loads(), 3);

            let db = Source::new();
            db.remove(1);
            for id in [0, 0, 1, 1, 2, 2] {
                found(&db, id).await;
            }
            assert_eq!(db.loads(), 4);
            cache.advance(Duration::from_secs(2));
            let _ = (found(&db, 1).await, found(&db, 2).await);
            assert_eq!(db.loads(), 5);

            let db = Source::new();
            let _ = (parsed(&db, "x").unwrap_err(), parsed(&db, "x").unwrap_err());
            assert_eq!(db.loads(), 1);
            cache.advance(Duration::from_secs(2));
            parsed(&db, "x").unwrap_err();
            assert_eq!(db.loads(), 2);

            let db = Source::new();
            let _ = (parsed_again(&db, "x").unwrap_err(), parsed_again(&db, "x").unwrap_err());
            assert_eq!(db.loads(), 2, "an `Err` is not kept");
            assert_eq!(parsed_again(&db, ""), Ok(None));
            assert_eq!(parsed_again(&db, ""), Ok(None));
            assert_eq!(db.loads(), 3);
            let (one, two) = (parsed_again(&db, "7").unwrap().unwrap(), parsed_again(&db, "7").unwrap().unwrap());
            assert!(Arc::ptr_eq(&one, &two));
        })
        .await;
}

/// P2 E12: threads that call a synchronous function at once run its body once.
#[test]
fn threads_share_one_computation() {
    let (cache, db, barrier) = (Cache::for_test(), Source::new(), Barrier::new(2));
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| cache.scope_blocking(|| slow(&db, &barrier, 7)))).collect();
        while db.loads() == 0 || cache.stats().flights == 0 {
            std::thread::yield_now();
        }
        barrier.wait();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), 7);
        }
    });
    assert_eq!(db.loads(), 1);
    assert_eq!(cache.stats().flights, 0);
}

/// D3: methods and properties; what of `self` selects is said.
#[tokio::test]
async fn methods_are_memoized() {
    let cache = Cache::for_test();
    let (square, other, hexagon) = (
        Shape { sides: 4, db: Source::new() },
        Shape { sides: 4, db: Source::new() },
        Shape { sides: 6, db: Source::new() },
    );
    cache
        .scope(async {
            assert_eq!(square.area(2), 1008);
            assert_eq!(square.area(2), 1008);
            assert_eq!(other.area(2), 1008, "the same sides are the same key");
            assert_eq!(hexagon.area(2), 1012);
            assert_eq!(square.perimeter().await, square.perimeter().await);
            square.perimeter_entry().invalidate().await.unwrap();
            assert_eq!(square.perimeter_refresh().await, 3);
        })
        .await;
}

mod namesakes {
    //! Functions of one name in one module: methods of two types, and functions inside two functions.
    use super::*;

    pub(crate) struct Square;
    pub(crate) struct Circle;

    impl Square {
        #[memoize(skip(self))]
        pub(crate) fn area(&self, n: u64) -> u64 {
            n * n
        }
    }

    impl Circle {
        #[memoize(skip(self))]
        pub(crate) fn area(&self, n: u64) -> u64 {
            n * n * 3
        }
    }

    pub(crate) fn inner_of_one(n: u64) -> u64 {
        #[memoize]
        fn inner(n: u64) -> u64 {
            n + 1
        }
        inner(n)
    }

    pub(crate) async fn inner_of_two(n: u64) -> u64 {
        #[cache_runtime::cache_read(key = auto)]
        async fn inner(n: u64) -> u64 {
            n + 2
        }
        inner(n).await
    }
}

/// P8 D5: a generated key never meets that of another function, of whatever name and place.
#[tokio::test]
async fn namesakes_do_not_meet() {
    let cache = Cache::for_test();
    cache
        .scope(async {
            assert_eq!((namesakes::Square.area(2), namesakes::Circle.area(2)), (4, 12));
            assert_eq!((namesakes::Square.area(2), namesakes::Circle.area(2)), (4, 12));
            assert_eq!((namesakes::inner_of_one(1), namesakes::inner_of_two(1).await), (2, 3));
            namesakes::Square.area_entry(2).invalidate().await.unwrap();
            assert_eq!(namesakes::Circle.area_entry(2).peek().await.unwrap(), Some(12), "another method's entry stays");
        })
        .await;
}

/// B4: it lives in the current cache's memory: scope, tenant and `clear` apply, and a failing store only costs the work.
#[tokio::test]
async fn it_lives_in_the_current_cache() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(sync(&db, 1, &[]), 1);
            Cache::for_test().scope(async { assert_eq!(sync(&db, 1, &[]), 2) }).await;
            Tenant::new("a").unwrap().scope(async { assert_eq!(sync(&db, 1, &[]), 3) }).await;
            assert_eq!(sync(&db, 1, &[]), 1);
            Tenant::new("a").unwrap().scope(async { assert_eq!(sync(&db, 1, &[]), 3) }).await;
            cache.clear().await.unwrap();
            assert_eq!(sync(&db, 1, &[]), 4);
            cache.set_failing(true);
            assert_eq!((sync(&db, 1, &[]), sync(&db, 1, &[])), (5, 6));
            assert_eq!(report(&db, Period::Day, "eu").await, "Day eu 7");
            cache.set_failing(false);
            assert_eq!(sync(&db, 1, &[]), 4);
        })
        .await;
}

//! Counters: `incr` and `decr`, one after another and all at once.

use std::time::Duration;

use cache_runtime::{Cache, ErrorKind, Key, Remaining, cache_read, key};

const SECOND: Duration = Duration::from_secs(1);

#[cache_read(key = "count:<id>")]
async fn count(id: u64) -> i64 {
    i64::try_from(id).unwrap()
}

async fn overflows(cache: &Cache, key: &str, by: i64, stays: i64) {
    assert_eq!(cache.incr(key, by).await.unwrap_err().kind(), ErrorKind::WrongType, "{key} by {by}");
    assert_eq!(cache.get::<i64>(key).await.unwrap(), Some(stays), "{key} is left as it is");
}

everywhere! {
    /// A10: from nothing, up and down, with the expiry kept.
    async fn a_counter_counts(on: &On) {
        let cache = &on.cache;
        assert_eq!(cache.incr("n", 5).await.unwrap(), 5);
        assert_eq!(cache.incr("n", 1).await.unwrap(), 6);
        assert_eq!(cache.decr("n", 10).await.unwrap(), -4);
        assert_eq!(cache.incr("n", 0).await.unwrap(), -4);
        assert_eq!(cache.get::<i64>("n").await.unwrap(), Some(-4));
        assert_eq!(cache.get::<u64>("n").await.unwrap(), None, "it is an `i64`");
        assert_eq!(cache.get_many::<i64>(["n", "m"]).await.unwrap(), [Some(-4), None]);
        assert_eq!(on.other().await.decr("n", 1).await.unwrap(), -5);
        assert_eq!(cache.incr("n", 10).await.unwrap(), 5);
        assert_eq!(cache.decr("stock", 2).await.unwrap(), -2, "a counter begins at 0");
        assert_eq!(cache.incr("zero", 0).await.unwrap(), 0);
        assert!(cache.exists("zero").await.unwrap());
    }

    /// A10 E2: a new counter lives for the bucket `Default`; counting on does not change when it ends.
    async fn a_counter_keeps_its_expiry(on: &On) {
        let cache = &on.cache;
        cache.incr("n", 1).await.unwrap();
        let left = cache.ttl("n").await.unwrap().unwrap().duration().unwrap();
        assert!(left <= SECOND * 300 && left > SECOND * 280, "{left:?}");
        cache.expire("n", 60).await.unwrap();
        cache.incr("n", 1).await.unwrap();
        let left = cache.ttl("n").await.unwrap().unwrap().duration().unwrap();
        assert!(left <= SECOND * 60 && left > SECOND * 45, "{left:?}");
        cache.expire("n", "forever").await.unwrap();
        cache.incr("n", 1).await.unwrap();
        assert_eq!(cache.ttl("n").await.unwrap(), Some(Remaining::Forever));
        cache.expire("n", Duration::from_millis(30)).await.unwrap();
        assert_eq!(cache.incr("n", 1).await.unwrap() % 3, 1, "on from 3, or anew");
        crate::backend::soon("it ends", async || !cache.exists("n").await.unwrap()).await;
        assert_eq!(cache.incr("n", 1).await.unwrap(), 1, "it begins anew after its end");
    }

    /// A10: an `i64` that was set or loaded is counted on, with its life and tags.
    async fn a_number_is_counted_on(on: &On) {
        let cache = &on.cache;
        cache.set("n", 40_i64).ttl(60).tags(["t"]).await.unwrap();
        assert_eq!(cache.incr("n", 2).await.unwrap(), 42);
        assert_eq!(cache.decr("n", 1).await.unwrap(), 41);
        let left = cache.ttl("n").await.unwrap().unwrap().duration().unwrap();
        assert!(left <= SECOND * 60 && left > SECOND * 45, "{left:?}");
        assert_eq!(cache.get::<i64>("n").await.unwrap(), Some(41));
        cache.invalidate("t").await.unwrap();
        assert_eq!(cache.incr("n", 1).await.unwrap(), 1, "the tag took it");
        cache.set("n", 7_i64).await.unwrap();
        assert_eq!(cache.incr("n", 1).await.unwrap(), 8, "a `set` replaces a counter");
        assert_eq!(count(10).await, 10);
        assert_eq!(cache.incr("count:10", 5).await.unwrap(), 15);
        assert_eq!(cache.get::<i64>("count:10").await.unwrap(), Some(15));
    }

    /// A10: what is no `i64`, or would not fit into one, is refused and left as it is.
    async fn what_cannot_be_counted_is_left_as_it_is(on: &On) {
        let cache = &on.cache;
        cache.set("text", "12".to_owned()).await.unwrap();
        cache.set("unsigned", 12_u64).await.unwrap();
        cache.set("small", 12_i32).await.unwrap();
        for key in ["text", "unsigned", "small"] {
            assert_eq!(cache.incr(key, 1).await.unwrap_err().kind(), ErrorKind::WrongType, "{key}");
            assert_eq!(cache.decr(key, 1).await.unwrap_err().kind(), ErrorKind::WrongType, "{key}");
        }
        assert_eq!(cache.get::<String>("text").await.unwrap().as_deref(), Some("12"));
        assert_eq!(cache.get::<u64>("unsigned").await.unwrap(), Some(12));
        assert_eq!(cache.get::<i32>("small").await.unwrap(), Some(12));

        cache.set("max", i64::MAX).await.unwrap();
        overflows(cache, "max", 1, i64::MAX).await;
        overflows(cache, "max", i64::MAX, i64::MAX).await;
        cache.incr("counted", i64::MAX).await.unwrap();
        overflows(cache, "counted", 1, i64::MAX).await;
        assert_eq!(cache.decr("counted", i64::MAX).await.unwrap(), 0);
        cache.incr("low", i64::MIN).await.unwrap();
        overflows(cache, "low", -1, i64::MIN).await;
        assert_eq!(cache.decr("low", 1).await.unwrap_err().kind(), ErrorKind::WrongType);
        assert_eq!(cache.incr("low", 1).await.unwrap(), i64::MIN + 1);
    }

    /// A10: exact to the last digit, at both ends of an `i64`.
    async fn a_counter_is_exact(on: &On) {
        let cache = &on.cache;
        assert_eq!(cache.incr("n", i64::MAX - 1).await.unwrap(), i64::MAX - 1);
        assert_eq!(cache.incr("n", 1).await.unwrap(), i64::MAX);
        assert_eq!(cache.get::<i64>("n").await.unwrap(), Some(i64::MAX));
        assert_eq!(cache.decr("m", i64::MAX).await.unwrap(), -i64::MAX);
        assert_eq!(cache.decr("m", 1).await.unwrap(), i64::MIN);
        assert_eq!(cache.get::<i64>("m").await.unwrap(), Some(i64::MIN));
        cache.set("minus", -1_i64).await.unwrap();
        match cache.decr("minus", i64::MIN).await {
            Ok(sum) => assert_eq!(sum, i64::MAX, "-1 - MIN is MAX"),
            // No server can be told to add what no `i64` can say.
            Err(error) => {
                assert!(on.is_shared() && error.kind() == ErrorKind::WrongType, "{error}");
                assert_eq!(cache.get::<i64>("minus").await.unwrap(), Some(-1));
            }
        }
    }

    /// B5 E4: a counter is an entry like any other: it can be tagged, listed, cleared.
    async fn a_counter_is_an_entry(on: &On) {
        let cache = &on.cache;
        for id in 0..3 {
            cache.incr(key!("hits:<id>"), 1).await.unwrap();
        }
        assert!(cache.tag("hits:0", ["hot"]).await.unwrap());
        assert_eq!(cache.incr("hits:0", 1).await.unwrap(), 2, "it is a counter after that");
        cache.invalidate("hot").await.unwrap();
        assert!(!cache.exists("hits:0").await.unwrap());
        let mut keys = cache.keys("hits:*").collect::<Vec<Key>>().await.unwrap();
        keys.sort();
        assert_eq!(keys, ["hits:1", "hits:2"]);
        assert!(cache.entry_info("hits:1").await.unwrap().is_some());
        assert_eq!(cache.delete_match("hits:1").await.unwrap(), 1);
        cache.clear().await.unwrap();
        assert_eq!(cache.incr("hits:2", 1).await.unwrap(), 1);
    }

    /// A10: concurrent counting loses nothing, by however many callers and processes, also where the counter has to be made.
    async fn concurrent_counting_loses_nothing(on: &On) {
        let (one, two) = (on.cache.clone(), on.other().await);
        let tasks: Vec<_> = (0..8_i64)
            .map(|task| {
                let cache = if task % 2 == 0 { one.clone() } else { two.clone() };
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    for _ in 0..100 {
                        seen.push(cache.incr("n", 1).await.unwrap());
                        cache.decr("down", 3).await.unwrap();
                    }
                    seen
                })
            })
            .collect();
        let mut seen = Vec::new();
        for task in tasks {
            seen.extend(task.await.unwrap());
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(1..=800), "each sum was returned once");
        assert_eq!(one.get::<i64>("n").await.unwrap(), Some(800));
        assert_eq!(one.get::<i64>("down").await.unwrap(), Some(-2400));
    }

    /// A10: a counter that is read and taken out while others count: each count is seen once.
    async fn a_counter_that_is_taken_out_loses_no_count(on: &On) {
        let (one, two) = (on.cache.clone(), on.other().await);
        let counting: Vec<_> = [one.clone(), two.clone(), one.clone(), two.clone()]
            .into_iter()
            .map(|cache| {
                tokio::spawn(async move {
                    for _ in 0..150 {
                        cache.incr("n", 1).await.unwrap();
                    }
                })
            })
            .collect();
        let mut taken = 0;
        while !counting.iter().all(tokio::task::JoinHandle::is_finished) {
            taken += two.pop::<i64>("n").await.unwrap_or_default().unwrap_or_default();
        }
        for task in counting {
            task.await.unwrap();
        }
        taken += one.pop::<i64>("n").await.unwrap().unwrap_or_default();
        assert_eq!(taken, 600);
    }

    /// A10 B5: a counter that gets tags while others count loses no count, and keeps the tags.
    async fn a_counter_that_is_tagged_loses_no_count(on: &On) {
        let (one, two) = (on.cache.clone(), on.other().await);
        one.incr("n", 1).await.unwrap();
        let counting = tokio::spawn(async move {
            for _ in 0..300 {
                two.incr("n", 1).await.unwrap();
            }
        });
        let mut tag = 0;
        while !counting.is_finished() {
            one.tag("n", [format!("tag:{}", tag % 8)]).await.unwrap();
            tag += 1;
        }
        counting.await.unwrap();
        assert_eq!(one.get::<i64>("n").await.unwrap(), Some(301));
        one.tag("n", ["last"]).await.unwrap();
        one.invalidate(if tag > 0 { "tag:0" } else { "last" }).await.unwrap();
        assert!(!one.exists("n").await.unwrap());
    }
}

//! What is served when, by age. Lives are short enough for a test and long enough for a busy machine.

use cache_runtime::cache_read;

use super::fleet::soon;
use super::{Broken, Source, everywhere, ms};

#[cache_read(key = "early", cache = cache, ttl = "60s", early_ttl = "300ms", skip(cache, source))]
async fn early(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "stale", cache = cache, ttl = "300ms", stale = "60s", skip(cache, source))]
async fn stale(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "failing", cache = cache, ttl = "300ms", stale_if_error = "60s", tags = ["t"], skip(cache, source))]
async fn failing(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "both", cache = cache, ttl = "200ms", stale = "300ms", stale_if_error = "60s", tags = ["t"], skip(cache, source))]
async fn both(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "briefly", cache = cache, ttl = "200ms", stale = "300ms", skip(cache, source))]
async fn briefly(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

/// An error that cannot be cloned, and so is not shared with those who wait.
#[derive(Debug, PartialEq, Eq)]
struct Unshared;

#[cache_read(key = "unshared", cache = cache, ttl = "300ms", stale_if_error = "60s", skip(cache, source))]
async fn unshared(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Unshared> {
    source.load().await.map_err(|_| Unshared)
}

everywhere! {
    /// A3: from `early_ttl` on, a hit is served at once, and one refresh is begun.
    async fn a_hit_past_its_early_age_is_served_and_refreshed_once(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        let there = on.other().await;
        assert_eq!(early(cache, source).await, Ok(0));
        assert_eq!((early(cache, source).await, source.loads()), (Ok(0), 1));
        source.set(1);
        source.slow(200);
        ms(350).await;
        for _ in 0..10 {
            assert_eq!((early(cache, source).await, early(&there, source).await), (Ok(0), Ok(0)));
        }
        soon("the refresh", || cache.stats().background + there.stats().background == 0).await;
        assert_eq!(source.loads(), 2, "one refresh for all");
        source.slow(0);
        assert_eq!((early(cache, source).await, early(&there, source).await), (Ok(1), Ok(1)));
        assert_eq!(source.loads(), 2);
        assert!(early::stats(cache).early >= 10 && cache.stats().early >= 10);
    }

    /// A3: a refresh that fails leaves the old value, and the source alone for a while.
    async fn an_early_refresh_that_fails_leaves_the_value(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(early(cache, source).await, Ok(0));
        source.breaks(true);
        ms(350).await;
        assert_eq!(early(cache, source).await, Ok(0));
        soon("the refresh", || cache.stats().background == 0).await;
        for _ in 0..10 {
            assert_eq!(early(cache, source).await, Ok(0));
        }
        assert_eq!(source.loads(), 2);
    }

    /// N8: after its ttl, a value is served while one caller refreshes it.
    async fn a_stale_value_is_served_while_it_is_refreshed(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(stale(cache, source).await, Ok(0));
        source.set(1);
        source.slow(200);
        ms(350).await;
        for _ in 0..10 {
            assert_eq!(stale(cache, source).await, Ok(0));
        }
        soon("the refresh", || cache.stats().background == 0).await;
        assert_eq!(stale(cache, source).await, Ok(1));
        assert_eq!(source.loads(), 2);
        assert_eq!((stale::stats(cache).stale, cache.stats().stale), (10, 10));
    }

    /// N8: past its window, a value is gone.
    async fn a_value_past_its_window_is_loaded_again(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(briefly(cache, source).await, Ok(0));
        source.set(1);
        ms(600).await;
        assert_eq!(briefly(cache, source).await, Ok(1));
        assert_eq!(briefly::stats(cache).stale, 0);
    }

    /// P1: what was invalidated is not served as stale, nor as a substitute for an error.
    async fn what_was_invalidated_is_never_served_as_old(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!((failing(cache, source).await, both(cache, source).await), (Ok(0), Ok(0)));
        ms(350).await;
        cache.invalidate_tags(["t"]).await.unwrap();
        source.breaks(true);
        assert_eq!((failing(cache, source).await, both(cache, source).await), (Err(Broken::Source), Err(Broken::Source)));
        source.breaks(false);
        source.set(1);
        assert_eq!((failing(cache, source).await, both(cache, source).await), (Ok(1), Ok(1)));
    }

    /// P1: a refresh in the background that began before an invalidation does not store what it loaded.
    async fn a_late_refresh_does_not_bring_back_what_was_invalidated(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(both(cache, source).await, Ok(0));
        ms(250).await;
        source.slow(400);
        assert_eq!(both(cache, source).await, Ok(0), "stale, and refreshed");
        soon("the refresh", || source.loads() == 2).await;
        source.set(1);
        source.slow(0);
        cache.invalidate_tags(["t"]).await.unwrap();
        assert_eq!(both(cache, source).await, Ok(1));
        soon("the late refresh", || cache.stats().background == 0).await;
        assert_eq!(both(cache, source).await, Ok(1));
    }

    /// P1: neither if nobody asked meanwhile.
    async fn a_late_refresh_that_nobody_waits_for_stores_nothing(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(both(cache, source).await, Ok(0));
        ms(250).await;
        source.slow(200);
        assert_eq!(both(cache, source).await, Ok(0), "stale, and refreshed");
        soon("the refresh", || source.loads() == 2).await;
        source.set(1);
        cache.invalidate_tags(["t"]).await.unwrap();
        soon("the late refresh", || cache.stats().background == 0).await;
        assert_eq!((both(cache, source).await, source.loads()), (Ok(1), 3));
    }

    /// N8: where the loader fails, the old value is served, and the source left alone for a while.
    async fn an_error_is_replaced_by_an_old_value(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(failing(cache, source).await, Ok(0));
        ms(350).await;
        source.breaks(true);
        for _ in 0..10 {
            assert_eq!(failing(cache, source).await, Ok(0));
        }
        assert_eq!(source.loads(), 2, "one attempt, and then a pause");
        assert_eq!(failing::stats(cache).stale, 10);
        source.breaks(false);
        source.set(1);
        ms(1100).await;
        assert_eq!(failing(cache, source).await, Ok(1));
    }

    /// N8: many callers of an expired value whose source fails: all are served, and the source is asked about once.
    async fn a_failing_source_is_not_stormed(on: &On) {
        let (cache, source) = (on.cache.clone(), on.source.clone());
        assert_eq!(failing(&cache, &source).await, Ok(0));
        ms(350).await;
        source.breaks(true);
        source.slow(100);
        let callers: Vec<_> = (0..50).map(|_| {
            let (cache, source) = (cache.clone(), source.clone());
            tokio::spawn(async move { failing(&cache, &source).await })
        }).collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(0));
        }
        assert!(source.loads() <= 3, "{} loads", source.loads());
    }

    /// N8: so too where an error is not shared with those who wait.
    async fn a_failing_source_is_not_stormed_by_those_who_wait(on: &On) {
        let (cache, source) = (on.cache.clone(), on.source.clone());
        assert_eq!(unshared(&cache, &source).await, Ok(0));
        ms(350).await;
        source.breaks(true);
        source.slow(100);
        let callers: Vec<_> = (0..50).map(|_| {
            let (cache, source) = (cache.clone(), source.clone());
            tokio::spawn(async move { unshared(&cache, &source).await })
        }).collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(0));
        }
        assert!(source.loads() <= 3, "{} loads", source.loads());
    }
}

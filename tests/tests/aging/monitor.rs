//! N15: calls that were answered from the cache are compared with the source.

use std::sync::Arc;

use cache_runtime::{Cache, cache_read, cache_write};

use super::fleet::{soon, within};
use super::{Broken, Source, everywhere, ms};

#[cache_read(key = "m:<n>", cache = cache, ttl = "5m", monitor = "100%", tags = ["m:<n>"], skip(cache, source))]
async fn all(cache: &Cache, source: &Source, n: u64) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "shared:<n>", cache = cache, ttl = "5m", monitor = "50%", skip(cache, source))]
async fn half(cache: &Cache, source: &Source, n: u64) -> Arc<u64> {
    Arc::new(source.load().await.unwrap_or_default())
}

#[cache_read(key = "absent:<n>", cache = cache, ttl = "5m", monitor = "100%", skip(cache, source))]
async fn maybe(cache: &Cache, source: &Source, n: u64) -> Option<u64> {
    source.load().await.ok().filter(|value| *value > 0)
}

#[cache_read(key = "off:<n>", cache = cache, ttl = "5m", skip(cache, source))]
async fn off(cache: &Cache, source: &Source, n: u64) -> u64 {
    source.load().await.unwrap_or_default()
}

/// Commits, and takes its time before it returns.
#[cache_write(cache = cache, tags = ["m:<n>"])]
async fn write(cache: &Cache, source: &Source, n: u64, value: u64) {
    let _ = n;
    source.set(value);
    ms(300).await;
}

everywhere! {
    /// N15: somebody writes past the cache.
    async fn a_value_that_differs_from_its_source_for_long_is_counted(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        for n in 0..3 {
            assert_eq!(all(cache, source, n).await, Ok(0));
            assert!(maybe(cache, source, n).await.is_none());
        }
        source.set(1);
        for n in 0..3 {
            // The answer is not touched.
            assert_eq!(all(cache, source, n).await, Ok(0));
            assert_eq!(maybe(cache, source, n).await, None);
        }
        soon("disagreements", || cache.stats().disagreed == 6).await;
        assert_eq!(cache.stats().checked, 6);
        assert_eq!(all(cache, source, 0).await, Ok(0), "a check stores nothing");
        within("the end", cache.close()).await.unwrap();
    }

    /// N15: what is written as it should be never counts, also not between commit and invalidation.
    async fn a_write_is_no_disagreement(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        for value in 1..6 {
            let writing = write(cache, source, 0, value);
            let reading = async {
                for _ in 0..40 {
                    all(cache, source, 0).await.unwrap();
                    ms(8).await;
                }
            };
            tokio::join!(writing, reading);
        }
        soon("the checks", || cache.stats().background == 0).await;
        let stats = cache.stats();
        assert!(stats.checked > 5, "{stats:?}");
        assert_eq!(stats.disagreed, 0);
    }

    /// N15: a source that fails says nothing, and nobody hears of it.
    async fn a_check_that_fails_is_nothing(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        all(cache, source, 0).await.unwrap();
        source.breaks(true);
        for _ in 0..5 {
            assert_eq!(all(cache, source, 0).await, Ok(0));
        }
        soon("the checks", || cache.stats().background == 0).await;
        assert_eq!((cache.stats().checked, cache.stats().disagreed), (0, 0));
        assert!(source.loads() > 1);
    }

    /// N15: a share, and nothing where it is off.
    async fn only_a_share_is_checked(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        off(cache, source, 0).await;
        for _ in 0..100 {
            off(cache, source, 0).await;
        }
        assert_eq!((source.loads(), cache.stats().checked), (1, 0));
        half(cache, source, 0).await;
        for _ in 0..200 {
            half(cache, source, 0).await;
            soon("the check", || cache.stats().background == 0).await;
        }
        let checked = cache.stats().checked;
        assert!((50..150).contains(&checked), "{checked}");
    }
}

//! What a slow source costs.

use cache_runtime::{ErrorKind, cache_read};

use super::fleet::{now, soon};
use super::{Broken, Source, everywhere, ms};

#[cache_read(key = "hard", cache = cache, ttl = "60s", timeout = "150ms", skip(cache, source))]
async fn hard(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "saved", cache = cache, ttl = "100ms", stale_if_error = "60s", timeout = "150ms", skip(cache, source))]
async fn saved(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "soft", cache = cache, ttl = "100ms", stale = "60s", soft_timeout = "100ms", skip(cache, source))]
async fn soft(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "given up", cache = cache, ttl = "100ms", stale = "60s", soft_timeout = "50ms", timeout = "300ms", skip(cache, source))]
async fn given_up(cache: &cache_runtime::Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

everywhere! {
    /// N8: after `timeout` the error is returned, and the loader is given up.
    async fn a_loader_is_given_up_after_its_timeout(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        source.slow(5_000);
        let began = now();
        assert_eq!(hard(cache, source).await, Err(Broken::Cache(ErrorKind::Timeout)));
        assert!(began.elapsed().as_millis() < 2_000);
        source.slow(0);
        assert_eq!(hard(cache, source).await, Ok(0), "nothing is wedged");
        assert_eq!((hard(cache, source).await, source.loads()), (Ok(0), 2));
    }

    /// N8: who waits for another's load is not kept longer either.
    async fn a_waiter_is_not_kept_longer_than_its_timeout(on: &On) {
        let (cache, source) = (on.cache.clone(), on.source.clone());
        source.slow(5_000);
        let began = now();
        let callers: Vec<_> = (0..10).map(|_| {
            let (cache, source) = (cache.clone(), source.clone());
            tokio::spawn(async move { hard(&cache, &source).await })
        }).collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Err(Broken::Cache(ErrorKind::Timeout)));
        }
        assert!(began.elapsed().as_millis() < 2_000);
    }

    /// N8: a timeout is a failure that an old value may replace.
    async fn a_timeout_is_replaced_by_an_old_value(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(saved(cache, source).await, Ok(0));
        ms(150).await;
        source.slow(5_000);
        assert_eq!(saved(cache, source).await, Ok(0));
        let began = now();
        assert_eq!(saved(cache, source).await, Ok(0));
        assert!(began.elapsed().as_millis() < 100, "the source is left alone for a while");
    }

    /// N8: after `soft_timeout` the old value is returned, and the loader goes on and stores.
    async fn a_slow_loader_goes_on_after_the_soft_timeout(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(soft(cache, source).await, Ok(0));
        ms(150).await;
        source.set(1);
        assert_eq!(soft(cache, source).await, Ok(1), "a quick source is waited for");
        ms(150).await;
        source.set(2);
        source.slow(400);
        let began = now();
        assert_eq!(soft(cache, source).await, Ok(1));
        assert!((80..390).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        let loads = source.loads();
        soon("the loader", || cache.stats().background == 0).await;
        assert_eq!(soft(cache, source).await, Ok(2));
        assert_eq!(source.loads(), loads);
    }

    /// N8: what goes on in the background is given up after `timeout`, too.
    async fn a_loader_in_the_background_is_given_up(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(given_up(cache, source).await, Ok(0));
        ms(150).await;
        source.slow(60_000);
        assert_eq!(given_up(cache, source).await, Ok(0));
        soon("the end", || cache.stats().background == 0).await;
        source.slow(0);
        source.set(1);
        ms(1100).await;
        assert_eq!(given_up(cache, source).await, Ok(1));
    }

    /// A3: closing waits for what runs in the background.
    async fn closing_waits_for_a_refresh(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(soft(cache, source).await, Ok(0));
        ms(150).await;
        source.slow(300);
        assert_eq!(soft(cache, source).await, Ok(0));
        cache.close().await.unwrap();
        assert_eq!((source.loads(), cache.stats().background), (2, 0));
    }
}

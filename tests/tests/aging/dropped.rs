//! Calls that are dropped at their n-th poll, for every n: nothing wedges, nothing is stored that may not be.

use std::collections::HashMap;
use std::future::Future;
use std::task::Poll;

use cache_runtime::{Cache, cache_read};

use super::fleet::{Hand, soon, within};
use super::{Broken, Source, everywhere, ms};

#[cache_read(key = "d:<n>", cache = cache, ttl = "200ms", early_ttl = "100ms", stale = "200ms", stale_if_error = "60s", timeout = "10s", lock = true, tags = ["d:<n>"], skip(cache, source))]
async fn all(cache: &Cache, source: &Source, n: u64) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "s:<n>", cache = cache, ttl = "100ms", stale = "60s", soft_timeout = "20ms", tags = ["s:<n>"], skip(cache, source))]
async fn soft(cache: &Cache, source: &Source, n: u64) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(each(n in ns), key = "bd:<n>", cache = cache, ttl = "200ms", early_ttl = "100ms", stale = "200ms", stale_if_error = "60s", timeout = "10s", lock = true, tags = ["bd:<n>"], skip(cache, source))]
async fn all_of(cache: &Cache, source: &Source, ns: Vec<u64>) -> Result<HashMap<u64, u64>, Broken> {
    let value = source.load().await?;
    Ok(ns.into_iter().map(|n| (n, value)).collect())
}

#[cache_read(each(n in ns), key = "bs:<n>", cache = cache, ttl = "100ms", stale = "60s", soft_timeout = "20ms", tags = ["bs:<n>"], skip(cache, source))]
async fn soft_of(cache: &Cache, source: &Source, ns: Vec<u64>) -> Result<HashMap<u64, u64>, Broken> {
    let value = source.load().await?;
    Ok(ns.into_iter().map(|n| (n, value)).collect())
}

/// One of three elements: another one is never invalidated, and the last one is never there before.
async fn all_in_batch(cache: &Cache, source: &Source, n: u64) -> Result<u64, Broken> {
    Ok(all_of(cache, source, vec![n + 10_000, n, 20_000 + source.loads()]).await?[&n])
}

/// One of two elements, so that all of them may be old.
async fn soft_in_batch(cache: &Cache, source: &Source, n: u64) -> Result<u64, Broken> {
    Ok(soft_of(cache, source, vec![n, n + 10_000]).await?[&n])
}

/// Drops `call` at its n-th poll; whether it had returned by then.
async fn dropped_at<T: Send + 'static>(n: usize, call: impl Future<Output = T> + Send + 'static) -> bool {
    let mut hand = Hand::new(call);
    for poll in 0..n {
        if hand.poll().is_ready() {
            return true;
        }
        if poll + 1 < n {
            hand.woken().await;
        }
    }
    matches!(hand.poll(), Poll::Ready(_))
}

/// Every state, every number of polls until the call is over before it is dropped.
macro_rules! every_poll {
    ($on:ident, $function:ident, $tag:literal, [$($age:literal)*]) => {
        for (state, age) in [$(Some($age),)* None].into_iter().enumerate() {
            for n in 0_u64..60 {
                let (cache, source) = ($on.cache.clone(), Source::default());
                let id = state as u64 * 100 + n;
                if let Some(age) = age {
                    assert_eq!($function(&cache, &source, id).await, Ok(0));
                    ms(age).await;
                }
                source.set(1);
                source.slow(3);
                let over = {
                    let (cache, source) = (cache.clone(), source.clone());
                    dropped_at(n as usize, async move { $function(&cache, &source, id).await }).await
                };
                // Nobody who comes now waits for one who has gone.
                let next = within("the next call", $function(&cache, &source, id)).await;
                assert!(matches!(next, Ok(0 | 1)), "{next:?}");
                // And once it was invalidated, nobody gets what was there, nor what was being loaded.
                source.set(2);
                cache.invalidate_tags([format!($tag, id)]).await.unwrap();
                assert_eq!(within("the call after", $function(&cache, &source, id)).await, Ok(2));
                soon("the background", || cache.stats().background + cache.stats().flights == 0).await;
                assert_eq!(within("the last call", $function(&cache, &source, id)).await, Ok(2));
                if over {
                    break;
                }
                assert!(n < 59, "it never ends");
            }
        }
        soon("the end", || $on.cache.stats().background + $on.cache.stats().flights == 0).await;
    };
}

everywhere! {
    /// P2: in every state.
    async fn a_call_may_be_dropped_at_any_poll(on: &On) {
        every_poll!(on, all, "d:{}", [0 120 250 450]);
    }

    /// P2: while it waits for a loader that is to go on without it.
    async fn a_call_with_a_soft_timeout_may_be_dropped_at_any_poll(on: &On) {
        every_poll!(on, soft, "s:{}", [0 150]);
    }
    /// P2: so may one of a batch function.
    async fn a_batch_may_be_dropped_at_any_poll(on: &On) {
        every_poll!(on, all_in_batch, "bd:{}", [0 120 250 450]);
    }

    /// P2: and one of which a load is to go on without it.
    async fn a_batch_with_a_soft_timeout_may_be_dropped_at_any_poll(on: &On) {
        every_poll!(on, soft_in_batch, "bs:{}", [0 150]);
    }
}

//! N15: calls that were answered from the cache are compared with the source; so are elements of batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, cache_read, cache_write};

use super::batch::Rows;
use super::fleet::{now, soon, within};
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

#[cache_read(each(id in ids), key = "mb:<id>", cache = cache, ttl = "5m", monitor = "100%", tags = ["m:<id>"], skip(cache, rows))]
async fn each(cache: &Cache, rows: &Rows, ids: Vec<u64>) -> Result<HashMap<u64, u64>, Broken> {
    rows.load(ids).await
}

#[cache_read(each(id in ids), key = "mh:<id>", cache = cache, ttl = "5m", monitor = "50%", skip(cache, rows))]
async fn half_of_each(cache: &Cache, rows: &Rows, ids: &[u64]) -> Result<Vec<Option<Arc<u64>>>, Broken> {
    let mut found = rows.load(ids.to_vec()).await?;
    Ok(ids.iter().map(|id| found.remove(id).map(Arc::new)).collect())
}

#[cache_read(each(id in ids), key = "ms:<id>", cache = cache, ttl = "100ms", stale = "60s", monitor = "100%", skip(cache, rows))]
async fn stale_each(cache: &Cache, rows: &Rows, ids: Vec<u64>) -> Result<HashMap<u64, u64>, Broken> {
    rows.load(ids).await
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

    /// N15: of a batch, what was found is checked by one call of the body, which asks for nothing else; each element counts.
    async fn elements_of_a_batch_are_checked_together(on: &On) {
        let (cache, rows) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        let old = HashMap::from([(1, 100), (2, 200), (3, 300)]);
        assert_eq!(each(cache, &rows, vec![1, 2, 3, 901]).await, Ok(old.clone()));
        soon("the background", || cache.stats().background == 0).await;
        assert_eq!((rows.asked(), cache.stats().checked), (vec![vec![1, 2, 3, 901]], 0), "what was loaded is not checked");
        on.source.set(1);
        let all = HashMap::from([(1, 100), (2, 200), (3, 300), (4, 401)]);
        assert_eq!(each(cache, &rows, vec![3, 4, 901, 2, 1, 3]).await, Ok(all), "the answer is not touched");
        soon("disagreements", || each::stats(cache).disagreed == 3).await;
        soon("the background", || cache.stats().background == 0).await;
        assert_eq!(rows.asked(), [vec![1, 2, 3, 901], vec![4]], "the check, and the load");
        let stats = each::stats(cache);
        assert_eq!((stats.checked, stats.disagreed), (4, 3), "the absent one is absent");
        on.source.breaks(true);
        assert_eq!(each(cache, &rows, vec![1, 2, 3]).await, Ok(old), "a check stores nothing");
        soon("the background", || cache.stats().background == 0).await;
        assert_eq!((each::stats(cache).checked, each::stats(cache).disagreed), (4, 3), "a source that fails says nothing");
        within("the end", cache.close()).await.unwrap();
    }

    /// N15: what a write invalidates soon after it was found to differ never counts; what goes past the cache does, beside it.
    async fn elements_that_are_invalidated_do_not_disagree(on: &On) {
        let (cache, rows) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        // Until the machine was quick enough: a write has a second between its commit and its invalidation.
        for turn in 0.. {
            let (id, other) = (2 * turn + 1, 2 * turn + 2);
            on.source.set(0);
            each(cache, &rows, vec![id, other]).await.unwrap();
            on.source.set(1);
            let before = each::stats(cache);
            let began = now();
            each(cache, &rows, vec![id, other]).await.unwrap();
            soon("the check", || each::stats(cache).checked == before.checked + 2).await;
            cache.invalidate_tags([format!("m:{id}")]).await.unwrap();
            let is_clear = began.elapsed() < Duration::from_millis(900);
            soon("disagreements", || each::stats(cache).disagreed > before.disagreed).await;
            soon("the background", || cache.stats().background == 0).await;
            if is_clear {
                assert_eq!(each::stats(cache).disagreed, before.disagreed + 1);
                let rows = each(cache, &rows, vec![id, other]).await;
                assert_eq!(rows, Ok(HashMap::from([(id, 100 * id + 1), (other, 100 * other)])));
                return;
            }
        }
    }

    /// N15: what is refreshed anyhow is not asked for twice.
    async fn old_elements_are_refreshed_and_not_checked(on: &On) {
        let (cache, rows) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        stale_each(cache, &rows, vec![1, 2]).await.unwrap();
        ms(150).await;
        on.source.set(1);
        rows.asked();
        assert_eq!(stale_each(cache, &rows, vec![1, 2]).await, Ok(HashMap::from([(1, 100), (2, 200)])));
        soon("the background", || cache.stats().background == 0).await;
        assert_eq!((rows.asked(), stale_each::stats(cache).checked), (vec![vec![1, 2]], 0));
    }

    /// N15: each element is drawn by itself.
    async fn only_a_share_of_the_elements_is_checked(on: &On) {
        let (cache, rows) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        let ids: Vec<u64> = (1..=200).collect();
        half_of_each(cache, &rows, &ids).await.unwrap();
        rows.asked();
        half_of_each(cache, &rows, &ids).await.unwrap();
        soon("the check", || cache.stats().background == 0).await;
        let (asked, stats) = (rows.asked(), half_of_each::stats(cache));
        assert_eq!(asked.len(), 1, "one call of the body");
        assert!((50..150).contains(&asked[0].len()), "{asked:?}");
        assert_eq!((stats.checked, stats.disagreed), (asked[0].len() as u64, 0));
        assert!(asked[0].windows(2).any(|pair| pair[1] - pair[0] > 1), "some between them are left out: {asked:?}");
    }
}

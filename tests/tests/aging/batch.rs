//! Batch functions: each element has an age of its own, and one call serves, loads and refreshes elements of every age.

use std::collections::HashMap;
use std::sync::Arc;

use cache_runtime::{Cache, ErrorKind, Tenant, cache_read, cache_write};
use parking_lot::Mutex;

use super::fleet::{now, soon, within};
use super::{Broken, Source, everywhere, ms};

/// A source of rows `100 * id + version`, which remembers what it was asked for. Rows from 900 on are not there.
#[derive(Clone, Default)]
pub(super) struct Rows {
    pub(super) source: Source,
    pub(super) asked: Arc<Mutex<Vec<Vec<u64>>>>,
}

impl Rows {
    pub(super) async fn load(&self, ids: Vec<u64>) -> Result<HashMap<u64, u64>, Broken> {
        let mut asked = ids.clone();
        asked.sort_unstable();
        self.asked.lock().push(asked);
        let version = self.source.load().await?;
        Ok(ids.into_iter().filter(|id| *id < 900).map(|id| (id, 100 * id + version)).collect())
    }

    /// What it was asked for since the last time, in any order.
    pub(super) fn asked(&self) -> Vec<Vec<u64>> {
        let mut asked = std::mem::take(&mut *self.asked.lock());
        asked.sort_unstable();
        asked
    }
}

type Rets = Result<HashMap<u64, u64>, Broken>;

/// These rows, in this version.
fn rows<const N: usize>(of: [(u64, u64); N]) -> Rets {
    Ok(of.into_iter().map(|(id, version)| (id, 100 * id + version)).collect())
}

#[cache_read(each(id in ids), key = "m:<id>", cache = cache, ttl = "1s", early_ttl = "500ms", stale = "60s", tags = ["m:<id>"], skip(cache, db))]
async fn mixed(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(each(id in ids), key = "e:<id>", cache = cache, ttl = "60s", early_ttl = "500ms", skip(cache, db))]
async fn early(cache: &Cache, db: &Rows, ids: &[u64]) -> Rets {
    db.load(ids.to_vec()).await
}

#[cache_read(each(id in ids), key = "st:<id>", cache = cache, ttl = "300ms", stale = "60s", tags = ["of:st:<id>", "st"], skip(cache, db))]
async fn stale(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(each(id in ids), key = "lk:<id>", cache = cache, ttl = "300ms", stale = "60s", lock = true, skip(cache, db))]
async fn locked(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(each(id in ids), key = "f:<id>", cache = cache, ttl = "300ms", stale_if_error = "60s", tags = ["f:<id>"], skip(cache, db))]
async fn failing(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(each(id in ids), key = "so:<id>", cache = cache, ttl = "300ms", stale = "60s", soft_timeout = "200ms", tags = ["of:so:<id>"], skip(cache, db))]
async fn soft(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(each(id in ids), key = "h:<id>", cache = cache, ttl = "60s", timeout = "400ms", skip(cache, db))]
async fn hard(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(each(id in ids), key = "sv:<id>", cache = cache, ttl = "100ms", stale_if_error = "60s", timeout = "400ms", skip(cache, db))]
async fn saved(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(each(id in ids), key = "sl:<id>", cache = cache, ttl = "600ms", refresh = true, skip(cache, db))]
async fn sliding(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(each(id in ids), key = "ss:<id>", cache = cache, ttl = "600ms", stale = "60s", refresh = true, skip(cache, db))]
async fn sliding_stale(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(each(id in ids), key = "a:<id>", cache = cache, ttl = "1500ms", early_ttl = auto, skip(cache, db))]
async fn adaptive(cache: &Cache, db: &Rows, ids: Vec<u64>) -> Rets {
    db.load(ids).await
}

#[cache_read(key = "a1:<id>", cache = cache, ttl = "1500ms", early_ttl = auto, skip(cache, db))]
async fn adaptive_one(cache: &Cache, db: &Rows, id: u64) -> Result<Option<u64>, Broken> {
    Ok(db.load(vec![id]).await?.remove(&id))
}

#[cache_write(tags = ["st"], recache = [stale(cache, db, vec![1, 2])], cache = cache)]
async fn write(cache: &Cache, db: &Rows, version: u64) -> Result<(), Broken> {
    db.source.set(version);
    Ok(())
}

/// Waits until nothing runs in the background.
async fn settled(cache: &Cache) {
    soon("the background", || cache.stats().background + cache.stats().flights == 0).await;
}

everywhere! {
    /// A3, N8: fresh, early, stale, absent, missing and invalidated elements in one call: two calls of the body, one of which
    /// nobody waits for.
    async fn one_call_has_elements_of_every_age(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        assert_eq!(mixed(cache, &db, vec![1, 5, 901]).await, rows([(1, 0), (5, 0)]));
        ms(550).await;
        assert_eq!(mixed(cache, &db, vec![2]).await, rows([(2, 0)]));
        ms(550).await;
        assert_eq!(mixed(cache, &db, vec![3]).await, rows([(3, 0)]));
        assert_eq!(db.asked(), [vec![1, 5, 901], vec![2], vec![3]]);
        let before = mixed::stats(cache);
        cache.invalidate_tags(["m:5"]).await.unwrap();
        db.source.set(1);
        db.source.slow(50);
        let got = mixed(cache, &db, vec![4, 1, 2, 901, 4, 3, 5, 1]).await;
        assert_eq!(got, rows([(1, 0), (2, 0), (3, 0), (4, 1), (5, 1)]), "old, old, fresh, new, new");
        settled(cache).await;
        assert_eq!(db.asked(), [vec![1, 2, 901], vec![4, 5]], "what is refreshed, and what is waited for");
        let stats = mixed::stats(cache);
        let grown = [stats.hits - before.hits, stats.misses - before.misses, stats.early - before.early, stats.stale - before.stale, stats.loads - before.loads];
        assert_eq!(grown, [4, 2, 1, 2, 2], "hits, misses, early, stale, loads");
        let got = mixed(cache, &db, vec![1, 2, 4, 5, 901]).await;
        assert_eq!((got, db.asked()), (rows([(1, 1), (2, 1), (4, 1), (5, 1)]), vec![]), "all of them are fresh");
        assert_eq!(mixed(cache, &db, vec![]).await, rows([]));
        assert_eq!(db.asked(), Vec::<Vec<u64>>::new(), "nothing is asked for, so the body does not run");
    }

    /// A3: elements past their early age are refreshed by one call of the body in all processes, each element once.
    async fn overlapping_batches_refresh_every_element_once_in_the_fleet(on: &On) {
        let (cache, db, there) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() }, on.other().await);
        early(cache, &db, &[1, 2, 3, 4, 5]).await.unwrap();
        ms(550).await;
        db.asked();
        db.source.set(1);
        db.source.slow(600);
        let old = rows([(1, 0), (2, 0), (3, 0)]);
        for _ in 0..3 {
            let (here, elsewhere) = tokio::join!(early(cache, &db, &[1, 2, 3]), early(&there, &db, &[3, 4, 5]));
            assert_eq!((here, elsewhere), (old.clone(), rows([(3, 0), (4, 0), (5, 0)])));
        }
        settled(cache).await;
        settled(&there).await;
        let mut asked: Vec<u64> = db.asked().concat();
        asked.sort_unstable();
        assert_eq!(asked, [1, 2, 3, 4, 5], "one refresh of each");
        db.source.slow(0);
        let new = rows([(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        assert_eq!((early(cache, &db, &[1, 2, 3, 4, 5]).await, early(&there, &db, &[1, 2, 3, 4, 5]).await), (new.clone(), new));
        assert_eq!(db.asked(), Vec::<Vec<u64>>::new());
    }

    /// A3, A5: so too with `lock`; what others are at is left out, and nothing at all is asked for if that is all.
    async fn what_somebody_else_refreshes_is_left_out(on: &On) {
        let (cache, db, there) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() }, on.other().await);
        locked(cache, &db, vec![1, 2, 3]).await.unwrap();
        ms(350).await;
        db.asked();
        db.source.slow(600);
        db.source.set(1);
        assert_eq!(locked(cache, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]));
        soon("the refresh", || db.source.loads() == 2).await;
        assert_eq!(locked(&there, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]));
        assert_eq!(locked(&there, &db, vec![1, 2, 3]).await, rows([(1, 0), (2, 0), (3, 0)]));
        settled(cache).await;
        settled(&there).await;
        assert_eq!(db.asked(), [vec![1, 2], vec![3]]);
    }

    /// P1: what was invalidated is never served as old; nor is what a refresh loaded that began before, while the other
    /// elements of that refresh are.
    async fn a_late_refresh_brings_back_nothing_that_was_invalidated(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        stale(cache, &db, vec![1, 2]).await.unwrap();
        ms(350).await;
        db.source.slow(300);
        assert_eq!(stale(cache, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]));
        soon("the refresh", || db.source.loads() == 2).await;
        db.source.set(1);
        cache.invalidate_tags(["of:st:1"]).await.unwrap();
        db.source.slow(0);
        db.asked();
        assert_eq!(stale(cache, &db, vec![1, 2]).await, rows([(1, 1), (2, 0)]));
        assert_eq!(db.asked(), [[1]]);
        settled(cache).await;
        // What the refresh stored for 2 may be old again by now, on a busy machine.
        let last = stale(cache, &db, vec![1, 2]).await.unwrap();
        assert_eq!(last.get(&1), Some(&101), "the refresh has ended, and was stored for 2 only");
    }

    /// P1: the same where nobody asks before the refresh has ended.
    async fn a_late_refresh_that_nobody_waits_for_stores_nothing_that_was_invalidated(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        stale(cache, &db, vec![1, 2]).await.unwrap();
        ms(350).await;
        db.source.slow(200);
        stale(cache, &db, vec![1, 2]).await.unwrap();
        soon("the refresh", || db.source.loads() == 2).await;
        db.source.set(1);
        stale::invalidate(cache, 1).await.unwrap();
        settled(cache).await;
        db.source.slow(0);
        db.asked();
        assert_eq!(stale(cache, &db, vec![1, 2]).await, rows([(1, 1), (2, 0)]));
        assert_eq!(db.asked(), [[1]]);
    }

    /// A3, N8: a refresh that fails leaves the old values, and their source alone for a while.
    async fn a_refresh_that_fails_leaves_the_old_values(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        stale(cache, &db, vec![1, 2]).await.unwrap();
        ms(350).await;
        db.source.breaks(true);
        for _ in 0..5 {
            assert_eq!(stale(cache, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]));
            settled(cache).await;
        }
        assert_eq!(db.asked().len(), 2, "a load and an attempt");
        db.source.breaks(false);
        db.source.set(1);
        ms(1100).await;
        assert_eq!(stale(cache, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]));
        settled(cache).await;
        assert_eq!(stale(cache, &db, vec![1, 2]).await, rows([(1, 1), (2, 1)]));
    }

    /// N8: a failing body is made up for by old values where each missing element has one, and is returned where not. What has
    /// one is not asked for again for a while.
    async fn an_error_is_replaced_where_every_missing_element_has_an_old_value(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        failing(cache, &db, vec![1, 2, 3]).await.unwrap();
        ms(350).await;
        db.source.set(1);
        failing(cache, &db, vec![3]).await.unwrap();
        cache.invalidate_tags(["f:2"]).await.unwrap();
        db.source.breaks(true);
        db.asked();
        assert_eq!(failing(cache, &db, vec![1, 2, 3]).await, Err(Broken::Source), "nothing is there in place of 2");
        assert_eq!(failing(cache, &db, vec![1, 3]).await, rows([(1, 0), (3, 1)]));
        assert_eq!(failing(cache, &db, vec![2, 1]).await, Err(Broken::Source));
        assert_eq!(db.asked(), [vec![1, 2], vec![2]], "1 has failed a moment ago");
        let stats = failing::stats(cache);
        assert_eq!((stats.errors, stats.stale), (2, 2));
        db.source.breaks(false);
        ms(1100).await;
        assert_eq!(failing(cache, &db, vec![1, 2, 3]).await, rows([(1, 1), (2, 1), (3, 1)]));
    }

    /// N8: many callers of expired elements whose source fails: all are served, and the source is asked about once.
    async fn a_failing_source_is_not_stormed_by_batches(on: &On) {
        let (cache, db) = (on.cache.clone(), Rows { source: on.source.clone(), ..Rows::default() });
        failing(&cache, &db, vec![1, 2, 3]).await.unwrap();
        ms(350).await;
        db.source.breaks(true);
        db.source.slow(100);
        let callers: Vec<_> = (0..50).map(|n| {
            let (cache, db) = (cache.clone(), db.clone());
            let ids = if n % 2 == 0 { vec![1, 2, 3] } else { vec![3, 2] };
            tokio::spawn(async move { failing(&cache, &db, ids).await })
        }).collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap()[&3], 300);
        }
        assert!(db.source.loads() <= 4, "{} loads", db.source.loads());
    }

    /// N8: after `soft_timeout` the old values are returned, and the load goes on and is stored. An element without one is
    /// waited for.
    async fn a_slow_batch_goes_on_after_the_soft_timeout(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        soft(cache, &db, vec![1, 2]).await.unwrap();
        ms(350).await;
        db.source.set(1);
        assert_eq!(soft(cache, &db, vec![1]).await, rows([(1, 1)]), "a quick source is waited for");
        ms(350).await;
        db.source.set(2);
        db.source.slow(700);
        let began = now();
        assert_eq!(soft(cache, &db, vec![1, 2]).await, rows([(1, 1), (2, 0)]));
        assert!((180..690).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        db.asked();
        settled(cache).await;
        let loads = db.source.loads();
        assert_eq!(soft(cache, &db, vec![1, 2]).await, rows([(1, 2), (2, 2)]));
        assert_eq!(db.source.loads(), loads, "what was loaded behind the call was stored");
        ms(350).await;
        db.source.set(3);
        assert_eq!(soft(cache, &db, vec![1, 2, 3]).await, rows([(1, 3), (2, 3), (3, 3)]), "3 has none");
    }

    /// P1: a load that goes on in the background stores nothing of what was invalidated meanwhile.
    async fn what_was_invalidated_during_a_late_load_is_not_stored(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        soft(cache, &db, vec![1, 2]).await.unwrap();
        ms(350).await;
        db.source.set(1);
        db.source.slow(600);
        assert_eq!(soft(cache, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]));
        db.source.set(2);
        cache.invalidate_tags(["of:so:2"]).await.unwrap();
        settled(cache).await;
        db.source.slow(0);
        assert_eq!(soft(cache, &db, vec![1, 2]).await, rows([(1, 1), (2, 2)]));
    }

    /// N8: after `timeout` the load is given up: the error, or old values where each missing element has one.
    async fn a_batch_is_given_up_after_its_timeout(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        hard(cache, &db, vec![1]).await.unwrap();
        saved(cache, &db, vec![1, 2]).await.unwrap();
        ms(150).await;
        db.source.slow(9_000);
        let began = now();
        assert_eq!(hard(cache, &db, vec![1, 2]).await, Err(Broken::Cache(ErrorKind::Timeout)));
        assert_eq!(saved(cache, &db, vec![1, 2, 3]).await, Err(Broken::Cache(ErrorKind::Timeout)), "3 has none");
        assert_eq!(saved(cache, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]));
        assert!(began.elapsed().as_millis() < 6_000);
        assert_eq!(hard(cache, &db, vec![1]).await, rows([(1, 0)]), "what is fresh needs no source");
        db.source.slow(0);
        assert_eq!(hard(cache, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]), "nothing is wedged");
        assert_eq!(cache.stats().flights, 0);
    }

    /// A3: closing waits for what runs in the background, which is counted.
    async fn closing_waits_for_batches_in_the_background(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        stale(cache, &db, vec![1, 2]).await.unwrap();
        ms(350).await;
        db.source.slow(300);
        stale(cache, &db, vec![1, 2]).await.unwrap();
        assert!(cache.stats().background >= 1);
        within("the end", cache.close()).await.unwrap();
        assert_eq!((db.source.loads(), cache.stats().background), (2, 0));
    }

    /// A2: a hit extends the life of each element, without another entry of the call.
    async fn sliding_elements_stay_fresh_while_they_are_asked_for(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        sliding(cache, &db, vec![1, 2, 3]).await.unwrap();
        sliding_stale(cache, &db, vec![1, 2, 3]).await.unwrap();
        for _ in 0..4 {
            ms(300).await;
            sliding(cache, &db, vec![1, 2]).await.unwrap();
            sliding_stale(cache, &db, vec![1, 2]).await.unwrap();
            assert!(cache.stats().background <= 2, "one command for all elements of a call");
            settled(cache).await;
        }
        assert_eq!(db.asked(), [[1, 2, 3], [1, 2, 3]], "neither loaded nor refreshed again");
        db.source.set(1);
        assert_eq!(sliding(cache, &db, vec![1, 2, 3]).await, rows([(1, 0), (2, 0), (3, 1)]), "3 was not asked for");
        assert_eq!(sliding_stale(cache, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]));
        settled(cache).await;
        assert_eq!(db.asked(), [[3]], "and none was refreshed");
        ms(700).await;
        assert_eq!(sliding(cache, &db, vec![1]).await, rows([(1, 1)]));
        assert_eq!(sliding_stale(cache, &db, vec![1]).await, rows([(1, 0)]), "stale");
        settled(cache).await;
    }

    /// D10: with `auto`, what takes long to load is refreshed before it expires, for a batch and for a single value. Once the die
    /// has said so, nobody throws another one.
    async fn what_is_dear_is_refreshed_by_chance_before_it_expires(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        db.source.slow(400);
        let (_, _) = tokio::join!(adaptive(cache, &db, vec![1, 2]), adaptive_one(cache, &db, 7));
        db.source.slow(0);
        db.asked();
        let until = now() + std::time::Duration::from_millis(1300);
        let (mut batches, mut ones) = (0, 0);
        while now() < until && (batches == 0 || ones == 0) {
            if batches == 0 {
                adaptive(cache, &db, vec![1, 2]).await.unwrap();
                batches = adaptive::stats(cache).early;
            }
            if ones == 0 {
                adaptive_one(cache, &db, 7).await.unwrap();
                ones = adaptive_one::stats(cache).early;
            }
            ms(5).await;
        }
        settled(cache).await;
        assert_eq!((adaptive::stats(cache).misses, adaptive_one::stats(cache).misses), (2, 1), "none had to wait again");
        let asked = db.asked();
        assert_eq!((asked.len(), asked.contains(&vec![7])), (2, true), "{asked:?} after {batches} and {ones}");
    }

    /// C4, B1: the verbs, and a recache: `refresh` never takes an old value, `put` stores one that ages, `peek` finds none.
    async fn verbs_and_old_elements(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        stale::put(&177, cache, 1).await.unwrap();
        assert_eq!(stale(cache, &db, vec![1]).await, Ok(HashMap::from([(1, 177)])));
        ms(350).await;
        assert_eq!(stale::peek(cache, 1).await.unwrap(), None, "past its ttl");
        db.source.breaks(true);
        assert_eq!(stale::refresh(cache, &db, vec![1, 2]).await, Err(Broken::Source));
        assert_eq!(stale(cache, &db, vec![1]).await, Ok(HashMap::from([(1, 177)])), "a refresh that fails leaves it");
        settled(cache).await;
        db.source.breaks(false);
        assert_eq!(stale::refresh(cache, &db, vec![1, 2]).await, rows([(1, 0), (2, 0)]));
        db.asked();
        write(cache, &db, 7).await.unwrap();
        assert_eq!(db.asked(), [[1, 2]]);
        assert_eq!(stale(cache, &db, vec![1, 2]).await, rows([(1, 7), (2, 7)]));
        assert_eq!(stale::bypass(cache, &db, vec![3]).await, rows([(3, 7)]));
        ms(350).await;
        stale::clear(cache).await.unwrap();
        db.source.breaks(true);
        assert_eq!(stale(cache, &db, vec![1]).await, Err(Broken::Source), "what was cleared is not old, it is gone");
    }

    /// D7: one tenant's old values are not another's, and a refresh is its call's tenant's.
    async fn tenants_have_old_elements_of_their_own(on: &On) {
        let (cache, db) = (&on.cache, Rows { source: on.source.clone(), ..Rows::default() });
        let (a, b) = (Tenant::new("a").unwrap(), Tenant::new("b").unwrap());
        a.scope(stale(cache, &db, vec![1])).await.unwrap();
        ms(350).await;
        db.source.set(1);
        assert_eq!(b.scope(stale(cache, &db, vec![1])).await, rows([(1, 1)]));
        assert_eq!(a.scope(stale(cache, &db, vec![1])).await, rows([(1, 0)]));
        settled(cache).await;
        assert_eq!(a.scope(stale(cache, &db, vec![1])).await, rows([(1, 1)]));
        assert_eq!(db.source.loads(), 3);
    }
}

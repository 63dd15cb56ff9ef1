//! What else a function with these options may have: sliding expiry, tenants, other processes, recaches, the companion's
//! verbs, direct access.

use std::time::Duration;

use cache_runtime::{Cache, Tenant, cache_read, cache_write};

use super::fleet::{now, soon};
use super::{Broken, Source, everywhere, ms};

#[cache_read(key = "sliding", cache = cache, ttl = "600ms", stale = "60s", refresh = true, tags = ["t"], skip(cache, source))]
async fn sliding(cache: &Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "sliding early", cache = cache, ttl = "600ms", early_ttl = "500ms", refresh = true, skip(cache, source))]
async fn sliding_early(cache: &Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "user:<id>", cache = cache, ttl = "300ms", stale = "60s", stale_if_error = "60s", tags = ["all"], skip(cache, source))]
async fn user(cache: &Cache, id: u64, source: &Source) -> Result<u64, Broken> {
    Ok(source.load().await? + id)
}

#[cache_read(key = "locked", cache = cache, ttl = "300ms", stale = "60s", soft_timeout = "100ms", lock = true, skip(cache, source))]
async fn locked(cache: &Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_read(key = "cold", cache = cache, ttl = "300ms", stale_if_error = "60s", lock = true, skip(cache, source))]
async fn cold(cache: &Cache, source: &Source) -> Result<u64, Broken> {
    source.load().await
}

#[cache_write(tags = ["all"], recache = [user(cache, 1, source)], cache = cache)]
async fn write(cache: &Cache, source: &Source, value: u64) -> Result<(), Broken> {
    source.set(value);
    Ok(())
}

async fn settled(cache: &Cache) {
    soon("the background", || cache.stats().background + cache.stats().flights == 0).await;
}

everywhere! {
    /// A2, N8: a hit extends the life, the window after it too.
    async fn a_sliding_entry_stays_fresh_while_it_is_asked_for(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(sliding(cache, source).await, Ok(0));
        source.set(1);
        for _ in 0..4 {
            ms(300).await;
            assert_eq!(sliding(cache, source).await, Ok(0));
            settled(cache).await;
        }
        assert_eq!(source.loads(), 1, "it was asked for often enough");
        assert_eq!(cache.get::<u64>("sliding").await.unwrap(), Some(0), "direct access agrees");
        ms(750).await;
        assert_eq!(cache.get::<u64>("sliding").await.unwrap(), None);
        assert_eq!(sliding(cache, source).await, Ok(0), "stale");
        settled(cache).await;
        assert_eq!((sliding(cache, source).await, source.loads()), (Ok(1), 2));
        cache.invalidate_tags(["t"]).await.unwrap();
        source.set(2);
        assert_eq!(sliding(cache, source).await, Ok(2), "an invalidation is not slid over");
    }

    /// A3: the age that begins a refresh is since the load, however often the life was extended.
    async fn a_sliding_entry_is_refreshed_early(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(sliding_early(cache, source).await, Ok(0));
        source.set(1);
        // The age is told from what the server still keeps it for: it is less by what a command that slid the life took to get
        // there. On a quiet machine the second call begins the refresh.
        for _ in 0..4 {
            ms(300).await;
            assert_eq!(sliding_early(cache, source).await, Ok(0));
            settled(cache).await;
            if source.loads() == 2 {
                break;
            }
        }
        assert_eq!((sliding_early(cache, source).await, source.loads()), (Ok(1), 2));
    }

    /// N8: direct access never returns what is past its ttl, and says when that is.
    async fn direct_access_knows_no_window(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(user(cache, 1, source).await, Ok(1));
        let left = cache.ttl("user:1").await.unwrap().unwrap().duration().unwrap();
        assert!(left <= Duration::from_millis(300), "{left:?}");
        let info = cache.entry_info("user:1").await.unwrap().unwrap();
        let life = info.expires.unwrap().duration_since(info.created).unwrap();
        assert!(life <= Duration::from_millis(310), "{life:?}");
        ms(350).await;
        assert_eq!(cache.get::<u64>("user:1").await.unwrap(), None);
        assert_eq!(user::peek(cache, 1).await.unwrap(), None);
        assert!(!cache.exists("user:1").await.unwrap());
        assert_eq!(cache.ttl("user:1").await.unwrap(), None);
        assert_eq!(cache.get_many::<u64>(["user:1"]).await.unwrap(), [None]);
        assert_eq!(cache.cleanup_expired().await.unwrap(), 0, "it is of use yet");
        source.breaks(true);
        assert_eq!(user(cache, 1, source).await, Ok(1), "it is there all the same");
        settled(cache).await;
    }

    /// N8: `expire` moves the life, and the window after it with it.
    async fn another_life_by_hand_keeps_the_window(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(user(cache, 1, source).await, Ok(1));
        source.set(10);
        assert!(cache.expire("user:1", Duration::from_secs(60)).await.unwrap());
        ms(350).await;
        assert_eq!((user(cache, 1, source).await, source.loads()), (Ok(1), 1), "fresh");
        assert_eq!(cache.get::<u64>("user:1").await.unwrap(), Some(1));
        assert!(cache.expire("user:1", Duration::from_millis(50)).await.unwrap());
        ms(100).await;
        assert_eq!(cache.get::<u64>("user:1").await.unwrap(), None);
        assert_eq!(user(cache, 1, source).await, Ok(1), "stale");
        settled(cache).await;
        assert_eq!((user(cache, 1, source).await, source.loads()), (Ok(11), 2));
    }

    /// A3, A5: a stale entry is refreshed by one process, while the others are served, with `lock` or without.
    async fn one_refresh_in_the_fleet(on: &On) {
        let (cache, source, there) = (&on.cache, &on.source, on.other().await);
        assert_eq!((user(cache, 1, source).await, locked(cache, source).await), (Ok(1), Ok(0)));
        ms(350).await;
        source.set(10);
        source.slow(300);
        let began = now();
        let (a, b) = tokio::join!(user(cache, 1, source), user(&there, 1, source));
        let (c, d) = tokio::join!(locked(cache, source), locked(&there, source));
        assert_eq!((a, b, c, d), (Ok(1), Ok(1), Ok(0), Ok(0)), "{:?}", began.elapsed());
        settled(cache).await;
        settled(&there).await;
        assert_eq!(source.loads(), 4, "a load and a refresh of each");
        source.slow(0);
        assert_eq!((user(&there, 1, source).await, locked(&there, source).await), (Ok(11), Ok(10)));
    }

    /// N8, A5: who waits for another process' lease is served the old value where that one fails.
    async fn failing_loads_under_a_lock_fall_back_in_every_process(on: &On) {
        let (cache, source, there) = (&on.cache, &on.source, on.other().await);
        assert_eq!(cold(cache, source).await, Ok(0));
        ms(350).await;
        source.breaks(true);
        source.slow(100);
        let (a, b) = tokio::join!(cold(cache, source), cold(&there, source));
        assert_eq!((a, b), (Ok(0), Ok(0)));
        assert!(source.loads() <= 3);
        settled(cache).await;
        settled(&there).await;
    }

    /// B1: a recache of such a function never takes the old value, and stores one that ages as any other.
    async fn a_recache_replaces_what_is_old(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        assert_eq!(user(cache, 1, source).await, Ok(1));
        ms(350).await;
        write(cache, source, 5).await.unwrap();
        assert_eq!((user(cache, 1, source).await, source.loads()), (Ok(6), 2));
        source.breaks(true);
        source.set(9);
        write(cache, source, 7).await.unwrap();
        assert_eq!(user(cache, 1, source).await, Err(Broken::Source), "invalidated, and not recached");
    }

    /// C4: the companion's verbs: `put` stores what ages, `refresh` returns the source's own error, `invalidate` leaves nothing.
    async fn verbs_and_old_values(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        user::put(&40, cache, 1).await.unwrap();
        assert_eq!((user(cache, 1, source).await, source.loads()), (Ok(40), 0));
        ms(350).await;
        assert_eq!(user::peek(cache, 1).await.unwrap(), None, "past its ttl");
        source.breaks(true);
        assert_eq!(user::refresh(cache, 1, source).await, Err(Broken::Source));
        assert_eq!(user(cache, 1, source).await, Ok(40), "a refresh that fails leaves it");
        settled(cache).await;
        source.breaks(false);
        assert_eq!(user::refresh(cache, 1, source).await, Ok(1));
        assert_eq!(user::peek(cache, 1).await.unwrap(), Some(1));
        ms(350).await;
        user::invalidate(cache, 1).await.unwrap();
        source.breaks(true);
        assert_eq!(user(cache, 1, source).await, Err(Broken::Source));
        assert_eq!(user::bypass(cache, 1, source).await, Err(Broken::Source));
        source.breaks(false);
        user::warm([1, 2, 3], |id| (cache, id, source)).await;
        let loads = source.loads();
        assert_eq!((user(cache, 3, source).await, source.loads()), (Ok(3), loads));
        ms(350).await;
        user::clear(cache).await.unwrap();
        source.breaks(true);
        assert_eq!(user(cache, 3, source).await, Err(Broken::Source), "what was cleared is not old, it is gone");
    }

    /// D7: one tenant's old value is not another's.
    async fn tenants_have_old_values_of_their_own(on: &On) {
        let (cache, source) = (&on.cache, &on.source);
        let (a, b) = (Tenant::new("a").unwrap(), Tenant::new("b").unwrap());
        assert_eq!(a.scope(user(cache, 1, source)).await, Ok(1));
        ms(350).await;
        source.set(10);
        assert_eq!(b.scope(user(cache, 1, source)).await, Ok(11), "nothing of another's");
        assert_eq!(a.scope(user(cache, 1, source)).await, Ok(1), "stale");
        settled(cache).await;
        assert_eq!(a.scope(user(cache, 1, source)).await, Ok(11));
        ms(350).await;
        a.scope(cache.clear()).await.unwrap();
        source.breaks(true);
        assert_eq!(a.scope(user(cache, 1, source)).await, Err(Broken::Source));
        assert_eq!(b.scope(user(cache, 1, source)).await, Ok(11), "stale, and still there");
        settled(cache).await;
    }
}

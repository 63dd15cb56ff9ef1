//! One writer at a time: its result is there, for everybody, with its reader's options.

use std::time::Duration;

use cache_runtime::Tenant;

use super::*;

/// P1 B2: a write-through's result is what is read next in every process, without a load, and it has the entry's tags.
#[tokio::test]
async fn a_write_through_is_served_without_a_load() {
    let fleet = Fleet::new().await;
    let mut id = 0;
    for (what, read, put) in FORMS {
        for warm in [true, false] {
            id += 10;
            if warm {
                read(Arc::clone(&fleet.a), id).await;
                read(Arc::clone(&fleet.c), id).await;
            }
            let loads = fleet.source.loads(id);
            for version in 1..4 {
                let writer = fleet.places()[version as usize % 3];
                assert_eq!(write(writer, id, put).await.version, version);
                all_read(what, &fleet, read, id, version).await;
                assert_eq!(fleet.source.loads(id), loads, "{what}, warm: {warm}: the result was not stored");
            }
            assert!(!fleet.exists(&fleet.lease(&format!("row:{id}"))).await, "{what}: its lease is left");
            fleet.source.commit(id);
            let tag = if what.starts_with("by key") { format!("row:{id}") } else { format!("group:{id}") };
            fleet.b.cache.invalidate(tag).await.unwrap();
            all_read(what, &fleet, read, id, 4).await;
        }
    }
    for place in fleet.places() {
        let stats = place.cache.stats();
        assert_eq!((stats.degraded, stats.undelivered_total, stats.flights), (0, 0, 0));
    }
}

/// P1: a tag that only the result tells reaches what was written through.
#[tokio::test]
async fn a_tag_of_the_result_reaches_what_was_written_through() {
    let fleet = Fleet::new().await;
    for (id, put) in [(10, with_result_tags as Put), (20, of_result_with_result_tags), (30, with_own_result_tags)] {
        fleet.source.set_org(id, id + 1);
        write(&fleet.a, id, put).await;
        fleet.source.commit(id);
        fleet.b.cache.invalidate(format!("org:{}", id + 1)).await.unwrap();
        all_read("the tag", &fleet, read_by_result, id, 2).await;
    }
}

/// B2 E2: it lives as long as its reader says, and under the reader's tenant.
#[tokio::test]
async fn a_written_through_entry_has_its_readers_options() {
    #[cache_read(key = "short:<id>", cache = at.cache, ttl = "30s", skip(at))]
    async fn short(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    #[cache_read(key = "by_value:<id>", cache = at.cache, ttl = |row| Duration::from_secs(row.version * 10), skip(at))]
    async fn by_value(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    #[cache_read(key = "forever:<id>", cache = at.cache, ttl = "forever", skip(at))]
    async fn forever(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    #[cache_write(cache = at.cache, put = short(at, id))]
    async fn put_short(at: &Place, id: u64) -> Row {
        at.commit(id)
    }
    #[cache_write(cache = at.cache, put = by_value(at, id))]
    async fn put_by_value(at: &Place, id: u64) -> Row {
        at.commit(id)
    }
    #[cache_write(cache = at.cache, put = forever(at, id))]
    async fn put_forever(at: &Place, id: u64) -> Row {
        at.commit(id)
    }
    let fleet = Fleet::new().await;
    put_short(&fleet.a, 1).await;
    put_by_value(&fleet.a, 2).await;
    put_forever(&fleet.a, 3).await;
    let left = async |key: &str| fleet.ask::<i64>(&["PTTL", &format!("{}:v1:{key}", fleet.prefix)]).await;
    assert!((20_000..=30_000).contains(&left("short:1").await));
    assert!((5_000..=10_000).contains(&left("by_value:2").await));
    assert_eq!(left("forever:3").await, -1);

    let tenant = Tenant::new("acme").unwrap();
    tenant.scope(put_short(&fleet.a, 4)).await;
    assert!(left("tenant-acme:short:4").await > 0);
    assert_eq!(left("short:4").await, -2);
    assert_eq!(tenant.scope(short(&fleet.b, 4)).await.version, 1);
    assert_eq!(fleet.source.loads(4), 0);
}

/// B2: what its reader would not store is not stored, and what was there goes.
#[tokio::test]
async fn what_the_reader_would_not_store_is_not_written_through() {
    #[cache_read(key = "row:<id>", cache = at.cache, cache_if = |row| row.version != 1, skip(at))]
    async fn picky(at: &Place, id: u64) -> Row {
        at.read(id).await
    }
    #[cache_write(cache = at.cache, put = picky(at, id))]
    async fn put_picky(at: &Place, id: u64) -> Row {
        at.commit(id)
    }
    let fleet = Fleet::new().await;
    picky(&fleet.a, 1).await;
    put_picky(&fleet.b, 1).await;
    assert_eq!(picky(&fleet.a, 1).await.version, 1);
    assert_eq!(fleet.source.loads(1), 2, "it was loaded again");
    put_picky(&fleet.b, 1).await;
    assert_eq!(picky(&fleet.a, 1).await.version, 2);
    assert_eq!(fleet.source.loads(1), 2, "it was written through");
}

/// P1 C2: a write-through whose result is absent leaves no entry: the row is gone.
#[tokio::test]
async fn a_write_through_of_an_absent_value_drops_the_entry() {
    #[cache_write(cache = at.cache, put = optional(at, id))]
    async fn delete(at: &Place, id: u64) -> Option<Row> {
        while at.commit(id).version % 10 != 9 {}
        None
    }
    let fleet = Fleet::new().await;
    assert!(optional(&fleet.a, 1).await.unwrap().is_some());
    assert_eq!(delete(&fleet.b, 1).await, None);
    for place in fleet.places() {
        assert_eq!(optional(place, 1).await.unwrap(), None, "the write said that it is gone");
    }
}

/// B2 C1: what was stored by key, by a write or directly, is served to the function that has this key and no tags.
#[tokio::test]
async fn what_was_stored_by_key_is_served_to_a_function_without_tags() {
    let fleet = Fleet::new().await;
    write(&fleet.a, 1, by_key).await;
    fleet.a.cache.set("row:2", Row { id: 2, org: 0, version: 7 }).await.unwrap();
    let stored = async || Ok::<_, std::convert::Infallible>(Row { id: 3, org: 0, version: 8 });
    let Ok(_) = fleet.a.cache.get_or_load("row:3", stored).await;
    for place in fleet.places() {
        assert_eq!(plain(place, 1).await.version, 1);
        assert_eq!(plain(place, 2).await.version, 7);
        assert_eq!(plain(place, 3).await.version, 8);
    }
    assert_eq!((1..4).map(|id| fleet.source.loads(id)).sum::<u64>(), 0);
    // But not to one with tags that such an entry does not have: their invalidation would not reach it.
    assert_eq!(tagged(&fleet.b, 2).await.version, 0);
    assert_eq!(fleet.source.loads(2), 1);
}

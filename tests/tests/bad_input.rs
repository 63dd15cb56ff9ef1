//! Input that cannot be served at run time, each with its stated outcome.

use std::time::Duration;

use cache_runtime::{Cache, CacheConfig, Engine, ErrorKind, Tenant, cache_read, cache_write, key, memoize};
use cache_tests::{Failed, Row, Source};

#[cache_read(key = "text:<text>", skip(db))]
async fn by_text(db: &Source, text: &str) -> u64 {
    let _ = text;
    db.tick()
}

#[cache_write(patterns = ["text:<text>"])]
async fn drop_text(text: &str) {
    let _ = text;
}

#[cache_read(key = "life:<id>", ttl = life, skip(db, life))]
async fn lives(db: &Source, id: u64, life: Duration) -> u64 {
    let _ = (id, life);
    db.tick()
}

#[cache_read(key = "seconds:<id>", ttl = |_| seconds, skip(db, seconds))]
async fn lives_seconds(db: &Source, id: u64, seconds: u64) -> u64 {
    let _ = (id, seconds);
    db.tick()
}

#[cache_read(key = "heavy:<size>", skip(db))]
async fn heavy(db: &Source, size: usize) -> Vec<u8> {
    db.tick();
    vec![7; size]
}

#[memoize(skip(db))]
fn heavy_memo(db: &Source, size: usize) -> Box<[u8]> {
    db.tick();
    vec![7; size].into()
}

#[cache_write(put = heavy(size))]
async fn put_heavy(size: usize) -> Vec<u8> {
    vec![8; size]
}

/// N3: a key over the limit is shortened: still one entry for each value, readable at the front, and it can be dropped.
#[tokio::test]
async fn a_key_over_the_limit_is_shortened() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let base = "x".repeat(1 << 15);
            let texts = [
                base.clone(),
                format!("{base}y"),
                format!("y{base}"),
                format!("{}y{base}", &base[1..]),
                "x".repeat(1 << 10),
                "x".repeat(1025),
            ];
            for round in 0..2 {
                for (index, text) in texts.iter().enumerate() {
                    assert_eq!(by_text(&db, text).await, index as u64 + 1, "round {round}");
                }
            }
            assert_ne!(by_text::key(&"x".repeat(1 << 20)), by_text::key(&base), "a mebibyte, too");
            let key = by_text::key(&base);
            assert!(
                key.as_str().len() <= 2048 && key.as_str().starts_with("text:xxxx"),
                "{} bytes",
                key.as_str().len()
            );
            assert_eq!(key, key!("text:<text>", text = base.as_str()));
            assert_eq!(cache.get::<u64>(key).await.unwrap(), Some(1));
            by_text::invalidate(&base).await.unwrap();
            assert_eq!(by_text::peek(&base).await.unwrap(), None);
            assert_eq!(by_text::peek(&texts[1]).await.unwrap(), Some(2));
            cache.invalidate(by_text::key(&texts[1])).await.unwrap();
            assert_eq!(by_text::peek(&texts[1]).await.unwrap(), None);
            drop_text(&texts[2]).await;
            assert_eq!(
                by_text::peek(&texts[2]).await.unwrap(),
                None,
                "a pattern with a long value finds the shortened key"
            );
            assert_eq!(by_text::peek(&texts[3]).await.unwrap(), Some(4));
        })
        .await;
}

/// N3: plain texts over the limit are keys and tags, too, and both ways to say them meet.
#[tokio::test]
async fn a_long_text_is_a_key_and_a_tag() {
    let cache = Cache::for_test();
    let long = "k".repeat(100_000);
    cache.set(long.as_str(), 1_u8).tags([format!("{long}t")]).await.unwrap();
    cache.set(format!("{long}2"), 2_u8).await.unwrap();
    assert_eq!(cache.get::<u8>(long.clone()).await.unwrap(), Some(1));
    cache.invalidate(format!("{long}t")).await.unwrap();
    assert_eq!(cache.get::<u8>(long.clone()).await.unwrap(), None);
    assert_eq!(cache.get::<u8>(format!("{long}2")).await.unwrap(), Some(2));
    cache.invalidate(format!("{long}2")).await.unwrap();
    assert_eq!(cache.get::<u8>(format!("{long}2")).await.unwrap(), None);
}

/// P9: an empty key is a key like any other text or refused; it never reaches another entry.
#[tokio::test]
async fn an_empty_text_is_an_entry_of_its_own() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            cache.set("other", 1_u8).await.unwrap();
            if cache.set("", 2_u8).await.is_ok() {
                assert_eq!(cache.get::<u8>("").await.unwrap(), Some(2));
                assert!(cache.delete("").await.unwrap());
            }
            assert_eq!(cache.get::<u8>("other").await.unwrap(), Some(1));
            assert_eq!((by_text(&db, "").await, by_text(&db, "").await, by_text(&db, " ").await), (1, 1, 2));
        })
        .await;
}

/// E2: a ttl of zero stores nothing: the function goes on, a direct call says so.
#[tokio::test]
async fn a_zero_ttl_stores_nothing() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!((lives(&db, 1, Duration::ZERO).await, lives(&db, 1, Duration::ZERO).await), (1, 2));
            assert_eq!((lives_seconds(&db, 1, 0).await, lives_seconds(&db, 1, 0).await), (3, 4));
            assert_eq!(lives::stats().unstored, 2);
            assert_eq!(cache.stats().entries, 0);
            for error in [
                cache.set("k", 1_u8).ttl(0).await.unwrap_err(),
                cache.set("k", 1_u8).ttl(Duration::ZERO).await.unwrap_err(),
                cache.set_nx("k", 1_u8).ttl("0s").await.unwrap_err(),
                cache.set_many([("k", 1_u8)]).ttl(0).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::InvalidTtl, "{error}");
            }
            assert!(!cache.exists("k").await.unwrap());
            assert_eq!(cache.get_or_load("k", || async { Ok::<_, Failed>(5_u8) }).ttl(0).await, Ok(5));
            assert!(!cache.exists("k").await.unwrap(), "loaded, as asked for not kept");
        })
        .await;
}

/// E2: a ttl longer than the clock can say is for ever, and never wraps around into the past.
#[tokio::test]
async fn an_overflowing_ttl_is_forever() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            lives(&db, 1, Duration::MAX).await;
            lives_seconds(&db, 1, u64::MAX).await;
            cache.set("k", 1_u8).ttl(Duration::MAX).await.unwrap();
            cache.set("s", 1_u8).ttl(u64::MAX).await.unwrap();
            cache.advance(Duration::from_secs(86_400 * 365 * 200));
            lives(&db, 1, Duration::MAX).await;
            lives_seconds(&db, 1, u64::MAX).await;
            assert_eq!(db.loads(), 2);
            assert_eq!(cache.get_many::<u8>(["k", "s"]).await.unwrap(), [Some(1), Some(1)]);
            assert!(cache.expire("k", Duration::MAX).await.unwrap());
            assert!(cache.entry_info("k").await.unwrap().is_some());
            assert!(cache.ttl("k").await.unwrap().is_some());
        })
        .await;
}

/// E2 P9: text that is no duration and negative seconds are errors of the direct call, and do not keep a loader from its caller.
#[tokio::test]
async fn a_ttl_that_cannot_be_understood() {
    let cache = Cache::for_test();
    assert_eq!(cache.set("k", 1_u8).ttl("5mins").await.unwrap_err().kind(), ErrorKind::InvalidTtl);
    assert_eq!(cache.set("k", 1_u8).ttl(-1).await.unwrap_err().kind(), ErrorKind::InvalidTtl);
    assert!(!cache.exists("k").await.unwrap());
    cache.set("k", 1_u8).await.unwrap();
    let error = cache.expire("k", "later").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
    assert!(error.to_string().contains("later"), "{error}");
    assert_eq!(cache.get_or_load("l", || async { Ok::<_, Failed>(5_u8) }).ttl("5mins").await, Ok(5));
}

/// E10 P9: a capacity of zero is refused by name, in code and in a file.
#[tokio::test]
async fn a_capacity_of_zero_is_refused() {
    for (builder, name) in [
        (Cache::builder().max_items(0), "max_items"),
        (Cache::builder().max_bytes(0), "max_bytes"),
        (Cache::builder().pool_size(0), "pool_size"),
        (Cache::builder().ttl_default(Duration::ZERO), "ttl_default"),
        (Cache::builder().ttl_short(Duration::MAX), "ttl_short"),
        (Cache::builder().prefix(""), "prefix"),
        (Cache::builder().version("a:b"), "version"),
        (Cache::builder().namespace("a*"), "namespace"),
        (Cache::builder().prefix("tenant-a"), "prefix"),
    ] {
        let error = builder.ignore_env().build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{name}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    let file: CacheConfig = serde_json::from_str(r#"{ "max_items": 0 }"#).unwrap();
    let error = Cache::from_config(file).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("max_items"), "{error}");
}

/// P9: an unknown value in an environment is refused with the variable's name.
#[test]
fn an_unknown_environment_value_is_refused() {
    for (name, value) in [
        ("CACHE_BACKEND", "memcached"),
        ("CACHE_URL", "http://x"),
        ("CACHE_ENABLED", "maybe"),
        ("CACHE_TTL_SHORT", "0"),
        ("CACHE_TTL_LONG", "99999999999999999999"),
        ("CACHE_MAX_ITEMS", "-1"),
        ("CACHE_MAX_BYTES", "lots"),
        ("CACHE_PREFIX", "a b"),
        ("ENFORCE_TENANT_ISOLATION", "2"),
        ("CACHE_STATS", ""),
    ] {
        let error = CacheConfig::from_env_with(|asked| (asked == name).then(|| value.to_owned())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(name), "{name}={value}: {error}");
    }
}

/// P9: a backend that does not exist is refused at start-up, and no password is shown.
#[tokio::test]
async fn a_backend_that_is_not_there_is_refused() {
    for url in ["memcached://:hunter2@localhost", "hybrid+mem://:hunter2@h", "hybrid+memcached://u:hunter2@h"] {
        let error = Cache::builder().ignore_env().url(url).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let error = Cache::builder().ignore_env().url("mem://").hybrid(true).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let error = Cache::builder().ignore_env().url("redis://:hunter2@h:x/0").build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

/// P7 E10: a value heavier than the cache is returned and not kept; what was there stays; a direct call says so.
#[tokio::test]
async fn a_value_heavier_than_the_cache_is_not_kept() {
    for engine in [Engine::QuickCache, Engine::Moka] {
        let cache = Cache::builder().ignore_env().engine(engine).max_bytes(100_000).build().await.unwrap();
        let db = Source::new();
        cache
            .scope(async {
                cache.set("small", 1_u8).await.unwrap();
                assert_eq!(heavy(&db, 200_000).await.len(), 200_000);
                assert_eq!(heavy(&db, 200_000).await.len(), 200_000);
                assert_eq!(db.loads(), 2);
                assert_eq!(heavy::stats().unstored, 2);
                assert_eq!(heavy(&db, 1000).await.len(), 1000);
                assert_eq!(heavy(&db, 1000).await.len(), 1000);
                assert_eq!(db.loads(), 3);
                assert_eq!(heavy_memo(&db, 200_000).len(), 200_000);
                let error = cache.set("big", vec![0_u8; 200_000]).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
                let error = heavy::put(vec![0_u8; 200_000], 200_000).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
                assert_eq!(put_heavy(200_000).await.len(), 200_000);
                assert_eq!(heavy::peek(200_000).await.unwrap(), None);
                assert_eq!(
                    cache.get_or_load("l", || async { Ok::<_, Failed>(vec![0_u8; 200_000]) }).await.map(|v| v.len()),
                    Ok(200_000)
                );
                assert_eq!(cache.get::<u8>("small").await.unwrap(), Some(1), "nothing was evicted for it");
                assert!(cache.stats().bytes <= 100_000);
            })
            .await;
    }
}

/// P7: a value that became too heavy for its key does not leave the older one there.
#[tokio::test]
async fn a_heavier_value_does_not_leave_the_old_one() {
    let cache = Cache::builder().ignore_env().max_bytes(100_000).build().await.unwrap();
    cache.set("k", vec![1_u8]).await.unwrap();
    cache.set("k", vec![2_u8; 200_000]).await.unwrap_err();
    let left = cache.get::<Vec<u8>>("k").await.unwrap();
    assert_ne!(left.map(|value| value.len()), Some(200_000));
    cache
        .scope(async {
            heavy::put(vec![1], 150_000).await.unwrap();
            heavy::put(vec![2; 200_000], 150_000).await.unwrap_err();
            assert_ne!(
                heavy::peek(150_000).await.unwrap(),
                Some(vec![1]),
                "the caller said that this is no longer the value"
            );
        })
        .await;
}

/// E10 P7: memory is bounded by items, and by bytes with a weigher of one's own.
#[tokio::test]
async fn memory_is_bounded_by_items_and_by_bytes() {
    for engine in [Engine::QuickCache, Engine::Moka] {
        let cache = Cache::builder().ignore_env().engine(engine).max_items(50).build().await.unwrap();
        for n in 0..1000_u64 {
            cache.set(format!("k{n}"), n).await.unwrap();
        }
        cache.cleanup_expired().await.unwrap();
        let stats = cache.stats();
        assert!((20..=50).contains(&stats.entries), "{engine:?}: {}", stats.entries);
        assert!(stats.evictions >= 950, "{engine:?}: {}", stats.evictions);

        let cache = Cache::builder()
            .ignore_env()
            .engine(engine)
            .max_bytes(1000)
            .weigher(|key, value| {
                assert!(key.starts_with('k'));
                value.downcast_ref::<u64>().map_or(1, |weight| *weight)
            })
            .build()
            .await
            .unwrap();
        for n in 0..200_u64 {
            cache.set(format!("k{n}"), 100_u64).await.unwrap();
        }
        cache.cleanup_expired().await.unwrap();
        assert!((4..=10).contains(&cache.stats().entries), "{engine:?}: {}", cache.stats().entries);
        assert_eq!(cache.set("k", 1001_u64).await.unwrap_err().kind(), ErrorKind::TooLarge);
    }
}

/// P8 C5: a tenant name that could leave its segment is refused.
#[tokio::test]
async fn a_tenant_name_with_separators_is_refused() {
    for name in ["a:b", "", "a*", "a b", "a/b", "a%3Ab", "..\n", &"x".repeat(65), "{a}", "ä"] {
        let error = Tenant::new(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTenant, "{name:?}");
    }
    assert_eq!(Tenant::new("org-123").unwrap().as_str(), "org-123");
}

/// P8: a text key that begins like a tenant's reaches no tenant.
#[tokio::test]
async fn a_key_cannot_name_a_tenant() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let a = Tenant::new("a").unwrap();
            a.scope(by_text(&db, "x")).await;
            for key in ["tenant-a:text:x", "tenant-a", "svc:v1:tenant-a:text:x", "../tenant-a:text:x"] {
                assert_eq!(cache.get::<u64>(key).await.unwrap(), None, "{key}");
                cache.set(key, 666_u64).await.unwrap();
                cache.invalidate(key).await.unwrap();
                cache.delete(key).await.unwrap();
            }
            assert_eq!(a.scope(by_text(&db, "x")).await, 1);
        })
        .await;
}

/// P8: hostile text is an entry of its own, through every door.
#[tokio::test]
async fn hostile_text_is_an_entry_of_its_own() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let hostile = [
                "a",
                "a:b",
                "a%3Ab",
                "%",
                "%%",
                "*",
                "?",
                "[a]",
                "{a}",
                "\\",
                "\n",
                "\r",
                "\0",
                "\u{7f}",
                "\u{202e}abc",
                "é",
                "e\u{301}",
                " ",
                "a ",
                "tenant-a",
                "<text>",
                "None",
                "\u{feff}a",
                "🦀",
                "A",
                "'",
                "\"",
                "a\tb",
                "\u{85}",
                "\u{2028}",
            ];
            for (index, text) in hostile.iter().enumerate() {
                assert_eq!(by_text(&db, text).await, index as u64 + 1, "{text:?}");
            }
            assert_eq!(cache.stats().entries, hostile.len() as u64);
            for (index, text) in hostile.iter().enumerate() {
                assert_eq!(by_text::peek(text).await.unwrap(), Some(index as u64 + 1), "{text:?}");
                let key = by_text::key(text);
                assert_eq!(key.as_str().matches(':').count(), 1, "{key}");
                assert!(!key.as_str().chars().any(|c| c.is_control()), "{key:?}");
                assert_eq!(cache.get::<u64>(key.as_str()).await.unwrap(), Some(index as u64 + 1));
            }
            let _ = Row::fresh(1);
        })
        .await;
}

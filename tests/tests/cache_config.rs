//! Settings as caches feel them: code over environment over file, engines, the global cache. What is global happens in
//! a process of its own: this program again, with `CACHE_TESTS_CHILD` set.

use std::process::{Command, Output};
use std::time::Duration;

use cache_runtime::{Cache, CacheConfig, Engine, ErrorKind, Tenant, Ttl, cache_read, cache_write};
use cache_tests::{Row, Source};

#[cache_read(key = "user:<id>", skip(db))]
async fn get_user(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "short:<id>", ttl = Ttl::Short, skip(db))]
async fn get_short(db: &Source, id: u64) -> u64 {
    let _ = id;
    db.tick()
}

#[cache_read(key = "long:<id>", ttl = Ttl::Long, skip(db))]
async fn get_long(db: &Source, id: u64) -> u64 {
    let _ = id;
    db.tick()
}

#[cache_write(tags = ["user:<id>", "misspelt:<id>"])]
async fn rename(db: &Source, id: u64) -> Row {
    db.write(id, "new")
}

async fn left(cache: &Cache, key: &str) -> u64 {
    cache.ttl(key).await.unwrap().expect(key).duration().unwrap().as_secs_f64().round() as u64
}

// ------------------------------------------------------------------------------------------------------------ in this process

/// A7 D8: a file, written as JSON or TOML, is felt by real entries.
#[tokio::test]
async fn a_file_is_felt_by_entries() {
    let json = r#"{ "prefix": "shop", "version": "v3", "ttl_default": "10m", "ttl_short": 5, "ttl_long": "2h", "max_items": 7, "namespace": "all" }"#;
    let toml = "prefix = 'shop'\nversion = 'v3'\nttl_default = '10m'\nttl_short = 5\nttl_long = '2h'\nmax_items = 7\nnamespace = 'all'";
    let files: [CacheConfig; 2] = [serde_json::from_str(json).unwrap(), toml::from_str(toml).unwrap()];
    for file in files {
        let cache = Cache::from_config(file).await.unwrap();
        let info = cache.info().await.unwrap();
        assert_eq!((info.prefix.as_str(), info.max_items), ("shop:v3", 7));
        let db = Source::new();
        cache
            .scope(async {
                let _ = (get_user(&db, 1).await, get_short(&db, 1).await, get_long(&db, 1).await);
                assert_eq!(left(&cache, "user:1").await, 600);
                assert_eq!(left(&cache, "short:1").await, 5);
                assert_eq!(left(&cache, "long:1").await, 7200);
                cache.invalidate_namespace("all").await.unwrap();
                assert_eq!(cache.stats().entries, 0, "the default namespace");
            })
            .await;
    }
}

/// A7 D8: what code says wins over the file, field by field.
#[tokio::test]
async fn code_wins_over_the_file() {
    let file: CacheConfig =
        serde_json::from_str(r#"{ "prefix": "file", "version": "v9", "ttl_default": 60, "stats": false }"#).unwrap();
    let cache = Cache::builder()
        .ignore_env()
        .prefix("code")
        .ttl_default(Duration::from_secs(90))
        .config(file)
        .build()
        .await
        .unwrap();
    assert_eq!(cache.info().await.unwrap().prefix, "code:v9");
    cache.set("k", 1_u8).await.unwrap();
    assert_eq!(left(&cache, "k").await, 90);
    cache.get::<u8>("k").await.unwrap();
    assert_eq!(cache.stats().hits, 0, "`stats` is the file's");
}

/// E10: both engines serve, by builder and by file.
#[tokio::test]
async fn both_engines_serve() {
    let moka: CacheConfig = serde_json::from_str(r#"{ "engine": "moka" }"#).unwrap();
    for (cache, engine) in [
        (Cache::builder().ignore_env().engine(Engine::QuickCache).build().await.unwrap(), Engine::QuickCache),
        (Cache::from_config(moka).await.unwrap(), Engine::Moka),
    ] {
        assert_eq!(cache.info().await.unwrap().engine, engine);
        let db = Source::new();
        cache
            .scope(async {
                for _ in 0..2 {
                    assert_eq!(get_user(&db, 1).await, Row::fresh(1));
                }
                rename(&db, 1).await;
                assert_eq!(get_user(&db, 1).await.name, "new");
                assert_eq!(db.loads(), 2);
            })
            .await;
    }
}

/// D8 P4: switched off, functions call their source and nothing is kept; that is not degraded, since it was asked for.
#[tokio::test]
async fn a_cache_that_is_switched_off_keeps_nothing() {
    let cache = Cache::builder().ignore_env().enabled(false).build().await.unwrap();
    let db = Source::new();
    cache
        .scope(async {
            assert_eq!((get_user(&db, 1).await, get_user(&db, 1).await), (Row::fresh(1), Row::fresh(1)));
            rename(&db, 1).await;
            assert_eq!(db.loads(), 2);
            let stats = cache.stats();
            assert_eq!((stats.entries, stats.hits, stats.degraded), (0, 0, 0));
            assert!(!cache.info().await.unwrap().enabled);
        })
        .await;
    let redis = Cache::builder().ignore_env().enabled(false).url("redis://nowhere:1").build().await;
    redis.expect("a backend that is switched off need not be there");
}

/// A8: `mem://` is memory; an unknown field of a file is refused.
#[tokio::test]
async fn urls_and_unknown_fields() {
    let cache = Cache::builder().ignore_env().url("mem://").build().await.unwrap();
    assert_eq!(cache.info().await.unwrap().backend, "memory");
    assert!(serde_json::from_str::<CacheConfig>(r#"{ "prefx": "a" }"#).is_err());
    assert!(toml::from_str::<CacheConfig>("ttl_default = 'soon'").is_err());
    let error = Cache::builder().ignore_env().url("ftp://x").build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

// ------------------------------------------------------------------------------------------------- in a process of its own

/// Runs `case` of [`child`] with nothing but `env` of the cache's variables in its environment, and asserts that it passes.
fn run(case: &str, env: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CACHE_") || name.starts_with("REDIS_") || name.starts_with("ENFORCE_") {
            command.env_remove(&*name);
        }
    }
    command.args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"]).env("CACHE_TESTS_CHILD", case);
    let Output { status, stdout, stderr } = command.envs(env.iter().copied()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && stdout.contains("1 passed"), "{case}:\n{stdout}\n{stderr}");
    stderr.into_owned()
}

#[tokio::test]
#[ignore = "started by the others, in a process of its own"]
async fn child() {
    let db = Source::new();
    match std::env::var("CACHE_TESTS_CHILD").as_deref() {
        Ok("no init") => {
            get_user(&db, 1).await;
            get_user(&db, 1).await;
            assert_eq!(db.loads(), 1, "the first use builds a cache");
            let cache = cache_runtime::cache().unwrap();
            assert_eq!(cache.get::<Row>("user:1").await.unwrap(), Some(Row::fresh(1)));
            let error = cache_runtime::init(Cache::for_test().into()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyInitialized, "after the first use it is too late");
            assert!(cache_runtime::cache().unwrap().is_same(&cache));
        }
        Ok("init") => {
            let cache = Cache::builder().prefix("mine").build().await.unwrap();
            cache_runtime::init(cache.clone()).unwrap();
            get_user(&db, 1).await;
            assert!(cache_runtime::cache().unwrap().is_same(&cache));
            assert_eq!(cache.stats().entries, 1);
            let error = cache_runtime::init(cache.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyInitialized);
            assert!(!error.is_retryable());
            let scoped = Cache::for_test();
            scoped.scope(get_user(&db, 1)).await;
            assert_eq!(db.loads(), 2, "a scope goes before the global one");
            tokio::spawn(async move {
                let db = Source::new();
                get_user(&db, 1).await;
                assert_eq!(db.loads(), 0, "the global one is everybody's");
            })
            .await
            .unwrap();
        }
        Ok("environment") => {
            let cache = Cache::from_env().await.unwrap();
            let info = cache.info().await.unwrap();
            assert_eq!((info.prefix.as_str(), info.max_items, info.backend), ("env:v5", 6, "memory"));
            cache
                .scope(async {
                    let _ = (get_user(&db, 1).await, get_short(&db, 1).await, get_long(&db, 1).await);
                    assert_eq!(left(&cache, "user:1").await, 600);
                    assert_eq!(left(&cache, "short:1").await, 15);
                    assert_eq!(left(&cache, "long:1").await, 7200);
                    cache.invalidate_namespace("spaced").await.unwrap();
                    assert_eq!(cache.stats().entries, 0);
                })
                .await;
            // Code over environment over file.
            let file: CacheConfig =
                serde_json::from_str(r#"{ "prefix": "file", "ttl_short": 1, "stats": false }"#).unwrap();
            let cache = Cache::builder().version("code").config(file).build().await.unwrap();
            assert_eq!(cache.info().await.unwrap().prefix, "env:code");
            cache.set("k", 1_u8).ttl(Ttl::Short).await.unwrap();
            assert_eq!(left(&cache, "k").await, 15);
            cache.get::<u8>("k").await.unwrap();
            assert_eq!(cache.stats().hits, 0);
            let alone = Cache::from_config(CacheConfig::default()).await.unwrap();
            assert_eq!(
                alone.info().await.unwrap().prefix,
                "svc:v1",
                "a configuration alone does not look at the environment"
            );
            assert_eq!(Cache::for_test().info().await.unwrap().prefix, "svc:v1", "nor does a test");
        }
        Ok("default ttl") => {
            get_user(&db, 1).await;
            assert_eq!(left(&cache_runtime::cache().unwrap(), "user:1").await, 42);
        }
        Ok("off") => {
            get_user(&db, 1).await;
            get_user(&db, 1).await;
            assert_eq!(db.loads(), 2);
            let cache = cache_runtime::cache().unwrap();
            assert!(!cache.info().await.unwrap().enabled);
            assert_eq!(cache.stats().entries, 0);
        }
        Ok("tenants") => {
            get_user(&db, 1).await;
            get_user(&db, 1).await;
            assert_eq!(db.loads(), 2);
            assert_eq!(get_user::peek(1).await.unwrap_err().kind(), ErrorKind::TenantRequired);
            let tenant = Tenant::new("a").unwrap();
            tenant.scope(get_user(&db, 1)).await;
            tenant.scope(get_user(&db, 1)).await;
            assert_eq!(db.loads(), 3);
        }
        Ok(case @ ("unusable" | "no such backend")) => {
            let part = if case == "unusable" { "CACHE_TTL_DEFAULT" } else { "CACHE_URL" };
            for _ in 0..3 {
                assert_eq!(get_user(&db, 1).await, Row::fresh(1));
            }
            rename(&db, 1).await;
            assert_eq!(db.loads(), 3, "functions call their source");
            for error in [
                Cache::from_env().await.unwrap_err(),
                cache_runtime::cache().unwrap_err(),
                get_user::peek(1).await.unwrap_err(),
                get_user::invalidate(1).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Config, "{error}");
                assert!(error.to_string().contains(part) && !error.to_string().contains("hunter2"), "{error}");
            }
            assert_eq!(get_user::stats().degraded, 3, "every call that went past the cache is counted");
        }
        other => panic!("no case {other:?}"),
    }
}

/// A8: without `init` the first use builds a cache from the environment; with nothing in it that is memory.
#[test]
fn without_init_it_is_memory() {
    run("no init", &[]);
}

/// A8: `init` makes the global cache, once.
#[test]
fn a_second_init_is_an_error() {
    run("init", &[]);
}

/// A7 A8 B9 D8: every variable is felt by entries; code wins over it, it wins over a file.
#[test]
fn the_environment_is_felt_by_entries() {
    run(
        "environment",
        &[
            ("CACHE_URL", "mem://"),
            ("REDIS_URL", "redis://:hunter2@nowhere"),
            ("CACHE_PREFIX", "env"),
            ("CACHE_VERSION", "v5"),
            ("CACHE_TTL_SHORT", "15"),
            ("CACHE_TTL_DEFAULT", "10m"),
            ("CACHE_TTL_LONG", "7200"),
            ("CACHE_MAX_ITEMS", "6"),
            ("CACHE_NAMESPACE", "spaced"),
        ],
    );
}

/// A7 B9: both aliases of the default bucket.
#[test]
fn aliases_of_the_default_ttl() {
    run("default ttl", &[("CACHE_DEFAULT_TTL", "42")]);
    run("default ttl", &[("REDIS_DEFAULT_TTL", "42s")]);
}

/// D8: `CACHE_ENABLED=false`.
#[test]
fn the_environment_can_switch_it_off() {
    run("off", &[("CACHE_ENABLED", "false")]);
    run("off", &[("CACHE_ENABLED", "0"), ("CACHE_URL", "redis://nowhere")]);
}

/// C5: `ENFORCE_TENANT_ISOLATION=true`.
#[test]
fn the_environment_can_enforce_tenants() {
    let stderr = run("tenants", &[("ENFORCE_TENANT_ISOLATION", "true")]);
    assert!(stderr.matches("tenant").count() >= 1, "once per cause it is logged:\n{stderr}");
}

/// P9 P4: with an unusable environment functions call their source, counted and logged once; direct calls say which variable.
#[test]
fn an_unusable_environment_does_not_break_the_program() {
    let stderr = run("unusable", &[("CACHE_TTL_DEFAULT", "soon"), ("REDIS_PASSWORD", "hunter2")]);
    assert_eq!(stderr.lines().filter(|line| line.contains("CACHE_TTL_DEFAULT")).count(), 1, "{stderr}");
    let stderr = run("no such backend", &[("CACHE_URL", "memcached://:hunter2@localhost:6379/0")]);
    assert!(stderr.contains("CACHE_URL") && !stderr.contains("hunter2"), "{stderr}");
}

/// N10: in debug builds the first use of the global cache logs the catalogue's problems, once.
#[test]
#[cfg(debug_assertions)]
fn the_first_use_logs_problems() {
    let stderr = run("no init", &[]);
    assert_eq!(stderr.matches("misspelt:<id>").count(), 1, "{stderr}");
    assert!(stderr.contains("cache_config.rs:"), "{stderr}");
}

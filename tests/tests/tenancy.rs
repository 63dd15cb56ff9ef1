//! Tenants: what one of them reads, writes, lists, invalidates or clears is its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use cache_runtime::{Cache, Error, ErrorKind, Tenant, cache_read, cache_write, memoize, resource};
use cache_tests::{Row, Source, until};

resource! { user("user", id: u64); }

#[cache_read(key = "user:<id>", tags = ["users", "org:<result.org_id>"], namespace = "people", skip(db))]
async fn get_user(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "rates:<currency>", tenant = global, tags = ["rates"], skip(db))]
async fn get_rate(db: &Source, currency: &str) -> u64 {
    let _ = currency;
    db.tick()
}

#[cache_write(tags = ["rates"], tenant = global)]
async fn publish_rates(db: &Source) -> u64 {
    db.tick()
}

#[cache_write(tags = ["user:<id>"], recache = [get_user(db, id)])]
async fn rename(db: &Source, id: u64, name: &str) -> Row {
    db.write(id, name)
}

#[cache_read(key = "shared:<id>", skip(db))]
async fn get_shared(db: &Arc<Source>, id: u64) -> Row {
    db.row(id).await
}

#[cache_write(tags = ["shared:<id>"], recache = [get_shared(db, id)], recache_mode = background)]
async fn rename_later(db: &Arc<Source>, id: u64, name: &str) -> Row {
    db.write(id, name)
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

/// C5 A1: each tenant has its own entry of a key, and so has nobody in particular.
#[tokio::test]
async fn a_key_is_another_entry_for_each_tenant() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let (a, b) = (tenant("a"), tenant("b"));
            for _ in 0..2 {
                get_user(&db, 1).await;
                a.scope(get_user(&db, 1)).await;
                b.scope(get_user(&db, 1)).await;
            }
            assert_eq!(db.loads(), 3);
            a.scope(cache.set("k", 1_u64).into_future()).await.unwrap();
            assert_eq!(cache.get::<u64>("k").await.unwrap(), None);
            assert_eq!(b.scope(cache.get::<u64>("k")).await.unwrap(), None);
            assert_eq!(a.scope(cache.get::<u64>("k")).await.unwrap(), Some(1));
        })
        .await;
}

/// C4 C5: the physical key is prefix, version, tenant, and what the function says.
#[tokio::test]
async fn the_physical_key_has_the_documented_layout() {
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let cache = Cache::builder()
        .ignore_env()
        .weigher(move |key, _| {
            log.lock().push(key.to_owned());
            1
        })
        .build()
        .await
        .unwrap();
    let db = Source::new();
    cache
        .scope(async {
            tenant("org-123").scope(get_user(&db, 42)).await;
            get_user(&db, 42).await;
            tenant("org-123").scope(get_rate(&db, "eur")).await;
        })
        .await;
    assert_eq!(*seen.lock(), ["tenant-org-123:user:42", "user:42", "rates:eur"]);
    assert_eq!(cache.info().await.unwrap().prefix, "svc:v1");
}

/// C5: `tenant = global` is one entry for all, on both sides.
#[tokio::test]
async fn a_global_function_is_shared_by_all_tenants() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let (a, b) = (tenant("a"), tenant("b"));
            assert_eq!(a.scope(get_rate(&db, "eur")).await, 1);
            assert_eq!(b.scope(get_rate(&db, "eur")).await, 1);
            assert_eq!(get_rate(&db, "eur").await, 1);
            a.scope(publish_rates(&db)).await;
            assert_eq!(b.scope(get_rate(&db, "eur")).await, 3);
            a.scope(cache.clear()).await.unwrap();
            assert_eq!(b.scope(get_rate(&db, "eur")).await, 3, "a tenant clears its own");
        })
        .await;
}

/// C5: with isolation enforced and no tenant, direct calls are refused and functions call their source, store nothing and count it.
#[tokio::test]
async fn enforced_isolation_refuses_access_without_a_tenant() {
    let cache = Cache::builder().ignore_env().enforce_tenant_isolation(true).build().await.unwrap();
    let db = Source::new();
    cache
        .scope(async {
            let refused = |error: Error| assert_eq!(error.kind(), ErrorKind::TenantRequired, "{error}");
            refused(cache.get::<u64>("k").await.unwrap_err());
            refused(cache.set("k", 1_u64).await.unwrap_err());
            refused(cache.delete("k").await.unwrap_err());
            refused(cache.invalidate("t").await.unwrap_err());
            refused(cache.keys("*").next().await.unwrap().unwrap_err());
            refused(cache.delete_match("*").await.unwrap_err());
            refused(get_user::peek(1).await.unwrap_err());
            refused(get_user::put(Row::fresh(1), 1).await.unwrap_err());
            refused(get_user::clear().await.unwrap_err());

            assert_eq!(get_user(&db, 1).await, Row::fresh(1));
            assert_eq!(get_user(&db, 1).await, Row::fresh(1));
            assert_eq!(rename(&db, 1, "x").await.version, 2);
            let stats = get_user::stats();
            assert_eq!((stats.degraded, stats.degraded_by.no_tenant), (2, 2));
            assert_eq!(cache.stats().entries, 0);

            assert_eq!(get_rate(&db, "eur").await, get_rate(&db, "eur").await, "an explicit global is allowed");
            let loads = db.loads();
            let a = tenant("a");
            a.scope(async {
                get_user(&db, 2).await;
                get_user(&db, 2).await;
                cache.set("k", 1_u64).await.unwrap();
                Tenant::global(async { refused(cache.get::<u64>("k").await.unwrap_err()) }).await;
            })
            .await;
            assert_eq!(db.loads(), loads + 1);
        })
        .await;
}

/// C5: a tenant can be left on purpose, and is current again after it.
#[tokio::test]
async fn scopes_nest() {
    let cache = Cache::for_test();
    cache.set("k", 0_u64).await.unwrap();
    let value = || async { (cache.get::<u64>("k").await.unwrap(), Tenant::current().map(|tenant| tenant.to_string())) };
    tenant("a")
        .scope(async {
            cache.set("k", 1_u64).await.unwrap();
            tenant("b").scope(async { assert_eq!(value().await, (None, Some("b".to_owned()))) }).await;
            Tenant::global(async { assert_eq!(value().await, (Some(0), None)) }).await;
            assert_eq!(value().await, (Some(1), Some("a".to_owned())));
        })
        .await;
    assert_eq!(value().await, (Some(0), None));
    tenant("a").scope_blocking(|| assert_eq!(Tenant::current(), Some(tenant("a"))));
}

/// C5: `clear`, `keys`, patterns, tags, namespaces and a function's `clear` are about the tenant in scope only.
#[tokio::test]
async fn what_covers_many_covers_one_tenant() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let (a, b) = (tenant("a"), tenant("b"));
            let fill = || async {
                a.scope(get_user(&db, 1)).await;
                b.scope(get_user(&db, 1)).await;
                get_user(&db, 1).await;
            };
            // Whether a, b and nobody still have theirs.
            let left = || async {
                [
                    a.scope(get_user::peek(1)).await.unwrap().is_some(),
                    b.scope(get_user::peek(1)).await.unwrap().is_some(),
                    get_user::peek(1).await.unwrap().is_some(),
                ]
            };
            macro_rules! takes {
                ($call:expr) => {
                    fill().await;
                    let _ = a.scope($call).await.unwrap();
                    assert_eq!(left().await, [false, true, true], "in a tenant: {}", stringify!($call));
                };
            }
            takes!(cache.clear());
            takes!(cache.invalidate("users"));
            takes!(cache.invalidate("org:0"));
            takes!(cache.invalidate("user:1"));
            takes!(cache.invalidate(user(1)));
            takes!(cache.invalidate_namespace("people"));
            takes!(cache.invalidate_keys(["user:1"]));
            takes!(cache.delete_match("*"));
            takes!(cache.delete_match("user:?"));
            takes!(cache.delete("user:1"));
            takes!(cache.pop::<Row>("user:1"));
            takes!(get_user::invalidate(1));
            takes!(get_user::clear());
            macro_rules! spares {
                ($call:expr) => {
                    fill().await;
                    let _ = $call.await.unwrap();
                    assert_eq!(left().await[..2], [true, true], "in no tenant: {}", stringify!($call));
                };
            }
            spares!(cache.delete_match("*"));
            spares!(cache.delete_match("tenant-*"));
            spares!(cache.delete_match("*user:1"));
            spares!(cache.delete("tenant-a:user:1"));
            spares!(cache.invalidate("users"));
            spares!(cache.invalidate("tenant-a:user:1"));
            spares!(cache.invalidate_keys(["tenant-a:user:1", "a:user:1"]));
            spares!(cache.invalidate_namespace("people"));
            spares!(get_user::clear());
            fill().await;
            let keys = a.scope(async { cache.keys("*").collect::<Vec<_>>().await.unwrap() }).await;
            assert_eq!(keys.iter().map(ToString::to_string).collect::<Vec<_>>(), ["user:1"]);
            assert!(cache.keys("tenant*").next().await.is_none());
            assert_eq!(cache.get::<Row>("tenant-a:user:1").await.unwrap(), None, "a tenant's key cannot be spelt");
            cache.set("tenant-a:user:1", Row::fresh(666)).await.unwrap();
            assert_eq!(a.scope(get_user(&db, 1)).await, Row::fresh(1));
        })
        .await;
}

/// C5 A5: a write recaches in its own tenant, also in the background.
#[tokio::test]
async fn a_background_recache_stays_in_its_tenant() {
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    cache
        .scope(async {
            let a = tenant("a");
            a.scope(rename_later(&db, 1, "secret of a")).await;
            until("the background is done", || cache.stats().background == 0).await;
            assert_eq!(get_shared::peek(1).await.unwrap(), None, "nobody sees what a tenant recached");
            assert_eq!(tenant("b").scope(get_shared::peek(1)).await.unwrap(), None);
            assert_eq!(a.scope(get_shared::peek(1)).await.unwrap().unwrap().name, "secret of a");
        })
        .await;
}

/// C5 C10: callers of different tenants never share a load.
#[tokio::test]
async fn tenants_do_not_share_loads() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let held = db.hold().await;
            let (a, b) = (tenant("a"), tenant("b"));
            let release = async {
                until("two loads", || db.loads() == 2).await;
                drop(held);
            };
            tokio::join!(a.scope(get_user(&db, 1)), a.scope(get_user(&db, 1)), b.scope(get_user(&db, 1)), release);
            assert_eq!(db.loads(), 2);
        })
        .await;
}

// ------------------------------------------------------------------------------------------------------------ randomized

#[cache_read(key = "r:one:<id>", tags = ["even:<id>", "r"], namespace = "one", skip(who))]
async fn one(who: &str, id: u8) -> String {
    format!("{who}/one/{id}")
}

#[cache_read(key = ("r", "two", id), tags = ["even:<id>", "of:<result>"], namespace = "n:<id>", skip(who))]
async fn two(who: &str, id: u8) -> Option<String> {
    Some(format!("{who}/two/{id}"))
}

#[memoize(skip(who), tags = ["r"])]
fn three(who: &str, id: u8) -> String {
    format!("{who}/three/{id}")
}

#[cache_write(tags = ["even:<id>"], patterns = ["r:*:<id>"], namespaces = ["one"], put = one(id))]
async fn write(who: &str, id: u8) -> String {
    format!("{who}/one/{id}")
}

/// C5 P8: whatever tenants do, in any order, nobody sees a value of somebody else, and nobody's entry is taken by somebody else.
#[tokio::test]
async fn nothing_crosses_between_tenants() {
    // A linear congruential generator: the same steps in every run.
    let mut state = 0x5eed_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let cache = Cache::for_test();
    let names = ["", "a", "b", "a-b", "A", "tenant-a", "a.b", "one", "r"];
    cache
        .scope(async {
            // What each of them has under its logical keys, as far as it can be known: set here, dropped only by itself.
            let mut own: BTreeMap<(&str, u8), u64> = BTreeMap::new();
            for step in 0..4000_u64 {
                let who = names[random(names.len() as u64) as usize];
                let id = random(6) as u8;
                let operation = random(16);
                let work = async {
                    let mine =
                        |value: &str| assert!(value.starts_with(&format!("{who}/")), "{who} sees {value} at {step}");
                    match operation {
                        0..=2 => mine(&one(who, id).await),
                        3..=4 => mine(&two(who, id).await.unwrap()),
                        5 => mine(&three(who, id)),
                        6 => mine(&write(who, id).await),
                        7 => cache.invalidate([format!("even:{id}"), format!("of:{who}/two/{id}")]).await.unwrap(),
                        8 => {
                            let pattern = ["r:*", "r:one:?", "*r*:2", "*tenant*"][random(4) as usize];
                            cache.delete_match(pattern).await.unwrap();
                        }
                        9 => cache.invalidate_namespace(["one", "n:1"][random(2) as usize]).await.unwrap(),
                        10 => [one::clear().await, two::clear().await, three::clear().await][random(3) as usize]
                            .as_ref()
                            .map(drop)
                            .unwrap(),
                        11 => {
                            // Without a tenant it is everybody's.
                            if !who.is_empty() && random(8) == 0 {
                                cache.clear().await.unwrap();
                                own.retain(|(owner, _), _| *owner != who);
                            }
                        }
                        12 | 13 => {
                            cache.set(format!("own:{id}"), step).ttl("forever").await.unwrap();
                            own.insert((who, id), step);
                        }
                        14 => {
                            for key in cache.keys("*").collect::<Vec<_>>().await.unwrap() {
                                assert!(!key.as_str().contains("tenant-"), "{who} lists {key}");
                                if let Some(value) = cache.get::<String>(key).await.unwrap() {
                                    mine(&value);
                                }
                            }
                        }
                        _ => {
                            for id in 0..6 {
                                let expected = own.get(&(who, id)).copied();
                                assert_eq!(
                                    cache.get::<u64>(format!("own:{id}")).await.unwrap(),
                                    expected,
                                    "{who} {id} at {step}"
                                );
                            }
                        }
                    }
                };
                match Tenant::new(who) {
                    Ok(tenant) => tenant.scope(work).await,
                    Err(_) => work.await,
                }
            }
        })
        .await;
}

//! Tenants: what one of them reads, writes, lists, invalidates or clears is its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use cache_runtime::{Cache, Error, ErrorKind, Tenant, cache_read, cache_write, memoize, resource};
use cache_tests::{Row, Source};

use crate::backend::{self, soon};

resource! { user("user", id: u64); }

#[cache_read(key = "user:<id>", tags = ["users", "org:<org>"], namespace = "people", skip(db, org))]
async fn get_user(db: &Source, id: u64, org: u64) -> Row {
    let _ = org;
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

#[cache_read(key = "shared:<id>", skip(db))]
async fn get_shared(db: &Arc<Source>, id: u64) -> Row {
    db.row(id).await
}

#[cache_write(tags = ["shared:<id>"], recache = [get_shared(db, id)], recache_mode = background)]
async fn rename_later(db: &Arc<Source>, id: u64, name: &str) -> Row {
    db.write(id, name)
}

#[cache_write(tags = ["users"], patterns = ["user:<id>*"], namespaces = ["people"], keys = ["user:<id>"])]
async fn drop_all(id: u64) {
    let _ = id;
}

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

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

everywhere! {
    /// C4 C5 A1: each tenant has its own entry of a key, and so has nobody in particular; on a server under its own name.
    async fn a_key_is_another_entry_for_each_tenant(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let (a, b) = (tenant("org-123"), tenant("b"));
        for _ in 0..2 {
            get_user(&db, 1, 0).await;
            a.scope(get_user(&db, 1, 0)).await;
            b.scope(get_user(&db, 1, 0)).await;
        }
        assert_eq!(db.loads(), 3);
        a.scope(cache.set("k", 1_u64).into_future()).await.unwrap();
        assert_eq!(cache.get::<u64>("k").await.unwrap(), None);
        assert_eq!(b.scope(cache.get::<u64>("k")).await.unwrap(), None);
        assert_eq!(a.scope(on.other().await.get::<u64>("k")).await.unwrap(), Some(1));
        assert_eq!(a.scope(cache.incr("n", 5)).await.unwrap(), 5);
        assert_eq!(b.scope(cache.incr("n", 1)).await.unwrap(), 1);
        assert!(b.scope(cache.set_nx("k", 2_u64).into_future()).await.unwrap());
        if on.is_shared() {
            let entries: Vec<String> = on.names().await.into_iter().filter(|name| name.ends_with(":user:1")).collect();
            let names = ["tenant-b:user:1", "tenant-org-123:user:1", "user:1"];
            assert_eq!(entries, names.map(|name| format!("{}{name}", on.prefix())));
        }
    }

    /// C5: `tenant = global` is one entry for all, on both sides.
    async fn a_global_function_is_shared_by_all_tenants(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let (a, b) = (tenant("a"), tenant("b"));
        assert_eq!(a.scope(get_rate(&db, "eur")).await, 1);
        assert_eq!(b.scope(get_rate(&db, "eur")).await, 1);
        assert_eq!(get_rate(&db, "eur").await, 1);
        a.scope(publish_rates(&db)).await;
        assert_eq!(b.scope(get_rate(&db, "eur")).await, 3);
        a.scope(cache.clear()).await.unwrap();
        assert_eq!(b.scope(get_rate(&db, "eur")).await, 3, "a tenant clears its own");
        a.scope(get_rate::clear()).await.unwrap();
        assert_eq!(b.scope(get_rate(&db, "eur")).await, 4, "a global function is everybody's");
    }

    /// C5: with isolation enforced and no tenant, direct calls are refused; functions call their source, store nothing, count it.
    async fn enforced_isolation_refuses_access_without_a_tenant(on: &On) {
        let (cache, db) = (on.with(|builder| builder.enforce_tenant_isolation(true)).await, Source::new());
        cache
            .scope(async {
                let refused = |error: Error| assert_eq!(error.kind(), ErrorKind::TenantRequired, "{error}");
                refused(cache.get::<u64>("k").await.unwrap_err());
                refused(cache.set("k", 1_u64).await.unwrap_err());
                refused(cache.set_nx("k", 1_u64).await.unwrap_err());
                refused(cache.set_many([("k", 1_u64)]).await.unwrap_err());
                refused(cache.incr("k", 1).await.unwrap_err());
                refused(cache.delete("k").await.unwrap_err());
                refused(cache.invalidate("t").await.unwrap_err());
                refused(cache.invalidate_namespace("t").await.unwrap_err());
                refused(cache.tag("k", "t").await.unwrap_err());
                refused(cache.entry_info("k").await.unwrap_err());
                refused(cache.clear().await.unwrap_err());
                refused(cache.keys("*").next().await.unwrap().unwrap_err());
                refused(cache.delete_match("*").await.unwrap_err());
                refused(get_user::peek(1).await.unwrap_err());
                refused(get_user::put(Row::fresh(1), 1, 1).await.unwrap_err());
                refused(get_user::clear().await.unwrap_err());
                assert_eq!(get_user(&db, 1, 1).await, Row::fresh(1));
                assert_eq!(get_user(&db, 1, 1).await, Row::fresh(1));
                assert_eq!((db.loads(), get_user::stats().degraded), (2, 2));
                assert_eq!(get_rate(&db, "eur").await, get_rate(&db, "eur").await, "an explicit global is allowed");
                let loads = db.loads();
                tenant("a")
                    .scope(async {
                        get_user(&db, 2, 1).await;
                        get_user(&db, 2, 1).await;
                        cache.set("k", 1_u64).await.unwrap();
                        Tenant::global(async { refused(cache.get::<u64>("k").await.unwrap_err()) }).await;
                        assert_eq!(cache.get::<u64>("k").await.unwrap(), Some(1));
                    })
                    .await;
                assert_eq!(db.loads(), loads + 1);
            })
            .await;
        if on.is_shared() {
            assert!(on.names().await.iter().all(|name| name.contains(":tenant-a:") || name.contains(":rates:") || name.contains("%+")));
        }
    }

    /// C5: a tenant can be left on purpose, and is current again after it.
    async fn scopes_nest(on: &On) {
        let cache = &on.cache;
        cache.set("k", 0_u64).await.unwrap();
        let value = || async { cache.get::<u64>("k").await.unwrap() };
        tenant("a")
            .scope(async {
                cache.set("k", 1_u64).await.unwrap();
                assert_eq!(tenant("b").scope(value()).await, None);
                assert_eq!(Tenant::global(value()).await, Some(0));
                assert_eq!(value().await, Some(1));
            })
            .await;
        assert_eq!(value().await, Some(0));
    }

    /// C5: `clear`, `keys`, patterns, tags, namespaces and a function's `clear` are about the tenant in scope only.
    async fn what_covers_many_covers_one_tenant(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let (a, b) = (tenant("a"), tenant("b"));
        let fill = || async {
            a.scope(get_user(&db, 1, 0)).await;
            b.scope(get_user(&db, 1, 0)).await;
            get_user(&db, 1, 0).await;
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
                let _ = a.scope(async { $call.await.unwrap() }).await;
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
        takes!(cache.expire("user:1", 0));
        takes!(get_user::invalidate(1));
        takes!(get_user::clear());
        takes!(async { Ok::<(), ()>(drop_all(1).await) });
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
        spares!(async { Ok::<(), ()>(drop_all(1).await) });
        fill().await;
        let keys = a.scope(async { cache.keys("*").collect::<Vec<_>>().await.unwrap() }).await;
        assert_eq!(keys, ["user:1"]);
        assert!(cache.keys("tenant*").next().await.is_none());
        assert_eq!(cache.keys("*").collect::<Vec<_>>().await.unwrap(), ["user:1"]);
        // Outside of a tenant, `clear` is about the whole cache.
        cache.clear().await.unwrap();
        assert_eq!(left().await, [false, false, false]);
        // Tenants whose names begin alike.
        tenant("a-b").scope(get_user(&db, 1, 0)).await;
        a.scope(async {
            cache.delete_match("*").await.unwrap();
            cache.clear().await.unwrap();
            assert!(cache.keys("*").next().await.is_none());
        })
        .await;
        assert!(tenant("a-b").scope(get_user::peek(1)).await.unwrap().is_some());
    }

    /// C5 A5: a write recaches in its own tenant, also in the background.
    async fn a_background_recache_stays_in_its_tenant(on: &On) {
        let (cache, db) = (&on.cache, Arc::new(Source::new()));
        let a = tenant("a");
        a.scope(rename_later(&db, 1, "secret of a")).await;
        soon("the background is done", async || cache.stats().background == 0).await;
        assert_eq!(get_shared::peek(1).await.unwrap(), None, "nobody sees what a tenant recached");
        assert_eq!(tenant("b").scope(get_shared::peek(1)).await.unwrap(), None);
        assert_eq!(a.scope(get_shared::peek(1)).await.unwrap().unwrap().name, "secret of a");
    }

    /// C5 C10: callers of different tenants never share a load.
    async fn tenants_do_not_share_loads(on: &On) {
        let db = Source::new();
        let held = db.hold().await;
        let (a, b) = (tenant("a"), tenant("b"));
        let release = async {
            soon("two loads", async || db.loads() == 2).await;
            drop(held);
        };
        tokio::join!(a.scope(get_user(&db, 1, 0)), a.scope(get_user(&db, 1, 0)), b.scope(get_user(&db, 1, 0)), release);
        assert_eq!(db.loads(), 2);
        assert_eq!(on.cache.stats().flights, 0);
    }

    /// C5 P8: whatever tenants do, in any order, nobody sees a value of somebody else, and nobody's entry is taken by
    /// somebody else.
    async fn nothing_crosses_between_tenants(on: &On) {
        // A linear congruential generator: the same steps in every run.
        let mut state = 0x5eed_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let cache: &Cache = &on.cache;
        // Servers answer in their own time, and a pattern goes through all that they have.
        let steps = if on.is_shared() { 300 * u64::from(backend::patience()) } else { 3000 };
        let names = ["", "a", "b", "a-b", "A", "tenant-a", "a.b", "one", "r"];
        // What each of them has under its logical keys, as far as it can be known: set here, dropped only by itself.
        let mut own: BTreeMap<(&str, u8), u64> = BTreeMap::new();
        for step in 0..steps {
            let who = names[random(names.len() as u64) as usize];
            let id = random(6) as u8;
            let operation = random(16);
            let work = async {
                let mine = |value: &str| assert!(value.starts_with(&format!("{who}/")), "{who} sees {value} at {step}");
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
                    10 => match random(3) {
                        0 => one::clear().await.unwrap(),
                        1 => two::clear().await.unwrap(),
                        _ => three::clear().await.unwrap(),
                    },
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
                            let found = cache.get::<u64>(format!("own:{id}")).await.unwrap();
                            assert_eq!(found, expected, "{who} {id} at {step}");
                        }
                    }
                }
            };
            match Tenant::new(who) {
                Ok(tenant) => tenant.scope(work).await,
                Err(_) => work.await,
            }
        }
    }
}

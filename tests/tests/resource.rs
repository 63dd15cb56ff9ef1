//! `resource!`: a named thing with an identity, as key, as tag, and on both sides of reads and writes.

use std::time::Duration;

use cache_runtime::{Cache, Key, KeyPart, cache_read, cache_write, memoize, resource};
use cache_tests::{Failed, Row, Source};

resource! { pub user("user", user_id: u64); }

resource! {
    /// Several in one go, with several parts, other types, and documentation.
    pub(crate) membership("member", org: String, user_id: u64);
    place("place", id: Place);
    settings("settings");
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, KeyPart)]
struct Place(u32);

#[cache_read(resource = user(user_id), suffix = "profile", ttl = "5m", lock = true, skip(db))]
async fn get_profile(db: &Source, user_id: u64) -> Result<Row, Failed> {
    db.load(user_id).await
}

#[cache_read(resource = user(user_id), suffix = "settings", ttl = 600, skip(db))]
async fn get_settings(db: &Source, user_id: u64) -> Row {
    db.row(user_id).await
}

#[cache_read(resource = user(user_id), skip(db))]
async fn get_user(db: &Source, user_id: u64) -> Option<Row> {
    db.find(user_id).await
}

#[cache_read(
    resource = user(user_id),
    suffix = "profile",
    key = "v2:user:<user_id>:profile",
    tags = [user(user_id), "profiles"],
    skip(db)
)]
async fn get_profile_v2(db: &Source, user_id: u64) -> Row {
    db.row(user_id).await
}

#[cache_write(resource = user(user_id), recache = [get_profile(db, user_id), get_settings(db, user_id)], recache_concurrency = 3)]
async fn update_user(db: &Source, user_id: u64, name: &str) -> Result<Row, Failed> {
    db.load(user_id).await?;
    Ok(db.write(user_id, name))
}

#[cache_write(tags = [user(result.id), "users"])]
async fn create_user(db: &Source, id: u64) -> Result<Row, Failed> {
    Ok(db.write(id, "created"))
}

#[cache_read(resource = membership(org, user_id), suffix = "role", skip(db))]
async fn get_role(db: &Source, org: String, user_id: u64) -> u64 {
    let _ = (org, user_id);
    db.tick()
}

#[cache_write(resource = membership(org.clone(), user_id))]
async fn change_role(org: String, user_id: u64) {
    let _ = (org, user_id);
}

#[memoize(tags = [place(id.clone())], skip(db))]
fn distance(db: &Source, id: Place) -> u64 {
    let _ = id;
    db.tick()
}

/// A parameter that has the resource's name.
#[cache_write(tags = [user::tag(user.id)])]
async fn save(db: &Source, user: Row) -> Row {
    db.write(user.id, &user.name)
}

/// A6: key and tag follow from the resource; the suffix tells functions on one resource apart.
#[tokio::test]
async fn key_and_tag_follow_from_the_resource() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(get_profile::key(42).as_str(), "user:profile:42");
            assert_eq!(get_settings::key(42).as_str(), "user:settings:42");
            assert_eq!(get_user::key(42).as_str(), "user:42");
            for id in [42, 43] {
                get_profile(&db, id).await.unwrap();
                get_settings(&db, id).await;
                get_user(&db, id).await;
            }
            assert_eq!(db.loads(), 6);
            cache.invalidate(user(42)).await.unwrap();
            assert_eq!(get_profile::peek(42).await.unwrap(), None);
            assert_eq!(get_settings::peek(42).await.unwrap(), None);
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            assert!(get_profile::peek(43).await.unwrap().is_some() && get_user::peek(43).await.unwrap().is_some());
            get_profile(&db, 42).await.unwrap();
            cache.invalidate("user:42").await.unwrap();
            assert_eq!(get_profile::peek(42).await.unwrap(), None, "the tag is plain text");
        })
        .await;
}

/// A6 A7: the ttl is the read's own.
#[tokio::test]
async fn reads_of_one_resource_have_their_own_ttls() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_profile(&db, 1).await.unwrap();
            get_settings(&db, 1).await;
            let ttl = async |key| cache.ttl(key).await.unwrap().unwrap().duration().unwrap();
            assert_eq!(ttl(user(1).suffix("profile")).await, Duration::from_secs(300));
            assert_eq!(ttl(user(1).suffix("settings")).await, Duration::from_secs(600));
        })
        .await;
}

/// A6: `key` and `tags` override what would be derived.
#[tokio::test]
async fn key_and_tags_can_be_overridden() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            assert_eq!(get_profile_v2::key(42).as_str(), "v2:user:42:profile");
            get_profile_v2(&db, 42).await;
            cache.invalidate("profiles").await.unwrap();
            assert_eq!(get_profile_v2::peek(42).await.unwrap(), None);
            get_profile_v2(&db, 42).await;
            cache.invalidate(user(42)).await.unwrap();
            assert_eq!(get_profile_v2::peek(42).await.unwrap(), None);
        })
        .await;
}

/// A6 A5: the write side invalidates all of the resource and recaches; a failing one does neither.
#[tokio::test]
async fn a_write_of_the_resource_invalidates_and_recaches() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            for id in [4, 42] {
                get_profile(&db, id).await.unwrap();
                get_user(&db, id).await;
            }
            db.set_failing(true);
            update_user(&db, 42, "never").await.unwrap_err();
            assert!(get_user::peek(42).await.unwrap().is_some());
            db.set_failing(false);
            update_user(&db, 42, "new").await.unwrap();
            let loads = db.loads();
            assert_eq!(get_profile(&db, 42).await.unwrap().name, "new");
            assert_eq!(get_settings(&db, 42).await.name, "new");
            assert_eq!(db.loads(), loads, "both were recached");
            assert_eq!(get_user::peek(42).await.unwrap(), None, "the third was dropped");
            assert_eq!(get_user::peek(4).await.unwrap(), Some(Row::fresh(4)), "another one was not touched");
        })
        .await;
}

/// A6 A2: a resource of the result, and one named beside a parameter that shadows it.
#[tokio::test]
async fn a_resource_is_a_tag_anywhere() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            get_user(&db, 7).await;
            create_user(&db, 7).await.unwrap();
            assert_eq!(get_user(&db, 7).await.unwrap().name, "created");
            save(&db, Row { name: "saved".to_owned(), ..Row::fresh(7) }).await;
            assert_eq!(get_user(&db, 7).await.unwrap().name, "saved");
            cache.set("labelled", 1_u64).tags(user(7)).await.unwrap();
            cache.set("labelled too", 1_u64).tags([user(6), user(7)]).await.unwrap();
            cache.invalidate([user(7), user(8)]).await.unwrap();
            assert_eq!(cache.stats().entries, 0);
        })
        .await;
}

/// A6 C1: a resource is a key for direct access, and so is one of its suffixes; the type comes back.
#[tokio::test]
async fn a_resource_is_a_key() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let row = get_user(&db, 42).await.unwrap();
            assert_eq!(cache.get::<Row>(user(42)).await.unwrap(), Some(row.clone()));
            cache.set(user(43), &row).ttl("1m").await.unwrap();
            assert_eq!(get_user(&db, 43).await, Some(row.clone()));
            get_profile(&db, 42).await.unwrap();
            assert_eq!(cache.get::<Row>(user(42).suffix("profile")).await.unwrap(), Some(row));
            let key: Key = user(42).suffix("profile");
            assert_eq!(key, get_profile::key(42));
            assert!(cache.delete(user(42)).await.unwrap());
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            assert!(get_profile::peek(42).await.unwrap().is_some(), "`delete` is about one key");
            assert_eq!(user(42), user::tag(42));
            assert_ne!(user(42), user(43));
            assert_eq!(user(42).to_string(), "user:42");
            assert_eq!(settings().to_string(), "settings");
        })
        .await;
}

/// A6 N3: several parts, hostile text in them, and a derived type.
#[tokio::test]
async fn a_resource_may_have_several_parts() {
    let (cache, db) = (Cache::for_test(), Source::new());
    cache
        .scope(async {
            let org = |text: &str| text.to_owned();
            assert_eq!(get_role::key(org("acme"), 1).as_str(), "member:role:acme:1");
            let all = ["acme", "acme:1", "*", "a%3Ab", "a:b", ""];
            for (index, name) in all.iter().enumerate() {
                assert_eq!(get_role(&db, org(name), 1).await, index as u64 + 1);
            }
            change_role(org("*"), 1).await;
            change_role(org("acme"), 11).await;
            for name in all {
                assert_eq!(get_role::peek(org(name), 1).await.unwrap().is_none(), name == "*", "{name}");
            }
            distance(&db, Place(3));
            cache.invalidate(place(Place(4))).await.unwrap();
            assert!(distance::peek(Place(3)).await.unwrap().is_some());
            cache.invalidate(place(Place(3))).await.unwrap();
            assert!(distance::peek(Place(3)).await.unwrap().is_none());
        })
        .await;
}

//! The programs at the head of the public surface: one function with its verbs, and resources.

use super::*;

mod api {
    //! The program at the head of the public surface.
    use super::*;

    #[cache_read(key = "user:<user_id>", ttl = "5m", tags = ["user:<user_id>", "org:<result.org_id>"], skip(db))]
    pub async fn get_user(db: &Db, user_id: u64) -> Result<User, DbError> {
        db.user(user_id).await
    }

    #[cache_write(tags = ["user:<user_id>"], recache = [get_user(db, user_id)])]
    pub async fn rename_user(db: &Db, user_id: u64, name: String) -> Result<User, DbError> {
        db.names.lock().insert(user_id, name.clone());
        Ok(User { id: user_id, org_id: user_id / 10, name })
    }

    #[derive(Clone, Copy, cache_runtime::KeyPart)]
    pub enum Period {
        Day,
        #[allow(dead_code)]
        Week,
    }

    #[memoize(ttl = "60s")]
    pub async fn report(period: Period, region: &str) -> String {
        format!("{} in {region}", matches!(period, Period::Day))
    }
}

/// A1 A4 A5 N11: the first example, with every verb.
#[tokio::test]
async fn the_first_example() {
    let cache = cache_runtime::Cache::for_test();
    cache
        .scope(async {
            use api::{get_user, rename_user};
            let db = Db::default();
            let user = get_user(&db, 42).await.unwrap();
            assert_eq!(get_user(&db, 42).await.unwrap(), user);
            assert_eq!(db.queries(), 1);
            rename_user(&db, 42, "Grace".to_owned()).await.unwrap();
            assert_eq!(db.queries(), 2);
            assert_eq!(get_user(&db, 42).await.unwrap().name, "Grace");
            assert_eq!(db.queries(), 2);

            assert_eq!(get_user::key(42).as_str(), "user:42");
            assert_eq!(get_user::peek(42).await.unwrap().unwrap().name, "Grace");
            get_user::invalidate(42).await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            get_user::put(&user, 42).await.unwrap();
            assert_eq!(get_user(&db, 42).await.unwrap().name, "user 42");
            assert_eq!(get_user::refresh(&db, 42).await.unwrap().name, "Grace");
            assert_eq!(get_user::bypass(&db, 42).await.unwrap().name, "Grace");
            get_user::clear().await.unwrap();
            assert_eq!(get_user::peek(42).await.unwrap(), None);
            let ids = vec![1, 2, 3];
            get_user::warm(ids, |id| (&db, id)).concurrency(2).await;
            assert!(get_user::peek(3).await.unwrap().is_some());
            let _ = get_user::stats();
            assert_eq!(key!("user:<id>", id = 42).as_str(), "user:42");

            assert_eq!(api::report(api::Period::Day, "eu").await, "true in eu");
        })
        .await;
}

resource! { pub user("user", user_id: u64); }

#[cache_read(resource = user(user_id), suffix = "profile", ttl = "5m", lock = true)]
async fn get_profile(user_id: u64) -> Result<Arc<User>, DbError> {
    Ok(Arc::new(User { id: user_id, org_id: 1, name: "profile".to_owned() }))
}

#[cache_write(resource = user(user_id), recache = [get_profile(user_id)])]
async fn update_user(user_id: u64, data: User) -> Result<User, DbError> {
    Ok(User { id: user_id, ..data })
}

#[cache_write(tags = [user(result.id), "users"])]
async fn create_user(data: User) -> Result<User, DbError> {
    Ok(data)
}

/// A6: resources as keys and tags.
#[tokio::test]
async fn resources() {
    let cache = cache_runtime::Cache::for_test();
    cache
        .clone()
        .scope(async {
            let first = get_profile(42).await.unwrap();
            assert!(Arc::ptr_eq(&first, &get_profile(42).await.unwrap()));
            assert_eq!(get_profile::key(42).as_str(), "user:profile:42");
            assert_eq!(user(42).suffix("profile"), get_profile::key(42));
            assert_eq!(user(42).suffix("profile").template(), get_profile::key(42).template());
            create_user(User { id: 42, org_id: 1, name: String::new() }).await.unwrap();
            let second = get_profile(42).await.unwrap();
            assert!(!Arc::ptr_eq(&first, &second));
            update_user(42, User { id: 1, org_id: 1, name: String::new() }).await.unwrap();
            cache.invalidate(user(42)).await.unwrap();
            assert_eq!(get_profile::peek(42).await.unwrap(), None);
        })
        .await;
}

/// N11: the catalogue names the templates of resources, and what is stored, before anything has run.
#[test]
fn the_catalogue_knows_resources_and_types() {
    let catalogue = cache_runtime::catalogue();
    let function = |name: &str| *catalogue.functions().iter().find(|function| function.name() == name).unwrap();
    assert_eq!(function("get_profile").tags(), ["user:<user_id>"]);
    assert_eq!(function("update_user").tags(), ["user:<user_id>"]);
    assert_eq!(function("create_user").tags(), ["*", "users"]);
    assert_eq!(function("get_profile").value(), Some(std::any::type_name::<User>()));
}

//! A parameter that is in neither the key nor `skip(..)`, a receiver, and a generic parameter.
use cache_runtime::cache_read;

struct Db;

#[cache_read(key = "user:<user_id>", ttl = "5m")]
async fn get_user(db: &Db, user_id: u64) -> u64 {
    let _ = db;
    user_id
}

struct Service;

impl Service {
    #[cache_read(key = "user:<user_id>")]
    async fn get_user(&self, user_id: u64) -> u64 {
        user_id
    }
}

#[cache_read(key = "user:<user_id>")]
async fn get_as<T: Default>(user_id: u64) -> u64 {
    let _ = T::default();
    user_id
}

#[cache_read(key = ("user", user_id), skip(db))]
async fn with_region(db: &Db, user_id: u64, (region, _): (u32, u32)) -> u64 {
    let _ = (db, region);
    user_id
}

fn main() {}

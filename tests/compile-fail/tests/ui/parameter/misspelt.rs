//! Placeholders and names in `skip(..)` that name no parameter.
use cache_runtime::{cache_read, cache_write};

struct Db;

#[cache_read(key = "user:<usr_id>", skip(db))]
async fn key(db: &Db, user_id: u64) -> u64 {
    let _ = db;
    user_id
}

#[cache_read(key = "user:<user_id>", tags = ["org:<reslt.org_id>"], skip(dbb))]
async fn tag_and_skip(db: &Db, user_id: u64) -> u64 {
    let _ = db;
    user_id
}

#[cache_write(tags = ["user:<4>"], put = "user:<id>")]
async fn put(user_id: u64) -> u64 {
    user_id
}

#[cache_read(key = "user:<zzz>:<region>", ttl = "5m")]
async fn nothing_near(user_id: u64, region: String) -> u64 {
    let _ = region;
    user_id
}

fn main() {}

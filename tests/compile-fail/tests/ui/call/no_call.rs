//! What stands in `recache` and is no call of a function.
use cache_runtime::{cache_read, cache_write};

struct Db;

#[cache_read(key = "user:<user_id>", skip(db))]
async fn get_user(db: &Db, user_id: u64) -> u64 {
    let _ = db;
    user_id
}

#[cache_write(tags = ["user:<user_id>"], recache = [get_user, get_user(db, user_id).await, 3])]
async fn no_call(db: &Db, user_id: u64) -> u64 {
    let _ = db;
    user_id
}

#[cache_write(put = get_user)]
async fn put(user_id: u64) -> u64 {
    user_id
}

fn main() {}

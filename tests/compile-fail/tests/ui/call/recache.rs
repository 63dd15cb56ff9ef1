//! `recache` and `put` are checked as the calls that they are.
use cache_runtime::{cache_read, cache_write};

struct Db;

#[cache_read(key = "user:<user_id>", skip(db))]
async fn get_user(db: &Db, user_id: u64) -> u64 {
    let _ = db;
    user_id
}

#[cache_write(tags = ["user:<user_id>"], recache = [get_user(db, name)])]
async fn wrong_type(db: &Db, user_id: u64, name: &str) -> u64 {
    let _ = (db, name);
    user_id
}

#[cache_write(tags = ["user:<user_id>"], recache = [get_user(user_id)])]
async fn too_few(user_id: u64) -> u64 {
    user_id
}

#[cache_write(put = get_user(name))]
async fn put(name: &str) -> u64 {
    name.len() as u64
}

fn main() {}

//! `result` where there is none, and a parameter of that name.
use cache_runtime::{cache_read, cache_write};

#[cache_read(key = "user:<result.id>", skip(user_id))]
async fn in_a_key(user_id: u64) -> u64 {
    user_id
}

#[cache_read(key = "x:<result>", tags = ["user:<result>"])]
async fn parameter(result: u64) -> u64 {
    result
}

#[cache_write(tags = ["user:<result>", "user:<user_id>"], fence = "30s")]
async fn fenced(user_id: u64) -> u64 {
    user_id
}

fn main() {}

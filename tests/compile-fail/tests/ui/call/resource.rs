//! Resources are types: a misspelt or mistyped one does not compile.
use cache_runtime::{cache_read, cache_write, resource};

resource! { user("user", user_id: u64); }

#[cache_read(resource = user(name))]
async fn mistyped(name: String) -> u64 {
    name.len() as u64
}

#[cache_write(tags = [user("1")])]
async fn mistyped_tag(user_id: u64) -> u64 {
    user_id
}

fn main() {}

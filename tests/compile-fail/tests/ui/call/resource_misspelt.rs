//! A resource that does not exist.
use cache_runtime::{cache_read, cache_write, resource};

resource! { user("user", user_id: u64); }

#[cache_read(resource = usr(user_id))]
async fn misspelt(user_id: u64) -> u64 {
    user_id
}

#[cache_write(tags = [usr(user_id)])]
async fn misspelt_tag(user_id: u64) -> u64 {
    user_id
}

fn main() {
    let _ = user(1);
}

//! A resource without its id, and a suffix that is no text.
use cache_runtime::{cache_read, resource};

resource! { user("user", user_id: u64); }

#[cache_read(resource = user, suffix = "a:<b>", skip(user_id))]
async fn no_id(user_id: u64) -> u64 {
    user_id
}

fn main() {}

//! A function that is not cached cannot be recached: rustc's own error, at its name.
use cache_runtime::cache_write;

async fn plain(user_id: u64) -> u64 {
    user_id
}

#[cache_write(tags = ["user:<user_id>"], recache = [plain(user_id)])]
async fn not_cached(user_id: u64) -> u64 {
    user_id
}

fn main() {}

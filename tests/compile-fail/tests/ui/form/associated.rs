//! A function of an `impl` without `self`: nothing tells it from a free one.
use cache_runtime::cache_read;

struct Repo;

impl Repo {
    #[cache_read(key = "user:<id>")]
    pub async fn user(id: u64) -> u64 {
        id
    }
}

fn main() {}

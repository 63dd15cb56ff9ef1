//! An associated function that nothing tells from a free one: `companion = method` does.
use cache_runtime::cache_read;

struct Repo;

impl Repo {
    #[cache_read(key = "x:<a>")]
    pub async fn load(a: u64) -> u64 {
        a
    }
}

fn main() {}

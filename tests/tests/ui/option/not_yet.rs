//! Options of the next version.
use cache_runtime::cache_read;

#[cache_read(key = "x:<a>", ttl = "5m", stale = "1m", early_ttl = "4m", timeout = "1s")]
async fn later(a: u64) -> u64 {
    a
}

fn main() {}

//! Options that do not exist, are there twice, cannot be read, or do not go together.
use cache_runtime::{cache_read, cache_write, memoize};

#[cache_read(key = "x:<a>", tll = "5m")]
async fn unknown(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", recache = [f(a)])]
async fn of_another_attribute(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", ttl = "5m", ttl = "6m")]
async fn duplicate(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", ttl = "5mins")]
async fn duration(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", ttl = "0s")]
async fn zero(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", stale = "1m")]
async fn stale_without_ttl(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", key_with = build)]
async fn two_keys(a: u64) -> u64 {
    a
}

#[cache_read(ttl = "5m")]
async fn no_key(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", suffix = "profile")]
async fn suffix_without_resource(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", codec = jsn, lock = 1, on_error = "fail", jitter = "200%", version = 0)]
async fn values(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", ttl = "forever", refresh = true)]
async fn forever(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", lock)]
async fn no_value(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", "5m")]
async fn not_an_option(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>" ttl = "5m")]
async fn no_comma(a: u64) -> u64 {
    a
}

#[cache_write]
async fn nothing(a: u64) -> u64 {
    a
}

#[cache_write(recache_mode = background)]
async fn mode_of_nothing(a: u64) -> u64 {
    a
}

#[memoize(key = "x:<a>", lock = true)]
fn not_of_memoize(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", skip(a))]
async fn in_both(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>", monitor = "1")]
async fn no_share(a: u64) -> u64 {
    a
}

fn main() {}

//! Functions that an attribute cannot stand on.
use cache_runtime::{cache_read, cache_write, memoize};

#[cache_read(key = "x:<a>")]
fn not_async(a: u64) -> u64 {
    a
}

#[cache_write(tags = ["x:<a>"])]
fn write_not_async(a: u64) -> u64 {
    a
}

#[memoize]
unsafe fn not_safe(a: u64) -> u64 {
    a
}

#[memoize]
const fn constant(a: u64) -> u64 {
    a
}

#[cache_read(key = "x:<a>")]
async fn opaque(a: u64) -> impl std::fmt::Debug {
    a
}

#[cache_read(key = "x:<a>")]
async fn opaque_key(a: impl std::fmt::Display) -> u64 {
    let _ = a;
    1
}

#[cache_read(key = "x")]
struct NotAFunction;

trait Trait {
    #[cache_read(key = "x:<a>", skip(self))]
    async fn no_body(&self, a: u64) -> u64;
}

fn main() {}

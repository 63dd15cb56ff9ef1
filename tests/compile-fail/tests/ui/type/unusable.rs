//! Types that cannot be a part of a key, cannot be stored, cannot carry an error.
use cache_runtime::{KeyPart, cache_read, cache_write, memoize};

#[derive(Clone)]
struct Opaque;

#[derive(serde::Serialize, serde::Deserialize)]
struct Unique {
    a: u64,
}

#[cache_read(key = "x:<ratio>")]
async fn float(ratio: f64) -> u64 {
    ratio as u64
}

#[cache_read(key = "x:<a>", tags = ["y:<a>", "z:<a>"])]
async fn not_a_part(a: Opaque) -> u64 {
    let _ = a;
    1
}

#[cache_read(key = auto)]
async fn field_of_auto(a: u64, b: Vec<Opaque>) -> u64 {
    let _ = b;
    a
}

#[cache_read(key = "x:<a>")]
async fn not_storable(a: u64) -> Result<Opaque, String> {
    let _ = a;
    Ok(Opaque)
}

#[cache_read(key = "x:<a>", ttl = "1m")]
async fn not_clone(a: u64) -> Option<Unique> {
    Some(Unique { a })
}

#[memoize]
fn not_memoizable(a: u64) -> std::rc::Rc<u64> {
    std::rc::Rc::new(a)
}

#[cache_read(key = "x:<a>", on_error = fail)]
async fn carries_no_error(a: u64) -> Result<u64, String> {
    Ok(a)
}

#[cache_write(tags = ["x:<a>"], on_error = fail)]
async fn returns_no_result(a: u64) -> u64 {
    a
}

#[derive(KeyPart)]
struct Point {
    x: f64,
    y: u32,
}

struct Nothing;

#[cache_read(key = "x:<a>")]
async fn neither_storable_nor_clone(a: u64) -> Option<Nothing> {
    let _ = a;
    None
}

#[cache_read(key = "x:<id>", each(id in ids))]
async fn nothing_of_each(ids: Vec<u64>) -> Vec<Option<Nothing>> {
    ids.into_iter().map(|_| None).collect()
}

fn main() {}

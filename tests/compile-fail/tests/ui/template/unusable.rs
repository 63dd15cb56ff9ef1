//! Templates that are empty, unbalanced, ambiguous or reserved.
use cache_runtime::{cache_read, key, resource};

#[cache_read(key = "")]
async fn empty() -> u64 {
    1
}

#[cache_read(key = "user:<user_id")]
async fn open(user_id: u64) -> u64 {
    user_id
}

#[cache_read(key = "user:user_id>")]
async fn closed(user_id: u64) -> u64 {
    user_id
}

#[cache_read(key = "user:<a><b>")]
async fn touching(a: u64, b: u64) -> u64 {
    a + b
}

#[cache_read(key = "user:<a>-{b}")]
async fn dashed(a: u64, b: u64) -> u64 {
    a + b
}

#[cache_read(key = "100%:<a>")]
async fn percent(a: u64) -> u64 {
    a
}

#[cache_read(key = "tenant-a:<a>")]
async fn tenant(a: u64) -> u64 {
    a
}

#[cache_read(key = "user:<a:lowr>")]
async fn modifier(a: String) -> u64 {
    a.len() as u64
}

#[cache_read(key = "user:<a + 1>")]
async fn expression(a: u64) -> u64 {
    a
}

#[cache_read(key = format!("user:{a}"))]
async fn computed(a: u64) -> u64 {
    a
}

resource! { broken("a:<b>", id: u64); }

fn main() {
    let id = 1;
    let _ = key!("user:<id");
    let _ = key!("user:<0>");
    let _ = id;
}

//! Several mistakes in one function are all reported, each once.
use cache_runtime::cache_read;

struct Db;

#[cache_read(key = "user:<usr_id>", tll = "5m", jitter = "x", tags = ["a:<b"])]
async fn many(db: &Db, user_id: u64) -> u64 {
    let _ = db;
    user_id
}

#[cache_read(key = "org:<org_id>")]
async fn forgotten(org_id: u64, region: &str) -> u64 {
    let _ = region;
    org_id
}

async fn caller() -> u64 {
    // The functions are still there.
    let _ = many::invalidate(1).await;
    let _ = many::peek(1).await.map(|found: Option<u64>| found);
    let _ = many::refresh(&Db, 1).await;
    many(&Db, 1).await + forgotten(2, "eu").await
}

fn main() {
    let _ = caller();
}

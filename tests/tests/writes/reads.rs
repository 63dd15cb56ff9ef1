//! What writes are watched through: reads of one row under different keys and labels.

use std::sync::Arc;

use cache_runtime::{cache_read, resource};
use cache_tests::{Broken, Failed, Row, Source};

resource! { pub user("user", id: u64); }

#[cache_read(key = "user:<id>", ttl = "10m", tags = ["users", "org:<result.org_id>"], skip(db))]
pub(crate) async fn get_user(db: &Source, id: u64) -> Result<Row, Failed> {
    db.load(id).await
}

#[cache_read(key = "profile:<id>", tags = ["user:<id>"], skip(db))]
pub(crate) async fn get_profile(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "list:<org>:<page>", tags = ["lists"], namespace = "lists:<org>", skip(db))]
pub(crate) async fn get_list(db: &Source, org: &str, page: u32) -> u64 {
    let _ = (org, page);
    db.tick()
}

#[cache_read(key = "maybe:<id>", skip(db))]
pub(crate) async fn find_user(db: &Source, id: u64) -> Result<Option<Arc<Row>>, Broken> {
    Ok(db.try_find(id).await?.map(Arc::new))
}

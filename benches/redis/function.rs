//! The functions that are measured, and what they return.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use cache_runtime::cache_read;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Page {
    id: u64,
    title: String,
    body: String,
}

impl Page {
    pub(crate) fn of(id: u64, size: usize) -> Self {
        Self { id, title: format!("page {id}"), body: "x".repeat(size) }
    }
}

#[cache_read(key = "small:<id>", ttl = "1h")]
pub(crate) async fn small(id: u64) -> Arc<Page> {
    Arc::new(Page::of(id, 64))
}

#[cache_read(key = "small-tagged:<id>", ttl = "1h", tags = ["page:<id>", "pages"])]
pub(crate) async fn small_tagged(id: u64) -> Arc<Page> {
    Arc::new(Page::of(id, 64))
}

#[cache_read(key = "large:<id>", ttl = "1h")]
pub(crate) async fn large(id: u64) -> Arc<Page> {
    Arc::new(Page::of(id, 4096))
}

#[cache_read(key = "large-tagged:<id>", ttl = "1h", tags = ["page:<id>", "pages"])]
pub(crate) async fn large_tagged(id: u64) -> Arc<Page> {
    Arc::new(Page::of(id, 4096))
}

#[cache_read(key = "element:<id>", ttl = "1h", tags = ["pages"], each(id in ids))]
pub(crate) async fn elements(ids: Vec<u64>) -> Vec<Option<Arc<Page>>> {
    ids.into_iter().map(|id| Some(Arc::new(Page::of(id, 64)))).collect()
}

pub(crate) static LOADS: AtomicU64 = AtomicU64::new(0);

#[cache_read(key = "cold:<id>", ttl = "1h", lock = true)]
pub(crate) async fn cold(id: u64) -> u64 {
    LOADS.fetch_add(1, Relaxed);
    tokio::time::sleep(Duration::from_millis(50)).await;
    id
}

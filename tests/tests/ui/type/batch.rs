//! A batch whose elements cannot be stored.
use cache_runtime::cache_read;
use std::collections::HashMap;

#[derive(Clone)]
struct Opaque;

#[cache_read(key = "user:<id>", each(id in ids))]
async fn not_storable(ids: Vec<u64>) -> HashMap<u64, Opaque> {
    ids.into_iter().map(|id| (id, Opaque)).collect()
}

fn main() {}

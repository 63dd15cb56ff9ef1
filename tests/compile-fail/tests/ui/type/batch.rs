//! Batches whose elements cannot be stored, or not be told apart.
use cache_runtime::cache_read;
use std::collections::HashMap;

#[derive(Clone)]
struct Opaque;

#[cache_read(key = "user:<id>", each(id in ids))]
async fn not_storable(ids: Vec<u64>) -> HashMap<u64, Opaque> {
    ids.into_iter().map(|id| (id, Opaque)).collect()
}

#[cache_read(key = "user:<id>", each(id in ids))]
async fn which_is_which(ids: Vec<u64>) -> Result<Vec<u64>, std::fmt::Error> {
    Ok(ids)
}

fn main() {}

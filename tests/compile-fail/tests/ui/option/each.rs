//! Batches that are not one.
use cache_runtime::cache_read;
use std::collections::HashMap;

#[cache_read(key = "user:<id>", each(id in idz))]
async fn no_parameter(ids: Vec<u64>) -> HashMap<u64, u64> {
    ids.into_iter().map(|id| (id, id)).collect()
}

#[cache_read(key = "user:<ids>", each(id in ids))]
async fn element_not_in_key(ids: Vec<u64>) -> HashMap<u64, u64> {
    ids.into_iter().map(|id| (id, id)).collect()
}

#[cache_read(key = "user:<id>", each(id of ids))]
async fn form(ids: Vec<u64>) -> HashMap<u64, u64> {
    ids.into_iter().map(|id| (id, id)).collect()
}

#[cache_read(key = "user:<ids>", by = |v| *v)]
async fn by_without_each(ids: Vec<u64>) -> Vec<u64> {
    ids
}

#[cache_read(key = "user:<id>", each(id in ids))]
fn not_async(ids: Vec<u64>) -> HashMap<u64, u64> {
    ids.into_iter().map(|id| (id, id)).collect()
}

fn main() {}

use std::collections::HashMap;

use cache_runtime::cache_read;

#[cache_read(key = "x:<id>", each(id in ids), ttl = "5m", stale = "1m", early_ttl = "4m")]
async fn later(ids: Vec<u64>) -> HashMap<u64, u64> {
    ids.into_iter().map(|id| (id, id)).collect()
}

fn main() {}

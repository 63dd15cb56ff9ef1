//! Options that can have no effect on what the function returns, and errors that it cannot carry.
use cache_runtime::{cache_read, cache_write, memoize};

struct NotClone;

#[cache_read(key = "x:<id>", ttl_err = "2s")]
async fn never_fails(id: u64) -> u64 {
    id
}

#[cache_read(key = "x:<id>", ttl_err = "2s")]
async fn uncloneable(id: u64) -> Result<u64, NotClone> {
    Ok(id)
}

#[memoize(ttl_none = "0s")]
fn always_there(id: u64) -> Result<u64, String> {
    Ok(id)
}

#[cache_read(key = "x:<id>", each(id in ids), ttl_err = "2s")]
async fn of_many(ids: Vec<u64>) -> Result<Vec<Option<u64>>, String> {
    Ok(ids.into_iter().map(Some).collect())
}

#[cache_read(key = "x:<id>", on_error = fail)]
async fn cannot_fail(id: u64) -> u64 {
    id
}

#[cache_read(key = "x:<id>", on_error = fail)]
async fn cannot_carry(id: u64) -> Result<u64, NotClone> {
    Ok(id)
}

#[cache_read(key = "x:<id>", each(id in ids), on_error = fail)]
async fn cannot_carry_many(ids: Vec<u64>) -> Vec<Option<u64>> {
    ids.into_iter().map(Some).collect()
}

#[cache_write(tags = ["x:<id>"], on_error = fail)]
async fn cannot_carry_either(id: u64) -> Result<u64, NotClone> {
    Ok(id)
}

fn main() {}

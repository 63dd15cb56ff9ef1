use std::collections::HashMap;

use cache_runtime::cache_read;

struct Db;

struct Filter;

#[derive(Clone)]
struct View<'a>(&'a str);

type Rows = HashMap<u64, u64>;

#[cache_read(each(id in ids), key = "a:<id>", ttl = "5m", stale = "1m", skip(db))]
async fn not_clone(db: &Db, ids: Vec<u64>) -> Rows {
    let _ = db;
    ids.into_iter().map(|id| (id, id)).collect()
}

#[cache_read(each(id in ids), key = "b:<id>", ttl = "5m", early_ttl = "1m", skip(filter))]
async fn by_value(filter: Filter, ids: Vec<u64>) -> Rows {
    let _ = filter;
    ids.into_iter().map(|id| (id, id)).collect()
}

#[cache_read(each(id in ids), key = "c:<id>", ttl = "5m", early_ttl = "1m", skip(view))]
async fn borrowed(view: View<'_>, ids: &[u64]) -> Rows {
    ids.iter().map(|id| (*id, view.0.len() as u64)).collect()
}

#[cache_read(each(id in ids), key = "d:<id>", ttl = "5m", timeout = "1s")]
async fn no_error(ids: Vec<u64>) -> Rows {
    ids.into_iter().map(|id| (id, id)).collect()
}

#[cache_read(each(id in ids), key = "e:<id>", stale = "1m")]
async fn no_ttl(ids: Vec<u64>) -> Rows {
    ids.into_iter().map(|id| (id, id)).collect()
}

#[cache_read(each(id in ids), key = "f:<id>", ttl = "5m", stale_if_error = "1m", skip(db, filter))]
async fn fine(db: &Db, filter: Filter, ids: &[u64]) -> Rows {
    let _ = (db, filter);
    ids.iter().map(|id| (*id, *id)).collect()
}

fn main() {}

//! P10: what each thing costs in round trips to a Redis server, counted by a proxy in front of it; which commands are sent,
//! and which keys are there.
//!
//! `cost` measures one thing after the other; `busy` looks at what a cache that does everything has sent and left.

#[path = "../fleet/mod.rs"]
mod fleet;

mod busy;
mod cost;

use std::collections::HashMap;
use std::sync::Arc;

use cache_runtime::{Tenant, cache_read, cache_write};
use fleet::{Place, Row};

// ----------------------------------------------------------------------------------------------------------------- reads

macro_rules! reads {
    ($($(#[$attr:meta])* $name:ident($at:ident, $id:ident) -> $ty:ty = $value:expr;)*) => {
        $($(#[$attr])*
        async fn $name($at: &Place, $id: u64) -> $ty {
            $value
        })*
    };
}
reads! {
    #[cache_read(key = "untagged:<id>", cache = at.cache, skip(at))]
    untagged(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "two:<id>", cache = at.cache, tags = ["group:<id>", "all"], skip(at))]
    two_tags(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "ten:<id>", cache = at.cache, tags = (0..10).map(|n| format!("t{n}:{id}")), skip(at))]
    ten_tags(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "result:<id>", cache = at.cache, tags = ["group:<id>", "org:<result.org>", "own:<result.id>"], skip(at))]
    result_tags(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "json:<id>", cache = at.cache, tags = ["group:<id>"], codec = json, skip(at))]
    json(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "absent:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
    absent(at, id) -> Option<Row> = Some(at.read(id).await).filter(|_| false);
    #[cache_read(key = "named:<id>", cache = at.cache, namespace = "rows", tags = ["group:<id>"], skip(at))]
    named(at, id) -> Arc<Row> = Arc::new(at.read(id).await);
    #[cache_read(key = "locked:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, skip(at))]
    locked(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "packed:<id>", cache = at.cache, tags = ["group:<id>"], compress_above = "16", skip(at))]
    packed(at, id) -> String = format!("{:0200}", at.read(id).await.version);
    #[cache_read(key = "forever:<id>", cache = at.cache, tags = ["for ever:<id>"], ttl = "forever", skip(at))]
    forever(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "forever_json:<id>", cache = at.cache, codec = json, ttl = "forever", skip(at))]
    forever_json(at, id) -> Row = at.read(id).await;
    #[cache_read(key = "day:<id>", cache = at.cache, tags = ["day:<id>"], ttl = "24h", skip(at))]
    a_day(at, id) -> Row = at.read(id).await;
}

#[cache_read(key = "batch:<id>", cache = at.cache, tags = ["group:<id>", "all"], each(id in ids), skip(at))]
async fn batch(at: &Place, ids: Vec<u64>) -> HashMap<u64, Row> {
    rows(at, ids).await
}

async fn rows(at: &Place, ids: Vec<u64>) -> HashMap<u64, Row> {
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, at.read(id).await);
    }
    rows
}

#[cache_read(key = "batch_of_result:<id>", cache = at.cache, tags = ["group:<id>", "own:<result.id>"], each(id in ids), skip(at))]
async fn batch_of_result(at: &Place, ids: Vec<u64>) -> HashMap<u64, Row> {
    rows(at, ids).await
}

async fn direct(at: &Place, id: u64) -> Row {
    let load = || async { Ok::<_, std::convert::Infallible>(at.read(id).await) };
    let Ok(row) = at.cache.get_or_load(format!("direct:{id}"), load).tags(["all", "more"]).await;
    row
}

async fn of_tenant(at: &Place, id: u64) -> Row {
    Tenant::new("acme").unwrap().scope(two_tags(at, id)).await
}

type Work = for<'a> fn(&'a Place, u64) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! work {
    (|$at:ident, $id:pat_param| $work:expr) => {
        |$at, $id| {
            Box::pin(async move {
                let _ = $work.await;
            })
        }
    };
}

use work;

/// Every kind of read.
const READS: [(&str, Work); 13] = [
    ("without tags", work!(|at, id| untagged(at, id))),
    ("two tags", work!(|at, id| two_tags(at, id))),
    ("ten tags", work!(|at, id| ten_tags(at, id))),
    ("tags of the result", work!(|at, id| result_tags(at, id))),
    ("plain JSON", work!(|at, id| json(at, id))),
    ("an absent value", work!(|at, id| absent(at, id))),
    ("in a namespace", work!(|at, id| named(at, id))),
    ("locked", work!(|at, id| locked(at, id))),
    ("compressed", work!(|at, id| packed(at, id))),
    ("for ever", work!(|at, id| forever(at, id))),
    ("get_or_load", work!(|at, id| direct(at, id))),
    ("of a tenant", work!(|at, id| of_tenant(at, id))),
    ("one of a batch", work!(|at, id| batch(at, vec![id]))),
];

// ---------------------------------------------------------------------------------------------------------------- writes

macro_rules! writes {
    ($($(#[$attr:meta])* $name:ident($at:ident, $id:ident);)*) => {
        $($(#[$attr])*
        async fn $name($at: &Place, $id: u64) -> Row {
            $at.commit($id)
        })*
    };
}
writes! {
    #[cache_write(cache = at.cache, tags = ["group:<id>"])]
    write_tag(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>", "all", "org:<result.org>"], keys = ["two:<id>", "json:<id>"], namespaces = ["rows"])]
    write_much(at, id);
    #[cache_write(cache = at.cache, keys = ["two:<id>"])]
    write_key(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], recache = [two_tags(at, id)])]
    write_recache(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], recache = [batch(at, (0..50).collect())])]
    write_recache_batch(at, id);
    #[cache_write(cache = at.cache, put = untagged(at, id))]
    put_alone(at, id);
    #[cache_write(cache = at.cache, put = "untagged:<id>")]
    put_by_key(at, id);
    #[cache_write(cache = at.cache, tags = ["other"], put = two_tags(at, id))]
    put_with_other_tag(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = two_tags(at, id))]
    put_with_own_tag(at, id);
    #[cache_write(cache = at.cache, put = two_tags(at, result.id))]
    put_of_result(at, id);
    #[cache_write(cache = at.cache, put = result_tags(at, id))]
    put_with_result_tags(at, id);
}

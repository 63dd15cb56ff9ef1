//! The calls, and what became of each, as the counters of its function tell it.

use std::collections::HashMap;
use std::sync::Arc;

use cache_runtime::{Error, ErrorKind, FunctionStats, cache_read, cache_write};

use crate::fleet::{Place, Row};
use crate::table::{Comes, Op};

/// What functions with `on_error = fail` return.
#[derive(Debug)]
pub(crate) struct Trouble(ErrorKind);

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self(error.kind())
    }
}

// A lease whose taker was not told of it ends soon.
macro_rules! reads {
    ($($(#[$attr:meta])* $name:ident($at:ident, $id:ident);)*) => {
        $($(#[$attr])*
        pub(crate) async fn $name($at: &Place, $id: u64) -> Row {
            $at.read($id).await
        })*
    };
}
reads! {
    #[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], lock_ttl = "2s", skip(at))]
    known(at, id);
    #[cache_read(key = "cold:<id>", cache = at.cache, tags = ["group:<id>"], lock_ttl = "2s", skip(at))]
    cold(at, id);
    #[cache_read(key = "lock:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, lock_ttl = "2s", skip(at))]
    lock(at, id);
}

#[cache_read(key = "strict:<id>", cache = at.cache, tags = ["group:<id>"], on_error = fail, lock_ttl = "2s", skip(at))]
pub(crate) async fn strict(at: &Place, id: u64) -> Result<Row, Trouble> {
    Ok(at.read(id).await)
}

#[cache_read(key = "each:<id>", cache = at.cache, tags = ["group:<id>"], each(id in ids), lock_ttl = "2s", skip(at))]
pub(crate) async fn batch(at: &Place, ids: Vec<u64>) -> HashMap<u64, Row> {
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, at.read(id).await);
    }
    rows
}

#[cache_read(key = "each strict:<id>", cache = at.cache, each(id in ids), on_error = fail, skip(at))]
pub(crate) async fn strict_batch(at: &Place, ids: Vec<u64>) -> Result<HashMap<u64, Row>, Trouble> {
    Ok(batch(at, ids).await)
}

macro_rules! writes {
    ($($(#[$attr:meta])* $name:ident($at:ident, $id:ident);)*) => {
        $($(#[$attr])*
        pub(crate) async fn $name($at: &Place, $id: u64) -> Row {
            $at.commit($id)
        })*
    };
}
writes! {
    #[cache_write(cache = at.cache, tags = ["group:<id>"])]
    write(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], recache = [known(at, id)])]
    recache(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], fence = "3s")]
    fence(at, id);
}

#[cache_write(cache = at.cache, tags = ["group:<id>"], on_error = fail)]
pub(crate) async fn strict_write(at: &Place, id: u64) -> Result<Row, Trouble> {
    Ok(at.commit(id))
}

/// A name for direct calls.
fn direct(id: u64) -> String {
    format!("direct:{id}")
}

/// What a call returned: the version of its row, or an error.
pub(crate) type Returned = Result<u64, ErrorKind>;

/// A read, or a direct call that is no invalidation. `known` is an id that was there before, `cold` one that was not.
pub(crate) async fn read(at: &Arc<Place>, op: Op, known_id: u64, cold_id: u64) -> Result<Option<u64>, ErrorKind> {
    let version = |row: Row| Ok(Some(row.version));
    match op {
        Op::Known | Op::Copied => version(known(at, known_id).await),
        Op::Cold => version(cold(at, cold_id).await),
        Op::Lock => version(lock(at, cold_id).await),
        Op::Batch => {
            let rows = batch(at, vec![known_id, cold_id]).await;
            assert!(rows.len() == 2 && rows.iter().all(|(id, row)| *id == row.id), "{rows:?}");
            Ok(Some(rows[&known_id].version.min(rows[&cold_id].version)))
        }
        Op::Strict => strict(at, cold_id).await.map(|row| Some(row.version)).map_err(|trouble| trouble.0),
        Op::Get => at.cache.get::<u64>(direct(known_id)).await.map_err(|error| error.kind()),
        Op::Set => at.cache.set(direct(cold_id), 0_u64).await.map(|()| Some(0)).map_err(|error| error.kind()),
        _ => unreachable!("{op:?} is a write"),
    }
}

/// A write of row `id`.
pub(crate) async fn invalidate(at: &Arc<Place>, op: Op, id: u64) -> Returned {
    match op {
        Op::Write => Ok(write(at, id).await.version),
        Op::Recache => Ok(recache(at, id).await.version),
        Op::Fence => Ok(fence(at, id).await.version),
        Op::StrictWrite => strict_write(at, id).await.map(|row| row.version).map_err(|trouble| trouble.0),
        Op::Invalidate => {
            let row = at.commit(id);
            let sent = at.cache.invalidate(format!("group:{id}")).await;
            sent.map(|()| row.version).map_err(|error| error.kind())
        }
        _ => unreachable!("{op:?} is a read"),
    }
}

/// Makes everything there that reads want to know.
pub(crate) async fn warm(at: &Arc<Place>, id: u64) {
    known(at, id).await;
    batch(at, vec![id]).await;
    cache_tests::eventually("a direct value", crate::fleet::LONG, async || {
        at.cache.set(direct(id), 0_u64).await.is_ok() && matches!(at.cache.get::<u64>(direct(id)).await, Ok(Some(0)))
    })
    .await;
}

/// The counters of an op's function.
pub(crate) fn stats(at: &Place, op: Op) -> FunctionStats {
    let name = match op {
        Op::Known | Op::Copied => "::known",
        Op::Cold => "::cold",
        Op::Lock => "::lock",
        Op::Batch => "::batch",
        Op::Strict => "::strict",
        _ => return FunctionStats::default(),
    };
    let functions = at.cache.stats().functions;
    functions.into_iter().find(|(path, _)| path.ends_with(name)).map(|(_, stats)| stats).unwrap_or_default()
}

/// What a read came to.
pub(crate) fn judged(
    op: Op,
    returned: &Result<Option<u64>, ErrorKind>,
    before: &FunctionStats,
    after: &FunctionStats,
) -> Comes {
    match (op, returned) {
        (_, Err(kind)) => Comes::Fails(*kind),
        (Op::Get, Ok(Some(_))) => Comes::Hit,
        (Op::Get, Ok(None)) => Comes::Missing,
        (Op::Set, Ok(_)) => Comes::Sent,
        _ if after.degraded > before.degraded => Comes::Source,
        _ if after.loads > before.loads => Comes::Loaded,
        _ => Comes::Hit,
    }
}

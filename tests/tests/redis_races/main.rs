//! P1 between processes: whatever is invalidated or written in one while a load runs in another, the old value is never
//! served afterwards, to anybody, and nobody who begins afterwards joins the old load.
//!
//! `loads` has a load and a write, in each order in which loads can end; `recaches` writes that load; `evictions` the same
//! with every key of the server dropped in turn; `history` all of it at random.

#[path = "../fleet/mod.rs"]
mod fleet;

mod evictions;
mod history;
mod loads;
mod recaches;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use cache_runtime::{cache_read, cache_write};
use fleet::{Place, Row};

type Soon<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Read = fn(Arc<Place>, u64) -> Soon<Row>;
type Write = fn(Arc<Place>, u64) -> Soon<()>;

// ----------------------------------------------------------------------------------------------------------------- reads

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>", "all"], namespace = "rows", skip(at))]
async fn tagged(at: &Place, id: u64) -> Row {
    at.read(id).await
}

/// Tagged by its own key only.
#[cache_read(key = "row:<id>", cache = at.cache, skip(at))]
async fn plain(at: &Place, id: u64) -> Row {
    at.read(id).await
}

/// Its value and its envelope are two keys.
#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], codec = json, skip(at))]
async fn json(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["org:<result.org>"], skip(at))]
async fn by_result(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, wait = "100ms", skip(at))]
async fn locked(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], each(id in ids), skip(at))]
async fn batch(at: &Place, ids: Vec<u64>) -> HashMap<u64, Row> {
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, at.read(id).await);
    }
    rows
}

macro_rules! reads {
    ($($name:ident: $function:ident;)*) => {
        $(fn $name(at: Arc<Place>, id: u64) -> Soon<Row> {
            Box::pin(async move { $function(&at, id).await })
        })*
    };
}
reads! {
    read_tagged: tagged;
    read_plain: plain;
    read_json: json;
    read_by_result: by_result;
    read_locked: locked;
}

fn read_batch(at: Arc<Place>, id: u64) -> Soon<Row> {
    Box::pin(async move { batch(&at, vec![id]).await[&id] })
}

fn read_direct(at: Arc<Place>, id: u64) -> Soon<Row> {
    Box::pin(async move {
        let load = || async { Ok::<_, std::convert::Infallible>(at.read(id).await) };
        let tags = [format!("group:{id}"), "all".to_owned()];
        let Ok(row) = at.cache.get_or_load(format!("row:{id}"), load).tags(tags).namespace("rows").await;
        row
    })
}

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
    #[cache_write(cache = at.cache, tags = ["other", "all"])]
    write_shared_tag(at, id);
    #[cache_write(cache = at.cache, keys = ["row:<id>"])]
    write_key(at, id);
    #[cache_write(cache = at.cache, tags = ["row:<id>"])]
    write_default_tag(at, id);
    #[cache_write(cache = at.cache, namespaces = ["rows"])]
    write_namespace(at, id);
    #[cache_write(cache = at.cache, patterns = ["ro*:<id>"])]
    write_pattern(at, id);
    #[cache_write(cache = at.cache, tags = ["org:<result.org>"])]
    write_result_tag(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<result.id>"])]
    write_tag_of_result(at, id);
    #[cache_write(cache = at.cache, keys = ["row:<result.id>"])]
    write_key_of_result(at, id);
    #[cache_write(cache = at.cache, patterns = ["row:<result.id>*"])]
    write_pattern_of_result(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], before = true)]
    write_before(at, id);
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = tagged(at, id))]
    write_through(at, id);
    #[cache_write(cache = at.cache, put = tagged(at, id))]
    write_through_alone(at, id);
    #[cache_write(cache = at.cache, put = tagged(at, result.id))]
    write_through_of_result(at, id);
    #[cache_write(cache = at.cache, put = by_result(at, id))]
    write_through_with_result_tags(at, id);
    #[cache_write(cache = at.cache, put = "row:<id>")]
    write_through_by_key(at, id);
}

macro_rules! change {
    ($($name:ident: |$at:ident, $id:ident| $work:expr;)*) => {
        $(fn $name(place: Arc<Place>, $id: u64) -> Soon<()> {
            Box::pin(async move {
                let $at = &*place;
                let _ = $work;
            })
        })*
    };
}
use change;

change! {
    by_tag: |at, id| write_tag(at, id).await;
    by_shared_tag: |at, id| write_shared_tag(at, id).await;
    by_key: |at, id| write_key(at, id).await;
    by_default_tag: |at, id| write_default_tag(at, id).await;
    by_namespace: |at, id| write_namespace(at, id).await;
    by_pattern: |at, id| write_pattern(at, id).await;
    by_result_tag: |at, id| write_result_tag(at, id).await;
    by_tag_of_result: |at, id| write_tag_of_result(at, id).await;
    by_key_of_result: |at, id| write_key_of_result(at, id).await;
    by_pattern_of_result: |at, id| write_pattern_of_result(at, id).await;
    with_before: |at, id| write_before(at, id).await;
    through: |at, id| write_through(at, id).await;
    through_alone: |at, id| write_through_alone(at, id).await;
    through_of_result: |at, id| write_through_of_result(at, id).await;
    through_with_result_tags: |at, id| write_through_with_result_tags(at, id).await;
    through_by_key: |at, id| write_through_by_key(at, id).await;
}

/// Committed by hand, then invalidated directly.
macro_rules! direct {
    ($($name:ident: |$at:ident, $id:ident| $work:expr;)*) => {
        $(fn $name(place: Arc<Place>, $id: u64) -> Soon<()> {
            Box::pin(async move {
                let $at = &*place;
                $at.commit($id);
                let _ = $work.await.unwrap();
            })
        })*
    };
}
direct! {
    tag: |at, id| at.cache.invalidate(format!("group:{id}"));
    key_as_tag: |at, id| at.cache.invalidate(format!("row:{id}"));
    result_tag: |at, id| at.cache.invalidate(format!("org:{}", at.source.now(id).org));
    key: |at, id| at.cache.delete(format!("row:{id}"));
    keys: |at, id| at.cache.invalidate_keys([format!("row:{}", id + 1), format!("row:{id}")]);
    popped: |at, id| at.cache.pop::<Row>(format!("row:{id}"));
    namespace: |at, id| at.cache.invalidate_namespace("rows");
    whole_cache: |at, id| at.cache.clear();
    pattern: |at, id| at.cache.delete_match("row:*");
    zero_life: |at, id| at.cache.expire(format!("row:{id}"), 0_u64);
    set: |at, id| at.cache.set(format!("row:{id}"), at.source.now(id));
    clear_function: |at, id| tagged::clear(at);
    clear_by_result: |at, id| by_result::clear(at);
    companion_invalidates: |at, id| tagged::invalidate(at, id);
    companion_invalidates_plain: |at, id| plain::invalidate(at, id);
    companion_puts: |at, id| tagged::put(&at.source.now(id), at, id);
    batch_companion_invalidates: |at, id| batch::invalidate(at, id);
}

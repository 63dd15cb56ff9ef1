//! `put` on Redis (P1, B2): a writer's result is what every process reads next, where nothing came between, and is served to
//! nobody where something did. Keys that vanish meanwhile are in `redis_races`.
//!
//! `served` has one writer, `overlap` several, and loads; `failing` writers and servers that do not do their part.

#[path = "../fleet/mod.rs"]
mod fleet;

mod failing;
mod overlap;
mod served;

use std::pin::Pin;
use std::sync::Arc;

use cache_runtime::{cache_read, cache_write};
use fleet::{Fleet, Gate, Place, Row, ended, within};
use tokio::task::JoinHandle;

type Soon<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Read = fn(Arc<Place>, u64) -> Soon<Row>;
type Write = fn(Arc<Place>, u64) -> Soon<()>;
type Put = fn(Arc<Place>, u64, Arc<Gate>) -> Soon<Row>;

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

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], codec = json, skip(at))]
async fn json(at: &Place, id: u64) -> Row {
    at.read(id).await
}

/// The same tag twice, once by the argument and once by the result.
#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>", "group:<result.id>"], skip(at))]
async fn twice(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>", "org:<result.org>"], skip(at))]
async fn by_result(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], lock = true, skip(at))]
async fn locked(at: &Place, id: u64) -> Row {
    at.read(id).await
}

#[cache_read(key = "row:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
async fn optional(at: &Place, id: u64) -> Result<Option<Arc<Row>>, u8> {
    Ok(Some(Arc::new(at.read(id).await)).filter(|row| row.version % 10 != 9))
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
    read_twice: twice;
    read_by_result: by_result;
    read_locked: locked;
}

fn read_optional(at: Arc<Place>, id: u64) -> Soon<Row> {
    Box::pin(async move { *optional(&at, id).await.unwrap().unwrap() })
}

// ---------------------------------------------------------------------------------------------------------------- writes

macro_rules! puts {
    ($($(#[$attr:meta])* $name:ident($at:ident, $id:ident), $put:ident;)*) => {
        $($(#[$attr])*
        async fn $name($at: &Place, $id: u64, gate: &Gate) -> Row {
            gate.write($at, $id).await
        }
        fn $put(at: Arc<Place>, id: u64, gate: Arc<Gate>) -> Soon<Row> {
            Box::pin(async move { $name(&at, id, &gate).await })
        })*
    };
}
puts! {
    #[cache_write(cache = at.cache, put = tagged(at, id))]
    put_alone(at, id), alone;
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = tagged(at, id))]
    put_with_tag(at, id), with_tag;
    #[cache_write(cache = at.cache, tags = ["row:<id>"], put = tagged(at, id))]
    put_with_default_tag(at, id), with_default_tag;
    #[cache_write(cache = at.cache, keys = ["row:<id>"], put = tagged(at, id))]
    put_with_key(at, id), with_key;
    #[cache_write(cache = at.cache, tags = ["group:<id>", "all"], put = tagged(at, id))]
    put_with_all_tags(at, id), with_all_tags;
    #[cache_write(cache = at.cache, namespaces = ["rows"], put = tagged(at, id))]
    put_with_namespace(at, id), with_namespace;
    #[cache_write(cache = at.cache, put = tagged(at, result.id))]
    put_of_result(at, id), of_result;
    #[cache_write(cache = at.cache, tags = ["group:<result.id>"], put = tagged(at, result.id))]
    put_of_result_with_tag(at, id), of_result_with_tag;
    #[cache_write(cache = at.cache, tags = ["group:<id>"], before = true, put = tagged(at, id))]
    put_with_before(at, id), with_before;
    #[cache_write(cache = at.cache, put = "row:<id>")]
    put_by_key(at, id), by_key;
    #[cache_write(cache = at.cache, put = "row:<result.id>")]
    put_by_key_of_result(at, id), by_key_of_result;
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = json(at, id))]
    put_json(at, id), of_json;
    #[cache_write(cache = at.cache, tags = ["group:<id>"], put = twice(at, id))]
    put_twice(at, id), of_twice;
    #[cache_write(cache = at.cache, put = by_result(at, id))]
    put_with_result_tags(at, id), with_result_tags;
    #[cache_write(cache = at.cache, tags = ["group:<id>", "org:<result.org>"], put = by_result(at, id))]
    put_with_own_result_tags(at, id), with_own_result_tags;
    #[cache_write(cache = at.cache, tags = ["org:<result.org>"], put = by_result(at, result.id))]
    put_of_result_with_result_tags(at, id), of_result_with_result_tags;
    #[cache_write(cache = at.cache, put = locked(at, id))]
    put_locked(at, id), of_locked;
    #[cache_write(cache = at.cache, put = optional(at, id))]
    put_optional(at, id), of_optional;
    #[cache_write(cache = at.cache, patterns = ["row:<id>"], put = tagged(at, id))]
    put_with_pattern(at, id), with_pattern;
}

/// Every form, with what reads it.
const FORMS: [(&str, Read, Put); 18] = [
    ("alone", read_tagged, alone),
    ("with a tag of the entry", read_tagged, with_tag),
    ("with its key as tag", read_tagged, with_default_tag),
    ("with its key", read_tagged, with_key),
    ("with all tags of the entry", read_tagged, with_all_tags),
    ("with its namespace", read_tagged, with_namespace),
    ("named by the result", read_tagged, of_result),
    ("named by the result, with a tag", read_tagged, of_result_with_tag),
    ("with before", read_tagged, with_before),
    ("by key", read_plain, by_key),
    ("by key, from the result", read_plain, by_key_of_result),
    ("plain JSON", read_json, of_json),
    ("one tag twice", read_twice, of_twice),
    ("with tags of the result", read_by_result, with_result_tags),
    ("with tags of the result, and invalidating them", read_by_result, with_own_result_tags),
    ("named by the result, with tags of it", read_by_result, of_result_with_result_tags),
    ("of a locked function", read_locked, of_locked),
    ("of an optional value", read_optional, of_optional),
];

/// A writer in its body.
async fn begin(place: &Arc<Place>, id: u64, put: Put) -> (JoinHandle<Row>, Arc<Gate>) {
    let gate = Gate::new();
    let writer = tokio::spawn(put(Arc::clone(place), id, Arc::clone(&gate)));
    gate.in_body().await;
    (writer, gate)
}

/// A whole write.
async fn write(place: &Arc<Place>, id: u64, put: Put) -> Row {
    let (writer, gate) = begin(place, id, put).await;
    gate.commit().await;
    gate.let_go();
    ended("a write", writer).await
}

async fn all_read(what: &str, fleet: &Fleet, read: Read, id: u64, version: u64) {
    for place in fleet.places() {
        assert_eq!(within(what, read(Arc::clone(place), id)).await.version, version, "{what}");
    }
}

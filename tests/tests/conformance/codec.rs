//! How values become bytes: codecs, compression, types that look alike, and what other programs see on a server.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{ErrorKind, cache_read, cache_write, key};
use cache_tests::{Broken, Row, Source};
use serde::{Deserialize, Serialize};

/// Everything that serde has a word for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    unit: (),
    flag: bool,
    small: i8,
    large: u64,
    huge: i128,
    float: f64,
    letter: char,
    text: String,
    bytes: Vec<u8>,
    some: Option<Box<Self>>,
    pair: (u8, String),
    list: Vec<Kind>,
    map: BTreeMap<String, i32>,
    by_number: HashMap<u16, NonZero<u8>>,
    array: [u16; 3],
    #[serde(rename = "other name")]
    renamed: u8,
    span: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    New(u8),
    Tuple(u8, String),
    Struct { a: u8, b: Option<u8> },
}

/// What only a self-describing codec can keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    A { n: u64 },
    B { s: String },
}

fn everything(inner: Option<Everything>) -> Everything {
    Everything {
        unit: (),
        flag: true,
        small: -128,
        large: u64::MAX,
        huge: i128::MIN,
        float: -1.5e300,
        letter: '\u{10ffff}',
        text: "\0 \" \\ \u{202e} é 漢 \n".to_owned(),
        bytes: (0..=255).collect(),
        some: inner.map(Box::new),
        pair: (0, String::new()),
        list: vec![Kind::Unit, Kind::New(1), Kind::Tuple(2, "x".to_owned()), Kind::Struct { a: 3, b: None }],
        map: BTreeMap::from([(String::new(), -1), (":".to_owned(), 1)]),
        by_number: HashMap::from([(7, NonZero::<u8>::MIN)]),
        array: [0, 1, u16::MAX],
        renamed: 9,
        span: Duration::new(1, 999_999_999),
    }
}

macro_rules! per_codec {
    ($($name:ident = $codec:ident;)*) => {
        $(mod $name {
            use super::*;

            #[cache_read(key = "all:<id>", codec = $codec, tags = ["all"], skip(db))]
            pub(super) async fn all(db: &Source, id: u64) -> Everything {
                let _ = id;
                db.tick();
                everything(Some(everything(None)))
            }

            #[cache_read(key = "row:<id>", codec = $codec, tags = ["row:<id>", "name:<result.name>"], ttl_none = "1h", skip(db))]
            pub(super) async fn row(db: &Source, id: u64) -> Result<Option<Arc<Row>>, Broken> {
                Ok(db.try_find(id).await?.map(Arc::new))
            }

            #[cache_read(key = "big:<id>", codec = $codec, compress_above = "1KiB", skip(db))]
            pub(super) async fn big(db: &Source, id: u64) -> Vec<String> {
                db.tick();
                vec!["the same again and again ".to_owned(); id as usize]
            }

            #[cache_write(put = row(id))]
            pub(super) async fn write(db: &Source, id: u64) -> Row {
                db.write(id, "written")
            }
        })*
    };
}
per_codec! {
    as_bincode = bincode;
    as_json = json;
    as_msgpack = msgpack;
}

#[cache_read(key = "tagged:json:<id>", codec = json, skip(db))]
async fn tagged_json(db: &Source, id: u64) -> Tagged {
    db.tick();
    if id == 0 { Tagged::B { s: "x".to_owned() } } else { Tagged::A { n: id } }
}

#[cache_read(key = "tagged:msgpack:<id>", codec = msgpack, skip(db))]
async fn tagged_msgpack(db: &Source, id: u64) -> Tagged {
    db.tick();
    Tagged::A { n: id }
}

#[cache_read(key = "tagged:bincode:<id>", skip(db))]
async fn tagged_bincode(db: &Source, id: u64) -> Tagged {
    db.tick();
    Tagged::A { n: id }
}

#[cache_read(key = "plain:<id>", codec = json, ttl = "1h", tags = ["plain"], skip(db))]
async fn plain(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "plain:text", codec = json, skip(db))]
async fn plain_text(db: &Source) -> String {
    db.tick();
    "a \"b\" \u{1}".to_owned()
}

/// The same names as [`plain`]'s type, one field another type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Changed {
    id: u64,
    org_id: u64,
    name: String,
    version: i64,
}

#[cache_read(key = "plain:<id>", codec = json, ttl = "1h", tags = ["plain"], skip(db))]
async fn plain_changed(db: &Source, id: u64) -> Changed {
    db.tick();
    Changed { id, org_id: 0, name: String::new(), version: -1 }
}

#[cache_read(key = "shape:<id>", skip(db))]
async fn shape(db: &Source, id: u64) -> Row {
    db.row(id).await
}

mod later {
    use super::*;

    /// As the tests' row, with two fields swapped, as a later version of a program may have it.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Row {
        pub(super) org_id: u64,
        pub(super) id: u64,
        pub(super) name: String,
        pub(super) version: u64,
    }

    #[cache_read(key = "shape:<id>", skip(db))]
    pub(super) async fn shape(db: &Source, id: u64) -> Row {
        let row = db.row(id).await;
        Row { org_id: row.org_id, id: row.id, name: row.name, version: row.version }
    }
}

#[cache_read(key = "many:<count>", tags = [(0..count).map(|n| format!("t:{n}"))], skip(db))]
async fn with_tags(db: &Source, count: u64) -> u64 {
    let _ = count;
    db.tick()
}

everywhere! {
    /// C6 P6: every codec brings every value back whole, in every process, and entries of each fall by their names.
    async fn every_codec_brings_values_back(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let other = on.other().await;
        macro_rules! check {
            ($module:ident) => {
                let before = db.loads();
                for cache in [cache, cache, &other] {
                    cache.scope(async {
                        assert_eq!($module::all(&db, 1).await, everything(Some(everything(None))));
                    }).await;
                }
                assert_eq!(db.loads(), before + 1, "{}", stringify!($module));
                assert_eq!(cache.get::<Everything>("all:1").await.unwrap(), Some(everything(Some(everything(None)))));
                assert_eq!(cache.get::<Row>("all:1").await.unwrap(), None);
                cache.invalidate("all").await.unwrap();
                assert!(!cache.exists("all:1").await.unwrap());
                db.remove(9);
                for id in [1, 9] {
                    $module::row(&db, id).await.unwrap();
                    let row = $module::row(&db, id).await.unwrap();
                    let loads = db.loads();
                    assert_eq!(other.scope($module::row(&db, id)).await.unwrap(), row);
                    assert_eq!(db.loads(), loads);
                    assert_eq!(row.is_some(), id == 1);
                    assert!(cache.exists(key!("row:<id>")).await.unwrap(), "an absence, too");
                }
                let row = $module::write(&db, 1).await;
                if on.watches_results() {
                    assert_eq!(cache.get::<Row>("row:1").await.unwrap().as_ref(), Some(&row));
                }
                $module::row(&db, 1).await.unwrap();
                assert_eq!($module::row(&db, 1).await.unwrap().as_deref(), Some(&row));
                cache.invalidate("name:written").await.unwrap();
                assert_eq!($module::row::peek(1).await.unwrap(), None);
                $module::row::put(&row, 1).await.unwrap();
                assert!(cache.tag("row:1", ["later"]).await.unwrap());
                assert_eq!($module::row(&db, 1).await.unwrap().as_deref(), Some(&row), "a tag changes no value");
                cache.invalidate("later").await.unwrap();
                assert_eq!($module::row::peek(1).await.unwrap(), None);
                $module::row::put(&row, 1).await.unwrap();
                assert!(!cache.set_nx("row:1", Row::fresh(1)).await.unwrap());
                assert!(cache.expire("row:1", "2h").await.unwrap());
                assert_eq!(cache.pop::<Row>("row:1").await.unwrap().as_ref(), Some(&row));
                assert!(!cache.delete("row:1").await.unwrap());
                $module::row::clear().await.unwrap();
                assert!(cache.keys("row:*").next().await.is_none());
            };
        }
        check!(as_bincode);
        check!(as_json);
        check!(as_msgpack);
        // Those that were asked for as another type.
        assert_eq!(cache.stats().rejected, if on.is_shared() { 3 } else { 0 });
        assert_eq!(other.stats().rejected, 0);
    }

    /// C9: a value over the size comes back whole, and takes less room on a server.
    async fn a_compressed_value_comes_back_whole(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        macro_rules! check {
            ($module:ident) => {
                for size in [1, 10, 1000, 50_000] {
                    let value = $module::big(&db, size).await;
                    let loads = db.loads();
                    assert!($module::big(&db, size).await == value && value.len() as u64 == size);
                    assert_eq!(db.loads(), loads, "{} {size}", stringify!($module));
                    assert_eq!(cache.get::<Vec<String>>(key!("big:<size>")).await.unwrap(), Some(value));
                }
                if on.is_shared() {
                    let bytes = on.plain("big:50000").await.unwrap();
                    assert!(bytes.len() < 50_000, "{} bytes for 1.2 MB", bytes.len());
                }
                cache.clear().await.unwrap();
            };
        }
        check!(as_bincode);
        check!(as_json);
        check!(as_msgpack);
        assert_eq!(cache.stats().rejected, 0);
    }

    /// P6: a type that looks at the data first is kept where the codec can tell it; else it is loaded each time, and said.
    async fn a_type_that_looks_at_the_data(on: &On) {
        let db = Source::new();
        for _ in 0..2 {
            assert_eq!(tagged_json(&db, 1).await, Tagged::A { n: 1 });
            assert_eq!(tagged_json(&db, 0).await, Tagged::B { s: "x".to_owned() });
            assert_eq!(tagged_msgpack(&db, 1).await, Tagged::A { n: 1 });
        }
        assert_eq!(db.loads(), 3);
        for _ in 0..2 {
            assert_eq!(tagged_bincode(&db, 1).await, Tagged::A { n: 1 }, "never a wrong value");
        }
        assert_eq!(db.loads(), if on.is_shared() { 5 } else { 4 });
        assert_eq!(tagged_bincode::stats().unstored, if on.is_shared() { 2 } else { 0 });
        match on.cache.set("t", Tagged::A { n: 1 }).await {
            Ok(()) => assert!(!on.is_shared()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Codec, "{error}"),
        }
    }

    /// E11 N9: a type that changed is a miss, never a wrong value, although the bytes could be read.
    async fn a_type_that_changed_is_a_miss(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        db.move_to(1, 77);
        assert_eq!(shape(&db, 1).await.org_id, 77);
        let row = later::shape(&db, 1).await;
        assert_eq!((row.id, row.org_id), (1, 77), "two fields of one type, swapped");
        assert_eq!(db.loads(), 2);
        assert_eq!(shape(&db, 1).await.id, 1);
        assert_eq!(plain(&db, 2).await, Row::fresh(2));
        assert_eq!(plain_changed(&db, 2).await.version, -1);
        assert_eq!(plain(&db, 2).await, Row::fresh(2));
        assert_eq!(cache.get::<Changed>("plain:2").await.unwrap(), None);
        assert_eq!(cache.get::<later::Row>("shape:1").await.unwrap(), None);
        assert_eq!(cache.get::<Row>("plain:2").await.unwrap(), Some(Row::fresh(2)));
    }

    /// A2 P7: an entry may have many tags; a server's at most 256 of all kinds, beyond which it is not stored, and said.
    async fn an_entry_may_have_many_tags(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for count in [100, 250] {
            assert_eq!(with_tags(&db, count).await, with_tags(&db, count).await, "{count}");
        }
        cache.invalidate("t:249").await.unwrap();
        assert!(cache.exists("many:100").await.unwrap() && !cache.exists("many:250").await.unwrap());
        let kept = with_tags(&db, 1000).await == with_tags(&db, 1000).await;
        assert_eq!(kept, !on.is_shared());
        assert_eq!(with_tags::stats().unstored, if on.is_shared() { 2 } else { 0 });
        match cache.set("k", 1_u8).tags((0..1000).map(|n| format!("t:{n}"))).await {
            Ok(()) => assert!(!on.is_shared()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}"),
        }
    }
}

mod shared {
    use super::*;

    on_servers! {
        /// C6: JSON: a plain GET shows exactly the value's JSON, with the entry's own expiry, and nothing else lies in the way.
        async fn a_plain_get_shows_the_values_json(on: &On) {
            let (cache, db) = (&on.cache, Source::new());
            plain(&db, 42).await;
            let json = serde_json::to_vec(&Row::fresh(42)).unwrap();
            assert_eq!(on.plain("plain:42").await.unwrap(), json);
            let left: i64 = on.command("PTTL", &format!("{}plain:42", on.prefix())).await;
            assert!((3_500_000..=3_600_000).contains(&left), "{left}");
            plain_text(&db).await;
            assert_eq!(on.plain("plain:text").await.unwrap(), br#""a \"b\" \u0001""#);
            plain::put(Row { name: "put".to_owned(), ..Row::fresh(42) }, 42).await.unwrap();
            let put: serde_json::Value = serde_json::from_slice(&on.plain("plain:42").await.unwrap()).unwrap();
            assert_eq!(put["name"], "put");
            cache.tag("plain:42", ["late"]).await.unwrap();
            assert_eq!(serde_json::from_slice::<Row>(&on.plain("plain:42").await.unwrap()).unwrap().name, "put");
            cache.delete("plain:42").await.unwrap();
            assert_eq!(on.plain("plain:42").await, None);
            assert!(!on.names().await.iter().any(|name| name.contains("plain:42")), "nothing of it is left");
            cache.incr("count", 41).await.unwrap();
            cache.incr("count", 1).await.unwrap();
            assert_eq!(on.plain("count").await.unwrap(), b"42", "a counter is a number");
        }

        /// C6 P6: what another program did to a plain value is a counted miss or, of a number, the number.
        async fn another_programs_change_is_a_miss(on: &On) {
            let (cache, db) = (&on.cache, Source::new());
            let name = |key: &str| format!("{}{key}", on.prefix());
            for foreign in ["{}", "", "null", "[1", r#"{"id":7,"org_id":7,"name":"forged","version":7}"#] {
                plain(&db, 7).await;
                on.store(&name("plain:7"), foreign).await;
                on.heard().await;
                let loads = db.loads();
                assert_eq!(plain(&db, 7).await, Row::fresh(7), "{foreign}");
                assert_eq!(db.loads(), loads + 1, "{foreign}");
            }
            assert!(plain::stats().rejected >= 4, "{:?}", plain::stats());
            plain(&db, 8).await;
            on.command::<i64>("DEL", &name("plain:8")).await;
            on.heard().await;
            assert_eq!(plain(&db, 8).await, Row::fresh(8));
            for foreign in ["", "x", "\u{0}\u{0}\u{0}\u{0}", "12"] {
                shape(&db, 7).await;
                on.store(&name("shape:7"), foreign).await;
                on.heard().await;
                assert_eq!(shape(&db, 7).await, Row::fresh(7), "{foreign:?}");
                assert_eq!(cache.get::<Row>("shape:7").await.unwrap(), Some(Row::fresh(7)), "and it is stored again");
            }
            on.command::<i64>("DEL", &name("shape:7")).await;
            on.push(&name("shape:7"), "a list").await;
            on.heard().await;
            assert_eq!(shape(&db, 7).await, Row::fresh(7), "of another type of the server's");
            assert_eq!(shape(&db, 7).await, Row::fresh(7));
            cache.incr("n", 1).await.unwrap();
            on.store(&name("n"), "41").await;
            assert_eq!(cache.incr("n", 1).await.unwrap(), 42, "a number is everybody's to set");
            on.store(&name("n"), "no number").await;
            assert_eq!(cache.incr("n", 1).await.unwrap_err().kind(), ErrorKind::WrongType);
            assert_eq!(cache.get::<i64>("n").await.unwrap(), None);
            on.store(&name("foreign"), "text").await;
            assert_eq!(cache.get::<String>("foreign").await.unwrap(), None);
            assert!(!cache.exists("foreign").await.unwrap());
            assert_eq!(cache.keys("foreign").collect::<Vec<_>>().await.unwrap(), Vec::<cache_runtime::Key>::new());
            assert!(cache.set_nx("foreign", 1_u8).await.unwrap(), "nothing of ours is there");
        }

        /// P6: an entry that cannot be used is counted once for each call that wanted it, however often it is looked at.
        async fn an_unusable_entry_is_counted_once_for_each_call(on: &On) {
            macro_rules! turn {
                ($name:ident($($option:tt)*): $ty:ty, $value:expr) => {
                    #[cache_read(key = "turn:<id>", skip(db) $($option)*)]
                    async fn $name(db: &Source, id: u64) -> $ty {
                        let _ = id;
                        db.tick();
                        $value
                    }
                };
            }
            turn!(text(): String, "text".to_owned());
            turn!(number(): u64, 1);
            turn!(locked(, lock = true): (u64, u64), (1, 2));
            #[cache_read(key = "turn:<id>", each(id in ids), skip(db))]
            async fn batch(db: &Source, ids: Vec<u64>) -> HashMap<u64, [u8; 2]> {
                db.tick();
                ids.into_iter().map(|id| (id, [1, 2])).collect()
            }
            #[cache_read(key = "turn:<id>", each(id in ids), lock = true, skip(db))]
            async fn locked_batch(db: &Source, ids: Vec<u64>) -> HashMap<u64, bool> {
                db.tick();
                ids.into_iter().map(|id| (id, true)).collect()
            }
            let db = Source::new();
            let rejected = || on.cache.stats().rejected;
            for id in 1..=3 {
                text(&db, id).await;
            }
            assert_eq!(rejected(), 0);
            for id in 1..=3 {
                number(&db, id).await;
            }
            assert_eq!(rejected(), 3);
            locked(&db, 1).await;
            assert_eq!(rejected(), 4);
            assert_eq!(batch(&db, vec![1, 2, 3]).await.len(), 3);
            assert_eq!(rejected(), 7);
            assert_eq!(locked_batch(&db, vec![1, 2, 3]).await.len(), 3);
            assert_eq!(rejected(), 10);
            assert_eq!(on.cache.get::<bool>("turn:1").await.unwrap(), Some(true));
            assert_eq!((rejected(), db.loads()), (10, 9));
        }

        /// C9 P9: what is to be encrypted is not stored where there is no key, and that is counted; never in the clear.
        async fn nothing_is_stored_in_the_clear_that_was_to_be_encrypted(on: &On) {
            #[cache_read(key = "secret:<id>", encrypt = true, codec = json, skip(db))]
            async fn secret(db: &Source, id: u64) -> Row {
                db.row(id).await
            }
            let db = Source::new();
            for _ in 0..2 {
                assert_eq!(secret(&db, 1).await, Row::fresh(1));
            }
            assert_eq!((db.loads(), secret::stats().unstored), (2, 2));
            assert!(secret::put(Row::fresh(1), 1).await.is_err());
            assert_eq!(on.plain("secret:1").await, None);
        }

        /// P6 P8: an entry's bytes under another name are not that name's entry.
        async fn bytes_under_another_name_are_not_its_entry(on: &On) {
            let (cache, db) = (&on.cache, Source::new());
            shape(&db, 1).await;
            shape(&db, 2).await;
            cache.set("mine", Row::fresh(1)).await.unwrap();
            for key in ["shape:2", "mine", "new"] {
                on.copy(&format!("{}shape:1", on.prefix()), &format!("{}{key}", on.prefix())).await;
            }
            assert_eq!(shape(&db, 2).await, Row::fresh(2));
            assert_eq!(cache.get::<Row>("new").await.unwrap(), None);
            assert_eq!(cache.get::<Row>("mine").await.unwrap(), None);
            // What another server accepted is as good as missing, and does not count.
            assert!(cache.stats().rejected >= 3 || on.is_cluster());
        }
    }
}

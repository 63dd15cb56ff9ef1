//! P6: whatever lies on the server, readers get what the source has, and go on.

#[path = "fleet/mod.rs"]
mod fleet;

use std::sync::Arc;

use cache_runtime::{Builder, CacheConfig, cache_read};
use cache_tests::redis::Server;
use fleet::{Place, Source};
use serde::{Deserialize, Serialize};

const TEXT: &str = "a text that nobody may read but those who have the key, and that is long enough to be compressed";
const KEYS: [&str; 2] = [
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff",
];

/// A value with a little of everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Doc {
    id: u64,
    text: String,
    list: Vec<Option<i32>>,
    nested: Vec<Vec<String>>,
}

async fn doc(at: &Place, id: u64) -> Doc {
    at.read(id).await;
    expected(id)
}

fn expected(id: u64) -> Doc {
    Doc {
        id,
        text: format!("{TEXT} {id} {TEXT}"),
        list: vec![Some(1), None, Some(-7)],
        nested: vec![vec![], vec!["x".into()]],
    }
}

#[cache_read(key = "doc:<id>", cache = at.cache, tags = ["group:<id>"], skip(at))]
async fn bincode(at: &Place, id: u64) -> Doc {
    doc(at, id).await
}

#[cache_read(key = "doc:<id>", cache = at.cache, tags = ["group:<id>"], codec = json, skip(at))]
async fn json(at: &Place, id: u64) -> Doc {
    doc(at, id).await
}

#[cache_read(key = "doc:<id>", cache = at.cache, tags = ["group:<id>"], codec = msgpack, namespace = "docs", skip(at))]
async fn msgpack(at: &Place, id: u64) -> Doc {
    doc(at, id).await
}

#[cache_read(key = "doc:<id>", cache = at.cache, tags = ["group:<id>"], compress_above = "16B", skip(at))]
async fn packed(at: &Place, id: u64) -> Doc {
    doc(at, id).await
}

#[cache_read(key = "doc:<id>", cache = at.cache, tags = ["group:<id>"], encrypt = true, skip(at))]
async fn sealed(at: &Place, id: u64) -> Doc {
    doc(at, id).await
}

async fn place(prefix: &str, how: impl Fn(Builder) -> Builder) -> Arc<Place> {
    let builder = how(fleet::builder(&fleet::server().await.url(), prefix).pool_size(1));
    Place::new(builder.build().await.unwrap(), &Arc::<Source>::default())
}

fn keyed(builder: Builder) -> Builder {
    builder.encryption_key(KEYS[0])
}

async fn keys(server: &Server, prefix: &str) -> Vec<String> {
    let mut keys: Vec<String> = server.query(&["KEYS", &format!("{prefix}:*")]).await;
    keys.sort_unstable();
    keys
}

/// What may lie where something else was.
fn foreign(own: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> =
        [0, 1, own.len() / 2, own.len().saturating_sub(1)].map(|len| own[..len].to_vec()).into();
    for at in (0..own.len()).step_by((own.len() / 24).max(1)) {
        let mut flipped = own.to_vec();
        flipped[at] ^= 1 << (at % 8);
        all.push(flipped);
    }
    all.push([own, b"more"].concat());
    all.push(own.repeat(2));
    all.extend([&b"hello"[..], b"null", b"{}", b"{\"id\":99}", b"-1", b"\0"].map(<[u8]>::to_vec));
    all.push(b"[".repeat(100_000));
    all.push(vec![0xff; 4 << 20]);
    // A header that is right, and then lengths that are not.
    all.push([&own[..own.len().min(40)], &[0xff; 64]].concat());
    all
}

macro_rules! hostile {
    ($($(#[$doc:meta])* $name:ident: $function:ident;)*) => {
        $($(#[$doc])*
        #[tokio::test]
        async fn $name() {
            let (server, prefix) = (fleet::server().await, fleet::prefix());
            let at = place(&prefix, keyed).await;
            let hits = || at.cache.stats().hits;
            // Until it is stored, and as it was when something is put in its place.
            let settle = async |what: &str| {
                for _ in 0..10 {
                    let before = hits();
                    assert_eq!($function(&at, 1).await, expected(1), "{what}");
                    if hits() > before {
                        return;
                    }
                }
                panic!("{what}: it is never stored again");
            };
            settle("before").await;
            let all = keys(server, &prefix).await;
            assert!(all.len() >= 2, "an entry and its cells: {all:?}");
            for key in &all {
                let own: Vec<u8> = server.query(&["GET", key]).await;
                let rejected = at.cache.stats().rejected;
                for bytes in foreign(&own) {
                    let what = format!("{key}: {} bytes, {:?}", bytes.len(), &bytes[..bytes.len().min(80)]);
                    server.command(&[&b"SET"[..], key.as_bytes(), &bytes]).await;
                    assert_eq!($function(&at, 1).await, expected(1), "{what}");
                    settle(&what).await;
                }
                if key.ends_with("doc:1") {
                    assert!(at.cache.stats().rejected >= rejected + 20, "{key}: they were counted");
                }
                for (kind, make) in [("list", "RPUSH"), ("set", "SADD"), ("hash", "HSET")] {
                    server.command(&["DEL", key]).await;
                    let words = [make, key, "a", "b"];
                    server.command(&words).await;
                    let what = format!("{key}: a {kind}");
                    assert_eq!($function(&at, 1).await, expected(1), "{what}");
                    settle(&what).await;
                }
            }
            // A lease that is none, where nothing is stored: the value comes all the same.
            at.cache.delete("doc:1").await.unwrap();
            let lease = format!("{prefix}:v1:%+lease:{{{prefix}:v1:doc:1}}");
            for words in [&["SET", &lease, "\u{1}"][..], &["RPUSH", &lease, "a"], &["HSET", &lease, "a", "b"]] {
                server.command(words).await;
                assert_eq!($function(&at, 1).await, expected(1), "{words:?}");
                server.command(&["DEL", &lease]).await;
            }
            settle("afterwards").await;
        })*
    };
}
hostile! {
    /// P6
    any_bytes_in_place_of_bincode: bincode;
    /// P6
    any_bytes_in_place_of_json: json;
    /// P6
    any_bytes_in_place_of_messagepack: msgpack;
    /// P6
    any_bytes_in_place_of_what_is_compressed: packed;
    /// P6
    any_bytes_in_place_of_what_is_encrypted: sealed;
}

/// P6: of direct calls.
#[tokio::test]
async fn a_direct_get_of_any_bytes_is_a_miss() {
    let (server, prefix) = (fleet::server().await, fleet::prefix());
    let at = place(&prefix, |builder| builder).await;
    let key = format!("{prefix}:v1:n");
    at.cache.set("n", expected(1)).await.unwrap();
    let own: Vec<u8> = server.query(&["GET", &key]).await;
    for bytes in foreign(&own) {
        server.command(&[&b"SET"[..], key.as_bytes(), &bytes]).await;
        let got = at.cache.get::<Doc>("n").await.unwrap();
        assert_eq!(got, None, "{:?}", &bytes[..bytes.len().min(80)]);
    }
    server.command(&["DEL", &key]).await;
    server.command(&["RPUSH", &key, "a"]).await;
    assert_eq!(at.cache.get::<Doc>("n").await.unwrap(), None);
    at.cache.set("n", expected(2)).await.unwrap();
    assert_eq!(at.cache.get::<Doc>("n").await.unwrap(), Some(expected(2)));
    assert_eq!(at.cache.get::<Vec<u64>>("n").await.unwrap(), None, "of another type");
}

/// The same struct before and after somebody changed it.
mod before {
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(crate) struct User {
        pub(crate) age: u32,
        pub(crate) height: u32,
    }
}
mod after {
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(crate) struct User {
        pub(crate) height: u32,
        pub(crate) age: u32,
    }
}

/// Its type is the caller's choice: one function, as two versions of a program have it.
#[cache_read(key = "user:<id>", cache = at.cache, skip(at, V))]
async fn users<V: Version>(at: &Place, id: u64) -> V {
    at.read(id).await;
    V::new(40, 180)
}

trait Version:
    Clone
    + PartialEq
    + std::fmt::Debug
    + Serialize
    + serde::de::DeserializeOwned
    + cache_runtime::Plain
    + Send
    + Sync
    + 'static
{
    fn new(age: u32, height: u32) -> Self;
}

impl cache_runtime::Plain for before::User {}
impl cache_runtime::Plain for after::User {}

impl Version for before::User {
    fn new(age: u32, height: u32) -> Self {
        Self { age, height }
    }
}

impl Version for after::User {
    fn new(age: u32, height: u32) -> Self {
        Self { height, age }
    }
}

/// P6: two fields changed places, which bincode alone cannot see.
#[tokio::test]
async fn a_changed_struct_is_a_miss() {
    let at = place(&fleet::prefix(), |builder| builder).await;
    for round in 1..=3 {
        assert_eq!(users::<before::User>(&at, 1).await, Version::new(40, 180));
        assert_eq!(users::<after::User>(&at, 1).await, Version::new(40, 180));
        assert_eq!(at.loads(), 2 * round);
    }
    users::<after::User>(&at, 1).await;
    assert_eq!(at.loads(), 6, "the last one is stored");
    assert_eq!(at.cache.stats().rejected, 5, "once for each call");

    at.cache.set("n", before::User { age: 1, height: 2 }).await.unwrap();
    let rejected = at.cache.stats().rejected;
    assert_eq!(at.cache.get::<after::User>("n").await.unwrap(), None);
    assert_eq!(at.cache.stats().rejected, rejected + 1);
    assert_eq!(at.cache.get::<before::User>("n").await.unwrap(), Some(before::User { age: 1, height: 2 }));
}

#[cache_read(key = "number:<id>", cache = at.cache, tags = ["numbers"], skip(at))]
async fn number(at: &Place, id: u64) -> u64 {
    at.read(id).await;
    1
}

#[cache_read(key = "<kind>:<id>", cache = at.cache, tags = ["numbers"], skip(at))]
async fn number_of_kind(at: &Place, kind: &str, id: u64) -> u64 {
    at.read(id).await;
    2
}

/// P6, P8: they take turns, and never see each other's values.
#[tokio::test]
async fn an_entry_of_another_template_is_a_counted_miss() {
    let at = place(&fleet::prefix(), |builder| builder).await;
    for round in 1..=3 {
        assert_eq!((number(&at, 1).await, number_of_kind(&at, "number", 1).await), (1, 2));
        assert_eq!(at.loads(), 2 * round);
    }
    assert_eq!(at.cache.stats().rejected, 5, "once for each call");
}

/// P6
#[tokio::test]
async fn another_encryption_key_is_a_miss_and_the_previous_one_is_not() {
    let prefix = fleet::prefix();
    let old = place(&prefix, keyed).await;
    sealed(&old, 1).await;
    sealed(&old, 1).await;
    assert_eq!(old.loads(), 1);
    let rotated = place(&prefix, |builder| builder.encryption_key(KEYS[1]).encryption_key_previous(KEYS[0])).await;
    assert_eq!(sealed(&rotated, 1).await, expected(1));
    assert_eq!(rotated.loads(), 0, "the previous key decrypts");
    let other = place(&prefix, |builder| builder.encryption_key(KEYS[1])).await;
    assert_eq!(sealed(&other, 1).await, expected(1));
    assert_eq!(other.loads(), 1);
    assert!(other.cache.stats().rejected > 0);
    assert_eq!(sealed(&rotated, 1).await, expected(1));
    assert_eq!(rotated.loads(), 0, "and the new one, with which it was stored since");
    assert_eq!(sealed(&old, 1).await, expected(1));
    assert_eq!(old.loads(), 2);
}

/// P6
#[tokio::test]
async fn encrypted_entries_cannot_be_swapped_and_show_nothing() {
    let (server, prefix) = (fleet::server().await, fleet::prefix());
    let at = place(&prefix, keyed).await;
    for id in [1, 2, 1, 2] {
        assert_eq!(sealed(&at, id).await, expected(id));
    }
    assert_eq!(at.loads(), 2);
    for key in keys(server, &prefix).await {
        let bytes: Vec<u8> = server.query(&["GET", &key]).await;
        for part in [&TEXT[..12], &TEXT[20..40], "nested"] {
            assert!(!bytes.windows(part.len()).any(|window| window == part.as_bytes()), "{key} shows {part:?}");
        }
    }
    let [one, two] = [1, 2].map(|id| format!("{prefix}:v1:doc:{id}"));
    server.command(&["RENAME", &one, "aside"]).await;
    server.command(&["RENAME", &two, &one]).await;
    server.command(&["RENAME", "aside", &two]).await;
    for id in [1, 2] {
        assert_eq!(sealed(&at, id).await, expected(id));
    }
    assert_eq!(at.loads(), 4);
}

/// With no tags, so that an entry and another one's differ in nothing but their names and values.
mod note {
    use super::*;

    #[cache_read(key = "open:<id>", cache = at.cache, skip(at))]
    pub(super) async fn open(at: &Place, id: u64) -> Doc {
        doc(at, id).await
    }

    #[cache_read(key = "plain:<id>", cache = at.cache, codec = json, skip(at))]
    pub(super) async fn json(at: &Place, id: u64) -> Doc {
        doc(at, id).await
    }

    #[cache_read(key = "sealed:<id>", cache = at.cache, encrypt = true, skip(at))]
    pub(super) async fn sealed(at: &Place, id: u64) -> Doc {
        doc(at, id).await
    }
}

/// What a forger does who has no key: other bytes under a name, with the checksum that they would have there.
async fn forge(server: &Server, name: &str, bytes: &[u8]) {
    let (entry, stamp) = bytes.split_at(bytes.len() - 8);
    let above = &entry[..entry.len() - 4];
    let bit = |sum: u32, _| sum >> 1 ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
    let crc = |bytes: &[u8]| !bytes.iter().fold(!0_u32, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), bit));
    let sum = crc(&[name.as_bytes(), above].concat()).to_le_bytes();
    server.command(&[b"SET", name.as_bytes(), &[above, &sum, stamp].concat()]).await;
}

/// P6: an entry is bound to its name. What is not encrypted only says so by a checksum, which anybody can compute.
#[tokio::test]
async fn an_encrypted_entry_is_not_another_keys_even_with_a_right_checksum() {
    let (server, prefix) = (fleet::server().await, fleet::prefix());
    let at = place(&prefix, keyed).await;
    let name = |key: &str, id: u64| format!("{prefix}:v1:{key}:{id}");
    for id in [1, 2] {
        note::open(&at, id).await;
        note::sealed(&at, id).await;
    }
    for key in ["open", "sealed"] {
        let bytes: Vec<u8> = server.query(&["GET", &name(key, 1)]).await;
        forge(server, &name(key, 2), &bytes).await;
    }
    assert_eq!(note::open(&at, 2).await, expected(1), "the forger knows his trade");
    assert_eq!((at.loads(), at.cache.stats().rejected), (4, 0));
    assert_eq!(note::sealed(&at, 2).await, expected(2));
    assert_eq!((at.loads(), at.cache.stats().rejected), (5, 1));
    assert_eq!(note::sealed(&at, 2).await, expected(2));
    assert_eq!(at.loads(), 5, "it is stored again");
}

/// P6, P1: an entry is bound to the cells it was stored with. An old one does not come back with the nonces of today.
#[tokio::test]
async fn an_encrypted_entry_does_not_outlive_its_invalidation_even_with_new_nonces() {
    let (server, prefix) = (fleet::server().await, fleet::prefix());
    let at = place(&prefix, keyed).await;
    let names = ["open", "sealed"].map(|key| format!("{prefix}:v1:{key}:1"));
    let look = async || {
        let mut all = Vec::new();
        for name in keys(server, &prefix).await {
            let bytes: Vec<u8> = server.query(&["GET", &name]).await;
            all.push((name, bytes));
        }
        all
    };
    let read = async || {
        note::open(&at, 1).await;
        note::sealed(&at, 1).await;
    };
    read().await;
    let before = look().await;
    at.cache.clear().await.unwrap();
    read().await;
    assert_eq!(at.loads(), 4);
    let after = look().await;
    let nonces: Vec<(&[u8], &[u8])> = before
        .iter()
        .zip(&after)
        .filter(|((name, old), (_, new))| !names.contains(name) && old != new)
        .map(|((old_name, old), (name, new))| {
            assert_eq!(old_name, name);
            (&old[..16], &new[..16])
        })
        .collect();
    assert!(!nonces.is_empty(), "{before:?}");
    for name in &names {
        let mut bytes = before.iter().find(|(known, _)| known == name).unwrap().1.clone();
        for (old, new) in &nonces {
            if let Some(at) = bytes.windows(16).position(|window| window == *old) {
                bytes[at..at + 16].copy_from_slice(new);
            }
        }
        forge(server, name, &bytes).await;
    }
    note::open(&at, 1).await;
    assert_eq!((at.loads(), at.cache.stats().rejected), (4, 0), "the forger knows his trade");
    note::sealed(&at, 1).await;
    assert_eq!((at.loads(), at.cache.stats().rejected), (5, 1));
}

/// P5: what another server accepted is missing here, whatever brought it: a backup, a migration, a copy of its names. What it
/// knew of invalidations is not what this one knows.
#[tokio::test]
async fn another_servers_entries_under_our_names_are_not_served() {
    let (ours, theirs, prefix) = (fleet::server().await, Server::start().await, fleet::prefix());
    let source = Arc::default();
    let build = async |server: &Server| {
        let builder = keyed(fleet::builder(&server.url(), &prefix));
        Place::new(builder.build().await.unwrap(), &source)
    };
    let (here, there) = (build(ours).await, build(&theirs).await);
    macro_rules! read {
        ($at:expr) => {
            for id in [1, 2] {
                assert_eq!(note::open($at, id).await, expected(id));
                assert_eq!(note::sealed($at, id).await, expected(id));
                assert_eq!(note::json($at, id).await, expected(id));
            }
        };
    }
    read!(&there);
    read!(&there);
    assert_eq!(there.loads(), 6);
    note::open(&here, 1).await;
    assert_eq!(here.loads(), 1);
    for name in keys(&theirs, &prefix).await {
        let bytes: Vec<u8> = theirs.query(&["DUMP", &name]).await;
        ours.command(&[b"RESTORE", name.as_bytes(), b"0", &bytes, b"REPLACE"]).await;
    }
    read!(&here);
    assert_eq!(here.loads(), 7, "none of them is taken for one of ours");
    read!(&here);
    assert_eq!(here.loads(), 7, "and none is in the way");
    assert_eq!(here.cache.stats().rejected, 0);
}

/// P6: who cannot encrypt cannot put something in place of what is encrypted.
#[tokio::test]
async fn plaintext_is_refused_where_values_are_to_be_encrypted() {
    let prefix = fleet::prefix();
    let plain = place(&prefix, |builder| builder).await;
    bincode(&plain, 1).await;
    bincode(&plain, 1).await;
    assert_eq!(plain.loads(), 1);
    let strict = place(&prefix, |builder| keyed(builder).encrypt(true)).await;
    assert_eq!(bincode(&strict, 1).await, expected(1));
    assert_eq!(strict.loads(), 1);
    assert!(strict.cache.stats().rejected > 0);
    assert_eq!(bincode(&strict, 1).await, expected(1));
    assert_eq!(strict.loads(), 1);
}

/// P6
#[tokio::test]
async fn nothing_shows_a_key_or_a_password() {
    let url = fleet::server().await.url().replace("://", "://:hush@");
    let builder = || fleet::builder(&url, "t").encryption_key(KEYS[0]).encryption_key_previous(KEYS[1]);
    let file: CacheConfig = serde_json::from_value(serde_json::json!({
        "url": url, "encryption_key": KEYS[0], "encryption_key_previous": KEYS[1],
        "redis": { "host": "localhost", "password": "hush" }
    }))
    .unwrap();
    let mut texts = vec![format!("{:?}", builder()), format!("{file:?} {file:#?}")];
    match builder().build().await {
        Ok(cache) => texts.push(format!("{cache:?} {cache:#?} {:?}", cache.info().await)),
        Err(error) => texts.push(format!("{error} {error:?}")),
    }
    let at = place(&fleet::prefix(), |builder| keyed(builder).encryption_key_previous(KEYS[1])).await;
    texts.push(format!("{:?} {:#?} {:?}", at.cache, at.cache, at.cache.info().await));
    for bad in ["hush", "hushhushhushhushhushhushhushhushhushhushhushhushhushhushhushhush"] {
        let error = fleet::builder(&fleet::server().await.url(), "t").encryption_key(bad).build().await.unwrap_err();
        texts.push(format!("{error} {error:?}"));
    }
    for text in texts {
        for secret in ["hush", &KEYS[0][..16], &KEYS[1][..16], &KEYS[0][40..]] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}

//! P8: values that have broken keys elsewhere, keys that look like names which the cache makes for itself, and templates
//! that meet.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cache_runtime::{Cache, Key, Tenant, cache_read, cache_write, key};
use cache_tests::{Row, Source};

/// Texts that mean something to a template, a glob, a server, a cluster, a terminal, or to the cache itself.
const HOSTILE: &[&str] = &[
    "",
    " ",
    ":",
    "::",
    "a:b",
    ":a",
    "a:",
    "%",
    "%%",
    "%3A",
    "%25",
    "%3a",
    "%-",
    "%(",
    "%)",
    "%,",
    "%(%)",
    "%~",
    "%+",
    "%+all",
    "%+any",
    "%+tag:x",
    "%+lease:{x}",
    "*",
    "**",
    "?",
    "[ab]",
    "[^a]",
    "[",
    "]",
    "{",
    "}",
    "{}",
    "{a}",
    "{a",
    "a}",
    "}{",
    "\\",
    "\\*",
    "\\\\",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "a\0b",
    "\u{7f}",
    "\u{85}",
    "\u{1b}[2J",
    "\u{202e}abc",
    "abc\u{202c}",
    "\u{200f}",
    "\u{2066}x\u{2069}",
    "\u{feff}",
    "é",
    "e\u{301}",
    "漢字",
    "𐍈",
    "None",
    "null",
    "true",
    "0",
    "-1",
    "<id>",
    "<result>",
    "{id}",
    "tenant-",
    "tenant-a",
    "tenant-a:x",
    "svc:v1:x",
    "$1",
    "'",
    "\"",
    "`",
    "a b",
    "A",
    "a",
    "\u{a0}",
];

/// The above, and ones over the limit of a key that differ at one place only.
fn hostile() -> Vec<String> {
    let long = "x".repeat(1 << 10);
    let mut all: Vec<String> = HOSTILE.iter().map(|&text| text.to_owned()).collect();
    all.extend([
        format!("{long}y"),
        format!("y{long}"),
        "x".repeat(256),
        "x".repeat(257),
        ":".repeat(300),
        "%".repeat(300),
    ]);
    all.push(long);
    all
}

#[cache_read(key = "text:<text>", tags = ["t:<text>", "texts"], namespace = "n:<text>", skip(db))]
async fn by_text(db: &Source, text: &str) -> u64 {
    let _ = text;
    db.tick()
}

#[cache_read(key = "body:<body>", skip(db))]
async fn by_body(db: &Source, body: &str) -> u64 {
    let _ = body;
    db.tick()
}

#[cache_read(key = "<a>:<b>", skip(db))]
async fn by_two(db: &Source, a: &str, b: &str) -> u64 {
    let _ = (a, b);
    db.tick()
}

#[cache_read(key = "opt:<a>:<b>", skip(db))]
async fn by_optional(db: &Source, a: Option<&str>, b: &[&str]) -> u64 {
    let _ = (a, b);
    db.tick()
}

#[cache_read(key = "text:<text>", each(text in texts), skip(db))]
async fn by_texts(db: &Source, texts: &[String]) -> HashMap<String, u64> {
    texts.iter().map(|text| (text.clone(), db.tick())).collect()
}

#[cache_write(patterns = ["text:<text>"])]
async fn drop_text(text: &str) {
    let _ = text;
}

#[cache_write(patterns = ["text:<text>*"])]
async fn drop_texts(text: &str) {
    let _ = text;
}

#[cache_write(keys = ["text:<text>"], tags = ["t:<text>"], put = by_text(text))]
async fn put_text(text: &str, value: u64) -> u64 {
    let _ = text;
    value
}

#[cache_read(key = "user:<id>", tags = ["users"], namespace = "people", skip(db))]
async fn get_user(db: &Source, id: u64) -> Row {
    db.row(id).await
}

#[cache_read(key = "user:<kind>:<id>", skip(db))]
async fn by_kind(db: &Source, kind: &str, id: u64) -> u64 {
    let _ = (kind, id);
    db.tick()
}

#[cache_read(key = "user:profile:<id>", skip(db))]
async fn profile(db: &Source, id: u64) -> u64 {
    let _ = id;
    db.tick() + 1000
}

#[cache_read(key = "user:profile:<id>", skip(db))]
async fn profile_name(db: &Source, id: u64) -> String {
    let _ = id;
    format!("profile {}", db.tick())
}

#[cache_read(key = "user:profile:<id>", version = 2, skip(db))]
async fn profile_later(db: &Source, id: u64) -> u64 {
    let _ = id;
    db.tick() + 2000
}

#[cache_read(key = "user:profile:<id>", skip(db))]
async fn profile_of_text(db: &Source, id: &str) -> u64 {
    let _ = id;
    db.tick() + 3000
}

/// Braces of a template's own, which a cluster would read as a part that decides where the key is.
#[cache_read(key = "a{{b}}c:<id>", tags = ["{{t}}:<id>"], skip(db))]
async fn braced(db: &Source, id: u64) -> u64 {
    let _ = id;
    db.tick()
}

/// Names that the cache makes for itself, of entries and groups that are in use, as keys given by hand.
async fn reserved(on: &crate::backend::On) -> BTreeSet<String> {
    let user = format!("{}user:1", on.prefix());
    let mut names: BTreeSet<String> = [
        "%+all",
        "%+any",
        "%+tenant",
        "%+tag:users",
        "%+tag:user:1",
        "%+ns:people",
        "%+fn:",
        "%+",
        "%+side:",
        "%+lease:",
        "%+new:thing",
    ]
    .map(ToOwned::to_owned)
    .into();
    names.extend([format!("%+lease:{{{user}}}"), format!("%+side:{{{user}}}"), format!("%+lease:{user}")]);
    if on.is_shared() {
        let own = on.names().await.into_iter().filter_map(|name| Some(name.strip_prefix(&on.prefix())?.to_owned()));
        names.extend(own.filter(|name| name.starts_with('%')));
        assert!(names.len() > 14, "no cell of a function was found: {names:?}");
    }
    names
}

/// Whether functions go on to store, hit and invalidate.
async fn works(cache: &Cache, what: &str) {
    let db = Source::new();
    get_user(&db, 1).await;
    let loads = db.loads();
    assert_eq!(get_user(&db, 1).await, Row::fresh(1));
    assert_eq!(db.loads(), loads, "{what}: nothing is stored any more");
    cache.invalidate("users").await.unwrap();
    get_user(&db, 1).await;
    assert_eq!(db.loads(), loads + 1, "{what}: nothing is invalidated any more");
    get_user(&db, 1).await;
    assert_eq!(db.loads(), loads + 1, "{what}: nothing is stored any more");
}

everywhere! {
    /// P8 N3: whatever a value is, it has an entry of its own, which every way to name it reaches.
    async fn each_value_has_an_entry_of_its_own(on: &On) {
        let (cache, db, texts) = (&on.cache, Source::new(), hostile());
        for round in 0..2 {
            for (index, text) in texts.iter().enumerate() {
                assert_eq!(by_text(&db, text).await, index as u64 + 1, "round {round}: {:?}", &text[..text.len().min(20)]);
            }
        }
        let other = on.other().await;
        for (index, text) in texts.iter().enumerate() {
            let value = Some(index as u64 + 1);
            assert_eq!(by_text::peek(text).await.unwrap(), value);
            assert_eq!(cache.get::<u64>(by_text::key(text)).await.unwrap(), value);
            assert_eq!(other.get::<u64>(key!("text:<text>")).await.unwrap(), value);
            assert_eq!(other.get::<u64>(by_text::key(text).as_str()).await.unwrap(), value, "by its text, too");
        }
        let listed: BTreeSet<Key> = cache.keys("*").collect().await.unwrap();
        assert_eq!(listed, texts.iter().map(|text| by_text::key(text)).collect());
    }

    /// P8: an invalidation of one value takes that and no other, by companion, tag, namespace, key, pattern.
    async fn each_value_is_invalidated_by_itself(on: &On) {
        let (cache, db, texts) = (&on.cache, Source::new(), hostile());
        let ways = ["invalidate", "tag", "namespace", "default tag", "delete", "put", "pattern", "delete_match"];
        // Of a key over the limit a pattern knows the front only, and takes rather one too many.
        let how = |index: usize| ways[index % if texts[index].len() < 200 { ways.len() } else { 6 }];
        for text in &texts {
            by_text(&db, text).await;
        }
        // Each text goes once, by one way or the other, and stays gone.
        let mut gone = BTreeSet::new();
        for (index, text) in texts.iter().enumerate() {
            match how(index) {
                "invalidate" => by_text::invalidate(text).await.unwrap(),
                "tag" => cache.invalidate(key!("t:<text>")).await.unwrap(),
                "namespace" => cache.invalidate_namespace(key!("n:<text>")).await.unwrap(),
                "default tag" => cache.invalidate(by_text::key(text)).await.unwrap(),
                "delete" => assert!(cache.delete(by_text::key(text)).await.unwrap()),
                "pattern" => drop_text(text).await,
                "delete_match" => {
                    let glob: String = by_text::key(text).as_str().chars().flat_map(|c| ['\\', c]).collect();
                    assert_eq!(cache.delete_match(glob).await.unwrap(), 1, "{text:?}");
                }
                _ => assert_eq!(put_text(text, 777).await, 777),
            }
            gone.insert(index);
            for (other, text) in texts.iter().enumerate().filter(|(other, _)| other.abs_diff(index) < 5 || other % 9 == 0) {
                let expected = match how(other) {
                    "put" if gone.contains(&other) => Some(777),
                    _ if gone.contains(&other) => None,
                    _ => Some(other as u64 + 1),
                };
                assert_eq!(by_text::peek(text).await.unwrap(), expected, "{other} {} after {index}", how(other));
            }
        }
    }

    /// P8 N3: a value in a pattern is text, whatever it looks like; the star beside it is not.
    async fn a_value_cannot_act_as_a_pattern(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let all = ["a", "ab", "abc", "b", "*", "a*", "?", "[ab]", "\\", "{a,b}", "%", "%2A"];
        let left = async || {
            let mut keys: Vec<Key> = cache.keys("text:*").collect().await.unwrap();
            keys.sort();
            keys
        };
        for text in all {
            by_text(&db, text).await;
        }
        let mut expected: Vec<Key> = all.iter().map(|text| by_text::key(text)).collect();
        expected.sort();
        for text in ["*", "?", "[ab]", "\\", "{a,b}"] {
            drop_text(text).await;
            expected.retain(|key| *key != by_text::key(text));
            assert_eq!(left().await, expected, "{text:?} took more or less than itself");
        }
        drop_texts("a").await;
        expected.retain(|key| !key.as_str().starts_with("text:a"));
        assert_eq!(left().await, expected);
        drop_texts("%").await;
        assert_eq!(left().await, [by_text::key("b")], "what begins with an escaped per cent: `%` and `%2A`");
    }

    /// P8 N3: the segments of a key are kept apart, as are nothing, lists, and texts that look like them.
    async fn segments_are_kept_apart(on: &On) {
        let (_, db) = (&on.cache, Source::new());
        let mut seen = BTreeSet::new();
        for a in ["a", "a:", ":", "", "%3A", "b", "tenant-x", "%+tag"] {
            for b in ["a", ":a", "a:b", "", "%", "b"] {
                assert!(seen.insert(by_two(&db, a, b).await), "{a:?} {b:?}");
            }
        }
        for a in [None, Some(""), Some("None"), Some("%-"), Some("-"), Some("a")] {
            for b in [&[][..], &[""], &["", ""], &["a", "b"], &["a,b"], &["a%,b"], &["a:b"], &["%)"]] {
                assert!(seen.insert(by_optional(&db, a, b).await), "{a:?} {b:?}");
            }
        }
        let loads = db.loads();
        assert!(seen.contains(&by_two(&db, "a:", "").await) && seen.contains(&by_optional(&db, None, &["a,b"]).await));
        assert_eq!(db.loads(), loads);
    }

    /// P8 N12: a batch of hostile elements finds each again, and shares entries with its like.
    async fn a_batch_of_hostile_elements(on: &On) {
        let (cache, db, texts) = (&on.cache, Source::new(), hostile());
        let first = by_texts(&db, &texts).await;
        assert_eq!(first.values().collect::<BTreeSet<_>>().len(), texts.len());
        let again: Vec<String> = texts.iter().rev().cloned().collect();
        assert_eq!(by_texts(&db, &again).await, first);
        assert_eq!(db.loads(), texts.len() as u64);
        for text in &texts {
            assert_eq!(cache.get::<u64>(by_texts::key(text.clone())).await.unwrap(), first.get(text).copied());
        }
    }

    /// P8: keys given by hand are taken as they are, each an entry of its own.
    async fn keys_given_by_hand(on: &On) {
        let cache = &on.cache;
        let texts: Vec<String> = hostile().into_iter().filter(|text| !text.is_empty()).collect();
        for (index, text) in texts.iter().enumerate() {
            cache.set(text.as_str(), index as u64).ttl("forever").tags([text.as_str()]).namespace(text).await.unwrap();
        }
        cache.incr("counter:{a}", 1).await.unwrap();
        let other = on.other().await;
        let found = other.get_many::<u64>(&texts).await.unwrap();
        assert!(found.iter().enumerate().all(|(index, value)| *value == Some(index as u64)), "{found:?}");
        let listed: BTreeSet<Key> = cache.keys("*").collect().await.unwrap();
        assert_eq!(listed.len(), texts.len() + 1);
        for key in &listed {
            assert!(cache.exists(key).await.unwrap(), "{key} is listed under a name that is not its own");
        }
        for (index, text) in texts.iter().enumerate() {
            let what = &text[..text.char_indices().nth(20).map_or(text.len(), |(at, _)| at)];
            match index % 5 {
                0 => assert!(cache.delete(text.as_str()).await.unwrap(), "{what:?}"),
                1 => assert_eq!(cache.pop::<u64>(text.as_str()).await.unwrap(), Some(index as u64), "{what:?}"),
                2 => cache.invalidate(text.as_str()).await.unwrap(),
                3 => cache.invalidate_namespace(text).await.unwrap(),
                _ => assert!(cache.tag(text.as_str(), ["last"]).await.unwrap(), "{what:?}"),
            }
            assert_eq!(cache.exists(text.as_str()).await.unwrap(), index % 5 == 4, "{what:?}");
        }
        let left: Vec<Key> = cache.keys("*").collect().await.unwrap();
        assert_eq!(left.len(), texts.len() / 5 + 1, "{left:?}");
        cache.invalidate("last").await.unwrap();
        let left: Vec<Key> = cache.keys("*").collect().await.unwrap();
        assert_eq!(left, ["counter:{a}"]);
    }

    /// P8 P7: a key given by hand that is spelt like a name which the cache makes for itself is an entry like any other: it
    /// changes no cell and takes no lease.
    async fn a_key_given_by_hand_is_never_one_of_the_caches_own_names(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        get_user(&db, 1).await;
        cache.set("kept", 1_u8).tags(["users"]).await.unwrap();
        let names = reserved(on).await;
        for name in &names {
            let name = name.as_str();
            cache.set(name, 7_i64).ttl("forever").await.unwrap();
            assert_eq!(cache.get::<i64>(name).await.unwrap(), Some(7), "{name}");
            assert_eq!(cache.incr(name, 1).await.unwrap(), 8, "{name}");
            assert!(cache.tag(name, ["extra"]).await.unwrap(), "{name}");
            assert!(!cache.set_nx(name, 9_i64).await.unwrap(), "{name}");
            get_user(&db, 1).await;
            assert_eq!(db.loads(), 1, "{name}: storing under it emptied the cache");
        }
        let listed: BTreeSet<Key> = cache.keys("*").collect().await.unwrap();
        assert_eq!(listed.len(), names.len() + 2, "{listed:?}");
        get_user::invalidate(1).await.unwrap();
        works(cache, "while all of them are keys").await;
        get_user(&db, 1).await;
        let loads = db.loads();
        for name in &names {
            let name = name.as_str();
            assert!(cache.exists(name).await.unwrap(), "{name}");
            assert!(cache.delete(name).await.unwrap(), "{name}");
            cache.invalidate(name).await.unwrap();
            cache.invalidate_keys([name]).await.unwrap();
            assert_eq!(cache.delete_match(name).await.unwrap(), 0, "{name}");
            get_user(&db, 1).await;
            assert_eq!(db.loads(), loads, "{name}: dropping it emptied the cache");
        }
        assert_eq!(cache.delete_match("%*").await.unwrap(), 0);
        get_user(&db, 1).await;
        assert_eq!(db.loads(), loads);
        works(cache, "after all that").await;
    }

    /// P8: a tag, a namespace or a tenant that is spelt like one of the cache's own names is one of its own.
    async fn a_group_is_never_one_of_the_caches_own_names(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        get_user(&db, 1).await;
        for name in reserved(on).await {
            cache.set("other", 1_u8).tags([name.as_str()]).namespace(&name).await.unwrap();
            cache.invalidate(name.as_str()).await.unwrap();
            assert!(!cache.exists("other").await.unwrap(), "{name}");
            cache.set("other", 1_u8).tags(["t"]).namespace(&name).await.unwrap();
            cache.invalidate_namespace(&name).await.unwrap();
            assert!(!cache.exists("other").await.unwrap(), "{name}");
            get_user(&db, 1).await;
            assert_eq!(db.loads(), 1, "{name} emptied the cache");
        }
        for name in ["all", "any", "x", "-", "..", "a.b", "tenant-a", "svc", "v1"] {
            let tenant = Tenant::new(name).unwrap();
            tenant.scope(async {
                cache.set("user:1", Row::fresh(666)).await.unwrap();
                cache.clear().await.unwrap();
            })
            .await;
            get_user(&db, 1).await;
            assert_eq!(db.loads(), 1, "tenant {name} emptied the cache");
        }
    }

    /// P8: no text, by hand or in a value, reaches into a tenant; a tenant does not reach out.
    async fn no_text_reaches_into_a_tenant(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let a = Tenant::new("a").unwrap();
        a.scope(async {
            get_user(&db, 1).await;
            cache.set("%+all", 1_u8).await.unwrap();
            cache.set("tenant-b:user:1", Row::fresh(3)).await.unwrap();
            cache.incr("n", 5).await.unwrap();
        })
        .await;
        let texts = [
            "tenant-a:user:1", "tenant-a:n", "%74enant-a:user:1", "tenant-a:%+tag:users", "tenant-a:%+tenant", "tenant-a:%+all",
            "tenant-a", "tenant-", "TENANT-a:user:1", "x:tenant-a:user:1",
        ];
        for text in texts {
            assert_eq!(cache.get::<Row>(text).await.unwrap(), None, "{text}");
            cache.set(text, Row::fresh(666)).ttl("forever").await.unwrap();
            assert!(cache.incr(text, 1).await.is_err());
            cache.invalidate([text]).await.unwrap();
            cache.invalidate_namespace(text).await.unwrap();
            cache.set(text, Row::fresh(666)).tags([text]).await.unwrap();
            cache.delete_match(text).await.unwrap();
            cache.delete(text).await.unwrap();
            by_two(&db, text, "user:1").await;
            by_two(&db, text, "").await;
        }
        let leased = format!("%+lease:{{{}tenant-a:user:1}}", on.prefix());
        cache.set(leased.as_str(), 1_u8).ttl("forever").await.unwrap();
        let loads = db.loads();
        a.scope(async {
            assert_eq!(get_user(&db, 1).await, Row::fresh(1));
            assert_eq!(cache.get::<i64>("n").await.unwrap(), Some(5));
            assert_eq!(db.loads(), loads, "what the tenant had is still there");
            get_user::invalidate(1).await.unwrap();
            get_user(&db, 1).await;
            get_user(&db, 1).await;
            assert_eq!(db.loads(), loads + 1, "and it can still store");
        })
        .await;
        assert!(!cache.keys("*").collect::<Vec<_>>().await.unwrap().iter().any(|key| key == "n"));
        assert_eq!(Tenant::new("b").unwrap().scope(get_user::peek(1)).await.unwrap(), None);
    }

    /// P8 E11: functions whose keys meet never see each other's values: another template, type, version or kind of parameter.
    async fn keys_that_meet_keep_their_values_apart(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for _ in 0..3 {
            assert!(by_kind(&db, "profile", 7).await < 1000);
            assert!((1000..2000).contains(&profile(&db, 7).await));
            assert!((2000..3000).contains(&profile_later(&db, 7).await));
            assert!(profile_of_text(&db, "7").await >= 3000);
            assert!(profile_name(&db, 7).await.starts_with("profile"));
        }
        assert_eq!(db.loads(), 15, "each is a miss to the others");
        let name = profile_name(&db, 7).await;
        assert_eq!(db.loads(), 15, "the last one stays");
        assert_eq!((profile::peek(7).await.unwrap(), by_kind::peek("profile", 7).await.unwrap()), (None, None));
        assert_eq!(cache.get::<u64>(profile::key(7)).await.unwrap(), None);
        assert_eq!(cache.get::<String>("user:profile:7").await.unwrap(), Some(name), "a text fits every template");
        assert_eq!(cache.get::<String>(by_kind::key("profile", 7)).await.unwrap(), None, "another template's key does not");
        cache.invalidate("user:profile:7").await.unwrap();
        assert_eq!(profile_name::peek(7).await.unwrap(), None);
    }

    /// P8 P2: functions whose keys meet do not share a load either.
    async fn keys_that_meet_do_not_share_a_load(on: &On) {
        let db = Arc::new(Source::new());
        for _ in 0..5 {
            on.cache.delete("user:profile:7").await.unwrap();
            let (number, name, kind) = tokio::join!(profile(&db, 7), profile_name(&db, 7), by_kind(&db, "profile", 7));
            assert!((1000..2000).contains(&number) && name.starts_with("profile") && kind < 1000);
        }
    }

    /// P8: braces of a template's own and of keys by hand change nothing but where a cluster keeps them.
    async fn braces_of_a_template(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        for id in [1, 2] {
            assert_eq!(braced(&db, id).await, id);
            assert_eq!(braced(&db, id).await, id);
        }
        cache.invalidate("{t}:1").await.unwrap();
        assert_eq!((braced(&db, 1).await, braced(&db, 2).await), (3, 2));
        assert_eq!(cache.get::<u64>("a{b}c:2").await.unwrap(), Some(2));
        for key in ["{}", "{}{x}", "}{", "a{", "a}", "{a}b{c}", "{{a}}", "a{b", "{a}{a}"] {
            assert!(cache.set_nx(key, 1_u8).await.unwrap());
            assert_eq!(cache.get_or_load(key, || async { Ok::<_, ()>(2_u8) }).await, Ok(1));
            assert!(cache.delete(key).await.unwrap());
            assert_eq!(cache.get_or_load(key, || async { Ok::<_, ()>(2_u8) }).await, Ok(2));
            assert_eq!(cache.get::<u8>(key).await.unwrap(), Some(2), "a load under {key} can be stored");
        }
        assert_eq!(cache.delete_match("*{*").await.unwrap(), 10);
    }

    /// P8 N3: a mebibyte in a key: an entry for each, which can be named again.
    async fn a_mebibyte_is_a_key(on: &On) {
        let (cache, db) = (&on.cache, Source::new());
        let long = "x".repeat(1 << 20);
        let texts = [format!("{long}y"), long];
        for _ in 0..2 {
            for (index, text) in texts.iter().enumerate() {
                assert_eq!(by_body(&db, text).await, index as u64 + 1);
            }
        }
        by_body::invalidate(&texts[0]).await.unwrap();
        let key = by_body::key(&texts[1]);
        assert_eq!(cache.get::<u64>(&key).await.unwrap(), Some(2));
        cache.invalidate(key).await.unwrap();
        assert!(cache.keys("*").next().await.is_none());
        if on.is_shared() {
            assert!(on.names().await.iter().all(|name| name.len() < 1000), "a server has short names");
        }
    }

    /// P8: values of any size and content come back as they were.
    async fn values_of_any_content(on: &On) {
        let cache = &on.cache;
        let mut texts = hostile();
        texts.push("\u{10ffff}\u{0}".repeat(100_000));
        for (index, text) in texts.iter().enumerate() {
            cache.set(format!("v:{index}"), text.clone()).await.unwrap();
            cache.set(format!("b:{index}"), text.as_bytes().to_vec()).await.unwrap();
        }
        for (index, text) in texts.iter().enumerate() {
            assert!(cache.get::<String>(format!("v:{index}")).await.unwrap().as_ref() == Some(text), "{index}");
            assert!(cache.get::<Vec<u8>>(format!("b:{index}")).await.unwrap().as_deref() == Some(text.as_bytes()), "{index}");
        }
    }
}

//! Each op on a server that is well.

use std::time::Duration;

use super::server::{Redisd, calls, name, one};
use crate::error::ErrorKind;
use crate::store::{Cursor, EntryName, Image, Life, Name, Op, Reply, SharedStore};

const MINUTE: Duration = Duration::from_secs(60);

fn entry() -> EntryName {
    EntryName { entry: name("svc:v1:user:42"), side: name("svc:v1:~e:user:42"), lease: name("svc:v1:~l:user:42") }
}

fn image(envelope: &str, plain: Option<&str>) -> Image {
    Image { envelope: envelope.into(), plain: plain.map(Into::into) }
}

fn acquire(token: u8) -> Op {
    Op::Acquire { lease: entry().lease, token: [token; 16], ttl: MINUTE, steal: false }
}

fn fill(token: u8, image: Image) -> Op {
    Op::Fill { name: entry(), token: [token; 16], image, ttl: Some(MINUTE), or_drop: false }
}

fn bytes(text: &str) -> Reply {
    Reply::Bytes(Some(text.into()))
}

const NOTHING: Reply = Reply::Bytes(None);

fn pttl(server: &Redisd, name: &Name) -> i64 {
    server.command_of(&[b"PTTL", name])
}

#[tokio::test]
async fn a_fill_stores_only_under_its_own_lease() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    assert_eq!(one(&redis, acquire(1)).await, Reply::Flag(true));
    assert_eq!(one(&redis, acquire(2)).await, Reply::Flag(false));
    assert_eq!(one(&redis, fill(2, image("no", None))).await, Reply::Flag(false));
    assert_eq!(one(&redis, Op::Read(entry().entry)).await, NOTHING);
    assert_eq!(one(&redis, fill(1, image("yes", None))).await, Reply::Flag(true));
    assert_eq!(one(&redis, Op::Read(entry().entry)).await, bytes("yes"));
    let left = pttl(&server, &entry().entry);
    assert!((55_000..=60_000).contains(&left), "{left}");
    // The lease is given back, and once only.
    assert_eq!(one(&redis, fill(1, image("again", None))).await, Reply::Flag(false));
    assert_eq!(one(&redis, acquire(2)).await, Reply::Flag(true));
    // A fill that came too late can drop what is there instead.
    let late = Op::Fill { name: entry(), token: [1; 16], image: image("no", None), ttl: None, or_drop: true };
    assert_eq!(one(&redis, late).await, Reply::Flag(false));
    assert_eq!(one(&redis, Op::Read(entry().entry)).await, NOTHING);
}

#[tokio::test]
async fn a_plain_value_lies_under_the_entry_as_it_is_and_its_envelope_beside_it() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    one(&redis, acquire(1)).await;
    assert_eq!(one(&redis, fill(1, image("envelope", Some("{\"id\":42}")))).await, Reply::Flag(true));
    assert_eq!(server.command_of::<String>(&[b"GET", &entry().entry]), "{\"id\":42}");
    assert_eq!(one(&redis, Op::ReadPlain(entry().entry)).await, bytes("{\"id\":42}"));
    assert_eq!(one(&redis, Op::Read(entry().side)).await, bytes("envelope"));
    assert_eq!(one(&redis, Op::Read(entry().entry)).await, NOTHING, "a plain value has no stamp");
    // An image without a plain part takes the side away.
    one(&redis, acquire(1)).await;
    assert_eq!(one(&redis, fill(1, image("whole", None))).await, Reply::Flag(true));
    assert_eq!(one(&redis, Op::Read(entry().entry)).await, bytes("whole"));
    assert_eq!(one(&redis, Op::Read(entry().side)).await, NOTHING);
}

#[tokio::test]
async fn a_lease_is_renewed_released_and_stolen_by_token() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let lease = entry().lease;
    let renew = |token| Op::Renew { lease: entry().lease, token: [token; 16], ttl: 10 * MINUTE };
    let release = |token| Op::Release { lease: entry().lease, token: [token; 16] };
    assert_eq!(one(&redis, renew(1)).await, Reply::Flag(false));
    one(&redis, acquire(1)).await;
    assert_eq!(one(&redis, renew(2)).await, Reply::Flag(false));
    assert_eq!(one(&redis, renew(1)).await, Reply::Flag(true));
    assert!(pttl(&server, &lease) > 500_000);
    assert_eq!(one(&redis, release(2)).await, Reply::Flag(false));
    let steal = Op::Acquire { lease: lease.clone(), token: [2; 16], ttl: MINUTE, steal: true };
    assert_eq!(one(&redis, steal).await, Reply::Flag(true));
    assert_eq!(one(&redis, renew(1)).await, Reply::Flag(false));
    assert_eq!(one(&redis, release(2)).await, Reply::Flag(true));
    assert_eq!(server.command_of::<u8>(&[b"EXISTS", &lease]), 0);
    // A life below one millisecond is one, not an error.
    let short = Op::Acquire { lease, token: [3; 16], ttl: Duration::from_nanos(1), steal: false };
    assert_eq!(one(&redis, short).await, Reply::Flag(true));
}

/// P5, E5: what was taken before a fail-over or a restart is nobody's.
#[tokio::test]
async fn a_lease_that_was_taken_on_another_server_is_free() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let put = |value: &[u8]| server.command_of::<()>(&[b"SET", &entry().lease, value]);
    put(&[[9u8; 16].as_slice(), b"foreign!"].concat());
    assert_eq!(one(&redis, acquire(1)).await, Reply::Flag(true));
    assert_eq!(one(&redis, acquire(2)).await, Reply::Flag(false), "this one was taken here");
    assert_eq!(one(&redis, fill(9, image("late", None))).await, Reply::Flag(false));
    assert_eq!(one(&redis, fill(1, image("yes", None))).await, Reply::Flag(true));
    // A mark has no identity, and is honoured while it is good.
    put(&[b"\x01fence:" as &[u8], &[7; 16], b"99999999999999"].concat());
    assert_eq!(one(&redis, acquire(3)).await, Reply::Flag(false));
    put(&[b"\x01fence:" as &[u8], &[7; 16], b"00000000000001"].concat());
    assert_eq!(one(&redis, acquire(3)).await, Reply::Flag(true));
    server.command_of::<()>(&[b"DEL", &entry().lease]);
    server.command_of::<()>(&[b"LPUSH", &entry().lease, b"of another kind"]);
    assert_eq!(one(&redis, acquire(4)).await, Reply::Flag(true));
}

#[tokio::test]
async fn a_cell_keeps_its_nonce_and_never_lives_shorter_than_it_was_promised() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let cell = name("svc:v1:~c:tag");
    let ensure = |fresh, ttl| Op::Ensure { cell: name("svc:v1:~c:tag"), fresh: [fresh; 16], ttl };
    assert_eq!(one(&redis, ensure(1, Some(MINUTE))).await, Reply::Nonce([1; 16]));
    assert_eq!(one(&redis, ensure(2, Some(MINUTE / 2))).await, Reply::Nonce([1; 16]));
    assert!(pttl(&server, &cell) > 55_000, "shortened");
    assert_eq!(one(&redis, ensure(2, Some(2 * MINUTE))).await, Reply::Nonce([1; 16]));
    assert!(pttl(&server, &cell) > 110_000, "not extended");
    assert_eq!(one(&redis, ensure(2, None)).await, Reply::Nonce([1; 16]));
    assert_eq!(pttl(&server, &cell), -1);
    assert_eq!(one(&redis, ensure(2, Some(MINUTE))).await, Reply::Nonce([1; 16]));
    assert_eq!(pttl(&server, &cell), -1, "for ever was shortened");
    assert_eq!(one(&redis, Op::Read(cell.clone())).await, Reply::Bytes(Some(vec![1; 16])));
    // What is no cell of ours, or of no type that a cell has, is overwritten.
    for foreign in [&[b"SET" as &[u8], &cell, b"short"][..], &[b"SET", &cell, b"123456789012345678901234"]] {
        server.command_of::<()>(foreign);
        assert_eq!(one(&redis, Op::Read(cell.clone())).await, NOTHING);
        assert_eq!(one(&redis, ensure(3, Some(MINUTE))).await, Reply::Nonce([3; 16]));
    }
    server.command_of::<()>(&[b"DEL", &cell]);
    server.command_of::<()>(&[b"LPUSH", &cell, b"x"]);
    assert_eq!(one(&redis, Op::Read(cell.clone())).await, NOTHING);
    assert_eq!(one(&redis, ensure(4, Some(MINUTE))).await, Reply::Nonce([4; 16]));
}

#[tokio::test]
async fn a_swap_replaces_what_was_seen_and_drops_anything_else() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let cell = name("c");
    let swap = |seen, fresh, ttl| Op::Swap { cell: name("c"), seen: [seen; 16], fresh: [fresh; 16], ttl };
    let ensure = Op::Ensure { cell: cell.clone(), fresh: [1; 16], ttl: Some(10 * MINUTE) };
    one(&redis, ensure.clone()).await;
    assert_eq!(one(&redis, swap(1, 2, Some(MINUTE))).await, Reply::Flag(true));
    assert!(pttl(&server, &cell) > 500_000, "shortened");
    assert_eq!(one(&redis, swap(1, 3, Some(MINUTE))).await, Reply::Flag(false));
    assert_eq!(one(&redis, Op::Left(cell.clone())).await, Reply::Left(None));
    assert_eq!(one(&redis, swap(1, 3, Some(MINUTE))).await, Reply::Flag(false));
    one(&redis, ensure).await;
    assert_eq!(one(&redis, swap(1, 2, None)).await, Reply::Flag(true));
    assert_eq!(one(&redis, Op::Left(cell)).await, Reply::Left(Some(None)));
}

#[tokio::test]
async fn a_replacement_asks_for_what_was_seen() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let replace = |seen: Option<Option<&str>>, image: Option<Image>, life, close| Op::Replace {
        name: entry(),
        seen: seen.map(|seen| (entry().side, seen.map(Into::into))),
        plain: None,
        image,
        life,
        close,
    };
    let keep = |seen, envelope, plain| replace(seen, Some(image(envelope, Some(plain))), Life::Keep, false);
    // Nothing is there: nothing can be kept, and a value that was seen is not there.
    assert_eq!(one(&redis, keep(None, "e", "p")).await, Reply::Flag(false));
    assert_eq!(one(&redis, keep(Some(Some("e")), "e", "p")).await, Reply::Flag(false));
    let store = replace(Some(None), Some(image("e1", Some("p1"))), Life::For(MINUTE), false);
    assert_eq!(one(&redis, store.clone()).await, Reply::Flag(true));
    assert_eq!(one(&redis, store).await, Reply::Flag(false), "it is there now");
    assert_eq!(one(&redis, keep(Some(Some("e0")), "e2", "p2")).await, Reply::Flag(false));
    assert_eq!(one(&redis, keep(Some(Some("e1")), "e2", "p2")).await, Reply::Flag(true));
    assert_eq!(one(&redis, Op::ReadPlain(entry().entry)).await, bytes("p2"));
    assert_eq!(one(&redis, Op::Read(entry().side)).await, bytes("e2"));
    for part in [entry().entry, entry().side] {
        assert!((50_000..=60_000).contains(&pttl(&server, &part)), "the life was not kept");
    }
    assert_eq!(one(&redis, replace(None, Some(image("e3", None)), Life::Forever, false)).await, Reply::Flag(true));
    assert_eq!(pttl(&server, &entry().entry), -1);
    assert_eq!(one(&redis, Op::Read(entry().side)).await, NOTHING);
    // A replacement closes the entry to a load that runs, if it is told to and only if it happens.
    one(&redis, acquire(1)).await;
    let other = replace(Some(Some("e0")), None, Life::Keep, true);
    assert_eq!(one(&redis, other).await, Reply::Flag(false));
    assert_eq!(one(&redis, fill(1, image("e4", None))).await, Reply::Flag(true));
    one(&redis, acquire(1)).await;
    assert_eq!(one(&redis, replace(None, None, Life::Keep, true)).await, Reply::Flag(true));
    assert_eq!(one(&redis, Op::Read(entry().entry)).await, NOTHING);
    assert_eq!(one(&redis, fill(1, image("e5", None))).await, Reply::Flag(false));
}

#[tokio::test]
async fn a_replacement_does_not_overlook_what_is_plain() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let replace = |seen: Option<(Name, Option<Vec<u8>>)>, plain: Option<&str>| Op::Replace {
        name: entry(),
        seen,
        plain: plain.map(Into::into),
        image: Some(image("e", Some("1"))),
        life: Life::For(MINUTE),
        close: false,
    };
    // A plain value has no stamp: that there is an entry shows in its side only.
    let missing = || Some((entry().entry, None));
    assert_eq!(one(&redis, replace(missing(), None)).await, Reply::Flag(true));
    assert_eq!(one(&redis, replace(missing(), None)).await, Reply::Flag(false), "somebody else was first");
    // A number changes under its envelope.
    let beside = || Some((entry().side, Some(b"e".to_vec())));
    one(&redis, Op::Count { name: entry(), seen: "e".into(), by: 4 }).await;
    assert_eq!(one(&redis, replace(beside(), Some("1"))).await, Reply::Flag(false));
    assert_eq!(one(&redis, Op::ReadPlain(entry().entry)).await, bytes("5"));
    assert_eq!(one(&redis, replace(beside(), Some("5"))).await, Reply::Flag(true));
}

#[tokio::test]
async fn counting_is_exact_and_asks_for_the_envelope() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let count = |seen: &str, by| Op::Count { name: entry(), seen: seen.into(), by };
    let store = |plain: &str| Op::Replace {
        name: entry(),
        seen: None,
        plain: None,
        image: Some(image("e", Some(plain))),
        life: Life::For(MINUTE),
        close: false,
    };
    assert_eq!(one(&redis, count("e", 1)).await, Reply::Sum(None));
    // Beyond what a float can count.
    one(&redis, store("9007199254740993")).await;
    assert_eq!(one(&redis, count("e", 2)).await, Reply::Sum(Some(9_007_199_254_740_995)));
    assert_eq!(one(&redis, count("e", -9_007_199_254_740_996)).await, Reply::Sum(Some(-1)));
    assert_eq!(one(&redis, count("other", 1)).await, Reply::Sum(None));
    assert!(pttl(&server, &entry().entry) > 50_000);
    for no_counter in [i64::MAX.to_string(), "1.5".into(), "text".into()] {
        one(&redis, store(&no_counter)).await;
        let error = redis.run(vec![count("e", 1)]).await.pop().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType, "{no_counter}");
        assert_eq!(one(&redis, Op::ReadPlain(entry().entry)).await, bytes(&no_counter));
    }
}

#[tokio::test]
async fn lives_are_asked_for_extended_and_set() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    let n = || name("n");
    assert_eq!(one(&redis, Op::Left(n())).await, Reply::Left(None));
    assert_eq!(one(&redis, Op::Expire(n(), Some(MINUTE))).await, Reply::Flag(false));
    assert_eq!(one(&redis, Op::Expire(n(), None)).await, Reply::Flag(false));
    assert_eq!(one(&redis, Op::Extend(n(), Some(MINUTE))).await, Reply::Flag(true));
    server.command::<()>(&["SET", "n", "x", "PX", "60000"]);
    one(&redis, Op::Extend(n(), Some(MINUTE / 2))).await;
    assert!(pttl(&server, &n()) > 50_000);
    one(&redis, Op::Extend(n(), Some(2 * MINUTE))).await;
    assert!(pttl(&server, &n()) > 110_000);
    assert_eq!(one(&redis, Op::Expire(n(), Some(MINUTE))).await, Reply::Flag(true));
    let Reply::Left(Some(Some(left))) = one(&redis, Op::Left(n())).await else { panic!() };
    assert!(left <= MINUTE && left > MINUTE / 2);
    assert_eq!(one(&redis, Op::Expire(n(), None)).await, Reply::Flag(true));
    assert_eq!(one(&redis, Op::Expire(n(), None)).await, Reply::Flag(true), "it is there, for ever already");
    assert_eq!(one(&redis, Op::Left(n())).await, Reply::Left(Some(None)));
    one(&redis, Op::Extend(n(), Some(MINUTE))).await;
    assert_eq!(one(&redis, Op::Left(n())).await, Reply::Left(Some(None)), "for ever was shortened");
    one(&redis, Op::Expire(n(), Some(MINUTE))).await;
    one(&redis, Op::Extend(n(), None)).await;
    assert_eq!(one(&redis, Op::Left(n())).await, Reply::Left(Some(None)));
    assert_eq!(one(&redis, Op::Drop(vec![n(), name("m")])).await, Reply::Count(1));
    assert_eq!(one(&redis, Op::Drop(vec![n()])).await, Reply::Count(0));
    assert_eq!(one(&redis, Op::Drop(vec![])).await, Reply::Count(0));
}

#[tokio::test]
async fn reads_side_by_side_are_one_mget_and_foreign_types_are_missing() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    one(&redis, acquire(1)).await;
    one(&redis, fill(1, image("e", Some("p")))).await;
    server.command::<()>(&["LPUSH", "list", "x"]);
    let before = (calls(&server, "get"), calls(&server, "mget"));
    let ops = vec![
        Op::Read(entry().side),
        Op::ReadPlain(entry().entry),
        Op::Read(name("list")),
        Op::Drop(vec![name("none")]),
        Op::Read(entry().side),
        Op::ReadPlain(name("list")),
    ];
    let replies: Vec<Reply> = redis.run(ops).await.into_iter().map(Result::unwrap).collect();
    let expected = [bytes("e"), bytes("p"), NOTHING, Reply::Count(0), bytes("e"), NOTHING];
    assert_eq!(replies, expected);
    assert_eq!((calls(&server, "get"), calls(&server, "mget")), (before.0, before.1 + 2));
    assert_eq!(one(&redis, Op::Read(name("list"))).await, NOTHING);
    assert_eq!(calls(&server, "get"), before.0 + 1);
    assert!(redis.run(vec![]).await.is_empty());
}

#[tokio::test]
async fn one_op_that_fails_does_not_fail_the_others() {
    let server = Redisd::start(&["maxmemory 2mb", "maxmemory-policy noeviction"]);
    let redis = server.open();
    one(&redis, acquire(1)).await;
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let replies = redis.run(vec![Op::Left(entry().lease), fill(1, image("e", None)), Op::Read(name("n"))]).await;
    assert!(matches!(replies[0], Ok(Reply::Left(Some(Some(_))))), "{replies:?}");
    assert_eq!(replies[1].as_ref().unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(replies[2].as_ref().unwrap(), &NOTHING);
    assert!(matches!(one(&redis, Op::Drop(vec![entry().lease])).await, Reply::Count(1)), "a full server still drops");
}

#[tokio::test]
async fn a_scan_finds_what_matches_and_nothing_else() {
    let server = Redisd::start(&[]);
    let redis = server.open();
    for n in 0..2_000 {
        server.command::<()>(&["SET", &format!("svc:v1:user:{n}"), "x"]);
    }
    server.command::<()>(&["SET", "svc:v1:order:1", "x"]);
    let (mut found, mut at, mut pages) = (std::collections::BTreeSet::new(), Some(Cursor::default()), 0);
    while let Some(cursor) = at {
        let page = redis.scan(b"svc:v1:user:*", cursor).await.unwrap();
        found.extend(page.names);
        at = page.next;
        pages += 1;
    }
    assert_eq!(found.len(), 2_000);
    assert!(pages > 2 && found.iter().all(|name| name.starts_with(b"svc:v1:user:")));
}

#[tokio::test]
async fn a_server_says_how_it_is() {
    let server = Redisd::start(&["maxmemory 64mb", "maxmemory-policy allkeys-lru"]);
    let redis = server.open();
    redis.ready().await.unwrap();
    redis.ping().await.unwrap();
    server.command::<()>(&["SET", "a", "x"]);
    let info = redis.info().await.unwrap();
    assert!(info.version.starts_with("7.") || info.version.starts_with('8'), "{info:?}");
    assert_eq!((info.mode, info.shards, info.keys), ("standalone", 1, 1));
    assert_eq!(info.eviction_policy, "allkeys-lru");
    assert!(info.used_memory > 100_000);
    redis.close().await;
    let kinds = [redis.ping().await.unwrap_err(), redis.ready().await.unwrap_err(), redis.info().await.unwrap_err()];
    assert!(kinds.iter().all(|error| error.kind() == ErrorKind::Closed));
    assert_eq!(redis.run(vec![Op::Left(name("a"))]).await[0].as_ref().unwrap_err().kind(), ErrorKind::Closed);
}

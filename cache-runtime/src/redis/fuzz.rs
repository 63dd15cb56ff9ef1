//! What the fuzz target `answer` runs, and its stable twin: any bytes as the answer to each command, and as a push.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::{PushInfo, Value};

use super::op::{self, Job};
use super::wake::Wakes;
use super::watch::{Watch, Watching};
use super::{fault, info};
use crate::clock::Nanos;
use crate::store::{EntryName, Image, Life, Name, Op, Watcher};

/// Hears, and does nothing.
#[derive(Debug)]
struct Nobody;

impl Watcher for Nobody {
    fn changed(&self, _: &[u8]) {}
    fn missed(&self, _: u64) {}
    fn heard(&self, _: u64, _: Nanos) {}
    fn lost(&self, _: u64) {}
    fn left(&self, _: u64) {}
}

/// One of each.
fn ops() -> Vec<Op> {
    let name = |text: &str| Name::from(text.as_bytes());
    let entry = EntryName { entry: name("e"), side: name("s"), lease: name("l") };
    let image = Image { envelope: vec![1], plain: None };
    let ttl = Duration::from_secs(1);
    let token = [1; 16];
    vec![
        Op::Read(name("e")),
        Op::ReadPlain(name("e")),
        Op::ReadAny(name("e")),
        Op::Ensure { cell: name("c"), fresh: token, ttl: Some(ttl) },
        Op::Acquire { lease: name("l"), token, ttl, steal: false },
        Op::Renew { lease: name("l"), token, ttl },
        Op::Release { lease: name("l"), token },
        Op::Fill { name: entry.clone(), token, image: image.clone(), ttl: None, or_drop: true },
        Op::Replace { name: entry.clone(), seen: None, plain: None, image: Some(image), life: Life::Keep, close: true },
        Op::Count { name: entry, seen: vec![1], by: 1 },
        Op::Swap { cell: name("c"), seen: token, fresh: token, ttl: None },
        Op::Mark { name: name("c"), writer: token, ttl },
        Op::Unmark { name: name("c"), writer: token },
        Op::Extend(name("e"), None),
        Op::Expire(name("e"), Some(ttl)),
        Op::Drop(vec![name("e")]),
        Op::Left(name("e")),
    ]
}

/// Bytes of the protocol.
pub(crate) fn answer(data: &[u8]) {
    let Ok(value) = redis::parse_redis_value(data) else { return };
    let stamp = *b"identity";
    let ops = ops();
    for op in &ops {
        let _ = op::reply(&Job::Op(op), value.clone(), stamp, "here");
    }
    let reads: Vec<Job<'_>> = ops[..3].iter().map(Job::Op).collect();
    assert_eq!(op::replies(&reads, value.clone(), stamp, "here").len(), reads.len());
    let _ = op::reply(&Job::Drop(Vec::new()), value.clone(), stamp, "here");
    if let Some(text) = info::text(&value) {
        let _ = info::Info::parse(text).standing(&"here");
        let _ = info::Info::parse(text).keys();
    }
    #[cfg(feature = "redis-cluster")]
    super::cluster::fuzz(&value);
    match value {
        Value::ServerError(error) => drop(fault::refused(&"here", &error)),
        Value::Push { kind, data } => {
            let watch = Watch::new(Watching {
                watcher: Arc::new(Nobody),
                probe: Name::from(*b"probe"),
                pulse: Duration::from_secs(1),
            });
            if let Some(Value::BulkString(channel)) = data.first() {
                Wakes::default().message(channel);
            }
            watch.push(&PushInfo { kind, data }, &AtomicBool::new(false));
        }
        _ => {}
    }
}

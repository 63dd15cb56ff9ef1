//! What an [`Op`] is in the server's language, and what its answer means. Pure: bytes in, bytes out.
//!
//! A stamped value ends with the eight bytes of the identity of the server that accepted it.

use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::fault::{self, Fault};
use super::script;
use crate::error::{Error, ErrorKind};
use crate::sabotage::{self, Mutation};
use crate::store::{EntryName, FENCED, Found, Image, Life, Name, Names, Nonce, Op, Reply};

/// Who accepted a value: see `info`.
pub(super) type Stamp = [u8; 8];

/// A part of a batch that one server does.
#[derive(Clone, Debug)]
pub(super) enum Job<'o> {
    /// A whole op.
    Op(&'o Op),
    /// Some of the names of an [`Op::Drop`]: those of one slot.
    Drop(Vec<&'o Name>),
}

/// Whether jobs can be done by one MGET.
pub(super) fn is_read(job: &Job<'_>) -> bool {
    matches!(job, Job::Op(Op::Read(_) | Op::ReadPlain(_) | Op::ReadAny(_)))
}

/// Whether there is nothing to do: UNLINK without a name is an error.
pub(super) fn is_nothing(job: &Job<'_>) -> bool {
    match job {
        Job::Op(Op::Drop(names)) => names.is_empty(),
        Job::Drop(names) => names.is_empty(),
        Job::Op(_) => false,
    }
}

/// One MGET for jobs that are all reads.
pub(super) fn read_all(jobs: &[Job<'_>]) -> Cmd {
    let mut command = cmd("MGET");
    for job in jobs {
        if let Job::Op(Op::Read(name) | Op::ReadPlain(name) | Op::ReadAny(name)) = job {
            command.arg(&name[..]);
        }
    }
    command
}

/// One MGET for names.
pub(super) fn get(names: &Names) -> Cmd {
    // Each is followed by the end of a line, and preceded by its length and another.
    let mut command = Cmd::with_capacity(names.len() + 1, names.bytes() + 4);
    command.arg("MGET");
    for name in names.iter() {
        command.arg(name);
    }
    command
}

/// What the answer to [`get`] means, from a server with this identity.
pub(super) fn found(names: &Names, answer: Value, stamp: Stamp, at: &str) -> Result<Vec<Option<Found>>, Fault> {
    let found = |value| match value {
        Value::BulkString(bytes) => {
            let (bytes, stamped) = parted(bytes, stamp);
            Ok(Some(Found { bytes, stamped }))
        }
        Value::Nil => Ok(None),
        _ => Err(fault::nonsense(&at).into()),
    };
    match answer {
        Value::Array(values) if values.len() == names.len() => values.into_iter().map(found).collect(),
        Value::ServerError(error) => Err(fault::refused(&at, &error)),
        _ => Err(fault::nonsense(&at).into()),
    }
}

/// The command of one job, for a server with this identity.
pub(super) fn command(job: &Job<'_>, stamp: Stamp) -> Cmd {
    let op = match job {
        Job::Op(op) => op,
        Job::Drop(names) => return eval(script::DROP, names),
    };
    match op {
        Op::Read(name) | Op::ReadPlain(name) | Op::ReadAny(name) => plain("GET", name),
        Op::Ensure { cell, fresh, ttl } => {
            let mut command = eval(script::ENSURE, &[cell]);
            command.arg(stamped(fresh, stamp)).arg(&stamp[..]).arg(life(*ttl));
            command
        }
        Op::Acquire { lease, token, ttl, steal: false } => {
            let mut command = eval(script::ACQUIRE, &[lease]);
            command.arg(stamped(token, stamp)).arg(ms(*ttl)).arg(&stamp[..]);
            command
        }
        Op::Acquire { lease, token, ttl, steal: true } => {
            let mut command = eval(script::STEAL, &[lease]);
            command.arg(stamped(token, stamp)).arg(ms(*ttl));
            command
        }
        Op::Renew { lease, token, ttl } => {
            let mut command = eval(script::RENEW, &[lease]);
            command.arg(stamped(token, stamp)).arg(ms(*ttl));
            command
        }
        Op::Release { lease, token } => {
            let mut command = eval(script::RELEASE, &[lease]);
            command.arg(&token[..]);
            command
        }
        Op::Fill { name, token, image, ttl, or_drop } => {
            let mut command = eval(script::FILL, &[&name.entry, &name.side, &name.lease]);
            command.arg(stamped(token, stamp));
            put(&mut command, image, stamp);
            command.arg(life(*ttl)).arg(flag(*or_drop));
            command
        }
        Op::Replace { name, seen, plain, image, life: lives, close } => {
            let mut command = replace(name, seen.as_ref(), image.as_ref(), *lives, *close, stamp);
            command.arg(plain.as_deref().unwrap_or_default());
            command
        }
        Op::Count { name, seen, by } => {
            let mut command = eval(script::COUNT, &[&name.entry, &name.side]);
            command.arg(stamped(seen, stamp)).arg(*by);
            command
        }
        Op::Swap { cell, seen, fresh, ttl } => {
            let mut command = eval(script::SWAP, &[cell]);
            command.arg(stamped(seen, stamp)).arg(stamped(fresh, stamp)).arg(life(*ttl));
            command
        }
        Op::Mark { name, writer, ttl } => {
            let mut command = eval(script::MARK, &[name]);
            command.arg(&writer[..]).arg(ms(*ttl));
            command
        }
        Op::Unmark { name, .. } if sabotage::is(Mutation::AllMarks) => plain("UNLINK", name),
        Op::Unmark { name, writer } => {
            let mut command = eval(script::MARK, &[name]);
            command.arg(&writer[..]).arg("");
            command
        }
        Op::Extend(name, Some(ttl)) => {
            let mut command = eval(script::EXTEND, &[name]);
            command.arg(ms(*ttl));
            command
        }
        Op::Extend(name, None) => plain("PERSIST", name),
        Op::Expire(name, Some(ttl)) => {
            let mut command = plain("PEXPIRE", name);
            command.arg(ms(*ttl));
            command
        }
        Op::Expire(name, None) => eval(script::PERSIST, &[name]),
        Op::Drop(names) => command(&Job::Drop(names.iter().collect()), stamp),
        Op::Left(name) => plain("PTTL", name),
    }
}

fn replace(
    name: &EntryName,
    seen: Option<&(Name, Option<Vec<u8>>)>,
    image: Option<&Image>,
    life: Life,
    close: bool,
    stamp: Stamp,
) -> Cmd {
    let mut keys = vec![&name.entry, &name.side, &name.lease];
    keys.extend(seen.map(|(at, _)| at));
    let mut command = eval(script::REPLACE, &keys);
    command.arg(&stamp[..]);
    match seen.and_then(|(_, value)| value.as_ref()) {
        Some(value) => command.arg(stamped(value, stamp)),
        None => command.arg(""),
    };
    command.arg(if image.is_some() { "set" } else { "drop" });
    match image {
        Some(image) => put(&mut command, image, stamp),
        None => {
            command.arg("").arg("");
        }
    }
    match life {
        Life::For(ttl) => command.arg(ms(ttl)),
        Life::Forever => command.arg(""),
        Life::Keep => command.arg("keep"),
    };
    command.arg(flag(close));
    command
}

/// What the entry becomes, and what its side becomes.
fn put(command: &mut Cmd, image: &Image, stamp: Stamp) {
    let envelope = stamped(&image.envelope, stamp);
    match &image.plain {
        Some(plain) => command.arg(plain).arg(&envelope),
        None => command.arg(&envelope).arg(""),
    };
}

fn plain(name: &str, key: &Name) -> Cmd {
    let mut command = cmd(name);
    command.arg(&key[..]);
    command
}

fn eval(script: &str, keys: &[&Name]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(script).arg(keys.len());
    for key in keys {
        command.arg(&key[..]);
    }
    command
}

fn stamped(value: &[u8], stamp: Stamp) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + stamp.len());
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(&stamp);
    bytes
}

/// The value without its stamp, if the stamp is this one.
fn unstamped(mut bytes: Vec<u8>, stamp: Stamp) -> Option<Vec<u8>> {
    if sabotage::is(Mutation::NoIdentity) {
        bytes.truncate(bytes.len().saturating_sub(stamp.len()));
        return Some(bytes);
    }
    let value = bytes.strip_suffix(&stamp)?.len();
    bytes.truncate(value);
    Some(bytes)
}

/// The value without its stamp if that is this one, and whether it is.
fn parted(mut bytes: Vec<u8>, stamp: Stamp) -> (Vec<u8>, bool) {
    let value = bytes.strip_suffix(&stamp).map(<[u8]>::len);
    bytes.truncate(value.unwrap_or(bytes.len()));
    (bytes, value.is_some())
}

/// Whole milliseconds, at least one: the server refuses a life of none. Longer than a clock can count is cut.
fn ms(ttl: Duration) -> u64 {
    const LONGEST: u64 = 1 << 48;
    u64::try_from(ttl.as_millis()).unwrap_or(LONGEST).clamp(1, LONGEST)
}

/// Milliseconds, or nothing for ever.
fn life(ttl: Option<Duration>) -> String {
    ttl.map(|ttl| ms(ttl).to_string()).unwrap_or_default()
}

fn flag(yes: bool) -> &'static str {
    if yes { "1" } else { "" }
}

/// What the answers to [`read_all`] mean, one for each job.
pub(super) fn replies(jobs: &[Job<'_>], answer: Value, stamp: Stamp, at: &str) -> Vec<Result<Reply, Fault>> {
    match answer {
        Value::Array(values) if values.len() == jobs.len() => {
            jobs.iter().zip(values).map(|(job, value)| reply(job, value, stamp, at)).collect()
        }
        Value::ServerError(error) => jobs.iter().map(|_| Err(fault::refused(&at, &error))).collect(),
        _ => jobs.iter().map(|_| Err(fault::nonsense(&at).into())).collect(),
    }
}

/// What the answer to [`command`] means, from a server with this identity.
pub(super) fn reply(job: &Job<'_>, answer: Value, stamp: Stamp, at: &str) -> Result<Reply, Fault> {
    let op = match (job, answer) {
        (Job::Op(op), Value::ServerError(error)) => {
            return match (op, error.code()) {
                // A foreign key of another type under our name.
                (Op::Read(_) | Op::ReadPlain(_), "WRONGTYPE") => Ok(Reply::Bytes(None)),
                (Op::ReadAny(_), "WRONGTYPE") => Ok(Reply::Any(None)),
                (Op::Count { .. }, "WRONGTYPE") => Err(not_a_counter().into()),
                (Op::Count { .. }, "ERR") if is_about_numbers(error.details().unwrap_or_default()) => {
                    Err(not_a_counter().into())
                }
                _ => Err(fault::refused(&at, &error)),
            };
        }
        (Job::Drop(_), Value::ServerError(error)) => return Err(fault::refused(&at, &error)),
        (Job::Drop(_), answer) => return Ok(Reply::Count(number(&answer, at)?)),
        (Job::Op(op), answer) => (*op, answer),
    };
    Ok(match op {
        (Op::Read(_), Value::BulkString(bytes)) => Reply::Bytes(unstamped(bytes, stamp)),
        (Op::ReadPlain(_), Value::BulkString(bytes)) => Reply::Bytes(Some(bytes)),
        (Op::Read(_) | Op::ReadPlain(_), Value::Nil) => Reply::Bytes(None),
        (Op::ReadAny(_), Value::BulkString(bytes)) => Reply::Any(Some(parted(bytes, stamp))),
        (Op::ReadAny(_), Value::Nil) => Reply::Any(None),
        (Op::Ensure { .. }, Value::BulkString(bytes)) => {
            let nonce = unstamped(bytes, stamp).and_then(|bytes| Nonce::try_from(bytes).ok());
            // It was another server's after all: the identity has changed since the command was sent.
            Reply::Nonce(nonce.ok_or_else(|| Fault::Failed(changed(at)))?)
        }
        (Op::Ensure { .. }, Value::Nil) => Reply::Nonce(FENCED),
        (Op::Acquire { .. }, Value::Okay) => Reply::Flag(true),
        (Op::Acquire { .. }, Value::Nil) => Reply::Flag(false),
        (
            Op::Renew { .. }
            | Op::Release { .. }
            | Op::Fill { .. }
            | Op::Replace { .. }
            | Op::Swap { .. }
            | Op::Mark { .. }
            | Op::Unmark { .. }
            | Op::Expire(..),
            answer,
        ) => Reply::Flag(number(&answer, at)? > 0),
        (Op::Extend(..), answer) => {
            number(&answer, at)?;
            Reply::Flag(true)
        }
        (Op::Count { .. }, Value::Nil) => Reply::Sum(None),
        (Op::Count { .. }, Value::BulkString(text)) => {
            let sum = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
            Reply::Sum(Some(sum.ok_or_else(|| Fault::Failed(fault::nonsense(&at)))?))
        }
        (Op::Drop(_), answer) => Reply::Count(number(&answer, at)?),
        (Op::Left(_), Value::Int(-2)) => Reply::Left(None),
        (Op::Left(_), Value::Int(-1)) => Reply::Left(Some(None)),
        (Op::Left(_), answer) => Reply::Left(Some(Some(Duration::from_millis(number(&answer, at)?)))),
        _ => return Err(fault::nonsense(&at).into()),
    })
}

fn number(answer: &Value, at: &str) -> Result<u64, Fault> {
    match answer {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
    .ok_or_else(|| fault::nonsense(&at).into())
}

fn is_about_numbers(details: &str) -> bool {
    details.contains("not an integer") || details.contains("overflow")
}

fn not_a_counter() -> Error {
    Error::new(ErrorKind::WrongType, "the value is not a counter, or the counter would overflow")
}

fn changed(at: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{at} is another server than a moment ago"))
}

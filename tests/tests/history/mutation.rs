//! The checker finds planted bugs: for each one, a short history in which it shows, which is in order without it.

use std::time::Duration;

use cache_tests::eventually;
use cache_tests::history::{Backend, Fleet, Kind, Rule, is_fenced, now};
use cache_tests::redis::Snapshot;
use serde_json::{Value, json};

use super::PROGRAM;

const LONG: Duration = Duration::from_secs(20);

/// A row, and how long a load of it takes.
fn row(family: &str, hold_ms: u64) -> Value {
    json!({ "family": family, "id": 0, "hold_ms": hold_ms })
}

/// Two workers, of which the first reads and the second writes.
struct Pair {
    fleet: Fleet,
    family: &'static str,
}

const READER: usize = 0;
const WRITER: usize = 1;

impl Pair {
    async fn start(backend: Backend, bug: Option<&str>, family: &'static str) -> Self {
        let environment: Vec<(&str, &str)> = bug.map(|bug| ("CACHE_SABOTAGE", bug)).into_iter().collect();
        Self { fleet: Fleet::start(PROGRAM, backend, 2, &environment).await, family }
    }

    async fn read(&mut self, place: usize) -> Option<u64> {
        self.fleet.worker(place).command("read", row(self.family, 0)).await.as_u64()
    }

    async fn write(&mut self) {
        self.fleet.worker(WRITER).command("write", row(self.family, 0)).await;
    }

    /// Reads in the reader until a read asks the server nothing: there is a copy in memory.
    async fn until_copied(&mut self) {
        for _ in 0..1_000 {
            let asked = |fleet: &Fleet| ["GET", "MGET", "EVAL", "PTTL"].map(|name| fleet.proxy(READER).count(name));
            let before = asked(&self.fleet);
            self.read(READER).await;
            if asked(&self.fleet) == before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no read is served from memory");
    }

    /// Reads in the reader again and again, for longer than copies may be served without a word of the server.
    async fn read_for_a_while(&mut self) {
        for _ in 0..60 {
            self.read(READER).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts a read in the reader whose load has the row when this returns, and takes a while to say so.
    async fn start_slow_read(&mut self) {
        let worker = self.fleet.worker(READER);
        let before = worker.command("loads", Value::Null).await;
        worker.command("start read", row(self.family, 300)).await;
        eventually("the load begins", LONG, async || worker.command("loads", Value::Null).await != before).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    async fn settle(&mut self) {
        self.fleet.worker(READER).command("settle", Value::Null).await;
    }

    /// Reads until a read is a hit: a fill that others wait for has been done.
    async fn until_hit(&mut self, place: usize) {
        for _ in 0..1_000 {
            let before = self.fleet.worker(place).command("loads", Value::Null).await;
            self.read(place).await;
            if self.fleet.worker(place).command("loads", Value::Null).await == before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no read is a hit");
    }
}

/// The histories. Each is short and leaves nothing to chance.
#[derive(Clone, Copy, Debug)]
enum Course {
    /// A write of another process while a load runs, which then stores what it has.
    WriteWithinLoad(&'static str),
    /// A write after an entry was stored.
    WriteAfterFill,
    /// The server goes back in time.
    OldSnapshot,
    /// A replica that lacks the write is promoted.
    FailOver,
    /// A read begins after a write that another process made while a load of this one runs.
    JoinAfterWrite,
    /// The writer dies between its commit and its invalidation.
    Crash(&'static str),
    /// The same, while another write of the row begins and ends.
    CrashBesideWrite(&'static str),
    /// The writer is cut off.
    Outage,
    /// The reader has a copy in memory when another process writes.
    WriteAfterCopy,
    /// The same, and nothing arrives in the reader any more.
    HalfOpenAfterCopy(&'static str),
    /// As without half-open connections, after the server has lost everything, its memory of whom to tell included.
    Flush,
    /// The reader was cut off before it made its copy.
    WriteAfterReconnect,
    /// A process writes and reads, while it reads all the time.
    Hammer,
}

impl Course {
    fn backend(self) -> Backend {
        match self {
            Self::WriteAfterCopy
            | Self::HalfOpenAfterCopy(_)
            | Self::Flush
            | Self::WriteAfterReconnect
            | Self::Hammer => Backend::Hybrid,
            _ => Backend::Redis,
        }
    }
}

async fn run(course: Course, bug: Option<&str>) -> Result<(), Kind> {
    let family = match course {
        Course::WriteWithinLoad(family)
        | Course::Crash(family)
        | Course::CrashBesideWrite(family)
        | Course::HalfOpenAfterCopy(family) => family,
        _ => "tagged",
    };
    let mut pair = Pair::start(course.backend(), bug, family).await;
    match course {
        Course::WriteWithinLoad(_) => {
            pair.start_slow_read().await;
            pair.write().await;
            pair.settle().await;
            pair.read(READER).await;
        }
        Course::WriteAfterFill => {
            pair.until_hit(READER).await;
            pair.write().await;
            pair.read(READER).await;
        }
        Course::OldSnapshot => {
            pair.until_hit(READER).await;
            pair.fleet.server().save_now().await;
            pair.write().await;
            let from = now();
            pair.fleet.server().restart(Snapshot::Keep).await;
            pair.fleet.note("restart from a snapshot", from, true);
            pair.until_hit(READER).await;
        }
        Course::FailOver => {
            pair.until_hit(READER).await;
            let from = now();
            pair.fleet.promote().await;
            pair.write().await;
            assert!(pair.fleet.fail_over(from));
            pair.until_hit(READER).await;
        }
        Course::JoinAfterWrite => {
            pair.start_slow_read().await;
            pair.write().await;
            pair.read(READER).await;
        }
        Course::Crash(family) | Course::CrashBesideWrite(family) => {
            pair.until_hit(READER).await;
            let from = now();
            // The other write waits for copies that may be anywhere before it ends; marks are renewed after a second.
            let before_ms = if let Course::CrashBesideWrite(_) = course { 800 } else { 300 };
            let write = json!({ "family": family, "id": 0, "before_ms": before_ms });
            pair.fleet.start_fatal_write(WRITER, write).await;
            if let Course::CrashBesideWrite(_) = course {
                tokio::time::sleep(Duration::from_millis(100)).await;
                pair.fleet.worker(READER).command("write", row(family, 0)).await;
            }
            // Whoever reads while the body runs may store what is old, unless it is marked.
            while !pair.fleet.worker(WRITER).has_ended() {
                pair.read(READER).await;
            }
            pair.fleet.note("the writer dies after its commit", from, false);
            pair.fleet.replace(WRITER).await;
            let read = pair.read(READER).await;
            assert!(is_fenced(family) || read == Some(0), "nobody invalidated it; else this shows nothing");
        }
        Course::Outage => {
            pair.until_hit(READER).await;
            let from = now();
            pair.fleet.proxy(WRITER).refuse();
            pair.fleet.proxy(WRITER).reset_all();
            pair.write().await;
            pair.read(READER).await;
            pair.fleet.note("the writer is cut off", from, false);
        }
        Course::WriteAfterCopy => {
            pair.until_copied().await;
            pair.write().await;
            pair.read_for_a_while().await;
        }
        Course::HalfOpenAfterCopy(_) => {
            pair.until_copied().await;
            let from = now();
            pair.fleet.proxy(READER).half_open();
            pair.write().await;
            pair.read_for_a_while().await;
            pair.fleet.note("the reader's connections are half open", from, false);
        }
        Course::Flush => {
            pair.until_copied().await;
            let from = now();
            pair.fleet.server().command(&["FLUSHALL"]).await;
            pair.fleet.note("the server forgets everything, and whom to tell of changes", from, true);
            pair.write().await;
            pair.read_for_a_while().await;
        }
        Course::WriteAfterReconnect => {
            pair.until_copied().await;
            pair.fleet.note("the reader's connections are reset", now(), false);
            pair.fleet.proxy(READER).reset_all();
            pair.read_for_a_while().await;
            pair.until_copied().await;
            pair.write().await;
            pair.read_for_a_while().await;
        }
        Course::Hammer => {
            let hammer = json!({ "family": family, "id": 0, "times": 300 });
            pair.fleet.worker(READER).command("hammer", hammer).await;
        }
    }
    let history = pair.fleet.finish().await;
    history.check().map(drop).map_err(|found| {
        println!("{}", history.report(&found));
        found.kind
    })
}

/// The course shows the bug, and nothing without it.
async fn finds(bug: &str, course: Course) {
    let (without, with) = tokio::join!(run(course, None), run(course, Some(bug)));
    assert_eq!(without, Ok(()), "{course:?} without a bug");
    let broken = match course {
        Course::Hammer => Rule::Own,
        Course::Crash(_) | Course::CrashBesideWrite(_) => Rule::Fenced,
        _ => Rule::Acknowledged,
    };
    let stale = matches!(with, Err(Kind::Stale { rule, .. }) if rule == broken);
    assert!(stale, "{bug} was not found: {with:?}");
}

/// What a fence is for: without one, this is the documented window.
#[tokio::test]
async fn a_process_that_dies_between_commit_and_invalidation_is_no_violation_without_a_fence() {
    assert_eq!(run(Course::Crash("tagged"), None).await, Ok(()));
}

/// N13
#[tokio::test]
async fn a_process_that_dies_between_commit_and_invalidation_leaves_nothing_stale_with_a_fence() {
    assert_eq!(run(Course::Crash("fenced"), None).await, Ok(()));
}

#[tokio::test]
async fn a_nonce_that_is_read_after_the_load_is_found() {
    finds("late-nonce", Course::WriteWithinLoad("tagged")).await;
}

#[tokio::test]
async fn a_missing_cell_that_counts_as_equal_is_found() {
    finds("missing-cell", Course::WriteAfterFill).await;
}

#[tokio::test]
async fn a_fill_that_does_not_ask_for_its_lease_is_found() {
    finds("fill-without-lease", Course::WriteWithinLoad("plain")).await;
}

#[tokio::test]
async fn an_invalidation_that_leaves_the_lease_is_found() {
    finds("lease-survives", Course::WriteWithinLoad("plain")).await;
}

#[tokio::test]
async fn an_identity_that_nobody_checks_is_found() {
    finds("no-identity", Course::OldSnapshot).await;
}

#[tokio::test]
async fn an_identity_that_nobody_checks_is_found_by_a_fail_over() {
    finds("no-identity", Course::FailOver).await;
}

#[tokio::test]
async fn a_load_that_is_joined_without_looking_is_found() {
    finds("join-blindly", Course::JoinAfterWrite).await;
}

#[tokio::test]
async fn an_undelivered_invalidation_that_is_forgotten_is_found() {
    finds("forget-undelivered", Course::Outage).await;
}

#[tokio::test]
async fn copies_that_are_served_without_a_lease_are_found() {
    finds("no-lease", Course::HalfOpenAfterCopy("tagged")).await;
}

#[tokio::test]
async fn a_connection_that_does_not_ask_to_be_told_of_changes_is_found() {
    finds("no-rearm", Course::WriteAfterReconnect).await;
}

#[tokio::test]
async fn copies_that_outlive_what_may_have_been_missed_are_found() {
    finds("no-flush", Course::Flush).await;
}

#[tokio::test]
async fn changes_that_nobody_listens_to_are_found() {
    finds("deaf-to-pushes", Course::WriteAfterCopy).await;
}

#[tokio::test]
async fn a_copy_that_does_not_know_what_overtook_it_is_found() {
    finds("late-mark", Course::Hammer).await;
}

#[tokio::test]
async fn own_changes_that_copies_are_not_told_of_are_found() {
    finds("own-untold", Course::Hammer).await;
}

#[tokio::test]
async fn a_fence_that_marks_nothing_is_found() {
    finds("no-mark", Course::Crash("fenced")).await;
}

#[tokio::test]
async fn a_writer_that_removes_the_marks_of_others_is_found() {
    finds("all-marks", Course::CrashBesideWrite("fenced")).await;
}

#[tokio::test]
async fn a_fenced_write_that_does_not_wait_for_copies_is_found() {
    finds("no-settling", Course::HalfOpenAfterCopy("fenced")).await;
}

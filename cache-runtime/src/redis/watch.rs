//! Hearing of changes: a connection of its own for reads, of which the server pushes later changes (`CLIENT TRACKING`), and
//! the pulse that says for how long silence means that nothing changed.
//!
//! Nothing is written on that connection, and `NOLOOP` is not used: a server that evicts in the course of a command pushes to
//! everybody, and with `NOLOOP` not to who sent that command.
//!
//! A connection is *armed* when the server has shown that its pushes arrive: a name is read, written, and the push for it
//! must be here before the answer to what was sent after it. Something in between that hides pushes is found out by this.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{Cmd, PushInfo, PushKind, Value, cmd};

use super::fault;
use super::link::Link;
use super::node::Node;
use crate::clock::{Nanos, after, alive_now};
use crate::error::{Error, ErrorKind};
use crate::report;
use crate::sabotage::{self, Mutation};
use crate::store::{Name, Watcher};
use crate::timer::Sleep;

/// How long a server that cannot be watched is left alone: one that never will, and one that is in no state to.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(250));

/// How long the name lives that arming writes.
const PROBE_MS: u64 = 1;

/// Names that are tried for one that the server of a cluster has; it has none of them once in 10 000 times where it has a
/// seventh of the slots.
const PROBES: u32 = 64;

/// What is watched, and for whom.
#[derive(Clone)]
pub(crate) struct Watching {
    pub(super) watcher: Arc<dyn Watcher>,
    /// What the name begins with that arming reads and writes.
    pub(super) probe: Name,
    /// How often a server is asked whether it is there.
    pub(super) pulse: Duration,
}

/// The watch of one server.
pub(super) struct Watch {
    of: Watching,
    /// Unique in the process.
    server: u64,
    /// When it may be tried again to arm a connection.
    again: AtomicU64,
    /// Whether the server has no entries any more: it is waited for no longer.
    has_left: AtomicBool,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn new(of: Watching) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            of,
            server: NEXT.fetch_add(1, Ordering::Relaxed),
            again: AtomicU64::new(0),
            has_left: AtomicBool::new(false),
        }
    }

    /// Whether a connection is to be armed where there is none.
    pub(super) fn is_due(&self) -> bool {
        alive_now() >= self.again.load(Ordering::Acquire)
    }

    /// The server, or what is before it, cannot be watched. Nobody is told of changes: copies are not served.
    pub(super) fn refused(&self, error: &Error) {
        let patience = if error.is_retryable() { PATIENCE.1 } else { PATIENCE.0 };
        self.again.store(after(alive_now(), patience), Ordering::Release);
        report::warn("changes on the servers cannot be heard of: entries are not kept in memory", error);
    }

    /// Takes a push. `pushed` is set by the first.
    pub(super) fn push(&self, push: &PushInfo, pushed: &AtomicBool) {
        if push.kind != PushKind::Invalidate {
            return;
        }
        pushed.store(true, Ordering::Release);
        if sabotage::is(Mutation::DeafToPushes) {
            return;
        }
        match push.data.first() {
            Some(Value::Array(names)) => names.iter().for_each(|name| match name {
                Value::BulkString(name) => self.of.watcher.changed(name),
                _ => self.of.watcher.missed(self.server),
            }),
            // FLUSHALL, FLUSHDB, a replica that is filled, and whatever else we do not know.
            _ => self.of.watcher.missed(self.server),
        }
    }

    /// The connection has ended.
    pub(super) fn lost(&self) {
        self.of.watcher.lost(self.server);
    }

    /// The server has no entries any more.
    pub(super) fn left(&self) {
        self.has_left.store(true, Ordering::SeqCst);
        self.of.watcher.left(self.server);
    }

    /// The server has answered what was asked then. One that leaves at the same moment does not stay behind as one that is
    /// silent.
    fn heard(&self, asked: Nanos) {
        self.of.watcher.heard(self.server, asked);
        if self.has_left.load(Ordering::SeqCst) {
            self.of.watcher.left(self.server);
        }
    }

    /// Has the server push changes of what is read on `link`, and makes sure that they arrive.
    pub(super) async fn arm(
        &self,
        link: &Link,
        in_cluster: bool,
        pushed: &AtomicBool,
        deadline: Nanos,
    ) -> Result<(), Error> {
        if sabotage::is_again(Mutation::NoRearm) {
            self.of.watcher.missed(self.server);
            self.heard(alive_now());
            return Ok(());
        }
        let mut tracking = cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON");
        let candidates: Vec<Vec<u8>> = (0..if in_cluster { PROBES } else { 1 })
            .map(|n| [&self.of.probe, n.to_string().as_bytes()].concat())
            .collect();
        let reads = candidates.iter().map(|name| named("GET", name));
        let answers = link.send(std::iter::once(tracking).chain(reads).collect(), deadline).await?;
        if let Some(Value::ServerError(error)) = answers.first() {
            let error = fault::refused(&link.at, error).into_error(&link.at);
            let what = format!("{} does not push changes (CLIENT TRACKING)", link.at);
            return Err(Error::new(ErrorKind::Unsupported, what).with_source(error));
        }
        let read = answers.iter().skip(1).position(|answer| !matches!(answer, Value::ServerError(_)));
        if let Some(probe) = read.and_then(|index| candidates.get(index)) {
            let mut write = named("SET", probe);
            write.arg("").arg("PX").arg(PROBE_MS);
            let answers = link.send(vec![write, cmd("PING")], deadline).await?;
            if let Some(Value::ServerError(error)) = answers.first() {
                return Err(fault::refused(&link.at, error).into_error(&link.at));
            }
            if !pushed.load(Ordering::Acquire) {
                let what = format!("{} says that it pushes changes (CLIENT TRACKING), and none arrive", link.at);
                return Err(Error::new(ErrorKind::Unsupported, what));
            }
        }
        let asked = alive_now();
        link.ask(deadline).await?;
        // What was read on the connection before this one may have changed unheard.
        self.of.watcher.missed(self.server);
        self.heard(asked);
        Ok(())
    }
}

fn named(command: &str, name: &[u8]) -> Cmd {
    let mut command = cmd(command);
    command.arg(name);
    command
}

/// Asks the server of an armed connection again and again, until the connection has ended. The answer says who the server
/// is, too: it is not believed any more once it has become another.
pub(super) async fn pulse(node: Weak<Node>, link: Weak<Link>) {
    let Some((identity, every)) = link.upgrade().zip(node.upgrade()).and_then(|(link, node)| {
        let watch = node.watch.get()?;
        Some((link.identity(), watch.of.pulse))
    }) else {
        return;
    };
    loop {
        let begun = alive_now();
        {
            let (Some(node), Some(link)) = (node.upgrade(), link.upgrade()) else { return };
            let Some(watch) = node.watch.get() else { return };
            if !link.is_alive() {
                link.kill();
                return;
            }
            match link.ask(after(begun, node.dial.response_timeout)).await {
                Ok(standing) if standing.identity == identity && node.admit(&link.at, standing).is_ok() => {
                    watch.heard(begun);
                }
                Ok(_) => {
                    link.kill();
                    node.nudge.notify_one();
                    return;
                }
                // Copies are not served for longer than they may be; after the third time the link is dead.
                Err(_) => {}
            }
        }
        Sleep::until(after(begun, every)).await;
    }
}

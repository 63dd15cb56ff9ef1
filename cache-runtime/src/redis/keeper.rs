//! What is done for a node in the background, by one task on the runtime of whoever first used it: connects, asks every
//! second who answers, replaces connections that are dead, subscribes and unsubscribes. It rests while the node is not used.
//!
//! It holds the node weakly, and ends with it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{PushInfo, PushKind, Value};
use tokio::task::JoinHandle;

use super::dial::Login;
use super::fault;
use super::link::{AtEnd, Link, Use};
use super::node::{Links, Node, Phase};
use crate::clock::{Nanos, after, alive_now};
use crate::error::{Error, ErrorKind};
use crate::report;
use crate::timer::{Sleep, within};

/// How often it is asked who answers.
const TICK: Duration = Duration::from_secs(1);

/// Ticks without use, after which the keeper rests.
const RESTS_AFTER: u32 = 10;

/// Between attempts to connect: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Between two rounds at least: nudges that come together are one.
const BREATH: Duration = Duration::from_millis(2);

/// How long a keeper may be silent, on top of what it waits for, before another takes its place: its runtime is not being
/// run.
const SILENCE: Duration = Duration::from_secs(3);

/// How soon after the last one another keeper may start.
const RESTART: Duration = Duration::from_millis(100);

/// Who is at work for a node.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    task: Option<JoinHandle<()>>,
    /// Which one is at work; those before it end when they notice.
    generation: u64,
    started: Nanos,
    /// When it was last seen at work.
    beat: Nanos,
}

impl Keeper {
    pub(super) fn end(&mut self) {
        self.generation += 1;
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Starts a keeper unless one is at work. Whether one was started.
pub(super) fn ensure(node: &Node) -> bool {
    let mut keeper = node.keeper.lock();
    let now = alive_now();
    let waits = node.dial.connect_timeout + 2 * node.dial.response_timeout;
    let silent = now > after(keeper.beat, SILENCE + waits);
    let at_work = keeper.task.as_ref().is_some_and(|task| !task.is_finished());
    if at_work && !silent || keeper.task.is_some() && now < after(keeper.started, RESTART) {
        return false;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        // A keeper that rests is silent too, and is not in the way of those who have no runtime of their own.
        if !at_work {
            let what = "no tokio runtime: the first use of a server has to be within one";
            let _ = node.down_unless_up(&Error::new(ErrorKind::Unavailable, what));
        }
        return false;
    };
    keeper.end();
    (keeper.started, keeper.beat) = (now, now);
    // Whoever comes now waits for the new keeper's first attempt.
    node.phase.send_if_modified(|phase| {
        let waits = matches!(phase, Phase::Down(_));
        if waits {
            *phase = Phase::Connecting;
        }
        waits
    });
    keeper.task = Some(runtime.spawn(keep(node.me.clone(), keeper.generation)));
    true
}

async fn keep(node: Weak<Node>, generation: u64) {
    let Some(nudge) = node.upgrade().map(|node| node.nudge.clone()) else { return };
    let _end = End { node: node.clone(), generation };
    let (mut backoff, mut unused, mut suspect) = (BACKOFF.0, 0, false);
    loop {
        let pause = {
            let Some(node) = node.upgrade() else { return };
            {
                let mut keeper = node.keeper.lock();
                if keeper.generation != generation {
                    return;
                }
                keeper.beat = alive_now();
            }
            let suspected = suspect;
            let repaired = repair(&node, &mut suspect).await;
            if suspected && !suspect {
                backoff = BACKOFF.0;
            }
            let used = node.used.swap(false, Ordering::Relaxed) || !node.wakes.is_empty();
            unused = if used { 0 } else { unused + 1 };
            match repaired {
                Ok(()) => {
                    if !suspect {
                        backoff = BACKOFF.0;
                    }
                    if unused > RESTS_AFTER { Pause::Rest } else { Pause::Tick }
                }
                Err(error) => match node.down_unless_up(&error) {
                    None => return,
                    Some(true) => Pause::Tick,
                    Some(false) => {
                        // Each time: in a cluster another may have taken its place since.
                        node.watch.get().inspect(|watch| watch.lost());
                        let pause = jittered(backoff);
                        backoff = (backoff * 2).min(BACKOFF.1);
                        Pause::Backoff(pause)
                    }
                },
            }
        };
        match pause {
            // Whoever comes meanwhile nudges, and must not make it an attempt per call.
            Pause::Backoff(pause) => Sleep::until(after(alive_now(), pause)).await,
            Pause::Rest => nudge.notified().await,
            Pause::Tick => {
                Sleep::until(after(alive_now(), BREATH)).await;
                let _ = within(after(alive_now(), TICK), nudge.notified()).await;
            }
        }
    }
}

/// What a keeper waits for.
enum Pause {
    /// The next tick, or a nudge.
    Tick,
    /// A nudge.
    Rest,
    /// The next attempt.
    Backoff(Duration),
}

/// A keeper that ends early (its runtime is shut down, or has no I/O) leaves nobody waiting for it.
struct End {
    node: Weak<Node>,
    generation: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let Some(node) = self.node.upgrade() else { return };
        if node.keeper.lock().generation == self.generation {
            let what = format!("nobody is connecting to {} at the moment", node.name());
            let _ = node.down_unless_up(&Error::new(ErrorKind::Unavailable, what));
        }
    }
}

/// A part of a second less, so that many processes do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    let dice = blake3::hash(&alive_now().to_le_bytes()).as_bytes()[0];
    pause - pause * u32::from(dice) / 1024
}

/// Replaces connections that are dead, and asks on the others who answers. An error: there is none.
///
/// A server may answer whoever connects and asks who it is, and nothing else: large answers are lost on the way, or it is
/// stuck in them. So connections that ended since callers were not answered are not replaced at once, and the new ones end
/// with the first command that is not answered. It is `suspect` until one is.
async fn repair(node: &Node, suspect: &mut bool) -> Result<(), Error> {
    let old = match &*node.phase.borrow() {
        Phase::Up(links) => Some(links.clone()),
        Phase::Closed => return Err(fault::closed()),
        _ => None,
    };
    let deadline = after(alive_now(), node.dial.response_timeout);
    let old: Vec<Arc<Link>> = old.iter().flat_map(|links| links.all().cloned()).collect();
    let asked = join_all(old.iter().map(|link| async {
        if !link.is_alive() || !link.is_due(alive_now(), TICK) {
            return Ok(());
        }
        match link.ask(deadline).await {
            Ok(standing) => node.admit(&link.at, standing),
            // Once may be chance; after the third time the link is dead.
            Err(_) => Ok(()),
        }
    }))
    .await;
    asked.into_iter().collect::<Result<(), Error>>()?;
    let data = || old.iter().filter(|link| link.used_for == Use::Data);
    let silence = node.silence.lock().take().or_else(|| Links::silence(data()));
    if let Some(silence) = silence {
        *suspect = !silence.served;
        return Err(fault::late(&node.name()));
    }
    if data().any(|link| link.has_served()) {
        *suspect = false;
    }
    let suspect = *suspect;
    let mut links: Vec<Arc<Link>> = old.into_iter().filter(|link| link.is_alive() || drop_link(node, link)).collect();
    if !missing(node, &links).is_empty() {
        let deadline = after(alive_now(), node.dial.connect_timeout);
        let late = || fault::late(&node.name());
        let place = within(deadline, node.target.resolve(&node.dial)).await.unwrap_or_else(|| Err(late()))?;
        if node.target.is_named() {
            // The sentinels name another server now: none of the old connections leads to it.
            let at = place.to_string();
            links.retain(|link| link.at == at || drop_link(node, link));
        }
        let place = &place;
        let dialled = join_all(missing(node, &links).into_iter().map(|used_for| async move {
            let connected = within(deadline, connect(node, place, used_for, suspect, deadline)).await;
            (used_for, connected.unwrap_or_else(|| Err(fault::late(place))))
        }));
        let mut failed = None;
        for (used_for, link) in dialled.await {
            match (link, node.watch.get()) {
                (Ok(link), _) => links.push(link),
                (Err(error), Some(watch)) if used_for == Use::Watch => watch.refused(&error),
                (Err(error), _) => failed = Some(error),
            }
        }
        let newest = links.iter().rfind(|link| link.used_for == Use::Data).cloned();
        let Some(newest) = newest else { return Err(failed.unwrap_or_else(late)) };
        agree(node, &mut links, &newest).await;
    }
    let links = Links::of(links);
    if let Some(link) = links.ear.as_ref().filter(|_| !node.wakes.is_empty()) {
        let deadline = after(alive_now(), node.dial.response_timeout);
        // What could not be subscribed is tried again at the next tick.
        let _ = within(deadline, node.wakes.settle(link, deadline)).await;
    }
    node.up(links);
    Ok(())
}

/// What the connections to be opened are for.
fn missing(node: &Node, links: &[Arc<Link>]) -> Vec<Use> {
    let watches = node.watch.get().is_some_and(|watch| watch.is_due());
    let wanted = [
        (Use::Data, node.connections),
        (Use::Ear, usize::from(node.listens.load(Ordering::Acquire))),
        (Use::Watch, usize::from(watches)),
    ];
    let lacking = |(used_for, wanted): (Use, usize)| {
        let there = links.iter().filter(|link| link.used_for == used_for).count();
        std::iter::repeat_n(used_for, wanted.saturating_sub(there))
    };
    wanted.into_iter().flat_map(lacking).collect()
}

/// Leaves only connections to one server: the one that the newest of them leads to. A name or a balancer that leads to
/// several is a mistake, and is said; what one of them accepted is missing on the others.
async fn agree(node: &Node, links: &mut Vec<Arc<Link>>, newest: &Link) {
    let deadline = after(alive_now(), node.dial.response_timeout);
    for link in links.iter().filter(|link| link.identity() != newest.identity()) {
        // It may have been told before the server became another.
        let _ = link.ask(deadline).await;
    }
    let before = links.len();
    links.retain(|link| link.identity() == newest.identity() || drop_link(node, link));
    if links.len() < before {
        report::warn("redis-identity", &format_args!("connections to {} lead to different servers", newest.at));
    }
}

/// Ends a connection. Always false: it is not retained.
fn drop_link(node: &Node, link: &Link) -> bool {
    link.kill();
    node.wakes.lost(link.id);
    false
}

/// A connection that is known to lead to a server that can be used.
async fn connect(
    node: &Node,
    place: &super::dial::Place,
    used_for: Use,
    suspect: bool,
    deadline: Nanos,
) -> Result<Arc<Link>, Error> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let watch = if used_for == Use::Watch { node.watch.get().cloned() } else { None };
    let pushed = Arc::new(AtomicBool::new(false));
    let (wakes, nudge) = (Arc::downgrade(&node.wakes), node.nudge.clone());
    let heard = watch.clone().map(|watch| (watch, Arc::clone(&pushed)));
    let pushes = move |push: PushInfo| {
        if push.kind == PushKind::Disconnection {
            heard.iter().for_each(|(watch, _)| watch.lost());
            wakes.upgrade().inspect(|wakes| wakes.lost(id));
            nudge.notify_one();
        } else if let Some((watch, pushed)) = &heard {
            watch.push(&push, pushed);
        } else if let (PushKind::Message, Some(Value::BulkString(channel))) = (push.kind, push.data.first()) {
            wakes.upgrade().inspect(|wakes| wakes.message(channel));
        }
    };
    let (connection, driver) = node.dial.connect(place, Login::Data, pushes).await?;
    let driver = tokio::spawn(driver).abort_handle();
    let (ended, nudge) = (watch.clone(), node.nudge.clone());
    let at_end: AtEnd = Box::new(move || {
        if let Some(watch) = &ended {
            watch.lost();
            nudge.notify_one();
        }
    });
    let link = Arc::new(Link::new(id, place.to_string(), used_for, suspect, connection, driver, at_end));
    let standing = link.ask(deadline).await?;
    node.target.admit(&link.at, standing)?;
    if let Some(watch) = watch {
        watch.arm(&link, standing.is_cluster, &pushed, deadline).await?;
        tokio::spawn(super::watch::pulse(node.me.clone(), Arc::downgrade(&link)));
    }
    Ok(link)
}

impl Node {
    /// Publishes what is connected.
    fn up(&self, links: Links) {
        self.phase.send_if_modified(|phase| match phase {
            Phase::Closed => false,
            Phase::Up(old) if same(old, &links) => false,
            _ => {
                *phase = Phase::Up(Arc::new(links));
                true
            }
        });
    }

    /// Says that the server is away, unless it is not. Whether it is up; `None`: the node was closed.
    fn down_unless_up(&self, error: &Error) -> Option<bool> {
        let is_up = match &*self.phase.borrow() {
            Phase::Closed => return None,
            Phase::Up(links) => links.data.iter().any(|link| link.is_alive()),
            _ => false,
        };
        if !is_up {
            self.down(error);
        }
        Some(is_up)
    }
}

fn same(a: &Links, b: &Links) -> bool {
    let ids = |links: &Links| links.all().map(|link| link.id).collect::<Vec<_>>();
    ids(a) == ids(b)
}

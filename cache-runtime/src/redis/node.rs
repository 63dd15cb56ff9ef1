//! One server: its connections, whether it can be used, and the commands on their way to it. What goes on in the
//! background is in `keeper`.
//!
//! A node that is *down* fails at once, until its keeper has reached the server again. Whoever finds that no keeper is at
//! work (its runtime is gone, or is not being run) starts one on the runtime it is on.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::cmd;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

use super::dial::{Dial, Place};
use super::fault::{self, Fault};
use super::keeper::{self, Keeper};
use super::link::{Link, Use};
use super::op::{self, Job};
use super::wake::{Ear, Wakes};
use super::watch::{Watch, Watching};
use crate::clock::{Nanos, after, alive_now};
use crate::error::{Error, ErrorKind};
use crate::store::{Breaker, Found, Name, Names, Reply, ServerState};
use crate::timer::within;

/// Batches on their way to one server.
const IN_FLIGHT: usize = 1024;

/// Time on top of a timeout, for what is not waiting.
const SLACK: Duration = Duration::from_millis(50);

/// Which server a node is.
#[derive(Debug)]
pub(super) enum Target {
    /// The one that is there. `in_cluster`: as a part of a cluster, or on its own.
    Fixed { place: Place, in_cluster: bool },
    /// The one that the sentinels name.
    #[cfg(feature = "redis-sentinel")]
    Sentinel(super::sentinel::Sentinel),
}

/// The connections of a node that is up.
#[derive(Debug)]
pub(super) struct Links {
    /// Never empty.
    pub(super) data: Vec<Arc<Link>>,
    /// What is subscribed; there once somebody has listened.
    pub(super) ear: Option<Arc<Link>>,
    /// Where reads go of which later changes are told.
    pub(super) watch: Option<Arc<Link>>,
}

impl Links {
    pub(super) fn of(links: Vec<Arc<Link>>) -> Self {
        let mut sorted = Self { data: Vec::new(), ear: None, watch: None };
        for link in links {
            match link.used_for {
                Use::Data => sorted.data.push(link),
                Use::Ear => sorted.ear = Some(link),
                Use::Watch => sorted.watch = Some(link),
            }
        }
        sorted
    }

    /// How these connections ended: `None` where one is left, or where they were not given up for their silence.
    pub(super) fn silence<'l>(mut data: impl Iterator<Item = &'l Arc<Link>>) -> Option<Silence> {
        let (mut silent, mut served) = (false, false);
        let ended = data.all(|link| {
            silent |= link.was_silent();
            served |= link.has_served();
            !link.is_alive()
        });
        (ended && silent).then_some(Silence { served })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.data.iter().chain(&self.ear).chain(&self.watch)
    }
}

/// All connections ended since callers were not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// Whether anybody was answered before.
    pub(super) served: bool,
}

/// How a batch is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    /// Whether reads side by side become one MGET.
    pub(super) merge: bool,
    /// Whether the server has to be told that the slot is on its way to it.
    pub(super) asking: bool,
    /// Whether later changes of what is read are to be told, if that can be had.
    pub(super) watched: bool,
}

/// How a node is doing.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Nobody has used it.
    Idle,
    /// The first attempt to connect, or the first after a loss, is under way: worth waiting for.
    Connecting,
    Up(Arc<Links>),
    /// The last attempt failed.
    Down(Arc<Error>),
    Closed,
}

/// One server.
pub(super) struct Node {
    pub(super) target: Target,
    pub(super) dial: Arc<Dial>,
    pub(super) connections: usize,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) keeper: Mutex<Keeper>,
    /// Has the keeper look after the node now.
    pub(super) nudge: Arc<Notify>,
    /// How its connections were found to have ended. Taken by the keeper.
    pub(super) silence: Mutex<Option<Silence>>,
    /// Whether it was used since the keeper last looked.
    pub(super) used: AtomicBool,
    /// Whether somebody has listened.
    pub(super) listens: AtomicBool,
    pub(super) wakes: Arc<Wakes>,
    /// Who hears of changes.
    pub(super) watch: OnceLock<Arc<Watch>>,
    pub(super) me: Weak<Self>,
    permits: Semaphore,
    turn: AtomicUsize,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("target", &self.target)
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.close();
    }
}

impl Node {
    pub(super) fn new(target: Target, dial: Arc<Dial>, connections: usize) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            target,
            dial,
            connections,
            phase: watch::Sender::new(Phase::Idle),
            keeper: Mutex::default(),
            nudge: Arc::default(),
            silence: Mutex::default(),
            used: AtomicBool::new(false),
            listens: AtomicBool::new(false),
            wakes: Arc::default(),
            watch: OnceLock::new(),
            me: me.clone(),
            permits: Semaphore::new(IN_FLIGHT),
            turn: AtomicUsize::new(0),
        })
    }

    /// Ends all connections and the keeper.
    pub(super) fn close(&self) {
        if let Phase::Up(links) = self.phase.send_replace(Phase::Closed) {
            links.all().for_each(|link| link.kill());
        }
        self.watch.get().inspect(|watch| watch.left());
        self.permits.close();
        self.keeper.lock().end();
        self.wakes.close();
    }

    /// Has changes of what is read told. Once, before the first use.
    pub(super) fn watch(&self, watching: Watching) {
        let _ = self.watch.set(Arc::new(Watch::new(watching)));
    }

    /// Whether the server can be used, once that is known.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        self.links(|links| links.data.iter().any(|link| link.is_alive())).await.map(drop)
    }

    /// Does jobs in one round trip, one answer for each. The flag: whether later changes of what was read are told.
    pub(super) async fn run(&self, jobs: &[Job<'_>], way: Way) -> (Vec<Result<Reply, Fault>>, bool) {
        if jobs.is_empty() {
            return (Vec::new(), true);
        }
        match self.try_run(jobs, way).await {
            Ok(replies) => replies,
            Err(error) => (jobs.iter().map(|_| Err(error.again().into())).collect(), false),
        }
    }

    async fn try_run(&self, jobs: &[Job<'_>], way: Way) -> Result<(Vec<Result<Reply, Fault>>, bool), Error> {
        let Way { merge, asking, watched } = way;
        let (link, deadline) = self.link(watched).await?;
        let _permit = self.permit(&link, deadline).await?;
        let stamp = link.identity();
        let mut commands = Vec::with_capacity(jobs.len());
        let shares = shares(jobs, merge);
        for share in shares.iter().filter(|share| !op::is_nothing(&share[0])) {
            if asking {
                commands.push(cmd("ASKING"));
            }
            commands.push(if share.len() > 1 { op::read_all(share) } else { op::command(&share[0], stamp) });
        }
        let answers = if commands.is_empty() { Vec::new() } else { link.send(commands, deadline).await? };
        let mut answers = answers.into_iter().skip(usize::from(asking)).step_by(1 + usize::from(asking));
        // Who answers may have become known anew meanwhile; what another accepted is missing then.
        let stamp = link.identity();
        let mut replies = Vec::with_capacity(jobs.len());
        for share in shares {
            if op::is_nothing(&share[0]) {
                replies.push(Ok(Reply::Count(0)));
                continue;
            }
            let answer = answers.next().ok_or_else(|| fault::nonsense(&link.at))?;
            match share {
                [job] => replies.push(op::reply(job, answer, stamp, &link.at)),
                _ => replies.append(&mut op::replies(share, answer, stamp, &link.at)),
            }
        }
        if replies.iter().any(|reply| matches!(reply, Err(Fault::Demoted(_)))) {
            self.doubt(&link);
        }
        Ok((replies, link.used_for == Use::Watch && link.is_alive()))
    }

    /// What is under names, in one round trip.
    pub(super) async fn get(&self, names: &Names) -> Result<Vec<Option<Found>>, Fault> {
        let now = alive_now();
        let (link, deadline) = match self.link_at_once(now) {
            Some(link) => (link, after(now, self.dial.response_timeout)),
            // What hardly anybody waits for is not a part of this future.
            None => Box::pin(self.link(false)).await?,
        };
        let _permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => Box::pin(self.permit(&link, deadline)).await?,
        };
        let answer = link.send_one(&op::get(names), deadline).await?;
        // Who answers may have become known anew meanwhile; what another accepted is missing then.
        let found = op::found(names, answer, link.identity(), &link.at);
        if matches!(found, Err(Fault::Demoted(_))) {
            self.doubt(&link);
        }
        found
    }

    /// Room for one more batch on its way.
    async fn permit(&self, link: &Link, deadline: Nanos) -> Result<SemaphorePermit<'_>, Error> {
        let permit = within(deadline, self.permits.acquire()).await;
        permit.ok_or_else(|| fault::crowded(&link.at))?.map_err(|_| fault::closed())
    }

    /// Finds out who answers on a connection before it is used again.
    fn doubt(&self, link: &Link) {
        link.forget();
        self.nudge.notify_one();
    }

    /// The answers to commands that stand for no op.
    pub(super) async fn ask(&self, commands: Vec<redis::Cmd>) -> Result<Vec<redis::Value>, Error> {
        let (link, deadline) = self.link(false).await?;
        let answers = link.send(commands, deadline).await?;
        match answers
            .iter()
            .find_map(|answer| if let redis::Value::ServerError(error) = answer { Some(error) } else { None })
        {
            Some(error) => Err(fault::refused(&link.at, error).into_error(&link.at)),
            None => Ok(answers),
        }
    }

    /// Hears the end of a lease from now on.
    pub(super) async fn listen(&self, lease: &Name) -> Result<Ear, Error> {
        if !self.listens.swap(true, Ordering::AcqRel) {
            self.nudge.notify_one();
        }
        let ear = self.wakes.enter(lease, self.nudge.clone());
        let has_ear = |links: &Links| links.ear.as_ref().is_some_and(|link| link.is_alive());
        let links = self.links(has_ear).await?;
        let link = links.ear.as_ref().ok_or_else(fault::closed)?;
        if !self.wakes.is_on(lease, link) {
            let deadline = self.deadline();
            let settled = within(deadline, self.wakes.settle(link, deadline)).await;
            settled.unwrap_or_else(|| Err(fault::late(&link.at)))?;
            if !self.wakes.is_on(lease, link) {
                return Err(fault::lost(&link.at));
            }
        }
        Ok(ear)
    }

    /// Until when what begins now must be answered.
    fn deadline(&self) -> Nanos {
        after(alive_now(), self.dial.response_timeout)
    }

    /// A connection to use, one after the other, and until when. It is known who answers on it. `watched`: the one whose
    /// reads are watched, if there is one.
    async fn link(&self, watched: bool) -> Result<(Arc<Link>, Nanos), Error> {
        self.used.store(true, Ordering::Relaxed);
        let links = self.links(|links| links.data.iter().any(|link| link.is_alive())).await?;
        let deadline = self.deadline();
        let watch = links.watch.as_ref().filter(|link| watched && link.is_alive() && link.is_known(alive_now()));
        if let Some(link) = watch {
            return Ok((link.clone(), deadline));
        }
        let link = self.in_turn(&links).cloned().ok_or_else(|| fault::lost(&links.data[0].at))?;
        if !link.is_known(alive_now()) {
            // The keeper has not been at work: the node was idle, or its runtime is not being run.
            self.wake_keeper();
            if let Some(standing) = link.ask_if_unknown(deadline).await? {
                self.admit(&link.at, standing)?;
            }
        }
        Ok((link, deadline))
    }

    /// A connection that can be used, and on which it is known who answers, if there is one already.
    fn link_at_once(&self, now: Nanos) -> Option<Arc<Link>> {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        let phase = self.phase.borrow();
        let Phase::Up(links) = &*phase else { return None };
        self.in_turn(links).filter(|link| link.is_known(now)).cloned()
    }

    /// The next connection that is alive.
    fn in_turn<'l>(&self, links: &'l Links) -> Option<&'l Arc<Link>> {
        let (data, turn) = (&links.data, self.turn.fetch_add(1, Ordering::Relaxed));
        (0..data.len()).map(|n| &data[turn.wrapping_add(n) % data.len()]).find(|link| link.is_alive())
    }

    /// Connections that will do, as soon as there are any.
    async fn links(&self, will_do: impl Fn(&Links) -> bool) -> Result<Arc<Links>, Error> {
        let check = |phase: &Phase| match phase {
            Phase::Up(links) if will_do(links) => Some(Ok(links.clone())),
            Phase::Down(error) => Some(Err(error.again())),
            Phase::Closed => Some(Err(fault::closed())),
            Phase::Up(_) | Phase::Idle | Phase::Connecting => None,
        };
        let known = check(&self.phase.borrow());
        match known {
            Some(Err(error)) if error.kind() == ErrorKind::Closed => return Err(error),
            Some(Err(error)) => {
                if !self.wake_keeper() {
                    return Err(error);
                }
            }
            Some(links) => return links,
            None => {
                self.begin_again();
                self.wake_keeper();
            }
        }
        let mut phase = self.phase.subscribe();
        let deadline = after(alive_now(), self.dial.connect_timeout + SLACK);
        let waited = async {
            loop {
                if let Some(known) = check(&phase.borrow_and_update()) {
                    return known;
                }
                if phase.changed().await.is_err() {
                    return Err(fault::closed());
                }
            }
        };
        within(deadline, waited).await.unwrap_or_else(|| Err(fault::late(&self.name())))
    }

    /// Has those who come now wait for the next attempt, where all connections are dead or there never was one. Not where
    /// they are dead since nobody was answered: those before have waited long enough.
    fn begin_again(&self) {
        self.phase.send_if_modified(|phase| {
            let next = match phase {
                Phase::Idle => Phase::Connecting,
                Phase::Up(links) if !links.data.iter().any(|link| link.is_alive()) => {
                    let silence = Links::silence(links.data.iter());
                    *self.silence.lock() = silence;
                    match silence {
                        Some(_) => Phase::Down(Arc::new(fault::late(&self.name()))),
                        None => Phase::Connecting,
                    }
                }
                _ => return false,
            };
            *phase = next;
            true
        });
    }

    /// Has the keeper look after the node, or starts one. Whether one was started.
    fn wake_keeper(&self) -> bool {
        self.nudge.notify_one();
        keeper::ensure(self)
    }

    /// Refuses a server that is not what the node is for.
    pub(super) fn admit(&self, at: &str, standing: super::info::Standing) -> Result<(), Error> {
        let judged = self.target.admit(at, standing);
        if let Err(error) = &judged {
            self.down(error);
        }
        judged
    }

    /// Nobody waits for this server from now on.
    pub(super) fn down(&self, error: &Error) {
        let mut links = None;
        self.phase.send_if_modified(|phase| {
            if matches!(phase, Phase::Closed) {
                return false;
            }
            if let Phase::Up(old) = std::mem::replace(phase, Phase::Down(Arc::new(error.again()))) {
                links = Some(old);
            }
            true
        });
        for link in links.iter().flat_map(|links| links.all()) {
            link.kill();
            self.wakes.lost(link.id);
        }
    }

    /// How it is doing, for people.
    pub(super) fn state(&self) -> ServerState {
        let mut error = None;
        let breaker = match &*self.phase.borrow() {
            Phase::Up(links) if !links.data.iter().any(|link| link.is_alive()) => Breaker::HalfOpen,
            Phase::Idle | Phase::Up(_) => Breaker::Closed,
            Phase::Connecting => Breaker::HalfOpen,
            Phase::Down(why) => {
                error = Some(why.to_string());
                Breaker::Open
            }
            Phase::Closed => Breaker::Open,
        };
        ServerState { name: self.name(), breaker, error }
    }

    /// Whether it can be used at the moment, as far as is known.
    #[cfg(feature = "redis-cluster")]
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Up(links) if links.data.iter().any(|link| link.is_alive()))
    }

    /// The host, where it is one place.
    #[cfg(feature = "redis-cluster")]
    pub(super) fn host(&self) -> Option<&str> {
        match &self.target {
            Target::Fixed { place: Place::Tcp(endpoint), .. } => Some(&endpoint.host),
            _ => None,
        }
    }

    /// What the node is called in an error before it is connected.
    pub(super) fn name(&self) -> String {
        match &self.target {
            Target::Fixed { place, .. } => place.to_string(),
            #[cfg(feature = "redis-sentinel")]
            Target::Sentinel(sentinel) => sentinel.to_string(),
        }
    }
}

/// What each command does: one job, or reads side by side where they may be `merge`d.
fn shares<'j, 'o>(jobs: &'j [Job<'o>], merge: bool) -> Vec<&'j [Job<'o>]> {
    let mut shares = Vec::with_capacity(jobs.len());
    let mut rest = jobs;
    while !rest.is_empty() {
        let reads = rest.iter().take_while(|job| merge && op::is_read(job)).count();
        let (share, tail) = rest.split_at(reads.max(1));
        shares.push(share);
        rest = tail;
    }
    shares
}

impl Target {
    /// Where the server is now.
    #[allow(clippy::unused_async, reason = "sentinels are asked, where they are compiled in")]
    pub(super) async fn resolve(&self, dial: &Dial) -> Result<Place, Error> {
        match self {
            Self::Fixed { place, .. } => {
                let _ = dial;
                Ok(place.clone())
            }
            #[cfg(feature = "redis-sentinel")]
            Self::Sentinel(sentinel) => sentinel.primary(dial).await,
        }
    }

    /// Whether somebody else says where it is, and may name another server at any time.
    pub(super) fn is_named(&self) -> bool {
        !matches!(self, Self::Fixed { .. })
    }

    /// Whether a server is one that this can be.
    pub(super) fn admit(&self, at: &str, standing: super::info::Standing) -> Result<(), Error> {
        let in_cluster = matches!(self, Self::Fixed { in_cluster: true, .. });
        match (standing.is_cluster, in_cluster) {
            (true, false) => {
                let what = format!("{at} is a node of a cluster, which has a URL of its own: `redis+cluster://`");
                return Err(Error::new(ErrorKind::Config, what));
            }
            (false, true) => {
                let what = format!("{at} is not a node of a cluster: use `redis://`");
                return Err(Error::new(ErrorKind::Config, what));
            }
            _ => {}
        }
        if !standing.is_primary {
            return Err(Error::new(ErrorKind::ReadOnly, format!("{at} is a replica")));
        }
        Ok(())
    }
}

//! Servers that share the names by slot: who has which slot, and ops on their way to all of them at once.
//!
//! The map is our own and not the client library's, since it must be known which server answered. A redirection mends the
//! map where it is wrong, at once; a whole map is fetched in the background whenever there is a reason for doubt, one at a
//! time. Servers are reached under the addresses that they announce.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::{join_all, select_ok};
use parking_lot::{Mutex, RwLock};
use redis::{Value, cmd};

use super::dial::{Dial, Login, Place};
use super::fault::{self, Fault};
use super::info::text;
use super::node::{Node, Target, Way};
use super::op::Job;
use super::watch::Watching;
use crate::clock::{Nanos, after, alive_now};
use crate::error::{Error, ErrorKind};
use crate::server::Endpoint;
use crate::slot::{self, SLOTS};
use crate::store::{Name, Op, Reply, ServerState, Watcher};
use crate::timer::within;

/// How often a job follows a redirection.
const REDIRECTIONS: usize = 5;

/// How long after a map was fetched it is not fetched again in the background.
const INTERVAL: Duration = Duration::from_millis(200);

/// How many servers are asked for the map at once.
const ASKED: usize = 3;

/// No server.
const NOBODY: u16 = u16::MAX;

/// A cluster.
pub(super) struct Cluster {
    seeds: Vec<Endpoint>,
    dial: Arc<Dial>,
    connections: usize,
    map: RwLock<Arc<Map>>,
    fetching: tokio::sync::Mutex<()>,
    /// Whether a fetch in the background is under way, and when the last one ended.
    doubted: AtomicBool,
    fetched: AtomicU64,
    /// Why the last fetch failed.
    failed: Mutex<Option<Error>>,
    /// Where the next fetch begins to ask.
    turn: AtomicUsize,
    closed: AtomicBool,
    /// Who hears of changes on all servers, those to come included.
    watching: OnceLock<Watching>,
    me: Weak<Self>,
}

/// Who has which slot.
#[derive(Clone)]
struct Map {
    /// How many maps were fetched before; 0: none yet.
    version: u64,
    /// An index into `nodes` for each slot, or `NOBODY`.
    slots: Box<[u16]>,
    nodes: Vec<Arc<Member>>,
}

/// A server of the cluster.
pub(super) struct Member {
    /// Unique in the cluster, and larger than those of all who were known before: a scan goes by it.
    pub(super) number: usize,
    pub(super) endpoint: Endpoint,
    pub(super) node: Arc<Node>,
}

/// A part of an op on its way.
struct Errand<'o> {
    op: usize,
    slot: u16,
    job: Job<'o>,
    /// Where a redirection sends it, and whether only this once.
    to: Option<(Arc<Node>, bool)>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = self.map.read().clone();
        let nodes = map.nodes.iter().map(|member| &member.node).collect::<Vec<_>>();
        f.debug_struct("Cluster").field("seeds", &self.seeds).field("nodes", &nodes).finish_non_exhaustive()
    }
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Endpoint>, dial: Arc<Dial>, connections: usize) -> Arc<Self> {
        let map = Map { version: 0, slots: vec![NOBODY; SLOTS.into()].into(), nodes: Vec::new() };
        Arc::new_cyclic(|me| Self {
            seeds,
            dial,
            connections,
            map: RwLock::new(Arc::new(map)),
            fetching: tokio::sync::Mutex::default(),
            doubted: AtomicBool::new(false),
            fetched: AtomicU64::new(0),
            failed: Mutex::default(),
            turn: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            watching: OnceLock::new(),
            me: me.clone(),
        })
    }

    pub(super) fn close(&self) {
        let map = self.map.write();
        self.closed.store(true, Ordering::Release);
        map.nodes.iter().for_each(|member| member.node.close());
    }

    pub(super) async fn ready(&self) -> Result<(), Error> {
        let members = self.members().await?;
        join_all(members.iter().map(|member| member.node.ready())).await.into_iter().collect()
    }

    /// All servers that have slots, in the order of their numbers.
    pub(super) async fn members(&self) -> Result<Vec<Arc<Member>>, Error> {
        let map = self.map().await?;
        let mut members: Vec<_> = map.owners().into_values().collect();
        members.sort_by_key(|member| member.number);
        Ok(members)
    }

    /// How each server is doing that has slots, as far as is known.
    pub(super) fn states(&self) -> Vec<ServerState> {
        let map = self.map.read().clone();
        let mut owners: Vec<_> = map.owners().into_values().collect();
        owners.sort_by_key(|member| member.number);
        owners.iter().map(|member| member.node.state()).collect()
    }

    /// The server that has the slot of a name.
    pub(super) async fn owner(&self, name: &Name) -> Result<Arc<Node>, Error> {
        self.map().await?.owner(slot::of(name)).cloned().ok_or_else(nobody)
    }

    /// Has the map looked at in the background, after an op failed.
    pub(super) fn suspect(&self, error: &Error) {
        if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::ReadOnly) {
            self.doubt();
        }
    }

    /// Has changes told by all servers. Once, before the first use: no server is known yet.
    pub(super) fn watch(&self, watching: Watching) {
        let _ = self.watching.set(watching);
    }

    /// Does `ops`. The flag: whether later changes of all that was read are told.
    pub(super) async fn run(&self, ops: &[Op], watched: bool) -> (Vec<Result<Reply, Error>>, bool) {
        let map = match self.map().await {
            Ok(map) => map,
            Err(error) => return (ops.iter().map(|_| Err(error.again())).collect(), false),
        };
        let mut replies: Vec<Option<Result<Reply, Error>>> = ops.iter().map(|_| None).collect();
        let mut errands = errands(ops);
        let deadline = after(alive_now(), self.dial.response_timeout);
        let mut all = watched;
        for round in 0..=REDIRECTIONS {
            let is_last = round == REDIRECTIONS || (round > 0 && alive_now() >= deadline);
            errands = self.round(&map, errands, is_last, &mut all, &mut replies).await;
            if errands.is_empty() {
                break;
            }
        }
        // Dropping no names is nothing to do.
        (replies.into_iter().map(|reply| reply.unwrap_or(Ok(Reply::Count(0)))).collect(), all)
    }

    /// Sends all errands, to all servers at once. Those that are redirected come back.
    async fn round<'o>(
        &self,
        map: &Map,
        errands: Vec<Errand<'o>>,
        is_last: bool,
        watched: &mut bool,
        replies: &mut [Option<Result<Reply, Error>>],
    ) -> Vec<Errand<'o>> {
        let mut batches: BTreeMap<(usize, bool), (Arc<Node>, Vec<Errand<'o>>)> = BTreeMap::new();
        for mut errand in errands {
            let (node, asking) = match errand.to.take() {
                Some(to) => to,
                None => match map.owner(errand.slot) {
                    Some(node) => (node.clone(), false),
                    None => {
                        self.doubt();
                        settle(&mut replies[errand.op], Err(nobody()));
                        continue;
                    }
                },
            };
            let batch = batches.entry((Arc::as_ptr(&node).addr(), asking)).or_insert_with(|| (node, Vec::new()));
            batch.1.push(errand);
        }
        let wanted = *watched;
        let answered = join_all(batches.into_iter().map(|((_, asking), (node, errands))| async move {
            let jobs: Vec<Job<'o>> = errands.iter().map(|errand| errand.job.clone()).collect();
            let (answers, watched) = node.run(&jobs, Way { merge: false, asking, watched: wanted }).await;
            (node, errands, answers, watched)
        }))
        .await;
        let mut redirected = Vec::new();
        for (node, errands, answers, told) in answered {
            *watched &= told;
            for (mut errand, answer) in errands.into_iter().zip(answers) {
                let reply = &mut replies[errand.op];
                match answer {
                    Ok(answer) => settle(reply, Ok(answer)),
                    Err(Fault::Moved(_) | Fault::Ask(_)) if is_last => settle(reply, Err(restless(&node))),
                    Err(Fault::Moved(target)) => {
                        errand.to = Some((self.moved(errand.slot, &node, target), false));
                        redirected.push(errand);
                    }
                    Err(Fault::Ask(target)) => {
                        errand.to = Some((self.member(&node, target).node.clone(), true));
                        redirected.push(errand);
                    }
                    Err(Fault::Failed(error) | Fault::Demoted(error)) => {
                        self.suspect(&error);
                        settle(reply, Err(error));
                    }
                }
            }
        }
        redirected
    }

    /// The server at a place that `from` named, which may be new.
    fn member(&self, from: &Node, mut target: Endpoint) -> Arc<Member> {
        if target.host.is_empty() {
            // The server does not know under which address it is reached: it is the same, with another port.
            target.host = from.host().unwrap_or_default().to_owned();
        }
        let mut map = self.map.write();
        if let Some(member) = map.nodes.iter().find(|member| member.endpoint == target) {
            return member.clone();
        }
        let map = Arc::make_mut(&mut map);
        let member = self.new_member(target, &map.nodes);
        map.nodes.push(member.clone());
        member
    }

    /// Mends the map.
    fn moved(&self, slot: u16, from: &Node, target: Endpoint) -> Arc<Node> {
        let member = self.member(from, target);
        {
            let mut map = self.map.write();
            if let Some(index) = map.nodes.iter().position(|known| Arc::ptr_eq(known, &member))
                && map.slots[usize::from(slot)] != index as u16
            {
                Arc::make_mut(&mut map).slots[usize::from(slot)] = index as u16;
            }
        }
        self.doubt();
        member.node.clone()
    }

    fn new_member(&self, endpoint: Endpoint, known: &[Arc<Member>]) -> Arc<Member> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        debug_assert!(known.iter().all(|member| member.endpoint != endpoint));
        let target = Target::Fixed { place: Place::Tcp(endpoint.clone()), in_cluster: true };
        let node = Node::new(target, self.dial.clone(), self.connections);
        if let Some(watching) = self.watching.get() {
            let watcher = Arc::new(Doubting { watcher: watching.watcher.clone(), cluster: self.me.clone() });
            node.watch(Watching { watcher, ..watching.clone() });
        }
        if self.closed.load(Ordering::Acquire) {
            node.close();
        }
        Arc::new(Member { number: NEXT.fetch_add(1, Ordering::Relaxed), endpoint, node })
    }

    /// The map, fetched if there is none yet.
    async fn map(&self) -> Result<Arc<Map>, Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(fault::closed());
        }
        let map = self.map.read().clone();
        if map.version > 0 {
            return Ok(map);
        }
        // Where the first attempt failed, nobody waits for the next ones.
        let failed = self.failed.lock().as_ref().map(Error::again);
        if let Some(error) = failed {
            self.doubt();
            return Err(error);
        }
        self.fetch(0).await?;
        Ok(self.map.read().clone())
    }

    /// Fetches the map in the background, unless that has just been done or is being done.
    fn doubt(&self) {
        let now = alive_now();
        let fetched = self.fetched.load(Ordering::Acquire);
        if fetched > 0 && now < after(fetched, INTERVAL) || self.doubted.swap(true, Ordering::AcqRel) {
            return;
        }
        let over = Over(self.me.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let cluster = self.me.clone();
            runtime.spawn(async move {
                let _over = over;
                if let Some(cluster) = cluster.upgrade() {
                    let seen = cluster.map.read().version;
                    // Who needs the map and cannot have it says so by itself.
                    let _ = cluster.fetch(seen).await;
                }
            });
        }
    }

    /// Fetches the map, unless another than `seen` has been fetched meanwhile.
    async fn fetch(&self, seen: u64) -> Result<(), Error> {
        let deadline = after(alive_now(), self.dial.connect_timeout + self.dial.response_timeout);
        let fetched = async {
            let _one = self.fetching.lock().await;
            let map = self.map.read().clone();
            if map.version != seen {
                return Ok(());
            }
            let answer = self.ask_somebody(&map).await;
            self.fetched.store(alive_now(), Ordering::Release);
            self.adopt(answer?);
            Ok(())
        };
        let fetched = within(deadline, fetched).await.unwrap_or_else(|| {
            self.fetched.store(alive_now(), Ordering::Release);
            Err(Error::new(ErrorKind::Unavailable, "no server of the cluster answered in time"))
        });
        *self.failed.lock() = fetched.as_ref().err().map(Error::again);
        fetched
    }

    /// The map, as the first of several servers sees it: those that are up first, from another one each time.
    async fn ask_somebody(&self, map: &Map) -> Result<Vec<Range>, Error> {
        let (mut up, mut others): (Vec<_>, Vec<_>) = map.nodes.iter().partition(|member| member.node.is_up());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for members in [&mut up, &mut others] {
            let middle = turn % members.len().max(1);
            members.rotate_left(middle);
        }
        let mut places: Vec<&Endpoint> = up.into_iter().chain(others).map(|member| &member.endpoint).collect();
        places.extend(&self.seeds);
        let mut seen = std::collections::HashSet::new();
        places.retain(|place| seen.insert((place.host.as_str(), place.port)));
        let failures = Mutex::new(Vec::new());
        for some in places.chunks(ASKED) {
            let asked = some.iter().map(|place| {
                let failures = &failures;
                Box::pin(async move {
                    let answer = self.ask(place).await;
                    answer.map_err(|error| failures.lock().push(error))
                })
            });
            if let Ok((answer, _)) = select_ok(asked).await {
                return Ok(answer);
            }
        }
        Err(fault::most_telling(failures.into_inner()).unwrap_or_else(nobody))
    }

    async fn ask(&self, endpoint: &Endpoint) -> Result<Vec<Range>, Error> {
        let place = Place::Tcp(endpoint.clone());
        // A server that swallows what it is sent must not use up the time of those that are asked after it.
        let deadline = after(alive_now(), self.dial.connect_timeout / 2);
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let answer = within(deadline, self.dial.ask_once(&place, Login::Data, &question)).await;
        match answer.unwrap_or_else(|| Err(fault::late(&place)))? {
            Value::ServerError(error) if error.code() == "ERR" => {
                let what = format!("{place} is not a node of a cluster: use `redis://`");
                Err(Error::new(ErrorKind::Config, what))
            }
            Value::ServerError(error) => Err(fault::refused(&place, &error).into_error(&place)),
            answer => ranges(&answer, endpoint).ok_or_else(|| fault::nonsense(&place)),
        }
    }

    /// Makes what a server said the map. Servers that are in it no more end with their last command.
    fn adopt(&self, ranges: Vec<Range>) {
        let mut map = self.map.write();
        let mut known: HashMap<(String, u16), Arc<Member>> = HashMap::new();
        for member in &map.nodes {
            known.insert((member.endpoint.host.clone(), member.endpoint.port), member.clone());
        }
        let mut nodes: Vec<Arc<Member>> = Vec::new();
        let mut slots = vec![NOBODY; SLOTS.into()];
        for Range { first, last, owner } in ranges {
            let index = nodes.iter().position(|member| member.endpoint == owner).unwrap_or_else(|| {
                let member = known.get(&(owner.host.clone(), owner.port)).cloned();
                nodes.push(member.unwrap_or_else(|| self.new_member(owner, &nodes)));
                nodes.len() - 1
            });
            slots[usize::from(first)..=usize::from(last)].fill(index as u16);
        }
        *map = Arc::new(Map { version: map.version + 1, slots: slots.into(), nodes });
    }
}

impl Map {
    fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        Some(&self.nodes.get(usize::from(self.slots[usize::from(slot)]))?.node)
    }

    /// Servers that have at least one slot.
    fn owners(&self) -> BTreeMap<u16, Arc<Member>> {
        let mut owners = BTreeMap::new();
        for &index in &self.slots {
            if let Some(member) = self.nodes.get(usize::from(index)) {
                owners.entry(index).or_insert_with(|| member.clone());
            }
        }
        owners
    }
}

/// Has the map looked at where a server is lost. While copies are not served since one of the servers is silent, perhaps for
/// ever, nobody may ask for anything that it had, and nobody else would find out that another has taken its place.
#[derive(Debug)]
struct Doubting {
    watcher: Arc<dyn Watcher>,
    cluster: Weak<Cluster>,
}

impl Watcher for Doubting {
    fn changed(&self, name: &[u8]) {
        self.watcher.changed(name);
    }

    fn missed(&self, server: u64) {
        self.watcher.missed(server);
    }

    fn heard(&self, server: u64, heard: Nanos) {
        self.watcher.heard(server, heard);
    }

    fn lost(&self, server: u64) {
        self.watcher.lost(server);
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.doubt();
        }
    }

    fn left(&self, server: u64) {
        self.watcher.left(server);
    }
}

/// Ends a fetch in the background, however it ends.
struct Over(Weak<Cluster>);

impl Drop for Over {
    fn drop(&mut self) {
        if let Some(cluster) = self.0.upgrade() {
            cluster.doubted.store(false, Ordering::Release);
        }
    }
}

/// Slots that one server has.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    owner: Endpoint,
}

/// Reads an answer to `CLUSTER SLOTS`: first, last, [host, port, ..] of the primary, and of replicas.
fn ranges(answer: &Value, asked: &Endpoint) -> Option<Vec<Range>> {
    let Value::Array(ranges) = answer else { return None };
    let range = |range: &Value| {
        let Value::Array(parts) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(owner), ..] = &parts[..] else { return None };
        let [host, Value::Int(port), ..] = &owner[..] else { return None };
        // A server that does not know its own address says so by nothing at all.
        let host = text(host).filter(|host| !matches!(*host, "" | "?")).unwrap_or(&asked.host);
        let in_range = |slot: &i64| u16::try_from(*slot).ok().filter(|slot| *slot < SLOTS);
        let (first, last) = (in_range(first)?, in_range(last)?);
        let owner = Endpoint { host: host.to_owned(), port: u16::try_from(*port).ok()? };
        (first <= last).then_some(Range { first, last, owner })
    };
    ranges.iter().map(range).collect()
}

/// Any answer as a map.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzz(answer: &Value) {
    for range in ranges(answer, &Endpoint { host: "asked".into(), port: 1 }).into_iter().flatten() {
        assert!(range.first <= range.last && range.last < SLOTS, "{range:?}");
    }
}

/// Ops in parts that lie in one slot each.
fn errands(ops: &[Op]) -> Vec<Errand<'_>> {
    let mut errands = Vec::with_capacity(ops.len());
    for (op, what) in ops.iter().enumerate() {
        let Op::Drop(names) = what else {
            errands.push(Errand { op, slot: slot::of(key(what)), job: Job::Op(what), to: None });
            continue;
        };
        let mut by_slot: BTreeMap<u16, Vec<&Name>> = BTreeMap::new();
        for name in names {
            by_slot.entry(slot::of(name)).or_default().push(name);
        }
        errands.extend(by_slot.into_iter().map(|(slot, names)| Errand { op, slot, job: Job::Drop(names), to: None }));
    }
    errands
}

/// A name whose slot is that of the whole op.
fn key(op: &Op) -> &[u8] {
    match op {
        Op::Read(name)
        | Op::ReadPlain(name)
        | Op::ReadAny(name)
        | Op::Extend(name, _)
        | Op::Expire(name, _)
        | Op::Left(name)
        | Op::Mark { name, .. }
        | Op::Unmark { name, .. } => name,
        Op::Ensure { cell, .. } | Op::Swap { cell, .. } => cell,
        Op::Acquire { lease, .. } | Op::Renew { lease, .. } | Op::Release { lease, .. } => lease,
        Op::Fill { name, .. } | Op::Replace { name, .. } | Op::Count { name, .. } => &name.entry,
        Op::Drop(names) => names.first().map_or(&[], |name| name),
    }
}

/// Adds what became of a part of an op: counts are added up, and one part that failed fails the op.
fn settle(reply: &mut Option<Result<Reply, Error>>, part: Result<Reply, Error>) {
    *reply = Some(match (reply.take(), part) {
        (Some(Ok(Reply::Count(a))), Ok(Reply::Count(b))) => Ok(Reply::Count(a + b)),
        (Some(Err(error)), _) => Err(error),
        (_, part) => part,
    });
}

fn nobody() -> Error {
    Error::new(ErrorKind::Unavailable, "no server of the cluster has the slot")
}

fn restless(node: &Node) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{} and others send us to each other", node.name()))
}

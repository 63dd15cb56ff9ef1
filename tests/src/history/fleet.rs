//! A server, a database, and workers with a proxy each; what is done to them is noted for the history.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::check::{Fault, History, Process};
use super::event::{Log, Nanos, now};
use super::source::Source;
use crate::process::Worker;
use crate::redis::{Proxy, Server};

/// A kind of row: which annotated functions read and write it. `bin/history-worker` has them.
pub const FAMILIES: [&str; 7] = ["tagged", "plain", "through", "late", "recached", "strict", "fenced"];

/// Rows of each family.
pub const ROWS: u64 = 2;

/// The name of a row.
#[must_use]
pub fn row_name(family: &str, id: u64) -> String {
    format!("{family}:{id}")
}

/// Whether the writes of a family are fenced.
#[must_use]
pub fn is_fenced(family: &str) -> bool {
    family == "fenced"
}

/// Which cache is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `redis://`
    Redis,
    /// `hybrid+redis://`
    Hybrid,
}

impl Backend {
    fn url(self, proxy: &Proxy) -> String {
        let url = proxy.url();
        match self {
            Self::Redis => url,
            Self::Hybrid => format!("hybrid+{url}"),
        }
    }

    /// How long an L1 may go on serving after an invalidation was acknowledged.
    fn delta(self) -> Nanos {
        match self {
            Self::Redis => 0,
            Self::Hybrid => L1_LEASE,
        }
    }
}

/// `l1_lease` of all processes: shorter than most faults. A fenced write waits for it on any shared backend.
const L1_LEASE: Nanos = 300_000_000;

/// Nothing that works takes this long, however busy the machine is.
const LONG: Duration = Duration::from_secs(60);

/// A place in the fleet: a proxy, and the process that is behind it now.
#[derive(Debug)]
struct Place {
    proxy: Proxy,
    worker: Worker,
    number: u32,
    /// It was stopped by us.
    stopped: bool,
}

/// Everything that a run needs.
#[derive(Debug)]
pub struct Fleet {
    places: Vec<Place>,
    server: Server,
    /// A replica that was promoted, and to which no address leads yet.
    promoted: Option<Server>,
    source: Source,
    history: History,
    program: PathBuf,
    environment: Vec<(String, String)>,
    backend: Backend,
    next: u32,
    folder: TempDir,
}

impl Fleet {
    /// Starts a server and so many workers. `program` is `env!("CARGO_BIN_EXE_history-worker")`; `environment` is added to
    /// theirs.
    ///
    /// # Panics
    ///
    /// Something does not start.
    pub async fn start(program: &str, backend: Backend, workers: usize, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("history-").tempdir().expect("there is a folder");
        let rows = FAMILIES.iter().flat_map(|family| (0..ROWS).map(|id| row_name(family, id)));
        let source = Source::create(&folder.path().join("rows.db"), rows).expect("a database can be made");
        let mut fleet = Self {
            places: Vec::new(),
            server: server().await,
            promoted: None,
            source,
            history: History { delta: backend.delta(), ..History::default() },
            program: program.into(),
            environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            backend,
            next: 1,
            folder,
        };
        for _ in 0..workers {
            let proxy = Proxy::start(fleet.server.addr());
            let (worker, number) = fleet.process(backend.url(&proxy)).await;
            fleet.places.push(Place { proxy, worker, number, stopped: false });
        }
        fleet
    }

    /// A new process, with a number of its own.
    async fn process(&mut self, url: String) -> (Worker, u32) {
        let number = self.next;
        self.next += 1;
        let mut worker = Worker::start_with(&self.program, self.environment.iter().map(|(k, v)| (k, v))).await;
        let open = json!({
            "url": url,
            "number": number,
            "l1_lease_ms": L1_LEASE / 1_000_000,
            "rows": self.folder.path().join("rows.db"),
            "log": log(self.folder.path(), number),
        });
        worker.command("open", open).await;
        (worker, number)
    }

    /// How many workers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The worker in a place.
    pub fn worker(&mut self, place: usize) -> &mut Worker {
        &mut self.places[place].worker
    }

    /// The proxy of a place.
    #[must_use]
    pub fn proxy(&self, place: usize) -> &Proxy {
        &self.places[place].proxy
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Whether the process in a place can be talked to.
    pub fn is_running(&mut self, place: usize) -> bool {
        !self.places[place].stopped && !self.places[place].worker.has_ended()
    }

    /// Notes what was done, or how long it lasted.
    pub fn note(&mut self, what: impl Into<String>, from: Nanos, loses: bool) {
        self.history.faults.push(Fault { what: what.into(), from, to: now(), loses });
    }

    /// Kills the process in a place and puts another one there.
    pub async fn replace(&mut self, place: usize) {
        self.places[place].worker.kill();
        self.keep(place);
        let (worker, number) = self.process(self.backend.url(&self.places[place].proxy)).await;
        let at = &mut self.places[place];
        (at.worker, at.number, at.stopped) = (worker, number, false);
    }

    /// Starts a write in a place, which ends with the death of its process between the commit and the invalidation.
    pub async fn start_fatal_write(&mut self, place: usize, row: Value) {
        let worker = &mut self.places[place].worker;
        worker.command("run", json!({ "tasks": 0, "die_in_write": 1, "die_after_commit": true })).await;
        worker.send("write", row).await;
    }

    /// Takes what the process in a place has written down; it is dead.
    fn keep(&mut self, place: usize) {
        let number = self.places[place].number;
        let events = Log::read(&log(self.folder.path(), number));
        self.history.processes.push(Process { number, killed: Some(now()), events });
    }

    /// `SIGSTOP`
    pub fn stop(&mut self, place: usize) {
        if self.is_running(place) {
            self.places[place].worker.stop_signal();
            self.places[place].stopped = true;
        }
    }

    /// `SIGCONT`
    pub fn cont(&mut self, place: usize) {
        if std::mem::take(&mut self.places[place].stopped) {
            self.places[place].worker.cont_signal();
        }
    }

    /// Starts a replica, and promotes it as soon as it has what the server has. The server goes on for now.
    ///
    /// # Panics
    ///
    /// The replica does not come about.
    pub async fn promote(&mut self) {
        let replica = server().await;
        // Not in its configuration: it is not to be a replica when it is started again.
        replica.command(&["REPLICAOF", "127.0.0.1", &self.server.port().to_string()]).await;
        crate::eventually("a replica in sync", LONG, async || {
            let state = replica.try_query::<String>(&["INFO", "replication"]).await.unwrap_or_default();
            state.contains("master_link_status:up")
        })
        .await;
        replica.command(&["REPLICAOF", "NO", "ONE"]).await;
        self.promoted = Some(replica);
    }

    /// Kills the server, and lets the address lead to the one that was promoted. Returns whether there is one.
    pub fn fail_over(&mut self, from: Nanos) -> bool {
        let Some(promoted) = self.promoted.take() else { return false };
        self.server.kill();
        self.server = promoted;
        for place in &self.places {
            place.proxy.retarget(self.server.addr());
            place.proxy.reset_all();
        }
        self.note("FailOver to a replica that lacks the last writes", from, true);
        true
    }

    /// Ends all faults.
    pub async fn heal(&mut self) {
        self.server.cont_signal();
        for place in 0..self.places.len() {
            self.cont(place);
            self.places[place].proxy.heal();
            if self.places[place].worker.has_ended() {
                self.replace(place).await;
            }
        }
    }

    /// Waits until nothing waits to be delivered, lets every process read every row once more, and ends it all.
    ///
    /// # Panics
    ///
    /// Something that waits is not delivered.
    pub async fn finish(mut self) -> History {
        self.heal().await;
        for place in 0..self.places.len() {
            self.worker(place).command("halt", Value::Null).await;
        }
        for place in 0..self.places.len() {
            let worker = &mut self.places[place].worker;
            let delivered = async {
                while worker.command("undelivered", Value::Null).await != 0 {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(LONG, delivered).await.expect("invalidations are delivered once everything is healed");
        }
        for place in 0..self.places.len() {
            for (family, id) in FAMILIES.iter().flat_map(|family| (0..ROWS).map(move |id| (family, id))) {
                self.worker(place).command("read", json!({ "family": family, "id": id })).await;
            }
        }
        for place in std::mem::take(&mut self.places) {
            place.worker.exit().await;
            let events = Log::read(&log(self.folder.path(), place.number));
            self.history.processes.push(Process { number: place.number, killed: None, events });
        }
        self.history.commits = self.source.commits().expect("the database can be read");
        self.history
    }
}

/// A server of which a replica has everything at once.
async fn server() -> Server {
    Server::options().config("repl-diskless-sync-delay 0").start().await
}

fn log(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("process-{number}.log"))
}

//! Starts and stops `redis-server` for one test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::{FromRedisValue, Value};

use crate::redis::{Connect, Redis, open};
use crate::server::{Endpoint, Server, Topology};
use crate::store::{Name, Op, Reply, SharedStore};

/// A server of our own. Dropping it kills it and removes its folder.
pub(super) struct Redisd {
    child: Option<Child>,
    pub(super) port: u16,
    pub(super) dir: PathBuf,
    /// With which `command` logs in.
    pub(super) password: Option<String>,
    is_sentinel: bool,
    options: Vec<String>,
}

/// A port that nobody listens on.
pub(super) fn free_port() -> u16 {
    // Below the range that systems hand out by themselves, so that no client's own port gets in the way.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset = (std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed)) % 18_000;
        let port = u16::try_from(12_000 + offset).unwrap();
        // A cluster's bus is 10 000 above.
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// A fresh folder.
pub(super) fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("cache-redis-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A program that ends with this process, where the system can do that.
pub(super) fn program(name: &str) -> Command {
    let setpriv = Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).status();
    if setpriv.is_ok_and(|status| status.success()) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", name]);
        command
    } else {
        Command::new(name)
    }
}

impl Redisd {
    /// With options as in its configuration file: `["maxmemory 1mb"]`.
    pub(super) fn start(options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let (port, dir) = (free_port(), folder());
        let mut server = Self { child: None, port, dir, password: None, is_sentinel: false, options };
        server.restart();
        server
    }

    #[cfg(feature = "redis-sentinel")]
    pub(super) fn start_sentinel(options: &[&str], password: Option<&str>) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let (port, dir, password) = (free_port(), folder(), password.map(str::to_owned));
        let mut server = Self { child: None, port, dir, password, is_sentinel: true, options };
        server.restart();
        server
    }

    /// One more option, from the next start on.
    pub(super) fn add(&mut self, option: &str) {
        self.options.push(option.to_owned());
    }

    /// Starts it once more: same port, same folder.
    pub(super) fn restart(&mut self) {
        self.kill();
        let mut text =
            format!("port {}\nbind 127.0.0.1\nsave \"\"\ndir {}\nlogfile log\n", self.port, self.dir.display());
        self.options.iter().for_each(|option| text.extend([option, "\n"]));
        let file = self.dir.join("redis.conf");
        fs::write(&file, text).unwrap();
        let sentinel = self.is_sentinel.then_some("--sentinel");
        let child =
            program("redis-server").arg(&file).args(sentinel).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("redis-server is missing: `apt-get install redis-server`, or ./tests/run"));
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server did not start: {}", fs::read_to_string(self.dir.join("log")).unwrap_or_default());
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A stopped process ends by SIGKILL too.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `STOP` or `CONT`.
    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// A command, as whoever may do everything.
    pub(super) fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.command_of(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    pub(super) fn command_of<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let login = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        let client = redis::Client::open(format!("redis://{login}127.0.0.1:{}", self.port)).unwrap();
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let answer = || command.query(&mut client.get_connection()?);
        // A server that is given another part closes its connections, also one that has just been opened.
        answer().or_else(|error: redis::RedisError| if error.is_io_error() { answer() } else { Err(error) }).unwrap()
    }

    pub(super) fn server(&self) -> Server {
        server(Topology::Standalone(self.endpoint()))
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint { host: "127.0.0.1".into(), port: self.port }
    }

    pub(super) fn open(&self) -> Arc<Redis> {
        open(Connect::to(self.server())).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.dir).join(name)
    }
}

impl Drop for Redisd {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(super) fn server(topology: Topology) -> Server {
    Server { topology, tls: false, username: None, password: None, database: 0 }
}

pub(super) fn name(text: &str) -> Name {
    text.as_bytes().into()
}

/// One op that must not fail.
pub(super) async fn one(redis: &Redis, op: Op) -> Reply {
    redis.run(vec![op]).await.pop().unwrap().unwrap()
}

/// Nothing that works takes this long. A sentinel whose machine stood still for two seconds does nothing for thirty (TILT).
const LONG: Duration = Duration::from_secs(90);

/// Waits until something is true.
#[allow(clippy::disallowed_methods, reason = "a test measures how long it waits")]
pub(super) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let start = std::time::Instant::now();
    while start.elapsed() < LONG {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("after {LONG:?} still not: {what}");
}

/// How much a server was asked for since it began, by command: `cmdstat_get:calls=3,..`
pub(super) fn calls(server: &Redisd, command: &str) -> u64 {
    let stats: Value = server.command(&["INFO", "commandstats"]);
    let text = super::super::info::text(&stats).unwrap().to_owned();
    let prefix = format!("cmdstat_{command}:calls=");
    let calls = text.lines().find_map(|line| line.strip_prefix(&prefix)).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

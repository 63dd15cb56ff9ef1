//! One server process: started, spoken to, stopped, killed, started again.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use faulty_proxy::Port;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult, Value};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::options::{Kind, Options, socket};
use super::{client, program};
use crate::process::Guard;

/// From the start of the process to its first answer, on a machine that is busy.
const START: Duration = Duration::from_secs(30);

/// A process of `redis-server` (or Valkey's) that is the test's own. Dropping it kills it, awaits its end and removes its
/// folder; it does not outlive the test process either, however that ends.
///
/// It belongs to no runtime, so it can be shared by tests in a `static`. The clock of the runtime must not be paused while
/// one of its methods is awaited.
#[derive(Debug)]
pub struct Server {
    // Before the folder: what is in it is removed when nobody writes there any more.
    process: Mutex<Option<Guard>>,
    port: Port,
    /// The port on which the nodes of a cluster talk to each other.
    bus: Option<Port>,
    folder: TempDir,
    options: Options,
}

/// What a server finds when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// What was saved last, if anything was: the data set goes back in time.
    Keep,
    /// Nothing.
    Discard,
}

impl Server {
    /// A server with nothing special about it.
    pub async fn start() -> Self {
        Self::options().start().await
    }

    /// What a server can be asked to be; ends with [`start`](Options::start).
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// Where it is, with the password of the default user if it needs one, as a cache URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(&self.options.password.as_deref().map(|word| format!(":{}@", encoded(word))).unwrap_or_default())
    }

    /// Where it is, for an ACL user.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str) -> String {
        self.url_of(&format!("{}:{}@", encoded(user), encoded(password)))
    }

    fn url_of(&self, login: &str) -> String {
        if self.options.unix {
            let path = self.unix_path();
            return format!(
                "unix://{login}{}",
                path.to_string_lossy().split('/').map(encoded).collect::<Vec<_>>().join("/")
            );
        }
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{login}{}", self.addr())
    }

    /// Its port, which stays the same until it is dropped.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// On which the nodes of its cluster find it.
    pub(super) fn bus(&self) -> u16 {
        self.bus.as_ref().expect("the server is a node of a cluster").number()
    }

    /// Its socket. Each server has one.
    #[must_use]
    pub fn unix_path(&self) -> PathBuf {
        socket(self.folder())
    }

    /// Its folder, with its snapshot `dump.rdb` if there is one.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The certificate of the authority that signed the server's, as a PEM file.
    #[must_use]
    pub fn tls_ca(&self) -> PathBuf {
        self.tls_file("ca.crt")
    }

    /// A client's certificate, as a PEM file.
    #[must_use]
    pub fn tls_cert(&self) -> PathBuf {
        self.tls_file("client.crt")
    }

    /// The key of [`tls_cert`](Self::tls_cert).
    #[must_use]
    pub fn tls_key(&self) -> PathBuf {
        self.tls_file("client.key")
    }

    fn tls_file(&self, name: &str) -> PathBuf {
        self.options.tls.as_ref().expect("the server was started with TLS").path(name)
    }

    /// Runs a command as a user who may do everything, over the server's socket: proxies do not see it.
    ///
    /// # Panics
    ///
    /// The answer is an error, or there is none.
    pub async fn command(&self, words: &[impl AsRef<[u8]>]) -> Value {
        self.query(words).await
    }

    /// As [`command`](Self::command), with the answer as a type of Rust.
    ///
    /// # Panics
    ///
    /// The answer is an error or of another type, or there is none.
    pub async fn query<T: FromRedisValue>(&self, words: &[impl AsRef<[u8]>]) -> T {
        self.try_query(words).await.unwrap_or_else(|error| {
            let name =
                words.first().map(|word| String::from_utf8_lossy(word.as_ref()).into_owned()).unwrap_or_default();
            panic!("{name}: {error}\n{}", self.log())
        })
    }

    /// As [`query`](Self::query), for answers that may be errors.
    ///
    /// # Errors
    ///
    /// The server's, or there is no answer.
    pub async fn try_query<T: FromRedisValue>(&self, words: &[impl AsRef<[u8]>]) -> RedisResult<T> {
        client::command(words).query_async(&mut self.connection().await?).await
    }

    /// A connection as [`command`](Self::command) uses it. It belongs to the runtime in which it was made.
    ///
    /// # Errors
    ///
    /// The server is not running.
    pub async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        client::connect(&self.unix_path()).await
    }

    /// One number or word of `INFO`.
    ///
    /// # Panics
    ///
    /// There is no such field, or no answer.
    pub async fn info(&self, field: &str) -> String {
        let text: String = self.query(&["INFO", "everything"]).await;
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("INFO has no field {field}")).to_owned()
    }

    /// Saves a snapshot: what the server has when it is started again with [`Snapshot::Keep`].
    pub async fn save_now(&self) {
        self.command(&["SAVE"]).await;
    }

    /// `SIGKILL`, and awaits the end: nothing of it runs when this returns. Its port stays reserved.
    pub fn kill(&self) {
        self.process.lock().take();
    }

    /// Kills it if it runs, and starts it on the same port and in the same folder.
    pub async fn restart(&self, snapshot: Snapshot) {
        self.kill();
        if snapshot == Snapshot::Discard {
            let _ = fs::remove_file(self.folder().join("dump.rdb"));
        }
        *self.process.lock() = Some(self.spawn());
        // The port was reserved all the time, and only somebody who reserves nothing can have taken it.
        assert!(self.ready().await, "the port of the server was taken while it was down:\n{}", self.log());
    }

    /// `SIGSTOP`: the system goes on accepting connections for it, and nothing is answered.
    pub fn stop_signal(&self) {
        self.running(Guard::stop_signal);
    }

    /// `SIGCONT`.
    pub fn cont_signal(&self) {
        self.running(Guard::cont_signal);
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running(Guard::pid)
    }

    /// Whether its process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.lock().as_ref().is_some_and(Guard::is_running)
    }

    /// What it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    fn running<T>(&self, run: impl FnOnce(&Guard) -> T) -> T {
        self.process.lock().as_ref().map(run).expect("the server was killed")
    }

    fn log_file(&self) -> PathBuf {
        self.folder().join("server.log")
    }

    fn config_file(&self) -> PathBuf {
        self.folder().join("redis.conf")
    }

    fn spawn(&self) -> Guard {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log can be written");
        let mut args = vec![self.config_file().into_os_string()];
        if self.options.kind == Kind::Sentinel {
            args.push("--sentinel".into());
        }
        Guard::spawn(&program::server(), args, self.folder(), log).expect("there is a shell")
    }

    /// Waits until it answers over its own socket. `false`: its port is taken.
    async fn ready(&self) -> bool {
        let answers = async {
            loop {
                if self.try_query::<String>(&["PING"]).await.is_ok() {
                    return true;
                }
                if !self.is_running() {
                    let log = self.log();
                    assert!(log.contains("already in use"), "the server did not start:\n{log}");
                    return false;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let answered = timeout(START, answers).await;
        answered.unwrap_or_else(|_| panic!("the server does not answer within {START:?}:\n{}", self.log()))
    }
}

impl Options {
    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// There is no `redis-server`, or it does not start; its log says why.
    pub async fn start(self) -> Server {
        loop {
            let server = Server {
                process: Mutex::default(),
                port: Port::claim(),
                bus: (self.kind == Kind::ClusterNode).then(Port::claim),
                folder: folder(),
                options: self.clone(),
            };
            let text = self.file(server.folder(), server.port(), server.bus.as_ref().map(Port::number));
            fs::write(server.config_file(), text).expect("the folder of a server can be written to");
            *server.process.lock() = Some(server.spawn());
            if server.ready().await {
                return server;
            }
        }
    }
}

/// A folder that only this user can read. A short name, for the socket in it.
pub(super) fn folder() -> TempDir {
    tempfile::Builder::new().prefix("redis-").tempdir().expect("there is a folder for temporary files")
}

/// As a part of a URL.
pub(super) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

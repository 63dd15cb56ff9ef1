//! One connection: sends, waits no longer than asked, and knows who answers. It is never repaired: a link that is dead is
//! replaced by its node.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value, cmd};
use tokio::task::AbortHandle;

use super::fault;
use super::info::{Info, Standing, text};
use super::op::Stamp;
use crate::clock::{Nanos, after, alive_now};
use crate::error::{Error, ErrorKind};
use crate::timer::within;

/// Commands in a row that were not answered in time, after which a connection counts as dead. Questions who answers are
/// counted apart: where answers to these come through and others do not, the connection is of no use.
const STRIKES: u32 = 3;

/// How long it counts as known who a server is.
const TRUST: Duration = Duration::from_secs(3);

/// What a connection is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Commands.
    Data,
    /// Subscriptions.
    Ear,
    /// Reads of which later changes are pushed.
    Watch,
}

/// What is done when a connection has ended.
pub(super) type AtEnd = Box<dyn Fn() + Send + Sync>;

/// A connection.
pub(super) struct Link {
    /// Unique in the process, never 0.
    pub(super) id: u64,
    /// `host:port`, or a path.
    pub(super) at: String,
    pub(super) used_for: Use,
    connection: MultiplexedConnection,
    driver: AbortHandle,
    /// Who answers, as the bytes of a [`Stamp`].
    identity: AtomicU64,
    /// When the question was sent whose answer said so.
    asked: AtomicU64,
    /// Until when that is trusted.
    known_until: AtomicU64,
    strikes: AtomicU32,
    /// The same of questions who answers.
    unheard: AtomicU32,
    /// Whether a caller's command was answered on it.
    served: AtomicBool,
    dead: AtomicBool,
    at_end: AtEnd,
    asking: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("at", &self.at).field("alive", &self.is_alive()).finish_non_exhaustive()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Link {
    /// `suspect`: the first command that is not answered ends it.
    pub(super) fn new(
        id: u64,
        at: String,
        used_for: Use,
        suspect: bool,
        connection: MultiplexedConnection,
        driver: AbortHandle,
        at_end: AtEnd,
    ) -> Self {
        Self {
            id,
            at,
            used_for,
            connection,
            driver,
            identity: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            known_until: AtomicU64::new(0),
            strikes: AtomicU32::new(if suspect { STRIKES - 1 } else { 0 }),
            unheard: AtomicU32::new(0),
            served: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            at_end,
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether it can be used, as far as is known. The driver ends with the connection, or with its runtime.
    pub(super) fn is_alive(&self) -> bool {
        !self.dead.load(Ordering::Acquire) && !self.driver.is_finished()
    }

    /// Whether it ended since commands were not answered.
    pub(super) fn was_silent(&self) -> bool {
        !self.is_alive() && self.strikes.load(Ordering::Relaxed) >= STRIKES
    }

    /// Whether a caller's command was answered on it.
    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends the connection; what waits for an answer fails.
    pub(super) fn kill(&self) {
        if !self.dead.swap(true, Ordering::AcqRel) {
            self.driver.abort();
            (self.at_end)();
        }
    }

    /// Who answers.
    pub(super) fn identity(&self) -> Stamp {
        self.identity.load(Ordering::Acquire).to_le_bytes()
    }

    /// Whether it was said recently who answers.
    pub(super) fn is_known(&self, now: Nanos) -> bool {
        now < self.known_until.load(Ordering::Acquire)
    }

    /// Whether it is time to ask again who answers.
    pub(super) fn is_due(&self, now: Nanos, tick: Duration) -> bool {
        !self.is_known(now) || now >= after(self.asked.load(Ordering::Acquire), tick)
    }

    /// Makes it unknown who answers.
    pub(super) fn forget(&self) {
        self.known_until.store(0, Ordering::Release);
    }

    /// The answers to `commands`, sent together. An answer may be an error of the server.
    pub(super) async fn send(&self, commands: Vec<Cmd>, deadline: Nanos) -> Result<Vec<Value>, Error> {
        let answers = self.exchange(commands, deadline, &self.strikes).await?;
        self.has_answered();
        Ok(answers)
    }

    /// The answer to one command. It may be an error of the server.
    pub(super) async fn send_one(&self, command: &Cmd, deadline: Nanos) -> Result<Value, Error> {
        let answer = self.exchange_one(command, deadline, &self.strikes).await?;
        self.has_answered();
        Ok(answer)
    }

    /// Takes note that a caller's command was answered.
    fn has_answered(&self) {
        if !self.has_served() {
            self.served.store(true, Ordering::Relaxed);
        }
    }

    async fn exchange_one(&self, command: &Cmd, deadline: Nanos, strikes: &AtomicU32) -> Result<Value, Error> {
        let mut connection = self.connection.clone();
        let answer = within(deadline, connection.send_packed_command(command)).await;
        self.judge(answer, strikes)
    }

    async fn exchange(&self, commands: Vec<Cmd>, deadline: Nanos, strikes: &AtomicU32) -> Result<Vec<Value>, Error> {
        if let [command] = &commands[..] {
            return self.exchange_one(command, deadline, strikes).await.map(|value| vec![value]);
        }
        let mut connection = self.connection.clone();
        let count = commands.len();
        let mut pipeline = Pipeline::with_capacity(count);
        for command in commands {
            pipeline.add_command(command);
        }
        let answer = within(deadline, connection.send_packed_commands(&pipeline, 0, count)).await;
        let values = self.judge(answer, strikes)?;
        if values.len() == count { Ok(values) } else { Err(fault::nonsense(&self.at)) }
    }

    pub(super) async fn subscribe(&self, channels: &[&[u8]], deadline: Nanos) -> Result<(), Error> {
        let mut connection = self.connection.clone();
        let answer = within(deadline, connection.subscribe(channels)).await;
        self.judge(answer, &self.strikes)
    }

    pub(super) async fn unsubscribe(&self, channels: &[&[u8]], deadline: Nanos) -> Result<(), Error> {
        let mut connection = self.connection.clone();
        let answer = within(deadline, connection.unsubscribe(channels)).await;
        self.judge(answer, &self.strikes)
    }

    /// Whether an answer came, and what it says of the connection.
    fn judge<T>(&self, answer: Option<Result<T, redis::RedisError>>, strikes: &AtomicU32) -> Result<T, Error> {
        match answer {
            Some(Ok(answer)) => {
                if strikes.load(Ordering::Relaxed) != 0 {
                    strikes.store(0, Ordering::Relaxed);
                }
                Ok(answer)
            }
            Some(Err(error)) => {
                if error.is_unrecoverable_error() || error.is_io_error() {
                    self.kill();
                }
                Err(fault::broken(&self.at, &error))
            }
            None => {
                if strikes.fetch_add(1, Ordering::Relaxed) + 1 >= STRIKES {
                    self.kill();
                }
                Err(fault::late(&self.at))
            }
        }
    }

    /// Asks who answers. What the others who ask at the same time learn is what the first was told.
    pub(super) async fn ask(&self, deadline: Nanos) -> Result<Standing, Error> {
        let now = alive_now();
        let mut info = cmd("INFO");
        info.arg("server").arg("replication");
        let answers = self.exchange(vec![info, cmd("PING")], deadline, &self.unheard).await?;
        let [info, ping] = &answers[..] else { return Err(fault::nonsense(&self.at)) };
        if let Value::ServerError(error) = info {
            return Err(fault::refused(&self.at, error).into_error(&self.at));
        }
        let standing = Info::parse(text(info).unwrap_or_default()).standing(&self.at)?;
        if let Value::ServerError(error) = ping {
            let error = fault::refused(&self.at, error).into_error(&self.at);
            // A server that cannot save its data says so to a PING, and can still be read.
            if error.kind() != ErrorKind::ReadOnly {
                return Err(error);
            }
        }
        let before = self.identity.swap(u64::from_le_bytes(standing.identity), Ordering::AcqRel);
        if self.used_for == Use::Watch && before != 0 && before.to_le_bytes() != standing.identity {
            // What was read here, and may have been copied, was another server's. Whoever asks finds that out first.
            self.kill();
        }
        self.asked.store(now, Ordering::Release);
        self.known_until.store(after(now, TRUST), Ordering::Release);
        Ok(standing)
    }

    /// Asks who answers, unless somebody has just been told.
    pub(super) async fn ask_if_unknown(&self, deadline: Nanos) -> Result<Option<Standing>, Error> {
        if self.is_known(alive_now()) {
            return Ok(None);
        }
        let asked = async {
            let _one = self.asking.lock().await;
            if self.is_known(alive_now()) { Ok(None) } else { self.ask(deadline).await.map(Some) }
        };
        within(deadline, asked).await.unwrap_or_else(|| Err(fault::late(&self.at)))
    }
}

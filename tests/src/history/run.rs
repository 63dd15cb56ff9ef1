//! A random run: workers read and write all the time while a schedule of faults happens; then the history is checked.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::check::Coverage;
use super::dice::Dice;
use super::event::now;
use super::fleet::{Backend, Fleet};
use super::schedule::{Blow, Step, draw};
use crate::redis::Snapshot;

/// Tasks of each worker.
const TASKS: u64 = 6;

/// How often is looked whether a worker has died.
const TICK: Duration = Duration::from_millis(20);

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'p> {
    /// `env!("CARGO_BIN_EXE_history-worker")`
    pub program: &'p str,
    /// What is under test.
    pub backend: Backend,
    /// Where the schedule, and what the workers do, come from.
    pub seed: u64,
    /// How long the workers are at work.
    pub length: Duration,
    /// How many workers there are.
    pub workers: usize,
    /// Added to their environment.
    pub environment: &'p [(&'p str, &'p str)],
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Round {
    /// What the history contains, or why it breaks the promise.
    pub checked: Result<Coverage, String>,
    /// How many faults there were.
    pub faults: usize,
}

/// Runs it.
pub async fn random(plan: Plan<'_>) -> Round {
    let steps = draw(plan.seed, plan.length, plan.workers);
    let mut running = Running {
        fleet: Fleet::start(plan.program, plan.backend, plan.workers, plan.environment).await,
        dice: Dice::new(!plan.seed),
        server_stopped: false,
    };
    for place in 0..plan.workers {
        running.work(place).await;
    }
    running.play(&steps, plan.length).await;
    let history = running.fleet.finish().await;
    let checked = history.check().map_err(|found| {
        format!(
            "the history of seed {0} breaks the promise (CACHE_HISTORY_SEED={0}, {1:?})\n{2}",
            plan.seed,
            plan.backend,
            history.report(&found)
        )
    });
    Round { checked, faults: steps.len() }
}

struct Running {
    fleet: Fleet,
    dice: Dice,
    server_stopped: bool,
}

impl Running {
    /// Sets the process in a place to work. Every second one is to die in the middle of one of its writes.
    async fn work(&mut self, place: usize) {
        let dice = &mut self.dice;
        // Who writes hears of changes by that alone: some only read, and one always writes.
        let writes_once_in = if place == 0 { 5 } else { *dice.of(&[5, 20, 0]) };
        let nth = if dice.once_in(2) { dice.between(3, 60) } else { 0 };
        let with = json!({
            "seed": dice.roll(),
            "tasks": TASKS,
            "writes_once_in": writes_once_in,
            "die_in_write": nth,
            "die_after_commit": !dice.once_in(4),
        });
        self.fleet.worker(place).command("run", with).await;
    }

    async fn replace(&mut self, place: usize) {
        self.fleet.replace(place).await;
        self.work(place).await;
    }

    /// Lets the schedule happen.
    async fn play(&mut self, steps: &[Step], length: Duration) {
        let begin = now();
        let elapsed = || Duration::from_nanos(now() - begin);
        let mut due: Vec<(Duration, &Step, bool)> = Vec::new();
        for step in steps {
            due.extend([(step.at, step, true), ((step.at + step.span).min(length), step, false)]);
        }
        due.sort_by_key(|(at, ..)| *at);
        let mut due = due.into_iter().peekable();
        while elapsed() < length || due.peek().is_some() {
            while let Some((_, step, begins)) = due.next_if(|(at, ..)| *at <= elapsed()) {
                if begins {
                    self.begin(step).await;
                } else {
                    self.end(step.blow);
                }
            }
            for place in 0..self.fleet.len() {
                if self.fleet.worker(place).has_ended() {
                    self.replace(place).await;
                }
            }
            sleep(TICK).await;
        }
    }

    async fn begin(&mut self, step: &Step) {
        let from = now();
        match step.blow {
            Blow::Kill(place) => self.replace(place).await,
            Blow::Stop(place) => self.fleet.stop(place),
            Blow::Reset(place) => self.fleet.proxy(place).reset_all(),
            Blow::Refuse(place) => {
                self.fleet.proxy(place).refuse();
                self.fleet.proxy(place).reset_all();
            }
            Blow::HalfOpen(place) => self.fleet.proxy(place).half_open(),
            Blow::Mute(place) => self.fleet.proxy(place).drop_to_server(),
            Blow::Deafen(place) => self.fleet.proxy(place).drop_to_client(),
            Blow::Delay(place, ms) => self.fleet.proxy(place).delay(Duration::from_millis(ms)),
            Blow::StopServer => {
                self.fleet.server().stop_signal();
                self.server_stopped = true;
            }
            Blow::RestartOld => self.restart(Snapshot::Keep).await,
            Blow::RestartEmpty => self.restart(Snapshot::Discard).await,
            // Who is stopped does nothing.
            _ if self.server_stopped => return,
            Blow::Save => self.fleet.server().save_now().await,
            Blow::KillClients => {
                self.fleet.server().command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
            }
            Blow::Flush => {
                self.fleet.server().command(&["FLUSHALL"]).await;
            }
            // Done, and noted, when it is over.
            Blow::FailOver => return self.fleet.promote().await,
            Blow::Pressure => self.fill().await,
            Blow::Evict(count) => self.evict(count).await,
        }
        let lasts = matches!(
            step.blow,
            Blow::Stop(_)
                | Blow::Refuse(_)
                | Blow::HalfOpen(_)
                | Blow::Mute(_)
                | Blow::Deafen(_)
                | Blow::Delay(..)
                | Blow::StopServer
        );
        let span = if lasts { format!(" for {} ms", step.span.as_millis()) } else { String::new() };
        self.fleet.note(format!("{:?}{span}", step.blow), from, step.blow.loses());
    }

    fn end(&mut self, blow: Blow) {
        match blow {
            Blow::Stop(place) => self.fleet.cont(place),
            Blow::Refuse(place)
            | Blow::HalfOpen(place)
            | Blow::Mute(place)
            | Blow::Deafen(place)
            | Blow::Delay(place, _) => self.fleet.proxy(place).heal(),
            Blow::StopServer => {
                self.fleet.server().cont_signal();
                self.server_stopped = false;
            }
            Blow::FailOver if self.fleet.fail_over(now()) => self.server_stopped = false,
            _ => {}
        }
    }

    async fn restart(&mut self, snapshot: Snapshot) {
        self.fleet.server().restart(snapshot).await;
        self.server_stopped = false;
    }

    /// More than the server may hold for a moment: it evicts what was not used lately.
    async fn fill(&mut self) {
        let server = self.fleet.server();
        let used: u64 = server.info("used_memory").await.parse().expect("a number");
        server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
        server.command(&["CONFIG", "SET", "maxmemory", &(used + 200_000).to_string()]).await;
        let junk = "x".repeat(10_000);
        for number in 0..60 {
            let _: redis::RedisResult<()> =
                server.try_query(&["SET", &format!("junk:{number}"), &junk, "PX", "300"]).await;
        }
        server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    }

    /// Drops keys at random.
    async fn evict(&mut self, count: u64) {
        let server = self.fleet.server();
        let mut keys: Vec<Vec<u8>> = server.query(&["KEYS", "*"]).await;
        keys.sort_unstable();
        for _ in 0..count.min(keys.len() as u64) {
            let key = self.dice.of(&keys).clone();
            server.command(&[b"DEL".to_vec(), key]).await;
        }
    }
}

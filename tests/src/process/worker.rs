//! The test's side of a worker: start it, give it commands, stop it, kill it.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::guard::stop;

/// No command of a test takes this long.
const LIMIT: Duration = Duration::from_secs(60);

/// Another process that runs commands of ours. It is killed and awaited when this is dropped, and ends by itself when the
/// test process dies: its stdin ends, and if it was stopped, the system continues and hangs up its group.
///
/// It belongs to the runtime in which it was started.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts `program`, which an integration test knows as `env!("CARGO_BIN_EXE_cache-worker")`, and waits until it answers.
    pub async fn start(program: impl AsRef<Path>) -> Self {
        Self::start_with(program, [] as [(&str, &str); 0]).await
    }

    /// As [`start`](Self::start), with more in its environment.
    ///
    /// # Panics
    ///
    /// It cannot be started, or does not answer.
    pub async fn start_with<K, V>(program: impl AsRef<Path>, environment: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let program = program.as_ref();
        let mut child = Command::new(program)
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let input = child.stdin.take().and_then(|pipe| ChildStdin::from_std(pipe).ok());
        let output = child.stdout.take().and_then(|pipe| ChildStdout::from_std(pipe).ok());
        let (Some(input), Some(output)) = (input, output) else { panic!("the pipes of a worker belong to a runtime") };
        let mut worker = Self { child, input, output: BufReader::new(output).lines() };
        worker.command("ping", Value::Null).await;
        worker
    }

    /// Runs a command and returns its answer.
    ///
    /// # Panics
    ///
    /// The answer is an error, the worker is gone, or nothing comes within a minute.
    pub async fn command(&mut self, name: &str, with: Value) -> Value {
        self.try_command(name, with).await.unwrap_or_else(|error| panic!("worker: {name}: {error}"))
    }

    /// As [`command`](Self::command), for answers that may be errors.
    ///
    /// # Errors
    ///
    /// What the command answered.
    pub async fn try_command(&mut self, name: &str, with: Value) -> Result<Value, String> {
        self.send(name, with).await;
        self.answer().await
    }

    /// Sends a command whose answer is fetched later, with [`answer`](Self::answer). Commands run one after another.
    ///
    /// # Panics
    ///
    /// The worker is gone.
    pub async fn send(&mut self, name: &str, with: Value) {
        let line = format!("{}\n", json!({ "do": name, "with": with }));
        let sent = timeout(LIMIT, self.input.write_all(line.as_bytes())).await;
        assert!(matches!(sent, Ok(Ok(()))), "worker: {name}: it takes no commands");
    }

    /// Awaits the answer to the oldest command that was sent and not answered yet.
    ///
    /// # Errors
    ///
    /// What the command answered.
    ///
    /// # Panics
    ///
    /// The worker is gone, said something else, or nothing within a minute.
    pub async fn answer(&mut self) -> Result<Value, String> {
        let line = match timeout(LIMIT, self.output.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(_) => panic!("the worker has ended"),
            Err(_) => panic!("the worker did not answer within {LIMIT:?}"),
        };
        let mut answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("the worker printed a line that is no answer: {line}"));
        match answer.get_mut("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself, or was killed by somebody else.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end and awaits that.
    pub async fn exit(mut self) {
        self.command("exit", Value::Null).await;
        assert!(self.child.wait().is_ok_and(|status| status.success()), "the worker ended badly");
    }

    /// `SIGKILL`, and awaits the end: nothing of it runs when this returns.
    ///
    /// # Panics
    ///
    /// The system does not let us.
    pub fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a worker can be killed");
    }

    /// `SIGSTOP`: it keeps its connections and does nothing. Returns when it has stopped.
    pub fn stop_signal(&mut self) {
        stop(self.id());
    }

    /// `SIGCONT`.
    ///
    /// # Panics
    ///
    /// It has ended.
    pub fn cont_signal(&mut self) {
        kill_process(self.id(), Signal::CONT).expect("a running worker can be continued");
    }

    fn id(&mut self) -> Pid {
        // Once a child was awaited its pid can be somebody else's.
        assert!(matches!(self.child.try_wait(), Ok(None)), "the worker has ended");
        Pid::from_child(&self.child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Several processes that share one cache on a Redis server and one SQLite database:
//!
//! 1. A key that nobody has loaded is asked for by all tasks of all processes at once. The function runs once.
//! 2. All read and write the same prices. No read that begins after a write returned, in whatever process, sees what was
//!    there before it.
//!
//! ```sh
//! cargo run -p fleet -- --url redis://localhost:6379
//! ```
//!
//! - `prices.rs`: the annotated functions. Begin there.
//! - `db.rs`: the database that all processes open.
//! - `worker.rs`: what one process does.

mod db;
mod prices;
mod worker;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use clap::Parser;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use db::Db;

/// Starts several processes that share one cache, and shows one load for a cold key and no stale read
#[derive(Parser)]
#[command(
    name = "fleet",
    after_help = "Exit code: 0 one load and no stale read; 1 otherwise; 2 an option cannot be used."
)]
struct Options {
    /// The cache that all share
    #[arg(long, default_value = "redis://localhost:6379")]
    url: String,
    /// Processes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: u64,
    /// Tasks in each of them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    tasks: u64,
    /// How long they read and write, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Started by the program itself: be one of the processes, on this database
    #[arg(long, hide = true)]
    worker: Option<PathBuf>,
    /// Started by the program itself: the version of the cache that this fleet uses
    #[arg(long, hide = true, default_value = "")]
    version: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.worker {
        Some(file) => worker::run(&options, file).await.map(|()| true),
        None => lead(&options).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn lead(options: &Options) -> Result<bool, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("fleet.db");
    Db::create(&file)?;
    // A server may still have the entries of another run, which had another database.
    let version = format!("run-{:016x}", fastrand::u64(..));
    println!("{} processes with {} tasks each, on {}", options.workers, options.tasks, shown(&options.url));
    let mut workers = Vec::new();
    for _ in 0..options.workers {
        workers.push(Worker::start(options, &file, &version).await?);
    }

    let loads = sum(tell_all(&mut workers, "cold").await?, 0);
    println!(
        "\none cold key, asked for by {} tasks at once: the function ran {loads} ×",
        options.workers * options.tasks
    );

    println!("\nreading and writing {} prices for {} s ..", db::PRICES, options.seconds);
    let answers = tell_all(&mut workers, "trade").await?;
    let count = |field| sum(answers.clone(), field);
    let (reads, hits, writes, stale) = (count(0), count(1), count(2), count(3));
    println!("{reads} reads ({hits} from the cache), {writes} writes, {stale} stale reads");
    for worker in workers {
        worker.end().await?;
    }
    Ok(loads == 1 && stale == 0)
}

/// Without what is before the `@`: a password.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

fn sum(answers: Vec<Vec<u64>>, field: usize) -> u64 {
    answers.iter().filter_map(|answer| answer.get(field)).sum()
}

/// All are told before the first answer is awaited, so that they work at the same time.
async fn tell_all(workers: &mut [Worker], what: &str) -> Result<Vec<Vec<u64>>, Box<dyn Error>> {
    for worker in &mut *workers {
        worker.tell(what).await?;
    }
    let mut answers = Vec::new();
    for worker in workers {
        answers.push(worker.answer().await?);
    }
    Ok(answers)
}

/// Another process of this program.
struct Worker {
    process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    async fn start(options: &Options, file: &Path, version: &str) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--url", &options.url, "--version", version]).arg("--worker").arg(file);
        command.args(["--tasks", &options.tasks.to_string(), "--seconds", &options.seconds.to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else { return Err("a worker has no pipes".into()) };
        let mut worker = Self { process, stdin, stdout: BufReader::new(stdout).lines() };
        worker.answer().await?;
        Ok(worker)
    }

    async fn tell(&mut self, what: &str) -> Result<(), Box<dyn Error>> {
        Ok(self.stdin.write_all(format!("{what}\n").as_bytes()).await?)
    }

    async fn answer(&mut self) -> Result<Vec<u64>, Box<dyn Error>> {
        let line = self.stdout.next_line().await?.ok_or("a worker ended too early")?;
        Ok(line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }

    async fn end(mut self) -> Result<(), Box<dyn Error>> {
        drop(self.stdin);
        self.process.wait().await?;
        Ok(())
    }
}

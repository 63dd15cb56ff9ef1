//! The machinery that other tests stand on does what it says: servers, clusters, sentinels, the proxy, and workers.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use cache_tests::eventually;
use cache_tests::process::Worker;
use cache_tests::redis::{Cluster, Corrupt, Proxy, Sentinel, Server, Snapshot};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, RedisResult, TlsCertificates, Value, cmd};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

const WORKER: &str = env!("CARGO_BIN_EXE_cache-worker");

/// Nothing that works takes this long.
const LONG: Duration = Duration::from_secs(20);

/// What does not come within this does not come.
const SHORT: Duration = Duration::from_millis(300);

async fn connect_to(client: Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(LONG)).set_connection_timeout(Some(LONG));
    client.get_multiplexed_async_connection_with_config(&config).await
}

async fn connect(url: impl IntoConnectionInfo) -> RedisResult<MultiplexedConnection> {
    connect_to(Client::open(url)?).await
}

async fn run(connection: &mut MultiplexedConnection, line: &str) -> RedisResult<Value> {
    let mut words = line.split(' ');
    let mut command = cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query_async(connection).await
}

/// How many processes of a group run. What ended and was not awaited by its new parent yet (`Z`) does not.
fn running_in(group: u32) -> usize {
    let listed: Vec<String> = match fs::read_dir("/proc") {
        // `pid (name) state parent group ..`, and a name can hold anything.
        Ok(processes) => processes
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok())
            .filter_map(|stat| stat.rsplit(") ").next().map(str::to_owned))
            .collect(),
        // Where there is no `/proc` there is `ps`.
        Err(_) => {
            let listed = Command::new("ps").args(["-A", "-o", "stat=,ppid=,pgid="]).output().unwrap().stdout;
            String::from_utf8_lossy(&listed).lines().map(str::to_owned).collect()
        }
    };
    let runs = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        !words[0].starts_with(['Z', 'X']) && words[2] == group.to_string()
    };
    listed.iter().filter(|line| runs(line)).count()
}

/// Of a process that a worker started: each leads a group of its own.
fn group_of(started: &Json) -> u32 {
    u32::try_from(started["pid"].as_u64().unwrap()).unwrap()
}

async fn nothing_runs_in(group: u32) {
    eventually("nothing of the group runs", LONG, async || running_in(group) == 0).await;
}

mod cluster;
mod proxy;
mod sentinel;
mod server;
mod worker;

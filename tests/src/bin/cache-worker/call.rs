//! Commands that call annotated functions, on a cache that `open` opened. What their bodies do is seen from outside: each
//! load counts itself on the server, under a name that is not the cache's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, cache_read, cache_write};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// A cache, and a connection past it.
#[derive(Clone)]
pub(crate) struct Held {
    cache: Cache,
    server: MultiplexedConnection,
    /// Where loads are counted.
    counter: Arc<str>,
}

/// How a body spends its time.
#[derive(Clone, Copy)]
struct Body {
    ms: u64,
}

impl Held {
    /// Counts the load, waits, and returns which one it was.
    async fn load(&self, id: u64, body: Body) -> u64 {
        let number = self.server.clone().incr(format!("{}:{id}", self.counter), 1).await;
        sleep(Duration::from_millis(body.ms)).await;
        number.expect("the server counts")
    }
}

#[cache_read(key = "slow:<id>", cache = at.cache, tags = ["slow:<id>"], lock = true, skip(at, body))]
async fn locked(at: &Held, id: u64, body: Body) -> u64 {
    at.load(id, body).await
}

#[cache_read(key = "slow:<id>", cache = at.cache, tags = ["slow:<id>"], lock = true, lock_ttl = "1s", skip(at, body))]
async fn short(at: &Held, id: u64, body: Body) -> u64 {
    at.load(id, body).await
}

#[cache_read(key = "slow:<id>", cache = at.cache, tags = ["slow:<id>"], skip(at, body))]
async fn unlocked(at: &Held, id: u64, body: Body) -> u64 {
    at.load(id, body).await
}

#[cache_write(cache = at.cache, tags = ["slow:<id>"])]
async fn changed(at: &Held, id: u64) {
    let _ = (at, id);
}

fn number(with: &Value, name: &str) -> u64 {
    with[name].as_u64().unwrap_or_default()
}

fn text<'w>(with: &'w Value, name: &str) -> Result<&'w str, String> {
    with[name].as_str().ok_or_else(|| format!("`{name}` is missing"))
}

/// `url`, `prefix`, `counter`, and `lease_ms` for how long copies in memory may be served unheard of
pub(crate) async fn open(with: &Value) -> Result<Held, String> {
    let (url, prefix) = (text(with, "url")?, text(with, "prefix")?);
    let patience = Duration::from_secs(20);
    let cache = Cache::builder().ignore_env().url(url).prefix(prefix);
    let cache = cache.connect_timeout(patience).response_timeout(patience);
    let cache = match with["lease_ms"].as_u64() {
        Some(lease) => cache.l1_lease(Duration::from_millis(lease)).build().await,
        None => cache.build().await,
    };
    let client = redis::Client::open(url.strip_prefix("hybrid+").unwrap_or(url)).map_err(|error| error.to_string())?;
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(patience));
    let server = client.get_multiplexed_async_connection_with_config(&config).await;
    Ok(Held {
        cache: cache.map_err(|error| error.to_string())?,
        server: server.map_err(|error| error.to_string())?,
        counter: text(with, "counter")?.into(),
    })
}

#[allow(clippy::disallowed_methods, reason = "what is measured is what the machine does")]
fn now() -> Instant {
    Instant::now()
}

/// `function`, `id`, `callers`, `body_ms`. Answers how many callers got which load's value, and after how long the last did.
pub(crate) async fn call(held: &Held, with: &Value) -> Result<Value, String> {
    let (id, body) = (number(with, "id"), Body { ms: number(with, "body_ms") });
    let function = text(with, "function")?.to_owned();
    let began = now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..number(with, "callers").max(1) {
        let (at, function) = (held.clone(), function.clone());
        callers.spawn(async move {
            match function.as_str() {
                "locked" => locked(&at, id, body).await,
                "short" => short(&at, id, body).await,
                _ => unlocked(&at, id, body).await,
            }
        });
    }
    let mut got: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(value) = callers.join_next().await {
        *got.entry(value.map_err(|error| error.to_string())?.to_string()).or_default() += 1;
    }
    Ok(json!({ "got": got, "ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) }))
}

/// `id`. Invalidates it.
pub(crate) async fn write(held: &Held, with: &Value) -> Result<Value, String> {
    changed(held, number(with, "id")).await;
    Ok(Value::Null)
}

//! A3, D10, N8: `early_ttl`, `stale`, `stale_if_error`, `soft_timeout`, `timeout`: how old a value may be, and what is returned
//! when the source is slow or fails. The same cases in memory, on Redis and in a hybrid cache.
//!
//! | file | what |
//! |---|---|
//! | `old` | what is served when, by age |
//! | `slow` | what a slow source costs |
//! | `shape` | every kind of function can have these options |
//! | `combination`, `plan` | every combination of options, in every state, with every kind of source |
//! | `mix`, `mix_plan` | the same for calls of batch functions whose elements are of every age |
//! | `verdict` | what became of generated cases, and whether that says enough |
//! | `batch`, `batch_form` | batch functions, whose elements have an age each |
//! | `clocks` | machines whose clocks differ |
//! | `joined` | what else such a function may have, and the verbs |
//! | `landed` | callers who were about to refresh what another one has refreshed |
//! | `dropped` | calls that are given up |
//! | `monitor` | answers that are compared with the source |

#[path = "../fleet/mod.rs"]
mod fleet;

mod batch;
mod batch_form;
mod clocks;
mod combination;
mod dropped;
mod joined;
mod landed;
mod mix;
mod mix_plan;
mod monitor;
mod old;
mod plan;
mod shape;
mod slow;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_runtime::Cache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// What the source of these tests says where it fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Broken {
    Source,
    Cache(#[serde(skip, default = "timeout")] cache_runtime::ErrorKind),
}

/// Errors of the cache are never kept.
fn timeout() -> cache_runtime::ErrorKind {
    cache_runtime::ErrorKind::Timeout
}

impl From<cache_runtime::Error> for Broken {
    fn from(error: cache_runtime::Error) -> Self {
        Self::Cache(error.kind())
    }
}

/// A number that grows with every load, from a source that may be slow or broken.
#[derive(Clone, Debug, Default)]
struct Source(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    value: AtomicU64,
    loads: AtomicU64,
    delay_ms: AtomicU64,
    broken: AtomicBool,
    absent: AtomicBool,
    began: Mutex<Option<Instant>>,
    ended: Mutex<Option<Instant>>,
}

impl Source {
    async fn load(&self) -> Result<u64, Broken> {
        self.0.loads.fetch_add(1, SeqCst);
        let value = self.0.value.load(SeqCst);
        sleep(Duration::from_millis(self.0.delay_ms.load(SeqCst))).await;
        if self.0.broken.load(SeqCst) { Err(Broken::Source) } else { Ok(value) }
    }

    /// [`load`](Self::load) as [`answer`](Self::answer) said.
    async fn answered(&self) -> Result<Option<u64>, Broken> {
        *self.0.began.lock() = Some(fleet::now());
        let loaded = self.load().await;
        *self.0.ended.lock() = Some(fleet::now());
        loaded.map(|value| (!self.0.absent.load(SeqCst)).then_some(value))
    }

    fn answer(&self, answer: plan::Answer) {
        self.breaks(answer == plan::Answer::Fails);
        self.0.absent.store(answer == plan::Answer::Absent, SeqCst);
        self.slow(answer.delay());
    }

    /// When its last load began, and when the last one ended.
    fn times(&self) -> (Option<Instant>, Option<Instant>) {
        (*self.0.began.lock(), *self.0.ended.lock())
    }

    fn set(&self, value: u64) {
        self.0.value.store(value, SeqCst);
    }

    fn loads(&self) -> u64 {
        self.0.loads.load(SeqCst)
    }

    fn slow(&self, ms: u64) {
        self.0.delay_ms.store(ms, SeqCst);
    }

    fn breaks(&self, broken: bool) {
        self.0.broken.store(broken, SeqCst);
    }
}

/// Where a case runs: a cache, and another one on the same entries where there can be one.
struct On {
    cache: Cache,
    source: Source,
    url: String,
    prefix: String,
}

impl On {
    async fn new(kind: &str) -> Self {
        let url = match kind {
            "memory" => "mem://".to_owned(),
            "redis" => fleet::server().await.url(),
            _ => format!("hybrid+{}", fleet::server().await.url()),
        };
        let prefix = fleet::prefix();
        let cache = fleet::builder(&url, &prefix).build().await.unwrap();
        Self { cache, source: Source::default(), url, prefix }
    }

    /// Another process, or the same cache in memory.
    async fn other(&self) -> Cache {
        if self.url == "mem://" {
            self.cache.clone()
        } else {
            fleet::builder(&self.url, &self.prefix).build().await.unwrap()
        }
    }
}

async fn ms(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// Makes a test for each backend of each case.
macro_rules! everywhere {
    ($($(#[$doc:meta])* async fn $name:ident($on:ident: &On) $body:block)*) => {
        $(async fn $name($on: &crate::On) $body)*
        everywhere! { @on memory: $($(#[$doc])* $name)* }
        everywhere! { @on redis: $($(#[$doc])* $name)* }
        everywhere! { @on hybrid: $($(#[$doc])* $name)* }
    };
    (@on $module:ident: $($(#[$doc:meta])* $name:ident)*) => {
        mod $module {
            $($(#[$doc])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let on = crate::On::new(stringify!($module)).await;
                super::$name(&on).await;
            })*
        }
    };
}
use everywhere;

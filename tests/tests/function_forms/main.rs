//! Every form of function that an attribute can stand on, as a program that runs: what is cached, what the verbs reach,
//! and that the function keeps its signature.
#![deny(warnings)]
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a test program")]
#![allow(
    clippy::multiple_bound_locations,
    clippy::needless_lifetimes,
    clippy::needless_question_mark,
    clippy::let_and_return,
    clippy::erasing_op,
    clippy::ptr_arg,
    reason = "forms that users write"
)]
#![forbid(unsafe_code)]

mod background;
mod batch;
mod corners;
mod example;
mod failing;
mod functions;
mod hygiene;
mod methods;
mod options;
mod owned;
mod references;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cache_runtime::{cache_read, cache_write, key, memoize, resource};

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct User {
    pub id: u64,
    pub org_id: u64,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DbError(&'static str);

#[derive(Default)]
pub struct Db {
    queries: AtomicU64,
    names: parking_lot::Mutex<std::collections::HashMap<u64, String>>,
}

impl Db {
    async fn user(&self, id: u64) -> Result<User, DbError> {
        self.queries.fetch_add(1, Relaxed);
        tokio::task::yield_now().await;
        if id == 0 {
            return Err(DbError("no user"));
        }
        let name = self.names.lock().get(&id).cloned().unwrap_or_else(|| format!("user {id}"));
        Ok(User { id, org_id: id / 10, name })
    }

    fn queries(&self) -> u64 {
        self.queries.load(Relaxed)
    }
}

/// Counts what reaches the source.
#[derive(Default)]
struct Source(AtomicU64);

impl Source {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Relaxed) + 1
    }
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

async fn in_test_cache<F: Future>(work: F) -> F::Output {
    cache_runtime::Cache::for_test().scope(work).await
}

//! What a hit and a key allocate: counted, since counts do not drift as times do. P10, DESIGN §5.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use cache_runtime::{Cache, cache_read, memoize};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    roles: Vec<u32>,
}

fn user(id: u64) -> User {
    User { id, name: "Grace Hopper".to_owned(), roles: vec![1, 2, 3] }
}

#[cache_read(key = "user:<id>", ttl = "5m", tags = ["user:<id>", "org:<org>"], cache = cache, skip(cache, org))]
async fn shared(cache: &Cache, id: u64, org: u64) -> Arc<User> {
    let _ = (cache, org);
    Arc::new(user(id))
}

#[cache_read(key = "by_value:<id>", ttl = "5m", tags = ["user:<id>", "org:<result.id>"], cache = cache, skip(cache))]
async fn by_value(cache: &Cache, id: u64) -> Result<User, std::fmt::Error> {
    let _ = cache;
    Ok(user(id))
}

#[cache_read(key = "text:<a>:<b>", ttl = "5m", cache = cache, skip(cache))]
async fn by_text(cache: &Cache, a: &str, b: &str) -> Arc<User> {
    let _ = (cache, a, b);
    Arc::new(user(1))
}

#[cache_read(key = "scoped:<id>", ttl = "5m")]
async fn scoped(id: u64) -> Arc<User> {
    Arc::new(user(id))
}

#[memoize(ttl = "5m", cache = cache, skip(cache))]
fn memoized(cache: &Cache, id: u64) -> Arc<User> {
    let _ = cache;
    Arc::new(user(id))
}

/// A hit is ready at its first poll.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a hit does not wait"),
    }
}

/// What a future is at its first poll.
async fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Allocations of the second, third and hundredth run.
fn per_hit(run: impl Fn()) -> u64 {
    for _ in 0..100 {
        run();
    }
    let total = measure(|| (0..100).for_each(|_| run())).count_total;
    assert_eq!(total % 100, 0, "{total} allocations in 100 hits");
    total / 100
}

fn engines() -> [(Cache, &'static str); 2] {
    [cache_runtime::Engine::QuickCache, cache_runtime::Engine::Moka].map(|engine| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        (runtime.block_on(Cache::builder().ignore_env().engine(engine).build()).unwrap(), "engine")
    })
}

fn default_engine() -> Cache {
    Cache::memory()
}

/// P10: an `Arc<T>`, string template with a `u64`, ttl, two tags.
#[test]
fn a_hit_of_a_shared_value_allocates_nothing() {
    let cache = default_engine();
    assert_eq!(per_hit(|| drop(at_once(shared(&cache, 42, 7)))), 0);
}

/// P10, E1: a copy in memory of what is on Redis costs no more.
#[test]
fn a_hit_in_memory_of_a_hybrid_cache_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (cache, server) = runtime.block_on(async {
        let server = cache_tests::redis::Server::start().await;
        let url = format!("hybrid+{}", server.url());
        let long = std::time::Duration::from_secs(60);
        let cache = Cache::builder().ignore_env().url(url).response_timeout(long).l1_lease(long).build().await.unwrap();
        // Loaded, and copied when it is read again.
        while poll_once(shared(&cache, 42, 7)).await.is_pending() {
            shared(&cache, 42, 7).await;
        }
        (cache, server)
    });
    assert_eq!(per_hit(|| drop(at_once(shared(&cache, 42, 7)))), 0);
    drop(server);
}

/// P10: the same on moka, whose buffers are its own.
#[test]
fn a_hit_on_moka_allocates_no_more_than_its_own_buffers() {
    for (cache, _) in engines() {
        at_once(shared(&cache, 42, 7));
        let total = measure(|| (0..1_000).for_each(|_| drop(at_once(shared(&cache, 42, 7))))).count_total;
        assert!(total <= 100, "{total} allocations in 1 000 hits");
    }
}

/// P10: by value it is the clone and nothing else, here a `String` and a `Vec`.
#[test]
fn a_hit_by_value_allocates_what_the_clone_does() {
    let cache = default_engine();
    let clone = user(42);
    let of_clone = measure(|| drop(clone.clone())).count_total;
    assert_eq!(of_clone, 2);
    assert_eq!(per_hit(|| drop(at_once(by_value(&cache, 42)))), of_clone);
}

/// P10: keys of up to 120 bytes are built on the stack.
#[test]
fn a_key_of_up_to_120_bytes_allocates_nothing() {
    let cache = default_engine();
    for len in [1, 10, 50, 54] {
        let part = "x".repeat(len);
        assert_eq!(per_hit(|| drop(at_once(by_text(&cache, &part, &part)))), 0, "two parts of {len} bytes");
    }
    // Escaping does not, either.
    assert_eq!(per_hit(|| drop(at_once(by_text(&cache, "a:b%c*d", "[x]{y}\\z\n")))), 0);
}

/// P10: the global cache and a scope.
#[test]
fn a_hit_in_a_scope_or_on_the_global_cache_allocates_nothing() {
    assert_eq!(per_hit(|| drop(at_once(scoped(1)))), 0, "global");
    let cache = default_engine();
    cache.scope_blocking(|| assert_eq!(per_hit(|| drop(at_once(scoped(1)))), 0, "scoped"));
}

/// P10: a memoized function.
#[test]
fn a_hit_of_a_memoized_function_allocates_nothing() {
    let cache = default_engine();
    assert_eq!(per_hit(|| drop(memoized(&cache, 1))), 0);
}

/// P10: inside a tenant.
#[test]
fn a_hit_inside_a_tenant_allocates_nothing() {
    let cache = default_engine();
    let tenant = cache_runtime::Tenant::new("org-123").unwrap();
    tenant.scope_blocking(|| assert_eq!(per_hit(|| drop(at_once(shared(&cache, 42, 7)))), 0));
}

/// P10: sliding expiry and counting hits, too.
#[test]
fn a_hit_with_sliding_expiry_allocates_nothing() {
    #[cache_read(key = "sliding:<id>", ttl = "5m", refresh = true, cache = cache, skip(cache))]
    async fn sliding(cache: &Cache, id: u64) -> Arc<User> {
        let _ = cache;
        Arc::new(user(id))
    }
    let cache = default_engine();
    assert_eq!(per_hit(|| drop(at_once(sliding(&cache, 42)))), 0);
}

/// P7: a miss that is joined or led allocates a bounded number of times: no leak per call shows as growth.
#[test]
fn loading_ever_new_keys_does_not_grow_the_heap_without_bound() {
    #[memoize(key = "n:<id>", capacity = 64, tags = ["t:<id>"], cache = cache, skip(cache))]
    fn number(cache: &Cache, id: u64) -> u64 {
        let _ = cache;
        id
    }
    let cache = default_engine();
    (0..20_000).for_each(|id| _ = number(&cache, id));
    let grown = measure(|| (20_000..40_000).for_each(|id| _ = number(&cache, id))).bytes_current;
    assert!(grown.abs() < 256 * 1024, "{grown} bytes more after 20 000 further keys");
}

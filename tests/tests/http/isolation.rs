//! C5: nothing crosses between tenants. Every tenant does what it does in turns with all others, and sees to the letter what it
//! sees when it is alone: values, what is loaded again and what is not, keys, responses, counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use cache_runtime::http::{CacheLayer, TenantLayer};
use cache_runtime::{Cache, Tenant, cache_read, cache_write, memoize};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use tower_service::Service as _;

/// Names that could run into one another, or into keys.
const TENANTS: [&str; 4] = ["a", "a-b", "A", "tenant-a"];

/// Ids that could be taken for something else.
const IDS: [&str; 5] = ["1", "*", "tenant-a:item:1", "a", "%2A"];

/// What one tenant does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Read(usize),
    Computed(usize),
    Memoized(usize),
    Write(usize),
    Response(usize),
    Change(usize),
    Set(usize),
    Get(usize),
    Count,
    Peek(usize),
    Tag(usize),
    Key(usize),
    Pattern(usize),
    Namespace,
    Function,
    Keys,
    Clear,
}

fn act() -> impl Strategy<Value = Act> {
    let id = 0..IDS.len();
    prop_oneof![
        6 => id.clone().prop_map(Act::Read),
        3 => id.clone().prop_map(Act::Computed),
        2 => id.clone().prop_map(Act::Memoized),
        2 => id.clone().prop_map(Act::Write),
        6 => id.clone().prop_map(Act::Response),
        1 => id.clone().prop_map(Act::Change),
        1 => id.clone().prop_map(Act::Set),
        2 => id.clone().prop_map(Act::Get),
        1 => Just(Act::Count),
        2 => id.clone().prop_map(Act::Peek),
        1 => id.clone().prop_map(Act::Tag),
        1 => id.clone().prop_map(Act::Key),
        1 => id.prop_map(Act::Pattern),
        1 => Just(Act::Namespace),
        1 => Just(Act::Function),
        1 => Just(Act::Keys),
        1 => Just(Act::Clear),
    ]
}

/// How often each tenant's source was asked. A value says whose it is and how many there were before it.
type Source = Arc<Mutex<BTreeMap<String, u64>>>;

fn load(source: &Source, what: &str) -> String {
    let tenant = Tenant::current().map_or("nobody".to_owned(), |tenant| tenant.to_string());
    let mut counts = source.lock();
    let count = counts.entry(tenant.clone()).or_default();
    *count += 1;
    format!("{what} of {tenant}, load {count}")
}

#[cache_read(key = "item:<id>", tags = ["item:<id>", "items"], skip(source))]
async fn item(source: &Source, id: &str) -> String {
    tokio::task::yield_now().await;
    load(source, id)
}

#[cache_read(key = "report:<id>", namespace = "reports", tags = ["items"], skip(source))]
async fn report(source: &Source, id: &str) -> String {
    tokio::task::yield_now().await;
    load(source, id)
}

#[memoize(skip(source))]
async fn parsed(source: &Source, id: &str) -> String {
    tokio::task::yield_now().await;
    load(source, id)
}

#[cache_write(tags = ["item:<id>"], recache = [item(source, id)])]
async fn rename(source: &Source, id: &str) -> Result<(), ()> {
    let _ = source;
    tokio::task::yield_now().await;
    Ok(())
}

fn app(source: &Source, name: &str) -> Router {
    let source = Arc::clone(source);
    let handler = move |request: Request| {
        let source = Arc::clone(&source);
        async move { load(&source, request.uri().path()) }
    };
    let layer = CacheLayer::new().name(name).tags(|parts: &http::request::Parts| {
        let id = parts.uri.path().trim_start_matches('/').to_owned();
        vec![format!("page:{id}"), "items".to_owned()]
    });
    Router::new().fallback(get(handler).post(async || "changed")).layer(layer).layer(TenantLayer::header("x-tenant"))
}

async fn respond(app: &Router, tenant: &str, method: &str, id: usize) -> String {
    // A path that a request can have.
    let path = format!("/{}", IDS[id].replace('%', "%25"));
    let request = Request::builder().method(method).uri(path).header("x-tenant", tenant);
    let response = app.clone().call(request.body(Body::empty()).expect("a request")).await.expect("a response");
    let status = response.headers().get("cache-status").map_or("", |value| value.to_str().expect("text"));
    let hit = status.contains("; hit");
    let body = axum::body::to_bytes(Body::new(response.into_body()), 1 << 16).await.expect("a body");
    format!("{} {hit}", String::from_utf8_lossy(&body))
}

/// What a tenant sees of one act.
async fn perform(cache: &Cache, source: &Source, app: &Router, tenant: &str, act: Act) -> String {
    let error = |error: cache_runtime::Error| format!("{error}");
    match act {
        Act::Read(id) => item(source, IDS[id]).await,
        Act::Computed(id) => report(source, IDS[id]).await,
        Act::Memoized(id) => parsed(source, IDS[id]).await,
        Act::Write(id) => format!("{:?}", rename(source, IDS[id]).await),
        Act::Response(id) => respond(app, tenant, "GET", id).await,
        Act::Change(id) => respond(app, tenant, "POST", id).await,
        Act::Set(id) => {
            format!("{:?}", cache.set(IDS[id], format!("{tenant} {id}")).tags(["items"]).await.map_err(error))
        }
        Act::Get(id) => format!("{:?}", cache.get::<String>(IDS[id]).await.map_err(error)),
        Act::Count => format!("{:?}", cache.incr("count", 1).await.map_err(error)),
        Act::Peek(id) => format!("{:?}", item::peek(IDS[id]).await.map_err(error)),
        Act::Tag(0) => format!("{:?}", cache.invalidate("items").await.map_err(error)),
        Act::Tag(id) => format!("{:?}", cache.invalidate(format!("page:{}", IDS[id])).await.map_err(error)),
        Act::Key(id) => format!("{:?}", item::invalidate(IDS[id]).await.map_err(error)),
        Act::Pattern(0) => format!("{:?}", cache.delete_match("*").await.map_err(error)),
        Act::Pattern(1) => format!("{:?}", cache.delete_match("item:*").await.map_err(error)),
        Act::Pattern(2) => format!("{:?}", cache.delete_match("http:*").await.map_err(error)),
        Act::Pattern(_) => format!("{:?}", cache.delete_match("tenant-*").await.map_err(error)),
        Act::Namespace => format!("{:?}", cache.invalidate_namespace("reports").await.map_err(error)),
        Act::Function => format!("{:?}", item::clear().await.map_err(error)),
        Act::Keys => {
            let mut keys = cache.keys("*").collect::<Vec<_>>().await.expect("keys");
            keys.sort();
            format!("{keys:?}")
        }
        Act::Clear => format!("{:?}", cache.clear().await.map_err(error)),
    }
}

/// What a cache counted, as far as it does not depend on who came first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    hits: u64,
    misses: u64,
    loads: u64,
    refused: u64,
    degraded: u64,
}

impl Counted {
    fn of(cache: &Cache) -> Self {
        let stats = cache.stats();
        Self {
            hits: stats.hits,
            misses: stats.misses,
            loads: stats.loads,
            refused: stats.refused,
            degraded: stats.degraded,
        }
    }

    fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.loads += other.loads;
        self.refused += other.refused;
        self.degraded += other.degraded;
    }
}

/// What every tenant saw, where these run in turns.
async fn run(cache: &Cache, acts: &[(usize, Act)], tenants: &[usize]) -> (BTreeMap<usize, Vec<String>>, Counted) {
    let source = Source::default();
    let app = app(&source, "pages");
    let seen = Arc::new(Mutex::new(BTreeMap::<usize, Vec<String>>::new()));
    let mut tasks = Vec::new();
    for &index in tenants {
        let own: Vec<Act> = acts.iter().filter(|(tenant, _)| *tenant == index).map(|(_, act)| *act).collect();
        let (own_cache, source, app, seen) = (cache.clone(), Arc::clone(&source), app.clone(), Arc::clone(&seen));
        let tenant = Tenant::new(TENANTS[index]).expect("a tenant");
        let work = async move {
            for act in own {
                let result = perform(&own_cache, &source, &app, TENANTS[index], act).await;
                seen.lock().entry(index).or_default().push(format!("{act:?}: {result}"));
                tokio::task::yield_now().await;
            }
        };
        tasks.push(tokio::spawn(cache.scope(tenant.scope(work))));
    }
    for task in tasks {
        task.await.expect("a task");
    }
    let seen = std::mem::take(&mut *seen.lock());
    (seen, Counted::of(cache))
}

async fn check(make: impl AsyncFn() -> Cache, acts: &[(usize, Act)]) {
    let all: Vec<usize> = (0..TENANTS.len()).collect();
    let (together, counted) = run(&make().await, acts, &all).await;
    let mut sum = Counted::default();
    for tenant in all {
        let (alone, counted) = run(&make().await, acts, &[tenant]).await;
        assert_eq!(together.get(&tenant), alone.get(&tenant), "tenant {}", TENANTS[tenant]);
        sum.add(counted);
    }
    assert_eq!(counted, sum, "what all were counted for is what each was");
}

async fn memory() -> Cache {
    Cache::builder().url("mem://").enforce_tenant_isolation(true).build().await.expect("a cache")
}

fn acts(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(usize, Act)>> {
    prop::collection::vec((0..TENANTS.len(), act()), length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// C5
    #[test]
    fn every_tenant_sees_what_it_sees_alone(acts in acts(1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(check(memory, &acts));
    }
}

/// C5, on a server that all share.
#[test]
fn every_tenant_sees_on_redis_what_it_sees_alone() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    runtime.block_on(async {
        let server = cache_tests::redis::Server::start().await;
        let versions = std::sync::atomic::AtomicU64::new(0);
        let make = async || {
            // A part of the server of its own for each run.
            let version = versions.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let builder = Cache::builder().url(server.url()).version(format!("run-{version}"));
            builder.enforce_tenant_isolation(true).build().await.expect("a cache")
        };
        for _ in 0..12 {
            let tree = acts(40..80).new_tree(&mut runner).expect("acts");
            check(&make, &tree.current()).await;
        }
    });
}

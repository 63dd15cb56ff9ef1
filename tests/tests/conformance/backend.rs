//! Where a case runs: a cache on one of the backends, and a look at what is really there.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use cache_runtime::{Builder, Cache, Key};
use cache_tests::redis::{Cluster, Server};
use tokio::sync::OnceCell;

/// Nothing that works takes this long.
const LONG: Duration = Duration::from_secs(20);

/// Where entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Redis,
    /// Memory in front of Redis.
    Hybrid,
    Cluster,
}

static SERVER: OnceCell<Server> = OnceCell::const_new();
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// One run of one case.
#[derive(Debug)]
pub(crate) struct On {
    /// What the case is about; the current one of its scope.
    pub(crate) cache: Cache,
    backend: Backend,
    url: String,
    prefix: String,
}

impl On {
    /// A fresh cache for the case at `place`.
    pub(crate) async fn new(backend: Backend, place: &str) -> Self {
        // Readable, short enough for a prefix, and unlike any other.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let place = place.trim_start_matches("conformance::").replace("::", ".");
        let prefix = format!("{}.{}", &place[..place.len().min(50)], NEXT.fetch_add(1, Relaxed));
        let url = match backend {
            Backend::Memory => "mem://".to_owned(),
            Backend::Redis => server().await.url(),
            Backend::Hybrid => format!("hybrid+{}", server().await.url()),
            Backend::Cluster => cluster().await.url(),
        };
        let cache = build(&url, &prefix, |builder| builder).await;
        Self { cache, backend, url, prefix }
    }

    /// Whether other processes have the same entries, which are bytes there.
    pub(crate) fn is_shared(&self) -> bool {
        self.backend != Backend::Memory
    }

    /// Whether memory has copies of what is on a server: another process' write reaches them within a bound, and not at once.
    pub(crate) fn is_copied(&self) -> bool {
        self.backend == Backend::Hybrid
    }

    /// Waits until copies in memory, if there are any, have heard of what another program did.
    pub(crate) async fn heard(&self) {
        if self.is_copied() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether entries are spread over several servers.
    pub(crate) fn is_cluster(&self) -> bool {
        self.backend == Backend::Cluster
    }

    /// Whether tags and keys that only a result tells can be watched while its writer's body runs: on one server one command
    /// is atomic over all names. Elsewhere such a result is not written through.
    pub(crate) fn watches_results(&self) -> bool {
        !self.is_cluster()
    }

    /// The same entries as another process sees them. In memory there is no other: it is the same cache.
    pub(crate) async fn other(&self) -> Cache {
        if self.is_shared() { build(&self.url, &self.prefix, |builder| builder).await } else { self.cache.clone() }
    }

    /// Another cache on these entries, to be built on any runtime, with a server's usual timeouts. In memory it has entries of
    /// its own.
    pub(crate) fn build(&self) -> impl Future<Output = Cache> + Send + 'static {
        let builder = Cache::builder().ignore_env().url(&self.url).prefix(&self.prefix);
        async move { builder.build().await.expect("the settings can be used") }
    }

    /// A cache with settings of its own, on the same backend under the same prefix. In memory it has nothing to share.
    pub(crate) async fn with(&self, set: impl FnOnce(Builder) -> Builder) -> Cache {
        build(&self.url, &self.prefix, set).await
    }

    /// What all physical names begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("{}:v1:", self.prefix)
    }

    /// What a plain GET of the physical name of `key` says to a program in another language.
    pub(crate) async fn plain(&self, key: impl Into<Key>) -> Option<Vec<u8>> {
        self.command("GET", &format!("{}{}", self.prefix(), key.into())).await
    }

    /// One command about one physical name, sent to the node that has it.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, command: &str, name: &str) -> T {
        self.run(name, &[command, name]).await
    }

    async fn run<T: redis::FromRedisValue>(&self, name: &str, words: &[impl AsRef<[u8]>]) -> T {
        match self.backend {
            Backend::Memory => panic!("there is no server"),
            Backend::Redis | Backend::Hybrid => server().await.query(words).await,
            Backend::Cluster => {
                let cluster = cluster().await;
                let owner = cluster.owner(cluster.slot_of(name).await).await;
                cluster.node(owner).query(words).await
            }
        }
    }

    /// Stores text under a physical name, as another program would.
    pub(crate) async fn store(&self, name: &str, text: &str) {
        let () = self.run(name, &["SET", name, text]).await;
    }

    /// Appends to a list under a physical name, as another program would.
    pub(crate) async fn push(&self, name: &str, text: &str) {
        let _: i64 = self.run(name, &["RPUSH", name, text]).await;
    }

    /// Copies the bytes under one physical name to another.
    pub(crate) async fn copy(&self, from: &str, to: &str) {
        let bytes: Vec<u8> = self.command("GET", from).await;
        let () = self.run(to, &[b"SET" as &[u8], to.as_bytes(), &bytes]).await;
    }

    /// All physical names of this case, as the servers list them.
    pub(crate) async fn names(&self) -> Vec<String> {
        let pattern = format!("{}:*", self.prefix);
        let nodes = match self.backend {
            Backend::Memory => panic!("there is no server"),
            Backend::Redis | Backend::Hybrid => std::slice::from_ref(server().await),
            Backend::Cluster => cluster().await.nodes(),
        };
        let mut names = Vec::new();
        for node in nodes {
            let found: Vec<Vec<u8>> = node.query(&["KEYS", &pattern]).await;
            names.extend(found.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()));
        }
        // A hybrid cache tries on it whether it hears of changes; it lives for a millisecond.
        names.retain(|name| !name.contains("%+probe"));
        names.sort_unstable();
        names
    }
}

async fn server() -> &'static Server {
    SERVER.get_or_init(Server::start).await
}

async fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(Cluster::start).await
}

async fn build(url: &str, prefix: &str, set: impl FnOnce(Builder) -> Builder) -> Cache {
    // A busy machine is no reason to go past the server.
    let builder = Cache::builder().ignore_env().url(url).prefix(prefix).response_timeout(LONG).connect_timeout(LONG);
    let cache = set(builder).build().await.expect("the backend can be reached");
    cache.ping().await.expect("the backend answers");
    cache
}

/// How many times as long as usual cases may take that get better by it: `CACHE_STRESS_SECONDS`.
pub(crate) fn patience() -> u32 {
    std::env::var("CACHE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// Waits for what other tasks or the passing of time bring about.
pub(crate) async fn soon(what: &str, done: impl AsyncFnMut() -> bool) {
    cache_tests::eventually(what, LONG, done).await;
}

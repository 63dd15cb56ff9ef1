//! The numbers that the page shows, as JSON: taken at most once a second however many look, and by nobody when none does.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::cache::Cache;
use crate::cache::insight::{CacheStats, ServerInfo};
use crate::clock::{Nanos, after, alive_now, wall_ms};
use crate::memory::Engine;
use crate::site::SiteKind;
use crate::stats::{FunctionStats, Latency};
use crate::store::{Breaker, ServerState};

/// How long numbers are good. A little less than the second in which a page asks again.
const FRESH: Duration = Duration::from_millis(900);

/// All entries in memory are looked at: in a cache so large that this takes long, it is done less often, so that it takes at
/// most this part of one core.
const SHARE: u64 = 20;

/// How long the backend may take to say that it is there. What takes longer is not, as far as a page is concerned.
const PATIENCE: Duration = Duration::from_millis(800);

/// How long what servers say about themselves is good: asking is more work for them than a look-up.
const DESCRIBED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct View {
    cache: Cache,
    instance: String,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    numbers: Option<(Nanos, Arc<Texts>)>,
    server: Option<(Nanos, ServerInfo)>,
}

impl Last {
    /// The numbers, while they are new enough.
    fn known(&self) -> Option<Arc<Texts>> {
        self.numbers.as_ref().filter(|(until, _)| alive_now() < *until).map(|(_, known)| Arc::clone(known))
    }
}

/// The numbers as JSON: all of them, and those of the functions.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) all: String,
    pub(super) functions: String,
}

#[derive(Serialize)]
struct Numbers<'v> {
    /// Tells one start of the process from the next: counters begin anew.
    instance: &'v str,
    at: u64,
    uptime_ms: u64,
    closed: bool,
    cache: About,
    backend: Backend,
    totals: Totals,
    functions: Vec<Row>,
}

/// What was configured.
#[derive(Serialize)]
struct About {
    backend: &'static str,
    engine: &'static str,
    prefix: String,
    max_items: u64,
    max_bytes: Option<u64>,
    enabled: bool,
    stats: bool,
    isolated: bool,
}

/// Where entries are that processes share.
#[derive(Debug, Default, Serialize)]
struct Backend {
    /// Whether it answers; nothing where there is none.
    up: Option<bool>,
    reason: Option<String>,
    server: Option<Described>,
    servers: Vec<Machine>,
}

#[derive(Debug, Serialize)]
struct Described {
    version: String,
    mode: &'static str,
    shards: u64,
    keys: u64,
    used_memory: u64,
    eviction_policy: String,
}

#[derive(Debug, Serialize)]
struct Machine {
    name: String,
    breaker: &'static str,
    error: Option<String>,
}

#[derive(Serialize)]
struct Totals {
    #[serde(flatten)]
    counts: Counts,
    entries: u64,
    bytes: u64,
    evicted: Evicted,
    invalidations: u64,
    recached: u64,
    recache_failures: u64,
    undelivered: u64,
    undelivered_total: u64,
    background: u64,
    flights: u64,
    tags: u64,
    copies_served: Option<bool>,
    copies_lease_ms: Option<u64>,
}

#[derive(Serialize)]
struct Evicted {
    full: u64,
    expired: u64,
    invalidated: u64,
}

/// One function, or direct access.
#[derive(Serialize)]
struct Row {
    path: String,
    name: String,
    kind: &'static str,
    #[serde(flatten)]
    counts: Counts,
    abandoned: u64,
    bypassed: u64,
    hit: Times,
    load: Times,
    entries: Option<u64>,
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct Counts {
    hits: u64,
    misses: u64,
    loads: u64,
    coalesced: u64,
    stale: u64,
    early: u64,
    errors: u64,
    checked: u64,
    disagreed: u64,
    unstored: u64,
    refused: u64,
    rejected: u64,
    takeovers: u64,
    lost_leases: u64,
    degraded: u64,
    degraded_by: Degraded,
    saved_ns: u64,
}

#[derive(Serialize)]
struct Degraded {
    unavailable: u64,
    denied: u64,
    read_only: u64,
    full: u64,
    protocol: u64,
    no_tenant: u64,
    other: u64,
}

#[derive(Serialize)]
struct Times {
    count: u64,
    mean_ns: u64,
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
}

impl View {
    pub(super) fn new(cache: Cache) -> Self {
        Self { cache, instance: super::token(), last: Mutex::default() }
    }

    /// Whether the cache was closed: its numbers change no more.
    pub(super) fn is_over(&self) -> bool {
        self.cache.core.usable().is_err_and(|error| error.kind() == crate::error::ErrorKind::Closed)
    }

    /// The numbers of now, as JSON. Once begun, counting goes on and is remembered though nobody waits for it any more: who
    /// asks and goes away, again and again, does not make it happen more often.
    pub(super) async fn now(self: &Arc<Self>) -> Arc<Texts> {
        if let Some(known) = self.last.lock().await.known() {
            return known;
        }
        let view = Arc::clone(self);
        let counted = tokio::spawn(async move { view.counted().await }).await;
        // It neither panics nor is cancelled, unless the runtime ends; then this is nobody's answer.
        counted.unwrap_or_else(|_| Arc::new(Texts { all: String::new(), functions: String::new() }))
    }

    async fn counted(&self) -> Arc<Texts> {
        let mut last = self.last.lock().await;
        if let Some(known) = last.known() {
            return known;
        }
        let began = alive_now();
        let backend = self.known_backend(&mut last.server).await;
        let looked = alive_now();
        let (totals, functions) = self.count().await;
        let cost = alive_now() - looked;
        let core = &self.cache.core;
        let settings = &core.settings;
        let numbers = Numbers {
            instance: &self.instance,
            at: wall_ms(),
            uptime_ms: core.now().saturating_sub(core.started) / 1_000_000,
            closed: self.is_over(),
            cache: About {
                backend: self.cache.backend(),
                engine: match settings.engine {
                    Engine::QuickCache => "quick_cache",
                    Engine::Moka => "moka",
                },
                prefix: String::from_utf8_lossy(&settings.prefix).trim_end_matches(':').to_owned(),
                max_items: settings.bounds.max_items,
                max_bytes: settings.bounds.max_bytes,
                enabled: settings.enabled,
                stats: settings.stats,
                isolated: settings.enforce_tenant,
            },
            backend,
            totals,
            functions,
        };
        // Numbers and texts: nothing that has no JSON.
        let all = serde_json::to_string(&numbers).unwrap_or_default();
        let functions = serde_json::to_string(&numbers.functions).unwrap_or_default();
        let texts = Arc::new(Texts { all, functions });
        let until = after(began, FRESH.max(Duration::from_nanos(cost * SHARE)));
        last.numbers = Some((until, Arc::clone(&texts)));
        texts
    }

    /// Looks at every entry: not on a thread that answers requests.
    async fn count(&self) -> (Totals, Vec<Row>) {
        let cache = self.cache.clone();
        let counted = tokio::task::spawn_blocking(move || counted(&cache)).await;
        // It neither panics nor is cancelled, unless the runtime ends; then this is nobody's answer.
        counted.unwrap_or_else(|_| (totals(&CacheStats::default()), Vec::new()))
    }

    async fn backend(&self, server: &mut Option<(Nanos, ServerInfo)>) -> Backend {
        if self.cache.core.shared.is_none() {
            return Backend::default();
        }
        let now = alive_now();
        if server.as_ref().is_none_or(|(until, _)| *until <= now) {
            match timeout(PATIENCE, self.cache.info()).await {
                Ok(Ok(info)) => *server = info.server.map(|info| (after(now, DESCRIBED), info)),
                Ok(Err(error)) => return Backend::away(error.to_string()),
                Err(_) => return Backend::away("it did not answer in time".to_owned()),
            }
        }
        let answered = match timeout(PATIENCE, self.cache.ping()).await {
            Ok(answered) => answered.map_err(|error| error.to_string()),
            Err(_) => Err("it did not answer in time".to_owned()),
        };
        let described = server.as_ref().map(|(_, info)| Described {
            version: info.version.clone(),
            mode: info.mode,
            shards: info.shards,
            keys: info.keys,
            used_memory: info.used_memory,
            eviction_policy: info.eviction_policy.clone(),
        });
        Backend { up: Some(answered.is_ok()), reason: answered.err(), server: described, servers: Vec::new() }
    }

    /// The backend, and whether its servers are used: known here, so it is said also of one that does not answer.
    async fn known_backend(&self, server: &mut Option<(Nanos, ServerInfo)>) -> Backend {
        let machine = |state: ServerState| Machine {
            name: state.name,
            breaker: match state.breaker {
                Breaker::Closed => "closed",
                Breaker::HalfOpen => "half_open",
                Breaker::Open => "open",
            },
            error: state.error,
        };
        let backend = self.backend(server).await;
        let states = self.cache.core.shared.as_ref().map(|shared| shared.store.servers()).unwrap_or_default();
        Backend { servers: states.into_iter().map(machine).collect(), ..backend }
    }
}

impl Backend {
    fn away(reason: String) -> Self {
        Self { up: Some(false), reason: Some(reason), ..Self::default() }
    }
}

fn counted(cache: &Cache) -> (Totals, Vec<Row>) {
    let stats = cache.stats();
    // What reads is shown; what writes has its numbers in the totals.
    let reads = cache.functions().into_iter().filter(|info| info.function.kind() != SiteKind::Write);
    let mut rows: Vec<Row> = reads
        .map(|info| {
            let path = info.function.path();
            Row {
                name: path
                    .strip_prefix(info.function.module())
                    .map_or(&*path, |name| name.trim_start_matches(':'))
                    .to_owned(),
                kind: info.function.0.made_by(),
                entries: Some(info.entries),
                bytes: Some(info.bytes),
                ..row(path, &info.stats)
            }
        })
        .collect();
    let direct = &stats.direct;
    if direct.hits + direct.misses + direct.loads + direct.degraded > 0 {
        rows.push(row("direct access".to_owned(), direct));
    }
    (totals(&stats), rows)
}

fn row(path: String, stats: &FunctionStats) -> Row {
    Row {
        name: path.clone(),
        path,
        kind: "direct",
        counts: counts(stats),
        abandoned: stats.abandoned,
        bypassed: stats.bypassed,
        hit: times(&stats.hit_latency),
        load: times(&stats.latency),
        entries: None,
        bytes: None,
    }
}

fn totals(stats: &CacheStats) -> Totals {
    let sum = FunctionStats {
        hits: stats.hits,
        misses: stats.misses,
        loads: stats.loads,
        coalesced: stats.coalesced,
        stale: stats.stale,
        early: stats.early,
        errors: stats.errors,
        checked: stats.checked,
        disagreed: stats.disagreed,
        unstored: stats.unstored,
        refused: stats.refused,
        rejected: stats.rejected,
        takeovers: stats.takeovers,
        lost_leases: stats.lost_leases,
        degraded: stats.degraded,
        degraded_by: stats.degraded_by,
        saved: stats.saved,
        ..FunctionStats::default()
    };
    let by = stats.evicted_by;
    Totals {
        counts: counts(&sum),
        entries: stats.entries,
        bytes: stats.bytes,
        evicted: Evicted { full: by.full, expired: by.expired, invalidated: by.invalidated },
        invalidations: stats.invalidations,
        recached: stats.recached,
        recache_failures: stats.recache_failures,
        undelivered: stats.undelivered,
        undelivered_total: stats.undelivered_total,
        background: stats.background,
        flights: stats.flights,
        tags: stats.tags,
        copies_served: stats.copies_served,
        copies_lease_ms: stats.copies_lease.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn counts(stats: &FunctionStats) -> Counts {
    let by = stats.degraded_by;
    Counts {
        hits: stats.hits,
        misses: stats.misses,
        loads: stats.loads,
        coalesced: stats.coalesced,
        stale: stats.stale,
        early: stats.early,
        errors: stats.errors,
        checked: stats.checked,
        disagreed: stats.disagreed,
        unstored: stats.unstored,
        refused: stats.refused,
        rejected: stats.rejected,
        takeovers: stats.takeovers,
        lost_leases: stats.lost_leases,
        degraded: stats.degraded,
        degraded_by: Degraded {
            unavailable: by.unavailable,
            denied: by.denied,
            read_only: by.read_only,
            full: by.full,
            protocol: by.protocol,
            no_tenant: by.no_tenant,
            other: by.other,
        },
        saved_ns: nanos(stats.saved),
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn times(latency: &Latency) -> Times {
    Times {
        count: latency.count,
        mean_ns: nanos(latency.mean),
        p50_ns: nanos(latency.p50),
        p99_ns: nanos(latency.p99),
        max_ns: nanos(latency.max),
    }
}

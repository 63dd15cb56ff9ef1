//! C7: spans and events, as a subscriber of the program gets them. A program of its own, since `tracing` remembers for each
//! place whether anybody listens, and asks a thread that has no subscriber, too: here every thread has one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use cache_runtime::{Cache, Tenant, cache_read, cache_write};
use cache_tests::redis::Server;
use cache_tests::{Failed, Row, Source};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument, Level, Subscriber, info_span};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

#[cache_read(key = "span:user:<id>", ttl = "1m", tags = ["span:user:<id>"], skip(db))]
async fn get_user(db: Arc<Source>, id: u64) -> Result<Row, Failed> {
    let row = db.load(id).await;
    tracing::info!("in the body");
    row
}

#[cache_read(key = "span:aging:<id>", ttl = "1m", stale = "1m", skip(db))]
async fn aging(db: Arc<Source>, id: u64) -> Result<Row, Failed> {
    db.load(id).await
}

#[cache_read(key = "span:many:<id>", each(id in ids), ttl = "1m", stale = "1m", skip(db))]
async fn many(db: Arc<Source>, ids: Vec<u64>) -> HashMap<u64, Row> {
    let mut rows = HashMap::new();
    for id in ids {
        rows.insert(id, db.row(id).await);
    }
    rows
}

#[cache_read(key = "span:locked:<id>", lock = true, skip(db))]
async fn locked(db: Arc<Source>, id: u64) -> Row {
    tokio::time::sleep(Duration::from_millis(300)).await;
    db.row(id).await
}

#[cache_write(tags = ["span:user:<id>"], recache = [get_user(db.clone(), id)])]
async fn rename(db: Arc<Source>, id: u64, name: &str) -> Row {
    db.write(id, name)
}

#[cache_write(tags = ["span:user:<id>"], recache = [get_user(db.clone(), id)], recache_mode = background)]
async fn rename_later(db: Arc<Source>, id: u64, name: &str) -> Row {
    db.write(id, name)
}

/// A span that has ended or not, or an event.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: String,
    level: String,
    parent: Option<u64>,
    follows: Vec<u64>,
    fields: BTreeMap<String, String>,
    closed: bool,
}

/// The test's layer: keeps everything that it is told.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    spans: BTreeMap<u64, Seen>,
    /// Numbers are given again once a span is closed.
    past: Vec<Seen>,
    events: Vec<Seen>,
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let metadata = attributes.metadata();
        let mut seen = Seen {
            name: metadata.name().to_owned(),
            level: metadata.level().to_string(),
            parent: span.parent().map(|parent| parent.id().into_u64()),
            ..Seen::default()
        };
        attributes.record(&mut Fields(&mut seen.fields));
        self.0.lock().spans.insert(id.into_u64(), seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut Fields(&mut self.0.lock().spans.get_mut(&id.into_u64()).unwrap().fields));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        self.0.lock().spans.get_mut(&id.into_u64()).unwrap().follows.push(follows.into_u64());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let parent = context.event_span(event).map(|span| span.id().into_u64());
        let level = event.metadata().level().to_string();
        let mut seen = Seen { name: "event".to_owned(), level, parent, ..Seen::default() };
        event.record(&mut Fields(&mut seen.fields));
        self.0.lock().events.push(seen);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let mut told = self.0.lock();
        let mut span = told.spans.remove(&id.into_u64()).unwrap();
        span.closed = true;
        told.past.push(span);
    }
}

impl Log {
    /// Hears what happens on this thread.
    fn start(level: LevelFilter) -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = Registry::default().with(log.clone().with_filter(level));
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn spans(&self, name: &str) -> Vec<Seen> {
        let told = self.0.lock();
        told.past.iter().chain(told.spans.values()).filter(|span| span.name == name).cloned().collect()
    }

    fn one(&self, name: &str) -> Seen {
        let mut spans = self.spans(name);
        assert_eq!(spans.len(), 1, "{name}: {spans:?}");
        spans.pop().unwrap()
    }

    fn events(&self) -> Vec<Seen> {
        self.0.lock().events.clone()
    }

    /// Everything, as text.
    fn text(&self) -> String {
        let told = self.0.lock();
        format!("{:?}{:?}{:?}", told.spans, told.past, told.events)
    }
}

impl Seen {
    #[track_caller]
    fn says(&self, fields: &[(&str, &str)]) {
        for (name, value) in fields {
            assert_eq!(self.fields.get(*name).map(String::as_str), Some(*value), "{name} of {self:?}");
        }
    }

    fn took(&self) -> f64 {
        self.fields["duration_ms"].parse().unwrap()
    }
}

/// C7: a load is a span of its caller, around the body, with what it was and how long it took.
#[tokio::test]
async fn a_load_is_a_span_around_the_body() {
    let (log, _guard) = Log::start(LevelFilter::INFO);
    let (cache, db) = (Cache::memory(), Arc::new(Source::new()));
    let tenant = Tenant::new("org-7").unwrap();
    let calls = async {
        get_user(db.clone(), 42).await.unwrap();
        get_user(db.clone(), 42).await.unwrap();
    };
    let request = info_span!("request");
    let id = request.id().unwrap().into_u64();
    tenant.scope(cache.scope(calls)).instrument(request).await;
    let load = log.one("cache.load");
    load.says(&[
        ("operation", "load"),
        ("resource_type", "get_user"),
        ("cache_hit", "false"),
        ("tenant", "org-7"),
        ("key", "span:user:<id>"),
    ]);
    assert_eq!((load.parent, load.closed, load.level.as_str()), (Some(id), true, "INFO"));
    assert!((0.0..10_000.0).contains(&load.took()));
    assert!(log.events()[0].parent.is_some_and(|parent| parent != id), "the body is in the load's span");
    assert_eq!(log.events().len(), 1, "hits are said at the level TRACE only");
}

/// C7: a key is its template and a hash, unless the program asks for more; a value is nothing at all.
#[tokio::test]
async fn keys_are_said_only_where_that_was_asked_for() {
    let (log, _guard) = Log::start(LevelFilter::TRACE);
    let db = Arc::new(Source::new());
    let hash = |log: &Log| log.one("cache.load").fields["key_hash"].clone();
    let silent = Cache::memory();
    silent.scope(get_user(db.clone(), 424_242)).await.unwrap();
    silent.scope(get_user(db.clone(), 424_242)).await.unwrap();
    silent.set("424242", "424242".to_owned()).await.unwrap();
    silent.get::<String>("424242").await.unwrap();
    assert!(!log.text().contains("424242"), "{}", log.text());
    assert_eq!(hash(&log).len(), 16);
    let (other, _guard) = Log::start(LevelFilter::TRACE);
    let loud = Cache::builder().ignore_env().trace_keys(true).build().await.unwrap();
    loud.scope(get_user(db.clone(), 424_242)).await.unwrap();
    loud.scope(get_user(db.clone(), 424_242)).await.unwrap();
    other.one("cache.load").says(&[("key_text", "span:user:424242")]);
    assert_eq!(hash(&other), hash(&log), "the same in every cache");
    assert!(!other.text().contains("row 424242"), "no value: {}", other.text());
    let hit = other
        .events()
        .into_iter()
        .find(|event| event.level == "TRACE" && event.fields.contains_key("cache_hit"))
        .unwrap();
    hit.says(&[
        ("operation", "hit"),
        ("resource_type", "get_user"),
        ("cache_hit", "true"),
        ("key", "span:user:<id>"),
        ("key_text", "span:user:424242"),
    ]);
}

/// C7: a refresh in the background is no part of the request that caused it, and says which one that was; its load is a part of it.
#[tokio::test]
async fn a_refresh_follows_from_the_call_that_caused_it() {
    let (log, _guard) = Log::start(LevelFilter::INFO);
    let (cache, db) = (Cache::for_test(), Arc::new(Source::new()));
    cache.scope(aging(db.clone(), 1)).await.unwrap();
    cache.scope(many(db.clone(), vec![1, 2])).await;
    cache.advance(Duration::from_secs(90));
    let request = info_span!("request");
    let id = request.id().unwrap().into_u64();
    let calls = async {
        aging(db.clone(), 1).await.unwrap();
        many(db.clone(), vec![1, 2]).await;
    };
    cache.scope(calls).instrument(request.clone()).await;
    cache.close().await.unwrap();
    let refreshes = log.spans("cache.refresh");
    assert_eq!(refreshes.len(), 2, "{refreshes:?}");
    for (refresh, function) in refreshes.iter().zip(["aging", "many"]) {
        refresh.says(&[("operation", "refresh"), ("resource_type", function), ("cache_hit", "false")]);
        assert_eq!((refresh.parent, refresh.follows.as_slice()), (None, [id].as_slice()));
        assert!(refresh.took() >= 0.0);
    }
    let loads = log.spans("cache.load");
    assert_eq!(loads.len(), 4, "{loads:?}");
    assert!(loads[2..].iter().all(|load| load.parent.is_some_and(|parent| parent != id)), "{loads:?}");
}

/// C7: a write's invalidation and its recaches are spans; in the background they follow from it.
#[tokio::test]
async fn writes_say_what_they_invalidate_and_recache() {
    let (log, _guard) = Log::start(LevelFilter::INFO);
    let (cache, db) = (Cache::memory(), Arc::new(Source::new()));
    cache.scope(rename(db.clone(), 1, "Ada")).instrument(info_span!("request")).await;
    log.one("cache.invalidate").says(&[("operation", "invalidate"), ("resource_type", "rename")]);
    log.one("cache.recache").says(&[("operation", "recache"), ("resource_type", "rename")]);
    assert!(log.one("cache.recache").parent.is_some() && log.one("cache.load").parent.is_some());
    let (log, _guard) = Log::start(LevelFilter::INFO);
    let request = info_span!("request");
    let id = request.id().unwrap().into_u64();
    cache.scope(rename_later(db.clone(), 1, "Grace")).instrument(request.clone()).await;
    cache.invalidate("other").await.unwrap();
    cache.close().await.unwrap();
    let recache = log.one("cache.recache");
    assert_eq!((recache.parent, recache.follows), (None, vec![id]));
    assert!(log.one("cache.load").parent.is_some_and(|parent| parent != id));
    assert_eq!(log.spans("cache.invalidate").len(), 2, "one of them direct");
}

/// C7 B3: who waits for a load elsewhere says so.
#[tokio::test]
async fn waiting_for_a_lease_is_a_span() {
    let (log, _guard) = Log::start(LevelFilter::INFO);
    let (server, db) = (Server::start().await, Arc::new(Source::new()));
    let open = async || Cache::builder().ignore_env().url(server.url()).build().await.unwrap();
    let (here, elsewhere) = (open().await, open().await);
    let late = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        here.scope(locked(db.clone(), 1)).await
    };
    tokio::join!(elsewhere.scope(locked(db.clone(), 1)), late);
    let wait = log.one("cache.lease_wait");
    wait.says(&[("operation", "lease_wait"), ("resource_type", "locked"), ("key", "span:locked:<id>")]);
    assert!((50.0..3_000.0).contains(&wait.took()), "{wait:?}");
    assert_eq!(log.spans("cache.load").len(), 1);
    log.one("cache.load").says(&[("key_hash", &wait.fields["key_hash"])]);
}

/// C7: what goes wrong is said to the subscriber, where there is one.
#[tokio::test]
async fn warnings_are_events() {
    let (log, _guard) = Log::start(LevelFilter::WARN);
    let server = Server::start().await;
    let url = server.url();
    server.kill();
    let cache = Cache::builder().ignore_env().url(url).build().await.unwrap();
    cache.scope(get_user(Arc::new(Source::new()), 1)).await.unwrap();
    let warned = log
        .events()
        .into_iter()
        .any(|event| event.level == Level::WARN.to_string() && event.fields.contains_key("cause"));
    assert!(warned, "{}", log.text());
}

//! Spans of a cache in OpenTelemetry. The cache knows nothing of it: it opens spans with `tracing`, and the layer of
//! `tracing-opentelemetry` makes traces of them, as it does of the program's own.
//!
//! `cargo run -p tracing-otel` prints each span as it ends. In a service, put the exporter of your collector
//! (`opentelemetry-otlp`) in the place of [`Print`].

use std::time::Duration;

use cache_runtime::{Cache, cache_read, cache_write};
use opentelemetry::trace::{SpanId, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::instrument;
use tracing_subscriber::layer::SubscriberExt;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct User {
    id: u64,
    name: String,
}

/// What a database would do. A span of the program's own, within the load's.
#[instrument]
async fn query(id: u64) -> User {
    tokio::time::sleep(Duration::from_millis(20)).await;
    User { id, name: "Ada".to_owned() }
}

#[cache_read(key = "user:<id>", ttl = "200ms", stale = "1h", tags = ["user:<id>"])]
async fn get_user(id: u64) -> User {
    query(id).await
}

#[cache_write(tags = ["user:<id>"], recache = [get_user(id)])]
async fn rename(id: u64, name: String) {
    let _ = (id, name);
}

/// A request of a service.
#[instrument]
async fn request(path: &str) {
    get_user(42).await;
}

#[instrument]
async fn post(path: &str) {
    rename(42, "Grace".to_owned()).await;
}

/// Prints each span when it ends: its trace, its parent, its links, and what it says.
#[derive(Debug)]
struct Print;

impl SpanExporter for Print {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        for span in batch {
            let context = &span.span_context;
            let parent =
                if span.parent_span_id == SpanId::INVALID { "-".into() } else { span.parent_span_id.to_string() };
            println!("{} trace={} span={} parent={parent}", span.name, context.trace_id(), context.span_id());
            for link in span.links.iter() {
                println!(
                    "    follows from span={} of trace={}",
                    link.span_context.span_id(),
                    link.span_context.trace_id()
                );
            }
            // What the layer says of places in the source is left out.
            let told = |key: &str| !["code", "thread", "target", "busy", "idle"].iter().any(|of| key.starts_with(of));
            for attribute in span.attributes.iter().filter(|attribute| told(attribute.key.as_str())) {
                println!("    {} = {}", attribute.key, attribute.value);
            }
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = SdkTracerProvider::builder().with_simple_exporter(Print).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;

    let cache = Cache::memory();
    cache_runtime::init(cache.clone())?;

    println!("# a miss: the load, and the query in it, are parts of the request");
    request("/users/42").await;
    println!("# a hit: nothing but the request");
    request("/users/42").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    println!("# an old value: a refresh in a trace of its own, linked to the request that caused it");
    request("/users/42").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    println!("# a write: its invalidation, and its recache with the load in it");
    post("/users/42").await;

    cache.close().await?;
    provider.shutdown()?;
    Ok(())
}

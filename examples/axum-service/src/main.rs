//! A web service that uses the cache in all the ways a web service does. `cargo run -p axum-service`, and try what it prints.
//!
//! | file | what |
//! |---|---|
//! | `main` | the start and the end |
//! | `api` | routes and handlers, with what is cached of them |
//! | `operation` | what those who run the service look at: health, numbers, the live page; metrics go there |
//! | `db` | SQLite, which knows nothing of a cache |

mod api;
mod db;
mod operation;

use std::net::SocketAddr;

use cache_runtime::{Cache, http};
use clap::Parser;
use metrics_exporter_prometheus::PrometheusBuilder;

/// A service that keeps notes, by tenant.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen; 0: any free port.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The cache: mem://, redis://host:6379, hybrid+redis://host:6379, ..
    #[arg(long, env = "CACHE_URL", default_value = "mem://")]
    cache: String,
    /// How long a query takes, in milliseconds, so that it can be felt.
    #[arg(long, default_value_t = 300)]
    query_ms: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();

    // 1. The cache. Handlers and layers use the global one; its metrics go to whatever recorder there is.
    let metrics =
        PrometheusBuilder::new().set_buckets(&[1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0])?.install_recorder()?;
    let cache = Cache::builder().url(&options.cache).enforce_tenant_isolation(true).build().await?;
    cache_runtime::init(cache.clone())?;
    let life = http::lifecycle(cache.clone()).await?;

    // 2. The service.
    let db = db::Db::open(std::time::Duration::from_millis(options.query_ms))?;
    let app = api::routes(db).merge(operation::routes(&life, cache, metrics));

    // 3. Its run: after the last request the cache is closed.
    let address = SocketAddr::from(([127, 0, 0, 1], options.port));
    let listener = tokio::net::TcpListener::bind(address).await?;
    print_tour(listener.local_addr()?);
    let signal = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    // The live page asks from where it is asked for.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    life.run(axum::serve(listener, app).with_graceful_shutdown(life.stop(signal))).await?;
    Ok(())
}

fn print_tour(address: SocketAddr) {
    let at = format!("http://{address}");
    println!("listening on {at}");
    println!();
    println!("A note: the first is a query, the second is not; another tenant has its own.");
    println!("  curl -w '%{{time_total}}s\\n' -H 'x-tenant: acme' {at}/notes/1");
    println!("  curl -w '%{{time_total}}s\\n' -H 'x-tenant: blue' {at}/notes/1");
    println!("A change, and the note as it is now:");
    println!("  curl -X PUT -H 'x-tenant: acme' -d 'buy milk' {at}/notes/1");
    println!("The list is a cached response: see `age`, `etag` and `cache-status`.");
    println!("  curl -i -H 'x-tenant: acme' '{at}/notes?page=1'");
    println!("A client that has it already (put the etag in) is answered with 304:");
    println!("  curl -i -H 'x-tenant: acme' -H 'if-none-match: \"..\"' '{at}/notes?page=1'");
    println!("Without a tenant, and with an impossible one:");
    println!("  curl -i {at}/notes/1");
    println!("  curl -i -H 'x-tenant: a:b' {at}/notes/1");
    println!("What the cache did, and how it is:");
    println!("  curl {at}/stats");
    println!("  curl {at}/healthz");
    println!("  curl {at}/metrics");
    println!("The same, live in a browser:");
    println!("  {at}/cache");
}

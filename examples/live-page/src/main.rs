//! The live page of a cache, with a small shop and its customers behind it: `cargo run -p live-page`, then open what it prints.
//! Another port: `cargo run -p live-page -- 8080`.

mod shop;

use std::error::Error;

use cache_runtime::Cache;
use cache_runtime::http::admin::Admin;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(3001), |port| port.parse())?;
    // Memory, or what CACHE_URL names: try `CACHE_URL=hybrid+redis://localhost:6379`.
    let cache = Cache::from_env().await?;
    cache_runtime::init(cache.clone())?;
    for customer in 0..40 {
        tokio::spawn(shop::shops(customer));
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("open http://{}", listener.local_addr()?);
    println!("then invalidate the tag `catalog` there, and see what it costs the source");
    Admin::new(cache).serve(listener).await?;
    Ok(())
}

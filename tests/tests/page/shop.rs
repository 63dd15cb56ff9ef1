//! The program that the page shows: a small shop, with a tag that nobody carries and one that would be markup if it were put
//! into the page as it is; and the server that the page is mounted in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use cache_runtime::http::admin::Admin;
use cache_runtime::{Cache, cache_read, cache_write, memoize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::http::get;

#[cache_read(key = "product:<id>", ttl = "5m", tags = ["product:<id>", "catalog"])]
pub(crate) async fn get_product(id: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(12)).await;
    id * 100
}

#[cache_read(key = "stock:<id>", ttl = "150ms", stale = "2s", tags = ["product:<id>"])]
pub(crate) async fn get_stock(id: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(25)).await;
    id
}

#[cache_read(key = "basket:<user>", ttl = "300ms", tags = ["user:<user>"])]
pub(crate) async fn get_basket(user: u64) -> Vec<u64> {
    tokio::time::sleep(Duration::from_millis(4)).await;
    vec![user; 12]
}

#[cache_read(key = "search:<words>", ttl = "30s", tags = ["catalog"])]
pub(crate) async fn search(words: String) -> Vec<String> {
    tokio::time::sleep(Duration::from_millis(80)).await;
    vec![words; 20]
}

#[memoize(ttl = "forever")]
pub(crate) fn shipping_cost(zone: u8, grams: u32) -> u32 {
    u32::from(zone) * grams
}

/// Its tag would be an element.
#[cache_read(key = "banner:<id>", ttl = "1m", tags = ["<<img src=x onerror=document.title=1>>"])]
pub(crate) async fn banner(id: u64) -> String {
    format!("secret-value-{id}")
}

#[cache_write(tags = ["product:<id>"], recache = [get_product(id)])]
pub(crate) async fn change_price(id: u64, cents: u64) {
    let _ = cents;
}

/// Nobody carries this tag.
#[cache_write(tags = ["prodcut:<id>"])]
pub(crate) async fn delist(id: u64) {
    let _ = id;
}

/// A server, until it is dropped.
pub(crate) struct Served {
    pub(crate) at: SocketAddr,
    pub(crate) cache: Cache,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Mounts the page at `/cache`, as a service would.
pub(crate) async fn mounted(cache: &Cache, shape: impl FnOnce(Admin) -> Admin) -> Served {
    let admin = shape(Admin::new(cache.clone()));
    serve(cache, Router::new().nest_service("/cache", admin.into_router())).await
}

pub(crate) async fn serve(cache: &Cache, app: Router) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("an address");
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
    Served { at, cache: cache.clone(), task }
}

impl Served {
    pub(crate) fn url(&self) -> String {
        format!("http://{}/cache", self.at)
    }

    /// What the page carries, and nobody else knows.
    pub(crate) async fn token(&self) -> String {
        let page = get("/cache").send(self.at).await;
        let after = page.body.split("name=\"cache-token\" content=\"").nth(1).expect("the page has a token");
        after.split('"').next().expect("the token ends").to_owned()
    }
}

/// Customers, until dropped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Lets customers come: many in waves, most of them to the same few products.
pub(crate) fn customers(cache: &Cache) -> Load {
    let stop = Arc::new(AtomicBool::new(false));
    for worker in 0..24_u64 {
        let (stop, scope) = (Arc::clone(&stop), cache.clone());
        let work = async move {
            let mut step = worker;
            while !stop.load(Ordering::Relaxed) {
                step += 1;
                // The square favours small numbers, as customers favour few products.
                let id = (step * 7919 % 31) * (step * 104_729 % 31) / 31;
                get_product(id).await;
                get_stock(id % 5).await;
                get_basket(worker % 9).await;
                shipping_cost((id % 4) as u8, 100);
                if step % 11 == 0 {
                    search(format!("words {}", step / 11 % 40)).await;
                }
                if step % 240 == worker {
                    change_price(id, 5).await;
                }
                let wave = ((step as f64 / 60.0).sin() + 1.3) * 14.0;
                tokio::time::sleep(Duration::from_millis(4 + wave as u64)).await;
            }
        };
        tokio::spawn(async move { scope.scope(work).await });
    }
    Load { stop }
}

//! The shop: functions in front of sources that take their time, and customers who come in waves.

use std::collections::HashMap;
use std::time::Duration;

use cache_runtime::{cache_read, cache_write, memoize};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// What is sold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Product {
    id: u64,
    name: String,
}

/// The source did not answer.
#[derive(Clone, Debug)]
pub(crate) struct Unreachable;

/// A source that needs about so many milliseconds.
async fn source(ms: u64) {
    sleep(Duration::from_millis(ms + fastrand::u64(..=ms / 2))).await;
}

#[cache_read(key = "product:<id>", ttl = "10s", jitter = "20%", stale_if_error = "10m", tags = ["product:<id>", "catalog"])]
async fn get_product(id: u64) -> Result<Product, Unreachable> {
    source(12).await;
    if fastrand::u8(..) == 0 { Err(Unreachable) } else { Ok(Product { id, name: format!("product {id}") }) }
}

#[cache_read(key = "stock:<id>", ttl = "500ms", stale = "10s", tags = ["product:<id>"])]
async fn get_stock(id: u64) -> u64 {
    source(25).await;
    id % 17
}

#[cache_read(key = "price:<id>", ttl = "8s", jitter = "20%", tags = ["product:<id>", "catalog"], each(id in ids))]
async fn get_prices(ids: Vec<u64>) -> HashMap<u64, u64> {
    source(8).await;
    ids.into_iter().map(|id| (id, id * 100)).collect()
}

#[cache_read(key = "basket:<customer>", ttl = "1s", tags = ["customer:<customer>"])]
async fn get_basket(customer: u64) -> Vec<u64> {
    source(4).await;
    (0..6).map(|n| (customer * 7 + n * n) % 300).collect()
}

#[cache_read(key = "search:<words>", ttl = "10s", tags = ["catalog"])]
async fn search(words: String) -> Vec<String> {
    source(80).await;
    (0..12).map(|n| format!("{words} {n}")).collect()
}

#[memoize(capacity = 500)]
fn shipping_cost(zone: u8, kilos: u32) -> u32 {
    u32::from(zone) * 90 + kilos * 40
}

#[cache_write(tags = ["product:<id>"], recache = [get_product(id)])]
async fn change_product(id: u64) -> Result<(), Unreachable> {
    source(6).await;
    Ok(())
}

/// One customer, for ever.
pub(crate) async fn shops(customer: u64) {
    for step in 0_u64.. {
        // Few products are asked for by most.
        let product = fastrand::u64(..400) * fastrand::u64(..400) / 400;
        let _ = get_product(product).await;
        get_stock(product % 90).await;
        let basket = get_basket(customer).await;
        get_prices(basket).await;
        shipping_cost((customer % 5) as u8, product as u32 % 9);
        if step % 4 == 0 {
            search(format!("words {}", fastrand::u64(..60) * fastrand::u64(..60))).await;
        }
        if step % 300 == customer {
            let _ = change_product(product).await;
        }
        let now = step as f64;
        let wave = ((now / 90.0).sin() + (now / 23.0).sin() * 0.4 + 1.8) * 24.0;
        sleep(Duration::from_millis(20 + wave as u64)).await;
    }
}

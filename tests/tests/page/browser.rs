//! The page in a real Chromium: what somebody who looks, types, listens or holds a phone meets.

use std::time::Duration;

use cache_runtime::Cache;
use cache_tests::chromium::Browser;
use serde_json::json;

use super::shop::{banner, customers, get_product, mounted};

/// Looks at the picture instead of the assertion: writes it where CACHE_PICTURES says.
async fn keep(browser: &mut Browser, name: &str, whole: bool) {
    let Some(folder) = std::env::var_os("CACHE_PICTURES") else { return };
    let picture = browser.picture(whole).await;
    std::fs::write(std::path::Path::new(&folder).join(format!("{name}.b64")), picture).expect("the picture is written");
}

const LIVE: &str = "document.querySelector('#state').dataset.state === 'live'";

/// N14: what the page looks like under load, for people: nothing is asserted but that it draws without a complaint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_draws_a_busy_cache() {
    let Some(mut browser) = Browser::start().await else { return };
    let cache = Cache::memory();
    let page = mounted(&cache, |admin| admin).await;
    let _load = customers(&cache);
    cache.scope(banner(1)).await;
    browser.look(1440, 1000, false, false).await;
    browser.open(&page.url()).await;
    browser.until(LIVE).await;
    let seconds = if std::env::var_os("CACHE_PICTURES").is_some() { 45 } else { 3 };
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    keep(&mut browser, "light", true).await;
    keep(&mut browser, "top", false).await;
    browser.look(1440, 1000, true, false).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    keep(&mut browser, "dark", true).await;
    browser.look(390, 844, false, true).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    keep(&mut browser, "phone", true).await;
    browser.look(390, 844, true, true).await;
    keep(&mut browser, "phone-top", false).await;
    browser.look(1440, 1000, false, false).await;
    browser.click("#rows tr button").await;
    keep(&mut browser, "dialog", false).await;
    let (paths, complaints) = (browser.eval("document.querySelectorAll('#chart .area').length").await, browser.complaints());
    assert_eq!((paths, complaints), (json!(4), [].as_slice()));
    cache.scope(get_product(1)).await;
}

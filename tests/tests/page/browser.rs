//! The page in a real Chromium: what somebody who looks, types, listens or holds a phone meets.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use cache_runtime::http::admin::Admin;
use cache_runtime::{Cache, Tenant};
use cache_tests::chromium::Browser;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::shop::{Served, banner, customers, get_product, mounted, search};

const LIVE: &str = "document.querySelector('#state').dataset.state === 'live'";

/// The text of a function's cell under this heading.
fn cell(function: &str, label: &str) -> String {
    format!(
        "[...document.querySelectorAll('#rows tr')].find(tr => tr.querySelector('b').textContent === '{function}')?.querySelector('td[data-label=\"{label}\"]').textContent"
    )
}

/// A page on a desk that has the first numbers, of a cache with one entry of `get_product`, `search` and `banner` each.
async fn opened(shape: impl FnOnce(Admin) -> Admin) -> Option<(Browser, Served)> {
    let mut browser = Browser::start().await?;
    let cache = Cache::memory();
    cache.scope(async { (get_product(1).await, search("x".to_owned()).await, banner(1).await) }).await;
    let page = mounted(&cache, shape).await;
    browser.look(1280, 900, false, false).await;
    browser.open(&page.url()).await;
    browser.until(LIVE).await;
    browser.until("document.querySelectorAll('#catalogue-rows tr').length > 3").await;
    Some((browser, page))
}

impl Served {
    async fn has_product(&self) -> bool {
        self.cache.scope(get_product::peek(1)).await.unwrap().is_some()
    }
}

/// N14: numbers move without a reload, those of a function as well as the totals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_updates_live() {
    let Some((mut browser, page)) = opened(|admin| admin).await else { return };
    assert_eq!(browser.eval(&cell("get_product", "Entries")).await, "1");
    page.cache
        .scope(async {
            get_product(2).await;
            for _ in 0..200 {
                get_product(2).await;
            }
        })
        .await;
    browser.until(&format!("{} === '2'", cell("get_product", "Entries"))).await;
    browser.until(&format!("{} !== '0'", cell("get_product", "Calls / s"))).await;
    assert_eq!(
        browser.eval(&cell("get_product", "Hit rate")).await.as_str().map(|rate| rate.ends_with(" %")),
        Some(true)
    );
    browser.until("document.querySelector('#chart .area').getAttribute('d').length > 10").await;
    assert_eq!(browser.complaints(), [""; 0]);
}

/// N14: nothing is dropped before somebody confirms, and it is said that it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_invalidates_only_after_confirmation() {
    let Some((mut browser, page)) = opened(|admin| admin).await else { return };
    browser.click("#name").await;
    browser.call("Input.insertText", json!({ "text": "product:1" })).await;
    browser.click("#drop button").await;
    browser.until("document.querySelector('dialog').open").await;
    assert_eq!(browser.eval("document.querySelector('#confirm-what').textContent").await, "product:1");
    assert!(page.has_product().await, "asking drops nothing");
    browser.click("#cancel").await;
    browser.until("!document.querySelector('dialog').open").await;
    assert!(page.has_product().await, "nor does saying no");
    browser.click("#drop button").await;
    browser.click("#sure").await;
    browser.until("!document.querySelector('dialog').open").await;
    assert!(!page.has_product().await);
    assert_eq!(browser.eval("document.querySelector('#toast').textContent").await, "Invalidated tag product:1.");
    assert_eq!(browser.eval("document.querySelector('#done .code').textContent").await, "product:1");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// N14: what the server refuses is shown where somebody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_shown_in_the_dialog() {
    let Some((mut browser, page)) = opened(|admin| admin).await else { return };
    browser
        .eval("document.querySelector('#name').value = 'product:1'; document.querySelector('#tenant').value = 'a:b'")
        .await;
    browser.click("#drop button").await;
    browser.click("#sure").await;
    browser
        .until(
            "document.querySelector('#confirm-wrong').textContent.startsWith('Not done: a tenant name cannot contain')",
        )
        .await;
    assert!(page.has_product().await);
}

/// N14, E7: where tenants are isolated, the page asks of which, and drops that one's entries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tenants_are_isolated_it_asks_for_one() {
    let Some(mut browser) = Browser::start().await else { return };
    let cache = Cache::builder().url("mem://").enforce_tenant_isolation(true).build().await.unwrap();
    let (one, two) = (Tenant::new("one").unwrap(), Tenant::new("two").unwrap());
    for tenant in [&one, &two] {
        tenant.scope(cache.scope(get_product(1))).await;
    }
    let page = mounted(&cache, |admin| admin).await;
    browser.look(1280, 900, false, false).await;
    browser.open(&page.url()).await;
    browser.until("document.querySelector('#tenant-optional').textContent === 'required'").await;
    browser.click("#rows button").await;
    browser.until("document.activeElement.id === 'tenant'").await;
    assert_eq!(browser.eval("document.querySelector('dialog').open").await, json!(false));
    browser.call("Input.insertText", json!({ "text": "one" })).await;
    browser.click("#drop button").await;
    browser.click("#sure").await;
    browser.until("document.querySelector('#toast').textContent !== ''").await;
    let there = async |tenant: &Tenant| tenant.scope(cache.scope(get_product::peek(1))).await.unwrap().is_some();
    assert_eq!([there(&one).await, there(&two).await], [false, true]);
}

/// N14: the whole way without a mouse: to a button, through the dialog, and back to where it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_can_be_done_with_the_keyboard() {
    let Some((mut browser, page)) = opened(|admin| admin).await else { return };
    browser.press(&["Tab"]).await;
    assert_eq!(browser.eval("document.activeElement.textContent").await, "Skip to the functions", "the first stop");
    browser.press(&["Enter"]).await;
    let focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent";
    let mut stops = Vec::new();
    for _ in 0..40 {
        browser.press(&["Tab"]).await;
        stops.push(browser.eval(focused).await);
        let visible = browser.eval("getComputedStyle(document.activeElement).outlineStyle !== 'none' || document.activeElement.matches('.choice input')").await;
        assert_eq!(visible, json!(true), "the focus on {:?} can be seen", stops.last());
        if stops.last() == Some(&json!("Clear all entries of get_product")) {
            break;
        }
    }
    assert_eq!(stops.last(), Some(&json!("Clear all entries of get_product")), "{stops:?}");
    browser.press(&["Enter"]).await;
    browser.until("document.querySelector('dialog').open").await;
    assert_eq!(browser.eval("document.activeElement.id").await, "cancel", "the harmless button has the focus");
    browser.press(&["Escape"]).await;
    browser.until("!document.querySelector('dialog').open").await;
    assert!(page.has_product().await);
    browser.press(&["Enter"]).await;
    browser.until("document.querySelector('dialog').open").await;
    browser.press(&["Tab", "Enter"]).await;
    browser.until("!document.querySelector('dialog').open").await;
    assert!(!page.has_product().await);
    assert_eq!(browser.eval(focused).await, "Clear all entries of get_product", "the focus is where it was");
    // Columns are sorted by buttons, and say how. Who goes there as soon as the dialog has closed is not fetched back.
    browser.press(&["Enter"]).await;
    browser.until("document.querySelector('dialog').open").await;
    browser
        .eval("new Promise(closed => { const dialog = document.querySelector('dialog'); dialog.onclose = () => setTimeout(closed); dialog.close(); document.querySelector('#columns th button').focus(); })")
        .await;
    browser.press(&["Enter"]).await;
    assert_eq!(browser.eval("document.querySelector('#columns th').getAttribute('aria-sort')").await, "ascending");
    browser.press(&["Space"]).await;
    assert_eq!(browser.eval("document.querySelector('#columns th').getAttribute('aria-sort')").await, "descending");
    assert_eq!(browser.eval("document.querySelector('#rows b').textContent").await, "search", "and are sorted");
}

/// N14: what a screen reader is given: landmarks, headings, a real table on a desk and on a phone, names for all controls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_reader_finds_names_and_tables() {
    let Some((mut browser, _page)) = opened(|admin| admin).await else { return };
    for phone in [false, true] {
        browser.look(if phone { 390 } else { 1280 }, 900, false, phone).await;
        let heard = browser.heard().await;
        let is_there = |role: &str, name: &str| heard.iter().any(|(is, called)| is == role && called == name);
        let mut wanted = vec![
            ("banner", ""),
            ("main", ""),
            ("heading", "Functions"),
            ("heading", "Health"),
            ("heading", "Catalogue"),
            ("table", "Functions"),
            ("table", "Catalogue"),
            ("cell", if phone { "Entries 1" } else { "1" }),
            ("button", "Pause"),
            ("button", "Clear all entries of get_product"),
            ("searchbox", "Filter functions by name"),
            ("radio", "Tag"),
            ("radio", "Function"),
            ("textbox", "Tag"),
            ("textbox", "Tenant optional"),
            ("button", "Invalidate…"),
            ("status", "What needs attention"),
        ];
        wanted.push(if phone { ("combobox", "Sort by") } else { ("columnheader", "Hit rate") });
        for (role, name) in wanted {
            assert!(is_there(role, name), "phone {phone}: no {role} called {name:?} in {heard:?}");
        }
        let nameless: Vec<_> = heard
            .iter()
            .filter(|(role, name)| {
                ["button", "link", "textbox", "searchbox", "combobox", "radio", "image", "img", "dialog"]
                    .contains(&role.as_str())
                    && name.is_empty()
            })
            .collect();
        assert!(nameless.is_empty(), "without a name: {nameless:?}");
    }
    // What changes each second is in no live region: it would be read out without end.
    let spoken = "[...document.querySelectorAll('[aria-live], [role=status], [role=alert], [role=log]')].map(it => it.id).join()";
    assert_eq!(browser.eval(spoken).await, "attention,toast,confirm-wrong");
    assert_eq!(browser.eval("document.documentElement.lang").await, "en");
}

/// The lowest contrast of any text on the page with what is behind it, and which text that is (WCAG 2.2, 1.4.3).
const CONTRAST: &str = r#"(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colour = (css) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (rgb) => { const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(colour(getComputedStyle(at).backgroundColor));
    return layers.reduce((under, [r, g, b, a]) => under.map((c, i) => c + ([r, g, b][i] - c) * (a / 255)), [255, 255, 255]);
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let worst = [99, ""];
  let texts = 0;
  for (let node; (node = walk.nextNode()); ) {
    const element = node.parentElement;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(element.tagName)) continue;
    if (!element.checkVisibility() || element.closest("dialog:not([open]), .hidden, .skip, .tip")) continue;
    const style = getComputedStyle(element);
    const [one, two] = [light(colour(element.ownerSVGElement ? style.fill : style.color).slice(0, 3)), light(behind(element))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    texts += 1;
    if (ratio < worst[0]) worst = [ratio, node.textContent.trim()];
  }
  return { worst: worst[0], text: worst[1], texts, ground: getComputedStyle(document.body).backgroundColor };
})()"#;

/// N14: light and dark, each readable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_light_or_dark_and_readable_in_both() {
    let Some((mut browser, page)) = opened(|admin| admin).await else { return };
    page.cache.close().await.unwrap();
    browser.until("document.querySelector('#alerts [data-level=bad]')").await;
    let mut grounds = Vec::new();
    for dark in [false, true] {
        browser.look(1280, 900, dark, false).await;
        for dialog in [false, true] {
            if dialog {
                browser.click("#rows button").await;
            }
            let found = browser.eval(CONTRAST).await;
            assert!(found["texts"].as_u64() > Some(80), "{found}");
            assert!(found["worst"].as_f64() >= Some(4.5), "dark {dark}, dialog {dialog}: {found}");
            grounds.push(found["ground"].clone());
        }
        browser.press(&["Escape"]).await;
    }
    assert_ne!(grounds[0], grounds[2], "dark is not light");
}

/// N14: nothing has to be pushed sideways, on phones of today and of ten years ago, nor in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_width_scrolls_sideways() {
    let Some((mut browser, page)) = opened(|admin| admin).await else { return };
    page.cache.scope(async { page.cache.get::<u64>("x").await }).await.unwrap();
    for width in [320, 390, 620, 768, 921, 1024, 1161, 1280, 1341, 1920] {
        browser.look(width, 800, false, width < 700).await;
        let found = browser.eval("({ wide: document.documentElement.scrollWidth, window: innerWidth, out: [...document.querySelectorAll('main *, header *')].filter(it => it.checkVisibility() && !it.closest('.hidden, svg') && it.getBoundingClientRect().right > innerWidth + 0.5).map(it => it.outerHTML.slice(0, 90)).slice(0, 3) })").await;
        assert_eq!(
            (&found["wide"], &found["window"], &found["out"]),
            (&json!(width), &json!(width), &json!([])),
            "at {width}"
        );
    }
    browser.look(390, 800, false, true).await;
    let small = browser.eval("[...document.querySelectorAll('button, select, input:not([type=radio])')].filter(it => it.checkVisibility()).filter(it => it.getBoundingClientRect().height < 24).length").await;
    assert_eq!(small, json!(0), "a finger hits every control (WCAG 2.2, 2.5.8)");
}

/// N14: text of the program is text: its names and tags cannot become elements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_of_the_program_does_not_become_markup() {
    let Some((mut browser, _page)) = opened(|admin| admin).await else { return };
    assert_eq!(browser.eval("document.querySelectorAll('img').length").await, json!(0));
    assert_eq!(browser.eval("document.title").await, "Cache");
    let shown = "[...document.querySelectorAll('.tags li')].some(it => it.textContent === '<<img src=x onerror=document.title=1>>')";
    assert_eq!(browser.eval(shown).await, json!(true));
    // And if some day a line of the script tries: the policy does not let it.
    let tried = browser.eval("(() => { try { document.querySelector('#toast').innerHTML = '<b>x</b>'; return 'done' } catch (e) { return e.name } })()").await;
    assert_eq!(tried, "TypeError");
}

/// N14: what is wrong is said: problems of the catalogue, and a cache that was closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_attention_is_said() {
    let Some((mut browser, page)) = opened(|admin| admin).await else { return };
    browser.until("document.querySelector('#alerts').textContent.includes('The catalogue has a problem.')").await;
    assert_eq!(
        browser.eval("document.querySelector('#problems').textContent.includes('prodcut:<id>')").await,
        json!(true)
    );
    page.cache.close().await.unwrap();
    browser.until("document.querySelector('#alerts').textContent.includes('The cache was closed.')").await;
}

/// N14: a page that changes nothing has no buttons to change something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_page_has_nothing_to_press() {
    let Some((mut browser, _page)) = opened(Admin::read_only).await else { return };
    assert_eq!(browser.eval("[...document.querySelectorAll('main button')].filter(it => it.checkVisibility() && !it.closest('th')).length").await, json!(0));
    assert_eq!(browser.eval("document.querySelector('#drop').checkVisibility()").await, json!(false));
}

/// N14: paused it stands still and asks for nothing; then it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_paused() {
    let Some((mut browser, page)) = opened(|admin| admin).await else { return };
    browser.click("#pause").await;
    browser.until("document.querySelector('#state-text').textContent === 'Paused'").await;
    page.cache.scope(get_product(2)).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(browser.eval(&cell("get_product", "Entries")).await, "1");
    browser.click("#pause").await;
    browser.until(&format!("{} === '2'", cell("get_product", "Entries"))).await;
}

/// N14: a service that goes away and comes back: it is said, and the page goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_back_when_the_service_does() {
    let Some(mut browser) = Browser::start().await else { return };
    let serve = async |at: SocketAddr| {
        let listener = TcpListener::bind(at).await.unwrap();
        let at = listener.local_addr().unwrap();
        let app = Router::new().nest_service("/cache", Admin::new(Cache::memory()).into_router());
        (
            at,
            tokio::spawn(async move {
                axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
            }),
        )
    };
    // A runtime of its own: when it ends, so do all of its connections.
    let (at, first) = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        (runtime.block_on(serve(SocketAddr::from(([127, 0, 0, 1], 0)))).0, runtime)
    })
    .await
    .unwrap();
    browser.look(1280, 900, false, false).await;
    browser.open(&format!("http://{at}/cache/")).await;
    browser.until(LIVE).await;
    first.shutdown_background();
    browser.until("document.querySelector('#state').dataset.state === 'lost'").await;
    let (_, second) = serve(at).await;
    browser.until(LIVE).await;
    browser.until("document.querySelector('#alerts').textContent.includes('Another process answers now.')").await;
    second.abort();
}

/// N14: it draws what is busy. Pictures for people, where CACHE_PICTURES names a folder for them: of the page at
/// CACHE_PICTURES_OF, else of the shop of these tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_draws_a_busy_cache() {
    let Some((mut browser, page)) = opened(|admin| admin).await else { return };
    let folder = std::env::var_os("CACHE_PICTURES");
    if let Ok(other) = std::env::var("CACHE_PICTURES_OF") {
        browser.open(&other).await;
    }
    let _load = customers(&page.cache);
    tokio::time::sleep(Duration::from_secs(if folder.is_some() { 125 } else { 3 })).await;
    for (name, width, height, dark, phone, whole) in [
        ("light", 1440, 1000, false, false, true),
        ("top", 1440, 900, false, false, false),
        ("dark", 1440, 1000, true, false, true),
        ("tablet", 820, 1100, false, false, true),
        ("phone", 390, 844, false, true, true),
        ("phone-dark", 390, 844, true, true, false),
    ] {
        browser.look(width, height, dark, phone).await;
        let Some(folder) = &folder else { continue };
        tokio::time::sleep(Duration::from_secs(2)).await;
        let picture = browser.picture(whole).await;
        std::fs::write(std::path::Path::new(folder).join(format!("{name}.png")), picture)
            .expect("the picture is written");
    }
    let drawn =
        browser.eval("[...document.querySelectorAll('#chart .area')].filter(it => it.getAttribute('d')).length").await;
    assert_eq!((drawn, browser.complaints()), (Value::from(4), [].as_slice()));
}

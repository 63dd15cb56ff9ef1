//! A real Chromium without a window, driven over the DevTools protocol through two pipes: no port, no other program, and it
//! ends when they are closed. Knows nothing of the framework.

use std::process::Stdio;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use crate::wait::within;

/// How long anything may take. A machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one tab. It ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    complaints: Vec<String>,
    _child: Child,
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// One browser at a time: each is several processes, which would only slow each other down.
static TURN: Mutex<()> = Mutex::const_new(());

fn program() -> Option<String> {
    let named = std::env::var("CACHE_CHROMIUM").ok();
    let usual = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].map(ToOwned::to_owned);
    let works = |name: &String| {
        std::process::Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|it| it.success())
    };
    named.into_iter().chain(usual).find(works)
}

impl Browser {
    /// Starts one. `None`: whoever runs the tests said that there is none, with `CACHE_NO_BROWSER=1`.
    ///
    /// # Panics
    ///
    /// There is none, and nobody said so; or it does not start.
    pub async fn start() -> Option<Self> {
        if std::env::var_os("CACHE_NO_BROWSER").is_some_and(|value| value == "1") {
            eprintln!("skipped: CACHE_NO_BROWSER=1 says that there is no browser here");
            return None;
        }
        let program = program().expect(
            "these tests need Chromium: install it (Debian: apt-get install chromium; ./tests/run does), name it in \
             CACHE_CHROMIUM, or say CACHE_NO_BROWSER=1 to go without them",
        );
        let turn = TURN.lock().await;
        let profile = tempfile::tempdir().expect("a folder for the profile");
        // The shell hands the pipes on under the numbers that the browser expects.
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0 4>&1 </dev/null >/dev/null 2>&1; exec \"$@\"", "sh", &program])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--hide-scrollbars",
            ])
            .args(["--font-render-hinting=none", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a shell starts");
        let (to, from) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut browser = Self {
            to,
            from: BufReader::new(from),
            session: None,
            last: 0,
            complaints: Vec::new(),
            _child: child,
            _profile: profile,
            _turn: turn,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true })).await;
        browser.session = attached["sessionId"].as_str().map(ToOwned::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Accessibility.enable"] {
            browser.call(domain, json!({})).await;
        }
        Some(browser)
    }

    /// One command, and what it answers.
    ///
    /// # Panics
    ///
    /// It fails, or takes too long.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).await.expect("the browser runs");
        timeout(PATIENCE, async {
            loop {
                let message = self.read().await;
                if message["id"] == json!(self.last) {
                    assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                    return message["result"].clone();
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{method} took longer than {PATIENCE:?}"))
    }

    async fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).await.expect("the browser runs");
        assert_eq!(bytes.pop(), Some(0), "the browser went away");
        let message: Value = serde_json::from_slice(&bytes).expect("it speaks JSON");
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"].to_string())
            }
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => {
                self.complaints.push(params["args"].to_string())
            }
            _ => {}
        }
        message
    }

    /// Exceptions of scripts, refusals by a content security policy and other errors that a developer would see, so far.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Makes the window so wide and high, in the dark or not, as a phone or not.
    pub async fn look(&mut self, width: u32, height: u32, dark: bool, phone: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }, { "name": "prefers-reduced-motion", "value": "reduce" }] });
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// Goes to a page and waits until it has loaded.
    pub async fn open(&mut self, url: &str) {
        let gone = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(gone["errorText"].is_null(), "{url}: {}", gone["errorText"]);
        self.until("document.readyState === 'complete'").await;
    }

    /// What an expression comes to, as JSON.
    ///
    /// # Panics
    ///
    /// It throws.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let done = self.call("Runtime.evaluate", params).await;
        assert!(done["exceptionDetails"].is_null(), "{expression}: {}", done["exceptionDetails"]);
        done["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    ///
    /// It never is.
    pub async fn until(&mut self, expression: &str) {
        let condition = format!("Boolean({expression})");
        let came = within(PATIENCE, async || self.eval(&condition).await == json!(true)).await;
        assert!(came, "never came: {expression}; complaints: {:?}", self.complaints);
    }

    /// Presses keys, each by its name: `Tab`, `Enter`, `Escape`, `Space`, or a letter.
    pub async fn press(&mut self, keys: &[&str]) {
        for key in keys {
            let (key, code, text) = match *key {
                "Enter" => ("Enter", 13, "\r"),
                "Space" => (" ", 32, " "),
                "Tab" => ("Tab", 9, ""),
                "Escape" => ("Escape", 27, ""),
                "ArrowRight" => ("ArrowRight", 39, ""),
                text => (text, 0, text),
            };
            let mut down = json!({ "type": if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "key": key, "windowsVirtualKeyCode": code });
            if !text.is_empty() {
                down["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", down).await;
            self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }))
                .await;
        }
    }

    /// Clicks into the middle of the element that a selector finds.
    ///
    /// # Panics
    ///
    /// There is none.
    pub async fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const it = document.querySelector({selector:?}); it.scrollIntoView({{ block: 'center' }}); \
             const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let place = self.eval(&place).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Roles and names as a screen reader gets them, without what it is told to leave out and without the bare texts.
    pub async fn heard(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let heard = nodes
            .iter()
            .filter(|node| node["ignored"] != json!(true))
            .map(|node| (text(&node["role"]), text(&node["name"])));
        heard.filter(|(role, _)| !["StaticText", "InlineTextBox", "generic"].contains(&role.as_str())).collect()
    }

    /// A picture of the window, or of the whole page, as a PNG.
    ///
    /// # Panics
    ///
    /// There is none.
    pub async fn picture(&mut self, whole: bool) -> Vec<u8> {
        let shot =
            self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": whole })).await;
        Base64::decode_vec(shot["data"].as_str().expect("a picture")).expect("the picture is base64")
    }
}

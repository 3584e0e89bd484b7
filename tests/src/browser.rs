//! Real Chromium, driven through ChromeDriver.
//!
//! Invariant: a step acts on what a person would see, named by its `data-testid`; waiting is on what the page shows.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Longer than anything takes on a slow machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Browser {
    pub client: Client,
    driver: Child,
    port: u16,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is not installed: run scripts/setup");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1440,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ]
        .map(str::to_owned);
        let capabilities = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:chromeOptions": {"args": arguments, "binary": "/usr/bin/chromium"},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.as_object().unwrap().clone());
            match builder.connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(client) => return Self { client, driver, port, _profile: profile },
                Err(error) if Instant::now() > deadline => panic!("Chromium does not start: {error}"),
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// The element with this `data-testid`, once it is there.
    pub async fn find(&self, testid: &str) -> Element {
        self.css(&format!("[data-testid='{testid}']")).await
    }

    pub async fn css(&self, selector: &str) -> Element {
        match self.client.wait().at_most(PATIENCE).for_element(Locator::Css(selector)).await {
            Ok(element) => element,
            Err(error) => {
                self.screenshot("failed").await;
                panic!("{selector} is not on the page: {error}; a screenshot is in the screenshots' folder");
            }
        }
    }

    pub async fn click(&self, testid: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A live page may replace an element between finding and clicking it.
            match self.find(testid).await.click().await {
                Ok(()) => return,
                Err(error) if Instant::now() > deadline => panic!("{testid} cannot be clicked: {error}"),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub async fn fill(&self, testid: &str, text: &str) {
        self.fill_css(&format!("[data-testid='{testid}']"), text).await;
    }

    /// Replaces what is in an input, as a person does: all is selected, then typed over.
    pub async fn fill_css(&self, selector: &str, text: &str) {
        let element = self.css(selector).await;
        element.send_keys(&(Key::Control + "a" + &Key::Null.to_string())).await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    pub async fn text(&self) -> String {
        self.text_in("body").await
    }

    /// The visible text of the first element of a selector; empty where there is none.
    pub async fn text_in(&self, selector: &str) -> String {
        let script = "const e = document.querySelector(arguments[0]); return e ? e.innerText : ''";
        let found = self.client.execute(script, vec![json!(selector)]).await.unwrap_or_default();
        found.as_str().unwrap_or_default().to_owned()
    }

    /// The text of an element by its `data-testid`.
    pub async fn said(&self, testid: &str) -> String {
        self.text_in(&format!("[data-testid='{testid}']")).await
    }

    /// Names of the rows that the table on the page shows.
    pub async fn rows(&self) -> Vec<String> {
        let script = "return [...document.querySelectorAll(\"[data-testid='row']\")].map((row) => row.dataset.name)";
        let found = self.client.execute(script, vec![]).await.unwrap_or_default();
        found.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// Keys to whatever has the focus.
    pub async fn keys(&self, keys: &str) {
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    pub async fn resize(&self, width: u32, height: u32) {
        self.client.set_window_size(width, height).await.unwrap();
    }

    /// What the page wrote to the console as an error since the last look.
    pub async fn console_errors(&self) -> Vec<String> {
        let session = self.client.session_id().await.unwrap().unwrap_or_default();
        let output = Command::new("curl")
            .args(["-sS", "-m", "20", "-H", "Content-Type: application/json", "-d", r#"{"type":"browser"}"#])
            .arg(format!("http://127.0.0.1:{}/session/{session}/se/log", self.port))
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let entries = answer["value"].as_array().unwrap_or_else(|| panic!("no log: {answer}"));
        let severe =
            entries.iter().filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string());
        // An interface that comes or goes on this machine makes Chromium drop its connections; that is no fault of the
        // page, which opens them again.
        severe.filter(|message| !message.contains("ERR_NETWORK_CHANGED")).collect()
    }

    /// Waits until the page's visible text satisfies `wanted`.
    pub async fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        self.until_in("body", what, wanted).await;
    }

    /// Waits until the text of an element, by its `data-testid`, satisfies `wanted`.
    pub async fn until_said(&self, testid: &str, what: &str, wanted: impl Fn(&str) -> bool) {
        self.until_in(&format!("[data-testid='{testid}']"), what, wanted).await;
    }

    async fn until_in(&self, selector: &str, what: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text_in(selector).await;
            if wanted(&text) {
                return;
            }
            if Instant::now() > deadline {
                self.screenshot("failed").await;
                panic!("{what}: not in {selector}, which says:\n{text}\nthe page says:\n{}", self.text().await);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the names of the table's rows satisfy `wanted`, and returns them.
    pub async fn until_rows(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows().await;
            if wanted(&rows) {
                return rows;
            }
            if Instant::now() > deadline {
                self.screenshot("failed").await;
                panic!("{what}: the table shows {rows:?}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Keeps a picture in `tests/screenshots/` for people to look at.
    pub async fn screenshot(&self, name: &str) {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("screenshots");
        std::fs::create_dir_all(&dir).unwrap();
        if let Ok(png) = self.client.screenshot().await {
            std::fs::write(dir.join(format!("{name}.png")), png).unwrap();
        }
    }

    pub async fn close(self) {
        let _ = self.client.clone().close().await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

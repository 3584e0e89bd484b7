//! A cluster's API for one test: its own database, its own server, requests sent in process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use pilothouse_access::{UserInfo, groups};
use pilothouse_apiserver::{ApiServer, Body, InProcess};
use pilothouse_storage::{Store, testing};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing a test waits for takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestCluster {
    pub api: ApiServer,
    pub store: Store,
    pub url: String,
    shutdown: CancellationToken,
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl TestCluster {
    pub async fn start() -> Self {
        Self::on(testing::shared().await.database().await).await
    }

    /// A backend on a database that may have others.
    pub async fn on(url: String) -> Self {
        Self::with(pilothouse_storage::Config::new(&url)).await
    }

    pub async fn with(config: pilothouse_storage::Config) -> Self {
        let logs = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env());
        // Only the first test of the process sets it up.
        let _ = logs.with_test_writer().try_init();
        let url = config.url.clone();
        let (api, store, shutdown) = pilothouse_apiserver::testing::start(config).await;
        Self { api, store, url, shutdown }
    }

    /// Waits until the server has written what it writes by itself after its start (statuses of flow schemas, say), for
    /// tests that count revisions.
    pub async fn settled(&self) {
        let quiet = async {
            let mut last = 0;
            while last != self.store.revision() {
                last = self.store.revision();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        timeout(PATIENCE, quiet).await.expect("the server comes to rest");
    }

    /// Somebody who may do everything.
    pub fn admin(&self) -> Caller {
        self.user("admin", &[groups::MASTERS, groups::AUTHENTICATED])
    }

    pub fn user(&self, name: &str, groups: &[&str]) -> Caller {
        Caller { api: self.api.clone(), user: Some(Arc::new(UserInfo::new(name, groups))) }
    }

    /// Comes through the front: only its headers say who it is.
    pub fn stranger(&self) -> Caller {
        Caller { api: self.api.clone(), user: None }
    }

    /// Asks until the answer is as it should be in the end (what one request changes, the next may not see at once).
    pub async fn eventually<F: Future<Output = Reply>>(
        &self,
        ask: impl Fn() -> F,
        done: impl Fn(&Reply) -> bool,
    ) -> Reply {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let reply = ask().await;
            if done(&reply) {
                return reply;
            }
            assert!(tokio::time::Instant::now() < end, "still {}", reply.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A namespace of the test's own, with its default account.
    pub async fn namespace(&self, name: &str) {
        let admin = self.admin();
        admin.create("/api/v1/namespaces", &namespace(name)).await;
        let account =
            serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        admin.create(&format!("/api/v1/namespaces/{name}/serviceaccounts"), &account).await;
    }
}

pub fn namespace(name: &str) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub fn config_map(name: &str, data: &Value) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub fn deployment(name: &str, replicas: i64) -> Value {
    serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                 "template": {"metadata": {"labels": {"app": name}},
                              "spec": {"containers": [{"name": "main", "image": "demo:1"}]}}},
    })
}

pub fn pod(name: &str) -> Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "demo:1"}]},
    })
}

#[derive(Clone)]
pub struct Caller {
    api: ApiServer,
    user: Option<Arc<UserInfo>>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
    pub fn warnings(&self) -> Vec<String> {
        self.headers.get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }
    /// `409 AlreadyExists`.
    pub fn said(&self) -> String {
        format!("{} {}", self.status, self.json()["reason"].as_str().unwrap_or_default())
    }
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

impl Caller {
    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Body> {
        let body = body.into();
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let mut request = request.body(body).unwrap();
        if let Some(user) = &self.user {
            request.extensions_mut().insert(InProcess(Arc::clone(user)));
        }
        request
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let request = self.request(method.parse().unwrap(), path, headers, body);
        let answer = async {
            let (parts, body) = self.api.handle(request).await.into_parts();
            let body = body.collect().await.expect("the body is whole").to_bytes();
            Reply { status: parts.status.as_u16(), headers: parts.headers, body }
        };
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("no answer to {method} {path}"))
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }
    pub async fn post(&self, path: &str, object: &Value) -> Reply {
        self.send("POST", path, &[], object.to_string()).await
    }
    pub async fn put(&self, path: &str, object: &Value) -> Reply {
        self.send("PUT", path, &[], object.to_string()).await
    }
    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], "").await
    }
    /// `format` is `json`, `merge`, `strategic-merge` or `apply`.
    pub async fn patch(&self, path: &str, format: &str, patch: &Value) -> Reply {
        let media = match format {
            "apply" => "application/apply-patch+yaml".to_owned(),
            other => format!("application/{other}-patch+json"),
        };
        self.send("PATCH", path, &[("content-type", &media)], patch.to_string()).await
    }
    /// Creates, and fails the test when that does not work.
    #[track_caller]
    pub fn create(&self, path: &str, object: &Value) -> impl Future<Output = Value> {
        let (caller, path, object) = (self.clone(), path.to_owned(), object.clone());
        async move { caller.post(&path, &object).await.expect(201) }
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Lines {
        self.watch_as(path, &[]).await
    }

    pub async fn watch_as(&self, path: &str, headers: &[(&str, &str)]) -> Lines {
        let request = self.request(Method::GET, path, headers, "");
        let response = self.api.handle(request).await;
        Lines { status: response.status().as_u16(), body: response.into_body(), buffer: Vec::new() }
    }
}

/// The events of a watch.
pub struct Lines {
    pub status: u16,
    body: Body,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next event, none at the stream's end.
    pub async fn next(&mut self) -> Option<Value> {
        timeout(PATIENCE, self.read()).await.expect("an event comes")
    }

    /// Nothing may come for a moment.
    pub async fn silence(&mut self) {
        if let Ok(line) = timeout(Duration::from_millis(300), self.read()).await {
            panic!("nothing was expected: {line:?}");
        }
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a line is JSON"));
            }
            let frame = self.body.frame().await?.expect("the stream goes on");
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// `ADDED a`, `DELETED b` …
    pub async fn said(&mut self) -> String {
        let event = self.next().await.expect("the watch is open");
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", event["type"].as_str().unwrap_or_default()).trim_end().to_owned()
    }
}

pub fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a resourceVersion")
}

pub fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

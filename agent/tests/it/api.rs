//! A Kubernetes API in memory, as far as an agent needs one: a `kube::Client` without a socket.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;

type Answer = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone)]
pub struct Api {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<(String, Value)>,
}

#[derive(Default)]
struct State {
    revision: u64,
    /// By collection (`pods`), namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    /// Method and path within the namespace of every request but watches.
    asked: Vec<String>,
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": reason, "code": code, "metadata": {}});
    (code, status)
}

impl Api {
    pub fn new() -> Self {
        Self { state: Arc::default(), events: broadcast::channel(1024).0 }
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    fn store(&self, state: &mut State, collection: &str, mut object: Value, event: &str) -> Value {
        state.revision += 1;
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let key = (collection.to_owned(), text("namespace"), text("name"));
        if event == "DELETED" {
            state.objects.remove(&key);
        } else {
            state.objects.insert(key, object.clone());
        }
        let _ = self.events.send((collection.to_owned(), json!({"type": event, "object": object})));
        object
    }

    /// Creates or replaces an object.
    pub fn put(&self, collection: &str, object: Value) {
        let mut state = self.state.lock();
        self.store(&mut state, collection, object, "MODIFIED");
    }

    pub fn get(&self, collection: &str, name: &str) -> Option<Value> {
        self.state.lock().objects.get(&(collection.to_owned(), "default".to_owned(), name.to_owned())).cloned()
    }

    pub fn all(&self, collection: &str) -> Vec<Value> {
        let state = self.state.lock();
        state.objects.iter().filter(|((of, ..), _)| of == collection).map(|(_, object)| object.clone()).collect()
    }

    /// An object without a namespace.
    pub fn global(&self, collection: &str, name: &str) -> Option<Value> {
        self.state.lock().objects.get(&(collection.to_owned(), String::new(), name.to_owned())).cloned()
    }

    /// Takes an object away.
    pub fn remove(&self, collection: &str, object: Value) {
        let mut state = self.state.lock();
        self.store(&mut state, collection, object, "DELETED");
    }

    /// How often it was asked for just this.
    pub fn asked(&self, what: &str) -> usize {
        self.state.lock().asked.iter().filter(|asked| *asked == what).count()
    }

    /// Deletes a pod as the API does: with a grace period, or at once.
    pub fn delete_pod(&self, name: &str, grace: i64) {
        let mut state = self.state.lock();
        let key = ("pods".to_owned(), "default".to_owned(), name.to_owned());
        let Some(mut pod) = state.objects.get(&key).cloned() else { return };
        if grace == 0 {
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            self.store(&mut state, "pods", pod, "DELETED");
            return;
        }
        let when = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
        pod["metadata"]["deletionTimestamp"] = json!(when.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.store(&mut state, "pods", pod, "MODIFIED");
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        if query.contains_key("watch") {
            return self.watch(path.last().unwrap());
        }
        let (code, value) = self.serve(&parts.method, &path, &body);
        let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
        response.body(Full::new(Bytes::from(value.to_string())).boxed_unsync()).unwrap()
    }

    fn watch(&self, collection: &str) -> Response<Answer> {
        let mut events = self.events.subscribe();
        let collection = collection.to_owned();
        // A watch that begins anew begins with what is there: the test's lists and watches are apart in time.
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<http_body::Frame<Bytes>, Infallible>>(64);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = events.recv() => {
                        let Ok((of, event)) = event else { return };
                        if of == collection && sender.send(Ok(http_body::Frame::data(Bytes::from(format!("{event}\n"))))).await.is_err() {
                            return;
                        }
                    }
                    () = tokio::time::sleep(Duration::from_secs(300)) => return,
                }
            }
        });
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        Response::new(StreamBody::new(stream).boxed_unsync())
    }

    fn serve(&self, method: &Method, path: &[&str], body: &Bytes) -> (u16, Value) {
        let sent = || serde_json::from_slice::<Value>(body).unwrap();
        let (namespace, rest) = match path {
            ["api", "v1", "namespaces", namespace, rest @ ..] => (Some(*namespace), rest),
            ["api", "v1", rest @ ..] => (None, rest),
            _ => return refusal(404, "NotFound", &format!("{method} /{}", path.join("/"))),
        };
        let key = |collection: &str, name: &str| {
            (collection.to_owned(), namespace.unwrap_or_default().to_owned(), name.to_owned())
        };
        let mut state = self.state.lock();
        state.asked.push(format!("{method} {}", rest.join("/")));
        match (method, rest) {
            (&Method::GET, [collection]) => (200, list(&state, collection, namespace)),
            (&Method::GET, [collection, name]) => match state.objects.get(&key(collection, name)) {
                Some(object) => (200, object.clone()),
                None => refusal(404, "NotFound", &format!("{collection} \"{name}\" not found")),
            },
            (&Method::POST, ["serviceaccounts", name, "token"]) => {
                let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
                let mut answer = sent();
                answer["status"] =
                    json!({"token": format!("token-of-{name}"), "expirationTimestamp": expires.to_string()});
                (201, answer)
            }
            (&Method::POST, [collection]) => (201, self.store(&mut state, collection, sent(), "ADDED")),
            (&Method::PATCH, [collection, name, ..]) => {
                let Some(mut object) = state.objects.get(&key(collection, name)).cloned() else {
                    return refusal(404, "NotFound", "not found");
                };
                let patch = sent();
                let version = &patch["metadata"]["resourceVersion"];
                if !version.is_null() && *version != object["metadata"]["resourceVersion"] {
                    return refusal(409, "Conflict", "the object has been modified");
                }
                merge(&mut object, &patch);
                (200, self.store(&mut state, collection, object, "MODIFIED"))
            }
            (&Method::DELETE, [collection, name]) => {
                let Some(mut object) = state.objects.get(&key(collection, name)).cloned() else {
                    return refusal(404, "NotFound", "not found");
                };
                if object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()) {
                    object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
                    return (200, self.store(&mut state, collection, object, "MODIFIED"));
                }
                self.store(&mut state, collection, object, "DELETED");
                (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}}))
            }
            _ => refusal(404, "NotFound", &format!("{method} /{}", path.join("/"))),
        }
    }
}

fn list(state: &State, collection: &str, namespace: Option<&str>) -> Value {
    let items: Vec<&Value> = state
        .objects
        .iter()
        .filter(|((of, within, _), _)| of == collection && namespace.is_none_or(|namespace| namespace == within))
        .map(|(_, object)| object)
        .collect();
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": state.revision.to_string()}, "items": items})
}

//! Events about pods and the node, told to the API in the background.
//!
//! Invariants: telling never waits and never fails whoever tells; the same event again raises a count instead of making
//! a new object; one noisy pod cannot flood the API (upstream's spam filter: 25 at once, then one in five minutes), and
//! what it repeats (a readiness probe that fails each second) does not silence what else happens to it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::client::is_not_found;

const QUEUE: usize = 512;
/// Events whose repetition is counted; older ones are told anew.
const REMEMBERED: usize = 512;
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// Upstream's limit on an event's message.
const MAX_MESSAGE: usize = 1024;
const COMPONENT: &str = "kubelet";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Normal,
    Warning,
}

/// Whom an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// `spec.containers{name}` when it is about one container.
    pub field_path: Option<String>,
}

impl Subject {
    #[must_use]
    pub fn pod(pod: &Pod) -> Self {
        Self {
            kind: "Pod",
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            field_path: None,
        }
    }

    #[must_use]
    pub fn node(name: &str) -> Self {
        // Upstream uses the name as uid here, and `kubectl describe node` looks for that.
        Self { kind: "Node", namespace: String::new(), name: name.to_owned(), uid: name.to_owned(), field_path: None }
    }

    #[must_use]
    pub fn at(mut self, field_path: String) -> Self {
        self.field_path = Some(field_path);
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Told {
    subject: Subject,
    type_: Type,
    reason: String,
    message: String,
}

/// Takes events from anywhere in the agent.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Told>,
}

/// The other end of a [`Recorder`].
pub struct Events {
    queue: mpsc::Receiver<Told>,
}

#[must_use]
pub fn channel() -> (Recorder, Events) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Recorder { queue: sender }, Events { queue: receiver })
}

impl Recorder {
    pub fn tell(&self, subject: Subject, type_: Type, reason: &str, message: impl Into<String>) {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
        }
        let told = Told { subject, type_, reason: reason.to_owned(), message };
        if self.queue.try_send(told).is_err() {
            debug!("an event was dropped: too many at once");
        }
    }
}

struct Known {
    namespace: String,
    name: String,
    count: i32,
    used: Instant,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let refill = now.duration_since(self.at).as_secs_f64() / REFILL.as_secs_f64();
        self.tokens = (self.tokens + refill).min(BURST);
        self.at = now;
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

impl Events {
    /// The reasons and messages told so far, in order; for tests that run without an API.
    pub fn drain(&mut self) -> Vec<(String, String)> {
        std::iter::from_fn(|| self.queue.try_recv().ok()).map(|told| (told.reason, told.message)).collect()
    }

    /// Sends what is told until `shutdown`.
    pub async fn run(mut self, client: kube::Client, node: String, shutdown: CancellationToken) {
        let mut known: HashMap<Told, Known> = HashMap::new();
        let mut buckets: HashMap<(String, String), Bucket> = HashMap::new();
        loop {
            let told = tokio::select! {
                told = self.queue.recv() => told,
                () = shutdown.cancelled() => return,
            };
            let Some(told) = told else { return };
            let now = Instant::now();
            if buckets.len() >= REMEMBERED {
                buckets.retain(|_, bucket| now.duration_since(bucket.at) < REFILL);
            }
            let key = (told.subject.uid.clone(), told.reason.clone());
            let bucket = buckets.entry(key).or_insert(Bucket { tokens: BURST, at: now });
            if !bucket.take(now) {
                continue;
            }
            if known.len() >= REMEMBERED
                && let Some(oldest) = known.iter().min_by_key(|(_, known)| known.used).map(|(told, _)| told.clone())
            {
                known.remove(&oldest);
            }
            if let Err(error) = send(&client, &node, told, &mut known).await {
                debug!(%error, "an event was not taken");
            }
        }
    }
}

async fn send(client: &kube::Client, node: &str, told: Told, known: &mut HashMap<Told, Known>) -> kube::Result<()> {
    let now = Timestamp::now();
    if let Some(former) = known.get_mut(&told) {
        let api: Api<Event> = Api::namespaced(client.clone(), &former.namespace);
        let patch = json!({"count": former.count + 1, "lastTimestamp": Time(now)});
        match api.patch(&former.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                former.count += 1;
                former.used = Instant::now();
                return Ok(());
            }
            // It has expired.
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let event = event(&told, node, now);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let made = api.create(&PostParams::default(), &event).await?;
    let name = made.metadata.name.unwrap_or_default();
    known.insert(told, Known { namespace, name, count: 1, used: Instant::now() });
    Ok(())
}

fn event(told: &Told, node: &str, now: Timestamp) -> Event {
    let subject = &told.subject;
    let namespace = if subject.namespace.is_empty() { "default" } else { &subject.namespace };
    Event {
        metadata: ObjectMeta {
            // Upstream's form: the object's name and a number that nobody else has.
            name: Some(format!(
                "{}.{:016x}",
                subject.name,
                now.as_nanosecond() as u64 ^ (rand::random::<u64>() & 0xfff)
            )),
            namespace: Some(namespace.to_owned()),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(subject.kind.to_owned()),
            namespace: Some(subject.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(subject.name.clone()),
            uid: Some(subject.uid.clone()),
            field_path: subject.field_path.clone(),
            ..Default::default()
        },
        type_: Some(if told.type_ == Type::Normal { "Normal" } else { "Warning" }.to_owned()),
        reason: Some(told.reason.clone()),
        message: Some(told.message.clone()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_owned()) }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_pod_is_held_back() {
        let now = Instant::now();
        let mut bucket = Bucket { tokens: BURST, at: now };
        assert_eq!((0..100).filter(|_| bucket.take(now)).count(), 25);
        let later = now + REFILL;
        assert!(bucket.take(later));
        assert!(!bucket.take(later));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let (recorder, mut events) = channel();
        recorder.tell(Subject::node("a"), Type::Normal, "Long", "é".repeat(2000));
        assert_eq!(events.drain(), [("Long".to_owned(), "é".repeat(512))]);
    }
}

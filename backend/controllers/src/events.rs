//! Events: what controllers and the scheduler tell people about objects.
//!
//! Invariants:
//! - Recording never waits and never fails its caller; what does not fit the bounded queue is dropped and logged.
//! - The same event about the same object is one Event with a count; an object that keeps failing is throttled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::cache::Cached;

const QUEUE: usize = 8192;
/// Series remembered for counting; beyond it the oldest go.
const REMEMBERED: usize = 2048;
/// A series is continued for this long after its last event.
const SERIES: Duration = Duration::from_secs(600);
/// Per component and object: this many at once, then one every `REFILL`.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
const CONCURRENT_WRITES: usize = 32;
const MAX_MESSAGE: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Normal,
    Warning,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Records events as one component. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    component: Arc<str>,
    client: Client,
    send: mpsc::Sender<Recorded>,
}

struct Recorded {
    client: Client,
    component: Arc<str>,
    object: ObjectReference,
    type_: Type,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// The reference of a typed object.
pub fn reference<K: Cached>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

impl Recorder {
    pub fn event<K: Cached>(&self, object: &K, type_: Type, reason: &'static str, message: impl Into<String>) {
        self.about(reference(object), type_, reason, message);
    }

    pub fn normal<K: Cached>(&self, object: &K, reason: &'static str, message: impl Into<String>) {
        self.event(object, Type::Normal, reason, message);
    }

    pub fn warning<K: Cached>(&self, object: &K, reason: &'static str, message: impl Into<String>) {
        self.event(object, Type::Warning, reason, message);
    }

    pub fn about(&self, object: ObjectReference, type_: Type, reason: &'static str, message: impl Into<String>) {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(end);
        }
        let (client, component) = (self.client.clone(), self.component.clone());
        let recorded = Recorded { client, component, object, type_, reason, message, at: Timestamp::now() };
        if self.send.try_send(recorded).is_err() {
            tracing::debug!(component = %self.component, reason, "the queue of events is full; one was dropped");
        }
    }
}

/// The task that writes events, shared by all recorders of the process.
#[derive(Clone)]
pub struct Broadcaster(mpsc::Sender<Recorded>);

impl Broadcaster {
    pub fn start(shutdown: CancellationToken) -> Self {
        let (send, receive) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            tokio::select! { () = shutdown.cancelled() => {}, () = write_all(receive) => {} }
        });
        Self(send)
    }

    pub fn recorder(&self, component: &str, client: Client) -> Recorder {
        Recorder { component: component.into(), client, send: self.0.clone() }
    }
}

async fn write_all(mut receive: mpsc::Receiver<Recorded>) {
    let writes = Arc::new(Semaphore::new(CONCURRENT_WRITES));
    let mut book = Book::default();
    while let Some(recorded) = receive.recv().await {
        let Some(write) = book.enter(&recorded, Instant::now(), rand::random()) else { continue };
        let Ok(permit) = writes.clone().acquire_owned().await else { return };
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = execute(recorded, write).await {
                tracing::debug!(%error, "an event could not be written");
            }
        });
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Write {
    Create(String),
    /// One more of an event that is there: its name and the count so far.
    Count(String, i32),
}

#[derive(Default)]
struct Book {
    series: HashMap<SeriesKey, Series>,
    throttles: HashMap<(Arc<str>, String), Throttle>,
}

type SeriesKey = (Arc<str>, String, &'static str, Type, String);

struct Series {
    name: String,
    count: i32,
    last: Instant,
}

struct Throttle {
    tokens: f64,
    at: Instant,
}

impl Book {
    /// What to write for this event; none when its object is over its rate.
    fn enter(&mut self, recorded: &Recorded, now: Instant, unique: u64) -> Option<Write> {
        let object = &recorded.object;
        let id = format!(
            "{}/{}/{}/{}",
            object.kind.as_deref().unwrap_or_default(),
            object.namespace.as_deref().unwrap_or_default(),
            object.name.as_deref().unwrap_or_default(),
            object.uid.as_deref().unwrap_or_default()
        );
        self.trim(now);
        let full = Throttle { tokens: BURST, at: now };
        let throttle = self.throttles.entry((recorded.component.clone(), id.clone())).or_insert(full);
        throttle.tokens = (throttle.tokens + (now - throttle.at).as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        throttle.at = now;
        if throttle.tokens < 1.0 {
            return None;
        }
        throttle.tokens -= 1.0;
        let key = (recorded.component.clone(), id, recorded.reason, recorded.type_, recorded.message.clone());
        if let Some(series) = self.series.get_mut(&key).filter(|s| now - s.last < SERIES) {
            series.count += 1;
            series.last = now;
            return Some(Write::Count(series.name.clone(), series.count));
        }
        let name = format!("{}.{unique:016x}", object.name.as_deref().unwrap_or_default());
        self.series.insert(key, Series { name: name.clone(), count: 1, last: now });
        Some(Write::Create(name))
    }

    fn trim(&mut self, now: Instant) {
        if self.series.len() >= REMEMBERED {
            let mut ages: Vec<Instant> = self.series.values().map(|s| s.last).collect();
            let middle = ages.len() / 2;
            let median = *ages.select_nth_unstable(middle).1;
            self.series.retain(|_, s| s.last > median && now - s.last < SERIES);
        }
        if self.throttles.len() >= REMEMBERED {
            // A full bucket is as good as none.
            self.throttles.retain(|_, t| t.tokens + (now - t.at).as_secs_f64() / REFILL.as_secs_f64() < BURST - 1.0);
            if self.throttles.len() >= REMEMBERED {
                self.throttles.clear();
            }
        }
    }
}

async fn execute(recorded: Recorded, write: Write) -> kube::Result<()> {
    let namespace = recorded.object.namespace.clone().unwrap_or_else(|| "default".into());
    let api: Api<Event> = Api::namespaced(recorded.client.clone(), &namespace);
    let (name, count) = match write {
        Write::Create(name) => (name, 1),
        Write::Count(name, count) => {
            let patch = json!({"count": count, "lastTimestamp": Time(recorded.at)});
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                // It has expired meanwhile.
                Err(kube::Error::Api(status)) if status.code == 404 => (name, count),
                other => return other.map(|_| ()),
            }
        }
    };
    let at = Some(Time(recorded.at));
    let event = Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..Default::default() },
        involved_object: recorded.object,
        reason: Some(recorded.reason.into()),
        message: Some(recorded.message),
        type_: Some(recorded.type_.as_str().into()),
        source: Some(EventSource { component: Some(recorded.component.to_string()), host: None }),
        reporting_component: Some(recorded.component.to_string()),
        first_timestamp: at.clone(),
        last_timestamp: at,
        count: Some(count),
        ..Default::default()
    };
    api.create(&PostParams::default(), &event).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(name: &str, message: &str) -> Recorded {
        let client = crate::testing::dead_client();
        let object = ObjectReference { name: Some(name.into()), ..Default::default() };
        let (component, at) = ("c".into(), Timestamp::UNIX_EPOCH);
        Recorded { client, component, object, type_: Type::Normal, reason: "R", message: message.into(), at }
    }

    #[tokio::test]
    async fn the_same_event_counts_and_a_flood_is_throttled() {
        let (mut book, now) = (Book::default(), Instant::now());
        assert_eq!(book.enter(&recorded("a", "m"), now, 1), Some(Write::Create("a.0000000000000001".into())));
        assert_eq!(book.enter(&recorded("a", "m"), now, 2), Some(Write::Count("a.0000000000000001".into(), 2)));
        assert_eq!(book.enter(&recorded("b", "m"), now, 3), Some(Write::Create("b.0000000000000003".into())));
        let passed = (0..100).filter(|i| book.enter(&recorded("a", &i.to_string()), now, 4).is_some()).count();
        assert_eq!(passed, 23, "a burst of 25, two of them used");
        assert!(book.enter(&recorded("a", "m"), now + REFILL + REFILL, 5).is_some());
        for i in 0..3 * REMEMBERED {
            book.enter(&recorded(&i.to_string(), "m"), now, 6);
        }
        assert!(book.series.len() <= REMEMBERED && book.throttles.len() <= REMEMBERED);
    }
}

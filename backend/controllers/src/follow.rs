//! Following a kind in a form of one's own: list, then watch, for ever. For those who need few fields of many objects.
//!
//! Invariants:
//! - What follows sees a full list first and after every gap; in between, each change in order.
//! - An object that cannot be decoded is logged and skipped; it never stops the watch.

use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::mpsc::Sender;

/// What is followed must say how far it brings the follower.
pub trait Versioned {
    fn resource_version(&self) -> &str;
}

const PAGE: usize = 1000;
/// The server ends a watch after this long; it is taken up again where it was.
const WATCH_SECONDS: u64 = 290;
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub enum Update<T> {
    /// Everything there is.
    Reset(Vec<T>),
    Put(T),
    Gone(T),
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the answer cannot be understood: {0}")]
    Decode(#[from] serde_json::Error),
    #[error("the stream broke: {0}")]
    Stream(#[from] std::io::Error),
    #[error("the stream stood still")]
    Silent,
    #[error("what follows {0} is no longer known")]
    Gone(String),
    #[error("nobody listens any more")]
    Ended,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    more: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: ListMeta,
}

/// A kind to follow.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `/api/v1/pods`
    pub path: String,
    /// A field selector, may be empty.
    pub fields: &'static str,
    /// Only the objects' metadata.
    pub metadata_only: bool,
}

/// Sends every update, wrapped by `wrap`, until the receiver is gone.
pub async fn follow<T, I>(client: Client, source: Source, send: Sender<I>, wrap: fn(Update<T>) -> I)
where
    T: Versioned + DeserializeOwned + Send + 'static,
    I: Send + 'static,
{
    let mut follower = Follower { client, source, send, wrap, version: String::new() };
    let mut pause = MIN_PAUSE;
    loop {
        match follower.round().await {
            Ok(()) => pause = MIN_PAUSE,
            Err(Error::Ended) => return,
            Err(Error::Gone(version)) => {
                tracing::debug!(path = follower.source.path, version, "listing anew");
                follower.version.clear();
            }
            Err(error) => {
                let path = &follower.source.path;
                if matches!(&error, Error::Api(kube::Error::Api(status)) if status.code == 404) {
                    // A custom resource whose definition has gone: whoever follows it will hear of that.
                    tracing::debug!(path, "what is watched is not served");
                } else {
                    tracing::warn!(path, %error, "a watch broke; it will be taken up again");
                }
                tokio::time::sleep(pause.mul_f64(1.0 + rand::random::<f64>() / 4.0)).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

struct Follower<T, I> {
    client: Client,
    source: Source,
    send: Sender<I>,
    wrap: fn(Update<T>) -> I,
    /// Up to where everything has been sent; empty before the first list.
    version: String,
}

impl<T: Versioned + DeserializeOwned + Send + 'static, I: Send + 'static> Follower<T, I> {
    async fn round(&mut self) -> Result<(), Error> {
        if self.version.is_empty() {
            let (version, items) = self.list().await?;
            self.emit(Update::Reset(items)).await?;
            self.version = version;
        }
        self.watch().await
    }

    async fn emit(&self, update: Update<T>) -> Result<(), Error> {
        self.send.send((self.wrap)(update)).await.map_err(|_| Error::Ended)
    }

    fn request(&self, query: &[(&str, &str)]) -> Result<http::Request<Vec<u8>>, Error> {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(query.iter().filter(|(_, value)| !value.is_empty()));
        let uri = format!("{}?{}", self.source.path, pairs.finish());
        let accept = match (self.source.metadata_only, query.first().is_some_and(|(key, _)| *key == "watch")) {
            (false, _) => "application/json",
            (true, false) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            (true, true) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        };
        http::Request::get(uri)
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(|e| Error::Api(kube::Error::HttpError(e)))
    }

    async fn list(&self) -> Result<(String, Vec<T>), Error> {
        let (mut items, mut more) = (Vec::new(), String::new());
        let limit = PAGE.to_string();
        loop {
            let request =
                self.request(&[("fieldSelector", self.source.fields), ("limit", &limit), ("continue", &more)])?;
            let text = self.client.request_text(request).await?;
            let list: List<'_> = serde_json::from_str(&text)?;
            items.extend(list.items.into_iter().filter_map(|raw| self.decode(raw)));
            if list.metadata.more.is_empty() {
                return Ok((list.metadata.resource_version, items));
            }
            more = list.metadata.more;
        }
    }

    fn decode(&self, raw: &RawValue) -> Option<T> {
        match serde_json::from_str(raw.get()) {
            Ok(object) => Some(object),
            Err(error) => {
                tracing::warn!(path = self.source.path, %error, "an object cannot be decoded; it is left out");
                None
            }
        }
    }

    async fn watch(&mut self) -> Result<(), Error> {
        let timeout = WATCH_SECONDS.to_string();
        let request = self.request(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("fieldSelector", self.source.fields),
            ("resourceVersion", &self.version),
            ("timeoutSeconds", &timeout),
        ])?;
        let stream = match self.client.request_stream(request).await {
            Err(kube::Error::Api(status)) if status.code == 410 => return Err(Error::Gone(self.version.clone())),
            other => other?,
        };
        let mut lines = std::pin::pin!(stream.lines());
        let silence = Duration::from_secs(WATCH_SECONDS + 15);
        loop {
            let line = tokio::time::timeout(silence, lines.try_next()).await.map_err(|_| Error::Silent)??;
            let Some(line) = line else { return Ok(()) };
            if !line.trim().is_empty() {
                self.event(&line).await?;
            }
        }
    }

    async fn event(&mut self, line: &str) -> Result<(), Error> {
        let Line { kind, object } = serde_json::from_str(line)?;
        let update = match kind {
            "ADDED" | "MODIFIED" => Update::Put,
            "DELETED" => Update::Gone,
            "BOOKMARK" => {
                let bookmark: Bookmark = serde_json::from_str(object.get())?;
                self.version = bookmark.metadata.resource_version;
                return Ok(());
            }
            _ => return Err(Error::Gone(self.version.clone())),
        };
        if let Some(object) = self.decode(object) {
            let version = object.resource_version().to_owned();
            self.emit(update(object)).await?;
            self.version = version;
        }
        Ok(())
    }
}

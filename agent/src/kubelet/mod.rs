//! The kubelet's API, served to the backend through the tunnel and to nobody else.
//!
//! Invariants: there is no listener, so whoever asks has come through the backend's authentication; a stream that the
//! backend has left ends here, too.

mod forward;
mod health;
mod import;
mod logs;
mod metrics;
mod spdy;
mod stats;
mod stream;
mod websocket;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use crate::pods::context::Context;

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;
pub(crate) type Answer = Response<Body>;

/// A refusal, in the kubelet's form: a status and a line of text.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(pub StatusCode, pub String);

pub(crate) fn refuse<T>(status: StatusCode, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(status, text.into()))
}

pub(crate) fn full(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}

/// The parameters of a request's query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: Option<&str>) -> Self {
        Self(form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The kubelet's `input=1` and the API's `stdin=true` alike.
    fn flag(&self, names: [&str; 2]) -> bool {
        names.iter().any(|name| matches!(self.get(name), Some("1" | "true")))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Refusal(StatusCode::BAD_REQUEST, format!("{name} {text:?} is not a number")))
        };
        self.get(name).map(parse).transpose()
    }
}

/// What the API serves from.
pub struct Server {
    pub context: Arc<Context>,
    stats: stats::Sampler,
}

impl Server {
    #[must_use]
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self { context, stats: stats::Sampler::default() })
    }

    /// Serves one connection: a stream out of the tunnel.
    pub fn serve(self: &Arc<Self>, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let server = Arc::clone(self);
        let service = service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        tokio::spawn(async move {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).max_buf_size(64 * 1024);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
                debug!(%error, "a connection through the tunnel ended");
            }
        });
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match self.route(request).await {
            Ok(answer) => answer,
            Err(Refusal(status, text)) => full(status, "text/plain; charset=utf-8", text + "\n"),
        }
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let path = request.uri().path().trim_matches('/').to_owned();
        // Decoded after the split: a slash inside a name stays inside.
        let decode = |part| percent_encoding::percent_decode_str(part).decode_utf8();
        let decoded: Result<Vec<_>, _> = path.split('/').map(decode).collect();
        let decoded = decoded.map_err(|_| Refusal(StatusCode::BAD_REQUEST, format!("malformed path /{path}")))?;
        let parts: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
        let query = Query::parse(request.uri().query());
        let method = request.method().clone();
        let streams = matches!(method, Method::GET | Method::POST);
        match (&method, parts.as_slice()) {
            (&Method::GET, ["healthz"]) => Ok(full(StatusCode::OK, "text/plain; charset=utf-8", "ok")),
            (&Method::GET, ["healthz", "dns"]) => {
                let config = self.context.config();
                health::cluster_dns(config.cluster_dns, &config.cluster_domain).await
            }
            (_, ["proxy", scheme, ip, port, ..]) => forward::answer(scheme, ip, port, request).await,
            (&Method::GET, ["dial", ip, port]) => forward::dial(ip, port, request).await,
            (&Method::GET, ["pods"]) => self.pods(),
            (&Method::GET, ["stats", "summary"]) => self.stats.summary(&self.context).await,
            (&Method::GET, ["metrics"]) => Ok(metrics::own(&self.context).await),
            (&Method::GET, ["metrics", "resource"]) => self.stats.resource_metrics(&self.context).await,
            (&Method::GET, ["containerLogs", namespace, pod, container]) => {
                logs::answer(&self.context, (namespace, pod, container), &query).await
            }
            (_, ["exec", namespace, pod, container]) if streams => {
                stream::exec(&self.context, (namespace, pod, container), &query, request).await
            }
            (_, ["attach", namespace, pod, container]) if streams => {
                stream::attach(&self.context, (namespace, pod, container), &query, request).await
            }
            (_, ["portForward", namespace, pod] | ["portForward", namespace, pod, _]) if streams => {
                stream::port_forward(&self.context, (namespace, pod), &query, request).await
            }
            (&Method::POST, ["images", "import"]) => import::answer(&self.context, request.into_body()).await,
            _ => refuse(StatusCode::NOT_FOUND, format!("404 page not found: {method} /{path}")),
        }
    }

    fn pods(&self) -> Result<Answer, Refusal> {
        let items = self.context.registry.all();
        let items: Vec<&k8s_openapi::api::core::v1::Pod> = items.iter().map(|pod| &**pod).collect();
        let list = serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
        Ok(full(StatusCode::OK, "application/json", list.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let query = Query::parse(Some("command=sh&command=-c&command=a+b%26&input=1&stdout=true&tty=0&tailLines=x"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "a b&"]);
        assert!(query.flag(["input", "stdin"]) && query.flag(["output", "stdout"]) && !query.flag(["tty", "tty"]));
        assert!(query.number("tailLines").is_err());
        assert_eq!(query.number("none").unwrap(), None);
    }
}

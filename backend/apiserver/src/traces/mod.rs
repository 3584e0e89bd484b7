//! Traces by OpenTelemetry: what a request's time went into, and whose work it was part of.
//!
//! Invariants:
//! - Off costs nothing: without an exporter nobody wants these spans, so their call sites are switched off, and a
//!   request pays for reading that.
//! - Who may do everything may also say which trace a request belongs to; everybody else's trace is linked to, so that
//!   nobody else decides how much is recorded.
//! - Nothing that is secret goes into a span: no bodies, no headers, no query.

mod export;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, USER_AGENT};
use opentelemetry::propagation::text_map_propagator::TextMapPropagator;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use pilothouse_access::UserInfo;
use tracing::{Span, field, trace_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::request::RequestInfo;

pub use export::{ExportError, Exporter, Settings};

/// What all spans are filed under, here and in the store; the logs' default filter leaves it out.
pub const TARGET: &str = pilothouse_storage::TRACES;

/// Whose trace context counts as the parent.
const TRUSTED_GROUP: &str = "system:masters";

struct Received<'a>(&'a HeaderMap);

impl Extractor for Received<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Sent<'a>(&'a mut HeaderMap);

impl Injector for Sent<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(key.as_bytes()), HeaderValue::from_str(&value)) {
            self.0.insert(name, value);
        }
    }
}

/// The span of a request by somebody known.
pub fn request(parts: &http::request::Parts, info: &RequestInfo, user: &UserInfo) -> Span {
    let span = trace_span!(
        target: TARGET,
        "request",
        otel.name = %format_args!("{} {}", info.verb, if info.is_resource { info.resource.as_str() } else { "path" }),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = %parts.method,
        http.response.status_code = field::Empty,
        url.path = parts.uri.path(),
        user_agent.original = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()),
        enduser.id = %user.name,
        k8s.verb = %info.verb,
        k8s.group = %info.group,
        k8s.version = %info.version,
        k8s.resource = %info.resource,
        k8s.subresource = %info.subresource,
        k8s.namespace.name = %info.namespace,
        k8s.name = %info.name,
    );
    if !span.is_disabled() {
        let caller = TraceContextPropagator::new().extract(&Received(&parts.headers));
        let context = caller.span().span_context().clone();
        if context.is_valid() {
            if user.groups.iter().any(|group| group == TRUSTED_GROUP) {
                // Fails only for a span that has begun.
                let _ = span.set_parent(caller);
            } else {
                span.add_link(context);
            }
        }
    }
    span
}

/// How the request ended.
pub fn answered(span: &Span, code: u16) {
    if !span.is_disabled() {
        span.record("http.response.status_code", i64::from(code));
        if code >= 500 {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// Tells whom we ask which trace the question belongs to.
pub fn inject(headers: &mut HeaderMap) {
    let span = Span::current();
    if span.metadata().is_some_and(|metadata| metadata.target() == TARGET) {
        TraceContextPropagator::new().inject_context(&span.context(), &mut Sent(headers));
    }
}

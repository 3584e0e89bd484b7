//! Traces, as an OpenTelemetry collector gets them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use pilothouse_access::groups;
use pilothouse_apiserver::traces::{Exporter, Settings};
use serde_json::json;
use tokio_stream::wrappers::TcpListenerStream;
use tracing_subscriber::layer::SubscriberExt;

use crate::hooks::{HookServer, review};
use crate::support::{TestCluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// As the specification of the header shows it.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// What collectors are: something that takes spans.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        self.0.lock().extend(resources.flat_map(|one| one.scope_spans).flat_map(|one| one.spans));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, address)
    }

    fn of_trace(&self, trace: &str) -> Vec<Span> {
        self.0.lock().iter().filter(|span| hex(&span.trace_id) == trace).cloned().collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no span {name:?} in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>()))
}

/// For all threads, as the store has one of its own; every test is a process.
fn collect(exporter: &Exporter) {
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(exporter.layer())).unwrap();
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        other => panic!("{name} of {} is {other:?}", span.name),
    }
}

/// Sends what is left; the connection needs this thread meanwhile.
async fn finish(exporter: Exporter) {
    tokio::task::spawn_blocking(move || exporter.shutdown()).await.unwrap();
}

fn from(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

#[tokio::test]
async fn a_create_is_seen_from_the_request_to_the_batch() {
    let (collector, address) = Collector::start().await;
    let settings = Settings { endpoint: Some(address), sampling_rate_per_million: None };
    let exporter = Exporter::new(&settings).unwrap().unwrap();
    collect(&exporter);
    let cluster = TestCluster::start().await;
    let hooks = HookServer::start(|seen| review(seen, json!({"allowed": true}))).await;
    let admin = cluster.admin();
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "yes"},
        "webhooks": [{"name": "yes.hooks.example.com", "clientConfig": hooks.client_config("/allow"),
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"]}],
            "admissionReviewVersions": ["v1"], "sideEffects": "None"}]});
    admin.create("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", &configuration).await;
    let create = async |name: &str, traceparent: &str| {
        let headers = [("traceparent", traceparent), ("content-type", "application/json")];
        admin.send("POST", MAPS, &headers, config_map(name, &json!({})).to_string()).await.expect(201)
    };
    // Whoever does not record what it does itself does not want us to.
    create("quiet", &from("00")).await;
    let made = create("traced", &from("01")).await;
    finish(exporter).await;

    let spans = collector.of_trace(TRACE);
    let request = named(&spans, "create configmaps");
    assert_eq!(hex(&request.parent_span_id), PARENT);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.response.status_code", "201"),
        ("url.path", MAPS),
        ("k8s.verb", "create"),
        ("k8s.resource", "configmaps"),
        ("k8s.namespace.name", "default"),
        ("enduser.id", "admin"),
    ] {
        assert_eq!(attribute(request, name), value);
    }
    let within = |child: &Span, parent: &Span| {
        assert_eq!(child.parent_span_id, parent.span_id, "{} is part of {}", child.name, parent.name);
        assert!(child.start_time_unix_nano >= parent.start_time_unix_nano, "{child:?}");
        assert!(child.end_time_unix_nano >= child.start_time_unix_nano, "{child:?}");
    };
    let stages: Vec<&Span> = spans.iter().filter(|span| span.name == "admission").collect();
    assert_eq!(stages.iter().map(|stage| attribute(stage, "stage")).collect::<Vec<_>>(), ["mutate", "validate"]);
    stages.iter().for_each(|stage| within(stage, request));
    let webhook = named(&spans, "webhook");
    within(webhook, stages[1]);
    assert_eq!(attribute(webhook, "webhook"), "yes.hooks.example.com");
    let commit = named(&spans, "store.commit");
    within(commit, request);
    assert_eq!(attribute(commit, "revision"), made["metadata"]["resourceVersion"].as_str().unwrap());
    let batch = named(&spans, "sequencer.batch");
    within(batch, commit);
    assert_eq!(attribute(batch, "outcome"), "committed");
    assert_eq!(spans.len(), 6, "nothing of the other create: {spans:?}");
    // The webhook was told whose work it does.
    let asked = hooks.seen.lock().last().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
    assert_eq!(asked, format!("00-{TRACE}-{}-01", hex(&webhook.span_id)));
}

#[tokio::test]
async fn a_strangers_trace_is_only_linked_to() {
    let (collector, address) = Collector::start().await;
    let settings = Settings { endpoint: Some(address), sampling_rate_per_million: Some(1_000_000) };
    let exporter = Exporter::new(&settings).unwrap().unwrap();
    collect(&exporter);
    let cluster = TestCluster::start().await;
    let eve = cluster.user("eve", &[groups::AUTHENTICATED]);
    assert_eq!(eve.send("GET", MAPS, &[("traceparent", &from("01"))], "").await.status, 403);
    finish(exporter).await;
    assert!(collector.of_trace(TRACE).is_empty());
    let spans = collector.0.lock();
    let request = spans.iter().find(|span| {
        span.attributes.iter().any(|attribute| attribute.key == "enduser.id") && attribute(span, "enduser.id") == "eve"
    });
    let request = request.expect("a trace of its own");
    assert_eq!(
        (request.name.as_str(), attribute(request, "http.response.status_code")),
        ("list configmaps", "403".into())
    );
    assert!(request.parent_span_id.is_empty());
    assert_eq!(request.links.iter().map(|link| hex(&link.trace_id)).collect::<Vec<_>>(), [TRACE]);
}

#[test]
fn what_cannot_be_done_is_said() {
    assert!(Exporter::new(&Settings::default()).unwrap().is_none(), "nobody asked");
}

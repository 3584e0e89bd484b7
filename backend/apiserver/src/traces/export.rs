//! Where the spans go: an OTLP collector, over gRPC.
//!
//! Invariants: spans leave in batches from a thread of their own; a collector that is slow or away costs spans, never a
//! request.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use pilothouse_access::pki;
use tonic::transport::{Certificate, ClientTlsConfig};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use super::TARGET;

/// What the server calls itself unless OTEL_SERVICE_NAME says otherwise.
const SERVICE: &str = "pilothouse-server";
/// The standard variables that switch traces on, the more special one first.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const CERTIFICATES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SERVICE_NAMES: [&str; 2] = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"];

/// What can be said on the command line; the rest are OpenTelemetry's own environment variables.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `http://host:4317`, `https://…`, or `host:4317`.
    pub endpoint: Option<String>,
    /// Of a million requests that belong to no trace yet, so many begin one. Without it OTEL_TRACES_SAMPLER decides,
    /// and without that none do.
    pub sampling_rate_per_million: Option<u32>,
}

/// Why traces cannot be exported as asked for.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("traces are exported over gRPC only: {0} asks for {1:?}; unset it, or name the collector's gRPC port")]
    Protocol(&'static str, String),
    #[error("the collector's authority {0:?} cannot be read: {1}")]
    Authority(String, std::io::Error),
    #[error("the collector cannot be used: {0}")]
    Collector(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The way to the collector; ends with [`Exporter::shutdown`].
pub struct Exporter {
    provider: SdkTracerProvider,
}

fn first_set(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?)))
}

/// The authorities that this machine trusts, as PEM.
fn native_authorities() -> String {
    rustls_native_certs::load_native_certs().certs.iter().map(|der| pki::pem("CERTIFICATE", der)).collect()
}

impl Exporter {
    /// None when nobody has asked for traces. Must be called within a tokio runtime, which carries the connection.
    ///
    /// # Errors
    /// When what was asked for cannot be done.
    pub fn new(settings: &Settings) -> Result<Option<Self>, ExportError> {
        let Some(endpoint) = settings.endpoint.clone().or_else(|| Some(first_set(ENDPOINTS)?.1)) else {
            return Ok(None);
        };
        if let Some((name, protocol)) = first_set(PROTOCOLS).filter(|(_, protocol)| protocol != "grpc") {
            return Err(ExportError::Protocol(name, protocol));
        }
        let endpoint = if endpoint.contains("://") { endpoint } else { format!("http://{endpoint}") };
        let mut exporter = SpanExporter::builder().with_tonic();
        if endpoint.starts_with("https://") {
            let authorities = match first_set(CERTIFICATES) {
                Some((_, path)) => {
                    std::fs::read_to_string(&path).map_err(|error| ExportError::Authority(path, error))?
                }
                None => native_authorities(),
            };
            exporter =
                exporter.with_tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities)));
        }
        let exporter = exporter.with_endpoint(endpoint).build()?;
        let mut resource = Resource::builder();
        if first_set(SERVICE_NAMES).is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let mut provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        if settings.sampling_rate_per_million.is_some() || std::env::var_os(SAMPLER).is_none() {
            let ratio = f64::from(settings.sampling_rate_per_million.unwrap_or(0)) / 1e6;
            provider = provider.with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))));
        }
        Ok(Some(Self { provider: provider.build() }))
    }

    /// What makes spans of ours the collector's.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE))
    }

    /// Sends what is left. Blocks for a moment: not for a runtime's own thread if that is its only one.
    pub fn shutdown(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last traces did not reach their collector");
        }
    }
}

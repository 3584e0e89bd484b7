//! The API server: what it is made of, and the way of a request through it.
//!
//! Invariants: every request, from the socket or from in process, takes the same way (authenticate → limit → authorize
//! → dispatch); a panic in a handler is a 500 of that request and nothing else.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode};
use pilothouse_access::admission::Admission;
use pilothouse_access::authn::{Authenticator, certified, impersonate};
use pilothouse_access::authz::{Attributes, Authorizer};
use pilothouse_access::session::Sessions;
use pilothouse_access::tokens::ServiceAccountTokens;
use pilothouse_access::{Reader, UserInfo};
use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use pilothouse_storage::Store;
use pilothouse_tunnel::Tunnels;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, warn};

use crate::admission::Dynamic;
use crate::aggregation::{self, Aggregator};
use crate::body::{self, Body};
use crate::fairness::Fairness;
use crate::metrics::{LongRunning, Metrics};
use crate::registry::{self, Kinds};
use crate::request::RequestInfo;
use crate::{
    compress, custom, discovery, error as errors, fairness, negotiate, openapi, paths, subresources, traces, warnings,
    webhook,
};

/// A request slower than this is logged (watches and streams apart, and those that only waited to be refused).
const SLOW: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Config {
    /// The address and port under which pods and nodes reach this backend.
    pub advertise: Option<(IpAddr, u16)>,
    pub service_cidr: ipnet::Ipv4Net,
    pub cluster_domain: String,
    /// The dashboard's built files.
    pub dashboard: Option<PathBuf>,
}

/// What TLS learned of the client: put into a request's extensions by the door.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Who its certificate says it is; read once for all requests of the connection.
    pub user: Option<Result<Arc<UserInfo>, Status>>,
    pub address: Option<IpAddr>,
}

impl Peer {
    /// `certificate`: the DER that TLS verified.
    pub fn new(certificate: Option<&[u8]>, address: Option<IpAddr>) -> Self {
        Self { user: certificate.map(|der| certified(der).map(Arc::new)), address }
    }
}

/// Marks a request of this process's own components; it is already known who asks.
#[derive(Clone, Debug)]
pub struct InProcess(pub Arc<UserInfo>);

/// Everything a handler may use.
pub struct Server {
    pub store: Store,
    pub kinds: Kinds,
    pub cleaning: custom::Cleaning,
    pub reader: Arc<dyn Reader>,
    pub authenticator: Authenticator,
    pub authorizer: Arc<Authorizer>,
    pub admission: Admission,
    pub dynamic: Dynamic,
    pub aggregator: Arc<Aggregator>,
    /// The authority of client certificates, PEM.
    pub client_ca: String,
    pub sessions: Arc<Sessions>,
    pub tokens: Arc<ServiceAccountTokens>,
    pub tunnels: Tunnels,
    pub webhooks: webhook::Client,
    pub config: Config,
    pub discovery: discovery::Documents,
    pub openapi: openapi::Documents,
    pub fairness: Arc<Fairness>,
    pub metrics: Metrics,
    /// Set once bootstrap is through: before that `/readyz` says no.
    pub ready: AtomicBool,
    pub shutdown: CancellationToken,
}

/// A cheap handle on the server; the `tower::Service` of both doors.
#[derive(Clone)]
pub struct ApiServer(pub Arc<Server>);

/// One request as handlers see it.
pub struct Call {
    pub info: RequestInfo,
    pub user: Arc<UserInfo>,
    pub parts: http::request::Parts,
    pub query: Query,
    pub warnings: Vec<String>,
}

impl Call {
    /// A request that the server makes of itself, without the way there.
    pub fn of_server(user: UserInfo, kind: &Kind, verb: &str, namespace: &str, name: &str) -> Self {
        let info = RequestInfo {
            is_resource: true,
            verb: verb.to_owned(),
            group: kind.group.to_string(),
            version: kind.version.to_string(),
            namespace: namespace.to_owned(),
            resource: kind.plural.to_string(),
            name: name.to_owned(),
            ..RequestInfo::default()
        };
        let (parts, ()) = Request::new(()).into_parts();
        Self { info, user: Arc::new(user), parts, query: Query::default(), warnings: Vec::new() }
    }

    /// The same request for one object of those it is about.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        let info = RequestInfo { namespace: namespace.to_owned(), ..self.info.clone() };
        let (user, parts, query) = (Arc::clone(&self.user), self.parts.clone(), self.query.clone());
        Self { info, user, parts, query, warnings: Vec::new() }
    }
}

/// The query's parameters, decoded.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(crate::request::is_true)
    }
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    /// A number, when the parameter is there and not empty.
    ///
    /// # Errors
    /// 400 for what is no number.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, Status> {
        match self.text(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }
}

pub type Answer = Result<Response<Body>, Status>;

impl ApiServer {
    /// The whole way of a request. Never fails: what goes wrong is a `Status`.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let begun = Instant::now();
        let info = RequestInfo::new(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        let (verb, path) = (info.verb.clone(), info.path.clone());
        let long = matches!(verb.as_str(), "watch" | "connect") || !info.rest.is_empty() || is_stream(&info);
        let is_known = info.is_resource && self.0.kinds.get(&info.group, &info.version, &info.resource).is_some();
        let series = self.0.metrics.series(&info, is_known);
        let inflight = (!long).then(|| series.enter());
        let gzip = !long && request.extensions().get::<InProcess>().is_none() && compress::accepts(request.headers());
        let accept = request.headers().get(http::header::ACCEPT).cloned();
        let mut said = Vec::new();
        let answer = AssertUnwindSafe(self.answer(request, info, &mut said)).catch_unwind().await;
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => failed(&verb, &path, &status, accept.as_ref()),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_default();
                error!(verb, path, panic = text, "a handler panicked");
                errors::response(&Status::internal("this request triggered a panic; see the server's log"))
            }
        };
        warnings::add(response.headers_mut(), &said);
        if gzip {
            response = compress::compressed(response);
        }
        let headers = response.headers_mut();
        if !headers.contains_key(http::header::CACHE_CONTROL) {
            // What a user may see is nobody else's, and never older than the request.
            headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        }
        let took = begun.elapsed();
        let code = response.status();
        if took > SLOW && !long && code != StatusCode::TOO_MANY_REQUESTS {
            warn!(verb, path, code = code.as_u16(), seconds = took.as_secs_f32(), "slow request");
        }
        series.observe(response.status(), took);
        drop(inflight);
        if long && response.status().is_success() {
            let open = LongRunning::new(&series);
            response = response.map(|body| body::holding(body, open));
        }
        response
    }

    /// The answer, and what it is to be warned of, whether it is good or bad.
    async fn answer(&self, request: Request<Body>, info: RequestInfo, said: &mut Vec<String>) -> Answer {
        let (parts, body) = request.into_parts();
        if let Some(response) = paths::public(&self.0, &info, &parts).await {
            return response;
        }
        if info.path.starts_with("/auth/") {
            return paths::session(&self.0, &parts, body).await;
        }
        let user = match parts.extensions.get::<InProcess>() {
            Some(InProcess(user)) => Arc::clone(user),
            None => self.authenticate(&parts)?,
        };
        let span = traces::request(&parts, &info, &user);
        let answer = self.limited(parts, body, info, user, said).instrument(span.clone()).await;
        traces::answered(&span, answer.as_ref().map_or_else(|status| status.code, |it| it.status().as_u16()));
        answer
    }

    /// The way of a request whose sender is known.
    async fn limited(
        &self,
        parts: http::request::Parts,
        body: Body,
        info: RequestInfo,
        user: Arc<UserInfo>,
        said: &mut Vec<String>,
    ) -> Answer {
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        // What lasts as long as its client likes takes no part; a watch does until it has begun.
        let flow = if is_stream(&info) { None } else { self.0.fairness.classify(&user, &info) };
        let Some(flow) = flow else { return self.serve(parts, body, info, user, query, said).await };
        let (verb, path) = (info.verb.clone(), info.path.clone());
        let accept = parts.headers.get(http::header::ACCEPT).cloned();
        let seats = self.seats(&info, &query);
        let answer = match self.0.fairness.enter(&flow, &user, &info, seats).await {
            Ok(turn) => self.serve(parts, body, info, user, query, said).await.map(|response| match verb.as_str() {
                "list" => fairness::hold(response, turn),
                _ => response,
            }),
            Err(status) => Err(status),
        };
        let mut response = answer.unwrap_or_else(|status| failed(&verb, &path, &status, accept.as_ref()));
        flow.mark(&mut response);
        Ok(response)
    }

    /// Seats that a request takes: a list, and a watch that begins with one, as many as it is long.
    fn seats(&self, info: &RequestInfo, query: &Query) -> u32 {
        let lists = match info.verb.as_str() {
            "list" => true,
            "watch" => query.flag("sendInitialEvents") || matches!(query.text("resourceVersion"), "" | "0"),
            _ => false,
        };
        if !lists || !info.is_resource || !info.name.is_empty() {
            return 1;
        }
        let Some(kind) = self.0.kinds.get(&info.group, &info.version, &info.resource) else { return 1 };
        let stored = self.0.store.view(&kind.storage).len();
        let limit = query.number("limit").ok().flatten().filter(|limit| *limit > 0).unwrap_or(stored);
        fairness::list_seats(stored.min(limit))
    }

    /// The rest of the way, for who has a turn.
    async fn serve(
        &self,
        mut parts: http::request::Parts,
        body: Body,
        info: RequestInfo,
        user: Arc<UserInfo>,
        query: Query,
        said: &mut Vec<String>,
    ) -> Answer {
        authorize(&self.0.authorizer, &user, &info, query.text("fieldSelector"))?;
        let upgrade = parts.extensions.remove::<crate::door::UpgradeSlot>();
        let mut call = Call { info, user, parts, query, warnings: Vec::new() };
        let answer = dispatch(&self.0, &mut call, body, upgrade).await;
        *said = call.warnings;
        answer
    }

    fn authenticate(&self, parts: &http::request::Parts) -> Result<Arc<UserInfo>, Status> {
        // A certificate comes before all other credentials.
        let user = match parts.extensions.get::<Peer>().and_then(|peer| peer.user.as_ref()) {
            Some(user) => user.clone()?,
            None => self.0.authenticator.authenticate(&parts.method, &parts.headers, None)?.user,
        };
        Ok(impersonate(&self.0.authorizer, &user, &parts.headers)?.map_or(user, Arc::new))
    }
}

/// The response of a failure, which is logged when it is ours.
fn failed(verb: &str, path: &str, status: &Status, accept: Option<&HeaderValue>) -> Response<Body> {
    if status.code >= 500 {
        warn!(verb, path, code = status.code, message = status.message, "request failed");
    }
    errors::response_as(status, negotiate::for_failures(accept))
}

fn is_stream(info: &RequestInfo) -> bool {
    matches!(info.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy")
}

fn authorize(authorizer: &Authorizer, user: &UserInfo, info: &RequestInfo, fields: &str) -> Result<(), Status> {
    // Only where a selector selects may it make a request smaller than its path.
    let fields = if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") { fields } else { "" };
    let attributes = if info.is_resource {
        let verb = if is_stream(info) && info.subresource != "log" { connect_verb(info) } else { &info.verb };
        Attributes::resource(user, verb, &info.group, &info.version, &info.resource)
            .subresource(&info.subresource)
            .namespace(&info.namespace)
            .name(&info.name)
            .field_selector(fields)
    } else {
        Attributes::path(user, &info.verb, &info.path)
    };
    authorizer.check(&attributes)
}

/// exec, attach and portforward over WebSocket arrive as GET, yet give the power of a create.
fn connect_verb(info: &RequestInfo) -> &str {
    if info.verb == "get" && matches!(info.subresource.as_str(), "exec" | "attach" | "portforward") {
        "create"
    } else {
        &info.verb
    }
}

async fn dispatch(
    server: &Arc<Server>,
    call: &mut Call,
    body: Body,
    upgrade: Option<crate::door::UpgradeSlot>,
) -> Answer {
    if !call.info.is_resource {
        return match paths::known(server, call).await {
            Some(answer) => answer,
            None => match discovery::answer(server, call).or_else(|| openapi::answer(server, call)) {
                Some(answer) => answer,
                None => aggregation::answer(server, call, body, upgrade)
                    .await
                    .unwrap_or_else(|_| Err(Status::unknown_path())),
            },
        };
    }
    let info = &call.info;
    let Some(kind) = custom::find(server, &info.group, &info.version, &info.resource).await else {
        let answer = aggregation::answer(server, call, body, upgrade).await;
        return answer.unwrap_or_else(|_| Err(Status::unknown_path()));
    };
    if kind.is_custom() {
        // A Scale is a built-in kind, whatever it scales.
        if call.info.subresource != "scale" {
            negotiate::without_protobuf(&call.parts.headers)?;
        }
        call.warnings.extend(kind.deprecation().map(str::to_owned));
    }
    let info = &call.info;
    if call.parts.method == http::Method::HEAD && info.subresource != "proxy" {
        return Err(Status::method_not_allowed());
    }
    possible(info)?;
    if kind.namespaced && info.namespace.is_empty() && info.name.is_empty() && !is_collection_read(&info.verb) {
        return Err(Status::method_not_allowed());
    }
    if kind.namespaced && info.namespace.is_empty() && !is_collection_read(&info.verb) {
        return Err(Status::unknown_path());
    }
    if !kind.namespaced && !info.namespace.is_empty() && info.resource != "namespaces" {
        return Err(Status::unknown_path());
    }
    call.warnings.extend(kind.deprecated().map(str::to_owned));
    if call.info.subresource.is_empty() {
        registry::answer(server, call, &kind, body).await
    } else {
        subresources::answer(server, call, &kind, body, upgrade).await
    }
}

/// Names that no object can have, because no path could lead to it.
fn possible(info: &RequestInfo) -> Result<(), Status> {
    if info.namespace.contains('/') || info.name.contains('/') {
        return Err(Status::unknown_path());
    }
    // A list's name is a selector's.
    if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection" | "create") {
        return Ok(());
    }
    let why = match info.name.as_str() {
        dots @ ("." | "..") => format!("may not be '{dots}'"),
        name if name.contains('%') => "may not contain '%'".to_owned(),
        _ => return Ok(()),
    };
    Err(Status::bad_request(format!("Name parameter invalid: {:?}: {why}", info.name)))
}

/// What may be asked across all namespaces.
fn is_collection_read(verb: &str) -> bool {
    matches!(verb, "list" | "watch")
}

impl tower::Service<Request<Body>> for ApiServer {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Response<Body>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move { Ok(server.handle(request).await) })
    }
}

impl ApiServer {
    /// The in-process door: a client that acts as `user`, through the same way as everybody, without a socket.
    pub fn client(&self, user: UserInfo) -> kube::Client {
        let (server, user) = (self.clone(), Arc::new(user));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (server, user) = (server.clone(), Arc::clone(&user));
            async move {
                let mut request = request.map(crate::body::boxed);
                if !request.headers().contains_key(http::header::USER_AGENT)
                    && let Ok(agent) = HeaderValue::from_str(component(&user.name))
                {
                    request.headers_mut().insert(http::header::USER_AGENT, agent);
                }
                request.extensions_mut().insert(InProcess(user));
                Ok::<_, std::convert::Infallible>(server.handle(request).await)
            }
        });
        kube::Client::new(service, "default")
    }

    /// The client of a component by the name of its ServiceAccount in kube-system.
    pub fn client_for(&self, service_account: &str) -> kube::Client {
        self.client(UserInfo::service_account("kube-system", service_account, ""))
    }

    /// Lets other parts of the process put their metrics beside the API's.
    pub fn register_metrics(&self, register: impl FnOnce(&mut prometheus_client::registry::Registry)) {
        self.0.metrics.register(register);
    }

    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }
}

/// What a component of this process calls itself, the owner of the fields it writes: the last part of its user's name.
fn component(user: &str) -> &str {
    user.rsplit(':').next().unwrap_or(user)
}

/// 200 with a body.
pub fn ok(content_type: &'static str, body: Body) -> Response<Body> {
    with_status(StatusCode::OK, content_type, body)
}

pub fn with_status(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

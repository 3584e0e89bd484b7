//! Paths that name no resource: health, version, metrics, sessions, the dashboard's files.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;
use pilothouse_access::session::{self, Login, Sessions};
use pilothouse_api::Status;
use serde_json::json;

use crate::body::{self, Body};
use crate::discovery;
use crate::request::RequestInfo;
use crate::server::{Answer, Call, Peer, Server, ok, with_status};

const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
/// Longest body of a login.
const MAX_LOGIN_BYTES: usize = 4096;

fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    Ok(with_status(status, "text/plain; charset=utf-8", body::full(text.into())))
}

/// As these two are always shown, whoever asks.
fn indented(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Checks of one health endpoint: name, and what is wrong.
fn checks(server: &Server, path: &str) -> Vec<(&'static str, Option<String>)> {
    let store = (!server.store.is_available()).then(|| "the database cannot be reached".to_owned());
    let bootstrap =
        (!server.ready.load(Ordering::Relaxed)).then(|| "the cluster's first objects are being written".to_owned());
    let shutdown = server.shutdown.is_cancelled().then(|| "the process is shutting down".to_owned());
    match path {
        // Whether a restart would help; an unreachable database is no reason.
        "livez" => vec![("ping", None)],
        "healthz" => vec![("ping", None), ("postgres", store)],
        _ => vec![("ping", None), ("postgres", store), ("poststarthook/bootstrap", bootstrap), ("shutdown", shutdown)],
    }
}

fn health(server: &Server, path: &str, query: &str) -> Option<Answer> {
    let mut parts = path.trim_matches('/').splitn(2, '/');
    let (endpoint, one) = (parts.next()?, parts.next());
    if !matches!(endpoint, "healthz" | "livez" | "readyz") {
        return None;
    }
    let mut checks = checks(server, endpoint);
    if let Some(one) = one {
        checks.retain(|(name, _)| *name == one);
        if checks.is_empty() {
            return Some(Err(Status::unknown_path()));
        }
    }
    let excluded: Vec<String> =
        form_urlencoded::parse(query.as_bytes()).filter(|(k, _)| k == "exclude").map(|(_, v)| v.into_owned()).collect();
    checks.retain(|(name, _)| !excluded.iter().any(|e| e == name));
    let verbose = form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key == "verbose");
    let failed = checks.iter().any(|(_, problem)| problem.is_some());
    if !failed && !verbose {
        return Some(text(StatusCode::OK, "ok"));
    }
    let mut lines: String = checks
        .iter()
        .map(|(name, problem)| match problem {
            None => format!("[+]{name} ok\n"),
            Some(why) => format!("[-]{name} failed: {why}\n"),
        })
        .collect();
    lines.push_str(&format!("{endpoint} check {}\n", if failed { "failed" } else { "passed" }));
    Some(text(if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, lines))
}

/// Paths open to everybody: health and version, the login, the dashboard's files. None: go on.
pub async fn public(server: &Arc<Server>, info: &RequestInfo, parts: &http::request::Parts) -> Option<Answer> {
    if info.is_resource {
        return None;
    }
    let get = matches!(parts.method, Method::GET | Method::HEAD);
    let query = parts.uri.query().unwrap_or_default();
    match info.path.as_str() {
        // Whatever the method, as upstream.
        path if path.len() > 1 && health(server, path, query).is_some() => health(server, path, query),
        "/version" | "/version/" if get => {
            Some(Ok(ok("application/json", body::full(indented(&discovery::version())))))
        }
        "/version" | "/version/" => Some(Err(Status::method_not_allowed())),
        "/" if get && wants_html(&parts.headers) => Some(file(server, &parts.headers, "index.html")),
        "/ui" | "/ui/" if get => Some(file(server, &parts.headers, "index.html")),
        "/favicon.ico" if get => Some(file(server, &parts.headers, "favicon.svg")),
        path if get && path.starts_with("/ui/") => {
            let name = path.trim_start_matches("/ui/");
            // The dashboard's own pages have no dot in their last part; they all begin with its index.
            let page = !name.rsplit('/').next().unwrap_or_default().contains('.');
            Some(file(server, &parts.headers, if page { "index.html" } else { name }))
        }
        _ => None,
    }
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// The precompressed variant that the client takes, if the build made one.
fn variant(path: &Path, headers: &HeaderMap) -> Option<(PathBuf, &'static str)> {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    [("br", "br"), ("gzip", "gz")].into_iter().find_map(|(encoding, extension)| {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        let path = PathBuf::from(name);
        (accepted.contains(encoding) && path.is_file()).then_some((path, encoding))
    })
}

fn file(server: &Server, headers: &HeaderMap, name: &str) -> Answer {
    let Some(root) = &server.config.dashboard else { return Err(Status::unknown_path()) };
    let relative = Path::new(name);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Status::unknown_path());
    }
    let path = root.join(relative);
    let (file, encoding) = match variant(&path, headers) {
        Some((path, encoding)) => (path, Some(encoding)),
        None => (path, None),
    };
    let bytes = std::fs::read(&file).map_err(|_| Status::unknown_path())?;
    let mut response = ok(media_type(name), body::full(bytes));
    let out = response.headers_mut();
    let index = name == "index.html";
    let cache = if index { "no-cache" } else { "public, max-age=31536000, immutable" };
    out.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Some(encoding) = encoding {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    if index {
        out.insert("content-security-policy", HeaderValue::from_static(CONTENT_SECURITY_POLICY));
        out.insert("x-frame-options", HeaderValue::from_static("DENY"));
    }
    out.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    out.insert("referrer-policy", HeaderValue::from_static("same-origin"));
    Ok(response)
}

/// `/auth/…`: open to everybody, but with a body, so apart from `public`.
pub async fn session(server: &Arc<Server>, parts: &http::request::Parts, body: Body) -> Answer {
    let now = Timestamp::now();
    match (parts.uri.path(), &parts.method) {
        ("/auth/login", &Method::POST) => {
            let bytes = body::collect(body, MAX_LOGIN_BYTES).await?;
            let login: serde_json::Value = serde_json::from_slice(&bytes)
                .map_err(|_| Status::bad_request("expected {\"username\": …, \"password\": …}"))?;
            let (Some(user), Some(password)) = (login["username"].as_str(), login["password"].as_str()) else {
                return Err(Status::bad_request("expected {\"username\": …, \"password\": …}"));
            };
            let address = parts.extensions.get::<Peer>().and_then(|peer| peer.address);
            let (server, user, password) = (Arc::clone(server), user.to_owned(), password.to_owned());
            // Hashing a password takes long on purpose: not on the threads that serve.
            let login = tokio::task::spawn_blocking(move || {
                server.sessions.login(&*server.reader, &user, &password, address, now)
            })
            .await
            .map_err(Status::internal)??;
            logged_in(&login)
        }
        ("/auth/session", &Method::GET) => {
            let session = server.sessions.of_request(&*server.reader, &parts.headers, now)?;
            Ok(no_store(ok("application/json", body::full(session.body().to_string()))))
        }
        ("/auth/logout", &Method::POST) => {
            let session = server.sessions.of_request(&*server.reader, &parts.headers, now)?;
            session::check_origin(&parts.method, &parts.headers, &session)?;
            let mut response = ok("application/json", body::full("{}"));
            if let Ok(cookie) = HeaderValue::from_str(&Sessions::logout_cookie()) {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            Ok(no_store(response))
        }
        _ => Err(Status::unknown_path()),
    }
}

fn logged_in(login: &Login) -> Answer {
    let mut response = ok("application/json", body::full(login.session.body().to_string()));
    let cookie = HeaderValue::from_str(&login.set_cookie).map_err(Status::internal)?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(no_store(response))
}

fn no_store(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Plain paths that need the right to them.
pub async fn known(server: &Arc<Server>, call: &Call) -> Option<Answer> {
    let path = call.info.path.as_str();
    if call.info.verb != "get" && path != "/" {
        let read_only = matches!(path, "/openid/v1/jwks" | "/openid/v1/jwks/" | "/.well-known/openid-configuration");
        return read_only.then(|| Err(Status::method_not_allowed()));
    }
    match path {
        "/" => {
            let mut all: Vec<String> = ["/api", "/api/v1", "/apis"].map(str::to_owned).to_vec();
            for kind in server.kinds.all() {
                if !kind.group.is_empty() {
                    all.push(format!("/apis/{}", kind.group));
                    all.push(format!("/apis/{}/{}", kind.group, kind.version));
                }
            }
            let rest = [
                "/healthz",
                "/livez",
                "/metrics",
                "/openapi/v2",
                "/openapi/v3",
                "/openid/v1/jwks",
                "/readyz",
                "/version",
                "/.well-known/openid-configuration",
            ];
            all.extend(rest.map(str::to_owned));
            all.sort();
            all.dedup();
            Some(Ok(ok("application/json", body::full(indented(&json!({"paths": all}))))))
        }
        "/metrics" => Some(Ok(ok(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            body::full(server.metrics.text()),
        ))),
        "/openid/v1/jwks" | "/openid/v1/jwks/" => {
            Some(Ok(ok("application/jwk-set+json", body::full(server.tokens.jwks().to_string()))))
        }
        "/.well-known/openid-configuration" => {
            let uri = server
                .config
                .advertise
                .map_or(String::new(), |(ip, port)| format!("https://{ip}:{port}/openid/v1/jwks"));
            let mut response = ok("application/json", body::full(server.tokens.openid_configuration(&uri).to_string()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Some(Ok(response))
        }
        _ => None,
    }
}

//! Answers of what runs in the cluster, as they leave through the API's proxies.
//!
//! Invariant: a page that a pod serves never acts as one of the dashboard's. Both come from the same origin, to which
//! the browser sends the session's cookie; `sandbox` gives the page an origin of its own, from which no cookie is sent
//! (`SameSite=Strict`) and no answer of ours can be read. Nor can a pod set or end a session.

use http::header::{CONTENT_SECURITY_POLICY, HeaderName, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use pilothouse_access::session::COOKIE;

const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts");
/// Lets a script that a pod serves take over pages beyond its path.
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");

/// The pod's own policies stay: a browser enforces all of them together.
pub fn isolate(headers: &mut HeaderMap) {
    headers.append(CONTENT_SECURITY_POLICY, SANDBOX);
    headers.remove(SERVICE_WORKER_ALLOWED);
    let harmless = |value: &&HeaderValue| {
        let name = value.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii() != COOKIE.as_bytes()
    };
    let kept: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(harmless).cloned().collect();
    headers.remove(SET_COOKIE);
    for value in kept {
        headers.append(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_pod_is_sandboxed_and_sets_no_session() {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
        headers.append(SET_COOKIE, HeaderValue::from_static("theme=dark; Path=/"));
        headers.append(SET_COOKIE, HeaderValue::from_static(" pilothouse-session =stolen; Path=/"));
        headers.append(SET_COOKIE, HeaderValue::from_static("pilothouse-session=; Max-Age=0"));
        headers.insert(SERVICE_WORKER_ALLOWED, HeaderValue::from_static("/"));
        isolate(&mut headers);
        assert_eq!(headers.get_all(CONTENT_SECURITY_POLICY).iter().count(), 2);
        assert!(headers.get_all(CONTENT_SECURITY_POLICY).iter().any(|policy| *policy == SANDBOX));
        assert_eq!(headers.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["theme=dark; Path=/"]);
        assert!(!headers.contains_key(SERVICE_WORKER_ALLOWED));
    }
}

//! What a request asks for, read off its method and path as Kubernetes reads it.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#determine-the-request-verb>

use http::Method;

/// A request about resources, or about a plain path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    pub is_resource: bool,
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the method in lower case for
    /// plain paths.
    pub verb: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// What follows the subresource: the path behind a proxy.
    pub rest: String,
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// The subresources of namespaces themselves; anything else after a namespace's name is a resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads method, path (percent-decoded per segment) and query.
    pub fn new(method: &Method, path: &str, query: &str) -> Self {
        let plain =
            |path: &str| Self { path: path.to_owned(), verb: method.as_str().to_ascii_lowercase(), ..Self::default() };
        // A part without a name leads nowhere; behind a proxy it may.
        let own = path.find("/proxy").map_or(path, |at| &path[..at]);
        if own.trim_end_matches('/').contains("//") {
            return plain(path);
        }
        let decoded: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let mut parts = decoded.as_slice();
        let (group, version) = match parts {
            [api, version, _, ..] if api == "api" => (String::new(), version.clone()),
            [apis, group, version, _, ..] if apis == "apis" => (group.clone(), version.clone()),
            _ => return plain(path),
        };
        parts = &parts[if group.is_empty() { 2 } else { 3 }..];
        let mut info = Self {
            is_resource: true,
            path: path.to_owned(),
            verb: verb(method).to_owned(),
            group,
            version,
            ..Self::default()
        };
        if let [watch, _, ..] = parts
            && watch == "watch"
        {
            info.verb = "watch".into();
            parts = &parts[1..];
        }
        if let [namespaces, name, more @ ..] = parts
            && namespaces == "namespaces"
        {
            info.namespace = name.clone();
            if let [next, ..] = more
                && !NAMESPACE_SUBRESOURCES.contains(&next.as_str())
            {
                parts = more;
            }
        }
        let part = |at: usize| parts.get(at).cloned().unwrap_or_default();
        (info.resource, info.name, info.subresource) = (part(0), part(1), part(2));
        if parts.len() > 3 {
            // The path behind a proxy keeps its own spelling, final slash included.
            info.rest = rest_of(path, path.split('/').filter(|p| !p.is_empty()).count() - (parts.len() - 3));
        } else if info.subresource == "proxy" && path.ends_with('/') {
            info.rest = "/".into();
        }
        info.refine_verb(query);
        info
    }

    /// `get` without a name is `list` or `watch`; `delete` without one is `deletecollection`.
    fn refine_verb(&mut self, query: &str) {
        let parameter = |name: &str| {
            form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name).map(|(_, v)| v.into_owned()).last()
        };
        if self.verb == "get" && self.name.is_empty() {
            let watches = parameter("watch").is_some_and(|value| is_true(&value));
            self.verb = if watches { "watch" } else { "list" }.into();
        } else if self.verb == "delete" && self.name.is_empty() {
            self.verb = "deletecollection".into();
        }
        // A list of one object by field selector is authorized as being about that object.
        if matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
            && self.name.is_empty()
            && let Some(selector) = parameter("fieldSelector")
            && let Some(name) = selector.strip_prefix("metadata.name=")
            && !name.contains([',', '=', '!'])
        {
            self.name = name.to_owned();
        }
    }

    pub fn group_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// Kubernetes reads a boolean parameter as true unless it is `false` or `0`.
pub fn is_true(value: &str) -> bool {
    !matches!(value, "false" | "0" | "False" | "f" | "F" | "FALSE")
}

/// The part of `path` after its first `count` segments, with its leading slash.
fn rest_of(path: &str, count: usize) -> String {
    let mut seen = 0;
    let bytes = path.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let starts = *byte == b'/' && bytes.get(at + 1).is_some_and(|next| *next != b'/');
        if starts {
            if seen == count {
                return path[at..].to_owned();
            }
            seen += 1;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, expected: &str) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let i = RequestInfo::new(&Method::from_bytes(method.as_bytes()).unwrap(), path, query);
        let said = if i.is_resource {
            let fields = [&i.verb, &i.group, &i.version, &i.namespace, &i.resource, &i.name, &i.subresource, &i.rest];
            fields.map(String::as_str).join(" ")
        } else {
            format!("{} plain", i.verb)
        };
        assert_eq!(said.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{method} {uri}");
    }

    #[test]
    fn paths() {
        check("GET", "/healthz", "get plain");
        check("GET", "/api/v1", "get plain");
        check("GET", "/apis/apps/v1", "get plain");
        check("GET", "/api/v1//pods", "get plain");
        check("GET", "//api/v1/pods", "get plain");
        check("GET", "/api/v1/pods/", "list v1 pods");
        check("GET", "/api/v1/namespaces/a/pods/b?watch=1", "get v1 a pods b");
        check("GET", "/api/v1/pods", "list v1 pods");
        check("GET", "/api/v1/pods?watch=1", "watch v1 pods");
        check("GET", "/api/v1/pods?watch=false", "list v1 pods");
        check("GET", "/api/v1/watch/namespaces/a/pods", "watch v1 a pods");
        check("GET", "/api/v1/watch/namespaces/a/pods/b", "watch v1 a pods b");
        check("GET", "/api/v1/namespaces/a/pods/b/log", "get v1 a pods b log");
        check("GET", "/api/v1/namespaces", "list v1 namespaces");
        check("GET", "/api/v1/namespaces/a", "get v1 a namespaces a");
        check("PUT", "/api/v1/namespaces/a/finalize", "update v1 a namespaces a finalize");
        check("POST", "/apis/apps/v1/namespaces/a/deployments", "create apps v1 a deployments");
        check("DELETE", "/api/v1/namespaces/a/pods", "deletecollection v1 a pods");
        check("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list v1 pods x");
        check("GET", "/api/v1/namespaces/a/services/b:80/proxy/x//y/", "get v1 a services b:80 proxy /x//y/");
        check("GET", "/api/v1/nodes/n/proxy/", "get v1 nodes n proxy /");
        check(
            "PATCH",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%2Fb",
            "patch rbac.authorization.k8s.io v1 clusterroles a/b",
        );
    }
}

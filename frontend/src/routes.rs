//! Addresses of the dashboard's pages.
//!
//! `/ui` overview · `/ui/deploy` · `/ui/apply` · `/ui/access` · `/ui/r/RESOURCE` a list · `/ui/r/RESOURCE/NAMESPACE/NAME[/TAB]` an
//! object, with `-` for the namespace of cluster-wide kinds. RESOURCE is a group resource, such as `deployments.apps`.
//!
//! Invariants: `parse(href(route)) == route`. Addresses end with a slash: their last part, which may hold a dot, is
//! then not taken for a file's name.

pub const BASE: &str = "/ui";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Overview,
    Deploy,
    Apply,
    Access,
    List { resource: String },
    Object { resource: String, namespace: String, name: String, tab: String },
    Unknown(String),
}

impl Route {
    pub fn list(resource: &str) -> Self {
        Self::List { resource: resource.to_owned() }
    }

    pub fn object(resource: &str, namespace: &str, name: &str) -> Self {
        Self::Object {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            tab: String::new(),
        }
    }

    #[must_use]
    pub fn with_tab(mut self, next: &str) -> Self {
        if let Self::Object { tab, .. } = &mut self {
            next.clone_into(tab);
        }
        self
    }

    pub fn parse(path: &str) -> Self {
        let unknown = || Self::Unknown(path.to_owned());
        let Some(rest) = path.strip_prefix(BASE).or(Some("").filter(|_| path == "/" || path.is_empty())) else {
            return unknown();
        };
        let Some(parts) = rest.split('/').filter(|part| !part.is_empty()).map(decode).collect::<Option<Vec<String>>>()
        else {
            return unknown();
        };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [] => Self::Overview,
            ["deploy"] => Self::Deploy,
            ["apply"] => Self::Apply,
            ["access"] => Self::Access,
            ["r", resource] => Self::list(resource),
            ["r", resource, namespace, name, tab @ ..] if tab.len() < 2 => {
                let namespace = if *namespace == "-" { "" } else { namespace };
                Self::object(resource, namespace, name).with_tab(tab.first().unwrap_or(&""))
            }
            _ => unknown(),
        }
    }

    pub fn href(&self) -> String {
        match self {
            Self::Overview => BASE.to_owned(),
            Self::Deploy => format!("{BASE}/deploy"),
            Self::Apply => format!("{BASE}/apply"),
            Self::Access => format!("{BASE}/access"),
            Self::List { resource } => format!("{BASE}/r/{}/", encode(resource)),
            Self::Object { resource, namespace, name, tab } => {
                let namespace = if namespace.is_empty() { "-" } else { namespace };
                let tab = if tab.is_empty() { String::new() } else { format!("/{}", encode(tab)) };
                format!("{BASE}/r/{}/{}/{}{tab}/", encode(resource), encode(namespace), encode(name))
            }
            Self::Unknown(path) => path.clone(),
        }
    }
}

/// Percent-encodes all but unreserved characters; names of RBAC objects may hold a colon or even a slash.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            out.push(u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok()?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_reads_back() {
        let routes = [
            Route::Overview,
            Route::Deploy,
            Route::Apply,
            Route::Access,
            Route::list("deployments.apps"),
            Route::object("pods", "default", "web-1"),
            Route::object("nodes", "", "node.example.com").with_tab("yaml"),
            Route::object("clusterroles.rbac.authorization.k8s.io", "", "system:controller:a b/ü"),
        ];
        for route in routes {
            assert_eq!(Route::parse(&route.href()), route);
        }
        assert_eq!(Route::parse("/"), Route::Overview);
        assert_eq!(Route::parse("/ui/"), Route::Overview);
        for odd in ["/api", "/ui/x", "/ui/r/a/b", "/ui/r/a/b/c/d/e", "/ui/r/%zz", "/ui/r/%"] {
            assert_eq!(Route::parse(odd), Route::Unknown(odd.into()), "{odd}");
        }
    }
}

//! An API call as a value, so that it can be shown before and after it is made, in HTTP and in kubectl's words.

use serde_json::Value;

use crate::model::yaml;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const MERGE: &str = "application/merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Who made a change, in managedFields.
pub const MANAGER: &str = "pilothouse-dashboard";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: Method,
    /// With the query.
    pub path: String,
    pub content_type: &'static str,
    pub body: String,
    /// The same in kubectl's words; empty where there is none.
    pub kubectl: String,
}

impl Call {
    fn new(method: Method, path: String, content_type: &'static str, body: String) -> Self {
        Self { method, path, content_type, body, kubectl: String::new() }
    }

    pub fn create(collection: &str, object: &Value) -> Self {
        let body = serde_json::to_string_pretty(object).unwrap_or_default();
        let call = Self::new(Method::Post, format!("{collection}?fieldManager={MANAGER}"), JSON, body);
        call.kubectl(format!("kubectl create -f - <<'EOF'\n{}EOF", yaml::print(object)))
    }

    /// `text` is YAML or JSON.
    pub fn create_from(collection: &str, text: String) -> Self {
        let kubectl = format!("kubectl create -f - <<'EOF'\n{text}EOF");
        Self::new(Method::Post, format!("{collection}?fieldManager={MANAGER}&fieldValidation=Strict"), YAML, text)
            .kubectl(kubectl)
    }

    /// Server-side apply of YAML or JSON; `force` takes over fields that others manage.
    pub fn apply(path: &str, text: String, force: bool) -> Self {
        let (query, flag) = if force { ("&force=true", " --force-conflicts") } else { ("", "") };
        let kubectl = format!("kubectl apply --server-side{flag} -f - <<'EOF'\n{text}EOF");
        Self::new(Method::Patch, format!("{path}?fieldManager={MANAGER}&fieldValidation=Strict{query}"), APPLY, text)
            .kubectl(kubectl)
    }

    /// `text` is YAML.
    pub fn replace(path: &str, text: String, what: &str) -> Self {
        let call = Self::new(Method::Put, format!("{path}?fieldManager={MANAGER}&fieldValidation=Strict"), YAML, text);
        call.kubectl(format!("kubectl edit {what}"))
    }

    pub fn patch(path: &str, content_type: &'static str, patch: &Value) -> Self {
        Self::new(
            Method::Patch,
            format!("{path}?fieldManager={MANAGER}"),
            content_type,
            serde_json::to_string_pretty(patch).unwrap_or_default(),
        )
    }

    /// `options` are DeleteOptions.
    pub fn delete(path: &str, options: &Value) -> Self {
        Self::new(Method::Delete, path.to_owned(), JSON, serde_json::to_string_pretty(options).unwrap_or_default())
    }

    #[must_use]
    pub fn kubectl(mut self, command: impl Into<String>) -> Self {
        self.kubectl = command.into();
        self
    }

    /// The same call as a rehearsal: everything is checked, nothing is stored.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        let sign = if self.path.contains('?') { '&' } else { '?' };
        self.path = format!("{}{sign}dryRun=All", self.path);
        self
    }

    /// As it goes over the wire.
    pub fn as_http(&self) -> String {
        if self.body.is_empty() {
            return format!("{} {}", self.method.word(), self.path);
        }
        format!("{} {}\nContent-Type: {}\n\n{}", self.method.word(), self.path, self.content_type, self.body)
    }
}

/// `-n default`, or nothing for cluster-wide kinds.
pub fn namespace_flag(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(" -n {namespace}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_reads_as_http_and_as_kubectl() {
        let call = Call::patch("/api/v1/nodes/a", MERGE, &json!({"spec": {"unschedulable": true}}))
            .kubectl("kubectl cordon a");
        assert!(call.as_http().starts_with(
            "PATCH /api/v1/nodes/a?fieldManager=pilothouse-dashboard\nContent-Type: application/merge-patch+json\n\n{"
        ));
        assert!(call.dry_run().path.ends_with("&dryRun=All"));
    }
}

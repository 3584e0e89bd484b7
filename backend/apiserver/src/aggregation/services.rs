//! APIServices that name a Service, as they are used.

use std::sync::Arc;

use serde_json::Value;

/// An extension server's group version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `v1.metrics.k8s.io`.
    pub name: String,
    pub group: String,
    pub version: String,
    pub group_priority: i64,
    pub version_priority: i64,
    pub namespace: String,
    pub service: String,
    pub port: u16,
    pub bundle: Option<Arc<[u8]>>,
    pub insecure: bool,
    /// What its status says.
    pub available: bool,
}

/// None for a local one.
pub fn remote(object: &Value) -> Option<Remote> {
    use base64::Engine;
    let spec = &object["spec"];
    let service = spec["service"].as_object()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let get = |field: &str| service.get(field).unwrap_or(&Value::Null);
    let bundle = spec["caBundle"].as_str().filter(|text| !text.is_empty());
    let bundle = bundle.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    let conditions = object["status"]["conditions"].as_array();
    Some(Remote {
        name: text(&object["metadata"]["name"]),
        group: text(&spec["group"]),
        version: text(&spec["version"]),
        group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
        version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
        namespace: text(get("namespace")),
        service: text(get("name")),
        port: get("port").as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
        bundle: bundle.map(Into::into),
        insecure: spec["insecureSkipTLSVerify"] == true,
        available: conditions.into_iter().flatten().any(|c| c["type"] == "Available" && c["status"] == "True"),
    })
}

impl Remote {
    /// The name its certificate must be for.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Whether both are reached in the same way.
    pub fn same_way(&self, other: &Self) -> bool {
        self.host() == other.host()
            && self.port == other.port
            && self.bundle == other.bundle
            && self.insecure == other.insecure
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_read() {
        let local = json!({"metadata": {"name": "v1.apps"}, "spec": {"group": "apps", "version": "v1"}});
        assert_eq!(remote(&local), None);
        let mut object = json!({"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 7,
            "service": {"namespace": "kube-system", "name": "metrics", "port": 8443}, "caBundle": "UEVN"}});
        let read = remote(&object).unwrap();
        assert_eq!((read.host().as_str(), read.port, read.available), ("metrics.kube-system.svc", 8443, false));
        assert_eq!(read.bundle.as_deref(), Some(&b"PEM"[..]));
        object["status"] = json!({"conditions": [{"type": "Available", "status": "True"}]});
        let later = remote(&object).unwrap();
        assert!(later.available && later.same_way(&read));
    }
}

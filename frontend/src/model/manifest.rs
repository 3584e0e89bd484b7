//! Text with one or several objects, cut into documents that say of themselves what they are and how they are called.
//!
//! Invariant: nothing of the text is changed; each document goes to the server as it was typed, which alone parses it.
//! Only what the address of a request needs is read here: API version, kind, name and namespace.

use serde_json::Value;

use super::json;
use super::yaml_lines::value_of;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Its first line in the whole text, from 1.
    pub line: usize,
    pub text: String,
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub generate_name: String,
    /// Empty where it names none.
    pub namespace: String,
}

/// The documents of a text, in order; those without content are left out.
pub fn documents(text: &str) -> Vec<Document> {
    let mut out = Vec::new();
    let (mut start, mut lines): (usize, Vec<&str>) = (1, Vec::new());
    for (index, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") || line == "..." {
            out.extend(document(start, &lines));
            lines.clear();
            start = index + 2;
        } else {
            lines.push(line);
        }
    }
    out.extend(document(start, &lines));
    out
}

fn document(line: usize, lines: &[&str]) -> Option<Document> {
    if lines.iter().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return None;
    }
    let text = lines.join("\n") + "\n";
    let read = |path: &str| value_of(&text, path).unwrap_or_default();
    let found = match serde_json::from_str::<Value>(&text) {
        Ok(object) if object.is_object() => {
            let read = |path: &str| json::text(&object, path).to_owned();
            [
                read("apiVersion"),
                read("kind"),
                read("metadata/name"),
                read("metadata/generateName"),
                read("metadata/namespace"),
            ]
        }
        _ => [
            read("apiVersion"),
            read("kind"),
            read("metadata.name"),
            read("metadata.generateName"),
            read("metadata.namespace"),
        ],
    };
    let [api_version, kind, name, generate_name, namespace] = found;
    Some(Document { line, text, api_version, kind, name, generate_name, namespace })
}

impl Document {
    /// What keeps it from being sent at all.
    pub fn problem(&self) -> Option<&'static str> {
        match () {
            () if self.api_version.is_empty() => Some("apiVersion is missing"),
            () if self.kind.is_empty() => Some("kind is missing"),
            () if self.name.is_empty() && self.generate_name.is_empty() => Some("metadata.name is missing"),
            () => None,
        }
    }

    pub fn title(&self) -> String {
        let name = if self.name.is_empty() { format!("{}…", self.generate_name) } else { self.name.clone() };
        match (self.kind.as_str(), name.is_empty()) {
            ("", _) => "Document".into(),
            (kind, true) => kind.to_owned(),
            (kind, false) => format!("{kind} {name}"),
        }
    }
}

/// A first text for an object of a kind, to be filled in.
pub fn template(api_version: &str, kind: &str, namespace: &str) -> String {
    let place = if namespace.is_empty() { String::new() } else { format!("\n  namespace: {namespace}") };
    let head = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: example{place}\n");
    let body = match kind {
        "ConfigMap" => "data:\n  key: value\n",
        "Secret" => "type: Opaque\nstringData:\n  key: value\n",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => return workload(&head, kind),
        "Pod" => "spec:\n  containers:\n  - name: main\n    image: pilothouse.local/demo:1\n",
        "Job" => {
            "spec:\n  backoffLimit: 2\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - name: main\n        image: pilothouse.local/demo:1\n        command: [\"sh\", \"-c\", \"echo done\"]\n"
        }
        "CronJob" => {
            "spec:\n  schedule: \"*/5 * * * *\"\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          containers:\n          - name: main\n            image: pilothouse.local/demo:1\n            command: [\"sh\", \"-c\", \"date\"]\n"
        }
        "Service" => {
            "spec:\n  selector:\n    app.kubernetes.io/name: example\n  ports:\n  - name: http\n    port: 80\n    targetPort: 8080\n"
        }
        "Ingress" => {
            "spec:\n  rules:\n  - host: example.local\n    http:\n      paths:\n      - path: /\n        pathType: Prefix\n        backend:\n          service:\n            name: example\n            port:\n              number: 80\n"
        }
        "NetworkPolicy" => "spec:\n  podSelector: {}\n  policyTypes: [\"Ingress\"]\n",
        "Role" | "ClusterRole" => {
            "rules:\n- apiGroups: [\"\"]\n  resources: [\"pods\"]\n  verbs: [\"get\", \"list\", \"watch\"]\n"
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: view\nsubjects:\n- apiGroup: rbac.authorization.k8s.io\n  kind: User\n  name: somebody\n"
        }
        "PersistentVolumeClaim" => {
            "spec:\n  accessModes: [\"ReadWriteOnce\"]\n  resources:\n    requests:\n      storage: 1Gi\n"
        }
        "ResourceQuota" => "spec:\n  hard:\n    pods: \"20\"\n    requests.cpu: \"4\"\n    requests.memory: 8Gi\n",
        "LimitRange" => {
            "spec:\n  limits:\n  - type: Container\n    default:\n      memory: 256Mi\n    defaultRequest:\n      cpu: 50m\n      memory: 64Mi\n"
        }
        "PriorityClass" => "value: 1000\n",
        "PodDisruptionBudget" => {
            "spec:\n  minAvailable: 1\n  selector:\n    matchLabels:\n      app.kubernetes.io/name: example\n"
        }
        "User" => "spec:\n  displayName: Somebody\n  groups: []\n",
        "Namespace" | "ServiceAccount" => "",
        _ => "spec: {}\n",
    };
    head + body
}

fn workload(head: &str, kind: &str) -> String {
    let replicas = if kind == "DaemonSet" { "" } else { "  replicas: 1\n" };
    let service = if kind == "StatefulSet" { "  serviceName: example\n" } else { "" };
    format!(
        "{head}spec:\n{replicas}{service}  selector:\n    matchLabels:\n      app.kubernetes.io/name: example\n  template:\n    metadata:\n      labels:\n        app.kubernetes.io/name: example\n    spec:\n      containers:\n      - name: main\n        image: pilothouse.local/demo:1\n        ports:\n        - containerPort: 8080\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# two objects\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: 'a', labels: {name: no}}\n---\n\n---\napiVersion: apps/v1 # the newest\nkind: \"Deployment\"\nmetadata:\n  labels:\n    name: no\n  name: two\nspec:\n  template:\n    metadata:\n      name: no\n";

    #[test]
    fn a_text_is_cut_into_its_documents() {
        let all = documents(TEXT);
        let seen: Vec<_> = all
            .iter()
            .map(|d| (d.line, d.api_version.as_str(), d.kind.as_str(), d.name.as_str(), d.namespace.as_str()))
            .collect();
        assert_eq!(seen, [(1, "v1", "ConfigMap", "one", "a"), (8, "apps/v1", "Deployment", "two", "")]);
        assert!(all[1].text.starts_with("apiVersion: apps/v1 # the newest\n"));
        assert_eq!(documents("\n# nothing\n---\n"), []);
    }

    #[test]
    fn json_is_read_too() {
        let all =
            documents("{\n \"apiVersion\": \"v1\", \"kind\": \"Pod\",\n \"metadata\": {\"generateName\": \"web-\"}}\n");
        assert_eq!((all[0].kind.as_str(), all[0].title().as_str(), all[0].problem()), ("Pod", "Pod web-…", None));
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, problem) in [
            ("kind: Pod\n", "apiVersion is missing"),
            ("apiVersion: v1\n", "kind is missing"),
            ("apiVersion: v1\nkind: Pod\nspec: {}\n", "metadata.name is missing"),
        ] {
            assert_eq!(documents(text)[0].problem(), Some(problem));
        }
    }

    #[test]
    fn every_template_names_itself() {
        for kind in ["ConfigMap", "Deployment", "StatefulSet", "DaemonSet", "Widget", "Namespace", "Job", "Role"] {
            let all = documents(&template("g/v1", kind, "here"));
            assert_eq!(
                (all.len(), all[0].kind.as_str(), all[0].name.as_str(), all[0].namespace.as_str()),
                (1, kind, "example", "here")
            );
        }
    }
}

//! The deploy form: what a person fills in, and the objects it stands for.

use serde_json::{Map, Value, json};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    pub number: String,
    pub name: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expose {
    #[default]
    None,
    ClusterIp,
    NodePort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    pub name: String,
    pub namespace: String,
    pub image: String,
    pub replicas: String,
    pub ports: Vec<Port>,
    pub expose: Expose,
    pub environment: Vec<(String, String)>,
    pub cpu_request: String,
    pub cpu_limit: String,
    pub memory_request: String,
    pub memory_limit: String,
}

impl Form {
    /// Whether another form says something else in an input (empty: in any).
    pub fn differs(&self, other: &Self, input: &str) -> bool {
        match input {
            "name" => self.name != other.name,
            "namespace" => self.namespace != other.namespace,
            "image" => self.image != other.image,
            "replicas" => self.replicas != other.replicas,
            "ports" => (&self.ports, self.expose) != (&other.ports, other.expose),
            "environment" => self.environment != other.environment,
            _ => self != other,
        }
    }
}

impl Default for Form {
    fn default() -> Self {
        let empty = String::new;
        Self {
            name: empty(),
            namespace: "default".into(),
            image: empty(),
            replicas: "1".into(),
            ports: vec![Port { number: "8080".into(), name: "http".into() }],
            expose: Expose::ClusterIp,
            environment: Vec::new(),
            cpu_request: empty(),
            cpu_limit: empty(),
            memory_request: empty(),
            memory_limit: empty(),
        }
    }
}

/// A name for an app from its image: `registry.local/team/web:2` is `web`.
pub fn name_from_image(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    let base = last.split(['@', ':']).next().unwrap_or_default();
    let clean: String = base.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    clean.trim_matches('-').chars().take(63).collect()
}

impl Form {
    fn open_ports(&self) -> impl Iterator<Item = (Value, &Port)> {
        self.ports.iter().filter(|port| !port.number.trim().is_empty()).map(|port| (number_or_text(&port.number), port))
    }

    /// Whether there is enough to send; the server says what is wrong with the rest.
    pub fn is_complete(&self) -> bool {
        !self.name.trim().is_empty() && !self.image.trim().is_empty() && !self.namespace.is_empty()
    }

    pub fn deployment(&self) -> Value {
        let name = self.name.trim();
        let labels = json!({ "app.kubernetes.io/name": name });
        let mut container = Map::new();
        container.insert("name".into(), json!(name));
        container.insert("image".into(), json!(self.image.trim()));
        let ports: Vec<Value> =
            self.open_ports().map(|(number, port)| with_name(json!({ "containerPort": number }), &port.name)).collect();
        if !ports.is_empty() {
            container.insert("ports".into(), ports.into());
        }
        let environment: Vec<Value> = self
            .environment
            .iter()
            .filter(|(key, _)| !key.trim().is_empty())
            .map(|(key, value)| json!({ "name": key.trim(), "value": value }))
            .collect();
        if !environment.is_empty() {
            container.insert("env".into(), environment.into());
        }
        let mut resources = Map::new();
        for (field, cpu, memory) in
            [("requests", &self.cpu_request, &self.memory_request), ("limits", &self.cpu_limit, &self.memory_limit)]
        {
            let set: Map<String, Value> = [("cpu", cpu), ("memory", memory)]
                .into_iter()
                .filter(|(_, amount)| !amount.trim().is_empty())
                .map(|(name, amount)| (name.to_owned(), json!(amount.trim())))
                .collect();
            if !set.is_empty() {
                resources.insert(field.into(), set.into());
            }
        }
        if !resources.is_empty() {
            container.insert("resources".into(), resources.into());
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": name, "namespace": self.namespace, "labels": labels },
            "spec": {
                "replicas": number_or_text(&self.replicas),
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
            },
        })
    }

    /// `None` where nothing is exposed.
    pub fn service(&self) -> Option<Value> {
        let type_ = match self.expose {
            Expose::None => return None,
            Expose::ClusterIp => "ClusterIP",
            Expose::NodePort => "NodePort",
        };
        let named = self.open_ports().count() > 1;
        let ports: Vec<Value> = self
            .open_ports()
            .map(|(number, port)| {
                let name = if port.name.is_empty() && named {
                    format!("port-{}", port.number.trim())
                } else {
                    port.name.clone()
                };
                with_name(json!({ "port": number, "targetPort": number }), &name)
            })
            .collect();
        if ports.is_empty() {
            return None;
        }
        let name = self.name.trim();
        let labels = json!({ "app.kubernetes.io/name": name });
        Some(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": self.namespace, "labels": labels },
            "spec": { "type": type_, "selector": labels, "ports": ports },
        }))
    }

    pub fn objects(&self) -> Vec<Value> {
        std::iter::once(self.deployment()).chain(self.service()).collect()
    }
}

/// What was typed goes to the server as it is when it is not a number, so that the server says what is wrong.
fn number_or_text(text: &str) -> Value {
    text.trim().parse::<i64>().map_or_else(|_| json!(text.trim()), |number| json!(number))
}

fn with_name(mut port: Value, name: &str) -> Value {
    if !name.trim().is_empty() {
        port["name"] = json!(name.trim());
    }
    port
}

/// The form's own words for a field of the objects it makes, for showing the server's causes beside the input.
pub fn input_of_field(field: &str) -> Option<&'static str> {
    const TABLE: [(&str, &str); 9] = [
        (".ports", "ports"),
        (".env", "environment"),
        ("spec.ports", "ports"),
        (".image", "image"),
        ("metadata.namespace", "namespace"),
        ("metadata.name", "name"),
        ("spec.replicas", "replicas"),
        (".resources", "resources"),
        (".name", "name"),
    ];
    TABLE.iter().find(|(part, _)| field.contains(part)).map(|(_, input)| *input)
}

/// A cause as it stands beside its input: without the value, which is in the input, and without the examples and
/// patterns that validation adds.
pub fn short(message: &str) -> String {
    let said = message.strip_prefix("Invalid value: ").map_or(message, |rest| {
        let end = if rest.starts_with('"') { "\": " } else { ": " };
        rest.split_once(end).map_or(message, |(_, said)| said)
    });
    said.split(" (e.g.").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_its_input() {
        let form = Form::default();
        let renamed = Form { name: "web".into(), ..form.clone() };
        assert!(renamed.differs(&form, "name") && renamed.differs(&form, ""));
        assert!(!renamed.differs(&form, "replicas") && !form.differs(&form, ""));
    }

    #[test]
    fn makes_a_deployment_and_a_service() {
        let form = Form {
            name: "web".into(),
            image: "demo:1".into(),
            replicas: "3".into(),
            ports: vec![
                Port { number: "8080".into(), name: "http".into() },
                Port { number: "9".into(), ..Port::default() },
                Port::default(),
            ],
            expose: Expose::NodePort,
            environment: vec![("A".into(), "b".into()), (" ".into(), "x".into())],
            memory_limit: "64Mi".into(),
            ..Form::default()
        };
        let objects = form.objects();
        assert_eq!(objects[0]["spec"]["replicas"], 3);
        assert_eq!(
            objects[0]["spec"]["template"]["spec"]["containers"][0],
            json!({
                "name": "web", "image": "demo:1", "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9}],
                "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"memory": "64Mi"}},
            })
        );
        assert_eq!(objects[1]["spec"]["type"], "NodePort");
        assert_eq!(
            objects[1]["spec"]["ports"],
            json!([{"name": "http", "port": 8080, "targetPort": 8080}, {"name": "port-9", "port": 9, "targetPort": 9}])
        );
        assert_eq!(objects[0]["spec"]["selector"]["matchLabels"], objects[1]["spec"]["selector"]);
    }

    #[test]
    fn nothing_exposed_makes_no_service() {
        let form = Form { expose: Expose::None, ..Form::default() };
        assert_eq!(form.objects().len(), 1);
        let form = Form { ports: vec![], ..Form::default() };
        assert_eq!(form.objects().len(), 1);
    }

    #[test]
    fn causes_are_short() {
        assert_eq!(
            short("Invalid value: -3: must be greater than or equal to 0"),
            "must be greater than or equal to 0"
        );
        assert_eq!(
            short("Invalid value: \"A: b\": a label must be short (e.g. 'x', regex 'y')"),
            "a label must be short"
        );
        assert_eq!(short("Required value"), "Required value");
    }

    #[test]
    fn names_and_fields() {
        assert_eq!(name_from_image("pilothouse.local/demo:1"), "demo");
        assert_eq!(name_from_image("a/My_App@sha256:00"), "my-app");
        assert_eq!(input_of_field("spec.template.spec.containers[0].image"), Some("image"));
        assert_eq!(input_of_field("spec.template.spec.containers[0].ports[0].containerPort"), Some("ports"));
        assert_eq!(input_of_field("spec.replicas"), Some("replicas"));
        assert_eq!(input_of_field("metadata.name"), Some("name"));
        assert_eq!(input_of_field("spec.strategy"), None);
    }
}

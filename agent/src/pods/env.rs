//! A container's environment, command and arguments. Pure: what it refers to was fetched before.
//!
//! Source: <https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/> and
//! the Service variables of <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};

use super::downward::{self, Facts};
use crate::network::index::Service;

/// What the container's environment refers to. `None`: it was looked for and is not there.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub config_maps: BTreeMap<String, Option<ConfigMap>>,
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// The Services of the pod's namespace (if it wants them) and the API's own.
    pub services: Vec<(Arc<str>, Arc<Service>)>,
}

/// The names of the ConfigMaps and Secrets that an environment refers to.
#[must_use]
pub fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
    }
    (config_maps, secrets)
}

/// Replaces `$(NAME)` by what `get` knows; `$$` is one dollar, an unknown name stays as it is.
#[must_use]
pub fn expand(text: &str, get: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match get(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// Names are unique and keep the place where they were first set.
#[derive(Default)]
struct Variables {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Variables {
    fn set(&mut self, name: String, value: String) {
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
    }
}

fn service_variables(services: &[(Arc<str>, Arc<Service>)]) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (name, service) in services {
        let (Some(ip), Some(first)) = (service.cluster_ip, service.ports.first()) else { continue };
        let upper = |text: &str| text.to_uppercase().replace('-', "_");
        let prefix = upper(name);
        let mut set = |suffix: String, value: String| variables.push((format!("{prefix}_{suffix}"), value));
        set("SERVICE_HOST".to_owned(), ip.to_string());
        set("SERVICE_PORT".to_owned(), first.port.to_string());
        for port in service.ports.iter().filter(|port| !port.name.is_empty()) {
            set(format!("SERVICE_PORT_{}", upper(&port.name)), port.port.to_string());
        }
        for (index, port) in service.ports.iter().enumerate() {
            let protocol = port.protocol.as_str();
            let url = format!("{protocol}://{ip}:{}", port.port);
            if index == 0 {
                set("PORT".to_owned(), url.clone());
            }
            let of_port = format!("PORT_{}_{}", port.port, protocol.to_uppercase());
            set(of_port.clone(), url);
            set(format!("{of_port}_PROTO"), protocol.to_owned());
            set(format!("{of_port}_PORT"), port.port.to_string());
            set(format!("{of_port}_ADDR"), ip.to_string());
        }
    }
    variables
}

fn bytes_as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('=') && name.chars().all(|c| (' '..='~').contains(&c))
}

/// The variables, in order.
///
/// # Errors
/// What is missing, in the words of the container's `CreateContainerConfigError`.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    facts: &Facts,
) -> Result<Vec<(String, String)>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut all = Variables::default();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let mut pairs: Vec<(String, String)> = Vec::new();
        if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name).and_then(Option::as_ref) {
                Some(map) => pairs.extend(map.data.clone().unwrap_or_default()),
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name).and_then(Option::as_ref) {
                Some(secret) => {
                    let data = secret.data.iter().flatten();
                    pairs.extend(data.map(|(key, value)| (key.clone(), bytes_as_text(&value.0))));
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
        for (key, value) in pairs {
            let name = format!("{prefix}{key}");
            if is_valid_name(&name) {
                all.set(name, value);
            }
        }
    }
    let services: BTreeMap<String, String> = service_variables(&sources.services).into_iter().collect();
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => {
                let known = |name: &str| all.values.get(name).or_else(|| services.get(name)).cloned();
                Some(expand(variable.value.as_deref().unwrap_or_default(), known))
            }
            Some(source) => referred(pod, container, sources, facts, source, namespace)?,
        };
        if let Some(value) = value {
            all.set(variable.name.clone(), value);
        }
    }
    let mut out: Vec<(String, String)> =
        services.into_iter().filter(|(name, _)| !all.values.contains_key(name)).collect();
    for name in all.order {
        let value = all.values.remove(&name).unwrap_or_default();
        out.push((name, value));
    }
    Ok(out)
}

/// The value of `valueFrom`; `None` when it is optional and not there.
fn referred(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    facts: &Facts,
    source: &k8s_openapi::api::core::v1::EnvVarSource,
    namespace: &str,
) -> Result<Option<String>, String> {
    if let Some(reference) = &source.field_ref {
        return downward::field(pod, facts, &reference.field_path).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return downward::resource(pod, facts, reference, Some(&container.name)).map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(map) = sources.config_maps.get(&reference.name).and_then(Option::as_ref) else {
            return if optional { Ok(None) } else { Err(format!("configmap {:?} not found", reference.name)) };
        };
        let value = map.data.as_ref().and_then(|data| data.get(&reference.key)).cloned();
        let missing = format!("couldn't find key {} in ConfigMap {namespace}/{}", reference.key, reference.name);
        return if value.is_none() && !optional { Err(missing) } else { Ok(value) };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(secret) = sources.secrets.get(&reference.name).and_then(Option::as_ref) else {
            return if optional { Ok(None) } else { Err(format!("secret {:?} not found", reference.name)) };
        };
        let value = secret.data.as_ref().and_then(|data| data.get(&reference.key));
        let value = value.map(|bytes| bytes_as_text(&bytes.0));
        let missing = format!("couldn't find key {} in Secret {namespace}/{}", reference.key, reference.name);
        return if value.is_none() && !optional { Err(missing) } else { Ok(value) };
    }
    if source.file_key_ref.is_some() {
        return Err("environment variables from files (fileKeyRef) are not supported by this node".to_owned());
    }
    Ok(Some(String::new()))
}

/// Command and arguments with their variables expanded.
#[must_use]
pub fn expand_all(list: Option<&Vec<String>>, environment: &[(String, String)]) -> Vec<String> {
    let get = |name: &str| environment.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    list.into_iter().flatten().map(|text| expand(text, get)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::network::index::{Port, Protocol};

    #[test]
    fn expansion() {
        let get = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, want) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("$A", "$A"),
            ("$", "$"),
            ("$$", "$"),
            ("$()", "$()"),
            ("é$(A)é", "é1é"),
        ] {
            assert_eq!(expand(text, get), want, "{text}");
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn sources() -> Sources {
        let map = parse(json!({"data": {"color": "red", "bad=name": "x"}}));
        let secret = parse(json!({"data": {"key": "c2VjcmV0"}}));
        let port = Port { name: "sql".to_owned(), protocol: Protocol::Tcp, port: 5432, node_port: None };
        let database =
            Service { cluster_ip: Some("10.96.0.7".parse().unwrap()), ports: vec![port], ..Service::default() };
        Sources {
            config_maps: BTreeMap::from([("cm".to_owned(), Some(map)), ("gone".to_owned(), None)]),
            secrets: BTreeMap::from([("s".to_owned(), Some(secret))]),
            services: vec![("my-db".into(), Arc::new(database))],
        }
    }

    fn build(container: Value) -> Result<BTreeMap<String, String>, String> {
        let pod: Pod = parse(json!({"metadata": {"name": "p", "namespace": "ns"},
            "spec": {"containers": [container.clone()]}}));
        let facts = Facts { pod_ips: vec!["10.244.0.9".into()], ..Facts::default() };
        environment(&pod, &parse(container), &sources(), &facts).map(|list| list.into_iter().collect())
    }

    #[test]
    fn every_form() {
        let env = build(json!({"name": "c",
        "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "P_"},
                    {"configMapRef": {"name": "gone", "optional": true}}, {"secretRef": {"name": "s"}}],
        "env": [
            {"name": "PLAIN", "value": "v"},
            {"name": "JOINED", "value": "$(PLAIN)-$(P_color)-$(MY_DB_SERVICE_HOST)-$(LATER)"},
            {"name": "LATER", "value": "x"},
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "color"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
            {"name": "NOT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": true}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MY_DB_PORT", "value": "mine"},
        ]}))
        .unwrap();
        for (name, value) in [
            ("PLAIN", "v"),
            ("P_color", "red"),
            ("key", "secret"),
            ("JOINED", "v-red-10.96.0.7-$(LATER)"),
            ("KEY", "red"),
            ("SECRET", "secret"),
            ("IP", "10.244.0.9"),
            ("MY_DB_PORT", "mine"),
            ("MY_DB_SERVICE_PORT_SQL", "5432"),
            ("MY_DB_PORT_5432_TCP", "tcp://10.96.0.7:5432"),
            ("MY_DB_PORT_5432_TCP_ADDR", "10.96.0.7"),
        ] {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!env.contains_key("NOT") && !env.contains_key("P_bad=name"));
    }

    #[test]
    fn what_is_missing_is_said() {
        for (env, message) in [
            (json!({"configMapKeyRef": {"name": "gone", "key": "k"}}), "configmap \"gone\" not found"),
            (json!({"configMapKeyRef": {"name": "cm", "key": "k"}}), "couldn't find key k in ConfigMap ns/cm"),
            (json!({"secretKeyRef": {"name": "x", "key": "k"}}), "secret \"x\" not found"),
            (json!({"secretKeyRef": {"name": "s", "key": "k"}}), "couldn't find key k in Secret ns/s"),
        ] {
            let got = build(json!({"name": "c", "env": [{"name": "A", "valueFrom": env}]}));
            assert_eq!(got, Err(message.to_owned()));
        }
    }
}

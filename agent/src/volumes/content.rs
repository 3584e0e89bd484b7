//! The files of ConfigMap, Secret, downward API and projected volumes: what they are made of. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret, ServiceAccountTokenProjection,
    Volume,
};

use super::atomic::{File, Payload, check_path};
use crate::pods::downward::{self, Facts};

const DEFAULT_MODE: i32 = 0o644;

/// One source of a volume's files.
#[derive(Clone, Debug)]
pub enum Source {
    ConfigMap {
        name: String,
        items: Vec<KeyToPath>,
        optional: bool,
    },
    Secret {
        name: String,
        items: Vec<KeyToPath>,
        optional: bool,
    },
    Downward {
        items: Vec<DownwardAPIVolumeFile>,
    },
    Token(ServiceAccountTokenProjection),
    /// Something that this node cannot give.
    Unsupported(&'static str),
}

/// The sources of a volume whose files the agent writes, and their default mode; `None` for other volumes.
#[must_use]
pub fn sources(volume: &Volume) -> Option<(Vec<Source>, i32)> {
    if let Some(map) = &volume.config_map {
        let source = Source::ConfigMap {
            name: map.name.clone(),
            items: map.items.clone().unwrap_or_default(),
            optional: map.optional == Some(true),
        };
        return Some((vec![source], map.default_mode.unwrap_or(DEFAULT_MODE)));
    }
    if let Some(secret) = &volume.secret {
        let source = Source::Secret {
            name: secret.secret_name.clone().unwrap_or_default(),
            items: secret.items.clone().unwrap_or_default(),
            optional: secret.optional == Some(true),
        };
        return Some((vec![source], secret.default_mode.unwrap_or(DEFAULT_MODE)));
    }
    if let Some(api) = &volume.downward_api {
        let source = Source::Downward { items: api.items.clone().unwrap_or_default() };
        return Some((vec![source], api.default_mode.unwrap_or(DEFAULT_MODE)));
    }
    volume.projected.as_ref().map(|projected| (projections(projected), projected.default_mode.unwrap_or(DEFAULT_MODE)))
}

fn projections(projected: &ProjectedVolumeSource) -> Vec<Source> {
    let mut sources = Vec::new();
    for projection in projected.sources.iter().flatten() {
        if let Some(map) = &projection.config_map {
            sources.push(Source::ConfigMap {
                name: map.name.clone(),
                items: map.items.clone().unwrap_or_default(),
                optional: map.optional == Some(true),
            });
        }
        if let Some(secret) = &projection.secret {
            sources.push(Source::Secret {
                name: secret.name.clone(),
                items: secret.items.clone().unwrap_or_default(),
                optional: secret.optional == Some(true),
            });
        }
        if let Some(api) = &projection.downward_api {
            sources.push(Source::Downward { items: api.items.clone().unwrap_or_default() });
        }
        sources.extend(projection.service_account_token.clone().map(Source::Token));
        if projection.cluster_trust_bundle.is_some() {
            sources.push(Source::Unsupported("clusterTrustBundle"));
        }
        if projection.pod_certificate.is_some() {
            sources.push(Source::Unsupported("podCertificate"));
        }
    }
    sources
}

/// What the sources refer to, fetched. `None`: looked for and not there.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    pub config_maps: BTreeMap<String, Option<ConfigMap>>,
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// Tokens by the path they are written to.
    pub tokens: BTreeMap<String, String>,
}

fn mode(own: Option<i32>, default: i32) -> u32 {
    u32::try_from(own.unwrap_or(default)).unwrap_or(0o644) & 0o777
}

/// All keys under their own names, or the listed ones under the listed paths.
fn pick(
    data: &BTreeMap<String, Vec<u8>>,
    items: &[KeyToPath],
    (default, optional): (i32, bool),
    what: &str,
) -> Result<Vec<(String, File)>, String> {
    if items.is_empty() {
        let file = |data: &Vec<u8>| File { data: data.clone(), mode: mode(None, default), user: None };
        return Ok(data.iter().map(|(key, data)| (key.clone(), file(data))).collect());
    }
    let mut files = Vec::new();
    for item in items {
        match data.get(&item.key) {
            Some(data) => {
                let file = File { data: data.clone(), mode: mode(item.mode, default), user: None };
                files.push((item.path.clone(), file));
            }
            None if optional => {}
            None => return Err(format!("references non-existent {what} key: {}", item.key)),
        }
    }
    Ok(files)
}

/// The volume's files.
///
/// # Errors
/// What is missing, in the words of the `FailedMount` event.
pub fn payload(
    pod: &Pod,
    (sources, default_mode): &(Vec<Source>, i32),
    fetched: &Fetched,
    facts: &Facts,
    token_owner: (Option<u32>, bool),
) -> Result<Payload, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut payload = Payload::new();
    for source in sources {
        let files: Vec<(String, File)> = match source {
            Source::ConfigMap { name, items, optional } => {
                match fetched.config_maps.get(name).and_then(Option::as_ref) {
                    Some(map) => {
                        let text = map.data.iter().flatten();
                        let mut data: BTreeMap<String, Vec<u8>> =
                            text.map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect();
                        data.extend(map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())));
                        pick(&data, items, (*default_mode, *optional), "config")
                            .map_err(|error| format!("configmap {error}"))?
                    }
                    None if *optional => Vec::new(),
                    None => return Err(format!("configmap {name:?} not found")),
                }
            }
            Source::Secret { name, items, optional } => match fetched.secrets.get(name).and_then(Option::as_ref) {
                Some(secret) => {
                    let data = secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect();
                    pick(&data, items, (*default_mode, *optional), "secret")
                        .map_err(|error| format!("secret {namespace}/{name} {error}"))?
                }
                None if *optional => Vec::new(),
                None => return Err(format!("secret {name:?} not found")),
            },
            Source::Downward { items } => {
                let mut files = Vec::new();
                for item in items {
                    let text = match (&item.field_ref, &item.resource_field_ref) {
                        (Some(field), _) => downward::field(pod, facts, &field.field_path)?,
                        (None, Some(resource)) => downward::resource(pod, facts, resource, None)?,
                        (None, None) => continue,
                    };
                    let mode = mode(item.mode, *default_mode);
                    files.push((item.path.clone(), File { data: text.into_bytes(), mode, user: None }));
                }
                files
            }
            Source::Token(token) => {
                let text = fetched.tokens.get(&token.path).ok_or("the service account's token was not fetched")?;
                // Somebody in particular may read it, instead of everybody.
                let (user, group) = token_owner;
                let mode = if user.is_some() || group { 0o600 } else { mode(None, *default_mode) };
                vec![(token.path.clone(), File { data: text.clone().into_bytes(), mode, user })]
            }
            Source::Unsupported(what) => return Err(format!("{what} projections are not supported by this node")),
        };
        for (path, file) in files {
            check_path(&path)?;
            payload.insert(path, file);
        }
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn build(volume: Value) -> Result<BTreeMap<String, (String, u32)>, String> {
        let parse = |value: Value| serde_json::from_value(value).unwrap();
        let pod: Pod = parse2(json!({"metadata": {"name": "p", "namespace": "ns", "labels": {"a": "b"}}}));
        let mut volume_json = volume;
        volume_json["name"] = json!("v");
        let volume: Volume = parse2(volume_json);
        let fetched = Fetched {
            config_maps: BTreeMap::from([
                ("cm".to_owned(), Some(parse(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "Mw=="}})))),
                ("gone".to_owned(), None),
            ]),
            secrets: BTreeMap::from([("s".to_owned(), Some(parse2(json!({"data": {"k": "dg=="}}))))]),
            tokens: BTreeMap::from([("token".to_owned(), "jwt".to_owned())]),
        };
        let payload = payload(&pod, &sources(&volume).unwrap(), &fetched, &Facts::default(), (None, false))?;
        Ok(payload.into_iter().map(|(path, file)| (path, (String::from_utf8(file.data).unwrap(), file.mode))).collect())
    }

    fn parse2<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn files(list: &[(&str, &str, u32)]) -> BTreeMap<String, (String, u32)> {
        list.iter().map(|(path, data, mode)| ((*path).to_owned(), ((*data).to_owned(), *mode))).collect()
    }

    #[test]
    fn every_kind() {
        assert_eq!(
            build(json!({"configMap": {"name": "cm"}})),
            Ok(files(&[("a", "1", 0o644), ("b", "2", 0o644), ("c", "3", 0o644)]))
        );
        let picked = json!({"configMap": {"name": "cm", "defaultMode": 256,
            "items": [{"key": "a", "path": "x/y"}, {"key": "b", "path": "z", "mode": 511}]}});
        assert_eq!(build(picked), Ok(files(&[("x/y", "1", 0o400), ("z", "2", 0o777)])));
        assert_eq!(build(json!({"secret": {"secretName": "s"}})), Ok(files(&[("k", "v", 0o644)])));
        let downward =
            json!({"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}});
        assert_eq!(build(downward), Ok(files(&[("labels", "a=\"b\"", 0o644)])));
        let projected = json!({"projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "cm", "items": [{"key": "a", "path": "ca.crt"}]}},
            {"configMap": {"name": "gone", "optional": true}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}});
        assert_eq!(
            build(projected),
            Ok(files(&[("token", "jwt", 0o644), ("ca.crt", "1", 0o644), ("namespace", "ns", 0o644)]))
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        for (volume, message) in [
            (json!({"configMap": {"name": "gone"}}), "configmap \"gone\" not found"),
            (json!({"secret": {"secretName": "none"}}), "secret \"none\" not found"),
            (
                json!({"configMap": {"name": "cm", "items": [{"key": "x", "path": "x"}]}}),
                "configmap references non-existent config key: x",
            ),
        ] {
            assert_eq!(build(volume), Err(message.to_owned()));
        }
        let optional = json!({"secret": {"secretName": "s", "optional": true, "items": [{"key": "x", "path": "x"}]}});
        assert_eq!(build(optional), Ok(files(&[])));
        assert!(build(json!({"configMap": {"name": "cm", "items": [{"key": "a", "path": "../x"}]}})).is_err());
    }
}

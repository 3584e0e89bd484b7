//! `ServiceAccount`: every pod runs as an account of its namespace and gets that account's token as a volume.
//! Source: <https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/>

use pilothouse_api::Status;
use serde_json::{Value, json};

use super::object::{annotation, containers_mut, is_mirror, items, list_at, map_at, references};
use super::{Context, Notes, Operation, Plugin, Request};
use crate::{Reader, name_of, text};

pub(super) const PLUGIN: Plugin = Plugin { name: "ServiceAccount", admit: Some(admit), validate: Some(validate) };

const DEFAULT: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and seven seconds: the odd number lets tokens of this volume be told from others.
const TOKEN_SECONDS: i64 = 3607;
/// The letters of generated names: no vowels, nothing that looks like another.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Its pod waits for a default account that is not there (yet), though the namespace is.
pub(super) fn misses_default(reader: &dyn Reader, request: &Request) -> bool {
    let Some(pod) = request.object.as_ref().filter(|_| request.creates("", "pods")) else { return false };
    matches!(text(pod, "/spec/serviceAccountName"), "" | DEFAULT)
        && !is_mirror(pod)
        && reader.get("serviceaccounts", &request.namespace, DEFAULT).is_none()
        && reader.get("namespaces", "", &request.namespace).is_some()
}

fn account(context: &Context<'_>, request: &Request, name: &str) -> Result<std::sync::Arc<Value>, Status> {
    let namespace = &request.namespace;
    context.reader.get("serviceaccounts", namespace, name).ok_or_else(|| {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        request.forbidden(&why)
    })
}

fn admit(context: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    if !request.creates("", "pods") {
        return Ok(());
    }
    let Some(mut pod) = request.object.take() else { return Ok(()) };
    let result = fill(context, request, &mut pod);
    request.object = Some(pod);
    result
}

fn fill(context: &Context<'_>, request: &Request, pod: &mut Value) -> Result<(), Status> {
    if is_mirror(pod) {
        return Ok(());
    }
    let named = [text(pod, "/spec/serviceAccountName"), text(pod, "/spec/serviceAccount"), DEFAULT];
    let name = named.into_iter().find(|name| !name.is_empty()).unwrap_or(DEFAULT).to_owned();
    let spec = map_at(pod, &["spec"]);
    spec.insert("serviceAccountName".into(), json!(name));
    // The old name of the same field, which clients still read.
    spec.insert("serviceAccount".into(), json!(name));
    let account = account(context, request, &name)?;
    let wish = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_bool);
    let automount = wish(pod, "/spec/automountServiceAccountToken")
        .or_else(|| wish(&account, "/automountServiceAccountToken"))
        .unwrap_or(true);
    if automount {
        mount_token(pod, request.random);
    }
    if items(pod, "/spec/imagePullSecrets").next().is_none() {
        let secrets: Vec<Value> =
            items(&account, "/imagePullSecrets").map(|s| json!({"name": text(s, "/name")})).collect();
        if !secrets.is_empty() {
            map_at(pod, &["spec"]).insert("imagePullSecrets".into(), json!(secrets));
        }
    }
    Ok(())
}

fn mount_token(pod: &mut Value, random: u64) {
    let existing = items(pod, "/spec/volumes").map(name_of_volume).find(|name| name.starts_with(VOLUME_PREFIX));
    let has_volume = existing.is_some();
    let name = existing.map_or_else(|| format!("{VOLUME_PREFIX}{}", suffix(random)), str::to_owned);
    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
    let mut needed = false;
    for container in containers_mut(pod) {
        if items(container, "/volumeMounts").all(|mount| text(mount, "/mountPath") != MOUNT_PATH) {
            list_at(container, &["volumeMounts"]).push(mount.clone());
            needed = true;
        }
    }
    if needed && !has_volume {
        list_at(pod, &["spec", "volumes"]).push(json!({"name": name, "projected": token_volume()}));
    }
}

fn name_of_volume(volume: &Value) -> &str {
    text(volume, "/name")
}

fn suffix(mut random: u64) -> String {
    let mut letter = || {
        let index = (random % NAME_LETTERS.len() as u64) as usize;
        random /= NAME_LETTERS.len() as u64;
        char::from(NAME_LETTERS[index])
    };
    (0..5).map(|_| letter()).collect()
}

fn token_volume() -> Value {
    json!({
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}},
        ],
    })
}

fn validate(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    let of_pod = request.group.is_empty() && request.resource == "pods";
    let creates = of_pod && request.subresource.is_empty() && request.operation == Operation::Create;
    let debugs = of_pod && request.subresource == "ephemeralcontainers" && request.operation == Operation::Update;
    let Some(pod) = request.object.as_ref().filter(|_| creates || debugs) else { return Ok(()) };
    let name = text(pod, "/spec/serviceAccountName");
    if creates && is_mirror(pod) {
        return mirror(request, pod, name);
    }
    if name.is_empty() {
        let why = format!("no service account specified for pod {}/{}", request.namespace, name_of(pod));
        return Err(request.forbidden(&why));
    }
    let account = account(context, request, name)?;
    if !matches!(annotation(&account, "kubernetes.io/enforce-mountable-secrets"), Some("true" | "True" | "1")) {
        return Ok(());
    }
    mountable(pod, &account).map_err(|why| request.forbidden(&why))
}

/// A node makes mirror pods, so they may not reach anything.
fn mirror(request: &Request, pod: &Value, account: &str) -> Result<(), Status> {
    if !account.is_empty() {
        return Err(request.forbidden("a mirror pod may not reference service accounts"));
    }
    if references(pod).iter().any(|(resource, _)| *resource == "secrets") {
        return Err(request.forbidden("a mirror pod may not reference secrets"));
    }
    let mut sources = items(pod, "/spec/volumes").flat_map(|volume| items(volume, "/projected/sources"));
    if sources.any(|source| source.get("serviceAccountToken").is_some()) {
        return Err(request.forbidden("a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

/// With the annotation, only the secrets the account lists may be used.
fn mountable(pod: &Value, account: &Value) -> Result<(), String> {
    let owner = name_of(account);
    let lists = |pointer: &str, name: &str| items(account, pointer).any(|secret| text(secret, "/name") == name);
    let tail = format!("is not allowed because service account {owner} does not reference that secret");
    for volume in items(pod, "/spec/volumes") {
        let secret = text(volume, "/secret/secretName");
        if !secret.is_empty() && !lists("/secrets", secret) {
            return Err(format!("volume with secret.secretName={secret:?} {tail}"));
        }
    }
    let kinds = [
        ("init container", "initContainers"),
        ("container", "containers"),
        ("ephemeral container", "ephemeralContainers"),
    ];
    for (words, field) in kinds {
        for container in items(pod, &format!("/spec/{field}")) {
            let name = text(container, "/name");
            for env in items(container, "/env") {
                let secret = text(env, "/valueFrom/secretKeyRef/name");
                if !secret.is_empty() && !lists("/secrets", secret) {
                    let variable = text(env, "/name");
                    return Err(format!(
                        "{words} {name} with envVar {variable} referencing secret.secretName={secret:?} {tail}"
                    ));
                }
            }
            for from in items(container, "/envFrom") {
                let secret = text(from, "/secretRef/name");
                if !secret.is_empty() && !lists("/secrets", secret) {
                    return Err(format!("{words} {name} with envFrom referencing secret.secretName={secret:?} {tail}"));
                }
            }
        }
    }
    for (index, secret) in items(pod, "/spec/imagePullSecrets").enumerate() {
        let secret = text(secret, "/name");
        if !lists("/imagePullSecrets", secret) {
            return Err(format!(
                "imagePullSecrets[{index}].name={secret:?} is not allowed because service account {owner} does not \
                 reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

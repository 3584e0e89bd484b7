//! Who uses what, read from objects.

use std::collections::HashSet;

use serde_json::Value;

use crate::{name_of, namespace_of, text};

const MIRROR: &str = "kubernetes.io/config.mirror";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Kind {
    Claim,
    ConfigMap,
    Pod,
    ResourceClaim,
    Secret,
    ServiceAccount,
}

/// Something a pod uses: kind, namespace, name.
pub(super) type Thing = (Kind, Box<str>, Box<str>);
pub(super) type Key = (Box<str>, Box<str>);

/// What one object says about who uses what; read outside the lock.
pub(in super::super) enum Fact {
    Pod {
        key: Key,
        node: Box<str>,
        uses: Vec<Thing>,
    },
    /// A pod that is bound to no node (yet).
    Loose(Key),
    Volume {
        name: Box<str>,
        claim: Option<Key>,
        secrets: Vec<Key>,
    },
    Attachment {
        name: Box<str>,
        node: Box<str>,
    },
}

impl Fact {
    pub(in super::super) fn of(resource: &str, object: &Value) -> Option<Self> {
        let (namespace, name) = (namespace_of(object), name_of(object));
        match resource {
            "pods" => {
                let key = (namespace.into(), name.into());
                Some(match text(object, "/spec/nodeName") {
                    "" => Self::Loose(key),
                    node => Self::Pod { node: node.into(), uses: used_by(object, &key), key },
                })
            }
            "persistentvolumes" => {
                let claim = text(object, "/spec/claimRef/name");
                let namespace: Box<str> = text(object, "/spec/claimRef/namespace").into();
                Some(Self::Volume {
                    name: name.into(),
                    secrets: volume_secrets(object, &namespace),
                    claim: (!claim.is_empty()).then(|| (namespace, claim.into())),
                })
            }
            "volumeattachments.storage.k8s.io" => {
                Some(Self::Attachment { name: name.into(), node: text(object, "/spec/nodeName").into() })
            }
            _ => None,
        }
    }
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Everything a bound pod gives its node access to.
fn used_by(pod: &Value, key: &Key) -> Vec<Thing> {
    let namespace = &key.0;
    let mut used: HashSet<Thing> = HashSet::new();
    used.insert((Kind::Pod, key.0.clone(), key.1.clone()));
    let mirror = pod.pointer("/metadata/annotations").is_some_and(|all| all.get(MIRROR).is_some());
    if mirror {
        return used.into_iter().collect();
    }
    let mut add = |kind: Kind, name: &str| {
        if !name.is_empty() {
            used.insert((kind, namespace.clone(), name.into()));
        }
    };
    add(Kind::ServiceAccount, text(pod, "/spec/serviceAccountName"));
    for secret in items(pod, "/spec/imagePullSecrets") {
        add(Kind::Secret, text(secret, "/name"));
    }
    for list in ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"] {
        for container in items(pod, list) {
            for env in items(container, "/env") {
                add(Kind::Secret, text(env, "/valueFrom/secretKeyRef/name"));
                add(Kind::ConfigMap, text(env, "/valueFrom/configMapKeyRef/name"));
            }
            for from in items(container, "/envFrom") {
                add(Kind::Secret, text(from, "/secretRef/name"));
                add(Kind::ConfigMap, text(from, "/configMapRef/name"));
            }
        }
    }
    for volume in items(pod, "/spec/volumes") {
        add(Kind::Secret, text(volume, "/secret/secretName"));
        for source in ["azureFile/secretName", "csi/nodePublishSecretRef/name"] {
            add(Kind::Secret, text(volume, &format!("/{source}")));
        }
        for source in ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
            add(Kind::Secret, text(volume, &format!("/{source}/secretRef/name")));
        }
        add(Kind::ConfigMap, text(volume, "/configMap/name"));
        add(Kind::Claim, text(volume, "/persistentVolumeClaim/claimName"));
        if volume.get("ephemeral").is_some() {
            add(Kind::Claim, &format!("{}-{}", key.1, text(volume, "/name")));
        }
        for source in items(volume, "/projected/sources") {
            add(Kind::Secret, text(source, "/secret/name"));
            add(Kind::ConfigMap, text(source, "/configMap/name"));
        }
    }
    for claim in items(pod, "/spec/resourceClaims") {
        add(Kind::ResourceClaim, text(claim, "/resourceClaimName"));
    }
    for claim in items(pod, "/status/resourceClaimStatuses") {
        add(Kind::ResourceClaim, text(claim, "/resourceClaimName"));
    }
    add(Kind::ResourceClaim, text(pod, "/status/extendedResourceClaimStatus/resourceClaimName"));
    used.into_iter().collect()
}

/// Secrets a volume's source needs on the node; without a namespace of their own they are the claim's.
fn volume_secrets(volume: &Value, claim_namespace: &str) -> Vec<Key> {
    let mut all = Vec::new();
    let csi = ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"].map(|f| format!("/spec/csi/{f}"));
    let others =
        ["cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"].map(|f| format!("/spec/{f}/secretRef"));
    for pointer in csi.iter().chain(&others) {
        let name = text(volume, &format!("{pointer}/name"));
        if !name.is_empty() {
            let namespace = match text(volume, &format!("{pointer}/namespace")) {
                "" => claim_namespace,
                own => own,
            };
            all.push((namespace.into(), name.into()));
        }
    }
    all
}

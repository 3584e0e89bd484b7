//! What updates make of objects: which of them count, and what comes back or is filled in.

use serde_json::{Value, json};

use crate::common::updated;

const BUDGET: &str =
    "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: a}, spec: {minAvailable: 1, selector: {}}}";
const POLICY: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}, ingress: [{from: [{podSelector: {}, namespaceSelector: {}}]}]}}";
const DEFINITION: &str = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: as.b.c}, spec: {group: b.c, scope: Cluster, names: {plural: as, kind: A}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}, subresources: {status: {}}}]}}";
const CLASS: &str = "{apiVersion: resource.k8s.io/v1, kind: DeviceClass, metadata: {name: a}, spec: {config: [{opaque: {driver: d.io, parameters: {a: null}}}]}}";
const DEPLOYMENT: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}";

/// An empty struct that Go holds by a pointer is something, an empty list or map is nothing.
#[test]
fn generations() {
    let version = |subresources: &str| {
        format!(
            "{{spec: {{versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}{subresources}}}]}}}}"
        )
    };
    for (object, patch, generation) in [
        (BUDGET, "{spec: {selector: null}}", 2),
        (BUDGET, "{spec: {selector: {matchLabels: {}}}}", 1),
        (POLICY, "{spec: {ingress: [{from: [{podSelector: {}}]}]}}", 2),
        (POLICY, "{spec: {egress: []}}", 1),
        (DEFINITION, &version(""), 2),
        (DEFINITION, &version(", subresources: {}"), 2),
        (DEFINITION, &version(", subresources: {status: {}}"), 1),
        (CLASS, "{spec: {config: [{opaque: {driver: d.io, parameters: {}}}]}}", 2),
        (CLASS, "{spec: {selectors: []}}", 1),
        (
            DEPLOYMENT,
            "{spec: {paused: false, template: {spec: {nodeSelector: {}, containers: [{name: c, image: i, env: []}]}}}}",
            1,
        ),
        (DEPLOYMENT, "{spec: {template: {spec: {affinity: {}}}}}", 2),
    ] {
        let (_, new) = updated(object, patch, "");
        assert_eq!(new["metadata"]["generation"], generation, "{object} {patch}");
    }
}

/// A field after a status update, and whether it is a time of now.
fn status_of(object: &str, patch: &str, at: &str) -> Value {
    let (_, new) = updated(object, patch, "status");
    new.pointer(at).cloned().unwrap_or_default()
}

#[test]
fn statuses() {
    const REQUEST: &str =
        "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: a}, spec: {}}";
    const VOLUME: &str =
        "{apiVersion: v1, kind: PersistentVolume, metadata: {name: a}, spec: {capacity: {storage: 1Gi}}}";
    const CLAIM: &str =
        "{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {name: a}, spec: {devices: {}}}";
    const SET: &str = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}";
    const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: a}}";
    let failed = "{status: {conditions: [{type: Failed, status: 'True'}]}}";
    for key in ["lastUpdateTime", "lastTransitionTime"] {
        assert!(status_of(REQUEST, failed, &format!("/status/conditions/0/{key}")).is_string(), "{key}");
    }
    let since = "/status/lastPhaseTransitionTime";
    let moved = status_of(VOLUME, "{status: {phase: Bound}}", since);
    assert!(moved.is_string() && moved != "2026-01-01T00:00:00Z", "{moved}");
    assert_eq!(status_of(VOLUME, "{status: {message: m}}", since), "2026-01-01T00:00:00Z");
    let given = "{status: {allocation: {devices: {results: [{request: r, driver: d.io, pool: p, device: d, tolerations: [{key: k}]}]}}}}";
    assert_eq!(status_of(CLAIM, given, "/status/allocation/devices/results/0/tolerations/0/operator"), "Equal");
    let generation = "/metadata/annotations/deprecated.daemonset.template.generation";
    assert_eq!(status_of(SET, "{metadata: {annotations: null}, status: {numberReady: 1}}", generation), "1");
    assert_eq!(status_of(NODE, "{status: {config: {error: e}}}", "/status/config"), json!(null));
    let (_, node) = updated(NODE, "{spec: {configSource: {configMap: {name: a}}}}", "");
    assert!(node["spec"].get("configSource").is_none(), "{node}");
}

/// Parameters of drivers are compared as they are; of node labels, what they became counts as the same.
#[test]
fn what_may_change() {
    use crate::common::kind_of;
    let wrong = |object: &str, patch: &str| -> Vec<String> {
        let (old, new) = updated(object, patch, "");
        kind_of(&new).validate_update(&new, &old, "").iter().map(ToString::to_string).collect()
    };
    let claim = "{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {name: a}, spec: {devices: {config: [{opaque: {driver: d.io, parameters: {a: null}}}]}}}";
    let changed = wrong(claim, "{spec: {devices: {config: [{opaque: {driver: d.io, parameters: {}}}]}}}");
    assert!(changed.len() == 1 && changed[0].ends_with("field is immutable"), "{changed:?}");
    assert_eq!(wrong(claim, "{metadata: {labels: {a: b}}}"), [""; 0]);
    let affinity = |key: &str| {
        format!(
            "nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: {key}, operator: Exists}}]}}]}}}}"
        )
    };
    let beta = affinity("failure-domain.beta.kubernetes.io/zone");
    let volume = format!(
        "{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: a}}, spec: {{capacity: {{storage: 1Gi}}, accessModes: [ReadWriteOnce], hostPath: {{path: /a}}, {beta}}}}}"
    );
    assert_eq!(wrong(&volume, &format!("{{spec: {{{}}}}}", affinity("topology.kubernetes.io/zone"))), [""; 0]);
    assert_eq!(wrong(&volume, &format!("{{spec: {{{}}}}}", affinity("topology.kubernetes.io/region"))).len(), 1);
}

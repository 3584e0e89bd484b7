//! `NodeRestriction`: what the node authorizer cannot judge without the body. A node changes its own Node, Lease and
//! CSINode, reports on its own pods, makes mirror pods of its own, and gets tokens for the pods it runs.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>

use std::collections::BTreeSet;
use std::sync::Arc;

use pilothouse_api::Status;
use serde_json::Value;

use super::certificates::subject;
use super::object::{is_mirror, is_true, items, references};
use super::{Context, Operation, Plugin, Request};
use crate::authz::Attributes;
use crate::{name_of, text, uid_of};

pub(super) const PLUGIN: Plugin = Plugin { name: "NodeRestriction", admit: Some(admit), validate: None };

/// Labels a node may set on itself although they are Kubernetes' own.
const OWN_LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_LABEL_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";

fn admit(context: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    let Some(node) = request.user.node_name().map(str::to_owned) else { return Ok(()) };
    let case = Case { context, request, node: &node };
    match (request.group.as_str(), request.resource.as_str(), request.subresource.as_str()) {
        ("", "pods", "") => case.pod(),
        ("", "pods", "status") => case.pod_status(),
        ("", "pods", "eviction") => case.eviction(),
        ("", "pods", other) => {
            case.refuse(&format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
        }
        ("", "nodes", _) => case.node(),
        ("", "persistentvolumeclaims", "status") => case.claim_status(),
        ("", "persistentvolumeclaims", _) => case.refuse("may only update PVC status"),
        ("", "serviceaccounts", "token") => case.token(),
        ("coordination.k8s.io", "leases", _) => case.lease(),
        ("storage.k8s.io", "csinodes", _) => case.own_name("CSINode"),
        ("resource.k8s.io", "resourceslices", _) => case.resource_slice(),
        ("certificates.k8s.io", "certificatesigningrequests", "") => case.certificate(),
        _ => Ok(()),
    }
}

struct Case<'a> {
    context: &'a Context<'a>,
    request: &'a Request,
    node: &'a str,
}

impl Case<'_> {
    fn refuse(&self, why: &str) -> Result<(), Status> {
        Err(self.request.forbidden(why))
    }

    fn object(&self) -> &Value {
        self.request.object.as_ref().unwrap_or(&Value::Null)
    }

    fn old(&self) -> &Value {
        self.request.old.as_deref().unwrap_or(&Value::Null)
    }

    fn pod_named(&self, name: &str) -> Result<Arc<Value>, Status> {
        let found = self.context.reader.get("pods", &self.request.namespace, name);
        found.ok_or_else(|| Status::not_found("", "pods", name))
    }

    fn runs(&self, pod: &Value) -> bool {
        text(pod, "/spec/nodeName") == self.node
    }

    fn pod(&self) -> Result<(), Status> {
        let node = self.node;
        match self.request.operation {
            Operation::Create => self.mirror_pod(),
            Operation::Delete => {
                if self.runs(&*self.pod_named(&self.request.name)?) {
                    return Ok(());
                }
                self.refuse(&format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            other => {
                let operation = format!("{other:?}").to_uppercase();
                self.refuse(&format!(
                    "unexpected operation {operation:?}, node {node:?} can only create and delete mirror pods"
                ))
            }
        }
    }

    fn mirror_pod(&self) -> Result<(), Status> {
        let (node, pod) = (self.node, self.object());
        if !is_mirror(pod) {
            return self.refuse(&format!(
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
            ));
        }
        if !self.runs(pod) {
            return self.refuse(&format!("node {node:?} can only create pods with spec.nodeName set to itself"));
        }
        let owners: Vec<&Value> = items(pod, "/metadata/ownerReferences").collect();
        let [owner] = owners.as_slice() else {
            let which = if owners.is_empty() { "an owner reference" } else { "a single owner reference" };
            return self.refuse(&format!("node {node:?} can only create pods with {which} set to itself"));
        };
        if (text(owner, "/apiVersion"), text(owner, "/kind"), text(owner, "/name")) != ("v1", "Node", node) {
            return self.refuse(&format!("node {node:?} can only create pods with an owner reference set to itself"));
        }
        if !is_true(owner, "/controller") {
            return self.refuse(&format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            ));
        }
        if is_true(owner, "/blockOwnerDeletion") {
            return self.refuse(&format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
        }
        let Some(stored) = self.context.reader.get("nodes", "", node) else {
            return Err(Status::not_found("", "nodes", node));
        };
        let (expected, given) = (text(owner, "/uid"), uid_of(&stored));
        if expected != given {
            return self.refuse(&format!("node {node} UID mismatch: expected {expected} got {given}"));
        }
        let account = text(pod, "/spec/serviceAccountName");
        let used = references(pod);
        let reference = used.first().map(|(resource, _)| *resource);
        let reference = if account.is_empty() { reference } else { Some("serviceaccounts") };
        match reference {
            Some(resource) => self.refuse(&format!("node {node:?} can not create pods that reference {resource}")),
            None => Ok(()),
        }
    }

    fn pod_status(&self) -> Result<(), Status> {
        let (node, old, new) = (self.node, self.old(), self.object());
        if self.request.operation != Operation::Update {
            return self.refuse(&format!("unexpected operation {:?}", self.request.operation));
        }
        if !self.runs(old) {
            return self.refuse(&format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            ));
        }
        let part = |object: &Value, pointer: &str| object.pointer(pointer).filter(|v| !is_empty(v)).cloned();
        let differs = |pointer: &str| part(old, pointer) != part(new, pointer);
        if differs("/metadata/labels") {
            return self.refuse(&format!("node {node:?} cannot update labels through pod status"));
        }
        if differs("/status/resourceClaimStatuses") {
            return self.refuse(&format!("node {node:?} cannot update resource claim statues"));
        }
        if differs("/status/extendedResourceClaimStatus") {
            return self.refuse(&format!("node {node:?} cannot update extended resource claim status"));
        }
        Ok(())
    }

    fn eviction(&self) -> Result<(), Status> {
        let named = [self.request.name.as_str(), name_of(self.object())];
        let Some(name) = named.into_iter().find(|name| !name.is_empty()) else {
            return self.refuse("could not determine pod from request data");
        };
        if self.runs(&*self.pod_named(name)?) {
            return Ok(());
        }
        self.refuse(&format!("node {} can only evict pods with spec.nodeName set to itself", self.node))
    }

    fn node(&self) -> Result<(), Status> {
        let (node, name) = (self.node, self.request.name.as_str());
        if name != node {
            return self.refuse(&format!("node {node:?} is not allowed to modify node {name:?}"));
        }
        let (old, new) = (self.old(), self.object());
        match self.request.operation {
            Operation::Create => {
                let labels = forbidden_labels(new, &Value::Null);
                if !labels.is_empty() {
                    let list = labels.join(", ");
                    return self.refuse(&format!("node {node:?} is not allowed to set the following labels: {list}"));
                }
            }
            Operation::Update => {
                let part = |object: &Value, pointer: &str| object.pointer(pointer).filter(|v| !is_empty(v)).cloned();
                let differs = |pointer: &str| part(old, pointer) != part(new, pointer);
                if part(new, "/spec/configSource").is_some() && differs("/spec/configSource") {
                    return self.refuse(&format!(
                        "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                    ));
                }
                if differs("/spec/taints") {
                    return self.refuse(&format!("node {node:?} is not allowed to modify taints"));
                }
                if differs("/metadata/ownerReferences") {
                    return self.refuse(&format!("node {node:?} is not allowed to modify ownerReferences"));
                }
                let labels = forbidden_labels(new, old);
                if !labels.is_empty() {
                    return self.refuse(&format!("is not allowed to modify labels: {}", labels.join(", ")));
                }
            }
            Operation::Delete | Operation::Connect => {}
        }
        Ok(())
    }

    /// Only what the node itself measures may change.
    fn claim_status(&self) -> Result<(), Status> {
        let strip = |object: &Value| {
            let mut object = object.clone();
            for (parent, fields) in [
                ("metadata", &["resourceVersion", "managedFields"][..]),
                ("status", &["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"]),
            ] {
                if let Some(map) = object.get_mut(parent).and_then(Value::as_object_mut) {
                    map.retain(|field, _| !fields.contains(&field.as_str()));
                }
            }
            object
        };
        if strip(self.old()) == strip(self.object()) {
            return Ok(());
        }
        self.refuse(&format!(
            "node {:?} is not allowed to update fields other than status.quantity and status.conditions",
            self.node
        ))
    }

    fn lease(&self) -> Result<(), Status> {
        let (node, request) = (self.node, self.request);
        if request.operation == Operation::Create
            && request.namespace == "kube-node-lease"
            && name_of(self.object()) != node
        {
            return self
                .refuse(&format!("can only create node lease with the same name as the requesting node {node:?}"));
        }
        Ok(())
    }

    fn own_name(&self, kind: &str) -> Result<(), Status> {
        if self.request.operation == Operation::Create && name_of(self.object()) != self.node {
            return self
                .refuse(&format!("can only access {kind} with the same name as the requesting node {:?}", self.node));
        }
        Ok(())
    }

    fn resource_slice(&self) -> Result<(), Status> {
        let creates = self.request.operation == Operation::Create;
        if creates && text(self.object(), "/spec/nodeName") != self.node {
            return self.refuse("can only create ResourceSlice with the same NodeName as the requesting node");
        }
        Ok(())
    }

    fn certificate(&self) -> Result<(), Status> {
        let signer = text(self.object(), "/spec/signerName");
        let of_node = matches!(signer, "kubernetes.io/kubelet-serving" | "kubernetes.io/kube-apiserver-client-kubelet");
        if self.request.operation != Operation::Create || !of_node {
            return Ok(());
        }
        let named =
            subject(self.object()).map_err(|error| self.request.forbidden(&format!("unable to parse csr: {error}")))?;
        if named.common_name == self.request.user.name {
            return Ok(());
        }
        self.refuse(&format!("can only create a node CSR with CN={}", self.request.user.name))
    }

    fn token(&self) -> Result<(), Status> {
        if self.request.operation != Operation::Create {
            return Ok(());
        }
        let reference = self.object().pointer("/spec/boundObjectRef").unwrap_or(&Value::Null);
        let name = text(reference, "/name");
        if (text(reference, "/apiVersion"), text(reference, "/kind")) != ("v1", "Pod") || name.is_empty() {
            return self.refuse("node requested token not bound to a pod");
        }
        let uid = text(reference, "/uid");
        if uid.is_empty() {
            return self.refuse("node requested token with a pod binding without a uid");
        }
        let pod = self.pod_named(name)?;
        if uid != uid_of(&pod) {
            return self.refuse(&format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
                 been deleted and then recreated"
            ));
        }
        if !self.runs(&pod) {
            return self.refuse("node requested token bound to a pod scheduled on a different node");
        }
        self.audience(&pod)
    }

    /// The token is for whom the pod's volumes say it is.
    fn audience(&self, pod: &Value) -> Result<(), Status> {
        let asked: Vec<&str> = items(self.object(), "/spec/audiences").filter_map(Value::as_str).collect();
        let audience = match asked.as_slice() {
            [] => "",
            [one] => one,
            _ => return self.refuse("node may only request 0 or 1 audiences"),
        };
        let projected = items(pod, "/spec/volumes").flat_map(|volume| items(volume, "/projected/sources"));
        let mut tokens = projected.filter_map(|source| source.get("serviceAccountToken"));
        let user = &self.request.user;
        let asked = Attributes::resource(user, "request-serviceaccounts-token-audience", "", "v1", audience)
            .namespace(&self.request.namespace)
            .name(&self.request.name);
        if tokens.any(|token| text(token, "/audience") == audience)
            || self.driver_wants(pod, audience)
            || self.context.authorizer.authorize(&asked).allowed
        {
            return Ok(());
        }
        let name = &user.name;
        self.refuse(&format!(
            "audience {audience:?} not found in pod spec volume, {name} is not authorized to request tokens for this \
             audience"
        ))
    }

    /// A storage driver of one of the pod's volumes asks for tokens with this audience.
    fn driver_wants(&self, pod: &Value, audience: &str) -> bool {
        let reader = self.context.reader;
        let namespace = &self.request.namespace;
        items(pod, "/spec/volumes").any(|volume| {
            let claim = match text(volume, "/persistentVolumeClaim/claimName") {
                "" if volume.get("ephemeral").is_some() => format!("{}-{}", name_of(pod), text(volume, "/name")),
                claim => claim.to_owned(),
            };
            let driver = match text(volume, "/csi/driver") {
                "" => reader
                    .get("persistentvolumeclaims", namespace, &claim)
                    .and_then(|claim| reader.get("persistentvolumes", "", text(&claim, "/spec/volumeName")))
                    .map(|volume| text(&volume, "/spec/csi/driver").to_owned())
                    .unwrap_or_default(),
                driver => driver.to_owned(),
            };
            let driver = reader.get("csidrivers.storage.k8s.io", "", &driver);
            driver.is_some_and(|d| items(&d, "/spec/tokenRequests").any(|t| text(t, "/audience") == audience))
        })
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Changed labels that are not a node's to change, sorted.
fn forbidden_labels(new: &Value, old: &Value) -> Vec<String> {
    let labels = |object: &Value| object.pointer("/metadata/labels").and_then(Value::as_object).cloned();
    let (new, old) = (labels(new).unwrap_or_default(), labels(old).unwrap_or_default());
    let keys: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    let changed = keys.into_iter().filter(|key| new.get(*key) != old.get(*key));
    changed.filter(|key| is_forbidden(key)).cloned().collect()
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    if within(RESTRICTED_DOMAIN) {
        return true;
    }
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    kubernetes && !OWN_LABELS.contains(&label) && !OWN_LABEL_DOMAINS.iter().any(|domain| within(domain))
}

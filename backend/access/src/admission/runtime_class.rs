//! `RuntimeClass`: what a class of runtime costs, and where it runs, becomes part of the pod.
//! Source: <https://kubernetes.io/docs/concepts/containers/runtime-class/>

use std::sync::Arc;

use pilothouse_api::Status;
use serde_json::{Value, json};

use super::object::{items, list_at, map_at};
use super::{Context, Notes, Plugin, Request};
use crate::text;

pub(super) const PLUGIN: Plugin = Plugin { name: "RuntimeClass", admit: Some(admit), validate: Some(validate) };

const CLASSES: &str = "runtimeclasses.node.k8s.io";
const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn class(context: &Context<'_>, request: &Request, pod: &Value) -> Result<Option<Arc<Value>>, Status> {
    let name = text(pod, "/spec/runtimeClassName");
    if name.is_empty() {
        return Ok(None);
    }
    let class = context.reader.get(CLASSES, "", name);
    class.map(Some).ok_or_else(|| request.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found")))
}

fn overhead(class: &Value) -> Option<&Value> {
    class.pointer("/overhead/podFixed")
}

fn given(pod: &Value) -> Option<&Value> {
    pod.pointer("/spec/overhead").filter(|value| value.as_object().is_some_and(|map| !map.is_empty()))
}

fn admit(context: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    let Some(pod) = request.object.as_ref().filter(|_| request.creates("", "pods")) else { return Ok(()) };
    let Some(class) = class(context, request, pod)? else { return Ok(()) };
    if let (Some(wanted), Some(given)) = (overhead(&class), given(pod))
        && wanted != given
    {
        return Err(request.forbidden(MISMATCH));
    }
    for (key, wanted) in class.pointer("/scheduling/nodeSelector").and_then(Value::as_object).into_iter().flatten() {
        let given = pod.pointer("/spec/nodeSelector").and_then(|selector| selector.get(key));
        if given.is_some_and(|given| given != wanted) {
            let shown = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
            return Err(request.forbidden(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                shown(Some(wanted)),
                shown(given)
            )));
        }
    }
    let Some(pod) = &mut request.object else { return Ok(()) };
    if let Some(wanted) = overhead(&class) {
        map_at(pod, &["spec"]).insert("overhead".into(), wanted.clone());
    }
    for (key, wanted) in class.pointer("/scheduling/nodeSelector").and_then(Value::as_object).into_iter().flatten() {
        map_at(pod, &["spec", "nodeSelector"]).insert(key.clone(), json!(wanted));
    }
    for toleration in items(&class, "/scheduling/tolerations") {
        let list = list_at(pod, &["spec", "tolerations"]);
        if !list.contains(toleration) {
            list.push(toleration.clone());
        }
    }
    Ok(())
}

fn validate(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    let Some(pod) = request.object.as_ref().filter(|_| request.creates("", "pods")) else { return Ok(()) };
    let class = class(context, request, pod)?;
    match (class.as_deref().and_then(overhead), given(pod)) {
        (None, None) => Ok(()),
        (Some(wanted), given) if given == Some(wanted) => Ok(()),
        (Some(_), _) => Err(request.forbidden(MISMATCH)),
        (None, Some(_)) => {
            Err(request.forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
        }
    }
}

//! `Priority`: the name of a PriorityClass becomes a number that the scheduler compares; one class may be the default.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>

use std::sync::Arc;

use pilothouse_api::Status;
use serde_json::{Value, json};

use super::object::{is_true, map_at};
use super::{Context, Notes, Operation, Plugin, Request};
use crate::{name_of, text};

pub(super) const PLUGIN: Plugin = Plugin { name: "Priority", admit: Some(admit), validate: Some(validate) };

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses.scheduling.k8s.io";

/// Of several defaults the lowest counts.
fn default_class(context: &Context<'_>) -> Option<Arc<Value>> {
    let all = context.reader.list(CLASSES, None);
    all.into_iter().filter(|class| is_true(class, "/globalDefault")).min_by_key(|class| value(class))
}

fn value(class: &Value) -> i64 {
    class.get("value").and_then(Value::as_i64).unwrap_or(0)
}

fn admit(context: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    if request.updates("", "pods") {
        keep(request);
        return Ok(());
    }
    if !request.creates("", "pods") {
        return Ok(());
    }
    let Some(pod) = &request.object else { return Ok(()) };
    let (name, priority, policy) = match text(pod, "/spec/priorityClassName") {
        "" => match default_class(context) {
            Some(class) => (name_of(&class).to_owned(), value(&class), policy(&class)),
            None => (String::new(), 0, "PreemptLowerPriority".to_owned()),
        },
        name => {
            let class = context.reader.get(CLASSES, "", name);
            let class =
                class.ok_or_else(|| request.forbidden(&format!("no PriorityClass with name {name} was found")))?;
            (name.to_owned(), value(&class), policy(&class))
        }
    };
    if let Some(given) = pod.pointer("/spec/priority").and_then(Value::as_i64)
        && given != priority
    {
        return Err(request.forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        )));
    }
    let given = text(pod, "/spec/preemptionPolicy");
    if !given.is_empty() && given != policy {
        return Err(request.forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    if let Some(pod) = &mut request.object {
        let spec = map_at(pod, &["spec"]);
        if !name.is_empty() {
            spec.insert("priorityClassName".into(), json!(name));
        }
        spec.insert("priority".into(), json!(priority));
        spec.insert("preemptionPolicy".into(), json!(policy));
    }
    Ok(())
}

fn policy(class: &Value) -> String {
    match text(class, "/preemptionPolicy") {
        "" => "PreemptLowerPriority".to_owned(),
        policy => policy.to_owned(),
    }
}

/// An update that leaves the computed fields out keeps them.
fn keep(request: &mut Request) {
    let (Some(pod), Some(old)) = (&mut request.object, &request.old) else { return };
    let spec = map_at(pod, &["spec"]);
    for field in ["priority", "preemptionPolicy"] {
        if let Some(value) = old.get("spec").and_then(|spec| spec.get(field)).filter(|value| !value.is_null()) {
            let known = spec.entry(field).or_insert(Value::Null);
            if known.is_null() {
                *known = value.clone();
            }
        }
    }
}

fn validate(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    let Some(class) = request.object.as_ref().filter(|_| request.is(GROUP, "priorityclasses")) else { return Ok(()) };
    if !is_true(class, "/globalDefault") {
        return Ok(());
    }
    let Some(other) = default_class(context) else { return Ok(()) };
    if request.operation == Operation::Create || name_of(&other) != name_of(class) {
        let name = name_of(&other);
        return Err(request
            .forbidden(&format!("PriorityClass {name} is already marked as default. Only one default can exist")));
    }
    Ok(())
}

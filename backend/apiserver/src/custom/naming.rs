//! Which of a definition's names it may have, and what its status says of that. Pure.
//!
//! Invariant: of two definitions in one group that want a name, the one that has it keeps it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The names that other definitions of the group have.
#[derive(Debug, Default)]
pub struct Taken {
    /// Plurals, singulars and short names.
    pub resources: BTreeSet<String>,
    /// Kinds and list kinds.
    pub kinds: BTreeSet<String>,
}

fn text<'a>(names: &'a Value, field: &str) -> &'a str {
    names[field].as_str().unwrap_or_default()
}

fn texts<'a>(names: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    names[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}

impl Taken {
    /// Adds what a definition has been granted.
    pub fn add(&mut self, accepted: &Value) {
        let resources = [text(accepted, "plural"), text(accepted, "singular")];
        let resources = resources.into_iter().chain(texts(accepted, "shortNames"));
        self.resources.extend(resources.filter(|name| !name.is_empty()).map(str::to_owned));
        let kinds = [text(accepted, "kind"), text(accepted, "listKind")];
        self.kinds.extend(kinds.into_iter().filter(|name| !name.is_empty()).map(str::to_owned));
    }
}

fn condition(type_: &str, status: bool, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": if status { "True" } else { "False" }, "reason": reason, "message": message})
}

/// The status of the definition as it should be; `None` where it is so already.
pub fn status(definition: &Value, taken: &Taken, now: &str) -> Option<Value> {
    let mut status = definition["status"].as_object().cloned().unwrap_or_default();
    let (asked, had) = (&definition["spec"]["names"], &definition["status"]["acceptedNames"]);
    let mut accepted = had.as_object().cloned().unwrap_or_default();
    let mut conflict: Option<(&str, String)> = None;
    for (field, reason, kinds) in [
        ("plural", "PluralConflict", false),
        ("singular", "SingularConflict", false),
        ("kind", "KindConflict", true),
        ("listKind", "ListKindConflict", true),
    ] {
        let name = text(asked, field);
        let in_use = if kinds { taken.kinds.contains(name) } else { taken.resources.contains(name) };
        if name != text(had, field) && in_use {
            conflict = Some((reason, format!("{name:?} is already in use")));
        } else {
            accepted.insert(field.into(), json!(name));
        }
    }
    let known: BTreeSet<&str> = texts(had, "shortNames").collect();
    let refused: Vec<String> = texts(asked, "shortNames")
        .filter(|name| !known.contains(name) && taken.resources.contains(*name))
        .map(|name| format!("{name:?} is already in use"))
        .collect();
    if refused.is_empty() {
        keep_list(&mut accepted, asked, "shortNames");
    } else {
        let message = if let [one] = refused.as_slice() { one.clone() } else { format!("[{}]", refused.join(", ")) };
        conflict = Some(("ShortNamesConflict", message));
    }
    keep_list(&mut accepted, asked, "categories");
    let names_accepted = match &conflict {
        None => condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
        Some((reason, message)) => condition("NamesAccepted", false, reason, message),
    };
    status.insert("acceptedNames".into(), Value::Object(accepted));
    set(&mut status, names_accepted, now);
    let established = super::holds(definition, "Established");
    if conflict.is_none() && !established {
        let message = "the initial names have been accepted";
        set(&mut status, condition("Established", true, "InitialNamesAccepted", message), now);
    } else if conflict.is_some() && !established {
        set(&mut status, condition("Established", false, "NotAccepted", "not all names are accepted"), now);
    }
    if let Some(approval) = approval(definition) {
        set(&mut status, approval, now);
    }
    list(&mut status, "storedVersions");
    let status = Value::Object(status);
    (status != definition["status"]).then_some(status)
}

/// Whether the Kubernetes project approves of a definition in one of its groups.
fn approval(definition: &Value) -> Option<Value> {
    let group = text(&definition["spec"], "group");
    if !(group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io")) {
        return None;
    }
    let type_ = "KubernetesAPIApprovalPolicyConformant";
    Some(match definition["metadata"]["annotations"]["api-approved.kubernetes.io"].as_str().unwrap_or_default() {
        "" => {
            let message = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
            condition(type_, false, "MissingAnnotation", message)
        }
        text if text.starts_with("unapproved") => {
            condition(type_, false, "UnapprovedAnnotation", &format!("not approved: {text:?}"))
        }
        text => condition(type_, true, "ApprovedAnnotation", &format!("approved in {text}")),
    })
}

fn keep_list(accepted: &mut Map<String, Value>, asked: &Value, field: &str) {
    let list: Vec<&str> = texts(asked, field).collect();
    if list.is_empty() {
        accepted.remove(field);
    } else {
        accepted.insert(field.into(), json!(list));
    }
}

/// The list under `key`, made if there is none: null is none.
fn list<'a>(status: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Vec<Value>> {
    let slot = status.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = json!([]);
    }
    slot.as_array_mut()
}

/// Sets a condition; its time moves only with its status.
pub fn set(status: &mut Map<String, Value>, mut condition: Value, now: &str) {
    let Some(conditions) = list(status, "conditions") else { return };
    match conditions.iter_mut().find(|known| known["type"] == condition["type"]) {
        Some(known) => {
            let time =
                if known["status"] == condition["status"] { known["lastTransitionTime"].clone() } else { json!(now) };
            condition["lastTransitionTime"] = time;
            *known = condition;
        }
        None => {
            condition["lastTransitionTime"] = json!(now);
            conditions.push(condition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn definition(names: Value) -> Value {
        json!({"spec": {"names": names}, "status": {"storedVersions": ["v1"]}})
    }

    fn shown(status: &Value) -> Vec<String> {
        let conditions = status["conditions"].as_array().unwrap();
        conditions
            .iter()
            .map(|c| format!("{} {} {} {}", c["type"], c["status"], c["reason"], c["message"]).replace('"', ""))
            .collect()
    }

    #[test]
    fn free_names_are_accepted_once() {
        let names = json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList", "shortNames": ["x"]});
        let mut wanted = definition(names.clone());
        let first = status(&wanted, &Taken::default(), NOW).unwrap();
        assert_eq!(
            shown(&first),
            [
                "NamesAccepted True NoConflicts no conflicts found",
                "Established True InitialNamesAccepted the initial names have been accepted"
            ]
        );
        assert_eq!(first["acceptedNames"], names);
        wanted["status"] = first;
        assert_eq!(status(&wanted, &Taken::default(), "later"), None);
    }

    #[test]
    fn taken_names_are_not() {
        let mut taken = Taken::default();
        taken.add(&json!({"plural": "bs", "singular": "b", "kind": "B", "listKind": "BList", "shortNames": ["x"]}));
        let of = |names: Value| status(&definition(names), &taken, NOW).unwrap();
        let kind = of(json!({"plural": "as", "singular": "a", "kind": "B", "listKind": "AList"}));
        assert_eq!(
            shown(&kind),
            [
                "NamesAccepted False KindConflict \\B\\ is already in use",
                "Established False NotAccepted not all names are accepted"
            ]
        );
        assert_eq!(kind["acceptedNames"], json!({"plural": "as", "singular": "a", "listKind": "AList"}));
        let short = of(json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList", "shortNames": ["x"]}));
        assert_eq!(shown(&short)[0], "NamesAccepted False ShortNamesConflict \\x\\ is already in use");
    }

    #[test]
    fn what_one_has_one_keeps() {
        let names = json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"});
        let mut mine = definition(names.clone());
        mine["status"]["acceptedNames"] = names.clone();
        let mut taken = Taken::default();
        taken.add(&names);
        assert!(shown(&status(&mine, &taken, NOW).unwrap())[0].starts_with("NamesAccepted True"));
    }
}

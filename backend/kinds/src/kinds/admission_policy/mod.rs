//! ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    columns::{AGE, Column, NAME, age, name},
    strategy::{Generation, StatusMeta, Strategy},
    value::{Look, MapExt, dig, members, object},
};

mod bindings;
mod policies;

pub(crate) static VALIDATING: Strategy = Strategy {
    generation: Generation::Spec,
    status_meta: StatusMeta::Keep,
    default: default_policy,
    validate: |policy, errors| policies::validating(policy, None, errors),
    validate_update: |new, old, errors| policies::validating(new, Some(old), errors),
    validate_status_update: |new, _, errors| policies::status(new.at("status"), errors),
    columns: &[NAME, Column::number("Validations"), Column::text("ParamKind"), AGE],
    row: |policy, now| policy_row(policy, "spec.validations", now),
    unconditional_update: false,
    ..Strategy::PLAIN
};

pub(crate) static MUTATING: Strategy = Strategy {
    generation: Generation::Spec,
    // Whether it is to be asked again must be said.
    default: default_policy,
    validate: |policy, errors| policies::mutating(policy, None, errors),
    validate_update: |new, old, errors| policies::mutating(new, Some(old), errors),
    columns: &[NAME, Column::number("Mutations"), Column::text("ParamKind"), AGE],
    row: |policy, now| policy_row(policy, "spec.mutations", now),
    unconditional_update: false,
    ..Strategy::PLAIN
};

pub(crate) static VALIDATING_BINDING: Strategy = Strategy {
    validate: bindings::validating,
    validate_update: |new, _, errors| bindings::validating(new, errors),
    ..BINDING
};

pub(crate) static MUTATING_BINDING: Strategy = Strategy {
    validate: bindings::mutating,
    validate_update: |new, _, errors| bindings::mutating(new, errors),
    ..BINDING
};

const BINDING: Strategy = Strategy {
    generation: Generation::Spec,
    default: |binding| {
        if let Some(resources) = dig(binding, "spec.matchResources") {
            default_match(resources);
        }
    },
    columns: &[NAME, Column::text("PolicyName"), Column::text("ParamRef"), AGE],
    row: binding_row,
    unconditional_update: false,
    ..Strategy::PLAIN
};

fn policy_row(policy: &Value, list: &str, now: Timestamp) -> Vec<Value> {
    let kind = policy.at("spec.paramKind");
    let kind = if kind.is_object() {
        format!("{}/{}", kind.text("apiVersion"), kind.text("kind"))
    } else {
        "<unset>".to_owned()
    };
    vec![name(policy), policy.list(list).len().into(), kind.into(), age(policy, now)]
}

fn binding_row(binding: &Value, now: Timestamp) -> Vec<Value> {
    let parameter = binding.at("spec.paramRef");
    let text = match (parameter.text("name"), parameter.text("namespace")) {
        ("", _) if parameter.has("selector") => parameter.at("selector").to_string(),
        ("", _) => "<unset>".to_owned(),
        (name, "") => format!("*/{name}"),
        (name, namespace) => format!("{namespace}/{name}"),
    };
    vec![name(binding), binding.text("spec.policyName").into(), text.into(), age(binding, now)]
}

fn default_policy(policy: &mut Value) {
    object(policy, "spec").or_set("failurePolicy", "Fail");
    if let Some(resources) = dig(policy, "spec.matchConstraints") {
        default_match(resources);
    }
}

fn default_match(resources: &mut Value) {
    resources.or_set("matchPolicy", "Equivalent");
    resources.or_set("namespaceSelector", json!({}));
    resources.or_set("objectSelector", json!({}));
    let Some(map) = resources.as_object_mut() else { return };
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in members(map, list) {
            rule.or_set("scope", "*");
        }
    }
}

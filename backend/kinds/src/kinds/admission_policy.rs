//! ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use pilothouse_cel::Type;
use serde_json::{Value, json};

use super::webhook;
use crate::{
    checks::{label_selector, one_of_if_set, required},
    columns::{AGE, Column, NAME, age, name},
    expressions::{Names, Wanted},
    strategy::{Generation, StatusMeta, Strategy},
    value::{Look, MapExt, dig, members, object},
};

pub(crate) static VALIDATING: Strategy = Strategy {
    generation: Generation::Spec,
    status_meta: StatusMeta::Keep,
    default: default_policy,
    validate: |policy, errors| self::policy(policy, "validations", errors),
    validate_update: |new, _, errors| policy(new, "validations", errors),
    columns: &[NAME, Column::number("Validations"), Column::text("ParamKind"), AGE],
    row: |policy, now| policy_row(policy, "spec.validations", now),
    unconditional_update: false,
    ..Strategy::PLAIN
};

pub(crate) static MUTATING: Strategy = Strategy {
    generation: Generation::Spec,
    default: |policy| {
        default_policy(policy);
        object(policy, "spec").or_set("reinvocationPolicy", "Never");
    },
    validate: |policy, errors| self::policy(policy, "mutations", errors),
    validate_update: |new, _, errors| policy(new, "mutations", errors),
    columns: &[NAME, Column::number("Mutations"), Column::text("ParamKind"), AGE],
    row: |policy, now| policy_row(policy, "spec.mutations", now),
    unconditional_update: false,
    ..Strategy::PLAIN
};

pub(crate) static VALIDATING_BINDING: Strategy = Strategy {
    validate: |binding, errors| {
        self::binding(binding, errors);
        actions(binding, errors);
    },
    validate_update: |new, _, errors| {
        binding(new, errors);
        actions(new, errors);
    },
    ..BINDING
};

pub(crate) static MUTATING_BINDING: Strategy = BINDING;

const BINDING: Strategy = Strategy {
    generation: Generation::Spec,
    default: |binding| {
        if let Some(resources) = dig(binding, "spec.matchResources") {
            default_match(resources);
        }
    },
    validate: binding,
    validate_update: |new, _, errors| binding(new, errors),
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

fn policy(policy: &Value, list: &str, errors: &mut ErrorList) {
    let (spec, path) = (policy.at("spec"), Path::new("spec"));
    one_of_if_set(spec, &path, "failurePolicy", &["Fail", "Ignore"], errors);
    if spec.has("paramKind") {
        let at = path.child("paramKind");
        required(spec.at("paramKind"), &at, "apiVersion", errors);
        required(spec.at("paramKind"), &at, "kind", errors);
    }
    let at = path.child("matchConstraints");
    if spec.has("matchConstraints") {
        match_resources(spec.at("matchConstraints"), &at, errors);
        if spec.list("matchConstraints.resourceRules").is_empty() {
            errors.push(Error::required(at.child("resourceRules"), ""));
        }
    } else {
        errors.push(Error::required(at, ""));
    }
    let params = spec.has("paramKind");
    let of_conditions = Names { params, authorizer: true, ..Names::default() };
    webhook::match_conditions(spec.list("matchConditions"), &of_conditions, &path.child("matchConditions"), errors);
    let names = variables(spec, &of_conditions, &path, errors);
    expressions(spec, list, &names, &path, errors);
    let audits = spec.list("auditAnnotations");
    if spec.list(list).is_empty() && (list == "mutations" || audits.is_empty()) {
        let detail = if list == "mutations" {
            "mutations must contain at least one item"
        } else {
            "validations or auditAnnotations must be non-empty; at least one must be specified"
        };
        errors.push(Error::required(path.child(list), detail));
    }
    for (index, item) in spec.list(list).iter().enumerate() {
        let path = path.child(list).index(index);
        if list == "validations" && item.text("expression").trim().is_empty() {
            errors.push(Error::required(path.child("expression"), "expression is not specified"));
        }
        if list == "mutations" {
            let (kind, field) = match item.text("patchType") {
                "ApplyConfiguration" => ("ApplyConfiguration", "applyConfiguration"),
                "JSONPatch" => ("JSONPatch", "jsonPatch"),
                other => {
                    let allowed = &["ApplyConfiguration", "JSONPatch"];
                    errors.push(Error::not_supported(path.child("patchType"), other, allowed));
                    continue;
                }
            };
            if !item.has(field) {
                let detail = format!("must be specified when patchType is {kind}");
                errors.push(Error::required(path.child(field), detail));
            }
        }
    }
}

/// The policy's variables, each of which may name those before it; gives what its other expressions may name.
fn variables(spec: &Value, conditions: &Names, path: &Path, errors: &mut ErrorList) -> Names {
    let mut names = Names { namespace_object: true, variables: Some(Vec::new()), ..conditions.clone() };
    for (index, variable) in spec.list("variables").iter().enumerate() {
        let (name, path) = (variable.text("name"), path.child("variables").index(index));
        required(variable, &path, "name", errors);
        let known = names.variables.get_or_insert_default();
        if known.iter().any(|(own, _)| own == name) {
            errors.push(Error::duplicate(path.child("name"), name));
        }
        let mut of = None;
        if required(variable, &path, "expression", errors) {
            let source = variable.text("expression");
            of = webhook::compiles(source, &names, Wanted::Anything, &path.child("expression"), errors);
        }
        names.variables.get_or_insert_default().push((name.to_owned(), of.unwrap_or(Type::Dyn)));
    }
    names
}

/// Everything else that is CEL in a policy.
fn expressions(spec: &Value, list: &str, names: &Names, path: &Path, errors: &mut ErrorList) {
    let quiet = Names { authorizer: false, ..names.clone() };
    let check = |item: &Value, at: &str, names: &Names, wanted: Wanted, path: &Path, errors: &mut ErrorList| {
        let source = item.text(at);
        if !source.trim().is_empty() {
            let path = at.split('.').fold(path.clone(), |path, step| path.child(step));
            webhook::compiles(source, names, wanted, &path, errors);
        }
    };
    for (index, item) in spec.list(list).iter().enumerate() {
        let path = path.child(list).index(index);
        if list == "validations" {
            check(item, "expression", names, Wanted::Bool, &path, errors);
            check(item, "messageExpression", &quiet, Wanted::Text, &path, errors);
        } else {
            check(item, "applyConfiguration.expression", names, Wanted::Configuration, &path, errors);
            check(item, "jsonPatch.expression", names, Wanted::Patch, &path, errors);
        }
    }
    for (index, item) in spec.list("auditAnnotations").iter().enumerate() {
        let path = path.child("auditAnnotations").index(index);
        check(item, "valueExpression", &quiet, Wanted::TextOrNull, &path, errors);
    }
}

fn match_resources(resources: &Value, path: &Path, errors: &mut ErrorList) {
    one_of_if_set(resources, path, "matchPolicy", &["Equivalent", "Exact"], errors);
    for key in ["namespaceSelector", "objectSelector"] {
        label_selector(resources.at(key), &path.child(key), errors);
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in resources.list(list).iter().enumerate() {
            webhook::rule(rule, &path.child(list).index(index), errors);
        }
    }
}

fn binding(binding: &Value, errors: &mut ErrorList) {
    let (spec, path) = (binding.at("spec"), Path::new("spec"));
    required(spec, &path, "policyName", errors);
    if spec.has("matchResources") {
        match_resources(spec.at("matchResources"), &path.child("matchResources"), errors);
    }
    let (parameter, at) = (spec.at("paramRef"), path.child("paramRef"));
    if !parameter.is_object() {
        return;
    }
    match (parameter.text("name").is_empty(), parameter.has("selector")) {
        (true, false) => errors.push(Error::required(at.clone(), "one of name or selector must be specified")),
        (false, true) => errors.push(Error::forbidden(at.child("name"), "name and selector are mutually exclusive")),
        _ => {}
    }
    match parameter.text("parameterNotFoundAction") {
        "" => errors.push(Error::required(at.child("parameterNotFoundAction"), "")),
        "Allow" | "Deny" => {}
        other => {
            errors.push(Error::not_supported(at.child("parameterNotFoundAction"), other, &["Deny", "Allow"]));
        }
    }
}

fn actions(binding: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("validationActions");
    let actions: Vec<&str> = binding.texts("spec.validationActions").collect();
    if actions.is_empty() {
        errors.push(Error::required(path.clone(), "at least one validation action is required"));
    }
    for (index, action) in actions.iter().enumerate() {
        if !matches!(*action, "Audit" | "Deny" | "Warn") {
            errors.push(Error::not_supported(path.index(index), *action, &["Audit", "Deny", "Warn"]));
        }
        if actions[..index].contains(action) {
            errors.push(Error::duplicate(path.index(index), *action));
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(Error::invalid(path, binding.at("spec.validationActions").clone(), detail));
    }
}

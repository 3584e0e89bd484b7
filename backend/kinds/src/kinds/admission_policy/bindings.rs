//! What is wrong with a binding, and what policies and bindings match.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks::{label_selector, one_of, one_of_if_there, push_all, required_name},
    kinds::webhook,
    value::Look,
};

const ONE_OF_BOTH: &str = "name and selector are mutually exclusive";
const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];
/// Whoever deletes sends nothing that could be changed.
const MUTATED: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];

pub(super) fn validating(binding: &Value, errors: &mut ErrorList) {
    common(binding, errors);
    actions(binding, errors);
}

pub(super) fn mutating(binding: &Value, errors: &mut ErrorList) {
    common(binding, errors);
    mutates(binding.at("spec.matchResources"), &Path::new("spec").child("matchResources"), errors);
}

fn common(binding: &Value, errors: &mut ErrorList) {
    let (spec, path) = (binding.at("spec"), Path::new("spec"));
    required_name(spec, &path, "policyName", names::is_dns1123_subdomain, errors);
    if spec.has("paramRef") {
        param_ref(spec.at("paramRef"), &path.child("paramRef"), errors);
    }
    if spec.has("matchResources") {
        match_resources(spec.at("matchResources"), &path.child("matchResources"), errors);
    }
}

fn param_ref(of: &Value, path: &Path, errors: &mut ErrorList) {
    let (name, by_selector) = (of.text("name"), of.has("selector"));
    let both = by_selector && !name.is_empty();
    push_all(names::is_path_segment_name(name), name, &path.child("name"), errors);
    if both {
        errors.push(Error::forbidden(path.child("name"), ONE_OF_BOTH));
    }
    label_selector(of.at("selector"), &path.child("selector"), errors);
    if both {
        errors.push(Error::forbidden(path.child("selector"), ONE_OF_BOTH));
    }
    if name.is_empty() && !by_selector {
        errors.push(Error::required(path.clone(), "one of name or selector must be specified"));
    }
    one_of(of, path, "parameterNotFoundAction", &["Deny", "Allow"], errors);
}

pub(super) fn match_resources(resources: &Value, path: &Path, errors: &mut ErrorList) {
    one_of_if_there(resources, path, "matchPolicy", &["Equivalent", "Exact"], errors);
    for key in ["namespaceSelector", "objectSelector"] {
        label_selector(resources.at(key), &path.child(key), errors);
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in resources.list(list).iter().enumerate() {
            let path = path.child(list).index(index);
            let named: Vec<&str> = rule.texts("resourceNames").collect();
            for (index, name) in named.iter().enumerate() {
                let path = path.child("resourceNames").index(index);
                push_all(names::is_path_segment_name(name), name, &path, errors);
                if named[..index].contains(name) {
                    errors.push(Error::duplicate(path, *name));
                }
            }
            webhook::rule(rule, &path, errors);
        }
    }
}

/// Operations of which what is sent can be changed.
pub(super) fn mutates(resources: &Value, path: &Path, errors: &mut ErrorList) {
    for rule in resources.list("resourceRules") {
        for operation in rule.texts("operations").filter(|operation| !MUTATED.contains(operation)) {
            let at = path.child("resourceRules").child("operations");
            errors.push(Error::not_supported(at, operation, MUTATED));
        }
    }
}

fn actions(binding: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("validationActions");
    let actions: Vec<&str> = binding.texts("spec.validationActions").collect();
    for (index, action) in actions.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.push(Error::not_supported(path.index(index), *action, ACTIONS));
        }
        if actions[..index].contains(action) {
            errors.push(Error::duplicate(path.index(index), *action));
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(Error::invalid(path.clone(), binding.at("spec.validationActions").clone(), detail));
    }
    if actions.is_empty() {
        errors.push(Error::required(path, "at least one validation action is required"));
    }
}

//! What is wrong with a policy.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use pilothouse_cel::Type;
use serde_json::Value;

use super::bindings::{match_resources, mutates};
use crate::{
    checks::{conditions, one_of, one_of_if_there, push_all, required},
    expressions::{Names, Wanted},
    jsonpath,
    kinds::webhook::{compiles, match_conditions},
    value::{Look, semantic_eq},
};

const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_AUDIT_EXPRESSION: usize = 5 * 1024;
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
/// Words that the expression language keeps for itself.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

pub(super) fn validating(policy: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let (spec, path) = (policy.at("spec"), Path::new("spec"));
    let names = common(spec, old, &path, errors);
    let (validations, audits) = (spec.list("validations"), spec.list("auditAnnotations"));
    if validations.is_empty() && audits.is_empty() {
        for key in ["validations", "auditAnnotations"] {
            let detail = "validations or auditAnnotations must contain at least one item";
            errors.push(Error::required(path.child(key), detail));
        }
    }
    for (index, one) in validations.iter().enumerate() {
        validation(one, &names, &path.child("validations").index(index), errors);
    }
    let at = path.child("auditAnnotations");
    if audits.len() > MAX_AUDIT_ANNOTATIONS {
        let detail = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        errors.push(Error::invalid(at.clone(), spec.at("auditAnnotations").clone(), detail));
    }
    for (index, one) in audits.iter().enumerate() {
        let (key, path) = (one.text("key"), at.index(index));
        audit_annotation(policy.text("metadata.name"), one, &names, &path, errors);
        if audits[..index].iter().any(|other| other.text("key") == key) {
            errors.push(Error::duplicate(path.child("key"), key));
        }
    }
}

pub(super) fn mutating(policy: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let (spec, path) = (policy.at("spec"), Path::new("spec"));
    let names = common(spec, old, &path, errors);
    let (mutations, at) = (spec.list("mutations"), path.child("mutations"));
    mutates(spec.at("matchConstraints"), &path.child("matchConstraints"), errors);
    if mutations.is_empty() {
        errors.push(Error::required(at.clone(), "mutations must contain at least one item"));
    }
    for (index, one) in mutations.iter().enumerate() {
        mutation(one, &names, &at.index(index), errors);
    }
    one_of(spec, &path, "reinvocationPolicy", &["IfNeeded", "Never"], errors);
}

/// What both kinds of policies have; gives what the policy's expressions may name.
fn common(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut ErrorList) -> Names {
    one_of_if_there(spec, path, "failurePolicy", &["Fail", "Ignore"], errors);
    let params = spec.has("paramKind");
    if params {
        param_kind(spec.at("paramKind"), &path.child("paramKind"), errors);
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
    let of_conditions = Names { params, authorizer: true, ..Names::default() };
    let same = |key: &str| old.is_some_and(|old| semantic_eq(spec.at(key), old.at("spec").at(key)));
    if !(same("paramKind") && same("matchConditions")) {
        match_conditions(spec.list("matchConditions"), &of_conditions, &path.child("matchConditions"), errors);
    }
    variables(spec, &of_conditions, path, errors)
}

fn param_kind(of: &Value, path: &Path, errors: &mut ErrorList) {
    let (text, at) = (of.text("apiVersion"), path.child("apiVersion"));
    match text.split('/').collect::<Vec<_>>()[..] {
        [""] => errors.push(Error::required(at, "")),
        ["", ""] => errors.push(Error::invalid(at, text, "version must be specified")),
        [version] => api_version("", version, text, &at, errors),
        [group, version] => api_version(group, version, text, &at, errors),
        _ => errors.push(Error::invalid(at, text, format!("unexpected GroupVersion string: {text}"))),
    }
    if required(of, path, "kind", errors) {
        let wrong = names::is_dns1035_label(&of.text("kind").to_lowercase());
        if !wrong.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.push(Error::invalid(path.child("kind"), of.text("kind"), detail));
        }
    }
}

fn api_version(group: &str, version: &str, text: &str, path: &Path, errors: &mut ErrorList) {
    let wrong = names::is_dns1123_subdomain(group);
    if !group.is_empty() && !wrong.is_empty() {
        errors.push(Error::invalid(path.clone(), group, wrong.join(",")));
    }
    let wrong = names::is_dns1035_label(version);
    if version.is_empty() {
        errors.push(Error::invalid(path.clone(), text, "version must be specified"));
    } else if !wrong.is_empty() {
        errors.push(Error::invalid(path.clone(), version, wrong.join(",")));
    }
}

/// The policy's variables, each of which may name those before it; gives what its other expressions may name.
fn variables(spec: &Value, conditions: &Names, path: &Path, errors: &mut ErrorList) -> Names {
    let mut names = Names { namespace_object: true, variables: Some(Vec::new()), ..conditions.clone() };
    for (index, variable) in spec.list("variables").iter().enumerate() {
        let (name, path) = (variable.text("name"), path.child("variables").index(index));
        if name.trim().is_empty() {
            errors.push(Error::required(path.child("name"), "name is not specified"));
        } else if !is_identifier(name) {
            errors.push(Error::invalid(path.child("name"), name, "must be a valid CEL identifier"));
        }
        let of = compiled(variable, "expression", &names, Wanted::Anything, &path, errors);
        names.variables.get_or_insert_default().push((name.to_owned(), of.unwrap_or(Type::Dyn)));
    }
    names
}

fn is_identifier(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(word) && !name.starts_with(|c: char| c.is_ascii_digit()) && !RESERVED.contains(&name)
}

/// The expression under `key`, which must be there; gives its type.
fn compiled(of: &Value, key: &str, names: &Names, wanted: Wanted, path: &Path, errors: &mut ErrorList) -> Option<Type> {
    let (source, path) = (of.text(key), path.child(key));
    if source.trim().is_empty() {
        errors.push(Error::required(path, format!("{key} is not specified")));
        return None;
    }
    compiles(source, names, wanted, &path, errors)
}

fn validation(of: &Value, names: &Names, path: &Path, errors: &mut ErrorList) {
    compiled(of, "expression", names, Wanted::Bool, path, errors);
    let blank = |key: &str| !of.text(key).is_empty() && of.text(key).trim().is_empty();
    let unless_set = "must be non-empty if specified";
    let (source, at) = (of.text("messageExpression"), path.child("messageExpression"));
    if blank("messageExpression") {
        errors.push(Error::invalid(at, source, unless_set));
    } else if !source.is_empty() {
        let quiet = Names { authorizer: false, ..names.clone() };
        compiles(source, &quiet, Wanted::Text, &at, errors);
    }
    let (message, at) = (of.text("message"), path.child("message"));
    if blank("message") {
        errors.push(Error::invalid(at, message, unless_set));
    } else if message.trim().contains(['\n', '\r']) {
        errors.push(Error::invalid(at, message, "must not contain line breaks"));
    }
    one_of_if_there(of, path, "reason", REASONS, errors);
}

fn audit_annotation(policy: &str, of: &Value, names: &Names, path: &Path, errors: &mut ErrorList) {
    let key = of.text("key");
    if policy.is_empty() {
        errors.push(Error::invalid(path.child("key"), key, "requires metadata.name be non-empty"));
    } else {
        let key = format!("{policy}/{key}");
        push_all(names::is_qualified_name(&key), &key, &path.child("key"), errors);
    }
    if of.text("valueExpression").trim().len() > MAX_AUDIT_EXPRESSION {
        let detail = format!("must not exceed {MAX_AUDIT_EXPRESSION} bytes in length");
        errors.push(Error::required(path.child("valueExpression"), detail));
    } else {
        compiled(of, "valueExpression", names, Wanted::TextOrNull, path, errors);
    }
}

fn mutation(of: &Value, names: &Names, path: &Path, errors: &mut ErrorList) {
    let kind = of.text("patchType");
    let (field, other, wanted) = match kind {
        "" => return errors.push(Error::required(path.child("patchType"), "")),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Wanted::Configuration),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Wanted::Patch),
        _ => {
            let allowed = &["ApplyConfiguration", "JSONPatch"];
            return errors.push(Error::not_supported(path.child("patchType"), kind, allowed));
        }
    };
    let at = path.child(field);
    let source = of.at(field).text("expression").trim();
    if !of.has(field) {
        errors.push(Error::required(at, format!("must be specified when patchType is {kind}")));
    } else if source.is_empty() {
        errors.push(Error::required(at.child("expression"), ""));
    } else {
        compiles(source, names, wanted, &at.child("expression"), errors);
    }
    if of.has(other) {
        let detail = format!("must not be specified when patchType is {kind}");
        errors.push(Error::invalid(path.child(other), format!("{{{other}}}"), detail));
    }
}

/// What the type checker found.
pub(super) fn status(status: &Value, errors: &mut ErrorList) {
    let path = Path::new("status");
    let at = path.child("typeChecking").child("expressionWarnings");
    for (index, warning) in status.list("typeChecking.expressionWarnings").iter().enumerate() {
        let path = at.index(index);
        required(warning, &path, "warning", errors);
        let (reference, at) = (warning.text("fieldRef").trim(), path.child("fieldRef"));
        if reference.is_empty() {
            errors.push(Error::required(at, ""));
        } else if let Err(wrong) = jsonpath::syntax::check(reference) {
            errors.push(Error::invalid(at, reference, format!("invalid JSONPath: {wrong}")));
        }
    }
    conditions(status.list("conditions"), &path.child("conditions"), errors);
}

//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use pilothouse_cel::Type;
use serde_json::{Map, Value, json};

use crate::{
    checks::{label_selector, one_of_if_there, push_all, required},
    columns::{AGE, Column, NAME, age, name},
    expressions::{Names, Wanted, expression},
    strategy::{Generation, Strategy},
    value::{Look, MapExt, items, members},
};

pub(crate) static MUTATING: Strategy = Strategy {
    default: |configuration| {
        for webhook in items(configuration, "webhooks") {
            default(webhook);
            webhook.or_set("reinvocationPolicy", "Never");
        }
    },
    ..ANY
};

pub(crate) static VALIDATING: Strategy = ANY;

const ANY: Strategy = Strategy {
    generation: Generation::AllButStatus,
    default: |configuration| items(configuration, "webhooks").for_each(default),
    validate,
    validate_update: |new, _, errors| validate(new, errors),
    columns: &[NAME, Column::number("Webhooks"), AGE],
    row,
    unconditional_update: false,
    ..Strategy::PLAIN
};

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const MAX_CONDITIONS: usize = 64;

fn row(configuration: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(configuration), configuration.list("webhooks").len().into(), age(configuration, now)]
}

fn default(webhook: &mut Map<String, Value>) {
    webhook.or_set("failurePolicy", "Fail");
    webhook.or_set("matchPolicy", "Equivalent");
    webhook.or_set("namespaceSelector", json!({}));
    webhook.or_set("objectSelector", json!({}));
    webhook.or_set("timeoutSeconds", 10);
    for rule in members(webhook, "rules") {
        rule.or_set("scope", "*");
    }
    if let Some(service) = webhook.get_mut("clientConfig").and_then(|c| c.get_mut("service")) {
        service.or_set("port", 443);
    }
}

fn validate(configuration: &Value, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for (index, webhook) in configuration.list("webhooks").iter().enumerate() {
        let (name, path) = (webhook.text("name"), Path::new("webhooks").index(index));
        self::webhook(webhook, &path, errors);
        if seen.contains(&name) {
            errors.push(Error::duplicate(path.child("name"), name));
        }
        seen.push(name);
    }
}

fn webhook(webhook: &Value, path: &Path, errors: &mut ErrorList) {
    qualified(webhook.text("name"), &path.child("name"), errors);
    for (index, rule) in webhook.list("rules").iter().enumerate() {
        self::rule(rule, &path.child("rules").index(index), errors);
    }
    one_of_if_there(webhook, path, "failurePolicy", &["Fail", "Ignore"], errors);
    one_of_if_there(webhook, path, "matchPolicy", &["Equivalent", "Exact"], errors);
    one_of_if_there(webhook, path, "reinvocationPolicy", &["IfNeeded", "Never"], errors);
    if webhook.has("sideEffects") {
        one_of_if_there(webhook, path, "sideEffects", &["None", "NoneOnDryRun"], errors);
    } else {
        errors.push(Error::required(path.child("sideEffects"), "must specify one of None, NoneOnDryRun"));
    }
    if let Some(seconds) = webhook.int("timeoutSeconds").filter(|s| !(1..=30).contains(s)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(Error::invalid(path.child("timeoutSeconds"), seconds, detail));
    }
    for key in ["namespaceSelector", "objectSelector"] {
        label_selector(webhook.at(key), &path.child(key), errors);
    }
    client_config(webhook.at("clientConfig"), &path.child("clientConfig"), errors);
    let conditions = webhook.list("matchConditions");
    match_conditions(conditions, &Names::of_webhook(), &path.child("matchConditions"), errors);
    let (versions, none) = (webhook.at("admissionReviewVersions"), "must specify one of v1, v1beta1");
    review_versions(versions, none, &path.child("admissionReviewVersions"), errors);
}

/// Names of conditions, and what they say.
pub(super) fn match_conditions(conditions: &[Value], names: &Names, path: &Path, errors: &mut ErrorList) {
    if conditions.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(path.clone(), conditions.len(), MAX_CONDITIONS));
    }
    let mut seen = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let (name, path) = (condition.text("name"), path.index(index));
        let source = condition.text("expression").trim();
        if source.is_empty() {
            errors.push(Error::required(path.child("expression"), ""));
        } else {
            compiles(source, names, Wanted::Bool, &path.child("expression"), errors);
        }
        if required(condition, &path, "name", errors) {
            push_all(names::is_qualified_name(name), name, &path.child("name"), errors);
            if seen.contains(&name) {
                errors.push(Error::duplicate(path.child("name"), name));
            }
            seen.push(name);
        }
    }
}

/// Checks an expression; gives its type.
pub(super) fn compiles(
    source: &str,
    names: &Names,
    wanted: Wanted,
    path: &Path,
    errors: &mut ErrorList,
) -> Option<Type> {
    match expression(source, names, wanted) {
        Ok(program) => Some(program.result().clone()),
        Err(why) => {
            errors.push(Error::invalid(path.clone(), source, why));
            None
        }
    }
}

/// Versions of reviews that a webhook speaks, of which we must speak one; `none` is said where there are none.
pub(super) fn review_versions(list: &Value, none: &str, path: &Path, errors: &mut ErrorList) {
    let versions: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if versions.is_empty() {
        return errors.push(Error::required(path.clone(), none));
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            errors.push(Error::invalid(path.index(index), *version, "duplicate version"));
            continue;
        }
        push_all(names::is_dns1035_label(version), version, &path.index(index), errors);
    }
    if !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        errors.push(Error::invalid(path.clone(), list.clone(), "must include at least one of v1, v1beta1"));
    }
}

/// A domain of at least three segments.
fn qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        return errors.push(Error::required(path.clone(), ""));
    }
    let wrong = names::is_dns1123_subdomain(name);
    if !wrong.is_empty() {
        return errors.push(Error::invalid(path.clone(), name, wrong.join(",")));
    }
    if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        errors.push(Error::invalid(path.clone(), name, detail));
    }
}

/// Operations, groups, versions and resources that a webhook or policy is about.
pub(super) fn rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let kinds = [
        ("operations", "other operations"),
        ("apiGroups", "other API groups"),
        ("apiVersions", "other API versions"),
        ("resources", "other resources"),
    ];
    for (key, others) in kinds {
        let (values, path): (Vec<&str>, _) = (rule.texts(key).collect(), path.child(key));
        if values.is_empty() {
            errors.push(Error::required(path.clone(), ""));
        }
        let all = if key == "resources" { values.contains(&"*/*") } else { values.contains(&"*") };
        if all && values.len() > 1 {
            let star = if key == "resources" { "*/*" } else { "*" };
            let detail = format!("if '{star}' is present, must not specify {others}");
            errors.push(Error::invalid(path.clone(), rule.at(key).clone(), detail));
        }
        for (index, value) in values.iter().enumerate() {
            match key {
                "operations" if !matches!(*value, "*" | "CONNECT" | "CREATE" | "DELETE" | "UPDATE") => {
                    let allowed = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
                    errors.push(Error::not_supported(path.index(index), *value, allowed));
                }
                "apiVersions" | "resources" if value.is_empty() => {
                    errors.push(Error::required(path.index(index), ""));
                }
                _ => {}
            }
        }
    }
    one_of_if_there(rule, path, "scope", &["*", "Cluster", "Namespaced"], errors);
}

/// Where a webhook is called: a URL or a Service.
pub(super) fn client_config(config: &Value, path: &Path, errors: &mut ErrorList) {
    match (config.at("url").as_str(), config.has("service")) {
        (Some(_), true) | (None, false) => {
            errors.push(Error::required(path.clone(), "exactly one of url or service is required"));
        }
        (Some(url), false) => {
            let at = path.child("url");
            let form = "desired format: https://host[/path]";
            if let Some(escape) = bad_escape(url) {
                let why = format!("url must be a valid URL: parse {url:?}: invalid URL escape {escape:?}; {form}");
                return errors.push(Error::required(at, why));
            }
            if !url.starts_with("https://") {
                let scheme = url.split("://").next().filter(|_| url.contains("://")).unwrap_or_default();
                let detail = format!("'https' is the only allowed URL scheme; {form}");
                errors.push(Error::invalid(at.clone(), scheme, detail));
            }
            // Without a scheme all of it is a path.
            let rest = url.split_once("://").map_or("", |(_, rest)| rest);
            if rest.is_empty() || rest.starts_with('/') {
                errors.push(Error::invalid(at.clone(), "", format!("host must be specified; {form}")));
            }
            // Each is shown by itself.
            let (bare, fragment) = rest.split_once('#').unwrap_or((rest, ""));
            let (bare, query) = bare.split_once('?').unwrap_or((bare, ""));
            let host = bare.split('/').next().unwrap_or_default();
            if let Some((user, _)) = host.rsplit_once('@') {
                errors.push(Error::invalid(at.clone(), user, "user information is not permitted in the URL"));
            }
            for (part, what) in [(fragment, "fragments"), (query, "query parameters")] {
                if !part.is_empty() {
                    errors.push(Error::invalid(at.clone(), part, format!("{what} are not permitted in the URL")));
                }
            }
        }
        (None, true) => {
            let (service, path) = (config.at("service"), path.child("service"));
            // Upstream takes each for the other.
            for (key, said) in [("namespace", "name"), ("name", "namespace")] {
                if service.text(key).is_empty() {
                    errors.push(Error::required(path.child(said), ""));
                }
            }
            if let Some(port) = service.int("port").filter(|p| !names::is_port_number(*p).is_empty()) {
                let detail = format!("port is not valid: {}", names::is_port_number(port).join(", "));
                errors.push(Error::invalid(path.child("port"), port, detail));
            }
            if let Some(text) = service.at("path").as_str() {
                service_path(text, &path.child("path"), errors);
            }
        }
    }
}

/// The first `%` that no two hexadecimal digits follow, with what does.
fn bad_escape(url: &str) -> Option<&str> {
    url.match_indices('%').map(|(at, _)| &url[at..]).find_map(|rest| {
        let fine = rest.len() > 2 && rest.bytes().skip(1).take(2).all(|b| b.is_ascii_hexdigit());
        let end = rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at);
        (!fine).then(|| &rest[..end])
    })
}

/// Nothing and `/` are the root; a slash at the end is no segment.
fn service_path(text: &str, path: &Path, errors: &mut Vec<Error>) {
    if matches!(text, "" | "/") {
        return;
    }
    let mut wrong = |detail: String| errors.push(Error::invalid(path.clone(), text, detail));
    if !text.starts_with('/') {
        wrong("must start with a '/'".into());
    }
    // The first byte goes, whatever it is; what begins with half a character is no name in any case.
    let inner = text.get(1..).unwrap_or(text);
    for (index, segment) in inner.strip_suffix('/').unwrap_or(inner).split('/').enumerate() {
        if segment.is_empty() {
            wrong(format!("segment[{index}] may not be empty"));
            continue;
        }
        for failure in names::is_dns1123_subdomain(segment) {
            wrong(format!("segment[{index}]: {failure}"));
        }
    }
}

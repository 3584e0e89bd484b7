//! FlowSchema and PriorityLevelConfiguration. Source: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks::{push_all, required},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Generation, Strategy},
    value::{Look, MapExt, dig, object},
};

const DEFAULT_PRECEDENCE: i64 = 1000;
const MAX_PRECEDENCE: i64 = 10_000;
const MAX_QUEUES: i64 = 10_000_000;
/// Bits of the hash that deals queues.
const MAX_ENTROPY_BITS: f64 = 60.0;

pub(crate) static FLOW_SCHEMA: Strategy = Strategy {
    generation: Generation::Spec,
    default: |schema| or_set_if_zero(object(schema, "spec"), "matchingPrecedence", DEFAULT_PRECEDENCE),
    validate: flow_schema,
    validate_update: |new, _, errors| flow_schema(new, errors),
    validate_status_update: |new, _, errors| conditions(new, errors),
    columns: &[
        NAME,
        Column::text("PriorityLevel"),
        Column::text("MatchingPrecedence"),
        Column::text("DistinguisherMethod"),
        AGE,
        Column::text("MissingPL"),
    ],
    row: flow_schema_row,
    ..Strategy::PLAIN
};

pub(crate) static PRIORITY_LEVEL: Strategy = Strategy {
    generation: Generation::Spec,
    default: default_level,
    validate: priority_level,
    validate_update: |new, _, errors| priority_level(new, errors),
    validate_status_update: |new, _, errors| conditions(new, errors),
    columns: &[
        NAME,
        Column::text("Type"),
        Column::text("NominalConcurrencyShares"),
        Column::text("Queues"),
        Column::text("HandSize"),
        Column::text("QueueLengthLimit"),
        AGE,
    ],
    row: priority_level_row,
    ..Strategy::PLAIN
};

/// Each condition has a type of its own.
fn conditions(of: &Value, errors: &mut ErrorList) {
    let (list, path) = (of.list("status.conditions"), Path::new("status").child("conditions"));
    for (index, condition) in list.iter().enumerate() {
        let (kind, path) = (condition.text("type"), path.index(index));
        if list[..index].iter().any(|other| other.text("type") == kind) {
            errors.push(Error::duplicate(path.child("type"), kind));
        }
        required(condition, &path, "type", errors);
    }
}

fn flow_schema_row(schema: &Value, now: Timestamp) -> Vec<Value> {
    let dangling = schema.list("status.conditions").iter().find(|c| c.text("type") == "Dangling");
    vec![
        name(schema),
        schema.text("spec.priorityLevelConfiguration.name").into(),
        schema.int("spec.matchingPrecedence").unwrap_or_default().into(),
        crate::columns::or_none(schema.text("spec.distinguisherMethod.type")),
        age(schema, now),
        dangling.map_or("?", |condition| condition.text("status")).into(),
    ]
}

fn flow_schema(schema: &Value, errors: &mut ErrorList) {
    let (spec, path) = (schema.at("spec"), Path::new("spec"));
    let (precedence, at) = (spec.int("matchingPrecedence").unwrap_or_default(), path.child("matchingPrecedence"));
    if precedence <= 0 {
        errors.push(Error::invalid(at.clone(), precedence, "must be a positive value"));
    }
    if precedence > MAX_PRECEDENCE {
        errors.push(Error::invalid(at.clone(), precedence, format!("must not be greater than {MAX_PRECEDENCE}")));
    }
    if precedence == 1 && schema.text("metadata.name") != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(Error::invalid(at, precedence, detail));
    }
    if spec.has("distinguisherMethod") {
        let at = path.child("distinguisherMethod").child("type");
        let method = spec.text("distinguisherMethod.type");
        if !matches!(method, "ByNamespace" | "ByUser") {
            // Upstream shows the method in the words of its own code.
            let shown = format!("{{\"Type\":{}}}", Value::from(method));
            errors.push(Error::not_supported(at, method, &["ByNamespace", "ByUser"]).showing(Some(shown)));
        }
    }
    let (level, at) =
        (spec.text("priorityLevelConfiguration.name"), path.child("priorityLevelConfiguration").child("name"));
    if level.is_empty() {
        errors.push(Error::required(at, "must reference a priority level"));
    } else {
        push_all(names::is_dns1123_subdomain(level), level, &at, errors);
    }
    for (index, rule) in spec.list("rules").iter().enumerate() {
        self::rule(rule, &path.child("rules").index(index), errors);
    }
}

const SUBJECTS: &[(&str, &str)] = &[("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

fn rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    if rule.list("subjects").is_empty() {
        errors.push(Error::required(path.child("subjects"), "subjects must contain at least one value"));
    }
    for (index, subject) in rule.list("subjects").iter().enumerate() {
        self::subject(subject, &path.child("subjects").index(index), errors);
    }
    let (resources, urls) = (rule.list("resourceRules"), rule.list("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(Error::required(path.clone(), detail));
    }
    for (index, rule) in resources.iter().enumerate() {
        let path = path.child("resourceRules").index(index);
        verbs(rule, &path, errors);
        some_or_all(
            rule,
            &path,
            "apiGroups",
            "api groups",
            "resource rules must supply at least one api group",
            errors,
        );
        some_or_all(rule, &path, "resources", "resources", "resource rules must supply at least one resource", errors);
        namespaces(rule, &path.child("namespaces"), errors);
    }
    for (index, rule) in urls.iter().enumerate() {
        let path = path.child("nonResourceRules").index(index);
        verbs(rule, &path, errors);
        let (key, none) = ("nonResourceURLs", "nonResourceURLs must contain at least one value");
        if !some_or_all(rule, &path, key, "non-resource URLs", none, errors) {
            for (index, url) in rule.texts(key).enumerate() {
                self::url(url, &path.child(key).index(index), errors);
            }
        }
    }
}

fn subject(subject: &Value, path: &Path, errors: &mut ErrorList) {
    let Some((kind, field)) = SUBJECTS.iter().find(|(kind, _)| *kind == subject.text("kind")) else {
        let kinds = &["Group", "ServiceAccount", "User"];
        return errors.push(Error::not_supported(path.child("kind"), subject.text("kind"), kinds));
    };
    let (of, at) = (subject.at(field), path.child(field));
    if of.is_null() {
        errors.push(Error::required(at, format!("{field} is required when subject kind is '{kind}'")));
    } else {
        let (named, name) = (required(of, &at, "name", errors), of.text("name"));
        if *field == "serviceAccount" {
            if named && name != "*" {
                push_all(names::is_dns1123_subdomain(name), name, &at.child("name"), errors);
            }
            match of.text("namespace") {
                "" => errors.push(Error::required(at.child("namespace"), "must specify namespace for service account")),
                namespace => push_all(names::is_dns1123_label(namespace), namespace, &at.child("namespace"), errors),
            }
        }
    }
    for (other, field) in SUBJECTS.iter().filter(|(other, field)| other != kind && subject.has(field)) {
        let detail = format!("{field} is forbidden when subject kind is not '{other}'");
        errors.push(Error::forbidden(path.child(field), detail));
    }
}

fn verbs(rule: &Value, path: &Path, errors: &mut ErrorList) {
    if !some_or_all(rule, path, "verbs", "verbs", "verbs must contain at least one value", errors)
        && rule.texts("verbs").any(|verb| !VERBS.contains(&verb))
    {
        errors.push(Error::not_supported(path.child("verbs"), rule.at("verbs").clone(), VERBS));
    }
}

/// At least one value, and nothing beside `*`; whether there was something to say, or all is meant.
fn some_or_all(rule: &Value, path: &Path, key: &str, what: &str, none: &str, errors: &mut ErrorList) -> bool {
    let values: Vec<&str> = rule.texts(key).collect();
    let all = values.contains(&"*");
    if values.is_empty() {
        errors.push(Error::required(path.child(key), none));
    } else if all && values.len() > 1 {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(path.child(key), rule.at(key).clone(), detail));
    }
    all || values.is_empty()
}

fn namespaces(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let namespaces: Vec<&str> = rule.texts("namespaces").collect();
    if namespaces.is_empty() {
        if !rule.flag("clusterScope") {
            let detail = "resource rules that are not cluster scoped must supply at least one namespace";
            errors.push(Error::required(path.clone(), detail));
        }
    } else if namespaces.contains(&"*") {
        if namespaces.len() > 1 {
            let detail = "if '*' is present, must not specify other namespaces";
            errors.push(Error::invalid(path.clone(), rule.at("namespaces").clone(), detail));
        }
    } else {
        for (index, namespace) in namespaces.into_iter().enumerate() {
            for wrong in names::is_dns1123_label(namespace) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {wrong}");
                errors.push(Error::invalid(path.index(index), namespace, detail));
            }
        }
    }
}

fn url(url: &str, path: &Path, errors: &mut ErrorList) {
    let wrong = if url.is_empty() {
        "must not be empty"
    } else if url == "/" {
        return;
    } else if !url.starts_with('/') {
        "must start with slash"
    } else if url.contains(' ') {
        "must not contain white-space"
    } else if url.contains("//") {
        "must not contain double slash"
    } else if url.contains('*') && !(url.ends_with("/*") && url.matches('*').count() == 1) {
        "wildcard can only do suffix matching"
    } else {
        return;
    };
    errors.push(Error::invalid(path.clone(), url, wrong));
}

/// Upstream holds some numbers by value: zero is unset.
fn or_set_if_zero(map: &mut serde_json::Map<String, Value>, key: &str, value: i64) {
    if map.get(key).and_then(Value::as_i64).unwrap_or_default() == 0 {
        map.insert(key.to_owned(), value.into());
    }
}

fn default_level(level: &mut Value) {
    if level.text("spec.type") == "Exempt" {
        let exempt = crate::value::child(object(level, "spec"), "exempt");
        exempt.or_set("nominalConcurrencyShares", 0);
        exempt.or_set("lendablePercent", 0);
    }
    if let Some(limited) = dig(level, "spec.limited") {
        limited.or_set("nominalConcurrencyShares", 30);
        limited.or_set("lendablePercent", 0);
    }
    if let Some(queuing) = dig(level, "spec.limited.limitResponse.queuing").and_then(Value::as_object_mut) {
        for (key, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
            or_set_if_zero(queuing, key, value);
        }
    }
}

fn priority_level_row(level: &Value, now: Timestamp) -> Vec<Value> {
    let number = |path: &str| level.int(path).map_or_else(|| "<none>".into(), Value::from);
    let queuing = "spec.limited.limitResponse.queuing";
    vec![
        name(level),
        level.text("spec.type").into(),
        number("spec.limited.nominalConcurrencyShares"),
        number(&format!("{queuing}.queues")),
        number(&format!("{queuing}.handSize")),
        number(&format!("{queuing}.queueLengthLimit")),
        age(level, now),
    ]
}

fn priority_level(level: &Value, errors: &mut ErrorList) {
    let (spec, path) = (level.at("spec"), Path::new("spec"));
    let kind = spec.text("type");
    if (level.text("metadata.name") == "exempt") != (kind == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(Error::invalid(path.child("type"), kind, detail));
    }
    let (limited, at) = (spec.at("limited"), path.child("limited"));
    match kind {
        "Exempt" => {
            if !limited.is_null() {
                errors.push(Error::forbidden(at, "must be nil if the type is not Limited"));
            }
            shares(spec.at("exempt"), &path.child("exempt"), errors);
        }
        "Limited" => {
            if spec.has("exempt") {
                errors.push(Error::forbidden(path.child("exempt"), "must be nil if the type is Limited"));
            }
            if limited.is_null() {
                return errors.push(Error::required(at, "must not be empty when type is Limited"));
            }
            limited_level(limited, &at, errors);
        }
        other => errors.push(Error::not_supported(path.child("type"), other, &["Exempt", "Limited"])),
    }
}

fn limited_level(limited: &Value, path: &Path, errors: &mut ErrorList) {
    nominal(limited, path, errors);
    let (response, at) = (limited.at("limitResponse"), path.child("limitResponse"));
    let queuing = response.at("queuing");
    match response.text("type") {
        "Reject" => {
            if !queuing.is_null() {
                let detail = "must be nil if limited.limitResponse.type is not Limited";
                errors.push(Error::forbidden(at.child("queuing"), detail));
            }
        }
        "Queue" => {
            let at = at.child("queuing");
            if queuing.is_null() {
                let detail = "must not be empty if limited.limitResponse.type is Limited";
                return errors.push(Error::required(at, detail));
            }
            self::queuing(queuing, &at, errors);
        }
        other => errors.push(Error::not_supported(at.child("type"), other, &["Queue", "Reject"])),
    }
    percent(limited, path, errors);
    if let Some(limit) = limited.int("borrowingLimitPercent").filter(|limit| *limit < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.push(Error::invalid(path.child("borrowingLimitPercent"), limit, detail));
    }
}

fn shares(of: &Value, path: &Path, errors: &mut ErrorList) {
    nominal(of, path, errors);
    percent(of, path, errors);
}

fn nominal(of: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(shares) = of.int("nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let at = path.child("nominalConcurrencyShares");
        errors.push(Error::invalid(at, shares, "must be a non-negative integer"));
    }
}

fn percent(of: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(percent) = of.int("lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        errors.push(Error::invalid(path.child("lendablePercent"), percent, names::range_error(0, 100)));
    }
}

fn queuing(queuing: &Value, path: &Path, errors: &mut ErrorList) {
    let number = |key: &str| queuing.int(key).unwrap_or_default();
    let mut wrong = |key: &str, detail: String| errors.push(Error::invalid(path.child(key), number(key), detail));
    let (queues, hand) = (number("queues"), number("handSize"));
    if number("queueLengthLimit") <= 0 {
        wrong("queueLengthLimit", "must be positive".to_owned());
    }
    if queues <= 0 {
        wrong("queues", "must be positive".to_owned());
    } else if queues > MAX_QUEUES {
        wrong("queues", format!("must not be greater than {MAX_QUEUES}"));
    }
    if hand <= 0 {
        wrong("handSize", "must be positive".to_owned());
    } else if hand > queues {
        wrong("handSize", format!("should not be greater than queues ({queues})"));
    } else if entropy_bits(queues, hand) > MAX_ENTROPY_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_ENTROPY_BITS}"
        );
        wrong("handSize", detail);
    }
}

/// How many bits of a hash it takes to deal a hand; both numbers are far below what a float holds exactly.
#[allow(clippy::cast_precision_loss)]
fn entropy_bits(deck: i64, hand: i64) -> f64 {
    ((deck as f64).log2() * hand as f64).ceil()
}

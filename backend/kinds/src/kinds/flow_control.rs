//! FlowSchema and PriorityLevelConfiguration. Source: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks::{one_of, push_all, required},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Generation, Strategy},
    value::{Look, MapExt, dig, object},
};

const DEFAULT_PRECEDENCE: i64 = 1000;
const MAX_PRECEDENCE: i64 = 10_000;
const MAX_QUEUES: i64 = 10_000_000;

pub(crate) static FLOW_SCHEMA: Strategy = Strategy {
    generation: Generation::Spec,
    default: |schema| object(schema, "spec").or_set("matchingPrecedence", DEFAULT_PRECEDENCE),
    validate: flow_schema,
    validate_update: |new, _, errors| flow_schema(new, errors),
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
        let at = path.child("distinguisherMethod");
        one_of(spec.at("distinguisherMethod"), &at, "type", &["ByNamespace", "ByUser"], errors);
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

fn rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    if rule.list("subjects").is_empty() {
        errors.push(Error::required(path.child("subjects"), "subjects must contain at least one value"));
    }
    for (index, subject) in rule.list("subjects").iter().enumerate() {
        let path = path.child("subjects").index(index);
        let field = match subject.text("kind") {
            "User" => "user",
            "Group" => "group",
            "ServiceAccount" => "serviceAccount",
            other => {
                errors.push(Error::not_supported(path.child("kind"), other, &["Group", "ServiceAccount", "User"]));
                continue;
            }
        };
        if subject.at(field).is_null() {
            let detail = format!("{field} is required when subject kind is '{}'", subject.text("kind"));
            errors.push(Error::required(path.child(field), detail));
        } else {
            required(subject.at(field), &path.child(field), "name", errors);
        }
    }
    let (resources, urls) = (rule.list("resourceRules"), rule.list("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(Error::required(path.clone(), detail));
    }
    for (list, keys) in [
        ("resourceRules", &["verbs", "apiGroups", "resources"][..]),
        ("nonResourceRules", &["verbs", "nonResourceURLs"]),
    ] {
        for (index, rule) in rule.list(list).iter().enumerate() {
            let path = path.child(list).index(index);
            for key in keys {
                let values: Vec<&str> = rule.texts(key).collect();
                if values.is_empty() {
                    let detail = match *key {
                        "apiGroups" => "resource rules must supply at least one api group".to_owned(),
                        "resources" => "resource rules must supply at least one resource".to_owned(),
                        key => format!("{key} must contain at least one value"),
                    };
                    errors.push(Error::required(path.child(key), detail));
                } else if values.len() > 1 && values.contains(&"*") {
                    let what = match *key {
                        "apiGroups" => "api groups",
                        "nonResourceURLs" => "non-resource URLs",
                        key => key,
                    };
                    let detail = format!("if '*' is present, must not specify other {what}");
                    errors.push(Error::invalid(path.child(key), rule.at(key).clone(), detail));
                }
            }
            if list == "resourceRules" && rule.list("namespaces").is_empty() && !rule.flag("clusterScope") {
                let detail = "resource rules that are not cluster scoped must supply at least one namespace";
                errors.push(Error::required(path.child("namespaces"), detail));
            }
        }
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
    if let Some(queuing) = dig(level, "spec.limited.limitResponse.queuing") {
        for (key, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
            queuing.or_set(key, value);
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
    crate::checks::non_negative(limited, path, "nominalConcurrencyShares", errors);
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
            let number = |key: &str| queuing.int(key).unwrap_or_default();
            for key in ["queueLengthLimit", "queues", "handSize"] {
                if number(key) <= 0 {
                    errors.push(Error::invalid(at.child(key), number(key), "must be positive"));
                }
            }
            if number("queues") > MAX_QUEUES {
                let detail = format!("must not be greater than {MAX_QUEUES}");
                errors.push(Error::invalid(at.child("queues"), number("queues"), detail));
            }
            if number("handSize") > number("queues") {
                let detail = format!("should not be greater than queues ({})", number("queues"));
                errors.push(Error::invalid(at.child("handSize"), number("handSize"), detail));
            }
        }
        other => errors.push(Error::not_supported(at.child("type"), other, &["Queue", "Reject"])),
    }
}

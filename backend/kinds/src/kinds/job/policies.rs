//! Validation of a job's success and failure policies.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks::{non_negative, one_of_if_set, push_all},
    value::Look,
};

const MAX_RULES: usize = 20;
const MAX_CONDITIONS: usize = 20;
const MAX_EXIT_CODES: usize = 255;

pub(super) fn success(spec: &Value, completions: i64, path: &Path, errors: &mut ErrorList) {
    if !spec.has("successPolicy") {
        return;
    }
    let rules = spec.list("successPolicy.rules");
    if rules.is_empty() {
        errors.push(Error::required(
            path.child("rules"),
            "at least one rules must be specified when the successPolicy is specified",
        ));
    }
    if rules.len() > MAX_RULES {
        errors.push(Error::too_many(path.child("rules"), rules.len(), MAX_RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.child("rules").index(index);
        let (count, indexes) = (rule.int("succeededCount"), rule.at("succeededIndexes").as_str());
        if count.is_none() && indexes.is_none() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(Error::required(path.clone(), detail));
        }
        let total = indexes.map(|text| count_indexes(text, completions));
        if let (Some(Err(wrong)), Some(text)) = (&total, indexes) {
            let detail = format!("error parsing succeededIndexes: {wrong}");
            errors.push(Error::invalid(path.child("succeededIndexes"), text, detail));
        }
        non_negative(rule, &path, "succeededCount", errors);
        let Some(count) = count else { continue };
        // Of indexes that cannot be read there are none.
        let total = total.map(|total| total.unwrap_or_default());
        if count > completions {
            let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(Error::invalid(path.child("succeededCount"), count, detail));
        }
        if let Some(total) = total.filter(|total| count > *total) {
            let detail = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.push(Error::invalid(path.child("succeededCount"), count, detail));
        }
    }
}

/// How many indexes `1,3-5` names.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let limits: Vec<&str> = part.split('-').collect();
        if limits.len() > 2 {
            return Err(format!(
                "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let parse = |text: &str| -> Result<i64, String> {
            let wrong = format!("cannot convert string to integer for index: {text:?}");
            let index = text.parse::<i64>().map_err(|_| wrong)?;
            if index >= completions { Err(format!("too large index: {text:?}")) } else { Ok(index) }
        };
        let first = parse(limits[0])?;
        let end = limits.get(1).map_or(Ok(first), |text| parse(text))?;
        if limits.len() == 2 && first >= end {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

pub(super) fn failure(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let rules = spec.list("podFailurePolicy.rules");
    if rules.len() > MAX_RULES {
        errors.push(Error::too_many(path.child("rules"), rules.len(), MAX_RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.child("rules").index(index);
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        match rule.text("action") {
            "" => {
                let detail = "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]";
                errors.push(Error::required(path.child("action"), detail));
            }
            "FailIndex" if !spec.has("backoffLimitPerIndex") => {
                let detail = "requires the backoffLimitPerIndex to be set";
                errors.push(Error::invalid(path.child("action"), "FailIndex", detail));
            }
            action if actions.contains(&action) => {}
            other => errors.push(Error::not_supported(path.child("action"), other, &actions)),
        }
        let (codes, conditions) = (rule.at("onExitCodes"), rule.list("onPodConditions"));
        if codes.is_object() {
            exit_codes(spec, codes, &path.child("onExitCodes"), errors);
        }
        pod_conditions(conditions, &path.child("onPodConditions"), errors);
        let detail = match (codes.is_object(), conditions.is_empty()) {
            (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(Error::invalid(path, "", detail).showing(None));
    }
}

fn pod_conditions(patterns: &[Value], path: &Path, errors: &mut ErrorList) {
    if patterns.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(path.clone(), patterns.len(), MAX_CONDITIONS));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let (kind, path) = (pattern.text("type"), path.index(index));
        push_all(names::is_qualified_name(kind), kind, &path.child("type"), errors);
        if pattern.text("status").is_empty() {
            let detail = "valid values: [\"False\" \"True\" \"Unknown\"]";
            errors.push(Error::required(path.child("status"), detail));
        } else {
            one_of_if_set(pattern, &path, "status", &["False", "True", "Unknown"], errors);
        }
    }
}

fn exit_codes(spec: &Value, codes: &Value, path: &Path, errors: &mut ErrorList) {
    let operator = codes.text("operator");
    if operator.is_empty() {
        errors.push(Error::required(path.child("operator"), "valid values: [\"In\" \"NotIn\"]"));
    } else {
        one_of_if_set(codes, path, "operator", &["In", "NotIn"], errors);
    }
    if let Some(name) = codes.at("containerName").as_str() {
        let lists = ["containers", "initContainers"];
        let known = lists.iter().any(|list| spec.at("template.spec").list(list).iter().any(|c| c.text("name") == name));
        if !known {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.push(Error::invalid(path.child("containerName"), name, detail));
        }
    }
    let values: Vec<i64> = codes.list("values").iter().filter_map(Value::as_i64).collect();
    let at = path.child("values");
    if values.is_empty() {
        errors.push(Error::invalid(at.clone(), codes.at("values").clone(), "at least one value is required"));
    } else if values.len() > MAX_EXIT_CODES {
        errors.push(Error::too_many(at.clone(), values.len(), MAX_EXIT_CODES));
    }
    for (index, value) in values.iter().enumerate() {
        if *value == 0 && operator == "In" {
            errors.push(Error::invalid(at.index(index), 0, "must not be 0 for the In operator"));
        }
        if values[..index].contains(value) {
            errors.push(Error::duplicate(at.index(index), *value));
        }
    }
    if values.windows(2).any(|w| w[0] > w[1]) {
        errors.push(Error::invalid(at, codes.at("values").clone(), "must be ordered"));
    }
}

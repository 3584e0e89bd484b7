//! Job. Source: <https://kubernetes.io/docs/concepts/workloads/controllers/job/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Map, Value};

use super::{pod, workload};
use crate::{
    checks::{immutable, immutable_fields, label_selector, non_negative, one_of_if_set, required},
    columns::{AGE, Column, NAME, age, containers, name, seconds_since, selector, timestamp},
    human::human_duration,
    strategy::{Field, Generation, Propagation, Strategy},
    value::{Look, MapExt, child, dig, items, object},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    default: |job| {
        let labels = job.at("spec.template.metadata.labels").clone();
        if job.entries("metadata.labels").next().is_none() && labels.is_object() {
            object(job, "metadata").insert("labels".into(), labels);
        }
        default_spec(object(job, "spec"));
        pod::default::template(job, "spec.template");
    },
    prepare_create,
    validate,
    validate_update,
    validate_status_update,
    columns: COLUMNS,
    row,
    fields: &[Field {
        name: "status.successful",
        get: |job, _| job.int("status.succeeded").unwrap_or_default().to_string(),
    }],
    // As it was in the first version of the API.
    propagation: Propagation::Orphan,
    ..Strategy::PLAIN
};

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const MAX_PARALLELISM_INDEXED: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
const MAX_WITH_MANY_COMPLETIONS: i64 = 10_000;
const MAX_RULES: usize = 20;
const MAX_MANAGED_BY: usize = 63;

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Status"),
    Column::text("Completions"),
    Column::text("Duration"),
    AGE,
    Column::wide("Containers"),
    Column::wide("Images"),
    Column::wide("Selector"),
];

fn row(job: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = job.int("status.succeeded").unwrap_or_default();
    let parallelism = job.int("spec.parallelism").unwrap_or_default();
    let completions = match job.int("spec.completions") {
        Some(all) => format!("{succeeded}/{all}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    };
    let start = job.at("status.startTime");
    let end = timestamp(job.at("status.completionTime")).unwrap_or(now);
    let duration = seconds_since(start, end).map(human_duration).unwrap_or_default();
    let states = [("Complete", "Complete"), ("Failed", "Failed")];
    let later =
        [("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet")];
    let pick = |list: &[(&str, &'static str)]| list.iter().find(|(kind, _)| is_true(job, kind)).map(|(_, text)| *text);
    let status = match pick(&states) {
        Some(status) => status,
        None if job.has("metadata.deletionTimestamp") => "Terminating",
        None => pick(&later).unwrap_or("Running"),
    };
    let (names, images) = containers(job.at("spec.template"));
    vec![
        name(job),
        status.into(),
        completions.into(),
        duration.into(),
        age(job, now),
        names,
        images,
        selector(job.at("spec.selector")),
    ]
}

fn is_true(job: &Value, kind: &str) -> bool {
    job.list("status.conditions").iter().any(|c| c.text("type") == kind && c.text("status") == "True")
}

/// Defaults of a job's spec, but for its pod template; only those a Job gets, a CronJob's template gets none.
fn default_spec(spec: &mut Map<String, Value>) {
    let missing = |spec: &Map<String, Value>, key: &str| spec.get(key).is_none_or(Value::is_null);
    if missing(spec, "completions") && missing(spec, "parallelism") {
        spec.insert("completions".into(), 1.into());
    }
    spec.or_set("parallelism", 1);
    let limit = if missing(spec, "backoffLimitPerIndex") { 6 } else { i64::from(i32::MAX) };
    spec.or_set("backoffLimit", limit);
    spec.or_set("completionMode", "NonIndexed");
    spec.or_set("suspend", false);
    let replacement = if missing(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    spec.or_set("podReplacementPolicy", replacement);
    spec.or_set("manualSelector", false);
    failure_policy_defaults(spec);
}

/// A pattern on a pod's condition means that it is true.
pub(super) fn failure_policy_defaults(spec: &mut Map<String, Value>) {
    let Some(policy) = spec.get_mut("podFailurePolicy") else { return };
    for rule in items(policy, "rules") {
        for pattern in crate::value::members(rule, "onPodConditions") {
            pattern.or_set("status", "True");
        }
    }
}

/// The selector and the labels that tell this job's pods from all others. Needs the name and the UID.
fn prepare_create(job: &mut Value) {
    if job.flag("spec.manualSelector") {
        return;
    }
    let (name, uid) = (job.text("metadata.name").to_owned(), job.text("metadata.uid").to_owned());
    let spec = object(job, "spec");
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    for key in NAME_LABELS {
        labels.entry(key).or_insert_with(|| name.clone().into());
    }
    for key in UID_LABELS {
        labels.entry(key).or_insert_with(|| uid.clone().into());
    }
    let matched = child(child(spec, "selector"), "matchLabels");
    matched.entry(UID_LABELS[1]).or_insert_with(|| uid.into());
}

fn validate(job: &Value, errors: &mut ErrorList) {
    generated_selector(job, errors);
    let (spec, path) = (job.at("spec"), Path::new("spec"));
    validate_spec(spec, &path, errors);
    if spec.has("selector") {
        label_selector(spec.at("selector"), &path.child("selector"), errors);
    } else {
        errors.push(Error::required(path.child("selector"), ""));
    }
    workload::matches_template(spec, &path, errors);
    if spec.text("completionMode") == "Indexed"
        && let Some(completions) = spec.int("completions").filter(|n| *n > 0)
    {
        let name = job.text("metadata.name");
        let longest = format!("{name}-{}", completions - 1);
        if !names::is_dns1123_label(&longest).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.push(Error::invalid(Path::new("metadata").child("name"), name, detail));
        }
    }
}

/// A selector that nobody wrote by hand is the generated one.
fn generated_selector(job: &Value, errors: &mut ErrorList) {
    if job.flag("spec.manualSelector") || !job.has("spec.selector") {
        return;
    }
    let (name, uid) = (job.text("metadata.name"), job.text("metadata.uid"));
    if uid.is_empty() {
        errors.push(Error::required(Path::new("metadata").child("uid"), ""));
    }
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    let expected = [(UID_LABELS[0], uid), (NAME_LABELS[0], name), (UID_LABELS[1], uid), (NAME_LABELS[1], name)];
    for (key, value) in expected {
        match job.at("spec.template.metadata.labels").get(key).and_then(Value::as_str) {
            None => errors.push(Error::required(path.key(key), format!("must be '{value}'"))),
            Some(have) if have != value => {
                errors.push(Error::invalid(path.key(key), have, format!("must be '{value}'")));
            }
            Some(_) => {}
        }
    }
    let get = |key: &str| expected.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    let selector = pilothouse_api::selector::LabelSelector::from_json(job.at("spec.selector"));
    if selector.is_ok_and(|selector| !selector.matches(get)) {
        let value = job.at("spec.selector").clone();
        errors.push(Error::invalid(Path::new("spec").child("selector"), value, "`selector` not auto-generated"));
    }
}

/// The spec of a Job, or of a CronJob's template.
pub(super) fn validate_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let numbers = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    for key in numbers {
        non_negative(spec, path, key, errors);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.push(Error::required(path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = spec.at("managedBy").as_str() {
        managed_by(manager, &path.child("managedBy"), errors);
    }
    one_of_if_set(spec, path, "completionMode", &["NonIndexed", "Indexed"], errors);
    if spec.text("completionMode") == "Indexed" {
        indexed(spec, path, errors);
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = spec.int(key) {
                errors.push(Error::invalid(path.child(key), number, "requires indexed completion mode"));
            }
        }
        if spec.has("successPolicy") {
            let value = spec.at("successPolicy").clone();
            errors.push(Error::invalid(path.child("successPolicy"), value, "requires indexed completion mode"));
        }
    }
    failure_policy(spec, &path.child("podFailurePolicy"), errors);
    let replacement: &[&str] =
        if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    one_of_if_set(spec, path, "podReplacementPolicy", replacement, errors);
    pod::template(spec.at("template"), &path.child("template"), errors);
    let restart = path.child("template").child("spec").child("restartPolicy");
    match spec.text("template.spec.restartPolicy") {
        "" | "Always" => {
            errors.push(Error::required(restart, "valid values: \"OnFailure\", \"Never\""));
        }
        "Never" => {}
        "OnFailure" if spec.has("podFailurePolicy") => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(Error::invalid(restart, "OnFailure", detail));
        }
        "OnFailure" => {}
        other => errors.push(Error::not_supported(restart, other, &["OnFailure", "Never"])),
    }
}

fn managed_by(manager: &str, path: &Path, errors: &mut ErrorList) {
    match manager.split_once('/') {
        _ if manager.is_empty() => errors.push(Error::required(path.clone(), "")),
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            crate::checks::push_all(names::is_dns1123_subdomain(host), host, path, errors);
        }
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(Error::invalid(path.clone(), manager, detail));
        }
    }
    if manager.len() > MAX_MANAGED_BY {
        errors.push(Error::too_long(path.clone(), MAX_MANAGED_BY));
    }
}

fn indexed(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (completions, parallelism) = (spec.int("completions"), spec.int("parallelism"));
    let failed = spec.int("maxFailedIndexes");
    let Some(all) = completions else {
        return errors.push(Error::required(path.child("completions"), "when completion mode is Indexed"));
    };
    if let Some(parallelism) = parallelism.filter(|p| *p > MAX_PARALLELISM_INDEXED) {
        let detail = format!("must be less than or equal to {MAX_PARALLELISM_INDEXED} when completion mode is Indexed");
        errors.push(Error::invalid(path.child("parallelism"), parallelism, detail));
    }
    if let Some(failed) = failed.filter(|f| *f > all) {
        errors.push(Error::invalid(
            path.child("maxFailedIndexes"),
            failed,
            "must be less than or equal to completions",
        ));
    }
    if let Some(failed) = failed.filter(|f| *f > MAX_FAILED_INDEXES) {
        let detail = format!("must be less than or equal to {MAX_FAILED_INDEXES}");
        errors.push(Error::invalid(path.child("maxFailedIndexes"), failed, detail));
    }
    if all > MANY_COMPLETIONS && spec.has("backoffLimitPerIndex") {
        if failed.is_none() {
            let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.push(Error::required(path.child("maxFailedIndexes"), detail));
        }
        for (key, number) in [("parallelism", parallelism), ("maxFailedIndexes", failed)] {
            if let Some(number) = number.filter(|n| *n > MAX_WITH_MANY_COMPLETIONS) {
                let detail = format!(
                    "must be less than or equal to {MAX_WITH_MANY_COMPLETIONS} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
                );
                errors.push(Error::invalid(path.child(key), number, detail));
            }
        }
    }
    success_policy(spec, all, &path.child("successPolicy"), errors);
}

fn success_policy(spec: &Value, completions: i64, path: &Path, errors: &mut ErrorList) {
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
        if count > completions {
            let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(Error::invalid(path.child("succeededCount"), count, detail));
        }
        if let Some(Ok(total)) = total.filter(|total| total.as_ref().is_ok_and(|t| count > *t)) {
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

fn failure_policy(spec: &Value, path: &Path, errors: &mut ErrorList) {
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
        match (rule.has("onExitCodes"), !rule.list("onPodConditions").is_empty()) {
            (true, true) => errors.push(Error::invalid(
                path.clone(),
                rule.clone(),
                "specifying both OnExitCodes and OnPodConditions is not supported",
            )),
            (false, false) => errors.push(Error::invalid(
                path.clone(),
                rule.clone(),
                "specifying one of OnExitCodes and OnPodConditions is required",
            )),
            (true, false) => exit_codes(spec, rule.at("onExitCodes"), &path.child("onExitCodes"), errors),
            (false, true) => {
                for (index, pattern) in rule.list("onPodConditions").iter().enumerate() {
                    let path = path.child("onPodConditions").index(index);
                    required(pattern, &path, "type", errors);
                    one_of_if_set(pattern, &path, "status", &["False", "True", "Unknown"], errors);
                }
            }
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
        errors.push(Error::invalid(at, codes.at("values").clone(), "at least one value is required"));
        return;
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

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    validate(new, errors);
    let (spec, before, path) = (new.at("spec"), old.at("spec"), Path::new("spec"));
    if spec.text("completionMode") == "Indexed" {
        let changed = spec.int("completions") != before.int("completions");
        if changed && spec.has("completions") && spec.int("completions") != spec.int("parallelism") {
            let value = spec.at("completions").clone();
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.push(Error::invalid(path.child("completions"), value, detail));
        }
    } else {
        immutable(spec.at("completions"), before.at("completions"), &path.child("completions"), errors);
    }
    immutable_fields(spec, before, &path, &["selector"], errors);
    template_update(new, old, &path, errors);
    let frozen = ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
    immutable_fields(spec, before, &path, &frozen, errors);
}

/// The template of a job that is suspended and has no pods may still say where pods run and what they get.
fn template_update(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let (template, mut before) = (new.at("spec.template"), old.at("spec.template").clone());
    let stopped = !old.has("status.startTime") || is_true(old, "Suspended");
    if old.flag("spec.suspend") && stopped && old.int("status.active").unwrap_or_default() == 0 {
        if let Some(metadata) = dig(&mut before, "metadata") {
            metadata.keep(template.at("metadata"), "labels");
            metadata.keep(template.at("metadata"), "annotations");
        }
        if let Some(spec) = dig(&mut before, "spec") {
            for key in ["nodeSelector", "tolerations", "schedulingGates"] {
                spec.keep(template.at("spec"), key);
            }
            let affinity = template.at("spec.affinity");
            if affinity.has("nodeAffinity") || spec.has("affinity.nodeAffinity") {
                object(spec, "affinity").keep(affinity, "nodeAffinity");
            }
            for list in ["containers", "initContainers"] {
                let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
                for (container, asked) in containers.zip(template.at("spec").list(list)) {
                    container.keep(asked, "resources");
                }
            }
        }
    }
    immutable(template, &before, &path.child("template"), errors);
}

fn validate_status_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (status, path) = (new.at("status"), Path::new("status"));
    workload::counts(status, &["active", "succeeded", "failed", "ready", "terminating"], errors);
    let conditions = path.child("conditions");
    let mut wrong = |text: String| {
        let mut error = Error::invalid(conditions.clone(), Value::Null, text);
        error.value = None;
        errors.push(error);
    };
    let exclusive = [
        ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
        ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
        ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        ("SuccessCriteriaMet", "FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
    ];
    for (one, other, text) in exclusive {
        if is_true(new, one) && is_true(new, other) {
            wrong(text.to_owned());
        }
    }
    let changed = |kind: &str| is_true(new, kind) != is_true(old, kind);
    if changed("Failed") && is_true(new, "Failed") && !is_true(new, "FailureTarget") {
        wrong("cannot set Failed=True condition without the FailureTarget=true condition".to_owned());
    }
    if changed("Complete") && is_true(new, "Complete") && !is_true(new, "SuccessCriteriaMet") {
        wrong("cannot set Complete=True condition without the SuccessCriteriaMet=true condition".to_owned());
    }
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is_true(old, kind) && !is_true(new, kind) {
            wrong(format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    if is_true(old, "SuccessCriteriaMet") && !is_true(new, "SuccessCriteriaMet") {
        wrong("cannot disable the SuccessCriteriaMet=True condition".to_owned());
    }
    finished(new, old, errors);
    if new.int("status.failed").unwrap_or_default() < old.int("status.failed").unwrap_or_default() {
        let value = status.int("failed").unwrap_or_default();
        errors.push(Error::invalid(path.child("failed"), value, "cannot decrease the failed counter"));
    }
}

/// What must hold once a job has finished.
fn finished(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (status, path) = (new.at("status"), Path::new("status"));
    let done = |job: &Value| is_true(job, "Complete") || is_true(job, "Failed");
    let (complete, completion) = (is_true(new, "Complete"), status.at("completionTime"));
    if complete && completion.is_null() {
        errors.push(Error::required(path.child("completionTime"), "completionTime is required for Complete jobs"));
    }
    if !complete && !completion.is_null() {
        let detail = "cannot set completionTime when there is no Complete=True condition";
        errors.push(Error::invalid(path.child("completionTime"), completion.clone(), detail));
    }
    if let (Some(start), Some(end)) = (timestamp(status.at("startTime")), timestamp(completion))
        && end < start
    {
        let detail = "must be equal to or after `startTime`";
        errors.push(Error::invalid(path.child("completionTime"), completion.clone(), detail));
    }
    if old.has("status.completionTime") && !completion.is_null() && completion != old.at("status.completionTime") {
        errors.push(Error::invalid(path.child("completionTime"), completion.clone(), "field is immutable"));
    }
    if !done(new) || done(old) {
        return;
    }
    for (key, what) in [("active", "active>0"), ("terminating", "terminating>0")] {
        if let Some(number) = status.int(key).filter(|n| *n > 0) {
            errors.push(Error::invalid(path.child(key), number, format!("{what} is invalid for finished job")));
        }
    }
    let nothing_to_do = new.flag("spec.suspend") && new.int("spec.completions") == Some(0);
    if !status.has("startTime") && !nothing_to_do {
        errors.push(Error::required(path.child("startTime"), "startTime is required for finished job"));
    }
}

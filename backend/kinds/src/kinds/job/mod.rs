//! Job. Source: <https://kubernetes.io/docs/concepts/workloads/controllers/job/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Map, Value};

use crate::{
    checks::{label_selector, non_negative, one_of_if_there},
    columns::{AGE, Column, NAME, age, containers, name, seconds_since, selector, timestamp},
    human::human_duration,
    kinds::{pod, workload},
    strategy::{Field, Generation, Propagation, Strategy},
    value::{Look, MapExt, child, items, object},
    warnings::{is_news, pods_take_this_name},
};

mod indexes;
mod policies;
mod update;

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
    warn: |job, old, warnings| {
        if old.is_none() {
            pods_take_this_name(job, warnings);
        }
        if is_news(job, old) {
            warn_spec(job.at("spec"), &Path::new("spec"), warnings);
        }
    },
    validate_update: update::spec,
    validate_status_update: update::status,
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
/// The spec of a job or of a cron job's jobs.
pub(super) fn warn_spec(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let number = |key: &str| spec.int(key).unwrap_or_default();
    if spec.text("completionMode") == "Indexed"
        && number("completions") > MANY_COMPLETIONS
        && number("parallelism") > MAX_WITH_MANY_COMPLETIONS
    {
        warnings.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    pod::warn_template(spec.at("template"), &path.child("template"), warnings);
}

fn prepare_create(job: &mut Value) {
    if job.flag("spec.manualSelector") {
        return;
    }
    // Labels that are the template's stay the template's.
    let shared = job.at("metadata.labels") == job.at("spec.template.metadata.labels");
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
    if shared {
        let labels = job.at("spec.template.metadata.labels").clone();
        object(job, "metadata").insert("labels".into(), labels);
    }
}

fn validate(job: &Value, errors: &mut ErrorList) {
    generated_selector(job, true, errors);
    let spec = job.at("spec");
    validate_selecting(spec, errors);
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

/// A spec that knows its pods by now.
fn validate_selecting(spec: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    validate_spec(spec, &path, errors);
    if spec.at("selector").is_object() {
        label_selector(spec.at("selector"), &path.child("selector"), errors);
    } else {
        errors.push(Error::required(path.child("selector"), ""));
    }
    workload::matches_template(spec, &path, errors);
}

/// A selector that nobody wrote by hand is the generated one. Jobs of old have not the labels with a prefix.
fn generated_selector(job: &Value, prefixed: bool, errors: &mut ErrorList) {
    if job.flag("spec.manualSelector") || !job.has("spec.selector") {
        return;
    }
    let (name, uid) = (job.text("metadata.name"), job.text("metadata.uid"));
    if uid.is_empty() {
        errors.push(Error::required(Path::new("metadata").child("uid"), ""));
    }
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    let expected = [(UID_LABELS[0], uid), (NAME_LABELS[0], name), (UID_LABELS[1], uid), (NAME_LABELS[1], name)];
    for (key, value) in expected.into_iter().filter(|(key, _)| prefixed || !key.contains('/')) {
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
    one_of_if_there(spec, path, "completionMode", &["NonIndexed", "Indexed"], errors);
    let is_indexed = spec.text("completionMode") == "Indexed";
    if is_indexed {
        indexed(spec, path, errors);
    }
    if matches!(spec.at("completionMode").as_str(), None | Some("NonIndexed")) {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = spec.int(key) {
                errors.push(Error::invalid(path.child(key), number, "requires indexed completion mode"));
            }
        }
    }
    policies::failure(spec, &path.child("podFailurePolicy"), errors);
    if spec.has("successPolicy") {
        let at = path.child("successPolicy");
        if is_indexed {
            policies::success(spec, spec.int("completions").unwrap_or_default(), &at, errors);
        } else {
            let value = spec.at("successPolicy").clone();
            errors.push(Error::invalid(at, value, "requires indexed completion mode"));
        }
    }
    let replacement: &[&str] =
        if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    one_of_if_there(spec, path, "podReplacementPolicy", replacement, errors);
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
    if completions.is_none() {
        errors.push(Error::required(path.child("completions"), "when completion mode is Indexed"));
    }
    if let Some(parallelism) = parallelism.filter(|p| *p > MAX_PARALLELISM_INDEXED) {
        let detail = format!("must be less than or equal to {MAX_PARALLELISM_INDEXED} when completion mode is Indexed");
        errors.push(Error::invalid(path.child("parallelism"), parallelism, detail));
    }
    if let Some(failed) = failed.zip(completions).filter(|(failed, all)| failed > all).map(|(failed, _)| failed) {
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
    if completions.is_some_and(|all| all > MANY_COMPLETIONS) && spec.has("backoffLimitPerIndex") {
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
}

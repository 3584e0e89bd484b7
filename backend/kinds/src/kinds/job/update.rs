//! What an update of a job and of its status may change.

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::{NAME_LABELS, UID_LABELS, generated_selector, indexes, is_true, validate_selecting};
use crate::{
    checks::{immutable, immutable_fields},
    columns::timestamp,
    kinds::workload,
    value::{Look, MapExt, dig, object},
};

pub(super) fn spec(new: &Value, old: &Value, errors: &mut ErrorList) {
    let had = |key: &str| old.at("spec.template.metadata.labels").get(key).is_some();
    generated_selector(new, had(NAME_LABELS[1]) && had(UID_LABELS[1]), errors);
    // Upstream looks at the spec twice, when it judges the new job and when it judges the change.
    let before = errors.len();
    validate_selecting(new.at("spec"), errors);
    errors.extend_from_within(before..);
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
        let path = path.child("template").child("spec");
        return immutable(template.at("spec"), before.at("spec"), &path, errors);
    }
    immutable(template, &before, &path.child("template"), errors);
}

pub(super) fn status(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (status, path) = (new.at("status"), Path::new("status"));
    workload::counts(status, &["active", "succeeded", "failed", "ready", "terminating"], errors);
    uncounted(new, old, errors);
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
    indexes::status(new, old, errors);
    let changed = |key: &str| status.at(key) != old.at("status").at(key);
    let number = |job: &Value, key: &str| job.at("status").int(key).unwrap_or_default();
    if (changed("ready") || changed("active")) && number(new, "ready") > number(new, "active") {
        let detail = "cannot set more ready pods than active";
        errors.push(Error::invalid(path.child("ready"), number(new, "ready"), detail));
    }
    if new.int("status.failed").unwrap_or_default() < old.int("status.failed").unwrap_or_default() {
        let value = status.int("failed").unwrap_or_default();
        errors.push(Error::invalid(path.child("failed"), value, "cannot decrease the failed counter"));
    }
    // Indexed jobs are scaled down by way of both numbers.
    let scales =
        new.text("spec.completionMode") == "Indexed" && new.int("spec.completions") == new.int("spec.parallelism");
    if !scales && number(new, "succeeded") < number(old, "succeeded") {
        let detail = "cannot decrease the succeeded counter";
        errors.push(Error::invalid(path.child("succeeded"), number(new, "succeeded"), detail));
    }
    let resumes = is_true(old, "Suspended") && !is_true(new, "Suspended");
    if old.has("status.startTime") && changed("startTime") && !new.flag("spec.suspend") && !resumes {
        let detail = "field is immutable for unsuspended job once set";
        errors.push(Error::invalid(path.child("startTime"), status.at("startTime").clone(), detail));
    }
}

/// Pods that have ended and are not counted yet, each once.
fn uncounted(new: &Value, old: &Value, errors: &mut ErrorList) {
    let pods = new.at("status.uncountedTerminatedPods");
    let path = Path::new("status").child("uncountedTerminatedPods");
    let mut seen = Vec::new();
    for list in ["succeeded", "failed"] {
        for (index, uid) in pods.texts(list).enumerate() {
            let path = path.child(list).index(index);
            if uid.is_empty() {
                errors.push(Error::invalid(path, uid, "must not be empty"));
            } else if seen.contains(&uid) {
                errors.push(Error::duplicate(path, uid));
            } else {
                seen.push(uid);
            }
        }
    }
    let done = |job: &Value| is_true(job, "Complete") || is_true(job, "Failed");
    let changed = done(new) != done(old) || pods != old.at("status.uncountedTerminatedPods");
    let any = ["succeeded", "failed"].iter().any(|list| !pods.list(list).is_empty());
    if changed && done(new) && any {
        errors.push(Error::invalid(path, pods.clone(), "must be empty for finished job"));
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

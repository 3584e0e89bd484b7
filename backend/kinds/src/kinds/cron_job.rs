//! CronJob. Source: <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>

use jiff::Timestamp;
use pilothouse_api::{
    cron::Schedule,
    field::{Error, ErrorList, Path},
};
use serde_json::Value;

use super::{job, pod};
use crate::{
    checks::{non_negative, one_of},
    columns::{AGE, Column, NAME, age, containers, name, selector, since},
    strategy::{Generation, Strategy},
    value::{Look, MapExt, dig, object},
    warnings::{is_news, pods_take_this_name},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    default,
    validate: |object, errors| {
        validate(object, None, errors);
        let name = object.text("metadata.name");
        if name.len() > MAX_NAME {
            let detail = "must be no more than 52 characters";
            errors.push(Error::invalid(Path::new("metadata").child("name"), name, detail));
        }
    },
    validate_update: |new, old, errors| validate(new, Some(old), errors),
    warn,
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

/// Names of its jobs are this, a hyphen and ten digits, and must be labels.
const MAX_NAME: usize = 52;

fn warn(object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    if old.is_none() {
        pods_take_this_name(object, warnings);
    }
    if is_news(object, old) {
        let path = Path::new("spec").child("jobTemplate").child("spec");
        job::warn_spec(object.at("spec.jobTemplate.spec"), &path, warnings);
    }
    if old.is_some() && object.text("spec.schedule").contains("TZ") {
        // Upstream's path, twice `spec`.
        warnings.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".into());
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Schedule"),
    Column::text("Timezone"),
    Column::flag("Suspend"),
    Column::number("Active"),
    Column::text("Last Schedule"),
    AGE,
    Column::wide("Containers"),
    Column::wide("Images"),
    Column::wide("Selector"),
];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let last = object.at("status.lastScheduleTime");
    let suspend = match object.at("spec.suspend").as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let (names, images) = containers(object.at("spec.jobTemplate.spec.template"));
    vec![
        name(object),
        object.text("spec.schedule").into(),
        object.at("spec.timeZone").as_str().unwrap_or("<none>").into(),
        suspend.into(),
        object.list("status.active").len().into(),
        if last.is_null() { "<none>".into() } else { since(last, now).into() },
        age(object, now),
        names,
        images,
        selector_cell(object),
    ]
}

fn selector_cell(object: &Value) -> Value {
    selector(object.at("spec.jobTemplate.spec.selector"))
}

fn default(cron_job: &mut Value) {
    let spec = object(cron_job, "spec");
    spec.or_set("concurrencyPolicy", "Allow");
    spec.or_set("suspend", false);
    spec.or_set("successfulJobsHistoryLimit", 3);
    spec.or_set("failedJobsHistoryLimit", 1);
    if let Some(template) = dig(cron_job, "spec.jobTemplate.spec").and_then(Value::as_object_mut) {
        job::failure_policy_defaults(template);
    }
    pod::default::template(cron_job, "spec.jobTemplate.spec.template");
}

fn validate(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let (spec, path) = (object.at("spec"), Path::new("spec"));
    schedule(spec, old, &path.child("schedule"), errors);
    non_negative(spec, &path, "startingDeadlineSeconds", errors);
    if old.is_none_or(|old| old.at("spec.timeZone") != spec.at("timeZone")) {
        time_zone(spec, &path.child("timeZone"), errors);
    }
    one_of(spec, &path, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], errors);
    let (template, at) = (spec.at("jobTemplate.spec"), path.child("jobTemplate").child("spec"));
    job::validate_spec(template, &at, errors);
    if template.has("selector") {
        let value = template.at("selector").clone();
        errors.push(Error::invalid(at.child("selector"), value, "`selector` will be auto-generated"));
    }
    if template.flag("manualSelector") {
        errors.push(Error::not_supported(at.child("manualSelector"), true, &["nil", "false"]));
    }
    non_negative(spec, &path, "successfulJobsHistoryLimit", errors);
    non_negative(spec, &path, "failedJobsHistoryLimit", errors);
}

fn schedule(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    let text = spec.text("schedule");
    if text.is_empty() {
        return errors.push(Error::required(path.clone(), ""));
    }
    // A zone inside the schedule was once accepted; objects that have one keep it.
    let zoned = text.contains("TZ");
    let kept = old.is_some_and(|old| old.text("spec.schedule").contains("TZ"));
    let bare = if zoned { text.split_once(' ').map_or("", |(_, rest)| rest) } else { text };
    if let Err(wrong) = Schedule::parse(bare) {
        errors.push(Error::invalid(path.clone(), text, wrong));
    }
    if zoned && kept && spec.has("timeZone") {
        let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        errors.push(Error::invalid(path.clone(), text, detail));
    } else if zoned && !kept {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(Error::invalid(path.clone(), text, detail));
    }
}

fn time_zone(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(zone) = spec.at("timeZone").as_str() else { return };
    if zone.is_empty() {
        return errors.push(Error::invalid(path.clone(), zone, "timeZone must be nil or non-empty string"));
    }
    if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(Error::invalid(path.clone(), zone, detail));
    } else if jiff::tz::TimeZone::get(zone).ok().and_then(|found| found.iana_name().map(|n| n != zone)).unwrap_or(true)
    {
        errors.push(Error::invalid(path.clone(), zone, format!("unknown time zone {zone}")));
    }
}

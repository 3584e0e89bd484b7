//! Event, of both groups: one storage, in the core group's form.
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks::{immutable, push_all},
    columns::{Column, since},
    strategy::{Field, Strategy, Versions, path_segment_name},
    value::Look,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    // Judged after everything else.
    name: |_, _| Vec::new(),
    validate_as_sent,
    validate_update_as_sent,
    columns: COLUMNS,
    row,
    fields: FIELDS,
    create_on_update: true,
    versions: Some(Versions { stored: "v1", to_stored, from_stored, fields: RENAMED_FIELDS }),
    ..Strategy::PLAIN
};

const LENGTH_MAX: usize = 128;
const MESSAGE_MAX: usize = 1024;

/// The names of fields in the events group and in the core group.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// What an update may not change in the events group, and how upstream calls it; the reason is told of twice.
const FROZEN: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("reason", "reason"),
    ("note", "message"),
    ("reason", "reason"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

/// The same for field selectors.
const RENAMED_FIELDS: &[(&str, &str)] = &[
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("reportingController", "reportingComponent"),
    // Only the core group has it.
    ("", "source"),
];

const COLUMNS: &[Column] = &[
    Column::text("Last Seen"),
    Column::text("Type"),
    Column::text("Reason"),
    Column::text("Object"),
    Column::wide("Subobject"),
    Column::wide("Source"),
    Column::text("Message"),
    Column::wide("First Seen"),
    Column::wide("Count"),
    Column::wide("Name"),
];

const FIELDS: &[Field] = &[
    Field::path("involvedObject.kind"),
    Field::path("involvedObject.namespace"),
    Field::path("involvedObject.name"),
    Field::path("involvedObject.uid"),
    Field::path("involvedObject.apiVersion"),
    Field::path("involvedObject.resourceVersion"),
    Field::path("involvedObject.fieldPath"),
    Field::path("reason"),
    Field::path("reportingComponent"),
    Field {
        name: "source",
        get: |event, _| match event.text("source.component") {
            "" => event.text("reportingComponent").to_owned(),
            component => component.to_owned(),
        },
    },
    Field::path("type"),
];

fn renamed(mut event: Value, pairs: impl Iterator<Item = (&'static str, &'static str)>, api_version: &str) -> Value {
    if let Some(map) = event.as_object_mut() {
        for (from, to) in pairs {
            if let Some(value) = map.remove(from) {
                map.insert(to.into(), value);
            }
        }
        map.insert("apiVersion".into(), api_version.into());
    }
    event
}

fn to_stored(event: Value) -> Value {
    renamed(event, RENAMED.iter().copied(), "v1")
}

fn from_stored(event: Value, api_version: &str) -> Value {
    if api_version == "v1" {
        return renamed(event, std::iter::empty(), api_version);
    }
    renamed(event, RENAMED.iter().map(|(new, old)| (*old, *new)), api_version)
}

fn row(event: &Value, now: Timestamp) -> Vec<Value> {
    let micro = |time: &Value| since(time, now);
    let mut first = since(event.at("firstTimestamp"), now);
    if event.at("firstTimestamp").is_null() {
        first = micro(event.at("eventTime"));
    }
    let mut last = since(event.at("lastTimestamp"), now);
    if event.at("lastTimestamp").is_null() {
        last.clone_from(&first);
    }
    let mut count = event.int("count").filter(|count| *count != 0).unwrap_or(1);
    let series = event.at("series");
    if series.is_object() {
        last = micro(series.at("lastObservedTime"));
        count = series.int("count").unwrap_or_default();
    }
    let (kind, name) = (event.text("involvedObject.kind").to_lowercase(), event.text("involvedObject.name"));
    let target = if name.is_empty() { kind } else { format!("{kind}/{name}") };
    vec![
        last.into(),
        event.text("type").into(),
        event.text("reason").into(),
        target.into(),
        event.text("involvedObject.fieldPath").into(),
        source(event).into(),
        event.text("message").trim().into(),
        first.into(),
        count.to_string().into(),
        event.text("metadata.name").into(),
    ]
}

fn source(event: &Value) -> String {
    let or = |one: &str, other: &str| if one.is_empty() { other.to_owned() } else { one.to_owned() };
    let component = or(event.text("source.component"), event.text("reportingComponent"));
    match or(event.text("source.host"), event.text("reportingInstance")) {
        instance if instance.is_empty() => component,
        instance => format!("{component}, {instance}"),
    }
}

/// What holds for events of both groups.
/// `event` in the stored form, though it was sent as `as_sent`.
fn validate(event: &Value, as_sent: &str, errors: &mut ErrorList) {
    let (namespace, about) = (event.text("metadata.namespace"), event.text("involvedObject.namespace"));
    let wrong_namespace = if event.has("eventTime") {
        about.is_empty() && !matches!(namespace, "default" | "kube-system")
    } else if about.is_empty() {
        !matches!(namespace, "" | "default")
    } else {
        namespace != about
    };
    if wrong_namespace {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(Error::invalid(path, about, "does not match event.namespace"));
    }
    if event.has("eventTime") {
        // The name of the field in the form that was sent.
        let path = Path::new(if as_sent == "v1" { "reportingComponent" } else { "reportingController" });
        let controller = event.text("reportingComponent");
        if controller.is_empty() {
            errors.push(Error::required(path.clone(), ""));
        }
        push_all(names::is_qualified_name(controller), controller, &path, errors);
        for key in ["reportingInstance", "action", "reason"] {
            if event.text(key).is_empty() {
                errors.push(Error::required(Path::new(key), ""));
            }
            if event.text(key).len() > LENGTH_MAX {
                errors.push(Error::invalid(Path::new(key), "", format!("can have at most {LENGTH_MAX} characters")));
            }
        }
        if event.text("message").len() > MESSAGE_MAX {
            errors.push(Error::invalid(Path::new("message"), "", format!("can have at most {MESSAGE_MAX} characters")));
        }
    }
    push_all(names::is_dns1123_subdomain(namespace), namespace, &Path::new("namespace"), errors);
}

/// The events group is stricter.
fn validate_as_sent(event: &Value, errors: &mut ErrorList) {
    let as_sent = event.text("apiVersion");
    validate(&to_stored(event.clone()), as_sent, errors);
    let name = event.text("metadata.name");
    if as_sent == "v1" {
        // Of a name upstream asks last that it fits into a path, and only if there is nothing else to say.
        if errors.is_empty() {
            let base = event.text("metadata.generateName");
            push_all(path_segment_name(base, true), base, &Path::new("metadata").child("generateName"), errors);
            push_all(path_segment_name(name, false), name, &Path::new("metadata").child("name"), errors);
        }
        return;
    }
    if !name.is_empty() {
        push_all(names::is_dns1123_subdomain(name), name, &Path::new("metadata").child("name"), errors);
    }
    if !event.has("eventTime") {
        errors.push(Error::required(Path::new("eventTime"), ""));
    }
    let kind = event.text("type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(Error::invalid(Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    let old = ["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount", "deprecatedSource"];
    for (key, shown) in old.iter().zip(["firstTimestamp", "lastTimestamp", "count", "source"]) {
        let value = event.at(key);
        let empty = value.is_null()
            || value.as_i64() == Some(0)
            || value.as_object().is_some_and(|map| map.values().all(|v| v.as_str() == Some("")));
        if !empty {
            errors.push(Error::invalid(Path::new(shown), "", "needs to be unset"));
        }
    }
    series(event, errors);
}

fn series(event: &Value, errors: &mut ErrorList) {
    let series = event.at("series");
    if series.is_object() {
        if series.int("count").unwrap_or_default() < 2 {
            errors.push(Error::invalid(Path::new("series.count"), "", "should be at least 2"));
        }
        if !series.has("lastObservedTime") {
            errors.push(Error::required(Path::new("series.lastObservedTime"), ""));
        }
    }
}

/// In the events group only the series of an event moves.
fn validate_update_as_sent(new: &Value, old: &Value, errors: &mut ErrorList) {
    let as_sent = new.text("apiVersion");
    validate(&to_stored(new.clone()), as_sent, errors);
    if as_sent == "v1" {
        return;
    }
    if new.at("series") != old.at("series") {
        series(new, errors);
    }
    for (key, shown) in FROZEN {
        let text = |event: &Value| event.text(key).to_owned();
        if matches!(*key, "regarding" | "related" | "eventTime") {
            immutable(new.at(key), old.at(key), &Path::new(shown), errors);
        } else {
            immutable(&text(new).into(), &text(old).into(), &Path::new(shown), errors);
        }
    }
}

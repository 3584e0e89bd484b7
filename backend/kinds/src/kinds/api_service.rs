//! APIService: an API group version and who serves it.
//! Source: <https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks::{one_of_always, push_all, required},
    columns::{AGE, Column, NAME, age, name},
    strategy::{StatusMeta, Strategy, path_segment_name},
    value::{Look, MapExt, dig},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    name: path_segment_name,
    status_meta: StatusMeta::Keep,
    default: |service| {
        if let Some(reference) = dig(service, "spec.service") {
            reference.or_set("port", 443);
        }
    },
    validate,
    validate_update: |new, _, errors| validate(new, errors),
    validate_status_update: |new, _, errors| {
        let path = Path::new("status").child("conditions");
        for (index, condition) in new.list("status.conditions").iter().enumerate() {
            one_of_always(condition, &path.index(index), "status", &["True", "False", "Unknown"], errors);
        }
    },
    columns: &[NAME, Column::text("Service"), Column::text("Available"), AGE],
    row,
    unconditional_update: false,
    ..Strategy::PLAIN
};

fn row(service: &Value, now: Timestamp) -> Vec<Value> {
    let reference = service.at("spec.service");
    let served = if reference.is_object() {
        format!("{}/{}", reference.text("namespace"), reference.text("name"))
    } else {
        "Local".to_owned()
    };
    let available = service.list("status.conditions").iter().find(|c| c.text("type") == "Available");
    let available = match available {
        None => "Unknown".to_owned(),
        Some(condition) if condition.text("status") == "True" => "True".to_owned(),
        Some(condition) => format!("{} ({})", condition.text("status"), condition.text("reason")),
    };
    vec![name(service), served.into(), available.into(), age(service, now)]
}

fn validate(service: &Value, errors: &mut ErrorList) {
    let (spec, path) = (service.at("spec"), Path::new("spec"));
    let (group, version, name) = (spec.text("group"), spec.text("version"), service.text("metadata.name"));
    let wanted = format!("{version}.{group}");
    if !name.is_empty() && name != wanted && names::is_path_segment_name(name).is_empty() {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(Error::invalid(Path::new("metadata").child("name"), name, detail));
    }
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(Error::required(path.child("group"), detail));
    }
    if !group.is_empty() {
        push_all(names::is_dns1123_subdomain(group), group, &path.child("group"), errors);
    }
    push_all(names::is_dns1035_label(version), version, &path.child("version"), errors);
    for (key, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let number = spec.int(key).unwrap_or_default();
        if number <= 0 || number > most {
            let detail = format!("must be positive and less than {most}");
            errors.push(Error::invalid(path.child(key), number, detail));
        }
    }
    let (bundle, insecure) = (spec.text("caBundle"), spec.flag("insecureSkipTLSVerify"));
    let reference = spec.at("service");
    if !reference.is_object() {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", bundle.len());
            errors.push(Error::invalid(path.child("caBundle"), shown, "local APIServices may not have a caBundle"));
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(Error::invalid(path.child("insecureSkipTLSVerify"), true, detail));
        }
        return;
    }
    required(reference, &path.child("service"), "namespace", errors);
    required(reference, &path.child("service"), "name", errors);
    let port = reference.int("port").unwrap_or_default();
    let wrong = names::is_port_number(port);
    if !wrong.is_empty() {
        let detail = format!("port is not valid: {}", wrong.join(", "));
        errors.push(Error::invalid(path.child("service").child("port"), port, detail));
    }
    if insecure && !bundle.is_empty() {
        let detail = "may not be true if caBundle is present";
        errors.push(Error::invalid(path.child("insecureSkipTLSVerify"), true, detail));
    }
}

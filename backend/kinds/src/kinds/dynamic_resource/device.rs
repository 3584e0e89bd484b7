//! What claims, classes and slices say of devices: selectors, configurations, taints and names.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use pilothouse_cel::{Env, Field as CelField, ObjectType, Type};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use crate::{checks::push_all, kinds::persistent_volume::csi_driver_name, value::Look};

const MAX_CONFIGS: usize = 32;
const MAX_SELECTORS: usize = 32;
/// Bytes of an expression, and of the parameters that only a driver understands.
const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_PARAMETERS: usize = 10 * 1024;
const MAX_ID: usize = 32;
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// What an expression about a device may name.
static DEVICE: LazyLock<Env> = LazyLock::new(|| {
    let by_domain = || Type::map(Type::STRING, Type::map(Type::STRING, Type::Dyn));
    let fields = [
        ("driver", Type::STRING),
        ("attributes", by_domain()),
        ("capacity", by_domain()),
        ("allowMultipleAllocations", Type::Bool),
    ];
    let fields: BTreeMap<String, CelField> =
        fields.map(|(name, of)| (name.to_owned(), CelField { name: name.to_owned(), of })).into_iter().collect();
    Env::new().with("device", Type::Object(Arc::new(ObjectType { name: "kubernetes.DRADevice".to_owned(), fields })))
});

/// Not more than there may be; false if there are, and nothing more is to be said of them.
pub(super) fn at_most(list: &[Value], most: usize, path: &Path, errors: &mut ErrorList) -> bool {
    if list.len() > most {
        errors.push(Error::too_many(path.clone(), list.len(), most));
    }
    list.len() <= most
}

/// None may come twice; said of the later one, after what else is wrong.
pub(super) fn unique<'a>(keys: impl Iterator<Item = &'a str>, path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for (index, key) in keys.enumerate() {
        if seen.contains(&key) {
            errors.push(Error::duplicate(path.index(index), key));
        }
        seen.push(key);
    }
}

/// Each of not more than there may be; false if there are more, and none was looked at.
pub(super) fn each(
    list: &[Value],
    most: usize,
    path: &Path,
    errors: &mut ErrorList,
    mut check: impl FnMut(&Value, &Path, &mut ErrorList),
) -> bool {
    if !at_most(list, most, path, errors) {
        return false;
    }
    for (index, item) in list.iter().enumerate() {
        check(item, &path.index(index), errors);
    }
    true
}

/// As [`each`], where none may have what another has under `key`.
pub(super) fn each_unique(
    list: &[Value],
    most: usize,
    key: &str,
    path: &Path,
    errors: &mut ErrorList,
    check: impl FnMut(&Value, &Path, &mut ErrorList),
) {
    if each(list, most, path, errors, check) {
        unique(list.iter().map(|item| item.text(key)), path, errors);
    }
}

/// `old` are the selectors that are stored already: what was compiled once is not looked at again.
pub(super) fn selectors(list: &[Value], old: Option<&[Value]>, path: &Path, errors: &mut ErrorList) {
    each(list, MAX_SELECTORS, path, errors, |selector, path, errors| {
        let (cel, path) = (selector.at("cel"), path.child("cel"));
        if !cel.is_object() {
            return errors.push(Error::required(path, ""));
        }
        let (source, path) = (cel.text("expression"), path.child("expression"));
        if source.len() > MAX_EXPRESSION {
            errors.push(Error::too_long(path, MAX_EXPRESSION));
        } else if old != Some(list) {
            match pilothouse_cel::compile(source, &DEVICE) {
                Err(wrong) => errors.push(Error::invalid(path, source, format!("compilation failed: {wrong}"))),
                Ok(program) if matches!(program.result(), Type::Bool | Type::Dyn) => {}
                Ok(program) => {
                    let detail = format!("must evaluate to bool or the unknown type, not {}", program.result());
                    errors.push(Error::invalid(path, source, detail));
                }
            }
        }
    });
}

/// Configurations of a class, or (with `besides` for what they say besides) of a claim or allocation.
pub(super) fn configs(
    list: &[Value],
    most: usize,
    path: &Path,
    errors: &mut ErrorList,
    mut besides: impl FnMut(&Value, &Path, &mut ErrorList),
) {
    each(list, most, path, errors, |config, path, errors| {
        besides(config, path, errors);
        let (opaque, path) = (config.at("opaque"), path.child("opaque"));
        if opaque.is_object() {
            csi_driver_name(opaque.text("driver"), &path.child("driver"), errors);
            parameters(opaque.at("parameters"), &path.child("parameters"), errors);
        } else {
            errors.push(Error::required(path, ""));
        }
    });
}

pub(super) fn class_configs(list: &[Value], path: &Path, errors: &mut ErrorList) {
    configs(list, MAX_CONFIGS, path, errors, |_, _, _| {});
}

pub(super) fn parameters(value: &Value, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Null => errors.push(Error::required(path.clone(), "")),
        value if value.to_string().len() > MAX_PARAMETERS => {
            errors.push(Error::too_long(path.clone(), MAX_PARAMETERS));
        }
        Value::Object(_) => {}
        _ => errors.push(Error::invalid(path.clone(), "<value omitted>", "must be a valid JSON object")),
    }
}

/// `[domain/]identifier`.
pub(super) fn qualified_name(name: &str, path: &Path, errors: &mut ErrorList) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(Error::invalid(path.clone(), "", "the domain must not be empty"));
            } else {
                csi_driver_name(domain, path, errors);
            }
            if id.is_empty() {
                errors.push(Error::invalid(path.clone(), "", "the name must not be empty"));
            } else {
                identifier(id, path, errors);
            }
        }
        // Upstream has nothing to say of more.
        _ => {}
    }
}

pub(super) fn fully_qualified_name(name: &str, path: &Path, errors: &mut ErrorList) {
    qualified_name(name, path, errors);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(path.clone(), name, detail));
    }
}

fn identifier(id: &str, path: &Path, errors: &mut ErrorList) {
    if id.len() > MAX_ID {
        errors.push(Error::too_long(path.clone(), MAX_ID));
    }
    push_all(names::is_c_identifier(id), id, path, errors);
}

/// Names of pools may have slashes.
pub(super) fn pool_name(name: &str, path: &Path, errors: &mut ErrorList) {
    const MAX: usize = 253;
    if name.is_empty() {
        return errors.push(Error::required(path.clone(), ""));
    }
    if name.len() > MAX {
        errors.push(Error::too_long(path.clone(), MAX));
    }
    for part in name.split('/') {
        push_all(names::is_dns1123_subdomain(part), part, path, errors);
    }
}

pub(super) fn taint(taint: &Value, path: &Path, errors: &mut ErrorList) {
    let (key, value) = (taint.text("key"), taint.text("value"));
    push_all(names::is_qualified_name(key), key, &path.child("key"), errors);
    if !value.is_empty() {
        push_all(names::is_label_value(value), value, &path.child("value"), errors);
    }
    match taint.text("effect") {
        "" => errors.push(Error::required(path.child("effect"), "")),
        effect if EFFECTS.contains(&effect) => {}
        other => errors.push(Error::not_supported(path.child("effect"), other, EFFECTS)),
    }
}

pub(super) fn toleration(toleration: &Value, path: &Path, errors: &mut ErrorList) {
    let (key, value) = (toleration.text("key"), toleration.text("value"));
    if !key.is_empty() {
        push_all(names::is_qualified_name(key), key, &path.child("key"), errors);
    }
    match toleration.text("operator") {
        "Exists" => {
            if !value.is_empty() {
                errors.push(Error::invalid(path.child("value"), value, "must be empty for operator `Exists`"));
            }
        }
        "Equal" => push_all(names::is_label_value(value), value, &path.child("value"), errors),
        "" => errors.push(Error::required(path.child("operator"), "")),
        other => errors.push(Error::not_supported(path.child("operator"), other, &["Equal", "Exists"])),
    }
    let effect = toleration.text("effect");
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(path.child("effect"), effect, EFFECTS));
    }
}

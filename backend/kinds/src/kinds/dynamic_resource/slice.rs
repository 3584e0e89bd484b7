//! Validation of slices: the devices that a driver offers.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::device::{each, each_unique, pool_name, qualified_name, taint};
use crate::{
    checks::{immutable, push_all, required_name},
    kinds::{persistent_volume::csi_driver_name, pod},
    value::Look,
};

const MAX_DEVICES: usize = 128;
/// Of devices with taints, counters or attributes that are lists.
const MAX_ADVANCED_DEVICES: usize = 64;
const MAX_PROPERTIES: usize = 32;
const MAX_ATTRIBUTE_VALUES: usize = 48;
const MAX_VALUE: usize = 64;
const MAX_TAINTS: usize = 16;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const MAX_CONSUMED_SETS: usize = 2;
const PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
const DEVICE_PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
const NO_DEVICE_PLACE: &str = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

pub(super) fn spec(slice: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let (spec, path) = (slice.at("spec"), Path::new("spec"));
    csi_driver_name(spec.text("driver"), &path.child("driver"), errors);
    pool(spec.at("pool"), &path.child("pool"), errors);
    if let Some(old) = old.map(|old| old.at("spec")) {
        immutable(spec.at("pool.name"), old.at("pool.name"), &path.child("pool").child("name"), errors);
        for key in ["driver", "nodeName"] {
            immutable(spec.at(key), old.at(key), &path.child(key), errors);
        }
    }
    let wrong = "must be either unset or set to a non-empty string";
    let flags = ["allNodes", "perDeviceNodeSelection"];
    let set = place(spec, &flags, wrong, &path, errors);
    let terms = spec.at("nodeSelector.nodeSelectorTerms");
    if spec.has("nodeSelector") && spec.list("nodeSelector.nodeSelectorTerms").len() != 1 {
        let at = path.child("nodeSelector").child("nodeSelectorTerms");
        errors.push(Error::invalid(at, terms.clone(), "must have exactly one node selector term"));
    }
    match set.len() {
        0 => errors.push(Error::required(path.clone(), PLACE)),
        1 => {}
        _ => {
            let detail = format!("{PLACE}, but multiple fields are set");
            errors.push(Error::invalid(path.clone(), format!("{{{}}}", set.join(", ")), detail));
        }
    }
    if spec.has("sharedCounters") && spec.has("devices") {
        errors.push(Error::invalid(path.clone(), "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    devices(spec, &path.child("devices"), errors);
    counter_sets(spec.list("sharedCounters"), &path.child("sharedCounters"), errors);
}

fn pool(pool: &Value, path: &Path, errors: &mut ErrorList) {
    pool_name(pool.text("name"), &path.child("name"), errors);
    let count = pool.int("resourceSliceCount").unwrap_or_default();
    if count <= 0 {
        errors.push(Error::invalid(path.child("resourceSliceCount"), count, "must be greater than zero"));
    }
    if let Some(generation) = pool.int("generation").filter(|generation| *generation < 0) {
        errors.push(Error::invalid(path.child("generation"), generation, "must be greater than or equal to zero"));
    }
}

/// Where the devices are: which of the fields that say so are set.
fn place(of: &Value, flags: &[&str], empty: &str, path: &Path, errors: &mut ErrorList) -> Vec<String> {
    let mut set = Vec::new();
    match of.at("nodeName").as_str() {
        None => {}
        Some("") => errors.push(Error::invalid(path.child("nodeName"), "", empty)),
        Some(name) => {
            set.push("`nodeName`".to_owned());
            push_all(names::is_dns1123_subdomain(name), name, &path.child("nodeName"), errors);
        }
    }
    if of.has("nodeSelector") {
        set.push("`nodeSelector`".to_owned());
        pod::node_selector(of.at("nodeSelector"), &path.child("nodeSelector"), errors);
    }
    for flag in flags {
        match of.at(flag).as_bool() {
            None => {}
            Some(true) => set.push(format!("`{flag}`")),
            Some(false) => {
                errors.push(Error::invalid(path.child(flag), false, "must be either unset or set to true"));
            }
        }
    }
    set
}

fn devices(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let devices = spec.list("devices");
    let lists = |device: &Value| device.entries("attributes").any(|(_, a)| LISTS.iter().any(|list| a.has(list)));
    let advanced = |device: &Value| {
        !device.list("taints").is_empty() || !device.list("consumesCounters").is_empty() || lists(device)
    };
    let most = if devices.iter().any(advanced) { MAX_ADVANCED_DEVICES } else { MAX_DEVICES };
    let each_has_a_place = spec.flag("perDeviceNodeSelection");
    each_unique(devices, most, "name", path, errors, |one, path, errors| {
        device(one, each_has_a_place, path, errors);
    });
}

fn device(device: &Value, has_place: bool, path: &Path, errors: &mut ErrorList) {
    let name = device.text("name");
    push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
    let properties = device.entries("attributes").count() + device.entries("capacity").count();
    if properties > MAX_PROPERTIES {
        let detail = format!("the total number of attributes and capacities must not exceed {MAX_PROPERTIES}");
        errors.push(Error::invalid(path.clone(), properties, detail));
    }
    let values = |attribute: &Value| LISTS.iter().map(|list| attribute.list(list).len()).sum::<usize>().max(1);
    let count: usize = device.entries("attributes").map(|(_, attribute)| values(attribute)).sum();
    if count > MAX_ATTRIBUTE_VALUES {
        let detail = format!("the total number of attribute values must not exceed {MAX_ATTRIBUTE_VALUES}");
        errors.push(Error::invalid(path.clone(), count, detail));
    }
    let at = path.child("attributes");
    for (key, value) in device.entries("attributes") {
        qualified_name(key, &at, errors);
        attribute(value, &at.key(key), errors);
    }
    let at = path.child("capacity");
    for (key, capacity) in device.entries("capacity") {
        qualified_name(key, &at, errors);
        if capacity.has("requestPolicy") && !device.flag("allowMultipleAllocations") {
            let detail = "allowMultipleAllocations must be true";
            errors.push(Error::forbidden(at.key(key).child("requestPolicy"), detail));
        }
    }
    each(device.list("taints"), MAX_TAINTS, &path.child("taints"), errors, taint);
    let (consumed, at) = (device.list("consumesCounters"), path.child("consumesCounters"));
    each_unique(consumed, MAX_CONSUMED_SETS, "counterSet", &at, errors, |set, path, errors| {
        counters(set, "counterSet", path, errors);
    });
    if has_place {
        let set = place(device, &["allNodes"], "must not be empty", path, errors);
        match set.len() {
            0 => errors.push(Error::required(path.clone(), DEVICE_PLACE)),
            1 => {}
            _ => errors.push(Error::invalid(path.clone(), format!("{{{}}}", set.join(", ")), DEVICE_PLACE)),
        }
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|key| device.has(key)) {
        errors.push(Error::invalid(path.clone(), Value::Null, NO_DEVICE_PLACE));
    }
}

fn attribute(attribute: &Value, path: &Path, errors: &mut ErrorList) {
    let mut said = 0;
    for key in ["bool", "int", "string", "version"] {
        said += usize::from(attribute.has(key));
    }
    if attribute.text("string").len() > MAX_VALUE {
        errors.push(Error::too_long(path.child("string"), MAX_VALUE));
    }
    if let Some(version) = attribute.at("version").as_str() {
        self::version(version, &path.child("version"), errors);
    }
    for list in LISTS.iter().filter(|list| attribute.has(list)) {
        said += 1;
        let path = path.child(list);
        for (index, text) in attribute.texts(list).enumerate() {
            if *list == "versions" {
                version(text, &path.index(index), errors);
            } else if text.len() > MAX_VALUE {
                errors.push(Error::too_long(path.index(index), MAX_VALUE));
            }
        }
    }
    match said {
        0 => errors.push(Error::invalid(path.clone(), "", "exactly one value must be specified")),
        1 => {}
        _ => errors.push(Error::invalid(path.clone(), attribute.clone(), "exactly one value must be specified")),
    }
}

fn version(version: &str, path: &Path, errors: &mut ErrorList) {
    if !is_semantic(version) {
        let detail = "must be a string compatible with semver.org spec 2.0.0";
        errors.push(Error::invalid(path.clone(), version, detail));
    }
    if version.len() > MAX_VALUE {
        errors.push(Error::too_long(path.clone(), MAX_VALUE));
    }
}

/// `1.2.3-beta.1+build.5`: <https://semver.org>.
fn is_semantic(version: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let digits = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let number = |word: &str| digits(word) && (word == "0" || !word.starts_with('0'));
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn counter_sets(sets: &[Value], path: &Path, errors: &mut ErrorList) {
    each_unique(sets, MAX_COUNTER_SETS, "name", path, errors, |set, path, errors| {
        counters(set, "name", path, errors);
    });
}

/// Counters of a set whose name is under `key`.
fn counters(set: &Value, key: &str, path: &Path, errors: &mut ErrorList) {
    required_name(set, path, key, names::is_dns1123_label, errors);
    let (count, path) = (set.entries("counters").count(), path.child("counters"));
    if count == 0 {
        return errors.push(Error::required(path, ""));
    }
    if count > MAX_COUNTERS {
        return errors.push(Error::too_many(path, count, MAX_COUNTERS));
    }
    for (name, _) in set.entries("counters") {
        push_all(names::is_dns1123_label(name), name, &path, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["0.0.1", "1.2.3-beta.1+build.05", "1.0.0--"] {
            assert!(is_semantic(good), "{good}");
        }
        for bad in ["", "1", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3.4"] {
            assert!(!is_semantic(bad), "{bad}");
        }
    }
}

//! `Strategy`: the behaviour of a built-in kind as a table of plain functions, each with a default that does nothing.

use std::borrow::Cow;

use jiff::Timestamp;
use pilothouse_api::{field::ErrorList, names};
use serde_json::Value;

use crate::{columns::Column, value::Look};

/// A name's syntax; `prefix` asks about a generateName, which will get a suffix.
pub type NameRule = fn(name: &str, prefix: bool) -> Vec<String>;

/// When `metadata.generation` moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The kind has none.
    None,
    /// Set at creation, never moved.
    Once,
    /// With `spec`.
    Spec,
    /// With `spec`, but it is not there before the first change.
    SpecFromZero,
    /// With `spec` and annotations (a Deployment hands its annotations down).
    SpecAndAnnotations,
    /// With anything but metadata and status.
    AllButStatus,
    /// With anything but metadata and status, and with labels.
    AllButStatusAndLabels,
}

/// What a status update may do to metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusMeta {
    Free,
    KeepLabels,
    Keep,
}

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Orphan,
}

/// Where the scale subresource finds its numbers: paths such as `spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    pub spec_replicas: Cow<'static, str>,
    pub status_replicas: Cow<'static, str>,
    /// A LabelSelector (or RC's plain map) for built-in kinds, a string for custom ones.
    pub selector: Option<Cow<'static, str>>,
}

impl ScalePaths {
    pub(crate) const WORKLOAD: &'static Self = &Self {
        spec_replicas: Cow::Borrowed("spec.replicas"),
        status_replicas: Cow::Borrowed("status.replicas"),
        selector: Some(Cow::Borrowed("spec.selector")),
    };

    /// The selector of `object` in query syntax, as `Scale.status.selector` shows it.
    pub fn selector_text(&self, object: &Value) -> String {
        use pilothouse_api::selector::LabelSelector;
        let Some(path) = &self.selector else { return String::new() };
        let selector = match object.at(path) {
            Value::String(text) => return text.clone(),
            value if value.has("matchLabels") || value.has("matchExpressions") => LabelSelector::from_json(value),
            value => LabelSelector::from_map(value),
        };
        selector.map(|s| s.to_string()).unwrap_or_default()
    }
}

/// A field that field selectors may name.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    /// The value, given the object and the field's name.
    pub get: fn(&Value, &'static str) -> String,
}

impl Field {
    /// A field whose name is its path; absent reads as "".
    pub const fn path(name: &'static str) -> Self {
        Self { name, get: plain }
    }
    /// A boolean; absent reads as "false".
    pub const fn flag(name: &'static str) -> Self {
        Self { name, get: |object, name| object.flag(name).to_string() }
    }
    /// A number; absent reads as "0".
    pub const fn number(name: &'static str) -> Self {
        Self { name, get: |object, name| object.int(name).unwrap_or_default().to_string() }
    }
}

fn plain(object: &Value, name: &'static str) -> String {
    match object.at(name) {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The behaviour of a built-in kind.
#[derive(Clone, Debug)]
pub struct Strategy {
    pub name: NameRule,
    pub generation: Generation,
    pub status_meta: StatusMeta,
    /// Nodes register with their status.
    pub keeps_status_on_create: bool,
    /// In the form the client sent, as is preparing.
    pub default: fn(&mut Value),
    pub prepare_create: fn(&mut Value),
    pub prepare_update: fn(new: &mut Value, old: &Value),
    pub prepare_status_update: fn(new: &mut Value, old: &Value),
    pub prepare_subresource_update: fn(new: &mut Value, old: &Value, subresource: &str),
    pub validate: fn(&Value, &mut ErrorList),
    /// In the form the client sent.
    pub validate_as_sent: fn(&Value, &mut ErrorList),
    pub validate_update: fn(new: &Value, old: &Value, &mut ErrorList),
    /// In the form the client sent.
    pub validate_update_as_sent: fn(new: &Value, old: &Value, &mut ErrorList),
    pub validate_status_update: fn(new: &Value, old: &Value, &mut ErrorList),
    pub validate_subresource_update: fn(new: &Value, old: &Value, subresource: &str, &mut ErrorList),
    /// What is to be said of a new object (`old` is none) or an update that is taken all the same.
    pub warn: fn(new: &Value, old: Option<&Value>, &mut Vec<String>),
    /// What every request about the kind is to be warned of: that it is on its way out.
    pub deprecated: Option<&'static str>,
    /// Empty for the plain two: Name, Created At.
    pub columns: &'static [Column],
    pub row: fn(&Value, Timestamp) -> Vec<Value>,
    pub fields: &'static [Field],
    pub scale: Option<&'static ScalePaths>,
    pub grace_period: fn(&Value, asked: Option<i64>) -> Option<i64>,
    pub propagation: Propagation,
    pub create_on_update: bool,
    pub unconditional_update: bool,
    /// For kinds with several served forms.
    pub versions: Option<Versions>,
}

/// How the forms of a kind that has several become each other. All functions of a strategy see the stored form, but
/// for those that say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Versions {
    /// The `apiVersion` of the stored form.
    pub stored: &'static str,
    pub to_stored: fn(Value) -> Value,
    pub from_stored: fn(Value, api_version: &str) -> Value,
    /// The names of selectable fields in the other versions, and in the stored form.
    pub fields: &'static [(&'static str, &'static str)],
}

impl Strategy {
    /// A kind without behaviour.
    pub const PLAIN: Self = Self {
        name: subdomain_name,
        generation: Generation::None,
        status_meta: StatusMeta::Free,
        keeps_status_on_create: false,
        default: |_| {},
        prepare_create: |_| {},
        prepare_update: |_, _| {},
        prepare_status_update: |_, _| {},
        prepare_subresource_update: |_, _, _| {},
        validate: |_, _| {},
        validate_as_sent: |_, _| {},
        validate_update: |_, _, _| {},
        validate_update_as_sent: |_, _, _| {},
        validate_status_update: |_, _, _| {},
        validate_subresource_update: |_, _, _, _| {},
        warn: |_, _, _| {},
        deprecated: None,
        columns: &[],
        row: |_, _| Vec::new(),
        fields: &[],
        scale: None,
        grace_period: |_, _| None,
        propagation: Propagation::Background,
        create_on_update: false,
        unconditional_update: true,
        versions: None,
    };

    /// The part of the behaviour that all custom resources share.
    pub(crate) const CUSTOM: Self = Self {
        generation: Generation::AllButStatus,
        status_meta: StatusMeta::Keep,
        unconditional_update: false,
        ..Self::PLAIN
    };
}

/// A generateName is judged with what will follow standing in for a trailing hyphen.
pub(crate) fn mask_trailing_dash(name: &str) -> Cow<'_, str> {
    match name.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => Cow::Owned(format!("{rest}a")),
        _ => Cow::Borrowed(name),
    }
}

/// Most kinds: a DNS subdomain.
pub fn subdomain_name(name: &str, prefix: bool) -> Vec<String> {
    if prefix { names::is_dns1123_subdomain(&mask_trailing_dash(name)) } else { names::is_dns1123_subdomain(name) }
}

/// As [`subdomain_name`], where upstream counts bytes.
pub(crate) fn subdomain_name_in_bytes(name: &str, prefix: bool) -> Vec<String> {
    subdomain_name(name, prefix).into_iter().map(names::in_bytes).collect()
}

/// Namespaces and the like: a DNS label.
pub fn label_name(name: &str, prefix: bool) -> Vec<String> {
    if prefix { names::is_dns1123_label(&mask_trailing_dash(name)) } else { names::is_dns1123_label(name) }
}

/// RBAC: anything that fits into a path.
pub fn path_segment_name(name: &str, prefix: bool) -> Vec<String> {
    if prefix { names::is_path_segment_prefix(name) } else { names::is_path_segment_name(name) }
}

pub(crate) fn with_api_version(mut object: Value, api_version: String) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
    }
    object
}

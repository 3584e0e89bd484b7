//! `Kind`: one served resource of one group version, with everything the generic machinery asks of it.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use pilothouse_api::{field::ErrorList, status};
use serde_json::Value;

use crate::{
    columns::{self, Column},
    custom::{Custom, Definition},
    meta,
    strategy::{Field, Generation, Propagation, ScalePaths, StatusMeta, Strategy},
    value::{Look, MapExt, object, semantic_eq},
};

type Text = Cow<'static, str>;

/// `pods/log`, `deployments/scale` …
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Without the resource: `log`.
    pub name: Text,
    /// The kind that goes in and out, and its group and version: `Scale` of `autoscaling/v1`.
    pub kind: Text,
    pub group: Text,
    pub version: Text,
    pub verbs: Vec<Text>,
}

/// One served resource of one group version.
#[derive(Clone, Debug)]
pub struct Kind {
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    pub list_kind: Text,
    pub plural: Text,
    pub singular: Text,
    pub namespaced: bool,
    pub short: Vec<Text>,
    pub categories: Vec<Text>,
    pub verbs: Vec<Text>,
    pub subresources: Vec<Subresource>,
    /// Key of the storage: all versions of a resource, and both groups of Events, share one.
    pub storage: Text,
    /// Names of the selectable fields besides `metadata.name` and `metadata.namespace`.
    pub(crate) fields: Vec<Text>,
    pub(crate) behaviour: Behaviour,
}

/// Where a kind's behaviour comes from.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    Builtin(&'static Strategy),
    Custom(Arc<Custom>),
}

impl Kind {
    /// `pods`, `deployments.apps`.
    pub fn group_resource(&self) -> String {
        status::group_resource(&self.group, &self.plural)
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone().into_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The group of the stored form, by which errors name the kind: that of an event is none.
    pub fn stored_group(&self) -> &str {
        match &self.behaviour {
            Behaviour::Builtin(Strategy { versions: Some(versions), .. }) => {
                versions.stored.split_once('/').map_or("", |(group, _)| group)
            }
            _ => &self.group,
        }
    }

    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Is it kept in the storage (a review, for example, is only answered)?
    pub fn is_stored(&self) -> bool {
        self.has_verb("get") && self.has_verb("create")
    }

    pub fn is_custom(&self) -> bool {
        matches!(self.behaviour, Behaviour::Custom(_))
    }

    fn strategy(&self) -> &'static Strategy {
        match &self.behaviour {
            Behaviour::Builtin(strategy) => strategy,
            Behaviour::Custom(_) => &Strategy::CUSTOM,
        }
    }

    /// Does an update of a status leave the rest alone, and the other way round?
    fn splits_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Fills in what upstream fills in.
    pub fn default(&self, object: &mut Value) {
        match &self.behaviour {
            Behaviour::Builtin(strategy) => {
                let form = self.written_form();
                if let Some(schema) = form {
                    pilothouse_schema::complete_structs(schema, object);
                }
                (strategy.default)(object);
                if let Some(schema) = form {
                    pilothouse_schema::complete(schema, object);
                }
            }
            Behaviour::Custom(custom) => custom.default(object),
        }
    }

    /// The form in which objects of a built-in kind are written.
    fn written_form(&self) -> Option<&'static Arc<pilothouse_schema::Schema>> {
        pilothouse_schema::builtin().gvk(&self.group, &self.version, &self.kind)
    }

    /// Brings a new object into its first state: no status from outside, generation 1. Names, UID and time must be
    /// there already, and mutating admission must be over: a Job's selector is its UID, a Pod's class its resources.
    pub fn prepare_create(&self, object: &mut Value) {
        let strategy = self.strategy();
        let Some(map) = object.as_object_mut() else { return };
        if self.splits_status() {
            match &self.behaviour {
                Behaviour::Builtin(strategy) if strategy.keeps_status_on_create => {}
                Behaviour::Builtin(_) => {
                    let mut status = Value::Object(serde_json::Map::new());
                    if let Some(field) = self.written_form().and_then(|schema| schema.field("status")) {
                        pilothouse_schema::complete(field.schema.get(), &mut status);
                    }
                    map.insert("status".into(), status);
                }
                Behaviour::Custom(_) => {
                    map.remove("status");
                }
            }
        }
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            for system in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
                metadata.remove(system);
            }
        }
        // Kinds that count nothing let be what they are told.
        match strategy.generation {
            Generation::None => {}
            Generation::SpecFromZero => {
                crate::value::object(object, "metadata").remove("generation");
            }
            _ => {
                crate::value::object(object, "metadata").insert("generation".into(), 1.into());
            }
        }
        (strategy.prepare_create)(object);
    }

    /// Undoes in `new` what an update through `subresource` ("" for the object itself) may not touch, silently, as
    /// upstream does; bumps the generation when what it counts has changed, so after mutating admission.
    pub fn prepare_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        let strategy = self.strategy();
        meta::keep_system_fields(new, old);
        match subresource {
            "" => {
                if self.splits_status() {
                    new.keep(old, "status");
                }
                (strategy.prepare_update)(new, old);
            }
            "status" => {
                keep_all_but(new, old, &["metadata", "status", "apiVersion", "kind"]);
                match strategy.status_meta {
                    StatusMeta::Free => {}
                    StatusMeta::KeepLabels => object(new, "metadata").keep(old.at("metadata"), "labels"),
                    StatusMeta::Keep => meta::keep_user_fields(new, old),
                }
                (strategy.prepare_status_update)(new, old);
            }
            other => (strategy.prepare_subresource_update)(new, old, other),
        }
        // The status of a custom resource without a status subresource is a field as any other.
        let plain_status =
            self.is_custom() && !self.splits_status() && !semantic_eq(new.at("status"), old.at("status"));
        // Where a pod runs is not a wish of its author's: binding does not count, nor does what became of a wish.
        if !matches!(subresource, "binding" | "status")
            && (plain_status || strategy.generation.counts(self.written_form(), new, old))
        {
            let generation = old.int("metadata.generation").unwrap_or_default() + 1;
            object(new, "metadata").insert("generation".into(), generation.into());
        }
    }

    /// What is wrong with a new object, metadata included.
    pub fn validate(&self, object: &Value) -> ErrorList {
        let strategy = self.strategy();
        let mut errors = meta::validate_meta(object, self.namespaced, strategy.name);
        match &self.behaviour {
            Behaviour::Builtin(strategy) => {
                self.finalizers(object, &mut errors);
                (strategy.validate)(&stored(strategy, object), &mut errors);
                (strategy.validate_as_sent)(object, &mut errors);
            }
            Behaviour::Custom(custom) => custom.validate(object, &mut errors),
        }
        errors
    }

    /// What is wrong with an update through `subresource` ("" for the object itself), metadata included.
    pub fn validate_update(&self, new: &Value, old: &Value, subresource: &str) -> ErrorList {
        let mut errors = meta::validate_meta_update(new, old);
        self.finalizers(new, &mut errors);
        match (&self.behaviour, subresource) {
            (Behaviour::Builtin(strategy), "") => {
                (strategy.validate_update)(&stored(strategy, new), &stored(strategy, old), &mut errors);
                (strategy.validate_update_as_sent)(new, old, &mut errors);
            }
            (Behaviour::Builtin(strategy), "status") => (strategy.validate_status_update)(new, old, &mut errors),
            (Behaviour::Builtin(strategy), other) => {
                (strategy.validate_subresource_update)(new, old, other, &mut errors)
            }
            (Behaviour::Custom(custom), _) => custom.validate_update(new, old, &mut errors),
        }
        errors
    }

    /// What extends the API itself is not asked where its finalizers come from, nor are custom resources.
    fn finalizers(&self, object: &Value, errors: &mut ErrorList) {
        if !self.is_custom() && !matches!(&*self.group, "apiextensions.k8s.io" | "apiregistration.k8s.io") {
            meta::validate_finalizer_domains(object, errors);
        }
    }

    /// The warning that every request about this kind carries.
    pub fn deprecated(&self) -> Option<&'static str> {
        self.strategy().deprecated
    }

    /// What clients are to be told of a new object or an update, though it is taken.
    pub fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        match &self.behaviour {
            Behaviour::Builtin(strategy) => {
                let mut warnings = Vec::new();
                (strategy.warn)(new, old, &mut warnings);
                warnings
            }
            Behaviour::Custom(custom) => custom.warnings(new, old),
        }
    }

    /// The columns of a Table, kubectl's own; priority 1 is shown by `-o wide` only.
    pub fn columns(&self) -> &[Column] {
        match &self.behaviour {
            Behaviour::Builtin(strategy) if strategy.columns.is_empty() => columns::PLAIN,
            Behaviour::Builtin(strategy) => strategy.columns,
            Behaviour::Custom(custom) => &custom.columns,
        }
    }

    /// The cells of one object, one per column.
    pub fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        match &self.behaviour {
            Behaviour::Builtin(strategy) if strategy.columns.is_empty() => columns::plain_row(object),
            Behaviour::Builtin(strategy) => (strategy.row)(&stored(strategy, object), now),
            Behaviour::Custom(custom) => custom.row(object, now),
        }
    }

    /// The selectable fields of one object, besides `metadata.name` and `metadata.namespace`.
    pub fn selectable(&self, object: &Value) -> Vec<(Cow<'static, str>, String)> {
        match &self.behaviour {
            Behaviour::Builtin(strategy) => {
                let object = stored(strategy, object);
                let value = |field: &Field| (Cow::Borrowed(field.name), (field.get)(&object, field.name));
                strategy.fields.iter().map(value).collect()
            }
            Behaviour::Custom(custom) => custom.selectable(object),
        }
    }

    /// The name under which a selectable field is found in stored objects.
    pub fn stored_field<'a>(&self, name: &'a str) -> &'a str {
        let Behaviour::Builtin(strategy) = &self.behaviour else { return name };
        let Some(versions) = strategy.versions.as_ref().filter(|v| v.stored != self.api_version()) else { return name };
        versions.fields.iter().find(|(served, _)| *served == name).map_or(name, |(_, stored)| stored)
    }

    pub fn selectable_names(&self) -> &[Cow<'static, str>] {
        &self.fields
    }

    /// Where the scale subresource finds its numbers.
    pub fn scale(&self) -> Option<ScalePaths> {
        match &self.behaviour {
            Behaviour::Builtin(strategy) => strategy.scale.cloned(),
            Behaviour::Custom(custom) => custom.scale.clone(),
        }
    }

    /// The seconds a delete without options gives the object to end; `None` where deletion is at once, `Some(0)` for
    /// a pod that has nothing to end.
    pub fn grace_period(&self, object: &Value) -> Option<i64> {
        self.graceful(object, None)
    }

    /// As [`Kind::grace_period`], for a delete that asks for a period of its own.
    pub fn graceful(&self, object: &Value, asked: Option<i64>) -> Option<i64> {
        (self.strategy().grace_period)(object, asked)
    }

    /// What becomes of dependents when the delete does not say.
    pub fn default_propagation(&self) -> Propagation {
        self.strategy().propagation
    }

    /// May an update create the object?
    pub fn allows_create_on_update(&self) -> bool {
        self.strategy().create_on_update
    }

    /// May an update come without a resourceVersion?
    pub fn allows_unconditional_update(&self) -> bool {
        self.strategy().unconditional_update
    }

    /// From this version's form to the stored one.
    pub fn to_storage(&self, object: Value) -> Value {
        match &self.behaviour {
            Behaviour::Builtin(strategy) => into_stored(strategy, object),
            Behaviour::Custom(custom) => custom.to_storage(object),
        }
    }

    /// From the stored form to this version's.
    pub fn from_storage(&self, object: Value) -> Value {
        match &self.behaviour {
            Behaviour::Builtin(strategy) => match &strategy.versions {
                Some(versions) => (versions.from_stored)(object, &self.api_version()),
                None => object,
            },
            Behaviour::Custom(_) => crate::strategy::with_api_version(object, self.api_version()),
        }
    }

    /// The structural schema of a custom resource.
    pub fn schema(&self) -> Option<&Arc<pilothouse_schema::Schema>> {
        self.custom().map(|custom| &custom.schema)
    }

    /// The OpenAPI schema of a custom resource as its definition has it; null for none.
    pub fn written_schema(&self) -> Option<&Arc<Value>> {
        self.custom().map(|custom| &custom.written)
    }

    /// What the versions of a custom resource share.
    pub fn definition(&self) -> Option<&Arc<Definition>> {
        self.custom().map(|custom| &custom.definition)
    }

    /// What a client that uses this version is to be told.
    pub fn deprecation(&self) -> Option<&str> {
        self.custom().and_then(|custom| custom.deprecation.as_deref())
    }

    fn custom(&self) -> Option<&Arc<Custom>> {
        match &self.behaviour {
            Behaviour::Builtin(_) => None,
            Behaviour::Custom(custom) => Some(custom),
        }
    }

    /// The kinds of a CustomResourceDefinition, one per version, and whether that version is served.
    ///
    /// # Errors
    /// A sentence on what in the definition cannot be understood.
    pub fn from_crd(definition: &Value) -> Result<Vec<(Self, bool)>, String> {
        crate::custom::from_crd(definition)
    }
}

/// The object in its stored form.
fn stored<'a>(strategy: &Strategy, object: &'a Value) -> Cow<'a, Value> {
    match &strategy.versions {
        Some(versions) if object.text("apiVersion") != versions.stored => {
            Cow::Owned((versions.to_stored)(object.clone()))
        }
        _ => Cow::Borrowed(object),
    }
}

fn into_stored(strategy: &Strategy, object: Value) -> Value {
    match &strategy.versions {
        Some(versions) if object.text("apiVersion") != versions.stored => (versions.to_stored)(object),
        _ => object,
    }
}

/// Everything at the top level but `spared` comes from `old`.
fn keep_all_but(new: &mut Value, old: &Value, spared: &[&str]) {
    let Some(map) = new.as_object_mut() else { return };
    map.retain(|key, _| spared.contains(&key.as_str()));
    for (key, value) in old.as_object().into_iter().flatten() {
        if !spared.contains(&key.as_str()) {
            map.insert(key.clone(), value.clone());
        }
    }
}

impl Generation {
    /// `form` is that of a built-in kind.
    fn counts(self, form: Option<&Arc<pilothouse_schema::Schema>>, new: &Value, old: &Value) -> bool {
        let differ = |key: &str| match form.and_then(|form| form.field(key)) {
            Some(field) => !pilothouse_schema::same_field(field, new, old),
            None => !semantic_eq(&new[key], &old[key]),
        };
        match self {
            Self::None | Self::Once => false,
            Self::Spec | Self::SpecFromZero => differ("spec"),
            Self::SpecAndAnnotations => {
                let annotations = "metadata.annotations";
                differ("spec") || !semantic_eq(new.at(annotations), old.at(annotations))
            }
            Self::AllButStatusAndLabels => {
                let labels = "metadata.labels";
                Self::AllButStatus.counts(form, new, old) || !semantic_eq(new.at(labels), old.at(labels))
            }
            Self::AllButStatus => {
                let spared = |key: &str| matches!(key, "metadata" | "status" | "apiVersion" | "kind");
                let keys = |v: &Value| -> Vec<String> {
                    v.as_object().into_iter().flatten().map(|(k, _)| k.clone()).filter(|k| !spared(k)).collect()
                };
                keys(new).iter().chain(&keys(old)).any(|key| differ(key))
            }
        }
    }
}

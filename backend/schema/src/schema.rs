//! `Schema`: the shape of an object, as far as decoding, patching and field ownership need it.
//!
//! Invariants: schemas are shared (`Arc`) and never change once built; a named definition exists once, so schemas of
//! recursive types are cyclic through [`Slot`]s, which are filled before anyone outside this crate sees them.
//! Descriptions are not kept here: they are needed for OpenAPI only, which reads the raw definitions.

use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::Value;

use crate::structural::Rules;

/// The place of a named definition, shared by all that refer to it.
pub type Slot = Arc<OnceLock<Arc<Schema>>>;

/// What a root kind is called on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk {
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
}

impl Gvk {
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }
    /// `v1` of the core group, `apps/v1` of a named one.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// One type.
#[derive(Debug, Default)]
pub struct Schema {
    /// The definition's OpenAPI name, `io.k8s.api.core.v1.PodSpec`; none for inline types.
    pub name: Option<Box<str>>,
    /// Set on kinds that are served: `decode` checks `apiVersion` and `kind` of the body against it.
    pub gvk: Option<Gvk>,
    pub node: Node,
    /// `x-kubernetes-map-type: atomic` on the type itself: it is owned and replaced as one value.
    pub atomic: bool,
    /// Of custom resources: everything beyond the shape (defaults, validation, what is kept unpruned).
    pub rules: Option<Box<Rules>>,
}

/// The shape of a value.
#[derive(Debug, Default)]
pub enum Node {
    /// Any JSON: not checked. `atomic` says whether field ownership looks inside it.
    Any {
        atomic: bool,
    },
    Struct(Struct),
    Map(Ref),
    List(List),
    #[default]
    String,
    Boolean,
    Int32,
    Int64,
    Number,
    /// `format: byte`: base64 text.
    Bytes,
    IntOrString,
    Quantity,
    /// RFC 3339 to the second.
    Time,
    /// RFC 3339 to the microsecond.
    MicroTime,
    /// One of several shapes (`JSONSchemaPropsOrBool` and its like): the first that fits the value's JSON type.
    OneOf(Vec<Ref>),
}

/// An object with known fields.
#[derive(Debug, Default)]
pub struct Struct {
    /// Sorted by name.
    pub fields: Vec<Field>,
    /// Fields that are not named are kept (custom resources only).
    pub preserve_unknown: bool,
    /// The shape of fields that are not named, where both are allowed.
    pub rest: Option<Ref>,
}

impl Struct {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| (*f.name).cmp(name)).ok().and_then(|i| self.fields.get(i))
    }
}

/// One field of an object.
#[derive(Debug)]
pub struct Field {
    pub name: Box<str>,
    pub schema: Ref,
    pub required: bool,
    /// `x-kubernetes-map-type` of the field where it differs from its type's: `Some(true)` atomic, `Some(false)` granular.
    pub atomic: Option<bool>,
    /// `x-kubernetes-patch-strategy` names `retainKeys`.
    pub retain_keys: bool,
    /// `x-kubernetes-patch-strategy` is `replace`.
    pub replace: bool,
    /// A struct of a custom resource that is always there, if only empty: nobody owns its mere presence. Objects of
    /// built-in types come with what they always have ([`crate::complete`]).
    pub by_value: bool,
    /// The value of an absent field; only used to complete the keys of list maps.
    pub default: Option<Value>,
    pub shape: Shape,
}

/// How Go holds and writes a field of a built-in type; nothing is said of custom resources.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// Written even when there is nothing in it.
    pub written: bool,
    /// Held by a pointer and written all the same: `null` when there is nothing.
    pub null: bool,
    /// A zero is as good as nothing: it is not written.
    pub omitted: bool,
    /// The embedded types by way of which a struct has the field: `VolumeSource`.
    pub way: &'static str,
    /// The named type of a scalar, or of the values of a list or map: `v1.RestartPolicy`.
    pub of: &'static str,
    /// The named type of a list or map: `v1.ResourceList`.
    pub is: &'static str,
}

/// An array.
#[derive(Debug)]
pub struct List {
    pub of: Ref,
    pub kind: ListKind,
    /// Strategic merge: merge items instead of replacing the list.
    pub patch_merge: bool,
    /// Strategic merge: the field that names an item; none for lists of scalars.
    pub patch_merge_key: Option<Box<str>>,
    /// Strategic merge: fields that the patch does not name are dropped from merged items.
    pub retain_keys: bool,
}

/// How the items of a list are told apart by field ownership (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    /// Keyed by these fields of its items.
    Map(Vec<Box<str>>),
}

/// A schema in place, or by name.
#[derive(Debug, Clone)]
pub enum Ref {
    Inline(Arc<Schema>),
    Named(Slot),
}

static ANY: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Arc::new(Schema { node: Node::Any { atomic: true }, ..Schema::default() }));

static DEDUCED: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Arc::new(Schema { node: Node::Any { atomic: false }, ..Schema::default() }));

impl Ref {
    /// The schema itself. A name that nothing defines stands for any value.
    pub fn get(&self) -> &Arc<Schema> {
        match self {
            Self::Inline(schema) => schema,
            Self::Named(slot) => slot.get().unwrap_or_else(|| &*ANY),
        }
    }
}

impl Schema {
    pub fn of(node: Node) -> Self {
        Self { node, ..Self::default() }
    }
    /// Any JSON value, owned as one: the schema of what has none.
    pub fn any() -> &'static Arc<Self> {
        &ANY
    }
    /// Any JSON value, owned by the keys of its objects.
    pub fn deduced() -> &'static Arc<Self> {
        &DEDUCED
    }
    pub fn field(&self, name: &str) -> Option<&Field> {
        match &self.node {
            Node::Struct(s) => s.field(name),
            _ => None,
        }
    }
}

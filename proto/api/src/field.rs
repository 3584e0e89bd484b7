//! Field paths and field errors, worded as Kubernetes words them: clients match on these texts.

use std::fmt;

/// A path into an object, printed as `spec.containers[0].name` or `metadata.labels[app.kubernetes.io/name]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    pub fn root() -> Self {
        Self::default()
    }
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// The kind of a field error; its name on the wire is the cause's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl ErrorType {
    /// The `reason` of a `StatusCause`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
    /// The words a person reads.
    pub fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorType,
    pub field: Path,
    /// The offending value as it is printed (strings quoted), if it is printed.
    pub value: Option<String>,
    pub detail: String,
}

/// A value as Kubernetes prints it in an error: strings quoted, numbers and booleans bare, the rest as JSON.
pub fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

impl Error {
    pub fn required(field: Path, detail: impl Into<String>) -> Self {
        Self { kind: ErrorType::Required, field, value: None, detail: detail.into() }
    }
    pub fn invalid(field: Path, value: impl Into<serde_json::Value>, detail: impl Into<String>) -> Self {
        Self { kind: ErrorType::Invalid, field, value: Some(shown(&value.into())), detail: detail.into() }
    }
    pub fn type_invalid(field: Path, value: impl Into<serde_json::Value>, detail: impl Into<String>) -> Self {
        Self { kind: ErrorType::TypeInvalid, field, value: Some(shown(&value.into())), detail: detail.into() }
    }
    pub fn duplicate(field: Path, value: impl Into<serde_json::Value>) -> Self {
        Self { kind: ErrorType::Duplicate, field, value: Some(shown(&value.into())), detail: String::new() }
    }
    pub fn not_found(field: Path, value: impl Into<serde_json::Value>) -> Self {
        Self { kind: ErrorType::NotFound, field, value: Some(shown(&value.into())), detail: String::new() }
    }
    pub fn not_supported(field: Path, value: impl Into<serde_json::Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        Self { kind: ErrorType::NotSupported, field, value: Some(shown(&value.into())), detail }
    }
    pub fn forbidden(field: Path, detail: impl Into<String>) -> Self {
        Self { kind: ErrorType::Forbidden, field, value: None, detail: detail.into() }
    }
    pub fn internal(field: Path, detail: impl Into<String>) -> Self {
        Self { kind: ErrorType::Internal, field, value: None, detail: detail.into() }
    }
    pub fn too_long(field: Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self { kind: ErrorType::TooLong, field, value: None, detail: format!("may not be more than {max} {unit}") }
    }
    pub fn too_many(field: Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self {
            kind: ErrorType::TooMany,
            field,
            value: Some(actual.to_string()),
            detail: format!("must have at most {max} {unit}"),
        }
    }
    /// The same error about a value that is shown in another form, or (`None`) not at all.
    #[must_use]
    pub fn showing(self, value: Option<String>) -> Self {
        Self { value, ..self }
    }
    /// The message of the cause: the error without its field.
    pub fn body(&self) -> String {
        let mut out = self.kind.title().to_owned();
        if let Some(value) = &self.value {
            out.push_str(": ");
            out.push_str(value);
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// All that is wrong with one object.
pub type ErrorList = Vec<Error>;

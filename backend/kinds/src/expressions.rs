//! The expressions of admission: what they may name, and what they must give. Webhooks' conditions and policies are
//! checked with this when they are written, and compiled with this when they are used.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#validation-expression>

use std::collections::BTreeMap;
use std::sync::Arc;

use pilothouse_cel::{Env, Field, ObjectType, Program, Type, compile};

/// What an expression may name besides `object`, `oldObject` and `request`.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub params: bool,
    pub namespace_object: bool,
    pub authorizer: bool,
    /// The policy's variables, in their order; None where there are none to name.
    pub variables: Option<Vec<(String, Type)>>,
    /// The types of `object`, `oldObject` and `params`; anything when they are not known.
    pub object: Option<Type>,
    pub params_type: Option<Type>,
}

impl Names {
    /// Of a webhook's conditions.
    pub fn of_webhook() -> Self {
        Self { authorizer: true, ..Self::default() }
    }

    fn env(&self) -> Env {
        let object = self.object.clone().unwrap_or(Type::Dyn);
        let mut env = Env::new().with("object", object.clone()).with("oldObject", object).with("request", request());
        if self.params {
            env = env.with("params", self.params_type.clone().unwrap_or(Type::Dyn));
        }
        if self.namespace_object {
            env = env.with("namespaceObject", Type::Dyn);
        }
        if self.authorizer {
            env = env.with("authorizer", Type::Dyn);
        }
        if let Some(variables) = &self.variables {
            let fields = variables.iter().map(|(name, of)| (name.as_str(), of.clone()));
            env = env.with("variables", object_type("kubernetes.variables", fields));
        }
        env
    }
}

/// What an expression must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Bool,
    Text,
    TextOrNull,
    Anything,
    /// `Object{…}`.
    Configuration,
    /// A list of `JSONPatch{…}`.
    Patch,
}

impl Wanted {
    fn takes(self, of: &Type) -> bool {
        match (self, of) {
            (Self::Anything, _) => true,
            // What may be anything is not known to be true or false.
            (Self::Bool, of) => *of == Type::Bool,
            // Some of what upstream knows to be a text is not known here.
            (_, Type::Dyn) => true,
            (Self::Text, of) => matches!(of, Type::String(_)),
            (Self::TextOrNull, of) => matches!(of, Type::String(_) | Type::Null),
            (Self::Configuration, of) => matches!(of, Type::Object(_) | Type::Map(..)),
            (Self::Patch, Type::List(item, ..)) => match &**item {
                Type::Object(of) => of.name == "JSONPatch",
                item => matches!(item, Type::Dyn | Type::Free),
            },
            (Self::Patch, _) => false,
        }
    }
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Text => "string",
            Self::TextOrNull => "one of [string null_type]",
            Self::Anything => "dyn",
            Self::Configuration => "Object",
            Self::Patch => "list(JSONPatch)",
        }
    }
}

/// Compiles an expression.
///
/// # Errors
/// `compilation failed: …`, `must evaluate to …`.
pub fn expression(source: &str, names: &Names, wanted: Wanted) -> Result<Program, String> {
    let program = compile(source, &names.env()).map_err(|error| format!("compilation failed: {error}"))?;
    if wanted.takes(program.result()) {
        Ok(program)
    } else {
        Err(format!("must evaluate to {} but got {}", wanted.name(), program.result()))
    }
}

fn object_type<'a>(name: &str, fields: impl IntoIterator<Item = (&'a str, Type)>) -> Type {
    let fields: BTreeMap<String, Field> =
        fields.into_iter().map(|(name, of)| (name.to_owned(), Field { name: name.to_owned(), of })).collect();
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}

/// The type of `request`: an AdmissionRequest without its objects.
fn request() -> Type {
    let kind = || {
        let fields = ["group", "version", "kind"].map(|name| (name, Type::STRING));
        object_type("kubernetes.GroupVersionKind", fields)
    };
    let resource = || {
        let fields = ["group", "version", "resource"].map(|name| (name, Type::STRING));
        object_type("kubernetes.GroupVersionResource", fields)
    };
    let user = object_type(
        "kubernetes.UserInfo",
        [
            ("username", Type::STRING),
            ("uid", Type::STRING),
            ("groups", Type::list(Type::STRING)),
            ("extra", Type::map(Type::STRING, Type::list(Type::STRING))),
        ],
    );
    let mut fields = vec![
        ("kind", kind()),
        ("requestKind", kind()),
        ("resource", resource()),
        ("requestResource", resource()),
        ("userInfo", user),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ];
    fields.extend(["subResource", "requestSubResource", "name", "namespace", "operation"].map(|n| (n, Type::STRING)));
    object_type("kubernetes.AdmissionRequest", fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expressions_may_say() {
        let check =
            |source: &str, names: &Names, wanted: Wanted| expression(source, names, wanted).err().unwrap_or_default();
        let webhook = Names::of_webhook();
        for good in [
            "object.metadata.name != 'x'",
            "request.userInfo.groups.exists(g, g == 'system:masters')",
            "authorizer.group('').resource('pods').check('get').allowed()",
            "request.operation == 'DELETE' ? oldObject.a == 1 : !object.a",
        ] {
            assert_eq!(check(good, &webhook, Wanted::Bool), "", "{good}");
        }
        for (bad, why) in [
            ("... [}", "compilation failed: ERROR: <input>:1:"),
            ("params.a == 1", "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'"),
            ("request.nonsense == 1", "compilation failed: ERROR: <input>:1:8: undefined field 'nonsense'"),
            ("'text'", "must evaluate to bool but got string"),
            ("object.spec.paused", "must evaluate to bool but got dyn"),
        ] {
            let said = check(bad, &webhook, Wanted::Bool);
            assert!(said.starts_with(why), "{bad}: {said}");
        }
        let policy = Names {
            params: true,
            namespace_object: true,
            variables: Some(vec![("count".into(), Type::Int)]),
            ..Names::default()
        };
        assert_eq!(check("variables.count > params.least", &policy, Wanted::Bool), "");
        assert!(check("variables.other > 1", &policy, Wanted::Bool).contains("undefined field 'other'"));
        assert!(check("authorizer.path('/x').check('get').allowed()", &policy, Wanted::Bool).contains("undeclared"));
        assert_eq!(check("Object{spec: Object.spec{replicas: 3}}", &policy, Wanted::Configuration), "");
        assert_eq!(check("[JSONPatch{op: 'remove', path: '/spec'}]", &policy, Wanted::Patch), "");
        for (source, said) in [
            ("'x'", "must evaluate to list(JSONPatch) but got string"),
            ("[1]", "must evaluate to list(JSONPatch) but got list(int)"),
            ("JSONPatch{op: 'add'}", "must evaluate to list(JSONPatch) but got JSONPatch"),
            ("['a'].map(x, JSONPatch{op: 'remove', path: '/' + x})", ""),
            ("object.a ? [JSONPatch{op: 'remove', path: '/a'}] : []", ""),
        ] {
            assert_eq!(check(source, &policy, Wanted::Patch), said, "{source}");
        }
        for (source, said) in [
            (
                "[JSONPatch{op: 'a'}][JSONPatch{op: 'a'}]",
                "found no matching overload for '_[_]' applied to '(list(JSONPatch), JSONPatch)'",
            ),
            ("[JSONPatch{op: 1, path: '/spec'}]", "expected type of field 'op' is 'string' but provided type is 'int'"),
            ("[JSONPatch{opp: 'x'}]", "expected type of field 'opp' is '' but provided type is 'string'"),
        ] {
            let found = check(source, &policy, Wanted::Patch);
            assert!(found.contains(said), "{source}: {found}");
        }
    }
}

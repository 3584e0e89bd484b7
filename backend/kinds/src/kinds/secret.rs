//! Secret. Source: <https://kubernetes.io/docs/concepts/configuration/secret/>

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::config_map::{MAX_BYTES, decoded_len, frozen};
use crate::{
    checks::{immutable, push_all},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Field, Strategy},
    value::{Look, MapExt, object},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    default,
    validate,
    validate_update,
    columns: &[NAME, Column::text("Type"), Column::text("Data"), AGE],
    row,
    fields: &[Field::path("type")],
    ..Strategy::PLAIN
};

const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.name";

fn row(secret: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(secret), secret.text("type").into(), secret.entries("data").count().into(), age(secret, now)]
}

/// `stringData` is for writing only: it goes into `data`.
fn default(secret: &mut Value) {
    let plain = secret.as_object_mut().and_then(|map| map.remove("stringData"));
    if let Some(Value::Object(plain)) = plain {
        let data = object(secret, "data");
        for (key, value) in plain {
            data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
        }
    }
    secret.or_set("type", "Opaque");
}

fn validate(secret: &Value, errors: &mut ErrorList) {
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in secret.entries("data") {
        push_all(names::is_config_map_key(key), key, &path.key(key), errors);
        size += value.as_str().map_or(0, decoded_len);
    }
    if size > MAX_BYTES {
        errors.push(Error::too_long(path.clone(), MAX_BYTES));
    }
    let data = |key: &str| secret.at("data").get(key).and_then(Value::as_str);
    let mut missing = |keys: &[&str]| {
        for key in keys.iter().filter(|key| data(key).is_none()) {
            errors.push(Error::required(path.key(key), ""));
        }
    };
    match secret.text("type") {
        "kubernetes.io/service-account-token" => {
            let account = secret.at("metadata.annotations").get(SERVICE_ACCOUNT).and_then(Value::as_str);
            if account.unwrap_or_default().is_empty() {
                let path = Path::new("metadata").child("annotations").key(SERVICE_ACCOUNT);
                errors.push(Error::required(path, ""));
            }
        }
        "kubernetes.io/dockercfg" => json_key(data(".dockercfg"), &path.key(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => json_key(data(".dockerconfigjson"), &path.key(".dockerconfigjson"), errors),
        "kubernetes.io/basic-auth" if data("username").is_none() && data("password").is_none() => {
            missing(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if data("ssh-privatekey").unwrap_or_default().is_empty() => {
            errors.push(Error::required(path.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => missing(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

/// A key that must hold a JSON object. Nothing of what it holds is shown.
fn json_key(value: Option<&str>, path: &Path, errors: &mut ErrorList) {
    let Some(value) = value else { return errors.push(Error::required(path.clone(), "")) };
    let bytes = STANDARD.decode(value).unwrap_or_default();
    if let Err(wrong) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        errors.push(Error::invalid(path.clone(), "<secret contents redacted>", wrong.to_string()));
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    immutable(new.at("type"), old.at("type"), &Path::new("type"), errors);
    if old.flag("immutable") {
        frozen(new, old, &["data"], errors);
    }
    validate(new, errors);
}

/// Writes one key of a Secret as its bytes.
#[cfg(test)]
fn with(key: &str, value: &str) -> Value {
    let mut secret = serde_json::json!({});
    object(&mut secret, "data").insert(key.into(), STANDARD.encode(value).into());
    secret
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn string_data_wins_over_data() {
        let mut secret = with("a", "old");
        secret["stringData"] = json!({"a": "new", "b": ""});
        default(&mut secret);
        assert_eq!(secret, json!({"data": {"a": "bmV3", "b": ""}, "type": "Opaque"}));
    }

    #[test]
    fn types_have_keys() {
        let check = |kind: &str, mut secret: Value, wrong: &[&str]| {
            secret["type"] = kind.into();
            let mut errors = ErrorList::new();
            validate(&secret, &mut errors);
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts, wrong, "{kind}");
        };
        check("Opaque", json!({}), &[]);
        check("kubernetes.io/tls", with("tls.crt", "x"), &["data[tls.key]: Required value"]);
        check("kubernetes.io/dockerconfigjson", with(".dockerconfigjson", "{}"), &[]);
        check("kubernetes.io/ssh-auth", json!({}), &["data[ssh-privatekey]: Required value"]);
        check(
            "kubernetes.io/basic-auth",
            json!({}),
            &["data[username]: Required value", "data[password]: Required value"],
        );
        check(
            "kubernetes.io/service-account-token",
            json!({}),
            &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        );
    }
}

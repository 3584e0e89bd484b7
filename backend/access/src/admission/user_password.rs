//! `UserPassword`, our own: a password Secret that comes with `password` in clear leaves with its `hash` only, so that
//! `kubectl create secret generic pilothouse-user-NAME --type=pilothouse.io/user-password --from-literal=password=…`
//! sets a password and the clear text is never stored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pilothouse_api::Status;
use pilothouse_api::field::{Error, Path};
use serde_json::{Value, json};

use super::object::map_at;
use super::{Context, Operation, Plugin, Request};
use crate::session::{self, SECRET_TYPE};
use crate::{name_of, text};

pub(super) const PLUGIN: Plugin = Plugin { name: "UserPassword", admit: Some(admit), validate: None };

const MIN_CHARACTERS: usize = 8;

fn admit(_: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    let writes = matches!(request.operation, Operation::Create | Operation::Update) && request.is("", "secrets");
    let Some(secret) = request.object.as_mut().filter(|s| writes && text(s, "/type") == SECRET_TYPE) else {
        return Ok(());
    };
    let clear = map_at(secret, &["stringData"]).remove("password");
    if map_at(secret, &["stringData"]).is_empty() {
        map_at(secret, &[]).remove("stringData");
    }
    let encoded = map_at(secret, &["data"]).remove("password");
    let decoded = || String::from_utf8(STANDARD.decode(encoded.as_ref()?.as_str()?).ok()?).ok();
    let Some(password) = clear.as_ref().and_then(Value::as_str).map(str::to_owned).or_else(decoded) else {
        return Ok(());
    };
    if password.chars().count() < MIN_CHARACTERS {
        let path = Path::new("data").child("password");
        let why = format!("must have at least {MIN_CHARACTERS} characters");
        return Err(Status::invalid("", "Secret", name_of(secret), &vec![Error::required(path, why)]));
    }
    let hash = session::hash_password(&password)?;
    map_at(secret, &["data"]).insert("hash".into(), json!(STANDARD.encode(hash)));
    Ok(())
}

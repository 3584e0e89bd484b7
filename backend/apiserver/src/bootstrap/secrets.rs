//! The cluster's own keys, shared by all backends through the database.
//!
//! Invariants: they are rows of a resource that no kind serves, so no request can read them; whichever backend comes
//! first creates them, all others take what is there; nothing of them is ever logged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use jiff::Timestamp;
use pilothouse_access::pki::Ca;
use pilothouse_access::tokens::Keys;
use pilothouse_storage::{Error as StoreError, Key, Mutation, Store, encode};
use serde_json::{Value, json};

/// The resource of rows that are never served.
pub const INTERNAL: &str = "internal";
const USER: &str = "system:apiserver";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    #[error("the cluster's certificates: {0}")]
    Certificates(#[from] pilothouse_access::pki::Error),
    #[error("the key of service account tokens: {0}")]
    Tokens(#[from] pilothouse_access::tokens::Error),
    #[error("the internal row {0:?} is damaged: {1} is missing")]
    Damaged(String, &'static str),
}

/// Certificate authorities, token keys, session key.
pub struct Secrets {
    pub ca: Ca,
    /// Of the aggregation layer: extension servers trust it for the headers that say who asks.
    pub front_proxy: Ca,
    /// PEM; signs service account tokens.
    pub token_key: String,
    pub session_key: [u8; 32],
}

/// Reads the cluster's keys; makes them when this is the first backend of a new cluster.
///
/// # Errors
/// When the database cannot be reached, or a row is damaged.
/// Boxed: an `async fn` is compiled where it is first polled, and that should be this crate.
pub fn secrets(store: &Store) -> BoxFuture<'_, Result<Secrets, Error>> {
    Box::pin(read(store))
}

async fn read(store: &Store) -> Result<Secrets, Error> {
    store.fresh().await?;
    let ca = row(store, "ca", || {
        let ca = Ca::create("kubernetes", Timestamp::now())?;
        Ok(json!({"certificate": ca.certificate_pem(), "key": ca.key_pem()}))
    })
    .await?;
    let front_proxy = row(store, "front-proxy-ca", || {
        let ca = Ca::create("front-proxy-ca", Timestamp::now())?;
        Ok(json!({"certificate": ca.certificate_pem(), "key": ca.key_pem()}))
    })
    .await?;
    let token = row(store, "service-account-key", || Ok(json!({"key": Keys::generate_pem()?}))).await?;
    let session = row(store, "session-key", || {
        let key: [u8; 32] = rand::random();
        Ok(json!({"key": STANDARD.encode(key)}))
    })
    .await?;
    let text = |of: &Value, row: &str, field: &'static str| {
        of[field].as_str().map(str::to_owned).ok_or_else(|| Error::Damaged(row.to_owned(), field))
    };
    let session_key = STANDARD.decode(text(&session, "session-key", "key")?).ok();
    let session_key = session_key.and_then(|bytes| bytes.try_into().ok());
    Ok(Secrets {
        ca: Ca::load(&text(&ca, "ca", "certificate")?, &text(&ca, "ca", "key")?)?,
        front_proxy: Ca::load(
            &text(&front_proxy, "front-proxy-ca", "certificate")?,
            &text(&front_proxy, "front-proxy-ca", "key")?,
        )?,
        token_key: text(&token, "service-account-key", "key")?,
        session_key: session_key.ok_or_else(|| Error::Damaged("session-key".to_owned(), "key"))?,
    })
}

/// The data of an internal row, made by `make` when it is not there.
async fn row(store: &Store, name: &str, make: impl FnOnce() -> Result<Value, Error>) -> Result<Value, Error> {
    let key = Key::new(INTERNAL, "", name);
    if let Some(found) = store.get(&key) {
        return Ok(found.value()["data"].clone());
    }
    let object = json!({"apiVersion": "internal/v1", "kind": "Secret", "metadata": {"name": name}, "data": make()?});
    match store.write(Mutation::create(key.clone(), encode(&object)?, USER)).await {
        Ok(written) => Ok(written.value()["data"].clone()),
        Err(StoreError::AlreadyExists) => {
            // Another backend was faster.
            store.fresh().await?;
            let found = store.get(&key).ok_or(StoreError::NotFound)?;
            Ok(found.value()["data"].clone())
        }
        Err(error) => Err(error.into()),
    }
}

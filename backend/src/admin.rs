//! What the administrator is handed: a kubeconfig, the first dashboard user's password, the CA, a bootstrap token.
//!
//! Invariants: files with secrets have mode 0600; a password is written once and never again, so one that was changed
//! is not undone; without `--data-dir` nothing is written.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::{Client, Error as KubeError};
use pilothouse_access::pki::{Credential, Kubeconfig, Validity};
use pilothouse_access::{UserInfo, groups, names, session, tokens};
use pilothouse_apiserver::{ApiServer, Secrets};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Server;

const ADMIN: &str = "admin";
const RETRY: Duration = Duration::from_millis(300);
/// The bootstrap token lives this long and is renewed long before.
const TOKEN_HOURS: i64 = 24;
const TOKEN_RENEWAL: Duration = Duration::from_secs(6 * 3600);

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let partial = path.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path).with_context(|| format!("writing {}", path.display()))
}

fn kubeconfig(secrets: &Secrets, port: u16) -> Result<String> {
    let issued = secrets.ca.issue_admin(Validity::one_year(Timestamp::now()))?;
    let kubeconfig = Kubeconfig {
        cluster: "pilothouse",
        server: &format!("https://127.0.0.1:{port}"),
        ca_pem: secrets.ca.certificate_pem(),
        user: names::ADMIN,
        credential: Credential::ClientCertificate {
            certificate_pem: &issued.certificate_pem,
            key_pem: &issued.key_pem,
        },
    };
    Ok(kubeconfig.render())
}

fn exists(error: &KubeError) -> bool {
    matches!(error, KubeError::Api(status) if status.code == 409)
}

/// Creates an object of any kind; whether it is new.
async fn create(client: &Client, resource: &ApiResource, namespace: Option<&str>, object: Value) -> Result<bool> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    match api.create(&PostParams::default(), &serde_json::from_value(object)?).await {
        Ok(_) => Ok(true),
        Err(error) if exists(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The first dashboard user; its password is kept only in the file.
async fn first_user(client: &Client, dir: &Path) -> Result<()> {
    let file = dir.join("admin-password");
    let resource = ApiResource::erase::<Secret>(&());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let users = ApiResource {
        group: "pilothouse.io".into(),
        version: "v1".into(),
        api_version: "pilothouse.io/v1".into(),
        kind: "User".into(),
        plural: "users".into(),
    };
    create(client, &users, None, session::user_object(ADMIN, "Administrator", &[groups::MASTERS])).await?;
    if secrets.get_opt(&format!("pilothouse-user-{ADMIN}")).await?.is_some() {
        return Ok(());
    }
    // The file first: a password that was set but lost with a crash would lock everybody out.
    let password = match fs::read_to_string(&file) {
        Ok(password) if !password.trim().is_empty() => password.trim().to_owned(),
        _ => {
            let password = session::password::random();
            write(&file, &format!("{password}\n"), 0o600)?;
            password
        }
    };
    let hash = tokio::task::spawn_blocking(move || session::password::hash(&password)).await??;
    if create(client, &resource, Some("kube-system"), session::password_secret(ADMIN, &hash)).await? {
        info!(file = %file.display(), "the first administrator's password was written");
    }
    Ok(())
}

/// A token with which nodes join; the same one for as long as it is good.
async fn bootstrap_token(client: &Client, dir: &Path) -> Result<()> {
    let file = dir.join("bootstrap-token");
    let expires = Timestamp::now().checked_add(TOKEN_HOURS.hours())?;
    let token = match fs::read_to_string(&file) {
        Ok(token) if tokens::bootstrap::split(token.trim()).is_some() => token.trim().to_owned(),
        _ => tokens::bootstrap::generate(),
    };
    let object = tokens::bootstrap::secret(&token, Some(expires), "joins the nodes of this installation")
        .context("a malformed bootstrap token")?;
    let secret: Secret = serde_json::from_value(object)?;
    let api: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let name = secret.metadata.name.clone().context("a bootstrap token has a name")?;
    let params = kube::api::PatchParams::apply("pilothouse-server").force();
    api.patch(&name, &params, &kube::api::Patch::Apply(&secret)).await?;
    write(&file, &format!("{token}\n"), 0o600)
}

async fn once(api: &ApiServer, secrets: &Secrets, dir: &Path, port: u16) -> Result<()> {
    let client = api.client(UserInfo::new("system:apiserver", &[groups::MASTERS, groups::AUTHENTICATED]));
    write(&dir.join("ca.crt"), secrets.ca.certificate_pem(), 0o644)?;
    first_user(&client, dir).await?;
    bootstrap_token(&client, dir).await?;
    // Last: whoever finds it may expect everything else.
    write(&dir.join("kubeconfig"), &kubeconfig(secrets, port)?, 0o600)
}

/// Writes the files as soon as the API is ready, and keeps the bootstrap token good.
pub async fn provide(api: &ApiServer, secrets: &Secrets, config: &Server, shutdown: &CancellationToken) -> Result<()> {
    let Some(dir) = &config.data_dir else { return Ok(()) };
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let port = config.listen.first().map_or(6443, std::net::SocketAddr::port);
    while !shutdown.is_cancelled() {
        let pause = if !api.is_ready() {
            Duration::from_millis(20)
        } else {
            match once(api, secrets, dir, port).await {
                Ok(()) => TOKEN_RENEWAL,
                Err(error) => {
                    warn!("the administrator's files could not be written: {error:#}");
                    RETRY
                }
            }
        };
        tokio::select! { () = sleep(pause) => {}, () = shutdown.cancelled() => {} }
    }
    Ok(())
}

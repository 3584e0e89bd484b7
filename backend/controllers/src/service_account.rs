//! Every active namespace has a ServiceAccount `default`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::error::{Error, Next, Result};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};

pub const CONTROLLER: Controller = Controller { name: "service-account-controller", workers: 1, start };

pub const DEFAULT: &str = "default";

fn start(cx: Context) -> Reconcile {
    cx.caches.namespaces.on(cx.enqueue());
    cx.caches.service_accounts.on({
        let queue = cx.queue.clone();
        move |change| {
            if &*change.key.name == DEFAULT && change.new.is_none() {
                queue.add(Key::cluster(&change.key.namespace));
            }
        }
    });
    reconciler(cx, reconcile)
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(namespace) = cx.caches.namespaces.get(&key) else { return Ok(None) };
    let there = cx.caches.service_accounts.get(&Key::new(&key.name, DEFAULT)).is_some();
    if namespace.metadata.deletion_timestamp.is_some() || there {
        return Ok(None);
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT.into()),
            namespace: Some(key.name.to_string()),
            ..Default::default()
        },
        ..Default::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(cx.client.clone(), &key.name);
    match api.create(&PostParams::default(), &account).await.map_err(Error::from) {
        Err(error) if error.is_already_exists() || error.is_namespace_terminating() || error.is_not_found() => Ok(None),
        other => other.map(|_| None),
    }
}

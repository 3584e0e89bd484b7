//! Publishes the cluster's CA certificate in every active namespace, as the ConfigMap pods verify the API with.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::caches::ROOT_CA;
use crate::error::{Error, Next, Result};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "root-ca-cert-publisher", workers: 1, start };

const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

fn start(cx: Context) -> Reconcile {
    cx.caches.namespaces.on(cx.enqueue());
    cx.caches.root_ca_config_maps.on({
        let queue = cx.queue.clone();
        move |change| queue.add(Key::cluster(&change.key.namespace))
    });
    reconciler(cx, reconcile)
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(namespace) = cx.caches.namespaces.get(&key) else { return Ok(None) };
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let api: Api<ConfigMap> = Api::namespaced(cx.client.clone(), &key.name);
    let data = [("ca.crt".to_owned(), cx.deps.root_ca_pem.clone())].into();
    match cx.caches.root_ca_config_maps.get(&Key::new(&key.name, ROOT_CA)) {
        Some(old) => {
            let mut new = (*old).clone();
            new.data = Some(data);
            let annotations = new.metadata.annotations.get_or_insert_default();
            annotations.insert(DESCRIPTION.0.into(), DESCRIPTION.1.into());
            if new != *old {
                write::update(&api, &old, &new).await?;
            }
        }
        None => {
            let metadata = ObjectMeta {
                name: Some(ROOT_CA.into()),
                namespace: Some(key.name.to_string()),
                annotations: Some([(DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned())].into()),
                ..Default::default()
            };
            let object = ConfigMap { metadata, data: Some(data), ..Default::default() };
            match api.create(&PostParams::default(), &object).await.map_err(Error::from) {
                Err(error) if error.is_already_exists() || error.is_namespace_terminating() || error.is_not_found() => {
                }
                other => drop(other?),
            }
        }
    }
    Ok(None)
}

//! Publishes the cluster's CA certificate in every active namespace, as the ConfigMap pods verify the API with.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::caches::ROOT_CA;
use crate::error::{Error, Next, Result};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};

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
    let object = |resource_version| ConfigMap {
        metadata: ObjectMeta {
            name: Some(ROOT_CA.into()),
            namespace: Some(key.name.to_string()),
            annotations: Some([(DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned())].into()),
            resource_version,
            ..Default::default()
        },
        data: Some(data),
        ..Default::default()
    };
    match cx.caches.root_ca_config_maps.get(&Key::new(&key.name, ROOT_CA)) {
        Some(old)
            if old.data.as_ref().is_some_and(|d| d.len() == 1 && d.get("ca.crt") == Some(&cx.deps.root_ca_pem)) => {}
        Some(old) => {
            // The whole object is ours, and this role may not read it.
            api.replace(ROOT_CA, &PostParams::default(), &object(old.metadata.resource_version.clone())).await?;
        }
        None => match api.create(&PostParams::default(), &object(None)).await.map_err(Error::from) {
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() || error.is_not_found() => {}
            other => drop(other?),
        },
    }
    Ok(None)
}

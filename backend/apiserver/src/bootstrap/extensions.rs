//! What extension servers have to know to trust this one: the ConfigMap that they all read.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/#kubernetes-apiserver-client-authentication>

use http::Method;
use pilothouse_api::Status;
use serde_json::json;

use super::objects::{absent_is_fine, accept_race, send};
use crate::aggregation::NAME;
use crate::server::ApiServer;

const COLLECTION: &str = "/api/v1/namespaces/kube-system/configmaps";
const MAP: &str = "extension-apiserver-authentication";

pub async fn write(api: &ApiServer) -> Result<(), Status> {
    let data = json!({
        "client-ca-file": api.0.client_ca,
        "requestheader-client-ca-file": api.0.aggregator.authority_pem(),
        "requestheader-allowed-names": json!([NAME]).to_string(),
        "requestheader-username-headers": json!(["X-Remote-User"]).to_string(),
        "requestheader-uid-headers": json!(["X-Remote-Uid"]).to_string(),
        "requestheader-group-headers": json!(["X-Remote-Group"]).to_string(),
        "requestheader-extra-headers-prefix": json!(["X-Remote-Extra-"]).to_string(),
    });
    let path = format!("{COLLECTION}/{MAP}");
    let outcome = match absent_is_fine(send(api, Method::GET, &path, None).await)? {
        None => {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MAP}, "data": data});
            send(api, Method::POST, COLLECTION, Some(&object)).await
        }
        Some(stored) if stored["data"] == data => return Ok(()),
        Some(mut stored) => {
            stored["data"] = data;
            send(api, Method::PUT, &path, Some(&stored)).await
        }
    };
    accept_race(outcome)
}

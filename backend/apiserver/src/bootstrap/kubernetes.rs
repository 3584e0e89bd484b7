//! The Service `default/kubernetes` and its endpoints: the backends that are alive.
//!
//! Each backend holds a Lease in `kube-system` with its address; the endpoints are those of the leases that are not
//! expired. Whoever comes by puts them right.

use std::net::IpAddr;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use pilothouse_api::Status;
use serde_json::{Value, json};

use super::objects::{absent_is_fine, send};
use crate::server::ApiServer;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const NAME: &str = "kubernetes";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
/// The label of the backends' leases.
const LABEL: &str = "apiserver.pilothouse.io/identity";
/// A backend that has not confirmed its address for so long is gone.
const LEASE_SECONDS: i64 = 30;

/// Brings Service, Endpoints and EndpointSlice up to date, and confirms this backend's address.
pub async fn reconcile(api: &ApiServer) -> Result<(), Status> {
    let Some((address, port)) = advertised(api) else { return service(api, 6443).await };
    service(api, port).await?;
    confirm(api, &address.to_string()).await?;
    let addresses = alive(api, None).await?;
    endpoints(api, &addresses, port).await
}

/// Takes this backend's address out: it is about to stop.
pub async fn withdraw(api: &ApiServer) -> Result<(), Status> {
    let Some((address, port)) = advertised(api) else { return Ok(()) };
    let address = address.to_string();
    absent_is_fine(send(api, Method::DELETE, &format!("{LEASES}/{}", lease_name(&address)), None).await)?;
    let addresses = alive(api, Some(&address)).await?;
    if addresses.is_empty() {
        // The last one leaves its address: nobody could put it back in time for clients that come with the restart.
        return Ok(());
    }
    endpoints(api, &addresses, port).await
}

/// The address others can reach this backend at; a loopback address is nobody else's.
fn advertised(api: &ApiServer) -> Option<(IpAddr, u16)> {
    api.0.config.advertise.filter(|(address, _)| !address.is_loopback())
}

fn lease_name(address: &str) -> String {
    format!("apiserver-{}", address.replace([':', '.'], "-"))
}

/// The object that stands for the configured range of the Services' addresses.
async fn range(api: &ApiServer) -> Result<(), Status> {
    if absent_is_fine(send(api, Method::GET, &format!("{RANGES}/{NAME}"), None).await)?.is_some() {
        return Ok(());
    }
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": NAME},
        "spec": {"cidrs": [api.0.config.service_cidr.to_string()]},
    });
    match send(api, Method::POST, RANGES, Some(&object)).await {
        Err(status) if status.code != 409 => Err(status),
        _ => Ok(()),
    }
}

async fn service(api: &ApiServer, target: u16) -> Result<(), Status> {
    range(api).await?;
    let path = format!("{SERVICES}/{NAME}");
    if absent_is_fine(send(api, Method::GET, &path, None).await)?.is_some() {
        return Ok(());
    }
    // The first address of the Services' network, by convention.
    let network = u32::from(api.0.config.service_cidr.network());
    let address = std::net::Ipv4Addr::from(network + 1).to_string();
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": "default",
                     "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": address, "sessionAffinity": "None",
                 "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": target}]},
    });
    match send(api, Method::POST, SERVICES, Some(&object)).await {
        Err(status) if status.code != 409 => Err(status),
        _ => Ok(()),
    }
}

async fn confirm(api: &ApiServer, address: &str) -> Result<(), Status> {
    let name = lease_name(address);
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let path = format!("{LEASES}/{name}");
    match absent_is_fine(send(api, Method::GET, &path, None).await)? {
        Some(mut lease) => {
            lease["spec"]["renewTime"] = json!(now);
            send(api, Method::PUT, &path, Some(&lease)).await.map(drop)
        }
        None => {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "namespace": "kube-system", "labels": {(LABEL): "true"}},
                "spec": {"holderIdentity": address, "leaseDurationSeconds": LEASE_SECONDS,
                         "acquireTime": now, "renewTime": now},
            });
            send(api, Method::POST, LEASES, Some(&lease)).await.map(drop)
        }
    }
}

/// The addresses of the backends whose leases are not expired, sorted.
async fn alive(api: &ApiServer, but: Option<&str>) -> Result<Vec<String>, Status> {
    let list = send(api, Method::GET, &format!("{LEASES}?labelSelector={LABEL}"), None).await?;
    let oldest = Timestamp::now().saturating_sub(SignedDuration::from_secs(LEASE_SECONDS)).unwrap_or(Timestamp::MIN);
    let mut all: Vec<String> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|lease| {
            let renewed = lease["spec"]["renewTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
            renewed.is_some_and(|renewed| renewed > oldest)
        })
        .filter_map(|lease| lease["spec"]["holderIdentity"].as_str().map(str::to_owned))
        .filter(|address| Some(address.as_str()) != but)
        .collect();
    all.sort();
    all.dedup();
    Ok(all)
}

async fn endpoints(api: &ApiServer, addresses: &[String], port: u16) -> Result<(), Status> {
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let subsets = json!([{"addresses": ips, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]);
    let metadata = |labels: Value| json!({"name": NAME, "namespace": "default", "labels": labels});
    let wanted = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": metadata(json!({"endpointslice.kubernetes.io/skip-mirror": "true"})), "subsets": subsets,
    });
    put(api, ENDPOINTS, wanted, &["subsets"]).await?;
    let family = if addresses.first().is_some_and(|ip| ip.contains(':')) { "IPv6" } else { "IPv4" };
    let each: Vec<Value> =
        addresses.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    let wanted = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": metadata(json!({"kubernetes.io/service-name": NAME})),
        "endpoints": each, "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    put(api, SLICES, wanted, &["endpoints", "ports"]).await
}

/// Makes the object's `fields` as wanted, or creates it.
async fn put(api: &ApiServer, collection: &str, wanted: Value, fields: &[&str]) -> Result<(), Status> {
    let path = format!("{collection}/{NAME}");
    let outcome = match absent_is_fine(send(api, Method::GET, &path, None).await)? {
        None => send(api, Method::POST, collection, Some(&wanted)).await,
        Some(mut stored) => {
            if fields.iter().all(|field| stored[*field] == wanted[*field]) {
                return Ok(());
            }
            for field in fields {
                stored[*field] = wanted[*field].clone();
            }
            send(api, Method::PUT, &path, Some(&stored)).await
        }
    };
    match outcome {
        // Another backend does the same; the next round looks again.
        Err(status) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

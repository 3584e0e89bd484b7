//! How the node's own services are, asked by who watches over the cluster's addons.

use std::net::IpAddr;

use http::StatusCode;

use super::{Answer, Refusal, full, refuse};
use crate::dns;

/// `/healthz/dns`: whether this node's cluster DNS answers.
pub async fn cluster_dns(address: IpAddr, domain: &str) -> Result<Answer, Refusal> {
    let IpAddr::V4(address) = address else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "cluster DNS has no IPv4 address".to_owned());
    };
    match dns::health(address, domain).await {
        Ok(()) => Ok(full(StatusCode::OK, "text/plain; charset=utf-8", "ok")),
        Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

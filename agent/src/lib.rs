//! The agent: kubelet, kube-proxy and node DNS in one process.

pub mod dns;
pub mod network;
pub mod proxy;

//! The CNI configuration of this node's pods: a bridge and host-local addresses out of the node's pod network.
//!
//! Invariant: no `ipMasq` and no `portmap`: their iptables calls cost more than everything else at a pod's start, so
//! masquerade and host ports belong to the proxy's own nftables table.

use std::io;
use std::path::Path;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

pub const BRIDGE: &str = "cni0";
const FILE: &str = "10-pilothouse.conflist";

fn conflist(pod_cidr: Ipv4Net, data_dir: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pilothouse",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            // A node that joined anew may have got another range.
            "forceAddress": true,
            "hairpinMode": true,
            "ipMasq": false,
            "mtu": 1500,
            "ipam": {
                "type": "host-local",
                "dataDir": data_dir.join("cni"),
                "ranges": [[{"subnet": pod_cidr.to_string()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

/// Writes the configuration, whole or not at all; the runtime notices a new file by itself.
pub fn write(conf_dir: &Path, data_dir: &Path, pod_cidr: Ipv4Net) -> io::Result<()> {
    let text = conflist(pod_cidr, data_dir).to_string();
    let path = conf_dir.join(FILE);
    if std::fs::read_to_string(&path).is_ok_and(|former| former == text) {
        return Ok(());
    }
    std::fs::create_dir_all(conf_dir)?;
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_nodes_own_range() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), Path::new("/data"), "10.244.3.0/24".parse().unwrap()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.244.3.0/24");
        assert_eq!(value["plugins"][0]["ipMasq"], false);
    }
}

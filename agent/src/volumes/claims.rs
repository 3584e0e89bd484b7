//! PersistentVolumeClaims to volumes that are folders of this node (`hostPath`, `local`).

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::Api;

use super::host_path;
use crate::objects::message;

/// The folder behind a claim.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub path: PathBuf,
    pub read_only: bool,
    /// Whether `fsGroup` applies to it; never to a `hostPath`.
    pub owned: bool,
}

/// The claim that a volume names, if it names one.
#[must_use]
pub fn claim_name(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some((claim.claim_name.clone(), claim.read_only == Some(true)));
    }
    volume.ephemeral.as_ref()?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Some((format!("{name}-{}", volume.name), false))
}

/// # Errors
/// Why the claim cannot be used here.
pub async fn resolve(
    client: &kube::Client,
    namespace: &str,
    claim_name: &str,
    read_only: bool,
) -> Result<Claimed, String> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let claim = claims.get(claim_name).await.map_err(|error| message(&error))?;
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|_| bound);
    let Some(volume) = volume else { return Err(format!("PVC {namespace}/{claim_name} is not bound")) };
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let volume = volumes.get(&volume).await.map_err(|error| message(&error))?;
    let spec = volume.spec.unwrap_or_default();
    let ours = spec.claim_ref.as_ref().and_then(|claim| claim.uid.as_ref()) == claim.metadata.uid.as_ref();
    if !ours {
        return Err(format!("PVC {namespace}/{claim_name} and its volume do not point at each other"));
    }
    if let Some(host) = &spec.host_path {
        let path = PathBuf::from(&host.path);
        host_path::check(&path, host.type_.as_deref().unwrap_or_default())?;
        return Ok(Claimed { path, read_only, owned: false });
    }
    if let Some(local) = &spec.local {
        let path = PathBuf::from(&local.path);
        host_path::check(&path, "Directory").map_err(|_| format!("path {:?} does not exist", local.path))?;
        return Ok(Claimed { path, read_only, owned: true });
    }
    Err(format!("the volume of PVC {namespace}/{claim_name} is of a type that this node does not support"))
}

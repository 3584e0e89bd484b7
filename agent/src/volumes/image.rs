//! Images as volumes: the image's files, read only, mounted where the pod's other volumes lie.
//!
//! The runtime of today's nodes cannot do it by itself through CRI, so containerd is asked with its own tool.
//! Source: <https://kubernetes.io/docs/concepts/storage/volumes/#image>

use std::path::Path;

use tokio::process::Command;

use super::mounts::is_mounted;

pub const PLUGIN: &str = "kubernetes.io~image";

async fn ctr(socket: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args(["--namespace", "k8s.io"])
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("running ctr: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.trim().trim_start_matches("ctr: ").to_owned())
}

/// Mounts the image of this id, as the runtime knows it, if that has not been done.
///
/// # Errors
/// What containerd said.
pub async fn mount(socket: &Path, id: &str, target: &Path) -> Result<(), String> {
    std::fs::create_dir_all(target).map_err(|error| format!("making {}: {error}", target.display()))?;
    if is_mounted(target) {
        return Ok(());
    }
    let path = target.to_str().ok_or_else(|| format!("{} is no text", target.display()))?;
    let mount = ["images", "mount", id, path];
    if ctr(socket, &mount).await.is_ok() {
        return Ok(());
    }
    // The node went down with it: containerd still knows the view by its target.
    let _ = release(socket, target).await;
    ctr(socket, &mount).await
}

/// Has containerd forget the view behind a target that is not mounted any more.
///
/// # Errors
/// What containerd said.
pub async fn release(socket: &Path, target: &Path) -> Result<(), String> {
    let path = target.to_str().unwrap_or_default();
    ctr(socket, &["images", "unmount", "--rm", path]).await
}

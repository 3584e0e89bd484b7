//! OCI image archives made of busybox, so that no test needs a registry.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn add(tar: &mut tar::Builder<impl Write>, path: &str, bytes: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, path, bytes).unwrap();
}

fn layer(note: &str) -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox")
        .or_else(|_| std::fs::read("/usr/bin/busybox"))
        .expect("busybox-static is needed: apt-get install busybox-static");
    let mut tar = tar::Builder::new(Vec::new());
    for dir in ["bin/", "etc/", "tmp/", "proc/", "dev/", "sys/"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(if dir == "tmp/" { 0o1777 } else { 0o755 });
        tar.append_data(&mut header, dir, std::io::empty()).unwrap();
    }
    add(&mut tar, "bin/busybox", &busybox, 0o755);
    add(&mut tar, "etc/note", note.as_bytes(), 0o644);
    for applet in [
        "sh", "cat", "ls", "sleep", "echo", "httpd", "nc", "id", "stat", "true", "false", "test", "env", "hostname",
        "wget", "touch", "dd",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    tar.into_inner().unwrap()
}

/// Writes an archive of one image with this name and this command.
pub fn write(path: &Path, name: &str, command: &[&str]) {
    let layer = layer(name);
    let config = json!({"architecture": "amd64", "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]}})
    .to_string()
    .into_bytes();
    let part = |kind: &str, bytes: &[u8]| -> Value {
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "size": bytes.len(),
            "digest": format!("sha256:{}", digest(bytes))})
    };
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": part("config.v1+json", &config), "layers": [part("layer.v1.tar", &layer)]})
    .to_string()
    .into_bytes();
    let mut entry = part("manifest.v1+json", &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644);
    add(&mut tar, "index.json", index.as_bytes(), 0o644);
    for blob in [&layer, &config, &manifest] {
        add(&mut tar, &format!("blobs/sha256/{}", digest(blob)), blob, 0o644);
    }
    tar.finish().unwrap();
}

//! Packs files into an OCI image archive of one layer that `ctr`, `docker load` and `skopeo` read alike.
//!
//! Invariant: the same inputs give the same bytes (no times, sorted entries), so an archive's digest tells whether it
//! has to be imported again.
//! Source: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What goes into an image.
#[derive(clap::Args, Debug)]
pub struct Spec {
    /// The image's name and tag, e.g. `pilothouse.local/demo:1`.
    #[arg(long)]
    pub name: String,
    /// A file to put in, `SOURCE:/DESTINATION`, with mode 0755. May be repeated.
    #[arg(long = "file", value_name = "SOURCE:/DESTINATION")]
    pub files: Vec<String>,
    /// A symbolic link, `/LINK:TARGET`. May be repeated.
    #[arg(long = "link", value_name = "/LINK:TARGET")]
    pub links: Vec<String>,
    /// An empty folder with mode 1777. May be repeated.
    #[arg(long = "dir", value_name = "/FOLDER")]
    pub dirs: Vec<String>,
    /// A text file, `/DESTINATION=CONTENT`. May be repeated.
    #[arg(long = "text", value_name = "/DESTINATION=CONTENT")]
    pub texts: Vec<String>,
    /// An environment variable, `NAME=VALUE`. May be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// The command that runs; repeat for its arguments.
    #[arg(long = "entrypoint", required = true)]
    pub entrypoint: Vec<String>,
    /// The user (`uid` or `uid:gid`) it runs as.
    #[arg(long)]
    pub user: Option<String>,
    /// A port it listens on, e.g. `8080/tcp`.
    #[arg(long = "port")]
    pub ports: Vec<String>,
    /// Where the archive is written.
    #[arg(short, long)]
    pub output: PathBuf,
}

enum Entry {
    Folder(u32),
    File(u32, Vec<u8>),
    Link(String),
}

struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: sha256(&bytes), bytes }
    }
    fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }
    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.bytes.len()})
    }
}

fn split<'a>(text: &'a str, by: char, what: &str) -> Result<(&'a str, &'a str)> {
    text.split_once(by).with_context(|| format!("{what} {text:?}: expected a {by:?} between its two parts"))
}

fn inside(path: &str) -> Result<String> {
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() || trimmed.split('/').any(|part| part == ".." || part.is_empty()) {
        bail!("{path:?} is not an absolute path inside the image");
    }
    Ok(trimmed.to_owned())
}

/// Every entry of the layer by its path, parents included.
fn entries(spec: &Spec) -> Result<BTreeMap<String, Entry>> {
    let mut all = BTreeMap::new();
    for file in &spec.files {
        let (source, destination) = split(file, ':', "--file")?;
        let bytes = fs::read(source).with_context(|| format!("reading {source}"))?;
        all.insert(inside(destination)?, Entry::File(0o755, bytes));
    }
    for text in &spec.texts {
        let (destination, content) = split(text, '=', "--text")?;
        all.insert(inside(destination)?, Entry::File(0o644, content.replace("\\n", "\n").into_bytes()));
    }
    for link in &spec.links {
        let (link, target) = split(link, ':', "--link")?;
        all.insert(inside(link)?, Entry::Link(target.to_owned()));
    }
    for dir in &spec.dirs {
        all.insert(inside(dir)?, Entry::Folder(0o1777));
    }
    let parents: Vec<String> = all
        .keys()
        .flat_map(|path| path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect::<Vec<_>>())
        .collect();
    for parent in parents {
        all.entry(parent).or_insert(Entry::Folder(0o755));
    }
    Ok(all)
}

fn header(mode: u32, size: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(kind);
    header
}

fn layer(spec: &Spec) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, entry) in entries(spec)? {
        match entry {
            Entry::Folder(mode) => {
                tar.append_data(&mut header(mode, 0, tar::EntryType::Directory), format!("{path}/"), &[][..])?;
            }
            Entry::File(mode, bytes) => {
                let mut header = header(mode, bytes.len() as u64, tar::EntryType::Regular);
                tar.append_data(&mut header, path, bytes.as_slice())?;
            }
            Entry::Link(target) => {
                tar.append_link(&mut header(0o777, 0, tar::EntryType::Symlink), path, target)?;
            }
        }
    }
    Ok(tar.into_inner()?)
}

fn config(spec: &Spec, layer: &Blob) -> Value {
    let ports: serde_json::Map<String, Value> = spec.ports.iter().map(|port| (port.clone(), json!({}))).collect();
    let mut env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    env.extend(spec.env.iter().cloned());
    let mut run = json!({"Env": env, "Entrypoint": spec.entrypoint, "WorkingDir": "/", "ExposedPorts": ports});
    if let Some(user) = &spec.user {
        run["User"] = json!(user);
    }
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "pilothouse image pack"}],
    })
}

/// The whole archive, in memory: images of this kind are a few megabytes.
pub fn archive(spec: &Spec) -> Result<Vec<u8>> {
    let Some((_, tag)) = spec.name.rsplit_once(':') else { bail!("--name {:?} has no tag", spec.name) };
    let layer = Blob::new(layer(spec)?);
    let config = Blob::json(&config(spec, &layer));
    let manifest = Blob::json(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    }));
    let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["platform"] = json!({"architecture": "amd64", "os": "linux"});
    entry["annotations"] = json!({"io.containerd.image.name": spec.name, "org.opencontainers.image.ref.name": tag});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    let docker = json!([{
        "Config": format!("blobs/sha256/{}", config.digest),
        "RepoTags": [spec.name],
        "Layers": [format!("blobs/sha256/{}", layer.digest)],
    }]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |path: String, bytes: &[u8]| {
        let mut header = header(0o644, bytes.len() as u64, tar::EntryType::Regular);
        tar.append_data(&mut header, path, bytes)
    };
    put("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put("index.json".into(), index.to_string().as_bytes())?;
    put("manifest.json".into(), docker.to_string().as_bytes())?;
    for blob in [&config, &layer, &manifest] {
        put(format!("blobs/sha256/{}", blob.digest), &blob.bytes)?;
    }
    Ok(tar.into_inner()?)
}

/// Writes the archive whole or not at all.
pub fn run(spec: &Spec) -> Result<()> {
    let bytes = archive(spec)?;
    let parent = spec.output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let partial = spec.output.with_extension("partial");
    fs::File::create(&partial).and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))?;
    fs::rename(&partial, &spec.output).with_context(|| format!("writing {}", spec.output.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read;

    use super::*;

    fn spec(name: &str) -> Spec {
        Spec {
            name: name.into(),
            files: vec![],
            links: vec!["/bin/sh:/bin/busybox".into()],
            dirs: vec!["/tmp".into()],
            texts: vec!["/etc/passwd=root:x:0:0::/:/bin/sh\\n".into()],
            env: vec!["A=b".into()],
            entrypoint: vec!["/bin/sh".into()],
            user: None,
            ports: vec!["8080/tcp".into()],
            output: PathBuf::from("unused"),
        }
    }

    #[test]
    fn same_input_same_bytes() {
        assert_eq!(archive(&spec("a/b:1")).unwrap(), archive(&spec("a/b:1")).unwrap());
        assert_ne!(archive(&spec("a/b:1")).unwrap(), archive(&spec("a/b:2")).unwrap());
    }

    #[test]
    fn every_blob_is_what_its_name_says() {
        let bytes = archive(&spec("a/b:1")).unwrap();
        let mut names = BTreeSet::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(digest) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(digest, sha256(&content));
            }
            names.insert(path);
        }
        assert_eq!(names.len(), 6);
        assert!(names.contains("index.json") && names.contains("manifest.json") && names.contains("oci-layout"));
    }

    #[test]
    fn bad_paths_are_refused() {
        for path in ["/../etc/passwd=x", "//=x", "/a//b=x", "/a"] {
            let mut bad = spec("a/b:1");
            bad.texts = vec![path.into()];
            assert!(archive(&bad).is_err(), "{path}");
        }
    }
}

//! `hostPath`: a file or folder of the node, after a look at what it is.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Checks the path against its type, and makes it where the type says so.
///
/// # Errors
/// Upstream's words: what the path is not.
pub fn check(path: &Path, kind: &str) -> Result<(), String> {
    let shown = path.display();
    let found = fs::metadata(path);
    let failed = |what: &str| Err(format!("hostPath type check failed: {shown} is not {what}"));
    let make = |result: std::io::Result<()>| result.map_err(|error| format!("making {shown}: {error}"));
    let file_type = found.as_ref().map(fs::Metadata::file_type);
    match (kind, file_type) {
        // Without a type nothing is checked, but a path that is not there is not silently made by the runtime either.
        ("" | "DirectoryOrCreate", Err(_)) => {
            make(fs::create_dir_all(path).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755))))
        }
        ("FileOrCreate", Err(_)) => {
            make(fs::File::create_new(path).and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o644))))
        }
        ("", Ok(_)) => Ok(()),
        ("DirectoryOrCreate" | "Directory", Ok(found)) if found.is_dir() => Ok(()),
        ("FileOrCreate" | "File", Ok(found)) if found.is_file() => Ok(()),
        ("Socket", Ok(found)) if found.is_socket() => Ok(()),
        ("CharDevice", Ok(found)) if found.is_char_device() => Ok(()),
        ("BlockDevice", Ok(found)) if found.is_block_device() => Ok(()),
        ("DirectoryOrCreate" | "Directory", _) => failed("a directory"),
        ("FileOrCreate" | "File", _) => failed("a file"),
        ("Socket", _) => failed("a socket file"),
        ("CharDevice", _) => failed("a character device"),
        ("BlockDevice", _) => failed("a block device"),
        (other, _) => Err(format!("unknown hostPath type {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, kind, fine) in [
            ("file", "File", true),
            ("file", "Directory", false),
            ("file", "", true),
            ("none", "File", false),
            ("none", "Directory", false),
            ("socket", "Socket", true),
            ("file", "Socket", false),
            ("new-file", "FileOrCreate", true),
            ("new/dir", "DirectoryOrCreate", true),
            ("other", "", true),
            ("file", "BlockDevice", false),
        ] {
            assert_eq!(check(&at(name), kind).is_ok(), fine, "{name} as {kind:?}");
        }
        assert!(at("new-file").is_file() && at("new/dir").is_dir() && at("other").is_dir());
        assert_eq!(check(Path::new("/dev/null"), "CharDevice"), Ok(()));
    }
}

//! Writes a volume's files so that a reader sees all of the old ones or all of the new ones.
//!
//! Invariant: the visible names are links through `..data`, which is swapped by one rename.
//! Source of the layout: Kubernetes' `pkg/volume/util/atomic_writer.go` describes it in its comments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use super::ownership::Ownership;

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    /// The owner, when it is not root.
    pub user: Option<u32>,
}

/// The files of a volume by path relative to it.
pub type Payload = BTreeMap<String, File>;

/// A path that stays inside its volume.
pub fn check_path(path: &str) -> Result<(), String> {
    let plain = Path::new(path).components().all(|component| matches!(component, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(format!("invalid path {path:?} in a volume: it must be relative and must not contain '..'"));
    }
    Ok(())
}

fn is_current(dir: &Path, payload: &Payload) -> bool {
    let data = dir.join(DATA);
    let Ok(known) = files_below(&data) else { return false };
    known.len() == payload.len()
        && payload.iter().all(|(path, file)| {
            let path = data.join(path);
            fs::read(&path).is_ok_and(|data| data == file.data)
        })
}

fn files_below(dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            } else {
                found.insert(entry.path());
            }
        }
    }
    Ok(found)
}

/// Brings `dir` to the payload; `Ok(false)` when it was there already. `stamp` names the new generation.
pub fn write(dir: &Path, payload: &Payload, ownership: &Ownership, stamp: &str) -> io::Result<bool> {
    if is_current(dir, payload) {
        return Ok(false);
    }
    let former = fs::read_link(dir.join(DATA)).ok();
    let generation = format!("..{stamp}");
    let fresh = dir.join(&generation);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let target = fresh.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.data)?;
        // Set here, since the umask has a say in what `write` makes.
        fs::set_permissions(&target, fs::Permissions::from_mode(file.mode))?;
        if let Some(user) = file.user {
            std::os::unix::fs::chown(&target, Some(user), None)?;
        }
    }
    ownership.apply(&fresh)?;
    let next = dir.join(NEXT);
    let _ = fs::remove_file(&next);
    symlink(&generation, &next)?;
    fs::rename(&next, dir.join(DATA))?;

    let top = |path: &String| Path::new(path).components().next().map(|first| PathBuf::from(first.as_os_str()));
    let visible: BTreeSet<PathBuf> = payload.keys().filter_map(top).collect();
    for name in &visible {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let name = PathBuf::from(entry?.file_name());
        let hidden = name.to_string_lossy().starts_with("..");
        if !hidden && !visible.contains(&name) {
            fs::remove_file(dir.join(name))?;
        }
    }
    if let Some(former) = former {
        let _ = fs::remove_dir_all(dir.join(former));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.as_bytes().to_vec(), mode: 0o644, user: None };
        files.iter().map(|(path, data)| ((*path).to_owned(), file(data))).collect()
    }

    fn read(dir: &Path, path: &str) -> Option<String> {
        fs::read_to_string(dir.join(path)).ok()
    }

    #[test]
    fn old_files_are_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, own) = (dir.path(), Ownership::default());
        assert!(write(dir, &payload(&[("a", "1"), ("deep/er/b", "2")]), &own, "one").unwrap());
        assert_eq!((read(dir, "a"), read(dir, "deep/er/b")), (Some("1".into()), Some("2".into())));
        assert!(!write(dir, &payload(&[("a", "1"), ("deep/er/b", "2")]), &own, "two").unwrap(), "nothing new");
        assert!(write(dir, &payload(&[("a", "3"), ("c", "4")]), &own, "three").unwrap());
        assert_eq!((read(dir, "a"), read(dir, "c")), (Some("3".into()), Some("4".into())));
        assert_eq!(read(dir, "deep/er/b"), None);
        let left: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 4, "{left:?}");
        assert_eq!(fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
    }

    #[test]
    fn modes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = payload(&[("a", "1")]);
        files.get_mut("a").unwrap().mode = 0o400;
        write(dir.path(), &files, &Ownership::default(), "one").unwrap();
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn paths_stay_inside() {
        for good in ["a", "a/b", "a..b", ".hidden"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "..", "../a", "a/../b", "..data", "./a"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}

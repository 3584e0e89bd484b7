//! `subPath`: one file or folder of a volume.
//!
//! Invariant: what is mounted is what was checked. The path is walked without following links, the place found is
//! bound to a path of our own, and the runtime gets that one; a container that changes its volume meanwhile changes
//! nothing.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

fn error(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

/// Opens `path` below `root`, following no link on the way.
fn open_below(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut current = open(root, flags, Mode::empty())?;
    for component in path.components() {
        let Component::Normal(name) = component else { return Err(error("a subPath must not leave its volume")) };
        current = openat(current.as_fd(), name, flags, Mode::empty())?;
    }
    Ok(current)
}

/// The place that `sub` means, as a path below `root` without links; made as a folder if it is not there.
fn settle(root: &Path, sub: &Path) -> io::Result<PathBuf> {
    if sub.components().any(|component| !matches!(component, Component::Normal(_) | Component::CurDir)) {
        return Err(error("a subPath must be relative and must not contain '..'"));
    }
    let root = fs::canonicalize(root)?;
    let wanted = root.join(sub);
    // The part that exists already must lie inside, links and all, before anything is made in it.
    let mut existing = wanted.as_path();
    while fs::symlink_metadata(existing).is_err() {
        existing = existing.parent().ok_or_else(|| error("the volume is not there"))?;
    }
    let inside = |path: PathBuf| {
        let message = || error(format!("subpath {:?} not within volume path {:?}", sub, root));
        path.strip_prefix(&root).map(Path::to_owned).map_err(|_| message())
    };
    inside(fs::canonicalize(existing)?)?;
    if existing != wanted {
        fs::create_dir_all(&wanted)?;
    }
    inside(fs::canonicalize(&wanted)?)
}

/// Binds `sub` of the volume at `root` to `target`, and gives `target` back.
///
/// # Errors
/// When the path leads out of the volume, or cannot be made or mounted.
pub fn bind(root: &Path, sub: &Path, target: &Path) -> io::Result<()> {
    let place = settle(root, sub)?;
    let found = open_below(&fs::canonicalize(root)?, &place)?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    unbind(target);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::metadata(&source)?.is_dir() {
        fs::create_dir_all(target)?;
    } else {
        fs::File::create(target)?;
    }
    mount(Some(&source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    Ok(())
}

fn unbind(target: &Path) {
    while umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
    let _ = fs::remove_file(target);
    let _ = fs::remove_dir(target);
}

/// Undoes all binds below `dir` (two levels: container, index).
pub fn unbind_all(dir: &Path) {
    for container in fs::read_dir(dir).into_iter().flatten().flatten() {
        for target in fs::read_dir(container.path()).into_iter().flatten().flatten() {
            unbind(&target.path());
        }
        let _ = fs::remove_dir(container.path());
    }
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_are_settled_inside_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        fs::create_dir_all(root.join("..data")).unwrap();
        fs::write(root.join("..data/file"), "x").unwrap();
        symlink("..data/file", root.join("file")).unwrap();
        symlink("/etc", root.join("out")).unwrap();
        symlink("../..", root.join("up")).unwrap();
        assert_eq!(settle(&root, Path::new("file")).unwrap(), Path::new("..data/file"));
        assert_eq!(settle(&root, Path::new("new/dir")).unwrap(), Path::new("new/dir"));
        assert!(root.join("new/dir").is_dir());
        for bad in ["out", "out/passwd", "up", "up/x", "../x", "/etc"] {
            assert!(settle(&root, Path::new(bad)).is_err(), "{bad}");
        }
        assert!(!dir.path().join("x").exists(), "nothing is made outside");
    }

    #[test]
    fn no_link_is_followed_when_opening() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/file"), "x").unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        assert!(open_below(dir.path(), Path::new("real/file")).is_ok());
        assert!(open_below(dir.path(), Path::new("link/file")).is_err());
        assert!(open_below(dir.path(), Path::new("../x")).is_err());
    }
}

//! What is mounted where. Asked of the path itself: a node with many pods has thousands of mounts, and the list of all
//! of them is long.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

/// Whether something is mounted at `path`, which may be a file. Links are not followed.
fn is_root(path: &Path) -> io::Result<bool> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::TYPE)?;
    if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    // Linux before 5.8 does not say.
    let points = fs::read_to_string("/proc/self/mountinfo")?;
    let path = fs::canonicalize(path)?;
    Ok(points.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| Path::new(point) == path))
}

/// Whether something is mounted at `path`. What cannot be looked at is not.
pub fn is_mounted(path: &Path) -> bool {
    is_root(path).unwrap_or(false)
}

/// The first place below `dir` where something is mounted; `None` also when there is no such folder.
///
/// # Errors
/// When a folder cannot be read.
pub fn first_below(dir: &Path) -> io::Result<Option<PathBuf>> {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            match is_root(&path) {
                Ok(true) => return Ok(Some(path)),
                Ok(false) if entry.file_type()?.is_dir() => folders.push(path),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};

    use super::*;

    #[test]
    fn mounts_are_found_wherever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (deep, file) = (dir.path().join("pod/volumes/data/deep"), dir.path().join("pod/file"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink("/proc", dir.path().join("pod/link")).unwrap();
        assert_eq!(first_below(dir.path()).unwrap(), None);
        assert_eq!(first_below(&dir.path().join("absent")).unwrap(), None);
        assert!(is_mounted(Path::new("/proc")) && !is_mounted(&dir.path().join("pod/link")) && !is_mounted(&deep));
        // A folder of the same filesystem, and a file.
        let bind =
            |source: &Path, target: &Path| mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        let source = dir.path().join("source");
        fs::create_dir(&source).unwrap();
        for (source, target) in [(source.as_path(), deep.as_path()), (Path::new("/etc/hostname"), file.as_path())] {
            bind(source, target).unwrap();
            assert!(is_mounted(target));
            assert_eq!(first_below(dir.path()).unwrap().as_deref(), Some(target));
            umount2(target, MntFlags::MNT_DETACH).unwrap();
        }
        assert_eq!(first_below(dir.path()).unwrap(), None);
    }
}

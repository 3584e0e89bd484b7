//! `fsGroup`: a volume's files belong to the pod's group.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

/// More entries than this in one volume are not walked at once; no volume made here has that many.
const MAX_ENTRIES: usize = 1_000_000;

#[derive(Clone, Copy, Debug, Default)]
pub struct Ownership {
    pub group: Option<u32>,
    /// The pod only reads it.
    pub read_only: bool,
    /// Leave it alone when its root has the group already (`fsGroupChangePolicy: OnRootMismatch`).
    pub only_on_mismatch: bool,
}

impl Ownership {
    fn fits(&self, path: &Path, group: u32) -> bool {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).is_ok_and(|root| root.gid() == group && root.mode() & 0o2070 == 0o2070)
    }

    /// Gives everything at and below `path` to the group.
    pub fn apply(&self, path: &Path) -> io::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        if self.only_on_mismatch && self.fits(path, group) {
            return Ok(());
        }
        let mut waiting = vec![path.to_owned()];
        let mut seen = 0;
        while let Some(next) = waiting.pop() {
            seen += 1;
            if seen > MAX_ENTRIES {
                return Err(io::Error::other("too many files to change their group"));
            }
            let metadata = fs::symlink_metadata(&next)?;
            lchown(&next, None, Some(group))?;
            if metadata.is_symlink() {
                continue;
            }
            let mut mode = metadata.permissions().mode() | if self.read_only { 0o440 } else { 0o660 };
            if metadata.is_dir() {
                // What is made in it later belongs to the group, too.
                mode |= 0o2110;
                for entry in fs::read_dir(&next)? {
                    waiting.push(entry?.path());
                }
            }
            fs::set_permissions(&next, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

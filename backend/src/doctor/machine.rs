//! This machine: room on the disk.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::{Finding, size};

/// Percent of the disk in use: agents taint their nodes at 90.
const FULL: (u64, u64) = (85, 95);

pub fn look(home: &Path) -> Vec<Finding> {
    match statvfs(home) {
        Ok(disk) => vec![judge(disk.blocks(), disk.blocks_available(), disk.fragment_size())],
        Err(error) => vec![Finding::warning(format!("{} cannot be looked at: {error}", home.display()), "")],
    }
}

fn judge(blocks: u64, free: u64, block: u64) -> Finding {
    let used = 100 - free * 100 / blocks.max(1);
    let what = format!("{used}% of the disk are in use, {} are free", size(free * block));
    Finding::by(
        what,
        used,
        FULL.0,
        FULL.1,
        "Make room: nodes refuse pods at 90%, and PostgreSQL stops when it is full.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn room_is_judged() {
        let level = |free| judge(100, free, 4096).level;
        assert_eq!((level(50), level(14), level(3)), (Level::Good, Level::Warning, Level::Bad));
    }
}

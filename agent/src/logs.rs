//! Container logs as the runtime writes them (CRI's format), read and rotated.
//!
//! Invariants: a reader that follows sees every line once, across rotations; what is read at once is bounded.
//! Source of the format: `TIME stdout|stderr P|F TEXT`, kubernetes/design-proposals `kubelet-cri-logging.md`.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

const BLOCK: usize = 64 * 1024;
/// A line longer than this is passed on in parts; the runtime splits at 16 KiB.
const MAX_LINE: usize = 1 << 20;
/// How often a reader that follows looks for more.
const POLL: Duration = Duration::from_millis(100);
/// Upstream's `containerLogMaxSize` and `containerLogMaxFiles`.
pub const MAX_SIZE: u64 = 10 << 20;
pub const MAX_FILES: usize = 5;

/// One line of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub time: &'a str,
    pub stdout: bool,
    /// The text goes on in the next line.
    pub partial: bool,
    pub text: &'a [u8],
}

/// Parses a line without its newline; `None` when it is damaged.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stdout = match parts.next()? {
        b"stdout" => true,
        b"stderr" => false,
        _ => return None,
    };
    let tags = parts.next()?;
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Line { time, stdout, partial, text: parts.next().unwrap_or_default() })
}

/// What of a log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub limit_bytes: Option<u64>,
    pub timestamps: bool,
    /// `Some(true)`: only stdout; `Some(false)`: only stderr.
    pub stdout: Option<bool>,
}

/// The offset of the last `lines` lines.
fn tail_offset(file: &mut fs::File, lines: u64) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let (mut at, mut found, mut block) = (end, 0, vec![0; BLOCK]);
    while at > 0 {
        let size = at.min(BLOCK as u64);
        at -= size;
        file.seek(SeekFrom::Start(at))?;
        let part = &mut block[..usize::try_from(size).unwrap_or(BLOCK)];
        file.read_exact(part)?;
        for (index, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let next = at + index as u64 + 1;
            // The newline at the very end ends the last line, it begins none.
            if next < end {
                found += 1;
                if found == lines {
                    return Ok(next);
                }
            }
        }
    }
    Ok(0)
}

/// The text of the last lines, for termination messages; empty when there is none.
#[must_use]
pub fn tail(path: &Path, lines: usize, max_bytes: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let end = file.metadata()?.len();
        // A CRI line adds some 45 bytes to its text.
        let from = tail_offset(&mut file, lines as u64)?.max(end.saturating_sub(max_bytes + 80 * 64));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let mut text = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter_map(parse) {
        text.extend_from_slice(line.text);
        if !line.partial {
            text.push(b'\n');
        }
    }
    let cut = text.len().saturating_sub(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    String::from_utf8_lossy(text.get(cut..).unwrap_or_default()).into_owned()
}

/// Turns raw log bytes into what the reader wants.
struct Filter {
    wanted: Wanted,
    pending: Vec<u8>,
    left: Option<u64>,
    /// The last line was partial: its continuation has no time of its own.
    continues: bool,
    since_reached: bool,
}

impl Filter {
    fn new(wanted: Wanted) -> Self {
        Self { wanted, pending: Vec::new(), left: wanted.limit_bytes, continues: false, since_reached: false }
    }

    fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(line) = parse(line) else { return };
        if self.wanted.stdout.is_some_and(|stdout| stdout != line.stdout) {
            return;
        }
        if !self.since_reached {
            let early = |since| line.time.parse::<Timestamp>().is_ok_and(|time| time < since);
            if self.wanted.since.is_some_and(early) {
                return;
            }
            self.since_reached = true;
        }
        if self.wanted.timestamps && !self.continues {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
        self.continues = line.partial;
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(at);
            self.line(line, &mut out);
            rest = after.get(1..).unwrap_or_default();
        }
        if rest.len() <= MAX_LINE {
            self.pending = rest.to_vec();
        }
        if let Some(left) = &mut self.left {
            out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= out.len() as u64;
        }
        out
    }
}

async fn open(path: &Path) -> io::Result<(tokio::fs::File, u64)> {
    let file = tokio::fs::File::open(path).await?;
    let inode = file.metadata().await?.ino();
    Ok((file, inode))
}

/// Sends what is wanted of the log at `path`. With `follow`, goes on until `is_over` says so or nobody listens.
///
/// # Errors
/// When the file cannot be opened or read.
pub async fn stream<F, Fut>(
    path: &Path,
    wanted: Wanted,
    follow: bool,
    is_over: F,
    out: mpsc::Sender<Bytes>,
) -> io::Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let (mut file, mut inode) = open(path).await?;
    if let Some(lines) = wanted.tail {
        let path = path.to_owned();
        let offset = tokio::task::spawn_blocking(move || tail_offset(&mut fs::File::open(path)?, lines));
        file.seek(SeekFrom::Start(offset.await.map_err(io::Error::other)??)).await?;
    }
    let mut filter = Filter::new(wanted);
    let mut block = vec![0; BLOCK];
    let (mut last_look, mut replaced) = (false, false);
    let mut polls = 0_u32;
    loop {
        let read = file.read(&mut block).await?;
        if read > 0 {
            let bytes = filter.take(block.get(..read).unwrap_or_default());
            if !bytes.is_empty() && out.send(Bytes::from(bytes)).await.is_err() {
                return Ok(());
            }
            if filter.is_full() {
                return Ok(());
            }
            continue;
        }
        if !follow || last_look || out.is_closed() {
            return Ok(());
        }
        if replaced {
            (file, inode) = open(path).await?;
            replaced = false;
            continue;
        }
        // The new file is there once the runtime writes to the old one no more: that is read to its end first.
        replaced = tokio::fs::metadata(path).await.is_ok_and(|metadata| metadata.ino() != inode);
        if replaced {
            continue;
        }
        polls += 1;
        // The container's end is looked for ten times less often than the file's, and once more read after it.
        last_look = polls.is_multiple_of(5) && is_over().await;
        if !last_look {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The rotated files of a log, oldest first.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let all = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix));
    let mut files: Vec<PathBuf> = all.filter(is_ours).collect();
    files.sort_unstable();
    files
}

/// Removes a log and what was rotated from it.
pub fn remove(path: &Path) {
    for file in rotated(path) {
        let _ = fs::remove_file(file);
    }
    let _ = fs::remove_file(path);
}

/// Renames a log that has grown too large; true when the runtime has to reopen it.
///
/// # Errors
/// When a file cannot be renamed.
pub fn rotate(path: &Path, max_size: u64, max_files: usize, now: Timestamp) -> io::Result<bool> {
    if fs::metadata(path)?.len() < max_size {
        return Ok(false);
    }
    let mut target = path.as_os_str().to_owned();
    target.push(format!(".{}", now.strftime("%Y%m%d-%H%M%S%.6f")));
    fs::rename(path, &target)?;
    let old = rotated(path);
    // The new file is one of them.
    for file in old.iter().take((old.len() + 1).saturating_sub(max_files)) {
        fs::remove_file(file)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const LOG: &str = "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n\
                       2026-01-01T00:00:03Z stdout P thr\n2026-01-01T00:00:03Z stdout F ee\n";

    async fn read(log: &str, wanted: Wanted) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        fs::write(&path, log).unwrap();
        let (sender, mut receiver) = mpsc::channel(16);
        stream(&path, wanted, false, async || true, sender).await.unwrap();
        let mut text = Vec::new();
        while let Some(bytes) = receiver.recv().await {
            text.extend_from_slice(&bytes);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn options() {
        let none = Wanted::default();
        let since = Some("2026-01-01T00:00:02Z".parse().unwrap());
        for (wanted, text) in [
            (none, "one\ntwo\nthree\n"),
            (Wanted { tail: Some(3), ..none }, "two\nthree\n"),
            (Wanted { tail: Some(0), ..none }, ""),
            (Wanted { tail: Some(99), ..none }, "one\ntwo\nthree\n"),
            (Wanted { since, ..none }, "two\nthree\n"),
            (Wanted { limit_bytes: Some(5), ..none }, "one\nt"),
            (Wanted { stdout: Some(false), ..none }, "two\n"),
            (
                Wanted { timestamps: true, ..none },
                "2026-01-01T00:00:01Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n",
            ),
        ] {
            assert_eq!(read(LOG, wanted).await, text, "{wanted:?}");
        }
        assert_eq!(read("damaged\n2026-01-01T00:00:01Z stdout F ok\n", none).await, "ok\n");
    }

    #[test]
    fn damaged_lines() {
        for line in ["", "x", "2026 stdout", "2026 other F x", "\u{fffd}"] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(parse(b"t stdout F").unwrap().text, b"");
        assert_eq!(parse(b"t stdout F a b ").unwrap().text, b"a b ");
    }

    #[test]
    fn the_end_of_a_log_is_a_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        fs::write(&path, LOG).unwrap();
        assert_eq!(tail(&path, 3, 100), "two\nthree\n");
        assert_eq!(tail(&path, 80, 4), "ree\n");
        assert_eq!(tail(&dir.path().join("none"), 80, 4), "");
    }

    #[tokio::test]
    async fn a_follower_sees_every_line_across_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let line = |n: usize| format!("2026-01-01T00:00:01Z stdout F line {n}\n");
        fs::write(&path, line(0)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (sender, mut receiver) = mpsc::channel(16);
        let reader = tokio::spawn({
            let (path, over) = (path.clone(), Arc::clone(&over));
            let is_over = move || {
                let over = over.load(Ordering::Acquire);
                async move { over }
            };
            async move { stream(&path, Wanted::default(), true, is_over, sender).await }
        });
        let writer = tokio::spawn(async move {
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            for n in 1..60 {
                file.write_all(line(n).as_bytes()).unwrap();
                if n % 20 == 0 {
                    let now = Timestamp::from_second(1_000_000 + n as i64).unwrap();
                    assert!(rotate(&path, 1, 5, now).unwrap());
                    // The runtime may write a little more before it reopens.
                    file.write_all(line(1000 + n).as_bytes()).unwrap();
                    file = fs::File::create(&path).unwrap();
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            over.store(true, Ordering::Release);
        });
        let mut text = String::new();
        while let Some(bytes) = receiver.recv().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        writer.await.unwrap();
        reader.await.unwrap().unwrap();
        let mut want = String::new();
        for n in 0..60 {
            want += &format!("line {n}\n");
            if n > 0 && n % 20 == 0 {
                want += &format!("line {}\n", 1000 + n);
            }
        }
        assert_eq!(text, want);
    }

    #[test]
    fn only_so_many_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        for n in 0..10 {
            fs::write(&path, "x".repeat(100)).unwrap();
            assert!(!rotate(&path, 101, 3, Timestamp::from_second(n).unwrap()).unwrap());
            assert!(rotate(&path, 100, 3, Timestamp::from_second(n).unwrap()).unwrap());
        }
        assert_eq!(rotated(&path).len(), 2);
        fs::write(&path, "x").unwrap();
        remove(&path);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

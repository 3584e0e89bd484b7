//! `verify` on an arena of its own: every fault it knows, for half a minute. Needs root and the built `pilothouse`.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program that scripts/test builds before.
fn pilothouse() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_pilothouse-bench")).with_file_name("pilothouse");
    assert!(beside.exists(), "{} is not there: scripts/test builds it first", beside.display());
    beside
}

/// The first of thirty ports in a row that nobody else is told to use.
const PORT: &str = "18443";

#[test]
fn nothing_is_lost_whatever_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pilothouse-bench"))
        .args(["verify", "--seconds", "32", "--every", "0.5", "--writers", "6", "--rest", "20", "--watchers", "6"])
        .args(["--backends", "2", "--disk", "300", "--port", PORT])
        .arg("--pilothouse")
        .arg(pilothouse())
        .arg("--arena")
        .arg(dir.path())
        .env("PILOTHOUSE_LOG", "info")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (told, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let logs = || {
        let files = std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path());
        let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let tail = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(30).collect();
            format!("--- {}\n{}\n", path.display(), lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        logs.map(tail).collect::<String>()
    };
    assert!(output.status.success(), "{told}\n{log}\n{}", logs());
    assert!(told.contains("no event lost, doubled or out of order"), "{told}");
    assert!(log.matches("injected").count() >= 8, "faults did happen: {log}");
}

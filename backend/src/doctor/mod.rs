//! `pilothouse doctor`: what is wrong with an installation, or soon will be, and what to do about it.
//!
//! Invariants: it only reads; each question is asked on its own, so that one that cannot be answered hides no other;
//! what it finds is judged by pure functions.

mod certificates;
mod cluster;
mod database;
mod machine;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::up::Home;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Good,
    /// Not yet a failure.
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub what: String,
    /// What to do; empty when all is well.
    pub advice: &'static str,
}

impl Finding {
    pub fn good(what: impl Into<String>) -> Self {
        Self { level: Level::Good, what: what.into(), advice: "" }
    }
    pub fn warning(what: impl Into<String>, advice: &'static str) -> Self {
        Self { level: Level::Warning, what: what.into(), advice }
    }
    pub fn bad(what: impl Into<String>, advice: &'static str) -> Self {
        Self { level: Level::Bad, what: what.into(), advice }
    }
    /// The worse of two limits that a number has passed.
    pub fn by<N: PartialOrd>(what: String, found: N, warn: N, fail: N, advice: &'static str) -> Self {
        if found >= fail {
            Self::bad(what, advice)
        } else if found >= warn {
            Self::warning(what, advice)
        } else {
            Self::good(what)
        }
    }
}

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    home: Home,
    /// How the API is reached [default: the home's].
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// How the database is reached [default: the home's own].
    #[arg(long, env = "PILOTHOUSE_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Tells also what is well.
    #[arg(long, short)]
    verbose: bool,
}

/// `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            return format!("{number:.1} {unit}");
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}

pub async fn run(args: Args) -> Result<()> {
    let home = args.home.path()?;
    let kubeconfig = args.kubeconfig.clone().map_or_else(|| args.home.kubeconfig(), Ok)?;
    let url = args.database_url.clone().or_else(|| args.home.database_url().ok().flatten());
    let (certificates, cluster, database) = tokio::join!(
        certificates::look(&home, &kubeconfig),
        cluster::look(&kubeconfig),
        database::look(url.as_deref())
    );
    let parts = [
        ("certificates", certificates),
        ("cluster", cluster),
        ("database", database),
        ("machine", machine::look(&home)),
    ];
    let mut out = std::io::stdout();
    let mut worst = Level::Good;
    let (mut good, mut all) = (0, 0);
    for (part, findings) in parts {
        for finding in findings {
            worst = worst.max(finding.level);
            all += 1;
            good += usize::from(finding.level == Level::Good);
            let sign = match finding.level {
                Level::Good if !args.verbose => continue,
                Level::Good => "ok",
                Level::Warning => "warning",
                Level::Bad => "BAD",
            };
            writeln!(out, "{sign:<8} {part:<13} {}", finding.what).context("writing")?;
            if !finding.advice.is_empty() {
                writeln!(out, "{:<22} {}", "", finding.advice).context("writing")?;
            }
        }
    }
    writeln!(out, "{good} of {all} checks are well.").context("writing")?;
    if worst == Level::Bad {
        bail!("something is wrong");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_limits() {
        assert_eq!((size(512), size(1536), size(3 << 30)), ("512.0 B".into(), "1.5 KiB".into(), "3.0 GiB".into()));
        let level = |found| Finding::by(String::new(), found, 5, 10, "act").level;
        assert_eq!((level(4), level(5), level(10)), (Level::Good, Level::Warning, Level::Bad));
    }
}

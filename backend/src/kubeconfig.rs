//! `pilothouse kubeconfig`: the administrator's access, as `up` wrote it.

use std::io::Write;

use anyhow::{Context, Result};

use crate::up::Home;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    home: Home,
}

pub fn run(args: &Args) -> Result<()> {
    let path = args.home.kubeconfig()?;
    let text = std::fs::read(&path)
        .with_context(|| format!("reading {}: has `pilothouse up` run with this data directory?", path.display()))?;
    std::io::stdout().write_all(&text)?;
    Ok(())
}

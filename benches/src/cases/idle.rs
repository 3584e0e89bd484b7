//! Doing nothing, while what the server costs is looked at from outside.

use anyhow::Result;

use super::{Outcome, Setup};

pub async fn run(setup: Setup) -> Result<Outcome> {
    tokio::time::sleep(setup.length).await;
    Ok(Outcome { unit: "requests".into(), seconds: setup.length.as_secs_f64(), ..Outcome::default() })
}

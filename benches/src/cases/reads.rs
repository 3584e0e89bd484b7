//! GETs of single objects.

use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, StatusCode};
use rand::Rng;

use super::{Outcome, Setup, writes};
use crate::client::Connection;
use crate::load::{self, Client};

/// Enough for the reads not to be all of one object, few enough to be made quickly.
const OBJECTS: usize = 100;

struct Reader {
    paths: Vec<String>,
}

impl Client for Reader {
    async fn next(&mut self, connection: &mut Connection, _: Instant) -> Result<(StatusCode, u64)> {
        let at = rand::rng().random_range(0..self.paths.len());
        connection.call(Method::GET, &self.paths[at], Bytes::new()).await
    }
}

pub async fn get(setup: Setup) -> Result<Outcome> {
    let setup = Setup { objects: OBJECTS, ..setup };
    writes::fill(&setup).await?;
    let paths: Vec<String> = (0..OBJECTS).map(|number| setup.path(&format!("o-{number}"))).collect();
    let clients = (0..setup.clients).map(|_| Reader { paths: paths.clone() }).collect();
    let (_, tally) = load::closed(&setup.target, clients, setup.length).await?;
    Ok(Outcome::of("reads", &tally))
}

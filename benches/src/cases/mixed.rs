//! What a cluster's API sees: mostly reads, some lists, some writes.

use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, StatusCode};
use rand::Rng;

use super::{Outcome, Setup, writes};
use crate::client::Connection;
use crate::load::{self, Client};
use crate::object;

const OBJECTS: usize = 1000;
/// Out of a hundred requests.
const GETS: u32 = 70;
const LISTS: u32 = 10;
const UPDATES: u32 = 15;
/// Objects in one of the lists.
const PAGE: usize = 50;

struct Mixed {
    setup: Setup,
    index: usize,
    count: u64,
    /// An object that was created and is to be deleted next.
    made: Option<String>,
}

impl Client for Mixed {
    async fn next(&mut self, connection: &mut Connection, due: Instant) -> Result<(StatusCode, u64)> {
        self.count += 1;
        if let Some(name) = self.made.take() {
            return connection.call(Method::DELETE, &self.setup.path(&name), Bytes::new()).await;
        }
        let (dice, object) = {
            let mut rng = rand::rng();
            (rng.random_range(0..100), rng.random_range(0..OBJECTS))
        };
        let name = format!("o-{object}");
        if dice < GETS {
            return connection.call(Method::GET, &self.setup.path(&name), Bytes::new()).await;
        }
        if dice < GETS + LISTS {
            let path = format!("{}?limit={PAGE}", self.setup.collection());
            return connection.call(Method::GET, &path, Bytes::new()).await;
        }
        let (payload, sent) = (object::payload(self.setup.size), object::clock_at(due));
        if dice < GETS + LISTS + UPDATES {
            let body = object::config_map(&name, self.count, sent, payload);
            return connection.call(Method::PUT, &self.setup.path(&name), body).await;
        }
        let name = format!("m{}-{}", self.index, self.count);
        let body = object::config_map(&name, 1, sent, payload);
        let outcome = connection.call(Method::POST, &self.setup.collection(), body).await;
        if outcome.as_ref().is_ok_and(|(status, _)| status.is_success()) {
            self.made = Some(name);
        }
        outcome
    }
}

pub async fn run(setup: Setup) -> Result<Outcome> {
    let setup = Setup { objects: OBJECTS, ..setup };
    writes::fill(&setup).await?;
    let client = |index| Mixed { setup: setup.clone(), index, count: 0, made: None };
    let clients = (0..setup.clients).map(client).collect();
    let (_, tally) = load::closed(&setup.target, clients, setup.length).await?;
    Ok(Outcome::of("requests", &tally))
}

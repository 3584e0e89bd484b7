//! Objects that come, change and go.

use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, StatusCode};

use super::{Outcome, Setup};
use crate::check::{Check, Written};
use crate::client::Connection;
use crate::load::{self, Client};
use crate::object;

struct Churner {
    setup: Setup,
    index: usize,
    step: u64,
    written: Written,
}

impl Client for Churner {
    async fn next(&mut self, connection: &mut Connection, due: Instant) -> Result<(StatusCode, u64)> {
        let name = format!("k{}-{}", self.index, self.step / 3);
        let phase = self.step % 3;
        self.step += 1;
        let body = || object::config_map(&name, phase + 1, object::clock_at(due), object::payload(self.setup.size));
        let (collection, path) = (self.setup.collection(), self.setup.path(&name));
        let outcome = match phase {
            0 => connection.call(Method::POST, &collection, body()).await,
            1 => connection.call(Method::PUT, &path, body()).await,
            _ => connection.call(Method::DELETE, &path, Bytes::new()).await,
        };
        if phase == 2 {
            self.written.note_deleted(&name, &outcome);
        } else {
            self.written.note(&name, phase + 1, &outcome);
        }
        outcome
    }
}

pub async fn run(setup: Setup) -> Result<Outcome> {
    let client = |index| Churner { setup: setup.clone(), index, step: 0, written: Written::default() };
    let clients: Vec<_> = (0..setup.clients).map(client).collect();
    let (clients, tally) = load::closed(&setup.target, clients, setup.length).await?;
    let written = clients.into_iter().map(|client| client.written).collect();
    let check = Check::run(&setup.target, &setup.collection(), written).await?;
    Ok(Outcome::of("writes", &tally).checked(check))
}

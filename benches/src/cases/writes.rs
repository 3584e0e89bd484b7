//! Creates and updates, with a check afterwards that what was acknowledged is there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use http::{Method, StatusCode};

use super::{Outcome, Setup};
use crate::check::{Check, Written};
use crate::client::Connection;
use crate::load::{self, Client, Tally};
use crate::object;

/// Creates one object after another.
pub struct Creator {
    setup: Setup,
    prefix: String,
    count: u64,
    pub written: Written,
}

impl Creator {
    pub fn new(setup: &Setup, index: usize) -> Self {
        Self { setup: setup.clone(), prefix: format!("c{index}"), count: 0, written: Written::default() }
    }
}

impl Client for Creator {
    async fn next(&mut self, connection: &mut Connection, due: Instant) -> Result<(StatusCode, u64)> {
        self.count += 1;
        let name = format!("{}-{}", self.prefix, self.count);
        let payload = object::payload(self.setup.size);
        let body = object::config_map(&name, 1, object::clock_at(due), payload);
        let outcome = connection.call(Method::POST, &self.setup.collection(), body).await;
        self.written.note(&name, 1, &outcome);
        outcome
    }
}

/// Updates objects of its own, one after another.
pub struct Updater {
    setup: Setup,
    names: Vec<String>,
    next: usize,
    seq: u64,
    pub written: Written,
}

/// Objects that one client updates in turn.
const OWN_OBJECTS: usize = 20;

impl Updater {
    /// Makes the objects first.
    pub async fn new(setup: &Setup, index: usize) -> Result<Self> {
        let names: Vec<String> = (0..OWN_OBJECTS).map(|number| format!("u{index}-{number}")).collect();
        let mut connection = Connection::open(&setup.target).await?;
        let mut written = Written::default();
        for name in &names {
            let body = object::config_map(name, 1, 0, object::payload(setup.size));
            connection.expect(Method::POST, &setup.collection(), body).await?;
            written.acknowledge(name, 1);
        }
        Ok(Self { setup: setup.clone(), names, next: 0, seq: 1, written })
    }

    pub async fn several(setup: &Setup) -> Result<Vec<Self>> {
        futures::future::try_join_all((0..setup.clients).map(|index| Self::new(setup, index))).await
    }
}

impl Updater {
    /// Writes the next of its objects, as write number `seq`.
    pub async fn write(&mut self, connection: &mut Connection, seq: u64, due: Instant) -> Result<(StatusCode, u64)> {
        let name = &self.names[self.next];
        self.next = (self.next + 1) % self.names.len();
        let body = object::config_map(name, seq, object::clock_at(due), object::payload(self.setup.size));
        let outcome = connection.call(Method::PUT, &self.setup.path(name), body).await;
        self.written.note(name, seq, &outcome);
        outcome
    }
}

impl Client for Updater {
    async fn next(&mut self, connection: &mut Connection, due: Instant) -> Result<(StatusCode, u64)> {
        self.seq += 1;
        self.write(connection, self.seq, due).await
    }
}

async fn report(setup: &Setup, tally: &Tally, written: impl Iterator<Item = Written>) -> Result<Outcome> {
    let check = Check::run(&setup.target, &setup.collection(), written.collect()).await?;
    Ok(Outcome::of("writes", tally).checked(check))
}

pub async fn create(setup: Setup) -> Result<Outcome> {
    let clients = (0..setup.clients).map(|index| Creator::new(&setup, index)).collect();
    let (clients, tally) = load::closed(&setup.target, clients, setup.length).await?;
    report(&setup, &tally, clients.into_iter().map(|client| client.written)).await
}

pub async fn create_open(setup: Setup) -> Result<Outcome> {
    let clients = (0..setup.clients).map(|index| Creator::new(&setup, index)).collect();
    let (clients, tally) = load::open(&setup.target, clients, setup.length, setup.rate).await?;
    report(&setup, &tally, clients.into_iter().map(|client| client.written)).await
}

pub async fn update(setup: Setup) -> Result<Outcome> {
    let clients = Updater::several(&setup).await?;
    let (clients, tally) = load::closed(&setup.target, clients, setup.length).await?;
    report(&setup, &tally, clients.into_iter().map(|client| client.written)).await
}

/// Fills the namespace with `setup.objects` objects named `o-N`.
pub async fn fill(setup: &Setup) -> Result<()> {
    /// More than enough to keep any server busy.
    const CLIENTS: usize = 32;
    let next = AtomicUsize::new(0);
    futures::future::try_join_all((0..CLIENTS).map(|_| fill_some(setup, &next))).await?;
    Ok(())
}

async fn fill_some(setup: &Setup, next: &AtomicUsize) -> Result<()> {
    let mut connection = Connection::open(&setup.target).await?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= setup.objects {
            return Ok(());
        }
        let body = object::config_map(&format!("o-{number}"), 1, 0, object::payload(setup.size));
        connection.expect(Method::POST, &setup.collection(), body).await?;
    }
}
